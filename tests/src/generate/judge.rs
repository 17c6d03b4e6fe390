//! Compiles a script, runs it in the interpreter and in the kernel, and compares what comes out.

use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};
use tapline::events::actions::Actions;
use tapline::events::context::{Context, NoSymbols};
use tapline::events::decode::{read_uint, size_of_type};
use tapline::maps::table::{Contents, Table};
use tapline::maps::view::Snapshot;
use tapline::output::Sink;
use tapline::output::text::TextSink;
use tapline::session::loader::{DirectLoader, Loaded, Loader};
use tapline::sys::bpf;
use tapline_compiler::diagnostic::Diagnostic;
use tapline_compiler::index::IndexVec;
use tapline_compiler::ir::interp::{Interp, InterpError};
use tapline_compiler::ir::{FuncId, Module};
use tapline_compiler::lower::Shape;
use tapline_compiler::program::{
    ActionKind, Aggregate, Attach, Manifest, MapDesc, MapId, MapRole, PrintStyle, Program, ValueType,
};
use tapline_compiler::render::{Colour, render_all};
use tapline_compiler::source::SourceMap;
use tapline_compiler::target::Feature;
use tapline_compiler::target::fixture::Fixture;
use tapline_compiler::{backend, check, expand, lower};
use tapline_grammar::ParseOptions;
use tapline_grammar::span::FileId;

use super::simulate::Machine;

/// Operations that the interpreter executes at most.
const STEPS: u64 = 4_000_000;

/// Maps whose contents differ from run to run.
const OPAQUE: &str = "opaque";

/// How a script failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The compiler refused it: the generator is wrong, or the compiler.
    Refused,
    /// The compiler panicked or blames itself.
    Internal,
    /// The interpreter met code that cannot be right, a stray access for instance.
    Simulation,
    /// The kernel refused it.
    Rejected,
    /// The kernel gave up checking it, which the user is told: no failure where it is rare.
    TooComplex,
    /// The kernel computed something else than the interpreter.
    Differs,
}

/// A failure and what there is to say about it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// How it failed.
    pub kind: Kind,
    /// Details.
    pub text: String,
}

impl Failure {
    fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// The same to the shrinker: the kind, and for messages of the compiler their code.
    pub fn is_like(&self, other: &Self) -> bool {
        let code = |failure: &Self| failure.text.split(']').next().map(str::to_owned);
        self.kind == other.kind && (self.kind != Kind::Refused || code(self) == code(other))
    }
}

/// A script ready to be run in some kernel.
#[derive(Serialize, Deserialize)]
pub struct Prepared {
    /// What the interpreter made of it.
    pub expected: String,
    /// The compiled script.
    pub program: Program,
}

/// Compiles for the pinned kernel, or for an older one, with so many CPUs.
pub struct Judge {
    target: Fixture,
    cpus: u32,
}

impl Judge {
    /// `release` is the major and minor number of the kernel. Fails only when the pinned BTF is damaged.
    pub fn new(cpus: u32, release: Option<(u32, u32)>) -> Result<Self, String> {
        let mut target = Fixture::new().map_err(|e| format!("{e:?}"))?;
        target.possible_cpus = cpus;
        let later = |since| release.is_some_and(|release| since > release);
        target.lacking.extend(Feature::BY_RELEASE.iter().filter(|row| later(row.1)).map(|row| row.0));
        Ok(Self { target, cpus })
    }

    /// Compiles and interprets; what is too large as a whole is made in parts.
    pub fn prepare(&self, script: &str, shape: Shape) -> Result<Prepared, Failure> {
        match self.shaped(script, shape) {
            Err(failure) if failure.kind == Kind::TooComplex && shape == Shape::Whole => {
                self.shaped(script, Shape::Parts)
            }
            outcome => outcome,
        }
    }

