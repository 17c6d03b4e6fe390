//! Decides where local memory lies: on the stack when it is small and all accesses name it with a constant offset, else in the program's
//! entry of a per-CPU scratch map, looked up once at the program's start.
//!
//! Constants on the stack that are read by way of some other register than the frame pointer are not safe before Linux 6.8: the verifier
//! knows them, but does not note that it relied on them, takes a second way there for one that it has walked, and then removes code
//! that it believes to be dead.
//!
//! Two programs can nest on one CPU, so each has an entry of its own. A program that can meet itself has `COPIES`
//! entries: a run claims one by exchanging its busy word, and gives it back before it returns. A run that finds none free is
//! counted, and does nothing else.

use tapline_grammar::span::Span;

use super::map_values::lookup;
use crate::diagnostic::Diagnostic;
use crate::index::{Id, IndexVec, Table};
use crate::ir::calls::CallGraph;
use crate::ir::dom::{DominanceTest, Dominators};
use crate::ir::helpers::Effect;
use crate::ir::slot_life::{Packer, SlotLives};
use crate::ir::{
    BinOp, Block, Cond, FuncId, Function, FunctionKind, Inst, MapDef, MapKind, Module, Op, Slot, Target, Terminator,
    Value, Width,
};
use crate::ir::{cfg, helpers};
use crate::parallel;
use crate::program::MapId;

/// Entries of a program that can meet itself.
const COPIES: i64 = 4;
/// Larger slots go to scratch: stack is short.
const STACK_SLOT_LIMIT: u32 = 160;
/// Bytes that the kernel's per-CPU allocator gives at most.
const ENTRY_LIMIT: u32 = 32 << 10;
/// Bytes of the busy word, a multiple of the strictest alignment.
const BUSY_SIZE: u32 = 8;

/// Places the slots of all functions. At most `stack` bytes are used along any chain of calls. Returns the scratch map, if
/// one was added.
pub fn place_slots(module: &mut Module, stack: u32) -> Result<Option<MapId>, Diagnostic> {
    let map = module.maps.next_id();
    let counters = module.counters;
    let graph = CallGraph::new(module);
    let programs = graph.programs(module);
    let frames = graph.deepest(&vec![1; module.functions.len()].into());
    // A callback shares the stack with what calls it, and its fate of meeting itself.
    let mut traits: IndexVec<FuncId, Traits> = IndexVec::new();
    for id in module.functions.ids() {
        let roots: Vec<&Function> = programs[id].iter().map(|&p| &module.functions[p]).collect();
        let reenters = |f: &&Function| matches!(f.kind, FunctionKind::Program { reentrant: true, .. });
        traits.push(Traits {
            stack: stack / programs[id].iter().map(|&p| frames[p]).max().unwrap_or(1).max(1),
            reentrant: roots.len() > 1 || roots.iter().any(reenters),
            missed: roots.iter().find_map(|f| f.missed_counter),
        });
    }
    let (mut entries, mut entry_size) = (0i64, 0);
    let lives = parallel::map(module.functions.iter(), |_, func| SlotLives::new(func));
    for (id, lives) in module.functions.ids().zip(lives) {
        let func = &mut module.functions[id];
        let Traits { stack, reentrant, missed } = traits[id];
        let moved = choose(func, &lives, stack);
        if moved.is_empty() {
            continue;
        }
        let mut offsets: IndexVec<Slot, Option<u32>> = vec![None; func.slots.len()].into();
        let mut packer = Packer::new(func, &lives, if reentrant { BUSY_SIZE } else { 0 });
        for slot in moved {
            let at = packer.find(slot);
            packer.place(slot, at);
            offsets[slot] = Some(at);
        }
        let size = packer.end.next_multiple_of(8);
        if size > ENTRY_LIMIT {
            return Err(Diagnostic::error("too-much-memory", "this probe needs too much memory", func.span)
                .note(format!("its strings and buffers take {size} bytes, the kernel gives {ENTRY_LIMIT} per CPU"))
                .help("lower `max_strlen`, or use fewer strings at a time"));
        }
        let first = entries;
        let scratch = if reentrant {
            entries += COPIES;
            let missed = missed.and_then(|n| counters.map(|c| (c, n)));
            let at = first_claim(func, &offsets);
            claim(func, map, first, missed, at)
        } else {
            entries += 1;
            let at = first_need(func, &offsets);
            enter(func, map, first, at)
        };
        entry_size = entry_size.max(size);
        rebase(func, scratch, &offsets);
    }
    if entries == 0 {
        return Ok(None);
    }
    module.maps.push(MapDef {
        symbol: "scratch".into(),
        kind: MapKind::PercpuArray,
        key_size: 4,
        value_size: entry_size,
        max_entries: entries as u32,
        flags: 0,
    });
    Ok(Some(map))
}

