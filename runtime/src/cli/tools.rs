//! The tools of the script library, embedded in the binary.

/// A script that is started by its name.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// The script.
    pub text: &'static str,
}

/// All tools, by name.
pub const TOOLS: &[Tool] = include!(concat!(env!("OUT_DIR"), "/tools.rs"));

/// The tool of a name.
pub fn find(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|t| t.name == name)
}

impl Tool {
    /// What it is for, from the `name: text` line of its first comment.
    pub fn summary(&self) -> &'static str {
        let prefix =
            |line: &'static str| line.trim_start_matches([' ', '*', '/']).strip_prefix(self.name)?.strip_prefix(':');
        self.text.lines().take(20).find_map(prefix).map_or("", str::trim)
    }
}

/// The list that `tapline tools` prints.
pub fn listing() -> String {
    let width = TOOLS.iter().map(|t| t.name.len()).max().unwrap_or(0);
    let lines: Vec<String> = TOOLS.iter().map(|t| format!("{:width$}  {}\n", t.name, t.summary())).collect();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_says_what_it_is_for() {
        assert!(find("execsnoop").is_some());
        for tool in TOOLS {
            assert!(!tool.summary().is_empty(), "{}", tool.name);
        }
        assert!(find("nosuch").is_none());
    }
}
