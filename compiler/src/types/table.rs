//! The table of types of one compilation: kernel types come in from BTF by name when they are first asked for, fields of
//! a struct only when one of them is. C definitions of the script go before the kernel's.
//!
//! Every import is bounded: chains of pointers and arrays by `MAX_NESTING`, members by the BTF itself, anonymous members
//! by depth.

use std::collections::HashMap;
use std::rc::Rc;

use super::btf::{Btf, BtfType, Composite, Floats, KindSet, Leaf, TypeId};
use super::layout::size_of;
use super::names::predefined;
use super::{AddrSpace, Aggregates, EnumDef, EnumId, IntType, StructDef, StructField, StructId, Type};
use crate::probes::rawtracepoint;
use crate::similar::closest;
use crate::target::{Target, function_at};
use crate::typed::Bits;

/// Pointers to pointers, arrays of arrays and anonymous members inside each other, at most.
const MAX_NESTING: u32 = 32;

/// Where the kernel's types come from.
#[derive(Clone, Copy)]
enum Source<'t> {
    Known(Option<&'t Btf>),
    Target(&'t dyn Target),
}

/// A type in the BTF of the kernel or of one of its modules, whose ids continue those of the kernel: the same id means another
/// type in each module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BtfRef {
    /// 0 for the kernel, else a module or a user's binary by its place in the table.
    origin: u32,
    id: TypeId,
}

/// Types beside the kernel's own.
struct Other {
    /// A module's name or a binary's path.
    name: String,
    btf: Rc<Btf>,
    /// Pointers among them lead into the memory of a process.
    space: AddrSpace,
}

/// The BTF that a [`BtfRef`] is looked up in.
enum Origin<'t> {
    Kernel(&'t Btf),
    Other(Rc<Btf>),
}

impl std::ops::Deref for Origin<'_> {
    type Target = Btf;
    fn deref(&self) -> &Btf {
        match self {
            Self::Kernel(btf) => btf,
            Self::Other(btf) => btf,
        }
    }
}

/// A function as BTF describes it.
#[derive(Clone, Debug)]
pub struct Prototype {
    /// Names and types of its parameters.
    pub params: Vec<(String, Type)>,
    /// What it returns.
    pub ret: Type,
}

/// A parameter of a function of a user's binary.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name; may be empty.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// Bytes of a value.
    pub size: u64,
    /// Where it has floating-point numbers.
    pub floats: Floats,
    /// The numbers and pointers that a value consists of, as [`Btf::leaves`] gives them.
    pub leaves: Option<Vec<Leaf>>,
    /// Of what its address is a multiple.
    pub align: u32,
}

/// See the module.
pub struct TypeTable<'t> {
    btf: Source<'t>,
    /// All structs and enums that were asked for.
    pub aggregates: Aggregates,
    structs_by_btf: HashMap<BtfRef, StructId>,
    enums_by_btf: HashMap<BtfRef, EnumId>,
    /// Modules and binaries whose types were asked for.
    others: Vec<Other>,
    /// The file in which a program of the script runs: its types go before the kernel's.
    binary: Option<String>,
    /// By `struct x`, `union x`: the script's own.
    structs_by_name: HashMap<String, StructId>,
    /// By `enum x`: the script's own.
    enums_by_name: HashMap<String, EnumId>,
    /// The script's own.
    typedefs: HashMap<String, Type>,
    /// The script's own enumerators.
    enumerators: HashMap<String, (EnumId, i64)>,
}

impl<'t> TypeTable<'t> {
    /// An empty table over the kernel's BTF, if it has one.
    pub fn new(btf: Option<&'t Btf>) -> Self {
        Self::from_source(Source::Known(btf))
    }

    /// Asks the target for its BTF with the first type that is looked up: most scripts look up none.
    pub fn of_target(target: &'t dyn Target) -> Self {
        Self::from_source(Source::Target(target))
    }

