//! Control flow: branches whose outcome is known, jumps through blocks that only pass on or only decide, parameters that always
//! have the same value, and chains of blocks that are one.

use crate::index::{Id, IndexVec, Table};
use crate::ir::dom::Dominators;
use crate::ir::rewrite::Rewrites;
use crate::ir::{Block, Cond, Function, Inst, Op, Target, Terminator, Value, cfg, eval};

/// Runs the pass; returns whether anything changed.
pub fn branches(func: &mut Function) -> bool {
    let mut changed = false;
    changed |= known(func);
    changed |= implied(func);
    changed |= thread(func);
    changed |= same_arguments(func);
    changed |= merge(func);
    changed
}

fn constants(func: &Function) -> IndexVec<Value, Option<i64>> {
    let mut constants: IndexVec<Value, Option<i64>> = vec![None; func.values.len()].into();
    for inst in func.blocks.iter().flat_map(|b| &b.insts) {
        if let (Op::Const(c), Some(v)) = (&inst.op, inst.result) {
            constants[v] = Some(*c);
        }
    }
    constants
}

/// Branches on constants, and with both sides alike, become jumps.
fn known(func: &mut Function) -> bool {
    let constants = constants(func);
    let mut changed = false;
    for block in &mut func.blocks {
        let Some(Terminator::Branch { cond, lhs, rhs, then, otherwise }) = &block.term else { continue };
        let taken = match (constants[*lhs], constants[*rhs]) {
            (Some(a), Some(b)) => Some(eval::cond(*cond, a as u64, b as u64)),
            _ if lhs == rhs && *cond != Cond::Test => Some(eval::cond(*cond, 0, 0)),
            _ if then == otherwise => Some(true),
            _ => None,
        };
        if let Some(taken) = taken {
            block.term = Some(Terminator::Jump(if taken { then.clone() } else { otherwise.clone() }));
            changed = true;
        }
    }
    changed
}

/// What a branch compares: constants count by their number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Side {
    Value(Value),
    Const(i64),
}

/// Both sides of a comparison.
type Sides = (Side, Side);

/// Branches on a comparison that a dominating branch has made.
fn implied(func: &mut Function) -> bool {
    let constants = constants(func);
    let side = |v: Value| constants[v].map_or(Side::Value(v), Side::Const);
    let dominators = Dominators::new(func);
    let preds = cfg::predecessors(func, &dominators.order);
    // Relations that hold on the way from the entry; each scope remembers what it has hidden.
    let mut facts: Table<Sides, Cond> = Table::default();
    let mut scopes: Vec<Option<(Sides, Option<Cond>)>> = Vec::new();
    let mut changed = false;
    for (block, depth) in dominators.preorder() {
        while scopes.len() > depth {
            match scopes.pop().flatten() {
                Some((key, Some(old))) => {
                    facts.insert(key, old);
                }
                Some((key, None)) => {
                    facts.remove(&key);
                }
                None => {}
            }
        }
        let learnt = match &preds[block] {
            &[pred] => match &func.blocks[pred].term {
                Some(Terminator::Branch { cond, lhs, rhs, then, otherwise }) if then.block != otherwise.block => {
                    let holds = if then.block == block { Some(*cond) } else { cond.inverted() };
                    holds.map(|c| ((side(*lhs), side(*rhs)), c))
                }
                _ => None,
            },
            _ => None,
        };
        scopes.push(learnt.map(|(key, cond)| (key, facts.insert(key, cond))));
        let data = &mut func.blocks[block];
        let Some(Terminator::Branch { cond, lhs, rhs, then, otherwise }) = &data.term else { continue };
        let Some(&fact) = facts.get(&(side(*lhs), side(*rhs))) else { continue };
        let taken = if fact == *cond {
            then
        } else if fact.inverted() == Some(*cond) {
            otherwise
        } else {
            continue;
        };
        data.term = Some(Terminator::Jump(taken.clone()));
        changed = true;
    }
    changed
}

