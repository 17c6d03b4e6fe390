//! What the kernel and the machine that a case runs on can do, probed at run time by name.
//!
//! Probing reads files only: it loads nothing and traces nothing, so that a probe cannot fail for the reason that the case
//! is about.

use std::path::Path;

/// Variable with the path of a block device that may be overwritten.
pub const DISK: &str = "TAPLINE_TEST_DISK";
/// Variable that is set inside the virtual machines of the kernel matrix.
pub const MACHINE: &str = "TAPLINE_TEST_VM";

const TRACEFS: &[&str] = &["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// A feature that a case can need.
struct Feature {
    name: &'static str,
    present: fn() -> bool,
}

const FEATURES: &[Feature] = &[
    Feature { name: "vm", present: in_machine },
    Feature { name: "disk", present: || std::env::var_os(DISK).is_some() },
    Feature { name: "kprobe", present: || pmu("kprobe") },
    Feature {
        name: "kprobe.multi",
        present: || pmu("kprobe") && symbol("register_fprobe_ips") && in_tracefs("available_filter_functions"),
    },
    Feature {
        name: "kprobe.session",
        present: || pmu("kprobe") && symbol("bpf_session_is_return") && in_tracefs("available_filter_functions"),
    },
    Feature { name: "uprobe", present: || pmu("uprobe") },
    Feature { name: "uprobe.multi", present: || pmu("uprobe") && symbol("bpf_uprobe_multi_link_attach") },
    Feature { name: "fentry", present: || symbol("register_ftrace_direct") && traceable_functions() },
    Feature { name: "btf", present: || Path::new("/sys/kernel/btf/vmlinux").exists() },
    Feature { name: "hardware", present: || pmu("cpu") || pmu("cpu_core") },
    Feature {
        name: "ipv6",
        present: || std::fs::read_to_string("/proc/net/if_inet6").is_ok_and(|text| !text.is_empty()),
    },
    Feature { name: "smp", present: || std::thread::available_parallelism().is_ok_and(|count| count.get() > 1) },
];

fn in_machine() -> bool {
    std::env::var_os(MACHINE).is_some()
}

fn pmu(name: &str) -> bool {
    Path::new("/sys/bus/event_source/devices").join(name).exists()
}

fn in_tracefs(path: &str) -> bool {
    TRACEFS.iter().any(|root| Path::new(root).join(path).exists())
}

/// Whether the kernel can trace any function: its list is there, and empty, where it can not.
fn traceable_functions() -> bool {
    TRACEFS.iter().any(|root| {
        let mut first = [0u8; 1];
        std::fs::File::open(Path::new(root).join("available_filter_functions"))
            .and_then(|mut file| std::io::Read::read(&mut file, &mut first))
            .is_ok_and(|count| count > 0)
    })
}

/// Whether the kernel has a symbol of this name, whatever its address.
fn symbol(name: &str) -> bool {
    use std::sync::OnceLock;
    static SYMBOLS: OnceLock<String> = OnceLock::new();
    let text = SYMBOLS.get_or_init(|| std::fs::read_to_string("/proc/kallsyms").unwrap_or_default());
    text.lines().any(|line| line.split_whitespace().nth(2) == Some(name))
}

/// Why a need is not met; `None` when it is. Besides the table: `function:NAME` (kernel symbol), `tracepoint:CATEGORY:NAME`
/// (in tracefs), `file:PATH`, and `!NEED` for the absence of any of them.
pub fn unmet(need: &str) -> Option<String> {
    if let Some(unwanted) = need.strip_prefix('!') {
        return match unmet(unwanted) {
            None => Some(format!("has {unwanted}")),
            Some(reason) if reason.starts_with("unknown") => Some(reason),
            Some(_) => None,
        };
    }
    let present = if let Some(name) = need.strip_prefix("function:") {
        symbol(name)
    } else if let Some(event) = need.strip_prefix("tracepoint:") {
        in_tracefs(&format!("events/{}", event.replace(':', "/")))
    } else if let Some(path) = need.strip_prefix("file:") {
        Path::new(path).exists()
    } else if let Some(feature) = FEATURES.iter().find(|feature| feature.name == need) {
        (feature.present)()
    } else {
        return Some(format!("unknown need {need}"));
    };
    (!present).then(|| format!("no {need}"))
}

/// Major and minor number at the start of a version text.
pub fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next().and_then(|minor| minor.parse().ok()).unwrap_or(0)))
}

/// The version of the running kernel.
pub fn kernel() -> Option<(u32, u32)> {
    version(&std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_release_names() {
        assert_eq!(version("6.12.117+deb13-cloud-amd64"), Some((6, 12)));
        assert_eq!(version("7"), Some((7, 0)));
        assert_eq!(version("next"), None);
    }

    #[test]
    fn unknown_needs_never_pass() {
        assert!(unmet("no-such-feature").is_some());
        assert!(unmet("!no-such-feature").is_some());
        assert!(unmet("file:/").is_none());
        assert!(unmet("!file:/").is_some());
    }
}
