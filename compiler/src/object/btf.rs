//! Writes the `.BTF` and `.BTF.ext` sections: map definitions, function signatures, and which instruction comes from which line
//! of the script. Format: `Documentation/bpf/btf.rst`.

use crate::index::Table;

const MAGIC: u16 = 0xeb9f;
const HEADER: u32 = 24;

/// Kinds of types.
mod kind {
    pub const INT: u32 = 1;
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const TYPEDEF: u32 = 8;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
}

/// A type's number; 0 is `void`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypeId(pub u32);

/// `void`.
pub const VOID: TypeId = TypeId(0);

/// Whether a function is seen outside its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Linkage {
    /// Only inside; the verifier looks at it together with its callers.
    Static = 0,
    /// Outside too.
    Global = 1,
}

/// A type record before it is written.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// `BTF_KIND_*`.
    pub kind: u32,
    /// The kind-specific flag: members with the widths of bitfields, values with a sign.
    pub flag: bool,
    /// The type's name.
    pub name: &'a str,
    /// Number of entries.
    pub entries: u32,
    /// Bytes of a value, or the type that this one is made of.
    pub size_or_type: u32,
    /// What follows the head.
    pub extra: &'a [u32],
}

/// Collects types and strings.
#[derive(Clone, Debug)]
pub struct Btf {
    /// By id, which begin with 1; void where a reserved one was never defined.
    records: Vec<Vec<u32>>,
    strings: Vec<u8>,
    interned: Table<String, u32>,
}

impl Default for Btf {
    fn default() -> Self {
        Self { records: Vec::new(), strings: vec![0], interned: Table::default() }
    }
}

fn put(out: &mut Vec<u8>, words: &[u32]) {
    for w in words {
        out.extend_from_slice(&w.to_le_bytes());
    }
}

impl Btf {
    /// Offset of a string, added if it is new. A NUL ends the string early.
    pub fn string(&mut self, text: &str) -> u32 {
        let text = text.split('\0').next().unwrap_or_default();
        if text.is_empty() {
            return 0;
        }
        if let Some(&off) = self.interned.get(text) {
            return off;
        }
        let off = self.strings.len() as u32;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        self.interned.insert(text.to_owned(), off);
        off
    }

    /// An id for a type that will be defined later, so that others can refer to it.
    pub fn reserve(&mut self) -> TypeId {
        // Void under another name, until it is defined.
        self.records.push(vec![0, kind::TYPEDEF << 24, VOID.0]);
        TypeId(self.records.len() as u32)
    }

    /// Number of ids.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True when there is no type.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Defines a reserved type.
    pub fn define(&mut self, id: TypeId, record: Record<'_>) {
        let Record { kind, flag, name, entries, size_or_type, extra } = record;
        let name = self.string(name);
        let mut words = Vec::with_capacity(3 + extra.len());
        words.extend([name, (u32::from(flag) << 31) | (entries & 0xffff) | (kind << 24), size_or_type]);
        words.extend_from_slice(extra);
        if let Some(place) = (id.0 as usize).checked_sub(1).and_then(|at| self.records.get_mut(at)) {
            *place = words;
        }
    }

    fn add(&mut self, name: &str, kind: u32, vlen: u32, size_or_type: u32, extra: &[u32]) -> TypeId {
        let id = self.reserve();
        self.define(id, Record { kind, flag: false, name, entries: vlen, size_or_type, extra });
        id
    }

