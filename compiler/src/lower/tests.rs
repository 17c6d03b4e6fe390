//! Listings of what lowering yields before the optimiser, against the pinned target: the shapes that the verifier needs and the
//! order of work are read here.
#![allow(clippy::unwrap_used)]

use tapline_grammar::ParseOptions;
use tapline_grammar::span::FileId;

use super::{Shape, lower};
use crate::ir::passes::settle::settle;
use crate::ir::verify::verify;
use crate::source::SourceMap;
use crate::target::fixture::Fixture;
use crate::{check, expand};

fn listing(text: &str) -> String {
    let target = Fixture::new().unwrap();
    let sources = SourceMap::with_file("t.bt", text);
    let parsed = tapline_grammar::parse(FileId(0), text, &ParseOptions::default());
    let mut diagnostics = Vec::new();
    let script = expand::expand(parsed.script, &expand::Options::default(), &target, &mut diagnostics);
    let checked = check::check(&script, &target, check::Options::default());
    assert!(checked.script.is_some(), "{text}: {:?}", checked.diagnostics);
    let mut lowered =
        lower(&checked.script.unwrap(), &target, Shape::default(), &|span| sources.position(span)).unwrap();
    lowered.module.functions.iter_mut().for_each(settle);
    verify(&lowered.module).unwrap();
    lowered.module.to_string()
}

#[test]
fn a_record_of_known_length_is_filled_in_the_ring_buffer() {
    insta::assert_snapshot!(listing(r#"BEGIN { printf("%s %d\n", comm, pid); }"#));
}

#[test]
fn a_record_with_strings_is_packed_and_sent() {
    insta::assert_snapshot!(listing(r#"t:syscalls:sys_enter_openat { printf("%s\n", str(args.filename)); }"#));
}

#[test]
fn a_predicate_comes_before_all_other_work() {
    insta::assert_snapshot!(listing(r#"i:s:1 /pid == 7 && comm == "bash"/ { @ = 1; }"#));
}

#[test]
fn a_keyed_aggregation_is_updated_in_place() {
    insta::assert_snapshot!(listing("i:s:1 { @[pid] = sum(5); }"));
}

#[test]
fn a_scalar_counter_is_an_atomic_addition() {
    insta::assert_snapshot!(listing("i:s:1 { @n++; }"));
}

#[test]
fn a_histogram_bounds_its_bucket() {
    insta::assert_snapshot!(listing("i:s:1 { @ = hist(nsecs); @l = lhist(cpu, 0, 8, 2); }"));
}

#[test]
fn kernel_fields_are_read_by_one_helper_each() {
    insta::assert_snapshot!(listing("i:s:1 { @ = curtask.real_parent.tgid; }"));
}

#[test]
fn a_loop_over_a_map_is_a_callback() {
    insta::assert_snapshot!(listing("i:s:1 { @m[1] = 2; $s = 0; for ($kv : @m) { $s += $kv.1; } @ = $s; }"));
}
