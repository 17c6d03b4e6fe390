//! Objects load through stock loaders, aya and bpftool, and do there what they should.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use tapline_compiler::backend;
use tapline_compiler::ir::{Module, parse, verify};
use tapline_compiler::object::{self, Line, LineTable};
use tapline_grammar::span::Span;

/// Counts calls of `getpid` by thread and in all, and sends a record for each. The slot `s2` is too large for the stack, and the
/// per-CPU total has no fixed address.
const COUNTER: &str = r#"
license "GPL"
map m0 events ringbuf key 0 value 0 entries 65536 flags 0
map m1 AT_counts hash key 8 value 8 entries 1024 flags 0
map m2 AT_total array key 4 value 8 entries 1 flags 0
map m3 AT_per_cpu percpu_array key 4 value 16 entries 1 flags 0
map m4 counters array key 4 value 16 entries 1 flags 0
counters m4
rodata 2a00000000000000

fn0 = function p0 program tracepoint REENTRANT missed 1 {
    s0 = slot 8 align 8
    s1 = slot 8 align 8
    s2 = slot 2000 align 8 indexed
b0(v0):
    v1 = call get_current_pid_tgid()
    v2 = const 32
    v3 = zext32 v1
    v4 = map_value m2, 0
    v5 = const 1
    atomic_add 8, v4, 0, v5
    v6 = map_value m3, 8
    atomic_add 8, v6, 0, v5
    v7 = slot_addr s0
    store 8, v7, 0, v3
    v8 = map m1
    v9 = call map_lookup_elem(v8, v7)
    v10 = const 0
    branch ne v9, v10, b1(), b2()
b1():
    atomic_add 8, v9, 0, v5
    jump b3()
b2():
    v11 = slot_addr s1
    store 8, v11, 0, v5
    v12 = call map_update_elem(v8, v7, v11, v10)
    jump b3()
b3():
    v13 = slot_addr s2
    v14 = const 1992
    zero v13, 0, 2000, 8
    v15 = const 7
    store 8, v13, 0, v15
    store 8, v13, 8, v3
    v16 = load 4, v0, 8
    store 8, v13, 16, v16
    v17 = rodata 0
    copy v13, 24, v17, 0, 8, 8
    v18 = map m0
    v19 = call ringbuf_output(v18, v13, v14, v10)
    return v10
}
"#;

/// Sums 0 + 1 + ... + 9 with `bpf_loop`, by way of a subprogram.
const CALLS: &str = r#"
license "GPL"
map m0 AT_sum array key 4 value 8 entries 1 flags 0

fn0 = function p0 program raw_tp {
    s0 = slot 8 align 8 pinned
b0(v0):
    v1 = slot_addr s0
    v2 = const 0
    store 8, v1, 0, v2
    v3 = const 10
    v4 = func_addr fn1
    v5 = call loop(v3, v4, v1, v2)
    v6 = load 8, v1, 0
    v7 = map_value m0, 0
    store 8, v7, 0, v6
    return v2
}
fn1 = function each callback loop {
b0(v0, v1):
    v2 = load 8, v1, 0
    v3 = call_sub fn2(v2, v0)
    store 8, v1, 0, v3
    v4 = const 0
    return v4
}
fn2 = function plus sub {
b0(v0, v1):
    v2 = add v0, v1
    return v2
}
"#;

struct Lines;

impl LineTable for Lines {
    fn line(&self, _: Span) -> Option<Line<'_>> {
        Some(Line { file: "test.bt", line: 1, column: 1, text: "@counts[pid] = count() // é" })
    }
}

fn build(text: &str) -> (Vec<u8>, Module) {
    let module = parse::parse(text).unwrap();
    verify::verify(&module).unwrap();
    let compiled = backend::compile(module).unwrap();
    verify::verify(&compiled.module).unwrap();
    (object::emit(&compiled.code, &compiled.module, &Lines).unwrap(), compiled.module)
}

