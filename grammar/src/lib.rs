//! Text to syntax tree: the lexer, the parser, the C declaration grammar and the formatter of the tapline language.
//!
//! Nothing here knows a kernel, a type or a builtin.

pub mod ast;
pub mod c_ast;
pub mod span;

use span::Span;

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
