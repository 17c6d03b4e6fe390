//! Source lines: where a line's code begins, and which line and which inlined functions an address belongs to.

use gimli::{AttributeValue, ColumnType};

use super::index::contains;
use super::{DebugInfo, Dwarf, MOST_ENTRIES, Place, Unit, Units, name_of};

/// Rows of one line program that are looked at.
const MOST_ROWS: usize = 1 << 24;

/// Places of one file.
const MOST_PLACES: usize = 1 << 20;

/// Where a function was inlined into another, at most so deep.
const MOST_INLINED: usize = 64;

/// Code that belongs to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourcePlace {
    /// Where it begins, as the file counts addresses.
    pub address: u64,
    /// The line.
    pub line: u64,
}

/// A function that an address belongs to, and the line in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The name of a function that was inlined here; `None` for the one that has the code.
    pub inlined: Option<String>,
    /// Path of the source file, as the compiler was given it.
    pub file: String,
    /// Line; 0 when it is not known.
    pub line: u64,
}

/// A row of a line program.
struct Row {
    address: u64,
    file: u64,
    line: u64,
    column: u64,
    statement: bool,
    end: bool,
}

impl DebugInfo {
    /// Where the statements of a line begin: in each stretch of code of that line its first address. `file` is the end of a path
    /// (`main.c`, `src/main.c`); `column` narrows it down. Sorted by address.
    pub fn places(&self, file: &str, line: u64, column: Option<u64>) -> Vec<SourcePlace> {
        let mut places = self.rows_of(file, |row| {
            (row.line == line && column.is_none_or(|column| column == row.column)).then_some(row.line)
        });
        places.sort_unstable();
        places.dedup();
        places
    }

    /// The lines of a file that have code, sorted; empty for a file that is not among the sources.
    pub fn lines(&self, file: &str) -> Vec<u64> {
        let mut lines: Vec<u64> = self.rows_of(file, |row| Some(row.line)).into_iter().map(|it| it.line).collect();
        lines.sort_unstable();
        lines.dedup();
        lines
    }

    fn rows_of(&self, file: &str, mut wanted: impl FnMut(&Row) -> Option<u64>) -> Vec<SourcePlace> {
        let dwarf = self.dwarf();
        let mut places = Vec::new();
        for &start in self.unit_starts() {
            let Some(unit) = Self::unit_at(&dwarf, start) else { continue };
            let Some(program) = unit.line_program.clone() else { continue };
            let files = matching_files(&dwarf, &unit, file);
            if files.is_empty() {
                continue;
            }
            let mut last = None;
            let mut rows = program.rows();
            for _ in 0..MOST_ROWS {
                let Ok(Some((_, row))) = rows.next_row() else { break };
                let row = Row::new(row);
                let line = (row.statement && !row.end && row.address != 0 && files.contains(&row.file))
                    .then(|| wanted(&row))
                    .flatten();
                if let Some(line) = line.filter(|line| last != Some(*line) && places.len() < MOST_PLACES) {
                    places.push(SourcePlace { address: row.address, line });
                }
                if row.statement {
                    last = line;
                }
            }
        }
        places
    }

    /// The functions that an address belongs to, the innermost first; empty when nothing is known of it.
    pub fn frames(&self, address: u64) -> Vec<Frame> {
        let dwarf = self.dwarf();
        let Some(start) = self.unit_of_address(&dwarf, address) else { return Vec::new() };
        let Some(unit) = Self::unit_at(&dwarf, start) else { return Vec::new() };
        let (mut file, mut line) = line_at(&dwarf, &unit, address).unwrap_or_default();
        let mut frames = Vec::new();
        // The line of a function's code is in its innermost part; that of an outer one is where it calls the inner.
        let mut units = Units::default();
        for call in inlined_at(&dwarf, &unit, start, address).into_iter().rev() {
            let name = name_of(&dwarf, &mut units, call.place).unwrap_or_default();
            frames.push(Frame { inlined: Some(name), file, line });
            file = call.file.and_then(|index| path_of(&dwarf, &unit, index)).unwrap_or_default();
            line = call.line;
        }
        if frames.is_empty() && file.is_empty() {
            return frames;
        }
        frames.push(Frame { inlined: None, file, line });
        frames
    }
}

