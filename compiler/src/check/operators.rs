//! Operators: which operands go together, the type that they meet in, and the type of the result. Arithmetic is done in 64 bits,
//! signed as soon as one side is; comparisons are done in the smallest type that holds both sides.

use std::rc::Rc;

use tapline_grammar::ast;
use tapline_grammar::span::Span;

use super::flow::{Conflict, Flow, join_ints};
use super::{Checker, constant, convert};
use crate::typed::{BinOp, CmpOp, Expr, ExprKind, UnOp};
use crate::types::layout::size_of;
use crate::types::{AddrSpace, IntType, Type};

/// What an infix operator of the syntax is.
pub(super) enum Infix {
    Arithmetic(BinOp),
    Comparison(CmpOp),
    Logic { and: bool },
}

/// Classifies an infix operator.
pub(super) fn infix(op: ast::BinOp) -> Infix {
    use ast::BinOp as B;
    match op {
        B::Add => Infix::Arithmetic(BinOp::Add),
        B::Sub => Infix::Arithmetic(BinOp::Sub),
        B::Mul => Infix::Arithmetic(BinOp::Mul),
        B::Div => Infix::Arithmetic(BinOp::Div),
        B::Mod => Infix::Arithmetic(BinOp::Mod),
        B::BitAnd => Infix::Arithmetic(BinOp::BitAnd),
        B::BitOr => Infix::Arithmetic(BinOp::BitOr),
        B::BitXor => Infix::Arithmetic(BinOp::BitXor),
        B::Shl => Infix::Arithmetic(BinOp::Shl),
        B::Shr => Infix::Arithmetic(BinOp::Shr),
        B::Eq => Infix::Comparison(CmpOp::Eq),
        B::Ne => Infix::Comparison(CmpOp::Ne),
        B::Lt => Infix::Comparison(CmpOp::Lt),
        B::Le => Infix::Comparison(CmpOp::Le),
        B::Gt => Infix::Comparison(CmpOp::Gt),
        B::Ge => Infix::Comparison(CmpOp::Ge),
        B::And => Infix::Logic { and: true },
        B::Or => Infix::Logic { and: false },
    }
}

/// As a script writes it.
pub(super) fn symbol(op: BinOp) -> &'static str {
    match op {
        BinOp::Add => "+",
        BinOp::Sub => "-",
        BinOp::Mul => "*",
        BinOp::Div => "/",
        BinOp::Mod => "%",
        BinOp::BitAnd => "&",
        BinOp::BitOr => "|",
        BinOp::BitXor => "^",
        BinOp::Shl => "<<",
        BinOp::Shr => ">>",
    }
}

/// As a script writes it.
pub(super) fn comparison_symbol(op: CmpOp) -> &'static str {
    match op {
        CmpOp::Eq => "==",
        CmpOp::Ne => "!=",
        CmpOp::Lt => "<",
        CmpOp::Le => "<=",
        CmpOp::Gt => ">",
        CmpOp::Ge => ">=",
    }
}

/// The integer type of a number-like value.
pub(crate) fn as_int(ty: &Type) -> Option<IntType> {
    match ty {
        Type::Int(int) | Type::Enum { int, .. } => Some(*int),
        Type::Bool => Some(IntType { size: 1, signed: false }),
        _ => None,
    }
}

/// `&&` and `||`.
fn logic(and: bool, lhs: Expr, rhs: Expr, span: Span) -> Expr {
    if let (Some(a), Some(b)) = (constant::value(&lhs), constant::value(&rhs)) {
        return constant::bool(if and { a != 0 && b != 0 } else { a != 0 || b != 0 }, span);
    }
    let kind = ExprKind::Logical { and, lhs: Box::new(lhs), rhs: Box::new(rhs) };
    Expr { kind, ty: Type::Bool, span }
}

/// A comparison of constants.
fn holds<T: PartialOrd + ?Sized>(op: CmpOp, a: &T, b: &T) -> bool {
    match op {
        CmpOp::Eq => a == b,
        CmpOp::Ne => a != b,
        CmpOp::Lt => a < b,
        CmpOp::Le => a <= b,
        CmpOp::Gt => a > b,
        CmpOp::Ge => a >= b,
    }
}

