//! The process, the clocks, and what the event offers.

use std::rc::Rc;

use super::{Call, clock, format};
use crate::check::{Checker, bare_name, constant_bool, constant_number, convert, int_literal, text_literal};
use crate::program::{ActionKind, Clock};
use crate::similar;
use crate::target::{Arch, Feature};
use crate::typed::{BinOp, Block, CmpOp, Expr, ExprKind, Op};
use crate::types::constants::SIGNALS;
use crate::types::{AddrSpace, IntType, Type};

/// `SIGRTMAX`.
const LAST_SIGNAL: i128 = 64;

/// Names of the namespaces that `pid` and `tid` take.
const NAMESPACES: [&str; 2] = ["curr_ns", "init"];

/// `own` as seen from tapline's pid namespace, `initial` from the first one.
fn in_namespace(checker: &mut Checker<'_>, call: &Call<'_>, own: Op, initial: Op) -> Option<Expr> {
    let mut op = own;
    if let Some(arg) = call.arg(0) {
        let name = bare_name(arg).unwrap_or_default();
        if !NAMESPACES.contains(&name) {
            let close = similar::closest(name, NAMESPACES).map(str::to_owned);
            checker
                .error("argument", format!("{}() takes `curr_ns` or `init`", call.row.name), arg.span)
                .suggest(close);
            return None;
        }
        if name == "init" {
            op = initial;
        }
    }
    Some(call.op(op, Vec::new(), Type::U32))
}

pub(super) fn pid(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    in_namespace(checker, call, Op::Pid, Op::InitialPid)
}

pub(super) fn tid(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    in_namespace(checker, call, Op::Tid, Op::InitialTid)
}

pub(super) fn curtask(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    // Without BTF the task is an address like any other.
    let target = checker.types.composite("task_struct", false).unwrap_or(Type::Void);
    Some(call.op(Op::CurrentTask, Vec::new(), Type::Ptr(Rc::new(target), AddrSpace::Kernel)))
}

/// The task given as argument, else the current one, and fields of it.
fn of_task(checker: &mut Checker<'_>, call: &Call<'_>, path: &[&str]) -> Option<Expr> {
    let mut value = match call.arg(0) {
        Some(arg) => {
            let task = checker.value_expr(arg)?;
            let target = checker.types.composite("task_struct", false)?;
            checker.pointer_to(target, task)
        }
        None => curtask(checker, call)?,
    };
    for name in path {
        value = checker.field_of(value, name, call.span, call.span)?;
    }
    Some(value)
}

/// Of the current thread, or of the process with a pid: the kernel hands out its task, and takes it back.
pub(super) fn comm(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    const ACQUIRE: &str = "bpf_task_from_pid";
    const RELEASE: &str = "bpf_task_release";
    let span = call.span;
    let Some(arg) = call.arg(0) else {
        return Some(call.op(Op::Comm, Vec::new(), Type::COMM));
    };
    let pid = checker.number_arg("comm", arg)?;
    // Which functions of the kernel it may call depends on the program, and a function serves several.
    if checker.unit.function.is_some() {
        checker.outside_probe("comm(pid)", span);
        return None;
    }
    let (Some(acquire), Some(release)) = (checker.kernel_function(ACQUIRE), checker.kernel_function(RELEASE)) else {
        checker
            .error("kernel-feature", format!("this kernel does not let this probe call `{ACQUIRE}`"), span)
            .note("fentry and iterators can since Linux 6.2, tracepoints, intervals and profiles since 6.12, kprobes and uprobes cannot")
            .help("`comm` alone is the name of the current thread");
        return None;
    };
    let task = checker.types.composite("task_struct", false);
    let name = match task {
        Some(Type::Struct(id)) => checker.types.field(id, "comm"),
        _ => None,
    };
    let Some(name) = name else {
        checker.error("no-btf", "comm() of a process needs the kernel's BTF", span);
        return None;
    };
    let mut stmts = Vec::new();
    let pid = checker.once(convert(pid, &Type::I32), &mut stmts)?;
    let format = format::parse(b"No such process (pid=%d)").unwrap_or_default();
    let kind = ActionKind::Message { level: "WARNING".to_owned(), format, position: String::new() };
    let missing = checker.send(kind, vec![pid.clone()], span);
    let comm = call.op(Op::CommOf { acquire, release, offset: name.offset }, vec![pid, missing], Type::COMM);
    Some(Expr { kind: ExprKind::Block(Block { stmts, value: Some(Box::new(comm)) }), ty: Type::COMM, span })
}

pub(super) fn ppid(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    of_task(checker, call, &["real_parent", "tgid"])
}

pub(super) fn pcomm(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    of_task(checker, call, &["real_parent", "comm"])
}

pub(super) fn leader_tid(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    of_task(checker, call, &["group_leader", "pid"])
}

pub(super) fn leader_comm(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    of_task(checker, call, &["group_leader", "comm"])
}

