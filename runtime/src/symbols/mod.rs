//! Names for addresses: of the kernel by its symbol table, of user processes by their mappings and the symbols of the
//! mapped files. A process's mappings are remembered, since it may be gone when its addresses are printed; files are
//! read once, however many processes map them.

pub mod demangle;
pub mod elf;
pub mod image;
pub mod kallsyms;
mod lifetime;
pub mod maps;
mod processes;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::rc::Rc;

use crate::debug_info::{self, DebugInfo, Frame};
use crate::events::context::{Symbol, Symbolizer};
use demangle::demangle;
use elf::{ElfSymbols, hex};
use image::Image;
use kallsyms::KernelSymbols;
use maps::{FileId, Mapping, Maps};
use processes::Processes;

/// The symbolizer of a session.
pub struct Symbols {
    demangle: bool,
    /// Gives the kernel's table; called when its first address is to be named.
    load_kernel: Box<dyn Fn() -> Rc<KernelSymbols>>,
    kernel: OnceCell<Rc<KernelSymbols>>,
    processes: RefCell<Processes>,
    /// By device and inode; `None` for a file without symbols.
    files: RefCell<HashMap<FileId, Option<Rc<ElfSymbols>>>>,
    vdso: OnceCell<Option<Rc<ElfSymbols>>>,
    /// Debug information, where it shall be shown; `None` for a file without.
    debug: Option<RefCell<HashMap<FileId, Option<Rc<DebugInfo>>>>>,
}

/// Bytes of the vDSO that are read at most; it has one or two pages.
const LONGEST_VDSO: u64 = 1 << 20;

impl Symbols {
    /// Nothing read yet. `demangle` asks for names as programmers wrote them; `load_kernel` gives the kernel's table.
    pub fn new(demangle: bool, load_kernel: impl Fn() -> Rc<KernelSymbols> + 'static) -> Self {
        Self {
            demangle,
            load_kernel: Box::new(load_kernel),
            kernel: OnceCell::new(),
            processes: RefCell::default(),
            files: RefCell::default(),
            vdso: OnceCell::new(),
            debug: None,
        }
    }

    /// Shows source lines and inlined functions, where files have debug information.
    #[must_use]
    pub fn with_debug_info(mut self, wanted: bool) -> Self {
        self.debug = wanted.then(RefCell::default);
        self
    }

    fn file(&self, pid: u32, mapping: &Mapping) -> Option<Rc<ElfSymbols>> {
        if mapping.path == "[vdso]" {
            return self.vdso.get_or_init(|| read_vdso(mapping.end - mapping.start)).clone();
        }
        if mapping.inode == 0 {
            return None;
        }
        let key = mapping.file_id();
        if let Some(known) = self.files.borrow().get(&key) {
            return known.clone();
        }
        let table = open_mapped(pid, mapping).and_then(|file| {
            let path = format!("/proc/{pid}/root{}", mapping.path);
            ElfSymbols::of(file, path.as_ref()).ok()
        });
        let table = table.map(Rc::new);
        self.files.borrow_mut().insert(key, table.clone());
        table
    }

    fn name(&self, symbol: &str) -> String {
        if self.demangle { demangle(symbol) } else { symbol.to_owned() }
    }

    /// The address as the mapped file counts, and the file's symbols.
    fn locate(&self, pid: u32, address: u64) -> Option<(Mapping, Rc<ElfSymbols>, u64)> {
        let mapping = self.processes.borrow_mut().mapping(pid, address)?;
        let file = self.file(pid, &mapping)?;
        let offset = (address - mapping.start).checked_add(mapping.offset)?;
        Some((mapping, file, offset))
    }
}

impl Symbolizer for Symbols {
    fn remember(&self, tgid: u32) {
        self.processes.borrow_mut().remember(tgid);
    }

    fn watch(&self, tgid: Option<u32>) {
        self.processes.borrow_mut().watch(tgid);
    }

    fn refresh(&self) {
        self.processes.borrow_mut().refresh();
    }

    fn kernel(&self, address: u64) -> Option<Symbol> {
        let table = self.kernel.get_or_init(|| (self.load_kernel)());
        let found = table.function_at(address)?;
        Some(Symbol {
            name: self.name(found.name),
            offset: address - found.address,
            module: found.module.unwrap_or_default().to_owned(),
        })
    }

    fn user(&self, tgid: u32, address: u64) -> Option<Symbol> {
        if let Some((mapping, file, offset)) = self.locate(tgid, address) {
            let in_file = file.segments.address_of(offset)?;
            let found = file.function_at(in_file)?;
            return Some(Symbol { name: self.name(found.name), offset: in_file - found.address, module: mapping.path });
        }
        let (name, offset) = self.processes.borrow().jit_function(tgid, address)?;
        Some(Symbol { name, offset, module: String::new() })
    }

    fn source(&self, tgid: u32, address: u64) -> Vec<Frame> {
        let Some(debug) = &self.debug else { return Vec::new() };
        let Some((mapping, _, offset)) = self.locate(tgid, address) else { return Vec::new() };
        let key = mapping.file_id();
        let load = || {
            let path = format!("/proc/{tgid}/root{}", mapping.path);
            let file = open_mapped(tgid, &mapping)?;
            debug_info::or_warn(&mapping.path, DebugInfo::of_file(file, path.as_ref())).map(Rc::new)
        };
        let info = debug.borrow_mut().entry(key).or_insert_with(load).clone();
        let mut frames = info.and_then(|info| Some(info.frames(info.segments.address_of(offset)?))).unwrap_or_default();
        for name in frames.iter_mut().filter_map(|frame| frame.inlined.as_mut()) {
            *name = self.name(name);
        }
        frames
    }

