//! The script's maps: keys and values joined over all programs, and the messages when they do not.

use std::collections::HashMap;
use std::rc::Rc;

use tapline_grammar::ast;
use tapline_grammar::span::Span;

use super::flow::{Conflict, Flow};
use super::{Checker, constant, convert};
use crate::index::IndexVec;
use crate::ir::MapKind;
use crate::program::MapId;
use crate::similar::closest;
use crate::typed::{Expr, ExprKind, TypedMap};
use crate::types::{AddrSpace, Type};

/// How a map is keyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyFlow {
    /// Without key.
    Scalar,
    /// With a key of this flow.
    Keyed(Flow),
}

/// A map in this pass.
#[derive(Debug, Default)]
struct Map {
    name: String,
    /// First appearance in the text.
    first: Span,
    known_key: Option<KeyFlow>,
    known_value: Option<Flow>,
    key: Option<KeyFlow>,
    key_span: Span,
    value: Option<Flow>,
    value_span: Span,
    /// Read in a program.
    read: Option<Span>,
    /// Named as a whole (`print(@m)`).
    named: Option<Span>,
    declared: Option<(MapKind, u32)>,
    /// Nothing that has a type of its own is ever assigned; reads give zero.
    empty: bool,
    /// Something is assigned, which may be made of the map itself.
    stored: bool,
    /// Something about it was reported in this pass.
    broken: bool,
    /// A probe that is not checked uses it.
    unknown: bool,
}

/// All maps.
#[derive(Debug, Default)]
pub(crate) struct Maps {
    all: IndexVec<MapId, Map>,
    by_name: HashMap<String, MapId>,
    passes: u32,
}

impl Maps {
    pub(super) fn begin_pass(&mut self) {
        for map in &mut self.all {
            map.key = None;
            map.value = None;
            map.read = None;
            map.named = None;
            map.broken = false;
            map.stored = false;
        }
    }

    /// Keeps what was found; true when something changed.
    pub(super) fn end_pass(&mut self) -> bool {
        let mut changed = false;
        for map in &mut self.all {
            if map.empty {
                map.value = map.value.take().or(Some(Flow::Of(Type::I64)));
            }
            changed |= map.key != map.known_key || map.value != map.known_value;
            map.known_key.clone_from(&map.key);
            map.known_value.clone_from(&map.value);
        }
        self.passes += 1;
        if self.passes == 1 && !self.all.is_empty() {
            self.sort();
            return true;
        }
        changed
    }

    /// Maps are numbered in the order of their names: that is the order in which the reference prints them at exit.
    fn sort(&mut self) {
        let mut maps = std::mem::take(&mut self.all).into_vec();
        maps.sort_by(|a, b| a.name.cmp(&b.name));
        self.all = maps.into();
        self.by_name = self.all.enumerate().map(|(id, map)| (map.name.clone(), id)).collect();
    }

    /// Types found so far no longer hold.
    pub(super) fn forget(&mut self) {
        for map in &mut self.all {
            map.known_key = None;
            map.known_value = None;
        }
        self.passes = 0;
    }

    /// Gives `int64` to maps that are read and never written; true when there are some.
    pub(super) fn settle_unknown(&mut self) -> bool {
        let mut some = false;
        for map in &mut self.all {
            if map.value.is_none() && map.read.is_some() && !map.empty && !map.unknown {
                map.empty = true;
                some = true;
            }
        }
        some
    }

    pub(super) fn typed(&self, max_map_keys: u32) -> IndexVec<MapId, TypedMap> {
        let maps = self.all.iter().map(|map| TypedMap {
            name: map.name.clone(),
            key: match &map.key {
                Some(KeyFlow::Keyed(flow)) => Some(flow.ty()),
                _ => None,
            },
            value: map.value.as_ref().map_or(Type::I64, Flow::ty),
            declared: map.declared.map(|(kind, _)| kind),
            max_entries: match (map.declared, &map.key) {
                (Some((_, size)), _) => size,
                (None, Some(KeyFlow::Keyed(_))) => max_map_keys,
                (None, _) => 1,
            },
            span: map.first,
        });
        maps.collect::<Vec<_>>().into()
    }

