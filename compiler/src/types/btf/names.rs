//! Name index: an open-addressing table from a name's hash to entries. It holds no names, the caller compares.

/// Slots hold entry + 1; 0 is free.
pub(super) struct NameIndex {
    slots: Vec<u32>,
    mask: usize,
}

fn hash(name: &[u8]) -> usize {
    // FNV-1a: names are short, and the table is private, so that speed counts more than resistance to collisions.
    let mut h: u64 = 0xcbf2_9ce4_8422_2325;
    for &byte in name {
        h = (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (h ^ (h >> 32)) as usize
}

impl NameIndex {
    /// An index over entries `0..count`, with the name of each; entries without a name are left out.
    pub fn new<'a>(count: usize, name: impl Fn(u32) -> &'a [u8]) -> Self {
        let size = (count * 2).next_power_of_two().max(8);
        let mut index = Self { slots: vec![0; size], mask: size - 1 };
        for entry in 0..count as u32 {
            let name = name(entry);
            if name.is_empty() {
                continue;
            }
            let mut at = hash(name) & index.mask;
            // Ends: at least half of the slots are free.
            while let Some(slot) = index.slots.get_mut(at) {
                if *slot == 0 {
                    *slot = entry + 1;
                    break;
                }
                at = (at + 1) & index.mask;
            }
        }
        index
    }

    /// Entries whose name may be `name`, in the order of insertion.
    pub fn candidates<'a>(&'a self, name: &[u8]) -> impl Iterator<Item = u32> + 'a {
        let mut at = hash(name) & self.mask;
        std::iter::from_fn(move || {
            let slot = *self.slots.get(at)?;
            at = (at + 1) & self.mask;
            slot.checked_sub(1)
        })
    }
}
