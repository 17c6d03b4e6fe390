//! Expressions. A result of `None` means that the reason has been reported, or that a type is not known yet in this pass.

use std::rc::Rc;

use tapline_grammar::ast;
use tapline_grammar::span::Span;

use super::access::{decay, place_space};
use super::flow::Flow;
use super::{Checker, constant, convert};
use crate::builtins::{self, Call};
use crate::probes::registers::registers;
use crate::program::{Aggregate, MapId};
use crate::similar::closest;
use crate::syscalls;
use crate::typed::{Expr, ExprKind, Op};
use crate::types::constants;
use crate::types::{AddrSpace, IntType, Type};

impl Checker<'_> {
    /// An expression that has a value.
    pub(crate) fn value_expr(&mut self, expr: &ast::Expr) -> Option<Expr> {
        let value = self.expr(expr)?;
        if value.ty == Type::Void {
            self.error("no-value", "this has no value", expr.span).help("call it as a statement of its own");
            return None;
        }
        Some(value)
    }

    /// Any expression.
    pub(crate) fn expr(&mut self, expr: &ast::Expr) -> Option<Expr> {
        use ast::ExprKind as E;
        let span = expr.span;
        match &expr.kind {
            E::Int { value, .. } => Some(constant::int(i128::from(*value), span)),
            E::Str(bytes) => Some(constant::text(bytes, span)),
            E::Bool(truth) => Some(constant::bool(*truth, span)),
            E::Ident(name) => self.identifier(name, span),
            E::Var(name) => self.variable(name, span),
            E::Map { name, key } => self.map_get(name, key.as_deref(), span),
            E::Call { name, args } => self.call(name, args, span),
            E::Unary { op, expr } => self.unary(*op, expr, span),
            E::IncDec { inc, prefix, expr } => self.inc_dec(*inc, *prefix, expr, span),
            E::Binary { op, lhs, rhs } => self.binary(*op, lhs, rhs, span),
            E::Ternary { cond, then, otherwise } => self.ternary(cond, then.as_deref(), otherwise, span),
            E::Field { base, name, .. } => match &base.kind {
                E::TypeInfo(of) => self.type_info_field(of, name, span),
                _ => self.field(base, name, span),
            },
            E::TupleIndex { base, index } => {
                let base = self.value_expr(base)?;
                self.element(base, *index, span)
            }
            E::Index { base, index } => self.index(base, index, span),
            E::Cast { ty, expr } => self.cast(ty, expr, span),
            E::Tuple(members) => {
                let members: Vec<Option<Expr>> = members.iter().map(|e| self.value_expr(e)).collect();
                let members = members.into_iter().collect::<Option<Vec<Expr>>>()?;
                let members: Vec<Expr> = members.into_iter().map(|e| self.unfollowed(e)).collect();
                let ty = Type::Tuple(members.iter().map(|e| e.ty.clone()).collect());
                Some(Expr { kind: ExprKind::Tuple(members), ty, span })
            }
            E::Record(members) => {
                let values: Vec<Option<Expr>> = members.iter().map(|(_, e)| self.value_expr(e)).collect();
                let values = values.into_iter().collect::<Option<Vec<Expr>>>()?;
                let values: Vec<Expr> = values.into_iter().map(|e| self.unfollowed(e)).collect();
                for (at, (name, _)) in members.iter().enumerate() {
                    if let Some((first, _)) = members.iter().take(at).find(|(other, _)| other.node == name.node) {
                        let first = first.span;
                        self.error(
                            "record-field",
                            format!("the record has two fields named `{}`", name.node),
                            name.span,
                        )
                        .also(first, "first here");
                    }
                }
                let names = members.iter().zip(&values).map(|((name, _), e)| (name.node.clone(), e.ty.clone()));
                let ty = Type::Record(names.collect());
                Some(Expr { kind: ExprKind::Tuple(values), ty, span })
            }
            E::SizeOf(of) => self.size(of, span),
            E::OffsetOf { of, fields } => self.offset(of, fields, span),
            E::HasField { of, fields } => Some(self.has_field(of, fields, span)),
            E::Block(block) => self.block_expr(block, span),
            E::If(it) => self.if_expr(it, span),
            E::Comptime(inner) => {
                let value = self.value_expr(inner)?;
                let known = constant::value(&value).is_some() || constant::string(&value).is_some();
                if !known {
                    self.error("not-constant", "this is not known while compiling", inner.span);
                    return None;
                }
                Some(value)
            }
            E::TypeInfo(of) => {
                let (names, values): (Vec<_>, Vec<_>) = self.type_info(of, span)?.into_iter().unzip();
                let types = names.into_iter().map(str::to_owned).zip(values.iter().map(|e| e.ty.clone()));
                Some(Expr { ty: Type::Record(types.collect()), kind: ExprKind::Tuple(values), span })
            }
            E::Type(ty) => {
                self.error("type-as-value", "a type has no value", ty.span).help("use `sizeof(…)` or a cast");
                None
            }
            // `expand` has replaced parameters; the parser has reported errors.
            E::Param(_) | E::ParamCount | E::Error => None,
        }
    }

    /// The fields of `typeinfo(x)`.
    fn type_info(&mut self, of: &ast::TypeOrExpr, span: Span) -> Option<[(&'static str, Expr); 3]> {
        self.allowed("unstable_typeinfo", "typeinfo()", span)?;
        let ty = self.type_or_expr(of)?;
        let full = self.name(&ty);
        let base = match &ty {
            Type::Int(_) | Type::Enum { .. } => "int".to_owned(),
            Type::Str(_) | Type::ErrorText | Type::SignalName | Type::SyscallName => "string".to_owned(),
            Type::Buf(_) => "buffer".to_owned(),
            Type::Ptr(..) => "pointer".to_owned(),
            Type::Array(..) => "array".to_owned(),
            Type::Tuple(_) => "tuple".to_owned(),
            Type::Record(_) => "record".to_owned(),
            Type::Struct(_) => "c_type".to_owned(),
            Type::Stack { user, .. } => if *user { "ustack" } else { "kstack" }.to_owned(),
            Type::Inet => "inet".to_owned(),
            // The sign is not part of the kind.
            Type::Aggregate(_) => full.trim_start_matches('u').to_owned(),
            _ => full.clone(),
        };
        // No program carries the kernel's numbers of types, which differ from one to the next.
        let btf_id = constant::int(0, span);
        let [base, full] = [base, full].map(|text| constant::text(text.as_bytes(), span));
        Some([("btf_id", btf_id), ("base_type", base), ("full_type", full)])
    }

    /// One of them, which is known while compiling.
    fn type_info_field(&mut self, of: &ast::TypeOrExpr, name: &ast::Name, span: Span) -> Option<Expr> {
        let fields = self.type_info(of, span)?;
        let found = fields.into_iter().find(|(own, _)| *own == name.node);
        if found.is_none() {
            self.error("typeinfo", format!("`typeinfo` has no `{}`", name.node), name.span)
                .help("it has `base_type`, `full_type` and `btf_id`");
        }
        found.map(|(_, value)| value)
    }

    /// A bare name: builtin, enumerator or header constant.
    fn identifier(&mut self, name: &str, span: Span) -> Option<Expr> {
        if let Some(row) = builtins::find(name) {
            let call = Call { row, args: &[], span };
            return self.builtin(&call);
        }
        if let Some(n) = numbered(name, "arg") {
            return self.argument(n, span);
        }
        if name == "args" {
            return self.all_arguments(span);
        }
        if let Some(value) = constants::lookup(name) {
            return Some(constant::int(i128::from(value), span));
        }
        if let Some((ty, value)) = self.types.enumerator(name) {
            return Some(Expr { kind: ExprKind::Int(value), ty, span });
        }
        if let Some(call) = ["__NR_", "SYS_"].iter().find_map(|prefix| name.strip_prefix(prefix))
            && let Some(number) = syscalls::number(self.target.arch(), call)
        {
            return Some(constant::int(i128::from(number), span));
        }
        if let Some(value) = constants::fallback(name) {
            return Some(constant::int(i128::from(value), span));
        }
        if let Some(n) = numbered(name, "sarg") {
            return self.stack_argument(n, span);
        }
        if let Some(row) = self.former(name, span) {
            return self.builtin(&Call { row, args: &[], span });
        }
        let names = builtins::names().chain(["args", "arg0", "arg1"]).chain(constants::names());
        let close = closest(name, names).map(str::to_owned);
        let variable = self.scope.find(name).is_some();
        let constant =
            close.is_none() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        let report = self
            .error("unknown-name", format!("unknown name `{name}`"), span)
            .label("no builtin, constant or enumerator of this name");
        if variable {
            report.help(format!("variables are written with a dollar sign: `${name}`"));
        } else if constant {
            report.help(format!(
                "a constant of a header that tapline does not know is defined with `#define {name} value`"
            ));
        } else {
            report.suggest(close);
        }
        None
    }

    /// The row that a name of a former release means, with a note the first time.
    pub(crate) fn former(&mut self, name: &str, span: Span) -> Option<&'static builtins::Row> {
        let row = builtins::find_former(name)?;
        self.former_name(name, row.name, span);
        Some(row)
    }

    /// `sarg0`: the first argument that is not in a register.
    fn stack_argument(&mut self, n: u32, span: Span) -> Option<Expr> {
        let n = n.saturating_add(registers(self.target.arch()).args.len() as u32);
        self.former_name("sarg0", &format!("arg{}", registers(self.target.arch()).args.len()), span);
        self.argument(n, span)
    }

    fn former_name(&mut self, name: &str, now: &str, span: Span) {
        let message = format!("`{name}` is now called `{now}`");
        if !self.diagnostics.iter().any(|d| d.message == message) {
            self.note("former-name", message, span);
        }
    }

    /// `$name`.
    fn variable(&mut self, name: &str, span: Span) -> Option<Expr> {
        if let Some(id) = self.scope.find(name) {
            if let Some(var) = self.scope.var_mut(id) {
                var.read.get_or_insert(span);
            }
            let ty = self.scope.flow(id)?.ty();
            return Some(Expr { kind: ExprKind::Var(id), ty, span });
        }
        if self.scope.ended(name) {
            self.scope.hoist(name);
            return None;
        }
        // A macro's own variables carry a number behind their name.
        let name = name.split('\'').next().unwrap_or(name);
        let names = self.scope.names();
        let close = closest(name, names.iter().map(String::as_str)).map(|n| format!("${n}"));
        self.error("unknown-variable", format!("undefined variable ${name}"), span)
            .label("nothing is assigned to it before")
            .suggest(close);
        None
    }

    /// `@name[key]` as a value.
    pub(crate) fn map_get(&mut self, name: &str, key: Option<&[ast::Expr]>, span: Span) -> Option<Expr> {
        let (map, key) = self.map_access(name, key, span)?;
        self.map_element(map, key.map(Box::new), span)
    }

    /// The value of a map's element.
    pub(crate) fn map_element(&mut self, map: MapId, key: Option<Box<Expr>>, span: Span) -> Option<Expr> {
        let ty = self.map_value(map, span)?.ty();
        let ty = match ty {
            Type::Aggregate(aggregate) => {
                let Some(int) = reduced(aggregate) else {
                    let name = self.map_name(map);
                    self.error(
                        "histogram-value",
                        format!("@{name} holds {}, which are not numbers", plural(aggregate)),
                        span,
                    )
                    .help(format!("print it as a whole: `print(@{name})`"));
                    return None;
                };
                Type::Int(int)
            }
            ty => ty,
        };
        Some(Expr { kind: ExprKind::MapGet { map, key }, ty, span })
    }

    /// The value of a `stats()` map as the record that it is where it is shown, also inside of tuples; elsewhere it counts as
    /// its average.
    pub(crate) fn shown(&self, value: Expr) -> Expr {
        let Expr { kind, ty, span } = value;
        match kind {
            ExprKind::MapGet { map, key } => {
                let ty = match self.peek_value(map) {
                    Some(Flow::Of(Type::Aggregate(Aggregate::Stats { signed }))) => mean_record(signed),
                    _ => ty,
                };
                Expr { kind: ExprKind::MapGet { map, key }, ty, span }
            }
            ExprKind::Tuple(members) if matches!(ty, Type::Tuple(_)) => {
                let members: Vec<Expr> = members.into_iter().map(|member| self.shown(member)).collect();
                let ty = Type::Tuple(members.iter().map(|member| member.ty.clone()).collect());
                Expr { kind: ExprKind::Tuple(members), ty, span }
            }
            kind => Expr { kind, ty, span },
        }
    }

    fn call(&mut self, name: &ast::Name, args: &[ast::Expr], span: Span) -> Option<Expr> {
        if let Some(row) = builtins::find(&name.node) {
            let call = Call { row, args, span };
            return self.builtin(&call);
        }
        if args.is_empty()
            && let Some(n) = numbered(&name.node, "arg")
        {
            return self.argument(n, span);
        }
        if let Some(id) = self.function_named(&name.node) {
            return self.call_function(id, args, span);
        }
        if let Some(row) = self.former(&name.node, name.span) {
            return self.builtin(&Call { row, args, span });
        }
        let script = self.script;
        let own: Vec<&str> = script.functions.iter().map(|f| f.name.node.as_str()).collect();
        let close = closest(&name.node, own).or_else(|| closest(&name.node, builtins::names())).map(str::to_owned);
        self.error("unknown-function", format!("unknown function `{}`", name.node), name.span)
            .label("no function of this name")
            .suggest(close);
        None
    }

    /// `(T)e`.
    fn cast(&mut self, ty: &ast::TypeExpr, operand: &ast::Expr, span: Span) -> Option<Expr> {
        let operand = self.value_expr(operand);
        let to = self.type_expr(ty, operand.as_ref());
        let (operand, to) = (operand?, to?);
        self.cast_to(operand, to, span)
    }

    /// An explicit cast, which may lose bits.
    pub(crate) fn cast_to(&mut self, operand: Expr, to: Type, span: Span) -> Option<Expr> {
        // As in C, an array in memory is where its first element lies.
        if let (Type::Array(..) | Type::Str(_), Type::Ptr(target, _)) = (&operand.ty, &to)
            && place_space(&operand).is_some()
        {
            return Some(Expr { span, ..self.unfollowed(decay(operand, (**target).clone())) });
        }
        let (operand, to) = self.off_context_cast(operand, to);
        if let (Some(text), Type::Bool) = (constant::string(&operand), &to) {
            return Some(constant::bool(!text.is_empty(), span));
        }
        let size = |ty: &Type| crate::types::layout::size_of(ty, &self.types.aggregates);
        let bytes = |elem: &Type| matches!(elem, Type::Int(_) | Type::Bool);
        let plain = |ty: &Type| matches!(ty, Type::Bool | Type::Int(_) | Type::Enum { .. } | Type::Ptr(..));
        let fits = match (&operand.ty, &to) {
            (from, to) if from == to || plain(from) && plain(to) => true,
            // The bytes of a number, and zeros behind them.
            (from @ Type::Int(_), Type::Array(elem, _)) => bytes(elem) && size(from) <= size(&to),
            (Type::Array(elem, _), Type::Int(_)) => bytes(elem) && size(&operand.ty) == size(&to),
            (Type::Tuple(from), Type::Tuple(into)) => from.len() == into.len(),
            (from, to) => matches!(
                (from, to),
                (
                    Type::Int(_) | Type::Enum { .. },
                    Type::KernelSymbol | Type::Username | Type::ErrorText | Type::SignalName | Type::SyscallName
                ) | (Type::KernelSymbol | Type::Username, Type::Int(_))
                    | (Type::Str(_), Type::Str(_))
                    | (Type::Buf(_), Type::Buf(_))
            ),
        };
        if !fits {
            let (from, into) = (self.name(&operand.ty), self.name(&to));
            self.error("invalid-cast", format!("{from} cannot be cast to {into}"), span)
                .also(operand.span, format!("this is {from}"));
            return None;
        }
        if matches!(to, Type::KernelSymbol) {
            return Some(Expr { kind: ExprKind::Call(Op::KernelSymbol, vec![operand]), ty: to, span });
        }
        // The cast stays, also of a literal: its type is settled.
        Some(Expr { kind: ExprKind::Cast(Box::new(operand)), ty: to, span })
    }

    /// A cast of the context: the verifier follows it as the struct that it is; as anything else it becomes a number.
    fn off_context_cast(&self, operand: Expr, to: Type) -> (Expr, Type) {
        let is_context = |ty: &Type| matches!(ty, Type::Ptr(_, AddrSpace::Ctx));
        match &to {
            _ if !is_context(&operand.ty) => (operand, to),
            Type::Ptr(target, AddrSpace::Ctx) if self.is_context(target) => (operand, to),
            Type::Ptr(target, AddrSpace::Ctx) => {
                let to = Type::Ptr(Rc::clone(target), AddrSpace::Kernel);
                (self.unfollowed(operand), to)
            }
            _ => (self.unfollowed(operand), to),
        }
    }

    /// An argument as a literal string.
    pub(crate) fn literal_string(&mut self, what: &str, arg: &ast::Expr) -> Option<Vec<u8>> {
        if let ast::ExprKind::Str(bytes) = &arg.kind {
            return Some(bytes.clone());
        }
        let value = self.value_expr(arg)?;
        let Some(bytes) = constant::string(&value) else {
            let is = self.name(&value.ty);
            let label = match value.ty {
                Type::Str(_) => "this is known only while running".to_owned(),
                _ => format!("this is {is}"),
            };
            self.error("not-literal", format!("{what} is a literal string"), arg.span).label(label);
            return None;
        };
        Some(bytes.to_vec())
    }

    /// An argument as a constant number.
    pub(crate) fn literal_number(&mut self, what: &str, arg: &ast::Expr) -> Option<i64> {
        let value = self.value_expr(arg)?;
        let number = constant::value(&value).and_then(|n| i64::try_from(n).ok());
        if number.is_none() {
            self.error("not-literal", format!("{what} is a constant number"), arg.span)
                .label("this is known only while running");
        }
        number
    }

    /// An argument as a number at run time, in 64 bits.
    pub(crate) fn number_arg(&mut self, function: &str, arg: &ast::Expr) -> Option<Expr> {
        let value = self.value_expr(arg)?;
        if let Some(int) = super::operators::as_int(&value.ty) {
            // Literals are signed where that is enough.
            let signed = match self.flow_of(&value) {
                Flow::Flex(n) => i64::try_from(n).is_ok(),
                _ => int.signed,
            };
            return Some(convert(value, &if signed { Type::I64 } else { Type::U64 }));
        }
        if matches!(value.ty, Type::Ptr(..)) {
            return Some(convert(value, &Type::U64));
        }
        let is = self.name(&value.ty);
        self.error("argument-type", format!("{function}() takes a number, not {is}"), arg.span)
            .label(format!("this is {is}"));
        None
    }
}

