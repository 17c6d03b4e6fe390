//! Machine code before register allocation: BPF operations over virtual registers, in SSA form with block parameters.
//! Constants and addresses that cost no more than a move are [`Source`]s: they are made where they are used and never
//! occupy a register in between. Only jumps carry arguments, so that every parallel copy has a block of its own to lie in.

use tapline_grammar::span::Span;

use super::insn::AluOp;
use crate::define_id;
use crate::index::IndexVec;
use crate::ir::{Cond, FuncId, Helper, Slot, Width};
use crate::program::MapId;

define_id!(
    /// A virtual register.
    VReg,
    "%"
);
define_id!(
    /// A block of machine code; ids are in the order of the code.
    MBlock,
    "mb"
);

/// What a move, an argument or a return value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A register.
    Reg(VReg),
    /// A constant.
    Const(i64),
    /// Address of local memory plus an offset.
    Frame(Slot, i32),
    /// A map's handle.
    Map(MapId),
    /// Address inside the value of a global data map.
    MapValue(MapId, u32),
    /// Address of read-only data.
    Rodata(u32),
    /// Address of a callback.
    Func(FuncId),
}

impl Source {
    /// The register that it reads.
    pub const fn reg(self) -> Option<VReg> {
        match self {
            Self::Reg(v) => Some(v),
            _ => None,
        }
    }
}

/// A second operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A register.
    Reg(VReg),
    /// A sign-extended constant.
    Imm(i32),
}

/// Base of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A register.
    Reg(VReg),
    /// Local memory.
    Frame(Slot),
}

/// What a call calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callee {
    /// A kernel helper.
    Helper(Helper),
    /// A function of the module.
    Sub(FuncId),
    /// A kernel function by BTF id.
    Kfunc(u32),
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MOp {
    /// `dst = src`.
    Mov { dst: VReg, src: Source },
    /// `dst = lhs op rhs`; 32-bit operations zero the upper half.
    Alu { op: AluOp, wide: bool, dst: VReg, lhs: VReg, rhs: Operand },
    /// Byte order reversed.
    Swap { bits: u8, dst: VReg, src: VReg },
    /// `dst = lhs cond rhs`.
    SetCc { cond: Cond, dst: VReg, lhs: VReg, rhs: Operand },
    /// `dst = *(base + off)`.
    Load { width: Width, dst: VReg, base: Base, off: i32 },
    /// `*(base + off) = src`.
    Store { width: Width, base: Base, off: i32, src: Operand },
    /// Atomic add.
    AtomicAdd { width: Width, base: Base, off: i32, value: VReg },
    /// Atomic exchange.
    AtomicXchg { width: Width, base: Base, off: i32, dst: VReg, value: VReg },
    /// A call.
    Call { callee: Callee, args: Vec<Source>, dst: Option<VReg> },
}

/// When an operation reads a register, relative to the write of its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before: the result may lie in the same register.
    Before,
    /// Also after the result's register was written.
    After,
}

impl MOp {
    /// The register that it defines.
    pub const fn def(&self) -> Option<VReg> {
        match self {
            Self::Mov { dst, .. }
            | Self::Alu { dst, .. }
            | Self::Swap { dst, .. }
            | Self::SetCc { dst, .. }
            | Self::Load { dst, .. }
            | Self::AtomicXchg { dst, .. } => Some(*dst),
            Self::Call { dst, .. } => *dst,
            Self::Store { .. } | Self::AtomicAdd { .. } => None,
        }
    }
    /// The registers that it reads.
    pub fn for_each_use(&self, mut f: impl FnMut(VReg, When)) {
        let mut base_use = |base: &Base, when| {
            if let Base::Reg(v) = base {
                f(*v, when);
            }
        };
        match self {
            Self::Mov { src, .. } => {
                if let Some(v) = src.reg() {
                    f(v, When::Before);
                }
            }
            Self::Alu { op, lhs, rhs, .. } => {
                f(*lhs, When::Before);
                if let Operand::Reg(v) = rhs {
                    f(*v, if op.commutative() { When::Before } else { When::After });
                }
            }
            Self::Swap { src, .. } => f(*src, When::Before),
            Self::SetCc { lhs, rhs, .. } => {
                f(*lhs, When::After);
                if let Operand::Reg(v) = rhs {
                    f(*v, When::After);
                }
            }
            Self::Load { base, .. } => base_use(base, When::Before),
            Self::Store { base, src, .. } => {
                base_use(base, When::Before);
                if let Operand::Reg(v) = src {
                    f(*v, When::Before);
                }
            }
            Self::AtomicAdd { base, value, .. } => {
                base_use(base, When::Before);
                f(*value, When::Before);
            }
            Self::AtomicXchg { base, value, .. } => {
                base_use(base, When::After);
                f(*value, When::Before);
            }
            Self::Call { args, .. } => {
                for v in args.iter().filter_map(|a| a.reg()) {
                    f(v, When::Before);
                }
            }
        }
    }
}

/// An operation with its place in the script.
#[derive(Clone, Debug)]
pub struct MInst {
    /// What it does.
    pub op: MOp,
    /// Where it comes from.
    pub span: Span,
}

/// How a block ends.
#[derive(Clone, Debug)]
pub enum MTerm {
    /// Goes on elsewhere with arguments for the parameters there.
    Jump(MBlock, Vec<Source>),
    /// Goes on in one of two blocks without parameters.
    Branch { cond: Cond, wide: bool, lhs: VReg, rhs: Operand, then: MBlock, otherwise: MBlock },
    /// Ends the function.
    Return(Source),
}

impl MTerm {
    /// The registers that it reads.
    pub fn for_each_use(&self, mut f: impl FnMut(VReg)) {
        match self {
            Self::Jump(_, args) => args.iter().filter_map(|a| a.reg()).for_each(f),
            Self::Branch { lhs, rhs, .. } => {
                f(*lhs);
                if let Operand::Reg(v) = rhs {
                    f(*v);
                }
            }
            Self::Return(source) => {
                if let Some(v) = source.reg() {
                    f(v);
                }
            }
        }
    }
    /// Where it goes.
    pub fn successors(&self) -> [Option<MBlock>; 2] {
        match self {
            Self::Jump(b, _) => [Some(*b), None],
            Self::Branch { then, otherwise, .. } => [Some(*then), Some(*otherwise)],
            Self::Return(_) => [None, None],
        }
    }
}

/// A block.
#[derive(Clone, Debug)]
pub struct MBlockData {
    /// Registers defined by the jumps that lead here.
    pub params: Vec<VReg>,
    /// Straight-line code.
    pub insts: Vec<MInst>,
    /// The end.
    pub term: MTerm,
    /// Span of the end.
    pub term_span: Span,
}

/// A function; the parameters of the first block arrive in r1, r2, ….
#[derive(Clone, Debug)]
pub struct MFunction {
    /// Blocks in the order of the code.
    pub blocks: IndexVec<MBlock, MBlockData>,
    /// Number of virtual registers.
    pub vregs: usize,
}
