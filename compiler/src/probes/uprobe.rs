//! `uprobe:file:function[+offset]` and `uretprobe:file:function`: functions of programs and libraries, by their ELF symbols, with
//! wildcards in the function and, with `-p`, in the file; at an address; by the names of C++.

use super::{Concrete, ProbeError, Request, Resolved, close_names, has_wildcard};
use crate::diagnostic::Diagnostic;
use crate::expand::Context;
use crate::number;
use crate::program::{Attach, ProgramKind};
use crate::target::{CPP, Glob, TargetError, UserBinary, UserFunction, similar};

pub(super) fn resolve(request: &mut Request<'_>) -> Resolved {
    let file = request.part(0).to_owned();
    let mut language = "";
    if request.parts.len() == 3 {
        if request.part(1) != "cpp" {
            let d = request.invalid(1, format!("`{}` is not a language whose names are known", request.part(1)));
            return Err(ProbeError::invalid(
                d.help("the only one is `cpp`: `uprobe:file:cpp:\"name::space::function\"`"),
            ));
        }
        language = CPP;
    }
    let last = request.parts.len() - 1;
    let (function, offset) = match request.part(last).split_once('+') {
        // `operator+` has no offset.
        _ if !language.is_empty() => (request.part(last).to_owned(), 0),
        None => (request.part(last).to_owned(), 0),
        Some((function, offset)) => {
            let Some(bytes) = number::parse(offset.trim()) else {
                let d = request.invalid(1, format!("`{offset}` is not an offset"));
                return Err(ProbeError::invalid(d.label("expected a number of bytes after `+`")));
            };
            (function.trim_end().to_owned(), bytes)
        }
    };
    check(request, &file, &function, offset)?;
    let files = match request.pid {
        Some(pid) if has_wildcard(&file) => {
            let glob = Glob::new(&file);
            request.target.mapped_files(pid).into_iter().filter(|path| glob.matches(path)).collect()
        }
        _ => vec![file.clone()],
    };
    let several = has_wildcard(&file);
    let mut points = Vec::new();
    for file in &files {
        match request.target.user_functions(file, &format!("{language}{function}")) {
            Ok(binary) if binary.functions.is_empty() && !several => {
                return Err(ProbeError::missing(no_function(request, &binary.path, file, &function)));
            }
            Ok(binary) => points.extend(in_file(request, binary, offset)?),
            // Not everything that a process maps is a program.
            Err(_) if several => {}
            Err(TargetError::NotFound) => return Err(ProbeError::missing(no_file(request, file))),
            Err(e) => {
                let message = format!("cannot read the symbols of `{file}`: {e}");
                return Err(ProbeError::invalid(Diagnostic::error("bad-binary", message, request.part_span(0))));
            }
        }
    }
    if points.is_empty() {
        let message = format!("no file of the process that matches `{file}` has a function `{function}`");
        return Err(ProbeError::missing(Diagnostic::error("missing-probe", message, request.span)));
    }
    Ok(points)
}

/// The attach points in one file.
fn in_file(request: &Request<'_>, binary: UserBinary, offset: u64) -> Resolved {
    let provider = request.provider.name;
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
    if has_wildcard(file) && request.pid.is_none() {
        let d = request.invalid(0, format!("a wildcard in the file of a {provider} needs a process"));
        return fail(d.label("files of which process?").help("name the process with `-p PID`, or one file"));
    }
    if function.starts_with(|c: char| c.is_ascii_digit()) && number::parse(function).is_none() {
        return fail(request.invalid(1, format!("`{function}` is neither a function nor an address")));
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
    if !request.hints {
        return d;
    }
    let all = request.target.user_functions(file, "*").map(|b| b.functions).unwrap_or_default();
    if all.is_empty() {
        return d.note("it has no symbols at all: it was stripped").help("install its debugging symbols");
    }
    match close_names(&similar(function, all.iter().map(|f| f.name.as_str()))) {
        Some(help) => d.help(help),
        None => d,
    }
}
