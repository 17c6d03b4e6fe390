//! The printed form of a syntax tree: one statement a line, indented by blocks, expressions as S-expressions.
//!
//! Meant for `-d ast` and for tests; it is stable enough to compare, and nothing reads it back. Parentheses of the
//! source are gone, since the nesting says what they said.

use std::fmt::{self, Display, Formatter};

use crate::ast::{
    BinOp, Block, ConfigValue, Expr, ExprKind, IfStmt, Item, MacroParam, Name, Probe, Script, Stmt, StmtKind, TypeBase,
    TypeExpr, TypeOrExpr, TypeSuffix, UnOp,
};
use crate::c_ast::{CEnum, CItem, CItemKind, CRecord, CType};

impl Display for Script {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(line) = &self.shebang {
            writeln!(f, "shebang {}", line.node)?;
        }
        self.items.iter().try_for_each(|i| item(f, i))
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        expr(f, self, 0)
    }
}

impl Display for TypeExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.base {
            TypeBase::Struct(name) => write!(f, "struct {}", name.node)?,
            TypeBase::Union(name) => write!(f, "union {}", name.node)?,
            TypeBase::Enum(name) => write!(f, "enum {}", name.node)?,
            TypeBase::Named(name) => f.write_str(&name.node)?,
            TypeBase::TypeOf(inner) => write!(f, "typeof({inner})")?,
            TypeBase::Tuple(types) => {
                f.write_str("(")?;
                for (i, ty) in types.iter().enumerate() {
                    write!(f, "{}{ty}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str(")")?;
            }
        }
        for suffix in &self.suffixes {
            match suffix {
                TypeSuffix::Pointer => f.write_str("*")?,
                TypeSuffix::Array(None) => f.write_str("[]")?,
                TypeSuffix::Array(Some(length)) => write!(f, "[{length}]")?,
            }
        }
        Ok(())
    }
}

impl Display for TypeOrExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            TypeOrExpr::Type(ty) => write!(f, "type {ty}"),
            TypeOrExpr::Expr(expr) => write!(f, "{expr}"),
        }
    }
}

impl Display for CItem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            CItemKind::Include { path, system: true, .. } => write!(f, "(include <{path}>)"),
            CItemKind::Include { path, system: false, .. } => write!(f, "(include {path:?})"),
            CItemKind::Define { name, value: Some(value), .. } => write!(f, "(define {} {value})", name.node),
            CItemKind::Define { name, value: None, text } => write!(f, "(define {} text {text:?})", name.node),
            CItemKind::DefineFn { name, params, value, text } => {
                write!(f, "(define ({}{})", name.node, spaced(params))?;
                match value {
                    Some(value) => write!(f, " {value})"),
                    None => write!(f, " text {text:?})"),
                }
            }
            CItemKind::Undef(name) => write!(f, "(undef {})", name.node),
            CItemKind::Directive(line) => write!(f, "(directive {line:?})"),
            CItemKind::Record(def) => record(f, def, 0),
            CItemKind::Enum(def) => enumeration(f, def),
            CItemKind::Typedef { name, ty } => {
                write!(f, "(typedef {} ", name.node)?;
                c_type(f, ty, 0)?;
                f.write_str(")")
            }
            CItemKind::Forward => f.write_str("(forward)"),
        }
    }
}

fn spaced(names: &[Name]) -> String {
    names.iter().fold(String::new(), |text, name| text + " " + &name.node)
}

fn indent(f: &mut Formatter<'_>, level: usize) -> fmt::Result {
    write!(f, "{:1$}", "", level * 2)
}

