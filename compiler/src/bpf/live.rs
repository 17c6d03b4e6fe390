//! Liveness and live intervals of virtual registers.
//!
//! Every instruction has two positions: `2i`, where it reads, and `2i + 1`, where it writes. An interval is a sorted list
//! of half-open ranges of positions; two registers may share a machine register when no ranges meet.

use super::mir::{MBlock, MFunction, MOp, MTerm, VReg, When};
use crate::index::{Id, IndexVec};
use crate::ir::Cond;

/// What the comparison with a bound weighs against being spilled: before Linux 6.8 the verifier learns from it about the register
/// alone, and forgets it when the value is reloaded.
const BOUND_WEIGHT: f64 = 32.0;

/// A point in the code.
pub type Pos = u32;

/// The life of one virtual register.
#[derive(Clone, Debug, Default)]
pub struct Interval {
    /// Sorted, disjoint, half-open.
    pub ranges: Vec<(Pos, Pos)>,
    /// Reads and writes, weighted by loop depth.
    pub weight: f64,
}

impl Interval {
    /// First position; `None` for a register that does not occur.
    pub fn start(&self) -> Option<Pos> {
        self.ranges.first().map(|r| r.0)
    }
    /// One past the last position.
    pub fn end(&self) -> Pos {
        self.ranges.last().map_or(0, |r| r.1)
    }
    /// Number of positions covered.
    pub fn len(&self) -> u32 {
        self.ranges.iter().map(|r| r.1 - r.0).sum()
    }
    /// Whether the two live at the same time.
    pub fn meets(&self, other: &Self) -> bool {
        let (mut a, mut b) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            if x.0 < y.1 && y.0 < x.1 {
                return true;
            }
            if x.1 <= y.1 {
                a.next();
            } else {
                b.next();
            }
        }
        false
    }
    /// Whether it is live across one of the sorted positions, that is from before to after it.
    pub fn crosses(&self, points: &[Pos]) -> bool {
        self.ranges.iter().any(|&(start, end)| {
            let first = points.partition_point(|&p| p <= start);
            points.get(first).is_some_and(|&p| p < end)
        })
    }
    /// Adds a range in front of, or joined to, those already there (the code is walked backwards).
    fn add(&mut self, start: Pos, end: Pos) {
        if let Some(last) = self.ranges.last_mut()
            && start <= last.1
            && end >= last.0
        {
            last.0 = last.0.min(start);
            last.1 = last.1.max(end);
            return;
        }
        self.ranges.push((start, end));
    }
}

/// What the allocator needs to know of a function.
#[derive(Debug)]
pub struct Liveness {
    /// One per register.
    pub intervals: IndexVec<VReg, Interval>,
    /// Writing positions of the calls.
    pub calls: Vec<Pos>,
}

/// A set of registers.
#[derive(Clone, PartialEq, Eq)]
struct Set(Vec<u64>);

impl Set {
    fn new(n: usize) -> Self {
        Self(vec![0; n.div_ceil(64)])
    }
    fn insert(&mut self, v: VReg) {
        if let Some(w) = self.0.get_mut(v.index() / 64) {
            *w |= 1 << (v.index() % 64);
        }
    }
    fn remove(&mut self, v: VReg) {
        if let Some(w) = self.0.get_mut(v.index() / 64) {
            *w &= !(1 << (v.index() % 64));
        }
    }
    fn union(&mut self, other: &Self) {
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a |= b;
        }
    }
    fn iter(&self) -> impl Iterator<Item = VReg> {
        self.0.iter().enumerate().flat_map(|(i, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                Some(VReg::new(i * 64 + bit))
            })
        })
    }
}

