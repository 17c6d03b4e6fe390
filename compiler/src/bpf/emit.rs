//! Machine code over homes to instructions: two-address forms, parallel copies, reloads, jumps.

use tapline_grammar::span::Span;

use super::frame::Frame;
use super::insn::{self, AluOp, Insn, Reg, RegOrImm};
use super::mir::{Base, Callee, MBlock, MFunction, MInst, MOp, MTerm, Operand, Source, VReg};
use super::regalloc::{Allocation, Home, SCRATCH};
use super::{CodeReloc, FunctionCode, RelocKind, TOO_LARGE};

use crate::diagnostic::Diagnostic;
use crate::index::{IndexVec, Table};
use crate::ir::{Cond, FuncId, Function, Width};

/// An instruction on its way: what it refers to is attached, so that moving code cannot lose it.
#[derive(Clone, Copy)]
struct Item {
    insn: Insn,
    /// Second half of `ld_imm64`.
    second: Option<Insn>,
    reloc: Option<RelocKind>,
    span: Span,
    /// Jumps inside the block, over so many items.
    skip: u32,
}

enum End {
    Jump(MBlock),
    Branch(Cond, Insn, MBlock, MBlock),
    Exit,
}

struct Emitted {
    items: Vec<Item>,
    end: End,
    span: Span,
}

struct Emitter<'a> {
    func: &'a Function,
    homes: &'a Allocation,
    frame: Frame,
    spills: Vec<i32>,
    /// Stack slot that breaks cycles of copies; made when first needed.
    cycle: Option<i32>,
    items: Vec<Item>,
    span: Span,
}

/// Where a parallel copy writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Reg(Reg),
    Stack(i32),
}

/// Emits a function.
pub fn emit(id: FuncId, func: &Function, code: &MFunction, homes: &Allocation) -> Result<FunctionCode, Diagnostic> {
    let mut frame = Frame::new(func);
    let spills = (0..homes.spill_slots).map(|_| frame.alloc(8, 8)).collect();
    let mut e = Emitter { func, homes, frame, spills, cycle: None, items: Vec::new(), span: func.span };
    let mut blocks: IndexVec<MBlock, Emitted> = IndexVec::new();
    for (block_id, block) in code.blocks.enumerate() {
        if block_id == MBlock(0) {
            e.entry(&block.params)?;
        }
        for inst in &block.insts {
            e.span = inst.span;
            e.inst(inst)?;
        }
        e.span = block.term_span;
        let end = match &block.term {
            MTerm::Jump(to, args) => {
                e.jump_args(code, *to, args)?;
                End::Jump(*to)
            }
            MTerm::Branch { cond, wide, lhs, rhs, then, otherwise } => {
                let l = e.read(*lhs, 0)?;
                let r = e.operand(*rhs, 1)?;
                End::Branch(*cond, Insn::branch(*cond, *wide, l, r), *then, *otherwise)
            }
            MTerm::Return(source) => {
                e.mov(Place::Reg(Reg::R0), *source)?;
                End::Exit
            }
        };
        blocks.push(Emitted { items: std::mem::take(&mut e.items), end, span: block.term_span });
    }
    let stack = e.frame.size;
    layout(id, func, &blocks, stack)
}