fn item(f: &mut Formatter<'_>, item: &Item) -> fmt::Result {
    match item {
        Item::C(c) => writeln!(f, "{c}"),
        Item::Config(config) => {
            f.write_str("(config")?;
            for entry in &config.entries {
                match &entry.value.node {
                    ConfigValue::Int(value) => write!(f, " ({} {value})", entry.name.node)?,
                    ConfigValue::Str(value) => write!(f, " ({} {value:?})", entry.name.node)?,
                    ConfigValue::Bool(value) => write!(f, " ({} {value})", entry.name.node)?,
                }
            }
            f.write_str(")\n")
        }
        Item::Import(import) => writeln!(f, "(import {:?})", import.path.node),
        Item::MapDecl(decl) => writeln!(f, "(map @{} ({} {}))", decl.map.node, decl.kind.node, decl.max_entries),
        Item::Macro(def) => {
            write!(f, "(macro {} (", def.name.node)?;
            for (i, param) in def.params.iter().enumerate() {
                let gap = if i == 0 { "" } else { " " };
                match param {
                    MacroParam::Var(name) => write!(f, "{gap}${}", name.node)?,
                    MacroParam::Map(name) => write!(f, "{gap}@{}", name.node)?,
                    MacroParam::Expr(name) => write!(f, "{gap}{}", name.node)?,
                }
            }
            f.write_str(")")?;
            body(f, &def.body, 1)?;
            f.write_str(")\n")
        }
        Item::Fn(def) => {
            write!(f, "(fn {} (", def.name.node)?;
            for (i, (name, ty)) in def.params.iter().enumerate() {
                write!(f, "{}(${} : {ty})", if i == 0 { "" } else { " " }, name.node)?;
            }
            f.write_str(")")?;
            if let Some(ret) = &def.ret {
                write!(f, " : {ret}")?;
            }
            body(f, &def.body, 1)?;
            f.write_str(")\n")
        }
        Item::Probe(def) => probe(f, def),
    }
}

fn probe(f: &mut Formatter<'_>, probe: &Probe) -> fmt::Result {
    f.write_str("(probe")?;
    if let Some(name) = &probe.name {
        write!(f, " {}=", name.node)?;
    }
    for point in &probe.attach_points {
        f.write_str(if point.alternative { "\n  (alternative" } else { "\n  (attach" })?;
        for part in &point.parts {
            write!(f, " {:?}", part.node)?;
        }
        f.write_str(")")?;
    }
    if let Some(predicate) = &probe.predicate {
        f.write_str("\n  (predicate ")?;
        expr(f, predicate, 1)?;
        f.write_str(")")?;
    }
    body(f, &probe.body, 1)?;
    f.write_str(")\n")
}

/// Statements of a block, each on a line of its own.
fn body(f: &mut Formatter<'_>, block: &Block, level: usize) -> fmt::Result {
    for s in &block.stmts {
        f.write_str("\n")?;
        indent(f, level)?;
        stmt(f, s, level)?;
    }
    if let Some(value) = &block.value {
        f.write_str("\n")?;
        indent(f, level)?;
        f.write_str("=> ")?;
        expr(f, value, level)?;
    }
    Ok(())
}

fn stmt(f: &mut Formatter<'_>, stmt: &Stmt, level: usize) -> fmt::Result {
    match &stmt.kind {
        StmtKind::Expr(e) => expr(f, e, level),
        StmtKind::Let { var, ty, init } => {
            write!(f, "(let ${}", var.node)?;
            if let Some(ty) = ty {
                write!(f, " : {ty}")?;
            }
            if let Some(init) = init {
                f.write_str(" ")?;
                expr(f, init, level)?;
            }
            f.write_str(")")
        }
        StmtKind::Assign { target, op, value } => {
            write!(f, "({}= ", op.map_or("", bin_op))?;
            expr(f, target, level)?;
            f.write_str(" ")?;
            expr(f, value, level)?;
            f.write_str(")")
        }
        StmtKind::Discard(e) => {
            f.write_str("(discard ")?;
            expr(f, e, level)?;
            f.write_str(")")
        }
        StmtKind::If(inner) => if_stmt(f, inner, level),
        StmtKind::While { cond, body: inner } => {
            f.write_str("(while ")?;
            expr(f, cond, level)?;
            body(f, inner, level + 1)?;
            f.write_str(")")
        }
        StmtKind::Unroll { count, body: inner } => {
            f.write_str("(unroll ")?;
            expr(f, count, level)?;
            body(f, inner, level + 1)?;
            f.write_str(")")
        }
        StmtKind::ForRange { var, start, end, body: inner } => {
            write!(f, "(for ${} ", var.node)?;
            expr(f, start, level)?;
            f.write_str(" .. ")?;
            expr(f, end, level)?;
            body(f, inner, level + 1)?;
            f.write_str(")")
        }
        StmtKind::ForMap { var, map, body: inner } => {
            write!(f, "(for ${} @{}", var.node, map.node)?;
            body(f, inner, level + 1)?;
            f.write_str(")")
        }
        StmtKind::Break => f.write_str("(break)"),
        StmtKind::Continue => f.write_str("(continue)"),
        StmtKind::Return(None) => f.write_str("(return)"),
        StmtKind::Return(Some(e)) => {
            f.write_str("(return ")?;
            expr(f, e, level)?;
            f.write_str(")")
        }
        StmtKind::Import(import) => write!(f, "(import {:?})", import.path.node),
        StmtKind::Block(inner) => {
            f.write_str("(block")?;
            body(f, inner, level + 1)?;
            f.write_str(")")
        }
        StmtKind::Error => f.write_str("(error)"),
    }
}

