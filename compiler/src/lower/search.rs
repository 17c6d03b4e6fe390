//! Comparison and search of strings and bytes: loops whose bounds the verifier sees, or callbacks.

use tapline_grammar::span::Span;

use super::strings::{capacity_of, literal};
use super::{FnLower, Mem};
use crate::diagnostic::Diagnostic;
use crate::ir::builder::FunctionBuilder;
use crate::ir::{BinOp as Ir, CallbackKind, Cond, Ext, Function, FunctionKind, Value, Width, helpers};
use crate::typed::{Expr, ExprKind};
use crate::types::{AddrSpace, Type};

/// What a search hands to its callback.
mod state {
    /// Addresses of both strings.
    pub const TEXT: i32 = 0;
    pub const NEEDLE: i32 = 8;
    /// The place, -1 until it is found.
    pub const FOUND: i32 = 16;
    pub const SIZE: u32 = 24;
}

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

    /// Where the needle begins, -1 if nowhere. Each place is tried by a callback of `bpf_loop`, which the verifier walks once.
    pub(super) fn position_of(&mut self, haystack: &Expr, needle: &Expr) -> Value {
        if !self.may_call_back() {
            let message = "a search inside of so many loops is more than the kernel allows";
            let help = "search before the innermost loop, and keep the result in a variable";
            self.m.diagnostics.push(Diagnostic::error("too-complex", message, haystack.span).help(help));
            return self.b.iconst(-1);
        }
        let bytes = literal(needle);
        let long = capacity_of(&haystack.ty).max(1);
        let short = bytes.as_ref().map_or(capacity_of(&needle.ty).max(1), |bytes| bytes.len() as u32);
        // Room for a needle at the last place: what is compared behind the terminator is not equal.
        let text = self.indexed_bytes(long.saturating_add(short).max(16));
        self.string_into(haystack, text, long);
        let wanted = bytes.is_none().then(|| {
            let wanted = self.string_temp(&needle.ty);
            self.string_into(needle, wanted, short);
            wanted
        });
        let mark = self.temps.mark();
        let frame = self.pinned(state::SIZE);
        let at = self.addr(text);
        self.b.store(Width::W8, frame, state::TEXT, at);
        let nowhere = self.b.iconst(-1);
        self.b.store(Width::W8, frame, state::FOUND, nowhere);
        if let Some(wanted) = wanted {
            let at = self.addr(wanted);
            self.b.store(Width::W8, frame, state::NEEDLE, at);
        }
        let symbol = self.callback_symbol();
        let step = try_place(symbol, self.b.span(), long, short, bytes.as_deref());
        let step = self.m.module.functions.push(step);
        let (places, function) = (self.b.iconst(i64::from(long)), self.b.func_addr(step));
        let flags = self.b.iconst(0);
        self.b.call(helpers::LOOP, &[places, function, frame, flags]);
        let found = self.b.load(Width::W8, frame, state::FOUND);
        // One statement may search often.
        self.temps.release(mark);
        found
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
        self.difference(x, y, n, most)
    }

    /// The same of bytes in BPF memory, of which `most` may be read.
    pub(super) fn difference(&mut self, x: Mem, y: Mem, n: Value, most: u32) -> Value {
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

/// The callback of a search: compares at one place, and ends the search when it is found or the text ends.
fn try_place(symbol: String, span: Span, long: u32, short: u32, bytes: Option<&[u8]>) -> Function {
    let (mut b, params) = FunctionBuilder::new(symbol, FunctionKind::Callback(CallbackKind::Loop), 2, span);
    let param = |n: usize| params.get(n).copied().unwrap_or(Value(0));
    let (index, frame) = (param(0), param(1));
    let (within, differ, found, next, stop) = (b.block(), b.block(), b.block(), b.block(), b.block());
    b.branch_imm(Cond::ULt, index, i64::from(long), within, stop);
    b.enter(within);
    let text = b.load(Width::W8, frame, state::TEXT);
    let place = b.bin(Ir::Add, text, index);
    if let Some(bytes) = bytes {
        for (offset, byte) in (0..).zip(bytes) {
            let on = b.block();
            let own = b.load(Width::W1, place, offset);
            b.branch_imm(Cond::Eq, own, i64::from(*byte), on, differ);
            b.enter(on);
        }
        b.jump(found);
    } else {
        let needle = b.load(Width::W8, frame, state::NEEDLE);
        let i = b.variable();
        let zero = b.iconst(0);
        b.set(i, zero);
        let (head, look, compare, same) = (b.block(), b.block(), b.block(), b.block());
        b.jump(head);
        b.switch_to(head);
        let n = b.get(i);
        b.branch_imm(Cond::ULt, n, i64::from(short), look, found);
        b.enter(look);
        let at = b.bin(Ir::Add, needle, n);
        let byte = b.load(Width::W1, at, 0);
        b.branch_imm(Cond::Eq, byte, 0, found, compare);
        b.enter(compare);
        let at = b.bin(Ir::Add, place, n);
        let own = b.load(Width::W1, at, 0);
        b.branch(Cond::Eq, own, byte, same, differ);
        b.enter(same);
        let n = b.bin_imm(Ir::Add, n, 1);
        b.set(i, n);
        b.jump(head);
        b.seal(head);
    }
    b.enter(differ);
    let first = b.load(Width::W1, place, 0);
    b.branch_imm(Cond::Eq, first, 0, stop, next);
    b.enter(found);
    b.store(Width::W8, frame, state::FOUND, index);
    b.jump(stop);
    for (block, result) in [(next, 0), (stop, 1)] {
        b.enter(block);
        let result = b.iconst(result);
        b.ret(result);
    }
    b.finish()
}
