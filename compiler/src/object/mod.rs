//! Machine code to an ELF relocatable object for BPF, as stock loaders (aya, libbpf) expect it.
//!
//! | section | contents |
//! |---|---|
//! | `kprobe`, `tracepoint`, … | programs, many to a section, each a global function symbol |
//! | `.text` | subprograms and callbacks, global too |
//! | `.maps` | a variable per map, its definition in BTF |
//! | `.data.NAME` | a map of one entry whose value is addressed directly |
//! | `.rodata` | read-only data |
//! | `license` | licence string |
//! | `.BTF`, `.BTF.ext` | types, signatures, lines of the script |
//!
//! # Maps addressed directly
//!
//! Loaders put a map's address (`BPF_PSEUDO_MAP_VALUE`) into an instruction only for data sections, never for `.maps`.
//! So an array of one entry that [`Op::MapValue`](crate::ir::Op::MapValue) names gets a section of its own, which a loader turns
//! into an array map of one entry with the section's size as value size, named like the section. One section per map keeps the
//! manifest simple: a map is one file descriptor and its value begins at offset 0. The pass
//! [`map_values`](crate::ir::passes::map_values) chooses these maps and names them.
//!
//! Measured on x86-64: the direct address costs one `ld_imm64` (10 bytes of machine code); a lookup costs 20 to 30 bytes
//! with the key on the stack, although the JIT inlines it, and a null check.

// Indexing here is of `IndexVec`s by ids of the module at hand; slices are opened with `get`.
#![allow(clippy::indexing_slicing)]

use object::write::{Object, Relocation, SectionId, StandardSegment, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind, SymbolScope, elf,
};
use tapline_grammar::span::Span;

pub mod btf;

use crate::bpf::{Code, RelocKind};
use crate::diagnostic::Diagnostic;
use crate::index::Table;
use crate::ir::passes::map_values::DATA_PREFIX;
use crate::ir::{CallbackKind, FuncId, Function, FunctionKind, MapDef, Module};
use crate::program::MapId;

/// A place in the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// File name.
    pub file: &'a str,
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1.
    pub column: u32,
    /// Text of the line.
    pub text: &'a str,
}

/// Finds the line that a span begins in.
pub trait LineTable {
    /// The line; `None` for a span of no file.
    fn line(&self, span: Span) -> Option<Line<'_>>;
}

/// No lines.
impl LineTable for () {
    fn line(&self, _: Span) -> Option<Line<'_>> {
        None
    }
}

/// Writes the object.
pub fn emit(code: &Code, module: &Module, lines: &dyn LineTable) -> Result<Vec<u8>, Diagnostic> {
    let mut w = Writer {
        module,
        elf: Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little),
        btf: btf::Btf::default(),
        sections: Vec::new(),
        functions: Table::default(),
        maps: Table::default(),
        rodata: None,
    };
    w.data_sections()?;
    w.code(code, lines)?;
    w.relocate(code)?;
    let license = w.elf.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    let mut text = module.license.clone().into_bytes();
    text.retain(|&b| b != 0);
    text.push(0);
    w.elf.append_section_data(license, &text, 1);
    w.btf_sections();
    w.elf.write().map_err(|e| Diagnostic::internal(format!("the object cannot be written: {e}"), None))
}

struct CodeSection {
    name: String,
    id: SectionId,
    info: btf::SectionInfo,
}

struct Writer<'a> {
    module: &'a Module,
    elf: Object<'a>,
    btf: btf::Btf,
    sections: Vec<CodeSection>,
    /// Section, offset and symbol of each function.
    functions: Table<FuncId, (SectionId, u64, SymbolId)>,
    maps: Table<MapId, SymbolId>,
    rodata: Option<SymbolId>,
}

fn symbol_is_valid(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
}

