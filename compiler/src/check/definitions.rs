//! The script's own C definitions: structs, unions, enums and typedefs, laid out by the rules of C. They go before the kernel's
//! types of the same name.

use std::collections::HashMap;
use std::rc::Rc;

use tapline_grammar::c_ast::{CEnum, CField, CItemKind, CRecord, CType};
use tapline_grammar::span::Span;

use super::Checker;
use super::flow::holds;
use crate::typed::Bits;
use crate::types::layout::{align_of, align_up, size_of};
use crate::types::{AddrSpace, EnumDef, EnumId, IntType, StructDef, StructField, StructId, Type};

/// Definitions inside definitions, at most.
const MAX_DEPTH: u32 = 16;

/// Floating-point types of C and their sizes.
const FLOATS: &[(&str, u32)] = &[
    ("float", 4),
    ("double", 8),
    ("long double", 16),
    ("_Float128", 16),
    ("__float128", 16),
    ("float _Complex", 8),
    ("double _Complex", 16),
    ("_Complex float", 8),
    ("_Complex double", 16),
    ("long double _Complex", 32),
    ("_Complex long double", 32),
];
const MAX_FLOAT_ALIGN: u32 = 16;

impl Checker<'_> {
    /// All C items in order.
    pub(super) fn define_c_items(&mut self) {
        let script = self.script;
        let mut written: HashMap<(bool, &str), Span> = HashMap::new();
        for item in &script.c_items {
            match &item.kind {
                CItemKind::Record(record) => {
                    // Headers may meet that define the same; one file that does so twice contradicts itself.
                    if let Some(name) = &record.name
                        && let Some(first) = written.insert((record.is_union, &name.node), name.span)
                        && first.file == name.span.file
                    {
                        let keyword = if record.is_union { "union" } else { "struct" };
                        self.error("redefinition", format!("{keyword} {} is defined twice", name.node), name.span)
                            .also(first, "first here");
                    }
                    self.define_record(record, 0);
                }
                CItemKind::Enum(def) => {
                    self.define_enum(def);
                }
                CItemKind::Typedef { name, ty } => {
                    let ty = match ty {
                        // Headers name what only their library defines, for pointers to it.
                        CType::Struct(tag) if self.types.composite(&tag.node, false).is_none() => Type::Void,
                        CType::Union(tag) if self.types.composite(&tag.node, true).is_none() => Type::Void,
                        ty => match self.c_type(ty, 0) {
                            Some(ty) => ty,
                            None => continue,
                        },
                    };
                    if let Type::Struct(id) = ty
                        && let Some(def) = self.types.aggregates.structs.get_mut(id)
                        && def.name.is_empty()
                    {
                        def.name.clone_from(&name.node);
                    }
                    self.types.define_typedef(&name.node, ty);
                }
                _ => {}
            }
        }
    }

    fn define_record(&mut self, record: &CRecord, depth: u32) -> Option<StructId> {
        let keyword = if record.is_union { "union" } else { "struct" };
        let name = record.name.as_ref().map(|name| format!("{keyword} {}", name.node)).unwrap_or_default();
        let empty = StructDef { name: name.clone(), size: 0, align: 1, fields: None, btf_id: None };
        let id = self.types.define_struct(&name, empty);
        let mut layout = Layout { union: record.is_union, packed: record.packed, ..Layout::default() };
        let mut fields = Vec::new();
        for field in &record.fields {
            self.define_field(field, &mut layout, &mut fields, record.span, depth)?;
        }
        let align = record.aligned.unwrap_or(1).clamp(1, 4096).max(layout.align.max(1));
        let size = align_up(layout.bytes(), align);
        if let Some(def) = self.types.aggregates.structs.get_mut(id) {
            *def = StructDef { name, size, align, fields: Some(fields), btf_id: None };
        }
        Some(id)
    }

    fn define_field(
        &mut self,
        field: &CField,
        layout: &mut Layout,
        fields: &mut Vec<StructField>,
        owner: Span,
        depth: u32,
    ) -> Option<()> {
        let ty = self.c_type(&field.ty, depth)?;
        let at = field.name.as_ref().map_or(owner, |name| name.span);
        let size = size_of(&ty, &self.types.aggregates);
        let align = align_of(&ty, &self.types.aggregates);
        if let Some(width) = field.bits {
            let whole = matches!(ty, Type::Int(_) | Type::Enum { .. } | Type::Bool);
            let Some(width) = u8::try_from(width).ok().filter(|w| whole && u32::from(*w) <= size * 8) else {
                self.error("bitfield", "a bitfield is an integer wider than its bits", at);
                return None;
            };
            if let (0, Some(name)) = (width, &field.name) {
                self.error("bitfield", format!("the bitfield `{}` has no bits", name.node), at);
                return None;
            }
            let Some((offset, bits)) = layout.bits(width, size, align) else { return Some(()) };
            if let Some(name) = &field.name {
                fields.push(StructField { name: name.node.clone(), ty, offset, bits: Some(bits) });
            }
            return Some(());
        }
        if let Type::Struct(id) = ty
            && self.types.aggregates.structs.get(id).is_some_and(|s| s.size == 0 && s.fields.is_none())
        {
            let is = self.name(&ty);
            self.error("incomplete-type", format!("{is} is not complete here"), at)
                .help("a struct can hold a pointer to itself, not itself");
            return None;
        }
        let offset = layout.place(size, align);
        match (&field.name, &ty) {
            (Some(name), _) => fields.push(StructField { name: name.node.clone(), ty, offset, bits: None }),
            (None, Type::Struct(id)) => {
                let inner: Vec<StructField> = self.types.fields(*id).unwrap_or_default().to_vec();
                fields.extend(inner.into_iter().map(|f| StructField { offset: f.offset.saturating_add(offset), ..f }));
            }
            (None, _) => {}
        }
        Some(())
    }

    fn define_enum(&mut self, def: &CEnum) -> Option<EnumId> {
        let mut variants: Vec<(String, i64)> = Vec::new();
        let mut next = 0i64;
        for (name, value) in &def.variants {
            if let Some(value) = value {
                let what = ("not-constant", "the value of an enumerator");
                // One beyond the largest signed number is kept by its bits.
                next = self.c_number(value, &variants, what, |n| {
                    i64::try_from(n).ok().or_else(|| u64::try_from(n).ok().map(u64::cast_signed))
                })?;
            }
            variants.push((name.node.clone(), next));
            next = next.wrapping_add(1);
        }
        let int = [IntType::U32, IntType::I32]
            .into_iter()
            .find(|int| variants.iter().all(|(_, n)| holds(*int, i128::from(*n))))
            .unwrap_or(IntType::I64);
        let name = def.name.as_ref().map(|name| format!("enum {}", name.node)).unwrap_or_default();
        Some(self.types.define_enum(EnumDef { name, int, variants }))
    }

    fn c_type(&mut self, ty: &CType, depth: u32) -> Option<Type> {
        if depth > MAX_DEPTH {
            return None;
        }
        let depth = depth + 1;
        match ty {
            CType::Named(name) => {
                let found = self.float(&name.node).or_else(|| self.types.named(&name.node));
                if found.is_none() {
                    self.unknown_type(&name.node, name.span, false);
                }
                found
            }
            CType::Struct(name) | CType::Union(name) => {
                let union = matches!(ty, CType::Union(_));
                let found = self.types.composite(&name.node, union);
                if found.is_none() {
                    let keyword = if union { "union" } else { "struct" };
                    self.unknown_type(&format!("{keyword} {}", name.node), name.span, true);
                }
                found
            }
            CType::Enum(name) => {
                let found = self.types.enumeration(&name.node);
                if found.is_none() {
                    self.unknown_type(&format!("enum {}", name.node), name.span, false);
                }
                found
            }
            CType::Record(record) => self.define_record(record, depth).map(Type::Struct),
            CType::EnumDef(def) => {
                let id = self.define_enum(def)?;
                self.types.enum_type(id)
            }
            CType::Pointer(target) => {
                let target = match &**target {
                    CType::Function => Type::Void,
                    // What a pointer points to may be defined later, or never.
                    CType::Struct(name) => self.types.composite(&name.node, false).unwrap_or(Type::Void),
                    CType::Union(name) => self.types.composite(&name.node, true).unwrap_or(Type::Void),
                    target => self.c_type(target, depth)?,
                };
                Some(Type::Ptr(Rc::new(target), AddrSpace::Kernel))
            }
            CType::Array(elem, len) => {
                let is_char = matches!(&**elem, CType::Named(name) if name.node == "char");
                let elem = self.c_type(elem, depth)?;
                let len = match len {
                    None => 0,
                    Some(len) => {
                        let fits = |n| u32::try_from(n).ok().filter(|n| *n <= 1 << 24);
                        self.c_number(len, &[], ("length", "the length of an array"), fits)?
                    }
                };
                Some(if is_char && len > 0 { Type::Str(len) } else { Type::Array(Rc::new(elem), len) })
            }
            CType::Function => Some(Type::Void),
        }
    }
}

