//! What `skboutput()` sends: packets from the buffers of the CPUs into files of pcap.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::perf::{PerfEvent, PerfEventArrayBuffer};
use aya::maps::{MapData, PerfEventArray};
use aya::util::online_cpus;
use tapline_compiler::program::{ActionKind, Manifest};

use crate::events::decode::read_uint;
use crate::sys::time::{KernelClock, now_ns};

use super::SessionError;

/// Pages of a buffer: the kernel wants a power of two.
const PAGES: std::ops::RangeInclusive<usize> = 1..=4096;

/// `LINKTYPE_RAW`: packets begin with their IP header.
const RAW_IP: u32 = 101;
/// Microseconds, version 2.4.
const MAGIC: u32 = 0xa1b2_c3d4;
const VERSION: u32 = 2 | 4 << 16;
/// Bytes of a packet at most.
const SNAP_LENGTH: u32 = 1 << 20;
/// Action, time and length before a packet.
const HEADER: usize = 24;

/// The buffers and the files.
pub struct Packets<'a> {
    buffers: Vec<PerfEventArrayBuffer<MapData>>,
    manifest: &'a Manifest,
    files: HashMap<&'a str, BufWriter<File>>,
    /// From the boot clock to the wall clock.
    wall_offset: i64,
    lost: u64,
}

impl<'a> Packets<'a> {
    /// Opens the buffers and creates the files.
    pub fn open(mut map: PerfEventArray<MapData>, manifest: &'a Manifest) -> Result<Self, SessionError> {
        let pages = usize::try_from(manifest.config.ring_pages).unwrap_or(usize::MAX);
        let pages = pages.clamp(*PAGES.start(), *PAGES.end()).next_power_of_two();
        let cpus = online_cpus().map_err(|(_, e)| SessionError::System { action: "count the CPUs", error: e })?;
        let opened = cpus.into_iter().map(|cpu| map.open(cpu, Some(pages))).collect::<Result<Vec<_>, _>>();
        let failed = |e| SessionError::System { action: "open buffers for packets", error: io::Error::other(e) };
        let mut files = HashMap::new();
        for action in &manifest.actions {
            if let ActionKind::Packet { path, .. } = &action.kind
                && !files.contains_key(path.as_str())
            {
                files.insert(path.as_str(), create(path).map_err(SessionError::Output)?);
            }
        }
        let wall_offset = now_ns(KernelClock::Realtime).wrapping_sub(now_ns(KernelClock::Boot));
        Ok(Self { buffers: opened.map_err(failed)?, manifest, files, wall_offset, lost: 0 })
    }

    /// To be waited for.
    pub fn buffers(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.buffers.iter().map(AsFd::as_fd)
    }

    /// Packets for which there was no room.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Writes what has arrived.
    pub fn drain(&mut self) -> Result<(), SessionError> {
        let Self { buffers, manifest, files, wall_offset, lost } = self;
        let mut written = Ok(());
        let mut sample = Vec::new();
        for buffer in buffers.iter_mut() {
            buffer.for_each(|event| match event {
                PerfEvent::Sample { head, tail } if written.is_ok() => {
                    sample.clear();
                    sample.extend_from_slice(head);
                    sample.extend_from_slice(tail);
                    written = write(manifest, files, *wall_offset, &sample);
                }
                PerfEvent::Sample { .. } => {}
                PerfEvent::Lost { count } => *lost = lost.saturating_add(count),
            });
        }
        written.and_then(|()| files.values_mut().try_for_each(Write::flush)).map_err(SessionError::Output)
    }
}

fn create(path: &str) -> io::Result<BufWriter<File>> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{path}: {e}"));
    let mut file = BufWriter::new(File::create(path).map_err(named)?);
    // Time zone and accuracy are zero, always.
    for word in [MAGIC, VERSION, 0, 0, SNAP_LENGTH, RAW_IP] {
        file.write_all(&word.to_ne_bytes())?;
    }
    Ok(file)
}

/// One packet, without what the script leaves out at its start; what cannot be told apart is left out.
fn write(
    manifest: &Manifest,
    files: &mut HashMap<&str, BufWriter<File>>,
    wall_offset: i64,
    sample: &[u8],
) -> io::Result<()> {
    const NANOS: u64 = 1_000_000_000;
    let action = usize::try_from(read_uint(sample, 0, 8)).ok().and_then(|action| manifest.actions.get(action));
    let Some(ActionKind::Packet { path, offset }) = action.map(|action| &action.kind) else { return Ok(()) };
    let Some(file) = files.get_mut(path.as_str()) else { return Ok(()) };
    let time = read_uint(sample, 8, 8).wrapping_add_signed(wall_offset);
    let length = usize::try_from(read_uint(sample, 16, 8)).unwrap_or(usize::MAX);
    let packet = sample.get(HEADER..).unwrap_or_default();
    let packet = packet.get(..length).unwrap_or(packet);
    let packet = usize::try_from(*offset).ok().and_then(|offset| packet.get(offset..)).unwrap_or_default();
    let size = u32::try_from(packet.len()).unwrap_or(u32::MAX);
    for word in [(time / NANOS) as u32, (time % NANOS / 1000) as u32, size, size] {
        file.write_all(&word.to_ne_bytes())?;
    }
    file.write_all(packet)
}
