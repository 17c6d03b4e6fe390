//! Decoded views of single types. A view borrows the BTF and copies a few words; entries of structs, enums and
//! prototypes are decoded while iterating.

use super::raw::{HEAD, Info, Kind, word};
use super::{Btf, TypeId};

/// One type.
#[derive(Clone, Copy, Debug)]
pub enum BtfType<'a> {
    /// No type: id 0, and what an invalid id reads as.
    Void,
    /// An integer.
    Int(Int<'a>),
    /// A pointer to a type.
    Ptr(TypeId),
    /// An array.
    Array(Array),
    /// A struct.
    Struct(Composite<'a>),
    /// A union.
    Union(Composite<'a>),
    /// An enum, of 32 or of 64 bits.
    Enum(Enum<'a>),
    /// A declared but undefined struct or union.
    Fwd {
        /// Its name.
        name: &'a str,
        /// A union, else a struct.
        union: bool,
    },
    /// Another name for a type.
    Typedef {
        /// The new name.
        name: &'a str,
        /// The type.
        target: TypeId,
    },
    /// `volatile` type.
    Volatile(TypeId),
    /// `const` type.
    Const(TypeId),
    /// `restrict` pointer.
    Restrict(TypeId),
    /// A tagged type, for instance `__user` or `__rcu` pointers' targets.
    TypeTag {
        /// `user`, `rcu`, `percpu`, …
        name: &'a str,
        /// The type.
        target: TypeId,
    },
    /// A tag on a declaration.
    DeclTag {
        /// The tag.
        name: &'a str,
        /// What is tagged.
        target: TypeId,
        /// Member or argument index; -1 for the whole declaration.
        component: i32,
    },
    /// A function.
    Func {
        /// Its name.
        name: &'a str,
        /// Its prototype.
        proto: TypeId,
        /// 0 static, 1 global, 2 extern.
        linkage: u32,
    },
    /// A function's type.
    FuncProto(FuncProto<'a>),
    /// A global variable.
    Var {
        /// Its name.
        name: &'a str,
        /// Its type.
        ty: TypeId,
        /// 0 static, 1 global, 2 extern.
        linkage: u32,
    },
    /// A section of variables.
    Datasec(Datasec<'a>),
    /// A floating point number.
    Float {
        /// Its name.
        name: &'a str,
        /// Bytes.
        size: u32,
    },
}

/// An integer type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Int<'a> {
    /// Its name, for instance `unsigned int`.
    pub name: &'a str,
    /// Bytes of storage.
    pub size: u32,
    /// Two's complement.
    pub signed: bool,
    /// A character; compilers seldom say so.
    pub char: bool,
    /// `_Bool`.
    pub bool: bool,
    /// Bits used; less than 8 × size in an old form of bitfields.
    pub bits: u8,
    /// Offset of the used bits in the storage, in that old form.
    pub bit_offset: u8,
}

/// An array type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Array {
    /// Element type.
    pub elem: TypeId,
    /// Index type.
    pub index: TypeId,
    /// Number of elements; 0 for a flexible array member.
    pub len: u32,
}

/// A struct or union.
#[derive(Clone, Copy)]
pub struct Composite<'a> {
    /// Its tag, empty when anonymous.
    pub name: &'a str,
    /// Bytes.
    pub size: u32,
    entries: Entries<'a, 12>,
}

/// A member of a struct or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its name; empty for an anonymous struct or union and for padding bitfields.
    pub name: &'a str,
    /// Its type.
    pub ty: TypeId,
    /// Offset in bits from the start.
    pub bit_offset: u32,
    /// Width in bits of a bitfield.
    pub bit_size: Option<u8>,
}

/// An enum.
#[derive(Clone, Copy)]
pub struct Enum<'a> {
    /// Its tag, empty when anonymous.
    pub name: &'a str,
    /// Bytes.
    pub size: u32,
    /// Has negative values.
    pub signed: bool,
    wide: bool,
    narrow_entries: Entries<'a, 8>,
    wide_entries: Entries<'a, 12>,
}

