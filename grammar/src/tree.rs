//! Builds the nodes of the syntax tree for the generated parser, and settles what the grammar leaves open: precedence
//! of infix operators, what may be assigned to, when a block has a value.
//!
//! Invariant: no tree is deeper than [`MAX_DEPTH`], so that recursion over a tree (also that of `Drop`) is bounded.
//! Every node is made through a function that counts its depth and refuses what goes beyond.

use lalrpop_util::ParseError;

use crate::ast::{
    BinOp, Block, Config, Expr, ExprKind, FnDef, IfStmt, Import, MacroDef, MapDecl, Name, Stmt, StmtKind, TypeBase,
    TypeExpr, TypeOrExpr, TypeSuffix, UnOp,
};
use crate::lexer::Tok;
use crate::literal::{self, NumberError};
use crate::span::{FileId, Span, Spanned};

/// The deepest tree that is built, in nodes from the root to a leaf.
pub(crate) const MAX_DEPTH: u16 = 200;

/// Why a node was refused, with its byte range.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) help: Option<String>,
    /// The item is given up: what is too deep here is too deep around it as well.
    pub(crate) fatal: bool,
}

type Built<'s, T> = Result<T, ParseError<u32, Tok<'s>, Refusal>>;

fn refuse<'s, T>(start: u32, end: u32, message: String, help: Option<&str>) -> Built<'s, T> {
    Err(ParseError::User { error: Refusal { message, start, end, help: help.map(str::to_owned), fatal: false } })
}

/// What an item parses to.
pub(crate) enum Entry {
    Probe { predicate: Option<Expr>, body: Block },
    Expr(Expr),
    Config(Config),
    Import(Import),
    MapDecl(MapDecl),
    Macro(MacroDef),
    Fn(FnDef),
}

/// A node with the depth of its tree.
pub(crate) struct Deep<T> {
    pub(crate) node: T,
    depth: u16,
}

impl<T> Deep<T> {
    pub(crate) fn leaf(node: T) -> Self {
        Deep { node, depth: 1 }
    }

    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Deep<U> {
        Deep { node: f(self.node), depth: self.depth }
    }
}

/// A last statement without semicolon.
pub(crate) struct Tail(pub(crate) Deep<Box<Stmt>>);

/// `name = value` of a record, boxed to keep the parser's stack narrow.
pub(crate) type RecordField = Box<(Name, Deep<Expr>)>;

/// What a loop runs over: a map, or a range from and to.
pub(crate) type Range = Box<(Deep<Expr>, Option<Deep<Expr>>)>;

/// The depth of a node over children of the given depths.
fn over<'s>(span: Span, children: impl IntoIterator<Item = u16>) -> Built<'s, u16> {
    let depth = children.into_iter().max().unwrap_or(0).saturating_add(1);
    if depth > MAX_DEPTH {
        let message = format!("this is nested more than {MAX_DEPTH} levels deep");
        let help = Some("split it up with variables or macros".to_owned());
        let Span { start, end, .. } = span;
        return Err(ParseError::User { error: Refusal { message, start, end, help, fatal: true } });
    }
    Ok(depth)
}

pub(crate) fn spanned(name: &str, file: FileId, start: u32, end: u32) -> Name {
    Spanned { node: name.to_owned(), span: Span::new(file, start, end) }
}

/// A quoted string as text.
pub(crate) fn text<'s>(quoted: &str, file: FileId, start: u32, end: u32) -> Built<'s, Name> {
    let bytes = unquote(quoted, start)?;
    match String::from_utf8(bytes) {
        Ok(node) => Ok(Spanned { node, span: Span::new(file, start, end) }),
        Err(_) => refuse(start, end, "this string has to be valid UTF-8".to_owned(), None),
    }
}

fn unquote<'s>(quoted: &str, start: u32) -> Built<'s, Vec<u8>> {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    literal::unescape(inner).or_else(|bad| {
        let at = start + 1 + bad.at as u32;
        let escape = inner.get(bad.at..bad.at + bad.len).unwrap_or_default();
        refuse(
            at,
            at + bad.len as u32,
            format!("`{escape}` is not an escape sequence"),
            Some("the escapes are \\n \\t \\r \\\\ \\\" \\0nn (octal) and \\xnn (hexadecimal)"),
        )
    })
}

