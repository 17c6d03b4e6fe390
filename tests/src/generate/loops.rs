//! Statements with blocks: branches and loops. Loops are short, because the verifier walks each of their turns.

use super::grow::{Content, Grower, I64, Map, Ty, Var};
use super::tree::Node;

/// Loops inside of each other at most.
const NESTED: usize = 2;

impl Grower {
    pub(super) fn compound(&mut self) -> Node {
        if self.loops >= NESTED {
            return self.branch();
        }
        match self.random.below(12) {
            0..=3 => self.branch(),
            4 => self.unroll(),
            5 | 6 => self.range(),
            7 => self.while_loop(),
            8 | 9 => self.over_map(),
            10 => self.block("{\n§}\n", Vec::new()),
            _ => self.leave(),
        }
    }

    /// Statements in a scope of their own, in the last hole of a template.
    fn block(&mut self, template: &str, mut before: Vec<Node>) -> Node {
        let vars = self.vars.len();
        let mut statements = Vec::new();
        for _ in 0..=self.random.below(3) {
            statements.push(self.statement());
        }
        self.vars.truncate(vars);
        before.push(Node::list(statements));
        Node::new("statement", "", template, before)
    }

    fn branch(&mut self) -> Node {
        let cond = self.condition(0);
        let then = self.block("§", Vec::new());
        if self.chance(2) {
            return Node::new("statement", "", "if (§) {\n§}\n", vec![cond, then]);
        }
        if self.chance(3) {
            let (second, middle, last) = (self.condition(1), self.block("§", Vec::new()), self.block("§", Vec::new()));
            let nodes = vec![cond, then, second, middle, last];
            return Node::new("statement", "", "if (§) {\n§} else if (§) {\n§} else {\n§}\n", nodes);
        }
        let otherwise = self.block("§", Vec::new());
        Node::new("statement", "", "if (§) {\n§} else {\n§}\n", vec![cond, then, otherwise])
    }

    fn in_loop(&mut self, template: &str, before: Vec<Node>) -> Node {
        self.loops += 1;
        let node = self.block(template, before);
        self.loops -= 1;
        node
    }

    fn unroll(&mut self) -> Node {
        let turns = 1 + self.random.below(4);
        self.in_loop(&format!("unroll({turns}) {{\n§}}\n"), Vec::new())
    }

    fn range(&mut self) -> Node {
        let name = format!("$i{}", self.fresh());
        let (from, to) = if self.chance(2) {
            let from = self.random.below(4);
            (Node::leaf("bound", from.to_string()), Node::leaf("bound", (from + self.random.below(5)).to_string()))
        } else {
            let n = self.number(2);
            (Node::leaf("bound", "0"), Node::new("bound", "1", "((uint64)§ & 7)", vec![n]))
        };
        let vars = self.vars.len();
        self.vars.push(Var { name: name.clone(), ty: I64, writable: false });
        let node = self.in_loop(&format!("for ({name} : §..§) {{\n§}}\n"), vec![from, to]);
        self.vars.truncate(vars);
        node
    }

    fn while_loop(&mut self) -> Node {
        let name = format!("$w{}", self.fresh());
        let turns = 1 + self.random.below(6);
        let cond = self.condition(2);
        // The counter goes up first, so that `continue` ends too.
        let template = format!("{name} = 0;\nwhile ({name} < {turns} && §) {{\n{name}++;\n§}}\n");
        let vars = self.vars.len();
        self.vars.push(Var { name, ty: Ty::Int(8, true), writable: false });
        let node = self.in_loop(&template, vec![cond]);
        self.vars.truncate(vars);
        node
    }

    fn over_map(&mut self) -> Node {
        // Histograms have no value to go over.
        let histogram = |m: &Map| matches!(m.content, Content::Aggregate(a) if a.is_histogram());
        let keyed: Vec<Map> = self.maps.iter().filter(|m| m.key.is_some() && !histogram(m)).cloned().collect();
        let Some(map) = self.pick(&keyed) else { return self.range() };
        let name = format!("$kv{}", self.fresh());
        let vars = self.vars.len();
        if let Some(key) = map.key.clone() {
            self.vars.push(Var { name: format!("{name}.0"), ty: key, writable: false });
        }
        if let Content::Plain(ty) = map.content.clone() {
            self.vars.push(Var { name: format!("{name}.1"), ty, writable: false });
        }
        let node = if map.single && self.loops == 0 {
            // The map itself stays as it is, lest the loop meet what it puts in.
            let maps = self.maps.clone();
            self.maps.retain(|m| m.name != map.name);
            let node = self.in_loop(&format!("for ({name} : {}) {{\n§}}\n", map.name), Vec::new());
            self.maps = maps;
            node
        } else {
            self.sum_over(&map, &name)
        };
        self.vars.truncate(vars);
        node
    }

    /// The kernel's order is its own: the turns of the loop only add up.
    fn sum_over(&mut self, map: &Map, name: &str) -> Node {
        let sum = format!("$sum{}", self.fresh());
        let before = std::mem::replace(&mut self.pure, true);
        let (number, cond) = (self.number(0), self.condition(1));
        self.pure = before;
        let skip = if self.chance(3) { "continue" } else { "" };
        let cond = if skip.is_empty() {
            Node::leaf("skip", "")
        } else {
            Node::new("skip", "", "if (§) { continue; }\n", vec![cond])
        };
        let template = format!(
            "{sum} = (int64)0;\nfor ({name} : {}) {{\n§{sum} += (int64)§;\n}}\nprintf(\"sum %d\\n\", {sum});\n",
            map.name
        );
        Node::new("statement", "", &template, vec![cond, number])
    }

    /// `break`, `continue` or `return`, under a condition.
    fn leave(&mut self) -> Node {
        let cond = self.condition(1);
        let word = match self.random.below(3) {
            0 if self.loops > 0 => "break",
            1 if self.loops > 0 => "continue",
            _ => "return",
        };
        Node::new("statement", "", &format!("if (§) {{ {word}; }}\n"), vec![cond])
    }
}
