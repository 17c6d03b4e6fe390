//! Constant integer expressions of C: what its operators do, and how the types of their operands meet.
//!
//! Who asks says what a name means and how wide `int` is: 64 bits in conditions of the preprocessor, 32 in declarations.

use std::collections::HashMap;

use crate::ast::{BinOp, Expr, ExprKind, TypeExpr, UnOp};
use crate::cpp::MacroText;
use crate::parser;
use crate::span::FileId;

/// Macros may refer to each other this deep.
const MAX_EXPANSIONS: u32 = 16;
/// All expansions of one expression together.
const MAX_STEPS: u32 = 10_000;

/// A type of integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Integer {
    /// Up to 64.
    pub bits: u32,
    /// Has negative numbers.
    pub signed: bool,
}

impl Integer {
    /// The number of this type with the same bits.
    pub fn number(self, value: i128) -> Number {
        let beyond = 128 - self.bits;
        let high = value << beyond;
        Number { value: if self.signed { high >> beyond } else { ((high as u128) >> beyond) as i128 }, ty: self }
    }

    /// The type in which both can be computed with: the wider one, and the unsigned one of two that are equally wide.
    fn with(self, other: Self) -> Self {
        match self.bits.cmp(&other.bits) {
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Equal => Self { signed: self.signed && other.signed, ..self },
        }
    }
}

/// A value with its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// Within the bounds of the type.
    pub value: i128,
    /// Never narrower than `int`.
    pub ty: Integer,
}

impl Number {
    fn truth(self) -> bool {
        self.value != 0
    }
}

/// What the operators work on.
pub trait Operands {
    /// The bits of `int`.
    const INT: u32;

    /// The value of what is neither a literal nor an operator.
    ///
    /// # Errors
    /// Why it has none.
    fn operand(&mut self, expr: &Expr) -> Result<Number, String>;

    /// A number as another type.
    ///
    /// # Errors
    /// Why the type is none.
    fn cast(&mut self, ty: &TypeExpr, number: Number) -> Result<Number, String>;

    /// A number in the first of the types from `int` on that may be and holds it.
    fn number(value: i128, may_be: impl Fn(Integer) -> bool) -> Number {
        let largest = Integer { bits: 64, signed: false };
        let types = [(Self::INT, true), (Self::INT, false), (64, true)].map(|(bits, signed)| Integer { bits, signed });
        let ty = types.into_iter().find(|ty| may_be(*ty) && ty.number(value).value == value);
        ty.unwrap_or(largest).number(value)
    }
}

fn truth_value<O: Operands>(truth: bool) -> Number {
    Integer { bits: O::INT, signed: true }.number(i128::from(truth))
}

/// The value of a constant expression.
///
/// # Errors
/// Why it has none.
pub fn evaluate<O: Operands>(expr: &Expr, operands: &mut O) -> Result<Number, String> {
    match &expr.kind {
        ExprKind::Int { value, text } => {
            let digits = text.trim_end_matches(['u', 'U', 'l', 'L']);
            let suffix = text.get(digits.len()..).unwrap_or_default();
            let has = |letter: char| suffix.contains([letter, letter.to_ascii_uppercase()]);
            // Only numbers of other bases become unsigned by themselves.
            let signed = |ty: Integer| if has('u') { !ty.signed } else { ty.signed || digits.starts_with('0') };
            Ok(O::number(i128::from(*value), |ty| signed(ty) && (ty.bits == 64 || !has('l'))))
        }
        ExprKind::Bool(value) => Ok(truth_value::<O>(*value)),
        ExprKind::Unary { op, expr } => {
            let n = evaluate(expr, operands)?;
            match op {
                UnOp::Not => Ok(truth_value::<O>(!n.truth())),
                UnOp::BitNot => Ok(n.ty.number(!n.value)),
                UnOp::Neg => Ok(n.ty.number(-n.value)),
                UnOp::Plus => Ok(n),
                UnOp::Deref | UnOp::AddrOf => Err("there are no pointers here".to_owned()),
            }
        }
        ExprKind::Binary { op, lhs, rhs } => {
            let left = evaluate(lhs, operands)?;
            // What short-circuits is not evaluated: `defined(A) && A / B` does not divide by a macro that is not there.
            match op {
                BinOp::And if !left.truth() => Ok(truth_value::<O>(false)),
                BinOp::Or if left.truth() => Ok(truth_value::<O>(true)),
                _ => binary::<O>(*op, left, evaluate(rhs, operands)?),
            }
        }
        ExprKind::Ternary { cond, then, otherwise } => {
            let cond = evaluate(cond, operands)?;
            let then = then.as_deref().map_or(Ok(cond), |then| evaluate(then, operands));
            let otherwise = evaluate(otherwise, operands);
            // Both have a say in the type; only the chosen one needs a value.
            let (chosen, other) = if cond.truth() { (then, otherwise) } else { (otherwise, then) };
            let chosen = chosen?;
            Ok(other.map_or(chosen, |other| chosen.ty.with(other.ty).number(chosen.value)))
        }
        ExprKind::Cast { ty, expr } => {
            let number = evaluate(expr, operands)?;
            operands.cast(ty, number)
        }
        _ => operands.operand(expr),
    }
}

