//! Scripts through parsing, expansion and checking, against the pinned target: typed trees and rendered diagnostics.
#![allow(clippy::unwrap_used)]

use tapline_grammar::ParseOptions;
use tapline_grammar::span::FileId;

use super::{Options, check, print};
use crate::expand;
use crate::render::{Colour, render};
use crate::source::SourceMap;
use crate::target::Feature;
use crate::target::fixture::Fixture;

fn checked_on(text: &str, target: &Fixture) -> String {
    let sources = SourceMap::with_file("t.bt", text);
    let parsed = tapline_grammar::parse(FileId(0), text, &ParseOptions::default());
    assert!(parsed.errors.is_empty(), "{text}: {:?}", parsed.errors);
    let mut diagnostics = Vec::new();
    let script = expand::expand(parsed.script, &expand::Options::default(), target, &mut diagnostics);
    let mut result = check(&script, target, Options::default());
    diagnostics.append(&mut result.diagnostics);
    let mut out: String = diagnostics.iter().map(|d| render(d, &sources, Colour::Never)).collect();
    if let Some(script) = result.script {
        out += &print::print(&script);
    }
    out
}

/// Each script, then its typed tree, or what is wrong with it.
fn all(scripts: &[&str]) -> String {
    let target = Fixture::new().unwrap();
    let sections: Vec<String> =
        scripts.iter().map(|text| format!("=== {text}\n{}", checked_on(text, &target))).collect();
    sections.join("\n")
}

#[test]
fn arithmetic_is_done_in_64_bits_and_literals_stay_small() {
    insta::assert_snapshot!(all(&[
        "begin { $a = 1; $b = 200; $c = -1; $e = $a + $b; $f = $b - 1; $g = 5 * 3; $h = 1 << 20; }",
        "begin { $i = pid + 1; $j = nsecs / 1000; $k = 0xffffffffffffffff; $l = $k / 10; $m = pid * 3 / 4; }",
        "begin { $a = 1; $q = ~$a; $r = !$a; $s = -$a; $t = ~(uint8)1; $u = (uint8)pid >> 3; $v = $u & 0xff; }",
        "begin { $n = pid == 1; $o = nsecs > 5 && cpu < 3; $p = true == (pid == 0); $q = 1 < 2; }",
        "begin { $a = 1; $a += 1; $b = pid; $b -= 1; $c = 1; $c <<= 3; $d = pid; $d++; @x++; @y += 5; }",
        "begin { $a = nsecs + -1; }",
        "begin { $x = 0; $x = pid == 1; $y = cpu ? pid : 1; $z = pid ?: 5; }",
    ]));
}

#[test]
fn types_are_joined_over_the_whole_script() {
    insta::assert_snapshot!(all(&[
        "begin { $a = 1; $b = $a; $b = pid; $c = pid; $c = -1; $d = 300; $d = 1; }",
        "begin { @m = 1; @t[1, \"a\"] = 2; } interval:s:1 { @m = 70000; @t[pid, comm] = 3; }",
        "begin { $x = (1, 2); $x = (1, 70000); $s = \"a\"; $s = comm; @r = (a=1, b=\"x\"); $f = @r.b; }",
        "begin { @a = count(); @b = sum(pid); @c = max(-1); @d = avg(5); $x = @a + 1; if (@c > 5) { @e = hist(@b); } }",
        "begin { @l = lhist(pid, 0, 100, 10); @h[comm] = hist(1, 2); print(@l, 5, 2); clear(@h); zero(@l); }",
        "begin { @z = @never; }",
    ]));
}