/// A perf event has interrupted user code or the kernel; anywhere else the question is what the task is.
pub(super) fn usermode(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    const USER_RING: i128 = 3;
    if checker.target.arch() != Arch::X86_64 {
        checker.error("unsupported", "usermode is there for x86_64 only", call.span);
        return None;
    }
    let selector = checker.code_segment(call.span);
    let ring = convert(int_literal(USER_RING, call.span), &Type::U64);
    let kind = ExprKind::Binary(BinOp::BitAnd, Box::new(selector), Box::new(ring.clone()));
    let masked = Expr { kind, ty: Type::U64, span: call.span };
    let kind = ExprKind::Compare(CmpOp::Eq, Box::new(masked), Box::new(ring));
    let user = Expr { kind, ty: Type::Bool, span: call.span };
    Some(convert(user, &Type::Int(IntType::U8)))
}

pub(super) fn override_(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    checker.only_in("override()", &["kprobe"], call.span)?;
    let value = checker.number_arg("override", call.arg(0)?)?;
    let value = convert(value, &Type::U64);
    Some(call.op(Op::Override, vec![value], Type::Void))
}

pub(super) fn cpid(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let pid = checker.script.config.pid;
    if pid.is_none() {
        checker.warning("no-child", "there is no command of -c: cpid is 0", call.span);
    }
    let pid = int_literal(i128::from(pid.unwrap_or(0)), call.span);
    Some(convert(pid, &Type::U32))
}

pub(super) fn has_cpid(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    Some(constant_bool(checker.script.config.pid.is_some(), call.span))
}

pub(super) fn nsecs(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let clock = match call.arg(0) {
        None => Clock::Boot,
        Some(arg) => {
            let name = bare_name(arg).unwrap_or_default();
            let Some(clock) = clock(name) else {
                let close = similar::closest(name, ["boot", "monotonic", "tai", "sw_tai"]).map(str::to_owned);
                checker
                    .error("argument", "unknown clock", arg.span)
                    .note("clocks are: boot, monotonic, tai, sw_tai")
                    .suggest(close);
                return None;
            };
            clock
        }
    };
    if clock == Clock::Tai && !checker.target.has(Feature::KtimeTai) {
        checker
            .error("kernel-feature", "this kernel cannot read the clock `tai` in a program", call.span)
            .help("use `nsecs` or `nsecs(monotonic)`");
        return None;
    }
    Some(call.op(Op::Nsecs(clock), Vec::new(), Type::U64))
}

pub(super) fn ncpus(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let cpus = int_literal(i128::from(checker.target.possible_cpus()), call.span);
    Some(convert(cpus, &Type::U64))
}

pub(super) fn ctx(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    checker.raw_context(call.span)
}

pub(super) fn retval(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    checker.return_value(call.span)
}

pub(super) fn func(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    checker.function(call.span)
}

pub(super) fn probe(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    checker.probe_name(call.span)
}

pub(super) fn probetype(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    checker.probe_type(call.span)
}

pub(super) fn reg(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let name = checker.literal_string("the argument of reg()", call.arg(0)?)?;
    checker.register(&String::from_utf8_lossy(&name), call.span)
}

pub(super) fn signal(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    send_signal(checker, call, Op::Signal)
}

pub(super) fn signal_thread(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    send_signal(checker, call, Op::SignalThread)
}

fn send_signal(checker: &mut Checker<'_>, call: &Call<'_>, op: Op) -> Option<Expr> {
    let (arg, function) = (call.arg(0)?, call.row.name);
    if !checker.runs_in_a_process() {
        let message = format!("{function}() needs a probe that runs in a process");
        checker.error("not-available-here", message, call.span);
        return None;
    }
    let value = checker.value_expr(arg)?;
    let number = match text_literal(&value) {
        Some(name) => {
            let name = String::from_utf8_lossy(name).to_ascii_uppercase();
            let full = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
            let Some((_, number)) = SIGNALS.iter().find(|(own, _)| *own == full) else {
                let close = similar::closest(&full, SIGNALS.iter().map(|(name, _)| *name)).map(str::to_owned);
                checker.error("unknown-signal", format!("there is no signal `{full}`"), arg.span).suggest(close);
                return None;
            };
            int_literal(i128::from(*number), arg.span)
        }
        None => checker.number_arg(function, arg)?,
    };
    if let Some(n) = constant_number(&number)
        && !(1..=LAST_SIGNAL).contains(&n)
    {
        checker
            .error("unknown-signal", format!("there is no signal {n}"), arg.span)
            .help(format!("signals have the numbers 1 to {LAST_SIGNAL}; names work as well: `{function}(\"TERM\")`"));
        return None;
    }
    let number = convert(number, &Type::U32);
    Some(call.op(op, vec![number], Type::Void))
}

/// One in `n`: chance, unlike a counter, does not fall into step with what it thins out.
pub(super) fn sample(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let arg = call.arg(0)?;
    let n = checker.number_arg("sample", arg)?;
    if constant_number(&n).is_some_and(|n| n < 1) {
        checker.error("argument", "sample() takes one in n: n is at least 1", arg.span);
        return None;
    }
    let (ty, span) = (Type::U64, call.span);
    let random = convert(call.op(Op::Random, Vec::new(), Type::U32), &ty);
    let rest = ExprKind::Binary(BinOp::Mod, Box::new(random), Box::new(convert(n, &ty)));
    let rest = Expr { kind: rest, ty: ty.clone(), span };
    let zero = Expr { kind: ExprKind::Int(0), ty, span };
    Some(Expr { kind: ExprKind::Compare(CmpOp::Eq, Box::new(rest), Box::new(zero)), ty: Type::Bool, span })
}
