//! From the compiler's types to the manifest's: names are resolved, offsets are written out, ids disappear.
//!
//! The result is bounded: nesting stops at `MAX_DEPTH`, and a struct whose members were never asked for is shown as
//! the bytes that it occupies.

use super::layout::{size_of, tuple_layout};
use super::{Aggregates, Type};
use crate::program::{Field, ValueType};

/// Structs inside structs are shown to this depth.
const MAX_DEPTH: u32 = 16;

/// The description that the runtime prints values by.
pub fn value_type(ty: &Type, aggregates: &Aggregates) -> ValueType {
    convert(ty, aggregates, 0)
}

fn convert(ty: &Type, aggregates: &Aggregates, depth: u32) -> ValueType {
    match ty {
        Type::Void => ValueType::Tuple { fields: Vec::new(), size: 0 },
        Type::Bool => ValueType::Bool,
        Type::Int(int) => ValueType::Int { size: int.size, signed: int.signed },
        Type::Enum { id, int } => ValueType::Enum {
            size: int.size,
            names: aggregates
                .enums
                .get(*id)
                .map_or_else(Vec::new, |e| e.variants.iter().map(|(name, value)| (*value, name.clone())).collect()),
        },
        Type::Ptr(..) => ValueType::Pointer,
        Type::Struct(id) => {
            let size = size_of(ty, aggregates);
            let fields = aggregates.structs.get(*id).and_then(|s| s.fields.as_ref());
            match fields {
                Some(fields) if depth < MAX_DEPTH => ValueType::Struct {
                    fields: fields
                        .iter()
                        .map(|f| Field {
                            name: f.name.clone(),
                            offset: f.offset,
                            bits: f.bits.map(|b| (b.shift, b.width)),
                            ty: convert(&f.ty, aggregates, depth + 1),
                        })
                        .collect(),
                    size,
                },
                _ => {
                    ValueType::Array { elem: Box::new(ValueType::Int { size: 1, signed: false }), stride: 1, len: size }
                }
            }
        }
        Type::Array(elem, len) => ValueType::Array {
            elem: Box::new(convert(elem, aggregates, depth + 1)),
            stride: size_of(elem, aggregates),
            len: *len,
        },
        Type::Str(capacity) => ValueType::Str { capacity: *capacity },
        Type::Buf(capacity) => ValueType::Buf { capacity: *capacity },
        Type::Strings => ValueType::Strings,
        Type::Tuple(members) => {
            let layout = tuple_layout(members.iter(), aggregates);
            let fields = members.iter().zip(&layout.offsets).map(|(ty, offset)| Field {
                name: String::new(),
                offset: *offset,
                bits: None,
                ty: convert(ty, aggregates, depth + 1),
            });
            ValueType::Tuple { fields: fields.collect(), size: layout.size }
        }
        Type::Record(members) => {
            let layout = tuple_layout(members.iter().map(|(_, ty)| ty), aggregates);
            let fields = members.iter().zip(&layout.offsets).map(|((name, ty), offset)| Field {
                name: name.clone(),
                offset: *offset,
                bits: None,
                ty: convert(ty, aggregates, depth + 1),
            });
            ValueType::Struct { fields: fields.collect(), size: layout.size }
        }
        Type::Stack { user, mode, limit } => ValueType::Stack { user: *user, mode: *mode, limit: *limit },
        Type::KernelSymbol => ValueType::KernelSymbol,
        Type::UserSymbol => ValueType::UserSymbol,
        Type::Inet => ValueType::Inet,
        Type::Mac => ValueType::Mac,
        Type::Timestamp => ValueType::Timestamp { formats: aggregates.formats.clone() },
        Type::Fixed { unit, decimals, signed } => {
            ValueType::Fixed { unit: *unit, decimals: *decimals, signed: *signed }
        }
        Type::Username => ValueType::Username,
        Type::ErrorText => ValueType::ErrorText,
        Type::SignalName => ValueType::SignalName,
        Type::SyscallName => ValueType::SyscallName,
        Type::CgroupPath => ValueType::CgroupPath { filters: aggregates.filters.clone() },
        Type::ProbeName => ValueType::ProbeName,
        Type::Aggregate(aggregate) => ValueType::Aggregate(*aggregate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{IntType, StructDef, StructField};

    #[test]
    fn structs_keep_offsets_and_names() {
        let mut aggregates = Aggregates::default();
        let id = aggregates.structs.push(StructDef {
            name: "struct s".into(),
            size: 8,
            align: 4,
            fields: Some(vec![StructField { name: "b".into(), ty: Type::U32, offset: 4, bits: None }]),
            btf_id: None,
        });
        let ValueType::Tuple { fields, size } =
            value_type(&Type::Tuple([Type::Int(IntType::U8), Type::Struct(id)].into()), &aggregates)
        else {
            panic!("a tuple stays a tuple");
        };
        assert_eq!(size, 12);
        let offsets: Vec<u32> = fields.iter().map(|f| f.offset).collect();
        assert_eq!(offsets, [0, 4]);
        let members = match fields.last().map(|f| &f.ty) {
            Some(ValueType::Struct { fields, size: 8 }) => fields.clone(),
            other => panic!("expected the struct, got {other:?}"),
        };
        assert_eq!(members.first().map(|f| (f.name.as_str(), f.offset)), Some(("b", 4)));
    }
}
