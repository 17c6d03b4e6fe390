//! Texts of numbers: of errors and of signals, in the words of libc, and the names of system calls.

use std::borrow::Cow;

use crate::syscalls;
use crate::target::Arch;

/// What a number is the number of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Numbered {
    /// An errno.
    Error,
    /// A signal.
    Signal,
    /// A system call.
    Syscall,
}

/// The first real-time signal of programs; the two before it are used by libc itself.
const FIRST_REAL_TIME: u64 = 34;
/// The last signal.
const LAST_SIGNAL: u64 = 64;
/// Above the numbers of all system calls.
const SYSCALLS: u64 = 1024;

impl Numbered {
    /// The text of a number; nothing for numbers beyond all that have one.
    pub fn text(self, arch: Arch, number: u64) -> Option<Cow<'static, str>> {
        let at = usize::try_from(number).ok()?;
        match self {
            Self::Error => ERRORS.get(at).copied().filter(|text| !text.is_empty()).map(Cow::Borrowed),
            Self::Signal => match number {
                FIRST_REAL_TIME..=LAST_SIGNAL => Some(format!("Real-time signal {}", number - FIRST_REAL_TIME).into()),
                0..FIRST_REAL_TIME => {
                    let known = at.checked_sub(1).and_then(|at| SIGNALS.get(at));
                    Some(known.map_or_else(|| format!("Unknown signal {number}").into(), |&text| text.into()))
                }
                _ => None,
            },
            Self::Syscall => syscalls::name(arch, number).map(Cow::Borrowed),
        }
    }

    /// What stands for a number without a text.
    pub fn unknown(self) -> &'static str {
        match self {
            Self::Error => "Unknown error",
            Self::Signal => "N/A",
            Self::Syscall => "Unknown syscall",
        }
    }

    /// All numbers that have texts, ascending.
    pub fn all(self, arch: Arch) -> Vec<(u64, Cow<'static, str>)> {
        let end = match self {
            Self::Error => ERRORS.len() as u64,
            Self::Signal => LAST_SIGNAL + 1,
            Self::Syscall => SYSCALLS,
        };
        (0..end).filter_map(|number| Some((number, self.text(arch, number)?))).collect()
    }
}

/// strsignal(3), from signal 1 on.
const SIGNALS: &[&str] = &[
    "Hangup",
    "Interrupt",
    "Quit",
    "Illegal instruction",
    "Trace/breakpoint trap",
    "Aborted",
    "Bus error",
    "Floating point exception",
    "Killed",
    "User defined signal 1",
    "Segmentation fault",
    "User defined signal 2",
    "Broken pipe",
    "Alarm clock",
    "Terminated",
    "Stack fault",
    "Child exited",
    "Continued",
    "Stopped (signal)",
    "Stopped",
    "Stopped (tty input)",
    "Stopped (tty output)",
    "Urgent I/O condition",
    "CPU time limit exceeded",
    "File size limit exceeded",
    "Virtual timer expired",
    "Profiling timer expired",
    "Window changed",
    "I/O possible",
    "Power failure",
    "Bad system call",
];

/// strerror(3), from error 0 on; those without a text are empty.
const ERRORS: &[&str] = &[
    "Success",
    "Operation not permitted",
    "No such file or directory",
    "No such process",
    "Interrupted system call",
    "Input/output error",
    "No such device or address",
    "Argument list too long",
    "Exec format error",
    "Bad file descriptor",
    "No child processes",
    "Resource temporarily unavailable",
    "Cannot allocate memory",
    "Permission denied",
    "Bad address",
    "Block device required",
    "Device or resource busy",
    "File exists",
    "Invalid cross-device link",
    "No such device",
    "Not a directory",
    "Is a directory",
    "Invalid argument",
    "Too many open files in system",
    "Too many open files",
    "Inappropriate ioctl for device",
    "Text file busy",
    "File too large",
    "No space left on device",
    "Illegal seek",
    "Read-only file system",
    "Too many links",
    "Broken pipe",
    "Numerical argument out of domain",
    "Numerical result out of range",
    "Resource deadlock avoided",
    "File name too long",
    "No locks available",
    "Function not implemented",
    "Directory not empty",
    "Too many levels of symbolic links",
    "",
    "No message of desired type",
    "Identifier removed",
    "Channel number out of range",
    "Level 2 not synchronized",
    "Level 3 halted",
    "Level 3 reset",
    "Link number out of range",
    "Protocol driver not attached",
    "No CSI structure available",
    "Level 2 halted",
    "Invalid exchange",
    "Invalid request descriptor",
    "Exchange full",
    "No anode",
    "Invalid request code",
    "Invalid slot",
    "",
    "Bad font file format",
    "Device not a stream",
    "No data available",
    "Timer expired",
    "Out of streams resources",
    "Machine is not on the network",
    "Package not installed",
    "Object is remote",
    "Link has been severed",
    "Advertise error",
    "Srmount error",
    "Communication error on send",
    "Protocol error",
    "Multihop attempted",
    "RFS specific error",
    "Bad message",
    "Value too large for defined data type",
    "Name not unique on network",
    "File descriptor in bad state",
    "Remote address changed",
    "Can not access a needed shared library",
    "Accessing a corrupted shared library",
    ".lib section in a.out corrupted",
    "Attempting to link in too many shared libraries",
    "Cannot exec a shared library directly",
    "Invalid or incomplete multibyte or wide character",
    "Interrupted system call should be restarted",
    "Streams pipe error",
    "Too many users",
    "Socket operation on non-socket",
    "Destination address required",
    "Message too long",
    "Protocol wrong type for socket",
    "Protocol not available",
    "Protocol not supported",
    "Socket type not supported",
    "Operation not supported",
    "Protocol family not supported",
    "Address family not supported by protocol",
    "Address already in use",
    "Cannot assign requested address",
    "Network is down",
    "Network is unreachable",
    "Network dropped connection on reset",
    "Software caused connection abort",
    "Connection reset by peer",
    "No buffer space available",
    "Transport endpoint is already connected",
    "Transport endpoint is not connected",
    "Cannot send after transport endpoint shutdown",
    "Too many references: cannot splice",
    "Connection timed out",
    "Connection refused",
    "Host is down",
    "No route to host",
    "Operation already in progress",
    "Operation now in progress",
    "Stale file handle",
    "Structure needs cleaning",
    "Not a XENIX named type file",
    "No XENIX semaphores available",
    "Is a named type file",
    "Remote I/O error",
    "Disk quota exceeded",
    "No medium found",
    "Wrong medium type",
    "Operation canceled",
    "Required key not available",
    "Key has expired",
    "Key has been revoked",
    "Key was rejected by service",
    "Owner died",
    "State not recoverable",
    "Operation not possible due to RF-kill",
    "Memory page has hardware error",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_numbers() {
        let text = |of: Numbered, n: u64| of.text(Arch::X86_64, n).unwrap_or(of.unknown().into());
        assert_eq!(text(Numbered::Error, 2), "No such file or directory");
        assert_eq!(text(Numbered::Error, 133), "Memory page has hardware error");
        assert_eq!(text(Numbered::Error, 134), "Unknown error");
        assert_eq!(text(Numbered::Signal, 0), "Unknown signal 0");
        assert_eq!(text(Numbered::Signal, 31), "Bad system call");
        assert_eq!(text(Numbered::Signal, 64), "Real-time signal 30");
        assert_eq!(text(Numbered::Signal, 65), "N/A");
        assert_eq!(text(Numbered::Syscall, 1), "write");
        assert!(Numbered::Syscall.all(Arch::X86_64).len() > 300);
    }
}
