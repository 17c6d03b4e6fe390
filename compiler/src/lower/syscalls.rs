//! Programs that serve the tracepoints of many system calls from the one raw tracepoint that all calls pass: a table in the
//! read-only data tells by the call's number which attach point it is.

use super::FnLower;
use crate::index::Id;
use crate::ir::{BinOp as Ir, Cond, Value, Width, helpers};
use crate::program::{Attach, ProbeId, ProgramKind};
use crate::syscalls;
use crate::target::Arch;

/// Of the raw tracepoint's context: the registers, then the number at the entry and the result at the return.
const REGISTERS: i32 = 0;
const NUMBER: i32 = 8;

/// Bytes of an entry of the table: the position of the attach point in the manifest plus one, 0 for calls not served.
const ENTRY: u64 = 2;

/// What of `struct pt_regs` is read: from which byte on, how many, and where in it the number of the call lies.
struct Registers {
    from: i64,
    len: u32,
    number: i32,
    /// Code segment of 32-bit programs on `x86_64`, whose calls have other numbers, and where it lies.
    compat: Option<(i32, i64)>,
}

const fn registers(arch: Arch) -> Registers {
    match arch {
        // orig_ax, ip, cs.
        Arch::X86_64 => Registers { from: 120, len: 24, number: 0, compat: Some((16, 0x23)) },
        // orig_x0, syscallno (32 bits).
        Arch::Aarch64 => Registers { from: 272, len: 16, number: 8, compat: None },
    }
}

impl FnLower<'_, '_> {
    pub(super) fn serves_syscalls(&self) -> bool {
        matches!(self.program.kind, ProgramKind::SyscallEnter | ProgramKind::SyscallExit)
    }

    /// Ends the run for calls that no attach point is for, and for those of 32-bit programs, as the tracepoints do.
    pub(super) fn only_served_syscalls(&mut self) {
        let wanted = registers(self.m.facts.arch);
        let exit = self.exit;
        if let Some((at, segment)) = wanted.compat {
            let bytes = self.call_registers(&wanted);
            let found = self.b.load(Width::W2, bytes, at);
            let on = self.b.block();
            self.b.branch_imm(Cond::Ne, found, segment, on, exit);
            self.b.enter(on);
        }
        let point = self.syscall_point();
        let on = self.b.block();
        self.b.branch_imm(Cond::Ne, point, 0, on, exit);
        self.b.enter(on);
    }

    /// The position of the attach point in the manifest plus one; 0 where there is none.
    pub(super) fn syscall_point(&mut self) -> Value {
        let number = if self.program.kind == ProgramKind::SyscallEnter {
            let ctx = self.ctx;
            self.b.load(Width::W8, ctx, NUMBER)
        } else {
            let wanted = registers(self.m.facts.arch);
            let bytes = self.call_registers(&wanted);
            self.b.load(Width::W4, bytes, wanted.number)
        };
        let table = self.points_by_number();
        let entries = table.len() as i64 / ENTRY as i64;
        let base = self.m.rodata(&table, ENTRY as usize);
        let point = self.b.variable();
        let zero = self.b.iconst(0);
        self.b.set(point, zero);
        let (within, end) = (self.b.block(), self.b.block());
        self.b.branch_imm(Cond::ULt, number, entries, within, end);
        self.b.enter(within);
        let at = self.b.bin_imm(Ir::Mul, number, ENTRY as i64);
        let base = self.b.rodata(base);
        let at = self.b.bin(Ir::Add, base, at);
        let found = self.b.load(Width::W2, at, 0);
        self.b.set(point, found);
        self.join(end);
        self.b.get(point)
    }

    /// The part of the registers that matters, copied.
    fn call_registers(&mut self, wanted: &Registers) -> Value {
        let bytes = self.temp_bytes(wanted.len);
        let bytes = self.addr(bytes);
        self.b.zero(bytes, 0, wanted.len, 8);
        let ctx = self.ctx;
        let registers = self.b.load(Width::W8, ctx, REGISTERS);
        let from = self.b.bin_imm(Ir::Add, registers, wanted.from);
        let len = self.b.iconst(i64::from(wanted.len));
        self.b.call(helpers::PROBE_READ_KERNEL, &[bytes, len, from]);
        bytes
    }

    fn points_by_number(&self) -> Vec<u8> {
        let mut table: Vec<u16> = Vec::new();
        for id in &self.program.probes {
            let Some((number, entry)) = self.served(*id) else { continue };
            if table.len() <= number {
                table.resize(number + 1, 0);
            }
            if let Some(slot) = table.get_mut(number) {
                *slot = entry;
            }
        }
        table.into_iter().flat_map(u16::to_le_bytes).collect()
    }

    fn served(&self, id: ProbeId) -> Option<(usize, u16)> {
        let Attach::Tracepoint { event, .. } = &self.m.script.probes.get(id)?.attach else { return None };
        let number = syscalls::number(self.m.facts.arch, syscalls::function_of(event)?)?;
        Some((usize::try_from(number).ok()?, u16::try_from(id.index() + 1).ok()?))
    }
}
