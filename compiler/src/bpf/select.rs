//! Instruction selection: IR to machine code over virtual registers. Constants become immediates, address arithmetic becomes
//! offsets, a comparison that only feeds a branch becomes that branch, block moves become loads and stores.
//!
//! What the kernel's verifier learns from a comparison it keeps for the compared register: so an operand of a branch is the
//! very register that is used later, never a recomputed copy.

use tapline_grammar::span::Span;

use super::insn::AluOp;
use super::mir::{Base, Callee, MBlock, MBlockData, MFunction, MInst, MOp, MTerm, Operand, Source, VReg};
use crate::diagnostic::Diagnostic;
use crate::index::{Id, IndexVec};
use crate::ir::{self, BinOp, Block, Cond, Ext, Function, Op, Terminator, Value, Width, cfg, helpers};

/// Stores per `Zero`, or load/store pairs per `Copy`, above which a helper does the work.
const INLINE_MOVES: usize = 24;

struct Selector<'a> {
    func: &'a Function,
    /// Defining operations of the values that are not parameters.
    defs: IndexVec<Value, Option<&'a Op>>,
    /// Values that are remade at every use.
    sources: IndexVec<Value, Option<Source>>,
    /// Sums of an address in a map and a constant: made at every use, for there are many of them in a long program, and all would need a
    /// register, or stack, from the first use to the last.
    sums: IndexVec<Value, Option<(Value, i32)>>,
    /// Values that some use wants in a register.
    needed: IndexVec<Value, bool>,
    regs: IndexVec<Value, Option<VReg>>,
    vregs: usize,
    insts: Vec<MInst>,
    span: Span,
}

/// Selects code for one function.
pub fn select(func: &Function) -> Result<MFunction, Diagnostic> {
    let order = cfg::reverse_post_order(func);
    let mut defs: IndexVec<Value, Option<&Op>> = vec![None; func.values.len()].into();
    for block in &func.blocks {
        for inst in &block.insts {
            if let Some(v) = inst.result {
                defs[v] = Some(&inst.op);
            }
        }
    }
    let mut s = Selector {
        func,
        defs,
        sources: vec![None; func.values.len()].into(),
        sums: vec![None; func.values.len()].into(),
        needed: vec![false; func.values.len()].into(),
        regs: vec![None; func.values.len()].into(),
        vregs: 0,
        insts: Vec::new(),
        span: func.span,
    };
    s.find_sources(&order);
    s.find_needed(&order);
    s.run(&order)
}

/// The constant, sign-extended to 64 bits, as an immediate.
fn imm32(c: i64) -> Option<i32> {
    i32::try_from(c).ok()
}

fn swapped(cond: Cond) -> Cond {
    match cond {
        Cond::ULt => Cond::UGt,
        Cond::ULe => Cond::UGe,
        Cond::UGt => Cond::ULt,
        Cond::UGe => Cond::ULe,
        Cond::SLt => Cond::SGt,
        Cond::SLe => Cond::SGe,
        Cond::SGt => Cond::SLt,
        Cond::SGe => Cond::SLe,
        Cond::Eq | Cond::Ne | Cond::Test => cond,
    }
}

impl<'a> Selector<'a> {
    fn find_sources(&mut self, order: &[Block]) {
        for &block in order {
            for inst in &self.func.blocks[block].insts {
                let Some(result) = inst.result else { continue };
                let source = match inst.op {
                    Op::Const(c) => Some(Source::Const(c)),
                    Op::SlotAddr(s) => Some(Source::Frame(s, 0)),
                    Op::Map(m) => Some(Source::Map(m)),
                    Op::MapValue(m, off) => Some(Source::MapValue(m, off)),
                    Op::Rodata(off) => Some(Source::Rodata(off)),
                    Op::FuncAddr(f) => Some(Source::Func(f)),
                    Op::Bin(op @ (BinOp::Add | BinOp::Sub), a, b) => self.moved_source(op, a, b),
                    _ => None,
                };
                self.sources[result] = source;
                self.sums[result] = self.sum(&inst.op);
            }
        }
    }

