//! Histograms: which buckets are shown, their bounds, labels and bars.

use crate::events::text::put;
use crate::events::value::{Histogram, Scale};

/// Characters of the longest bar.
const BAR: u64 = 52;

/// A bucket's bounds: `low <= n < high`, open where `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Lower bound, included.
    pub low: Option<i128>,
    /// Upper bound, excluded.
    pub high: Option<i128>,
}

/// The buckets from the first to the last that is not empty, with their bounds and counts.
pub fn shown(histogram: &Histogram) -> impl Iterator<Item = (Bounds, u64)> + '_ {
    let first = histogram.counts.iter().position(|&c| c != 0).unwrap_or(histogram.counts.len());
    let last = histogram.counts.iter().rposition(|&c| c != 0).map_or(0, |i| i + 1);
    let total = histogram.counts.len();
    (first..last).map(move |i| (bounds(histogram.scale, i, total), histogram.counts.get(i).copied().unwrap_or(0)))
}

/// The bounds of bucket `index` of `total`.
pub fn bounds(scale: Scale, index: usize, total: usize) -> Bounds {
    match scale {
        Scale::Log2 { bits } => {
            if index == 0 {
                return Bounds { low: None, high: Some(0) };
            }
            Bounds { low: Some(log2_low(bits, index)), high: Some(log2_low(bits, index + 1)) }
        }
        Scale::Linear { min, step } => {
            let at = |steps: usize| i128::from(min) + i128::from(step) * steps as i128;
            Bounds { low: index.checked_sub(1).map(at), high: (index + 1 < total).then(|| at(index)) }
        }
    }
}

/// The smallest value of a bucket of powers of two: see `log2_buckets` of the compiler.
fn log2_low(bits: u8, index: usize) -> i128 {
    let bits = u32::from(bits.min(5));
    let n = index.saturating_sub(1);
    let sub = 1usize << bits;
    if n < sub {
        return n as i128;
    }
    let exponent = (n >> bits) as u32 - 1;
    ((n & (sub - 1)) as i128 + sub as i128) << exponent.min(64)
}

/// The value below which so many thousandths of a percent of the values lie, as far as the buckets tell: inside of a bucket they are
/// taken to be spread evenly. In an open bucket it is the bound that there is.
pub fn percentile(histogram: &Histogram, thousandths: u32) -> i128 {
    let total: u128 = histogram.counts.iter().map(|&c| u128::from(c)).sum();
    let rank = (total * u128::from(thousandths)).div_ceil(100_000).max(1);
    let mut before = 0;
    for (bounds, count) in shown(histogram) {
        let count = u128::from(count);
        if before + count >= rank && count > 0 {
            return match (bounds.low, bounds.high) {
                (Some(low), Some(high)) => {
                    let width = (high - low - 1).max(0);
                    low + width * (rank - before) as i128 / count as i128
                }
                (Some(bound), None) | (None, Some(bound)) => bound,
                (None, None) => 0,
            };
        }
        before += count;
    }
    0
}

const UNITS: [(u32, &str); 6] = [(60, "E"), (50, "P"), (40, "T"), (30, "G"), (20, "M"), (10, "K")];

/// The largest unit that divides all of `numbers`.
fn unit(numbers: &[i128]) -> (u32, &'static str) {
    let divides = |shift: u32| numbers.iter().all(|n| n.trailing_zeros() >= shift);
    UNITS.iter().copied().find(|(shift, _)| divides(*shift)).unwrap_or((0, ""))
}

fn write_number(n: i128, (shift, suffix): (u32, &str), out: &mut Vec<u8>) {
    if n == 0 {
        out.push(b'0');
    } else {
        put!(out, "{}{suffix}", n >> shift);
    }
}

/// The unit of a bound: the largest that divides the width of the bucket that begins there.
fn unit_at(scale: Scale, n: i128) -> (u32, &'static str) {
    match scale {
        Scale::Log2 { bits } => {
            let exponent = 127 - n.max(1).leading_zeros();
            unit(&[1 << exponent.saturating_sub(u32::from(bits))])
        }
        Scale::Linear { min, step } => unit(&[i128::from(min), i128::from(step)]),
    }
}

fn write_label(scale: Scale, bounds: Bounds, out: &mut Vec<u8>) {
    match bounds {
        Bounds { low: Some(low), high: Some(high) } if high - low == 1 => {
            out.push(b'[');
            write_number(low, unit_at(scale, low), out);
            out.push(b']');
        }
        Bounds { low, high } => {
            match low {
                Some(low) => {
                    out.push(b'[');
                    write_number(low, unit_at(scale, low), out);
                }
                None => out.extend_from_slice(b"(..."),
            }
            out.extend_from_slice(b", ");
            match high {
                Some(high) => write_number(high, unit_at(scale, high), out),
                None => out.extend_from_slice(b"..."),
            }
            out.push(b')');
        }
    }
}

