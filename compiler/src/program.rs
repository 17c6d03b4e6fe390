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
    /// `raw_tp` program that is run through `BPF_PROG_TEST_RUN`: begin, end, self:signal.
    RawTpRun,
    /// `kprobe` program behind perf kprobe events, entry.
    Kprobe,
    /// `kprobe` program behind perf kprobe events, return.
    Kretprobe,
    /// `kprobe` program with attach type `TRACE_KPROBE_MULTI`, entry.
    KprobeMulti,
    /// `kprobe` program with attach type `TRACE_KPROBE_MULTI`, return.
    KretprobeMulti,
    /// `kprobe` program behind perf uprobe events, entry.
    Uprobe,
    /// `kprobe` program behind perf uprobe events, return.
    Uretprobe,
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
    /// What to do when the attach fails; the script's position for the message, `file:line:col`.
    pub position: String,
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
    /// Kernel function, with the module when one was named, and a byte offset.
    Kprobe {
        /// Function name.
        function: String,
        /// Kernel module.
        module: Option<String>,
        /// Bytes after the function's start.
        offset: u64,
    },
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
    /// Updates of a map that found it full (or out of memory).
    MapFull {
        /// The map.
        map: MapId,
        /// The script's position, `file:line:col`.
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
    /// `time(fmt)`, stamped when processed.
    Time(String),
    /// `join(argv, sep)`: the strings of the record, joined.
    Join(String),
    /// `cat(fmt, …)`: the format gives a path.
    Cat(Format),
    /// `system(fmt, …)`.
    System(Format),
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

/// A printf format, parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// In order.
    pub pieces: Vec<FormatPiece>,
}

/// A piece of a format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FormatPiece {
    /// Bytes to copy.
    Literal(Vec<u8>),
    /// The next argument.
    Spec(FormatSpec),
}

/// One conversion of a format, for instance `%-10s`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormatSpec {
    /// Position of the value among the record's arguments.
    pub arg: u32,
    /// `-`.
    pub left: bool,
    /// `0`.
    pub zero: bool,
    /// `+`.
    pub plus: bool,
    /// Blank.
    pub space: bool,
    /// `#`.
    pub alternate: bool,
    /// Minimum width; may come from an argument (`*`).
    pub width: Option<FormatNumber>,
    /// Precision; may come from an argument.
    pub precision: Option<FormatNumber>,
    /// What to print.
    pub conversion: Conversion,
    /// Bits kept by a length modifier (`hh` 8, `h` 16, `l`/`ll`/`j`/`z`/`t` 64), when one was written.
    pub length: Option<u8>,
}

/// A width or precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FormatNumber {
    /// Written in the format.
    Fixed(u32),
    /// Taken from the argument at this position.
    Arg(u32),
}

/// The conversion letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Conversion {
    /// `d`, `i`.
    #[default]
    Signed,
    /// `u`.
    Unsigned,
    /// `o`.
    Octal,
    /// `x`.
    Hex,
    /// `X`.
    HexUpper,
    /// `p`.
    Pointer,
    /// `c`.
    Char,
    /// `s`: the value's default form.
    String,
    /// `r`: bytes with non-printable ones as `\xNN`.
    Raw,
    /// `rh`: hex bytes separated by blanks.
    RawHex,
    /// `rx`: every byte as `\xNN`.
    RawEscaped,
    /// `gr`: GFP flags by name.
    GfpFlags,
}

/// How to decode and print a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValueType {
    /// An integer of 1, 2, 4 or 8 bytes.
    Int {
        /// Bytes.
        size: u8,
        /// Two's complement.
        signed: bool,
    },
    /// One byte, printed as true/false.
    Bool,
    /// An integer with names.
    Enum {
        /// Bytes.
        size: u8,
        /// Value -> name, in order of definition.
        names: Vec<(i64, String)>,
    },
    /// An address, printed as 0x….
    Pointer,
    /// NUL-terminated bytes with this capacity (terminator included where there is room).
    Str {
        /// Capacity in bytes.
        capacity: u32,
    },
    /// NUL-terminated strings one after the other, always in the tail (`join`).
    Strings,
    /// `u32` length, then so many bytes of this capacity.
    Buf {
        /// Capacity of the data.
        capacity: u32,
    },
    /// Address in the kernel, printed as symbol+offset.
    KernelSymbol,
    /// `u64` address and `u64` (low 32 bits: tgid): printed as the user symbol.
    UserSymbol,
    /// 16 bytes: `u64` id in the side map of stacks (0: no stack), `u32` tgid, `u32` 0.
    Stack {
        /// User stack (else kernel).
        user: bool,
        /// Presentation.
        mode: StackMode,
        /// Frames shown at most.
        limit: u32,
    },
    /// 24 bytes: `u64` address family (`AF_INET` 2, `AF_INET6` 10), 16 bytes of address in network order.
    Inet,
    /// Six bytes.
    Mac,
    /// `u64` nanoseconds of the clock, printed by a strftime format (with `%f` for microseconds).
    Timestamp {
        /// strftime format.
        format: String,
        /// What the number counts from.
        clock: Clock,
    },
    /// 64-bit number, printed in a larger unit with decimals.
    Fixed {
        /// What is printed as 1; never 0.
        unit: u64,
        /// Digits behind the point.
        decimals: u8,
        /// Two's complement.
        signed: bool,
    },
    /// `u32` uid, printed as user name.
    Username,
    /// `i64` errno, printed as text.
    ErrorText,
    /// `u64` signal number, printed as SIG….
    SignalName,
    /// `u64` syscall number, printed as name.
    SyscallName,
    /// `u64` cgroup id, printed as path under the hierarchy that the filter matches.
    CgroupPath {
        /// Filter of hierarchies.
        filter: String,
    },
    /// Index of an attach point (`u64`), printed as its name.
    ProbeName,
    /// Fixed number of elements.
    Array {
        /// Element type.
        elem: Box<ValueType>,
        /// Bytes from one element to the next.
        stride: u32,
        /// Number of elements.
        len: u32,
    },
    /// `(a, b)`; the size includes padding.
    Tuple {
        /// Members without names.
        fields: Vec<Field>,
        /// Bytes.
        size: u32,
    },
    /// A struct, union or record: `{ .a = 1, .b = x }`.
    Struct {
        /// Members.
        fields: Vec<Field>,
        /// Bytes.
        size: u32,
    },
    /// An aggregation; only as a map's value.
    Aggregate(Aggregate),
}