pub(crate) fn number<'s>(text: &str, start: u32, end: u32) -> Built<'s, u64> {
    literal::number(text).or_else(|error| match error {
        NumberError::Overflow => refuse(
            start,
            end,
            format!("the number `{text}` does not fit in 64 bits"),
            Some("the largest integer is 18446744073709551615 (0xffffffffffffffff)"),
        ),
        NumberError::Suffix => refuse(
            start,
            end,
            format!("`{text}` is not a number"),
            Some("a number may end in a duration (ns us ms s m h d), an exponent (1e6) or a C suffix (UL)"),
        ),
        NumberError::Digit => refuse(
            start,
            end,
            format!("`{text}` has a digit that its base does not have"),
            Some("a leading 0 makes a number octal (digits 0 to 7), a leading 0x hexadecimal"),
        ),
    })
}

// Statements

pub(crate) fn push(mut list: Deep<Vec<Stmt>>, stmt: Deep<Box<Stmt>>) -> Deep<Vec<Stmt>> {
    list.depth = list.depth.max(stmt.depth);
    // The statement before is not the last one, so its value is not wanted.
    if let Some(last) = list.node.pop() {
        list.node.push(statement_only(last));
    }
    list.node.push(*stmt.node);
    list
}

/// A block from its statements and what stood last without a semicolon.
pub(crate) fn block<'s>((list, tail): (Deep<Vec<Stmt>>, Option<Tail>), span: Span) -> Built<'s, Deep<Block>> {
    let mut depth = list.depth;
    let mut stmts = list.node;
    let mut value = None;
    if let Some(Tail(tail)) = tail {
        depth = depth.max(tail.depth);
        if let Some(last) = stmts.pop() {
            stmts.push(statement_only(last));
        }
        match tail.node.kind {
            StmtKind::Expr(expr) => value = Some(Box::new(expr)),
            _ => stmts.push(*tail.node),
        }
    } else if let Some(last) = stmts.pop() {
        match last.kind {
            StmtKind::Block(inner) if inner.value.is_some() => {
                value = Some(Box::new(Expr { kind: ExprKind::Block(inner), span: last.span }));
            }
            StmtKind::If(inner) if if_has_value(&inner) => {
                value = Some(Box::new(Expr { kind: ExprKind::If(inner), span: last.span }));
            }
            _ => stmts.push(statement_only(last)),
        }
    }
    let depth = over(span, [depth])?;
    Ok(Deep { node: Block { stmts, value, span }, depth })
}

/// An `if` has a value when both its branches have one.
fn if_has_value(stmt: &IfStmt) -> bool {
    stmt.then.value.is_some() && stmt.otherwise.as_ref().is_some_and(|block| block.value.is_some())
}

/// A block whose value nobody takes: the value becomes the last statement.
pub(crate) fn as_statements(mut block: Block) -> Block {
    if let Some(value) = block.value.take() {
        let span = value.span;
        let kind = match value.kind {
            ExprKind::If(inner) => StmtKind::If(inner),
            ExprKind::Block(inner) => StmtKind::Block(inner),
            kind => StmtKind::Expr(Expr { kind, span }),
        };
        block.stmts.push(statement_only(Stmt { kind, span }));
    }
    block
}

fn statement_only(mut stmt: Stmt) -> Stmt {
    stmt.kind = match stmt.kind {
        StmtKind::Block(block) => StmtKind::Block(as_statements(block)),
        StmtKind::If(inner) => StmtKind::If(IfStmt {
            then: as_statements(inner.then),
            otherwise: inner.otherwise.map(as_statements),
            ..inner
        }),
        kind => kind,
    };
    stmt
}

pub(crate) fn leaf_stmt(kind: StmtKind, span: Span) -> Deep<Box<Stmt>> {
    Deep::leaf(Box::new(Stmt { kind, span }))
}

