//! Feeds mutated scripts to the parser and the compiler, or mutated files to their readers, for a given time. See `tests/README.md`.
//!
//! The work is done in a child process, which leaves the input it is at in a file, so that an abort, a stack overflow or an
//! endless loop is caught as well as a panic; a panic is also minimised.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use tapline_compiler::diagnostic::{Diagnostic, Severity};
use tapline_compiler::render::{Colour, render_all};
use tapline_compiler::source::SourceMap;
use tapline_compiler::target::fixture::Fixture;
use tapline_compiler::{backend, check, expand, lower};
use tapline_grammar::ParseOptions;
use tapline_grammar::span::FileId;
use tapline_tests::case;
use tapline_tests::hostile::{READERS, Reader};
use tapline_tests::mutate::{Random, minimise, mutate, mutate_bytes};
use tapline_tests::sys;

const USAGE: &str = "usage: fuzz --list | fuzz TARGET [--each] [--seconds N] [--seed N] [--failures DIR] FOLDER...";

/// An input that takes longer has failed; generous, because the machine may be busy.
const SLOW: Duration = Duration::from_secs(5);

/// More memory than that for one input is a failure.
const MEMORY: u64 = 2 << 30;

/// Something that must cope with every input.
#[derive(Clone, Copy)]
enum Target {
    Text(&'static str, fn(&str)),
    Bytes(&'static Reader),
}

/// What takes scripts; what takes files is in [`READERS`].
const TEXTS: [Target; 2] = [Target::Text("parse", parse), Target::Text("compile", compile)];

impl Target {
    fn all() -> impl Iterator<Item = Self> {
        TEXTS.into_iter().chain(READERS.iter().map(Self::Bytes))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text(name, _) => name,
            Self::Bytes(reader) => reader.name,
        }
    }

    fn run(self, input: &[u8]) {
        match self {
            Self::Text(_, run) => run(&String::from_utf8_lossy(input)),
            Self::Bytes(reader) => (reader.read)(input),
        }
    }

    fn mutate(self, first: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
        match self {
            Self::Text(..) => {
                mutate(&String::from_utf8_lossy(first), &String::from_utf8_lossy(other), random).into_bytes()
            }
            Self::Bytes(_) => mutate_bytes(first, random),
        }
    }

    fn corpus(self, folders: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
        let Self::Bytes(reader) = self else { return scripts(folders) };
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let samples = (reader.samples)(&own.with_file_name("programs"));
        if samples.is_empty() { Err("no test programs: `tests/run build` makes them".to_owned()) } else { Ok(samples) }
    }
}

/// Parsing never panics, and every error lies inside the text.
fn parse(text: &str) {
    let parsed = tapline_grammar::parse(FileId(0), text, &ParseOptions::default());
    for error in &parsed.errors {
        let places = error.labels.iter().map(|(span, _)| *span);
        for span in places.chain([error.span]) {
            assert!(
                span.start <= span.end && span.end as usize <= text.len(),
                "an error points outside of the text: {span:?} of {}",
                text.len()
            );
            assert!(
                text.is_char_boundary(span.start as usize) && text.is_char_boundary(span.end as usize),
                "an error points into a character: {span:?}"
            );
        }
    }
}

/// Compiling for the pinned kernel never panics and never blames itself; what it says can be rendered.
fn compile(text: &str) {
    let parsed = tapline_grammar::parse(FileId(0), text, &ParseOptions::default());
    if !parsed.errors.is_empty() {
        return;
    }
    let sources = SourceMap::with_file("fuzz.bt", text);
    let Ok(target) = Fixture::new() else { return };
    let judge = |diagnostics: &[Diagnostic]| {
        let rendered = render_all(diagnostics, &sources, Colour::Never);
        assert!(diagnostics.iter().all(|d| d.severity != Severity::Internal), "{rendered}");
        diagnostics.iter().any(Diagnostic::is_error)
    };
    let options = expand::Options {
        parameters: expand::Parameters {
            positional: vec!["42".to_owned(), "word".to_owned()],
            ..expand::Parameters::default()
        },
        ..expand::Options::default()
    };
    let mut diagnostics = Vec::new();
    let expanded = expand::expand(parsed.script, &options, &target, &mut diagnostics);
    if judge(&diagnostics) {
        return;
    }
    let checked = check::check(&expanded, &target, check::Options { allow_unsafe: true });
    let Some(typed) = checked.script.filter(|_| !judge(&checked.diagnostics)) else { return };
    match lower::lower(&typed, &target, lower::Shape::default(), &|span| sources.position(span)) {
        Err(diagnostics) => {
            judge(&diagnostics);
        }
        Ok(lowered) => {
            if let Err(diagnostic) = backend::backend(lowered, &sources) {
                judge(&[diagnostic]);
            }
        }
    }
}

/// The command line.
struct Options {
    target: Target,
    seconds: u64,
    seed: u64,
    failures: PathBuf,
    folders: Vec<PathBuf>,
    worker: bool,
    each: bool,
}

fn options() -> Result<Options, String> {
    let mut args = std::env::args().skip(1);
    let name = args.next().ok_or(USAGE)?;
    if name == "--list" {
        for target in Target::all() {
            println!("{}", target.name());
        }
        std::process::exit(0);
    }
    let target = Target::all().find(|target| target.name() == name).ok_or(USAGE)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut options = Options {
        target,
        seconds: 10,
        seed: now.map_or(1, |time| time.as_secs()),
        failures: PathBuf::from("target/ladder/fuzz"),
        folders: Vec::new(),
        worker: false,
        each: false,
    };
    while let Some(word) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{word} wants a value"));
        let number = |text: String| text.parse().map_err(|_| format!("not a number: {text}"));
        match word.as_str() {
            "--seconds" => options.seconds = number(value()?)?,
            "--seed" => options.seed = number(value()?)?,
            "--failures" => options.failures = PathBuf::from(value()?),
            "--each" => options.each = true,
            "--worker" => options.worker = true,
            _ => options.folders.push(PathBuf::from(word)),
        }
    }
    Ok(options)
}