    fn shaped(&self, script: &str, shape: Shape) -> Result<Prepared, Failure> {
        let caught = catch_unwind(AssertUnwindSafe(|| self.compile(script, shape)));
        let (module, program) = caught.unwrap_or_else(|panic| {
            let message = panic.downcast_ref::<String>().cloned();
            let message = message.or_else(|| panic.downcast_ref::<&str>().map(|&s| s.to_owned()));
            Err(Failure::new(Kind::Internal, message.unwrap_or_default()))
        })?;
        let expected = interpret(&module, &program.manifest, self.cpus);
        let expected = expected.map_err(|e| Failure::new(Kind::Simulation, e.to_string()))?;
        Ok(Prepared { expected, program })
    }

    fn compile(&self, script: &str, shape: Shape) -> Result<(Module, Program), Failure> {
        let sources = SourceMap::with_file("generated.bt", script);
        let told = |kind, diagnostics: &[Diagnostic]| {
            let internal = diagnostics.iter().any(|d| d.severity == tapline_compiler::diagnostic::Severity::Internal);
            let large = diagnostics.iter().any(|d| d.code == tapline_compiler::bpf::TOO_LARGE);
            let kind = match kind {
                _ if internal => Kind::Internal,
                _ if large => Kind::TooComplex,
                kind => kind,
            };
            Failure::new(kind, render_all(diagnostics.iter().filter(|d| d.is_error()), &sources, Colour::Never))
        };
        let parsed = tapline_grammar::parse(FileId(0), script, &ParseOptions::default());
        if !parsed.errors.is_empty() {
            let diagnostics: Vec<Diagnostic> = parsed.errors.into_iter().map(Diagnostic::from).collect();
            return Err(told(Kind::Refused, &diagnostics));
        }
        let mut diagnostics = Vec::new();
        let expanded = expand::expand(parsed.script, &expand::Options::default(), &self.target, &mut diagnostics);
        let checked = check::check(&expanded, &self.target, check::Options::default());
        diagnostics.extend(checked.diagnostics);
        let typed = checked.script.filter(|_| !diagnostics.iter().any(Diagnostic::is_error));
        let Some(typed) = typed else { return Err(told(Kind::Refused, &diagnostics)) };
        let lowered = lower::lower(&typed, &self.target, shape, &|span| sources.position(span))
            .map_err(|diagnostics| told(Kind::Refused, &diagnostics))?;
        let module = lowered.module.clone();
        let program = backend::backend(lowered, &sources).map_err(|d| told(Kind::Internal, &[d]))?;
        Ok((module, program))
    }

    /// Everything on this kernel.
    pub fn judge(&self, script: &str, shape: Shape) -> Result<(), Failure> {
        self.or_in_parts(script, self.prepare(script, shape).and_then(|prepared| prepared.run()))
    }

    /// What was too complex as a whole is tried in parts, as a session does.
    pub fn or_in_parts(&self, script: &str, outcome: Result<(), Failure>) -> Result<(), Failure> {
        match outcome {
            Err(failure) if failure.kind == Kind::TooComplex => self.shaped(script, Shape::Parts)?.run(),
            outcome => outcome,
        }
    }
}

impl Prepared {
    /// Runs it in this kernel.
    pub fn run(&self) -> Result<(), Failure> {
        let loaded = DirectLoader::default().load(&self.program).map_err(|e| {
            let log = if let tapline::session::SessionError::Rejected { log, .. } = &e { log.as_str() } else { "" };
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            let tail: String = tail.iter().rev().flat_map(|line| [line, "\n"]).collect();
            let kind = if e.to_diagnostic(false).code == "too-complex" { Kind::TooComplex } else { Kind::Rejected };
            Failure::new(kind, format!("{e}\n{tail}"))
        })?;
        let real = execute(&self.program.manifest, loaded).map_err(|e| Failure::new(Kind::Rejected, e.to_string()))?;
        if real == self.expected {
            return Ok(());
        }
        let line = |text: &str, n: usize| text.lines().nth(n).unwrap_or("(nothing)").to_owned();
        let lines = real.lines().count().max(self.expected.lines().count());
        let first = (0..=lines).find(|&n| line(&real, n) != line(&self.expected, n)).unwrap_or(lines);
        Err(Failure::new(
            Kind::Differs,
            format!(
                "line {}\n kernel:      {}\n interpreter: {}\n",
                first + 1,
                line(&real, first),
                line(&self.expected, first)
            ),
        ))
    }
}

