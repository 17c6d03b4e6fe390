//! `args` in user probes: the parameters of a function as the debug information of its file describes them.

use std::rc::Rc;

use tapline_grammar::ast;
use tapline_grammar::span::Span;

use super::{Checker, convert};
use crate::probes::access::{self, Place};
use crate::probes::calling::{GoShape, Location, Shape, go_dictionary, go_locations, locations};
use crate::probes::registers::registers;
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
                && self.user_place(parameter, location).is_some()
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
        let Some(place) = self.user_place(parameter, location) else {
            let (message, help) = match location {
                Location::Float => (
                    format!("`{}` lies in a floating-point register", name.node),
                    "the kernel does not save these registers for programs".to_owned(),
                ),
                _ => (
                    format!("`{}` is {}, passed in several registers", name.node, self.name(&parameter.ty)),
                    format!("read its words with {}", self.words_of(location).join(" and ")),
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
        if let Some(function) = self.function_of_go(path, offset) {
            let mut shapes: Vec<GoShape> = parameters
                .iter()
                .map(|it| GoShape { size: it.size, align: it.align, leaves: it.leaves.clone() })
                .collect();
            let dictionary = go_dictionary(&function).filter(|at| *at <= shapes.len());
            if let Some(at) = dictionary {
                shapes.insert(at, GoShape::word());
            }
            let mut places = go_locations(self.target.arch(), &shapes);
            if let Some(at) = dictionary {
                places.remove(at);
            }
            return Some(parameters.into_iter().zip(places).collect());
        }
        let shapes: Vec<Shape> = parameters
            .iter()
            .map(|it| Shape { size: it.size, aggregate: matches!(it.ty, Type::Struct(_)), float: it.float })
            .collect();
        let places = locations(self.target.arch(), &shapes);
        Some(parameters.into_iter().zip(places).collect())
    }

    /// The symbol of a function, where the file was made by the compiler of Go.
    fn function_of_go(&self, path: &str, offset: u64) -> Option<String> {
        self.target.user_functions(path, "").ok().filter(|binary| binary.go)?;
        let all = self.target.user_functions(path, "*").ok()?.functions;
        Some(all.into_iter().find(|function| function.offset == offset).map(|it| it.name).unwrap_or_default())
    }

    /// What reads the parts of a value in several registers.
    fn words_of(&self, location: &Location) -> Vec<String> {
        match location {
            Location::Words(word) | Location::Behind(word) => {
                vec![format!("`arg{word}`"), format!("`arg{}`", word + 1)]
            }
            Location::Spread(offsets) => {
                let names = offsets.iter().filter_map(|&offset| registers(self.target.arch()).name(offset));
                names.map(|name| format!("`reg(\"{name}\")`")).collect()
            }
            Location::Float | Location::Register(_) | Location::Stack(_) => Vec::new(),
        }
    }

    /// Where the value lies; `None` where a program cannot read it in one piece.
    fn user_place(&self, parameter: &Parameter, location: &Location) -> Option<UserPlace> {
        let of_word = |word| access::argument(&self.unit.context, self.target.arch(), word);
        match *location {
            Location::Float | Location::Spread(_) => None,
            Location::Register(offset) => Some(UserPlace::Register(offset)),
            Location::Stack(offset) => Some(UserPlace::Stack { sp: registers(self.target.arch()).sp, offset }),
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
