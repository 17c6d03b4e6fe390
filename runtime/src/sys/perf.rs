//! Perf events, opened through the `perf-event` crate's builder: timers, counters, and the tracepoint, kprobe and uprobe events
//! that links hang on. All are opened disabled-free and without exclusions, so that a linked program sees every hit.

use std::ffi::CStr;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use perf_event::Builder;
use perf_event::events::Software;

/// `PERF_TYPE_TRACEPOINT`.
const TYPE_TRACEPOINT: u32 = 2;
/// `PERF_SAMPLE_TIME`.
const SAMPLE_TIME: u64 = 1 << 2;

/// `PERF_TYPE_BREAKPOINT`.
const TYPE_BREAKPOINT: u32 = 5;

/// Whose events an event counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All processes, on this CPU.
    Cpu(u32),
    /// One process, on any CPU.
    Process(u32),
}

/// How often an event fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Times per second.
    Hz(u64),
    /// Once per so many units of the event (ns for the clocks).
    Period(u64),
}

fn builder(scope: Scope) -> Builder<'static> {
    let mut builder = match scope {
        Scope::Cpu(cpu) => Builder::new().any_pid().one_cpu(cpu as usize),
        Scope::Process(pid) => Builder::new().observe_pid(pid as libc::pid_t).any_cpu(),
    };
    builder.include_kernel().include_hv().enabled(true);
    builder
}

fn open(builder: Builder<'_>) -> io::Result<OwnedFd> {
    let fd = builder.build()?.into_raw_fd();
    // SAFETY: `into_raw_fd` hands over the ownership of this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A timer on the CPU clock.
pub fn cpu_clock(scope: Scope, rate: Rate) -> io::Result<OwnedFd> {
    let mut builder = builder(scope).kind(Software::CPU_CLOCK);
    set_rate(&mut builder, rate);
    open(builder)
}

/// A counter of `PERF_TYPE_*` and its configuration.
pub fn counter(scope: Scope, perf_type: u32, config: u64, rate: Rate) -> io::Result<OwnedFd> {
    let mut builder = builder(scope);
    let attrs = builder.attrs_mut();
    attrs.type_ = perf_type;
    attrs.config = config;
    set_rate(&mut builder, rate);
    open(builder)
}

fn set_rate(builder: &mut Builder<'_>, rate: Rate) {
    match rate {
        Rate::Hz(hz) => builder.sample_frequency(hz),
        Rate::Period(period) => builder.sample_period(period),
    };
}

/// Accesses of a kind (`HW_BREAKPOINT_*`) to so many bytes from an address on.
pub fn breakpoint(scope: Scope, address: u64, length: u64, mode: u32) -> io::Result<OwnedFd> {
    /// `HW_BREAKPOINT_X`: the kernel wants its length to be that of a word.
    const EXECUTE: u32 = 4;
    let mut builder = builder(scope);
    let attrs = builder.attrs_mut();
    attrs.type_ = TYPE_BREAKPOINT;
    attrs.config = 0;
    attrs.bp_type = mode;
    attrs.__bindgen_anon_3.bp_addr = address;
    attrs.__bindgen_anon_4.bp_len = if mode == EXECUTE { size_of::<libc::c_long>() as u64 } else { length };
    // Debug registers belong to a thread: those that begin later get it from the one that makes them.
    let threads = u64::from(matches!(scope, Scope::Process(_)));
    attrs.set_inherit(threads);
    attrs.set_inherit_thread(threads);
    builder.sample_period(1);
    open(builder)
}

/// A tracepoint by its id in tracefs. A program linked to it runs on every CPU.
pub fn tracepoint(scope: Scope, id: u64) -> io::Result<OwnedFd> {
    counter(scope, TYPE_TRACEPOINT, id, Rate::Period(1))
}

/// A kernel or user function by the dynamic event source of type `pmu_type`: `target` is the function's name or the file's
/// path, `offset` the bytes after its start, `config` the bit that asks for returns. Without a target, `offset` is an address of the kernel.
pub fn function(scope: Scope, pmu_type: u32, config: u64, target: Option<&CStr>, offset: u64) -> io::Result<OwnedFd> {
    let mut builder = builder(scope);
    let attrs = builder.attrs_mut();
    attrs.type_ = pmu_type;
    attrs.config = config;
    attrs.__bindgen_anon_3.config1 = target.map_or(0, |name| name.as_ptr() as u64);
    attrs.__bindgen_anon_4.config2 = offset;
    builder.sample_period(1);
    open(builder)
}

/// What processes do to their memory: records of new mappings of code, of `exec`, `fork` and exit, each followed by the time.
/// On one CPU, of all processes or of one and its children.
pub fn lifetimes(cpu: u32, pid: Option<u32>) -> io::Result<OwnedFd> {
    let builder = match pid {
        Some(pid) => Builder::new().observe_pid(pid as libc::pid_t),
        None => Builder::new().any_pid(),
    };
    let mut builder = builder.one_cpu(cpu as usize).kind(Software::DUMMY);
    builder.include_kernel().include_hv().enabled(true);
    let attrs = builder.attrs_mut();
    attrs.set_mmap(1);
    attrs.set_mmap2(1);
    attrs.set_comm(1);
    attrs.set_comm_exec(1);
    attrs.set_task(1);
    attrs.set_inherit(u64::from(pid.is_some()));
    attrs.set_sample_id_all(1);
    attrs.sample_type = SAMPLE_TIME;
    open(builder)
}
