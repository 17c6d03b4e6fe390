//! Stops a program where its own code begins, with all its libraries in place: as its debugger, from its `exec` to its entry point.
//! Only then is it known where its code lies, and what runs for a few milliseconds would be over before somebody looked.

use std::io;
use std::time::{Duration, Instant};

/// A program that has not come to its entry point by then goes on untraced: what its libraries do first can take any time.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two looks at a process that runs.
const PAUSE: Duration = Duration::from_micros(100);

/// `AT_ENTRY` of the auxiliary vector.
const ENTRY: u64 = 9;

/// Of the debug registers: execution at the address in the first one, for this thread.
const FIRST_ON_EXECUTION: u64 = 1;

/// What a process did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// It stopped: by a signal, or with one of the events of ptrace.
    Stopped { signal: i32, event: i32 },
    /// It is no more; the status is as `waitpid` gives it.
    Ended(i32),
    /// Nothing, in all the time.
    None,
}

/// A process that is being traced; let go when dropped.
#[derive(Debug)]
pub struct Startup {
    pid: libc::pid_t,
    stopped: bool,
    /// The status that it ended with, if it did.
    pub ended: Option<i32>,
}

impl Startup {
    /// Begins to trace a child before its `exec`.
    pub fn of(pid: libc::pid_t) -> io::Result<Self> {
        // Safe when we end: it goes on by itself.
        ptrace(libc::PTRACE_SEIZE, pid, 0, libc::PTRACE_O_TRACEEXEC as u64)?;
        Ok(Self { pid, stopped: false, ended: None })
    }

    /// Waits until it has executed its program; true when that stands still before its first instruction.
    pub fn at_exec(&mut self) -> bool {
        self.run_to(|signal, event, _| signal == libc::SIGTRAP && event == libc::PTRACE_EVENT_EXEC)
    }

    /// Lets it run to the entry point of its program; true when it stands still there.
    pub fn at_entry(&mut self) -> bool {
        let Some(entry) = entry_point(self.pid) else { return false };
        if !self.stopped || self.set_breakpoint(entry).is_err() {
            return false;
        }
        let arrived = self.resume(0).is_ok()
            && self.run_to(|signal, event, pid| signal == libc::SIGTRAP && event == 0 && position(pid) == entry);
        if self.stopped {
            let _ = self.poke(debug_register(7), 0);
        }
        arrived
    }

    /// Passes on all signals until it stops for the wanted reason.
    fn run_to(&mut self, wanted: impl Fn(i32, i32, libc::pid_t) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match wait(self.pid, deadline) {
                Ok(Change::Stopped { signal, event }) => {
                    self.stopped = true;
                    if wanted(signal, event, self.pid) {
                        return true;
                    }
                    // The signals of events are ptrace's own.
                    if self.resume(if event == 0 { signal } else { 0 }).is_err() {
                        return false;
                    }
                }
                Ok(Change::Ended(status)) => {
                    self.ended = Some(status);
                    return false;
                }
                Ok(Change::None) | Err(_) => {
                    self.interrupt();
                    return false;
                }
            }
        }
    }

    /// Stops it where it is, so that it can be let go.
    fn interrupt(&mut self) {
        if ptrace(libc::PTRACE_INTERRUPT, self.pid, 0, 0).is_err() {
            return;
        }
        match wait(self.pid, Instant::now() + PATIENCE) {
            Ok(Change::Stopped { .. }) => self.stopped = true,
            Ok(Change::Ended(status)) => self.ended = Some(status),
            _ => {}
        }
    }

    fn resume(&mut self, signal: i32) -> io::Result<()> {
        ptrace(libc::PTRACE_CONT, self.pid, 0, signal as u64)?;
        self.stopped = false;
        Ok(())
    }

    fn set_breakpoint(&self, address: u64) -> io::Result<()> {
        self.poke(debug_register(0), address)?;
        self.poke(debug_register(7), FIRST_ON_EXECUTION)
    }

    fn poke(&self, offset: usize, value: u64) -> io::Result<()> {
        ptrace(libc::PTRACE_POKEUSER, self.pid, offset, value)
    }
}

impl Drop for Startup {
    fn drop(&mut self) {
        if self.ended.is_none() && self.stopped {
            let _ = ptrace(libc::PTRACE_DETACH, self.pid, 0, 0);
        }
    }
}

/// Where a debug register stands in `struct user` of `x86_64`; other processors have no such place, and say so.
fn debug_register(number: usize) -> usize {
    const DEBUG_REGISTERS: usize = 848;
    DEBUG_REGISTERS + number * size_of::<u64>()
}

fn ptrace(request: libc::c_uint, pid: libc::pid_t, address: usize, data: u64) -> io::Result<()> {
    // SAFETY: none of the requests here writes to our memory; the kernel checks that the process is traced by us.
    let done = unsafe { libc::ptrace(request, pid, address, data) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The address of the next instruction of a stopped process.
fn position(pid: libc::pid_t) -> u64 {
    /// `rip` in `struct user` of `x86_64`.
    const INSTRUCTION_POINTER: usize = 128;
    // SAFETY: reads a word of the process, which is traced by us and stands still.
    let word = unsafe { libc::ptrace(libc::PTRACE_PEEKUSER, pid, INSTRUCTION_POINTER, 0usize) };
    word as u64
}

/// The address where a process's program begins, as the kernel has told it.
fn entry_point(pid: libc::pid_t) -> Option<u64> {
    let bytes = std::fs::read(format!("/proc/{pid}/auxv")).ok()?;
    let (pairs, _) = bytes.as_chunks::<16>();
    let word = |half: &[u8]| half.try_into().map(u64::from_ne_bytes).ok();
    pairs.iter().find_map(|pair| {
        let (key, value) = pair.split_at(8);
        (word(key)? == ENTRY).then(|| word(value))?
    })
}

/// The next change of a traced child.
fn wait(pid: libc::pid_t, deadline: Instant) -> io::Result<Change> {
    loop {
        let mut status = 0;
        // SAFETY: our own child; `status` lives until after the call.
        match unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG | libc::__WALL) } {
            0 if Instant::now() >= deadline => return Ok(Change::None),
            0 => std::thread::sleep(PAUSE),
            found if found == pid && libc::WIFSTOPPED(status) => {
                return Ok(Change::Stopped { signal: libc::WSTOPSIG(status), event: status >> 16 });
            }
            found if found == pid => return Ok(Change::Ended(status)),
            _ => return Err(io::Error::last_os_error()),
        }
    }
}
