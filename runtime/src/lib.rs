//! The runtime: loads a compiled script into the kernel, attaches it, and prints what comes back.

pub mod symbols;
pub mod sys;
pub mod system;
