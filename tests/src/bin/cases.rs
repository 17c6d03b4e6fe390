//! Runs the cases with tapline, or compares a reference bpftrace with them. See `tests/README.md`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tapline_tests::case::{self, Case, Run};
use tapline_tests::run::{self, Tool, Verdict};

const USAGE: &str = "\
usage: cases [OPTIONS]
  --tool PATH        the tapline binary (default: tapline in PATH)
  --against PATH     run a reference bpftrace instead; its scripts go by standard input
  --root DIR         the root folder that the reference runs in (default: `root` beside it, if there)
  --workload PATH    the workload program (default: beside this program)
  --cases DIR        the folder of the cases (default: tests/cases)
  --filter TEXT      only cases whose name contains TEXT; may be given several times
  --part K/N         only the K-th of every N cases, so that N runs try all
  --jobs N           run N cases at a time (default 1)
  --slowness N       multiply every timeout by N
  --results FILE     append one line per case: verdict and name
  --list             print the names and what keeps a case from running here
  --show             print what the tool printed, as header lines, and judge nothing
  --progress         print `run NAME` before each case
";

/// The command line.
struct Options {
    tool: Tool,
    cases: PathBuf,
    filters: Vec<String>,
    part: (usize, usize),
    jobs: usize,
    results: Option<PathBuf>,
    list: bool,
    show: bool,
    progress: bool,
}

fn options() -> Result<Options, String> {
    let beside = std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned)).unwrap_or_default();
    let mut options = Options {
        tool: Tool {
            path: PathBuf::from("tapline"),
            root: None,
            reference: false,
            workload: beside.join("workload"),
            slowness: 1,
        },
        cases: PathBuf::from("tests/cases"),
        filters: Vec::new(),
        part: (1, 1),
        jobs: 1,
        results: None,
        list: false,
        show: false,
        progress: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{flag} wants a value"));
        let number = |text: String| text.parse().map_err(|_| format!("not a number: {text}"));
        match flag.as_str() {
            "--tool" => options.tool.path = absolute(&value()?)?,
            "--against" => {
                options.tool.path = absolute(&value()?)?;
                options.tool.reference = true;
            }
            "--root" => options.tool.root = Some(absolute(&value()?)?),
            "--workload" => options.tool.workload = absolute(&value()?)?,
            "--cases" => options.cases = PathBuf::from(value()?),
            "--filter" => options.filters.push(value()?),
            "--part" => {
                let text = value()?;
                let numbers = text.split_once('/').and_then(|(k, n)| k.parse().ok().zip(n.parse().ok()));
                let part = numbers.filter(|&(k, n)| (1..=n).contains(&k));
                options.part = part.ok_or_else(|| format!("not a part: {text}"))?;
            }
            "--jobs" => options.jobs = number(value()?)?,
            "--slowness" => options.tool.slowness = number(value()?)? as u32,
            "--results" => options.results = Some(PathBuf::from(value()?)),
            "--list" => options.list = true,
            "--show" => options.show = true,
            "--progress" => options.progress = true,
            "--help" | "-h" => {
                print!("{USAGE}");
                std::process::exit(0);
            }
            _ => return Err(format!("unknown option {flag}\n{USAGE}")),
        }
    }
    if options.tool.reference {
        share_workload(&mut options.tool)?;
    }
    Ok(options)
}

fn absolute(path: &str) -> Result<PathBuf, String> {
    if path.contains('/') {
        std::path::absolute(path).map_err(|error| format!("{path}: {error}"))
    } else {
        Ok(PathBuf::from(path))
    }
}

/// A reference in a root folder of its own can only name a workload that lies inside.
fn share_workload(tool: &mut Tool) -> Result<(), String> {
    if tool.root.is_none() {
        let beside = tool.path.with_file_name("root");
        tool.root = beside.join("usr").is_dir().then_some(beside);
    }
    if let Some(root) = &tool.root {
        let folder = root.join("tmp/tapline-tests");
        let copying = |error| format!("copying the workload to {}: {error}", folder.display());
        for inner in ["programs", "programs/elsewhere"] {
            let (from, to) = (tool.programs().with_file_name(inner), folder.join(inner));
            std::fs::create_dir_all(&to).map_err(copying)?;
            for program in std::fs::read_dir(from).into_iter().flatten().flatten() {
                if program.path().is_file() {
                    std::fs::copy(program.path(), to.join(program.file_name())).map_err(copying)?;
                }
            }
        }
        let inside = folder.join("workload");
        std::fs::copy(&tool.workload, &inside).map_err(copying)?;
        tool.workload = inside;
    }
    Ok(())
}

/// One run of one case, or a file that cannot be read.
struct Job {
    name: String,
    work: Result<(Case, Run), String>,
}

