//! Attach points to links, one file per provider. A link is one or two descriptors; closing them detaches.

mod function;
pub mod iter;
mod kprobe;
mod perf;
mod tracepoint;
mod uprobe;

use std::cell::OnceCell;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use tapline_compiler::program::{Attach, MissingProbes, ProbeDesc, Program, ProgramKind};

use crate::errno::describe;
use crate::maps::table::online_cpus;
use crate::symbols::kallsyms::KernelSymbols;
use crate::sys::bpf::When;
use crate::system::functions::{self, Functions};

use super::SessionError;

/// Descriptors that keep a program attached: the links, then the events that they hang on.
#[derive(Debug, Default)]
pub struct Links {
    /// `BPF_LINK_CREATE` or `BPF_RAW_TRACEPOINT_OPEN` links.
    pub links: Vec<OwnedFd>,
    /// Perf events.
    pub events: Vec<OwnedFd>,
    /// What keeps watchpoints, by their addresses.
    pub watched: Vec<(u64, Vec<OwnedFd>)>,
    /// Attach points served.
    pub probes: usize,
    /// Links that the kernel takes its time to close: about 0.1 s for each perf-based tracepoint or function.
    pub slow: usize,
}

impl Links {
    /// Detaches. Several closes overlap: each waits in the kernel for all CPUs to leave the program.
    pub fn close(self) {
        const THREADS: usize = 16;
        let mut fds: Vec<OwnedFd> = self.links;
        fds.extend(self.events);
        fds.extend(self.watched.into_iter().flat_map(|(_, fds)| fds));
        if self.slow < 2 {
            return;
        }
        let share = fds.len().div_ceil(THREADS).max(1);
        std::thread::scope(|scope| {
            while !fds.is_empty() {
                let part = fds.split_off(fds.len().saturating_sub(share));
                scope.spawn(move || drop(part));
            }
        });
    }

    /// Ends the watchpoints at some addresses.
    pub fn unwatch(&mut self, addresses: &mut Vec<u64>) {
        self.watched.retain(|(address, _)| !addresses.contains(address));
        addresses.clear();
    }

    fn extend(&mut self, other: Self) {
        self.links.extend(other.links);
        self.events.extend(other.events);
        self.watched.extend(other.watched);
        self.probes += other.probes;
        self.slow += other.slow;
    }
}

/// Why an attach point cannot be attached.
#[derive(Debug)]
pub struct Failure {
    /// In the user's terms.
    pub reason: String,
    /// What to do.
    pub help: Vec<String>,
    /// The attach point does not exist, so that `missing_probes` applies.
    pub missing: bool,
    /// It is not one thing but several.
    pub ambiguous: bool,
}

impl Failure {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), help: Vec::new(), missing: false, ambiguous: false }
    }

    fn missing(reason: impl Into<String>) -> Self {
        Self { missing: true, ..Self::new(reason) }
    }

    fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let failure = Self::new(describe(&error));
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => failure.help("raise the limit on open files: ulimit -n"),
            Some(libc::EPERM | libc::EACCES) => {
                failure.help("attaching needs CAP_PERFMON and a kernel.perf_event_paranoid setting that allows it")
            }
            _ => failure,
        }
    }
}

/// What attaching needs from the system, asked once.
pub struct Environment {
    tracefs: Option<PathBuf>,
    cpus: OnceCell<Vec<u32>>,
    kprobe_pmu: OnceCell<Option<Pmu>>,
    uprobe_pmu: OnceCell<Option<Pmu>>,
    symbols: OnceCell<KernelSymbols>,
    pid: Option<u32>,
}

/// A dynamic event source of perf.
#[derive(Clone, Copy, Debug)]
struct Pmu {
    kind: u32,
    return_config: u64,
}

impl Environment {
    /// For a session; `tracefs` is the mount point, `pid` the only process of interest.
    pub fn new(tracefs: Option<PathBuf>, pid: Option<u32>) -> Self {
        Self {
            tracefs,
            cpus: OnceCell::new(),
            kprobe_pmu: OnceCell::new(),
            uprobe_pmu: OnceCell::new(),
            symbols: OnceCell::new(),
            pid,
        }
    }

