//! Whether we may trace at all, asked before anything else is done.

use std::fs;

use tapline_compiler::diagnostic::Diagnostic;

use crate::sys::privilege::{Capabilities, Capability};

/// What is missing; `None` when there is nothing in the way.
pub fn missing() -> Option<Diagnostic> {
    let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    match Capabilities::current() {
        Ok(ours) => judge(ours, &lockdown),
        // A kernel that cannot tell lets the first call fail with its own reason.
        Err(_) => None,
    }
}

fn judge(ours: Capabilities, lockdown: &str) -> Option<Diagnostic> {
    let wanted = [(Capability::Bpf, "CAP_BPF"), (Capability::Perfmon, "CAP_PERFMON")];
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|(c, _)| !ours.has(*c) && !ours.has(Capability::SysAdmin))
        .map(|(_, name)| *name)
        .collect();
    if !missing.is_empty() {
        let message = format!("tracing needs a privilege that this process lacks: {}", missing.join(" and "));
        return Some(
            Diagnostic::error("privilege", message, None)
                .help("run it as root, for instance through sudo")
                .help("or give the binary what it needs: setcap cap_bpf,cap_perfmon,cap_dac_read_search=ep"),
        );
    }
    if lockdown.contains("[confidentiality]") {
        return Some(
            Diagnostic::error("lockdown", "the kernel is locked down: programs may not read its memory", None)
                .note("/sys/kernel/security/lockdown says confidentiality")
                .help("boot without lockdown=confidentiality; secure boot may turn it on"),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said() {
        use tapline_compiler::render::{Colour, render};
        use tapline_compiler::source::SourceMap;
        let said: Vec<String> =
            [judge(Capabilities::of(&[]), ""), judge(Capabilities::of(&[Capability::SysAdmin]), "[confidentiality]")]
                .iter()
                .flatten()
                .map(|d| render(d, &SourceMap::new(), Colour::Never))
                .collect();
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn judgements() {
        let message = |caps: &[Capability], lockdown| judge(Capabilities::of(caps), lockdown).map(|d| d.message);
        let none = "[none] integrity confidentiality";
        assert_eq!(message(&[Capability::SysAdmin], none), None);
        assert_eq!(message(&[Capability::Bpf, Capability::Perfmon], ""), None);
        assert!(message(&[Capability::Bpf], none).is_some_and(|m| m.ends_with(": CAP_PERFMON")));
        assert!(message(&[], none).is_some_and(|m| m.ends_with(": CAP_BPF and CAP_PERFMON")));
        let locked = "none integrity [confidentiality]";
        assert!(message(&[Capability::SysAdmin], locked).is_some_and(|m| m.contains("locked down")));
    }
}
