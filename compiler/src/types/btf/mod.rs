//! A lazy reader of kernel BTF. It builds one table of record offsets and nothing else until a type or a name is asked
//! for: names are found by a scan at first, by a hash index once many have been asked for.
//!
//! No I/O: the bytes come from the caller, who may map a file. They are untrusted; every accessor answers something
//! harmless for an id, offset or length that makes no sense, and every walk along type references is bounded.

mod names;
pub mod print;
mod raw;
mod view;

#[cfg(test)]
mod tests;

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use names::NameIndex;
pub use raw::Kind;
use raw::{HEAD, Info, word};
pub use view::{Array, BtfType, Composite, Datasec, Enum, FuncProto, Int, Member, Param, VarPlace};

/// A type's id, as the kernel counts: 0 is void.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u32);

impl TypeId {
    /// No type.
    pub const VOID: Self = Self(0);
}

/// Why bytes are not BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BtfError {
    /// Does not begin with BTF's magic number.
    BadMagic,
    /// Made on a machine of the other byte order.
    ForeignEndian,
    /// A section or record reaches beyond the end.
    Truncated,
    /// A kind of type that this reader does not know.
    UnknownKind(u8),
}

impl std::fmt::Display for BtfError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BadMagic => write!(f, "not BTF: wrong magic number"),
            Self::ForeignEndian => write!(f, "BTF of the other byte order"),
            Self::Truncated => write!(f, "BTF is truncated"),
            Self::UnknownKind(kind) => write!(f, "BTF has types of an unknown kind ({kind})"),
        }
    }
}

impl std::error::Error for BtfError {}

/// Floating-point numbers in a value, as calling conventions look at them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floats {
    /// Which of the first two words hold nothing else.
    pub words: [bool; 2],
    /// It has one that is larger than a word.
    pub large: bool,
    /// How many it consists of, if they are of one size, at most four, and there is nothing else; otherwise 0.
    pub same: u32,
    /// The first two words that hold other things.
    others: [bool; 2],
    /// Bytes of the first.
    size: Option<u32>,
    /// There are others, of another size or kind.
    mixed: bool,
}

impl Floats {
    /// Of a value with these parts: offset, bytes, whether it is a floating-point number.
    #[cfg(test)]
    pub fn of(size: u64, parts: &[(u32, u32, bool)]) -> Self {
        let mut found = Self::default();
        for &(offset, size, float) in parts {
            found.note(offset, size, float);
        }
        found.finish(size)
    }

    /// All parts of a value of so many bytes have been noted.
    fn finish(mut self, size: u64) -> Self {
        self.words.iter_mut().zip(self.others).for_each(|(float, other)| *float &= !other);
        if let (Some(one), false) = (self.size.map(u64::from), self.mixed) {
            self.same = size.checked_div(one).and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= 4).unwrap_or(0);
        }
        self
    }

    fn note(&mut self, offset: u32, size: u32, float: bool) {
        let words = if float { &mut self.words } else { &mut self.others };
        for (word, has) in (0u32..).step_by(POINTER_SIZE as usize).zip(words) {
            *has |= offset < word + POINTER_SIZE && word < offset.saturating_add(size);
        }
        self.large |= float && size > POINTER_SIZE;
        self.mixed |= !float || size == 0 || self.size.is_some_and(|first| first != size);
        if float {
            self.size.get_or_insert(size);
        }
    }
}

/// A number or pointer within a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Where it lies in the value, in bytes.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// A floating-point number.
    pub float: bool,
}

/// More than any processor has registers for.
const MOST_LEAVES: usize = 64;

/// A set of kinds to search among.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KindSet(u32);

impl KindSet {
    /// Structs.
    pub const STRUCT: Self = Self::of(Kind::Struct);
    /// Unions.
    pub const UNION: Self = Self::of(Kind::Union);
    /// Enums of both widths.
    pub const ENUM: Self = Self::of(Kind::Enum).or(Self::of(Kind::Enum64));
    /// Typedefs.
    pub const TYPEDEF: Self = Self::of(Kind::Typedef);
    /// Functions.
    pub const FUNC: Self = Self::of(Kind::Func);
    /// Global variables.
    pub const VAR: Self = Self::of(Kind::Var);
    /// Integers.
    pub const INT: Self = Self::of(Kind::Int);
    /// Whatever a type's name without `struct`, `union` or `enum` can mean.
    pub const PLAIN: Self = Self::TYPEDEF.or(Self::INT).or(Self::of(Kind::Float));

