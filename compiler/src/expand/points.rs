//! Attach points: parameters substituted, resolved by their provider, wildcards counted against `max_probes`, missing ones
//! treated as `missing_probes` says.

use std::collections::HashSet;

use tapline_grammar::ast;
use tapline_grammar::span::{Span, Spanned};

use super::config::Settings;
use super::{AttachPoint, Options, params};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::probes::{self, Concrete, ProbeError};
use crate::program::{MissingProbes, ProbeDesc};
use crate::target::Target;

/// Resolves the attach points of one script.
pub(super) struct Resolver<'a> {
    pub(super) target: &'a dyn Target,
    pub(super) settings: &'a Settings,
    pub(super) options: &'a Options,
    /// Attach points so far.
    pub(super) count: u64,
    /// The limit was passed, and said so.
    pub(super) over: bool,
}

/// What became of an attach point.
enum Outcome {
    Points(Vec<AttachPoint>),
    /// It does not exist here; its parts, with the parameters in place.
    Missing(Vec<Spanned<String>>, Span),
    /// It is wrong, and that was said.
    Wrong,
}

impl Resolver<'_> {
    /// The concrete points of all attach points of a probe, each once; of alternatives the first that exists. A wildcard without a match
    /// counts as missing only if the probe has no other point.
    pub(super) fn resolve_all(
        &mut self,
        written: &[ast::AttachPoint],
        params: &mut params::Substitute<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Vec<AttachPoint> {
        let mut points = Vec::new();
        let mut seen = HashSet::new();
        let (mut absent, mut unmatched) = (Vec::new(), Vec::new());
        let mut wrong = false;
        for choice in written.chunk_by(|_, next| next.alternative) {
            let mut missing = Vec::new();
            let mut found = false;
            for one in choice {
                match self.resolve(one, params, diagnostics) {
                    Outcome::Points(of_one) => {
                        // What is named twice happens once. Of two attach points with one name the cookie could tell neither.
                        points.extend(of_one.into_iter().filter(|point| seen.insert(point.desc.name.clone())));
                        found = true;
                        break;
                    }
                    Outcome::Missing(parts, span) => missing.push((parts, span)),
                    Outcome::Wrong => wrong = true,
                }
            }
            if found {
                continue;
            }
            match choice {
                [only] if only.parts.iter().any(|part| probes::has_wildcard(&part.node)) => unmatched.extend(missing),
                _ => absent.extend(missing),
            }
        }
        let left_out = points.is_empty() && !wrong;
        if left_out {
            absent.extend(unmatched);
        }
        self.report_missing(absent, left_out, diagnostics);
        points
    }

    /// Says what the policy wants said of points that do not exist. A probe that has no others is left out.
    fn report_missing(
        &self,
        mut missing: Vec<(Vec<Spanned<String>>, Span)>,
        left_out: bool,
        diagnostics: &mut Diagnostics,
    ) {
        let policy = self.settings.config.missing_probes;
        if policy == MissingProbes::Ignore {
            return;
        }
        missing.sort_by_key(|&(_, span)| span.start);
        let mut remaining = missing.len();
        for (parts, span) in missing {
            remaining -= 1;
            let Err(ProbeError::Missing(mut d)) =
                probes::resolve(&parts, span, (self.target, self.options), diagnostics, true)
            else {
                continue;
            };
            if policy == MissingProbes::Warn {
                d.severity = Severity::Warning;
                let last = left_out && remaining == 0;
                diagnostics.push(if last { d.note("the probe has no other attach point and is left out") } else { *d });
            } else {
                diagnostics.push(d.help("to go on without missing probes, set `missing_probes = \"warn\"` in a config block, or BPFTRACE_MISSING_PROBES=warn"));
            }
        }
    }

    fn resolve(
        &mut self,
        written: &ast::AttachPoint,
        params: &mut params::Substitute<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Outcome {
        let span = written.span;
        let mut parts: Vec<Spanned<String>> = Vec::with_capacity(written.parts.len());
        for part in &written.parts {
            if part.node.contains('$') {
                // A parameter may bring several parts: `kprobe:$1` with `module:function`.
                let text = params.in_attach_point(&part.node, part.span);
                parts.extend(params::split_parts(&text, part.span));
            } else {
                parts.push(part.clone());
            }
        }
        let mut resolved = probes::resolve(&parts, span, (self.target, self.options), diagnostics, false);
        // Where missing probes are no errors, scripts name all that a function was ever called.
        if matches!(resolved, Ok(_) | Err(ProbeError::Missing(_)))
            && self.settings.config.missing_probes == MissingProbes::Error
            && let Some(renamed) = probes::successor(&parts, self.target)
        {
            resolved = probes::resolve(&renamed, span, (self.target, self.options), diagnostics, false);
            if resolved.is_ok() {
                diagnostics.push(renamed_probe(&parts, &renamed, span));
            }
        }
        match resolved {
            Ok((provider, points)) => {
                self.count = self.count.saturating_add(points.len() as u64);
                if self.count > self.settings.max_probes {
                    if !self.over {
                        self.over = true;
                        diagnostics.push(self.too_many(written, points.len()));
                    }
                    return Outcome::Wrong;
                }
                let matched = parts.iter().any(|part| probes::has_wildcard(&part.node));
                let make = |Concrete { name, attach, kind, context }| AttachPoint {
                    provider,
                    desc: ProbeDesc { name, attach, cookie: 0, matched, span: Some(span) },
                    kind,
                    context,
                    span,
                };
                Outcome::Points(points.into_iter().map(make).collect())
            }
            Err(ProbeError::Invalid(d)) => {
                diagnostics.push(*d);
                Outcome::Wrong
            }
            Err(ProbeError::Missing(_)) => Outcome::Missing(parts, span),
        }
    }

    fn too_many(&self, written: &ast::AttachPoint, matched: usize) -> Diagnostic {
        let (limit, count) = (self.settings.max_probes, self.count);
        let message = format!("too many probes: {count}, the limit is {limit}");
        let label = if matched == 1 { "this one is too much".into() } else { format!("{matched} probes match this") };
        Diagnostic::error("too-many-probes", message, written.span)
            .label(label)
            .note("many probes make start and end slow, and every hit costs time")
            .help(format!("make the wildcard narrower, or raise the limit: BPFTRACE_MAX_PROBES={count}, or `max_probes = {count}` in a config block"))
    }
}

/// A later kernel's name is used.
fn renamed_probe(parts: &[Spanned<String>], renamed: &[Spanned<String>], span: Span) -> Diagnostic {
    let text = |parts: &[Spanned<String>]| parts.iter().map(|part| part.node.as_str()).collect::<Vec<_>>().join(":");
    let message = format!("`{}` is `{}` in this kernel", text(parts), text(renamed));
    Diagnostic::new(Severity::Note, "renamed-probe", message, span)
}
