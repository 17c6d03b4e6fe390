//! The ring buffer of a perf event: records that the kernel writes about what processes do.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// Pages of data of each ring, a power of two.
const DATA_PAGES: usize = 32;
/// Where `data_head` and `data_tail` lie in `struct perf_event_mmap_page`.
const HEAD: usize = 1024;
const TAIL: usize = 1032;
/// `struct perf_event_header`: type, misc, size.
const HEADER: usize = 8;

/// An event and its ring; unmapped when dropped.
#[derive(Debug)]
pub struct PerfRing {
    base: NonNull<libc::c_void>,
    page: usize,
    _event: OwnedFd,
}

impl PerfRing {
    /// Maps the ring of an event. Fails with the kernel's error, among them `EPERM` when the limit of locked memory is reached.
    pub fn new(event: OwnedFd) -> io::Result<Self> {
        // SAFETY: no memory is involved.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page = usize::try_from(page).map_err(io::Error::other)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let len = page * (1 + DATA_PAGES);
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED, event.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base).ok_or_else(|| io::Error::from(io::ErrorKind::Other))?;
        Ok(Self { base, page, _event: event })
    }

    fn position(&self, at: usize) -> &AtomicU64 {
        // SAFETY: the first page is mapped for as long as self lives; the kernel accesses these aligned words atomically.
        unsafe { &*self.base.as_ptr().byte_add(at).cast::<AtomicU64>() }
    }

    /// Copies `out.len()` bytes that begin `at` bytes after the start of the stream; the ring is cyclic.
    fn copy(&self, at: u64, out: &mut [u8]) {
        let size = self.page * DATA_PAGES;
        for (n, byte) in out.iter_mut().enumerate() {
            let index = (at as usize).wrapping_add(n) % size;
            // SAFETY: `index` lies within the data pages, which follow the first one; the kernel writes behind `data_tail` only.
            *byte = unsafe { self.base.as_ptr().cast::<u8>().add(self.page + index).read_volatile() };
        }
    }

    /// Hands over type and body of every record that has arrived, in their order.
    pub fn read(&self, mut each: impl FnMut(u32, u16, &[u8])) {
        let head = self.position(HEAD).load(Ordering::Acquire);
        let mut tail = self.position(TAIL).load(Ordering::Relaxed);
        let mut body = Vec::new();
        while head.wrapping_sub(tail) >= HEADER as u64 {
            let mut header = [0; HEADER];
            self.copy(tail, &mut header);
            let [a, b, c, d, e, f, g, h] = header;
            let size = u64::from(u16::from_ne_bytes([g, h]));
            if size < HEADER as u64 || size > head.wrapping_sub(tail) {
                // The kernel never writes such a record.
                tail = head;
                break;
            }
            body.resize(size as usize - HEADER, 0);
            self.copy(tail.wrapping_add(HEADER as u64), &mut body);
            each(u32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([e, f]), &body);
            tail = tail.wrapping_add(size);
        }
        self.position(TAIL).store(tail, Ordering::Release);
    }
}

impl Drop for PerfRing {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` and nothing borrows it any more.
        unsafe { libc::munmap(self.base.as_ptr(), self.page * (1 + DATA_PAGES)) };
    }
}
