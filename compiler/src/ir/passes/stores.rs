//! Dead stores: what is written to local memory and overwritten, or never read, before the function ends is not written.
//! Zeroing shrinks to the bytes that are read before they are written again.

use super::slot_access::{Access, MapSizes, Range, Values, accesses};
use crate::index::{IndexVec, Table};
use crate::ir::{Block, Function, Inst, Op, cfg};

/// Larger slots are left alone: their bytes are counted in fixed sets.
const MAX_SIZE: u32 = 512;
/// Most pieces that a zeroing is cut into.
const MAX_PIECES: usize = 3;

/// A set of bytes of a slot.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Bytes([u64; 8]);

impl Bytes {
    fn each_word(range: Range, mut f: impl FnMut(usize, u64)) {
        for word in range.start / 64..range.end.div_ceil(64) {
            let (low, high) = (range.start.max(word * 64) - word * 64, range.end.min(word * 64 + 64) - word * 64);
            if low < high {
                f(word as usize, (u64::MAX >> (64 - (high - low))) << low);
            }
        }
    }
    fn add(&mut self, range: Range) {
        Self::each_word(range, |i, mask| {
            if let Some(w) = self.0.get_mut(i) {
                *w |= mask;
            }
        });
    }
    fn remove(&mut self, range: Range) {
        Self::each_word(range, |i, mask| {
            if let Some(w) = self.0.get_mut(i) {
                *w &= !mask;
            }
        });
    }
    fn union(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a |= b);
    }
    fn has(&self, byte: u32) -> bool {
        self.0.get(byte as usize / 64).is_some_and(|w| w & (1 << (byte % 64)) != 0)
    }
    fn any(&self, range: Range) -> bool {
        (range.start..range.end).any(|b| self.has(b))
    }
}

/// What becomes of an instruction.
enum Edit {
    Remove,
    /// A zeroing of these bytes of the slot only.
    Zero(Vec<Range>),
}

/// Runs the pass; returns whether anything changed.
pub(super) fn stores(func: &mut Function, maps: &MapSizes) -> bool {
    let values = Values::new(func);
    let found = accesses(func, &values, maps);
    let order = cfg::reverse_post_order(func);
    let mut edits: Table<(Block, usize), Edit> = Table::default();
    for (slot, list) in found.of.enumerate() {
        let Some(list) = list else { continue };
        if func.slots[slot].size > MAX_SIZE || !list.iter().any(|a| a.effect.removable) {
            continue;
        }
        let mut by_block: IndexVec<Block, Vec<Access>> = vec![Vec::new(); func.blocks.len()].into();
        for a in list {
            by_block[a.block].push(*a);
        }
        let live_in = solve(func, &order, &by_block);
        for &block in &order {
            let mut live = live_out(func, block, &live_in);
            for a in by_block[block].iter().rev() {
                if let Some(edit) = judge(func, a, &live) {
                    edits.insert((a.block, a.inst), edit);
                }
                apply(a, &mut live);
            }
        }
    }
    if edits.is_empty() {
        return false;
    }
    for (block, data) in func.blocks.iter_mut().enumerate() {
        let block = crate::index::Id::new(block);
        let insts = std::mem::take(&mut data.insts);
        for (i, inst) in insts.into_iter().enumerate() {
            match (edits.remove(&(block, i)), &inst.op) {
                (None, _) => data.insts.push(inst),
                (Some(Edit::Zero(pieces)), &Op::Zero { addr, offset, align, .. }) => {
                    let base = found.address[addr].map_or(0, |a| a.1 as i32);
                    for piece in pieces {
                        let op = Op::Zero {
                            addr,
                            offset: piece.start as i32 - base,
                            len: piece.end - piece.start,
                            align: alignment(align, (piece.start as i32 - base).wrapping_sub(offset)),
                        };
                        data.insts.push(Inst { op, ..inst.clone() });
                    }
                }
                (Some(_), _) => {}
            }
        }
    }
    true
}

/// Alignment of an address `delta` bytes behind one that is aligned.
fn alignment(align: u32, delta: i32) -> u32 {
    if delta == 0 { align } else { align.min(1 << delta.unsigned_abs().trailing_zeros()) }
}

fn apply(access: &Access, live: &mut Bytes) {
    if let Some(r) = access.effect.written {
        live.remove(r);
    }
    if let Some(r) = access.effect.read {
        live.add(r);
    }
}

fn live_out(func: &Function, block: Block, live_in: &IndexVec<Block, Bytes>) -> Bytes {
    let mut live = Bytes::default();
    if let Some(term) = &func.blocks[block].term {
        term.for_each_target(|t| live.union(&live_in[t.block]));
    }
    live
}

fn solve(func: &Function, order: &[Block], by_block: &IndexVec<Block, Vec<Access>>) -> IndexVec<Block, Bytes> {
    let mut live_in: IndexVec<Block, Bytes> = vec![Bytes::default(); func.blocks.len()].into();
    let mut changed = true;
    while changed {
        changed = false;
        for &block in order.iter().rev() {
            let mut live = live_out(func, block, &live_in);
            by_block[block].iter().rev().for_each(|a| apply(a, &mut live));
            if live != live_in[block] {
                live_in[block] = live;
                changed = true;
            }
        }
    }
    live_in
}

fn judge(func: &Function, access: &Access, live: &Bytes) -> Option<Edit> {
    let written = access.effect.written.filter(|_| access.effect.removable)?;
    if !live.any(written) {
        return Some(Edit::Remove);
    }
    let Some(Inst { op: Op::Zero { align, .. }, .. }) = func.blocks[access.block].insts.get(access.inst) else {
        return None;
    };
    let pieces = pieces(written, (*align).clamp(1, 8), live);
    let kept: u32 = pieces.iter().map(|p| p.end - p.start).sum();
    (kept < written.end - written.start && pieces.len() <= MAX_PIECES).then_some(Edit::Zero(pieces))
}

/// The parts of a range that are live, in units of the alignment.
fn pieces(range: Range, unit: u32, live: &Bytes) -> Vec<Range> {
    let mut out: Vec<Range> = Vec::new();
    let mut start = range.start;
    while start < range.end {
        let end = (start + unit).min(range.end);
        if live.any(Range { start, end }) {
            match out.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => out.push(Range { start, end }),
            }
        }
        start = end;
    }
    out
}
