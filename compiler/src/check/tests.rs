//! Scripts through parsing, expansion and checking, against the pinned target: typed trees and rendered diagnostics.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use tapline_grammar::ParseOptions;
use tapline_grammar::span::FileId;

use super::{Options, check, print};
use crate::expand;
use crate::render::{Colour, render};
use crate::source::SourceMap;
use crate::target::fixture::Fixture;

/// The typed tree, or what is wrong, rendered.
fn checked(text: &str) -> String {
    checked_on(text, &Fixture::new().unwrap())
}

fn checked_on(text: &str, target: &Fixture) -> String {
    let sources = SourceMap::with_file("t.bt", text);
    let parsed = tapline_grammar::parse(FileId(0), text, &ParseOptions::default());
    assert!(parsed.errors.is_empty(), "{text}: {:?}", parsed.errors);
    let mut diagnostics = Vec::new();
    let script = expand::expand(parsed.script, &expand::Options::default(), target, &sources, &mut diagnostics);
    let mut result = check(&script, target, Options::default());
    diagnostics.append(&mut result.diagnostics);
    let mut out: String = diagnostics.iter().map(|d| render(d, &sources, Colour::Never)).collect();
    if let Some(script) = result.script {
        out += &print::print(&script);
    }
    out
}

#[test]
fn smoke() {
    let text = std::env::var("SCRIPT").unwrap_or_else(|_| "begin { printf(\"hi\\n\"); }".into());
    println!("{}", checked(&text));
}
