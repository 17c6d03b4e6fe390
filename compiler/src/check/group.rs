//! Which attach points share a program. Points of one probe share it when their program type and what the body sees of the
//! context are the same; the name of the probe is then told apart by the attach cookie.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use tapline_grammar::ast;
use tapline_grammar::span::Span;

use super::Checker;
use super::scope::Variables;
use crate::expand::{AttachPoint, Context, ExpandedProbe};
use crate::index::Id;
use crate::probes::Provider;
use crate::probes::fentry::KERNEL;
use crate::program::{Attach, ProbeId, ProgramKind};
use crate::syscalls;
use crate::target::Feature;
use crate::typed::{FnId, Session, TaskFilter};
use crate::types::record::parse_format;

/// One program to be: attach points of one probe.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    /// Index of the probe in the script.
    pub probe: usize,
    /// The user function that this is instead of a program.
    pub function: Option<FnId>,
    /// Its attach points.
    pub points: Vec<ProbeId>,
    /// The name of the first one; of all, when there is no other.
    pub name: String,
    /// Their provider.
    pub provider: Option<&'static Provider>,
    /// How the program is loaded.
    pub kind: ProgramKind,
    /// Its part in a session.
    pub session: Option<Session>,
    /// What it sees.
    pub context: Context,
    /// The first attach point, in the script.
    pub point_span: Span,
    /// From the first attach point to the closing brace.
    pub span: Span,
    /// What the command line wants to see.
    pub filter: TaskFilter,
    /// What the passes found out.
    pub variables: Variables,
}

impl Default for Unit {
    fn default() -> Self {
        Self {
            probe: usize::MAX,
            function: None,
            points: Vec::new(),
            name: String::new(),
            provider: None,
            kind: ProgramKind::RawTpRun,
            session: None,
            context: Context::None,
            point_span: Span::default(),
            span: Span::default(),
            filter: TaskFilter::default(),
            variables: Variables::default(),
        }
    }
}

/// What points must have in common to share a program.
#[derive(PartialEq, Eq, Hash)]
struct Likeness {
    kind: ProgramKind,
    filter: TaskFilter,
    /// Where the body names it.
    probetype: Option<&'static str>,
    /// What the body sees of the context.
    shape: String,
}

