//! Formats of printf, parsed by the compiler and followed by the runtime.

use serde::{Deserialize, Serialize};

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
