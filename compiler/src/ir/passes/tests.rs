//! Listings: what each pass makes of a small function. Snapshots show the function before and after.
#![allow(clippy::unwrap_used)]

use crate::ir::{Module, parse, verify};

use super::slot_access::MapSizes;
use super::{branches, cells, dce, fold, gvn, keys, map_values, opaque, slots, stores};

const HEAD: &str = "license \"GPL\"
map m0 hash hash key 8 value 8 entries 64 flags 0
map m1 AT_x array key 4 value 8 entries 1 flags 0
map m2 AT_agg percpu_array key 4 value 16 entries 1 flags 0
";

/// The module before and after a pass.
fn listing(kind: &str, body: &str, pass: impl FnOnce(&mut Module)) -> String {
    let text = format!("{HEAD}\nfn0 = function p0 program {kind} {{\n{body}\n}}\n");
    let mut module = parse::parse(&text).unwrap();
    verify::verify(&module).unwrap();
    let func = |m: &Module| m.functions.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n") + "\n";
    let before = func(&module);
    pass(&mut module);
    verify::verify(&module).unwrap();
    let maps: Vec<String> = module.maps.iter().skip(1).map(|m| format!("{} {}; ", m.symbol, m.max_entries)).collect();
    format!("{before}=>\n{}maps: {}", func(&module), maps.concat())
}

fn memory(pass: fn(&mut crate::ir::Function, &MapSizes) -> bool) -> impl FnOnce(&mut Module) {
    move |m| {
        let maps = MapSizes::new(m);
        for f in &mut m.functions {
            pass(f, &maps);
        }
    }
}

fn each(pass: fn(&mut crate::ir::Function) -> bool) -> impl FnOnce(&mut Module) {
    move |m| {
        for f in &mut m.functions {
            pass(f);
        }
    }
}

#[test]
fn fold_computes_and_cheapens() {
    let body = "b0(v0):
    v1 = load 4, v0, 8
    v2 = const 6
    v3 = const 7
    v4 = mul v2, v3
    v5 = add v1, v4
    v6 = zext32 v1
    v7 = const 8
    v8 = udiv v6, v7
    v9 = sdiv v1, v7
    v10 = const 4294967295
    v11 = and v1, v10
    v12 = add v5, v4
    v13 = xor v12, v12
    v14 = cmp ult v1, v3
    branch eq v14, v13, b1(v8, v9), b1(v11, v12)
b1(v20, v21):
    v22 = add v20, v21
    store 1, v0, 0, v6
    return v22";
    insta::assert_snapshot!(listing("tracepoint", body, each(fold::fold)));
}

#[test]
fn fold_keeps_what_bounds_a_compared_value() {
    // v3 is compared: v4 must be made from it, since the verifier knows the bound of v3 alone. The remainder is masked again,
    // since the verifier knows nothing of remainders.
    let body = "b0(v0):
    v1 = load 8, v0, 8
    v2 = const 8
    v3 = add v1, v2
    branch ult v3, v2, b1(), b2()
b1():
    v4 = add v3, v2
    v5 = umod v1, v4
    v6 = const 16
    v7 = umod v5, v6
    v8 = const 10
    v9 = umod v1, v8
    v10 = const 15
    v11 = and v9, v10
    v12 = add v11, v7
    return v12
b2():
    return v2";
    insta::assert_snapshot!(listing("tracepoint", body, each(fold::fold)));
}

/// What is compared is not looked through; that it has a sign already says nothing of fewer bits.
#[test]
fn fold_keeps_narrower_extensions_of_what_is_compared() {
    let body = "b0(v0):
    v1 = load 2, v0, 8
    v2 = sext16 v1
    v3 = sext8 v2
    v4 = sext32 v2
    v5 = const 1
    branch eq v2, v5, b1(v3), b1(v4)
b1(v6):
    return v6";
    let text = listing("tracepoint", body, each(fold::fold));
    let (_, folded) = text.split_once("=>").unwrap();
    assert!(folded.contains("v3 = sext8 v2"), "{folded}");
    assert!(!folded.contains("sext32"), "{folded}");
}

#[test]
fn gvn_shares_what_dominates() {
    let body = "b0(v0):
    v1 = call get_current_pid_tgid()
    v2 = call ktime_get_ns()
    v3 = load 8, v0, 16
    branch ult v1, v2, b1(), b2()
b1():
    v4 = call get_current_pid_tgid()
    v5 = add v4, v2
    v6 = load 8, v0, 16
    v7 = add v2, v1
    v8 = add v5, v7
    v9 = add v8, v6
    jump b3(v9)
b2():
    v10 = add v1, v2
    v11 = call ktime_get_ns()
    v12 = add v10, v11
    jump b3(v12)
b3(v13):
    v14 = add v1, v2
    v15 = add v13, v14
    return v15";
    insta::assert_snapshot!(listing("tracepoint", body, each(gvn::gvn)));
}

