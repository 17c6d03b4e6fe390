//! A map ready to be printed: entries decoded, sorted, cut to the largest and divided.
//!
//! The order is ascending by value where values are numbers (of histograms: the totals; of stats and averages: the averages),
//! then by key. The reference leaves the order of equal values to chance; here it is always the same.

use std::cmp::Ordering;

use tapline_compiler::program::{Aggregate, MapDesc, MapRole, PrintStyle, ValueType};

use crate::events::context::Context;
use crate::events::decode::{decode, size_of_type};
use crate::events::value::{Fixed, Histogram, Mean, Value};
use crate::output::histogram;

use super::reduce::reduce;
use super::table::Contents;

/// Which of the JSON kinds a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// Plain values.
    Plain,
    /// Averages and stats.
    Stats,
    /// Histograms.
    Histogram,
    /// Time series.
    Series,
}

/// A printable map.
#[derive(Clone, Debug)]
pub struct MapView<'a> {
    /// Name without `@`.
    pub name: &'a str,
    /// What it holds.
    pub kind: MapKind,
    /// Keys (none for a scalar map) and values in printing order.
    pub entries: Vec<(Option<Value<'a>>, Value<'a>)>,
    /// Divisor of histogram counts; the values of other maps are divided already. Never 0.
    pub div: u64,
    /// Percentiles that are shown with histograms, and their names.
    pub percentiles: &'a [(u32, String)],
}

/// Bytes behind a map, reduced to one copy per value; the view borrows from it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    keys: Vec<u8>,
    key_size: usize,
    values: Vec<u8>,
    value_size: usize,
    set: Vec<bool>,
}

impl Snapshot {
    /// Reduces the contents of a table whose values have `copies` of `value_size` bytes.
    pub fn new(desc: &MapDesc, contents: Contents, key_size: usize, value_size: usize, copies: usize) -> Self {
        let stride = if copies > 1 { value_size.next_multiple_of(8) } else { value_size };
        let total = stride * copies;
        let Some(ty) = &desc.value else { return Self::default() };
        let mut values = Vec::new();
        let mut set = Vec::new();
        for copies in contents.values.chunks_exact(total.max(1)) {
            let value = reduce(ty, copies, stride, value_size);
            set.push(is_set(desc.role, ty, &value));
            values.extend_from_slice(&value);
        }
        Self { keys: contents.keys, key_size, values, value_size, set }
    }

    /// True when a script would say that there is nothing in the map.
    pub fn is_empty(&self) -> bool {
        !self.set.iter().any(|&s| s)
    }

    /// The entries in order: the `top` largest (0: all), divided by `div`.
    pub fn view<'a>(
        &'a self,
        ctx: &'a Context,
        desc: &'a MapDesc,
        (top, div): (u64, u64),
        style: &'a PrintStyle,
    ) -> MapView<'a> {
        let div = match &desc.value {
            // Linear histograms are printed as they are.
            Some(ValueType::Aggregate(Aggregate::LinearHist { .. })) => 1,
            _ => div.max(1),
        };
        let keys = self.keys.chunks_exact(self.key_size.max(1));
        let values = self.values.chunks_exact(self.value_size.max(1));
        let mut entries: Vec<(Option<Value<'a>>, Value<'a>)> = keys
            .zip(values)
            .filter_map(|(key, value)| {
                let key = desc.key.as_ref().map(|ty| decode(ctx, ty, key));
                Some((key, decode(ctx, desc.value.as_ref()?, value)))
            })
            .collect();
        let mut kind = match &desc.value {
            Some(ValueType::Aggregate(Aggregate::Avg { .. } | Aggregate::Stats { .. })) => MapKind::Stats,
            Some(ValueType::Aggregate(Aggregate::Hist { .. } | Aggregate::LinearHist { .. })) => MapKind::Histogram,
            Some(ValueType::Aggregate(Aggregate::Series { .. })) => MapKind::Series,
            _ => MapKind::Plain,
        };
        entries.sort_by(if style.by_key { compare_keys } else { compare_entries });
        let surplus = match usize::try_from(top) {
            // Time series have no size that could be compared.
            Ok(top) if top > 0 && kind != MapKind::Series => entries.len().saturating_sub(top),
            _ => 0,
        };
        // By value the largest stay, by key the first that are printed.
        if style.by_key && !style.descending {
            entries.truncate(entries.len() - surplus);
        } else {
            entries.drain(..surplus);
        }
        if style.descending {
            entries.reverse();
        }
        for (_, value) in &mut entries {
            divide(value, div, style.decimals);
            if let (Value::Histogram(histogram), true) = (&*value, style.only) {
                *value = Value::Struct(percentiles(histogram, &style.percentiles).collect());
            }
        }
        if style.only && kind == MapKind::Histogram {
            kind = MapKind::Plain;
        }
        MapView { name: &desc.name, kind, entries, div, percentiles: &style.percentiles }
    }
}

