//! The live system: what [`Target`] answers for the machine we run on. Everything is read when first asked for, and then
//! kept; a script that names no kernel function costs no look at the list of functions.

pub mod binaries;
pub mod cgroups;
pub mod features;
pub mod files;
pub mod functions;
pub mod instructions;
pub mod list;
pub mod loader_cache;
pub mod lookup;
pub mod programs;
pub mod tracefs;
pub mod usdt;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tapline_compiler::number;
use tapline_compiler::probes::{fentry, rawtracepoint};
use tapline_compiler::program::ProgramKind;
use tapline_compiler::target::{
    Arch, BpfFunction, CodePlace, Feature, Glob, GoFunction, KernelPlace, PidNamespace, ProbeSource, Target,
    TargetError, UsdtBinary, UserBinary, UserFunction, UserSymbol, function_at, program_of_types, similar,
};
use tapline_compiler::types::btf::{Btf, KindSet};

use crate::debug_info::{self, DebugInfo};
use crate::session::loader::kernel_type;
use crate::symbols::elf::{ElfError, ElfSymbols};
use crate::symbols::kallsyms::KernelSymbols;
use crate::sys::mmap::Mmap;
use crate::sys::time::{KernelClock, now_ns};
use features::Features;
use functions::Functions;
use lookup::Answer;
use tracefs::Tracefs;

/// Files that stand in for the system's own.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// BTF of the kernel (`BPFTRACE_BTF`).
    pub btf: Option<PathBuf>,
    /// List of traceable functions (`--traceable-functions`).
    pub traceable_functions: Option<PathBuf>,
    /// Features that are there and shall not be used (`--no-feature`).
    pub without: Vec<Feature>,
}

impl Options {
    /// As the environment says.
    pub fn from_env() -> Self {
        Self {
            btf: std::env::var_os("BPFTRACE_BTF").map(PathBuf::from),
            traceable_functions: None,
            without: Vec::new(),
        }
    }
}

/// The machine we run on.
#[derive(Debug)]
pub struct System {
    options: Options,
    start_time_ns: u64,
    tracefs: OnceCell<Result<Tracefs, TargetError>>,
    btf: OnceCell<Result<Rc<Btf>, String>>,
    module_btf: RefCell<HashMap<String, Option<Rc<Btf>>>>,
    functions: OnceCell<Result<Functions, TargetError>>,
    blocked: OnceCell<Vec<String>>,
    symbols: OnceCell<Rc<KernelSymbols>>,
    possible_cpus: OnceCell<u32>,
    /// Path and functions of binaries, by the names that scripts use.
    binaries: RefCell<HashMap<String, (String, Rc<ElfSymbols>)>>,
    debug_infos: RefCell<HashMap<String, Option<Rc<DebugInfo>>>>,
    features: Features,
}

/// Where the kernel shows its BTF.
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Where it shows that of its modules, beside its own.
const BTF_DIRECTORY: &str = "/sys/kernel/btf";

/// Inode of the initial pid namespace, a constant of the kernel (`PROC_PID_INIT_INO`).
const INITIAL_PID_NAMESPACE: u64 = 0xefff_fffc;

