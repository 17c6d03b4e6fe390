//! What a program sees of the event that runs it: `argN`, `args`, `retval`, `ctx`, `probe`, registers.

use std::rc::Rc;

use tapline_grammar::ast;
use tapline_grammar::span::Span;

use super::{Checker, constant, convert};
use crate::expand::Context;
use crate::probes::Access;
use crate::probes::access::{self, Place};
use crate::probes::iter;
use crate::probes::registers::registers;
use crate::probes::usdt::{Memory, Operand, Source};
use crate::program::{Attach, ProgramKind};
use crate::similar::closest;
use crate::target::{Feature, TargetError};
use crate::typed::{BinOp, Expr, ExprKind, Op};
use crate::types::layout::size_of;
use crate::types::record::{CHAR, data_loc_target, is_data_loc, parse_format, record_fields};
use crate::types::table::Prototype;
use crate::types::{AddrSpace, IntType, Type};

/// Bytes of a register.
pub(super) const WORD: u32 = 8;

/// The first bytes of a tracepoint's record hold a pointer of the kernel's while a program runs.
const HIDDEN_BYTES: u32 = 8;

/// Where the raw tracepoint `sys_exit` has the result.
const SYSCALL_RESULT: u32 = 8;

/// A parameter: the number of its first word, its name and its type.
type Argument = (u32, String, Type);

