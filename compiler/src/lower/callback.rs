//! The body of a loop as a callback: how it reaches the variables of its surroundings, and how it ends.
//!
//! The helpers take one address for the callback, and it must lie on the stack: a small *frame* with the program's context, the
//! addresses of variables that lie in memory, and that of the *words*. The words are memory that the verifier knows nothing about: how the loop ended,
//! and the scalar variables, copied in and out around every round. In the frame the verifier would know their values and follow
//! a counter through all rounds, which ends at its limit.

use super::temps::Temps;
use super::{FnLower, Home, Loop};
use crate::index::{Id, IndexVec};
use crate::ir::builder::{FunctionBuilder, Variable};
use crate::ir::{CallbackKind, Cond, FuncId, FunctionKind, Value, Width};
use crate::typed::VarId;
use crate::typed::walk::Node;
use crate::typed::{Block, Expr, ExprKind, Place, StmtKind};
use crate::types::{AddrSpace, Type};

/// Frame: the program's context, the address of the words, then addresses; in a function with a result that is no scalar, its place before them.
const CONTEXT: i32 = 0;
const WORDS: i32 = 8;
const RESULT_PLACE: i32 = 16;
const ADDRESSES: i32 = 16;

/// Words: how the loop ended, what the kind of loop needs, then scalars; in a function with a scalar result, that before them.
const ENDED: i32 = 0;
const OWN: i32 = 8;
const RESULT: i32 = 16;
const SCALARS: i32 = 16;

/// Values of [`ENDED`]; 0 while rounds go on.
const BY_SCRIPT: i64 = 1;
const BY_RETURN: i64 = 2;

/// Callbacks inside of each other: the kernel allows eight frames, and one is left for helpers of ours.
const MOST_NESTED: u32 = 6;

/// A variable of the surroundings, and where its word lies.
#[derive(Clone, Copy)]
enum Captured {
    /// A number, in the words; true when the loop assigns it.
    Scalar(i32, bool),
    /// An address that only the stack keeps as such, in the frame: of memory, or a pointer that the verifier knows.
    Address(i32),
}

/// What a loop hands to its callback.
pub(super) struct Frame {
    captured: Vec<(VarId, Captured)>,
    /// Address of the frame, in the function that has the loop.
    pub address: Value,
    words: Value,
}

impl FnLower<'_, '_> {
    /// True when a callback may be called from here.
    pub(super) fn may_call_back(&self) -> bool {
        self.may_nest(1)
    }

    /// Whether so many more callbacks fit into each other.
    pub(super) fn may_nest(&self, levels: u32) -> bool {
        self.m.facts.has_loops && self.depth.saturating_add(levels) <= MOST_NESTED
    }

    /// Makes the frame of a loop that mentions these variables. `own` is for the callback of the loop alone.
    pub(super) fn frame(&mut self, mentioned: &[(VarId, bool)], own: Option<Value>) -> Frame {
        let room = if self.result.is_some() { 8 } else { 0 };
        let (mut scalars, mut addresses) = (SCALARS + room, ADDRESSES + room);
        let mut captured = Vec::new();
        for &(var, assigned) in mentioned {
            let known = self.decls.get(var).is_some_and(|v| is_verified_pointer(&v.ty));
            let next = |at: &mut i32| {
                *at += 8;
                *at - 8
            };
            let place = match self.vars.get(var) {
                Some(Home::Register(_)) if !known => Captured::Scalar(next(&mut scalars), assigned),
                _ => Captured::Address(next(&mut addresses)),
            };
            captured.push((var, place));
        }
        let words = self.indexed_bytes(scalars as u32);
        let words = self.addr(words);
        let address = self.pinned(addresses as u32);
        let ctx = self.ctx;
        self.b.store(Width::W8, address, CONTEXT, ctx);
        self.b.store(Width::W8, address, WORDS, words);
        let zero = self.b.iconst(0);
        self.b.store(Width::W8, words, ENDED, zero);
        match self.result {
            Some(Home::Outer(place)) => self.b.store(Width::W8, address, RESULT_PLACE, place),
            Some(Home::Register(_)) => self.b.store(Width::W8, words, RESULT, zero),
            Some(Home::Memory(_)) | None => {}
        }
        if let Some(own) = own {
            self.b.store(Width::W8, words, OWN, own);
        }
        for (var, place) in &captured {
            let word = match self.vars.get(*var).copied() {
                Some(Home::Register(v)) => self.b.get(v),
                _ => match self.variable_address(*var) {
                    Some(address) => address,
                    None => continue,
                },
            };
            match place {
                Captured::Scalar(at, _) => self.b.store(Width::W8, words, *at, word),
                Captured::Address(at) => self.b.store(Width::W8, address, *at, word),
            }
        }
        Frame { captured, address, words }
    }

