//! BPF machine instructions: registers, opcode fields, the 8-byte encoding. Every constructor yields an instruction of
//! the `v3` instruction set (Linux 5.10 with 32-bit jumps and atomics), so nothing here needs a feature probe.
//!
//! Encodings are those of `Documentation/bpf/standardization/instruction-set.rst`.

use crate::ir::{Cond, Width};

/// A machine register, `r0` to `r10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reg(pub u8);

impl Reg {
    /// Return value; clobbered by calls.
    pub const R0: Self = Self(0);
    /// First argument.
    pub const R1: Self = Self(1);
    /// The read-only frame pointer.
    pub const FP: Self = Self(10);
    /// The register of the n-th argument of a call, counted from 0.
    pub const fn arg(n: usize) -> Self {
        Self(n as u8 + 1)
    }
}

/// One 8-byte slot. `ld_imm64` takes two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Insn {
    /// Class, operation and source bit.
    pub code: u8,
    /// Destination register.
    pub dst: u8,
    /// Source register, or the kind of a pseudo operand.
    pub src: u8,
    /// Address or jump offset.
    pub off: i16,
    /// Immediate.
    pub imm: i32,
}

/// Instruction classes.
#[allow(missing_docs)] // Names of the instruction set.
pub mod class {
    pub const LD: u8 = 0;
    pub const LDX: u8 = 1;
    pub const ST: u8 = 2;
    pub const STX: u8 = 3;
    pub const ALU: u8 = 4;
    pub const JMP: u8 = 5;
    pub const JMP32: u8 = 6;
    pub const ALU64: u8 = 7;
}

/// The second operand is a register.
pub const SRC_REG: u8 = 0x08;
const MODE_MEM: u8 = 0x60;
const MODE_ATOMIC: u8 = 0xc0;
/// `ld_imm64`.
pub const LD_IMM64: u8 = 0x18;
/// `goto`.
pub const JA: u8 = class::JMP;
/// `call`.
pub const CALL: u8 = class::JMP | 0x80;
/// `exit`.
pub const EXIT: u8 = class::JMP | 0x90;
/// `call` of a function of the object.
pub const PSEUDO_CALL: u8 = 1;
/// `call` of a kernel function by BTF id.
pub const PSEUDO_KFUNC_CALL: u8 = 2;
/// Exchange, in the immediate of an atomic.
pub const ATOMIC_XCHG: i32 = 0xe1;

/// Operations of the `ALU` classes, as they lie in the opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // Names of the instruction set.
pub enum AluOp {
    Add = 0x00,
    Sub = 0x10,
    Mul = 0x20,
    Div = 0x30,
    Or = 0x40,
    And = 0x50,
    Shl = 0x60,
    LShr = 0x70,
    Mod = 0x90,
    Xor = 0xa0,
    Mov = 0xb0,
    AShr = 0xc0,
}

impl AluOp {
    /// `a op b == b op a`.
    pub const fn commutative(self) -> bool {
        matches!(self, Self::Add | Self::Mul | Self::Or | Self::And | Self::Xor)
    }
}

const fn size_bits(width: Width) -> u8 {
    match width {
        Width::W1 => 0x10,
        Width::W2 => 0x08,
        Width::W4 => 0x00,
        Width::W8 => 0x18,
    }
}

const fn cond_bits(cond: Cond) -> u8 {
    match cond {
        Cond::Eq => 0x10,
        Cond::UGt => 0x20,
        Cond::UGe => 0x30,
        Cond::Test => 0x40,
        Cond::Ne => 0x50,
        Cond::SGt => 0x60,
        Cond::SGe => 0x70,
        Cond::ULt => 0xa0,
        Cond::ULe => 0xb0,
        Cond::SLt => 0xc0,
        Cond::SLe => 0xd0,
    }
}

/// The second operand of arithmetic, comparisons and stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegOrImm {
    /// A register.
    Reg(Reg),
    /// A constant, sign-extended.
    Imm(i32),
}