/// What placement needs to know of a function.
#[derive(Clone, Copy)]
struct Traits {
    stack: u32,
    reentrant: bool,
    missed: Option<u32>,
}

/// The slots that do not go on the stack, large ones first. Small ones have precedence on the stack.
fn choose(func: &Function, lives: &SlotLives, stack: u32) -> Vec<Slot> {
    let mut used: IndexVec<Slot, bool> = vec![false; func.slots.len()].into();
    for inst in func.blocks.iter().flat_map(|b| &b.insts) {
        if let Op::SlotAddr(s) = inst.op {
            used[s] = true;
        }
    }
    let mut slots: Vec<Slot> = func.slots.ids().filter(|&s| used[s]).collect();
    slots.sort_by_key(|&s| (!func.slots[s].pinned, func.slots[s].size));
    let mut packer = Packer::new(func, lives, 0);
    let mut moved: Vec<Slot> = Vec::new();
    for slot in slots {
        let data = &func.slots[slot];
        let at = packer.find(slot);
        let fits = !data.indexed
            && lives.is_direct(slot)
            && data.size <= STACK_SLOT_LIMIT
            && at.saturating_add(data.size) <= stack;
        if data.pinned || fits {
            packer.place(slot, at);
        } else {
            moved.push(slot);
        }
    }
    moved.sort_by_key(|&s| (std::cmp::Reverse(func.slots[s].size), s));
    moved
}

fn returning_zero(func: &mut Function, span: Span) -> Block {
    let block = func.new_block();
    let zero = func.append(block, Op::Const(0), span);
    func.end(block, Terminator::Return(zero), span);
    block
}

/// Where the scratch entry is needed first, as a block and a position in it: behind the predicate, if the predicate needs no scratch
/// memory. Follows the only way that leads to a use; what it returns dominates all uses and lies in no loop. It also lies
/// before any record that is reserved, and any object that a function of the kernel hands out: a program that finds no entry ends at once,
/// and must not hold one then.
fn first_need(func: &Function, moved: &IndexVec<Slot, Option<u32>>) -> (Block, usize) {
    let is_use = |inst: &Inst| matches!(inst.op, Op::SlotAddr(s) if moved.get(s).copied().flatten().is_some());
    let order = cfg::reverse_post_order(func);
    let preds = cfg::predecessors(func, &order);
    let mut leads_there: IndexVec<Block, bool> = vec![false; func.blocks.len()].into();
    let mut work: Vec<Block> = order.iter().copied().filter(|&b| func.blocks[b].insts.iter().any(is_use)).collect();
    while let Some(block) = work.pop() {
        if !std::mem::replace(&mut leads_there[block], true) {
            work.extend(&preds[block]);
        }
    }
    let mut at = Block::new(0);
    loop {
        let insts = &func.blocks[at].insts;
        let holds = |inst: &Inst| matches!(inst.op, Op::Call(helpers::RINGBUF_RESERVE, _) | Op::CallKfunc(..));
        if let Some(index) = insts.iter().position(|inst| is_use(inst) || holds(inst)) {
            return (at, index);
        }
        let ways: Vec<Block> = cfg::successors(func, at).filter(|&b| leads_there[b]).collect();
        match ways.as_slice() {
            [next] if preds[*next].len() == 1 => at = *next,
            _ => return (at, insts.len()),
        }
    }
}

