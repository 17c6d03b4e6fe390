//! The syntax tree of C declarations and preprocessor lines: what a script's preamble and an imported `.h` may hold.
//!
//! The small preprocessor (conditions, object-like and simple function-like macros) has run: what is here is active.

use crate::ast::{Expr, Name};
use crate::span::Span;

/// One active C item.
#[derive(Clone, Debug)]
pub struct CItem {
    /// What it is.
    pub kind: CItemKind,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of C items.
#[derive(Clone, Debug)]
pub enum CItemKind {
    /// `#include <x>` or `#include "x"`.
    Include {
        /// The path.
        path: String,
        /// Written with angle brackets.
        system: bool,
        /// The header was found: its items follow.
        read: bool,
    },
    /// An object-like `#define NAME text`; `value` is set when the text is an expression of the language.
    Define {
        /// The name.
        name: Name,
        /// The expression that it stands for, when it parses as one. Uses in the script are substituted by `expand`.
        value: Option<Expr>,
        /// The replacement text.
        text: String,
    },
    /// A function-like `#define NAME(a, b) text`.
    DefineFn {
        /// The name.
        name: Name,
        /// The parameters.
        params: Vec<Name>,
        /// The body, when it parses as an expression.
        value: Option<Expr>,
        /// The replacement text.
        text: String,
    },
    /// `#undef NAME`.
    Undef(Name),
    /// Any other line of the preprocessor, kept for the formatter only (`#if`, `#endif`, `#pragma` …).
    Directive(String),
    /// `struct S { … };`, `union U { … };`.
    Record(CRecord),
    /// `enum E { … };`.
    Enum(CEnum),
    /// `typedef T name;`, one per declarator.
    Typedef {
        /// The new name.
        name: Name,
        /// What it stands for.
        ty: CType,
    },
    /// `struct S;` and the like.
    Forward,
}

/// A struct or union definition.
#[derive(Clone, Debug)]
pub struct CRecord {
    /// Its tag; `None` when anonymous.
    pub name: Option<Name>,
    /// A union.
    pub is_union: bool,
    /// `__attribute__((packed))`, before the tag or after the brace.
    pub packed: bool,
    /// Alignment in bytes from `__attribute__((aligned(N)))`.
    pub aligned: Option<u32>,
    /// The members in order.
    pub fields: Vec<CField>,
    /// Where it stands.
    pub span: Span,
}

/// A member.
#[derive(Clone, Debug)]
pub struct CField {
    /// `None` for an anonymous struct or union member, or for an unnamed bitfield.
    pub name: Option<Name>,
    /// Its type.
    pub ty: CType,
    /// Width of a bitfield in bits.
    pub bits: Option<u32>,
    /// Alignment in bytes from `__attribute__((aligned(N)))`.
    pub aligned: Option<u32>,
    /// `__attribute__((packed))` on the member: alignment 1.
    pub packed: bool,
}

/// An enum definition.
#[derive(Clone, Debug)]
pub struct CEnum {
    /// Its tag.
    pub name: Option<Name>,
    /// Enumerators; a missing value is one more than that of the one before.
    pub variants: Vec<(Name, Option<Expr>)>,
    /// Where it stands.
    pub span: Span,
}

/// A C type.
#[derive(Clone, Debug)]
pub enum CType {
    /// `int`, `unsigned long`, `u32`, a typedef: words joined by one blank, qualifiers removed.
    Named(Name),
    /// `struct S`.
    Struct(Name),
    /// `union U`.
    Union(Name),
    /// `enum E`.
    Enum(Name),
    /// A definition in place.
    Record(Box<CRecord>),
    /// An enum definition in place.
    EnumDef(Box<CEnum>),
    /// `T *`.
    Pointer(Box<CType>),
    /// `T [N]`; `None` for a flexible array member.
    Array(Box<CType>, Option<Box<Expr>>),
    /// A function pointer's pointee.
    Function,
}
