//! Reaching into values: fields (a pointer to a struct is followed), elements, dereference and address.

use std::rc::Rc;

use tapline_grammar::ast;
use tapline_grammar::span::Span;

use super::{Checker, Flow, constant, strip_address};
use crate::program::Aggregate;
use crate::similar::closest;
use crate::typed::{BinOp, Expr, ExprKind};
use crate::types::aliases::{alias, alias_names, renamed, renamed_pair};
use crate::types::{AddrSpace, IntType, StructField, StructId, Type};

impl Checker<'_> {
    /// `base.name` and `base->name`.
    pub(super) fn field(&mut self, base: &ast::Expr, name: &ast::Name, span: Span) -> Option<Expr> {
        if super::bare_name(base) == Some("args") || is_bare_call(base, "args") {
            return self.argument_by_name(name, base.span, span);
        }
        if let ast::ExprKind::Field { base: outer, name: first, .. } = &base.kind
            && renamed_pair(&first.node, &name.node)
            && super::bare_name(outer) != Some("args")
            && !is_bare_call(outer, "args")
        {
            return self.field_of_field(outer, (first, base.span), name, span);
        }
        let mut base = self.value_expr(base)?;
        if let ExprKind::MapGet { map, .. } = &base.kind
            && let Some(Flow::Of(Type::Aggregate(Aggregate::Avg { signed } | Aggregate::Stats { signed }))) =
                self.peek_value(*map)
        {
            base.ty = super::expr::mean_record(signed);
        }
        self.field_of(base, &name.node, name.span, span)
    }

    /// `outer.first.second`, where some kernels have both as one.
    fn field_of_field(
        &mut self,
        outer: &ast::Expr,
        (first, at): (&ast::Name, Span),
        second: &ast::Name,
        span: Span,
    ) -> Option<Expr> {
        let outer = self.value_expr(outer)?;
        let both = [first.node.as_str(), second.node.as_str()];
        if let Some(value) = self.walk(outer.clone(), &both, span) {
            return Some(value);
        }
        let owner = match &outer.ty {
            Type::Ptr(target, _) => self.name(target),
            ty => self.name(ty),
        };
        if let Some(value) = self.renamed_field(&outer, &owner, &both.join("."), first.span.to(second.span), span) {
            return Some(value);
        }
        let inner = self.field_of(outer, &first.node, first.span, at)?;
        self.field_of(inner, &second.node, second.span, span)
    }

    /// A field that this kernel has elsewhere.
    fn renamed_field(&mut self, base: &Expr, owner: &str, name: &str, at: Span, span: Span) -> Option<Expr> {
        let (path, value) = renamed(owner, name).find_map(|path| Some((path, self.walk(base.clone(), path, span)?)))?;
        let path = path.join(".");
        self.note("renamed-field", format!("{owner} has `{name}` as `{path}` in this kernel"), at);
        Some(value)
    }

    /// A field of a value by name.
    pub(crate) fn field_of(&mut self, base: Expr, name: &str, name_span: Span, span: Span) -> Option<Expr> {
        let base = match &base.ty {
            Type::Ptr(target, _) if matches!(**target, Type::Struct(_) | Type::Record(_)) => {
                let target = (**target).clone();
                strip_address(base, target)
            }
            _ => base,
        };
        match &base.ty {
            Type::Struct(id) => self.struct_field(base.clone(), *id, name, name_span, span),
            Type::Record(members) => {
                let Some(index) = members.iter().position(|(own, _)| own == name) else {
                    let known: Vec<String> = members.iter().map(|(name, _)| name.clone()).collect();
                    self.unknown_field("this record", name, name_span, &known);
                    return None;
                };
                let ty = members.get(index)?.1.clone();
                if let ExprKind::Tuple(values) = &base.kind
                    && values.iter().all(is_constant)
                    && let Some(value) = values.get(index)
                {
                    return Some(Expr { span, ..value.clone() });
                }
                Some(Expr { kind: ExprKind::Element { base: Box::new(base), index: index as u32 }, ty, span })
            }
            Type::Ptr(..) => {
                let is = self.name(&base.ty);
                self.error("no-fields", format!("{is} does not point to a struct"), span)
                    .also(base.span, format!("this is {is}"))
                    .help("cast it first: `((struct name *)…).field`");
                None
            }
            Type::Int(_) => {
                let is = self.name(&base.ty);
                self.error("no-fields", format!("`{name}`: {is} has no fields"), span)
                    .also(base.span, format!("this is {is}"))
                    .help(format!("if it is an address, cast it first: `((struct name *)…).{name}`"));
                None
            }
            _ => {
                let is = self.name(&base.ty);
                self.error("no-fields", format!("`{name}`: {is} has no fields"), span)
                    .also(base.span, format!("this is {is}"));
                None
            }
        }
    }

    fn struct_field(&mut self, base: Expr, id: StructId, name: &str, at: Span, span: Span) -> Option<Expr> {
        let owner = self.name(&base.ty);
        if let Some(field) = self.types.field(id, name) {
            // A number that has become the only member of a struct of the same name.
            let wrapped = renamed(&owner, name).find(|path| path.first() == Some(&name));
            let value = wrapped.and_then(|path| self.walk(base.clone(), path, span));
            return Some(value.unwrap_or_else(|| member(base, field, span)));
        }
        if let Some(path) = alias(&owner, name)
            && let Some(value) = self.walk(base.clone(), path, span)
        {
            return Some(value);
        }
        if let Some(value) = self.renamed_field(&base, &owner, name, at, span) {
            return Some(value);
        }
        match self.types.fields(id) {
            Some(fields) => {
                let own = fields.iter().map(|f| f.name.clone());
                let known: Vec<String> = own.chain(alias_names(&owner).map(str::to_owned)).collect();
                self.unknown_field(&owner, name, at, &known);
            }
            None => {
                self.error("incomplete-type", format!("{owner} is declared, but its fields are not known"), at)
                    .help("define it in the script: `struct name { … };`");
            }
        }
        None
    }

    /// A field as this kernel names it, itself or by a macro; says nothing when there is none.
    pub(super) fn own_field(&mut self, base: Expr, name: &str, span: Span) -> Option<Expr> {
        if let Some(value) = self.walk(base.clone(), &[name], span) {
            return Some(value);
        }
        let owner = match &base.ty {
            Type::Ptr(target, _) => self.name(target),
            ty => self.name(ty),
        };
        self.walk(base, alias(&owner, name)?, span)
    }

    /// Fields of fields; pointers on the way are followed.
    fn walk(&mut self, base: Expr, path: &[&str], span: Span) -> Option<Expr> {
        let mut value = base;
        for step in path {
            if let Type::Ptr(target, _) = &value.ty {
                let target = (**target).clone();
                value = strip_address(value, target);
            }
            let Type::Struct(id) = value.ty else { return None };
            let field = self.types.field(id, step)?;
            value = member(value, field, span);
        }
        Some(value)
    }

    fn unknown_field(&mut self, owner: &str, name: &str, span: Span, known: &[String]) {
        let close = closest(name, known.iter().map(String::as_str)).map(str::to_owned);
        let listed = known.len() <= 12 && close.is_none();
        let report = self
            .error("unknown-field", format!("{owner} has no field `{name}`"), span)
            .label("no such field")
            .suggest(close);
        if listed {
            report.note(format!("its fields are: {}", known.join(", ")));
        }
    }

    /// `base[index]`.
    pub(super) fn index(&mut self, base: &ast::Expr, index: &ast::Expr, span: Span) -> Option<Expr> {
        let (base, index) = (self.value_expr(base), self.value_expr(index));
        let (base, index) = (base?, index?);
        if super::operators::as_int(&index.ty).is_none() {
            let is = self.name(&index.ty);
            self.error("type-mismatch", format!("an index is a number, not {is}"), index.span);
            return None;
        }
        let number = constant::value(&index);
        match &base.ty {
            Type::Tuple(_) => {
                let Some(n) = number.and_then(|n| u32::try_from(n).ok()) else {
                    self.error("tuple-index", "the index of a tuple is a constant", index.span);
                    return None;
                };
                self.element(base, n, span)
            }
            Type::Array(elem, 0) => {
                // A flexible array member: its length is not known, so that it is a pointer.
                let elem = (**elem).clone();
                let pointer = decay(base, elem.clone());
                let place = self.offset_pointer(BinOp::Add, pointer, index, span)?;
                Some(strip_address(place, elem))
            }
            Type::Array(..) | Type::Str(_) => {
                let (elem, len) = match &base.ty {
                    Type::Array(elem, len) => ((**elem).clone(), *len),
                    Type::Str(capacity) => (Type::Int(IntType { size: 1, signed: true }), *capacity),
                    _ => return None,
                };
                if let Some(n) = number
                    && (n < 0 || n >= i128::from(len))
                {
                    let is = self.name(&base.ty);
                    self.error("out-of-bounds", format!("index {n} is out of bounds for {is}"), index.span)
                        .label(format!("indices are 0 to {}", len.saturating_sub(1)));
                    return None;
                }
                Some(Expr { kind: ExprKind::Index { base: Box::new(base), index: Box::new(index) }, ty: elem, span })
            }
            Type::Ptr(target, _) if **target != Type::Void => {
                let target = (**target).clone();
                let place = self.offset_pointer(BinOp::Add, base, index, span)?;
                Some(strip_address(place, target))
            }
            _ => {
                let is = self.name(&base.ty);
                self.error("not-indexable", format!("{is} has no elements"), span)
                    .also(base.span, format!("this is {is}"));
                None
            }
        }
    }

    /// `base.0`.
    pub(super) fn element(&mut self, base: Expr, index: u32, span: Span) -> Option<Expr> {
        let base = match &base.ty {
            Type::Ptr(target, _) if matches!(**target, Type::Tuple(_)) => {
                let target = (**target).clone();
                strip_address(base, target)
            }
            _ => base,
        };
        let Type::Tuple(members) = &base.ty else {
            if matches!(base.kind, ExprKind::Int(_)) {
                self.error("not-a-tuple", "there are no numbers with a fraction", span)
                    .help("compute in smaller units: microseconds for milliseconds, per mille for per cent");
                return None;
            }
            let is = self.name(&base.ty);
            self.error("not-a-tuple", format!("`.{index}` takes a member of a tuple, not of {is}"), span)
                .also(base.span, format!("this is {is}"));
            return None;
        };
        let (len, ty) = (members.len(), members.get(index as usize).cloned());
        let Some(ty) = ty else {
            self.error("tuple-index", format!("the tuple has no member {index}"), span)
                .label(format!("it has {len}, counted from 0"));
            return None;
        };
        if let ExprKind::Tuple(members) = base.kind {
            return members.into_iter().nth(index as usize);
        }
        Some(Expr { kind: ExprKind::Element { base: Box::new(base), index }, ty, span })
    }

    /// `*pointer`.
    pub(super) fn deref(&mut self, pointer: Expr, span: Span) -> Option<Expr> {
        match &pointer.ty {
            Type::Ptr(target, _) if **target != Type::Void => {
                let target = (**target).clone();
                let pointer = match &pointer.ty {
                    Type::Ptr(of, AddrSpace::Ctx) if !self.is_context(of) => self.unfollowed(pointer),
                    _ => pointer,
                };
                Some(Expr { span, ..strip_address(pointer, target) })
            }
            // A number is taken for the address of a word.
            Type::Int(_) => {
                let pointer = self.pointer_to(Type::U64, pointer);
                Some(Expr { kind: ExprKind::Deref(Box::new(pointer)), ty: Type::U64, span })
            }
            _ => {
                let is = self.name(&pointer.ty);
                self.error("not-a-pointer", format!("`*` takes a pointer, not {is}"), span)
                    .also(pointer.span, format!("this is {is}"))
                    .help("cast it first: `*(uint64 *)…`");
                None
            }
        }
    }

    /// `&place`.
    pub(super) fn address_of(&mut self, operand: &ast::Expr, span: Span) -> Option<Expr> {
        let place = self.expr(operand)?;
        let space = match &place.kind {
            ExprKind::Var(_) | ExprKind::MapGet { .. } => Some(AddrSpace::Bpf),
            _ => place_space(&place),
        };
        let Some(space) = space else {
            self.error("no-address", "this value has no address", span)
                .help("`&` takes a variable, a map's value or a field");
            return None;
        };
        if let ExprKind::Var(id) = place.kind
            && let Some(var) = self.scope.var_mut(id)
        {
            var.addressed = true;
        }
        let (place, space) =
            if space == AddrSpace::Ctx { (self.off_context(place), AddrSpace::Kernel) } else { (place, space) };
        let target = match &place.ty {
            Type::Ptr(target, AddrSpace::Ctx) => Type::Ptr(Rc::clone(target), AddrSpace::Kernel),
            ty => ty.clone(),
        };
        let ty = Type::Ptr(Rc::new(target), space);
        Some(self.unfollowed(Expr { kind: ExprKind::AddrOf(Box::new(place)), ty, span }))
    }

    /// A pointer as the script may use it. The verifier follows addresses of the program's own memory and of its context, and
    /// refuses most that C allows: what leaves the variable, arithmetic, mixing them with numbers. Of a number it knows
    /// nothing, and a helper reads what lies there.
    pub(super) fn unfollowed(&self, pointer: Expr) -> Expr {
        let Type::Ptr(target, space @ (AddrSpace::Bpf | AddrSpace::Ctx)) = &pointer.ty else { return pointer };
        let target = Rc::clone(target);
        if *space == AddrSpace::Bpf || !self.unit.context.is_perf_event() {
            return Self::respace(pointer, AddrSpace::Kernel);
        }
        // What the verifier calls the registers the kernel has elsewhere: it has their address there.
        let span = pointer.span;
        let kernel = |target| Type::Ptr(target, AddrSpace::Kernel);
        let cast = |of, ty| Expr { kind: ExprKind::Cast(Box::new(of)), ty, span };
        let address = cast(pointer, kernel(Rc::new(Type::U64)));
        let registers = Expr { kind: ExprKind::Deref(Box::new(address)), ty: Type::U64, span };
        cast(registers, kernel(target))
    }

    /// The struct that `ctx` points to, fields of which are read where they are: the kernel's, not another of that name.
    pub(super) fn is_context(&self, ty: &Type) -> bool {
        let Type::Struct(id) = ty else { return false };
        self.types.is_of_kernel(*id) && self.unit.context.structure().is_some_and(|name| self.name(ty) == name)
    }

    /// A place in the context as one in the kernel's memory.
    fn off_context(&self, place: Expr) -> Expr {
        let inner = |this: &Self, base: Box<Expr>| Box::new(this.off_context(*base));
        let kind = match place.kind {
            ExprKind::Deref(pointer) => ExprKind::Deref(Box::new(self.unfollowed(*pointer))),
            ExprKind::Field { base, offset, bits } => ExprKind::Field { base: inner(self, base), offset, bits },
            ExprKind::Index { base, index } => ExprKind::Index { base: inner(self, base), index },
            other => other,
        };
        Expr { kind, ..place }
    }
}

