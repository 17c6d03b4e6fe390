//! Stacks, symbols and address spaces.

use super::Call;
use crate::check::{Checker, bare_name, constant_number, convert, int_literal};
use crate::program::StackMode;
use crate::similar;
use crate::target::Arch;
use crate::typed::{Expr, Op};
use crate::types::{AddrSpace, Type};

/// Frames of a stack when the script does not say, and at most: what the kernel walks by default.
const MAX_FRAMES: u32 = 127;

const MODES: [(&str, StackMode); 4] = [
    ("bpftrace", StackMode::Bpftrace),
    ("perf", StackMode::Perf),
    ("raw", StackMode::Raw),
    ("build_id", StackMode::BuildId),
];

fn stack(checker: &mut Checker<'_>, call: &Call<'_>, op: Op) -> Option<Expr> {
    let mut mode = checker.script.limits.stack_mode;
    let mut limit = MAX_FRAMES;
    for (n, arg) in call.args.iter().enumerate() {
        if let Some(name) = bare_name(arg)
            && n == 0
        {
            let Some((_, found)) = MODES.iter().find(|(own, _)| *own == name) else {
                let close = similar::closest(name, MODES.iter().map(|(own, _)| *own)).map(str::to_owned);
                checker
                    .error("argument", format!("unknown form of stack `{name}`"), arg.span)
                    .note("forms are: bpftrace, perf, raw, build_id")
                    .suggest(close);
                return None;
            };
            mode = *found;
            continue;
        }
        let value = checker.value_expr(arg)?;
        let frames = constant_number(&value).and_then(|n| u32::try_from(n).ok());
        let Some(frames) = frames.filter(|n| *n >= 1) else {
            checker.error("argument", "the number of frames is a positive constant", arg.span);
            return None;
        };
        if frames > MAX_FRAMES {
            checker
                .warning("argument", format!("a stack has at most {MAX_FRAMES} frames"), arg.span)
                .label(format!("taken as {MAX_FRAMES}"));
        }
        limit = frames.min(MAX_FRAMES);
    }
    let user = op != Op::KernelStack;
    Some(call.op(op, Vec::new(), Type::Stack { user, mode, limit }))
}

pub(super) fn kstack(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    stack(checker, call, Op::KernelStack)
}

pub(super) fn ustack(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    stack(checker, call, Op::UserStack)
}

pub(super) fn dw_ustack(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    if checker.target.arch() != Arch::X86_64 {
        checker
            .error("unsupported", "dw_ustack() is there for x86_64 only", call.span)
            .help("ustack() walks the stacks of programs with frame pointers");
        return None;
    }
    stack(checker, call, Op::UnwoundStack)
}

pub(super) fn ksym(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let address = checker.number_arg("ksym", call.arg(0)?)?;
    let address = convert(address, &Type::U64);
    Some(call.op(Op::KernelSymbol, vec![address], Type::KernelSymbol))
}

pub(super) fn usym(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let address = checker.number_arg("usym", call.arg(0)?)?;
    let address = convert(address, &Type::U64);
    Some(call.op(Op::UserSymbol, vec![address], Type::UserSymbol))
}

pub(super) fn kaddr(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let arg = call.arg(0)?;
    let name = checker.literal_string("the argument of kaddr()", arg)?;
    let name = String::from_utf8_lossy(&name).into_owned();
    let Some(address) = checker.target.kernel_symbol(&name) else {
        checker
            .error("unknown-symbol", format!("the kernel has no symbol `{name}`"), arg.span)
            .help("/proc/kallsyms lists all symbols");
        return None;
    };
    let address = int_literal(i128::from(address), call.span);
    Some(convert(address, &Type::U64))
}

fn pointer_into(checker: &mut Checker<'_>, call: &Call<'_>, space: AddrSpace) -> Option<Expr> {
    let value = checker.value_expr(call.arg(0)?)?;
    match &value.ty {
        Type::Ptr(..) => Some(Checker::respace(value, space)),
        Type::Int(_) => {
            let pointer = checker.pointer_to(Type::Void, value);
            Some(Checker::respace(pointer, space))
        }
        ty => {
            let is = checker.name(ty);
            let message = format!("{}() takes a pointer, not {is}", call.row.name);
            checker.error("argument-type", message, value.span).label(format!("this is {is}"));
            None
        }
    }
}

pub(super) fn kptr(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    pointer_into(checker, call, AddrSpace::Kernel)
}

pub(super) fn uptr(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    pointer_into(checker, call, AddrSpace::User)
}
