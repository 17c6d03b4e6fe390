//! The notes that say where a program can be traced (`.note.stapsdt`, as `sys/sdt.h` writes them). The file can be hostile:
//! it belongs to whoever runs it.

use std::cell::LazyCell;
use std::collections::HashMap;
use std::path::Path;

use object::read::{Object, ObjectSection, ObjectSymbol, ReadCache};
use tapline_compiler::target::UsdtProbe;

use crate::symbols::elf::{ElfError, Segments};
use crate::symbols::image::Image;

const SECTION: &str = ".note.stapsdt";
/// A section whose address tells whether the file was moved after the notes were written.
const BASE_SECTION: &str = ".stapsdt.base";
const OWNER: &[u8] = b"stapsdt\0";
const TYPE: u32 = 3;

/// Notes of one file, at most.
const MOST: usize = 1 << 16;

/// Reads the notes of a file; none when it has none.
pub fn load(path: &Path) -> Result<Vec<UsdtProbe>, ElfError> {
    let file = Image::open(path).map_err(ElfError::Io)?;
    if !file.metadata().map_err(ElfError::Io)?.is_file() {
        return Err(ElfError::Malformed("it is not a regular file".into()));
    }
    let start = file.start();
    let cache = ReadCache::new(file);
    let malformed = |error: object::Error| ElfError::Malformed(error.to_string());
    let parsed = object::File::parse(&cache).map_err(malformed)?;
    if !parsed.is_64() || !parsed.is_little_endian() {
        return Ok(Vec::new());
    }
    let Some(section) = parsed.section_by_name(SECTION) else { return Ok(Vec::new()) };
    let base = parsed.section_by_name(BASE_SECTION).map(|section| section.address());
    let segments = Segments::of(&parsed, start);
    let offset_of = |address| segments.offset_of(address);
    let variables = LazyCell::new(|| -> HashMap<&str, u64> {
        let symbols = parsed.dynamic_symbols().chain(parsed.symbols()).filter(ObjectSymbol::is_definition);
        symbols.filter_map(|symbol| Some((symbol.name().ok()?, symbol.address()))).collect()
    });
    let mut probes: Vec<UsdtProbe> = notes(section.data().map_err(malformed)?)
        .filter_map(|note| {
            // The whole file was moved by as much as the base section was.
            let moved = base.map_or(0, |base| base.wrapping_sub(note.base));
            let place = note.address.wrapping_add(moved);
            let offset = offset_of(place)?;
            let semaphore = match note.semaphore {
                0 => 0,
                address => offset_of(address.wrapping_add(moved))?,
            };
            let arguments = with_distances(&note.arguments, |name| Some(variables.get(name)?.wrapping_sub(place)));
            Some(UsdtProbe { provider: note.provider, name: note.name, offset, semaphore, arguments })
        })
        .take(MOST)
        .collect();
    probes.sort_unstable();
    probes.dedup();
    Ok(probes)
}

/// The end of an operand that lies at a distance from the instruction: that of a variable of the program.
const RELATIVE: &str = "(%rip)";

/// Arguments with the distance of each variable from the probe in place of its name: `4@counter+4(%rip)` becomes
/// `4@8192+4(%rip)`. A name that is not known stays.
fn with_distances(arguments: &str, distance: impl Fn(&str) -> Option<u64>) -> String {
    let word = |word: &str| {
        let (size, operand) = word.split_once('@')?;
        let place = operand.strip_suffix(RELATIVE)?;
        let (name, rest) = place.split_at(place.find(['+', '-']).unwrap_or(place.len()));
        Some(format!("{size}@{}{rest}{RELATIVE}", distance(name)?.cast_signed()))
    };
    if !arguments.contains(RELATIVE) {
        return arguments.to_owned();
    }
    arguments.split(' ').map(|text| word(text).unwrap_or_else(|| text.to_owned())).collect::<Vec<_>>().join(" ")
}

/// A note as it stands in the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Note {
    address: u64,
    base: u64,
    semaphore: u64,
    provider: String,
    name: String,
    arguments: String,
}

