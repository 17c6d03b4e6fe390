//! Builds functions in SSA form while they are being lowered, after Braun et al., "Simple and Efficient Construction of Static
//! Single Assignment Form" (2013): mutable variables become block parameters where control flow joins.
//!
//! A block is sealed when all its predecessors are known; reading a variable in an unsealed block makes a parameter that is
//! completed on sealing. The pass `settle` removes the parameters that turned out to have one value.

use tapline_grammar::span::Span;

use super::{
    BinOp, Block, BlockData, Cond, Ext, FuncId, Function, FunctionKind, Helper, Inst, Op, Slot, SlotData, Target,
    Terminator, Value, ValueData, Width,
};
use crate::define_id;
use crate::index::{IndexVec, Table};
use crate::program::MapId;

define_id!(
    /// A mutable variable of the function being built.
    Variable,
    "x"
);

/// Blocks of a small function: there is room for them at once.
const FEW_BLOCKS: usize = 32;

/// Makes one function.
pub struct FunctionBuilder {
    func: Function,
    current: Block,
    span: Span,
    preds: IndexVec<Block, Vec<Block>>,
    sealed: IndexVec<Block, bool>,
    defs: Table<(Block, Variable), Value>,
    incomplete: Table<Block, Vec<(Variable, Value)>>,
    slot_addrs: Table<Value, Slot>,
    next_variable: u32,
}

impl FunctionBuilder {
    /// A function whose entry block is current and has `params` parameters, which are returned too.
    pub fn new(symbol: String, kind: FunctionKind, params: usize, span: Span) -> (Self, Vec<Value>) {
        let func = Function {
            symbol,
            kind,
            blocks: Vec::with_capacity(FEW_BLOCKS).into(),
            values: IndexVec::new(),
            slots: IndexVec::new(),
            span,
            missed_counter: None,
        };
        let mut this = Self {
            func,
            current: Block(0),
            span,
            preds: IndexVec::new(),
            sealed: IndexVec::new(),
            defs: Table::default(),
            incomplete: Table::default(),
            slot_addrs: Table::default(),
            next_variable: 0,
        };
        let entry = this.block();
        this.seal(entry);
        let values: Vec<Value> = (0..params).map(|_| this.value()).collect();
        this.func.blocks[entry].params.clone_from(&values);
        (this, values)
    }

    /// The span of the instructions to come; returns the one before.
    pub fn set_span(&mut self, span: Span) -> Span {
        std::mem::replace(&mut self.span, span)
    }

    /// The span of the instructions to come.
    pub fn span(&self) -> Span {
        self.span
    }

    /// A new, unsealed block without predecessors.
    pub fn block(&mut self) -> Block {
        self.preds.push(Vec::new());
        self.sealed.push(false);
        self.func.blocks.push(BlockData::default())
    }

    /// Goes on at the end of `block`.
    pub fn switch_to(&mut self, block: Block) {
        self.current = block;
    }

    /// Seals a block and goes on there: for the usual case that no further jump to it follows.
    pub fn enter(&mut self, block: Block) {
        self.seal(block);
        self.switch_to(block);
    }

    /// The block being filled.
    pub fn current(&self) -> Block {
        self.current
    }

    /// True when the current block has its terminator: what follows is unreachable.
    pub fn is_terminated(&self) -> bool {
        self.func.blocks[self.current].term.is_some()
    }

    fn value(&mut self) -> Value {
        self.func.values.push(ValueData::default())
    }

    // ---- variables ----

    /// A new variable, without a value yet.
    pub fn variable(&mut self) -> Variable {
        let v = Variable(self.next_variable);
        self.next_variable += 1;
        v
    }

    /// Assigns in the current block.
    pub fn set(&mut self, var: Variable, value: Value) {
        self.defs.insert((self.current, var), value);
    }

    /// The variable's value at the end of the current block; zero where it was never assigned.
    pub fn get(&mut self, var: Variable) -> Value {
        self.read(self.current, var)
    }

    fn read(&mut self, block: Block, var: Variable) -> Value {
        // Walks up chains of single predecessors without recursion: a script can be thousands of blocks long.
        let mut chain = Vec::new();
        let mut at = block;
        let found = loop {
            if let Some(&v) = self.defs.get(&(at, var)) {
                break v;
            }
            if !self.sealed[at] {
                let param = self.append_param(at);
                self.incomplete.entry(at).or_default().push((var, param));
                self.defs.insert((at, var), param);
                break param;
            }
            match self.preds[at].as_slice() {
                [] => {
                    let zero = self.zero_at_entry(at);
                    self.defs.insert((at, var), zero);
                    break zero;
                }
                [one] => {
                    chain.push(at);
                    at = *one;
                }
                _ => {
                    let param = self.append_param(at);
                    self.defs.insert((at, var), param);
                    self.fill_param(at, var);
                    break param;
                }
            }
        };
        for b in chain {
            self.defs.insert((b, var), found);
        }
        found
    }

