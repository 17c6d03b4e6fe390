//! Stack traces: collected into local memory, hashed, and stored once per distinct stack in a side map. The value is the
//! hash, so it can be a key; the reader finds the frames by it.

use super::{FnLower, Mem};
use crate::ir::MapKind;
use crate::ir::{BinOp as Ir, Cond, Value, Width, helpers};
use crate::program::{Counter, MapId, MapRole};

/// Frames kept at most: the kernel's default of `perf_event_max_stack`.
pub(super) const MAX_FRAMES: u32 = 127;
/// Bytes of a side map's value: the count, then the frames.
const VALUE_BYTES: u32 = 8 + MAX_FRAMES * 8;
/// Distinct stacks kept at most.
const MAX_STACKS: u32 = 65536;
/// `BPF_F_USER_STACK`.
const USER_STACK: i64 = 1 << 8;
/// Multiplier of the hash: the 64-bit golden ratio, as in Fibonacci hashing.
const MULTIPLIER: i64 = 0x9E37_79B9_7F4A_7C15_u64 as i64;

/// Which stack is taken, and how.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Walk {
    /// The kernel's.
    Kernel,
    /// The user's, by frame pointers.
    User,
    /// The user's, by the tables of `crate::unwind`.
    UserByTables,
}

impl FnLower<'_, '_> {
    fn stacks_map(&mut self) -> MapId {
        if let Some(map) = self.m.stacks {
            return map;
        }
        let map = self.m.internal_map(
            "stacks",
            MapRole::Stacks,
            MapKind::Hash,
            8,
            VALUE_BYTES,
            MAX_STACKS,
            super::NO_PREALLOC,
        );
        self.m.stacks = Some(map);
        map
    }

    /// Writes the 16 bytes of a stack value.
    pub(super) fn stack_into(&mut self, walk: Walk, limit: u32, dst: Mem) {
        let map = self.stacks_map();
        let base = self.indexed_bytes(VALUE_BYTES).base;
        let frames = self.b.bin_imm(Ir::Add, base, 8);
        let limit = limit.min(MAX_FRAMES);
        let bytes = match walk {
            Walk::Kernel => self.get_stack(frames, limit, 0),
            Walk::User => self.user_stack_by_pointers(frames, limit),
            Walk::UserByTables => self.unwind(frames, limit),
        };

        let id = self.b.variable();
        let zero = self.b.iconst(0);
        self.b.set(id, zero);
        let (some, end) = (self.b.block(), self.b.block());
        self.b.branch_imm(Cond::SGt, bytes, 0, some, end);
        self.b.enter(some);
        let count = self.b.bin_imm(Ir::LShr, bytes, 3);
        self.b.store(Width::W8, base, 0, count);
        let hash = self.hash(base, count, limit);
        self.b.set(id, hash);
        self.remember(map, base, hash);
        self.join(end);

        let id = self.b.get(id);
        self.b.store(Width::W8, dst.base, dst.offset, id);
        let tgid = if walk == Walk::Kernel {
            self.b.iconst(0)
        } else {
            let ids = self.ids();
            self.b.bin_imm(Ir::LShr, ids, 32)
        };
        self.b.store(Width::W8, dst.base, dst.offset.wrapping_add(8), tgid);
    }

    fn get_stack(&mut self, frames: Value, limit: u32, flags: i64) -> Value {
        let size = self.b.iconst(i64::from(limit) * 8);
        let flags = self.b.iconst(flags);
        let ctx = self.ctx;
        self.b.call(helpers::GET_STACK, &[ctx, frames, size, flags])
    }

    /// The user stack as the kernel walks it: by frame pointers.
    pub(super) fn user_stack_by_pointers(&mut self, frames: Value, limit: u32) -> Value {
        self.get_stack(frames, limit, USER_STACK)
    }

    /// `len(stack)`: frames of a stack value.
    pub(super) fn stack_depth(&mut self, stack: Mem) -> Value {
        let map = self.stacks_map();
        let found = self.lookup_at(map, stack);
        let depth = self.b.variable();
        let zero = self.b.iconst(0);
        self.b.set(depth, zero);
        let (hit, end) = (self.b.block(), self.b.block());
        self.b.branch_imm(Cond::Ne, found, 0, hit, end);
        self.b.enter(hit);
        let count = self.b.load(Width::W8, found, 0);
        self.b.set(depth, count);
        self.join(end);
        self.b.get(depth)
    }

    fn lookup_at(&mut self, map: MapId, key: Mem) -> Value {
        let key = self.addr(key);
        self.lookup(map, key)
    }

    /// A hash of the frames that is never zero.
    fn hash(&mut self, base: Value, count: Value, limit: u32) -> Value {
        let (hash, i) = (self.b.variable(), self.b.variable());
        self.b.set(hash, count);
        let zero = self.b.iconst(0);
        self.b.set(i, zero);
        let (head, body, mix, end) = (self.b.block(), self.b.block(), self.b.block(), self.b.block());
        self.b.jump(head);
        self.b.switch_to(head);
        let n = self.b.get(i);
        // Two bounds: the constant one is what the verifier sees.
        self.b.branch_imm(Cond::ULt, n, i64::from(limit), body, end);
        self.b.enter(body);
        self.b.branch(Cond::ULt, n, count, mix, end);
        self.b.enter(mix);
        let bytes = self.b.bin_imm(Ir::Shl, n, 3);
        let at = self.b.bin(Ir::Add, base, bytes);
        let frame = self.b.load(Width::W8, at, 8);
        let h = self.b.get(hash);
        let h = self.b.bin(Ir::Xor, h, frame);
        let multiplier = self.b.iconst(MULTIPLIER);
        let h = self.b.bin(Ir::Mul, h, multiplier);
        let high = self.b.bin_imm(Ir::LShr, h, 32);
        let h = self.b.bin(Ir::Xor, h, high);
        self.b.set(hash, h);
        let n = self.b.bin_imm(Ir::Add, n, 1);
        self.b.set(i, n);
        self.b.jump(head);
        self.b.seal(head);
        self.b.enter(end);
        let h = self.b.get(hash);
        self.b.bin_imm(Ir::Or, h, 1)
    }

    /// Stores the frames under their hash unless they are there.
    fn remember(&mut self, map: MapId, value: Value, hash: Value) {
        let key = self.temp_bytes(8);
        self.b.store(Width::W8, key.base, key.offset, hash);
        let found = self.lookup(map, key.base);
        let (absent, failed, end) = (self.b.block(), self.b.block(), self.b.block());
        self.b.branch_imm(Cond::Eq, found, 0, absent, end);
        self.b.enter(absent);
        let handle = self.b.map(map);
        let any = self.b.iconst(0);
        let result = self.b.call(helpers::MAP_UPDATE_ELEM, &[handle, key.base, value, any]);
        self.b.branch_imm(Cond::Eq, result, 0, end, failed);
        self.b.enter(failed);
        self.count(Counter::StackLost);
        self.join(end);
    }
}