impl System {
    /// The live system. Reads nothing yet but the clock.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            start_time_ns: now_ns(KernelClock::Boot) as u64,
            tracefs: OnceCell::new(),
            btf: OnceCell::new(),
            module_btf: RefCell::default(),
            functions: OnceCell::new(),
            blocked: OnceCell::new(),
            symbols: OnceCell::new(),
            possible_cpus: OnceCell::new(),
            binaries: RefCell::default(),
            debug_infos: RefCell::default(),
            features: Features::default(),
        }
    }

    /// tracefs, mounted for this process when nobody has.
    pub fn tracefs(&self) -> Result<&Tracefs, TargetError> {
        self.tracefs.get_or_init(Tracefs::find).as_ref().map_err(Clone::clone)
    }

    /// The kernel's BTF, or why there is none.
    pub fn kernel_btf(&self) -> Result<&Rc<Btf>, &str> {
        let path = self.options.btf.as_deref().unwrap_or(Path::new(KERNEL_BTF));
        self.btf.get_or_init(|| open_btf(path).map(Rc::new)).as_ref().map_err(String::as_str)
    }

    /// The types that a module adds to the kernel's; `None` when it is not loaded or has none.
    pub fn module_btf(&self, module: &str) -> Option<Rc<Btf>> {
        if let Some(known) = self.module_btf.borrow().get(module) {
            return known.clone();
        }
        let base = self.kernel_btf().ok()?;
        if let Some(program) = program_of_types(module) {
            return programs::types(program).map(Rc::new);
        }
        let path = Path::new(BTF_DIRECTORY).join(module);
        let is_component = !module.is_empty() && !module.contains('/') && module != "." && module != "..";
        // A module's BTF fits the running kernel's alone.
        let fits = is_component && self.options.btf.is_none();
        let found = fits
            .then(|| read_btf(&path).ok().and_then(|data| Btf::split(data, Rc::clone(base)).ok()))
            .flatten()
            .map(Rc::new);
        self.module_btf.borrow_mut().insert(module.to_owned(), found.clone());
        found
    }

    /// Loaded modules, sorted.
    pub fn modules(&self) -> Vec<String> {
        let text = std::fs::read_to_string("/proc/modules").unwrap_or_default();
        let mut names: Vec<String> = text.lines().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect();
        names.sort_unstable();
        names
    }

    /// Loaded modules that have types of their own, sorted.
    pub fn modules_with_btf(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(BTF_DIRECTORY)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name != "vmlinux")
            .collect();
        names.sort_unstable();
        names
    }

    /// The kernel, as `vmlinux`, and the loaded modules that have types of their own, with these.
    pub fn type_origins(&self) -> Result<Vec<(String, Rc<Btf>)>, TargetError> {
        let kernel = self.kernel_btf().map_err(|why| TargetError::Io(why.to_owned()))?;
        let modules = self.modules_with_btf().into_iter().filter_map(|name| {
            let btf = self.module_btf(&name)?;
            Some((name, btf))
        });
        Ok(std::iter::once((fentry::KERNEL.to_owned(), Rc::clone(kernel))).chain(modules).collect())
    }

    /// The kernel's symbol table; empty when it cannot be read.
    pub fn symbols(&self) -> &Rc<KernelSymbols> {
        self.symbols.get_or_init(|| Rc::new(KernelSymbols::load().unwrap_or_default()))
    }

    /// The path and the functions of the binary that a script names.
    fn binary(&self, file: &str) -> Result<(String, Rc<ElfSymbols>), TargetError> {
        if let Some(known) = self.binaries.borrow().get(file) {
            return Ok(known.clone());
        }
        let (path, symbols) = read_binary(file, ElfSymbols::load)?;
        let found = (path, Rc::new(symbols));
        self.binaries.borrow_mut().insert(file.to_owned(), found.clone());
        Ok(found)
    }

    /// The debug information of a program or library at a path; `None` when it has none.
    pub fn debug_info(&self, path: &str) -> Option<Rc<DebugInfo>> {
        let mut known = self.debug_infos.borrow_mut();
        let load = || debug_info::or_warn(path, DebugInfo::load(path.as_ref())).map(Rc::new);
        known.entry(path.to_owned()).or_insert_with(load).clone()
    }

    /// Types as BTF, with the functions at some bytes of a file, as far as its debug information has them.
    pub fn types_of_functions(&self, path: &str, offsets: &[u64]) -> Option<Rc<Btf>> {
        let info = self.debug_info(path)?;
        let address = |offset: &u64| Some((info.segments.address_of(*offset)?, function_at(*offset)));
        info.function_types(&offsets.iter().filter_map(address).collect::<Vec<_>>())
    }

    /// The traceable functions. Where the kernel lists none, all functions of the symbol table.
    pub fn functions(&self) -> Result<&Functions, TargetError> {
        self.functions
            .get_or_init(|| {
                let listed = match &self.options.traceable_functions {
                    Some(path) => return tracefs::read_text(path).map(Functions::from_text),
                    None => self.tracefs().and_then(|tracefs| tracefs::read_text(&tracefs.path(functions::LIST))),
                };
                match listed {
                    Ok(text) if !text.is_empty() => Ok(Functions::from_text(text)),
                    Ok(_) => Ok(Functions::from_symbols(self.symbols())),
                    Err(error) => {
                        let symbols = self.symbols();
                        if symbols.iter().next().is_none() {
                            return Err(functions::no_list(&error));
                        }
                        Ok(Functions::from_symbols(symbols))
                    }
                }
            })
            .as_ref()
            .map_err(Clone::clone)
    }

    /// True for functions that the kernel refuses kprobes on. Where the list cannot be read, nothing is.
    pub fn is_blocked(&self, function: &str) -> bool {
        let blocked = self.blocked.get_or_init(functions::blocked);
        blocked.binary_search_by(|have| have.as_str().cmp(function)).is_ok()
    }

    /// Names of the raw tracepoints, from the types that the kernel makes for them.
    fn raw_tracepoints(&self) -> Result<Vec<String>, TargetError> {
        if let Ok(origins) = self.type_origins() {
            let names = origins.iter().flat_map(|(_, btf)| rawtracepoint::events(btf).map(str::to_owned));
            return Ok(names.collect());
        }
        // Without BTF: the events, most of which have the name of their raw tracepoint. Those of syscalls have none.
        let events = self.tracefs()?.events()?;
        Ok(events
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter(|(category, _)| *category != "syscalls" && *category != "ftrace")
            .map(|(_, event)| event.to_owned())
            .collect())
    }

    /// Whether a function of that very name exists, as far as that can be told without the kernel's list, which takes it
    /// fifty milliseconds to write. The BTF alone does not tell: it leaves out the suffixes that compilers append.
    fn function_exists(&self, name: &str) -> Option<bool> {
        if self.options.traceable_functions.is_some() || name.contains(':') {
            return None;
        }
        match lookup::kernel_symbol(name) {
            Answer::Missing => Some(false),
            Answer::Address(_) => {
                let stem = name.split('.').next().unwrap_or(name);
                self.kernel_btf().ok()?.find(KindSet::FUNC, stem).map(|_| true)
            }
            Answer::Unknown => None,
        }
    }

    fn function_names(&self, pattern: &str) -> Result<Vec<String>, TargetError> {
        if let Some(exists) = Glob::new(pattern).literal().and_then(|name| self.function_exists(&name)) {
            return Ok(exists.then(|| pattern.to_owned()).into_iter().collect());
        }
        let is_pattern = Glob::new(pattern).literal().is_none();
        let mut names: Vec<String> = self
            .functions()?
            .matching(pattern)
            .into_iter()
            .filter(|it| !is_pattern || !self.is_blocked(it.name))
            .map(|it| it.name.to_owned())
            .collect();
        names.dedup();
        Ok(names)
    }
}