/// Where a program that can meet itself claims its entry: as [`first_need`], but before anything that the script would notice,
/// since a run that finds no free entry should have done nothing; and where every way on ends in a return of its own.
fn first_claim(func: &Function, moved: &IndexVec<Slot, Option<u32>>) -> (Block, usize) {
    let (mut at, mut index) = first_need(func, moved);
    let mut local: IndexVec<Value, bool> = vec![false; func.values.len()].into();
    for inst in func.blocks.iter().flat_map(|b| &b.insts) {
        if let (Op::SlotAddr(_), Some(v)) = (&inst.op, inst.result) {
            local[v] = true;
        }
    }
    // From the entry to there leads one way, through the blocks that dominate it.
    let dominators = Dominators::new(func);
    let mut way = vec![at];
    while let Some(parent) = way.last().and_then(|&b| dominators.parent(b)) {
        way.push(parent);
    }
    for block in way.into_iter().rev() {
        let insts = &func.blocks[block].insts;
        let end = if block == at { index } else { insts.len() };
        if let Some(first) = insts.iter().take(end).position(|i| is_noticed(&i.op, &local)) {
            (at, index) = (block, first);
            break;
        }
    }
    if is_closed(func, at) { (at, index) } else { (Block::new(0), 0) }
}

/// Whether an operation changes anything outside the program's local memory.
fn is_noticed(op: &Op, local: &IndexVec<Value, bool>) -> bool {
    match op {
        Op::Store { addr, .. } | Op::Zero { addr, .. } | Op::Copy { dst: addr, .. } => !local[*addr],
        Op::AtomicAdd { .. } | Op::AtomicXchg { .. } | Op::CallSub(..) | Op::CallKfunc(..) => true,
        Op::Call(helper, _) => {
            let reads = [
                helpers::MAP_LOOKUP_ELEM,
                helpers::PROBE_READ_KERNEL,
                helpers::PROBE_READ_USER,
                helpers::PROBE_READ_KERNEL_STR,
                helpers::PROBE_READ_USER_STR,
                helpers::GET_CURRENT_COMM,
            ];
            helper.effect() == Effect::Memory && !reads.contains(helper)
        }
        _ => false,
    }
}

/// The blocks that are reached through `block` only, itself included.
fn dominated(func: &Function, block: Block) -> IndexVec<Block, bool> {
    let dominators = Dominators::new(func);
    let test = DominanceTest::new(&dominators);
    func.blocks.ids().map(|b| dominators.is_reachable(b) && test.dominates(block, b)).collect::<Vec<_>>().into()
}

/// Returns nothing but a constant, or what dominates it: may be copied.
fn is_plain_return(func: &Function, block: Block) -> bool {
    let data = &func.blocks[block];
    let constants = data.insts.iter().all(|i| matches!(i.op, Op::Const(_)));
    data.params.is_empty() && constants && matches!(data.term, Some(Terminator::Return(_)))
}

/// Whether every way out of the region that `block` dominates is a plain return.
fn is_closed(func: &Function, block: Block) -> bool {
    let inside = dominated(func, block);
    func.blocks
        .ids()
        .filter(|&b| inside[b])
        .all(|b| cfg::successors(func, b).all(|next| inside[next] || is_plain_return(func, next)))
}

/// The returns of the region behind `body`; those that it shares with others are copied.
fn own_returns(func: &mut Function, entry: Block, body: Block, inside: &IndexVec<Block, bool>) -> Vec<Block> {
    let is_inside = |b: Block| b == body || (b != entry && inside.get(b) == Some(&true));
    let mut copies: Table<Block, Block> = Table::default();
    let mut returns = Vec::new();
    for block in func.blocks.ids().filter(|&b| is_inside(b)).collect::<Vec<_>>() {
        let Some(mut term) = func.blocks[block].term.take() else { continue };
        if matches!(term, Terminator::Return(_)) {
            returns.push(block);
        }
        term.for_each_target_mut(|t| {
            if !is_inside(t.block) {
                let shared = t.block;
                t.block = *copies.entry(shared).or_insert_with(|| copy_return(func, shared));
            }
        });
        func.blocks[block].term = Some(term);
    }
    returns.extend(copies.into_values());
    returns.sort_unstable();
    returns
}

/// A copy of a plain return, with constants of its own.
fn copy_return(func: &mut Function, block: Block) -> Block {
    let data = func.blocks[block].clone();
    let copy = func.new_block();
    let mut rewrites: Table<Value, Value> = Table::default();
    for inst in data.insts {
        let new = func.append(copy, inst.op, inst.span);
        if let Some(old) = inst.result {
            rewrites.insert(old, new);
        }
    }
    if let Some(Terminator::Return(v)) = data.term {
        func.end(copy, Terminator::Return(rewrites.get(&v).copied().unwrap_or(v)), data.term_span);
    }
    copy
}

