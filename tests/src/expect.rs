//! An expected block of lines against the lines that came, and the difference as text.
//!
//! Lines are aligned by dynamic programming, in which an expected line may stand for several: a match is an alignment
//! without cost, and the same alignment is printed when there is a difference.

use crate::pattern::{Captures, Pattern};

/// How often an expected line may occur in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// At least this often.
    pub least: usize,
    /// At most this often; `None` is without limit.
    pub most: Option<usize>,
}

impl Repeat {
    /// Exactly `count` times.
    pub fn exactly(count: usize) -> Repeat {
        Repeat { least: count, most: Some(count) }
    }
}

/// How a block is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// These lines, in this order, and no others.
    Exact,
    /// These lines and no others, in any order.
    Unordered,
    /// These lines in this order, with anything in between.
    Contains,
    /// None of these lines.
    Absent,
}

/// One expected line as the header gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedLine {
    /// How often.
    pub repeat: Repeat,
    /// The text, before variables are put in.
    pub text: String,
}

/// One expected block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// How to compare.
    pub mode: Mode,
    /// The expected lines.
    pub lines: Vec<ExpectedLine>,
}

/// A pattern that takes one line, or any number when `repeatable`; without it nothing is missing when `optional`.
#[derive(Clone)]
struct Item {
    pattern: Pattern,
    optional: bool,
    repeatable: bool,
}

/// Compares; the captures, or the difference as a readable text.
pub fn compare(block: &Block, patterns: &[Pattern], actual: &[&str]) -> Result<Captures, String> {
    match block.mode {
        Mode::Exact => aligned(&items(block, patterns), actual, 1),
        Mode::Contains => aligned(&items(block, patterns), actual, 0),
        Mode::Unordered => unordered(block, patterns, actual),
        Mode::Absent => absent(patterns, actual),
    }
}

fn items(block: &Block, patterns: &[Pattern]) -> Vec<Item> {
    let mut items = Vec::new();
    for (line, pattern) in block.lines.iter().zip(patterns) {
        let item = |optional, repeatable| Item { pattern: pattern.clone(), optional, repeatable };
        items.extend((0..line.repeat.least).map(|_| item(false, false)));
        match line.repeat.most {
            None => items.push(item(true, true)),
            Some(most) => {
                items.extend((line.repeat.least..most).map(|_| item(true, false)));
            }
        }
    }
    items
}

/// A step of the alignment, from the top.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    End,
    Match,
    MatchAndStay,
    MissingItem,
    ExtraLine,
}

fn aligned(items: &[Item], actual: &[&str], extra_cost: u32) -> Result<Captures, String> {
    let width = actual.len() + 1;
    let at = |row: usize, column: usize| row * width + column;
    let mut cost = vec![u32::MAX; (items.len() + 1) * width];
    let mut steps = vec![Step::End; cost.len()];
    let cell = |cost: &[u32], row, column| cost.get(at(row, column)).copied().unwrap_or(u32::MAX);
    for row in (0..=items.len()).rev() {
        for column in (0..=actual.len()).rev() {
            let item = items.get(row);
            let line = actual.get(column);
            let mut best = if item.is_none() && line.is_none() { (0, Step::End) } else { (u32::MAX, Step::End) };
            let mut consider = |price: u32, step: Step| {
                if price < best.0 {
                    best = (price, step);
                }
            };
            if let (Some(item), Some(line)) = (item, line)
                && item.pattern.matches(line).is_some()
            {
                if item.repeatable {
                    consider(cell(&cost, row, column + 1), Step::MatchAndStay);
                }
                consider(cell(&cost, row + 1, column + 1), Step::Match);
            }
            if let Some(item) = item {
                let price = u32::from(!item.optional);
                consider(cell(&cost, row + 1, column).saturating_add(price), Step::MissingItem);
            }
            if line.is_some() {
                consider(cell(&cost, row, column + 1).saturating_add(extra_cost), Step::ExtraLine);
            }
            if let (Some(cost), Some(step)) = (cost.get_mut(at(row, column)), steps.get_mut(at(row, column))) {
                *cost = best.0;
                *step = best.1;
            }
        }
    }
    let differs = cell(&cost, 0, 0) != 0;
    let mut captures = Captures::new();
    let mut difference = String::from("--- expected\n+++ actual\n");
    let (mut row, mut column) = (0, 0);
    loop {
        let step = steps.get(at(row, column)).copied().unwrap_or(Step::End);
        let item = items.get(row);
        let line = actual.get(column).copied().unwrap_or_default();
        match step {
            Step::End => break,
            Step::Match | Step::MatchAndStay => {
                if let Some(found) = item.and_then(|item| item.pattern.matches(line)) {
                    captures.extend(found);
                }
                push_line(&mut difference, ' ', line);
                column += 1;
                row += usize::from(step == Step::Match);
            }
            Step::MissingItem => {
                if let Some(item) = item.filter(|item| !item.optional) {
                    push_line(&mut difference, '-', item.pattern.source());
                }
                row += 1;
            }
            Step::ExtraLine => {
                push_line(&mut difference, if extra_cost == 0 { ' ' } else { '+' }, line);
                column += 1;
            }
        }
    }
    if differs { Err(difference) } else { Ok(captures) }
}

