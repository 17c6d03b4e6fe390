//! The formats of `printf`: parsing, and which conversion prints which type.

use crate::program::{Conversion, Format, FormatNumber, FormatPiece, FormatSpec};
use crate::types::Type;

/// Why a format does not parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatError {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// Conversions by their letters, the longer ones first.
const CONVERSIONS: &[(&str, Conversion)] = &[
    ("rh", Conversion::RawHex),
    ("rx", Conversion::RawEscaped),
    ("gr", Conversion::GfpFlags),
    ("r", Conversion::Raw),
    ("d", Conversion::Signed),
    ("i", Conversion::Signed),
    ("u", Conversion::Unsigned),
    ("o", Conversion::Octal),
    ("x", Conversion::Hex),
    ("X", Conversion::HexUpper),
    ("p", Conversion::Pointer),
    ("c", Conversion::Char),
    ("s", Conversion::String),
];

/// Length modifiers and the bits that they keep, the longer ones first.
const LENGTHS: &[(&str, u8)] =
    &[("hh", 8), ("ll", 64), ("h", 16), ("l", 64), ("j", 64), ("z", 64), ("t", 64), ("q", 64), ("L", 64)];

/// Widths and precisions beyond this are a mistake.
const MAX_WIDTH: u32 = 4096;

/// Parses a format. Arguments are numbered in order, those of `*` included.
pub fn parse(text: &[u8]) -> Result<Format, FormatError> {
    let mut pieces = Vec::new();
    let mut literal = Vec::new();
    let mut rest = text;
    let mut args = 0u32;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            literal.push(*byte);
            continue;
        }
        if let Some(after) = rest.strip_prefix(b"%") {
            literal.push(b'%');
            rest = after;
            continue;
        }
        let (mut spec, after_percent) = (FormatSpec::default(), rest);
        rest = flags(rest, &mut spec);
        spec.width = number(&mut rest, &mut args)?;
        // C leaves open what a width does to a percent sign: nothing.
        if let (Some(after), None | Some(FormatNumber::Fixed(_))) = (rest.strip_prefix(b"%"), &spec.width) {
            literal.push(b'%');
            rest = after;
            continue;
        }
        if let Some(after) = rest.strip_prefix(b".") {
            rest = after;
            spec.precision = Some(number(&mut rest, &mut args)?.unwrap_or(FormatNumber::Fixed(0)));
        }
        if let Some((letters, bits)) = LENGTHS.iter().find(|(letters, _)| rest.starts_with(letters.as_bytes())) {
            rest = rest.get(letters.len()..).unwrap_or_default();
            spec.length = Some(*bits);
        }
        let found = CONVERSIONS.iter().find(|(letters, _)| rest.starts_with(letters.as_bytes()));
        let Some((letters, conversion)) = found else {
            if rest.first().is_some_and(u8::is_ascii_alphabetic) {
                return Err(unknown(rest));
            }
            // Nothing that could be a conversion: the sign stands for itself.
            literal.push(b'%');
            rest = after_percent;
            continue;
        };
        rest = rest.get(letters.len()..).unwrap_or_default();
        spec.conversion = *conversion;
        spec.arg = args;
        args += 1;
        if !literal.is_empty() {
            pieces.push(FormatPiece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(FormatPiece::Spec(spec));
    }
    if !literal.is_empty() {
        pieces.push(FormatPiece::Literal(literal));
    }
    Ok(Format { pieces })
}

/// The format for the kernel, which gets all numbers with 64 bits; `None` for what it does not know.
pub fn for_kernel(format: &Format) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    for piece in &format.pieces {
        let spec = match piece {
            FormatPiece::Literal(bytes) => {
                for &byte in bytes {
                    text.push(byte);
                    if byte == b'%' {
                        text.push(byte);
                    }
                }
                continue;
            }
            FormatPiece::Spec(spec) => spec,
        };
        let plain = !spec.plus && !spec.space && !spec.alternate && spec.precision.is_none();
        let letters = match spec.conversion {
            Conversion::Signed => "lld",
            Conversion::Unsigned => "llu",
            Conversion::Hex | Conversion::Pointer => "llx",
            Conversion::HexUpper => "llX",
            Conversion::Char => "c",
            Conversion::String => "s",
            _ => return None,
        };
        if !plain {
            return None;
        }
        text.extend(if spec.conversion == Conversion::Pointer { &b"0x%"[..] } else { b"%" });
        text.extend([(spec.left, b'-'), (spec.zero, b'0')].into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag));
        match spec.width {
            Some(FormatNumber::Fixed(width)) => text.extend(width.to_string().bytes()),
            Some(FormatNumber::Arg(_)) => return None,
            None => {}
        }
        text.extend(letters.bytes());
    }
    Some(text)
}

fn flags<'t>(mut rest: &'t [u8], spec: &mut FormatSpec) -> &'t [u8] {
    while let Some((flag, after)) = rest.split_first() {
        match flag {
            b'-' => spec.left = true,
            b'0' => spec.zero = true,
            b'+' => spec.plus = true,
            b' ' => spec.space = true,
            b'#' => spec.alternate = true,
            _ => break,
        }
        rest = after;
    }
    rest
}