pub(crate) fn expr_stmt<'s>(expr: Deep<Expr>) -> Built<'s, Deep<Box<Stmt>>> {
    let span = expr.node.span;
    Ok(Deep { depth: over(span, [expr.depth])?, node: Box::new(Stmt { kind: StmtKind::Expr(expr.node), span }) })
}

pub(crate) fn return_stmt(expr: Option<Deep<Expr>>, span: Span) -> Deep<Box<Stmt>> {
    let depth = expr.as_ref().map_or(1, |e| e.depth);
    Deep { node: Box::new(Stmt { kind: StmtKind::Return(expr.map(|e| e.node)), span }), depth }
}

pub(crate) fn let_stmt(var: Name, ty: Option<Deep<TypeExpr>>, init: Option<Deep<Expr>>, span: Span) -> Deep<Box<Stmt>> {
    let depth = ty.as_ref().map_or(1, |t| t.depth).max(init.as_ref().map_or(1, |e| e.depth));
    let kind = StmtKind::Let { var, ty: ty.map(|t| t.node), init: init.map(|e| e.node) };
    Deep { node: Box::new(Stmt { kind, span }), depth }
}

/// `target = value`, `target op= value`, `_ = value`.
pub(crate) fn assign<'s>(target: Deep<Expr>, op: Option<BinOp>, value: Deep<Expr>) -> Built<'s, Deep<Box<Stmt>>> {
    let span = target.node.span.to(value.node.span);
    let depth = over(span, [target.depth, value.depth])?;
    let at = target.node.span;
    let kind = match target.node.kind {
        ExprKind::Ident(name) if name == "_" && op.is_none() => StmtKind::Discard(value.node),
        ExprKind::Var(_)
        | ExprKind::Map { .. }
        | ExprKind::Field { .. }
        | ExprKind::TupleIndex { .. }
        | ExprKind::Index { .. }
        | ExprKind::Error
        | ExprKind::Unary { op: UnOp::Deref, .. } => StmtKind::Assign { target: target.node, op, value: value.node },
        ExprKind::Ident(name) => {
            return refuse(
                at.start,
                at.end,
                format!("`{name}` cannot be assigned to"),
                Some(&format!("a variable begins with `$`, a map with `@`: `${name} = …`")),
            );
        }
        _ => {
            return refuse(
                at.start,
                at.end,
                "this cannot be assigned to".to_owned(),
                Some("assign to a variable (`$x = …`) or a map (`@x = …`); to compare, write `==`"),
            );
        }
    };
    Ok(Deep { node: Box::new(Stmt { kind, span }), depth })
}

pub(crate) fn while_stmt<'s>(cond: Deep<Expr>, body: Deep<Block>, span: Span) -> Built<'s, Deep<Box<Stmt>>> {
    let depth = over(span, [cond.depth, body.depth])?;
    Ok(Deep {
        node: Box::new(Stmt { kind: StmtKind::While { cond: cond.node, body: as_statements(body.node) }, span }),
        depth,
    })
}

pub(crate) fn unroll_stmt<'s>(count: Deep<Expr>, body: Deep<Block>, span: Span) -> Built<'s, Deep<Box<Stmt>>> {
    let depth = over(span, [count.depth, body.depth])?;
    Ok(Deep {
        node: Box::new(Stmt { kind: StmtKind::Unroll { count: count.node, body: as_statements(body.node) }, span }),
        depth,
    })
}

pub(crate) fn for_stmt<'s>(var: Name, range: Range, body: Deep<Block>, span: Span) -> Built<'s, Deep<Box<Stmt>>> {
    let (start, end) = *range;
    let depth = over(span, [start.depth, end.as_ref().map_or(0, |e| e.depth), body.depth])?;
    let body = as_statements(body.node);
    let kind = match (start.node.kind, end) {
        (kind, Some(end)) => {
            StmtKind::ForRange { var, start: Expr { kind, span: start.node.span }, end: end.node, body }
        }
        (ExprKind::Map { name, key: None }, None) => {
            StmtKind::ForMap { var, map: Spanned { node: name, span: start.node.span }, body }
        }
        _ => {
            let at = start.node.span;
            return refuse(
                at.start,
                at.end,
                "a `for` loop runs over a map or a range".to_owned(),
                Some("write `for ($kv : @map)` or `for ($i : 0..10)`"),
            );
        }
    };
    Ok(Deep { node: Box::new(Stmt { kind, span }), depth })
}

