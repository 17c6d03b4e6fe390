//! Where the instructions of a program begin. On `x86_64` they have 1 to 15 bytes and can only be told apart from the start of a
//! function on, which its symbol knows, or, in a stripped file, its unwind information.

use std::path::Path;

use gimli::{BaseAddresses, EhFrame, LittleEndian, UnwindSection};
use iced_x86::{Decoder, DecoderOptions};
use object::read::{Object, ObjectSection, ReadCache, ReadRef};
use object::{Architecture, File};
use tapline_compiler::target::CodePlace;

use crate::symbols::elf::ElfSymbols;
use crate::symbols::image::Image;

/// Bytes from the start of a function that are decoded: whatever claims to be longer is none.
const LONGEST_WAY: u64 = 16 << 20;

/// Bytes of the longest instruction.
const LONGEST_INSTRUCTION: u64 = 15;

/// Bytes of each instruction of `aarch64`.
const AARCH64_INSTRUCTION: u64 = 4;

/// How the byte at an offset of a file lies to the instructions around it.
pub fn place(path: &Path, symbols: &ElfSymbols, offset: u64) -> CodePlace {
    let Ok(image) = Image::open(path) else { return CodePlace::Unknown };
    let start = image.start();
    let cache = ReadCache::new(image);
    let Ok(parsed) = File::parse(&cache) else { return CodePlace::Unknown };
    find((&parsed, start), &cache, symbols, offset).unwrap_or(CodePlace::Unknown)
}

/// The same in a file in memory.
pub fn place_in(bytes: &[u8], symbols: &ElfSymbols, offset: u64) -> CodePlace {
    let parsed = File::parse(bytes).ok();
    parsed.and_then(|file| find((&file, 0), bytes, symbols, offset)).unwrap_or(CodePlace::Unknown)
}

fn find<'data, R: ReadRef<'data>>(
    (file, first): (&File<'data, R>, u64),
    data: R,
    symbols: &ElfSymbols,
    offset: u64,
) -> Option<CodePlace> {
    let bits = match file.architecture() {
        Architecture::X86_64 => 64,
        Architecture::I386 => 32,
        Architecture::Aarch64 => return Some(of_length(offset % AARCH64_INSTRUCTION, AARCH64_INSTRUCTION)),
        _ => return None,
    };
    let address = symbols.segments.address_of(offset)?;
    let symbol = symbols.function_at(address).map(|function| function.address);
    let start = symbol.or_else(|| unwound_function(file, address))?;
    let way = address.checked_sub(start).filter(|way| *way <= LONGEST_WAY)?;
    let start = symbols.segments.offset_of(start)?.checked_sub(first)?;
    // The code may end with the file.
    let left = data.len().ok()?.checked_sub(start)?;
    let code = data.read_bytes_at(start, left.min(way + LONGEST_INSTRUCTION)).ok()?;
    walk(code, way, bits)
}

/// The start of the function around an address, as its unwind information tells it.
fn unwound_function<'data, R: ReadRef<'data>>(file: &File<'data, R>, address: u64) -> Option<u64> {
    let section = file.section_by_name(".eh_frame")?;
    let bases = BaseAddresses::default().set_eh_frame(section.address());
    let frames = EhFrame::new(section.data().ok()?, LittleEndian);
    let entry = frames.fde_for_address(&bases, address, EhFrame::cie_from_offset).ok()?;
    Some(entry.initial_address())
}

/// Steps over the instructions of a function to a distance from its start; `None` where something is no instruction.
fn walk(code: &[u8], way: u64, bits: u32) -> Option<CodePlace> {
    let mut decoder = Decoder::new(bits, code, DecoderOptions::NONE);
    let mut at = 0;
    while at < way {
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            return None;
        }
        let len = instruction.len() as u64;
        if at + len > way {
            return Some(of_length(way - at, len));
        }
        at += len;
    }
    Some(CodePlace::Start)
}

/// This many bytes from the start of an instruction of `len` bytes.
fn of_length(before: u64, len: u64) -> CodePlace {
    if before == 0 { CodePlace::Start } else { CodePlace::Inside { before, after: len - before } }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn instructions_are_walked_from_the_start() {
        // mov rax, rdx; mov edx, [rdi+8]; vaddps zmm0, zmm1, zmm2; ret
        let code = [0x48, 0x89, 0xd0, 0x8b, 0x57, 0x08, 0x62, 0xf1, 0x74, 0x48, 0x58, 0xc2, 0xc3];
        let starts: Vec<u64> = (0..13).filter(|at| walk(&code, *at, 64) == Some(CodePlace::Start)).collect();
        assert_eq!(starts, [0, 3, 6, 12]);
        assert_eq!(walk(&code, 4, 64), Some(CodePlace::Inside { before: 1, after: 2 }));
        assert_eq!(walk(&code, 10, 64), Some(CodePlace::Inside { before: 4, after: 2 }));
        assert_eq!(walk(&code, 14, 64), None, "behind the code");
        // `inc eax`, a prefix in 64-bit code.
        assert_eq!(walk(&[0x40, 0xc3], 1, 32), Some(CodePlace::Start));
        assert_eq!(walk(&[0x40, 0xc3], 1, 64), Some(CodePlace::Inside { before: 1, after: 1 }));
    }

    #[test]
    fn what_is_no_instruction_ends_the_walk() {
        assert_eq!(walk(&[0x06, 0xc3], 1, 64), None);
        assert_eq!(walk(&[], 3, 64), None);
    }

    #[test]
    fn our_own_code_is_known_with_and_without_symbols() {
        let path = Path::new("/proc/self/exe");
        let symbols = ElfSymbols::load(path).unwrap();
        let address = symbols.find("main").unwrap().address;
        let offset = symbols.segments.offset_of(address).unwrap();
        let mut nameless = ElfSymbols::default();
        nameless.segments = symbols.segments.clone();
        assert_eq!(place(path, &symbols, offset), CodePlace::Start);
        for step in 0..12 {
            assert_eq!(place(path, &symbols, offset + step), place(path, &nameless, offset + step), "{step}");
        }
        assert_eq!(place(path, &symbols, 0), CodePlace::Unknown);
        assert_eq!(place(path, &symbols, u64::MAX), CodePlace::Unknown);
    }
}
