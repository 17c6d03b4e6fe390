//! The textual form of the IR: one instruction a line, read back by `parse`. Spans are not part of it; the name of a value
//! stands in a comment.

use std::fmt::{self, Display, Formatter, Write};

use super::{
    BinOp, Block, BlockData, CallbackKind, Cond, Ext, Function, FunctionKind, Inst, MapKind, Module, Op, Target,
    Terminator, Value, ValueData,
};
use crate::index::IndexVec;

/// Words of the textual form, for printing and parsing.
pub(super) mod words {
    use super::{BinOp, CallbackKind, Cond, Ext, MapKind};

    pub const BIN: &[(BinOp, &str)] = &[
        (BinOp::Add, "add"),
        (BinOp::Sub, "sub"),
        (BinOp::Mul, "mul"),
        (BinOp::UDiv, "udiv"),
        (BinOp::SDiv, "sdiv"),
        (BinOp::UMod, "umod"),
        (BinOp::SMod, "smod"),
        (BinOp::And, "and"),
        (BinOp::Or, "or"),
        (BinOp::Xor, "xor"),
        (BinOp::Shl, "shl"),
        (BinOp::LShr, "lshr"),
        (BinOp::AShr, "ashr"),
    ];
    pub const EXT: &[(Ext, &str)] = &[
        (Ext::Zext8, "zext8"),
        (Ext::Zext16, "zext16"),
        (Ext::Zext32, "zext32"),
        (Ext::Sext8, "sext8"),
        (Ext::Sext16, "sext16"),
        (Ext::Sext32, "sext32"),
    ];
    pub const COND: &[(Cond, &str)] = &[
        (Cond::Eq, "eq"),
        (Cond::Ne, "ne"),
        (Cond::ULt, "ult"),
        (Cond::ULe, "ule"),
        (Cond::UGt, "ugt"),
        (Cond::UGe, "uge"),
        (Cond::SLt, "slt"),
        (Cond::SLe, "sle"),
        (Cond::SGt, "sgt"),
        (Cond::SGe, "sge"),
        (Cond::Test, "test"),
    ];
    pub const MAP: &[(MapKind, &str)] = &[
        (MapKind::Hash, "hash"),
        (MapKind::Array, "array"),
        (MapKind::PerfEventArray, "perf_event_array"),
        (MapKind::PercpuHash, "percpu_hash"),
        (MapKind::PercpuArray, "percpu_array"),
        (MapKind::StackTrace, "stack_trace"),
        (MapKind::LruHash, "lru_hash"),
        (MapKind::LruPercpuHash, "lru_percpu_hash"),
        (MapKind::RingBuf, "ringbuf"),
    ];
    pub const CALLBACK: &[(CallbackKind, &str)] =
        &[(CallbackKind::Loop, "loop"), (CallbackKind::ForEachMapElem, "for_each_map_elem")];

