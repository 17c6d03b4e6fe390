//! The small preprocessor: directives and conditions.
//!
//! `#include` reads what the caller's [`Headers`] have, and is noted otherwise. Macros are kept for the compiler, and used
//! here for conditions and for C declarations only. A line belongs to a directive as far as backslashes at its end and
//! comments reach.
//!
//! Invariant: a branch that is not taken is never looked at, except for the directives that end it.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::ast::{Item, Name};
use crate::c_ast::{CItem, CItemKind};
use crate::c_constant::Macros;
use crate::c_tokens::Declarations;
use crate::lexer::Tok;
use crate::span::{FileId, Span, Spanned};
use crate::stream::{self, Notes, Until};
use crate::{Header, Headers, ParseOptions, SyntaxError, parser};

/// Conditions may be nested this deep.
const MAX_CONDITIONS: usize = 64;
/// Headers may include each other this deep.
const MAX_INCLUDES: u32 = 32;

/// A macro by its replacement text.
#[derive(Clone, Debug)]
pub(crate) struct MacroText {
    /// Parameters of a function-like macro.
    pub(crate) params: Option<Vec<String>>,
    /// What it stands for.
    pub(crate) body: String,
}

/// An `#if` that is not ended yet.
struct Condition {
    /// The directive.
    span: Span,
    /// A branch was taken already.
    taken: bool,
    /// `#else` was seen.
    otherwise: bool,
}

/// Headers are read so often, and so much of them: without an end to it, one that includes itself twice doubles with every level.
const MAX_READS: usize = 4000;
const MAX_BYTES: usize = 32 << 20;

/// What the files of one compilation share: the macros defined so far, and the headers that are read only once.
#[derive(Clone, Debug, Default)]
pub struct Preamble {
    macros: HashMap<String, MacroText>,
    once: HashSet<FileId>,
    /// Headers read so far, and their bytes.
    reads: usize,
    bytes: usize,
    /// There have been too many.
    full: bool,
}

impl Preamble {
    /// With what is known from the start.
    pub fn new(opts: &ParseOptions) -> Self {
        let mut macros = HashMap::new();
        // Conditions on the kernel's version use it, and no header that defines it is ever read.
        let params = ["a", "b", "c"].map(str::to_owned).to_vec();
        let body = "(((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))".to_owned();
        macros.insert("KERNEL_VERSION".to_owned(), MacroText { params: Some(params), body });
        let mut preamble = Preamble { macros, ..Preamble::default() };
        for (name, value) in &opts.defines {
            preamble.define(name, value);
        }
        preamble
    }

    /// Defines a macro without parameters.
    pub fn define(&mut self, name: &str, value: &str) {
        self.macros.insert(name.to_owned(), MacroText { params: None, body: value.to_owned() });
    }

    /// Counts a header of so many bytes that others include so deep. When that is too much it is an error the first time; no header is
    /// read any more.
    fn admit(&mut self, depth: u32, bytes: usize) -> Result<bool, &'static str> {
        if self.full {
            return Ok(false);
        }
        self.reads += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        let refusal = if depth >= MAX_INCLUDES {
            "headers include each other too deeply"
        } else if self.reads > MAX_READS {
            "headers include each other too often"
        } else if self.bytes > MAX_BYTES {
            "the headers are too long together"
        } else {
            return Ok(true);
        };
        self.full = true;
        Err(refusal)
    }

    /// Whether a header has said `#pragma once` and been read.
    pub(crate) fn is_done(&self, file: FileId) -> bool {
        self.once.contains(&file)
    }
}

/// How strictly a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// Everything must make sense.
    Script,
    /// What a script cannot use is no mistake.
    Header,
    /// What cannot be read is left out, too: headers of the system hold more of C than a script needs.
    System,
}

/// The state of the preprocessor in one file.
pub(crate) struct Preprocessor<'p> {
    file: FileId,
    preamble: &'p mut Preamble,
    headers: &'p dyn Headers,
    conditions: Vec<Condition>,
    strictness: Strictness,
    /// How many headers are open.
    depth: u32,
}