/// The number after a prefix: `arg12`.
fn numbered(name: &str, prefix: &str) -> Option<u32> {
    let digits = name.strip_prefix(prefix)?;
    if digits.is_empty() || digits.len() > 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// What a map of `stats()` or `avg()` tells about a key.
pub(crate) fn mean_record(signed: bool) -> Type {
    let number = Type::Int(IntType { size: 8, signed });
    let members = [("count", Type::U64), ("average", number.clone()), ("total", number)];
    Type::Record(members.map(|(name, ty)| (name.to_owned(), ty)).into())
}

/// What a map of an aggregation that is no number holds.
pub(crate) fn plural(aggregate: Aggregate) -> &'static str {
    if matches!(aggregate, Aggregate::Series { .. }) { "time series" } else { "histograms" }
}

/// The integer type of an aggregation's value in an expression; `None` for histograms.
pub(crate) fn reduced(aggregate: Aggregate) -> Option<IntType> {
    match aggregate {
        Aggregate::Count => Some(IntType::U64),
        Aggregate::Sum { signed }
        | Aggregate::Min { signed }
        | Aggregate::Max { signed }
        | Aggregate::Avg { signed }
        | Aggregate::Stats { signed } => Some(IntType { size: 8, signed }),
        Aggregate::Hist { .. } | Aggregate::LinearHist { .. } | Aggregate::Series { .. } => None,
    }
}