impl Insn {
    /// `dst op= rhs`; 32-bit operations zero the upper half.
    pub const fn alu(op: AluOp, wide: bool, dst: Reg, rhs: RegOrImm) -> Self {
        let class = if wide { class::ALU64 } else { class::ALU };
        match rhs {
            RegOrImm::Reg(src) => Self { code: class | op as u8 | SRC_REG, dst: dst.0, src: src.0, off: 0, imm: 0 },
            RegOrImm::Imm(imm) => Self { code: class | op as u8, dst: dst.0, src: 0, off: 0, imm },
        }
    }
    /// `dst = src`.
    pub const fn mov(dst: Reg, src: Reg) -> Self {
        Self::alu(AluOp::Mov, true, dst, RegOrImm::Reg(src))
    }
    /// Reverses the low `bits` bits and zeroes the rest (to big endian on a little-endian machine).
    pub const fn byte_swap(bits: u8, dst: Reg) -> Self {
        Self { code: class::ALU | 0xd0 | SRC_REG, dst: dst.0, src: 0, off: 0, imm: bits as i32 }
    }
    /// Both halves of `dst = imm`.
    pub const fn ld_imm64(dst: Reg, src: u8, imm: i64) -> [Self; 2] {
        [
            Self { code: LD_IMM64, dst: dst.0, src, off: 0, imm: imm as i32 },
            Self { code: 0, dst: 0, src: 0, off: 0, imm: (imm >> 32) as i32 },
        ]
    }
    /// `dst = *(base + off)`, zero-extended.
    pub const fn load(width: Width, dst: Reg, base: Reg, off: i16) -> Self {
        Self { code: class::LDX | MODE_MEM | size_bits(width), dst: dst.0, src: base.0, off, imm: 0 }
    }
    /// `*(base + off) = value`.
    pub const fn store(width: Width, base: Reg, off: i16, value: RegOrImm) -> Self {
        let code = MODE_MEM | size_bits(width);
        match value {
            RegOrImm::Reg(src) => Self { code: class::STX | code, dst: base.0, src: src.0, off, imm: 0 },
            RegOrImm::Imm(imm) => Self { code: class::ST | code, dst: base.0, src: 0, off, imm },
        }
    }
    /// An atomic operation on `*(base + off)`; `imm` tells which.
    pub const fn atomic(width: Width, base: Reg, off: i16, src: Reg, imm: i32) -> Self {
        Self { code: class::STX | MODE_ATOMIC | size_bits(width), dst: base.0, src: src.0, off, imm }
    }
    /// `if lhs cond rhs goto +off`.
    pub const fn branch(cond: Cond, wide: bool, lhs: Reg, rhs: RegOrImm) -> Self {
        let class = if wide { class::JMP } else { class::JMP32 };
        match rhs {
            RegOrImm::Reg(src) => {
                Self { code: class | cond_bits(cond) | SRC_REG, dst: lhs.0, src: src.0, off: 0, imm: 0 }
            }
            RegOrImm::Imm(imm) => Self { code: class | cond_bits(cond), dst: lhs.0, src: 0, off: 0, imm },
        }
    }
    /// `goto +off`.
    pub const fn goto() -> Self {
        Self { code: JA, dst: 0, src: 0, off: 0, imm: 0 }
    }
    /// `call`; `kind` is 0 for a helper.
    pub const fn call(kind: u8, imm: i32) -> Self {
        Self { code: CALL, dst: 0, src: kind, off: 0, imm }
    }
    /// `exit`.
    pub const fn exit() -> Self {
        Self { code: EXIT, dst: 0, src: 0, off: 0, imm: 0 }
    }
    /// The class bits.
    pub const fn class(self) -> u8 {
        self.code & 0x07
    }
    /// A jump whose `off` is a target (calls and `exit` are not).
    pub const fn is_jump(self) -> bool {
        matches!(self.class(), class::JMP | class::JMP32) && self.code != CALL && self.code != EXIT
    }
    /// As it lies in memory on a little-endian machine.
    pub const fn encode(self) -> [u8; 8] {
        let off = self.off.to_le_bytes();
        let imm = self.imm.to_le_bytes();
        [self.code, self.dst | (self.src << 4), off[0], off[1], imm[0], imm[1], imm[2], imm[3]]
    }
}
