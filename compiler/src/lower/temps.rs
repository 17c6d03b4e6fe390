//! Memory of intermediate values: it is needed until the end of its statement, and then serves the statements after it. So a
//! long script needs as much memory as its largest statement.

use crate::ir::Slot;
use crate::ir::builder::FunctionBuilder;

/// Slots by use.
#[derive(Default)]
pub(super) struct Temps {
    /// Needed by the statements around the current place, the innermost last.
    live: Vec<Temp>,
    /// Free to be used again.
    free: Vec<Temp>,
}

#[derive(Clone, Copy)]
struct Temp {
    slot: Slot,
    size: u32,
    usage: Use,
}

/// How memory is accessed, which says where it lies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// At constant offsets.
    Constant,
    /// At any offset.
    Indexed,
    /// Handed to a callback: on the stack.
    Pinned,
}

impl Temps {
    /// A slot of at least `size` bytes.
    pub(super) fn take(&mut self, b: &mut FunctionBuilder, size: u32, usage: Use) -> Slot {
        let size = size.max(1).next_multiple_of(if size > 4 { 8 } else { 1 });
        // Small ones lie on the stack, where a larger slot than needed would be a waste; those of any offset lie in scratch memory, where one
        // can grow to serve all.
        let fits = |t: &Temp| t.usage == usage && (usage == Use::Indexed || t.size == size);
        let best = self.free.iter().enumerate().filter(|(_, t)| fits(t)).max_by_key(|(_, t)| t.size.min(size));
        let mut temp = if let Some((at, _)) = best {
            self.free.swap_remove(at)
        } else {
            let slot = match usage {
                Use::Pinned => b.pinned_slot(size),
                _ => b.slot(size, size.clamp(1, 8).next_power_of_two(), usage == Use::Indexed),
            };
            Temp { slot, size, usage }
        };
        if temp.size < size {
            b.grow_slot(temp.slot, size);
            temp.size = size;
        }
        self.live.push(temp);
        temp.slot
    }

    /// The current depth, for [`Self::release`].
    pub(super) fn mark(&self) -> usize {
        self.live.len()
    }

    /// Frees what was taken since the mark.
    pub(super) fn release(&mut self, mark: usize) {
        self.free.extend(self.live.drain(mark.min(self.live.len())..));
    }
}