fn if_stmt(f: &mut Formatter<'_>, stmt: &IfStmt, level: usize) -> fmt::Result {
    f.write_str(if stmt.comptime { "(if comptime " } else { "(if " })?;
    expr(f, &stmt.cond, level)?;
    body(f, &stmt.then, level + 1)?;
    if let Some(otherwise) = &stmt.otherwise {
        f.write_str("\n")?;
        indent(f, level)?;
        f.write_str(" else")?;
        body(f, otherwise, level + 1)?;
    }
    f.write_str(")")
}

fn list<'e>(f: &mut Formatter<'_>, head: &str, items: impl IntoIterator<Item = &'e Expr>, level: usize) -> fmt::Result {
    write!(f, "({head}")?;
    for e in items {
        f.write_str(" ")?;
        expr(f, e, level)?;
    }
    f.write_str(")")
}

fn expr(f: &mut Formatter<'_>, e: &Expr, level: usize) -> fmt::Result {
    match &e.kind {
        ExprKind::Int { value, .. } => write!(f, "{value}"),
        ExprKind::Str(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
        ExprKind::Bool(value) => write!(f, "{value}"),
        ExprKind::Ident(name) => f.write_str(name),
        ExprKind::Var(name) => write!(f, "${name}"),
        ExprKind::Param(number) => write!(f, "${number}"),
        ExprKind::ParamCount => f.write_str("$#"),
        ExprKind::Map { name, key: None } => write!(f, "@{name}"),
        ExprKind::Map { name, key: Some(key) } => list(f, &format!("@{name}"), key, level),
        ExprKind::Call { name, args } => list(f, &format!("call {}", name.node), args, level),
        ExprKind::Unary { op, expr } => list(f, un_op(*op), [expr.as_ref()], level),
        ExprKind::IncDec { inc, prefix, expr } => {
            let head = match (inc, prefix) {
                (true, true) => "pre++",
                (true, false) => "post++",
                (false, true) => "pre--",
                (false, false) => "post--",
            };
            list(f, head, [expr.as_ref()], level)
        }
        ExprKind::Binary { op, lhs, rhs } => list(f, bin_op(*op), [lhs.as_ref(), rhs.as_ref()], level),
        ExprKind::Ternary { cond, then: Some(then), otherwise } => {
            list(f, "?", [cond.as_ref(), then.as_ref(), otherwise.as_ref()], level)
        }
        ExprKind::Ternary { cond, then: None, otherwise } => list(f, "?:", [cond.as_ref(), otherwise.as_ref()], level),
        ExprKind::Field { base, name, arrow } => {
            list(f, &format!("{}{}", if *arrow { "->" } else { "." }, name.node), [base.as_ref()], level)
        }
        ExprKind::TupleIndex { base, index } => list(f, &format!(".{index}"), [base.as_ref()], level),
        ExprKind::Index { base, index } => list(f, "[]", [base.as_ref(), index.as_ref()], level),
        ExprKind::Cast { ty, expr } => list(f, &format!("cast ({ty})"), [expr.as_ref()], level),
        ExprKind::Tuple(items) => list(f, "tuple", items, level),
        ExprKind::Record(fields) => {
            f.write_str("(record")?;
            for (name, value) in fields {
                write!(f, " ({} ", name.node)?;
                expr(f, value, level)?;
                f.write_str(")")?;
            }
            f.write_str(")")
        }
        ExprKind::SizeOf(of) => write!(f, "(sizeof {of})"),
        ExprKind::TypeInfo(of) => write!(f, "(typeinfo {of})"),
        ExprKind::OffsetOf { of, fields } => {
            let path: Vec<&str> = fields.iter().map(|n| n.node.as_str()).collect();
            write!(f, "(offsetof {of} {})", path.join("."))
        }
        ExprKind::HasField { of, fields } => {
            let path: Vec<&str> = fields.iter().map(|n| n.node.as_str()).collect();
            write!(f, "(has_field {of} {})", path.join("."))
        }
        ExprKind::Type(ty) => write!(f, "(type {ty})"),
        ExprKind::Block(inner) => {
            f.write_str("(block")?;
            body(f, inner, level + 1)?;
            f.write_str(")")
        }
        ExprKind::If(inner) => if_stmt(f, inner, level),
        ExprKind::Comptime(inner) => list(f, "comptime", [inner.as_ref()], level),
        ExprKind::Error => f.write_str("(error)"),
    }
}

fn record(f: &mut Formatter<'_>, def: &CRecord, level: usize) -> fmt::Result {
    f.write_str(if def.is_union { "(union" } else { "(struct" })?;
    if let Some(name) = &def.name {
        write!(f, " {}", name.node)?;
    }
    if def.packed {
        f.write_str(" packed")?;
    }
    if let Some(align) = def.aligned {
        write!(f, " aligned {align}")?;
    }
    for field in &def.fields {
        f.write_str("\n")?;
        indent(f, level + 1)?;
        write!(f, "({} ", field.name.as_ref().map_or("_", |n| n.node.as_str()))?;
        c_type(f, &field.ty, level + 1)?;
        if let Some(bits) = field.bits {
            write!(f, " : {bits}")?;
        }
        if field.packed {
            f.write_str(" packed")?;
        }
        if let Some(align) = field.aligned {
            write!(f, " aligned {align}")?;
        }
        f.write_str(")")?;
    }
    f.write_str(")")
}

fn enumeration(f: &mut Formatter<'_>, def: &CEnum) -> fmt::Result {
    f.write_str("(enum")?;
    if let Some(name) = &def.name {
        write!(f, " {}", name.node)?;
    }
    for (name, value) in &def.variants {
        match value {
            Some(value) => write!(f, " ({} {value})", name.node)?,
            None => write!(f, " {}", name.node)?,
        }
    }
    f.write_str(")")
}

fn c_type(f: &mut Formatter<'_>, ty: &CType, level: usize) -> fmt::Result {
    match ty {
        CType::Named(name) => f.write_str(&name.node),
        CType::Struct(name) => write!(f, "struct {}", name.node),
        CType::Union(name) => write!(f, "union {}", name.node),
        CType::Enum(name) => write!(f, "enum {}", name.node),
        CType::Record(def) => record(f, def, level),
        CType::EnumDef(def) => enumeration(f, def),
        CType::Pointer(to) => {
            f.write_str("(* ")?;
            c_type(f, to, level)?;
            f.write_str(")")
        }
        CType::Array(of, length) => {
            f.write_str("([")?;
            if let Some(length) = length {
                write!(f, "{length}")?;
            }
            f.write_str("] ")?;
            c_type(f, of, level)?;
            f.write_str(")")
        }
        CType::Function => f.write_str("function"),
    }
}

/// An infix operator as written.
fn bin_op(op: BinOp) -> &'static str {
    match op {
        BinOp::Add => "+",
        BinOp::Sub => "-",
        BinOp::Mul => "*",
        BinOp::Div => "/",
        BinOp::Mod => "%",
        BinOp::BitAnd => "&",
        BinOp::BitOr => "|",
        BinOp::BitXor => "^",
        BinOp::Shl => "<<",
        BinOp::Shr => ">>",
        BinOp::Eq => "==",
        BinOp::Ne => "!=",
        BinOp::Lt => "<",
        BinOp::Le => "<=",
        BinOp::Gt => ">",
        BinOp::Ge => ">=",
        BinOp::And => "&&",
        BinOp::Or => "||",
    }
}

/// A prefix operator as written.
fn un_op(op: UnOp) -> &'static str {
    match op {
        UnOp::Not => "!",
        UnOp::BitNot => "~",
        UnOp::Neg => "neg",
        UnOp::Plus => "pos",
        UnOp::Deref => "deref",
        UnOp::AddrOf => "addr",
    }
}
