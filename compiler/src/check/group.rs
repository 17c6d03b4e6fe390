//! Which attach points share a program. Points of one probe share it when their program type and what the body sees of the
//! context are the same; the name of the probe is then told apart by the attach cookie.

use tapline_grammar::ast;
use tapline_grammar::span::Span;

use super::scope::Variables;
use super::{Checker, mentions};
use crate::expand::{AttachPoint, Context, ExpandedProbe};
use crate::index::Id;
use crate::probes::Provider;
use crate::program::{Attach, ProbeId, ProgramKind};
use crate::target::Feature;

/// One program to be: attach points of one probe.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    /// Index of the probe in the script.
    pub probe: usize,
    /// Its attach points.
    pub points: Vec<ProbeId>,
    /// The name of the first one; of all, when there is no other.
    pub name: String,
    /// Their provider.
    pub provider: Option<&'static Provider>,
    /// How the program is loaded.
    pub kind: ProgramKind,
    /// What it sees.
    pub context: Context,
    /// The first attach point, in the script.
    pub point_span: Span,
    /// From the first attach point to the closing brace.
    pub span: Span,
    /// `-p`.
    pub pid_filter: Option<u32>,
    /// What the passes found out.
    pub variables: Variables,
}

impl Default for Unit {
    fn default() -> Self {
        Self {
            probe: usize::MAX,
            points: Vec::new(),
            name: String::new(),
            provider: None,
            kind: ProgramKind::RawTpRun,
            context: Context::None,
            point_span: Span::default(),
            span: Span::default(),
            pid_filter: None,
            variables: Variables::default(),
        }
    }
}

/// What a body sees of its attach point.
#[derive(Clone, Copy)]
struct Uses {
    /// `args`.
    args: bool,
    /// `probe`, where it must be a string.
    own_name: bool,
    /// `probetype`, which is a string of the provider.
    provider: bool,
}

impl Checker<'_> {
    /// The programs of the script, in textual order.
    pub(super) fn units(&self) -> Vec<Unit> {
        let script = self.script;
        let mut units = Vec::new();
        let mut next = 0usize;
        let by_cookie = self.probe_by_cookie();
        for (index, probe) in script.probes.iter().enumerate() {
            let named = mentions(probe, &|name| name == "probe");
            let uses = Uses {
                args: mentions(probe, &|name| name == "args"),
                own_name: named && !by_cookie,
                provider: mentions(probe, &|name| name == "probetype"),
            };
            let first_unit = units.len();
            for point in &probe.points {
                let id = ProbeId::new(next);
                next += 1;
                let kind = self.kind(probe, point);
                let fits = |unit: &Unit| {
                    unit.kind == kind
                        && kind != ProgramKind::RawTpRun
                        && unit.pid_filter == self.pid_filter(point)
                        && !uses.own_name
                        && (!uses.provider || unit.provider == Some(point.provider))
                        && same_context(&unit.context, &point.context, uses)
                };
                let tail: &mut [Unit] = units.get_mut(first_unit..).unwrap_or_default();
                if let Some(unit) = tail.iter_mut().find(|unit| fits(unit)) {
                    unit.points.push(id);
                    continue;
                }
                units.push(Unit {
                    probe: index,
                    points: vec![id],
                    name: point.desc.name.clone(),
                    provider: Some(point.provider),
                    kind,
                    context: point.context.clone(),
                    point_span: point.span,
                    span: probe.span,
                    pid_filter: self.pid_filter(point),
                    variables: Variables::default(),
                });
            }
        }
        units
    }

    /// A wildcard's functions share one link where the kernel can do that.
    fn kind(&self, probe: &ExpandedProbe, point: &AttachPoint) -> ProgramKind {
        let multi = match point.kind {
            ProgramKind::Kprobe => ProgramKind::KprobeMulti,
            ProgramKind::Kretprobe => ProgramKind::KretprobeMulti,
            other => return other,
        };
        let whole = matches!(&point.desc.attach, Attach::Kprobe { module: None, offset: 0, .. });
        let wildcard = probe.points.iter().filter(|other| other.span == point.span).nth(1).is_some();
        if whole && wildcard && self.target.has(Feature::KprobeMulti) { multi } else { point.kind }
    }

    /// `-p` holds for what happens in a process.
    fn pid_filter(&self, point: &AttachPoint) -> Option<u32> {
        match point.desc.attach {
            Attach::Begin | Attach::End | Attach::SelfSignal(_) | Attach::Interval { .. } => None,
            _ => self.script.config.pid,
        }
    }

    /// True when `probe` is told apart at run time. Where no program serves several points, the name is a plain string everywhere.
    pub(crate) fn probe_by_cookie(&self) -> bool {
        let several = |probe: &ExpandedProbe| probe.points.len() > 1 && mentions(probe, &|name| name == "probe");
        // The kernel is asked last: the question costs a system call.
        !self.probe_is_text && self.script.probes.iter().any(several) && self.target.has(Feature::AttachCookie)
    }
}

