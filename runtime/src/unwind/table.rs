//! The unwind table of one file, from its `.eh_frame`: for every place in the code how the caller's registers are found, as
//! far as the rules in [`tapline_compiler::unwind`] can say it. The file can be hostile: whatever does not parse is a place
//! where a walk ends.

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, EhFrame, LittleEndian, RegisterRule, UnwindContext, UnwindSection, X86_64,
};
use object::SegmentFlags;
use object::elf::PF_X;
use object::read::{Object, ObjectSection, ObjectSegment, ReadCache, ReadRef};
use tapline_compiler::unwind::{row, rule};

use crate::symbols::image::Image;

/// Bytes of a section that are looked at; that of a large browser has 30 MiB.
const LONGEST_SECTION: u64 = 64 << 20;

/// What holds from an address on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// From the table's base.
    pub pc: u32,
    /// Offset of the caller's frame from the register that the rule names.
    pub cfa: i16,
    /// Where the frame pointer was saved, in words from the caller's frame; 0: not saved.
    pub rbp: i8,
    /// One of `rule`.
    pub rule: u8,
}

impl Row {
    /// As it lies in the map.
    pub fn bytes(self) -> [u8; row::SIZE as usize] {
        let [a, b, c, d] = self.pc.to_ne_bytes();
        let [e, f] = self.cfa.to_ne_bytes();
        let [g] = self.rbp.to_ne_bytes();
        [a, b, c, d, e, f, g, self.rule]
    }

    fn says_the_same(self, other: Self) -> bool {
        Self { pc: 0, ..self } == Self { pc: 0, ..other }
    }
}

/// What a place says without its address.
const NOTHING: Row = Row { pc: 0, cfa: 0, rbp: 0, rule: rule::STOP };

/// The table of a file, sorted by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The lowest address of the file that has a row.
    pub base: u64,
    /// At least one, at most [`row::MOST_OF_MAPPING`].
    pub rows: Vec<Row>,
    /// Address, offset in the file and length of the code that is loaded.
    segments: Vec<(u64, u64, u64)>,
}

impl Table {
    /// Reads that of an open file; `None` when it has none that can be used.
    pub fn of(file: Image) -> Option<Self> {
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let start = file.start();
        let cache = ReadCache::new(file);
        Self::read(&object::File::parse(&cache).ok()?, start)
    }

    /// Reads that of a file in memory.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Self::read(&object::File::parse(bytes).ok()?, 0)
    }

    fn read<'data, R: ReadRef<'data>>(file: &object::File<'data, R>, start: u64) -> Option<Self> {
        if file.architecture() != object::Architecture::X86_64 {
            return None;
        }
        let section = file.section_by_name(".eh_frame").filter(|s| s.size() <= LONGEST_SECTION)?;
        let mut bases = BaseAddresses::default().set_eh_frame(section.address());
        if let Some(text) = file.section_by_name(".text") {
            bases = bases.set_text(text.address());
        }
        let plt = file.section_by_name(".plt").map(|s| s.address()..s.address().saturating_add(s.size()));
        let data = section.data().ok()?;
        let mut places =
            places(&EhFrame::new(data, LittleEndian), &bases, |pc| plt.as_ref().is_some_and(|plt| plt.contains(&pc)));
        places.sort_by_key(|place| (place.pc, place.starts));
        let mut table = Self::pack(&places)?;
        let executable = |flags| matches!(flags, SegmentFlags::Elf { p_flags } if p_flags & PF_X != 0);
        table.segments = file
            .segments()
            .filter(|segment| executable(segment.flags()))
            .map(|segment| {
                let (offset, len) = segment.file_range();
                (segment.address(), start.wrapping_add(offset), len)
            })
            .collect();
        Some(table)
    }

    /// The address, as the file counts, that the first byte of a mapping has: `len` bytes from `offset` of the file on. A
    /// mapping begins and ends with a page, code anywhere. `None` when the file has no code there.
    pub fn address_of(&self, offset: u64, len: u64) -> Option<u64> {
        let end = offset.saturating_add(len);
        let (address, start, _) =
            self.segments.iter().find(|(_, start, len)| *start < end && offset < start.saturating_add(*len))?;
        Some(address.wrapping_sub(*start).wrapping_add(offset))
    }

    fn pack(places: &[Place]) -> Option<Self> {
        let base = places.first()?.pc;
        let mut rows: Vec<Row> = Vec::new();
        for (index, place) in places.iter().enumerate() {
            // The last one at an address counts: the start of a function wins over the end of the one before.
            if places.get(index + 1).is_some_and(|next| next.pc == place.pc) {
                continue;
            }
            if rows.last().is_some_and(|last| last.says_the_same(place.row)) {
                continue;
            }
            let Ok(pc) = u32::try_from(place.pc - base) else { break };
            if rows.len() >= row::MOST_OF_MAPPING as usize {
                break;
            }
            rows.push(Row { pc, ..place.row });
        }
        Some(Self { base, rows, segments: Vec::new() })
    }
}

