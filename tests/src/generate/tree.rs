//! A script as a tree of replaceable pieces: enough structure to shrink it without ever breaking its syntax.

use std::fmt;

/// A piece of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is: pieces of one sort can stand for each other.
    pub sort: String,
    /// The simplest text of this sort.
    pub simple: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Node(Node),
}

/// Stands for the next child in a template.
pub const HOLE: char = '§';

impl Node {
    /// A piece whose text is a template with a [`HOLE`] for each child.
    pub fn new(sort: impl Into<String>, simple: impl Into<String>, template: &str, children: Vec<Node>) -> Self {
        let mut parts = Vec::new();
        let mut children = children.into_iter();
        for (index, text) in template.split(HOLE).enumerate() {
            if index > 0 {
                parts.extend(children.next().map(Part::Node));
            }
            if !text.is_empty() {
                parts.push(Part::Text(text.to_owned()));
            }
        }
        Self { sort: sort.into(), simple: simple.into(), parts }
    }

    /// A piece without children that is as simple as can be.
    pub fn leaf(sort: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { sort: sort.into(), simple: text.clone(), parts: vec![Part::Text(text)] }
    }

    /// Pieces one after the other.
    pub fn list(children: Vec<Node>) -> Self {
        Self { sort: "list".into(), simple: String::new(), parts: children.into_iter().map(Part::Node).collect() }
    }

    fn children(&self) -> impl Iterator<Item = &Node> {
        self.parts.iter().filter_map(|part| match part {
            Part::Node(node) => Some(node),
            Part::Text(_) => None,
        })
    }

    fn size(&self) -> usize {
        1 + self.children().map(Node::size).sum::<usize>()
    }

    /// The piece at a position in order of the text.
    fn at(&self, index: usize) -> Option<&Node> {
        if index == 0 {
            return Some(self);
        }
        let mut left = index - 1;
        for child in self.children() {
            let size = child.size();
            if left < size {
                return child.at(left);
            }
            left -= size;
        }
        None
    }

    fn at_mut(&mut self, index: usize) -> Option<&mut Node> {
        if index == 0 {
            return Some(self);
        }
        let mut left = index - 1;
        for part in &mut self.parts {
            let Part::Node(child) = part else { continue };
            let size = child.size();
            if left < size {
                return child.at_mut(left);
            }
            left -= size;
        }
        None
    }

    /// Simpler pieces of the same sort.
    fn simpler(&self) -> Vec<Node> {
        let mut found = Vec::new();
        if self.parts != [Part::Text(self.simple.clone())] && !(self.parts.is_empty() && self.simple.is_empty()) {
            let parts = if self.simple.is_empty() { Vec::new() } else { vec![Part::Text(self.simple.clone())] };
            found.push(Node { sort: self.sort.clone(), simple: self.simple.clone(), parts });
        }
        let mut below: Vec<&Node> = self.children().collect();
        while let Some(node) = below.pop() {
            if node.sort == self.sort {
                found.push(node.clone());
            } else {
                below.extend(node.children());
            }
        }
        found
    }

    /// The smallest tree found within `budget` attempts that `fails` still holds for.
    #[must_use]
    pub fn shrink(&self, budget: usize, mut fails: impl FnMut(&str) -> bool) -> Node {
        let mut smallest = self.clone();
        let mut attempts = 0;
        loop {
            let mut progress = false;
            let mut index = 0;
            while index < smallest.size() {
                let simpler = smallest.at(index).map(Node::simpler).unwrap_or_default();
                for piece in simpler {
                    attempts += 1;
                    if attempts > budget {
                        return smallest;
                    }
                    let mut candidate = smallest.clone();
                    let Some(place) = candidate.at_mut(index) else { continue };
                    *place = piece;
                    if fails(&candidate.to_string()) {
                        smallest = candidate;
                        progress = true;
                        break;
                    }
                }
                index += 1;
            }
            if !progress {
                return smallest;
            }
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Node(node) => node.fmt(f),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinking_keeps_what_fails_and_stays_well_formed() {
        let int = |text: &str| Node::leaf("int", text);
        let sum = Node::new("int", "1", "(§ + §)", vec![int("x"), Node::new("int", "1", "f(§)", vec![int("needle")])]);
        let line = Node::new("statement", "", "print(§);\n", vec![sum]);
        let script = Node::list(vec![Node::leaf("statement", "noise;\n"), line]);
        assert_eq!(script.to_string(), "noise;\nprint((x + f(needle)));\n");
        // A leaf statement's simplest form is itself; a built one may vanish.
        let small = script.shrink(1000, |text| text.contains("needle"));
        assert_eq!(small.to_string(), "noise;\nprint(needle);\n");
    }
}
