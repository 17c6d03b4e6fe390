//! Names close to a misspelt one, for "did you mean". Ranks by how the two are likely to be related: a compiler's suffix,
//! one contained in the other, a slip of the fingers.

/// How many names are offered.
const OFFERED: usize = 5;

/// The closest names, best first, at most five. Names of kernel functions and of tracepoints (`category:event`) alike.
pub fn similar<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    if name.is_empty() {
        return Vec::new();
    }
    let mut best: Vec<(u32, &str)> = Vec::new();
    let mut rows = Rows::default();
    for candidate in candidates {
        let Some(score) = distance(name, candidate, &mut rows) else { continue };
        let entry = (score, candidate);
        if let Err(at) =
            best.binary_search_by(|have| (have.0, have.1.len(), have.1).cmp(&(score, candidate.len(), candidate)))
            && at < OFFERED
        {
            best.insert(at, entry);
            best.truncate(OFFERED);
        }
    }
    // Far-fetched names only distract beside a near one.
    let nearest = best.first().map_or(0, |(score, _)| *score);
    best.retain(|(score, _)| *score <= nearest + 30);
    best.into_iter().map(|(_, name)| name.to_owned()).collect()
}

/// The part of a function that its compiler moved away since it seldom runs.
fn is_cold(candidate: &str) -> bool {
    candidate.rsplit_once('.').is_some_and(|(_, suffix)| suffix == "cold")
}

/// Smaller is closer; `None` is unrelated.
fn distance(name: &str, candidate: &str, rows: &mut Rows) -> Option<u32> {
    if name == candidate {
        return None;
    }
    let score = relation(name, candidate, rows)?;
    // Padding before a function (`__pfx_`) is in symbol tables, and nothing to trace.
    (!is_cold(candidate) && !candidate.starts_with("__pfx_")).then_some(score)
}

fn relation(name: &str, candidate: &str, rows: &mut Rows) -> Option<u32> {
    if let Some(suffix) = candidate.strip_prefix(name)
        && suffix.starts_with('.')
    {
        return Some(0);
    }
    if name.eq_ignore_ascii_case(candidate) {
        return Some(1);
    }
    if let (Some((category, event)), Some((other_category, other_event))) =
        (name.split_once(':'), candidate.split_once(':'))
    {
        if event == other_event {
            return Some(2 + edits(category, other_category, 8, rows).unwrap_or(9));
        }
        if category != other_category {
            return None;
        }
        return word_distance(event, other_event, rows);
    }
    word_distance(name, candidate, rows)
}

