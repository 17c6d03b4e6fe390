//! What code a process has where: the executable mappings of `/proc/PID/maps`, and the list of functions that a JIT compiler
//! writes to `/tmp/perf-PID.map`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use super::image::is_archive;

/// An executable mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Byte of the file at `start`.
    pub offset: u64,
    /// Device of the file, as the kernel prints it.
    pub device: String,
    /// Inode of the file; 0 for anonymous memory.
    pub inode: u64,
    /// The file's path in the process's own view, `[vdso]`, or empty.
    pub path: String,
}

/// Device, inode and, in an archive, the byte: what tells the file that is mapped from all others.
pub type FileId = (String, u64, u64);

impl Mapping {
    /// The file.
    pub fn file_id(&self) -> FileId {
        let place = if is_archive(&self.path) { self.offset } else { 0 };
        (self.device.clone(), self.inode, place)
    }
}

/// The executable mappings of a process, sorted by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maps {
    mappings: Vec<Mapping>,
}

/// Mappings of one process beyond which the rest is left out; the kernel's own limit is 65530.
const MOST_MAPPINGS: usize = 1 << 16;

impl Maps {
    /// Reads those of a process; `None` when it is gone or not ours to look at.
    pub fn of(pid: u32) -> Option<Self> {
        let mut text = Vec::new();
        File::open(format!("/proc/{pid}/maps")).ok()?.read_to_end(&mut text).ok()?;
        let maps = Self::parse(&String::from_utf8_lossy(&text));
        // A process that is just ending has a file without lines.
        (!maps.mappings.is_empty()).then_some(maps)
    }

    /// From the text of the file. Lines of another form are left out.
    pub fn parse(text: &str) -> Self {
        let mut mappings: Vec<Mapping> = text.lines().filter_map(parse_line).take(MOST_MAPPINGS).collect();
        mappings.sort_by_key(|mapping| mapping.start);
        Self { mappings }
    }

    /// The mapping that an address lies in.
    pub fn at(&self, address: u64) -> Option<&Mapping> {
        let after = self.mappings.partition_point(|mapping| mapping.start <= address);
        self.mappings.get(..after)?.last().filter(|mapping| address < mapping.end)
    }

    /// A new mapping, which takes the place of what was there.
    pub fn add(&mut self, new: Mapping) {
        self.mappings.retain(|old| old.end <= new.start || new.end <= old.start);
        if self.mappings.len() < MOST_MAPPINGS {
            let at = self.mappings.partition_point(|old| old.start < new.start);
            self.mappings.insert(at, new);
        }
    }

    /// In the order of addresses.
    pub fn iter(&self) -> impl Iterator<Item = &Mapping> {
        self.mappings.iter()
    }
}

/// `start-end perms offset dev inode path`, executable ones only.
fn parse_line(line: &str) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || {
        let text = rest.trim_start();
        let (field, after) = text.split_once(' ').unwrap_or((text, ""));
        rest = after;
        field
    };
    let (range, permissions, offset, device, inode) = (field(), field(), field(), field(), field());
    let (start, end) = range.split_once('-')?;
    if permissions.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        offset: u64::from_str_radix(offset, 16).ok()?,
        device: device.to_owned(),
        inode: inode.parse().ok()?,
        path: rest.trim_start().trim_end_matches(" (deleted)").to_owned(),
    })
}

/// Functions that a JIT compiler has made, sorted by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerfMap {
    functions: Vec<(u64, u64, String)>,
}

/// Bytes of a perf map that are read; a JIT that writes more has its later functions without names.
const LONGEST_PERF_MAP: u64 = 64 << 20;

impl PerfMap {
    /// The one that a process has written, in its own view of `/tmp` and under its own pid.
    pub fn of(pid: u32) -> Option<Self> {
        let own_pid = own_pid(pid).unwrap_or(pid);
        // The second for a process that has ended.
        let paths = [format!("/proc/{pid}/root/tmp/perf-{own_pid}.map"), format!("/tmp/perf-{pid}.map")];
        let file = paths.iter().find_map(|path| super::image::Image::open(path.as_ref()).ok())?;
        // Anybody may write to /tmp: a pipe or device there must not hold us up.
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        Some(Self::read(file.take(LONGEST_PERF_MAP)))
    }

