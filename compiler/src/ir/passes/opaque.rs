//! Hides from the verifier, in conditions, what it knows of values that are older than a call of a callback or of another function.
//!
//! A verifier that walks a branch to one side only, because it knows the value, notes in the states before it that this value counts.
//! Before Linux 6.5 it takes, on its way back through a function that is called, that function's registers for those of the caller, and
//! loses the note where the function writes one. Later it takes a way with another value for one that it has walked, and at the end makes
//! the branch one-way, for it never saw the other side. Of a value that it does not know, it walks both sides.
//!
//! Such a value is computed anew, from memory that the verifier knows nothing of: where it is made, and again in each condition, so that
//! it learns nothing there, either. The ways to the same place then do not differ in it, and the verifier walks on from there once. What it
//! does need to learn stays as it is: bounds of addresses and lengths, null checks, and ends of loops.

use std::collections::{BTreeMap, BTreeSet};

use tapline_grammar::span::Span;

use crate::index::IndexVec;
use crate::ir::dom::{DominanceTest, Dominators};
use crate::ir::{BinOp, Block, Function, FunctionKind, Module, Op, Terminator, Value, Width, cfg, helpers};
use crate::program::MapId;

/// Runs the pass on all functions that call others. It needs the map of counters.
pub fn opaque(module: &mut Module) {
    let Some(counters) = module.counters else { return };
    for func in &mut module.functions {
        if let Some(hidden) = Facts::new(func).map(|facts| Hidden::new(func, &facts)) {
            hidden.apply(func, counters);
        }
    }
}