pub(crate) fn if_stmt<'s>(
    cond: Deep<Expr>,
    then: Deep<Block>,
    otherwise: Option<Deep<Block>>,
) -> Built<'s, Deep<IfStmt>> {
    let span = cond.node.span;
    let depth = over(span, [cond.depth, then.depth, otherwise.as_ref().map_or(0, |b| b.depth)])?;
    let (comptime, cond) = match cond.node.kind {
        ExprKind::Comptime(inner) => (true, inner),
        kind => (false, Box::new(Expr { kind, span })),
    };
    Ok(Deep { node: IfStmt { comptime, cond, then: then.node, otherwise: otherwise.map(|b| b.node) }, depth })
}

/// The `if` of an `else if` as a block of its own.
pub(crate) fn else_if<'s>(inner: Deep<IfStmt>, span: Span) -> Built<'s, Deep<Block>> {
    let stmt = inner.map(|i| Stmt { kind: StmtKind::If(i), span });
    block((Deep { depth: stmt.depth, node: vec![stmt.node] }, None), span)
}

// Expressions

pub(crate) fn leaf(kind: ExprKind, span: Span) -> Deep<Expr> {
    Deep::leaf(Expr { kind, span })
}

fn node<'s>(kind: ExprKind, span: Span, children: impl IntoIterator<Item = u16>) -> Built<'s, Deep<Expr>> {
    Ok(Deep { depth: over(span, children)?, node: Expr { kind, span } })
}

pub(crate) fn int<'s>(text: &str, span: Span) -> Built<'s, Deep<Expr>> {
    let value = number(text, span.start, span.end)?;
    Ok(leaf(ExprKind::Int { value, text: text.to_owned() }, span))
}

/// A character literal of C as the number that it is.
pub(crate) fn character<'s>(quoted: &str, span: Span) -> Built<'s, Deep<Expr>> {
    let bytes = unquote(quoted, span.start)?;
    // A `char` is signed where it matters.
    let value = bytes.first().map_or(0, |b| i64::from(b.cast_signed()) as u64);
    Ok(leaf(ExprKind::Int { value, text: quoted.to_owned() }, span))
}

pub(crate) fn string<'s>(quoted: &str, span: Span) -> Built<'s, Deep<Expr>> {
    Ok(leaf(ExprKind::Str(unquote(quoted, span.start)?), span))
}

pub(crate) fn param<'s>(digits: &str, span: Span) -> Built<'s, Deep<Expr>> {
    match digits.parse::<u32>() {
        Ok(0) => refuse(span.start, span.end, "parameters are counted from $1".to_owned(), None),
        Ok(number) => Ok(leaf(ExprKind::Param(number), span)),
        Err(_) => refuse(span.start, span.end, "there are not so many parameters".to_owned(), None),
    }
}

/// A parenthesised expression: the same node, a wider span. It counts as a level, so that parentheses are bounded too.
pub(crate) fn paren<'s>(expr: Deep<Expr>, span: Span) -> Built<'s, Deep<Expr>> {
    let depth = over(span, [expr.depth])?;
    Ok(Deep { node: Expr { span, ..expr.node }, depth })
}

/// Operands and infix operators in textual order.
pub(crate) struct Chain {
    first: Deep<Expr>,
    rest: Vec<(BinOp, Deep<Expr>)>,
}

impl Chain {
    pub(crate) fn new(first: Deep<Expr>) -> Self {
        Chain { first, rest: Vec::new() }
    }

