//! Machine code as text, in the notation of the kernel's verifier log, so that a rejected instruction is found by its number.
//! What relocations will fill in is shown by name.

use std::fmt::Write as _;

use super::insn::{ATOMIC_XCHG, CALL, EXIT, Insn, JA, LD_IMM64, PSEUDO_CALL, SRC_REG, class};
use super::{Code, CodeReloc, RelocKind};
use crate::ir::{Helper, Module};

/// Operators of the `ALU` classes by the upper half of the opcode.
const ALU: &[(u8, &str)] = &[
    (0x00, "+="),
    (0x10, "-="),
    (0x20, "*="),
    (0x30, "/="),
    (0x40, "|="),
    (0x50, "&="),
    (0x60, "<<="),
    (0x70, ">>="),
    (0x90, "%="),
    (0xa0, "^="),
    (0xb0, "="),
    (0xc0, "s>>="),
];

/// Conditions of jumps, likewise.
const CONDITIONS: &[(u8, &str)] = &[
    (0x10, "=="),
    (0x20, ">"),
    (0x30, ">="),
    (0x40, "&"),
    (0x50, "!="),
    (0x60, "s>"),
    (0x70, "s>="),
    (0xa0, "<"),
    (0xb0, "<="),
    (0xc0, "s<"),
    (0xd0, "s<="),
];

/// Widths of memory accesses by two bits of the opcode.
const WIDTHS: &[(u8, &str)] = &[(0x00, "u32"), (0x08, "u16"), (0x10, "u8"), (0x18, "u64")];