    /// `address + constant` of an address that is itself remade.
    fn moved_source(&self, op: BinOp, a: Value, b: Value) -> Option<Source> {
        let (base, delta) = match (op, self.sources[a], self.sources[b]) {
            (BinOp::Add, Some(base), Some(Source::Const(c))) | (BinOp::Add, Some(Source::Const(c)), Some(base)) => {
                (base, c)
            }
            (BinOp::Sub, Some(base), Some(Source::Const(c))) => (base, c.checked_neg()?),
            _ => return None,
        };
        let add = |off: u32| u32::try_from(i64::from(off).checked_add(delta)?).ok();
        match base {
            Source::Frame(s, off) => Some(Source::Frame(s, i32::try_from(i64::from(off).checked_add(delta)?).ok()?)),
            Source::MapValue(m, off) => Some(Source::MapValue(m, add(off)?)),
            Source::Rodata(off) => Some(Source::Rodata(add(off)?)),
            _ => None,
        }
    }

    /// The place in a map's value, with a constant offset, that an operation computes.
    fn sum(&self, op: &Op) -> Option<(Value, i32)> {
        let (base, offset) = self.plus_constant(op)?;
        let looked_up = matches!(self.defs[base], Some(Op::Call(helpers::MAP_LOOKUP_ELEM, _)));
        Some((base, imm32(offset)?)).filter(|_| looked_up)
    }

    /// Something computed and a constant, which an operation adds.
    fn plus_constant(&self, op: &Op) -> Option<(Value, i64)> {
        let (a, b, sub) = match op {
            Op::Bin(BinOp::Add, a, b) => (*a, *b, false),
            Op::Bin(BinOp::Sub, a, b) => (*a, *b, true),
            _ => return None,
        };
        match (self.sources[a], self.sources[b]) {
            (None, Some(Source::Const(c))) => Some((a, if sub { c.checked_neg()? } else { c })),
            (Some(Source::Const(c)), None) if !sub => Some((b, c)),
            _ => None,
        }
    }

    /// The operands of an address computation that loads and stores can do themselves.
    fn folded_address(&self, addr: Value, offset: i32) -> Option<(Value, i32)> {
        let (base, delta) = self.plus_constant(self.defs[addr]?)?;
        let total = i64::from(offset).checked_add(delta)?;
        // Block moves add to the offset again.
        (i64::from(i16::MIN)..=i64::from(i16::MAX) - 4096).contains(&total).then_some((base, total as i32))
    }

    /// The comparison that a branch on a boolean tests: condition, operands, and whether the sides are exchanged.
    fn fused(
        &self,
        cond: Cond,
        lhs: Value,
        rhs: Value,
        uses: &IndexVec<Value, u32>,
    ) -> Option<(Cond, Value, Value, bool)> {
        let exchanged = match (cond, self.sources[rhs]) {
            (Cond::Ne, Some(Source::Const(0))) => false,
            (Cond::Eq, Some(Source::Const(0))) => true,
            _ => return None,
        };
        match self.defs[lhs]? {
            Op::Cmp(c, a, b) if uses[lhs] == 1 => Some((*c, *a, *b, exchanged)),
            _ => None,
        }
    }

    fn count_uses(&self, order: &[Block]) -> IndexVec<Value, u32> {
        let mut uses: IndexVec<Value, u32> = vec![0; self.func.values.len()].into();
        for &block in order {
            let block = &self.func.blocks[block];
            for inst in &block.insts {
                inst.op.for_each_use(|v| uses[v] += 1);
            }
            if let Some(term) = &block.term {
                term.for_each_use(|v| uses[v] += 1);
            }
        }
        uses
    }

    /// Marks the values that must be computed: roots are effects and terminators; a pure operation counts only when its own
    /// result is needed. Blocks are visited backwards, then again while a loop makes more values needed.
    fn find_needed(&mut self, order: &[Block]) {
        let uses = self.count_uses(order);
        let mut work: Vec<Value> = Vec::new();
        for &block in order {
            let block = &self.func.blocks[block];
            for inst in &block.insts {
                if inst.result.is_none() || !inst.op.is_pure() {
                    self.operands_needed(&inst.op, &mut work);
                }
            }
            match &block.term {
                Some(Terminator::Branch { cond, lhs, rhs, .. }) => {
                    let (l, r) = self.fused(*cond, *lhs, *rhs, &uses).map_or((*lhs, *rhs), |f| (f.1, f.2));
                    work.push(l);
                    work.push(r);
                }
                Some(Terminator::Return(v)) => work.push(*v),
                _ => {}
            }
            if let Some(term) = &block.term {
                term.for_each_target(|t| work.extend(&t.args));
            }
        }
        while let Some(v) = work.pop() {
            if self.needed[v] {
                continue;
            }
            self.needed[v] = true;
            if self.sources[v].is_none()
                && let Some(op) = self.defs[v]
                && op.is_pure()
            {
                self.operands_needed(op, &mut work);
            }
        }
    }

