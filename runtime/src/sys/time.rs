//! Clocks and calendar time through the C library, which knows the system's time zone.

use std::ffi::CString;

/// Clocks of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelClock {
    /// `CLOCK_REALTIME`.
    Realtime,
    /// `CLOCK_MONOTONIC`.
    Monotonic,
    /// `CLOCK_BOOTTIME`.
    Boot,
    /// `CLOCK_TAI`.
    Tai,
}

/// Nanoseconds that the clock shows.
pub fn now_ns(clock: KernelClock) -> i64 {
    let id = match clock {
        KernelClock::Realtime => libc::CLOCK_REALTIME,
        KernelClock::Monotonic => libc::CLOCK_MONOTONIC,
        KernelClock::Boot => libc::CLOCK_BOOTTIME,
        KernelClock::Tai => libc::CLOCK_TAI,
    };
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` lives until after the call, which cannot fail for these clocks.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    time.tv_sec.wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec)
}

/// Appends the local calendar time of `seconds` since 1970, by a format of strftime(3). Formats with a NUL, times outside
/// the calendar and results over 4 KiB append nothing.
pub fn strftime(format: &str, seconds: i64, out: &mut Vec<u8>) {
    let Ok(format) = CString::new(format) else { return };
    let seconds: libc::time_t = seconds;
    // SAFETY: tm is plain data, filled by localtime_r; the buffer's size is passed.
    unsafe {
        let mut calendar: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&raw const seconds, &raw mut calendar).is_null() {
            return;
        }
        let mut buffer = [0u8; 4096];
        let len = libc::strftime(buffer.as_mut_ptr().cast(), buffer.len(), format.as_ptr(), &raw const calendar);
        out.extend(buffer.iter().take(len));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar() {
        let mut out = Vec::new();
        strftime("%Y-%m-%d", 1_000_000_000, &mut out);
        assert_eq!(out, b"2001-09-09");
        out.clear();
        strftime("%Y", i64::MAX, &mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn clocks_move() {
        let start = now_ns(KernelClock::Boot);
        assert!(start > 0 && now_ns(KernelClock::Boot) >= start);
        assert!(now_ns(KernelClock::Realtime) > 1_600_000_000_000_000_000);
    }
}
