//! Folding: operations on constants are computed, operations that change nothing are replaced by their operand, and dear ones
//! by cheap ones.
//!
//! A mask or extension is dropped only when the kernel's verifier, too, knows that it changes nothing: what looks redundant
//! may be what bounds an index. The verifier knows nothing of quotients, remainders and swapped bytes. And a value that was
//! compared is used as it is, not recomputed from what it was made of: its bounds belong to its register.

use crate::index::{Id, IndexVec};
use crate::ir::rewrite::Rewrites;
use crate::ir::{BinOp, Cond, Ext, Function, Inst, Op, Terminator, Value, cfg, eval};

/// Runs the pass; returns whether anything changed.
pub fn fold(func: &mut Function) -> bool {
    let mut folder = Folder {
        rewrites: Rewrites::new(func),
        facts: vec![Fact::default(); func.values.len()].into(),
        compared: compared(func),
        changed: false,
    };
    for block in cfg::reverse_post_order(func) {
        let insts = std::mem::take(&mut func.blocks[block].insts);
        let mut out = Vec::with_capacity(insts.len());
        for inst in insts {
            folder.inst(func, inst, &mut out);
        }
        func.blocks[block].insts = out;
        if let Some(mut term) = func.blocks[block].term.take() {
            folder.term(&mut term);
            func.blocks[block].term = Some(term);
        }
    }
    folder.rewrites.apply(func);
    folder.changed || folder.rewrites.any()
}

/// What is known of a value.
#[derive(Clone, Debug)]
struct Fact {
    /// Its defining operation, operands replaced; calls are left out.
    op: Option<Op>,
    /// The value is less than 2^bits.
    bits: u32,
    /// The verifier knows that the value is less than 2^bits.
    verifier_bits: u32,
}

impl Default for Fact {
    fn default() -> Self {
        Self { op: None, bits: 64, verifier_bits: 64 }
    }
}

struct Folder {
    rewrites: Rewrites,
    facts: IndexVec<Value, Fact>,
    /// Values whose bounds the verifier may have learnt from a comparison: they are not looked through.
    compared: IndexVec<Value, bool>,
    changed: bool,
}

fn compared(func: &Function) -> IndexVec<Value, bool> {
    let mut compared: IndexVec<Value, bool> = vec![false; func.values.len()].into();
    for block in &func.blocks {
        for inst in &block.insts {
            if let Op::Cmp(_, a, b) = inst.op {
                compared[a] = true;
                compared[b] = true;
            }
        }
        if let Some(Terminator::Branch { lhs, rhs, .. }) = block.term {
            compared[lhs] = true;
            compared[rhs] = true;
        }
    }
    compared
}

/// What an operation turns into.
enum Folded {
    Same,
    Value(Value),
    Op(Op),
    /// An operation on a value and a new constant.
    WithConst(BinOp, Value, i64),
}

impl Folder {
    fn constant(&self, v: Value) -> Option<i64> {
        match self.facts.get(v)?.op {
            Some(Op::Const(c)) => Some(c),
            _ => None,
        }
    }
    fn def(&self, v: Value) -> Option<&Op> {
        self.facts.get(v)?.op.as_ref()
    }
    fn is_compared(&self, v: Value) -> bool {
        self.compared.get(v) == Some(&true)
    }
    fn bits(&self, v: Value) -> u32 {
        self.facts.get(v).map_or(64, |f| f.bits)
    }
    fn verifier_bits(&self, v: Value) -> u32 {
        self.facts.get(v).map_or(64, |f| f.verifier_bits)
    }

    fn inst(&mut self, func: &mut Function, mut inst: Inst, out: &mut Vec<Inst>) {
        inst.op.map_uses(|v| self.rewrites.find(v));
        if let Some(result) = inst.result {
            // A rewritten operation may be rewritten again; each step makes it simpler, the bound is for safety.
            for _ in 0..8 {
                match self.step(&inst.op) {
                    Folded::Same => break,
                    Folded::Value(v) => {
                        self.rewrites.replace(result, v);
                        return;
                    }
                    Folded::Op(op) => inst.op = op,
                    Folded::WithConst(op, a, c) => {
                        let constant = func.new_value();
                        self.record(constant, &Op::Const(c));
                        out.push(Inst { result: Some(constant), op: Op::Const(c), span: inst.span });
                        inst.op = Op::Bin(op, a, constant);
                    }
                }
                self.changed = true;
            }
            self.record(result, &inst.op);
        } else {
            self.narrow_store(&mut inst.op);
        }
        out.push(inst);
    }

    /// A store of few bits needs no extension of what it stores.
    fn narrow_store(&mut self, op: &mut Op) {
        if let Op::Store { width, value, .. } = op {
            let stored = width.bytes() * 8;
            while let Some(&Op::Ext(ext, inner)) = self.def(*value) {
                if ext_bits(ext) < stored {
                    break;
                }
                *value = inner;
                self.changed = true;
            }
        }
    }

