//! `rawtracepoint:event`: the arguments as the kernel passes them to the tracepoint, before they are formatted.

use super::fentry::KERNEL;
use super::{Concrete, ProbeError, Request, Resolved, close_names, has_wildcard};
use crate::diagnostic::Diagnostic;
use crate::expand::Context;
use crate::program::{Attach, ProgramKind};
use crate::target::{Glob, ProbeSource, similar};
use crate::types::btf::{Btf, BtfType, FuncProto, KindSet};

/// What stands before the event's name in the type of its handlers.
const TYPEDEF: &str = "btf_trace_";

pub(super) fn resolve(request: &mut Request<'_>) -> Resolved {
    // The kernel finds a raw tracepoint by its event alone; a module says where to look for names.
    let (module, wanted) = match request.parts {
        [_, _] => (Some(request.part(0)), request.part(1)),
        _ => (None, request.part(0)),
    };
    // Where an event comes from, and its name.
    let mut names: Vec<(Option<String>, String)> = Vec::new();
    let mut found_in = |module: Option<&str>, events: Vec<String>| {
        names.extend(events.into_iter().map(|event| (module.map(str::to_owned), event)));
    };
    match module {
        // What a wildcard finds has its whole name.
        None => {
            let origin = has_wildcard(wanted).then_some(KERNEL);
            found_in(origin, request.names(ProbeSource::RawTracepoints, wanted)?);
        }
        Some(module) => {
            let glob = Glob::new(module);
            if glob.matches(KERNEL) {
                found_in(Some(KERNEL), request.names(ProbeSource::RawTracepoints, wanted)?);
            }
            if has_wildcard(module) {
                for module in request.target.modules_with_btf().iter().filter(|module| glob.matches(module)) {
                    found_in(Some(module), of_module(request, module, wanted)?);
                }
            } else if module != KERNEL {
                found_in(Some(module), of_module(request, module, wanted)?);
            }
        }
    }
    if names.is_empty() {
        let what = if has_wildcard(wanted) { "raw tracepoint that matches" } else { "raw tracepoint" };
        return Err(ProbeError::missing(request.missing(what, wanted, ProbeSource::RawTracepoints)));
    }
    let point = |(module, event): (Option<String>, String)| Concrete {
        name: match module {
            Some(module) => format!("rawtracepoint:{module}:{event}"),
            None => format!("rawtracepoint:{event}"),
        },
        attach: Attach::RawTracepoint { event: event.clone() },
        kind: ProgramKind::RawTracepoint,
        context: Context::RawTracepoint { event },
    };
    Ok(names.into_iter().map(point).collect())
}

/// The events that a module brings, by the types that it makes for them.
fn of_module(request: &Request<'_>, module: &str, wanted: &str) -> Result<Vec<String>, ProbeError> {
    let Some(btf) = request.target.module_btf(module) else {
        let message = format!("the kernel module `{module}` is not loaded, or has no BTF");
        let d = Diagnostic::error("missing-probe", message, request.part_span(0)).label("not found");
        let all = request.target.modules_with_btf();
        let help = close_names(&similar(module, all.iter().map(String::as_str)));
        return Err(ProbeError::missing(match help {
            Some(help) => d.help(help),
            None => d,
        }));
    };
    let glob = Glob::new(wanted);
    let mut found: Vec<String> = events(&btf).filter(|event| glob.matches(event)).map(str::to_owned).collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The events that the kernel or a module brings, by the types that it makes for them.
pub fn events(btf: &Btf) -> impl Iterator<Item = &str> {
    let typedefs = btf.own_ids().filter(|&id| KindSet::TYPEDEF.contains(btf.kind(id)));
    typedefs.filter_map(|id| btf.name(id).strip_prefix(TYPEDEF))
}

/// The prototype of an event's handlers: the type is always there, the function knows the names of its parameters.
pub fn prototype<'a>(btf: &'a Btf, event: &str) -> Option<FuncProto<'a>> {
    if let Some(proto) = btf.function(&format!("__traceiter_{event}")) {
        return Some(proto);
    }
    let id = btf.find(KindSet::TYPEDEF, &format!("{TYPEDEF}{event}"))?;
    let BtfType::Ptr(target) = btf.get(btf.resolve(id)) else { return None };
    match btf.get(btf.resolve(target)) {
        BtfType::FuncProto(proto) => Some(proto),
        _ => None,
    }
}
