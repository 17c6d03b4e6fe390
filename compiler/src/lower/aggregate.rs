//! Aggregates: where they lie, and how they are written into a place.

use super::scalar::int_of;
use super::strings::capacity_of;
use super::{FnLower, Home, Loc, Mem};
use crate::ir::{BinOp as Ir, Block, Cond, Value, Width};
use crate::program::ProgramKind;
use crate::typed::{Expr, ExprKind, VarId};
use crate::types::layout::TupleLayout;
use crate::types::{AddrSpace, Type};

impl FnLower<'_, '_> {
    /// Where the value of an expression lies. Values that lie nowhere yet are written to local memory first.
    pub(super) fn place(&mut self, e: &Expr) -> Loc {
        let before = self.b.set_span(e.span);
        let loc = self.place_kind(e);
        self.b.set_span(before);
        loc
    }

    fn place_kind(&mut self, e: &Expr) -> Loc {
        match &e.kind {
            ExprKind::Var(var) => {
                if let Some(base) = self.variable_address(*var) {
                    return Loc::bpf(Mem { base, offset: 0 });
                }
            }
            ExprKind::Deref(pointer) => {
                let space = match &pointer.ty {
                    Type::Ptr(_, space) => *space,
                    _ => AddrSpace::Kernel,
                };
                let base = self.scalar(pointer);
                return Loc { space, mem: Mem { base, offset: 0 } };
            }
            ExprKind::Field { base, offset, .. } => {
                let loc = self.place(base);
                return Loc { space: loc.space, mem: loc.mem.at(*offset) };
            }
            ExprKind::Element { base, index } => {
                let types: Vec<Type> = match &base.ty {
                    Type::Tuple(types) => types.to_vec(),
                    Type::Record(fields) => fields.iter().map(|(_, t)| t.clone()).collect(),
                    _ => Vec::new(),
                };
                let offset = self.m.members(&types).offsets.get(*index as usize).copied().unwrap_or(0);
                let loc = self.place(base);
                return Loc { space: loc.space, mem: loc.mem.at(offset) };
            }
            ExprKind::Index { base, index } => return self.index(base, index, &e.ty),
            // Not where it will be kept: the function may read what lies there.
            ExprKind::CallFn(id, args) => {
                let temp = self.temp(&e.ty);
                self.call_function(*id, args, Some(temp));
                return Loc::bpf(temp);
            }
            ExprKind::MapGet { map, key: None } if !matches!(self.map_value_type(*map), Type::Aggregate(_)) => {
                let base = self.b.map_value(*map, 0);
                return Loc::bpf(Mem { base, offset: 0 });
            }
            // An integer as an array of bytes, or a tuple as a wider one: the bytes of the operand, where they fit.
            ExprKind::Cast(from) if matches!((&e.ty, &from.ty), (Type::Str(_), Type::Str(_))) => {
                return self.place(from);
            }
            _ => {}
        }
        let temp = self.temp(&e.ty);
        self.into(e, temp);
        Loc::bpf(temp)
    }

    /// Address of a variable that lives in memory.
    pub(super) fn variable_address(&mut self, var: VarId) -> Option<Value> {
        match self.placed(var)? {
            Home::Register(_) => None,
            home => Some(self.address_of(home)),
        }
    }

    /// Where a variable lives, from now on if it had no place so far.
    pub(super) fn placed(&mut self, var: VarId) -> Option<Home> {
        let home = self.vars.get(var).copied()?;
        let Home::Later = home else { return Some(home) };
        let size = self.m.size(&self.decls.get(var)?.ty).next_multiple_of(8);
        let (slot, used) = match self.shared {
            Some(shared) => shared,
            None => (self.b.slot(size, 8, false), 0),
        };
        self.b.grow_slot(slot, used.saturating_add(size));
        self.shared = Some((slot, used.saturating_add(size)));
        let home = Home::Memory { slot, offset: used as i32 };
        *self.vars.get_mut(var)? = home;
        Some(home)
    }

    /// The address of what lives in memory; zero for what does not.
    pub(super) fn address_of(&mut self, home: Home) -> Value {
        match home {
            Home::Register(_) | Home::Later => self.b.iconst(0),
            Home::Memory { slot, offset } => {
                let base = self.b.slot_addr(slot);
                self.addr(Mem { base, offset })
            }
            Home::Outer { base, offset } => self.addr(Mem { base, offset }),
            Home::Framed { frame, offset, behind } => {
                let base = self.b.load(Width::W8, frame, offset);
                self.addr(Mem { base, offset: behind })
            }
        }
    }