    /// After the loop: its assignments, and a `return` from inside. Yields how the loop ended: 0 when no round ended it.
    pub(super) fn after(&mut self, frame: &Frame) -> Value {
        for (var, place) in &frame.captured {
            let Some(Home::Register(v)) = self.vars.get(*var).copied() else { continue };
            match place {
                Captured::Scalar(at, true) => {
                    let word = self.b.load(Width::W8, frame.words, *at);
                    self.b.set(v, word);
                }
                Captured::Scalar(..) | Captured::Address(_) => {}
            }
        }
        let ended = self.b.load(Width::W8, frame.words, ENDED);
        if let Some(Home::Register(v)) = self.result {
            let word = self.b.load(Width::W8, frame.words, RESULT);
            self.b.set(v, word);
        }
        let on = self.b.block();
        let exit = self.exit;
        self.b.branch_imm(Cond::Ne, ended, BY_RETURN, on, exit);
        self.b.enter(on);
        ended
    }

    /// Lowers a round into a function of its own. `round` gets the callback's parameters without the frame, and the loop's own
    /// word.
    pub(super) fn callback(
        &mut self,
        kind: CallbackKind,
        frame: &Frame,
        round: impl FnOnce(&mut FnLower<'_, '_>, &[Value], Value),
    ) -> FuncId {
        let symbol = self.callback_symbol();
        let count = match kind {
            CallbackKind::Loop => 2,
            CallbackKind::ForEachMapElem => 4,
        };
        let (mut b, params) = FunctionBuilder::new(symbol, FunctionKind::Callback(kind), count, self.b.span());
        let (address, params) = params.split_last().map_or((Value(0), &[][..]), |(last, rest)| (*last, rest));
        let ctx = b.load(Width::W8, address, CONTEXT);
        let words = b.load(Width::W8, address, WORDS);

        let mut homes: Vec<Home> = Vec::new();
        let mut assigned: Vec<(i32, Variable)> = Vec::new();
        for (index, declared) in self.decls.iter().enumerate() {
            let id = VarId::new(index);
            let place = frame.captured.iter().find(|(own, _)| *own == id).map(|(_, place)| *place);
            let home = match place {
                Some(Captured::Scalar(at, is_assigned)) => {
                    let v = b.variable();
                    let word = b.load(Width::W8, words, at);
                    b.set(v, word);
                    if is_assigned {
                        assigned.push((at, v));
                    }
                    Home::Register(v)
                }
                Some(Captured::Address(at)) => {
                    let word = b.load(Width::W8, address, at);
                    if matches!(self.vars.get(id), Some(Home::Register(_))) {
                        let v = b.variable();
                        b.set(v, word);
                        Home::Register(v)
                    } else {
                        Home::Outer(word)
                    }
                }
                None => self.m.home(&mut b, declared),
            };
            homes.push(home);
        }
        let own = b.load(Width::W8, words, OWN);
        let result = self.result.map(|home| match home {
            Home::Register(_) => {
                let v = b.variable();
                let word = b.load(Width::W8, words, RESULT);
                b.set(v, word);
                assigned.push((RESULT, v));
                Home::Register(v)
            }
            Home::Memory(_) | Home::Outer(_) => Home::Outer(b.load(Width::W8, address, RESULT_PLACE)),
        });
        let (exit, stop, next) = (b.block(), b.block(), b.block());
        let mut inner = FnLower {
            m: &mut *self.m,
            b,
            program: self.program,
            decls: self.decls,
            ctx,
            vars: IndexVec::from(homes),
            exit,
            result,
            loops: vec![Loop { exit: stop, next }],
            mentions: self.mentions.clone(),
            probe: self.probe.clone(),
            temps: Temps::default(),
            depth: self.depth + 1,
            rounds: 1,
        };
        round(&mut inner, params, own);
        inner.b.jump(next);
        for (block, ended) in [(next, None), (stop, Some(BY_SCRIPT)), (exit, Some(BY_RETURN))] {
            inner.b.enter(block);
            for (at, v) in &assigned {
                let word = inner.b.get(*v);
                inner.b.store(Width::W8, words, *at, word);
            }
            if let Some(how) = ended {
                let how = inner.b.iconst(how);
                inner.b.store(Width::W8, words, ENDED, how);
            }
            let result = inner.b.iconst(i64::from(ended.is_some()));
            inner.b.ret(result);
        }
        let function = inner.b.finish();
        self.m.module.functions.push(function)
    }

