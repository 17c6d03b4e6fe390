//! Statements that print.

use super::PAGE;
use super::grow::{Content, Grower, Map, Ty};
use super::tree::Node;

/// Conversions of numbers.
const NUMBERS: [&str; 16] =
    ["%d", "%u", "%x", "%X", "%o", "%lld", "%llu", "%llx", "%5d", "%-6u|", "%08x", "%+d", "%hhd", "%hx", "%.4d", "% d"];

impl Grower {
    pub(super) fn output(&mut self) -> Node {
        match self.random.below(10) {
            0 | 1 => {
                let ty = self.ty(2);
                let value = self.value(&ty, 1);
                Node::new("statement", "", "print(§);\n", vec![value])
            }
            2 | 3 => self.print_map(),
            4 => self.print_element(),
            _ => self.printf(),
        }
    }

    fn printf(&mut self) -> Node {
        let mut format = String::new();
        let mut values = Vec::new();
        for _ in 0..=self.random.below(5) {
            let (spec, value) = match self.random.below(9) {
                0..=4 => (self.pick(&NUMBERS).unwrap_or("%d"), self.number(1)),
                5 => (self.pick(&["%s", "%10s", "%-9s|", "%.3s"]).unwrap_or("%s"), self.text(1)),
                6 => {
                    let ty = self.ty(2);
                    (
                        "%s",
                        match ty {
                            Ty::Int(..) => self.text(1),
                            other => self.value(&other, 1),
                        },
                    )
                }
                7 => {
                    let len = 1 + self.random.below(12);
                    let at = PAGE + self.random.below(4000) as u64;
                    let spec = self.pick(&["%r", "%rx", "%rh"]).unwrap_or("%r");
                    (spec, Node::leaf("buffer", format!("buf(uptr({at}), {len})")))
                }
                _ => ("%c", Node::new("number", "1", "(§ & 63) + 48", vec![self.number(2)])),
            };
            format.push_str(spec);
            format.push(' ');
            values.push(value);
        }
        let holes = vec!["§"; values.len()].join(", ");
        Node::new("statement", "", &format!("printf(\"{format}\\n\", {holes});\n"), values)
    }

    fn any_map(&mut self) -> Option<Map> {
        let maps = self.maps.clone();
        self.pick(&maps)
    }

    fn print_map(&mut self) -> Node {
        let Some(map) = self.any_map() else { return self.printf() };
        let histogram = matches!(map.content, Content::Aggregate(a) if a.is_histogram());
        let text = match self.random.below(6) {
            0 => format!("clear({});\n", map.name),
            1 => format!("zero({});\n", map.name),
            2 if map.key.is_some() => format!("print({}, {});\n", map.name, 1 + self.random.below(3)),
            3 if map.key.is_some() && histogram => format!("print({}, 2, 10);\n", map.name),
            _ => format!("print({});\n", map.name),
        };
        Node::new("statement", "", &text, Vec::new())
    }

    fn print_element(&mut self) -> Node {
        let plain = |m: &&Map| m.key.is_some() && matches!(m.content, Content::Plain(_));
        let found: Vec<Map> = self.maps.iter().filter(plain).cloned().collect();
        let Some(map) = self.pick(&found) else { return self.printf() };
        let element = self.element(&map, &format!("of {}", map.name), "");
        Node::new("statement", "", "print(§);\n", vec![element])
    }
}
