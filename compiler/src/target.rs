//! The only door to the traced system. The live system implements [`Target`] in the runtime; tests implement it with
//! fixtures, so that the compiler runs without privilege and for another kernel than the one below it.

#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
mod glob;
mod similar;

pub use glob::Glob;
pub use similar::similar;

use std::rc::Rc;

use crate::program::ProgramKind;
use crate::types::btf::{Btf, KindSet};

/// Why the target cannot answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetError {
    /// tracefs is not mounted or not readable; how to change that.
    NoTracefs(String),
    /// The thing does not exist.
    NotFound,
    /// The caller may not look.
    Permission(String),
    /// A file of the system has an unexpected form.
    Malformed(String),
    /// Any other failure.
    Io(String),
}

impl std::fmt::Display for TargetError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoTracefs(why) => write!(f, "tracefs is not available: {why}"),
            Self::NotFound => write!(f, "not found"),
            Self::Permission(why) => write!(f, "permission denied: {why}"),
            Self::Malformed(why) => write!(f, "unexpected format: {why}"),
            Self::Io(why) => write!(f, "{why}"),
        }
    }
}

/// Processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names say it.
pub enum Arch {
    X86_64,
    Aarch64,
}

/// Where probe names come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeSource {
    /// Traceable kernel functions: names are `function`. A pattern `module:function` looks into that module only (`vmlinux`
    /// is the kernel itself); its answers are plain `function` too.
    KernelFunctions,
    /// Tracepoints: names are `category:event`.
    Tracepoints,
    /// Raw tracepoints: names are `event`.
    RawTracepoints,
}

/// What a kernel may or may not offer. Probed lazily, each answer is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feature {
    /// Perf kprobe events.
    Kprobe,
    /// Links over many kprobes.
    KprobeMulti,
    /// One program for entries and returns of kernel functions.
    KprobeSession,
    /// Links over many user probes of one file.
    UprobeMulti,
    /// `bpf_get_attach_cookie` in kprobes, tracepoints and perf events.
    AttachCookie,
    /// `bpf_get_func_ip` in kprobes.
    FuncIp,
    /// `bpf_get_func_ip` in uprobes and uretprobes.
    UserFuncIp,
    /// `bpf_loop`.
    Loop,
    /// `bpf_for_each_map_elem`.
    ForEachMapElem,
    /// `bpf_map_lookup_percpu_elem`.
    LookupPercpuElem,
    /// fentry and fexit programs.
    Fentry,
    /// `bpf_ktime_get_tai_ns`.
    KtimeTai,
    /// A verifier that, where functions call each other, knows whose register it is that counts.
    FramePrecision,
}

impl Feature {
    /// Those that only the kernel's age tells, and the release that they came with, major and minor.
    pub const BY_RELEASE: [(Self, (u32, u32)); 2] = [
        // Before, programs may call it there, too, but it does not tell them anything.
        (Self::UserFuncIp, (6, 7)),
        (Self::FramePrecision, (6, 5)),
    ];
}

/// A process's view of itself, when tapline runs in a pid namespace of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidNamespace {
    /// Device of `/proc/self/ns/pid`.
    pub dev: u64,
    /// Inode of `/proc/self/ns/pid`.
    pub ino: u64,
}

/// A program or library as a script names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserBinary {
    /// Absolute path.
    pub path: String,
    /// The functions asked for, sorted by name.
    pub functions: Vec<UserFunction>,
    /// It was made by the compiler of Go.
    pub go: bool,
}

/// A function that the compiler of Go has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoFunction {
    /// With its package, and with what it was made for where it is generic.
    pub name: String,
    /// It takes its arguments in registers, as Go does since 1.17 (1.18 on aarch64); before, all lie on the stack.
    pub in_registers: bool,
}

/// Languages whose programmers write other names than the symbols: what stands before such a name, which may lack its parameters.
pub const LANGUAGES: [&str; 2] = ["cpp:", "rust:"];

/// What separates the path of an archive from the name of a file in it.
pub const IN_ARCHIVE: &str = "!/";

