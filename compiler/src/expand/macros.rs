//! The script's own macros (`macro name($v, e, @m) { … }`), expanded where they are used.
//!
//! Hygienic: a variable of the body that is not a parameter gets a name that no script can write, one per use; maps come in as
//! parameters only. A parameter that stands where a type does takes a type. A use becomes a block expression, or the value
//! alone when the body is nothing else. A macro does not expand inside itself, and expansions share the bounds of `defines`.

use std::collections::HashMap;

use tapline_grammar::ast::{Block, Expr, ExprKind, MacroDef, MacroParam, Name, Stmt, StmtKind, TypeBase, TypeExpr};
use tapline_grammar::span::Span;

use super::defines::{MAX_ADDED_NODES, MAX_DEPTH, measure};
use super::walk::{self, Visitor};
use crate::builtins;
use crate::diagnostic::{Diagnostic, Diagnostics};

/// All macros of a script by name; several of one name differ in their parameters.
pub(super) struct Macros {
    by_name: HashMap<String, Vec<MacroDef>>,
}

impl Macros {
    pub(super) fn new(definitions: Vec<MacroDef>, diagnostics: &mut Diagnostics) -> Self {
        let mut by_name: HashMap<String, Vec<MacroDef>> = HashMap::new();
        for def in definitions {
            let others = by_name.entry(def.name.node.clone()).or_default();
            if let Some(other) = others.iter().find(|o| signature(o) == signature(&def)) {
                let message = format!("the macro `{}` is defined twice", def.name.node);
                diagnostics.push(
                    Diagnostic::error("macro-redefined", message, def.name.span)
                        .label("second definition")
                        .also(other.name.span, "first definition")
                        .note("macros of one name must differ in their parameters"),
                );
                continue;
            }
            check_definition(&def, diagnostics);
            others.push(def);
        }
        Self { by_name }
    }
}

/// What a definition alone shows to be wrong.
fn check_definition(def: &MacroDef, diagnostics: &mut Diagnostics) {
    let mut names: Vec<(char, &Name)> = Vec::new();
    for (sigil, param) in signature(def).into_iter().zip(&def.params) {
        let (MacroParam::Var(name) | MacroParam::Map(name) | MacroParam::Expr(name)) = param;
        if let Some((_, first)) = names.iter().find(|(of, n)| *of == sigil && n.node == name.node) {
            let message = format!("the macro `{}` has two parameters named `{}`", def.name.node, name.node);
            diagnostics.push(Diagnostic::error("macro-parameter", message, name.span).also(first.span, "first here"));
        }
        names.push((sigil, name));
    }
    let mut returns = Returns(None);
    walk::block(&mut returns, &mut def.body.clone());
    if let Some(span) = returns.0 {
        let message = format!("the macro `{}` returns from the probe that uses it", def.name.node);
        let d = Diagnostic::error("macro-return", message, span).label("`return` is not possible in a macro");
        diagnostics.push(d.help("the value of a macro is its last expression, without a semicolon"));
    }
}

/// The first `return` of a body.
struct Returns(Option<Span>);

impl Visitor for Returns {
    fn stmt(&mut self, stmt: &mut Stmt) {
        if matches!(stmt.kind, StmtKind::Return(_)) {
            self.0.get_or_insert(stmt.span);
        }
    }
}

/// The sigils of the parameters.
fn signature(def: &MacroDef) -> Vec<char> {
    let sigil = |p: &MacroParam| match p {
        MacroParam::Var(_) => '$',
        MacroParam::Map(_) => '@',
        MacroParam::Expr(_) => 'e',
    };
    def.params.iter().map(sigil).collect()
}

/// How a macro is written, for messages.
fn form(def: &MacroDef) -> String {
    let param = |p: &MacroParam| match p {
        MacroParam::Var(n) => format!("${}", n.node),
        MacroParam::Map(n) => format!("@{}", n.node),
        MacroParam::Expr(n) => n.node.clone(),
    };
    format!("{}({})", def.name.node, def.params.iter().map(param).collect::<Vec<_>>().join(", "))
}

/// Builtins that are words of the language where they stand alone: a macro of such a name is used with parentheses, so that it can be
/// made of the builtin.
fn is_builtin_word(name: &str) -> bool {
    let argument = name.strip_prefix("arg").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    argument || matches!(name, "args" | "ctx" | "kstack" | "nsecs" | "pid" | "tid" | "ustack")
}

/// Whether an argument may stand for a parameter.
fn fits(param: &MacroParam, argument: &Expr) -> bool {
    match param {
        MacroParam::Var(_) => matches!(argument.kind, ExprKind::Var(_)),
        MacroParam::Map(_) => matches!(argument.kind, ExprKind::Map { key: None, .. }),
        MacroParam::Expr(_) => true,
    }
}

