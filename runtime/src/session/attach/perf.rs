//! Timers and counters: interval, profile, software and hardware events.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tapline_compiler::program::Sampling;

use crate::sys::bpf;
use crate::sys::perf::{self, Rate, Scope};

use super::{Environment, Failure, Links};

/// A timer on one CPU.
pub(super) fn interval(
    program: BorrowedFd<'_>,
    period_ns: u64,
    cookie: u64,
    env: &Environment,
) -> Result<Links, Failure> {
    let event = perf::cpu_clock(Scope::Cpu(env.first_cpu()), Rate::Period(period_ns))?;
    let link = bpf::link_perf_event(program, event.as_fd(), cookie)?;
    Ok(Links { links: vec![link], events: vec![event], probes: 1, ..Links::default() })
}

/// A timer on every CPU.
pub(super) fn profile(
    program: BorrowedFd<'_>,
    sampling: Sampling,
    cookie: u64,
    env: &Environment,
) -> Result<Links, Failure> {
    let rate = match sampling {
        Sampling::Hz(hz) => Rate::Hz(hz),
        Sampling::PeriodNs(ns) => Rate::Period(ns),
    };
    on_every_cpu(program, cookie, env, |scope| perf::cpu_clock(scope, rate))
}

/// A counter on every CPU, or following one process.
pub(super) fn counter(
    program: BorrowedFd<'_>,
    perf_type: u32,
    config: u64,
    period: u64,
    cookie: u64,
    env: &Environment,
) -> Result<Links, Failure> {
    on_every_cpu(program, cookie, env, |scope| perf::counter(scope, perf_type, config, Rate::Period(period)))
}

/// Memory of one process, or of the kernel.
pub(super) fn watchpoint(
    program: BorrowedFd<'_>,
    (address, length, mode): (u64, u64, u32),
    cookie: u64,
    env: &Environment,
) -> Result<Links, Failure> {
    let scopes: Vec<Scope> = match env.pid {
        Some(pid) => threads(pid).into_iter().map(Scope::Process).collect(),
        None => env.cpus().iter().copied().map(Scope::Cpu).collect(),
    };
    let mut links = Links { probes: 1, ..Links::default() };
    for scope in scopes {
        let event = perf::breakpoint(scope, address, length, mode).map_err(|e| match e.raw_os_error() {
            Some(libc::ENOSPC) => Failure::new("all debug registers of the processor are in use")
                .help("it has four; end other watchpoints and debuggers"),
            Some(libc::ENODEV | libc::ENOENT | libc::EOPNOTSUPP) => {
                Failure::new("this machine has no hardware breakpoints")
            }
            _ => Failure::from(e),
        })?;
        links.links.push(bpf::link_perf_event(program, event.as_fd(), cookie)?);
        links.events.push(event);
    }
    Ok(links)
}

/// The threads that a process has now; the process itself when they cannot be listed.
fn threads(pid: u32) -> Vec<u32> {
    let listed = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let found: Vec<u32> = listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    if found.is_empty() { vec![pid] } else { found }
}

fn on_every_cpu(
    program: BorrowedFd<'_>,
    cookie: u64,
    env: &Environment,
    open: impl Fn(Scope) -> io::Result<OwnedFd>,
) -> Result<Links, Failure> {
    let mut links = Links { probes: 1, ..Links::default() };
    for &cpu in env.cpus() {
        let event = match open(Scope::Cpu(cpu)) {
            Ok(event) => event,
            // A CPU that went offline since we looked.
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) && env.cpus().len() > 1 => continue,
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV)) => {
                return Err(Failure::missing("this machine does not count such events")
                    .help("virtual machines often have no hardware counters: software events work everywhere"));
            }
            Err(e) => return Err(e.into()),
        };
        links.links.push(bpf::link_perf_event(program, event.as_fd(), cookie)?);
        links.events.push(event);
    }
    Ok(links)
}
