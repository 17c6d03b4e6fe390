//! `for ($kv : @map)`: the body becomes a callback of `bpf_for_each_map_elem`.

use super::callback::Mentions;
use super::{FnLower, Loc, Mem};
use crate::ir::builder::FunctionBuilder;
use crate::ir::{CallbackKind, FunctionKind, Value, helpers};
use crate::program::{Aggregate, MapId};
use crate::typed::{Block, VarId};
use crate::types::Type;

/// The callback's parameters before the frame: map, key, value.
const KEY: usize = 1;
const VALUE: usize = 2;

impl FnLower<'_, '_> {
    pub(super) fn for_map(&mut self, var: VarId, map: MapId, body: &Block) {
        let frame = self.frame(&self.captures(&Mentions::of(body, None), Some(var)), None);
        let callback = self.callback(CallbackKind::ForEachMapElem, &frame, |inner, params, _| {
            let param = |n: usize| params.get(n).copied().unwrap_or(Value(0));
            inner.pair(var, map, param(KEY), param(VALUE));
            inner.block(body);
        });
        let handle = self.b.map(map);
        let function = self.b.func_addr(callback);
        let flags = self.b.iconst(0);
        self.b.call(helpers::FOR_EACH_MAP_ELEM, &[handle, function, frame.address, flags]);
        self.after(&frame);
    }

    /// `len(@m)`: the kernel counts while it calls a callback that does nothing.
    pub(super) fn map_len(&mut self, map: MapId) -> Value {
        let kind = FunctionKind::Callback(CallbackKind::ForEachMapElem);
        let (mut b, _) = FunctionBuilder::new(self.callback_symbol(), kind, 4, self.b.span());
        let go_on = b.iconst(0);
        b.ret(go_on);
        let callback = self.m.module.functions.push(b.finish());
        let handle = self.b.map(map);
        let function = self.b.func_addr(callback);
        let zero = self.b.iconst(0);
        self.b.call(helpers::FOR_EACH_MAP_ELEM, &[handle, function, zero, zero])
    }

    /// Fills the loop variable, a tuple of key and value.
    fn pair(&mut self, var: VarId, map: MapId, key: Value, value: Value) {
        let Some((base, declared)) = self.variable_address(var).zip(self.decls.get(var)) else {
            return self.internal("a loop variable that is no tuple", self.b.span());
        };
        let types = super::aggregate::member_types(&declared.ty);
        let offsets = self.m.members(&types).offsets;
        let dst = |n: usize| Mem { base, offset: offsets.get(n).copied().unwrap_or(0) as i32 };
        if let Some(ty) = types.first() {
            self.copy_member(Loc::bpf(Mem { base: key, offset: 0 }), dst(0), ty);
        }
        if let Some(ty) = types.get(1) {
            if let Type::Aggregate(Aggregate::Stats { signed }) = self.map_value_type(map) {
                return self.reduce_into(map, key, signed, dst(1));
            }
            if let Type::Aggregate(aggregate) = self.map_value_type(map) {
                let total = self.reduce_at(map, key, aggregate);
                return self.store_scalar(dst(1), ty, total);
            }
            self.copy_member(Loc::bpf(Mem { base: value, offset: 0 }), dst(1), ty);
        }
    }

    pub(super) fn copy_member(&mut self, src: Loc, dst: Mem, ty: &Type) {
        if let Type::Str(capacity) = ty {
            self.copy_string(src, dst, *capacity);
        } else {
            self.copy_from(src, dst, ty);
        }
    }
}
