//! The whole compiler in one call: text to [`Program`], with everything that is to be said about it. Passes stop at the first stage
//! that found errors; each stage can be had as text.

use std::path::PathBuf;

use tapline_grammar::span::Span;

use crate::bpf::disasm::disassemble;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::expand;
use crate::load::{Files, load};
use crate::lower::Shape;
use crate::program::Program;
use crate::source::SourceMap;
use crate::target::Target;
use crate::typed::TypedScript;
use crate::{backend, bpf, check, lower};

/// A script and what the command line adds to it.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Path of the file, as messages show it and as imports start from it; `stdin` for a script from the command line.
    pub name: String,
    /// The script.
    pub text: String,
    /// Folders where headers are searched (`-I`).
    pub include_folders: Vec<PathBuf>,
    /// Headers read before the script (`--include`).
    pub includes: Vec<PathBuf>,
    /// Parameters, environment, filter.
    pub options: expand::Options,
    /// Stages wanted as text (`-d`).
    pub stages: Vec<Stage>,
    /// How the code is given to the verifier.
    pub shape: Shape,
}

/// What the compiler goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The syntax tree.
    Ast,
    /// Attach points and settings.
    Expand,
    /// The typed tree.
    Types,
    /// The intermediate representation after the optimiser.
    Ir,
    /// BPF instructions.
    Bpf,
    /// Sections of the ELF object and the manifest.
    Object,
}

impl Stage {
    /// All of them in order, with their names on the command line.
    pub const ALL: &'static [(Self, &'static str)] = &[
        (Self::Ast, "ast"),
        (Self::Expand, "expand"),
        (Self::Types, "types"),
        (Self::Ir, "ir"),
        (Self::Bpf, "bpf"),
        (Self::Object, "object"),
    ];

    /// What bpftrace calls them.
    const ALIASES: &[(&str, Self)] = &[
        ("parse", Self::Ast),
        ("codegen", Self::Ir),
        ("codegen-opt", Self::Ir),
        ("dis", Self::Bpf),
        ("libbpf", Self::Object),
    ];

    /// The stage of a name, ours or bpftrace's.
    pub fn named(name: &str) -> Option<Self> {
        let own = Self::ALL.iter().find(|(_, n)| *n == name).map(|(stage, _)| *stage);
        own.or_else(|| Self::ALIASES.iter().find(|(n, _)| *n == name).map(|(_, stage)| *stage))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(stage, _)| *stage == self).map_or("", |(_, n)| n)
    }
}

/// What comes out.
#[derive(Debug, Default)]
pub struct Compiled {
    /// `None` when there are errors.
    pub program: Option<Program>,
    /// In the order of the passes.
    pub diagnostics: Diagnostics,
    /// For rendering the diagnostics.
    pub sources: SourceMap,
    /// The stages asked for, as far as the compiler came.
    pub stages: Vec<(Stage, String)>,
}

/// Compiles a script, with what it imports from `files`, for a target. Never panics on any text.
pub fn compile(input: &Input, files: &dyn Files, target: &dyn Target) -> Compiled {
    let mut run = Run { input, files, target, out: Compiled::default() };
    run.out.program = run.program();
    merge_repeated(&mut run.out.diagnostics);
    run.out
}

/// What a script says of itself: its first comment and its options. `None` where it has mistakes, or an option of its own by the
/// name that was asked for (`help`, `h`).
pub fn usage(input: &Input, files: &dyn Files, asked: &str) -> Option<String> {
    let mut loaded = load(input, files, &|| false);
    if loaded.diagnostics.iter().any(Diagnostic::is_error) {
        return None;
    }
    expand::usage(&mut loaded.script, &input.text, asked)
}

/// How many further places of a mistake are shown.
const PLACES: usize = 3;

