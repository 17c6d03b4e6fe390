//! What the compiler hands to the runtime: a BPF ELF object and the manifest that says how to load it, where to attach
//! it, and how to read what it sends. Plain data, serialisable; no type of the compiler's inside leaks into it.
//!
//! # Event records
//!
//! A record in the ring buffer is a fixed part followed by a tail. The fixed part starts with the action's index
//! (`u32`) and four bytes of padding, then the arguments, each at its natural alignment at the offset that
//! [`Field::offset`] gives. Values of variable length ([`ValueType::is_tail`]) occupy a `u32` byte count in
//! the fixed part; their bytes follow the fixed part ([`Record::fixed_size`]) in argument order, without padding. All in
//! the machine's byte order.
//!
//! Inside tuples, structs, map keys and map values there is no tail: strings and buffers have their full capacity.

use serde::{Deserialize, Serialize};

use crate::define_id;
use tapline_grammar::span::Span;

mod format;
mod value;

pub use format::{Conversion, Format, FormatNumber, FormatPiece, FormatSpec};
pub use value::{Aggregate, Clock, SERIES_SLOT, SeriesFold, StackMode, ValueType, linear_buckets, log2_buckets};

define_id!(
    /// Index into [`Manifest::maps`].
    MapId,
    "m"
);
define_id!(
    /// Index into [`Manifest::actions`]; the first word of an event record.
    ActionId,
    "action"
);
define_id!(
    /// Index into [`Manifest::probes`]: one attach point.
    ProbeId,
    "probe"
);

/// The compiled script.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Program {
    /// An ELF relocatable object for BPF.
    pub object: Vec<u8>,
    /// Everything that the object cannot say.
    pub manifest: Manifest,
}

/// How to run the object.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// The loadable programs, each a function symbol of the object.
    pub programs: Vec<ProgramDesc>,
    /// All attach points, in textual order.
    pub probes: Vec<ProbeDesc>,
    /// All maps of the object: the script's first, in order of appearance, then the internal ones.
    pub maps: Vec<MapDesc>,
    /// What event records mean.
    pub actions: Vec<Action>,
    /// The counters in the map with [`MapRole::Counters`], a `u64` each: index -> what it counts.
    pub counters: Vec<Counter>,
    /// Settings of the script and environment that the runtime needs.
    pub config: Config,
}

/// One program to load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProgramDesc {
    /// Symbol of the function in the object.
    pub symbol: String,
    /// How to load it.
    pub kind: ProgramKind,
    /// Where to attach it; all of one [`ProgramKind`].
    pub probes: Vec<ProbeId>,
}

/// How a program is loaded: BPF program type and expected attach type follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProgramKind {
    /// `raw_tp` program that is run through `BPF_PROG_TEST_RUN`: begin, end, self:signal, test, bench.
    RawTpRun,
    /// `kprobe` program behind perf kprobe events, entry.
    Kprobe,
    /// `kprobe` program behind perf kprobe events, return.
    Kretprobe,
    /// `kprobe` program with attach type `TRACE_KPROBE_MULTI`, entry.
    KprobeMulti,
    /// `kprobe` program with attach type `TRACE_KPROBE_MULTI`, return.
    KretprobeMulti,
    /// `kprobe` program with attach type `TRACE_KPROBE_SESSION`: one program and one link for the entry and the return of the same functions.
    KprobeSession,
    /// `kprobe` program behind perf uprobe events, entry.
    Uprobe,
    /// `kprobe` program behind perf uprobe events, return.
    Uretprobe,
    /// `kprobe` program with attach type `TRACE_UPROBE_MULTI`, entry.
    UprobeMulti,
    /// `kprobe` program with attach type `TRACE_UPROBE_MULTI`, return.
    UretprobeMulti,
    /// `tracepoint` program.
    Tracepoint,
    /// `raw_tp` program.
    RawTracepoint,
    /// `raw_tp` program at the entry of all system calls, which runs for those whose `tracepoint:syscalls:sys_enter_*` it serves.
    SyscallEnter,
    /// The same at the return, for `sys_exit_*`.
    SyscallExit,
    /// `perf_event` program.
    PerfEvent,
    /// `tracing` program that a kernel function calls when it is entered.
    Fentry,
    /// `tracing` program that a kernel function calls when it returns.
    Fexit,
    /// `tracing` program that the kernel calls for each of its objects of a kind.
    Iter,
}

