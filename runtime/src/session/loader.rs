//! From the object to maps and programs in the kernel. aya's parts parse and relocate; the programs are loaded by our own call,
//! since aya knows no expected attach type for them and throws away the log of a program that loads.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use aya::maps::{Map, MapData, MapError, PerfEventArray, RingBuf};
use aya_obj::Object;
use aya_obj::generated::bpf_insn;
use tapline_compiler::program::{Attach, MapDesc, MapRole, Program, ProgramDesc, ProgramKind};
use tapline_compiler::target::program_of_types;

use crate::maps::table::{Table, possible_cpus};
use crate::sys::bpf::{self, BtfTarget, ExtInfo, LogRequest, MapRef, MapShape, ProgLoad};
use crate::sys::loaded;

use super::SessionError;

/// First and largest size of the verifier's log.
const LOG_SIZES: [usize; 3] = [1 << 16, 1 << 20, 16 << 20];

/// What the kernel holds of a script.
pub struct Loaded {
    /// By position in the manifest; the ring buffer and maps of no use to user space are absent.
    pub tables: Vec<Option<Table>>,
    /// The events, if the script sends any.
    pub events: Option<RingBuf<MapData>>,
    /// The map of buffers for packets, if the script sends any.
    pub packets: Option<PerfEventArray<MapData>>,
    /// Programs by position in the manifest.
    pub programs: Vec<OwnedFd>,
    /// The verifier's logs, where they were asked for.
    pub logs: Vec<(String, String)>,
}

/// A way to bring a program into the kernel.
pub trait Loader {
    /// Creates the maps and loads the programs.
    fn load(&self, program: &Program) -> Result<Loaded, SessionError>;
}

/// The loader on aya's parts.
#[derive(Clone, Copy, Debug, Default)]
pub struct DirectLoader {
    /// Keep the verifier's log of programs that load.
    pub verifier_log: bool,
    /// Entries of the map of unwind tables, where it has one.
    pub unwind_rows: Option<u32>,
}

/// Program type and expected attach type.
pub(crate) fn kernel_type(kind: ProgramKind) -> (u32, u32) {
    match kind {
        ProgramKind::RawTpRun | ProgramKind::RawTracepoint | ProgramKind::SyscallEnter | ProgramKind::SyscallExit => {
            (bpf::PROG_TYPE_RAW_TRACEPOINT, 0)
        }
        ProgramKind::Kprobe | ProgramKind::Kretprobe | ProgramKind::Uprobe | ProgramKind::Uretprobe => {
            (bpf::PROG_TYPE_KPROBE, 0)
        }
        ProgramKind::KprobeMulti | ProgramKind::KretprobeMulti => (bpf::PROG_TYPE_KPROBE, bpf::ATTACH_KPROBE_MULTI),
        ProgramKind::KprobeSession => (bpf::PROG_TYPE_KPROBE, bpf::ATTACH_KPROBE_SESSION),
        ProgramKind::UprobeMulti | ProgramKind::UretprobeMulti => (bpf::PROG_TYPE_KPROBE, bpf::ATTACH_UPROBE_MULTI),
        ProgramKind::Tracepoint => (bpf::PROG_TYPE_TRACEPOINT, 0),
        ProgramKind::PerfEvent => (bpf::PROG_TYPE_PERF_EVENT, 0),
        ProgramKind::Fentry => (bpf::PROG_TYPE_TRACING, bpf::ATTACH_FENTRY),
        ProgramKind::Iter => (bpf::PROG_TYPE_TRACING, bpf::ATTACH_ITER),
        ProgramKind::Fexit => (bpf::PROG_TYPE_TRACING, bpf::ATTACH_FEXIT),
    }
}

/// A name as the kernel allows it.
fn kernel_name(name: &str) -> String {
    name.trim_start_matches('.')
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' })
        .take(15)
        .collect()
}

