//! Constant integer expressions of the preprocessor: conditions, bitfield widths, alignments.
//!
//! Arithmetic wraps at 64 bits, as that of a preprocessor does. Names that are no macros are 0.

use std::collections::HashMap;

use crate::ast::{BinOp, Expr, ExprKind, UnOp};
use crate::cpp::MacroText;
use crate::parser;
use crate::span::FileId;

/// Macros may refer to each other this deep.
const MAX_EXPANSIONS: u32 = 16;
/// All expansions of one expression together.
const MAX_STEPS: u32 = 10_000;

/// What names mean.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    macros: &'a HashMap<String, MacroText>,
    /// Arguments of the macro that is being expanded.
    args: &'a [(String, i64)],
    depth: u32,
    /// Expansions so far, shared by all scopes of an expression.
    steps: Option<&'a std::cell::Cell<u32>>,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(macros: &'a HashMap<String, MacroText>) -> Self {
        Scope { macros, args: &[], depth: 0, steps: None }
    }
}

/// The value of a constant expression, or why it has none.
pub(crate) fn value(expr: &Expr, scope: Scope<'_>) -> Result<i64, String> {
    let steps = std::cell::Cell::new(0);
    eval(expr, Scope { steps: Some(&steps), ..scope })
}

fn eval(expr: &Expr, scope: Scope<'_>) -> Result<i64, String> {
    match &expr.kind {
        ExprKind::Int { value, .. } => Ok(*value as i64),
        ExprKind::Bool(value) => Ok(i64::from(*value)),
        ExprKind::Ident(name) => {
            if let Some((_, value)) = scope.args.iter().find(|(arg, _)| arg == name) {
                return Ok(*value);
            }
            match scope.macros.get(name) {
                Some(text) if text.params.is_none() => expand(name, text, &[], scope),
                _ => Ok(0),
            }
        }
        ExprKind::Call { name, args } => {
            // Headers ask macros of other headers, which nobody reads.
            let Some(text) = scope.macros.get(&name.node) else { return Ok(0) };
            let params = text.params.as_ref().ok_or_else(|| format!("`{}` takes no arguments", name.node))?;
            if params.len() != args.len() {
                return Err(format!("`{}` takes {} arguments", name.node, params.len()));
            }
            let mut bound = Vec::with_capacity(args.len());
            for (param, arg) in params.iter().zip(args) {
                bound.push((param.clone(), eval(arg, scope)?));
            }
            expand(&name.node, text, &bound, scope)
        }
        ExprKind::Unary { op, expr } => {
            let value = eval(expr, scope)?;
            match op {
                UnOp::Not => Ok(i64::from(value == 0)),
                UnOp::BitNot => Ok(!value),
                UnOp::Neg => Ok(value.wrapping_neg()),
                UnOp::Plus => Ok(value),
                UnOp::Deref | UnOp::AddrOf => Err("there are no pointers here".to_owned()),
            }
        }
        ExprKind::Binary { op, lhs, rhs } => binary(*op, lhs, rhs, scope),
        ExprKind::Ternary { cond, then, otherwise } => {
            let value = eval(cond, scope)?;
            match then {
                _ if value == 0 => eval(otherwise, scope),
                Some(then) => eval(then, scope),
                None => Ok(value),
            }
        }
        ExprKind::Cast { expr, .. } => eval(expr, scope),
        _ => Err("this is not a constant number".to_owned()),
    }
}

fn expand(name: &str, text: &MacroText, args: &[(String, i64)], scope: Scope<'_>) -> Result<i64, String> {
    let steps = scope.steps.map_or(0, |s| s.replace(s.get().saturating_add(1)));
    if scope.depth >= MAX_EXPANSIONS || steps >= MAX_STEPS {
        return Err(format!("the macro `{name}` never ends"));
    }
    if text.body.is_empty() {
        return Err(format!("the macro `{name}` has no value"));
    }
    let expr = parser::expression(FileId::default(), &text.body, 0..text.body.len())
        .map_err(|_| format!("the macro `{name}` is not a constant number"))?;
    eval(&expr, Scope { args, depth: scope.depth + 1, ..scope })
}

fn binary(op: BinOp, lhs: &Expr, rhs: &Expr, scope: Scope<'_>) -> Result<i64, String> {
    let left = eval(lhs, scope)?;
    // What short-circuits is not evaluated: `defined(A) && A / B` does not divide by a macro that is not there.
    match op {
        BinOp::And if left == 0 => return Ok(0),
        BinOp::Or if left != 0 => return Ok(1),
        _ => {}
    }
    let right = eval(rhs, scope)?;
    let shift = || u32::try_from(right).ok().filter(|s| *s < 64).ok_or("this shift is out of range");
    Ok(match op {
        BinOp::Add => left.wrapping_add(right),
        BinOp::Sub => left.wrapping_sub(right),
        BinOp::Mul => left.wrapping_mul(right),
        BinOp::Div | BinOp::Mod if right == 0 => return Err("division by zero".to_owned()),
        BinOp::Div => left.wrapping_div(right),
        BinOp::Mod => left.wrapping_rem(right),
        BinOp::BitAnd => left & right,
        BinOp::BitOr => left | right,
        BinOp::BitXor => left ^ right,
        BinOp::Shl => left.wrapping_shl(shift()?),
        BinOp::Shr => left.wrapping_shr(shift()?),
        BinOp::Eq => i64::from(left == right),
        BinOp::Ne => i64::from(left != right),
        BinOp::Lt => i64::from(left < right),
        BinOp::Le => i64::from(left <= right),
        BinOp::Gt => i64::from(left > right),
        BinOp::Ge => i64::from(left >= right),
        BinOp::And | BinOp::Or => i64::from(right != 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eval_text(text: &str, macros: &[(&str, &str)]) -> Result<i64, String> {
        let macros = macros.iter().map(|(name, body)| match name.split_once('(') {
            Some((name, params)) => {
                let params = params.trim_end_matches(')').split(',').map(str::to_owned).collect();
                (name.to_owned(), MacroText { params: Some(params), body: (*body).to_owned() })
            }
            None => ((*name).to_owned(), MacroText { params: None, body: (*body).to_owned() }),
        });
        let macros = macros.collect();
        let expr = parser::expression(FileId::default(), text, 0..text.len()).map_err(|e| format!("{e:?}"))?;
        value(&expr, Scope::new(&macros))
    }

    #[test]
    fn arithmetic() {
        assert_eq!(eval_text("(1 << 4) + 2 * 3 - ~0", &[]), Ok(23));
        assert_eq!(eval_text("1 ? 2 : 1 / 0", &[]), Ok(2));
        assert_eq!(eval_text("UNKNOWN || 0", &[]), Ok(0));
        assert_eq!(eval_text("NOT_A_MACRO(1) || 'A' == 65", &[]), Ok(1));
        assert!(eval_text("1 / 0", &[]).is_err());
        assert!(eval_text("1 << 64", &[]).is_err());
        assert!(eval_text("\"a\"", &[]).is_err());
    }

    #[test]
    fn macros() {
        let macros = [("A", "B + 1"), ("B", "2"), ("F(x,y)", "((x) * (y))"), ("LOOP", "LOOP + 1"), ("E", "")];
        assert_eq!(eval_text("A * 2", &macros), Ok(6));
        assert_eq!(eval_text("F(A, 4)", &macros), Ok(12));
        assert!(eval_text("F(1)", &macros).is_err());
        assert!(eval_text("LOOP", &macros).is_err());
        assert!(eval_text("E", &macros).is_err());
    }
}
