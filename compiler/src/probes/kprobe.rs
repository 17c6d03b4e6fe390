//! `kprobe:[module:]function[+offset]` and `kretprobe:[module:]function`, with wildcards; both at an address.

use super::fentry::{DEADLY, DEADLY_RETURNS, KERNEL};
use super::{Concrete, ProbeError, Request, Resolved, has_wildcard, renamed};
use crate::diagnostic::{Diagnostic, Severity};
use crate::expand::Context;
use crate::number;
use crate::program::{Attach, ProgramKind};
use crate::target::{Feature, Glob, KernelPlace, ProbeSource, TargetError};

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
        return at_address(request, last, &text);
    }
    let Matches { mut functions, base, suffixed } = functions(request, module.as_deref(), &function)?;
    need_kprobes(request)?;
    if offset != 0 {
        check_offset(request, last, &function, offset)?;
    }
    let returns = request.provider.name == "kretprobe";
    if returns {
        functions.retain(|(_, name)| !DEADLY_RETURNS.contains(&name.as_str()));
        if functions.is_empty() {
            let message = format!("the return of `{function}` cannot be traced");
            let d = Diagnostic::error("untraceable", message, request.span).label(DEADLY);
            return Err(ProbeError::invalid(d.help(format!("trace its entry: `kprobe:{function}`"))));
        }
    }
    // Names in links over many functions are those of the kernel itself, or not told apart.
    let own = functions.iter().all(|(module, _)| module.as_deref().is_none_or(|name| name == KERNEL));
    let multi = functions.len() > 1 && offset == 0 && own && request.target.has(Feature::KprobeMulti);
    let kind = match (returns, multi) {
        (false, false) => ProgramKind::Kprobe,
        (true, false) => ProgramKind::Kretprobe,
        (false, true) => ProgramKind::KprobeMulti,
        (true, true) => ProgramKind::KretprobeMulti,
    };
    let suffix = if offset == 0 { String::new() } else { format!("+{offset}") };
    let point = |(module, name): (Option<String>, String)| {
        // Types of arguments are looked up, and the probe is named, by what the source calls the function.
        let known = if suffixed { base.clone() } else { name.clone() };
        let context = if returns {
            Context::KernelReturn { function: known.clone() }
        } else {
            Context::KernelEntry { module: module.clone(), function: known.clone() }
        };
        let prefix = module.as_ref().map_or_else(String::new, |m| format!("{m}:"));
        let attach = Attach::Kprobe { function: name, module, offset };
        Concrete { name: format!("{}:{prefix}{known}{suffix}", request.provider.name), attach, kind, context }
    };
    Ok(functions.into_iter().map(point).collect())
}

fn need_kprobes(request: &Request<'_>) -> Result<(), ProbeError> {
    if request.target.has(Feature::Kprobe) {
        return Ok(());
    }
    let message = format!("this kernel has no {}s", request.provider.name);
    let d = Diagnostic::error("no-kprobes", message, request.span)
        .label("the function exists, but cannot be probed")
        .note("it was probably built without CONFIG_KPROBE_EVENTS")
        .help("trace a tracepoint or raw tracepoint instead: `tapline -l 'tracepoint:*'` lists them");
    Err(ProbeError::invalid(d))
}

/// An instruction by its address. The kernel checks that one begins there.
fn at_address(request: &Request<'_>, part: usize, text: &str) -> Resolved {
    let Some(address) = number::parse(text) else {
        let d = request.invalid(part, format!("`{text}` is neither a function nor an address"));
        return Err(ProbeError::invalid(d.help(format!("its form is `{}`", request.provider.form))));
    };
    let place = request.target.kernel_place(address);
    let known = request.target.kernel_symbol("_stext").is_some();
    let Some(place) =
        place.or_else(|| (!known).then(|| KernelPlace { function: String::new(), module: None, offset: 0 }))
    else {
        let message = format!("no function of the kernel lies at {address:#x}");
        let d = Diagnostic::error("missing-probe", message, request.part_span(part)).label("does not exist here");
        return Err(ProbeError::missing(
            d.help("addresses differ from boot to boot: name a function, with an offset if need be"),
        ));
    };
    if let (2, Some(module)) = (request.parts.len(), request.parts.first())
        && module.node != place.module.as_deref().unwrap_or(KERNEL)
    {
        let d = request.invalid(0, format!("{address:#x} does not lie in the kernel module `{}`", module.node));
        return Err(ProbeError::invalid(d.label(format!("it lies in `{}`", place.function))));
    }
    need_kprobes(request)?;
    let returns = request.provider.name == "kretprobe";
    if returns && place.offset != 0 {
        let message = format!("{address:#x} is not the start of a function, but {} bytes behind it", place.offset);
        let d = request.invalid(part, message).label(format!("it lies in `{}`", place.function));
        return Err(ProbeError::invalid(d.help(format!("write `kretprobe:{}`", place.function))));
    }
    // Arguments have their types where the function begins.
    let (module, function) = if place.offset == 0 { (place.module, place.function) } else { (None, String::new()) };
    let (kind, context) = if returns {
        (ProgramKind::Kretprobe, Context::KernelReturn { function })
    } else {
        (ProgramKind::Kprobe, Context::KernelEntry { module, function })
    };
    let name = format!("{}:{address:#x}", request.provider.name);
    Ok(vec![Concrete { name, attach: Attach::KprobeAddress(address), kind, context }])
}