/// A function of a program or library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFunction {
    /// Its symbol.
    pub name: String,
    /// Where its code lies in the file.
    pub offset: u64,
    /// Bytes of its code; 0 when unknown.
    pub size: u64,
}

/// A program or library with the places that it was built with for tracing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsdtBinary {
    /// Absolute path.
    pub path: String,
    /// The places, sorted by provider and name. One name can stand for several places.
    pub probes: Vec<UsdtProbe>,
}

/// A place for tracing, as its note describes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsdtProbe {
    /// Who made it.
    pub provider: String,
    /// Its name.
    pub name: String,
    /// Where it lies in the file.
    pub offset: u64,
    /// Where the counter of those who trace it lies in the file; 0 when it has none.
    pub semaphore: u64,
    /// Where its arguments are: words such as `-4@%edi`.
    pub arguments: String,
}

/// A function of a BPF program that is loaded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BpfFunction {
    /// Id of the program.
    pub program: u32,
    /// Its name in the program's BTF, which [`Target::module_btf`] has under the name that [`program_types`] gives.
    pub name: String,
    /// Its id there.
    pub btf_id: u32,
}

/// What stands before the id of a program.
const PROGRAM: &str = "bpf:";

/// Under which name [`Target::module_btf`] has the types of a BPF program: it is to the kernel what a module is.
pub fn program_types(program: u32) -> String {
    format!("{PROGRAM}{program}")
}

/// The program whose types have this name.
pub fn program_of_types(name: &str) -> Option<u32> {
    name.strip_prefix(PROGRAM)?.parse().ok()
}

/// A place in the kernel's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelPlace {
    /// The function.
    pub function: String,
    /// Its module; `None` for the kernel itself.
    pub module: Option<String>,
    /// Bytes from its start.
    pub offset: u64,
}

/// A symbol of a binary beside a place in its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserSymbol {
    /// Bytes from the place to the symbol, wherever the binary is loaded.
    pub distance: i64,
    /// Bytes of what it names; 0 when unknown.
    pub size: u64,
}

/// How a place in a program's code lies to its instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodePlace {
    /// One begins there.
    Start,
    /// One began some bytes before, and the next begins some bytes behind.
    Inside {
        /// Back to the start of this one.
        before: u64,
        /// On to the start of the next.
        after: u64,
    },
    /// Where the function begins is not known, or its code cannot be read to there.
    Unknown,
}

/// Under which name [`Target::user_function_types`] has the function at a byte of the file: several may have one name.
pub fn function_at(offset: u64) -> String {
    format!("at {offset:#x}")
}

