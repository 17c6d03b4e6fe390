//! The providers: one table row each, one file per provider that says how its options are read. What a provider gives to a program
//! (arguments, return value, registers) stands in its row ([`Access`]) and in `access`; nothing about a provider is decided anywhere else.
//!
//! A provider's file knows no other provider. Wildcards are resolved here as well, since only the provider knows what its names are
//! matched against; the number of attach points is bounded by the caller's limit.

pub mod access;
mod begin_end;
pub mod calling;
pub mod fentry;
mod hardware;
mod interval;
pub mod iter;
mod kprobe;
mod profile;
pub mod rawtracepoint;
pub mod registers;
mod renamed;
mod self_signal;
mod software;
#[cfg(test)]
mod tests;
mod tracepoint;
mod trial;
mod uprobe;
pub mod usdt;
mod watchpoint;

use tapline_grammar::span::{Span, Spanned};

pub use renamed::successor;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::expand::{Context, Options};
use crate::program::{Attach, ProgramKind};
use crate::target::{ProbeSource, Target, TargetError};

/// What a program can reach in its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `arg0`, `arg1` …
    ArgN,
    /// `args`.
    Args,
    /// `retval`.
    Retval,
    /// `func`.
    Func,
    /// `reg("name")`.
    Register,
}

/// How a provider reads its options.
type Resolve = fn(&mut Request<'_>) -> Resolved;

/// Where an attach point leads.
pub type Resolved = Result<Vec<Concrete>, ProbeError>;

/// One row of the table.
pub struct Provider {
    /// As `probe` prints it.
    pub name: &'static str,
    /// Other spellings. Letters may have any case in a script.
    pub aliases: &'static [&'static str],
    /// As `probetype` prints it.
    pub probetype: &'static str,
    /// What an attach point looks like, for messages.
    pub form: &'static str,
    /// When its actions run, in one line.
    pub docs: &'static str,
    /// Number of parts after the provider's name.
    pub parts: std::ops::RangeInclusive<usize>,
    /// A run of a program can be interrupted by another run of the same program on the same CPU.
    pub reentrant: bool,
    /// What the context offers.
    pub access: &'static [Access],
    /// Reads the options.
    resolve: Resolve,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Provider {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Provider {}

/// An attach point to be resolved, its parameters substituted.
pub struct Request<'a> {
    /// The row.
    pub provider: &'static Provider,
    /// What follows the provider's name.
    pub parts: &'a [Spanned<String>],
    /// The whole attach point.
    pub span: Span,
    /// The traced system.
    pub target: &'a dyn Target,
    /// What the command line says.
    pub options: &'a Options,
    /// Notes and warnings go here.
    pub diagnostics: &'a mut Diagnostics,
    /// Names close to a missing one are wanted.
    pub hints: bool,
}

/// A place to attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concrete {
    /// As the builtin `probe` prints it.
    pub name: String,
    /// Where.
    pub attach: Attach,
    /// With which program.
    pub kind: ProgramKind,
    /// What the program sees.
    pub context: Context,
}

/// Why an attach point cannot be resolved.
#[derive(Debug)]
pub enum ProbeError {
    /// It is wrong in any case.
    Invalid(Box<Diagnostic>),
    /// It does not exist on this system: the policy for missing probes decides.
    Missing(Box<Diagnostic>),
}

use Access::{ArgN, Args, Func, Register, Retval};

