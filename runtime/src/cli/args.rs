//! Options of the command line, with the names and meanings of the reference's; and a table of those that have none here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};
use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use tapline_compiler::lower::Shape;
use tapline_compiler::target::Feature;

use crate::session::run::Buffering;
use crate::session::trials::Purpose;

use super::standalone::Carried;
use super::tools;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Compile and run a script.
    Run,
    /// List probes.
    List,
    /// Format a script.
    Format,
    /// Write a program that carries a script.
    Standalone,
    /// Say what the system offers.
    Info,
    /// List the tools.
    Tools,
}

/// Where the script comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `-e`.
    Inline(String),
    /// A file.
    File(PathBuf),
    /// `-`.
    Stdin,
    /// One of [`tools::TOOLS`].
    Tool(String),
    /// What the program carries (`--aot`).
    Carried(Rc<Carried>),
    /// None was named.
    Missing,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As the reference prints it.
    #[default]
    Text,
    /// A JSON object per line.
    Json,
}

/// The command line, understood.
#[derive(Clone, Debug)]
pub struct Cli {
    /// What is to be done.
    pub mode: Mode,
    /// The script.
    pub source: Source,
    /// Pattern of `-l`; a file is its [`Self::source`] instead.
    pub pattern: String,
    /// `$1` and so on.
    pub positional: Vec<String>,
    /// `--name=value` for the script.
    pub named: Vec<(String, Option<String>)>,
    /// `-v`.
    pub verbose: bool,
    /// `-q`.
    pub quiet: bool,
    /// `-k`.
    pub helper_errors: bool,
    /// `--no-warnings`.
    pub no_warnings: bool,
    /// `--unsafe`.
    pub allow_unsafe: bool,
    /// `-p`.
    pub pid: Option<u32>,
    /// `--cgroup`.
    pub cgroup: Option<String>,
    /// `--container`.
    pub container: Option<String>,
    /// `--dwarf-pid`.
    pub unwound: Vec<u32>,
    /// `-c`.
    pub command: Option<String>,
    /// `-o`.
    pub output: Option<PathBuf>,
    /// `-f`.
    pub form: Form,
    /// `-B`.
    pub buffering: Buffering,
    /// `-d`.
    pub stages: Vec<String>,
    /// `--dry-run`.
    pub dry_run: bool,
    /// `--parts`.
    pub shape: Shape,
    /// `--emit-elf`.
    pub emit_elf: Option<PathBuf>,
    /// `--aot`.
    pub standalone: Option<PathBuf>,
    /// The command line that this was, without the program's name.
    pub words: Words,
    /// `--debuginfo`.
    pub debug_folders: Vec<PathBuf>,
    /// `--traceable-functions`.
    pub traceable_functions: Option<PathBuf>,
    /// `--test`, `--bench`, `--mode`.
    pub purpose: Purpose,
    /// `--probe-filter`.
    pub probe_filter: Option<Regex>,
    /// `-I`.
    pub include_folders: Vec<PathBuf>,
    /// `--include`.
    pub includes: Vec<PathBuf>,
    /// `--no-feature`.
    pub without_features: Vec<Feature>,
    /// Options that were given and mean nothing here, with the reason.
    pub without_meaning: Vec<(&'static str, &'static str)>,
    /// Started through a link named `bpftrace`.
    pub as_bpftrace: bool,
}

/// What the command line came to.
#[derive(Debug)]
pub enum Parsed {
    /// Do this.
    Run(Box<Cli>),
    /// Print this; success.
    Say(String),
    /// Print this on standard error; failure.
    Wrong(String),
}

/// Options of the reference that have no meaning here: name, whether it takes a value, why.
const WITHOUT_MEANING: &[(&str, bool, &str)] = &[
    ("verify-llvm-ir", false, "tapline has its own compiler: there is no LLVM IR"),
    ("emit-llvm", true, "tapline has its own compiler: there is no LLVM IR; -d ir prints its intermediate code"),
    ("usdt-file-activation", false, "semaphores are always activated by file"),
    ("btf", false, "types always come from BTF"),
];

/// What `--no-feature` can leave out.
const FEATURES: &[(&str, Feature)] = &[
    ("kprobe_multi", Feature::KprobeMulti),
    ("kprobe_session", Feature::KprobeSession),
    ("uprobe_multi", Feature::UprobeMulti),
];