    /// One kind.
    pub const fn of(kind: Kind) -> Self {
        Self(1 << kind as u32)
    }
    /// Union of two sets.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// Membership.
    pub const fn contains(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u32) != 0
    }
}

/// Lookups by scanning before the index is built: a scan takes a tenth of the time that building takes.
const SCANS_BEFORE_INDEX: u32 = 12;

/// Steps along typedefs, modifiers or array elements before a chain counts as a loop.
const CHAIN_LIMIT: usize = 64;

/// Type information of a kernel or of one of its modules.
pub struct Btf {
    data: Box<dyn AsRef<[u8]>>,
    types: std::ops::Range<usize>,
    strings: std::ops::Range<usize>,
    offsets: Vec<u32>,
    base: Option<Rc<Btf>>,
    /// Id of the first own type.
    first_id: u32,
    /// Offset of the first own string.
    first_string: u32,
    scans: Cell<u32>,
    index: OnceCell<NameIndex>,
    enumerators: OnceCell<Enumerators>,
}

/// All enumerators of a BTF.
struct Enumerators {
    entries: Vec<Enumerator>,
    index: NameIndex,
}

struct Enumerator {
    name: u32,
    owner: TypeId,
    position: u32,
}

impl std::fmt::Debug for Btf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Btf")
            .field("types", &self.offsets.len())
            .field("first_id", &self.first_id)
            .finish_non_exhaustive()
    }
}

impl Btf {
    /// Reads the header and makes the offset table: a millisecond for a kernel's.
    pub fn new(data: Box<dyn AsRef<[u8]>>) -> Result<Self, BtfError> {
        Self::with_base(data, None)
    }

    /// The BTF of a module, whose ids and strings continue those of the kernel.
    pub fn split(data: Box<dyn AsRef<[u8]>>, base: Rc<Btf>) -> Result<Self, BtfError> {
        Self::with_base(data, Some(base))
    }

    fn with_base(data: Box<dyn AsRef<[u8]>>, base: Option<Rc<Btf>>) -> Result<Self, BtfError> {
        let bytes = (*data).as_ref();
        let raw::Sections { types, strings } = raw::sections(bytes)?;
        let offsets = raw::offsets(bytes.get(types.clone()).unwrap_or_default())?;
        let first_id = base.as_ref().map_or(1, |base| base.end());
        let first_string = base.as_ref().map_or(0, |base| base.end_string());
        Ok(Self {
            data,
            types,
            strings,
            offsets,
            base,
            first_id,
            first_string,
            scans: Cell::new(0),
            index: OnceCell::new(),
            enumerators: OnceCell::new(),
        })
    }

    fn end_string(&self) -> u32 {
        self.first_string.saturating_add(self.strings.len() as u32)
    }

    /// One more than the last id.
    pub fn end(&self) -> u32 {
        self.first_id.saturating_add(self.offsets.len() as u32)
    }

    /// Ids of the types in this BTF, those of its base left out.
    pub fn own_ids(&self) -> impl Iterator<Item = TypeId> + use<> {
        (self.first_id..self.end()).map(TypeId)
    }

    /// The kernel's BTF, for a module's.
    pub fn base(&self) -> Option<&Rc<Btf>> {
        self.base.as_ref()
    }

    fn type_section(&self) -> &[u8] {
        (*self.data).as_ref().get(self.types.clone()).unwrap_or_default()
    }

    fn string_section(&self) -> &[u8] {
        (*self.data).as_ref().get(self.strings.clone()).unwrap_or_default()
    }

    /// The bytes of a record and what follows it; `None` for void and for an id out of range.
    fn record(&self, id: TypeId) -> Option<&[u8]> {
        if id.0 < self.first_id {
            return self.base.as_ref()?.record(id);
        }
        let offset = *self.offsets.get((id.0 - self.first_id) as usize)?;
        self.type_section().get(offset as usize..)
    }

