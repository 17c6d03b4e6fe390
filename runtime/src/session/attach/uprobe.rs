//! Functions of user programs, by file and offset.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use tapline_compiler::program::{Attach, ProbeDesc};

use crate::session::SessionError;
use crate::symbols::image::container;
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
    let config = if is_return { pmu.return_config } else { 0 };
    open(program, path, (offset, pmu.kind, config), cookie, env)
}

/// One link for all places of a file. Where the kernel refuses one of them (it does not say which), links for the halves without it.
pub(super) fn attach_multi(
    program: BorrowedFd<'_>,
    probes: &[&ProbeDesc],
    is_return: bool,
    env: &Environment,
    failed: &mut dyn FnMut(&ProbeDesc, Failure) -> Result<(), SessionError>,
) -> Result<Links, SessionError> {
    let mut files: BTreeMap<&str, Vec<(&ProbeDesc, u64)>> = BTreeMap::new();
    for probe in probes {
        if let Attach::Uprobe { path, offset } = &probe.attach {
            files.entry(path).or_default().push((probe, *offset));
        }
    }
    let mut links = Links::default();
    for (path, places) in &files {
        let mut pending = vec![places.as_slice()];
        while let Some(part) = pending.pop() {
            let Some((first, _)) = part.first() else { continue };
            let path = match c_string(container(path)) {
                Ok(path) => path,
                Err(failure) => {
                    failed(first, failure)?;
                    continue;
                }
            };
            let (offsets, cookies): (Vec<u64>, Vec<u64>) = part.iter().map(|(probe, at)| (*at, probe.cookie)).unzip();
            match bpf::link_uprobe_multi(program, &path, &offsets, &cookies, is_return, env.pid) {
                Ok(link) => {
                    links.links.push(link);
                    links.probes += part.len();
                    links.slow += 1;
                }
                Err(e) if part.len() == 1 => failed(first, e.into())?,
                Err(_) => {
                    let (low, high) = part.split_at(part.len() / 2);
                    pending.push(high);
                    pending.push(low);
                }
            }
        }
    }
    Ok(links)
}

/// A place made for tracing. The kernel counts the semaphore up in all processes that have the file mapped, and down again.
pub(super) fn attach_usdt(
    program: BorrowedFd<'_>,
    path: &str,
    offset: u64,
    semaphore: u64,
    cookie: u64,
    env: &Environment,
) -> Result<Links, Failure> {
    /// Where the semaphore's offset stands in the event's configuration.
    const SEMAPHORE_SHIFT: u32 = 32;
    let Some(pmu) = env.uprobe_pmu() else {
        return Err(
            Failure::new("this kernel has no uprobes").help("they need a kernel built with CONFIG_UPROBE_EVENTS")
        );
    };
    let Ok(semaphore) = u32::try_from(semaphore) else {
        return Err(Failure::new("its semaphore lies beyond 4 GiB of the file"));
    };
    open(program, path, (offset, pmu.kind, u64::from(semaphore) << SEMAPHORE_SHIFT), cookie, env)
}

fn open(
    program: BorrowedFd<'_>,
    path: &str,
    (offset, kind, config): (u64, u32, u64),
    cookie: u64,
    env: &Environment,
) -> Result<Links, Failure> {
    let scope = env.pid.map_or_else(|| Scope::Cpu(env.first_cpu()), Scope::Process);
    let event = match perf::function(scope, kind, config, Some(&c_string(container(path))?), offset) {
        Ok(event) => event,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::missing(format!("there is no file {path}")));
        }
        Err(e) => return Err(e.into()),
    };
    let link = bpf::link_perf_event(program, event.as_fd(), cookie)?;
    Ok(Links { links: vec![link], events: vec![event], probes: 1, slow: 1, ..Links::default() })
}
