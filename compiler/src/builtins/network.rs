//! Addresses of the network, and paths of control groups.

use std::net::IpAddr;
use std::rc::Rc;

use super::Call;
use crate::check::{Checker, constant_number, convert, decay, int_literal};
use crate::program::ActionKind;
use crate::typed::{Expr, ExprKind, Op};
use crate::types::layout::size_of;
use crate::types::{IntType, Type, entry_number};

/// Linux' numbers of the address families.
const AF_INET: i128 = 2;
const AF_INET6: i128 = 10;

/// Bytes that lie in memory, as a pointer to so many bytes; `None` for what has no fixed size.
fn bytes(checker: &Checker<'_>, value: Expr) -> Option<(Expr, u32)> {
    let array = |len| Type::Array(Rc::new(Type::Int(IntType::U8)), len);
    match &value.ty {
        Type::Array(..) => {
            let size = size_of(&value.ty, &checker.types.aggregates);
            Some((value, size))
        }
        Type::Str(capacity) => {
            let size = *capacity;
            Some((decay(value, array(size)), size))
        }
        // `struct in6_addr` and its like.
        Type::Struct(_) => {
            let size = size_of(&value.ty, &checker.types.aggregates);
            Some((decay(value, array(size)), size))
        }
        _ => None,
    }
}

pub(super) fn ntop(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let last = call.args.len().checked_sub(1)?;
    let family_arg = (last == 1).then(|| call.arg(0)).flatten();
    let family = family_arg.map(|arg| checker.number_arg("ntop", arg));
    let value = checker.value_expr(call.arg(last)?)?;
    let span = value.span;
    let known = match &family {
        Some(Some(family)) => constant_number(family),
        Some(None) => return None,
        None => None,
    };
    let (value, size) = match &value.ty {
        Type::Int(_) => (convert(value, &Type::U32), 4),
        Type::Ptr(..) => {
            // How many bytes lie there depends on the family.
            let len = if known == Some(AF_INET) || family.is_none() { 4 } else { 16 };
            let target = Type::Array(Rc::new(Type::Int(IntType::U8)), len);
            (checker.pointer_to(target, value), len)
        }
        _ => {
            let is = checker.name(&value.ty);
            let Some((value, size @ (4 | 16))) = bytes(checker, value) else {
                checker
                    .error("argument-type", format!("ntop() takes an address of 4 or 16 bytes, not {is}"), span)
                    .label(format!("this is {is}"));
                return None;
            };
            (value, size)
        }
    };
    if known == Some(AF_INET6) && size == 4 {
        checker
            .error("argument-type", "an IPv6 address has 16 bytes", span)
            .label("this has 4")
            .help("take the field that holds all of it, for instance `sk_v6_daddr`");
        return None;
    }
    let family = match family.flatten() {
        Some(family) => family,
        None => int_literal(if size == 4 { AF_INET } else { AF_INET6 }, call.span),
    };
    let family = convert(family, &Type::U64);
    Some(call.op(Op::Inet, vec![family, value], Type::Inet))
}

pub(super) fn macaddr(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let value = checker.value_expr(call.arg(0)?)?;
    let span = value.span;
    let is = checker.name(&value.ty);
    let six = Type::Array(Rc::new(Type::Int(IntType::U8)), 6);
    let value = match &value.ty {
        Type::Ptr(..) | Type::Int(_) => Some(checker.pointer_to(six, value)),
        _ => bytes(checker, value).filter(|(_, size)| *size >= 6).map(|(value, _)| value),
    };
    let Some(value) = value else {
        checker
            .error("argument-type", format!("macaddr() takes six bytes, not {is}"), span)
            .label(format!("this is {is}"));
        return None;
    };
    Some(call.op(Op::Mac, vec![value], Type::Mac))
}

/// The bytes of an address as a constant array.
pub(super) fn pton(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let arg = call.arg(0)?;
    let text = checker.literal_string("the argument of pton()", arg)?;
    let text = String::from_utf8_lossy(&text);
    let bytes = match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.octets().to_vec(),
        Ok(IpAddr::V6(address)) => address.octets().to_vec(),
        Err(_) => {
            checker
                .error("argument", format!("pton() takes an IPv4 or IPv6 address, not `{text}`"), arg.span)
                .help("for instance `pton(\"192.0.2.1\")` or `pton(\"2001:db8::1\")`");
            return None;
        }
    };
    let ty = Type::Array(Rc::new(Type::Int(IntType::U8)), bytes.len() as u32);
    Some(Expr { kind: ExprKind::Str(bytes.into()), ty, span: call.span })
}

pub(super) fn socket_cookie(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    checker.only_in("socket_cookie()", &["fentry", "fexit"], call.span)?;
    let socket = checker.value_expr(call.arg(0)?)?;
    if !matches!(socket.ty, Type::Ptr(..)) {
        let is = checker.name(&socket.ty);
        checker
            .error("argument-type", format!("socket_cookie() takes a struct sock *, not {is}"), socket.span)
            .label(format!("this is {is}"));
        return None;
    }
    Some(call.op(Op::SocketCookie, vec![socket], Type::U64))
}

/// A packet for a file of pcap: it goes with a record of its own, which says when it was sent and how long it is.
pub(super) fn skboutput(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    checker.only_in("skboutput()", &["fentry", "fexit"], call.span)?;
    let path = checker.literal_string("the path of skboutput()", call.arg(0)?)?;
    let packet = checker.value_expr(call.arg(1)?)?;
    let length = checker.number_arg("skboutput", call.arg(2)?)?;
    let offset = call.arg(3)?;
    let from = checker.literal_number("the offset of skboutput()", offset)?;
    let Ok(from) = u64::try_from(from) else {
        checker.error("argument", "the offset of skboutput() is not negative", offset.span);
        return None;
    };
    let is = checker.name(&packet.ty);
    if is != "struct sk_buff *" {
        checker
            .error("argument-type", format!("skboutput() takes a struct sk_buff *, not {is}"), packet.span)
            .label(format!("this is {is}"));
        return None;
    }
    let kind = ActionKind::Packet { path: String::from_utf8_lossy(&path).into_owned(), offset: from };
    let action = checker.action(kind, vec![Type::U64, Type::U64], call.span);
    Some(call.op(Op::SkbOutput(action), vec![packet, convert(length, &Type::U64)], Type::I64))
}

pub(super) fn cgroupid(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let arg = call.arg(0)?;
    let path = checker.literal_string("the argument of cgroupid()", arg)?;
    let path = String::from_utf8_lossy(&path).into_owned();
    match checker.target.cgroup_id(&path) {
        Ok(id) => Some(convert(int_literal(i128::from(id), call.span), &Type::U64)),
        Err(why) => {
            checker
                .error("unknown-cgroup", format!("there is no cgroup at `{path}`: {why}"), arg.span)
                .help("cgroups of version 2 are folders, by default of /sys/fs/cgroup");
            None
        }
    }
}

pub(super) fn cgroup_path(checker: &mut Checker<'_>, call: &Call<'_>) -> Option<Expr> {
    let id = checker.number_arg("cgroup_path", call.arg(0)?);
    let filter = match call.arg(1) {
        None => String::new(),
        Some(arg) => String::from_utf8_lossy(&checker.literal_string("the filter of cgroup_path()", arg)?).into_owned(),
    };
    let by = entry_number(&mut checker.types.aggregates.filters, filter);
    Some(call.op(Op::Shown(by), vec![id?], Type::CgroupPath))
}
