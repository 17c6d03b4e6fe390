//! Scalars into virtual registers, and conditions into branches.

use super::{FnLower, Home, Loc, Mem};
use crate::ir::{self, BinOp as Ir, Block, Cond, Ext, Value, Width, helpers};
use crate::program::Counter;
use crate::typed::{BinOp, Bits, CmpOp, Expr, ExprKind, Place, UnOp, VarId};
use crate::types::{AddrSpace, IntType, Type};

/// Representation of a scalar type in memory.
pub(super) fn int_of(ty: &Type) -> IntType {
    match ty {
        Type::Int(int) | Type::Enum { int, .. } => *int,
        Type::Bool => IntType::U8,
        Type::Username => IntType::U32,
        Type::ErrorText => IntType::I64,
        _ => IntType::U64,
    }
}

pub(super) fn width_of(int: IntType) -> Width {
    Width::from_bytes(u32::from(int.size)).unwrap_or(Width::W8)
}

fn ext_of(int: IntType) -> Option<Ext> {
    Some(match (int.size, int.signed) {
        (1, false) => Ext::Zext8,
        (2, false) => Ext::Zext16,
        (4, false) => Ext::Zext32,
        (1, true) => Ext::Sext8,
        (2, true) => Ext::Sext16,
        (4, true) => Ext::Sext32,
        _ => return None,
    })
}

/// Comparison in the IR.
fn cond_of(op: CmpOp, signed: bool) -> Cond {
    match (op, signed) {
        (CmpOp::Eq, _) => Cond::Eq,
        (CmpOp::Ne, _) => Cond::Ne,
        (CmpOp::Lt, true) => Cond::SLt,
        (CmpOp::Le, true) => Cond::SLe,
        (CmpOp::Gt, true) => Cond::SGt,
        (CmpOp::Ge, true) => Cond::SGe,
        (CmpOp::Lt, false) => Cond::ULt,
        (CmpOp::Le, false) => Cond::ULe,
        (CmpOp::Gt, false) => Cond::UGt,
        (CmpOp::Ge, false) => Cond::UGe,
    }
}

impl FnLower<'_, '_> {
    /// Evaluates a scalar expression; the result is extended as its type says.
    pub(super) fn scalar(&mut self, e: &Expr) -> Value {
        let before = self.b.set_span(e.span);
        let value = self.scalar_kind(e);
        self.b.set_span(before);
        value
    }

    fn scalar_kind(&mut self, e: &Expr) -> Value {
        match &e.kind {
            ExprKind::Int(value) => self.b.iconst(*value),
            ExprKind::Context => self.ctx,
            ExprKind::Var(var) => self.read_variable(*var, &e.ty),
            ExprKind::Field { bits, .. } => self.load_place(e, *bits),
            ExprKind::Deref(_) | ExprKind::Index { .. } | ExprKind::Element { .. } => self.load_place(e, None),
            ExprKind::MapGet { map, key } => self.map_get_scalar(*map, key.as_deref(), &e.ty),
            ExprKind::MapCall { op, map, key } => self.map_call(*op, *map, key.as_deref()),
            ExprKind::Call(op, args) => self.builtin_scalar(*op, args, e),
            ExprKind::CallFn(id, args) => self.call_function(*id, args, None),
            ExprKind::Unary(op, operand) => self.unary(*op, operand, e),
            ExprKind::Binary(op, lhs, rhs) => {
                let (a, b) = (self.scalar(lhs), self.scalar(rhs));
                self.arithmetic(*op, a, b, &e.ty, rhs)
            }
            ExprKind::Compare(op, lhs, rhs) if lhs.ty.is_scalar() => {
                let signed = int_of(&lhs.ty).signed;
                let (a, b) = (self.scalar(lhs), self.scalar(rhs));
                self.b.cmp(cond_of(*op, signed), a, b)
            }
            ExprKind::Compare(..) | ExprKind::Logical { .. } => self.condition_value(e),
            ExprKind::Ternary { cond, then, otherwise } => self.ternary(cond, then, otherwise),
            ExprKind::Cast(from) => self.cast(from, &e.ty),
            ExprKind::AddrOf(of) => {
                let loc = self.place(of);
                self.addr(loc.mem)
            }
            ExprKind::IncDec { place, delta, prefix } => self.inc_dec(place, *delta, *prefix, &e.ty),
            ExprKind::Block(block) => {
                self.stmts(&block.stmts);
                match &block.value {
                    Some(value) => self.scalar(value),
                    None => self.b.iconst(0),
                }
            }
            ExprKind::Str(_) | ExprKind::Tuple(_) | ExprKind::Parts(_) => {
                self.internal("an aggregate as a scalar", e.span);
                self.b.iconst(0)
            }
        }
    }