fn open_btf(path: &Path) -> Result<Btf, String> {
    let data = read_btf(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Btf::new(data).map_err(|error| format!("{}: {error}", path.display()))
}

/// Maps a BTF file; reads it where it cannot be mapped (sysfs allows that since Linux 6.16).
fn read_btf(path: &Path) -> std::io::Result<Box<dyn AsRef<[u8]>>> {
    let file = File::open(path)?;
    let len = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    // Only sysfs is mapped: a file that somebody shortens would raise SIGBUS.
    let mapped = path.starts_with("/sys").then(|| Mmap::read_only(&file, len).ok()).flatten();
    Ok(match mapped {
        Some(map) => Box::new(Mapped(map)),
        None => Box::new(std::fs::read(path)?),
    })
}

struct Mapped(Mmap);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Number of CPUs in a list such as `0-3,8`: one more than the highest, since per-CPU maps count from 0 without gaps.
fn parse_possible(text: &str) -> Option<u32> {
    parse_cpu_list(text)?.last().map(|highest| highest + 1)
}

/// The CPUs of a list such as `0-3,8`.
pub fn parse_cpu_list(text: &str) -> Option<Vec<u32>> {
    /// More than any kernel supports.
    const LIMIT: u32 = 1 << 16;
    let mut cpus = Vec::new();
    for range in text.trim().split(',').filter(|range| !range.is_empty()) {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        let (low, high): (u32, u32) = (low.parse().ok()?, high.parse().ok()?);
        if high >= LIMIT {
            return None;
        }
        cpus.extend(low..=high);
    }
    Some(cpus)
}

/// The CPUs that are on line; CPU 0 alone when the system does not say.
pub fn online_cpus() -> Vec<u32> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    parse_cpu_list(&text).filter(|cpus| !cpus.is_empty()).unwrap_or_else(|| vec![0])
}

fn select<'a>(names: impl Iterator<Item = &'a str>, pattern: &str) -> Vec<String> {
    let glob = Glob::new(pattern);
    let mut found: Vec<String> = names.filter(|name| glob.matches(name)).map(str::to_owned).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Finds a program or library as a script names it, and reads something of it; its absolute path comes with that.
fn read_binary<T>(file: &str, read: impl Fn(&Path) -> Result<T, ElfError>) -> Result<(String, T), TargetError> {
    let path = binaries::find(file).ok_or(TargetError::NotFound)?;
    let path = std::path::absolute(&path).unwrap_or(path);
    let found = read(&path).map_err(|error| match error {
        ElfError::Io(error) => tracefs::target_error(&path, &error),
        ElfError::Malformed(why) => TargetError::Malformed(format!("{}: {why}", path.display())),
    })?;
    let path =
        path.into_os_string().into_string().map_err(|_| TargetError::Malformed("its path is not UTF-8".into()))?;
    Ok((path, found))
}

/// The processor that we run on.
pub const ARCH: Arch = if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 };

