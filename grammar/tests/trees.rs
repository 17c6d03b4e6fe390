//! Trees of representative scripts, and the words of error messages, as reviewed snapshots.
#![allow(missing_docs)]

use std::fmt::Write;

use tapline_grammar::{NoHeaders, ParseOptions, Preamble, SyntaxError, parse, parse_expr, parse_header, span::FileId};

fn opts() -> ParseOptions {
    ParseOptions { defines: vec![("BPFTRACE_HAVE_BTF".to_owned(), "1".to_owned())] }
}

fn tree(text: &str) -> String {
    let parsed = parse(FileId(0), text, &opts());
    assert!(parsed.errors.is_empty(), "{text}\n{:?}", parsed.errors);
    parsed.script.to_string()
}

/// An expression as the printed tree.
fn expr(text: &str) -> String {
    parse_expr(FileId(0), text).map_or_else(|errors| format!("{errors:?}"), |e| e.to_string())
}

#[test]
fn precedence_is_that_of_c() {
    let cases = [
        ("1 + 2 * 3", "(+ 1 (* 2 3))"),
        ("1 - 2 - 3", "(- (- 1 2) 3)"),
        ("1 << 2 + 3", "(<< 1 (+ 2 3))"),
        ("1 < 2 == 3 > 4", "(== (< 1 2) (> 3 4))"),
        ("1 & 2 == 3", "(& 1 (== 2 3))"),
        ("1 | 2 ^ 3 & 4", "(| 1 (^ 2 (& 3 4)))"),
        ("a || b && c | d", "(|| a (&& b (| c d)))"),
        ("a && b || c && d", "(|| (&& a b) (&& c d))"),
        ("1 + 2 < 3 && 4 % 5 != 6 || 7", "(|| (&& (< (+ 1 2) 3) (!= (% 4 5) 6)) 7)"),
        ("a ? b : c ? d : e", "(? a b (? c d e))"),
        ("a || b ? c : d", "(? (|| a b) c d)"),
        ("a ?: b ?: c", "(?: a (?: b c))"),
        ("-$x.y", "(neg (.y $x))"),
        ("*$p++", "(deref (post++ $p))"),
        ("!a == b", "(== (! a) b)"),
        ("(uint8)$x + 1", "(+ (cast (uint8) $x) 1)"),
        ("(uint8)$x.y", "(cast (uint8) (.y $x))"),
        ("(struct a *)$x->y", "(cast (struct a*) (->y $x))"),
        ("((struct a *)$x)->y", "(->y (cast (struct a*) $x))"),
        ("comptime a + b", "(+ (comptime a) b)"),
        ("a - -b", "(- a (neg b))"),
        ("1 / 2 / 3", "(/ (/ 1 2) 3)"),
    ];
    for (text, expected) in cases {
        assert_eq!(expr(text), expected, "{text}");
    }
}

#[test]
fn casts_and_parentheses() {
    let cases = [
        ("(foo) - 1", "(- foo 1)"),
        ("(foo)1", "(cast (foo) 1)"),
        ("(foo)(1)", "(cast (foo) 1)"),
        ("(foo) * 2", "(* foo 2)"),
        ("(foo *)2", "(cast (foo*) 2)"),
        ("(u32)-1", "(cast (u32) (neg 1))"),
        ("(__u8)*$p", "(cast (__u8) (deref $p))"),
        ("(size_t)&$x", "(cast (size_t) (addr $x))"),
        ("(uint8)-1", "(cast (uint8) (neg 1))"),
        ("(uint8[4])$x", "(cast (uint8[4]) $x)"),
        ("(a[4])", "([] a 4)"),
        ("(a[4])$x", "(cast (a[4]) $x)"),
        ("(a[])$x", "(cast (a[]) $x)"),
        ("(a[1]).b", "(.b ([] a 1))"),
        ("(unsigned long)$x", "(cast (unsigned long) $x)"),
        ("(typeof($y) *)$x", "(cast (typeof($y)*) $x)"),
        ("(a, b)", "(tuple a b)"),
        ("(a,)", "(tuple a)"),
        ("()", "(tuple)"),
        ("(a = 1, b = 2,)", "(record (a 1) (b 2))"),
        ("(@m)[1]", "([] @m 1)"),
        ("@m[1]", "(@m 1)"),
        ("@m[1][2]", "([] (@m 1) 2)"),
        ("@[1, 2]", "(@ 1 2)"),
    ];
    for (text, expected) in cases {
        assert_eq!(expr(text), expected, "{text}");
    }
}

