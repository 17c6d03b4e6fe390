//! Loads the object of every case with loaders that know nothing of tapline: stock aya and bpftool. See `tests/README.md`.
//!
//! An object is loaded, which includes the kernel's verifier, and not attached.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use aya::EbpfLoader;
use aya::programs::Program;
use tapline_tests::case::{self, Case, Run, Script};
use tapline_tests::features;
use tapline_tests::run::{self, Tool};

const USAGE: &str = "usage: conformance --tool PATH --workload PATH --cases DIR";

/// Where bpftool pins what it loads.
const PINS: &str = "/sys/fs/bpf/tapline-conformance";

/// A loader under test: its name, and what it does with a file. `Ok(None)` is success, `Ok(Some(reason))` a skip.
struct Loader {
    name: &'static str,
    load: fn(&Path) -> Result<Option<String>, String>,
}

const LOADERS: &[Loader] = &[Loader { name: "aya", load: with_aya }, Loader { name: "bpftool", load: with_bpftool }];

/// The whole chain of an error's causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn with_aya(path: &Path) -> Result<Option<String>, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let mut object = EbpfLoader::new().load(&bytes).map_err(|error| chain(&error))?;
    for (name, program) in object.programs_mut() {
        let loaded = match program {
            Program::KProbe(program) => program.load(),
            Program::UProbe(program) => program.load(),
            Program::TracePoint(program) => program.load(),
            Program::RawTracePoint(program) => program.load(),
            Program::PerfEvent(program) => program.load(),
            other => return Ok(Some(format!("{name} is of type {:?}", other.prog_type()))),
        };
        loaded.map_err(|error| format!("program {name}: {}", chain(&error)))?;
    }
    Ok(None)
}

