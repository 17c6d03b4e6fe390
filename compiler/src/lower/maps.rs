//! Maps: keys, lookups, updates, in-place addition.

use super::aggregate::fills_its_bytes;
use super::scalar::{int_of, width_of};
use super::{FnLower, Loc, Mem};
use crate::ir::{BinOp as Ir, Cond, Value, Width, helpers};
use crate::program::{Aggregate, Counter, MapId};
use crate::typed::walk::Node;
use crate::typed::{BinOp, Expr, ExprKind, MapOp};
use crate::types::Type;

/// `BPF_ANY`, `BPF_NOEXIST`.
const ANY: i64 = 0;
const NOEXIST: i64 = 1;

impl FnLower<'_, '_> {
    pub(super) fn map_value_type(&self, map: MapId) -> Type {
        self.m.script.maps.get(map).map_or(Type::Void, |m| m.value.clone())
    }

    fn map_key_type(&self, map: MapId) -> Option<Type> {
        self.m.script.maps.get(map).and_then(|m| m.key.clone())
    }

    /// True when the map's value has a constant address.
    fn is_static(&self, map: MapId) -> bool {
        self.m.script.maps.get(map).is_some_and(|m| m.key.is_none() && !super::is_per_cpu(m))
    }

    /// Address of the key in memory, all its bytes defined.
    pub(super) fn key(&mut self, map: MapId, key: Option<&Expr>) -> Value {
        let Some((key, ty)) = key.zip(self.map_key_type(map)) else {
            // A scalar map on a per-CPU array: index 0.
            let temp = self.temp_bytes(4);
            let zero = self.b.iconst(0);
            self.b.store(Width::W4, temp.base, temp.offset, zero);
            return temp.base;
        };
        let size = self.m.size(&ty);
        let temp = self.temp_bytes(size.max(1));
        if !fills_its_bytes(&ty) {
            // All that writes a string (constants, the reading helpers, `comm`, which pads with zeros) leaves the bytes behind
            // the terminator alone.
            self.zero(temp, size);
        }
        self.into(key, temp);
        temp.base
    }

    /// Address of the value, 0 when the key is absent.
    pub(super) fn map_lookup(&mut self, map: MapId, key: Option<&Expr>) -> Value {
        if self.is_static(map) {
            return self.b.map_value(map, 0);
        }
        let key = self.key(map, key);
        self.lookup(map, key)
    }

    /// Notes that a scalar map has been assigned; `address` is that of its value. Keyed maps have no such flag: their entries are
    /// there or not.
    pub(super) fn mark_set(&mut self, map: MapId, address: Value) {
        let Some(m) = self.m.script.maps.get(map).filter(|m| m.key.is_none()) else { return };
        let offset = super::set_flag_offset(self.m.size(&m.value).max(1));
        let one = self.b.iconst(1);
        self.b.store(Width::W8, address, offset as i32, one);
    }

    pub(super) fn lookup(&mut self, map: MapId, key: Value) -> Value {
        let handle = self.b.map(map);
        self.b.call(helpers::MAP_LOOKUP_ELEM, &[handle, key])
    }

    pub(super) fn map_get_scalar(&mut self, map: MapId, key: Option<&Expr>, ty: &Type) -> Value {
        if let Type::Aggregate(aggregate) = self.map_value_type(map) {
            return self.reduce(map, key, aggregate);
        }
        if self.is_static(map) {
            let base = self.b.map_value(map, 0);
            return self.load_scalar(Loc::bpf(Mem { base, offset: 0 }), ty);
        }
        let found = self.map_lookup(map, key);
        let result = self.b.variable();
        let zero = self.b.iconst(0);
        self.b.set(result, zero);
        let (hit, end) = (self.b.block(), self.b.block());
        self.b.branch_imm(Cond::Ne, found, 0, hit, end);
        self.b.enter(hit);
        let value = self.load_scalar(Loc::bpf(Mem { base: found, offset: 0 }), ty);
        self.b.set(result, value);
        self.join(end);
        self.b.get(result)
    }