/// Looks the entry up.
fn enter(func: &mut Function, map: MapId, index: i64, (entry, at): (Block, usize)) -> Value {
    let span = func.span;
    let body = func.split(entry, at);
    let fail = returning_zero(func, span);
    let slot = func.new_slot(4, 4);
    let key = func.append(entry, Op::Const(index), span);
    let pointer = lookup(func, entry, map, slot, key, span);
    let zero = func.append(entry, Op::Const(0), span);
    let found = Terminator::Branch {
        cond: Cond::Eq,
        lhs: pointer,
        rhs: zero,
        then: Target::plain(fail),
        otherwise: Target::plain(body),
    };
    func.end(entry, found, span);
    pointer
}

/// Claims one of the program's entries, and gives it back before every return.
fn claim(
    func: &mut Function,
    map: MapId,
    first: i64,
    missed: Option<(MapId, u32)>,
    (entry, at): (Block, usize),
) -> Value {
    let span = func.span;
    let inside = dominated(func, entry);
    let body = func.split(entry, at);
    let returns = own_returns(func, entry, body, &inside);
    // The loop is small and its state dead behind it, so that the verifier walks the body once.
    let (attempt, taken, next, none) = (func.new_block(), func.new_block(), func.new_block(), func.new_block());
    let fail = returning_zero(func, span);
    let slot = func.new_slot(4, 4);
    let start = func.append(entry, Op::Const(first), span);
    func.end(entry, Terminator::Jump(Target { block: attempt, args: vec![start] }), span);

    let key = func.new_value();
    func.blocks[attempt].params.push(key);
    let pointer = lookup(func, attempt, map, slot, key, span);
    let zero = func.append(attempt, Op::Const(0), span);
    let eq = |lhs, rhs, then, otherwise| Terminator::Branch {
        cond: Cond::Eq,
        lhs,
        rhs,
        then: Target::plain(then),
        otherwise: Target::plain(otherwise),
    };
    func.end(attempt, eq(pointer, zero, fail, taken), span);

    let one = func.append(taken, Op::Const(1), span);
    let was = func.append(taken, Op::AtomicXchg { width: Width::W8, addr: pointer, offset: 0, value: one }, span);
    func.end(taken, eq(was, zero, body, next), span);

    let step = func.append(next, Op::Const(1), span);
    let following = func.append(next, Op::Bin(BinOp::Add, key, step), span);
    let last = func.append(next, Op::Const(first + COPIES), span);
    let again = Terminator::Branch {
        cond: Cond::Ne,
        lhs: following,
        rhs: last,
        then: Target { block: attempt, args: vec![following] },
        otherwise: Target::plain(none),
    };
    func.end(next, again, span);

    if let Some((counters, index)) = missed {
        let addr = func.append(none, Op::MapValue(counters, index * 8), span);
        let one = func.append(none, Op::Const(1), span);
        func.append_effect(none, Op::AtomicAdd { width: Width::W8, addr, offset: 0, value: one }, span);
    }
    let zero_none = func.append(none, Op::Const(0), span);
    func.end(none, Terminator::Return(zero_none), span);

    for block in returns {
        let zero = func.append(block, Op::Const(0), span);
        func.append_effect(block, Op::Store { width: Width::W8, addr: pointer, offset: 0, value: zero }, span);
    }
    pointer
}

/// Turns the addresses of moved slots into offsets from the scratch entry.
fn rebase(func: &mut Function, scratch: Value, offsets: &IndexVec<Slot, Option<u32>>) {
    for block in func.blocks.ids().collect::<Vec<_>>() {
        let insts = std::mem::take(&mut func.blocks[block].insts);
        let mut out = Vec::with_capacity(insts.len());
        for inst in insts {
            match inst.op {
                Op::SlotAddr(s) if offsets.get(s).copied().flatten().is_some() => {
                    let offset = offsets[s].unwrap_or_default();
                    let constant = func.new_value();
                    out.push(Inst { result: Some(constant), op: Op::Const(i64::from(offset)), span: inst.span });
                    out.push(Inst { op: Op::Bin(BinOp::Add, scratch, constant), ..inst });
                }
                _ => out.push(inst),
            }
        }
        func.blocks[block].insts = out;
    }
}
