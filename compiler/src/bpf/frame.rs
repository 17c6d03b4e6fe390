//! The 512-byte stack of a function: local memory from the top down, spill slots below.

use crate::index::IndexVec;
use crate::ir::{Function, Op, Slot};

/// Bytes of stack that the kernel gives to a program and all functions that it calls.
pub const STACK_SIZE: u32 = 512;

/// Offsets from the frame pointer.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// Offset of each slot; `None` for one that is never used.
    pub slots: IndexVec<Slot, Option<i32>>,
    /// Bytes used so far.
    pub size: u32,
}

impl Frame {
    /// Lays out the slots that the function still uses, largest alignment first so that no padding is lost.
    pub fn new(func: &Function) -> Self {
        let mut used: IndexVec<Slot, bool> = vec![false; func.slots.len()].into();
        for inst in func.blocks.iter().flat_map(|b| &b.insts) {
            if let Op::SlotAddr(s) = inst.op {
                used[s] = true;
            }
        }
        let mut order: Vec<Slot> = func.slots.ids().filter(|&s| used[s]).collect();
        order.sort_by_key(|&s| std::cmp::Reverse(func.slots[s].align));
        let mut frame = Self { slots: vec![None; func.slots.len()].into(), size: 0 };
        for s in order {
            let slot = &func.slots[s];
            frame.slots[s] = Some(frame.alloc(slot.size, slot.align));
        }
        frame
    }

    /// Takes more stack.
    pub fn alloc(&mut self, size: u32, align: u32) -> i32 {
        self.size = self.size.saturating_add(size).next_multiple_of(align.max(1));
        -(self.size as i32)
    }
}
