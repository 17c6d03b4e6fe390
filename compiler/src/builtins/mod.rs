//! The builtins, functions and aggregations: one row each. What a row's rule does stands in the module of its subject; lookups,
//! argument counts, listings and suggestions come from the rows alone. Every row may be used with or without parentheses.

// All rules have one signature, whether or not they can fail.
#![allow(clippy::unnecessary_wraps)]

mod aggregations;
mod compile_time;
pub mod format;
mod maps;
mod network;
mod output;
mod process;
mod symbols;
mod text;

use std::ops::RangeInclusive;

use tapline_grammar::ast;
use tapline_grammar::span::Span;

use crate::check::Checker;
use crate::program::{Aggregate, Clock};
use crate::typed::{Expr, ExprKind, Op};
use crate::types::Type;

/// What a row is, for listings and for where it may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value of the moment: `pid`.
    Builtin,
    /// A function with arguments.
    Function,
    /// A value for `@map = …` only.
    Aggregation,
}

/// Checks a call and makes its expression; `None` when the reason was reported.
type CallRule = fn(&mut Checker<'_>, &Call<'_>) -> Option<Expr>;

/// Checks the call of an aggregation: what it is, and what it aggregates.
type AggregateRule = fn(&mut Checker<'_>, &Call<'_>) -> Option<(Aggregate, Option<Expr>)>;

/// How a call is checked and what it becomes.
#[derive(Clone, Copy)]
pub(crate) enum Rule {
    /// One operation without arguments.
    Value(Op, fn() -> Type),
    /// A rule of its own.
    Call(CallRule),
    /// An aggregation and what it aggregates.
    Aggregate(AggregateRule),
}

/// A builtin, function or aggregation.
pub struct Row {
    /// As a script writes it.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Number of arguments.
    pub args: RangeInclusive<usize>,
    /// How it is called, for messages and listings.
    pub usage: &'static str,
    /// What it does, in one line.
    pub docs: &'static str,
    /// Changes the system: needs `--unsafe`.
    pub unsafe_: bool,
    pub(crate) rule: Rule,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A call of a row in the script.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'s> {
    /// What is called.
    pub row: &'static Row,
    /// With what.
    pub args: &'s [ast::Expr],
    /// The whole call.
    pub span: Span,
}

impl<'s> Call<'s> {
    /// An argument by position.
    pub fn arg(&self, n: usize) -> Option<&'s ast::Expr> {
        self.args.get(n)
    }
    /// The call as an operation.
    pub fn op(&self, op: Op, args: Vec<Expr>, ty: Type) -> Expr {
        Expr { kind: ExprKind::Call(op, args), ty, span: self.span }
    }
}

/// Any number of arguments.
const MANY: usize = 128;

const fn value(name: &'static str, docs: &'static str, op: Op, ty: fn() -> Type) -> Row {
    Row { name, kind: Kind::Builtin, args: 0..=0, usage: name, docs, unsafe_: false, rule: Rule::Value(op, ty) }
}

const fn builtin(
    name: &'static str,
    args: RangeInclusive<usize>,
    usage: &'static str,
    docs: &'static str,
    rule: CallRule,
) -> Row {
    Row { name, kind: Kind::Builtin, args, usage, docs, unsafe_: false, rule: Rule::Call(rule) }
}

const fn function(
    name: &'static str,
    args: RangeInclusive<usize>,
    usage: &'static str,
    docs: &'static str,
    rule: CallRule,
) -> Row {
    Row { name, kind: Kind::Function, args, usage, docs, unsafe_: false, rule: Rule::Call(rule) }
}

const fn unsafe_function(
    name: &'static str,
    args: RangeInclusive<usize>,
    usage: &'static str,
    docs: &'static str,
    rule: CallRule,
) -> Row {
    Row { name, kind: Kind::Function, args, usage, docs, unsafe_: true, rule: Rule::Call(rule) }
}

const fn aggregation(
    name: &'static str,
    args: RangeInclusive<usize>,
    usage: &'static str,
    docs: &'static str,
    rule: AggregateRule,
) -> Row {
    Row { name, kind: Kind::Aggregation, args, usage, docs, unsafe_: false, rule: Rule::Aggregate(rule) }
}

