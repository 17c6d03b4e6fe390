//! Attach points: the text between two actions, which has a lexical structure of its own.
//!
//! The rules:
//!
//! - An attach point runs up to white space, `,`, `{` or a predicate's slash. `:` separates its parts. Quotes hide every
//!   character and do not belong to the part's text; `[…]` hides `,` and `:` (character classes of wildcards).
//! - Attach points are separated by commas or by line breaks; `||` between two of them makes the second the alternative.
//! - `/` opens the predicate, except in what follows the provider of a probe that names a file
//!   ([`PATH_PROVIDERS`]): there it belongs to the path or name, so that a predicate needs a blank before it. Only
//!   when such a text plainly ends like a predicate (a slash before the brace, none after a blank) is it taken for one.
//! - Comments stand between attach points, after white space.

use crate::SyntaxError;
use crate::ast::{AttachPoint, Name};
use crate::span::{FileId, Span, Spanned};
use crate::stream::skip_blank;

/// Providers whose second part may hold slashes.
const PATH_PROVIDERS: &[&str] = &["uprobe", "u", "uretprobe", "ur", "usdt", "iter", "it"];

/// The head of a probe.
pub(crate) struct Header {
    /// `name=`.
    pub(crate) name: Option<Name>,
    /// In textual order.
    pub(crate) attach_points: Vec<AttachPoint>,
    /// Where scanning stopped: at `{`, at the slash of a predicate, at what cannot belong to a header, or at the end.
    pub(crate) end: usize,
}

/// Scans the head of a probe that starts at `start`.
pub(crate) fn scan(
    text: &str,
    start: usize,
    file: FileId,
    errors: &mut Vec<SyntaxError>,
    comments: &mut Vec<Span>,
) -> Header {
    let mut header = Header { name: None, attach_points: Vec::new(), end: start };
    let mut pos = start;
    let mut separated = true;
    let mut alternative = false;
    loop {
        let from = pos;
        pos = skip_blank(text, pos, file, comments);
        let newline = text.get(from..pos).is_some_and(|blank| blank.contains('\n'));
        header.end = pos;
        let Some(c) = text.get(pos..).and_then(|rest| rest.chars().next()) else {
            break;
        };
        match c {
            '{' | '}' | ';' | ')' | '#' => break,
            '/' if !header.attach_points.is_empty() => break,
            ',' => {
                if separated {
                    let span = Span::new(file, pos as u32, pos as u32 + 1);
                    errors.push(SyntaxError::new("expected an attach point before this comma", span));
                }
                separated = true;
                pos += 1;
                continue;
            }
            '|' if text.get(pos..).is_some_and(|rest| rest.starts_with("||")) => {
                if separated {
                    let span = Span::new(file, pos as u32, pos as u32 + 2);
                    errors.push(SyntaxError::new("expected an attach point before `||`", span));
                }
                separated = true;
                alternative = true;
                pos += 2;
                continue;
            }
            _ => {}
        }
        if header.attach_points.is_empty()
            && header.name.is_none()
            && let Some((name, next)) = probe_name(text, pos, file)
        {
            header.name = Some(name);
            pos = next;
            continue;
        }
        if !separated && !newline {
            let span = Span::new(file, pos as u32, pos as u32 + c.len_utf8() as u32);
            errors.push(after_attach_point(&header.attach_points, span, text.get(pos..).unwrap_or_default()));
            break;
        }
        let (mut attach_point, next) = attach_point(text, pos, file, errors);
        attach_point.alternative = std::mem::take(&mut alternative);
        header.attach_points.push(attach_point);
        separated = false;
        if next == pos {
            break;
        }
        pos = next;
        header.end = pos;
    }
    header
}

/// The error for what follows an attach point on its line.
fn after_attach_point(before: &[AttachPoint], span: Span, rest: &str) -> SyntaxError {
    if let [only] = before
        && only.parts.len() == 1
        && !matches!(only.raw.to_ascii_lowercase().as_str(), "begin" | "end")
    {
        return SyntaxError::new(&format!("expected a probe, found `{}`", only.raw), only.span)
            .help("a probe is written `provider:what { action }`; statements stand inside its braces");
    }
    let word = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    if rest.get(word..).is_some_and(|r| r.starts_with('(')) || rest.starts_with(['$', '@']) {
        return SyntaxError::new("expected `{` before the action", span).help("the action of a probe stands in braces");
    }
    SyntaxError::new("expected `,`, `/` or `{` after the attach point", span)
        .help("attach points are separated by commas; put a name with blanks into double quotes")
}

/// `name=` before the first attach point.
fn probe_name(text: &str, pos: usize, file: FileId) -> Option<(Name, usize)> {
    let rest = text.get(pos..)?;
    let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
    let name = rest.get(..len)?;
    let after = rest.get(len..)?.trim_start_matches([' ', '\t']);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !after.starts_with('=') {
        return None;
    }
    let next = pos + rest.len() - after.len() + 1;
    Some((Spanned { node: name.to_owned(), span: Span::new(file, pos as u32, (pos + len) as u32) }, next))
}

