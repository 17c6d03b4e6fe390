//! Objects load through stock loaders: aya here, bpftool where it is installed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use tapline_compiler::index::IndexVec;
use tapline_compiler::ir::{
    BinOp, Block, BlockData, Cond, Function, FunctionKind, Inst, MapDef, MapKind, Module, Op, Slot, SlotData, Target,
    Terminator, Value, ValueData, Width, helpers,
};
use tapline_compiler::program::MapId;

struct B {
    f: Function,
    at: Block,
}

impl B {
    fn v(&mut self, op: Op) -> Value {
        let v = self.f.values.push(ValueData::default());
        self.f.blocks[self.at].insts.push(Inst { result: Some(v), op, span: Default::default() });
        v
    }
    fn e(&mut self, op: Op) {
        self.f.blocks[self.at].insts.push(Inst { result: None, op, span: Default::default() });
    }
    fn block(&mut self) -> Block {
        self.f.blocks.push(BlockData::default())
    }
    fn term(&mut self, t: Terminator) {
        self.f.blocks[self.at].term = Some(t);
    }
}

fn target(block: Block) -> Target {
    Target { block, args: vec![] }
}

fn module() -> Module {
    let mut m = Module { license: "GPL".into(), ..Module::default() };
    let map = |symbol: &str, kind, key_size, value_size, max_entries| MapDef {
        symbol: symbol.into(),
        kind,
        key_size,
        value_size,
        max_entries,
        flags: 0,
    };
    let ring = m.maps.push(map("events", MapKind::RingBuf, 0, 0, 65536));
    let counts = m.maps.push(map("AT_counts", MapKind::Hash, 8, 8, 1024));
    let scalar = m.maps.push(map("AT_total", MapKind::Array, 4, 8, 1));
    let f = Function {
        symbol: "tracepoint_1".into(),
        kind: FunctionKind::Program { section: "tracepoint", reentrant: false },
        blocks: IndexVec::new(),
        values: IndexVec::new(),
        slots: IndexVec::new(),
        span: Default::default(),
        missed_counter: None,
    };
    let mut b = B { f, at: Block(0) };
    b.block();
    let ctx = b.f.values.push(ValueData::default());
    b.f.blocks[Block(0)].params.push(ctx);
    let slot: Slot = b.f.slots.push(SlotData { size: 8, align: 8, indexed: false });
    let one: Slot = b.f.slots.push(SlotData { size: 8, align: 8, indexed: false });
    let (found, missing, send, out) = (b.block(), b.block(), b.block(), b.block());
    let fill = b.block();
    let pid_tgid = b.v(Op::Call(helpers::GET_CURRENT_PID_TGID, vec![]));
    let c32 = b.v(Op::Const(32));
    let pid = b.v(Op::Bin(BinOp::LShr, pid_tgid, c32));
    let total = b.v(Op::MapValue(scalar, 0));
    let c1 = b.v(Op::Const(1));
    b.e(Op::AtomicAdd { width: Width::W8, addr: total, offset: 0, value: c1 });
    let key = b.v(Op::SlotAddr(slot));
    b.e(Op::Store { width: Width::W8, addr: key, offset: 0, value: pid });
    let m1 = b.v(Op::Map(counts));
    let p = b.v(Op::Call(helpers::MAP_LOOKUP_ELEM, vec![m1, key]));
    let c0 = b.v(Op::Const(0));
    b.term(Terminator::Branch { cond: Cond::Ne, lhs: p, rhs: c0, then: target(found), otherwise: target(missing) });
    b.at = found;
    b.e(Op::AtomicAdd { width: Width::W8, addr: p, offset: 0, value: c1 });
    b.term(Terminator::Jump(target(send)));
    b.at = missing;
    let v1 = b.v(Op::SlotAddr(one));
    b.e(Op::Store { width: Width::W8, addr: v1, offset: 0, value: c1 });
    b.v(Op::Call(helpers::MAP_UPDATE_ELEM, vec![m1, key, v1, c0]));
    b.term(Terminator::Jump(target(send)));
    b.at = send;
    let r = b.v(Op::Map(ring));
    let c24 = b.v(Op::Const(24));
    let rec = b.v(Op::Call(helpers::RINGBUF_RESERVE, vec![r, c24, c0]));
    b.term(Terminator::Branch { cond: Cond::Ne, lhs: rec, rhs: c0, then: target(fill), otherwise: target(out) });
    b.at = fill;
    let id = b.v(Op::Const(7));
    b.e(Op::Store { width: Width::W8, addr: rec, offset: 0, value: id });
    b.e(Op::Store { width: Width::W8, addr: rec, offset: 8, value: pid });
    let prev = b.v(Op::Load { width: Width::W4, addr: ctx, offset: 8 });
    b.e(Op::Store { width: Width::W8, addr: rec, offset: 16, value: prev });
    b.v(Op::Call(helpers::RINGBUF_SUBMIT, vec![rec, c0]));
    b.term(Terminator::Jump(target(out)));
    b.at = out;
    b.term(Terminator::Return(c0));
    m.functions.push(b.f);
    let _ = MapId(0);
    m
}

struct Lines;
impl tapline_compiler::object::LineTable for Lines {
    fn line(&self, _: tapline_grammar::span::Span) -> Option<tapline_compiler::object::Line<'_>> {
        Some(tapline_compiler::object::Line {
            file: "test.bt",
            line: 1,
            column: 1,
            text: "@counts[pid] = count() // é",
        })
    }
}

#[test]
fn aya_loads_and_runs() {
    let m = module();
    let code = tapline_compiler::bpf::compile(&m).unwrap();
    let elf = tapline_compiler::object::emit(&code, &m, &Lines).unwrap();
    std::fs::write("/tmp/tl-backend.o", &elf).unwrap();
    let mut ebpf = match aya::EbpfLoader::new().load(&elf) {
        Ok(e) => e,
        Err(e) => panic!("{e:?}"),
    };
    let prog: &mut aya::programs::TracePoint = ebpf.program_mut("tracepoint_1").unwrap().try_into().unwrap();
    prog.load().unwrap();
    prog.attach("syscalls", "sys_enter_getpid").unwrap();
    // Each of these is a system call.
    let pids = [std::process::id(), std::process::id(), std::process::id()];
    let pid = u64::from(pids[0]);
    let ring = aya::maps::RingBuf::try_from(ebpf.take_map("events").unwrap());
    let mut mine = 0;
    let mut ring = ring.unwrap();
    while let Some(item) = ring.next() {
        let word = |i: usize| u64::from_le_bytes(item[i * 8..i * 8 + 8].try_into().unwrap());
        assert_eq!(word(0), 7);
        mine += u64::from(word(1) == pid);
    }
    assert_eq!(mine, 3);
    let counts: aya::maps::HashMap<_, u64, u64> = ebpf.map("AT_counts").unwrap().try_into().unwrap();
    assert_eq!(counts.get(&pid, 0).unwrap(), 3);
    let total: aya::maps::Array<_, u64> = ebpf.map(".data.AT_total").unwrap().try_into().unwrap();
    assert!(total.get(&0, 0).unwrap() >= 3);
}
