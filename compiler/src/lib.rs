//! Syntax tree to [`program::Program`]: name resolution and types, an intermediate representation with its optimiser, BPF code
//! generation and the ELF writer. Knows no running system; asks a [`target::Target`].

pub mod backend;
pub mod bpf;
pub mod builtins;
pub mod check;
pub mod diagnostic;
pub mod driver;
pub mod expand;
pub mod index;
pub mod ir;
pub mod load;
pub mod lower;
pub mod number;
pub mod object;
pub mod parallel;
pub mod probes;
pub mod program;
pub mod render;
pub mod similar;
pub mod source;
pub mod syscalls;
pub mod target;
pub mod texts;
pub mod typed;
pub mod types;
pub mod unwind;