/// What holds at an address of the file.
struct Place {
    pc: u64,
    /// A row of a function, not the end of one.
    starts: bool,
    row: Row,
}

/// Everything that the section says, as far as it can be read.
fn places(
    section: &EhFrame<gimli::EndianSlice<'_, LittleEndian>>,
    bases: &BaseAddresses,
    in_plt: impl Fn(u64) -> bool,
) -> Vec<Place> {
    let mut places = Vec::new();
    let mut context = UnwindContext::new();
    let mut entries = section.entries(bases);
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        let Ok(fde) = partial.parse(UnwindSection::cie_from_offset) else { continue };
        let begin = fde.initial_address();
        let Some(end) = begin.checked_add(fde.len()) else { continue };
        if begin == 0 || begin == end {
            continue;
        }
        places.push(Place { pc: end, starts: false, row: NOTHING });
        if fde.is_signal_trampoline() {
            places.push(Place { pc: begin, starts: true, row: Row { rule: rule::SIGNAL, ..NOTHING } });
            continue;
        }
        let plt = in_plt(begin);
        let Ok(mut table) = fde.rows(section, bases, &mut context) else { continue };
        while let Ok(Some(found)) = table.next_row() {
            let row =
                to_row(found.cfa(), found.register(X86_64::RBP).as_ref(), found.register(X86_64::RA).as_ref(), plt);
            places.push(Place { pc: found.start_address(), starts: true, row });
        }
    }
    places
}

