//! `args` in user probes: the parameters of a function as the debug information of its file describes them.

use std::rc::Rc;

use tapline_grammar::ast;
use tapline_grammar::span::Span;

use super::{Checker, convert};
use crate::probes::access::{self, Place};
use crate::probes::calling::{Location, Shape, locations};
use crate::similar::closest;
use crate::typed::{Expr, ExprKind};
use crate::types::table::Parameter;
use crate::types::{AddrSpace, Type};

/// Bytes of a register.
const WORD: u64 = 8;

impl Checker<'_> {
    /// Names of the arguments that a program can read.
    pub(super) fn user_arguments(&mut self, path: &str, offset: u64, span: Span) -> Option<Vec<String>> {
        let all = self.user_parameters(path, offset, span)?;
        let readable = all.into_iter().filter(|(parameter, location)| {
            !parameter.name.is_empty()
                && !matches!(location, Location::Float)
                && self.user_place(parameter, *location).is_some()
        });
        Some(readable.map(|(parameter, _)| parameter.name).collect())
    }

    /// `args.name`.
    pub(super) fn user_argument(&mut self, path: &str, offset: u64, name: &ast::Name, span: Span) -> Option<Expr> {
        let all = self.user_parameters(path, offset, span)?;
        let Some((parameter, location)) = all.iter().find(|(it, _)| it.name == name.node) else {
            let names: Vec<&str> = all.iter().map(|(it, _)| it.name.as_str()).filter(|it| !it.is_empty()).collect();
            let close = closest(&name.node, names.iter().copied()).map(str::to_owned);
            let has = if names.is_empty() {
                "it has none".into()
            } else {
                format!("its arguments are: {}", names.join(", "))
            };
            self.error("unknown-argument", format!("this function has no argument `{}`", name.node), name.span)
                .label("no such argument")
                .note(has)
                .suggest(close);
            return None;
        };
        let Some(place) = self.user_place(parameter, *location) else {
            let (message, help) = match location {
                Location::Float => (
                    format!("`{}` lies in a floating-point register", name.node),
                    "the kernel does not save these registers for programs".to_owned(),
                ),
                Location::Words(word) | Location::Behind(word) => (
                    format!("`{}` is {}, passed in several registers", name.node, self.name(&parameter.ty)),
                    format!("read its words with `arg{word}` and `arg{}`", word + 1),
                ),
            };
            self.error("argument-by-value", message, span).help(help);
            return None;
        };
        Some(Self::user_value(place, &parameter.ty, span))
    }

    fn user_parameters(&mut self, path: &str, offset: u64, span: Span) -> Option<Vec<(Parameter, Location)>> {
        let Some(parameters) = self.types.user_function(path, offset) else {
            self.error("no-debug-info", format!("`{path}` has no debug information about this function"), span)
                .label("its arguments are not known")
                .note("it was looked for in the file, and in its debug file beside it and under /usr/lib/debug")
                .help("use `arg0`, `arg1` and so on, or build the program with `-g`");
            return None;
        };
        let shapes: Vec<Shape> = parameters
            .iter()
            .map(|it| Shape { size: it.size, aggregate: matches!(it.ty, Type::Struct(_)), float: it.float })
            .collect();
        let places = locations(self.target.arch(), &shapes);
        Some(parameters.into_iter().zip(places).collect())
    }

    /// Where the value lies; `None` where a program cannot read it in one piece.
    fn user_place(&self, parameter: &Parameter, location: Location) -> Option<UserPlace> {
        let of_word = |word| access::argument(&self.unit.context, self.target.arch(), word);
        match location {
            Location::Float => None,
            Location::Behind(word) => of_word(word).map(UserPlace::Behind),
            Location::Words(word) => match of_word(word)? {
                Place::Stack { sp, offset, .. } => Some(UserPlace::Stack { sp, offset }),
                // The registers do not lie side by side in the context.
                Place::Context(offset) => (parameter.size <= WORD).then_some(UserPlace::Register(offset)),
            },
        }
    }

    fn user_value(place: UserPlace, ty: &Type, span: Span) -> Expr {
        let behind = |address: Expr| {
            let pointer = Type::Ptr(Rc::new(ty.clone()), AddrSpace::User);
            let pointer = Expr { kind: ExprKind::Cast(Box::new(address)), ty: pointer, span };
            Expr { kind: ExprKind::Deref(Box::new(pointer)), ty: ty.clone(), span }
        };
        match place {
            UserPlace::Register(offset) if ty.is_scalar() => convert(Self::context_word(offset, Type::U64, span), ty),
            UserPlace::Register(offset) => Self::context_copy(offset, ty.clone(), span),
            UserPlace::Behind(place) => behind(Self::word_at(place, span)),
            UserPlace::Stack { sp, offset } => behind(Self::stack_address(sp, offset, span)),
        }
    }
}

/// Where an argument can be read.
#[derive(Clone, Copy, Debug)]
enum UserPlace {
    /// In the register at this offset of the context.
    Register(u32),
    /// So many bytes above the stack pointer, which is at an offset of the context.
    Stack { sp: u32, offset: u32 },
    /// In memory to which a word points.
    Behind(Place),
}
