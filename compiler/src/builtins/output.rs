//! What is printed and what ends tracing: actions that user space carries out.

use tapline_grammar::ast;

use super::Call;
use super::format::{self, Accepts};
use super::maps::whole;
use crate::check::{Checker, convert, int_literal, string_literal, void};
use crate::program::{ActionKind, Aggregate, Conversion, Format, FormatNumber, FormatPiece, PrintStyle};
use crate::similar::closest;
use crate::typed::{Block, Expr, Op, Stmt, StmtKind};
use crate::types::Type;

/// Values of one `printf` that the kernel formats (`MAX_BPRINTF_VARARGS`).
const MAX_IN_KERNEL: usize = 12;

/// Format of `time()` when the script gives none.
const DEFAULT_TIME: &str = "%H:%M:%S\n";

/// The format and the arguments of `printf` and its kind.
pub(super) fn formatted(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<(Format, Vec<Expr>)> {
    let name = call.row.name;
    let arg = call.arg(0)?;
    let text = checker.literal_string(&format!("the format of {name}()"), arg);
    let rest = call.args.get(1..).unwrap_or_default();
    let values: Vec<Option<Expr>> = rest.iter().map(|arg| checker.value_expr(arg)).collect();
    let format = match format::parse(&text?) {
        Ok(format) => format,
        Err(error) => {
            checker.error("format", format!("in the format of {name}(): {}", error.message), arg.span).help(error.help);
            return None;
        }
    };
    let wanted = format::arguments(&format);
    if wanted != values.len() {
        let (given, few) = (values.len(), values.len() < wanted);
        let what = if few { "not enough arguments" } else { "too many arguments" };
        let message = format!("{what} for the format of {name}(): {wanted} wanted, {given} given");
        let report = checker.error("format", message, call.span);
        if few {
            report.also(arg.span, format!("this format takes {wanted}"));
        } else if let Some(extra) = rest.get(wanted) {
            report.also(extra.span, "no conversion in the format for this");
        }
        return None;
    }
    let mut values = values.into_iter().collect::<Option<Vec<Expr>>>()?;
    let mut fine = true;
    for piece in &format.pieces {
        let FormatPiece::Spec(spec) = piece else { continue };
        for number in [spec.width, spec.precision].into_iter().flatten() {
            if let FormatNumber::Arg(n) = number
                && let Some(value) = values.get(n as usize)
                && !matches!(value.ty, Type::Int(_))
            {
                let is = checker.name(&value.ty);
                checker.error("format", format!("`*` takes a number, not {is}"), value.span);
                fine = false;
            }
        }
        let Some(value) = values.get_mut(spec.arg as usize) else { continue };
        if spec.conversion == Conversion::String {
            *value = checker.shown(value.clone());
        }
        let accepts = format::accepts(spec.conversion, &value.ty);
        if let Accepts::No(instead) = accepts {
            let is = checker.name(&value.ty);
            let letters = format::letters(spec.conversion);
            checker
                .error("format", format!("`%{letters}` does not print {is}"), value.span)
                .label(format!("this is {is}"))
                .also(arg.span, format!("`%{letters}` in this format"))
                .help(format!("use `%{instead}`"));
            fine = false;
        }
    }
    fine.then_some((format, values))
}

pub(super) fn printf(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let (format, args) = formatted(checker, call)?;
    if checker.is_pinned() {
        return print_in_kernel(checker, call, &format, args);
    }
    Some(checker.send(ActionKind::Printf(format), args, call.span))
}

/// `printf` of a pinned iterator: the kernel formats.
fn print_in_kernel(checker: &mut Checker<'_>, call: &Call<'_>, format: &Format, values: Vec<Expr>) -> Option<Expr> {
    let span = call.span;
    let Some(text) = format::for_kernel(format) else {
        checker
            .error(
                "pinned",
                "the kernel, which formats the output of pinned iterators, does not know this format",
                span,
            )
            .help("it knows %d, %u, %x, %X, %c, %p and %s with a width, no precision");
        return None;
    };
    if let Some(other) = values.iter().find(|it| !it.ty.is_scalar() && !matches!(it.ty, Type::Str(_))) {
        let is = checker.name(&other.ty);
        checker
            .error("pinned", format!("a pinned iterator prints numbers and strings, not {is}"), other.span)
            .label(format!("this is {is}"));
        return None;
    }
    if values.len() > MAX_IN_KERNEL {
        checker.error("pinned", format!("printf() of a pinned iterator takes {MAX_IN_KERNEL} values at most"), span);
        return None;
    }
    let mut args = vec![string_literal(&text, span)];
    args.extend(values);
    Some(call.op(Op::SeqPrint, args, Type::Void))
}

pub(super) fn cat(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let (format, args) = formatted(checker, call)?;
    Some(checker.send(ActionKind::Cat(format), args, call.span))
}

pub(super) fn system(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let (format, args) = formatted(checker, call)?;
    Some(checker.send(ActionKind::System(format), args, call.span))
}

pub(super) fn print(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let arg = call.arg(0)?;
    if let Some((name, span)) = whole(arg) {
        return print_map(checker, call, name, span);
    }
    if let ast::ExprKind::Map { name, key: Some(_) } = &arg.kind
        && let Some(extra) = call.arg(1)
    {
        let message = "print() of one element takes no further argument";
        checker.error("argument-count", message, extra.span).help(format!("`print(@{name}, top, div)` prints the map"));
        return None;
    }
    if let Some(extra) = call.arg(1) {
        checker
            .error("argument-count", "print() of a value takes no further argument", extra.span)
            .help("use printf() for a format");
        return None;
    }
    let value = checker.value_expr(arg)?;
    if matches!(value.ty, Type::Strings) {
        return None;
    }
    let value = checker.shown(value);
    Some(checker.send(ActionKind::PrintValue, vec![value], call.span))
}

fn print_map(
    checker: &mut Checker<'_>,
    call: &Call<'_>,
    name: &str,
    span: tapline_grammar::span::Span,
) -> Option<Expr> {
    let map = checker.whole_map(name, span);
    let style = match call.args.last() {
        Some(ast::Expr { kind: ast::ExprKind::Str(words), span }) => print_style(checker, words, *span)?,
        _ => PrintStyle::default(),
    };
    if let Some(surplus) = call.arg(3).filter(|e| !matches!(e.kind, ast::ExprKind::Str(_))) {
        checker.error(
            "argument-count",
            "print() of a map takes two numbers: how many entries, and by what their values are divided",
            surplus.span,
        );
        return None;
    }
    let mut number = |n: usize, what: &str| match call.arg(n) {
        None | Some(ast::Expr { kind: ast::ExprKind::Str(_), .. }) => Some(0),
        Some(arg) => {
            let value = checker.literal_number(what, arg)?;
            let number = u64::try_from(value).ok();
            if number.is_none() {
                checker.error("argument", format!("{what} is not negative"), arg.span);
            }
            number
        }
    };
    let (top, div) = (number(1, "the number of entries"), number(2, "the divisor"));
    let (top, div) = (top?, div?);
    if let (Some(arg), Some(Type::Aggregate(Aggregate::LinearHist { .. }))) =
        (call.arg(2), checker.peek_value(map).map(|flow| flow.ty()))
        && div > 1
    {
        checker.warning("argument", "the divisor does not change a linear histogram", arg.span);
    }
    Some(checker.send(ActionKind::PrintMap { map, top, div, style }, Vec::new(), call.span))
}

/// What the last argument of `print(@map, …)` may say.
const STYLE_WORDS: [&str; 6] = ["asc", "desc", "key", "only", "p99", "decimals=2"];

/// Digits behind the point at most.
const MOST_DECIMALS: u8 = 18;

fn print_style(checker: &mut Checker<'_>, words: &[u8], span: tapline_grammar::span::Span) -> Option<PrintStyle> {
    let text = String::from_utf8_lossy(words).into_owned();
    let mut style = PrintStyle::default();
    for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
        match word {
            "asc" => style.descending = false,
            "desc" => style.descending = true,
            "key" => style.by_key = true,
            "only" => style.only = true,
            _ => {
                let decimals = word.strip_prefix("decimals=").and_then(|n| n.parse::<u8>().ok());
                let percentile = word.strip_prefix('p').and_then(thousandths);
                if let Some(decimals) = decimals.filter(|n| *n <= MOST_DECIMALS) {
                    style.decimals = decimals;
                } else if let Some(percentile) = percentile {
                    style.percentiles.push((percentile, word.to_owned()));
                } else {
                    let close = closest(word, STYLE_WORDS.iter().copied()).map(str::to_owned);
                    checker
                        .error("print-style", format!("print() does not know how to print a map \"{word}\""), span)
                        .note("known words: asc, desc, key, p50 (or any other percentile), only, decimals=N")
                        .suggest(close);
                    return None;
                }
            }
        }
    }
    Some(style)
}

