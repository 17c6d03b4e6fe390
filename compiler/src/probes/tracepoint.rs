//! `tracepoint:category:event`, wildcards in both parts.

use super::{Concrete, ProbeError, Request, Resolved, has_wildcard};
use crate::expand::Context;
use crate::program::{Attach, ProgramKind};
use crate::target::ProbeSource;

pub(super) fn resolve(request: &mut Request<'_>) -> Resolved {
    let wanted = format!("{}:{}", request.part(0), request.part(1));
    let names = request.names(ProbeSource::Tracepoints, &wanted)?;
    let points: Vec<Concrete> = names.iter().filter_map(|name| point(name)).collect();
    if !points.is_empty() {
        return Ok(points);
    }
    let what = if has_wildcard(&wanted) { "tracepoint that matches" } else { "tracepoint" };
    Err(ProbeError::missing(request.missing(what, &wanted, ProbeSource::Tracepoints)))
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