fn without_features(lists: &[String]) -> Result<Vec<Feature>, String> {
    let mut features = Vec::new();
    for word in lists.iter().flat_map(|list| list.split(',')) {
        let Some((_, feature)) = FEATURES.iter().find(|(name, _)| *name == word) else {
            return Err(format!(
                "--no-feature: `{word}` cannot be left out; there are kprobe_multi, kprobe_session and uprobe_multi"
            ));
        };
        features.push(*feature);
    }
    Ok(features)
}

/// What a session is for, by its flag and by its name in `--mode`.
const PURPOSES: &[(&str, Purpose)] = &[("test", Purpose::Test), ("bench", Purpose::Bench)];

fn purpose(matches: &ArgMatches) -> Result<Purpose, String> {
    let named = matches.get_one::<String>("mode").map(String::as_str).filter(|mode| *mode != "format");
    let flags = PURPOSES.iter().map(|(name, _)| *name).filter(|name| matches.get_flag(name));
    let mut found = Purpose::Script;
    for word in flags.chain(named) {
        let Some((_, wanted)) = PURPOSES.iter().find(|(name, _)| *name == word) else {
            return Err(format!("--mode: unknown mode `{word}`; there are test, bench and format"));
        };
        if found != Purpose::Script && found != *wanted {
            return Err("tests and measurements are different sessions: choose one of --test and --bench".into());
        }
        found = *wanted;
    }
    Ok(found)
}

fn flag(id: &'static str, help: &'static str) -> Arg {
    Arg::new(id).long(id).action(ArgAction::SetTrue).help(help)
}

fn value(id: &'static str, name: &'static str, help: &'static str) -> Arg {
    Arg::new(id).long(id).value_name(name).help(help).overrides_with(id)
}

fn command() -> Command {
    let mut command = Command::new("tapline")
        .about("Traces Linux with scripts in bpftrace's language")
        .override_usage(
            "tapline [OPTIONS] FILE [ARG]... [-- --OPTION=VALUE]...\n       \
             tapline [OPTIONS] -e PROGRAM [ARG]...\n       \
             tapline [OPTIONS] TOOL [ARG]...        (`tapline tools` lists them)",
        )
        .disable_version_flag(true)
        .args_override_self(true)
        .arg(Arg::new("program").short('e').value_name("PROGRAM").allow_hyphen_values(true).help("Run this program"))
        .arg(
            flag("list", "List probes that match a pattern, or those of a script; -lv also shows arguments").short('l'),
        )
        .arg(flag("verbose", "Say more; show the verifier's log of a program that the kernel refuses").short('v'))
        .arg(flag("quiet", "Say nothing but the script's output").short('q'))
        .arg(
            flag("warnings", "Report failing helpers")
                .short('k')
                .action(ArgAction::Count)
                .conflicts_with("no-warnings"),
        )
        .arg(flag("no-warnings", "Print no warnings"))
        .arg(value("output", "FILE", "Write the output to a file").short('o'))
        .arg(Arg::new("format").short('f').long("format").value_name("FORMAT").help("text or json"))
        .arg(
            Arg::new("buffering")
                .short('B')
                .value_name("MODE")
                .help("Pass output on after every `line`, when the buffer is `full`, or after every event: `none`"),
        )
        .arg(value("pid", "PID", "Trace this process only").short('p'))
        .arg(value("cgroup", "PATH|ID", "Trace the processes of this cgroup only, and of those below it"))
        .arg(value("container", "NAME|ID", "Trace the processes of this container only").conflicts_with("cgroup"))
        .arg(
            Arg::new("dwarf-pid")
                .long("dwarf-pid")
                .value_name("PID")
                .action(ArgAction::Append)
                .value_delimiter(',')
                .help("Let dw_ustack() walk the stacks of these processes, too"),
        )
        .arg(value("cmd", "COMMAND", "Start this command once all probes are attached; end with it").short('c'))
        .arg(
            Arg::new("include-dir")
                .short('I')
                .value_name("DIR")
                .action(ArgAction::Append)
                .help("Search headers of `#include` in this folder, too"),
        )
        .arg(
            Arg::new("include")
                .long("include")
                .value_name("FILE")
                .action(ArgAction::Append)
                .help("Read this header before the script"),
        )
        .arg(
            value("debuginfo", "DIR[:DIR]", "Look for debug files of programs in these folders, too")
                .action(ArgAction::Append),
        )
        .arg(value("traceable-functions", "FILE", "Take the list of traceable kernel functions from a file"))
        .arg(
            Arg::new("no-feature")
                .long("no-feature")
                .value_name("FEATURE")
                .action(ArgAction::Append)
                .help("Do without: kprobe_multi, kprobe_session or uprobe_multi; several with commas between"),
        )
        .arg(flag("unsafe", "Allow functions that change the system"))
        .arg(flag("test", "Run the script's test probes, and say which pass"))
        .arg(flag("bench", "Run the script's bench probes many times, and say how long one takes"))
        .arg(value("mode", "MODE", "The same as --test, --bench and --fmt: `test`, `bench` or `format`"))
        .arg(value("probe-filter", "REGEX", "Run only those test and bench probes whose name matches"))
        .arg(flag("dry-run", "End once all probes are attached"))
        .arg(
            Arg::new("stage")
                .short('d')
                .long("debug")
                .value_name("STAGE")
                .action(ArgAction::Append)
                .help("Print a stage of the compiler: ast, expand, types, ir, bpf, object, verifier or all"),
        )
        .arg(flag("parts", "Compile in parts, as is done where the whole is too complex for the kernel"))
        .arg(value("emit-elf", "FILE", "Write the compiled object to a file, and do not run it"))
        .arg(value("aot", "FILE", "Write a program that runs the script on its own, and do not run it"))
        .arg(flag("fmt", "Print the script in standard form"))
        .arg(flag("info", "Say what this system offers"))
        .arg(flag("version", "Print the version").short('V'))
        .arg(Arg::new("words").num_args(0..).value_name("FILE"));
    for &(name, takes_value, _) in WITHOUT_MEANING {
        let arg = Arg::new(name).long(name).hide(true);
        command = command.arg(if takes_value { arg.action(ArgAction::Append) } else { arg.action(ArgAction::Count) });
    }
    command
}