impl Checker<'_> {
    /// The programs of the script, in textual order.
    pub(super) fn units(&self) -> Vec<Unit> {
        let script = self.script;
        let mut units: Vec<Unit> = Vec::new();
        let mut next = 0usize;
        let by_cookie = self.probe_by_cookie();
        for (index, probe) in script.probes.iter().enumerate() {
            let own_name = !by_cookie && mentions(probe, "probe");
            let provider = mentions(probe, "probetype");
            let arguments = mentions(probe, "args").then(|| argument_names(probe));
            let names_types = names_types(probe);
            let mut alike: HashMap<Likeness, usize> = HashMap::new();
            for point in &probe.points {
                let id = ProbeId::new(next);
                next += 1;
                let kind = self.kind(probe, point, own_name);
                let filter = self.filter(point);
                // Threads that begin later inherit a watchpoint, but not its cookie.
                let alone = kind.is_single() || matches!(point.desc.attach, Attach::Watchpoint { .. });
                if !own_name && !alone && probe.points.len() > 1 {
                    let likeness = Likeness {
                        kind,
                        filter,
                        probetype: provider.then_some(point.provider.probetype),
                        shape: self.shape(&context_of(kind, point), arguments.as_ref(), names_types),
                    };
                    let at = *alike.entry(likeness).or_insert(units.len());
                    if let Some(unit) = units.get_mut(at) {
                        unit.points.push(id);
                        continue;
                    }
                }
                units.push(Unit {
                    probe: index,
                    function: None,
                    points: vec![id],
                    name: point.desc.name.clone(),
                    provider: Some(point.provider),
                    kind,
                    session: None,
                    context: context_of(kind, point),
                    point_span: point.span,
                    span: probe.span,
                    filter,
                    variables: Variables::default(),
                });
            }
        }
        self.join_sessions(&mut units);
        units
    }

    /// What a body that reads these arguments sees of a context: equal text, equal code.
    fn shape(&self, context: &Context, arguments: Option<&BTreeSet<String>>, names_types: bool) -> String {
        match (context, arguments) {
            (Context::Tracepoint { category, event }, arguments) => {
                // Numbers of system call events are addresses of user memory when they are addresses.
                let mut shape = format!("tracepoint {} ", category == "syscalls");
                if let Some(arguments) = arguments {
                    match self.target.tracepoint_format(category, event) {
                        Ok(text) => {
                            let fields = parse_format(&text)
                                .into_iter()
                                .filter(|f| arguments.contains(&f.name) || arguments.contains(ALL_ARGUMENTS));
                            fields.for_each(|f| {
                                let _ = write!(shape, "{} {} {} {} {};", f.name, f.ty, f.offset, f.size, f.signed);
                            });
                        }
                        Err(_) => shape.push_str(event),
                    }
                }
                shape
            }
            (
                Context::RawTracepoint { event: name }
                | Context::KernelReturn { function: name }
                | Context::KernelEntry { module: None, function: name },
                Some(_),
            ) => {
                format!("of {name}")
            }
            (Context::KernelEntry { module: Some(module), function }, Some(_)) => format!("of {module}:{function}"),
            // Arguments have places and types of their own in each function.
            (Context::UserEntry { path, offset }, Some(_)) => format!("of {path} at {offset}"),
            // Types that the script names may come from the file.
            (Context::UserEntry { path, .. }, None) if names_types => format!("user entry of {path}"),
            (Context::UserReturn { path }, _) if names_types => format!("user return of {path}"),
            (Context::UserEntry { .. }, None) => "user entry".into(),
            (Context::UserReturn { .. }, _) => "user return".into(),
            (Context::RawTracepoint { .. }, None) => "raw tracepoint".into(),
            (Context::KernelEntry { .. }, None) => "kernel entry".into(),
            (Context::KernelReturn { .. }, None) => "kernel return".into(),
            (other, _) => format!("{other:?}"),
        }
    }

    /// A wildcard's functions share one link where the kernel can do that, its system calls one program. `own_name`: every
    /// attach point has a program of its own, since the body wants its name as text.
    fn kind(&self, probe: &ExpandedProbe, point: &AttachPoint, own_name: bool) -> ProgramKind {
        let multi = match point.kind {
            ProgramKind::Kprobe => ProgramKind::KprobeMulti,
            ProgramKind::Kretprobe => ProgramKind::KretprobeMulti,
            ProgramKind::Uprobe => ProgramKind::UprobeMulti,
            ProgramKind::Uretprobe => ProgramKind::UretprobeMulti,
            // A program for each name would run for every system call.
            ProgramKind::Tracepoint if !own_name => return self.syscalls_kind(probe, point).unwrap_or(point.kind),
            other => return other,
        };
        // Names in links over many functions are those of the kernel itself.
        let own = |module: &Option<String>| module.as_deref().is_none_or(|name| name == KERNEL);
        let feature = match &point.desc.attach {
            Attach::Kprobe { module, offset: 0, .. } if own(module) => Feature::KprobeMulti,
            Attach::Uprobe { .. } => Feature::UprobeMulti,
            _ => return point.kind,
        };
        let wildcard = probe.points.iter().filter(|other| other.span == point.span).nth(1).is_some();
        if wildcard && self.target.has(feature) { multi } else { point.kind }
    }

    /// Attaching to hundreds of system calls is fast by the raw tracepoint that all of them pass; the kernel takes tens of
    /// milliseconds to detach a tracepoint. That serves actions that see nothing of an event but its name and result.
    fn syscalls_kind(&self, probe: &ExpandedProbe, point: &AttachPoint) -> Option<ProgramKind> {
        let (kind, event) = syscall_event(point)?;
        let alike = probe.points.iter().filter(|p| syscall_event(p).is_some_and(|(own, _)| own == kind));
        syscalls::number(self.target.arch(), syscalls::function_of(event)?)?;
        let known = |name: &String| kind == ProgramKind::SyscallExit && name == "ret";
        let sees_more = ["ctx", "kstack", "reg"].iter().any(|name| mentions(probe, name))
            || (mentions(probe, "args") && (bare_args(probe) || !argument_names(probe).iter().all(known)));
        (alike.count() >= SYSCALLS_TOGETHER && !sees_more).then_some(kind)
    }

    /// Filters hold for what happens in a task.
    fn filter(&self, point: &AttachPoint) -> TaskFilter {
        match point.desc.attach {
            Attach::Begin
            | Attach::End
            | Attach::SelfSignal(_)
            | Attach::Test(_)
            | Attach::Bench(_)
            | Attach::Interval { .. }
            | Attach::Iter { .. } => TaskFilter::default(),
            _ => TaskFilter { pid: self.script.config.pid, cgroup: self.script.config.cgroup },
        }
    }

    /// True when `probe` is told apart at run time. Where no program serves several points, the name is a plain string everywhere.
    pub(crate) fn probe_by_cookie(&self) -> bool {
        let several = |probe: &ExpandedProbe| probe.points.len() > 1 && mentions(probe, "probe");
        // The kernel is asked last: the question costs a system call.
        !self.texts && self.script.probes.iter().any(several) && self.target.has(Feature::AttachCookie)
    }
}