    /// The values that the selected form of an operation reads.
    fn operands_needed(&self, op: &Op, work: &mut Vec<Value>) {
        let address = |v: Value, offset: i32, work: &mut Vec<Value>| {
            work.push(self.folded_address(v, offset).map_or(v, |f| f.0));
        };
        match op {
            // A call takes the address as it is.
            Op::Zero { addr, len, align, .. } if is_far(*len, *align) => work.push(*addr),
            Op::Load { addr, offset, .. } | Op::Zero { addr, offset, .. } => address(*addr, *offset, work),
            Op::Store { addr, offset, value, .. }
            | Op::AtomicAdd { addr, offset, value, .. }
            | Op::AtomicXchg { addr, offset, value, .. } => {
                address(*addr, *offset, work);
                work.push(*value);
            }
            Op::Copy { dst, src, len, align, .. } if is_far(*len, *align) => work.extend([*dst, *src]),
            Op::Copy { dst, dst_offset, src, src_offset, .. } => {
                address(*dst, *dst_offset, work);
                address(*src, *src_offset, work);
            }
            other => other.for_each_use(|v| work.push(v)),
        }
    }

    fn run(&mut self, order: &[Block]) -> Result<MFunction, Diagnostic> {
        let uses = self.count_uses(order);
        // Ids in the order of the code: a block, then the blocks on its edges.
        let mut ids: IndexVec<Block, Option<MBlock>> = vec![None; self.func.blocks.len()].into();
        let mut next = 0;
        for &block in order {
            ids[block] = Some(MBlock(next));
            next += 1;
            if let Some(Terminator::Branch { then, otherwise, .. }) = &self.func.blocks[block].term {
                next += u32::from(!then.args.is_empty()) + u32::from(!otherwise.args.is_empty());
            }
        }
        for &block in order {
            for &p in &self.func.blocks[block].params {
                self.regs[p] = Some(self.fresh());
            }
        }
        let mut blocks: IndexVec<MBlock, MBlockData> = IndexVec::new();
        for &block in order {
            let data = &self.func.blocks[block];
            let params = data.params.iter().map(|&p| self.reg(p)).collect::<Result<_, _>>()?;
            for inst in &data.insts {
                self.span = inst.span;
                self.inst(inst)?;
            }
            self.span = data.term_span;
            let term = data.term.as_ref().ok_or_else(|| self.bug("a block has no end"))?;
            let mut edges: Vec<MBlockData> = Vec::new();
            let term = match term {
                Terminator::Jump(t) => MTerm::Jump(self.target(&ids, t.block)?, self.args(&t.args)?),
                Terminator::Return(v) => MTerm::Return(self.source(*v)?),
                Terminator::Branch { cond, lhs, rhs, then, otherwise } => {
                    let mut sides = [None, None];
                    let compares_zero = self.sources[*rhs] == Some(Source::Const(0))
                        && self.sources[*lhs].is_none()
                        && self.regs[*lhs].is_some();
                    let zero_side = match cond {
                        Cond::Eq if compares_zero => Some(then),
                        Cond::Ne if compares_zero => Some(otherwise),
                        _ => None,
                    };
                    for (side, target) in sides.iter_mut().zip([then, otherwise]) {
                        *side = Some(if target.args.is_empty() {
                            self.target(&ids, target.block)?
                        } else {
                            let mut args = self.args(&target.args)?;
                            if zero_side.is_some_and(|z| std::ptr::eq(z, target)) {
                                // The compared register is zero here, and may well be the parameter's.
                                let zero = Source::Reg(self.reg(*lhs)?);
                                args.iter_mut().filter(|a| **a == Source::Const(0)).for_each(|a| *a = zero);
                            }
                            edges.push(MBlockData {
                                params: Vec::new(),
                                insts: Vec::new(),
                                term: MTerm::Jump(self.target(&ids, target.block)?, args),
                                term_span: data.term_span,
                            });
                            MBlock(blocks.len() as u32 + edges.len() as u32)
                        });
                    }
                    let [Some(mut then), Some(mut otherwise)] = sides else {
                        return Err(self.bug("a branch has no target"));
                    };
                    let (mut cond, mut lhs, mut rhs) = (*cond, *lhs, *rhs);
                    if let Some((c, l, r, exchanged)) = self.fused(cond, lhs, rhs, &uses) {
                        (cond, lhs, rhs) = (c, l, r);
                        if exchanged {
                            std::mem::swap(&mut then, &mut otherwise);
                        }
                    }
                    let (cond, lhs, rhs) = self.compare(cond, lhs, rhs)?;
                    MTerm::Branch { cond, wide: true, lhs, rhs, then, otherwise }
                }
            };
            blocks.push(MBlockData { params, insts: std::mem::take(&mut self.insts), term, term_span: data.term_span });
            for edge in edges {
                blocks.push(edge);
            }
        }
        Ok(MFunction { blocks, vregs: self.vregs })
    }

