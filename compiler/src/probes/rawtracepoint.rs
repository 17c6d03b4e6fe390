//! `rawtracepoint:event`: the arguments as the kernel passes them to the tracepoint, before they are formatted.

use super::{Concrete, ProbeError, Request, Resolved, has_wildcard};
use crate::expand::Context;
use crate::program::{Attach, ProgramKind};
use crate::target::ProbeSource;

pub(super) fn resolve(request: &mut Request<'_>) -> Resolved {
    // An optional module stands before the event; the kernel finds a raw tracepoint by its event alone.
    let (module, wanted) = match request.parts {
        [_, _] => (Some(request.part(0)), request.part(1)),
        _ => (None, request.part(0)),
    };
    let names = request.names(ProbeSource::RawTracepoints, wanted)?;
    if names.is_empty() {
        let what = if has_wildcard(wanted) { "raw tracepoint that matches" } else { "raw tracepoint" };
        return Err(ProbeError::missing(request.missing(what, wanted, ProbeSource::RawTracepoints)));
    }
    let prefix = module.map_or_else(String::new, |m| format!("{m}:"));
    let point = |event: String| Concrete {
        name: format!("rawtracepoint:{prefix}{event}"),
        attach: Attach::RawTracepoint { event: event.clone() },
        kind: ProgramKind::RawTracepoint,
        context: Context::RawTracepoint { event },
    };
    Ok(names.into_iter().map(point).collect())
}
