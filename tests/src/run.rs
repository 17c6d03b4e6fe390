//! One run of one case: workloads started and held, the tool attached, workloads released, the end, the comparison.
//!
//! Whatever happens, no process started here outlives the run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::case::{Case, End, Reference, Run, Script};
use crate::check::{self, Facts};
use crate::expect::{self, Block, Mode};
use crate::features;
use crate::pattern::{Captures, Pattern};
use crate::sys;

/// The line that the tool prints, and the variable that asks for it.
pub const ATTACHED: &str = "__BPFTRACE_NOTIFY_PROBES_ATTACHED";

/// Whom the cases are run with.
#[derive(Clone, Debug)]
pub struct Tool {
    /// The program.
    pub path: PathBuf,
    /// For a reference in a root folder of its own: that folder.
    pub root: Option<PathBuf>,
    /// The tool is a reference: its standard error is not compared, and scripts are not passed as files.
    pub reference: bool,
    /// The workload program as this process sees it.
    pub workload: PathBuf,
    /// Multiplies every timeout, for emulated processors.
    pub slowness: u32,
}

/// How cases name the folder of the small programs that they trace.
const PROGRAMS: &str = "{{$programs}}";

impl Tool {
    /// The folder of the small programs, as this process sees it.
    pub fn programs(&self) -> PathBuf {
        self.workload.with_file_name("programs")
    }

    /// A path of this process's as the tool sees it.
    fn seen(&self, path: &Path) -> String {
        let inside = self.root.as_ref().and_then(|root| path.strip_prefix(root).ok());
        inside.map_or_else(|| path.to_owned(), |inner| Path::new("/").join(inner)).to_string_lossy().into_owned()
    }
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As expected.
    Ok,
    /// Not run, for this reason.
    Skip(String),
    /// Not as expected.
    Fail(String),
    /// Not as expected, as the header says (only with a reference).
    DiffersAsNoted(String),
}

/// What the tool printed and how it ended.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Standard output without the notification line.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit code, or 128 + signal.
    pub exit: i32,
    /// What the workloads said about themselves.
    pub truth: BTreeMap<String, String>,
}

/// Why this run cannot be done here.
pub fn reason_to_skip(run: &Run, tool: &Tool) -> Option<String> {
    if let (true, Reference::Skip(reason)) = (tool.reference, &run.reference) {
        return Some(reason.clone());
    }
    let kernel = features::kernel().unwrap_or_default();
    for bound in &run.kernel {
        if (kernel >= bound.version) != bound.at_least {
            let (major, minor) = bound.version;
            let relation = if bound.at_least { ">=" } else { "<" };
            return Some(format!("kernel is not {relation} {major}.{minor}"));
        }
    }
    let of_reference = run.reference_needs.iter().filter(|_| tool.reference);
    run.needs.iter().chain(of_reference).find_map(|need| match need.as_str() {
        "programs" => (!tool.programs().is_dir()).then(|| "no test programs: `tests/run build` makes them".to_owned()),
        need => features::unmet(need),
    })
}

/// Runs and judges.
pub fn judge(case: &Case, run: &Run, tool: &Tool) -> Verdict {
    if let Some(reason) = reason_to_skip(run, tool) {
        return Verdict::Skip(reason);
    }
    let result = observe(case, run, tool)
        .and_then(|observed| verify(run, tool, &observed).map_err(|problem| describe(&problem, &observed)));
    match (result, &run.reference) {
        (Ok(()), _) => Verdict::Ok,
        (Err(problem), Reference::Differs(reason)) if tool.reference => {
            Verdict::DiffersAsNoted(format!("{reason}\n{problem}"))
        }
        (Err(problem), _) => Verdict::Fail(problem),
    }
}

