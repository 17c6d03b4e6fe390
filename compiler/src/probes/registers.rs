//! Where registers lie in `struct pt_regs`, as tables per architecture. Offsets are in bytes, from the kernel's
//! `arch/x86/include/asm/ptrace.h` and `arch/arm64/include/uapi/asm/ptrace.h`; they are part of the kernel's ABI to user space.
//!
//! Programs of perf events see the same structure at the start of `struct bpf_perf_event_data`.

use crate::target::Arch;

/// The registers of an architecture.
#[derive(Debug)]
pub struct Registers {
    /// Bytes of the structure that a BPF program sees.
    pub size: u32,
    /// Offsets of integer arguments of a function in order.
    pub args: &'static [u32],
    /// The same of a function of Go.
    pub go_args: &'static [u32],
    /// Offset of the return value.
    pub ret: u32,
    /// Offset of the instruction pointer.
    pub ip: u32,
    /// Offset of the stack pointer.
    pub sp: u32,
    /// Bytes between the stack pointer at a function's entry and its first argument on the stack.
    pub stack_args: u32,
    /// Offsets of a system call's arguments in order.
    pub syscall_args: &'static [u32],
    /// Offset of a system call's number.
    pub syscall_number: u32,
    /// Offsets by name, as `reg("name")` takes them.
    pub names: &'static [(&'static str, u32)],
}

impl Registers {
    /// Offset of a register by name.
    pub fn named(&self, name: &str) -> Option<u32> {
        self.names.iter().find(|(n, _)| *n == name).map(|(_, offset)| *offset)
    }

    /// The name of the register at an offset.
    pub fn name(&self, offset: u32) -> Option<&'static str> {
        self.names.iter().find(|(_, o)| *o == offset).map(|(name, _)| *name)
    }
}

/// The registers of an architecture.
pub fn registers(arch: Arch) -> &'static Registers {
    match arch {
        Arch::X86_64 => &X86_64,
        Arch::Aarch64 => &AARCH64,
    }
}

static X86_64: Registers = Registers {
    size: 168,
    // rdi, rsi, rdx, rcx, r8, r9
    args: &[112, 104, 96, 88, 72, 64],
    // rax, rbx, rcx, rdi, rsi, r8, r9, r10, r11
    go_args: &[80, 40, 88, 112, 104, 72, 64, 56, 48],
    ret: 80,
    ip: 128,
    sp: 152,
    // The return address.
    stack_args: 8,
    // The kernel's entry code moves the fourth one: r10 instead of rcx, which the instruction overwrites.
    syscall_args: &[112, 104, 96, 56, 72, 64],
    syscall_number: 120,
    names: &[
        ("r15", 0),
        ("r14", 8),
        ("r13", 16),
        ("r12", 24),
        ("bp", 32),
        ("bx", 40),
        ("r11", 48),
        ("r10", 56),
        ("r9", 64),
        ("r8", 72),
        ("ax", 80),
        ("cx", 88),
        ("dx", 96),
        ("si", 104),
        ("di", 112),
        ("orig_ax", 120),
        ("ip", 128),
        ("pc", 128),
        ("cs", 136),
        ("flags", 144),
        ("sp", 152),
        ("ss", 160),
    ],
};

static AARCH64: Registers = Registers {
    // struct user_pt_regs: x0 to x30, sp, pc, pstate.
    size: 272,
    args: &[0, 8, 16, 24, 32, 40, 48, 56],
    go_args: &[0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120],
    ret: 0,
    ip: 256,
    sp: 248,
    stack_args: 0,
    syscall_args: &[0, 8, 16, 24, 32, 40],
    syscall_number: 64,
    names: &[
        ("r0", 0),
        ("r1", 8),
        ("r2", 16),
        ("r3", 24),
        ("r4", 32),
        ("r5", 40),
        ("r6", 48),
        ("r7", 56),
        ("r8", 64),
        ("r9", 72),
        ("r10", 80),
        ("r11", 88),
        ("r12", 96),
        ("r13", 104),
        ("r14", 112),
        ("r15", 120),
        ("r16", 128),
        ("r17", 136),
        ("r18", 144),
        ("r19", 152),
        ("r20", 160),
        ("r21", 168),
        ("r22", 176),
        ("r23", 184),
        ("r24", 192),
        ("r25", 200),
        ("r26", 208),
        ("r27", 216),
        ("r28", 224),
        ("r29", 232),
        ("r30", 240),
        ("sp", 248),
        ("pc", 256),
        ("ip", 256),
        ("pstate", 264),
    ],
};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn x86_64_follows_the_calling_convention() {
        let r = registers(Arch::X86_64);
        let by_name: Vec<u32> = ["di", "si", "dx", "cx", "r8", "r9"].iter().map(|n| r.named(n).unwrap()).collect();
        assert_eq!(r.args, by_name);
        let syscall: Vec<u32> = ["di", "si", "dx", "r10", "r8", "r9"].iter().map(|n| r.named(n).unwrap()).collect();
        assert_eq!(r.syscall_args, syscall);
        assert_eq!((Some(r.ret), Some(r.ip), Some(r.sp)), (r.named("ax"), r.named("pc"), r.named("sp")));
        assert_eq!(r.named("ss").unwrap() + 8, r.size);
    }

    #[test]
    fn aarch64_follows_the_calling_convention() {
        let r = registers(Arch::Aarch64);
        for n in 0..31u32 {
            assert_eq!(r.named(&format!("r{n}")), Some(n * 8));
        }
        assert_eq!(r.args.len(), 8);
        assert_eq!((r.named("sp"), r.named("pc"), r.named("pstate")), (Some(248), Some(256), Some(264)));
        assert_eq!(r.named("r8"), Some(r.syscall_number));
    }

    #[test]
    fn every_offset_is_a_word_inside_the_structure() {
        for r in [registers(Arch::X86_64), registers(Arch::Aarch64)] {
            let fields = r.names.iter().map(|(_, o)| *o).chain(r.args.iter().copied()).chain([r.ret, r.ip, r.sp]);
            for offset in fields {
                assert!(offset % 8 == 0 && offset + 8 <= r.size, "{offset}");
            }
            assert_eq!(r.named("nope"), None);
        }
    }
}
