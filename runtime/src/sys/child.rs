//! The child of `-c`: forked and held before its `exec` until the probes are attached, so that nothing of it is missed.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::startup::Startup;

/// A descriptor that becomes readable when the process ends; `NotFound`-like errors (`ESRCH`) when there is none.
pub fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; a descriptor that the kernel has just given us belongs to nobody else.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd as i32)) }
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
}

impl Ending {
    /// As `waitpid` tells it.
    fn of(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Signalled(libc::WTERMSIG(status))
        } else {
            Self::Exited(libc::WEXITSTATUS(status))
        }
    }
}

/// A child process; killed when dropped while it runs.
#[derive(Debug)]
pub struct Child {
    pid: libc::pid_t,
    pidfd: OwnedFd,
    gate: Option<OwnedFd>,
    failure: OwnedFd,
    ended: Option<Ending>,
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: `fds` has room for the two descriptors, which then belong to us.
    unsafe {
        if libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) < 0 {
            return Err(io::Error::last_os_error());
        }
        let [read, write] = fds;
        Ok((OwnedFd::from_raw_fd(read), OwnedFd::from_raw_fd(write)))
    }
}

impl Child {
    /// Forks a child that will execute `argv` (found through PATH) once released.
    pub fn hold(argv: &[CString]) -> io::Result<Self> {
        let mut pointers: Vec<*const libc::c_char> = argv.iter().map(|a| a.as_ptr()).collect();
        let Some(&program) = pointers.first() else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        pointers.push(std::ptr::null());
        let (gate_read, gate_write) = pipe()?;
        let (failure_read, failure_write) = pipe()?;
        let our_pid = std::process::id() as libc::pid_t;
        // SAFETY: between fork and exec the child makes only async-signal-safe calls on memory prepared before.
        let pid = unsafe { libc::fork() };
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        if pid == 0 {
            // SAFETY: as above; all pointers are into the parent's memory, copied by fork.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                if libc::getppid() != our_pid {
                    libc::_exit(127);
                }
                let mut set: libc::sigset_t = std::mem::zeroed();
                libc::sigemptyset(&raw mut set);
                libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
                libc::signal(libc::SIGPIPE, libc::SIG_DFL);
                libc::close(gate_write.as_raw_fd());
                let mut byte = 0u8;
                if libc::read(gate_read.as_raw_fd(), (&raw mut byte).cast(), 1) == 1 {
                    libc::execvp(program, pointers.as_ptr());
                    let errno = *libc::__errno_location();
                    libc::write(failure_write.as_raw_fd(), (&raw const errno).cast(), size_of_val(&errno));
                }
                libc::_exit(127);
            }
        }
        let pidfd = match pidfd_open(pid as u32) {
            Ok(fd) => fd,
            Err(error) => {
                // SAFETY: our own child, not yet waited for.
                unsafe {
                    libc::kill(pid, libc::SIGKILL);
                    libc::waitpid(pid, std::ptr::null_mut(), 0);
                }
                return Err(error);
            }
        };
        Ok(Self { pid, pidfd, gate: Some(gate_write), failure: failure_read, ended: None })
    }

    /// The child's process id.
    pub fn pid(&self) -> u32 {
        self.pid as u32
    }

    /// Lets it execute its program; fails with exec's error.
    pub fn release(&mut self) -> io::Result<()> {
        if let Some(gate) = self.gate.take() {
            // SAFETY: one byte of a live array.
            unsafe { libc::write(gate.as_raw_fd(), [1u8].as_ptr().cast(), 1) };
        }
        let mut errno = 0i32;
        // SAFETY: `errno` has four bytes. The pipe ends without data when exec succeeds.
        let read = unsafe { libc::read(self.failure.as_raw_fd(), (&raw mut errno).cast(), 4) };
        if read == 4 { Err(io::Error::from_raw_os_error(errno)) } else { Ok(()) }
    }

    /// The same; `look` is called with its pid while it stands still: once its program is there, and once that begins, with its
    /// libraries. Where it cannot be stopped it just runs.
    pub fn release_slowly(&mut self, mut look: impl FnMut(u32)) -> io::Result<()> {
        let startup = Startup::of(self.pid);
        self.release()?;
        let Ok(mut startup) = startup else { return Ok(()) };
        if startup.at_exec() {
            look(self.pid());
            if startup.at_entry() {
                look(self.pid());
            }
        }
        self.ended = startup.ended.map(Ending::of);
        Ok(())
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> Option<Ending> {
        if self.ended.is_none() {
            let mut status = 0;
            // SAFETY: our own child; `status` lives until after the call.
            if unsafe { libc::waitpid(self.pid, &raw mut status, libc::WNOHANG) } == self.pid {
                self.ended = Some(Ending::of(status));
            }
        }
        self.ended
    }
}

impl AsFd for Child {
    /// Readable once the child has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.try_wait().is_none() {
            // SAFETY: our own child, not yet waited for.
            unsafe {
                libc::kill(self.pid, libc::SIGTERM);
                libc::waitpid(self.pid, std::ptr::null_mut(), 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn argv(words: &[&str]) -> Vec<CString> {
        words.iter().map(|w| CString::new(*w).unwrap()).collect()
    }

    fn wait(child: &mut Child) -> Ending {
        let epoll = super::super::poll::Epoll::new().unwrap();
        epoll.add(child.as_fd(), 0).unwrap();
        epoll.wait(None, &mut Vec::new()).unwrap();
        child.try_wait().unwrap()
    }

    #[test]
    fn runs_only_after_release() {
        let mut child = Child::hold(&argv(&["sh", "-c", "exit 7"])).unwrap();
        assert_eq!(child.try_wait(), None);
        child.release().unwrap();
        assert_eq!(wait(&mut child), Ending::Exited(7));
    }

    #[test]
    fn stands_still_at_its_entry_with_its_libraries() {
        let mut child = Child::hold(&argv(&["sh", "-c", "exit 5"])).unwrap();
        let mut seen = Vec::new();
        let look = |pid| seen.push(std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap());
        child.release_slowly(look).unwrap();
        assert_eq!(wait(&mut child), Ending::Exited(5));
        assert_eq!(seen.iter().map(|maps| maps.contains("/libc.so")).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn reports_a_missing_program() {
        let mut child = Child::hold(&argv(&["/no/such/program"])).unwrap();
        assert_eq!(child.release().unwrap_err().raw_os_error(), Some(libc::ENOENT));
    }
}
