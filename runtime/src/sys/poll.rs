//! Waiting: epoll over descriptors, signals and timers as descriptors.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// The result of a system call that returns -1 on failure.
fn result(value: libc::c_int) -> io::Result<libc::c_int> {
    if value < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

fn owned(value: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: a descriptor that a system call has just returned belongs to nobody else.
    result(value).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An epoll instance.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers.
        Ok(Self { fd: owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })? })
    }

    /// Reports `token` whenever `fd` is readable.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: `event` lives until after the call.
        result(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event) })
            .map(drop)
    }

    /// No longer reports `fd`.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: no pointers.
        result(unsafe {
            libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_DEL, fd.as_raw_fd(), std::ptr::null_mut())
        })
        .map(drop)
    }

    /// Waits, at most for `timeout`, and fills `tokens` with what is ready (nothing on a timeout or a signal).
    pub fn wait(&self, timeout: Option<Duration>, tokens: &mut Vec<u64>) -> io::Result<()> {
        tokens.clear();
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 8];
        let timeout = timeout.map_or(-1, |t| i32::try_from(t.as_millis()).unwrap_or(i32::MAX));
        // SAFETY: `events` has room for the number given.
        let count = match result(unsafe {
            libc::epoll_wait(self.fd.as_raw_fd(), events.as_mut_ptr(), events.len() as i32, timeout)
        }) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
            other => other?,
        };
        tokens.extend(events.iter().take(count as usize).map(|e| e.u64));
        Ok(())
    }
}

fn signal_set(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: sigset_t is a plain bit set, and sigemptyset initialises it.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a live set; unknown signal numbers are refused by sigaddset.
    unsafe {
        libc::sigemptyset(&raw mut set);
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
    }
    set
}

/// Signals that arrive as data instead of interrupting.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Blocks the signals for this thread and those it will start, and collects them here.
    pub fn block(signals: &[i32]) -> io::Result<Self> {
        let set = signal_set(signals);
        // SAFETY: `set` lives until after the calls.
        unsafe {
            result(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
            Ok(Self { fd: owned(libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC))? })
        }
    }

    /// The next signal that has arrived.
    pub fn next(&self) -> io::Result<Option<i32>> {
        // SAFETY: signalfd_siginfo is plain data.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let size = size_of_val(&info);
        // SAFETY: `info` has `size` bytes.
        let read = unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut info).cast(), size) };
        if read == size as isize {
            return Ok(Some(info.ssi_signo as i32));
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Puts the default action of a signal in place, unblocked: for SIGPIPE of programs that end with their reader.
pub fn default_signal(signal: i32) {
    let set = signal_set(&[signal]);
    // SAFETY: SIG_DFL is a valid action.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// A timer that becomes readable at a steady pace.
#[derive(Debug)]
pub struct Timer {
    fd: OwnedFd,
}

impl Timer {
    /// A timer that fires every `period`.
    pub fn every(period: Duration) -> io::Result<Self> {
        // SAFETY: no pointers.
        let fd = owned(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) })?;
        let time = libc::timespec {
            tv_sec: period.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(period.subsec_nanos()),
        };
        let spec = libc::itimerspec { it_interval: time, it_value: time };
        // SAFETY: `spec` lives until after the call.
        result(unsafe { libc::timerfd_settime(fd.as_raw_fd(), 0, &raw const spec, std::ptr::null_mut()) })?;
        Ok(Self { fd })
    }

    /// Takes note of the expirations so far.
    pub fn acknowledge(&self) {
        let mut count = 0u64;
        // SAFETY: `count` has eight bytes. A failure means that there was nothing to read.
        unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn timer_wakes_epoll() {
        let timer = Timer::every(Duration::from_millis(1)).unwrap();
        let epoll = Epoll::new().unwrap();
        epoll.add(timer.as_fd(), 7).unwrap();
        let mut tokens = Vec::new();
        epoll.wait(Some(Duration::from_secs(5)), &mut tokens).unwrap();
        assert_eq!(tokens, [7]);
        timer.acknowledge();
        epoll.remove(timer.as_fd()).unwrap();
        epoll.wait(Some(Duration::from_millis(3)), &mut tokens).unwrap();
        assert!(tokens.is_empty());
    }
}
