//! A case file: its header parsed, its script left as it is. The header's language is described in `tests/README.md`.
//!
//! A header that is not understood is an error with its line, never a case that silently tests less.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::expect::{Block, ExpectedLine, Mode, Repeat};
use crate::manual;

/// How the script reaches the tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// As a file in the working directory, named like the case.
    File,
    /// With `-e`.
    Argument,
    /// On standard input, with `-`.
    Stdin,
    /// Not at all: the options are the whole command line.
    None,
}

/// When the run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The tool ends by itself.
    Itself,
    /// A signal is sent once the workloads have ended (without workloads: once the probes are attached).
    Signal {
        /// The signal's number.
        signal: i32,
        /// How long to wait before.
        after: Duration,
    },
}

/// Whether a reference bpftrace prints the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// It does.
    Same,
    /// It does not, for this reason.
    Differs(String),
    /// It cannot run this, for this reason.
    Skip(String),
}

/// A bound on the kernel's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelBound {
    /// True for "at least", false for "below".
    pub at_least: bool,
    /// Major and minor version.
    pub version: (u32, u32),
}

/// One way of running a case's script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The script, as a path from the top of the repository, when it is not the case file itself.
    pub source: Option<String>,
    /// The name behind the case's name; empty for the only run.
    pub name: String,
    /// How the script is passed.
    pub script: Script,
    /// Words before the script.
    pub options: Vec<String>,
    /// Words after the script.
    pub args: Vec<String>,
    /// The words for the program that the tool makes of the script, when that is run and not the tool.
    pub standalone: Option<Vec<String>>,
    /// Added to the environment.
    pub env: Vec<(String, String)>,
    /// Standard input, line by line.
    pub stdin: Vec<String>,
    /// Files beside the script.
    pub files: Vec<Auxiliary>,
    /// Command lines of the workload program, started before the tool and released when it has attached.
    pub workloads: Vec<Vec<String>>,
    /// When the run ends; `None` picks by the presence of workloads.
    pub end: Option<End>,
    /// Expectations about standard output.
    pub stdout: Vec<Block>,
    /// Expectations about standard error.
    pub stderr: Vec<Block>,
    /// Expressions that must be true.
    pub checks: Vec<String>,
    /// The exit code; 128 + N for a death by signal N.
    pub exit: i32,
    /// How long the run may take.
    pub timeout: Duration,
    /// Bounds on the kernel.
    pub kernel: Vec<KernelBound>,
    /// Names of features that must be there, or with `!` must not.
    pub needs: Vec<String>,
    /// What a reference prints.
    pub reference: Reference,
    /// Features without which a reference cannot run this, though the tool can.
    pub reference_needs: Vec<String>,
}

impl Run {
    fn new() -> Run {
        Run {
            source: None,
            name: String::new(),
            script: Script::File,
            options: Vec::new(),
            args: Vec::new(),
            standalone: None,
            env: Vec::new(),
            stdin: Vec::new(),
            files: Vec::new(),
            workloads: Vec::new(),
            end: None,
            stdout: Vec::new(),
            stderr: Vec::new(),
            checks: Vec::new(),
            exit: 0,
            timeout: Duration::from_secs(10),
            kernel: Vec::new(),
            needs: Vec::new(),
            reference: Reference::Same,
            reference_needs: Vec::new(),
        }
    }
}

/// A file beside the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auxiliary {
    /// Its path from the working directory.
    pub path: String,
    /// Everybody may write to it.
    pub writable_by_all: bool,
    /// Its text, line by line.
    pub lines: Vec<String>,
}

/// A case file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Subject and file name without extension, `printf/widths`.
    pub name: String,
    /// The script that the tool sees.
    pub body: String,
    /// At least one.
    pub runs: Vec<Run>,
}

/// A header line that is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "header line {}: {}", self.line, self.message)
    }
}

/// A file of the repository, or with `debian:` one of the tools of Debian's bpftrace packages, which `tests/run` fetches.
pub fn source_path(cases: &Path, source: &str) -> PathBuf {
    match source.strip_prefix("debian:") {
        Some(tool) => {
            let cache = std::env::var_os("TAPLINE_CACHE").unwrap_or_else(|| "/var/cache/tapline-tests".into());
            PathBuf::from(cache).join("tools").join(tool)
        }
        None => cases.join("../..").join(source),
    }
}