    pub(crate) fn push(&mut self, op: BinOp, operand: Deep<Expr>) {
        self.rest.push((op, operand));
    }
}

/// How tightly an operator binds, as in C; all associate to the left.
pub(crate) fn precedence(op: BinOp) -> u8 {
    match op {
        BinOp::Or => 1,
        BinOp::And => 2,
        BinOp::BitOr => 3,
        BinOp::BitXor => 4,
        BinOp::BitAnd => 5,
        BinOp::Eq | BinOp::Ne => 6,
        BinOp::Lt | BinOp::Le | BinOp::Gt | BinOp::Ge => 7,
        BinOp::Shl | BinOp::Shr => 8,
        BinOp::Add | BinOp::Sub => 9,
        BinOp::Mul | BinOp::Div | BinOp::Mod => 10,
    }
}

/// The tree of a chain by precedence (operator-precedence parsing with two stacks).
pub(crate) fn infix<'s>(chain: Chain) -> Built<'s, Deep<Expr>> {
    if chain.rest.is_empty() {
        return Ok(chain.first);
    }
    // Each pending entry is a left operand that waits for its right one.
    let mut pending: Vec<(Deep<Expr>, BinOp)> = Vec::new();
    let mut current = chain.first;
    for (op, operand) in chain.rest {
        while let Some((lhs, before)) = pending.pop_if(|(_, before)| precedence(*before) >= precedence(op)) {
            current = binary(lhs, before, current)?;
        }
        pending.push((current, op));
        current = operand;
    }
    while let Some((lhs, op)) = pending.pop() {
        current = binary(lhs, op, current)?;
    }
    Ok(current)
}

fn binary<'s>(lhs: Deep<Expr>, op: BinOp, rhs: Deep<Expr>) -> Built<'s, Deep<Expr>> {
    let span = lhs.node.span.to(rhs.node.span);
    let depths = [lhs.depth, rhs.depth];
    node(ExprKind::Binary { op, lhs: Box::new(lhs.node), rhs: Box::new(rhs.node) }, span, depths)
}

pub(crate) fn ternary<'s>(cond: Deep<Expr>, then: Option<Deep<Expr>>, otherwise: Deep<Expr>) -> Built<'s, Deep<Expr>> {
    let span = cond.node.span.to(otherwise.node.span);
    let depths = [cond.depth, then.as_ref().map_or(0, |e| e.depth), otherwise.depth];
    let kind = ExprKind::Ternary {
        cond: Box::new(cond.node),
        then: then.map(|e| Box::new(e.node)),
        otherwise: Box::new(otherwise.node),
    };
    node(kind, span, depths)
}

pub(crate) fn comptime<'s>(expr: Deep<Expr>, span: Span) -> Built<'s, Deep<Expr>> {
    let depth = expr.depth;
    node(ExprKind::Comptime(Box::new(expr.node)), span, [depth])
}

pub(crate) fn unary<'s>(op: UnOp, expr: Deep<Expr>, span: Span) -> Built<'s, Deep<Expr>> {
    let depth = expr.depth;
    node(ExprKind::Unary { op, expr: Box::new(expr.node) }, span, [depth])
}

pub(crate) fn inc_dec<'s>(inc: bool, prefix: bool, expr: Deep<Expr>, span: Span) -> Built<'s, Deep<Expr>> {
    let at = expr.node.span;
    match expr.node.kind {
        ExprKind::Var(_) | ExprKind::Map { .. } | ExprKind::Error => {}
        _ => {
            let op = if inc { "++" } else { "--" };
            return refuse(
                at.start,
                at.end,
                format!("`{op}` works on variables and maps only"),
                Some("assign the expression to a variable first"),
            );
        }
    }
    let depth = expr.depth;
    node(ExprKind::IncDec { inc, prefix, expr: Box::new(expr.node) }, span, [depth])
}

pub(crate) fn cast<'s>(ty: Deep<TypeExpr>, expr: Deep<Expr>, span: Span) -> Built<'s, Deep<Expr>> {
    let depths = [ty.depth, expr.depth];
    node(ExprKind::Cast { ty: ty.node, expr: Box::new(expr.node) }, span, depths)
}