/// Sections of the programs whose context holds no addresses that the verifier knows, of those that kernels before 6.5 have.
const NUMBERS: &[&str] = &[
    "kprobe",
    "kretprobe",
    "kprobe.multi",
    "kretprobe.multi",
    "uprobe",
    "uretprobe",
    "tracepoint",
    "perf_event",
    "raw_tp",
];

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
        let loops = loops(func, &order, &preds);
        let mut facts = Self { order, preds, calls, defs, uses, exact };
        facts.find_exact(func, &loops);
        Some(facts)
    }

    /// Marks what addresses, arguments of helpers and ends of loops are computed from, and what is an address.
    fn find_exact(&mut self, func: &Function, loops: &[IndexVec<Block, bool>]) {
        let keeps = self.keeps_addresses(func);
        let mut work: Vec<Value> = Vec::new();
        for &block in &self.order {
            let data = &func.blocks[block];
            let mut around = loops.iter().filter(|body| body[block]);
            if let Some(Terminator::Branch { lhs, rhs, .. }) = data.term
                && around.any(|body| cfg::successors(func, block).any(|next| !body[next]))
            {
                for v in [lhs, rhs] {
                    work.push(v);
                    if let Some(Op::Cmp(_, a, b)) = self.op(func, v) {
                        work.extend([a, b]);
                    }
                }
            }
            if self.order.first() == Some(&block) {
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
                    // They read from anywhere; what is behind their third argument need not be known.
                    Op::Call(
                        helpers::PROBE_READ_USER
                        | helpers::PROBE_READ_KERNEL
                        | helpers::PROBE_READ_USER_STR
                        | helpers::PROBE_READ_KERNEL_STR,
                        args,
                    ) => work.extend(args.iter().take(2)),
                    Op::Call(_, args) | Op::CallKfunc(_, args) => work.extend(args),
                    _ => {}
                }
                work.extend(inst.result.filter(|_| self.is_address(func, &inst.op, keeps)));
            }
        }
        while let Some(v) = work.pop() {
            if !std::mem::replace(&mut self.exact[v], true) {
                self.for_each_source(func, v, |source| work.push(source));
            }
        }
    }

    /// Whether what an operation yields may be an address, and so tested for null at most. `keeps`: the function's own memory may hold some.
    fn is_address(&self, func: &Function, op: &Op, keeps: bool) -> bool {
        match op {
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
            Op::Load { width: Width::W8, addr, .. } => {
                let base = self.base(func, *addr);
                match self.op(func, base) {
                    Some(
                        Op::Call(helpers::MAP_LOOKUP_ELEM | helpers::MAP_LOOKUP_PERCPU_ELEM, _) | Op::MapValue(..),
                    ) => false,
                    Some(Op::SlotAddr(_)) => keeps,
                    None if self.is_argument(base) => !tells_numbers(func),
                    _ => true,
                }
            }
            _ => false,
        }
    }

    /// Whether the function puts an address into its own memory.
    fn keeps_addresses(&self, func: &Function) -> bool {
        let mut work: Vec<Value> = Vec::new();
        for inst in func.blocks.iter().flat_map(|block| &block.insts) {
            if let Op::Store { width: Width::W8, value, .. } = inst.op {
                work.push(value);
            }
        }
        let mut seen = BTreeSet::new();
        while let Some(v) = work.pop() {
            if !seen.insert(v) {
                continue;
            }
            if self.is_argument(v) || self.op(func, v).is_some_and(|op| self.is_address(func, op, false)) {
                return true;
            }
            self.for_each_source(func, v, |source| work.push(source));
        }
        false
    }

    /// What an address begins at.
    fn base(&self, func: &Function, addr: Value) -> Value {
        match self.op(func, addr) {
            Some(Op::Bin(BinOp::Add, base, _)) => self.base(func, *base),
            _ => addr,
        }
    }

    /// Whether a value is an argument of the function.
    fn is_argument(&self, v: Value) -> bool {
        self.defs[v].is_some_and(|def| def.param.is_some() && self.order.first() == Some(&def.block))
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

/// Whether the context of the function is that of a program which is told numbers only.
fn tells_numbers(func: &Function) -> bool {
    matches!(&func.kind, FunctionKind::Program { section, .. } if NUMBERS.contains(&section.as_ref()))
}

/// The blocks of each loop.
fn loops(func: &Function, order: &[Block], preds: &cfg::Predecessors) -> Vec<IndexVec<Block, bool>> {
    let dominance = DominanceTest::new(&Dominators::new(func));
    let mut by_head: BTreeMap<Block, IndexVec<Block, bool>> = BTreeMap::new();
    for &from in order {
        for head in cfg::successors(func, from).filter(|&head| dominance.dominates(head, from)) {
            let body = by_head.entry(head).or_insert_with(|| vec![false; func.blocks.len()].into());
            body[head] = true;
            let mut work = vec![from];
            while let Some(block) = work.pop() {
                if !std::mem::replace(&mut body[block], true) {
                    work.extend_from_slice(&preds[block]);
                }
            }
        }
    }
    by_head.into_values().collect()
}

/// What is to be hidden.
struct Hidden {
    /// From where they are made.
    values: IndexVec<Value, bool>,
    /// In each condition.
    operands: IndexVec<Value, bool>,
}

impl Hidden {
    fn new(func: &Function, facts: &Facts) -> Self {
        let none: IndexVec<Value, bool> = vec![false; func.values.len()].into();
        let mut hidden = Self { values: none.clone(), operands: none.clone() };
        let mut asked = none;
        let mut old: IndexVec<Value, Option<bool>> = vec![None; func.values.len()].into();
        for &block in &facts.order {
            let data = &func.blocks[block];
            let compared = data.insts.iter().filter_map(|inst| match inst.op {
                Op::Cmp(_, a, b) => Some([a, b]),
                _ => None,
            });
            let end = match data.term {
                Some(Terminator::Branch { lhs, rhs, .. }) => Some([lhs, rhs]),
                _ => None,
            };
            for v in compared.chain(end).flatten() {
                if !facts.exact[v] && !std::mem::replace(&mut asked[v], true) {
                    hidden.operands[v] = hidden.look_into(func, facts, v, &mut old);
                }
            }
        }
        hidden
    }

    /// Finds values older than a call among what a value is computed from, itself included. Returns whether there are any. `old`
    /// remembers which are.
    fn look_into(&mut self, func: &Function, facts: &Facts, v: Value, old: &mut IndexVec<Value, Option<bool>>) -> bool {
        let mut seen = BTreeSet::from([v]);
        let mut work = vec![v];
        let mut found = false;
        while let Some(v) = work.pop() {
            let op = facts.op(func, v);
            if !matches!(op, Some(Op::Const(_))) && *old[v].get_or_insert_with(|| facts.crosses(v)) {
                found = true;
                // What comes from elsewhere is unknown where it is made.
                let elsewhere =
                    matches!(op, Some(Op::Load { .. } | Op::Call(..) | Op::CallSub(..) | Op::CallKfunc(..)));
                self.values[v] = !elsewhere && !facts.exact[v];
            }
            facts.for_each_source(func, v, |source| {
                if seen.insert(source) {
                    work.push(source);
                }
            });
        }
        found
    }

    /// Puts `v ^ m ^ m` in the place of `v`, where `m` is whatever lies in memory.
    fn apply(&self, func: &mut Function, counters: MapId) {
        // Those made here are beyond the ends of the tables.
        let is = |table: &IndexVec<Value, bool>, v: Value| table.get(v) == Some(&true);
        // By value, what stands for it, and the first step there.
        let mut renamed: BTreeMap<Value, (Value, Value)> = BTreeMap::new();
        for block in func.blocks.ids() {
            let insts = std::mem::take(&mut func.blocks[block].insts);
            let span = func.blocks[block].term_span;
            let anew = |func: &mut Function, v: Value, span: Span| {
                let addr = func.append(block, Op::MapValue(counters, 0), span);
                let memory = func.append(block, Op::Load { width: Width::W8, addr, offset: 0 }, span);
                let masked = func.append(block, Op::Bin(BinOp::Xor, v, memory), span);
                (func.append(block, Op::Bin(BinOp::Xor, masked, memory), span), masked)
            };
            for param in func.blocks[block].params.clone() {
                if is(&self.values, param) {
                    renamed.insert(param, anew(func, param, span));
                }
            }
            for mut inst in insts {
                if let Op::Cmp(_, a, b) = &mut inst.op {
                    for v in [a, b] {
                        if is(&self.operands, *v) {
                            *v = anew(func, *v, inst.span).0;
                        }
                    }
                }
                let (made, at) = (inst.result.filter(|&v| is(&self.values, v)), inst.span);
                func.blocks[block].insts.push(inst);
                if let Some(v) = made {
                    renamed.insert(v, anew(func, v, at));
                }
            }
            if let Some(Terminator::Branch { lhs, rhs, .. }) = func.blocks[block].term {
                let [left, right] = [lhs, rhs].map(|v| if is(&self.operands, v) { anew(func, v, span).0 } else { v });
                if let Some(Terminator::Branch { lhs, rhs, .. }) = &mut func.blocks[block].term {
                    (*lhs, *rhs) = (left, right);
                }
            }
        }
        func.map_uses(|v| renamed.get(&v).map_or(v, |by| by.0));
        let origins: BTreeMap<Value, Value> = renamed.iter().map(|(&v, by)| (by.1, v)).collect();
        for inst in func.blocks.iter_mut().flat_map(|block| &mut block.insts) {
            if let (Some(result), Op::Bin(_, v, _)) = (inst.result, &mut inst.op)
                && let Some(&origin) = origins.get(&result)
            {
                *v = origin;
            }
        }
    }
}
