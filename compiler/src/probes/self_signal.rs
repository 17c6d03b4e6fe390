//! `self:signal:SIGUSR1`: runs when tapline itself receives the signal.

use super::{Concrete, ProbeError, Request, Resolved};
use crate::expand::Context;
use crate::program::{Attach, ProgramKind};

/// Signals that the runtime leaves to the script, with their numbers on all Linux architectures.
const SIGNALS: &[(&str, i32)] = &[("SIGUSR1", 10)];

pub(super) fn resolve(request: &mut Request<'_>) -> Resolved {
    if request.part(0) != "signal" {
        let d = request.invalid(0, format!("`self` probes watch signals, not `{}`", request.part(0)));
        return Err(ProbeError::invalid(d.help(format!("its form is `{}`", request.provider.form))));
    }
    let name = request.part(1);
    let Some((signal, number)) = SIGNALS.iter().find(|(signal, _)| *signal == name) else {
        let known: Vec<String> = SIGNALS.iter().map(|(s, _)| format!("`{s}`")).collect();
        let d = request.invalid(1, format!("`{name}` is not a signal that a script can watch"));
        return Err(ProbeError::invalid(d.help(format!("signals are: {}", known.join(", ")))));
    };
    Ok(vec![Concrete {
        name: format!("self:signal:{signal}"),
        attach: Attach::SelfSignal(*number),
        kind: ProgramKind::RawTpRun,
        context: Context::None,
    }])
}