    fn cpus(&self) -> &[u32] {
        self.cpus.get_or_init(|| online_cpus().unwrap_or_else(|_| vec![0]))
    }

    fn first_cpu(&self) -> u32 {
        self.cpus().first().copied().unwrap_or(0)
    }

    fn tracefs(&self) -> Option<PathBuf> {
        self.tracefs.clone().or_else(|| {
            ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
                .into_iter()
                .map(PathBuf::from)
                .find(|p| p.join("events").is_dir())
        })
    }

    /// The kernel's symbols; none when it does not show them.
    fn symbols(&self) -> &KernelSymbols {
        self.symbols.get_or_init(|| KernelSymbols::load().unwrap_or_default())
    }

    /// The failure to trace a function that is none of those which the kernel can trace, where it lists them.
    fn untraceable(&self, function: &str) -> Option<Failure> {
        let text = fs::read_to_string(self.tracefs()?.join(functions::LIST)).ok()?;
        let missing = !text.is_empty() && !Functions::from_text(text).contains(function);
        missing.then(|| {
            Failure::missing("it is none of the functions that the kernel can trace")
                .help("such are copies of inline functions, what is marked `notrace`, and what runs at boot only: trace a function that calls it, or a tracepoint")
        })
    }

    fn kprobe_pmu(&self) -> Option<Pmu> {
        *self.kprobe_pmu.get_or_init(|| read_pmu("kprobe"))
    }

    fn uprobe_pmu(&self) -> Option<Pmu> {
        *self.uprobe_pmu.get_or_init(|| read_pmu("uprobe"))
    }
}

fn read_pmu(name: &str) -> Option<Pmu> {
    let base = PathBuf::from("/sys/bus/event_source/devices").join(name);
    let kind = fs::read_to_string(base.join("type")).ok()?.trim().parse().ok()?;
    let format = fs::read_to_string(base.join("format/retprobe")).ok()?;
    let bit: u32 = format.trim().strip_prefix("config:")?.parse().ok()?;
    Some(Pmu { kind, return_config: 1u64.checked_shl(bit)? })
}

fn c_string(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| Failure::new("the name has a NUL byte in it"))
}

/// Attaches all probes but begin, end and signals. Warnings about missing ones go to `warn`.
pub fn attach_all(
    program: &Program,
    programs: &[OwnedFd],
    env: &Environment,
    warn: &mut dyn FnMut(&SessionError),
) -> Result<Links, SessionError> {
    use std::os::fd::AsFd;
    let manifest = &program.manifest;
    let mut all = Links::default();
    for (desc, fd) in manifest.programs.iter().zip(programs) {
        let probes: Vec<&ProbeDesc> = desc.probes.iter().filter_map(|id| manifest.probes.get(id.0 as usize)).collect();
        let before = all.probes;
        let mut left_out: Vec<SessionError> = Vec::new();
        let mut failed = |probe: &ProbeDesc, failure: Failure| {
            let error = SessionError::Attach {
                probe: probe.name.clone(),
                span: probe.span,
                reason: failure.reason,
                help: failure.help,
            };
            match manifest.config.missing_probes {
                MissingProbes::Ignore if failure.missing => Ok(()),
                MissingProbes::Warn if failure.missing => {
                    warn(&error);
                    Ok(())
                }
                MissingProbes::Error if failure.missing && probe.matched => {
                    left_out.push(error);
                    Ok(())
                }
                _ => Err(error),
            }
        };
        match desc.kind {
            ProgramKind::KprobeMulti => {
                all.extend(kprobe::attach_multi(fd.as_fd(), &probes, When::Entry, env, &mut failed)?);
            }
            ProgramKind::KretprobeMulti => {
                all.extend(kprobe::attach_multi(fd.as_fd(), &probes, When::Return, env, &mut failed)?);
            }
            ProgramKind::KprobeSession => {
                // The entries, then the returns of the same functions.
                let (entries, _) = probes.split_at(probes.len() / 2);
                let links = kprobe::attach_multi(fd.as_fd(), entries, When::Session, env, &mut failed)?;
                all.extend(Links { probes: links.probes * 2, ..links });
            }
            ProgramKind::UprobeMulti | ProgramKind::UretprobeMulti => {
                let is_return = desc.kind == ProgramKind::UretprobeMulti;
                all.extend(uprobe::attach_multi(fd.as_fd(), &probes, is_return, env, &mut failed)?);
            }
            ProgramKind::SyscallEnter | ProgramKind::SyscallExit => {
                let event = if desc.kind == ProgramKind::SyscallEnter { "sys_enter" } else { "sys_exit" };
                match (tracepoint::attach_raw(fd.as_fd(), event, 0), probes.first()) {
                    (Ok(links), _) => all.extend(Links { probes: probes.len(), ..links }),
                    (Err(failure), Some(first)) => failed(first, failure)?,
                    (Err(_), None) => {}
                }
            }
            kind => {
                for probe in probes {
                    match attach_one(fd.as_fd(), kind, probe, env) {
                        Ok(links) => all.extend(links),
                        Err(failure) => failed(probe, failure)?,
                    }
                }
            }
        }
        let others = left_out.len().saturating_sub(1);
        if let Some(first) = left_out.into_iter().next() {
            if all.probes == before {
                return Err(first);
            }
            warn(&first.with_others(others));
        }
    }
    Ok(all)
}