/// The rule of a row, where ours can express it.
fn to_row(
    cfa: &CfaRule<usize>,
    rbp: Option<&RegisterRule<usize>>,
    return_address: Option<&RegisterRule<usize>>,
    plt: bool,
) -> Row {
    if return_address != Some(&RegisterRule::Offset(-8)) {
        return NOTHING;
    }
    let (rule, offset) = match cfa {
        CfaRule::RegisterAndOffset { register, offset } if *register == X86_64::RSP => (rule::RSP, *offset),
        CfaRule::RegisterAndOffset { register, offset } if *register == X86_64::RBP => (rule::RBP, *offset),
        CfaRule::Expression(_) if plt => (rule::PLT, 0),
        _ => return NOTHING,
    };
    let saved = match rbp {
        None | Some(RegisterRule::Undefined | RegisterRule::SameValue) => Some(0),
        Some(RegisterRule::Offset(bytes)) if *bytes < 0 && bytes % 8 == 0 => i8::try_from(bytes / 8).ok(),
        _ => None,
    };
    match (i16::try_from(offset), saved) {
        (Ok(cfa), Some(rbp)) => Row { pc: 0, cfa, rbp, rule },
        _ => NOTHING,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn place(pc: u64, starts: bool, cfa: i16) -> Place {
        Place { pc, starts, row: Row { cfa, rule: if starts { rule::RSP } else { rule::STOP }, ..NOTHING } }
    }

    #[test]
    fn neighbours_that_say_the_same_are_one_row() {
        let places = [place(0x1000, true, 8), place(0x1004, true, 8), place(0x1008, true, 16)];
        let table = Table::pack(&places).unwrap();
        assert_eq!(table.base, 0x1000);
        assert_eq!(table.rows.iter().map(|r| (r.pc, r.cfa)).collect::<Vec<_>>(), [(0, 8), (8, 16)]);
    }

    #[test]
    fn a_start_wins_over_the_end_before_it() {
        let places =
            [place(0x1000, true, 8), place(0x1010, false, 0), place(0x1010, true, 24), place(0x1020, false, 0)];
        let table = Table::pack(&places).unwrap();
        let rows: Vec<_> = table.rows.iter().map(|r| (r.pc, r.cfa, r.rule)).collect();
        assert_eq!(rows, [(0, 8, rule::RSP), (0x10, 24, rule::RSP), (0x20, 0, rule::STOP)]);
    }

    #[test]
    fn a_mapping_begins_before_the_code() {
        let table = Table { segments: vec![(0x65380, 0x64380, 0x1000), (0x70000, 0x66000, 0x800)], ..Table::default() };
        assert_eq!(table.address_of(0x64000, 0x2000), Some(0x65000));
        assert_eq!(table.address_of(0x66000, 0x1000), Some(0x70000));
        assert_eq!(table.address_of(0x68000, 0x1000), None);
    }

    #[test]
    fn rows_beyond_four_gigabytes_are_left_out() {
        let places = [place(0x1000, true, 8), place(0x1_0000_1000, true, 16)];
        assert_eq!(Table::pack(&places).unwrap().rows.len(), 1);
        assert_eq!(Table::pack(&[]), None);
    }

    #[test]
    fn rules_that_cannot_be_expressed_end_the_walk() {
        let here = Some(&RegisterRule::Offset(-8));
        let none = None;
        let by = |register, offset| CfaRule::RegisterAndOffset { register, offset };
        assert_eq!(to_row(&by(X86_64::RSP, 16), none, here, false), Row { cfa: 16, rule: rule::RSP, ..NOTHING });
        let saved = Some(&RegisterRule::Offset(-16));
        assert_eq!(to_row(&by(X86_64::RBP, 16), saved, here, false), Row { pc: 0, cfa: 16, rbp: -2, rule: rule::RBP });
        assert_eq!(to_row(&by(X86_64::RSP, 16), none, none, false), NOTHING);
        assert_eq!(to_row(&by(X86_64::RSP, 40_000), none, here, false), NOTHING);
        assert_eq!(to_row(&by(X86_64::R10, 0), none, here, false), NOTHING);
        assert_eq!(to_row(&by(X86_64::RSP, 16), Some(&RegisterRule::Offset(8)), here, false), NOTHING);
    }

    #[test]
    fn our_own_table_knows_where_a_function_begins() {
        let table = Table::of(Image::open("/proc/self/exe".as_ref()).unwrap()).unwrap();
        assert!(table.rows.windows(2).all(|pair| pair[0].pc < pair[1].pc));
        let by_sp = table.rows.iter().filter(|r| r.rule == rule::RSP && r.cfa == 8).count();
        assert!(by_sp > 100, "{by_sp} of {}", table.rows.len());
    }

    #[test]
    fn damaged_files_have_a_shorter_table_or_none() {
        let whole = std::fs::read("/proc/self/exe").unwrap();
        let section = {
            let file = object::File::parse(whole.as_slice()).unwrap();
            file.section_by_name(".eh_frame").unwrap().file_range().unwrap()
        };
        for step in 1..40u64 {
            let mut damaged = whole.clone();
            for n in 0..64 {
                let at = section.0 + (step * 7919 + n * 104_729) % section.1;
                damaged[at as usize] ^= (step * 37 + n) as u8 | 1;
            }
            let _ = Table::parse(&damaged);
        }
        assert_eq!(Table::parse(&whole[..100]), None);
        assert_eq!(Table::parse(b"\x7fELF"), None);
    }
}
