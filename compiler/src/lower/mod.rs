//! Typed tree to IR, destination-driven: every aggregate is written where it will be used (event record, key, value), and
//! scalars stay in virtual registers.
//!
//! What lives where: scalar expressions in `scalar`, aggregates in `aggregate`, strings in `strings`, maps in `maps`,
//! aggregations in `fold`, event records in `send`, stack traces in `stack`, statements in `control`, builtins in `builtin`.
//!
//! Invariants: a scalar in a register is extended to 64 bits as its type says. A string in memory is NUL-terminated within its
//! capacity and undefined behind the terminator; map keys are zero behind it (and in padding), since the kernel compares
//! all their bytes. Nothing here chooses registers or stack offsets.

mod aggregate;
mod builtin;
mod callback;
mod control;
mod fold;
mod for_map;
mod functions;
mod loops;
mod maps;
mod object;
mod parts;
mod scalar;
mod search;
mod send;
mod series;
mod stack;
mod strings;
mod syscalls;
mod temps;
#[cfg(test)]
mod tests;
mod texts;
mod unwind;

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use tapline_grammar::span::Span;

use self::callback::Mentions;
use self::temps::{Temps, Use};
use crate::define_id;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::index::IndexVec;
use crate::ir::builder::{FunctionBuilder, Variable};
use crate::ir::{self, Block, Cond, FuncId, FunctionKind, MapDef, MapKind, Slot, Value, Width};
use crate::program::{
    self, Action, ActionId, ActionKind, Attach, Config, Counter, Manifest, MapDesc, MapId, MapRole, ProgramDesc,
    ProgramKind,
};
use crate::target::{Arch, Feature, PidNamespace, Target};
use crate::typed::{ExprKind, FnId, Op, Session, StmtKind, TypedMap, TypedProgram, TypedScript, TypedVar, VarId};
use crate::types::layout::{self, TupleLayout};
use crate::types::{AddrSpace, Type, value};

define_id!(
    /// Index into the manifest's counters.
    CounterId,
    "c"
);

/// What lowering yields. The object still has to be made from the module.
#[derive(Debug)]
pub struct Lowered {
    /// Code and maps.
    pub module: ir::Module,
    /// The manifest of the program to be.
    pub manifest: Manifest,
}

/// How a program's code is given to the verifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// As it runs fastest: whatever can stands in the program itself.
    #[default]
    Whole,
    /// In parts that the verifier walks one by one, where the kernel can call parts: for programs that are too complex for it as a whole.
    Parts,
}

/// Facts about the target that shape the code.
struct Facts {
    arch: Arch,
    start_time_ns: u64,
    wall_offset_ns: u64,
    has_loops: bool,
    /// See [`Shape::Parts`].
    parts: bool,
    frame_blind: bool,
    possible_cpus: u32,
    pid_namespace: Option<PidNamespace>,
}

/// Lowers a checked script. `position` turns a span into `file:line:col`.
pub fn lower(
    script: &TypedScript,
    target: &dyn Target,
    shape: Shape,
    position: &dyn Fn(Span) -> String,
) -> Result<Lowered, Diagnostics> {
    let parts = shape == Shape::Parts;
    let facts = Facts {
        arch: target.arch(),
        start_time_ns: target.start_time_ns(),
        wall_offset_ns: target.wall_offset_ns(),
        // The kernel is asked only where it matters.
        has_loops: (parts || wants_loops(script)) && target.has(Feature::Loop),
        parts,
        frame_blind: !target.has(Feature::FramePrecision),
        possible_cpus: target.possible_cpus(),
        pid_namespace: target.pid_namespace(),
    };
    let mut module = ModuleLower::new(script, facts, position);
    for (index, program) in script.programs.iter().enumerate() {
        // Those stand in the programs of their entries.
        if !matches!(program.session, Some(Session::Return { .. })) {
            module.program(index, program);
        }
    }
    module.finish()
}

