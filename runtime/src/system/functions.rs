//! The kernel functions that can be traced, with their modules. Sources in order: a file named by the user or tracefs's
//! `available_filter_functions`; where there is none, the functions of the symbol table.

use std::ops::Range;

use tapline_compiler::probes::fentry::KERNEL;
use tapline_compiler::target::{Glob, TargetError};

use crate::symbols::kallsyms::KernelSymbols;

/// Where tracefs lists them.
pub const LIST: &str = "available_filter_functions";

/// Functions, in the form of `available_filter_functions`: one per line, `function` or `function [module]`.
#[derive(Debug)]
pub struct Functions {
    text: String,
    /// Lines that follow each other and belong to one module: what concerns one module need not look at all the others.
    runs: Vec<Run>,
}

/// Some lines of one module.
#[derive(Debug)]
struct Run {
    lines: Range<usize>,
    /// Where the module's name lies; `None` for the kernel itself.
    module: Option<Range<usize>>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Function<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its module; `None` for the kernel itself.
    pub module: Option<&'a str>,
}

impl Function<'_> {
    /// The module's name, `vmlinux` for the kernel itself.
    pub fn module_name(&self) -> &str {
        self.module.unwrap_or(KERNEL)
    }
}

impl Functions {
    /// From the text of `available_filter_functions`.
    pub fn from_text(text: String) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let end = start + line.len();
            let name = line.trim_end().strip_suffix(']').and_then(|line| {
                let (function, module) = line.rsplit_once('[')?;
                let from = start + function.len() + 1;
                Some(from..from + module.len())
            });
            let of = |module: &Option<Range<usize>>| module.clone().and_then(|module| text.get(module));
            match runs.last_mut() {
                Some(last) if of(&last.module) == of(&name) => last.lines.end = end,
                _ => runs.push(Run { lines: start..end, module: name }),
            }
            start = end;
        }
        Self { text, runs }
    }

    /// From the symbol table.
    pub fn from_symbols(symbols: &KernelSymbols) -> Self {
        let mut text = String::new();
        for symbol in symbols.iter().filter(|symbol| symbol.code && !is_scaffold(symbol.name)) {
            text.push_str(symbol.name);
            if let Some(module) = symbol.module {
                text.push_str(" [");
                text.push_str(module);
                text.push(']');
            }
            text.push('\n');
        }
        Self::from_text(text)
    }

    /// All functions in the order of the source; a name can come more than once.
    pub fn iter(&self) -> impl Iterator<Item = Function<'_>> {
        self.of_modules(|_| true)
    }

    /// The functions of those modules that are wanted; the kernel is called `vmlinux`.
    fn of_modules(&self, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = Function<'_>> {
        let text = |range: &Range<usize>| self.text.get(range.clone()).unwrap_or_default();
        let runs = self.runs.iter().map(move |run| (text(&run.lines), run.module.as_ref().map(text)));
        runs.filter(move |(_, module)| wanted(module.unwrap_or(KERNEL))).flat_map(|(lines, module)| {
            let names = lines.lines().map(|line| line.split_once(' ').map_or(line, |(name, _)| name));
            // ftrace's placeholder for a function that was freed or is weak.
            let real = names.filter(|name| !name.is_empty() && !name.starts_with("__ftrace_invalid_address__"));
            real.map(move |name| Function { name, module })
        })
    }

    /// Matching functions, sorted by name. A pattern `module:function` looks at one module only, or at those that match.
    pub fn matching(&self, pattern: &str) -> Vec<Function<'_>> {
        let (module, function) = pattern.split_once(':').unwrap_or(("*", pattern));
        let (module, function) = (Glob::new(module), Glob::new(function));
        let of_modules = self.of_modules(|name| module.matches(name));
        let mut found: Vec<Function<'_>> = of_modules.filter(|it| function.matches(it.name)).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Whether a function of exactly that name exists.
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|it| it.name == name)
    }
}

/// Symbols that compiler and kernel put between the functions: padding, control-flow checks, static calls.
fn is_scaffold(name: &str) -> bool {
    ["__pfx_", "__cfi_", "__SCT__", "__SCK__"].iter().any(|prefix| name.starts_with(prefix))
}

/// Names that the kernel refuses kprobes on; none where it does not show them.
pub fn blocked() -> Vec<String> {
    parse_blocklist(&std::fs::read_to_string("/sys/kernel/debug/kprobes/blacklist").unwrap_or_default())
}

/// From the text of debugfs's `kprobes/blacklist`: `0xfrom-0xto\tname`.
fn parse_blocklist(text: &str) -> Vec<String> {
    let mut names: Vec<String> =
        text.lines().filter_map(|line| Some(line.split_once('\t')?.1.trim().to_owned())).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Why there is no list.
pub(super) fn no_list(error: &TargetError) -> TargetError {
    match error {
        TargetError::NotFound => TargetError::NoTracefs(format!("{LIST} is missing")),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LIST: &str = "vfs_read\ntcp_close\ntcp_v4_connect\n__ftrace_invalid_address___64\nnft_init [nf_tables]\ntcp_close\n\nxfs_read [xfs]\n";

    fn names<'a>(list: &'a Functions, pattern: &str) -> Vec<&'a str> {
        list.matching(pattern).iter().map(|it| it.name).collect()
    }

    #[test]
    fn patterns_select_sorted_names() {
        let list = Functions::from_text(LIST.into());
        assert_eq!(names(&list, "tcp_*"), ["tcp_close", "tcp_v4_connect"]);
        assert_eq!(names(&list, "*"), ["nft_init", "tcp_close", "tcp_v4_connect", "vfs_read", "xfs_read"]);
        assert_eq!(names(&list, "xfs:*"), ["xfs_read"]);
        assert_eq!(names(&list, "vmlinux:*_read"), ["vfs_read"]);
        assert_eq!(names(&list, "nope"), [""; 0]);
        assert!(list.contains("xfs_read") && !list.contains("xfs_rea"));
        assert_eq!(list.matching("nft_*"), [Function { name: "nft_init", module: Some("nf_tables") }]);
        assert_eq!(names(&list, "*f*:*"), ["nft_init", "xfs_read"]);
    }

    #[test]
    fn a_module_may_lie_in_several_places() {
        let list = Functions::from_text("a [m]\nb [m]\nc\nd [n]\ne [m]".into());
        assert_eq!(list.runs.len(), 4);
        assert_eq!(names(&list, "m:*"), ["a", "b", "e"]);
        assert_eq!(names(&list, "vmlinux:*"), ["c"]);
        assert_eq!(list.iter().count(), 5);
    }

    #[test]
    fn the_symbol_table_serves_as_a_list() {
        let symbols = KernelSymbols::read("ff T a\nfe d data\nfd t b\t[mod]\nfc t __pfx_a\n".as_bytes()).unwrap();
        let list = Functions::from_symbols(&symbols);
        assert_eq!(names(&list, "*"), ["a", "b"]);
        assert_eq!(names(&list, "mod:*"), ["b"]);
    }

    #[test]
    fn the_blocklist_has_names() {
        let text =
            "0xffffffff81000000-0xffffffff81000010\tasm_exc_int3\n0xffffffff81000020-0xffffffff81000030\tdo_int3\n";
        assert_eq!(parse_blocklist(text), ["asm_exc_int3", "do_int3"]);
    }
}