/// A name that is wrong in several places is one mistake: its first message tells the others. A name that is unknown only because
/// something failed at the same place is none.
fn merge_repeated(diagnostics: &mut Diagnostics) {
    let mut merged: Diagnostics = Vec::with_capacity(diagnostics.len());
    for d in diagnostics.drain(..) {
        if !d.code.starts_with("unknown-") || d.span.is_none() {
            merged.push(d);
            continue;
        }
        let follows = |m: &Diagnostic| m.is_error() && m.code != d.code && m.span == d.span;
        if merged.iter().any(follows) {
            continue;
        }
        match (merged.iter_mut().find(|m| m.code == d.code && m.message == d.message), d.span) {
            (Some(first), Some(span)) if first.span != d.span && first.labels.len() < PLACES => {
                first.labels.push((span, "and here".to_owned()));
            }
            (Some(_), _) => {}
            (None, _) => merged.push(d),
        }
    }
    *diagnostics = merged;
}

/// One run of the compiler; `None` from a stage means that errors were reported.
struct Run<'a> {
    input: &'a Input,
    files: &'a dyn Files,
    target: &'a dyn Target,
    out: Compiled,
}

impl Run<'_> {
    fn show(&mut self, stage: Stage, text: impl FnOnce() -> String) {
        if self.input.stages.contains(&stage) {
            self.out.stages.push((stage, text()));
        }
    }

    fn failed(&self) -> bool {
        self.out.diagnostics.iter().any(Diagnostic::is_error)
    }

    fn program(&mut self) -> Option<Program> {
        let script = self.script()?;
        let expanded = expand::expand(script, &self.input.options, self.target, &mut self.out.diagnostics);
        let sources = self.out.sources.clone();
        self.show(Stage::Expand, || expand::print(&expanded, &sources));
        // A probe that does not exist must not hide mistakes in the code: checking goes on with the probes that are left.
        let expand_failed = self.failed();
        if expand_failed && expanded.probes.is_empty() {
            return None;
        }
        let options = check::Options { allow_unsafe: self.input.options.allow_unsafe };
        let check::Checked { script, diagnostics } = check::check(&expanded, self.target, options);
        self.out.diagnostics.extend(diagnostics);
        let typed = script?;
        self.show(Stage::Types, || check::print::print(&typed));
        if self.failed() {
            return None;
        }
        self.generate(&typed, &sources)
    }

    fn script(&mut self) -> Option<tapline_grammar::ast::Script> {
        let loaded = load(self.input, self.files, &|| self.target.btf().is_some());
        self.out.sources = loaded.sources;
        self.out.diagnostics = loaded.diagnostics;
        self.show(Stage::Ast, || loaded.script.to_string());
        (!self.failed()).then_some(loaded.script)
    }

    /// As a whole, or in parts where that is wanted, or where the whole is larger than the kernel takes.
    fn generate(&mut self, typed: &TypedScript, sources: &SourceMap) -> Option<Program> {
        let shapes =
            if self.input.shape == Shape::Whole { [Shape::Whole, Shape::Parts].as_slice() } else { &[Shape::Parts] };
        let mut errors = Diagnostics::new();
        for &shape in shapes {
            match self.shaped(typed, sources, shape) {
                Ok(program) => return Some(program),
                // Of two refusals the first is about what was written.
                Err(diagnostics) if errors.is_empty() => errors = diagnostics,
                Err(_) => {}
            }
            if !errors.iter().any(|d| d.code == bpf::TOO_LARGE) {
                break;
            }
        }
        self.out.diagnostics.extend(errors);
        None
    }

    fn shaped(&mut self, typed: &TypedScript, sources: &SourceMap, shape: Shape) -> Result<Program, Diagnostics> {
        let position = |span: Span| sources.extent(span);
        let lowered = lower::lower(typed, self.target, shape, &position)?;
        // What the optimiser or the code generator did not like is worth seeing.
        let before = self.input.stages.contains(&Stage::Ir).then(|| lowered.module.clone());
        let compiled = backend::compile(lowered.module).map_err(|d| {
            if let Some(module) = before {
                self.show(Stage::Ir, || module.to_string());
            }
            vec![d]
        })?;
        self.show(Stage::Ir, || compiled.optimised.to_string());
        self.show(Stage::Bpf, || disassemble(&compiled.code, &compiled.module, sources));
        let program = backend::assemble(&compiled, lowered.manifest, sources);
        compiled.discard();
        let program = program.map_err(|d| vec![d])?;
        self.show(Stage::Object, || listing(&program));
        Ok(program)
    }
}

