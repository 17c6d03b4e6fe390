//! The kernel's symbol table, `/proc/kallsyms`: read once, sorted by address. Reading costs the kernel about 50 ms, so
//! that it happens only when the first address is to be named or the first symbol is looked up.

use std::io::{self, BufRead, BufReader, Read};

/// All symbols of the kernel and its modules.
#[derive(Debug, Default)]
pub struct KernelSymbols {
    /// All names, one after the other.
    names: String,
    /// Sorted by address; those of one address in the order of the file.
    entries: Vec<Entry>,
    modules: Vec<String>,
    /// Where the code of the kernel itself ends, as far as the table says.
    end: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: u64,
    name: u32,
    len: u16,
    /// Index in `modules` plus one; 0 for the kernel itself.
    module: u16,
    code: bool,
}

/// A symbol as the table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelSymbol<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its address.
    pub address: u64,
    /// The module it belongs to.
    pub module: Option<&'a str>,
    /// A function, else data.
    pub code: bool,
}

impl KernelSymbols {
    /// Reads the running kernel's table.
    pub fn load() -> io::Result<Self> {
        Self::read(std::fs::File::open("/proc/kallsyms")?)
    }

    /// Reads a table in the form of `/proc/kallsyms`. Lines of another form are left out.
    pub fn read(source: impl Read) -> io::Result<Self> {
        let mut source = BufReader::with_capacity(256 << 10, source);
        let mut table = Self::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            if source.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            table.add(&line);
        }
        table.tell_data_from_code();
        // A stable sort keeps the order of aliases.
        table.entries.sort_by_key(|entry| entry.address);
        table.entries.shrink_to_fit();
        Ok(table)
    }

    fn add(&mut self, line: &[u8]) -> Option<()> {
        let line = std::str::from_utf8(line).ok()?;
        let mut fields = line.split_ascii_whitespace();
        let address = u64::from_str_radix(fields.next()?, 16).ok()?;
        let kind = fields.next()?;
        let name = fields.next()?;
        let module = fields.next().and_then(|field| field.strip_prefix('[')?.strip_suffix(']'));
        let module = match module {
            None => 0,
            Some(module) => self.module(module)?,
        };
        let entry = Entry {
            address,
            name: u32::try_from(self.names.len()).ok()?,
            len: u16::try_from(name.len()).ok()?,
            module,
            code: matches!(kind, "t" | "T" | "w" | "W" | "i" | "u"),
        };
        if module == 0 && name == "_einittext" {
            self.end = Some(address);
        }
        self.names.push_str(name);
        self.entries.push(entry);
        Some(())
    }

    /// Kernels from 7.0 on call some of their data code. All of it lies between the kernel's text and that of its start.
    fn tell_data_from_code(&mut self) {
        let at = |wanted: &str| self.find(wanted).filter(|symbol| symbol.module.is_none()).map(|symbol| symbol.address);
        let (Some(from), Some(to)) = (at("_etext"), at("_sinittext")) else { return };
        for entry in self.entries.iter_mut().filter(|entry| entry.module == 0 && (from..to).contains(&entry.address)) {
            entry.code = false;
        }
    }

    fn module(&mut self, name: &str) -> Option<u16> {
        // Symbols of a module stand together.
        let at = self.modules.iter().rposition(|have| have == name).unwrap_or_else(|| {
            self.modules.push(name.to_owned());
            self.modules.len() - 1
        });
        u16::try_from(at + 1).ok()
    }

    fn symbol(&self, entry: &Entry) -> KernelSymbol<'_> {
        let start = entry.name as usize;
        KernelSymbol {
            name: self.names.get(start..start + usize::from(entry.len)).unwrap_or_default(),
            address: entry.address,
            module: usize::from(entry.module).checked_sub(1).and_then(|at| self.modules.get(at)).map(String::as_str),
            code: entry.code,
        }
    }

    /// All symbols by address.
    pub fn iter(&self) -> impl Iterator<Item = KernelSymbol<'_>> {
        self.entries.iter().map(|entry| self.symbol(entry))
    }

    /// True when the kernel hides addresses from us (`kernel.kptr_restrict`).
    pub fn hidden(&self) -> bool {
        self.entries.iter().all(|entry| entry.address == 0)
    }

    /// The function that an address lies in: the last one that begins at or before it, and of several names for one
    /// address the last in the table.
    pub fn function_at(&self, address: u64) -> Option<KernelSymbol<'_>> {
        let after = self.entries.partition_point(|entry| entry.address <= address);
        let found = self.entries.get(..after)?.iter().rfind(|entry| entry.code)?;
        // Behind the kernel lie modules and BPF programs, which may be gone by now.
        let gone = found.module == 0 && self.end.is_some_and(|end| end <= address);
        (found.address != 0 && !gone).then(|| self.symbol(found))
    }

    /// The first symbol of that name, by address.
    pub fn find(&self, name: &str) -> Option<KernelSymbol<'_>> {
        self.iter().find(|symbol| symbol.name == name && symbol.address != 0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TABLE: &str = "\
ffffffff81000200 T second
ffffffff81000100 T first
ffffffff81000100 T first_alias
ffffffff81000180 d data_between
0000000000001000 A per_cpu_offset
ffffffffc0000000 t helper\t[xfs]
not a line
ffffffffc0000040 t other\t[nf_tables]
";

    #[test]
    fn data_that_is_called_code_is_data() {
        let table = "ff00 T _stext\nff00 T work\nff40 T _etext\nff80 T init_task\nffa0 T _sinittext\nffa0 t start\nffb0 T _einittext\n";
        let symbols = KernelSymbols::read(table.as_bytes()).unwrap();
        assert!(symbols.find("work").unwrap().code && symbols.find("start").unwrap().code);
        assert!(!symbols.find("init_task").unwrap().code);
        assert_eq!(symbols.function_at(0xff84).unwrap().name, "work");
    }

    #[test]
    fn addresses_are_named_by_the_function_before_them() {
        let table = KernelSymbols::read(TABLE.as_bytes()).unwrap();
        let name = |address| table.function_at(address).map(|symbol| (symbol.name, address - symbol.address));
        assert_eq!(name(0xffff_ffff_8100_0104), Some(("first_alias", 4)));
        assert_eq!(name(0xffff_ffff_8100_0190), Some(("first_alias", 0x90)), "data is no function");
        assert_eq!(name(0xffff_ffff_8100_0200), Some(("second", 0)));
        assert_eq!(name(0x500), None);
        let helper = table.function_at(0xffff_ffff_c000_0010).unwrap();
        assert_eq!((helper.name, helper.module), ("helper", Some("xfs")));
        assert_eq!(table.function_at(0xffff_ffff_c000_0050).unwrap().module, Some("nf_tables"));
    }

    #[test]
    fn names_have_addresses() {
        let table = KernelSymbols::read(TABLE.as_bytes()).unwrap();
        assert_eq!(table.find("data_between").unwrap().address, 0xffff_ffff_8100_0180);
        assert_eq!(table.find("missing"), None);
        assert_eq!(table.iter().count(), 7);
        assert!(!table.hidden());
    }

    #[test]
    fn behind_the_kernel_nothing_is_the_kernels() {
        let table =
            KernelSymbols::read("81000100 T last\n81000200 T _einittext\nc0000000 t helper\t[xfs]\n".as_bytes())
                .unwrap();
        assert_eq!(table.function_at(0x8100_01ff).map(|symbol| symbol.name), Some("last"));
        assert_eq!(table.function_at(0x8100_0200), None);
        assert_eq!(table.function_at(0xc000_0010).map(|symbol| symbol.name), Some("helper"));
    }

    #[test]
    fn hidden_addresses_name_nothing() {
        let table = KernelSymbols::read("0000000000000000 T first\n0000000000000000 T second\n".as_bytes()).unwrap();
        assert!(table.hidden());
        assert_eq!(table.function_at(0xffff_ffff_8100_0104), None);
        assert_eq!(table.find("first"), None);
    }
}