    /// A string's bytes, without the terminator; empty when there is none.
    fn string_bytes(&self, offset: u32) -> &[u8] {
        if offset < self.first_string {
            return self.base.as_ref().map_or(&[], |base| base.string_bytes(offset));
        }
        let tail = self.string_section().get((offset - self.first_string) as usize..).unwrap_or_default();
        tail.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    fn string(&self, offset: u32) -> &str {
        std::str::from_utf8(self.string_bytes(offset)).unwrap_or_default()
    }

    /// The type of an id; `Void` for an id out of range.
    pub fn get(&self, id: TypeId) -> BtfType<'_> {
        if id.0 < self.first_id {
            // Decode in the base, so that string offsets are looked up where they belong.
            return self.base.as_ref().map_or(BtfType::Void, |base| base.get(id));
        }
        self.record(id).map_or(BtfType::Void, |record| view::decode(self, record))
    }

    /// The kind of an id; `Void` for an id out of range.
    pub fn kind(&self, id: TypeId) -> Kind {
        self.record(id).and_then(|record| word(record, 4)).map_or(Kind::Void, |info| Info(info).kind())
    }

    /// The name of a type, empty when it has none.
    pub fn name(&self, id: TypeId) -> &str {
        self.record(id).and_then(|record| word(record, 0)).map_or("", |offset| self.string(offset))
    }

    /// The first type of that name among some kinds, the base's before a module's own.
    pub fn find(&self, kinds: KindSet, name: &str) -> Option<TypeId> {
        if let Some(id) = self.base.as_ref().and_then(|base| base.find(kinds, name)) {
            return Some(id);
        }
        self.find_own(kinds, name)
    }

    /// As [`find`](Self::find), without the base.
    pub fn find_own(&self, kinds: KindSet, name: &str) -> Option<TypeId> {
        if name.is_empty() || name.contains('\0') {
            return None;
        }
        if self.scans.get() < SCANS_BEFORE_INDEX {
            self.scans.set(self.scans.get() + 1);
            return self.scan(kinds, name.as_bytes());
        }
        let index = self.index.get_or_init(|| {
            NameIndex::new(self.offsets.len(), |entry| {
                self.record(TypeId(self.first_id + entry))
                    .and_then(|record| word(record, 0))
                    .map_or(&[], |offset| self.string_bytes(offset))
            })
        });
        index
            .candidates(name.as_bytes())
            .map(|entry| TypeId(self.first_id + entry))
            .find(|&id| kinds.contains(self.kind(id)) && self.name(id) == name)
    }

    fn scan(&self, kinds: KindSet, name: &[u8]) -> Option<TypeId> {
        let types = self.type_section();
        let strings = self.string_section();
        let is_name = |offset: u32| match offset.checked_sub(self.first_string) {
            Some(own) => {
                let tail = strings.get(own as usize..).unwrap_or_default();
                tail.get(name.len()) == Some(&0) && tail.starts_with(name)
            }
            None => self.string_bytes(offset) == name,
        };
        let found = self.offsets.iter().position(|&offset| {
            let head = types.get(offset as usize..offset as usize + HEAD).unwrap_or_default();
            word(head, 4).is_some_and(|info| kinds.contains(Info(info).kind())) && word(head, 0).is_some_and(is_name)
        })?;
        Some(TypeId(self.first_id + found as u32))
    }

    /// Strips typedefs, `const`, `volatile`, `restrict` and type tags. A chain that does not end reads as void.
    pub fn resolve(&self, id: TypeId) -> TypeId {
        self.strip(id, true)
    }

    /// Strips `const`, `volatile`, `restrict` and type tags, and keeps typedefs. A chain that does not end reads as void.
    pub fn skip_modifiers(&self, id: TypeId) -> TypeId {
        self.strip(id, false)
    }

    fn strip(&self, mut id: TypeId, typedefs: bool) -> TypeId {
        for _ in 0..CHAIN_LIMIT {
            id = match self.get(id) {
                BtfType::Typedef { target, .. } if typedefs => target,
                BtfType::Const(target)
                | BtfType::Volatile(target)
                | BtfType::Restrict(target)
                | BtfType::TypeTag { target, .. } => target,
                _ => return id,
            };
        }
        TypeId::VOID
    }

