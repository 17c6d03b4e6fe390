//! `test:name` and `bench:name`: actions that run when tests or measurements are asked for, in the order of the script.

use super::{Concrete, ProbeError, Request, Resolved};
use crate::expand::Context;
use crate::program::{Attach, ProgramKind};

pub(super) fn resolve(request: &mut Request<'_>) -> Resolved {
    let name = request.part(0);
    let provider = request.provider.name;
    if name.is_empty() {
        let d = request.invalid(0, format!("a {provider} probe needs a name"));
        return Err(ProbeError::invalid(d.help(format!("its form is `{}`", request.provider.form))));
    }
    Ok(vec![Concrete {
        name: format!("{provider}:{name}"),
        attach: if provider == "test" { Attach::Test(name.into()) } else { Attach::Bench(name.into()) },
        kind: ProgramKind::RawTpRun,
        context: Context::None,
    }])
}
