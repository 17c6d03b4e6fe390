//! `while` and `for ($i : a..b)`. A small loop of few constant rounds that does not search stays in the program, where the verifier walks
//! every one of them; all others become callbacks of `bpf_loop`, which the verifier walks once. Where that helper is missing, or callbacks are nested too
//! deep, a loop in the program gets a bound. No loop ends in silence: a bound that was reached is counted.

use super::callback::Mentions;
use super::{FnLower, Loop};
use crate::ir::{BinOp as Ir, CallbackKind, Cond, Value, helpers};
use crate::program::Counter;
use crate::typed::walk::Node;
use crate::typed::{Block, Expr, ExprKind, Op, StmtKind, VarId};
use crate::types::{IntType, Type};

/// Rounds of a loop in the program where the count is not constant.
const LOOP_BOUND: i64 = 1000;

/// Rounds that the verifier is made to walk for the sake of speed, over all loops in each other.
const INLINE_ROUNDS: i64 = 32;

/// Statements and expressions in all those rounds: each branch among them is one that the verifier may have to follow twice a round.
const INLINE_NODES: i64 = 512;

/// `BPF_MAX_LOOPS`: rounds of one call of `bpf_loop`.
const MOST_ROUNDS: i64 = 1 << 23;

impl FnLower<'_, '_> {
    pub(super) fn while_loop(&mut self, cond: &Expr, body: &Block) {
        if !self.may_call_back() {
            return self.while_inline(cond, body);
        }
        let frame = self.frame(&self.captures(&Mentions::of(body, Some(cond)), None), None);
        let callback = self.callback(CallbackKind::Loop, &frame, |inner, _, _| {
            let on = inner.b.block();
            let Some(stop) = inner.loops.last().map(|l| l.exit) else { return };
            inner.condition(cond, on, stop);
            inner.b.enter(on);
            inner.block(body);
        });
        let most = self.b.iconst(MOST_ROUNDS);
        self.call_loop(most, callback, frame.address);
        let ended = self.after(&frame);
        let (bound, end) = (self.b.block(), self.b.block());
        self.b.branch_imm(Cond::Eq, ended, 0, bound, end);
        self.b.enter(bound);
        self.count_bound(MOST_ROUNDS);
        self.join(end);
    }

    /// `for ($i : start..end)`. The body may assign to its variable: the count runs by itself.
    pub(super) fn for_range(&mut self, var: VarId, start: &Expr, end: &Expr, body: &Block) {
        let rounds = match (&start.kind, &end.kind) {
            (ExprKind::Int(a), ExprKind::Int(b)) => b.checked_sub(*a).map(|n| n.max(1)),
            _ => None,
        };
        let inline = rounds.filter(|n| {
            let walks = n.saturating_mul(self.rounds);
            // A search is a callback of its own. Linux 7 takes each way that leads around one again in every round, unless the
            // rounds are a callback, too: for which there is room where nothing else inside nests.
            let calls_back = self.may_nest(2) && searches(body) && !loops(body);
            let few = walks <= INLINE_ROUNDS && walks.saturating_mul(nodes(body)) <= INLINE_NODES;
            few && !calls_back && !self.m.facts.parts
        });
        if inline.is_some() || !self.may_call_back() {
            return self.range_inline(var, start, end, body, inline);
        }
        let first = self.scalar(start);
        let limit = self.scalar(end);
        let (some, many, few, run, done) =
            (self.b.block(), self.b.block(), self.b.block(), self.b.block(), self.b.block());
        self.b.branch(Cond::SLt, first, limit, some, done);
        self.b.enter(some);
        let count = self.b.variable();
        // Between numbers of 64 bits lie up to 2^64 others: the difference has no sign.
        let rounds = self.b.bin(Ir::Sub, limit, first);
        self.b.set(count, rounds);
        self.b.branch_imm(Cond::UGt, rounds, MOST_ROUNDS, many, few);
        self.b.enter(many);
        let most = self.b.iconst(MOST_ROUNDS);
        self.b.set(count, most);
        self.b.jump(run);
        self.b.enter(few);
        self.b.jump(run);
        self.b.enter(run);
        let frame = self.frame(&self.captures(&Mentions::of(body, None), Some(var)), Some(first));
        let ty = self.variable_type(var);
        let callback = self.callback(CallbackKind::Loop, &frame, |inner, params, first| {
            let index = params.first().copied().unwrap_or(Value(0));
            let i = inner.b.bin(Ir::Add, first, index);
            let shown = inner.normalise(i, &ty);
            inner.write_variable(var, &ty, shown);
            inner.block(body);
        });
        let n = self.b.get(count);
        self.call_loop(n, callback, frame.address);
        let ended = self.after(&frame);
        // The rounds that were asked for are over, or the most there are.
        let (through, bound) = (self.b.block(), self.b.block());
        self.b.branch_imm(Cond::Eq, ended, 0, through, done);
        self.b.enter(through);
        self.b.branch_imm(Cond::UGt, rounds, MOST_ROUNDS, bound, done);
        self.b.enter(bound);
        self.count_bound(MOST_ROUNDS);
        self.join(done);
    }

