//! Numbers outside the syntax tree: in attach points, positional parameters and the environment. They are written as in a script.

/// Durations and their length in nanoseconds.
const DURATIONS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// The value of a whole text: decimal, octal, hexadecimal, binary, with exponent, duration, `_` between digits or a C suffix. `None`
/// when it is not a number or does not fit 64 bits.
pub fn parse(text: &str) -> Option<u64> {
    for (prefix, base) in [("0x", 16), ("0X", 16), ("0b", 2), ("0B", 2)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            return radix(without_suffix(digits), base);
        }
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    if let Some((_, scale)) = DURATIONS.iter().find(|(name, _)| *name == rest) {
        return radix(digits, 10)?.checked_mul(*scale);
    }
    if let Some(power) = rest.strip_prefix(['e', 'E']) {
        let power = radix(without_suffix(power), 10)?;
        let base = radix(digits, 10)?;
        return if base == 0 { Some(0) } else { base.checked_mul(10u64.checked_pow(u32::try_from(power).ok()?)?) };
    }
    if !without_suffix(rest).is_empty() {
        return None;
    }
    radix(digits, if digits.len() > 1 && digits.starts_with('0') { 8 } else { 10 })
}

/// The same with a sign, and perhaps blanks before it; the bits of a negative number are its two's complement. True when it was negative.
pub fn parse_signed(text: &str) -> Option<(u64, bool)> {
    let text = text.trim_start();
    match text.strip_prefix('-') {
        None => Some((parse(text.strip_prefix('+').unwrap_or(text))?, false)),
        Some(rest) => {
            let value = parse(rest)?;
            (value <= i64::MIN.unsigned_abs()).then(|| (value.wrapping_neg(), value != 0))
        }
    }
}

/// The words for true and false, in any case.
pub fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn without_suffix(text: &str) -> &str {
    text.trim_end_matches(['u', 'U', 'l', 'L'])
}

fn radix(digits: &str, base: u32) -> Option<u64> {
    if !digits.starts_with(|c: char| c.is_digit(base)) {
        return None;
    }
    let mut value: u64 = 0;
    for c in digits.chars().filter(|c| *c != '_') {
        value = value.checked_mul(u64::from(base))?.checked_add(u64::from(c.to_digit(base)?))?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notations() {
        for (text, value) in [
            ("0", Some(0)),
            ("12", Some(12)),
            ("1_000", Some(1000)),
            ("0x1F", Some(31)),
            ("0b101", Some(5)),
            ("017", Some(15)),
            ("2e3", Some(2000)),
            ("0e99", Some(0)),
            ("100ms", Some(100_000_000)),
            ("1s", Some(1_000_000_000)),
            ("7UL", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("9999999999999d", None),
            ("1e20", None),
            ("089", None),
            ("", None),
            ("_1", None),
            ("abc", None),
            ("1x", None),
            ("1 ", None),
            ("-1", None),
            ("ms", None),
            ("0x", None),
            ("é1", None),
        ] {
            assert_eq!(parse(text), value, "{text}");
        }
    }

    #[test]
    fn signs() {
        assert_eq!(parse_signed("-1"), Some((u64::MAX, true)));
        assert_eq!(parse_signed("5"), Some((5, false)));
        assert_eq!(parse_signed("-9223372036854775808"), Some((1 << 63, true)));
        assert_eq!(parse_signed("-9223372036854775809"), None);
        assert_eq!(parse_signed("--1"), None);
    }
}
