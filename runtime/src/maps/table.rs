//! A map as a table of bytes: single entries, whole contents in batches, clearing and zeroing.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::sys::bpf::{MapRef, MapShape};

/// `BPF_MAP_TYPE_ARRAY`.
const ARRAY: u32 = 2;
/// `BPF_MAP_TYPE_PERCPU_HASH`.
const PERCPU_HASH: u32 = 5;
/// `BPF_MAP_TYPE_PERCPU_ARRAY`.
const PERCPU_ARRAY: u32 = 6;
/// `BPF_MAP_TYPE_LRU_PERCPU_HASH`.
const LRU_PERCPU_HASH: u32 = 10;

/// Entries asked for in one batch at first.
const FIRST_BATCH: usize = 512;

/// A map of the kernel.
#[derive(Debug)]
pub struct Table {
    fd: OwnedFd,
    map_type: u32,
    value_size: usize,
    copies: usize,
    shape: MapShape,
}

/// The contents of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Keys, one after the other.
    pub keys: Vec<u8>,
    /// Values, one after the other, each with all copies.
    pub values: Vec<u8>,
}

impl Table {
    /// `value_size` is that of one copy; `possible_cpus` counts the copies of a per-CPU map.
    pub fn new(fd: OwnedFd, map_type: u32, key_size: usize, value_size: usize, possible_cpus: usize) -> Self {
        let per_cpu = matches!(map_type, PERCPU_HASH | PERCPU_ARRAY | LRU_PERCPU_HASH);
        let copies = if per_cpu { possible_cpus.max(1) } else { 1 };
        let crossing = if per_cpu { value_size.next_multiple_of(8) * copies } else { value_size };
        Self { fd, map_type, value_size, copies, shape: MapShape { key_size, value_size: crossing } }
    }

    /// Bytes of a key.
    pub fn key_size(&self) -> usize {
        self.shape.key_size
    }

    /// Bytes of one copy of a value.
    pub fn value_size(&self) -> usize {
        self.value_size
    }

    /// Bytes of a value with all its copies.
    pub fn total_value_size(&self) -> usize {
        self.shape.value_size
    }

    /// Copies of a value, each padded to 8 bytes when there are several.
    pub fn copies(&self) -> usize {
        self.copies
    }

    fn is_array(&self) -> bool {
        matches!(self.map_type, ARRAY | PERCPU_ARRAY)
    }

    fn map(&self) -> MapRef<'_> {
        MapRef { fd: self.fd.as_fd(), shape: self.shape }
    }

    /// A value with all its copies.
    pub fn lookup(&self, key: &[u8]) -> io::Result<Vec<u8>> {
        let mut value = vec![0; self.shape.value_size];
        self.map().lookup(key, &mut value)?;
        Ok(value)
    }

    /// Inserts or replaces an entry.
    pub fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.map().update(key, value)
    }

    /// Inserts or replaces entries, one after the other in both slices.
    pub fn update_all(&self, keys: &[u8], values: &[u8]) -> io::Result<()> {
        match self.map().update_batch(keys, values) {
            Err(e) if is_unsupported(&e) => {
                let keys = keys.chunks_exact(self.shape.key_size.max(1));
                keys.zip(values.chunks_exact(self.shape.value_size.max(1)))
                    .try_for_each(|(key, value)| self.map().update(key, value))
            }
            other => other,
        }
    }

    /// All entries. Concurrent writers may make an entry appear that another run would have missed, never twice.
    pub fn read_all(&self) -> io::Result<Contents> {
        match self.read_batched(false) {
            Err(e) if is_unsupported(&e) => self.read_singly(),
            other => other,
        }
    }

    /// Deletes all entries; those of an array are zeroed.
    pub fn clear(&self) -> io::Result<()> {
        if self.is_array() {
            return self.zero(usize::MAX);
        }
        match self.read_batched(true) {
            Ok(_) => Ok(()),
            Err(e) if is_unsupported(&e) => {
                let contents = self.read_singly()?;
                for key in contents.keys.chunks_exact(self.shape.key_size.max(1)) {
                    ignore_missing(self.map().delete(key))?;
                }
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    /// Sets the first `len` bytes of every copy of every value to zero, keeps the keys.
    pub fn zero(&self, len: usize) -> io::Result<()> {
        let mut contents = self.read_all()?;
        let stride = (self.shape.value_size / self.copies).max(1);
        for copy in contents.values.chunks_exact_mut(stride) {
            copy.iter_mut().take(len).for_each(|b| *b = 0);
        }
        let keys = contents.keys.chunks_exact(self.shape.key_size.max(1));
        for (key, value) in keys.zip(contents.values.chunks_exact(self.shape.value_size.max(1))) {
            self.map().update(key, value)?;
        }
        Ok(())
    }

    fn read_batched(&self, delete: bool) -> io::Result<Contents> {
        let mut contents = Contents::default();
        let mut token = Vec::new();
        let mut capacity = FIRST_BATCH;
        loop {
            match self.map().lookup_batch(&mut token, capacity, &mut contents.keys, &mut contents.values, delete) {
                Ok(true) => return Ok(contents),
                Ok(false) => {}
                // A hash bucket with more entries than the batch can take.
                Err(e) if e.raw_os_error() == Some(libc::ENOSPC) && capacity < 1 << 20 => capacity *= 4,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn read_singly(&self) -> io::Result<Contents> {
        let mut contents = Contents::default();
        let mut key: Option<Vec<u8>> = None;
        let mut next = vec![0; self.shape.key_size];
        while self.map().next_key(key.as_deref(), &mut next)? {
            match self.lookup(&next) {
                Ok(value) => {
                    contents.keys.extend_from_slice(&next);
                    contents.values.extend_from_slice(&value);
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
            key = Some(next.clone());
        }
        Ok(contents)
    }
}

/// What the kernel returns for an operation that a map type lacks; it has no name in user space.
const ENOTSUPP: i32 = 524;

/// Batches came to per-CPU arrays and others one by one; the errors of maps without them differ.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | ENOTSUPP))
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Number of possible CPUs, the number of copies in a per-CPU map, from sysfs (`0-3` or `0,2-5`).
pub fn possible_cpus() -> io::Result<usize> {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    cpu_list(&list).last().map(|&last| last as usize + 1).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// The CPUs that are running, in ascending order.
pub fn online_cpus() -> io::Result<Vec<u32>> {
    Ok(cpu_list(&std::fs::read_to_string("/sys/devices/system/cpu/online")?))
}

fn cpu_list(list: &str) -> Vec<u32> {
    let mut cpus = Vec::new();
    for range in list.trim().split(',') {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(from), Ok(to)) = (from.parse::<u32>(), to.parse::<u32>()) {
            cpus.extend(from..=to.min(from.saturating_add(1 << 14)));
        }
    }
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(cpu_list("0-3\n"), [0, 1, 2, 3]);
        assert_eq!(cpu_list("0,2-3"), [0, 2, 3]);
        assert!(cpu_list("").is_empty());
        assert!(possible_cpus().is_ok_and(|n| n >= 1));
    }
}