/// Appends one line per bucket; counts are divided by `div`.
pub fn write_text(histogram: &Histogram, div: u64, out: &mut Vec<u8>) {
    let div = div.max(1);
    let largest = histogram.counts.iter().copied().max().unwrap_or(0).max(1);
    for (bounds, count) in shown(histogram) {
        let start = out.len();
        write_label(histogram.scale, bounds, out);
        let width = out.len() - start;
        out.resize(out.len() + 16usize.saturating_sub(width), b' ');
        put!(out, "{:>8} |", count / div);
        // Bars show the counts as printed.
        let top = largest / div;
        let bar = if top == 0 { 0 } else { u128::from(count / div) * u128::from(BAR) / u128::from(top) };
        let bar = bar.min(u128::from(BAR)) as usize;
        out.resize(out.len() + bar, b'@');
        out.resize(out.len() + BAR as usize - bar, b' ');
        out.extend_from_slice(b"|\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, total: usize) -> Vec<String> {
        let label = |i| {
            let mut out = Vec::new();
            write_label(scale, bounds(scale, i, total), &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        (0..total).map(label).collect()
    }

    // All labels as the reference prints them.
    #[test]
    fn powers_of_two() {
        let labels = labels(Scale::Log2 { bits: 0 }, 66);
        let at = |i: usize| labels.get(i).map(String::as_str);
        assert_eq!(at(0), Some("(..., 0)"));
        assert_eq!(at(1), Some("[0]"));
        assert_eq!(at(2), Some("[1]"));
        assert_eq!(at(3), Some("[2, 4)"));
        assert_eq!(at(11), Some("[512, 1K)"));
        assert_eq!(at(12), Some("[1K, 2K)"));
        assert_eq!(at(61), Some("[512P, 1E)"));
        assert_eq!(at(64), Some("[4E, 8E)"));
    }

    #[test]
    fn sub_buckets() {
        let find = |bits: u8, low: i128| {
            let scale = Scale::Log2 { bits };
            let total = tapline_compiler::program::log2_buckets(bits) as usize;
            let index = (0..total).find(|&i| bounds(scale, i, total).low == Some(low));
            index.and_then(|i| labels(scale, total).into_iter().nth(i))
        };
        assert_eq!(find(2, 7).as_deref(), Some("[7]"));
        assert_eq!(find(2, 8).as_deref(), Some("[8, 10)"));
        assert_eq!(find(2, 96).as_deref(), Some("[96, 112)"));
        assert_eq!(find(2, 896).as_deref(), Some("[896, 1024)"));
        assert_eq!(find(2, 3584).as_deref(), Some("[3584, 4K)"));
        assert_eq!(find(3, 7680 << 10).as_deref(), Some("[7680K, 8M)"));
        assert_eq!(find(3, 960 << 10).as_deref(), Some("[960K, 1024K)"));
        assert_eq!(find(2, 1280).as_deref(), Some("[1280, 1536)"));
        assert_eq!(find(1, 2048).as_deref(), Some("[2K, 3K)"));
        assert_eq!(find(5, 1 << 20).as_deref(), Some("[1024K, 1056K)"));
        assert_eq!(find(5, 976 << 10).as_deref(), Some("[976K, 992K)"));
        assert_eq!(find(2, 6 << 60).as_deref(), Some("[6E, 7E)"));
    }

    #[test]
    fn linear() {
        let labels = |min, step, total| labels(Scale::Linear { min, step }, total);
        assert_eq!(labels(0, 10, 4), ["(..., 0)", "[0, 10)", "[10, 20)", "[20, ...)"]);
        assert_eq!(labels(0, 1, 3), ["(..., 0)", "[0]", "[1, ...)"]);
        assert_eq!(labels(0, 1024, 4), ["(..., 0)", "[0, 1K)", "[1K, 2K)", "[2K, ...)"]);
        assert_eq!(labels(512, 512, 4), ["(..., 512)", "[512, 1024)", "[1024, 1536)", "[1536, ...)"]);
        assert_eq!(labels(1024, 1024, 2), ["(..., 1K)", "[1K, ...)"]);
    }

    #[test]
    fn bars() {
        let histogram = Histogram { scale: Scale::Log2 { bits: 0 }, counts: vec![0, 1, 0, 2] };
        let mut out = Vec::new();
        write_text(&histogram, 1, &mut out);
        let expected = "\
[0]                    1 |@@@@@@@@@@@@@@@@@@@@@@@@@@                          |
[1]                    0 |                                                    |
[2, 4)                 2 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@|
";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