impl Emitter<'_> {
    fn bug(&self, what: &str) -> Diagnostic {
        Diagnostic::internal(format!("code emission in `{}`: {what}", self.func.symbol), self.span)
    }

    fn push(&mut self, insn: Insn) {
        self.items.push(Item { insn, second: None, reloc: None, span: self.span, skip: 0 });
    }

    fn place(&self, v: VReg) -> Result<Place, Diagnostic> {
        match self.homes.homes.get(v).copied().flatten() {
            Some(Home::Reg(r)) => Ok(Place::Reg(Reg(r))),
            Some(Home::Stack(n)) => {
                self.spills.get(n as usize).map(|&o| Place::Stack(o)).ok_or_else(|| self.bug("a spill slot is missing"))
            }
            None => Err(self.bug(&format!("{v} has no home"))),
        }
    }

    /// The register that holds a value, reloaded into scratch register `n` if it was spilled.
    fn read(&mut self, v: VReg, n: usize) -> Result<Reg, Diagnostic> {
        match self.place(v)? {
            Place::Reg(r) => Ok(r),
            Place::Stack(off) => {
                let r = Reg(*SCRATCH.get(n).unwrap_or(&0));
                self.push(Insn::load(Width::W8, r, Reg::FP, off as i16));
                Ok(r)
            }
        }
    }

    fn operand(&mut self, o: Operand, n: usize) -> Result<RegOrImm, Diagnostic> {
        Ok(match o {
            Operand::Reg(v) => RegOrImm::Reg(self.read(v, n)?),
            Operand::Imm(i) => RegOrImm::Imm(i),
        })
    }

    /// The register to compute a result in; `finish` stores it if it was spilled.
    fn target(&self, v: VReg) -> Result<Reg, Diagnostic> {
        Ok(match self.place(v)? {
            Place::Reg(r) => r,
            Place::Stack(_) => Reg(SCRATCH[0]),
        })
    }

    fn finish(&mut self, v: VReg, r: Reg) -> Result<(), Diagnostic> {
        if let Place::Stack(off) = self.place(v)? {
            self.push(Insn::store(Width::W8, Reg::FP, off as i16, RegOrImm::Reg(r)));
        }
        Ok(())
    }

    fn slot_offset(&self, slot: crate::ir::Slot) -> Result<i32, Diagnostic> {
        self.frame.slots.get(slot).copied().flatten().ok_or_else(|| self.bug("a slot has no place"))
    }

    fn base(&mut self, base: Base, off: i32, n: usize) -> Result<(Reg, i16), Diagnostic> {
        let (reg, off) = match base {
            Base::Reg(v) => (self.read(v, n)?, off),
            Base::Frame(slot) => (Reg::FP, self.slot_offset(slot)?.saturating_add(off)),
        };
        Ok((reg, i16::try_from(off).map_err(|_| self.bug("an offset is too large"))?))
    }

    /// `place = source`.
    fn mov(&mut self, to: Place, source: Source) -> Result<(), Diagnostic> {
        let reg = match to {
            Place::Reg(r) => r,
            // A constant goes through a register, too: older verifiers do not remember one that is stored directly.
            Place::Stack(_) => Reg(SCRATCH[0]),
        };
        let mut made = reg;
        match source {
            Source::Reg(v) => match self.place(v)? {
                Place::Reg(r) if matches!(to, Place::Stack(_)) => made = r,
                Place::Reg(r) if r == reg => {}
                Place::Reg(r) => self.push(Insn::mov(reg, r)),
                from @ Place::Stack(off) => {
                    if from == to {
                        return Ok(());
                    }
                    self.push(Insn::load(Width::W8, reg, Reg::FP, off as i16));
                }
            },
            Source::Const(c) => self.constant(reg, c),
            Source::Frame(slot, off) => {
                let off = self.slot_offset(slot)?.saturating_add(off);
                self.push(Insn::mov(reg, Reg::FP));
                if off != 0 {
                    self.push(Insn::alu(AluOp::Add, true, reg, RegOrImm::Imm(off)));
                }
            }
            Source::Map(m) => self.wide(reg, 0, Some(RelocKind::Map(m))),
            Source::MapValue(m, off) => self.wide(reg, i64::from(off), Some(RelocKind::MapValue(m))),
            Source::Rodata(off) => self.wide(reg, i64::from(off), Some(RelocKind::Rodata)),
            Source::Func(f) => self.wide(reg, 0, Some(RelocKind::Func(f))),
        }
        if let Place::Stack(off) = to {
            self.push(Insn::store(Width::W8, Reg::FP, off as i16, RegOrImm::Reg(made)));
        }
        Ok(())
    }

    fn constant(&mut self, reg: Reg, c: i64) {
        if let Ok(imm) = i32::try_from(c) {
            self.push(Insn::alu(AluOp::Mov, true, reg, RegOrImm::Imm(imm)));
        } else if let Ok(imm) = u32::try_from(c) {
            self.push(Insn::alu(AluOp::Mov, false, reg, RegOrImm::Imm(imm as i32)));
        } else {
            self.wide(reg, c, None);
        }
    }

    fn wide(&mut self, reg: Reg, imm: i64, reloc: Option<RelocKind>) {
        let [insn, second] = Insn::ld_imm64(reg, 0, imm);
        self.items.push(Item { insn, second: Some(second), reloc, span: self.span, skip: 0 });
    }

    fn entry(&mut self, params: &[VReg]) -> Result<(), Diagnostic> {
        let mut moves = Vec::new();
        for (i, &p) in params.iter().enumerate() {
            if self.homes.homes.get(p).copied().flatten().is_some() {
                moves.push((self.place(p)?, Place::Reg(Reg::arg(i))));
            }
        }
        self.parallel(moves, None);
        Ok(())
    }

    fn jump_args(&mut self, code: &MFunction, to: MBlock, args: &[Source]) -> Result<(), Diagnostic> {
        let params = &code.blocks.get(to).ok_or_else(|| self.bug("a jump leads nowhere"))?.params;
        if params.len() != args.len() {
            return Err(self.bug("arguments do not match parameters"));
        }
        let mut targets = Vec::new();
        for &p in params {
            targets.push(self.place(p)?);
        }
        self.copies(&targets, args, None)
    }

    /// Copies all sources to all targets at once.
    fn copies(&mut self, targets: &[Place], sources: &[Source], free: Option<Reg>) -> Result<(), Diagnostic> {
        let mut moves = Vec::new();
        for (&to, &source) in targets.iter().zip(sources) {
            if let Source::Reg(v) = source {
                moves.push((to, self.place(v)?));
            }
        }
        self.parallel(moves, free);
        // What reads no register comes last: nothing is waiting in its target any more.
        for (&to, &source) in targets.iter().zip(sources) {
            if source.reg().is_none() {
                self.mov(to, source)?;
            }
        }
        Ok(())
    }

    /// Orders copies so that none overwrites what another still reads. A cycle goes through `free` or through memory.
    fn parallel(&mut self, mut moves: Vec<(Place, Place)>, free: Option<Reg>) {
        moves.retain(|(to, from)| to != from);
        while !moves.is_empty() {
            if let Some(ready) = moves.iter().position(|(to, _)| moves.iter().all(|(_, from)| from != to)) {
                let (to, from) = moves.swap_remove(ready);
                self.shift(to, from);
                continue;
            }
            let Some(&(_, from)) = moves.first() else { break };
            let temp = match free {
                Some(r) => Place::Reg(r),
                None => Place::Stack(self.cycle_slot()),
            };
            self.shift(temp, from);
            for m in &mut moves {
                if m.1 == from {
                    m.1 = temp;
                }
            }
        }
    }

    fn cycle_slot(&mut self) -> i32 {
        if let Some(off) = self.cycle {
            return off;
        }
        let off = self.frame.alloc(8, 8);
        self.cycle = Some(off);
        off
    }

    fn shift(&mut self, to: Place, from: Place) {
        match (to, from) {
            (Place::Reg(to), Place::Reg(from)) => self.push(Insn::mov(to, from)),
            (Place::Reg(to), Place::Stack(off)) => self.push(Insn::load(Width::W8, to, Reg::FP, off as i16)),
            (Place::Stack(off), Place::Reg(from)) => {
                self.push(Insn::store(Width::W8, Reg::FP, off as i16, RegOrImm::Reg(from)));
            }
            (Place::Stack(to), Place::Stack(from)) => {
                let r = Reg(SCRATCH[0]);
                self.push(Insn::load(Width::W8, r, Reg::FP, from as i16));
                self.push(Insn::store(Width::W8, Reg::FP, to as i16, RegOrImm::Reg(r)));
            }
        }
    }

    fn inst(&mut self, inst: &MInst) -> Result<(), Diagnostic> {
        match &inst.op {
            MOp::Mov { dst, src } => {
                let to = self.place(*dst)?;
                self.mov(to, *src)?;
            }
            MOp::Alu { op, wide, dst, lhs, rhs } => self.alu(*op, *wide, *dst, *lhs, *rhs)?,
            MOp::Swap { bits, dst, src } => {
                let r = self.target(*dst)?;
                self.mov(Place::Reg(r), Source::Reg(*src))?;
                self.push(Insn::byte_swap(*bits, r));
                self.finish(*dst, r)?;
            }
            MOp::SetCc { cond, dst, lhs, rhs } => {
                let (l, r) = (self.read(*lhs, 0)?, self.operand(*rhs, 1)?);
                match self.place(*dst)? {
                    Place::Reg(d) => {
                        self.push(Insn::alu(AluOp::Mov, true, d, RegOrImm::Imm(1)));
                        self.skip_next(Insn::branch(*cond, true, l, r));
                        self.push(Insn::alu(AluOp::Mov, true, d, RegOrImm::Imm(0)));
                    }
                    Place::Stack(off) => {
                        self.push(Insn::store(Width::W8, Reg::FP, off as i16, RegOrImm::Imm(1)));
                        self.skip_next(Insn::branch(*cond, true, l, r));
                        self.push(Insn::store(Width::W8, Reg::FP, off as i16, RegOrImm::Imm(0)));
                    }
                }
            }
            MOp::Load { width, dst, base, off } => {
                let (b, off) = self.base(*base, *off, 0)?;
                let r = self.target(*dst)?;
                self.push(Insn::load(*width, r, b, off));
                self.finish(*dst, r)?;
            }
            MOp::Store { width, base, off, src } => {
                let (b, off) = self.base(*base, *off, 0)?;
                let value = self.operand(*src, 1)?;
                self.push(Insn::store(*width, b, off, value));
            }
            MOp::AtomicAdd { width, base, off, value } => {
                let (b, off) = self.base(*base, *off, 0)?;
                let value = self.read(*value, 1)?;
                self.push(Insn::atomic(*width, b, off, value, 0));
            }
            MOp::AtomicXchg { width, base, off, dst, value } => {
                let (b, off) = self.base(*base, *off, 0)?;
                let r = match self.place(*dst)? {
                    Place::Reg(r) => r,
                    Place::Stack(_) => Reg(SCRATCH[1]),
                };
                self.mov(Place::Reg(r), Source::Reg(*value))?;
                self.push(Insn::atomic(*width, b, off, r, insn::ATOMIC_XCHG));
                self.finish(*dst, r)?;
            }
            MOp::Call { callee, args, dst } => {
                let targets: Vec<Place> = (0..args.len()).map(|i| Place::Reg(Reg::arg(i))).collect();
                self.copies(&targets, args, Some(Reg::R0))?;
                let (call, reloc) = match callee {
                    Callee::Helper(h) => (Insn::call(0, h.0 as i32), None),
                    Callee::Kfunc(id) => (Insn::call(insn::PSEUDO_KFUNC_CALL, *id as i32), None),
                    Callee::Sub(f) => (Insn::call(insn::PSEUDO_CALL, -1), Some(RelocKind::Call(*f))),
                };
                self.items.push(Item { insn: call, second: None, reloc, span: self.span, skip: 0 });
                if let Some(d) = dst
                    && self.homes.homes.get(*d).copied().flatten().is_some()
                {
                    let to = self.place(*d)?;
                    if to != Place::Reg(Reg::R0) {
                        self.shift(to, Place::Reg(Reg::R0));
                    }
                }
            }
        }
        Ok(())
    }

    fn skip_next(&mut self, insn: Insn) {
        self.items.push(Item { insn, second: None, reloc: None, span: self.span, skip: 1 });
    }

    fn alu(&mut self, op: AluOp, wide: bool, dst: VReg, lhs: VReg, rhs: Operand) -> Result<(), Diagnostic> {
        if op == AluOp::Mov {
            let src = self.read(lhs, 0)?;
            let r = self.target(dst)?;
            self.push(Insn::alu(op, wide, r, RegOrImm::Reg(src)));
            return self.finish(dst, r);
        }
        let r = self.target(dst)?;
        let (mut left, mut right) = (Source::Reg(lhs), rhs);
        // `r = a op r`: only a commutative operation gets here, the allocator keeps the others apart.
        if let Operand::Reg(v) = rhs
            && self.place(v)? == Place::Reg(r)
            && self.place(lhs)? != Place::Reg(r)
        {
            if !op.commutative() {
                return Err(self.bug("an operand is overwritten"));
            }
            (left, right) = (Source::Reg(v), Operand::Reg(lhs));
        }
        self.mov(Place::Reg(r), left)?;
        let right = self.operand(right, 1)?;
        self.push(Insn::alu(op, wide, r, right));
        self.finish(dst, r)
    }
}

