//! Local memory in whole words, for the verifier's sake.
//!
//! It notes what the stack holds byte by byte, but forgets what a word held only when all of the word is written. A key of one
//! byte that is sometimes zero and sometimes not would make two states of all code behind it that writes the word again, four
//! with another key in the same word: so slots share no words, and what begins a new content writes the whole word.

use super::slot_access::{MapSizes, Range, Values, accesses};
use super::slot_bytes::Needed;
use crate::index::Table;
use crate::ir::{Block, Function, Inst, Op, Width, cfg};

/// Bytes of a word of the stack.
const WORD: u32 = 8;

/// What becomes of an instruction that begins the content of a word.
enum Edit {
    /// The store, of the whole word; a constant is extended by its sign, so that it stays short.
    Widen(Option<i64>),
    /// The word is zeroed first.
    ZeroFirst,
    /// A zeroing of these bytes.
    Zero(Range),
}

/// Runs the pass; returns whether anything changed.
pub(super) fn cells(func: &mut Function, maps: &MapSizes) -> bool {
    let values = Values::new(func);
    let found = accesses(func, &values, maps);
    let order = cfg::reverse_post_order(func);
    let mut edits: Table<(Block, usize), Edit> = Table::default();
    let mut changed = false;
    for (slot, list) in found.of.enumerate() {
        let Some(list) = list.as_ref().filter(|list| !list.is_empty()) else { continue };
        let Some(needed) = Needed::new(func, &order, slot, list) else { continue };
        let data = &mut func.slots[slot];
        let (size, align) = (data.size.next_multiple_of(WORD), data.align.max(WORD));
        changed |= (size, align) != (data.size, data.align);
        (data.size, data.align) = (size, align);
        needed.backwards(func, &order, |a, before, _| {
            let Some(written) = a.effect.written else { return };
            let words = Range { start: written.start / WORD * WORD, end: written.end.next_multiple_of(WORD) };
            if words == written || before.any(words) {
                return;
            }
            let edit = match func.blocks[a.block].insts.get(a.inst).map(|i| &i.op) {
                Some(Op::Store { width, value, .. }) if words.start == written.start => {
                    Edit::Widen(values.constant[*value].map(|c| signed(c, *width)))
                }
                Some(Op::Store { .. }) if words.end - words.start == WORD => Edit::ZeroFirst,
                Some(Op::Zero { .. }) => Edit::Zero(words),
                _ => return,
            };
            edits.insert((a.block, a.inst), edit);
        });
    }
    if edits.is_empty() {
        return changed;
    }
    for block in func.blocks.ids().collect::<Vec<_>>() {
        let insts = std::mem::take(&mut func.blocks[block].insts);
        let mut out = Vec::with_capacity(insts.len());
        for (i, inst) in insts.into_iter().enumerate() {
            let base = |addr| found.address[addr].map_or(0, |(_, offset)| offset as i32);
            match (edits.remove(&(block, i)), inst.op.clone()) {
                (Some(Edit::Widen(constant)), Op::Store { addr, offset, value, .. }) => {
                    let value = constant.map_or(value, |c| {
                        let result = func.new_value();
                        out.push(Inst { result: Some(result), op: Op::Const(c), span: inst.span });
                        result
                    });
                    out.push(Inst { op: Op::Store { width: Width::W8, addr, offset, value }, ..inst });
                }
                (Some(Edit::ZeroFirst), Op::Store { addr, offset, .. }) => {
                    let at = base(addr).wrapping_add(offset);
                    let start = at / WORD as i32 * WORD as i32;
                    let op = Op::Zero { addr, offset: start - base(addr), len: WORD, align: WORD };
                    out.push(Inst { op, ..inst.clone() });
                    out.push(inst);
                }
                (Some(Edit::Zero(words)), Op::Zero { addr, .. }) => {
                    let offset = words.start as i32 - base(addr);
                    let op = Op::Zero { addr, offset, len: words.end - words.start, align: WORD };
                    out.push(Inst { op, ..inst });
                }
                _ => out.push(inst),
            }
        }
        func.blocks[block].insts = out;
    }
    true
}

/// The lower bits of a number, as a signed one.
fn signed(c: i64, width: Width) -> i64 {
    let unused = 64 - 8 * width.bytes();
    (c << unused) >> unused
}