#[test]
fn control_flow() {
    insta::assert_snapshot!(all(&[
        "begin { if (pid) { $x = 1; } else { $x = 2; } print($x); }",
        "begin { if (pid) { $x = 1; } else { $x = \"two\"; } }",
        "begin { unroll (3) { @n++; } while (@n < 10) { @n += 2; if (@n == 6) { continue; } break; } }",
        "begin { @m[1, 2] = 3; for ($kv : @m) { print($kv.0.1 + $kv.1); } for ($i : 0..ncpus) { print($i); } }",
        "begin { let $a : uint8 = 5; let $b; $b = { $c = 1; $c + 1 }; pid == 1 ? print(1) : exit(); print(2); exit(); print(3); }",
        "begin { @m[1] = 1; if (has_key(@m, 1)) { delete(@m, 1); } delete(@m[2]); $gone = delete(@m, 3); $n = len(@m); }",
    ]));
}

#[test]
fn structs_and_pointers() {
    insta::assert_snapshot!(all(&[
        "kprobe:vfs_read { $f = (struct file *)arg0; $n = str($f->f_path.dentry->d_name.name); $p = $f + 1; $q = $p == 0; }",
        "begin { $t = curtask; print(($t->pid, $t.comm, $t->parent.tgid)); $x = ppid; $y = sizeof(struct list_head); }",
        "struct in { int a : 3; unsigned b : 5; char c; }; struct s { struct in i; union { u64 x; u32 y[2]; }; char n[7]; };\n\
         begin { $s = (struct s *)0; print(($s->i.b, $s->y[1], $s->n, sizeof(struct s), offsetof(struct s, n))); }",
        "enum e { A, B = 5, C }; begin { $e = C; print($e); @[A] = 1; $n = B + 1; $c = $e == B; }",
        "kprobe:tcp_v4_connect { $sk = (struct sock *)arg0; $i = (struct inet_sock *)$sk; \
         printf(\"%s %d\", ntop(AF_INET, $i->inet_daddr), $i->inet_dport); $f = $sk->sk_family; $s = $sk.sk_v6_daddr; }",
        "begin { $p = (uint8 *)1; $b = $p[3]; $d = *($p + 1); $q = &@m; @m = 5; $a = (uint8[4])(uint32)7; $e = $a[2]; }",
        "begin { print(curtask->state); }",
    ]));
}

#[test]
fn contexts() {
    insta::assert_snapshot!(all(&[
        "tracepoint:syscalls:sys_enter_openat { printf(\"%s %d\", str(args->filename), args.flags); }",
        "tracepoint:sched:sched_process_exec { print((str(args.filename), args.pid)); }",
        "tracepoint:sched:sched_switch { @[args.prev_comm, args.next_pid] = count(); }",
        "kprobe:vfs_read /args.count > 10/ { @ = sum(arg2); $f = args.file->f_mode; print(reg(\"ip\")); print(func); }",
        "kretprobe:vfs_read { @ = hist(retval); }",
        "rawtracepoint:sched_switch { print((arg0, ((struct task_struct *)arg1)->pid)); }",
        "profile:hz:99 { @[kstack, ustack(perf, 3)] = count(); print(kstack(raw)); }",
    ]));
}

#[test]
fn programs_and_the_name_of_the_probe() {
    insta::assert_snapshot!(all(&[
        "kprobe:vfs_read, kprobe:vfs_write { @[tid] = nsecs; }",
        "kprobe:vfs_read, kprobe:vfs_write { @[probe] = count(); }",
        "kprobe:vfs_read, kprobe:vfs_write { @t[tid] = probe; if (@t[tid] == \"kprobe:vfs_read\") { print(1); } }",
        "kprobe:vfs_read { @[probe] = count(); } kretprobe:vfs_read { print(probe); }",
        "kprobe:vfs_rea* { @[func] = count(); }",
        "begin, end { print(probe); print(probetype); }",
        "tracepoint:syscalls:sys_exit_* /args.ret < 0/ { @[probe] = count(); }",
        "tracepoint:sched:sched_switch, tracepoint:syscalls:sys_enter_openat { @n++; }",
    ]));
    let mut old = Fixture::new().unwrap();
    old.lacking = [Feature::KprobeMulti, Feature::AttachCookie].into();
    insta::assert_snapshot!("old_kernel", checked_on("kprobe:vfs_rea* { @[probe] = count(); }", &old));
}

