//! From the tree as written to the tree as meant: imports, macros, positional and named parameters and the config block are
//! resolved; probe lists and wildcards have become concrete attach points.
//!
//! What comes out is bounded: attach points by `max_probes`, replacements by a number of nodes and a depth.

pub mod config;
mod config_record;
mod defines;
mod macros;
mod params;
mod points;
mod print;
#[cfg(test)]
mod tests;
mod usage;
pub(crate) mod walk;

use std::collections::{BTreeMap, BTreeSet};

use tapline_grammar::ast::{self, Item};
use tapline_grammar::c_ast::{CItem, CItemKind};
use tapline_grammar::span::Span;

pub use config_record::Setting;
pub use params::Parameters;
pub use print::print;
pub use usage::usage;

use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::probes::Provider;
use crate::probes::usdt::Operand;
use crate::program::{Attach, Cgroup, Config, ProbeDesc, ProgramKind};
use crate::target::Target;
use crate::typed::Limits;

/// A script without macros, parameters and wildcards.
#[derive(Clone, Debug, Default)]
pub struct ExpandedScript {
    /// C definitions of the script and its imports.
    pub c_items: Vec<CItem>,
    /// Map declarations.
    pub map_decls: Vec<ast::MapDecl>,
    /// User functions.
    pub functions: Vec<ast::FnDef>,
    /// Probes, at least one attach point each.
    pub probes: Vec<ExpandedProbe>,
    /// Maps of probes that are not among them because something is wrong with their attach points: what lies in these maps is
    /// not known, and not worth a second message.
    pub unknown_maps: BTreeSet<String>,
    /// From the config block, the environment and the command line.
    pub config: Config,
    /// From the same.
    pub limits: Limits,
    /// All config variables, for the script to read.
    pub variables: Vec<(&'static str, Setting)>,
}

/// A probe with concrete attach points.
#[derive(Clone, Debug)]
pub struct ExpandedProbe {
    /// All its attach points.
    pub points: Vec<AttachPoint>,
    /// The predicate.
    pub predicate: Option<ast::Expr>,
    /// The action.
    pub body: ast::Block,
    /// From the first attach point to the closing brace.
    pub span: Span,
}

/// A concrete attach point.
#[derive(Clone, Debug)]
pub struct AttachPoint {
    /// The provider's row.
    pub provider: &'static Provider,
    /// Name and place for the manifest (cookie still 0).
    pub desc: ProbeDesc,
    /// The program type that serves it.
    pub kind: ProgramKind,
    /// What the program sees.
    pub context: Context,
    /// Where it stands in the script.
    pub span: Span,
}

/// What a program's context holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Context {
    /// Nothing that the language can reach: begin, end.
    None,
    /// `struct pt_regs` at the entry of a kernel function.
    KernelEntry {
        /// Its module, where that is known.
        module: Option<String>,
        /// The function, for argument types from BTF.
        function: String,
    },
    /// `struct pt_regs` at the return of a kernel function.
    KernelReturn {
        /// The function.
        function: String,
    },
    /// `u64` arguments of a kernel function as BTF describes it, at its exit followed by its result.
    Trampoline {
        /// Its module; `None` for the kernel itself.
        module: Option<String>,
        /// The function.
        function: String,
        /// At its exit.
        exit: bool,
    },
    /// `struct bpf_iter__NAME`.
    Iterator {
        /// What is iterated over.
        name: String,
        /// Its output goes to whoever reads its file.
        pinned: bool,
    },
    /// `struct pt_regs` at the entry of a user function, or at another place of its code.
    UserEntry {
        /// The file, for its debug information.
        path: String,
        /// The place in it.
        offset: u64,
    },
    /// `struct pt_regs` at the return of a user function.
    UserReturn {
        /// The file, for its debug information.
        path: String,
    },
    /// `struct pt_regs` at a place made for tracing.
    Usdt {
        /// Its arguments, as far as they can be read.
        operands: Vec<Option<Operand>>,
    },
    /// The record that the event's format file describes.
    Tracepoint {
        /// Category.
        category: String,
        /// Event.
        event: String,
    },
    /// `u64` arguments: the registers and the number of the system call at its entry, or its result.
    Syscalls {
        /// At the return.
        exit: bool,
    },
    /// `u64` arguments.
    RawTracepoint {
        /// Event.
        event: String,
    },
    /// `struct bpf_perf_event_data`: registers first.
    PerfEvent,
    /// The same, where memory was touched.
    Watchpoint {
        /// It is memory of a process.
        user: bool,
    },
}

impl Context {
    /// It is one of a perf event.
    pub fn is_perf_event(&self) -> bool {
        matches!(self, Self::PerfEvent | Self::Watchpoint { .. })
    }

