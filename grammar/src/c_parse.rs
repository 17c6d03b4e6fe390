//! C declarations.

/// Whether a word at the top level starts a C declaration.
pub(crate) fn starts_declaration(word: &str, _after: &str) -> bool {
    matches!(word, "struct" | "union" | "enum" | "typedef")
}
