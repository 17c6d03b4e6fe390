//! The typed tree as text, for `-d types` and for tests: the script again, with the type behind every expression whose type
//! cannot be read off it, and with every coercion.

use std::fmt::Write as _;

use super::operators::{comparison_symbol, symbol};
use crate::index::IndexVec;
use crate::program::{ActionKind, MapId};
use crate::typed::{
    Block, Expr, ExprKind, MapOp, Place, Stmt, StmtKind, TypedFunction, TypedProgram, TypedScript, TypedVar, UnOp,
    VarId,
};
use crate::types::display::display;
use crate::types::{AddrSpace, Type};

/// The whole script.
pub fn print(script: &TypedScript) -> String {
    let mut out = String::new();
    for map in &script.maps {
        let name = |ty: &Type| display(ty, &script.aggregates);
        let key = map.key.as_ref().map(|key| format!("[{}]", name(key))).unwrap_or_default();
        let _ = writeln!(out, "@{}{key}: {}", map.name, name(&map.value));
    }
    for function in &script.functions {
        Printer { script, vars: &function.vars }.function(function, &mut out);
    }
    for program in &script.programs {
        Printer { script, vars: &program.vars }.program(program, &mut out);
    }
    out
}

struct Printer<'s> {
    script: &'s TypedScript,
    vars: &'s IndexVec<VarId, TypedVar>,
}

