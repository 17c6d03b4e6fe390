//! Random programs for tests: well-formed, terminating, acceptable to the kernel's verifier, and with results that show what
//! they computed. The same seed gives the same program.
//!
//! A program reads words of its context, computes over variables through branches and bounded loops, keeps some in a
//! slot, in the array `m0` and the hash map `m1`, and at the end stores every variable in `m0`.

use tapline_grammar::span::Span;

use super::builder::{FunctionBuilder, Variable};
use super::{BinOp, Cond, Ext, FunctionKind, MapDef, MapKind, Module, Value, Width, helpers};
use crate::program::MapId;

/// Words of the context that programs read.
pub const CONTEXT_WORDS: usize = 12;
/// Bytes of the value of `m0`.
pub const OUTPUT_BYTES: u32 = 256;
const VARIABLES: usize = 12;
const SLOT_BYTES: u32 = 64;

/// A small generator of random numbers (splitmix64): good enough to vary tests, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// A number below a bound.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.word() % bound.max(1) as u64) as usize
    }
    /// An element.
    pub fn pick<T: Copy>(&mut self, items: &[T], default: T) -> T {
        items.get(self.below(items.len())).copied().unwrap_or(default)
    }
    /// A number that tends to the edges of the types.
    pub fn number(&mut self) -> i64 {
        let edges = [0, 1, 2, -1, -2, 7, 8, 63, 64, 255, 256, 0x7fff, 0x8000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
        match self.below(4) {
            0 => self.pick(&edges, 0),
            1 => self.pick(&[i64::MIN, i64::MAX, i64::from(i32::MIN), 1 << 32, -(1 << 33)], 0),
            2 => (self.word() % 100) as i64,
            _ => self.word() as i64,
        }
    }
}

const BIN: &[BinOp] = &[
    BinOp::Add,
    BinOp::Sub,
    BinOp::Mul,
    BinOp::UDiv,
    BinOp::SDiv,
    BinOp::UMod,
    BinOp::SMod,
    BinOp::And,
    BinOp::Or,
    BinOp::Xor,
    BinOp::Shl,
    BinOp::LShr,
    BinOp::AShr,
];
const EXT: &[Ext] = &[Ext::Zext8, Ext::Zext16, Ext::Zext32, Ext::Sext8, Ext::Sext16, Ext::Sext32];
const COND: &[Cond] = &[
    Cond::Eq,
    Cond::Ne,
    Cond::ULt,
    Cond::ULe,
    Cond::UGt,
    Cond::UGe,
    Cond::SLt,
    Cond::SLe,
    Cond::SGt,
    Cond::SGe,
    Cond::Test,
];
const WIDTH: &[Width] = &[Width::W1, Width::W2, Width::W4, Width::W8];

struct Generator {
    random: Random,
    b: FunctionBuilder,
    vars: Vec<Variable>,
    slot: Value,
    context: Value,
    statements: u32,
}

/// A module with one `raw_tp` program, the output map `m0` and the hash map `m1`.
pub fn module(seed: u64) -> Module {
    let mut module = Module { license: "GPL".into(), ..Module::default() };
    module.maps.push(MapDef {
        symbol: "out".into(),
        kind: MapKind::Array,
        key_size: 4,
        value_size: OUTPUT_BYTES,
        max_entries: 1,
        flags: 0,
    });
    module.maps.push(MapDef {
        symbol: "hash".into(),
        kind: MapKind::Hash,
        key_size: 8,
        value_size: 8,
        max_entries: 16,
        flags: 0,
    });
    let mut random = Random(seed);
    let kind = FunctionKind::Program { section: "raw_tp".into(), reentrant: random.below(4) == 0 };
    let (mut b, params) = FunctionBuilder::new("p0".into(), kind, 1, Span::default());
    let slot = b.slot(SLOT_BYTES, 8, random.below(4) == 0);
    let slot = b.slot_addr(slot);
    let vars = (0..VARIABLES).map(|_| b.variable()).collect();
    let context = params.first().copied().unwrap_or(Value(0));
    let statements = 4 + random.below(24) as u32;
    let mut g = Generator { random, b, vars, slot, context, statements };
    g.program();
    module.functions.push(g.b.finish());
    module
}

