//! Where a usdt probe's arguments lie: the words of its note, each `SIZE@OPERAND` with an operand as the assembler writes it. A
//! negative size is that of a signed number.
//!
//! The words come from a file of somebody else: what cannot be read gives an argument that cannot be used, and no error.

use crate::number;
use crate::probes::registers::{Registers, registers};
use crate::target::Arch;
use crate::types::IntType;

/// An argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operand {
    /// Its type.
    pub int: IntType,
    /// Where it is.
    pub source: Source,
}

/// Where an argument is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It is this number.
    Constant(i64),
    /// In a register, at this offset of the context; the second byte of it where the flag is set (`%ah`).
    Register(u32, bool),
    /// In the memory of the process.
    Memory(Memory),
}

/// An address: base + index * scale + displacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Offset of the base register in the context.
    pub base: Option<u32>,
    /// Offset of the index register in the context, and its factor.
    pub index: Option<(u32, u8)>,
    /// Added to both.
    pub displacement: i64,
}

/// Arguments of a probe are reachable up to this number.
const MOST: usize = 256;

/// All arguments of a note; `None` for each that cannot be read.
pub fn parse_all(text: &str, arch: Arch) -> Vec<Option<Operand>> {
    words(text).into_iter().take(MOST).map(|word| parse(word, arch)).collect()
}

/// Words are separated by blanks, but `[sp, 8]` is one.
fn words(text: &str) -> Vec<&str> {
    let (mut words, mut start, mut depth) = (Vec::new(), 0, 0u32);
    for (at, c) in text.char_indices() {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth = depth.saturating_sub(1),
            ' ' | '\t' if depth == 0 => {
                words.extend(text.get(start..at).filter(|word| !word.is_empty()));
                start = at + 1;
            }
            _ => {}
        }
    }
    words.extend(text.get(start..).filter(|word| !word.is_empty()));
    words
}

fn parse(word: &str, arch: Arch) -> Option<Operand> {
    // Old notes leave the size out.
    let (size, operand) = word.split_once('@').unwrap_or(("8", word));
    let (signed, size) = size.strip_prefix('-').map_or((false, size), |size| (true, size));
    let int = IntType { size: size.parse().ok().filter(|size| matches!(size, 1 | 2 | 4 | 8))?, signed };
    let regs = registers(arch);
    let source = match arch {
        Arch::X86_64 => x86_64(operand, regs),
        Arch::Aarch64 => aarch64(operand, regs),
    }?;
    Some(Operand { int, source })
}

fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.trim().strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.trim().trim_start_matches('+')),
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => number::parse(digits).filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?,
    };
    Some(if negative { value.cast_signed().wrapping_neg() } else { value.cast_signed() })
}

/// `12`, `-8+4`: what the compiler left for the assembler to add up.
fn sum(text: &str) -> Option<i64> {
    let mut total = 0i64;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = rest.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-')).map_or(rest.len(), |(at, _)| at);
        total = total.wrapping_add(integer(rest.get(..end)?)?);
        rest = rest.get(end..)?;
    }
    Some(total)
}

/// `$5`, `%rdi`, `-8(%rbp)`, `(%rax,%rcx,4)`.
fn x86_64(operand: &str, regs: &Registers) -> Option<Source> {
    if let Some(constant) = operand.strip_prefix('$') {
        return sum(constant).map(Source::Constant);
    }
    if let Some(name) = operand.strip_prefix('%') {
        let high = matches!(name, "ah" | "bh" | "ch" | "dh");
        return Some(Source::Register(x86_64_register(name, regs)?, high));
    }
    let Some((displacement, rest)) = operand.split_once('(') else {
        return Some(Source::Memory(Memory { base: None, index: None, displacement: sum(operand)? }));
    };
    let inner = rest.strip_suffix(')')?;
    let mut parts = inner.split(',').map(str::trim);
    let register = |text: &str| x86_64_register(text.strip_prefix('%')?, regs);
    let base = match parts.next()? {
        "" => None,
        // Of a variable: whoever reads the note has put its distance from the probe in place of its name.
        "%rip" => Some(regs.ip),
        text => Some(register(text)?),
    };
    let index = match parts.next() {
        None | Some("") => None,
        Some(text) => {
            let scale = parts.next().map_or(Some(1), |scale| scale.parse().ok())?;
            Some((register(text)?, scale))
        }
    };
    let displacement = if displacement.is_empty() { 0 } else { sum(displacement)? };
    Some(Source::Memory(Memory { base, index, displacement }))
}

/// A register by any of the names of its parts: `rax`, `eax`, `ax`, `al`, `r8d`, `sil`.
fn x86_64_register(name: &str, regs: &Registers) -> Option<u32> {
    let numbered = name.strip_prefix('r').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if let Some(number) = numbered {
        return regs.named(&format!("r{}", number.trim_end_matches(['d', 'w', 'b'])));
    }
    let plain = match name.as_bytes() {
        [b'r' | b'e', _, _] => name.get(1..)?.to_owned(),
        [letter @ b'a'..=b'd', b'l' | b'h'] => format!("{}x", char::from(*letter)),
        [_, _, b'l'] => name.get(..2)?.to_owned(),
        _ => name.to_owned(),
    };
    regs.named(&plain).filter(|_| !matches!(plain.as_str(), "ip" | "pc" | "cs" | "ss" | "flags" | "orig_ax"))
}

