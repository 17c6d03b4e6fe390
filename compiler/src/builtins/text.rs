//! Strings, bytes, and numbers that are printed as text.

use std::rc::Rc;

use tapline_grammar::ast;

use super::Call;
use crate::check::{
    Checker, Flow, constant_number, convert, decay, int_literal, string_literal as literal, text_literal,
};
use crate::program::Clock;
use crate::texts::Numbered;
use crate::typed::{CmpOp, Expr, ExprKind, Op, UnOp};
use crate::types::layout::size_of;
use crate::types::{IntType, Type, entry_number};

const CHAR: Type = Type::Int(IntType { size: 1, signed: true });

/// The address of characters: a pointer, a number that is one, or an array in memory.
fn address(checker: &mut Checker<'_>, call: &Call<'_>, value: Expr) -> Option<Expr> {
    match &value.ty {
        Type::Ptr(..) => Some(value),
        Type::Int(_) => Some(checker.pointer_to(CHAR, value)),
        Type::Array(elem, _) if matches!(**elem, Type::Int(IntType { size: 1, .. })) => Some(decay(value, CHAR)),
        ty => {
            let is = checker.name(ty);
            let message = format!("{}() takes a pointer to characters, not {is}", call.row.name);
            checker.error("argument-type", message, value.span).label(format!("this is {is}"));
            None
        }
    }
}

pub(super) fn str(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let limit = checker.script.limits.max_strlen;
    let value = checker.value_expr(call.arg(0)?);
    let length = match call.arg(1) {
        Some(arg) => Some((checker.number_arg("str", arg)?, arg.span)),
        None => None,
    };
    let value = value?;
    if value.ty.can_be_text() {
        checker.wants_texts = true;
        return None;
    }
    let own = match &value.ty {
        Type::Str(capacity) => Some(*capacity),
        Type::Array(_, len) if *len > 0 => Some(len.saturating_add(1)),
        _ => None,
    };
    let mut capacity = own.map_or(limit.saturating_add(1), |own| own.min(limit));
    let mut bytes = None;
    if let Some((length, span)) = length {
        match constant_number(&length) {
            Some(n) if n > i128::from(limit) => {
                checker
                    .warning("string-length", format!("strings have at most {limit} bytes"), span)
                    .label(format!("taken as {limit}"))
                    .help("raise the limit: `config = { max_strlen = … }`");
            }
            Some(n) if n < 0 => {
                checker.error("string-length", "a length is not negative", span);
                return None;
            }
            Some(n) => {
                // One byte more than is read, so that a string that fills the length does not count as cut.
                capacity = u32::try_from(n).unwrap_or(limit).saturating_add(1).min(limit);
                bytes = Some(int_literal(n, span));
            }
            None => bytes = Some(convert(length, &Type::U64)),
        }
    }
    let digits = match value.kind {
        // A number as it is written, and so a parameter, is text already.
        ExprKind::Int(n) if matches!(value.ty, Type::Int(_)) => Some(literal(n.to_string().as_bytes(), value.span)),
        _ => None,
    };
    let value = digits.unwrap_or(value);
    let known = bytes.as_ref().is_none_or(|bytes| constant_number(bytes).is_some());
    if let (Some(text), true) = (text_literal(&value), known) {
        // A literal is cut to that many characters, while the length of anything else counts the terminator.
        let wanted = bytes.as_ref().and_then(constant_number).map_or(limit, |n| u32::try_from(n).unwrap_or(limit));
        let kept = text.get(..wanted.min(limit) as usize);
        return Some(kept.map_or(value.clone(), |kept| literal(kept, call.span)));
    }
    if matches!(value.ty, Type::Str(_)) && known {
        let cut = Type::Str(capacity.saturating_sub(1).max(1));
        return Some(if bytes.is_some() { convert(value, &cut) } else { value });
    }
    let pointer = match value.ty {
        Type::Str(_) => decay(value, CHAR),
        _ => address(checker, call, value)?,
    };
    let mut args = vec![pointer];
    if let Some(bytes) = bytes {
        args.push(convert(bytes, &Type::U64));
    } else if own.is_some() {
        let all = int_literal(i128::from(capacity), call.span);
        args.push(convert(all, &Type::U64));
    }
    Some(call.op(Op::Str, args, Type::Str(capacity)))
}