/// The options with their help, for the manual: `-p, --pid PID`. Options that mean nothing here come with the reason.
pub fn reference() -> Vec<(String, String)> {
    let shown = |arg: &Arg| {
        let short = arg.get_short().map(|c| format!("-{c}"));
        let long = arg.get_long().map(|long| format!("--{long}"));
        let names: Vec<String> = short.into_iter().chain(long).collect();
        let value = arg.get_value_names().filter(|_| arg.get_action().takes_values()).and_then(|names| names.first());
        let value = value.map_or(String::new(), |name| format!(" {name}"));
        (format!("{}{value}", names.join(", ")), arg.get_help().map(ToString::to_string).unwrap_or_default())
    };
    let command = command();
    let options = command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set()).map(shown);
    let others = WITHOUT_MEANING.iter().map(|(name, value, reason)| {
        (format!("--{name}{}", if *value { " VALUE" } else { "" }), format!("Accepted, without effect: {reason}"))
    });
    options.chain(others).collect()
}

/// Understands a command line, the program's name first. The words of a program that carries a script come after those that it
/// was made with.
pub fn parse(argv: Vec<OsString>, carried: Option<Carried>) -> Parsed {
    let mut argv = argv.into_iter();
    let name = argv.next().unwrap_or_default();
    let as_bpftrace = Path::new(&name).file_name().is_some_and(|n| n == "bpftrace");
    let mut words = Vec::new();
    for word in argv {
        match word.into_string() {
            Ok(word) => words.push(word),
            Err(word) => {
                return Parsed::Wrong(format!("ERROR: {} is not valid UTF-8\n", word.to_string_lossy()));
            }
        }
    }
    let command = command();
    let words = if let Some(carried) = &carried {
        carried.words.clone().followed_by(&command, words)
    } else {
        split_shebang(&mut words);
        Words::split(&command, words, !as_bpftrace)
    };
    let ours = words.ours.iter().map(String::as_str);
    let matches = match command.try_get_matches_from(std::iter::once("tapline").chain(ours)) {
        Ok(matches) => matches,
        Err(e) if e.kind() == ErrorKind::DisplayHelp => return Parsed::Say(e.to_string()),
        Err(e) => return Parsed::Wrong(e.to_string()),
    };
    if matches.get_flag("version") {
        return Parsed::Say(version(as_bpftrace));
    }
    match understand(&matches, words, carried, as_bpftrace) {
        Ok(cli) => Parsed::Run(Box::new(cli)),
        Err(why) => Parsed::Wrong(format!("ERROR: {why}\n")),
    }
}