fn word(table: &[(u8, &'static str)], bits: u8) -> &'static str {
    table.iter().find(|(b, _)| *b == bits).map_or("?", |(_, text)| text)
}

/// All functions, one instruction a line.
pub fn disassemble(code: &Code, module: &Module) -> String {
    let mut out = String::new();
    for function in &code.functions {
        let name = module.functions.get(function.id).map_or("?", |f| f.symbol.as_str());
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{name}: {} instructions, {} bytes of stack", function.insns.len(), function.stack);
        let mut relocs = function.relocs.iter().peekable();
        let mut at = 0;
        while let Some(&insn) = function.insns.get(at) {
            let reloc = relocs.next_if(|r| r.insn <= at).filter(|r| r.insn == at);
            let next = function.insns.get(at + 1).copied().unwrap_or_default();
            let _ = writeln!(out, "{at:5}: {}", one(at, insn, next, reloc, module));
            at += if insn.code == LD_IMM64 { 2 } else { 1 };
        }
    }
    out
}

fn target(reloc: &CodeReloc, imm: i32, module: &Module) -> String {
    let map = |id| module.maps.get(id).map_or("?", |m| m.symbol.as_str());
    let function = |id| module.functions.get(id).map_or("?", |f| f.symbol.as_str());
    match reloc.kind {
        RelocKind::Map(id) => format!("map[{}]", map(id)),
        RelocKind::MapValue(id) => format!("map[{}] value+{imm}", map(id)),
        RelocKind::Rodata => format!("rodata+{imm}"),
        RelocKind::Func(id) | RelocKind::Call(id) => function(id).to_owned(),
    }
}

fn one(at: usize, insn: Insn, next: Insn, reloc: Option<&CodeReloc>, module: &Module) -> String {
    let Insn { code, dst, src, off, imm } = insn;
    let operation = code & 0xf0;
    let operand = |wide: bool| {
        let letter = if wide { 'r' } else { 'w' };
        if code & SRC_REG != 0 { format!("{letter}{src}") } else { imm.to_string() }
    };
    let memory = |base: u8| {
        let sign = if off < 0 { '-' } else { '+' };
        format!("*({} *)(r{base} {sign}{})", word(WIDTHS, code & 0x18), off.unsigned_abs())
    };
    let goto = || format!("goto pc{off:+} <{}>", (at as i64 + 1).wrapping_add(i64::from(off)));
    match (code, insn.class()) {
        (LD_IMM64, _) => {
            let value = (i64::from(next.imm) << 32) | i64::from(imm as u32);
            reloc.map_or_else(
                || format!("r{dst} = {value:#x} ll"),
                |r| format!("r{dst} = {} ll", target(r, imm, module)),
            )
        }
        (CALL, _) => match reloc {
            Some(r) => format!("call {}", target(r, imm, module)),
            None if src == PSEUDO_CALL => format!("call pc{imm:+}"),
            None => format!("call {}#{imm}", Helper(imm as u32).name()),
        },
        (EXIT, _) => "exit".to_owned(),
        (JA, _) => goto(),
        (_, class::JMP | class::JMP32) => {
            let wide = insn.class() == class::JMP;
            let letter = if wide { 'r' } else { 'w' };
            format!("if {letter}{dst} {} {} {}", word(CONDITIONS, operation), operand(wide), goto())
        }
        (_, class::ALU | class::ALU64) => {
            let wide = insn.class() == class::ALU64;
            let letter = if wide { 'r' } else { 'w' };
            match operation {
                0x80 => format!("{letter}{dst} = -{letter}{dst}"),
                0xd0 => format!("r{dst} = {}{imm} r{dst}", if code & SRC_REG != 0 { "be" } else { "le" }),
                _ => format!("{letter}{dst} {} {}", word(ALU, operation), operand(wide)),
            }
        }
        (_, class::LDX) => format!("r{dst} = {}", memory(src)),
        (_, class::ST) => format!("{} = {imm}", memory(dst)),
        (_, class::STX) if code & 0xe0 == 0xc0 => match imm {
            ATOMIC_XCHG => format!("r{src} = atomic_xchg({}, r{src})", memory(dst)),
            0 => format!("lock {} += r{src}", memory(dst)),
            _ => format!("lock {} op {imm:#x} r{src}", memory(dst)),
        },
        (_, class::STX) => format!("{} = r{src}", memory(dst)),
        _ => format!("unknown {code:#04x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::insn::{AluOp, Reg, RegOrImm};
    use super::*;
    use crate::ir::{Cond, Width};

    #[test]
    fn every_form() {
        let r = Reg;
        let reg = |n| RegOrImm::Reg(Reg(n));
        let [first, second] = Insn::ld_imm64(r(1), 0, -2);
        let jump = |mut i: Insn, off| {
            i.off = off;
            i
        };
        for (insn, text) in [
            (Insn::alu(AluOp::Add, true, r(1), reg(2)), "r1 += r2"),
            (Insn::alu(AluOp::AShr, false, r(1), RegOrImm::Imm(3)), "w1 s>>= 3"),
            (Insn::mov(r(6), r(1)), "r6 = r1"),
            (Insn::byte_swap(16, r(3)), "r3 = be16 r3"),
            (first, "r1 = 0xfffffffffffffffe ll"),
            (Insn::load(Width::W4, r(0), Reg::FP, -8), "r0 = *(u32 *)(r10 -8)"),
            (Insn::store(Width::W1, r(2), 4, RegOrImm::Imm(7)), "*(u8 *)(r2 +4) = 7"),
            (Insn::store(Width::W8, r(2), 0, reg(5)), "*(u64 *)(r2 +0) = r5"),
            (Insn::atomic(Width::W8, r(2), 8, r(3), 0), "lock *(u64 *)(r2 +8) += r3"),
            (Insn::atomic(Width::W4, r(2), 8, r(3), ATOMIC_XCHG), "r3 = atomic_xchg(*(u32 *)(r2 +8), r3)"),
            (jump(Insn::branch(Cond::SLt, true, r(1), RegOrImm::Imm(-1)), 2), "if r1 s< -1 goto pc+2 <13>"),
            (jump(Insn::branch(Cond::Ne, false, r(1), reg(2)), -3), "if w1 != w2 goto pc-3 <8>"),
            (jump(Insn::goto(), 5), "goto pc+5 <16>"),
            (Insn::call(0, 14), "call get_current_pid_tgid#14"),
            (Insn::call(PSEUDO_CALL, 4), "call pc+4"),
            (Insn::exit(), "exit"),
        ] {
            assert_eq!(one(10, insn, second, None, &Module::default()), text);
        }
    }
}
