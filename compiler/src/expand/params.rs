//! Positional parameters (`$1`, `$#`) and named ones (`getopt`), replaced by their values.
//!
//! A parameter that reads as a number is a number, except where a string must stand: as the argument of `str`, and compared with a
//! string. Everything else is a string. One that was not given is 0, or the empty string.

use std::collections::BTreeMap;

use tapline_grammar::ast::{BinOp, Expr, ExprKind, TypeExpr, UnOp};
use tapline_grammar::c_constant::{self, Number, Operands};
use tapline_grammar::span::{Span, Spanned};

use super::walk::{self, Visitor};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::number;

/// What the command line gives to the script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// `$1`, `$2` …
    pub positional: Vec<String>,
    /// `--name=value` after `--`; `None` for a bare `--name`.
    pub named: Vec<(String, Option<String>)>,
}

impl Parameters {
    /// `$n`, from 1; an empty argument counts as not given.
    pub(super) fn get(&self, n: u32) -> Option<&str> {
        let index = (n as usize).checked_sub(1)?;
        self.positional.get(index).map(String::as_str).filter(|s| !s.is_empty())
    }
}

/// Replaces the parameters of one script; remembers what it warned about.
pub(super) struct Substitute<'a> {
    params: &'a Parameters,
    diagnostics: &'a mut Diagnostics,
    /// Options that the script asks for, with the text of their defaults.
    options: BTreeMap<String, String>,
    /// Parameters that were not given, where they were first asked for.
    unset: BTreeMap<u32, Span>,
    /// The script looks at `$#`: it knows what to do without a parameter.
    counts: bool,
}

impl<'a> Substitute<'a> {
    pub(super) fn new(params: &'a Parameters, diagnostics: &'a mut Diagnostics) -> Self {
        Self { params, diagnostics, options: BTreeMap::new(), unset: BTreeMap::new(), counts: false }
    }

    /// Warns about parameters that were not given, and complains about named ones that the script never asks for.
    pub(super) fn finish(self) {
        if !self.counts {
            for (n, span) in &self.unset {
                self.diagnostics.push(self.not_given(*n, *span));
            }
        }
        for (name, _) in &self.params.named {
            if self.options.contains_key(name) {
                continue;
            }
            let mut d =
                Diagnostic::error("unknown-option", format!("the script has no option `{}`", option(name)), None);
            if let Some(close) = crate::similar::closest(name, self.options.keys().map(String::as_str)) {
                d = d.help(format!("did you mean `{}`?", option(close)));
            } else if self.options.is_empty() {
                d = d.note("it takes no named options");
            } else {
                let all: Vec<String> = self.options.keys().map(|name| option(name)).collect();
                d = d.note(format!("its options are: {}", all.join(", ")));
            }
            self.diagnostics.push(d);
        }
    }

