//! Dead stores: what is written to local memory and overwritten, or never read, before the function ends is not written.
//! Zeroing shrinks to the bytes that are read before they are written again.

use super::slot_access::{Access, MapSizes, Range, Values, accesses};
use super::slot_bytes::{Bytes, Needed};
use crate::index::Table;
use crate::ir::{Block, Function, Inst, Op, cfg};

/// Most pieces that a zeroing is cut into.
const MAX_PIECES: usize = 3;

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
        if !list.iter().any(|a| a.effect.removable) {
            continue;
        }
        let Some(needed) = Needed::new(func, &order, slot, list) else { continue };
        needed.backwards(func, &order, |a, _, after| {
            if let Some(edit) = judge(func, a, after) {
                edits.insert((a.block, a.inst), edit);
            }
        });
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

/// `live` is what is read later.
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
