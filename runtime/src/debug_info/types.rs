//! Types of debug information as BTF, so that the compiler knows one form of types only. A type comes with all that it refers to;
//! what has been converted once keeps its id, so that the BTF of one file only grows.

use std::collections::HashMap;
use std::rc::Rc;

use gimli::AttributeValue;
use tapline_compiler::object::btf::{Btf as Writer, Linkage, Record, TypeId, VOID};
use tapline_compiler::types::btf::{Btf, Kind, KindSet};

use super::{Dwarf, Entry, Place, Slice, Unit, Units, inherited, name_of};

/// Types of one file; what refers to later ones refers to void.
const MOST_TYPES: usize = 1 << 18;

/// Entries of one record: the format has 16 bits for their number.
const MOST_MEMBERS: usize = 0xffff;

/// Parameters of one function.
const MOST_PARAMETERS: usize = 256;

/// Integer encodings of BTF.
const SIGNED: u32 = 1 << 24;
const CHAR: u32 = 2 << 24;
const BOOL: u32 = 4 << 24;

/// Types that are another with something to it.
const REFERRING: [(gimli::DwTag, Kind); 8] = [
    (gimli::DW_TAG_pointer_type, Kind::Ptr),
    (gimli::DW_TAG_reference_type, Kind::Ptr),
    (gimli::DW_TAG_rvalue_reference_type, Kind::Ptr),
    (gimli::DW_TAG_const_type, Kind::Const),
    (gimli::DW_TAG_volatile_type, Kind::Volatile),
    (gimli::DW_TAG_atomic_type, Kind::Volatile),
    (gimli::DW_TAG_restrict_type, Kind::Restrict),
    (gimli::DW_TAG_typedef, Kind::Typedef),
];

/// A type was not looked for before.
pub(super) struct NotYet;

/// What has been converted.
#[derive(Default)]
pub(super) struct Types {
    writer: Writer,
    /// By the place in `.debug_info`.
    known: HashMap<usize, TypeId>,
    functions: HashMap<usize, TypeId>,
    names: HashMap<(KindSet, String), bool>,
    /// What the writer held when it was read last.
    read: Option<(usize, Rc<Btf>)>,
}

impl Types {
    /// The BTF with some functions; `None` where none of them could be made.
    pub(super) fn functions<'n>(
        &mut self,
        dwarf: &Dwarf<'_>,
        functions: impl Iterator<Item = (Place, &'n str)>,
    ) -> Option<Rc<Btf>> {
        let mut work = Work { types: self, dwarf, units: Units::default(), pending: Vec::new() };
        let mut any = false;
        for (place, name) in functions {
            let key = place.unit + place.entry.0;
            if !work.types.functions.contains_key(&key) {
                let Some(proto) = work.prototype(place) else { continue };
                work.finish();
                let id = work.types.writer.func(name, proto, Linkage::Global);
                work.types.functions.insert(key, id);
            }
            any = true;
        }
        if any { self.read() } else { None }
    }

    /// What is known about a type by name: nothing yet (`Err`), that there is none, or the BTF that holds it.
    pub(super) fn searched(&mut self, kinds: KindSet, name: &str) -> Result<Option<Rc<Btf>>, NotYet> {
        match self.names.get(&(kinds, name.to_owned())) {
            None => Err(NotYet),
            Some(false) => Ok(None),
            Some(true) => Ok(self.read()),
        }
    }

    /// The BTF with a type by its name, or that there is none.
    pub(super) fn named(
        &mut self,
        dwarf: &Dwarf<'_>,
        place: Option<Place>,
        kinds: KindSet,
        name: &str,
    ) -> Option<Rc<Btf>> {
        self.names.insert((kinds, name.to_owned()), place.is_some());
        let place = place?;
        let mut work = Work { types: self, dwarf, units: Units::default(), pending: Vec::new() };
        work.id(place);
        work.finish();
        self.read()
    }

    fn read(&mut self) -> Option<Rc<Btf>> {
        let len = self.writer.len();
        if self.read.as_ref().is_none_or(|(read, _)| *read != len) {
            let btf = Btf::new(Box::new(self.writer.finish())).ok()?;
            self.read = Some((len, Rc::new(btf)));
        }
        self.read.as_ref().map(|(_, btf)| Rc::clone(btf))
    }
}

