//! Every message is read by somebody: each code that grammar, compiler and runtime can emit stands in a reviewed snapshot, or in
//! the expected messages of a case. A new code without one fails here.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The ends of the names of functions that take a code as their first string.
const MAKERS: &[&str] = &["error(", "warning(", "note(", "new("];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            files(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

fn is_code(text: &str) -> bool {
    text.split('-').all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()))
}

/// The codes that a source file makes diagnostics with.
fn made(source: &str) -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for maker in MAKERS {
        for (at, _) in source.match_indices(maker) {
            let mut rest = source.get(at + maker.len()..).unwrap_or_default().trim_start();
            // `Diagnostic::new(Severity::Note, "code", …)`
            if let Some((first, after)) = rest.split_once(',')
                && first.contains("Severity::")
                && !first.contains('"')
            {
                rest = after.trim_start();
            }
            let Some((code, after)) = rest.strip_prefix('"').and_then(|rest| rest.split_once('"')) else { continue };
            if is_code(code) && after.starts_with(',') {
                codes.insert(code.to_owned());
            }
        }
    }
    codes
}

/// The codes of rendered messages: `error[code]`.
fn shown(text: &str) -> BTreeSet<String> {
    let rest = |at: usize| text.get(at + 1..).unwrap_or_default();
    text.match_indices('[')
        .filter(|(at, _)| {
            ["error", "warning", "note", "bug"].iter().any(|kind| text.get(..*at).is_some_and(|t| t.ends_with(kind)))
        })
        .filter_map(|(at, _)| rest(at).split_once(']').map(|(code, _)| code.to_owned()))
        .filter(|code| is_code(code))
        .collect()
}

#[test]
fn every_code_has_been_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut paths = Vec::new();
    for folder in ["grammar", "compiler", "runtime", "tests/cases", "docs"] {
        files(&root.join(folder), &mut paths);
    }
    let (mut codes, mut seen) = (BTreeMap::new(), BTreeSet::new());
    for path in &paths {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if !["rs", "snap", "bt", "md"].contains(&extension) {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        seen.extend(shown(&text));
        let inner = path.strip_prefix(&root).unwrap();
        let is_test = inner.components().any(|part| part.as_os_str() == "tests")
            || path.file_stem().is_some_and(|stem| stem == "tests");
        if extension == "rs" && !is_test {
            let code = text.split_once("\nmod tests {").map_or(text.as_str(), |(code, _)| code);
            codes.extend(made(code).into_iter().map(|code| (code, path.clone())));
        }
    }
    assert!(codes.len() > 90, "only {} codes were found", codes.len());
    let unread: Vec<_> = codes.iter().filter(|(code, _)| !seen.contains(*code)).collect();
    assert!(unread.is_empty(), "codes without a snapshot or case: {unread:#?}");
}

#[test]
fn codes_are_found() {
    assert_eq!(made("self.error(\"a-b\", x); Diagnostic::new(Severity::Note, \"c\", y); print(\"d\", z)").len(), 2);
    assert_eq!(shown("error[a-b]: x\nnote[c]: y; list[d]").len(), 2);
}