/// A block that computes nothing and whose values are its own affair.
struct Passage {
    params: Vec<Value>,
    constants: Vec<(Value, i64)>,
    term: Terminator,
}

/// The most constants that a block may hold to be jumped through.
const MAX_CONSTANTS: usize = 4;

/// Edges that lead through a block which only jumps on, or only decides on what the edge brings along, lead to where it goes.
fn thread(func: &mut Function) -> bool {
    let passages = passages(func);
    let constants = constants(func);
    let mut changed = false;
    for id in func.blocks.ids() {
        let Some(mut term) = func.blocks[id].term.take() else { continue };
        term.for_each_target_mut(|target| {
            // The bound ends walks around loops of empty blocks.
            for _ in 0..16 {
                let Some(Some(passage)) = passages.get(target.block) else { break };
                let Some(next) = through(passage, target, &constants) else { break };
                if next.block == target.block {
                    break;
                }
                *target = next;
                changed = true;
            }
        });
        func.blocks[id].term = Some(term);
    }
    changed
}

fn passages(func: &Function) -> IndexVec<Block, Option<Passage>> {
    // Where each value is used, if in one block only.
    let mut outside: IndexVec<Value, bool> = vec![false; func.values.len()].into();
    let mut home: IndexVec<Value, Option<Block>> = vec![None; func.values.len()].into();
    for (id, block) in func.blocks.enumerate() {
        for v in block.params.iter().copied().chain(block.insts.iter().filter_map(|i| i.result)) {
            home[v] = Some(id);
        }
    }
    for (id, block) in func.blocks.enumerate() {
        let mut used = |v: Value| outside[v] |= home[v] != Some(id);
        for inst in &block.insts {
            inst.op.for_each_use(&mut used);
        }
        if let Some(term) = &block.term {
            term.for_each_use(&mut used);
        }
    }
    func.blocks
        .enumerate()
        .map(|(id, block)| {
            let term = block.term.as_ref()?;
            if id.index() == 0 || matches!(term, Terminator::Return(_)) || block.insts.len() > MAX_CONSTANTS {
                return None;
            }
            let constants = block
                .insts
                .iter()
                .map(|i| match (i.result, &i.op) {
                    (Some(v), Op::Const(c)) => Some((v, *c)),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>()?;
            let own = block.params.iter().copied().chain(constants.iter().map(|c| c.0));
            if own.into_iter().any(|v| outside[v]) {
                return None;
            }
            Some(Passage { params: block.params.clone(), constants, term: term.clone() })
        })
        .collect::<Vec<_>>()
        .into()
}

/// Where an edge into the passage ends, if that is known.
fn through(passage: &Passage, edge: &Target, constants: &IndexVec<Value, Option<i64>>) -> Option<Target> {
    let substitute =
        |v: Value| passage.params.iter().position(|&p| p == v).and_then(|i| edge.args.get(i).copied()).unwrap_or(v);
    let constant = |v: Value| {
        passage
            .constants
            .iter()
            .find(|c| c.0 == v)
            .map(|c| c.1)
            .or_else(|| constants.get(substitute(v)).copied().flatten())
    };
    let target = match &passage.term {
        Terminator::Jump(t) => t,
        Terminator::Branch { cond, lhs, rhs, then, otherwise } => {
            let (a, b) = (constant(*lhs)?, constant(*rhs)?);
            if eval::cond(*cond, a as u64, b as u64) { then } else { otherwise }
        }
        Terminator::Return(_) => return None,
    };
    // A constant of the passage does not exist on the edge.
    if target.args.iter().any(|a| passage.constants.iter().any(|c| c.0 == *a)) {
        return None;
    }
    Some(Target { block: target.block, args: target.args.iter().map(|&v| substitute(v)).collect() })
}

/// Parameters that get the same value, or the same constant, from everywhere.
fn same_arguments(func: &mut Function) -> bool {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Nothing,
        Value(Value),
        Const(i64),
        Various,
    }
    let constants = constants(func);
    let mut seen: IndexVec<Block, Vec<Seen>> =
        func.blocks.iter().map(|b| vec![Seen::Nothing; b.params.len()]).collect::<Vec<_>>().into();
    for block in cfg::reverse_post_order(func) {
        let Some(term) = &func.blocks[block].term else { continue };
        term.for_each_target(|t| {
            let params = &func.blocks[t.block].params;
            for ((state, &arg), &param) in seen[t.block].iter_mut().zip(&t.args).zip(params) {
                if arg == param {
                    continue;
                }
                let new = constants[arg].map_or(Seen::Value(arg), Seen::Const);
                *state = if *state == Seen::Nothing || *state == new { new } else { Seen::Various };
            }
        });
    }
    let mut rewrites = Rewrites::new(func);
    let mut changed = false;
    for block in func.blocks.ids().collect::<Vec<_>>() {
        if block.index() == 0 {
            continue;
        }
        for (param, state) in func.blocks[block].params.clone().into_iter().zip(&seen[block]) {
            match state {
                Seen::Value(v) => rewrites.replace(param, *v),
                Seen::Const(c) => {
                    let value = func.new_value();
                    let span = func.blocks[block].term_span;
                    func.blocks[block].insts.insert(0, Inst { result: Some(value), op: Op::Const(*c), span });
                    rewrites.replace(param, value);
                }
                Seen::Nothing | Seen::Various => {}
            }
        }
    }
    if rewrites.any() {
        // The parameters themselves are dead now, and go with the dead code.
        rewrites.apply(func);
        changed = true;
    }
    changed
        && remove_params(
            func,
            &seen
                .iter()
                .map(|s| s.iter().map(|s| matches!(s, Seen::Nothing | Seen::Various)).collect())
                .collect::<Vec<Vec<bool>>>(),
        )
}

/// Drops the parameters whose flag is false, with their arguments.
fn remove_params(func: &mut Function, keep: &[Vec<bool>]) -> bool {
    for (block, flags) in func.blocks.iter_mut().zip(keep).skip(1) {
        let mut flags = flags.iter();
        block.params.retain(|_| flags.next() != Some(&false));
    }
    for block in &mut func.blocks {
        if let Some(term) = &mut block.term {
            term.for_each_target_mut(|t| {
                if t.block.index() != 0
                    && let Some(flags) = keep.get(t.block.index())
                {
                    let mut flags = flags.iter();
                    t.args.retain(|_| flags.next() != Some(&false));
                }
            });
        }
    }
    true
}

/// A block whose only predecessor only goes there is that block's continuation.
fn merge(func: &mut Function) -> bool {
    let order = cfg::reverse_post_order(func);
    let preds = cfg::predecessors(func, &order);
    let mut rewrites = Rewrites::new(func);
    let mut absorbed: IndexVec<Block, bool> = vec![false; func.blocks.len()].into();
    let mut changed = false;
    for &block in &order {
        if absorbed[block] {
            continue;
        }
        while let Some(Terminator::Jump(target)) = &func.blocks[block].term {
            let next = target.block;
            if next == block || next.index() == 0 || preds[next].len() != 1 {
                break;
            }
            let args = target.args.clone();
            let data = std::mem::take(&mut func.blocks[next]);
            for (&param, arg) in data.params.iter().zip(args) {
                rewrites.replace(param, arg);
            }
            let own = &mut func.blocks[block];
            own.insts.extend(data.insts);
            own.term = data.term;
            own.term_span = data.term_span;
            // What is left is unreachable, but still a block.
            let dead = Value::new(0);
            func.blocks[next].term = Some(Terminator::Return(dead));
            absorbed[next] = true;
            changed = true;
        }
    }
    rewrites.apply(func);
    changed
}