fn scripts(folders: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    let mut texts = Vec::new();
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        let files = case::find(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for (_, path) in files {
            let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            // What a case puts in at run time: the fixture's program stands for the workload.
            texts.push(text.replace("{{$workload}}", "/usr/bin/app").replace("workload_", "").into_bytes());
        }
    }
    if texts.is_empty() {
        return Err("no scripts in the given folders".to_owned());
    }
    Ok(texts)
}

fn panics(target: Target, input: &[u8]) -> Option<String> {
    let caught = catch_unwind(AssertUnwindSafe(|| target.run(input))).err()?;
    let message =
        caught.downcast_ref::<String>().map(String::as_str).or_else(|| caught.downcast_ref::<&str>().copied());
    Some(message.unwrap_or("a panic without a message").to_owned())
}

/// Every input once, unchanged; what fails with which message.
fn each(options: &Options) -> Result<(), String> {
    std::panic::set_hook(Box::new(|_| {}));
    let mut failures = 0;
    for input in options.target.corpus(&options.folders)? {
        if let Some(message) = panics(options.target, &input) {
            failures += 1;
            let text = String::from_utf8_lossy(&input);
            println!("FAIL {}\n{}", text.lines().next().unwrap_or_default(), message.trim_end());
        }
    }
    if failures == 0 { Ok(()) } else { Err(format!("{failures} inputs failed")) }
}

/// The child: mutates and runs until the time is over or something fails.
fn work(options: &Options) -> Result<(), String> {
    let samples = options.target.corpus(&options.folders)?;
    let current = options.failures.join(format!("current-{}", options.target.name()));
    let mut random = Random::new(options.seed);
    let limit = Instant::now() + Duration::from_secs(options.seconds);
    sys::limit_memory(MEMORY).map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(|_| {}));
    let mut count = 0_u64;
    let mut unchanged = samples.iter();
    while Instant::now() < limit {
        let input = if let Some(sample) = unchanged.next() {
            sample.clone()
        } else {
            let first = samples.get(random.below(samples.len())).map_or(&[][..], Vec::as_slice);
            let other = samples.get(random.below(samples.len())).map_or(&[][..], Vec::as_slice);
            options.target.mutate(first, other, &mut random)
        };
        std::fs::write(&current, &input).map_err(|error| format!("{}: {error}", current.display()))?;
        // Not by the clock, which goes on while the machine stands still.
        let begin = sys::cpu_time();
        if let Some(message) = panics(options.target, &input) {
            let (path, shown) = match options.target {
                Target::Bytes(_) => (keep(options, "panic", &input)?, String::new()),
                Target::Text(..) => {
                    let text = String::from_utf8_lossy(&input);
                    let small = minimise(&text, 3000, |text| panics(options.target, text.as_bytes()).is_some());
                    (keep(options, "panic", small.as_bytes())?, small)
                }
            };
            return Err(format!("a panic: {message}\nkept in {}:\n{shown}", path.display()));
        }
        let taken = sys::cpu_time().saturating_sub(begin);
        if taken > SLOW {
            let path = keep(options, "slow", &input)?;
            return Err(format!("{} ms for {}", taken.as_millis(), path.display()));
        }
        count += 1;
    }
    println!("{count} inputs, seed {}, no failure", options.seed);
    Ok(())
}

fn keep(options: &Options, kind: &str, input: &[u8]) -> Result<PathBuf, String> {
    let ending = if matches!(options.target, Target::Text(..)) { "bt" } else { "bin" };
    let path = options.failures.join(format!("{}-{kind}-{}.{ending}", options.target.name(), options.seed));
    std::fs::write(&path, input).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

/// The parent: watches over the child.
fn watch(options: &Options) -> Result<(), String> {
    let folder: &Path = &options.failures;
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    println!("target {}, seed {}, {} s", options.target.name(), options.seed, options.seconds);
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .arg(options.target.name())
        .args(["--worker", "--seconds", &options.seconds.to_string()])
        .args(["--seed", &options.seed.to_string(), "--failures"])
        .arg(folder)
        .args(&options.folders)
        .spawn()
        .map_err(|error| error.to_string())?;
    let limit = Instant::now() + Duration::from_secs(options.seconds) + 12 * SLOW;
    loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return match status.code() {
                Some(0) => Ok(()),
                Some(_) => Err("failed".to_owned()),
                None => Err(died(options, &format!("the child died: {status}"))),
            };
        }
        if Instant::now() > limit {
            let _ = child.kill();
            let _ = child.wait();
            return Err(died(options, "the child is in an endless loop"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Keeps the input that the child was at.
fn died(options: &Options, what: &str) -> String {
    let input = std::fs::read(options.failures.join(format!("current-{}", options.target.name()))).unwrap_or_default();
    let mut message = what.to_owned();
    match keep(options, "abort", &input) {
        Ok(path) => {
            let _ = write!(message, "; the input is kept in {}", path.display());
        }
        Err(error) => message.push_str(&error),
    }
    message
}

fn main() -> ExitCode {
    let result = options().and_then(|options| match (options.worker, options.each) {
        (true, _) => work(&options),
        (_, true) => each(&options),
        _ => watch(&options),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fuzz: {error}");
            ExitCode::FAILURE
        }
    }
}