fn attach_point(text: &str, start: usize, file: FileId, errors: &mut Vec<SyntaxError>) -> (AttachPoint, usize) {
    let mut parts: Vec<Spanned<String>> = Vec::new();
    let mut part = String::new();
    let mut part_start = start;
    let mut takes_slash = false;
    let mut pos = start;
    let rest_of = |pos: usize| text.get(pos..).unwrap_or_default();
    while let Some(c) = rest_of(pos).chars().next() {
        let width = c.len_utf8();
        match c {
            ':' => {
                if parts.is_empty() {
                    takes_slash = PATH_PROVIDERS.iter().any(|p| p.eq_ignore_ascii_case(&part))
                        || PATH_PROVIDERS.contains(&part.as_str());
                }
                let span = Span::new(file, part_start as u32, pos as u32);
                parts.push(Spanned { node: std::mem::take(&mut part), span });
                pos += 1;
                part_start = pos;
            }
            '"' => {
                let Some(len) = quoted_len(rest_of(pos)) else {
                    let line = rest_of(pos).find('\n').unwrap_or(rest_of(pos).len());
                    let span = Span::new(file, pos as u32, (pos + line) as u32);
                    errors.push(SyntaxError::new("this quote is never closed", span).help("add a closing `\"`"));
                    pos += line;
                    break;
                };
                let inner = rest_of(pos).get(1..len - 1).unwrap_or_default();
                part.push_str(&inner.replace("\\\"", "\""));
                pos += len;
            }
            '[' => {
                let rest = rest_of(pos);
                let close = rest.find(|c: char| c == ']' || c == '{' || c.is_whitespace());
                let len = close.filter(|at| rest.get(*at..).is_some_and(|r| r.starts_with(']'))).map_or(1, |at| at + 1);
                part.push_str(rest.get(..len).unwrap_or_default());
                pos += len;
            }
            ',' | '{' | '}' | ';' => break,
            '|' if rest_of(pos).starts_with("||") => break,
            '/' if !takes_slash || parts.is_empty() || (parts.len() >= 2 && is_predicate(rest_of(pos))) => {
                break;
            }
            _ if c.is_whitespace() => break,
            _ => {
                part.push(c);
                pos += width;
            }
        }
    }
    let span = Span::new(file, part_start as u32, pos as u32);
    parts.push(Spanned { node: part, span });
    let raw = text.get(start..pos).unwrap_or_default().to_owned();
    (AttachPoint { raw, parts, alternative: false, span: Span::new(file, start as u32, pos as u32) }, pos)
}

/// The length of a quoted text with its quotes; it ends on its line.
fn quoted_len(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' => return None,
            '"' if !escaped => return Some(at + 1),
            _ => escaped = c == '\\' && !escaped,
        }
    }
    None
}

/// Whether a text that starts with a slash, directly after a name, ends like a predicate.
fn is_predicate(text: &str) -> bool {
    let Some(head) = text.find('{').and_then(|brace| text.get(..brace)) else {
        return false;
    };
    let head = head.trim_end();
    head.len() > 1 && head.ends_with('/') && !head.contains(" /") && !head.contains("\n/")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of each attach point, the rest of the text, and the number of errors.
    fn parts(text: &str) -> (Vec<Vec<String>>, &str, usize) {
        let (mut errors, mut comments) = (Vec::new(), Vec::new());
        let header = scan(text, 0, FileId(0), &mut errors, &mut comments);
        let points = header.attach_points.into_iter();
        let parts = points.map(|a| a.parts.into_iter().map(|p| p.node).collect()).collect();
        (parts, text.get(header.end..).unwrap_or_default(), errors.len())
    }

    #[test]
    fn separators() {
        let (points, rest, errors) = parts("a:b,c:d , e\nf /* x */\n, // y\ng {");
        assert_eq!(points, [vec!["a", "b"], vec!["c", "d"], vec!["e"], vec!["f"], vec!["g"]]);
        assert_eq!((rest, errors), ("{", 0));
    }

    #[test]
    fn quotes_and_brackets_hide_separators() {
        assert_eq!(parts("u:/a:\"x, y:z{\"+4{").0, [["u", "/a", "x, y:z{+4"]]);
        assert_eq!(parts("k:a[b,c:d]e{").0, [["k", "a[b,c:d]e"]]);
        assert_eq!(parts("k:a[b {").0, [["k", "a[b"]]);
    }

    #[test]
    fn slashes() {
        let cases = [
            ("k:f/1/{", vec!["k", "f"], "/1/{"),
            ("k:f /1/{", vec!["k", "f"], "/1/{"),
            ("u:/bin/x:f /1/{", vec!["u", "/bin/x", "f"], "/1/{"),
            ("u:/bin/x:f/1/ {", vec!["u", "/bin/x", "f"], "/1/ {"),
            ("u:/bin/x:a/b.f {", vec!["u", "/bin/x", "a/b.f"], "{"),
            ("u:/bin/x:a/b.f /1/ {", vec!["u", "/bin/x", "a/b.f"], "/1/ {"),
            ("Uprobe:/bin//x:f{", vec!["Uprobe", "/bin//x", "f"], "{"),
            ("iter:task:/sys/fs/x {", vec!["iter", "task", "/sys/fs/x"], "{"),
        ];
        for (text, expected, rest) in cases {
            assert_eq!(parts(text), (vec![expected.into_iter().map(str::to_owned).collect()], rest, 0), "{text}");
        }
    }

    #[test]
    fn mistakes() {
        assert_eq!(parts("k:f k:g {").2, 1);
        assert_eq!(parts("k:f,,k:g {").2, 1);
        assert_eq!(parts("u:/a:\"x {\n").2, 1);
    }
}
