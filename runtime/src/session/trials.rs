//! Tests and measurements: a session whose probes are run one after the other, each by itself. What they print is kept back; a
//! test shows it when it fails.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use aya::maps::RingBuf;
use tapline_compiler::program::{Attach, Manifest};

use super::SessionError;
use super::run::Session;
use crate::events::actions::Outcome;
use crate::output::capture::Capture;
use crate::output::trials::Trial;
use crate::sys::bpf;

/// What a session is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To trace, as the script says.
    #[default]
    Script,
    /// To run its tests.
    Test,
    /// To run its measurements.
    Bench,
}

impl Purpose {
    fn wants(self, attach: &Attach) -> bool {
        match attach {
            Attach::Test(_) => self == Self::Test,
            Attach::Bench(_) => self == Self::Bench,
            Attach::Begin | Attach::End => true,
            _ => self == Self::Script,
        }
    }
}

/// A measurement goes on until its runs have taken this long together …
const LONG_ENOUGH: Duration = Duration::from_millis(1);

/// … or it has been run this often, or for this long by the clock.
const MOST_RUNS: u64 = 1 << 20;
const LONGEST: Duration = Duration::from_secs(1);

/// Exit status of a session in which something failed.
const FAILED: i32 = 1;

/// Leaves the programs that a session for this purpose runs; `named` chooses among tests and measurements.
pub fn select(manifest: &mut Manifest, purpose: Purpose, named: &dyn Fn(&str) -> bool) {
    let probes = &manifest.probes;
    manifest.programs.retain(|program| {
        let mut of_program = program.probes.iter().filter_map(|id| probes.get(id.0 as usize));
        of_program
            .all(|probe| purpose.wants(&probe.attach) && (trial_name(&probe.attach).is_none() || named(&probe.name)))
    });
    if purpose != Purpose::Script {
        manifest.config.print_maps_on_exit = false;
    }
}

fn trial_name(attach: &Attach) -> Option<&str> {
    match attach {
        Attach::Test(name) | Attach::Bench(name) => Some(name),
        _ => None,
    }
}

/// One run, or several.
#[derive(Clone, Copy, Default)]
struct Ran {
    failed: bool,
    /// Time that the runs took.
    time: Duration,
    runs: u64,
}

impl Session<'_> {
    /// Runs all tests or measurements, the output of the begin probes with the first. The result is the exit status; `None`
    /// when there are none.
    pub(super) fn run_trials(&mut self, early: &[Vec<u8>]) -> Result<Option<i32>, SessionError> {
        let program = self.program;
        let manifest = &program.manifest;
        let mut trials: Vec<(u32, usize, &str)> = Vec::new();
        for (index, desc) in manifest.programs.iter().enumerate() {
            for id in &desc.probes {
                let name = manifest.probes.get(id.0 as usize).and_then(|probe| trial_name(&probe.attach));
                trials.extend(name.map(|name| (id.0, index, name)));
            }
        }
        trials.sort_unstable();
        let names: Vec<(usize, &str)> = trials.into_iter().map(|(_, index, name)| (index, name)).collect();
        if names.is_empty() {
            return Ok(None);
        }
        if self.options.purpose == Purpose::Test { self.run_tests(&names, early) } else { self.measure(&names, early) }
            .map(Some)
    }

    fn run_tests(&mut self, tests: &[(usize, &str)], mut early: &[Vec<u8>]) -> Result<i32, SessionError> {
        self.show(&Trial::Tests(tests.len()))?;
        let mut failed = Vec::new();
        for &(index, name) in tests {
            self.show(&Trial::Test(name))?;
            let mut capture = Capture::default();
            let ran = self.run_once(index, std::mem::take(&mut early), &mut capture)?;
            let output = capture.take();
            if ran.failed {
                failed.push(name);
            }
            self.show(&Trial::Tested { name, passed: !ran.failed, time: ran.time, output: &output })?;
        }
        self.show(&Trial::Summary { passed: tests.len() - failed.len(), failed: &failed })?;
        Ok(if failed.is_empty() { 0 } else { FAILED })
    }

    fn measure(&mut self, measurements: &[(usize, &str)], mut early: &[Vec<u8>]) -> Result<i32, SessionError> {
        let width = measurements.iter().map(|(_, name)| name.chars().count()).max().unwrap_or(0);
        self.show(&Trial::Measurements { width })?;
        // The kernel's own clock leaves out the way into the kernel and back.
        let _statistics = bpf::enable_run_time().ok();
        let mut status = 0;
        for &(index, name) in measurements {
            let ran = self.run_often(index, std::mem::take(&mut early))?;
            if ran.failed {
                self.flush(true)?;
                eprintln!("ERROR: Benchmark '{name}' failed.");
                status = FAILED;
                continue;
            }
            let average = ran.time.as_nanos() / u128::from(ran.runs.max(1));
            self.show(&Trial::Measured { name, width, average, runs: ran.runs })?;
        }
        Ok(status)
    }

    fn run_often(&mut self, index: usize, mut early: &[Vec<u8>]) -> Result<Ran, SessionError> {
        let started = Instant::now();
        let mut all = Ran::default();
        while all.time < LONG_ENOUGH && all.runs < MOST_RUNS && started.elapsed() < LONGEST {
            // Each round is as long as all before it.
            for _ in 0..all.runs.max(1) {
                let one = self.run_once(index, std::mem::take(&mut early), &mut Capture::default())?;
                all = Ran { failed: one.failed, time: all.time + one.time, runs: all.runs + 1 };
                if all.failed {
                    return Ok(all);
                }
            }
        }
        Ok(all)
    }

    /// A run has failed when it returns another number than 0, exits with another status than 0, or when an error was reported.
    fn run_once(&mut self, index: usize, early: &[Vec<u8>], capture: &mut Capture) -> Result<Ran, SessionError> {
        let Some(fd) = self.programs.get(index) else { return Ok(Ran::default()) };
        let failed = |action| SessionError::system(action);
        let kernel_time = || bpf::prog_run_time(fd.as_fd()).map_err(failed("read how long a program has run"));
        let (before, started) = (kernel_time()?, Instant::now());
        let returned = bpf::raw_tp_run(fd.as_fd(), &[0; 12]).map_err(failed("run a test or bench probe"))?;
        let (by_clock, after) = (started.elapsed(), kernel_time()?);
        let time = after.checked_sub(before).filter(|time| !time.is_zero()).unwrap_or(by_clock);

        let status = self.serve_captured(early, capture).map_err(SessionError::Output)?;
        if let Some(table) = &self.counters {
            self.losses.report(table, capture).map_err(SessionError::Output)?;
        }
        Ok(Ran { failed: returned != 0 || status != 0 || capture.errors > 0, time, runs: 1 })
    }

    /// Handles what has arrived; its output goes to `capture`. The result is the exit status that was asked for.
    fn serve_captured(&mut self, early: &[Vec<u8>], capture: &mut Capture) -> io::Result<i32> {
        let mut actions = self.actions.with_sink(capture);
        for record in early {
            actions.run(record)?;
        }
        let mut status = 0;
        while let Some(item) = self.events.as_mut().and_then(RingBuf::next) {
            if let Outcome::Exit(wanted) = actions.run(&item)? {
                status = wanted;
            }
        }
        Ok(status)
    }

    fn show(&mut self, trial: &Trial<'_>) -> Result<(), SessionError> {
        self.actions.sink.trial(trial).map_err(SessionError::Output)?;
        self.flush(false)
    }
}
