//! The little arithmetic of `@check:` lines, over what was printed and what the workload says it did.
//!
//! Integers, `+ - * / %`, comparisons, `&& ||`, parentheses, names kept by `{{int:name}}`, and functions over the output:
//! `total(@h)` (sum of a histogram's counts), `lowest(@h)`/`highest(@h)` (lower bounds of its first and last bucket that
//! is not empty), `value(@x)` (the number after `@x: `), `rows(@m)` and `sum(@m)` (keyed lines and the sum of their
//! values), `lines(TEXT)` (lines that contain TEXT), `first(n)`, `last(n)`, `all(n)` (sum), `least(n)`, `most(n)`,
//! `times(n)` (over every value kept under a name). Truth comes in as `$name`, and is put in before.

use std::iter::Peekable;
use std::str::Chars;

use crate::pattern::Captures;

/// What an expression is evaluated over.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The lines of standard output.
    pub lines: &'a [&'a str],
    /// What named placeholders stood for.
    pub captures: &'a Captures,
}

/// Evaluates a whole expression; an error says what could not be understood or found.
pub fn evaluate(source: &str, facts: Facts<'_>) -> Result<i128, String> {
    let mut parser = Parser { characters: source.chars().peekable(), facts, depth: 0 };
    let value = parser.expression(0)?;
    parser.blanks();
    match parser.characters.next() {
        None => Ok(value),
        Some(other) => Err(format!("unexpected {other:?} in {source:?}")),
    }
}

/// Operators with their binding power, longer ones first.
const OPERATORS: &[(&str, u8)] = &[
    ("||", 1),
    ("&&", 2),
    ("==", 3),
    ("!=", 3),
    ("<=", 4),
    (">=", 4),
    ("<", 4),
    (">", 4),
    ("+", 5),
    ("-", 5),
    ("*", 6),
    ("/", 6),
    ("%", 6),
];

struct Parser<'a> {
    characters: Peekable<Chars<'a>>,
    facts: Facts<'a>,
    depth: u32,
}

impl Parser<'_> {
    fn blanks(&mut self) {
        while self.characters.next_if(|c| c.is_whitespace()).is_some() {}
    }

    fn operator(&mut self) -> Option<(&'static str, u8)> {
        self.blanks();
        OPERATORS.iter().copied().find(|(text, _)| {
            let mut ahead = self.characters.clone();
            text.chars().all(|wanted| ahead.next() == Some(wanted))
        })
    }

    fn expression(&mut self, least: u8) -> Result<i128, String> {
        self.depth += 1;
        if self.depth > 64 {
            return Err("the expression is nested too deeply".to_owned());
        }
        let mut left = self.operand()?;
        while let Some((operator, power)) = self.operator() {
            if power <= least {
                break;
            }
            for _ in operator.chars() {
                self.characters.next();
            }
            let right = self.expression(power)?;
            left = apply(operator, left, right)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn operand(&mut self) -> Result<i128, String> {
        self.blanks();
        if self.characters.next_if_eq(&'(').is_some() {
            let value = self.expression(0)?;
            self.blanks();
            return match self.characters.next() {
                Some(')') => Ok(value),
                _ => Err("missing )".to_owned()),
            };
        }
        if self.characters.next_if_eq(&'-').is_some() {
            return self.operand().map(|value| -value);
        }
        let mut word = String::new();
        while let Some(character) = self.characters.next_if(|c| c.is_alphanumeric() || *c == '_') {
            word.push(character);
        }
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return word.parse().map_err(|_| format!("not a number: {word}"));
        }
        if word.is_empty() {
            return Err("an operand is missing".to_owned());
        }
        if self.characters.next_if_eq(&'(').is_some() {
            let argument = self.argument()?;
            return function(&word, &argument, self.facts);
        }
        captured(&word, self.facts)?.first().copied().ok_or_else(|| format!("nothing was kept under the name {word}"))
    }

    /// The raw text up to the closing parenthesis; inner ones must be balanced.
    fn argument(&mut self) -> Result<String, String> {
        let mut argument = String::new();
        let mut open = 1;
        for character in self.characters.by_ref() {
            match character {
                '(' => open += 1,
                ')' => open -= 1,
                _ => {}
            }
            if open == 0 {
                return Ok(argument);
            }
            argument.push(character);
        }
        Err("missing )".to_owned())
    }
}

fn apply(operator: &str, left: i128, right: i128) -> Result<i128, String> {
    let overflow = || "overflow or division by zero".to_owned();
    Ok(match operator {
        "||" => i128::from(left != 0 || right != 0),
        "&&" => i128::from(left != 0 && right != 0),
        "==" => i128::from(left == right),
        "!=" => i128::from(left != right),
        "<=" => i128::from(left <= right),
        ">=" => i128::from(left >= right),
        "<" => i128::from(left < right),
        ">" => i128::from(left > right),
        "+" => left.checked_add(right).ok_or_else(overflow)?,
        "-" => left.checked_sub(right).ok_or_else(overflow)?,
        "*" => left.checked_mul(right).ok_or_else(overflow)?,
        "/" => left.checked_div(right).ok_or_else(overflow)?,
        _ => left.checked_rem(right).ok_or_else(overflow)?,
    })
}