pub(super) fn buf(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let limit = checker.script.limits.max_strlen;
    let length = match call.arg(1) {
        Some(arg) => Some(checker.number_arg("buf", arg)?),
        None => None,
    };
    if let Some(length) = &length
        && constant_number(length).is_some_and(|n| n < 0)
    {
        checker.error("string-length", "a length is not negative", length.span);
        return None;
    }
    let value = match call.arg(0)? {
        // Zero bytes of a literal count here, and more of them follow up to the length.
        ast::Expr { kind: ast::ExprKind::Str(bytes), span } => {
            let mut all: Vec<u8> = bytes.iter().copied().chain([0]).collect();
            let wanted = length.as_ref().and_then(constant_number).map_or(0, |n| u32::try_from(n).unwrap_or(limit));
            all.resize(all.len().max(wanted.min(limit) as usize), 0);
            let ty = Type::Array(Rc::new(CHAR), u32::try_from(all.len()).unwrap_or(u32::MAX));
            Some(Expr { kind: ExprKind::Str(all.into()), ty, span: *span })
        }
        arg => checker.value_expr(arg),
    };
    let value = value?;
    let own = match &value.ty {
        Type::Array(..) | Type::Str(_) | Type::Struct(_) => Some(size_of(&value.ty, &checker.types.aggregates)),
        _ => None,
    };
    let length = match (length, own) {
        (Some(length), _) => length,
        (None, Some(size)) => int_literal(i128::from(size), call.span),
        (None, None) => {
            checker
                .error("argument-count", "buf() of a pointer needs a length", call.span)
                .help("use it as `buf(pointer, length)`");
            return None;
        }
    };
    // What lies behind a local value is nobody's business; an array in the kernel's memory may be the head of a longer one.
    let local = matches!(value.ty, Type::Str(_)) || matches!(value.kind, ExprKind::Str(_));
    let limit = if local { own.unwrap_or(limit).min(limit) } else { limit };
    let capacity = match constant_number(&length) {
        Some(n) => u32::try_from(n).unwrap_or(limit).clamp(1, limit),
        None => own.unwrap_or(limit).min(limit),
    };
    let pointer = match &value.ty {
        Type::Ptr(..) => value,
        Type::Int(_) => checker.pointer_to(CHAR, value),
        Type::Array(..) | Type::Str(_) | Type::Struct(_) => decay(value, CHAR),
        _ => address(checker, call, value)?,
    };
    let length = convert(length, &Type::U64);
    Some(call.op(Op::Buf, vec![pointer, length], Type::Buf(capacity)))
}

/// A string, or the characters in an array or behind a pointer to them.
fn string(checker: &mut Checker<'_>, call: &Call<'_>, n: usize) -> Option<Expr> {
    let value = checker.value_expr(call.arg(n)?)?;
    let characters = |ty: &Type| matches!(ty, Type::Void | Type::Int(IntType { size: 1, .. }));
    match &value.ty {
        Type::Str(_) => return Some(value),
        ty if ty.can_be_text() => {
            checker.wants_texts = true;
            return None;
        }
        Type::Ptr(to, _) if characters(to) => {}
        Type::Int(_) | Type::Ptr(..) => {
            let is = checker.name(&value.ty);
            checker
                .error("argument-type", format!("{}() takes a string, not {is}", call.row.name), value.span)
                .label(format!("this is {is}"))
                .help("the text at an address: `str(address)`");
            return None;
        }
        _ => {}
    }
    let limit = checker.script.limits.max_strlen;
    let span = value.span;
    let pointer = address(checker, call, value)?;
    Some(Expr { kind: ExprKind::Call(Op::Str, vec![pointer]), ty: Type::Str(limit), span })
}

pub(super) fn strncmp(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let (a, b) = (string(checker, call, 0), string(checker, call, 1));
    let length = checker.literal_number("the length of strncmp()", call.arg(2)?)?;
    let arg = call.arg(2)?;
    if length < 0 {
        checker.error("string-length", "a length is not negative", arg.span);
        return None;
    }
    let length = int_literal(i128::from(length), arg.span);
    let length = convert(length, &Type::U64);
    Some(call.op(Op::Strncmp, vec![a?, b?, length], Type::I64))
}

