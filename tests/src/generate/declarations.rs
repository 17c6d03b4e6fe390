//! What stands before the probes: settings, enums, structures, maps, macros; and what reads the structures.

use super::PAGE;
use super::aggregates::Aggregate;
use super::grow::{Content, DEPTH, Grower, Map, Ty};
use super::tree::Node;

/// A field of a C structure.
#[derive(Clone, Debug)]
pub(super) enum Field {
    Int,
    Text,
    Words(usize),
    Inside(usize),
    Pointer(usize),
}

/// Spellings of C's integers in definitions.
const C_INTS: [&str; 14] = [
    "unsigned char",
    "char",
    "unsigned short",
    "short",
    "unsigned int",
    "int",
    "unsigned long",
    "long",
    "uint8_t",
    "int16_t",
    "uint32_t",
    "int64_t",
    "u16",
    "unsigned long long",
];

impl Grower {
    pub(super) fn config(&mut self) -> Node {
        let length = [16, 31, 64, 64, 64, 200, 1024];
        let length = self.pick(&length).unwrap_or(64);
        let text = format!("config = {{ max_map_keys = 64; max_strlen = {length}; }}\n");
        Node::new("config", "", &text, Vec::new())
    }

    pub(super) fn enumeration(&mut self) -> Node {
        let n = self.enums.len();
        let names: Vec<String> = (0..=self.random.below(4)).map(|i| format!("n{n}_{i}")).collect();
        let listed: Vec<String> = names
            .iter()
            .map(|name| if self.chance(3) { format!("{name} = {}", self.random.below(1000)) } else { name.clone() })
            .collect();
        self.enums.push(names);
        Node::new("item", "", &format!("enum e{n} {{ {} }};\n", listed.join(", ")), Vec::new())
    }

    pub(super) fn structure(&mut self) -> Node {
        let n = self.structs.len();
        let mut fields = Vec::new();
        let mut lines = String::new();
        let packed = self.chance(4);
        for i in 0..=self.random.below(7) {
            let name = format!("m{i}");
            let (line, field) = match self.random.below(12) {
                0..=4 => (format!("{} {name};", self.pick(&C_INTS).unwrap_or("int")), Field::Int),
                5 | 6 => {
                    let (base, widest) = self
                        .pick(&[("unsigned int", 32), ("int", 32), ("unsigned char", 8), ("unsigned long", 64)])
                        .unwrap_or(("int", 32));
                    // Packed, a wider one may lie in nine bytes, which no load reads.
                    let widest = if packed { widest.min(57) } else { widest };
                    (format!("{base} {name} : {};", 1 + self.random.below(widest)), Field::Int)
                }
                7 => (format!("char {name}[{}];", 1 + self.random.below(20)), Field::Text),
                8 => {
                    let len = 1 + self.random.below(5);
                    (format!("{} {name}[{len}];", self.pick(&C_INTS).unwrap_or("int")), Field::Words(len))
                }
                9 if n > 0 => {
                    let other = self.random.below(n);
                    (format!("struct s{other} {name};"), Field::Inside(other))
                }
                10 => (format!("struct s{n} *{name};"), Field::Pointer(n)),
                _ => (format!("union {{ int {name}; unsigned char raw{i}[6]; }};"), Field::Int),
            };
            lines.push_str("  ");
            lines.push_str(&line);
            lines.push('\n');
            fields.push((name, field));
        }
        self.structs.push(fields);
        let packed = if packed { " __attribute__((packed))" } else { "" };
        Node::new("item", "", &format!("struct s{n} {{\n{lines}}}{packed};\n"), Vec::new())
    }

    /// Decides on the maps of the script.
    pub(super) fn shapes(&mut self) {
        for n in 0..=(1 + self.random.below(5)) {
            let key = if self.chance(3) { None } else { Some(self.key_type()) };
            let content = if self.chance(2) {
                Content::Aggregate(Aggregate::any(&mut self.random))
            } else {
                let ty = self.ty(1);
                Content::Plain(ty)
            };
            let keyed = key.is_some();
            let declared = keyed && self.chance(5);
            let single = keyed && self.chance(4);
            self.maps.push(Map { name: format!("@m{n}"), key, content, single, declared });
        }
    }