    /// An element of an array or a byte of a string. An index out of range reads zero.
    fn index(&mut self, base: &Expr, index: &Expr, ty: &Type) -> Loc {
        let stride = self.m.size(ty);
        let len = match &base.ty {
            Type::Array(_, len) | Type::Str(len) => *len,
            _ => 0,
        };
        let text = matches!(base.ty, Type::Str(_));
        let constant = match index.kind {
            ExprKind::Int(n) => u32::try_from(n).ok(),
            _ => None,
        };
        if let Some(n) = constant.filter(|n| (!text || *n == 0) && (*n < len || len == 0)) {
            let loc = self.place(base);
            let offset = n.checked_mul(stride);
            if let Some(offset) = offset {
                return Loc { space: loc.space, mem: loc.mem.at(offset) };
            }
        }
        let loc = self.place_indexed(base);
        let n = self.scalar(index);
        if matches!(loc.space, AddrSpace::Kernel | AddrSpace::User) {
            let bytes = self.b.bin_imm(Ir::Mul, n, i64::from(stride));
            let base = self.b.bin(Ir::Add, loc.mem.base, bytes);
            return Loc { space: loc.space, mem: Mem { base, offset: loc.mem.offset } };
        }
        // The verifier must see the bound; what is read out of range is the zeroed copy.
        let copy = self.temp(ty);
        self.zero(copy, stride);
        let (inside, end) = (self.b.block(), self.b.block());
        self.b.branch_imm(Cond::ULt, n, i64::from(len), inside, end);
        self.b.enter(inside);
        if text {
            // Behind the terminator lies what the place was used for before.
            let length = self.scan_length(loc.mem, constant.map_or(len, |n| n.saturating_add(1).min(len)));
            let before = self.b.block();
            self.b.branch(Cond::ULt, n, length, before, end);
            self.b.enter(before);
        }
        let bytes = self.b.bin_imm(Ir::Mul, n, i64::from(stride));
        let base = self.b.bin(Ir::Add, loc.mem.base, bytes);
        let element = Loc { space: loc.space, mem: Mem { base, offset: loc.mem.offset } };
        if matches!(loc.space, AddrSpace::Ctx) {
            self.read_remote(copy, element, stride);
        } else {
            self.b.copy((copy.base, copy.offset), (element.mem.base, element.mem.offset), stride, elem_align(stride));
        }
        self.join(end);
        Loc::bpf(copy)
    }

    /// Like `place`, for an access at an offset that is not constant: never on the stack.
    pub(super) fn place_indexed(&mut self, e: &Expr) -> Loc {
        let loc = self.place(e);
        if loc.space == AddrSpace::Bpf {
            self.b.mark_indexed(loc.mem.base);
        }
        loc
    }

    /// Writes the value of an expression of any type but void to a place in BPF memory.
    pub(super) fn into(&mut self, e: &Expr, dst: Mem) {
        let before = self.b.set_span(e.span);
        self.write_kind(e, dst);
        self.b.set_span(before);
    }

    fn write_kind(&mut self, e: &Expr, dst: Mem) {
        if e.ty.is_scalar() {
            let value = self.scalar(e);
            return self.store_scalar(dst, &e.ty, value);
        }
        if let Type::Str(capacity) = e.ty {
            self.string_into(e, dst, capacity);
            return;
        }
        match &e.kind {
            ExprKind::Tuple(members) => self.tuple_into(members, dst),
            ExprKind::Parts(parts) => {
                let size = self.m.size(&e.ty);
                self.zero(dst, size);
                for (offset, part) in parts {
                    self.into(part, dst.at(*offset));
                }
            }
            ExprKind::Str(bytes) => self.store_bytes(dst, bytes),
            ExprKind::Call(op, args) => self.builtin_into(*op, args, e, dst),
            ExprKind::MapGet { map, key } => self.map_get_into(*map, key.as_deref(), &e.ty, dst),
            ExprKind::Ternary { cond, then, otherwise } => {
                let (yes, no, end) = (self.b.block(), self.b.block(), self.b.block());
                self.condition(cond, yes, no);
                self.b.enter(yes);
                self.into(then, dst);
                self.b.jump(end);
                self.b.enter(no);
                self.into(otherwise, dst);
                self.join(end);
            }
            ExprKind::Block(block) => {
                self.stmts(&block.stmts);
                if let Some(value) = &block.value {
                    self.into(value, dst);
                }
            }
            ExprKind::Cast(from) => self.cast_into(from, &e.ty, dst),
            _ => {
                let loc = self.place(e);
                self.copy_from(loc, dst, &e.ty);
            }
        }
    }