    fn zero_at_entry(&mut self, block: Block) -> Value {
        let v = self.value();
        let span = self.span;
        self.func.blocks[block].insts.insert(0, Inst { result: Some(v), op: Op::Const(0), span });
        v
    }

    fn append_param(&mut self, block: Block) -> Value {
        let v = self.value();
        self.func.blocks[block].params.push(v);
        v
    }

    /// Appends the argument for a parameter just made to every jump that leads to `block`.
    fn fill_param(&mut self, block: Block, var: Variable) {
        let mut preds = self.preds[block].clone();
        preds.sort_unstable();
        preds.dedup();
        for pred in preds {
            let arg = self.read(pred, var);
            let edit = |t: &mut Target| {
                if t.block == block {
                    t.args.push(arg);
                }
            };
            match &mut self.func.blocks[pred].term {
                Some(Terminator::Jump(t)) => edit(t),
                Some(Terminator::Branch { then, otherwise, .. }) => {
                    edit(then);
                    edit(otherwise);
                }
                Some(Terminator::Return(_)) | None => {}
            }
        }
    }

    /// Declares that all jumps to `block` exist.
    pub fn seal(&mut self, block: Block) {
        if std::mem::replace(&mut self.sealed[block], true) {
            return;
        }
        for (var, _) in self.incomplete.remove(&block).unwrap_or_default() {
            // Parameters were appended in this order, so the arguments go to the right places.
            self.fill_param(block, var);
        }
    }

    // ---- instructions ----

    fn push(&mut self, op: Op) {
        let span = self.span;
        self.func.blocks[self.current].insts.push(Inst { result: None, op, span });
    }

    fn push_value(&mut self, op: Op) -> Value {
        let v = self.value();
        let span = self.span;
        self.func.blocks[self.current].insts.push(Inst { result: Some(v), op, span });
        v
    }