    /// The struct that it is, in the kernel's words; `None` where it is none that a script would name.
    pub fn structure(&self) -> Option<&'static str> {
        match self {
            Self::KernelEntry { .. }
            | Self::KernelReturn { .. }
            | Self::UserEntry { .. }
            | Self::UserReturn { .. }
            | Self::Usdt { .. } => Some("struct pt_regs"),
            Self::PerfEvent | Self::Watchpoint { .. } => Some("struct bpf_perf_event_data"),
            Self::None
            | Self::Trampoline { .. }
            | Self::Iterator { .. }
            | Self::Tracepoint { .. }
            | Self::Syscalls { .. }
            | Self::RawTracepoint { .. } => None,
        }
    }
}

/// What the command line adds to a script.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `$1` and its kind, `--name=value`.
    pub parameters: Parameters,
    /// The environment; `BPFTRACE_*` beats the config block.
    pub environment: BTreeMap<String, String>,
    /// Filter on a process (`-p`, `-c`).
    pub pid: Option<u32>,
    /// Filter on a cgroup (`--cgroup`, `--container`).
    pub cgroup: Option<Cgroup>,
    /// What can do harm is allowed (`--unsafe`): functions that change the system, probes at places that may be none.
    pub allow_unsafe: bool,
    /// `-k`.
    pub report_helper_errors: bool,
}

/// Expands a script. What is wrong goes to `diagnostics`; the result then lacks the parts concerned.
pub fn expand(
    script: ast::Script,
    options: &Options,
    target: &dyn Target,
    diagnostics: &mut Diagnostics,
) -> ExpandedScript {
    let mut out = ExpandedScript::default();
    let mut blocks = Vec::new();
    let mut probes = Vec::new();
    let mut macros = Vec::new();
    let mut first_code: Option<Span> = None;
    for item in script.items {
        match item {
            Item::C(item) => {
                let before = earlier(first_code, item.span);
                c_item(item, before, &mut out.c_items, diagnostics);
            }
            Item::Config(config) => {
                if let Some(before) = earlier(first_code, config.span) {
                    diagnostics.push(
                        Diagnostic::error("item-order", "the config block must stand before the probes", config.span)
                            .also(before, "the first probe stands here")
                            .help("move it to the top of the script"),
                    );
                }
                blocks.push(config);
            }
            // What it names has taken its place.
            Item::Import(_) => {}
            Item::MapDecl(decl) => out.map_decls.push(decl),
            Item::Macro(def) => {
                first_code = earlier(first_code, def.span).or(Some(def.span));
                macros.push(def);
            }
            Item::Fn(def) => {
                first_code = earlier(first_code, def.span).or(Some(def.span));
                out.functions.push(def);
            }
            Item::Probe(probe) => {
                first_code = earlier(first_code, probe.span).or(Some(probe.span));
                probes.push(probe);
            }
        }
    }
    let mut settings = config::settings(&blocks, &options.environment, diagnostics);
    settings.config.pid = options.pid;
    settings.config.cgroup = options.cgroup;
    settings.config.report_helper_errors = options.report_helper_errors;

    substitute_defines(&mut out, &mut probes, &mut macros, diagnostics);
    expand_macros(&mut out, &mut probes, macros, diagnostics);
    let had_probes = !probes.is_empty();
    resolve_probes(probes, options, &settings, target, &mut out, diagnostics);
    if out.probes.is_empty() && !diagnostics.iter().any(Diagnostic::is_error) {
        let d = Diagnostic::error("no-probes", "there is nothing to attach to", None);
        diagnostics.push(if had_probes {
            d.note("none of the script's probes exists on this system")
        } else {
            d.help("a script needs at least one probe, for instance `BEGIN { print(\"hello\"); }`")
        });
    }
    out.variables = config_record::record(&settings);
    out.config = settings.config;
    out.limits = settings.limits;
    out
}

/// The first code before a place of the same file: each file has an order of its own.
fn earlier(first_code: Option<Span>, place: Span) -> Option<Span> {
    first_code.filter(|code| code.file == place.file)
}

fn c_item(item: CItem, first_code: Option<Span>, items: &mut Vec<CItem>, diagnostics: &mut Diagnostics) {
    match &item.kind {
        CItemKind::Include { path, system, read: false } => {
            let severity = if *system || path.contains('/') { Severity::Note } else { Severity::Warning };
            diagnostics.push(
                Diagnostic::new(severity, "include", format!("there is no header `{path}`"), item.span)
                    .note("types come from the kernel's BTF, and constants from the tables that tapline ships")
                    .help("-I names folders in which headers are searched"),
            );
        }
        CItemKind::Record(_) | CItemKind::Enum(_) | CItemKind::Typedef { .. } => {
            if let Some(before) = first_code {
                diagnostics.push(
                    Diagnostic::error("item-order", "C definitions must stand before the probes", item.span)
                        .also(before, "the first probe stands here")
                        .help("move the definition to the top of the script"),
                );
            }
        }
        _ => {}
    }
    items.push(item);
}