    /// The machine block that stands for a block.
    fn target(&self, ids: &IndexVec<Block, Option<MBlock>>, block: Block) -> Result<MBlock, Diagnostic> {
        ids.get(block).copied().flatten().ok_or_else(|| self.bug("a jump leads nowhere"))
    }

    fn bug(&self, what: &str) -> Diagnostic {
        Diagnostic::internal(format!("selection in `{}`: {what}", self.func.symbol), self.span)
    }

    fn fresh(&mut self) -> VReg {
        self.vregs += 1;
        VReg::new(self.vregs - 1)
    }

    fn emit(&mut self, op: MOp) {
        self.insts.push(MInst { op, span: self.span });
    }

    /// The register of a value that has one.
    fn reg(&self, v: Value) -> Result<VReg, Diagnostic> {
        self.regs.get(v).copied().flatten().ok_or_else(|| self.bug(&format!("{v} has no register")))
    }

    fn source(&mut self, v: Value) -> Result<Source, Diagnostic> {
        if let Some(source) = self.sources[v] {
            return Ok(source);
        }
        if let Some((base, offset)) = self.sums[v] {
            let base = self.reg(base)?;
            return Ok(Source::Reg(self.alu(AluOp::Add, base, Operand::Imm(offset))));
        }
        Ok(Source::Reg(self.reg(v)?))
    }

    fn args(&mut self, args: &[Value]) -> Result<Vec<Source>, Diagnostic> {
        args.iter().map(|&v| self.source(v)).collect()
    }

    /// The value in a register, made now if it is a constant or an address.
    fn in_reg(&mut self, v: Value) -> Result<VReg, Diagnostic> {
        match self.source(v)? {
            Source::Reg(r) => Ok(r),
            src => {
                let dst = self.fresh();
                self.emit(MOp::Mov { dst, src });
                Ok(dst)
            }
        }
    }

    fn operand(&mut self, v: Value) -> Result<Operand, Diagnostic> {
        if let Some(Source::Const(c)) = self.sources.get(v).copied().flatten()
            && let Some(imm) = imm32(c)
        {
            return Ok(Operand::Imm(imm));
        }
        Ok(Operand::Reg(self.in_reg(v)?))
    }

    fn compare(&mut self, cond: Cond, lhs: Value, rhs: Value) -> Result<(Cond, VReg, Operand), Diagnostic> {
        let (cond, lhs, rhs) = match (self.sources[lhs], self.sources[rhs]) {
            (Some(_), None) => (swapped(cond), rhs, lhs),
            _ => (cond, lhs, rhs),
        };
        let l = self.in_reg(lhs)?;
        let r = self.operand(rhs)?;
        Ok((cond, l, r))
    }

