//! Values as the script's output knows them: decoded, symbols resolved, still typed enough for every output form.

/// A decoded value. Bytes are borrowed from the record or map that they came in.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Signed integer of this many bytes.
    Signed(i64, u8),
    /// Unsigned integer of this many bytes.
    Unsigned(u64, u8),
    /// true/false.
    Bool(bool),
    /// A number that may have a name.
    Enum(i64, Option<&'a str>),
    /// A number in a larger unit.
    Fixed(Fixed),
    /// Address.
    Pointer(u64),
    /// A string without its terminator.
    Str {
        /// The bytes.
        bytes: &'a [u8],
        /// Printed after it when it was cut, else empty.
        trailer: &'a str,
    },
    /// Strings one after the other, each with its terminator.
    Strings(&'a [u8]),
    /// Counted bytes.
    Buf(&'a [u8]),
    /// Something that user space has put in words: a symbol, a time, a name.
    Text(String),
    /// A stack, one frame per line, with a newline before the first.
    Stack(String),
    /// `(a, b)`.
    Tuple(Vec<Value<'a>>),
    /// `[a,b]`.
    Array(Vec<Value<'a>>),
    /// `{ .a = 1 }`.
    Struct(Vec<(&'a str, Value<'a>)>),
    /// Mean of an aggregation.
    Average(Mean),
    /// `{ .count = 1, .average = 4, .total = 4 }`.
    Stats(Mean),
    /// A histogram.
    Histogram(Histogram),
    /// Values of intervals of time.
    Series(Series),
}

/// A number that is printed in a larger unit, with decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// The number.
    pub n: i128,
    /// What is printed as 1; never 0.
    pub unit: u128,
    /// Digits behind the point; the rest is cut off.
    pub decimals: u8,
}

impl std::fmt::Display for Fixed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (n, unit) = (self.n.unsigned_abs(), self.unit.max(1));
        let (whole, mut rest) = (n / unit, n % unit);
        let mut digits = String::new();
        for _ in 0..self.decimals {
            rest = rest.saturating_mul(10);
            digits.push(char::from(b'0' + (rest / unit).min(9) as u8));
            rest %= unit;
        }
        let is_zero = whole == 0 && digits.bytes().all(|b| b == b'0');
        let sign = if self.n < 0 && !is_zero { "-" } else { "" };
        let point = if digits.is_empty() { "" } else { "." };
        write!(f, "{sign}{whole}{point}{digits}")
    }
}

/// Count and total of an aggregation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mean {
    /// Number of values.
    pub count: u64,
    /// Their sum, two's complement when `signed`.
    pub total: u64,
    /// How to read the total.
    pub signed: bool,
    /// Divides the average where it is printed; never 0.
    pub div: u64,
    /// Printed as former releases did.
    pub in_words: bool,
}

impl Mean {
    /// The average, rounded towards zero, 0 without values.
    pub fn average(self) -> Value<'static> {
        if self.signed {
            let mean = (self.total as i64).checked_div(self.count as i64).unwrap_or(0);
            Value::Signed(mean.checked_div(self.div as i64).unwrap_or(0), 8)
        } else {
            let mean = self.total.checked_div(self.count).unwrap_or(0);
            Value::Unsigned(mean.checked_div(self.div).unwrap_or(0), 8)
        }
    }
    /// The sum.
    pub fn total(self) -> Value<'static> {
        if self.signed { Value::Signed(self.total as i64, 8) } else { Value::Unsigned(self.total, 8) }
    }
}

/// The values of a time series.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Length of an interval in ns; never 0.
    pub interval_ns: u64,
    /// The intervals that have a value, oldest first, with their numbers: `interval_ns` times the number is the wall-clock time
    /// at which they begin.
    pub points: Vec<(u64, Value<'static>)>,
}

/// Buckets of a histogram, all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// What the buckets stand for.
    pub scale: Scale,
    /// Counts.
    pub counts: Vec<u64>,
}

/// The meaning of a histogram's buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Powers of two with 2^bits sub-buckets.
    Log2 {
        /// See [`tapline_compiler::program::log2_buckets`].
        bits: u8,
    },
    /// Equal steps.
    Linear {
        /// Lower bound.
        min: i64,
        /// Width.
        step: u64,
    },
}

impl Value<'_> {
    /// As a 64-bit pattern, for integer conversions; 0 for what is no number.
    pub fn bits(&self) -> u64 {
        match self {
            Self::Signed(n, _) | Self::Enum(n, _) => *n as u64,
            Self::Unsigned(n, _) | Self::Pointer(n) => *n,
            Self::Bool(b) => u64::from(*b),
            Self::Fixed(fixed) => fixed.n as u64,
            Self::Average(mean) => mean.average().bits(),
            Self::Stats(mean) => mean.total,
            _ => 0,
        }
    }
}