/// The problem with what helps to understand it.
fn describe(problem: &str, observed: &Observed) -> String {
    let mut text = problem.to_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    if !observed.stderr.is_empty() {
        let _ = writeln!(text, "standard error was:\n{}", observed.stderr.trim_end());
    }
    if observed.exit != 0 {
        let _ = writeln!(text, "exit code was {}", observed.exit);
    }
    text
}

/// A scratch folder that goes away with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(case: &Case, run: &Run, tool: &Tool) -> std::io::Result<Scratch> {
        let name = format!("{}-{}-{}", case.name, run.name, std::process::id()).replace('/', "-");
        // A reference in a root folder of its own sees the files of the case only inside.
        let root = tool.root.as_deref().filter(|_| !run.files.is_empty());
        let folder = root.map_or_else(std::env::temp_dir, |root| root.join("tmp"));
        let scratch = Scratch(folder.join(format!("tapline-case-{name}")));
        std::fs::create_dir_all(&scratch.0)?;
        for file in &run.files {
            let path = scratch.0.join(&file.path);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(&path, file.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>())?;
            if file.writable_by_all {
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
            }
        }
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left of a scratch folder does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A child whose process group ends with the value.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = sys::kill(-(self.0.id() as i32), libc::SIGKILL);
            let _ = self.0.wait();
        }
    }
}

/// A workload that waits to be released.
struct Workload {
    child: Guard,
    stdout: BufReader<ChildStdout>,
}

/// Puts `{{$name}}` in; names that are unknown stay, so that they show up in the difference.
fn substitute(text: &str, truth: &BTreeMap<String, String>) -> String {
    if !text.contains("{{$") {
        return text.to_owned();
    }
    let mut text = text.to_owned();
    for (name, value) in truth {
        text = text.replace(&format!("{{{{${name}}}}}"), value);
    }
    text
}

/// The same for `$name` in checks, longest names first.
fn substitute_bare(text: &str, truth: &BTreeMap<String, String>) -> String {
    let mut names: Vec<_> = truth.iter().collect();
    names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    let mut text = text.to_owned();
    for (name, value) in names {
        text = text.replace(&format!("${name}"), value);
    }
    text
}

/// Keeps the `key=value` lines of workload number `index`; those of later ones have their number before the key.
fn learn(truth: &mut BTreeMap<String, String>, index: usize, line: &str) {
    if let Some((key, value)) = line.trim_end().split_once('=') {
        let key = if index == 0 { key.to_owned() } else { format!("{}.{key}", index + 1) };
        truth.insert(key, value.to_owned());
    }
}

fn start_workload(
    tool: &Tool,
    words: &[String],
    index: usize,
    truth: &mut BTreeMap<String, String>,
) -> Result<Workload, String> {
    let programs = tool.programs().to_string_lossy().into_owned();
    let words = words.iter().map(|word| substitute(&word.replace(PROGRAMS, &programs), truth));
    let mut child = Command::new(&tool.workload)
        .arg("--wait")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot start the workload {}: {error}", tool.workload.display()))?;
    let stdout = child.stdout.take().ok_or("the workload has no output")?;
    let mut workload = Workload { child: Guard(child), stdout: BufReader::new(stdout) };
    let mut line = String::new();
    loop {
        line.clear();
        let read = workload.stdout.read_line(&mut line);
        match read {
            Ok(0) => return Err("the workload ended before it was ready".to_owned()),
            Err(error) => return Err(format!("the workload's output: {error}")),
            Ok(_) if line.trim_end() == "ready" => return Ok(workload),
            Ok(_) => learn(truth, index, &line),
        }
    }
}

/// Releases a workload, reads the rest of its truth, and waits for its end.
fn finish_workload(workload: Workload, index: usize, truth: &mut BTreeMap<String, String>) -> Result<(), String> {
    let Workload { mut child, stdout } = workload;
    for line in stdout.lines().map_while(Result::ok) {
        learn(truth, index, &line);
    }
    let status = child.0.wait().map_err(|error| error.to_string())?;
    match status.code() {
        Some(99) => Err("the workload failed".to_owned()),
        _ => Ok(()),
    }
}