fn is_bare_call(expr: &ast::Expr, wanted: &str) -> bool {
    matches!(&expr.kind, ast::ExprKind::Call { name, args } if name.node == wanted && args.is_empty())
}

/// The memory that a place lies in; `None` for what is not in memory.
pub(crate) fn place_space(place: &Expr) -> Option<AddrSpace> {
    let mut place = place;
    loop {
        match &place.kind {
            ExprKind::Deref(pointer) => match &pointer.ty {
                Type::Ptr(_, space) => return Some(*space),
                _ => return None,
            },
            ExprKind::Field { base, .. } | ExprKind::Index { base, .. } => place = base,
            ExprKind::Var(_) | ExprKind::MapGet { .. } => return Some(AddrSpace::Bpf),
            _ => return None,
        }
    }
}

/// A member of a struct that is in sight.
fn member(base: Expr, field: StructField, span: Span) -> Expr {
    let mut ty = field.ty;
    // What user memory points to is user memory; the context is filled by the kernel.
    if place_space(&base) == Some(AddrSpace::User)
        && let Type::Ptr(target, _) = &ty
    {
        ty = Type::Ptr(Rc::clone(target), AddrSpace::User);
    }
    Expr { kind: ExprKind::Field { base: Box::new(base), offset: field.offset, bits: field.bits }, ty, span }
}

/// The address of the first element of an array, string or struct that lies in memory.
pub(crate) fn decay(place: Expr, elem: Type) -> Expr {
    let span = place.span;
    let space = place_space(&place).unwrap_or(AddrSpace::Bpf);
    let ty = Type::Ptr(Rc::new(elem), space);
    Expr { kind: ExprKind::AddrOf(Box::new(place)), ty, span }
}

/// The address space of the pointer that a number was made from, as in `(uint64)curtask + 8`.
pub(super) fn origin(value: &Expr) -> Option<AddrSpace> {
    let mut value = value;
    loop {
        if let Type::Ptr(_, space) = &value.ty {
            return Some(*space);
        }
        match &value.kind {
            ExprKind::Cast(inner) => value = inner,
            ExprKind::Binary(BinOp::Add | BinOp::Sub | BinOp::BitAnd, lhs, _) => value = lhs,
            _ => return None,
        }
    }
}

fn is_constant(value: &Expr) -> bool {
    constant::value(value).is_some() || constant::string(value).is_some()
}