    /// The value of a scalar variable.
    pub(super) fn read_variable(&mut self, var: VarId, ty: &Type) -> Value {
        match self.vars.get(var).copied() {
            Some(Home::Register(v)) => self.b.get(v),
            _ => match self.variable_address(var) {
                Some(base) => self.load_scalar(Loc::bpf(Mem { base, offset: 0 }), ty),
                None => self.b.iconst(0),
            },
        }
    }

    /// Sets a scalar variable.
    pub(super) fn write_variable(&mut self, var: VarId, ty: &Type, value: Value) {
        if let Some(Home::Register(v)) = self.vars.get(var).copied() {
            self.b.set(v, value);
        } else if let Some(base) = self.variable_address(var) {
            self.store_scalar(Mem { base, offset: 0 }, ty, value);
        }
    }

    /// Reads a scalar through its place.
    fn load_place(&mut self, e: &Expr, bits: Option<Bits>) -> Value {
        let loc = self.place(e);
        match bits {
            None => self.load_scalar(loc, &e.ty),
            Some(bits) => {
                let raw = self.load_scalar(loc, &Type::Int(IntType { size: bits.load, signed: false }));
                let (raw, bits) = self.with_ninth_byte(raw, loc, bits);
                self.bitfield(raw, bits, int_of(&e.ty).signed)
            }
        }
    }

    /// A field in nine bytes is put together in one integer; all others are what was loaded.
    fn with_ninth_byte(&mut self, raw: Value, loc: Loc, bits: Bits) -> (Value, Bits) {
        if bits.shift + bits.width <= 64 {
            return (raw, bits);
        }
        let ninth = self.load_scalar(Loc { mem: loc.mem.at(8), ..loc }, &Type::Int(IntType::U8));
        let low = self.b.bin_imm(Ir::LShr, raw, i64::from(bits.shift));
        let high = self.b.bin_imm(Ir::Shl, ninth, i64::from(64 - bits.shift));
        (self.b.bin(Ir::Or, low, high), Bits { shift: 0, ..bits })
    }

    fn bitfield(&mut self, raw: Value, bits: Bits, signed: bool) -> Value {
        let (width, shift) = (i64::from(bits.width.clamp(1, 64)), i64::from(bits.shift.min(63)));
        let up = (64 - width - shift).max(0);
        let down = (64 - width).max(0);
        let high = if up == 0 { raw } else { self.b.bin_imm(Ir::Shl, raw, up) };
        let op = if signed { Ir::AShr } else { Ir::LShr };
        if down == 0 { high } else { self.b.bin_imm(op, high, down) }
    }

    /// Loads a scalar from a place of any memory.
    pub(super) fn load_scalar(&mut self, loc: Loc, ty: &Type) -> Value {
        let int = int_of(ty);
        let width = width_of(int);
        let raw = match loc.space {
            AddrSpace::Bpf | AddrSpace::Ctx => self.b.load(width, loc.mem.base, loc.mem.offset),
            AddrSpace::Kernel | AddrSpace::User => {
                let temp = self.temp_bytes(u32::from(int.size));
                self.read_remote(temp, loc, u32::from(int.size));
                self.b.load(width, temp.base, temp.offset)
            }
        };
        match ext_of(int) {
            Some(ext) if int.signed => self.b.ext(ext, raw),
            _ => raw,
        }
    }

    /// Copies bytes from the kernel's or a process's memory; they are zero when that fails.
    pub(super) fn read_remote(&mut self, dst: Mem, src: Loc, bytes: u32) {
        let helper = match src.space {
            AddrSpace::User => helpers::PROBE_READ_USER,
            _ => helpers::PROBE_READ_KERNEL,
        };
        let (to, from) = (self.addr(dst), self.addr(src.mem));
        let size = self.b.iconst(i64::from(bytes));
        let result = self.b.call(helper, &[to, size, from]);
        self.report_helper(helper, result);
    }

