//! [`Diagnostic`] to text: severity and code, `file:line:column`, the source line with the place underlined and labelled, then notes and
//! help. The only place that formats a diagnostic; nothing is printed here.
//!
//! Script text is untrusted and ends on a terminal: control characters, escape sequences and bidirectional overrides are replaced, and
//! byte offsets stay what they were. Lines and numbers of messages without end are cut: a script may have been written by a program.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use codespan_reporting::diagnostic::{Diagnostic as Report, Label, Severity as Level};
use codespan_reporting::files::{Error as FilesError, Files};
use codespan_reporting::term::{self, Config, Styles, StylesWriter, termcolor};
use tapline_grammar::span::Span;

use crate::diagnostic::{Diagnostic, Severity};
use crate::source::SourceMap;

/// Whether the text carries terminal colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    #[default]
    Never,
    /// ANSI escape sequences.
    Ansi,
}

/// A longer line is shown around what the message is about.
const LONGEST_LINE: usize = 400;
const AROUND: usize = 80;

/// Of each severity, as many are shown.
const MOST_SHOWN: usize = 20;

/// One diagnostic as text, with a newline at the end.
pub fn render(diagnostic: &Diagnostic, sources: &SourceMap, colour: Colour) -> String {
    let config = Config { tab_width: 8, ..Config::default() };
    let (report, excerpts) = report(diagnostic, sources);
    let files = Shown { sources, excerpts };
    let rendered = match colour {
        Colour::Never => term::emit_into_string(&config, &files, &report).ok(),
        Colour::Ansi => {
            let styles = Styles::default();
            let mut buffer = termcolor::Ansi::new(Vec::new());
            let written =
                term::emit_to_write_style(&mut StylesWriter::new(&mut buffer, &styles), &config, &files, &report);
            written.ok().map(|()| String::from_utf8_lossy(&buffer.into_inner()).into_owned())
        }
    };
    // The library fails on files that it cannot find only; the message itself must reach the user all the same.
    let text = rendered.unwrap_or_else(|| format!("{}: {}\n", level_name(diagnostic.severity), report.message));
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    format!("{}\n", lines.join("\n").trim_end())
}

/// Several diagnostics, in order, with an empty line between them. A diagnostic that was reported twice is shown once; the last line counts those
/// that are too many to show.
pub fn render_all<'d>(
    diagnostics: impl IntoIterator<Item = &'d Diagnostic>,
    sources: &SourceMap,
    colour: Colour,
) -> String {
    let mut seen: HashSet<&Diagnostic> = HashSet::new();
    let mut counts: BTreeMap<Severity, usize> = BTreeMap::new();
    let mut shown = Vec::new();
    for d in diagnostics {
        if seen.insert(d) {
            let count = counts.entry(d.severity).or_default();
            *count += 1;
            if *count <= MOST_SHOWN {
                shown.push(render(d, sources, colour));
            }
        }
    }
    for (severity, count) in counts {
        if let more @ 1.. = count.saturating_sub(MOST_SHOWN) {
            let plural = if more == 1 { "" } else { "s" };
            shown.push(format!("{} more {}{plural}\n", more, level_name(severity)));
        }
    }
    shown.join("\n")
}

fn level_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
        Severity::Internal => "bug",
    }
}

fn report(d: &Diagnostic, sources: &SourceMap) -> (Report<usize>, Vec<Excerpt>) {
    let level = match d.severity {
        Severity::Note => Level::Note,
        Severity::Warning => Level::Warning,
        Severity::Error => Level::Error,
        Severity::Internal => Level::Bug,
    };
    let mut labels = Vec::new();
    let mut excerpts = Vec::new();
    let mut place = |span: Span, text: &str, primary: bool| {
        if let Some((file, range)) = byte_range(span, sources, &mut excerpts) {
            let label = if primary { Label::primary(file, range) } else { Label::secondary(file, range) };
            labels.push(label.with_message(sanitise(text)));
        }
    };
    if let Some(span) = d.span {
        place(span, &d.label, true);
    }
    for (span, text) in &d.labels {
        place(*span, text, false);
    }
    let mut notes: Vec<String> = Vec::new();
    notes.extend(d.notes.iter().map(|n| tagged("note", n)));
    notes.extend(d.help.iter().map(|h| tagged("help", h)));
    if d.severity == Severity::Internal {
        notes.push(tagged("note", "this is a bug of tapline, not of the script: please report it with the script"));
    }
    let report = Report::new(level).with_code(d.code).with_message(sanitise(&d.message));
    (report.with_labels(labels).with_notes(notes), excerpts)
}

