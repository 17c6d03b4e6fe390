//! `profile:hz:99`, `profile:10ms`: a sampling timer on every CPU.

use super::{Concrete, Request, Resolved, interval};
use crate::expand::Context;
use crate::program::{Attach, ProgramKind};

pub(super) fn resolve(request: &mut Request<'_>) -> Resolved {
    let (name, rate) = interval::rate(request)?;
    Ok(vec![Concrete {
        name,
        attach: Attach::Profile(rate),
        kind: ProgramKind::PerfEvent,
        context: Context::PerfEvent,
    }])
}