    /// Counts a helper's failure where the user asked to be told.
    pub(super) fn report_helper(&mut self, helper: ir::Helper, result: Value) {
        if !self.m.script.config.report_helper_errors {
            return;
        }
        let (failed, on) = (self.b.block(), self.b.block());
        self.b.branch_imm(Cond::SLt, result, 0, failed, on);
        self.b.enter(failed);
        let position = self.position();
        self.count(Counter::HelperFailed { helper: helper.name().into(), position });
        self.join(on);
    }

    /// Stores a scalar of the given type.
    pub(super) fn store_scalar(&mut self, dst: Mem, ty: &Type, value: Value) {
        self.b.store(width_of(int_of(ty)), dst.base, dst.offset, value);
    }

    fn unary(&mut self, op: UnOp, operand: &Expr, e: &Expr) -> Value {
        match op {
            UnOp::Not => self.condition_value(e),
            UnOp::BitNot => {
                let v = self.scalar(operand);
                let inverted = self.b.bin_imm(Ir::Xor, v, -1);
                self.normalise(inverted, &e.ty)
            }
            UnOp::Neg => {
                let v = self.scalar(operand);
                let zero = self.b.iconst(0);
                let negated = self.b.bin(Ir::Sub, zero, v);
                self.normalise(negated, &e.ty)
            }
        }
    }

    /// Extends the low bits as the type says.
    pub(super) fn normalise(&mut self, value: Value, ty: &Type) -> Value {
        match ext_of(int_of(ty)) {
            Some(ext) => self.b.ext(ext, value),
            None => value,
        }
    }

    /// `a op b` of type `ty`; `rhs` is the right operand's expression, to see constants.
    pub(super) fn arithmetic(&mut self, op: BinOp, a: Value, b: Value, ty: &Type, rhs: &Expr) -> Value {
        let signed = int_of(ty).signed;
        let ir = match (op, signed) {
            (BinOp::Add, _) => Ir::Add,
            (BinOp::Sub, _) => Ir::Sub,
            (BinOp::Mul, _) => Ir::Mul,
            (BinOp::BitAnd, _) => Ir::And,
            (BinOp::BitOr, _) => Ir::Or,
            (BinOp::BitXor, _) => Ir::Xor,
            (BinOp::Shl, _) => Ir::Shl,
            (BinOp::Shr, true) => Ir::AShr,
            (BinOp::Shr, false) => Ir::LShr,
            (BinOp::Div | BinOp::Mod, _) => return self.divide(op, a, b, ty, rhs),
        };
        let value = self.b.bin(ir, a, b);
        match op {
            // The result of these is within the range of the operands.
            BinOp::BitAnd | BinOp::BitOr | BinOp::BitXor | BinOp::Shr => value,
            _ => self.normalise(value, ty),
        }
    }

    /// Division by a run-time zero is counted and gives 1, the remainder 0... as the reference does.
    fn divide(&mut self, op: BinOp, a: Value, b: Value, ty: &Type, rhs: &Expr) -> Value {
        let signed = int_of(ty).signed;
        let ir = match (op, signed) {
            (BinOp::Div, true) => Ir::SDiv,
            (BinOp::Div, false) => Ir::UDiv,
            (_, true) => Ir::SMod,
            (_, false) => Ir::UMod,
        };
        if matches!(rhs.kind, ExprKind::Int(n) if n != 0) {
            let value = self.b.bin(ir, a, b);
            return self.normalise(value, ty);
        }
        let result = self.b.variable();
        let (zero, ok, end) = (self.b.block(), self.b.block(), self.b.block());
        self.b.branch_imm(Cond::Eq, b, 0, zero, ok);
        self.b.enter(zero);
        let position = self.position();
        self.count(Counter::DivideByZero { position });
        let one = self.b.iconst(1);
        self.b.set(result, one);
        self.b.jump(end);
        self.b.enter(ok);
        let value = self.b.bin(ir, a, b);
        let value = self.normalise(value, ty);
        self.b.set(result, value);
        self.join(end);
        self.b.get(result)
    }