    fn term(&mut self, term: &mut Terminator) {
        term.map_uses(|v| self.rewrites.find(v));
        if let Terminator::Branch { cond, lhs, rhs, .. } = term {
            // A branch on a comparison's result is a branch on the comparison.
            while let Some((c, a, b)) = self.comparison(*cond, *lhs, *rhs) {
                (*cond, *lhs, *rhs) = (c, a, b);
                self.changed = true;
            }
        }
    }

    fn comparison(&self, cond: Cond, lhs: Value, rhs: Value) -> Option<(Cond, Value, Value)> {
        let Some(&Op::Cmp(inner, a, b)) = self.def(lhs) else { return None };
        match (cond, self.constant(rhs)?) {
            (Cond::Ne, 0) | (Cond::Eq, 1) => Some((inner, a, b)),
            (Cond::Eq, 0) | (Cond::Ne, 1) => Some((inner.inverted()?, a, b)),
            _ => None,
        }
    }

    fn record(&mut self, v: Value, op: &Op) {
        while self.facts.len() <= v.index() {
            self.facts.push(Fact::default());
        }
        let (bits, verifier_bits) = (self.width_of(op, Self::bits), self.width_of(op, Self::verifier_bits));
        let opaque = matches!(op, Op::Bin(BinOp::UDiv | BinOp::UMod, ..) | Op::ByteSwap(..));
        let verifier_bits = if opaque { 64 } else { verifier_bits };
        // Nothing is folded into calls.
        let call = matches!(op, Op::Call(..) | Op::CallSub(..) | Op::CallKfunc(..));
        self.facts[v] = Fact { op: (!call).then(|| op.clone()), bits, verifier_bits };
    }

    fn width_of(&self, op: &Op, bits: impl Fn(&Self, Value) -> u32) -> u32 {
        let constant = |v: Value| self.constant(v);
        let of = |v: Value| bits(self, v);
        match op {
            Op::Const(c) => 64 - (*c as u64).leading_zeros(),
            Op::Load { width, .. } => width.bytes() * 8,
            Op::Cmp(..) => 1,
            Op::ByteSwap(n, _) => u32::from(*n),
            Op::Ext(Ext::Zext8, v) => of(*v).min(8),
            Op::Ext(Ext::Zext16, v) => of(*v).min(16),
            Op::Ext(Ext::Zext32, v) => of(*v).min(32),
            Op::Bin(op, a, b) => {
                let (x, y) = (of(*a), of(*b));
                match op {
                    BinOp::And => x.min(y),
                    BinOp::Or | BinOp::Xor => x.max(y),
                    BinOp::Add => (x.max(y) + 1).min(64),
                    BinOp::Mul => (x + y).min(64),
                    BinOp::UDiv => x,
                    BinOp::UMod => match constant(*b) {
                        Some(c) if c != 0 => x.min(64 - (c as u64 - 1).leading_zeros()),
                        _ => x,
                    },
                    BinOp::LShr => match constant(*b) {
                        Some(c) => x.saturating_sub((c & 63) as u32),
                        None => x,
                    },
                    BinOp::Shl => match constant(*b) {
                        Some(c) => (x + (c & 63) as u32).min(64),
                        None => 64,
                    },
                    _ => 64,
                }
            }
            _ => 64,
        }
    }

    fn step(&self, op: &Op) -> Folded {
        match op {
            Op::Bin(op, a, b) => self.bin(*op, *a, *b),
            Op::Ext(ext, v) => self.ext(*ext, *v),
            Op::ByteSwap(bits, v) => match self.constant(*v) {
                Some(c) => Folded::Op(Op::Const(eval::byte_swap(*bits, c as u64) as i64)),
                None => Folded::Same,
            },
            Op::Cmp(cond, a, b) => self.cmp(*cond, *a, *b),
            _ => Folded::Same,
        }
    }

    fn cmp(&self, cond: Cond, a: Value, b: Value) -> Folded {
        if let (Some(x), Some(y)) = (self.constant(a), self.constant(b)) {
            return Folded::Op(Op::Const(i64::from(eval::cond(cond, x as u64, y as u64))));
        }
        if a == b && cond != Cond::Test {
            return Folded::Op(Op::Const(i64::from(eval::cond(cond, 0, 0))));
        }
        if let Some((cond, a, b)) = self.comparison(cond, a, b) {
            return Folded::Op(Op::Cmp(cond, a, b));
        }
        Folded::Same
    }

    fn ext(&self, ext: Ext, v: Value) -> Folded {
        if let Some(c) = self.constant(v) {
            return Folded::Op(Op::Const(eval::ext(ext, c as u64) as i64));
        }
        let n = ext_bits(ext);
        let known = self.verifier_bits(v);
        if known <= n - u32::from(is_signed(ext)) {
            return Folded::Value(v);
        }
        match self.def(v) {
            // Only the low bits count.
            Some(&Op::Ext(inner, x)) if ext_bits(inner) >= n && !self.is_compared(v) => Folded::Op(Op::Ext(ext, x)),
            // Sign-extended from fewer bits: extending again changes nothing.
            Some(&Op::Ext(inner, _)) if is_signed(ext) && is_signed(inner) && ext_bits(inner) <= n => Folded::Value(v),
            _ => Folded::Same,
        }
    }

