//! User stacks without frame pointers: a callback of `bpf_loop` takes one step per turn by the tables of `crate::unwind`.
//!
//! The verifier walks the callback with unknown registers, so what bounds it are the number of turns, the steps of each
//! binary search, and the index of the turn, which is the frame that is written.

use super::FnLower;
use crate::ir::builder::{FunctionBuilder, Variable};
use crate::ir::{BinOp as Ir, Block, CallbackKind, Cond, Ext, FuncId, FunctionKind, MapKind, Value, Width, helpers};
use crate::program::{MapId, MapRole};
use crate::unwind::{mapping, process, row, rule};

/// The maps and the function that a script with such stacks has once.
#[derive(Clone, Copy)]
pub(super) struct Unwinder {
    processes: MapId,
    step: FuncId,
}

/// The state that travels from turn to turn.
mod frame {
    /// Address of the array of frames.
    pub const FRAMES: i32 = 0;
    /// Frames written.
    pub const COUNT: i32 = 8;
    /// Instruction pointer, stack pointer, frame pointer.
    pub const IP: i32 = 16;
    pub const SP: i32 = 24;
    pub const BP: i32 = 32;
    /// 1 when the instruction pointer is that of the next instruction of the frame, 0 when it follows a call.
    pub const EXACT: i32 = 40;
    /// The process's part of the table of mappings.
    pub const FIRST: i32 = 48;
    pub const MAPPINGS: i32 = 56;
    pub const SIZE: u32 = 64;
}

/// Of `struct pt_regs` on `x86_64`.
mod regs {
    pub const BP: i32 = 32;
    pub const IP: i32 = 128;
    pub const SP: i32 = 152;
    pub const SIZE: u32 = 168;
}

/// Registers in the `ucontext` that the stack pointer leads to when a signal handler has returned, `x86_64`.
mod context {
    pub const RBP: i64 = 120;
    pub const RSP: i64 = 160;
    pub const RIP: i64 = 168;
}

/// A binary search in an array map: what it needs to know of the map.
struct Table {
    map: MapId,
    /// Offset and width of the member that entries are sorted by.
    member: (i32, Width),
    /// Entries at most.
    most: u32,
}

impl FnLower<'_, '_> {
    fn unwinder(&mut self) -> Unwinder {
        if let Some(unwinder) = self.m.unwinder {
            return unwinder;
        }
        let mut map = |name, role, kind, size, most| self.m.internal_map(name, role, kind, 4, size, most, 0);
        let processes = map("unwind_procs", MapRole::UnwindProcesses, MapKind::Hash, process::SIZE, process::MOST);
        let mappings = map("unwind_maps", MapRole::UnwindMappings, MapKind::Array, mapping::SIZE, mapping::MOST);
        let rows = map("unwind_rows", MapRole::UnwindRows, MapKind::Array, row::SIZE, row::MOST);
        let symbol = self.callback_symbol();
        let function = Step::build(symbol, self.b.span(), mappings, rows);
        let step = self.m.module.functions.push(function);
        let unwinder = Unwinder { processes, step };
        self.m.unwinder = Some(unwinder);
        unwinder
    }

