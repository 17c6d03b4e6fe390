//! A visitor over syntax trees that may change them. Recursion is bounded by the depth of the tree, which the parser limits.

use tapline_grammar::ast::{
    Block, Expr, ExprKind, IfStmt, Name, Stmt, StmtKind, TypeBase, TypeExpr, TypeOrExpr, TypeSuffix,
};

/// What happens at the nodes.
pub(crate) trait Visitor {
    /// Before the children of an expression; `false` leaves them out.
    fn expr(&mut self, _expr: &mut Expr) -> bool {
        true
    }
    /// After the children of an expression.
    fn expr_done(&mut self, _expr: &mut Expr) {}
    /// A place that names a scratch variable outside expressions: `let`, `for`.
    fn variable(&mut self, _name: &mut Name) {}
    /// A place that names a map outside expressions: `for`.
    fn map(&mut self, _name: &mut Name) {}
    /// Before what is inside of a type; `false` leaves that out.
    fn type_expr(&mut self, _ty: &mut TypeExpr) -> bool {
        true
    }
    /// Before the children of a statement.
    fn stmt(&mut self, _stmt: &mut Stmt) {}
    /// After the children of a statement.
    fn stmt_done(&mut self, _stmt: &mut Stmt) {}
}

/// Visits all statements and the value.
pub(crate) fn block(v: &mut dyn Visitor, block: &mut Block) {
    for s in &mut block.stmts {
        stmt(v, s);
    }
    if let Some(value) = &mut block.value {
        expr(v, value);
    }
}

/// Visits a statement.
pub(crate) fn stmt(v: &mut dyn Visitor, s: &mut Stmt) {
    v.stmt(s);
    match &mut s.kind {
        StmtKind::Expr(e) | StmtKind::Discard(e) => expr(v, e),
        StmtKind::Let { var, ty, init } => {
            v.variable(var);
            if let Some(ty) = ty {
                type_expr(v, ty);
            }
            if let Some(init) = init {
                expr(v, init);
            }
        }
        StmtKind::Assign { target, value, .. } => {
            expr(v, target);
            expr(v, value);
        }
        StmtKind::If(i) => if_stmt(v, i),
        StmtKind::While { cond, body } => {
            expr(v, cond);
            block(v, body);
        }
        StmtKind::Unroll { count, body } => {
            expr(v, count);
            block(v, body);
        }
        StmtKind::ForRange { var, start, end, body } => {
            v.variable(var);
            expr(v, start);
            expr(v, end);
            block(v, body);
        }
        StmtKind::ForMap { var, map, body } => {
            v.variable(var);
            v.map(map);
            block(v, body);
        }
        StmtKind::Return(value) => {
            if let Some(value) = value {
                expr(v, value);
            }
        }
        StmtKind::Block(b) => block(v, b),
        StmtKind::Break | StmtKind::Continue | StmtKind::Import(_) | StmtKind::Error => {}
    }
    v.stmt_done(s);
}

fn if_stmt(v: &mut dyn Visitor, i: &mut IfStmt) {
    expr(v, &mut i.cond);
    block(v, &mut i.then);
    if let Some(b) = &mut i.otherwise {
        block(v, b);
    }
}

/// Visits an expression.
pub(crate) fn expr(v: &mut dyn Visitor, e: &mut Expr) {
    if v.expr(e) {
        children(v, e);
    }
    v.expr_done(e);
}

/// Visits the children of an expression.
pub(crate) fn children(v: &mut dyn Visitor, e: &mut Expr) {
    match &mut e.kind {
        ExprKind::Int { .. }
        | ExprKind::Str(_)
        | ExprKind::Bool(_)
        | ExprKind::Ident(_)
        | ExprKind::Var(_)
        | ExprKind::Param(_)
        | ExprKind::ParamCount
        | ExprKind::Error => {}
        ExprKind::Map { key, .. } => key.iter_mut().flatten().for_each(|k| expr(v, k)),
        ExprKind::Call { args, .. } | ExprKind::Tuple(args) => args.iter_mut().for_each(|a| expr(v, a)),
        ExprKind::Unary { expr: inner, .. }
        | ExprKind::IncDec { expr: inner, .. }
        | ExprKind::Field { base: inner, .. }
        | ExprKind::TupleIndex { base: inner, .. }
        | ExprKind::Comptime(inner) => expr(v, inner),
        ExprKind::Binary { lhs, rhs, .. } => {
            expr(v, lhs);
            expr(v, rhs);
        }
        ExprKind::Ternary { cond, then, otherwise } => {
            expr(v, cond);
            if let Some(then) = then {
                expr(v, then);
            }
            expr(v, otherwise);
        }
        ExprKind::Index { base, index } => {
            expr(v, base);
            expr(v, index);
        }
        ExprKind::Cast { ty, expr: inner } => {
            type_expr(v, ty);
            expr(v, inner);
        }
        ExprKind::Record(fields) => fields.iter_mut().for_each(|(_, e)| expr(v, e)),
        ExprKind::SizeOf(of)
        | ExprKind::TypeInfo(of)
        | ExprKind::OffsetOf { of, .. }
        | ExprKind::HasField { of, .. } => type_or_expr(v, of),
        ExprKind::Type(ty) => type_expr(v, ty),
        ExprKind::Block(b) => block(v, b),
        ExprKind::If(i) => if_stmt(v, i),
    }
}

fn type_or_expr(v: &mut dyn Visitor, of: &mut TypeOrExpr) {
    match of {
        TypeOrExpr::Type(ty) => type_expr(v, ty),
        TypeOrExpr::Expr(e) => expr(v, e),
    }
}

/// Visits the expressions inside a type: array lengths, `typeof`.
pub(crate) fn type_expr(v: &mut dyn Visitor, ty: &mut TypeExpr) {
    if !v.type_expr(ty) {
        return;
    }
    match &mut ty.base {
        TypeBase::TypeOf(of) => type_or_expr(v, of),
        TypeBase::Tuple(types) => types.iter_mut().for_each(|t| type_expr(v, t)),
        TypeBase::Struct(_) | TypeBase::Union(_) | TypeBase::Enum(_) | TypeBase::Named(_) => {}
    }
    for suffix in &mut ty.suffixes {
        if let TypeSuffix::Array(Some(len)) = suffix {
            expr(v, len);
        }
    }
}
