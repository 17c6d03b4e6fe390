//! Small changes to functions that several passes need.

use tapline_grammar::span::Span;

use crate::index::IndexVec;

use super::{Block, BlockData, Function, Inst, Op, Slot, SlotData, Target, Terminator, Value, ValueData};

impl Function {
    /// The function without its code: what its callers need to know.
    #[must_use]
    pub fn declaration(&self) -> Self {
        let entry = BlockData {
            params: self.blocks.iter().next().map(|b| b.params.clone()).unwrap_or_default(),
            ..BlockData::default()
        };
        Self {
            symbol: self.symbol.clone(),
            kind: self.kind.clone(),
            blocks: vec![entry].into(),
            values: IndexVec::new(),
            slots: IndexVec::new(),
            span: self.span,
            missed_counter: self.missed_counter,
        }
    }

    /// A new value without a definition yet.
    pub fn new_value(&mut self) -> Value {
        self.values.push(ValueData::default())
    }

    /// A new block without an end.
    pub fn new_block(&mut self) -> Block {
        self.blocks.push(BlockData::default())
    }

    /// New local memory at constant offsets.
    pub fn new_slot(&mut self, size: u32, align: u32) -> Slot {
        self.slots.push(SlotData { size, align, indexed: false, pinned: false })
    }

    /// Appends an operation with a result.
    pub fn append(&mut self, block: Block, op: Op, span: Span) -> Value {
        let result = self.new_value();
        self.blocks[block].insts.push(Inst { result: Some(result), op, span });
        result
    }

    /// Appends an operation without a result.
    pub fn append_effect(&mut self, block: Block, op: Op, span: Span) {
        self.blocks[block].insts.push(Inst { result: None, op, span });
    }

    /// Ends a block.
    pub fn end(&mut self, block: Block, term: Terminator, span: Span) {
        self.blocks[block].term = Some(term);
        self.blocks[block].term_span = span;
    }

    /// Moves the instructions from `at` on, and the end, to a new block. The old one is left without an end.
    pub fn split(&mut self, block: Block, at: usize) -> Block {
        let data = &mut self.blocks[block];
        let insts = data.insts.split_off(at.min(data.insts.len()));
        let rest = BlockData { params: Vec::new(), insts, term: data.term.take(), term_span: data.term_span };
        self.blocks.push(rest)
    }
}

impl Target {
    /// A block without parameters.
    pub const fn plain(block: Block) -> Self {
        Self { block, args: Vec::new() }
    }
}