    pub(super) fn call_loop(&mut self, rounds: Value, callback: crate::ir::FuncId, frame: Value) {
        let function = self.b.func_addr(callback);
        let flags = self.b.iconst(0);
        self.b.call(helpers::LOOP, &[rounds, function, frame, flags]);
    }

    fn count_bound(&mut self, rounds: i64) {
        let position = self.position();
        self.count(Counter::LoopBound { position, rounds: rounds.unsigned_abs() });
    }

    pub(super) fn variable_type(&self, var: VarId) -> Type {
        self.decls.get(var).map_or(Type::Int(IntType::I64), |var| var.ty.clone())
    }

    fn while_inline(&mut self, cond: &Expr, body: &Block) {
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
        self.inside_loop(Loop { exit: end, next }, LOOP_BOUND, body);
        let n = self.b.get(turns);
        let n = self.b.bin_imm(Ir::Add, n, 1);
        self.b.set(turns, n);
        self.b.jump(head);
        self.b.seal(head);
        self.b.enter(bound);
        self.count_bound(LOOP_BOUND);
        self.join(end);
    }

    /// Constant rounds need no other bound.
    fn range_inline(&mut self, var: VarId, start: &Expr, end: &Expr, body: &Block, constant: Option<i64>) {
        let ty = self.variable_type(var);
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
        if constant.is_some() {
            self.b.jump(inside);
        } else {
            let n = self.b.get(turns);
            self.b.branch_imm(Cond::ULt, n, LOOP_BOUND, inside, bound);
        }
        self.b.enter(inside);
        let i = self.b.get(at);
        let shown = self.normalise(i, &ty);
        self.write_variable(var, &ty, shown);
        self.inside_loop(Loop { exit: done, next }, constant.unwrap_or(LOOP_BOUND), body);
        let i = self.b.get(at);
        let i = self.b.bin_imm(Ir::Add, i, 1);
        self.b.set(at, i);
        if constant.is_none() {
            let n = self.b.get(turns);
            let n = self.b.bin_imm(Ir::Add, n, 1);
            self.b.set(turns, n);
        }
        self.b.jump(head);
        self.b.seal(head);
        self.b.enter(bound);
        if constant.is_none() {
            self.count_bound(LOOP_BOUND);
        }
        self.join(done);
    }

    /// The body of a loop that the verifier walks so many times.
    fn inside_loop(&mut self, turn: Loop, rounds: i64, body: &Block) {
        let outside = self.rounds;
        self.rounds = outside.saturating_mul(rounds);
        let next = turn.next;
        self.loops.push(turn);
        self.block(body);
        self.loops.pop();
        self.rounds = outside;
        self.join(next);
    }
}

/// Whether a block searches in texts.
fn searches(block: &Block) -> bool {
    block.any(&mut |node| matches!(node, Node::Expr(Expr { kind: ExprKind::Call(Op::Strstr, _), .. })))
}

/// Whether a block has loops, or calls functions, which may have some.
fn loops(block: &Block) -> bool {
    block.any(&mut |node| match node {
        Node::Stmt(s) => {
            matches!(s.kind, StmtKind::While { .. } | StmtKind::ForRange { .. } | StmtKind::ForMap { .. })
        }
        Node::Expr(e) => matches!(e.kind, ExprKind::CallFn(..)),
        Node::Place(_) => false,
    })
}

/// Statements and expressions in a block.
fn nodes(block: &Block) -> i64 {
    let mut count = 0;
    block.any(&mut |_| {
        count += 1;
        false
    });
    count
}
