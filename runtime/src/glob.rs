//! Shell patterns: `*`, `?` and `[…]`, matched without recursion.

/// True when the whole of `text` matches.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on after a mismatch: behind the last star, with one byte more given to it.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => text.get(t).and_then(|&c| class(pattern.get(p..).unwrap_or_default(), c)),
            Some(c) => (text.get(t) == Some(c)).then_some(1),
            None => None,
        };
        match (step, retry) {
            (Some(width), _) => {
                p += width;
                t += 1;
            }
            (None, Some((after_star, start))) => {
                retry = Some((after_star, start + 1));
                p = after_star;
                t = start + 1;
            }
            (None, None) => return false,
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|&c| c == b'*')
}

/// Bytes that a class at the start of the pattern takes, when it contains `c`; an unclosed class is a literal bracket.
fn class(pattern: &[u8], c: u8) -> Option<usize> {
    let Some(close) = pattern.iter().skip(2).position(|&b| b == b']').map(|i| i + 2) else {
        return (c == b'[').then_some(1);
    };
    let body = pattern.get(1..close).unwrap_or_default();
    let (negated, mut body) = match body.split_first() {
        Some((b'!' | b'^', rest)) => (true, rest),
        _ => (false, body),
    };
    let mut found = false;
    while let Some((&first, rest)) = body.split_first() {
        match rest {
            [b'-', last, tail @ ..] => {
                found |= (first..=*last).contains(&c);
                body = tail;
            }
            _ => {
                found |= first == c;
                body = rest;
            }
        }
    }
    (found != negated).then_some(close + 1)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("vfs_*", "vfs_read", true),
            ("*tcp*", "__tcp_connect", true),
            ("*a*b", "xaybzb", true),
            ("*a*b", "xaybz", false),
            ("?fs", "vfs", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[", "[", true),
            ("abc", "abcd", false),
            ("abc*", "abc", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
