//! `iter:task`: runs once for each object that the kernel keeps of a kind. What iterators there are, and what they hand to a program, BTF
//! says: a struct `bpf_iter__NAME` for each function `bpf_iter_NAME`.

use super::{Concrete, ProbeError, Request, Resolved, close_names, has_wildcard};
use crate::diagnostic::Diagnostic;
use crate::expand::Context;
use crate::program::{Attach, ProgramKind};
use crate::target::similar;
use crate::types::btf::{Btf, KindSet};

/// The struct that a program of an iterator sees.
const CONTEXT: &str = "bpf_iter__";

/// Where the file system of BPF is mounted.
const BPF_FILES: &str = "/sys/fs/bpf";

/// Iterators over the contents of a map, which a script has no way to name.
const OVER_A_MAP: &[&str] = &["bpf_map_elem", "bpf_sk_storage_map", "sockmap"];

pub(super) fn resolve(request: &mut Request<'_>) -> Resolved {
    let name = request.part(0);
    let pin = match request.parts {
        [_, pin] if pin.node.is_empty() => {
            let d = request.invalid(1, "the file of a pinned iterator needs a name");
            return Err(ProbeError::invalid(d.help(format!("leave it away: `iter:{name}` runs once and prints"))));
        }
        [_, pin] => Some(pin.node.clone()),
        _ => None,
    };
    if has_wildcard(name) {
        let d = request.invalid(0, "iterators have no wildcards").label("name one iterator");
        return Err(ProbeError::invalid(d.help("`tapline -l 'iter:*'` lists them")));
    }
    let Some(btf) = request.target.btf() else {
        let d = Diagnostic::error("no-btf", "iterators need the kernel's BTF, which is not there", request.span);
        return Err(ProbeError::invalid(d));
    };
    let Some(id) = function(btf, name) else {
        let message = format!("this kernel has no iterator `{name}`");
        let d = Diagnostic::error("missing-probe", message, request.span).label("does not exist here");
        let known = names(btf);
        return Err(ProbeError::missing(match close_names(&similar(name, known.iter().copied())) {
            Some(help) => d.help(help),
            None => d.note(format!("its iterators are: {}", known.join(", "))),
        }));
    };
    if OVER_A_MAP.contains(&name) {
        let d = request.invalid(0, format!("the iterator `{name}` needs a map of another program"));
        let d = d.label("there is no way to name one").help("`iter:bpf_map` goes through all maps");
        return Err(ProbeError::invalid(
            d.help("`for ($kv : @map)` goes through what is in a map of the script itself"),
        ));
    }
    Ok(vec![Concrete {
        name: pin.as_ref().map_or_else(|| format!("iter:{name}"), |pin| format!("iter:{name}:{pin}")),
        kind: ProgramKind::Iter,
        context: Context::Iterator { name: name.to_owned(), pinned: pin.is_some() },
        attach: Attach::Iter { name: name.to_owned(), btf_id: id, pin: pin.map(|pin| place(&pin)) },
    }])
}

/// Where a pin goes: a path, or a name below the file system of BPF.
fn place(pin: &str) -> String {
    if pin.starts_with('/') { pin.to_owned() } else { format!("{BPF_FILES}/{pin}") }
}

/// Name of the struct, without `struct`, that programs of an iterator see.
pub fn context(name: &str) -> String {
    format!("{CONTEXT}{name}")
}

fn function(btf: &Btf, name: &str) -> Option<u32> {
    btf.find(KindSet::STRUCT, &context(name))?;
    Some(btf.find(KindSet::FUNC, &format!("bpf_iter_{name}"))?.0)
}

/// All iterators of a kernel, sorted.
pub fn names(btf: &Btf) -> Vec<&str> {
    let mut names: Vec<&str> = btf
        .own_ids()
        .filter(|&id| KindSet::STRUCT.contains(btf.kind(id)))
        .filter_map(|id| btf.name(id).strip_prefix(CONTEXT))
        .filter(|name| function(btf, name).is_some())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}