impl Printer<'_> {
    fn function(&self, function: &TypedFunction, out: &mut String) {
        let typed = |id: &VarId| {
            let ty = self.vars.get(*id).map(|var| self.ty(&var.ty)).unwrap_or_default();
            format!("{}: {ty}", self.var(*id))
        };
        let params: Vec<String> = function.params.iter().map(typed).collect();
        let _ = writeln!(out, "\nfn {}({}): {}", function.name, params.join(", "), self.ty(&function.ret));
        self.body(&function.body, &function.params, out);
    }

    fn program(&self, program: &TypedProgram, out: &mut String) {
        let names: Vec<&str> =
            program.probes.iter().filter_map(|id| self.script.probes.get(*id)).map(|p| p.name.as_str()).collect();
        let shown = match names.as_slice() {
            [first, rest @ ..] if rest.len() > 3 => format!("{first} and {} more", rest.len()),
            names => names.join(", "),
        };
        let _ = writeln!(out, "\n{shown} ({:?})", program.kind);
        if let Some(pid) = program.filter.pid {
            let _ = writeln!(out, "pid {pid}");
        }
        if let Some(cgroup) = program.filter.cgroup {
            let _ = writeln!(out, "cgroup {}", cgroup.id);
        }
        if let Some(predicate) = &program.predicate {
            let _ = writeln!(out, "/{}/", self.expr(predicate));
        }
        self.body(&program.body, &[], out);
    }

    /// The variables that are no parameters, then the statements.
    fn body(&self, body: &Block, params: &[VarId], out: &mut String) {
        let _ = writeln!(out, "{{");
        for (_, var) in self.vars.enumerate().filter(|(id, _)| !params.contains(id)) {
            let _ = writeln!(out, "  let ${}: {};", var.name, self.ty(&var.ty));
        }
        self.block(body, 1, out);
        let _ = writeln!(out, "}}");
    }

    fn ty(&self, ty: &Type) -> String {
        let name = display(ty, &self.script.aggregates);
        match ty {
            Type::Ptr(_, AddrSpace::User) => format!("user {name}"),
            Type::Ptr(_, AddrSpace::Ctx) => format!("ctx {name}"),
            Type::Ptr(_, AddrSpace::Bpf) => format!("bpf {name}"),
            _ => name,
        }
    }

    fn block(&self, block: &Block, depth: usize, out: &mut String) {
        for stmt in &block.stmts {
            self.stmt(stmt, depth, out);
        }
        if let Some(value) = &block.value {
            let _ = writeln!(out, "{:indent$}{}", "", self.expr(value), indent = depth * 2);
        }
    }

    fn braces(&self, head: &str, block: &Block, depth: usize, out: &mut String) {
        let indent = depth * 2;
        let _ = writeln!(out, "{:indent$}{head}{{", "");
        self.block(block, depth + 1, out);
        let _ = writeln!(out, "{:indent$}}}", "");
    }

    fn stmt(&self, stmt: &Stmt, depth: usize, out: &mut String) {
        let indent = depth * 2;
        let line = match &stmt.kind {
            StmtKind::Expr(expr) => self.expr(expr),
            StmtKind::Assign { place, value } => format!("{} = {}", self.place(place), self.expr(value)),
            StmtKind::Update { place, op, value } => {
                format!("{} {}= {}", self.place(place), symbol(*op), self.expr(value))
            }
            StmtKind::Aggregate { map, key, value } => {
                let kind = self.script.maps.get(*map).map(|m| self.ty(&m.value)).unwrap_or_default();
                let value = value.as_ref().map(|v| self.expr(v)).unwrap_or_default();
                format!("{} = {kind}({value})", self.map(*map, key.as_ref()))
            }
            StmtKind::Send { action, args } => {
                let kind = self.script.actions.get(*action).map(|a| action_name(&a.kind)).unwrap_or_default();
                format!("send {kind}({})", self.list(args))
            }
            StmtKind::If { cond, then, otherwise } => {
                self.braces(&format!("if ({}) ", self.expr(cond)), then, depth, out);
                if !otherwise.stmts.is_empty() {
                    self.braces("else ", otherwise, depth, out);
                }
                return;
            }
            StmtKind::While { cond, body } => {
                return self.braces(&format!("while ({}) ", self.expr(cond)), body, depth, out);
            }
            StmtKind::Unroll { count, body } => return self.braces(&format!("unroll ({count}) "), body, depth, out),
            StmtKind::ForRange { var, start, end, body } => {
                let head = format!("for ({} : {}..{}) ", self.var(*var), self.expr(start), self.expr(end));
                return self.braces(&head, body, depth, out);
            }
            StmtKind::ForMap { var, map, body } => {
                let head = format!("for ({} : {}) ", self.var(*var), self.map(*map, None));
                return self.braces(&head, body, depth, out);
            }
            StmtKind::Break => "break".into(),
            StmtKind::Continue => "continue".into(),
            StmtKind::Return(None) => "return".into(),
            StmtKind::Return(Some(value)) => format!("return {}", self.expr(value)),
            StmtKind::Block(block) => return self.braces("", block, depth, out),
        };
        let _ = writeln!(out, "{:indent$}{line};", "");
    }

    fn var(&self, id: VarId) -> String {
        self.vars.get(id).map(|v| format!("${}", v.name)).unwrap_or_default()
    }

    fn map(&self, id: MapId, key: Option<&Expr>) -> String {
        let name = self.script.maps.get(id).map(|m| m.name.as_str()).unwrap_or_default();
        match key {
            Some(key) => format!("@{name}[{}]", self.expr(key)),
            None => format!("@{name}"),
        }
    }

    fn place(&self, place: &Place) -> String {
        match place {
            Place::Var(id) => self.var(*id),
            Place::Map { map, key } => self.map(*map, key.as_deref()),
        }
    }

    fn list(&self, exprs: &[Expr]) -> String {
        exprs.iter().map(|e| self.expr(e)).collect::<Vec<_>>().join(", ")
    }

    fn expr(&self, expr: &Expr) -> String {
        let two = |op: &str, lhs: &Expr, rhs: &Expr| format!("({} {op} {})", self.expr(lhs), self.expr(rhs));
        match &expr.kind {
            ExprKind::Int(bits) => match &expr.ty {
                Type::Bool => (*bits != 0).to_string(),
                Type::Int(int) if int.size == 8 && !int.signed => format!("{}:{}", *bits as u64, self.ty(&expr.ty)),
                ty => format!("{bits}:{}", self.ty(ty)),
            },
            ExprKind::Str(bytes) => format!("{:?}:{}", String::from_utf8_lossy(bytes), self.ty(&expr.ty)),
            ExprKind::Var(id) => self.var(*id),
            ExprKind::MapGet { map, key } => self.map(*map, key.as_deref()),
            ExprKind::MapCall { op, map, key } => {
                let name = match op {
                    MapOp::HasKey => "has_key",
                    MapOp::Delete => "delete",
                    MapOp::Len => "len",
                };
                format!("{name}({})", self.map(*map, key.as_deref()))
            }
            ExprKind::Context => "ctx".into(),
            ExprKind::Call(op, args) => {
                let args = if args.is_empty() { String::new() } else { format!("({})", self.list(args)) };
                format!("{op:?}{args}:{}", self.ty(&expr.ty))
            }
            ExprKind::CallFn(id, args) => {
                let name = self.script.functions.get(*id).map(|f| f.name.as_str()).unwrap_or_default();
                format!("{name}({})", self.list(args))
            }
            ExprKind::Unary(op, operand) => {
                let sign = match op {
                    UnOp::Not => "!",
                    UnOp::BitNot => "~",
                    UnOp::Neg => "-",
                };
                format!("{sign}{}", self.expr(operand))
            }
            ExprKind::Binary(op, lhs, rhs) => two(symbol(*op), lhs, rhs),
            ExprKind::Compare(op, lhs, rhs) => two(comparison_symbol(*op), lhs, rhs),
            ExprKind::Logical { and, lhs, rhs } => two(if *and { "&&" } else { "||" }, lhs, rhs),
            ExprKind::Ternary { cond, then, otherwise } => {
                format!("({} ? {} : {})", self.expr(cond), self.expr(then), self.expr(otherwise))
            }
            ExprKind::Cast(inner) => format!("({}){}", self.ty(&expr.ty), self.expr(inner)),
            ExprKind::Deref(pointer) => format!("*{}", self.expr(pointer)),
            ExprKind::Field { base, offset, bits } => {
                let bits = bits.map(|b| format!(":{}+{}", b.shift, b.width)).unwrap_or_default();
                format!("({}).+{offset}{bits}:{}", self.expr(base), self.ty(&expr.ty))
            }
            ExprKind::Index { base, index } => {
                format!("{}[{}]:{}", self.expr(base), self.expr(index), self.ty(&expr.ty))
            }
            ExprKind::Tuple(members) => format!("({})", self.list(members)),
            ExprKind::Parts(parts) => {
                let part =
                    |(offset, part): &(u32, Expr)| format!("+{offset}:{} {}", self.ty(&part.ty), self.expr(part));
                format!("{}{{{}}}", self.ty(&expr.ty), parts.iter().map(part).collect::<Vec<_>>().join(", "))
            }
            ExprKind::Element { base, index } => format!("{}.{index}", self.expr(base)),
            ExprKind::AddrOf(place) => format!("&{}", self.expr(place)),
            ExprKind::IncDec { place, delta, prefix } => {
                let place = self.place(place);
                if *prefix { format!("({delta:+} then {place})") } else { format!("({place} then {delta:+})") }
            }
            ExprKind::Block(block) => {
                let mut inner = String::new();
                self.block(block, 0, &mut inner);
                format!("{{ {} }}", inner.trim_end().replace('\n', " "))
            }
        }
    }
}

fn action_name(kind: &ActionKind) -> String {
    match kind {
        ActionKind::Printf(_) => "printf".into(),
        ActionKind::PrintValue => "print".into(),
        ActionKind::PrintMap { map, top, div, .. } => format!("print map {map} {top} {div}"),
        ActionKind::ClearMap(map) => format!("clear {map}"),
        ActionKind::ZeroMap(map) => format!("zero {map}"),
        ActionKind::Exit => "exit".into(),
        ActionKind::Unwatch => "unwatch".into(),
        ActionKind::Packet { path, offset } => format!("packet to {path} from {offset}"),
        ActionKind::Time(_) => "time".into(),
        ActionKind::Join(_) => "join".into(),
        ActionKind::Cat(_) => "cat".into(),
        ActionKind::System(_) => "system".into(),
        ActionKind::Message { level, .. } => level.clone(),
    }
}