impl Writer<'_> {
    fn data_sections(&mut self) -> Result<(), Diagnostic> {
        // Of single bytes: the kernel refuses arrays of 4 GiB, and so with a larger element numbers that are fine.
        let int = self.btf.int("char", 1, true);
        let mut vars = Vec::new();
        let mut maps_section = None;
        for (id, map) in self.module.maps.enumerate() {
            if !symbol_is_valid(&map.symbol) {
                return Err(Diagnostic::internal(format!("`{}` cannot be the name of a map", map.symbol), None));
            }
            if map.symbol.starts_with(DATA_PREFIX) {
                let name = map.symbol.clone().into_bytes();
                let section = self.elf.add_section(Vec::new(), name, SectionKind::Data);
                self.elf.append_section_data(section, &vec![0; map.value_size as usize], 8);
                self.maps.insert(id, self.elf.section_symbol(section));
                continue;
            }
            let (ty, size) = self.map_type(int, map);
            let section = *maps_section
                .get_or_insert_with(|| self.elf.add_section(Vec::new(), b".maps".to_vec(), SectionKind::Data));
            let offset = self.elf.append_section_data(section, &vec![0; size as usize], 8);
            let symbol = self.elf.add_symbol(Symbol {
                name: map.symbol.clone().into_bytes(),
                value: offset,
                size: u64::from(size),
                kind: SymbolKind::Data,
                scope: SymbolScope::Dynamic,
                weak: false,
                section: SymbolSection::Section(section),
                flags: SymbolFlags::None,
            });
            self.maps.insert(id, symbol);
            vars.push((self.btf.var(&map.symbol, ty), offset as u32, size));
        }
        if let Some(&(_, offset, size)) = vars.last() {
            self.btf.datasec(".maps", offset + size, &vars);
        }
        if !self.module.rodata.is_empty() {
            let section = self.elf.section_id(object::write::StandardSection::ReadOnlyData);
            self.elf.append_section_data(section, &self.module.rodata, 8);
            self.rodata = Some(self.elf.section_symbol(section));
        }
        Ok(())
    }

    /// The definition of a map as loaders read it: a number is the length of an array behind a pointer.
    fn map_type(&mut self, int: btf::TypeId, map: &MapDef) -> (btf::TypeId, u32) {
        let fields = [
            ("type", map.kind as u32),
            ("key_size", map.key_size),
            ("value_size", map.value_size),
            ("max_entries", map.max_entries),
            ("map_flags", map.flags),
        ];
        let mut members = Vec::new();
        for (name, number) in fields {
            // A ring buffer has neither keys nor values, and says so by silence.
            if number != 0 {
                let array = self.btf.array(int, int, number);
                members.push((name, self.btf.ptr(array), members.len() as u32 * 8));
            }
        }
        let size = members.len() as u32 * 8;
        (self.btf.strukt("", size, &members), size)
    }

    fn section(&mut self, name: &str) -> usize {
        if let Some(at) = self.sections.iter().position(|s| s.name == name) {
            return at;
        }
        let id = if name == ".text" {
            self.elf.section_id(object::write::StandardSection::Text)
        } else {
            self.elf.add_section(
                self.elf.segment_name(StandardSegment::Text).to_vec(),
                name.as_bytes().to_vec(),
                SectionKind::Text,
            )
        };
        let info = btf::SectionInfo { name: self.btf.string(name), ..btf::SectionInfo::default() };
        self.sections.push(CodeSection { name: name.to_owned(), id, info });
        self.sections.len() - 1
    }

    fn code(&mut self, code: &Code, lines: &dyn LineTable) -> Result<(), Diagnostic> {
        let int = self.btf.int("long", 8, true);
        let word = self.btf.int("unsigned long long", 8, false);
        let pointer = self.btf.ptr(btf::VOID);
        for function in &code.functions {
            let func = self
                .module
                .functions
                .get(function.id)
                .ok_or_else(|| Diagnostic::internal("code of an unknown function", None))?;
            if !symbol_is_valid(&func.symbol) {
                return Err(Diagnostic::internal(format!("`{}` cannot name a function", func.symbol), func.span));
            }
            let name = match &func.kind {
                FunctionKind::Program { section, .. } => section.as_ref(),
                FunctionKind::Sub | FunctionKind::Callback(_) => ".text",
            };
            let at = self.section(name);
            let proto = self.signature(func, int, word, pointer);
            // To BTF all are static: the verifier then follows calls with what it knows of the arguments.
            let ty = self.btf.func(&func.symbol.replace('.', "_"), proto, btf::Linkage::Static);
            let bytes: Vec<u8> = function.insns.iter().flat_map(|i| i.encode()).collect();
            let Some(section) = self.sections.get_mut(at) else { continue };
            let offset = self.elf.append_section_data(section.id, &bytes, 8);
            let symbol = self.elf.add_symbol(Symbol {
                name: func.symbol.clone().into_bytes(),
                value: offset,
                size: bytes.len() as u64,
                kind: SymbolKind::Text,
                // libbpf resolves references to local functions through the section's symbol only.
                scope: SymbolScope::Dynamic,
                weak: false,
                section: SymbolSection::Section(section.id),
                flags: SymbolFlags::None,
            });
            self.functions.insert(function.id, (section.id, offset, symbol));
            section.info.funcs.push((offset as u32, ty));
            line_records(&mut self.btf, &mut section.info, function, func.span, offset as u32, lines);
        }
        Ok(())
    }

    fn signature(&mut self, func: &Function, int: btf::TypeId, word: btf::TypeId, pointer: btf::TypeId) -> btf::TypeId {
        match func.kind {
            FunctionKind::Program { .. } => self.btf.func_proto(int, &[("ctx", pointer)]),
            FunctionKind::Callback(CallbackKind::Loop) => {
                self.btf.func_proto(int, &[("index", word), ("ctx", pointer)])
            }
            FunctionKind::Callback(CallbackKind::ForEachMapElem) => {
                let params = [("map", pointer), ("key", pointer), ("value", pointer), ("ctx", pointer)];
                self.btf.func_proto(int, &params)
            }
            FunctionKind::Sub => {
                let names = ["a", "b", "c", "d", "e"];
                let count = func.blocks.iter().next().map_or(0, |b| b.params.len());
                let params: Vec<_> = names.iter().take(count).map(|&n| (n, word)).collect();
                self.btf.func_proto(int, &params)
            }
        }
    }

    fn relocate(&mut self, code: &Code) -> Result<(), Diagnostic> {
        for function in &code.functions {
            let Some(&(section, offset, _)) = self.functions.get(&function.id) else { continue };
            for reloc in &function.relocs {
                let (symbol, r_type) = match reloc.kind {
                    RelocKind::Map(m) | RelocKind::MapValue(m) => {
                        let direct = self.module.maps.get(m).is_some_and(|m| m.symbol.starts_with(DATA_PREFIX));
                        let symbol = self.maps.get(&m).copied();
                        let form_fits = direct == matches!(reloc.kind, RelocKind::MapValue(_));
                        (symbol.filter(|_| form_fits), elf::R_BPF_64_64)
                    }
                    RelocKind::Rodata => (self.rodata, elf::R_BPF_64_64),
                    RelocKind::Func(f) => (self.functions.get(&f).map(|f| f.2), elf::R_BPF_64_64),
                    RelocKind::Call(f) => (self.functions.get(&f).map(|f| f.2), elf::R_BPF_64_32),
                };
                let symbol = symbol.ok_or_else(|| Diagnostic::internal("code refers to what does not exist", None))?;
                let relocation = Relocation {
                    offset: offset + reloc.insn as u64 * 8,
                    symbol,
                    addend: 0,
                    flags: RelocationFlags::Elf { r_type },
                };
                self.elf
                    .add_relocation(section, relocation)
                    .map_err(|e| Diagnostic::internal(format!("the object cannot be written: {e}"), None))?;
            }
        }
        Ok(())
    }

    fn btf_sections(&mut self) {
        let infos: Vec<btf::SectionInfo> = self.sections.iter().map(|s| s.info.clone()).collect();
        for (name, bytes) in [(".BTF", self.btf.finish()), (".BTF.ext", btf::ext(&infos))] {
            let section = self.elf.add_section(Vec::new(), name.as_bytes().to_vec(), SectionKind::Other);
            self.elf.append_section_data(section, &bytes, 4);
        }
    }
}