impl Target for System {
    fn arch(&self) -> Arch {
        ARCH
    }

    fn btf(&self) -> Option<&Btf> {
        self.kernel_btf().ok().map(|btf| &**btf)
    }

    fn why_no_btf(&self) -> String {
        let why = self.kernel_btf().err().unwrap_or_default();
        format!("the types of the kernel are not known: {why}")
    }

    fn module_btf(&self, module: &str) -> Option<Rc<Btf>> {
        Self::module_btf(self, module)
    }

    fn bpf_functions(&self) -> Vec<BpfFunction> {
        programs::functions()
    }

    fn modules(&self) -> Vec<String> {
        Self::modules(self)
    }

    fn modules_with_btf(&self) -> Vec<String> {
        Self::modules_with_btf(self)
    }

    fn tracepoint_format(&self, category: &str, event: &str) -> Result<String, TargetError> {
        self.tracefs()?.format(category, event)
    }

    fn probe_names(&self, source: ProbeSource, pattern: &str) -> Result<Vec<String>, TargetError> {
        match source {
            ProbeSource::KernelFunctions => self.function_names(pattern),
            ProbeSource::Tracepoints => {
                let tracefs = self.tracefs()?;
                if let Some((category, event)) =
                    Glob::new(pattern).literal().as_deref().and_then(|it| it.split_once(':'))
                {
                    let exists = tracefs.has_event(category, event);
                    return Ok(exists.then(|| pattern.to_owned()).into_iter().collect());
                }
                Ok(select(tracefs.events()?.lines(), pattern))
            }
            // The types of all modules are not read for an event of the kernel itself.
            ProbeSource::RawTracepoints => {
                let event = Glob::new(pattern).literal();
                let of_kernel =
                    |event: &str| self.kernel_btf().is_ok_and(|btf| rawtracepoint::prototype(btf, event).is_some());
                if event.is_some_and(|event| of_kernel(&event)) {
                    return Ok(vec![pattern.to_owned()]);
                }
                Ok(select(self.raw_tracepoints()?.iter().map(String::as_str), pattern))
            }
        }
    }

    fn similar_probes(&self, source: ProbeSource, name: &str) -> Vec<String> {
        match source {
            ProbeSource::KernelFunctions => {
                self.functions().map(|list| similar(name, list.iter().map(|it| it.name))).unwrap_or_default()
            }
            ProbeSource::Tracepoints => {
                let events = self.tracefs().and_then(Tracefs::events);
                events.map(|events| similar(name, events.lines())).unwrap_or_default()
            }
            ProbeSource::RawTracepoints => {
                let names = self.raw_tracepoints().unwrap_or_default();
                similar(name, names.iter().map(String::as_str))
            }
        }
    }

    fn user_functions(&self, file: &str, pattern: &str) -> Result<UserBinary, TargetError> {
        match self.binary(file) {
            Ok((path, symbols)) => {
                Ok(UserBinary { path, functions: binaries::functions(&symbols, pattern), go: symbols.go })
            }
            // Code may be mapped from any file, and the kernel sets probes at any of its bytes.
            Err(TargetError::Malformed(why)) => match number::parse(pattern) {
                Some(offset) => {
                    let (path, ()) = read_binary(file, |_| Ok(()))?;
                    let place = UserFunction { name: pattern.to_owned(), offset, size: 0 };
                    Ok(UserBinary { path, functions: vec![place], go: false })
                }
                None => Err(TargetError::Malformed(why)),
            },
            Err(error) => Err(error),
        }
    }

    fn user_instruction(&self, path: &str, offset: u64) -> CodePlace {
        let Ok((_, symbols)) = self.binary(path) else { return CodePlace::Unknown };
        instructions::place(Path::new(path), &symbols, offset)
    }

    fn user_source(&self, file: &str, source: &str, line: u64, column: Option<u64>) -> Result<UserBinary, TargetError> {
        let (path, symbols) = self.binary(file)?;
        let places = self.debug_info(&path).map(|info| info.places(source, line, column)).unwrap_or_default();
        Ok(UserBinary { path, functions: binaries::places(&symbols, &places), go: symbols.go })
    }

    fn user_source_lines(&self, file: &str, source: &str) -> Vec<u64> {
        let path = binaries::find(file).and_then(|path| path.into_os_string().into_string().ok());
        path.and_then(|path| self.debug_info(&path)).map(|info| info.lines(source)).unwrap_or_default()
    }

    fn user_function_types(&self, path: &str, offset: u64) -> Option<Rc<Btf>> {
        self.types_of_functions(path, &[offset])
    }

