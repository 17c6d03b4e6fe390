//! Register allocation: linear scan over live intervals with holes. A virtual register has one home for its whole life, a
//! machine register or eight bytes of stack. Calls clobber r0 to r5, so what lives across one gets r6 to r9.
//!
//! When everything fits, all ten registers are used. When something must be spilled, the scan is repeated with two
//! registers kept free to reload into. Constants and addresses never live across anything (see `mir::Source`), which is what
//! keeps spilling rare.

use super::live::{Interval, Liveness, liveness};
use super::mir::{MFunction, MOp, MTerm, Source, VReg};
use crate::index::{Id, IndexVec};

/// Where a virtual register lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Home {
    /// A machine register.
    Reg(u8),
    /// The n-th spill slot.
    Stack(u32),
}

/// The result of allocation.
#[derive(Debug)]
pub struct Allocation {
    /// One per virtual register; `None` for one that does not occur.
    pub homes: IndexVec<VReg, Option<Home>>,
    /// Spill slots of eight bytes.
    pub spill_slots: u32,
}

/// Registers that are kept free for reloads once something is spilled.
pub const SCRATCH: [u8; 2] = [4, 5];

/// Those that do not survive a call, in order of preference: r0 and the rarely used argument registers first.
const CALLER_SAVED: [u8; 6] = [0, 5, 4, 3, 2, 1];
const CALLEE_SAVED: [u8; 4] = [6, 7, 8, 9];

/// Allocates registers.
pub fn allocate(func: &MFunction) -> Allocation {
    let live = liveness(func);
    let hints = Hints::new(func);
    let (homes, spilled) = scan(&live, &hints, false);
    if spilled.is_empty() {
        return Allocation { homes, spill_slots: 0 };
    }
    let (mut homes, spilled) = scan(&live, &hints, true);
    let spill_slots = place_spills(&live, &hints, &spilled, &mut homes);
    Allocation { homes, spill_slots }
}

/// Where a register would like to live.
struct Hints {
    /// Machine registers that save a move.
    fixed: IndexVec<VReg, Vec<u8>>,
    /// Virtual registers connected by a move.
    friends: IndexVec<VReg, Vec<VReg>>,
}

impl Hints {
    fn new(func: &MFunction) -> Self {
        let mut h = Self { fixed: vec![Vec::new(); func.vregs].into(), friends: vec![Vec::new(); func.vregs].into() };
        for (id, block) in func.blocks.enumerate() {
            if id.index() == 0 {
                for (i, &p) in block.params.iter().enumerate() {
                    h.fixed[p].push(i as u8 + 1);
                }
            }
            for inst in &block.insts {
                match &inst.op {
                    MOp::Mov { dst, src: Source::Reg(src) } | MOp::Swap { dst, src, .. } => h.connect(*dst, *src),
                    MOp::Alu { op, dst, lhs, rhs, .. } => {
                        h.connect(*dst, *lhs);
                        if op.commutative()
                            && let super::mir::Operand::Reg(rhs) = rhs
                        {
                            h.connect(*dst, *rhs);
                        }
                    }
                    MOp::AtomicXchg { dst, value, .. } => h.connect(*dst, *value),
                    MOp::Call { args, dst, .. } => {
                        for (i, arg) in args.iter().enumerate() {
                            if let Source::Reg(v) = arg {
                                h.fixed[*v].push(i as u8 + 1);
                            }
                        }
                        if let Some(d) = dst {
                            h.fixed[*d].push(0);
                        }
                    }
                    _ => {}
                }
            }
            match &block.term {
                MTerm::Jump(to, args) => {
                    for (arg, &p) in args.iter().zip(&func.blocks[*to].params) {
                        if let Source::Reg(v) = arg {
                            h.connect(p, *v);
                        }
                    }
                }
                MTerm::Return(Source::Reg(v)) => h.fixed[*v].push(0),
                _ => {}
            }
        }
        h
    }

    fn connect(&mut self, a: VReg, b: VReg) {
        if a != b {
            self.friends[a].push(b);
            self.friends[b].push(a);
        }
    }
}

/// Weight of an interval against being spilled.
fn cost(interval: &Interval) -> f64 {
    // A life from one instruction to the next is what a reload would be: spilling it gains nothing.
    if interval.len() <= 3 { f64::INFINITY } else { interval.weight / interval.len() as f64 }
}