fn word_distance(name: &str, candidate: &str, rows: &mut Rows) -> Option<u32> {
    // One slip per four letters; a transposition counts as one.
    let allowed = (name.len() as u32 / 4).clamp(1, 3);
    let (own, other) = (letters(name.as_bytes()), letters(candidate.as_bytes()));
    // Each slip changes at most two letters of the set, which spares almost every candidate the matrix.
    let near = (own ^ other).count_ones() <= 2 * allowed;
    let slips = near.then(|| edits(name, candidate, allowed, rows)).flatten().map(|count| 20 * count);
    // A short word is contained in too many others to mean one of them.
    let (longer, shorter) = if name.len() < candidate.len() { (candidate, name) } else { (name, candidate) };
    let extra = (longer.len() - shorter.len()) as u32;
    let contained = if shorter.len() < 4 || (own & !other != 0 && other & !own != 0) {
        None
    } else if longer.starts_with(shorter) {
        Some(10 + extra)
    } else if longer.strip_suffix(shorter).is_some_and(|rest| rest.ends_with('_')) {
        Some(12 + extra)
    } else if extra < 16 && longer.contains(shorter) {
        Some(40 + extra)
    } else {
        None
    };
    match (slips, contained) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Three rows of the edit matrix, kept between candidates.
#[derive(Default)]
struct Rows {
    before: Vec<u32>,
    last: Vec<u32>,
    this: Vec<u32>,
}

/// The set of characters in a name, folded into a word.
fn letters(name: &[u8]) -> u32 {
    name.iter().fold(0, |set, byte| set | 1 << (byte & 31))
}

/// Insertions, deletions, replacements and swaps of neighbours, when at most `limit`.
fn edits(a: &str, b: &str, limit: u32, rows: &mut Rows) -> Option<u32> {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().abs_diff(b.len()) as u32 > limit {
        return None;
    }
    let Rows { before, last, this } = rows;
    last.clear();
    last.extend(0..=b.len() as u32);
    before.clone_from(last);
    let mut previous_a = None;
    for (i, &ca) in a.iter().enumerate() {
        this.clear();
        this.push(i as u32 + 1);
        let mut left = i as u32 + 1;
        let mut previous_b = None;
        for (j, &cb) in b.iter().enumerate() {
            let at = |row: &[u32], k: usize| row.get(k).copied().unwrap_or(u32::MAX / 2);
            let mut cost = (at(last, j) + u32::from(ca != cb)).min(at(last, j + 1) + 1).min(left + 1);
            if previous_a == Some(cb) && previous_b == Some(ca) && j > 0 {
                cost = cost.min(at(before, j - 1) + 1);
            }
            this.push(cost);
            left = cost;
            previous_b = Some(cb);
        }
        if this.iter().all(|&cost| cost > limit) {
            return None;
        }
        std::mem::swap(before, last);
        std::mem::swap(last, this);
        previous_a = Some(ca);
    }
    last.last().copied().filter(|&cost| cost <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUNCTIONS: &[&str] = &[
        "do_sys_open",
        "do_sys_openat2",
        "finish_task_switch.isra.0",
        "finish_task_switch.cold",
        "tcp_connect",
        "tcp_v4_connect",
        "tcp_v6_connect",
        "udp_connect_thing",
        "vfs_read",
        "vfs_readv",
        "vfs_write",
        "__x64_sys_openat",
    ];

    fn close(name: &str) -> Vec<String> {
        similar(name, FUNCTIONS.iter().copied().filter(|have| *have != name))
    }

    #[test]
    fn a_renamed_function_is_found_by_its_beginning() {
        assert_eq!(close("do_sys_open").first().map(String::as_str), Some("do_sys_openat2"));
    }

    #[test]
    fn a_compiler_suffix_comes_first_and_cold_parts_never() {
        assert_eq!(close("finish_task_switch"), ["finish_task_switch.isra.0"]);
    }

    #[test]
    fn slips_of_the_fingers_are_found() {
        assert_eq!(close("vfs_raed").first().map(String::as_str), Some("vfs_read"));
        assert_eq!(close("tpc_v4_connect").first().map(String::as_str), Some("tcp_v4_connect"));
        assert_eq!(close("VFS_READ").first().map(String::as_str), Some("vfs_read"));
    }

    #[test]
    fn the_syscall_is_found_behind_its_prefix() {
        assert_eq!(close("sys_openat").first().map(String::as_str), Some("__x64_sys_openat"));
    }

    #[test]
    fn nothing_is_offered_for_nonsense() {
        assert_eq!(close("qqqqqqqqqq"), Vec::<String>::new());
        assert_eq!(close(""), Vec::<String>::new());
    }

    #[test]
    fn a_tracepoint_in_another_category_is_found() {
        let have = ["sched:sched_switch", "syscalls:sys_enter_open", "syscalls:sys_enter_openat", "irq:sched_irq"];
        assert_eq!(similar("syscall:sys_enter_openat", have), ["syscalls:sys_enter_openat"]);
        assert_eq!(similar("sched:sched_swich", have), ["sched:sched_switch"]);
        assert_eq!(similar("task:sched_switch", have), ["sched:sched_switch"]);
    }

    #[test]
    fn edits_are_counted_with_swaps() {
        let mut rows = Rows::default();
        assert_eq!(edits("kitten", "sitting", 3, &mut rows), Some(3));
        assert_eq!(edits("kitten", "sitting", 2, &mut rows), None);
        assert_eq!(edits("read", "raed", 1, &mut rows), Some(1));
        assert_eq!(edits("", "ab", 3, &mut rows), Some(2));
        assert_eq!(edits("same", "same", 1, &mut rows), Some(0));
    }
}