/// Where items, errors and comments go.
pub(crate) struct Sinks<'a> {
    pub(crate) items: &'a mut Vec<Item>,
    pub(crate) errors: &'a mut Vec<SyntaxError>,
    pub(crate) comments: &'a mut Vec<Span>,
}

impl<'p> Preprocessor<'p> {
    pub(crate) fn new(
        file: FileId,
        preamble: &'p mut Preamble,
        headers: &'p dyn Headers,
        strictness: Strictness,
    ) -> Preprocessor<'p> {
        Preprocessor { file, preamble, headers, conditions: Vec::new(), strictness, depth: 0 }
    }

    pub(crate) fn file(&self) -> FileId {
        self.file
    }

    pub(crate) fn strictness(&self) -> Strictness {
        self.strictness
    }

    pub(crate) fn macros(&self) -> &HashMap<String, MacroText> {
        &self.preamble.macros
    }

    /// Takes the macros out, to be put back with [`Self::put_macros`].
    pub(crate) fn take_macros(&mut self) -> HashMap<String, MacroText> {
        std::mem::take(&mut self.preamble.macros)
    }

    pub(crate) fn put_macros(&mut self, macros: HashMap<String, MacroText>) {
        self.preamble.macros = macros;
    }

    /// Reports conditions that were never ended.
    pub(crate) fn finish(&mut self, errors: &mut Vec<SyntaxError>) {
        for condition in self.conditions.drain(..) {
            errors.push(SyntaxError::new("this condition is never ended", condition.span).help("add `#endif`"));
        }
    }

    /// Reads a C declaration that starts at `pos`; yields where it ends.
    pub(crate) fn declaration(&mut self, text: &str, pos: usize, sinks: &mut Sinks<'_>) -> usize {
        Declarations::new(self, text, self.file).read(pos, sinks)
    }

    /// Handles the directive whose `#` is at `pos`; yields where reading goes on.
    pub(crate) fn directive(&mut self, text: &str, pos: usize, sinks: &mut Sinks<'_>) -> usize {
        let end = line_end(text, pos);
        let line = text.get(pos..end).unwrap_or_default();
        let span = Span::new(self.file, pos as u32, (pos + line.trim_end().len()) as u32);
        let after_hash = line.get(1..).unwrap_or_default();
        let body = after_hash.trim_start_matches([' ', '\t']);
        let word_len = body.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(body.len());
        let word = body.get(..word_len).unwrap_or_default();
        let rest = end - body.len() + word_len..end;
        let kept = line.trim_end_matches(|c: char| c.is_whitespace() || c == '\\');
        let keep = CItemKind::Directive(kept.to_owned());
        let kind = match word {
            "include" | "include_next" | "import" => {
                self.include(text, rest, span, sinks);
                return end;
            }
            "define" => self.define(text, rest, span, sinks.errors),
            "undef" => {
                if let Some(name) = self.name(text, &rest) {
                    self.preamble.macros.remove(&name.node);
                    Some(CItemKind::Undef(name))
                } else {
                    sinks.errors.push(SyntaxError::new("expected a name after `#undef`", span));
                    None
                }
            }
            "if" | "ifdef" | "ifndef" => {
                if self.conditions.len() >= MAX_CONDITIONS {
                    sinks.errors.push(SyntaxError::new("conditions are nested too deeply", span));
                    return text.len();
                }
                let holds = self.condition(word, text, rest, span, sinks.errors);
                self.conditions.push(Condition { span, taken: holds, otherwise: false });
                sinks.items.push(Item::C(CItem { kind: keep, span }));
                return if holds { end } else { skip_branch(text, end) };
            }
            "elif" | "else" | "elifdef" | "elifndef" => return self.branch(word, text, rest, span, keep, sinks),
            "endif" => {
                if self.conditions.pop().is_none() {
                    sinks.errors.push(SyntaxError::new("this `#endif` ends no condition", span));
                }
                Some(keep)
            }
            "error" => {
                let message = text.get(rest).unwrap_or_default().trim();
                sinks.errors.push(SyntaxError::new(&format!("#error: {message}"), span));
                None
            }
            "pragma" if text.get(rest.clone()).is_some_and(|t| t.trim() == "once") => {
                self.preamble.once.insert(self.file);
                Some(keep)
            }
            "pragma" | "warning" | "line" | "ident" | "" => Some(keep),
            _ => {
                if self.strictness == Strictness::System {
                    return end;
                }
                sinks.errors.push(
                    SyntaxError::new(&format!("`#{word}` is not a directive of the preprocessor"), span)
                        .help("a comment begins with `//`"),
                );
                None
            }
        };
        if let Some(kind) = kind {
            sinks.items.push(Item::C(CItem { kind, span }));
        }
        end
    }

    /// `#include`: the items of the header follow the line.
    fn include(&mut self, text: &str, rest: Range<usize>, span: Span, sinks: &mut Sinks<'_>) {
        let Some((path, system)) = include_path(text.get(rest).unwrap_or_default()) else {
            sinks.errors.push(
                SyntaxError::new("expected a file name after `#include`", span)
                    .help("write `#include <linux/sched.h>` or `#include \"mine.h\"`"),
            );
            return;
        };
        let header = self.headers.open(path, system, self.file).unwrap_or_else(|message| {
            sinks.errors.push(SyntaxError::new(&message, span));
            None
        });
        let kind = CItemKind::Include { path: path.to_owned(), system, read: header.is_some() };
        sinks.items.push(Item::C(CItem { kind, span }));
        if let Some(header) = header.filter(|h| !self.preamble.is_done(h.file)) {
            let lenient = system || self.strictness == Strictness::System;
            let strictness = if lenient { Strictness::System } else { Strictness::Header };
            match self.preamble.admit(self.depth, header.text.len()) {
                Ok(true) => self.read(&header, strictness, sinks),
                Ok(false) => {}
                Err(message) => sinks.errors.push(
                    SyntaxError::new(message, span).help("a header that must be read only once says `#pragma once`"),
                ),
            }
        }
    }

    /// Reads a header with the macros of now.
    fn read(&mut self, header: &Header, strictness: Strictness, sinks: &mut Sinks<'_>) {
        let mut inner = Preprocessor::new(header.file, self.preamble, self.headers, strictness);
        inner.depth = self.depth + 1;
        let (items, errors) = parser::header(&header.text, inner);
        sinks.items.extend(items);
        sinks.errors.extend(errors);
    }

    /// The first name in a range.
    fn name(&self, text: &str, range: &Range<usize>) -> Option<Name> {
        let rest = text.get(range.clone())?;
        let trimmed = rest.trim_start();
        let start = range.start + rest.len() - trimmed.len();
        let len = trimmed.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(trimmed.len());
        let node = trimmed.get(..len)?.to_owned();
        if node.is_empty() || node.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        Some(Spanned { node, span: Span::new(self.file, start as u32, (start + len) as u32) })
    }

    fn define(
        &mut self,
        text: &str,
        rest: Range<usize>,
        span: Span,
        errors: &mut Vec<SyntaxError>,
    ) -> Option<CItemKind> {
        let Some(name) = self.name(text, &rest) else {
            errors.push(SyntaxError::new("expected a name after `#define`", span));
            return None;
        };
        let mut body_start = name.span.end as usize;
        let mut params = None;
        if text.get(body_start..).is_some_and(|t| t.starts_with('(')) {
            let Some((list, next)) = self.params(text, body_start + 1, rest.end) else {
                errors.push(
                    SyntaxError::new("the parameters of this macro are not a list of names", span)
                        .help("a macro with parameters is written `#define NAME(a, b) text`"),
                );
                return None;
            };
            body_start = next;
            params = Some(list);
        }
        // Its own scratch lists: what does not parse as an expression is no mistake, and the comments stay in the line.
        let (mut scrap, mut comments) = (Vec::new(), Vec::new());
        let mut notes = Notes { errors: &mut scrap, comments: &mut comments };
        let stream = stream::read(text, body_start..rest.end, self.file, None, Until::End, &mut notes);
        // Braces that were made up have no width.
        let written = stream.toks.iter().rfind(|t| t.0 < t.2);
        let range = match (stream.toks.first(), written) {
            (Some(first), Some(last)) => first.0 as usize..last.2 as usize,
            _ => rest.end..rest.end,
        };
        let body = text.get(range.clone()).unwrap_or_default().to_owned();
        let value = if range.is_empty() { None } else { parser::expression(self.file, text, range).ok() };
        let names = params.as_ref().map(|list: &Vec<Name>| list.iter().map(|p| p.node.clone()).collect());
        self.preamble.macros.insert(name.node.clone(), MacroText { params: names, body: body.clone() });
        Some(match params {
            Some(params) => CItemKind::DefineFn { name, params, value, text: body },
            None => CItemKind::Define { name, value, text: body },
        })
    }

    /// The parameters of a function-like macro from after its `(`, and where its body starts.
    fn params(&self, text: &str, start: usize, end: usize) -> Option<(Vec<Name>, usize)> {
        let close = start + text.get(start..end)?.find(')')?;
        let mut params = Vec::new();
        let mut pos = start;
        for part in text.get(start..close)?.split(',') {
            let range = pos..pos + part.len();
            pos = range.end + 1;
            if part.trim().is_empty() && close == range.end && params.is_empty() {
                break;
            }
            if part.trim() == "..." {
                let span = Span::new(self.file, range.start as u32, range.end as u32);
                params.push(Spanned { node: "__VA_ARGS__".to_owned(), span });
                continue;
            }
            let name = self.name(text, &range)?;
            if part.trim().trim_end_matches("...").trim_end() != name.node {
                return None;
            }
            params.push(name);
        }
        Some((params, close + 1))
    }

    fn condition(
        &mut self,
        word: &str,
        text: &str,
        rest: Range<usize>,
        span: Span,
        errors: &mut Vec<SyntaxError>,
    ) -> bool {
        if word.ends_with("def") {
            let Some(name) = self.name(text, &rest) else {
                errors.push(SyntaxError::new(&format!("expected a name after `#{word}`"), span));
                return false;
            };
            return self.preamble.macros.contains_key(&name.node) != word.ends_with("ndef");
        }
        match self.evaluate(text.get(rest).unwrap_or_default()) {
            Ok(value) => value != 0,
            // Compilers know more functions in conditions than are worth knowing here.
            Err(_) if self.strictness != Strictness::Script => false,
            Err(message) => {
                errors.push(
                    SyntaxError::new(&format!("this condition cannot be decided: {message}"), span)
                        .help("a condition is made of numbers, macros and `defined(NAME)`"),
                );
                false
            }
        }
    }

    /// `#elif` and `#else`.
    fn branch(
        &mut self,
        word: &str,
        text: &str,
        rest: Range<usize>,
        span: Span,
        keep: CItemKind,
        sinks: &mut Sinks<'_>,
    ) -> usize {
        let end = rest.end;
        let Some(condition) = self.conditions.last_mut() else {
            sinks.errors.push(SyntaxError::new(&format!("this `#{word}` belongs to no condition"), span));
            return end;
        };
        if condition.otherwise {
            let error = SyntaxError::new(&format!("this `#{word}` comes after `#else`"), span);
            sinks.errors.push(error.label(condition.span, "the condition begins here"));
        }
        condition.otherwise |= word == "else";
        let open = !condition.taken;
        let holds = match word.strip_prefix("el") {
            _ if !open => false,
            Some(inner) if word != "else" => self.condition(inner, text, rest, span, sinks.errors),
            _ => true,
        };
        if let Some(condition) = self.conditions.last_mut() {
            condition.taken |= holds;
        }
        sinks.items.push(Item::C(CItem { kind: keep, span }));
        if holds { end } else { skip_branch(text, end) }
    }

    /// The value of a condition.
    fn evaluate(&self, text: &str) -> Result<i128, String> {
        let decided = self.decide_defined(text)?;
        let expr = parser::expression(self.file, &decided, 0..decided.len())
            .map_err(|errors| errors.into_iter().next().map(|e| e.message).unwrap_or_default())?;
        Macros::new(&self.preamble.macros).value(&expr)
    }

    /// Replaces `defined X` and `defined(X)` by 1 or 0.
    fn decide_defined(&self, text: &str) -> Result<String, String> {
        let mut notes_errors = Vec::new();
        let mut comments = Vec::new();
        let mut notes = Notes { errors: &mut notes_errors, comments: &mut comments };
        let toks = stream::read(text, 0..text.len(), self.file, None, Until::End, &mut notes).toks;
        let mut out = String::with_capacity(text.len());
        let mut i = 0;
        while let Some((l, tok, r)) = toks.get(i) {
            i += 1;
            if *tok != Tok::Ident("defined") {
                out.push_str(text.get(*l as usize..*r as usize).unwrap_or_default());
                out.push(' ');
                continue;
            }
            let parenthesised = matches!(toks.get(i), Some((_, Tok::LParen | Tok::CastOpen, _)));
            i += usize::from(parenthesised);
            let Some((_, Tok::Ident(name) | Tok::TypeName(name), _)) = toks.get(i) else {
                return Err("expected a name after `defined`".to_owned());
            };
            i += 1 + usize::from(parenthesised);
            out.push_str(if self.preamble.macros.contains_key(*name) { "1 " } else { "0 " });
        }
        Ok(out)
    }
}

