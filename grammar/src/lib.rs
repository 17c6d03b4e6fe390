//! Text to syntax tree: the lexer, the parser, the C declaration grammar and the formatter of the tapline language.
//!
//! Nothing here knows a kernel, a type or a builtin. The way of a text:
//!
//! - `parser` splits it into items and goes on after mistakes;
//! - `header` reads attach points, which have a lexical structure of their own;
//! - `lexer` makes tokens of everything else, and `stream` settles by their neighbourhood what characters cannot say:
//!   predicate or division, cast or parentheses, block or operand (its module header has one rule for each);
//! - the parser generated from `grammar.lalrpop` builds the tree through `tree`, which bounds its depth;
//! - `cpp`, `c_constant`, `c_tokens` and `c_parse` are the preprocessor and the declarations of C;
//! - `messages` words the errors, `dump` prints a tree, `format` prints a script.

pub mod ast;
pub mod c_ast;
pub mod c_constant;
mod c_parse;
mod c_tokens;
mod cpp;
mod dump;
mod format;
mod header;
mod lexer;
mod literal;
mod messages;
mod parser;
pub mod span;
mod stream;
mod tree;

/// The parser that lalrpop makes from `grammar.lalrpop`.
#[allow(clippy::all, clippy::pedantic, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#[allow(missing_docs, unused_qualifications, unused_imports, unused_parens, dead_code)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/grammar.rs"));
}

use std::rc::Rc;

pub use cpp::Preamble;
use span::{FileId, Span};

/// What parsing needs to know besides the text.
#[derive(Clone, Debug, Default)]
pub struct ParseOptions {
    /// Macros that the preprocessor knows from the start, for instance `("BPFTRACE_HAVE_BTF", "1")`.
    pub defines: Vec<(String, String)>,
}

/// A parsed script; usable as far as there are no errors.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// The tree. Where there were errors it holds `Error` nodes or lacks items.
    pub script: ast::Script,
    /// In textual order.
    pub errors: Vec<SyntaxError>,
}

/// A parsed header.
#[derive(Clone, Debug, Default)]
pub struct ParsedHeader {
    /// In textual order.
    pub items: Vec<c_ast::CItem>,
    /// In textual order.
    pub errors: Vec<SyntaxError>,
}

/// A header that `#include` names.
#[derive(Clone, Debug)]
pub struct Header {
    /// The same for the same file, however it is named.
    pub file: FileId,
    /// Its text.
    pub text: Rc<str>,
}

/// Where `#include` finds its headers.
pub trait Headers {
    /// The header of a path, named in angle brackets (`system`) or in quotes by the file `from`. `None` when it is not
    /// there: the line then is noted and has no effect. A reason when it cannot be read.
    fn open(&self, path: &str, system: bool, from: FileId) -> Result<Option<Header>, String>;
}

/// No header is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHeaders;

impl Headers for NoHeaders {
    fn open(&self, _: &str, _: bool, _: FileId) -> Result<Option<Header>, String> {
        Ok(None)
    }
}

/// Parses a script that stands alone. Never panics; texts longer than 4 GiB are cut off.
pub fn parse(file: FileId, text: &str, opts: &ParseOptions) -> Parsed {
    parse_among(file, text, &mut Preamble::new(opts), &NoHeaders)
}

/// Parses a script among other files: with the macros of those before, and with the headers that it includes.
pub fn parse_among(file: FileId, text: &str, preamble: &mut Preamble, headers: &dyn Headers) -> Parsed {
    let output = parser::run(file, text, preamble, headers);
    Parsed { script: output.script, errors: output.errors }
}

/// Parses a header: C declarations and preprocessor lines; what defines no type is skipped, and so is a header that says
/// `#pragma once` and was read before.
pub fn parse_header(file: FileId, text: &str, preamble: &mut Preamble, headers: &dyn Headers) -> ParsedHeader {
    if preamble.is_done(file) {
        return ParsedHeader::default();
    }
    let cpp = cpp::Preprocessor::new(file, preamble, headers, cpp::Strictness::Header);
    let (items, errors) = parser::header(text, cpp);
    let items = items.into_iter().filter_map(|item| if let ast::Item::C(item) = item { Some(item) } else { None });
    ParsedHeader { items: items.collect(), errors }
}

/// Parses a text that is one expression, for instance a macro's replacement or a parameter.
pub fn parse_expr(file: FileId, text: &str) -> Result<ast::Expr, Vec<SyntaxError>> {
    parser::expression(file, text, 0..text.len())
}

/// Formats a script; yields the errors when it does not parse. Formatting twice gives what formatting once gives.
pub fn format(text: &str) -> Result<String, Vec<SyntaxError>> {
    format::script(text)
}

/// A mistake in the text; parsing goes on after it where it can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong, in one line without a full stop.
    pub message: String,
    /// Where.
    pub span: Span,
    /// Other places that explain it, for instance the brace that was never closed.
    pub labels: Vec<(Span, String)>,
    /// What to do about it.
    pub help: Option<String>,
}

impl SyntaxError {
    fn new(message: &str, span: Span) -> Self {
        SyntaxError { message: message.to_owned(), span, labels: Vec::new(), help: None }
    }

    fn label(mut self, span: Span, text: &str) -> Self {
        self.labels.push((span, text.to_owned()));
        self
    }

    fn help(mut self, text: &str) -> Self {
        self.help = Some(text.to_owned());
        self
    }
}
