//! The CPUs' copies of a value folded into one.

use tapline_compiler::program::{Aggregate, SERIES_SLOT, SeriesFold, ValueType};

use crate::events::decode::read_uint;

/// Folds `copies`, each of `stride` bytes of which `size` count, into one value of `size` bytes.
pub fn reduce(ty: &ValueType, copies: &[u8], stride: usize, size: usize) -> Vec<u8> {
    let mut parts = copies.chunks(stride.max(1)).map(|c| c.get(..size).unwrap_or(c));
    let mut result = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        match ty {
            ValueType::Aggregate(Aggregate::Min { signed }) => keep(&mut result, part, *signed, false),
            ValueType::Aggregate(Aggregate::Max { signed }) => keep(&mut result, part, *signed, true),
            ValueType::Aggregate(Aggregate::Series { fold, signed, .. }) => {
                add_series(&mut result, part, *fold, *signed);
            }
            ValueType::Aggregate(_) => add_words(&mut result, part),
            ValueType::Int { size, .. } => {
                let size = usize::from(*size);
                let sum = read_uint(&result, 0, size).wrapping_add(read_uint(part, 0, size));
                write_uint(&mut result, 0, size, sum);
            }
            // Any other value is as the last writer left it; without an order between CPUs, the first that is set.
            _ => {
                if result.iter().all(|&b| b == 0) {
                    part.clone_into(&mut result);
                }
            }
        }
    }
    result
}

fn write_uint(data: &mut [u8], offset: usize, size: usize, value: u64) {
    if let Some(to) = data.get_mut(offset..) {
        for (to, b) in to.iter_mut().zip(value.to_le_bytes().into_iter().take(size)) {
            *to = b;
        }
    }
}

fn add_words(result: &mut [u8], part: &[u8]) {
    for offset in (0..result.len() / 8 * 8).step_by(8) {
        add_word(result, part, offset);
    }
}

fn add_word(result: &mut [u8], part: &[u8], offset: usize) {
    let sum = read_uint(result, offset, 8).wrapping_add(read_uint(part, offset, 8));
    write_uint(result, offset, 8, sum);
}

/// Of every slot the newest interval, folded where several CPUs have it.
fn add_series(result: &mut [u8], part: &[u8], fold: SeriesFold, signed: bool) {
    let slot = SERIES_SLOT as usize;
    // Behind the slots of a scalar map stands the word that says that it is set.
    let end = result.len() / slot * slot;
    for offset in (end..result.len() / 8 * 8).step_by(8) {
        add_word(result, part, offset);
    }
    for (mine, theirs) in result.chunks_exact_mut(slot).zip(part.chunks_exact(slot)) {
        let word = |data: &[u8], index: usize| read_uint(data, 8 * index, 8);
        let newer = word(theirs, 0).cmp(&word(mine, 0));
        let (old, new) = (word(mine, 1), word(theirs, 1));
        let order = if signed { (new as i64).cmp(&(old as i64)) } else { new.cmp(&old) };
        let take = newer.is_gt()
            || newer.is_eq()
                && match fold {
                    SeriesFold::Last => word(theirs, 2) > word(mine, 2),
                    SeriesFold::Min => order.is_lt(),
                    SeriesFold::Max => order.is_gt(),
                    SeriesFold::Sum | SeriesFold::Avg => {
                        add_word(mine, theirs, 8);
                        if fold == SeriesFold::Avg {
                            add_word(mine, theirs, 16);
                        }
                        false
                    }
                };
        if take {
            mine.copy_from_slice(theirs);
        }
    }
}

/// Keeps the smaller or larger of two values; a copy whose flag is not set has none.
fn keep(result: &mut [u8], part: &[u8], signed: bool, larger: bool) {
    let is_set = |data: &[u8]| read_uint(data, 8, 8) != 0;
    // Behind a scalar map's value stands the word that says that the script has assigned it.
    if result.len() >= 24 {
        add_word(result, part, 16);
    }
    if !is_set(part) {
        return;
    }
    let (old, new) = (read_uint(result, 0, 8), read_uint(part, 0, 8));
    let order = if signed { (new as i64).cmp(&(old as i64)) } else { new.cmp(&old) };
    if !is_set(result) || (if larger { order.is_gt() } else { order.is_lt() }) {
        for (to, from) in result.iter_mut().zip(part).take(16) {
            *to = *from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(values: &[i64]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    #[test]
    fn folds() {
        let of = |a| ValueType::Aggregate(a);
        assert_eq!(reduce(&of(Aggregate::Count), &words(&[3, 4]), 8, 8), words(&[7]));
        assert_eq!(reduce(&of(Aggregate::Avg { signed: true }), &words(&[2, -10, 1, 4]), 16, 16), words(&[3, -6]));
        let minimum = of(Aggregate::Min { signed: true });
        assert_eq!(reduce(&minimum, &words(&[0, 0, 5, 1, -7, 1]), 16, 16), words(&[-7, 1]));
        let maximum = of(Aggregate::Max { signed: false });
        assert_eq!(reduce(&maximum, &words(&[5, 1, -7, 1]), 16, 16), words(&[-7, 1]));
        let signed_maximum = of(Aggregate::Max { signed: true });
        assert_eq!(reduce(&signed_maximum, &words(&[0, 0, -7, 1]), 16, 16), words(&[-7, 1]));
        let int = ValueType::Int { size: 4, signed: false };
        assert_eq!(reduce(&int, &words(&[1, 2]), 8, 4), [3, 0, 0, 0]);
        assert_eq!(reduce(&ValueType::Bool, &words(&[0, 1]), 8, 1), [1]);
        // Two slots and the word behind them, from two CPUs: the newer interval, or both folded.
        let series = |fold, signed| of(Aggregate::Series { interval_ns: 1, slots: 2, fold, signed });
        let copies = words(&[8, -5, 3, 9, 4, 1, 0, 8, 6, 2, 7, 7, 7, 1]);
        let fold = |kind, signed| reduce(&series(kind, signed), &copies, 56, 56);
        assert_eq!(fold(SeriesFold::Last, true), words(&[8, -5, 3, 9, 4, 1, 1]));
        assert_eq!(fold(SeriesFold::Max, true), words(&[8, 6, 2, 9, 4, 1, 1]));
        assert_eq!(fold(SeriesFold::Min, false), words(&[8, 6, 2, 9, 4, 1, 1]));
        assert_eq!(fold(SeriesFold::Sum, true), words(&[8, 1, 3, 9, 4, 1, 1]));
        assert_eq!(fold(SeriesFold::Avg, true), words(&[8, 1, 5, 9, 4, 1, 1]));
        assert!(reduce(&ValueType::Bool, &[], 8, 1).is_empty());
    }
}