/// Aggregations as they lie in one CPU's copy of a map value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Aggregate {
    /// `u64`.
    Count,
    /// 64-bit sum.
    Sum {
        /// Printed signed.
        signed: bool,
    },
    /// `u64` value, `u64` 1 when set.
    Min {
        /// Compared and printed signed.
        signed: bool,
    },
    /// `u64` value, `u64` 1 when set.
    Max {
        /// Compared and printed signed.
        signed: bool,
    },
    /// `u64` count, 64-bit total.
    Avg {
        /// Printed signed.
        signed: bool,
    },
    /// `u64` count, 64-bit total.
    Stats {
        /// Printed signed.
        signed: bool,
    },
    /// `u64` buckets: see [`log2_buckets`].
    Hist {
        /// 2^bits sub-buckets per power of two.
        bits: u8,
    },
    /// `u64` buckets: below min, the steps, at or above max.
    LinearHist {
        /// Lower bound.
        min: i64,
        /// Upper bound.
        max: i64,
        /// Width.
        step: u64,
    },
    /// A ring of [`SERIES_SLOT`] bytes per interval: `u64` number of the interval plus one (0: never used), `u64` value, `u64` time
    /// of the value (boot clock) or, of averages, how many values there are. The interval of a time is the nanoseconds of
    /// the wall clock divided by the interval's length; it lies in the slot of that number modulo the number of slots.
    Series {
        /// Length of an interval in ns.
        interval_ns: u64,
        /// Intervals that are kept.
        slots: u32,
        /// What becomes of several values in one interval.
        fold: SeriesFold,
        /// Compared and printed signed.
        signed: bool,
    },
}

/// What a time series keeps of the values of one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)] // The names say it.
pub enum SeriesFold {
    Last,
    Avg,
    Max,
    Min,
    Sum,
}

/// Bytes of an interval of a time series.
pub const SERIES_SLOT: u32 = 24;

/// Number of buckets of `hist(n, bits)`. Bucket 0 holds negative values; buckets 1 to 2^bits hold the values 0 to
/// 2^bits - 1, one each; after that every power of two from 2^bits up has 2^bits equal sub-buckets. A value `n` >= 2^bits with
/// highest set bit `e` falls into bucket `1 + ((e - bits + 1) << bits) + ((n >> (e - bits)) - 2^bits)`.
pub const fn log2_buckets(bits: u8) -> u32 {
    1 + (64 - bits as u32 + 1) * (1 << bits)
}

/// Number of buckets of a linear histogram: one below, the whole steps, one above. Where the steps do not divide the span,
/// the last bucket begins after the last whole step: a value `n` >= min falls into bucket `1 + (n - min) / step`, or the last.
pub const fn linear_buckets(min: i64, max: i64, step: u64) -> u64 {
    let span = max.wrapping_sub(min) as u64;
    match span.checked_div(step) {
        Some(steps) => steps.saturating_add(2),
        None => 2,
    }
}

/// Presentation of a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StackMode {
    /// `sym+off`.
    #[default]
    Bpftrace,
    /// `addr sym+off (module)`.
    Perf,
    /// Addresses only.
    Raw,
    /// Build ids and offsets.
    BuildId,
}

/// Clocks that timestamps come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Clock {
    /// Nanoseconds since boot, suspend included.
    Boot,
    /// Nanoseconds since boot, suspend excluded.
    Monotonic,
    /// International atomic time.
    Tai,
    /// Seconds are already wall-clock time.
    Wall,
}

impl ValueType {
    /// True when the value lies in the tail of an event record.
    pub fn is_tail(&self) -> bool {
        matches!(self, Self::Str { .. } | Self::Buf { .. } | Self::Strings)
    }
}

/// Settings for the runtime.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Print all non-empty maps at exit.
    pub print_maps_on_exit: bool,
    /// Pages (4 KiB) of the ring buffer; rounded up to a power of two by the loader.
    pub ring_pages: u32,
    /// What is printed after a string that was cut.
    pub str_trunc_trailer: String,
    /// Bytes that `cat` prints at most.
    pub max_cat_bytes: u64,
    /// Demangle C++ and Rust symbols.
    pub demangle: bool,
    /// GPL-compatible licence string.
    pub license: String,
    /// A missing probe: error, warn or ignore.
    pub missing_probes: MissingProbes,
    /// Report failing helpers (`-k`).
    pub report_helper_errors: bool,
    /// Filter of `-p`; also the pid of the child of `-c`.
    pub pid: Option<u32>,
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
            str_trunc_trailer: "..".into(),
            max_cat_bytes: 10240,
            demangle: true,
            license: "GPL".into(),
            missing_probes: MissingProbes::Error,
            report_helper_errors: false,
            pid: None,
        }
    }
}
