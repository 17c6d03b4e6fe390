//! Every script of the table parses, and formatting keeps its meaning.
#![allow(missing_docs, clippy::unwrap_used)]

mod scripts;

use std::fmt::Write;

use scripts::ACCEPTED;
use tapline_grammar::{ParseOptions, format, parse, span::FileId};

#[test]
fn the_table_is_large() {
    assert!(ACCEPTED.len() >= 120, "{} scripts", ACCEPTED.len());
}

#[test]
fn all_parse() {
    let mut failed = String::new();
    for text in ACCEPTED {
        for error in parse(FileId(0), text, &ParseOptions::default()).errors {
            let at = text.get(error.span.start as usize..).unwrap_or_default();
            writeln!(failed, "{text}\n  {} at `{}`", error.message, at.chars().take(20).collect::<String>()).unwrap();
        }
    }
    assert!(failed.is_empty(), "{failed}");
}

/// The tree without spans, as text.
fn tree(text: &str) -> String {
    let parsed = parse(FileId(0), text, &ParseOptions::default());
    assert!(parsed.errors.is_empty(), "{text}\n{:?}", parsed.errors);
    parsed.script.to_string()
}

#[test]
fn formatting_keeps_the_tree() {
    for text in ACCEPTED {
        let formatted = format(text).unwrap();
        assert_eq!(tree(text), tree(&formatted), "{text}\n{formatted}");
    }
}

#[test]
fn formatting_twice_changes_nothing() {
    for text in ACCEPTED {
        let once = format(text).unwrap();
        let twice = format(&once).unwrap();
        assert_eq!(once, twice, "{text}");
    }
}

/// Comments of a text, in order, whatever is around them.
fn comments(text: &str) -> Vec<String> {
    text.split('\n').filter_map(|line| line.split_once("// ").map(|(_, comment)| comment.trim().to_owned())).collect()
}

#[test]
fn formatting_keeps_line_comments() {
    for text in ACCEPTED {
        assert_eq!(comments(text), comments(&format(text).unwrap()), "{text}");
    }
}
