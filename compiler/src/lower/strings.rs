//! Strings: copied and read by the helpers that stop at the terminator, compared with constants by words.

use super::aggregate::chunk;
use super::scalar::int_of;
use super::{FnLower, Loc, Mem};
use crate::ir::{BinOp as Ir, Block, Cond, Value, Width, helpers};
use crate::typed::{Expr, ExprKind, Op};
use crate::types::{AddrSpace, IntType, Type};

/// Capacity of `comm` in bytes: `TASK_COMM_LEN` of the kernel.
pub(super) const COMM_LEN: u32 = 16;

/// Bytes compared at a time.
const WORD: u32 = 8;
/// The lowest bit of every byte of a word.
const LOW_BITS: i64 = 0x0101_0101_0101_0101;
/// The highest bit of every byte of a word.
const HIGH_BITS: i64 = 0x8080_8080_8080_8080_u64 as i64;

/// What is known of a string just written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Length {
    /// At most so many bytes, and this is what counts as its length; the terminator may come earlier.
    AtMost(u32),
    /// So many bytes, terminator excluded, in a register; bounded by the capacity minus one.
    Register(Value),
}

impl FnLower<'_, '_> {
    /// Writes a string with its terminator into a place of the given capacity.
    pub(super) fn string_into(&mut self, e: &Expr, dst: Mem, capacity: u32) -> Length {
        let before = self.b.set_span(e.span);
        let length = self.string_kind(e, dst, capacity);
        self.b.set_span(before);
        length
    }

    fn string_kind(&mut self, e: &Expr, dst: Mem, capacity: u32) -> Length {
        match &e.kind {
            ExprKind::Str(bytes) => {
                let room = capacity.saturating_sub(1) as usize;
                let bytes: Vec<u8> = bytes.iter().copied().take(room).chain([0]).collect();
                self.store_bytes(dst, &bytes);
                Length::AtMost(bytes.len() as u32 - 1)
            }
            ExprKind::Call(Op::Comm, _) => {
                if capacity < COMM_LEN {
                    let temp = self.temp_bytes(COMM_LEN);
                    self.comm_into(temp);
                    return self.copy_string(Loc::bpf(temp), dst, capacity);
                }
                self.comm_into(dst);
                Length::AtMost(COMM_LEN)
            }
            ExprKind::Call(Op::CommOf { acquire, release, offset }, args) => {
                if capacity < COMM_LEN {
                    let temp = self.temp_bytes(COMM_LEN);
                    self.comm_of_into((*acquire, *release), *offset, args, temp);
                    return self.copy_string(Loc::bpf(temp), dst, capacity);
                }
                self.comm_of_into((*acquire, *release), *offset, args, dst)
            }
            ExprKind::Call(Op::Str, args) => self.read_string(args, dst, capacity),
            ExprKind::Call(Op::TextOf(what), args) => self.text_of(*what, args, dst, capacity),
            ExprKind::Call(Op::Concat, args) => self.concat(args, e, dst, capacity),
            ExprKind::Call(Op::Path, args) => self.path(args, dst, capacity),
            ExprKind::Ternary { cond, then, otherwise } => {
                let length = self.b.variable();
                let (yes, no, end) = (self.b.block(), self.b.block(), self.b.block());
                self.condition(cond, yes, no);
                for (block, branch) in [(yes, then), (no, otherwise)] {
                    self.b.enter(block);
                    let n = match self.string_into(branch, dst, capacity) {
                        Length::Register(n) => n,
                        Length::AtMost(n) => self.b.iconst(i64::from(n)),
                    };
                    self.b.set(length, n);
                    self.b.jump(end);
                }
                self.b.enter(end);
                Length::Register(self.b.get(length))
            }
            ExprKind::Block(block) => {
                self.stmts(&block.stmts);
                match &block.value {
                    Some(value) => self.string_into(value, dst, capacity),
                    None => Length::AtMost(0),
                }
            }
            ExprKind::Cast(from) if matches!(from.ty, Type::Str(_)) => self.string_into(from, dst, capacity),
            ExprKind::MapGet { map, key: Some(key) } => {
                let found = self.map_lookup(*map, Some(key));
                let length = self.b.variable();
                let (hit, miss, end) = (self.b.block(), self.b.block(), self.b.block());
                self.b.branch_imm(Cond::Ne, found, 0, hit, miss);
                self.b.enter(hit);
                let n = self.copy_string(Loc::bpf(Mem { base: found, offset: 0 }), dst, capacity);
                let n = self.length_value(n);
                self.b.set(length, n);
                self.b.jump(end);
                self.b.enter(miss);
                let zero = self.b.iconst(0);
                self.b.store(Width::W1, dst.base, dst.offset, zero);
                self.b.set(length, zero);
                self.b.jump(end);
                self.b.enter(end);
                Length::Register(self.b.get(length))
            }
            _ => {
                let loc = self.place(e);
                self.copy_string(loc, dst, capacity)
            }
        }
    }