/// All providers.
pub static PROVIDERS: &[Provider] = &[
    Provider {
        name: "begin",
        aliases: &[],
        probetype: "special",
        form: "begin",
        docs: "once, before all other probes",
        parts: 0..=0,
        reentrant: false,
        access: &[],
        resolve: begin_end::resolve,
    },
    Provider {
        name: "end",
        aliases: &[],
        probetype: "special",
        form: "end",
        docs: "once, after all other probes, before the maps are printed",
        parts: 0..=0,
        reentrant: false,
        access: &[],
        resolve: begin_end::resolve,
    },
    Provider {
        name: "self",
        aliases: &[],
        probetype: "special",
        form: "self:signal:SIGUSR1",
        docs: "when tapline itself receives the signal",
        parts: 2..=2,
        reentrant: false,
        access: &[],
        resolve: self_signal::resolve,
    },
    Provider {
        name: "kprobe",
        aliases: &["k"],
        probetype: "kprobe",
        form: "kprobe:[module:]function[+offset], kprobe:address",
        docs: "at the entry of a kernel function, or at an offset in it",
        parts: 1..=2,
        reentrant: false,
        access: &[ArgN, Args, Func, Register],
        resolve: kprobe::resolve,
    },
    Provider {
        name: "kretprobe",
        aliases: &["kr"],
        probetype: "kretprobe",
        form: "kretprobe:[module:]function",
        docs: "at the return of a kernel function",
        parts: 1..=2,
        reentrant: false,
        access: &[Retval, Func, Register],
        resolve: kprobe::resolve,
    },
    Provider {
        name: "tracepoint",
        aliases: &["t"],
        probetype: "tracepoint",
        form: "tracepoint:category:event",
        docs: "at a static place of the kernel, with arguments by name",
        parts: 1..=2,
        reentrant: false,
        access: &[Args],
        resolve: tracepoint::resolve,
    },
    Provider {
        name: "rawtracepoint",
        aliases: &["rt"],
        probetype: "rawtracepoint",
        form: "rawtracepoint:[module:]event",
        docs: "at a static place of the kernel, with the arguments as the kernel passes them",
        parts: 1..=2,
        reentrant: false,
        access: &[ArgN, Args],
        resolve: rawtracepoint::resolve,
    },
    Provider {
        name: "interval",
        aliases: &["i"],
        probetype: "interval",
        form: "interval:s:1, interval:100ms",
        docs: "regularly, on one processor",
        parts: 1..=2,
        reentrant: false,
        access: &[Register],
        resolve: interval::resolve,
    },
    Provider {
        name: "profile",
        aliases: &["p"],
        probetype: "profile",
        form: "profile:hz:99, profile:10ms",
        docs: "regularly, on every processor",
        parts: 1..=2,
        reentrant: false,
        access: &[Register],
        resolve: profile::resolve,
    },
    Provider {
        name: "software",
        aliases: &["s"],
        probetype: "software",
        form: "software:event[:count]",
        docs: "at every n-th of the kernel's own events",
        parts: 1..=2,
        reentrant: false,
        access: &[Register],
        resolve: software::resolve,
    },
    Provider {
        name: "hardware",
        aliases: &["h"],
        probetype: "hardware",
        form: "hardware:event[:count]",
        docs: "at every n-th event that the processor counts",
        parts: 1..=2,
        reentrant: false,
        access: &[Register],
        resolve: hardware::resolve,
    },
    Provider {
        name: "uprobe",
        aliases: &["u"],
        probetype: "uprobe",
        form: "uprobe:file:function[+offset]` or `uprobe:file@source:line[:column]",
        docs: "at the entry of a function of a program or library, at an offset in it, or at a line of its source",
        parts: 2..=3,
        // The task that runs it can be preempted, and others hit the same function.
        reentrant: true,
        access: &[ArgN, Args, Func, Register],
        resolve: uprobe::resolve,
    },
    Provider {
        name: "uretprobe",
        aliases: &["ur"],
        probetype: "uretprobe",
        form: "uretprobe:file:function",
        docs: "at the return of a function of a program or library",
        parts: 2..=3,
        reentrant: true,
        access: &[Retval, Func, Register],
        resolve: uprobe::resolve,
    },
    Provider {
        name: "usdt",
        aliases: &["U"],
        probetype: "usdt",
        form: "usdt:file:[provider:]name",
        docs: "at a static place of a program or library",
        parts: 1..=3,
        reentrant: true,
        access: &[ArgN, Func, Register],
        resolve: usdt::resolve,
    },
    Provider {
        name: "fentry",
        aliases: &["f", "kfunc"],
        probetype: "fentry",
        form: "fentry:[module:]function` or `fentry:bpf:[id:]program",
        docs: "at the entry of a kernel function, with arguments by name",
        parts: 1..=3,
        reentrant: false,
        access: &[Args, Func],
        resolve: fentry::resolve,
    },
    Provider {
        name: "fexit",
        aliases: &["fr", "kretfunc"],
        probetype: "fexit",
        form: "fexit:[module:]function` or `fexit:bpf:[id:]program",
        docs: "at the return of a kernel function, with arguments and result by name",
        parts: 1..=3,
        reentrant: false,
        access: &[Args, Retval, Func],
        resolve: fentry::resolve,
    },
    Provider {
        name: "iter",
        aliases: &["it"],
        probetype: "iter",
        form: "iter:task[:file]",
        docs: "once for each object of a kind that the kernel lists",
        parts: 1..=2,
        reentrant: false,
        access: &[],
        resolve: iter::resolve,
    },
    Provider {
        name: "watchpoint",
        aliases: &["w", "asyncwatchpoint", "aw"],
        probetype: "watchpoint",
        form: "watchpoint:address:length:mode",
        docs: "when memory at an address is read, written or executed",
        parts: 3..=4,
        reentrant: false,
        access: &[Func, Register],
        resolve: watchpoint::resolve,
    },
    Provider {
        name: "test",
        aliases: &[],
        probetype: "test",
        form: "test:name",
        docs: "with `--test`: a test, which passes unless it returns another number than 0 or an error occurs",
        parts: 1..=1,
        reentrant: false,
        access: &[],
        resolve: trial::resolve,
    },
    Provider {
        name: "bench",
        aliases: &[],
        probetype: "bench",
        form: "bench:name",
        docs: "with `--bench`: many times, to measure how long a run takes",
        parts: 1..=1,
        reentrant: false,
        access: &[],
        resolve: trial::resolve,
    },
];

