//! Names close to a misspelt one, for "did you mean".

/// The candidate with the fewest typing mistakes (letters added, left out, changed or swapped), when there are few enough for the length
/// of the name: about one per three letters. Of several equally close ones the first.
pub fn closest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let limit = match name.chars().count() {
        // Every other single letter would be as close.
        0 | 1 => return None,
        length => length.div_ceil(3).min(4),
    };
    candidates
        .into_iter()
        .filter(|c| *c != name)
        .filter_map(|c| Some((distance(name, c, limit)?, c)))
        .min_by_key(|&(d, _)| d)
        .map(|(_, c)| c)
}

/// Edit distance with swaps of neighbours (optimal string alignment), without regard to case; `None` above the limit.
pub fn distance(a: &str, b: &str, limit: usize) -> Option<usize> {
    let a: Vec<char> = a.chars().map(|c| c.to_ascii_lowercase()).collect();
    let b: Vec<char> = b.chars().map(|c| c.to_ascii_lowercase()).collect();
    if a.len().abs_diff(b.len()) > limit {
        return None;
    }
    // Three rows of the table are enough: a swap looks two rows back.
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let at = |row: &[usize], i: usize| row.get(i).copied().unwrap_or(usize::MAX / 2);
    let mut previous = None;
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        let mut left: Option<char> = None;
        for (j, &y) in b.iter().enumerate() {
            let change = at(&last, j) + usize::from(x != y);
            let mut best = change.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            if j > 0 && previous == Some(y) && left == Some(x) {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
            left = Some(y);
        }
        before = std::mem::replace(&mut last, row);
        previous = Some(x);
    }
    Some(at(&last, b.len())).filter(|&d| d <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, d) in [
            ("", "", Some(0)),
            ("printf", "printf", Some(0)),
            ("pritnf", "printf", Some(1)),
            ("printg", "printf", Some(1)),
            ("rintf", "printf", Some(1)),
            ("kstak", "kstack", Some(1)),
            ("abcdef", "uvwxyz", None),
            ("a", "", Some(1)),
            ("PID", "pid", Some(0)),
        ] {
            assert_eq!(distance(a, b, 4), d, "{a} {b}");
        }
        assert_eq!(distance("aaaa", "bbbb", 3), None);
    }

    #[test]
    fn closest_is_choosy() {
        let names = ["kprobe", "kretprobe", "uprobe", "interval"];
        assert_eq!(closest("kprobes", names), Some("kprobe"));
        assert_eq!(closest("intervall", names), Some("interval"));
        assert_eq!(closest("xyz", names), None);
        assert_eq!(closest("p", ["q", "pid"]), None);
        assert_eq!(closest("pd", ["q", "pid"]), Some("pid"));
        assert_eq!(closest("", names), None);
    }
}
