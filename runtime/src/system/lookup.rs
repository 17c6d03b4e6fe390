//! Addresses of kernel symbols by name, from the kernel itself: a program of type syscall asks for one name and takes a tenth
//! of a millisecond, where reading `/proc/kallsyms` takes fifty. Needs Linux 5.16 and the right to see addresses; whoever
//! gets [`Answer::Unknown`] reads the table.

use std::os::fd::AsFd;

use aya_obj::generated::bpf_insn;

use crate::sys::bpf::{ExtInfo, PROG_TYPE_SYSCALL, ProgLoad, prog_load, syscall_run};

/// What the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The symbol's address.
    Address(u64),
    /// There is no such symbol.
    Missing,
    /// The kernel does not tell.
    Unknown,
}

/// Longer names do not fit on the program's stack beside the result; few symbols have them.
const LONGEST: usize = 400;

const MOV64_REG: u8 = 0xbf;
const MOV64_IMM: u8 = 0xb7;
const ADD64_IMM: u8 = 0x07;
const STORE_WORD_IMM: u8 = 0x62;
const STORE_DOUBLE_IMM: u8 = 0x7a;
const STORE_DOUBLE: u8 = 0x7b;
const LOAD_DOUBLE: u8 = 0x79;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const KALLSYMS_LOOKUP_NAME: i32 = 179;

fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> bpf_insn {
    bpf_insn { code, _bitfield_align_1: [], _bitfield_1: bpf_insn::new_bitfield_1(dst, src), off, imm }
}

/// `context[0] = address of name; return the helper's result`.
fn program(name: &str) -> Vec<bpf_insn> {
    /// Bytes below the frame pointer where the result lies.
    const RESULT: i16 = -8;
    let size = name.len() + 1;
    let padded = size.next_multiple_of(8);
    let start = RESULT - padded as i16;
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(padded, 0);
    let mut insns = vec![insn(MOV64_REG, 6, 1, 0, 0), insn(STORE_DOUBLE_IMM, 10, 0, RESULT, 0)];
    insns.extend(bytes.chunks_exact(4).zip(0..).map(|(chunk, at)| {
        let word = chunk.try_into().map_or(0, i32::from_ne_bytes);
        insn(STORE_WORD_IMM, 10, 0, start + 4 * at, word)
    }));
    insns.extend([
        insn(MOV64_REG, 1, 10, 0, 0),
        insn(ADD64_IMM, 1, 0, 0, i32::from(start)),
        insn(MOV64_IMM, 2, 0, 0, size as i32),
        insn(MOV64_IMM, 3, 0, 0, 0),
        insn(MOV64_REG, 4, 10, 0, 0),
        insn(ADD64_IMM, 4, 0, 0, i32::from(RESULT)),
        insn(CALL, 0, 0, 0, KALLSYMS_LOOKUP_NAME),
        insn(LOAD_DOUBLE, 1, 10, RESULT, 0),
        insn(STORE_DOUBLE, 6, 1, 0, 0),
        insn(EXIT, 0, 0, 0, 0),
    ]);
    insns
}

/// Asks the kernel for the address of a symbol.
pub fn kernel_symbol(name: &str) -> Answer {
    if name.is_empty() || name.len() > LONGEST || name.contains('\0') {
        return Answer::Unknown;
    }
    let load = ProgLoad {
        prog_type: PROG_TYPE_SYSCALL,
        expected_attach_type: 0,
        name: "symbol",
        insns: &program(name),
        license: c"GPL",
        btf: None,
        func_info: ExtInfo::default(),
        line_info: ExtInfo::default(),
        target: None,
    };
    let Ok(program) = prog_load(&load, None, &mut Vec::new()) else { return Answer::Unknown };
    let mut context = [0u8; 8];
    match syscall_run(program.as_fd(), &mut context) {
        Ok(0) => Answer::Address(u64::from_ne_bytes(context)),
        Ok(result) if result as i32 == -libc::ENOENT => Answer::Missing,
        _ => Answer::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_stored_with_its_terminator() {
        let insns = program("vfs_read");
        // Saving the context, clearing the result, four words of name, and ten instructions of call and return.
        assert_eq!(insns.len(), 2 + 4 + 10);
        let words: Vec<(i16, i32)> =
            insns.iter().filter(|it| it.code == STORE_WORD_IMM).map(|it| (it.off, it.imm)).collect();
        let expected = [*b"vfs_", *b"read", [0; 4], [0; 4]].map(i32::from_ne_bytes);
        assert_eq!(words, [(-24, expected[0]), (-20, expected[1]), (-16, expected[2]), (-12, expected[3])]);
        let size = insns.iter().find(|it| it.code == MOV64_IMM).map(|it| it.imm);
        assert_eq!(size, Some(9));
    }

    #[test]
    fn nonsense_is_not_asked_for() {
        assert_eq!(kernel_symbol(""), Answer::Unknown);
        assert_eq!(kernel_symbol(&"x".repeat(1000)), Answer::Unknown);
    }
}
