//! Function symbols of an ELF file, from `.symtab` and `.dynsym`, and how its addresses lie in the file. The file can be
//! hostile: it belongs to whoever runs it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use object::read::{Object, ObjectSegment, ObjectSymbol, ReadCache};
use object::{ObjectKind, SymbolFlags, SymbolKind};

use super::image::Image;

/// Sections that the linker of Go makes, in stripped files, too.
const GO_SECTIONS: [&str; 3] = [".note.go.buildid", ".go.buildinfo", ".gopclntab"];

/// Build ids are hashes of 20 or 32 bytes.
const LONGEST_BUILD_ID: usize = 64;

/// Why a file has no symbols.
#[derive(Debug)]
pub enum ElfError {
    /// It cannot be read.
    Io(std::io::Error),
    /// It is no ELF file, or a damaged one.
    Malformed(String),
}

impl std::fmt::Display for ElfError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Malformed(why) => write!(f, "not a readable ELF file: {why}"),
        }
    }
}

impl std::error::Error for ElfError {}

/// The functions of a file.
#[derive(Debug, Default)]
pub struct ElfSymbols {
    names: String,
    /// Sorted by address, then by the order of the tables.
    entries: Vec<Entry>,
    /// How its addresses lie in the file that the kernel maps.
    pub segments: Segments,
    /// Its first byte in that file, which may be an archive.
    pub start: u64,
    /// Addresses are relative to where the file is loaded.
    pub position_independent: bool,
    /// It was made by the compiler of Go.
    pub go: bool,
    /// The identity that the linker gave the file; empty when it gave none.
    pub build_id: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: u64,
    size: u64,
    name: u32,
    len: u32,
}

/// The loaded pieces of a file.
#[derive(Clone, Debug, Default)]
pub struct Segments(Vec<Segment>);

impl Segments {
    /// Those of a file whose first byte is that one of the file that the kernel maps.
    pub fn of<'data>(file: &impl Object<'data>, start: u64) -> Self {
        let piece = |(address, (offset, len))| Segment { address, offset: start.wrapping_add(offset), len };
        Self(file.segments().map(|segment| piece((segment.address(), segment.file_range()))).collect())
    }

    /// The address, as the file counts, of a byte of the file; `None` when it is not loaded.
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        let segment = self.0.iter().find(|it| offset.checked_sub(it.offset).is_some_and(|at| at < it.len))?;
        (offset - segment.offset).checked_add(segment.address)
    }

    /// The byte of the file at an address as the file counts.
    pub fn offset_of(&self, address: u64) -> Option<u64> {
        let segment = self.0.iter().find(|it| address.checked_sub(it.address).is_some_and(|at| at < it.len))?;
        (address - segment.address).checked_add(segment.offset)
    }
}

/// A loaded piece of the file.
#[derive(Clone, Copy, Debug)]
struct Segment {
    address: u64,
    offset: u64,
    len: u64,
}

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElfSymbol<'a> {
    /// Its name, mangled as the file has it.
    pub name: &'a str,
    /// Its address as the file counts.
    pub address: u64,
    /// Bytes; 0 when the file does not say.
    pub size: u64,
}

/// Whether it is a file of this kind at all.
pub fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = Image::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic));
    read.is_ok() && magic == object::elf::ELFMAG
}

impl ElfSymbols {
    /// Reads the tables of the file at a path.
    pub fn load(path: &Path) -> Result<Self, ElfError> {
        Self::of(Image::open(path).map_err(ElfError::Io)?, path)
    }

    /// Reads the tables of an open file, whose debug file is looked for beside its path.
    pub fn of(file: Image, path: &Path) -> Result<Self, ElfError> {
        if !file.metadata().map_err(ElfError::Io)?.is_file() {
            return Err(ElfError::Malformed("it is not a regular file".into()));
        }
        let start = file.start();
        // Reads what the tables need and not the debug information beside them.
        let cache = ReadCache::new(file);
        let parsed = object::File::parse(&cache).map_err(|error| ElfError::Malformed(error.to_string()))?;
        let mut table = Self::read(&parsed, start);
        // A stripped file's local functions are in its debug file, when the distribution's is installed.
        if parsed.symbols().next().is_none()
            && let Some(file) = separate_debug_file(&parsed, path)
        {
            let cache = ReadCache::new(file);
            if let Ok(debug) = object::File::parse(&cache) {
                table.add_functions(debug.symbols());
            }
        }
        Ok(table)
    }

    /// Reads the tables of a file in memory, for instance of the vDSO.
    pub fn parse(bytes: &[u8]) -> Result<Self, ElfError> {
        let parsed = object::File::parse(bytes).map_err(|error| ElfError::Malformed(error.to_string()))?;
        Ok(Self::read(&parsed, 0))
    }

