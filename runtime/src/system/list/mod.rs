//! Listings: what could be probed (`-l PATTERN`), with arguments (`-lv`), and types (`-l 'struct task*'`). The text is that of
//! bpftrace 0.27. Written line by line, so that a reader that has seen enough ends it: a closed pipe is no error.

mod binary;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use tapline_compiler::probes::{fentry, iter, rawtracepoint};
use tapline_compiler::program::{Attach, ProbeDesc};
use tapline_compiler::target::{Feature, Glob, ProbeSource, Target, TargetError, program_types};
use tapline_compiler::types::btf::print::{definition, type_name};
use tapline_compiler::types::btf::{Btf, BtfType, KindSet, TypeId};

use super::System;
use super::functions::Function;
use crate::symbols::elf::ElfError;

/// Why a listing ended early.
#[derive(Debug)]
pub enum ListError {
    /// The output failed for another reason than that nobody reads it.
    Write(io::Error),
    /// The system does not tell.
    Target(TargetError),
    /// The binary of a uprobe pattern has no symbols.
    Binary(PathBuf, ElfError),
    /// There is no such binary.
    NoBinary(String),
}

impl std::fmt::Display for ListError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Write(error) => write!(f, "cannot write the listing: {error}"),
            Self::Target(error) => write!(f, "{error}"),
            Self::Binary(path, error) => write!(f, "{}: {error}", path.display()),
            Self::NoBinary(name) => write!(f, "no binary or library named {name}"),
        }
    }
}

impl std::error::Error for ListError {}

impl From<TargetError> for ListError {
    fn from(error: TargetError) -> Self {
        Self::Target(error)
    }
}

impl From<io::Error> for ListError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// What the reader should know beside the listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Lines or definitions written.
    pub count: usize,
    /// For standard error.
    pub notes: Vec<String>,
}

/// How the names behind a provider's colon are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Functions,
    Iterators,
    /// Functions that BTF describes.
    TypedFunctions,
    Tracepoints,
    RawTracepoints,
    /// Fixed names.
    Fixed(&'static [&'static str]),
    Binary,
    /// Places for tracing in a binary.
    Usdt,
}

/// One row per provider.
struct Row {
    name: &'static str,
    aliases: &'static [&'static str],
    source: Source,
    /// Listed for a pattern that names no provider, or several.
    common: bool,
}

const UNITS: &[&str] = &["hz:", "ms:", "s:", "us:"];

/// In the order in which they are listed.
const ROWS: &[Row] = &[
    row("begin", &[], Source::Fixed(&[""]), false),
    row("end", &[], Source::Fixed(&[""]), false),
    row(
        "hardware",
        &["h"],
        Source::Fixed(&[
            "backend-stalls:",
            "branch-instructions:",
            "branch-misses:",
            "branches:",
            "bus-cycles:",
            "cache-misses:",
            "cache-references:",
            "cpu-cycles:",
            "cycles:",
            "frontend-stalls:",
            "instructions:",
            "ref-cycles:",
        ]),
        true,
    ),
    row("fentry", &["f", "kfunc"], Source::TypedFunctions, true),
    row("fexit", &["fr", "kretfunc"], Source::TypedFunctions, false),
    row("interval", &["i"], Source::Fixed(UNITS), false),
    row("iter", &["it"], Source::Iterators, true),
    row("kprobe", &["k"], Source::Functions, true),
    row("kretprobe", &["kr"], Source::Functions, false),
    row("profile", &["p"], Source::Fixed(UNITS), false),
    row("rawtracepoint", &["rt"], Source::RawTracepoints, true),
    row("self", &[], Source::Fixed(&["signal:SIGUSR1"]), false),
    row(
        "software",
        &["s"],
        Source::Fixed(&[
            "alignment-faults:",
            "bpf-output:",
            "context-switches:",
            "cpu-clock:",
            "cpu-migrations:",
            "cpu:",
            "cs:",
            "dummy:",
            "emulation-faults:",
            "faults:",
            "major-faults:",
            "minor-faults:",
            "page-faults:",
            "task-clock:",
        ]),
        true,
    ),
    row("tracepoint", &["t"], Source::Tracepoints, true),
    row("uprobe", &["u"], Source::Binary, false),
    row("uretprobe", &["ur"], Source::Binary, false),
    row("usdt", &["U"], Source::Usdt, false),
];

