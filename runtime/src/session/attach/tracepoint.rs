//! Tracepoints through perf, raw tracepoints through links of their own.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::errno::describe;
use crate::sys::bpf;
use crate::sys::perf::{self, Scope};

use super::{Environment, Failure, Links, c_string};

/// One perf event serves all CPUs: the program hangs on the tracepoint, not on the event's counter.
pub(super) fn attach(
    program: BorrowedFd<'_>,
    category: &str,
    event: &str,
    cookie: u64,
    env: &Environment,
) -> Result<Links, Failure> {
    let Some(tracefs) = env.tracefs() else {
        return Err(Failure::new("tracefs is not mounted").help("mount -t tracefs tracefs /sys/kernel/tracing"));
    };
    let path = tracefs.join("events").join(category).join(event).join("id");
    let id = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| Failure::new(format!("{} holds no number", path.display())))?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::missing("the kernel has no such tracepoint"));
        }
        Err(e) => return Err(Failure::new(format!("cannot read {}: {}", path.display(), describe(&e)))),
    };
    let event = perf::tracepoint(Scope::Cpu(env.first_cpu()), id)?;
    let link = bpf::link_perf_event(program, event.as_fd(), cookie)?;
    Ok(Links { links: vec![link], events: vec![event], probes: 1, slow: 1, ..Links::default() })
}

pub(super) fn attach_raw(program: BorrowedFd<'_>, event: &str, cookie: u64) -> Result<Links, Failure> {
    let link = match bpf::raw_tracepoint_open(program, &c_string(event)?, cookie) {
        Ok(link) => link,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::missing("the kernel has no such raw tracepoint"));
        }
        Err(e) => return Err(e.into()),
    };
    Ok(Links { links: vec![link], probes: 1, ..Links::default() })
}