#[test]
fn types_as_operands() {
    let cases = [
        ("sizeof(uint64)", "(sizeof type uint64)"),
        ("sizeof(struct a *)", "(sizeof type struct a*)"),
        ("sizeof(a)", "(sizeof a)"),
        ("sizeof(a *)", "(sizeof type a*)"),
        ("sizeof($x + 1)", "(sizeof (+ $x 1))"),
        ("sizeof(typeof($x))", "(sizeof type typeof($x))"),
        ("sizeof(typeof($x) *)", "(sizeof type typeof($x)*)"),
        ("offsetof(struct a, b.c)", "(offsetof type struct a b.c)"),
        ("offsetof($x, b)", "(offsetof $x b)"),
        ("has_field(struct a, b.c)", "(has_field type struct a b.c)"),
        ("typeinfo(int).full_type", "(.full_type (typeinfo type int))"),
        ("f(typeof(uint8), struct a *, x)", "(call f (type typeof(type uint8)) (type struct a*) x)"),
    ];
    for (text, expected) in cases {
        assert_eq!(expr(text), expected, "{text}");
    }
}

#[test]
fn literals() {
    let cases = [
        ("1_000", "1000"),
        ("1e6", "1000000"),
        ("017", "15"),
        ("0x1F", "31"),
        ("10UL", "10"),
        ("0xffffffffffffffff", "18446744073709551615"),
        ("10ms", "10000000"),
        ("1m", "60000000000"),
        ("2h", "7200000000000"),
        ("1d", "86400000000000"),
        (r#""a\n\t\"\\\x41\101\0""#, r#""a\n\t\"\\AA\x00""#),
        ("$12", "$12"),
        ("$#", "$#"),
    ];
    for (text, expected) in cases {
        assert_eq!(expr(text), expected, "{text}");
    }
}

#[test]
fn io_latency() {
    insta::assert_snapshot!(tree(
        r#"#!/usr/bin/env bpftrace
#include <linux/fs.h>

kprobe:vfs_read, kprobe:vfs_write
{
    @start[tid] = nsecs;
    @io_type[tid] = probe;
}

kretprobe:vfs_read,
kretprobe:vfs_write
/@start[tid]/
{ // slow ones
    $duration = (nsecs - @start[tid]) / 1000;
    $type = @io_type[tid];
    @latency_us = hist($duration);
    if ($duration > 10000) {
        printf("%s %s %d us\n", $type == "kprobe:vfs_read" ? "READ" : "WRITE", comm, $duration);
    }
    delete(@start[tid]); delete(@io_type[tid]);
}

interval:s:30 { print(@latency_us); clear(@latency_us); }
"#
    ));
}

#[test]
fn every_statement() {
    insta::assert_snapshot!(tree(
        r#"
config = { stack_mode = perf; max_map_keys = 0x10; print_maps_on_exit = false }
import "lib.bt";
let @m = lruhash(1 << 4);
macro twice(e, $v, @m) { import "x.bt"; @m[e] = $v; e + e }
fn plus($a : int64, $b : struct foo *) : uint64 { return $a; }
tracepoint:syscalls:sys_enter_open*, name:x:y
/ args.len / 2 > 1 /
{
  let $a; let $b : uint8 = 1; let $c : string[4];
  _ = f();
  $a += 1; @x[1, "k"]++; --$b; *$p = 1; $s.f[2] = 3;
  if (1) { 2 } else if $a { 3; } else { 4 }
  if comptime (1) { } 
  while $a < 3 { break; continue; }
  unroll (3) { $a++ }
  for ($i : 0..10) { print($i) }
  for $kv : @x { print($kv.0.1); }
  { $q = 1; }
  $v = { let $w = 1; $w };
  $u = if (1) { 2 } else { 3 };
  $t = (1, (2,), (x = 1));
  return $v ?: 1;
}
"#
    ));
}

#[test]
fn values_of_blocks() {
    insta::assert_snapshot!(tree(
        "macro a() { if (1) { 2 } else if (3) { 4 } else { 5 } }
macro b() { if (1) { 2 } else { 3; } }
macro c() { { { 1 } } }
macro d() { { 1 } 2; }
kprobe:f { if (1) { f() } else { g() } }
kprobe:g { { f() } }"
    ));
}

#[test]
fn attach_points() {
    insta::assert_snapshot!(tree(
        r#"uprobe:/bin/bash:"read line"+4, uprobe:bin@dir/file.c:12 /pid/ { }
uretprobe:/usr/lib/*/libc.so.[6-7]:cpp:"a::b(int, c)" { }
kprobe:f/pid==1/{ }
uprobe:./app:github.com/x.y { }
uprobe:/bin/bash:readline/pid == 1/ { }
tracepoint:syscalls:sys_enter_$1
interval:1s
{ }
usdt::p:n*?, hardware:cache-misses:1e6,
BEGIN { }
first = kprobe:f { }
uprobe:/a:"f\"{}/:,", iter:task:/sys/fs/bpf/x { }
"#
    ));
}

#[test]
fn c_definitions() {
    insta::assert_snapshot!(tree(
        r#"
#ifndef BPFTRACE_HAVE_BTF
#include <linux/sched.h>
junk ( "
#elif defined(X)
#else
#define N 3 /* over
two lines */
#endif
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define LONG N + \
  1
#define NOT_AN_EXPR struct foo {
#define EMPTY
#define INT unsigned int
#if MAX(N, 4) == 4 && LONG == 4 && !defined EMPTY || KERNEL_VERSION(5, 10, 0) == 330240
struct A {
  INT a, *b, c[N][2]; // comment
  unsigned long long d : 3, : 0, e : N;
  struct { int x; union { char y; long z; }; } in;
  struct A *next; int (*call)(int, char *); void (**table)(void); const char *const s;
  char name[16] __attribute__((aligned(8)));
  int packed_one __attribute__((packed));
#ifdef NOPE
  int nope;
#endif
  enum { P, Q } q; struct B { u8 v; } b2; int config, fn, let; int flex[];
} __attribute__((packed, aligned(64)))
#endif
struct S; union U { int a; };
struct __attribute__((packed)) V { char c; }
typedef struct { u32 a; } anon_t, *anon_p;
typedef struct named { u32 a; } named_t;
typedef unsigned long ulong_t, arr_t[4]; typedef int (*cb_t)(void *);
enum E { A1, B1 = 3, C1 = (1 << 2), D1 = A1 + 1, };
begin { }
"#
    ));
}

#[test]
fn byte_order_marks_and_carriage_returns() {
    let text = "\u{feff}#!/usr/bin/env tapline\r\n#define N \\\r\n  5\r\nkprobe:a,\r\nkprobe:b\r\n/pid/\r\n{ // c\r\n f(N);\r\n}\r\n";
    let expected = "shebang #!/usr/bin/env tapline\n(define N 5)\n(probe\n  (attach \"kprobe\" \"a\")\n  (attach \"kprobe\" \"b\")\n  \
        (predicate pid)\n  (call f N))\n";
    assert_eq!(tree(text), expected);
}

#[test]
fn headers() {
    let text = "#ifndef H\n#define H\n#include <stdint.h>\nextern int x;\nint f(int a, char *b);\n\
        static inline int g(void) { return 1; }\nstruct A { uint32_t a; };\nstruct A make(void);\n\
        static const struct A one = { .a = 1 };\ntypedef struct A A_t;\n#endif\n";
    let header = parse_header(FileId(3), text, &mut Preamble::new(&opts()), &NoHeaders);
    assert_eq!(header.errors, []);
    let items: Vec<String> = header.items.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(items.join("\n"));
}

#[test]
fn spans_cover_what_was_written() {
    let text = "kprobe:f /pid/ { $x = (1 + 2) * $y; @m[1]++; let $z : struct a * = 1; }";
    let parsed = parse(FileId(7), text, &opts());
    let at = |span: tapline_grammar::span::Span| {
        assert_eq!(span.file, FileId(7));
        text.get(span.start as usize..span.end as usize).unwrap_or_default()
    };
    let Some(tapline_grammar::ast::Item::Probe(probe)) = parsed.script.items.first() else {
        panic!("{:?}", parsed.script)
    };
    assert_eq!(at(probe.span), text);
    assert_eq!(probe.predicate.as_ref().map(|p| at(p.span)), Some("pid"));
    let stmts: Vec<&str> = probe.body.stmts.iter().map(|s| at(s.span)).collect();
    assert_eq!(stmts, ["$x = (1 + 2) * $y", "@m[1]++", "let $z : struct a * = 1"]);
    let parts: Vec<&str> = probe.attach_points.iter().flat_map(|a| &a.parts).map(|p| at(p.span)).collect();
    assert_eq!(parts, ["kprobe", "f"]);
}

/// Errors as a user might see them: the line, what is underlined, and the words.
fn render(text: &str, errors: &[SyntaxError]) -> String {
    let mut out = String::new();
    let place = |out: &mut String, start: u32, end: u32, words: &str| {
        let (start, end) = (start as usize, end as usize);
        let before = text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        let line = text.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        let width = text.get(start..end).unwrap_or_default().lines().next().unwrap_or_default().chars().count().max(1);
        let number = before.matches('\n').count() + 1;
        let marks = format!("    | {}{} {words}", " ".repeat(column), "^".repeat(width));
        writeln!(out, "  {number} | {line}\n{}", marks.trim_end())
    };
    for error in errors {
        let _ = writeln!(out, "error: {}", error.message);
        let _ = place(&mut out, error.span.start, error.span.end, "");
        for (span, label) in &error.labels {
            let _ = place(&mut out, span.start, span.end, label);
        }
        if let Some(help) = &error.help {
            let _ = writeln!(out, "  help: {help}");
        }
    }
    out
}

/// Each mistake alone.
#[rustfmt::skip]
const MISTAKES: &[&str] = &[
    "begin { printf(\"a\" }",
    "begin { printf(\"a\"; }",
    "begin { $x = 1 $y = 2 }",
    "begin { print(1) print(2) }",
    "begin { if ($x = 1) { } }",
    "begin { if (1) print(1); }",
    "begin { $x = ; }",
    "begin { $x = 1 + ; }",
    "begin { $x = (1 + 2; }",
    "begin { @x[1 = 2; }",
    "begin { @x[] = 2; }",
    "begin { print(1); ",
    "begin { if (1) { print(1); \nkprobe:f { print(2); }",
    "kprobe:f /pid == 1 { print(1); }",
    "kprobe:f print(1);",
    "kprobe:f",
    "kprobe:f kprobe:g { }",
    ", kprobe:f { }",
    "uprobe:/bin/bash:\"read { }",
    "begin { x = 1; }",
    "begin { 1 = 2; }",
    "begin { $x.a++; }",
    "begin { print('a'); }",
    "begin { print(\"abc); }",
    "begin { $x = \"a\\qb\"; }",
    "begin { $x = 18446744073709551616; }",
    "begin { $x = 099; }",
    "begin { $x = 12foo; }",
    "begin { for ($x in @m) { } }",
    "begin { for ($x : 1) { } }",
    "begin { for (i : 0..3) { } }",
    "begin { for ($i = 0; $i < 3; $i++) { } }",
    "begin { else { } }",
    "begin { return return; }",
    "begin { let x = 1; }",
    "begin { let $x : = 1; }",
    "begin { } }",
    "begin { } end { ) } begin { ( }",
    "config = { a 1 } begin { }",
    "config = { a = } begin { }",
    "macro f(1) { } begin { }",
    "macro f { } begin { }",
    "fn f(x) { } begin { }",
    "fn f($x) { } begin { }",
    "let @a = 5; begin { }",
    "let @a = hash(); begin { }",
    "import x; begin { }",
    "struct A { int; } begin { }",
    "struct A { int x } begin { }",
    "struct A { int x; begin { }",
    "enum A { B C } begin { }",
    "typedef int; begin { }",
    "#include foo\nbegin { }",
    "#define 1\nbegin { }",
    "#if (\n#endif\nbegin { }",
    "#if 1\nbegin { }",
    "#endif\nbegin { }",
    "#foo\nbegin { }",
    "#error no\nbegin { }",
    "begin { \n#define A 1\n }",
    "begin { $x = (struct )1; }",
    "begin { $x = (struct foo 1; }",
    "begin { $x = sizeof(); }",
    "begin { $x = offsetof(struct foo); }",
    "begin { $x = a ? b; }",
    "begin { $x = @m[1]]; }",
    "begin { print(1,,2); }",
    "begin { $x = $; }",
    "begin { § }",
    "begin { $x = 1 /* abc }",
    "begin { $x = $y->; }",
    "begin { $x = $y.1a; }",
    "begin { while (1) }",
    "begin { unroll { } }",
    "hello world",
    "{ print(1); }",
    "printf(\"hello\");",
    "begin { printf(\"%d\\n\", 1) }; }",
    "begin { a b c; d e; print(1); f g }",
    "begin { $x = if (1) { 1 } }",
    "begin { $a && ; if ( { } while ) { } $c = 1; }",
    "tracepoint:syscalls:sys_enter_open { printf(\"%s\", args->); $y = [1]; }",
    "begin { $x = 5 = 6; }",
    "begin { import x; }",
    "begin { fn f() { } }",
    "begin { $0; }",
    "static inline int f(int a) { return a; }\nbegin { }",
    "struct a *f(int a) { return 0; }\nbegin { }",
    "kprobe:f /pid == 1 { print(1); }\nkprobe:g { x = 1; }",
];

#[test]
fn messages() {
    let mut all = String::new();
    for text in MISTAKES {
        let errors = parse(FileId(0), text, &opts()).errors;
        let _ = writeln!(all, "{}", render(text, &errors));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn several_mistakes_in_one_run() {
    let text = r#"#include stdio.h
config = { max_map_keys 5 }
kprobe:vfs_write /pid == 1 { print(1); }
kprobe:vfs_read /pid == / {
  $x = (1 + ;
  if ($x = 1) { print($x); }
  printf("%d\n" $x);
  $y = @m[;
  for ($i = 0; $i < 3; $i++) { print($i); }
  $ok = 1;
}
kretprobe:vfs_read {
  if (1) {
    print(1);
interval:s:1 {
  print("never closed);
  x = 18446744073709551616;
}
struct A { int a b; };
end { print('x'); } }
"#;
    let parsed = parse(FileId(0), text, &opts());
    insta::assert_snapshot!(render(text, &parsed.errors));
    insta::assert_snapshot!("several_mistakes_tree", parsed.script.to_string());
}