impl Checker<'_> {
    pub(super) fn binary(&mut self, op: ast::BinOp, lhs: &ast::Expr, rhs: &ast::Expr, span: Span) -> Option<Expr> {
        match infix(op) {
            Infix::Logic { and } => {
                let (lhs, rhs) = (self.condition(lhs), self.condition(rhs));
                Some(logic(and, lhs?, rhs?, span))
            }
            Infix::Arithmetic(op) => {
                let (lhs, rhs) = (self.value_expr(lhs), self.value_expr(rhs));
                self.arithmetic(op, lhs?, rhs?, span)
            }
            Infix::Comparison(op) => {
                let (lhs, rhs) = (self.value_expr(lhs), self.value_expr(rhs));
                self.compare(op, lhs?, rhs?, span)
            }
        }
    }

    /// An expression as a condition: a number, a pointer, or a text that is known.
    pub(crate) fn condition(&mut self, expr: &ast::Expr) -> Option<Expr> {
        let cond = self.value_expr(expr)?;
        if as_int(&cond.ty).is_some() || matches!(cond.ty, Type::Ptr(..) | Type::Fixed { .. }) {
            return Some(cond);
        }
        if let Some(text) = constant::string(&cond) {
            return Some(constant::bool(!text.is_empty(), cond.span));
        }
        let is = self.name(&cond.ty);
        let text = matches!(cond.ty, Type::Str(_));
        let report = self
            .error("invalid-condition", format!("{is} is neither true nor false"), cond.span)
            .label("a condition is a number, a pointer or a comparison");
        if text {
            report.help("compare it: `… == \"text\"`, or `… != \"\"` for \"is not empty\"");
        }
        None
    }

    /// `lhs op rhs`.
    pub(super) fn arithmetic(&mut self, op: BinOp, lhs: Expr, rhs: Expr, span: Span) -> Option<Expr> {
        if let (Some(a), Some(b)) = (constant::literal(&lhs), constant::literal(&rhs)) {
            return self.fold(op, a, b, span);
        }
        if let (Some(a), Some(b), BinOp::Add) = (constant::string(&lhs), constant::string(&rhs), op) {
            return Some(constant::text(&[a, b].concat(), span));
        }
        match (&lhs.ty, &rhs.ty) {
            (Type::Ptr(..), r) if as_int(r).is_some() && matches!(op, BinOp::Add | BinOp::Sub) => {
                return self.offset_pointer(op, lhs, rhs, span);
            }
            (l, Type::Ptr(..)) if as_int(l).is_some() && op == BinOp::Add => {
                return self.offset_pointer(op, rhs, lhs, span);
            }
            (Type::Ptr(..), Type::Ptr(..)) if op == BinOp::Sub => {
                let (lhs, rhs) = (convert(lhs, &Type::I64), convert(rhs, &Type::I64));
                return Some(Expr { kind: ExprKind::Binary(op, Box::new(lhs), Box::new(rhs)), ty: Type::I64, span });
            }
            _ => {}
        }
        if matches!(op, BinOp::Div | BinOp::Mod) && constant::value(&rhs) == Some(0) {
            self.warning("division-by-zero", "division by zero", span).label("the divisor is always zero");
        }
        let (Some(a), Some(b)) = (as_int(&lhs.ty), as_int(&rhs.ty)) else {
            self.mismatch(symbol(op), &lhs, &rhs, span);
            return None;
        };
        let shift = matches!(op, BinOp::Shl | BinOp::Shr);
        // A literal beyond int64 is as unsigned as anything declared so.
        let flexible = |flow: &Flow| matches!(flow, Flow::Flex(n) if i64::try_from(*n).is_ok());
        let (left, right) = (self.flow_of(&lhs), self.flow_of(&rhs));
        let unsigned = |int: IntType, flow: &Flow| !int.signed || flexible(flow);
        let signed = op == BinOp::Sub
            || !unsigned(a, &left)
            || (!shift && !unsigned(b, &right))
            || (flexible(&left) && (shift || flexible(&right)));
        let ty = if signed { Type::I64 } else { Type::U64 };
        if signed && op != BinOp::Sub {
            for (int, flow, operand) in [(a, &left, &lhs), (b, &right, &rhs)] {
                if int == IntType::U64 && !flexible(flow) && constant::value(operand).is_none() && !shift {
                    self.sign_warning(operand.span);
                }
            }
        }
        // The bits of truth values are one.
        let truth =
            matches!((&lhs.ty, &rhs.ty, op), (Type::Bool, Type::Bool, BinOp::BitAnd | BinOp::BitOr | BinOp::BitXor));
        let (lhs, rhs) = (convert(lhs, &ty), convert(rhs, &ty));
        let result = Expr { kind: ExprKind::Binary(op, Box::new(lhs), Box::new(rhs)), ty, span };
        Some(if truth { convert(result, &Type::Bool) } else { result })
    }

    fn sign_warning(&mut self, span: Span) {
        self.warning("sign", "uint64 and a signed number meet in int64", span)
            .label("values above 9223372036854775807 become negative")
            .help("cast the other side, or this one, to say which sign is meant: `(uint64)…`");
    }

    pub(super) fn mismatch(&mut self, op: &str, lhs: &Expr, rhs: &Expr, span: Span) {
        let (a, b) = (self.name(&lhs.ty), self.name(&rhs.ty));
        let texts = [lhs, rhs].map(|side| matches!(side.ty, Type::Str(_)));
        let report = self
            .error("type-mismatch", format!("`{op}` does not go between {a} and {b}"), span)
            .also(lhs.span, format!("this is {a}"))
            .also(rhs.span, format!("this is {b}"));
        match texts {
            [true, true] if op == "+" => {
                report.help("print texts one after the other: `printf(\"%s%s\", a, b)`");
            }
            [true, true] => {
                report.help("strings can be compared with `==` and `!=` only");
            }
            _ => {}
        }
    }

    /// `pointer ± number`, in elements.
    pub(super) fn offset_pointer(&mut self, op: BinOp, pointer: Expr, number: Expr, span: Span) -> Option<Expr> {
        let pointer = match pointer.ty {
            Type::Ptr(_, AddrSpace::Ctx) => self.unfollowed(pointer),
            _ => pointer,
        };
        let ty = pointer.ty.clone();
        let Type::Ptr(target, _) = &ty else { return None };
        let size = i128::from(size_of(target, &self.types.aggregates).max(1));
        let at = number.span;
        let bytes = if let Some(n) = constant::value(&number) {
            constant::typed_int(n.saturating_mul(size), IntType::U64, at)
        } else if size == 1 {
            convert(number, &Type::U64)
        } else {
            let scale = constant::typed_int(size, IntType::U64, at);
            let kind = ExprKind::Binary(BinOp::Mul, Box::new(convert(number, &Type::U64)), Box::new(scale));
            Expr { kind, ty: Type::U64, span: at }
        };
        let at = pointer.span;
        let address = Expr { kind: ExprKind::Cast(Box::new(pointer)), ty: Type::U64, span: at };
        let sum = ExprKind::Binary(op, Box::new(address), Box::new(bytes));
        let sum = Expr { kind: sum, ty: Type::U64, span };
        Some(Expr { kind: ExprKind::Cast(Box::new(sum)), ty, span })
    }

    /// `lhs op rhs` to bool.
    pub(super) fn compare(&mut self, op: CmpOp, lhs: Expr, rhs: Expr, span: Span) -> Option<Expr> {
        if let (Some(a), Some(b)) = (constant::literal(&lhs), constant::literal(&rhs)) {
            return Some(constant::bool(holds(op, &a, &b), span));
        }
        if let (Some(a), Some(b)) = (constant::string(&lhs), constant::string(&rhs)) {
            return Some(constant::bool(holds(op, a, b), span));
        }
        let equality = matches!(op, CmpOp::Eq | CmpOp::Ne);
        let meet = match (&lhs.ty, &rhs.ty) {
            (Type::Ptr(..), other) if as_int(other).is_some() => Some(lhs.ty.clone()),
            (other, Type::Ptr(..)) if as_int(other).is_some() => Some(rhs.ty.clone()),
            (Type::Ptr(..), Type::Ptr(..)) => Some(lhs.ty.clone()),
            (Type::Str(_), Type::Str(_)) | (Type::Buf(_), Type::Buf(_)) if equality => None,
            (Type::Enum { id: a, .. }, Type::Enum { id: b, .. }) if a == b => None,
            (Type::Bool, Type::Bool) => None,
            (a, b) if as_int(a).is_some() && as_int(b).is_some() => Some(self.common_number(&lhs, &rhs)?),
            (Type::Tuple(_), Type::Tuple(_)) | (Type::Record(_), Type::Record(_)) if equality => {
                let Ok(flow) = self.flow_of(&lhs).join(&self.flow_of(&rhs)) else {
                    self.mismatch(comparison_symbol(op), &lhs, &rhs, span);
                    return None;
                };
                Some(flow.ty())
            }
            (Type::Array(a, n), Type::Array(b, m)) if equality && n == m && a == b => None,
            (text, Type::Str(_)) | (Type::Str(_), text) if equality && text.can_be_text() => {
                self.wants_texts = true;
                return None;
            }
            // A symbol compares by its address, a user by its number.
            (Type::KernelSymbol | Type::Username, other) if as_int(other).is_some() => Some(Type::U64),
            (Type::Fixed { .. }, b) if lhs.ty == *b => None,
            (a, b) if a == b && a.is_scalar() && equality => None,
            // What is only printed is the same when its bytes are.
            (a, b) if a == b && equality && is_shown_as_text(a) => None,
            _ => {
                self.mismatch(comparison_symbol(op), &lhs, &rhs, span);
                return None;
            }
        };
        let (lhs, rhs) = match meet {
            Some(ty) => (convert(lhs, &ty), convert(rhs, &ty)),
            None => (lhs, rhs),
        };
        Some(Expr { kind: ExprKind::Compare(op, Box::new(lhs), Box::new(rhs)), ty: Type::Bool, span })
    }

    /// The type in which two numbers are compared.
    fn common_number(&mut self, lhs: &Expr, rhs: &Expr) -> Option<Type> {
        let (left, right) = (self.flow_of(lhs), self.flow_of(rhs));
        let joined = match left.join(&right) {
            Ok(flow) => flow.ty(),
            Err(_) => Type::Int(join_ints(as_int(&lhs.ty)?, as_int(&rhs.ty)?)),
        };
        let int = as_int(&joined)?;
        for (operand, flow) in [(lhs, &left), (rhs, &right)] {
            let plain = as_int(&operand.ty) == Some(IntType::U64) && !matches!(flow, Flow::Flex(_));
            if int == IntType::I64 && plain && constant::value(operand).is_none() {
                self.sign_warning(operand.span);
            }
        }
        Some(Type::Int(int))
    }

    pub(super) fn unary(&mut self, op: ast::UnOp, operand: &ast::Expr, span: Span) -> Option<Expr> {
        match op {
            ast::UnOp::Plus => self.value_expr(operand),
            ast::UnOp::Deref => {
                let pointer = self.value_expr(operand)?;
                self.deref(pointer, span)
            }
            ast::UnOp::AddrOf => self.address_of(operand, span),
            ast::UnOp::Not => {
                let operand = self.condition(operand)?;
                if let Some(n) = constant::value(&operand) {
                    return Some(constant::bool(n == 0, span));
                }
                Some(Expr { kind: ExprKind::Unary(UnOp::Not, Box::new(operand)), ty: Type::Bool, span })
            }
            ast::UnOp::Neg | ast::UnOp::BitNot => {
                let negate = op == ast::UnOp::Neg;
                let operand = self.value_expr(operand)?;
                if let Some(n) = constant::literal(&operand) {
                    // The complement of a literal is that of 64 bits.
                    let number = if negate { -n } else { constant::wrap(!n, IntType::U64) };
                    if number < i128::from(i64::MIN) {
                        self.error("overflow", "this number does not fit into 64 bits", span)
                            .label("the least number is -9223372036854775808");
                        return None;
                    }
                    return Some(constant::int(number, span));
                }
                let Some(int) = as_int(&operand.ty).filter(|_| operand.ty != Type::Bool) else {
                    let is = self.name(&operand.ty);
                    let sign = if negate { "-" } else { "~" };
                    self.error("type-mismatch", format!("`{sign}` takes a number, not {is}"), span)
                        .also(operand.span, format!("this is {is}"));
                    return None;
                };
                // Signed numbers grow first; unsigned ones keep their width: `~(uint8)3` is 252.
                let width = if int.signed { IntType::I64 } else { int };
                let result = Type::Int(IntType { size: 8, signed: int.signed });
                if let Some(n) = constant::value(&operand) {
                    let number = constant::wrap(if negate { -n } else { !n }, width);
                    return Some(constant::typed_int(number, IntType { size: 8, signed: int.signed }, span));
                }
                let op = if negate { UnOp::Neg } else { UnOp::BitNot };
                let ty = Type::Int(width);
                let kind = ExprKind::Unary(op, Box::new(convert(operand, &ty)));
                Some(convert(Expr { kind, ty, span }, &result))
            }
        }
    }

    /// `cond ? then : otherwise`; without `then` the condition itself.
    pub(super) fn ternary(
        &mut self,
        cond: &ast::Expr,
        then: Option<&ast::Expr>,
        otherwise: &ast::Expr,
        span: Span,
    ) -> Option<Expr> {
        let condition = self.condition(cond);
        let then = match then {
            Some(then) => self.expr(then),
            None => self.value_expr(cond),
        };
        let otherwise = self.expr(otherwise);
        let (condition, then, otherwise) = (condition?, then?, otherwise?);
        self.branches(condition, then, otherwise, span)
    }

    /// Two values under a condition, in one type.
    pub(super) fn branches(&mut self, cond: Expr, then: Expr, otherwise: Expr, span: Span) -> Option<Expr> {
        if let Some(n) = constant::value(&cond) {
            return Some(if n != 0 { then } else { otherwise });
        }
        let ty = match self.flow_of(&then).join(&self.flow_of(&otherwise)) {
            Ok(flow) => flow.ty(),
            Err(Conflict::Text) => {
                self.wants_texts = true;
                return None;
            }
            Err(Conflict::Types) => {
                let (a, b) = (self.name(&then.ty), self.name(&otherwise.ty));
                self.error("type-mismatch", format!("the two branches differ: {a} and {b}"), span)
                    .also(then.span, format!("this is {a}"))
                    .also(otherwise.span, format!("this is {b}"));
                return None;
            }
        };
        let (then, otherwise) = (convert(then, &ty), convert(otherwise, &ty));
        let kind = ExprKind::Ternary { cond: Box::new(cond), then: Box::new(then), otherwise: Box::new(otherwise) };
        Some(Expr { kind, ty, span })
    }

    /// A number as an address in the space that numbers of this program usually come from.
    pub(crate) fn pointer_to(&self, target: Type, number: Expr) -> Expr {
        let space = super::access::origin(&number).unwrap_or_else(|| self.default_space());
        let ty = Type::Ptr(Rc::new(target), space);
        convert(number, &ty)
    }

    /// The same pointer into another address space.
    pub(crate) fn respace(pointer: Expr, space: AddrSpace) -> Expr {
        let span = pointer.span;
        match &pointer.ty {
            Type::Ptr(target, old) if *old != space => {
                let ty = Type::Ptr(Rc::clone(target), space);
                Expr { kind: ExprKind::Cast(Box::new(pointer)), ty, span }
            }
            _ => pointer,
        }
    }
}

/// Types of more than a word that keep what their text is made of when it is printed.
fn is_shown_as_text(ty: &Type) -> bool {
    matches!(ty, Type::Inet | Type::Mac | Type::UserSymbol | Type::Stack { .. } | Type::Timestamp | Type::CgroupPath)
}