/// `99.9` as 99900; up to three decimals, from 0 to 100.
pub(super) fn thousandths(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || whole.len() > 3 || fraction.len() > 3 || text.ends_with('.') {
        return None;
    }
    let digits = format!("{whole}{fraction:0<3}");
    digits.parse().ok().filter(|n| *n <= 100_000)
}

pub(super) fn time(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let format = match call.arg(0) {
        None => DEFAULT_TIME.to_owned(),
        Some(arg) => String::from_utf8_lossy(&checker.literal_string("the format of time()", arg)?).into_owned(),
    };
    Some(checker.send(ActionKind::Time(format), Vec::new(), call.span))
}

pub(super) fn join(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let strings = str_join(checker, call);
    let separator = match call.arg(1) {
        None => " ".to_owned(),
        Some(arg) => String::from_utf8_lossy(&checker.literal_string("the separator of join()", arg)?).into_owned(),
    };
    Some(checker.send(ActionKind::Join(separator), vec![strings?], call.span))
}

/// The strings of an array of pointers as one value, which printf prints with `%s`.
pub(super) fn str_join(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let value = checker.value_expr(call.arg(0)?)?;
    let (name, span) = (call.row.name, value.span);
    let text = Type::Ptr(
        std::rc::Rc::new(Type::Int(crate::types::IntType { size: 1, signed: true })),
        checker.default_space(),
    );
    let pointer = match &value.ty {
        Type::Ptr(..) => value,
        Type::Int(_) => checker.pointer_to(text, value),
        ty => {
            let is = checker.name(ty);
            checker
                .error("argument-type", format!("{name}() takes an array of strings, not {is}"), span)
                .label(format!("this is {is}"))
                .help(format!("for instance `{name}(args.argv)` in tracepoint:syscalls:sys_enter_execve"));
            return None;
        }
    };
    Some(call.op(Op::Argv, vec![pointer], Type::Strings))
}