/// Replaces uses of macros.
pub(super) struct Expander<'a> {
    table: &'a Macros,
    diagnostics: &'a mut Diagnostics,
    /// Macros whose body is being walked: where each is defined, and where it is used.
    active: Vec<(Span, Span)>,
    /// Uses so far: makes names of variables unique.
    uses: u32,
    depth: usize,
    left: usize,
    gave_up: bool,
}

impl<'a> Expander<'a> {
    pub(super) fn new(table: &'a Macros, diagnostics: &'a mut Diagnostics) -> Self {
        Self { table, diagnostics, active: Vec::new(), uses: 0, depth: 0, left: MAX_ADDED_NODES, gave_up: false }
    }

    /// True when `e` was a use of a macro.
    fn use_of(&mut self, e: &mut Expr) -> bool {
        let (name, mut args) = match &mut e.kind {
            ExprKind::Ident(name) if self.table.by_name.contains_key(name.as_str()) && !is_builtin_word(name) => {
                (name.clone(), Vec::new())
            }
            ExprKind::Call { name, args } if self.table.by_name.contains_key(name.node.as_str()) => {
                (name.node.clone(), std::mem::take(args))
            }
            _ => return false,
        };
        let table = self.table;
        let candidates = table.by_name.get(&name).map(Vec::as_slice).unwrap_or_default();
        // Arguments first: a macro may be used in its own argument.
        for arg in &mut args {
            walk::expr(self, arg);
        }
        let chosen = candidates.iter().find(|def| {
            def.params.len() == args.len() && def.params.iter().zip(&args).all(|(param, arg)| fits(param, arg))
        });
        if chosen.is_none() && builtins::find(&name).is_some() {
            if let ExprKind::Call { args: place, .. } = &mut e.kind {
                *place = args;
            }
            return true;
        }
        let Some(def) = chosen else {
            self.no_match(&name, candidates, &args, e.span);
            e.kind = ExprKind::Error;
            return true;
        };
        if let Some((_, outer)) = self.active.iter().find(|(active, _)| *active == def.name.span) {
            let d = Diagnostic::error("macro-recursion", format!("the macro `{name}` uses itself"), e.span);
            self.diagnostics.push(d.also(*outer, "expanded from here").note("macros cannot be recursive"));
            e.kind = ExprKind::Error;
            return true;
        }
        self.expand(e, def, args);
        true
    }

    fn no_match(&mut self, name: &str, candidates: &[MacroDef], args: &[Expr], span: Span) {
        let mut d = Diagnostic::error("macro-arguments", format!("no macro `{name}` takes these arguments"), span);
        for def in candidates {
            d = d.also(def.name.span, format!("`{}` is defined here", form(def)));
            let wrong = def.params.iter().zip(args).find(|(param, arg)| !fits(param, arg));
            if let Some((param, arg)) = wrong.filter(|_| def.params.len() == args.len()) {
                let what = match param {
                    MacroParam::Var(n) => format!("`${}` stands for a variable: pass one", n.node),
                    MacroParam::Map(n) => format!("`@{}` stands for a map: pass one without a key", n.node),
                    MacroParam::Expr(_) => continue,
                };
                d = d.also(arg.span, what);
            }
        }
        self.diagnostics.push(d);
    }

    fn expand(&mut self, e: &mut Expr, def: &MacroDef, args: Vec<Expr>) {
        if self.gave_up {
            // Said once; the rest of the script is not worth the time.
            e.kind = ExprKind::Error;
            return;
        }
        self.uses += 1;
        let mut bind = Bind {
            vars: HashMap::new(),
            maps: HashMap::new(),
            exprs: HashMap::new(),
            unique: self.uses,
            left: self.left,
            strangers: Vec::new(),
            no_types: Vec::new(),
        };
        for (param, arg) in def.params.iter().zip(args) {
            match (param, arg.kind) {
                (MacroParam::Var(p), ExprKind::Var(name)) => {
                    bind.vars.insert(p.node.clone(), name);
                }
                (MacroParam::Map(p), ExprKind::Map { name, .. }) => {
                    bind.maps.insert(p.node.clone(), name);
                }
                // A map without key stands for its value, not for the map.
                (MacroParam::Expr(p), kind @ ExprKind::Map { key: None, .. }) => {
                    let value = Some(Box::new(Expr { kind, span: arg.span }));
                    let kind = ExprKind::Block(Block { stmts: Vec::new(), value, span: arg.span });
                    bind.exprs.insert(p.node.clone(), Expr { kind, span: arg.span });
                }
                (MacroParam::Expr(p), kind) => {
                    bind.exprs.insert(p.node.clone(), Expr { kind, span: arg.span });
                }
                _ => {}
            }
        }
        let mut body = def.body.clone();
        walk::block(&mut bind, &mut body);
        for (map, span) in bind.strangers {
            let d = Diagnostic::error(
                "macro-map",
                format!("the macro `{}` uses the map `@{map}` of the script", def.name.node),
                span,
            );
            self.diagnostics.push(d.help(format!("pass it as a parameter: `macro {}(@{map})`", def.name.node)));
        }
        let typed = bind.no_types.is_empty();
        for (param, argument, span) in bind.no_types {
            let message = format!("the macro `{}` needs a type for `{param}`", def.name.node);
            let d = Diagnostic::error("macro-arguments", message, argument).label("this is a value");
            self.diagnostics.push(
                d.also(span, "used as a type here").help("pass a type: `uint64`, `typeof(struct name)`, `typeof($x)`"),
            );
        }
        if !typed {
            e.kind = ExprKind::Error;
            return;
        }
        let mut result = Expr { kind: value_of(body), span: e.span };
        let size = measure(&mut result);
        if size.nodes > self.left || self.depth + size.depth > MAX_DEPTH {
            self.gave_up = true;
            let message = format!("`{}` expands to more code than a script may have", def.name.node);
            let d = Diagnostic::error("macro-too-large", message, e.span);
            self.diagnostics.push(d.label("this use goes beyond the limit"));
            e.kind = ExprKind::Error;
            return;
        }
        self.left -= size.nodes;
        e.kind = result.kind;
        self.active.push((def.name.span, e.span));
        walk::children(self, e);
        if matches!(e.kind, ExprKind::Ident(_) | ExprKind::Call { .. }) {
            self.use_of(e);
        }
        self.active.pop();
    }
}

