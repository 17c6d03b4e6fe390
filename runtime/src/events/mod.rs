//! From the bytes of the ring buffer to values and actions. Everything here treats its input as foreign: a record that is
//! shorter than its layout reads as zeros, and no length in it is trusted.

pub mod actions;
mod cgroup;
pub mod context;
pub mod decode;
pub mod format;
mod gfp;
#[cfg(test)]
mod tests;
pub mod text;
pub mod value;
