//! What a script says of itself (`SCRIPT --help`): the comment at its top, and the options that it asks for with `getopt`.

use tapline_grammar::ast::{Expr, ExprKind, Item, Script};

use super::params;
use super::walk::{self, Visitor};

/// A named option of a script.
struct Opt {
    name: String,
    /// What follows the name: `=NUMBER`, `=TEXT`, or nothing for a switch.
    value: &'static str,
    /// The default, where it says something.
    default: Option<String>,
    description: String,
}

/// The options of a script in the order in which it asks for them.
#[derive(Default)]
struct Options(Vec<Opt>);

impl Visitor for Options {
    fn expr(&mut self, e: &mut Expr) -> bool {
        if let ExprKind::Call { name, args } = &e.kind
            && name.node == "getopt"
        {
            self.add(args);
        }
        true
    }
}

impl Options {
    fn add(&mut self, args: &[Expr]) {
        let text = |e: &Expr| match &e.kind {
            ExprKind::Str(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        };
        let Some(name) = args.first().and_then(text) else { return };
        let description = args.get(2).and_then(text).unwrap_or_default();
        if let Some(known) = self.0.iter_mut().find(|o| o.name == name) {
            if known.description.is_empty() {
                known.description = description;
            }
            return;
        }
        let default = args.get(1).map(|e| params::literal_of(e).unwrap_or(ExprKind::Error));
        let value = match default {
            None | Some(ExprKind::Bool(_)) => "",
            Some(ExprKind::Str(_)) => "=TEXT",
            Some(_) => "=NUMBER",
        };
        let default = default.as_ref().filter(|_| !value.is_empty()).map(params::shown);
        let default = default.filter(|d| !d.is_empty() && d != "0");
        self.0.push(Opt { name, value, default, description });
    }

    fn lines(&self) -> String {
        let form = |o: &Opt| match o.name.chars().count() {
            1 => format!("-{}{}", o.name, o.value),
            _ => format!("--{}{}", o.name, o.value),
        };
        let width = self.0.iter().map(|o| form(o).chars().count()).max().unwrap_or(0);
        let line = |o: &Opt| {
            let default = o.default.as_ref().map(|d| format!(" (default: {d})")).unwrap_or_default();
            format!("  {:width$}  {}{default}", form(o), o.description).trim_end().to_owned() + "\n"
        };
        self.0.iter().map(line).collect()
    }
}

/// The text for a script and its source; `None` where the script has an option of the name that was asked for.
pub fn usage(script: &mut Script, source: &str, asked: &str) -> Option<String> {
    let mut options = Options::default();
    for item in &mut script.items {
        match item {
            Item::Macro(def) => walk::block(&mut options, &mut def.body),
            Item::Fn(def) => walk::block(&mut options, &mut def.body),
            Item::Probe(probe) => super::visit_probes(&mut options, std::slice::from_mut(probe)),
            Item::C(_) | Item::Config(_) | Item::Import(_) | Item::MapDecl(_) => {}
        }
    }
    if options.0.iter().any(|o| o.name == asked) {
        return None;
    }
    let mut out = first_comment(source);
    if !options.0.is_empty() {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str("Options:\n");
        out.push_str(&options.lines());
    }
    Some(if out.is_empty() { "The script has no options.\n".to_owned() } else { out })
}

/// The comment with which a script begins, without its signs; empty where there is none.
fn first_comment(source: &str) -> String {
    let mut lines = source.lines().skip_while(|line| line.starts_with("#!") || line.trim().is_empty()).peekable();
    let block = lines.peek().is_some_and(|line| line.trim_start().starts_with("/*"));
    let mut out: Vec<&str> = Vec::new();
    for line in lines {
        let line = line.trim();
        if block {
            let end = line.find("*/");
            let text = line.get(..end.unwrap_or(line.len())).unwrap_or(line);
            let text = text.trim_start_matches('/').trim_start_matches('*');
            out.push(text.strip_prefix(' ').unwrap_or(text).trim_end());
            if end.is_some() {
                break;
            }
        } else if let Some(text) = line.strip_prefix("//") {
            out.push(text.strip_prefix(' ').unwrap_or(text));
        } else {
            break;
        }
    }
    let text = out.join("\n");
    let text = text.trim_matches('\n');
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tapline_grammar::span::FileId;
    use tapline_grammar::{ParseOptions, parse};

    use super::*;

    fn of(text: &str) -> Option<String> {
        let mut parsed = parse(FileId(0), text, &ParseOptions::default());
        assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
        usage(&mut parsed.script, text, "h")
    }

    #[test]
    fn comment_and_options() {
        let text = "#!/usr/bin/env tapline
/*
 * slow: what takes long.
 *
 * Usage: slow [MS]
 */

macro limit() { getopt(\"limit\", 10, \"milliseconds\") }
begin /getopt(\"x\")/ { print(getopt(\"name\", \"\", \"of whom\")); print(limit); print(getopt(\"name\", \"\")); }
";
        let expected = "slow: what takes long.

Usage: slow [MS]

Options:
  --limit=NUMBER  milliseconds (default: 10)
  -x
  --name=TEXT     of whom
";
        assert_eq!(of(text).unwrap(), expected);
    }

    #[test]
    fn other_comments() {
        assert_eq!(of("// one\n// two\n\nbegin { }").unwrap(), "one\ntwo\n");
        assert_eq!(of("/* all */ begin { }").unwrap(), "all\n");
        assert_eq!(of("begin { } // late").unwrap(), "The script has no options.\n");
        assert_eq!(of("begin { print(getopt(\"h\")); }"), None);
        assert!(of("begin { print(getopt(\"help\")); }").is_some());
    }
}
