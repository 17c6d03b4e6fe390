//! Size, alignment and member offsets of every type, by the rules of C and of the event record format in
//! [`crate::program`]. Nothing here looks at a script or at BTF: a struct's size was computed when it was imported.

use super::{Aggregates, Type};
use crate::program::{Aggregate, SERIES_SLOT, linear_buckets, log2_buckets};

/// Where the members of a tuple or record lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TupleLayout {
    /// Byte offset of each member.
    pub offsets: Vec<u32>,
    /// Bytes, padding at the end included.
    pub size: u32,
    /// Alignment in bytes, at least 1.
    pub align: u32,
}

/// Rounds up to a multiple of a power of two; saturates.
pub const fn align_up(value: u32, align: u32) -> u32 {
    let mask = if align == 0 { 0 } else { align - 1 };
    match value.checked_add(mask) {
        Some(sum) => sum & !mask,
        None => !mask,
    }
}

/// Bytes that a value occupies in a variable, map or tuple. Zero for `void` and for incomplete structs.
pub fn size_of(ty: &Type, aggregates: &Aggregates) -> u32 {
    match ty {
        Type::Void | Type::Strings => 0,
        Type::Bool => 1,
        Type::Int(int) | Type::Enum { int, .. } => int.size.into(),
        Type::Ptr(..)
        | Type::KernelSymbol
        | Type::Fixed { .. }
        | Type::ErrorText
        | Type::SignalName
        | Type::SyscallName
        | Type::ProbeName => 8,
        Type::Username => 4,
        Type::Struct(id) => aggregates.structs.get(*id).map_or(0, |s| s.size),
        Type::Array(elem, len) => size_of(elem, aggregates).saturating_mul(*len),
        Type::Str(capacity) => *capacity,
        Type::Buf(capacity) => align_up(capacity.saturating_add(4), 4),
        Type::Tuple(members) => tuple_layout(members.iter(), aggregates).size,
        Type::Record(members) => tuple_layout(members.iter().map(|(_, ty)| ty), aggregates).size,
        Type::Stack { .. } | Type::UserSymbol | Type::Timestamp | Type::CgroupPath => 16,
        Type::Inet => 24,
        Type::Mac => 6,
        Type::Aggregate(aggregate) => aggregate_size(*aggregate),
    }
}

/// Alignment in bytes: a power of two, at least 1.
pub fn align_of(ty: &Type, aggregates: &Aggregates) -> u32 {
    match ty {
        Type::Void | Type::Strings | Type::Bool | Type::Str(_) | Type::Mac => 1,
        Type::Int(int) | Type::Enum { int, .. } => u32::from(int.size).max(1),
        Type::Username | Type::Buf(_) => 4,
        Type::Struct(id) => aggregates.structs.get(*id).map_or(1, |s| s.align.max(1)),
        Type::Array(elem, _) => align_of(elem, aggregates),
        Type::Tuple(members) => tuple_layout(members.iter(), aggregates).align,
        Type::Record(members) => tuple_layout(members.iter().map(|(_, ty)| ty), aggregates).align,
        Type::Ptr(..)
        | Type::KernelSymbol
        | Type::UserSymbol
        | Type::Timestamp
        | Type::Fixed { .. }
        | Type::ErrorText
        | Type::SignalName
        | Type::SyscallName
        | Type::CgroupPath
        | Type::ProbeName
        | Type::Stack { .. }
        | Type::Inet
        | Type::Aggregate(_) => 8,
    }
}

/// Lays members out one after the other, each at its alignment.
pub fn tuple_layout<'a>(members: impl Iterator<Item = &'a Type>, aggregates: &Aggregates) -> TupleLayout {
    let mut layout = TupleLayout { align: 1, ..TupleLayout::default() };
    let mut end = 0u32;
    for member in members {
        let align = align_of(member, aggregates);
        let offset = align_up(end, align);
        layout.offsets.push(offset);
        layout.align = layout.align.max(align);
        end = offset.saturating_add(size_of(member, aggregates));
    }
    layout.size = align_up(end, layout.align);
    layout
}

/// Bytes of one CPU's copy of an aggregation.
pub fn aggregate_size(aggregate: Aggregate) -> u32 {
    match aggregate {
        Aggregate::Count | Aggregate::Sum { .. } => 8,
        Aggregate::Min { .. } | Aggregate::Max { .. } | Aggregate::Avg { .. } | Aggregate::Stats { .. } => 16,
        Aggregate::Series { slots, .. } => slots.saturating_mul(SERIES_SLOT),
        Aggregate::Hist { bits } => log2_buckets(bits).saturating_mul(8),
        Aggregate::LinearHist { min, max, step } => {
            u32::try_from(linear_buckets(min, max, step)).unwrap_or(u32::MAX).saturating_mul(8)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::IntType;

    #[test]
    fn members_are_aligned_and_the_end_is_padded() {
        let aggregates = Aggregates::default();
        let members = [Type::Int(IntType::U8), Type::U64, Type::Str(3), Type::U32];
        let layout = tuple_layout(members.iter(), &aggregates);
        assert_eq!(layout, TupleLayout { offsets: vec![0, 8, 16, 20], size: 24, align: 8 });
        assert_eq!(size_of(&Type::Buf(5), &aggregates), 12);
        assert_eq!(aggregate_size(Aggregate::LinearHist { min: 0, max: 100, step: 10 }), 96);
    }

    #[test]
    fn huge_types_saturate() {
        let aggregates = Aggregates::default();
        let row = Type::Array(Type::U64.into(), u32::MAX);
        assert_eq!(size_of(&Type::Array(row.into(), 8), &aggregates), u32::MAX);
        assert_eq!(align_up(u32::MAX, 8), !7);
    }
}