fn version(as_bpftrace: bool) -> String {
    let ours = env!("CARGO_PKG_VERSION");
    if as_bpftrace { format!("bpftrace v0.27.1 (tapline v{ours})\n") } else { format!("tapline v{ours}\n") }
}

/// A `#!` line passes all its options in one word, before the file's name.
fn split_shebang(words: &mut Vec<String>) {
    let [first, file, ..] = words.as_slice() else { return };
    if first.starts_with('-') && first.contains(' ') && !first.starts_with("-e") && Path::new(file).is_file() {
        let parts: Vec<String> = first.split_whitespace().map(str::to_owned).collect();
        words.splice(..1, parts);
    }
}

/// The words of a command line, by whom they are for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// Options, the script's file, and its parameters.
    pub ours: Vec<String>,
    /// The tool that is run.
    pub tool: Option<String>,
    /// For the script alone: what follows the name of a tool, or `--`.
    pub script: Vec<String>,
}

impl Words {
    fn split(command: &Command, words: Vec<String>, with_tools: bool) -> Self {
        let mut ours = Vec::new();
        let mut rest = words.into_iter();
        let mut has_script = false;
        while let Some(word) = rest.next() {
            if word == "--" {
                return Self { ours, tool: None, script: rest.collect() };
            }
            if word.starts_with('-') && word != "-" {
                has_script |= word.starts_with("-e") || word == "-l" || word == "-lv" || word == "--list";
                let wants_more = !word.contains('=') && takes_value(command, &word);
                ours.push(word);
                if wants_more {
                    ours.extend(rest.next());
                }
                continue;
            }
            let is_tool = with_tools && !has_script && (tools::find(&word).is_some() || word == "tools");
            if is_tool && !Path::new(&word).is_file() {
                return Self { ours, tool: Some(word), script: Vec::new() }.for_tool(rest);
            }
            has_script = true;
            ours.push(word);
        }
        Self { ours, ..Self::default() }
    }

    fn for_tool(mut self, words: impl Iterator<Item = String>) -> Self {
        self.script.extend(words.filter(|word| word != "--"));
        self
    }

    /// Those that a program was made with, then those that it is run with.
    fn followed_by(mut self, command: &Command, words: Vec<String>) -> Self {
        if self.tool.is_some() {
            return self.for_tool(words.into_iter());
        }
        let more = Self::split(command, words, false);
        self.ours.extend(more.ours);
        self.script.extend(more.script);
        self
    }

    /// Without an option that has a value.
    #[must_use]
    pub fn without(mut self, option: &str) -> Self {
        let with_value = format!("{option}=");
        let mut rest = std::mem::take(&mut self.ours).into_iter();
        while let Some(word) = rest.next() {
            if word == option {
                rest.next();
            } else if !word.starts_with(&with_value) {
                self.ours.push(word);
            }
        }
        self
    }
}

/// Whether the word after this option is its value.
fn takes_value(command: &Command, word: &str) -> bool {
    let (long, short) = match word.strip_prefix("--") {
        Some(long) => (Some(long), None),
        // Of several short options in one word, only the last can take the next word.
        None => (None, word.chars().next_back()),
    };
    let found = command.get_arguments().find(|a| match (long, short) {
        (Some(long), _) => a.get_long() == Some(long),
        (None, short) => a.get_short() == short,
    });
    let starts_with_value_option = short.is_some_and(|last| {
        word.chars()
            .skip(1)
            .take_while(|c| *c != last)
            .any(|c| command.get_arguments().any(|a| a.get_short() == Some(c) && a.get_action().takes_values()))
    });
    !starts_with_value_option && found.is_some_and(|a| a.get_action().takes_values())
}

