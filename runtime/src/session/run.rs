//! The life of a session: begin, attach, serve, detach, end, maps, losses.

use std::collections::HashSet;
use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aya::maps::{MapData, RingBuf};
use tapline_compiler::program::{Attach, MapRole, ProbeDesc, Program};

use crate::events::actions::{Actions, Outcome};
use crate::events::context::{Context, Symbolizer};
use crate::maps::table::Table;
use crate::output::{Sink, TextKind};
use crate::sys::bpf;
use crate::sys::child::{Child, pidfd_open};
use crate::sys::limits::raise_open_files;
use crate::sys::poll::{Epoll, Signals, default_signal};
use crate::unwind::{self, Unwinder};

use super::SessionError;
use super::attach::{Environment, Links, attach_all, iter};
use super::loader::{DirectLoader, Loaded, Loader};
use super::losses::{Losses, kernel_misses};
use super::packets::Packets;
use super::service;
use super::trials::Purpose;

/// The line that programs which drive us wait for; also the name of the variable that asks for it.
const NOTIFY: &str = "__BPFTRACE_NOTIFY_PROBES_ATTACHED";

/// How often the counters of losses are looked at.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How often what the kernel tells of processes is taken over: its rings hold some hundred program starts per CPU.
const REFRESH_INTERVAL: Duration = Duration::from_millis(100);

/// How often the mappings of processes are looked at whose stacks are unwound: soon after they have changed, since a program
/// that starts loads one library after the other, and ever more rarely while they stay.
const UNWIND_INTERVAL: std::ops::RangeInclusive<Duration> = Duration::from_millis(2)..=Duration::from_millis(128);

/// How long to wait for more while an iterator runs.
const ITERATION_INTERVAL: Duration = Duration::from_micros(200);

/// Records handled before signals are looked at again.
const BATCH: usize = 1 << 14;

/// When output is passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Buffering {
    /// After every record.
    None,
    /// Whenever all that has arrived is printed: a reader never waits for a line.
    #[default]
    Line,
    /// When the buffer is full.
    Full,
}

/// How to run a script.
#[derive(Default)]
pub struct Options {
    /// Command line of the child, started once all probes are attached; the session ends with it.
    pub command: Vec<CString>,
    /// The session ends with this process.
    pub pid: Option<u32>,
    /// Processes whose stacks are unwound by tables, besides that one and the child.
    pub unwound: Vec<u32>,
    /// Details on standard error.
    pub verbose: bool,
    /// Nothing but the script's output and errors.
    pub quiet: bool,
    /// No warnings while it runs; lost events are no warning.
    pub no_warnings: bool,
    /// Keep the verifier's logs of programs that load, and show them.
    pub verifier_log: bool,
    /// When output is passed on.
    pub buffering: Buffering,
    /// Attach, run nothing and go: for checking that a script would start.
    pub dry_run: bool,
    /// What it is for.
    pub purpose: Purpose,
    /// Mount point of tracefs, where it is known already.
    pub tracefs: Option<PathBuf>,
}

/// Records handled at the end: more than a ring buffer holds, for probes may go on sending.
const LAST_BATCH: usize = 1 << 20;

/// Links that are closed before the last output, so that nothing changes under it. The close of more takes seconds.
const FEW_SLOW_LINKS: usize = 8;

const RING: u64 = 0;
const SIGNAL: u64 = 1;
const CHILD: u64 = 2;
const PROCESS: u64 = 3;
const PACKETS: u64 = 4;

/// A child of `-c`, forked before the script is compiled so that the script may know its pid.
pub type Held = Option<Child>;

/// A script's maps and programs in the kernel, and what serves them.
pub struct Ready {
    loaded: Loaded,
    unwinder: Option<Unwinder>,
}

/// Brings a script into the kernel.
pub fn load(program: &Program, options: &Options) -> Result<Ready, SessionError> {
    let manifest = &program.manifest;
    // Two descriptors per attach point and CPU at worst, and some for maps, programs and files.
    let wanted = 256 + 2 * (manifest.probes.len() as u64 + manifest.programs.len() as u64) + manifest.maps.len() as u64;
    // A limit that cannot be raised shows as a clear error where a descriptor is missing.
    let _ = raise_open_files(wanted.max(1024));

    let unwinds = manifest.maps.iter().any(|m| m.role == MapRole::UnwindProcesses);
    let unwinder = unwinds.then(|| Unwinder::new(options.pid.iter().chain(&options.unwound).copied().collect()));
    let loader =
        DirectLoader { verifier_log: options.verifier_log, unwind_rows: unwinder.as_ref().map(Unwinder::capacity) };
    Ok(Ready { loaded: loader.load(program)?, unwinder })
}

