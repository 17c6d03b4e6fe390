//! `docs/language-status.md` is held to what it says: its cases exist, every folder of cases stands in it, and a feature that
//! scripts need is there and has a case that shows it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use tapline_tests::case;

/// A row of the table.
#[derive(Debug)]
struct Feature {
    line: usize,
    section: String,
    name: String,
    importance: String,
    status: String,
    cases: Vec<String>,
}

const STATUSES: &[&str] = &["yes", "partly", "no"];
const IMPORTANCES: &[&str] = &["core", "common", "rare"];

fn features(text: &str) -> Vec<Feature> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(title) = line.strip_prefix("## ") {
            title.clone_into(&mut section);
        }
        let Some(row) = line.strip_prefix("| ").and_then(|row| row.strip_suffix('|')) else { continue };
        let cells: Vec<&str> = row.split(" | ").map(str::trim).collect();
        let &[name, importance, _since, _kernel, status, cases] = cells.as_slice() else {
            panic!("line {}: a row has six cells: {line}", index + 1);
        };
        if name == "Feature" {
            continue;
        }
        found.push(Feature {
            line: index + 1,
            section: section.clone(),
            name: name.to_owned(),
            importance: importance.to_owned(),
            status: status.to_owned(),
            cases: cases.split_whitespace().map(|case| case.trim_matches(['`', ',']).to_owned()).collect(),
        });
    }
    found
}

#[test]
fn the_table_of_features_is_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let known: BTreeSet<String> =
        case::texts(&root.join("tests/cases")).unwrap().into_iter().map(|(name, _)| name).collect();
    let features = features(&std::fs::read_to_string(root.join("docs/language-status.md")).unwrap());
    assert!(features.len() > 150, "{} rows", features.len());
    let mut wrong = Vec::new();
    let mut covered = BTreeSet::new();
    for feature in &features {
        let mut fail = |what: &str| wrong.push(format!("line {}: {}: {what}", feature.line, feature.name));
        if !STATUSES.contains(&feature.status.split([':', ' ']).next().unwrap_or_default()) {
            fail(&format!("the status begins with one of {STATUSES:?}"));
        }
        if !IMPORTANCES.contains(&feature.importance.as_str()) {
            fail(&format!("the importance is one of {IMPORTANCES:?}"));
        }
        for case in &feature.cases {
            if !known.contains(case) {
                fail(&format!("there is no case {case}"));
            }
            covered.extend(case.rsplit_once('/').map(|(folder, _)| folder.to_owned()));
        }
        // Every feature that is there is proved; and a feature that scripts need is there, but for providers (section 2).
        if feature.status != "no" && feature.cases.is_empty() {
            fail("no case shows it");
        }
        if feature.importance != "rare" && !feature.section.starts_with("2.") && feature.status == "no" {
            fail("scripts need it, and it is not there");
        }
    }
    let folders: BTreeSet<String> = known.iter().filter_map(|case| Some(case.rsplit_once('/')?.0.to_owned())).collect();
    for folder in folders.iter().filter(|folder| !folder.starts_with("docs/") && !covered.contains(*folder)) {
        wrong.push(format!("no feature names a case of {folder}"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
