//! Which bytes of a slot are still needed: read later, before they are written again.

use super::slot_access::{Access, Range};
use crate::index::IndexVec;
use crate::ir::{Block, Function, Slot};

/// Larger slots are left alone: their bytes are counted in fixed sets.
const MAX_SIZE: u32 = 512;

/// A set of bytes of a slot.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bytes([u64; 8]);

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
    fn follow(&mut self, access: &Access) {
        if let Some(r) = access.effect.written {
            self.remove(r);
        }
        if let Some(r) = access.effect.read {
            self.add(r);
        }
    }
    fn union(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a |= b);
    }
    fn has(&self, byte: u32) -> bool {
        self.0.get(byte as usize / 64).is_some_and(|w| w & (1 << (byte % 64)) != 0)
    }
    pub fn any(&self, range: Range) -> bool {
        (range.start..range.end).any(|b| self.has(b))
    }
}

/// What is needed of one slot, and its accesses.
pub(super) struct Needed {
    accesses: IndexVec<Block, Vec<Access>>,
    /// At the beginning of each block.
    at_start: IndexVec<Block, Bytes>,
}

impl Needed {
    /// From all accesses of a slot; `None` if it is too large.
    pub fn new(func: &Function, order: &[Block], slot: Slot, list: &[Access]) -> Option<Self> {
        if func.slots[slot].size > MAX_SIZE {
            return None;
        }
        let mut accesses: IndexVec<Block, Vec<Access>> = vec![Vec::new(); func.blocks.len()].into();
        for a in list {
            accesses[a.block].push(*a);
        }
        let mut this = Self { accesses, at_start: vec![Bytes::default(); func.blocks.len()].into() };
        let mut changed = true;
        while changed {
            changed = false;
            for &block in order.iter().rev() {
                let mut needed = this.at_end(func, block);
                this.accesses[block].iter().rev().for_each(|a| needed.follow(a));
                if needed != this.at_start[block] {
                    this.at_start[block] = needed;
                    changed = true;
                }
            }
        }
        Some(this)
    }

    fn at_end(&self, func: &Function, block: Block) -> Bytes {
        let mut needed = Bytes::default();
        if let Some(term) = &func.blocks[block].term {
            term.for_each_target(|t| needed.union(&self.at_start[t.block]));
        }
        needed
    }

    /// Visits the accesses of each block from its end, with what is needed before and after each.
    pub fn backwards(&self, func: &Function, order: &[Block], mut visit: impl FnMut(&Access, &Bytes, &Bytes)) {
        for &block in order {
            let mut after = self.at_end(func, block);
            for a in self.accesses[block].iter().rev() {
                let mut before = after;
                before.follow(a);
                visit(a, &before, &after);
                after = before;
            }
        }
    }
}
