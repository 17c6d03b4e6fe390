//! Names for addresses: of the kernel and of user processes.

pub mod elf;
pub mod kallsyms;
