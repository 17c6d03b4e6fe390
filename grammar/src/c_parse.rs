//! C declarations: `struct`, `union`, `enum` and `typedef` of a script's preamble or of an imported header.
//!
//! The tokens come from `c_tokens`; they are read by recursive descent with a bounded depth. What is not a type
//! definition (prototypes, variables, inline functions) is skipped: it has no meaning for a script.

use std::collections::HashMap;

use crate::SyntaxError;
use crate::ast::{Expr, Name};
use crate::c_ast::{CEnum, CField, CItem, CItemKind, CRecord, CType};
use crate::c_constant::Macros;
use crate::cpp::MacroText;
use crate::lexer::{Located, Tok};
use crate::parser;
use crate::span::{FileId, Span, Spanned};

/// Types and declarators may be nested this deep.
const MAX_NESTING: u32 = 64;

/// Words that make up the name of a C type, alone or together.
const BASE_WORDS: &[&str] = &[
    "void",
    "char",
    "short",
    "int",
    "long",
    "signed",
    "unsigned",
    "float",
    "double",
    "_Bool",
    "bool",
    "__signed__",
    "__int128",
    "__signed",
    "_Complex",
];

/// Words that change nothing about a type's layout.
const IGNORED_WORDS: &[&str] = &[
    "const",
    "volatile",
    "restrict",
    "__restrict",
    "__restrict__",
    "__const",
    "__volatile__",
    "__extension__",
    "register",
    "auto",
    "static",
    "extern",
    "inline",
    "__inline",
    "__inline__",
    "__always_inline",
    "_Noreturn",
    "__user",
    "__kernel",
    "__rcu",
    "__iomem",
    "__percpu",
    "__force",
    "__bitwise",
    "__randomize_layout",
    "__private",
    "__cacheline_aligned",
    "____cacheline_aligned",
    "____cacheline_aligned_in_smp",
    "_Atomic",
];

/// Attributes of a type.
#[derive(Clone, Copy, Default)]
struct Attributes {
    packed: bool,
    aligned: Option<u32>,
}

impl Attributes {
    fn merge(&mut self, other: Attributes) {
        self.packed |= other.packed;
        self.aligned = self.aligned.max(other.aligned);
    }
}

type Parse<T> = Result<T, Box<SyntaxError>>;

/// Reads the tokens of one declaration; adds the items that it makes.
pub(crate) fn declaration(
    toks: &[Located<'_>],
    text: &str,
    file: FileId,
    macros: &HashMap<String, MacroText>,
    items: &mut Vec<CItem>,
) -> Result<(), Box<SyntaxError>> {
    Reader { toks, pos: 0, text, file, depth: 0, macros }.declaration(items)
}

/// Recursive descent over the tokens of one declaration.
struct Reader<'a, 'm> {
    toks: &'a [Located<'m>],
    pos: usize,
    text: &'a str,
    file: FileId,
    depth: u32,
    macros: &'a HashMap<String, MacroText>,
}

