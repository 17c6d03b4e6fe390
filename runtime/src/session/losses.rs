//! What did not reach the user, and how it is said. Counters live in a map of the script; they are read once a second at most and
//! at the end, and reported when they have grown.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tapline_compiler::program::{Counter, Manifest};

use crate::events::decode::read_uint;
use crate::maps::table::Table;
use crate::output::{Sink, Warning};
use crate::sys::bpf;

/// The counters, and how much of each has been reported.
pub struct Losses<'a> {
    counters: &'a [Counter],
    manifest: &'a Manifest,
    reported: Vec<u64>,
    /// Whether more than lost events is said.
    warnings: bool,
}

impl<'a> Losses<'a> {
    /// Nothing reported yet.
    pub fn new(manifest: &'a Manifest, warnings: bool) -> Self {
        Self { counters: &manifest.counters, manifest, reported: vec![0; manifest.counters.len()], warnings }
    }

    /// True when there is nothing that could be lost.
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty()
    }

    /// Reads the counters and reports what is new since the last time.
    pub fn report(&mut self, table: &Table, sink: &mut dyn Sink) -> io::Result<()> {
        let Ok(value) = table.lookup(&0u32.to_ne_bytes()) else { return Ok(()) };
        let copies = table.copies();
        let stride = if copies > 1 { table.value_size().next_multiple_of(8) } else { table.value_size() };
        let mut lost_events = 0;
        for (index, (counter, reported)) in self.counters.iter().zip(&mut self.reported).enumerate() {
            let total: u64 =
                (0..copies).fold(0, |sum, copy| sum.wrapping_add(read_uint(&value, copy * stride + 8 * index, 8)));
            let new = total.saturating_sub(*reported);
            if new == 0 {
                continue;
            }
            let first = *reported == 0;
            *reported = total;
            match counter {
                Counter::RingFull { .. } => lost_events += new,
                // Not lost: it is carried out.
                Counter::ExitPending { .. } => {}
                counter if first && self.warnings => sink.warning(&warning(counter))?,
                _ => {}
            }
        }
        if lost_events > 0 {
            sink.lost(lost_events)?;
        }
        Ok(())
    }

    /// The status of an `exit()` that found no room in the ring buffer.
    pub fn exit_pending(&self) -> Option<i64> {
        self.counters.iter().zip(&self.reported).find_map(|(counter, &total)| match counter {
            Counter::ExitPending { status } if total > 0 => Some(*status),
            _ => None,
        })
    }

    /// At the end: the totals of what was reported only once, and where events were lost.
    pub fn summary(&self) -> Vec<String> {
        self.counters
            .iter()
            .zip(&self.reported)
            .filter(|&(_, &total)| total > 0)
            .filter_map(|(counter, &total)| summary_line(counter, total, self.manifest))
            .collect()
    }
}

fn map_name(manifest: &Manifest, map: tapline_compiler::program::MapId) -> &str {
    manifest.maps.get(map.0 as usize).map_or("", |m| m.name.as_str())
}

/// The texts are the reference's where it has one.
fn warning(counter: &Counter) -> Warning<'_> {
    fn plain(text: String, position: &str) -> Warning<'_> {
        Warning { text, helper: None, position }
    }
    match counter {
        Counter::MapFull { position, .. } => Warning {
            text: "Map full; can't update element. Try increasing max_map_keys config or manually setting the max entries in a \
                   map declaration e.g. `let @a = hash(5000)`"
                .into(),
            helper: Some(("map_update_elem", -libc::E2BIG)),
            position,
        },
        Counter::NoMemory { position, .. } => {
            let text = "an entry of a map was lost: the kernel had no memory at hand for it. The memory of a smaller \
                        map, e.g. `let @a = hash(500)`, is set aside beforehand";
            plain(text.into(), position)
        }
        Counter::DivideByZero { position } => plain(
            "Divide or modulo by 0 detected. This can lead to unexpected results. 1 is being used as the result.".into(),
            position,
        ),
        Counter::HelperFailed { helper, position } => {
            Warning { text: format!("{helper} failed"), helper: Some((helper, -libc::EFAULT)), position }
        }
        Counter::LoopBound { position, rounds } => {
            plain(format!("a loop was left early, after {rounds} rounds: more are not possible here"), position)
        }
        Counter::Missed { probe } => plain(format!("runs of {probe} were missed: the script was still busy with another"), ""),
        Counter::StackLost => plain("stacks were lost: the table of stacks is full".into(), ""),
        Counter::ExitPending { .. } => plain("exit() found the ring buffer full: ending now".into(), ""),
        Counter::RingFull { probe } => plain(format!("events of {probe} were lost: the ring buffer was full"), ""),
    }
}

/// `1 event`, `2 events`.
fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// What happened once has been said by its warning.
fn summary_line(counter: &Counter, total: u64, manifest: &Manifest) -> Option<String> {
    if matches!(counter, Counter::ExitPending { .. }) || total == 1 && !matches!(counter, Counter::RingFull { .. }) {
        return None;
    }
    Some(match counter {
        Counter::ExitPending { .. } => return None,
        Counter::RingFull { probe } => {
            let events = plural(total, "event");
            format!("{events} of {probe} lost: the ring buffer was full (config perf_rb_pages makes it larger)")
        }
        Counter::MapFull { map, position } => {
            format!("{} of @{} lost at {position}: the map was full", plural(total, "update"), map_name(manifest, *map))
        }
        Counter::NoMemory { map, position } => {
            format!(
                "{} of @{} lost at {position}: no memory was at hand",
                plural(total, "update"),
                map_name(manifest, *map)
            )
        }
        Counter::Missed { probe } => {
            format!("{} of {probe} missed: the script was still busy with another", plural(total, "run"))
        }
        Counter::StackLost => format!("{} lost: the table of stacks was full", plural(total, "stack")),
        Counter::LoopBound { position, .. } => format!("{} left early at {position}", plural(total, "loop")),
        Counter::DivideByZero { position } => format!("{} by zero at {position}", plural(total, "division")),
        Counter::HelperFailed { helper, position } => {
            format!("{helper} failed {} at {position}", plural(total, "time"))
        }
    })
}

/// Hits that the kernel skipped by itself: a program or kprobe was already running on that CPU.
pub fn kernel_misses(programs: &[OwnedFd], links: &[OwnedFd]) -> u64 {
    let of_programs = programs.iter().filter_map(|p| bpf::prog_recursion_misses(p.as_fd()).ok());
    let of_links = links.iter().filter_map(|l| bpf::link_missed(l.as_fd()).ok());
    of_programs.chain(of_links).fold(0, u64::saturating_add)
}