const fn u32_type() -> Type {
    Type::U32
}
const fn u64_type() -> Type {
    Type::U64
}
const fn username_type() -> Type {
    Type::Username
}

/// All rows.
pub static ROWS: &[Row] = &[
    // The process.
    builtin("pid", 0..=1, "pid", "process id", process::pid),
    builtin("tid", 0..=1, "tid", "thread id", process::tid),
    value("uid", "user id", Op::Uid, u32_type),
    value("gid", "group id", Op::Gid, u32_type),
    value("username", "name of the user", Op::Username, username_type),
    builtin("comm", 0..=1, "comm[(pid)]", "name of the thread, or of the process with a pid", process::comm),
    value("cgroup", "id of the cgroup (version 2)", Op::Cgroup, u64_type),
    builtin("curtask", 0..=0, "curtask", "the current task, a struct task_struct *", process::curtask),
    builtin("ppid", 0..=1, "ppid", "process id of the parent", process::ppid),
    builtin("pcomm", 0..=1, "pcomm", "name of the parent", process::pcomm),
    builtin("leader_tid", 0..=1, "leader_tid[(task)]", "thread id of the process's first thread", process::leader_tid),
    builtin("leader_comm", 0..=1, "leader_comm[(task)]", "name of the process's first thread", process::leader_comm),
    builtin("usermode", 0..=0, "usermode", "1 when the processor runs user code", process::usermode),
    builtin("cpid", 0..=0, "cpid", "process id of the command of -c", process::cpid),
    builtin("has_cpid", 0..=0, "has_cpid", "true when -c started a command", process::has_cpid),
    // Time and place.
    builtin("nsecs", 0..=1, "nsecs[(clock)]", "nanoseconds of a clock, by default since boot", process::nsecs),
    value("elapsed", "nanoseconds since tracing began", Op::Elapsed, u64_type),
    value("jiffies", "the kernel's tick counter", Op::Jiffies, u64_type),
    value("cpu", "number of the processor", Op::Cpu, u32_type),
    value("numaid", "number of the NUMA node", Op::NumaNode, u32_type),
    builtin("ncpus", 0..=0, "ncpus", "number of processors", process::ncpus),
    value("rand", "a random number", Op::Random, u32_type),
    function(
        "sample",
        1..=1,
        "sample(n)",
        "true for one in n calls, by chance: thins out a frequent probe",
        process::sample,
    ),
    // The event.
    builtin("ctx", 0..=0, "ctx", "the program's context", process::ctx),
    builtin("retval", 0..=0, "retval", "value returned by the function", process::retval),
    builtin("func", 0..=0, "func", "name of the traced function", process::func),
    builtin("probe", 0..=0, "probe", "full name of the probe", process::probe),
    builtin("probetype", 0..=0, "probetype", "name of the probe's provider", process::probetype),
    function("reg", 1..=1, "reg(\"name\")", "contents of a register", process::reg),
    // Stacks and symbols.
    builtin("kstack", 0..=2, "kstack[([mode,] [limit])]", "kernel stack", symbols::kstack),
    builtin("ustack", 0..=3, "ustack[([walk,] [mode,] [limit])]", "user stack", symbols::ustack),
    builtin(
        "dw_ustack",
        0..=2,
        "dw_ustack[([mode,] [limit])]",
        "user stack by unwind tables, for -p, -c and --dwarf-pid",
        symbols::dw_ustack,
    ),
    function("ksym", 1..=1, "ksym(address)", "name of a kernel address", symbols::ksym),
    function("usym", 1..=1, "usym(address)", "name of a user address", symbols::usym),
    function("kaddr", 1..=1, "kaddr(\"name\")", "address of a kernel symbol", symbols::kaddr),
    function(
        "percpu_kaddr",
        1..=2,
        "percpu_kaddr(\"name\" [, cpu])",
        "address of a kernel variable of one processor",
        symbols::percpu_kaddr,
    ),
    function("uaddr", 1..=1, "uaddr(\"name\")", "address of a variable of the traced binary", symbols::uaddr),
    function("is_err", 1..=1, "is_err(pointer)", "true for a pointer that is an error number", symbols::is_err),
    function(
        "container_of",
        3..=3,
        "container_of(pointer, struct name, field)",
        "the struct around a field",
        symbols::container_of,
    ),
    function("path", 1..=2, "path(struct path * [, length])", "the path of a file", symbols::path),
    function("kptr", 1..=1, "kptr(pointer)", "the pointer as one into kernel memory", symbols::kptr),
    function("uptr", 1..=1, "uptr(pointer)", "the pointer as one into user memory", symbols::uptr),
    // Text and bytes.
    function("str", 1..=2, "str(pointer [, length])", "the string at an address", text::str),
    function("buf", 1..=2, "buf(pointer [, length])", "the bytes at an address", text::buf),
    function(
        "strncmp",
        3..=3,
        "strncmp(a, b, length)",
        "0 when the first bytes of two strings are equal",
        text::strncmp,
    ),
    function("strlen", 1..=1, "strlen(string)", "length of a string", text::strlen),
    function(
        "strcontains",
        2..=2,
        "strcontains(haystack, needle)",
        "true when a string holds another",
        text::strcontains,
    ),
    function(
        "strstr",
        2..=2,
        "strstr(haystack, needle)",
        "where a string begins in another, -1 if nowhere",
        text::strstr,
    ),
    function("strcap", 1..=1, "strcap(string)", "bytes that a string has room for", text::strcap),
    function("str_concat", 2..=2, "str_concat(a, b)", "one string after the other", text::str_concat),
    function("memcmp", 3..=3, "memcmp(a, b, length)", "compares the first bytes of two values", text::memcmp),
    function("bswap", 1..=1, "bswap(number)", "the bytes of a number in reverse order", text::bswap),
    function("strerror", 1..=1, "strerror(number)", "text of an error number", text::strerror),
    function("signal_name", 1..=1, "signal_name(number)", "name of a signal", text::signal_name),
    function("syscall_name", 1..=1, "syscall_name(number)", "name of a system call", text::syscall_name),
    function("strftime", 2..=2, "strftime(\"format\", nsecs)", "a time as text", text::strftime),
    // Addresses of the network and control groups.
    function("ntop", 1..=2, "ntop([family,] address)", "text of an IP address", network::ntop),
    function("macaddr", 1..=1, "macaddr(bytes)", "text of a hardware address", network::macaddr),
    function("pton", 1..=1, "pton(\"address\")", "bytes of an IP address", network::pton),
    function("socket_cookie", 1..=1, "socket_cookie(socket)", "number of a socket", network::socket_cookie),
    function("cgroupid", 1..=1, "cgroupid(\"path\")", "id of the cgroup at a path", network::cgroupid),
    function("cgroup_path", 1..=2, "cgroup_path(id [, \"filter\"])", "path of a cgroup", network::cgroup_path),
    // Maps.
    function("delete", 1..=2, "delete(@map [, key])", "removes a key; true when it was there", maps::delete),
    function(
        "percentile",
        2..=2,
        "percentile(@map[key], 99)",
        "a percentile of a histogram, for print() and printf(); or \"99.9\"",
        maps::percentile,
    ),
    function("has_key", 2..=2, "has_key(@map, key)", "true when the key is there", maps::has_key),
    function("find", 3..=3, "find(@map, key, $variable)", "has_key() that also takes the value", maps::find),
    function("len", 1..=1, "len(@map)", "number of keys", maps::len),
    function("clear", 1..=1, "clear(@map)", "removes all keys", maps::clear),
    function("zero", 1..=1, "zero(@map)", "sets all values to zero", maps::zero),
    // Output.
    function("printf", 1..=MANY, "printf(\"format\", …)", "prints by a format", output::printf),
    function(
        "print",
        1..=4,
        "print(value), print(@map [, top [, div]] [, \"words\"])",
        "prints a value or a map; words: desc, key, p50 p99.9 …, only, decimals=2",
        output::print,
    ),
    function(
        "fixed",
        2..=3,
        "fixed(number, unit [, decimals])",
        "a number in a larger unit with decimals: fixed(1500, 1000) is 1.500",
        text::fixed,
    ),
    function("time", 0..=1, "time([\"format\"])", "prints the time of day", output::time),
    function("join", 1..=2, "join(argv [, \"separator\"])", "prints an array of strings", output::join),
    function(
        "str_join",
        1..=1,
        "str_join(argv)",
        "an array of strings as an argument of printf, one blank between them",
        output::str_join,
    ),
    function("cat", 1..=MANY, "cat(\"format\", …)", "prints a file", output::cat),
    unsafe_function("system", 1..=MANY, "system(\"format\", …)", "runs a shell command", output::system),
    function("errorf", 1..=MANY, "errorf(\"format\", …)", "prints an error with its position", output::errorf),
    function("warnf", 1..=MANY, "warnf(\"format\", …)", "prints a warning with its position", output::warnf),
    function("debugf", 1..=4, "debugf(\"format\", …)", "prints to the kernel's trace_pipe", output::debugf),
    function("assert", 2..=2, "assert(condition, \"message\")", "ends tracing with an error", output::assert),
    function(
        "skboutput",
        4..=4,
        "skboutput(\"path\", skb, length, offset)",
        "writes a packet into a pcap file; 0, or a negative error",
        network::skboutput,
    ),
    function("unwatch", 1..=1, "unwatch(address)", "ends the watchpoints at an address", output::unwatch),
    function("exit", 0..=1, "exit([status])", "ends tracing", output::exit),
    unsafe_function("signal", 1..=1, "signal(number | \"name\")", "sends a signal to the process", process::signal),
    unsafe_function(
        "signal_thread",
        1..=1,
        "signal_thread(number | \"name\")",
        "sends a signal to the thread",
        process::signal_thread,
    ),
    unsafe_function(
        "write_user",
        3..=3,
        "write_user(pointer, value, length)",
        "writes to the memory of the process; true when done",
        text::write_user,
    ),
    unsafe_function(
        "override",
        1..=1,
        "override(value)",
        "makes the function return a value without running",
        process::override_,
    ),
    // Known while compiling.
    function("is_str", 1..=1, "is_str(value)", "true for strings", compile_time::is_str),
    function("is_ptr", 1..=1, "is_ptr(value)", "true for pointers", compile_time::is_ptr),
    function("is_array", 1..=1, "is_array(value)", "true for arrays", compile_time::is_array),
    function("is_integer", 1..=1, "is_integer(value)", "true for integers", compile_time::is_integer),
    function(
        "is_unsigned_integer",
        1..=1,
        "is_unsigned_integer(value)",
        "true for unsigned integers",
        compile_time::is_unsigned_integer,
    ),
    function("is_literal", 1..=1, "is_literal(value)", "true for literals", compile_time::is_literal),
    function("assert_str", 1..=1, "assert_str(value)", "refuses what is not like a string", compile_time::assert_str),
    function(
        "kfunc_exist",
        1..=1,
        "kfunc_exist(\"name\")",
        "true when BTF has the function",
        compile_time::kfunc_exist,
    ),
    function(
        "kfunc_allowed",
        1..=1,
        "kfunc_allowed(\"name\")",
        "true when a program of this probe may call the kernel's function",
        compile_time::kfunc_allowed,
    ),
    builtin("config", 0..=0, "config", "the config variables as a record: `config.max_strlen`", compile_time::config),
    builtin(
        "default_str_length",
        0..=0,
        "default_str_length",
        "capacity of strings of unknown length",
        compile_time::default_str_length,
    ),
    function(
        "static_assert",
        2..=2,
        "static_assert(condition, \"message\")",
        "refuses the script",
        compile_time::static_assert,
    ),
    function("fail", 1..=MANY, "fail(\"format\", …)", "refuses the script when it is reached", compile_time::fail),
    // Aggregations.
    aggregation("count", 0..=0, "count()", "how often", aggregations::count),
    aggregation("sum", 1..=1, "sum(number)", "the sum", aggregations::sum),
    aggregation("avg", 1..=1, "avg(number)", "the average", aggregations::avg),
    aggregation("min", 1..=1, "min(number)", "the smallest", aggregations::min),
    aggregation("max", 1..=1, "max(number)", "the largest", aggregations::max),
    aggregation("stats", 1..=1, "stats(number)", "count, average and total", aggregations::stats),
    aggregation("hist", 1..=2, "hist(number [, bits])", "histogram by powers of two", aggregations::hist),
    aggregation("lhist", 4..=4, "lhist(number, min, max, step)", "histogram by equal steps", aggregations::lhist),
    aggregation(
        "tseries",
        3..=4,
        "tseries(number, interval, count [, \"avg\"|\"max\"|\"min\"|\"sum\"])",
        "the last (or average, …) value of each of the latest intervals",
        aggregations::tseries,
    ),
];

