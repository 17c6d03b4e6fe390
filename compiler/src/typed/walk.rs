//! One walk over the typed tree, for questions such as "does this read that map".
//!
//! Recursion is bounded by the parser's limit on nesting.

use super::{Block, Expr, ExprKind, Place, Stmt, StmtKind};

/// What a walk meets, outside first.
#[derive(Clone, Copy, Debug)]
pub enum Node<'a> {
    /// A statement.
    Stmt(&'a Stmt),
    /// An expression.
    Expr(&'a Expr),
    /// What is assigned to.
    Place(&'a Place),
}

/// What is asked of each of them.
pub type Question<'a> = &'a mut dyn FnMut(Node<'_>) -> bool;

impl Expr {
    /// True when the question is answered with yes for this expression or anything inside.
    pub fn any(&self, question: Question<'_>) -> bool {
        if question(Node::Expr(self)) {
            return true;
        }
        match &self.kind {
            ExprKind::Int(_) | ExprKind::Str(_) | ExprKind::Var(_) | ExprKind::Context => false,
            ExprKind::MapGet { key, .. } | ExprKind::MapCall { key, .. } => {
                key.as_deref().is_some_and(|k| k.any(question))
            }
            ExprKind::Call(_, args) | ExprKind::CallFn(_, args) | ExprKind::Tuple(args) => {
                args.iter().any(|a| a.any(question))
            }
            ExprKind::Parts(parts) => parts.iter().any(|(_, part)| part.any(question)),
            ExprKind::Unary(_, a)
            | ExprKind::Cast(a)
            | ExprKind::Deref(a)
            | ExprKind::AddrOf(a)
            | ExprKind::Field { base: a, .. }
            | ExprKind::Element { base: a, .. } => a.any(question),
            ExprKind::Binary(_, a, b)
            | ExprKind::Compare(_, a, b)
            | ExprKind::Logical { lhs: a, rhs: b, .. }
            | ExprKind::Index { base: a, index: b } => a.any(question) || b.any(question),
            ExprKind::Ternary { cond, then, otherwise } => {
                cond.any(question) || then.any(question) || otherwise.any(question)
            }
            ExprKind::IncDec { place, .. } => place.any(question),
            ExprKind::Block(block) => block.any(question),
        }
    }
}

impl Place {
    fn any(&self, question: Question<'_>) -> bool {
        if question(Node::Place(self)) {
            return true;
        }
        match self {
            Self::Var(_) => false,
            Self::Map { key, .. } => key.as_deref().is_some_and(|k| k.any(question)),
        }
    }
}

impl Block {
    /// True when the question is answered with yes for anything inside.
    pub fn any(&self, question: Question<'_>) -> bool {
        self.stmts.iter().any(|s| s.any(question)) || self.value.as_deref().is_some_and(|v| v.any(question))
    }
}

impl Stmt {
    /// True when the question is answered with yes for this statement or anything inside.
    pub fn any(&self, question: Question<'_>) -> bool {
        if question(Node::Stmt(self)) {
            return true;
        }
        match &self.kind {
            StmtKind::Expr(e) => e.any(question),
            StmtKind::Assign { place, value } | StmtKind::Update { place, value, .. } => {
                place.any(question) || value.any(question)
            }
            StmtKind::Aggregate { key, value, .. } => {
                key.as_ref().is_some_and(|k| k.any(question)) || value.as_ref().is_some_and(|v| v.any(question))
            }
            StmtKind::Send { args, .. } => args.iter().any(|a| a.any(question)),
            StmtKind::If { cond, then, otherwise } => {
                cond.any(question) || then.any(question) || otherwise.any(question)
            }
            StmtKind::While { cond, body } => cond.any(question) || body.any(question),
            StmtKind::Unroll { body, .. } | StmtKind::ForMap { body, .. } => body.any(question),
            StmtKind::ForRange { start, end, body, .. } => {
                start.any(question) || end.any(question) || body.any(question)
            }
            StmtKind::Return(value) => value.as_ref().is_some_and(|v| v.any(question)),
            StmtKind::Block(block) => block.any(question),
            StmtKind::Break | StmtKind::Continue => false,
        }
    }
}
