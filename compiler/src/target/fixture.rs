//! A target for tests: a pinned kernel of 6.12 as far as the files in `fixtures/` describe it. Answers the same on every
//! machine, so that checking, lowering and their snapshots need no privilege and no particular kernel.
//!
//! `fixtures/btf.roots` says what the trimmed BTF was made from, `fixtures/tracepoints.txt` holds tracepoint formats.

use std::collections::{BTreeMap, HashSet};

use super::{
    Arch, CodePlace, Feature, Glob, KernelPlace, PidNamespace, ProbeSource, Target, TargetError, UserBinary,
    UserFunction, similar,
};
use crate::probes::rawtracepoint;
use crate::types::btf::{Btf, BtfError, KindSet};

static BTF: &[u8] = include_bytes!("../../fixtures/vmlinux-6.12.btf");
static TRACEPOINTS: &str = include_str!("../../fixtures/tracepoints.txt");

/// Functions of the list that the BTF does not have: a compiler's suffix, and functions of modules.
const MORE_FUNCTIONS: [&str; 3] = ["finish_task_switch.isra.0", "nft_do_chain", "xfs_file_read_iter"];

/// The one program of the system; `app` finds it as well.
const PROGRAM: &str = "/usr/bin/app";

/// Its functions: name, offset in the file, bytes.
const PROGRAM_FUNCTIONS: [(&str, u64, u64); 3] =
    [("main", 0x1000, 64), ("read_line", 0x1040, 32), ("read_word", 0x1060, 0)];

/// The pinned system. Its fields may be changed to play another one.
#[derive(Debug)]
pub struct Fixture {
    /// Processor.
    pub arch: Arch,
    /// Types; `None` plays a kernel without BTF.
    pub btf: Option<Btf>,
    /// Formats by `category:event`; `None` plays a system without tracefs.
    pub tracepoints: Option<BTreeMap<String, String>>,
    /// Tracepoints can be listed, but not read.
    pub formats_are_secret: bool,
    /// Traceable functions, sorted.
    pub functions: Vec<String>,
    /// What the kernel lacks.
    pub lacking: HashSet<Feature>,
    /// Copies in a per-CPU map.
    pub possible_cpus: u32,
    /// Start on the boot clock.
    pub start_time_ns: u64,
    /// A pid namespace of our own.
    pub pid_namespace: Option<PidNamespace>,
}

impl Fixture {
    /// Linux 6.12 on `x86_64` with 4 CPUs and every feature. Fails only when the pinned BTF is damaged.
    pub fn new() -> Result<Self, BtfError> {
        let btf = Btf::new(Box::new(BTF))?;
        let mut functions: Vec<String> = btf
            .own_ids()
            .filter(|&id| KindSet::FUNC.contains(btf.kind(id)))
            .map(|id| btf.name(id).to_owned())
            // The list has it under its real name, with a suffix.
            .filter(|name| name != "finish_task_switch")
            .chain(MORE_FUNCTIONS.map(str::to_owned))
            .collect();
        functions.sort_unstable();
        let tracepoints = TRACEPOINTS
            .split("## ")
            .filter_map(|part| part.split_once('\n'))
            .map(|(name, format)| (name.to_owned(), format.trim_end_matches('\n').to_owned() + "\n"))
            .collect();
        Ok(Self {
            arch: Arch::X86_64,
            btf: Some(btf),
            tracepoints: Some(tracepoints),
            functions,
            lacking: HashSet::new(),
            possible_cpus: 4,
            start_time_ns: 1_000_000_000,
            pid_namespace: None,
            formats_are_secret: false,
        })
    }

    fn formats(&self) -> Result<&BTreeMap<String, String>, TargetError> {
        self.tracepoints.as_ref().ok_or_else(|| TargetError::NoTracefs("it is not mounted".into()))
    }