/// The row of a name.
pub fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

/// Names of former releases, and what they are called now.
const FORMER: &[(&str, &str)] =
    &[("stack", "kstack"), ("sym", "ksym"), ("quantize", "hist"), ("lquantize", "lhist"), ("name", "probe")];

/// The row that a former name means.
pub(crate) fn find_former(name: &str) -> Option<&'static Row> {
    FORMER.iter().find(|(former, _)| *former == name).and_then(|(_, now)| find(now))
}

/// All names, for suggestions.
pub fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.name)
}

/// A name of a clock.
pub(crate) fn clock(name: &str) -> Option<Clock> {
    match name {
        "boot" => Some(Clock::Boot),
        "monotonic" => Some(Clock::Monotonic),
        "tai" | "sw_tai" => Some(Clock::Tai),
        _ => None,
    }
}

impl Checker<'_> {
    /// A call of a row.
    pub(crate) fn builtin(&mut self, call: &Call<'_>) -> Option<Expr> {
        self.admit(call)?;
        match call.row.rule {
            Rule::Value(op, ty) => Some(call.op(op, Vec::new(), ty())),
            Rule::Call(rule) => rule(self, call),
            Rule::Aggregate(_) => {
                let usage = call.row.usage;
                self.error("aggregation", format!("{}() must be assigned to a map", call.row.name), call.span)
                    .label("an aggregation has no value of its own")
                    .help(format!("`@name = {usage}` or `@name[key] = {usage}`"));
                None
            }
        }
    }

    /// The call of an aggregation that is assigned to a map.
    pub(crate) fn aggregation(&mut self, call: &Call<'_>) -> Option<(Aggregate, Option<Expr>)> {
        self.admit(call)?;
        match call.row.rule {
            Rule::Aggregate(rule) => rule(self, call),
            _ => None,
        }
    }

    fn admit(&mut self, call: &Call<'_>) -> Option<()> {
        let row = call.row;
        if row.unsafe_ && !self.options.allow_unsafe {
            self.error("unsafe", format!("{}() can change the system", row.name), call.span)
                .label("not allowed without --unsafe")
                .help("run the script with `--unsafe` if this is what you want");
            return None;
        }
        let given = call.args.len();
        if row.args.contains(&given) {
            return Some(());
        }
        let (least, most) = (*row.args.start(), *row.args.end());
        let wanted = match (least, most) {
            (0, 0) => "no arguments".to_owned(),
            (a, b) if a == b => format!("{a} argument{}", if a == 1 { "" } else { "s" }),
            (a, MANY) => format!("at least {a} argument{}", if a == 1 { "" } else { "s" }),
            (a, b) => format!("{a} to {b} arguments"),
        };
        self.error("argument-count", format!("{}() takes {wanted}, not {given}", row.name), call.span)
            .help(format!("use it as `{}`", row.usage));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_usages_name_their_row() {
        for row in ROWS {
            assert_eq!(ROWS.iter().filter(|other| other.name == row.name).count(), 1, "{}", row.name);
            assert!(row.usage.starts_with(row.name), "{}", row.name);
            assert!(!row.docs.is_empty() && row.docs.len() < 80, "{}", row.name);
        }
        assert!(find("printf").is_some() && find("prinft").is_none());
    }
}
