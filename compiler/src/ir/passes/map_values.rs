//! Makes every [`Op::MapValue`] something that loaders and kernel accept.
//!
//! A plain array of one whose handle nobody needs becomes a data section of the object, and is renamed like the section: its
//! address is then part of the instruction. For the rest (per-CPU arrays above all) the address is looked up, with the
//! null check that the verifier wants; a lookup of key 0 in an array of one cannot fail.

use crate::diagnostic::Diagnostic;
use crate::index::IndexVec;
use crate::ir::{Block, Cond, Function, Inst, MapKind, Module, Op, Slot, Target, Terminator, Value, Width, helpers};
use crate::program::MapId;

/// Prefix of the sections, and so of the maps, whose values are addressed directly.
pub const DATA_PREFIX: &str = ".data.";

/// Runs the pass.
pub fn map_values(module: &mut Module) -> Result<(), Diagnostic> {
    let mut addressed: IndexVec<MapId, bool> = vec![false; module.maps.len()].into();
    let mut handled = addressed.clone();
    for inst in module.functions.iter().flat_map(|f| &f.blocks).flat_map(|b| &b.insts) {
        match inst.op {
            Op::MapValue(m, _) => addressed[m] = true,
            Op::Map(m) => handled[m] = true,
            _ => {}
        }
    }
    let mut direct = addressed.clone();
    for (id, map) in module.maps.enumerate() {
        if addressed[id] && map.max_entries != 1 {
            return Err(Diagnostic::internal(format!("the value of `{}` has no fixed address", map.symbol), None));
        }
        direct[id] = addressed[id] && !handled[id] && map.kind == MapKind::Array;
    }
    for id in module.maps.ids() {
        let map = &mut module.maps[id];
        if direct[id] && !map.symbol.starts_with(DATA_PREFIX) {
            map.symbol.insert_str(0, DATA_PREFIX);
        }
    }
    for func in &mut module.functions {
        look_up(func, &direct);
    }
    Ok(())
}

/// Replaces the addresses that must be looked up.
fn look_up(func: &mut Function, direct: &IndexVec<MapId, bool>) {
    let mut shared: Option<(Slot, Block)> = None;
    let mut work: Vec<Block> = func.blocks.ids().collect();
    while let Some(block) = work.pop() {
        let found = func.blocks[block].insts.iter().enumerate().find_map(|(at, inst)| match inst {
            Inst { op: Op::MapValue(m, offset), result: Some(result), span } if !direct[*m] => {
                Some((at, *m, *offset, *result, *span))
            }
            _ => None,
        });
        let Some((at, map, offset, result, span)) = found else { continue };
        let (key, fail) = *shared.get_or_insert_with(|| {
            let key = func.new_slot(4, 4);
            let fail = func.new_block();
            let zero = func.append(fail, Op::Const(0), func.span);
            func.end(fail, Terminator::Return(zero), func.span);
            (key, fail)
        });
        let rest = func.split(block, at + 1);
        func.blocks[block].insts.pop();
        let zero = func.append(block, Op::Const(0), span);
        let pointer: Value = lookup(func, block, map, key, zero, span);
        let found = Terminator::Branch {
            cond: Cond::Eq,
            lhs: pointer,
            rhs: zero,
            then: Target::plain(fail),
            otherwise: Target::plain(rest),
        };
        func.end(block, found, span);
        let offset_value = func.new_value();
        let head = [
            Inst { result: Some(offset_value), op: Op::Const(i64::from(offset)), span },
            Inst { result: Some(result), op: Op::Bin(crate::ir::BinOp::Add, pointer, offset_value), span },
        ];
        func.blocks[rest].insts.splice(0..0, head);
        work.push(rest);
    }
}

/// `map_lookup_elem(map, &key)` with a 32-bit key.
pub(super) fn lookup(
    func: &mut Function,
    block: Block,
    map: MapId,
    slot: Slot,
    key: Value,
    span: tapline_grammar::span::Span,
) -> Value {
    let addr = func.append(block, Op::SlotAddr(slot), span);
    func.append_effect(block, Op::Store { width: Width::W4, addr, offset: 0, value: key }, span);
    let map = func.append(block, Op::Map(map), span);
    func.append(block, Op::Call(helpers::MAP_LOOKUP_ELEM, vec![map, addr]), span)
}
