//! The 512-byte stack of a function: local memory from the top down, spill slots below.

use crate::index::IndexVec;
use crate::ir::slot_life::{Packer, SlotLives};
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
    /// Lays out the slots that the function still uses; those that never live at the same time share their place.
    pub fn new(func: &Function) -> Self {
        let mut used: IndexVec<Slot, bool> = vec![false; func.slots.len()].into();
        for inst in func.blocks.iter().flat_map(|b| &b.insts) {
            if let Op::SlotAddr(s) = inst.op {
                used[s] = true;
            }
        }
        let mut order: Vec<Slot> = func.slots.ids().filter(|&s| used[s]).collect();
        order.sort_by_key(|&s| std::cmp::Reverse((func.slots[s].align, func.slots[s].size)));
        let lives = SlotLives::new(func);
        let mut packer = Packer::new(func, &lives, 0);
        let mut frame = Self { slots: vec![None; func.slots.len()].into(), size: 0 };
        let mut ends = Vec::new();
        for &s in &order {
            let at = packer.find(s);
            packer.place(s, at);
            ends.push((s, at));
        }
        // The stack grows down from the frame pointer, which is aligned: places are counted from the bottom up.
        frame.size = packer.end.next_multiple_of(8);
        for (s, at) in ends {
            frame.slots[s] = Some(at as i32 - frame.size as i32);
        }
        frame
    }

    /// Takes more stack.
    pub fn alloc(&mut self, size: u32, align: u32) -> i32 {
        self.size = self.size.saturating_add(size).next_multiple_of(align.max(1));
        -(self.size as i32)
    }
}
