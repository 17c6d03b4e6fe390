//! The script's output: one trait, one implementation per form. No decoding and no reading of maps here.

pub mod capture;
pub mod histogram;
pub mod json;
pub mod series;
#[cfg(test)]
mod tests;
pub mod text;
pub mod trials;

use std::io;

use self::text::TextSink;
use self::trials::Trial;
use crate::events::value::Value;
use crate::maps::view::MapView;

/// Output whose form is a text of the script's own making.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextKind {
    /// `printf`.
    Printf,
    /// `time`.
    Time,
    /// `cat`.
    Cat,
    /// `join`.
    Join,
    /// Output of `system`.
    System,
}

/// How serious a message of the script is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `ERROR`, `WARNING`, `DEBUG`.
    pub level: &'a str,
    /// `file:line:col`.
    pub position: &'a str,
    /// What it says.
    pub text: &'a [u8],
}

/// Something went wrong at run time in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning<'a> {
    /// What.
    pub text: String,
    /// The helper that failed and what it returned.
    pub helper: Option<(&'a str, i32)>,
    /// `file:line:col`, or empty.
    pub position: &'a str,
}

/// `file:line:col` taken apart; a range of columns gives its first.
pub(crate) fn split_position(position: &str) -> (&str, u32, u32) {
    let first = |range: &str| range.split('-').next().and_then(|n| n.parse::<u32>().ok());
    let Some((head, last)) = position.rsplit_once(':') else { return (position, 0, 0) };
    match head.rsplit_once(':') {
        Some((file, line)) if first(line).is_some() => (file, first(line).unwrap_or(0), first(last).unwrap_or(0)),
        // Over several lines: no column.
        _ => (head, first(last).unwrap_or(0), 0),
    }
}

/// Where the script's output goes. Errors are those of the descriptor behind it; `BrokenPipe` means that the reader has
/// gone, which ends the session quietly.
pub trait Sink {
    /// All probes are attached.
    fn attached(&mut self, probes: usize) -> io::Result<()>;
    /// A text.
    fn text(&mut self, kind: TextKind, text: &[u8]) -> io::Result<()>;
    /// `print(value)`.
    fn value(&mut self, value: &Value<'_>) -> io::Result<()>;
    /// A whole map.
    fn map(&mut self, map: &MapView<'_>) -> io::Result<()>;
    /// Before the maps at exit.
    fn begin_final_maps(&mut self) -> io::Result<()>;
    /// A message of the script.
    fn message(&mut self, message: &Message<'_>) -> io::Result<()>;
    /// A warning about what happened in the kernel.
    fn warning(&mut self, warning: &Warning<'_>) -> io::Result<()>;
    /// Events that did not reach us.
    fn lost(&mut self, events: u64) -> io::Result<()>;
    /// About a test or a measurement.
    fn trial(&mut self, trial: &Trial<'_>) -> io::Result<()>;
    /// Everything written so far must be seen now.
    fn flush(&mut self) -> io::Result<()>;
}