pub(super) fn exit(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let status = match call.arg(0) {
        None => Vec::new(),
        Some(arg) => {
            let status = checker.number_arg("exit", arg)?;
            vec![convert(status, &Type::I64)]
        }
    };
    let send = checker.send(ActionKind::Exit, status, call.span);
    let mut stmts = match send.kind {
        crate::typed::ExprKind::Block(block) => block.stmts,
        _ => Vec::new(),
    };
    // Nothing after exit() runs.
    stmts.push(Stmt { kind: StmtKind::Return(None), span: call.span });
    Some(void(stmts, call.span))
}

pub(super) fn unwatch(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let address = checker.number_arg("unwatch", call.arg(0)?)?;
    let address = convert(address, &Type::U64);
    Some(checker.send(ActionKind::Unwatch, vec![address], call.span))
}

/// A message with the script's position, which lowering knows.
fn message(checker: &mut Checker<'_>, call: &Call<'_>, level: &str) -> Option<Expr> {
    let (format, args) = formatted(checker, call)?;
    let kind = ActionKind::Message { level: level.to_owned(), format, position: String::new() };
    Some(checker.send(kind, args, call.span))
}

pub(super) fn errorf(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    message(checker, call, "ERROR")
}

pub(super) fn warnf(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    message(checker, call, "WARNING")
}

/// The kernel formats: up to three numbers, or strings in its memory.
pub(super) fn debugf(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let text = checker.literal_string("the format of debugf()", call.arg(0)?)?;
    let (_, values) = formatted(checker, call)?;
    checker
        .warning("debugf", "debugf() is not recommended for production use", call.span)
        .note("all programs of the system write to the same trace_pipe");
    let mut args = vec![string_literal(&text, call.span)];
    for value in values {
        if matches!(value.ty, Type::Int(_) | Type::Bool | Type::Enum { .. } | Type::Ptr(..) | Type::Str(_)) {
            args.push(value);
            continue;
        }
        let is = checker.name(&value.ty);
        checker
            .error("argument-type", format!("debugf() prints numbers and strings, not {is}"), value.span)
            .label(format!("this is {is}"))
            .help("printf() prints it");
        return None;
    }
    Some(call.op(Op::Debug, args, Type::Void))
}

/// An error and exit(1) unless the condition holds.
pub(super) fn assert(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let condition = call.arg(0).and_then(|arg| checker.condition(arg));
    let text = checker.value_expr(call.arg(1)?);
    let (cond, text) = (condition?, text?);
    if !matches!(text.ty, Type::Str(_)) {
        let is = checker.name(&text.ty);
        checker
            .error("argument-type", format!("the message of assert() is a string, not {is}"), text.span)
            .label(format!("this is {is}"));
        return None;
    }
    let format = format::parse(b"assert failed: %s").unwrap_or_default();
    let kind = ActionKind::Message { level: "ERROR".to_owned(), format, position: String::new() };
    let said = checker.send(kind, vec![text], call.span);
    let status = convert(int_literal(1, call.span), &Type::I64);
    let ended = checker.send(ActionKind::Exit, vec![status], call.span);
    let stmt = |kind| Stmt { kind, span: call.span };
    let stmts = vec![stmt(StmtKind::Expr(said)), stmt(StmtKind::Expr(ended)), stmt(StmtKind::Return(None))];
    let otherwise = Block { stmts, value: None };
    Some(void(vec![stmt(StmtKind::If { cond, then: Block::default(), otherwise })], call.span))
}