    fn btf(&self) -> Option<&'t Btf> {
        match self.btf {
            Source::Known(btf) => btf,
            Source::Target(target) => target.btf(),
        }
    }

    fn origin(&self, origin: u32) -> Option<Origin<'t>> {
        match origin.checked_sub(1) {
            None => self.btf().map(Origin::Kernel),
            Some(at) => self.others.get(at as usize).map(|other| Origin::Other(Rc::clone(&other.btf))),
        }
    }

    /// Number of a module among the origins; 0 for the kernel itself.
    fn origin_of(&mut self, module: Option<&str>) -> Option<u32> {
        let Some(module) = module.filter(|module| *module != "vmlinux") else { return Some(0) };
        let known = self.others.iter().position(|it| it.name == module && it.space == AddrSpace::Kernel);
        let at = if let Some(at) = known {
            at
        } else {
            let Source::Target(target) = self.btf else { return None };
            let btf = target.module_btf(module)?;
            self.others.push(Other { name: module.to_owned(), btf, space: AddrSpace::Kernel });
            self.others.len() - 1
        };
        u32::try_from(at + 1).ok()
    }

    /// Number of a binary among the origins, with types of its debug information: a later answer has more of them, and the same ids.
    fn origin_of_binary(&mut self, path: &str, btf: Rc<Btf>) -> Option<u32> {
        let known = self.others.iter().position(|it| it.name == path && it.space == AddrSpace::User);
        let at = if let Some(at) = known {
            at
        } else {
            self.others.push(Other { name: path.to_owned(), btf: Rc::clone(&btf), space: AddrSpace::User });
            self.others.len() - 1
        };
        self.others.get_mut(at)?.btf = btf;
        u32::try_from(at + 1).ok()
    }

    /// From now on names of types are looked up in the debug information of this file, too.
    pub fn set_binary(&mut self, path: Option<String>) {
        self.binary = path;
    }

    /// A type of the file that the program runs in.
    fn of_binary(&mut self, kinds: KindSet, name: &str) -> Option<Type> {
        let (path, Source::Target(target)) = (self.binary.clone()?, self.btf) else { return None };
        let btf = target.user_type(&path, kinds, name)?;
        let id = btf.find(kinds, name)?;
        let origin = self.origin_of_binary(&path, btf)?;
        self.import(BtfRef { origin, id }, 0)
    }

    /// The parameters of the function of a binary whose code begins at a byte of the file.
    pub fn user_function(&mut self, path: &str, offset: u64) -> Option<Vec<Parameter>> {
        let Source::Target(target) = self.btf else { return None };
        let btf = target.user_function_types(path, offset)?;
        let origin = self.origin_of_binary(path, Rc::clone(&btf))?;
        let proto = btf.function(&function_at(offset))?;
        let parameter = |param: super::btf::Param<'_>| Parameter {
            name: param.name.to_owned(),
            ty: self.import(BtfRef { origin, id: param.ty }, 0).unwrap_or(Type::Void),
            size: btf.size_of(param.ty).unwrap_or(0),
            floats: btf.floats(param.ty),
            leaves: btf.leaves(param.ty),
            align: btf.align_of(param.ty),
        };
        Some(proto.params().map(parameter).collect())
    }

    fn from_source(btf: Source<'t>) -> Self {
        Self {
            btf,
            aggregates: Aggregates::default(),
            structs_by_btf: HashMap::new(),
            enums_by_btf: HashMap::new(),
            others: Vec::new(),
            binary: None,
            structs_by_name: HashMap::new(),
            enums_by_name: HashMap::new(),
            typedefs: HashMap::new(),
            enumerators: HashMap::new(),
        }
    }

    /// True when there is no BTF to ask.
    pub fn is_blind(&self) -> bool {
        self.btf().is_none()
    }

    /// Of all structs, unions or enums, as the keyword says, the name that is closest to a misspelt one. Reads all names: for
    /// messages only.
    pub fn closest_tag(&self, keyword: &str, tag: &str) -> Option<String> {
        let kinds = match keyword {
            "struct" => KindSet::STRUCT,
            "union" => KindSet::UNION,
            _ => KindSet::ENUM,
        };
        let own = self.structs_by_name.keys().chain(self.enums_by_name.keys());
        let own = own.filter_map(|full| full.strip_prefix(keyword)?.strip_prefix(' '));
        let kernel = self
            .btf()
            .into_iter()
            .flat_map(|btf| btf.own_ids().filter(move |&id| kinds.contains(btf.kind(id))).map(|id| btf.name(id)));
        closest(tag, own.chain(kernel)).map(str::to_owned)
    }

    /// `struct name` or `union name`; of the kernel's one that exists, whichever of the two it is.
    pub fn composite(&mut self, name: &str, union: bool) -> Option<Type> {
        let full = format!("{} {name}", if union { "union" } else { "struct" });
        if let Some(id) = self.structs_by_name.get(&full) {
            return Some(Type::Struct(*id));
        }
        let kinds = if union { KindSet::UNION } else { KindSet::STRUCT };
        if let Some(ty) = self.of_binary(kinds, name) {
            return Some(ty);
        }
        let other = if union { KindSet::STRUCT } else { KindSet::UNION };
        self.of_kernel(kinds, name).or_else(|| self.of_kernel(other, name))
    }

    /// Whether a struct is one that the kernel's BTF describes, not the script or another BTF.
    pub fn is_of_kernel(&self, id: StructId) -> bool {
        self.structs_by_btf.iter().any(|(at, known)| *known == id && at.origin == 0)
    }

    /// A struct or union by its name alone, where nothing else is called so.
    pub fn tagged(&mut self, name: &str) -> Option<Type> {
        let script = ["struct", "union"].into_iter().find_map(|tag| self.structs_by_name.get(&format!("{tag} {name}")));
        script.copied().map(Type::Struct).or_else(|| self.composite(name, false))
    }

    /// `enum name`.
    pub fn enumeration(&mut self, name: &str) -> Option<Type> {
        if let Some(id) = self.enums_by_name.get(&format!("enum {name}")) {
            return self.enum_type(*id);
        }
        if let Some(ty) = self.of_binary(KindSet::ENUM, name) {
            return Some(ty);
        }
        self.of_kernel(KindSet::ENUM, name)
    }

    /// A type by a plain name: built in, a typedef of the script, or a typedef of the kernel.
    pub fn named(&mut self, name: &str) -> Option<Type> {
        if let Some(ty) = self.typedefs.get(name) {
            return Some(ty.clone());
        }
        if let Some(ty) = predefined(name) {
            return Some(ty);
        }
        if let Some(ty) = self.of_binary(KindSet::TYPEDEF, name) {
            return Some(ty);
        }
        let id = self.btf()?.find(KindSet::PLAIN, name)?;
        self.import_kernel(id)
    }

    /// An enumerator: its enum's type and its value.
    pub fn enumerator(&mut self, name: &str) -> Option<(Type, i64)> {
        if let Some((id, value)) = self.enumerators.get(name).copied() {
            return Some((self.enum_type(id)?, value));
        }
        // Of a binary those whose types the script has met.
        let of_binary = |other: &Other| Some(&other.name) == self.binary.as_ref() && other.space == AddrSpace::User;
        if let Some(at) = self.others.iter().position(of_binary)
            && let Some((id, value)) = self.others.get(at)?.btf.enumerator(name)
        {
            let origin = u32::try_from(at + 1).ok()?;
            return Some((self.import(BtfRef { origin, id }, 0)?, value));
        }
        let (id, value) = self.btf()?.enumerator(name)?;
        Some((self.import_kernel(id)?, value))
    }

    /// The type of an enum in the table.
    pub fn enum_type(&self, id: EnumId) -> Option<Type> {
        Some(Type::Enum { id, int: self.aggregates.enums.get(id)?.int })
    }

    /// The kernel, or else the first module, in whose types there is something.
    fn origin_with(&mut self, has: impl Fn(&Btf) -> bool) -> Option<u32> {
        if self.btf().is_some_and(&has) {
            return Some(0);
        }
        let Source::Target(target) = self.btf else { return None };
        let module =
            target.modules_with_btf().into_iter().find(|it| target.module_btf(it).is_some_and(|btf| has(&btf)))?;
        self.origin_of(Some(&module))
    }

    /// A type of the kernel or of a module.
    fn of_kernel(&mut self, kinds: KindSet, name: &str) -> Option<Type> {
        let origin = self.origin_with(|btf| btf.find(kinds, name).is_some())?;
        let id = self.origin(origin)?.find(kinds, name)?;
        self.import(BtfRef { origin, id }, 0)
    }

    /// The prototype of a function of a module, or of the kernel or any module.
    pub fn function(&mut self, module: Option<&str>, name: &str) -> Option<Prototype> {
        let origin = match module {
            Some(_) => self.origin_of(module)?,
            None => self.origin_with(|btf| btf.function(name).is_some())?,
        };
        let btf = self.origin(origin)?;
        let proto = btf.function(name)?;
        let mut params = Vec::new();
        for param in proto.params() {
            let ty = self.import(BtfRef { origin, id: param.ty }, 0).unwrap_or(Type::U64);
            params.push((param.name.to_owned(), ty));
        }
        let ret = self.import(BtfRef { origin, id: proto.ret }, 0).unwrap_or(Type::Void);
        Some(Prototype { params, ret })
    }

    /// Names and types of a raw tracepoint's arguments.
    pub fn raw_tracepoint(&mut self, event: &str) -> Option<Vec<(String, Type)>> {
        let origin = self.origin_with(|btf| rawtracepoint::prototype(btf, event).is_some())?;
        let btf = self.origin(origin)?;
        let proto = rawtracepoint::prototype(&btf, event)?;
        let mut params = Vec::new();
        // The first parameter is the tracepoint's private data, which programs do not see.
        for param in proto.params().skip(1) {
            let ty = self.import(BtfRef { origin, id: param.ty }, 0).unwrap_or(Type::U64);
            params.push((param.name.to_owned(), ty));
        }
        Some(params)
    }

    /// Adds a struct of the script, before or instead of the kernel's of that name.
    pub fn define_struct(&mut self, name: &str, def: StructDef) -> StructId {
        let id = self.aggregates.structs.push(def);
        if !name.is_empty() {
            self.structs_by_name.insert(name.to_owned(), id);
        }
        id
    }

    /// Adds an enum of the script and its enumerators.
    pub fn define_enum(&mut self, def: EnumDef) -> EnumId {
        let (name, variants) = (def.name.clone(), def.variants.clone());
        let id = self.aggregates.enums.push(def);
        if !name.is_empty() {
            self.enums_by_name.insert(name, id);
        }
        for (name, value) in variants {
            self.enumerators.insert(name, (id, value));
        }
        id
    }

    /// Adds a typedef of the script.
    pub fn define_typedef(&mut self, name: &str, ty: Type) {
        self.typedefs.insert(name.to_owned(), ty);
    }

    /// A member by name, anonymous members searched too; `None` when there is none.
    pub fn field(&mut self, id: StructId, name: &str) -> Option<StructField> {
        self.fields(id)?.iter().find(|f| f.name == name).cloned()
    }

    /// All members; `None` for an incomplete type.
    pub fn fields(&mut self, id: StructId) -> Option<&[StructField]> {
        let def = self.aggregates.structs.get(id)?;
        if def.fields.is_none() {
            let BtfRef { origin, id: btf_id } = def.btf_id?;
            let btf = self.origin(origin)?;
            let (BtfType::Struct(composite) | BtfType::Union(composite)) = btf.get(btf_id) else { return None };
            let mut fields = Vec::new();
            self.import_members((origin, &btf), composite, 0, 0, &mut fields);
            if let Some(def) = self.aggregates.structs.get_mut(id) {
                def.fields = Some(fields);
            }
        }
        self.aggregates.structs.get(id)?.fields.as_deref()
    }

    /// Loads the fields of every struct that the type holds by value, so that it can be printed.
    pub fn complete(&mut self, ty: &Type) {
        self.complete_within(ty, MAX_NESTING / 2);
    }

    fn complete_within(&mut self, ty: &Type, depth: u32) {
        let Some(depth) = depth.checked_sub(1) else { return };
        match ty {
            Type::Struct(id) => {
                // Members that are already there were completed with them.
                let missing = self.aggregates.structs.get(*id).is_some_and(|s| s.fields.is_none() || depth > 0);
                let types: Vec<Type> = self.fields(*id).unwrap_or_default().iter().map(|f| f.ty.clone()).collect();
                if missing {
                    for ty in types.iter().filter(|ty| !matches!(ty, Type::Ptr(..) | Type::Int(_))) {
                        self.complete_within(ty, depth);
                    }
                }
            }
            Type::Array(elem, _) => self.complete_within(elem, depth),
            Type::Tuple(members) => members.iter().for_each(|ty| self.complete_within(ty, depth)),
            Type::Record(members) => members.iter().for_each(|(_, ty)| self.complete_within(ty, depth)),
            _ => {}
        }
    }

    fn import_kernel(&mut self, id: TypeId) -> Option<Type> {
        self.import(BtfRef { origin: 0, id }, 0)
    }

    /// A type of BTF; `None` for what no value can have.
    fn import(&mut self, at: BtfRef, depth: u32) -> Option<Type> {
        let BtfRef { mut origin, id } = at;
        let btf = self.origin(origin)?;
        if depth > MAX_NESTING {
            return None;
        }
        // The typedef's name is the only one that an anonymous struct has.
        let typedef = match btf.get(btf.skip_modifiers(id)) {
            BtfType::Typedef { name, .. } => name,
            _ => "",
        };
        let id = btf.resolve(id);
        // What a module's type refers to is often the kernel's.
        if btf.base().is_some_and(|base| id.0 < base.end()) {
            origin = 0;
        }
        let here = |id| BtfRef { origin, id };
        Some(match btf.get(id) {
            BtfType::Int(int) if int.bool => Type::Bool,
            BtfType::Int(int) => match int.size {
                size @ (1 | 2 | 4 | 8) => {
                    Type::Int(IntType { size: size as u8, signed: int.signed || int.name == "char" })
                }
                16 => Type::Array(Rc::new(Type::U64), 2),
                _ => return None,
            },
            BtfType::Ptr(target) => {
                let of_user = btf.has_tag(target, "user") || self.is_of_user(origin);
                let space = if of_user { AddrSpace::User } else { AddrSpace::Kernel };
                Type::Ptr(Rc::new(self.import(here(target), depth + 1).unwrap_or(Type::Void)), space)
            }
            BtfType::Array(array) => {
                let elem_is_char = matches!(btf.get(btf.resolve(array.elem)), BtfType::Int(int) if int.name == "char");
                if elem_is_char && array.len > 0 {
                    Type::Str(array.len)
                } else {
                    Type::Array(Rc::new(self.import(here(array.elem), depth + 1)?), array.len)
                }
            }
            BtfType::Struct(composite) => {
                Type::Struct(self.import_composite((here(id), &btf), composite, false, typedef))
            }
            BtfType::Union(composite) => {
                Type::Struct(self.import_composite((here(id), &btf), composite, true, typedef))
            }
            BtfType::Fwd { name, union } => {
                let kinds = if union { KindSet::UNION } else { KindSet::STRUCT };
                match btf.find(kinds, name) {
                    Some(full) => return self.import(here(full), depth + 1),
                    None => Type::Void,
                }
            }
            BtfType::Enum(def) => {
                let enum_id = if let Some(known) = self.enums_by_btf.get(&here(id)) {
                    *known
                } else {
                    let name = if def.name.is_empty() { typedef.to_owned() } else { format!("enum {}", def.name) };
                    let size = if matches!(def.size, 1 | 2 | 4 | 8) { def.size as u8 } else { 4 };
                    let new = self.aggregates.enums.push(EnumDef {
                        name,
                        int: IntType { size, signed: def.signed },
                        variants: def.values().map(|(name, value)| (name.to_owned(), value)).collect(),
                    });
                    self.enums_by_btf.insert(here(id), new);
                    new
                };
                self.enum_type(enum_id)?
            }
            BtfType::Float { size, .. } => Type::Array(Rc::new(Type::Int(IntType::U8)), size),
            _ => Type::Void,
        })
    }

    fn is_of_user(&self, origin: u32) -> bool {
        let at = origin.checked_sub(1).map(|at| at as usize);
        at.and_then(|at| self.others.get(at)).is_some_and(|other| other.space == AddrSpace::User)
    }

    fn import_composite(
        &mut self,
        (at, btf): (BtfRef, &Btf),
        composite: Composite<'_>,
        union: bool,
        typedef: &str,
    ) -> StructId {
        if let Some(known) = self.structs_by_btf.get(&at) {
            return *known;
        }
        let name = match (composite.name, union) {
            ("", _) => typedef.to_owned(),
            (tag, true) => format!("union {tag}"),
            (tag, false) => format!("struct {tag}"),
        };
        let align = btf.align_of(at.id);
        let new = self.aggregates.structs.push(StructDef {
            name,
            size: composite.size,
            align,
            fields: None,
            btf_id: Some(at),
        });
        self.structs_by_btf.insert(at, new);
        new
    }

    fn import_members(
        &mut self,
        (origin, btf): (u32, &Btf),
        composite: Composite<'_>,
        base_bits: u32,
        depth: u32,
        out: &mut Vec<StructField>,
    ) {
        for member in composite.members() {
            let at = base_bits.saturating_add(member.bit_offset);
            if member.name.is_empty() {
                if let BtfType::Struct(inner) | BtfType::Union(inner) = btf.get(btf.resolve(member.ty))
                    && depth < MAX_NESTING
                {
                    self.import_members((origin, btf), inner, at, depth + 1, out);
                }
                continue;
            }
            let Some(ty) = self.import(BtfRef { origin, id: member.ty }, 0) else { continue };
            let (offset, bits) = match member.bit_size {
                None => (at / 8, None),
                Some(width) => {
                    let Some((offset, bits)) = place_bits(at, width, size_of(&ty, &self.aggregates)) else { continue };
                    (offset, Some(bits))
                }
            };
            out.push(StructField { name: member.name.to_owned(), ty, offset, bits });
        }
    }
}