impl<'m> Reader<'_, 'm> {
    fn peek(&self) -> Option<Tok<'m>> {
        self.toks.get(self.pos).map(|t| t.1)
    }

    fn peek_at(&self, ahead: usize) -> Option<Tok<'m>> {
        self.toks.get(self.pos + ahead).map(|t| t.1)
    }

    fn eat(&mut self, tok: Tok<'_>) -> bool {
        let found = self.peek() == Some(tok);
        self.pos += usize::from(found);
        found
    }

    /// The span of the token at `pos`, or of the last one.
    fn span_at(&self, pos: usize) -> Span {
        let tok = self.toks.get(pos).or(self.toks.last());
        tok.map_or(Span::new(self.file, 0, 0), |(l, _, r)| Span::new(self.file, *l, *r))
    }

    fn span_from(&self, start: usize) -> Span {
        self.span_at(start).to(self.span_at(self.pos.saturating_sub(1).max(start)))
    }

    fn error<T>(&self, expected: &str) -> Parse<T> {
        let span = self.span_at(self.pos);
        let found = match self.toks.get(self.pos) {
            Some(_) => format!("`{}`", self.text.get(span.start as usize..span.end as usize).unwrap_or_default()),
            None => "the end".to_owned(),
        };
        Err(Box::new(SyntaxError::new(&format!("expected {expected}, found {found}"), span)))
    }

    fn require(&mut self, tok: Tok<'_>, what: &str) -> Parse<()> {
        if self.eat(tok) { Ok(()) } else { self.error(what) }
    }

    /// A word that may be a name, also where it is a keyword of the script language.
    fn word(&self) -> Option<&'m str> {
        match self.peek()? {
            Tok::Ident(name) => Some(name),
            // Only C's own words are reserved here.
            Tok::Let => Some("let"),
            Tok::Import => Some("import"),
            Tok::Macro => Some("macro"),
            Tok::Fn => Some("fn"),
            Tok::Config => Some("config"),
            Tok::Comptime => Some("comptime"),
            Tok::Unroll => Some("unroll"),
            Tok::TypeInfo => Some("typeinfo"),
            Tok::OffsetOf => Some("offsetof"),
            Tok::HasField => Some("has_field"),
            _ => None,
        }
    }

    fn name(&mut self) -> Option<Name> {
        let node = self.word()?.to_owned();
        let span = self.span_at(self.pos);
        self.pos += 1;
        Some(Spanned { node, span })
    }

    fn enter(&mut self) -> Parse<()> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            let message = format!("this type is nested more than {MAX_NESTING} levels deep");
            return Err(Box::new(SyntaxError::new(&message, self.span_at(self.pos))));
        }
        Ok(())
    }

    /// A whole declaration.
    fn declaration(&mut self, items: &mut Vec<CItem>) -> Parse<()> {
        let start = self.pos;
        let is_typedef = self.eat_word("typedef");
        if !is_typedef && !matches!(self.peek(), Some(Tok::Struct | Tok::Union | Tok::Enum)) {
            return Ok(());
        }
        let ty = self.specifiers()?.ty;
        if !is_typedef {
            // Declarators after the type make variables, which mean nothing here.
            let span = self.span_from(start);
            match ty {
                CType::Record(record) => items.push(CItem { kind: CItemKind::Record(*record), span }),
                CType::EnumDef(def) => items.push(CItem { kind: CItemKind::Enum(*def), span }),
                _ => items.push(CItem { kind: CItemKind::Forward, span }),
            }
            return Ok(());
        }
        let span = self.span_from(start);
        // A named definition becomes an item of its own, so that every declarator refers to it.
        let base = match ty {
            CType::Record(mut record) => match record.name.clone() {
                Some(name) => {
                    let is_union = record.is_union;
                    let trailing = self.attributes()?;
                    record.packed |= trailing.packed;
                    record.aligned = record.aligned.max(trailing.aligned);
                    items.push(CItem { kind: CItemKind::Record(*record), span });
                    if is_union { CType::Union(name) } else { CType::Struct(name) }
                }
                None => CType::Record(record),
            },
            CType::EnumDef(def) => match def.name.clone() {
                Some(name) => {
                    items.push(CItem { kind: CItemKind::Enum(*def), span });
                    CType::Enum(name)
                }
                None => CType::EnumDef(def),
            },
            other => other,
        };
        loop {
            let (name, ty) = self.declarator(base.clone())?;
            let Some(name) = name else { return self.error("the name of the new type") };
            self.trailing_attributes()?;
            items.push(CItem { kind: CItemKind::Typedef { name, ty }, span: self.span_from(start) });
            if !self.eat(Tok::Comma) {
                break;
            }
        }
        self.require(Tok::Semi, "`;` after the type definition")
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(Tok::Ident(word));
        self.pos += usize::from(found);
        found
    }

    /// Attributes and words that do not matter; yields those that do.
    fn attributes(&mut self) -> Parse<Attributes> {
        let mut found = Attributes::default();
        while let Some(Tok::Ident(word)) = self.peek() {
            match word {
                "__attribute__" | "__attribute" => {
                    self.pos += 1;
                    self.require(Tok::LParen, "`((` after `__attribute__`")?;
                    self.require(Tok::LParen, "`((` after `__attribute__`")?;
                    while !self.eat(Tok::RParen) {
                        self.attribute(&mut found)?;
                    }
                    self.require(Tok::RParen, "`))` at the end of the attribute")?;
                }
                "__packed" => {
                    self.pos += 1;
                    found.packed = true;
                }
                "__aligned" | "_Alignas" => self.attribute(&mut found)?,
                "__counted_by" | "__declspec" | "__asm__" | "asm" => {
                    self.pos += 1;
                    self.skip_parentheses();
                }
                _ if IGNORED_WORDS.contains(&word) => self.pos += 1,
                _ => break,
            }
        }
        Ok(found)
    }

    /// Attributes behind a declarator, also macros that stand for one: what looks like such a macro's name.
    fn trailing_attributes(&mut self) -> Parse<Attributes> {
        let mut found = self.attributes()?;
        while let Some(Tok::Ident(word)) = self.peek()
            && (word.starts_with("__") || !word.contains(|c: char| c.is_ascii_lowercase()))
        {
            self.pos += 1;
            self.skip_parentheses();
            found.merge(self.attributes()?);
        }
        Ok(found)
    }

    /// One attribute of a list, with its comma.
    fn attribute(&mut self, found: &mut Attributes) -> Parse<()> {
        let word = match self.peek() {
            Some(Tok::Ident(word)) => word.trim_matches('_'),
            Some(Tok::Comma) => {
                self.pos += 1;
                return Ok(());
            }
            Some(_) if self.word().is_some() => "",
            _ => return self.error("an attribute"),
        };
        self.pos += 1;
        match word {
            "packed" => found.packed = true,
            "aligned" | "Alignas" if self.peek() == Some(Tok::LParen) => {
                let start = self.pos + 1;
                self.skip_parentheses();
                let span = self.span_at(start);
                let value = self.constant(start, self.pos.saturating_sub(1))?;
                match u32::try_from(value) {
                    Ok(value) if value.is_power_of_two() && value <= 4096 => {
                        found.aligned = found.aligned.max(Some(value));
                    }
                    _ => {
                        let message = format!("an alignment of {value} bytes is not possible");
                        let error = SyntaxError::new(&message, span).help("an alignment is a power of two up to 4096");
                        return Err(Box::new(error));
                    }
                }
            }
            // The largest alignment that the machine needs.
            "aligned" => found.aligned = found.aligned.max(Some(16)),
            _ => self.skip_parentheses(),
        }
        Ok(())
    }

    /// Skips a parenthesised list if there is one.
    fn skip_parentheses(&mut self) {
        if self.peek() != Some(Tok::LParen) {
            return;
        }
        let mut nest = 0u32;
        while let Some(tok) = self.peek() {
            self.pos += 1;
            match tok {
                Tok::LParen => nest += 1,
                Tok::RParen => {
                    nest = nest.saturating_sub(1);
                    if nest == 0 {
                        return;
                    }
                }
                _ => {}
            }
        }
    }

    /// The type that declarators start from.
    fn specifiers(&mut self) -> Parse<Specifiers> {
        let mut attributes = self.attributes()?;
        let start = self.pos;
        let ty = match self.peek() {
            Some(Tok::Struct) => self.record(false)?,
            Some(Tok::Union) => self.record(true)?,
            Some(Tok::Enum) => self.enumeration()?,
            Some(Tok::TypeOf) => {
                return Err(Box::new(
                    SyntaxError::new("`typeof` is not possible in a C declaration", self.span_at(start))
                        .help("name the type"),
                ));
            }
            _ => {
                let mut words: Vec<&str> = Vec::new();
                let mut end = start;
                while let Some(Tok::Ident(word)) = self.peek() {
                    if IGNORED_WORDS.contains(&word) {
                        self.pos += 1;
                        continue;
                    }
                    if !BASE_WORDS.contains(&word) && !words.is_empty() {
                        break;
                    }
                    words.push(if word.starts_with("__signed") { "signed" } else { word });
                    end = self.pos;
                    self.pos += 1;
                    if !BASE_WORDS.contains(&word) {
                        break;
                    }
                }
                if words.is_empty() {
                    return self.error("a type");
                }
                CType::Named(Spanned { node: words.join(" "), span: self.span_at(start).to(self.span_at(end)) })
            }
        };
        attributes.merge(self.attributes()?);
        Ok(Specifiers { ty, attributes })
    }

    /// `struct` or `union`, a reference or a definition.
    fn record(&mut self, is_union: bool) -> Parse<CType> {
        let start = self.pos;
        self.pos += 1;
        let mut attributes = self.attributes()?;
        let name = self.name();
        if self.peek() != Some(Tok::LBrace) {
            let Some(name) = name else { return self.error("a name or `{`") };
            return Ok(if is_union { CType::Union(name) } else { CType::Struct(name) });
        }
        let open = self.span_at(self.pos);
        self.pos += 1;
        self.enter()?;
        let mut fields = Vec::new();
        while !self.eat(Tok::RBrace) {
            if self.peek().is_none() {
                let error = SyntaxError::new("this brace is never closed", open);
                return Err(Box::new(error.help("add `};` where the type ends")));
            }
            if self.eat(Tok::Semi) {
                continue;
            }
            self.fields(&mut fields)?;
        }
        self.depth -= 1;
        attributes.merge(self.attributes()?);
        let span = self.span_from(start);
        let Attributes { packed, aligned } = attributes;
        Ok(CType::Record(Box::new(CRecord { name, is_union, packed, aligned, fields, span })))
    }

    /// One line of members.
    fn fields(&mut self, fields: &mut Vec<CField>) -> Parse<()> {
        if matches!(self.peek(), Some(Tok::Ident("_Static_assert" | "static_assert"))) {
            self.pos += 1;
            self.skip_parentheses();
            return self.require(Tok::Semi, "`;`");
        }
        let Specifiers { ty, attributes } = self.specifiers()?;
        let Attributes { packed, aligned } = attributes;
        if self.eat(Tok::Semi) {
            // A definition without a name for the member: its own members count as ours.
            match ty {
                CType::Record(_) => fields.push(CField { name: None, ty, bits: None, aligned, packed }),
                CType::Named(name) => {
                    let error = SyntaxError::new("expected the name of the member after its type", name.span);
                    return Err(Box::new(error));
                }
                _ => {}
            }
            return Ok(());
        }
        loop {
            let (name, ty) = if self.peek() == Some(Tok::Colon) {
                (None, ty.clone())
            } else {
                let (name, ty) = self.declarator(ty.clone())?;
                if name.is_none() {
                    return self.error("the name of the member");
                }
                (name, ty)
            };
            let mut bits = None;
            if self.eat(Tok::Colon) {
                let start = self.pos;
                while !matches!(
                    self.peek(),
                    None | Some(Tok::Comma | Tok::Semi | Tok::RBrace | Tok::Ident("__attribute__"))
                ) {
                    self.pos += 1;
                }
                let value = self.constant(start, self.pos)?;
                match u32::try_from(value) {
                    Ok(width) if width <= 64 => bits = Some(width),
                    _ => {
                        let message = format!("a bitfield cannot have {value} bits");
                        return Err(Box::new(SyntaxError::new(&message, self.span_at(start))));
                    }
                }
            }
            let mut own = attributes;
            own.merge(self.trailing_attributes()?);
            fields.push(CField { name, ty, bits, aligned: own.aligned, packed: own.packed });
            if !self.eat(Tok::Comma) {
                break;
            }
        }
        // C compilers let the last one go without.
        if self.peek() == Some(Tok::RBrace) {
            return Ok(());
        }
        self.require(Tok::Semi, "`;` after the member")
    }

    /// `enum`, a reference or a definition.
    fn enumeration(&mut self) -> Parse<CType> {
        let start = self.pos;
        self.pos += 1;
        self.attributes()?;
        let name = self.name();
        // The underlying type of C23 changes nothing that a script can see by name.
        if self.eat(Tok::Colon) {
            self.specifiers()?;
        }
        if !self.eat(Tok::LBrace) {
            let Some(name) = name else { return self.error("a name or `{`") };
            return Ok(CType::Enum(name));
        }
        let mut variants = Vec::new();
        while !self.eat(Tok::RBrace) {
            let Some(variant) = self.name() else { return self.error("a name or `}` in this enum") };
            self.attributes()?;
            let mut value = None;
            if self.eat(Tok::Assign) {
                let from = self.pos;
                let mut nest = 0u32;
                while let Some(tok) = self.peek() {
                    match tok {
                        Tok::LParen => nest += 1,
                        Tok::RParen => nest = nest.saturating_sub(1),
                        Tok::Comma if nest == 0 => break,
                        Tok::RBrace => break,
                        _ => {}
                    }
                    self.pos += 1;
                }
                value = Some(self.expression(from, self.pos)?);
            }
            variants.push((variant, value));
            if !self.eat(Tok::Comma) && self.peek() != Some(Tok::RBrace) {
                return self.error("`,` or `}` in this enum");
            }
        }
        self.attributes()?;
        Ok(CType::EnumDef(Box::new(CEnum { name, variants, span: self.span_from(start) })))
    }

    /// A declarator: pointers, a name or a nested declarator, then arrays or parameters.
    fn declarator(&mut self, base: CType) -> Parse<(Option<Name>, CType)> {
        self.enter()?;
        let mut ty = base;
        let mut pointers = 0u32;
        self.attributes()?;
        while self.eat(Tok::Star) {
            pointers += 1;
            if pointers > MAX_NESTING {
                return self.error("fewer `*`");
            }
            ty = CType::Pointer(Box::new(ty));
            self.attributes()?;
        }
        let mut inner = None;
        let mut name = None;
        let nested = self.peek() == Some(Tok::LParen)
            && matches!(self.peek_at(1), Some(Tok::Star | Tok::LParen | Tok::Infix(_) | Tok::Ident(_)));
        if nested {
            inner = Some(self.pos + 1);
            self.skip_parentheses();
        } else {
            name = self.name();
        }
        let ty = self.suffixes(ty)?;
        let result = match inner {
            Some(inner) => {
                let after = self.pos;
                self.pos = inner;
                let declared = self.declarator(ty)?;
                self.require(Tok::RParen, "`)`")?;
                self.pos = after;
                declared
            }
            None => (name, ty),
        };
        self.depth -= 1;
        Ok(result)
    }

    /// `[N]…` or `(…)` after a declarator.
    fn suffixes(&mut self, base: CType) -> Parse<CType> {
        if self.peek() == Some(Tok::LParen) {
            self.skip_parentheses();
            return Ok(CType::Function);
        }
        let mut lengths = Vec::new();
        while self.eat(Tok::LBracket) {
            let start = self.pos;
            let mut nest = 0u32;
            while let Some(tok) = self.peek() {
                match tok {
                    Tok::LBracket => nest += 1,
                    Tok::RBracket if nest == 0 => break,
                    Tok::RBracket => nest -= 1,
                    Tok::Semi => break,
                    _ => {}
                }
                self.pos += 1;
            }
            let end = self.pos;
            lengths.push(if end > start { Some(Box::new(self.expression(start, end)?)) } else { None });
            self.require(Tok::RBracket, "`]`")?;
            if lengths.len() > MAX_NESTING as usize {
                return self.error("fewer dimensions");
            }
        }
        // `int a[2][3]` is an array of two arrays of three.
        Ok(lengths.into_iter().rev().fold(base, |ty, length| CType::Array(Box::new(ty), length)))
    }

    /// The tokens `start..end` as an expression of the language.
    fn expression(&self, start: usize, end: usize) -> Parse<Expr> {
        let toks = self.toks.get(start..end).unwrap_or_default();
        if toks.is_empty() {
            return self.error("a number");
        }
        parser::expression_of(toks, self.text, self.file).map_err(Box::new)
    }

    /// The tokens `start..end` as a constant number.
    fn constant(&self, start: usize, end: usize) -> Parse<i128> {
        let expr = self.expression(start, end)?;
        Macros::new(self.macros)
            .value(&expr)
            .map_err(|message| Box::new(SyntaxError::new(&format!("this is no constant number: {message}"), expr.span)))
    }
}

/// What stands before the first declarator.
struct Specifiers {
    ty: CType,
    attributes: Attributes,
}
