//! Debug information of programs (DWARF): the types of a function's parameters, the places of source lines, and the lines and
//! inlined functions behind an address. It is read when a script needs it and then unit by unit: the unit that an address lies in is found
//! by `.debug_aranges` or by the units' own ranges, and only that one is walked.
//!
//! The file can be hostile: it belongs to whoever runs the program. Walks are bounded, sections are no larger than the file.

mod index;
mod lines;
mod sections;
mod types;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use gimli::{AttributeValue, DebugInfoOffset, DebuggingInformationEntry, EndianSlice, LittleEndian, UnitOffset};
use object::ReadRef;
use object::read::{Object, ReadCache};
use tapline_compiler::target::GoFunction;
use tapline_compiler::types::btf::{Btf, KindSet};

use crate::symbols::elf::{self, Segments};
use crate::symbols::image::Image;
pub use lines::{Frame, SourcePlace};
pub use sections::Unreadable;

type Slice<'a> = EndianSlice<'a, LittleEndian>;
type Dwarf<'a> = gimli::Dwarf<Slice<'a>>;
type Unit<'a> = gimli::Unit<Slice<'a>>;
type Entry<'a> = DebuggingInformationEntry<Slice<'a>>;

/// With what the compiler of Go begins the name that it leaves in a unit; its release and switches follow.
const GO_COMPILER: &str = "Go cmd/compile ";

/// Its switch for the convention that hands arguments over in registers. It is named although it is always on nowadays.
const GO_REGISTERS: &str = "regabi";

/// Units of one file that are looked at.
const MOST_UNITS: usize = 1 << 17;

/// Entries of one unit that are looked at.
const MOST_ENTRIES: usize = 1 << 22;

/// Entries that refer to each other as the origin of one name.
const MOST_ORIGINS: usize = 8;

/// The debug information of a file.
pub struct DebugInfo {
    sections: gimli::DwarfSections<Vec<u8>>,
    /// How the addresses of the program lie in its file.
    pub segments: Segments,
    /// Where the units begin, in the order of the section.
    units: OnceCell<Vec<usize>>,
    index: index::Index,
    types: RefCell<types::Types>,
}

impl std::fmt::Debug for DebugInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DebugInfo").finish_non_exhaustive()
    }
}

/// An entry by its unit and its place in it.
#[derive(Clone, Copy)]
struct Place {
    unit: usize,
    entry: UnitOffset,
}

impl DebugInfo {
    /// That of the program or library at a path, from the file itself or from one beside it; `None` when it has none.
    pub fn load(path: &Path) -> Result<Option<Self>, Unreadable> {
        Image::open(path).map_or(Ok(None), |file| Self::of_file(file, path))
    }

    /// That of an open file, whose debug file is looked for beside its path.
    pub fn of_file(file: Image, path: &Path) -> Result<Option<Self>, Unreadable> {
        if !file.metadata().is_ok_and(|found| found.is_file()) {
            return Ok(None);
        }
        let start = file.start();
        let cache = ReadCache::new(file);
        let Ok(parsed) = object::File::parse(&cache) else { return Ok(None) };
        if let Some(own) = Self::of(&parsed, start)? {
            return Ok(Some(own));
        }
        let Some(beside) = elf::separate_debug_file(&parsed, path) else { return Ok(None) };
        let cache = ReadCache::new(beside);
        let Ok(debug) = object::File::parse(&cache) else { return Ok(None) };
        // Its own segments lie elsewhere in it, or nowhere.
        Ok(Self::of(&debug, 0)?.map(|it| Self { segments: Segments::of(&parsed, start), ..it }))
    }