    /// The word for a key.
    pub fn word<K: PartialEq>(table: &[(K, &'static str)], key: &K) -> &'static str {
        table.iter().find(|row| row.0 == *key).map_or("?", |row| row.1)
    }
    /// The key of a word.
    pub fn key<K: Copy>(table: &[(K, &'static str)], word: &str) -> Option<K> {
        table.iter().find(|row| row.1 == word).map(|row| row.0)
    }
}
use words::word;

impl Display for Module {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "license {:?}", self.license)?;
        for (id, m) in self.maps.enumerate() {
            let kind = word(words::MAP, &m.kind);
            writeln!(
                f,
                "map {id} {} {kind} key {} value {} entries {} flags {}",
                m.symbol, m.key_size, m.value_size, m.max_entries, m.flags
            )?;
        }
        if let Some(m) = self.counters {
            writeln!(f, "counters {m}")?;
        }
        if !self.rodata.is_empty() {
            f.write_str("rodata ")?;
            for b in &self.rodata {
                write!(f, "{b:02x}")?;
            }
            f.write_char('\n')?;
        }
        for (id, func) in self.functions.enumerate() {
            writeln!(f, "\n{id} = {func}")?;
        }
        Ok(())
    }
}

impl Display for Function {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "function {} ", self.symbol)?;
        match &self.kind {
            FunctionKind::Program { section, reentrant } => {
                write!(f, "program {section}{}", if *reentrant { " reentrant" } else { "" })?;
            }
            FunctionKind::Sub => f.write_str("sub")?,
            FunctionKind::Callback(kind) => write!(f, "callback {}", word(words::CALLBACK, kind))?,
        }
        if let Some(n) = self.missed_counter {
            write!(f, " missed {n}")?;
        }
        f.write_str(" {\n")?;
        for (id, s) in self.slots.enumerate() {
            writeln!(
                f,
                "    {id} = slot {} align {}{}{}",
                s.size,
                s.align,
                if s.indexed { " indexed" } else { "" },
                if s.pinned { " pinned" } else { "" }
            )?;
        }
        for (id, block) in self.blocks.enumerate() {
            write_block(f, id, block, &self.values)?;
        }
        f.write_char('}')
    }
}

fn list(f: &mut Formatter<'_>, values: &[Value]) -> fmt::Result {
    for (i, v) in values.iter().enumerate() {
        write!(f, "{}{v}", if i == 0 { "" } else { ", " })?;
    }
    Ok(())
}

fn write_block(
    f: &mut Formatter<'_>,
    id: Block,
    block: &BlockData,
    values: &IndexVec<Value, ValueData>,
) -> fmt::Result {
    write!(f, "{id}(")?;
    list(f, &block.params)?;
    f.write_str("):")?;
    let names: Vec<&str> = block.params.iter().filter_map(|&p| values.get(p)?.name).collect();
    if !names.is_empty() {
        write!(f, "  ; {}", names.join(", "))?;
    }
    f.write_char('\n')?;
    for inst in &block.insts {
        write!(f, "    {inst}")?;
        if let Some(name) = inst.result.and_then(|v| values.get(v)?.name) {
            write!(f, "  ; {name}")?;
        }
        f.write_char('\n')?;
    }
    match &block.term {
        Some(term) => writeln!(f, "    {term}"),
        None => writeln!(f, "    ; no end"),
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.block)?;
        list(f, &self.args)?;
        f.write_char(')')
    }
}

impl Display for Terminator {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jump(t) => write!(f, "jump {t}"),
            Self::Branch { cond, lhs, rhs, then, otherwise } => {
                write!(f, "branch {} {lhs}, {rhs}, {then}, {otherwise}", word(words::COND, cond))
            }
            Self::Return(v) => write!(f, "return {v}"),
        }
    }
}

impl Display for Inst {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(v) = self.result {
            write!(f, "{v} = ")?;
        }
        self.op.fmt(f)
    }
}

impl Display for Op {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Const(c) => write!(f, "const {c}"),
            Self::Bin(op, a, b) => write!(f, "{} {a}, {b}", word(words::BIN, op)),
            Self::Ext(ext, v) => write!(f, "{} {v}", word(words::EXT, ext)),
            Self::ByteSwap(bits, v) => write!(f, "bswap {bits}, {v}"),
            Self::Cmp(cond, a, b) => write!(f, "cmp {} {a}, {b}", word(words::COND, cond)),
            Self::Load { width, addr, offset } => write!(f, "load {}, {addr}, {offset}", width.bytes()),
            Self::Store { width, addr, offset, value } => {
                write!(f, "store {}, {addr}, {offset}, {value}", width.bytes())
            }
            Self::AtomicAdd { width, addr, offset, value } => {
                write!(f, "atomic_add {}, {addr}, {offset}, {value}", width.bytes())
            }
            Self::AtomicXchg { width, addr, offset, value } => {
                write!(f, "atomic_xchg {}, {addr}, {offset}, {value}", width.bytes())
            }
            Self::Zero { addr, offset, len, align } => write!(f, "zero {addr}, {offset}, {len}, {align}"),
            Self::Copy { dst, dst_offset, src, src_offset, len, align } => {
                write!(f, "copy {dst}, {dst_offset}, {src}, {src_offset}, {len}, {align}")
            }
            Self::SlotAddr(s) => write!(f, "slot_addr {s}"),
            Self::Map(m) => write!(f, "map {m}"),
            Self::MapValue(m, off) => write!(f, "map_value {m}, {off}"),
            Self::Rodata(off) => write!(f, "rodata {off}"),
            Self::Call(helper, args) => {
                match helper.name() {
                    "unknown" => write!(f, "call {}(", helper.0)?,
                    name => write!(f, "call {name}(")?,
                }
                list(f, args)?;
                f.write_char(')')
            }
            Self::CallSub(func, args) => {
                write!(f, "call_sub {func}(")?;
                list(f, args)?;
                f.write_char(')')
            }
            Self::CallKfunc(id, args) => {
                write!(f, "call_kfunc {id}(")?;
                list(f, args)?;
                f.write_char(')')
            }
            Self::FuncAddr(func) => write!(f, "func_addr {func}"),
        }
    }
}