    /// Base and offset of an access of `span` bytes; the offset fits the instruction.
    fn address(&mut self, addr: Value, offset: i32, span: u32) -> Result<(Base, i32), Diagnostic> {
        let (addr, offset) = match self.sources[addr] {
            Some(Source::Frame(slot, off)) => {
                let off = off.checked_add(offset).ok_or_else(|| self.bug("an offset overflows"))?;
                return Ok((Base::Frame(slot), off));
            }
            Some(_) => (addr, offset),
            None => self.folded_address(addr, offset).unwrap_or((addr, offset)),
        };
        let base = self.in_reg(addr)?;
        let last = i64::from(offset) + i64::from(span);
        if i16::try_from(offset).is_ok() && last <= i64::from(i16::MAX) {
            return Ok((Base::Reg(base), offset));
        }
        let dst = self.fresh();
        self.emit(MOp::Alu { op: AluOp::Add, wide: true, dst, lhs: base, rhs: Operand::Imm(offset) });
        Ok((Base::Reg(dst), 0))
    }

    fn alu(&mut self, op: AluOp, lhs: VReg, rhs: Operand) -> VReg {
        let dst = self.fresh();
        self.emit(MOp::Alu { op, wide: true, dst, lhs, rhs });
        dst
    }

    fn inst(&mut self, inst: &'a ir::Inst) -> Result<(), Diagnostic> {
        let result = inst.result;
        if result.is_some_and(|v| {
            self.sources[v].is_some() || self.sums[v].is_some() || (inst.op.is_pure() && !self.needed[v])
        }) {
            return Ok(());
        }
        let dst = match result {
            Some(v) if self.needed[v] || !matches!(inst.op, Op::Call(..) | Op::CallSub(..) | Op::CallKfunc(..)) => {
                let r = self.fresh();
                self.regs[v] = Some(r);
                Some(r)
            }
            _ => None,
        };
        let need = |s: &Self| dst.ok_or_else(|| s.bug("an operation has no result"));
        match &inst.op {
            // Always remade at their uses.
            Op::Const(_) | Op::SlotAddr(_) | Op::Map(_) | Op::MapValue(..) | Op::Rodata(_) | Op::FuncAddr(_) => {}
            Op::Bin(op, a, b) => {
                let dst = need(self)?;
                self.bin(*op, dst, *a, *b)?;
            }
            Op::Ext(ext, v) => {
                let dst = need(self)?;
                let src = self.in_reg(*v)?;
                self.ext(*ext, dst, src);
            }
            Op::ByteSwap(bits, v) => {
                let dst = need(self)?;
                let src = self.in_reg(*v)?;
                self.emit(MOp::Swap { bits: *bits, dst, src });
            }
            Op::Cmp(cond, a, b) => {
                let dst = need(self)?;
                let (cond, lhs, rhs) = self.compare(*cond, *a, *b)?;
                self.emit(MOp::SetCc { cond, dst, lhs, rhs });
            }
            Op::Load { width, addr, offset } => {
                let dst = need(self)?;
                let (base, off) = self.address(*addr, *offset, width.bytes())?;
                self.emit(MOp::Load { width: *width, dst, base, off });
            }
            Op::Store { width, addr, offset, value } => {
                let (base, off) = self.address(*addr, *offset, width.bytes())?;
                let src = match self.sources[*value] {
                    Some(Source::Const(c)) if *width != Width::W8 => Operand::Imm(c as i32),
                    _ => self.operand(*value)?,
                };
                self.emit(MOp::Store { width: *width, base, off, src });
            }
            Op::AtomicAdd { width, addr, offset, value } => {
                let (base, off) = self.address(*addr, *offset, width.bytes())?;
                let value = self.in_reg(*value)?;
                self.emit(MOp::AtomicAdd { width: *width, base, off, value });
            }
            Op::AtomicXchg { width, addr, offset, value } => {
                let dst = need(self)?;
                let (base, off) = self.address(*addr, *offset, width.bytes())?;
                let value = self.in_reg(*value)?;
                self.emit(MOp::AtomicXchg { width: *width, base, off, dst, value });
            }
            Op::Zero { addr, offset, len, align } => self.zero(*addr, *offset, *len, *align)?,
            Op::Copy { dst, dst_offset, src, src_offset, len, align } => {
                self.copy((*dst, *dst_offset), (*src, *src_offset), *len, *align)?;
            }
            Op::Call(helper, args) => self.call(Callee::Helper(*helper), args, dst)?,
            Op::CallSub(func, args) => self.call(Callee::Sub(*func), args, dst)?,
            Op::CallKfunc(id, args) => self.call(Callee::Kfunc(*id), args, dst)?,
        }
        Ok(())
    }

