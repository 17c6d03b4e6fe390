//! From text to [`Script`]: splits the text into items, runs the generated parser on each, and goes on after mistakes.
//!
//! Recovery works on the token stream. Where the generated parser stops, the tokens of the statement around that place
//! (or of the predicate) are replaced by one error token, and the item is parsed again. Every round makes the stream
//! shorter, and the number of reported errors is bounded, so that this ends.

use lalrpop_util::ParseError;

use crate::ast::{Block, Expr, Item, Probe, Script};
use crate::cpp::{Preamble, Preprocessor, Sinks, Strictness};
use crate::generated::EntryParser;
use crate::header;
use crate::lexer::{Located, Tok};
use crate::messages;
use crate::span::{FileId, Span, Spanned};
use crate::stream::{self, Notes, Until, skip_blank};
use crate::tree::Entry;
use crate::{Headers, SyntaxError};

/// After so many errors in one text parsing stops.
const MAX_ERRORS: usize = 20;

/// What [`run`] yields.
pub(crate) struct Output {
    pub(crate) script: Script,
    pub(crate) errors: Vec<SyntaxError>,
    pub(crate) comments: Vec<Span>,
    pub(crate) pieces: Vec<Piece>,
}

/// What a stretch of the text at the top level is, for the formatter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PieceKind {
    /// C or a directive, with the branch that it switches off.
    Verbatim,
    /// Code that ends like this.
    Code(Until),
    /// A probe whose action or predicate starts here.
    Probe { action: usize },
}

/// A stretch of the text at the top level.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) kind: PieceKind,
    pub(crate) range: std::ops::Range<usize>,
}

/// Parses a whole script.
pub(crate) fn run(file: FileId, text: &str, preamble: &mut Preamble, headers: &dyn Headers) -> Output {
    let mut parser = Parser::new(text, Preprocessor::new(file, preamble, headers, Strictness::Script));
    let mut script = Script::default();
    // Some editors put a byte order mark in front.
    let mut start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let rest = text.get(start..).unwrap_or_default();
    if rest.starts_with("#!") {
        let line = rest.lines().next().unwrap_or_default();
        let end = start + line.len();
        script.shebang =
            Some(Spanned { node: line.trim_end().to_owned(), span: Span::new(file, start as u32, end as u32) });
        start = end;
    }
    parser.items(start);
    script.items = parser.items;
    let mut errors = parser.errors;
    errors.sort_by_key(|e| (e.span.file, e.span.start));
    errors.truncate(MAX_ERRORS);
    Output { script, errors, comments: parser.comments, pieces: parser.pieces }
}

/// Parses a text that is one expression.
pub(crate) fn expression(file: FileId, text: &str, range: std::ops::Range<usize>) -> Result<Expr, Vec<SyntaxError>> {
    let mut errors = Vec::new();
    let mut comments = Vec::new();
    let mut notes = Notes { errors: &mut errors, comments: &mut comments };
    let stream = stream::read(text, range, file, Some(Tok::StartExpr), Until::End, &mut notes);
    let entry = entry(stream.toks, text, file, &mut errors);
    match entry {
        Some(Entry::Expr(expr)) if errors.is_empty() => Ok(expr),
        _ => Err(errors),
    }
}