/// State shared by all functions of the module.
struct ModuleLower<'a> {
    script: &'a TypedScript,
    facts: Facts,
    position: &'a dyn Fn(Span) -> String,
    module: ir::Module,
    maps: IndexVec<MapId, MapDesc>,
    programs: Vec<ProgramDesc>,
    records: IndexVec<ActionId, program::Record>,
    counters: IndexVec<CounterId, Counter>,
    events: MapId,
    counters_map: MapId,
    stacks: Option<MapId>,
    packets: Option<MapId>,
    unwinder: Option<unwind::Unwinder>,
    /// Callbacks made so far, for their names.
    callbacks: u32,
    /// The user functions that the program at hand has called so far, with the depth that they were made for: each program has its own,
    /// with memory of its own.
    subprograms: HashMap<FnId, Vec<(u32, FuncId)>>,
    /// What the functions are.
    traits: functions::Traits,
    diagnostics: Diagnostics,
}

/// Symbol of a script map: the kernel allows `[A-Za-z0-9_.]` only.
fn map_symbol(name: &str) -> String {
    let clean: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    format!("AT_{clean}")
}

/// How a value of this type is kept: one copy per CPU, reduced by the reader.
fn is_per_cpu(map: &TypedMap) -> bool {
    match map.declared {
        Some(MapKind::PercpuHash | MapKind::LruPercpuHash) => true,
        Some(_) => false,
        None => matches!(map.value, Type::Aggregate(_)),
    }
}

/// Where a scalar map keeps its `u64` set flag: see [`MapRole::Scalar`].
fn set_flag_offset(size: u32) -> u32 {
    size.next_multiple_of(8)
}

/// `BPF_F_NO_PREALLOC`.
const NO_PREALLOC: u32 = 1;
/// Preallocating more than this many bytes per CPU costs more at start-up than allocating on demand.
const PREALLOC_LIMIT: u64 = 1 << 20;
/// The kernel's on-demand allocator serves at most this many bytes per element.
const ON_DEMAND_LIMIT: u32 = 4096;

impl<'a> ModuleLower<'a> {
    fn new(script: &'a TypedScript, facts: Facts, position: &'a dyn Fn(Span) -> String) -> Self {
        let mut this = Self {
            script,
            facts,
            position,
            module: ir::Module { license: script.config.license.clone(), ..ir::Module::default() },
            maps: IndexVec::new(),
            programs: Vec::new(),
            records: IndexVec::new(),
            counters: IndexVec::new(),
            events: MapId(0),
            counters_map: MapId(0),
            stacks: None,
            packets: None,
            unwinder: None,
            callbacks: 0,
            subprograms: HashMap::new(),
            traits: functions::traits(script),
            diagnostics: Vec::new(),
        };
        for map in &script.maps {
            this.script_map(map);
        }
        let ring_bytes = script.config.ring_pages.max(1).next_power_of_two().saturating_mul(4096);
        this.events = this.internal_map("events", MapRole::Events, MapKind::RingBuf, 0, 0, ring_bytes, 0);
        // Its value size is known when all counters are.
        this.counters_map = this.internal_map("counters", MapRole::Counters, MapKind::Array, 4, 8, 1, 0);
        if script.actions.iter().any(|action| matches!(action.kind, ActionKind::Packet { .. })) {
            let cpus = this.facts.possible_cpus;
            this.packets = Some(this.internal_map("packets", MapRole::Packets, MapKind::PerfEventArray, 4, 4, cpus, 0));
        }
        for action in &script.actions {
            let record = this.record_layout(&action.args);
            this.records.push(record);
        }
        this
    }

