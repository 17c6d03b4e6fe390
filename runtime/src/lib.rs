//! The runtime: loads a compiled script into the kernel, attaches it, and prints what comes back.

pub mod cli;
pub mod debug_info;
pub mod errno;
pub mod events;
pub mod maps;
pub mod output;
pub mod session;
pub mod symbols;
pub mod sys;
pub mod system;
pub mod unwind;