impl Loader for DirectLoader {
    fn load(&self, program: &Program) -> Result<Loaded, SessionError> {
        let invalid = |error: &dyn std::fmt::Display| SessionError::Object(error.to_string());
        let mut object = Object::parse(&program.object).map_err(|e| invalid(&e))?;
        let btf = load_btf(&object)?;
        let btf = btf.as_ref().map(AsFd::as_fd);

        let maps = create_maps(&mut object, program, self.unwind_rows, btf)?;
        let text_sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
        object
            .relocate_maps(maps.iter().map(|(name, (data, def))| (name.as_str(), raw_fd(data), def)), &text_sections)
            .map_err(|e| invalid(&e))?;
        object.relocate_calls(&text_sections).map_err(|e| invalid(&e))?;

        let modules = module_btfs(program)?;
        let license = CString::new(program.manifest.config.license.as_str()).unwrap_or_else(|_| c"GPL".to_owned());
        let mut codes = Vec::with_capacity(program.manifest.programs.len());
        for desc in &program.manifest.programs {
            let (prog_type, attach_type) = kernel_type(desc.kind);
            let function = object
                .programs
                .get(&desc.symbol)
                .and_then(|p| object.functions.get(&p.function_key()))
                .ok_or_else(|| SessionError::Object(format!("no program named {}", desc.symbol)))?;
            codes.push(Code {
                name: &desc.symbol,
                prog_type,
                attach_type,
                insns: &function.instructions,
                license: &license,
                btf,
                func_info: function.func_info.func_info_bytes(),
                func_info_size: function.func_info_rec_size as u32,
                line_info: function.line_info.line_info_bytes(),
                line_info_size: function.line_info_rec_size as u32,
                target: target(program, desc, &modules),
            });
        }
        let mut programs = Vec::with_capacity(codes.len());
        let mut logs = Vec::new();
        for (code, loaded) in codes.iter().zip(load_programs(&codes, self.verifier_log)) {
            let (fd, log) = loaded?;
            programs.push(fd);
            if let Some(log) = log {
                logs.push((code.name.to_owned(), log));
            }
        }
        let Sorted { tables, events, packets } = sort_maps(maps, &program.manifest.maps)?;
        Ok(Loaded { tables, events, packets, programs, logs })
    }
}

fn raw_fd(map: &MapData) -> RawFd {
    map.fd().as_fd().as_raw_fd()
}

/// Types and lines serve callbacks and messages; a program without callbacks loads without them, too.
fn load_btf(object: &Object) -> Result<Option<OwnedFd>, SessionError> {
    let Some(btf) = &object.btf else { return Ok(None) };
    let mut log = Vec::new();
    match bpf::btf_load(&btf.to_bytes(), &mut log) {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM)) => {
            Err(SessionError::System { action: "load type information into the kernel", error })
        }
        Err(error) => {
            let log = String::from_utf8_lossy(&log);
            let reason = log.lines().next_back().unwrap_or_default();
            Err(SessionError::Object(format!("the kernel refuses its type information: {error} {reason}")))
        }
    }
}

type MapTable = HashMap<String, (MapData, aya_obj::Map)>;

fn create_maps(
    object: &mut Object,
    program: &Program,
    unwind_rows: Option<u32>,
    btf: Option<BorrowedFd<'_>>,
) -> Result<MapTable, SessionError> {
    let mut created = MapTable::new();
    for (name, mut def) in std::mem::take(&mut object.maps) {
        let desc = find_desc(&program.manifest.maps, &name);
        match desc.map(|d| d.role) {
            Some(MapRole::Events) => def.set_max_entries(ring_bytes(program.manifest.config.ring_pages)),
            Some(MapRole::UnwindRows) => def.set_max_entries(unwind_rows.unwrap_or(def.max_entries())),
            _ => {}
        }
        let data = MapData::create(def.clone(), &kernel_name(&name), btf).map_err(|e| SessionError::Map {
            name: desc.map_or_else(|| name.clone(), |d| format!("@{}", d.name)),
            error: match e {
                MapError::CreateError { io_error, .. } => io_error,
                other => io::Error::other(other.to_string()),
            },
        })?;
        fill_data_section(&data, &def, &name)?;
        created.insert(name, (data, def));
    }
    Ok(created)
}