/// The part of a long line that is shown, as bytes of its file.
struct Excerpt {
    file: usize,
    line: usize,
    range: Range<usize>,
}

/// `tag: text`, with further lines indented below the text.
fn tagged(tag: &str, text: &str) -> String {
    let text = text.lines().map(sanitise).collect::<Vec<_>>().join(&format!("\n{:1$}", "", tag.len() + 2));
    format!("{tag}: {text}")
}

/// The bytes that a span covers, clamped to its file and to character boundaries; `None` when they lie outside of what is shown. A span over
/// several lines is cut at the end of its first one: a probe's whole body under an underline hides the message.
fn byte_range(span: Span, sources: &SourceMap, excerpts: &mut Vec<Excerpt>) -> Option<(usize, Range<usize>)> {
    let file = sources.file(span.file)?;
    let id = span.file.0 as usize;
    let start = file.floor(span.start as usize);
    let line = file.line_index(start);
    let whole = file.line_range(line)?;
    let mut end_of_line = whole.start + file.text().get(whole.clone())?.trim_end().len();
    if whole.len() > LONGEST_LINE {
        // The first place that a message names on a line decides.
        let known = excerpts.iter().find(|e| (e.file, e.line) == (id, line)).map(|e| e.range.clone());
        let range = known.unwrap_or_else(|| {
            let from = file.floor(start.saturating_sub(AROUND).max(whole.start));
            let range = from..file.floor((from + LONGEST_LINE).min(whole.end));
            excerpts.push(Excerpt { file: id, line, range: range.clone() });
            range
        });
        if !range.contains(&start) && start != range.end {
            return None;
        }
        end_of_line = end_of_line.min(range.end);
    }
    let end = file.floor((span.end as usize).min(end_of_line.max(start)).max(start));
    Some((id, start..end))
}

/// Text in which every character that could move the cursor, change colours or reorder the line is replaced by one of the same
/// length in bytes, so that offsets hold. Newline and tab stay.
pub fn sanitise(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let replacement = match c {
                '\n' | '\t' => c,
                '\r' => ' ',
                // Zero width and direction characters, three bytes each, as is U+FFFD.
                '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => '\u{fffd}',
                // C1 controls are two bytes, as is the middle dot.
                c if c.is_control() && c.len_utf8() == 2 => '\u{b7}',
                c if c.is_control() => '?',
                c => c,
            };
            std::iter::once(replacement)
        })
        .collect()
}

/// The files as the renderer sees them.
struct Shown<'a> {
    sources: &'a SourceMap,
    excerpts: Vec<Excerpt>,
}

impl Shown<'_> {
    fn get(&self, id: usize) -> Result<&crate::source::SourceFile, FilesError> {
        let id = u16::try_from(id).map_err(|_| FilesError::FileMissing)?;
        self.sources.file(tapline_grammar::span::FileId(id)).ok_or(FilesError::FileMissing)
    }
}

