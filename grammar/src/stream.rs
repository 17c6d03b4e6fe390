//! The token stream between lexer and parser: reads one item's tokens, and settles by their neighbourhood what the
//! characters alone cannot say.
//!
//! The rules, one per ambiguity:
//!
//! - **Predicate or division**: the first slash after the attach points opens the predicate; the slash that closes it is
//!   the one outside brackets that is followed by `{`. Every other slash divides.
//! - **Cast or parentheses**: `(` opens a cast when what follows up to the matching `)` reads as a type. A tagged type
//!   (`struct x`), a built-in type name, several words, a `*` or `[]` before the `)` leave no doubt. A lone name that
//!   may be a variable is a type only if an operand follows that cannot continue an expression (`(foo_t)x`, but not
//!   `(foo) - x`, unless the name looks like a C type: `u32`, `…_t`), and never right after `if`, `while` or `unroll`.
//! - **Type or expression as an argument**: by the same reading; a lone unknown name is an expression.
//! - **Block or operand**: `{` and `if` are operands where an operand must come (after an operator, `(`, `,`, `=` …) and
//!   statements or bodies everywhere else.
//! - **Keywords as names**: after `.` and `->` every word is a field; `config`, `fn`, `macro` and `import` are plain
//!   names inside an action, the last unless a string follows.
//! - `const` and `volatile` mean nothing here and are left out.
//!
//! Invariant: the braces of a stream are balanced. Missing ones are reported and made up.

use logos::Logos;

use crate::SyntaxError;
use crate::lexer::{Located, Tok};
use crate::span::{FileId, Span};

/// Names of types that the language has itself, and the words that C types are made of.
const TYPE_WORDS: &[&str] = &[
    "bool", "char", "int", "int8", "int16", "int32", "int64", "long", "short", "signed", "string", "uint8", "uint16",
    "uint32", "uint64", "unsigned", "void",
];

/// Probe types, for recognising the start of a probe where a brace is missing.
const PROVIDERS: &[&str] = &[
    "asyncwatchpoint",
    "begin",
    "bench",
    "end",
    "fentry",
    "fexit",
    "hardware",
    "interval",
    "iter",
    "kfunc",
    "kprobe",
    "kretfunc",
    "kretprobe",
    "profile",
    "rawtracepoint",
    "self",
    "software",
    "test",
    "tracepoint",
    "uprobe",
    "uretprobe",
    "usdt",
    "watchpoint",
];

/// Skips white space and comments from `pos` on, and notes the comments.
pub(crate) fn skip_blank(text: &str, mut pos: usize, file: FileId, comments: &mut Vec<Span>) -> usize {
    loop {
        let rest = text.get(pos..).unwrap_or_default();
        let trimmed = rest.trim_start();
        pos += rest.len() - trimmed.len();
        let len = if trimmed.starts_with("//") {
            trimmed.find('\n').unwrap_or(trimmed.len())
        } else if trimmed.starts_with("/*") {
            match trimmed.find("*/") {
                Some(at) if at >= 2 => at + 2,
                _ => return pos,
            }
        } else {
            return pos;
        };
        comments.push(Span::new(file, pos as u32, (pos + len) as u32));
        pos += len;
    }
}

/// Where the tokens of an item end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// After the closing brace of the first block outside a predicate.
    Block,
    /// After a semicolon, or at the line break after a complete text.
    Line,
    /// At the end of the text.
    End,
}

/// The tokens of one item.
pub(crate) struct Stream<'s> {
    /// In order, marked.
    pub(crate) toks: Vec<Located<'s>>,
    /// Where the item ends.
    pub(crate) end: usize,
}

/// Where the lexer puts what it finds besides tokens.
pub(crate) struct Notes<'n> {
    pub(crate) errors: &'n mut Vec<SyntaxError>,
    pub(crate) comments: &'n mut Vec<Span>,
}

