//! Every form of an attach point: how it is named, where it attaches, and what is said about a wrong one.
#![allow(clippy::unwrap_used, clippy::panic)]

use tapline_grammar::span::{FileId, Span, Spanned};

use super::{Concrete, PROVIDERS, ProbeError, provider, resolve};
use crate::diagnostic::{Diagnostics, Severity};
use crate::expand::{Context, Options};
use crate::program::{Attach, ProgramKind, Sampling};
use crate::render::{Colour, render};
use crate::source::SourceMap;
use crate::target::Feature;
use crate::target::fixture::Fixture;

fn run(text: &str, target: &Fixture) -> (Result<Vec<Concrete>, ProbeError>, Diagnostics) {
    run_with(text, target, &Options::default())
}

fn run_with(text: &str, target: &Fixture, options: &Options) -> (Result<Vec<Concrete>, ProbeError>, Diagnostics) {
    let mut at = 0;
    let mut parts = Vec::new();
    for part in text.split(':') {
        let span = Span::new(FileId(0), at, at + part.len() as u32);
        at = span.end + 1;
        parts.push(Spanned { node: part.to_owned(), span });
    }
    let mut diagnostics = Vec::new();
    let points = resolve(&parts, Span::new(FileId(0), 0, at), (target, options), &mut diagnostics, true)
        .map(|(_, points)| points);
    (points, diagnostics)
}

fn one(text: &str) -> Concrete {
    let target = Fixture::new().unwrap();
    match run(text, &target).0 {
        Ok(mut points) if points.len() == 1 => points.remove(0),
        other => panic!("{text}: {other:?}"),
    }
}

fn error(text: &str) -> String {
    let target = Fixture::new().unwrap();
    match run(text, &target).0 {
        Ok(points) => panic!("{text}: {points:?}"),
        Err(ProbeError::Invalid(d) | ProbeError::Missing(d)) => {
            let said: Vec<String> = std::iter::once(d.message).chain(d.help).chain(d.notes).collect();
            said.join("; ")
        }
    }
}

#[test]
fn names_and_aliases() {
    for (written, name) in [
        ("BEGIN", "begin"),
        ("End", "end"),
        ("k", "kprobe"),
        ("KPROBE", "kprobe"),
        ("kr", "kretprobe"),
        ("t", "tracepoint"),
        ("rt", "rawtracepoint"),
        ("u", "uprobe"),
        ("U", "usdt"),
        ("ur", "uretprobe"),
        ("i", "interval"),
        ("p", "profile"),
        ("s", "software"),
        ("h", "hardware"),
        ("w", "watchpoint"),
        ("f", "fentry"),
        ("kfunc", "fentry"),
        ("fr", "fexit"),
        ("kretfunc", "fexit"),
        ("it", "iter"),
        ("self", "self"),
    ] {
        assert_eq!(provider(written).map(|p| p.name), Some(name), "{written}");
    }
    assert!(provider("").is_none() && provider("foo").is_none());
}

