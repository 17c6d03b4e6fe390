//! What a function does with its local memory: the basis of the passes that remove stores or merge slots.
//!
//! A slot is tracked when its address is only used to load and store at constant offsets and as an argument of helpers,
//! which do not keep it. Everything else counts as unknown.

use crate::index::IndexVec;
use crate::ir::{Block, Function, Helper, Module, Op, Slot, Value, helpers};
use crate::program::MapId;

/// Bytes of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub start: u32,
    pub end: u32,
}

/// What an instruction does to a slot, in the order read, then written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Effect {
    /// Bytes that may be read.
    pub read: Option<Range>,
    /// Bytes that are certainly overwritten.
    pub written: Option<Range>,
    /// Bytes that may change; covers `written`.
    pub may_write: bool,
    /// The instruction does nothing else: without readers it may go.
    pub removable: bool,
}

/// An access.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub block: Block,
    pub inst: usize,
    pub effect: Effect,
}

/// The accesses of each tracked slot, block by block in the order of the code.
pub(super) struct Accesses {
    pub of: IndexVec<Slot, Option<Vec<Access>>>,
    /// Slot and offset that an address stands for.
    pub address: IndexVec<Value, Option<(Slot, u32)>>,
}

/// What the maps tell about helpers' arguments.
pub(super) struct MapSizes(Vec<(u32, u32)>);

impl MapSizes {
    pub fn new(module: &Module) -> Self {
        Self(module.maps.iter().map(|m| (m.key_size, m.value_size)).collect())
    }
    fn get(&self, map: MapId) -> Option<(u32, u32)> {
        self.0.get(map.0 as usize).copied()
    }
}

/// Facts about values that more than one pass asks for.
pub(super) struct Values {
    pub constant: IndexVec<Value, Option<i64>>,
    pub map: IndexVec<Value, Option<MapId>>,
}

impl Values {
    pub fn new(func: &Function) -> Self {
        let n = func.values.len();
        let mut this = Self { constant: vec![None; n].into(), map: vec![None; n].into() };
        for inst in func.blocks.iter().flat_map(|b| &b.insts) {
            let Some(v) = inst.result else { continue };
            match inst.op {
                Op::Const(c) => this.constant[v] = Some(c),
                Op::Map(m) => this.map[v] = Some(m),
                _ => {}
            }
        }
        this
    }
}

/// Collects the accesses of all slots.
pub(super) fn accesses(func: &Function, values: &Values, maps: &MapSizes) -> Accesses {
    let mut this = Accesses { of: vec![Some(Vec::new()); func.slots.len()].into(), address: addresses(func, values) };
    for (block, data) in func.blocks.enumerate() {
        for (inst, i) in data.insts.iter().enumerate() {
            this.inst(func, &i.op, values, maps, block, inst);
        }
        if let Some(term) = &data.term {
            term.for_each_use(|v| this.lose(v));
        }
    }
    this
}

/// Slots and offsets behind values; additions of constants are followed.
fn addresses(func: &Function, values: &Values) -> IndexVec<Value, Option<(Slot, u32)>> {
    let mut address: IndexVec<Value, Option<(Slot, u32)>> = vec![None; func.values.len()].into();
    for block in crate::ir::cfg::reverse_post_order(func) {
        for inst in &func.blocks[block].insts {
            let Some(v) = inst.result else { continue };
            address[v] = match inst.op {
                Op::SlotAddr(s) => Some((s, 0)),
                Op::Bin(crate::ir::BinOp::Add, a, b) => {
                    let moved = |base: Value, by: Value| {
                        let (slot, off) = address[base]?;
                        let off = u32::try_from(i64::from(off).checked_add(values.constant[by]?)?).ok()?;
                        Some((slot, off))
                    };
                    moved(a, b).or_else(|| moved(b, a))
                }
                _ => None,
            };
        }
    }
    address
}

impl Accesses {
    /// The address goes where it cannot be followed.
    fn lose(&mut self, v: Value) {
        if let Some((slot, _)) = self.address[v] {
            self.of[slot] = None;
        }
    }

    fn note(&mut self, slot: Slot, block: Block, inst: usize, effect: Effect) {
        if let Some(list) = &mut self.of[slot] {
            list.push(Access { block, inst, effect });
        }
    }

    /// The bytes from `addr + offset` on.
    fn range(&self, func: &Function, addr: Value, offset: i32, len: u32) -> Option<(Slot, Range)> {
        let (slot, base) = self.address[addr]?;
        let size = func.slots.get(slot)?.size;
        let start = u32::try_from(i64::from(base) + i64::from(offset)).unwrap_or(0).min(size);
        Some((slot, Range { start, end: start.saturating_add(len).min(size) }))
    }

