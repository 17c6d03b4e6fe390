//! The text form, equal to the reference's.

use std::io::{self, Write};

use crate::events::text::{put, write_list, write_value};
use crate::events::value::{Histogram, Value};
use crate::maps::view::{MapView, percentiles};

use super::trials::{self, Trial};
use super::{Message, Sink, TextKind, Warning, histogram, series};

/// Writes text to `out` and what is not the script's output to standard error.
#[derive(Default)]
pub struct TextSink<W> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> TextSink<W> {
    /// Onto this writer, which does the buffering.
    pub fn new(out: W) -> Self {
        Self { out, buffer: Vec::new() }
    }

    /// The writer, with a fresh one in its place.
    pub(super) fn take(&mut self) -> W
    where
        W: Default,
    {
        std::mem::take(&mut self.out)
    }

    pub(super) fn write(&mut self, build: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        self.buffer.clear();
        build(&mut self.buffer);
        self.out.write_all(&self.buffer)
    }
}

/// Appends `@name` or `@name[key]`.
fn write_name(name: &str, key: Option<&Value<'_>>, out: &mut Vec<u8>) {
    put!(out, "@{name}");
    match key {
        None => {}
        Some(Value::Tuple(parts)) => {
            out.push(b'[');
            write_list(parts, b", ", out);
            out.push(b']');
        }
        Some(key) => {
            out.push(b'[');
            write_value(key, out);
            out.push(b']');
        }
    }
}

/// Appends a line below a histogram, if percentiles are wanted.
fn write_percentiles(histogram: &Histogram, wanted: &[(u32, String)], out: &mut Vec<u8>) {
    for (i, (name, value)) in percentiles(histogram, wanted).enumerate() {
        put!(out, "{}{name} ", if i > 0 { ", " } else { "" });
        write_value(&value, out);
    }
    if !wanted.is_empty() {
        out.push(b'\n');
    }
}

impl<W: Write> Sink for TextSink<W> {
    fn attached(&mut self, probes: usize) -> io::Result<()> {
        self.out.flush()?;
        eprintln!("Attached {probes} probe{}", if probes == 1 { "" } else { "s" });
        Ok(())
    }

    fn text(&mut self, _: TextKind, text: &[u8]) -> io::Result<()> {
        self.out.write_all(text)
    }

    fn value(&mut self, value: &Value<'_>) -> io::Result<()> {
        self.write(|out| {
            write_value(value, out);
            out.push(b'\n');
        })
    }

    fn map(&mut self, map: &MapView<'_>) -> io::Result<()> {
        self.write(|out| {
            for (key, value) in &map.entries {
                write_name(map.name, key.as_ref(), out);
                match value {
                    Value::Histogram(h) => {
                        out.extend_from_slice(b":\n");
                        histogram::write_text(h, map.div, out);
                        write_percentiles(h, map.percentiles, out);
                    }
                    Value::Series(series) => {
                        out.extend_from_slice(b":\n");
                        series::write_text(series, out);
                    }
                    value => {
                        out.extend_from_slice(b": ");
                        write_value(value, out);
                    }
                }
                out.push(b'\n');
            }
        })
    }

    fn begin_final_maps(&mut self) -> io::Result<()> {
        self.out.write_all(b"\n\n")
    }

    fn message(&mut self, message: &Message<'_>) -> io::Result<()> {
        self.out.flush()?;
        let text = String::from_utf8_lossy(message.text);
        eprintln!("{}: {}: {text}", message.position, message.level);
        Ok(())
    }

    fn warning(&mut self, warning: &Warning<'_>) -> io::Result<()> {
        self.out.flush()?;
        let place = if warning.position.is_empty() { String::new() } else { format!("{}: ", warning.position) };
        eprintln!("{place}WARNING: {}", warning.text);
        if let Some((helper, code)) = warning.helper {
            eprintln!("Additional Info - helper: {helper}, retcode: {code}");
        }
        Ok(())
    }

    fn lost(&mut self, events: u64) -> io::Result<()> {
        self.out.flush()?;
        eprintln!("Lost {events} events");
        Ok(())
    }

    fn trial(&mut self, trial: &Trial<'_>) -> io::Result<()> {
        self.write(|out| trials::write_text(trial, out))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
