//! Random scripts through the compiler and this kernel: none may be rejected, and each must do what the interpreter of the
//! intermediate representation does. See `tests/README.md`.
//!
//! For a kernel on which compiling takes long, the compiled scripts can be written to a file here and run there.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use tapline::maps::table::possible_cpus;
use tapline::system::features::parse_release;
use tapline_compiler::lower::Shape;
use tapline_tests::generate::judge::{Failure, Judge, Prepared};
use tapline_tests::generate::{PAGE, page, script};
use tapline_tests::sys::page_at;

const USAGE: &str = "usage: generate [--seed N] [--count N] [--failures DIR] [--cpus N] [--release M.N] [--parts] [--show | --write FILE | --read FILE]";

/// Failures after which there is no point in going on.
const MOST_FAILURES: usize = 20;

/// Attempts at making a failing script smaller.
const SHRINK: usize = 1500;

struct Options {
    seed: u64,
    count: u64,
    cpus: Option<u32>,
    release: Option<(u32, u32)>,
    failures: PathBuf,
    shape: Shape,
    show: bool,
    write: Option<PathBuf>,
    read: Option<PathBuf>,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        seed: 1,
        count: 500,
        cpus: None,
        release: None,
        failures: PathBuf::from("target/ladder/generate"),
        shape: Shape::Whole,
        show: false,
        write: None,
        read: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(word) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{word} wants a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("not a number: {text}"));
        match word.as_str() {
            "--seed" => options.seed = number(value()?)?,
            "--count" => options.count = number(value()?)?,
            "--cpus" => options.cpus = u32::try_from(number(value()?)?).ok(),
            "--release" => options.release = Some(parse_release(&value()?)),
            "--failures" => options.failures = PathBuf::from(value()?),
            "--parts" => options.shape = Shape::Parts,
            "--show" => options.show = true,
            "--write" => options.write = Some(PathBuf::from(value()?)),
            "--read" => options.read = Some(PathBuf::from(value()?)),
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(options)
}

/// Failures seen, and where they are kept.
struct Failures<'a> {
    options: &'a Options,
    count: u64,
    seen: usize,
}

impl<'a> Failures<'a> {
    fn new(options: &'a Options) -> Self {
        Self { options, count: 0, seen: 0 }
    }

    /// Counts a script; its failure, if it is one.
    fn count(&mut self, outcome: Result<(), Failure>) -> Option<Failure> {
        self.count += 1;
        outcome.err()
    }

    fn keep(&mut self, seed: u64, failure: &Failure, text: &str) -> Result<(), String> {
        self.seen += 1;
        println!("FAIL seed {seed}: {:?}\n{}\n{text}", failure.kind, failure.text);
        let folder = &self.options.failures;
        let path = folder.join(format!("{:?}-{seed}.bt", failure.kind).to_lowercase());
        let kept = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text));
        kept.map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// The smallest script that fails in the same way, and how it does.
fn shrink(judge: &Judge, shape: Shape, seed: u64, failure: Failure) -> (Failure, String) {
    let mut last = failure;
    let like = last.clone();
    let small = script(seed).shrink(SHRINK, |text| match judge.judge(text, shape) {
        Err(failure) if failure.is_like(&like) => {
            last = failure;
            true
        }
        _ => false,
    });
    (last, small.to_string())
}

fn all<'a>(options: &'a Options, judge: &Judge) -> Result<Failures<'a>, String> {
    let mut failures = Failures::new(options);
    for seed in options.seed..options.seed + options.count {
        let Some(failure) = failures.count(judge.judge(&script(seed).to_string(), options.shape)) else {
            continue;
        };
        let (failure, text) = shrink(judge, options.shape, seed, failure);
        failures.keep(seed, &failure, &text)?;
        if failures.seen >= MOST_FAILURES {
            break;
        }
    }
    Ok(failures)
}

/// Compiles and interprets here, for another kernel.
fn write<'a>(options: &'a Options, judge: &Judge, path: &Path) -> Result<Failures<'a>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut out = BufWriter::new(File::create(path).map_err(failed)?);
    let mut failures = Failures::new(options);
    for seed in options.seed..options.seed + options.count {
        let text = script(seed).to_string();
        let mut prepared = match judge.prepare(&text, options.shape) {
            Ok(prepared) => prepared,
            Err(failure) => {
                if let Some(failure) = failures.count(Err(failure)) {
                    failures.keep(seed, &failure, &text)?;
                }
                continue;
            }
        };
        failures.count += 1;
        // The object as bytes, the rest as text.
        let object = std::mem::take(&mut prepared.program.object);
        let rest = serde_json::to_vec(&prepared).map_err(|error| error.to_string())?;
        for part in [&seed.to_le_bytes()[..], &object, &rest] {
            out.write_all(&(part.len() as u64).to_le_bytes()).and_then(|()| out.write_all(part)).map_err(failed)?;
        }
    }
    out.flush().map_err(failed)?;
    Ok(failures)
}

/// The next part of a file; `None` at its end.
fn part(file: &mut impl Read) -> Option<Vec<u8>> {
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let mut bytes = vec![0; usize::try_from(u64::from_le_bytes(length)).ok()?];
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

/// Runs what was written elsewhere.
fn read<'a>(options: &'a Options, judge: &Judge, path: &Path) -> Result<Failures<'a>, String> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut file = BufReader::new(file);
    let mut failures = Failures::new(options);
    while let Some(seed) = part(&mut file) {
        let seed = seed.try_into().map_or(0, u64::from_le_bytes);
        let (object, rest) = part(&mut file).zip(part(&mut file)).ok_or("the file ends early")?;
        let mut prepared: Prepared = serde_json::from_slice(&rest).map_err(|error| error.to_string())?;
        prepared.program.object = object;
        if let Some(failure) = failures.count(judge.or_in_parts(&script(seed).to_string(), prepared.run())) {
            failures.keep(seed, &failure, &script(seed).to_string())?;
            if failures.seen >= MOST_FAILURES {
                break;
            }
        }
        if failures.count.is_multiple_of(10) {
            println!("{} done", failures.count);
        }
    }
    Ok(failures)
}

fn run() -> Result<bool, String> {
    let options = options()?;
    if options.show {
        print!("{}", script(options.seed));
        return Ok(true);
    }
    page_at(PAGE as usize, &page()).map_err(|error| format!("the page of known contents: {error}"))?;
    let begin = Instant::now();
    std::panic::set_hook(Box::new(|_| {}));
    let here = possible_cpus().map_err(|error| error.to_string())?;
    let judge = Judge::new(options.cpus.unwrap_or(u32::try_from(here).unwrap_or(1)), options.release)?;
    let failures = match (&options.read, &options.write) {
        (Some(path), _) => read(&options, &judge, path)?,
        (None, Some(path)) => write(&options, &judge, path)?,
        (None, None) => all(&options, &judge)?,
    };
    let Failures { count, seen, .. } = failures;
    let seconds = begin.elapsed().as_secs();
    println!("{count} scripts, {seen} failed, {seconds} s");
    Ok(seen == 0)
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("generate: {error}");
            ExitCode::FAILURE
        }
    }
}
