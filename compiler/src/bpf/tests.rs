//! Listings of machine code: what becomes of small functions, register by register.
#![allow(clippy::unwrap_used, clippy::format_collect)]

use super::disasm::disassemble;
use super::insn::{AluOp, Insn, Reg, RegOrImm};
use crate::ir::{Cond, Width, parse};
use crate::{backend, bpf};

const HEAD: &str = "license \"GPL\"
map m0 hash hash key 8 value 8 entries 64 flags 0
map m1 AT_x array key 4 value 8 entries 1 flags 0
";

/// The code of a function as it is written, without the optimiser.
fn plain(body: &str) -> String {
    let module = parse::parse(&format!("{HEAD}\nfn0 = function p0 program tracepoint {{\n{body}\n}}\n")).unwrap();
    disassemble(&bpf::compile(&module).unwrap(), &module, &())
}

#[test]
fn encoding() {
    // As `llvm-mc -triple bpfel -mcpu=v3 -show-encoding` prints them.
    let r = Reg;
    let cases: &[(Insn, [u8; 8])] = &[
        (Insn::mov(r(6), r(1)), [0xbf, 0x16, 0, 0, 0, 0, 0, 0]),
        (Insn::alu(AluOp::Add, true, r(2), RegOrImm::Imm(-8)), [0x07, 0x02, 0, 0, 0xf8, 0xff, 0xff, 0xff]),
        (Insn::alu(AluOp::Mov, false, r(3), RegOrImm::Reg(r(4))), [0xbc, 0x43, 0, 0, 0, 0, 0, 0]),
        (Insn::load(Width::W2, r(1), r(2), 4), [0x69, 0x21, 4, 0, 0, 0, 0, 0]),
        (Insn::store(Width::W8, r(10), -8, RegOrImm::Reg(r(7))), [0x7b, 0x7a, 0xf8, 0xff, 0, 0, 0, 0]),
        (Insn::store(Width::W4, r(10), -4, RegOrImm::Imm(1)), [0x62, 0x0a, 0xfc, 0xff, 1, 0, 0, 0]),
        (Insn::atomic(Width::W8, r(0), 0, r(5), 0), [0xdb, 0x50, 0, 0, 0, 0, 0, 0]),
        (Insn::branch(Cond::SGt, true, r(1), RegOrImm::Imm(5)), [0x65, 0x01, 0, 0, 5, 0, 0, 0]),
        (Insn::byte_swap(32, r(1)), [0xdc, 0x01, 0, 0, 0x20, 0, 0, 0]),
        (Insn::call(0, 14), [0x85, 0, 0, 0, 14, 0, 0, 0]),
        (Insn::exit(), [0x95, 0, 0, 0, 0, 0, 0, 0]),
    ];
    for (insn, bytes) in cases {
        assert_eq!(insn.encode(), *bytes, "{insn:?}");
    }
}

#[test]
fn immediates_offsets_and_fused_branches() {
    insta::assert_snapshot!(plain(
        "    s0 = slot 16 align 8
b0(v0):
    v1 = load 8, v0, 8
    v2 = const 16
    v3 = add v0, v2
    v4 = load 4, v3, 4
    v5 = const 4294967296
    v6 = add v1, v5
    v7 = slot_addr s0
    zero v7, 0, 12, 4
    store 4, v7, 12, v4
    v8 = cmp ult v6, v4
    v9 = const 0
    branch ne v8, v9, b1(), b2()
b1():
    v10 = const 7
    v11 = sdiv v1, v10
    v12 = cmp sgt v11, v9
    return v12
b2():
    return v9"
    ));
}

#[test]
fn parallel_copies_of_a_loop() {
    // Two values change places at every turn.
    insta::assert_snapshot!(plain(
        "b0(v0):
    v1 = load 8, v0, 8
    v2 = load 8, v0, 16
    v3 = const 0
    jump b1(v1, v2, v3)
b1(v4, v5, v6):
    v7 = const 1
    v8 = add v6, v7
    v9 = const 10
    branch ult v8, v9, b1(v5, v4, v8), b2()
b2():
    v10 = sub v4, v5
    return v10"
    ));
}

#[test]
fn what_does_not_fit_is_spilled() {
    // Six values live across a call that leaves four registers.
    let loads: String = (1..=6).map(|i| format!("    v{i} = load 8, v0, {}\n", i * 8)).collect();
    let sums: String = (0..5).map(|i| format!("    v{} = xor v{}, v{}\n", 11 + i, 10 + i, i + 1)).collect();
    insta::assert_snapshot!(plain(&format!(
        "b0(v0):\n{loads}    v10 = call ktime_get_ns()\n{sums}    v16 = sub v15, v6\n    return v16"
    )));
}

#[test]
fn large_moves_are_left_to_a_helper() {
    insta::assert_snapshot!(plain(
        "    s0 = slot 256 align 8
b0(v0):
    v1 = slot_addr s0
    zero v1, 0, 256, 8
    v2 = map_value m1, 0
    copy v2, 0, v1, 8, 8, 8
    v3 = const 0
    return v3"
    ));
}

#[test]
fn a_program_too_large_for_the_stack_gets_scratch() {
    // 40 slots of 16 bytes that are all alive at the end.
    let slots: String = (0..40).map(|i| format!("    s{i} = slot 16 align 8\n")).collect();
    let fill: String =
        (0..40).map(|i| format!("    v{} = slot_addr s{i}\n    store 8, v{}, 0, v1\n", i + 10, i + 10)).collect();
    let reads: String = (0..40)
        .map(|i| {
            format!("    v{} = load 8, v{}, 0\n    v{} = add v{}, v{}\n", i + 60, i + 10, i + 111, i + 110, i + 60)
        })
        .collect();
    let body =
        format!("{slots}b0(v0):\n    v1 = load 8, v0, 8\n    v110 = call ktime_get_ns()\n{fill}{reads}    return v150");
    let text = format!("{HEAD}\nfn0 = function p0 program tracepoint {{\n{body}\n}}\n");
    let compiled = backend::compile(parse::parse(&text).unwrap()).unwrap();
    assert!(compiled.code.functions.iter().all(|f| f.stack <= bpf::frame::STACK_SIZE));
    let scratch = compiled.module.maps.iter().find(|m| m.symbol == "scratch").unwrap();
    assert!(scratch.value_size >= 40 * 16 - bpf::frame::STACK_SIZE, "{scratch:?}");
}