/// System call events of one kind that a probe has at least when one program at all calls serves them.
const SYSCALLS_TOGETHER: usize = 16;

/// The program that could serve an event of category `syscalls`, and the event.
fn syscall_event(point: &AttachPoint) -> Option<(ProgramKind, &str)> {
    let Attach::Tracepoint { category, event } = &point.desc.attach else { return None };
    let kind = if event.starts_with("sys_enter_") { ProgramKind::SyscallEnter } else { ProgramKind::SyscallExit };
    (category == "syscalls").then_some((kind, event.as_str()))
}

/// What a program of a kind sees at an attach point.
fn context_of(kind: ProgramKind, point: &AttachPoint) -> Context {
    match kind {
        ProgramKind::SyscallEnter => Context::Syscalls { exit: false },
        ProgramKind::SyscallExit => Context::Syscalls { exit: true },
        _ => point.context.clone(),
    }
}

/// Calls a function for every expression of a probe, the outer ones first.
fn visit_probe(probe: &ExpandedProbe, visit: &mut dyn FnMut(&ast::Expr)) {
    if let Some(predicate) = &probe.predicate {
        visit_expr(predicate, visit);
    }
    visit_block(&probe.body, visit);
}

pub(super) fn visit_block(block: &ast::Block, visit: &mut dyn FnMut(&ast::Expr)) {
    for stmt in &block.stmts {
        visit_stmt(stmt, visit);
    }
    if let Some(value) = &block.value {
        visit_expr(value, visit);
    }
}

fn visit_stmt(stmt: &ast::Stmt, visit: &mut dyn FnMut(&ast::Expr)) {
    use ast::StmtKind as S;
    match &stmt.kind {
        S::Expr(e) | S::Discard(e) | S::Return(Some(e)) | S::Let { init: Some(e), .. } => visit_expr(e, visit),
        S::Assign { target, value, .. } => {
            visit_expr(target, visit);
            visit_expr(value, visit);
        }
        S::If(it) => visit_if(it, visit),
        S::While { cond: e, body } | S::Unroll { count: e, body } => {
            visit_expr(e, visit);
            visit_block(body, visit);
        }
        S::ForRange { start, end, body, .. } => {
            visit_expr(start, visit);
            visit_expr(end, visit);
            visit_block(body, visit);
        }
        S::ForMap { body, .. } | S::Block(body) => visit_block(body, visit),
        S::Let { init: None, .. } | S::Break | S::Continue | S::Return(None) | S::Import(_) | S::Error => {}
    }
}

