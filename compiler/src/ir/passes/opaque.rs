//! Hides from the verifier, in conditions, what it knows of values that are older than a call of a callback or of another function.
//!
//! A verifier that walks a branch to one side only, because it knows the value, notes in the states before it that this value counts.
//! Before Linux 6.5 it takes, on its way back through a function that is called, that function's registers for those of the caller, and
//! loses the note where the function writes one. Later it takes a way with another value for one that it has walked, and at the end makes
//! the branch one-way, for it never saw the other side. Of a value that it does not know, it walks both sides.
//!
//! Such a value is computed anew, from memory that the verifier knows nothing of. What the verifier needs to learn from a condition stays
//! as it is: bounds of addresses and lengths, null checks, and ends of loops.

use std::collections::{BTreeMap, BTreeSet};

use tapline_grammar::span::Span;

use crate::index::IndexVec;
use crate::ir::dom::{DominanceTest, Dominators};
use crate::ir::{BinOp, Block, Function, Module, Op, Terminator, Value, Width, cfg, helpers};
use crate::program::MapId;

/// Runs the pass on all functions that call others. It needs the map of counters.
pub fn opaque(module: &mut Module) {
    let Some(counters) = module.counters else { return };
    for func in &mut module.functions {
        let conditions = Facts::new(func).map(|facts| conditions(func, &facts)).unwrap_or_default();
        for (block, hidden) in conditions {
            hide(func, block, &hidden, counters);
        }
    }
}

/// A place in a block: 0 for its parameters, one more than its position for an instruction, and behind all for the end.
type Place = usize;

/// Where a value is made.
#[derive(Clone, Copy, Debug)]
struct Def {
    block: Block,
    place: Place,
    /// For parameters: which.
    param: Option<usize>,
}

/// What there is to know of a function before it is changed.
struct Facts {
    order: Vec<Block>,
    preds: cfg::Predecessors,
    /// Where other functions are called.
    calls: IndexVec<Block, Vec<Place>>,
    defs: IndexVec<Value, Option<Def>>,
    uses: IndexVec<Value, Vec<(Block, Place)>>,
    /// The verifier must know them: addresses, and what addresses and lengths are made of.
    exact: IndexVec<Value, bool>,
}

impl Facts {
    /// `None` for a function that calls no other.
    fn new(func: &Function) -> Option<Self> {
        let order = cfg::reverse_post_order(func);
        let mut calls: IndexVec<Block, Vec<Place>> = vec![Vec::new(); func.blocks.len()].into();
        let mut any = false;
        for &block in &order {
            for (at, inst) in func.blocks[block].insts.iter().enumerate() {
                if matches!(inst.op, Op::CallSub(..) | Op::Call(helpers::LOOP | helpers::FOR_EACH_MAP_ELEM, _)) {
                    calls[block].push(at + 1);
                    any = true;
                }
            }
        }
        if !any {
            return None;
        }
        let preds = cfg::predecessors(func, &order);
        let mut defs: IndexVec<Value, Option<Def>> = vec![None; func.values.len()].into();
        let mut uses: IndexVec<Value, Vec<(Block, Place)>> = vec![Vec::new(); func.values.len()].into();
        for &block in &order {
            let data = &func.blocks[block];
            for (index, &param) in data.params.iter().enumerate() {
                defs[param] = Some(Def { block, place: 0, param: Some(index) });
            }
            for (at, inst) in data.insts.iter().enumerate() {
                inst.op.for_each_use(|v| uses[v].push((block, at + 1)));
                if let Some(v) = inst.result {
                    defs[v] = Some(Def { block, place: at + 1, param: None });
                }
            }
            if let Some(term) = &data.term {
                term.for_each_use(|v| uses[v].push((block, data.insts.len() + 1)));
            }
        }
        let exact = vec![false; func.values.len()].into();
        let mut facts = Self { order, preds, calls, defs, uses, exact };
        facts.find_exact(func);
        Some(facts)
    }