    pub(super) fn callback_symbol(&mut self) -> String {
        self.m.callbacks += 1;
        format!("cb{}", self.m.callbacks)
    }
}

/// A pointer that would be a mere number once it has been in memory.
fn is_verified_pointer(ty: &Type) -> bool {
    matches!(ty, Type::Ptr(_, AddrSpace::Ctx | AddrSpace::Bpf))
}

/// How often a function, or a part of it, mentions each of its variables, and which it assigns.
#[derive(Clone, Debug, Default)]
pub(super) struct Mentions(Vec<(u32, bool)>);

impl Mentions {
    /// Those of a body, and of a condition or predicate before it.
    pub(super) fn of(body: &Block, cond: Option<&Expr>) -> Self {
        let mut all = Self::default();
        let mut visit = |node: Node<'_>| {
            match node {
                Node::Expr(Expr { kind: ExprKind::Var(var), .. }) => all.add(*var, false),
                Node::Place(Place::Var(var)) => all.add(*var, true),
                Node::Stmt(stmt) => match stmt.kind {
                    StmtKind::ForRange { var, .. } | StmtKind::ForMap { var, .. } => all.add(var, true),
                    _ => {}
                },
                Node::Place(_) | Node::Expr(_) => {}
            }
            false
        };
        body.any(&mut visit);
        if let Some(cond) = cond {
            cond.any(&mut visit);
        }
        all
    }

    pub(super) fn add(&mut self, var: VarId, assigned: bool) {
        let index = var.index();
        if self.0.len() <= index {
            self.0.resize(index + 1, (0, false));
        }
        if let Some((count, already)) = self.0.get_mut(index) {
            *count += 1;
            *already |= assigned;
        }
    }

    fn count(&self, var: VarId) -> u32 {
        self.0.get(var.index()).map_or(0, |(count, _)| *count)
    }
}

impl FnLower<'_, '_> {
    /// Variables that a loop shares with its surroundings, and whether it assigns them. One that is mentioned nowhere else belongs to a
    /// single round: it is assigned before it is read there, or it would be one of the whole action and be zeroed at its start.
    pub(super) fn captures(&self, body: &Block, cond: Option<&Expr>, own: Option<VarId>) -> Vec<(VarId, bool)> {
        let inside = Mentions::of(body, cond);
        let shared = |var: VarId| Some(var) != own && (1..self.mentions.count(var)).contains(&inside.count(var));
        let all = inside.0.iter().enumerate().map(|(index, (_, assigned))| (VarId::new(index), *assigned));
        all.filter(|(var, _)| shared(*var)).collect()
    }
}
