//! Functions on maps.

use tapline_grammar::ast;
use tapline_grammar::span::Span;

use super::Call;
use super::output::thousandths;
use crate::check::{Checker, KeyFlow, constant_number, int_literal, text_literal};
use crate::program::{ActionKind, Aggregate, MapId};
use crate::typed::{Block, Expr, ExprKind, MapOp, Op, Stmt, StmtKind};
use crate::types::Type;

/// A map written without key.
pub(super) fn whole(arg: &ast::Expr) -> Option<(&str, Span)> {
    match &arg.kind {
        ast::ExprKind::Map { name, key: None } => Some((name, arg.span)),
        _ => None,
    }
}

fn not_a_map(checker: &mut Checker<'_>, call: &Call<'_>, arg: &ast::Expr) {
    let (name, usage) = (call.row.name, call.row.usage);
    checker
        .error("not-a-map", format!("the first argument of {name}() is a map"), arg.span)
        .label("not a map without key")
        .help(format!("use it as `{usage}`"));
}

fn map_arg(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<MapId> {
    let arg = call.arg(0)?;
    if let Some((name, span)) = whole(arg) {
        return Some(checker.whole_map(name, span));
    }
    not_a_map(checker, call, arg);
    None
}

pub(super) fn clear(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let map = map_arg(checker, call)?;
    Some(checker.send(ActionKind::ClearMap(map), Vec::new(), call.span))
}

pub(super) fn zero(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let map = map_arg(checker, call)?;
    Some(checker.send(ActionKind::ZeroMap(map), Vec::new(), call.span))
}

pub(super) fn len(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let arg = call.arg(0)?;
    if whole(arg).is_none() {
        let value = checker.value_expr(arg)?;
        if matches!(value.ty, Type::Stack { .. }) {
            return Some(call.op(Op::StackDepth, vec![value], Type::I64));
        }
    }
    let map = map_arg(checker, call)?;
    if checker.map_key(map) == Some(KeyFlow::Scalar) {
        let name = checker.map_name(map);
        checker.error("map-key", format!("@{name} has no keys that len() could count"), arg.span);
        return None;
    }
    let kind = ExprKind::MapCall { op: MapOp::Len, map, key: None };
    Some(Expr { kind, ty: Type::I64, span: call.span })
}

fn with_key(checker: &mut Checker<'_>, call: &Call<'_>, op: MapOp) -> Option<Expr> {
    let arg = call.arg(0)?;
    let Some((name, span)) = whole(arg) else {
        not_a_map(checker, call, arg);
        return None;
    };
    let key = checker.value_expr(call.arg(1)?)?;
    let (map, key) = checker.map_with_key(name, Some(key), span)?;
    checker.whole_map(name, span);
    Some(Expr { kind: ExprKind::MapCall { op, map, key: key.map(Box::new) }, ty: Type::Bool, span: call.span })
}

pub(super) fn has_key(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    with_key(checker, call, MapOp::HasKey)
}

/// `delete(@m, key)`, `delete(@scalar)`, and the older `delete(@m[key])`, which took several.
pub(super) fn delete(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let arg = call.arg(0)?;
    if let ast::ExprKind::Map { name, key: Some(key) } = &arg.kind {
        let (map, key) = checker.map_access(name, Some(key), arg.span)?;
        checker.whole_map(name, arg.span);
        let kind = ExprKind::MapCall { op: MapOp::Delete, map, key: key.map(Box::new) };
        if let Some(extra) = call.arg(1) {
            checker
                .error("argument-count", "delete() of an element takes no further argument", extra.span)
                .help("one call per element: `delete(@m[a]); delete(@m[b]);`");
            return None;
        }
        return Some(Expr { kind, ty: Type::Bool, span: call.span });
    }
    if call.args.len() == 2 {
        return with_key(checker, call, MapOp::Delete);
    }
    let map = map_arg(checker, call)?;
    if let Some(KeyFlow::Keyed(_)) = checker.map_key(map) {
        let name = checker.map_name(map);
        checker
            .error("map-key", format!("delete(@{name}) needs a key"), call.span)
            .help(format!("`delete(@{name}, key)` for one element, `clear(@{name})` for all"));
        return None;
    }
    checker.key_flow(map, &KeyFlow::Scalar, arg.span);
    let kind = ExprKind::MapCall { op: MapOp::Delete, map, key: None };
    Some(Expr { kind, ty: Type::Bool, span: call.span })
}

/// `find(@m, key, $v)`: whether the key is there, and if so, its value in the variable. The two look-ups of the tree become one in
/// the program.
pub(super) fn find(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let (arg, target) = (call.arg(0)?, call.arg(2)?);
    let Some((name, span)) = whole(arg) else {
        not_a_map(checker, call, arg);
        return None;
    };
    let ast::ExprKind::Var(variable) = &target.kind else {
        checker
            .error("not-assignable", "the last argument of find() is a variable", target.span)
            .label("not a variable")
            .help(format!("use it as `{}`", call.row.usage));
        return None;
    };
    let key = checker.value_expr(call.arg(1)?)?;
    let (map, key) = checker.map_with_key(name, Some(key), span)?;
    checker.whole_map(name, span);
    let mut stmts = Vec::new();
    let key = Some(Box::new(checker.once(key?, &mut stmts)?));
    let has = ExprKind::MapCall { op: MapOp::HasKey, map, key: key.clone() };
    let has = Expr { kind: has, ty: Type::Bool, span: call.span };
    let cond = checker.once(has, &mut stmts)?;
    let value = checker.map_element(map, key, call.span);
    let fresh = !checker.knows_variable(variable);
    let id = checker.variable_named(variable, target.span);
    let taken = checker.assign_var(id, value?, call.span)?;
    if fresh {
        stmts.extend(checker.zero_variable(id));
    }
    let then = Block { stmts: vec![taken], value: None };
    let kind = StmtKind::If { cond: cond.clone(), then, otherwise: Block::default() };
    stmts.push(Stmt { kind, span: call.span });
    let block = Block { stmts, value: Some(Box::new(cond)) };
    Some(Expr { kind: ExprKind::Block(block), ty: Type::Bool, span: call.span })
}

/// `percentile(@hist[key], 99)`: the record carries the key, user space reads the histogram when it prints.
pub(super) fn percentile(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let (arg, which) = (call.arg(0)?, call.arg(1)?);
    let ast::ExprKind::Map { name, key } = &arg.kind else {
        checker.error("argument-type", "percentile() takes a histogram: `@map` or `@map[key]`", arg.span);
        return None;
    };
    let (map, key) = checker.map_access(name, key.as_deref(), arg.span)?;
    let value = checker.value_expr(which)?;
    let text = match text_literal(&value) {
        Some(text) => String::from_utf8_lossy(text).into_owned(),
        None => constant_number(&value).map(|n| n.to_string()).unwrap_or_default(),
    };
    let Some(thousandths) = thousandths(&text) else {
        checker
            .error("argument", "the second argument of percentile() is a number from 0 to 100", which.span)
            .help("with a fraction it is written as text: `percentile(@map, \"99.9\")`");
        return None;
    };
    match checker.map_value(map, arg.span)?.ty() {
        Type::Aggregate(Aggregate::Hist { .. } | Aggregate::LinearHist { .. }) => {}
        ty => {
            let is = checker.name(&ty);
            checker
                .error("argument-type", format!("@{name} is no histogram"), arg.span)
                .label(format!("it holds {is}"))
                .help("fill it with hist() or lhist()");
            return None;
        }
    }
    let key = key.unwrap_or_else(|| int_literal(0, call.span));
    Some(call.op(Op::Percentile { map, thousandths }, vec![key], Type::I64))
}