    pub(super) fn declarations(&mut self) -> Vec<Node> {
        let mut items = Vec::new();
        for map in self.maps.clone().into_iter().filter(|m| m.declared) {
            let kinds: &[&str] = match map.content {
                Content::Plain(_) => &["hash", "lruhash"],
                Content::Aggregate(_) => &["percpuhash", "percpulruhash"],
            };
            let kind = self.pick(kinds).unwrap_or("hash");
            items.push(Node::new("item", "", &format!("let {} = {kind}({});\n", map.name, 500), Vec::new()));
        }
        items
    }

    pub(super) fn definition(&mut self) -> Node {
        let n = self.macros;
        self.macros += 1;
        // Its arguments are expressions, put in where they stand.
        let sum = ["a + b", "(a ^ b) >> 3", "a > b ? a : b", "(int64)(uint8)a * b", "a"];
        let body = self.pick(&sum).unwrap_or("a");
        Node::new("item", "", &format!("macro k{n}(a, b) {{ {body} }}\n"), Vec::new())
    }

    pub(super) fn key_type(&mut self) -> Ty {
        match self.random.below(8) {
            0..=2 => self.int(),
            3 => Ty::Str,
            4 if !self.enums.is_empty() => Ty::Enum(self.random.below(self.enums.len())),
            4 => Ty::Bool,
            _ => Ty::Tuple((0..2 + self.random.below(2)).map(|_| self.ty(1)).collect()),
        }
    }

    /// A member, at any depth, of a tuple or record variable.
    pub(super) fn member(&mut self, wanted: impl Fn(&Ty) -> bool) -> Option<String> {
        let var = self.variable(|ty| matches!(ty, Ty::Tuple(_) | Ty::Record(_)))?;
        let mut text = var.name;
        let mut ty = var.ty;
        loop {
            let (members, record) = match &ty {
                Ty::Tuple(members) => (members.clone(), false),
                Ty::Record(members) => (members.clone(), true),
                _ => break,
            };
            let n = self.random.below(members.len());
            text = format!("{text}.{}{n}", if record { "f" } else { "" });
            ty = members.get(n)?.clone();
        }
        wanted(&ty).then_some(text)
    }

    /// A number, or a text, out of a structure in the page.
    pub(super) fn field(&mut self, text: bool) -> Node {
        let (sort, simple) = if text { ("string", "\"a\"") } else { ("number", "1") };
        let fallback = if text { format!("str({})", PAGE + 3000) } else { format!("*(uint8 *)uptr({})", PAGE + 100) };
        let fallback = Node::new(sort, simple, &fallback, Vec::new());
        if self.structs.is_empty() {
            return fallback;
        }
        let mut current = self.random.below(self.structs.len());
        let base = match self.random.below(4) {
            0 => format!("((struct s{current} *){})", PAGE + 8 * self.random.below(200) as u64),
            1 => format!("(*(struct s{current} *)uptr({}))", PAGE + 2048 + self.random.below(1000) as u64),
            _ => format!("((struct s{current} *)uptr({}))", PAGE + 8 * self.random.below(30) as u64),
        };
        let mut path = base;
        for _ in 0..6 {
            let fields = self.structs.get(current).cloned().unwrap_or_default();
            let Some((name, field)) = self.pick(&fields) else { return fallback };
            let arrow = if path.starts_with("(*") || path.contains('.') { "." } else { "->" };
            path = format!("{path}{arrow}{name}");
            match field {
                Field::Inside(other) | Field::Pointer(other) => current = other,
                Field::Int if !text => return Node::new(sort, simple, &path, Vec::new()),
                Field::Text if text => return Node::new(sort, simple, &path, Vec::new()),
                Field::Words(len) if !text => {
                    if self.chance(2) {
                        let index = self.random.below(len);
                        return Node::new(sort, simple, &format!("{path}[{index}]"), Vec::new());
                    }
                    let index = self.number(DEPTH);
                    return Node::new(sort, simple, &format!("{path}[(uint64)§ % {len}]"), vec![index]);
                }
                _ => return fallback,
            }
        }
        fallback
    }
}
