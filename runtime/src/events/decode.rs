//! Bytes to values by the layouts of the manifest.

use tapline_compiler::program::{
    Aggregate, Field, Record, SERIES_SLOT, SeriesFold, ValueType, linear_buckets, log2_buckets,
};

use super::context::Context;
use super::value::{Fixed, Histogram, Mean, Scale, Series, Value};
use tapline_compiler::texts::Numbered;

/// Nested types deeper than this are not decoded: a manifest is foreign data too.
const MAX_DEPTH: u32 = 64;

/// The integer of up to 8 bytes at `offset`; bytes beyond the end read as 0.
pub fn read_uint(data: &[u8], offset: usize, size: usize) -> u64 {
    let mut bytes = [0u8; 8];
    if let Some(from) = data.get(offset..) {
        for (to, &b) in bytes.iter_mut().zip(from.iter().take(size)) {
            *to = b;
        }
    }
    u64::from_le_bytes(bytes)
}

fn sign_extend(n: u64, size: u8) -> i64 {
    let shift = 64 - 8 * u32::from(size.clamp(1, 8));
    ((n << shift) as i64) >> shift
}

/// Bytes that a value of this type takes outside a record's tail.
pub fn size_of_type(ty: &ValueType) -> usize {
    match ty {
        ValueType::Int { size, .. } | ValueType::Enum { size, .. } => usize::from(*size),
        ValueType::Bool => 1,
        ValueType::Str { capacity } => *capacity as usize,
        ValueType::Strings => 0,
        ValueType::Buf { capacity } => *capacity as usize + 4,
        ValueType::UserSymbol
        | ValueType::Stack { .. }
        | ValueType::Timestamp { .. }
        | ValueType::CgroupPath { .. } => 16,
        ValueType::Inet => 24,
        ValueType::Mac => 6,
        ValueType::Username => 4,
        ValueType::Array { stride, len, .. } => (*stride as usize).saturating_mul(*len as usize),
        ValueType::Tuple { size, .. } | ValueType::Struct { size, .. } => *size as usize,
        ValueType::Aggregate(aggregate) => size_of_aggregate(*aggregate),
        ValueType::Pointer
        | ValueType::KernelSymbol
        | ValueType::Fixed { .. }
        | ValueType::ErrorText
        | ValueType::SignalName
        | ValueType::SyscallName
        | ValueType::ProbeName => 8,
    }
}

fn size_of_aggregate(aggregate: Aggregate) -> usize {
    match aggregate {
        Aggregate::Count | Aggregate::Sum { .. } => 8,
        Aggregate::Min { .. } | Aggregate::Max { .. } | Aggregate::Avg { .. } | Aggregate::Stats { .. } => 16,
        Aggregate::Series { slots, .. } => (SERIES_SLOT as usize).saturating_mul(slots.min(1 << 16) as usize),
        Aggregate::Hist { bits } => 8 * log2_buckets(bits.min(5)) as usize,
        Aggregate::LinearHist { min, max, step } => {
            8 * usize::try_from(linear_buckets(min, max, step)).unwrap_or(0).min(1 << 16)
        }
    }
}

/// The value of type `ty` at the start of `data`.
pub fn decode<'a>(ctx: &'a Context, ty: &'a ValueType, data: &'a [u8]) -> Value<'a> {
    decode_at(ctx, ty, data, 0)
}