    fn build_id(&self, tgid: u32, address: u64) -> Option<(String, u64)> {
        let (_, file, offset) = self.locate(tgid, address)?;
        (!file.build_id.is_empty()).then(|| (hex(&file.build_id), offset.wrapping_sub(file.start)))
    }
}

/// The file that is mapped: through the kernel's link while the process lives (deleted files and other mount namespaces
/// included), else by its path when the inode there is the same. The process may end at any moment, so what was opened is what is read.
pub(crate) fn open_mapped(pid: u32, mapping: &Mapping) -> Option<Image> {
    let link = format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end);
    if let Ok(image) = Image::open(link.as_ref()) {
        return Some(image.around(mapping.offset));
    }
    let inside = format!("/proc/{pid}/root{}", mapping.path);
    let same = |image: &Image| image.metadata().is_ok_and(|found| found.ino() == mapping.inode);
    let mut paths = [inside.as_str(), mapping.path.as_str()].into_iter();
    let image = paths.find_map(|path| Image::open(path.as_ref()).ok().filter(same))?;
    Some(image.around(mapping.offset))
}

/// The vDSO's image from our own memory: the kernel maps the same one into every process.
pub(crate) fn vdso_image(len: u64) -> Option<Vec<u8>> {
    let maps = Maps::of(std::process::id())?;
    let own = maps.iter().find(|mapping| mapping.path == "[vdso]")?;
    // Another length is another image, for instance that of 32-bit programs.
    if own.end - own.start != len || len > LONGEST_VDSO {
        return None;
    }
    let mut image = vec![0; usize::try_from(len).ok()?];
    File::open("/proc/self/mem").ok()?.read_exact_at(&mut image, own.start).ok()?;
    Some(image)
}

fn read_vdso(len: u64) -> Option<Rc<ElfSymbols>> {
    ElfSymbols::parse(&vdso_image(len)?).ok().map(Rc::new)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[inline(never)]
    fn tapline_symbols_test_marker(n: u64) -> u64 {
        std::hint::black_box(n).wrapping_mul(3)
    }

    #[test]
    fn our_own_functions_have_names() {
        let symbols = Symbols::new(true, Rc::default);
        let pid = std::process::id();
        let marker = tapline_symbols_test_marker as *const () as u64;
        let found = symbols.user(pid, marker + 1).unwrap();
        assert!(found.name.ends_with("::tapline_symbols_test_marker"), "{found:?}");
        assert_eq!(found.offset, 1);
        assert_eq!(found.module, std::env::current_exe().unwrap().to_str().unwrap());
        assert_eq!(symbols.user(pid, 0x10), None);
        assert_eq!(tapline_symbols_test_marker(2), 6);
    }

    #[test]
    fn a_library_function_has_a_name() {
        let symbols = Symbols::new(true, Rc::default);
        let address = libc::getppid as *const () as u64;
        let found = symbols.user(std::process::id(), address).unwrap();
        assert!(found.name.contains("getppid"), "{found:?}");
        assert_eq!(found.offset, 0);
    }

    #[test]
    fn the_vdso_has_functions() {
        let maps = Maps::of(std::process::id()).unwrap();
        let Some(vdso) = maps.iter().find(|mapping| mapping.path == "[vdso]") else { return };
        let table = read_vdso(vdso.end - vdso.start).unwrap();
        assert!(table.iter().any(|symbol| symbol.name.contains("clock_gettime")));
        assert!(read_vdso(1).is_none());
    }

    #[test]
    fn a_process_that_has_ended_keeps_its_names() {
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let symbols = Symbols::new(true, Rc::default);
        // The mappings are those of sleep once the child has executed it, and its loader has come so far: on a busy machine that takes a while.
        let mut code = None;
        for _ in 0..3000 {
            let maps = Maps::of(child.id()).unwrap();
            // Later than what is looked at, so that it has at least that.
            *symbols.processes.borrow_mut() = Processes::default();
            symbols.remember(child.id());
            code = maps.iter().find(|mapping| mapping.path.contains("libc")).cloned();
            if code.is_some() && maps.iter().any(|mapping| mapping.path.ends_with("sleep")) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let code = code.unwrap();
        let libc = ElfSymbols::load(code.path.as_ref()).unwrap();
        let malloc = libc.find("malloc").unwrap();
        let address = code.start + libc.segments.offset_of(malloc.address).unwrap() - code.offset;
        assert_eq!(symbols.user(child.id(), address + 2).unwrap().offset, 2);
        assert_eq!(symbols.processes.borrow_mut().mapping(child.id(), address).unwrap().inode, code.inode);
    }

    #[test]
    fn kernel_addresses_are_named_by_the_given_table() {
        let symbols = Symbols::new(true, || {
            let table = "ffffffff81000100 T vfs_read\nffffffffc0000000 t xfs_read\t[xfs]\n";
            Rc::new(KernelSymbols::read(table.as_bytes()).unwrap())
        });
        let found = symbols.kernel(0xffff_ffff_8100_0105).unwrap();
        assert_eq!((found.name.as_str(), found.offset, found.module.as_str()), ("vfs_read", 5, ""));
        assert_eq!(symbols.kernel(0xffff_ffff_c000_0001).unwrap().module, "xfs");
        assert_eq!(symbols.kernel(0x1000), None);
    }
}
