//! Statements and blocks. A statement that cannot be checked leaves nothing behind; what follows is checked all the same.

use tapline_grammar::ast;
use tapline_grammar::span::Span;

use super::operators::as_int;
use super::{Checker, constant, convert, maps::KeyFlow, void};
use crate::program::Aggregate;
use crate::typed::{Block, Expr, ExprKind, Stmt, StmtKind};
use crate::types::Type;

/// Copies that `unroll` makes at most.
const MAX_UNROLL: i128 = 100;

impl Checker<'_> {
    /// The action of a probe: a trailing expression is a statement.
    pub(super) fn probe_body(&mut self, block: &ast::Block) -> Block {
        let mut stmts = Vec::new();
        self.stmts(block, &mut stmts);
        if let Some(value) = &block.value {
            self.expr_stmt(value, &mut stmts);
        }
        cut_dead(&mut stmts);
        Block { stmts, value: None }
    }

    /// A block without value, in a scope of its own.
    pub(super) fn block(&mut self, block: &ast::Block) -> Block {
        self.scope.enter();
        let body = self.probe_body(block);
        self.scope.leave();
        body
    }

    fn stmts(&mut self, block: &ast::Block, out: &mut Vec<Stmt>) {
        for stmt in &block.stmts {
            self.stmt(stmt, out);
        }
    }

    /// `{ …; e }` as a value.
    pub(super) fn block_expr(&mut self, block: &ast::Block, span: Span) -> Option<Expr> {
        self.scope.enter();
        let mut stmts = Vec::new();
        self.stmts(block, &mut stmts);
        let value = block.value.as_ref().map(|e| self.expr(e));
        self.scope.leave();
        match value {
            None => Some(void(stmts, span)),
            Some(value) => {
                let value = value?;
                if value.ty == Type::Void {
                    stmts.extend(into_stmts(value));
                    return Some(void(stmts, span));
                }
                if stmts.is_empty() {
                    // What stands alone in a block stays the constant that it may be.
                    return Some(value);
                }
                let ty = value.ty.clone();
                Some(Expr { kind: ExprKind::Block(Block { stmts, value: Some(Box::new(value)) }), ty, span })
            }
        }
    }

    /// `if` as a value.
    pub(super) fn if_expr(&mut self, it: &ast::IfStmt, span: Span) -> Option<Expr> {
        let cond = self.condition(&it.cond);
        let then = self.block_expr(&it.then, it.then.span);
        let otherwise = match &it.otherwise {
            Some(block) => self.block_expr(block, block.span),
            None => Some(void(Vec::new(), span)),
        };
        let (cond, then, otherwise) = (cond?, then?, otherwise?);
        if then.ty == Type::Void || otherwise.ty == Type::Void {
            let (then, otherwise) = (as_block(then), as_block(otherwise));
            return Some(void(vec![Stmt { kind: StmtKind::If { cond, then, otherwise }, span }], span));
        }
        self.branches(cond, then, otherwise, span)
    }

    fn stmt(&mut self, stmt: &ast::Stmt, out: &mut Vec<Stmt>) {
        use ast::StmtKind as S;
        let span = stmt.span;
        match &stmt.kind {
            S::Expr(expr) => self.expr_stmt(expr, out),
            S::Let { var, ty, init } => self.let_stmt(var, ty.as_ref(), init.as_ref(), span, out),
            S::Assign { target, op, value } => out.extend(self.assign(target, *op, value, span)),
            S::Discard(expr) => {
                if let Some(value) = self.expr(expr) {
                    out.extend(into_stmts(value));
                }
            }
            S::If(it) => self.if_stmt(it, span, out),
            S::While { cond, body } => {
                let cond = self.condition(cond);
                let body = self.loop_body(body);
                if let Some(cond) = cond {
                    out.push(Stmt { kind: StmtKind::While { cond, body }, span });
                }
            }
            S::Unroll { count, body } => self.unroll(count, body, span, out),
            S::ForRange { var, start, end, body } => self.for_range(var, (start, end), body, span, out),
            S::ForMap { var, map, body } => self.for_map(var, map, body, span, out),
            S::Break => self.jump(StmtKind::Break, "break", span, out),
            S::Continue => self.jump(StmtKind::Continue, "continue", span, out),
            S::Return(value) => self.return_stmt(value.as_ref(), span, out),
            S::Block(block) => {
                let body = self.block(block);
                out.push(Stmt { kind: StmtKind::Block(body), span });
            }
            S::Import(import) => {
                self.error("import", "imports stand at the top of a script", import.span)
                    .help("move it before the probes; inside of a macro, headers (`.h`) that exist can be imported");
            }
            S::Error => {}
        }
    }

    fn expr_stmt(&mut self, expr: &ast::Expr, out: &mut Vec<Stmt>) {
        if let ast::ExprKind::If(it) = &expr.kind {
            return self.if_stmt(it, expr.span, out);
        }
        let Some(value) = self.expr(expr) else { return };
        if value.ty != Type::Void && !has_effect(&value) {
            self.warning("unused-value", "the value of this expression is not used", expr.span)
                .help("assign it, print it, or discard it: `_ = …`");
            return;
        }
        out.extend(into_stmts(value));
    }

    fn let_stmt(
        &mut self,
        var: &ast::Name,
        written: Option<&ast::TypeExpr>,
        init: Option<&ast::Expr>,
        span: Span,
        out: &mut Vec<Stmt>,
    ) {
        let value = init.map(|e| self.stored_value(e));
        let declared = written.map(|ty| self.type_expr(ty, None));
        if let (Some(Some(Type::Void)), Some(written)) = (&declared, written) {
            self.error("invalid-type", format!("${} cannot be of type void", var.node), written.span);
            return;
        }
        if let Some(id) = self.scope.find(&var.node) {
            let first = self.scope.var(id).map_or(span, |v| v.span);
            self.error("redeclared", format!("${} is declared already", var.node), var.span)
                .also(first, "first here")
                .help("inner blocks see the variables of outer ones: assign without `let`, or use another name");
            return;
        }
        let id = self.scope.declare_own(&var.node, var.span);
        if let Some(Some(ty)) = &declared {
            let grows = matches!(ty, Type::Str(_)) && written.is_some_and(|written| written.suffixes.is_empty());
            if let Some(var) = self.scope.var_mut(id) {
                var.declared = Some(ty.clone());
                var.grows = grows;
                var.flow = (!grows).then(|| super::Flow::Of(ty.clone()));
            }
        }
        match value {
            Some(Some(value)) => out.extend(self.assign_var(id, value, span)),
            Some(None) => {}
            // Without value the variable is zero, also when the block runs again.
            None => out.extend(self.zero_variable(id)),
        }
    }

    fn if_stmt(&mut self, it: &ast::IfStmt, span: Span, out: &mut Vec<Stmt>) {
        let cond = self.condition(&it.cond);
        if it.comptime {
            let Some(cond) = cond else { return };
            let Some(truth) = constant::value(&cond) else {
                self.error("not-constant", "this condition is not known while compiling", it.cond.span);
                return;
            };
            let taken = if truth != 0 { Some(&it.then) } else { it.otherwise.as_ref() };
            if let Some(block) = taken {
                let body = self.block(block);
                out.push(Stmt { kind: StmtKind::Block(body), span });
            }
            return;
        }
        let known = cond.as_ref().and_then(constant::value);
        let then = self.branch(&it.then, known == Some(0));
        let ruled_out = known.is_some_and(|truth| truth != 0);
        let otherwise = it.otherwise.as_ref().map_or_else(Block::default, |b| self.branch(b, ruled_out));
        if let Some(cond) = cond {
            out.push(Stmt { kind: StmtKind::If { cond, then, otherwise }, span });
        }
    }

    fn branch(&mut self, body: &ast::Block, ruled_out: bool) -> Block {
        self.ruled_out += u32::from(ruled_out);
        let body = self.block(body);
        self.ruled_out -= u32::from(ruled_out);
        body
    }

    fn loop_body(&mut self, body: &ast::Block) -> Block {
        self.scope.loops += 1;
        let body = self.block(body);
        self.scope.loops -= 1;
        body
    }

    fn unroll(&mut self, count: &ast::Expr, body: &ast::Block, span: Span, out: &mut Vec<Stmt>) {
        let count_value = self.value_expr(count);
        let body = self.loop_body(body);
        let Some(count_value) = count_value else { return };
        match constant::value(&count_value) {
            Some(n @ 1..=MAX_UNROLL) => {
                out.push(Stmt { kind: StmtKind::Unroll { count: n as u32, body }, span });
            }
            Some(n) => {
                self.error("unroll", format!("unroll({n}): between 1 and {MAX_UNROLL} copies"), count.span)
                    .help("for more use `for ($i : 0..n) { … }`");
            }
            None => {
                self.error("unroll", "the count of unroll is a constant", count.span)
                    .label("known only while running")
                    .help("use `for ($i : 0..n) { … }`");
            }
        }
    }

    fn for_range(
        &mut self,
        var: &ast::Name,
        (start, end): (&ast::Expr, &ast::Expr),
        body: &ast::Block,
        span: Span,
        out: &mut Vec<Stmt>,
    ) {
        let bound = |checker: &mut Self, e: &ast::Expr| {
            let value = checker.value_expr(e)?;
            if as_int(&value.ty).is_none() || value.ty == Type::Bool {
                let is = checker.name(&value.ty);
                checker.error("range", format!("the ends of a range are numbers, not {is}"), e.span);
                return None;
            }
            Some(value)
        };
        let (start, end) = (bound(self, start), bound(self, end));
        let Some(id) = self.loop_variable(var) else { return };
        if let (Some(start), Some(end)) = (&start, &end) {
            let (first, last) = (self.flow_of(start), self.flow_of(end));
            let counter = first.join(&last).unwrap_or(super::Flow::Of(Type::I64));
            self.flow_into_var(id, &super::Flow::Of(counter.ty()), var.span);
        }
        let body = self.loop_body(body);
        self.scope.leave();
        if let (Some(start), Some(end)) = (start, end) {
            let (start, end) = (convert(start, &Type::I64), convert(end, &Type::I64));
            out.push(Stmt { kind: StmtKind::ForRange { var: id, start, end, body }, span });
        }
    }

    /// A new scope with the loop's variable.
    fn loop_variable(&mut self, var: &ast::Name) -> Option<crate::typed::VarId> {
        if let Some(id) = self.scope.find(&var.node) {
            let first = self.scope.var(id).map_or(var.span, |v| v.span);
            self.error("redeclared", format!("${} is declared already", var.node), var.span)
                .also(first, "first here")
                .help("use another name for the variable of the loop");
            return None;
        }
        self.scope.enter();
        Some(self.scope.declare_own(&var.node, var.span))
    }

    fn for_map(&mut self, var: &ast::Name, map: &ast::Name, body: &ast::Block, span: Span, out: &mut Vec<Stmt>) {
        let id = self.whole_map(&map.node, map.span);
        let key = self.map_key(id);
        let value = self.peek_value(id).map(|flow| flow.ty());
        let key = match key {
            Some(KeyFlow::Keyed(flow)) => Some(flow.ty()),
            Some(KeyFlow::Scalar) => {
                self.error("for-map", format!("@{} has no keys to go through", map.node), map.span);
                return;
            }
            None => None,
        };
        let value = match value {
            Some(Type::Aggregate(Aggregate::Stats { signed })) => Some(super::expr::mean_record(signed)),
            Some(Type::Aggregate(aggregate)) => {
                let Some(int) = super::expr::reduced(aggregate) else {
                    self.error(
                        "for-map",
                        format!("@{} holds {}, which have no value", map.node, super::expr::plural(aggregate)),
                        map.span,
                    )
                    .help(format!("print it as a whole: `print(@{})`", map.node));
                    return;
                };
                Some(Type::Int(int))
            }
            other => other,
        };
        let Some(var_id) = self.loop_variable(var) else { return };
        if let (Some(key), Some(value)) = (key, value) {
            let pair = Type::Tuple([key, value].into());
            self.flow_into_var(var_id, &super::Flow::Of(pair), var.span);
        }
        let body = self.loop_body(body);
        self.scope.leave();
        out.push(Stmt { kind: StmtKind::ForMap { var: var_id, map: id, body }, span });
    }

    fn jump(&mut self, kind: StmtKind, name: &str, span: Span, out: &mut Vec<Stmt>) {
        if self.scope.loops == 0 {
            self.error("outside-loop", format!("`{name}` outside of a loop"), span).help("`return` ends the action");
            return;
        }
        out.push(Stmt { kind, span });
    }
}

