//! The one diagnostic type of compiler and runtime. It is data; rendering to text happens in `render`, printing in the CLI.

use tapline_grammar::SyntaxError;
use tapline_grammar::span::Span;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Additional information, shown with `-v`.
    Note,
    /// The script runs, but probably not as meant.
    Warning,
    /// The script cannot run.
    Error,
    /// A bug of tapline: the message asks for a report.
    Internal,
}

/// A message about a place in the script.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Stable short code, for instance `unknown-function`.
    pub code: &'static str,
    /// One line, lower case, no full stop: what is wrong in the user's terms.
    pub message: String,
    /// The exact place; `None` for messages about the environment (privilege, tracefs).
    pub span: Option<Span>,
    /// Text under the primary span; may be empty.
    pub label: String,
    /// Other places that explain it ("the key was first used as an integer here").
    pub labels: Vec<(Span, String)>,
    /// Facts that help to understand.
    pub notes: Vec<String>,
    /// What to do about it.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// A diagnostic with the given severity and no decorations.
    pub fn new(
        severity: Severity,
        code: &'static str,
        message: impl Into<String>,
        span: impl Into<Option<Span>>,
    ) -> Self {
        Self {
            severity,
            code,
            message: message.into(),
            span: span.into(),
            label: String::new(),
            labels: Vec::new(),
            notes: Vec::new(),
            help: Vec::new(),
        }
    }
    /// An error.
    pub fn error(code: &'static str, message: impl Into<String>, span: impl Into<Option<Span>>) -> Self {
        Self::new(Severity::Error, code, message, span)
    }
    /// A warning.
    pub fn warning(code: &'static str, message: impl Into<String>, span: impl Into<Option<Span>>) -> Self {
        Self::new(Severity::Warning, code, message, span)
    }
    /// A bug of tapline.
    pub fn internal(message: impl Into<String>, span: impl Into<Option<Span>>) -> Self {
        Self::new(Severity::Internal, "internal", message, span)
    }
    /// Adds the text under the primary span.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.label = text.into();
        self
    }
    /// Adds another place.
    #[must_use]
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push((span, text.into()));
        self
    }
    /// Adds a fact.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }
    /// Adds a way out.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }
    /// True when the script cannot run.
    pub fn is_error(&self) -> bool {
        self.severity >= Severity::Error
    }
}

impl From<SyntaxError> for Diagnostic {
    fn from(e: SyntaxError) -> Self {
        let mut d = Self::error("syntax", e.message, e.span);
        d.labels = e.labels;
        d.help = e.help.into_iter().collect();
        d
    }
}

/// Diagnostics collected by a pass, in the order of discovery.
pub type Diagnostics = Vec<Diagnostic>;