/// A body as an expression.
fn value_of(body: Block) -> ExprKind {
    match body.value {
        Some(value) if body.stmts.is_empty() => value.kind,
        value => ExprKind::Block(Block { stmts: body.stmts, value, span: body.span }),
    }
}

impl Visitor for Expander<'_> {
    fn expr(&mut self, e: &mut Expr) -> bool {
        self.depth += 1;
        !self.use_of(e)
    }
    fn expr_done(&mut self, _: &mut Expr) {
        self.depth -= 1;
    }
    fn stmt(&mut self, _: &mut Stmt) {
        self.depth += 1;
    }
    fn stmt_done(&mut self, _: &mut Stmt) {
        self.depth -= 1;
    }
}

/// Puts arguments in the place of parameters, and renames the body's own variables.
struct Bind {
    vars: HashMap<String, String>,
    maps: HashMap<String, String>,
    exprs: HashMap<String, Expr>,
    unique: u32,
    left: usize,
    /// Maps of the body that are no parameters.
    strangers: Vec<(String, Span)>,
    /// Parameters used as types whose arguments are none, with the places of argument and use.
    no_types: Vec<(String, Span, Span)>,
}

impl Bind {
    fn rename(&self, name: &mut String) {
        *name = match self.vars.get(name.as_str()) {
            Some(argument) => argument.clone(),
            // The apostrophe cannot be part of a name in a script.
            None => format!("{name}'{}", self.unique),
        };
    }
    fn rename_map(&mut self, name: &mut String, span: Span) {
        match self.maps.get(name.as_str()) {
            Some(argument) => argument.clone_into(name),
            None => self.strangers.push((name.clone(), span)),
        }
    }
}

/// An argument as a type: itself, or the name of one.
fn as_type(argument: &Expr) -> Option<TypeExpr> {
    match &argument.kind {
        ExprKind::Type(ty) => Some(TypeExpr::clone(ty)),
        ExprKind::Ident(name) => {
            let base = TypeBase::Named(Name { node: name.clone(), span: argument.span });
            Some(TypeExpr { base, suffixes: Vec::new(), span: argument.span })
        }
        _ => None,
    }
}

impl Visitor for Bind {
    fn expr(&mut self, e: &mut Expr) -> bool {
        let span = e.span;
        match &mut e.kind {
            ExprKind::Var(name) => self.rename(name),
            ExprKind::Map { name, .. } => self.rename_map(name, span),
            ExprKind::Ident(name) => {
                if let Some(argument) = self.exprs.get_mut(name.as_str()) {
                    let size = measure(argument).nodes;
                    // Beyond the budget the use is refused for its size anyway.
                    if size <= self.left {
                        self.left -= size;
                        *e = argument.clone();
                    } else {
                        self.left = 0;
                    }
                    return false;
                }
            }
            _ => {}
        }
        true
    }
    fn type_expr(&mut self, ty: &mut TypeExpr) -> bool {
        let TypeBase::Named(name) = &ty.base else { return true };
        let Some(argument) = self.exprs.get(name.node.as_str()) else { return true };
        match as_type(argument) {
            // `T *`: what the argument has behind its name comes first. The body's names do not reach into it.
            Some(argument) => {
                ty.base = argument.base;
                ty.suffixes.splice(0..0, argument.suffixes);
            }
            None => self.no_types.push((name.node.clone(), argument.span, name.span)),
        }
        false
    }
    fn variable(&mut self, name: &mut Name) {
        self.rename(&mut name.node);
    }
    fn map(&mut self, name: &mut Name) {
        let span = name.span;
        self.rename_map(&mut name.node, span);
    }
}