/// Runs a script to its end; the result is the exit status.
pub fn run(
    program: &Program,
    ready: Ready,
    options: &Options,
    child: Held,
    symbols: Box<dyn Symbolizer>,
    sink: &mut dyn Sink,
) -> Result<i32, SessionError> {
    let manifest = &program.manifest;
    let Ready { loaded, mut unwinder } = ready;
    if unwinder.is_some() && options.pid.is_none() && options.unwound.is_empty() && child.is_none() {
        eprintln!(
            "WARNING: dw_ustack() knows the processes of -p, -c and --dwarf-pid: all stacks are walked by frame pointers"
        );
    }
    let Loaded { mut tables, events, packets, programs, logs } = loaded;
    let packets = packets.map(|map| Packets::open(map, manifest)).transpose()?;
    if options.verbose {
        for desc in &manifest.programs {
            eprintln!("NOTE: loaded {} ({:?}) for {} attach points", desc.symbol, desc.kind, desc.probes.len());
        }
    }
    for (name, log) in &logs {
        eprintln!("The verifier's log of {name}:\n{log}");
    }
    let take = |tables: &mut Vec<Option<Table>>, role: MapRole| {
        let index = manifest.maps.iter().position(|m| m.role == role)?;
        tables.get_mut(index)?.take()
    };
    let stacks = take(&mut tables, MapRole::Stacks);
    let counters = take(&mut tables, MapRole::Counters);
    if let Some(unwinder) = &mut unwinder
        && let [Some(rows), Some(mappings), Some(processes)] = unwind::ROLES.map(|role| take(&mut tables, role))
    {
        unwinder.connect([rows, mappings, processes]).map_err(SessionError::system("write unwind tables"))?;
    }
    let ctx = Context::new(manifest, symbols, stacks);
    let warnings = !options.no_warnings;
    let mut actions = Actions::new(manifest, &ctx, &tables, sink);
    actions.warnings = warnings;
    let mut session = Session {
        program,
        options,
        programs,
        counters,
        losses: Losses::new(manifest, warnings),
        last_report: Instant::now(),
        events,
        packets,
        actions,
        child,
        unwinder,
        exit: None,
        unwatched: Vec::new(),
    };
    session.run()
}

pub(super) struct Session<'a> {
    pub(super) program: &'a Program,
    pub(super) options: &'a Options,
    pub(super) programs: Vec<OwnedFd>,
    pub(super) counters: Option<Table>,
    pub(super) losses: Losses<'a>,
    last_report: Instant,
    pub(super) events: Option<RingBuf<MapData>>,
    packets: Option<Packets<'a>>,
    pub(super) actions: Actions<'a>,
    child: Held,
    unwinder: Option<Unwinder>,
    exit: Option<i32>,
    /// Addresses whose watchpoints end after the records at hand.
    unwatched: Vec<u64>,
}

