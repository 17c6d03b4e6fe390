//! From addresses to units and functions: made once for a file, since a listing asks for every function of it.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;

use gimli::{AttributeValue, UnitOffset};

use super::{DebugInfo, Dwarf, Entry, MOST_ENTRIES, Place, Unit};

/// Ranges of addresses that are looked at, before the one that begins last in front of an address: ranges can hold each other.
const MOST_OVERLAPS: usize = 8;

/// Ranges of one file.
const MOST_RANGES: usize = 1 << 22;

/// What was found so far.
#[derive(Default)]
pub(super) struct Index {
    listed: OnceCell<Ranges>,
    own: OnceCell<Ranges>,
    /// By the unit, then by the address.
    functions: RefCell<HashMap<usize, HashMap<u64, UnitOffset>>>,
}

/// Where code begins and ends, and the unit it belongs to; sorted.
type Ranges = Vec<(u64, u64, usize)>;

impl DebugInfo {
    /// Where the unit begins that an address lies in.
    pub(super) fn unit_of_address(&self, dwarf: &Dwarf<'_>, address: u64) -> Option<usize> {
        let listed = find(self.index.listed.get_or_init(|| listed(dwarf)), address);
        // Not every compiler writes that section.
        listed.or_else(|| find(self.index.own.get_or_init(|| self.ranges_of_units(dwarf)), address))
    }

    /// By what the units say of themselves.
    fn ranges_of_units(&self, dwarf: &Dwarf<'_>) -> Ranges {
        let mut found = Ranges::new();
        for &start in self.unit_starts() {
            let Some(unit) = Self::unit_at(dwarf, start) else { continue };
            let mut entries = unit.entries();
            if let Ok(Some(root)) = entries.next_dfs() {
                ranges(dwarf, &unit, root, &mut |begin, end| {
                    found.push((begin, end, start));
                    found.len() < MOST_RANGES
                });
            }
        }
        found.sort_unstable();
        found
    }

    /// The entry of the function whose code begins at an address.
    pub(super) fn function_at(&self, dwarf: &Dwarf<'_>, address: u64) -> Option<Place> {
        let start = self.unit_of_address(dwarf, address)?;
        let mut known = self.index.functions.borrow_mut();
        let of_unit = known.entry(start).or_insert_with(|| functions(dwarf, start).unwrap_or_default());
        Some(Place { unit: start, entry: *of_unit.get(&address)? })
    }
}

/// By the section that is there for it.
fn listed(dwarf: &Dwarf<'_>) -> Ranges {
    let mut found = Ranges::new();
    let mut headers = dwarf.debug_aranges.headers();
    while let Ok(Some(header)) = headers.next() {
        let mut entries = header.entries();
        while let (true, Ok(Some(entry))) = (found.len() < MOST_RANGES, entries.next_raw()) {
            let end = entry.address().saturating_add(entry.length());
            found.push((entry.address(), end, header.debug_info_offset().0));
        }
    }
    found.sort_unstable();
    found
}

fn find(ranges: &Ranges, address: u64) -> Option<usize> {
    let before = ranges.get(..ranges.partition_point(|&(begin, ..)| begin <= address))?;
    let mut close = before.iter().rev().take(MOST_OVERLAPS);
    close.find(|&&(_, end, _)| address < end).map(|&(.., unit)| unit)
}

/// The functions of a unit by where their code begins.
fn functions(dwarf: &Dwarf<'_>, start: usize) -> Option<HashMap<u64, UnitOffset>> {
    let unit = DebugInfo::unit_at(dwarf, start)?;
    let mut entries = unit.entries();
    let mut found = HashMap::new();
    for _ in 0..MOST_ENTRIES {
        let Ok(Some(entry)) = entries.next_dfs() else { break };
        if entry.tag() == gimli::DW_TAG_subprogram
            && let Some(address) = entry_address(dwarf, &unit, entry)
        {
            found.entry(address).or_insert(entry.offset());
        }
    }
    Some(found)
}

/// Where the code of an entry begins.
fn entry_address(dwarf: &Dwarf<'_>, unit: &Unit<'_>, entry: &Entry<'_>) -> Option<u64> {
    dwarf.attr_address(unit, entry.attr_value(gimli::DW_AT_low_pc)?).ok()?
}

/// The code of an entry holds an address.
pub(super) fn contains(dwarf: &Dwarf<'_>, unit: &Unit<'_>, entry: &Entry<'_>, address: u64) -> bool {
    let mut found = false;
    ranges(dwarf, unit, entry, &mut |begin, end| {
        found = begin <= address && address < end;
        !found
    });
    found
}

/// Where the code of an entry lies, until `more` has enough. (gimli's own `die_ranges` adds a foreign length without a check.)
fn ranges(dwarf: &Dwarf<'_>, unit: &Unit<'_>, entry: &Entry<'_>, more: &mut dyn FnMut(u64, u64) -> bool) {
    if let Some(ranges) = entry.attr_value(gimli::DW_AT_ranges) {
        let Ok(Some(mut ranges)) = dwarf.attr_ranges(unit, ranges) else { return };
        while let Ok(Some(range)) = ranges.next() {
            if !more(range.begin, range.end) {
                return;
            }
        }
        return;
    }
    let Some(low) = entry_address(dwarf, unit, entry) else { return };
    let end = match entry.attr_value(gimli::DW_AT_high_pc) {
        Some(AttributeValue::Udata(len)) => low.checked_add(len),
        Some(value) => dwarf.attr_address(unit, value).ok().flatten(),
        None => None,
    };
    if let Some(end) = end {
        more(low, end);
    }
}
