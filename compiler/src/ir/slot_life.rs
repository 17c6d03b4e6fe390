//! When the slots of a function hold anything, so that two of them may lie in the same place.
//!
//! A slot lives wherever an access may have happened before and another may follow. Addresses are followed through
//! arithmetic and block parameters; a slot whose address is stored or returned lives everywhere. Functions and callbacks keep no address
//! that they are given for longer than they run.

use super::{Block, Function, Op, Slot, Value, cfg, helpers};
use crate::index::{Id, IndexVec};

/// The lives of all slots, as sorted half-open ranges of positions in the code.
#[derive(Debug)]
pub struct SlotLives {
    lives: IndexVec<Slot, Vec<(u32, u32)>>,
    /// Slots that are also accessed through addresses which do not tell the slot: those of other functions, and parameters of blocks.
    indirect: Set,
}

/// A set of slots. Few functions have more than fill one word, and there is a set for each value.
#[derive(Clone, Debug, Default)]
struct Set {
    first: u64,
    more: Vec<u64>,
}

impl Set {
    fn insert(&mut self, slot: Slot) {
        let bit = 1 << (slot.index() % 64);
        let Some(word) = (slot.index() / 64).checked_sub(1) else {
            self.first |= bit;
            return;
        };
        if self.more.len() <= word {
            self.more.resize(word + 1, 0);
        }
        if let Some(w) = self.more.get_mut(word) {
            *w |= bit;
        }
    }
    /// Adds all of another set; returns whether that was news.
    fn union(&mut self, other: &Self) -> bool {
        let mut news = other.first & !self.first != 0;
        self.first |= other.first;
        if self.more.len() < other.more.len() {
            self.more.resize(other.more.len(), 0);
        }
        for (a, b) in self.more.iter_mut().zip(&other.more) {
            news |= *b & !*a != 0;
            *a |= b;
        }
        news
    }
    fn words(&self) -> impl Iterator<Item = u64> {
        std::iter::once(self.first).chain(self.more.iter().copied())
    }
    fn has(&self, slot: Slot) -> bool {
        self.words().nth(slot.index() / 64).is_some_and(|w| w & (1 << (slot.index() % 64)) != 0)
    }
    fn iter(&self) -> impl Iterator<Item = Slot> {
        let bits = |(n, word): (usize, u64)| (0..64).filter(move |b| word & (1 << b) != 0).map(move |b| n * 64 + b);
        self.words().enumerate().filter(|w| w.1 != 0).flat_map(bits).map(Slot::new)
    }
    fn is_empty(&self) -> bool {
        self.words().all(|w| w == 0)
    }
}

impl SlotLives {
    /// Computes the lives.
    pub fn new(func: &Function) -> Self {
        let order = cfg::reverse_post_order(func);
        let points_to = points_to(func, &order);
        let (mut escaped, mut given) = (Set::default(), Set::default());
        // Accesses by block: position in the block and slot.
        let mut accesses: IndexVec<Block, Vec<(u32, Slot)>> = vec![Vec::new(); func.blocks.len()].into();
        for &block in &order {
            for (i, inst) in func.blocks[block].insts.iter().enumerate() {
                let hands_on = gives_addresses(&inst.op);
                if let Op::Store { value, .. } | Op::AtomicAdd { value, .. } | Op::AtomicXchg { value, .. } = &inst.op {
                    escaped.union(&points_to[*value]);
                }
                inst.op.for_each_use(|v| {
                    if hands_on {
                        given.union(&points_to[v]);
                    }
                    if !inst.op.is_pure() {
                        accesses[block].extend(points_to[v].iter().map(|s| (i as u32, s)));
                    }
                });
            }
            if let Some(super::Terminator::Return(v)) = &func.blocks[block].term {
                escaped.union(&points_to[*v]);
            }
        }
        let mut lives = ranges(func, &order, &accesses);
        for slot in escaped.iter() {
            if let Some(life) = lives.get_mut(slot) {
                *life = vec![(0, u32::MAX)];
            }
        }
        let mut indirect = escaped;
        indirect.union(&given);
        for &param in order.iter().flat_map(|&block| &func.blocks[block].params) {
            indirect.union(&points_to[param]);
        }
        Self { lives, indirect }
    }

    /// Whether each access names the slot itself.
    pub fn is_direct(&self, slot: Slot) -> bool {
        !self.indirect.has(slot)
    }

    /// Whether two slots live at the same time.
    pub fn meet(&self, a: Slot, b: Slot) -> bool {
        let (mut x, mut y) = (self.lives[a].iter().peekable(), self.lives[b].iter().peekable());
        while let (Some(p), Some(q)) = (x.peek(), y.peek()) {
            if p.0 < q.1 && q.0 < p.1 {
                return true;
            }
            if p.1 <= q.1 {
                x.next();
            } else {
                y.next();
            }
        }
        false
    }
}

/// Whether an operation hands addresses to code that is not looked at.
fn gives_addresses(op: &Op) -> bool {
    match op {
        Op::CallSub(..) | Op::CallKfunc(..) => true,
        Op::Call(helper, _) => matches!(*helper, helpers::LOOP | helpers::FOR_EACH_MAP_ELEM),
        _ => false,
    }
}

