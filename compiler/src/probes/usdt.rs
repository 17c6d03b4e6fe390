//! `usdt:file:[provider:]name`: places that a program was built with for tracing, by the notes in its file.

mod operand;

use super::{Concrete, ProbeError, Request, Resolved, close_names, has_wildcard};
use crate::diagnostic::Diagnostic;
use crate::expand::Context;
use crate::program::{Attach, ProgramKind};
use crate::target::{Glob, TargetError, UsdtBinary, UsdtProbe, similar};

pub use operand::{Memory, Operand, Source, parse_all};

pub(super) fn resolve(request: &mut Request<'_>) -> Resolved {
    let (file, provider, name) = match request.parts {
        [file, provider, name] => (file.node.clone(), Some(provider.node.clone()), name.node.clone()),
        [file, name] => (file.node.clone(), None, name.node.clone()),
        _ => (String::new(), None, request.part(0).to_owned()),
    };
    if name.is_empty() {
        let d = request.invalid(request.parts.len().saturating_sub(1), "a usdt probe needs a name");
        return Err(ProbeError::invalid(d.help(format!("its form is `{}`", request.provider.form))));
    }
    if file.is_empty() && request.options.pid.is_none() {
        let d = request.invalid(0, "a usdt probe without a file needs a process").label("which file?");
        return Err(ProbeError::invalid(
            d.help("name the process with `-p PID`, the file (`usdt:/path/of/program:name`), or all programs that run (`usdt:*:name`)"),
        ));
    }
    let several = file.is_empty() || has_wildcard(&file);
    let pattern = if file.is_empty() { "*" } else { &file };
    let files = if several { request.target.matching_files(pattern, request.options.pid) } else { vec![file.clone()] };
    let mut points = Vec::new();
    let mut seen = Vec::new();
    for file in files {
        let binary = match request.target.usdt_probes(&file) {
            Ok(binary) => binary,
            // Not everything that matches is a program.
            Err(_) if several => continue,
            Err(TargetError::NotFound) => return Err(ProbeError::missing(no_file(request, &file))),
            Err(e) => {
                let message = format!("cannot read the usdt probes of `{file}`: {e}");
                return Err(ProbeError::invalid(Diagnostic::error("bad-binary", message, request.part_span(0))));
            }
        };
        add(request, &binary, provider.as_deref(), &name, &mut points);
        seen.push(binary);
    }
    if points.is_empty() {
        return Err(ProbeError::missing(no_probe(request, &seen, &name)));
    }
    Ok(points)
}

fn add(request: &mut Request<'_>, binary: &UsdtBinary, provider: Option<&str>, name: &str, points: &mut Vec<Concrete>) {
    let (provider, name) = (Glob::new(provider.unwrap_or("*")), Glob::new(name));
    for probe in &binary.probes {
        if !provider.matches(&probe.provider) || !name.matches(&probe.name) {
            continue;
        }
        let UsdtProbe { provider, name, offset, semaphore, arguments } = probe.clone();
        points.push(Concrete {
            name: format!("usdt:{}:{provider}:{name}", binary.path),
            attach: Attach::Usdt { path: binary.path.clone(), offset, semaphore },
            kind: ProgramKind::Uprobe,
            context: Context::Usdt { operands: parse_all(&arguments, request.target.arch()) },
        });
    }
}

fn no_file(request: &Request<'_>, file: &str) -> Diagnostic {
    let message = format!("there is no program or library `{file}`");
    Diagnostic::error("missing-probe", message, request.part_span(0)).label("not found")
}

fn no_probe(request: &Request<'_>, files: &[UsdtBinary], name: &str) -> Diagnostic {
    let last = request.parts.len().saturating_sub(1);
    let place = match files {
        [one] => format!("`{}`", one.path),
        _ => "these files".to_owned(),
    };
    let d = Diagnostic::error("missing-probe", format!("{place} has no usdt probe `{name}`"), request.part_span(last))
        .label("not among its notes");
    let all: Vec<&str> = files.iter().flat_map(|file| &file.probes).map(|probe| probe.name.as_str()).collect();
    if all.is_empty() {
        return d.note("it has no usdt probes at all");
    }
    match close_names(&similar(name, all.iter().copied())) {
        Some(help) => d.help(help),
        None => d.help(format!("`tapline -l 'usdt:{}:*'` lists them", request.part(0))),
    }
}