pub(crate) fn field<'s>(base: Deep<Expr>, name: Name, arrow: bool) -> Built<'s, Deep<Expr>> {
    let span = base.node.span.to(name.span);
    let depth = base.depth;
    node(ExprKind::Field { base: Box::new(base.node), name, arrow }, span, [depth])
}

pub(crate) fn tuple_index<'s>(base: Deep<Expr>, digits: &str, file: FileId, l: u32, r: u32) -> Built<'s, Deep<Expr>> {
    let Ok(index) = digits.parse::<u32>() else {
        return refuse(l, r, format!("`{digits}` is not a position in a tuple"), Some("positions are 0, 1, 2 …"));
    };
    let span = base.node.span.to(Span::new(file, l, r));
    let depth = base.depth;
    node(ExprKind::TupleIndex { base: Box::new(base.node), index }, span, [depth])
}

/// `base[keys]`: the key of a map when the base is a bare map, an index otherwise.
pub(crate) fn index<'s>(base: Deep<Expr>, keys: Vec<Deep<Expr>>, end: u32) -> Built<'s, Deep<Expr>> {
    let span = Span { end, ..base.node.span };
    let depth = keys.iter().map(|k| k.depth).max().unwrap_or(0).max(base.depth);
    let at = base.node.span;
    let mut keys: Vec<Expr> = keys.into_iter().map(|k| k.node).collect();
    match base.node.kind {
        // Without parentheses the span is that of the sigil and the name.
        ExprKind::Map { name, key: None } if (at.end - at.start) as usize == name.len() + 1 => {
            node(ExprKind::Map { name, key: Some(keys) }, span, [depth])
        }
        kind => {
            let index = keys.pop();
            match index {
                Some(index) if keys.is_empty() => {
                    let base = Box::new(Expr { kind, span: at });
                    node(ExprKind::Index { base, index: Box::new(index) }, span, [depth])
                }
                _ => refuse(
                    span.start,
                    end,
                    "only a map takes several keys".to_owned(),
                    Some("an array, string or tuple has one index"),
                ),
            }
        }
    }
}

pub(crate) fn call<'s>(name: Name, args: Vec<Deep<Expr>>, end: u32) -> Built<'s, Deep<Expr>> {
    let span = Span { end, ..name.span };
    let depth = args.iter().map(|a| a.depth).max().unwrap_or(0);
    node(ExprKind::Call { name, args: args.into_iter().map(|a| a.node).collect() }, span, [depth])
}

pub(crate) fn tuple<'s>(first: Deep<Expr>, rest: Vec<Deep<Expr>>, span: Span) -> Built<'s, Deep<Expr>> {
    let depth = rest.iter().map(|e| e.depth).max().unwrap_or(0).max(first.depth);
    let items = std::iter::once(first).chain(rest).map(|e| e.node).collect();
    node(ExprKind::Tuple(items), span, [depth])
}

pub(crate) fn record<'s>(first: RecordField, rest: Vec<RecordField>, span: Span) -> Built<'s, Deep<Expr>> {
    let depth = rest.iter().map(|f| f.1.depth).max().unwrap_or(0).max(first.1.depth);
    let fields = std::iter::once(first).chain(rest).map(|f| (f.0, f.1.node)).collect();
    node(ExprKind::Record(fields), span, [depth])
}

pub(crate) fn block_expr<'s>(block: Deep<Block>) -> Built<'s, Deep<Expr>> {
    let span = block.node.span;
    let depth = block.depth;
    node(ExprKind::Block(block.node), span, [depth])
}

pub(crate) fn if_expr<'s>(inner: Deep<IfStmt>, span: Span) -> Built<'s, Deep<Expr>> {
    let depth = inner.depth;
    node(ExprKind::If(inner.node), span, [depth])
}

