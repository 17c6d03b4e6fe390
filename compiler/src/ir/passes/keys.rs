//! Map keys: slots that hold the same scalar are one slot, and an entry that was looked up is not looked up again while this
//! program has not changed the map.
//!
//! (Another CPU may delete the entry in between. The memory stays valid until the program ends, and which of the two
//! came first was never for the script to know.)

use super::slot_access::{MapSizes, Values, accesses};
use crate::index::{IndexVec, Table};
use crate::ir::dom::{DominanceTest, Dominators};
use crate::ir::rewrite::Rewrites;
use crate::ir::{Block, Function, Helper, Op, Slot, Value, Width, cfg, helpers};
use crate::program::MapId;

/// Runs the pass; returns whether anything changed.
pub(super) fn keys(func: &mut Function, maps: &MapSizes) -> bool {
    merge_slots(func, maps) | share_lookups(func, maps)
}

/// What a slot holds from its only store on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Content {
    width: Width,
    /// A register, or a constant (which may stand in several registers).
    value: Result<Value, i64>,
}

/// Slots that are written once, completely, with a scalar; with the place of the store.
fn contents(func: &Function, values: &Values, maps: &MapSizes) -> Vec<(Slot, Content, Block, usize)> {
    let found = accesses(func, values, maps);
    let mut out = Vec::new();
    for (slot, list) in found.of.enumerate() {
        let Some(list) = list else { continue };
        let mut writes = list.iter().filter(|a| a.effect.may_write);
        let (Some(write), None) = (writes.next(), writes.next()) else { continue };
        let inst = func.blocks[write.block].insts.get(write.inst);
        let Some(Op::Store { width, value, .. }) = inst.map(|i| &i.op) else { continue };
        if width.bytes() == func.slots[slot].size {
            let value = values.constant[*value].map_or(Ok(*value), Err);
            out.push((slot, Content { width: *width, value }, write.block, write.inst));
        }
    }
    out
}

/// A slot whose content another holds already is replaced by that one; its store then is the same store again, and goes.
fn merge_slots(func: &mut Function, maps: &MapSizes) -> bool {
    let values = Values::new(func);
    let mut known: Table<Content, Vec<(Slot, Block, usize)>> = Table::default();
    let dominators = Dominators::new(func);
    let test = DominanceTest::new(&dominators);
    let mut depth: IndexVec<Block, usize> = vec![0; func.blocks.len()].into();
    for (i, (block, _)) in dominators.preorder().into_iter().enumerate() {
        depth[block] = i;
    }
    let mut list = contents(func, &values, maps);
    list.retain(|c| dominators.is_reachable(c.2));
    list.sort_by_key(|c| (depth[c.2], c.3));
    let mut replaced: IndexVec<Slot, Option<Slot>> = vec![None; func.slots.len()].into();
    let mut dropped: Vec<(Block, usize)> = Vec::new();
    for (slot, content, block, inst) in list {
        let others = known.entry(content).or_default();
        let earlier = others.iter().find(|&&(_, b, i)| if b == block { i < inst } else { test.dominates(b, block) });
        match earlier {
            Some(&(by, ..)) => {
                replaced[slot] = Some(by);
                func.slots[by].align = func.slots[by].align.max(func.slots[slot].align);
                dropped.push((block, inst));
            }
            None => others.push((slot, block, inst)),
        }
    }
    if dropped.is_empty() {
        return false;
    }
    dropped.sort_unstable();
    for (block, inst) in dropped.into_iter().rev() {
        func.blocks[block].insts.remove(inst);
    }
    for inst in func.blocks.iter_mut().flat_map(|b| &mut b.insts) {
        if let Op::SlotAddr(s) = &mut inst.op
            && let Some(by) = replaced[*s]
        {
            *s = by;
        }
    }
    true
}

/// Entries that have been looked up on every way to a place.
type Available = Table<(MapId, Slot), Value>;

fn share_lookups(func: &mut Function, maps: &MapSizes) -> bool {
    let values = Values::new(func);
    let found = accesses(func, &values, maps);
    // Only keys that never change after their store.
    let mut fixed: IndexVec<Slot, bool> = vec![false; func.slots.len()].into();
    for (slot, ..) in contents(func, &values, maps) {
        fixed[slot] = true;
    }
    let order = cfg::reverse_post_order(func);
    let preds = cfg::predecessors(func, &order);
    let mut out: IndexVec<Block, Option<Available>> = vec![None; func.blocks.len()].into();
    let mut changed = true;
    let walk = |state: &mut Available, op: &Op, result: Option<Value>| -> Option<Value> {
        match op {
            Op::Call(helpers::MAP_LOOKUP_ELEM, args) => {
                let &[map, key] = args.as_slice() else { return None };
                let (map, (slot, 0)) = (values.map[map]?, found.address[key]?) else { return None };
                if !fixed[slot] {
                    return None;
                }
                let known = state.get(&(map, slot)).copied();
                if known.is_none() {
                    state.insert((map, slot), result?);
                }
                known
            }
            Op::Call(helper, args) if changes_maps(*helper) => {
                match args.first().and_then(|&m| values.map[m]) {
                    Some(map) if *helper != helpers::FOR_EACH_MAP_ELEM => state.retain(|k, _| k.0 != map),
                    _ => state.clear(),
                }
                None
            }
            Op::CallSub(..) | Op::CallKfunc(..) => {
                state.clear();
                None
            }
            // In a loop the slot's only store may store something else each time.
            Op::Store { addr, .. } => {
                if let Some((slot, _)) = found.address[*addr] {
                    state.retain(|k, _| k.1 != slot);
                }
                None
            }
            _ => None,
        }
    };
    while changed {
        changed = false;
        for &block in &order {
            let mut state = entry_state(&preds[block], &out);
            for inst in &func.blocks[block].insts {
                walk(&mut state, &inst.op, inst.result);
            }
            if out[block].as_ref() != Some(&state) {
                out[block] = Some(state);
                changed = true;
            }
        }
    }
    let mut rewrites = Rewrites::new(func);
    let mut dropped: Vec<(Block, usize)> = Vec::new();
    for &block in &order {
        let mut state = entry_state(&preds[block], &out);
        for (i, inst) in func.blocks[block].insts.iter().enumerate() {
            if let (Some(known), Some(result)) = (walk(&mut state, &inst.op, inst.result), inst.result)
                && known != result
            {
                rewrites.replace(result, known);
                dropped.push((block, i));
            }
        }
    }
    for &(block, i) in dropped.iter().rev() {
        func.blocks[block].insts.remove(i);
    }
    rewrites.apply(func);
    !dropped.is_empty()
}

/// What all predecessors agree on. Those not visited yet have no say; the iteration corrects it.
fn entry_state(preds: &[Block], out: &IndexVec<Block, Option<Available>>) -> Available {
    let mut states = preds.iter().filter_map(|&p| out[p].as_ref());
    let Some(first) = states.next() else { return Available::default() };
    let mut state = first.clone();
    for other in states {
        state.retain(|k, v| other.get(k) == Some(v));
    }
    state
}

/// Whether a helper may add, replace or remove entries of maps.
fn changes_maps(helper: Helper) -> bool {
    matches!(helper, helpers::MAP_UPDATE_ELEM | helpers::MAP_DELETE_ELEM | helpers::FOR_EACH_MAP_ELEM | helpers::LOOP)
}
