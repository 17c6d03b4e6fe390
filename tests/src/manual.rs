//! The examples of the documentation as cases: what a reader is told is what the runner sees.
//!
//! A page of `docs/` with at least one block ```` ```tapline NAME ```` is a page of the manual. The block is the script of the
//! case `docs/PAGE/NAME`. A comment `<!-- @key: value … -->` before it holds settings in the language of the case header, and
//! the blocks `output` and `messages` behind it what comes on standard output and standard error, each with a mode
//! (`output unordered`). Empty lines at both ends of an output count for nothing, so that a map reads well on a page.
//! On such a page every block is one of these, or says `c`, `sh` or `text`: nothing looks like an example and is none.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A script with the header of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// `docs/PAGE/NAME`.
    pub name: String,
    /// The text of a case file.
    pub text: String,
}

/// Blocks that are no examples.
const PLAIN: &[&str] = &["c", "sh", "text"];

/// The pages, sorted.
pub fn pages(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut pages: Vec<_> =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    pages.sort();
    pages
}

/// What was collected of the example that is being read.
#[derive(Default)]
struct Draft {
    name: String,
    header: String,
    script: String,
}

impl Draft {
    fn finish(self, page: &str) -> Option<Example> {
        let Draft { name, header, script } = self;
        (!name.is_empty()).then(|| Example { name: format!("docs/{page}/{name}"), text: format!("{header}\n{script}") })
    }
}

/// The examples of a page; the error has its line.
pub fn examples(page: &str, text: &str) -> Result<Vec<Example>, String> {
    let mut examples: Vec<Example> = Vec::new();
    let mut draft = Draft::default();
    let mut settings = String::new();
    let mut others: Vec<usize> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let fail = |what: &str| format!("{page}.md:{}: {what}", index + 1);
        if let Some(comment) =
            line.strip_prefix("<!--").filter(|rest| rest.trim_start().starts_with('@') || rest.is_empty())
        {
            let mut rest = comment.to_owned();
            while !rest.contains("-->") {
                let (_, more) = lines.next().ok_or_else(|| fail("this comment is never closed"))?;
                rest = format!("{rest}\n{more}");
            }
            for setting in rest.replace("-->", "").lines().map(str::trim).filter(|setting| !setting.is_empty()) {
                // The lines of a file stand behind a bar.
                let blank = if setting.starts_with('|') { "" } else { " " };
                let _ = writeln!(settings, "//{blank}{setting}");
            }
            continue;
        }
        let Some(info) = line.strip_prefix("```") else { continue };
        let mut block = Vec::new();
        loop {
            match lines.next() {
                Some((_, "```")) => break,
                Some((_, line)) => block.push(line),
                None => return Err(fail("this block is never closed")),
            }
        }
        let (kind, rest) = info.split_once(' ').unwrap_or((info, ""));
        match kind {
            "tapline" => {
                if rest.is_empty() {
                    return Err(fail("an example needs a name: ```tapline NAME"));
                }
                examples.extend(std::mem::take(&mut draft).finish(page));
                if examples.iter().any(|other| other.name == format!("docs/{page}/{rest}")) {
                    return Err(fail(&format!("there are two examples `{rest}`")));
                }
                draft = Draft {
                    name: rest.to_owned(),
                    header: std::mem::take(&mut settings),
                    script: block.join("\n") + "\n",
                };
            }
            "output" | "messages" => {
                if draft.name.is_empty() {
                    return Err(fail("there is no example before this output"));
                }
                let (stream, mode) = match (kind, rest) {
                    ("output", mode) => ("stdout", mode),
                    // Messages are shown without what surrounds them.
                    (_, "") => ("stderr", "contains"),
                    (_, mode) => ("stderr", mode),
                };
                let exact = stream == "stdout" && rest.is_empty();
                let key = format!("{stream} {mode}");
                let _ = writeln!(draft.header, "// @{}:", key.trim_end());
                if exact {
                    draft.header.push_str("//*|\n");
                }
                for line in block {
                    let _ = writeln!(draft.header, "//| {line}");
                }
                if exact {
                    draft.header.push_str("//*|\n");
                }
            }
            _ if PLAIN.contains(&info) => {}
            _ => others.push(index + 1),
        }
    }
    examples.extend(draft.finish(page));
    if !settings.is_empty() {
        return Err(format!("{page}.md: settings without an example after them: {}", settings.trim_end()));
    }
    match others.first() {
        Some(line) if !examples.is_empty() => Err(format!(
            "{page}.md:{line}: a block of the manual says what it is: `tapline NAME`, `output`, `messages`, {}",
            PLAIN.join(", ")
        )),
        _ => Ok(examples),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::case;

    #[test]
    fn a_block_with_its_output_is_a_case() {
        let page = "# Page\n\nProse.\n\n<!-- @args: 5 -->\n```tapline sum\nBEGIN { print($1); }\n```\nprints\n```output\n5\n```\n\
                    ```sh\nls\n```\n\
                    ```tapline wrong\nBEGIN { pritn(1) }\n```\n```messages\nno\n```\n";
        let found = examples("language", page).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].name, "docs/language/sum");
        let case = case::parse(&found[0].name, &found[0].text).unwrap();
        assert_eq!(case.body, "\nBEGIN { print($1); }\n");
        assert_eq!(case.runs[0].args, ["5"]);
        assert_eq!(case.runs[0].stdout[0].lines.len(), 3);
        assert!(found[1].text.contains("// @stderr contains:\n//| no\n"));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let wrong = |page: &str| examples("p", page).unwrap_err();
        assert!(wrong("```tapline\nx\n```\n").contains("needs a name"));
        assert!(wrong("```output\nx\n```\n").contains("no example"));
        assert!(wrong("```tapline a\nx\n").contains("never closed"));
        assert!(wrong("```tapline a\nx\n```\n```\ny\n```\n").contains("p.md:4"));
        assert!(wrong("```tapline a\nx\n```\n```tapline a\ny\n```\n").contains("two examples"));
        assert!(wrong("<!-- @args: 5 -->\n").contains("without an example"));
        assert!(examples("p", "```\nfree\n```\n").unwrap().is_empty());
    }
}