/// Collects the tool's standard output line by line, and reports the notification.
fn collect(stdout: ChildStdout, attached: Sender<()>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut text = String::new();
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let shown = String::from_utf8_lossy(&line);
            if shown.trim_end() == ATTACHED {
                let _ = attached.send(());
            } else {
                text.push_str(&shown);
            }
            line.clear();
        }
        text
    })
}

fn command(
    case: &Case,
    run: &Run,
    tool: &Tool,
    scratch: &Scratch,
    truth: &BTreeMap<String, String>,
) -> Result<(Command, Option<String>), String> {
    let body = substitute(&case.body, truth);
    let mut input = None;
    let mut command = Command::new(&tool.path);
    if run.standalone.is_some() {
        command.args(["--aot", STANDALONE]);
    }
    command.args(run.options.iter().map(|word| substitute(word, truth)));
    match run.script {
        Script::None => {}
        Script::Argument => {
            command.arg("-e").arg(body.trim_end());
        }
        Script::File if !tool.reference || !run.files.is_empty() => {
            let name = case.name.rsplit('/').next().unwrap_or(&case.name);
            let name = format!("{name}.bt");
            let path = scratch.0.join(&name);
            std::fs::write(&path, body).map_err(|error| error.to_string())?;
            command.arg(if tool.reference { tool.seen(&path) } else { name });
        }
        Script::File | Script::Stdin => {
            command.arg("-");
            input = Some(body);
        }
    }
    if !run.stdin.is_empty() {
        input = Some(run.stdin.join("\n") + "\n");
    }
    command.args(run.args.iter().map(|word| substitute(word, truth)));
    if let Some(words) = &run.standalone {
        command = standalone(command, input.take().as_deref(), scratch)?;
        command.args(words);
    }
    command
        .envs(run.env.iter().map(|(name, value)| (name, substitute(value, truth))))
        .env(ATTACHED, "1")
        .current_dir(&scratch.0)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    Ok((command, input))
}

/// The program that the tool makes of a script.
const STANDALONE: &str = "standalone";

/// Has the tool make a program of the script, and takes away what the script was made of.
fn standalone(mut tool: Command, input: Option<&str>, scratch: &Scratch) -> Result<Command, String> {
    let path = scratch.0.join(STANDALONE);
    tool.current_dir(&scratch.0).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = tool.spawn().map_err(|error| format!("cannot start the tool: {error}"))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("no program was made:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    for entry in std::fs::read_dir(&scratch.0).map_err(|error| error.to_string())?.flatten() {
        if entry.path() != path {
            let _ = std::fs::remove_file(entry.path()).or_else(|_| std::fs::remove_dir_all(entry.path()));
        }
    }
    Ok(Command::new(path))
}

/// Waits until `done` says so or the tool has ended; false when the time is over.
fn wait_attached(attached: &Receiver<()>, child: &mut Guard, deadline: Instant) -> Result<bool, String> {
    loop {
        match attached.recv_timeout(Duration::from_millis(5)) {
            Ok(()) => return Ok(true),
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
            Err(RecvTimeoutError::Timeout) => {
                if child.0.try_wait().map_err(|error| error.to_string())?.is_some() {
                    // What it has written may still be unread.
                    return Ok(attached.recv_timeout(Duration::from_secs(1)).is_ok());
                }
                if Instant::now() > deadline {
                    return Err("timeout: the probes were not attached".to_owned());
                }
            }
        }
    }
}

/// Truths that are addresses in a running workload, as scripts name them.
pub const PLACES_OF_A_PROCESS: &[&str] = &["{{$watched}}", "{{$add_address}}"];