/// Data sections arrive with their contents; read-only ones are sealed so that the verifier may rely on them.
fn fill_data_section(data: &MapData, def: &aya_obj::Map, name: &str) -> Result<(), SessionError> {
    let shape = MapShape { key_size: 4, value_size: def.value_size() as usize };
    let map = MapRef { fd: data.fd().as_fd(), shape };
    if def.data().len() == shape.value_size && def.data().iter().any(|&b| b != 0) {
        map.update(&0u32.to_ne_bytes(), def.data()).map_err(SessionError::system("initialise a data section"))?;
    }
    if name.starts_with(".rodata") {
        map.freeze().map_err(SessionError::system("seal the read-only data"))?;
    }
    Ok(())
}

/// Bytes of the ring buffer: a power of two, at least a page of any architecture.
fn ring_bytes(pages: u32) -> u32 {
    pages.clamp(16, 1 << 18).saturating_mul(4096).next_power_of_two()
}

/// An array whose value is addressed directly lives in a section of its own.
fn find_desc<'a>(maps: &'a [MapDesc], name: &str) -> Option<&'a MapDesc> {
    let symbol = name.strip_prefix(".data.").unwrap_or(name);
    maps.iter().find(|m| m.symbol == symbol || m.symbol == name)
}

struct Code<'a> {
    name: &'a str,
    prog_type: u32,
    attach_type: u32,
    insns: &'a [bpf_insn],
    license: &'a CStr,
    btf: Option<BorrowedFd<'a>>,
    func_info: Vec<u8>,
    func_info_size: u32,
    line_info: Vec<u8>,
    line_info_size: u32,
    target: Option<BtfTarget<'a>>,
}

/// BTF of the modules, and the BPF programs, whose functions are traced.
fn module_btfs(program: &Program) -> Result<HashMap<String, OwnedFd>, SessionError> {
    let mut found = HashMap::new();
    for probe in &program.manifest.probes {
        if let Attach::Function { module: Some(module), .. } = &probe.attach
            && !found.contains_key(module)
        {
            let fd = match program_of_types(module) {
                Some(id) => loaded::program(id).map_err(SessionError::system("find a BPF program"))?,
                None => loaded::kernel_btf(module).map_err(SessionError::system("find the BTF of a kernel module"))?,
            };
            found.insert(module.clone(), fd);
        }
    }
    Ok(found)
}

/// What a program is loaded for.
fn target<'a>(program: &Program, desc: &ProgramDesc, modules: &'a HashMap<String, OwnedFd>) -> Option<BtfTarget<'a>> {
    let probe = program.manifest.probes.get(desc.probes.first()?.0 as usize)?;
    match &probe.attach {
        Attach::Function { module, btf_id, .. } => {
            let module = module.as_ref().and_then(|name| modules.get(name)).map(AsFd::as_fd);
            Some(BtfTarget { id: *btf_id, module })
        }
        Attach::Iter { btf_id, .. } => Some(BtfTarget { id: *btf_id, module: None }),
        _ => None,
    }
}

type LoadResult = Result<(OwnedFd, Option<String>), SessionError>;

/// Loads all, several at a time where there are many: the verifier takes its time for each.
fn load_programs(codes: &[Code<'_>], want_log: bool) -> Vec<LoadResult> {
    /// Fewer are not worth a thread.
    const SHARE: usize = 8;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(codes.len() / SHARE);
    if threads < 2 {
        return codes.iter().map(|code| load_program(code, want_log)).collect();
    }
    let load_part =
        |part: &[Code<'_>]| -> Vec<LoadResult> { part.iter().map(|code| load_program(code, want_log)).collect() };
    std::thread::scope(|scope| {
        let parts = codes.chunks(codes.len().div_ceil(threads));
        let running: Vec<_> = parts.map(|part| scope.spawn(move || load_part(part))).collect();
        let lost = || vec![Err(SessionError::Object("a thread that loads programs has failed".into()))];
        running.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|_| lost())).collect()
    })
}