    fn go_function(&self, path: &str, offset: u64) -> Option<GoFunction> {
        let info = self.debug_info(path)?;
        info.go_function(info.segments.address_of(offset)?)
    }

    fn user_type(&self, path: &str, kinds: KindSet, name: &str) -> Option<Rc<Btf>> {
        self.debug_info(path)?.named_type(kinds, name)
    }

    fn usdt_probes(&self, file: &str) -> Result<UsdtBinary, TargetError> {
        let (path, probes) = read_binary(file, usdt::load)?;
        Ok(UsdtBinary { path, probes })
    }

    fn matching_files(&self, pattern: &str, pid: Option<u32>) -> Vec<String> {
        let mapped = match pid {
            Some(pid) => binaries::mapped(pid),
            None if pattern.contains('/') => {
                let found = binaries::matching(pattern).into_iter();
                return found.filter_map(|path| path.into_os_string().into_string().ok()).collect();
            }
            None => binaries::mapped_by_any(),
        };
        let glob = Glob::new(pattern);
        mapped.into_iter().filter(|path| glob.matches(path)).collect()
    }

    fn user_symbol(&self, path: &str, name: &str, offset: u64) -> Option<UserSymbol> {
        binaries::symbol(Path::new(path), name, offset)
    }

    fn kernel_symbol(&self, name: &str) -> Option<u64> {
        match lookup::kernel_symbol(name) {
            Answer::Address(address) => Some(address),
            Answer::Missing => None,
            Answer::Unknown => self.symbols().find(name).map(|symbol| symbol.address),
        }
    }

    fn kernel_place(&self, address: u64) -> Option<KernelPlace> {
        let symbol = self.symbols().function_at(address)?;
        let (function, module) = (symbol.name.to_owned(), symbol.module.map(str::to_owned));
        Some(KernelPlace { function, module, offset: address - symbol.address })
    }

    fn cgroup_id(&self, path: &str) -> Result<u64, TargetError> {
        use std::os::unix::fs::MetadataExt;
        // The file handle of a folder of cgroup2 is its inode number.
        let found = std::fs::metadata(path).map_err(|e| tracefs::target_error(Path::new(path), &e))?;
        Ok(found.ino())
    }

    fn kfunc_allowed(&self, kind: ProgramKind, id: u32) -> bool {
        // Programs that BTF describes belong to a function; any will do.
        let function = self.btf().and_then(|btf| btf.find(KindSet::FUNC, "bpf_fentry_test1"));
        features::kfunc_allowed(kernel_type(kind), id, function.map(|id| id.0))
    }

    fn has(&self, feature: Feature) -> bool {
        !self.options.without.contains(&feature) && self.features.has(feature)
    }

    fn possible_cpus(&self) -> u32 {
        *self.possible_cpus.get_or_init(|| {
            let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
            parse_possible(&text).unwrap_or(1)
        })
    }

    fn wall_offset_ns(&self) -> u64 {
        (now_ns(KernelClock::Realtime) - now_ns(KernelClock::Boot)) as u64
    }
    fn start_time_ns(&self) -> u64 {
        self.start_time_ns
    }

    fn pid_namespace(&self) -> Option<PidNamespace> {
        use std::os::unix::fs::MetadataExt;
        let namespace = std::fs::metadata("/proc/self/ns/pid").ok()?;
        let found = PidNamespace { dev: namespace.dev(), ino: namespace.ino() };
        (found.ino != INITIAL_PID_NAMESPACE).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_read() {
        assert_eq!(parse_cpu_list("0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(parse_cpu_list("0"), Some(vec![0]));
        assert_eq!(parse_cpu_list("0-4294967295"), None);
        assert_eq!(parse_cpu_list("a-b"), None);
        assert_eq!(parse_possible("0-3,8"), Some(9));
        assert_eq!(parse_possible(""), None);
    }

    #[test]
    fn selection_is_sorted_and_unique() {
        let names = ["b:x", "a:y", "b:x", "c:z"];
        assert_eq!(select(names.into_iter(), "[ab]:*"), ["a:y", "b:x"]);
    }

    #[test]
    fn a_missing_btf_says_which_file() {
        let options = Options { btf: Some("/nonexistent/btf".into()), ..Options::default() };
        let system = System::new(options);
        assert!(system.btf().is_none());
        assert!(system.kernel_btf().is_err_and(|why| why.starts_with("/nonexistent/btf: ")));
    }

    #[test]
    fn the_clock_and_the_cpus_make_sense() {
        let system = System::new(Options::default());
        assert!(system.start_time_ns() > 0);
        assert!(system.possible_cpus() >= online_cpus().len() as u32);
    }
}