/// The notes of a section; what follows a damaged one is left out.
pub fn notes(mut data: &[u8]) -> impl Iterator<Item = Note> {
    std::iter::from_fn(move || {
        loop {
            let (owner_len, content_len, kind) = (word(data, 0)?, word(data, 4)?, word(data, 8)?);
            let owner_end = 12usize.checked_add(owner_len as usize)?;
            let start = 12usize.checked_add((owner_len as usize).checked_next_multiple_of(4)?)?;
            let end = start.checked_add(content_len as usize)?;
            let (owner, content) = (data.get(12..owner_end)?, data.get(start..end)?);
            data = data.get(end.checked_next_multiple_of(4)?..).unwrap_or_default();
            if owner == OWNER
                && kind == TYPE
                && let Some(note) = parse(content)
            {
                return Some(note);
            }
        }
    })
}

fn parse(content: &[u8]) -> Option<Note> {
    let address = |at: usize| Some(u64::from_le_bytes(content.get(at..at + 8)?.try_into().ok()?));
    let mut texts = content.get(24..)?.split(|&byte| byte == 0);
    let mut text = || String::from_utf8(texts.next()?.to_vec()).ok();
    Some(Note {
        address: address(0)?,
        base: address(8)?,
        semaphore: address(16)?,
        provider: text()?,
        name: text().filter(|name| !name.is_empty())?,
        arguments: text()?,
    })
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn note(owner: &[u8], kind: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for field in [owner.len() as u32, content.len() as u32, kind] {
            bytes.extend(field.to_le_bytes());
        }
        for part in [owner, content] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    fn content(texts: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for address in [0x1000u64, 0x2000, 0x3000] {
            bytes.extend(address.to_le_bytes());
        }
        bytes.extend(texts);
        bytes
    }

    #[test]
    fn notes_are_read_and_others_passed_over() {
        let mut data = note(b"GNU\0", 3, &[1, 2, 3]);
        data.extend(note(OWNER, TYPE, &content(b"app\0tick\0-4@%edi 8@%rsi\0")));
        data.extend(note(OWNER, TYPE, &content(b"app\0tock\0\0")));
        let found: Vec<Note> = notes(&data).collect();
        let names: Vec<&str> = found.iter().map(|note| note.name.as_str()).collect();
        assert_eq!(names, ["tick", "tock"]);
        let first = found.first().unwrap();
        assert_eq!((first.address, first.base, first.semaphore), (0x1000, 0x2000, 0x3000));
        assert_eq!((first.provider.as_str(), first.arguments.as_str()), ("app", "-4@%edi 8@%rsi"));
    }

    #[test]
    fn variables_are_told_by_their_distance() {
        let distance = |name: &str| match name {
            "counter" => Some(0x2000),
            "before" => Some(0x100u64.wrapping_neg()),
            _ => None,
        };
        let told = |arguments| with_distances(arguments, distance);
        assert_eq!(told("4@counter(%rip) -8@before+4(%rip)"), "4@8192(%rip) -8@-256+4(%rip)");
        assert_eq!(told("8@counter-8(%rip) 4@%eax"), "8@8192-8(%rip) 4@%eax");
        assert_eq!(told("8@other(%rip) counter(%rip) @(%rip)"), "8@other(%rip) counter(%rip) @(%rip)");
    }

    #[test]
    fn damaged_notes_end_the_reading() {
        let whole = note(OWNER, TYPE, &content(b"app\0tick\0\0"));
        for len in 0..whole.len() {
            assert!(notes(whole.get(..len).unwrap()).count() <= 1);
        }
        let mut huge = whole.clone();
        huge.get_mut(..8).unwrap().fill(0xff);
        assert_eq!(notes(&huge).count(), 0);
        assert_eq!(notes(&note(OWNER, TYPE, b"short")).count(), 0);
        assert_eq!(notes(&note(OWNER, TYPE, &content(b"app\0\0\0"))).count(), 0, "without a name");
    }
}