    fn call(&mut self, callee: Callee, args: &[Value], dst: Option<VReg>) -> Result<(), Diagnostic> {
        if args.len() > 5 {
            return Err(self.bug("a call has more than five arguments"));
        }
        let args = self.args(args)?;
        self.emit(MOp::Call { callee, args, dst });
        Ok(())
    }

    fn ext(&mut self, ext: Ext, dst: VReg, src: VReg) {
        let mask = |imm| MOp::Alu { op: AluOp::And, wide: true, dst, lhs: src, rhs: Operand::Imm(imm) };
        let bits = match ext {
            Ext::Zext8 => return self.emit(mask(0xff)),
            Ext::Zext16 => return self.emit(mask(0xffff)),
            Ext::Zext32 => {
                return self.emit(MOp::Alu { op: AluOp::Mov, wide: false, dst, lhs: src, rhs: Operand::Imm(0) });
            }
            Ext::Sext8 => 56,
            Ext::Sext16 => 48,
            Ext::Sext32 => 32,
        };
        let high = self.alu(AluOp::Shl, src, Operand::Imm(bits));
        self.emit(MOp::Alu { op: AluOp::AShr, wide: true, dst, lhs: high, rhs: Operand::Imm(bits) });
    }

    fn bin(&mut self, op: BinOp, dst: VReg, a: Value, b: Value) -> Result<(), Diagnostic> {
        let alu = match op {
            BinOp::Add => AluOp::Add,
            BinOp::Sub => AluOp::Sub,
            BinOp::Mul => AluOp::Mul,
            BinOp::UDiv => AluOp::Div,
            BinOp::UMod => AluOp::Mod,
            BinOp::And => AluOp::And,
            BinOp::Or => AluOp::Or,
            BinOp::Xor => AluOp::Xor,
            BinOp::Shl => AluOp::Shl,
            BinOp::LShr => AluOp::LShr,
            BinOp::AShr => AluOp::AShr,
            BinOp::SDiv | BinOp::SMod => return self.signed_division(op == BinOp::SDiv, dst, a, b),
        };
        // A constant on the left of a commutative operation goes to the right.
        let (a, b) = match (self.sources[a], self.sources[b]) {
            (Some(Source::Const(c)), None) if alu.commutative() && imm32(c).is_some() => (b, a),
            _ => (a, b),
        };
        let lhs = self.in_reg(a)?;
        let mut rhs = self.operand(b)?;
        match (alu, rhs) {
            (AluOp::Shl | AluOp::LShr | AluOp::AShr, Operand::Imm(n)) => rhs = Operand::Imm(n & 63),
            // The verifier refuses a division by a constant zero.
            (AluOp::Div, Operand::Imm(0)) => {
                self.emit(MOp::Mov { dst, src: Source::Const(0) });
                return Ok(());
            }
            (AluOp::Mod, Operand::Imm(0)) => {
                self.emit(MOp::Mov { dst, src: Source::Reg(lhs) });
                return Ok(());
            }
            _ => {}
        }
        self.emit(MOp::Alu { op: alu, wide: true, dst, lhs, rhs });
        Ok(())
    }

    /// Signed division from unsigned: divide the magnitudes, give the quotient the sign of both, the remainder that of the
    /// dividend. (The instruction set has it only from Linux 6.6 on.)
    fn signed_division(&mut self, quotient: bool, dst: VReg, a: Value, b: Value) -> Result<(), Diagnostic> {
        let op = if quotient { AluOp::Div } else { AluOp::Mod };
        let divisor = match self.sources[b] {
            Some(Source::Const(c)) if c != 0 => i32::try_from(c).ok(),
            _ => None,
        };
        let a = self.in_reg(a)?;
        let (sign_a, abs_a) = self.magnitude(a);
        let (raw, sign) = match divisor {
            // The divisor's sign is known: it only decides whether the quotient's is flipped.
            Some(c) if c != i32::MIN => {
                let raw = self.alu(op, abs_a, Operand::Imm(c.abs()));
                let flip = quotient && c < 0;
                (raw, if flip { self.alu(AluOp::Xor, sign_a, Operand::Imm(-1)) } else { sign_a })
            }
            _ => {
                let b = self.in_reg(b)?;
                let (sign_b, abs_b) = self.magnitude(b);
                let raw = self.alu(op, abs_a, Operand::Reg(abs_b));
                (raw, if quotient { self.alu(AluOp::Xor, sign_a, Operand::Reg(sign_b)) } else { sign_a })
            }
        };
        let flipped = self.alu(AluOp::Xor, raw, Operand::Reg(sign));
        self.emit(MOp::Alu { op: AluOp::Sub, wide: true, dst, lhs: flipped, rhs: Operand::Reg(sign) });
        Ok(())
    }

