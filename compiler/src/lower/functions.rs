//! User functions: each becomes a subprogram of every program that calls it.
//!
//! Scalars are passed in registers, everything else by the address of a copy that the callee copies again, since it may
//! assign to its parameters. A result that is no scalar is written to memory of the caller, whose address is the first argument.

use std::collections::HashMap;
use std::rc::Rc;

use super::callback::{MOST_NESTED, Mentions};
use super::parts::nesting;
use super::temps::Temps;
use super::{FnLower, Home, Loc, Mem};
use crate::diagnostic::Diagnostic;
use crate::ir::builder::FunctionBuilder;
use crate::ir::{FuncId, FunctionKind, Value};
use crate::typed::walk::Node;
use crate::typed::{Expr, ExprKind, FnId, Op, TypedFunction, TypedScript};
use crate::types::Type;

/// Registers for arguments.
const MAX_WORDS: usize = 5;

/// What a function takes before its own arguments.
#[derive(Clone, Copy)]
struct Hidden {
    /// The program's context, for stacks.
    context: bool,
    /// Where the result goes.
    result: bool,
}

impl Hidden {
    fn words(self) -> usize {
        usize::from(self.context) + usize::from(self.result)
    }
}

/// What the functions are, known before any of them is lowered: each is walked once, however often it is called.
pub(super) type Traits = HashMap<FnId, FnTraits>;

/// What one function is.
#[derive(Clone, Copy, Default)]
pub(super) struct FnTraits {
    /// Its code, or what it calls, needs the program's context.
    pub(super) context: bool,
    /// As [`nesting`] counts.
    pub(super) nesting: u32,
}

/// The traits of all functions.
pub(super) fn traits(script: &TypedScript) -> Traits {
    let mut known = Traits::new();
    script.functions.ids().for_each(|id| learn(id, script, &mut known));
    known
}

/// Functions do not call themselves, so this ends.
fn learn(id: FnId, script: &TypedScript, known: &mut Traits) {
    let Some(function) = script.functions.get(id).filter(|_| !known.contains_key(&id)) else { return };
    let mut context = false;
    function.body.any(&mut |node| {
        match node {
            Node::Expr(Expr { kind: ExprKind::Call(Op::KernelStack | Op::UserStack, _), .. }) => context = true,
            Node::Expr(Expr { kind: ExprKind::CallFn(id, _), .. }) => {
                learn(*id, script, known);
                context |= known.get(id).is_some_and(|callee| callee.context);
            }
            _ => {}
        }
        false
    });
    let nesting = nesting(known, &|question| function.body.any(question));
    known.insert(id, FnTraits { context, nesting });
}

impl FnLower<'_, '_> {
    /// A call; the value of a scalar function. `dst` takes any other result.
    pub(super) fn call_function(&mut self, id: FnId, args: &[Expr], dst: Option<Mem>) -> Value {
        let Some(function) = self.m.script.functions.get(id) else {
            self.internal("a call of an unknown function", self.b.span());
            return self.b.iconst(0);
        };
        let known = self.m.traits.get(&id).copied().unwrap_or_default();
        let hidden = Hidden { context: known.context, result: !function.ret.is_scalar() && function.ret != Type::Void };
        let mut words = Vec::new();
        if hidden.context {
            words.push(self.ctx);
        }
        if hidden.result {
            let dst = dst.unwrap_or_else(|| self.temp(&function.ret));
            let address = self.addr(dst);
            words.push(address);
        }
        for arg in args {
            let word = if arg.ty.is_scalar() {
                self.scalar(arg)
            } else {
                let copy = self.temp(&arg.ty);
                self.into(arg, copy);
                self.addr(copy)
            };
            words.push(word);
        }
        if words.len() > MAX_WORDS {
            let most = MAX_WORDS - hidden.words();
            let message = format!("`{}` can take at most {most} arguments", function.name);
            let mut d = Diagnostic::error("too-many-parameters", message, function.span);
            if hidden.result {
                d = d.note("one of the five registers for arguments holds the place of its result");
            }
            if hidden.context {
                d = d.note("one of the five registers for arguments holds the context, for the stacks it takes");
            }
            self.m.diagnostics.push(d);
            return self.b.iconst(0);
        }
        let callee = match self.copy_of(id, known.nesting) {
            Some(callee) => callee,
            None => self.subprogram(id, function, hidden),
        };
        self.b.call_sub(callee, &words)
    }