fn substitute_defines(
    out: &mut ExpandedScript,
    probes: &mut [ast::Probe],
    macros: &mut [ast::MacroDef],
    diagnostics: &mut Diagnostics,
) {
    let table = defines::Defines::new(&out.c_items);
    if table.is_empty() {
        return;
    }
    let mut substitute = defines::Substitute::new(&table, diagnostics);
    substitute.c_items(&mut out.c_items);
    for decl in &mut out.map_decls {
        walk::expr(&mut substitute, &mut decl.max_entries);
    }
    for f in &mut out.functions {
        walk::block(&mut substitute, &mut f.body);
    }
    for def in macros {
        walk::block(&mut substitute, &mut def.body);
    }
    visit_probes(&mut substitute, probes);
}

fn expand_macros(
    out: &mut ExpandedScript,
    probes: &mut [ast::Probe],
    definitions: Vec<ast::MacroDef>,
    diagnostics: &mut Diagnostics,
) {
    if definitions.is_empty() {
        return;
    }
    let table = macros::Macros::new(definitions, diagnostics);
    let mut expander = macros::Expander::new(&table, diagnostics);
    for f in &mut out.functions {
        walk::block(&mut expander, &mut f.body);
    }
    visit_probes(&mut expander, probes);
}

fn visit_probes(visitor: &mut dyn walk::Visitor, probes: &mut [ast::Probe]) {
    for probe in probes {
        if let Some(predicate) = &mut probe.predicate {
            walk::expr(visitor, predicate);
        }
        walk::block(visitor, &mut probe.body);
    }
}

fn resolve_probes(
    probes: Vec<ast::Probe>,
    options: &Options,
    settings: &config::Settings,
    target: &dyn Target,
    out: &mut ExpandedScript,
    diagnostics: &mut Diagnostics,
) {
    // Warnings about parameters come with those about the attach points, in the order of the text.
    let mut from_params = Vec::new();
    let mut params = params::Substitute::new(&options.parameters, &mut from_params);
    let mut resolver = points::Resolver { target, settings, options, count: 0, over: false };
    for decl in &mut out.map_decls {
        walk::expr(&mut params, &mut decl.max_entries);
    }
    for f in &mut out.functions {
        walk::block(&mut params, &mut f.body);
    }
    for mut probe in probes {
        let before = diagnostics.len();
        let points = resolver.resolve_all(&probe.attach_points, &mut params, diagnostics);
        let wrong = diagnostics.iter().skip(before).any(Diagnostic::is_error);
        if let Some(predicate) = &mut probe.predicate {
            walk::expr(&mut params, predicate);
        }
        walk::block(&mut params, &mut probe.body);
        if !points.is_empty() {
            out.probes.push(ExpandedProbe { points, predicate: probe.predicate, body: probe.body, span: probe.span });
        } else if wrong {
            walk::block(&mut NamesOfMaps(&mut out.unknown_maps), &mut probe.body);
        }
    }
    params.finish();
    diagnostics.append(&mut from_params);
    check_iterators(&out.probes, diagnostics);
    check_names(&out.probes, diagnostics);
}

struct NamesOfMaps<'a>(&'a mut BTreeSet<String>);

impl walk::Visitor for NamesOfMaps<'_> {
    fn expr(&mut self, e: &mut ast::Expr) -> bool {
        if let ast::ExprKind::Map { name, .. } = &e.kind {
            self.0.insert(name.clone());
        }
        true
    }
}

/// The name of a test or measurement tells its result from others.
fn check_names(probes: &[ExpandedProbe], diagnostics: &mut Diagnostics) {
    let mut first: BTreeMap<&str, Span> = BTreeMap::new();
    for point in probes.iter().flat_map(|probe| &probe.points) {
        if !matches!(point.desc.attach, Attach::Test(_) | Attach::Bench(_)) {
            continue;
        }
        if let Some(before) = first.insert(&point.desc.name, point.span) {
            let d = Diagnostic::error("repeated-name", format!("there are two `{}`", point.desc.name), point.span);
            diagnostics.push(d.also(before, "the other one").help("give each a name of its own"));
        }
    }
}

/// An iterator runs to its end and then the script is over: nothing but its begin and end could ever happen beside it. Pinned ones run
/// when somebody reads their files: a script may pin several.
fn check_iterators(probes: &[ExpandedProbe], diagnostics: &mut Diagnostics) {
    let lasting = |point: &&AttachPoint| !matches!(point.desc.attach, Attach::Begin | Attach::End);
    let mut points = probes.iter().flat_map(|probe| &probe.points).filter(lasting);
    let Some(iterator) = points.clone().find(|point| point.kind == ProgramKind::Iter) else { return };
    if points.clone().all(|point| matches!(point.context, Context::Iterator { pinned: true, .. })) {
        return;
    }
    if let Some(other) = points.find(|point| !std::ptr::eq(*point, iterator)) {
        let d = Diagnostic::error(
            "iter-alone",
            "an iterator must be the only probe of its script besides begin and end",
            iterator.span,
        );
        diagnostics.push(d.also(other.span, "another probe").help("put it into a script of its own"));
    }
}
