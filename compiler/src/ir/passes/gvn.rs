//! Common subexpressions: an operation that was already computed in a dominating block, on the same operands, is not computed
//! again. Shared are pure operations, calls of helpers whose result is the same for a whole run, and loads from a program's
//! context, which nothing changes while the program runs.

use crate::index::Table;
use crate::ir::dom::Dominators;
use crate::ir::helpers::Effect;
use crate::ir::rewrite::Rewrites;
use crate::ir::{BinOp, Cond, Function, FunctionKind, Op, Value};

/// Runs the pass; returns whether anything changed.
pub fn gvn(func: &mut Function) -> bool {
    let mut rewrites = Rewrites::new(func);
    let context = match func.kind {
        FunctionKind::Program { .. } => func.blocks.iter().next().and_then(|b| b.params.first().copied()),
        FunctionKind::Sub | FunctionKind::Callback(_) => None,
    };
    // What is available; what was added on the way from the entry, and where each block on that way began.
    let mut available: Table<Op, Value> = Table::default();
    let mut added: Vec<Op> = Vec::new();
    let mut scopes: Vec<usize> = Vec::new();
    for (block, depth) in Dominators::new(func).preorder() {
        if let Some(&start) = scopes.get(depth) {
            for key in added.drain(start..) {
                available.remove(&key);
            }
            scopes.truncate(depth);
        }
        scopes.push(added.len());
        func.blocks[block].insts.retain_mut(|inst| {
            inst.op.map_uses(|v| rewrites.find(v));
            let Some(result) = inst.result else { return true };
            let shared = match &inst.op {
                Op::Call(helper, _) => helper.effect() == Effect::Constant,
                Op::Load { addr, .. } => Some(*addr) == context,
                op => op.is_pure(),
            };
            if !shared {
                return true;
            }
            let key = canonical(&inst.op);
            if let Some(&known) = available.get(&key) {
                rewrites.replace(result, known);
                return false;
            }
            available.insert(key.clone(), result);
            added.push(key);
            true
        });
    }
    rewrites.apply(func);
    rewrites.any()
}

/// Operands of symmetric operations in a fixed order.
fn canonical(op: &Op) -> Op {
    match *op {
        Op::Bin(bin @ (BinOp::Add | BinOp::Mul | BinOp::And | BinOp::Or | BinOp::Xor), a, b) if b < a => {
            Op::Bin(bin, b, a)
        }
        Op::Cmp(cond @ (Cond::Eq | Cond::Ne | Cond::Test), a, b) if b < a => Op::Cmp(cond, b, a),
        _ => op.clone(),
    }
}