    fn read<'data>(file: &impl Object<'data>, start: u64) -> Self {
        let mut table = Self { position_independent: file.kind() == ObjectKind::Dynamic, ..Self::default() };
        table.segments = Segments::of(file, start);
        table.start = start;
        table.go = GO_SECTIONS.iter().any(|name| file.section_by_name(name).is_some());
        if let Ok(Some(id)) = file.build_id()
            && id.len() <= LONGEST_BUILD_ID
        {
            table.build_id = id.to_vec();
        }
        table.add_functions(file.symbols().chain(file.dynamic_symbols()));
        table
    }

    fn add_functions<'data, S: ObjectSymbol<'data>>(&mut self, symbols: impl Iterator<Item = S>) {
        for symbol in symbols {
            if !is_function(&symbol) || symbol.is_undefined() || symbol.address() == 0 {
                continue;
            }
            if let Ok(name) = symbol.name()
                && !name.is_empty()
            {
                self.add(name, symbol.address(), symbol.size());
            }
        }
        // A stable sort keeps .symtab's names before those of .dynsym.
        self.entries.sort_by_key(|entry| entry.address);
    }

    fn add(&mut self, name: &str, address: u64, size: u64) {
        let (Ok(at), Ok(len)) = (u32::try_from(self.names.len()), u32::try_from(name.len())) else { return };
        self.names.push_str(name);
        self.entries.push(Entry { address, size, name: at, len });
    }

    fn symbol(&self, entry: &Entry) -> ElfSymbol<'_> {
        let start = entry.name as usize;
        let name = self.names.get(start..start + entry.len as usize).unwrap_or_default();
        ElfSymbol { name, address: entry.address, size: entry.size }
    }

    /// All functions by address; one that is in both tables comes twice.
    pub fn iter(&self) -> impl Iterator<Item = ElfSymbol<'_>> {
        self.entries.iter().map(|entry| self.symbol(entry))
    }

    /// The function that an address of the file lies in.
    pub fn function_at(&self, address: u64) -> Option<ElfSymbol<'_>> {
        /// Functions that begin before the address and are looked at: an inner one may end before it where an outer does not.
        const LOOK_BACK: usize = 16;
        let after = self.entries.partition_point(|entry| entry.address <= address);
        let before = self.entries.get(..after)?;
        let found = before
            .iter()
            .rev()
            .take(LOOK_BACK)
            .find(|entry| address - entry.address < entry.size || (entry.size == 0 && entry.address == address))?;
        // Of several names for one function the first in the tables.
        let first = before.iter().rev().take_while(|entry| entry.address >= found.address);
        let first = first.filter(|entry| entry.address == found.address && entry.size == found.size).last();
        first.map(|entry| self.symbol(entry))
    }

    /// Functions of exactly that name.
    pub fn find(&self, name: &str) -> Option<ElfSymbol<'_>> {
        self.iter().find(|symbol| symbol.name == name)
    }
}

/// Where distributions install debug files.
const DEBUG_FOLDER: &str = "/usr/lib/debug";

/// Further folders of debug files: one choice for the whole process, as the files themselves are the same for all that look for them.
static MORE_FOLDERS: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// Looks for debug files in these folders, too. Only the first call counts.
pub fn also_look_for_debug_files_in(folders: Vec<PathBuf>) {
    let _ = MORE_FOLDERS.set(folders);
}

/// The file with the symbols and the debug information that were taken out of this one: by its build id, or by the name that it gives
/// (`.gnu_debuglink`), beside it, in a folder `.debug`, or where distributions install them. For a path inside of another root
/// folder (`/proc/PID/root/…`) in that one first.
pub fn separate_debug_file<'data>(file: &impl Object<'data>, path: &Path) -> Option<Image> {
    let id = file.build_id().ok().flatten().filter(|id| id.len() <= LONGEST_BUILD_ID).unwrap_or_default();
    let name = file.gnu_debuglink().ok().flatten().and_then(|(name, _)| std::str::from_utf8(name).ok());
    // A name, not a way out of the folder.
    let name = name.filter(|name| !name.is_empty() && !name.contains('/'));
    let (root, inside) = split_root(path);
    let mut candidates = Vec::new();
    let installed = [root, Path::new("/")].map(|root| (root, root.join(DEBUG_FOLDER.trim_start_matches('/'))));
    let more = MORE_FOLDERS.get().into_iter().flatten().map(|folder| (Path::new("/"), folder.clone()));
    for (root, folder) in installed.into_iter().chain(more) {
        if let Some((first, rest)) = id.split_first() {
            candidates.push(folder.join(format!(".build-id/{first:02x}/{}.debug", hex(rest))));
        }
        if let (Some(name), Some(parent)) = (name, inside.parent()) {
            let parent = parent.strip_prefix("/").unwrap_or(parent);
            candidates.push(root.join(parent).join(name));
            candidates.push(root.join(parent).join(".debug").join(name));
            candidates.push(folder.join(parent).join(name));
            candidates.push(folder.join(name));
        }
    }
    candidates.into_iter().find_map(|candidate| {
        let file = Image::open(&candidate).ok().filter(|file| file.metadata().is_ok_and(|found| found.is_file()))?;
        // A file of that name may belong to another build.
        let cache = ReadCache::new(file.try_clone().ok()?);
        let own = object::File::parse(&cache).ok()?.build_id().ok().flatten().unwrap_or_default().to_vec();
        (own == id && candidate != path).then_some(file)
    })
}

