//! The tables of the manual come from the tables of the compiler and of the command line. A table that is out of date fails
//! here; `TAPLINE_DOCS=write cargo test -p tapline-tests --test manual` writes them anew.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tapline::cli::args;
use tapline_compiler::builtins::{Kind, ROWS};
use tapline_compiler::expand::config;
use tapline_compiler::probes::{Access, PROVIDERS};

/// Where a table lies: page, its name between the markers, its lines.
type Table = (&'static str, &'static str, fn() -> String);

const TABLES: &[Table] = &[
    ("builtins.md", "builtins", || rows(Kind::Builtin)),
    ("builtins.md", "functions", || rows(Kind::Function)),
    ("builtins.md", "aggregations", || rows(Kind::Aggregation)),
    ("probes.md", "probes", probes),
    ("language.md", "config", variables),
    ("command-line.md", "options", options),
];

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// Text for a cell: a bar would end it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut out = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|text| cell(text)).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    out
}

fn rows(kind: Kind) -> String {
    let row = |row: &tapline_compiler::builtins::Row| {
        let note = if row.unsafe_ { "; only with `--unsafe`" } else { "" };
        vec![format!("`{}`", row.usage), format!("{}{note}", row.docs)]
    };
    table(&["Use", "Meaning"], ROWS.iter().filter(|row| row.kind == kind).map(row))
}

/// What a probe's action can ask about its event.
const ACCESS: &[(Access, &str)] = &[
    (Access::ArgN, "`argN`"),
    (Access::Args, "`args`"),
    (Access::Retval, "`retval`"),
    (Access::Func, "`func`"),
    (Access::Register, "`reg()`"),
];

fn probes() -> String {
    let row = |p: &tapline_compiler::probes::Provider| {
        let names: Vec<String> = std::iter::once(&p.name).chain(p.aliases).map(|name| format!("`{name}`")).collect();
        let offers: Vec<&str> = ACCESS.iter().filter(|(a, _)| p.access.contains(a)).map(|(_, name)| *name).collect();
        let forms: Vec<String> = p.form.split(", ").map(|form| format!("`{form}`")).collect();
        vec![names.join(", "), forms.join(", "), p.docs.to_owned(), offers.join(", ")]
    };
    table(&["Probe", "Form", "Its action runs", "It offers"], PROVIDERS.iter().map(row))
}

fn variables() -> String {
    let row = |v: config::Variable| {
        let default = if v.default.is_empty() { String::new() } else { format!("`{}`", v.default) };
        vec![format!("`{}`", v.name), v.values, default, v.docs]
    };
    table(&["Variable", "Values", "Default", "Meaning"], config::reference().into_iter().map(row))
}

fn options() -> String {
    table(&["Option", "Meaning"], args::reference().into_iter().map(|(option, help)| vec![format!("`{option}`"), help]))
}

/// The page with a table in place of what stands between its markers.
fn with_table(page: &str, name: &str, table: &str) -> Option<String> {
    let (open, close) = (format!("<!-- table: {name} -->\n"), format!("<!-- end: {name} -->\n"));
    let (before, rest) = page.split_once(&open)?;
    let (_, after) = rest.split_once(&close)?;
    Some(format!("{before}{open}{table}{close}{after}"))
}

#[test]
fn tables_are_up_to_date() {
    let write = std::env::var_os("TAPLINE_DOCS").is_some_and(|value| value == "write");
    let mut stale = Vec::new();
    for (page, name, make) in TABLES {
        let path = docs().join(page);
        let text = std::fs::read_to_string(&path).unwrap();
        let wanted = with_table(&text, name, &make()).unwrap_or_else(|| panic!("{page} has no markers for `{name}`"));
        if wanted != text {
            stale.push(format!("{page}: {name}"));
            if write {
                // In one step: the other test reads the pages at the same time.
                let beside = path.with_extension("new");
                std::fs::write(&beside, wanted).unwrap();
                std::fs::rename(&beside, &path).unwrap();
            }
        }
    }
    assert!(write || stale.is_empty(), "out of date: {stale:?}; TAPLINE_DOCS=write brings them up to date");
}

/// Every builtin, function and aggregation is seen at work: in an example of the manual or in a case.
#[test]
fn every_row_has_an_example() {
    let texts = tapline_tests::case::texts(&docs().join("../tests/cases")).unwrap();
    let text: Vec<String> =
        texts.into_iter().map(|(name, text)| text.unwrap_or_else(|e| panic!("{name}: {e}"))).collect();
    let text = text.join("\n");
    let words: std::collections::BTreeSet<&str> =
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let without: Vec<&str> = ROWS.iter().map(|row| row.name).filter(|name| !words.contains(name)).collect();
    assert!(without.is_empty(), "without an example: {without:?}");
}