/// The traced system.
pub trait Target {
    /// Processor.
    fn arch(&self) -> Arch;
    /// Types of the kernel; `None` on a kernel without BTF.
    fn btf(&self) -> Option<&Btf>;
    /// Why the types of the kernel are not known, in a sentence.
    fn why_no_btf(&self) -> String {
        "this kernel has no BTF, so that its types are not known".to_owned()
    }
    /// Types that a module of the kernel adds to it; `None` when it is not loaded or has none.
    fn module_btf(&self, module: &str) -> Option<Rc<Btf>> {
        let _ = module;
        None
    }
    /// The functions of all BPF programs that are loaded and have BTF, sorted.
    fn bpf_functions(&self) -> Vec<BpfFunction> {
        Vec::new()
    }
    /// Loaded modules, sorted.
    fn modules(&self) -> Vec<String> {
        Vec::new()
    }
    /// Loaded modules that have types of their own, sorted.
    fn modules_with_btf(&self) -> Vec<String> {
        Vec::new()
    }
    /// Text of `events/<category>/<event>/format`.
    fn tracepoint_format(&self, category: &str, event: &str) -> Result<String, TargetError>;
    /// Names that match a glob (`*`, `?`, `[…]`), sorted, without duplicates. A pattern without wildcards answers whether
    /// the name exists.
    fn probe_names(&self, source: ProbeSource, pattern: &str) -> Result<Vec<String>, TargetError>;
    /// Names close to a misspelt one, best first, a handful at most.
    fn similar_probes(&self, source: ProbeSource, name: &str) -> Vec<String>;
    /// A binary with its functions that match a glob; the one place at an address, where the pattern is a number; functions by their
    /// names in a language where it begins with one of [`LANGUAGES`]. `file` is a path, the name of a program in `PATH` or of a library (`libc`,
    /// `libc.so.6`). `NotFound` when there is no such file; no functions when none matches.
    fn user_functions(&self, file: &str, pattern: &str) -> Result<UserBinary, TargetError> {
        let _ = (file, pattern);
        Err(TargetError::NotFound)
    }
    /// How the byte at an offset of the file at a path lies to the instructions around it.
    fn user_instruction(&self, path: &str, offset: u64) -> CodePlace {
        let _ = (path, offset);
        CodePlace::Unknown
    }
    /// A binary with the places of a line of its source, from its debug information: one for each function that has code of that line, by
    /// the decimal address as name. `source` is the end of a path.
    fn user_source(&self, file: &str, source: &str, line: u64, column: Option<u64>) -> Result<UserBinary, TargetError> {
        let _ = (file, source, line, column);
        Err(TargetError::NotFound)
    }
    /// The lines of a source file that have code in a binary, sorted.
    fn user_source_lines(&self, file: &str, source: &str) -> Vec<u64> {
        let _ = (file, source);
        Vec::new()
    }
    /// Types of the debug information of the file at a path, with the prototype of the function whose code begins at a byte of the file,
    /// under the name that [`function_at`] gives. Ids of one answer mean the same in later answers for the same file.
    fn user_function_types(&self, path: &str, offset: u64) -> Option<Rc<Btf>> {
        let _ = (path, offset);
        None
    }
    /// The function of the file at a path whose code begins at a byte of the file, where its debug information says that it is one of Go.
    fn go_function(&self, path: &str, offset: u64) -> Option<GoFunction> {
        let _ = (path, offset);
        None
    }
    /// The same, with a struct, union, enum or typedef of a name.
    fn user_type(&self, path: &str, kinds: KindSet, name: &str) -> Option<Rc<Btf>> {
        let _ = (path, kinds, name);
        None
    }
    /// A binary with its places for tracing. `file` is named as in [`user_functions`](Self::user_functions).
    fn usdt_probes(&self, file: &str) -> Result<UsdtBinary, TargetError> {
        let _ = file;
        Err(TargetError::NotFound)
    }
    /// Paths of the programs and libraries that match a pattern, among those that a process has mapped as code. Without a process
    /// a path is looked up in the file system, and a name without a folder among what any process has mapped.
    fn matching_files(&self, pattern: &str, pid: Option<u32>) -> Vec<String> {
        let _ = (pattern, pid);
        Vec::new()
    }
    /// A symbol of the file at a path, a variable or a function, seen from the code at this offset of the file.
    fn user_symbol(&self, path: &str, name: &str, offset: u64) -> Option<UserSymbol> {
        let _ = (path, name, offset);
        None
    }
    /// Address of a kernel symbol.
    fn kernel_symbol(&self, name: &str) -> Option<u64>;
    /// The function of the kernel that an address lies in; `None` when it lies in none, or the system does not tell.
    fn kernel_place(&self, address: u64) -> Option<KernelPlace> {
        let _ = address;
        None
    }
    /// Id of the cgroup (version 2) at a path.
    fn cgroup_id(&self, path: &str) -> Result<u64, TargetError> {
        let _ = path;
        Err(TargetError::NotFound)
    }
    /// Whether the kernel lets programs of a kind call the function of this id in its BTF.
    fn kfunc_allowed(&self, kind: ProgramKind, id: u32) -> bool {
        let _ = (kind, id);
        false
    }
    /// Whether the kernel offers a feature.
    fn has(&self, feature: Feature) -> bool;
    /// Possible CPUs: the number of copies in a per-CPU map.
    fn possible_cpus(&self) -> u32;
    /// Nanoseconds of the boot clock when tapline started, for `elapsed`.
    fn start_time_ns(&self) -> u64;
    /// Nanoseconds of the wall clock when the boot clock was 0, for intervals that begin with the wall clock's.
    fn wall_offset_ns(&self) -> u64;
    /// `None` in the initial pid namespace.
    fn pid_namespace(&self) -> Option<PidNamespace>;
}
