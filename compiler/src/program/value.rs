//! Types of values as the runtime decodes and prints them: in records, keys and values of maps.

use serde::{Deserialize, Serialize};

use super::Field;

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
    /// `u64` nanoseconds, `u64` number of the format, from 1 (0: nothing was stored).
    Timestamp {
        /// strftime formats (with `%f` for microseconds), and the clocks whose nanoseconds they are.
        formats: Vec<(String, Clock)>,
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
    /// `u64` cgroup id, `u64` number of the filter, from 1 (0: nothing was stored); printed as path under the hierarchy that the filter
    /// matches.
    CgroupPath {
        /// Filters of hierarchies.
        filters: Vec<String>,
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
