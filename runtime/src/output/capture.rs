//! Output that is kept back: of tests, which show it only when they fail. It has the text form, messages and warnings in line.

use std::io;

use super::trials::Trial;
use super::{Message, Sink, TextKind, TextSink, Warning};
use crate::events::text::put;
use crate::events::value::Value;
use crate::maps::view::MapView;

/// The text so far.
#[derive(Default)]
pub struct Capture {
    text: TextSink<Vec<u8>>,
    /// Errors of the script, warnings about what happened in the kernel, and losses.
    pub errors: u64,
}

impl Capture {
    /// The text.
    pub fn take(&mut self) -> Vec<u8> {
        self.text.take()
    }
}

impl Sink for Capture {
    fn attached(&mut self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn text(&mut self, kind: TextKind, text: &[u8]) -> io::Result<()> {
        self.text.text(kind, text)
    }

    fn value(&mut self, value: &Value<'_>) -> io::Result<()> {
        self.text.value(value)
    }

    fn map(&mut self, map: &MapView<'_>) -> io::Result<()> {
        self.text.map(map)
    }

    fn begin_final_maps(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn message(&mut self, message: &Message<'_>) -> io::Result<()> {
        self.errors += u64::from(message.level == "ERROR");
        self.text.write(|out| {
            put!(out, "{}: {}: {}\n", message.position, message.level, String::from_utf8_lossy(message.text));
        })
    }

    fn warning(&mut self, warning: &Warning<'_>) -> io::Result<()> {
        self.errors += 1;
        self.text.write(|out| put!(out, "{}: WARNING: {}\n", warning.position, warning.text))
    }

    fn lost(&mut self, events: u64) -> io::Result<()> {
        self.errors += 1;
        self.text.write(|out| put!(out, "Lost {events} events\n"))
    }

    fn trial(&mut self, _: &Trial<'_>) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