    /// True when a type tag of that name (`user`, `rcu`, `percpu`) lies on the way to the resolved type.
    pub fn has_tag(&self, mut id: TypeId, tag: &str) -> bool {
        for _ in 0..CHAIN_LIMIT {
            id = match self.get(id) {
                BtfType::TypeTag { name, .. } if name == tag => return true,
                BtfType::Typedef { target, .. }
                | BtfType::Const(target)
                | BtfType::Volatile(target)
                | BtfType::Restrict(target)
                | BtfType::TypeTag { target, .. } => target,
                _ => return false,
            };
        }
        false
    }

    /// Bytes of a value of the type; `None` for void, functions, forward declarations and nonsense.
    pub fn size_of(&self, id: TypeId) -> Option<u64> {
        let mut count = 1u64;
        let mut id = id;
        for _ in 0..CHAIN_LIMIT {
            let size = match self.get(self.resolve(id)) {
                BtfType::Int(int) => int.size,
                BtfType::Ptr(_) => POINTER_SIZE,
                BtfType::Struct(it) | BtfType::Union(it) => it.size,
                BtfType::Enum(it) => it.size,
                BtfType::Float { size, .. } => size,
                BtfType::Datasec(it) => it.size,
                BtfType::Var { ty, .. } => {
                    id = ty;
                    continue;
                }
                BtfType::Array(array) => {
                    count = count.checked_mul(u64::from(array.len))?;
                    id = array.elem;
                    continue;
                }
                _ => return None,
            };
            return count.checked_mul(u64::from(size));
        }
        None
    }

    /// Where a value has floating-point numbers.
    pub fn floats(&self, id: TypeId) -> Floats {
        let mut found = Floats::default();
        self.floats_within(id, 0, 16, &mut 10_000, &mut found);
        found.finish(self.size_of(id).unwrap_or(0))
    }

    fn floats_within(&self, id: TypeId, offset: u32, depth: u32, budget: &mut u32, found: &mut Floats) {
        let Some(rest) = budget.checked_sub(1) else {
            found.mixed = true;
            return;
        };
        *budget = rest;
        let size = |id| self.size_of(id).and_then(|size| u32::try_from(size).ok()).unwrap_or(POINTER_SIZE);
        match self.get(self.resolve(id)) {
            BtfType::Float { size, .. } => found.note(offset, size, true),
            BtfType::Array(array) if depth > 0 => {
                let step = size(array.elem);
                for i in 0..array.len.min(MOST_LEAVES as u32) {
                    self.floats_within(
                        array.elem,
                        offset.saturating_add(i.saturating_mul(step)),
                        depth - 1,
                        budget,
                        found,
                    );
                }
                found.mixed |= array.len as usize > MOST_LEAVES;
            }
            BtfType::Struct(it) | BtfType::Union(it) if depth > 0 => {
                for m in it.members() {
                    self.floats_within(m.ty, offset.saturating_add(m.bit_offset / 8), depth - 1, budget, found);
                }
            }
            _ => found.note(offset, size(id), false),
        }
    }

    /// The numbers and pointers that a value consists of; `None` for one with an array of several elements, a union or
    /// something unknown in it, and one of very many parts.
    pub fn leaves(&self, id: TypeId) -> Option<Vec<Leaf>> {
        let mut leaves = Vec::new();
        self.leaves_within(id, 0, 16, &mut leaves).then_some(leaves)
    }

    fn leaves_within(&self, id: TypeId, offset: u32, depth: u32, leaves: &mut Vec<Leaf>) -> bool {
        let float = match self.get(self.resolve(id)) {
            BtfType::Float { .. } => true,
            // A value of a function is a pointer to it.
            BtfType::Int(_) | BtfType::Enum(_) | BtfType::Ptr(_) | BtfType::FuncProto(_) => false,
            BtfType::Array(array) if array.len == 0 => return true,
            BtfType::Array(array) if array.len == 1 && depth > 0 => {
                return self.leaves_within(array.elem, offset, depth - 1, leaves);
            }
            BtfType::Struct(it) if depth > 0 => {
                let at = |bits: u32| offset.saturating_add(bits / 8);
                return it.members().all(|m| self.leaves_within(m.ty, at(m.bit_offset), depth - 1, leaves));
            }
            _ => return false,
        };
        let size = self.size_of(id).and_then(|size| u32::try_from(size).ok()).unwrap_or(POINTER_SIZE);
        leaves.push(Leaf { offset, size, float });
        leaves.len() <= MOST_LEAVES
    }

