//! Event records: laid out as `program` documents, written where they are sent from.
//!
//! A record whose length is known while compiling is reserved in the ring buffer and filled in place. One with strings is
//! packed in local memory, each string with its actual length, and copied out: ring space is scarcer than a short copy.

use super::strings::Length;
use super::{FnLower, Mem, ModuleLower};
use crate::ir::{BinOp as Ir, Cond, Value, Width, helpers};
use crate::program::{ActionId, ActionKind, Counter, Field, Record};
use crate::typed::walk::Node;
use crate::typed::{Expr, ExprKind, Op, StmtKind};
use crate::types::Type;
use crate::types::layout::align_up;

/// Bytes of the header: action and padding.
const HEADER: u32 = 8;
/// The kernel wakes the reader although others are still unread (`BPF_RB_FORCE_WAKEUP`).
const FORCE_WAKEUP: i64 = 2;
/// The buffer of the CPU at hand (`BPF_F_CURRENT_CPU`).
const THIS_CPU: i64 = 0xffff_ffff;
/// Bytes of a packet that the helper takes (`BPF_F_CTXLEN_MASK`).
const MOST_OF_A_PACKET: u32 = 0xf_ffff;

impl ModuleLower<'_> {
    /// Layout of a record with these arguments.
    pub(super) fn record_layout(&self, args: &[Type]) -> Record {
        let mut end = HEADER;
        let mut fields = Vec::new();
        for ty in args {
            let value = self.value_type(ty);
            let (size, align) = if value.is_tail() {
                (4, 4)
            } else {
                (self.size(ty), crate::types::layout::align_of(ty, &self.script.aggregates))
            };
            let offset = align_up(end, align);
            fields.push(Field { name: String::new(), offset, bits: None, ty: value });
            end = offset.saturating_add(size);
        }
        Record { fields, fixed_size: align_up(end, 8) }
    }
}

/// Where the next byte of the tail goes.
#[derive(Clone, Copy)]
struct Tail {
    /// Constant part, from the record's start.
    fixed: u32,
    /// Run-time part.
    dynamic: Option<Value>,
}

impl FnLower<'_, '_> {
    /// Sends a record.
    pub(super) fn send(&mut self, action: ActionId, args: &[Expr]) {
        let Some(record) = self.m.records.get(action).cloned() else {
            return self.internal("an action without layout", self.b.span());
        };
        let exits = self.m.script.actions.get(action).is_some_and(|a| matches!(a.kind, ActionKind::Exit));
        // Losing an event is bad, losing the end of the session is worse: it has a counter that the session looks at.
        let lost = if exits {
            let status = match args.first() {
                Some(Expr { kind: ExprKind::Int(status), .. }) => *status,
                _ => 0,
            };
            Counter::ExitPending { status }
        } else {
            Counter::RingFull { probe: self.probe.clone() }
        };
        let flags = if exits { FORCE_WAKEUP } else { 0 };
        let tails: Option<u32> = args.iter().filter(|a| is_tail(&a.ty)).map(fixed_tail).sum();
        match tails {
            Some(tail) if !args.iter().any(must_come_first) => {
                let size = align_up(record.fixed_size.saturating_add(tail), 8);
                self.send_in_place(action, &record, args, size, (flags, lost));
            }
            _ => self.send_packed(action, &record, args, (flags, lost)),
        }
    }

    fn send_in_place(
        &mut self,
        action: ActionId,
        record: &Record,
        args: &[Expr],
        size: u32,
        (flags, lost): (i64, Counter),
    ) {
        let handle = self.b.map(self.m.events);
        let size = self.b.iconst(i64::from(size));
        let zero = self.b.iconst(0);
        let base = self.b.call(helpers::RINGBUF_RESERVE, &[handle, size, zero]);
        let (room, full, end) = (self.b.block(), self.b.block(), self.b.block());
        self.b.branch_imm(Cond::Ne, base, 0, room, full);
        self.b.enter(full);
        self.count(lost);
        self.b.jump(end);
        self.b.enter(room);
        self.fill(action, record, args, base);
        let flags = self.b.iconst(flags);
        self.b.call(helpers::RINGBUF_SUBMIT, &[base, flags]);
        self.join(end);
    }

    fn send_packed(&mut self, action: ActionId, record: &Record, args: &[Expr], (flags, lost): (i64, Counter)) {
        let room: u32 = args.iter().filter(|a| is_tail(&a.ty)).map(|a| tail_room(&a.ty)).fold(0, u32::saturating_add);
        let base = self.indexed_bytes(record.fixed_size.saturating_add(room)).base;
        let tail = self.fill(action, record, args, base);
        let length = match tail.dynamic {
            Some(n) => self.b.bin_imm(Ir::Add, n, i64::from(tail.fixed)),
            None => self.b.iconst(i64::from(tail.fixed)),
        };
        let handle = self.b.map(self.m.events);
        let flags = self.b.iconst(flags);
        let result = self.b.call(helpers::RINGBUF_OUTPUT, &[handle, base, length, flags]);
        let (failed, end) = (self.b.block(), self.b.block());
        self.b.branch_imm(Cond::SLt, result, 0, failed, end);
        self.b.enter(failed);
        self.count(lost);
        self.join(end);
    }

