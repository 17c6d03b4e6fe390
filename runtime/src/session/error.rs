//! Why a session cannot start or go on, and how that is said to the user.

use std::fmt;
use std::io;

use tapline_compiler::diagnostic::{Diagnostic, Severity};
use tapline_grammar::span::Span;

use crate::errno::describe;

/// A failure of the runtime.
#[derive(Debug)]
pub enum SessionError {
    /// The object of the compiler is not what the loader expects: a bug.
    Object(String),
    /// A map could not be created.
    Map {
        /// Its name in the script.
        name: String,
        /// The kernel's reason.
        error: io::Error,
    },
    /// The kernel refused a program.
    Rejected {
        /// Symbol of the program.
        program: String,
        /// The kernel's reason.
        error: io::Error,
        /// The verifier's log.
        log: String,
    },
    /// An attach point could not be attached.
    Attach {
        /// Its name.
        probe: String,
        /// Its place in the script.
        span: Option<Span>,
        /// What is wrong.
        reason: String,
        /// What to do.
        help: Vec<String>,
    },
    /// The output cannot be written.
    Output(io::Error),
    /// A system call failed that should not.
    System {
        /// What was being done.
        action: &'static str,
        /// The kernel's reason.
        error: io::Error,
    },
    /// The program of `-c` could not be started.
    Child {
        /// Its name.
        command: String,
        /// The reason.
        error: io::Error,
    },
}

impl SessionError {
    /// A failed system call.
    pub fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { action, error }
    }

    /// True when the reader of our output has gone: no reason to say anything.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(e) if e.kind() == io::ErrorKind::BrokenPipe)
    }

    /// True when a program is right, but more than the kernel checks.
    pub fn is_too_complex(&self) -> bool {
        matches!(self, Self::Rejected { log, error, .. } if limit(log, error).is_some())
    }

    /// As a message for the user; `verbose` adds the verifier's log.
    pub fn to_diagnostic(&self, verbose: bool) -> Diagnostic {
        let text = self.to_string();
        match self {
            Self::Object(_) => Diagnostic::internal(text, None),
            Self::Rejected { log, error, .. } => rejected(&text, log, error, verbose),
            Self::Attach { span, help, .. } => {
                let mut d = Diagnostic::error("attach", text, *span);
                d.help.clone_from(help);
                d
            }
            Self::Map { error, .. } => {
                let d = Diagnostic::error("map", text, None);
                match error.raw_os_error() {
                    Some(libc::ENOMEM | libc::E2BIG) => {
                        d.help("give the map fewer entries: config = { max_map_keys = N } or let @name = hash(N)")
                    }
                    _ => d,
                }
            }
            _ => Diagnostic::error("session", text, None),
        }
    }
}

/// A rejection by the verifier is our bug, whatever the script: the message says where in the script it happened.
fn rejected(text: &str, log: &str, error: &io::Error, verbose: bool) -> Diagnostic {
    if matches!(error.raw_os_error(), Some(libc::EPERM)) {
        return Diagnostic::error("load", text, None)
            .help("loading a tracing program needs root, or the capabilities CAP_BPF and CAP_PERFMON");
    }
    if let Some(limit) = limit(log, error) {
        return too_complex(log, limit, verbose);
    }
    if let Some(helper) = missing_helper(log) {
        return no_helper(log, helper);
    }
    let mut d = Diagnostic::new(Severity::Internal, "rejected", text, None);
    if let Some(line) = script_line(log) {
        d.notes.push(format!("while checking {line}"));
    }
    if let Some(reason) = reason(log) {
        d.notes.push(format!("the verifier says: {reason}"));
    }
    if verbose {
        d.notes.push(format!("the verifier's log:\n{log}"));
    } else {
        d.help.push("run again with -v for the verifier's log, and please report this script".into());
    }
    d
}

/// Which of the verifier's limits a correct program has reached: what the log says of each, and what it means.
const LIMITS: [(&str, &str); 3] = [
    ("BPF program is too large", "it needs more than a million steps to check it"),
    ("jumps is too complex", "it has more open branches than the kernel follows"),
    ("too many states", "it meets more states than the kernel remembers"),
];

fn limit(log: &str, error: &io::Error) -> Option<&'static str> {
    let said = LIMITS.iter().find(|(words, _)| log.contains(words)).map(|(_, meaning)| *meaning);
    said.or_else(|| {
        (error.raw_os_error() == Some(libc::E2BIG)).then_some("it has more instructions than the kernel takes")
    })
}

