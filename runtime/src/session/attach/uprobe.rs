//! Functions of user programs, by file and offset.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::sys::bpf;
use crate::sys::perf::{self, Scope};

use super::{Environment, Failure, Links, c_string};

pub(super) fn attach(
    program: BorrowedFd<'_>,
    path: &str,
    offset: u64,
    is_return: bool,
    cookie: u64,
    env: &Environment,
) -> Result<Links, Failure> {
    let Some(pmu) = env.uprobe_pmu() else {
        return Err(
            Failure::new("this kernel has no uprobes").help("they need a kernel built with CONFIG_UPROBE_EVENTS")
        );
    };
    let scope = env.pid.map_or_else(|| Scope::Cpu(env.first_cpu()), Scope::Process);
    let config = if is_return { pmu.return_config } else { 0 };
    let event = match perf::function(scope, pmu.kind, config, &c_string(path)?, offset) {
        Ok(event) => event,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::missing(format!("there is no file {path}")));
        }
        Err(e) => return Err(e.into()),
    };
    let link = bpf::link_perf_event(program, event.as_fd(), cookie)?;
    Ok(Links { links: vec![link], events: vec![event], probes: 1, slow: 1 })
}
