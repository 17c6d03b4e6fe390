//! Scripts from text to their expanded form, against the pinned target.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fmt::Write as _;

use tapline_grammar::ParseOptions;
use tapline_grammar::ast::{Expr, ExprKind, StmtKind, UnOp};
use tapline_grammar::span::FileId;

use super::{ExpandedScript, Options, expand};
use crate::diagnostic::Diagnostics;
use crate::target::fixture::Fixture;

fn run_with(text: &str, options: &Options) -> (ExpandedScript, Diagnostics) {
    let parsed = tapline_grammar::parse(FileId(0), text, &ParseOptions::default());
    assert!(parsed.errors.is_empty(), "{text}: {:?}", parsed.errors);
    let mut diagnostics = Vec::new();
    let target = Fixture::new().unwrap();
    let script = expand(parsed.script, options, &target, &mut diagnostics);
    (script, diagnostics)
}

fn params(positional: &[&str]) -> Options {
    let mut options = Options::default();
    options.parameters.positional = positional.iter().map(|p| (*p).to_owned()).collect();
    options
}

fn named(pairs: &[(&str, Option<&str>)]) -> Options {
    let mut options = Options::default();
    options.parameters.named = pairs.iter().map(|(n, v)| ((*n).to_owned(), v.map(str::to_owned))).collect();
    options
}

fn messages(diagnostics: &Diagnostics) -> Vec<&str> {
    diagnostics.iter().map(|d| d.message.as_str()).collect()
}

/// The arguments of the first statement, a call, in short.
fn arguments(script: &ExpandedScript) -> Vec<String> {
    let body = &script.probes[0].body;
    let call = match body.stmts.first().map(|s| &s.kind) {
        Some(StmtKind::Expr(e)) => e,
        other => panic!("{other:?}"),
    };
    let ExprKind::Call { args, .. } = &call.kind else { panic!("{call:?}") };
    args.iter().map(short).collect()
}