    /// One string after the other.
    fn concat(&mut self, args: &[Expr], e: &Expr, dst: Mem, capacity: u32) -> Length {
        let [first, second] = args else { return Length::AtMost(0) };
        if capacity < capacity_of(&e.ty) {
            let whole = self.indexed_bytes(capacity_of(&e.ty));
            self.concat(args, e, whole, capacity_of(&e.ty));
            return self.copy_string(Loc::bpf(whole), dst, capacity);
        }
        self.b.mark_indexed(dst.base);
        let before = self.exact_string(first, dst);
        let base = self.b.bin(Ir::Add, dst.base, before);
        let after = self.exact_string(second, Mem { base, offset: dst.offset });
        Length::Register(self.b.bin(Ir::Add, before, after))
    }

    /// Writes a string of its type's capacity; the length is that up to the terminator.
    fn exact_string(&mut self, e: &Expr, dst: Mem) -> Value {
        let capacity = capacity_of(&e.ty).max(1);
        if literal(e).is_some() {
            let length = self.string_into(e, dst, capacity);
            return self.length_value(length);
        }
        // What is kept in memory has one; the shortcuts for `comm` and its like may say more than there is.
        let own = self.local(e);
        let length = self.copy_string(Loc::bpf(own), dst, capacity);
        self.length_value(length)
    }

    /// `path(struct path)`: the kernel's text, terminator included in its length.
    fn path(&mut self, args: &[Expr], dst: Mem, capacity: u32) -> Length {
        let Some(path) = args.first() else { return Length::AtMost(0) };
        let length = self.b.variable();
        let (found, end) = (self.b.block(), self.b.block());
        let none = self.b.iconst(0);
        self.b.store(Width::W1, dst.base, dst.offset, none);
        self.b.set(length, none);
        let Some(from) = self.object(path, end) else {
            self.no_object("path()", path);
            return Length::AtMost(0);
        };
        let to = self.addr(dst);
        let size = self.b.iconst(i64::from(capacity));
        let got = self.b.call(helpers::D_PATH, &[from, to, size]);
        self.report_helper(helpers::D_PATH, got);
        self.b.branch_imm(Cond::SGt, got, 0, found, end);
        self.b.enter(found);
        // Without the terminator.
        let most = self.clamp(got, capacity);
        let most = self.b.bin_imm(Ir::Add, most, -1);
        self.b.set(length, most);
        self.join(end);
        Length::Register(self.b.get(length))
    }

    pub(super) fn length_value(&mut self, length: Length) -> Value {
        match length {
            Length::Register(n) => n,
            Length::AtMost(n) => self.b.iconst(i64::from(n)),
        }
    }

    /// The name of the thread, padded with zeros: it is compared and hashed as a whole, and the helper leaves what is behind
    /// the name as it was on some kernels (6.1).
    pub(super) fn comm_into(&mut self, dst: Mem) {
        self.zero(dst, COMM_LEN);
        let to = self.addr(dst);
        let size = self.b.iconst(i64::from(COMM_LEN));
        self.b.call(helpers::GET_CURRENT_COMM, &[to, size]);
    }

