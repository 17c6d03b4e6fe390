//! From a script's text to a running session, or to a listing, a formatted text, or an object file.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::Path;
use std::rc::Rc;

use tapline_compiler::diagnostic::{Diagnostic, Severity};
use tapline_compiler::driver::{Compiled, Input, Stage, compile, usage};
use tapline_compiler::expand;
use tapline_compiler::load::{Files, load};
use tapline_compiler::lower::Shape;
use tapline_compiler::program::{Attach, Cgroup, Program};
use tapline_compiler::render::{Colour, render, render_all};
use tapline_compiler::source::SourceMap;

use crate::errno::describe;
use crate::output::Sink;
use crate::output::json::JsonSink;
use crate::output::text::TextSink;
use crate::session::trials::{self, Purpose};
use crate::session::{self, SessionError};
use crate::symbols::Symbols;
use crate::symbols::elf;
use crate::sys::child::Child;
use crate::system::files::LiveFiles;
use crate::system::{Options as SystemOptions, System, cgroups};

use super::args::{Cli, Form, Source};
use super::standalone::{self, Recorder};
use super::{FAILURE, privilege, tools, words};

/// Bytes collected before they are written.
const BUFFER: usize = 64 << 10;

/// `-d` words beyond the compiler's stages.
const VERIFIER: &str = "verifier";