fn jobs(options: &Options) -> Result<Vec<Job>, String> {
    let texts = case::texts(&options.cases).map_err(|error| format!("{}: {error}", options.cases.display()))?;
    let mut jobs = Vec::new();
    for (name, text) in texts {
        let parsed = text.and_then(|text| case::parse(&name, &text).map_err(|error| error.to_string()));
        match parsed {
            Err(error) => jobs.push(Job { name, work: Err(error) }),
            Ok(case) => {
                for run in case.runs.clone() {
                    let mut case = case.clone();
                    let name = if run.name.is_empty() { name.clone() } else { format!("{name}:{}", run.name) };
                    let mut problem = None;
                    if let Some(source) = &run.source {
                        match std::fs::read_to_string(case::source_path(&options.cases, source)) {
                            Ok(text) => case.body = text,
                            Err(error) => problem = Some(format!("{source}: {error}")),
                        }
                    }
                    let work = if let Some(problem) = problem {
                        Err(problem)
                    } else if options.show || run::asserts_something(&run) {
                        Ok((case, run))
                    } else {
                        Err("the header expects nothing".to_owned())
                    };
                    jobs.push(Job { name, work });
                }
            }
        }
    }
    jobs.retain(|job| {
        options.filters.is_empty() || options.filters.iter().any(|filter| job.name.contains(filter.as_str()))
    });
    let (part, parts) = options.part;
    Ok(jobs.into_iter().skip(part - 1).step_by(parts).collect())
}

/// What happened so far.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
    differing: usize,
}

fn work(jobs: &[Job], options: &Options) -> Tally {
    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if options.progress {
                        println!("run {}", job.name);
                    }
                    let begin = Instant::now();
                    let verdict = match &job.work {
                        Err(error) => Verdict::Fail(error.clone()),
                        Ok((case, run)) => run::judge(case, run, &options.tool),
                    };
                    let elapsed = begin.elapsed().as_millis();
                    let mut tally = match tally.lock() {
                        Ok(tally) => tally,
                        Err(poisoned) => poisoned.into_inner(),
                    };
                    report(&job.name, &verdict, elapsed, options, &mut tally);
                }
            });
        }
    });
    tally.into_inner().unwrap_or_default()
}

fn report(name: &str, verdict: &Verdict, elapsed: u128, options: &Options, tally: &mut Tally) {
    let word = match verdict {
        Verdict::Ok => {
            tally.passed += 1;
            println!("ok {name} ({elapsed} ms)");
            "ok"
        }
        Verdict::Skip(reason) => {
            tally.skipped += 1;
            println!("skip {name} ({reason})");
            "skip"
        }
        Verdict::DiffersAsNoted(text) => {
            tally.differing += 1;
            println!("differs {name}: {}", text.lines().next().unwrap_or_default());
            "differs"
        }
        Verdict::Fail(text) => {
            tally.failed += 1;
            println!("FAIL {name} ({elapsed} ms)");
            for line in text.lines() {
                println!("    {line}");
            }
            "FAIL"
        }
    };
    if let Some(path) = &options.results {
        let line = format!("{word} {name}\n");
        let appended = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes()));
        if let Err(error) = appended {
            eprintln!("cases: {}: {error}", path.display());
        }
    }
}

fn list(jobs: &[Job], options: &Options) {
    for job in jobs {
        match &job.work {
            Err(error) => println!("{}: {error}", job.name),
            Ok((_, run)) => match run::reason_to_skip(run, &options.tool) {
                None => println!("{}", job.name),
                Some(reason) => println!("{} ({reason})", job.name),
            },
        }
    }
}

fn show(jobs: &[Job], options: &Options) {
    for job in jobs {
        println!("==== {}", job.name);
        let (case, run) = match &job.work {
            Ok(work) => work,
            Err(error) => {
                println!("{error}");
                continue;
            }
        };
        match run::observe(case, run, &options.tool) {
            Ok(observed) => {
                print!("{}", run::as_header(&observed));
                if !observed.stderr.is_empty() {
                    println!("standard error:\n{}", observed.stderr.trim_end());
                }
            }
            Err(error) => println!("{error}"),
        }
    }
}

fn main() -> ExitCode {
    let prepared = options().and_then(|options| Ok((jobs(&options)?, options)));
    let (jobs, options) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("cases: {error}");
            return ExitCode::from(2);
        }
    };
    if options.list {
        list(&jobs, &options);
        return ExitCode::SUCCESS;
    }
    if options.show {
        show(&jobs, &options);
        return ExitCode::SUCCESS;
    }
    let tally = work(&jobs, &options);
    if tally.differing > 0 {
        println!("{} differ as their headers say", tally.differing);
    }
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
    if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