    /// Marks what addresses and arguments of helpers are computed from, and what is an address.
    fn find_exact(&mut self, func: &Function) {
        let mut work: Vec<Value> = Vec::new();
        let entry = self.order.first().copied();
        for &block in &self.order {
            let data = &func.blocks[block];
            if Some(block) == entry {
                work.extend(&data.params);
            }
            for inst in &data.insts {
                match &inst.op {
                    Op::Load { addr, .. }
                    | Op::Store { addr, .. }
                    | Op::AtomicAdd { addr, .. }
                    | Op::AtomicXchg { addr, .. }
                    | Op::Zero { addr, .. } => work.push(*addr),
                    Op::Copy { dst, src, .. } => work.extend([dst, src]),
                    Op::Call(_, args) | Op::CallKfunc(_, args) => work.extend(args),
                    _ => {}
                }
                // Tested for null at most, or read from where an address may have been put.
                let address = match inst.op {
                    Op::Call(
                        helpers::MAP_LOOKUP_ELEM
                        | helpers::MAP_LOOKUP_PERCPU_ELEM
                        | helpers::RINGBUF_RESERVE
                        | helpers::GET_CURRENT_TASK_BTF
                        | helpers::TASK_PT_REGS,
                        _,
                    )
                    | Op::CallKfunc(..)
                    | Op::SlotAddr(_)
                    | Op::Map(_)
                    | Op::MapValue(..)
                    | Op::Rodata(_)
                    | Op::FuncAddr(_) => true,
                    Op::Load { width: Width::W8, addr, .. } => !self.in_map(func, addr),
                    _ => false,
                };
                work.extend(inst.result.filter(|_| address));
            }
        }
        while let Some(v) = work.pop() {
            if !std::mem::replace(&mut self.exact[v], true) {
                self.for_each_source(func, v, |source| work.push(source));
            }
        }
    }

    /// Whether an address lies in a map's value, where no addresses are kept.
    fn in_map(&self, func: &Function, addr: Value) -> bool {
        match self.op(func, addr) {
            Some(Op::Bin(BinOp::Add, base, _)) => self.in_map(func, *base),
            Some(Op::Call(helpers::MAP_LOOKUP_ELEM | helpers::MAP_LOOKUP_PERCPU_ELEM, _) | Op::MapValue(..)) => true,
            _ => false,
        }
    }

    /// What a value is computed by; `None` for parameters.
    fn op<'f>(&self, func: &'f Function, v: Value) -> Option<&'f Op> {
        let def = self.defs[v].filter(|def| def.param.is_none())?;
        Some(&func.blocks[def.block].insts.get(def.place.checked_sub(1)?)?.op)
    }

    /// The values that the verifier derives its knowledge of one from.
    fn for_each_source(&self, func: &Function, v: Value, mut visit: impl FnMut(Value)) {
        if let Some(op) = self.op(func, v) {
            if matches!(op, Op::Bin(..) | Op::Ext(..) | Op::ByteSwap(..)) {
                op.for_each_use(visit);
            }
        } else if let Some(Def { block, param: Some(index), .. }) = self.defs[v] {
            for &pred in &self.preds[block] {
                if let Some(term) = &func.blocks[pred].term {
                    term.for_each_target(|t| {
                        if t.block == block {
                            t.args.get(index).copied().into_iter().for_each(&mut visit);
                        }
                    });
                }
            }
        }
    }

    /// Whether a value is used after another function ran that was called after it was made.
    fn crosses(&self, v: Value) -> bool {
        let Some(def) = self.defs[v] else { return false };
        let mut seen: IndexVec<Block, bool> = vec![false; self.calls.len()].into();
        let called = |block, after: Place, before: Place| self.calls[block].iter().any(|&c| after < c && c < before);
        let mut work = Vec::new();
        for &(block, place) in &self.uses[v] {
            if block == def.block && place > def.place {
                if called(block, def.place, place) {
                    return true;
                }
                continue;
            }
            if called(block, 0, place) {
                return true;
            }
            work.extend_from_slice(&self.preds[block]);
        }
        while let Some(block) = work.pop() {
            if std::mem::replace(&mut seen[block], true) {
                continue;
            }
            if block == def.block {
                if called(block, def.place, Place::MAX) {
                    return true;
                }
                continue;
            }
            if !self.calls[block].is_empty() {
                return true;
            }
            work.extend_from_slice(&self.preds[block]);
        }
        false
    }
}

