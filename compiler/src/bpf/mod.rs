//! IR to BPF machine code: selection, register allocation, emission. Knows registers and encodings, not the language.
//!
//! The way: `select` -> `regalloc` -> `emit`. The code refers to maps and
//! functions by relocations, which `object` turns into those of the ELF file.

// Indexing here is of `IndexVec`s by ids of the function at hand; slices are opened with `get`.
#![allow(clippy::indexing_slicing)]

use tapline_grammar::span::Span;

pub mod disasm;
mod emit;
pub mod frame;
pub mod insn;
mod live;
mod mir;
mod regalloc;
mod select;
#[cfg(test)]
mod tests;

use crate::diagnostic::Diagnostic;
use crate::index::Id;
use crate::ir::{FuncId, Module};
use crate::parallel;
use crate::program::MapId;

/// The code of messages about programs that are larger than the kernel takes.
pub const TOO_LARGE: &str = "too-large";

/// Machine code of a module.
#[derive(Clone, Debug, Default)]
pub struct Code {
    /// In the order of the module's functions.
    pub functions: Vec<FunctionCode>,
}

/// Machine code of one function.
#[derive(Clone, Debug)]
pub struct FunctionCode {
    /// Which.
    pub id: FuncId,
    /// Instruction slots; `ld_imm64` takes two.
    pub insns: Vec<insn::Insn>,
    /// Where each slot comes from; as many as `insns`.
    pub spans: Vec<Span>,
    /// What is filled in later, by rising position.
    pub relocs: Vec<CodeReloc>,
    /// Bytes of stack; the caller checks them against [`frame::STACK_SIZE`].
    pub stack: u32,
}

/// An instruction that names something outside the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeReloc {
    /// Index of the slot (the first of `ld_imm64`).
    pub insn: usize,
    /// What it names.
    pub kind: RelocKind,
}

/// What a relocation names. The immediate of the instruction holds an offset where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelocKind {
    /// A map's handle.
    Map(MapId),
    /// The value of a global data map.
    MapValue(MapId),
    /// The read-only data.
    Rodata,
    /// The address of a function.
    Func(FuncId),
    /// The callee of a call.
    Call(FuncId),
}

/// Generates code for all functions of a module.
pub fn compile(module: &Module) -> Result<Code, Diagnostic> {
    let functions = parallel::map(module.functions.iter(), |at, func| {
        let selected = select::select(func)?;
        let homes = regalloc::allocate(&selected);
        emit::emit(FuncId::new(at), func, &selected, &homes)
    });
    Ok(Code { functions: functions.into_iter().collect::<Result<_, _>>()? })
}