fn visit_if(it: &ast::IfStmt, visit: &mut dyn FnMut(&ast::Expr)) {
    visit_expr(&it.cond, visit);
    visit_block(&it.then, visit);
    if let Some(block) = &it.otherwise {
        visit_block(block, visit);
    }
}

fn visit_expr(expr: &ast::Expr, visit: &mut dyn FnMut(&ast::Expr)) {
    use ast::ExprKind as E;
    visit(expr);
    match &expr.kind {
        E::Map { key: Some(exprs), .. } | E::Call { args: exprs, .. } | E::Tuple(exprs) => {
            for e in exprs {
                visit_expr(e, visit);
            }
        }
        E::Unary { expr, .. } | E::IncDec { expr, .. } | E::Cast { expr, .. } | E::Comptime(expr) => {
            visit_expr(expr, visit);
        }
        E::Field { base, .. } | E::TupleIndex { base, .. } => visit_expr(base, visit),
        E::Binary { lhs: a, rhs: b, .. } | E::Index { base: a, index: b } => {
            visit_expr(a, visit);
            visit_expr(b, visit);
        }
        E::Ternary { cond, then, otherwise } => {
            visit_expr(cond, visit);
            if let Some(then) = then {
                visit_expr(then, visit);
            }
            visit_expr(otherwise, visit);
        }
        E::Record(members) => members.iter().for_each(|(_, e)| visit_expr(e, visit)),
        E::SizeOf(of) | E::TypeInfo(of) | E::OffsetOf { of, .. } | E::HasField { of, .. } => {
            if let ast::TypeOrExpr::Expr(e) = &**of {
                visit_expr(e, visit);
            }
        }
        E::Block(block) => visit_block(block, visit),
        E::If(it) => visit_if(it, visit),
        E::Map { key: None, .. }
        | E::Ident(_)
        | E::Int { .. }
        | E::Str(_)
        | E::Bool(_)
        | E::Var(_)
        | E::Param(_)
        | E::ParamCount
        | E::Type(_)
        | E::Error => {}
    }
}

/// The name of an identifier or of a called function.
fn name_of(expr: &ast::Expr) -> Option<&str> {
    match &expr.kind {
        ast::ExprKind::Ident(name) => Some(name),
        ast::ExprKind::Call { name, .. } => Some(&name.node),
        _ => None,
    }
}

/// True when a probe mentions a name, as identifier or as call.
fn mentions(probe: &ExpandedProbe, wanted: &str) -> bool {
    let mut found = false;
    visit_probe(probe, &mut |e| found |= name_of(e) == Some(wanted));
    found
}

/// The text names types that a file's debug information may define.
fn names_types(probe: &ExpandedProbe) -> bool {
    use ast::ExprKind as E;
    let mut found = false;
    visit_probe(probe, &mut |e| {
        found |= matches!(
            e.kind,
            E::Cast { .. } | E::SizeOf(_) | E::OffsetOf { .. } | E::HasField { .. } | E::TypeInfo(_) | E::Type(_)
        );
    });
    found
}

/// True when `args` stands for itself somewhere, without a field.
fn bare_args(probe: &ExpandedProbe) -> bool {
    let (mut all, mut with_field) = (0, 0);
    visit_probe(probe, &mut |e| {
        all += usize::from(name_of(e) == Some("args"));
        with_field +=
            usize::from(matches!(&e.kind, ast::ExprKind::Field { base, .. } if name_of(base) == Some("args")));
    });
    all != with_field
}

/// Stands for all fields, where `args` is used as a whole.
const ALL_ARGUMENTS: &str = "*";

/// The fields of `args` that a probe reads.
fn argument_names(probe: &ExpandedProbe) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    visit_probe(probe, &mut |e| {
        if let ast::ExprKind::Field { base, name, .. } = &e.kind
            && name_of(base) == Some("args")
        {
            names.insert(name.node.clone());
        }
    });
    if bare_args(probe) {
        names.insert(ALL_ARGUMENTS.to_owned());
    }
    names
}