    /// Copies a value of a type from a place of any memory.
    pub(super) fn copy_from(&mut self, src: Loc, dst: Mem, ty: &Type) {
        if has_strings(ty) {
            // What lies behind a terminator must not come along: the copy may be a key.
            return self.convert(src, ty, dst, ty);
        }
        let size = self.m.size(ty);
        match src.space {
            AddrSpace::Bpf => self.copy(dst, src.mem, size),
            // The context that the verifier shows is put together load by load, nowhere does it lie as a whole.
            AddrSpace::Ctx if self.program.kind == ProgramKind::PerfEvent => {
                for at in (0..size as i32).step_by(8) {
                    let word = self.b.load(Width::W8, src.mem.base, src.mem.offset + at);
                    self.b.store(Width::W8, dst.base, dst.offset + at, word);
                }
            }
            _ => self.read_remote(dst, src, size),
        }
    }

    fn tuple_into(&mut self, members: &[Expr], dst: Mem) {
        let types: Vec<Type> = members.iter().map(|m| m.ty.clone()).collect();
        let layout = self.m.members(&types);
        if self.has_padding(&types, &layout) {
            self.zero(dst, layout.size);
        }
        for (member, offset) in members.iter().zip(layout.offsets) {
            self.into(member, dst.at(offset));
        }
    }

    fn has_padding(&self, types: &[Type], layout: &TupleLayout) -> bool {
        let mut end = 0;
        for (ty, offset) in types.iter().zip(&layout.offsets) {
            if *offset != end {
                return true;
            }
            end = offset + self.m.size(ty);
        }
        end != layout.size
    }

    fn cast_into(&mut self, from: &Expr, to: &Type, dst: Mem) {
        match (&from.ty, to) {
            (Type::Tuple(_) | Type::Record(_), Type::Tuple(_) | Type::Record(_)) => {
                let (sources, targets) = (member_types(&from.ty), member_types(to));
                let (from_layout, to_layout) = (self.m.members(&sources), self.m.members(&targets));
                let src = self.place(from);
                self.zero(dst, to_layout.size);
                let offsets = from_layout.offsets.into_iter().zip(to_layout.offsets);
                for ((source, target), (a, b)) in sources.iter().zip(&targets).zip(offsets) {
                    let member = Loc { space: src.space, mem: src.mem.at(a) };
                    self.convert(member, source, dst.at(b), target);
                }
            }
            _ if from.ty.is_scalar() => {
                // An integer as an array of at least its size.
                let value = self.scalar(from);
                let size = self.m.size(to);
                if size > self.m.size(&from.ty) {
                    self.zero(dst, size);
                }
                self.store_scalar(dst, &from.ty, value);
            }
            _ => {
                let src = self.place(from);
                let size = self.m.size(&from.ty).min(self.m.size(to));
                match src.space {
                    AddrSpace::Bpf => self.copy(dst, src.mem, size),
                    _ => self.read_remote(dst, src, size),
                }
            }
        }
    }

    /// Copies a member, widening it on the way.
    fn convert(&mut self, src: Loc, from: &Type, dst: Mem, to: &Type) {
        match (from, to) {
            (Type::Tuple(_) | Type::Record(_), Type::Tuple(_) | Type::Record(_)) => {
                let (sources, targets) = (member_types(from), member_types(to));
                let offsets = self.m.members(&sources).offsets.into_iter().zip(self.m.members(&targets).offsets);
                for ((s, t), (a, b)) in sources.iter().zip(&targets).zip(offsets) {
                    self.convert(Loc { space: src.space, mem: src.mem.at(a) }, s, dst.at(b), t);
                }
            }
            (Type::Str(_), Type::Str(capacity)) => {
                self.copy_string(src, dst, *capacity);
            }
            _ if from.is_scalar() && to.is_scalar() => {
                let value = self.load_scalar(src, from);
                self.store_scalar(dst, to, value);
            }
            _ => self.copy_from(src, dst, from),
        }
    }

    /// Equality of two aggregates of one type.
    pub(super) fn equal(&mut self, lhs: &Expr, rhs: &Expr, yes: Block, no: Block) {
        if matches!(lhs.ty, Type::Str(_)) {
            return self.strings_equal(lhs, rhs, yes, no);
        }
        let (a, b) = (self.local(lhs), self.local(rhs));
        // Equal buffers have no more bytes than the smaller one has room for.
        let smaller = if capacity_of(&rhs.ty) < capacity_of(&lhs.ty) { &rhs.ty } else { &lhs.ty };
        self.equal_at(a, b, smaller, no);
        self.b.jump(yes);
    }

    /// The value in BPF memory.
    pub(super) fn local(&mut self, e: &Expr) -> Mem {
        let loc = self.place(e);
        if loc.space == AddrSpace::Bpf {
            return loc.mem;
        }
        let temp = self.temp(&e.ty);
        self.copy_from(loc, temp, &e.ty);
        temp
    }

