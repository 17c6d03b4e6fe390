//! The tokens of a C declaration: where it ends, the directives in its middle, and the macros in it.
//!
//! Invariant: macro replacement ends; it is bounded in depth and in the number of tokens.

use std::collections::HashMap;

use logos::Logos;

use crate::SyntaxError;
use crate::ast::Item;
use crate::c_parse;
use crate::cpp::{MacroText, Preprocessor, Sinks, Strictness};
use crate::lexer::{Located, Tok};
use crate::span::{FileId, Span};
use crate::stream;

/// Macros may refer to each other this deep.
const MAX_EXPANSIONS: u32 = 16;
/// A declaration may have so many tokens.
const MAX_TOKENS: usize = 200_000;

/// Whether a word at the top level of a script, followed by this text, starts a C declaration.
pub(crate) fn starts_declaration(word: &str, after: &str) -> bool {
    matches!(word, "struct" | "union" | "enum" | "typedef" | "static" | "extern" | "inline")
        && after.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '{')
}

/// All macros are kept for the tokens before so many `#undef`s of a declaration; headers have one or two in it.
const MOST_COPIES: usize = 16;

/// What was read of a declaration.
struct Raw<'t> {
    toks: Vec<Located<'t>>,
    /// Where it ends.
    end: usize,
    /// Lists in structs are often macros that are undefined below them: the macros that held for the tokens up to here.
    before: Vec<(usize, HashMap<String, MacroText>)>,
}

/// Reads declarations of one text.
pub(crate) struct Declarations<'p, 't, 'h> {
    cpp: &'p mut Preprocessor<'h>,
    text: &'t str,
    file: FileId,
}

impl<'p, 't, 'h> Declarations<'p, 't, 'h> {
    pub(crate) fn new(cpp: &'p mut Preprocessor<'h>, text: &'t str, file: FileId) -> Self {
        Declarations { cpp, text, file }
    }

    /// Reads the declaration that starts at `start`; yields where it ends.
    pub(crate) fn read(&mut self, start: usize, sinks: &mut Sinks<'_>) -> usize {
        let Raw { toks: raw, end, before } = self.collect(start, sinks);
        if raw.is_empty() {
            return end;
        }
        if self.cpp.strictness() == Strictness::Script
            && let Some(brace) = function_body(&raw)
        {
            let span = Span::new(self.file, brace.0, brace.2);
            let error = SyntaxError::new("a function in C cannot be part of a script", span);
            sinks.errors.push(error.help("write it as `macro name(…) { … }` or `fn name(…) : type { … }`"));
            return end;
        }
        // Taken out while the tokens borrow their texts; nothing below defines a macro.
        let macros = self.cpp.take_macros();
        let mut toks = Vec::with_capacity(raw.len());
        let mut budget = MAX_TOKENS;
        let mut from = 0;
        for (upto, macros) in before.iter().map(|(upto, macros)| (*upto, macros)).chain([(raw.len(), &macros)]) {
            expand(macros, raw.get(from..upto).unwrap_or_default(), 0, &mut budget, &mut toks);
            from = upto;
        }
        let mut items = Vec::new();
        match c_parse::declaration(&toks, self.text, self.file, &macros, &mut items) {
            Ok(()) => sinks.items.extend(items.into_iter().map(Item::C)),
            Err(_) if self.cpp.strictness() == Strictness::System => {}
            Err(error) => sinks.errors.push(*error),
        }
        self.cpp.put_macros(macros);
        end
    }