/// An argument as the type or expression that it is.
fn type_or_expr(arg: Expr) -> TypeOrExpr {
    match arg.kind {
        ExprKind::Type(ty) => TypeOrExpr::Type(*ty),
        kind => TypeOrExpr::Expr(Expr { kind, span: arg.span }),
    }
}

pub(crate) fn sizeof<'s>(arg: Deep<Expr>, span: Span) -> Built<'s, Deep<Expr>> {
    let depth = arg.depth;
    node(ExprKind::SizeOf(Box::new(type_or_expr(arg.node))), span, [depth])
}

pub(crate) fn typeinfo<'s>(arg: Deep<Expr>, span: Span) -> Built<'s, Deep<Expr>> {
    let depth = arg.depth;
    node(ExprKind::TypeInfo(Box::new(type_or_expr(arg.node))), span, [depth])
}

pub(crate) fn offsetof<'s>(arg: Deep<Expr>, fields: Vec<Name>, span: Span) -> Built<'s, Deep<Expr>> {
    let depth = arg.depth;
    node(ExprKind::OffsetOf { of: Box::new(type_or_expr(arg.node)), fields }, span, [depth])
}

pub(crate) fn has_field<'s>(arg: Deep<Expr>, fields: Vec<Name>, span: Span) -> Built<'s, Deep<Expr>> {
    let depth = arg.depth;
    node(ExprKind::HasField { of: Box::new(type_or_expr(arg.node)), fields }, span, [depth])
}

pub(crate) fn typeof_expr<'s>(arg: Deep<Expr>, span: Span) -> Built<'s, Deep<Expr>> {
    type_expr(type_base(typeof_base(arg)?, span))
}

pub(crate) fn type_expr<'s>(ty: Deep<TypeExpr>) -> Built<'s, Deep<Expr>> {
    let span = ty.node.span;
    let depth = ty.depth;
    node(ExprKind::Type(Box::new(ty.node)), span, [depth])
}

// Types

pub(crate) fn words(first: &str, rest: Vec<&str>, file: FileId, l: u32, r: u32) -> Deep<TypeBase> {
    let name = std::iter::once(first).chain(rest).collect::<Vec<_>>().join(" ");
    Deep::leaf(TypeBase::Named(spanned(&name, file, l, r)))
}

pub(crate) fn typeof_base<'s>(arg: Deep<Expr>) -> Built<'s, Deep<TypeBase>> {
    let depth = over(arg.node.span, [arg.depth])?;
    Ok(Deep { node: TypeBase::TypeOf(Box::new(type_or_expr(arg.node))), depth })
}

pub(crate) fn tuple_type<'s>(types: Vec<Deep<TypeExpr>>) -> Built<'s, Deep<TypeBase>> {
    let span = types.first().map(|t| t.node.span).unwrap_or_default();
    let depth = over(span, types.iter().map(|t| t.depth))?;
    Ok(Deep { node: TypeBase::Tuple(types.into_iter().map(|t| t.node).collect()), depth })
}

pub(crate) fn type_base(base: Deep<TypeBase>, span: Span) -> Deep<TypeExpr> {
    base.map(|base| TypeExpr { base, suffixes: Vec::new(), span })
}

/// What follows the name of a type.
pub(crate) enum Suffix {
    Pointer,
    Array(Option<Deep<Expr>>),
}

/// Adds `*` or `[…]` to a type.
pub(crate) fn type_suffix<'s>(ty: Deep<TypeExpr>, suffix: Suffix, end: u32) -> Built<'s, Deep<TypeExpr>> {
    let mut node = ty.node;
    node.span.end = end;
    let mut depth = ty.depth;
    node.suffixes.push(match suffix {
        Suffix::Pointer => TypeSuffix::Pointer,
        Suffix::Array(None) => TypeSuffix::Array(None),
        Suffix::Array(Some(length)) => {
            depth = over(node.span, [depth, length.depth])?;
            TypeSuffix::Array(Some(Box::new(length.node)))
        }
    });
    // Each suffix is a level of the type that it makes.
    depth = depth.max(over(node.span, [node.suffixes.len() as u16])?);
    Ok(Deep { node, depth })
}
