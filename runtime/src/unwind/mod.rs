//! Fills the maps by which `dw_ustack()` walks stacks without frame pointers: for each process whose stacks are wanted, its
//! mappings of code and the unwind tables of the mapped files. A table is read once, however many processes map its file.

pub mod table;

use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use tapline_compiler::program::MapRole;
use tapline_compiler::unwind::{mapping, process, row};

use crate::maps::table::Table as MapTable;
use crate::symbols::maps::{FileId, Mapping, Maps};
use crate::symbols::{open_mapped, vdso_image};
use table::Table;

/// Rows written in one call.
const BATCH: usize = 1 << 14;

/// The maps to be filled, in the order in which their entries refer to each other.
pub const ROLES: [MapRole; 3] = [MapRole::UnwindRows, MapRole::UnwindMappings, MapRole::UnwindProcesses];

/// A table that has its place in the map of rows.
#[derive(Debug)]
struct Placed {
    table: Table,
    first: u32,
    count: u32,
}

/// Keeps the maps up to date with some processes.
#[derive(Debug, Default)]
pub struct Unwinder {
    pids: Vec<u32>,
    /// The mappings that the kernel's maps know.
    known: HashMap<u32, Maps>,
    /// By device and inode, the vDSO by its name; `None` for a file without a table.
    files: HashMap<FileId, Option<Rc<Placed>>>,
    /// Rows and mappings that are not in the kernel's maps yet.
    new_rows: Vec<u8>,
    new_mappings: Vec<u8>,
    /// Processes whose entries are to be replaced once those are.
    new_processes: Vec<(u32, [u8; process::SIZE as usize])>,
    rows: u32,
    mappings: u32,
    /// Rows that there is room for; grows until the map is made.
    capacity: u32,
    full: bool,
    maps: Option<[MapTable; 3]>,
}

impl Unwinder {
    /// For these processes. Those that run have their tables read now, so that [`Self::capacity`] suffices for them.
    pub fn new(pids: Vec<u32>) -> Self {
        let mut this = Self { pids, capacity: u32::MAX, ..Self::default() };
        this.look();
        // What is loaded later needs room, too.
        this.capacity = (this.rows.saturating_add(this.rows / 4)).max(row::MOST);
        this
    }

    /// Entries that the map of rows must have.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Looks at one more process from now on.
    pub fn add(&mut self, pid: u32) {
        self.pids.push(pid);
    }

    /// Gives the maps, in the order of [`ROLES`], and writes what has been read.
    pub fn connect(&mut self, maps: [MapTable; 3]) -> io::Result<()> {
        self.maps = Some(maps);
        self.write()
    }

    /// Reads the mappings again, and writes what has changed; true when something has.
    pub fn update(&mut self) -> io::Result<bool> {
        let changed = self.look();
        self.write()?;
        Ok(changed)
    }

    /// Some table found no room: stacks through it end early.
    pub fn is_full(&self) -> bool {
        self.full
    }

    fn look(&mut self) -> bool {
        let mut changed = false;
        for pid in self.pids.clone() {
            let Some(maps) = Maps::of(pid) else { continue };
            if self.known.get(&pid) == Some(&maps) {
                continue;
            }
            self.enter(pid, &maps);
            self.known.insert(pid, maps);
            changed = true;
        }
        changed
    }

    /// Makes the entries of a process.
    fn enter(&mut self, pid: u32, maps: &Maps) {
        let first = self.mappings;
        for found in maps.iter().take(mapping::MOST_OF_PROCESS as usize) {
            let Some(placed) = self.placed(pid, found) else { continue };
            // The vDSO's image is mapped as a whole; its offset in /proc/PID/maps is 0 as well.
            let Some(address) = placed.table.address_of(found.offset, found.end - found.start) else { continue };
            if self.mappings >= mapping::MOST {
                self.full = true;
                break;
            }
            let bias = found.start.wrapping_sub(address).wrapping_add(placed.table.base);
            for word in [found.start, found.end, bias] {
                self.new_mappings.extend(word.to_ne_bytes());
            }
            for word in [placed.first, placed.count] {
                self.new_mappings.extend(word.to_ne_bytes());
            }
            self.mappings += 1;
        }
        let mut entry = [0; process::SIZE as usize];
        let (head, tail) = entry.split_at_mut(4);
        head.copy_from_slice(&first.to_ne_bytes());
        tail.copy_from_slice(&(self.mappings - first).to_ne_bytes());
        self.new_processes.push((pid, entry));
    }

    fn placed(&mut self, pid: u32, found: &Mapping) -> Option<Rc<Placed>> {
        let key = match found.path.as_str() {
            "[vdso]" => (found.path.clone(), 0, 0),
            _ if found.inode == 0 => return None,
            _ => found.file_id(),
        };
        if let Some(known) = self.files.get(&key) {
            return known.clone();
        }
        let table = match found.path.as_str() {
            "[vdso]" => vdso_image(found.end - found.start).and_then(|image| Table::parse(&image)),
            _ => open_mapped(pid, found).and_then(Table::of),
        };
        let placed = table.and_then(|table| self.place(table));
        self.files.insert(key, placed.clone());
        placed
    }

    fn place(&mut self, mut table: Table) -> Option<Rc<Placed>> {
        let rows = std::mem::take(&mut table.rows);
        let count = u32::try_from(rows.len()).ok()?;
        let first = self.rows;
        let Some(end) = first.checked_add(count).filter(|end| *end <= self.capacity) else {
            self.full = true;
            return None;
        };
        self.rows = end;
        self.new_rows.extend(rows.iter().flat_map(|row| row.bytes()));
        Some(Rc::new(Placed { table, first, count }))
    }

    fn write(&mut self) -> io::Result<()> {
        let Some([rows, mappings, processes]) = &self.maps else { return Ok(()) };
        append(rows, self.rows, &self.new_rows)?;
        append(mappings, self.mappings, &self.new_mappings)?;
        for (pid, entry) in &self.new_processes {
            processes.update(&pid.to_ne_bytes(), entry)?;
        }
        self.new_rows = Vec::new();
        self.new_mappings.clear();
        self.new_processes.clear();
        Ok(())
    }
}

/// Writes the last entries of the first `end` of an array.
fn append(array: &MapTable, end: u32, values: &[u8]) -> io::Result<()> {
    let size = array.value_size().max(1);
    let mut index = end.saturating_sub(u32::try_from(values.len() / size).unwrap_or(u32::MAX));
    for values in values.chunks(BATCH * size) {
        let count = (values.len() / size) as u32;
        let keys: Vec<u8> = (index..index + count).flat_map(u32::to_ne_bytes).collect();
        array.update_all(&keys, values)?;
        index += count;
    }
    Ok(())
}
