//! What users read when a script is wrong: every message through the whole compiler, against the pinned kernel. A snapshot holds
//! one subject; change a text only on purpose.
#![allow(clippy::unwrap_used)]

use super::{Input, compile};
use crate::load::NoFiles;
use crate::render::{Colour, render_all};
use crate::target::fixture::Fixture;
use crate::target::{Arch, Feature};

fn messages(text: &str, target: &Fixture) -> String {
    messages_of(&Input { text: text.into(), ..Input::default() }, target)
}

fn messages_of(input: &Input, target: &Fixture) -> String {
    let text = &input.text;
    let input = Input { name: "script.bt".into(), ..input.clone() };
    let out = compile(&input, &NoFiles, target);
    assert_eq!(out.program.is_some(), !out.diagnostics.iter().any(crate::diagnostic::Diagnostic::is_error), "{text}");
    render_all(&out.diagnostics, &out.sources, Colour::Never)
}

/// The messages of several scripts.
fn all(scripts: &[&str]) -> String {
    let target = Fixture::new().unwrap();
    scripts.iter().map(|text| messages(text, &target)).collect::<Vec<_>>().join("\n")
}

#[test]
fn misspelt_builtins() {
    insta::assert_snapshot!(all(&[
        "BEGIN { printf(\"%d\\n\", pidd); }",
        "BEGIN { print(kstak); }",
        "kprobe:vfs_read /comn == \"bash\"/ { print(1); }",
        "BEGIN { print(XYZZY); }",
    ]));
}

#[test]
fn misspelt_functions() {
    insta::assert_snapshot!(all(&[
        "BEGIN { pritnf(\"hi\\n\"); }",
        "BEGIN { @x = cuont(); }",
        "BEGIN { frobnicate(1); }",
    ]));
}

#[test]
fn misspelt_fields() {
    insta::assert_snapshot!(all(&[
        "tracepoint:syscalls:sys_enter_openat { print(str(args.filname)); }",
        "kprobe:tcp_v4_connect { $sk = (struct sock *)arg0; print($sk->sk_famly); }",
        "kprobe:tcp_v4_connect { $sk = (struct sok *)arg0; print($sk->sk_family); }",
        "struct point { int x; int y; } BEGIN { $p = (struct point *)0; print($p.z); }",
        "BEGIN { $x = comm; print($x.name); }",
        "kprobe:vfs_read { print(arg0.f_path); }",
    ]));
}

#[test]
fn misspelt_types() {
    insta::assert_snapshot!(all(&[
        "BEGIN { $x = (uint33)5; }",
        "BEGIN { print(sizeof(struct no_such_thing)); }",
        "BEGIN { print((enum tcp_stat)1); }",
    ]));
}

#[test]
fn probes_that_do_not_exist() {
    insta::assert_snapshot!(all(&[
        "kprob:vfs_read { }",
        "kprobe:do_sys_opena { printf(\"%s opened file\\n\", comm); }",
        "kprobe:no_such_function_at_all { }",
        "kprobe:vfs_reed* { }",
        "tracepoint:syscalls:sys_entr_openat { }",
        "tracepoint:sycalls:sys_enter_openat { }",
        "rawtracepoint:sched_swich { }",
        "uprobe:app:read_lime { }",
        "uprobe:/no/such/file:main { }",
        "software:page-fault { }",
    ]));
}

#[test]
fn wrong_attach_points() {
    insta::assert_snapshot!(all(&[
        "tracepoint:sched_switch { }",
        "interval:sec:1 { }",
        "interval:1 { }",
        "profile:hz:0 { }",
        "kretprobe:vfs_read+8 { }",
        "kprobe:vfs_read+zz { }",
        "fentry:vfs_read { }",
    ]));
}

