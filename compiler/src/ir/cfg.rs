//! Orders and edges of the control-flow graph.

use super::{Block, Function};
use crate::index::{Id, IndexVec};

/// The blocks that the entry reaches, in reverse post-order. The `then` side of a branch comes right after it where that is
/// possible, which keeps loop bodies together.
pub fn reverse_post_order(func: &Function) -> Vec<Block> {
    let mut seen: IndexVec<Block, bool> = vec![false; func.blocks.len()].into();
    let mut order = Vec::with_capacity(func.blocks.len());
    let entry = Block::new(0);
    if func.blocks.is_empty() {
        return order;
    }
    seen[entry] = true;
    let mut stack: Vec<(Block, Vec<Block>)> = vec![(entry, successors(func, entry))];
    while let Some((block, pending)) = stack.last_mut() {
        if let Some(next) = pending.pop() {
            if seen.get(next) == Some(&false) {
                seen[next] = true;
                let succ = successors(func, next);
                stack.push((next, succ));
            }
        } else {
            order.push(*block);
            stack.pop();
        }
    }
    order.reverse();
    order
}

/// Where a block goes, `then` first.
pub fn successors(func: &Function, block: Block) -> Vec<Block> {
    func.blocks.get(block).and_then(|b| b.term.as_ref()).map_or_else(Vec::new, |term| {
        let mut out = Vec::with_capacity(2);
        term.for_each_target(|t| out.push(t.block));
        out
    })
}

/// Who goes to a block: one entry per edge, from the blocks in `order` only.
pub fn predecessors(func: &Function, order: &[Block]) -> IndexVec<Block, Vec<Block>> {
    let mut preds: IndexVec<Block, Vec<Block>> = vec![Vec::new(); func.blocks.len()].into();
    for &block in order {
        for next in successors(func, block) {
            if let Some(p) = preds.get_mut(next) {
                p.push(block);
            }
        }
    }
    preds
}
