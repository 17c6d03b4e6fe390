//! Kernel functions through the call that the compiler left room for at their beginning.

use std::io;
use std::os::fd::BorrowedFd;

use crate::sys::bpf;

use super::{Environment, Failure, Links};

/// The kernel's own "not supported", which no header for user space has.
const ENOTSUPP: i32 = 524;

/// The program knows its function since it was loaded.
pub(super) fn attach(program: BorrowedFd<'_>, function: &str, env: &Environment) -> Result<Links, Failure> {
    let link = bpf::link_tracing(program).map_err(|error| explain(&error, function, env))?;
    Ok(Links { links: vec![link], probes: 1, slow: 1, ..Links::default() })
}

fn explain(error: &io::Error, function: &str, env: &Environment) -> Failure {
    match error.raw_os_error() {
        // It does not find the code that it wants to replace.
        Some(libc::EBUSY) => env
            .untraceable(function)
            .unwrap_or_else(|| Failure::new("something else has patched this function").help("try a kprobe")),
        Some(libc::E2BIG) => {
            Failure::new("too many programs trace this function already").help("end the others, or use a kprobe")
        }
        Some(ENOTSUPP) => Failure::new("this kernel cannot call programs from its functions").help("use a kprobe"),
        code => Failure::from(io::Error::from_raw_os_error(code.unwrap_or(libc::EIO))),
    }
}