fn with_bpftool(path: &Path) -> Result<Option<String>, String> {
    let output = Command::new("bpftool")
        .args(["prog", "loadall"])
        .arg(path)
        .arg(PINS)
        .output()
        .map_err(|error| format!("bpftool: {error}"))?;
    unpin();
    if output.status.success() { Ok(None) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Takes the pins away, and the programs with them.
fn unpin() {
    if let Ok(entries) = std::fs::read_dir(PINS) {
        for entry in entries.flatten() {
            // A pin that stays makes the next load fail, which is report enough.
            let _ = std::fs::remove_file(entry.path());
        }
    }
    let _ = std::fs::remove_dir(PINS);
}

/// Whether a script is there and the kernel has what it needs to be compiled (not: to be attached).
fn applies(case: &Case, run: &Run) -> Result<(), String> {
    if run.script == Script::None {
        return Err("no script".to_owned());
    }
    if run.options.iter().any(|option| option == "-l" || option == "-lv") {
        return Err("lists and compiles nothing".to_owned());
    }
    if run.args.iter().any(|arg| arg == "--help") {
        return Err("asks what the script is for, and compiles nothing".to_owned());
    }
    if run.exit != 0 {
        return Err("ends with an error".to_owned());
    }
    if run.options.iter().any(|option| option == "--fmt" || option == "--emit-elf") {
        return Err("loads nothing, or writes an object of its own".to_owned());
    }
    // Compiling needs no workload, but for what only a running one says, and for probes that are looked for in its memory.
    let said = |text: &str| run::PLACES_OF_A_PROCESS.iter().any(|name| text.contains(name));
    if said(&case.body) || run.options.iter().any(|option| said(option)) {
        return Err("names an address that a running workload has".to_owned());
    }
    let workload_has_cgroup = run.workloads.iter().flatten().any(|word| word == "--cgroup");
    if workload_has_cgroup && run.options.iter().any(|option| option == "--cgroup" || option == "--container") {
        return Err("names a cgroup that a running workload makes".to_owned());
    }
    if run.options.iter().any(|option| option == "-p") && case.body.contains('*') {
        return Err("looks for files in a running process".to_owned());
    }
    run.needs
        .iter()
        .filter(|need| *need != "vm" && *need != "disk")
        .find_map(|need| features::unmet(need))
        .map_or(Ok(()), Err)
}

fn options() -> Result<(Tool, PathBuf), String> {
    let mut tool = Tool {
        path: PathBuf::from("tapline"),
        root: None,
        reference: false,
        workload: PathBuf::from("workload"),
        slowness: 1,
    };
    let mut cases = PathBuf::from("tests/cases");
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().ok_or(USAGE)?;
        let path = std::path::absolute(&value).map_err(|error| format!("{value}: {error}"))?;
        match flag.as_str() {
            "--tool" => tool.path = path,
            "--workload" => tool.workload = path,
            "--cases" => cases = path,
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok((tool, cases))
}

/// Every loader on one run's object; the number of failures.
fn check(name: &str, case: &Case, run: &Run, tool: &Tool, object: &Path) -> usize {
    let _ = std::fs::remove_file(object);
    let written = applies(case, run).and_then(|()| match run::emit_object(case, run, tool, object) {
        Ok(true) => Ok(Ok(())),
        Ok(false) => Err("the script is refused".to_owned()),
        // What the machines' kernels have may be missing in this one.
        Err(error) if run.needs.iter().any(|need| need == "vm") && error.contains("[unknown-symbol]") => Err(error),
        Err(error) => Ok(Err(error)),
    });
    match written {
        Err(reason) => {
            println!("skip {name} ({})", reason.lines().nth(1).unwrap_or(&reason));
            return 0;
        }
        Ok(Err(error)) => {
            fail(name, &error);
            return 1;
        }
        Ok(Ok(())) => {}
    }
    let mut failures = 0;
    for loader in LOADERS {
        let name = format!("{}/{name}", loader.name);
        let mut outcome = (loader.load)(object);
        // What a session compiles once more, others get with an option.
        if outcome.as_ref().is_err_and(|error| error.contains("BPF program is too large")) {
            let mut parts = run.clone();
            parts.options.push("--parts".to_owned());
            outcome = run::emit_object(case, &parts, tool, object).and_then(|_| (loader.load)(object));
        }
        match outcome {
            Ok(None) => println!("ok {name}"),
            Ok(Some(reason)) => println!("skip {name} ({reason})"),
            Err(error) if ["cannot use helper", "unknown func"].iter().any(|words| error.contains(words)) => {
                println!("skip {name} (this kernel has no such helper)");
            }
            Err(error) => {
                fail(&name, &error);
                failures += 1;
            }
        }
    }
    failures
}

fn fail(name: &str, error: &str) {
    println!("FAIL {name}");
    // A verifier's log is long; how it ends is what matters.
    let lines: Vec<_> = error.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(25)) {
        println!("    {line}");
    }
}

fn all(tool: &Tool, cases: &Path) -> Result<usize, String> {
    let object = std::env::temp_dir().join(format!("tapline-conformance-{}.o", std::process::id()));
    let mut failures = 0;
    unpin();
    for (name, text) in case::texts(cases).map_err(|error| format!("{}: {error}", cases.display()))? {
        let text = text.map_err(|error| format!("{name}: {error}"))?;
        let mut case = case::parse(&name, &text).map_err(|error| format!("{name}: {error}"))?;
        // Runs differ in their options, which objects do not show, or in their source.
        for (index, run) in case.runs.clone().iter().enumerate() {
            let Some(source) = &run.source else {
                if index == 0 {
                    failures += check(&name, &case, run, tool, &object);
                }
                continue;
            };
            let path = case::source_path(cases, source);
            case.body = std::fs::read_to_string(&path).map_err(|error| format!("{source}: {error}"))?;
            let name = if run.name.is_empty() { name.clone() } else { format!("{name}:{}", run.name) };
            failures += check(&name, &case, run, tool, &object);
        }
    }
    let _ = std::fs::remove_file(&object);
    Ok(failures)
}

fn main() -> ExitCode {
    match options().and_then(|(tool, cases)| all(&tool, &cases)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("conformance: {error}");
            ExitCode::from(2)
        }
    }
}
