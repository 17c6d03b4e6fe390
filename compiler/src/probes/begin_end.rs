//! `begin` and `end`: run once before the other probes are attached, and once after they are detached.

use super::{Concrete, Request, Resolved};
use crate::expand::Context;
use crate::program::{Attach, ProgramKind};

#[allow(clippy::unnecessary_wraps)] // The table's signature.
pub(super) fn resolve(request: &mut Request<'_>) -> Resolved {
    let attach = if request.provider.name == "begin" { Attach::Begin } else { Attach::End };
    let name = request.provider.name.to_owned();
    Ok(vec![Concrete { name, attach, kind: ProgramKind::RawTpRun, context: Context::None }])
}
