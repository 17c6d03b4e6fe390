//! Programs in parts ([`Shape::Parts`](super::Shape)): each larger statement is a callback of one round, which takes its variables from memory
//! that the verifier knows nothing about. All ways through a part come together where it is called, so that the
//! verifier follows the sum of the ways through the parts of a program, not their product.

use super::FnLower;
use super::callback::{MOST_NESTED, Mentions};
use super::functions::Traits;
use crate::ir::CallbackKind;
use crate::typed::walk::{Node, Question};
use crate::typed::{Block, Expr, ExprKind, Op, Stmt, StmtKind};

/// Statements and expressions in one that is worth a call.
const LEAST_NODES: u32 = 8;

/// Parts inside of each other, and of loops: each takes some of the stack, which is small.
const MOST_PARTS: u32 = 3;

impl FnLower<'_, '_> {
    /// Whether a statement is to be a part of its own. Loops are callbacks of themselves.
    pub(super) fn is_part(&self, stmt: &Stmt) -> bool {
        if !self.has_parts_at(self.depth) || body(stmt).is_some() {
            return false;
        }
        let (mut nodes, mut leaves) = (0, false);
        stmt.any(&mut |node| {
            nodes += 1;
            // A `break` ends the loop around, which only the function that has it can.
            leaves |= matches!(node, Node::Stmt(Stmt { kind: StmtKind::Break | StmtKind::Continue, .. }));
            leaves
        });
        nodes >= LEAST_NODES && !leaves && self.may_nest(1 + self.nesting(&|question| stmt.any(question)))
    }

    /// Whether statements at this depth may be parts.
    pub(super) fn has_parts_at(&self, depth: u32) -> bool {
        self.m.facts.parts && depth < MOST_PARTS
    }

    pub(super) fn part(&mut self, stmt: &Stmt) {
        self.repeat(1, &Mentions::of_stmt(stmt), &|inner| inner.stmt(stmt));
    }

    /// Whether an `unroll` is to be a loop.
    pub(super) fn rolls(&self, block: &Block) -> bool {
        self.m.facts.parts && self.may_nest(1 + self.nesting(&|question| block.any(question)))
    }

    /// So many rounds in which nothing but the variables changes.
    pub(super) fn repeat(&mut self, rounds: u32, mentions: &Mentions, round: &dyn Fn(&mut FnLower<'_, '_>)) {
        let frame = self.frame(&self.captures(mentions, None), None);
        let callback = self.callback(CallbackKind::Loop, &frame, |inner, _, _| round(inner));
        let rounds = self.b.iconst(i64::from(rounds));
        self.call_loop(rounds, callback, frame.address);
        self.after(&frame);
    }

    /// See [`nesting`].
    fn nesting(&self, walk: &dyn Fn(Question<'_>) -> bool) -> u32 {
        nesting(&self.m.traits, walk)
    }
}

/// How many functions call each other inside of what is walked, as long as none of it is a part. What is more than fits anywhere is not
/// counted further: loops within loops are walked anew from each of them.
pub(super) fn nesting(functions: &Traits, walk: &dyn Fn(Question<'_>) -> bool) -> u32 {
    let mut most = 0;
    walk(&mut |node| {
        let inside = match node {
            Node::Expr(Expr { kind: ExprKind::Call(Op::Strstr, _), .. }) => 1,
            Node::Expr(Expr { kind: ExprKind::CallFn(id, _), .. }) => 1 + functions.get(id).map_or(0, |f| f.nesting),
            Node::Stmt(Stmt { kind: StmtKind::While { cond, body }, .. }) => {
                1 + nesting(functions, &|question| cond.any(question) || body.any(question))
            }
            Node::Stmt(stmt) => body(stmt).map_or(0, |body| 1 + nesting(functions, &|question| body.any(question))),
            Node::Expr(_) | Node::Place(_) => 0,
        };
        most = most.max(inside);
        most > MOST_NESTED
    });
    most
}

/// What a loop does in each round.
fn body(stmt: &Stmt) -> Option<&Block> {
    match &stmt.kind {
        StmtKind::While { body, .. }
        | StmtKind::ForRange { body, .. }
        | StmtKind::ForMap { body, .. }
        | StmtKind::Unroll { body, .. } => Some(body),
        _ => None,
    }
}
