//! `args` in user probes: the parameters of a function as the debug information of its file describes them.

use std::rc::Rc;

use tapline_grammar::ast;
use tapline_grammar::span::Span;

use super::Checker;
use super::context::WORD;
use crate::probes::access::{self, Place};
use crate::probes::calling::{GoShape, Location, Shape, go_dictionary, go_locations, locations};
use crate::probes::registers::registers;
use crate::similar::closest;
use crate::typed::{Expr, ExprKind};
use crate::types::btf::Leaf;
use crate::types::table::Parameter;
use crate::types::{AddrSpace, Type};

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
            let message = format!("`{}` lies in a floating-point register", name.node);
            self.error("argument-by-value", message, span)
                .note("the kernel does not save these registers for programs")
                .help("trace a function that takes the number by its address, or has it in memory");
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
        if let Some(function) = self.target.go_function(path, offset) {
            let leaves = |it: &Parameter| it.leaves.clone().filter(|_| function.in_registers);
            let mut shapes: Vec<GoShape> =
                parameters.iter().map(|it| GoShape { size: it.size, align: it.align, leaves: leaves(it) }).collect();
            let dictionary = go_dictionary(&function.name).filter(|at| *at <= shapes.len());
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
            .map(|it| Shape { size: it.size, aggregate: matches!(it.ty, Type::Struct(_)), floats: it.floats })
            .collect();
        let places = locations(self.target.arch(), &shapes);
        Some(parameters.into_iter().zip(places).collect())
    }

    /// Where the value lies; `None` where a program cannot read it.
    fn user_place(&self, parameter: &Parameter, location: &Location) -> Option<UserPlace> {
        let of_word = |word| access::argument(&self.unit.context, self.target.arch(), word);
        match location {
            Location::Float => None,
            Location::Registers(registers) => {
                let parts = registers.iter().zip(parameter.leaves.iter().flatten());
                let part = |(&register, leaf): (&u32, &Leaf)| Part { register, at: leaf.offset, bytes: leaf.size };
                Some(UserPlace::Registers(parts.map(part).collect()))
            }
            Location::Stack(offset) => Some(UserPlace::Stack { sp: registers(self.target.arch()).sp, offset: *offset }),
            Location::Behind(word) => of_word(*word).map(UserPlace::Behind),
            Location::Words(first) => {
                if let Place::Stack { sp, offset, .. } = of_word(*first)? {
                    return Some(UserPlace::Stack { sp, offset });
                }
                // The registers do not lie side by side in the context.
                let size = u32::try_from(parameter.size).ok()?;
                let part = |at: u32| match of_word(first.checked_add(at / WORD)?)? {
                    Place::Context(register) => Some(Part { register, at, bytes: (size - at).min(WORD) }),
                    Place::Stack { .. } => None,
                };
                (0..size).step_by(WORD as usize).map(part).collect::<Option<_>>().map(UserPlace::Registers)
            }
        }
    }

    fn user_value(place: UserPlace, ty: &Type, span: Span) -> Expr {
        let behind = |address: Expr| {
            let pointer = Type::Ptr(Rc::new(ty.clone()), AddrSpace::User);
            let pointer = Expr { kind: ExprKind::Cast(Box::new(address)), ty: pointer, span };
            Expr { kind: ExprKind::Deref(Box::new(pointer)), ty: ty.clone(), span }
        };
        match place {
            UserPlace::Registers(parts) => {
                let words = parts
                    .into_iter()
                    .map(|part| (part.at, part.bytes, Self::context_word(part.register, Type::U64, span)));
                Self::from_words(words, ty, span)
            }
            UserPlace::Behind(place) => behind(Self::word_at(place, span)),
            UserPlace::Stack { sp, offset } => behind(Self::stack_address(sp, offset, span)),
        }
    }
}

/// Where an argument can be read.
#[derive(Clone, Debug)]
enum UserPlace {
    /// In registers.
    Registers(Vec<Part>),
    /// So many bytes above the stack pointer, which is at an offset of the context.
    Stack { sp: u32, offset: u32 },
    /// In memory to which a word points.
    Behind(Place),
}

/// Bytes of a value that lie in a register.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Where the context has the register.
    register: u32,
    /// The first of the bytes in the value.
    at: u32,
    /// How many, from the register's low end.
    bytes: u32,
}
