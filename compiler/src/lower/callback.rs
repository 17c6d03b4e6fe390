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
use crate::ir::{CallbackKind, Cond, FuncId, FunctionKind, Slot, Value, Width};
use crate::typed::VarId;
use crate::typed::walk::Node;
use crate::typed::{Block, Expr, ExprKind, Place, Stmt, StmtKind};
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
pub(super) const MOST_NESTED: u32 = 6;

/// A variable of the surroundings, and where its word lies.
#[derive(Clone, Copy)]
enum Captured {
    /// A number, in the words; true when the loop assigns it.
    Scalar(i32, bool),
    /// In memory whose address only the stack keeps as such: where that address lies in the frame, and how far behind it the variable does.
    /// A pointer that the verifier knows lies there itself.
    Address(i32, i32),
}

/// The memory that a variable lies in. Many lie in the same.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Anchor {
    /// Of this function.
    Slot(Slot),
    /// At an address.
    At(Value),
    /// At the address that lies there in the frame of this callback.
    Framed(Value, i32),
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
        let next = |at: &mut i32| {
            *at += 8;
            *at - 8
        };
        let mut captured = Vec::new();
        let mut anchors: Vec<(Anchor, i32)> = Vec::new();
        let mut pointers = Vec::new();
        for &(var, assigned) in mentioned {
            let known = self.decls.get(var).is_some_and(|v| is_verified_pointer(&v.ty));
            let Some(home) = self.placed(var) else { continue };
            let place = match anchor(home) {
                None if known => {
                    let at = next(&mut addresses);
                    pointers.push((var, at));
                    Captured::Address(at, 0)
                }
                None => Captured::Scalar(next(&mut scalars), assigned),
                Some((anchor, behind)) => {
                    let found = anchors.iter().find(|(a, _)| *a == anchor).map(|(_, at)| *at);
                    let at = found.unwrap_or_else(|| {
                        let at = next(&mut addresses);
                        anchors.push((anchor, at));
                        at
                    });
                    Captured::Address(at, behind)
                }
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
            Some(Home::Register(_)) => self.b.store(Width::W8, words, RESULT, zero),
            Some(home) => {
                let place = self.address_of(home);
                self.b.store(Width::W8, address, RESULT_PLACE, place);
            }
            None => {}
        }
        if let Some(own) = own {
            self.b.store(Width::W8, words, OWN, own);
        }
        for (anchor, at) in anchors {
            let memory = match anchor {
                Anchor::Slot(slot) => self.b.slot_addr(slot),
                Anchor::At(address) => address,
                Anchor::Framed(frame, offset) => self.b.load(Width::W8, frame, offset),
            };
            self.b.store(Width::W8, address, at, memory);
        }
        for (var, at) in pointers {
            let Some(Home::Register(v)) = self.vars.get(var).copied() else { continue };
            let word = self.b.get(v);
            self.b.store(Width::W8, address, at, word);
        }
        for (var, place) in &captured {
            let (Some(Home::Register(v)), Captured::Scalar(at, _)) = (self.vars.get(*var).copied(), place) else {
                continue;
            };
            let word = self.b.get(v);
            self.b.store(Width::W8, words, *at, word);
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
                    let ty = self.variable_type(*var);
                    // A part writes as many bytes as the type has.
                    let word = if self.m.facts.parts { self.normalise(word, &ty) } else { word };
                    self.b.set(v, word);
                }
                Captured::Scalar(..) | Captured::Address(..) => {}
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
                // In parts, registers are for what the part computes.
                Some(Captured::Scalar(at, _)) if self.m.facts.parts => Home::Outer { base: words, offset: at },
                Some(Captured::Scalar(at, is_assigned)) => {
                    let v = b.variable();
                    let word = b.load(Width::W8, words, at);
                    b.set(v, word);
                    if is_assigned {
                        assigned.push((at, v));
                    }
                    Home::Register(v)
                }
                Some(Captured::Address(at, behind)) => match self.vars.get(id) {
                    Some(Home::Register(_)) => {
                        let v = b.variable();
                        let word = b.load(Width::W8, address, at);
                        b.set(v, word);
                        Home::Register(v)
                    }
                    _ => Home::Framed { frame: address, offset: at, behind },
                },
                None => self.m.home(&mut b, declared, self.mentions.is_shared(id)),
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
            _ => Home::Framed { frame: address, offset: RESULT_PLACE, behind: 0 },
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
            shared: None,
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

/// The memory of a variable, and how far behind its start it lies; `None` for one that is in no memory.
fn anchor(home: Home) -> Option<(Anchor, i32)> {
    match home {
        Home::Register(_) | Home::Later => None,
        Home::Memory { slot, offset } => Some((Anchor::Slot(slot), offset)),
        Home::Outer { base, offset } => Some((Anchor::At(base), offset)),
        Home::Framed { frame, offset, behind } => Some((Anchor::Framed(frame, offset), behind)),
    }
}

/// A pointer that would be a mere number once it has been in memory.
fn is_verified_pointer(ty: &Type) -> bool {
    matches!(ty, Type::Ptr(_, AddrSpace::Ctx))
}

/// What a function, or a part of it, does with its variables.
#[derive(Clone, Debug, Default)]
pub(super) struct Mentions(Vec<Mention>);

/// What is done with one of them.
#[derive(Clone, Copy, Debug, Default)]
struct Mention {
    /// How often it is mentioned.
    count: u32,
    /// It is assigned.
    assigned: bool,
    /// A callback mentions it, and so does what is around it.
    shared: bool,
}

impl Mentions {
    /// Those of a program or function, and what its callbacks share with it: in parts anything may be.
    pub(super) fn of_function(body: &Block, predicate: Option<&Expr>, parts: bool) -> Self {
        let mut all = Self::of(body, predicate);
        if parts {
            all.0.iter_mut().for_each(|m| m.shared = true);
            return all;
        }
        body.any(&mut |node| {
            let inside = match node {
                Node::Stmt(Stmt { kind: StmtKind::While { cond, body }, .. }) => Self::of(body, Some(cond)),
                Node::Stmt(Stmt { kind: StmtKind::ForMap { body, .. } | StmtKind::ForRange { body, .. }, .. }) => {
                    Self::of(body, None)
                }
                _ => return false,
            };
            for (m, own) in all.0.iter_mut().zip(&inside.0) {
                m.shared |= (1..m.count).contains(&own.count);
            }
            false
        });
        all
    }

    /// Those of a body, and of a condition or predicate before it.
    pub(super) fn of(body: &Block, cond: Option<&Expr>) -> Self {
        let mut all = Self::default();
        let mut visit = |node: Node<'_>| all.visit(node);
        body.any(&mut visit);
        if let Some(cond) = cond {
            cond.any(&mut visit);
        }
        all
    }

    /// Those of a statement.
    pub(super) fn of_stmt(stmt: &Stmt) -> Self {
        let mut all = Self::default();
        stmt.any(&mut |node| all.visit(node));
        all
    }

    fn visit(&mut self, node: Node<'_>) -> bool {
        match node {
            Node::Expr(Expr { kind: ExprKind::Var(var), .. }) => self.add(*var, false),
            Node::Place(Place::Var(var)) => self.add(*var, true),
            Node::Stmt(stmt) => match stmt.kind {
                StmtKind::ForRange { var, .. } | StmtKind::ForMap { var, .. } => self.add(var, true),
                _ => {}
            },
            Node::Place(_) | Node::Expr(_) => {}
        }
        false
    }

    pub(super) fn add(&mut self, var: VarId, assigned: bool) {
        let index = var.index();
        if self.0.len() <= index {
            self.0.resize(index + 1, Mention::default());
        }
        if let Some(mention) = self.0.get_mut(index) {
            mention.count += 1;
            mention.assigned |= assigned;
        }
    }

    fn count(&self, var: VarId) -> u32 {
        self.0.get(var.index()).map_or(0, |m| m.count)
    }

    /// Whether callbacks share a variable with what is around them.
    pub(super) fn is_shared(&self, var: VarId) -> bool {
        self.0.get(var.index()).is_some_and(|m| m.shared)
    }
}

impl FnLower<'_, '_> {
    /// Variables that a loop, of which those are mentioned inside, shares with its surroundings, and whether it assigns them. One that is
    /// mentioned nowhere else belongs to a
    /// single round: it is assigned before it is read there, or it would be one of the whole action and be zeroed at its start.
    pub(super) fn captures(&self, inside: &Mentions, own: Option<VarId>) -> Vec<(VarId, bool)> {
        let shared = |var: VarId| Some(var) != own && (1..self.mentions.count(var)).contains(&inside.count(var));
        let all = inside.0.iter().enumerate().map(|(index, m)| (VarId::new(index), m.assigned));
        all.filter(|(var, _)| shared(*var)).collect()
    }
}
