//! Statements and control flow.

use super::callback::Mentions;
use super::{FnLower, Loop, Mem};
use crate::ir::{BinOp as Ir, Cond, helpers};
use crate::typed::walk::Node;
use crate::typed::{Block, Expr, ExprKind, Place, Stmt, StmtKind, TaskFilter, VarId};
use crate::types::Type;

impl FnLower<'_, '_> {
    /// The whole program: filter, predicate, action.
    pub(super) fn body(&mut self) {
        let program = self.program;
        self.only_wanted_tasks(program.filter);
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
        self.finish();
    }

    fn only_wanted_tasks(&mut self, filter: TaskFilter) {
        let exit = self.exit;
        if let Some(pid) = filter.pid {
            let ids = self.ids();
            let tgid = self.b.bin_imm(Ir::LShr, ids, 32);
            let on = self.b.block();
            self.b.branch_imm(Cond::Eq, tgid, i64::from(pid), on, exit);
            self.b.enter(on);
        }
        if let Some(cgroup) = filter.cgroup {
            let of_task = match cgroup.level {
                // Its own cgroup or one above it; 0 when it has none so deep.
                Some(level) => {
                    let level = self.b.iconst(i64::from(level));
                    self.b.call(helpers::GET_CURRENT_ANCESTOR_CGROUP_ID, &[level])
                }
                None => self.b.call(helpers::GET_CURRENT_CGROUP_ID, &[]),
            };
            let wanted = self.b.iconst(cgroup.id as i64);
            let on = self.b.block();
            self.b.branch(Cond::Eq, of_task, wanted, on, exit);
            self.b.enter(on);
        }
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
            if self.is_part(stmt) {
                self.part(stmt);
            } else {
                self.stmt(stmt);
            }
            self.temps.release(mark);
            self.b.set_span(before);
        }
    }

    pub(super) fn stmt(&mut self, stmt: &Stmt) {
        match &stmt.kind {
            StmtKind::Expr(e) => self.effect(e),
            StmtKind::Assign { place, value } => self.assign(place, value),
            StmtKind::Update { place, op, value } => match place {
                Place::Map { map, key } => self.map_update_op(*map, key.as_deref(), *op, value),
                Place::Var(var) => {
                    let ty = self.variable_type(*var);
                    if !ty.is_scalar() {
                        return self.internal("a compound assignment to an aggregate", stmt.span);
                    }
                    let operand = self.scalar(value);
                    let old = self.read_variable(*var, &ty);
                    let new = self.arithmetic(*op, old, operand, &ty, value);
                    self.write_variable(*var, &ty, new);
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
            StmtKind::Unroll { count, body } if self.rolls(body) => {
                self.repeat(*count, &Mentions::of(body, None), &|inner| inner.block(body));
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
                    self.leave_result(value);
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
                let ty = self.variable_type(*var);
                if ty.is_scalar() {
                    let value = self.scalar(value);
                    return self.write_variable(*var, &ty, value);
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
}

/// True when an expression reads a variable.
fn mentions(e: &Expr, var: VarId) -> bool {
    e.any(&mut |node| matches!(node, Node::Expr(Expr { kind: ExprKind::Var(v), .. }) if *v == var))
}
