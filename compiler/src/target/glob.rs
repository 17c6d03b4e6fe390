//! Glob patterns over probe names: `*` any run of bytes, `?` one byte, `[a-z]`, `[!a]` or `[^a]` one byte of a set.
//! Matching is linear in practice and never recursive, so that a hundred thousand names take a few milliseconds.

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    tokens: Vec<Token>,
    /// Bytes that every match starts with: rejects most names with one comparison.
    prefix: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    Any,
    Run,
    Set { negated: bool, ranges: Vec<(u8, u8)> },
}

impl Glob {
    /// Parses a pattern. A `[` without its `]` stands for itself.
    pub fn new(pattern: &str) -> Self {
        let mut tokens = Vec::new();
        let mut rest = pattern.as_bytes();
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            let token = match byte {
                b'*' => Token::Run,
                b'?' => Token::Any,
                b'[' => match set(tail) {
                    Some((set, after)) => {
                        rest = after;
                        set
                    }
                    None => Token::Byte(byte),
                },
                _ => Token::Byte(byte),
            };
            if token != Token::Run || tokens.last() != Some(&Token::Run) {
                tokens.push(token);
            }
        }
        let prefix = tokens.iter().take_while(|token| matches!(token, Token::Byte(_))).count();
        Self { tokens, prefix }
    }

    /// The one string that matches, when there are no wildcards.
    pub fn literal(&self) -> Option<String> {
        let bytes: Option<Vec<u8>> =
            self.tokens.iter().map(|token| if let Token::Byte(byte) = token { Some(*byte) } else { None }).collect();
        String::from_utf8(bytes?).ok()
    }

    /// True when every name matches.
    pub fn matches_all(&self) -> bool {
        self.tokens == [Token::Run]
    }

    /// Whether the whole name matches.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.as_bytes();
        let starts = self.tokens.iter().zip(name).take(self.prefix).all(|(token, byte)| token.matches(*byte));
        if !starts || name.len() < self.prefix {
            return false;
        }
        let (mut at, mut token) = (self.prefix, self.prefix);
        // Where to go on when a mismatch makes the last run one byte longer.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match (self.tokens.get(token), name.get(at)) {
                // Whatever follows.
                (Some(Token::Run), _) if token + 1 == self.tokens.len() => return true,
                (Some(Token::Run), _) => {
                    retry = Some((token + 1, at));
                    token += 1;
                    continue;
                }
                (Some(this), Some(&byte)) if this.matches(byte) => {
                    token += 1;
                    at += 1;
                    continue;
                }
                (None, None) => return true,
                _ => {}
            }
            let Some((after_run, start)) = retry else { return false };
            if start >= name.len() {
                return false;
            }
            retry = Some((after_run, start + 1));
            token = after_run;
            at = start + 1;
        }
    }
}

impl Token {
    fn matches(&self, byte: u8) -> bool {
        match self {
            Self::Byte(own) => *own == byte,
            Self::Any => true,
            Self::Run => false,
            Self::Set { negated, ranges } => ranges.iter().any(|&(low, high)| (low..=high).contains(&byte)) != *negated,
        }
    }
}

/// Parses what follows `[`; answers the set and what follows `]`.
fn set(text: &[u8]) -> Option<(Token, &[u8])> {
    let (negated, mut rest) = match text.split_first() {
        Some((b'!' | b'^', tail)) => (true, tail),
        _ => (false, text),
    };
    let mut ranges = Vec::new();
    loop {
        let (&low, tail) = rest.split_first()?;
        // A `]` in first place is a member.
        if low == b']' && !ranges.is_empty() {
            return Some((Token::Set { negated, ranges }, tail));
        }
        rest = tail;
        match tail {
            [b'-', high, after @ ..] if *high != b']' => {
                ranges.push((low, *high));
                rest = after;
            }
            _ => ranges.push((low, low)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_whole_names() {
        let cases = [
            ("vfs_read", "vfs_read", true),
            ("vfs_read", "vfs_readv", false),
            ("vfs_*", "vfs_read", true),
            ("vfs_*", "vfs_", true),
            ("vfs_*", "xvfs_read", false),
            ("*tcp*", "do_tcp_sendmsg", true),
            ("*tcp*", "do_udp_sendmsg", false),
            ("*_a*_b", "x_aa_b_b", true),
            ("*_a*_b", "x_aa_b_c", false),
            ("vfs_?ead", "vfs_read", true),
            ("vfs_?ead", "vfs_ead", false),
            ("[a-c]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[!a-c]x", "dx", true),
            ("[^a-c]x", "ax", false),
            ("[]]x", "]x", true),
            ("[ax", "[ax", true),
            ("[a-]", "-", true),
            ("**", "", true),
            ("", "", true),
            ("", "a", false),
            ("*", "anything", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(Glob::new(pattern).matches(name), expected, "{pattern} against {name}");
        }
    }

    #[test]
    fn a_pattern_of_many_runs_stays_fast() {
        let pattern = "*a".repeat(40) + "b";
        let name = "a".repeat(10_000);
        assert!(!Glob::new(&pattern).matches(&name));
    }

    #[test]
    fn literals_are_told_from_patterns() {
        assert_eq!(Glob::new("vfs_read").literal().as_deref(), Some("vfs_read"));
        assert_eq!(Glob::new("vfs_*").literal(), None);
        assert!(Glob::new("***").matches_all() && !Glob::new("*a").matches_all());
    }
}
