//! User functions: their signatures, their bodies, their calls.
//!
//! A function is checked once, for all probes that call it; so it sees nothing of an event. Its parameters have the written
//! types; only whose memory a pointer points into comes from the calls. Calls never lead back to a function that is running:
//! memory is laid out for one run of each.

use std::collections::HashMap;

use tapline_grammar::ast;
use tapline_grammar::span::Span;

use super::flow::Flow;
use super::group::{Unit, visit_block};
use super::{Checker, convert, void};
use crate::builtins;
use crate::index::{Id, IndexVec};
use crate::ir::calls::MAX_FRAMES;
use crate::typed::{Expr, ExprKind, FnId, Stmt, StmtKind, TypedFunction};
use crate::types::{AddrSpace, Type};

/// Registers that a call has for arguments.
const MAX_PARAMS: usize = 5;

/// What callers need to know of a function.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    name: String,
    params: Vec<Param>,
    ret: Type,
    span: Span,
}

#[derive(Clone, Debug)]
struct Param {
    name: ast::Name,
    ty: Type,
    /// A call of this pass gives it a pointer into a process.
    gets_user: bool,
}

impl Checker<'_> {
    /// The signatures of the script's functions; what has none that is valid has no parameters and returns nothing.
    pub(super) fn declare_functions(&mut self) {
        let script = self.script;
        let mut signatures: IndexVec<FnId, Signature> = IndexVec::new();
        for def in &script.functions {
            let name = &def.name.node;
            if let Some(first) = signatures.iter().find(|s| s.name == *name) {
                let first = first.span;
                self.error("function-redefined", format!("the function `{name}` is defined twice"), def.name.span)
                    .label("second definition")
                    .also(first, "first definition");
            }
            if builtins::find(name).is_some() {
                self.error("function-name", format!("`{name}` is a builtin"), def.name.span)
                    .label("a function cannot have its name")
                    .help("use another name");
            }
            if def.params.len() > MAX_PARAMS {
                let message = format!("a function takes at most {MAX_PARAMS} arguments, not {}", def.params.len());
                self.error("too-many-parameters", message, def.name.span)
                    .note("BPF passes arguments in five registers")
                    .help("pass several values as one tuple, or use a macro");
            }
            let mut params: Vec<Param> = Vec::new();
            for (param, ty) in &def.params {
                if let Some(first) = params.iter().find(|p| p.name.node == param.node) {
                    let first = first.name.span;
                    self.error("redeclared", format!("${} is a parameter already", param.node), param.span)
                        .also(first, "first here");
                }
                let span = ty.span;
                let ty = self.type_expr(ty, None).filter(|ty| self.can_be_passed(ty, span)).unwrap_or(Type::I64);
                params.push(Param { name: param.clone(), ty, gets_user: false });
            }
            let ret = match &def.ret {
                None => Type::Void,
                Some(ty) => self.type_expr(ty, None).unwrap_or(Type::Void),
            };
            if ret != Type::Void && !self.can_be_passed(&ret, def.ret.as_ref().map_or(def.span, |ty| ty.span)) {
                continue;
            }
            signatures.push(Signature { name: name.clone(), params, ret, span: def.name.span });
        }
        self.signatures = signatures;
        self.refuse_recursion();
    }

    /// Types that a function takes and returns; others are reported.
    fn can_be_passed(&mut self, ty: &Type, span: Span) -> bool {
        let fits = ty.is_scalar() || matches!(ty, Type::Str(_) | Type::Buf(_) | Type::Tuple(_) | Type::Array(..));
        if !fits {
            let is = self.name(ty);
            self.error("parameter-type", format!("{is} cannot be passed to or from a function"), span)
                .help("numbers, booleans, pointers, strings and tuples can");
        }
        fits
    }

    /// Reports functions that reach themselves, and chains of calls that the kernel would refuse.
    fn refuse_recursion(&mut self) {
        let script = self.script;
        let mut calls: Vec<Vec<(usize, Span)>> = Vec::new();
        for def in &script.functions {
            let mut own = Vec::new();
            visit_block(&def.body, &mut |e| {
                if let ast::ExprKind::Call { name, .. } = &e.kind
                    && let Some(callee) = script.functions.iter().position(|f| f.name.node == name.node)
                {
                    own.push((callee, e.span));
                }
            });
            calls.push(own);
        }
        let mut walk = CallWalk { calls: &calls, depth: HashMap::new(), active: Vec::new(), cycle: None };
        for function in 0..calls.len() {
            let depth = walk.depth(function);
            if let Some((callee, span)) = walk.cycle {
                let name = script.functions.get(callee).map(|f| f.name.node.clone()).unwrap_or_default();
                self.error("recursion", format!("the function `{name}` calls itself"), span)
                    .label("this call leads back to it")
                    .note("BPF programs must end: their functions cannot be recursive")
                    .help("use a loop");
                return;
            }
            // The program itself takes one frame.
            if depth >= MAX_FRAMES
                && let Some(def) = script.functions.get(function)
            {
                self.error("call-depth", format!("`{}` begins a chain of {depth} calls", def.name.node), def.name.span)
                    .note(format!("the kernel allows {} functions below a program", MAX_FRAMES - 1));
                return;
            }
        }
    }

    /// One unit per function, to be checked before the programs.
    pub(super) fn function_units(&self) -> Vec<Unit> {
        let units = self.script.functions.iter().enumerate().map(|(at, def)| Unit {
            function: Some(FnId::new(at)),
            name: def.name.node.clone(),
            point_span: def.name.span,
            span: def.span,
            ..Unit::default()
        });
        units.take(self.signatures.len()).collect()
    }

    /// Adopts what the calls of this pass said about parameters; true when something changed.
    pub(super) fn settle_signatures(&mut self) -> bool {
        let mut changed = false;
        for param in self.signatures.iter_mut().flat_map(|s| &mut s.params) {
            if let Type::Ptr(_, space) = &mut param.ty {
                let wanted = if param.gets_user { AddrSpace::User } else { AddrSpace::Kernel };
                changed |= *space != wanted;
                *space = wanted;
            }
            param.gets_user = false;
        }
        changed
    }

    /// The function of the current unit.
    pub(super) fn user_function(&mut self, id: FnId) -> Option<TypedFunction> {
        let script = self.script;
        self.scope = super::Scope::new(&self.unit.variables);
        let signature = self.signatures.get(id).cloned()?;
        let mut params = Vec::new();
        for param in &signature.params {
            let var = self.scope.declare(&param.name.node, param.name.span);
            if let Some(var) = self.scope.var_mut(var) {
                var.declared = Some(param.ty.clone());
                var.flow = Some(Flow::Of(param.ty.clone()));
            }
            params.push(var);
        }
        let def = script.functions.get(id.index())?;
        let mut body = self.probe_body(&def.body);
        self.initialise_hoisted(&mut body);
        if signature.ret != Type::Void && !returns(&def.body) {
            let wants = self.name(&signature.ret);
            self.error(
                "missing-return",
                format!("the function `{}` ends without a value", signature.name),
                signature.span,
            )
            .label(format!("it returns {wants}"))
            .help("end every way through it with `return …;`");
        }
        Some(TypedFunction {
            name: signature.name,
            params,
            ret: signature.ret,
            body,
            vars: self.scope.typed_vars(),
            span: self.unit.span,
        })
    }

    /// The function of a name.
    pub(super) fn function_named(&self, name: &str) -> Option<FnId> {
        self.signatures.enumerate().find(|(_, s)| s.name == name).map(|(id, _)| id)
    }

    /// A call.
    pub(super) fn call_function(&mut self, id: FnId, args: &[ast::Expr], span: Span) -> Option<Expr> {
        let values: Vec<Option<Expr>> = args.iter().map(|arg| self.stored_value(arg)).collect();
        let Signature { name, params, ret, span: defined } = self.signatures.get(id)?.clone();
        if args.len() != params.len() {
            let wants = match params.len() {
                0 => "no arguments".to_owned(),
                1 => "1 argument".to_owned(),
                n => format!("{n} arguments"),
            };
            self.error("argument-count", format!("`{name}` takes {wants}, not {}", args.len()), span)
                .also(defined, "defined here");
            return None;
        }
        let mut passed = Vec::new();
        for (n, (value, param)) in values.into_iter().zip(&params).enumerate() {
            let value = value?;
            if let (Type::Ptr(_, AddrSpace::User), Some(signature)) = (&value.ty, self.signatures.get_mut(id))
                && let Some(param) = signature.params.get_mut(n)
            {
                param.gets_user = true;
            }
            if !self.fits(&value, &param.ty) {
                let (is, wants) = (self.name(&value.ty), self.name(&param.ty));
                self.error(
                    "argument-type",
                    format!("`{name}` takes {wants} as ${}, not {is}", param.name.node),
                    value.span,
                )
                .label(format!("this is {is}"))
                .also(param.name.span, "declared here");
                return None;
            }
            passed.push(convert(value, &param.ty));
        }
        let call = Expr { kind: ExprKind::CallFn(id, passed), ty: ret.clone(), span };
        if ret == Type::Void {
            return Some(void(vec![Stmt { kind: StmtKind::Expr(call), span }], span));
        }
        Some(call)
    }

    /// Whether a value goes into a place of a declared type: numbers are cut or extended, everything else must fit.
    fn fits(&self, value: &Expr, ty: &Type) -> bool {
        let number = |ty: &Type| matches!(ty, Type::Int(_) | Type::Enum { .. } | Type::Bool);
        match (&value.ty, ty) {
            (from, into) if number(from) && number(into) => true,
            (Type::Ptr(..), Type::Ptr(into, _)) if **into == Type::Void => true,
            (Type::Ptr(from, _), Type::Ptr(into, space)) => {
                let (from, into) = (Type::Ptr(from.clone(), *space), Type::Ptr(into.clone(), *space));
                Flow::Of(from).join(&Flow::Of(into.clone())).is_ok_and(|joined| joined.ty() == into)
            }
            _ => self.flow_of(value).join(&Flow::Of(ty.clone())).is_ok_and(|joined| joined.ty() == *ty),
        }
    }

    /// `return`.
    pub(super) fn return_stmt(&mut self, value: Option<&ast::Expr>, span: Span, out: &mut Vec<Stmt>) {
        let given = value.map(|e| self.value_expr(e));
        let wants = self.unit.function.and_then(|id| self.signatures.get(id)).map(|signature| signature.ret.clone());
        let value = match (given, wants) {
            (Some(None), _) => return,
            (None, None | Some(Type::Void)) => None,
            // What a program returns is a number; only tests look at it.
            (Some(Some(value)), None) if super::operators::as_int(&value.ty).is_some() => {
                Some(convert(value, &Type::I64))
            }
            (Some(Some(value)), None) => {
                let is = self.name(&value.ty);
                self.error("return-type", format!("a probe returns a number, not {is}"), value.span)
                    .label(format!("this is {is}"))
                    .help("`return;` ends the action");
                return;
            }
            (Some(Some(value)), Some(wants)) if wants != Type::Void && self.fits(&value, &wants) => {
                Some(convert(value, &wants))
            }
            (given, Some(wants)) => {
                let is = given.flatten().map_or_else(|| "nothing".to_owned(), |value| self.name(&value.ty));
                let wants = if wants == Type::Void { "nothing".to_owned() } else { self.name(&wants) };
                let (name, at) = (self.unit.name.clone(), self.unit.point_span);
                self.error("return-type", format!("`{name}` returns {wants}, not {is}"), span)
                    .also(at, "declared here");
                return;
            }
        };
        out.push(Stmt { kind: StmtKind::Return(value), span });
    }
}

