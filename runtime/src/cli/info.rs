//! `--info`: what the system offers, in the reference's words, which programs look for.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use tapline_compiler::target::{Feature, Target};
use tapline_compiler::types::btf::KindSet;

use crate::system::features::has_pmu;
use crate::system::{Options, System};

use super::args::Cli;

/// Width of the first of two columns.
const COLUMN: usize = 33;

/// The reference's libraries, whose names tell programs what can be done, and what does it here.
const BUILD: &[(&str, &str)] = &[
    ("LLVM", "none (own compiler)"),
    ("bfd", "yes (own decoder of instructions)"),
    ("libdw (DWARF support)", "yes (own reader)"),
    ("libsystemd (systemd notify support)", "yes (own sender)"),
    ("blazesym (advanced symbolization)", "no"),
    ("dwunwind (DWARF stack unwinding)", "yes (own unwinder)"),
    ("loader", "aya"),
];

/// The whole text.
pub fn text(cli: &Cli) -> String {
    let system = System::new(Options { traceable_functions: cli.traceable_functions.clone(), ..Options::from_env() });
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let has = |feature| system.has(feature);
    // What can only be tried out by attaching somewhere is told by the functions that serve it.
    let built_with = |function| system.btf().is_some_and(|btf| btf.find(KindSet::FUNC, function).is_some());
    let mut out = String::from("System\n");
    let release = read("/proc/sys/kernel/osrelease");
    let _ = writeln!(out, "  OS: Linux {release} {}", read("/proc/sys/kernel/version"));
    let _ = writeln!(out, "  Arch: {}", std::env::consts::ARCH);
    let _ = writeln!(out, "\nBuild\n  version: v{}", env!("CARGO_PKG_VERSION"));
    for (library, stand) in BUILD {
        let _ = writeln!(out, "  {library}: {stand}");
    }
    section(
        &mut out,
        "Kernel helpers",
        &[
            ("dpath", built_with("bpf_d_path") && has(Feature::Fentry)),
            ("get_tai_ns", has(Feature::KtimeTai)),
            ("get_func_ip", has(Feature::FuncIp)),
            ("lookup_percpu_elem", has(Feature::LookupPercpuElem)),
            ("loop", has(Feature::Loop)),
            ("get_attach_cookie", has(Feature::AttachCookie)),
            ("for_each_map_elem", has(Feature::ForEachMapElem)),
        ],
    );
    let module_btf =
        fs::read_dir("/sys/kernel/btf").is_ok_and(|dir| dir.flatten().any(|entry| entry.file_name() != "vmlinux"));
    let _ = writeln!(out, "\nKernel features\n  Instruction limit: 1000000");
    cells(&mut out, &[("btf", Path::new("/sys/kernel/btf/vmlinux").exists()), ("module btf", module_btf)]);
    section(
        &mut out,
        "Probe types",
        &[
            ("kprobe_multi", has(Feature::KprobeMulti)),
            ("uprobe_multi", has(Feature::UprobeMulti)),
            ("kprobe_session", built_with("bpf_session_is_return") && has(Feature::KprobeSession)),
            ("iter", built_with("bpf_iter_task")),
            ("kprobe", has(Feature::Kprobe)),
            ("uprobe", has_pmu("uprobe")),
            ("tracepoint", system.tracefs().is_ok()),
            ("fentry", has(Feature::Fentry)),
        ],
    );
    out
}

fn section(out: &mut String, title: &str, rows: &[(&str, bool)]) {
    let _ = writeln!(out, "\n{title}");
    cells(out, rows);
}

fn cells(out: &mut String, rows: &[(&str, bool)]) {
    for pair in rows.chunks(2) {
        let cells: Vec<String> =
            pair.iter().map(|(name, yes)| format!("{name}: {}", if *yes { "yes" } else { "no" })).collect();
        match cells.as_slice() {
            [left, right] => {
                let _ = writeln!(out, "  {left:COLUMN$}{right}");
            }
            _ => {
                let _ = writeln!(out, "  {}", cells.concat());
            }
        }
    }
}