    fn bin(&self, op: BinOp, a: Value, b: Value) -> Folded {
        let (x, y) = (self.constant(a), self.constant(b));
        if let (Some(x), Some(y)) = (x, y) {
            return Folded::Op(Op::Const(eval::bin(op, x as u64, y as u64) as i64));
        }
        let zero = Folded::Op(Op::Const(0));
        if let Some(c) = y {
            return self.bin_const(op, a, b, c);
        }
        let commutes = matches!(op, BinOp::Add | BinOp::Mul | BinOp::And | BinOp::Or | BinOp::Xor);
        match x {
            Some(_) if commutes => return Folded::Op(Op::Bin(op, b, a)),
            Some(0) if matches!(op, BinOp::Shl | BinOp::LShr | BinOp::AShr | BinOp::UDiv | BinOp::SDiv) => return zero,
            _ => {}
        }
        if a == b {
            match op {
                BinOp::Sub | BinOp::Xor => return zero,
                BinOp::And | BinOp::Or => return Folded::Value(a),
                _ => {}
            }
        }
        self.unsigned(op, a, b)
    }

    /// Division of numbers that cannot be negative is unsigned.
    fn unsigned(&self, op: BinOp, a: Value, b: Value) -> Folded {
        let unsigned = match op {
            BinOp::SDiv => BinOp::UDiv,
            BinOp::SMod => BinOp::UMod,
            BinOp::AShr if self.bits(a) < 64 => return Folded::Op(Op::Bin(BinOp::LShr, a, b)),
            _ => return Folded::Same,
        };
        if self.bits(a) < 64 && self.bits(b) < 64 {
            return Folded::Op(Op::Bin(unsigned, a, b));
        }
        Folded::Same
    }

    fn bin_const(&self, op: BinOp, a: Value, b: Value, c: i64) -> Folded {
        let power = (c as u64).is_power_of_two().then(|| i64::from((c as u64).trailing_zeros()));
        match (op, c) {
            (BinOp::Mul | BinOp::And | BinOp::UDiv | BinOp::SDiv, 0) => return Folded::Op(Op::Const(0)),
            (_, 0) | (BinOp::Mul | BinOp::UDiv | BinOp::SDiv, 1) | (BinOp::And, -1) => return Folded::Value(a),
            (BinOp::UMod, 1) | (BinOp::SMod, 1 | -1) => {
                return Folded::Op(Op::Const(0));
            }
            (BinOp::Or, -1) => return Folded::Value(b),
            (BinOp::Sub, c) if c != i64::MIN => return Folded::WithConst(BinOp::Add, a, -c),
            (BinOp::And, 0xff) => return Folded::Op(Op::Ext(Ext::Zext8, a)),
            (BinOp::And, 0xffff) => return Folded::Op(Op::Ext(Ext::Zext16, a)),
            (BinOp::And, 0xffff_ffff) => return Folded::Op(Op::Ext(Ext::Zext32, a)),
            (BinOp::And, c) => {
                let known = self.verifier_bits(a);
                let all = if known >= 64 { u64::MAX } else { (1 << known) - 1 };
                if c as u64 & all == all {
                    return Folded::Value(a);
                }
            }
            _ => {}
        }
        match (op, power) {
            (BinOp::Mul, Some(n)) => return Folded::WithConst(BinOp::Shl, a, n),
            (BinOp::UDiv, Some(n)) => return Folded::WithConst(BinOp::LShr, a, n),
            (BinOp::UMod, Some(_)) => return Folded::WithConst(BinOp::And, a, c.wrapping_sub(1)),
            _ => {}
        }
        // (x op c1) op c2
        if let Some(&Op::Bin(inner, x, inner_b)) = self.def(a)
            && let Some(c1) = self.constant(inner_b)
            && inner == op
            && !self.is_compared(a)
        {
            let shifts = |c: i64, c1: i64| (c & 63) + (c1 & 63);
            match op {
                BinOp::Add => return Folded::WithConst(op, x, c.wrapping_add(c1)),
                BinOp::And => return Folded::WithConst(op, x, c & c1),
                BinOp::Or => return Folded::WithConst(op, x, c | c1),
                BinOp::Xor => return Folded::WithConst(op, x, c ^ c1),
                BinOp::Mul => return Folded::WithConst(op, x, c.wrapping_mul(c1)),
                BinOp::Shl | BinOp::LShr if shifts(c, c1) < 64 => return Folded::WithConst(op, x, shifts(c, c1)),
                _ => {}
            }
        }
        self.unsigned(op, a, b)
    }
}

/// Bits that an extension keeps.
const fn ext_bits(ext: Ext) -> u32 {
    match ext {
        Ext::Zext8 | Ext::Sext8 => 8,
        Ext::Zext16 | Ext::Sext16 => 16,
        Ext::Zext32 | Ext::Sext32 => 32,
    }
}

const fn is_signed(ext: Ext) -> bool {
    matches!(ext, Ext::Sext8 | Ext::Sext16 | Ext::Sext32)
}
