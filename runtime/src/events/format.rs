//! printf: a format's pieces and the decoded arguments, written into a reused buffer.
//!
//! Without a length modifier the reference narrows every integer to 32 bits, as C's `int` does, so that a 64-bit time or
//! size prints as nonsense. Here a value that needs more than 32 bits is printed whole; all others print the same.

use tapline_compiler::program::{Conversion, Format, FormatNumber, FormatPiece, FormatSpec};

use super::text::{put, write_escaped, write_value};
use super::value::Value;

/// Widths beyond this are cut: they come from the script's data when the format says `*`.
const MAX_WIDTH: u64 = 4096;

/// Appends the formatted text. Arguments that the format names but the record lacks print as nothing.
pub fn render(format: &Format, args: &[Value<'_>], out: &mut Vec<u8>) {
    for piece in &format.pieces {
        match piece {
            FormatPiece::Literal(bytes) => out.extend_from_slice(bytes),
            FormatPiece::Spec(spec) => {
                if let Some(value) = args.get(spec.arg as usize) {
                    render_spec(spec, value, args, out);
                }
            }
        }
    }
}

fn render_spec(spec: &FormatSpec, value: &Value<'_>, args: &[Value<'_>], out: &mut Vec<u8>) {
    let start = out.len();
    match spec.conversion {
        Conversion::Signed => {
            let n = signed(value, spec.length);
            if spec.plus && n >= 0 {
                out.push(b'+');
            }
            put!(out, "{n}");
        }
        Conversion::Unsigned => put!(out, "{}", unsigned(value, spec.length)),
        Conversion::Octal => {
            let n = unsigned(value, spec.length);
            if spec.alternate && n != 0 {
                out.push(b'0');
            }
            put!(out, "{n:o}");
        }
        Conversion::Hex => {
            let n = unsigned(value, spec.length);
            if spec.alternate && n != 0 { put!(out, "{n:#x}") } else { put!(out, "{n:x}") }
        }
        Conversion::HexUpper => {
            let n = unsigned(value, spec.length);
            if spec.alternate && n != 0 { put!(out, "0X{n:X}") } else { put!(out, "{n:X}") }
        }
        Conversion::Pointer => match value.bits() {
            0 => out.push(b'0'),
            n => put!(out, "{n:#x}"),
        },
        Conversion::Char => out.push(value.bits() as u8),
        Conversion::String => write_value(value, out),
        Conversion::Raw => write_escaped(bytes_of(value), out),
        Conversion::RawHex => {
            for (i, b) in bytes_of(value).iter().enumerate() {
                if i > 0 {
                    out.push(b' ');
                }
                put!(out, "{b:02x}");
            }
        }
        Conversion::RawEscaped => {
            for b in bytes_of(value) {
                put!(out, "\\x{b:02x}");
            }
        }
        Conversion::GfpFlags => super::gfp::write_flags(value.bits(), out),
    }
    pad(spec, args, start, out);
}

