//! `for ($kv : @map)`: the body becomes a callback of `bpf_for_each_map_elem`.
//!
//! The callback reaches the variables of its surroundings through a small frame on the stack (the helper takes no other address):
//! scalars are copied in and out around every turn, aggregates are passed by address. The first word says that the script has
//! returned from inside the loop.

use super::temps::Temps;
use super::{FnLower, Home, Loc, Loop, Mem};
use crate::index::{Id, IndexVec};
use crate::ir::builder::{FunctionBuilder, Variable};
use crate::ir::{CallbackKind, Cond, FunctionKind, Value, Width, helpers};
use crate::program::{Aggregate, MapId};
use crate::typed::walk::Node;
use crate::typed::{Block, Expr, ExprKind, Place, StmtKind, VarId};
use crate::types::Type;

/// Frame: the returned flag and the program's context, then the captured variables.
const RETURNED: i32 = 0;
const CONTEXT: i32 = 8;
const CAPTURES: i32 = 16;

/// Order of the callback's parameters.
const KEY: usize = 1;
const VALUE: usize = 2;
const FRAME: usize = 3;

impl FnLower<'_, '_> {
    pub(super) fn for_map(&mut self, var: VarId, map: MapId, body: &Block) {
        let captured = captures(body, var);
        let frame_slot = self.b.pinned_slot(CAPTURES as u32 + captured.len() as u32 * 8);
        let frame = self.b.slot_addr(frame_slot);
        let zero = self.b.iconst(0);
        self.b.store(Width::W8, frame, RETURNED, zero);
        let ctx = self.ctx;
        self.b.store(Width::W8, frame, CONTEXT, ctx);
        for (at, captive) in offsets(&captured) {
            let word = match self.vars.get(captive).copied() {
                Some(Home::Register(v)) => self.b.get(v),
                _ => match self.variable_address(captive) {
                    Some(address) => address,
                    None => continue,
                },
            };
            self.b.store(Width::W8, frame, at, word);
        }

        let callback = self.callback(var, map, body, &captured);
        let handle = self.b.map(map);
        let function = self.b.func_addr(callback);
        let flags = self.b.iconst(0);
        self.b.call(helpers::FOR_EACH_MAP_ELEM, &[handle, function, frame, flags]);

        for (at, captive) in offsets(&captured) {
            if let Some(Home::Register(v)) = self.vars.get(captive).copied() {
                let word = self.b.load(Width::W8, frame, at);
                self.b.set(v, word);
            }
        }
        let returned = self.b.load(Width::W8, frame, RETURNED);
        let on = self.b.block();
        let exit = self.exit;
        self.b.branch_imm(Cond::Eq, returned, 0, on, exit);
        self.b.enter(on);
    }

    /// Lowers the body into a function of its own.
    fn callback(&mut self, var: VarId, map: MapId, body: &Block, captured: &[VarId]) -> crate::ir::FuncId {
        let symbol = self.callback_symbol();
        let kind = FunctionKind::Callback(CallbackKind::ForEachMapElem);
        let (mut b, params) = FunctionBuilder::new(symbol, kind, 4, self.b.span());
        let param = |n: usize| params.get(n).copied().unwrap_or(Value(0));
        let frame = param(FRAME);
        let ctx = b.load(Width::W8, frame, CONTEXT);

        let mut homes: Vec<Home> = Vec::new();
        let mut scalars: Vec<(i32, Variable)> = Vec::new();
        for (index, declared) in self.program.vars.iter().enumerate() {
            let id = VarId::new(index);
            let at = offsets(captured).find(|(_, c)| *c == id).map(|(at, _)| at);
            let home = match (at, declared.ty.is_scalar()) {
                (Some(at), true) => {
                    let v = b.variable();
                    let word = b.load(Width::W8, frame, at);
                    b.set(v, word);
                    scalars.push((at, v));
                    Home::Register(v)
                }
                (Some(at), false) => Home::Outer(b.load(Width::W8, frame, at)),
                (None, true) => Home::Register(b.variable()),
                (None, false) => Home::Memory(b.slot(self.m.size(&declared.ty), 8, false)),
            };
            homes.push(home);
        }
        let (exit, stop, next) = (b.block(), b.block(), b.block());
        let mut inner = FnLower {
            m: &mut *self.m,
            b,
            program: self.program,
            ctx,
            vars: IndexVec::from(homes),
            exit,
            loops: vec![Loop { exit: stop, next }],
            probe: self.probe.clone(),
            temps: Temps::default(),
        };
        inner.pair(var, map, param(KEY), param(VALUE));
        inner.block(body);
        inner.b.jump(next);
        for (block, result, returned) in [(next, 0, false), (stop, 1, false), (exit, 1, true)] {
            inner.b.enter(block);
            for (at, v) in &scalars {
                let word = inner.b.get(*v);
                inner.b.store(Width::W8, frame, *at, word);
            }
            if returned {
                let one = inner.b.iconst(1);
                inner.b.store(Width::W8, frame, RETURNED, one);
            }
            let result = inner.b.iconst(result);
            inner.b.ret(result);
        }
        let function = inner.b.finish();
        self.m.module.functions.push(function)
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

    pub(super) fn callback_symbol(&mut self) -> String {
        self.m.callbacks += 1;
        format!("cb{}", self.m.callbacks)
    }

    /// Fills the loop variable, a tuple of key and value.
    fn pair(&mut self, var: VarId, map: MapId, key: Value, value: Value) {
        let Some((base, declared)) = self.variable_address(var).zip(self.program.vars.get(var)) else {
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

    fn copy_member(&mut self, src: Loc, dst: Mem, ty: &Type) {
        if let Type::Str(capacity) = ty {
            self.copy_string(src, dst, *capacity);
        } else {
            self.copy_from(src, dst, ty);
        }
    }
}

/// Where each captured variable's word lies in the frame.
fn offsets(captured: &[VarId]) -> impl Iterator<Item = (i32, VarId)> + '_ {
    captured.iter().enumerate().map(|(n, v)| (CAPTURES + n as i32 * 8, *v))
}

/// Variables that the body mentions, without its own.
fn captures(body: &Block, own: VarId) -> Vec<VarId> {
    let mut found = Vec::new();
    body.any(&mut |node| {
        let var = match node {
            Node::Expr(Expr { kind: ExprKind::Var(v), .. }) | Node::Place(Place::Var(v)) => Some(*v),
            Node::Stmt(stmt) => match stmt.kind {
                StmtKind::ForRange { var, .. } | StmtKind::ForMap { var, .. } => Some(var),
                _ => None,
            },
            _ => None,
        };
        found.extend(var.filter(|v| *v != own));
        false
    });
    found.sort_unstable();
    found.dedup();
    found
}