/// The helper that the kernel does not have, or not for programs of this type or at this function: `unknown func bpf_x#1`, `program of
/// this type cannot use helper bpf_x#1`, `helper call is not allowed in probe` after `call bpf_x#1`.
fn missing_helper(log: &str) -> Option<&str> {
    let reason = reason(log)?;
    let named = ["unknown func ", "cannot use helper "].iter().find_map(|words| reason.split_once(words));
    let called = || log.rsplit_once(") call ").filter(|_| reason.contains("helper call is not allowed in probe"));
    let after = named.or_else(called)?.1;
    after.split('#').next().filter(|name| name.starts_with("bpf_"))
}

/// What the script asks for is not there in this kernel.
fn no_helper(log: &str, helper: &str) -> Diagnostic {
    let mut d = Diagnostic::error("no-helper", format!("this kernel has no `{helper}` for such a probe"), None);
    if let Some(line) = script_line(log) {
        d.notes.push(format!("it is needed in {line}"));
    }
    d.help(match helper {
        "bpf_d_path" => "the kernel allows path() in few functions: filp_close, vfs_getattr, vfs_truncate, dentry_open, security_file_open, security_file_permission and some more",
        "bpf_override_return" => "override() needs a kernel that was built with CONFIG_BPF_KPROBE_OVERRIDE",
        _ => "use another probe, or a newer kernel",
    })
}

/// The script asks for more than the kernel checks in one program: nobody's bug, and there are ways out.
fn too_complex(log: &str, limit: &str, verbose: bool) -> Diagnostic {
    let mut d = Diagnostic::error("too-complex", "this probe is too complex for the kernel to check", None);
    d.notes.push(format!("the kernel follows every way through a program before it runs it: {limit}"));
    if let Some(line) = script_line(log) {
        d.notes.push(format!("it gave up in {line}"));
    }
    if verbose {
        d.notes.push(format!("the verifier's log:\n{log}"));
    }
    d.help.push("make loops shorter, and loops and conditions inside of loops fewer".into());
    d.help.push("lower max_strlen where strings are compared in loops: `config = { max_strlen = 64 }`".into());
    d.help.push("split the work over several probes; what they share goes into maps".into());
    d
}

/// The script's line that the verifier was at when it gave up: it announces lines as `; text @ file:line`.
fn script_line(log: &str) -> Option<String> {
    let (text, place) = log.lines().filter_map(|l| l.strip_prefix("; ")?.rsplit_once(" @ ")).next_back()?;
    Some(format!("{place}: {}", text.trim()))
}

/// The last line of the log that is neither statistics nor an instruction or state.
fn reason(log: &str) -> Option<&str> {
    const NOISE: [&str; 8] =
        ["processed ", "verification time", "stack depth", "max_states", "peak_states", "; ", "mark_precise", "insns "];
    log.lines().rev().find(|line| {
        let is_state = line.starts_with(|c: char| c.is_ascii_digit()) && line.contains(": ");
        let is_values = line.contains("R0=") || line.contains("R1=") || line.contains("R10=");
        !line.trim().is_empty() && !is_state && !is_values && !NOISE.iter().any(|n| line.starts_with(n))
    })
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(why) => write!(f, "the compiled object cannot be loaded: {why}"),
            Self::Map { name, error } => write!(f, "cannot create the map {name}: {}", describe(error)),
            Self::Rejected { program, error, .. } => {
                write!(f, "the kernel refuses the program {program}: {}", describe(error))
            }
            Self::Attach { probe, reason, .. } => write!(f, "cannot attach {probe}: {reason}"),
            Self::Output(error) => write!(f, "cannot write the output: {}", describe(error)),
            Self::System { action, error } => write!(f, "cannot {action}: {}", describe(error)),
            Self::Child { command, error } => write!(f, "cannot run {command}: {}", describe(error)),
        }
    }
}

impl std::error::Error for SessionError {}