    /// Writes up to `limit` frames of the user stack to the address `frames`; the result is their number of bytes, or not
    /// above 0 for none. A process without tables is walked by frame pointers.
    pub(super) fn unwind(&mut self, frames: Value, limit: u32) -> Value {
        let Unwinder { processes, step } = self.unwinder();
        let bytes = self.b.variable();
        let key = self.temp_bytes(8);
        let ids = self.ids();
        let tgid = self.b.bin_imm(Ir::LShr, ids, 32);
        self.b.store(Width::W4, key.base, key.offset, tgid);
        let key = self.addr(key);
        let found = self.lookup(processes, key);
        let (known, unknown, end) = (self.b.block(), self.b.block(), self.b.block());
        self.b.branch_imm(Cond::Ne, found, 0, known, unknown);

        self.b.enter(known);
        let state = self.pinned(frame::SIZE);
        self.b.store(Width::W8, state, frame::FRAMES, frames);
        for (from, to) in [(process::FIRST, frame::FIRST), (process::COUNT, frame::MAPPINGS)] {
            let word = self.b.load(Width::W4, found, from);
            self.b.store(Width::W8, state, to, word);
        }
        let (zero, one) = (self.b.iconst(0), self.b.iconst(1));
        self.b.store(Width::W8, state, frame::COUNT, zero);
        self.b.store(Width::W8, state, frame::EXACT, one);
        let registers = self.temp_bytes(regs::SIZE);
        let registers = self.addr(registers);
        self.b.zero(registers, 0, regs::SIZE, 8);
        let task = self.b.call(helpers::GET_CURRENT_TASK_BTF, &[]);
        let user = self.b.call(helpers::TASK_PT_REGS, &[task]);
        let size = self.b.iconst(i64::from(regs::SIZE));
        self.b.call(helpers::PROBE_READ_KERNEL, &[registers, size, user]);
        for (from, to) in [(regs::IP, frame::IP), (regs::SP, frame::SP), (regs::BP, frame::BP)] {
            let word = self.b.load(Width::W8, registers, from);
            self.b.store(Width::W8, state, to, word);
        }
        let (turns, function) = (self.b.iconst(i64::from(limit)), self.b.func_addr(step));
        self.b.call(helpers::LOOP, &[turns, function, state, zero]);
        let count = self.b.load(Width::W8, state, frame::COUNT);
        let all = self.b.bin_imm(Ir::Shl, count, 3);
        self.b.set(bytes, all);
        self.b.jump(end);

        self.b.enter(unknown);
        let by_pointers = self.user_stack_by_pointers(frames, limit);
        self.b.set(bytes, by_pointers);
        self.join(end);
        self.b.get(bytes)
    }
}

/// Builds the callback.
struct Step {
    b: FunctionBuilder,
    /// Where it goes on when the walk has ended.
    stop: Block,
    /// Eight bytes for keys and for words of user memory.
    word: Value,
}

impl Step {
    fn build(symbol: String, span: tapline_grammar::span::Span, mappings: MapId, rows: MapId) -> crate::ir::Function {
        let kind = FunctionKind::Callback(CallbackKind::Loop);
        let (mut b, params) = FunctionBuilder::new(symbol, kind, 2, span);
        let param = |n: usize| params.get(n).copied().unwrap_or(Value(0));
        let (turn, state) = (param(0), param(1));
        let stop = b.block();
        let word = b.slot(8, 8, false);
        let word = b.slot_addr(word);
        let mut this = Self { b, stop, word };
        this.body(turn, state, mappings, rows);
        this.b.enter(stop);
        let one = this.b.iconst(1);
        this.b.ret(one);
        this.b.finish()
    }

    fn body(&mut self, turn: Value, state: Value, mappings: MapId, rows: MapId) {
        self.require(Cond::ULt, turn, i64::from(super::stack::MAX_FRAMES));
        let [ip, sp, bp, exact] =
            [frame::IP, frame::SP, frame::BP, frame::EXACT].map(|at| self.b.load(Width::W8, state, at));
        let frames = self.b.load(Width::W8, state, frame::FRAMES);
        let at = self.b.bin_imm(Ir::Shl, turn, 3);
        let at = self.b.bin(Ir::Add, frames, at);
        self.b.store(Width::W8, at, 0, ip);
        let count = self.b.bin_imm(Ir::Add, turn, 1);
        self.b.store(Width::W8, state, frame::COUNT, count);

        // A return address may be that of the next function, when the call never returns.
        let back = self.b.bin_imm(Ir::Xor, exact, 1);
        let pc = self.b.bin(Ir::Sub, ip, back);
        let first = self.b.load(Width::W8, state, frame::FIRST);
        let mappings_count = self.b.load(Width::W8, state, frame::MAPPINGS);
        let table = Table { map: mappings, member: (mapping::START, Width::W8), most: mapping::MOST_OF_PROCESS };
        let found = self.search(&table, first, mappings_count, pc);
        let end = self.b.load(Width::W8, found, mapping::END);
        self.require_values(Cond::ULt, pc, end);
        let bias = self.b.load(Width::W8, found, mapping::BIAS);
        let (first, count) =
            (self.b.load(Width::W4, found, mapping::FIRST), self.b.load(Width::W4, found, mapping::COUNT));
        let pc = self.b.bin(Ir::Sub, pc, bias);
        let table = Table { map: rows, member: (row::PC, Width::W4), most: row::MOST_OF_MAPPING };
        let found = self.search(&table, first, count, pc);
        self.caller(state, found, [ip, sp, bp]);
    }

