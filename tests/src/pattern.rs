//! One expected line: literal text with placeholders.
//!
//! `{{int}}`, `{{hex}}`, `{{float}}`, `{{word}}`, `{{any}}`, `{{time}}`, `{{ }}` (one or more blanks) and `{{a|b}}` (one of
//! these texts) stand for what cannot be known beforehand; `{{int:name}}` also keeps the text under a name. Everything
//! else must be there byte for byte. Matching is by backtracking over the placeholders of one line.

use std::fmt;

/// What a placeholder accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Decimal digits with an optional minus sign.
    Int,
    /// Hexadecimal digits with an optional `0x`.
    Hex,
    /// An integer with an optional fraction.
    Float,
    /// One or more characters that are not blank.
    Word,
    /// Anything, also nothing.
    Any,
    /// `HH:MM:SS`.
    Time,
    /// One or more blanks.
    Blanks,
    /// One of these texts.
    OneOf(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(String),
    Placeholder { kind: Kind, name: Option<String> },
}

/// A compiled expected line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    source: String,
    tokens: Vec<Token>,
}

/// A placeholder that no one knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// The text between the braces.
    pub placeholder: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown placeholder {{{{{}}}}} (int, hex, float, word, any, time, a blank, or a|b)",
            self.placeholder
        )
    }
}

/// What a match kept: name and text, in the order of the line.
pub type Captures = Vec<(String, String)>;

impl Pattern {
    /// Compiles one line.
    pub fn new(source: &str) -> Result<Pattern, PatternError> {
        let mut tokens = Vec::new();
        let mut rest = source;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((inside, after)) = after.split_once("}}") else {
                break;
            };
            if !before.is_empty() {
                tokens.push(Token::Literal(before.to_owned()));
            }
            tokens.push(placeholder(inside)?);
            rest = after;
        }
        if !rest.is_empty() {
            tokens.push(Token::Literal(rest.to_owned()));
        }
        Ok(Pattern { source: source.to_owned(), tokens })
    }

    /// The line as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it holds no placeholder.
    pub fn is_literal(&self) -> bool {
        self.tokens.iter().all(|token| matches!(token, Token::Literal(_)))
    }

    /// Matches a whole line; what the named placeholders stood for.
    pub fn matches(&self, line: &str) -> Option<Captures> {
        let mut captures = Captures::new();
        matches(&self.tokens, line, &mut captures).then_some(captures)
    }
}

fn placeholder(inside: &str) -> Result<Token, PatternError> {
    if inside.contains('|') {
        let texts = inside.split('|').map(str::to_owned).collect();
        return Ok(Token::Placeholder { kind: Kind::OneOf(texts), name: None });
    }
    let (kind, name) = match inside.split_once(':') {
        Some((kind, name)) => (kind, Some(name.to_owned())),
        None => (inside, None),
    };
    let kind = match kind {
        "int" => Kind::Int,
        "hex" => Kind::Hex,
        "float" => Kind::Float,
        "word" => Kind::Word,
        "any" => Kind::Any,
        "time" => Kind::Time,
        " " => Kind::Blanks,
        _ => {
            return Err(PatternError { placeholder: inside.to_owned() });
        }
    };
    Ok(Token::Placeholder { kind, name })
}

/// The length of the longest prefix whose characters all satisfy `accept`.
fn span(text: &str, accept: impl Fn(char) -> bool) -> usize {
    text.find(|character| !accept(character)).unwrap_or(text.len())
}

impl Kind {
    /// Every length, longest first, that this placeholder could take from the start of `text`.
    fn lengths(&self, text: &str) -> Vec<usize> {
        let down_to = |shortest: usize, longest: usize| -> Vec<usize> {
            (shortest..=longest).rev().filter(|&length| text.is_char_boundary(length)).collect()
        };
        match self {
            Kind::Int => {
                let sign = usize::from(text.starts_with('-'));
                let digits = text.get(sign..).map_or(0, |rest| span(rest, |c| c.is_ascii_digit()));
                down_to(sign + 1, sign + digits)
            }
            Kind::Hex => {
                let prefix = if text.starts_with("0x") { 2 } else { 0 };
                let digits = text.get(prefix..).map_or(0, |rest| span(rest, |c| c.is_ascii_hexdigit()));
                down_to(prefix + 1, prefix + digits)
            }
            Kind::Float => {
                let length = span(text, |c| c.is_ascii_digit() || c == '.' || c == '-');
                down_to(1, length)
                    .into_iter()
                    .filter(|&length| text.get(..length).is_some_and(|t| t.parse::<f64>().is_ok()))
                    .collect()
            }
            Kind::Word => down_to(1, span(text, |c| !c.is_whitespace())),
            Kind::Blanks => down_to(1, span(text, |c| c == ' ' || c == '\t')),
            Kind::Any => down_to(0, text.len()),
            Kind::Time => {
                let is_time = text.get(..8).is_some_and(|time| {
                    time.char_indices().all(|(index, character)| {
                        if index == 2 || index == 5 { character == ':' } else { character.is_ascii_digit() }
                    })
                });
                if is_time { vec![8] } else { Vec::new() }
            }
            Kind::OneOf(texts) => {
                texts.iter().filter(|option| text.starts_with(option.as_str())).map(String::len).collect()
            }
        }
    }
}

fn matches(tokens: &[Token], text: &str, captures: &mut Captures) -> bool {
    let Some((first, rest)) = tokens.split_first() else {
        return text.is_empty();
    };
    match first {
        Token::Literal(literal) => {
            text.strip_prefix(literal.as_str()).is_some_and(|text| matches(rest, text, captures))
        }
        Token::Placeholder { kind, name } => kind.lengths(text).into_iter().any(|length| {
            let Some((taken, left)) = text.split_at_checked(length) else {
                return false;
            };
            let kept = captures.len();
            if let Some(name) = name {
                captures.push((name.clone(), taken.to_owned()));
            }
            let matched = matches(rest, left, captures);
            if !matched {
                captures.truncate(kept);
            }
            matched
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_take_what_they_name() {
        let accepts = |pattern: &str, line: &str| Pattern::new(pattern).unwrap().matches(line).is_some();
        assert!(accepts("@x[{{int}}]: {{int}}", "@x[-12]: 7"));
        assert!(!accepts("@x[{{int}}]: {{int}}", "@x[]: 7"));
        assert!(accepts("{{hex}} {{hex}}", "0xffff81 ab"));
        assert!(!accepts("{{hex}}", "0xg"));
        assert!(accepts("{{float}} ms", "1.25 ms"));
        assert!(accepts("{{time}} up", "23:59:01 up"));
        assert!(!accepts("{{time}} up", "23-59-01 up"));
        assert!(accepts("a{{ }}b", "a \t b"));
        assert!(accepts("{{READ|WRITE}} x", "WRITE x"));
        assert!(accepts("{{any}}x{{any}}", "aaxbb"));
        assert!(!accepts("plain", "plain "));
    }

    #[test]
    fn names_keep_the_text_and_backtracking_drops_it() {
        let pattern = Pattern::new("{{any:head}}={{int:value}}").unwrap();
        assert_eq!(
            pattern.matches("a=b=42").unwrap(),
            vec![("head".to_owned(), "a=b".to_owned()), ("value".to_owned(), "42".to_owned())]
        );
    }

    #[test]
    fn an_unknown_placeholder_is_refused() {
        assert_eq!(Pattern::new("{{integer}}").unwrap_err().placeholder, "integer");
    }
}
