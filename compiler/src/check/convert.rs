//! Coercions: an expression brought to a type that inference has chosen for its place. Constants, tuples and branches are retyped
//! in place; everything else gets a cast.

use std::rc::Rc;

use super::flow::Flow;
use super::{Checker, constant};
use crate::program::Clock;
use crate::typed::{Block, Expr, ExprKind, Op};
use crate::types::Type;

/// The zero of a type.
pub(super) fn zero(ty: &Type, span: tapline_grammar::span::Span) -> Option<Expr> {
    let kind = match ty {
        Type::Str(_) => ExprKind::Str(Rc::from(&b""[..])),
        Type::Void => return None,
        ty if ty.is_scalar() => ExprKind::Int(0),
        _ => ExprKind::Parts(Vec::new()),
    };
    Some(Expr { kind, ty: ty.clone(), span })
}

/// The place behind `&place`, or the pointer's target.
pub(crate) fn strip_address(pointer: Expr, target: Type) -> Expr {
    let span = pointer.span;
    match pointer.kind {
        ExprKind::AddrOf(place) => Expr { ty: target, ..*place },
        ExprKind::Cast(of) if matches!(&of.kind, ExprKind::AddrOf(place) if place.ty == target) => {
            strip_address(*of, target)
        }
        _ => Expr { kind: ExprKind::Deref(Box::new(pointer)), ty: target, span },
    }
}

/// The expression as a value of the type.
pub(crate) fn convert(expr: Expr, ty: &Type) -> Expr {
    if expr.ty == *ty {
        return expr;
    }
    let span = expr.span;
    let number = constant::value(&expr);
    let kind = match (expr.kind, ty) {
        (ExprKind::Int(bits), Type::Int(int)) if number.is_some() => {
            return constant::typed_int(number.unwrap_or(i128::from(bits)), *int, span);
        }
        (ExprKind::Int(bits), Type::Ptr(..) | Type::Enum { .. }) => ExprKind::Int(bits),
        (ExprKind::Str(bytes), Type::Str(_)) => ExprKind::Str(bytes),
        (ExprKind::Tuple(members), Type::Tuple(types)) if members.len() == types.len() => {
            ExprKind::Tuple(members.into_iter().zip(types.iter()).map(|(e, ty)| convert(e, ty)).collect())
        }
        (ExprKind::Tuple(members), Type::Record(types)) if members.len() == types.len() => {
            let names: Vec<String> = match &expr.ty {
                Type::Record(own) => own.iter().map(|(name, _)| name.clone()).collect(),
                _ => Vec::new(),
            };
            let mut members: Vec<Option<Expr>> = members.into_iter().map(Some).collect();
            let mut ordered = Vec::new();
            for (name, ty) in types.iter() {
                let at = names.iter().position(|own| own == name);
                if let Some(member) = at.and_then(|at| members.get_mut(at)).and_then(Option::take) {
                    ordered.push(convert(member, ty));
                }
            }
            ExprKind::Tuple(ordered)
        }
        (ExprKind::Ternary { cond, then, otherwise }, ty) => {
            ExprKind::Ternary { cond, then: Box::new(convert(*then, ty)), otherwise: Box::new(convert(*otherwise, ty)) }
        }
        (ExprKind::Block(Block { stmts, value: Some(value) }), ty) => {
            ExprKind::Block(Block { stmts, value: Some(Box::new(convert(*value, ty))) })
        }
        (kind, _) => ExprKind::Cast(Box::new(Expr { kind, ty: expr.ty, span })),
    };
    Expr { kind, ty: ty.clone(), span }
}

impl Checker<'_> {
    /// What flows from an expression: literals, and variables and maps that hold nothing else, stay flexible.
    pub(crate) fn flow_of(&self, expr: &Expr) -> Flow {
        if let Some(number) = constant::literal(expr)
            && let Ok(number) = u64::try_from(number)
        {
            return Flow::Flex(number);
        }
        match &expr.kind {
            ExprKind::Var(id) => self.scope.flow(*id).unwrap_or_else(|| Flow::Of(expr.ty.clone())),
            ExprKind::MapGet { map, .. } => match self.peek_value(*map) {
                Some(Flow::Of(Type::Aggregate(_))) | None => Flow::Of(expr.ty.clone()),
                Some(flow) => flow,
            },
            ExprKind::Tuple(members) if matches!(expr.ty, Type::Tuple(_)) => {
                Flow::Tuple(members.iter().map(|e| self.flow_of(e)).collect())
            }
            ExprKind::Element { base, index } => {
                self.flow_of(base).member(*index as usize).unwrap_or_else(|| Flow::Of(expr.ty.clone()))
            }
            ExprKind::Ternary { then, otherwise, .. } => {
                self.flow_of(then).join(&self.flow_of(otherwise)).unwrap_or_else(|_| Flow::Of(expr.ty.clone()))
            }
            ExprKind::Block(Block { value: Some(value), .. }) => self.flow_of(value),
            ExprKind::Call(Op::Nsecs(clock), _) if *clock != Clock::Boot => Flow::Time(*clock),
            _ => Flow::Of(expr.ty.clone()),
        }
    }
}