impl ProgramKind {
    /// The program is made for one attach point: what it is loaded with says which.
    pub fn is_single(self) -> bool {
        matches!(self, Self::RawTpRun | Self::Fentry | Self::Fexit | Self::Iter)
    }
}

/// One attach point.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProbeDesc {
    /// The full name as the builtin `probe` prints it, for instance `kprobe:vfs_read`.
    pub name: String,
    /// Where to attach.
    pub attach: Attach,
    /// Attach cookie; the index of this probe when the program serves several, else 0.
    pub cookie: u64,
    /// A wildcard has found it: without it the others are attached all the same.
    pub matched: bool,
    /// Its place in the script, for the message when the attach fails. A program that was written to a file has left it behind.
    #[serde(skip)]
    pub span: Option<Span>,
}

/// Where to attach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attach {
    /// Run once before the others are attached.
    Begin,
    /// Run once after the others are detached.
    End,
    /// Run when tapline receives the signal.
    SelfSignal(i32),
    /// Run once when tests are asked for; its name.
    Test(String),
    /// Run many times when measurements are asked for; its name.
    Bench(String),
    /// Kernel function, with the module when one was named, and a byte offset.
    Kprobe {
        /// Function name.
        function: String,
        /// Kernel module.
        module: Option<String>,
        /// Bytes after the function's start.
        offset: u64,
    },
    /// An instruction of the kernel.
    KprobeAddress(u64),
    /// Kernel function that BTF describes.
    Function {
        /// Its name.
        function: String,
        /// Kernel module; `None` for the kernel itself.
        module: Option<String>,
        /// Its id in the BTF of the module or of the kernel.
        btf_id: u32,
    },
    /// All objects that the kernel has of a kind, once.
    Iter {
        /// The kind.
        name: String,
        /// Id of the iterator's function in the kernel's BTF.
        btf_id: u32,
        /// The file that whoever reads it gets the output from; without it the session iterates once.
        pin: Option<String>,
    },
    /// Kernel tracepoint.
    Tracepoint {
        /// Category (system).
        category: String,
        /// Event.
        event: String,
    },
    /// Raw tracepoint by event name.
    RawTracepoint {
        /// Event.
        event: String,
    },
    /// A user-space function, resolved to a file offset.
    Uprobe {
        /// The file.
        path: String,
        /// Offset in the file.
        offset: u64,
    },
    /// A place of a program that was made for tracing, at a file offset.
    Usdt {
        /// The file.
        path: String,
        /// Offset in the file.
        offset: u64,
        /// Offset in the file of the counter of those who trace it; 0 when it has none.
        semaphore: u64,
    },
    /// Memory that is watched by the processor.
    Watchpoint {
        /// Where it begins.
        address: u64,
        /// Bytes: 1, 2, 4 or 8.
        length: u64,
        /// `HW_BREAKPOINT_*`.
        mode: u32,
    },
    /// A timer on one CPU; nanoseconds.
    Interval {
        /// Period in ns.
        period_ns: u64,
    },
    /// A sampling timer on every CPU.
    Profile(Sampling),
    /// A perf software or hardware event on every CPU.
    PerfCounter {
        /// `PERF_TYPE_*`.
        perf_type: u32,
        /// `PERF_COUNT_*`.
        config: u64,
        /// Events per sample.
        period: u64,
    },
}

/// How often a sampling timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sampling {
    /// Times per second.
    Hz(u64),
    /// Every so many ns.
    PeriodNs(u64),
}