fn decode_at<'a>(ctx: &'a Context, ty: &'a ValueType, data: &'a [u8], depth: u32) -> Value<'a> {
    if depth > MAX_DEPTH {
        return Value::Text(String::new());
    }
    let word = |index: usize| read_uint(data, 8 * index, 8);
    match ty {
        ValueType::Int { size, signed } => int_value(read_uint(data, 0, usize::from(*size)), *size, *signed),
        ValueType::Bool => Value::Bool(read_uint(data, 0, 1) != 0),
        ValueType::Enum { size, names } => enum_value(read_uint(data, 0, usize::from(*size)), *size, names),
        ValueType::Pointer => Value::Pointer(word(0)),
        ValueType::Str { capacity } => string(ctx, data.get(..*capacity as usize).unwrap_or(data), *capacity),
        ValueType::Strings => Value::Strings(data),
        ValueType::Buf { capacity } => {
            let len = (read_uint(data, 0, 4) as usize).min(*capacity as usize);
            let body = data.get(4..).unwrap_or_default();
            Value::Buf(body.get(..len).unwrap_or(body))
        }
        ValueType::KernelSymbol => Value::Text(ctx.kernel_symbol(word(0))),
        ValueType::UserSymbol => Value::Text(ctx.user_symbol(word(1) as u32, word(0))),
        ValueType::Stack { user, mode, limit } => {
            Value::Stack(ctx.stack(word(0), user.then_some(word(1) as u32), *mode, *limit))
        }
        ValueType::Inet => Value::Text(super::text::inet(word(0), data.get(8..).unwrap_or_default())),
        ValueType::Mac => Value::Text(super::text::mac(data.get(..6).unwrap_or(data))),
        ValueType::Timestamp { formats } => Value::Text(
            shown_by(formats, word(1))
                .map_or_else(|| "(?)".to_owned(), |(format, clock)| ctx.timestamp(format, word(0), *clock)),
        ),
        ValueType::Fixed { unit, decimals, signed } => {
            let n = if *signed { i128::from(word(0) as i64) } else { i128::from(word(0)) };
            Value::Fixed(Fixed { n, unit: u128::from(*unit).max(1), decimals: *decimals })
        }
        ValueType::Username => Value::Text(ctx.username(read_uint(data, 0, 4) as u32)),
        ValueType::ErrorText => Value::Text(super::text::of_number(Numbered::Error, word(0))),
        ValueType::SignalName => Value::Text(super::text::of_number(Numbered::Signal, word(0))),
        ValueType::SyscallName => Value::Text(super::text::of_number(Numbered::Syscall, word(0))),
        ValueType::CgroupPath { filters } => {
            Value::Text(shown_by(filters, word(1)).map(|filter| ctx.cgroup_path(word(0), filter)).unwrap_or_default())
        }
        ValueType::ProbeName => Value::Text(ctx.probe_name(word(0)).to_owned()),
        ValueType::Array { elem, stride, len } => {
            let (stride, len) = (*stride as usize, *len as usize);
            // Each element needs a byte of data at least, which bounds the length by what really came.
            let len = if stride == 0 { 0 } else { len.min(data.len().div_ceil(stride)) };
            let element = |i: usize| decode_at(ctx, elem, data.get(i * stride..).unwrap_or_default(), depth + 1);
            Value::Array((0..len).map(element).collect())
        }
        ValueType::Tuple { fields, .. } => {
            Value::Tuple(fields.iter().map(|f| decode_field(ctx, f, data, depth + 1)).collect())
        }
        ValueType::Struct { fields, .. } => {
            Value::Struct(fields.iter().map(|f| (f.name.as_str(), decode_field(ctx, f, data, depth + 1))).collect())
        }
        ValueType::Aggregate(aggregate) => aggregate_value(*aggregate, data, ctx.stats_in_words()),
    }
}

/// The entry that a value names by its number, counted from 1.
fn shown_by<T>(entries: &[T], number: u64) -> Option<&T> {
    entries.get(usize::try_from(number).ok()?.checked_sub(1)?)
}

fn int_value(n: u64, size: u8, signed: bool) -> Value<'static> {
    if signed { Value::Signed(sign_extend(n, size), size) } else { Value::Unsigned(n, size) }
}

fn enum_value(n: u64, size: u8, names: &[(i64, String)]) -> Value<'_> {
    let signed = sign_extend(n, size);
    let found = names.iter().find(|(value, _)| *value == signed || *value as u64 == n);
    let value = found.map_or(n as i64, |(value, _)| *value);
    Value::Enum(value, found.map(|(_, name)| name.as_str()))
}

/// A string ends at its terminator, or with its data.
fn string<'a>(ctx: &'a Context, data: &'a [u8], capacity: u32) -> Value<'a> {
    let bytes = data.split(|&b| b == 0).next().unwrap_or_default();
    Value::Str { bytes, trailer: ctx.trailer(bytes.len(), capacity as usize) }
}

