//! `software:event[:count]`: the kernel's software counters, a sample every so many events.

use super::{Concrete, ProbeError, Request, Resolved};
use crate::expand::Context;
use crate::number;
use crate::program::{Attach, ProgramKind};
use crate::similar;

/// A perf event by name.
pub(super) struct Event {
    /// Names; the first is the usual one.
    pub(super) names: &'static [&'static str],
    /// `PERF_COUNT_*` of `linux/perf_event.h`.
    pub(super) config: u64,
    /// Events per sample when the script does not say.
    pub(super) period: u64,
}

/// `PERF_TYPE_SOFTWARE`.
const PERF_TYPE_SOFTWARE: u32 = 1;

const EVENTS: &[Event] = &[
    Event { names: &["cpu-clock", "cpu"], config: 0, period: 1_000_000 },
    Event { names: &["task-clock"], config: 1, period: 1 },
    Event { names: &["page-faults", "faults"], config: 2, period: 100 },
    Event { names: &["context-switches", "cs"], config: 3, period: 1_000 },
    Event { names: &["cpu-migrations"], config: 4, period: 1 },
    Event { names: &["minor-faults"], config: 5, period: 100 },
    Event { names: &["major-faults"], config: 6, period: 1 },
    Event { names: &["alignment-faults"], config: 7, period: 1 },
    Event { names: &["emulation-faults"], config: 8, period: 1 },
    Event { names: &["dummy"], config: 9, period: 1 },
    Event { names: &["bpf-output"], config: 10, period: 1 },
];

pub(super) fn resolve(request: &mut Request<'_>) -> Resolved {
    counter(request, PERF_TYPE_SOFTWARE, EVENTS)
}

/// Names of all software events, for listings.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    EVENTS.iter().flat_map(|e| e.names.iter().copied())
}

/// An attach point `provider:event[:count]` over a table of events.
pub(super) fn counter(request: &Request<'_>, perf_type: u32, events: &'static [Event]) -> Resolved {
    let provider = request.provider.name;
    let event = request.part(0);
    let Some(row) = events.iter().find(|row| row.names.contains(&event)) else {
        let all = events.iter().flat_map(|row| row.names.iter().copied());
        let mut d = request.invalid(0, format!("`{event}` is not a {provider} event")).label("unknown event");
        d = match similar::closest(event, all.clone()) {
            Some(close) => d.help(format!("did you mean `{close}`?")),
            None => d.help(format!("events are: {}", all.collect::<Vec<_>>().join(", "))),
        };
        return Err(ProbeError::invalid(d));
    };
    let (name, period) = match request.parts.get(1) {
        // An empty count is what listings print.
        None => (format!("{provider}:{event}"), row.period),
        Some(count) if count.node.is_empty() => (format!("{provider}:{event}"), row.period),
        Some(count) => {
            let Some(period) = number::parse(&count.node).filter(|&n| n > 0) else {
                let message = format!("the count of a {provider} probe must be a positive integer");
                let d = request.invalid(1, message).label(format!("`{}` is not one", count.node));
                return Err(ProbeError::invalid(d));
            };
            (format!("{provider}:{event}:{period}"), period)
        }
    };
    Ok(vec![Concrete {
        name,
        attach: Attach::PerfCounter { perf_type, config: row.config, period },
        kind: ProgramKind::PerfEvent,
        context: Context::PerfEvent,
    }])
}