fn short(e: &Expr) -> String {
    match &e.kind {
        ExprKind::Int { value, .. } => value.to_string(),
        ExprKind::Str(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        ExprKind::Bool(b) => b.to_string(),
        ExprKind::Ident(name) => name.clone(),
        ExprKind::Unary { op: UnOp::Neg, expr } => format!("-{}", short(expr)),
        ExprKind::Binary { op, lhs, rhs } => format!("({} {op:?} {})", short(lhs), short(rhs)),
        ExprKind::Call { name, args } => {
            format!("{}({})", name.node, args.iter().map(short).collect::<Vec<_>>().join(", "))
        }
        ExprKind::Error => "error".into(),
        other => format!("{other:?}"),
    }
}

/// What the arguments of `f` become with parameters.
fn substituted(args: &str, given: &[&str]) -> (String, Diagnostics) {
    let (script, diagnostics) = run_with(&format!("BEGIN {{ f({args}) }}"), &params(given));
    (arguments(&script).join(" "), diagnostics)
}

#[test]
fn parameters_are_numbers_or_strings_by_their_text() {
    for (args, given, expected) in [
        ("$1", "12", "12"),
        ("$1", "0x10", "16"),
        ("$1", "1s", "1000000000"),
        ("$1", "1e3", "1000"),
        ("$1", "-5", "-5"),
        ("$1", "abc", "\"abc\""),
        ("$1", "12abc", "\"12abc\""),
        ("$#", "x", "1"),
        ("str($1)", "0x10", "\"0x10\""),
        ("str($1, 2)", "12", "str(\"12\", 2)"),
        ("str($1 + 2)", "hello", "\"llo\""),
        ("str($1 + 5)", "hello", "\"\""),
        ("$1 + 1", "hello", "\"ello\""),
        ("$1 + 1", "5", "(5 Add 1)"),
        ("$1 == \"12\"", "12", "(\"12\" Eq \"12\")"),
        ("\"a\" != $1", "7", "(\"a\" Ne \"7\")"),
    ] {
        let (got, diagnostics) = substituted(args, &[given]);
        assert_eq!(got, expected, "{args} with {given}");
        assert!(diagnostics.is_empty(), "{diagnostics:?}");
    }
    assert_eq!(messages(&substituted("str($1 + 6)", &["hello"]).1), ["the parameter `$1` has 5 bytes only"]);
}

#[test]
fn unset_parameters_are_nothing_and_warn_once() {
    let (got, diagnostics) = substituted("$2, str($2), $3", &["x"]);
    assert_eq!(got, "0 \"\" 0");
    assert_eq!(messages(&diagnostics), ["the parameter `$2` was not given", "the parameter `$3` was not given"]);
    assert!(diagnostics.iter().all(|d| !d.is_error()));
    let (_, diagnostics) = substituted("$# > 1 ? $2 : 5", &["x"]);
    assert!(diagnostics.is_empty(), "a script that counts its parameters knows what to do: {diagnostics:?}");
}

#[test]
fn parameters_in_attach_points() {
    for (text, given, names) in [
        ("interval:ms:$1 {}", "20", "interval:ms:20"),
        ("kprobe:$1 {}", "vfs_read", "kprobe:vfs_read"),
        ("tracepoint:sched:sched_$1 {}", "switch", "tracepoint:sched:sched_switch"),
        ("tracepoint:$1 {}", "sched:sched_switch", "tracepoint:sched:sched_switch"),
        ("$1:vfs_read {}", "kprobe", "kprobe:vfs_read"),
    ] {
        let (script, diagnostics) = run_with(text, &params(&[given]));
        assert!(diagnostics.is_empty(), "{text}: {diagnostics:?}");
        assert_eq!(script.probes[0].points[0].desc.name, names);
    }
    let (_, diagnostics) = run_with("interval:ms:$2 {}", &params(&["20"]));
    assert_eq!(
        messages(&diagnostics),
        ["the rate of an interval probe must be a positive integer", "the parameter `$2` was not given"]
    );
}

#[test]
fn named_options() {
    let text = "BEGIN { f(getopt(\"aa\", 1), getopt(\"bb\"), getopt(\"cc\", \"x\", \"text\"), getopt(\"dd\", true)) }";
    for (given, expected) in [
        (vec![], "1 false \"x\" true"),
        (vec![("aa", Some("20")), ("bb", None)], "20 true \"x\" true"),
        (vec![("cc", Some("5")), ("dd", Some("false"))], "1 false \"5\" false"),
        (vec![("bb", Some("0")), ("aa", Some("1")), ("aa", Some("-2"))], "-2 false \"x\" true"),
    ] {
        let (script, diagnostics) = run_with(text, &named(&given));
        assert!(diagnostics.is_empty(), "{diagnostics:?}");
        assert_eq!(arguments(&script).join(" "), expected, "{given:?}");
    }
    for (given, message) in [
        (("aa", Some("zz")), "the option `--aa` expects a number"),
        (("aa", None), "the option `--aa` expects a number"),
        (("bb", Some("2")), "the option `--bb` expects true or false"),
        (("cc", None), "the option `--cc` expects a value"),
        (("ee", None), "the script has no option `--ee`"),
        (("e", None), "the script has no option `-e`"),
    ] {
        assert_eq!(messages(&run_with(text, &named(&[given])).1), [message], "{given:?}");
    }
}

#[test]
fn definitions_are_substituted_everywhere() {
    let text = "#define LIMIT 10\n#define TWICE(x) ((x) + (x))\n#define MORE TWICE(LIMIT)\nBEGIN { f(LIMIT, TWICE(3), MORE, other) }";
    let (script, diagnostics) = run_with(text, &Options::default());
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    assert_eq!(arguments(&script), ["10", "(3 Add 3)", "(10 Add 10)", "other"]);
    let StmtKind::Expr(call) = &script.probes[0].body.stmts[0].kind else { panic!() };
    let ExprKind::Call { args, .. } = &call.kind else { panic!() };
    assert_eq!(&text[args[0].span.start as usize..args[0].span.end as usize], "LIMIT", "messages point at the use");
}

#[test]
fn definitions_cannot_recurse_or_explode() {
    let (script, diagnostics) = run_with("#define A B\n#define B A\nBEGIN { f(A) }", &Options::default());
    assert!(diagnostics.is_empty());
    assert_eq!(arguments(&script), ["A"]);

    let mut text = String::from("#define X0 (1 + 1)\n");
    for n in 1..64 {
        let _ = writeln!(text, "#define X{n} (X{0} + X{0})", n - 1);
    }
    text.push_str("BEGIN { f(X63) }");
    let (_, diagnostics) = run_with(&text, &Options::default());
    assert_eq!(diagnostics.len(), 1);
    assert_eq!(diagnostics[0].code, "macro-too-large");

    let mut text = String::from("#define F0(x) (x + 1)\n");
    for n in 1..500 {
        let _ = writeln!(text, "#define F{n}(x) (F{}(x) + 1)", n - 1);
    }
    text.push_str("BEGIN { f(F499(2)) }");
    let (_, diagnostics) = run_with(&text, &Options::default());
    assert!(diagnostics.iter().any(|d| d.code == "macro-too-large"), "{diagnostics:?}");
}

#[test]
fn macro_arguments_are_counted() {
    let (_, diagnostics) = run_with("#define F(x, y) (x + y)\nBEGIN { f(F(1)) }", &Options::default());
    assert_eq!(messages(&diagnostics), ["the macro `F` takes 2 arguments, not 1"]);
}

#[test]
fn probe_lists_and_wildcards() {
    let (script, diagnostics) =
        run_with("kprobe:vfs_read, kprobe:vfs_write,\nt:sched:sched_process_ex* {}\nEND {}", &Options::default());
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let names: Vec<&str> = script.probes[0].points.iter().map(|p| p.desc.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "kprobe:vfs_read",
            "kprobe:vfs_write",
            "tracepoint:sched:sched_process_exec",
            "tracepoint:sched:sched_process_exit"
        ]
    );
    assert_eq!(script.probes[0].points[1].desc.span.map(|s| s.start), Some(17));
    assert_eq!(script.probes[1].points[0].desc.name, "end");
}