/// Follows jumps through blocks without code.
fn final_target(blocks: &IndexVec<MBlock, Emitted>, mut block: MBlock) -> MBlock {
    for _ in 0..blocks.len() {
        match blocks.get(block) {
            Some(Emitted { items, end: End::Jump(next), .. }) if items.is_empty() && *next != block => block = *next,
            _ => break,
        }
    }
    block
}

/// The loops of a function as stretches of its code, each from its first block to the last that jumps back there.
///
/// The verifier follows a branch that is not taken at once and keeps the other side for later. A branch out of a loop that
/// were taken would be kept in every turn, and it has room for 8192; so such a branch is laid out to be fallen into, and the
/// way out is checked first and once.
struct Loops {
    position: IndexVec<MBlock, usize>,
    /// First and last position, inner ones before those around them.
    stretches: Vec<(usize, usize)>,
}

impl Loops {
    fn new(blocks: &IndexVec<MBlock, Emitted>, order: &[MBlock]) -> Self {
        let mut position: IndexVec<MBlock, usize> = vec![usize::MAX; blocks.len()].into();
        for (at, &b) in order.iter().enumerate() {
            position[b] = at;
        }
        let mut ends: Table<usize, usize> = Table::default();
        for (at, &b) in order.iter().enumerate() {
            let targets = match &blocks[b].end {
                End::Jump(t) => [Some(*t), None],
                End::Branch(_, _, t, o) => [Some(*t), Some(*o)],
                End::Exit => [None, None],
            };
            for target in targets.into_iter().flatten() {
                let first = position[final_target(blocks, target)];
                if first <= at {
                    ends.insert(first, at);
                }
            }
        }
        let mut stretches: Vec<(usize, usize)> = ends.into_iter().collect();
        stretches.sort_unstable_by_key(|&(first, last)| (last - first, first));
        Self { position, stretches }
    }

