//! `/etc/ld.so.cache`: where the loader finds libraries by name. The format is that of glibc (`dl-cache.h`), since 2.32 without an
//! older one before it; the kernel's distributions have no other.

use std::path::{Path, PathBuf};

/// What the format's newer part begins with.
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";

/// Bytes of the header, and of an entry: flags, name, path, version of the system, capabilities of the processor.
const HEADER: usize = 48;
const ENTRY: usize = 24;

/// The flags of libraries for this processor, beside their kind in the lowest byte.
const FLAGS: u32 = if cfg!(target_arch = "aarch64") { 0x0a00 } else { 0x0300 };

/// Bytes of the file that are read at most.
const LONGEST: u64 = 16 << 20;

/// Paths of a library by its name (`libc.so.6`) or its name without version (`libc`), the newest first.
pub fn find(name: &str) -> Vec<PathBuf> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read = std::fs::File::open("/etc/ld.so.cache").and_then(|file| file.take(LONGEST).read_to_end(&mut bytes));
    if read.is_ok() { search(&bytes, name) } else { Vec::new() }
}

/// As [`find`], in the bytes of a cache. Those that make no sense are passed over.
pub fn search(bytes: &[u8], name: &str) -> Vec<PathBuf> {
    // The older part may stand before: what counts is where the newer one begins.
    let Some(start) = bytes.windows(MAGIC.len()).position(|window| window == MAGIC) else { return Vec::new() };
    let cache = bytes.get(start..).unwrap_or_default();
    let count = word(cache, MAGIC.len()).unwrap_or(0) as usize;
    let entries = cache.get(HEADER..).unwrap_or_default().chunks_exact(ENTRY).take(count);
    let found = entries.filter_map(|entry| {
        let flags = word(entry, 0)?;
        let own = text(cache, word(entry, 4)?)?;
        (flags & 0xff00 == FLAGS && is_named(own, name)).then(|| text(cache, word(entry, 8)?)).flatten()
    });
    found.map(|path| Path::new(path).to_owned()).collect()
}

/// `libc.so.6` is named `libc.so.6`, `libc.so` and `libc`.
fn is_named(library: &str, name: &str) -> bool {
    let Some(rest) = library.strip_prefix(name) else { return false };
    if name.contains(".so") {
        rest.is_empty() || rest.starts_with('.')
    } else {
        rest == ".so" || rest.starts_with(".so.")
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// A string by its place; file names have an end.
fn text(cache: &[u8], at: u32) -> Option<&str> {
    const LONGEST_PATH: usize = 4096;
    let tail = cache.get(at as usize..)?;
    let tail = tail.get(..LONGEST_PATH).unwrap_or(tail);
    let end = tail.iter().position(|&byte| byte == 0)?;
    std::str::from_utf8(tail.get(..end)?).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A cache with libraries, their flags and paths.
    pub(crate) fn cache(libraries: &[(u32, &str, &str)]) -> Vec<u8> {
        let mut strings = Vec::new();
        let mut entries = Vec::new();
        let base = HEADER + libraries.len() * ENTRY;
        for (flags, name, path) in libraries {
            let mut place = |text: &str| {
                let at = (base + strings.len()) as u32;
                strings.extend(text.as_bytes());
                strings.push(0);
                at
            };
            for field in [*flags, place(name), place(path), 0, 0, 0] {
                entries.extend(field.to_le_bytes());
            }
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend((libraries.len() as u32).to_le_bytes());
        bytes.extend((strings.len() as u32).to_le_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend(entries);
        bytes.extend(strings);
        bytes
    }

    fn sample() -> Vec<u8> {
        let ours = FLAGS | 3;
        cache(&[
            (ours, "libssl.so.59", "/opt/libssl.so.59"),
            (ours, "libssl.so.3", "/usr/lib/libssl.so.3"),
            (0x0003, "libc.so.6", "/lib32/libc.so.6"),
            (ours, "libc.so.6", "/lib/libc.so.6"),
            (ours, "libcap.so.2", "/lib/libcap.so.2"),
        ])
    }

    #[test]
    fn libraries_are_found_by_name_with_and_without_version() {
        let find = |name: &str| {
            search(&sample(), name).into_iter().map(|it| it.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(find("libc"), ["/lib/libc.so.6"]);
        assert_eq!(find("libc.so"), ["/lib/libc.so.6"]);
        assert_eq!(find("libc.so.6"), ["/lib/libc.so.6"]);
        assert_eq!(find("libssl"), ["/opt/libssl.so.59", "/usr/lib/libssl.so.3"]);
        assert_eq!(find("libssl.so.3"), ["/usr/lib/libssl.so.3"]);
        assert!(find("libss").is_empty());
    }

    #[test]
    fn an_older_part_before_it_is_passed_over() {
        let mut bytes = b"ld.so-1.7.0\0with entries of its own".to_vec();
        bytes.extend(sample());
        assert_eq!(search(&bytes, "libcap").len(), 1);
    }

    #[test]
    fn damaged_caches_have_fewer_libraries() {
        let whole = sample();
        for len in 0..whole.len() {
            assert!(search(whole.get(..len).unwrap(), "libssl").len() <= 2);
        }
        let mut wild = whole;
        for byte in wild.get_mut(MAGIC.len()..).unwrap() {
            *byte = 0xff;
        }
        assert!(search(&wild, "libc").is_empty());
    }
}