impl<'a> Files<'a> for Shown<'_> {
    type FileId = usize;
    type Name = String;
    type Source = &'a str;

    fn name(&'a self, id: usize) -> Result<String, FilesError> {
        Ok(sanitise(self.get(id)?.name()))
    }
    fn source(&'a self, id: usize) -> Result<&'a str, FilesError> {
        Ok(self.get(id)?.shown())
    }
    fn line_index(&'a self, id: usize, byte_index: usize) -> Result<usize, FilesError> {
        Ok(self.get(id)?.line_index(byte_index))
    }
    fn line_range(&'a self, id: usize, line_index: usize) -> Result<Range<usize>, FilesError> {
        let file = self.get(id)?;
        let excerpt = self.excerpts.iter().find(|e| (e.file, e.line) == (id, line_index));
        let range = excerpt.map(|e| e.range.clone()).or_else(|| file.line_range(line_index));
        range.ok_or(FilesError::LineTooLarge { given: line_index, max: usize::MAX })
    }
    fn column_number(&'a self, id: usize, line_index: usize, byte_index: usize) -> Result<usize, FilesError> {
        let file = self.get(id)?;
        let line = file.line_range(line_index).unwrap_or_default();
        let before = line.start..file.floor(byte_index);
        Ok(file.text().get(before).map_or(0, |text| text.chars().count()) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapline_grammar::span::FileId;

    fn span(start: u32, end: u32) -> Span {
        Span::new(FileId(0), start, end)
    }

    #[test]
    fn shape_of_an_error() {
        let text = "BEGIN { @x = 1; }\nEND { @x = \"a\"; }\n";
        let sources = SourceMap::with_file("stdin", text);
        let d = Diagnostic::error("map-type", "`@x` cannot hold a string", span(29, 32))
            .label("this is a string")
            .also(span(8, 14), "first used as an integer here")
            .note("a map has one value type over the whole script")
            .help("use another map");
        insta::assert_snapshot!(render(&d, &sources, Colour::Never), @r#"
        error[map-type]: `@x` cannot hold a string
          ┌─ stdin:2:12
          │
        1 │ BEGIN { @x = 1; }
          │         ------ first used as an integer here
        2 │ END { @x = "a"; }
          │            ^^^ this is a string
          │
          = note: a map has one value type over the whole script
          = help: use another map
        "#);
    }

    #[test]
    fn without_a_place() {
        let d = Diagnostic::error("privilege", "tracing needs CAP_BPF", None).help("run it as root");
        insta::assert_snapshot!(render(&d, &SourceMap::new(), Colour::Never), @r"
        error[privilege]: tracing needs CAP_BPF
         = help: run it as root
        ");
    }

    #[test]
    fn hostile_text_is_defused_and_offsets_hold() {
        let text = "a\u{1b}[31m\u{202e}b é oops\u{9b}2J\r\n";
        assert_eq!(sanitise(text).len(), text.len());
        let sources = SourceMap::with_file("x\u{7}y", text);
        let at = text.find("oops").map_or(0, |p| p as u32);
        let d = Diagnostic::error("c", "bad \u{1b}]0;title\u{7} name", span(at, at + 4));
        let shown = render(&d, &sources, Colour::Never);
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}', '\u{9b}', '\r']), "{shown:?}");
        insta::assert_snapshot!(shown, @r"
        error[c]: bad ?]0;title? name
          ┌─ x?y:1:12
          │
        1 │ a?[31m�b é oops·2J
          │            ^^^^
        ");
    }

    #[test]
    fn a_span_outside_its_file_does_not_panic() {
        let sources = SourceMap::with_file("s", "é");
        for (a, b) in [(0, 1), (1, 1), (1, 900), (900, 2), (u32::MAX, u32::MAX)] {
            let shown = render(&Diagnostic::error("c", "m", span(a, b)), &sources, Colour::Never);
            assert!(shown.starts_with("error[c]: m\n"), "{shown}");
        }
        let other = Diagnostic::error("c", "m", Span::new(FileId(9), 0, 1));
        assert_eq!(render(&other, &sources, Colour::Never), "error[c]: m\n");
    }

    #[test]
    fn colours_only_when_asked_for() {
        let sources = SourceMap::with_file("s", "abc");
        let d = Diagnostic::warning("c", "m", span(0, 1));
        assert!(render(&d, &sources, Colour::Ansi).contains("\u{1b}["));
        assert!(!render(&d, &sources, Colour::Never).contains('\u{1b}'));
    }

    #[test]
    fn the_same_message_is_shown_once() {
        let d = Diagnostic::warning("c", "m", None);
        assert_eq!(render_all([&d, &d], &SourceMap::new(), Colour::Never), "warning[c]: m\n");
    }

    #[test]
    fn what_has_no_end_is_cut() {
        let text = format!("{}here{}", "é ".repeat(500), " b".repeat(500));
        let sources = SourceMap::with_file("s", text);
        let at = 1500;
        let d = Diagnostic::error("c", "m", span(at, at + 4))
            .also(span(0, 2), "far away")
            .also(span(at + 5, at + 6), "near");
        let shown = render(&d, &sources, Colour::Never);
        assert!(shown.starts_with("error[c]: m\n  ┌─ s:1:1001\n"), "{shown}");
        assert!(shown.contains("^^^^ - near") && !shown.contains("far away"), "{shown}");
        assert!(shown.chars().count() < 3 * LONGEST_LINE, "{shown}");

        let many: Vec<_> = (0..25).map(|n| Diagnostic::error("c", format!("m{n}"), None)).collect();
        let shown = render_all(&many, &sources, Colour::Never);
        assert!(shown.ends_with("error[c]: m19\n\n5 more errors\n"), "{shown}");
    }
}
