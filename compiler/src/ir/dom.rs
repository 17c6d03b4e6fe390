//! Dominators, after Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm" (2001).

use super::{Block, Function, cfg};
use crate::index::IndexVec;

/// The dominator tree of the reachable blocks.
#[derive(Debug)]
pub struct Dominators {
    /// Reachable blocks in reverse post-order.
    pub order: Vec<Block>,
    /// Position in `order`.
    position: IndexVec<Block, Option<u32>>,
    /// Immediate dominator; the entry's is itself.
    idom: IndexVec<Block, Option<Block>>,
}

impl Dominators {
    /// Computes the tree.
    pub fn new(func: &Function) -> Self {
        let order = cfg::reverse_post_order(func);
        let mut position: IndexVec<Block, Option<u32>> = vec![None; func.blocks.len()].into();
        for (i, &b) in order.iter().enumerate() {
            position[b] = Some(i as u32);
        }
        let preds = cfg::predecessors(func, &order);
        let mut this = Self { order, position, idom: vec![None; func.blocks.len()].into() };
        let Some(&entry) = this.order.first() else { return this };
        this.idom[entry] = Some(entry);
        let mut changed = true;
        while changed {
            changed = false;
            for i in 1..this.order.len() {
                let Some(&block) = this.order.get(i) else { continue };
                let mut best: Option<Block> = None;
                for &p in preds[block].iter().filter(|&&p| this.idom[p].is_some()) {
                    best = Some(best.map_or(p, |b| this.meet(b, p)));
                }
                if best.is_some() && this.idom[block] != best {
                    this.idom[block] = best;
                    changed = true;
                }
            }
        }
        this
    }

    fn meet(&self, mut a: Block, mut b: Block) -> Block {
        while a != b {
            // The one later in the order cannot dominate the other.
            if self.position[a] > self.position[b] {
                a = self.idom[a].unwrap_or(b);
            } else {
                b = self.idom[b].unwrap_or(a);
            }
        }
        a
    }

    /// Whether the entry reaches the block.
    pub fn is_reachable(&self, block: Block) -> bool {
        self.position.get(block).is_some_and(Option::is_some)
    }

    /// The immediate dominator; `None` for the entry and for unreachable blocks.
    pub fn parent(&self, block: Block) -> Option<Block> {
        self.idom.get(block).copied().flatten().filter(|&p| p != block)
    }

    /// The blocks in an order in which each comes after its dominator, with its depth in the tree.
    pub fn preorder(&self) -> Vec<(Block, usize)> {
        // The children of each block as a list: the last of them, and for each the one before.
        let mut last: IndexVec<Block, Option<Block>> = vec![None; self.idom.len()].into();
        let mut before = last.clone();
        for &b in &self.order {
            if let Some(p) = self.parent(b) {
                before[b] = last[p].replace(b);
            }
        }
        let mut out = Vec::with_capacity(self.order.len());
        let mut stack: Vec<(Block, usize)> = self.order.first().map(|&b| (b, 0)).into_iter().collect();
        while let Some((b, depth)) = stack.pop() {
            out.push((b, depth));
            let mut child = last[b];
            while let Some(c) = child {
                stack.push((c, depth + 1));
                child = before[c];
            }
        }
        out
    }
}

/// Numbers the tree so that dominance is two comparisons.
#[derive(Debug)]
pub struct DominanceTest {
    span: IndexVec<Block, (u32, u32)>,
}

impl DominanceTest {
    /// From the tree.
    pub fn new(dominators: &Dominators) -> Self {
        let preorder = dominators.preorder();
        let mut span: IndexVec<Block, (u32, u32)> = vec![(0, 0); dominators.idom.len()].into();
        let mut open: Vec<Block> = Vec::new();
        for (i, &(block, depth)) in preorder.iter().enumerate() {
            while open.len() > depth {
                if let Some(done) = open.pop() {
                    span[done].1 = i as u32;
                }
            }
            span[block].0 = i as u32;
            open.push(block);
        }
        for done in open {
            span[done].1 = preorder.len() as u32;
        }
        Self { span }
    }

    /// Whether every way to `b` leads through `a`. Both are reachable.
    pub fn dominates(&self, a: Block, b: Block) -> bool {
        let (start, end) = self.span[a];
        (start..end).contains(&self.span[b].0)
    }
}