    /// The tokens of a declaration, up to its `;`, or to the brace after which something else begins.
    fn collect(&mut self, start: usize, sinks: &mut Sinks<'_>) -> Raw<'t> {
        let mut toks: Vec<Located<'t>> = Vec::new();
        let mut before = Vec::new();
        let mut open: Vec<u32> = Vec::new();
        let mut parentheses = 0u32;
        let mut closed = false;
        let mut pos = start;
        while let Some((tok, l, r)) = self.next(pos) {
            pos = r;
            match tok {
                None if self.cpp.strictness() != Strictness::Script => continue,
                None => {
                    let slice = self.text.get(l..r).unwrap_or_default();
                    let message = format!("`{}` does not belong into a C declaration", slice.escape_debug());
                    sinks.errors.push(SyntaxError::new(&message, Span::new(self.file, l as u32, r as u32)));
                    continue;
                }
                Some(Tok::LineComment | Tok::BlockComment) => {
                    sinks.comments.push(Span::new(self.file, l as u32, r as u32));
                    continue;
                }
                Some(Tok::Hash) => {
                    let undefines = matches!(self.next(r), Some((Some(Tok::Ident("undef")), ..)));
                    if undefines && !toks.is_empty() && before.len() < MOST_COPIES {
                        before.push((toks.len(), self.cpp.macros().clone()));
                    }
                    pos = self.cpp.directive(self.text, l, sinks).max(r);
                    continue;
                }
                Some(Tok::Ident(word)) if !open.is_empty() && self.starts_probe(word, l) => {
                    pos = l;
                    break;
                }
                Some(tok) => {
                    toks.push((l as u32, tok, r as u32));
                    match tok {
                        Tok::LBrace => open.push(l as u32),
                        Tok::RBrace => {
                            open.pop();
                            closed = open.is_empty();
                            if closed && self.ends_after_brace(&toks, r) {
                                return Raw { toks, end: r, before };
                            }
                        }
                        Tok::LParen => parentheses += 1,
                        Tok::RParen => {
                            parentheses = parentheses.saturating_sub(1);
                            // An attribute after the brace may be the last that belongs to the declaration.
                            let after_brace = closed && self.ends_after_brace(&toks, r);
                            if open.is_empty() && parentheses == 0 && (after_brace || self.is_definition(&toks)) {
                                return Raw { toks, end: r, before };
                            }
                        }
                        Tok::Semi if open.is_empty() => return Raw { toks, end: r, before },
                        _ => {}
                    }
                }
            }
            if toks.len() > MAX_TOKENS {
                break;
            }
        }
        if let Some(at) = open.first() {
            let span = Span::new(self.file, *at, *at + 1);
            sinks
                .errors
                .push(SyntaxError::new("this brace is never closed", span).help("add `};` where the type ends"));
            // Nothing more is to be said about this declaration.
            return Raw { toks: Vec::new(), end: pos, before };
        }
        Raw { toks, end: self.text.len(), before }
    }

    /// Whether the tokens are the use of a macro that makes a whole definition, so that no `;` follows.
    fn is_definition(&self, toks: &[Located<'t>]) -> bool {
        let (Some((_, Tok::Ident(name), _)), Some((_, Tok::LParen, _))) = (toks.first(), toks.get(1)) else {
            return false;
        };
        self.cpp.macros().get(*name).is_some_and(|text| text.params.is_some() && text.body.trim_end().ends_with('}'))
    }

    /// Whether the word at the start of a line is the next probe: a brace is missing.
    fn starts_probe(&self, word: &str, pos: usize) -> bool {
        self.text.get(..pos).is_some_and(|before| before.ends_with('\n')) && stream::starts_probe(self.text, word, pos)
    }

    /// The next token; `None` inside for what is no token.
    fn next(&self, pos: usize) -> Option<(Option<Tok<'t>>, usize, usize)> {
        let mut lexer = Tok::lexer(self.text.get(pos..)?);
        let token = lexer.next()?;
        Some((token.ok(), pos + lexer.span().start, pos + lexer.span().end))
    }

    /// Whether the declaration is over after a closing brace: the `;` may be missing, and a declarator or an attribute
    /// may follow.
    fn ends_after_brace(&self, toks: &[Located<'t>], pos: usize) -> bool {
        match toks.first().map(|t| t.1) {
            Some(Tok::Ident("typedef")) => return false,
            Some(Tok::Ident(_)) => return true,
            _ => {}
        }
        if function_body(toks).is_some() {
            return true;
        }
        match self.next(pos) {
            Some((Some(Tok::Semi | Tok::Star), ..)) => false,
            Some((Some(Tok::Ident(word)), _, end)) => {
                let follows = self.next(end).and_then(|n| n.0);
                !(word.starts_with("__")
                    || matches!(follows, Some(Tok::Semi | Tok::Comma | Tok::LBracket | Tok::Assign)))
            }
            _ => true,
        }
    }
}

/// The brace that opens the body of a function: a parameter list stands before it.
fn function_body<'m>(toks: &[Located<'m>]) -> Option<Located<'m>> {
    let brace = toks.iter().position(|t| t.1 == Tok::LBrace)?;
    let before = toks.get(brace.checked_sub(1)?)?;
    (before.1 == Tok::RParen && !is_attribute(toks)).then(|| toks.get(brace).copied())?
}

