//! Iterators: a link that programs are run through by reading from it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::errno::describe;
use crate::sys::bpf;

use super::{Failure, Links, c_string};

/// `BPF_CGROUP_ITER_DESCENDANTS_PRE`: the kernel wants to know an order of cgroups; this one begins with the root.
const CGROUPS_FROM_THE_ROOT: u32 = 2;

/// With a file, whoever reads that runs the program, also after the session.
pub(super) fn attach(program: BorrowedFd<'_>, name: &str, pin: Option<&str>) -> Result<Links, Failure> {
    let order = (name == "cgroup").then_some(CGROUPS_FROM_THE_ROOT);
    let link = bpf::link_iter(program, order)?;
    if let Some(path) = pin {
        bpf::pin(link.as_fd(), &c_string(path)?).map_err(|e| {
            let failure = Failure::new(format!("cannot pin it to {path}: {}", describe(&e)));
            match e.raw_os_error() {
                Some(libc::EEXIST) => failure.help("remove the file, or choose another name"),
                _ => failure.help("the path must lie in the file system of BPF, /sys/fs/bpf"),
            }
        })?;
    }
    Ok(Links { links: vec![link], probes: 1, ..Links::default() })
}

/// Opens the iteration that a link stands for.
pub fn open(link: &OwnedFd) -> io::Result<File> {
    bpf::iter_create(link).map(File::from)
}

/// Runs the program for all objects, unless `stopped` says that nobody is interested any more.
pub fn run(mut iteration: File, stopped: &dyn Fn() -> bool) -> io::Result<()> {
    let mut nothing = [0u8; 64];
    while !stopped() {
        match iteration.read(&mut nothing) {
            Ok(0) => break,
            Ok(_) => {}
            // It stops for others to run, and goes on.
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