    /// All ones for a negative number, else zero; and the absolute value.
    fn magnitude(&mut self, v: VReg) -> (VReg, VReg) {
        let sign = self.alu(AluOp::AShr, v, Operand::Imm(63));
        let flipped = self.alu(AluOp::Xor, v, Operand::Reg(sign));
        (sign, self.alu(AluOp::Sub, flipped, Operand::Reg(sign)))
    }

    fn zero(&mut self, addr: Value, offset: i32, len: u32, align: u32) -> Result<(), Diagnostic> {
        if is_far(len, align) {
            // A read that fails zeroes its destination, and one from address 0 fails without a fault.
            let dst = self.far_address(addr, offset)?;
            let args = vec![dst, Source::Const(i64::from(len)), Source::Const(0)];
            self.emit(MOp::Call { callee: Callee::Helper(helpers::PROBE_READ_KERNEL), args, dst: None });
            return Ok(());
        }
        let (base, off) = self.address(addr, offset, len)?;
        for (at, width) in pieces(len, align) {
            self.emit(MOp::Store { width, base, off: off + at as i32, src: Operand::Imm(0) });
        }
        Ok(())
    }

    fn copy(&mut self, dst: (Value, i32), src: (Value, i32), len: u32, align: u32) -> Result<(), Diagnostic> {
        if is_far(len, align) {
            let to = self.far_address(dst.0, dst.1)?;
            let from = self.far_address(src.0, src.1)?;
            let args = vec![to, Source::Const(i64::from(len)), from];
            self.emit(MOp::Call { callee: Callee::Helper(helpers::PROBE_READ_KERNEL), args, dst: None });
            return Ok(());
        }
        let (to, to_off) = self.address(dst.0, dst.1, len)?;
        let (from, from_off) = self.address(src.0, src.1, len)?;
        for (at, width) in pieces(len, align) {
            let tmp = self.fresh();
            self.emit(MOp::Load { width, dst: tmp, base: from, off: from_off + at as i32 });
            self.emit(MOp::Store { width, base: to, off: to_off + at as i32, src: Operand::Reg(tmp) });
        }
        Ok(())
    }

    /// `addr + offset` as an argument.
    fn far_address(&mut self, addr: Value, offset: i32) -> Result<Source, Diagnostic> {
        let source = self.source(addr)?;
        if offset == 0 {
            return Ok(source);
        }
        if let Source::Frame(slot, off) = source {
            return Ok(Source::Frame(slot, off.checked_add(offset).ok_or_else(|| self.bug("an offset overflows"))?));
        }
        let base = self.in_reg(addr)?;
        Ok(Source::Reg(self.alu(AluOp::Add, base, Operand::Imm(offset))))
    }
}

/// Whether so many bytes are moved by a call.
fn is_far(len: u32, align: u32) -> bool {
    pieces(len, align).len() > INLINE_MOVES
}

/// Cuts `len` bytes at an aligned address into accesses as wide as the alignment allows.
fn pieces(len: u32, align: u32) -> Vec<(u32, Width)> {
    let widest = match align {
        0 | 1 => 1,
        2 | 3 => 2,
        4..=7 => 4,
        _ => 8,
    };
    let mut out = Vec::new();
    let mut at = 0;
    let mut bytes = widest;
    while at < len && bytes > 0 {
        if len - at < bytes {
            bytes /= 2;
            continue;
        }
        if let Some(width) = Width::from_bytes(bytes) {
            out.push((at, width));
        }
        at += bytes;
    }
    out
}