#[test]
fn no_spelling_stands_for_two_providers() {
    let mut all: Vec<&str> = PROVIDERS.iter().flat_map(|p| p.aliases.iter().copied().chain([p.name])).collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn canonical_names() {
    for (written, name) in [
        ("BEGIN", "begin"),
        ("end", "end"),
        ("self:signal:SIGUSR1", "self:signal:SIGUSR1"),
        ("i:s:1", "interval:s:1"),
        ("interval:100ms", "interval:us:100000"),
        ("interval:1000000", "interval:us:1000"),
        ("interval:1s", "interval:us:1000000"),
        ("INTERVAL:ms:10", "interval:ms:10"),
        ("interval:hz:10", "interval:hz:10"),
        ("profile:hz:99", "profile:hz:99"),
        ("p:10ms", "profile:us:10000"),
        ("s:cpu", "software:cpu"),
        ("software:cpu-clock:100000", "software:cpu-clock:100000"),
        ("software:faults:", "software:faults"),
        ("h:cycles:0x10", "hardware:cycles:16"),
        ("t:sched:sched_switch", "tracepoint:sched:sched_switch"),
        ("rt:sched_switch", "rawtracepoint:sched_switch"),
        ("rt:vmlinux:sched_switch", "rawtracepoint:vmlinux:sched_switch"),
        ("k:vfs_read", "kprobe:vfs_read"),
        ("kprobe:vfs_read+4", "kprobe:vfs_read+4"),
        ("kprobe:vfs_read+0x10", "kprobe:vfs_read+16"),
        ("kprobe:0xffffffff81000004", "kprobe:0xffffffff81000004"),
        ("kretprobe:vmlinux:0xffffffff81000000", "kretprobe:0xffffffff81000000"),
        ("kr:vfs_read", "kretprobe:vfs_read"),
        ("kprobe:vfs_rea[d]", "kprobe:vfs_read"),
        ("u:app:main", "uprobe:/usr/bin/app:main"),
        ("uprobe:/usr/bin/app:main+4", "uprobe:/usr/bin/app:main+4"),
        ("ur:app:read_l*", "uretprobe:/usr/bin/app:read_line"),
    ] {
        assert_eq!(one(written).name, name, "{written}");
    }
}

#[test]
fn places_to_attach() {
    let perf = |perf_type, config, period| Attach::PerfCounter { perf_type, config, period };
    let uprobe = |offset| Attach::Uprobe { path: "/usr/bin/app".into(), offset };
    let kprobe = |offset| Attach::Kprobe { function: "vfs_read".into(), module: None, offset };
    for (written, attach, kind) in [
        ("begin", Attach::Begin, ProgramKind::RawTpRun),
        ("end", Attach::End, ProgramKind::RawTpRun),
        ("self:signal:SIGUSR1", Attach::SelfSignal(10), ProgramKind::RawTpRun),
        ("interval:s:2", Attach::Interval { period_ns: 2_000_000_000 }, ProgramKind::PerfEvent),
        ("interval:us:5", Attach::Interval { period_ns: 5_000 }, ProgramKind::PerfEvent),
        ("interval:hz:100", Attach::Interval { period_ns: 10_000_000 }, ProgramKind::PerfEvent),
        ("interval:1500", Attach::Interval { period_ns: 1_500 }, ProgramKind::PerfEvent),
        ("profile:hz:99", Attach::Profile(Sampling::Hz(99)), ProgramKind::PerfEvent),
        ("profile:ms:3", Attach::Profile(Sampling::PeriodNs(3_000_000)), ProgramKind::PerfEvent),
        ("software:cpu", perf(1, 0, 1_000_000), ProgramKind::PerfEvent),
        ("software:page-faults", perf(1, 2, 100), ProgramKind::PerfEvent),
        ("software:cs:7", perf(1, 3, 7), ProgramKind::PerfEvent),
        ("software:major-faults", perf(1, 6, 1), ProgramKind::PerfEvent),
        ("hardware:cache-misses", perf(0, 3, 1_000_000), ProgramKind::PerfEvent),
        ("hardware:branches", perf(0, 4, 100_000), ProgramKind::PerfEvent),
        ("kprobe:vfs_read", kprobe(0), ProgramKind::Kprobe),
        ("kprobe:vfs_read+8", kprobe(8), ProgramKind::Kprobe),
        ("kretprobe:vfs_read", kprobe(0), ProgramKind::Kretprobe),
        ("uprobe:app:main", uprobe(0x1000), ProgramKind::Uprobe),
        ("uprobe:app:main+63", uprobe(0x103f), ProgramKind::Uprobe),
        ("uprobe:app:read_word+100", uprobe(0x10c4), ProgramKind::Uprobe),
        ("uretprobe:app:main", uprobe(0x1000), ProgramKind::Uretprobe),
        ("rt:sched_switch", Attach::RawTracepoint { event: "sched_switch".into() }, ProgramKind::RawTracepoint),
    ] {
        let point = one(written);
        assert_eq!((point.attach, point.kind), (attach, kind), "{written}");
    }
}

#[test]
fn contexts() {
    let function = String::from("vfs_read");
    assert_eq!(one("kprobe:vfs_read").context, Context::KernelEntry { module: None, function: function.clone() });
    assert_eq!(one("kretprobe:vfs_read").context, Context::KernelReturn { function });
    assert_eq!(one("profile:hz:1").context, Context::PerfEvent);
    assert_eq!(one("begin").context, Context::None);
    let (category, event) = ("sched".into(), "sched_switch".into());
    assert_eq!(one("t:sched:sched_switch").context, Context::Tracepoint { category, event });
}

#[test]
fn wildcards_become_concrete_points() {
    let target = Fixture::new().unwrap();
    let names = |text: &str| -> Vec<String> { run(text, &target).0.unwrap().into_iter().map(|p| p.name).collect() };
    assert_eq!(
        names("t:sched:sched_process_ex*"),
        ["tracepoint:sched:sched_process_exec", "tracepoint:sched:sched_process_exit"]
    );
    assert_eq!(names("t:*:sched_process_exec"), ["tracepoint:sched:sched_process_exec"]);
    assert_eq!(names("kprobe:vfs_[rw]*e"), ["kprobe:vfs_rename", "kprobe:vfs_write"]);
    assert_eq!(names("uprobe:app:read_*"), ["uprobe:/usr/bin/app:read_line", "uprobe:/usr/bin/app:read_word"]);
}

#[test]
fn many_functions_share_a_multi_link_where_the_kernel_has_it() {
    let mut target = Fixture::new().unwrap();
    let kinds = |target: &Fixture, text| -> Vec<ProgramKind> {
        run(text, target).0.unwrap().into_iter().map(|p| p.kind).collect()
    };
    assert_eq!(kinds(&target, "kprobe:vfs_[rw]*e"), [ProgramKind::KprobeMulti; 2]);
    assert_eq!(kinds(&target, "kretprobe:vfs_[rw]*e"), [ProgramKind::KretprobeMulti; 2]);
    assert_eq!(kinds(&target, "kprobe:vfs_rea?"), [ProgramKind::Kprobe], "one function needs no multi link");
    target.lacking.insert(Feature::KprobeMulti);
    assert_eq!(kinds(&target, "kprobe:vfs_[rw]*e"), [ProgramKind::Kprobe; 2]);
}

#[test]
fn functions_renamed_by_the_compiler_are_taken_with_a_note() {
    let target = Fixture::new().unwrap();
    let (points, diagnostics) = run("kprobe:finish_task_switch", &target);
    let point = points.unwrap().remove(0);
    assert_eq!(point.name, "kprobe:finish_task_switch");
    let function = String::from("finish_task_switch.isra.0");
    assert_eq!(point.attach, Attach::Kprobe { function, module: None, offset: 0 });
    assert_eq!(point.context, Context::KernelEntry { module: None, function: "finish_task_switch".into() });
    let messages: Vec<&str> = diagnostics.iter().map(|d| d.message.as_str()).collect();
    assert_eq!(messages, ["the compiler renamed `finish_task_switch`; probing `finish_task_switch.isra.0`"]);
}

#[test]
fn mistakes() {
    for (written, message) in [
        ("foo:bar", "there is no probe type `foo`"),
        ("kprobee:vfs_read", "there is no probe type `kprobee`; did you mean `kprobe`?"),
        ("begin:x", "wrong number of parts in a begin probe; its form is `begin`"),
        (
            "kprobe",
            "wrong number of parts in a kprobe probe; its form is `kprobe:[module:]function[+offset], kprobe:address`",
        ),
        (
            "kprobe:a:b:c",
            "wrong number of parts in a kprobe probe; its form is `kprobe:[module:]function[+offset], kprobe:address`",
        ),
        (
            "kprobe:",
            "a kprobe needs the name of a function; its form is `kprobe:[module:]function[+offset], kprobe:address`",
        ),
        ("kprobe:vfs_read+x", "`x` is not an offset"),
        ("kretprobe:vfs_read+4", "a kretprobe has no offset; leave the offset away, or use a kprobe"),
        ("kprobe:vfs_*+4", "an offset needs the name of one function"),
        ("tracepoint:x", "the category of the tracepoint `x` is missing; its form is `tracepoint:category:event`"),
        ("interval:foo:1", "`foo` is not a unit of time; units are: s, ms, us, hz"),
        ("interval:MS:1", "`MS` is not a unit of time; units are: s, ms, us, hz"),
        ("interval:s:0", "the rate of an interval probe must be a positive integer"),
        ("interval:s:-1", "the rate of an interval probe must be a positive integer"),
        ("profile:hz:", "the rate of a profile probe must be a positive integer"),
        ("interval:s", "`s` is not a duration; say how often: `interval:s:1`"),
        (
            "interval:1",
            "a period of 1 ns is too short; a bare number counts nanoseconds; `interval:s:1` counts seconds",
        ),
        ("interval:s:99999999999999", "this period is longer than 290 years"),
        ("software:bogus:1", "`bogus` is not a software event; events are: "),
        ("software:cpu-clok", "`cpu-clok` is not a software event; did you mean `cpu-clock`?"),
        ("hardware:cycles:0", "the count of a hardware probe must be a positive integer"),
        ("self:signal:10", "`10` is not a signal that a script can watch; signals are: `SIGUSR1`"),
        ("self:x:SIGUSR1", "`self` probes watch signals, not `x`; its form is `self:signal:SIGUSR1`"),
        ("uprobe:app", "wrong number of parts in a uprobe probe; its form is `uprobe:file:function[+offset]`"),
        ("uprobe:app:", "a uprobe needs a file and a function; its form is `uprobe:file:function[+offset]`"),
        ("uprobe::main", "a uprobe needs a file and a function"),
        ("uprobe:app:main+64", "`main` has 64 bytes only"),
        ("uprobe:app:main+x", "`x` is not an offset"),
        ("uprobe:app:m*+1", "an offset needs the name of one function"),
        ("uprobe:*:main", "a wildcard in the file of a uprobe needs a process"),
        ("uretprobe:app:main+4", "a uretprobe has no offset; leave the offset away, or use a uprobe"),
        ("uprobe:app:read_lime", "`/usr/bin/app` has no function `read_lime`; did you mean `read_line`?"),
        (
            "uprobe:/bin/nope:main",
            "there is no program or library `/bin/nope`; the path is looked up where tapline runs",
        ),
        ("uprobe:nope:main", "there is no program or library `nope`; write the whole path"),
        ("uprobe:app:0x10", "`/usr/bin/app` has no function `0x10`"),
        ("uprobe:app:go:main", "`go` is not a language whose names are known"),
        ("usdt:/bin/nope:x", "there is no program or library `/bin/nope`"),
        ("fentry:vfs_raed", "there is no traceable kernel function `vfs_raed` on this system"),
        ("kprobe:0x1234", "no function of the kernel lies at 0x1234; addresses differ from boot to boot"),
        ("kretprobe:0xffffffff81000004", "0xffffffff81000004 is not the start of a function, but 4 bytes behind it"),
        ("kprobe:xfs:0xffffffff81000004", "0xffffffff81000004 does not lie in the kernel module `xfs`"),
        ("kprobe:0xzz", "`0xzz` is neither a function nor an address"),
        ("kprobe:vfs_read+64", "`vfs_read` has no offset 64"),
        ("kprobe:do_sys_opena", "there is no traceable kernel function `do_sys_opena` on this system; "),
        ("tracepoint:sched:nope", "there is no tracepoint `sched:nope` on this system"),
        ("tracepoint:zz:*", "there is no tracepoint that matches `zz:*` on this system"),
        ("rt:sched_swich", "there is no raw tracepoint `sched_swich` on this system; did you mean `sched_switch`?"),
    ] {
        let said = error(written);
        assert!(said.starts_with(message), "{written}: {said}");
    }
    assert!(error("kprobe:do_sys_opena").contains("do_sys_openat2"), "{}", error("kprobe:do_sys_opena"));
}

#[test]
fn a_kernel_without_kprobes_or_tracefs_is_named() {
    let mut target = Fixture::new().unwrap();
    target.lacking.insert(Feature::Kprobe);
    target.tracepoints = None;
    let message = |text| match run(text, &target).0 {
        Err(ProbeError::Invalid(d)) => d.message,
        other => panic!("{other:?}"),
    };
    assert_eq!(message("kprobe:vfs_read"), "this kernel has no kprobes");
    assert!(message("t:sched:sched_switch").contains("tracefs is not available"));
}

#[test]
fn probes_inside_of_instructions_are_unsafe() {
    let target = Fixture::new().unwrap();
    let unsafe_ = Options { allow_unsafe: true, ..Options::default() };
    let (points, said) = run_with("uprobe:app:main+1", &target, &unsafe_);
    assert_eq!(points.unwrap().len(), 1);
    assert_eq!(said.iter().map(|d| (d.severity, d.code)).collect::<Vec<_>>(), [(Severity::Warning, "instruction")]);
    let Err(ProbeError::Missing(d)) = run("uprobe:app:main+3", &target).0 else { panic!() };
    assert_eq!(d.message, "`main+3` lies inside of an instruction");
    assert_eq!(d.help, ["instructions begin at `main` and `main+4`", "`--unsafe` sets the probe all the same"]);
    let Err(ProbeError::Missing(d)) = run("uprobe:app:read_word+4096", &target).0 else { panic!() };
    assert_eq!(d.message, "whether an instruction begins at `read_word+4096` cannot be found out");
}

#[test]
fn hostile_text_never_panics() {
    let target = Fixture::new().unwrap();
    let mut seed = 1u64;
    let alphabet: Vec<char> = ":*?[]+$#\"é\u{0}x0-9_ kprtish".chars().collect();
    for provider in ["k", "t", "i", "s", "rt", "self", "p", "u:app", "h", "kr", "begin", ""] {
        for _ in 0..200 {
            let mut text = format!("{provider}:");
            for _ in 0..8 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push(*alphabet.get((seed >> 33) as usize % alphabet.len()).unwrap());
            }
            let _ = run(&text, &target);
        }
    }
}

#[test]
fn without_btf_what_needs_it_says_so() {
    let target = Fixture { btf: None, ..Fixture::new().unwrap() };
    for text in ["iter:task", "fentry:vfs_read"] {
        let Err(ProbeError::Invalid(d) | ProbeError::Missing(d)) = run(text, &target).0 else { panic!("{text}") };
        let shown = render(&d, &SourceMap::with_file("script.bt", text), Colour::Never);
        assert!(shown.starts_with("error[no-btf]: "), "{shown}");
    }
}