#[test]
fn wildcards_are_bounded() {
    let text = "config = { max_probes = 2 } kprobe:vfs_read {} kprobe:vfs_* {}";
    let (_, diagnostics) = run_with(text, &Options::default());
    assert_eq!(diagnostics.len(), 1);
    assert!(diagnostics[0].message.starts_with("too many probes: "), "{diagnostics:?}");
    assert!(diagnostics[0].message.ends_with("the limit is 2"));
    assert!(diagnostics[0].help[0].contains("BPFTRACE_MAX_PROBES="));
}

#[test]
fn missing_probes_follow_the_policy() {
    let text = |policy: &str| format!("config = {{ missing_probes = {policy} }} kprobe:nope, kprobe:vfs_read {{}}");
    for (policy, errors, count, points) in [("error", true, 1, 1), ("warn", false, 1, 1), ("ignore", false, 0, 1)] {
        let (script, diagnostics) = run_with(&text(policy), &Options::default());
        assert_eq!(diagnostics.len(), count, "{policy}");
        assert_eq!(diagnostics.iter().any(crate::diagnostic::Diagnostic::is_error), errors, "{policy}");
        assert_eq!(script.probes[0].points.len(), points);
    }
    let (script, diagnostics) = run_with("config = { missing_probes = ignore } kprobe:nope {}", &Options::default());
    assert!(script.probes.is_empty());
    assert_eq!(messages(&diagnostics), ["there is nothing to attach to"]);
}

#[test]
fn an_empty_script_is_refused() {
    let (_, diagnostics) = run_with("// nothing\n", &Options::default());
    assert_eq!(messages(&diagnostics), ["there is nothing to attach to"]);
}