    /// From the text: `start size name`, numbers in hexadecimal.
    pub fn read(source: impl Read) -> Self {
        let mut functions = Vec::new();
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        while matches!(source.read_until(b'\n', &mut line), Ok(count) if count > 0) {
            let text = String::from_utf8_lossy(&line);
            let mut fields = text.trim_end().splitn(3, ' ');
            if let (Some(start), Some(size), Some(name)) = (fields.next(), fields.next(), fields.next())
                && let (Some(start), Some(size)) = (hexadecimal(start), hexadecimal(size))
            {
                functions.push((start, size, name.to_owned()));
            }
            line.clear();
        }
        // Code is freed and its place used again: of two functions at one address the later counts.
        functions.reverse();
        functions.sort_by_key(|function| function.0);
        functions.dedup_by_key(|function| function.0);
        Self { functions }
    }

    /// The function that an address lies in, and the distance to its start.
    pub fn at(&self, address: u64) -> Option<(&str, u64)> {
        let after = self.functions.partition_point(|function| function.0 <= address);
        let (start, size, name) = self.functions.get(..after)?.last()?;
        let offset = address - start;
        (offset < *size).then_some((name.as_str(), offset))
    }
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

/// The pid that a process has in its innermost pid namespace.
fn own_pid(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    const MAPS: &str = "\
557d87b13000-557d87b14000 r--p 00000000 fe:00 131 /tmp/a b
557d87b14000-557d87b15000 r-xp 00001000 fe:00 131 /tmp/a b
7f0000000000-7f0000001000 r-xp 00002000 fe:00 77                         /lib/gone.so (deleted)
7f0000002000-7f0000003000 rwxp 00000000 00:00 0 
7ffd0000a000-7ffd0000c000 r-xp 00000000 00:00 0                          [vdso]
broken line
zz-yy r-xp 0 0 0
";

    #[test]
    fn executable_mappings_are_found_by_address() {
        let maps = Maps::parse(MAPS);
        assert_eq!(maps.iter().count(), 4);
        let code = maps.at(0x557d_87b1_4010).unwrap();
        assert_eq!((code.path.as_str(), code.offset, code.inode), ("/tmp/a b", 0x1000, 131));
        assert_eq!(maps.at(0x7f00_0000_0000).unwrap().path, "/lib/gone.so");
        assert_eq!(maps.at(0x7f00_0000_2000).unwrap().path, "");
        assert_eq!(maps.at(0x7ffd_0000_b000).unwrap().path, "[vdso]");
        assert_eq!(maps.at(0x557d_87b1_3000), None, "not executable");
        assert_eq!(maps.at(0x7f00_0000_1000), None, "behind the end");
    }

    #[test]
    fn a_new_mapping_takes_the_place_of_old_ones() {
        let mut maps = Maps::parse(MAPS);
        let new =
            Mapping { start: 0x7f00_0000_0800, end: 0x7f00_0000_2800, path: "/new".into(), ..maps.mappings[0].clone() };
        maps.add(new);
        assert_eq!(maps.at(0x7f00_0000_2700).unwrap().path, "/new");
        assert_eq!(maps.at(0x7f00_0000_0100), None);
        assert_eq!(maps.iter().count(), 3);
        assert!(maps.iter().zip(maps.iter().skip(1)).all(|(a, b)| a.end <= b.start));
    }

    #[test]
    fn our_own_process_has_mappings() {
        let maps = Maps::of(std::process::id()).unwrap();
        let here = our_own_process_has_mappings as *const () as u64;
        assert!(maps.at(here).unwrap().inode > 0);
        assert_eq!(Maps::of(u32::MAX), None);
    }

    #[test]
    fn jit_functions_are_found_by_address() {
        let map = PerfMap::read("7f10 20 old\n7f10 30 LazyCompile:~run app.js:1\n0x8000 8 stub\nnonsense\n".as_bytes());
        assert_eq!(map.at(0x7f20), Some(("LazyCompile:~run app.js:1", 0x10)));
        assert_eq!(map.at(0x8000), Some(("stub", 0)));
        assert_eq!((map.at(0x7f40), map.at(0x10)), (None, None));
    }
}