/// A function's type.
#[derive(Clone, Copy)]
pub struct FuncProto<'a> {
    /// Type of the result.
    pub ret: TypeId,
    entries: Entries<'a, 8>,
}

/// A parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// Its name, may be empty.
    pub name: &'a str,
    /// Its type; void as the last parameter stands for `...`.
    pub ty: TypeId,
}

/// A section of variables.
#[derive(Clone, Copy)]
pub struct Datasec<'a> {
    /// The section.
    pub name: &'a str,
    /// Bytes.
    pub size: u32,
    entries: Entries<'a, 12>,
}

/// A variable's place in a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VarPlace {
    /// The `Var`.
    pub var: TypeId,
    /// Byte offset in the section.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

/// The entries of `SIZE` bytes that follow a record's head.
#[derive(Clone, Copy)]
struct Entries<'a, const SIZE: usize> {
    btf: &'a Btf,
    bytes: &'a [u8],
    flag: bool,
}

impl<'a, const SIZE: usize> Entries<'a, SIZE> {
    fn new(btf: &'a Btf, record: &'a [u8], info: Info) -> Self {
        let bytes = record.get(HEAD..HEAD + SIZE * info.vlen() as usize).unwrap_or_default();
        Self { btf, bytes, flag: info.flag() }
    }
    fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone {
        self.bytes.chunks_exact(SIZE)
    }
    fn len(self) -> usize {
        self.bytes.len() / SIZE
    }
}

/// A word of an entry; entries have a fixed size, so that it is always there.
fn at(entry: &[u8], offset: usize) -> u32 {
    word(entry, offset).unwrap_or(0)
}

impl<'a> Composite<'a> {
    /// Members in order.
    pub fn members(self) -> impl Iterator<Item = Member<'a>> + Clone {
        let Entries { btf, flag, .. } = self.entries;
        self.entries.iter().map(move |entry| {
            let ty = TypeId(at(entry, 4));
            let offset = at(entry, 8);
            let name = btf.string(at(entry, 0));
            if flag {
                let bits = (offset >> 24) as u8;
                return Member { name, ty, bit_offset: offset & 0x00ff_ffff, bit_size: (bits != 0).then_some(bits) };
            }
            // Without the flag a bitfield is told by an integer type narrower than its storage.
            match btf.get(btf.resolve(ty)) {
                BtfType::Int(int) if u32::from(int.bits) != int.size.saturating_mul(8) => Member {
                    name,
                    ty,
                    bit_offset: offset.saturating_add(u32::from(int.bit_offset)),
                    bit_size: Some(int.bits),
                },
                _ => Member { name, ty, bit_offset: offset, bit_size: None },
            }
        })
    }
    /// Number of members.
    pub fn len(self) -> usize {
        self.entries.len()
    }
    /// True without members.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl<'a> Enum<'a> {
    /// Names and values in order. Values of an unsigned 64-bit enum wrap into `i64`.
    pub fn values(self) -> impl Iterator<Item = (&'a str, i64)> + Clone {
        let narrow = self.narrow_entries.iter().map(move |entry| {
            let raw = at(entry, 4);
            let value = if self.signed { i64::from(raw as i32) } else { i64::from(raw) };
            (self.narrow_entries.btf.string(at(entry, 0)), value)
        });
        let wide = self.wide_entries.iter().map(move |entry| {
            let value = u64::from(at(entry, 4)) | u64::from(at(entry, 8)) << 32;
            (self.wide_entries.btf.string(at(entry, 0)), value as i64)
        });
        narrow.chain(wide)
    }
    /// The n-th name and value, counted from 0.
    pub fn value(self, n: usize) -> Option<(&'a str, i64)> {
        self.values().nth(n)
    }
    /// Number of values.
    pub fn len(self) -> usize {
        if self.wide { self.wide_entries.len() } else { self.narrow_entries.len() }
    }
    /// True without values.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl<'a> FuncProto<'a> {
    /// Parameters in order.
    pub fn params(self) -> impl ExactSizeIterator<Item = Param<'a>> + Clone {
        let btf = self.entries.btf;
        self.entries.iter().map(move |entry| Param { name: btf.string(at(entry, 0)), ty: TypeId(at(entry, 4)) })
    }
}