    /// Goes on when two values are equal, else to `no`.
    fn equal_at(&mut self, a: Mem, b: Mem, ty: &Type, no: Block) {
        match ty {
            Type::Tuple(_) | Type::Record(_) => {
                let types = member_types(ty);
                let offsets = self.m.members(&types).offsets;
                for (member, offset) in types.iter().zip(offsets) {
                    self.equal_at(a.at(offset), b.at(offset), member, no);
                }
            }
            Type::Str(capacity) => {
                let on = self.b.block();
                self.bytes_equal(a, b, *capacity, on, no);
                self.b.enter(on);
            }
            Type::Buf(capacity) => {
                self.b.mark_indexed(a.base);
                self.b.mark_indexed(b.base);
                let [x, y] = [a, b].map(|mem| self.b.load(Width::W4, mem.base, mem.offset));
                let (same_length, on) = (self.b.block(), self.b.block());
                self.b.branch(Cond::Eq, x, y, same_length, no);
                self.b.enter(same_length);
                let difference = self.difference(a.at(4), b.at(4), x, *capacity);
                self.b.branch_imm(Cond::Eq, difference, 0, on, no);
                self.b.enter(on);
            }
            _ if ty.is_scalar() => {
                let (x, y) = (self.load_scalar(Loc::bpf(a), ty), self.load_scalar(Loc::bpf(b), ty));
                let on = self.b.block();
                self.b.branch(Cond::Eq, x, y, on, no);
                self.b.enter(on);
            }
            _ => {
                let (size, align) = (self.m.size(ty), a.align().min(b.align()));
                let mut at = 0;
                while at < size {
                    let step = chunk(size - at, align);
                    let int = Type::Int(crate::types::IntType { size: step as u8, signed: false });
                    let (x, y) =
                        (self.load_scalar(Loc::bpf(a.at(at)), &int), self.load_scalar(Loc::bpf(b.at(at)), &int));
                    let on = self.b.block();
                    self.b.branch(Cond::Eq, x, y, on, no);
                    self.b.enter(on);
                    at += step;
                }
            }
        }
    }

    /// Evaluates an expression for its effects only.
    pub(super) fn effect(&mut self, e: &Expr) {
        let before = self.b.set_span(e.span);
        match &e.kind {
            ExprKind::Block(block) => {
                self.stmts(&block.stmts);
                if let Some(value) = &block.value {
                    self.effect(value);
                }
            }
            ExprKind::Ternary { cond, then, otherwise } => {
                let (yes, no, end) = (self.b.block(), self.b.block(), self.b.block());
                self.condition(cond, yes, no);
                for (block, branch) in [(yes, then), (no, otherwise)] {
                    self.b.enter(block);
                    self.effect(branch);
                    self.b.jump(end);
                }
                self.b.enter(end);
            }
            _ if e.ty.is_scalar() => {
                self.scalar(e);
            }
            _ if matches!(e.ty, Type::Void) => match &e.kind {
                ExprKind::Call(op, args) => drop(self.builtin_scalar(*op, args, e)),
                ExprKind::CallFn(id, args) => drop(self.call_function(*id, args, None)),
                _ => {}
            },
            _ => {
                self.place(e);
            }
        }
        self.b.set_span(before);
    }
}

/// Alignment of the elements of an array in aligned memory.
fn elem_align(stride: u32) -> u32 {
    1 << stride.trailing_zeros().min(3)
}

/// Largest power of two up to 8 that fits the rest and the alignment.
pub(super) fn chunk(rest: u32, align: u32) -> u32 {
    let mut step = align.clamp(1, 8);
    while step > rest {
        step /= 2;
    }
    step.max(1)
}

/// True for a tuple or record with a string inside.
fn has_strings(ty: &Type) -> bool {
    member_types(ty).iter().any(|member| matches!(member, Type::Str(_)) || has_strings(member))
}

/// Members of a tuple or record.
pub(super) fn member_types(ty: &Type) -> Vec<Type> {
    match ty {
        Type::Tuple(types) => types.to_vec(),
        Type::Record(fields) => fields.iter().map(|(_, t)| t.clone()).collect(),
        _ => Vec::new(),
    }
}

/// True for a type whose bytes in a key are all defined by writing its value.
pub(super) fn fills_its_bytes(ty: &Type) -> bool {
    match ty {
        Type::Str(_) | Type::Buf(_) | Type::Tuple(_) | Type::Record(_) | Type::Strings => false,
        _ => ty.is_scalar() || int_of(ty).size > 0,
    }
}