    fn cast(&mut self, from: &Expr, to: &Type) -> Value {
        if !from.ty.is_scalar() {
            // An array or a one-member tuple read as an integer: its bytes.
            let loc = self.place(from);
            return self.load_scalar(loc, to);
        }
        let value = self.scalar(from);
        if matches!(to, Type::Bool) {
            return if matches!(from.ty, Type::Bool) { value } else { self.truth(value) };
        }
        // From here on any number may be added to it.
        let known = |ty: &Type| matches!(ty, Type::Ptr(_, AddrSpace::Bpf | AddrSpace::Ctx));
        let value =
            if known(&from.ty) && matches!(to, Type::Ptr(..)) && !known(to) { self.as_number(value) } else { value };
        let (source, target) = (int_of(&from.ty), int_of(to));
        let keeps = target.size > source.size && (target.signed || !source.signed);
        if keeps || source == target || target.size == 8 { value } else { self.normalise(value, to) }
    }

    fn truth(&mut self, value: Value) -> Value {
        let zero = self.b.iconst(0);
        self.b.cmp(Cond::Ne, value, zero)
    }

    fn ternary(&mut self, cond: &Expr, then: &Expr, otherwise: &Expr) -> Value {
        let result = self.b.variable();
        let (yes, no, end) = (self.b.block(), self.b.block(), self.b.block());
        self.condition(cond, yes, no);
        self.b.enter(yes);
        let value = self.scalar_or_effect(then);
        self.b.set(result, value);
        self.b.jump(end);
        self.b.enter(no);
        let value = self.scalar_or_effect(otherwise);
        self.b.set(result, value);
        self.join(end);
        self.b.get(result)
    }

    fn scalar_or_effect(&mut self, e: &Expr) -> Value {
        if e.ty.is_scalar() {
            return self.scalar(e);
        }
        self.effect(e);
        self.b.iconst(0)
    }

    /// A condition as 0 or 1.
    fn condition_value(&mut self, e: &Expr) -> Value {
        let result = self.b.variable();
        let (yes, no, end) = (self.b.block(), self.b.block(), self.b.block());
        self.condition(e, yes, no);
        for (block, value) in [(yes, 1), (no, 0)] {
            self.b.enter(block);
            let value = self.b.iconst(value);
            self.b.set(result, value);
            self.b.jump(end);
        }
        self.b.enter(end);
        self.b.get(result)
    }

    /// Goes to `yes` when the expression is not zero, else to `no`.
    pub(super) fn condition(&mut self, e: &Expr, yes: Block, no: Block) {
        let before = self.b.set_span(e.span);
        match &e.kind {
            ExprKind::Logical { and, lhs, rhs } => {
                let second = self.b.block();
                if *and {
                    self.condition(lhs, second, no);
                } else {
                    self.condition(lhs, yes, second);
                }
                self.b.enter(second);
                self.condition(rhs, yes, no);
            }
            ExprKind::Unary(UnOp::Not, operand) => self.condition(operand, no, yes),
            ExprKind::Cast(from) if matches!(e.ty, Type::Bool) && from.ty.is_scalar() => self.condition(from, yes, no),
            ExprKind::Compare(op, lhs, rhs) if lhs.ty.is_scalar() => {
                let signed = int_of(&lhs.ty).signed;
                let (a, b) = (self.scalar(lhs), self.scalar(rhs));
                self.b.branch(cond_of(*op, signed), a, b, yes, no);
            }
            ExprKind::Compare(op, lhs, rhs) => match op {
                CmpOp::Ne => self.equal(lhs, rhs, no, yes),
                _ => self.equal(lhs, rhs, yes, no),
            },
            _ if e.ty.is_scalar() => {
                let value = self.scalar(e);
                self.b.branch_imm(Cond::Ne, value, 0, yes, no);
            }
            _ => {
                // A string or another aggregate as a condition: true when its first byte is not zero.
                let loc = self.place(e);
                let first = self.load_scalar(loc, &Type::Int(IntType::U8));
                self.b.branch_imm(Cond::Ne, first, 0, yes, no);
            }
        }
        self.b.set_span(before);
    }

    fn inc_dec(&mut self, place: &Place, delta: i64, prefix: bool, ty: &Type) -> Value {
        match place {
            Place::Var(var) => {
                let old = self.read_variable(*var, ty);
                let sum = self.b.bin_imm(Ir::Add, old, delta);
                let new = self.normalise(sum, ty);
                self.write_variable(*var, ty, new);
                if prefix { new } else { old }
            }
            Place::Map { map, key } => {
                let old = self.map_add(*map, key.as_deref(), delta, ty);
                if prefix {
                    let sum = self.b.bin_imm(Ir::Add, old, delta);
                    self.normalise(sum, ty)
                } else {
                    old
                }
            }
        }
    }
}