/// The path of an `#include`, and whether it stands in angle brackets.
fn include_path(text: &str) -> Option<(&str, bool)> {
    let text = text.trim();
    let quoted = |open: char, close: char| Some(text.strip_prefix(open)?.split_once(close)?.0);
    quoted('<', '>').map(|path| (path, true)).or_else(|| quoted('"', '"').map(|path| (path, false)))
}

/// The end of the line of a directive: the next line break that neither a backslash nor a comment hides.
pub(crate) fn line_end(text: &str, pos: usize) -> usize {
    let bytes = text.as_bytes();
    let at = |i: usize| bytes.get(i).copied();
    let mut i = pos;
    while let Some(c) = at(i) {
        match c {
            b'\n' => return i,
            b'\\' if at(i + 1) == Some(b'\r') && at(i + 2) == Some(b'\n') => i += 3,
            b'\\' if at(i + 1).is_some() => i += 2,
            b'/' if at(i + 1) == Some(b'/') => {
                return text.get(i..).and_then(|rest| rest.find('\n')).map_or(text.len(), |n| i + n);
            }
            b'/' if at(i + 1) == Some(b'*') => {
                let close = text.get(i + 2..).and_then(|rest| rest.find("*/"));
                match close {
                    Some(n) => i += n + 4,
                    None => return text.len(),
                }
            }
            b'"' => {
                i += 1;
                while let Some(inner) = at(i) {
                    match inner {
                        b'\n' => break,
                        b'"' => {
                            i += 1;
                            break;
                        }
                        b'\\' => i += 2,
                        _ => i += 1,
                    }
                }
            }
            _ => i += 1,
        }
    }
    text.len()
}

/// Skips a branch that is not taken: yields the position of the `#elif`, `#else` or `#endif` that ends it.
fn skip_branch(text: &str, from: usize) -> usize {
    let mut nested = 0u32;
    let mut pos = from;
    loop {
        let rest = text.get(pos..).unwrap_or_default();
        let Some(newline) = rest.find('\n') else { return text.len() };
        pos += newline + 1;
        let line = text.get(pos..).unwrap_or_default();
        let trimmed = line.trim_start_matches([' ', '\t']);
        let Some(directive) = trimmed.strip_prefix('#') else { continue };
        let word = directive.trim_start_matches([' ', '\t']);
        if word.starts_with("if") {
            nested += 1;
        } else if word.starts_with("endif") && nested > 0 {
            nested -= 1;
        } else if nested == 0 && (word.starts_with("el") || word.starts_with("endif")) {
            return pos + line.len() - trimmed.len();
        }
    }
}
