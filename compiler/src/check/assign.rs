//! Assignments: plain, compound, `++`/`--`, and those of aggregations to maps.

use tapline_grammar::ast;
use tapline_grammar::span::Span;

use super::flow::{Flow, holds};
use super::operators::{Infix, as_int, infix, symbol};
use super::{Checker, constant, convert};
use crate::builtins::{self, Call, Kind};
use crate::program::MapId;
use crate::typed::{BinOp, Expr, ExprKind, Place, Stmt, StmtKind, VarId};
use crate::types::layout::size_of;
use crate::types::{IntType, Type};

/// Something that can be assigned to, found once.
enum Target {
    Var(VarId),
    Map(MapId, Option<Expr>),
}

impl Target {
    fn place(self) -> Place {
        match self {
            Self::Var(id) => Place::Var(id),
            Self::Map(map, key) => Place::Map { map, key: key.map(Box::new) },
        }
    }
}

impl Checker<'_> {
    /// `target = value` and `target op= value`.
    pub(super) fn assign(
        &mut self,
        target: &ast::Expr,
        op: Option<ast::BinOp>,
        value: &ast::Expr,
        span: Span,
    ) -> Option<Stmt> {
        match op {
            None => self.plain_assign(target, value, span),
            Some(op) => match infix(op) {
                Infix::Arithmetic(op) => self.update(target, op, value, span),
                _ => None,
            },
        }
    }

    fn plain_assign(&mut self, target: &ast::Expr, value: &ast::Expr, span: Span) -> Option<Stmt> {
        if let Some(call) = aggregation(value) {
            return self.aggregate(target, &call, span);
        }
        match &target.kind {
            ast::ExprKind::Var(name) => {
                // The value first: it may use an older variable of the name.
                let value = self.stored_value(value);
                let id = self.variable_named(name, target.span);
                self.assign_var(id, value?, span)
            }
            ast::ExprKind::Map { name, key } => {
                let access = self.map_access(name, key.as_deref(), target.span);
                let value = self.stored_value(value);
                let (map, key) = access?;
                self.mark_stored(map);
                let value = value?;
                if self.copies_aggregation(&value) {
                    return None;
                }
                let flow = self.flow_of(&value);
                if !self.value_flow(map, &flow, value.span) {
                    return None;
                }
                let ty = self.peek_value(map)?.ty();
                let value = convert(value, &ty);
                let place = Place::Map { map, key: key.map(Box::new) };
                Some(Stmt { kind: StmtKind::Assign { place, value }, span })
            }
            _ => {
                self.not_assignable(target);
                None
            }
        }
    }

    /// Reports an aggregation that goes from one map to another, where it would silently be a number that stays as it is.
    fn copies_aggregation(&mut self, value: &Expr) -> bool {
        let ExprKind::MapGet { map, .. } = value.kind else { return false };
        let Some(Type::Aggregate(_)) = self.peek_value(map).map(|flow| flow.ty()) else { return false };
        let name = self.map_name(map);
        self.error("aggregation", format!("what @{name} aggregates cannot be assigned to another map"), value.span)
            .help(format!("its number as it is now: `(int64)@{name}`"));
        true
    }

    pub(crate) fn assign_var(&mut self, id: VarId, value: Expr, span: Span) -> Option<Stmt> {
        let flow = self.flow_of(&value);
        let declared = self.scope.var(id).and_then(|var| var.declared.clone());
        if let (Some(wants @ Type::Int(int)), Some(n)) = (&declared, constant::literal(&value))
            && !holds(*int, n)
        {
            self.misfit(id, wants, &value.ty, value.span);
            return None;
        }
        self.flow_into_var(id, &flow, value.span);
        let ty = self.scope.flow(id)?.ty();
        let value = convert(value, &ty);
        Some(Stmt { kind: StmtKind::Assign { place: Place::Var(id), value }, span })
    }

    /// Something has declared it or assigned to it.
    pub(crate) fn knows_variable(&self, name: &str) -> bool {
        self.scope.find(name).is_some()
    }

    /// The variable of a name, declared here if there is none.
    pub(crate) fn variable_named(&mut self, name: &str, span: Span) -> VarId {
        match self.scope.find(name) {
            Some(id) => id,
            None => self.scope.declare(name, span),
        }
    }

    /// The expression for use in several places: evaluated once, into a variable that no script can name.
    pub(crate) fn once(&mut self, value: Expr, stmts: &mut Vec<Stmt>) -> Option<Expr> {
        if matches!(value.kind, ExprKind::Int(_) | ExprKind::Str(_) | ExprKind::Var(_)) {
            return Some(value);
        }
        let (ty, span) = (value.ty.clone(), value.span);
        let id = self.scope.declare("", span);
        stmts.push(self.assign_var(id, value, span)?);
        Some(Expr { kind: ExprKind::Var(id), ty, span })
    }

    /// A value that can be kept.
    pub(super) fn stored_value(&mut self, value: &ast::Expr) -> Option<Expr> {
        let value = self.value_expr(value)?;
        if matches!(value.ty, Type::Strings | Type::Aggregate(_)) {
            let is = self.name(&value.ty);
            self.error("not-storable", format!("{is} cannot be stored"), value.span);
            return None;
        }
        Some(value)
    }

    fn not_assignable(&mut self, target: &ast::Expr) {
        let report = self
            .error("not-assignable", "this cannot be assigned to", target.span)
            .label("neither a variable nor a map");
        match &target.kind {
            ast::ExprKind::Field { .. } | ast::ExprKind::Index { .. } | ast::ExprKind::TupleIndex { .. } => {
                report.help("tuples, records and memory are read only: assign a new value to the whole variable");
            }
            ast::ExprKind::Ident(name) => {
                report.help(format!("a variable is written `${name}`, a map `@{name}`"));
            }
            _ => {}
        }
    }

    fn target(&mut self, target: &ast::Expr, fresh: bool) -> Option<Target> {
        match &target.kind {
            ast::ExprKind::Var(name) => {
                if let Some(id) = self.scope.find(name) {
                    return Some(Target::Var(id));
                }
                if fresh {
                    return Some(Target::Var(self.scope.declare(name, target.span)));
                }
                // Reports that nothing was assigned before.
                self.expr(target);
                None
            }
            ast::ExprKind::Map { name, key } => {
                let (map, key) = self.map_access(name, key.as_deref(), target.span)?;
                Some(Target::Map(map, key))
            }
            _ => {
                self.not_assignable(target);
                None
            }
        }
    }

    /// What a place holds, before it is changed.
    fn current(&mut self, target: &Target, span: Span) -> Option<Expr> {
        match target {
            Target::Var(id) => {
                let ty = self.scope.flow(*id)?.ty();
                Some(Expr { kind: ExprKind::Var(*id), ty, span })
            }
            Target::Map(map, key) => {
                // A map that nothing else is assigned to counts in int64.
                let flow = self.peek_value(*map).unwrap_or(Flow::Of(Type::I64));
                let kind = ExprKind::MapGet { map: *map, key: key.clone().map(Box::new) };
                Some(Expr { kind, ty: flow.ty(), span })
            }
        }
    }

    fn update(&mut self, target: &ast::Expr, op: BinOp, value: &ast::Expr, span: Span) -> Option<Stmt> {
        let place = self.target(target, false);
        let value = self.value_expr(value);
        let (place, value) = (place?, value?);
        let before = self.current(&place, target.span)?;
        if let Type::Aggregate(_) = before.ty {
            let (name, is) = (symbol(op), self.name(&before.ty));
            self.error("aggregation", format!("`{name}=` does not go with an aggregation"), span)
                .also(target.span, format!("this is {is}"));
            return None;
        }
        if let (Type::Ptr(..), Target::Var(id)) = (&before.ty, &place) {
            let sum = self.arithmetic(op, before, value, span)?;
            return self.assign_var(*id, sum, span);
        }
        // The place holds what the operation yields.
        let result = self.arithmetic(op, before, value.clone(), span)?;
        let flow = Flow::Of(result.ty.clone());
        let fits = match &place {
            Target::Var(id) => {
                self.flow_into_var(*id, &flow, span);
                true
            }
            Target::Map(map, _) => self.value_flow(*map, &flow, span),
        };
        if !fits {
            return None;
        }
        let ty = match &place {
            Target::Var(id) => self.scope.flow(*id)?.ty(),
            Target::Map(map, _) => self.peek_value(*map)?.ty(),
        };
        let value = convert(value, &ty);
        Some(Stmt { kind: StmtKind::Update { place: place.place(), op, value }, span })
    }

    /// `++` and `--`.
    pub(super) fn inc_dec(&mut self, inc: bool, prefix: bool, target: &ast::Expr, span: Span) -> Option<Expr> {
        let place = self.target(target, false)?;
        let before = self.current(&place, target.span)?;
        let (flow, step) = match &before.ty {
            Type::Ptr(target, _) => (Flow::Of(before.ty.clone()), size_of(target, &self.types.aggregates).max(1)),
            ty if as_int(ty).is_some() => {
                // As `+ 1` and `- 1`: a difference is signed.
                let unsigned = inc && as_int(ty).is_some_and(|int| !int.signed);
                (Flow::Of(if unsigned { Type::U64 } else { Type::I64 }), 1)
            }
            ty => {
                let is = self.name(ty);
                let sign = if inc { "++" } else { "--" };
                self.error("type-mismatch", format!("`{sign}` takes a number or a pointer, not {is}"), span)
                    .also(target.span, format!("this is {is}"));
                return None;
            }
        };
        let ty = match &place {
            Target::Var(id) => {
                // Counting keeps a declared variable as it is, and what it cuts off is meant.
                if self.scope.var(*id).is_some_and(|var| var.declared.is_none()) {
                    self.flow_into_var(*id, &flow, span);
                }
                self.scope.flow(*id)?.ty()
            }
            Target::Map(map, _) => {
                if !self.value_flow(*map, &flow, span) {
                    return None;
                }
                self.peek_value(*map)?.ty()
            }
        };
        let delta = if inc { i64::from(step) } else { -i64::from(step) };
        Some(Expr { kind: ExprKind::IncDec { place: place.place(), delta, prefix }, ty, span })
    }

    /// `@m[key] = count()`.
    fn aggregate(&mut self, target: &ast::Expr, call: &Call<'_>, span: Span) -> Option<Stmt> {
        let ast::ExprKind::Map { name, key } = &target.kind else {
            let function = call.row.name;
            self.error("aggregation", format!("{function}() must be assigned to a map"), call.span)
                .also(target.span, "this is not a map")
                .help(format!("`@name = {function}(…)` or `@name[key] = {function}(…)`"));
            return None;
        };
        let access = self.map_access(name, key.as_deref(), target.span);
        let (aggregate, value) = self.aggregation(call)?;
        let (map, key) = access?;
        if !self.value_flow(map, &Flow::Of(Type::Aggregate(aggregate)), call.span) {
            return None;
        }
        let value = value.map(|value| {
            let signed = as_int(&value.ty).is_some_and(|int| int.signed);
            convert(value, &Type::Int(IntType { size: 8, signed }))
        });
        Some(Stmt { kind: StmtKind::Aggregate { map, key, value }, span })
    }
}

/// The call of an aggregation, when the value is one.
fn aggregation(value: &ast::Expr) -> Option<Call<'_>> {
    let (name, args): (&str, &[ast::Expr]) = match &value.kind {
        ast::ExprKind::Call { name, args } => (&name.node, args),
        ast::ExprKind::Ident(name) => (name, &[]),
        _ => return None,
    };
    let row =
        builtins::find(name).or_else(|| builtins::find_former(name)).filter(|row| row.kind == Kind::Aggregation)?;
    Some(Call { row, args, span: value.span })
}