    /// The name of the task that the kernel finds by its pid, padded with zeros as that of [`Self::comm_into`].
    fn comm_of_into(&mut self, (acquire, release): (u32, u32), offset: u32, args: &[Expr], dst: Mem) -> Length {
        const NONE: &[u8] = b"N/A\0";
        let [pid, missing] = args else { return Length::AtMost(0) };
        self.zero(dst, COMM_LEN);
        let pid = self.scalar(pid);
        let task = self.b.call_kfunc(acquire, &[pid]);
        let (found, none, end) = (self.b.block(), self.b.block(), self.b.block());
        self.b.branch_imm(Cond::Ne, task, 0, found, none);
        self.b.enter(found);
        let (to, from) = (self.addr(dst), self.b.bin_imm(Ir::Add, task, i64::from(offset)));
        let size = self.b.iconst(i64::from(COMM_LEN));
        self.b.call(helpers::PROBE_READ_KERNEL_STR, &[to, size, from]);
        self.b.call_kfunc(release, &[task]);
        self.b.jump(end);
        self.b.enter(none);
        self.store_bytes(dst, NONE);
        self.effect(missing);
        self.join(end);
        Length::AtMost(COMM_LEN)
    }

    /// Stores constant bytes by the widest stores that the place's alignment allows.
    pub(super) fn store_bytes(&mut self, dst: Mem, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let step = chunk((bytes.len() - at) as u32, dst.at(at as u32).align());
            let mut word = [0u8; 8];
            for (to, from) in word.iter_mut().zip(bytes.iter().skip(at).take(step as usize)) {
                *to = *from;
            }
            let value = self.b.iconst(i64::from_le_bytes(word));
            let width = Width::from_bytes(step).unwrap_or(Width::W1);
            let place = dst.at(at as u32);
            self.b.store(width, place.base, place.offset, value);
            at += step as usize;
        }
    }

    /// `str(pointer [, length])`.
    fn read_string(&mut self, args: &[Expr], dst: Mem, capacity: u32) -> Length {
        let Some(pointer) = args.first() else {
            return Length::AtMost(0);
        };
        let source = match &pointer.ty {
            // A string or an array of bytes: its place is the address.
            ty if !ty.is_scalar() => self.place(pointer),
            ty => {
                let space = if let Type::Ptr(_, space) = ty { *space } else { AddrSpace::Kernel };
                let base = match &pointer.kind {
                    ExprKind::Call(Op::DataLoc, field) if let [field] = field.as_slice() => self.record_data(field),
                    _ => self.scalar(pointer),
                };
                Loc { space, mem: Mem { base, offset: 0 } }
            }
        };
        let size = match args.get(1) {
            None => self.b.iconst(i64::from(capacity)),
            Some(Expr { kind: ExprKind::Int(n), .. }) => {
                // Bytes, the terminator among them.
                let wanted = u32::try_from(*n).unwrap_or(u32::MAX);
                self.b.iconst(i64::from(wanted.min(capacity)))
            }
            Some(length) => {
                let wanted = self.scalar(length);
                // Before Linux 6.3 the verifier lets nobody write so many bytes of the stack as are known only while running.
                self.b.mark_indexed(dst.base);
                self.clamp(wanted, capacity)
            }
        };
        self.read_terminated(source, dst, size)
    }

    /// `min(value, limit)`, unsigned, in a shape that the verifier follows.
    pub(super) fn clamp(&mut self, value: Value, limit: u32) -> Value {
        let result = self.b.variable();
        self.b.set(result, value);
        let (cut, end) = (self.b.block(), self.b.block());
        self.b.branch_imm(Cond::UGt, value, i64::from(limit), cut, end);
        self.b.enter(cut);
        let limit = self.b.iconst(i64::from(limit));
        self.b.set(result, limit);
        self.join(end);
        self.b.get(result)
    }

    /// Copies a string from any memory, at most the capacity with terminator.
    pub(super) fn copy_string(&mut self, src: Loc, dst: Mem, capacity: u32) -> Length {
        let size = self.b.iconst(i64::from(capacity));
        self.read_terminated(src, dst, size)
    }

    /// The length of what was read; 0 when reading failed (the kernel then zeroes the destination).
    fn read_terminated(&mut self, src: Loc, dst: Mem, size: Value) -> Length {
        let helper = match src.space {
            AddrSpace::User => helpers::PROBE_READ_USER_STR,
            _ => helpers::PROBE_READ_KERNEL_STR,
        };
        let (to, from) = (self.addr(dst), self.addr(src.mem));
        let read = self.b.call(helper, &[to, size, from]);
        self.report_helper(helper, read);
        self.text_length(read, dst)
    }

    /// The length behind what a helper says it has written, terminator included. After a failure the string at `dst` is empty.
    fn text_length(&mut self, read: Value, dst: Mem) -> Length {
        let length = self.b.variable();
        let (some, none, end) = (self.b.block(), self.b.block(), self.b.block());
        self.b.branch_imm(Cond::SGt, read, 0, some, none);
        self.b.enter(some);
        let n = self.b.bin_imm(Ir::Add, read, -1);
        self.b.set(length, n);
        self.b.jump(end);
        self.b.enter(none);
        let zero = self.b.iconst(0);
        // A helper that is asked for no bytes writes none.
        self.b.store(Width::W1, dst.base, dst.offset, zero);
        self.b.set(length, zero);
        self.join(end);
        Length::Register(self.b.get(length))
    }

    /// Goes to `yes` when two strings are equal.
    pub(super) fn strings_equal(&mut self, lhs: &Expr, rhs: &Expr, yes: Block, no: Block) {
        match (literal(lhs), literal(rhs)) {
            (Some(a), Some(b)) => {
                let to = if a == b { yes } else { no };
                self.b.jump(to);
            }
            (Some(bytes), None) => self.equals_literal(rhs, &bytes, None, yes, no),
            (None, Some(bytes)) => self.equals_literal(lhs, &bytes, None, yes, no),
            (None, None) => {
                let (a, b) = (self.local_string(lhs), self.local_string(rhs));
                let limit = capacity_of(&lhs.ty).min(capacity_of(&rhs.ty));
                self.bytes_equal(a, b, limit, yes, no);
            }
        }
    }

    /// The string in BPF memory, to be read at any offset.
    pub(super) fn local_string(&mut self, e: &Expr) -> Mem {
        let mem = self.local(e);
        self.b.mark_indexed(mem.base);
        mem
    }

    /// Compares with a constant, terminator included; or the first `limit` bytes only.
    pub(super) fn equals_literal(&mut self, e: &Expr, bytes: &[u8], limit: Option<u32>, yes: Block, no: Block) {
        let mut wanted = bytes.to_vec();
        wanted.push(0);
        if let Some(limit) = limit {
            wanted.truncate(limit as usize);
        }
        let capacity = capacity_of(&e.ty);
        if wanted.len() as u32 > capacity {
            // The string cannot be that long.
            self.effect(e);
            self.b.jump(no);
            return;
        }
        let mem = self.local(e);
        let mut at = 0;
        while at < wanted.len() {
            let step = chunk((wanted.len() - at) as u32, mem.at(at as u32).align());
            let mut word = [0u8; 8];
            for (to, from) in word.iter_mut().zip(wanted.iter().skip(at).take(step as usize)) {
                *to = *from;
            }
            let int = Type::Int(IntType { size: step as u8, signed: false });
            let value = self.load_scalar(Loc::bpf(mem.at(at as u32)), &int);
            let on = self.b.block();
            self.b.branch_imm(Cond::Eq, value, i64::from_le_bytes(word), on, no);
            self.b.enter(on);
            at += step as usize;
        }
        self.b.jump(yes);
    }

    /// Compares up to the terminator or the limit, by words: the kernel follows every turn of the loop before it runs the
    /// program, so that turns are dear.
    pub(super) fn bytes_equal(&mut self, a: Mem, b: Mem, limit: u32, yes: Block, no: Block) {
        self.b.mark_indexed(a.base);
        self.b.mark_indexed(b.base);
        let whole = limit / WORD * WORD;
        if whole > 0 {
            self.words_equal(a, b, whole, yes, no);
        }
        for at in whole..limit {
            let (same, next) = (self.b.block(), self.b.block());
            let x = self.b.load(Width::W1, a.base, a.offset + at as i32);
            let y = self.b.load(Width::W1, b.base, b.offset + at as i32);
            self.b.branch(Cond::Eq, x, y, same, no);
            self.b.enter(same);
            self.b.branch_imm(Cond::Eq, x, 0, yes, next);
            self.b.enter(next);
        }
        self.b.jump(yes);
    }

    /// Compares `whole` bytes, or fewer up to the terminator, and goes on behind the loop when all are equal and none is zero.
    fn words_equal(&mut self, a: Mem, b: Mem, whole: u32, yes: Block, no: Block) {
        let i = self.b.variable();
        let zero = self.b.iconst(0);
        self.b.set(i, zero);
        let (head, body, over, next, out) =
            (self.b.block(), self.b.block(), self.b.block(), self.b.block(), self.b.block());
        self.b.jump(head);
        self.b.switch_to(head);
        let n = self.b.get(i);
        self.b.branch_imm(Cond::ULt, n, i64::from(whole), body, out);
        self.b.enter(body);
        let x = self.word_at(a, n);
        let y = self.word_at(b, n);
        let different = self.b.bin(Ir::Xor, x, y);
        // The lowest bit that is set marks the first byte that is zero.
        let borrowed = self.b.bin_imm(Ir::Sub, x, LOW_BITS);
        let inverse = self.b.bin_imm(Ir::Xor, x, -1);
        let marks = self.b.bin(Ir::And, borrowed, inverse);
        let zeros = self.b.bin_imm(Ir::And, marks, HIGH_BITS);
        let either = self.b.bin(Ir::Or, different, zeros);
        self.b.branch_imm(Cond::Eq, either, 0, next, over);
        self.b.enter(next);
        let n = self.b.bin_imm(Ir::Add, n, i64::from(WORD));
        self.b.set(i, n);
        self.b.jump(head);
        self.b.seal(head);
        // Equal if the bytes up to the first zero are. Without a zero the mask is all ones, and some byte differs.
        self.b.enter(over);
        let before = self.b.bin_imm(Ir::Sub, zeros, 1);
        let mask = self.b.bin(Ir::Xor, zeros, before);
        let counted = self.b.bin(Ir::And, different, mask);
        self.b.branch_imm(Cond::Eq, counted, 0, yes, no);
        self.b.enter(out);
    }

    fn word_at(&mut self, mem: Mem, index: Value) -> Value {
        let base = self.b.bin(Ir::Add, mem.base, index);
        self.b.load(Width::W8, base, mem.offset)
    }

    pub(super) fn byte_at(&mut self, mem: Mem, index: Value) -> Value {
        let base = self.b.bin(Ir::Add, mem.base, index);
        self.b.load(Width::W1, base, mem.offset)
    }
}

/// The bytes of a string constant.
pub(super) fn literal(e: &Expr) -> Option<Vec<u8>> {
    match &e.kind {
        ExprKind::Str(bytes) if matches!(e.ty, Type::Str(_)) => Some(bytes.to_vec()),
        ExprKind::Cast(from) if matches!(e.ty, Type::Str(_)) => literal(from),
        _ => None,
    }
}

/// Capacity of a string, array or buffer in bytes.
pub(super) fn capacity_of(ty: &Type) -> u32 {
    match ty {
        Type::Str(n) | Type::Buf(n) => *n,
        Type::Array(elem, n) => n.saturating_mul(u32::from(int_of(elem).size)),
        _ => 0,
    }
}