/// Whether the parentheses before the first brace are those of an attribute.
fn is_attribute(toks: &[Located<'_>]) -> bool {
    let head = toks.iter().take_while(|t| t.1 != Tok::LBrace);
    let mut names = head.filter_map(|t| if let Tok::Ident(word) = t.1 { Some(word) } else { None });
    names.any(|word| word.starts_with("__"))
}

/// Replaces macros by their texts; what comes out stands where the macro was used.
fn expand<'m>(
    macros: &'m HashMap<String, MacroText>,
    toks: &[Located<'m>],
    depth: u32,
    budget: &mut usize,
    out: &mut Vec<Located<'m>>,
) {
    let mut i = 0;
    while let Some(&(l, tok, r)) = toks.get(i) {
        i += 1;
        let text = match tok {
            Tok::Ident(name) if depth < MAX_EXPANSIONS => macros.get(name),
            _ => None,
        };
        *budget = budget.saturating_sub(1);
        let Some(text) = text.filter(|_| *budget > 0) else {
            if *budget > 0 {
                out.push((l, tok, r));
            }
            continue;
        };
        let mut args = Vec::new();
        if text.params.is_some() {
            let Some(next) = arguments(toks, i, &mut args) else {
                out.push((l, tok, r));
                continue;
            };
            i = next;
        }
        let mut body = Vec::new();
        for token in Tok::lexer(&text.body) {
            let Ok(token) = token else { continue };
            let params = text.params.as_deref().unwrap_or_default();
            let position = match token {
                Tok::LineComment | Tok::BlockComment => continue,
                Tok::Ident(name) => params.iter().position(|p| p == name),
                _ => None,
            };
            match position {
                Some(position) => {
                    let arg = args.get(position).copied().unwrap_or_default();
                    body.extend(arg.iter().map(|(_, t, _)| (l, *t, r)));
                }
                None => body.push((l, token, r)),
            }
            if body.len() > *budget {
                break;
            }
        }
        expand(macros, &body, depth + 1, budget, out);
    }
}

/// Splits the arguments of a macro whose `(` is at `open`; yields the index after the `)`.
fn arguments<'a, 'm>(toks: &'a [Located<'m>], open: usize, args: &mut Vec<&'a [Located<'m>]>) -> Option<usize> {
    if !matches!(toks.get(open), Some((_, Tok::LParen, _))) {
        return None;
    }
    let mut nest = 0u32;
    let mut start = open + 1;
    for (i, (_, tok, _)) in toks.iter().enumerate().skip(open) {
        match tok {
            Tok::LParen | Tok::LBracket | Tok::LBrace => nest += 1,
            Tok::RParen | Tok::RBracket | Tok::RBrace => {
                nest = nest.checked_sub(1)?;
                if nest == 0 {
                    args.push(toks.get(start..i)?);
                    return Some(i + 1);
                }
            }
            Tok::Comma if nest == 1 => {
                args.push(toks.get(start..i)?);
                start = i + 1;
            }
            _ => {}
        }
    }
    None
}