/// One map of the object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MapDesc {
    /// Symbol in the object.
    pub symbol: String,
    /// Name in the script without `@` (empty for the anonymous map), or of the internal map.
    pub name: String,
    /// What it is for.
    pub role: MapRole,
    /// Type of the key; `None` for scalar maps and internal maps.
    pub key: Option<ValueType>,
    /// Type of the value; `None` for internal maps.
    pub value: Option<ValueType>,
    /// One value per possible CPU, each padded to 8 bytes; user space reduces them.
    pub per_cpu: bool,
    /// Capacity in entries.
    pub max_entries: u32,
}

/// What a map is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MapRole {
    /// `@x[k]` of the script.
    Keyed,
    /// `@x` of the script: an array of one. A map whose values have eight bytes more than the type needs (rounded up to a
    /// multiple of 8) holds there a `u64` that is not 0 once the script has assigned the map and 0 after `delete`: an unset
    /// map is not printed at exit. Without it every integer is printed, and other values unless all their bytes are 0.
    Scalar,
    /// The ring buffer.
    Events,
    /// Buffers of the CPUs for packets, one each.
    Packets,
    /// Scratch space of the programs.
    Scratch,
    /// An array of one whose value is the `u64` counters of [`Manifest::counters`].
    Counters,
    /// Side map of stack traces: key `u64` id, value `u64` number of frames followed by the frames, `u64` each.
    Stacks,
    /// Read-only data.
    Rodata,
    /// Processes whose stacks are unwound by tables: see [`crate::unwind`].
    UnwindProcesses,
    /// Their mappings of code.
    UnwindMappings,
    /// The tables.
    UnwindRows,
}

/// What an event counter counts. Anything above zero is reported to the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Counter {
    /// Events of one probe that found the ring buffer full.
    RingFull {
        /// Names of the probes concerned.
        probe: String,
    },
    /// Updates of a map that found it full.
    MapFull {
        /// The map.
        map: MapId,
        /// The script's position, `file:line:col`.
        position: String,
    },
    /// Updates of a large map, which has no memory set aside for its entries, that found the kernel without memory at hand.
    NoMemory {
        /// The map.
        map: MapId,
        /// The script's position.
        position: String,
    },
    /// Runs that found no free scratch slot.
    Missed {
        /// Names of the probes concerned.
        probe: String,
    },
    /// A division by zero.
    DivideByZero {
        /// The script's position.
        position: String,
    },
    /// A helper that failed where `-k` asks to be told.
    HelperFailed {
        /// Name of the helper.
        helper: String,
        /// The script's position.
        position: String,
    },
    /// A stack trace that could not be stored, since the side map is full.
    StackLost,
    /// An `exit()` whose record found the ring buffer full: the session ends when this is seen.
    ExitPending {
        /// Exit status, when the script gives a constant one; else 0.
        status: i64,
    },
    /// A loop that reached the compiler's bound and was left early.
    LoopBound {
        /// The script's position.
        position: String,
        /// The bound.
        rounds: u64,
    },
}

/// What an event record asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Action {
    /// What to do.
    pub kind: ActionKind,
    /// How the arguments lie in the record.
    pub record: Record,
    /// Arguments that are read from histograms when they are printed.
    pub percentiles: Vec<Percentile>,
}

/// A percentile of a histogram: the record has the key in the place of the argument, or 0 for a map without keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentile {
    /// Which argument.
    pub arg: u32,
    /// The map.
    pub map: MapId,
    /// In thousandths of a percent.
    pub thousandths: u32,
}

/// Layout of an event record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The arguments in order.
    pub fields: Vec<Field>,
    /// Bytes before the tail, a multiple of 8; at least 8.
    pub fixed_size: u32,
}

/// One value inside a record, tuple or struct.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Name of a struct or record member; empty in tuples and event records.
    pub name: String,
    /// Byte offset of the value, or of its `u32` byte count when it lies in the tail.
    pub offset: u32,
    /// Bit offset and width inside the integer at `offset`, for a bitfield.
    pub bits: Option<(u8, u8)>,
    /// What it is.
    pub ty: ValueType,
}

