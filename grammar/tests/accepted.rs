//! Scripts that must parse: one line each, all constructs.
#![allow(missing_docs)]

use tapline_grammar::{ParseOptions, parse, span::FileId};

const ACCEPTED: &[&str] = &[
    r#"tracepoint:syscalls:sys_enter_openat { printf("%s %s\n", comm, str(args->filename)); }"#,
    r#"kprobe:do_sys_open { printf("%s opened file\n", comm); }"#,
    "BEGIN { exit(); }",
    "begin { exit() } end { clear(@x) }",
    "kprobe:f /pid == 1 && comm != \"a\"/ { @[comm, pid] = count(); }",
    "kprobe:f/pid==1/{@=count()}",
    "kprobe:f /@a[tid] / 2 > 1/ { $x = 4 / 2 / 1; }",
    "kprobe:vfs_read, kprobe:vfs_write { @start[tid] = nsecs; }",
    "kprobe:a,\nkprobe:b\n{ @++ }",
    "kprobe:a\nkprobe:b\n{ @++ }",
    "kprobe:f { $s = (struct sock *)arg0; $i = (struct inet_sock *)$s; }",
    "kprobe:f { $s = ((struct sock *)arg0)->__sk_common.skc_daddr; }",
    "kprobe:f { $x = (uint8)-1; $y = (pid) - 1; $z = (uint64_t)-1; $w = (uint64_t)(pid); }",
    "kprobe:f { $x = (uint8[4])$y; $z = (uint8[])$y; $w = (int8 **)arg0; $u = (unsigned long)arg0; }",
    "kprobe:f { $x = $a ? $b : $c ? 1 : 2; $y = $a ?: 3; pid == 1 ? print(1) : print(2) }",
    "kprobe:f { if (pid == 1) { print(1) } else if pid == 2 { print(2); } else { print(3) } }",
    "kprobe:f { while ($i < 3) { $i++ } unroll (3) { $i--; } unroll 5 { ++$i; --$i } }",
    "kprobe:f { for ($kv : @map) { print($kv.0.1); break; } for ($i : 0..10) { continue; } for $i : $a..ncpus { } }",
    "kprobe:f { let $x; let $y : uint8 = 1; let $z = 2; let $w : struct foo *; let $v: string[16] = \"a\"; }",
    "kprobe:f { $x = { let $a = 1; $a }; $y = if (1) { 2 } else { 3 }; { 1 } }",
    "kprobe:f { _ = has_key(@a, 1); delete(@a[1]); delete(@a, (1, 2)); }",
    "kprobe:f { $t = (1, \"a\", (2,)); $e = (); $r = (a = 1, b = (c = 2,)); print($r.b.c); }",
    "kprobe:f { print(sizeof(struct foo)); print(sizeof(uint8)); print(sizeof($x)); print(offsetof(struct foo, a.b)); }",
    "kprobe:f { let $x : typeof($y) = 1; print((typeof($y))1); foo(typeof(uint8)); print(typeinfo($x).full_type); }",
    "kprobe:f { @a += 1; @a -= 1; @a *= 2; @a /= 2; @a %= 2; @a &= 1; @a |= 1; @a ^= 1; @a <<= 1; @a >>= 1; }",
    "kprobe:f { $x = **$p + *$q * -$r & ~$s | !$t ^ 3 << 2 >> 1; $y = &$x; $z = &@m; }",
    "kprobe:f { print($1); print($#); print(str($2)); @[$1]++; }",
    "kprobe:f { $x = 1e6; $y = 0x1F; $z = 0777; $w = 1_000_000UL; $d = 10ms + 1s + 2h + 3d + 4m + 5us + 6ns; }",
    "kprobe:f { if comptime (kfunc_exist(\"x\")) { print(1) } $x = comptime 1 + 2; }",
    "config = { stack_mode=perf; max_map_keys=2; BPFTRACE_X=true } begin { }",
    "import \"a.bt\"; import \"b.h\"\nbegin { }",
    "let @a = lruhash(100); let @b = hash(5)\nbegin { }",
    "macro add(x, $y, @z) { $y += x; @z[x] = 1; x + 1 } begin { print(add(1, $a, @b)); }",
    "fn f($a : int64, $b : struct foo *) : uint64 { return $a; } fn g() { return; } begin { }",
    "#include <linux/sched.h>\n#include \"x.h\"\n#define N 5\nbegin { print(N) }",
    "uprobe:/bin/bash:\"read line\"+4, uprobe:/bin/bash:readline { }",
    "uprobe:bin@file.c:12 { } usdt:/path/x-1.so.2:prov:name { } hardware:cache-misses:1e6 { } interval:1s { }",
    "kprobe:$1 { } tracepoint:syscalls:sys_enter_open* { } kprobe:tcp_[a-z]*,kprobe:??? { }",
    "uprobe:/usr/lib/*:cpp:\"a::b(int, c)\" { } uretprobe:libc:malloc /pid == $1/ { }",
    "watchpoint:0x1000:8:rw { } iter:task_file:/sys/fs/bpf/files { } self:signal:SIGUSR1 { } test:x { return 1; }",
    "name=kprobe:f { }",
    "// c\n/* d */ BEGIN // e\n{ // f\n/* g */ print(1); }",
    "#!/usr/bin/env tapline\nBEGIN { }",
    "BEGIN { @x = 1 } ; END { }",
    "kprobe:f { $x.config = 1; print($x->import.fn); print(config.max_strlen); }",
];

#[test]
fn all_parse() {
    let mut failed = String::new();
    for text in ACCEPTED {
        let parsed = parse(FileId(0), text, &ParseOptions::default());
        for error in parsed.errors {
            let at = text.get(error.span.start as usize..).unwrap_or_default();
            failed.push_str(&format!("{text}\n  {} at `{}`\n", error.message, &at[..at.len().min(20)]));
        }
    }
    assert!(failed.is_empty(), "{failed}");
}
