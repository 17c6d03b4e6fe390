//! Names and types: from the expanded script to the typed tree.
//!
//! Types are inferred over the whole script. A pass walks all programs, reads the types that the pass before found for maps and
//! variables, and collects what flows into them; passes repeat until nothing changes, and the last one's tree and diagnostics
//! are the result. Nothing here knows a builtin by its name: those are rows of [`crate::builtins`].

mod access;
mod assign;
mod c_constant;
mod constant;
mod context;
mod convert;
mod definitions;
mod expr;
mod flow;
mod functions;
mod group;
mod maps;
mod operators;
pub mod print;
mod scope;
mod sessions;
mod stmt;
#[cfg(test)]
mod tests;
mod types;
mod user_args;

pub(crate) use access::decay;
pub(crate) use constant::{
    bool as constant_bool, int as int_literal, string as text_literal, text as string_literal, value as constant_number,
};
pub(crate) use convert::{convert, strip_address};
pub(crate) use flow::Flow;
pub(crate) use maps::KeyFlow;

use tapline_grammar::ast;
use tapline_grammar::span::Span;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::expand::{Context, ExpandedScript};
use crate::index::IndexVec;
use crate::program::{ActionId, ActionKind, Percentile, ProbeDesc, ProbeId};
use crate::target::Target;
use crate::typed::{Expr, ExprKind, FnId, Op, Stmt, StmtKind, TypedAction, TypedFunction, TypedProgram, TypedScript};
use crate::types::Type;
use crate::types::display::display;
use crate::types::table::TypeTable;

use functions::Signature;
use group::Unit;
use maps::Maps;
use scope::Scope;

/// What the command line says about checking.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// `--unsafe`: functions that change the system are allowed.
    pub allow_unsafe: bool,
}

/// What checking yields.
#[derive(Debug)]
pub struct Checked {
    /// `None` when there are errors.
    pub script: Option<TypedScript>,
    /// Errors, warnings and notes, in the order of the script.
    pub diagnostics: Diagnostics,
}

/// Passes before inference is given up; scripts need two to four.
const MAX_PASSES: u32 = 32;

/// Checks a script against the target.
pub fn check(script: &ExpandedScript, target: &dyn Target, options: Options) -> Checked {
    let mut checker = Checker::new(script, target, options);
    checker.define();
    let code = checker.run();
    checker.finish(code)
}

/// The code of a script as one pass leaves it.
#[derive(Default)]
struct CheckedCode {
    programs: Vec<TypedProgram>,
    functions: Vec<TypedFunction>,
}

/// The state of checking: what all passes share, what one pass collects, and the program at hand.
pub(crate) struct Checker<'a> {
    pub(crate) target: &'a dyn Target,
    pub(crate) options: Options,
    pub(crate) script: &'a ExpandedScript,
    pub(crate) types: TypeTable<'a>,
    pub(crate) maps: Maps,
    pub(crate) probes: IndexVec<ProbeId, ProbeDesc>,
    pub(crate) actions: IndexVec<ActionId, TypedAction>,
    pub(crate) diagnostics: Diagnostics,
    pub(crate) scope: Scope,
    pub(crate) unit: Unit,
    /// Of the user functions.
    signatures: IndexVec<FnId, Signature>,
    /// Branches around the current statement that a constant condition rules out.
    ruled_out: u32,
    /// Variables that were read in this pass and have no type.
    untyped: Vec<(String, Span)>,
    /// What is kept as the number of a text otherwise is a string everywhere: `strerror()` and its kin, and `probe`, of which then
    /// each attach point has a program of its own.
    pub(crate) texts: bool,
    /// Something asked for such a text as a string.
    pub(crate) wants_texts: bool,
}

impl<'a> Checker<'a> {
    fn new(script: &'a ExpandedScript, target: &'a dyn Target, options: Options) -> Self {
        let points = script.probes.iter().flat_map(|probe| &probe.points);
        Self {
            target,
            options,
            script,
            types: TypeTable::of_target(target),
            maps: Maps::default(),
            probes: points.map(|point| point.desc.clone()).collect::<Vec<_>>().into(),
            actions: IndexVec::new(),
            diagnostics: Diagnostics::new(),
            scope: Scope::default(),
            unit: Unit::default(),
            signatures: IndexVec::new(),
            ruled_out: 0,
            untyped: Vec::new(),
            texts: false,
            wants_texts: false,
        }
    }

    /// C definitions, map declarations and signatures of functions, once.
    fn define(&mut self) {
        self.define_c_items();
        self.declare_maps();
        self.declare_functions();
    }