pub(super) fn strlen(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let text = string(checker, call, 0)?;
    Some(call.op(Op::Strlen, vec![text], Type::I64))
}

pub(super) fn strcontains(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let (haystack, needle) = (string(checker, call, 0), string(checker, call, 1));
    let at = search(checker, call, haystack?, needle?)?;
    let nowhere = convert(int_literal(0, call.span), &Type::I64);
    let kind = ExprKind::Compare(CmpOp::Ge, Box::new(at), Box::new(nowhere));
    Some(Expr { kind, ty: Type::Bool, span: call.span })
}

pub(super) fn strstr(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let (haystack, needle) = (string(checker, call, 0), string(checker, call, 1));
    search(checker, call, haystack?, needle?)
}

/// Where the needle begins. The kernel follows each step of one comparison, which bounds a needle that is not constant.
fn search(checker: &mut Checker<'_>, call: &Call<'_>, haystack: Expr, needle: Expr) -> Option<Expr> {
    const LONGEST_NEEDLE: u32 = 4096;
    let short = if let Type::Str(n) = needle.ty { n } else { 1 };
    if text_literal(&needle).is_none() && short > LONGEST_NEEDLE {
        checker
            .error(
                "string-length",
                format!("{}() looks for {LONGEST_NEEDLE} bytes at most", call.row.name),
                needle.span,
            )
            .label(format!("up to {short} bytes, known only while running"))
            .help("shorten it: `str(pointer, 32)`");
        return None;
    }
    Some(call.op(Op::Strstr, vec![haystack, needle], Type::I64))
}

pub(super) fn strcap(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let value = checker.value_expr(call.arg(0)?)?;
    let capacity = match &value.ty {
        Type::Str(capacity) => *capacity,
        Type::Array(_, len) => *len,
        Type::Ptr(..) => checker.script.limits.max_strlen,
        ty => {
            let is = checker.name(ty);
            checker
                .error("argument-type", format!("strcap() takes a string, an array or a pointer, not {is}"), value.span)
                .label(format!("this is {is}"));
            return None;
        }
    };
    Some(int_literal(i128::from(capacity), call.span))
}

pub(super) fn str_concat(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let (a, b) = (string(checker, call, 0), string(checker, call, 1));
    let (a, b) = (a?, b?);
    if let (Some(x), Some(y)) = (text_literal(&a), text_literal(&b)) {
        return Some(literal(&[x, y].concat(), call.span));
    }
    let capacity = |e: &Expr| if let Type::Str(n) = e.ty { n } else { 1 };
    let all = capacity(&a).saturating_add(capacity(&b)).saturating_sub(1);
    Some(call.op(Op::Concat, vec![a, b], Type::Str(all)))
}

pub(super) fn memcmp(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let (a, b) = (any(checker, call, 0), any(checker, call, 1));
    let (a, b) = (a?, b?);
    let most = reach(checker, &a).min(reach(checker, &b));
    let length = byte_count(checker, call, most)?;
    Some(call.op(Op::Memcmp { most }, vec![a, b, length], Type::I64))
}

pub(super) fn write_user(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    if !checker.runs_in_a_process() {
        checker.error("not-available-here", "write_user() needs a probe that runs in a process", call.span);
        return None;
    }
    let to = checker.number_arg("write_user", call.arg(0)?);
    let (to, from) = (convert(to?, &Type::U64), any(checker, call, 1)?);
    let most = reach(checker, &from);
    let length = byte_count(checker, call, most)?;
    // The helper returns 0 when it has written.
    let error = call.op(Op::WriteUser { most }, vec![to, from, length], Type::I64);
    Some(Expr { kind: ExprKind::Unary(UnOp::Not, Box::new(error)), ty: Type::Bool, span: call.span })
}

/// A value that consists of bytes.
fn any(checker: &mut Checker<'_>, call: &Call<'_>, n: usize) -> Option<Expr> {
    let value = checker.value_expr(call.arg(n)?)?;
    if matches!(value.ty, Type::Strings | Type::Aggregate(_)) {
        let (is, name) = (checker.name(&value.ty), call.row.name);
        checker
            .error("argument-type", format!("{name}() does not take {is}"), value.span)
            .label(format!("this is {is}"));
        return None;
    }
    Some(value)
}