/// What to do with an event's arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActionKind {
    /// Print by a format.
    Printf(Format),
    /// `print(value)`: in the value's default form, with a newline.
    PrintValue,
    /// `print(@m, top, div)`. The record holds `top` and `div` (`u64` each) when they were given at run time: it is empty otherwise.
    PrintMap {
        /// The map.
        map: MapId,
        /// Largest N entries only; 0 for all.
        top: u64,
        /// Divisor of the printed values; 0 or 1 for none.
        div: u64,
        /// How.
        style: PrintStyle,
    },
    /// `clear(@m)`: delete all entries.
    ClearMap(MapId),
    /// `zero(@m)`: zero all values, keep the keys.
    ZeroMap(MapId),
    /// `exit()`; the record holds the exit status when one was given.
    Exit,
    /// `unwatch(address)`: the record holds the address.
    Unwatch,
    /// `time(fmt)`, stamped when processed.
    Time(String),
    /// `join(argv, sep)`: the strings of the record, joined.
    Join(String),
    /// `cat(fmt, …)`: the format gives a path.
    Cat(Format),
    /// `system(fmt, …)`.
    System(Format),
    /// `skboutput(path, …)`: a packet for a file. The record holds the boot clock's time and the packet's length (`u64` each), and the packet
    /// follows; it comes by the map with [`MapRole::Packets`].
    Packet {
        /// The file.
        path: String,
        /// Bytes that are left out at the start.
        offset: u64,
    },
    /// `errorf`, `warnf`, `debugf`: level, format and position.
    Message {
        /// `ERROR`, `WARNING`, `DEBUG`.
        level: String,
        /// The text.
        format: Format,
        /// The script's position.
        position: String,
    },
}

/// How a map is printed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrintStyle {
    /// Largest first, or last key first.
    pub descending: bool,
    /// Ordered by the keys, and not by the values.
    pub by_key: bool,
    /// Percentiles of histograms, in thousandths of a percent, with the names that they are printed with.
    pub percentiles: Vec<(u32, String)>,
    /// The percentiles alone, without buckets.
    pub only: bool,
    /// Digits behind the point of divided numbers.
    pub decimals: u8,
}

/// Settings for the runtime.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Print all non-empty maps at exit.
    pub print_maps_on_exit: bool,
    /// Pages (4 KiB) of the ring buffer; rounded up to a power of two by the loader.
    pub ring_pages: u32,
    /// Characters that `str()` reads at most: a string that has as many was cut.
    pub max_strlen: u32,
    /// What is printed after a string that was cut.
    pub str_trunc_trailer: String,
    /// `stats()` maps are printed as before 0.23: `count 2, average 3, total 6`.
    pub stats_in_words: bool,
    /// Bytes that `cat` prints at most.
    pub max_cat_bytes: u64,
    /// Demangle C++ and Rust symbols.
    pub demangle: bool,
    /// Stacks show source lines and inlined functions.
    pub show_debug_info: bool,
    /// GPL-compatible licence string.
    pub license: String,
    /// A missing probe: error, warn or ignore.
    pub missing_probes: MissingProbes,
    /// Report failing helpers (`-k`).
    pub report_helper_errors: bool,
    /// Filter of `-p`; also the pid of the child of `-c`.
    pub pid: Option<u32>,
    /// Filter of `--cgroup` and `--container`.
    pub cgroup: Option<Cgroup>,
}

/// A cgroup (version 2) whose processes, and those of the cgroups below it, are traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cgroup {
    /// Its id.
    pub id: u64,
    /// Steps from the root of the hierarchy; `None` where the root cannot be seen, so that the cgroups below are not known.
    pub level: Option<u32>,
}

/// Policy for attach points that do not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MissingProbes {
    /// Do not start.
    #[default]
    Error,
    /// Say so and go on.
    Warn,
    /// Go on.
    Ignore,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            print_maps_on_exit: true,
            ring_pages: 64,
            max_strlen: 1024,
            str_trunc_trailer: "..".into(),
            stats_in_words: false,
            max_cat_bytes: 10240,
            demangle: true,
            show_debug_info: false,
            license: "GPL".into(),
            missing_probes: MissingProbes::Error,
            report_helper_errors: false,
            pid: None,
            cgroup: None,
        }
    }
}