    fn script_map(&mut self, map: &TypedMap) {
        let per_cpu = is_per_cpu(map);
        let size = self.size(&map.value).max(1);
        let value_size = match &map.key {
            // A scalar map says behind its value whether the script has assigned it.
            None => set_flag_offset(size) + 8,
            Some(_) => size.next_multiple_of(if per_cpu { 8 } else { 1 }),
        };
        let key_size = map.key.as_ref().map_or(4, |k| self.size(k).max(1));
        let kind = match (&map.key, map.declared) {
            (None, _) if per_cpu => MapKind::PercpuArray,
            (None, _) => MapKind::Array,
            (Some(_), Some(kind)) => kind,
            (Some(_), None) if per_cpu => MapKind::PercpuHash,
            (Some(_), None) => MapKind::Hash,
        };
        let max_entries = if map.key.is_none() { 1 } else { map.max_entries.max(1) };
        let hash = matches!(kind, MapKind::Hash | MapKind::PercpuHash);
        let bytes = u64::from(key_size + value_size) * u64::from(max_entries);
        let fits_on_demand = value_size <= ON_DEMAND_LIMIT && key_size <= ON_DEMAND_LIMIT;
        let flags = if hash && bytes > PREALLOC_LIMIT && fits_on_demand { NO_PREALLOC } else { 0 };
        let mut symbol = map_symbol(&map.name);
        if self.maps.iter().any(|m| m.symbol == symbol) {
            symbol = format!("{symbol}_{}", self.maps.len());
        }
        self.module.maps.push(MapDef { symbol: symbol.clone(), kind, key_size, value_size, max_entries, flags });
        self.maps.push(MapDesc {
            symbol,
            name: map.name.clone(),
            role: if map.key.is_some() { MapRole::Keyed } else { MapRole::Scalar },
            key: map.key.as_ref().map(|k| self.value_type(k)),
            value: Some(self.value_type(&map.value)),
            per_cpu,
            max_entries,
        });
    }

    #[allow(clippy::too_many_arguments)] // The columns of a map definition.
    fn internal_map(
        &mut self,
        name: &str,
        role: MapRole,
        kind: MapKind,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        flags: u32,
    ) -> MapId {
        self.module.maps.push(MapDef { symbol: name.into(), kind, key_size, value_size, max_entries, flags });
        self.maps.push(MapDesc {
            symbol: name.into(),
            name: name.into(),
            role,
            key: None,
            value: None,
            per_cpu: matches!(kind, MapKind::PercpuArray | MapKind::PercpuHash),
            max_entries,
        })
    }

    /// The place of some bytes in the read-only data, shared by all that want the same.
    fn rodata(&mut self, bytes: &[u8], align: usize) -> u32 {
        let data = &mut self.module.rodata;
        let found =
            (0..data.len()).step_by(align).find(|at| data.get(*at..).is_some_and(|rest| rest.starts_with(bytes)));
        let at = found.unwrap_or_else(|| {
            data.resize(data.len().next_multiple_of(align), 0);
            data.extend(bytes);
            data.len() - bytes.len()
        });
        at as u32
    }

    fn size(&self, ty: &Type) -> u32 {
        layout::size_of(ty, &self.script.aggregates)
    }
    fn members(&self, types: &[Type]) -> TupleLayout {
        layout::tuple_layout(types.iter(), &self.script.aggregates)
    }
    fn value_type(&self, ty: &Type) -> program::ValueType {
        value::value_type(ty, &self.script.aggregates)
    }

    /// The index of a counter, made on first use.
    fn counter(&mut self, counter: Counter) -> CounterId {
        if let Some((id, _)) = self.counters.enumerate().find(|(_, c)| **c == counter) {
            return id;
        }
        self.counters.push(counter)
    }