/// Fills what was written since `start` up to the width. The fill character goes to the side that the alignment
/// leaves free, before a sign as well: so the reference does it.
fn pad(spec: &FormatSpec, args: &[Value<'_>], start: usize, out: &mut Vec<u8>) {
    let (width, negative) = match spec.width {
        None => return,
        Some(FormatNumber::Fixed(n)) => (u64::from(n), false),
        Some(FormatNumber::Arg(index)) => {
            let n = args.get(index as usize).map_or(0, |v| v.bits() as i64);
            (n.unsigned_abs(), n < 0)
        }
    };
    let written = out.len() - start;
    let missing = (width.min(MAX_WIDTH) as usize).saturating_sub(written);
    if missing == 0 {
        return;
    }
    out.resize(out.len() + missing, if spec.zero { b'0' } else { b' ' });
    if !(spec.left || negative)
        && let Some(text) = out.get_mut(start..)
    {
        text.rotate_right(missing);
    }
}

fn bytes_of<'v>(value: &'v Value<'_>) -> &'v [u8] {
    match value {
        Value::Buf(bytes) | Value::Str { bytes, .. } | Value::Strings(bytes) => bytes,
        Value::Text(text) | Value::Stack(text) => text.as_bytes(),
        _ => &[],
    }
}

/// Bytes of the value's own type, as far as C's promotion to `int` is concerned.
fn is_wide(value: &Value<'_>) -> bool {
    matches!(
        value,
        Value::Signed(_, 8) | Value::Unsigned(_, 8) | Value::Pointer(_) | Value::Average(_) | Value::Stats(_)
    )
}

fn signed(value: &Value<'_>, length: Option<u8>) -> i64 {
    let bits = value.bits();
    match length {
        Some(8) => i64::from(bits as i8),
        Some(16) => i64::from(bits as i16),
        Some(_) => bits as i64,
        None if is_wide(value) => bits as i64,
        None => i64::from(bits as i32),
    }
}

fn unsigned(value: &Value<'_>, length: Option<u8>) -> u64 {
    let bits = value.bits();
    let fits_int = i32::try_from(bits as i64).is_ok();
    match length {
        Some(8) => u64::from(bits as u8),
        Some(16) => u64::from(bits as u16),
        Some(_) => bits,
        None if is_wide(value) && !(fits_int && matches!(value, Value::Signed(..))) => bits,
        None => u64::from(bits as u32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(conversion: Conversion, change: impl FnOnce(&mut FormatSpec)) -> FormatSpec {
        let mut spec = FormatSpec { conversion, ..FormatSpec::default() };
        change(&mut spec);
        spec
    }

    fn one(spec: FormatSpec, value: Value<'_>) -> String {
        let mut out = Vec::new();
        render(&Format { pieces: vec![FormatPiece::Spec(spec)] }, &[value], &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[allow(clippy::unnecessary_wraps)] // The type of the field.
    fn width(n: u32) -> Option<FormatNumber> {
        Some(FormatNumber::Fixed(n))
    }

    // Expectations printed by the reference for the same formats.
    #[test]
    fn integers_like_the_reference() {
        use Conversion::{Hex, HexUpper, Octal, Pointer, Signed, Unsigned};
        let five = Value::Signed(5, 1);
        assert_eq!(one(spec(Signed, |s| s.width = width(5)), five.clone()), "    5");
        assert_eq!(one(spec(Signed, |s| (s.width, s.left) = (width(5), true)), five.clone()), "5    ");
        assert_eq!(one(spec(Signed, |s| (s.width, s.zero) = (width(5), true)), five.clone()), "00005");
        assert_eq!(one(spec(Signed, |s| (s.width, s.zero) = (width(5), true)), Value::Signed(-5, 1)), "000-5");
        assert_eq!(one(spec(Signed, |s| s.plus = true), five.clone()), "+5");
        assert_eq!(one(spec(Signed, |s| s.space = true), five), "5");
        assert_eq!(one(spec(Unsigned, |_| ()), Value::Signed(-3, 1)), "4294967293");
        assert_eq!(one(spec(Hex, |_| ()), Value::Signed(-1, 2)), "ffffffff");
        assert_eq!(one(spec(Hex, |_| ()), Value::Signed(-1, 8)), "ffffffff");
        assert_eq!(one(spec(Hex, |s| s.length = Some(64)), Value::Signed(-1, 1)), "ffffffffffffffff");
        assert_eq!(one(spec(Hex, |s| s.alternate = true), Value::Unsigned(255, 8)), "0xff");
        assert_eq!(one(spec(HexUpper, |s| s.alternate = true), Value::Unsigned(255, 8)), "0XFF");
        assert_eq!(one(spec(Octal, |s| s.alternate = true), Value::Unsigned(8, 8)), "010");
        assert_eq!(one(spec(Octal, |s| s.alternate = true), Value::Unsigned(0, 8)), "0");
        let padded = |s: &mut FormatSpec| (s.alternate, s.zero, s.width) = (true, true, width(8));
        assert_eq!(one(spec(Hex, padded), Value::Unsigned(0xab, 8)), "00000xab");
        assert_eq!(one(spec(Signed, |_| ()), Value::Unsigned(u64::from(u32::MAX), 4)), "-1");
        assert_eq!(one(spec(Signed, |s| s.length = Some(8)), Value::Signed(300, 2)), "44");
        assert_eq!(one(spec(Signed, |s| s.length = Some(16)), Value::Signed(70000, 4)), "4464");
        assert_eq!(one(spec(Pointer, |_| ()), Value::Pointer(5)), "0x5");
        assert_eq!(one(spec(Pointer, |_| ()), Value::Pointer(0)), "0");
        assert_eq!(one(spec(Signed, |_| ()), Value::Bool(true)), "1");
    }

    #[test]
    fn wide_values_are_whole() {
        assert_eq!(one(spec(Conversion::Signed, |_| ()), Value::Unsigned(1_411_935_826_522, 8)), "1411935826522");
        assert_eq!(one(spec(Conversion::Hex, |_| ()), Value::Pointer(0xffff_8880_0000_0000)), "ffff888000000000");
    }

    #[test]
    fn strings() {
        let string = |s: &'static str| Value::Str { bytes: s.as_bytes(), trailer: "" };
        assert_eq!(one(spec(Conversion::String, |s| (s.width, s.left) = (width(8), true)), string("ab")), "ab      ");
        assert_eq!(one(spec(Conversion::String, |s| s.width = width(8)), string("cd")), "      cd");
        assert_eq!(one(spec(Conversion::String, |s| s.precision = width(2)), string("efgh")), "efgh");
        assert_eq!(one(spec(Conversion::String, |s| s.width = width(5)), Value::Bool(true)), " true");
        let buf = Value::Buf(b"a\x01b\xff");
        assert_eq!(one(spec(Conversion::Raw, |_| ()), buf.clone()), "a\\x01b\\xff");
        assert_eq!(one(spec(Conversion::RawHex, |_| ()), buf.clone()), "61 01 62 ff");
        assert_eq!(one(spec(Conversion::RawEscaped, |_| ()), buf), "\\x61\\x01\\x62\\xff");
        assert_eq!(one(spec(Conversion::Char, |s| s.width = width(5)), Value::Signed(65, 1)), "    A");
    }

    #[test]
    fn width_from_an_argument() {
        let spec = spec(Conversion::Signed, |s| s.width = Some(FormatNumber::Arg(1)));
        let format = Format { pieces: vec![FormatPiece::Spec(spec)] };
        let mut out = Vec::new();
        render(&format, &[Value::Signed(7, 8), Value::Signed(-3, 8)], &mut out);
        render(&format, &[Value::Signed(7, 8), Value::Signed(3, 8)], &mut out);
        assert_eq!(out, b"7    7");
        out.clear();
        render(&format, &[Value::Signed(7, 8), Value::Unsigned(u64::MAX >> 1, 8)], &mut out);
        assert_eq!(out.len(), 4096);
        out.clear();
        render(&format, &[], &mut out);
        assert!(out.is_empty());
    }
}
