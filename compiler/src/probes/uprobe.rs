//! `uprobe:file:function[+offset]` and `uretprobe:file:function`: functions of programs and libraries, by their ELF symbols, with
//! wildcards in the function and in the file; at an address; at a line of the source; by the names of C++ and Rust.

use super::{Concrete, ProbeError, Request, Resolved, close_names, has_wildcard};
use crate::diagnostic::{Diagnostic, Severity};
use crate::expand::Context;
use crate::number;
use crate::program::{Attach, ProgramKind};
use crate::target::{CodePlace, IN_ARCHIVE, LANGUAGES, TargetError, UserBinary, UserFunction, similar};

pub(super) fn resolve(request: &mut Request<'_>) -> Resolved {
    let file = request.part(0).to_owned();
    if let Some((binary, source)) = file.rsplit_once('@')
        && !source.is_empty()
        && request.part(1).starts_with(|c: char| c.is_ascii_digit())
    {
        return at_line(request, binary, source);
    }
    let mut language = "";
    if request.parts.len() == 3 {
        let known = LANGUAGES.into_iter().find(|it| it.strip_suffix(':') == Some(request.part(1)));
        let Some(known) = known else {
            let d = request.invalid(1, format!("`{}` is not a language whose names are known", request.part(1)));
            return Err(ProbeError::invalid(
                d.help("these are `cpp` and `rust`: `uprobe:file:cpp:\"name::space::function\"`"),
            ));
        };
        language = known;
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
    let several = has_wildcard(&file);
    let files = if several { request.target.matching_files(&file, request.options.pid) } else { vec![file.clone()] };
    let returns = request.provider.name == "uretprobe";
    let mut points = Vec::new();
    for file in &files {
        match request.target.user_functions(file, &format!("{language}{function}")) {
            Ok(binary) if binary.functions.is_empty() && !several => {
                return Err(ProbeError::missing(no_function(request, &binary.path, file, &function)));
            }
            Ok(binary) if binary.go && returns => return Err(ProbeError::invalid(go(request, &binary.path))),
            Ok(binary) => {
                check_place(request, &binary, &function, offset)?;
                points.extend(in_file(request, binary, language, offset)?);
            }
            // Not everything that matches is a program.
            Err(_) if several => {}
            Err(e) => return Err(unreadable(request, file, &e)),
        }
    }
    if points.is_empty() {
        let message = format!("no file that matches `{file}` has a function `{function}`");
        return Err(ProbeError::missing(Diagnostic::error("missing-probe", message, request.span)));
    }
    Ok(points)
}

/// The attach points at a line of the source.
fn at_line(request: &Request<'_>, file: &str, source: &str) -> Resolved {
    if request.provider.name == "uretprobe" {
        let d =
            request.invalid(0, "a uretprobe has no place in the source").label("it fires when the function returns");
        return Err(ProbeError::invalid(d.help("name the function, or use a uprobe")));
    }
    let mut numbers = [0u64; 2];
    for (index, number) in numbers.iter_mut().enumerate().take(request.parts.len() - 1) {
        match number::parse(request.part(index + 1)).filter(|parsed| *parsed > 0) {
            Some(parsed) => *number = parsed,
            None => {
                return Err(ProbeError::invalid(
                    request.invalid(index + 1, "expected the number of a line, or of a column"),
                ));
            }
        }
    }
    let [line, column] = numbers;
    match request.target.user_source(file, source, line, (column > 0).then_some(column)) {
        Ok(binary) if binary.functions.is_empty() => {
            Err(ProbeError::missing(no_line(request, &binary.path, (file, source), (line, column))))
        }
        Ok(binary) => in_file(request, binary, "", 0),
        Err(e) => Err(unreadable(request, file, &e)),
    }
}

fn no_line(request: &Request<'_>, path: &str, (file, source): (&str, &str), (line, column): (u64, u64)) -> Diagnostic {
    let place = if column > 0 { format!("{source}:{line}:{column}") } else { format!("{source}:{line}") };
    let d = Diagnostic::error("missing-probe", format!("`{path}` has no code of `{place}`"), request.part_span(1))
        .label("no statement begins there");
    if !request.hints {
        return d;
    }
    let lines = request.target.user_source_lines(file, source);
    let Some(close) = lines.iter().min_by_key(|other| other.abs_diff(line)) else {
        return d
            .note(format!("its debug information knows no file `{source}`"))
            .help("build the program with `-g`, or install its debugging symbols");
    };
    let elsewhere = if *close == line { " at another column" } else { "" };
    d.help(format!("there is code of line {close}{elsewhere}"))
}

fn unreadable(request: &Request<'_>, file: &str, error: &TargetError) -> ProbeError {
    if *error == TargetError::NotFound {
        return ProbeError::missing(no_file(request, file));
    }
    let error = error.to_string();
    let why = error.strip_prefix(file).and_then(|why| why.strip_prefix(": ")).unwrap_or(&error);
    let message = format!("cannot read the symbols of `{file}`: {why}");
    ProbeError::invalid(Diagnostic::error("bad-binary", message, request.part_span(0)))
}

fn go(request: &Request<'_>, path: &str) -> Diagnostic {
    Diagnostic::error("go-return", format!("`{path}` is a program of Go: its returns cannot be probed"), request.span)
        .label("a uretprobe would crash it")
        .note("the kernel puts an address of its own in the place of the return address, and Go's runtime does not know it when it moves a stack")
        .help("probe the `RET` instructions of the function: `uprobe:file:function+offset`")
}

/// The attach points in one file.
fn in_file(request: &Request<'_>, binary: UserBinary, language: &str, offset: u64) -> Resolved {
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
            name: format!("{provider}:{}:{language}{name}{suffix}", binary.path),
            attach: Attach::Uprobe { path: binary.path.clone(), offset: start.saturating_add(offset) },
            kind: if returns { ProgramKind::Uretprobe } else { ProgramKind::Uprobe },
            context: if returns {
                Context::UserReturn { path: binary.path.clone() }
            } else {
                Context::UserEntry { path: binary.path.clone(), offset: start.saturating_add(offset) }
            },
        });
    }
    Ok(points)
}

