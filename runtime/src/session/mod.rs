//! A script in the kernel: loading, attaching, the loop that serves it, and the orderly end.

pub mod attach;
pub mod error;
pub mod loader;
pub mod losses;
mod packets;
pub mod run;
mod service;
pub mod trials;

#[cfg(test)]
mod kernel_tests;

pub use error::SessionError;
pub use run::{Options, load, run};
