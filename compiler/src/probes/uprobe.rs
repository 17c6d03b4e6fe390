//! `uprobe:file:function[+offset]` and `uretprobe:file:function`: functions of programs and libraries, by their ELF symbols, with
//! wildcards in the function.

use super::{Concrete, ProbeError, Request, Resolved, close_names, has_wildcard};
use crate::diagnostic::Diagnostic;
use crate::expand::Context;
use crate::number;
use crate::program::{Attach, ProgramKind};
use crate::target::{TargetError, UserFunction, similar};

pub(super) fn resolve(request: &mut Request<'_>) -> Resolved {
    let provider = request.provider.name;
    let file = request.part(0).to_owned();
    if request.parts.len() == 3 {
        let d = request.invalid(1, "demangled names are not supported yet");
        return Err(ProbeError::invalid(d.help("use the symbol as `nm` prints it, or a wildcard")));
    }
    let (function, offset) = match request.part(1).split_once('+') {
        None => (request.part(1).to_owned(), 0),
        Some((function, offset)) => {
            let Some(bytes) = number::parse(offset.trim()) else {
                let d = request.invalid(1, format!("`{offset}` is not an offset"));
                return Err(ProbeError::invalid(d.label("expected a number of bytes after `+`")));
            };
            (function.trim_end().to_owned(), bytes)
        }
    };
    check(request, &file, &function, offset)?;
    let binary = match request.target.user_functions(&file, &function) {
        Ok(binary) => binary,
        Err(TargetError::NotFound) => return Err(ProbeError::missing(no_file(request, &file))),
        Err(e) => {
            let message = format!("cannot read the symbols of `{file}`: {e}");
            return Err(ProbeError::invalid(Diagnostic::error("bad-binary", message, request.part_span(0))));
        }
    };
    if binary.functions.is_empty() {
        return Err(ProbeError::missing(no_function(request, &binary.path, &file, &function)));
    }
    let returns = provider == "uretprobe";
    let mut points = Vec::with_capacity(binary.functions.len());
    for UserFunction { name, offset: start, size } in binary.functions {
        if size != 0 && offset >= size {
            let d = request.invalid(1, format!("`{name}` has {size} bytes only"));
            return Err(ProbeError::invalid(d.label(format!("{offset} is past its end"))));
        }
        let suffix = if offset == 0 { String::new() } else { format!("+{offset}") };
        points.push(Concrete {
            name: format!("{provider}:{}:{name}{suffix}", binary.path),
            attach: Attach::Uprobe { path: binary.path.clone(), offset: start.saturating_add(offset) },
            kind: if returns { ProgramKind::Uretprobe } else { ProgramKind::Uprobe },
            context: if returns { Context::UserReturn } else { Context::UserEntry },
        });
    }
    Ok(points)
}

/// What is wrong whatever the file holds.
fn check(request: &Request<'_>, file: &str, function: &str, offset: u64) -> Result<(), ProbeError> {
    let provider = request.provider.name;
    let fail = |d: Diagnostic| Err(ProbeError::invalid(d));
    if file.is_empty() || function.is_empty() {
        let d = request.invalid(usize::from(!file.is_empty()), format!("a {provider} needs a file and a function"));
        return fail(d.help(format!("its form is `{}`", request.provider.form)));
    }
    if has_wildcard(file) {
        return fail(
            request.invalid(0, "a wildcard in the file of a uprobe is not supported yet").label("name one file"),
        );
    }
    if function.starts_with(|c: char| c.is_ascii_digit()) {
        let d = request.invalid(1, format!("{provider}s at an address are not supported yet"));
        return fail(d.help("name a function, with an offset if need be: `main+4`"));
    }
    if offset != 0 && provider == "uretprobe" {
        let d = request.invalid(1, "a uretprobe has no offset").label("it fires when the function returns");
        return fail(d.help("leave the offset away, or use a uprobe"));
    }
    if offset != 0 && has_wildcard(function) {
        return fail(request.invalid(1, "an offset needs the name of one function").label("this is a wildcard"));
    }
    Ok(())
}

fn no_file(request: &Request<'_>, file: &str) -> Diagnostic {
    let d =
        Diagnostic::error("missing-probe", format!("there is no program or library `{file}`"), request.part_span(0))
            .label("not found");
    if file.contains('/') {
        d.help("the path is looked up where tapline runs")
    } else {
        d.note("it was looked for in PATH and among the system's libraries").help("write the whole path")
    }
}

fn no_function(request: &Request<'_>, path: &str, file: &str, function: &str) -> Diagnostic {
    let verb = if has_wildcard(function) { "no function that matches" } else { "no function" };
    let d = Diagnostic::error("missing-probe", format!("`{path}` has {verb} `{function}`"), request.part_span(1))
        .label("not among its symbols");
    let all = request.target.user_functions(file, "*").map(|b| b.functions).unwrap_or_default();
    if all.is_empty() {
        return d.note("it has no symbols at all: it was stripped").help("install its debugging symbols");
    }
    match close_names(&similar(function, all.iter().map(|f| f.name.as_str()))) {
        Some(help) => d.help(help),
        None => d,
    }
}