const fn row(name: &'static str, aliases: &'static [&'static str], source: Source, common: bool) -> Row {
    Row { name, aliases, source, common }
}

/// Lists what matches patterns, with commas between them: `provider:rest`, a bare name in the common providers, or `struct`, `union`,
/// `enum` and a name. An empty pattern lists everything that is common.
pub fn list(system: &System, pattern: &str, verbose: bool, out: &mut dyn Write) -> Result<Listing, ListError> {
    let mut lister = Lister { system, verbose, out, listing: Listing::default() };
    let mut quoted = false;
    let between = |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    };
    for single in pattern.split(between).map(str::trim).filter(|single| !single.is_empty() || pattern.is_empty()) {
        match lister.pattern(single) {
            Err(ListError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => break,
            other => other?,
        }
    }
    Ok(lister.listing)
}

/// Lists the attach points of a compiled script, `begin`, `end` and repeated ones left out.
pub fn list_script(
    system: &System,
    probes: &[ProbeDesc],
    verbose: bool,
    out: &mut dyn Write,
) -> Result<Listing, ListError> {
    let mut lister = Lister { system, verbose, out, listing: Listing::default() };
    let mut seen = BTreeSet::new();
    for probe in probes {
        if matches!(probe.attach, Attach::Begin | Attach::End) || !seen.insert(probe.name.as_str()) {
            continue;
        }
        match lister.attach_point(probe) {
            Err(ListError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => break,
            other => other?,
        }
    }
    Ok(lister.listing)
}

struct Lister<'a> {
    system: &'a System,
    verbose: bool,
    out: &'a mut dyn Write,
    listing: Listing,
}

impl Lister<'_> {
    fn pattern(&mut self, pattern: &str) -> Result<(), ListError> {
        for (word, kinds) in [("struct", KindSet::STRUCT), ("union", KindSet::UNION), ("enum", KindSet::ENUM)] {
            if let Some(name) = pattern.strip_prefix(word)
                && name.starts_with([' ', '\t'])
            {
                return self.types(word, kinds, name.trim());
            }
        }
        let (provider, rest) = pattern.split_once(':').unwrap_or_else(|| {
            // `begin` alone is a probe; any other bare word is looked for in all common providers.
            if ROWS.iter().any(|row| row.source == Source::Fixed(&[""]) && row.name.eq_ignore_ascii_case(pattern)) {
                (pattern, "")
            } else {
                ("*", if pattern.is_empty() { "*" } else { pattern })
            }
        });
        let provider = provider.to_ascii_lowercase();
        let glob = Glob::new(&provider);
        let literal = glob.literal().is_some();
        for row in ROWS {
            let selected = if literal {
                row.name == provider || row.aliases.contains(&provider.as_str())
            } else {
                row.common && glob.matches(row.name)
            };
            if !selected {
                continue;
            }
            match self.provider(row, rest) {
                // Of several providers one may have nothing to tell.
                Err(ListError::Target(error)) if !literal => {
                    self.listing.notes.push(format!("no {} listed: {error}", row.name));
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// One provider's probes. What its notes tell of them is nothing where none is listed.
    fn provider(&mut self, row: &Row, rest: &str) -> Result<(), ListError> {
        let (listed, notes) = (self.listing.count, self.listing.notes.len());
        let result = self.probes_of(row, rest);
        if self.listing.count == listed {
            self.listing.notes.truncate(notes);
        }
        result
    }

    fn probes_of(&mut self, row: &Row, rest: &str) -> Result<(), ListError> {
        match row.source {
            Source::Functions => self.functions(row.name, rest),
            Source::Iterators => self.iterators(rest),
            Source::TypedFunctions => self.typed_functions(row.name, rest),
            Source::Tracepoints => self.tracepoints(rest),
            Source::RawTracepoints => self.raw_tracepoints(rest),
            Source::Fixed(names) => self.fixed(row.name, names, rest),
            Source::Binary => self.binary(row.name, rest),
            Source::Usdt => self.usdt(rest),
        }
    }

    fn line(&mut self, text: &str) -> Result<(), ListError> {
        self.listing.count += 1;
        writeln!(self.out, "{text}")?;
        Ok(())
    }

    fn argument(&mut self, text: &str) -> Result<(), ListError> {
        writeln!(self.out, "    {text}")?;
        Ok(())
    }

    fn fixed(&mut self, provider: &str, names: &[&str], pattern: &str) -> Result<(), ListError> {
        let glob = Glob::new(pattern);
        for name in names {
            if name.is_empty() {
                self.line(provider)?;
            } else if glob.matches(name) || glob.matches(name.trim_end_matches(':')) {
                self.line(&format!("{provider}:{name}"))?;
            }
        }
        Ok(())
    }

    fn functions(&mut self, provider: &str, pattern: &str) -> Result<(), ListError> {
        let system = self.system;
        let functions = system.functions()?;
        if !system.has(Feature::Kprobe) {
            self.listing.notes.push(
                "this kernel has no kprobes (CONFIG_KPROBES is off): these functions exist, but cannot be probed"
                    .into(),
            );
        }
        let with_module = pattern.contains(':');
        let mut last = "";
        for function in functions.matching(pattern) {
            // One name can stand for several functions; the probe is the same.
            if system.is_blocked(function.name) || (!with_module && function.name == last) {
                continue;
            }
            last = function.name;
            if with_module {
                self.line(&format!("{provider}:{}:{}", function.module_name(), function.name))?;
            } else {
                self.line(&format!("{provider}:{}", function.name))?;
            }
            if self.verbose {
                self.function_arguments(function, provider == "kretprobe")?;
            }
        }
        Ok(())
    }

    fn function_arguments(&mut self, function: Function<'_>, is_return: bool) -> Result<(), ListError> {
        let module = function.module.and_then(|module| self.system.module_btf(module));
        let Some(btf) = module.as_deref().or(self.system.btf()) else { return Ok(()) };
        let Some(proto) = btf.function(function.name) else { return Ok(()) };
        if is_return {
            let name = type_name(btf, proto.ret);
            return self.argument(&if proto.ret == TypeId::VOID { name } else { format!("{name} retval") });
        }
        for (param, n) in proto.params().zip(0..) {
            self.argument(&format!("{} arg{n}", type_name(btf, param.ty)))?;
        }
        Ok(())
    }

    fn iterators(&mut self, pattern: &str) -> Result<(), ListError> {
        let btf = self.system.kernel_btf().map_err(|why| TargetError::Io(why.to_owned()))?;
        let glob = Glob::new(pattern);
        for name in iter::names(btf).into_iter().filter(|name| glob.matches(name)) {
            self.line(&format!("iter:{name}"))?;
            if self.verbose {
                self.iterator_fields(name)?;
            }
        }
        Ok(())
    }

    /// What a program finds in its context, beside what all iterators have.
    fn iterator_fields(&mut self, name: &str) -> Result<(), ListError> {
        let Some(btf) = self.system.btf() else { return Ok(()) };
        let Some(id) = btf.find(KindSet::STRUCT, &iter::context(name)) else { return Ok(()) };
        let BtfType::Struct(context) = btf.get(id) else { return Ok(()) };
        for member in context.members() {
            // Pointers lie in unions that make them 64 bits wide everywhere.
            let named = match btf.get(btf.resolve(member.ty)) {
                BtfType::Union(wide) if member.name.is_empty() => wide.members().find(|m| !m.name.is_empty()),
                _ => Some(member),
            };
            if let Some(member) = named.filter(|m| !m.name.is_empty() && m.name != "meta") {
                self.argument(&format!("{} {}", type_name(btf, member.ty), member.name))?;
            }
        }
        Ok(())
    }

    fn typed_functions(&mut self, provider: &str, pattern: &str) -> Result<(), ListError> {
        let system = self.system;
        if let Some(wanted) = pattern.strip_prefix(fentry::BPF).and_then(|rest| rest.strip_prefix(':')) {
            return self.bpf_functions(provider, wanted);
        }
        system.kernel_btf().map_err(|why| TargetError::Io(why.to_owned()))?;
        let functions = system.functions()?;
        if !system.has(Feature::Fentry) {
            self.listing.notes.push("this kernel has no fentry: these functions exist, but cannot be traced".into());
        }
        let exit = provider == "fexit";
        for function in functions.matching(pattern) {
            let module = function.module.and_then(|module| system.module_btf(module));
            let btf = if function.module.is_some() { module.as_deref() } else { system.btf() };
            let Some(btf) = btf else { continue };
            let Some(id) = btf.find_own(KindSet::FUNC, function.name) else { continue };
            if fentry::refusal(btf, id, function.name, exit).is_some() {
                continue;
            }
            self.line(&format!("{provider}:{}:{}", function.module_name(), function.name))?;
            if self.verbose {
                self.typed_arguments(function, exit)?;
            }
        }
        Ok(())
    }

    /// Functions of BPF programs: the pattern is `name` or `id:name`.
    fn bpf_functions(&mut self, provider: &str, pattern: &str) -> Result<(), ListError> {
        let (id, name) = pattern.split_once(':').unwrap_or(("*", pattern));
        let (id, name) = (Glob::new(id), Glob::new(name));
        for it in self.system.bpf_functions() {
            if !id.matches(&it.program.to_string()) || !name.matches(&it.name) {
                continue;
            }
            self.line(&format!("{provider}:{}:{}:{}", fentry::BPF, it.program, it.name))?;
            if self.verbose {
                let types = program_types(it.program);
                let function = Function { name: &it.name, module: Some(&types) };
                self.typed_arguments(function, provider == "fexit")?;
            }
        }
        Ok(())
    }

    fn typed_arguments(&mut self, function: Function<'_>, exit: bool) -> Result<(), ListError> {
        let module = function.module.and_then(|module| self.system.module_btf(module));
        let Some(btf) = module.as_deref().or(self.system.btf()) else { return Ok(()) };
        let Some(proto) = btf.function(function.name) else { return Ok(()) };
        for param in proto.params() {
            self.argument(&format!("{} {}", type_name(btf, param.ty), param.name))?;
        }
        if exit && proto.ret != TypeId::VOID {
            self.argument(&format!("{} retval", type_name(btf, proto.ret)))?;
        }
        Ok(())
    }

    fn tracepoints(&mut self, pattern: &str) -> Result<(), ListError> {
        let pattern = if pattern.contains(':') { pattern.to_owned() } else { format!("*:{pattern}") };
        for name in self.system.probe_names(ProbeSource::Tracepoints, &pattern)? {
            self.line(&format!("tracepoint:{name}"))?;
            if self.verbose {
                self.tracepoint_arguments(&name)?;
            }
        }
        Ok(())
    }

    fn tracepoint_arguments(&mut self, name: &str) -> Result<(), ListError> {
        let Some((category, event)) = name.split_once(':') else { return Ok(()) };
        let Ok(format) = self.system.tracepoint_format(category, event) else { return Ok(()) };
        for field in format_fields(&format) {
            self.argument(field)?;
        }
        Ok(())
    }

    fn raw_tracepoints(&mut self, pattern: &str) -> Result<(), ListError> {
        let (module, event) = pattern.split_once(':').unwrap_or(("*", pattern));
        let module = Glob::new(module);
        let Ok(origins) = self.system.type_origins() else {
            for name in self.system.probe_names(ProbeSource::RawTracepoints, event)? {
                self.line(&format!("rawtracepoint:{}:{name}", fentry::KERNEL))?;
            }
            return Ok(());
        };
        let event = Glob::new(event);
        for (origin, btf) in origins.iter().filter(|(name, _)| module.matches(name)) {
            let names: BTreeSet<&str> = rawtracepoint::events(btf).filter(|name| event.matches(name)).collect();
            for name in names {
                self.line(&format!("rawtracepoint:{origin}:{name}"))?;
                if self.verbose {
                    self.raw_tracepoint_arguments(btf, name)?;
                }
            }
        }
        Ok(())
    }

    fn raw_tracepoint_arguments(&mut self, btf: &Btf, name: &str) -> Result<(), ListError> {
        let Some(proto) = rawtracepoint::prototype(btf, name) else { return Ok(()) };
        // The first parameter is the tracepoint's private data, which programs do not see.
        for (param, n) in proto.params().skip(1).zip(0..) {
            let unnamed = format!("arg{n}");
            let name = if param.name.is_empty() { &unnamed } else { param.name };
            self.argument(&format!("{} {name}", type_name(btf, param.ty)))?;
        }
        Ok(())
    }

    fn types(&mut self, word: &str, kinds: KindSet, pattern: &str) -> Result<(), ListError> {
        let glob = Glob::new(pattern.trim_end_matches([',', ';']));
        let mut listed = BTreeSet::new();
        for (module, btf) in self.system.type_origins()? {
            let mut found: Vec<(&str, TypeId)> = btf
                .own_ids()
                .filter(|&id| kinds.contains(btf.kind(id)))
                .map(|id| (btf.name(id), id))
                .filter(|(name, _)| !name.is_empty() && glob.matches(name))
                .collect();
            found.sort_unstable();
            found.dedup_by_key(|(name, _)| *name);
            for (name, id) in found {
                match definition(&btf, id) {
                    Some(text) if self.verbose => self.line(&format!("{module}: {text}\n"))?,
                    // By name alone a type of a module is that of the kernel.
                    _ if listed.insert(name.to_owned()) => self.line(&format!("{word} {name}"))?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn attach_point(&mut self, probe: &ProbeDesc) -> Result<(), ListError> {
        self.line(&probe.name)?;
        if !self.verbose {
            return Ok(());
        }
        match &probe.attach {
            Attach::Kprobe { function, module, .. } => {
                let is_return = probe.name.starts_with("kretprobe:");
                let module = module.as_deref().filter(|module| *module != "vmlinux");
                self.function_arguments(Function { name: function, module }, is_return)
            }
            Attach::Function { function, module, .. } => {
                let exit = probe.name.starts_with("fexit:");
                self.typed_arguments(Function { name: function, module: module.as_deref() }, exit)
            }
            Attach::Iter { name, .. } => self.iterator_fields(name),
            Attach::Tracepoint { category, event } => self.tracepoint_arguments(&format!("{category}:{event}")),
            Attach::RawTracepoint { event } => {
                let origins = self.system.type_origins().unwrap_or_default();
                let own = origins.iter().find(|(_, btf)| rawtracepoint::prototype(btf, event).is_some());
                own.map_or(Ok(()), |(_, btf)| self.raw_tracepoint_arguments(btf, event))
            }
            Attach::Uprobe { path, offset } if probe.name.starts_with("uprobe:") => {
                let types = self.system.types_of_functions(path, &[*offset]);
                types.map_or(Ok(()), |btf| self.user_arguments(&btf, *offset))
            }
            _ => Ok(()),
        }
    }
}

/// Declarations of the fields in a tracepoint's format, those that all events have left out.
fn format_fields(format: &str) -> impl Iterator<Item = &str> {
    format
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("field:")?.split(';').next())
        .map(str::trim)
        .filter(|declaration| !declaration.rsplit([' ', '*']).next().unwrap_or_default().starts_with("common_"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::system::Options;

    /// A system whose list of functions is a file of ours.
    fn system(name: &str) -> System {
        let path = std::env::temp_dir().join(format!("tapline-list-{name}-{}", std::process::id()));
        std::fs::write(&path, "vfs_read\ntcp_close\nnft_init [nf_tables]\nvfs_read\n").unwrap();
        System::new(Options { btf: Some("/nonexistent".into()), traceable_functions: Some(path), ..Options::default() })
    }

    fn text(system: &System, pattern: &str) -> String {
        let mut out = Vec::new();
        list(system, pattern, false, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn functions_are_listed_with_and_without_their_module() {
        let system = system("functions");
        assert_eq!(text(&system, "kprobe:vfs*"), "kprobe:vfs_read\n");
        assert_eq!(text(&system, "k:*"), "kprobe:nft_init\nkprobe:tcp_close\nkprobe:vfs_read\n");
        assert_eq!(text(&system, "KRETPROBE:tcp_*"), "kretprobe:tcp_close\n");
        assert_eq!(text(&system, "kprobe:nf_tables:*"), "kprobe:nf_tables:nft_init\n");
        assert_eq!(text(&system, "kprobe:vmlinux:*"), "kprobe:vmlinux:tcp_close\nkprobe:vmlinux:vfs_read\n");
        assert_eq!(text(&system, "kprobe:nothing"), "");
    }

    #[test]
    fn fixed_names_are_listed() {
        let system = system("fixed");
        assert_eq!(text(&system, "hardware:cpu*"), "hardware:cpu-cycles:\n");
        assert_eq!(text(&system, "hardware:cache-misses"), "hardware:cache-misses:\n");
        assert_eq!(text(&system, "software:c*").lines().count(), 5);
        assert_eq!(text(&system, "interval:*"), "interval:hz:\ninterval:ms:\ninterval:s:\ninterval:us:\n");
        assert_eq!(text(&system, "profile:hz"), "profile:hz:\n");
        assert_eq!(text(&system, "BEGIN"), "begin\n");
        assert_eq!(text(&system, "self:*"), "self:signal:SIGUSR1\n");
        assert_eq!(text(&system, "nosuch:*"), "");
    }

    #[test]
    fn a_bare_name_is_looked_for_everywhere() {
        let system = system("bare");
        assert_eq!(text(&system, "tcp_close"), "kprobe:tcp_close\n");
        assert_eq!(text(&system, "*:tcp_close"), "kprobe:tcp_close\n");
    }

    #[test]
    fn functions_of_a_binary_are_listed() {
        let system = system("binary");
        let own = std::env::current_exe().unwrap();
        assert_eq!(
            text(&system, &format!("uprobe:{}:main", own.display())),
            format!("uprobe:{}:main\n", own.display())
        );
        let missing = list(&system, "uprobe:/nonexistent:*", false, &mut Vec::new());
        assert!(matches!(missing, Err(ListError::NoBinary(name)) if name == "/nonexistent"));
    }

    #[test]
    fn a_closed_pipe_ends_the_listing_quietly() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(list(&system("pipe"), "hardware:*", false, &mut Closed).is_ok());
    }

    #[test]
    fn fields_of_a_format_are_its_own() {
        let format = "name: x\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
            \n\tfield:const char * filename;\toffset:24;\tsize:8;\tsigned:0;\n\
            \tfield:char comm[16];\toffset:8;\tsize:16;\tsigned:0;\n\
            \tfield:__data_loc char[] name;\toffset:8;\tsize:4;\tsigned:0;\nprint fmt: \"field:no\"\n";
        assert_eq!(
            format_fields(format).collect::<Vec<_>>(),
            ["const char * filename", "char comm[16]", "__data_loc char[] name"]
        );
    }
}