#[test]
fn wrong_names() {
    insta::assert_snapshot!(all(&[
        "begin { pritnf(\"x\"); foo(); }",
        "begin { $a = piid; $b = AF_INETT; }",
        "begin { $count = 1; print($cuont); print(count); }",
        "begin { @start = 1; print(@strat); }",
        "begin { print(curtask->pidd); $x = (struct nosuch *)0; $y = (uint33)1; }",
        "tracepoint:syscalls:sys_enter_openat { print(args.filname); }",
        "kprobe:vfs_read { print(args.cuont); }",
        "begin { $x = nsecs(bot); $y = kstack(prf); print(reg(\"foo\")); }",
        "kprobe:vfs_read { print(reg(\"pi\")); }",
    ]));
}

#[test]
fn wrong_types() {
    insta::assert_snapshot!(all(&[
        "begin { $a = 1; $a = \"x\"; }",
        "begin { let $a : uint8 = 300; }",
        "begin { $x = comm + 1; $y = comm < \"a\"; $z = pid == \"x\"; }",
        "begin { if (comm) { } $x = !comm; $y = -comm; }",
        "begin { $x = pid ? 1 : \"a\"; }",
        "begin { $x = (1, 2).5; $y = pid.0; $z = pid.foo; $p = curtask; $q = $p.comm.foo; }",
        "begin { $x = *comm; $y = &pid; $z = (struct file *)comm; }",
        "begin { $s = \"a\"; $s++; }",
        "begin { $x = 1 / 0; $y = pid % 0; $z = 0xffffffffffffffff * 16; }",
        "begin { $x = ntop(AF_INET6, 1); $y = macaddr(comm); $z = str(1, -1); $b = buf(curtask); }",
    ]));
}

#[test]
fn wrong_maps() {
    insta::assert_snapshot!(all(&[
        "begin { @a[1] = 1; @a[\"x\"] = 1; }",
        "begin { @a[1] = 1; @a = 2; }",
        "begin { @a = 1; @a = \"x\"; }",
        "begin { @a = count(); @a = 1; @b = count(); @b = hist(1); }",
        "begin { $x = count(); count(); @h = hist(1); $y = @h; @h += 1; }",
        "begin { @l = lhist(1, 10, 0, 1); @l = lhist(1, 0, 10, 0); @l = lhist(1, 0, 1000000, 1); @l = hist(1, 9); }",
        "begin { clear(1); delete(@a); @a[1] = 1; has_key(@a); for ($kv : @s) { } @s = 1; }",
        "let @a = hsh(5); let @b = hash(0); begin { @a[1] = 1; @b[1] = 1; }",
    ]));
}

#[test]
fn wrong_calls() {
    insta::assert_snapshot!(all(&[
        "begin { printf(\"%d\\n\", comm); printf(\"%d %d\\n\", 1); printf(\"%d\\n\", 1, 2); printf(\"%y\", 1); printf(comm); }",
        "begin { str(); strncmp(\"a\", \"b\"); pid(5); time(1); exit(\"a\"); join(\"a\"); }",
        "begin { system(\"ls\"); signal(5); }",
        "begin { print(arg0); print(retval); print(args.x); print(func); }",
        "kretprobe:vfs_read { print(arg0); }",
        "begin { break; unroll (0) { } unroll (200) { } unroll (pid) { } }",
        "begin { $x = 1; let $x = 2; for ($x : 0..2) { } 1; has_key(@a, 1); @a[1] = 1; print(printf(\"x\")); }",
    ]));
}

#[test]
fn nothing_makes_it_panic_without_btf_and_tracefs() {
    let mut bare = Fixture::new().unwrap();
    bare.btf = None;
    insta::assert_snapshot!(checked_on(
        "begin { print(curtask->pid); $x = (struct file *)1; print(TCP_ESTABLISHED); print(ppid); }",
        &bare
    ));
}
