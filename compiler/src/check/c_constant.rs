//! Constant expressions of C, for lengths of arrays and values of enumerators: unlike the script's, they know the enumerators before them,
//! and their operators mix types freely.

use tapline_grammar::ast::{BinOp, Expr, ExprKind, UnOp};

use super::{Checker, constant};
use crate::types::Type;

impl Checker<'_> {
    /// Its number, where `fit` takes it; `what` is said to be a constant otherwise, unless the reason was told. `enumerators` are those of the enum
    /// at hand.
    pub(super) fn c_number<T>(
        &mut self,
        e: &Expr,
        enumerators: &[(String, i64)],
        (code, what): (&'static str, &str),
        fit: impl FnOnce(i128) -> Option<T>,
    ) -> Option<T> {
        let said = self.diagnostics.len();
        let number = self.c_constant(e, enumerators).and_then(fit);
        if number.is_none() && self.diagnostics.len() == said {
            self.error(code, format!("{what} is a constant"), e.span);
        }
        number
    }

    fn c_constant(&mut self, e: &Expr, enumerators: &[(String, i64)]) -> Option<i128> {
        match &e.kind {
            ExprKind::Ident(name) => match enumerators.iter().find(|(own, _)| own == name) {
                Some((_, n)) => Some(i128::from(*n)),
                None => constant::value(&self.value_expr(e)?),
            },
            ExprKind::Unary { op, expr } => unary(*op, self.c_constant(expr, enumerators)?),
            ExprKind::Binary { op, lhs, rhs } => {
                let lhs = self.c_constant(lhs, enumerators)?;
                binary(*op, lhs, self.c_constant(rhs, enumerators)?)
            }
            ExprKind::Ternary { cond, then, otherwise } => {
                let truth = self.c_constant(cond, enumerators)?;
                match then {
                    _ if truth == 0 => self.c_constant(otherwise, enumerators),
                    Some(then) => self.c_constant(then, enumerators),
                    None => Some(truth),
                }
            }
            ExprKind::Cast { ty, expr } => {
                let number = self.c_constant(expr, enumerators)?;
                match self.type_expr(ty, None)? {
                    Type::Int(int) => Some(constant::wrap(number, int)),
                    _ => Some(number),
                }
            }
            _ => constant::value(&self.value_expr(e)?),
        }
    }
}

fn unary(op: UnOp, n: i128) -> Option<i128> {
    Some(match op {
        UnOp::Neg => n.checked_neg()?,
        UnOp::BitNot => !n,
        UnOp::Not => i128::from(n == 0),
        UnOp::Plus => n,
        _ => return None,
    })
}

fn binary(op: BinOp, lhs: i128, rhs: i128) -> Option<i128> {
    let shift = || u32::try_from(rhs).ok().filter(|n| *n < 64);
    Some(match op {
        BinOp::Add => lhs.checked_add(rhs)?,
        BinOp::Sub => lhs.checked_sub(rhs)?,
        BinOp::Mul => lhs.checked_mul(rhs)?,
        BinOp::Div => lhs.checked_div(rhs)?,
        BinOp::Mod => lhs.checked_rem(rhs)?,
        BinOp::BitAnd => lhs & rhs,
        BinOp::BitOr => lhs | rhs,
        BinOp::BitXor => lhs ^ rhs,
        BinOp::Shl => lhs.checked_mul(1i128 << shift()?)?,
        BinOp::Shr => lhs >> shift()?,
        BinOp::Eq => i128::from(lhs == rhs),
        BinOp::Ne => i128::from(lhs != rhs),
        BinOp::Lt => i128::from(lhs < rhs),
        BinOp::Le => i128::from(lhs <= rhs),
        BinOp::Gt => i128::from(lhs > rhs),
        BinOp::Ge => i128::from(lhs >= rhs),
        BinOp::And => i128::from(lhs != 0 && rhs != 0),
        BinOp::Or => i128::from(lhs != 0 || rhs != 0),
    })
}