/// The maps of one of the two sides.
trait Store {
    fn contents(&mut self, map: usize) -> io::Result<Option<Snapshot>>;
    fn clear(&mut self, map: usize) -> io::Result<()>;
    fn zero(&mut self, map: usize, len: usize) -> io::Result<()>;
}

struct KernelStore<'a> {
    manifest: &'a Manifest,
    tables: &'a [Option<Table>],
}

impl KernelStore<'_> {
    fn table(&self, map: usize) -> Option<&Table> {
        self.tables.get(map)?.as_ref()
    }
}

impl Store for KernelStore<'_> {
    fn contents(&mut self, map: usize) -> io::Result<Option<Snapshot>> {
        let (Some(table), Some(desc)) = (self.table(map), self.manifest.maps.get(map)) else { return Ok(None) };
        let contents = table.read_all()?;
        Ok(Some(Snapshot::new(desc, contents, table.key_size(), table.value_size(), table.copies())))
    }
    fn clear(&mut self, map: usize) -> io::Result<()> {
        self.table(map).map_or(Ok(()), Table::clear)
    }
    fn zero(&mut self, map: usize, len: usize) -> io::Result<()> {
        self.table(map).map_or(Ok(()), |table| table.zero(len))
    }
}

struct Simulated<'a, 'm> {
    manifest: &'a Manifest,
    interp: &'a mut Interp<'m, Machine>,
    module: &'m Module,
}

impl Store for Simulated<'_, '_> {
    fn contents(&mut self, map: usize) -> io::Result<Option<Snapshot>> {
        let id = MapId(map as u32);
        let (Some(desc), Some(def)) = (self.manifest.maps.get(map), self.module.maps.get(id)) else { return Ok(None) };
        let (keys, values) = self.interp.host.contents(id, &mut self.interp.memory).map_err(io::Error::other)?;
        let contents = Contents { keys, values };
        Ok(Some(Snapshot::new(desc, contents, def.key_size as usize, def.value_size as usize, 1)))
    }
    fn clear(&mut self, map: usize) -> io::Result<()> {
        self.interp.host.clear(MapId(map as u32), &mut self.interp.memory).map_err(io::Error::other)
    }
    fn zero(&mut self, map: usize, len: usize) -> io::Result<()> {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.interp.host.zero(MapId(map as u32), len, &mut self.interp.memory).map_err(io::Error::other)
    }
}

/// What the records of a run print.
fn print(
    manifest: &Manifest,
    ctx: &Context,
    records: &[Vec<u8>],
    store: &mut dyn Store,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    for record in records {
        let index = usize::try_from(read_uint(record, 0, 4)).unwrap_or(usize::MAX);
        let Some(action) = manifest.actions.get(index) else { return Err(io::Error::other("a record without action")) };
        match &action.kind {
            ActionKind::PrintMap { map, top, div, style } => {
                let given = |n: usize, fixed: u64| {
                    action.record.fields.get(n).map_or(fixed, |f| read_uint(record, f.offset as usize, 8))
                };
                let (top, div) = (given(0, *top), given(1, *div));
                print_map(manifest, ctx, map.0 as usize, (top, div), Some(style), store, out)?;
            }
            ActionKind::ClearMap(map) => store.clear(map.0 as usize)?,
            ActionKind::ZeroMap(map) => {
                let desc = manifest.maps.get(map.0 as usize);
                let scalar = desc.filter(|d| d.role == MapRole::Scalar).and_then(|d| d.value.as_ref());
                // The flag behind a scalar's value stays.
                let len = scalar.map_or(usize::MAX, |ty| size_of_type(ty).next_multiple_of(8));
                store.zero(map.0 as usize, len)?;
            }
            _ => {
                let mut sink = TextSink::new(&mut *out);
                Actions::new(manifest, ctx, &[], &mut sink).run(record)?;
                sink.flush()?;
            }
        }
    }
    Ok(())
}