fn binary<O: Operands>(op: BinOp, lhs: Number, rhs: Number) -> Result<Number, String> {
    let ty = lhs.ty.with(rhs.ty);
    let (left, right) = (ty.number(lhs.value).value, ty.number(rhs.value).value);
    let shift = || {
        let count = u32::try_from(rhs.value).ok().filter(|count| *count < lhs.ty.bits);
        count.ok_or_else(|| format!("a number of {} bits cannot be shifted by {}", lhs.ty.bits, rhs.value))
    };
    let truth = truth_value::<O>;
    Ok(match op {
        BinOp::Add => ty.number(left + right),
        BinOp::Sub => ty.number(left - right),
        BinOp::Mul => ty.number(left.wrapping_mul(right)),
        BinOp::Div | BinOp::Mod if right == 0 => return Err("division by zero".to_owned()),
        BinOp::Div => ty.number(left / right),
        BinOp::Mod => ty.number(left % right),
        BinOp::BitAnd => ty.number(left & right),
        BinOp::BitOr => ty.number(left | right),
        BinOp::BitXor => ty.number(left ^ right),
        BinOp::Shl => lhs.ty.number(lhs.value << shift()?),
        BinOp::Shr => lhs.ty.number(lhs.value >> shift()?),
        BinOp::Eq => truth(left == right),
        BinOp::Ne => truth(left != right),
        BinOp::Lt => truth(left < right),
        BinOp::Le => truth(left <= right),
        BinOp::Gt => truth(left > right),
        BinOp::Ge => truth(left >= right),
        BinOp::And | BinOp::Or => truth(rhs.truth()),
    })
}

/// The preprocessor's operands: its macros. Other names are 0.
pub(crate) struct Macros<'a> {
    defined: &'a HashMap<String, MacroText>,
    /// Arguments of the macro that is being expanded.
    args: Vec<(String, Number)>,
    depth: u32,
    /// Expansions so far.
    steps: u32,
}

impl<'a> Macros<'a> {
    pub(crate) fn new(macros: &'a HashMap<String, MacroText>) -> Self {
        Self { defined: macros, args: Vec::new(), depth: 0, steps: 0 }
    }

    /// The value of a constant expression.
    pub(crate) fn value(mut self, expr: &Expr) -> Result<i128, String> {
        evaluate(expr, &mut self).map(|number| number.value)
    }

    fn expand(&mut self, name: &str, text: &MacroText, args: Vec<(String, Number)>) -> Result<Number, String> {
        self.steps += 1;
        if self.depth >= MAX_EXPANSIONS || self.steps > MAX_STEPS {
            return Err(format!("the macro `{name}` never ends"));
        }
        if text.body.is_empty() {
            return Err(format!("the macro `{name}` has no value"));
        }
        let expr = parser::expression(FileId::default(), &text.body, 0..text.body.len())
            .map_err(|_| format!("the macro `{name}` is not a constant number"))?;
        let outer = std::mem::replace(&mut self.args, args);
        self.depth += 1;
        let value = evaluate(&expr, self);
        self.depth -= 1;
        self.args = outer;
        value
    }
}

impl Operands for Macros<'_> {
    const INT: u32 = 64;

    fn operand(&mut self, expr: &Expr) -> Result<Number, String> {
        let zero = truth_value::<Self>(false);
        let macros = self.defined;
        match &expr.kind {
            ExprKind::Ident(name) => {
                if let Some((_, value)) = self.args.iter().find(|(arg, _)| arg == name) {
                    return Ok(*value);
                }
                match macros.get(name) {
                    Some(text) if text.params.is_none() => self.expand(name, text, Vec::new()),
                    _ => Ok(zero),
                }
            }
            ExprKind::Call { name, args } => {
                // Headers ask macros of other headers, which nobody reads.
                let Some(text) = macros.get(&name.node) else { return Ok(zero) };
                let params = text.params.as_ref().ok_or_else(|| format!("`{}` takes no arguments", name.node))?;
                if params.len() != args.len() {
                    return Err(format!("`{}` takes {} arguments", name.node, params.len()));
                }
                let mut bound = Vec::with_capacity(args.len());
                for (param, arg) in params.iter().zip(args) {
                    bound.push((param.clone(), evaluate(arg, self)?));
                }
                self.expand(&name.node, text, bound)
            }
            _ => Err("this is not a constant number".to_owned()),
        }
    }

    /// The preprocessor knows no types.
    fn cast(&mut self, _: &TypeExpr, number: Number) -> Result<Number, String> {
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eval_text(text: &str, macros: &[(&str, &str)]) -> Result<i128, String> {
        let macros = macros.iter().map(|(name, body)| match name.split_once('(') {
            Some((name, params)) => {
                let params = params.trim_end_matches(')').split(',').map(str::to_owned).collect();
                (name.to_owned(), MacroText { params: Some(params), body: (*body).to_owned() })
            }
            None => ((*name).to_owned(), MacroText { params: None, body: (*body).to_owned() }),
        });
        let macros = macros.collect();
        let expr = parser::expression(FileId::default(), text, 0..text.len()).map_err(|e| format!("{e:?}"))?;
        Macros::new(&macros).value(&expr)
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
        assert_eq!(eval_text("-1 > 0u", &[]), Ok(1));
        assert_eq!(eval_text("(-1 >> 1) + 0xffffffff", &[]), Ok(0xffff_fffe));
        assert_eq!(eval_text("18446744073709551615u / 2 == 9223372036854775807", &[]), Ok(1));
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