/// The slots that each value may point into.
fn points_to(func: &Function, order: &[Block]) -> IndexVec<Value, Set> {
    let mut sets: IndexVec<Value, Set> = vec![Set::default(); func.values.len()].into();
    let mut changed = true;
    while changed {
        changed = false;
        for &block in order {
            for inst in &func.blocks[block].insts {
                let Some(result) = inst.result else { continue };
                let mut set = Set::default();
                match &inst.op {
                    Op::SlotAddr(s) => set.insert(*s),
                    op if op.is_pure() => op.for_each_use(|v| {
                        set.union(&sets[v]);
                    }),
                    _ => {}
                }
                if !set.is_empty() {
                    changed |= sets[result].union(&set);
                }
            }
            let Some(term) = &func.blocks[block].term else { continue };
            term.for_each_target(|t| {
                for (&arg, &param) in t.args.iter().zip(&func.blocks[t.block].params) {
                    if !sets[arg].is_empty() {
                        let set = sets[arg].clone();
                        changed |= sets[param].union(&set);
                    }
                }
            });
        }
    }
    sets
}

fn ranges(
    func: &Function,
    order: &[Block],
    accesses: &IndexVec<Block, Vec<(u32, Slot)>>,
) -> IndexVec<Slot, Vec<(u32, u32)>> {
    let n = func.blocks.len();
    let mut own: IndexVec<Block, Set> = vec![Set::default(); n].into();
    for (block, list) in accesses.enumerate() {
        for &(_, slot) in list {
            own[block].insert(slot);
        }
    }
    let preds = cfg::predecessors(func, order);
    // Accessed before the block's beginning; accessed after its end.
    let mut before: IndexVec<Block, Set> = vec![Set::default(); n].into();
    let mut after: IndexVec<Block, Set> = vec![Set::default(); n].into();
    let mut changed = true;
    while changed {
        changed = false;
        for &block in order {
            for &p in &preds[block] {
                let (own, seen) = (own[p].clone(), before[p].clone());
                changed |= before[block].union(&own) | before[block].union(&seen);
            }
        }
        for &block in order.iter().rev() {
            for next in cfg::successors(func, block) {
                let (own, seen) = (own[next].clone(), after[next].clone());
                changed |= after[block].union(&own) | after[block].union(&seen);
            }
        }
    }
    let mut lives: IndexVec<Slot, Vec<(u32, u32)>> = vec![Vec::new(); func.slots.len()].into();
    let mut start = 0;
    for &block in order {
        let end = start + func.blocks[block].insts.len() as u32 + 1;
        let mut here = own[block].clone();
        here.union(&before[block]);
        for slot in here.iter() {
            let mut at = accesses[block].iter().filter(|a| a.1 == slot).map(|a| start + a.0);
            let first = at.next();
            let last = at.next_back().or(first);
            let from = if before[block].has(slot) { Some(start) } else { first };
            let to = if after[block].has(slot) { Some(end) } else { last.map(|l| l + 1) };
            if let (Some(from), Some(to), Some(life)) = (from, to, lives.get_mut(slot)) {
                match life.last_mut() {
                    Some(last) if last.1 == from => last.1 = to,
                    _ => life.push((from, to)),
                }
            }
        }
        start = end;
    }
    lives
}

/// Finds places for slots, so that those which live at the same time do not overlap.
pub struct Packer<'a> {
    func: &'a Function,
    lives: &'a SlotLives,
    placed: Vec<(Slot, u32, u32)>,
    first: u32,
    /// End of the space used so far.
    pub end: u32,
}

impl<'a> Packer<'a> {
    /// Space that begins at `first`.
    pub fn new(func: &'a Function, lives: &'a SlotLives, first: u32) -> Self {
        Self { func, lives, placed: Vec::new(), first, end: first }
    }

    /// The lowest free place for a slot.
    pub fn find(&self, slot: Slot) -> u32 {
        let data = &self.func.slots[slot];
        let align = data.align.max(1);
        let mut taken: Vec<(u32, u32)> =
            self.placed.iter().filter(|p| self.keep_apart(p.0, slot)).map(|p| (p.1, p.2)).collect();
        taken.sort_unstable();
        let mut at = self.first.next_multiple_of(align);
        for (start, end) in taken {
            if at.saturating_add(data.size) <= start {
                break;
            }
            at = at.max(end).next_multiple_of(align);
        }
        at
    }

    /// Whether two slots must not overlap. Those for callbacks hold addresses, and what is left of an address on the stack the verifier
    /// lets nobody read in pieces, as data behind the end of a string may be.
    fn keep_apart(&self, a: Slot, b: Slot) -> bool {
        self.func.slots[a].pinned != self.func.slots[b].pinned || self.lives.meet(a, b)
    }

    /// Puts a slot there.
    pub fn place(&mut self, slot: Slot, at: u32) {
        let end = at.saturating_add(self.func.slots[slot].size);
        self.placed.push((slot, at, end));
        self.end = self.end.max(end);
    }
}