    pub(super) fn map_get_into(&mut self, map: MapId, key: Option<&Expr>, ty: &Type, dst: Mem) {
        if let Type::Aggregate(Aggregate::Avg { signed } | Aggregate::Stats { signed }) = self.map_value_type(map) {
            let key = self.key(map, key);
            return self.reduce_into(map, key, signed, dst);
        }
        let found = self.map_lookup(map, key);
        if self.is_static(map) {
            return self.copy_from(Loc::bpf(Mem { base: found, offset: 0 }), dst, ty);
        }
        let (hit, miss, end) = (self.b.block(), self.b.block(), self.b.block());
        self.b.branch_imm(Cond::Ne, found, 0, hit, miss);
        self.b.enter(hit);
        self.copy_from(Loc::bpf(Mem { base: found, offset: 0 }), dst, ty);
        self.b.jump(end);
        self.b.enter(miss);
        self.zero(dst, self.m.size(ty));
        self.join(end);
    }

    /// `@m[key] = value`.
    pub(super) fn map_assign(&mut self, map: MapId, key: Option<&Expr>, value: &Expr) {
        let ty = self.map_value_type(map);
        if self.is_static(map) {
            let base = self.b.map_value(map, 0);
            let direct = !matches!(ty, Type::Str(_)) || !reads_map(value, map);
            if direct {
                self.into(value, Mem { base, offset: 0 });
                return self.mark_set(map, base);
            }
        }
        let temp = self.temp(&ty);
        if !fills_its_bytes(&ty) && !matches!(ty, Type::Str(_)) {
            self.zero(temp, self.m.size(&ty));
        } else if let Type::Str(capacity) = ty {
            // The helper reads the whole value: its bytes must be defined where the kernel checks that.
            self.zero(temp, capacity);
        }
        self.into(value, temp);
        if self.is_static(map) {
            let base = self.b.map_value(map, 0);
            self.copy_from(Loc::bpf(temp), Mem { base, offset: 0 }, &ty);
            return self.mark_set(map, base);
        }
        let key = self.key(map, key);
        self.update(map, key, temp.base, ANY);
    }

    /// Updates; a failure is counted: of a full map, or of one without memory set aside where the kernel has none at hand.
    pub(super) fn update(&mut self, map: MapId, key: Value, value: Value, flags: i64) {
        let handle = self.b.map(map);
        let flags_value = self.b.iconst(flags);
        let result = self.b.call(helpers::MAP_UPDATE_ELEM, &[handle, key, value, flags_value]);
        let (failed, on) = (self.b.block(), self.b.block());
        self.b.branch_imm(Cond::Eq, result, 0, on, failed);
        self.b.enter(failed);
        if flags == NOEXIST {
            // Somebody else made the entry in between: that is no loss.
            let counted = self.b.block();
            self.b.branch_imm(Cond::Eq, result, helpers::EEXIST, on, counted);
            self.b.enter(counted);
        }
        let position = self.position();
        if self.m.module.maps.get(map).is_some_and(|def| def.flags & super::NO_PREALLOC != 0) {
            let (full, otherwise) = (self.b.block(), self.b.block());
            self.b.branch_imm(Cond::Eq, result, helpers::E2BIG, full, otherwise);
            self.b.enter(otherwise);
            self.count(Counter::NoMemory { map, position: position.clone() });
            self.b.jump(on);
            self.b.enter(full);
        }
        self.count(Counter::MapFull { map, position });
        self.join(on);
    }

    /// The entry's value address, made with zero bytes when absent; 0 when that failed, which is counted.
    pub(super) fn lookup_or_insert(&mut self, map: MapId, key: Option<&Expr>) -> Value {
        if self.is_static(map) {
            return self.b.map_value(map, 0);
        }
        let scalar_map = key.is_none();
        let key = self.key(map, key);
        let found = self.lookup(map, key);
        if scalar_map {
            // An array's only element is always there.
            return found;
        }
        let result = self.b.variable();
        self.b.set(result, found);
        let (miss, end) = (self.b.block(), self.b.block());
        self.b.branch_imm(Cond::Eq, found, 0, miss, end);
        self.b.enter(miss);
        let size = self.m.module.maps.get(map).map_or(8, |m| m.value_size);
        let initial = self.temp_bytes(size);
        self.zero(initial, size);
        self.update(map, key, initial.base, NOEXIST);
        let again = self.lookup(map, key);
        self.b.set(result, again);
        self.join(end);
        self.b.get(result)
    }