/// Reads and marks the tokens of an item that starts at `start`, up to `limit` at most. `head` is put before them; with
/// `Tok::StartProbe` a slash at the start opens a predicate.
pub(crate) fn read<'s>(
    text: &'s str,
    range: std::ops::Range<usize>,
    file: FileId,
    head: Option<Tok<'s>>,
    until: Until,
    notes: &mut Notes<'_>,
) -> Stream<'s> {
    let std::ops::Range { start, end: limit } = range;
    let mut reader = Reader { text, file, toks: Vec::with_capacity(64), open: Vec::new(), in_predicate: false };
    if let Some(tok) = head {
        reader.toks.push((start as u32, tok, start as u32));
    }
    let end = reader.run(start, limit, until, notes);
    let mut toks = reader.toks;
    mark(&mut toks, text);
    Stream { toks, end }
}

struct Reader<'s> {
    text: &'s str,
    file: FileId,
    toks: Vec<Located<'s>>,
    /// Positions and kinds of the open brackets.
    open: Vec<(u32, Tok<'s>)>,
    in_predicate: bool,
}

impl Reader<'_> {
    fn run(&mut self, start: usize, limit: usize, until: Until, notes: &mut Notes<'_>) -> usize {
        let source = self.text.get(start..limit).unwrap_or_default();
        let mut lexer = Tok::lexer(source);
        let mut first = true;
        while let Some(token) = lexer.next() {
            let (l, r) = (start + lexer.span().start, start + lexer.span().end);
            let span = Span::new(self.file, l as u32, r as u32);
            let at_line_start = l == 0 || self.text.get(..l).is_some_and(|t| t.ends_with('\n'));
            let Ok(tok) = token else {
                let len = if lexer.slice() == "'" { character_len(lexer.remainder()) } else { 0 };
                lexer.bump(len);
                self.unknown(lexer.slice(), Span { end: span.end + len as u32, ..span }, notes);
                continue;
            };
            match tok {
                Tok::LineComment | Tok::BlockComment => {
                    notes.comments.push(span);
                    continue;
                }
                Tok::Hash => {
                    notes.errors.push(
                        SyntaxError::new("a line for the preprocessor cannot stand inside an action", span)
                            .help("move it to the start of the script"),
                    );
                    let newline = lexer.remainder().find('\n').unwrap_or(lexer.remainder().len());
                    lexer.bump(newline);
                    continue;
                }
                Tok::OpenComment => {
                    notes
                        .errors
                        .push(SyntaxError::new("this comment is never closed", span).help("add a closing `*/`"));
                    self.close_all(limit as u32);
                    return limit;
                }
                Tok::Char(slice) if until != Until::End => {
                    self.unknown(slice, span, notes);
                    first = false;
                    continue;
                }
                Tok::OpenStr => {
                    let len = open_string_len(lexer.remainder());
                    lexer.bump(len);
                    let span = Span { end: span.end + len as u32, ..span };
                    notes.errors.push(SyntaxError::new("this string is never closed", span).help("add a closing `\"`"));
                    self.toks.push((span.start, Tok::BadExpr, span.end));
                    first = false;
                    continue;
                }
                Tok::Ident("const" | "volatile") => continue,
                Tok::Ident(word) if at_line_start && until == Until::Block && self.starts_probe(word, l) => {
                    let next = Span { end: span.start + word.len() as u32, ..span };
                    self.report_open(Some(next), notes);
                    self.close_all(l as u32);
                    return l;
                }
                _ => {}
            }
            if until == Until::Line && self.ends_line(l) {
                return l;
            }
            let tok = match tok {
                Tok::Infix(crate::ast::BinOp::Div)
                    if first && matches!(self.toks.last(), Some((_, Tok::StartProbe, _))) =>
                {
                    self.in_predicate = true;
                    Tok::PredOpen
                }
                Tok::Infix(crate::ast::BinOp::Div)
                    if self.in_predicate && self.open.is_empty() && self.brace_follows(r) =>
                {
                    self.in_predicate = false;
                    Tok::PredClose
                }
                tok => tok,
            };
            first = false;
            // An action begins although the predicate was not closed: the parser says so, and the probe ends where it should.
            if tok == Tok::LBrace && self.open.is_empty() && self.toks.last().is_some_and(|t| !t.1.wants_operand()) {
                self.in_predicate = false;
            }
            self.toks.push((span.start, tok, span.end));
            match tok {
                Tok::LBrace | Tok::LParen | Tok::LBracket => self.open.push((span.start, tok)),
                Tok::RParen | Tok::RBracket => {
                    let opener = if tok == Tok::RParen { Tok::LParen } else { Tok::LBracket };
                    if self.open.last().is_some_and(|(_, t)| *t == opener) {
                        self.open.pop();
                    }
                }
                Tok::RBrace => {
                    // Brackets that are still open inside the braces are the parser's to report.
                    while self.open.pop_if(|(_, t)| *t != Tok::LBrace).is_some() {}
                    self.open.pop();
                    if until == Until::Block && !self.in_predicate && !self.brace_is_open() {
                        return r;
                    }
                }
                Tok::Semi if until == Until::Line => return r,
                _ => {}
            }
        }
        if self.brace_is_open() && until == Until::Block {
            self.report_open(None, notes);
        }
        self.close_all(limit as u32);
        limit
    }

    fn brace_is_open(&self) -> bool {
        self.open.iter().any(|(_, t)| *t == Tok::LBrace)
    }

    fn brace_follows(&self, pos: usize) -> bool {
        let next = skip_blank(self.text, pos, self.file, &mut Vec::new());
        self.text.get(next..).is_some_and(|rest| rest.starts_with('{'))
    }

    /// Whether an item of one line is complete and a new line begins before `pos`.
    fn ends_line(&self, pos: usize) -> bool {
        let Some((_, last, end)) = self.toks.last() else {
            return false;
        };
        self.open.is_empty()
            && matches!(last, Tok::RParen | Tok::Str(_))
            && self.text.get(*end as usize..pos).is_some_and(|blank| blank.contains('\n'))
    }

    /// Whether a word at the start of a line inside an action can only be the next probe.
    fn starts_probe(&self, word: &str, pos: usize) -> bool {
        self.brace_is_open() && starts_probe(self.text, word, pos)
    }

    /// Reports the innermost brace that is open where the text ends or the next probe begins.
    fn report_open(&self, next: Option<Span>, notes: &mut Notes<'_>) {
        let Some((at, _)) = self.open.iter().rev().find(|(_, t)| *t == Tok::LBrace) else { return };
        let error = SyntaxError::new("this brace is never closed", Span::new(self.file, *at, *at + 1))
            .help("add a `}` where the block ends");
        notes.errors.push(match next {
            Some(next) => error.label(next, "the next probe begins here"),
            None => error,
        });
    }

    /// Makes up the closing braces that are missing.
    fn close_all(&mut self, at: u32) {
        while let Some((_, tok)) = self.open.pop() {
            if tok == Tok::LBrace {
                self.toks.push((at, Tok::RBrace, at));
            }
        }
    }

    fn unknown(&mut self, slice: &str, span: Span, notes: &mut Notes<'_>) {
        let shown: String =
            slice.chars().flat_map(|c| if c.is_control() { c.escape_debug().collect() } else { vec![c] }).collect();
        let error = SyntaxError::new(&format!("`{shown}` does not belong to the language"), span);
        notes.errors.push(match slice.chars().next() {
            Some('\'') => {
                error.help("there are no character literals; write the code (65 for A), or a string in double quotes")
            }
            Some('$') => error.help("a variable has a name (`$x`), a parameter a number (`$1`)"),
            _ => error,
        });
        // Where an operand has to come it was meant to be one.
        if slice.starts_with(['\'', '$']) && self.toks.last().is_some_and(|t| t.1.wants_operand()) {
            self.toks.push((span.start, Tok::BadExpr, span.end));
        }
    }
}

