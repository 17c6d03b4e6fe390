//! `interval:s:1`, `interval:100ms`: a timer that fires on one CPU.

use super::{Concrete, ProbeError, Request, Resolved};
use crate::expand::Context;
use crate::number;
use crate::program::{Attach, ProgramKind, Sampling};

/// Units of the two-part form, with their length in nanoseconds; `hz` is a frequency.
const UNITS: &[(&str, u64)] = &[("hz", 0), ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)];

/// The shortest period of a bare duration.
const SHORTEST_NS: u64 = 1_000;

const NS_PER_S: u64 = 1_000_000_000;

pub(super) fn resolve(request: &mut Request<'_>) -> Resolved {
    let (name, rate) = rate(request)?;
    let period_ns = match rate {
        Sampling::Hz(hz) => (NS_PER_S / hz.max(1)).max(1),
        Sampling::PeriodNs(ns) => ns,
    };
    let attach = Attach::Interval { period_ns };
    Ok(vec![Concrete { name, attach, kind: ProgramKind::PerfEvent, context: Context::PerfEvent }])
}

/// Names of all units, for listings.
pub(super) fn units() -> impl Iterator<Item = &'static str> {
    UNITS.iter().map(|(name, _)| *name)
}

/// The canonical name and the rate of a timer: `unit:count` or a bare duration, whose canonical form counts microseconds.
pub(super) fn rate(request: &Request<'_>) -> Result<(String, Sampling), ProbeError> {
    let provider = request.provider.name;
    if request.parts.len() == 1 {
        let text = request.part(0);
        let Some(ns) = number::parse(text) else {
            let mut d = request.invalid(0, format!("`{text}` is not a duration")).label("expected a duration");
            d = match UNITS.iter().find(|(unit, _)| *unit == text) {
                Some((unit, _)) => d.help(format!("say how often: `{provider}:{unit}:1`")),
                None => d.help(format!("write for instance `{provider}:1s`, `{provider}:100ms` or `{provider}:s:1`")),
            };
            return Err(ProbeError::invalid(d));
        };
        if ns < SHORTEST_NS {
            let d = request.invalid(0, format!("a period of {ns} ns is too short")).label("shorter than 1us");
            return Err(ProbeError::invalid(
                d.help(format!("a bare number counts nanoseconds; `{provider}:s:{ns}` counts seconds")),
            ));
        }
        return Ok((format!("{provider}:us:{}", ns / 1_000), Sampling::PeriodNs(ns)));
    }
    let unit = request.part(0);
    let Some((unit, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let d = request.invalid(0, format!("`{unit}` is not a unit of time")).label("unknown unit");
        return Err(ProbeError::invalid(d.help("units are: s, ms, us, hz")));
    };
    let text = request.part(1);
    let Some(count) = number::parse(text).filter(|&n| n > 0) else {
        let d = request.invalid(1, format!("the rate of {} probe must be a positive integer", article(provider)));
        return Err(ProbeError::invalid(d.label(format!("`{text}` is not one"))));
    };
    let rate = if *scale == 0 {
        Sampling::Hz(count)
    } else {
        let Some(ns) = count.checked_mul(*scale).filter(|&ns| i64::try_from(ns).is_ok()) else {
            return Err(ProbeError::invalid(request.invalid(1, "this period is longer than 290 years")));
        };
        Sampling::PeriodNs(ns)
    };
    Ok((format!("{provider}:{unit}:{count}"), rate))
}

fn article(provider: &str) -> String {
    let vowel = provider.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {provider}", if vowel { "an" } else { "a" })
}