    /// Passes until nothing changes.
    fn run(&mut self) -> CheckedCode {
        let before = std::mem::take(&mut self.diagnostics);
        let mut units = self.units();
        if let Some(unit) = usize::try_from(self.script.limits.max_programs).ok().and_then(|limit| units.get(limit)) {
            let (at, count, limit) = (unit.point_span, units.len(), self.script.limits.max_programs);
            self.error("too-many-programs", format!("too many programs: {count}, the limit is {limit}"), at)
                .label("the limit is passed here")
                .note("each function of a fentry or fexit wildcard takes a program of its own, which the kernel has to check")
                .help(format!("make the wildcard narrower, use a kprobe, or raise the limit: BPFTRACE_MAX_BPF_PROGS={count}, or `max_bpf_progs = {count}` in a config block"));
            return CheckedCode::default();
        }
        let mut functions = self.function_units();
        for _ in 0..MAX_PASSES {
            self.diagnostics.clone_from(&before);
            self.actions = IndexVec::new();
            self.untyped.clear();
            self.maps.begin_pass();
            let mut code = CheckedCode::default();
            let mut changed = false;
            for unit in functions.iter_mut().chain(&mut units) {
                self.unit = std::mem::take(unit);
                match self.unit.function {
                    Some(id) => code.functions.extend(self.user_function(id)),
                    None => code.programs.push(self.program()),
                }
                changed |= self.scope.commit(&mut self.unit.variables);
                *unit = std::mem::take(&mut self.unit);
            }
            changed |= self.settle_signatures();
            if self.wants_texts && !self.texts {
                // The types found so far hold for the other form: begin again.
                self.texts = true;
                self.maps.forget();
                units = self.units();
                functions = self.function_units();
                continue;
            }
            changed |= self.maps.end_pass();
            if !changed && !self.maps.settle_unknown() {
                self.report_maps();
                self.report_untyped();
                return code;
            }
        }
        self.error("unsettled", "the types of this script do not settle", self.unit.span)
            .note("some variable or map grows with every assignment, for instance a tuple that contains itself");
        CheckedCode::default()
    }

    /// Variables that never got a value. What an erroneous statement would have given is not known either, and not worth a message.
    fn report_untyped(&mut self) {
        let failed = !self.script.unknown_maps.is_empty() || self.diagnostics.iter().any(Diagnostic::is_error);
        for (name, span) in std::mem::take(&mut self.untyped).into_iter().filter(|_| !failed) {
            self.error("untyped-variable", format!("${name} has no type"), span)
                .label("nothing is ever assigned to it")
                .help(format!("assign a value first, or say what it is: `let ${name} : int64;`"));
        }
    }

    /// One program, in the current unit.
    fn program(&mut self) -> TypedProgram {
        let script = self.script;
        let probe = script.probes.get(self.unit.probe);
        self.scope = Scope::new(&self.unit.variables);
        self.types.set_binary(match &self.unit.context {
            Context::UserEntry { path, .. } | Context::UserReturn { path } => Some(path.clone()),
            _ => None,
        });
        let written = probe.and_then(|p| p.predicate.as_ref()).and_then(|e| self.condition(e));
        let predicate = match (self.iterated(), written) {
            (Some(lhs), Some(rhs)) => {
                let (lhs, rhs, span) = (Box::new(lhs), Box::new(rhs), self.unit.point_span);
                Some(Expr { kind: ExprKind::Logical { and: true, lhs, rhs }, ty: Type::Bool, span })
            }
            (object, written) => object.or(written),
        };
        let mut body = probe.map_or_else(crate::typed::Block::default, |p| self.probe_body(&p.body));
        self.initialise_hoisted(&mut body);
        self.untyped.extend(self.scope.untyped());
        TypedProgram {
            kind: self.unit.kind,
            session: self.unit.session,
            probes: self.unit.points.clone(),
            filter: self.unit.filter,
            predicate,
            body,
            vars: self.scope.typed_vars(),
            span: self.unit.span,
        }
    }

    fn finish(mut self, code: CheckedCode) -> Checked {
        let mut seen: Vec<Diagnostic> = Vec::new();
        for diagnostic in std::mem::take(&mut self.diagnostics) {
            // Programs of one probe repeat what is wrong with its text.
            if !seen
                .iter()
                .any(|d| d.span == diagnostic.span && d.code == diagnostic.code && d.message == diagnostic.message)
            {
                seen.push(diagnostic);
            }
        }
        let failed = seen.iter().any(Diagnostic::is_error);
        let script = (!failed).then(|| self.typed_script(code));
        Checked { script, diagnostics: seen }
    }

    fn typed_script(mut self, CheckedCode { programs, functions }: CheckedCode) -> TypedScript {
        for program in &programs {
            if program.probes.len() > 1 {
                for id in &program.probes {
                    if let Some(desc) = self.probes.get_mut(*id) {
                        desc.cookie = u64::from(id.0);
                    }
                }
            }
        }
        let maps = self.maps.typed(self.script.limits.max_map_keys);
        // Values that leave the kernel are printed member by member.
        let shown: Vec<Type> = maps
            .iter()
            .flat_map(|m| m.key.iter().chain([&m.value]))
            .chain(self.actions.iter().flat_map(|a| &a.args))
            .cloned()
            .collect();
        for ty in &shown {
            self.types.complete(ty);
        }
        TypedScript {
            programs,
            functions: functions.into(),
            probes: self.probes,
            maps,
            actions: self.actions,
            aggregates: self.types.aggregates,
            config: self.script.config.clone(),
            limits: self.script.limits.clone(),
        }
    }