type Homes = IndexVec<VReg, Option<Home>>;

/// One scan; returns the homes found and the registers without one.
fn scan(live: &Liveness, hints: &Hints, keep_scratch: bool) -> (Homes, Vec<VReg>) {
    let mut homes: Homes = vec![None; live.intervals.len()].into();
    let mut spilled = Vec::new();
    let mut order: Vec<(u32, VReg)> =
        live.intervals.enumerate().filter_map(|(v, i)| i.start().map(|start| (start, v))).collect();
    order.sort_unstable();
    // Residents of each machine register whose life is not over.
    let mut residents: [Vec<VReg>; 10] = Default::default();
    for (start, v) in order {
        let interval = &live.intervals[v];
        for list in &mut residents {
            list.retain(|&r| live.intervals[r].end() > start);
        }
        let crossing = interval.crosses(&live.calls);
        let allowed = |r: u8| (!crossing || r >= 6) && !(keep_scratch && SCRATCH.contains(&r));
        let free = |r: u8, residents: &[Vec<VReg>; 10]| {
            residents.get(usize::from(r)).is_some_and(|l| l.iter().all(|&o| !live.intervals[o].meets(interval)))
        };
        let friends = hints.friends[v].iter().filter_map(|&f| match homes[f] {
            Some(Home::Reg(r)) => Some(r),
            _ => None,
        });
        // Where a friend that has no home yet would like to live.
        let wishes =
            hints.friends[v].iter().filter(|&&f| homes[f].is_none()).flat_map(|&f| hints.fixed[f].iter().copied());
        let general: &[&[u8]] = if crossing { &[&CALLEE_SAVED] } else { &[&CALLER_SAVED, &CALLEE_SAVED] };
        let candidate = friends
            .chain(hints.fixed[v].iter().copied())
            .chain(wishes)
            .chain(general.iter().copied().flatten().copied())
            .find(|&r| allowed(r) && free(r, &residents));
        if let Some(r) = candidate {
            homes[v] = Some(Home::Reg(r));
            if let Some(l) = residents.get_mut(usize::from(r)) {
                l.push(v);
            }
            continue;
        }
        // Nothing is free: the cheapest loses its register.
        let own = cost(interval);
        let cheapest = (0u8..10)
            .filter(|&r| allowed(r))
            .filter_map(|r| {
                let sum: f64 = residents
                    .get(usize::from(r))?
                    .iter()
                    .filter(|&&o| live.intervals[o].meets(interval))
                    .map(|&o| cost(&live.intervals[o]))
                    .sum();
                Some((sum, r))
            })
            .min_by(|a, b| a.0.total_cmp(&b.0));
        match cheapest {
            Some((sum, r)) if sum < own => {
                if let Some(l) = residents.get_mut(usize::from(r)) {
                    l.retain(|&o| {
                        let evicted = live.intervals[o].meets(interval);
                        if evicted {
                            homes[o] = None;
                            spilled.push(o);
                        }
                        !evicted
                    });
                    l.push(v);
                }
                homes[v] = Some(Home::Reg(r));
            }
            _ => spilled.push(v),
        }
    }
    (homes, spilled)
}

/// Gives the spilled registers stack slots; lives that do not meet share, and connected ones prefer the same slot.
fn place_spills(live: &Liveness, hints: &Hints, spilled: &[VReg], homes: &mut Homes) -> u32 {
    let mut slots: Vec<Vec<VReg>> = Vec::new();
    let mut order: Vec<VReg> = spilled.to_vec();
    order.sort_unstable_by_key(|&v| live.intervals[v].start());
    for v in order {
        let interval = &live.intervals[v];
        let free = |slot: &Vec<VReg>| slot.iter().all(|&o| !live.intervals[o].meets(interval));
        let friendly = hints.friends[v].iter().find_map(|&f| match homes[f] {
            Some(Home::Stack(s)) if slots.get(s as usize).is_some_and(free) => Some(s as usize),
            _ => None,
        });
        let slot = friendly.or_else(|| slots.iter().position(free)).unwrap_or_else(|| {
            slots.push(Vec::new());
            slots.len() - 1
        });
        if let Some(s) = slots.get_mut(slot) {
            s.push(v);
        }
        homes[v] = Some(Home::Stack(slot as u32));
    }
    slots.len() as u32
}
