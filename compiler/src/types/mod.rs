//! The types of the language and the table of aggregates (structs, unions, enums) that they refer to.

use std::rc::Rc;

use crate::define_id;
use crate::program::{Aggregate, Clock, StackMode};

pub mod aliases;
pub mod btf;
pub mod constants;
pub mod display;
pub mod layout;
pub mod names;
pub mod record;
pub mod table;
mod uapi;
pub mod value;

define_id!(
    /// A struct or union in [`Aggregates`](crate::types).
    StructId,
    "struct"
);
define_id!(
    /// An enum.
    EnumId,
    "enum"
);

/// Which memory an address points into, hence how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddrSpace {
    /// Kernel memory: `probe_read_kernel`.
    Kernel,
    /// User memory: `probe_read_user`.
    User,
    /// Memory of the BPF program: stack, scratch, map values. Loaded directly; no pointer that a script holds is of it, since the verifier
    /// follows those and allows little with them.
    Bpf,
    /// The program's context, loaded directly at constant offsets. Of what a script holds, only pointers to the context's own struct.
    Ctx,
}

/// A type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// No value.
    Void,
    /// `bool`.
    Bool,
    /// An integer.
    Int(IntType),
    /// An enum's value.
    Enum {
        /// Which.
        id: EnumId,
        /// Representation.
        int: IntType,
    },
    /// A pointer.
    Ptr(Rc<Type>, AddrSpace),
    /// A struct or union.
    Struct(StructId),
    /// An array.
    Array(Rc<Type>, u32),
    /// A string with this capacity in bytes, terminator included.
    Str(u32),
    /// A counted buffer with this capacity of data.
    Buf(u32),
    /// Strings one after the other, each with its terminator: only as the argument of `join`.
    Strings,
    /// A tuple.
    Tuple(Rc<[Type]>),
    /// A tuple with names.
    Record(Rc<[(String, Type)]>),
    /// `kstack`, `ustack`.
    Stack {
        /// User stack.
        user: bool,
        /// Presentation.
        mode: StackMode,
        /// Frames at most.
        limit: u32,
    },
    /// `ksym(x)`.
    KernelSymbol,
    /// `usym(x)`.
    UserSymbol,
    /// `ntop(x)`.
    Inet,
    /// `macaddr(x)`.
    Mac,
    /// `strftime(fmt, x)`: the number, and which of [`Aggregates::formats`] shows it.
    Timestamp,
    /// `fixed(x, unit)`: 64 bits.
    Fixed {
        /// What is printed as 1.
        unit: u64,
        /// Digits behind the point.
        decimals: u8,
        /// Two's complement.
        signed: bool,
    },
    /// `username`.
    Username,
    /// `strerror(x)`.
    ErrorText,
    /// `signal_name(x)`.
    SignalName,
    /// `syscall_name(x)`.
    SyscallName,
    /// `cgroup_path(x)`: the number, and which of [`Aggregates::filters`] finds it.
    CgroupPath,
    /// `probe` where one program serves several attach points.
    ProbeName,
    /// The value of an aggregating map.
    Aggregate(Aggregate),
}

/// An integer type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IntType {
    /// 1, 2, 4 or 8.
    pub size: u8,
    /// Two's complement.
    pub signed: bool,
}

impl IntType {
    /// `uint64`.
    pub const U64: Self = Self { size: 8, signed: false };
    /// `int64`.
    pub const I64: Self = Self { size: 8, signed: true };
    /// `uint32`.
    pub const U32: Self = Self { size: 4, signed: false };
    /// `int32`.
    pub const I32: Self = Self { size: 4, signed: true };
    /// `uint8`.
    pub const U8: Self = Self { size: 1, signed: false };
}

impl Type {
    /// True for a number that is kept in the place of a text, as long as no string meets it.
    pub fn can_be_text(&self) -> bool {
        matches!(self, Self::ProbeName | Self::ErrorText | Self::SignalName | Self::SyscallName)
    }

    /// `uint64`.
    pub const U64: Self = Self::Int(IntType::U64);
    /// `int32`.
    pub const I32: Self = Self::Int(IntType::I32);
    /// The name of a thread, as long as the kernel makes it.
    pub const COMM: Self = Self::Str(16);
    /// `int64`.
    pub const I64: Self = Self::Int(IntType::I64);
    /// `uint32`.
    pub const U32: Self = Self::Int(IntType::U32);
    /// Fits into a register.
    pub fn is_scalar(&self) -> bool {
        matches!(
            self,
            Self::Bool
                | Self::Int(_)
                | Self::Enum { .. }
                | Self::Ptr(..)
                | Self::KernelSymbol
                | Self::Fixed { .. }
                | Self::Username
                | Self::ErrorText
                | Self::SignalName
                | Self::SyscallName
                | Self::ProbeName
        )
    }
}

/// All structs, unions and enums that a script's types refer to. Filled lazily while checking.
#[derive(Debug, Default)]
pub struct Aggregates {
    /// Structs and unions.
    pub structs: crate::index::IndexVec<StructId, StructDef>,
    /// Enums.
    pub enums: crate::index::IndexVec<EnumId, EnumDef>,
    /// How times are shown: a format and the clock that they were read from. A value says which, counted from 1.
    pub formats: Vec<(String, Clock)>,
    /// Where paths of cgroups are looked for, as for `formats`.
    pub filters: Vec<String>,
}

/// The number of an entry that is added if it is not there, counted from 1.
pub(crate) fn entry_number<T: PartialEq>(entries: &mut Vec<T>, entry: T) -> u64 {
    let known = entries.iter().position(|it| *it == entry);
    let at = known.unwrap_or_else(|| {
        entries.push(entry);
        entries.len() - 1
    });
    at as u64 + 1
}

/// A struct or union.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructDef {
    /// `struct sock`, `union foo`; empty when anonymous.
    pub name: String,
    /// Bytes.
    pub size: u32,
    /// Alignment in bytes.
    pub align: u32,
    /// Members, with those of anonymous structs and unions lifted in. `None` until first asked for (BTF types are read
    /// on demand) or for an incomplete type.
    pub fields: Option<Vec<StructField>>,
    /// Where it stands in the kernel's BTF, when it comes from there.
    pub btf_id: Option<table::BtfRef>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructField {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// Byte offset.
    pub offset: u32,
    /// Set for a bitfield.
    pub bits: Option<crate::typed::Bits>,
}

/// An enum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnumDef {
    /// `enum foo`; empty when anonymous.
    pub name: String,
    /// Representation.
    pub int: IntType,
    /// Names and values in order.
    pub variants: Vec<(String, i64)>,
}