impl Session<'_> {
    fn run(&mut self) -> Result<i32, SessionError> {
        if self.options.dry_run {
            self.attach()?;
            return Ok(0);
        }
        let signals = self.block_signals()?;
        self.run_programs(|attach| matches!(attach, Attach::Begin))?;

        // What the begin probes have sent is held back until the attach is announced; if they have ended the
        // script, there is no need to attach anything.
        let early = self.take_records();
        if self.options.purpose != Purpose::Script
            && let Some(status) = self.run_trials(&early)?
        {
            return self.finish(Links::default(), &signals).map(|own| if status == 0 { own } else { status });
        }
        let ended = early.iter().any(|record| self.actions.exit_status(record).is_some());
        // Whoever waits for the announcement may end the traced process at once: it is watched, and the mappings that name its
        // addresses are known, before.
        let process = match self.options.pid {
            Some(pid) => Some(pidfd_open(pid).map_err(SessionError::system("watch the process"))?),
            None => None,
        };
        if !ended && self.actions.prints_processes() {
            let child = self.child.as_ref().map(Child::pid);
            self.actions.watch_processes(if child.is_some() && self.options.pid.is_some() {
                None
            } else {
                child.or(self.options.pid)
            });
        }
        let mut links = if ended { Links::default() } else { self.attach()? };
        self.announce(if ended { self.probes().count() } else { links.probes + self.own_probes() })?;
        for record in &early {
            if self.exit.is_none() {
                self.handle(record)?;
            }
        }
        links.unwatch(&mut self.unwatched);
        self.flush(false)?;
        if !ended {
            self.release_child()?;
            let pins: Vec<String> = self
                .probes()
                .filter_map(|p| match &p.attach {
                    Attach::Iter { pin: Some(path), .. } => Some(format!("Program pinned to {path}\n")),
                    _ => None,
                })
                .collect();
            if !pins.is_empty() {
                for text in pins {
                    self.actions.sink.text(TextKind::Printf, text.as_bytes()).map_err(SessionError::Output)?;
                }
            } else if self.probes().any(|p| matches!(p.attach, Attach::Iter { .. })) {
                self.iterate(&links, &signals)?;
            } else if !self.is_finished_by_begin() {
                self.serve(&signals, process.as_ref(), &mut links)?;
            }
        }
        self.finish(links, &signals)
    }

    /// Signals that end the session or have probes of their own.
    fn block_signals(&self) -> Result<Signals, SessionError> {
        let mut wanted = vec![libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1];
        wanted.extend(self.program.manifest.probes.iter().filter_map(|p| match p.attach {
            Attach::SelfSignal(signal) => Some(signal),
            _ => None,
        }));
        Signals::block(&wanted).map_err(SessionError::system("receive signals"))
    }

    /// Probes that nothing is attached for.
    fn own_probes(&self) -> usize {
        let own = |attach: &Attach| matches!(attach, Attach::Begin | Attach::End | Attach::SelfSignal(_));
        self.probes().filter(|p| own(&p.attach)).count()
    }

    /// The probes that this session has a program for.
    fn probes(&self) -> impl Iterator<Item = &ProbeDesc> {
        let manifest = &self.program.manifest;
        let ids = manifest.programs.iter().flat_map(|program| &program.probes);
        ids.filter_map(|id| manifest.probes.get(id.0 as usize))
    }

    /// Nothing can happen any more: the script has begin and end probes only, and no command runs for it.
    fn is_finished_by_begin(&self) -> bool {
        let once = |attach: &Attach| matches!(attach, Attach::Begin | Attach::End);
        self.child.is_none() && self.probes().all(|p| once(&p.attach))
    }

    /// Runs the programs of some probes, in the order of the script.
    fn run_programs(&self, wanted: impl Fn(&Attach) -> bool) -> Result<(), SessionError> {
        let manifest = &self.program.manifest;
        let mut found: Vec<(u32, usize)> = Vec::new();
        for (index, desc) in manifest.programs.iter().enumerate() {
            let of_program =
                desc.probes.iter().filter(|id| manifest.probes.get(id.0 as usize).is_some_and(|p| wanted(&p.attach)));
            found.extend(of_program.map(|id| (id.0, index)));
        }
        found.sort_unstable();
        for (_, index) in found {
            if let Some(fd) = self.programs.get(index) {
                bpf::raw_tp_run(fd.as_fd(), &[0; 12]).map_err(SessionError::system("run a begin or end probe"))?;
            }
        }
        Ok(())
    }

    fn attach(&mut self) -> Result<Links, SessionError> {
        let env = Environment::new(self.options.tracefs.clone(), self.program.manifest.config.pid);
        attach_all(self.program, &self.programs, &env, &mut |error| eprintln!("WARNING: {error}"))
    }

    fn announce(&mut self, probes: usize) -> Result<(), SessionError> {
        if !self.options.quiet {
            self.actions.sink.attached(probes).map_err(SessionError::Output)?;
        }
        service::tell(service::READY);
        if std::env::var_os(NOTIFY).is_some() {
            self.flush(true)?;
            let mut stdout = io::stdout().lock();
            writeln!(stdout, "{NOTIFY}").and_then(|()| stdout.flush()).map_err(SessionError::Output)?;
        }
        Ok(())
    }

    fn release_child(&mut self) -> Result<(), SessionError> {
        let Some(child) = &mut self.child else { return Ok(()) };
        let mut written = Ok(());
        let released = match &mut self.unwinder {
            // It may be over before its tables would be looked for.
            Some(unwinder) => {
                unwinder.add(child.pid());
                child.release_slowly(|_| written = unwinder.update().map(drop))
            }
            None => child.release(),
        };
        written.map_err(SessionError::system("write unwind tables"))?;
        released.map_err(|error| SessionError::Child {
            command: self.options.command.first().map(|c| c.to_string_lossy().into_owned()).unwrap_or_default(),
            error,
        })
    }

    /// Waits and serves until the script, a signal, or the traced process ends it.
    fn serve(&mut self, signals: &Signals, process: Option<&OwnedFd>, links: &mut Links) -> Result<(), SessionError> {
        let failed = |e| SessionError::System { action: "wait for events", error: e };
        let epoll = Epoll::new().map_err(failed)?;
        epoll.add(signals.as_fd(), SIGNAL).map_err(failed)?;
        if let Some(ring) = &self.events {
            epoll.add(ring.as_fd(), RING).map_err(failed)?;
        }
        for buffer in self.packets.iter().flat_map(Packets::buffers) {
            epoll.add(buffer, PACKETS).map_err(failed)?;
        }
        if let Some(child) = &self.child {
            epoll.add(child.as_fd(), CHILD).map_err(failed)?;
        }
        if let Some(process) = process {
            epoll.add(process.as_fd(), PROCESS).map_err(failed)?;
        }
        let (prints_processes, keeps_processes) = (self.actions.prints_processes(), self.actions.has_processes());
        let mut timeout = if prints_processes {
            Some(REFRESH_INTERVAL)
        } else {
            (!self.losses.is_empty()).then_some(REPORT_INTERVAL)
        };
        let (mut unwound, mut patience) = (Instant::now(), *UNWIND_INTERVAL.start());
        let mut seen = HashSet::new();
        let mut ready = Vec::new();
        while self.exit.is_none() {
            if self.unwinder.is_some() {
                timeout = Some(patience);
            }
            epoll.wait(timeout, &mut ready).map_err(failed)?;
            let mut over = false;
            for token in &ready {
                match *token {
                    SIGNAL if self.take_signals(signals)? => {
                        over = true;
                        stop_on_signals();
                    }
                    CHILD | PROCESS => over = true,
                    _ => {}
                }
            }
            if let Some(unwinder) = &mut self.unwinder
                && unwound.elapsed() >= patience
            {
                let changed = unwinder.update().map_err(SessionError::system("write unwind tables"))?;
                let next = if changed { *UNWIND_INTERVAL.start() } else { patience * 2 };
                (unwound, patience) = (Instant::now(), next.min(*UNWIND_INTERVAL.end()));
            }
            if prints_processes {
                self.actions.refresh_processes();
            }
            let emptied = self.drain(BATCH)?;
            links.unwatch(&mut self.unwatched);
            self.flush(false)?;
            if self.last_report.elapsed() >= REPORT_INTERVAL {
                self.report_losses()?;
                if self.exit.is_none() {
                    self.exit = self.losses.exit_pending().map(|status| status as i32);
                }
                if keeps_processes {
                    self.actions.remember_processes(&mut seen);
                }
            }
            if over {
                if !emptied {
                    self.drain(LAST_BATCH)?;
                }
                break;
            }
        }
        Ok(())
    }

    /// Runs the iterators to their ends, and prints meanwhile.
    fn iterate(&mut self, links: &Links, signals: &Signals) -> Result<(), SessionError> {
        let failed = SessionError::system("run an iterator");
        let iterations = links.links.iter().map(iter::open).collect::<io::Result<Vec<_>>>().map_err(failed)?;
        let stopped = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let running = scope.spawn(|| {
                let stopped = || stopped.load(Ordering::Relaxed);
                iterations.into_iter().try_for_each(|iteration| iter::run(iteration, &stopped))
            });
            let served = self.serve_iterators(signals, &|| running.is_finished());
            stopped.store(true, Ordering::Relaxed);
            let lost = |_| Err(io::Error::other("a thread has failed"));
            let ran = running.join().unwrap_or_else(lost).map_err(SessionError::system("run an iterator"));
            served.and(ran)
        })?;
        self.drain(LAST_BATCH).map(drop)
    }

    /// Prints what arrives until the iterators are through, the script or a signal ends it.
    fn serve_iterators(&mut self, signals: &Signals, finished: &dyn Fn() -> bool) -> Result<(), SessionError> {
        while self.exit.is_none() && !finished() && !self.take_signals(signals)? {
            if self.drain(BATCH)? {
                std::thread::sleep(ITERATION_INTERVAL);
            }
            self.flush(false)?;
        }
        Ok(())
    }

    /// True when one of the signals ends the session.
    fn take_signals(&self, signals: &Signals) -> Result<bool, SessionError> {
        let mut over = false;
        while let Some(signal) = signals.next().map_err(SessionError::system("read a signal"))? {
            self.run_programs(|attach| *attach == Attach::SelfSignal(signal))?;
            over |= matches!(signal, libc::SIGINT | libc::SIGTERM | libc::SIGHUP);
        }
        Ok(over)
    }

    /// Copies of all records that have arrived.
    fn take_records(&mut self) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        if let Some(ring) = &mut self.events {
            while let Some(item) = ring.next() {
                records.push(item.to_vec());
            }
        }
        records
    }

    /// Handles up to `limit` records; true when there are no more.
    fn drain(&mut self, limit: usize) -> Result<bool, SessionError> {
        if let Some(packets) = &mut self.packets {
            packets.drain()?;
        }
        let Some(ring) = &mut self.events else { return Ok(true) };
        for _ in 0..limit {
            if self.exit.is_some() {
                return Ok(true);
            }
            let Some(item) = ring.next() else { return Ok(true) };
            match self.actions.run(&item).map_err(SessionError::Output)? {
                Outcome::Continue => {}
                Outcome::Exit(status) => self.exit = Some(status),
                Outcome::Unwatch(address) => self.unwatched.push(address),
            }
            if self.options.buffering == Buffering::None {
                self.actions.sink.flush().map_err(SessionError::Output)?;
            }
        }
        Ok(false)
    }

    fn handle(&mut self, record: &[u8]) -> Result<(), SessionError> {
        match self.actions.run(record).map_err(SessionError::Output)? {
            Outcome::Continue => {}
            Outcome::Exit(status) => self.exit = Some(status),
            Outcome::Unwatch(address) => self.unwatched.push(address),
        }
        Ok(())
    }

    pub(super) fn flush(&mut self, always: bool) -> Result<(), SessionError> {
        if always || self.options.buffering != Buffering::Full {
            self.actions.sink.flush().map_err(SessionError::Output)?;
        }
        Ok(())
    }

    fn report_losses(&mut self) -> Result<(), SessionError> {
        self.last_report = Instant::now();
        match &self.counters {
            Some(table) => self.losses.report(table, self.actions.sink).map_err(SessionError::Output),
            None => Ok(()),
        }
    }

    /// Detaches, runs the end probes, prints the maps and what was lost. Where detaching takes long, the output comes first. A
    /// signal that comes while a session ends by itself changes nothing; the one after it stops us at once.
    fn finish(&mut self, links: Links, signals: &Signals) -> Result<i32, SessionError> {
        service::tell(service::STOPPING);
        self.flush(true)?;
        let misses = kernel_misses(&self.programs, &links.links);
        let mut links = Some(links);
        if links.as_ref().is_some_and(|l| l.slow <= FEW_SLOW_LINKS) {
            links.take().unwrap_or_default().close();
        }
        if self.exit.is_some() {
            // Whatever came after the exit was not asked for.
            self.take_records();
        } else {
            self.drain(LAST_BATCH)?;
        }
        let status = self.exit.take().unwrap_or(0);
        self.run_programs(|attach| matches!(attach, Attach::End))?;
        self.drain(LAST_BATCH)?;
        let status = self.exit.take().unwrap_or(status);
        let mut stop = || {
            if matches!(signals.next(), Ok(Some(libc::SIGINT | libc::SIGTERM | libc::SIGHUP))) {
                stop_on_signals();
            }
            false
        };
        self.actions.print_final_maps(&mut stop).map_err(SessionError::Output)?;
        self.flush(true)?;
        stop();
        links.take().unwrap_or_default().close();
        self.report_losses()?;
        self.flush(true)?;
        if self.options.no_warnings {
            return Ok(status);
        }
        for line in self.losses.summary() {
            eprintln!("WARNING: {line}");
        }
        if self.unwinder.as_ref().is_some_and(Unwinder::is_full) {
            eprintln!("WARNING: there was no room for the unwind tables of some files: stacks through them end early");
        }
        if let Some(lost) = self.packets.as_ref().map(Packets::lost).filter(|lost| *lost > 0) {
            eprintln!("WARNING: {lost} packets found no room in their buffers: raise `perf_rb_pages`");
        }
        if misses > 0 {
            eprintln!(
                "WARNING: the kernel skipped {misses} hits of probes that fired while another was running on the CPU"
            );
        }
        Ok(status)
    }
}

/// From here on, signals end the process.
fn stop_on_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        default_signal(signal);
    }
}
