//! Time series as text: one line per interval, the value as a mark between the smallest and the largest.

use crate::events::context::format_time;
use crate::events::text::{put, write_value};
use crate::events::value::{Series, Value};

/// Columns between the borders, and with both of them.
const INNER: usize = 51;
const COLUMNS: usize = INNER + 2;

/// What a column of times says, and how many digits follow the second.
struct Precision {
    header: &'static str,
    digits: usize,
}

/// The first unit that an interval has room for.
const PRECISIONS: &[(u64, Precision)] = &[
    (1_000_000_000, Precision { header: "hh:mm:ss", digits: 0 }),
    (1_000_000, Precision { header: "hh:mm:ss.ms", digits: 3 }),
    (1_000, Precision { header: "hh:mm:ss.μs", digits: 6 }),
];
const NANOSECONDS: Precision = Precision { header: "hh:mm:ss.ns", digits: 9 };

/// Digits of a fraction of a second in ns.
const FRACTION: usize = 9;

/// Wall-clock time at which an interval begins, in ns.
pub fn start_ns(series: &Series, interval: u64) -> i128 {
    i128::from(series.interval_ns) * i128::from(interval)
}

/// The same within its second.
pub fn fraction_ns(series: &Series, interval: u64) -> i128 {
    start_ns(series, interval).rem_euclid(1_000_000_000)
}

fn number(value: &Value<'_>) -> i128 {
    match value {
        Value::Signed(n, _) => i128::from(*n),
        other => i128::from(other.bits()),
    }
}

/// Appends the series; intervals without value between others are shown as such.
pub fn write_text(series: &Series, out: &mut Vec<u8>) {
    let (Some((first, value)), Some((last, _))) = (series.points.first(), series.points.last()) else {
        return out.extend_from_slice(b"<no data>");
    };
    let numbers = || series.points.iter().map(|(_, value)| number(value));
    let (mut low, mut high) = (numbers().min().unwrap_or(0), numbers().max().unwrap_or(0));
    if low == high {
        // The mark stands in the middle, unless the type ends there.
        let (lowest, highest) = match value {
            Value::Unsigned(..) => (0, i128::from(u64::MAX)),
            _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
        };
        low = (low - 1).max(lowest);
        high = (high + 1).min(highest);
    }
    // One interval alone has no distance to others that would say how exact its time should be.
    let found = PRECISIONS.iter().find(|(unit, _)| series.interval_ns >= *unit).filter(|_| first != last);
    let precision = found.map_or(&NANOSECONDS, |(_, precision)| precision);
    let time_width = "hh:mm:ss".len() + if precision.digits > 0 { precision.digits + 1 } else { 0 };

    let column = |n: i128| (n - low) * (COLUMNS as i128 - 1) / (high - low).max(1);
    let zero = (low < 0 && high > 0).then(|| column(0));
    let bounds = |out: &mut Vec<u8>| {
        let (low, high) = (low.to_string(), high.to_string());
        let between = COLUMNS.saturating_sub(low.len());
        put!(out, "{:time_width$} {low}{high:>between$}\n", "");
    };
    let line = |border: char, out: &mut Vec<u8>| put!(out, "{border}{}{border}\n", "_".repeat(INNER));

    bounds(out);
    // The reference pads by bytes, of which `μ` has two.
    put!(out, "{}{} ", precision.header, " ".repeat(time_width.saturating_sub(precision.header.len())));
    line('|', out);
    let mut points = series.points.iter().peekable();
    let mut interval = *first;
    while interval <= *last {
        let value = points.next_if(|(own, _)| *own == interval).map(|(_, value)| value);
        out.extend_from_slice(format_time("%H:%M:%S", start_ns(series, interval)).as_bytes());
        if precision.digits > 0 {
            let fraction = format!("{:0FRACTION$}", fraction_ns(series, interval));
            put!(out, ".{fraction:.digits$}", digits = precision.digits);
        }
        out.push(b' ');
        let mark = value.map(|value| column(number(value)));
        for at in 0..COLUMNS as i128 {
            out.push(match at {
                _ if mark == Some(at) => b'*',
                0 => b'|',
                _ if at == COLUMNS as i128 - 1 => b'|',
                _ if zero == Some(at) => b'.',
                _ => b' ',
            });
        }
        out.push(b' ');
        match value {
            Some(value) => write_value(value, out),
            None => out.push(b'-'),
        }
        out.push(b'\n');
        interval += 1;
    }
    put!(out, "{:time_width$} ", "");
    line('v', out);
    bounds(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    // As the reference prints it.
    #[test]
    fn gaps_and_the_zero_line() {
        let points = [(0, -23), (1, -16), (3, -2), (4, 5), (12, 61)];
        let points = points.map(|(interval, n)| (interval, Value::Signed(n, 8)));
        let series = Series { interval_ns: 25_000_000, points: points.to_vec() };
        let mut out = Vec::new();
        write_text(&series, &mut out);
        let text = String::from_utf8_lossy(&out).into_owned();
        let rows: Vec<&str> = text.lines().map(|line| line.get(13..).unwrap_or(line)).collect();
        let expected = [
            "-23                                                61",
            "|___________________________________________________|",
            "*             .                                     | -23",
            "|   *         .                                     | -16",
            "|             .                                     | -",
            "|            *.                                     | -2",
            "|             .  *                                  | 5",
        ];
        assert_eq!(rows.get(..expected.len()), Some(&expected[..]));
        assert_eq!(rows.len(), 2 + 13 + 2);
        assert_eq!(rows.get(14), Some(&"|             .                                     * 61"));
    }

    #[test]
    fn times_are_as_exact_as_the_intervals() {
        let header = |interval_ns, points: &[u64]| {
            let points = points.iter().map(|&at| (at, Value::Unsigned(1, 8))).collect();
            let mut out = Vec::new();
            write_text(&Series { interval_ns, points }, &mut out);
            String::from_utf8_lossy(&out).lines().nth(1).and_then(|l| l.split('|').next()).map(str::to_owned)
        };
        assert_eq!(header(60_000_000_000, &[1, 2]).as_deref(), Some("hh:mm:ss "));
        assert_eq!(header(999_000_000, &[1, 2]).as_deref(), Some("hh:mm:ss.ms  "));
        assert_eq!(header(1_000, &[1, 2]).as_deref(), Some("hh:mm:ss.μs    "));
        assert_eq!(header(999, &[1, 2]).as_deref(), Some("hh:mm:ss.ns        "));
        assert_eq!(header(60_000_000_000, &[1]).as_deref(), Some("hh:mm:ss.ns        "));
        assert_eq!(header(1, &[]), None);
    }
}