/// Percentiles with their names, as numbers.
pub fn percentiles<'a>(
    histogram: &Histogram,
    wanted: &'a [(u32, String)],
) -> impl Iterator<Item = (&'a str, Value<'static>)> {
    wanted.iter().map(|(thousandths, name)| {
        let n = i64::try_from(histogram::percentile(histogram, *thousandths)).unwrap_or(i64::MAX);
        (name.as_str(), Value::Signed(n, 8))
    })
}

/// A keyed entry exists because it was set; a scalar says so itself: see [`MapRole::Scalar`].
fn is_set(role: MapRole, ty: &ValueType, value: &[u8]) -> bool {
    if role != MapRole::Scalar {
        return true;
    }
    let size = size_of_type(ty).next_multiple_of(8);
    if let Some(flag) = value.get(size..size + 8) {
        return flag.iter().any(|&b| b != 0);
    }
    match ty {
        ValueType::Int { .. } | ValueType::Bool | ValueType::Enum { .. } | ValueType::Pointer => true,
        _ => value.iter().any(|&b| b != 0),
    }
}

fn divide(value: &mut Value<'_>, div: u64, decimals: u8) {
    if decimals > 0 {
        let fixed = |n: i128, unit: u128| Value::Fixed(Fixed { n, unit, decimals });
        let unit = u128::from(div);
        let total = |mean: &Mean| if mean.signed { i128::from(mean.total as i64) } else { i128::from(mean.total) };
        // Means have decimals of their own.
        let average = |mean: &Mean| fixed(total(mean), unit * u128::from(mean.count.max(1)));
        match value {
            Value::Signed(n, _) => *value = fixed(i128::from(*n), unit),
            Value::Unsigned(n, _) => *value = fixed(i128::from(*n), unit),
            Value::Average(mean) => *value = average(mean),
            Value::Stats(mean) => {
                *value = Value::Struct(vec![
                    ("count", Value::Unsigned(mean.count, 8)),
                    ("average", average(mean)),
                    ("total", fixed(total(mean), unit)),
                ]);
            }
            _ => {}
        }
        return;
    }
    match value {
        Value::Signed(n, _) => *n = n.checked_div(div as i64).unwrap_or(0),
        Value::Unsigned(n, _) => *n /= div,
        Value::Average(mean) | Value::Stats(mean) => mean.div = div,
        _ => {}
    }
}

fn compare_keys(a: &(Option<Value<'_>>, Value<'_>), b: &(Option<Value<'_>>, Value<'_>)) -> Ordering {
    match (&a.0, &b.0) {
        (Some(x), Some(y)) => compare(x, y),
        _ => Ordering::Equal,
    }
}

fn compare_entries(a: &(Option<Value<'_>>, Value<'_>), b: &(Option<Value<'_>>, Value<'_>)) -> Ordering {
    let by_value = match (rank(&a.1), rank(&b.1)) {
        (Some(x), Some(y)) => x.cmp(&y),
        _ => Ordering::Equal,
    };
    by_value.then_with(|| compare_keys(a, b))
}

/// The number that a value is sorted by; strings and tuples have none.
fn rank(value: &Value<'_>) -> Option<i128> {
    match value {
        Value::Signed(n, _) | Value::Enum(n, _) => Some(i128::from(*n)),
        Value::Unsigned(n, _) | Value::Pointer(n) => Some(i128::from(*n)),
        Value::Fixed(fixed) => Some(fixed.n),
        Value::Average(mean) | Value::Stats(mean) => rank(&mean.average()),
        Value::Histogram(h) => Some(h.counts.iter().map(|&c| i128::from(c)).sum()),
        _ => None,
    }
}

/// A total order of values of one type: numbers by size, texts by bytes, tuples member by member.
pub fn compare(a: &Value<'_>, b: &Value<'_>) -> Ordering {
    if let (Some(x), Some(y)) = (rank(a), rank(b)) {
        return x.cmp(&y);
    }
    match (a, b) {
        (Value::Str { bytes: x, .. }, Value::Str { bytes: y, .. }) | (Value::Buf(x), Value::Buf(y)) => x.cmp(y),
        (Value::Bool(x), Value::Bool(y)) => x.cmp(y),
        (Value::Text(x), Value::Text(y)) | (Value::Stack(x), Value::Stack(y)) => x.cmp(y),
        (Value::Tuple(x), Value::Tuple(y)) | (Value::Array(x), Value::Array(y)) => compare_all(x.iter(), y.iter()),
        (Value::Struct(x), Value::Struct(y)) => compare_all(x.iter().map(|(_, v)| v), y.iter().map(|(_, v)| v)),
        _ => Ordering::Equal,
    }
}

fn compare_all<'v>(a: impl Iterator<Item = &'v Value<'v>>, b: impl Iterator<Item = &'v Value<'v>>) -> Ordering {
    a.zip(b).map(|(x, y)| compare(x, y)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}