/// Whether every way through a block ends in a `return`.
fn returns(block: &ast::Block) -> bool {
    let ends = |it: &ast::IfStmt| returns(&it.then) && it.otherwise.as_ref().is_some_and(returns);
    let value = block.value.as_deref().is_some_and(|e| matches!(&e.kind, ast::ExprKind::If(it) if ends(it)));
    value
        || block.stmts.iter().any(|stmt| match &stmt.kind {
            ast::StmtKind::Return(_) => true,
            ast::StmtKind::If(it) => ends(it),
            ast::StmtKind::Block(block) => returns(block),
            _ => false,
        })
}

/// A walk over the calls of functions.
struct CallWalk<'c> {
    calls: &'c [Vec<(usize, Span)>],
    /// Functions that are done, with the longest chain of calls that begins at each, itself counted.
    depth: HashMap<usize, usize>,
    active: Vec<usize>,
    /// A call that leads back, and what it calls.
    cycle: Option<(usize, Span)>,
}

impl CallWalk<'_> {
    /// Recursion ends at chains that are refused anyway.
    fn depth(&mut self, function: usize) -> usize {
        if let Some(depth) = self.depth.get(&function) {
            return *depth;
        }
        self.active.push(function);
        let mut below = 0;
        for &(callee, span) in self.calls.get(function).map(Vec::as_slice).unwrap_or_default() {
            if self.active.contains(&callee) {
                self.cycle.get_or_insert((callee, span));
            } else if self.active.len() <= 64 {
                below = below.max(self.depth(callee));
            } else {
                below = MAX_FRAMES;
            }
        }
        self.active.pop();
        self.depth.insert(function, below + 1);
        below + 1
    }
}