/// An expression for its effect.
pub(super) fn into_stmts(value: Expr) -> Vec<Stmt> {
    let span = value.span;
    match value.kind {
        ExprKind::Block(Block { stmts, value: None }) => stmts,
        // A ternary without value is an `if`.
        ExprKind::Ternary { cond, then, otherwise } if value.ty == Type::Void => {
            let kind = StmtKind::If { cond: *cond, then: as_block(*then), otherwise: as_block(*otherwise) };
            vec![Stmt { kind, span }]
        }
        kind => vec![Stmt { kind: StmtKind::Expr(Expr { kind, ty: value.ty, span }), span }],
    }
}

fn as_block(value: Expr) -> Block {
    Block { stmts: into_stmts(value), value: None }
}

/// True when evaluating does something.
fn has_effect(expr: &Expr) -> bool {
    use crate::typed::{MapOp, Op};
    match &expr.kind {
        ExprKind::IncDec { .. }
        | ExprKind::MapCall { op: MapOp::Delete, .. }
        | ExprKind::Call(Op::Signal | Op::WriteUser { .. }, _)
        | ExprKind::CallFn(..) => true,
        ExprKind::Block(block) => !block.stmts.is_empty() || block.value.as_ref().is_some_and(|v| has_effect(v)),
        ExprKind::Ternary { then, otherwise, .. } => has_effect(then) || has_effect(otherwise),
        ExprKind::Cast(inner) | ExprKind::Unary(_, inner) => has_effect(inner),
        ExprKind::Logical { rhs, lhs, .. } => has_effect(lhs) || has_effect(rhs),
        _ => false,
    }
}

/// What follows a `return` or a jump in the same block never runs.
fn cut_dead(stmts: &mut Vec<Stmt>) {
    let last = stmts.iter().position(|s| matches!(s.kind, StmtKind::Return(_) | StmtKind::Break | StmtKind::Continue));
    if let Some(last) = last {
        stmts.truncate(last + 1);
    }
}
