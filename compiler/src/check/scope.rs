//! Scratch variables of one program: block scope, the types found so far, and variables that are used after the block that
//! assigned them first (older scripts do that), which live in the outermost block.

use std::collections::{BTreeSet, HashMap};

use tapline_grammar::span::Span;

use super::flow::{Conflict, Fit, Flow};
use super::{Checker, convert::zero};
use crate::index::IndexVec;
use crate::typed::{Block, Expr, Place, Stmt, StmtKind, TypedVar, VarId};
use crate::types::Type;

/// What one pass leaves for the next about a program's variables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables {
    flows: Vec<Option<Flow>>,
    hoisted: BTreeSet<String>,
}

/// A variable in this pass.
#[derive(Debug)]
pub(crate) struct Var {
    /// Without `$`.
    pub name: String,
    /// Where it first appears.
    pub span: Span,
    /// What flowed into it in this pass.
    pub flow: Option<Flow>,
    /// From `let $x : T`.
    pub declared: Option<Type>,
    /// From `let $x : string`: as long as what it is given.
    pub grows: bool,
    /// From `&$x`.
    pub addressed: bool,
    /// From `let` or the head of a loop: it ends with its block, whatever comes after.
    pub own: bool,
    /// Where its value is first asked for.
    pub read: Option<Span>,
}

/// The variables of the program at hand.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    vars: IndexVec<VarId, Var>,
    known: Vec<Option<Flow>>,
    blocks: Vec<HashMap<String, VarId>>,
    /// Variables of blocks that have ended.
    closed: BTreeSet<String>,
    hoisted: BTreeSet<String>,
    grown: bool,
    /// Loops around the current statement.
    pub loops: u32,
}

impl Scope {
    pub(super) fn new(before: &Variables) -> Self {
        Self {
            known: before.flows.clone(),
            hoisted: before.hoisted.clone(),
            blocks: vec![HashMap::new()],
            ..Self::default()
        }
    }

    /// Hands over to the next pass; true when something changed.
    pub(super) fn commit(&mut self, after: &mut Variables) -> bool {
        if self.grown {
            // Variables are numbered anew.
            after.hoisted = std::mem::take(&mut self.hoisted);
            after.flows.clear();
            return true;
        }
        let flows: Vec<Option<Flow>> = self.vars.iter().map(|var| var.flow.clone()).collect();
        let changed = flows != after.flows;
        after.flows = flows;
        changed
    }

    pub(super) fn typed_vars(&self) -> IndexVec<VarId, TypedVar> {
        let vars = self.vars.enumerate().map(|(id, var)| TypedVar {
            name: var.name.clone(),
            ty: self.flow(id).map_or(Type::I64, |flow| flow.ty()),
            span: var.span,
            addressed: var.addressed,
        });
        vars.collect::<Vec<_>>().into()
    }

    pub(super) fn enter(&mut self) {
        self.blocks.push(HashMap::new());
    }

    pub(super) fn leave(&mut self) {
        let ended = self.blocks.pop().unwrap_or_default().into_iter();
        let widens = ended.filter(|(_, id)| self.vars.get(*id).is_some_and(|var| !var.own));
        self.closed.extend(widens.map(|(name, _)| name));
    }

    /// A new variable of the current block.
    pub(super) fn declare(&mut self, name: &str, span: Span) -> VarId {
        let id = self.vars.push(Var {
            name: name.to_owned(),
            span,
            flow: None,
            declared: None,
            grows: false,
            addressed: false,
            own: false,
            read: None,
        });
        let block = if self.hoisted.contains(name) { self.blocks.first_mut() } else { self.blocks.last_mut() };
        if let Some(block) = block {
            block.insert(name.to_owned(), id);
        }
        id
    }

    /// A new variable that ends with the current block.
    pub(super) fn declare_own(&mut self, name: &str, span: Span) -> VarId {
        let id = self.declare(name, span);
        if let Some(var) = self.vars.get_mut(id) {
            var.own = true;
        }
        id
    }

    /// The variable that a name means here.
    pub(super) fn find(&self, name: &str) -> Option<VarId> {
        self.blocks.iter().rev().find_map(|block| block.get(name)).copied()
    }

    /// True when a block that has ended assigned the name.
    pub(super) fn ended(&self, name: &str) -> bool {
        self.closed.contains(name)
    }

    /// The name lives in the outermost block from the next pass on.
    pub(super) fn hoist(&mut self, name: &str) {
        self.grown |= self.hoisted.insert(name.to_owned());
    }

    /// The variable.
    pub(super) fn var(&self, id: VarId) -> Option<&Var> {
        self.vars.get(id)
    }

    pub(super) fn var_mut(&mut self, id: VarId) -> Option<&mut Var> {
        self.vars.get_mut(id)
    }