/// Every case file below `root`, sorted by name, with the name of its case.
pub fn find(root: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "bt") {
                let name = path.strip_prefix(root).unwrap_or(&path).with_extension("");
                found.push((name.to_string_lossy().into_owned(), path));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The texts of all cases: the files below `root`, and the examples of the documentation that lies beside it, each with its name.
pub fn texts(root: &Path) -> std::io::Result<Vec<(String, Result<String, String>)>> {
    let mut texts = Vec::new();
    for (name, path) in find(root)? {
        texts.push((name, std::fs::read_to_string(&path).map_err(|error| error.to_string())));
    }
    for path in manual::pages(&root.join("../../docs")) {
        let page = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let found = std::fs::read_to_string(&path)
            .map_err(|error| error.to_string())
            .and_then(|text| manual::examples(&page, &text));
        match found {
            Ok(examples) => texts.extend(examples.into_iter().map(|example| (example.name, Ok(example.text)))),
            Err(error) => texts.push((format!("docs/{page}"), Err(error))),
        }
    }
    Ok(texts)
}

/// Where `//|` lines go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Nothing,
    Stdout,
    Stderr,
    Stdin,
    File,
}

/// Parses a case file's text.
pub fn parse(name: &str, text: &str) -> Result<Case, HeaderError> {
    let mut body = String::new();
    let mut runs: Vec<Run> = Vec::new();
    let mut run = Run::new();
    let mut target = Target::Nothing;
    let mut lines = text.split_inclusive('\n').enumerate().peekable();
    if let Some((_, shebang)) = lines.next_if(|(_, line)| line.starts_with("#!")) {
        body.push_str(shebang);
    }
    while let Some((index, line)) = lines.next_if(|(_, line)| line.starts_with("//")) {
        let fail = |message: String| HeaderError { line: index + 1, message };
        let line = line.trim_end_matches(['\n', '\r']);
        let comment = line.get(2..).unwrap_or_default();
        if let Some((repeat, text)) = expected_line(comment) {
            let blocks = match target {
                Target::Stdout => &mut run.stdout,
                Target::Stderr => &mut run.stderr,
                Target::Stdin => {
                    run.stdin.push(text);
                    continue;
                }
                Target::File => {
                    if let Some(file) = run.files.last_mut() {
                        file.lines.push(text);
                    }
                    continue;
                }
                Target::Nothing => {
                    return Err(fail("an expected line without @stdout: or @stderr: before it".into()));
                }
            };
            if let Some(block) = blocks.last_mut() {
                block.lines.push(ExpectedLine { repeat, text });
            }
            continue;
        }
        let Some(entry) = comment.trim_start().strip_prefix('@') else {
            continue;
        };
        let (key, value) = entry.split_once(':').ok_or_else(|| fail(format!("no colon after @{entry}")))?;
        let value = value.trim();
        let (key, qualifier) = match key.split_once(' ') {
            Some((key, qualifier)) => (key, qualifier.trim()),
            None => (key, ""),
        };
        target = Target::Nothing;
        match key {
            "run" => {
                // The lines before the first @run: hold for every run.
                if let Some(first) = runs.first() {
                    let common = first.clone();
                    runs.push(std::mem::replace(&mut run, common));
                } else {
                    runs.push(run.clone());
                }
                value.clone_into(&mut run.name);
            }
            "stdout" | "stderr" => {
                let mode = mode(qualifier).ok_or_else(|| fail(format!("unknown mode {qualifier:?}")))?;
                let block = Block { mode, lines: Vec::new() };
                if key == "stdout" {
                    target = Target::Stdout;
                    run.stdout.push(block);
                } else {
                    target = Target::Stderr;
                    run.stderr.push(block);
                }
            }
            "stdin" => target = Target::Stdin,
            "file" => {
                target = Target::File;
                run.files.push(auxiliary(value, qualifier).map_err(fail)?);
            }
            _ => set(&mut run, key, value).map_err(fail)?,
        }
    }
    for (_, line) in lines {
        body.push_str(line);
    }
    if runs.is_empty() {
        runs.push(run);
    } else {
        runs.push(run);
        runs.remove(0);
    }
    Ok(Case { name: name.to_owned(), body, runs })
}

