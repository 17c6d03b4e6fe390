//! What literals mean: numbers in all their notations, and the escapes of strings.
//!
//! Pure functions from text to value; no spans, no recovery.

/// Why a number is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberError {
    /// The value does not fit 64 bits.
    Overflow,
    /// Letters after the digits that are neither a C suffix, an exponent nor a duration.
    Suffix,
    /// A digit that the base does not have.
    Digit,
}

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

/// C suffixes; they say nothing about the type here.
const C_SUFFIXES: &[&str] = &["u", "l", "ul", "lu", "ll", "ull", "llu"];

/// The value of a number: decimal, octal (`017`), hexadecimal, `2e3`, with `_` between digits, with a C suffix or a
/// duration (`2e3ms` too).
pub(crate) fn number(text: &str) -> Result<u64, NumberError> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let end = hex.find(|c: char| !c.is_ascii_hexdigit() && c != '_').unwrap_or(hex.len());
        let (digits, suffix) = hex.split_at(end);
        check_c_suffix(suffix)?;
        return radix(digits, 16);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    if suffix.is_empty() || C_SUFFIXES.contains(&suffix.to_ascii_lowercase().as_str()) {
        let octal = digits.len() > 1 && digits.starts_with('0');
        return radix(digits, if octal { 8 } else { 10 });
    }
    let mut value = radix(digits, 10)?;
    let mut unit = suffix;
    if let Some(exponent) = suffix.strip_prefix(['e', 'E']) {
        let end = exponent.find(|c: char| !c.is_ascii_digit()).unwrap_or(exponent.len());
        let (power, rest) = exponent.split_at(end);
        let power = power.parse::<u32>().map_err(|_| NumberError::Suffix)?;
        value = match value {
            0 => 0,
            _ => 10u64.checked_pow(power).and_then(|scale| value.checked_mul(scale)).ok_or(NumberError::Overflow)?,
        };
        unit = rest;
    }
    if let Some((_, scale)) = DURATIONS.iter().find(|(name, _)| *name == unit) {
        return value.checked_mul(*scale).ok_or(NumberError::Overflow);
    }
    check_c_suffix(unit).map(|()| value)
}

fn check_c_suffix(suffix: &str) -> Result<(), NumberError> {
    if suffix.is_empty() || C_SUFFIXES.contains(&suffix.to_ascii_lowercase().as_str()) {
        Ok(())
    } else {
        Err(NumberError::Suffix)
    }
}

fn radix(digits: &str, base: u32) -> Result<u64, NumberError> {
    let mut value: u64 = 0;
    let mut any = false;
    for c in digits.chars().filter(|c| *c != '_') {
        let digit = c.to_digit(base).ok_or(NumberError::Digit)?;
        value = value
            .checked_mul(u64::from(base))
            .and_then(|v| v.checked_add(u64::from(digit)))
            .ok_or(NumberError::Overflow)?;
        any = true;
    }
    if any && !digits.ends_with('_') { Ok(value) } else { Err(NumberError::Digit) }
}

/// An escape that does not exist, with its byte offset in the text given to [`unescape`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadEscape {
    /// Offset of the backslash.
    pub(crate) at: usize,
    /// Length in bytes.
    pub(crate) len: usize,
}

/// The bytes of a quoted string without its quotes.
pub(crate) fn unescape(inner: &str) -> Result<Vec<u8>, BadEscape> {
    let mut out = Vec::with_capacity(inner.len());
    let mut chars = inner.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != '\\' {
            let mut buf = [0; 4];
            out.extend_from_slice(c.encode_utf8(&mut buf).as_bytes());
            continue;
        }
        let Some((_, escape)) = chars.next() else {
            return Err(BadEscape { at, len: 1 });
        };
        match escape {
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            'r' => out.push(b'\r'),
            'a' => out.push(7),
            'b' => out.push(8),
            'v' => out.push(11),
            'f' => out.push(12),
            'e' => out.push(27),
            '\\' | '"' | '\'' | '?' => out.push(escape as u8),
            '\n' => {}
            '0'..='7' => {
                let mut value = escape.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = chars.peek().and_then(|(_, c)| c.to_digit(8)) else {
                        break;
                    };
                    value = value * 8 + digit;
                    chars.next();
                }
                out.push(u8::try_from(value).map_err(|_| BadEscape { at, len: 4 })?);
            }
            'x' => {
                let mut value = None;
                for _ in 0..2 {
                    let Some(digit) = chars.peek().and_then(|(_, c)| c.to_digit(16)) else {
                        break;
                    };
                    value = Some(value.unwrap_or(0) * 16 + digit);
                    chars.next();
                }
                let value = value.ok_or(BadEscape { at, len: 2 })?;
                out.push(u8::try_from(value).map_err(|_| BadEscape { at, len: 4 })?);
            }
            other => {
                return Err(BadEscape { at, len: 1 + other.len_utf8() });
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let cases = [
            ("0", Ok(0)),
            ("18446744073709551615", Ok(u64::MAX)),
            ("18446744073709551616", Err(NumberError::Overflow)),
            ("0xffffffffffffffff", Ok(u64::MAX)),
            ("0x10000000000000000", Err(NumberError::Overflow)),
            ("0777", Ok(511)),
            ("089", Err(NumberError::Digit)),
            ("0x", Err(NumberError::Digit)),
            ("0xg", Err(NumberError::Suffix)),
            ("1_000_000", Ok(1_000_000)),
            ("1e6", Ok(1_000_000)),
            ("0e99", Ok(0)),
            ("1e19", Ok(10_000_000_000_000_000_000)),
            ("1e20", Err(NumberError::Overflow)),
            ("1e", Err(NumberError::Suffix)),
            ("2e99999999999", Err(NumberError::Suffix)),
            ("7ULL", Ok(7)),
            ("7uu", Err(NumberError::Suffix)),
            ("5us", Ok(5_000)),
            ("1h", Ok(3_600_000_000_000)),
            ("300000d", Err(NumberError::Overflow)),
            ("1foo", Err(NumberError::Suffix)),
        ];
        for (text, expected) in cases {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(unescape(r"a\n\t\r\\\x41\x4\101\0\07z").as_deref(), Ok(&b"a\n\t\r\\A\x04A\x00\x07z"[..]));
        assert_eq!(unescape("\u{e9}"), Ok(vec![0xc3, 0xa9]));
        assert_eq!(unescape(r"\377"), Ok(vec![255]));
        assert_eq!(unescape(r"a\400"), Err(BadEscape { at: 1, len: 4 }));
        assert_eq!(unescape(r"a\q"), Err(BadEscape { at: 1, len: 2 }));
        assert_eq!(unescape(r"\xg"), Err(BadEscape { at: 0, len: 2 }));
        assert_eq!(unescape("\\"), Err(BadEscape { at: 0, len: 1 }));
    }
}
