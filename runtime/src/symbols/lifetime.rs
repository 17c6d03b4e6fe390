//! What processes do to their memory, told by the kernel as it happens: a process that ends within a millisecond has left its
//! mappings behind. One ring per CPU; their records are put into the order in which things happened.

use std::io;

use super::maps::Mapping;
use crate::maps::table::online_cpus;
use crate::sys::perf;
use crate::sys::perf_ring::PerfRing;

const RECORD_LOST: u32 = 2;
const RECORD_COMM: u32 = 3;
const RECORD_EXIT: u32 = 4;
const RECORD_FORK: u32 = 7;
const RECORD_MMAP2: u32 = 10;
/// The name has changed since the process executes another program.
const MISC_COMM_EXEC: u16 = 1 << 13;

/// Something that a process did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It has new code.
    Mapped(u32, Mapping),
    /// It is new, with the memory of its parent.
    Forked {
        /// The new process.
        pid: u32,
        /// Whose memory it has.
        parent: u32,
    },
    /// It executes another program: its mappings are gone.
    Executed(u32),
    /// It has ended.
    Ended(u32),
    /// The rings were full: what is known may be wrong.
    Lost,
}

/// The rings.
#[derive(Debug)]
pub struct Watch {
    rings: Vec<PerfRing>,
}

impl Watch {
    /// Watches one process and its children to come, or all.
    pub fn new(pid: Option<u32>) -> io::Result<Self> {
        let rings = online_cpus()?.into_iter().map(|cpu| perf::lifetimes(cpu, pid).and_then(PerfRing::new));
        Ok(Self { rings: rings.collect::<io::Result<_>>()? })
    }

    /// What has happened since the last call, in order.
    pub fn take(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for ring in &self.rings {
            ring.read(|kind, misc, body| events.extend(decode(kind, misc, body)));
        }
        events.sort_by_key(|(time, _)| *time);
        events.into_iter().map(|(_, event)| event).collect()
    }
}

/// The time of a record, which is its last word, and what it tells.
fn decode(kind: u32, misc: u16, body: &[u8]) -> Option<(u64, Event)> {
    let (body, time) = body.split_last_chunk::<8>()?;
    let time = u64::from_ne_bytes(*time);
    let word = |at: usize| body.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    let long = |at: usize| body.get(at..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
    let event = match kind {
        RECORD_MMAP2 => {
            // pid, tid, address, length, offset, major, minor, inode, generation, protection, flags, path.
            let start = long(8)?;
            let path = body.get(64..)?.split(|byte| *byte == 0).next().unwrap_or_default();
            let path = String::from_utf8_lossy(path).into_owned();
            Event::Mapped(
                word(0)?,
                Mapping {
                    start,
                    end: start.checked_add(long(16)?)?,
                    offset: long(24)?,
                    device: format!("{:02x}:{:02x}", word(32)?, word(36)?),
                    inode: long(40)?,
                    path: if path == "//anon" { String::new() } else { path },
                },
            )
        }
        // pid, parent, tid, parent's tid: threads are new tasks, too.
        RECORD_FORK if word(0)? != word(4)? => Event::Forked { pid: word(0)?, parent: word(4)? },
        RECORD_EXIT if word(0)? == word(8)? => Event::Ended(word(0)?),
        RECORD_COMM if misc & MISC_COMM_EXEC != 0 => Event::Executed(word(0)?),
        RECORD_LOST => Event::Lost,
        _ => return None,
    };
    Some((time, event))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn record(words: &[u32], longs: &[u64], rest: &[u8]) -> Vec<u8> {
        let words = words.iter().flat_map(|w| w.to_ne_bytes());
        words.chain(longs.iter().flat_map(|l| l.to_ne_bytes())).chain(rest.iter().copied()).collect()
    }

    #[test]
    fn a_mapping() {
        let mut body = record(&[7, 8], &[0x1000, 0x200, 0x3000], &[]);
        body.extend(record(&[0xfe, 1], &[131, 0], &[]));
        body.extend(record(&[5, 2], &[], b"/lib/x.so\0\0\0\0\0\0\0"));
        body.extend(99u64.to_ne_bytes());
        let mapping = Mapping {
            start: 0x1000,
            end: 0x1200,
            offset: 0x3000,
            device: "fe:01".into(),
            inode: 131,
            path: "/lib/x.so".into(),
        };
        assert_eq!(decode(RECORD_MMAP2, 0, &body), Some((99, Event::Mapped(7, mapping))));
        for len in 0..72 {
            assert_eq!(decode(RECORD_MMAP2, 0, body.get(..len).unwrap()), None);
        }
    }

    #[test]
    fn threads_are_no_processes() {
        let fork = |pid, parent| decode(RECORD_FORK, 0, &record(&[pid, parent, 9, 9], &[0, 5], &[]));
        assert_eq!(fork(4, 3), Some((5, Event::Forked { pid: 4, parent: 3 })));
        assert_eq!(fork(4, 4), None);
        let exit = |tid| decode(RECORD_EXIT, 0, &record(&[4, 3, tid, 3], &[0, 6], &[]));
        assert_eq!(exit(4), Some((6, Event::Ended(4))));
        assert_eq!(exit(5), None);
        let comm = record(&[4, 4], &[0, 7], &[]);
        assert_eq!(decode(RECORD_COMM, 0, &comm), None);
        assert_eq!(decode(RECORD_COMM, MISC_COMM_EXEC, &comm), Some((7, Event::Executed(4))));
    }
}