/// Has the tool write the object of a run's script to `object`, without running it; false when the script has none because
/// it is refused. Pids and ports are stand-ins: they are only compared with.
pub fn emit_object(case: &Case, run: &Run, tool: &Tool, object: &Path) -> Result<bool, String> {
    let scratch = Scratch::new(case, run, tool).map_err(|error| format!("scratch folder: {error}"))?;
    let mut truth: BTreeMap<String, String> =
        ["pid", "tid", "2.pid", "2.tid", "uid", "gid", "port"].map(|name| (name.to_owned(), "1".to_owned())).into();
    let programs = tool.programs();
    let folders =
        [("tmp", &scratch.0), ("workload", &tool.workload), ("self", &tool.workload), ("programs", &programs)];
    for (name, path) in folders {
        truth.insert(name.to_owned(), path.to_string_lossy().into_owned());
    }
    let mut run = Run { standalone: None, ..run.clone() };
    run.options.splice(0..0, ["--emit-elf".to_owned(), object.to_string_lossy().into_owned(), "--dry-run".to_owned()]);
    let (mut command, input) = command(case, &run, tool, &scratch, &truth)?;
    let mut child = command.spawn().map_err(|error| format!("cannot start {}: {error}", tool.path.display()))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() && object.exists() {
        return Ok(true);
    }
    if run.exit != 0 {
        return Ok(false);
    }
    Err(format!("no object was written:\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// Runs the tool and its workloads; what came out.
pub fn observe(case: &Case, run: &Run, tool: &Tool) -> Result<Observed, String> {
    let scratch = Scratch::new(case, run, tool).map_err(|error| format!("scratch folder: {error}"))?;
    let deadline = Instant::now() + run.timeout * tool.slowness;
    let mut truth = BTreeMap::new();
    truth.insert("tmp".to_owned(), tool.seen(&scratch.0));
    truth.insert("workload".to_owned(), tool.seen(&tool.workload));
    truth.insert("programs".to_owned(), tool.seen(&tool.programs()));
    let own = tool.workload.to_string_lossy().into_owned();
    truth.insert("self".to_owned(), own);
    if let Ok(disk) = std::env::var(features::DISK) {
        truth.insert("disk".to_owned(), disk);
    }
    let mut workloads = Vec::new();
    for (index, words) in run.workloads.iter().enumerate() {
        workloads.push(start_workload(tool, words, index, &mut truth)?);
    }
    let (mut command, input) = command(case, run, tool, &scratch, &truth)?;
    let mut child = Guard(command.spawn().map_err(|error| format!("cannot start {}: {error}", tool.path.display()))?);
    if let (Some(input), Some(mut stdin)) = (input, child.0.stdin.take()) {
        // A tool that does not read its input to the end is judged by what it prints.
        let _ = stdin.write_all(input.as_bytes());
    }
    let (sender, attached) = channel();
    let stdout = child.0.stdout.take().ok_or("no standard output")?;
    let stdout = collect(stdout, sender);
    let mut stderr = child.0.stderr.take().ok_or("no standard error")?;
    let stderr = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stderr.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let mut problem = None;
    match wait_attached(&attached, &mut child, deadline) {
        Ok(true) => {
            // Only what follows the attachment counts: all workloads go at once.
            for workload in &mut workloads {
                drop(workload.child.0.stdin.take());
            }
            for (index, workload) in workloads.into_iter().enumerate() {
                if let Err(error) = finish_workload(workload, index, &mut truth) {
                    problem.get_or_insert(error);
                }
            }
            let end = run.end.unwrap_or(if run.workloads.is_empty() {
                End::Itself
            } else {
                End::Signal { signal: libc::SIGINT, after: Duration::ZERO }
            });
            if let End::Signal { signal, after } = end {
                // A reference that is interrupted at once loses what it has not read yet.
                let settle = if tool.reference { 400 } else { 0 };
                std::thread::sleep(after + Duration::from_millis(settle));
                if let Ok(None) = child.0.try_wait() {
                    let _ = sys::kill(child.0.id() as i32, signal);
                }
            }
        }
        Ok(false) => {}
        Err(error) => problem = Some(error),
    }
    let exit = loop {
        if let Some(status) = child.0.try_wait().map_err(|error| error.to_string())? {
            break status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        }
        if problem.is_some() || Instant::now() > deadline {
            problem.get_or_insert_with(|| "timeout: the tool did not end".to_owned());
            let _ = sys::kill(-(child.0.id() as i32), libc::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(3));
    };
    let observed =
        Observed { stdout: stdout.join().unwrap_or_default(), stderr: stderr.join().unwrap_or_default(), exit, truth };
    match problem {
        None => Ok(observed),
        Some(problem) => Err(format!(
            "{problem}\nstandard output was:\n{}\nstandard error was:\n{}",
            observed.stdout, observed.stderr
        )),
    }
}

/// The lines of an output; a last line without newline counts.
fn lines(text: &str) -> Vec<&str> {
    text.split_terminator('\n').collect()
}

fn compare(
    blocks: &[Block],
    what: &str,
    actual: &[&str],
    truth: &BTreeMap<String, String>,
) -> Result<Captures, String> {
    let mut captures = Captures::new();
    for block in blocks {
        let patterns: Result<Vec<_>, _> =
            block.lines.iter().map(|line| Pattern::new(&substitute(&line.text, truth))).collect();
        let patterns = patterns.map_err(|error| error.to_string())?;
        let found = expect::compare(block, &patterns, actual).map_err(|difference| format!("{what}:\n{difference}"))?;
        captures.extend(found);
    }
    Ok(captures)
}

fn verify(run: &Run, tool: &Tool, observed: &Observed) -> Result<(), String> {
    let stdout = lines(&observed.stdout);
    let mut captures = compare(&run.stdout, "standard output", &stdout, &observed.truth)?;
    if !tool.reference {
        let stderr = lines(&observed.stderr);
        if run.stderr.is_empty() {
            let unexpected: Vec<_> = stderr.iter().filter(|line| !is_attach_line(line)).collect();
            if !unexpected.is_empty() {
                return Err("standard error should be empty but for \"Attached N probes\"".to_owned());
            }
        }
        captures.extend(compare(&run.stderr, "standard error", &stderr, &observed.truth)?);
    }
    for source in &run.checks {
        let source = substitute_bare(source, &observed.truth);
        let facts = Facts { lines: &stdout, captures: &captures };
        match check::evaluate(&source, facts) {
            Ok(0) => {
                return Err(format!("check is false: {source}\nstandard output was:\n{}", observed.stdout));
            }
            Ok(_) => {}
            Err(error) => {
                return Err(format!("check {source}: {error}\nstandard output was:\n{}", observed.stdout));
            }
        }
    }
    if observed.exit != run.exit {
        return Err(format!("exit code: expected {}, was {}", run.exit, observed.exit));
    }
    Ok(())
}

fn is_attach_line(line: &str) -> bool {
    line.strip_prefix("Attached ")
        .and_then(|rest| rest.split_once(' '))
        .is_some_and(|(count, what)| count.parse::<u64>().is_ok() && (what == "probe" || what == "probes"))
}

/// What a case's author writes: the observed output as expected lines.
pub fn as_header(observed: &Observed) -> String {
    let mut text = String::from("// @stdout:\n");
    for line in lines(&observed.stdout) {
        if line.is_empty() {
            text.push_str("//|\n");
        } else {
            let _ = writeln!(text, "//| {line}");
        }
    }
    if observed.exit != 0 {
        let _ = writeln!(text, "// @exit: {}", observed.exit);
    }
    text
}

/// Whether a run asserts anything beyond its exit code.
pub fn asserts_something(run: &Run) -> bool {
    let says = |blocks: &[Block]| blocks.iter().any(|block| block.mode == Mode::Exact || !block.lines.is_empty());
    says(&run.stdout) || says(&run.stderr) || !run.checks.is_empty() || run.exit != 0
}
