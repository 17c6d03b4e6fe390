//! Machine code as text, for `-d bpf`: in the notation of bpftool, jumps by target index, maps and functions by name, and the
//! script's line above the instructions that come from it.

use std::fmt::Write;

use super::insn::{self, Insn, class};
use super::{Code, FunctionCode, RelocKind};
use crate::ir::{Helper, Module};
use crate::object::LineTable;

/// All functions of a module.
pub fn disassemble(code: &Code, module: &Module, lines: &dyn LineTable) -> String {
    let mut out = String::new();
    for function in &code.functions {
        if !out.is_empty() {
            out.push('\n');
        }
        one(&mut out, function, module, lines);
    }
    out
}

fn one(out: &mut String, code: &FunctionCode, module: &Module, lines: &dyn LineTable) {
    let name = module.functions.get(code.id).map_or("?", |f| f.symbol.as_str());
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{name}: {} instructions, {} bytes of stack", code.insns.len(), code.stack);
    let mut line = None;
    let mut relocs = code.relocs.iter().peekable();
    let mut slots = code.insns.iter().zip(&code.spans).enumerate();
    while let Some((i, (insn, &span))) = slots.next() {
        let found = lines.line(span).map(|l| (l.file.to_owned(), l.line, l.text.trim().to_owned()));
        if let Some((file, number, text)) = &found
            && found != line
        {
            let _ = writeln!(out, "; {text} @ {file}:{number}");
        }
        line = found.or(line);
        let reloc = relocs.next_if(|r| r.insn == i).map(|r| r.kind);
        let second = if insn.code == insn::LD_IMM64 { slots.next().map(|(_, (s, _))| *s) } else { None };
        let _ = writeln!(out, "{i:5}: {}", text(*insn, second, i, reloc, module));
    }
}

/// `+ 8`, `- 8`.
fn signed(off: i16) -> String {
    if off < 0 { format!("- {}", off.unsigned_abs()) } else { format!("+ {off}") }
}

fn size(code: u8) -> &'static str {
    match code & 0x18 {
        0x00 => "u32",
        0x08 => "u16",
        0x10 => "u8",
        _ => "u64",
    }
}

fn alu_sign(code: u8) -> &'static str {
    match code & 0xf0 {
        0x00 => "+=",
        0x10 => "-=",
        0x20 => "*=",
        0x30 => "/=",
        0x40 => "|=",
        0x50 => "&=",
        0x60 => "<<=",
        0x70 => ">>=",
        0x90 => "%=",
        0xa0 => "^=",
        0xb0 => "=",
        0xc0 => "s>>=",
        _ => "?=",
    }
}

fn cond_sign(code: u8) -> &'static str {
    match code & 0xf0 {
        0x10 => "==",
        0x20 => ">",
        0x30 => ">=",
        0x40 => "&",
        0x50 => "!=",
        0x60 => "s>",
        0x70 => "s>=",
        0xa0 => "<",
        0xb0 => "<=",
        0xc0 => "s<",
        0xd0 => "s<=",
        _ => "?",
    }
}

fn text(i: Insn, second: Option<Insn>, at: usize, reloc: Option<RelocKind>, module: &Module) -> String {
    let map = |m| module.maps.get(m).map_or("?", |m| m.symbol.as_str());
    let function = |f| module.functions.get(f).map_or("?", |f| f.symbol.as_str());
    let (dst, src, off) = (i.dst, i.src, signed(i.off));
    let target = at as i64 + 1 + i64::from(i.off);
    let is_reg = i.code & insn::SRC_REG != 0;
    let wide = matches!(i.class(), class::ALU64 | class::JMP);
    let r = if wide { "r" } else { "w" };
    let rhs = if is_reg { format!("{r}{src}") } else { i.imm.to_string() };
    match i.class() {
        class::LD => match reloc {
            Some(RelocKind::Map(m)) => format!("r{dst} = map[{}]", map(m)),
            Some(RelocKind::MapValue(m)) => format!("r{dst} = map[{}][0] + {}", map(m), i.imm),
            Some(RelocKind::Rodata) => format!("r{dst} = rodata + {}", i.imm),
            Some(RelocKind::Func(f) | RelocKind::Call(f)) => format!("r{dst} = subprog[{}]", function(f)),
            None => {
                let high = second.map_or(0, |s| s.imm);
                format!("r{dst} = {:#x} ll", (u64::from(high as u32) << 32) | u64::from(i.imm as u32))
            }
        },
        class::LDX => format!("r{dst} = *({} *)(r{src} {off})", size(i.code)),
        class::ST => format!("*({} *)(r{dst} {off}) = {}", size(i.code), i.imm),
        class::STX if i.code & 0xe0 == 0xc0 => match i.imm {
            insn::ATOMIC_XCHG => format!("r{src} = xchg(({} *)(r{dst} {off}), r{src})", size(i.code)),
            _ => format!("lock *({} *)(r{dst} {off}) += r{src}", size(i.code)),
        },
        class::STX => format!("*({} *)(r{dst} {off}) = r{src}", size(i.code)),
        class::ALU if i.code & 0xf0 == 0xd0 => format!("r{dst} = be{} r{dst}", i.imm),
        class::ALU | class::ALU64 => format!("{r}{dst} {} {rhs}", alu_sign(i.code)),
        _ if i.code == insn::JA => format!("goto {target}"),
        _ if i.code == insn::EXIT => "exit".into(),
        _ if i.code == insn::CALL => match (reloc, i.src) {
            (Some(RelocKind::Call(f)), _) => format!("call {}", function(f)),
            (_, insn::PSEUDO_KFUNC_CALL) => format!("call kernel function #{}", i.imm),
            _ => format!("call bpf_{}", Helper(i.imm as u32).name()),
        },
        _ => format!("if {r}{dst} {} {rhs} goto {target}", cond_sign(i.code)),
    }
}