impl Generator {
    fn program(&mut self) {
        self.b.zero(self.slot, 0, SLOT_BYTES, 8);
        for i in 0..VARIABLES {
            let value = if self.random.below(3) == 0 {
                let n = self.random.number();
                self.b.iconst(n)
            } else {
                let word = self.random.below(CONTEXT_WORDS) as i32;
                self.b.load(Width::W8, self.context, word * 8)
            };
            self.set(i, value);
        }
        while self.statements > 0 {
            self.statement(0);
        }
        for i in 0..VARIABLES {
            let value = self.get(i);
            let addr = self.b.map_value(MapId(0), i as u32 * 8);
            self.b.store(Width::W8, addr, 0, value);
        }
        let out = self.b.map_value(MapId(0), 128);
        self.b.copy((out, 0), (self.slot, 0), SLOT_BYTES, 8);
        let result = self.any();
        let result = self.b.ext(Ext::Zext16, result);
        self.b.ret(result);
    }

    fn get(&mut self, i: usize) -> Value {
        match self.vars.get(i).copied() {
            Some(v) => self.b.get(v),
            None => self.b.iconst(0),
        }
    }
    fn set(&mut self, i: usize, value: Value) {
        if let Some(&v) = self.vars.get(i) {
            self.b.set(v, value);
        }
    }
    fn any(&mut self) -> Value {
        let i = self.random.below(VARIABLES);
        self.get(i)
    }
    fn operand(&mut self) -> Value {
        if self.random.below(3) == 0 {
            let n = self.random.number();
            self.b.iconst(n)
        } else {
            self.any()
        }
    }

    fn expression(&mut self, depth: u32) -> Value {
        if depth > 2 {
            return self.operand();
        }
        match self.random.below(12) {
            0..=5 => {
                let op = self.random.pick(BIN, BinOp::Add);
                let (a, b) = (self.expression(depth + 1), self.expression(depth + 1));
                self.b.bin(op, a, b)
            }
            6 => {
                let ext = self.random.pick(EXT, Ext::Zext8);
                let a = self.expression(depth + 1);
                self.b.ext(ext, a)
            }
            7 => {
                let a = self.expression(depth + 1);
                let bits = self.random.pick(&[16, 32, 64], 16);
                self.b.byte_swap(bits, a)
            }
            8 => {
                let cond = self.random.pick(COND, Cond::Eq);
                let (a, b) = (self.expression(depth + 1), self.operand());
                self.b.cmp(cond, a, b)
            }
            9 => {
                let (width, offset) = self.place();
                self.b.load(width, self.slot, offset)
            }
            _ => self.operand(),
        }
    }

    /// An aligned place in the slot.
    fn place(&mut self) -> (Width, i32) {
        let width = self.random.pick(WIDTH, Width::W8);
        let n = self.random.below((SLOT_BYTES / width.bytes()) as usize);
        (width, n as i32 * width.bytes() as i32)
    }

    fn statement(&mut self, depth: u32) {
        self.statements = self.statements.saturating_sub(1);
        match self.random.below(if depth < 3 { 15 } else { 11 }) {
            0..=4 => {
                let value = self.expression(0);
                let i = self.random.below(VARIABLES);
                self.set(i, value);
            }
            5 => {
                let (width, offset) = self.place();
                let value = self.expression(1);
                self.b.store(width, self.slot, offset, value);
            }
            6 => {
                let n = self.random.below(8) as i32 * 8;
                let addr = self.b.map_value(MapId(0), 192);
                let value = self.any();
                self.b.atomic_add(Width::W8, addr, n, value);
            }
            7 => {
                let half = SLOT_BYTES as i32 / 2;
                if self.random.below(2) == 0 {
                    self.b.copy((self.slot, half), (self.slot, 0), 24, 8);
                } else {
                    self.b.zero(self.slot, 8, 12, 4);
                }
            }
            8..=10 => self.map(),
            11..=13 => self.conditional(depth),
            _ => self.bounded_loop(depth),
        }
    }

