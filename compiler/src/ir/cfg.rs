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
    let mut stack = vec![(entry, targets(func, entry))];
    while let Some((block, [then, otherwise])) = stack.last_mut() {
        if let Some(next) = otherwise.take().or_else(|| then.take()) {
            if seen.get(next) == Some(&false) {
                seen[next] = true;
                stack.push((next, targets(func, next)));
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
    targets(func, block).into_iter().flatten()
}

fn targets(func: &Function, block: Block) -> [Option<Block>; 2] {
    match func.blocks.get(block).and_then(|b| b.term.as_ref()) {
        Some(Terminator::Jump(t)) => [Some(t.block), None],
        Some(Terminator::Branch { then, otherwise, .. }) => [Some(then.block), Some(otherwise.block)],
        Some(Terminator::Return(_)) | None => [None, None],
    }
}

/// Who goes to each block.
#[derive(Debug)]
pub struct Predecessors {
    /// Where the list of each block ends in `blocks`; it begins where the one before ends.
    ends: IndexVec<Block, u32>,
    blocks: Vec<Block>,
}

impl std::ops::Index<Block> for Predecessors {
    type Output = [Block];

    /// One entry per edge, in the order of the blocks they come from.
    fn index(&self, block: Block) -> &[Block] {
        let end = self.ends[block] as usize;
        let start = block.index().checked_sub(1).map_or(0, |before| self.ends[Block::new(before)] as usize);
        self.blocks.get(start..end).unwrap_or_default()
    }
}

/// Who goes to a block, from the blocks in `order` only.
pub fn predecessors(func: &Function, order: &[Block]) -> Predecessors {
    let edges = || order.iter().flat_map(|&from| successors(func, from).map(move |to| (from, to)));
    let mut ends: IndexVec<Block, u32> = vec![0; func.blocks.len()].into();
    for (_, to) in edges() {
        ends[to] += 1;
    }
    // From counts to places: each list is filled from its start, which then has become its end.
    let mut total = 0;
    for count in &mut ends {
        total += std::mem::replace(count, total);
    }
    let mut blocks = vec![Block::new(0); total as usize];
    for (from, to) in edges() {
        let place = &mut ends[to];
        if let Some(slot) = blocks.get_mut(*place as usize) {
            *slot = from;
        }
        *place += 1;
    }
    Predecessors { ends, blocks }
}