    fn names(&self, source: ProbeSource) -> Result<Vec<&str>, TargetError> {
        Ok(match source {
            ProbeSource::KernelFunctions => self.functions.iter().map(String::as_str).collect(),
            ProbeSource::Tracepoints => self.formats()?.keys().map(String::as_str).collect(),
            ProbeSource::RawTracepoints => {
                let Some(btf) = &self.btf else { return Ok(Vec::new()) };
                let mut names: Vec<&str> = rawtracepoint::events(btf).collect();
                names.sort_unstable();
                names
            }
        })
    }
}

impl Target for Fixture {
    fn arch(&self) -> Arch {
        self.arch
    }

    fn btf(&self) -> Option<&Btf> {
        self.btf.as_ref()
    }

    fn tracepoint_format(&self, category: &str, event: &str) -> Result<String, TargetError> {
        if self.formats_are_secret {
            return Err(TargetError::Permission(format!("events/{category}/{event}/format")));
        }
        self.formats()?.get(&format!("{category}:{event}")).cloned().ok_or(TargetError::NotFound)
    }

    fn probe_names(&self, source: ProbeSource, pattern: &str) -> Result<Vec<String>, TargetError> {
        let glob = Glob::new(pattern);
        Ok(self.names(source)?.into_iter().filter(|name| glob.matches(name)).map(str::to_owned).collect())
    }

    fn similar_probes(&self, source: ProbeSource, name: &str) -> Vec<String> {
        self.names(source).map(|names| similar(name, names)).unwrap_or_default()
    }

    fn user_functions(&self, file: &str, pattern: &str) -> Result<UserBinary, TargetError> {
        if ![PROGRAM, "app"].contains(&file) {
            return Err(TargetError::NotFound);
        }
        let glob = Glob::new(pattern);
        let functions = PROGRAM_FUNCTIONS
            .iter()
            .filter(|(name, ..)| glob.matches(name))
            .map(|&(name, offset, size)| UserFunction { name: name.into(), offset, size })
            .collect();
        Ok(UserBinary { path: PROGRAM.into(), functions, go: false })
    }

    /// One instruction of 4 bytes at the start of `main`; from 4096 on nobody knows.
    fn user_instruction(&self, _: &str, offset: u64) -> CodePlace {
        match offset {
            0x1001..0x1004 => CodePlace::Inside { before: offset - 0x1000, after: 0x1004 - offset },
            0x2000.. => CodePlace::Unknown,
            _ => CodePlace::Start,
        }
    }

    fn kernel_symbol(&self, name: &str) -> Option<u64> {
        if name == "_stext" {
            return Some(0xffff_ffff_8100_0000);
        }
        let at = self.functions.binary_search_by(|have| have.as_str().cmp(name)).ok()?;
        Some(0xffff_ffff_8100_0000 + 64 * at as u64)
    }

    fn kernel_place(&self, address: u64) -> Option<KernelPlace> {
        let from_start = address.checked_sub(0xffff_ffff_8100_0000)?;
        let function = self.functions.get(usize::try_from(from_start / 64).ok()?)?.clone();
        Some(KernelPlace { function, module: None, offset: from_start % 64 })
    }

    fn has(&self, feature: Feature) -> bool {
        !self.lacking.contains(&feature)
    }

    fn possible_cpus(&self) -> u32 {
        self.possible_cpus
    }

    fn wall_offset_ns(&self) -> u64 {
        1_700_000_000_000_000_000
    }
    fn start_time_ns(&self) -> u64 {
        self.start_time_ns
    }