    /// The address of a new slot with a scalar in it.
    fn in_slot(&mut self, value: Value) -> Value {
        let slot = self.b.slot(8, 8, false);
        let addr = self.b.slot_addr(slot);
        if self.random.below(3) == 0 {
            self.b.zero(addr, 0, 8, 8);
        }
        self.b.store(Width::W8, addr, 0, value);
        addr
    }

    /// One to three operations on one entry of the hash map.
    fn map(&mut self) {
        let key = self.any();
        let key = self.b.bin_imm(BinOp::And, key, 7);
        for _ in 0..=self.random.below(3) {
            let addr = self.in_slot(key);
            let map = self.b.map(MapId(1));
            match self.random.below(4) {
                0 => {
                    let value = self.any();
                    let value = self.in_slot(value);
                    let flags = self.random.below(3) as i64;
                    let flags = self.b.iconst(flags);
                    let result = self.b.call(helpers::MAP_UPDATE_ELEM, &[map, addr, value, flags]);
                    let i = self.random.below(VARIABLES);
                    self.set(i, result);
                }
                1 => {
                    let result = self.b.call(helpers::MAP_DELETE_ELEM, &[map, addr]);
                    let i = self.random.below(VARIABLES);
                    self.set(i, result);
                }
                _ => self.look_up(map, addr),
            }
        }
    }

    fn look_up(&mut self, map: Value, key: Value) {
        let (found, join) = (self.b.block(), self.b.block());
        let entry = self.b.call(helpers::MAP_LOOKUP_ELEM, &[map, key]);
        self.b.branch_imm(Cond::Ne, entry, 0, found, join);
        self.b.enter(found);
        if self.random.below(2) == 0 {
            let value = self.b.load(Width::W8, entry, 0);
            let i = self.random.below(VARIABLES);
            self.set(i, value);
        } else {
            let value = self.any();
            self.b.atomic_add(Width::W8, entry, 0, value);
        }
        self.b.jump(join);
        self.b.enter(join);
    }

    fn block(&mut self, depth: u32) {
        for _ in 0..=self.random.below(3) {
            self.statement(depth + 1);
        }
    }

    fn conditional(&mut self, depth: u32) {
        let (then, otherwise, join) = (self.b.block(), self.b.block(), self.b.block());
        let (lhs, rhs) = (self.expression(2), self.operand());
        let cond = self.random.pick(COND, Cond::Eq);
        self.b.branch(cond, lhs, rhs, then, otherwise);
        self.b.enter(then);
        self.block(depth);
        self.b.jump(join);
        self.b.enter(otherwise);
        if self.random.below(2) == 0 {
            self.block(depth);
        }
        self.b.jump(join);
        self.b.enter(join);
    }

    fn bounded_loop(&mut self, depth: u32) {
        let (head, body, done) = (self.b.block(), self.b.block(), self.b.block());
        let counter = self.b.variable();
        let zero = self.b.iconst(0);
        self.b.set(counter, zero);
        self.b.jump(head);
        self.b.switch_to(head);
        let i = self.b.get(counter);
        let rounds = 1 + self.random.below(3) as i64;
        self.b.branch_imm(Cond::ULt, i, rounds, body, done);
        self.b.enter(body);
        self.block(depth);
        let i = self.b.get(counter);
        let next = self.b.bin_imm(BinOp::Add, i, 1);
        self.b.set(counter, next);
        self.b.jump(head);
        self.b.seal(head);
        self.b.enter(done);
    }
}