    /// The code of a function that this program calls already, if it can be called from here: loops become callbacks only where there is
    /// room for them, so what was made for a shallower place may not fit.
    fn copy_of(&self, id: FnId, nesting: u32) -> Option<FuncId> {
        let copies = self.m.subprograms.get(&id)?;
        let depth = self.depth + 1;
        let whole = |depth: u32| depth.saturating_add(nesting) <= MOST_NESTED && !self.has_parts_at(depth);
        let fits = |made: u32| made == depth || (whole(made) && whole(depth));
        copies.iter().find(|(made, _)| fits(*made)).map(|(_, callee)| *callee)
    }

    /// Lowers a function for the program at hand.
    fn subprogram(&mut self, id: FnId, function: &TypedFunction, hidden: Hidden) -> FuncId {
        // The kernel shows this name in stacks.
        let symbol = format!("f{}_{}", self.m.module.functions.len(), function.name);
        let count = hidden.words() + function.params.len();
        let (mut b, params) = FunctionBuilder::new(symbol, FunctionKind::Sub, count, function.span);
        let mut params = params.into_iter();
        let mut next = || params.next().unwrap_or(Value(0));
        let ctx = if hidden.context { next() } else { b.iconst(0) };
        let result = match &function.ret {
            Type::Void => None,
            ty if ty.is_scalar() => Some(Home::Register(super::zeroed(&mut b))),
            _ => Some(Home::Outer { base: next(), offset: 0 }),
        };
        let passed: Vec<_> = function.params.iter().map(|&var| (var, next())).collect();
        let exit = b.block();
        let mut mentions = Mentions::of_function(&function.body, None, self.m.facts.parts);
        function.params.iter().for_each(|&param| mentions.add(param, true));
        let vars = self.m.variables(&mut b, &function.vars, &mentions);
        let mut inner = FnLower {
            m: &mut *self.m,
            b,
            program: self.program,
            decls: &function.vars,
            ctx,
            vars,
            exit,
            result,
            loops: Vec::new(),
            mentions: Rc::new(mentions),
            probe: self.probe.clone(),
            temps: Temps::default(),
            shared: None,
            depth: self.depth + 1,
            rounds: 1,
        };
        for (var, word) in passed {
            let Some(declared) = function.vars.get(var) else { continue };
            if declared.ty.is_scalar() {
                inner.write_variable(var, &declared.ty, word);
            } else if let Some(base) = inner.variable_address(var) {
                let from = Loc::bpf(Mem { base: word, offset: 0 });
                inner.copy_member(from, Mem { base, offset: 0 }, &declared.ty);
            } else {
                inner.internal("a parameter without a place", function.span);
            }
        }
        inner.block(&function.body);
        inner.finish();
        let code = inner.b.finish();
        let callee = self.m.module.functions.push(code);
        self.m.subprograms.entry(id).or_default().push((self.depth + 1, callee));
        callee
    }

    /// Keeps the value of a `return`.
    pub(super) fn leave_result(&mut self, value: &Expr) {
        match self.result {
            Some(Home::Register(v)) => {
                let word = self.scalar(value);
                self.b.set(v, word);
            }
            Some(home) => {
                let base = self.address_of(home);
                self.into(value, Mem { base, offset: 0 });
            }
            None => self.effect(value),
        }
    }

    /// The end of a program or function: returns the result, or 0.
    pub(super) fn finish(&mut self) {
        let exit = self.exit;
        self.b.jump(exit);
        self.b.enter(exit);
        let word = match self.result {
            Some(Home::Register(v)) => self.b.get(v),
            _ => self.b.iconst(0),
        };
        self.b.ret(word);
    }
}