/// A record wherever the line changes. The kernel wants one at a function's first instruction, and none on the second half
/// of `ld_imm64`.
fn line_records(
    strings: &mut btf::Btf,
    info: &mut btf::SectionInfo,
    code: &crate::bpf::FunctionCode,
    whole: Span,
    offset: u32,
    lines: &dyn LineTable,
) {
    let mut last: Option<(u32, u32, u32)> = None;
    let mut last_span = None;
    let mut second = false;
    for (i, (insn, &span)) in code.insns.iter().zip(&code.spans).enumerate() {
        if second {
            second = false;
            continue;
        }
        second = insn.code == crate::bpf::insn::LD_IMM64;
        if last_span.replace(span) == Some(span) {
            continue;
        }
        let found = lines.line(span).or_else(|| if i == 0 { lines.line(whole) } else { None });
        let Some(line) = found else {
            if i == 0 {
                // Without a first record the kernel takes none at all.
                return;
            }
            continue;
        };
        let (file, text) = (strings.string(line.file), strings.string(line.text.trim()));
        let key = (file, line.line, line.column);
        if last == Some(key) {
            continue;
        }
        last = Some(key);
        info.lines.push(btf::LineRecord {
            insn_off: offset + i as u32 * 8,
            file,
            text,
            line: line.line,
            column: line.column,
        });
    }
}
