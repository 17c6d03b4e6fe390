//! Comparison and search of strings and bytes, loops whose bounds the verifier sees.

use super::strings::{capacity_of, literal};
use super::{FnLower, Mem};
use crate::ir::{BinOp as Ir, Cond, Ext, Value, Width, helpers};
use crate::typed::{Expr, ExprKind};
use crate::types::{AddrSpace, Type};

impl FnLower<'_, '_> {
    /// 0 when the first `n` bytes are equal.
    pub(super) fn strncmp(&mut self, a: &Expr, b: &Expr, n: &Expr) -> Value {
        let limit = match n.kind {
            ExprKind::Int(n) => u32::try_from(n).unwrap_or(u32::MAX),
            _ => u32::MAX,
        };
        let result = self.b.variable();
        let (equal, differ, end) = (self.b.block(), self.b.block(), self.b.block());
        match (literal(a), literal(b)) {
            (None, Some(bytes)) => self.equals_literal(a, &bytes, Some(limit), equal, differ),
            (Some(bytes), _) => self.equals_literal(b, &bytes, Some(limit), equal, differ),
            (None, None) => {
                let (x, y) = (self.local_string(a), self.local_string(b));
                let limit = limit.min(capacity_of(&a.ty)).min(capacity_of(&b.ty));
                self.bytes_equal(x, y, limit, equal, differ);
            }
        }
        for (block, value) in [(equal, 0), (differ, 1)] {
            self.b.enter(block);
            let value = self.b.iconst(value);
            self.b.set(result, value);
            self.b.jump(end);
        }
        self.b.enter(end);
        self.b.get(result)
    }

    pub(super) fn string_temp(&mut self, ty: &Type) -> Mem {
        self.indexed_bytes(capacity_of(ty).max(16))
    }

    /// Length of a string in memory, by looking for the terminator.
    pub(super) fn scan_length(&mut self, mem: Mem, capacity: u32) -> Value {
        let i = self.b.variable();
        let zero = self.b.iconst(0);
        self.b.set(i, zero);
        let (head, body, next, end) = (self.b.block(), self.b.block(), self.b.block(), self.b.block());
        self.b.jump(head);
        self.b.switch_to(head);
        let n = self.b.get(i);
        self.b.branch_imm(Cond::ULt, n, i64::from(capacity), body, end);
        self.b.enter(body);
        let byte = self.byte_at(mem, n);
        self.b.branch_imm(Cond::Ne, byte, 0, next, end);
        self.b.enter(next);
        let n = self.b.bin_imm(Ir::Add, n, 1);
        self.b.set(i, n);
        self.b.jump(head);
        self.b.seal(head);
        self.b.enter(end);
        self.b.get(i)
    }

    /// Where the needle begins, -1 if nowhere: naive search; both loops have constant bounds.
    pub(super) fn position_of(&mut self, haystack: &Expr, needle: &Expr) -> Value {
        let Some(needle) = literal(needle) else { return self.position_of_variable(haystack, needle) };
        let capacity = capacity_of(&haystack.ty).max(1);
        let temp = self.string_temp(&haystack.ty);
        self.string_into(haystack, temp, capacity);
        let (i, result) = (self.b.variable(), self.b.variable());
        let (zero, nowhere) = (self.b.iconst(0), self.b.iconst(-1));
        self.b.set(i, zero);
        self.b.set(result, nowhere);
        let (head, body, next, found, end) =
            (self.b.block(), self.b.block(), self.b.block(), self.b.block(), self.b.block());
        self.b.jump(head);
        self.b.switch_to(head);
        let n = self.b.get(i);
        let last = i64::from(capacity) - needle.len() as i64;
        self.b.branch_imm(Cond::SLt, n, last.max(0), body, end);
        self.b.enter(body);
        for (offset, byte) in needle.iter().enumerate() {
            let on = self.b.block();
            let at = self.byte_at(temp.at(offset as u32), n);
            self.b.branch_imm(Cond::Eq, at, i64::from(*byte), on, next);
            self.b.enter(on);
        }
        self.b.jump(found);
        self.b.enter(next);
        let first = self.byte_at(temp, n);
        let more = self.b.block();
        self.b.branch_imm(Cond::Ne, first, 0, more, end);
        self.b.enter(more);
        let n = self.b.bin_imm(Ir::Add, n, 1);
        self.b.set(i, n);
        self.b.jump(head);
        self.b.seal(head);
        self.b.enter(found);
        let n = self.b.get(i);
        let n = self.unknown(n, temp);
        self.b.set(result, n);
        self.join(end);
        self.b.get(result)
    }