impl<'a> Datasec<'a> {
    /// Variables in order.
    pub fn vars(self) -> impl ExactSizeIterator<Item = VarPlace> + use<'a> {
        self.entries.iter().map(|entry| VarPlace {
            var: TypeId(at(entry, 0)),
            offset: at(entry, 4),
            size: at(entry, 8),
        })
    }
}

macro_rules! debug_name {
    ($($ty:ident),*) => {$(
        impl std::fmt::Debug for $ty<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($ty)).field("name", &self.name).field("size", &self.size).finish_non_exhaustive()
            }
        }
    )*};
}
debug_name!(Composite, Enum, Datasec);

impl std::fmt::Debug for FuncProto<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FuncProto").field("ret", &self.ret).finish_non_exhaustive()
    }
}

/// Decodes one record.
pub(super) fn decode<'a>(btf: &'a Btf, record: &'a [u8]) -> BtfType<'a> {
    let info = Info(at(record, 4));
    let name = btf.string(at(record, 0));
    let size = at(record, 8);
    let target = TypeId(size);
    match info.kind() {
        Kind::Void => BtfType::Void,
        Kind::Int => {
            let data = at(record, HEAD);
            let encoding = (data >> 24) & 0xf;
            BtfType::Int(Int {
                name,
                size,
                signed: encoding & 1 != 0,
                char: encoding & 2 != 0,
                bool: encoding & 4 != 0,
                bits: data as u8,
                bit_offset: (data >> 16) as u8,
            })
        }
        Kind::Ptr => BtfType::Ptr(target),
        Kind::Array => BtfType::Array(Array {
            elem: TypeId(at(record, HEAD)),
            index: TypeId(at(record, HEAD + 4)),
            len: at(record, HEAD + 8),
        }),
        Kind::Struct => BtfType::Struct(Composite { name, size, entries: Entries::new(btf, record, info) }),
        Kind::Union => BtfType::Union(Composite { name, size, entries: Entries::new(btf, record, info) }),
        kind @ (Kind::Enum | Kind::Enum64) => {
            let wide = kind == Kind::Enum64;
            let none = Info(0);
            BtfType::Enum(Enum {
                name,
                size,
                signed: info.flag(),
                wide,
                narrow_entries: Entries::new(btf, record, if wide { none } else { info }),
                wide_entries: Entries::new(btf, record, if wide { info } else { none }),
            })
        }
        Kind::Fwd => BtfType::Fwd { name, union: info.flag() },
        Kind::Typedef => BtfType::Typedef { name, target },
        Kind::Volatile => BtfType::Volatile(target),
        Kind::Const => BtfType::Const(target),
        Kind::Restrict => BtfType::Restrict(target),
        Kind::TypeTag => BtfType::TypeTag { name, target },
        Kind::DeclTag => BtfType::DeclTag { name, target, component: at(record, HEAD) as i32 },
        Kind::Func => BtfType::Func { name, proto: target, linkage: info.vlen() },
        Kind::FuncProto => BtfType::FuncProto(FuncProto { ret: target, entries: Entries::new(btf, record, info) }),
        Kind::Var => BtfType::Var { name, ty: target, linkage: at(record, HEAD) },
        Kind::Datasec => BtfType::Datasec(Datasec { name, size, entries: Entries::new(btf, record, info) }),
        Kind::Float => BtfType::Float { name, size },
    }
}