    fn pid_namespace(&self) -> Option<PidNamespace> {
        self.pid_namespace
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::types::btf::{BtfType, TypeId};

    /// Byte offset of a member, those of anonymous structs and unions included.
    fn offset(btf: &Btf, id: TypeId, name: &str) -> Option<u32> {
        let (BtfType::Struct(it) | BtfType::Union(it)) = btf.get(btf.resolve(id)) else { return None };
        it.members().find_map(|member| {
            let inner = if member.name == name { Some(0) } else { None };
            let inner = inner.or_else(|| if member.name.is_empty() { offset(btf, member.ty, name) } else { None })?;
            Some(member.bit_offset / 8 + inner)
        })
    }

    #[test]
    fn the_pinned_types_have_the_layout_of_their_kernel() {
        let fixture = Fixture::new().unwrap();
        let btf = fixture.btf().unwrap();
        let find = |name| btf.find(KindSet::STRUCT, name).unwrap();
        assert_eq!(offset(btf, find("sock_common"), "skc_daddr"), Some(0));
        assert_eq!(offset(btf, find("sock_common"), "skc_dport"), Some(12));
        assert_eq!(offset(btf, find("qstr"), "name"), Some(8));
        assert_eq!(offset(btf, find("pt_regs"), "di"), Some(112));
        assert!(offset(btf, find("task_struct"), "comm").is_some());
        assert_eq!(btf.enumerator("TCP_ESTABLISHED").map(|it| it.1), Some(1));
        assert_eq!(btf.enumerator("TCP_CLOSE").map(|it| it.1), Some(7));
    }

    #[test]
    fn prototypes_name_their_arguments() {
        let fixture = Fixture::new().unwrap();
        let btf = fixture.btf().unwrap();
        let names = |function| btf.function(function).unwrap().params().map(|it| it.name).collect::<Vec<_>>();
        assert_eq!(names("vfs_read"), ["file", "buf", "count", "pos"]);
        assert_eq!(names("tcp_v4_connect"), ["sk", "uaddr", "addr_len"]);
    }

    #[test]
    fn tracepoints_have_formats() {
        let fixture = Fixture::new().unwrap();
        let format = fixture.tracepoint_format("syscalls", "sys_enter_openat").unwrap();
        assert!(format.starts_with("name: sys_enter_openat\n"), "{format}");
        assert!(format.contains("\tfield:const char * filename;\toffset:24;\tsize:8;\tsigned:0;\n"), "{format}");
        assert_eq!(fixture.tracepoint_format("syscalls", "sys_enter_nothing"), Err(TargetError::NotFound));
        assert_eq!(
            fixture.probe_names(ProbeSource::Tracepoints, "sched:sched_process_*").unwrap(),
            [
                "sched:sched_process_exec",
                "sched:sched_process_exit",
                "sched:sched_process_fork",
                "sched:sched_process_free",
                "sched:sched_process_wait"
            ]
        );
    }

    #[test]
    fn functions_and_raw_tracepoints_are_listed() {
        let fixture = Fixture::new().unwrap();
        let names = |source, pattern| fixture.probe_names(source, pattern).unwrap();
        assert_eq!(names(ProbeSource::KernelFunctions, "vfs_read"), ["vfs_read"]);
        assert_eq!(names(ProbeSource::KernelFunctions, "do_sys_openat*"), ["do_sys_openat2"]);
        assert_eq!(names(ProbeSource::RawTracepoints, "sched_switch"), ["sched_switch"]);
        let close = |name| fixture.similar_probes(ProbeSource::KernelFunctions, name);
        assert_eq!(close("finish_task_switch"), ["finish_task_switch.isra.0"]);
        assert_eq!(close("vfs_raed").first().map(String::as_str), Some("vfs_read"));
    }

    #[test]
    fn damage_to_the_pinned_types_never_panics() {
        let mut seed = 7u64;
        for _ in 0..200 {
            let mut bytes = BTF.to_vec();
            for _ in 0..8 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (seed >> 24) as usize % bytes.len();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = (seed >> 56) as u8;
                }
            }
            let Ok(btf) = Btf::new(Box::new(bytes)) else { continue };
            for name in ["task_struct", "tcp_sock", "bio"] {
                let Some(id) = btf.find(KindSet::STRUCT, name) else { continue };
                let _ = (btf.size_of(id), btf.align_of(id), offset(&btf, id, "comm"));
            }
            let _ = (btf.function("vfs_read").is_some(), btf.enumerator("TCP_CLOSE"));
        }
    }
}