/// A map, as `print()` shows it; without style as at the end, where empty ones are left out.
fn print_map(
    manifest: &Manifest,
    ctx: &Context,
    map: usize,
    cut: (u64, u64),
    style: Option<&PrintStyle>,
    store: &mut dyn Store,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let (Some(desc), Some(snapshot)) = (manifest.maps.get(map), store.contents(map)?) else { return Ok(()) };
    let histogram =
        matches!(desc.value, Some(ValueType::Aggregate(Aggregate::Hist { .. } | Aggregate::LinearHist { .. })));
    if desc.name.starts_with(OPAQUE) || (snapshot.is_empty() && (style.is_none() || histogram)) {
        return Ok(());
    }
    let mut sink = TextSink::new(&mut *out);
    let plain = PrintStyle::default();
    sink.map(&snapshot.view(ctx, desc, cut, style.unwrap_or(&plain)))?;
    sink.flush()
}

fn final_maps(manifest: &Manifest, ctx: &Context, store: &mut dyn Store, out: &mut Vec<u8>) -> io::Result<()> {
    let printable = |desc: &MapDesc| matches!(desc.role, MapRole::Keyed | MapRole::Scalar);
    let mut maps: Vec<(usize, &MapDesc)> = manifest.maps.iter().enumerate().filter(|(_, d)| printable(d)).collect();
    maps.sort_by(|a, b| a.1.name.cmp(&b.1.name));
    maps.into_iter().try_for_each(|(index, _)| print_map(manifest, ctx, index, (0, 0), None, store, out))
}

/// Positions of the programs that begin probes run, then of those of end probes.
fn order(manifest: &Manifest, wanted: &Attach) -> Vec<usize> {
    let mut found = Vec::new();
    for (index, desc) in manifest.programs.iter().enumerate() {
        let probes = desc.probes.iter();
        let probes = probes.filter(|id| manifest.probes.get(id.0 as usize).is_some_and(|p| p.attach == *wanted));
        found.extend(probes.map(|id| (id.0, index)));
    }
    found.sort_unstable();
    found.into_iter().map(|(_, index)| index).collect()
}

const PHASES: [Attach; 2] = [Attach::Begin, Attach::End];

fn execute(manifest: &Manifest, mut loaded: Loaded) -> io::Result<String> {
    let ctx = Context::new(manifest, Box::new(NoSymbols), None);
    let mut store = KernelStore { manifest, tables: &loaded.tables };
    let mut out = Vec::new();
    for phase in &PHASES {
        for index in order(manifest, phase) {
            if let Some(fd) = loaded.programs.get(index) {
                bpf::raw_tp_run(fd.as_fd(), &[0; 12])?;
            }
        }
        let mut records = Vec::new();
        if let Some(ring) = &mut loaded.events {
            while let Some(item) = ring.next() {
                records.push(item.to_vec());
            }
        }
        print(manifest, &ctx, &records, &mut store, &mut out)?;
    }
    final_maps(manifest, &ctx, &mut store, &mut out)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn interpret(module: &Module, manifest: &Manifest, cpus: u32) -> Result<String, InterpError> {
    let failed = |e: io::Error| InterpError::Unsupported(e.to_string());
    let ctx = Context::new(manifest, Box::new(NoSymbols), None);
    let mut interp = Interp::new(module, Machine::new(module, cpus), STEPS);
    let context = interp.memory.add(vec![0; 96], false);
    let functions: &IndexVec<FuncId, _> = &module.functions;
    let mut out = Vec::new();
    for phase in &PHASES {
        for index in order(manifest, phase) {
            let symbol = manifest.programs.get(index).map_or("", |p| p.symbol.as_str());
            let function = functions.enumerate().find(|(_, f)| f.symbol == symbol).map(|(id, _)| id);
            let function = function.ok_or_else(|| InterpError::Unsupported(symbol.to_owned()))?;
            interp.run(function, &[context])?;
        }
        let records = interp.host.take_records();
        let mut store = Simulated { manifest, interp: &mut interp, module };
        print(manifest, &ctx, &records, &mut store, &mut out).map_err(failed)?;
    }
    let mut store = Simulated { manifest, interp: &mut interp, module };
    final_maps(manifest, &ctx, &mut store, &mut out).map_err(failed)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}
