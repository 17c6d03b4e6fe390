//! Constant expressions of C, for lengths of arrays and values of enumerators: their operands are what the script knows, and the
//! enumerators before them.

use tapline_grammar::ast::{Expr, ExprKind, TypeExpr};
use tapline_grammar::c_constant::{Integer, Number, Operands, evaluate};

use super::{Checker, constant};
use crate::types::layout::align_of;
use crate::types::{IntType, Type};

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
        let number = evaluate(e, &mut Known { checker: self, enumerators });
        let fitting = number.as_ref().ok().and_then(|number| fit(number.value));
        if fitting.is_none() && self.diagnostics.len() == said {
            let why = number.map_or_else(|why| why, |number| format!("it cannot be {}", number.value));
            self.error(code, format!("{what} is a constant"), e.span).label(why);
        }
        fitting
    }
}

/// The alignment of a type, in the words of C and of compilers.
const ALIGNMENTS: &[&str] = &["_Alignof", "alignof", "__alignof", "__alignof__"];

struct Known<'a, 'c> {
    checker: &'a mut Checker<'c>,
    enumerators: &'a [(String, i64)],
}

impl Known<'_, '_> {
    /// Promoted: `int` holds all that is narrower.
    fn promoted(value: i128, IntType { size, signed }: IntType) -> Number {
        let bits = 8 * u32::from(size);
        let ty = if bits < Self::INT { Integer { bits: Self::INT, signed: true } } else { Integer { bits, signed } };
        ty.number(value)
    }
}

impl Operands for Known<'_, '_> {
    const INT: u32 = 32;

    fn operand(&mut self, e: &Expr) -> Result<Number, String> {
        if let ExprKind::Ident(name) = &e.kind
            && let Some((_, n)) = self.enumerators.iter().find(|(own, _)| own == name)
        {
            return Ok(Self::number(i128::from(*n), |_| true));
        }
        if let ExprKind::Call { name, args } = &e.kind
            && ALIGNMENTS.contains(&name.node.as_str())
            && let [Expr { kind: ExprKind::Type(ty), .. }] = args.as_slice()
        {
            let ty = self.checker.type_expr(ty, None).ok_or("its type is not known")?;
            return Ok(Self::promoted(align_of(&ty, &self.checker.types.aggregates).into(), IntType::U64));
        }
        let known = self.checker.value_expr(e);
        let number = known.as_ref().and_then(constant::value).ok_or("it is not known while compiling")?;
        Ok(match known.map(|e| e.ty) {
            Some(Type::Int(int)) => Self::promoted(number, int),
            _ => Self::number(number, |_| true),
        })
    }

    fn cast(&mut self, ty: &TypeExpr, number: Number) -> Result<Number, String> {
        Ok(match self.checker.type_expr(ty, None).ok_or("its type is not known")? {
            Type::Int(int) => Self::promoted(constant::wrap(number.value, int), int),
            _ => number,
        })
    }
}