/// The provider of a name or alias. Only `U` (usdt) and `u` (uprobe) differ by case.
pub fn provider(name: &str) -> Option<&'static Provider> {
    let exact = PROVIDERS.iter().find(|p| p.name == name || p.aliases.contains(&name));
    exact.or_else(|| {
        PROVIDERS.iter().find(|p| {
            p.name.eq_ignore_ascii_case(name) || p.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
        })
    })
}

/// Resolves an attach point given as its parts, the provider's name first. Names close to one that does not exist are looked for
/// only with `hints`: there may be a hundred thousand.
pub fn resolve(
    parts: &[Spanned<String>],
    span: Span,
    (target, options): (&dyn Target, &Options),
    diagnostics: &mut Diagnostics,
    hints: bool,
) -> Result<(&'static Provider, Vec<Concrete>), ProbeError> {
    let Some((first, rest)) = parts.split_first() else {
        return Err(ProbeError::invalid(Diagnostic::error(
            "unknown-provider",
            "an attach point is missing here",
            span,
        )));
    };
    let Some(provider) = provider(&first.node) else { return Err(unknown_provider(first, span)) };
    if !provider.parts.contains(&rest.len()) {
        let message = format!("wrong number of parts in a {} probe", provider.name);
        let (low, high) = (provider.parts.start(), provider.parts.end());
        let expected = if low == high { low.to_string() } else { format!("{low} or {high}") };
        let label = format!("{} after `{}`, expected {expected}", rest.len(), first.node);
        let d = Diagnostic::error("attach-point", message, span).label(label);
        return Err(ProbeError::invalid(d.help(format!("its form is `{}`", provider.form))));
    }
    let mut request = Request { provider, parts: rest, span, target, options, diagnostics, hints };
    (provider.resolve)(&mut request).map(|points| (provider, points))
}

fn unknown_provider(name: &Spanned<String>, span: Span) -> ProbeError {
    let mut d = Diagnostic::error("unknown-provider", format!("there is no probe type `{}`", name.node), name.span)
        .label("unknown probe type");
    d.span = Some(if name.span.end > name.span.start { name.span } else { span });
    let names = PROVIDERS.iter().map(|p| p.name);
    if let Some(close) = crate::similar::closest(&name.node, names) {
        d = d.help(format!("did you mean `{close}`?"));
    } else {
        let known: Vec<&str> = PROVIDERS.iter().map(|p| p.name).collect();
        d = d.note(format!("probe types are: {}", known.join(", ")));
    }
    ProbeError::invalid(d)
}