impl SessionError {
    /// A probe of a wildcard that is left out, and how many others share its fate.
    #[must_use]
    pub fn with_others(self, others: usize) -> Self {
        match self {
            Self::Attach { probe, span, reason, help } if others > 0 => {
                let reason = format!("{reason} (and {others} others that match are left out, too)");
                Self::Attach { probe, span, reason, help }
            }
            error => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapline_compiler::render::{Colour, render};
    use tapline_compiler::source::SourceMap;

    const LOG: &str = "\
func#0 @0
0: R1=ctx() R10=fp0
; $x = *(uint64*)arg0; @ probe.bt:7
0: (79) r2 = *(u64 *)(r1 +0)
1: (79) r0 = *(u64 *)(r2 +0)
R2 invalid mem access 'scalar'
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
";

    #[test]
    fn rejection_names_the_line_and_the_reason() {
        assert_eq!(script_line(LOG).as_deref(), Some("probe.bt:7: $x = *(uint64*)arg0;"));
        assert_eq!(reason(LOG), Some("R2 invalid mem access 'scalar'"));
        let error = SessionError::Rejected {
            program: "p0".into(),
            error: io::Error::from_raw_os_error(libc::EACCES),
            log: LOG.into(),
        };
        let d = error.to_diagnostic(false);
        assert_eq!(d.severity, Severity::Internal);
        assert_eq!(d.notes.len(), 2);
        assert!(error.to_diagnostic(true).notes.iter().any(|n| n.contains("processed 2 insns")));
    }

    #[test]
    fn what_the_kernel_refuses_is_told_from_bugs() {
        let shown = |error: SessionError| render(&error.to_diagnostic(false), &SourceMap::default(), Colour::Never);
        let rejected = |code, log: &str| SessionError::Rejected {
            program: "p0".into(),
            error: io::Error::from_raw_os_error(code),
            log: log.into(),
        };
        let text = shown(rejected(libc::EPERM, ""));
        assert!(text.starts_with("error[load]: the kernel refuses the program p0"), "{text}");
        assert!(text.contains("CAP_BPF and CAP_PERFMON"), "{text}");
        let text = shown(rejected(libc::EINVAL, "; $x = 1; @ a.bt:3\nR1 invalid mem access\nprocessed 2 insns\n"));
        assert!(text.starts_with("bug[rejected]: the kernel refuses the program p0"), "{text}");
        assert!(text.contains("the verifier says: R1 invalid mem access"), "{text}");
        let text = shown(SessionError::Object("no program named p1".into()));
        assert!(text.starts_with("bug[internal]: ") && text.contains("no program named p1"), "{text}");
    }

    #[test]
    fn a_helper_that_the_kernel_lacks_is_no_bug() {
        for words in [
            "unknown func bpf_override_return#58",
            "program of this type cannot use helper bpf_override_return#58",
            "helper call is not allowed in probe",
        ] {
            let log =
                format!("; override(1); @ a.bt:2\n5: (85) call bpf_override_return#58\n{words}\nprocessed 6 insns\n");
            let error = io::Error::from_raw_os_error(libc::EINVAL);
            let d = SessionError::Rejected { program: "p0".into(), error, log }.to_diagnostic(false);
            let shown = render(&d, &SourceMap::default(), Colour::Never);
            assert!(
                shown.starts_with("error[no-helper]: this kernel has no `bpf_override_return` for such a probe"),
                "{shown}"
            );
            assert!(shown.contains("it is needed in a.bt:2: override(1);"), "{shown}");
            assert!(shown.contains("CONFIG_BPF_KPROBE_OVERRIDE"), "{shown}");
        }
    }

    #[test]
    fn a_limit_of_the_kernel_is_no_bug() {
        let cases = [
            (
                libc::EFAULT,
                "; $i++; @ a.bt:3\n7: (07) r1 += 1\nThe sequence of 8193 jumps is too complex.\n",
                "open branches",
            ),
            (libc::E2BIG, "; $i++; @ a.bt:3\nBPF program is too large. Processed 1000001 insn\n", "a million steps"),
            (libc::E2BIG, "; $i++; @ a.bt:3\n", "more instructions"),
        ];
        for (errno, log, meaning) in cases {
            let error = io::Error::from_raw_os_error(errno);
            let d = SessionError::Rejected { program: "p0".into(), error, log: log.into() }.to_diagnostic(false);
            let shown = render(&d, &SourceMap::default(), Colour::Never);
            assert!(
                shown.starts_with("error[too-complex]: this probe is too complex for the kernel to check"),
                "{shown}"
            );
            assert!(d.notes.iter().any(|n| n.contains(meaning)), "{:?}", d.notes);
            assert!(d.notes.iter().any(|n| n == "it gave up in a.bt:3: $i++;"), "{:?}", d.notes);
            assert_eq!(d.help.len(), 3);
        }
    }

    #[test]
    fn an_empty_log_has_no_reason() {
        assert_eq!(script_line(""), None);
        assert_eq!(reason(""), None);
    }
}