/// The blocks of each loop.
fn loops(func: &Function, facts: &Facts) -> Vec<IndexVec<Block, bool>> {
    let dominance = DominanceTest::new(&Dominators::new(func));
    let mut by_head: BTreeMap<Block, IndexVec<Block, bool>> = BTreeMap::new();
    for &from in &facts.order {
        for head in cfg::successors(func, from).filter(|&head| dominance.dominates(head, from)) {
            let body = by_head.entry(head).or_insert_with(|| vec![false; func.blocks.len()].into());
            body[head] = true;
            let mut work = vec![from];
            while let Some(block) = work.pop() {
                if !std::mem::replace(&mut body[block], true) {
                    work.extend_from_slice(&facts.preds[block]);
                }
            }
        }
    }
    by_head.into_values().collect()
}

/// The operands to hide, by block: the place of the comparison, and the value.
fn conditions(func: &Function, facts: &Facts) -> Vec<(Block, Vec<(Place, Value)>)> {
    let mut known: IndexVec<Value, Option<bool>> = vec![None; func.values.len()].into();
    let mut old = |v: Value| {
        let answer = known[v].unwrap_or_else(|| {
            let mut seen = BTreeSet::from([v]);
            let mut work = vec![v];
            let mut found = false;
            while let Some(v) = work.pop().filter(|_| !found) {
                found = !matches!(facts.op(func, v), Some(Op::Const(_))) && facts.crosses(v);
                facts.for_each_source(func, v, |source| {
                    if seen.insert(source) {
                        work.push(source);
                    }
                });
            }
            found
        });
        known[v] = Some(answer);
        !facts.exact[v] && answer
    };
    let loops = loops(func, facts);
    let mut all = Vec::new();
    for &block in &facts.order {
        let data = &func.blocks[block];
        let mut hidden = Vec::new();
        let compared = data.insts.iter().enumerate().filter_map(|(at, inst)| match inst.op {
            Op::Cmp(_, a, b) => Some((at + 1, [a, b])),
            _ => None,
        });
        let end = match data.term {
            Some(Terminator::Branch { lhs, rhs, .. }) => Some((data.insts.len() + 1, [lhs, rhs])),
            _ => None,
        };
        for (place, operands) in compared.chain(end) {
            hidden.extend(operands.into_iter().filter(|&v| old(v)).map(|v| (place, v)));
        }
        if hidden.is_empty() {
            continue;
        }
        // The verifier sees the end of a loop from what it knows; a comparison within a loop may become its end.
        let mut around = loops.iter().filter(|body| body[block]).peekable();
        if around.peek().is_some() {
            let ends = around.any(|body| cfg::successors(func, block).any(|next| !body[next]));
            hidden.retain(|&(place, _)| place == data.insts.len() + 1 && !ends);
        }
        if !hidden.is_empty() {
            all.push((block, hidden));
        }
    }
    all
}

/// Gives comparisons of a block values that the verifier does not know: `v ^ m ^ m`, where `m` is whatever lies in memory.
fn hide(func: &mut Function, block: Block, hidden: &[(Place, Value)], counters: MapId) {
    let insts = std::mem::take(&mut func.blocks[block].insts);
    let end = insts.len() + 1;
    let span = func.blocks[block].term_span;
    let hide_at = |func: &mut Function, place: Place, span: Span| -> Vec<(Value, Value)> {
        let mut pairs: Vec<(Value, Value)> = Vec::new();
        for &(_, v) in hidden.iter().filter(|h| h.0 == place) {
            if pairs.iter().all(|pair| pair.0 != v) {
                let addr = func.append(block, Op::MapValue(counters, 0), span);
                let memory = func.append(block, Op::Load { width: Width::W8, addr, offset: 0 }, span);
                let masked = func.append(block, Op::Bin(BinOp::Xor, v, memory), span);
                pairs.push((v, func.append(block, Op::Bin(BinOp::Xor, masked, memory), span)));
            }
        }
        pairs
    };
    let by = |pairs: &[(Value, Value)], v: Value| pairs.iter().find(|pair| pair.0 == v).map_or(v, |pair| pair.1);
    for (at, mut inst) in insts.into_iter().enumerate() {
        let pairs = hide_at(func, at + 1, inst.span);
        inst.op.map_uses(|v| by(&pairs, v));
        func.blocks[block].insts.push(inst);
    }
    let pairs = hide_at(func, end, span);
    if let Some(Terminator::Branch { lhs, rhs, .. }) = &mut func.blocks[block].term {
        *lhs = by(&pairs, *lhs);
        *rhs = by(&pairs, *rhs);
    }
}
