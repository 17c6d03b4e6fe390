//! The whole way through the kernel with programs built by hand. They need the privilege to trace: without it they pass over
//! it, but not inside the test ladder.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tapline_compiler::backend::backend;
use tapline_compiler::index::IndexVec;
use tapline_compiler::ir::builder::FunctionBuilder;
use tapline_compiler::ir::{Function, FunctionKind, MapDef, MapKind, Module, Width, helpers};
use tapline_compiler::lower::Lowered;
use tapline_compiler::program::{
    Action, ActionId, ActionKind, Aggregate, Attach, Conversion, Field, Format, FormatPiece, FormatSpec, Manifest,
    MapDesc, MapId, MapRole, ProbeDesc, ProbeId, Program, ProgramDesc, ProgramKind, Record, ValueType,
};
use tapline_compiler::source::SourceMap;
use tapline_grammar::span::Span;

use super::run::{Options, load, run};
use crate::events::context::NoSymbols;
use crate::output::text::TextSink;
use crate::sys::privilege::{Capabilities, Capability};

const EVENTS: MapId = MapId(1);
const COUNT: MapId = MapId(0);
const U64: ValueType = ValueType::Int { size: 8, signed: false };

fn privileged() -> bool {
    let may = Capabilities::current().unwrap().has(Capability::SysAdmin);
    assert!(may || std::env::var_os("TAPLINE_LADDER").is_none(), "the ladder runs with the privilege to trace");
    may
}

/// A program that sends one record (an action and a number) and counts itself in `@n`.
fn sender(symbol: &str, section: &'static str, action: ActionId, number: i64) -> Function {
    let kind = FunctionKind::Program { section: section.into(), reentrant: false };
    let (mut b, _) = FunctionBuilder::new(symbol.into(), kind, 1, Span::default());
    let key = b.slot(4, 4, false);
    let key = b.slot_addr(key);
    let zero = b.iconst(0);
    b.store(Width::W4, key, 0, zero);
    let table = b.map(COUNT);
    let value = b.call(helpers::MAP_LOOKUP_ELEM, &[table, key]);
    let (found, send) = (b.block(), b.block());
    b.branch_imm(tapline_compiler::ir::Cond::Ne, value, 0, found, send);
    b.enter(found);
    let one = b.iconst(1);
    b.atomic_add(Width::W8, value, 0, one);
    b.jump(send);
    b.enter(send);
    let record = b.slot(16, 8, false);
    let record = b.slot_addr(record);
    let action = b.iconst(i64::from(action.0));
    b.store(Width::W8, record, 0, action);
    let number = b.iconst(number);
    b.store(Width::W8, record, 8, number);
    let ring = b.map(EVENTS);
    let size = b.iconst(16);
    let flags = b.iconst(0);
    b.call(helpers::RINGBUF_OUTPUT, &[ring, record, size, flags]);
    let zero = b.iconst(0);
    b.ret(zero);
    b.finish()
}

fn probe(name: &str, attach: Attach) -> ProbeDesc {
    ProbeDesc { name: name.into(), attach, cookie: 0, matched: false, span: None }
}

fn action(kind: ActionKind) -> Action {
    let field = Field { name: String::new(), offset: 8, bits: None, ty: U64 };
    Action { kind, record: Record { fields: vec![field], fixed_size: 16 }, percentiles: Vec::new() }
}

fn program(probes: Vec<(ProgramKind, &'static str, ProbeDesc, ActionId, i64)>) -> Program {
    let mut manifest = Manifest::default();
    let mut module = Module {
        functions: IndexVec::new(),
        maps: IndexVec::new(),
        rodata: Vec::new(),
        license: "GPL".into(),
        counters: None,
        frame_blind: false,
    };
    for (i, (kind, section, desc, action, number)) in probes.into_iter().enumerate() {
        let symbol = format!("p{i}");
        module.functions.push(sender(&symbol, section, action, number));
        manifest.programs.push(ProgramDesc { symbol, kind, probes: vec![ProbeId(i as u32)] });
        manifest.probes.push(desc);
    }
    let map = |symbol: &str, kind, key_size, value_size, max_entries| MapDef {
        symbol: symbol.into(),
        kind,
        key_size,
        value_size,
        max_entries,
        flags: 0,
    };
    module.maps.push(map("AT_n", MapKind::Array, 4, 8, 1));
    module.maps.push(map("events", MapKind::RingBuf, 0, 0, 1 << 18));
    let desc = |symbol: &str, name: &str, role, value| MapDesc {
        symbol: symbol.into(),
        name: name.into(),
        role,
        key: None,
        value,
        per_cpu: false,
        max_entries: 1,
    };
    manifest.maps.push(desc("AT_n", "n", MapRole::Scalar, Some(ValueType::Aggregate(Aggregate::Count))));
    manifest.maps.push(desc("events", "events", MapRole::Events, None));
    let number = FormatSpec { conversion: Conversion::Unsigned, ..FormatSpec::default() };
    let format = Format {
        pieces: vec![
            FormatPiece::Literal(b"got ".to_vec()),
            FormatPiece::Spec(number),
            FormatPiece::Literal(b"\n".to_vec()),
        ],
    };
    manifest.actions = vec![action(ActionKind::Printf(format)), action(ActionKind::Exit)];
    backend(Lowered { module, manifest }, &SourceMap::default()).unwrap()
}

const PRINT: ActionId = ActionId(0);
const EXIT: ActionId = ActionId(1);

fn output(program: &Program) -> (i32, String) {
    let mut out = Vec::new();
    let options = Options { quiet: true, ..Options::default() };
    let ready = load(program, &options).unwrap();
    let status = run(program, ready, &options, None, Box::new(NoSymbols), &mut TextSink::new(&mut out)).unwrap();
    (status, String::from_utf8(out).unwrap())
}

#[test]
fn begin_and_end() {
    if !privileged() {
        return;
    }
    let raw = ProgramKind::RawTpRun;
    let program = program(vec![
        (raw, "raw_tp", probe("begin", Attach::Begin), PRINT, 7),
        (raw, "raw_tp", probe("begin", Attach::Begin), EXIT, 3),
        (raw, "raw_tp", probe("end", Attach::End), PRINT, 8),
    ]);
    assert_eq!(output(&program), (3, "got 7\ngot 8\n\n\n@n: 3\n".to_owned()));
}

#[test]
fn tracepoint_ends_the_script() {
    if !privileged() || !std::path::Path::new("/sys/kernel/tracing/events/syscalls").exists() {
        return;
    }
    let attach = Attach::Tracepoint { category: "syscalls".into(), event: "sys_enter_getppid".into() };
    let program = program(vec![(
        ProgramKind::Tracepoint,
        "tracepoint",
        probe("tracepoint:syscalls:sys_enter_getppid", attach),
        EXIT,
        5,
    )]);
    let over = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&over);
    let caller = std::thread::spawn(move || {
        while !seen.load(Ordering::Relaxed) {
            let _ = std::os::unix::process::parent_id();
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    });
    let (status, text) = output(&program);
    over.store(true, Ordering::Relaxed);
    caller.join().unwrap();
    assert_eq!(status, 5);
    assert!(text.starts_with("\n\n@n: "), "{text}");
}

#[test]
fn interval_fires() {
    if !privileged() {
        return;
    }
    let attach = Attach::Interval { period_ns: 5_000_000 };
    let program = program(vec![(ProgramKind::PerfEvent, "perf_event", probe("interval:ms:5", attach), EXIT, 0)]);
    assert_eq!(output(&program).0, 0);
}