impl Row {
    fn new(row: &gimli::LineRow) -> Self {
        Self {
            address: row.address(),
            file: row.file_index(),
            line: row.line().map_or(0, u64::from),
            column: match row.column() {
                ColumnType::LeftEdge => 0,
                ColumnType::Column(column) => column.into(),
            },
            statement: row.is_stmt(),
            end: row.end_sequence(),
        }
    }
}

/// Numbers of the files of a unit whose path ends as asked for.
fn matching_files(dwarf: &Dwarf<'_>, unit: &Unit<'_>, wanted: &str) -> Vec<u64> {
    let Some(program) = &unit.line_program else { return Vec::new() };
    // Before version 5 the files were counted from 1.
    let first = u64::from(program.header().version() < 5);
    let count = program.header().file_names().len() as u64;
    let ends = |path: &str| path.strip_suffix(wanted).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
    let wanted_files =
        (first..first + count).filter(|&index| path_of(dwarf, unit, index).is_some_and(|path| ends(&path)));
    wanted_files.collect()
}

/// The path of a file of a unit, without the folder in which the compiler ran unless there is no other.
fn path_of(dwarf: &Dwarf<'_>, unit: &Unit<'_>, index: u64) -> Option<String> {
    let header = unit.line_program.as_ref()?.header();
    let file = header.file(index)?;
    let text = |value: AttributeValue<_>| Some(dwarf.attr_string(unit, value).ok()?.to_string_lossy().into_owned());
    let name = text(file.path_name())?;
    if name.starts_with('/') {
        return Some(name);
    }
    let directory = file.directory(header).and_then(text).unwrap_or_default();
    let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
    if path.starts_with('/') {
        return Some(path);
    }
    let base = unit.comp_dir.map(|base| base.to_string_lossy().into_owned()).unwrap_or_default();
    Some(if base.is_empty() { path } else { format!("{base}/{path}") })
}

/// File and line of an address.
fn line_at(dwarf: &Dwarf<'_>, unit: &Unit<'_>, address: u64) -> Option<(String, u64)> {
    let mut rows = unit.line_program.clone()?.rows();
    let mut before: Option<Row> = None;
    for _ in 0..MOST_ROWS {
        let (_, row) = rows.next_row().ok()??;
        let row = Row::new(row);
        if let Some(row_before) = before.filter(|it| !it.end)
            && row_before.address <= address
            && address < row.address
        {
            return Some((path_of(dwarf, unit, row_before.file)?, row_before.line));
        }
        before = Some(row);
    }
    None
}

/// An inlined function and where it is called.
struct Call {
    place: Place,
    file: Option<u64>,
    line: u64,
}

/// The inlined functions that an address lies in, the outermost first.
fn inlined_at(dwarf: &Dwarf<'_>, unit: &Unit<'_>, start: usize, address: u64) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut entries = unit.entries();
    // The depth of the function around the address, once it is found.
    let mut function = None;
    for _ in 0..MOST_ENTRIES {
        let Ok(Some(entry)) = entries.next_dfs() else { break };
        if function.is_some_and(|depth| entry.depth() <= depth) {
            break;
        }
        let number = |name| entry.attr_value(name).and_then(|value| value.udata_value());
        let file = || match entry.attr_value(gimli::DW_AT_call_file) {
            Some(AttributeValue::FileIndex(index)) => Some(index),
            other => other.and_then(|value| value.udata_value()),
        };
        match entry.tag() {
            gimli::DW_TAG_subprogram if function.is_none() && contains(dwarf, unit, entry, address) => {
                function = Some(entry.depth());
            }
            gimli::DW_TAG_inlined_subroutine if function.is_some() && contains(dwarf, unit, entry, address) => {
                let line = number(gimli::DW_AT_call_line).unwrap_or(0);
                calls.push(Call { place: Place { unit: start, entry: entry.offset() }, file: file(), line });
                if calls.len() >= MOST_INLINED {
                    break;
                }
            }
            _ => {}
        }
    }
    calls
}
