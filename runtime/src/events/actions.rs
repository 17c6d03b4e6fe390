//! Carries out what event records ask for.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::process::{Command, Stdio};

use tapline_compiler::program::{
    Action, ActionKind, Aggregate, Format, Manifest, MapId, MapRole, Percentile, PrintStyle, ValueType,
};

use crate::errno::describe;
use crate::maps::table::Table;
use crate::maps::view::Snapshot;
use crate::output::{Message, Sink, TextKind, histogram};
use crate::sys::time::{KernelClock, now_ns};

use super::context::{Context, format_time, names_processes};
use super::decode::{decode_record, read_uint, size_of_type};
use super::format::render;
use super::text::write_joined;
use super::value::Value;

/// Running processes that are looked at before tracing begins.
const MOST_PROCESSES: usize = 2000;

/// What a record changes about the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing.
    Continue,
    /// The script wants to end, with this status.
    Exit(i32),
    /// The watchpoints at this address are no longer wanted.
    Unwatch(u64),
}

/// The level of `warnf()`.
const WARNING: &str = "WARNING";

/// Serves the records of one script.
pub struct Actions<'a> {
    manifest: &'a Manifest,
    ctx: &'a Context,
    tables: &'a [Option<Table>],
    /// Where output goes.
    pub sink: &'a mut dyn Sink,
    /// Whether `warnf()` is passed on.
    pub warnings: bool,
    buffer: Vec<u8>,
}

impl<'a> Actions<'a> {
    /// `tables` by position in the manifest.
    pub fn new(manifest: &'a Manifest, ctx: &'a Context, tables: &'a [Option<Table>], sink: &'a mut dyn Sink) -> Self {
        Self { manifest, ctx, tables, sink, warnings: true, buffer: Vec::new() }
    }

    /// The same, with another output.
    pub fn with_sink<'b>(&'b self, sink: &'b mut dyn Sink) -> Actions<'b> {
        Actions { warnings: self.warnings, ..Actions::new(self.manifest, self.ctx, self.tables, sink) }
    }

    /// The exit status that the record asks for, if it is an exit.
    pub fn exit_status(&self, record: &[u8]) -> Option<i32> {
        let action = self.action(record)?;
        matches!(action.kind, ActionKind::Exit).then(|| status_of(self.ctx, action, record))
    }