/// Computes the live intervals.
pub fn liveness(func: &MFunction) -> Liveness {
    let n = func.vregs;
    let live_in = live_in(func);
    let depth = loop_depth(func);
    let mut intervals: IndexVec<VReg, Interval> = vec![Interval::default(); n].into();
    let mut calls = Vec::new();
    // A block has a position for its head, its instructions and its end.
    let mut starts: IndexVec<MBlock, Pos> = IndexVec::new();
    let mut pos: Pos = 0;
    for block in &func.blocks {
        starts.push(pos);
        pos += 2 * (block.insts.len() as u32 + 2);
    }
    let ids: Vec<MBlock> = func.blocks.ids().collect();
    for &id in ids.iter().rev() {
        let block = &func.blocks[id];
        let from = starts[id];
        let weight = 10f64.powi(depth[id].min(6) as i32);
        let mut at = from + 2 * (block.insts.len() as u32 + 1);
        for next in block.term.successors().into_iter().flatten() {
            for v in live_in[next].iter() {
                intervals[v].add(from, at + 2);
            }
        }
        let bounds = matches!(&block.term, MTerm::Branch { cond, .. } if !matches!(cond, Cond::Eq | Cond::Ne));
        block.term.for_each_use(|v| {
            intervals[v].add(from, at + 1);
            intervals[v].weight += if bounds { weight * BOUND_WEIGHT } else { weight };
        });
        for inst in block.insts.iter().rev() {
            at -= 2;
            if let Some(d) = inst.op.def() {
                define(&mut intervals[d], at + 1);
                intervals[d].weight += weight;
            }
            if matches!(inst.op, MOp::Call { .. }) {
                calls.push(at + 1);
            }
            inst.op.for_each_use(|v, when| {
                intervals[v].add(from, if when == When::After { at + 2 } else { at + 1 });
                intervals[v].weight += weight;
            });
        }
        for &p in &block.params {
            define(&mut intervals[p], from);
            intervals[p].weight += weight;
        }
    }
    for interval in &mut intervals {
        interval.ranges.reverse();
    }
    calls.reverse();
    Liveness { intervals, calls }
}

/// A register is written here: what was thought to begin at the block's head begins now.
fn define(interval: &mut Interval, at: Pos) {
    match interval.ranges.last_mut() {
        Some(first) if first.0 <= at && at < first.1 => first.0 = at,
        _ => interval.ranges.push((at, at + 1)),
    }
}

/// Registers live at the head of each block, its own parameters not among them.
fn live_in(func: &MFunction) -> IndexVec<MBlock, Set> {
    let n = func.vregs;
    let mut live_in: IndexVec<MBlock, Set> = vec![Set::new(n); func.blocks.len()].into();
    let ids: Vec<MBlock> = func.blocks.ids().collect();
    let mut changed = true;
    while changed {
        changed = false;
        for &id in ids.iter().rev() {
            let block = &func.blocks[id];
            let mut live = Set::new(n);
            for next in block.term.successors().into_iter().flatten() {
                live.union(&live_in[next]);
            }
            block.term.for_each_use(|v| live.insert(v));
            for inst in block.insts.iter().rev() {
                if let Some(d) = inst.op.def() {
                    live.remove(d);
                }
                inst.op.for_each_use(|v, _| live.insert(v));
            }
            for &p in &block.params {
                live.remove(p);
            }
            if live != live_in[id] {
                live_in[id] = live;
                changed = true;
            }
        }
    }
    live_in
}

/// Depth by back edges: the code between a loop's head and the jump back to it.
fn loop_depth(func: &MFunction) -> IndexVec<MBlock, u32> {
    let mut change = vec![0i64; func.blocks.len() + 1];
    for (id, block) in func.blocks.enumerate() {
        for next in block.term.successors().into_iter().flatten() {
            if next <= id {
                if let Some(c) = change.get_mut(next.index()) {
                    *c += 1;
                }
                if let Some(c) = change.get_mut(id.index() + 1) {
                    *c -= 1;
                }
            }
        }
    }
    let mut depth = 0;
    change
        .iter()
        .take(func.blocks.len())
        .map(|c| {
            depth += c;
            depth.max(0) as u32
        })
        .collect::<Vec<_>>()
        .into()
}