/// Loads without a log first: writing it costs the kernel more than checking most programs.
fn load_program(code: &Code<'_>, want_log: bool) -> Result<(OwnedFd, Option<String>), SessionError> {
    let name = kernel_name(code.name);
    let request = ProgLoad {
        prog_type: code.prog_type,
        expected_attach_type: code.attach_type,
        name: &name,
        insns: code.insns,
        license: code.license,
        btf: code.btf,
        func_info: ExtInfo { bytes: &code.func_info, record_size: code.func_info_size },
        line_info: ExtInfo { bytes: &code.line_info, record_size: code.line_info_size },
        target: code.target,
    };
    let mut error = io::Error::from(io::ErrorKind::Other);
    if !want_log {
        match bpf::prog_load(&request, None, &mut Vec::new()) {
            Ok(fd) => return Ok((fd, None)),
            Err(e) => error = e,
        }
    }
    let mut log = Vec::new();
    for capacity in LOG_SIZES {
        log.clear();
        match bpf::prog_load(&request, Some(LogRequest { level: if want_log { 2 } else { 1 }, capacity }), &mut log) {
            Ok(fd) => return Ok((fd, Some(String::from_utf8_lossy(&log).into_owned()))),
            Err(e) if e.raw_os_error() == Some(libc::ENOSPC) => {}
            Err(e) => {
                error = e;
                break;
            }
        }
    }
    let log = String::from_utf8_lossy(&log).into_owned();
    Err(SessionError::Rejected { program: code.name.to_owned(), error, log })
}

/// The maps by what they are for.
struct Sorted {
    tables: Vec<Option<Table>>,
    events: Option<RingBuf<MapData>>,
    packets: Option<PerfEventArray<MapData>>,
}

fn sort_maps(mut maps: MapTable, descs: &[MapDesc]) -> Result<Sorted, SessionError> {
    let cpus = possible_cpus().map_err(SessionError::system("count the CPUs"))?;
    let mut tables: Vec<Option<Table>> = descs.iter().map(|_| None).collect();
    let (mut events, mut packets) = (None, None);
    for (slot, desc) in tables.iter_mut().zip(descs) {
        let data_name = format!(".data.{}", desc.symbol);
        let Some((data, def)) = maps.remove(&desc.symbol).or_else(|| maps.remove(&data_name)) else { continue };
        let failed = |e: MapError| SessionError::Object(e.to_string());
        match desc.role {
            MapRole::Events => {
                events = Some(RingBuf::try_from(Map::RingBuf(data)).map_err(failed)?);
                continue;
            }
            MapRole::Packets => {
                packets = Some(PerfEventArray::try_from(Map::PerfEventArray(data)).map_err(failed)?);
                continue;
            }
            _ => {}
        }
        let fd = data.fd().as_fd().try_clone_to_owned().map_err(SessionError::system("keep a map"))?;
        *slot = Some(Table::new(fd, def.map_type(), def.key_size() as usize, def.value_size() as usize, cpus));
    }
    Ok(Sorted { tables, events, packets })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_for_the_kernel() {
        assert_eq!(kernel_name("AT_counts_of_things"), "AT_counts_of_th");
        assert_eq!(kernel_name(".data.AT_x"), "data_AT_x");
        assert_eq!(kernel_name("a:b"), "a_b");
    }

    #[test]
    fn ring_sizes() {
        assert_eq!(ring_bytes(64), 64 * 4096);
        assert_eq!(ring_bytes(65), 128 * 4096);
        assert_eq!(ring_bytes(0), 16 * 4096);
        assert_eq!(ring_bytes(u32::MAX), 1 << 30);
    }
}