    /// A constant.
    pub fn iconst(&mut self, value: i64) -> Value {
        self.push_value(Op::Const(value))
    }
    /// Arithmetic.
    pub fn bin(&mut self, op: BinOp, a: Value, b: Value) -> Value {
        self.push_value(Op::Bin(op, a, b))
    }
    /// Arithmetic with a constant.
    pub fn bin_imm(&mut self, op: BinOp, a: Value, b: i64) -> Value {
        let b = self.iconst(b);
        self.bin(op, a, b)
    }
    /// Extension.
    pub fn ext(&mut self, ext: Ext, a: Value) -> Value {
        self.push_value(Op::Ext(ext, a))
    }
    /// Reverses the low `bits` bits' bytes.
    pub fn byte_swap(&mut self, bits: u8, a: Value) -> Value {
        self.push_value(Op::ByteSwap(bits, a))
    }
    /// Comparison to 0 or 1.
    pub fn cmp(&mut self, cond: Cond, a: Value, b: Value) -> Value {
        self.push_value(Op::Cmp(cond, a, b))
    }
    /// Zero-extending load.
    pub fn load(&mut self, width: Width, addr: Value, offset: i32) -> Value {
        self.push_value(Op::Load { width, addr, offset })
    }
    /// Store of the low bytes.
    pub fn store(&mut self, width: Width, addr: Value, offset: i32, value: Value) {
        self.push(Op::Store { width, addr, offset, value });
    }
    /// Atomic addition.
    pub fn atomic_add(&mut self, width: Width, addr: Value, offset: i32, value: Value) {
        self.push(Op::AtomicAdd { width, addr, offset, value });
    }
    /// Zeroes memory.
    pub fn zero(&mut self, addr: Value, offset: i32, len: u32, align: u32) {
        if len > 0 {
            self.push(Op::Zero { addr, offset, len, align });
        }
    }
    /// Copies BPF memory.
    pub fn copy(&mut self, dst: (Value, i32), src: (Value, i32), len: u32, align: u32) {
        if len > 0 {
            self.push(Op::Copy { dst: dst.0, dst_offset: dst.1, src: src.0, src_offset: src.1, len, align });
        }
    }
    /// Local memory.
    pub fn slot(&mut self, size: u32, align: u32, indexed: bool) -> Slot {
        let align = align.max(1);
        let size = size.max(1).next_multiple_of(align);
        self.func.slots.push(SlotData { size, align, indexed, pinned: false })
    }
    /// Makes local memory larger.
    pub fn grow_slot(&mut self, slot: Slot, size: u32) {
        if let Some(data) = self.func.slots.get_mut(slot) {
            data.size = data.size.max(size.next_multiple_of(data.align.max(1)));
        }
    }
    /// Local memory that must lie on the stack.
    pub fn pinned_slot(&mut self, size: u32) -> Slot {
        self.func.slots.push(SlotData { size: size.next_multiple_of(8), align: 8, indexed: false, pinned: true })
    }
    /// Address of local memory.
    pub fn slot_addr(&mut self, slot: Slot) -> Value {
        let addr = self.push_value(Op::SlotAddr(slot));
        self.slot_addrs.insert(addr, slot);
        addr
    }
    /// Declares that memory will be accessed at offsets that are not constant, if `addr` is the address of a slot.
    pub fn mark_indexed(&mut self, addr: Value) {
        let slot = self.slot_addrs.get(&addr).copied();
        if let Some(data) = slot.and_then(|s| self.func.slots.get_mut(s)) {
            data.indexed = true;
        }
    }
    /// Map handle.
    pub fn map(&mut self, map: MapId) -> Value {
        self.push_value(Op::Map(map))
    }
    /// Address in an array of one.
    pub fn map_value(&mut self, map: MapId, offset: u32) -> Value {
        self.push_value(Op::MapValue(map, offset))
    }
    /// Address of read-only data.
    pub fn rodata(&mut self, offset: u32) -> Value {
        self.push_value(Op::Rodata(offset))
    }
    /// Helper call.
    pub fn call(&mut self, helper: Helper, args: &[Value]) -> Value {
        self.push_value(Op::Call(helper, args.to_vec()))
    }
    /// Call of a function of the module.
    pub fn call_sub(&mut self, func: FuncId, args: &[Value]) -> Value {
        self.push_value(Op::CallSub(func, args.to_vec()))
    }
    /// Call of a function of the kernel.
    pub fn call_kfunc(&mut self, id: u32, args: &[Value]) -> Value {
        self.push_value(Op::CallKfunc(id, args.to_vec()))
    }
    /// Address of a callback.
    pub fn func_addr(&mut self, func: FuncId) -> Value {
        self.push_value(Op::FuncAddr(func))
    }

    // ---- ends of blocks ----

    fn terminate(&mut self, term: Terminator) {
        let current = self.current;
        if self.func.blocks[current].term.is_some() {
            return;
        }
        match &term {
            Terminator::Jump(t) => self.preds[t.block].push(current),
            Terminator::Branch { then, otherwise, .. } => {
                self.preds[then.block].push(current);
                self.preds[otherwise.block].push(current);
            }
            Terminator::Return(_) => {}
        }
        let span = self.span;
        let data = &mut self.func.blocks[current];
        data.term = Some(term);
        data.term_span = span;
    }

    /// Goes on at `block`.
    pub fn jump(&mut self, block: Block) {
        self.terminate(Terminator::Jump(Target { block, args: Vec::new() }));
    }

    /// Goes on at one of two blocks.
    pub fn branch(&mut self, cond: Cond, lhs: Value, rhs: Value, then: Block, otherwise: Block) {
        if then == otherwise {
            return self.jump(then);
        }
        let target = |block| Target { block, args: Vec::new() };
        self.terminate(Terminator::Branch { cond, lhs, rhs, then: target(then), otherwise: target(otherwise) });
    }

    /// Branch on a comparison with a constant.
    pub fn branch_imm(&mut self, cond: Cond, lhs: Value, rhs: i64, then: Block, otherwise: Block) {
        let rhs = self.iconst(rhs);
        self.branch(cond, lhs, rhs, then, otherwise);
    }

    /// Ends the function.
    pub fn ret(&mut self, value: Value) {
        self.terminate(Terminator::Return(value));
    }

    /// The function. It may have blocks that nothing reaches and parameters with one value, see [`super::passes::settle`].
    pub fn finish(mut self) -> Function {
        for block in self.func.blocks.ids() {
            self.seal(block);
        }
        let ids: Vec<Block> = self.func.blocks.ids().collect();
        for block in ids {
            if self.func.blocks[block].term.is_none() {
                self.switch_to(block);
                let zero = self.iconst(0);
                self.ret(zero);
            }
        }
        self.func
    }
}