/// A member of a tuple or struct.
fn decode_field<'a>(ctx: &'a Context, field: &'a Field, data: &'a [u8], depth: u32) -> Value<'a> {
    let data = data.get(field.offset as usize..).unwrap_or_default();
    if let Some((offset, width)) = field.bits {
        let (offset, width) = (u32::from(offset).min(63), u32::from(width).clamp(1, 64));
        // A packed field may lie in more bytes than its type has: nine at most.
        let bytes = (offset + width).div_ceil(8) as usize;
        let ninth = if bytes > 8 { read_uint(data, 8, 1) } else { 0 };
        let raw = (u128::from(ninth) << 64 | u128::from(read_uint(data, 0, bytes.min(8)))) >> offset;
        let kept = raw as u64 & (u64::MAX >> (64 - width));
        return match &field.ty {
            ValueType::Int { size, signed: true } => {
                let shift = 64 - width;
                Value::Signed(((kept << shift) as i64) >> shift, *size)
            }
            ValueType::Int { size, signed: false } => Value::Unsigned(kept, *size),
            ValueType::Bool => Value::Bool(kept != 0),
            ValueType::Enum { size, names } => enum_value(kept, *size, names),
            _ => Value::Unsigned(kept, 8),
        };
    }
    decode_at(ctx, &field.ty, data, depth)
}

/// The arguments of an event record, in order, into `out`.
pub fn decode_record<'a>(ctx: &'a Context, record: &'a Record, data: &'a [u8], out: &mut Vec<Value<'a>>) {
    let mut tail = record.fixed_size as usize;
    for field in &record.fields {
        let value = if field.ty.is_tail() {
            let len = read_uint(data, field.offset as usize, 4) as usize;
            let end = tail.saturating_add(len).min(data.len());
            let bytes = data.get(tail.min(end)..end).unwrap_or_default();
            tail = end;
            match &field.ty {
                ValueType::Str { capacity } => string(ctx, bytes, *capacity),
                ValueType::Strings => Value::Strings(bytes),
                _ => Value::Buf(bytes),
            }
        } else {
            decode_field(ctx, field, data.get(..record.fixed_size as usize).unwrap_or(data), 0)
        };
        out.push(value);
    }
}

/// An aggregation, after the CPUs' copies have been reduced to one.
fn aggregate_value(aggregate: Aggregate, data: &[u8], in_words: bool) -> Value<'static> {
    let word = |index: usize| read_uint(data, 8 * index, 8);
    let counts = |len: usize| (0..len).map(word).collect();
    let mean = |count, total, signed| Mean { count, total, signed, div: 1, in_words };
    match aggregate {
        Aggregate::Count => Value::Unsigned(word(0), 8),
        Aggregate::Sum { signed } | Aggregate::Min { signed } | Aggregate::Max { signed } => {
            int_value(word(0), 8, signed)
        }
        Aggregate::Avg { signed } => Value::Average(mean(word(0), word(1), signed)),
        Aggregate::Stats { signed } => Value::Stats(mean(word(0), word(1), signed)),
        Aggregate::Hist { bits } => Value::Histogram(Histogram {
            scale: Scale::Log2 { bits },
            counts: counts(size_of_aggregate(aggregate) / 8),
        }),
        Aggregate::LinearHist { min, step, .. } => Value::Histogram(Histogram {
            scale: Scale::Linear { min, step },
            counts: counts(size_of_aggregate(aggregate) / 8),
        }),
        Aggregate::Series { interval_ns, slots, fold, signed } => {
            let ring = data.chunks_exact(SERIES_SLOT as usize).take(slots as usize);
            let mut points: Vec<(u64, Value<'static>)> = ring
                .filter_map(|slot| {
                    let word = |index: usize| read_uint(slot, 8 * index, 8);
                    let value = match fold {
                        SeriesFold::Avg => mean(word(2), word(1), signed).average(),
                        _ => int_value(word(1), 8, signed),
                    };
                    Some((word(0).checked_sub(1)?, value))
                })
                .collect();
            points.sort_by_key(|(interval, _)| *interval);
            // What is left of older rounds of the ring.
            let newest = points.last().map_or(0, |(interval, _)| *interval);
            points.retain(|(interval, _)| newest - interval < u64::from(slots));
            Value::Series(Series { interval_ns, points })
        }
    }
}