    /// Alignment in bytes by the rules of C; packed structs give 1 where their layout says so. At least 1.
    pub fn align_of(&self, id: TypeId) -> u32 {
        self.align_within(id, 16, &mut 10_000)
    }

    /// `budget` bounds the visited types: depth alone would let nested structs multiply.
    fn align_within(&self, id: TypeId, depth: u32, budget: &mut u32) -> u32 {
        let Some(rest) = budget.checked_sub(1) else { return 1 };
        *budget = rest;
        let id = self.resolve(id);
        match self.get(id) {
            BtfType::Int(int) => int.size.clamp(1, 16),
            BtfType::Enum(it) => it.size.clamp(1, 8),
            BtfType::Float { size, .. } => size.clamp(1, 16),
            BtfType::Ptr(_) => POINTER_SIZE,
            BtfType::Array(array) if depth > 0 => self.align_within(array.elem, depth - 1, budget),
            BtfType::Struct(it) | BtfType::Union(it) if depth > 0 => {
                let mut align = 1;
                for member in it.members() {
                    let own = self.align_within(member.ty, depth - 1, budget);
                    // A member that is not at a multiple of its alignment belongs to a packed struct.
                    if member.bit_size.is_none() && !member.bit_offset.is_multiple_of(own.saturating_mul(8)) {
                        return 1;
                    }
                    align = align.max(own);
                }
                if it.size.is_multiple_of(align) { align } else { 1 }
            }
            _ => 1,
        }
    }

    /// The prototype of a function by its name, a module's own before the base's.
    pub fn function(&self, name: &str) -> Option<FuncProto<'_>> {
        let id = self.find_own(KindSet::FUNC, name).or_else(|| self.base.as_ref()?.find(KindSet::FUNC, name))?;
        let BtfType::Func { proto, .. } = self.get(id) else { return None };
        match self.get(proto) {
            BtfType::FuncProto(proto) => Some(proto),
            _ => None,
        }
    }

    /// The enum and value of an enumerator (`TCP_ESTABLISHED`), the base's before a module's own.
    pub fn enumerator(&self, name: &str) -> Option<(TypeId, i64)> {
        if name.is_empty() {
            return None;
        }
        if let Some(found) = self.base.as_ref().and_then(|base| base.enumerator(name)) {
            return Some(found);
        }
        let Enumerators { entries, index } = self.enumerators.get_or_init(|| self.index_enumerators());
        index.candidates(name.as_bytes()).filter_map(|entry| entries.get(entry as usize)).find_map(|entry| {
            if self.string_bytes(entry.name) != name.as_bytes() {
                return None;
            }
            let BtfType::Enum(owner) = self.get(entry.owner) else { return None };
            let (_, value) = owner.value(entry.position as usize)?;
            Some((entry.owner, value))
        })
    }

    fn index_enumerators(&self) -> Enumerators {
        let types = self.type_section();
        let mut entries = Vec::new();
        for (owner, &offset) in self.own_ids().zip(&self.offsets) {
            let record = types.get(offset as usize..).unwrap_or_default();
            let Some(info) = word(record, 4).map(Info) else { continue };
            let stride = match info.kind() {
                Kind::Enum => 8,
                Kind::Enum64 => 12,
                _ => continue,
            };
            let names = record.get(HEAD..HEAD + stride * info.vlen() as usize).unwrap_or_default().chunks_exact(stride);
            entries.extend(
                (0..)
                    .zip(names)
                    .filter_map(|(position, entry)| Some(Enumerator { name: word(entry, 0)?, owner, position })),
            );
        }
        let index = NameIndex::new(entries.len(), |entry| {
            entries.get(entry as usize).map_or(&[], |entry| self.string_bytes(entry.name))
        });
        Enumerators { entries, index }
    }
}

/// Both supported architectures have 64-bit pointers.
const POINTER_SIZE: u32 = 8;