    fn get(&self, id: MapId) -> Option<&Map> {
        self.all.get(id)
    }

    /// Names of the maps that hold something.
    fn names(&self) -> Vec<String> {
        self.all.iter().filter(|m| m.known_value.is_some() && !m.empty).map(|m| m.name.clone()).collect()
    }
}

/// What a map may be declared as.
const KINDS: &[(&str, MapKind)] = &[
    ("hash", MapKind::Hash),
    ("lruhash", MapKind::LruHash),
    ("percpuhash", MapKind::PercpuHash),
    ("percpulruhash", MapKind::LruPercpuHash),
];

impl Checker<'_> {
    /// `let @m = hash(N)`.
    pub(super) fn declare_maps(&mut self) {
        for decl in &self.script.map_decls {
            let Some((_, kind)) = KINDS.iter().find(|(name, _)| *name == decl.kind.node) else {
                let close = closest(&decl.kind.node, KINDS.iter().map(|(name, _)| *name)).map(str::to_owned);
                self.error("unknown-map-kind", format!("unknown kind of map `{}`", decl.kind.node), decl.kind.span)
                    .note("kinds of maps are: hash, lruhash, percpuhash, percpulruhash")
                    .suggest(close);
                continue;
            };
            let size = self.expr(&decl.max_entries).and_then(|e| constant::value(&e));
            let Some(size) = size.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0) else {
                self.error("map-size", "the size of a map is a positive constant", decl.max_entries.span);
                continue;
            };
            let id = self.map(&decl.map.node, decl.map.span);
            if let Some(map) = self.maps.all.get_mut(id) {
                map.declared = Some((*kind, size));
            }
        }
    }

    /// The map of a name, made when it is new.
    fn map(&mut self, name: &str, span: Span) -> MapId {
        if let Some(id) = self.maps.by_name.get(name).copied() {
            if let Some(map) = self.maps.all.get_mut(id)
                && span < map.first
            {
                map.first = span;
            }
            return id;
        }
        let unknown = self.script.unknown_maps.contains(name);
        let id = self.maps.all.push(Map { name: name.to_owned(), first: span, unknown, ..Map::default() });
        self.maps.by_name.insert(name.to_owned(), id);
        id
    }

    /// Something is assigned to the map, whatever it is.
    pub(crate) fn mark_stored(&mut self, id: MapId) {
        if let Some(map) = self.maps.all.get_mut(id) {
            map.stored = true;
        }
    }

    /// The map as a whole, for `print(@m)` and its kind.
    pub(crate) fn whole_map(&mut self, name: &str, span: Span) -> MapId {
        let id = self.map(name, span);
        if let Some(map) = self.maps.all.get_mut(id) {
            map.named.get_or_insert(span);
        }
        id
    }

    /// A map with its key expression, of the map's key type. The key is `None` for a scalar map.
    pub(crate) fn map_access(
        &mut self,
        name: &str,
        key: Option<&[ast::Expr]>,
        span: Span,
    ) -> Option<(MapId, Option<Expr>)> {
        let key = match key {
            None => None,
            Some(exprs) => Some(self.key_tuple(exprs, span)?),
        };
        self.map_with_key(name, key, span)
    }

    fn key_tuple(&mut self, exprs: &[ast::Expr], span: Span) -> Option<Expr> {
        if let [single] = exprs {
            let key = self.value_expr(single)?;
            return Some(self.unfollowed(key));
        }
        let members: Vec<Option<Expr>> = exprs.iter().map(|e| self.value_expr(e)).collect();
        let members = members.into_iter().collect::<Option<Vec<Expr>>>()?;
        let members: Vec<Expr> = members.into_iter().map(|e| self.unfollowed(e)).collect();
        let ty = Type::Tuple(members.iter().map(|e| e.ty.clone()).collect());
        let place = exprs.iter().fold(None, |all: Option<Span>, e| Some(all.map_or(e.span, |s| s.to(e.span))));
        Some(Expr { kind: ExprKind::Tuple(members), ty, span: place.unwrap_or(span) })
    }

    /// As [`map_access`](Self::map_access), with a key that is typed already.
    pub(crate) fn map_with_key(&mut self, name: &str, key: Option<Expr>, span: Span) -> Option<(MapId, Option<Expr>)> {
        let id = self.map(name, span);
        let Some(key) = key else {
            self.key_flow(id, &KeyFlow::Scalar, span);
            return Some((id, None));
        };
        if matches!(key.ty, Type::Void | Type::Strings | Type::Aggregate(_)) {
            let is = self.name(&key.ty);
            self.error("invalid-key", format!("a value of type {is} cannot be a map's key"), key.span);
            return None;
        }
        let flow = self.flow_of(&key);
        if !self.key_flow(id, &KeyFlow::Keyed(flow), key.span) {
            return None;
        }
        let ty = match self.maps.get(id).and_then(|m| m.known_key.as_ref().or(m.key.as_ref())) {
            Some(KeyFlow::Keyed(flow)) => flow.ty(),
            _ => return None,
        };
        Some((id, Some(convert(key, &ty))))
    }

    /// A key flows into a map; false when it does not fit.
    pub(crate) fn key_flow(&mut self, id: MapId, key: &KeyFlow, span: Span) -> bool {
        let Some(map) = self.maps.all.get_mut(id) else { return false };
        let (name, first) = (map.name.clone(), map.key_span);
        map.broken |= match (&map.key, key) {
            (Some(KeyFlow::Keyed(a)), KeyFlow::Keyed(b)) => a.join(b).is_err(),
            (Some(a), b) => *a != *b,
            (None, _) => false,
        };
        let joined = match (&map.key, key) {
            (None, _) => {
                map.key_span = span;
                Ok(key.clone())
            }
            (Some(KeyFlow::Scalar), KeyFlow::Scalar) => Ok(KeyFlow::Scalar),
            (Some(KeyFlow::Keyed(a)), KeyFlow::Keyed(b)) => a.join(b).map(KeyFlow::Keyed),
            (Some(KeyFlow::Scalar), KeyFlow::Keyed(_)) => {
                self.error("map-key", format!("@{name} has no key elsewhere, and is used with one here"), span)
                    .label("with a key")
                    .also(first, "without a key here");
                return false;
            }
            (Some(KeyFlow::Keyed(_)), KeyFlow::Scalar) => {
                self.error("map-key", format!("@{name} has a key elsewhere, and is used without one here"), span)
                    .label("without a key")
                    .also(first, "with a key here");
                return false;
            }
        };
        match joined {
            Ok(joined) => {
                map.key = Some(joined);
                true
            }
            Err(Conflict::Text) => {
                self.wants_texts = true;
                false
            }
            Err(Conflict::Types) => {
                let (was, is) = match (&map.key, key) {
                    (Some(KeyFlow::Keyed(was)), KeyFlow::Keyed(is)) => (was.ty(), is.ty()),
                    _ => return false,
                };
                let (was, is) = (self.name(&was), self.name(&is));
                self.error("map-key", format!("the key of @{name} is {was} elsewhere, and {is} here"), span)
                    .label(format!("this is {is}"))
                    .also(first, format!("the key was first used here, as {was}"))
                    .help("all keys of a map have one type: use another map for the other keys");
                false
            }
        }
    }

    /// A value flows into a map; false when it does not fit.
    pub(crate) fn value_flow(&mut self, id: MapId, flow: &Flow, span: Span) -> bool {
        let Some(map) = self.maps.all.get_mut(id) else { return false };
        // The context's address that comes out of a map is no more than a number to the verifier.
        let flow = &match flow {
            Flow::Of(Type::Ptr(target, AddrSpace::Ctx)) => Flow::Of(Type::Ptr(Rc::clone(target), AddrSpace::Kernel)),
            other => other.clone(),
        };
        let joined = match &map.value {
            None => {
                map.value_span = span;
                Ok(flow.clone())
            }
            Some(before) => before.join(flow),
        };
        match joined {
            Ok(joined) => {
                map.value = Some(joined);
                true
            }
            Err(Conflict::Text) => {
                self.wants_texts = true;
                false
            }
            Err(Conflict::Types) => {
                let (name, first) = (map.name.clone(), map.value_span);
                let was = map.value.as_ref().map(Flow::ty);
                let (was, is) = (was.map(|ty| self.name(&ty)).unwrap_or_default(), self.name(&flow.ty()));
                if was == is {
                    self.error("map-value", format!("@{name} is {is} with other arguments elsewhere"), span)
                        .label("with these arguments here")
                        .also(first, "with those arguments here")
                        .help("all values of a map have the same buckets or intervals: use another map for the others");
                    return false;
                }
                self.error("map-value", format!("the value of @{name} is {was} elsewhere, and {is} here"), span)
                    .label(format!("this is {is}"))
                    .also(first, format!("@{name} was first assigned here, as {was}"))
                    .help("a map holds values of one type: use another map for the other values");
                false
            }
        }
    }

    /// The type of a map's value as far as it is known.
    pub(crate) fn map_value(&mut self, id: MapId, read: Span) -> Option<Flow> {
        let map = self.maps.all.get_mut(id)?;
        map.read.get_or_insert(read);
        map.known_value.clone().or_else(|| map.value.clone())
    }

    /// As [`map_value`](Self::map_value), without counting as a read.
    pub(crate) fn peek_value(&self, id: MapId) -> Option<Flow> {
        let map = self.maps.get(id)?;
        map.known_value.clone().or_else(|| map.value.clone())
    }

    /// How a map is keyed, as far as it is known.
    pub(crate) fn map_key(&self, id: MapId) -> Option<KeyFlow> {
        let map = self.maps.get(id)?;
        map.known_key.clone().or_else(|| map.key.clone())
    }

    /// Without `@`.
    pub(crate) fn map_name(&self, id: MapId) -> String {
        self.maps.get(id).map(|m| m.name.clone()).unwrap_or_default()
    }

    /// Declared kinds that do not go with what is stored.
    fn report_kinds(&mut self) {
        let mut found = Vec::new();
        for map in &self.maps.all {
            let Some((kind, _)) = map.declared else { continue };
            let own = KINDS.iter().find(|(_, other)| *other == kind).map_or("", |(name, _)| name);
            let per_cpu = matches!(kind, MapKind::PercpuHash | MapKind::LruPercpuHash);
            let aggregated = match &map.value {
                Some(Flow::Of(Type::Aggregate(_))) => true,
                Some(_) => false,
                None => continue,
            };
            if per_cpu != aggregated {
                found.push((map.name.clone(), own, aggregated, map.first, map.value_span));
            }
        }
        for (name, kind, aggregated, declared, stored) in found {
            let (what, fitting) = if aggregated {
                ("an aggregation, which is kept per CPU", "percpuhash or percpulruhash")
            } else {
                ("a plain value, which is not kept per CPU", "hash or lruhash")
            };
            self.error("map-kind", format!("@{name} is declared as {kind}, and holds {what}"), stored)
                .also(declared, "declared here")
                .help(format!("declare it as {fitting}"));
        }
    }

    /// Maps that nothing is assigned to.
    pub(super) fn report_maps(&mut self) {
        self.report_kinds();
        let names = self.maps.names();
        let mut found = Vec::new();
        for map in &self.maps.all {
            if let Some(span) = map.read.or(map.named)
                && !map.broken
                && !map.unknown
                && !map.stored
                && (map.empty || map.value.is_none())
            {
                found.push((map.name.clone(), span, map.empty, map.declared.is_some()));
            }
        }
        for (name, span, read, declared) in found {
            let close = closest(&name, names.iter().map(String::as_str)).map(|n| format!("@{n}"));
            if read {
                self.warning("unassigned-map", format!("@{name} is read, but nothing is ever stored in it"), span)
                    .label("always zero")
                    .suggest(close);
            } else if !declared {
                self.error("unknown-map", format!("undefined map: @{name}"), span)
                    .label("nothing is ever stored in it")
                    .suggest(close);
            }
        }
    }
}