    fn action(&self, record: &[u8]) -> Option<&'a Action> {
        self.manifest.actions.get(usize::try_from(read_uint(record, 0, 4)).ok()?)
    }

    /// Does what the record asks for. A record of an unknown action is ignored: nothing can be said about it. Errors are those
    /// of the output.
    pub fn run(&mut self, record: &[u8]) -> io::Result<Outcome> {
        let Some(action) = self.action(record) else { return Ok(Outcome::Continue) };
        let mut args = Vec::with_capacity(action.record.fields.len());
        decode_record(self.ctx, &action.record, record, &mut args);
        for percentile in &action.percentiles {
            let number = args.get(percentile.arg as usize).map(|key| self.percentile(percentile, key));
            if let (Some(number), Some(arg)) = (number, args.get_mut(percentile.arg as usize)) {
                *arg = Value::Signed(number, 8);
            }
        }
        match &action.kind {
            ActionKind::Printf(format) => {
                self.render(format, &args);
                self.sink.text(TextKind::Printf, &self.buffer)?;
            }
            ActionKind::PrintValue => {
                if let Some(value) = args.last() {
                    self.sink.value(value)?;
                }
            }
            ActionKind::PrintMap { map, top, div, style } => {
                let given = |i: usize, fixed: u64| args.get(i).map_or(fixed, Value::bits);
                self.print_map(*map, (given(0, *top), given(1, *div)), style)?;
            }
            ActionKind::ClearMap(map) => {
                if let Some((table, _)) = self.table(*map) {
                    report(table.clear(), "clear");
                }
            }
            ActionKind::ZeroMap(map) => {
                if let Some((table, desc)) = self.table(*map) {
                    // The flag behind a scalar's value stays: it is still assigned.
                    let size = desc.value.as_ref().map_or(usize::MAX, size_of_type);
                    let kept = if desc.role == MapRole::Scalar { size.next_multiple_of(8) } else { usize::MAX };
                    report(table.zero(kept), "zero");
                }
            }
            // Packets come by a way of their own.
            ActionKind::Packet { .. } => {}
            ActionKind::Exit => return Ok(Outcome::Exit(status_of(self.ctx, action, record))),
            ActionKind::Unwatch => return Ok(args.first().map_or(Outcome::Continue, |a| Outcome::Unwatch(a.bits()))),
            ActionKind::Time(format) => {
                let text = format_time(format, i128::from(now_ns(KernelClock::Realtime)));
                self.sink.text(TextKind::Time, text.as_bytes())?;
            }
            ActionKind::Join(separator) => {
                self.buffer.clear();
                for arg in &args {
                    if let Value::Strings(bytes) = arg {
                        write_joined(bytes, separator.as_bytes(), &mut self.buffer);
                    }
                }
                self.buffer.push(b'\n');
                self.sink.text(TextKind::Join, &self.buffer)?;
            }
            ActionKind::Cat(format) => {
                self.render(format, &args);
                self.cat()?;
            }
            ActionKind::System(format) => {
                self.render(format, &args);
                self.system()?;
            }
            ActionKind::Message { level, .. } if level == WARNING && !self.warnings => {}
            ActionKind::Message { level, format, position } => {
                self.render(format, &args);
                self.sink.message(&Message { level, position, text: &self.buffer })?;
            }
        }
        Ok(Outcome::Continue)
    }

    fn render(&mut self, format: &Format, args: &[Value<'_>]) {
        self.buffer.clear();
        render(format, args, &mut self.buffer);
    }

    /// Looks at the processes whose addresses lie in maps: when the maps are printed, they may be gone.
    pub fn remember_processes(&self, seen: &mut HashSet<u32>) {
        for (desc, table) in self.manifest.maps.iter().zip(self.tables) {
            let parts = [desc.key.as_ref(), desc.value.as_ref()];
            let Some(table) = table.as_ref().filter(|_| parts.iter().flatten().any(|ty| names_processes(ty))) else {
                continue;
            };
            let Ok(contents) = table.read_all() else { continue };
            if let Some(ty) = &desc.key {
                for key in contents.keys.chunks_exact(table.key_size().max(1)) {
                    self.ctx.remember_processes(ty, key, seen);
                }
            }
            if let Some(ty) = &desc.value {
                for value in contents.values.chunks_exact(table.total_value_size().max(1)) {
                    self.ctx.remember_processes(ty, value, seen);
                }
            }
        }
    }

    /// True when some map holds addresses of processes.
    pub fn has_processes(&self) -> bool {
        self.manifest.maps.iter().any(|m| [&m.key, &m.value].into_iter().flatten().any(names_processes))
    }

    /// True when the script prints addresses of processes.
    pub fn prints_processes(&self) -> bool {
        let in_events = self.manifest.actions.iter().flat_map(|a| &a.record.fields).any(|f| names_processes(&f.ty));
        in_events || self.has_processes()
    }

    /// Follows the process `pid` and its children, or all: those that end at once when they are traced cannot be looked at later.
    pub fn watch_processes(&self, pid: Option<u32>) {
        self.ctx.watch(pid);
        if let Some(pid) = pid {
            return self.ctx.remember(pid);
        }
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        for pid in pids.take(MOST_PROCESSES) {
            self.ctx.remember(pid);
        }
    }

    /// To be called a few times a second while processes are watched.
    pub fn refresh_processes(&self) {
        self.ctx.refresh();
    }

    fn table(&self, map: MapId) -> Option<(&'a Table, &'a tapline_compiler::program::MapDesc)> {
        let index = map.0 as usize;
        Some((self.tables.get(index)?.as_ref()?, self.manifest.maps.get(index)?))
    }

    /// A percentile of the histogram at a key, as it is now; 0 where there is none.
    fn percentile(&self, wanted: &Percentile, key: &Value<'_>) -> i64 {
        let Some((table, desc)) = self.table(wanted.map) else { return 0 };
        let Ok(contents) = table.read_all() else { return 0 };
        let snapshot = Snapshot::new(desc, contents, table.key_size(), table.value_size(), table.copies());
        let style = PrintStyle::default();
        let view = snapshot.view(self.ctx, desc, (0, 0), &style);
        let found = view.entries.iter().find(|(own, _)| own.as_ref().is_none_or(|own| own == key));
        match found {
            Some((_, Value::Histogram(histogram))) => {
                i64::try_from(histogram::percentile(histogram, wanted.thousandths)).unwrap_or(i64::MAX)
            }
            _ => 0,
        }
    }

    fn print_map(&mut self, map: MapId, cut: (u64, u64), style: &PrintStyle) -> io::Result<()> {
        let Some((table, desc)) = self.table(map) else { return Ok(()) };
        let contents = match table.read_all() {
            Ok(contents) => contents,
            Err(e) => {
                report(Err(e), "read");
                return Ok(());
            }
        };
        let snapshot = Snapshot::new(desc, contents, table.key_size(), table.value_size(), table.copies());
        // A histogram that was never filled has no lines, not even its name.
        let no_buckets = matches!(
            desc.value,
            Some(ValueType::Aggregate(
                Aggregate::Hist { .. } | Aggregate::LinearHist { .. } | Aggregate::Series { .. }
            ))
        );
        if desc.role == MapRole::Scalar && no_buckets && snapshot.is_empty() {
            return Ok(());
        }
        self.sink.map(&snapshot.view(self.ctx, desc, cut, style))
    }

    /// What ends every output: two empty lines, then all maps that hold something, by name, unless the script wants none.
    /// `stop` is asked between them.
    pub fn print_final_maps(&mut self, stop: &mut dyn FnMut() -> bool) -> io::Result<()> {
        self.sink.begin_final_maps()?;
        if !self.manifest.config.print_maps_on_exit {
            return Ok(());
        }
        let mut maps: Vec<_> = self
            .manifest
            .maps
            .iter()
            .zip(self.tables)
            .filter(|(desc, _)| matches!(desc.role, MapRole::Keyed | MapRole::Scalar))
            .collect();
        maps.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        for (desc, table) in maps {
            if stop() {
                break;
            }
            let Some(table) = table else { continue };
            let Ok(contents) = table.read_all() else { continue };
            let snapshot = Snapshot::new(desc, contents, table.key_size(), table.value_size(), table.copies());
            // The sink knows which empty maps it shows.
            if desc.role == MapRole::Keyed || !snapshot.is_empty() {
                self.sink.map(&snapshot.view(self.ctx, desc, (0, 0), &PrintStyle::default()))?;
            }
        }
        Ok(())
    }

    /// The file whose path is in the buffer.
    fn cat(&mut self) -> io::Result<()> {
        let path = String::from_utf8_lossy(&self.buffer).into_owned();
        let limit = self.manifest.config.max_cat_bytes;
        let mut text = Vec::new();
        match File::open(&path).and_then(|file| file.take(limit).read_to_end(&mut text)) {
            Ok(_) => self.sink.text(TextKind::Cat, &text),
            Err(e) => {
                self.sink.flush()?;
                let reason = crate::errno::error_text(e.raw_os_error().unwrap_or(libc::EIO));
                eprintln!("ERROR: failed to open file '{path}' ({reason})");
                Ok(())
            }
        }
    }

    /// The shell command in the buffer.
    fn system(&mut self) -> io::Result<()> {
        use std::os::unix::ffi::OsStrExt;
        self.sink.flush()?;
        let command = std::ffi::OsStr::from_bytes(&self.buffer);
        match Command::new("/bin/sh").arg("-c").arg(command).stdin(Stdio::null()).stderr(Stdio::inherit()).output() {
            Ok(output) => {
                self.sink.text(TextKind::System, &output.stdout)?;
                if let Some(status) = output.status.code().filter(|status| *status != 0) {
                    self.sink.flush()?;
                    eprintln!("ERROR: command exited with code {status}");
                }
                Ok(())
            }
            Err(e) => {
                eprintln!("ERROR: cannot run /bin/sh: {}", describe(&e));
                Ok(())
            }
        }
    }
}

fn status_of(ctx: &Context, action: &Action, record: &[u8]) -> i32 {
    let mut args = Vec::new();
    decode_record(ctx, &action.record, record, &mut args);
    args.first().map_or(0, |status| status.bits() as i32)
}

/// A map operation that failed is said, not fatal: the script goes on.
fn report(result: io::Result<()>, action: &str) {
    if let Err(e) = result {
        eprintln!("WARNING: cannot {action} a map: {}", describe(&e));
    }
}
