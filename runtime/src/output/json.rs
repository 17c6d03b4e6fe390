//! JSON lines, equal to the reference's but for two of its defects: strings here are valid JSON whatever their bytes, and map
//! keys keep the blanks of their strings.

use std::io::{self, Write};

use crate::events::context::format_time;
use crate::events::text::{put, write_value};
use crate::events::value::{Histogram, Series, Value};
use crate::maps::view::{MapKind, MapView, percentiles};

use super::trials::{self, Trial};
use super::{Message, Sink, TextKind, Warning, histogram, series, split_position};

/// Readers of JSON keep numbers as doubles: an integer that needs more bits than those have becomes a string.
const DOUBLE_BITS: u32 = 53;

/// Writes one JSON object per line.
pub struct JsonSink<W> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> JsonSink<W> {
    /// Onto this writer, which does the buffering.
    pub fn new(out: W) -> Self {
        Self { out, buffer: Vec::new() }
    }

    fn line(&mut self, kind: &str, build: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        self.buffer.clear();
        put!(&mut self.buffer, "{{\"type\": \"{kind}\", ");
        build(&mut self.buffer);
        self.buffer.extend_from_slice(b"}\n");
        self.out.write_all(&self.buffer)
    }

    fn data(&mut self, kind: &str, build: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        self.line(kind, |out| {
            out.extend_from_slice(b"\"data\": ");
            build(out);
        })
    }
}

/// Appends a JSON string.
pub(super) fn write_string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for c in String::from_utf8_lossy(bytes).chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            c if u32::from(c) < 0x20 => put!(out, "\\u{:04x}", u32::from(c)),
            c => put!(out, "{c}"),
        }
    }
    out.push(b'"');
}

fn write_number(n: i128, out: &mut Vec<u8>) {
    let magnitude = n.unsigned_abs();
    let significant = 128 - magnitude.leading_zeros().saturating_add(magnitude.trailing_zeros()).min(128);
    let exact = significant <= DOUBLE_BITS;
    if exact { put!(out, "{n}") } else { put!(out, "\"{n}\"") }
}

fn write_json(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Signed(n, _) | Value::Enum(n, _) => write_number(i128::from(*n), out),
        Value::Unsigned(n, _) | Value::Pointer(n) => write_number(i128::from(*n), out),
        Value::Fixed(fixed) => put!(out, "{fixed}"),
        Value::Bool(b) => put!(out, "{b}"),
        Value::Buf(bytes) => {
            // Bytes are signed there.
            out.push(b'[');
            for (i, b) in bytes.iter().enumerate() {
                put!(out, "{}{}", if i > 0 { "," } else { "" }, *b as i8);
            }
            out.push(b']');
        }
        Value::Tuple(items) | Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_json(item, out);
            }
            out.push(b']');
        }
        Value::Struct(members) => {
            out.push(b'{');
            for (i, (name, value)) in members.iter().enumerate() {
                if i > 0 {
                    out.extend_from_slice(b", ");
                }
                write_string(name.as_bytes(), out);
                out.extend_from_slice(b": ");
                write_json(value, out);
            }
            out.push(b'}');
        }
        Value::Average(mean) => write_json(&mean.average(), out),
        Value::Stats(mean) => {
            put!(out, "{{\"count\": {}, \"average\": ", mean.count);
            write_json(&mean.average(), out);
            out.extend_from_slice(b", \"total\": ");
            write_json(&mean.total(), out);
            out.push(b'}');
        }
        Value::Histogram(h) => write_histogram(h, 1, out),
        Value::Series(series) => write_series(series, out),
        Value::Str { .. } | Value::Strings(_) | Value::Text(_) | Value::Stack(_) => {
            let mut text = Vec::new();
            write_value(value, &mut text);
            write_string(&text, out);
        }
    }
}

fn write_histogram(histogram: &Histogram, div: u64, out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, (bounds, count)) in histogram::shown(histogram).enumerate() {
        out.extend_from_slice(if i > 0 { b",{" } else { b"{" });
        if let Some(low) = bounds.low {
            out.extend_from_slice(b"\"min\": ");
            write_number(low, out);
            out.extend_from_slice(b", ");
        }
        if let Some(high) = bounds.high {
            out.extend_from_slice(b"\"max\": ");
            write_number(high - 1, out);
            out.extend_from_slice(b", ");
        }
        put!(out, "\"count\": {}}}", count / div.max(1));
    }
    out.push(b']');
}

fn write_series(series: &Series, out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, (interval, value)) in series.points.iter().enumerate() {
        let start = format_time("%Y-%m-%d %H:%M:%S", series::start_ns(series, *interval));
        put!(
            out,
            "{}{{\"interval_start\":\"{start}.{:09}\",\"value\":",
            if i > 0 { "," } else { "" },
            series::fraction_ns(series, *interval)
        );
        // Numbers all of them, as the reference writes them here.
        write_value(value, out);
        out.push(b'}');
    }
    out.push(b']');
}

