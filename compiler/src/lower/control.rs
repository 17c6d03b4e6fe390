//! Statements and control flow.

use super::{FnLower, Home, Loop, Mem};
use crate::ir::{BinOp as Ir, Cond};
use crate::program::Counter;
use crate::typed::walk::Node;
use crate::typed::{Block, Expr, ExprKind, Place, Stmt, StmtKind, VarId};
use crate::types::{IntType, Type};

/// Turns of a loop whose count is not constant: the verifier follows every one of them.
const LOOP_BOUND: i64 = 1000;

impl FnLower<'_, '_> {
    /// The whole program: filter, predicate, action.
    pub(super) fn body(&mut self) {
        let program = self.program;
        if let Some(pid) = program.pid_filter {
            let ids = self.ids();
            let tgid = self.b.bin_imm(Ir::LShr, ids, 32);
            let on = self.b.block();
            let exit = self.exit;
            self.b.branch_imm(Cond::Eq, tgid, i64::from(pid), on, exit);
            self.b.enter(on);
        }
        if self.serves_syscalls() {
            self.only_served_syscalls();
        }
        if let Some(predicate) = &program.predicate {
            let on = self.b.block();
            let exit = self.exit;
            self.condition(predicate, on, exit);
            self.b.enter(on);
        }
        self.block(&program.body);
        let exit = self.exit;
        self.b.jump(exit);
        self.b.enter(exit);
        let zero = self.b.iconst(0);
        self.b.ret(zero);
    }

    pub(super) fn block(&mut self, block: &Block) {
        self.stmts(&block.stmts);
        if let Some(value) = &block.value {
            self.effect(value);
        }
    }

