//! What this process may do, and mounting tracefs where only we see it.

use std::ffi::{CStr, CString};
use std::io;

/// Capabilities that tracing needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// `CAP_SYS_ADMIN`, which stands for the two below.
    SysAdmin,
    /// `CAP_PERFMON`.
    Perfmon,
    /// `CAP_BPF`.
    Bpf,
    /// `CAP_DAC_READ_SEARCH`: reading tracefs.
    DacReadSearch,
    /// `CAP_DAC_OVERRIDE`: the same.
    DacOverride,
}

impl Capability {
    fn bit(self) -> u32 {
        match self {
            Self::DacOverride => 1,
            Self::DacReadSearch => 2,
            Self::SysAdmin => 21,
            Self::Perfmon => 38,
            Self::Bpf => 39,
        }
    }
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// The effective capabilities of this thread as a bit set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// Asks the kernel.
    pub fn current() -> io::Result<Self> {
        const VERSION_3: u32 = 0x2008_0522;
        let mut header = CapHeader { version: VERSION_3, pid: 0 };
        let mut data = [CapData::default(); 2];
        // SAFETY: version 3 writes two data structs.
        if unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let [low, high] = data;
        Ok(Self(u64::from(low.effective) | u64::from(high.effective) << 32))
    }

    /// The set with these capabilities, for tests and messages.
    pub fn of(capabilities: &[Capability]) -> Self {
        Self(capabilities.iter().fold(0, |set, c| set | 1 << c.bit()))
    }

    /// True when it is there.
    pub fn has(self, capability: Capability) -> bool {
        self.0 >> capability.bit() & 1 == 1
    }
}

/// Mounts tracefs at `target` in a mount namespace of our own, so that no other process sees it.
pub fn mount_tracefs_privately(target: &CStr) -> io::Result<()> {
    let call = |value: libc::c_int| if value < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    let tracefs = CString::new("tracefs").map_err(io::Error::other)?;
    // SAFETY: all strings are NUL-terminated and live until after the calls.
    unsafe {
        call(libc::unshare(libc::CLONE_NEWNS))?;
        call(libc::mount(
            std::ptr::null(),
            c"/".as_ptr(),
            std::ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            std::ptr::null(),
        ))?;
        call(libc::mount(tracefs.as_ptr(), target.as_ptr(), tracefs.as_ptr(), 0, std::ptr::null()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        let set = Capabilities::of(&[Capability::Bpf, Capability::Perfmon]);
        assert!(set.has(Capability::Bpf) && set.has(Capability::Perfmon) && !set.has(Capability::SysAdmin));
        assert_eq!(set, Capabilities(0b11 << 38));
    }
}