/// Parses tokens as one expression; the first error counts.
pub(crate) fn expression_of(toks: &[Located<'_>], text: &str, file: FileId) -> Result<Expr, SyntaxError> {
    let start = toks.first().map_or(0, |t| t.0);
    let mut stream = vec![(start, Tok::StartExpr, start)];
    stream.extend_from_slice(toks);
    stream::mark(&mut stream, text);
    let mut errors = Vec::new();
    match entry(stream, text, file, &mut errors) {
        Some(Entry::Expr(expr)) if errors.is_empty() => Ok(expr),
        _ => Err(errors.into_iter().next().unwrap_or_else(|| {
            SyntaxError::new("expected an expression", Span::new(file, start, toks.last().map_or(start, |t| t.2)))
        })),
    }
}

/// Parses a header: C declarations and directives only.
pub(crate) fn header(text: &str, cpp: Preprocessor<'_>) -> (Vec<Item>, Vec<SyntaxError>) {
    let mut parser = Parser::new(text, cpp);
    parser.c_items();
    (parser.items, parser.errors)
}

struct Parser<'t, 'h> {
    text: &'t str,
    file: FileId,
    items: Vec<Item>,
    errors: Vec<SyntaxError>,
    comments: Vec<Span>,
    pieces: Vec<Piece>,
    cpp: Preprocessor<'h>,
}

impl<'t, 'h> Parser<'t, 'h> {
    fn new(text: &'t str, cpp: Preprocessor<'h>) -> Self {
        Parser {
            text,
            file: cpp.file(),
            items: Vec::new(),
            errors: Vec::new(),
            comments: Vec::new(),
            pieces: Vec::new(),
            cpp,
        }
    }

    fn items(&mut self, start: usize) {
        let mut pos = start;
        while self.errors.len() < MAX_ERRORS {
            pos = skip_blank(self.text, pos, self.file, &mut self.comments);
            let rest = self.text.get(pos..).unwrap_or_default();
            let Some(c) = rest.chars().next() else { break };
            let next = match c {
                '#' => self.directive(pos),
                ';' => pos + 1,
                '}' | ')' | ']' => {
                    let span = self.span(pos, pos + 1);
                    self.errors.push(
                        SyntaxError::new(&format!("this `{c}` closes nothing"), span)
                            .help("the block before has ended already"),
                    );
                    pos + 1
                }
                '/' if rest.starts_with("/*") => {
                    let span = self.span(pos, pos + 2);
                    self.errors.push(SyntaxError::new("this comment is never closed", span).help("add a closing `*/`"));
                    self.text.len()
                }
                _ => self.item(pos, rest),
            };
            // Every item takes at least one character.
            pos = next.max(pos + c.len_utf8());
        }
        self.cpp.finish(&mut self.errors);
    }

    /// The items of a header.
    fn c_items(&mut self) {
        let mut pos = 0;
        while self.errors.len() < MAX_ERRORS {
            pos = skip_blank(self.text, pos, self.file, &mut self.comments);
            let rest = self.text.get(pos..).unwrap_or_default();
            let Some(c) = rest.chars().next() else { break };
            let next = match c {
                '#' => self.directive(pos),
                _ => self.declaration(pos),
            };
            pos = next.max(pos + c.len_utf8());
        }
        self.cpp.finish(&mut self.errors);
    }

    fn directive(&mut self, pos: usize) -> usize {
        let mut sinks = Sinks { items: &mut self.items, errors: &mut self.errors, comments: &mut self.comments };
        let end = self.cpp.directive(self.text, pos, &mut sinks);
        self.pieces.push(Piece { kind: PieceKind::Verbatim, range: pos..end });
        end
    }

    fn declaration(&mut self, pos: usize) -> usize {
        let mut sinks = Sinks { items: &mut self.items, errors: &mut self.errors, comments: &mut self.comments };
        let end = self.cpp.declaration(self.text, pos, &mut sinks);
        self.pieces.push(Piece { kind: PieceKind::Verbatim, range: pos..end });
        end
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.file, start as u32, end as u32)
    }

    fn item(&mut self, pos: usize, rest: &str) -> usize {
        let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (word, after) = rest.split_at(len);
        let after = after.trim_start();
        let starts_name = after.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        match word {
            "config" if after.strip_prefix('=').is_some_and(|a| a.trim_start().starts_with('{')) => {
                self.code(pos, None, Until::Block)
            }
            "import" | "let" if !after.starts_with([':', '=']) => self.code(pos, None, Until::Line),
            "macro" | "fn" if starts_name => self.code(pos, None, Until::Block),
            _ if crate::c_tokens::starts_declaration(word, after) => self.declaration(pos),
            _ => self.probe(pos),
        }
    }

    /// An item that is all code.
    fn code(&mut self, pos: usize, head: Option<Tok<'_>>, until: Until) -> usize {
        let (entry, end) = self.entry(pos, head, until);
        self.pieces.push(Piece { kind: PieceKind::Code(until), range: pos..end });
        let item = match entry {
            Some(Entry::Config(config)) => Item::Config(config),
            Some(Entry::Import(import)) => Item::Import(import),
            Some(Entry::MapDecl(decl)) => Item::MapDecl(decl),
            Some(Entry::Macro(def)) => Item::Macro(def),
            Some(Entry::Fn(def)) => Item::Fn(def),
            _ => return end,
        };
        self.items.push(item);
        end
    }

    fn entry(&mut self, pos: usize, head: Option<Tok<'_>>, until: Until) -> (Option<Entry>, usize) {
        let mut notes = Notes { errors: &mut self.errors, comments: &mut self.comments };
        let stream = stream::read(self.text, pos..self.text.len(), self.file, head, until, &mut notes);
        (entry(stream.toks, self.text, self.file, &mut self.errors), stream.end)
    }

    fn probe(&mut self, pos: usize) -> usize {
        let before = self.errors.len();
        let header = header::scan(self.text, pos, self.file, &mut self.errors, &mut self.comments);
        let rest = self.text.get(header.end..).unwrap_or_default();
        if !rest.starts_with(['{', '/']) || header.attach_points.is_empty() {
            if self.errors.len() == before {
                self.errors.push(messages::no_action(self.text, &header, self.file));
            }
            return self.next_probe(header.end);
        }
        let (entry, end) = self.entry(header.end, Some(Tok::StartProbe), Until::Block);
        self.pieces.push(Piece { kind: PieceKind::Probe { action: header.end }, range: pos..end });
        let (predicate, body) = match entry {
            Some(Entry::Probe { predicate, body }) => (predicate, body),
            _ => (None, Block { span: self.span(header.end, end), ..Block::default() }),
        };
        let start = header.attach_points.first().map_or(pos as u32, |a| a.span.start);
        let span = Span { start, ..body.span.to(self.span(header.end, header.end)) };
        self.items.push(Item::Probe(Probe {
            name: header.name,
            attach_points: header.attach_points,
            predicate,
            body,
            span,
        }));
        end
    }

    /// Where to go on after something that is no item: at the next line that begins with a letter or `#`.
    fn next_probe(&self, pos: usize) -> usize {
        let mut at = pos;
        loop {
            let rest = self.text.get(at..).unwrap_or_default();
            let Some(newline) = rest.find('\n') else {
                return self.text.len();
            };
            at += newline + 1;
            let line = self.text.get(at..).unwrap_or_default();
            if line.starts_with(|c: char| c.is_ascii_alphabetic() || c == '#') {
                return at;
            }
        }
    }
}