/// A key in one word: no blanks between its parts.
fn write_key(key: &Value<'_>, nested: bool, out: &mut Vec<u8>) {
    let list = |items: &[Value<'_>], out: &mut Vec<u8>| {
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            write_key(item, true, out);
        }
    };
    match key {
        Value::Tuple(items) if nested => {
            out.push(b'(');
            list(items, out);
            out.push(b')');
        }
        Value::Tuple(items) => list(items, out),
        Value::Array(items) => {
            out.push(b'[');
            list(items, out);
            out.push(b']');
        }
        Value::Struct(members) => {
            out.push(b'{');
            for (i, (name, value)) in members.iter().enumerate() {
                put!(out, "{}.{name}=", if i > 0 { "," } else { "" });
                write_key(value, true, out);
            }
            out.push(b'}');
        }
        Value::Stack(text) => {
            for line in text.split_inclusive('\n') {
                out.extend_from_slice(line.trim_start_matches(' ').as_bytes());
            }
        }
        other => write_value(other, out),
    }
}

fn write_position(position: &str, out: &mut Vec<u8>) {
    let (file, line, column) = split_position(position);
    out.extend_from_slice(b", \"filename\": ");
    write_string(file.as_bytes(), out);
    put!(out, ", \"line\": {line}, \"col\": {column}");
}

impl<W: Write> Sink for JsonSink<W> {
    fn attached(&mut self, probes: usize) -> io::Result<()> {
        self.line("attached_probes", |out| put!(out, "\"count\": {probes}, \"data\": {{\"probes\": {probes}}}"))?;
        self.out.flush()
    }

    fn text(&mut self, kind: TextKind, text: &[u8]) -> io::Result<()> {
        let name = match kind {
            TextKind::Printf => "printf",
            TextKind::Time => "time",
            TextKind::Cat => "cat",
            TextKind::Join => "join",
            TextKind::System => "syscall",
        };
        // The newline that ends a joined line is no part of the data.
        let text = if kind == TextKind::Join { text.strip_suffix(b"\n").unwrap_or(text) } else { text };
        self.data(name, |out| write_string(text, out))
    }

    fn value(&mut self, value: &Value<'_>) -> io::Result<()> {
        self.data("value", |out| write_json(value, out))
    }

    fn map(&mut self, map: &MapView<'_>) -> io::Result<()> {
        let kind = match map.kind {
            MapKind::Plain => "map",
            MapKind::Stats => "stats",
            MapKind::Histogram => "hist",
            MapKind::Series => "tseries",
        };
        if map.entries.is_empty() && map.kind != MapKind::Stats {
            return Ok(());
        }
        self.data(kind, |out| {
            out.push(b'{');
            write_string(format!("@{}", map.name).as_bytes(), out);
            out.extend_from_slice(b": ");
            let value = |value: &Value<'_>, out: &mut Vec<u8>| match value {
                Value::Histogram(h) if map.percentiles.is_empty() => write_histogram(h, map.div, out),
                Value::Histogram(h) => {
                    out.extend_from_slice(b"{\"buckets\": ");
                    write_histogram(h, map.div, out);
                    for (name, value) in percentiles(h, map.percentiles) {
                        put!(out, ", \"{name}\": ");
                        write_json(&value, out);
                    }
                    out.push(b'}');
                }
                other => write_json(other, out),
            };
            match map.entries.as_slice() {
                [(None, only)] => value(only, out),
                entries => {
                    out.push(b'{');
                    for (i, (key, item)) in entries.iter().enumerate() {
                        if i > 0 {
                            out.extend_from_slice(b", ");
                        }
                        let mut text = Vec::new();
                        if let Some(key) = key {
                            write_key(key, false, &mut text);
                        }
                        write_string(&text, out);
                        out.extend_from_slice(b": ");
                        value(item, out);
                    }
                    out.push(b'}');
                }
            }
            out.push(b'}');
        })
    }

    fn begin_final_maps(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn message(&mut self, message: &Message<'_>) -> io::Result<()> {
        let kind = match message.level {
            "ERROR" => "errorf",
            "WARNING" => "warnf",
            _ => "debugf",
        };
        self.line(kind, |out| {
            out.extend_from_slice(b"\"msg\": ");
            write_string(message.text, out);
            write_position(message.position, out);
        })
    }

    fn warning(&mut self, warning: &Warning<'_>) -> io::Result<()> {
        let kind = if warning.helper.is_some() { "helper_error" } else { "runtime_error" };
        self.line(kind, |out| {
            out.extend_from_slice(b"\"msg\": ");
            match warning.helper {
                Some((helper, code)) => {
                    write_string(crate::errno::error_text(-code).as_bytes(), out);
                    out.extend_from_slice(b", \"helper\": ");
                    write_string(helper.as_bytes(), out);
                    put!(out, ", \"retcode\": {code}");
                }
                None => write_string(warning.text.as_bytes(), out),
            }
            write_position(warning.position, out);
        })
    }

    fn lost(&mut self, events: u64) -> io::Result<()> {
        self.data("lost_events", |out| put!(out, "{{\"events\": {events}}}"))
    }

    fn trial(&mut self, trial: &Trial<'_>) -> io::Result<()> {
        match trials::json(trial) {
            Some((kind, data)) => self.data(kind, |out| out.extend_from_slice(&data)),
            None => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