fn push_line(text: &mut String, mark: char, line: &str) {
    text.push(mark);
    text.push_str(line);
    text.push('\n');
}

fn unordered(block: &Block, patterns: &[Pattern], actual: &[&str]) -> Result<Captures, String> {
    let mut counts = vec![0_usize; patterns.len()];
    let mut captures = Captures::new();
    let mut difference = String::new();
    // A literal line is never taken by a placeholder that fits it too.
    let mut order: Vec<usize> = (0..patterns.len()).collect();
    order.sort_by_key(|&index| patterns.get(index).is_none_or(|pattern| !pattern.is_literal()));
    for line in actual {
        let taken = order.iter().copied().find_map(|index| {
            let most = block.lines.get(index)?.repeat.most;
            let count = counts.get(index)?;
            if most.is_some_and(|most| *count >= most) {
                return None;
            }
            Some((index, patterns.get(index)?.matches(line)?))
        });
        if let Some((index, found)) = taken {
            captures.extend(found);
            if let Some(count) = counts.get_mut(index) {
                *count += 1;
            }
        } else {
            push_line(&mut difference, '+', line);
        }
    }
    for ((line, pattern), count) in block.lines.iter().zip(patterns).zip(counts) {
        for _ in count..line.repeat.least {
            push_line(&mut difference, '-', pattern.source());
        }
    }
    if difference.is_empty() {
        Ok(captures)
    } else {
        Err(format!("--- expected (in any order)\n+++ actual\n{difference}"))
    }
}

fn absent(patterns: &[Pattern], actual: &[&str]) -> Result<Captures, String> {
    let mut difference = String::new();
    for line in actual {
        if patterns.iter().any(|pattern| pattern.matches(line).is_some()) {
            push_line(&mut difference, '+', line);
        }
    }
    if difference.is_empty() { Ok(Captures::new()) } else { Err(format!("lines that must not come:\n{difference}")) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check(mode: Mode, expected: &[(Repeat, &str)], actual: &[&str]) -> Result<Captures, String> {
        let block = Block {
            mode,
            lines: expected
                .iter()
                .map(|(repeat, text)| ExpectedLine { repeat: *repeat, text: (*text).to_owned() })
                .collect(),
        };
        let patterns: Vec<Pattern> = expected.iter().map(|(_, text)| Pattern::new(text).unwrap()).collect();
        compare(&block, &patterns, actual)
    }

    const ONE: Repeat = Repeat { least: 1, most: Some(1) };
    const SOME: Repeat = Repeat { least: 1, most: None };
    const MAYBE: Repeat = Repeat { least: 0, most: Some(1) };

    #[test]
    fn exact_wants_every_line_in_order() {
        assert!(check(Mode::Exact, &[(ONE, "a"), (ONE, "b")], &["a", "b"]).is_ok());
        assert_eq!(
            check(Mode::Exact, &[(ONE, "a"), (ONE, "b")], &["a", "c", "b"]).unwrap_err(),
            "--- expected\n+++ actual\n a\n+c\n b\n"
        );
        assert_eq!(
            check(Mode::Exact, &[(ONE, "a"), (ONE, "b")], &["b"]).unwrap_err(),
            "--- expected\n+++ actual\n-a\n b\n"
        );
    }

    #[test]
    fn repeats_have_limits() {
        let three = Repeat::exactly(3);
        assert!(check(Mode::Exact, &[(three, "x")], &["x", "x", "x"]).is_ok());
        assert!(check(Mode::Exact, &[(three, "x")], &["x", "x"]).is_err());
        assert!(check(Mode::Exact, &[(three, "x")], &["x", "x", "x", "x"]).is_err());
        assert!(check(Mode::Exact, &[(SOME, "x"), (ONE, "y")], &["x", "x", "y"]).is_ok());
        assert!(check(Mode::Exact, &[(SOME, "x"), (ONE, "y")], &["y"]).is_err());
        assert!(check(Mode::Exact, &[(MAYBE, "x"), (ONE, "y")], &["y"]).is_ok());
        assert!(check(Mode::Exact, &[(MAYBE, "x"), (ONE, "y")], &["x", "x", "y"]).is_err());
    }

    #[test]
    fn contains_skips_and_unordered_counts() {
        assert!(check(Mode::Contains, &[(ONE, "b"), (ONE, "d")], &["a", "b", "c", "d"]).is_ok());
        assert!(check(Mode::Contains, &[(ONE, "d"), (ONE, "b")], &["a", "b", "c", "d"]).is_err());
        assert!(check(Mode::Unordered, &[(ONE, "{{word}}"), (ONE, "b")], &["b", "a"]).is_ok());
        assert!(check(Mode::Unordered, &[(ONE, "b")], &["b", "b"]).is_err());
        assert!(check(Mode::Absent, &[(ONE, "WARN{{any}}")], &["ok"]).is_ok());
        assert!(check(Mode::Absent, &[(ONE, "WARN{{any}}")], &["WARNING"]).is_err());
    }

    #[test]
    fn captures_come_from_the_alignment() {
        let captures = check(Mode::Exact, &[(SOME, "{{int:n}}")], &["1", "2"]).unwrap();
        assert_eq!(captures, vec![("n".to_owned(), "1".to_owned()), ("n".to_owned(), "2".to_owned())]);
    }
}