fn captured(name: &str, facts: Facts<'_>) -> Result<Vec<i128>, String> {
    facts
        .captures
        .iter()
        .filter(|(kept, _)| kept == name)
        .map(|(_, text)| {
            let parsed = match text.strip_prefix("0x") {
                Some(digits) => i128::from_str_radix(digits, 16),
                None => text.parse(),
            };
            parsed.map_err(|_| format!("{name} is {text:?}, which is no number"))
        })
        .collect()
}

fn function(name: &str, argument: &str, facts: Facts<'_>) -> Result<i128, String> {
    let missing = || format!("{name}({argument}): nothing like it was printed");
    match name {
        "lines" => Ok(facts.lines.iter().filter(|line| line.contains(argument)).count() as i128),
        "value" => {
            let head = format!("{argument}: ");
            let text = facts.lines.iter().rev().find_map(|line| line.strip_prefix(&head)).ok_or_else(missing)?;
            text.trim().parse().map_err(|_| missing())
        }
        "rows" | "sum" => {
            let head = format!("{argument}[");
            let values = facts
                .lines
                .iter()
                .filter(|line| line.starts_with(&head))
                .map(|line| line.rsplit_once("]: ").map_or("", |(_, value)| value));
            if name == "rows" {
                return Ok(values.count() as i128);
            }
            values.map(|value| value.trim().parse::<i128>().map_err(|_| missing())).sum()
        }
        "total" | "lowest" | "highest" => {
            let buckets = histogram(argument, facts).ok_or_else(missing)?;
            let filled = || buckets.iter().filter(|(_, count)| *count > 0).map(|(low, _)| *low);
            match name {
                "total" => Ok(buckets.iter().map(|(_, count)| count).sum()),
                "lowest" => filled().next().ok_or_else(missing),
                _ => filled().next_back().ok_or_else(missing),
            }
        }
        "first" | "last" | "all" | "least" | "most" | "times" => {
            let values = captured(argument.trim(), facts)?;
            let value = match name {
                "first" => values.first().copied(),
                "last" => values.last().copied(),
                "least" => values.iter().min().copied(),
                "most" => values.iter().max().copied(),
                "times" => Some(values.len() as i128),
                _ => Some(values.iter().sum()),
            };
            value.ok_or_else(missing)
        }
        _ => Err(format!("unknown function {name}")),
    }
}

/// The buckets under the last line `NAME:`, as lower bound and count.
fn histogram(name: &str, facts: Facts<'_>) -> Option<Vec<(i128, i128)>> {
    let head = format!("{name}:");
    let begin = facts.lines.iter().rposition(|line| line.trim_end() == head)?;
    let buckets: Vec<_> = facts.lines.iter().skip(begin + 1).map_while(|line| bucket(line)).collect();
    (!buckets.is_empty()).then_some(buckets)
}

/// `[4, 8)   3 |@@@|`, `(..., 0)  1 |@|`, `[1K, 2K)`, `[10, ...)`.
fn bucket(line: &str) -> Option<(i128, i128)> {
    let (range, rest) = line.split_once([')', ']'])?;
    let count = rest.split_whitespace().next()?.parse().ok()?;
    let low = range.trim_start_matches(['[', '(']).split(',').next()?.trim();
    if low == "..." {
        return Some((i128::MIN, count));
    }
    let (digits, unit) = match low.find(|c: char| c.is_ascii_alphabetic()) {
        Some(index) => low.split_at_checked(index)?,
        None => (low, ""),
    };
    let shift = match unit {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        "P" => 50,
        "E" => 60,
        _ => return None,
    };
    Some((digits.parse::<i128>().ok()? << shift, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &[&str] = &[
        "@us:",
        "(..., 0)               1 |@@@@@                    |",
        "[0]                    0 |                         |",
        "[1K, 2K)               9 |@@@@@@@@@@@@@@@@@@@@@@@@@|",
        "",
        "@n: 12",
        "@by[a]: 3",
        "@by[b]: 4",
    ];

    fn value(source: &str) -> Result<i128, String> {
        let captures = vec![("n".to_owned(), "5".to_owned()), ("n".to_owned(), "7".to_owned())];
        evaluate(source, Facts { lines: LINES, captures: &captures })
    }

    #[test]
    fn arithmetic_has_the_usual_precedence() {
        assert_eq!(value("1 + 2 * 3 == 7 && -2 < 1"), Ok(1));
        assert_eq!(value("(1 + 2) * 3 - 10 / 5 - 1"), Ok(6));
        assert_eq!(value("10 - 3 - 2"), Ok(5));
        assert!(value("1 / 0").is_err());
        assert!(value("1 +").is_err());
    }

    #[test]
    fn output_functions_read_what_was_printed() {
        assert_eq!(value("total(@us)"), Ok(10));
        assert_eq!(value("highest(@us)"), Ok(1024));
        assert_eq!(value("lowest(@us)"), Ok(i128::MIN));
        assert_eq!(value("value(@n)"), Ok(12));
        assert_eq!(value("rows(@by) * 100 + sum(@by)"), Ok(207));
        assert_eq!(value("lines(@by)"), Ok(2));
        assert!(value("value(@absent)").is_err());
    }

    #[test]
    fn captures_are_numbers() {
        assert_eq!(value("n"), Ok(5));
        assert_eq!(value("all(n) + times(n) + last(n) + most(n) - least(n)"), Ok(23));
        assert!(value("unknown").is_err());
    }
}