    /// Reports an error; the result can be decorated.
    pub(crate) fn error(&mut self, code: &'static str, message: impl Into<String>, span: Span) -> Decorate<'_> {
        self.report(Diagnostic::error(code, message, span))
    }

    /// What the config says about a feature.
    pub(crate) fn allowed(&mut self, variable: &'static str, feature: &str, span: Span) -> Option<()> {
        if !self.script.limits.switched_off.contains(variable) {
            return Some(());
        }
        self.error("switched-off", format!("{variable} switches {feature} off"), span)
            .help(format!("set `{variable} = enable`"));
        None
    }

    /// Reports a warning; the result can be decorated.
    pub(crate) fn warning(&mut self, code: &'static str, message: impl Into<String>, span: Span) -> Decorate<'_> {
        self.report(Diagnostic::warning(code, message, span))
    }

    /// Reports a note; the result can be decorated.
    pub(crate) fn note(&mut self, code: &'static str, message: impl Into<String>, span: Span) -> Decorate<'_> {
        self.report(Diagnostic::new(crate::diagnostic::Severity::Note, code, message, span))
    }

    pub(crate) fn report(&mut self, diagnostic: Diagnostic) -> Decorate<'_> {
        self.diagnostics.push(diagnostic);
        Decorate(self.diagnostics.last_mut())
    }

    /// False inside a branch that a constant condition rules out.
    pub(crate) fn is_reached(&self) -> bool {
        self.ruled_out == 0
    }

    /// The name of a type for messages.
    pub(crate) fn name(&self, ty: &Type) -> String {
        display(ty, &self.types.aggregates)
    }

    /// What user space does with records that carry values of these types.
    pub(crate) fn action(&mut self, kind: ActionKind, args: Vec<Type>, span: Span) -> ActionId {
        self.actions.push(TypedAction { kind, args, percentiles: Vec::new(), span })
    }

    /// The probe runs when somebody reads its file, after the session.
    pub(crate) fn is_pinned(&self) -> bool {
        matches!(self.unit.context, Context::Iterator { pinned: true, .. })
    }

    /// A call that sends a record: an expression without value.
    pub(crate) fn send(&mut self, kind: ActionKind, args: Vec<Expr>, span: Span) -> Expr {
        if self.is_pinned() {
            self.error("pinned", "a pinned iterator can only printf()", span)
                .label("nobody is there to do this when its file is read")
                .help("leave the file away: the iterator then runs once and prints");
        }
        let mut percentiles = Vec::new();
        let number = |(arg, value): (usize, Expr)| match value.kind {
            ExprKind::Call(Op::Percentile { map, thousandths }, mut key) if key.len() == 1 => {
                percentiles.push(Percentile { arg: arg as u32, map, thousandths });
                key.remove(0)
            }
            kind => Expr { kind, ..value },
        };
        let args: Vec<Expr> = args.into_iter().enumerate().map(number).collect();
        let types = args.iter().map(|arg| arg.ty.clone()).collect();
        let action = self.actions.push(TypedAction { kind, args: types, percentiles, span });
        void(vec![Stmt { kind: StmtKind::Send { action, args }, span }], span)
    }
}

/// Statements as an expression without value.
pub(crate) fn void(stmts: Vec<Stmt>, span: Span) -> Expr {
    Expr { kind: ExprKind::Block(crate::typed::Block { stmts, value: None }), ty: Type::Void, span }
}

/// The diagnostic that was just reported.
pub(crate) struct Decorate<'d>(Option<&'d mut Diagnostic>);

impl Decorate<'_> {
    fn with(self, change: impl FnOnce(&mut Diagnostic)) -> Self {
        let Self(mut diagnostic) = self;
        if let Some(d) = &mut diagnostic {
            change(d);
        }
        Self(diagnostic)
    }
    /// Adds the text under the span.
    pub(crate) fn label(self, text: impl Into<String>) -> Self {
        self.with(|d| d.label = text.into())
    }
    /// Adds another place.
    pub(crate) fn also(self, span: Span, text: impl Into<String>) -> Self {
        self.with(|d| d.labels.push((span, text.into())))
    }
    /// Adds a fact.
    pub(crate) fn note(self, text: impl Into<String>) -> Self {
        self.with(|d| d.notes.push(text.into()))
    }
    /// Adds a way out.
    pub(crate) fn help(self, text: impl Into<String>) -> Self {
        self.with(|d| d.help.push(text.into()))
    }
    /// Adds "did you mean", when there is something close.
    pub(crate) fn suggest(self, close: Option<String>) -> Self {
        match close {
            Some(name) => self.help(format!("did you mean `{name}`?")),
            None => self,
        }
    }
}

/// An expression as the text of a name, when it is a bare one.
pub(crate) fn bare_name(expr: &ast::Expr) -> Option<&str> {
    match &expr.kind {
        ast::ExprKind::Ident(name) => Some(name),
        _ => None,
    }
}