    /// What is known about a variable's value: from the pass before, or from this one.
    pub(super) fn flow(&self, id: VarId) -> Option<Flow> {
        let known = self.known.get(id.0 as usize).and_then(Option::as_ref);
        let var = self.vars.get(id);
        let declared = || var.and_then(|var| var.declared.clone()).map(Flow::Of);
        known.or_else(|| var.and_then(|var| var.flow.as_ref())).cloned().or_else(declared)
    }

    /// Variables that are read and never get a value.
    pub(super) fn untyped(&self) -> Vec<(String, Span)> {
        let vars = self.vars.iter().filter(|var| var.flow.is_none() && var.declared.is_none());
        vars.filter_map(|var| Some((var.name.clone(), var.read?))).collect()
    }

    /// Names that are in sight.
    pub(super) fn names(&self) -> Vec<String> {
        self.blocks.iter().flat_map(|block| block.keys().cloned()).collect()
    }

    fn hoisted_vars(&self) -> Vec<VarId> {
        let ids = self.vars.enumerate().filter(|(_, var)| self.hoisted.contains(&var.name));
        ids.map(|(id, _)| id).collect()
    }
}

impl Checker<'_> {
    /// A value flows into a variable; a conflict is reported.
    pub(super) fn flow_into_var(&mut self, id: VarId, flow: &Flow, span: Span) {
        let Some(var) = self.scope.var(id) else { return };
        let (name, first, declared) = (var.name.clone(), var.span, var.declared.clone());
        let before = var.flow.clone();
        if let (Some(wants @ Type::Int(_)), Type::Bool) = (&declared, flow.ty()) {
            let wants = wants.clone();
            return self.misfit(id, &wants, &Type::Bool, span);
        }
        if let (Some(Type::Int(declared)), Some(given)) = (&declared, flow.integer())
            && flow.fits(*declared) != Fit::No
        {
            if let Some(var) = self.scope.var_mut(id) {
                var.flow = Some(Flow::Of(Type::Int(*declared)));
            }
            if flow.fits(*declared) == Fit::Cut {
                let (is, wants) = (self.name(&Type::Int(given)), self.name(&Type::Int(*declared)));
                self.warning("narrowing", format!("${name} is declared as {wants}, and is given {is}"), span)
                    .label(format!("this is {is}"))
                    .also(first, "declared here")
                    .help(format!("cast it, when losing bits or the sign is meant: `({wants})…`"));
            }
            return;
        }
        let joined = match &before {
            None => Ok(flow.clone()),
            Some(before) => before.join(flow),
        };
        match joined {
            Ok(joined) => {
                let grows = self.scope.var(id).is_some_and(|var| var.grows) && matches!(joined.ty(), Type::Str(_));
                let fits = grows || declared.as_ref().is_none_or(|ty| joined.ty() == *ty);
                if fits {
                    if let Some(var) = self.scope.var_mut(id) {
                        var.flow = Some(joined);
                    }
                } else if let Some(wants) = declared {
                    self.misfit(id, &wants, &flow.ty(), span);
                }
            }
            Err(Conflict::Text) => self.wants_texts = true,
            Err(Conflict::Types) => {
                let (is, was) = (self.name(&flow.ty()), before.map(|b| self.name(&b.ty())).unwrap_or_default());
                self.error("type-mismatch", format!("type mismatch for ${name}: {was} before, {is} here"), span)
                    .label(format!("this is {is}"))
                    .also(first, format!("${name} was first assigned here, as {was}"))
                    .help("a variable has one type: use another name for the other value");
            }
        }
    }

    /// A value that does not go into a declared variable.
    pub(super) fn misfit(&mut self, id: VarId, wants: &Type, is: &Type, span: Span) {
        let Some(var) = self.scope.var(id) else { return };
        let (name, first) = (var.name.clone(), var.span);
        let (is, wants) = (self.name(is), self.name(wants));
        self.error("type-mismatch", format!("${name} is declared as {wants}, and {is} does not fit"), span)
            .label(format!("this is {is}"))
            .also(first, "declared here")
            .help(format!("cast it: `({wants})…`"));
    }

    /// Variables that outlive the block that assigns them begin as zero.
    pub(super) fn initialise_hoisted(&mut self, body: &mut Block) {
        let mut stmts = Vec::new();
        for id in self.scope.hoisted_vars() {
            if let Some(var) = self.scope.var(id) {
                let (name, span) = (var.name.clone(), var.span);
                self.note("outlives-block", format!("${name} is used after the block that assigns it"), span)
                    .note("it is taken for a variable of the whole action, zero until it is assigned");
            }
            stmts.extend(self.zero_variable(id));
        }
        body.stmts.splice(0..0, stmts);
    }

    /// `$x = 0` in the variable's type.
    pub(crate) fn zero_variable(&self, id: VarId) -> Option<Stmt> {
        let var = self.scope.var(id)?;
        let ty = self.scope.flow(id)?.ty();
        let span = var.span;
        let value: Expr = zero(&ty, span)?;
        Some(Stmt { kind: StmtKind::Assign { place: Place::Var(id), value }, span })
    }
}
