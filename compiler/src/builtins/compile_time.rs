//! Questions about types that are answered while compiling.

use super::Call;
use crate::check::{Checker, constant_bool};
use crate::typed::{Expr, ExprKind};
use crate::types::Type;

fn ask(checker: &mut Checker<'_>, call: &Call<'_>, question: fn(&Expr) -> bool) -> Option<Expr> {
    let value = checker.value_expr(call.arg(0)?)?;
    Some(constant_bool(question(&value), call.span))
}

pub(super) fn is_str(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    ask(checker, call, |e| matches!(e.ty, Type::Str(_)))
}

pub(super) fn is_ptr(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    ask(checker, call, |e| matches!(e.ty, Type::Ptr(..)))
}

pub(super) fn is_array(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    ask(checker, call, |e| matches!(e.ty, Type::Array(..)))
}

pub(super) fn is_integer(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    ask(checker, call, |e| matches!(e.ty, Type::Int(_)))
}

pub(super) fn is_unsigned_integer(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    ask(checker, call, |e| matches!(e.ty, Type::Int(int) if !int.signed))
}

pub(super) fn is_literal(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    ask(checker, call, |e| matches!(e.kind, ExprKind::Int(_) | ExprKind::Str(_)))
}