#[test]
fn branches_thread_and_merge() {
    // A logical or, as it is lowered: a flag is made in two places and tested in a third.
    let body = "b0(v0):
    v1 = load 8, v0, 8
    v2 = const 0
    v3 = const 1
    branch ne v1, v2, b1(v3), b2()
b1(v4):
    v5 = const 0
    branch ne v4, v5, b4(), b5()
b2():
    v6 = load 8, v0, 16
    branch eq v6, v3, b1(v3), b3()
b3():
    branch eq v6, v3, b1(v2), b1(v2)
b4():
    jump b6(v3)
b5():
    jump b6(v2)
b6(v7):
    return v7";
    insta::assert_snapshot!(listing("tracepoint", body, |m| {
        for f in &mut m.functions {
            branches::branches(f);
            branches::branches(f);
            dce::dce(f);
        }
    }));
}

#[test]
fn dce_drops_values_nobody_needs() {
    let body = "b0(v0):
    v1 = load 8, v0, 8
    v2 = call ktime_get_ns()
    v3 = const 0
    v4 = map m0
    v5 = slot_addr s0
    store 8, v5, 0, v3
    v6 = call map_delete_elem(v4, v5)
    jump b1(v1, v3)
b1(v7, v8):
    v9 = add v8, v3
    v10 = add v7, v3
    branch ult v9, v3, b1(v10, v9), b2()
b2():
    return v9";
    insta::assert_snapshot!(listing("tracepoint", &format!("    s0 = slot 8 align 8\n{body}"), each(dce::dce)));
}

#[test]
fn keys_are_made_and_looked_up_once() {
    // Until the entry is deleted; the lookup after that is another one.
    let body = "    s0 = slot 8 align 8
    s1 = slot 8 align 8
    s2 = slot 8 align 8
b0(v0):
    v1 = load 8, v0, 8
    v2 = map m0
    v3 = slot_addr s0
    store 8, v3, 0, v1
    v4 = call map_lookup_elem(v2, v3)
    v5 = const 0
    branch ne v4, v5, b1(), b3()
b1():
    v6 = slot_addr s1
    store 8, v6, 0, v1
    v7 = call map_lookup_elem(v2, v6)
    branch ne v7, v5, b2(), b3()
b2():
    v8 = load 8, v7, 0
    v9 = slot_addr s2
    store 8, v9, 0, v1
    v10 = call map_delete_elem(v2, v9)
    v11 = call map_lookup_elem(v2, v3)
    branch ne v11, v5, b3(), b4()
b3():
    return v5
b4():
    return v8";
    insta::assert_snapshot!(listing("tracepoint", body, |m| {
        memory(keys::keys)(m);
        for f in &mut m.functions {
            branches::branches(f);
            dce::dce(f);
        }
    }));
}

#[test]
fn stores_that_are_overwritten_go() {
    let body = "    s0 = slot 24 align 8
    s1 = slot 8 align 8
b0(v0):
    v1 = const 5
    v2 = slot_addr s0
    zero v2, 0, 24, 8
    store 8, v2, 8, v1
    store 4, v2, 0, v1
    v3 = slot_addr s1
    store 8, v3, 0, v1
    v4 = load 8, v2, 0
    v5 = load 8, v2, 8
    v6 = add v4, v5
    return v6";
    insta::assert_snapshot!(listing("tracepoint", body, memory(stores::stores)));
}

/// s0 gets a word of its own; the second half of s1 is written before the first; the first half of s2 may spill into the second.
#[test]
fn words_are_written_whole() {
    let body = "    s0 = slot 1 align 1
    s1 = slot 5 align 4
    s2 = slot 8 align 4
    s3 = slot 12 align 4
b0(v0):
    v1 = const 4294967295
    v2 = slot_addr s0
    store 1, v2, 0, v0
    v3 = load 1, v2, 0
    v4 = slot_addr s1
    store 1, v4, 4, v3
    store 4, v4, 0, v1
    v5 = load 4, v4, 0
    v6 = load 1, v4, 4
    v7 = slot_addr s2
    store 4, v7, 0, v1
    store 4, v7, 4, v0
    v8 = load 8, v7, 0
    v9 = slot_addr s3
    zero v9, 0, 12, 4
    v10 = load 4, v9, 8
    v11 = add v5, v6
    v12 = add v8, v10
    v13 = add v11, v12
    return v13";
    insta::assert_snapshot!(listing("tracepoint", body, memory(cells::cells)));
}

#[test]
fn map_values_get_an_address_or_a_lookup() {
    let body = "b0(v0):
    v1 = const 1
    v2 = map_value m1, 0
    atomic_add 8, v2, 0, v1
    v3 = map_value m2, 8
    atomic_add 8, v3, 0, v1
    return v1";
    insta::assert_snapshot!(listing("tracepoint", body, |m| map_values::map_values(m).unwrap()));
}