/// An offset must not lead into another function.
fn check_offset(request: &Request<'_>, part: usize, function: &str, offset: u64) -> Result<(), ProbeError> {
    let Some(start) = request.target.kernel_symbol(function) else { return Ok(()) };
    let Some(place) = request.target.kernel_place(start.saturating_add(offset)) else { return Ok(()) };
    if place.offset == offset {
        return Ok(());
    }
    let d = request.invalid(part, format!("`{function}` has no offset {offset}"));
    Err(ProbeError::invalid(d.label(format!("this is `{}+{}`", place.function, place.offset))))
}

/// Functions to attach to.
struct Matches {
    /// With their modules, where the script names these.
    functions: Vec<(Option<String>, String)>,
    /// What the script wrote.
    base: String,
    /// The names are compiler-made copies of `base`.
    suffixed: bool,
}

fn functions(request: &mut Request<'_>, module: Option<&str>, function: &str) -> Result<Matches, ProbeError> {
    let modules = modules(request, module);
    let ask = |pattern: &str| {
        let mut found = Vec::new();
        for module in &modules {
            let qualified = module.as_ref().map_or_else(|| pattern.to_owned(), |m| format!("{m}:{pattern}"));
            let names = match request.target.probe_names(ProbeSource::KernelFunctions, &qualified) {
                Ok(names) => names,
                Err(TargetError::NotFound) => Vec::new(),
                // Without the list of traceable functions a plain symbol can still be attached to.
                Err(_) if !has_wildcard(pattern) && request.target.kernel_symbol(pattern).is_some() => {
                    vec![pattern.to_owned()]
                }
                Err(e) => return Err(ProbeError::invalid(request.unavailable(&e))),
            };
            found.extend(names.into_iter().map(|name| (module.clone(), name)));
        }
        Ok(found)
    };
    let functions = ask(function)?;
    let base = function.to_owned();
    if !functions.is_empty() && !renamed::inlined(function, request.target) {
        return Ok(Matches { functions, base, suffixed: false });
    }
    if !has_wildcard(function) {
        let copies = copies(function, ask(&format!("{function}.*"))?, |(_, name)| name);
        if !copies.is_empty() {
            let shown: Vec<String> = copies.iter().map(|(_, c)| format!("`{c}`")).collect();
            let message = format!("the compiler renamed `{function}`; probing {}", shown.join(", "));
            let note = Diagnostic::new(Severity::Note, "renamed-function", message, request.span);
            request.diagnostics.push(note);
            return Ok(Matches { functions: copies, base, suffixed: true });
        }
    }
    let what = match (has_wildcard(function), module) {
        (true, _) => "traceable kernel function that matches".to_owned(),
        (false, None) => "traceable kernel function".to_owned(),
        (false, Some(module)) => format!("traceable function in the kernel module `{module}` with the name"),
    };
    let d = request.missing(&what, function, ProbeSource::KernelFunctions);
    if let Some(module) = module {
        let loaded = module == KERNEL || has_wildcard(module) || request.target.modules().iter().any(|it| it == module);
        return Err(ProbeError::missing(if loaded { d } else { d.note(format!("no module `{module}` is loaded")) }));
    }
    Err(ProbeError::missing(match kernel_symbol(request, function) {
        Symbol::None => d,
        Symbol::Variable(note) => d.label("not a function").note(note),
        Symbol::Code => d
            .label("not traceable")
            .note("it is written in assembly, a copy of an inline function, or marked `notrace`"),
    }))
}

/// What the kernel has under a name that is none of a traceable function.
pub(super) enum Symbol {
    None,
    Code,
    /// With what to say of it.
    Variable(String),
}

pub(super) fn kernel_symbol(request: &Request<'_>, name: &str) -> Symbol {
    let address = (!has_wildcard(name)).then(|| request.target.kernel_symbol(name)).flatten();
    match address.map(|address| request.target.kernel_place(address)) {
        None => Symbol::None,
        Some(Some(place)) if place.offset == 0 => Symbol::Code,
        Some(_) => {
            Symbol::Variable(format!("`{name}` is a variable of the kernel: `kaddr(\"{name}\")` is its address"))
        }
    }
}

/// Where to look: in the module that the script names or in those that match, the kernel first; else everywhere.
fn modules(request: &Request<'_>, wanted: Option<&str>) -> Vec<Option<String>> {
    match wanted.filter(|name| has_wildcard(name)) {
        None => vec![wanted.map(str::to_owned)],
        Some(pattern) => {
            let glob = Glob::new(pattern);
            let all = std::iter::once(KERNEL.to_owned()).chain(request.target.modules());
            all.filter(|name| glob.matches(name)).map(Some).collect()
        }
    }
}

/// The copies of a function that a compiler has made, of one kind.
pub(super) fn copies<T>(function: &str, mut found: Vec<T>, name: impl Fn(&T) -> &str) -> Vec<T> {
    let is_there = |suffix: &&&str| found.iter().any(|it| is_copy(name(it), function, suffix));
    let suffix = COMPILER_SUFFIXES.iter().find(is_there);
    found.retain(|it| suffix.is_some_and(|suffix| is_copy(name(it), function, suffix)));
    found
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
