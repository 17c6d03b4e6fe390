//! Read-only private file mappings. A mapped file that shrinks raises SIGBUS on access: map only files that do so at nobody's
//! will but root's (sysfs), and read others.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// A file in memory; unmapped when dropped.
#[derive(Debug)]
pub struct Mmap {
    base: NonNull<libc::c_void>,
    len: usize,
}

// SAFETY: the mapping is read-only and owned by this value alone.
unsafe impl Send for Mmap {}
// SAFETY: shared reads of a read-only mapping.
unsafe impl Sync for Mmap {}

impl Mmap {
    /// Maps the first `len` bytes of the file. Fails with the kernel's error, among them `EINVAL` for `len` 0 and `ENODEV`
    /// where the file cannot be mapped.
    pub fn read_only(file: &File, len: usize) -> io::Result<Self> {
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory of ours.
        let base =
            unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(base).map(|base| Self { base, len }).ok_or_else(|| io::Error::from(io::ErrorKind::Other))
    }
}

impl Deref for Mmap {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: base..base+len is mapped readable for as long as self lives.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().cast(), self.len) }
    }
}

impl Drop for Mmap {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `read_only` and nothing borrows it any more.
        unsafe { libc::munmap(self.base.as_ptr(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn maps_a_file() {
        let file = File::open("/proc/self/exe").unwrap();
        let map = Mmap::read_only(&file, 4).unwrap();
        assert_eq!(&*map, b"\x7fELF");
        assert!(Mmap::read_only(&file, 0).is_err());
    }
}