/// Runs the generated parser until it succeeds or nothing is left to leave out.
fn entry(mut toks: Vec<Located<'_>>, text: &str, file: FileId, errors: &mut Vec<SyntaxError>) -> Option<Entry> {
    let parser = EntryParser::new();
    loop {
        let error = match parser.parse(file, toks.iter().copied()) {
            Ok(entry) => return Some(*entry),
            Err(error) => error,
        };
        let fatal = matches!(&error, ParseError::User { error } if error.fatal);
        let (at, error) = match error {
            ParseError::User { error } => {
                let at = toks.partition_point(|t| t.2 <= error.start);
                let span = Span::new(file, error.start, error.end);
                let built = SyntaxError { help: error.help, ..SyntaxError::new(&error.message, span) };
                (at, built)
            }
            ParseError::UnrecognizedToken { token, expected } => {
                let at = toks.iter().position(|t| *t == token).unwrap_or(toks.len());
                (at, messages::unexpected(&toks, at, &expected, text, file))
            }
            ParseError::UnrecognizedEof { expected, .. } => {
                (toks.len(), messages::unexpected(&toks, toks.len(), &expected, text, file))
            }
            ParseError::ExtraToken { token } => {
                let at = toks.iter().position(|t| *t == token).unwrap_or(toks.len());
                (at, messages::unexpected(&toks, at, &[], text, file))
            }
            ParseError::InvalidToken { location } => {
                (toks.len(), SyntaxError::new("this does not parse", Span::new(file, location, location)))
            }
        };
        errors.push(error);
        if fatal || errors.len() >= MAX_ERRORS || !leave_out(&mut toks, at) {
            return None;
        }
    }
}