fn same_context(a: &Context, b: &Context, uses: Uses) -> bool {
    if a == b {
        return true;
    }
    match (a, b) {
        (Context::KernelEntry { .. }, Context::KernelEntry { .. })
        | (Context::KernelReturn { .. }, Context::KernelReturn { .. })
        | (Context::RawTracepoint { .. }, Context::RawTracepoint { .. })
        | (Context::Tracepoint { .. }, Context::Tracepoint { .. }) => !uses.args,
        _ => false,
    }
}

/// True when a block mentions a name, as identifier or as call.
pub(super) fn block_mentions(block: &ast::Block, wanted: &dyn Fn(&str) -> bool) -> bool {
    block.stmts.iter().any(|stmt| stmt_mentions(stmt, wanted))
        || block.value.as_ref().is_some_and(|e| expr_mentions(e, wanted))
}

fn stmt_mentions(stmt: &ast::Stmt, wanted: &dyn Fn(&str) -> bool) -> bool {
    use ast::StmtKind as S;
    let expr = |e: &ast::Expr| expr_mentions(e, wanted);
    match &stmt.kind {
        S::Expr(e) | S::Discard(e) | S::Return(Some(e)) => expr(e),
        S::Let { init, .. } => init.as_ref().is_some_and(expr),
        S::Assign { target, value, .. } => expr(target) || expr(value),
        S::If(it) => if_mentions(it, wanted),
        S::While { cond: e, body } | S::Unroll { count: e, body } => expr(e) || block_mentions(body, wanted),
        S::ForRange { start, end, body, .. } => expr(start) || expr(end) || block_mentions(body, wanted),
        S::ForMap { body, .. } | S::Block(body) => block_mentions(body, wanted),
        S::Break | S::Continue | S::Return(None) | S::Import(_) | S::Error => false,
    }
}

fn if_mentions(it: &ast::IfStmt, wanted: &dyn Fn(&str) -> bool) -> bool {
    expr_mentions(&it.cond, wanted)
        || block_mentions(&it.then, wanted)
        || it.otherwise.as_ref().is_some_and(|b| block_mentions(b, wanted))
}

/// True when an expression mentions a name, as identifier or as call.
pub(super) fn expr_mentions(expr: &ast::Expr, wanted: &dyn Fn(&str) -> bool) -> bool {
    use ast::ExprKind as E;
    let go = |e: &ast::Expr| expr_mentions(e, wanted);
    match &expr.kind {
        E::Ident(name) => wanted(name),
        E::Map { key, .. } => key.iter().flatten().any(go),
        E::Call { name, args } => wanted(&name.node) || args.iter().any(go),
        E::Unary { expr, .. } | E::IncDec { expr, .. } | E::Cast { expr, .. } | E::Comptime(expr) => go(expr),
        E::Field { base, .. } | E::TupleIndex { base, .. } => go(base),
        E::Binary { lhs, rhs, .. } => go(lhs) || go(rhs),
        E::Index { base, index } => go(base) || go(index),
        E::Ternary { cond, then, otherwise } => go(cond) || then.as_ref().is_some_and(|e| go(e)) || go(otherwise),
        E::Tuple(members) => members.iter().any(go),
        E::Record(members) => members.iter().any(|(_, e)| go(e)),
        E::SizeOf(of) | E::TypeInfo(of) | E::OffsetOf { of, .. } => match &**of {
            ast::TypeOrExpr::Expr(e) => go(e),
            ast::TypeOrExpr::Type(_) => false,
        },
        E::Block(block) => block_mentions(block, wanted),
        E::If(it) => if_mentions(it, wanted),
        E::Int { .. } | E::Str(_) | E::Bool(_) | E::Var(_) | E::Param(_) | E::ParamCount | E::Type(_) | E::Error => {
            false
        }
    }
}