    pub(super) fn stmts(&mut self, stmts: &[Stmt]) {
        for stmt in stmts {
            if self.b.is_terminated() {
                // What follows a `return` or `break` is unreachable.
                return;
            }
            let before = self.b.set_span(stmt.span);
            let mark = self.temps.mark();
            self.stmt(stmt);
            self.temps.release(mark);
            self.b.set_span(before);
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match &stmt.kind {
            StmtKind::Expr(e) => self.effect(e),
            StmtKind::Assign { place, value } => self.assign(place, value),
            StmtKind::Update { place, op, value } => match place {
                Place::Map { map, key } => self.map_update_op(*map, key.as_deref(), *op, value),
                Place::Var(var) => {
                    let Some(Home::Register(v)) = self.vars.get(*var).copied() else {
                        return self.internal("a compound assignment to an aggregate", stmt.span);
                    };
                    let ty = self.program.vars.get(*var).map_or(Type::I64, |var| var.ty.clone());
                    let operand = self.scalar(value);
                    let old = self.b.get(v);
                    let new = self.arithmetic(*op, old, operand, &ty, value);
                    self.b.set(v, new);
                }
            },
            StmtKind::Aggregate { map, key, value } => self.fold(*map, key.as_ref(), value.as_ref()),
            StmtKind::Send { action, args } => self.send(*action, args),
            StmtKind::If { cond, then, otherwise } => {
                let (yes, end) = (self.b.block(), self.b.block());
                if otherwise.stmts.is_empty() && otherwise.value.is_none() {
                    self.condition(cond, yes, end);
                    self.b.enter(yes);
                    self.block(then);
                    return self.join(end);
                }
                let no = self.b.block();
                self.condition(cond, yes, no);
                self.b.enter(yes);
                self.block(then);
                self.b.jump(end);
                self.b.enter(no);
                self.block(otherwise);
                self.join(end);
            }
            StmtKind::Unroll { count, body } => {
                let end = self.b.block();
                for _ in 0..*count {
                    let next = self.b.block();
                    self.loops.push(Loop { exit: end, next });
                    self.block(body);
                    self.loops.pop();
                    self.join(next);
                }
                self.join(end);
            }
            StmtKind::While { cond, body } => self.while_loop(cond, body),
            StmtKind::ForRange { var, start, end, body } => self.for_range(*var, start, end, body),
            StmtKind::ForMap { var, map, body } => self.for_map(*var, *map, body),
            StmtKind::Break => self.leave(|l| l.exit),
            StmtKind::Continue => self.leave(|l| l.next),
            StmtKind::Return(value) => {
                if let Some(value) = value {
                    self.effect(value);
                }
                let exit = self.exit;
                self.b.jump(exit);
            }
            StmtKind::Block(block) => self.block(block),
        }
    }

    fn leave(&mut self, to: impl Fn(&Loop) -> crate::ir::Block) {
        match self.loops.last() {
            Some(l) => {
                let block = to(l);
                self.b.jump(block);
            }
            None => self.internal("break or continue outside of a loop", self.b.span()),
        }
    }

    fn assign(&mut self, place: &Place, value: &Expr) {
        match place {
            Place::Map { map, key } => self.map_assign(*map, key.as_deref(), value),
            Place::Var(var) => {
                if let Some(Home::Register(v)) = self.vars.get(*var).copied() {
                    let value = self.scalar(value);
                    return self.b.set(v, value);
                }
                let Some(base) = self.variable_address(*var) else {
                    return self.internal("an unknown variable", value.span);
                };
                let dst = Mem { base, offset: 0 };
                if !mentions(value, *var) {
                    return self.into(value, dst);
                }
                // `$s = cond ? $s : …` must not read what it has half overwritten.
                let temp = self.temp(&value.ty);
                self.into(value, temp);
                if let Type::Str(capacity) = value.ty {
                    self.copy_string(super::Loc::bpf(temp), dst, capacity);
                } else {
                    let size = self.m.size(&value.ty);
                    self.copy(dst, temp, size);
                }
            }
        }
    }

    /// A loop with a condition; the compiler's bound ends it, which is counted.
    fn while_loop(&mut self, cond: &Expr, body: &Block) {
        let turns = self.b.variable();
        let zero = self.b.iconst(0);
        self.b.set(turns, zero);
        let (head, check, inside, next, bound, end) =
            (self.b.block(), self.b.block(), self.b.block(), self.b.block(), self.b.block(), self.b.block());
        self.b.jump(head);
        self.b.switch_to(head);
        self.condition(cond, check, end);
        self.b.enter(check);
        let n = self.b.get(turns);
        self.b.branch_imm(Cond::ULt, n, LOOP_BOUND, inside, bound);
        self.b.enter(inside);
        self.loops.push(Loop { exit: end, next });
        self.block(body);
        self.loops.pop();
        self.join(next);
        let n = self.b.get(turns);
        let n = self.b.bin_imm(Ir::Add, n, 1);
        self.b.set(turns, n);
        self.b.jump(head);
        self.b.seal(head);
        self.b.enter(bound);
        let position = self.position();
        self.count(Counter::LoopBound { position });
        self.join(end);
    }

    /// `for ($i : start..end)`: constant bounds need no other; run-time bounds get the compiler's.
    fn for_range(&mut self, var: VarId, start: &Expr, end: &Expr, body: &Block) {
        let Some(Home::Register(v)) = self.vars.get(var).copied() else {
            return self.internal("a loop variable in memory", start.span);
        };
        let constant = match (&start.kind, &end.kind) {
            (ExprKind::Int(a), ExprKind::Int(b)) => b.checked_sub(*a).is_some_and(|n| n <= LOOP_BOUND),
            _ => false,
        };
        let ty = self.program.vars.get(var).map_or(Type::Int(IntType::I64), |var| var.ty.clone());
        // The body may assign to its variable: the count runs by itself.
        let (at, turns) = (self.b.variable(), self.b.variable());
        let first = self.scalar(start);
        let limit = self.scalar(end);
        self.b.set(at, first);
        let zero = self.b.iconst(0);
        self.b.set(turns, zero);
        let (head, check, inside, next, bound, done) =
            (self.b.block(), self.b.block(), self.b.block(), self.b.block(), self.b.block(), self.b.block());
        self.b.jump(head);
        self.b.switch_to(head);
        let i = self.b.get(at);
        self.b.branch(Cond::SLt, i, limit, check, done);
        self.b.enter(check);
        if constant {
            self.b.jump(inside);
        } else {
            let n = self.b.get(turns);
            self.b.branch_imm(Cond::ULt, n, LOOP_BOUND, inside, bound);
        }
        self.b.enter(inside);
        let i = self.b.get(at);
        let shown = self.normalise(i, &ty);
        self.b.set(v, shown);
        self.loops.push(Loop { exit: done, next });
        self.block(body);
        self.loops.pop();
        self.join(next);
        let i = self.b.get(at);
        let i = self.b.bin_imm(Ir::Add, i, 1);
        self.b.set(at, i);
        if !constant {
            let n = self.b.get(turns);
            let n = self.b.bin_imm(Ir::Add, n, 1);
            self.b.set(turns, n);
        }
        self.b.jump(head);
        self.b.seal(head);
        self.b.enter(bound);
        if !constant {
            let position = self.position();
            self.count(Counter::LoopBound { position });
        }
        self.join(done);
    }
}

/// True when an expression reads a variable.
fn mentions(e: &Expr, var: VarId) -> bool {
    e.any(&mut |node| matches!(node, Node::Expr(Expr { kind: ExprKind::Var(v), .. }) if *v == var))
}
