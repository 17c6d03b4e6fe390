//! What the pure operations compute. Interpreter and constant folding share it, so that they cannot disagree.

use super::{BinOp, Cond, Ext};

/// The result of an arithmetic operation.
pub const fn bin(op: BinOp, a: u64, b: u64) -> u64 {
    let shift = (b & 63) as u32;
    match op {
        BinOp::Add => a.wrapping_add(b),
        BinOp::Sub => a.wrapping_sub(b),
        BinOp::Mul => a.wrapping_mul(b),
        BinOp::UDiv => match a.checked_div(b) {
            Some(q) => q,
            None => 0,
        },
        BinOp::UMod => match a.checked_rem(b) {
            Some(r) => r,
            None => a,
        },
        BinOp::SDiv => {
            if b == 0 {
                0
            } else {
                (a as i64).wrapping_div(b as i64) as u64
            }
        }
        BinOp::SMod => {
            if b == 0 {
                a
            } else {
                (a as i64).wrapping_rem(b as i64) as u64
            }
        }
        BinOp::And => a & b,
        BinOp::Or => a | b,
        BinOp::Xor => a ^ b,
        BinOp::Shl => a << shift,
        BinOp::LShr => a >> shift,
        BinOp::AShr => ((a as i64) >> shift) as u64,
    }
}

/// The result of an extension.
pub const fn ext(ext: Ext, v: u64) -> u64 {
    match ext {
        Ext::Zext8 => v as u8 as u64,
        Ext::Zext16 => v as u16 as u64,
        Ext::Zext32 => v as u32 as u64,
        Ext::Sext8 => v as i8 as u64,
        Ext::Sext16 => v as i16 as u64,
        Ext::Sext32 => v as i32 as u64,
    }
}

/// The low bits in reverse byte order, the rest zero.
pub const fn byte_swap(bits: u8, v: u64) -> u64 {
    match bits {
        16 => (v as u16).swap_bytes() as u64,
        32 => (v as u32).swap_bytes() as u64,
        _ => v.swap_bytes(),
    }
}

/// Whether a condition holds.
pub const fn cond(cond: Cond, a: u64, b: u64) -> bool {
    match cond {
        Cond::Eq => a == b,
        Cond::Ne => a != b,
        Cond::ULt => a < b,
        Cond::ULe => a <= b,
        Cond::UGt => a > b,
        Cond::UGe => a >= b,
        Cond::SLt => (a as i64) < (b as i64),
        Cond::SLe => (a as i64) <= (b as i64),
        Cond::SGt => (a as i64) > (b as i64),
        Cond::SGe => (a as i64) >= (b as i64),
        Cond::Test => a & b != 0,
    }
}