fn colour() -> Colour {
    let wanted = match std::env::var("BPFTRACE_COLOR").as_deref() {
        Ok("always") => true,
        Ok("never") => false,
        _ => io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    if wanted { Colour::Ansi } else { Colour::Never }
}

/// Says what is wrong outside any script.
fn complain(diagnostic: &Diagnostic) -> i32 {
    complain_in(&SourceMap::default(), diagnostic)
}

/// Says what is wrong with a script.
fn complain_in(sources: &SourceMap, diagnostic: &Diagnostic) -> i32 {
    eprint!("{}", render(diagnostic, sources, colour()));
    FAILURE
}

fn error(code: &'static str, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(code, message, None)
}

/// Name and text of the script.
fn read(source: &Source) -> Result<(String, String), Diagnostic> {
    let bytes = match source {
        Source::Inline(text) => return Ok(("stdin".into(), text.clone())),
        Source::Carried(carried) => return Ok((carried.name.clone(), carried.text.clone())),
        Source::Tool(name) => {
            let text = tools::find(name).map(|t| t.text).unwrap_or_default();
            return Ok((format!("{name}.bt"), text.to_owned()));
        }
        Source::Stdin => {
            let mut bytes = Vec::new();
            io::stdin().read_to_end(&mut bytes).map(|_| bytes).map_err(|e| (e, "stdin".to_owned()))
        }
        Source::File(path) => fs::read(path).map_err(|e| (e, path.display().to_string())),
        Source::Missing => return Err(error("no-script", "no script was given")),
    };
    let name = match source {
        Source::File(path) => path.display().to_string(),
        _ => "stdin".into(),
    };
    let bytes = bytes.map_err(|(e, name)| {
        let reason = crate::errno::error_text(e.raw_os_error().unwrap_or(libc::EIO));
        error("no-script", format!("failed to open file '{name}': {reason}"))
    })?;
    let text = String::from_utf8(bytes).map_err(|e| {
        error("encoding", format!("{name} is not valid UTF-8, from byte {} on", e.utf8_error().valid_up_to()))
    })?;
    Ok((name, text))
}

/// `--fmt`.
pub fn format(cli: &Cli) -> i32 {
    let (name, text) = match read(&cli.source) {
        Ok(read) => read,
        Err(d) => return complain(&d),
    };
    match tapline_grammar::format(&text) {
        Ok(formatted) => {
            let _ = io::stdout().write_all(formatted.as_bytes());
            0
        }
        Err(errors) => {
            let mut sources = SourceMap::new();
            sources.add(name, text);
            let diagnostics: Vec<Diagnostic> = errors.into_iter().map(Diagnostic::from).collect();
            eprint!("{}", render_all(&diagnostics, &sources, colour()));
            FAILURE
        }
    }
}

fn system(cli: &Cli) -> Rc<System> {
    elf::also_look_for_debug_files_in(cli.debug_folders.clone());
    let options = SystemOptions {
        traceable_functions: cli.traceable_functions.clone(),
        without: cli.without_features.clone(),
        ..SystemOptions::from_env()
    };
    Rc::new(System::new(options))
}

/// `-l`.
pub fn list(cli: &Cli) -> i32 {
    use crate::system::list;
    let system = system(cli);
    let mut out = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let result = if cli.source == Source::Missing {
        list::list(&system, &cli.pattern, cli.verbose, &mut out)
    } else {
        let input = match input(cli).and_then(|input| complete(cli, input, None)) {
            Ok(input) => input,
            Err(d) => return complain(&d),
        };
        let compiled = compile_script(cli, &input, &system);
        let Some(program) = compiled.program else { return FAILURE };
        list::list_script(&system, &program.manifest.probes, cli.verbose, &mut out)
    };
    // A reader that closes early has what it wanted.
    let _ = out.flush();
    match result {
        Ok(listing) => {
            for note in &listing.notes {
                eprintln!("NOTE: {note}");
            }
            0
        }
        Err(e) => complain(&error("list", e.to_string())),
    }
}

/// The cgroup of `--cgroup` or `--container`.
fn cgroup(cli: &Cli) -> Result<Option<Cgroup>, Diagnostic> {
    let found = match (&cli.cgroup, &cli.container) {
        (Some(name), _) => cgroups::named(name).map_err(|d| (d, "cgroup")),
        (None, Some(name)) => cgroups::of_container(name).map_err(|d| (d, "container")),
        (None, None) => return Ok(None),
    };
    found.map(Some).map_err(|(cgroups::Unknown { reason, help }, code)| {
        let d = error(code, reason);
        if help.is_empty() { d } else { d.help(help) }
    })
}

/// The script, and how its text and what it includes are found.
fn input(cli: &Cli) -> Result<Input, Diagnostic> {
    let (name, text) = read(&cli.source)?;
    let (include_folders, includes) = (cli.include_folders.clone(), cli.includes.clone());
    Ok(Input { name, text, include_folders, includes, shape: cli.shape, ..Input::default() })
}

/// Where imports and includes of the script are found.
fn files(cli: &Cli) -> &dyn Files {
    match &cli.source {
        Source::Carried(carried) => carried.as_ref(),
        _ => &LiveFiles,
    }
}

/// `--aot`. Types and probes are those of the machine on which the program runs: here the script must only be readable.
pub fn standalone(cli: &Cli) -> i32 {
    let input = match input(cli) {
        Ok(input) => input,
        Err(d) => return complain(&d),
    };
    let recorder = Recorder::new(files(cli));
    // Its conditions may lead to other files there.
    for has_btf in [true, false] {
        let loaded = load(&input, &recorder, &|| has_btf);
        if loaded.diagnostics.iter().any(Diagnostic::is_error) {
            eprint!("{}", render_all(&loaded.diagnostics, &loaded.sources, colour()));
            return FAILURE;
        }
    }
    let Some(path) = &cli.standalone else { return FAILURE };
    match standalone::write(path, &recorder.carry(cli.words.clone().without("--aot"), input.name, input.text)) {
        Ok(()) => 0,
        Err(e) => complain(&error("output", format!("cannot write {}: {}", path.display(), describe(&e)))),
    }
}

/// The option by which the script is asked what it is for.
fn help_option(cli: &Cli) -> Option<&str> {
    let asks = |name: &str| matches!(name, "help" | "h");
    cli.named.iter().find(|(name, value)| asks(name) && value.is_none()).map(|(name, _)| name.as_str())
}

/// The script with all that the command line says of it.
fn complete(cli: &Cli, input: Input, child: Option<&Child>) -> Result<Input, Diagnostic> {
    let environment: BTreeMap<String, String> =
        std::env::vars().filter(|(name, _)| name.starts_with("BPFTRACE_")).collect();
    let mut stages = Vec::new();
    for word in cli.stages.iter().flat_map(|w| w.split(',')) {
        match Stage::named(word) {
            Some(stage) => stages.push(stage),
            None if word == "all" => stages.extend(Stage::ALL.iter().map(|(stage, _)| *stage)),
            None if word == VERIFIER => {}
            None => {
                let names: Vec<&str> = Stage::ALL.iter().map(|(_, name)| *name).collect();
                let d = error("stage", format!("there is no stage `{word}`"));
                return Err(match tapline_compiler::similar::closest(word, names.iter().copied()) {
                    Some(close) => d.help(format!("did you mean `{close}`?")),
                    None => d.help(format!("the stages are {}, {VERIFIER} and all", names.join(", "))),
                });
            }
        }
    }
    Ok(Input {
        options: expand::Options {
            parameters: expand::Parameters { positional: cli.positional.clone(), named: cli.named.clone() },
            environment,
            pid: cli.pid.or(child.map(Child::pid)),
            cgroup: cgroup(cli)?,
            allow_unsafe: cli.allow_unsafe,
            report_helper_errors: cli.helper_errors,
        },
        stages,
        ..input
    })
}

/// Compiles, and says everything that is to be said about it.
fn compile_script(cli: &Cli, input: &Input, system: &System) -> Compiled {
    let compiled = compile(input, files(cli), system);
    let shown = compiled.diagnostics.iter().filter(|d| match d.severity {
        Severity::Note => cli.verbose,
        Severity::Warning => !cli.no_warnings,
        _ => true,
    });
    eprint!("{}", render_all(shown, &compiled.sources, colour()));
    compiled
}

/// Whether `exec` would find a program: by its path, or by its name in PATH.
fn is_executable(program: &str) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let runs = |path: &Path| fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    if program.contains('/') {
        return runs(Path::new(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| runs(&dir.join(program)))
}

/// The child of `-c`, waiting for its start.
fn hold_child(command: &str) -> Result<(Vec<CString>, Child), Diagnostic> {
    let failed = |reason: String| error("child", format!("cannot run `{command}`: {reason}"));
    let words = words::split(command).ok_or_else(|| failed("a quote is not closed".into()))?;
    if words.is_empty() {
        return Err(failed("the command is empty".into()));
    }
    let program = words.first().map(String::as_str).unwrap_or_default();
    if !is_executable(program) {
        return Err(failed(format!("there is no program `{program}`")));
    }
    let argv: Result<Vec<CString>, _> = words.into_iter().map(CString::new).collect();
    let argv = argv.map_err(|_| failed("it has a NUL byte".into()))?;
    let child = Child::hold(&argv).map_err(|e| failed(describe(&e)))?;
    Ok((argv, child))
}

/// Compiles and runs.
pub fn run(cli: &Cli) -> i32 {
    match try_run(cli) {
        Ok(status) => status,
        Err(d) => complain(&d),
    }
}

/// A script all of whose probes are for another purpose.
fn nothing_to_run(cli: &Cli) -> Diagnostic {
    let d = error("no-probes", "there is nothing to attach to");
    match cli.purpose {
        Purpose::Script => d.help("--test runs test probes, --bench runs bench probes"),
        Purpose::Test => d.help("a test is a probe of its own: `test:name { … }`"),
        Purpose::Bench => d.help("a measurement is a probe of its own: `bench:name { … }`"),
    }
}

fn try_run(cli: &Cli) -> Result<i32, Diagnostic> {
    let input = input(cli)?;
    if let Some(asked) = help_option(cli)
        && let Some(text) = usage(&input, files(cli), asked)
    {
        // A reader that closes early has what it wanted.
        let _ = io::stdout().write_all(text.as_bytes());
        return Ok(0);
    }
    let only_compile = cli.emit_elf.is_some() || cli.stages.iter().any(|s| s != VERIFIER);
    if !only_compile && let Some(missing) = privilege::missing() {
        return Err(missing);
    }
    if cli.verbose {
        for (name, reason) in &cli.without_meaning {
            eprintln!("NOTE: --{name} has no effect: {reason}");
        }
    }
    if let Some(pid) = cli.pid.filter(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
        return Err(error("pid", format!("there is no process {pid}")));
    }
    let system = system(cli);
    let (command, child) = match &cli.command {
        Some(command) if !only_compile => {
            let (argv, child) = hold_child(command)?;
            (argv, Some(child))
        }
        _ => (Vec::new(), None),
    };
    let input = complete(cli, input, child.as_ref())?;
    let compiled = compile_script(cli, &input, &system);
    for (stage, text) in &compiled.stages {
        let title = if compiled.stages.len() > 1 { format!("=== {} ===\n", stage.name()) } else { String::new() };
        // A reader that closes early has what it wanted.
        let _ = write!(io::stdout(), "{title}{text}");
    }
    let Some(mut program) = compiled.program else { return Ok(FAILURE) };
    if let Some(path) = &cli.emit_elf {
        fs::write(path, &program.object)
            .map_err(|e| error("output", format!("cannot write {}: {}", path.display(), describe(&e))))?;
    }
    if only_compile {
        return Ok(0);
    }

    let select = |program: &mut Program| {
        let filter = cli.probe_filter.as_ref();
        trials::select(&mut program.manifest, cli.purpose, &|name| filter.is_none_or(|f| f.is_match(name)));
    };
    select(&mut program);
    if program.manifest.programs.is_empty() {
        return Err(nothing_to_run(cli));
    }
    let uses_tracefs = program.manifest.probes.iter().any(|p| matches!(p.attach, Attach::Tracepoint { .. }));
    let options = session::Options {
        command,
        pid: cli.pid,
        unwound: cli.unwound.clone(),
        verbose: cli.verbose,
        quiet: cli.quiet,
        no_warnings: cli.no_warnings,
        verifier_log: cli.stages.iter().any(|s| s == VERIFIER),
        buffering: cli.buffering,
        dry_run: cli.dry_run,
        purpose: cli.purpose,
        tracefs: if uses_tracefs { system.tracefs().ok().map(|t| t.path("")) } else { None },
    };
    let kernel = Rc::clone(&system);
    let symbols = Box::new(
        Symbols::new(program.manifest.config.demangle, move || Rc::clone(kernel.symbols()))
            .with_debug_info(program.manifest.config.show_debug_info),
    );
    let out: Box<dyn Write> = match &cli.output {
        Some(path) => Box::new(
            File::create(path)
                .map_err(|e| error("output", format!("cannot write {}: {}", path.display(), describe(&e))))?,
        ),
        None => Box::new(io::stdout()),
    };
    // Standard output has a buffer of its own, by lines; ours is in front of it, and larger.
    let out = BufWriter::with_capacity(BUFFER, out);
    let mut sink: Box<dyn Sink> = match cli.form {
        Form::Text => Box::new(TextSink::new(out)),
        Form::Json => Box::new(JsonSink::new(out)),
    };
    let mut loaded = session::load(&program, &options);
    if cli.shape == Shape::Whole && loaded.as_ref().is_err_and(SessionError::is_too_complex) {
        let input = Input { shape: Shape::Parts, stages: Vec::new(), ..input };
        if let Some(mut parts) = compile(&input, files(cli), system.as_ref()).program {
            if cli.verbose {
                eprintln!("NOTE: as a whole the script is too complex for the kernel to check: it is loaded in parts");
            }
            select(&mut parts);
            if let Ok(in_parts) = session::load(&parts, &options) {
                (program, loaded) = (parts, Ok(in_parts));
            }
        }
    }
    match loaded.and_then(|loaded| session::run(&program, loaded, &options, child, symbols, sink.as_mut())) {
        Ok(status) => Ok(status),
        Err(e) if e.is_broken_pipe() => Ok(0),
        Err(e) => Ok(complain_in(&compiled.sources, &e.to_diagnostic(cli.verbose))),
    }
}
