//! What is known of the mappings of processes: read from `/proc` when a process is first met, and kept up by the kernel's
//! records of what it does. Where there are no records, `/proc` is read again from time to time.

use std::cell::OnceCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::lifetime::{Event, Watch};
use super::maps::{Mapping, Maps, PerfMap};

/// Without records, mappings younger than this are believed; older ones are read again, for the process may have loaded a library
/// or its pid may be another's.
const FRESH: Duration = Duration::from_secs(1);

/// Processes that are remembered. Beyond it those that ended first are forgotten.
const MOST_PROCESSES: usize = 4096;

/// What is known of a process.
#[derive(Debug)]
struct Process {
    maps: Rc<Maps>,
    /// Of the program that it executed before.
    before: Option<Rc<Maps>>,
    /// Read when first needed.
    jit: OnceCell<Option<PerfMap>>,
    read: Instant,
}

impl Process {
    fn new(maps: Maps) -> Self {
        Self { maps: Rc::new(maps), before: None, jit: OnceCell::new(), read: Instant::now() }
    }
}

/// All that is known.
#[derive(Debug, Default)]
pub struct Processes {
    known: HashMap<u32, Process>,
    /// In the order in which they ended.
    ended: VecDeque<u32>,
    watch: Option<Watch>,
}

impl Processes {
    /// Lets the kernel tell what one process and its children do, or all of them. Without the right to it nothing changes.
    pub fn watch(&mut self, pid: Option<u32>) {
        self.watch = Watch::new(pid).ok();
    }

    /// Takes over what the kernel has told.
    pub fn refresh(&mut self) {
        let Some(watch) = &self.watch else { return };
        for event in watch.take() {
            self.apply(event);
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Mapped(pid, mapping) => {
                let process = self.entry(pid);
                Rc::make_mut(&mut process.maps).add(mapping);
            }
            Event::Forked { pid, parent } => {
                let maps = self.known.get(&parent).map(|process| (*process.maps).clone());
                if let Some(maps) = maps.or_else(|| Maps::of(pid)) {
                    self.store(pid, maps);
                }
            }
            Event::Executed(pid) => {
                let process = self.entry(pid);
                process.before = Some(std::mem::take(&mut process.maps));
                process.jit = OnceCell::new();
            }
            Event::Ended(pid) => {
                if self.known.contains_key(&pid) {
                    self.ended.push_back(pid);
                }
            }
            // Some process has mappings that we have not seen: believe only what is read from now on.
            Event::Lost => self.watch = None,
        }
    }

    fn entry(&mut self, pid: u32) -> &mut Process {
        if !self.known.contains_key(&pid) {
            self.store(pid, Maps::of(pid).unwrap_or_default());
        }
        self.known.entry(pid).or_insert_with(|| Process::new(Maps::default()))
    }

    fn store(&mut self, pid: u32, maps: Maps) {
        if self.known.len() >= MOST_PROCESSES && !self.known.contains_key(&pid) {
            match self.ended.pop_front() {
                Some(ended) => drop(self.known.remove(&ended)),
                None => self.known.clear(),
            }
        }
        self.known.insert(pid, Process::new(maps));
    }

    /// Looks at a process now, while it lives. Cheap enough for every process that a session meets: one file is read.
    pub fn remember(&mut self, pid: u32) {
        if self.watch.is_some() && self.known.contains_key(&pid) {
            return;
        }
        if let Some(maps) = Maps::of(pid) {
            self.store(pid, maps);
        }
    }

    /// The mapping of an address. One that is in none may lie in a library loaded since, or belong to the program before.
    pub fn mapping(&mut self, pid: u32, address: u64) -> Option<Mapping> {
        self.refresh();
        let stale = match self.known.get(&pid) {
            None => true,
            Some(process) => self.watch.is_none() && process.read.elapsed() >= FRESH,
        };
        if !stale && let Some(found) = self.find(pid, address) {
            return Some(found);
        }
        if let Some(again) = Maps::of(pid) {
            let before = self.known.remove(&pid).and_then(|process| process.before);
            self.store(pid, again);
            if let Some(process) = self.known.get_mut(&pid) {
                process.before = before;
            }
        }
        self.find(pid, address)
    }

    fn find(&self, pid: u32, address: u64) -> Option<Mapping> {
        let process = self.known.get(&pid)?;
        let before = || process.before.as_ref()?.at(address);
        process.maps.at(address).or_else(before).cloned()
    }

    /// The function of a JIT compiler at an address, and the distance to its start.
    pub fn jit_function(&self, pid: u32, address: u64) -> Option<(String, u64)> {
        let map = self.known.get(&pid)?.jit.get_or_init(|| PerfMap::of(pid)).as_ref()?;
        map.at(address).map(|(name, offset)| (name.to_owned(), offset))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mapping(start: u64, path: &str) -> Mapping {
        Mapping { start, end: start + 0x1000, offset: 0, device: "00:01".into(), inode: 1, path: path.into() }
    }

    /// Pids that no process has.
    const PARENT: u32 = u32::MAX - 1;
    const CHILD: u32 = u32::MAX - 2;

    #[test]
    fn a_process_is_known_after_its_end() {
        let mut all = Processes::default();
        all.apply(Event::Mapped(PARENT, mapping(0x1000, "/a")));
        all.apply(Event::Forked { pid: CHILD, parent: PARENT });
        assert_eq!(all.find(CHILD, 0x1500).unwrap().path, "/a");
        all.apply(Event::Executed(CHILD));
        all.apply(Event::Mapped(CHILD, mapping(0x1800, "/b")));
        all.apply(Event::Ended(CHILD));
        assert_eq!(all.mapping(CHILD, 0x1900).unwrap().path, "/b");
        assert_eq!(all.mapping(CHILD, 0x1100).unwrap().path, "/a", "of the program before");
        assert_eq!(all.find(PARENT, 0x1900).unwrap().path, "/a");
        assert_eq!(all.mapping(CHILD, 0x5000), None);
    }

    #[test]
    fn those_that_ended_first_are_forgotten_first() {
        let mut all = Processes::default();
        for pid in 0..MOST_PROCESSES as u32 {
            all.store(u32::MAX - pid, Maps::default());
        }
        all.apply(Event::Ended(u32::MAX - 5));
        all.store(7, Maps::default());
        assert!(!all.known.contains_key(&(u32::MAX - 5)));
        assert_eq!(all.known.len(), MOST_PROCESSES);
    }
}