    /// That of a file in memory.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Self::of(&object::File::parse(bytes).ok()?, 0).ok()?
    }

    fn of<'data, R: ReadRef<'data>>(file: &object::File<'data, R>, start: u64) -> Result<Option<Self>, Unreadable> {
        if !file.is_little_endian() || !file.is_64() {
            return Ok(None);
        }
        let sections = gimli::DwarfSections::load(|id| sections::read(file, id.name()))?;
        let segments = Segments::of(file, start);
        let this = Self {
            sections,
            segments,
            units: OnceCell::new(),
            index: index::Index::default(),
            types: RefCell::default(),
        };
        Ok((!this.unit_starts().is_empty()).then_some(this))
    }

    fn dwarf(&self) -> Dwarf<'_> {
        self.sections.borrow(|section| EndianSlice::new(section, LittleEndian))
    }

    fn unit_starts(&self) -> &[usize] {
        self.units.get_or_init(|| {
            let dwarf = self.dwarf();
            let mut headers = dwarf.units();
            let mut starts = Vec::new();
            while let (true, Ok(Some(header))) = (starts.len() < MOST_UNITS, headers.next()) {
                starts.extend(header.debug_info_offset().map(|offset| offset.0));
            }
            starts
        })
    }

    /// The unit that begins at an offset.
    fn unit_at<'a>(dwarf: &Dwarf<'a>, start: usize) -> Option<Unit<'a>> {
        let header = dwarf.unit_header(DebugInfoOffset(start)).ok()?;
        dwarf.unit(header).ok()
    }

    /// Types as BTF, with the functions whose code begins at some addresses, each under a name. What one call has answered keeps its
    /// ids in all later answers. To ask for many functions at once is cheaper: each answer is made of all types so far.
    pub fn function_types(&self, functions: &[(u64, String)]) -> Option<Rc<Btf>> {
        let dwarf = self.dwarf();
        let places =
            functions.iter().filter_map(|(address, name)| Some((self.function_at(&dwarf, *address)?, name.as_str())));
        self.types.borrow_mut().functions(&dwarf, places)
    }

    /// The function whose code begins at an address, where the compiler of Go has made it.
    pub fn go_function(&self, address: u64) -> Option<GoFunction> {
        let dwarf = self.dwarf();
        let place = self.function_at(&dwarf, address)?;
        let unit = Self::unit_at(&dwarf, place.unit)?;
        let text = |entry: &Entry<'_>, name| {
            Some(dwarf.attr_string(&unit, entry.attr_value(name)?).ok()?.to_string_lossy().into_owned())
        };
        let producer = text(&unit.entry(unit.header.root_offset()).ok()?, gimli::DW_AT_producer)?;
        let switches = producer.strip_prefix(GO_COMPILER)?;
        let name = text(&unit.entry(place.entry).ok()?, gimli::DW_AT_name).unwrap_or_default();
        Some(GoFunction { name, in_registers: switches.contains(GO_REGISTERS) })
    }

    /// Types as BTF, with the struct, union, enum or typedef of a name, as `kinds` says.
    pub fn named_type(&self, kinds: KindSet, name: &str) -> Option<Rc<Btf>> {
        let dwarf = self.dwarf();
        let mut types = self.types.borrow_mut();
        if let Ok(known) = types.searched(kinds, name) {
            return known;
        }
        let place = self.unit_starts().iter().find_map(|&start| {
            let unit = Self::unit_at(&dwarf, start)?;
            let mut tree = unit.entries_tree(None).ok()?;
            let mut children = tree.root().ok()?.children();
            while let Ok(Some(child)) = children.next() {
                let entry = child.entry();
                let own = entry.attr_value(gimli::DW_AT_name).and_then(|value| dwarf.attr_string(&unit, value).ok());
                if tags(kinds).contains(&entry.tag())
                    && own.is_some_and(|own| own.slice() == name.as_bytes())
                    && !entry.has_attr(gimli::DW_AT_declaration)
                {
                    return Some(Place { unit: start, entry: entry.offset() });
                }
            }
            None
        });
        types.named(&dwarf, place, kinds, name)
    }
}

/// What a file has; where it has something that is not read, the user learns why.
pub fn or_warn(path: &str, found: Result<Option<DebugInfo>, Unreadable>) -> Option<DebugInfo> {
    found.unwrap_or_else(|why| {
        eprintln!("WARNING: the debug information of {path} is not used: {why}");
        None
    })
}

/// The tags of the types of some kinds.
fn tags(kinds: KindSet) -> &'static [gimli::DwTag] {
    const TAGS: [(KindSet, &[gimli::DwTag]); 4] = [
        (KindSet::STRUCT, &[gimli::DW_TAG_structure_type, gimli::DW_TAG_class_type]),
        (KindSet::UNION, &[gimli::DW_TAG_union_type]),
        (KindSet::ENUM, &[gimli::DW_TAG_enumeration_type]),
        (KindSet::TYPEDEF, &[gimli::DW_TAG_typedef]),
    ];
    TAGS.iter().find(|(of, _)| *of == kinds).map_or(&[], |(_, tags)| tags)
}

