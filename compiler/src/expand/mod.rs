//! From the tree as written to the tree as meant: imports, macros, positional and named parameters and the config block are
//! resolved; probe lists and wildcards have become concrete attach points.

use tapline_grammar::ast;
use tapline_grammar::c_ast::CItem;
use tapline_grammar::span::Span;

use crate::probes::Provider;
use crate::program::{Config, ProbeDesc, ProgramKind};
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
    /// From the config block, the environment and the command line.
    pub config: Config,
    /// From the same.
    pub limits: Limits,
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
        /// The function, for argument types from BTF.
        function: String,
    },
    /// `struct pt_regs` at the return of a kernel function.
    KernelReturn {
        /// The function.
        function: String,
    },
    /// `struct pt_regs` at the entry of a user function.
    UserEntry,
    /// `struct pt_regs` at the return of a user function.
    UserReturn,
    /// The record that the event's format file describes.
    Tracepoint {
        /// Category.
        category: String,
        /// Event.
        event: String,
    },
    /// `u64` arguments.
    RawTracepoint {
        /// Event.
        event: String,
    },
    /// `struct bpf_perf_event_data`: registers first.
    PerfEvent,
}
