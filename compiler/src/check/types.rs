//! Type names of the script, C definitions, `sizeof` and `offsetof`.

use std::rc::Rc;

use tapline_grammar::ast;
use tapline_grammar::span::Span;

use super::access::origin;
use super::{Checker, constant};
use crate::builtins;
use crate::similar::closest;
use crate::typed::Expr;
use crate::types::Type;
use crate::types::layout::size_of;
use crate::types::names::{aggregate, predefined_names};

/// Suffixes of one type name.
const MAX_SUFFIXES: usize = 32;

impl Checker<'_> {
    /// A type as written; unknown names are reported. `operand` is what `[]` takes its length from.
    pub(crate) fn type_expr(&mut self, ty: &ast::TypeExpr, operand: Option<&Expr>) -> Option<Type> {
        let mut result = match &ty.base {
            ast::TypeBase::Struct(name) => self.composite(name, false)?,
            ast::TypeBase::Union(name) => self.composite(name, true)?,
            ast::TypeBase::Enum(name) => {
                let found = self.types.enumeration(&name.node);
                if found.is_none() {
                    self.unknown_type(&format!("enum {}", name.node), name.span, false);
                }
                found?
            }
            ast::TypeBase::Named(name) => return self.named_type(name, ty, operand),
            ast::TypeBase::TypeOf(of) => self.type_or_expr(of)?,
            ast::TypeBase::Tuple(members) => {
                let members: Vec<Option<Type>> = members.iter().map(|m| self.type_expr(m, None)).collect();
                Type::Tuple(members.into_iter().collect::<Option<Vec<Type>>>()?.into())
            }
        };
        result = self.suffixes(result, &ty.suffixes, operand, ty.span)?;
        Some(result)
    }

    fn composite(&mut self, name: &ast::Name, union: bool) -> Option<Type> {
        let found = self.types.composite(&name.node, union);
        if found.is_none() {
            let keyword = if union { "union" } else { "struct" };
            self.unknown_type(&format!("{keyword} {}", name.node), name.span, true);
        }
        found
    }

    fn named_type(&mut self, name: &ast::Name, ty: &ast::TypeExpr, operand: Option<&Expr>) -> Option<Type> {
        let capacity = || match ty.suffixes.first() {
            Some(ast::TypeSuffix::Array(Some(len))) => Some(len),
            _ => None,
        };
        let limit = self.script.limits.max_strlen;
        match name.node.as_str() {
            "string" | "buffer" => {
                let len = match capacity() {
                    Some(len) => self.positive(len)?,
                    None => limit,
                };
                let rest = ty.suffixes.get(usize::from(capacity().is_some())..).unwrap_or_default();
                let base = if name.node == "string" { Type::Str(len) } else { Type::Buf(len) };
                return self.suffixes(base, rest, operand, ty.span);
            }
            // The largest of them: the family is part of each address.
            "inet" if capacity().is_some() && ty.suffixes.len() == 1 => {
                self.positive(capacity()?)?;
                return Some(Type::Inet);
            }
            "char" if capacity().is_some() && ty.suffixes.len() == 1 => {
                return Some(Type::Str(self.positive(capacity()?)?));
            }
            _ => {}
        }
        let Some(base) = self.types.named(&name.node).or_else(|| self.types.tagged(&name.node)) else {
            self.unknown_type(&name.node, name.span, false);
            return None;
        };
        self.suffixes(base, &ty.suffixes, operand, ty.span)
    }

    fn suffixes(
        &mut self,
        base: Type,
        suffixes: &[ast::TypeSuffix],
        operand: Option<&Expr>,
        span: Span,
    ) -> Option<Type> {
        if suffixes.len() > MAX_SUFFIXES {
            self.error("type-nesting", "this type is nested too deeply", span);
            return None;
        }
        let space = operand.and_then(origin).unwrap_or_else(|| self.default_space());
        let mut ty = base;
        for suffix in suffixes {
            ty = match suffix {
                ast::TypeSuffix::Pointer => Type::Ptr(Rc::new(ty), space),
                ast::TypeSuffix::Array(Some(len)) => {
                    let len = self.positive(len)?;
                    Type::Array(Rc::new(ty), len)
                }
                ast::TypeSuffix::Array(None) => {
                    let whole = operand.map_or(0, |o| size_of(&o.ty, &self.types.aggregates));
                    let size = size_of(&ty, &self.types.aggregates);
                    if size == 0 || whole == 0 || !whole.is_multiple_of(size) {
                        self.error("array-length", "the length of this array is not known", span)
                            .help("write it: `(uint8[8])…`");
                        return None;
                    }
                    Type::Array(Rc::new(ty), whole / size)
                }
            };
        }
        Some(ty)
    }

    /// A length: a positive constant.
    fn positive(&mut self, expr: &ast::Expr) -> Option<u32> {
        let value = constant::value(&self.value_expr(expr)?);
        let len = value.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0 && *n <= 1 << 20);
        if len.is_none() {
            self.error("length", "a length is a constant between 1 and 1048576", expr.span);
        }
        len
    }

    pub(super) fn unknown_type(&mut self, name: &str, span: Span, composite: bool) {
        if aggregate(name).is_some() {
            self.error("invalid-type", format!("no value is of type `{name}`"), span)
                .label("only maps hold this")
                .help("its number is an integer: `(int64)@m`");
            return;
        }
        let blind = self.types.is_blind();
        let close = match name.split_once(' ') {
            Some((keyword @ ("struct" | "union" | "enum"), tag)) => {
                self.types.closest_tag(keyword, tag).map(|close| format!("{keyword} {close}"))
            }
            _ => closest(name, predefined_names()).map(str::to_owned),
        };
        let guessed = close.is_some();
        let why = if blind { self.target.why_no_btf() } else { String::new() };
        let report = self
            .error("unknown-type", format!("unknown type `{name}`"), span)
            .label("neither the kernel nor the script defines it")
            .suggest(close);
        if blind {
            report.note(why);
        } else if composite && !guessed {
            report.help(format!("define it at the top of the script: `{name} {{ … }};`"));
        }
    }

    /// The type of what `sizeof` and `typeof` are given; expressions are not executed.
    pub(super) fn type_or_expr(&mut self, of: &ast::TypeOrExpr) -> Option<Type> {
        match of {
            ast::TypeOrExpr::Type(ty) => self.type_expr(ty, None),
            ast::TypeOrExpr::Expr(expr) => {
                // A macro's argument may be a type: `typeof(T)`.
                if let ast::ExprKind::Type(ty) = &expr.kind {
                    return self.type_expr(ty, None);
                }
                if let Some(name) = super::bare_name(expr)
                    && let Some(ty) = self.types.named(name).or_else(|| aggregate(name))
                {
                    return Some(ty);
                }
                if let Some(name) = super::bare_name(expr)
                    && builtins::find(name).is_none()
                    && self.types.enumerator(name).is_none()
                    && let Some(ty) = self.types.tagged(name)
                {
                    return Some(ty);
                }
                // A map by itself is what it holds, also an aggregation.
                if let ast::ExprKind::Map { name, key } = &expr.kind {
                    let (map, _) = self.map_access(name, key.as_deref(), expr.span)?;
                    return Some(self.map_value(map, expr.span)?.ty());
                }
                Some(self.value_expr(expr)?.ty)
            }
        }
    }

    pub(super) fn size(&mut self, of: &ast::TypeOrExpr, span: Span) -> Option<Expr> {
        let ty = self.type_or_expr(of)?;
        let size = match ty {
            // The byte behind the longest string is nobody's.
            Type::Str(capacity) => capacity.min(self.script.limits.max_strlen),
            // A map's value is spread over processors and buckets: one word stands for it.
            Type::Aggregate(_) => 8,
            _ => size_of(&ty, &self.types.aggregates),
        };
        Some(constant::int(i128::from(size), span))
    }

    /// Whether there is such a field, by its own name or that of a macro; a type that is not known has none.
    pub(super) fn has_field(&mut self, of: &ast::TypeOrExpr, path: &[ast::Name], span: Span) -> Expr {
        // What is missing is the answer here, not a mistake.
        let said = self.diagnostics.len();
        let has = self.place_exists(of, path, span);
        self.diagnostics.truncate(said);
        constant::bool(has, span)
    }

    fn place_exists(&mut self, of: &ast::TypeOrExpr, path: &[ast::Name], span: Span) -> bool {
        let (mut place, path) = match (of, path) {
            (ast::TypeOrExpr::Expr(expr), [first, rest @ ..]) if super::bare_name(expr) == Some("args") => {
                (self.argument_by_name(first, expr.span, span), rest)
            }
            _ => {
                let ty = self.type_or_expr(of);
                (ty.map(|ty| Expr { kind: crate::typed::ExprKind::Context, ty, span }), path)
            }
        };
        for name in path {
            let Some(base) = place else { return false };
            place = self.own_field(base, &name.node, span);
        }
        place.is_some()
    }

    pub(crate) fn offset(&mut self, of: &ast::TypeOrExpr, path: &[ast::Name], span: Span) -> Option<Expr> {
        let ty = match self.type_or_expr(of)? {
            Type::Ptr(target, _) => (*target).clone(),
            ty => ty,
        };
        let object = Expr { kind: crate::typed::ExprKind::Context, ty, span };
        let mut place = object;
        for name in path {
            place = self.field_of(place, &name.node, name.span, span)?;
        }
        let mut bytes = 0i128;
        let mut at = &place;
        while let crate::typed::ExprKind::Field { base, offset, .. } = &at.kind {
            bytes += i128::from(*offset);
            at = base;
        }
        Some(constant::int(bytes, span))
    }
}