    /// Whether the jump from one block to another leaves the innermost loop around the first.
    fn is_left(&self, from: MBlock, to: MBlock) -> bool {
        let (from, to) = (self.position[from], self.position[to]);
        let around = self.stretches.iter().find(|&&(first, last)| (first..=last).contains(&from));
        around.is_some_and(|&(first, last)| !(first..=last).contains(&to))
    }
}

/// Puts the blocks one after the other and resolves jumps.
fn layout(
    id: FuncId,
    func: &Function,
    blocks: &IndexVec<MBlock, Emitted>,
    stack: u32,
) -> Result<FunctionCode, Diagnostic> {
    // Blocks that are still reached after threading, in order.
    let mut reached: IndexVec<MBlock, bool> = vec![false; blocks.len()].into();
    let mut work = vec![final_target(blocks, MBlock(0))];
    while let Some(b) = work.pop() {
        if std::mem::replace(&mut reached[b], true) {
            continue;
        }
        match &blocks[b].end {
            End::Jump(t) => work.push(final_target(blocks, *t)),
            End::Branch(_, _, t, o) => work.extend([final_target(blocks, *t), final_target(blocks, *o)]),
            End::Exit => {}
        }
    }
    let order: Vec<MBlock> = blocks.ids().filter(|&b| reached[b]).collect();
    let loops = Loops::new(blocks, &order);
    let mut insns: Vec<Insn> = Vec::new();
    let mut spans: Vec<Span> = Vec::new();
    let mut relocs = Vec::new();
    let mut starts: IndexVec<MBlock, usize> = vec![0; blocks.len()].into();
    let mut jumps: Vec<(usize, MBlock)> = Vec::new();
    for (i, &b) in order.iter().enumerate() {
        let block = &blocks[b];
        let next = order.get(i + 1).copied();
        starts[b] = insns.len();
        for (n, item) in block.items.iter().enumerate() {
            let mut insn = item.insn;
            if item.skip > 0 {
                insn.off = block
                    .items
                    .iter()
                    .skip(n + 1)
                    .take(item.skip as usize)
                    .map(|i| 1 + i16::from(i.second.is_some()))
                    .sum();
            }
            if let Some(kind) = item.reloc {
                relocs.push(CodeReloc { insn: insns.len(), kind });
            }
            insns.push(insn);
            spans.push(item.span);
            if let Some(second) = item.second {
                insns.push(second);
                spans.push(item.span);
            }
        }
        match &block.end {
            End::Jump(t) => {
                let t = final_target(blocks, *t);
                if next != Some(t) {
                    jumps.push((insns.len(), t));
                    insns.push(Insn::goto());
                }
            }
            End::Branch(cond, insn, then, otherwise) => {
                let (then, otherwise) = (final_target(blocks, *then), final_target(blocks, *otherwise));
                let fallen_into = if loops.is_left(b, otherwise) { otherwise } else { then };
                match cond.inverted() {
                    Some(inverse)
                        if then != otherwise
                            && (loops.is_left(b, then) || (next == Some(then) && fallen_into == then)) =>
                    {
                        // Only the operation changes, the operands stay.
                        let template = Insn::branch(inverse, true, Reg(0), RegOrImm::Imm(0));
                        let code = (insn.code & 0x0f) | (template.code & 0xf0);
                        jumps.push((insns.len(), otherwise));
                        insns.push(Insn { code, ..*insn });
                        if next != Some(then) {
                            jumps.push((insns.len(), then));
                            insns.push(Insn::goto());
                        }
                    }
                    _ => {
                        if then != otherwise {
                            jumps.push((insns.len(), then));
                            insns.push(*insn);
                        }
                        if next != Some(otherwise) {
                            jumps.push((insns.len(), otherwise));
                            insns.push(Insn::goto());
                        }
                    }
                }
            }
            End::Exit => insns.push(Insn::exit()),
        }
        spans.resize(insns.len(), block.span);
    }
    for (at, target) in jumps {
        let distance = starts[target] as i64 - at as i64 - 1;
        let off = i16::try_from(distance).map_err(|_| {
            Diagnostic::error(TOO_LARGE, "this probe makes a program that is too large", func.span)
                .note(format!(
                    "it has {} instructions, and one must jump over {}",
                    insns.len(),
                    distance.unsigned_abs()
                ))
                .help("use `for` or `while` in place of `unroll`, or split the work over several probes")
        })?;
        if let Some(insn) = insns.get_mut(at) {
            insn.off = off;
        }
    }
    Ok(FunctionCode { id, insns, spans, relocs, stack })
}
