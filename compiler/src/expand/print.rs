//! The expanded script as text, for `-d expand`: what will be attached where, and with which settings. The code itself is shown by the
//! stages before and after.

use std::fmt::Write as _;

use super::ExpandedScript;
use crate::source::SourceMap;

/// The stage as text.
pub fn print(script: &ExpandedScript, sources: &SourceMap) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "config max_strlen={} max_map_keys={} perf_rb_pages={} missing_probes={:?} license={:?}",
        script.limits.max_strlen,
        script.limits.max_map_keys,
        script.config.ring_pages,
        script.config.missing_probes,
        script.config.license,
    );
    for decl in &script.map_decls {
        let _ = writeln!(out, "map @{} {}", decl.map.node, sources.text(decl.span));
    }
    for f in &script.functions {
        let _ = writeln!(out, "fn {} at {}", f.name.node, sources.position(f.span));
    }
    for (index, probe) in script.probes.iter().enumerate() {
        let _ = writeln!(out, "probe {index} at {}", sources.position(probe.span));
        for point in &probe.points {
            let _ = writeln!(out, "    {} ({:?})", point.desc.name, point.kind);
        }
        if let Some(predicate) = &probe.predicate {
            let _ = writeln!(out, "    / {} /", sources.text(predicate.span));
        }
    }
    out
}