fn understand(matches: &ArgMatches, words: Words, carried: Option<Carried>, as_bpftrace: bool) -> Result<Cli, String> {
    let text = |id: &str| matches.get_one::<String>(id).cloned();
    let texts = |id: &str| matches.get_many::<String>(id).into_iter().flatten().cloned().collect::<Vec<_>>();
    let list = matches.get_flag("list");
    let mut positional = texts("words").into_iter();
    let mut pattern = String::new();
    let mut source = if let Some(tool) = words.tool.clone().filter(|t| t != "tools") {
        Source::Tool(tool)
    } else if let Some(program) = text("program") {
        Source::Inline(program)
    } else {
        match positional.next() {
            Some(word) if list && carried.is_none() && !Path::new(&word).is_file() => {
                pattern = word;
                Source::Missing
            }
            Some(word) if word == "-" => Source::Stdin,
            Some(word) => Source::File(PathBuf::from(word)),
            None => Source::Missing,
        }
    };
    if let Some(carried) = carried {
        source = Source::Carried(Rc::new(carried));
    }
    let mut cli = Cli {
        mode: Mode::Run,
        source,
        pattern,
        positional: positional.collect(),
        named: Vec::new(),
        verbose: matches.get_flag("verbose"),
        quiet: matches.get_flag("quiet"),
        helper_errors: matches.get_count("warnings") > 0,
        no_warnings: matches.get_flag("no-warnings"),
        allow_unsafe: matches.get_flag("unsafe"),
        unwound: texts("dwarf-pid")
            .iter()
            .map(|p| p.parse().map_err(|_| format!("--dwarf-pid: `{p}` is no process id")))
            .collect::<Result<_, _>>()?,
        pid: text("pid").map(|p| p.parse().map_err(|_| format!("-p: `{p}` is no process id"))).transpose()?,
        cgroup: text("cgroup"),
        container: text("container"),
        command: text("cmd"),
        output: text("output").map(PathBuf::from),
        form: match text("format").as_deref() {
            None | Some("text") => Form::Text,
            Some("json") => Form::Json,
            Some(other) => return Err(format!("-f: unknown format `{other}`; there are text and json")),
        },
        buffering: match text("buffering").as_deref() {
            None | Some("line") => Buffering::Line,
            Some("full") => Buffering::Full,
            Some("none") => Buffering::None,
            Some(other) => return Err(format!("-B: unknown mode `{other}`; there are line, full and none")),
        },
        stages: texts("stage"),
        dry_run: matches.get_flag("dry-run"),
        shape: if matches.get_flag("parts") { Shape::Parts } else { Shape::Whole },
        emit_elf: text("emit-elf").map(PathBuf::from),
        standalone: text("aot").map(PathBuf::from),
        words,
        debug_folders: texts("debuginfo").iter().flat_map(std::env::split_paths).collect(),
        traceable_functions: text("traceable-functions").map(PathBuf::from),
        purpose: purpose(matches)?,
        probe_filter: text("probe-filter")
            .map(|pattern| Regex::new(&pattern).map_err(|e| format!("--probe-filter: {e}")))
            .transpose()?,
        include_folders: texts("include-dir").into_iter().map(PathBuf::from).collect(),
        includes: texts("include").into_iter().map(PathBuf::from).collect(),
        without_features: without_features(&texts("no-feature"))?,
        without_meaning: Vec::new(),
        as_bpftrace,
    };
    if cli.pid.is_some() && cli.command.is_some() {
        return Err("-p and -c: follow either a process that runs or a command".into());
    }
    for word in cli.words.script.clone() {
        match word.strip_prefix('-').map(|w| w.strip_prefix('-').unwrap_or(w)) {
            Some(option) if !option.is_empty() && !option.starts_with(|c: char| c.is_ascii_digit()) => {
                let (name, value) = match option.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (option, None),
                };
                cli.named.push((name.to_owned(), value));
            }
            _ => cli.positional.push(word),
        }
    }
    for &(name, takes_value, reason) in WITHOUT_MEANING {
        let given = if takes_value { matches.contains_id(name) } else { matches.get_count(name) > 0 };
        if given {
            cli.without_meaning.push((name, reason));
        }
    }
    cli.mode = if cli.words.tool.as_deref() == Some("tools") {
        Mode::Tools
    } else if matches.get_flag("info") {
        Mode::Info
    } else if list {
        Mode::List
    } else if matches.get_flag("fmt") || text("mode").is_some_and(|mode| mode == "format") {
        Mode::Format
    } else if cli.source == Source::Missing {
        return Err("no script: name a file, a tool, or give a program with -e (see --help)".into());
    } else if cli.standalone.is_some() {
        Mode::Standalone
    } else {
        Mode::Run
    };
    Ok(cli)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    fn cli(words: &[&str]) -> Cli {
        named("tapline", words)
    }

    fn named(name: &str, words: &[&str]) -> Cli {
        let argv = std::iter::once(name).chain(words.iter().copied()).map(OsString::from).collect();
        match parse(argv, None) {
            Parsed::Run(cli) => *cli,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn files_and_programs() {
        let c = cli(&["-v", "x.bt", "1", "-q", "two"]);
        assert_eq!(c.source, Source::File("x.bt".into()));
        assert_eq!(c.positional, ["1", "two"]);
        assert!(c.verbose && c.quiet);
        let c = cli(&["-e", "BEGIN { }", "a"]);
        assert_eq!(c.source, Source::Inline("BEGIN { }".into()));
        assert_eq!(c.positional, ["a"]);
        assert_eq!(cli(&["-e", "a", "-e", "b"]).source, Source::Inline("b".into()));
        assert_eq!(cli(&["-", "5"]).source, Source::Stdin);
        let c = cli(&["x.bt", "--", "--depth=3", "-t", "-5", "y"]);
        assert_eq!(c.named, [("depth".to_owned(), Some("3".to_owned())), ("t".to_owned(), None)]);
        assert_eq!(c.positional, ["-5", "y"]);
    }

    #[test]
    fn tools_take_what_follows() {
        let c = cli(&["-f", "json", "execsnoop", "-t", "7"]);
        assert_eq!(c.source, Source::Tool("execsnoop".into()));
        assert_eq!(c.form, Form::Json);
        assert_eq!(c.named, [("t".to_owned(), None)]);
        assert_eq!(c.positional, ["7"]);
        assert_eq!(cli(&["tools"]).mode, Mode::Tools);
        let c = named("/usr/bin/bpftrace", &["execsnoop"]);
        assert_eq!(c.source, Source::File("execsnoop".into()));
        assert!(c.as_bpftrace);
        assert_eq!(cli(&["-e", "p", "execsnoop"]).positional, ["execsnoop"]);
        assert_eq!(cli(&["-o", "execsnoop", "x.bt"]).source, Source::File("x.bt".into()));
        assert_eq!(cli(&["-oexecsnoop", "tcpconnect"]).source, Source::Tool("tcpconnect".into()));
    }

    #[test]
    fn listing() {
        let c = cli(&["-lv", "kprobe:*tcp*"]);
        assert_eq!((c.mode, c.pattern.as_str(), c.verbose), (Mode::List, "kprobe:*tcp*", true));
        let c = cli(&["-l"]);
        assert_eq!((c.mode, c.pattern.as_str()), (Mode::List, ""));
    }

    #[test]
    fn flags_of_the_reference_are_accepted() {
        let c = cli(&["--emit-llvm", "x", "--verify-llvm-ir", "--no-feature", "kprobe_multi,uprobe_multi", "-e", "p"]);
        assert_eq!(c.without_meaning.len(), 2);
        assert_eq!(c.without_features, [Feature::KprobeMulti, Feature::UprobeMulti]);
        assert_eq!(c.source, Source::Inline("p".into()));
    }

    #[test]
    fn mistakes() {
        let wrong = |words: &[&str]| {
            let argv = std::iter::once("tapline").chain(words.iter().copied()).map(OsString::from).collect();
            match parse(argv, None) {
                Parsed::Wrong(text) => text,
                other => panic!("{other:?}"),
            }
        };
        assert!(wrong(&["-p", "x", "-e", "p"]).contains("no process id"));
        assert!(wrong(&["-f", "xml", "-e", "p"]).contains("text and json"));
        assert!(wrong(&["--no-feature", "loop", "-e", "p"]).contains("loop"));
        assert!(wrong(&["--jason"]).contains("--jason"));
        assert!(wrong(&[]).contains("no script"));
    }
}