    /// Computes the registers of the caller and ends the turn.
    fn caller(&mut self, state: Value, found: Value, [ip, sp, bp]: [Value; 3]) {
        let offset = self.b.load(Width::W2, found, row::CFA);
        let offset = self.b.ext(Ext::Sext16, offset);
        let saved = self.b.load(Width::W1, found, row::RBP);
        let saved = self.b.ext(Ext::Sext8, saved);
        let how = self.b.load(Width::W1, found, row::RULE);

        let cfa = self.b.variable();
        let ready = self.b.block();
        let other = self.when(how, rule::RSP);
        let value = self.b.bin(Ir::Add, sp, offset);
        self.b.set(cfa, value);
        self.b.jump(ready);
        self.b.enter(other);
        let other = self.when(how, rule::RBP);
        let value = self.b.bin(Ir::Add, bp, offset);
        self.b.set(cfa, value);
        self.b.jump(ready);
        self.b.enter(other);
        let other = self.when(how, rule::PLT);
        let within = self.b.bin_imm(Ir::And, ip, 15);
        let eleven = self.b.iconst(11);
        let pushed = self.b.cmp(Cond::UGe, within, eleven);
        let pushed = self.b.bin_imm(Ir::Shl, pushed, 3);
        let value = self.b.bin_imm(Ir::Add, sp, 8);
        let value = self.b.bin(Ir::Add, value, pushed);
        self.b.set(cfa, value);
        self.b.jump(ready);
        self.b.enter(other);
        self.require(Cond::Eq, how, i64::from(rule::SIGNAL));
        let [ip, bp_there, sp_there] = [context::RIP, context::RBP, context::RSP].map(|at| {
            let at = self.b.bin_imm(Ir::Add, sp, at);
            self.read_user(at)
        });
        self.go_on(state, [ip, sp_there, bp_there], true);

        self.b.enter(ready);
        let cfa = self.b.get(cfa);
        // Stacks grow downwards: what does not lead up is damaged and could go round for ever.
        self.require_values(Cond::UGt, cfa, sp);
        let at = self.b.bin_imm(Ir::Sub, cfa, 8);
        let ip = self.read_user(at);
        self.require(Cond::Ne, ip, 0);
        let caller_bp = self.b.variable();
        self.b.set(caller_bp, bp);
        let (restore, on) = (self.b.block(), self.b.block());
        self.b.branch_imm(Cond::Ne, saved, 0, restore, on);
        self.b.enter(restore);
        let words = self.b.bin_imm(Ir::Shl, saved, 3);
        let at = self.b.bin(Ir::Add, cfa, words);
        let value = self.read_user(at);
        self.b.set(caller_bp, value);
        self.b.jump(on);
        self.b.enter(on);
        let bp = self.b.get(caller_bp);
        self.go_on(state, [ip, cfa, bp], false);
    }

    /// Enters a block for the rule; returns the one for all others.
    fn when(&mut self, how: Value, rule: u8) -> Block {
        let (this, other) = (self.b.block(), self.b.block());
        self.b.branch_imm(Cond::Eq, how, i64::from(rule), this, other);
        self.b.enter(this);
        other
    }