#[test]
fn a_system_that_lacks_something() {
    let mut target = Fixture::new().unwrap();
    let mut said = Vec::new();
    target.arch = Arch::Aarch64;
    said.push(messages("profile:hz:99 { @[dw_ustack] = count(); }", &target));
    target.arch = Arch::X86_64;
    target.functions.retain(|name| name != "do_sys_open");
    said.push(messages("kprobe:do_sys_open { printf(\"%s opened file\\n\", comm); }", &target));
    target.lacking.insert(Feature::Kprobe);
    said.push(messages("kprobe:vfs_read { }", &target));
    target.tracepoints = None;
    said.push(messages("tracepoint:syscalls:sys_enter_openat { print(str(args.filename)); }", &target));
    target.btf = None;
    said.push(messages("BEGIN { $t = (struct task_struct *)curtask; print($t.pid); }", &target));
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn values_that_are_not_there() {
    insta::assert_snapshot!(all(&[
        "tracepoint:sched:sched_switch { print(arg0); }",
        "kprobe:vfs_read { print(retval); }",
        "kretprobe:vfs_read { print(arg0); }",
        "BEGIN { print(args); }",
        "interval:s:1 { print(func); }",
        "tracepoint:sched:sched_switch { print(args.common_pid); }",
        "kprobe:vfs_read { print(reg(\"axx\")); }",
    ]));
}

#[test]
fn types_of_maps() {
    insta::assert_snapshot!(all(&[
        "BEGIN { @x = 1; } END { @x = \"a\"; }",
        "BEGIN { @x[1] = 1; } END { @x[\"a\"] = 2; }",
        "BEGIN { @x[1] = 1; @x[1, 2] = 1; }",
        "BEGIN { @x[1] = 1; @x = 1; }",
        "BEGIN { @x = count(); @x = 5; }",
        "BEGIN { @x = hist(1); @x = lhist(1, 0, 10, 1); }",
        "BEGIN { print(@never); }",
        "BEGIN { @counts = 1; clear(@count); }",
    ]));
}

#[test]
fn types_of_variables() {
    insta::assert_snapshot!(all(&[
        "BEGIN { $x = 1; $x = \"a\"; }",
        "BEGIN { print($y); }",
        "BEGIN { $count = 1; print($cuont); }",
        "BEGIN { if (1) { let $z = 1; } print($z); }",
        "BEGIN { if (comm == 1) { } }",
        "BEGIN { print(comm + 1); }",
    ]));
}

#[test]
fn types_of_arguments() {
    insta::assert_snapshot!(all(&[
        "BEGIN { print(str(1, \"b\")); }",
        "BEGIN { printf(1); }",
        "BEGIN { printf(\"%d %s\\n\", 1); }",
        "BEGIN { printf(\"%d\\n\", \"a\"); }",
        "BEGIN { printf(\"%y\\n\", 1); }",
        "BEGIN { print(ntop(\"a\")); }",
        "BEGIN { print(strftime(1, nsecs)); }",
        "BEGIN { exit(\"a\"); }",
        "BEGIN { delete(1); }",
        "BEGIN { count(); }",
        "BEGIN { @x = lhist(1, 10, 5, 1); }",
        "BEGIN { print(); }",
        "BEGIN { @x = count(1, 2); }",
    ]));
}

#[test]
fn syntax() {
    insta::assert_snapshot!(all(&[
        "BEGIN { print(1);",
        "BEGIN { if (1) { print(1); }",
        "BEGIN { print(1",
        "BEGIN print(1); }",
        "BEGIN { $x = ; }",
        "BEGIN { print(\"abc); }",
        "kprobe:vfs_read /pid == 1 { }",
        "BEGIN { pid = 2; }",
        "BEGIN { print(1) print(2); }",
        "BEGIN { print(1); } }",
        "BEGIN { /* }",
    ]));
}

#[test]
fn several_errors_at_once() {
    insta::assert_snapshot!(all(&[
        "kprobe:nope_nope { print(pidd); }\nBEGIN { $x = 1; $x = \"a\"; pritnf(\"x\"); }\nEND { print(@nothing); }",
        "BEGIN { $x = ; $y = 1 + ; print(1); }",
    ]));
}

#[test]
fn settings_and_parameters() {
    insta::assert_snapshot!(all(&[
        "config = { max_strln = 5 } BEGIN { }",
        "config = { max_strlen = \"long\" } BEGIN { }",
        "config = { stack_mode = perff } BEGIN { }",
        "config = { max_probes = 3 } kprobe:vfs_* { }",
        "BEGIN { print($1); }",
        "BEGIN { } config = { max_strlen = 5 }",
        "import \"other.bt\"; BEGIN { }",
        "macro twice($x) { $x + $x } BEGIN { print(twice(1)); }",
        "BEGIN { system(\"ls\"); }",
    ]));
}

#[test]
fn typical_slips() {
    insta::assert_snapshot!(all(&[
        "kprobe:vfs_read /pid = 1/ { print(1); }",
        "BEGIN { if ($x = 1) { print(1); } }",
        "BEGIN { x = 5; }",
        "BEGIN { count = count(); }",
        "BEGIN { @x = 5 print(@x); }",
        "BEGIN { printf(\"a\\n\" }",
        "BEGIN { print(\"a); }\nEND { print(\"b\"); }",
        "BEGIN { print('a'); }",
        "BEGIN { $x = 1.5; }",
        "BEGIN { for ($i = 0; $i < 5; $i++) { } }",
        "BEGIN { $s = comm + \"b\"; }",
        "BEGIN { @x[] = 1; }",
        "kprobe:vfs_read { print(args->file); }",
        "kprobe:vfs_read { print(arg0->f_pos); }",
        "BEGIN { print(args.file); }",
        "kprobe:vfs_read { print(args.fil); }",
        "BEGIN { print(commm); print(commm); print(commm); }",
        "BEGIN { $s = comm < \"a\"; }",
        "BEGIN { int x = 5; }",
        "BEGIN { print(NULL); }",
        "begin { return 1 }\nbegn { }",
        "tracepoint:syscalls/sys_enter_openat { }",
        "BEGIN { @m = {1, 2}; }",
        "BEGIN { if (1) print(1); }",
        "BEGIN { @a[1] = 1; for ($kv in @a) { } }",
        "BEGIN { elif (1) { } }",
    ]));
}

#[test]
fn old_forms() {
    insta::assert_snapshot!(all(&[
        "BEGIN { print(stack); }",
        "BEGIN { print(sarg0); }",
        "config = { strlen = 10; symbol_source = \"x\"; btf = 1 } BEGIN { }",
        "kprobe:finish_task_switch { }",
        "BEGIN { print(stack(3)); }",
    ]));
}

#[test]
fn values_that_do_not_fit() {
    insta::assert_snapshot!(all(&[
        "BEGIN { print((uint8[])\"abc\"[0]); }",
        "BEGIN { $a = (uint8[0])1; }",
        "BEGIN { $x = 1; $x[0]; }",
        "kprobe:tcp_v4_connect { $t = curtask; print($t->comm[16]); print($t->rt_priority[0]); }",
        "struct a { int x[2]; } BEGIN { $a = (struct a *)0; print($a->x[5]); }",
        "tracepoint:syscalls:sys_enter_execve { @x[str_join(args.argv)] = 1; }",
        "tracepoint:syscalls:sys_enter_execve { $x = str_join(args.argv); }",
        "tracepoint:syscalls:sys_enter_execve { args.filename = 1; }",
        "BEGIN { for ($i : 0..\"a\") { } }",
        "BEGIN { print(kaddr(\"no_such_symbol\")); }",
        "BEGIN { $x = 1; comptime $x; }",
        "BEGIN { if comptime (nsecs > 1) { } }",
        "BEGIN { print(uint8); }",
        "BEGIN { print(typeinfo(1)); print(typeinfo(1).size); }",
        "BEGIN { print(cpid); }",
        "kprobe:vfs_read { print(arg64); }",
        "BEGIN { $x = (uint32[])(uint8)1; }",
        "kprobe:vfs_read { print(args); }",
        "kprobe:nft_do_chain { print(args.x); }",
        "BEGIN { unroll($x) { } }",
        "BEGIN { $x = (int32 **************************************************)0; }",
    ]));
}

#[test]
fn c_definitions() {
    insta::assert_snapshot!(all(&[
        "struct a { int x : 40; } BEGIN { }",
        "struct a { struct a inner; } BEGIN { }",
        "struct a; BEGIN { $a = (struct a *)0; print($a->x); }",
        "struct a { int x[n]; } BEGIN { }",
        "enum e { A = B } BEGIN { }",
    ]));
}

#[test]
fn macros() {
    insta::assert_snapshot!(all(&[
        "macro again(x) { again(x) } BEGIN { again(1); }",
        "macro one(x) { x } macro one(y) { y } BEGIN { one(1); }",
        "macro other() { @m = 1 } BEGIN { other(); }",
        "fn add($a : int64) : int64 { return $a; } BEGIN { print(add(1)); }",
    ]));
}

#[test]
fn options_and_signals() {
    let target = Fixture::new().unwrap();
    let with = |text: &str, named: &[(&str, Option<&str>)], positional: &[&str]| {
        let mut input = Input { text: text.into(), ..Input::default() };
        input.options.allow_unsafe = true;
        input.options.parameters.named =
            named.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect();
        input.options.parameters.positional = positional.iter().map(|word| (*word).to_owned()).collect();
        messages_of(&input, &target)
    };
    insta::assert_snapshot!(
        [
            with("BEGIN { print(getopt(\"limit\", 5)); }", &[("limti", None)], &[]),
            with("BEGIN { print(getopt(\"limit\", 5)); }", &[("limit", Some("many"))], &[]),
            with("BEGIN { print(getopt(limit, 5)); }", &[], &[]),
            with("BEGIN { print(str($1 + 9)); }", &[], &["short"]),
            with("kprobe:vfs_read { signal(\"KLL\"); }", &[], &[]),
        ]
        .join("\n")
    );
}

#[test]
fn kernels_and_files_that_cannot() {
    let mut target = Fixture::new().unwrap();
    target.lacking.insert(Feature::KtimeTai);
    target.formats_are_secret = true;
    let explosion: Vec<String> = (1..64).map(|n| format!("#define X{n} (X{0} + X{0})", n - 1)).collect();
    insta::assert_snapshot!(
        [
            messages("tracepoint:sched:sched_switch { print(args.prev_pid); }", &target),
            messages(&format!("#define X0 (1 + 1)\n{}\nBEGIN {{ print(X63); }}", explosion.join("\n")), &target),
            messages("BEGIN { print(nsecs(tai)); }", &target),
            messages(
                "config = { max_strlen = 900000 } BEGIN { $a = str(nsecs); $b = str(elapsed); @x[$a, $b] = 1; }",
                &target
            ),
        ]
        .join("\n")
    );
}
