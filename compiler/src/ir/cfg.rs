//! Orders and edges of the control-flow graph.

use super::{Block, Function, Terminator};
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
    // `then` is visited last, and so comes first.
    let mut stack = vec![(entry, successors(func, entry).rev())];
    while let Some((block, pending)) = stack.last_mut() {
        if let Some(next) = pending.next() {
            if seen.get(next) == Some(&false) {
                seen[next] = true;
                stack.push((next, successors(func, next).rev()));
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
pub fn successors(func: &Function, block: Block) -> impl DoubleEndedIterator<Item = Block> + use<> {
    let term = func.blocks.get(block).and_then(|b| b.term.as_ref());
    let targets = match term {
        Some(Terminator::Jump(t)) => [Some(t.block), None],
        Some(Terminator::Branch { then, otherwise, .. }) => [Some(then.block), Some(otherwise.block)],
        Some(Terminator::Return(_)) | None => [None, None],
    };
    targets.into_iter().flatten()
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
