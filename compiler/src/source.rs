//! The files of a compilation: their text, and the way from a [`Span`] to `file:line:column`.
//!
//! A [`FileId`] is an index in the order of [`SourceMap::add`]; a span that points outside its file is clamped, never a panic.
//! No file is read here: the caller brings the text.

use std::sync::OnceLock;

use tapline_grammar::span::{FileId, Span};

/// A source file.
#[derive(Clone, Debug)]
pub struct SourceFile {
    name: String,
    text: String,
    /// Byte offsets at which lines start; the first is 0.
    line_starts: Vec<u32>,
    /// The text for a terminal, once it was needed.
    shown: OnceLock<String>,
}

/// A place for people: both numbers count from 1, the column in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Name of the file.
    pub file: String,
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl SourceFile {
    fn new(name: String, text: String) -> Self {
        let ends = text.bytes().enumerate().filter(|&(_, b)| b == b'\n').map(|(i, _)| i as u32 + 1);
        let line_starts = std::iter::once(0).chain(ends).collect();
        Self { name, text, line_starts, shown: OnceLock::new() }
    }
    /// As shown in messages.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }
    /// The whole text for a terminal, of the same length: see [`crate::render::sanitise`].
    pub fn shown(&self) -> &str {
        self.shown.get_or_init(|| crate::render::sanitise(&self.text))
    }
    /// Index from 0 of the line that holds a byte; the last line for a byte past the end.
    pub fn line_index(&self, byte: usize) -> usize {
        self.line_starts.partition_point(|&start| start as usize <= byte).saturating_sub(1)
    }
    /// Byte range of a line with its newline; `None` past the last line.
    pub fn line_range(&self, index: usize) -> Option<std::ops::Range<usize>> {
        let start = *self.line_starts.get(index)? as usize;
        let end = self.line_starts.get(index + 1).map_or(self.text.len(), |&e| e as usize);
        Some(start..end)
    }
    /// Text of a line without its newline.
    pub fn line(&self, index: usize) -> Option<&str> {
        self.text.get(self.line_range(index)?).map(|l| l.trim_end_matches(['\n', '\r']))
    }
    /// The line of a byte offset, from 0, and the column, in characters and from 1.
    pub fn place(&self, byte: usize) -> Option<(usize, u32)> {
        let byte = self.floor(byte);
        let line = self.line_index(byte);
        let start = self.line_range(line)?.start;
        Some((line, self.text.get(start..byte)?.chars().count() as u32 + 1))
    }
    /// The nearest character boundary at or before a byte offset, inside the text.
    pub fn floor(&self, byte: usize) -> usize {
        let mut at = byte.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}

/// All files of a compilation.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// Without files.
    pub fn new() -> Self {
        Self::default()
    }
    /// With one file, whose id is 0.
    pub fn with_file(name: impl Into<String>, text: impl Into<String>) -> Self {
        let mut map = Self::new();
        map.add(name, text);
        map
    }
    /// Adds a file. A compilation has at most 65536 of them; further ones share the last id.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> FileId {
        let id = u16::try_from(self.files.len()).unwrap_or(u16::MAX);
        self.files.push(SourceFile::new(name.into(), text.into()));
        FileId(id)
    }
    /// The id that the next [`SourceMap::add`] returns.
    pub fn next_id(&self) -> FileId {
        FileId(u16::try_from(self.files.len()).unwrap_or(u16::MAX))
    }
    /// A file.
    pub fn file(&self, id: FileId) -> Option<&SourceFile> {
        self.files.get(id.0 as usize)
    }
    /// Where a span begins.
    pub fn location(&self, span: Span) -> Option<Location> {
        let file = self.file(span.file)?;
        let (line, column) = file.place(span.start as usize)?;
        Some(Location { file: file.name.clone(), line: line as u32 + 1, column })
    }
    /// `file:line:column` of a span's beginning; empty for a file that is not in the map.
    pub fn position(&self, span: Span) -> String {
        self.location(span).map_or_else(String::new, |l| l.to_string())
    }
    /// All of a span, for messages of a running script: `file:line:column-column`, or `file:line-line` over several lines. The last
    /// column is the one behind it.
    pub fn extent(&self, span: Span) -> String {
        let end = Span::new(span.file, span.end, span.end);
        match (self.location(span), self.location(end)) {
            (Some(a), Some(b)) if a.line == b.line => format!("{a}-{}", b.column),
            (Some(a), Some(b)) => format!("{}:{}-{}", a.file, a.line, b.line),
            _ => String::new(),
        }
    }
    /// The text that a span covers; empty for a file that is not in the map.
    pub fn text(&self, span: Span) -> &str {
        self.file(span.file).map_or("", |f| {
            let start = f.floor(span.start as usize);
            let end = f.floor(span.end as usize).max(start);
            f.text.get(start..end).unwrap_or("")
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn span(start: u32, end: u32) -> Span {
        Span::new(FileId(0), start, end)
    }

    #[test]
    fn locations_count_from_one_in_characters() {
        let map = SourceMap::with_file("a.bt", "ab\ncdé f\n");
        let at = |b| map.position(span(b, b));
        assert_eq!(at(0), "a.bt:1:1");
        assert_eq!(at(2), "a.bt:1:3");
        assert_eq!(at(3), "a.bt:2:1");
        assert_eq!(at(7), "a.bt:2:4", "é is one column although two bytes");
        assert_eq!(at(6), "a.bt:2:3", "inside a character: its beginning");
        assert_eq!(at(9999), "a.bt:3:1");
        assert_eq!(map.position(Span::new(FileId(4), 0, 0)), "");
    }

    #[test]
    fn extents_name_columns_or_lines() {
        let map = SourceMap::with_file("a.bt", "ab\ncd f\n");
        assert_eq!(map.extent(span(3, 5)), "a.bt:2:1-3");
        assert_eq!(map.extent(span(1, 5)), "a.bt:1-2");
        assert_eq!(map.extent(Span::new(FileId(4), 0, 0)), "");
    }

    #[test]
    fn text_of_spans_is_clamped() {
        let map = SourceMap::with_file("a.bt", "héllo");
        assert_eq!(map.text(span(0, 3)), "hé");
        assert_eq!(map.text(span(0, 2)), "h");
        assert_eq!(map.text(span(4, 2)), "");
        assert_eq!(map.text(span(3, 99)), "llo");
        let file = map.file(FileId(0)).unwrap();
        assert_eq!(file.line(0), Some("héllo"));
        assert_eq!(file.line(1), None);
    }
}