fn attach_one(fd: BorrowedFd<'_>, kind: ProgramKind, probe: &ProbeDesc, env: &Environment) -> Result<Links, Failure> {
    let cookie = probe.cookie;
    let links = match &probe.attach {
        Attach::Begin | Attach::End | Attach::SelfSignal(_) | Attach::Test(_) | Attach::Bench(_) => {
            return Ok(Links::default());
        }
        Attach::Kprobe { function, module, offset } => {
            let is_return = kind == ProgramKind::Kretprobe;
            let place = kprobe::Place::Named { function, module: module.as_deref(), offset: *offset };
            match kprobe::attach(fd, place, is_return, cookie, env) {
                Err(failure) if failure.ambiguous && probe.matched => {
                    kprobe::attach_first(fd, function, is_return, cookie, env).ok_or(failure)?
                }
                other => other?,
            }
        }
        Attach::KprobeAddress(address) => {
            kprobe::attach(fd, kprobe::Place::Address(*address), kind == ProgramKind::Kretprobe, cookie, env)?
        }
        Attach::Function { function, .. } => function::attach(fd, function, env)?,
        Attach::Iter { name, pin, .. } => iter::attach(fd, name, pin.as_deref())?,
        Attach::Tracepoint { category, event } => tracepoint::attach(fd, category, event, cookie, env)?,
        Attach::RawTracepoint { event } => tracepoint::attach_raw(fd, event, cookie)?,
        Attach::Uprobe { path, offset } => {
            uprobe::attach(fd, path, *offset, kind == ProgramKind::Uretprobe, cookie, env)?
        }
        Attach::Usdt { path, offset, semaphore } => uprobe::attach_usdt(fd, path, *offset, *semaphore, cookie, env)?,
        Attach::Watchpoint { address, length, mode } => {
            let Links { links, events, .. } = perf::watchpoint(fd, (*address, *length, *mode), cookie, env)?;
            Links { watched: vec![(*address, links.into_iter().chain(events).collect())], ..Links::default() }
        }
        Attach::Interval { period_ns } => perf::interval(fd, *period_ns, cookie, env)?,
        Attach::Profile(sampling) => perf::profile(fd, *sampling, cookie, env)?,
        Attach::PerfCounter { perf_type, config, period } => {
            perf::counter(fd, *perf_type, *config, *period, cookie, env)?
        }
    };
    Ok(Links { probes: 1, ..links })
}