fn number(rest: &mut &[u8], args: &mut u32) -> Result<Option<FormatNumber>, FormatError> {
    if let Some(after) = rest.strip_prefix(b"*") {
        *rest = after;
        *args += 1;
        return Ok(Some(FormatNumber::Arg(*args - 1)));
    }
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 {
        return Ok(None);
    }
    let (head, after) = rest.split_at(digits);
    *rest = after;
    let value = std::str::from_utf8(head).ok().and_then(|digits| digits.parse::<u32>().ok());
    match value.filter(|n| *n <= MAX_WIDTH) {
        Some(n) => Ok(Some(FormatNumber::Fixed(n))),
        None => Err(FormatError {
            message: format!("a width of {}", String::from_utf8_lossy(head)),
            help: format!("widths are at most {MAX_WIDTH}"),
        }),
    }
}

fn unknown(rest: &[u8]) -> FormatError {
    let help = "conversions are: d i u o x X c s p r rh rx gr; a percent sign is `%%`".to_owned();
    let letter = rest.first().map(|letter| letter.escape_ascii().to_string()).unwrap_or_default();
    let message = format!("unknown conversion `%{letter}`");
    FormatError { message, help }
}

/// How many arguments a format takes.
pub fn arguments(format: &Format) -> usize {
    let specs = format.pieces.iter().filter_map(|piece| match piece {
        FormatPiece::Spec(spec) => Some(spec.arg as usize + 1),
        FormatPiece::Literal(_) => None,
    });
    specs.max().unwrap_or(0)
}

/// The letters of a conversion.
pub fn letters(conversion: Conversion) -> &'static str {
    CONVERSIONS.iter().find(|(_, own)| *own == conversion).map_or("", |(letters, _)| letters)
}

/// Whether a conversion prints a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// It does.
    Yes,
    /// It does not; these letters would.
    No(&'static str),
}

/// See [`Accepts`].
pub fn accepts(conversion: Conversion, ty: &Type) -> Accepts {
    let number = matches!(ty, Type::Bool | Type::Int(_) | Type::Enum { .. } | Type::Ptr(..));
    let bytes = matches!(ty, Type::Buf(_) | Type::Str(_) | Type::Array(..) | Type::Mac);
    let fits = match conversion {
        Conversion::Signed | Conversion::Unsigned | Conversion::Octal | Conversion::Hex | Conversion::HexUpper => {
            number
        }
        Conversion::Pointer | Conversion::Char | Conversion::GfpFlags => number,
        Conversion::String => !matches!(ty, Type::Void),
        Conversion::Raw | Conversion::RawHex | Conversion::RawEscaped => bytes,
    };
    if fits { Accepts::Yes } else { Accepts::No(if number { "d" } else { "s" }) }
}

/// An argument that is known while compiling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Constant {
    /// A number.
    Number(i128),
    /// A string.
    Text(Vec<u8>),
}

/// The text of a format whose arguments are all known, without widths.
pub fn constant_text(format: &Format, args: &[Constant]) -> String {
    let mut text = Vec::new();
    for piece in &format.pieces {
        match piece {
            FormatPiece::Literal(bytes) => text.extend_from_slice(bytes),
            FormatPiece::Spec(spec) => match (args.get(spec.arg as usize), spec.conversion) {
                (Some(Constant::Number(n)), Conversion::Hex) => text.extend(format!("{n:x}").bytes()),
                (Some(Constant::Number(n)), Conversion::HexUpper) => text.extend(format!("{n:X}").bytes()),
                (Some(Constant::Number(n)), Conversion::Octal) => text.extend(format!("{n:o}").bytes()),
                (Some(Constant::Number(n)), Conversion::Pointer) => text.extend(format!("{n:#x}").bytes()),
                (Some(Constant::Number(n)), _) => text.extend(n.to_string().bytes()),
                (Some(Constant::Text(bytes)), _) => text.extend_from_slice(bytes),
                (None, _) => {}
            },
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_width_precision_and_length() {
        let format = parse(b"a%%b %-5.3lld|%*x%rx").unwrap_or_default();
        let specs: Vec<&FormatSpec> = format
            .pieces
            .iter()
            .filter_map(|piece| match piece {
                FormatPiece::Spec(spec) => Some(spec),
                FormatPiece::Literal(_) => None,
            })
            .collect();
        let [first, second, third] = specs.as_slice() else { panic!("three conversions: {specs:?}") };
        assert_eq!(format.pieces.first(), Some(&FormatPiece::Literal(b"a%b ".to_vec())));
        assert_eq!((first.arg, first.left, first.length), (0, true, Some(64)));
        assert_eq!((first.width, first.precision), (Some(FormatNumber::Fixed(5)), Some(FormatNumber::Fixed(3))));
        assert_eq!((second.arg, second.width), (2, Some(FormatNumber::Arg(1))));
        assert_eq!((third.arg, third.conversion), (3, Conversion::RawEscaped));
        assert_eq!(arguments(&format), 4);
    }

    #[test]
    fn what_does_not_parse_says_why() {
        for text in [&b"100%"[..], b"%\n", b"1%5, 2%"] {
            let format = parse(text).unwrap_or_else(|e| panic!("{}", e.message));
            assert_eq!(format.pieces, [FormatPiece::Literal(text.to_vec())]);
        }
        assert_eq!(parse(b"%y").map_err(|e| e.message), Err("unknown conversion `%y`".into()));
        assert_eq!(parse(b"%99999d").map_err(|e| e.message), Err("a width of 99999".into()));
    }

    #[test]
    fn conversions_and_types() {
        assert_eq!(accepts(Conversion::Signed, &Type::Str(4)), Accepts::No("s"));
        assert_eq!(accepts(Conversion::String, &Type::U64), Accepts::Yes);
        assert_eq!(accepts(Conversion::Raw, &Type::U64), Accepts::No("d"));
    }
}