    /// Adds to an integer in place, atomically where the width allows; returns the value from before.
    pub(super) fn map_add(&mut self, map: MapId, key: Option<&Expr>, delta: i64, ty: &Type) -> Value {
        let address = self.lookup_or_insert(map, key);
        let old = self.b.variable();
        let zero = self.b.iconst(0);
        self.b.set(old, zero);
        let (hit, end) = (self.b.block(), self.b.block());
        if self.is_static(map) {
            self.b.jump(hit);
        } else {
            self.b.branch_imm(Cond::Ne, address, 0, hit, end);
        }
        self.b.enter(hit);
        self.mark_set(map, address);
        let before = self.load_scalar(Loc::bpf(Mem { base: address, offset: 0 }), ty);
        self.b.set(old, before);
        let width = width_of(int_of(ty));
        let delta = self.b.iconst(delta);
        if matches!(width, Width::W4 | Width::W8) {
            self.b.atomic_add(width, address, 0, delta);
        } else {
            let sum = self.b.bin(Ir::Add, before, delta);
            self.b.store(width, address, 0, sum);
        }
        self.join(end);
        self.b.get(old)
    }

    /// `@m[key] op= value`.
    pub(super) fn map_update_op(&mut self, map: MapId, key: Option<&Expr>, op: BinOp, value: &Expr) {
        let ty = self.map_value_type(map);
        let operand = self.scalar(value);
        let address = self.lookup_or_insert(map, key);
        let (hit, end) = (self.b.block(), self.b.block());
        if self.is_static(map) {
            self.b.jump(hit);
        } else {
            self.b.branch_imm(Cond::Ne, address, 0, hit, end);
        }
        self.b.enter(hit);
        self.mark_set(map, address);
        let width = width_of(int_of(&ty));
        let wide = matches!(width, Width::W4 | Width::W8);
        match op {
            BinOp::Add if wide => self.b.atomic_add(width, address, 0, operand),
            BinOp::Sub if wide => {
                let zero = self.b.iconst(0);
                let negated = self.b.bin(Ir::Sub, zero, operand);
                self.b.atomic_add(width, address, 0, negated);
            }
            _ => {
                let place = Mem { base: address, offset: 0 };
                let old = self.load_scalar(Loc::bpf(place), &ty);
                let new = self.arithmetic(op, old, operand, &ty, value);
                self.store_scalar(place, &ty, new);
            }
        }
        self.join(end);
    }

    pub(super) fn map_call(&mut self, op: MapOp, map: MapId, key: Option<&Expr>) -> Value {
        match (op, key) {
            (MapOp::HasKey, Some(_)) => {
                let found = self.map_lookup(map, key);
                let zero = self.b.iconst(0);
                self.b.cmp(Cond::Ne, found, zero)
            }
            (MapOp::Delete, Some(_)) => {
                let key = self.key(map, key);
                let handle = self.b.map(map);
                let result = self.b.call(helpers::MAP_DELETE_ELEM, &[handle, key]);
                let zero = self.b.iconst(0);
                self.b.cmp(Cond::Eq, result, zero)
            }
            (MapOp::Delete, None) => {
                let size = self.m.module.maps.get(map).map_or(8, |m| m.value_size);
                if !self.is_static(map) {
                    let key = self.key(map, None);
                    self.each_cpu(map, key, |this, base| this.zero(Mem { base, offset: 0 }, size));
                    return self.b.iconst(1);
                }
                let base = self.b.map_value(map, 0);
                self.zero(Mem { base, offset: 0 }, size);
                self.b.iconst(1)
            }
            (MapOp::HasKey, None) => self.b.iconst(1),
            (MapOp::Len, _) => self.map_len(map),
        }
    }
}

/// True when an expression reads a map that is about to be overwritten in place.
fn reads_map(e: &Expr, map: MapId) -> bool {
    e.any(&mut |node| {
        matches!(node, Node::Expr(Expr { kind: ExprKind::MapGet { map: m, .. } | ExprKind::MapCall { map: m, .. }, .. })
            if *m == map)
    })
}