    /// Sends a packet behind a record; the kernel copies it, wherever its parts lie.
    pub(super) fn packet(&mut self, action: ActionId, packet: &Expr, length: &Expr) -> Value {
        let (Some(record), Some(packets)) = (self.m.records.get(action).cloned(), self.m.packets) else {
            self.internal("an action without layout", self.b.span());
            return self.b.iconst(0);
        };
        let length = self.scalar(length);
        let length = self.clamp(length, MOST_OF_A_PACKET);
        let exit = self.exit;
        let Some(object) = self.object(packet, exit) else {
            return self.no_object("skboutput()", packet);
        };
        let head = self.temp_bytes(record.fixed_size);
        let number = self.b.iconst(i64::from(action.0));
        self.b.store(Width::W8, head.base, head.offset, number);
        let now = self.b.call(helpers::KTIME_GET_BOOT_NS, &[]);
        for (value, field) in [now, length].into_iter().zip(&record.fields) {
            self.b.store(Width::W8, head.base, head.offset + field.offset as i32, value);
        }
        // The upper half of the flags is the length, the lower one the buffer.
        let upper = self.b.bin_imm(Ir::Shl, length, 32);
        let buffer = self.b.iconst(THIS_CPU);
        let flags = self.b.bin(Ir::Or, upper, buffer);
        let (map, from) = (self.b.map(packets), self.addr(head));
        let size = self.b.iconst(i64::from(record.fixed_size));
        let result = self.b.call(helpers::SKB_OUTPUT, &[object, map, flags, from, size]);
        self.report_helper(helpers::SKB_OUTPUT, result);
        result
    }

    /// Writes header, fixed part and tail; returns the end of the tail.
    fn fill(&mut self, action: ActionId, record: &Record, args: &[Expr], base: Value) -> Tail {
        let header = self.b.iconst(i64::from(action.0));
        self.b.store(Width::W8, base, 0, header);
        let mut tail = Tail { fixed: record.fixed_size, dynamic: None };
        for (arg, field) in args.iter().zip(&record.fields) {
            let place = Mem { base, offset: field.offset as i32 };
            if !is_tail(&arg.ty) {
                self.into(arg, place);
                continue;
            }
            let at = match tail.dynamic {
                Some(n) => self.b.bin(Ir::Add, base, n),
                None => base,
            };
            let dst = Mem { base: at, offset: tail.fixed as i32 };
            let before = self.b.set_span(arg.span);
            let length = self.tail_into(arg, dst);
            self.b.set_span(before);
            let count = self.length_value(length);
            self.b.store(Width::W4, place.base, place.offset, count);
            match (length, tail.dynamic) {
                (Length::AtMost(n), _) => tail.fixed = tail.fixed.saturating_add(n),
                (Length::Register(n), None) => tail.dynamic = Some(n),
                (Length::Register(n), Some(before)) => tail.dynamic = Some(self.b.bin(Ir::Add, before, n)),
            }
        }
        tail
    }

    /// Writes a value of variable length; returns the bytes that count.
    fn tail_into(&mut self, arg: &Expr, dst: Mem) -> Length {
        match &arg.ty {
            Type::Str(capacity) => match &arg.kind {
                // A constant needs no terminator here.
                ExprKind::Str(bytes) => {
                    let bytes: Vec<u8> = bytes.iter().copied().take(literal_room(*capacity)).collect();
                    self.store_bytes(dst, &bytes);
                    Length::AtMost(bytes.len() as u32)
                }
                _ => self.string_into(arg, dst, *capacity),
            },
            Type::Buf(capacity) => self.buffer_tail(arg, dst, *capacity),
            Type::Strings => self.argv_tail(arg, dst),
            _ => Length::AtMost(0),
        }
    }

    /// `buf(pointer, length)`: the data alone.
    fn buffer_tail(&mut self, arg: &Expr, dst: Mem, capacity: u32) -> Length {
        if let ExprKind::Call(Op::Buf, args) = &arg.kind {
            let length = self.buffer_data(args, dst, capacity);
            return Length::Register(length);
        }
        let loc = self.local(arg);
        let length = self.b.load(Width::W4, loc.base, loc.offset);
        let length = self.clamp(length, capacity);
        self.copy(dst, loc.at(4), capacity);
        Length::Register(length)
    }
}

fn is_tail(ty: &Type) -> bool {
    matches!(ty, Type::Str(_) | Type::Buf(_) | Type::Strings)
}

/// Bytes that a value's tail may need while it is written.
fn tail_room(ty: &Type) -> u32 {
    match ty {
        Type::Str(n) => (*n).max(super::strings::COMM_LEN).saturating_add(1),
        Type::Buf(n) => *n,
        Type::Strings => super::builtin::ARGV_BYTES,
        _ => 0,
    }
}

/// Characters of a constant that a type has room for.
fn literal_room(capacity: u32) -> usize {
    capacity.saturating_sub(1) as usize
}

/// Bytes of the tail when they are known while compiling.
fn fixed_tail(arg: &Expr) -> Option<u32> {
    match (&arg.kind, &arg.ty) {
        (ExprKind::Str(bytes), Type::Str(capacity)) => Some(bytes.len().min(literal_room(*capacity)) as u32),
        (ExprKind::Call(Op::Comm, _), Type::Str(capacity)) if *capacity >= super::strings::COMM_LEN => {
            Some(super::strings::COMM_LEN)
        }
        _ => None,
    }
}

/// True when evaluating may end the program, which must not happen between reserving and submitting, or sends a record of its own, which
/// comes before this one.
fn must_come_first(e: &Expr) -> bool {
    e.any(&mut |node| {
        let Node::Stmt(stmt) = node else { return false };
        matches!(stmt.kind, StmtKind::Return(_) | StmtKind::Break | StmtKind::Continue | StmtKind::Send { .. })
    })
}
