//! The kernel functions that can be traced, with their modules. Sources in order: a file named by the user or tracefs's
//! `available_filter_functions`; where there is none, the functions of the symbol table.

use tapline_compiler::target::{Glob, TargetError};

use crate::symbols::kallsyms::KernelSymbols;

/// Functions, in the form of `available_filter_functions`: one per line, `function` or `function [module]`.
#[derive(Debug)]
pub struct Functions {
    text: String,
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
        self.module.unwrap_or("vmlinux")
    }
}

impl Functions {
    /// From the text of `available_filter_functions`.
    pub fn from_text(text: String) -> Self {
        Self { text }
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
        Self { text }
    }

    /// All functions in the order of the source; a name can come more than once.
    pub fn iter(&self) -> impl Iterator<Item = Function<'_>> {
        self.text.lines().filter_map(|line| {
            let (name, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            // ftrace's placeholder for a function that was freed or is weak.
            if name.is_empty() || name.starts_with("__ftrace_invalid_address__") {
                return None;
            }
            Some(Function { name, module: rest.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) })
        })
    }

    /// Matching functions, sorted by name. A pattern `module:function` looks at one module only, or at those that match.
    pub fn matching(&self, pattern: &str) -> Vec<Function<'_>> {
        let (module, function) = match pattern.split_once(':') {
            Some((module, function)) => (Some(Glob::new(module)), Glob::new(function)),
            None => (None, Glob::new(pattern)),
        };
        let mut found: Vec<Function<'_>> = self
            .iter()
            .filter(|it| module.as_ref().is_none_or(|glob| glob.matches(it.module_name())) && function.matches(it.name))
            .collect();
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

/// Names that the kernel refuses kprobes on, from the text of debugfs's `kprobes/blacklist`: `0xfrom-0xto\tname`.
pub fn parse_blocklist(text: &str) -> Vec<String> {
    let mut names: Vec<String> =
        text.lines().filter_map(|line| Some(line.split_once('\t')?.1.trim().to_owned())).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Why there is no list.
pub(super) fn no_list(error: &TargetError) -> TargetError {
    match error {
        TargetError::NotFound => TargetError::NoTracefs("available_filter_functions is missing".into()),
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