/// Bytes of a value, or at most those behind a pointer.
fn reach(checker: &Checker<'_>, value: &Expr) -> u32 {
    match value.ty {
        Type::Ptr(..) => checker.script.limits.max_strlen,
        _ => size_of(&value.ty, &checker.types.aggregates),
    }
}

/// The third argument: how many bytes.
fn byte_count(checker: &mut Checker<'_>, call: &Call<'_>, most: u32) -> Option<Expr> {
    let (arg, name) = (call.arg(2)?, call.row.name);
    let length = checker.number_arg(name, arg)?;
    if let Some(n) = constant_number(&length)
        && !(0..=i128::from(most)).contains(&n)
    {
        checker
            .error("argument", format!("{name}() takes between 0 and {most} bytes here, not {n}"), arg.span)
            .label("more than there are");
        return None;
    }
    Some(convert(length, &Type::U64))
}

pub(super) fn bswap(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let value = checker.value_expr(call.arg(0)?)?;
    let Type::Int(int) = value.ty else {
        let is = checker.name(&value.ty);
        checker
            .error("argument-type", format!("bswap() takes an integer, not {is}"), value.span)
            .label(format!("this is {is}"));
        return None;
    };
    let ty = Type::Int(IntType { signed: false, ..int });
    let value = convert(value, &ty);
    if int.size == 1 {
        return Some(value);
    }
    Some(call.op(Op::ByteSwap, vec![value], ty))
}

/// A number that is kept as one and printed as text, or the text where a string is wanted.
fn named(checker: &mut Checker<'_>, call: &Call<'_>, ty: &Type, what: Numbered) -> Option<Expr> {
    let mut number = checker.number_arg(call.row.name, call.arg(0)?)?;
    if what == Numbered::Error {
        // An `int` of C, whatever the upper half of a register holds.
        number = convert(number, &Type::I32);
    }
    if checker.texts {
        return Some(call.op(Op::TextOf(what), vec![convert(number, &Type::I64)], Type::Str(TEXT_CAPACITY)));
    }
    Some(convert(number, ty))
}

/// Room for every text of a number.
const TEXT_CAPACITY: u32 = 64;

pub(super) fn strerror(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    named(checker, call, &Type::ErrorText, Numbered::Error)
}

pub(super) fn signal_name(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    named(checker, call, &Type::SignalName, Numbered::Signal)
}

pub(super) fn syscall_name(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    named(checker, call, &Type::SyscallName, Numbered::Syscall)
}

pub(super) fn strftime(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let format = checker.literal_string("the format of strftime()", call.arg(0)?);
    let time = checker.number_arg("strftime", call.arg(1)?)?;
    let clock = match checker.flow_of(&time) {
        Flow::Time(clock) => clock,
        _ => Clock::Boot,
    };
    let format = String::from_utf8_lossy(&format?).into_owned();
    let by = entry_number(&mut checker.types.aggregates.formats, (format, clock));
    Some(call.op(Op::Shown(by), vec![time], Type::Timestamp))
}

/// Digits behind the point at most: those of a unit of 10^18.
const MOST_DECIMALS: i64 = 18;

pub(super) fn fixed(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let value = checker.number_arg("fixed", call.arg(0)?);
    let (unit_arg, decimals_arg) = (call.arg(1)?, call.arg(2));
    let unit = checker.literal_number("the unit of fixed()", unit_arg)?;
    if unit < 1 {
        checker.error("argument", format!("the unit of fixed() is at least 1, not {unit}"), unit_arg.span);
        return None;
    }
    let decimals = match decimals_arg {
        // As many as the unit has zeros: nothing is lost where it is a power of ten.
        None => i64::from(unit.ilog10()),
        Some(arg) => checker.literal_number("the decimals of fixed()", arg)?,
    };
    let Some(decimals) = u8::try_from(decimals).ok().filter(|_| decimals <= MOST_DECIMALS) else {
        let span = decimals_arg.map_or(call.span, |arg| arg.span);
        checker.error("argument", format!("fixed() has 0 to {MOST_DECIMALS} decimals, not {decimals}"), span);
        return None;
    };
    let value = value?;
    let signed = value.ty == Type::I64;
    let ty = Type::Fixed { unit: unit.unsigned_abs(), decimals, signed };
    Some(Expr { kind: ExprKind::Cast(Box::new(value)), ty, span: call.span })
}
