//! What is answered or decided while compiling.

use super::Call;
use super::format::{Constant, constant_text};
use super::output::formatted;
use crate::check::{Checker, constant_bool, constant_number, int_literal, string_literal, text_literal, void};
use crate::expand::Setting;
use crate::typed::{Expr, ExprKind};
use crate::types::Type;
use crate::types::btf::KindSet;

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

pub(super) fn assert_str(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let value = checker.value_expr(call.arg(0)?)?;
    if !matches!(value.ty, Type::Str(_) | Type::Array(..) | Type::Ptr(..)) {
        let is = checker.name(&value.ty);
        checker
            .error("argument-type", "string-like values must be either strings, arrays or pointers", value.span)
            .label(format!("this is {is}"));
        return None;
    }
    Some(void(Vec::new(), call.span))
}

pub(super) fn kfunc_exist(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let name = checker.literal_string("the argument of kfunc_exist()", call.arg(0)?)?;
    let exists = checker.types.function(None, &String::from_utf8_lossy(&name)).is_some();
    Some(constant_bool(exists, call.span))
}

pub(super) fn kfunc_allowed(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let name = checker.literal_string("the argument of kfunc_allowed()", call.arg(0)?)?;
    let allowed = checker.kernel_function(&String::from_utf8_lossy(&name)).is_some();
    Some(constant_bool(allowed, call.span))
}

pub(super) fn default_str_length(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    Some(int_literal(i128::from(checker.script.limits.max_strlen), call.span))
}

pub(super) fn config(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let value = |setting: &Setting| match setting {
        Setting::Bool(truth) => constant_bool(*truth, call.span),
        Setting::Number(number) => int_literal(i128::from(*number), call.span),
        Setting::Text(text) => string_literal(text.as_bytes(), call.span),
    };
    let members: Vec<(String, Expr)> =
        checker.script.variables.iter().map(|(name, setting)| ((*name).to_owned(), value(setting))).collect();
    let ty = Type::Record(members.iter().map(|(name, value)| (name.clone(), value.ty.clone())).collect());
    let values = members.into_iter().map(|(_, value)| value).collect();
    Some(Expr { kind: ExprKind::Tuple(values), ty, span: call.span })
}

pub(super) fn static_assert(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let arg = call.arg(0)?;
    let condition = checker.value_expr(arg);
    let message = checker.literal_string("the message of static_assert()", call.arg(1)?);
    let (condition, message) = (condition?, message?);
    let Some(truth) = constant_number(&condition) else {
        checker
            .error("not-constant", "the condition of static_assert() is known while compiling", arg.span)
            .label("this is known only while running")
            .help("assert() looks at it while the script runs");
        return None;
    };
    if truth == 0 && checker.is_reached() {
        checker.error("assertion", String::from_utf8_lossy(&message), call.span).also(arg.span, "this does not hold");
    }
    Some(void(Vec::new(), call.span))
}

pub(super) fn fail(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let (format, values) = formatted(checker, call)?;
    let mut constants = Vec::new();
    for value in &values {
        let number = constant_number(value).map(Constant::Number);
        let Some(constant) = number.or_else(|| text_literal(value).map(|text| Constant::Text(text.to_vec()))) else {
            checker
                .error("not-literal", "the arguments of fail() are literals", value.span)
                .label("this is known only while running")
                .help("errorf() prints an error while the script runs");
            return None;
        };
        constants.push(constant);
    }
    if checker.is_reached() {
        checker.error("fail", constant_text(&format, &constants), call.span);
    }
    Some(void(Vec::new(), call.span))
}

impl Checker<'_> {
    /// Id of a function of the kernel that programs of the kind at hand may call.
    pub(super) fn kernel_function(&self, name: &str) -> Option<u32> {
        let id = self.target.btf()?.find(KindSet::FUNC, name)?.0;
        self.target.kfunc_allowed(self.unit.kind, id).then_some(id)
    }
}
