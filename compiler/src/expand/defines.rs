//! `#define` constants and function-like macros, substituted where the script uses their names.
//!
//! Bounded: a name is not replaced inside its own replacement, all replacements together may add so many nodes, and no tree grows
//! deeper than the passes after this one can walk.

use std::collections::HashMap;

use tapline_grammar::ast::{Expr, ExprKind, Stmt};
use tapline_grammar::c_ast::{CField, CItem, CItemKind, CRecord, CType};
use tapline_grammar::span::Span;

use super::walk::{self, Visitor};
use crate::diagnostic::{Diagnostic, Diagnostics};

/// Nodes that all replacements of a script may add.
pub(super) const MAX_ADDED_NODES: usize = 200_000;

/// Nodes from the root to a leaf.
pub(super) const MAX_DEPTH: usize = 400;

/// The definitions that hold after the last C line of a script.
#[derive(Debug, Default)]
pub(super) struct Defines {
    objects: HashMap<String, Expr>,
    functions: HashMap<String, (Vec<String>, Expr)>,
}

impl Defines {
    pub(super) fn new(items: &[CItem]) -> Self {
        let mut table = Self::default();
        for item in items {
            match &item.kind {
                CItemKind::Define { name, value: Some(value), .. } => {
                    table.objects.insert(name.node.clone(), value.clone());
                }
                CItemKind::DefineFn { name, params, value: Some(value), .. } => {
                    let params = params.iter().map(|p| p.node.clone()).collect();
                    table.functions.insert(name.node.clone(), (params, value.clone()));
                }
                CItemKind::Undef(name) => {
                    table.objects.remove(&name.node);
                    table.functions.remove(&name.node);
                }
                _ => {}
            }
        }
        table
    }

    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.functions.is_empty()
    }
}

/// Replaces names by their definitions.
pub(super) struct Substitute<'a> {
    table: &'a Defines,
    diagnostics: &'a mut Diagnostics,
    /// Names whose replacement is being walked.
    active: Vec<String>,
    depth: usize,
    left: usize,
    gave_up: bool,
}

impl<'a> Substitute<'a> {
    pub(super) fn new(table: &'a Defines, diagnostics: &'a mut Diagnostics) -> Self {
        Self { table, diagnostics, active: Vec::new(), depth: 0, left: MAX_ADDED_NODES, gave_up: false }
    }

    /// Array lengths, bit widths and enumerators of C definitions.
    pub(super) fn c_items(&mut self, items: &mut [CItem]) {
        for item in items {
            match &mut item.kind {
                CItemKind::Record(record) => self.record(record),
                CItemKind::Enum(e) => self.enumerators(&mut e.variants),
                CItemKind::Typedef { ty, .. } => self.c_type(ty),
                _ => {}
            }
        }
    }

    fn enumerators(&mut self, variants: &mut [(tapline_grammar::ast::Name, Option<Expr>)]) {
        for value in variants.iter_mut().filter_map(|(_, v)| v.as_mut()) {
            walk::expr(self, value);
        }
    }

    fn record(&mut self, record: &mut CRecord) {
        for CField { ty, .. } in &mut record.fields {
            self.c_type(ty);
        }
    }

    fn c_type(&mut self, ty: &mut CType) {
        match ty {
            CType::Record(record) => self.record(record),
            CType::EnumDef(e) => self.enumerators(&mut e.variants),
            CType::Pointer(inner) => self.c_type(inner),
            CType::Array(inner, len) => {
                self.c_type(inner);
                if let Some(len) = len {
                    walk::expr(self, len);
                }
            }
            CType::Named(_) | CType::Struct(_) | CType::Union(_) | CType::Enum(_) | CType::Function => {}
        }
    }