/// A breakpoint inside of an instruction changes what it does: an offset or address must be where one begins.
fn check_place(request: &mut Request<'_>, binary: &UserBinary, function: &str, offset: u64) -> Result<(), ProbeError> {
    let address = number::parse(function);
    let [UserFunction { name, offset: start, size }] = binary.functions.as_slice() else { return Ok(()) };
    if (offset == 0 && address.is_none()) || (*size != 0 && offset >= *size) {
        return Ok(());
    }
    let code = "instruction";
    let part = request.parts.len() - 1;
    let place = request.part(part).to_owned();
    let named = |distance: u64| match address {
        Some(address) => format!("{:#x}", address.wrapping_add(distance)),
        None if distance == 0 => name.clone(),
        None => format!("{name}+{distance}"),
    };
    let d = match request.target.user_instruction(&binary.path, start.saturating_add(offset)) {
        CodePlace::Start => return Ok(()),
        CodePlace::Inside { before, after } => {
            let ends = [offset.wrapping_sub(before), offset.wrapping_add(after)].map(named);
            Diagnostic::error(code, format!("`{place}` lies inside of an instruction"), request.part_span(part))
                .label("no instruction begins here")
                .help(format!("instructions begin at `{}` and `{}`", ends[0], ends[1]))
        }
        CodePlace::Unknown => {
            let message = format!("whether an instruction begins at `{place}` cannot be found out");
            Diagnostic::error(code, message, request.part_span(part))
                .label("the function around it is unknown")
                .note(format!("`{}` has neither symbols nor unwind tables there", binary.path))
        }
    };
    if request.options.allow_unsafe {
        request.diagnostics.push(Diagnostic { severity: Severity::Warning, ..d });
        return Ok(());
    }
    Err(ProbeError::missing(
        d.note("a probe inside of an instruction changes it, and can crash the program")
            .help("`--unsafe` sets the probe all the same"),
    ))
}

/// What is wrong whatever the file holds.
fn check(request: &Request<'_>, file: &str, function: &str, offset: u64) -> Result<(), ProbeError> {
    let provider = request.provider.name;
    let fail = |d: Diagnostic| Err(ProbeError::invalid(d));
    if file.is_empty() || function.is_empty() {
        let d = request.invalid(usize::from(!file.is_empty()), format!("a {provider} needs a file and a function"));
        return fail(d.help(format!("its form is `{}`", request.provider.form)));
    }
    if has_wildcard(file) && !file.contains('/') && request.options.pid.is_none() {
        let d = request.invalid(0, format!("a wildcard in the file of a {provider} needs a process or a folder"));
        let help = format!("name the process with `-p PID`, or the folder: `{provider}:/usr/lib/{file}:{function}`");
        return fail(d.label("files of which process?").help(help));
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
    if let Some((archive, inside)) = file.split_once(IN_ARCHIVE) {
        d.note(format!("it would be the file `{inside}` in the archive `{archive}`"))
    } else if file.contains('/') {
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
