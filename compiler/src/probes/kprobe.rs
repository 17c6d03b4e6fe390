//! `kprobe:[module:]function[+offset]` and `kretprobe:[module:]function`, with wildcards.

use super::{Concrete, ProbeError, Request, Resolved, has_wildcard};
use crate::diagnostic::{Diagnostic, Severity};
use crate::expand::Context;
use crate::number;
use crate::program::{Attach, ProgramKind};
use crate::target::{Feature, ProbeSource, TargetError};

/// Suffixes that compilers give to specialised copies of a function, in the order of preference. A `.cold` part is left out: it
/// holds only the unlikely paths.
const COMPILER_SUFFIXES: &[&str] = &[".isra.", ".constprop.", ".part."];

pub(super) fn resolve(request: &mut Request<'_>) -> Resolved {
    let (module, text) = match request.parts {
        [module, function] => (Some(module.node.clone()), function.node.clone()),
        _ => (None, request.part(0).to_owned()),
    };
    let last = request.parts.len().saturating_sub(1);
    let (function, offset) = split_offset(request, last, &text)?;
    if function.is_empty() {
        let d = request.invalid(last, format!("a {} needs the name of a function", request.provider.name));
        return Err(ProbeError::invalid(d.help(format!("its form is `{}`", request.provider.form))));
    }
    if function.starts_with(|c: char| c.is_ascii_digit()) {
        let d = request.invalid(last, "kprobes at an address are not supported yet");
        return Err(ProbeError::invalid(d.help("name a function, with an offset if need be: `kprobe:vfs_read+16`")));
    }
    let Matches { names, base, suffixed } = functions(request, module.as_deref(), &function)?;
    if !request.target.has(Feature::Kprobe) {
        let message = format!("this kernel has no {}s", request.provider.name);
        let d = Diagnostic::error("no-kprobes", message, request.span)
            .label("the function exists, but cannot be probed")
            .note("it was probably built without CONFIG_KPROBE_EVENTS")
            .help("trace a tracepoint or raw tracepoint instead: `tapline -l 'tracepoint:*'` lists them");
        return Err(ProbeError::invalid(d));
    }
    let returns = request.provider.name == "kretprobe";
    let multi = names.len() > 1 && offset == 0 && module.is_none() && request.target.has(Feature::KprobeMulti);
    let kind = match (returns, multi) {
        (false, false) => ProgramKind::Kprobe,
        (true, false) => ProgramKind::Kretprobe,
        (false, true) => ProgramKind::KprobeMulti,
        (true, true) => ProgramKind::KretprobeMulti,
    };
    let prefix = module.as_ref().map_or_else(String::new, |m| format!("{m}:"));
    let suffix = if offset == 0 { String::new() } else { format!("+{offset}") };
    let point = |name: String| {
        // Types of arguments are looked up, and the probe is named, by what the source calls the function.
        let known = if suffixed { base.clone() } else { name.clone() };
        let context = if returns {
            Context::KernelReturn { function: known.clone() }
        } else {
            Context::KernelEntry { function: known.clone() }
        };
        let attach = Attach::Kprobe { function: name, module: module.clone(), offset };
        Concrete { name: format!("{}:{prefix}{known}{suffix}", request.provider.name), attach, kind, context }
    };
    Ok(names.into_iter().map(point).collect())
}

/// Functions to attach to.
struct Matches {
    names: Vec<String>,
    /// What the script wrote.
    base: String,
    /// The names are compiler-made copies of `base`.
    suffixed: bool,
}

fn functions(request: &mut Request<'_>, module: Option<&str>, function: &str) -> Result<Matches, ProbeError> {
    let qualified = |pattern: &str| module.map_or_else(|| pattern.to_owned(), |m| format!("{m}:{pattern}"));
    let ask = |pattern: &str| match request.target.probe_names(ProbeSource::KernelFunctions, &qualified(pattern)) {
        Ok(names) => Ok(names),
        Err(TargetError::NotFound) => Ok(Vec::new()),
        // Without the list of traceable functions a plain symbol can still be attached to.
        Err(_) if !has_wildcard(pattern) && request.target.kernel_symbol(pattern).is_some() => {
            Ok(vec![pattern.to_owned()])
        }
        Err(e) => Err(ProbeError::invalid(request.unavailable(&e))),
    };
    let names = ask(function)?;
    let base = function.to_owned();
    if !names.is_empty() {
        return Ok(Matches { names, base, suffixed: false });
    }
    if !has_wildcard(function) {
        let copies = ask(&format!("{function}.*"))?;
        let copies: Vec<String> = COMPILER_SUFFIXES
            .iter()
            .map(|suffix| copies.iter().filter(|c| is_copy(c, function, suffix)).cloned().collect::<Vec<_>>())
            .find(|found| !found.is_empty())
            .unwrap_or_default();
        if !copies.is_empty() {
            let shown: Vec<String> = copies.iter().map(|c| format!("`{c}`")).collect();
            let message = format!("the compiler renamed `{function}`; probing {}", shown.join(", "));
            let note = Diagnostic::new(Severity::Note, "renamed-function", message, request.span);
            request.diagnostics.push(note);
            return Ok(Matches { names: copies, base, suffixed: true });
        }
    }
    let what = match (has_wildcard(function), module) {
        (true, _) => "traceable kernel function that matches".to_owned(),
        (false, None) => "traceable kernel function".to_owned(),
        (false, Some(module)) => format!("traceable function in the kernel module `{module}` with the name"),
    };
    let mut d = request.missing(&what, function, ProbeSource::KernelFunctions);
    if !has_wildcard(function) && request.target.kernel_symbol(function).is_some() {
        d = d.note("the kernel has the function, but it is inlined everywhere or marked as not traceable");
    }
    Err(ProbeError::missing(d))
}

/// `name` is `function`, then the suffix, then digits.
fn is_copy(name: &str, function: &str, suffix: &str) -> bool {
    name.strip_prefix(function)
        .and_then(|rest| rest.strip_prefix(suffix))
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn split_offset(request: &Request<'_>, index: usize, text: &str) -> Result<(String, u64), ProbeError> {
    let Some((function, offset)) = text.split_once('+') else { return Ok((text.to_owned(), 0)) };
    let Some(offset) = number::parse(offset.trim()) else {
        let d = request
            .invalid(index, format!("`{offset}` is not an offset"))
            .label("expected a number of bytes after `+`");
        return Err(ProbeError::invalid(d));
    };
    if request.provider.name == "kretprobe" {
        let d = request.invalid(index, "a kretprobe has no offset").label("it fires when the function returns");
        return Err(ProbeError::invalid(d.help("leave the offset away, or use a kprobe")));
    }
    let function = function.trim_end();
    if has_wildcard(function) {
        let d = request.invalid(index, "an offset needs the name of one function").label("this is a wildcard");
        return Err(ProbeError::invalid(d));
    }
    Ok((function.to_owned(), offset))
}
