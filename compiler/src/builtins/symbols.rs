//! Stacks, symbols and address spaces.

use std::rc::Rc;

use tapline_grammar::ast;

use super::Call;
use crate::check::{Checker, bare_name, constant_number, convert, int_literal};
use crate::program::StackMode;
use crate::similar;
use crate::target::Arch;
use crate::typed::{BinOp, Block, CmpOp, Expr, ExprKind, Op};
use crate::types::{AddrSpace, IntType, Type};

/// Frames of a stack when the script does not say, and at most: what the kernel walks by default.
const MAX_FRAMES: u32 = 127;
/// Frames that may be asked for, as some kernels are set to collect more; beyond it is a mistake.
const MOST_FRAMES: u32 = 1024;

const MODES: [(&str, StackMode); 4] = [
    ("bpftrace", StackMode::Bpftrace),
    ("perf", StackMode::Perf),
    ("raw", StackMode::Raw),
    ("build_id", StackMode::BuildId),
];

/// Ways to find the callers in a user stack: by the frame pointers that a program keeps, or by its unwind tables.
const WALKS: [(&str, Op); 2] = [("frame_pointers", Op::UserStack), ("dwarf", Op::UnwoundStack)];

fn stack(checker: &mut Checker<'_>, call: &Call<'_>, mut op: Op) -> Option<Expr> {
    let mut mode = checker.script.limits.stack_mode;
    let mut limit = MAX_FRAMES;
    for arg in call.args {
        if let Some(name) = bare_name(arg) {
            if let Some((_, walk)) = WALKS.iter().find(|(own, _)| *own == name)
                && op != Op::KernelStack
            {
                op = *walk;
                continue;
            }
            let Some((_, found)) = MODES.iter().find(|(own, _)| *own == name) else {
                let walks = WALKS.iter().filter(|_| op != Op::KernelStack).map(|(own, _)| *own);
                let known = MODES.iter().map(|(own, _)| *own).chain(walks);
                let close = similar::closest(name, known).map(str::to_owned);
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
        if frames > MOST_FRAMES {
            let message = format!("a stack has at most {MAX_FRAMES} frames, not {frames}");
            checker.error("argument", message, arg.span);
            return None;
        }
        if frames > MAX_FRAMES {
            checker
                .warning("argument", format!("a stack has at most {MAX_FRAMES} frames"), arg.span)
                .label(format!("taken as {MAX_FRAMES}"));
        }
        limit = frames.min(MAX_FRAMES);
    }
    if op == Op::UnwoundStack && checker.target.arch() != Arch::X86_64 {
        checker
            .error("unsupported", "stacks are walked by unwind tables on x86_64 only", call.span)
            .help("`ustack(frame_pointers)` walks the stacks of programs with frame pointers");
        return None;
    }
    let user = op != Op::KernelStack;
    Some(call.op(op, Vec::new(), Type::Stack { user, mode, limit }))
}

pub(super) fn kstack(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    stack(checker, call, Op::KernelStack)
}

pub(super) fn ustack(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let walk = if checker.script.limits.ustack_by_tables { Op::UnwoundStack } else { Op::UserStack };
    stack(checker, call, walk)
}

pub(super) fn dw_ustack(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    checker.allowed("unstable_dw_ustack", "dw_ustack()", call.span)?;
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

/// A kernel variable that each processor has for itself: its address is counted from where that processor's area lies.
pub(super) fn percpu_kaddr(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let (arg, span) = (call.arg(0)?, call.span);
    let name = checker.literal_string("the name of percpu_kaddr()", arg)?;
    let name = String::from_utf8_lossy(&name).into_owned();
    let (variable, areas) = (checker.target.kernel_symbol(&name), checker.target.kernel_symbol("__per_cpu_offset"));
    let (Some(variable), Some(areas)) = (variable, areas) else {
        checker
            .error("unknown-symbol", format!("the kernel has no per-processor variable `{name}`"), arg.span)
            .help("/proc/kallsyms lists all symbols");
        return None;
    };
    let word = |n: u64| convert(int_literal(i128::from(n), span), &Type::U64);
    let binary = |op, a, b| Expr { kind: ExprKind::Binary(op, Box::new(a), Box::new(b)), ty: Type::U64, span };
    let mut stmts = Vec::new();
    let cpu = match call.arg(1) {
        Some(arg) => convert(checker.number_arg("percpu_kaddr", arg)?, &Type::U64),
        None => convert(call.op(Op::Cpu, Vec::new(), Type::U32), &Type::U64),
    };
    let cpu = checker.once(cpu, &mut stmts)?;
    let at = binary(BinOp::Add, word(areas), binary(BinOp::Mul, cpu.clone(), word(8)));
    let kernel = |target| Type::Ptr(Rc::new(target), AddrSpace::Kernel);
    let at = Expr { kind: ExprKind::Cast(Box::new(at)), ty: kernel(Type::U64), span };
    let area = Expr { kind: ExprKind::Deref(Box::new(at)), ty: Type::U64, span };
    let address = binary(BinOp::Add, area, word(variable));
    let count = word(u64::from(checker.target.possible_cpus()));
    let cond = Expr { kind: ExprKind::Compare(CmpOp::Lt, Box::new(cpu), Box::new(count)), ty: Type::Bool, span };
    let kind = ExprKind::Ternary { cond: Box::new(cond), then: Box::new(address), otherwise: Box::new(word(0)) };
    let address = Expr { kind, ty: Type::U64, span };
    let pointer = Expr { kind: ExprKind::Cast(Box::new(address)), ty: kernel(Type::U64), span };
    let ty = pointer.ty.clone();
    let block = Block { stmts, value: Some(Box::new(pointer)) };
    Some(Expr { kind: ExprKind::Block(block), ty, span })
}

/// A variable of the traced binary; its size says what it points to.
pub(super) fn uaddr(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let arg = call.arg(0)?;
    let name = checker.literal_string("the argument of uaddr()", arg)?;
    let (address, size) = checker.user_symbol(&String::from_utf8_lossy(&name), arg.span, call.span)?;
    let size = u8::try_from(size).ok().filter(|n| matches!(n, 1 | 2 | 4 | 8)).unwrap_or(8);
    let target = Type::Int(IntType { size, signed: false });
    let ty = Type::Ptr(Rc::new(target), AddrSpace::User);
    Some(Expr { kind: ExprKind::Cast(Box::new(address)), ty, span: call.span })
}

/// The kernel returns error numbers as the last addresses there are.
pub(super) fn is_err(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    const MAX_ERRNO: i128 = 4095;
    let value = checker.number_arg("is_err", call.arg(0)?)?;
    let first = convert(int_literal(-MAX_ERRNO, call.span), &Type::I64);
    let (value, first) = (convert(value, &Type::U64), convert(first, &Type::U64));
    let kind = ExprKind::Compare(CmpOp::Ge, Box::new(value), Box::new(first));
    Some(Expr { kind, ty: Type::Bool, span: call.span })
}

pub(super) fn container_of(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let (of, field) = (call.arg(1)?, call.arg(2)?);
    let pointer = checker.value_expr(call.arg(0)?)?;
    let (ast::ExprKind::Type(named), Some(path)) = (&of.kind, field_path(field)) else {
        checker
            .error("argument", "container_of() takes a pointer, a struct and one of its fields", call.span)
            .help(format!("use it as `{}`", call.row.usage));
        return None;
    };
    if !matches!(pointer.ty, Type::Ptr(..) | Type::Int(_)) {
        let is = checker.name(&pointer.ty);
        checker
            .error("argument-type", format!("container_of() takes a pointer, not {is}"), pointer.span)
            .label(format!("this is {is}"));
        return None;
    }
    let ty = checker.type_expr(named, None)?;
    let offset = checker.offset(&ast::TypeOrExpr::Type((**named).clone()), &path, call.span)?;
    let space = if let Type::Ptr(_, space) = &pointer.ty { *space } else { checker.default_space() };
    let address = convert(pointer, &Type::U64);
    let kind = ExprKind::Binary(BinOp::Sub, Box::new(address), Box::new(convert(offset, &Type::U64)));
    let start = Expr { kind, ty: Type::U64, span: call.span };
    let ty = Type::Ptr(Rc::new(ty), space);
    Some(Expr { kind: ExprKind::Cast(Box::new(start)), ty, span: call.span })
}

/// `a.b.c` as names.
fn field_path(expr: &ast::Expr) -> Option<Vec<ast::Name>> {
    match &expr.kind {
        ast::ExprKind::Ident(name) => Some(vec![ast::Name { node: name.clone(), span: expr.span }]),
        ast::ExprKind::Field { base, name, .. } => {
            let mut path = field_path(base)?;
            path.push(name.clone());
            Some(path)
        }
        _ => None,
    }
}

/// The kernel lets few functions ask for paths, and only of files that it knows to be alive.
pub(super) fn path(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    checker.only_in("path()", &["fentry", "fexit", "iter"], call.span)?;
    let limit = checker.script.limits.max_strlen;
    let value = checker.value_expr(call.arg(0)?)?;
    let capacity = match call.arg(1) {
        None => limit,
        Some(arg) => {
            let wanted = checker.literal_number("the length of path()", arg)?;
            let fits = u32::try_from(wanted).ok().filter(|n| (1..=limit).contains(n));
            let Some(length) = fits else {
                checker
                    .error("string-length", format!("paths have between 1 and {limit} bytes, not {wanted}"), arg.span)
                    .help("raise the limit: `config = { max_strlen = … }`");
                return None;
            };
            length
        }
    };
    if !matches!(value.ty, Type::Ptr(..) | Type::Struct(_)) {
        let is = checker.name(&value.ty);
        checker
            .error("argument-type", format!("path() takes a struct path *, not {is}"), value.span)
            .label(format!("this is {is}"));
        return None;
    }
    Some(call.op(Op::Path, vec![value], Type::Str(capacity)))
}