/// `5`, `x0`, `w3`, `[sp, 16]`, `[x0, x1]`, `[x0, w1, sxtw 2]`.
fn aarch64(operand: &str, regs: &Registers) -> Option<Source> {
    if let Some(inner) = operand.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let mut parts = inner.split(',').map(str::trim);
        let base = Some(aarch64_register(parts.next()?, regs)?);
        let Some(second) = parts.next() else {
            return Some(Source::Memory(Memory { base, index: None, displacement: 0 }));
        };
        if let Some(displacement) = sum(second.trim_start_matches('#')) {
            return Some(Source::Memory(Memory { base, index: None, displacement }));
        }
        let shift: u32 = match parts.next() {
            None => 0,
            Some(text) => text.rsplit([' ', '#']).next()?.parse().ok()?,
        };
        let scale = 1u8.checked_shl(shift).filter(|_| shift <= 4)?;
        return Some(Source::Memory(Memory {
            base,
            index: Some((aarch64_register(second, regs)?, scale)),
            displacement: 0,
        }));
    }
    if let Some(constant) = integer(operand.trim_start_matches('#')) {
        return Some(Source::Constant(constant));
    }
    Some(Source::Register(aarch64_register(operand, regs)?, false))
}

fn aarch64_register(name: &str, regs: &Registers) -> Option<u32> {
    if name == "sp" {
        return Some(regs.sp);
    }
    let number: u32 = name.strip_prefix(['x', 'w'])?.parse().ok()?;
    regs.named(&format!("r{number}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn x86(word: &str) -> Option<Source> {
        parse(word, Arch::X86_64).map(|operand| operand.source)
    }

    fn arm(word: &str) -> Option<Source> {
        parse(word, Arch::Aarch64).map(|operand| operand.source)
    }

    fn memory(base: Option<u32>, index: Option<(u32, u8)>, displacement: i64) -> Source {
        Source::Memory(Memory { base, index, displacement })
    }

    #[test]
    fn sizes_and_signs() {
        let int = |word| parse(word, Arch::X86_64).map(|operand| (operand.int.size, operand.int.signed));
        assert_eq!(int("-4@%eax"), Some((4, true)));
        assert_eq!(int("8@%rax"), Some((8, false)));
        assert_eq!(int("1@%al"), Some((1, false)));
        assert_eq!(int("%rax"), Some((8, false)));
        assert_eq!(int("3@%rax"), None);
        assert_eq!(int("8f@%xmm0"), None);
    }

    #[test]
    fn x86_64_registers_have_names_for_their_parts() {
        for (names, offset) in [
            (["rax", "eax", "ax", "al"], 80),
            (["rdi", "edi", "di", "dil"], 112),
            (["rbp", "ebp", "bp", "bpl"], 32),
            (["r8", "r8d", "r8w", "r8b"], 72),
            (["r15", "r15d", "r15w", "r15b"], 0),
            (["rsp", "esp", "sp", "spl"], 152),
        ] {
            for name in names {
                assert_eq!(x86(&format!("8@%{name}")), Some(Source::Register(offset, false)), "{name}");
            }
        }
        assert_eq!(x86("1@%bh"), Some(Source::Register(40, true)));
        assert_eq!(x86("8@%rzx"), None);
    }

    #[test]
    fn x86_64_constants_and_memory() {
        assert_eq!(x86("-4@$-5"), Some(Source::Constant(-5)));
        assert_eq!(x86("8@$0x10"), Some(Source::Constant(16)));
        assert_eq!(x86("8@(%rdi)"), Some(memory(Some(112), None, 0)));
        assert_eq!(x86("8@-8(%rbp)"), Some(memory(Some(32), None, -8)));
        assert_eq!(x86("4@-16+4(%rbp)"), Some(memory(Some(32), None, -12)));
        assert_eq!(x86("4@8(%rax,%rcx,4)"), Some(memory(Some(80), Some((88, 4)), 8)));
        assert_eq!(x86("4@(%rax,%rcx)"), Some(memory(Some(80), Some((88, 1)), 0)));
        assert_eq!(x86("4@(,%rcx,8)"), Some(memory(None, Some((88, 8)), 0)));
        assert_eq!(x86("8@8192+4(%rip)"), Some(memory(Some(128), None, 8196)));
        assert_eq!(x86("8@counter(%rip)"), None, "a variable that the program does not have");
    }

    #[test]
    fn aarch64_operands() {
        assert_eq!(arm("8@x0"), Some(Source::Register(0, false)));
        assert_eq!(arm("-4@w19"), Some(Source::Register(152, false)));
        assert_eq!(arm("4@5"), Some(Source::Constant(5)));
        assert_eq!(arm("-4@-1"), Some(Source::Constant(-1)));
        assert_eq!(arm("8@[sp]"), Some(memory(Some(248), None, 0)));
        assert_eq!(arm("8@[sp, 16]"), Some(memory(Some(248), None, 16)));
        assert_eq!(arm("8@[x29,-8]"), Some(memory(Some(232), None, -8)));
        assert_eq!(arm("8@[x0, x1]"), Some(memory(Some(0), Some((8, 1)), 0)));
        assert_eq!(arm("8@[x0, x1, lsl 3]"), Some(memory(Some(0), Some((8, 8)), 0)));
        assert_eq!(arm("8@x31"), None);
    }

    #[test]
    fn blanks_inside_of_brackets_do_not_separate() {
        assert_eq!(words("8@x0  4@[sp, 8] -4@3"), ["8@x0", "4@[sp, 8]", "-4@3"]);
        assert_eq!(parse_all("nonsense 8@x0", Arch::Aarch64).len(), 2);
        assert_eq!(parse_all("", Arch::X86_64), []);
    }
}