/// An attribute of an entry or of the one that it is an instance or the definition of.
fn inherited<'a, T>(
    dwarf: &Dwarf<'a>,
    units: &mut Units<'a>,
    place: Place,
    mut find: impl FnMut(&Entry<'a>, &Rc<Unit<'a>>) -> Option<T>,
) -> Option<T> {
    let mut place = place;
    for _ in 0..MOST_ORIGINS {
        let unit = units.get(dwarf, place.unit)?;
        let entry = unit.entry(place.entry).ok()?;
        if let Some(found) = find(&entry, &unit) {
            return Some(found);
        }
        let origin = [gimli::DW_AT_abstract_origin, gimli::DW_AT_specification];
        let origin = origin.into_iter().find_map(|name| entry.attr_value(name))?;
        place = units.refer(dwarf, place.unit, origin)?;
    }
    None
}

/// The name of an entry.
fn name_of<'a>(dwarf: &Dwarf<'a>, units: &mut Units<'a>, place: Place) -> Option<String> {
    inherited(dwarf, units, place, |entry, unit| {
        let name = dwarf.attr_string(unit, entry.attr_value(gimli::DW_AT_name)?).ok()?;
        Some(name.to_string_lossy().into_owned())
    })
}

/// The units that a walk has met.
#[derive(Default)]
struct Units<'a> {
    starts: Vec<usize>,
    open: HashMap<usize, Option<Rc<Unit<'a>>>>,
}

impl<'a> Units<'a> {
    fn get(&mut self, dwarf: &Dwarf<'a>, start: usize) -> Option<Rc<Unit<'a>>> {
        self.open.entry(start).or_insert_with(|| DebugInfo::unit_at(dwarf, start).map(Rc::new)).clone()
    }

    /// The entry that an attribute of a unit refers to.
    fn refer(&mut self, dwarf: &Dwarf<'a>, unit: usize, to: AttributeValue<Slice<'a>>) -> Option<Place> {
        match to {
            AttributeValue::UnitRef(entry) => Some(Place { unit, entry }),
            AttributeValue::DebugInfoRef(offset) => {
                if self.starts.is_empty() {
                    let mut headers = dwarf.units();
                    while let (true, Ok(Some(header))) = (self.starts.len() < MOST_UNITS, headers.next()) {
                        self.starts.extend(header.debug_info_offset().map(|offset| offset.0));
                    }
                }
                let after = self.starts.partition_point(|&start| start <= offset.0);
                let start = *self.starts.get(after.checked_sub(1)?)?;
                Some(Place { unit: start, entry: UnitOffset(offset.0 - start) })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use object::write::Object;
    use object::{Architecture, BinaryFormat, Endianness, SectionKind};

    use super::*;

    /// A program with one function, `name` at address 16, by a compiler of a name.
    fn program(producer: &str, name: &str) -> Vec<u8> {
        let (unit_tag, function_tag) = (0x11, 0x2e);
        let (by_name, by_producer, low, high) = (0x03, 0x25, 0x11, 0x12);
        let (string, address, number) = (0x08, 0x01, 0x07);
        let range = [low, address, high, number, 0, 0];
        let abbreviations =
            [&[1, unit_tag, 1, by_producer, string][..], &range, &[2, function_tag, 0, by_name, string], &range, &[0]];
        let extent = [16u64.to_le_bytes(), 8u64.to_le_bytes()].concat();
        let text = |code: u8, text: &str| [&[code], text.as_bytes(), &[0]].concat();
        let body = [&[4, 0, 0, 0, 0, 0, 8][..], &text(1, producer), &extent, &text(2, name), &extent, &[0]].concat();
        let unit = [&u32::try_from(body.len()).unwrap().to_le_bytes()[..], &body].concat();
        let mut elf = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        for (section, bytes) in [(".debug_abbrev", abbreviations.concat()), (".debug_info", unit)] {
            let id = elf.add_section(Vec::new(), section.into(), SectionKind::Debug);
            elf.append_section_data(id, &bytes, 1);
        }
        elf.write().unwrap()
    }

    #[test]
    fn the_compiler_of_go_says_where_it_puts_arguments() {
        let of = |producer: &str| DebugInfo::parse(&program(producer, "main.add")).unwrap().go_function(16);
        let function = |in_registers| Some(GoFunction { name: "main.add".into(), in_registers });
        assert_eq!(of("Go cmd/compile go1.19.8; regabi"), function(true));
        assert_eq!(of("Go cmd/compile go1.22.1; -N -l regabi"), function(true));
        assert_eq!(of("Go cmd/compile go1.16.15"), function(false));
        assert_eq!(of("GNU C17 12.2.0 -g -O1"), None);
    }
}