    /// The text of a parameter in an attach point.
    pub(super) fn in_attach_point(&mut self, text: &str, span: Span) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, after) = rest.split_at(at);
            out.push_str(before);
            let after = after.strip_prefix('$').unwrap_or(after);
            let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            let (number, tail) = after.split_at(digits);
            if let Ok(n) = number.parse::<u32>() {
                out.push_str(&self.text(n, span));
                rest = tail;
            } else if let Some(tail) = after.strip_prefix('#') {
                self.counts = true;
                out.push_str(&self.params.positional.len().to_string());
                rest = tail;
            } else {
                out.push('$');
                rest = after;
            }
        }
        out.push_str(rest);
        out
    }

    /// `$n` as text.
    fn text(&mut self, n: u32, span: Span) -> String {
        if let Some(text) = self.params.get(n) {
            return text.to_owned();
        }
        self.unset.entry(n).or_insert(span);
        String::new()
    }

    fn not_given(&self, n: u32, span: Span) -> Diagnostic {
        let given = match self.params.positional.len() {
            0 => "no parameters were given".to_owned(),
            1 => "one parameter was given".to_owned(),
            more => format!("{more} parameters were given"),
        };
        Diagnostic::warning("unset-parameter", format!("the parameter `${n}` was not given"), span)
            .label("stands for 0 or an empty string")
            .note(format!("{given}; parameters follow the script's name on the command line"))
    }

    fn value(&mut self, n: u32, as_string: bool, span: Span) -> ExprKind {
        let text = self.text(n, span);
        if as_string { ExprKind::Str(text.into_bytes()) } else { literal(&text, span) }
    }

    /// The argument of `str`: `$1` or `$1 + n`, which leaves out the first n bytes.
    fn string_argument(&mut self, e: &mut Expr) -> bool {
        match &e.kind {
            ExprKind::Param(n) => {
                e.kind = self.value(*n, true, e.span);
                true
            }
            ExprKind::Binary { op: BinOp::Add, lhs, rhs } => {
                let (ExprKind::Param(n), ExprKind::Int { value, .. }) = (&lhs.kind, &rhs.kind) else { return false };
                let (n, skip, span) = (*n, *value, e.span);
                let text = self.text(n, span);
                if let Some(rest) = usize::try_from(skip).ok().and_then(|skip| text.as_bytes().get(skip..)) {
                    e.kind = ExprKind::Str(rest.to_vec());
                } else {
                    let message = format!("the parameter `${n}` has {} bytes only", text.len());
                    let d = Diagnostic::warning("parameter-offset", message, span);
                    self.diagnostics.push(d.label(format!("{skip} is past its end: always empty")));
                    e.kind = ExprKind::Str(Vec::new());
                }
                true
            }
            _ => false,
        }
    }

    /// `getopt(name [, default [, description]])`; `None` leaves the call for the checker to refuse.
    fn option(&mut self, args: &[Expr], span: Span) -> Option<ExprKind> {
        let (first, rest) = args.split_first()?;
        let ExprKind::Str(name) = &first.kind else { return None };
        let name = String::from_utf8_lossy(name).into_owned();
        // A description alone may follow the name only after a default.
        let mut written = rest.first().cloned();
        let mut default = None;
        if let Some(written) = &mut written {
            walk::expr(self, written);
            default = literal_of(written);
            if default.is_none() {
                let message = format!("the default of the option `--{name}` is not a literal");
                let d = Diagnostic::error("getopt", message, written.span);
                self.diagnostics.push(d.help("a default is a number, a string in quotes, `true` or `false`"));
                return Some(ExprKind::Error);
            }
        }
        if let Some(surplus) = rest.get(1).filter(|e| !matches!(e.kind, ExprKind::Str(_))).or(rest.get(2)) {
            let message = "an option has a name, a default and a description, which is a string in quotes";
            let d = Diagnostic::error("getopt", message, surplus.span);
            self.diagnostics.push(d.help(format!("for instance `getopt(\"{name}\", 1, \"what it means\")`")));
        }
        let shown = default.as_ref().map(shown).unwrap_or_default();
        if let Some(before) = self.options.insert(name.clone(), shown.clone())
            && before != shown
        {
            let message = format!("the option `--{name}` has two defaults: `{before}` and `{shown}`");
            let d = Diagnostic::error("getopt", message, span);
            self.diagnostics.push(d.help("an option has one default wherever it is asked for"));
        }
        let given = self.params.named.iter().rev().find(|(n, _)| *n == name).map(|(_, value)| value.clone());
        let Some(given) = given else {
            return Some(default.unwrap_or(ExprKind::Bool(false)));
        };
        let bad = |what: &str, value: &str| {
            Diagnostic::error("bad-option", format!("the option `--{name}` expects {what}"), span)
                .label("asked for here")
                .note(format!("the command line says `{value}`"))
                .help(format!("write `--{name}=VALUE`"))
        };
        match (default, given) {
            (Some(ExprKind::Str(_)), Some(value)) => Some(ExprKind::Str(value.into_bytes())),
            (Some(ExprKind::Str(_)), None) => {
                self.diagnostics.push(bad("a value", "nothing"));
                Some(ExprKind::Str(Vec::new()))
            }
            (None | Some(ExprKind::Bool(_)), None) => Some(ExprKind::Bool(true)),
            (None | Some(ExprKind::Bool(_)), Some(word)) => {
                let truth = number::truth(&word);
                if truth.is_none() {
                    self.diagnostics.push(bad("true or false", &word));
                }
                Some(ExprKind::Bool(truth.unwrap_or_default()))
            }
            (Some(_), value) => {
                let text = value.unwrap_or_default();
                if number::parse_signed(&text).is_none() {
                    let shown = if text.is_empty() { "nothing" } else { &text };
                    self.diagnostics.push(bad("a number", shown));
                    return Some(integer(0, false, span));
                }
                Some(literal(&text, span))
            }
        }
    }
}

