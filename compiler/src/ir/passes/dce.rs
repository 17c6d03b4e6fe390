//! Dead code: operations and block parameters that nothing with an effect depends on, and blocks that nothing reaches.

use crate::index::{Id, IndexVec};
use crate::ir::helpers::Effect;
use crate::ir::{Block, Function, Op, Terminator, Value, cfg};

/// Runs the pass; returns whether anything changed.
pub fn dce(func: &mut Function) -> bool {
    let order = cfg::reverse_post_order(func);
    let mut live = Live { set: vec![false; func.values.len()].into(), work: Vec::with_capacity(func.values.len() / 2) };
    // A parameter's value comes from the arguments at its position.
    let mut params: IndexVec<Value, Option<(Block, usize)>> = vec![None; func.values.len()].into();
    let mut defs: IndexVec<Value, Option<(Block, usize)>> = vec![None; func.values.len()].into();
    for &block in &order {
        let data = &func.blocks[block];
        for (i, &p) in data.params.iter().enumerate() {
            params[p] = Some((block, i));
        }
        for (i, inst) in data.insts.iter().enumerate() {
            if let Some(v) = inst.result {
                defs[v] = Some((block, i));
            }
            if !is_removable(&inst.op) {
                inst.op.for_each_use(|v| live.mark(v));
            }
        }
        match &data.term {
            Some(Terminator::Branch { lhs, rhs, .. }) => {
                live.mark(*lhs);
                live.mark(*rhs);
            }
            Some(Terminator::Return(v)) => live.mark(*v),
            _ => {}
        }
    }
    let preds = cfg::predecessors(func, &order);
    while let Some(v) = live.work.pop() {
        if let Some((block, at)) = defs[v] {
            if let Some(inst) = func.blocks[block].insts.get(at)
                && is_removable(&inst.op)
            {
                inst.op.for_each_use(|v| live.mark(v));
            }
        } else if let Some((block, at)) = params[v] {
            for &pred in &preds[block] {
                if let Some(term) = &func.blocks[pred].term {
                    term.for_each_target(|t| {
                        if t.block == block
                            && let Some(&arg) = t.args.get(at)
                        {
                            live.mark(arg);
                        }
                    });
                }
            }
        }
    }
    sweep(func, &order, &live.set)
}

struct Live {
    set: IndexVec<Value, bool>,
    work: Vec<Value>,
}

impl Live {
    fn mark(&mut self, v: Value) {
        if let Some(flag) = self.set.get_mut(v)
            && !std::mem::replace(flag, true)
        {
            self.work.push(v);
        }
    }
}

/// Without an effect besides the result.
fn is_removable(op: &Op) -> bool {
    match op {
        Op::Load { .. } => true,
        Op::Call(helper, _) => helper.effect() != Effect::Memory,
        op => op.is_pure(),
    }
}

fn sweep(func: &mut Function, order: &[Block], live: &IndexVec<Value, bool>) -> bool {
    let mut changed = false;
    // The entry's parameters are the function's signature.
    let mut keep: IndexVec<Block, Option<Vec<bool>>> = vec![None; func.blocks.len()].into();
    for &block in order {
        let data = &mut func.blocks[block];
        let before = data.insts.len();
        data.insts.retain(|i| !is_removable(&i.op) || i.result.is_some_and(|v| live[v]));
        changed |= data.insts.len() != before;
        if block.index() != 0 && data.params.iter().any(|&p| !live[p]) {
            keep[block] = Some(data.params.iter().map(|&p| live[p]).collect());
            data.params.retain(|&p| live[p]);
            changed = true;
        }
        // A call whose result nobody reads.
        for inst in &mut data.insts {
            if inst.result.is_some_and(|v| !live[v]) && matches!(inst.op, Op::Call(..) | Op::CallSub(..)) {
                inst.result = None;
                changed = true;
            }
        }
    }
    for &block in order {
        if let Some(term) = &mut func.blocks[block].term {
            term.for_each_target_mut(|t| {
                if let Some(Some(keep)) = keep.get(t.block) {
                    let mut flags = keep.iter();
                    t.args.retain(|_| flags.next() != Some(&false));
                }
            });
        }
    }
    drop_unreached(func, order) || changed
}

/// Drops the blocks that are not in `order`; the others keep their sequence.
pub(super) fn drop_unreached(func: &mut Function, order: &[Block]) -> bool {
    if order.len() == func.blocks.len() {
        return false;
    }
    let mut reached: IndexVec<Block, bool> = vec![false; func.blocks.len()].into();
    for &b in order {
        reached[b] = true;
    }
    let mut names: IndexVec<Block, Option<Block>> = vec![None; func.blocks.len()].into();
    let mut kept: IndexVec<Block, _> = Vec::with_capacity(order.len()).into();
    for (i, data) in std::mem::take(&mut func.blocks).into_vec().into_iter().enumerate() {
        let id = Block::new(i);
        if reached[id] {
            names[id] = Some(kept.push(data));
        }
    }
    for data in &mut kept {
        if let Some(term) = &mut data.term {
            term.for_each_target_mut(|t| {
                if let Some(Some(name)) = names.get(t.block) {
                    t.block = *name;
                }
            });
        }
    }
    func.blocks = kept;
    true
}