    /// Stores the registers of the next frame.
    fn go_on(&mut self, state: Value, registers: [Value; 3], exact: bool) {
        for (at, value) in [frame::IP, frame::SP, frame::BP].into_iter().zip(registers) {
            self.b.store(Width::W8, state, at, value);
        }
        let exact = self.b.iconst(i64::from(exact));
        self.b.store(Width::W8, state, frame::EXACT, exact);
        let zero = self.b.iconst(0);
        self.b.ret(zero);
    }

    /// A word of user memory; the walk ends where there is none.
    fn read_user(&mut self, address: Value) -> Value {
        let size = self.b.iconst(8);
        let failed = self.b.call(helpers::PROBE_READ_USER, &[self.word, size, address]);
        self.require(Cond::Eq, failed, 0);
        self.b.load(Width::W8, self.word, 0)
    }

    fn require(&mut self, cond: Cond, value: Value, bound: i64) {
        let on = self.b.block();
        self.b.branch_imm(cond, value, bound, on, self.stop);
        self.b.enter(on);
    }

    fn require_values(&mut self, cond: Cond, a: Value, b: Value) {
        let on = self.b.block();
        self.b.branch(cond, a, b, on, self.stop);
        self.b.enter(on);
    }

    fn entry(&mut self, table: &Table, index: Value) -> Value {
        self.b.store(Width::W4, self.word, 0, index);
        let handle = self.b.map(table.map);
        let found = self.b.call(helpers::MAP_LOOKUP_ELEM, &[handle, self.word]);
        self.require(Cond::Ne, found, 0);
        found
    }

    /// The address of the last of `count` entries from `first` on whose member is not above `wanted`; the walk ends when
    /// there is none. Each step halves what is left without a branch: the verifier walks one path instead of two per step,
    /// which some kernels do not find out to be alike. Both numbers are below 2^63, so that the sign of their difference
    /// compares them.
    fn search(&mut self, table: &Table, first: Value, count: Value, wanted: Value) -> Value {
        self.require(Cond::Ne, count, 0);
        let (base, left, turns): (Variable, Variable, Variable) =
            (self.b.variable(), self.b.variable(), self.b.variable());
        self.b.set(base, first);
        self.b.set(left, count);
        let steps = self.b.iconst(i64::from(table.most.ilog2()) + 1);
        self.b.set(turns, steps);
        let (head, step, found) = (self.b.block(), self.b.block(), self.b.block());
        self.b.jump(head);
        self.b.switch_to(head);
        let n = self.b.get(turns);
        self.b.branch_imm(Cond::UGt, n, 0, step, found);
        self.b.enter(step);
        let n = self.b.bin_imm(Ir::Sub, n, 1);
        self.b.set(turns, n);
        let (from, len) = (self.b.get(base), self.b.get(left));
        let half = self.b.bin_imm(Ir::LShr, len, 1);
        let middle = self.b.bin(Ir::Add, from, half);
        let member = self.member(table, middle);
        // All bits when the member is not above, else none.
        let below = self.b.bin(Ir::Sub, member, wanted);
        let below = self.b.bin_imm(Ir::Sub, below, 1);
        let below = self.b.bin_imm(Ir::AShr, below, 63);
        let forward = self.b.bin(Ir::And, half, below);
        let from = self.b.bin(Ir::Add, from, forward);
        self.b.set(base, from);
        let len = self.b.bin(Ir::Sub, len, half);
        self.b.set(left, len);
        self.b.jump(head);
        self.b.seal(head);
        self.b.enter(found);
        let last = self.b.get(base);
        let entry = self.entry(table, last);
        let member = self.b.load(table.member.1, entry, table.member.0);
        self.require_values(Cond::ULe, member, wanted);
        entry
    }

    fn member(&mut self, table: &Table, index: Value) -> Value {
        let entry = self.entry(table, index);
        self.b.load(table.member.1, entry, table.member.0)
    }
}