/// Whether a word at the start of a line can only be the start of a probe.
pub(crate) fn starts_probe(text: &str, word: &str, pos: usize) -> bool {
    if !PROVIDERS.iter().any(|p| p.eq_ignore_ascii_case(word)) {
        return false;
    }
    let rest = text.get(pos + word.len()..).unwrap_or_default();
    let line = rest.lines().next().unwrap_or_default();
    let next_is_brace = rest.trim_start().starts_with('{');
    let bare = word.eq_ignore_ascii_case("begin") || word.eq_ignore_ascii_case("end");
    if bare { next_is_brace } else { line.starts_with(':') && !line.trim_end().ends_with(';') }
}

/// How far a string without its closing quote reaches: to the end of the line, less the brackets and semicolons there.
fn open_string_len(rest: &str) -> usize {
    let line = rest.split('\n').next().unwrap_or_default();
    line.trim_end_matches([')', ']', '}', ';', ' ', '\t', '\r', '\\']).len()
}

/// The length of what follows the opening quote of a character literal.
fn character_len(rest: &str) -> usize {
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => return at + 1,
            '\\' => {
                chars.next();
            }
            '\n' => return 0,
            _ if at > 8 => return 0,
            _ => {}
        }
    }
    0
}

/// Applies the rules of the module header to a stream.
pub(crate) fn mark<'s>(toks: &mut [Located<'s>], text: &'s str) {
    let slice = |l: u32, r: u32| text.get(l as usize..r as usize).unwrap_or_default();
    let is_config = matches!(toks.first(), Some((_, Tok::Config, _)));
    let mut body_seen = is_config;
    let mut predicate = false;
    // Tokens before this index belong to a type that was recognised already.
    let mut type_end = 0;
    // Tokens before this one belong to the operand of `typeof`, which is an expression inside of a type.
    let mut typeof_end = 0;
    let mut prev = None;
    for i in 0..toks.len() {
        let Some(&(l, tok, r)) = toks.get(i) else {
            break;
        };
        let mut new = tok;
        let after_dot = matches!(prev, Some(Tok::Dot | Tok::Arrow));
        let operand = prev.is_some_and(Tok::wants_operand);
        if tok == Tok::TypeOf && !after_dot {
            typeof_end = matching(toks, i + 1).unwrap_or(0).max(typeof_end);
        }
        match tok {
            _ if after_dot && is_word(slice(l, r)) => new = Tok::Ident(slice(l, r)),
            Tok::PredOpen => predicate = true,
            Tok::PredClose => predicate = false,
            Tok::Config | Tok::Fn | Tok::Macro if i > 0 => new = Tok::Ident(slice(l, r)),
            Tok::Import if i > 0 && !matches!(toks.get(i + 1), Some((_, Tok::Str(_), _))) => {
                new = Tok::Ident(slice(l, r));
            }
            Tok::LBrace if operand && (body_seen || predicate) => new = Tok::ExprBrace,
            Tok::LBrace => body_seen |= !predicate,
            Tok::If if operand => new = Tok::ExprIf,
            Tok::LParen if (i >= type_end || i < typeof_end) && may_open_cast(prev) => {
                if let Some(end) = cast_end(toks, i, prev) {
                    new = Tok::CastOpen;
                    type_end = end.max(type_end);
                }
            }
            Tok::Ident(name) if i >= type_end && matches!(prev, Some(Tok::LParen | Tok::Comma)) => {
                if let Some(end) = argument_type_end(toks, i) {
                    new = Tok::TypeName(name);
                    type_end = end;
                }
            }
            Tok::TypeOf if i >= type_end && matches!(prev, Some(Tok::LParen | Tok::Comma)) && has_suffix(toks, i) => {
                new = Tok::TypeTypeOf;
            }
            _ => {}
        }
        if let Some(entry) = toks.get_mut(i) {
            entry.1 = new;
        }
        prev = Some(new);
    }
}

