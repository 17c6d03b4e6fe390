//! Kernel functions: one by one through perf, or many in one link.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use tapline_compiler::program::{Attach, ProbeDesc};

use crate::session::SessionError;
use crate::sys::bpf::{self, When};
use crate::sys::perf::{self, Scope};
use crate::system::functions;

use super::{Environment, Failure, Links, c_string};

/// Where a probe goes.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// A function, or so many bytes behind its start.
    Named { function: &'a str, module: Option<&'a str>, offset: u64 },
    /// An instruction.
    Address(u64),
}

pub(super) fn attach(
    program: BorrowedFd<'_>,
    place: Place<'_>,
    is_return: bool,
    cookie: u64,
    env: &Environment,
) -> Result<Links, Failure> {
    let Some(pmu) = env.kprobe_pmu() else {
        return Err(
            Failure::new("this kernel has no kprobes").help("they need a kernel built with CONFIG_KPROBE_EVENTS")
        );
    };
    let (target, offset) = match place {
        Place::Named { function, module, offset } => (Some(c_string(&full_name(function, module))?), offset),
        Place::Address(address) => (None, address),
    };
    let config = if is_return { pmu.return_config } else { 0 };
    let scope = Scope::Cpu(env.first_cpu());
    let event = perf::function(scope, pmu.kind, config, target.as_deref(), offset)
        .map_err(|error| explain(&error, place, env))?;
    let link = bpf::link_perf_event(program, event.as_fd(), cookie)?;
    Ok(Links { links: vec![link], events: vec![event], probes: 1, slow: 1, ..Links::default() })
}

/// Of several functions with one name the first that the kernel takes, as in links over many functions.
pub(super) fn attach_first(
    program: BorrowedFd<'_>,
    name: &str,
    is_return: bool,
    cookie: u64,
    env: &Environment,
) -> Option<Links> {
    let functions = env.symbols().iter().filter(|symbol| symbol.code && symbol.address != 0 && symbol.name == name);
    functions.map(|symbol| attach(program, Place::Address(symbol.address), is_return, cookie, env)).find_map(Result::ok)
}

/// The kernel's name of a function in a module; `vmlinux` stands for the kernel itself.
fn full_name(function: &str, module: Option<&str>) -> String {
    match module {
        Some(module) if module != "vmlinux" => format!("{module}:{function}"),
        _ => function.to_owned(),
    }
}

/// Why the kernel takes no probe at a place: it does not say, but lists where it does and where it never will.
fn refused(place: Place<'_>, env: &Environment) -> Failure {
    let function = match place {
        Place::Named { function, .. } => function,
        Place::Address(address) => env.symbols().function_at(address).map_or("", |symbol| symbol.name),
    };
    if functions::blocked().iter().any(|name| name == function) {
        return Failure::missing("the kernel forbids probes in this function")
            .help("it runs on the way to a probe, or where none can be served: probe a function that calls it");
    }
    env.untraceable(function).unwrap_or_else(|| Failure::missing("the kernel does not allow a probe at this place"))
}

/// Several functions have the name: what tells them apart.
fn ambiguous(function: &str, env: &Environment) -> Failure {
    /// More would not be read.
    const SHOWN: usize = 4;
    let same = env.symbols().iter().filter(|symbol| symbol.code && symbol.address != 0 && symbol.name == function);
    let places: Vec<String> = same
        .map(|symbol| match symbol.module {
            Some(module) => format!("`kprobe:{module}:{function}`"),
            None => format!("`kprobe:{:#x}`", symbol.address),
        })
        .take(SHOWN)
        .collect();
    let failure = Failure { ambiguous: true, ..Failure::missing("several functions of the kernel have this name") };
    match places.as_slice() {
        [] => failure.help("probe a function that calls it"),
        places => failure.help(format!("probe a function that calls it, or one of them: {}", places.join(", "))),
    }
}

fn explain(error: &io::Error, place: Place<'_>, env: &Environment) -> Failure {
    match (error.raw_os_error(), place) {
        (Some(libc::ENOENT), _) => Failure::missing("the kernel has no such function that can be probed"),
        (Some(libc::EADDRNOTAVAIL), Place::Named { function, .. }) => ambiguous(function, env),
        (Some(libc::EINVAL), place) => refused(place, env),
        (Some(libc::EILSEQ), _) => Failure::missing("the offset is not at the start of an instruction"),
        (code, _) => Failure::from(io::Error::from_raw_os_error(code.unwrap_or(libc::EIO))),
    }
}

/// One link for all, and where the kernel refuses some of the names (it does not say which), links for the halves without
/// them.
pub(super) fn attach_multi(
    program: BorrowedFd<'_>,
    probes: &[&ProbeDesc],
    when: When,
    env: &Environment,
    failed: &mut dyn FnMut(&ProbeDesc, Failure) -> Result<(), SessionError>,
) -> Result<Links, SessionError> {
    let mut links = Links::default();
    let mut pending = vec![probes];
    while let Some(part) = pending.pop() {
        let Some(first) = part.first() else { continue };
        let mut names = Vec::with_capacity(part.len());
        for probe in part {
            let Attach::Kprobe { function, module, .. } = &probe.attach else { continue };
            match c_string(&full_name(function, module.as_deref())) {
                Ok(name) => names.push(name),
                Err(failure) => failed(probe, failure)?,
            }
        }
        let cookies: Vec<u64> = part.iter().map(|p| p.cookie).collect();
        match bpf::link_kprobe_multi(program, &names, &cookies, when) {
            Ok(link) => {
                links.links.push(link);
                links.probes += part.len();
            }
            Err(e) if part.len() == 1 => {
                let error =
                    if e.raw_os_error() == Some(libc::ESRCH) { io::Error::from_raw_os_error(libc::ENOENT) } else { e };
                let Attach::Kprobe { function, module, offset } = &first.attach else { continue };
                let place = Place::Named { function, module: module.as_deref(), offset: *offset };
                failed(first, explain(&error, place, env))?;
            }
            Err(_) => {
                let (low, high) = part.split_at(part.len() / 2);
                pending.push(high);
                pending.push(low);
            }
        }
    }
    Ok(links)
}