/// A conversion under way.
struct Work<'t, 'a> {
    types: &'t mut Types,
    dwarf: &'t Dwarf<'a>,
    units: Units<'a>,
    /// Types that have an id and are to be defined.
    pending: Vec<(TypeId, Place)>,
}

/// A member of a struct or union.
struct Member {
    name: String,
    ty: TypeId,
    bits: u32,
    width: u32,
}

impl<'a> Work<'_, 'a> {
    fn finish(&mut self) {
        while let Some((id, place)) = self.pending.pop() {
            // A type that makes no sense stays void.
            let _ = self.define(id, place);
        }
    }

    /// The id of a type, which is defined later.
    fn id(&mut self, place: Place) -> TypeId {
        let Some(key) = place.unit.checked_add(place.entry.0) else { return VOID };
        if let Some(&known) = self.types.known.get(&key) {
            return known;
        }
        if self.types.writer.len() >= MOST_TYPES {
            return VOID;
        }
        let id = self.types.writer.reserve();
        self.types.known.insert(key, id);
        self.pending.push((id, place));
        id
    }

    /// The type that an entry names; void when it names none.
    fn type_of(&mut self, unit: usize, entry: &Entry<'a>) -> TypeId {
        let to = entry.attr_value(gimli::DW_AT_type).and_then(|value| self.units.refer(self.dwarf, unit, value));
        to.map_or(VOID, |place| self.id(place))
    }

    fn inherited_type(&mut self, place: Place) -> TypeId {
        let dwarf = self.dwarf;
        let mut unit_of_type = place.unit;
        let value = inherited(dwarf, &mut self.units, place, |entry, unit| {
            unit_of_type = unit.header.debug_info_offset()?.0;
            entry.attr_value(gimli::DW_AT_type)
        });
        let to = value.and_then(|value| self.units.refer(dwarf, unit_of_type, value));
        to.map_or(VOID, |place| self.id(place))
    }

    fn text(&self, unit: &Unit<'a>, entry: &Entry<'a>) -> String {
        let name = entry.attr_value(gimli::DW_AT_name).and_then(|value| self.dwarf.attr_string(unit, value).ok());
        name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Places of the children of an entry with some tags.
    fn children(unit: &Unit<'a>, place: Place, tags: &[gimli::DwTag], most: usize) -> Vec<Entry<'a>> {
        let mut found = Vec::new();
        let Ok(mut tree) = unit.entries_tree(Some(place.entry)) else { return found };
        let Ok(root) = tree.root() else { return found };
        let mut children = root.children();
        while let Ok(Some(child)) = children.next() {
            if tags.contains(&child.entry().tag()) {
                found.push(child.entry().clone());
            }
            if found.len() >= most {
                break;
            }
        }
        found
    }

    /// The prototype of a function.
    fn prototype(&mut self, place: Place) -> Option<TypeId> {
        let unit = self.units.get(self.dwarf, place.unit)?;
        let parameters = Self::children(&unit, place, &[gimli::DW_TAG_formal_parameter], MOST_PARAMETERS);
        // Go describes results as parameters that the function changes.
        let is_result = |parameter: &Entry<'a>| {
            matches!(parameter.attr_value(gimli::DW_AT_variable_parameter), Some(AttributeValue::Flag(true)))
        };
        let params: Vec<(String, TypeId)> = parameters
            .iter()
            .filter(|parameter| !is_result(parameter))
            .map(|parameter| {
                let place = Place { unit: place.unit, entry: parameter.offset() };
                let name = name_of(self.dwarf, &mut self.units, place).unwrap_or_default();
                (name, self.inherited_type(place))
            })
            .collect();
        let ret = self.inherited_type(place);
        let params: Vec<(&str, TypeId)> = params.iter().map(|(name, ty)| (name.as_str(), *ty)).collect();
        Some(self.types.writer.func_proto(ret, &params))
    }

    fn define(&mut self, id: TypeId, place: Place) -> Option<()> {
        let unit = self.units.get(self.dwarf, place.unit)?;
        let entry = unit.entry(place.entry).ok()?;
        let name = self.text(&unit, &entry);
        let here = (&*unit, &entry);
        match entry.tag() {
            gimli::DW_TAG_base_type => self.base(id, &entry, &name)?,
            gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type | gimli::DW_TAG_interface_type => {
                self.composite(id, place, here, &name, false);
            }
            gimli::DW_TAG_union_type => self.composite(id, place, here, &name, true),
            gimli::DW_TAG_enumeration_type => self.enumeration(id, place, here, &name),
            gimli::DW_TAG_array_type => self.array(id, place, here),
            gimli::DW_TAG_subroutine_type => {
                let params = Self::children(&unit, place, &[gimli::DW_TAG_formal_parameter], MOST_PARAMETERS);
                let mut extra = Vec::with_capacity(params.len() * 2);
                for parameter in &params {
                    extra.extend([0, self.type_of(place.unit, parameter).0]);
                }
                let ret = self.type_of(place.unit, &entry);
                self.write(id, Kind::FuncProto, false, "", params.len(), ret.0, &extra);
            }
            tag => {
                let (_, kind) = REFERRING.iter().find(|(of, _)| *of == tag)?;
                let target = self.type_of(place.unit, &entry);
                let name = if *kind == Kind::Typedef { &name } else { "" };
                self.write(id, *kind, false, name, 0, target.0, &[]);
            }
        }
        Some(())
    }

    #[allow(clippy::too_many_arguments)] // A record has these parts.
    fn write(
        &mut self,
        id: TypeId,
        kind: Kind,
        flag: bool,
        name: &str,
        entries: usize,
        size_or_type: u32,
        extra: &[u32],
    ) {
        let entries = entries.min(MOST_MEMBERS) as u32;
        let record = Record { kind: kind as u32, flag, name, entries, size_or_type, extra };
        self.types.writer.define(id, record);
    }

    fn base(&mut self, id: TypeId, entry: &Entry<'a>, name: &str) -> Option<()> {
        let size = size_of(entry)?;
        let AttributeValue::Encoding(encoding) = entry.attr_value(gimli::DW_AT_encoding)? else { return None };
        let flags = match encoding {
            gimli::DW_ATE_float | gimli::DW_ATE_complex_float | gimli::DW_ATE_decimal_float => {
                self.write(id, Kind::Float, false, name, 0, size, &[]);
                return Some(());
            }
            gimli::DW_ATE_boolean => BOOL,
            gimli::DW_ATE_signed => SIGNED,
            gimli::DW_ATE_signed_char => SIGNED | CHAR,
            gimli::DW_ATE_unsigned_char => CHAR,
            _ => 0,
        };
        self.write(id, Kind::Int, false, name, 0, size, &[flags | (size.checked_mul(8)? & 0xff)]);
        Some(())
    }

    fn composite(&mut self, id: TypeId, place: Place, (unit, entry): (&Unit<'a>, &Entry<'a>), name: &str, union: bool) {
        if entry.has_attr(gimli::DW_AT_declaration) {
            self.write(id, Kind::Fwd, union, name, 0, 0, &[]);
            return;
        }
        let size = size_of(entry).unwrap_or(0);
        let tags = [gimli::DW_TAG_member, gimli::DW_TAG_inheritance];
        let mut members = Vec::new();
        for member in Self::children(unit, place, &tags, MOST_MEMBERS) {
            // Static members are somewhere else.
            if member.has_attr(gimli::DW_AT_external) || member.has_attr(gimli::DW_AT_declaration) {
                continue;
            }
            members.extend(self.member(place.unit, unit, &member));
        }
        let with_bits = members.iter().any(|member| member.width > 0);
        let mut extra = Vec::with_capacity(members.len() * 3);
        for Member { name, ty, bits, width } in &members {
            let at = if with_bits { (width << 24) | (bits & 0x00ff_ffff) } else { *bits };
            extra.extend([self.types.writer.string(name), ty.0, at]);
        }
        let kind = if union { Kind::Union } else { Kind::Struct };
        self.write(id, kind, with_bits, name, members.len(), size, &extra);
    }

    fn member(&mut self, unit_start: usize, unit: &Unit<'a>, entry: &Entry<'a>) -> Option<Member> {
        let ty = self.type_of(unit_start, entry);
        let byte = match entry.attr_value(gimli::DW_AT_data_member_location) {
            None => 0,
            Some(value) => offset(value)?,
        };
        let width = entry.attr_value(gimli::DW_AT_bit_size).and_then(|value| value.udata_value()).unwrap_or(0);
        let bits = if let Some(value) = entry.attr_value(gimli::DW_AT_data_bit_offset) {
            value.udata_value()?
        } else if let Some(from_top) = entry.attr_value(gimli::DW_AT_bit_offset).and_then(|value| value.udata_value()) {
            // Before DWARF 4 counted from the most significant bit of the storage.
            let storage = u64::from(size_of(entry)?).checked_mul(8)?;
            byte.checked_mul(8)?.checked_add(storage.checked_sub(from_top)?.checked_sub(width)?)?
        } else {
            byte.checked_mul(8)?
        };
        let name = if entry.tag() == gimli::DW_TAG_inheritance { String::new() } else { self.text(unit, entry) };
        Some(Member {
            name,
            ty,
            bits: u32::try_from(bits).ok()?,
            width: u32::try_from(width).ok().filter(|w| *w < 128)?,
        })
    }

    fn enumeration(&mut self, id: TypeId, place: Place, (unit, entry): (&Unit<'a>, &Entry<'a>), name: &str) {
        let size = size_of(entry).unwrap_or(4);
        let enumerators = Self::children(unit, place, &[gimli::DW_TAG_enumerator], MOST_MEMBERS);
        let values: Vec<(String, i64)> = enumerators
            .iter()
            .filter_map(|it| {
                let value = it.attr_value(gimli::DW_AT_const_value)?;
                let value = match value {
                    AttributeValue::Udata(value) => value.cast_signed(),
                    value => value.sdata_value()?,
                };
                Some((self.text(unit, it), value))
            })
            .collect();
        let wide = size > 4;
        let signed = values.iter().any(|(_, value)| *value < 0);
        let mut extra = Vec::new();
        for (name, value) in &values {
            extra.extend([self.types.writer.string(name), *value as u32]);
            if wide {
                extra.push((value >> 32) as u32);
            }
        }
        let kind = if wide { Kind::Enum64 } else { Kind::Enum };
        self.write(id, kind, signed, name, values.len(), size, &extra);
    }

    fn array(&mut self, id: TypeId, place: Place, (unit, entry): (&Unit<'a>, &Entry<'a>)) {
        let elem = self.type_of(place.unit, entry);
        let dimensions = Self::children(unit, place, &[gimli::DW_TAG_subrange_type], 16);
        let mut lengths: Vec<u32> = dimensions
            .iter()
            .map(|range| {
                let count = range.attr_value(gimli::DW_AT_count).and_then(|value| value.udata_value());
                let last = || range.attr_value(gimli::DW_AT_upper_bound)?.udata_value()?.checked_add(1);
                u32::try_from(count.or_else(last).unwrap_or(0)).unwrap_or(0)
            })
            .collect();
        let outer = if lengths.is_empty() { 0 } else { lengths.remove(0) };
        // The rows of an array of arrays are arrays themselves.
        let rows = lengths.iter().rev().fold(elem, |of, &len| self.types.writer.array(of, VOID, len));
        self.write(id, Kind::Array, false, "", 0, 0, &[rows.0, 0, outer]);
    }
}

fn size_of(entry: &Entry<'_>) -> Option<u32> {
    u32::try_from(entry.attr_value(gimli::DW_AT_byte_size)?.udata_value()?).ok()
}

/// Where a member lies: a number, or an expression that adds one.
fn offset(value: AttributeValue<Slice<'_>>) -> Option<u64> {
    if let AttributeValue::Exprloc(expression) = value {
        let (code, number) = expression.0.slice().split_first()?;
        let mut number = gimli::EndianSlice::new(number, gimli::LittleEndian);
        return if *code == gimli::DW_OP_plus_uconst.0 { gimli::Reader::read_uleb128(&mut number).ok() } else { None };
    }
    value.udata_value()
}