fn is_word(slice: &str) -> bool {
    slice.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// Whether a `(` after this token can open a cast: not that of a call or of a keyword with an argument.
fn may_open_cast(prev: Option<Tok<'_>>) -> bool {
    !matches!(
        prev,
        Some(
            Tok::Ident(_)
                | Tok::SizeOf
                | Tok::OffsetOf
                | Tok::HasField
                | Tok::TypeOf
                | Tok::TypeTypeOf
                | Tok::TypeInfo
                | Tok::For
                | Tok::RBracket
                | Tok::Int(_)
                | Tok::Str(_)
                | Tok::Var(_)
                | Tok::Map(_)
        )
    )
}

/// The index of the `)` of a cast whose `(` is at `open`.
fn cast_end(toks: &[Located<'_>], open: usize, prev: Option<Tok<'_>>) -> Option<usize> {
    let (end, sure) = scan_type(toks, open + 1, 0)?;
    if !matches!(toks.get(end), Some((_, Tok::RParen, _))) {
        return None;
    }
    if sure {
        return Some(end);
    }
    if matches!(prev, Some(Tok::If | Tok::ExprIf | Tok::While | Tok::Unroll)) {
        return None;
    }
    let starts_operand = match toks.get(end + 1).map(|t| t.1)? {
        Tok::Ident(_)
        | Tok::Var(_)
        | Tok::Map(_)
        | Tok::Param(_)
        | Tok::ParamCount
        | Tok::Int(_)
        | Tok::Str(_)
        | Tok::True
        | Tok::False
        | Tok::SizeOf
        | Tok::OffsetOf
        | Tok::HasField
        | Tok::LParen
        | Tok::Bang
        | Tok::Tilde => true,
        Tok::Minus | Tok::Plus | Tok::Star | Tok::Amp | Tok::PlusPlus | Tok::MinusMinus => {
            matches!(toks.get(open + 1), Some((_, Tok::Ident(name), _)) if looks_like_c_type(name))
        }
        _ => false,
    };
    starts_operand.then_some(end)
}

/// The index after a type in argument position, when it is one without doubt.
fn argument_type_end(toks: &[Located<'_>], start: usize) -> Option<usize> {
    let (end, sure) = scan_type(toks, start, 0)?;
    (sure && matches!(toks.get(end), Some((_, Tok::RParen | Tok::Comma, _)))).then_some(end)
}

/// Whether the `typeof(…)` at `start` is an argument with a `*` or `[…]` behind it.
fn has_suffix(toks: &[Located<'_>], start: usize) -> bool {
    let last = argument_type_end(toks, start).and_then(|end| toks.get(end.checked_sub(1)?));
    matches!(last, Some((_, Tok::Star | Tok::RBracket, _)))
}

fn looks_like_c_type(name: &str) -> bool {
    let bits = name.trim_start_matches('_').trim_start_matches(['u', 's']);
    name.ends_with("_t") || (matches!(bits, "8" | "16" | "32" | "64") && name.len() > bits.len())
}

/// The index after a type that starts at `start`, and whether it can be nothing else.
fn scan_type(toks: &[Located<'_>], start: usize, depth: u32) -> Option<(usize, bool)> {
    let kind = |i: usize| toks.get(i).map(|t| t.1);
    let mut i = start;
    let mut sure = true;
    match kind(i)? {
        Tok::Struct | Tok::Union | Tok::Enum => {
            if !matches!(kind(i + 1)?, Tok::Ident(_)) {
                return None;
            }
            i += 2;
        }
        Tok::TypeOf => i = matching(toks, i + 1)? + 1,
        Tok::Ident(first) => {
            i += 1;
            sure = TYPE_WORDS.contains(&first);
            while let Some(Tok::Ident(_)) = kind(i) {
                sure = true;
                i += 1;
            }
        }
        Tok::LParen if depth < 16 => {
            i += 1;
            loop {
                let (end, part) = scan_type(toks, i, depth + 1)?;
                if !part {
                    return None;
                }
                i = end + 1;
                match kind(end)? {
                    Tok::Comma if matches!(kind(i), Some(Tok::RParen)) => {
                        i += 1;
                        break;
                    }
                    Tok::Comma => {}
                    Tok::RParen => break,
                    _ => return None,
                }
            }
        }
        _ => return None,
    }
    loop {
        match kind(i) {
            Some(Tok::Star) => {
                sure = true;
                i += 1;
            }
            Some(Tok::LBracket) => {
                let close = matching(toks, i)?;
                sure |= close == i + 1;
                i = close + 1;
            }
            _ => return Some((i, sure)),
        }
    }
}

/// The index of the bracket that closes the one at `open`; gives up soon, since types are short.
fn matching(toks: &[Located<'_>], open: usize) -> Option<usize> {
    let mut depth = 0u32;
    for (i, (_, tok, _)) in toks.iter().enumerate().skip(open).take(256) {
        match tok {
            Tok::LParen | Tok::LBracket | Tok::LBrace | Tok::CastOpen => depth += 1,
            Tok::RParen | Tok::RBracket | Tok::RBrace => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}