    /// An integer of so many bytes.
    pub fn int(&mut self, name: &str, bytes: u32, signed: bool) -> TypeId {
        self.add(name, kind::INT, 0, bytes, &[(u32::from(signed) << 24) | (bytes * 8)])
    }
    /// A pointer.
    pub fn ptr(&mut self, to: TypeId) -> TypeId {
        self.add("", kind::PTR, 0, to.0, &[])
    }
    /// An array.
    pub fn array(&mut self, of: TypeId, index: TypeId, len: u32) -> TypeId {
        self.add("", kind::ARRAY, 0, 0, &[of.0, index.0, len])
    }
    /// A struct of members, each with its byte offset.
    pub fn strukt(&mut self, name: &str, size: u32, members: &[(&str, TypeId, u32)]) -> TypeId {
        let mut extra = Vec::with_capacity(members.len() * 3);
        for &(member, ty, offset) in members {
            extra.extend([self.string(member), ty.0, offset * 8]);
        }
        self.add(name, kind::STRUCT, members.len() as u32, size, &extra)
    }
    /// A signature.
    pub fn func_proto(&mut self, returns: TypeId, params: &[(&str, TypeId)]) -> TypeId {
        let mut extra = Vec::with_capacity(params.len() * 2);
        for &(param, ty) in params {
            extra.extend([self.string(param), ty.0]);
        }
        self.add("", kind::FUNC_PROTO, params.len() as u32, returns.0, &extra)
    }
    /// A function.
    pub fn func(&mut self, name: &str, proto: TypeId, linkage: Linkage) -> TypeId {
        self.add(name, kind::FUNC, linkage as u32, proto.0, &[])
    }
    /// A global variable.
    pub fn var(&mut self, name: &str, ty: TypeId) -> TypeId {
        self.add(name, kind::VAR, 0, ty.0, &[Linkage::Global as u32])
    }
    /// A section of variables, each with its offset and size.
    pub fn datasec(&mut self, name: &str, size: u32, vars: &[(TypeId, u32, u32)]) -> TypeId {
        let extra: Vec<u32> = vars.iter().flat_map(|&(var, offset, size)| [var.0, offset, size]).collect();
        self.add(name, kind::DATASEC, vars.len() as u32, size, &extra)
    }

    /// The section's bytes.
    pub fn finish(&self) -> Vec<u8> {
        let types = self.records.iter().map(|record| record.len() as u32 * 4).sum();
        let mut out = Vec::with_capacity(HEADER as usize + types as usize + self.strings.len());
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&[1, 0]);
        put(&mut out, &[HEADER, 0, types, types, self.strings.len() as u32]);
        for record in &self.records {
            put(&mut out, record);
        }
        out.extend_from_slice(&self.strings);
        out
    }
}

/// A line of the script behind an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineRecord {
    /// Byte offset in the code section.
    pub insn_off: u32,
    /// File name in the string table.
    pub file: u32,
    /// Text of the line in the string table.
    pub text: u32,
    /// Line, counted from 1; 22 bits.
    pub line: u32,
    /// Column, counted from 1; 10 bits.
    pub column: u32,
}

/// What `.BTF.ext` says of one code section.
#[derive(Clone, Debug, Default)]
pub struct SectionInfo {
    /// Name of the section in the string table.
    pub name: u32,
    /// Byte offset in the section and type of each function.
    pub funcs: Vec<(u32, TypeId)>,
    /// By rising offset.
    pub lines: Vec<LineRecord>,
}

/// The bytes of `.BTF.ext`.
pub fn ext(sections: &[SectionInfo]) -> Vec<u8> {
    let mut funcs = Vec::new();
    put(&mut funcs, &[8]);
    for s in sections.iter().filter(|s| !s.funcs.is_empty()) {
        put(&mut funcs, &[s.name, s.funcs.len() as u32]);
        for &(off, ty) in &s.funcs {
            put(&mut funcs, &[off, ty.0]);
        }
    }
    let mut lines = Vec::new();
    put(&mut lines, &[16]);
    for s in sections.iter().filter(|s| !s.lines.is_empty()) {
        put(&mut lines, &[s.name, s.lines.len() as u32]);
        for l in &s.lines {
            put(&mut lines, &[l.insn_off, l.file, l.text, (l.line << 10) | l.column.min(1023)]);
        }
    }
    if sections.iter().all(|s| s.lines.is_empty()) {
        lines.clear();
    }
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&[1, 0]);
    put(&mut out, &[HEADER, 0, funcs.len() as u32, funcs.len() as u32, lines.len() as u32]);
    out.extend_from_slice(&funcs);
    out.extend_from_slice(&lines);
    out
}