/// Replaces what surrounds a mistake by an error token; false when there is nothing to replace.
fn leave_out(toks: &mut Vec<Located<'_>>, at: usize) -> bool {
    let kind = |i: usize| toks.get(i).map(|t| t.1);
    if matches!(kind(0), Some(Tok::Config | Tok::Import | Tok::Let | Tok::StartExpr)) {
        return false;
    }
    let close = toks.iter().position(|t| t.1 == Tok::PredClose);
    let (range, replacement) = match close {
        Some(close) if at <= close => (2..close, Tok::BadExpr),
        _ => {
            let Some(start) = statement_start(toks, at) else {
                return false;
            };
            // The semicolons of a loop as in C do not end it: its block does.
            let body = match kind(start) {
                Some(Tok::For) => toks.iter().skip(at).position(|t| t.1 == Tok::LBrace).map(|n| at + n),
                _ => None,
            };
            (start..statement_end(toks, body.unwrap_or(at).max(start)), Tok::BadStmt)
        }
    };
    if range.is_empty() || (range.len() == 1 && kind(range.start) == Some(replacement)) {
        return false;
    }
    let (Some(first), Some(last)) = (toks.get(range.start), toks.get(range.end - 1)) else {
        return false;
    };
    let token = (first.0, replacement, last.2);
    toks.splice(range, [token]);
    true
}

/// The first token of the statement that the token at `at` belongs to; nothing outside of blocks.
fn statement_start(toks: &[Located<'_>], at: usize) -> Option<usize> {
    let mut nest = 0u32;
    let mut i = at.min(toks.len());
    while i > 0 {
        let tok = toks.get(i - 1)?.1;
        match tok {
            Tok::Semi if nest == 0 => return Some(i),
            Tok::RBrace => {
                if nest == 0 && closes_statement(toks, i - 1) {
                    return Some(i);
                }
                nest += 1;
            }
            Tok::LBrace | Tok::ExprBrace => {
                if nest == 0 {
                    return Some(i);
                }
                nest -= 1;
            }
            _ => {}
        }
        i -= 1;
    }
    None
}

/// Whether the brace at `close` ends a block statement rather than an operand.
fn closes_statement(toks: &[Located<'_>], close: usize) -> bool {
    let mut nest = 0u32;
    for (_, tok, _) in toks.iter().take(close + 1).rev() {
        match tok {
            Tok::RBrace => nest += 1,
            Tok::LBrace | Tok::ExprBrace => {
                nest = nest.saturating_sub(1);
                if nest == 0 {
                    return *tok == Tok::LBrace;
                }
            }
            _ => {}
        }
    }
    true
}

/// The index after the last token of the statement around `at`.
fn statement_end(toks: &[Located<'_>], at: usize) -> usize {
    let mut nest = 0u32;
    for (i, (_, tok, _)) in toks.iter().enumerate().skip(at) {
        match tok {
            Tok::LBrace | Tok::ExprBrace => nest += 1,
            Tok::RBrace | Tok::Semi if nest == 0 => return i,
            Tok::RBrace => {
                nest -= 1;
                let follows = toks.get(i + 1).map(|t| t.1);
                if nest == 0 && closes_statement(toks, i) && follows != Some(Tok::Else) {
                    return i + 1;
                }
            }
            _ => {}
        }
    }
    toks.len()
}
