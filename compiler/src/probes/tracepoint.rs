//! `tracepoint:category:event`, wildcards in both parts.

use super::{Concrete, ProbeError, Request, Resolved, close_names, has_wildcard};
use crate::diagnostic::Diagnostic;
use crate::expand::Context;
use crate::program::{Attach, ProgramKind};
use crate::target::ProbeSource;

pub(super) fn resolve(request: &mut Request<'_>) -> Resolved {
    if request.parts.len() == 1 {
        return Err(ProbeError::invalid(no_category(request)));
    }
    let wanted = format!("{}:{}", request.part(0), request.part(1));
    let names = request.names(ProbeSource::Tracepoints, &wanted)?;
    let points: Vec<Concrete> = names.iter().filter_map(|name| point(name)).collect();
    if !points.is_empty() {
        return Ok(points);
    }
    let what = if has_wildcard(&wanted) { "tracepoint that matches" } else { "tracepoint" };
    Err(ProbeError::missing(request.missing(what, &wanted, ProbeSource::Tracepoints)))
}

/// The category was left out: the event's name alone often tells it.
fn no_category(request: &Request<'_>) -> Diagnostic {
    let event = request.part(0);
    let d = request.invalid(0, format!("the category of the tracepoint `{event}` is missing"));
    let found = request.target.probe_names(ProbeSource::Tracepoints, &format!("*:{event}")).unwrap_or_default();
    match close_names(&found) {
        Some(help) if found.len() <= 5 && !has_wildcard(event) => d.help(help),
        _ => d.help(format!("its form is `{}`", request.provider.form)),
    }
}

fn point(name: &str) -> Option<Concrete> {
    let (category, event) = name.split_once(':')?;
    let (category, event) = (category.to_owned(), event.to_owned());
    Some(Concrete {
        name: format!("tracepoint:{name}"),
        attach: Attach::Tracepoint { category: category.clone(), event: event.clone() },
        kind: ProgramKind::Tracepoint,
        context: Context::Tracepoint { category, event },
    })
}