impl Checker<'_> {
    /// The address space of numbers that are used as addresses.
    pub(crate) fn default_space(&self) -> AddrSpace {
        match &self.unit.context {
            Context::UserEntry { .. }
            | Context::UserReturn { .. }
            | Context::Usdt { .. }
            | Context::Syscalls { .. } => AddrSpace::User,
            Context::Tracepoint { category, .. } if category == "syscalls" => AddrSpace::User,
            _ => AddrSpace::Kernel,
        }
    }

    /// Refuses a builtin where an attach point does not have what it needs.
    pub(crate) fn require(&mut self, what: Access, builtin: &str, span: Span) -> Option<()> {
        let Some(row) = self.unit.provider else {
            self.outside_probe(builtin, span);
            return None;
        };
        match access::require(row, what, builtin, span) {
            Ok(()) => Some(()),
            Err(diagnostic) => {
                let at = self.unit.point_span;
                self.report(*diagnostic).also(at, "for this attach point");
                None
            }
        }
    }

    /// The refusal of what belongs to a probe in a function, which serves all of them.
    pub(crate) fn outside_probe(&mut self, builtin: &str, span: Span) {
        self.error("not-available-here", format!("`{builtin}` is not available in a function"), span)
            .label("a function has no attach point")
            .help("pass it as an argument");
    }

    /// A word of the context.
    pub(super) fn context_word(offset: u32, ty: Type, span: Span) -> Expr {
        let pointer = Type::Ptr(Rc::new(Type::Void), AddrSpace::Ctx);
        let context = Expr { kind: ExprKind::Context, ty: pointer, span };
        let place = Expr { kind: ExprKind::Deref(Box::new(context)), ty: Type::Void, span };
        Expr { kind: ExprKind::Field { base: Box::new(place), offset, bits: None }, ty, span }
    }

    /// `argN`.
    pub(crate) fn argument(&mut self, n: u32, span: Span) -> Option<Expr> {
        let name = format!("arg{n}");
        self.require(Access::ArgN, &name, span)?;
        if let Context::Usdt { operands } = self.unit.context.clone() {
            return self.usdt_argument(&operands, n, span);
        }
        let Some(place) = access::argument(&self.unit.context, self.target.arch(), n) else {
            self.error("no-argument", format!("there is no `{name}`"), span)
                .label("the number is too large")
                .help("`args.name` has all arguments by name where the kernel's types tell them");
            return None;
        };
        Some(Self::word_at(place, span))
    }

    /// An argument of a usdt probe: a number of its size and sign, widened to a word.
    fn usdt_argument(&mut self, operands: &[Option<Operand>], n: u32, span: Span) -> Option<Expr> {
        let (name, count) = (format!("arg{n}"), operands.len());
        let Some(operand) = operands.get(n as usize).cloned() else {
            self.error("no-argument", format!("there is no `{name}`"), span)
                .label(format!("this probe has {count} arguments"));
            return None;
        };
        let Some(Operand { int, source }) = operand else {
            self.error("unreadable-argument", format!("`{name}` lies where it cannot be read"), span)
                .label("a floating-point register, or a variable that the note gives by name");
            return None;
        };
        let number = |value: i64| constant::typed_int(i128::from(value.cast_unsigned()), IntType::U64, span);
        let calculate = |op, lhs: Expr, rhs: Expr| {
            let kind = ExprKind::Binary(op, Box::new(lhs), Box::new(rhs));
            Expr { kind, ty: Type::U64, span }
        };
        let register = |offset| Self::context_word(offset, Type::U64, span);
        let value = match source {
            Source::Constant(value) => number(value),
            Source::Register(offset, false) => register(offset),
            Source::Register(offset, true) => calculate(BinOp::Shr, register(offset), number(8)),
            Source::Memory(Memory { base, index, displacement }) => {
                let mut address = number(displacement);
                if let Some(base) = base {
                    address = calculate(BinOp::Add, register(base), address);
                }
                if let Some((index, scale)) = index {
                    let scaled = calculate(BinOp::Mul, register(index), number(i64::from(scale)));
                    address = calculate(BinOp::Add, address, scaled);
                }
                let pointer = Type::Ptr(Rc::new(Type::Int(int)), AddrSpace::User);
                let pointer = Expr { kind: ExprKind::Cast(Box::new(address)), ty: pointer, span };
                Expr { kind: ExprKind::Deref(Box::new(pointer)), ty: Type::Int(int), span }
            }
        };
        Some(convert(convert(value, &Type::Int(int)), &Type::U64))
    }

    pub(super) fn word_at(place: Place, span: Span) -> Expr {
        match place {
            Place::Context(offset) => Self::context_word(offset, Type::U64, span),
            Place::Stack { sp, offset, user } => {
                let sum = Self::stack_address(sp, offset, span);
                let space = if user { AddrSpace::User } else { AddrSpace::Kernel };
                let pointer = Type::Ptr(Rc::new(Type::U64), space);
                let pointer = Expr { kind: ExprKind::Cast(Box::new(sum)), ty: pointer, span };
                Expr { kind: ExprKind::Deref(Box::new(pointer)), ty: Type::U64, span }
            }
        }
    }

    /// An address above the stack pointer, which the context holds at `sp`.
    pub(super) fn stack_address(sp: u32, offset: u32, span: Span) -> Expr {
        let sp = Self::context_word(sp, Type::U64, span);
        let bytes = constant::typed_int(i128::from(offset), IntType::U64, span);
        let sum = ExprKind::Binary(BinOp::Add, Box::new(sp), Box::new(bytes));
        Expr { kind: sum, ty: Type::U64, span }
    }

    /// `retval`.
    pub(crate) fn return_value(&mut self, span: Span) -> Option<Expr> {
        self.require(Access::Retval, "retval", span)?;
        if let Context::Trampoline { module, function, .. } = self.unit.context.clone() {
            return self.typed_result(module.as_deref(), &function, span);
        }
        let offset = access::return_value(&self.unit.context, self.target.arch())?;
        Some(Self::context_word(offset, Type::U64, span))
    }

    /// `reg("name")`.
    pub(crate) fn register(&mut self, name: &str, span: Span) -> Option<Expr> {
        self.require(Access::Register, "reg()", span)?;
        let table = registers(self.target.arch());
        let Some(offset) = table.named(name) else {
            let names: Vec<&str> = table.names.iter().map(|(name, _)| *name).collect();
            let close = closest(name, names.iter().copied()).map(str::to_owned);
            self.error("unknown-register", format!("this processor has no register `{name}`"), span)
                .note(format!("registers are: {}", names.join(", ")))
                .suggest(close);
            return None;
        };
        Some(Self::context_word(offset, Type::U64, span))
    }

    /// `ctx`.
    pub(crate) fn raw_context(&mut self, span: Span) -> Option<Expr> {
        if self.unit.function.is_some() {
            self.outside_probe("ctx", span);
            return None;
        }
        if self.unit.context == Context::None {
            let at = self.unit.point_span;
            self.error("not-available-here", "`ctx` is not available in this probe", span)
                .also(at, "this probe has no context");
            return None;
        }
        if let Context::Iterator { name, .. } = self.unit.context.clone() {
            let ty = self.types.composite(&iter::context(&name), false)?;
            return Some(Self::context_address(0, ty, span));
        }
        let ty = Type::Ptr(Rc::new(Type::U64), AddrSpace::Ctx);
        Some(Expr { kind: ExprKind::Context, ty, span })
    }

    /// The first object that an iterator hands to a program. It is null in the last run, which says that there are no more.
    pub(super) fn iterated(&mut self) -> Option<Expr> {
        let Context::Iterator { .. } = self.unit.context else { return None };
        let span = self.unit.point_span;
        let context = self.raw_context(span)?;
        let Type::Ptr(target, _) = &context.ty else { return None };
        let Type::Struct(id) = **target else { return None };
        let fields = self.types.fields(id)?;
        let first = fields.iter().find(|f| f.name != "meta" && matches!(f.ty, Type::Ptr(..)))?.name.clone();
        self.field_of(context, &first, span, span)
    }

    /// `func`.
    pub(crate) fn function(&mut self, span: Span) -> Option<Expr> {
        self.require(Access::Func, "func", span)?;
        match &self.unit.context {
            Context::UserEntry { .. }
            | Context::UserReturn { .. }
            | Context::Usdt { .. }
            | Context::Watchpoint { user: true } => {
                let at = registers(self.target.arch()).ip;
                let ip = Self::context_word(at, Type::U64, span);
                Some(Expr { kind: ExprKind::Call(Op::UserSymbol, vec![ip]), ty: Type::UserSymbol, span })
            }
            _ => Some(Expr { kind: ExprKind::Call(Op::Func, Vec::new()), ty: Type::KernelSymbol, span }),
        }
    }

    /// `probe`.
    pub(crate) fn probe_name(&mut self, span: Span) -> Option<Expr> {
        if self.unit.function.is_some() {
            self.outside_probe("probe", span);
            return None;
        }
        Some(self.own_name(span))
    }

    fn own_name(&self, span: Span) -> Expr {
        if !self.probe_by_cookie() {
            return constant::text(self.unit.name.as_bytes(), span);
        }
        match self.unit.points.as_slice() {
            [single] => Expr { kind: ExprKind::Int(i64::from(single.0)), ty: Type::ProbeName, span },
            _ => Expr { kind: ExprKind::Call(Op::ProbeName, Vec::new()), ty: Type::ProbeName, span },
        }
    }

    /// `probetype`.
    pub(crate) fn probe_type(&mut self, span: Span) -> Option<Expr> {
        let Some(row) = self.unit.provider else {
            self.outside_probe("probetype", span);
            return None;
        };
        Some(constant::text(row.probetype.as_bytes(), span))
    }

    /// `args.name`.
    pub(super) fn argument_by_name(&mut self, name: &ast::Name, args: Span, span: Span) -> Option<Expr> {
        self.require(Access::Args, "args", args)?;
        match self.unit.context.clone() {
            Context::Tracepoint { category, event } => self.record_field(&category, &event, name, span),
            // The only field that programs for many calls are made for.
            Context::Syscalls { .. } => Some(convert(Self::context_word(SYSCALL_RESULT, Type::U64, span), &Type::I64)),
            Context::RawTracepoint { event } => {
                let params = self.types.raw_tracepoint(&event).unwrap_or_default();
                if params.iter().all(|(own, _)| own.is_empty()) {
                    self.no_prototype(&format!("raw tracepoint {event}"), args);
                    return None;
                }
                let arguments: Vec<_> =
                    params.into_iter().enumerate().map(|(n, (own, ty))| (n as u32, own, ty)).collect();
                self.argument_named(&format!("rawtracepoint:{event}"), &arguments, name, span)
            }
            Context::KernelEntry { module, function } | Context::Trampoline { module, function, .. } => {
                let (arguments, _) = self.arguments(module.as_deref(), &function, args)?;
                self.argument_named(&function, &arguments, name, span)
            }
            Context::UserEntry { path, offset } => self.user_argument(&path, offset, name, span),
            _ => None,
        }
    }

    /// `args` as a whole: a record of all arguments that a program can read.
    pub(super) fn all_arguments(&mut self, span: Span) -> Option<Expr> {
        self.require(Access::Args, "args", span)?;
        let by_value = |(name, ty): (String, Type)| ty.is_scalar().then_some(name).filter(|name| !name.is_empty());
        let names: Vec<String> = match self.unit.context.clone() {
            Context::Tracepoint { category, event } => {
                let text = self.record_format(&category, &event, span)?;
                let shown = |f: &crate::types::record::FormatField| f.offset >= HIDDEN_BYTES;
                parse_format(&text).into_iter().filter(shown).map(|f| f.name).collect()
            }
            Context::RawTracepoint { event } => {
                self.types.raw_tracepoint(&event).unwrap_or_default().into_iter().filter_map(by_value).collect()
            }
            Context::KernelEntry { module, function } => {
                let prototype = self.types.function(module.as_deref(), &function);
                prototype.map(|it| it.params).unwrap_or_default().into_iter().filter_map(by_value).collect()
            }
            Context::Trampoline { module, function, .. } => {
                let arguments = self.arguments(module.as_deref(), &function, span)?.0;
                arguments.into_iter().map(|(_, name, _)| name).filter(|name| !name.is_empty()).collect()
            }
            Context::UserEntry { path, offset } => self.user_arguments(&path, offset, span)?,
            _ => Vec::new(),
        };
        let limit = self.script.limits.max_strlen;
        let mut members = Vec::new();
        for node in names {
            let value = self.argument_by_name(&ast::Name { node: node.clone(), span }, span, span)?;
            // Text of any length lies behind the record: what counts is the text.
            let value = match &value.kind {
                ExprKind::Call(Op::DataLoc, _) if matches!(&value.ty, Type::Ptr(target, _) if **target == CHAR) => {
                    Expr { kind: ExprKind::Call(Op::Str, vec![value]), ty: Type::Str(limit), span }
                }
                _ => value,
            };
            members.push((node, value));
        }
        if members.is_empty() {
            self.error("args", "the arguments of this probe are not known", span)
                .help("`tapline -lv 'provider:…'` lists what is known");
            return None;
        }
        let ty = Type::Record(members.iter().map(|(name, value)| (name.clone(), value.ty.clone())).collect());
        Some(Expr { kind: ExprKind::Tuple(members.into_iter().map(|(_, value)| value).collect()), ty, span })
    }

    /// The parameters of a kernel function, each with the number of its first word, and the number of the words.
    fn arguments(&mut self, module: Option<&str>, function: &str, span: Span) -> Option<(Vec<Argument>, u32)> {
        let Some(Prototype { params, .. }) = self.types.function(module, function) else {
            self.no_prototype(&format!("function {function}"), span);
            return None;
        };
        let mut at = 0u32;
        let mut arguments = Vec::new();
        for (own, ty) in params {
            // Small structs travel in registers, one word each.
            let words =
                if matches!(ty, Type::Struct(_)) { size_of(&ty, &self.types.aggregates).div_ceil(8) } else { 1 };
            arguments.push((at, own, ty));
            at = at.saturating_add(words);
        }
        Some((arguments, at))
    }

    /// `retval` with the type that the function returns.
    fn typed_result(&mut self, module: Option<&str>, function: &str, span: Span) -> Option<Expr> {
        let (_, words) = self.arguments(module, function, span)?;
        let ret = self.types.function(module, function)?.ret;
        if ret == Type::Void {
            self.error("no-result", format!("`{function}` returns nothing"), span).label("there is no value");
            return None;
        }
        self.argument_value(words, &ret, span)
    }

    /// The value that begins with word `n` of the context.
    fn argument_value(&mut self, n: u32, ty: &Type, span: Span) -> Option<Expr> {
        let by_value = matches!(ty, Type::Struct(_));
        if let Context::Trampoline { .. } = self.unit.context
            && (by_value || matches!(ty, Type::Ptr(..)))
        {
            return Some(Self::context_copy(n.saturating_mul(8), ty.clone(), span));
        }
        let size = size_of(ty, &self.types.aggregates);
        if !ty.is_scalar() && size > WORD {
            return None;
        }
        let place = access::argument(&self.unit.context, self.target.arch(), n)?;
        Some(Self::from_words([(0, size, Self::word_at(place, span))], ty, span))
    }

    /// A value from words: the byte at which each goes, and how many of its own count, from the low end.
    pub(super) fn from_words(words: impl IntoIterator<Item = (u32, u32, Expr)>, ty: &Type, span: Span) -> Expr {
        let mut words = words.into_iter();
        if ty.is_scalar()
            && let Some((_, _, word)) = words.next()
        {
            return convert(word, ty);
        }
        let mut parts = Vec::new();
        for (at, bytes, word) in words {
            let mut done = 0;
            while let Some(size) = [8u8, 4, 2, 1].into_iter().find(|&size| u32::from(size) <= bytes.min(WORD) - done) {
                let count = constant::typed_int(i128::from(done * 8), IntType::U64, span);
                let shifted = ExprKind::Binary(BinOp::Shr, Box::new(word.clone()), Box::new(count));
                let shifted = Expr { kind: shifted, ty: Type::U64, span };
                let part = if done == 0 { word.clone() } else { shifted };
                parts.push((at + done, convert(part, &Type::Int(IntType { size, signed: false }))));
                done += u32::from(size);
            }
        }
        Expr { kind: ExprKind::Parts(parts), ty: ty.clone(), span }
    }

    /// A value of the context, read like any other memory of the kernel. What the verifier takes for a pointer to a kernel's object
    /// when it is loaded, and then allows no arithmetic with, is a number so.
    pub(super) fn context_copy(offset: u32, ty: Type, span: Span) -> Expr {
        let address = Self::context_address(offset, ty.clone(), span);
        Expr { kind: ExprKind::Deref(Box::new(address)), ty, span }
    }

    fn context_address(offset: u32, ty: Type, span: Span) -> Expr {
        let pointer = Type::Ptr(Rc::new(Type::Void), AddrSpace::Ctx);
        let context = Expr { kind: ExprKind::Context, ty: pointer, span };
        let address = Expr { kind: ExprKind::Cast(Box::new(context)), ty: Type::U64, span };
        let bytes = constant::typed_int(i128::from(offset), IntType::U64, span);
        let sum = ExprKind::Binary(BinOp::Add, Box::new(address), Box::new(bytes));
        let sum = Expr { kind: sum, ty: Type::U64, span };
        let pointer = Type::Ptr(Rc::new(ty), AddrSpace::Kernel);
        Expr { kind: ExprKind::Cast(Box::new(sum)), ty: pointer, span }
    }

    fn no_prototype(&mut self, what: &str, span: Span) {
        self.error("no-prototype", format!("the kernel's BTF does not name the arguments of {what}"), span)
            .help("use `arg0`, `arg1` and so on, with casts");
    }

    fn argument_named(&mut self, owner: &str, arguments: &[Argument], name: &ast::Name, span: Span) -> Option<Expr> {
        let Some((n, _, ty)) = arguments.iter().find(|(_, own, _)| *own == name.node).cloned() else {
            let names: Vec<&str> = arguments.iter().map(|(_, own, _)| own.as_str()).collect();
            let close = closest(&name.node, names.iter().copied()).map(str::to_owned);
            self.error("unknown-argument", format!("{owner} has no argument `{}`", name.node), name.span)
                .label("no such argument")
                .note(format!("its arguments are: {}", names.join(", ")))
                .suggest(close);
            return None;
        };
        let value = self.argument_value(n, &ty, span);
        if value.is_none() {
            let is = self.name(&ty);
            self.error("argument-by-value", format!("`{}` is {is}, passed by value", name.node), span)
                .help(format!("read its first word with `arg{n}`"));
        }
        value
    }

    fn record_format(&mut self, category: &str, event: &str, span: Span) -> Option<String> {
        match self.target.tracepoint_format(category, event) {
            Ok(text) => Some(text),
            Err(why) => {
                let report = self.error(
                    "no-format",
                    format!("the fields of tracepoint {category}:{event} cannot be read: {why}"),
                    span,
                );
                if matches!(why, TargetError::NoTracefs(_)) {
                    report.help("mount it: `mount -t tracefs tracefs /sys/kernel/tracing`");
                }
                None
            }
        }
    }

    fn record_field(&mut self, category: &str, event: &str, name: &ast::Name, span: Span) -> Option<Expr> {
        let text = self.record_format(category, event, span)?;
        let format = parse_format(&text);
        let Some(at) = format.iter().position(|f| f.name == name.node) else {
            let names: Vec<&str> =
                format.iter().map(|f| f.name.as_str()).filter(|name| !name.starts_with("common_")).collect();
            let close = closest(&name.node, names.iter().copied()).map(str::to_owned);
            self.error(
                "unknown-field",
                format!("tracepoint {category}:{event} has no field `{}`", name.node),
                name.span,
            )
            .label("no such field")
            .note(format!("its fields are: {}", names.join(", ")))
            .suggest(close);
            return None;
        };
        let wanted = format.get(at..=at)?;
        if wanted.iter().any(|f| f.offset < HIDDEN_BYTES) {
            self.error("hidden-field", format!("`{}` cannot be read by a BPF program", name.node), name.span)
                .label("the kernel hides the fields that all tracepoints share")
                .help("`tid` is the thread that was running, `cpu` its processor");
            return None;
        }
        let field = record_fields(wanted, category == "syscalls", &mut self.types).into_iter().next()?;
        let dynamic = wanted.iter().any(is_data_loc);
        let word = Self::context_word(field.offset, field.ty, span);
        if !dynamic {
            return Some(word);
        }
        let word = match wanted.first() {
            // Counted from the end of the word, and not from the start of the record. The place is in the low half.
            Some(f) if f.ty.starts_with("__rel_loc") => {
                let end = constant::typed_int(i128::from(f.offset + f.size), IntType::U32, span);
                let sum = ExprKind::Binary(BinOp::Add, Box::new(word), Box::new(end));
                Expr { kind: sum, ty: Type::U32, span }
            }
            _ => word,
        };
        let target = wanted.first().map_or(Type::Void, |field| data_loc_target(field, &mut self.types));
        let ty = Type::Ptr(Rc::new(target), AddrSpace::Kernel);
        Some(Expr { kind: ExprKind::Call(Op::DataLoc, vec![word]), ty, span })
    }

    /// Refuses a function outside of the probes of these providers.
    pub(crate) fn only_in(&mut self, function: &str, providers: &[&str], span: Span) -> Option<()> {
        let name = self.unit.provider.map_or("", |row| row.name);
        if providers.contains(&name) {
            return Some(());
        }
        let at = self.unit.point_span;
        self.error("not-available-here", format!("{function} is not available in {name} probes"), span)
            .note(format!("{function} is available in: {}", providers.join(", ")))
            .also(at, "for this attach point");
        None
    }

    /// Address of a symbol of the traced binary, and its size: the probe knows where its own code is loaded.
    pub(crate) fn user_symbol(&mut self, name: &str, at: Span, span: Span) -> Option<(Expr, u64)> {
        self.only_in("uaddr()", &["uprobe", "uretprobe"], span)?;
        let [probe] = self.unit.points.as_slice() else {
            self.error("many-probes", "uaddr() needs an attach point of its own", span)
                .label("this action serves several attach points")
                .help("write one action per attach point");
            return None;
        };
        let Some(Attach::Uprobe { path, offset }) = self.probes.get(*probe).map(|desc| desc.attach.clone()) else {
            return None;
        };
        let Some(found) = self.target.user_symbol(&path, name, offset) else {
            self.error("unknown-symbol", format!("{path} has no symbol `{name}`"), at)
                .help("`nm` and `nm -D` list the symbols of a file");
            return None;
        };
        let ip = if self.unit.kind == ProgramKind::Uprobe {
            Self::context_word(registers(self.target.arch()).ip, Type::U64, span)
        } else if self.target.has(Feature::UserFuncIp) {
            Expr { kind: ExprKind::Call(Op::FunctionAddress, Vec::new()), ty: Type::U64, span }
        } else {
            self.error("kernel-feature", "this kernel does not tell a uretprobe where its function is", span)
                .label("needs Linux 6.7")
                .help("call uaddr() in the uprobe of the same function, and keep the address in a map");
            return None;
        };
        let distance = constant::typed_int(i128::from(found.distance), IntType::U64, span);
        let sum = ExprKind::Binary(BinOp::Add, Box::new(ip), Box::new(distance));
        Some((Expr { kind: sum, ty: Type::U64, span }, found.size))
    }

    /// The code segment that says in which ring the processor ran: of the interrupted code in a perf event, else of the task's entry
    /// into the kernel.
    pub(crate) fn code_segment(&self, span: Span) -> Expr {
        match (&self.unit.context, registers(self.target.arch()).named("cs")) {
            (Context::PerfEvent, Some(offset)) => Self::context_word(offset, Type::U64, span),
            _ => Expr { kind: ExprKind::Call(Op::TaskCodeSegment, Vec::new()), ty: Type::U64, span },
        }
    }

    /// True when a signal may be sent from this program.
    pub(crate) fn runs_in_a_process(&self) -> bool {
        self.unit.function.is_some() || !matches!(self.unit.kind, ProgramKind::RawTpRun)
    }
}