    /// Puts the replacement in the place of `e` and walks into it.
    fn replace(&mut self, e: &mut Expr, name: String, mut replacement: Expr) {
        let size = measure(&mut replacement);
        if size.nodes > self.left || self.depth + size.depth > MAX_DEPTH {
            self.gave_up = true;
            let message = format!("`{name}` expands to more code than a script may have");
            self.diagnostics.push(
                Diagnostic::error("macro-too-large", message, e.span)
                    .label("this use goes beyond the limit")
                    .note("definitions that use each other several times grow exponentially"),
            );
            e.kind = ExprKind::Error;
            return;
        }
        self.left -= size.nodes;
        e.kind = replacement.kind;
        self.active.push(name);
        walk::children(self, e);
        // The replacement may itself be nothing but a name.
        if matches!(e.kind, ExprKind::Ident(_) | ExprKind::Call { .. }) {
            self.name(e);
        }
        self.active.pop();
    }

    /// True when `e` was replaced.
    fn name(&mut self, e: &mut Expr) -> bool {
        if self.gave_up {
            return false;
        }
        match &mut e.kind {
            ExprKind::Ident(name) if !self.active.contains(name) => {
                let Some(value) = self.table.objects.get(name) else { return false };
                let (name, value) = (name.clone(), at(value.clone(), e.span));
                self.replace(e, name, value);
                true
            }
            ExprKind::Call { name, args } if !self.active.contains(&name.node) => {
                let table = self.table;
                let Some((params, value)) = table.functions.get(&name.node) else { return false };
                // Arguments first: a macro may be used in its own argument.
                for arg in args.iter_mut() {
                    walk::expr(self, arg);
                }
                if params.len() != args.len() {
                    let (wanted, got) = (params.len(), args.len());
                    let message = format!("the macro `{}` takes {wanted} arguments, not {got}", name.node);
                    self.diagnostics.push(Diagnostic::error("macro-arguments", message, e.span));
                    e.kind = ExprKind::Error;
                    return true;
                }
                let mut value = at(value.clone(), e.span);
                let bound = params.iter().cloned().zip(args.iter().cloned()).collect();
                let mut bind = Bind { bound, left: self.left };
                walk::expr(&mut bind, &mut value);
                let name = name.node.clone();
                self.replace(e, name, value);
                true
            }
            _ => false,
        }
    }
}

impl Visitor for Substitute<'_> {
    fn expr(&mut self, e: &mut Expr) -> bool {
        self.depth += 1;
        !self.name(e)
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

/// Puts arguments in the place of parameters. Stops copying when the result has become too large: `replace` then refuses it.
struct Bind {
    bound: HashMap<String, Expr>,
    left: usize,
}

impl Visitor for Bind {
    fn expr(&mut self, e: &mut Expr) -> bool {
        if let ExprKind::Ident(name) = &e.kind
            && let Some(argument) = self.bound.get_mut(name)
        {
            let size = measure(argument);
            // An argument beyond the budget is left as it is; the use is refused for its size by then.
            if size.nodes <= self.left {
                self.left -= size.nodes;
                *e = argument.clone();
            }
            return false;
        }
        true
    }
}

/// The size of a tree.
pub(super) struct Size {
    /// All nodes.
    pub(super) nodes: usize,
    /// From the root to the deepest leaf.
    pub(super) depth: usize,
}

/// Counts nodes.
pub(super) fn measure(e: &mut Expr) -> Size {
    let mut count = Count::default();
    walk::expr(&mut count, e);
    Size { nodes: count.nodes, depth: count.deepest }
}

#[derive(Default)]
struct Count {
    nodes: usize,
    depth: usize,
    deepest: usize,
}

impl Count {
    fn enter(&mut self) {
        self.nodes += 1;
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
    }
}

impl Visitor for Count {
    fn expr(&mut self, _: &mut Expr) -> bool {
        self.enter();
        true
    }
    fn expr_done(&mut self, _: &mut Expr) {
        self.depth -= 1;
    }
    fn stmt(&mut self, _: &mut Stmt) {
        self.enter();
    }
    fn stmt_done(&mut self, _: &mut Stmt) {
        self.depth -= 1;
    }
}

/// The tree as if it had been written at `span`: messages then point at the use, not at the definition.
fn at(mut e: Expr, span: Span) -> Expr {
    struct Place(Span);
    impl Visitor for Place {
        fn expr(&mut self, e: &mut Expr) -> bool {
            e.span = self.0;
            true
        }
    }
    walk::expr(&mut Place(span), &mut e);
    e
}