impl Checker<'_> {
    /// A type that no program can compute with: only its place in structs counts.
    fn float(&mut self, name: &str) -> Option<Type> {
        let (_, size) = FLOATS.iter().find(|(own, _)| *own == name)?;
        let opaque = StructDef {
            name: name.to_owned(),
            size: *size,
            align: (*size).min(MAX_FLOAT_ALIGN),
            fields: Some(Vec::new()),
            btf_id: None,
        };
        Some(Type::Struct(self.types.aggregates.structs.push(opaque)))
    }
}

/// Where the next member goes.
#[derive(Default)]
struct Layout {
    union: bool,
    packed: bool,
    /// Bits used so far; of a union, of its largest member.
    bits: u64,
    align: u32,
}

impl Layout {
    fn bytes(&self) -> u32 {
        u32::try_from(self.bits.div_ceil(8)).unwrap_or(u32::MAX)
    }

    fn place(&mut self, size: u32, align: u32) -> u32 {
        let align = if self.packed { 1 } else { align };
        self.align = self.align.max(align);
        if self.union {
            self.bits = self.bits.max(u64::from(size) * 8);
            return 0;
        }
        let offset = align_up(self.bytes(), align);
        self.bits = (u64::from(offset) + u64::from(size)) * 8;
        offset
    }

    /// A bitfield; `None` for one of width zero, which only ends the unit.
    fn bits(&mut self, width: u8, size: u32, align: u32) -> Option<(u32, Bits)> {
        let unit = u64::from(size) * 8;
        if width == 0 {
            self.bits = self.bits.next_multiple_of(unit.max(8));
            return None;
        }
        let mut at = if self.union { 0 } else { self.bits };
        if !self.packed {
            self.align = self.align.max(align);
            // A field does not cross the border of its unit.
            if at / unit != (at + u64::from(width) - 1) / unit {
                at = at.next_multiple_of(unit);
            }
        }
        let end = at + u64::from(width);
        self.bits = self.bits.max(end);
        crate::types::table::place_bits(u32::try_from(at).ok()?, width, size)
    }
}