    fn program(&mut self, index: usize, program: &TypedProgram) {
        let (section, reentrant) = section(program.kind);
        let kind = FunctionKind::Program { section: self.section_of(section, program), reentrant };
        let probe = program
            .probes
            .iter()
            .filter_map(|id| self.script.probes.get(*id))
            .map(|p| p.name.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        let symbol = program_symbol(&probe, index);
        let missed = reentrant.then(|| self.counter(Counter::Missed { probe: probe.clone() }));
        let (mut b, params) = FunctionBuilder::new(symbol.clone(), kind, 1, program.span);
        let ctx = params.first().copied().unwrap_or(Value(0));
        let mut probes = program.probes.clone();
        let b = match self.returns(program) {
            Some((returns, is_return)) => {
                let (on_entry, on_return) = (b.block(), b.block());
                let answer = b.call_kfunc(is_return, &[ctx]);
                // Of a truth value only the lowest byte is told.
                let answer = b.bin_imm(ir::BinOp::And, answer, 1);
                b.branch_imm(Cond::Ne, answer, 0, on_return, on_entry);
                b.enter(on_entry);
                let mut b = self.whole(b, program, ctx, &probe);
                b.enter(on_return);
                probes.extend(&returns.probes);
                self.whole(b, returns, ctx, &probe)
            }
            None => self.whole(b, program, ctx, &probe),
        };
        let id = self.module.functions.push(b.finish());
        if let (Some(counter), Some(f)) = (missed, self.module.functions.get_mut(id)) {
            f.missed_counter = Some(counter.0);
        }
        self.programs.push(ProgramDesc { symbol, kind: program.kind, probes });
    }

    /// The program at the returns of a session's entries, and the kernel's function that tells the two apart.
    fn returns(&self, program: &TypedProgram) -> Option<(&'a TypedProgram, u32)> {
        let Some(Session::Entry { returns, is_return }) = program.session else { return None };
        Some((self.script.programs.get(returns)?, is_return))
    }

    /// Filter, predicate and action of a program, from the current block on.
    fn whole(&mut self, mut b: FunctionBuilder, program: &TypedProgram, ctx: Value, probe: &str) -> FunctionBuilder {
        self.subprograms.clear();
        let exit = b.block();
        let result = self.is_trial(program).then(|| Home::Register(zeroed(&mut b)));
        let mentions = Mentions::of_function(&program.body, program.predicate.as_ref(), self.facts.parts);
        let vars = self.variables(&mut b, &program.vars, &mentions);
        let mut func = FnLower {
            m: self,
            b,
            program,
            decls: &program.vars,
            ctx,
            vars,
            exit,
            result,
            loops: Vec::new(),
            mentions: Rc::new(mentions),
            probe: probe.to_owned(),
            temps: Temps::default(),
            shared: None,
            depth: 0,
            rounds: 1,
        };
        func.body();
        func.b
    }

    /// Somebody looks at what the program returns.
    fn is_trial(&self, program: &TypedProgram) -> bool {
        let mut probes = program.probes.iter().filter_map(|id| self.script.probes.get(*id));
        probes.any(|p| matches!(p.attach, Attach::Test(_) | Attach::Bench(_)))
    }

    /// The section's name with what the program is for, where loaders look for it there: programs that BTF describes.
    fn section_of(&self, section: &'static str, program: &TypedProgram) -> Cow<'static, str> {
        let target = match program.probes.first().and_then(|id| self.script.probes.get(*id)).map(|p| &p.attach) {
            Some(Attach::Function { function, .. }) => function,
            Some(Attach::Iter { name, .. }) => name,
            _ => return section.into(),
        };
        format!("{section}/{target}").into()
    }

    fn variables(
        &self,
        b: &mut FunctionBuilder,
        decls: &IndexVec<VarId, TypedVar>,
        mentions: &Mentions,
    ) -> IndexVec<VarId, Home> {
        decls.enumerate().map(|(id, var)| self.home(b, var, mentions.is_shared(id))).collect::<Vec<Home>>().into()
    }

    /// Where a variable of this function lives.
    fn home(&self, b: &mut FunctionBuilder, var: &TypedVar, shared: bool) -> Home {
        if var.ty.is_scalar() && !var.addressed {
            Home::Register(b.variable())
        } else if shared {
            Home::Later
        } else {
            Home::Memory { slot: b.slot(self.size(&var.ty), 8, false), offset: 0 }
        }
    }

    fn finish(mut self) -> Result<Lowered, Diagnostics> {
        if self.diagnostics.iter().any(Diagnostic::is_error) {
            return Err(self.diagnostics);
        }
        if let Some(map) = self.module.maps.get_mut(self.counters_map) {
            map.value_size = (self.counters.len() as u32).max(1) * 8;
        }
        self.module.counters = Some(self.counters_map);
        self.module.frame_blind = self.facts.frame_blind;
        let records = self.records.into_vec();
        let actions = self
            .script
            .actions
            .iter()
            .zip(records)
            .map(|(a, record)| Action {
                kind: placed(&a.kind, || (self.position)(a.span)),
                record,
                percentiles: a.percentiles.clone(),
            })
            .collect();
        let manifest = Manifest {
            programs: self.programs,
            probes: self.script.probes.as_slice().to_vec(),
            maps: self.maps.into_vec(),
            actions,
            counters: self.counters.into_vec(),
            config: Config { max_strlen: self.script.limits.max_strlen, ..Config::clone(&self.script.config) },
        };
        Ok(Lowered { module: self.module, manifest })
    }
}

/// A variable that is 0 so far.
fn zeroed(b: &mut FunctionBuilder) -> Variable {
    let variable = b.variable();
    let zero = b.iconst(0);
    b.set(variable, zero);
    variable
}

/// True when something becomes a callback of `bpf_loop`.
fn wants_loops(script: &TypedScript) -> bool {
    use crate::typed::walk::Node;
    let mut wants = |node: Node<'_>| match node {
        Node::Stmt(stmt) => matches!(stmt.kind, StmtKind::While { .. } | StmtKind::ForRange { .. }),
        Node::Expr(expr) => matches!(expr.kind, ExprKind::Call(Op::Strstr, _)),
        Node::Place(_) => false,
    };
    let predicates = script.programs.iter().filter_map(|program| program.predicate.as_ref());
    let bodies = script.programs.iter().map(|program| &program.body);
    bodies.chain(script.functions.iter().map(|function| &function.body)).any(|body| body.any(&mut wants))
        || predicates.into_iter().any(|predicate| predicate.any(&mut wants))
}

/// A message says where it was sent from.
fn placed(kind: &ActionKind, at: impl FnOnce() -> String) -> ActionKind {
    let mut kind = kind.clone();
    if let ActionKind::Message { position, .. } = &mut kind {
        *position = at();
    }
    kind
}

/// ELF section of a program, and whether the kernel lets it interrupt itself on one CPU.
fn section(kind: ProgramKind) -> (&'static str, bool) {
    match kind {
        ProgramKind::RawTpRun | ProgramKind::RawTracepoint | ProgramKind::SyscallEnter | ProgramKind::SyscallExit => {
            ("raw_tp", false)
        }
        ProgramKind::Kprobe | ProgramKind::KprobeMulti | ProgramKind::KprobeSession => ("kprobe", false),
        ProgramKind::Kretprobe | ProgramKind::KretprobeMulti => ("kretprobe", false),
        // Uprobes run preemptible: another task on the same CPU can enter the same program.
        ProgramKind::Uprobe | ProgramKind::UprobeMulti => ("uprobe", true),
        ProgramKind::Uretprobe | ProgramKind::UretprobeMulti => ("uretprobe", true),
        ProgramKind::Tracepoint => ("tracepoint", false),
        ProgramKind::PerfEvent => ("perf_event", false),
        ProgramKind::Fentry => ("fentry", false),
        ProgramKind::Fexit => ("fexit", false),
        ProgramKind::Iter => ("iter", false),
    }
}

/// Where a scratch variable lives.
#[derive(Clone, Copy, Debug)]
enum Home {
    Register(Variable),
    /// In local memory, so many bytes from its start.
    Memory {
        slot: Slot,
        offset: i32,
    },
    /// In the memory that is shared with callbacks, once the function needs it there.
    Later,
    /// In memory of the caller, so many bytes behind an address.
    Outer {
        base: Value,
        offset: i32,
    },
    /// In memory of the function that this callback belongs to, so many bytes behind an address that its frame holds at the offset. The
    /// address is read where it is needed: to keep it takes a register.
    Framed {
        frame: Value,
        offset: i32,
        behind: i32,
    },
}

/// A place in BPF memory that can be written.
#[derive(Clone, Copy, Debug)]
struct Mem {
    base: Value,
    offset: i32,
}

impl Mem {
    /// Alignment of the place. Bases are aligned to 8 bytes: slots of 8 bytes or more, map values, the ring buffer; a base in
    /// scratch space at a run-time offset need not be, where the processors we support load and store unaligned.
    fn align(self) -> u32 {
        if self.offset == 0 { 8 } else { 1 << self.offset.trailing_zeros().min(3) }
    }
    fn at(self, bytes: u32) -> Self {
        Self { base: self.base, offset: self.offset.wrapping_add(bytes as i32) }
    }
}

/// A place of any memory that can be read.
#[derive(Clone, Copy, Debug)]
struct Loc {
    space: AddrSpace,
    mem: Mem,
}

impl Loc {
    fn bpf(mem: Mem) -> Self {
        Self { space: AddrSpace::Bpf, mem }
    }
}

/// Targets of `break` and `continue`.
#[derive(Clone, Copy, Debug)]
struct Loop {
    exit: Block,
    next: Block,
}

/// State of the function being lowered.
struct FnLower<'m, 'a> {
    m: &'m mut ModuleLower<'a>,
    b: FunctionBuilder,
    program: &'m TypedProgram,
    /// Variables of the program or user function.
    decls: &'m IndexVec<VarId, TypedVar>,
    ctx: Value,
    vars: IndexVec<VarId, Home>,
    /// Returns the result, or 0.
    exit: Block,
    /// Where `return` leaves its value; `None` where nobody takes it.
    result: Option<Home>,
    loops: Vec<Loop>,
    /// Of the whole program or user function.
    mentions: Rc<Mentions>,
    /// Names of the attach points, for counters.
    probe: String,
    temps: Temps,
    /// The memory of variables that callbacks share with this function, and how much of it is used: all in one, so that a callback needs one
    /// address.
    shared: Option<(Slot, u32)>,
    /// Callbacks around this function's body.
    depth: u32,
    /// How many times the verifier walks the code that is being lowered.
    rounds: i64,
}

impl FnLower<'_, '_> {
    /// Adds one to a counter.
    fn count(&mut self, counter: Counter) {
        let id = self.m.counter(counter);
        let addr = self.b.map_value(self.m.counters_map, id.0 * 8);
        let one = self.b.iconst(1);
        self.b.atomic_add(Width::W8, addr, 0, one);
    }

