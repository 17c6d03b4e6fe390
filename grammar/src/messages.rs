//! Words for syntax errors: what was expected, in the terms of somebody who writes scripts.

use crate::SyntaxError;
use crate::header::Header;
use crate::lexer::{Located, Tok};
use crate::span::{FileId, Span};

/// A probe head without an action.
pub(crate) fn no_action(text: &str, header: &Header, file: FileId) -> SyntaxError {
    let rest = text.get(header.end..).unwrap_or_default();
    let at = header.end as u32;
    let Some(last) = header.attach_points.last() else {
        let found = rest.chars().next().map_or_else(String::new, |c| format!(", found `{c}`"));
        let end = at + rest.chars().next().map_or(0, |c| c.len_utf8() as u32);
        return SyntaxError::new(&format!("expected a probe{found}"), Span::new(file, at, end))
            .help("a probe is written `provider:what { action }`, for instance `kprobe:vfs_read { @ = count(); }`");
    };
    if last.parts.len() == 1 && last.raw.contains('(') {
        let name = last.raw.split('(').next().unwrap_or_default();
        return SyntaxError::new(&format!("expected a probe, found `{name}`"), last.span)
            .help("statements stand inside a probe's braces, for instance `begin { … }`");
    }
    if rest.is_empty() {
        return SyntaxError::new(
            "expected `{` and an action after the attach point, found the end of the script",
            last.span,
        )
        .help("add an action, for instance `{ @ = count(); }`");
    }
    let end = at + rest.chars().next().map_or(0, |c| c.len_utf8() as u32);
    let found = rest.chars().next().unwrap_or(' ');
    SyntaxError::new(
        &format!("expected `{{` and an action after the attach point, found `{found}`"),
        Span::new(file, at, end),
    )
    .label(last.span, "the attach point ends here")
}

/// How a token is called in a message.
fn describe(tok: Option<&Located<'_>>, text: &str) -> String {
    match tok {
        None => "the end of the script".to_owned(),
        Some((l, Tok::RBrace, r)) if l == r => "the end of the script".to_owned(),
        Some((_, Tok::PredClose, _)) => "the end of the predicate".to_owned(),
        Some((l, _, r)) => format!("`{}`", shorten(text.get(*l as usize..*r as usize).unwrap_or_default())),
    }
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= 30 && !text.contains('\n') {
        return text.to_owned();
    }
    let line = text.lines().next().unwrap_or_default();
    format!("{}…", line.chars().take(28).collect::<String>())
}

/// What the token before calls for.
fn after(tok: Option<&Located<'_>>, text: &str) -> String {
    match tok {
        Some((_, Tok::StartExpr | Tok::StartProbe, _)) | None => String::new(),
        Some((_, Tok::PredOpen, _)) => " after the opening `/`".to_owned(),
        Some((_, Tok::CastOpen, _)) => " after `(`".to_owned(),
        Some((l, _, r)) => {
            format!(" after `{}`", shorten(text.get(*l as usize..*r as usize).unwrap_or_default()))
        }
    }
}

/// The innermost bracket that is open before a token.
fn innermost_open<'t, 's>(toks: &'t [Located<'s>], at: usize) -> Option<(usize, &'t Located<'s>)> {
    let mut nest = 0u32;
    for (i, tok) in toks.iter().enumerate().take(at).rev() {
        match tok.1 {
            Tok::RParen | Tok::RBracket | Tok::RBrace => nest += 1,
            Tok::LParen | Tok::CastOpen | Tok::LBracket | Tok::LBrace | Tok::ExprBrace => {
                if nest == 0 {
                    return Some((i, tok));
                }
                nest -= 1;
            }
            _ => {}
        }
    }
    None
}