/// `@file: PATH` and `@file writable: PATH`; the path stays below the working directory.
fn auxiliary(path: &str, qualifier: &str) -> Result<Auxiliary, String> {
    let parts = Path::new(path).components();
    if path.is_empty() || !parts.into_iter().all(|part| matches!(part, std::path::Component::Normal(_))) {
        return Err(format!("@file wants a path below the working directory, not {path:?}"));
    }
    let writable_by_all = match qualifier {
        "" => false,
        "writable" => true,
        _ => return Err(format!("unknown kind of file {qualifier:?}")),
    };
    Ok(Auxiliary { path: path.to_owned(), writable_by_all, lines: Vec::new() })
}

fn mode(qualifier: &str) -> Option<Mode> {
    Some(match qualifier {
        "" => Mode::Exact,
        "unordered" => Mode::Unordered,
        "contains" => Mode::Contains,
        "absent" => Mode::Absent,
        _ => return None,
    })
}

/// `| text`, `3| text`, `+| text`, `*| text`, `?| text`: how often, and the text without the blank after the bar.
fn expected_line(comment: &str) -> Option<(Repeat, String)> {
    let (count, text) = comment.split_once('|')?;
    let repeat = match count {
        "" => Repeat::exactly(1),
        "+" => Repeat { least: 1, most: None },
        "*" => Repeat { least: 0, most: None },
        "?" => Repeat { least: 0, most: Some(1) },
        digits => Repeat::exactly(digits.parse().ok()?),
    };
    Some((repeat, text.strip_prefix(' ').unwrap_or(text).to_owned()))
}

fn set(run: &mut Run, key: &str, value: &str) -> Result<(), String> {
    match key {
        "about" => {}
        "source" => run.source = Some(value.to_owned()),
        "script" => {
            run.script = match value {
                "file" => Script::File,
                "-e" => Script::Argument,
                "stdin" => Script::Stdin,
                "none" => Script::None,
                _ => return Err(format!("@script is file, -e, stdin or none, not {value:?}")),
            }
        }
        "options" => run.options = words(value)?,
        "args" => run.args = words(value)?,
        "standalone" => run.standalone = Some(words(value)?),
        "env" => {
            let (name, value) = value.split_once('=').ok_or_else(|| "@env wants NAME=VALUE".to_owned())?;
            run.env.push((name.to_owned(), value.to_owned()));
        }
        "workload" => run.workloads.push(words(value)?),
        "end" => run.end = Some(end(value)?),
        "check" => run.checks.push(value.to_owned()),
        "exit" => {
            run.exit = value.parse().map_err(|_| "@exit wants a number".to_owned())?;
        }
        "timeout" => {
            let seconds = value.trim_end_matches('s');
            let seconds = seconds.parse().map_err(|_| "@timeout wants seconds".to_owned())?;
            run.timeout = Duration::from_secs(seconds);
        }
        "kernel" => {
            for bound in value.split(',') {
                run.kernel.push(kernel_bound(bound.trim())?);
            }
        }
        "needs" => run.needs.extend(listed(value)),
        "reference" => {
            let (word, reason) = value.split_once(' ').unwrap_or((value, ""));
            let reason = reason.trim();
            match (word, reason) {
                ("same", "") => run.reference = Reference::Same,
                ("differs", reason) if !reason.is_empty() => run.reference = Reference::Differs(reason.to_owned()),
                ("skip", reason) if !reason.is_empty() => run.reference = Reference::Skip(reason.to_owned()),
                ("needs", needs) if !needs.is_empty() => run.reference_needs.extend(listed(needs)),
                _ => return Err("@reference is same, differs REASON, skip REASON or needs FEATURES".to_owned()),
            }
        }
        _ => return Err(format!("unknown key @{key}")),
    }
    Ok(())
}

/// `exit`, or `[INT|TERM] [after MS]`.
fn end(value: &str) -> Result<End, String> {
    if value == "exit" {
        return Ok(End::Itself);
    }
    let mut signal = libc::SIGINT;
    let mut after = Duration::ZERO;
    let mut parts = value.split_whitespace();
    while let Some(part) = parts.next() {
        match part {
            "INT" => signal = libc::SIGINT,
            "TERM" => signal = libc::SIGTERM,
            "after" => {
                let milliseconds = parts.next().and_then(|number| number.parse().ok());
                after = Duration::from_millis(milliseconds.ok_or("after wants milliseconds")?);
            }
            _ => {
                return Err(format!("@end is exit, or INT|TERM [after MS], not {value:?}"));
            }
        }
    }
    Ok(End::Signal { signal, after })
}

