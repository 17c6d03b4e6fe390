//! The bytes of BTF: header, kinds, and how long each record is. The format is that of the kernel's
//! `Documentation/bpf/btf.rst`; everything is in the machine's byte order. Nothing here trusts a length or an offset.

use super::BtfError;

/// Bytes of the common head of a type record: name offset, info word, size or type.
pub(super) const HEAD: usize = 12;

/// Kind numbers, `BTF_KIND_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // The names are the format's.
pub enum Kind {
    Void = 0,
    Int = 1,
    Ptr = 2,
    Array = 3,
    Struct = 4,
    Union = 5,
    Enum = 6,
    Fwd = 7,
    Typedef = 8,
    Volatile = 9,
    Const = 10,
    Restrict = 11,
    Func = 12,
    FuncProto = 13,
    Var = 14,
    Datasec = 15,
    Float = 16,
    DeclTag = 17,
    TypeTag = 18,
    Enum64 = 19,
}

/// Row per kind: the kind, bytes of its fixed extra data, bytes of each of its `vlen` entries.
const LAYOUT: [(Kind, usize, usize); 20] = [
    (Kind::Void, 0, 0),
    (Kind::Int, 4, 0),
    (Kind::Ptr, 0, 0),
    (Kind::Array, 12, 0),
    (Kind::Struct, 0, 12),
    (Kind::Union, 0, 12),
    (Kind::Enum, 0, 8),
    (Kind::Fwd, 0, 0),
    (Kind::Typedef, 0, 0),
    (Kind::Volatile, 0, 0),
    (Kind::Const, 0, 0),
    (Kind::Restrict, 0, 0),
    (Kind::Func, 0, 0),
    (Kind::FuncProto, 0, 8),
    (Kind::Var, 4, 0),
    (Kind::Datasec, 0, 12),
    (Kind::Float, 0, 0),
    (Kind::DeclTag, 4, 0),
    (Kind::TypeTag, 0, 0),
    (Kind::Enum64, 0, 12),
];

/// The info word of a record.
#[derive(Clone, Copy)]
pub(super) struct Info(pub u32);

impl Info {
    /// Number of the kind.
    pub fn kind_number(self) -> u8 {
        ((self.0 >> 24) & 0x1f) as u8
    }
    /// The kind; `Void` for a number that the offset table would have refused.
    pub fn kind(self) -> Kind {
        LAYOUT.get(self.kind_number() as usize).map_or(Kind::Void, |row| row.0)
    }
    /// Number of entries.
    pub fn vlen(self) -> u32 {
        self.0 & 0xffff
    }
    /// The kind-specific flag.
    pub fn flag(self) -> bool {
        self.0 >> 31 != 0
    }
    /// Bytes of the whole record; `None` for an unknown kind.
    pub fn record_size(self) -> Option<usize> {
        let (_, fixed, entry) = LAYOUT.get(self.kind_number() as usize)?;
        Some(HEAD + fixed + entry * self.vlen() as usize)
    }
}

/// A word at a byte offset.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let raw = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(raw.try_into().ok()?))
}

/// Where the sections lie in the file.
pub(super) struct Sections {
    /// Type records.
    pub types: std::ops::Range<usize>,
    /// NUL-terminated strings.
    pub strings: std::ops::Range<usize>,
}

/// Reads the header.
pub(super) fn sections(bytes: &[u8]) -> Result<Sections, BtfError> {
    const MAGIC: u16 = 0xeb9f;
    let magic =
        bytes.get(..2).and_then(|raw| raw.try_into().ok()).map(u16::from_ne_bytes).ok_or(BtfError::Truncated)?;
    if magic == MAGIC.swap_bytes() {
        return Err(BtfError::ForeignEndian);
    }
    if magic != MAGIC {
        return Err(BtfError::BadMagic);
    }
    let field = |at| word(bytes, at).map(|v| v as usize).ok_or(BtfError::Truncated);
    let header = field(4)?;
    let section = |offset: usize, len: usize| {
        let start = header.checked_add(offset).ok_or(BtfError::Truncated)?;
        let end = start.checked_add(len).ok_or(BtfError::Truncated)?;
        if end > bytes.len() { Err(BtfError::Truncated) } else { Ok(start..end) }
    };
    Ok(Sections { types: section(field(8)?, field(12)?)?, strings: section(field(16)?, field(20)?)? })
}

/// Offsets of all records inside the type section.
pub(super) fn offsets(types: &[u8]) -> Result<Vec<u32>, BtfError> {
    // Records average about 30 bytes in a kernel; the guess saves the early growths without trusting anything.
    let mut offsets = Vec::with_capacity(types.len() / 32);
    let mut at = 0;
    while at < types.len() {
        let info = Info(word(types, at + 4).ok_or(BtfError::Truncated)?);
        let size = info.record_size().ok_or(BtfError::UnknownKind(info.kind_number()))?;
        if size > types.len() - at {
            return Err(BtfError::Truncated);
        }
        offsets.push(at as u32);
        at += size;
    }
    Ok(offsets)
}
