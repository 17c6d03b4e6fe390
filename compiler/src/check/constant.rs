//! Literals and what can be computed from them while compiling.

use tapline_grammar::span::Span;

use super::Checker;
use super::flow::smallest;
use crate::typed::{BinOp, Expr, ExprKind};
use crate::types::{IntType, Type};

/// The number of a constant expression.
pub(crate) fn value(expr: &Expr) -> Option<i128> {
    match (&expr.kind, &expr.ty) {
        (ExprKind::Int(bits), Type::Int(IntType { size: 8, signed: false })) => Some(i128::from(*bits as u64)),
        (ExprKind::Int(bits), Type::Int(_) | Type::Enum { .. } | Type::Bool) => Some(i128::from(*bits)),
        (ExprKind::Cast(inner), Type::Int(int)) => Some(wrap(value(inner)?, *int)),
        _ => None,
    }
}

/// The number of a literal whose type is not settled: what was written, or folded from what was written.
pub(super) fn literal(expr: &Expr) -> Option<i128> {
    let number = match (&expr.kind, &expr.ty) {
        (ExprKind::Int(_), Type::Int(_)) => value(expr)?,
        _ => return None,
    };
    (Type::Int(smallest(number)) == expr.ty).then_some(number)
}

/// A number in its smallest type.
pub(crate) fn int(number: i128, span: Span) -> Expr {
    typed_int(number, smallest(number), span)
}

/// A number in a given type.
pub(crate) fn typed_int(number: i128, int: IntType, span: Span) -> Expr {
    Expr { kind: ExprKind::Int(wrap(number, int) as i64), ty: Type::Int(int), span }
}

/// A truth value.
pub(crate) fn bool(truth: bool, span: Span) -> Expr {
    Expr { kind: ExprKind::Int(i64::from(truth)), ty: Type::Bool, span }
}

/// A string in the smallest capacity.
pub(crate) fn text(bytes: &[u8], span: Span) -> Expr {
    // A string ends at its first zero byte, as everywhere below.
    let bytes = bytes.split(|b| *b == 0).next().unwrap_or_default();
    let capacity = u32::try_from(bytes.len()).unwrap_or(u32::MAX - 1).saturating_add(1);
    Expr { kind: ExprKind::Str(bytes.into()), ty: Type::Str(capacity), span }
}

/// A string constant's text.
pub(crate) fn string(expr: &Expr) -> Option<&[u8]> {
    match (&expr.kind, &expr.ty) {
        (ExprKind::Str(bytes), Type::Str(_)) => Some(bytes),
        _ => None,
    }
}

/// Cut to the bits of a type.
pub(super) fn wrap(number: i128, int: IntType) -> i128 {
    let bits = u32::from(int.size) * 8;
    let kept = number & ((1i128 << bits) - 1);
    if int.signed && kept >> (bits - 1) != 0 { kept - (1i128 << bits) } else { kept }
}

impl Checker<'_> {
    /// Arithmetic on two literals; reports what cannot be computed.
    pub(super) fn fold(&mut self, op: BinOp, lhs: i128, rhs: i128, span: Span) -> Option<Expr> {
        if matches!(op, BinOp::Div | BinOp::Mod) && rhs == 0 {
            self.error("division-by-zero", "division by zero", span).label("the divisor is always zero");
            return None;
        }
        let shift = u32::try_from(rhs).ok().filter(|n| *n < 64);
        let result = match op {
            BinOp::Add => lhs.checked_add(rhs),
            BinOp::Sub => lhs.checked_sub(rhs),
            BinOp::Mul => lhs.checked_mul(rhs),
            BinOp::Div => lhs.checked_div(rhs),
            BinOp::Mod => lhs.checked_rem(rhs),
            BinOp::BitAnd => Some(lhs & rhs),
            BinOp::BitOr => Some(lhs | rhs),
            BinOp::BitXor => Some(lhs ^ rhs),
            BinOp::Shl => shift.map(|n| lhs << n),
            BinOp::Shr => shift.map(|n| lhs >> n),
        };
        let fits = result.filter(|n| *n >= i128::from(i64::MIN) && *n <= i128::from(u64::MAX));
        let Some(number) = fits else {
            self.error("overflow", "the result of this constant expression does not fit into 64 bits", span);
            return None;
        };
        Some(int(number, span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_keeps_the_sign_of_the_type() {
        assert_eq!(wrap(300, IntType::U8), 44);
        assert_eq!(wrap(200, IntType { size: 1, signed: true }), -56);
        assert_eq!(wrap(-1, IntType::U64), i128::from(u64::MAX));
    }

    #[test]
    fn text_ends_at_the_first_zero() {
        let expr = text(b"ab\0c", Span::default());
        assert_eq!(expr.ty, Type::Str(3));
        assert_eq!(string(&expr), Some(&b"ab"[..]));
    }
}