impl ProbeError {
    /// Wrong in any case.
    pub fn invalid(d: Diagnostic) -> Self {
        Self::Invalid(Box::new(d))
    }
    /// Not on this system.
    pub fn missing(d: Diagnostic) -> Self {
        Self::Missing(Box::new(d))
    }
}

impl Request<'_> {
    /// A part after the provider's name; empty when there are fewer.
    fn part(&self, index: usize) -> &str {
        self.parts.get(index).map_or("", |p| p.node.as_str())
    }
    /// Where a part stands.
    fn part_span(&self, index: usize) -> Span {
        self.parts.get(index).map_or(self.span, |p| p.span)
    }
    /// An error about a part.
    fn invalid(&self, index: usize, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error("attach-point", message, self.part_span(index))
    }
    /// The error for a name that does not exist, with names that are close to it.
    fn missing(&self, what: &str, name: &str, source: ProbeSource) -> Diagnostic {
        let message = format!("there is no {what} `{name}` on this system");
        let d = Diagnostic::error("missing-probe", message, self.span).label("does not exist here");
        if !self.hints {
            return d;
        }
        let advice = if source == ProbeSource::KernelFunctions { renamed::advice(name, self.target) } else { None };
        match advice.or_else(|| close_names(&self.target.similar_probes(source, name))) {
            Some(help) => d.help(help),
            None => d,
        }
    }
    /// Names that match, or why they cannot be found out.
    fn names(&self, source: ProbeSource, pattern: &str) -> Result<Vec<String>, ProbeError> {
        match self.target.probe_names(source, pattern) {
            Ok(names) => Ok(names),
            Err(TargetError::NotFound) => Ok(Vec::new()),
            Err(e) => Err(ProbeError::invalid(self.unavailable(&e))),
        }
    }
    /// The system could not be asked.
    fn unavailable(&self, error: &TargetError) -> Diagnostic {
        let message = format!("cannot look up {} probes: {error}", self.provider.name);
        let d = Diagnostic::error("no-tracefs", message, self.span);
        match error {
            TargetError::NoTracefs(_) => {
                d.help("mount it with `mount -t tracefs tracefs /sys/kernel/tracing`, and run as root")
            }
            TargetError::Permission(_) => {
                d.help("run as root, or with the capabilities CAP_BPF, CAP_PERFMON and read access to tracefs")
            }
            _ => d,
        }
    }
}

/// Attach points of providers whose names come from a table, as listings show them: `software:cpu-clock:`, `interval:s:`. Sorted.
pub fn fixed_names() -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    all.extend(hardware::names().map(|n| format!("hardware:{n}:")));
    all.extend(interval::units().map(|u| format!("interval:{u}:")));
    all.extend(interval::units().map(|u| format!("profile:{u}:")));
    all.extend(software::names().map(|n| format!("software:{n}:")));
    all.sort();
    all
}

/// Names that may have been meant, as a help line.
fn close_names(names: &[String]) -> Option<String> {
    match names {
        [] => None,
        [one] => Some(format!("did you mean `{one}`?")),
        more => Some(format!("names close to it: `{}`", more.join("`, `"))),
    }
}

/// The text has a wildcard.
pub fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Where the program of a kind lies in the object: the section's name, without a target.
pub fn section(kind: ProgramKind) -> &'static str {
    match kind {
        ProgramKind::RawTpRun | ProgramKind::RawTracepoint | ProgramKind::SyscallEnter | ProgramKind::SyscallExit => {
            "raw_tp"
        }
        ProgramKind::Kprobe => "kprobe",
        ProgramKind::Kretprobe => "kretprobe",
        ProgramKind::KprobeMulti => "kprobe.multi",
        ProgramKind::KretprobeMulti => "kretprobe.multi",
        ProgramKind::KprobeSession => "kprobe.session",
        ProgramKind::Uprobe => "uprobe",
        ProgramKind::Uretprobe => "uretprobe",
        ProgramKind::UprobeMulti => "uprobe.multi",
        ProgramKind::UretprobeMulti => "uretprobe.multi",
        ProgramKind::Tracepoint => "tracepoint",
        ProgramKind::PerfEvent => "perf_event",
        ProgramKind::Fentry => "fentry",
        ProgramKind::Fexit => "fexit",
        ProgramKind::Iter => "iter",
    }
}