/// The programs, attach points and maps of a program, one a line.
fn listing(program: &Program) -> String {
    let manifest = &program.manifest;
    let mut out = format!("object: {} bytes\n", program.object.len());
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    for p in &manifest.programs {
        line(format!("program {} ({:?}), section {}", p.symbol, p.kind, crate::probes::section(p.kind)));
        for id in &p.probes {
            if let Some(probe) = manifest.probes.get(id.0 as usize) {
                line(format!("    {id}: {} cookie {}", probe.name, probe.cookie));
            }
        }
    }
    for (index, map) in manifest.maps.iter().enumerate() {
        let copies = if map.per_cpu { ", per CPU" } else { "" };
        line(format!("map m{index} {} ({:?}), {} entries{copies}", map.symbol, map.role, map.max_entries));
    }
    for (index, action) in manifest.actions.iter().enumerate() {
        line(format!("action{index}: {:?}", action.kind));
    }
    out
}

#[cfg(test)]
mod messages;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::load::NoFiles;
    use crate::program::{StackMode, ValueType};
    use crate::render::{Colour, render_all};
    use crate::target::fixture::Fixture;

    fn run(text: &str, stages: &[Stage]) -> Compiled {
        let input = Input { name: "t.bt".into(), text: text.into(), stages: stages.to_vec(), ..Input::default() };
        compile(&input, &NoFiles, &Fixture::new().unwrap())
    }

    #[test]
    fn the_whole_way() {
        let all: Vec<Stage> = Stage::ALL.iter().map(|(stage, _)| *stage).collect();
        let out =
            run("tracepoint:syscalls:sys_enter_openat { printf(\"%s %s\\n\", comm, str(args->filename)); }", &all);
        assert!(out.diagnostics.is_empty(), "{}", render_all(&out.diagnostics, &out.sources, Colour::Never));
        let program = out.program.unwrap();
        assert_eq!(program.object.get(..4), Some(b"\x7fELF".as_slice()));
        let names: Vec<&str> = program.manifest.probes.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["tracepoint:syscalls:sys_enter_openat"]);
        assert_eq!(program.manifest.programs.len(), 1);
        let shown: Vec<Stage> = out.stages.iter().map(|(stage, _)| *stage).collect();
        assert_eq!(shown, [Stage::Ast, Stage::Expand, Stage::Types, Stage::Ir, Stage::Bpf, Stage::Object]);
        assert!(out.stages.iter().all(|(_, text)| !text.is_empty()));
    }

    #[test]
    fn settings_reach_the_program() {
        let out = run("config = { stack_mode = perf; perf_rb_pages = 128 } BEGIN { print(kstack); }", &[]);
        let manifest = out.program.unwrap().manifest;
        let types: Vec<&ValueType> = manifest.actions.iter().flat_map(|a| &a.record.fields).map(|f| &f.ty).collect();
        assert!(matches!(types.as_slice(), [ValueType::Stack { mode: StackMode::Perf, .. }]), "{types:?}");
        assert_eq!(manifest.config.ring_pages, 128);
    }

    #[test]
    fn stages_have_names() {
        for (stage, name) in Stage::ALL {
            assert_eq!((Stage::named(name), stage.name()), (Some(*stage), *name));
        }
        assert_eq!(Stage::named("nope"), None);
    }

    #[test]
    fn an_error_stops_before_code_is_made() {
        for text in ["BEGIN { $x = ; }", "BEGIN { nope(); }", "kprobe:nope_nope { }", ""] {
            let out = run(text, &[Stage::Object]);
            assert!(out.program.is_none(), "{text}");
            assert!(out.diagnostics.iter().any(Diagnostic::is_error), "{text}");
            assert!(out.stages.is_empty(), "{text}");
        }
    }

    #[test]
    fn a_missing_probe_does_not_hide_other_mistakes() {
        let out = run("kprobe:nope_nope { } BEGIN { nope(); }", &[]);
        let codes: Vec<&str> = out.diagnostics.iter().filter(|d| d.is_error()).map(|d| d.code).collect();
        assert_eq!(codes, ["missing-probe", "unknown-function"]);
    }
}