/// The root folder of the process through which a path goes, and the path inside.
fn split_root(path: &Path) -> (&Path, &Path) {
    let text = path.to_str().unwrap_or_default();
    let inside = text.strip_prefix("/proc/").and_then(|rest| {
        let (pid, rest) = rest.split_once('/')?;
        let inside = rest.strip_prefix("root")?;
        (pid.bytes().all(|byte| byte.is_ascii_digit()) && inside.starts_with('/')).then_some(inside)
    });
    match inside {
        Some(inside) => (Path::new(text.strip_suffix(inside).unwrap_or("/")), Path::new(inside)),
        None => (Path::new("/"), path),
    }
}

/// Bytes as two digits each.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Functions, and those whose code is chosen when the program starts (`memcpy` of a C library).
fn is_function<'data>(symbol: &impl ObjectSymbol<'data>) -> bool {
    const STT_GNU_IFUNC: u8 = 10;
    match symbol.flags() {
        SymbolFlags::Elf { st_info, .. } if st_info & 0xf == STT_GNU_IFUNC => true,
        _ => symbol.kind() == SymbolKind::Text,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sample() -> ElfSymbols {
        let mut table = ElfSymbols { position_independent: true, ..ElfSymbols::default() };
        table.segments = Segments(vec![
            Segment { address: 0, offset: 0, len: 0x1000 },
            Segment { address: 0x3000, offset: 0x1000, len: 0x1000 },
        ]);
        for (name, address, size) in
            [("outer", 0x3000, 0x100), ("inner", 0x3010, 0x10), ("alias", 0x3000, 0x100), ("mark", 0x3200, 0)]
        {
            table.add(name, address, size);
        }
        table.entries.sort_by_key(|entry| entry.address);
        table
    }

    #[test]
    fn addresses_are_named_by_the_function_around_them() {
        let table = sample();
        let name = |address| table.function_at(address).map(|symbol| symbol.name);
        assert_eq!(name(0x3000), Some("outer"));
        assert_eq!(name(0x3014), Some("inner"));
        assert_eq!(name(0x3050), Some("outer"), "behind the inner one");
        assert_eq!(name(0x3100), None, "behind the end");
        assert_eq!(name(0x3200), Some("mark"));
        assert_eq!(name(0x3201), None);
    }

    #[test]
    fn offsets_and_addresses_convert() {
        let table = sample();
        assert_eq!(table.segments.offset_of(0x3010), Some(0x1010));
        assert_eq!(table.segments.address_of(0x1010), Some(0x3010));
        assert_eq!((table.segments.offset_of(0x2000), table.segments.address_of(0x2000)), (None, None));
    }

    #[test]
    fn our_own_binary_has_functions() {
        let table = ElfSymbols::load(Path::new("/proc/self/exe")).unwrap();
        assert!(table.iter().count() > 100);
        let main = table.find("main").unwrap();
        assert_eq!(table.function_at(main.address + 1).map(|symbol| symbol.name), Some("main"));
        let offset = table.segments.offset_of(main.address).unwrap();
        assert_eq!(table.segments.address_of(offset), Some(main.address));
    }

    #[test]
    fn what_is_no_elf_file_is_refused() {
        assert!(matches!(ElfSymbols::parse(b"#!/bin/sh\n"), Err(ElfError::Malformed(_))));
        assert!(matches!(ElfSymbols::parse(&[]), Err(ElfError::Malformed(_))));
        assert!(matches!(ElfSymbols::load(Path::new("/nonexistent")), Err(ElfError::Io(_))));
        assert!(matches!(ElfSymbols::load(Path::new("/dev/null")), Err(ElfError::Malformed(_))));
        let mut bytes = std::fs::read("/proc/self/exe").unwrap();
        bytes.truncate(4096);
        let _ = ElfSymbols::parse(&bytes);
    }
}