    fn inst(&mut self, func: &Function, op: &Op, values: &Values, maps: &MapSizes, block: Block, inst: usize) {
        match op {
            Op::SlotAddr(_) => {}
            Op::Load { width, addr, offset } => {
                if let Some((slot, r)) = self.range(func, *addr, *offset, width.bytes()) {
                    self.note(slot, block, inst, Effect { read: Some(r), ..Effect::default() });
                }
            }
            Op::Store { width, addr, offset, value } => {
                self.lose(*value);
                if let Some((slot, r)) = self.range(func, *addr, *offset, width.bytes()) {
                    self.note(slot, block, inst, write(r));
                }
            }
            Op::Zero { addr, offset, len, .. } => {
                if let Some((slot, r)) = self.range(func, *addr, *offset, *len) {
                    self.note(slot, block, inst, write(r));
                }
            }
            Op::Copy { dst, dst_offset, src, src_offset, len, .. } => {
                let from = self.range(func, *src, *src_offset, *len);
                let to = self.range(func, *dst, *dst_offset, *len);
                match (from, to) {
                    (Some((s, read)), Some((d, written))) if s == d => {
                        // Taken as a read and a possible change: rare, and not worth more.
                        let hull = Range { start: read.start.min(written.start), end: read.end.max(written.end) };
                        let effect = Effect { read: Some(hull), may_write: true, ..Effect::default() };
                        self.note(s, block, inst, effect);
                    }
                    (from, to) => {
                        if let Some((slot, r)) = from {
                            self.note(slot, block, inst, Effect { read: Some(r), ..Effect::default() });
                        }
                        if let Some((slot, r)) = to {
                            self.note(slot, block, inst, write(r));
                        }
                    }
                }
            }
            Op::AtomicAdd { width, addr, offset, value } | Op::AtomicXchg { width, addr, offset, value } => {
                self.lose(*value);
                if let Some((slot, r)) = self.range(func, *addr, *offset, width.bytes()) {
                    let effect = Effect { read: Some(r), may_write: true, ..Effect::default() };
                    self.note(slot, block, inst, effect);
                }
            }
            Op::Call(helper, args) => self.call(func, *helper, args, values, maps, block, inst),
            Op::Bin(..) => {
                // Followed if it is an address itself.
                let result = func.blocks[block].insts.get(inst).and_then(|i| i.result);
                if result.is_none_or(|v| self.address[v].is_none()) {
                    op.for_each_use(|v| self.lose(v));
                }
            }
            _ => op.for_each_use(|v| self.lose(v)),
        }
    }

    #[allow(clippy::too_many_arguments)] // The place, and what is known of it.
    fn call(
        &mut self,
        func: &Function,
        helper: Helper,
        args: &[Value],
        values: &Values,
        maps: &MapSizes,
        block: Block,
        inst: usize,
    ) {
        if matches!(helper, helpers::LOOP | helpers::FOR_EACH_MAP_ELEM) {
            return args.iter().for_each(|&v| self.lose(v));
        }
        let constant = |i: usize| args.get(i).and_then(|&v| values.constant[v]).and_then(|c| u32::try_from(c).ok());
        let sizes = args.first().and_then(|&v| values.map[v]).and_then(|m| maps.get(m));
        for (i, &arg) in args.iter().enumerate() {
            let Some((slot, rest)) = self.range(func, arg, 0, u32::MAX) else { continue };
            let upto = |len: Option<u32>| Range {
                end: rest.start.saturating_add(len.unwrap_or(u32::MAX)).min(rest.end),
                ..rest
            };
            let read = |len| Effect { read: Some(upto(len)), ..Effect::default() };
            let effect = match (helper, i) {
                (helpers::MAP_LOOKUP_ELEM | helpers::MAP_DELETE_ELEM | helpers::MAP_UPDATE_ELEM, 1) => {
                    read(sizes.map(|s| s.0))
                }
                (helpers::MAP_UPDATE_ELEM, 2) => read(sizes.map(|s| s.1)),
                (helpers::RINGBUF_OUTPUT | helpers::SEQ_PRINTF, 1) => read(constant(2)),
                (helpers::TRACE_PRINTK, 0) => read(constant(1)),
                (helpers::SEQ_PRINTF | helpers::SKB_OUTPUT, 3) => read(constant(4)),
                // These fill their destination completely, with zeros on failure.
                (helpers::PROBE_READ_KERNEL | helpers::PROBE_READ_USER, 0) => {
                    let written = constant(1).map(|len| upto(Some(len)));
                    Effect { written, may_write: true, ..Effect::default() }
                }
                // And these as far as the string reaches.
                (
                    helpers::PROBE_READ_KERNEL_STR
                    | helpers::PROBE_READ_USER_STR
                    | helpers::PROBE_READ_STR
                    | helpers::GET_CURRENT_COMM,
                    0,
                ) => Effect { may_write: true, ..Effect::default() },
                _ => Effect { read: Some(Range { start: 0, ..rest }), may_write: true, ..Effect::default() },
            };
            self.note(slot, block, inst, effect);
        }
    }
}

fn write(r: Range) -> Effect {
    Effect { written: Some(r), may_write: true, removable: true, read: None }
}