/// The integer to load for a bitfield at a bit offset, with storage of `unit` bytes: the unit itself where the field lies
/// in one, else the fewest bytes from the field's first byte on. Where these are nine, the integer is the first eight, and
/// shift and width together exceed its bits.
pub(crate) fn place_bits(bit_offset: u32, width: u8, unit: u32) -> Option<(u32, Bits)> {
    if unit.is_power_of_two() && unit <= 8 {
        let offset = bit_offset / (unit * 8) * unit;
        let shift = bit_offset - offset * 8;
        if shift + u32::from(width) <= unit * 8 {
            return Some((offset, Bits { load: unit as u8, shift: shift as u8, width }));
        }
    }
    let offset = bit_offset / 8;
    let shift = bit_offset % 8;
    let bytes = (shift + u32::from(width)).div_ceil(8).next_power_of_two().min(8);
    (width <= 64).then_some((offset, Bits { load: bytes as u8, shift: shift as u8, width }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitfields_load_their_storage_unit() {
        assert_eq!(place_bits(35, 3, 4), Some((4, Bits { load: 4, shift: 3, width: 3 })));
        // Packed over the border of two units.
        assert_eq!(place_bits(30, 4, 4), Some((3, Bits { load: 2, shift: 6, width: 4 })));
        // In nine bytes.
        assert_eq!(place_bits(20, 64, 8), Some((2, Bits { load: 8, shift: 4, width: 64 })));
        assert_eq!(place_bits(4, 65, 8), None);
    }
}