impl Visitor for Substitute<'_> {
    fn expr(&mut self, e: &mut Expr) -> bool {
        let span = e.span;
        match &mut e.kind {
            ExprKind::Param(n) => e.kind = self.value(*n, false, span),
            ExprKind::ParamCount => {
                self.counts = true;
                e.kind = integer(self.params.positional.len() as u64, false, span);
            }
            ExprKind::Call { name, args } if name.node == "str" => {
                let Some(first) = args.first_mut() else { return true };
                if self.string_argument(first)
                    && args.len() == 1
                    && matches!(args.first(), Some(Expr { kind: ExprKind::Str(_), .. }))
                {
                    let literal = args.remove(0);
                    e.kind = literal.kind;
                    return false;
                }
            }
            ExprKind::Call { name, args } if name.node == "getopt" => {
                let args = std::mem::take(args);
                e.kind = self.option(&args, span).unwrap_or_else(|| {
                    let d = Diagnostic::error("getopt", "the name of an option must be a string in quotes", span);
                    self.diagnostics.push(d.help("for instance `getopt(\"interval\", 1)`"));
                    ExprKind::Error
                });
                return false;
            }
            ExprKind::Binary { op: BinOp::Eq | BinOp::Ne, lhs, rhs } => {
                // Beside a string, a parameter is a string even if it looks like a number.
                match (&lhs.kind, &rhs.kind) {
                    (ExprKind::Param(n), ExprKind::Str(_)) => lhs.kind = self.value(*n, true, lhs.span),
                    (ExprKind::Str(_), ExprKind::Param(n)) => rhs.kind = self.value(*n, true, rhs.span),
                    _ => {}
                }
            }
            ExprKind::Binary { op: BinOp::Add, lhs, rhs } => {
                if let (ExprKind::Param(n), ExprKind::Int { .. }) = (&lhs.kind, &rhs.kind)
                    && self.params.get(*n).is_some_and(|text| number::parse_signed(text).is_none())
                {
                    return !self.string_argument(e);
                }
            }
            _ => {}
        }
        true
    }
}

/// A number where the text is one, else a string. Nothing is 0.
fn literal(text: &str, span: Span) -> ExprKind {
    if text.is_empty() {
        return integer(0, false, span);
    }
    match number::parse_signed(text) {
        Some((value, negative)) => integer(value, negative, span),
        None => ExprKind::Str(text.as_bytes().to_vec()),
    }
}

/// A default that consists of literals, as the one that it comes to.
pub(super) fn literal_of(e: &Expr) -> Option<ExprKind> {
    use BinOp::{And, Eq, Ge, Gt, Le, Lt, Ne, Or};
    match &e.kind {
        ExprKind::Int { .. } | ExprKind::Str(_) | ExprKind::Bool(_) => Some(e.kind.clone()),
        kind => {
            let number = c_constant::evaluate(e, &mut Literals).ok()?.value;
            Some(match kind {
                ExprKind::Unary { op: UnOp::Not, .. }
                | ExprKind::Binary { op: Eq | Ne | Lt | Le | Gt | Ge | And | Or, .. } => ExprKind::Bool(number != 0),
                _ => integer(number as u64, number < 0, e.span),
            })
        }
    }
}

/// A literal as text.
pub(super) fn shown(literal: &ExprKind) -> String {
    match literal {
        ExprKind::Int { text, .. } => text.clone(),
        ExprKind::Unary { op: UnOp::Neg, expr } => format!("-{}", shown(&expr.kind)),
        ExprKind::Str(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ExprKind::Bool(truth) => truth.to_string(),
        _ => String::new(),
    }
}

/// Nothing has a value but literals.
struct Literals;

impl Operands for Literals {
    const INT: u32 = 64;

    fn operand(&mut self, _: &Expr) -> Result<Number, String> {
        Err("this is no literal".to_owned())
    }

    fn cast(&mut self, _: &TypeExpr, _: Number) -> Result<Number, String> {
        Err("a cast is no literal".to_owned())
    }
}

/// An integer as the parser would have made it: a negative one is the negation of a positive one.
fn integer(value: u64, negative: bool, span: Span) -> ExprKind {
    if !negative {
        return ExprKind::Int { value, text: value.to_string() };
    }
    let value = value.wrapping_neg();
    let positive = Expr { kind: ExprKind::Int { value, text: value.to_string() }, span };
    ExprKind::Unary { op: UnOp::Neg, expr: Box::new(positive) }
}

/// Splits a text at `:` outside quotes and brackets, and removes the quotes, as the parser does with attach points.
pub(super) fn split_parts(text: &str, span: Span) -> Vec<Spanned<String>> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut bracket) = (false, false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ':' if !quoted && !bracket => parts.push(String::new()),
            _ => {
                match c {
                    '[' if !quoted => bracket = true,
                    ']' if !quoted => bracket = false,
                    _ => {}
                }
                if let Some(last) = parts.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    parts.into_iter().map(|node| Spanned { node, span }).collect()
}

/// An option as one writes it: `-t`, `--top`.
fn option(name: &str) -> String {
    format!("{}{name}", if name.chars().count() == 1 { "-" } else { "--" })
}