/// The words of a list, with commas or without.
fn listed(list: &str) -> impl Iterator<Item = String> {
    list.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned)
}

fn kernel_bound(text: &str) -> Result<KernelBound, String> {
    let (at_least, version) = if let Some(version) = text.strip_prefix(">=") {
        (true, version)
    } else if let Some(version) = text.strip_prefix('<') {
        (false, version)
    } else {
        return Err(format!("@kernel wants >= X.Y or < X.Y, not {text:?}"));
    };
    let version =
        crate::features::version(version.trim()).ok_or_else(|| format!("not a kernel version: {version:?}"))?;
    Ok(KernelBound { at_least, version })
}

/// Splits like a shell: blanks separate, single and double quotes group, a backslash outside single quotes escapes.
pub fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut current: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', None | Some('"')) => {
                let next = characters.next().ok_or("a backslash at the end")?;
                current.get_or_insert_default().push(next);
            }
            (character, Some(open)) if character == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(character);
                current.get_or_insert_default();
            }
            (character, None) if character.is_whitespace() => words.extend(current.take()),
            (character, _) => current.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(current);
    Ok(words)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_taken_apart_and_the_script_stays() {
        let text = "#!/usr/bin/env tapline\n\
            // Prose is ignored.\n\
            // @options: -q -f 'a b'\n\
            // @workload: opens 3 /etc/passwd\n\
            // @needs: kprobe, vm\n\
            // @kernel: >= 6.1, < 7.0\n\
            // @stdout:\n\
            //| one\n\
            //3| many\n\
            //|\n\
            //*| {{any}}\n\
            // @exit: 1\n\
            \n\
            // part of the script\n\
            BEGIN { exit() }\n";
        let case = parse("a/b", text).unwrap();
        assert_eq!(case.body, "#!/usr/bin/env tapline\n\n// part of the script\nBEGIN { exit() }\n");
        let run = &case.runs[0];
        assert_eq!(case.runs.len(), 1);
        assert_eq!(run.options, ["-q", "-f", "a b"]);
        assert_eq!(run.workloads, [["opens", "3", "/etc/passwd"]]);
        assert_eq!(run.needs, ["kprobe", "vm"]);
        assert_eq!(run.kernel.len(), 2);
        assert_eq!(run.exit, 1);
        let lines = &run.stdout[0].lines;
        assert_eq!(lines[1].repeat, Repeat::exactly(3));
        assert_eq!(lines[2].text, "");
        assert_eq!(lines[3].repeat.most, None);
    }

    #[test]
    fn runs_share_what_stands_before_them() {
        let text = "// @timeout: 3\n// @run: one\n// @args: 1\n// @run: two\n// @args: 2\n\nBEGIN {}\n";
        let case = parse("a/b", text).unwrap();
        let seen: Vec<_> =
            case.runs.iter().map(|run| (run.name.as_str(), run.args[0].as_str(), run.timeout.as_secs())).collect();
        assert_eq!(seen, [("one", "1", 3), ("two", "2", 3)]);
    }

    #[test]
    fn what_a_reference_needs_stands_beside_what_it_prints() {
        let run = &parse("a/b", "// @reference: needs kprobe\n// @reference: differs in its text\n\nBEGIN {}\n")
            .unwrap()
            .runs[0];
        assert_eq!(run.reference, Reference::Differs("in its text".into()));
        assert_eq!(run.reference_needs, ["kprobe"]);
    }

    #[test]
    fn a_header_that_is_not_understood_is_an_error() {
        assert_eq!(parse("a", "// @sdtout:\n").unwrap_err().line, 1);
        assert!(parse("a", "//| lost\n").is_err());
        assert!(parse("a", "// @reference: differs\n").is_err());
        assert!(parse("a", "// @reference: needs\n").is_err());
        assert!(parse("a", "// @stdout somehow:\n").is_err());
        assert!(parse("a", "// @options: 'open\n").is_err());
    }
}