    /// The same for a needle in memory.
    fn position_of_variable(&mut self, haystack: &Expr, needle: &Expr) -> Value {
        let (long, short) = (capacity_of(&haystack.ty).max(1), capacity_of(&needle.ty).max(1));
        // Room for a needle at the last place.
        let text = self.indexed_bytes(long.saturating_add(short).max(16));
        self.zero(text, long.saturating_add(short).max(16));
        self.string_into(haystack, text, long);
        let wanted = self.string_temp(&needle.ty);
        self.string_into(needle, wanted, short);
        let (i, j, result) = (self.b.variable(), self.b.variable(), self.b.variable());
        let (zero, nowhere) = (self.b.iconst(0), self.b.iconst(-1));
        self.b.set(i, zero);
        self.b.set(result, nowhere);
        let (head, body, inner) = (self.b.block(), self.b.block(), self.b.block());
        let (look, compare, same) = (self.b.block(), self.b.block(), self.b.block());
        let (next, more, found, end) = (self.b.block(), self.b.block(), self.b.block(), self.b.block());
        self.b.jump(head);
        self.b.switch_to(head);
        let at = self.b.get(i);
        self.b.branch_imm(Cond::ULt, at, i64::from(long), body, end);
        self.b.enter(body);
        self.b.set(j, zero);
        self.b.jump(inner);
        self.b.switch_to(inner);
        let step = self.b.get(j);
        self.b.branch_imm(Cond::ULt, step, i64::from(short), look, found);
        self.b.enter(look);
        let byte = self.byte_at(wanted, step);
        self.b.branch_imm(Cond::Eq, byte, 0, found, compare);
        self.b.enter(compare);
        let place = self.b.bin(Ir::Add, at, step);
        let own = self.byte_at(text, place);
        self.b.branch(Cond::Eq, own, byte, same, next);
        self.b.enter(same);
        let step = self.b.bin_imm(Ir::Add, step, 1);
        self.b.set(j, step);
        self.b.jump(inner);
        self.b.seal(inner);
        self.b.enter(next);
        let first = self.byte_at(text, at);
        self.b.branch_imm(Cond::Ne, first, 0, more, end);
        self.b.enter(more);
        let on = self.b.bin_imm(Ir::Add, at, 1);
        self.b.set(i, on);
        self.b.jump(head);
        self.b.seal(head);
        self.b.enter(found);
        let at = self.b.get(i);
        let at = self.unknown(at, text);
        self.b.set(result, at);
        self.join(end);
        self.b.get(result)
    }

    /// The same number, which the verifier cannot tell: it walks every turn of a loop with its own count, and would walk what
    /// follows once for each. Eight bytes of memory that it knows nothing of are added and taken away.
    fn unknown(&mut self, n: Value, memory: Mem) -> Value {
        let any = self.b.load(Width::W8, memory.base, memory.offset);
        let sum = self.b.bin(Ir::Add, n, any);
        self.b.bin(Ir::Sub, sum, any)
    }

    /// The first bytes of a value, or of what a pointer points to, in local memory of `most` bytes.
    pub(super) fn leading_bytes(&mut self, e: &Expr, n: Value, most: u32) -> Mem {
        let temp = self.indexed_bytes(most.max(8));
        self.zero(temp, most.max(8));
        if let Type::Ptr(_, space) = &e.ty {
            let source = self.scalar(e);
            let helper = match space {
                AddrSpace::User => helpers::PROBE_READ_USER,
                _ => helpers::PROBE_READ_KERNEL,
            };
            let to = self.addr(temp);
            let result = self.b.call(helper, &[to, n, source]);
            self.report_helper(helper, result);
        } else {
            let place = self.local(e);
            self.copy(temp, place, most.min(self.m.size(&e.ty)));
        }
        temp
    }

    /// The difference of the first bytes of `a` and `b` that are not equal; 0 when `n` of them are.
    pub(super) fn memcmp(&mut self, a: &Expr, b: &Expr, n: &Expr, most: u32) -> Value {
        let n = self.scalar(n);
        let n = self.clamp(n, most);
        let (x, y) = (self.leading_bytes(a, n, most), self.leading_bytes(b, n, most));
        let (i, result) = (self.b.variable(), self.b.variable());
        let zero = self.b.iconst(0);
        self.b.set(i, zero);
        self.b.set(result, zero);
        let (head, room, body, next, differ, end) =
            (self.b.block(), self.b.block(), self.b.block(), self.b.block(), self.b.block(), self.b.block());
        self.b.jump(head);
        self.b.switch_to(head);
        let at = self.b.get(i);
        // The constant bound is for the verifier.
        self.b.branch_imm(Cond::ULt, at, i64::from(most), room, end);
        self.b.enter(room);
        self.b.branch(Cond::ULt, at, n, body, end);
        self.b.enter(body);
        let (p, q) = (self.byte_at(x, at), self.byte_at(y, at));
        self.b.branch(Cond::Eq, p, q, next, differ);
        self.b.enter(next);
        let at = self.b.bin_imm(Ir::Add, at, 1);
        self.b.set(i, at);
        self.b.jump(head);
        self.b.seal(head);
        self.b.enter(differ);
        // Characters have a sign.
        let (p, q) = (self.b.ext(Ext::Sext8, p), self.b.ext(Ext::Sext8, q));
        let difference = self.b.bin(Ir::Sub, p, q);
        self.b.set(result, difference);
        self.b.jump(end);
        self.b.enter(end);
        self.b.get(result)
    }
}
