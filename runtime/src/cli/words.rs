//! Command lines taken apart as a shell does: blanks separate, quotes and backslashes protect. Nothing is expanded.

/// The words, or `None` when a quote is not closed.
pub fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => match chars.next()? {
                            c @ ('"' | '\\' | '$' | '`') => word.push(c),
                            c => {
                                word.push('\\');
                                word.push(c);
                            }
                        },
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next()?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words() {
        let of = |line| split(line).unwrap_or_default();
        assert_eq!(of("ls -l  /tmp"), ["ls", "-l", "/tmp"]);
        assert_eq!(of("sh -c 'a b' \"c \\\" d\" e\\ f ''"), ["sh", "-c", "a b", "c \" d", "e f", ""]);
        assert!(of("  ").is_empty());
        assert_eq!(split("a 'b"), None);
    }
}