    /// Address of a place as one value.
    fn addr(&mut self, mem: Mem) -> Value {
        if mem.offset == 0 {
            return mem.base;
        }
        self.b.bin_imm(ir::BinOp::Add, mem.base, i64::from(mem.offset))
    }

    /// Fresh local memory for a value of this type.
    fn temp(&mut self, ty: &Type) -> Mem {
        let size = self.m.size(ty);
        self.temp_bytes(size)
    }

    /// Local memory for the rest of the statement, aligned for the widest access that fits.
    fn temp_bytes(&mut self, size: u32) -> Mem {
        let slot = self.temps.take(&mut self.b, size, Use::Constant);
        Mem { base: self.b.slot_addr(slot), offset: 0 }
    }

    /// The same, to be accessed at offsets that are not constant.
    fn indexed_bytes(&mut self, size: u32) -> Mem {
        let slot = self.temps.take(&mut self.b, size, Use::Indexed);
        Mem { base: self.b.slot_addr(slot), offset: 0 }
    }

    /// The address of local memory to hand to a callback.
    fn pinned(&mut self, size: u32) -> Value {
        let slot = self.temps.take(&mut self.b, size, Use::Pinned);
        self.b.slot_addr(slot)
    }

    fn zero(&mut self, dst: Mem, len: u32) {
        self.b.zero(dst.base, dst.offset, len, dst.align());
    }

    fn copy(&mut self, dst: Mem, src: Mem, len: u32) {
        self.b.copy((dst.base, dst.offset), (src.base, src.offset), len, dst.align().min(src.align()));
    }

    /// The script's position of what is being lowered, for counters.
    fn position(&self) -> String {
        (self.m.position)(self.b.span())
    }

    /// Jumps to `to` unless the block has ended already, and goes on there.
    fn join(&mut self, to: Block) {
        self.b.jump(to);
        self.b.enter(to);
    }

    /// A bug of the checker or of this module: reported instead of trusted.
    fn internal(&mut self, what: &str, span: Span) {
        self.m.diagnostics.push(Diagnostic::internal(format!("cannot lower {what}"), span));
    }
}

/// What lists of programs and stacks of the kernel call a program: by its probe, and its number from 1.
fn program_symbol(probe: &str, index: usize) -> String {
    const LONGEST: usize = 64;
    let name = probe.chars().take(LONGEST).map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    format!("{}_{}", name.collect::<String>(), index + 1)
}