#[test]
fn order_of_items() {
    let (_, diagnostics) = run_with("BEGIN {} config = { max_strlen = 5 }", &Options::default());
    assert_eq!(messages(&diagnostics), ["the config block must stand before the probes"]);
    let (_, diagnostics) = run_with("#include <linux/sched.h>\nBEGIN {}", &Options::default());
    assert_eq!(messages(&diagnostics), ["there is no header `linux/sched.h`"]);
    assert!(!diagnostics[0].is_error());
}

/// The probe's body after its first `f(…)` call was printed in short form, or the messages.
fn expanded_call(macros: &str, args: &str) -> Result<String, Vec<String>> {
    let (script, diagnostics) = run_with(&format!("{macros} BEGIN {{ f({args}); }}"), &Options::default());
    if diagnostics.is_empty() {
        Ok(arguments(&script).join(" "))
    } else {
        Err(diagnostics.into_iter().map(|d| d.message).collect())
    }
}

#[test]
fn macros_expand_to_their_value() {
    for (macros, args, expected) in [
        ("macro one() { 1 }", "one, one()", "1 1"),
        ("macro twice(x) { x + x }", "twice(3), twice(twice(1))", "(3 Add 3) ((1 Add 1) Add (1 Add 1))"),
        ("macro a(x) { x } macro a(x, y) { x - y }", "a(1), a(1, 2)", "1 (1 Sub 2)"),
        ("macro b() { c(2) } macro c(x) { x }", "b", "2"),
        ("macro pid() { 7 }", "pid", "pid"),
    ] {
        assert_eq!(expanded_call(macros, args).as_deref(), Ok(expected), "{macros}");
    }
}

#[test]
fn macro_variables_do_not_meet_those_of_the_script() {
    let text = "macro inc($v) { $t = $v; $v = $t + 1; $v } BEGIN { $t = 1; inc($t); inc($t); }";
    let (script, diagnostics) = run_with(text, &Options::default());
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let names = |index: usize| -> Vec<String> {
        let StmtKind::Expr(Expr { kind: ExprKind::Block(block), .. }) = &script.probes[0].body.stmts[index].kind else {
            panic!("{:?}", script.probes[0].body.stmts[index]);
        };
        let target = |s: &tapline_grammar::ast::Stmt| match &s.kind {
            StmtKind::Assign { target: Expr { kind: ExprKind::Var(name), .. }, .. } => name.clone(),
            other => panic!("{other:?}"),
        };
        block.stmts.iter().map(target).collect()
    };
    assert_eq!(names(1), ["t'1", "t"]);
    assert_eq!(names(2), ["t'2", "t"]);
}

#[test]
fn wrong_uses_of_macros() {
    for (macros, args, message) in [
        ("macro m($v) { $v }", "m(1)", "no macro `m` takes these arguments"),
        ("macro m(@a) { @a }", "m(@x[1])", "no macro `m` takes these arguments"),
        ("macro m(a) { a }", "m", "no macro `m` takes these arguments"),
        ("macro m() { m() }", "m", "the macro `m` uses itself"),
        ("macro m() { n() } macro n() { m() }", "m", "the macro `m` uses itself"),
        ("macro m() { @x }", "m", "the macro `m` uses the map `@x` of the script"),
        ("macro m(a) { a } macro m(b) { b }", "1", "the macro `m` is defined twice"),
    ] {
        assert_eq!(expanded_call(macros, args), Err(vec![message.to_owned()]), "{macros}");
    }
}

#[test]
fn macros_cannot_explode() {
    let mut text = String::from("macro m0(x) { x + x } ");
    for n in 1..40 {
        let _ = write!(text, "macro m{n}(x) {{ m{0}(x) + m{0}(x) }} ", n - 1);
    }
    let said = expanded_call(&text, "m39(1)").unwrap_err();
    assert_eq!(said.len(), 1);
    assert!(said[0].ends_with("expands to more code than a script may have"), "{said:?}");
}