/// With a function to call, and with a map of counters.
fn opaque_listing(body: &str) -> String {
    let body = format!("{body}\n}}\n\nfn1 = function f1 sub {{\nb0(v0):\n    return v0");
    listing("tracepoint", &body, |m| {
        m.counters = Some(crate::program::MapId(1));
        opaque::opaque(m);
    })
}

#[test]
fn opaque_hides_what_is_older_than_a_call() {
    // `v1` and what is made of it, but not `v5`, which is younger.
    let body = "b0(v0):
    v1 = call get_current_uid_gid()
    v2 = const 7
    v3 = call_sub fn1(v2)
    v4 = and v1, v2
    v5 = call get_smp_processor_id()
    v6 = cmp ult v1, v2
    branch eq v4, v2, b1(), b2()
b1:
    return v6
b2:
    branch eq v5, v2, b1(), b3()
b3:
    return v2";
    insta::assert_snapshot!(opaque_listing(body));
}

#[test]
fn opaque_hides_what_the_verifier_knows_from_where_it_is_made() {
    let body = "b0(v0):
    v1 = call get_current_uid_gid()
    v2 = const 7
    v3 = cmp ult v1, v2
    v4 = call_sub fn1(v2)
    v5 = const 0
    branch ne v3, v5, b1(v3), b1(v2)
b1(v6):
    v7 = call_sub fn1(v6)
    branch eq v6, v2, b2(), b3()
b2:
    return v7
b3:
    return v6";
    insta::assert_snapshot!(opaque_listing(body));
}

#[test]
fn opaque_leaves_bounds_null_checks_and_loops() {
    let body = "b0(v0):
    v1 = call get_current_uid_gid()
    v2 = const 7
    v3 = map_value m1, 0
    v4 = map m1
    v5 = call map_lookup_elem(v4, v3)
    v6 = call_sub fn1(v2)
    v7 = const 0
    branch ult v1, v2, b1(), b2()
b1:
    v8 = add v3, v1
    v9 = load 1, v8, 0
    branch eq v5, v7, b2(), b3(v7)
b2:
    return v2
b3(v10):
    v11 = call_sub fn1(v2)
    v12 = add v10, v2
    branch ult v12, v2, b3(v12), b2()";
    insta::assert_snapshot!(opaque_listing(body));
}

#[test]
fn opaque_hides_numbers_that_memory_is_read_at() {
    // `v1` of the context and `v5` of the stack are numbers, where `v1` may well be an address for somebody else.
    let body = "    s0 = slot 8 align 8
b0(v0):
    v1 = load 8, v0, 16
    v2 = const 8
    v3 = slot_addr s0
    v4 = call probe_read_kernel(v3, v2, v1)
    v5 = load 8, v3, 0
    v6 = call_sub fn1(v2)
    branch eq v1, v2, b1(), b2()
b1:
    return v2
b2:
    branch eq v5, v2, b1(), b3()
b3:
    return v5";
    insta::assert_snapshot!(opaque_listing(body));
}

const LARGE: &str = "    s0 = slot 1024 align 8
    s1 = slot 512 align 8
    s2 = slot 16 align 8
b0(v0):
    v1 = slot_addr s0
    v2 = slot_addr s1
    v3 = slot_addr s2
    v4 = const 0
    store 8, v1, 0, v4
    store 8, v2, 0, v4
    store 8, v3, 8, v4
    v5 = load 8, v1, 0
    v6 = load 8, v2, 0
    v7 = add v5, v6
    return v7";

#[test]
fn large_slots_go_to_scratch() {
    insta::assert_snapshot!(listing("tracepoint", LARGE, |m| assert!(slots::place_slots(m, 448).unwrap().is_some())));
}

#[test]
fn scratch_is_claimed_where_a_program_can_meet_itself() {
    insta::assert_snapshot!(listing("kprobe reentrant", LARGE, |m| {
        assert!(slots::place_slots(m, 448).unwrap().is_some());
    }));
}

#[test]
fn scratch_is_claimed_behind_the_predicate() {
    // The return is shared by both ways, so that the claimed one gets its own.
    let body = "    s0 = slot 1024 align 8
b0(v0):
    v1 = call get_current_pid_tgid()
    v2 = const 77
    v3 = const 0
    branch eq v1, v2, b1(), b3()
b1():
    v4 = slot_addr s0
    store 8, v4, 0, v1
    v5 = load 8, v4, 0
    branch eq v5, v2, b2(), b3()
b2():
    v6 = map m0
    v7 = call map_delete_elem(v6, v4)
    jump b3()
b3():
    return v3";
    insta::assert_snapshot!(listing("kprobe reentrant", body, |m| {
        assert!(slots::place_slots(m, 448).unwrap().is_some());
    }));
}
