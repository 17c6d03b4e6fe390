//! `hardware:event[:count]`: the processor's counters, a sample every so many events.

use super::software::{Event, counter};
use super::{Request, Resolved};

/// `PERF_TYPE_HARDWARE`.
const PERF_TYPE_HARDWARE: u32 = 0;

const EVENTS: &[Event] = &[
    Event { names: &["cpu-cycles", "cycles"], config: 0, period: 1_000_000 },
    Event { names: &["instructions"], config: 1, period: 1_000_000 },
    Event { names: &["cache-references"], config: 2, period: 1_000_000 },
    Event { names: &["cache-misses"], config: 3, period: 1_000_000 },
    Event { names: &["branch-instructions", "branches"], config: 4, period: 100_000 },
    Event { names: &["branch-misses"], config: 5, period: 100_000 },
    Event { names: &["bus-cycles"], config: 6, period: 100_000 },
    Event { names: &["frontend-stalls"], config: 7, period: 1_000_000 },
    Event { names: &["backend-stalls"], config: 8, period: 1_000_000 },
    Event { names: &["ref-cycles"], config: 9, period: 1_000_000 },
];

pub(super) fn resolve(request: &mut Request<'_>) -> Resolved {
    counter(request, PERF_TYPE_HARDWARE, EVENTS)
}

/// Names of all hardware events, for listings.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    EVENTS.iter().flat_map(|e| e.names.iter().copied())
}