/// Without the right to load programs the tests that do are skipped.
fn may_load() -> bool {
    let uid = std::fs::metadata("/proc/self").map(|m| std::os::unix::fs::MetadataExt::uid(&m));
    let may = matches!(uid, Ok(0)) && std::path::Path::new("/sys/kernel/tracing/events").exists();
    assert!(may || std::env::var_os("TAPLINE_LADDER").is_none(), "the ladder runs as root, with tracefs");
    if !may {
        eprintln!("skipped: needs root and tracefs");
    }
    may
}

fn count_getpid(text: &str) {
    let (elf, _) = build(text);
    let mut ebpf = aya::EbpfLoader::new().load(&elf).unwrap();
    let prog: &mut aya::programs::TracePoint = ebpf.program_mut("p0").unwrap().try_into().unwrap();
    prog.load().unwrap();
    let link = prog.attach("syscalls", "sys_enter_getpid").unwrap();
    // Each of these is a system call.
    for _ in 0..3 {
        let _ = std::process::id();
    }
    // Other processes count, too: the numbers must stand still before they are compared.
    prog.detach(link).unwrap();
    let this = std::fs::read_link("/proc/thread-self").unwrap();
    let thread: u64 = this.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let mut ring = aya::maps::RingBuf::try_from(ebpf.take_map("events").unwrap()).unwrap();
    let mut mine = 0;
    while let Some(item) = ring.next() {
        let word = |i: usize| u64::from_le_bytes(item[i * 8..i * 8 + 8].try_into().unwrap());
        assert_eq!((item.len(), word(0), word(2), word(3), word(4)), (1992, 7, 39, 42, 0));
        mine += u64::from(word(1) == thread);
    }
    assert_eq!(mine, 3);
    let counts: aya::maps::HashMap<_, u64, u64> = ebpf.map("AT_counts").unwrap().try_into().unwrap();
    assert_eq!(counts.get(&thread, 0).unwrap(), 3);
    let total: aya::maps::Array<_, u64> = ebpf.map(".data.AT_total").unwrap().try_into().unwrap();
    let total = total.get(&0, 0).unwrap();
    assert!(total >= 3);
    let per_cpu: aya::maps::PerCpuArray<_, [u64; 2]> = ebpf.map("AT_per_cpu").unwrap().try_into().unwrap();
    assert_eq!(per_cpu.get(&0, 0).unwrap().iter().map(|v| v[1]).sum::<u64>(), total);
}

#[test]
fn aya_runs_a_program_with_scratch() {
    if may_load() {
        count_getpid(&COUNTER.replace("REENTRANT", ""));
    }
}

#[test]
fn aya_runs_a_reentrant_program() {
    if may_load() {
        count_getpid(&COUNTER.replace("REENTRANT", "reentrant"));
    }
}

#[test]
fn aya_links_callbacks_and_subprograms() {
    if !may_load() {
        return;
    }
    let (elf, _) = build(CALLS);
    let mut ebpf = aya::EbpfLoader::new().load(&elf).unwrap();
    let prog: &mut aya::programs::RawTracePoint = ebpf.program_mut("p0").unwrap().try_into().unwrap();
    prog.load().unwrap();
    prog.attach("sys_enter").unwrap();
    let _ = std::process::id();
    let sum: aya::maps::Array<_, u64> = ebpf.map(".data.AT_sum").unwrap().try_into().unwrap();
    assert_eq!(sum.get(&0, 0).unwrap(), 45);
}

#[test]
fn bpftool_loads_them() {
    if !may_load() {
        return;
    }
    for (name, text) in [("counter", COUNTER.replace("REENTRANT", "reentrant")), ("calls", CALLS.into())] {
        let unique = format!("tapline_test_{name}_{}", std::process::id());
        let file = std::env::temp_dir().join(format!("{unique}.o"));
        std::fs::write(&file, build(&text).0).unwrap();
        let pin = format!("/sys/fs/bpf/{unique}");
        let output = std::process::Command::new("bpftool").args(["prog", "loadall"]).arg(&file).arg(&pin).output();
        std::fs::remove_file(&file).unwrap();
        let Ok(output) = output else {
            assert!(std::env::var_os("TAPLINE_LADDER").is_none(), "the ladder installs bpftool");
            eprintln!("skipped: bpftool is not installed");
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(!said.contains("libbpf"), "{said}");
        std::fs::remove_dir_all(&pin).unwrap();
    }
}