/// The message for a token that does not fit.
pub(crate) fn unexpected(
    toks: &[Located<'_>],
    at: usize,
    expected: &[String],
    text: &str,
    file: FileId,
) -> SyntaxError {
    let has = |name: &str| expected.iter().any(|e| e.trim_matches('"') == name);
    let tok = toks.get(at);
    let prev = at.checked_sub(1).and_then(|p| toks.get(p));
    let found = describe(tok, text);
    let span = match (tok, prev) {
        (Some((l, _, r)), _) if l != r => Span::new(file, *l, *r),
        (_, Some((l, _, r))) => Span::new(file, *l, *r),
        _ => Span::new(file, 0, 0),
    };
    let open = innermost_open(toks, at);

    if matches!(tok, Some((_, Tok::Assign, _))) && in_predicate(toks, at) {
        return SyntaxError::new("an assignment is a statement, not an expression", span)
            .help("to compare, write `==`");
    }
    if let (Some((l, Tok::Ident(_), r)), Some((_, Tok::Ident(name), _))) = (prev, tok)
        && matches!(toks.get(at + 1), Some((_, Tok::Assign, _)))
    {
        let ty = text.get(*l as usize..*r as usize).unwrap_or_default();
        return SyntaxError::new(&format!("expected `;` or `}}`, found {found}"), span)
            .help(&format!("a variable is declared by `let ${name}`, with a type by `let ${name} : {ty}`"));
    }

    // The head of a loop.
    let in_loop = match open {
        Some((i, (_, Tok::LParen, _))) => i.checked_sub(1).and_then(|b| toks.get(b)).is_some_and(|t| t.1 == Tok::For),
        _ => matches!(prev, Some((_, Tok::For, _))),
    };
    if in_loop && (has(":") || has("var") && !has("int")) {
        let wanted = if has(":") { "`:`" } else { "a variable (`$x`)" };
        return SyntaxError::new(&format!("expected {wanted}{}, found {found}", after(prev, text)), span)
            .help("a loop is written `for ($i : 0..10)` or `for ($kv : @map)`");
    }

    // A type is missing.
    if has("struct") && has("name") && !has("int") {
        return SyntaxError::new(&format!("expected a type{}, found {found}", after(prev, text)), span);
    }

    // An operand is missing.
    if has("int") && has("var") {
        if matches!(prev, Some((_, Tok::LBracket, _))) {
            return SyntaxError::new(&format!("expected a key or an index between the brackets, found {found}"), span);
        }
        let what = if has("let") { "a statement" } else { "an expression" };
        let error = SyntaxError::new(&format!("expected {what}{}, found {found}", after(prev, text)), span);
        return match tok.map(|t| t.1) {
            Some(Tok::Else) => error.help("`else` follows the closing brace of an `if`"),
            Some(Tok::Struct | Tok::Union | Tok::Enum) => error.help("a cast is written `(struct name *)value`"),
            _ => error,
        };
    }

    // An operand is complete, and something does not go on. The parser may have closed the expression before it met the
    // mistake; then operators are no longer among what it expects.
    if has("infix") || prev.is_some_and(|p| ends_operand(p.1)) {
        if let Some((i, (l, bracket, r))) = open {
            let opener = Span::new(file, *l, *r);
            let before = i.checked_sub(1).and_then(|b| toks.get(b)).map(|t| t.1);
            if matches!(tok, Some((_, Tok::Assign, _))) && *bracket == Tok::LParen {
                return SyntaxError::new("an assignment is a statement, not an expression", span)
                    .help("to compare, write `==`");
            }
            match bracket {
                Tok::LParen | Tok::CastOpen if matches!(before, Some(Tok::Ident(_))) && has(")") => {
                    return SyntaxError::new(&format!("expected `,` or `)`, found {found}"), span)
                        .label(opener, "the arguments begin here");
                }
                Tok::LParen | Tok::CastOpen if has(")") => {
                    return SyntaxError::new(&format!("expected `)`, found {found}"), span)
                        .label(opener, "to close this parenthesis");
                }
                Tok::LBracket if has("]") => {
                    return SyntaxError::new(&format!("expected `]`, found {found}"), span)
                        .label(opener, "to close this bracket");
                }
                _ => {}
            }
        }
        if has("pred close") {
            return SyntaxError::new(&format!("expected the `/` that ends the predicate, found {found}"), span)
                .help("a predicate is closed by a slash before the `{` of the action");
        }
        if has("{") {
            if matches!(tok, Some((_, Tok::Assign, _))) {
                return SyntaxError::new("an assignment is a statement, not an expression", span)
                    .help("to compare, write `==`");
            }
            return SyntaxError::new(&format!("expected `{{`, found {found}"), span)
                .help("the body of `if`, `while`, `for` and `unroll` stands in braces");
        }
        if is_list(open, tok) {
            return SyntaxError::new(&format!("expected `;` or `}}`, found {found}"), span)
                .help("a tuple stands in parentheses: `(1, 2)`");
        }
        if has(";") {
            return missing_semicolon(prev, span, &found, file, text);
        }
    }
    if has(";") && has("}") {
        return missing_semicolon(prev, span, &found, file, text);
    }

    let mut terms: Vec<&str> = TERMS.iter().filter(|(name, _)| has(name)).map(|(_, term)| *term).collect();
    terms.dedup();
    let wanted = match terms.as_slice() {
        [] => "nothing more".to_owned(),
        [one] => (*one).to_owned(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    };
    let error = SyntaxError::new(&format!("expected {wanted}{}, found {found}", after(prev, text)), span);
    match open {
        Some((_, (l, Tok::LParen | Tok::CastOpen, r))) if has(")") => {
            error.label(Span::new(file, *l, *r), "to close this parenthesis")
        }
        _ => error,
    }
}

/// Whether a token stands between the slashes of a predicate.
fn in_predicate(toks: &[Located<'_>], at: usize) -> bool {
    let before = toks.iter().take(at).rev().map(|tok| tok.1);
    let mut bounds = before.filter(|tok| matches!(tok, Tok::PredOpen | Tok::PredClose | Tok::LBrace | Tok::RBrace));
    bounds.next() == Some(Tok::PredOpen)
}

/// Whether an operand may end with the token.
fn ends_operand(tok: Tok<'_>) -> bool {
    matches!(
        tok,
        Tok::Ident(_)
            | Tok::Var(_)
            | Tok::Param(_)
            | Tok::ParamCount
            | Tok::Map(_)
            | Tok::Int(_)
            | Tok::Str(_)
            | Tok::True
            | Tok::False
            | Tok::RParen
            | Tok::RBracket
            | Tok::RBrace
            | Tok::PlusPlus
            | Tok::MinusMinus
    )
}

/// A list in braces is the C form of what is a tuple here.
fn is_list(open: Option<(usize, &Located<'_>)>, tok: Option<&Located<'_>>) -> bool {
    matches!((open, tok), (Some((_, (_, Tok::ExprBrace, _))), Some((_, Tok::Comma, _))))
}

fn missing_semicolon(prev: Option<&Located<'_>>, span: Span, found: &str, file: FileId, text: &str) -> SyntaxError {
    let error = SyntaxError::new(&format!("expected `;` or `}}`, found {found}"), span);
    match prev {
        Some((_, _, r)) => {
            let last = text.get(..*r as usize).and_then(|before| before.chars().next_back()).map_or(0, char::len_utf8);
            let end = Span::new(file, r.saturating_sub(last as u32), *r);
            error.label(end, "the statement before ends here").help("statements are separated by `;`")
        }
        None => error,
    }
}

/// Terminals of the grammar in the user's words, in the order in which they are listed.
const TERMS: &[(&str, &str)] = &[
    ("name", "a name"),
    ("type name", "a name"),
    ("var", "a variable (`$x`)"),
    ("map", "a map (`@x`)"),
    ("int", "a number"),
    ("str", "a string"),
    ("struct", "a type"),
    ("type typeof", "a type"),
    ("let", "a statement"),
    ("pred close", "the `/` that ends the predicate"),
    ("infix", "an operator"),
    ("if", "`if`"),
    ("(", "`(`"),
    (")", "`)`"),
    ("[", "`[`"),
    ("]", "`]`"),
    ("{", "`{`"),
    ("expr {", "`{`"),
    ("}", "`}`"),
    ("=", "`=`"),
    (":", "`:`"),
    (",", "`,`"),
    (";", "`;`"),
    ("..", "`..`"),
];
