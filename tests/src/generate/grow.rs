//! The state of a growing script, its types and its expressions. Every value has a type, and every piece of the language
//! that takes a value is given one of a type it accepts.

use super::PAGE;
use super::aggregates::Aggregate;
use super::declarations::Field;
use super::tree::Node;
use crate::mutate::Random;

/// Types of values that a script can keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ty {
    /// Bytes, signed.
    Int(u8, bool),
    Bool,
    Str,
    /// One of the script's enums.
    Enum(usize),
    Tuple(Vec<Ty>),
    /// Fields called `f0`, `f1`, ….
    Record(Vec<Ty>),
}

/// 64 bits with sign.
pub(super) const I64: Ty = Ty::Int(8, true);

impl Ty {
    /// As a cast names it, and as the sort of its expressions.
    pub(super) fn name(&self) -> String {
        match self {
            Ty::Int(bytes, signed) => format!("{}int{}", if *signed { "" } else { "u" }, 8 * u32::from(*bytes)),
            Ty::Bool => "bool".into(),
            Ty::Str => "string".into(),
            Ty::Enum(n) => format!("enum e{n}"),
            Ty::Tuple(members) | Ty::Record(members) => {
                let names: Vec<String> = members.iter().map(Ty::name).collect();
                format!("{}({})", if matches!(self, Ty::Tuple(_)) { "" } else { "record" }, names.join(", "))
            }
        }
    }

    /// Its simplest value.
    pub(super) fn simple(&self) -> String {
        match self {
            Ty::Int(..) | Ty::Enum(_) => format!("({})1", self.name()),
            Ty::Bool => "true".into(),
            Ty::Str => "\"a\"".into(),
            Ty::Tuple(members) => {
                let members: Vec<String> = members.iter().map(Ty::simple).collect();
                format!("({}{})", members.join(", "), if members.len() == 1 { "," } else { "" })
            }
            Ty::Record(members) => {
                let fields = members.iter().enumerate().map(|(n, ty)| format!("f{n} = {}", ty.simple()));
                format!("({})", fields.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// A variable in scope.
#[derive(Clone, Debug)]
pub(super) struct Var {
    /// With its sign, or the text of what is read like one (`$kv.0`).
    pub(super) name: String,
    pub(super) ty: Ty,
    pub(super) writable: bool,
}

/// What a map holds.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Plain(Ty),
    Aggregate(Aggregate),
}

/// A map of the script.
#[derive(Clone, Debug)]
pub(super) struct Map {
    /// With its sign.
    pub(super) name: String,
    pub(super) key: Option<Ty>,
    pub(super) content: Content,
    /// Always used with one key, so that loops over it have one turn.
    pub(super) single: bool,
    pub(super) declared: bool,
}

/// The state of growth.
pub(super) struct Grower {
    pub(super) random: Random,
    pub(super) vars: Vec<Var>,
    pub(super) maps: Vec<Map>,
    pub(super) structs: Vec<Vec<(String, Field)>>,
    pub(super) enums: Vec<Vec<String>>,
    /// Maps that have been assigned: what stands before the first assignment does not know the type.
    pub(super) assigned: usize,
    pub(super) macros: usize,
    pub(super) next: usize,
    /// Statements left.
    pub(super) budget: usize,
    /// Loops around the current place.
    pub(super) loops: usize,
    /// A map in whose loop no order may show: nothing outside the element is changed.
    pub(super) pure: bool,
    /// Keys around the current place: a key may read a map that has a key that reads a map.
    keys: usize,
}

/// Deepest expression.
pub(super) const DEPTH: u32 = 3;

/// Most keys within keys.
const KEYS: usize = 2;

pub(super) const INTS: [(u8, bool); 8] =
    [(1, false), (1, true), (2, false), (2, true), (4, false), (4, true), (8, false), (8, true)];

/// Conditions that hold in every run, and whose parts the compiler cannot know.
const TRUTHS: [&str; 8] = [
    "pid > 0",
    "nsecs > 0",
    "comm != \"nobody\"",
    "curtask != 0",
    "elapsed >= 0",
    "cpu < 4096",
    "uid < 4294967295",
    "tid != 0",
];

/// The script of a seed.
pub fn script(seed: u64) -> Node {
    let random = Random::new(seed);
    let mut grower = Grower {
        random,
        vars: Vec::new(),
        maps: Vec::new(),
        structs: Vec::new(),
        enums: Vec::new(),
        assigned: 0,
        macros: 0,
        next: 0,
        budget: 0,
        loops: 0,
        pure: false,
        keys: 0,
    };
    grower.random.bits();
    grower.whole()
}

impl Grower {
    pub(super) fn chance(&mut self, one_in: usize) -> bool {
        self.random.below(one_in) == 0
    }

    pub(super) fn fresh(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    pub(super) fn pick<T: Clone>(&mut self, items: &[T]) -> Option<T> {
        items.get(self.random.below(items.len())).cloned()
    }

    pub(super) fn whole(&mut self) -> Node {
        let mut items = vec![self.config()];
        for _ in 0..self.random.below(3) {
            items.push(self.enumeration());
        }
        for _ in 0..self.random.below(4) {
            items.push(self.structure());
        }
        self.shapes();
        items.extend(self.declarations());
        for _ in 0..self.random.below(3) {
            items.push(self.definition());
        }
        let begins = 1 + usize::from(self.chance(4));
        for n in 0..begins {
            items.push(self.probe("begin", n == 0));
        }
        if self.chance(3) {
            items.push(self.probe("end", false));
        }
        Node::list(items)
    }

    pub(super) fn int(&mut self) -> Ty {
        let (bytes, signed) = self.pick(&INTS).unwrap_or((8, true));
        Ty::Int(bytes, signed)
    }

    /// Any type whose members are `depth` deep at most.
    pub(super) fn ty(&mut self, depth: u32) -> Ty {
        match self.random.below(if depth == 0 { 9 } else { 12 }) {
            0..=4 => self.int(),
            5 => Ty::Bool,
            6 if !self.enums.is_empty() => Ty::Enum(self.random.below(self.enums.len())),
            6..=8 => Ty::Str,
            9 | 10 => Ty::Tuple((0..=(1 + self.random.below(3))).map(|_| self.ty(depth - 1)).collect()),
            _ => Ty::Record((0..=self.random.below(3)).map(|_| self.ty(depth - 1)).collect()),
        }
    }

    /// A variable with one of the wanted types.
    pub(super) fn variable(&mut self, wanted: impl Fn(&Ty) -> bool) -> Option<Var> {
        let found: Vec<Var> = self.vars.iter().filter(|v| wanted(&v.ty)).cloned().collect();
        self.pick(&found)
    }

    /// Maps that can be read.
    pub(super) fn known(&self) -> impl Iterator<Item = &Map> {
        self.maps.iter().take(self.assigned)
    }

    /// Reads a map with such values; the key is one that may be there.
    pub(super) fn map_read(&mut self, wanted: impl Fn(&Ty) -> bool) -> Option<(Node, Ty)> {
        let found: Vec<(Map, Ty)> = self
            .known()
            .filter_map(|m| match &m.content {
                Content::Plain(ty) if wanted(ty) => Some((m.clone(), ty.clone())),
                _ => None,
            })
            .collect();
        let (map, ty) = self.pick(&found)?;
        Some((self.element(&map, &ty.name(), &ty.simple()), ty))
    }

    /// `@m[key]`, as an expression of a sort.
    pub(super) fn element(&mut self, map: &Map, sort: &str, simple: &str) -> Node {
        match &map.key {
            None => Node::new(sort, simple, &map.name, Vec::new()),
            Some(key) => {
                let key = self.key(map, key);
                Node::new(sort, simple, &format!("{}[§]", map.name), vec![key])
            }
        }
    }

    /// A key of a map; members of a tuple without its parentheses.
    pub(super) fn key(&mut self, map: &Map, ty: &Ty) -> Node {
        if map.single || self.keys == KEYS {
            return Node::leaf(format!("key {}", map.name), strip(&ty.simple()));
        }
        self.keys += 1;
        let key = match ty {
            Ty::Tuple(members) => {
                let members: Vec<Node> = members.iter().map(|ty| self.small(ty)).collect();
                let holes = vec!["§"; members.len()].join(", ");
                Node::new(format!("key {}", map.name), strip(&ty.simple()), &holes, members)
            }
            _ => self.small(ty),
        };
        self.keys -= 1;
        key
    }

    /// A value out of few, so that keys meet again.
    pub(super) fn small(&mut self, ty: &Ty) -> Node {
        match ty {
            Ty::Int(..) if self.chance(2) => {
                let n = self.random.below(4);
                Node::new(ty.name(), ty.simple(), &format!("({}){n}", ty.name()), Vec::new())
            }
            Ty::Int(..) => {
                let n = self.number(1);
                Node::new(ty.name(), ty.simple(), &format!("({})(§ & 3)", ty.name()), vec![n])
            }
            Ty::Str if self.chance(2) => {
                let text = self.pick(&["", "a", "bb", "key"]).unwrap_or("a");
                Node::new("string", "\"a\"", &format!("\"{text}\""), Vec::new())
            }
            _ => self.value(ty, 2),
        }
    }

    /// An expression of exactly this type.
    pub(super) fn value(&mut self, ty: &Ty, depth: u32) -> Node {
        let (sort, simple) = (ty.name(), ty.simple());
        match self.random.below(6) {
            0 => {
                if let Some(var) = self.variable(|have| have == ty) {
                    let text = self.through_pointer(&var);
                    return Node::new(sort, simple, &text, Vec::new());
                }
            }
            1 => {
                if let Some((node, _)) = self.map_read(|have| have == ty) {
                    return node;
                }
            }
            2 if depth < DEPTH => {
                let (cond, a, b) = (self.condition(depth + 1), self.value(ty, depth + 1), self.value(ty, depth + 1));
                return Node::new(sort, simple, "(§ ? § : §)", vec![cond, a, b]);
            }
            _ => {}
        }
        match ty {
            Ty::Int(..) => {
                let n = self.number(depth + 1);
                Node::new(sort, simple, &format!("({})(§)", ty.name()), vec![n])
            }
            Ty::Bool => self.condition(depth + 1),
            Ty::Str => self.text(depth + 1),
            Ty::Enum(n) => {
                let number = if self.chance(2) {
                    let names = self.enums.get(*n).cloned().unwrap_or_default();
                    Node::leaf("number", self.pick(&names).unwrap_or_else(|| "1".into()))
                } else {
                    self.number(depth + 1)
                };
                Node::new(sort, simple, &format!("({})(§)", ty.name()), vec![number])
            }
            Ty::Tuple(members) => {
                let nodes: Vec<Node> = members.iter().map(|ty| self.value(ty, depth + 1)).collect();
                let holes = vec!["§"; nodes.len()].join(", ");
                let comma = if nodes.len() == 1 { "," } else { "" };
                Node::new(sort, simple, &format!("({holes}{comma})"), nodes)
            }
            Ty::Record(members) => {
                let nodes: Vec<Node> = members.iter().map(|ty| self.value(ty, depth + 1)).collect();
                let fields: Vec<String> = (0..nodes.len()).map(|n| format!("f{n} = §")).collect();
                Node::new(sort, simple, &format!("({})", fields.join(", ")), nodes)
            }
        }
    }

    /// A variable's value, now and then through its address.
    fn through_pointer(&mut self, var: &Var) -> String {
        let name = &var.name;
        if name.contains('.') || !self.chance(4) {
            return name.clone();
        }
        let forms: &[&str] = match var.ty {
            Ty::Int(..) => &[
                "(*&v)",
                "(*(T *)&v)",
                "((T *)&v)[cpu * 0]",
                "(*((T *)&v + (uid >> 63)))",
                "(*(T *)((uint64)&v + cpu * 0))",
                "(*(pid > 0 ? &v : 0))",
            ],
            _ => &["(*&v)", "(*(cpu * 0 == 0 ? &v : 0))"],
        };
        self.pick(forms).unwrap_or("v").replace('T', &var.ty.name()).replace('v', name)
    }

    pub(super) fn literal(&mut self) -> String {
        match self.random.below(8) {
            0..=3 => self.random.below(12).to_string(),
            4 => self.random.below(1 << 20).to_string(),
            5 => format!("(uint64)0x{:x}", self.random.bits() >> (1 + self.random.below(60))),
            6 => self
                .pick(&["255", "256", "65535", "2147483647", "2147483648", "4294967295", "4294967296"])
                .unwrap_or("1")
                .into(),
            _ => format!("(-{})", self.random.below(1000)),
        }
    }

    /// An integer of any width.
    pub(super) fn number(&mut self, depth: u32) -> Node {
        let leaf = |text: &str| Node::new("number", "1", text, Vec::new());
        if depth >= DEPTH || self.chance(4) {
            return match self.random.below(8) {
                0 | 1 => leaf(&self.literal()),
                2 => match self.map_read(|ty| matches!(ty, Ty::Int(..))) {
                    Some((node, _)) => Node::new("number", "1", "§", vec![node]),
                    None => leaf(&self.literal()),
                },
                3 => self.field(false),
                4 => match self.member(|ty| matches!(ty, Ty::Int(..))) {
                    Some(text) => leaf(&text),
                    None => leaf(&self.literal()),
                },
                _ => match self.variable(|ty| matches!(ty, Ty::Int(..))) {
                    Some(var) => leaf(&self.through_pointer(&var)),
                    None => leaf(&self.literal()),
                },
            };
        }
        let next = depth + 1;
        let two = |g: &mut Self| vec![g.number(next), g.number(next)];
        match self.random.below(22) {
            0..=6 => {
                // Constants that overflow, or divide by zero, are refused: the casts make plain numbers of them.
                let forms = [
                    "(§ + §)",
                    "(§ - §)",
                    "((int64)§ * §)",
                    "(§ * (uint32)§)",
                    "(§ / (int64)§)",
                    "(§ / (uint16)§)",
                    "(§ % (uint64)§)",
                    "(§ % (int8)§)",
                    "(§ & §)",
                    "(§ | §)",
                    "(§ ^ §)",
                    "((uint16)§ + §)",
                    "((int32)§ - §)",
                ];
                let form = self.pick(&forms).unwrap_or("(§ + §)");
                let sides = two(self);
                Node::new("number", "1", form, sides)
            }
            7 => {
                let op = self.pick(&["<<", ">>"]).unwrap_or(">>");
                let by = self.random.below(64);
                let value = self.number(next);
                Node::new("number", "1", &format!("((int64)§ {op} {by})"), vec![value])
            }
            8 => {
                // The complement of a literal is one of 64 bits without a sign, which has no negative. `+++$v` would be
                // read as `++ +$v`.
                let form = self.pick(&["(-(int64)§)", "(~(int64)§)", "(+ §)"]).unwrap_or("(~(int64)§)");
                let value = self.number(next);
                Node::new("number", "1", form, vec![value])
            }
            9 | 10 => {
                let ty = self.int();
                let value = self.number(next);
                Node::new("number", "1", &format!("({})(§)", ty.name()), vec![value])
            }
            11 => {
                let cond = self.condition(next);
                let mut nodes = vec![cond];
                nodes.extend(two(self));
                Node::new("number", "1", "(§ ? § : §)", nodes)
            }
            12 => {
                let bytes = self.pick(&[2, 4, 8]).unwrap_or(8);
                let value = self.value(&Ty::Int(bytes, false), next);
                Node::new("number", "1", "bswap(§)", vec![value])
            }
            13 => {
                let text = self.text(next);
                Node::new("number", "1", "strlen(§)", vec![text])
            }
            14 => {
                let sides = vec![self.text(next), self.text(next)];
                Node::new("number", "1", &format!("strncmp(§, §, {})", self.random.below(12)), sides)
            }
            15 => self.aggregate_read(),
            16 => match self.variable(|ty| matches!(ty, Ty::Int(8, _))).filter(|v| v.writable && !self.pure) {
                Some(var) => {
                    let form = self.pick(&["v++", "v--", "++v", "--v"]).unwrap_or("v++");
                    leaf(&form.replace('v', &var.name))
                }
                None => self.field(false),
            },
            17 if self.macros > 0 => {
                let n = self.random.below(self.macros);
                let sides = two(self);
                Node::new("number", "1", &format!("k{n}(§, §)"), sides)
            }
            18 => {
                let ty = self.int();
                let at = self.random.below(2000);
                leaf(&format!("(*({} *)uptr({}))", ty.name(), PAGE + at as u64))
            }
            19 => {
                let index = self.number(next);
                let var = self.variable(|ty| *ty == Ty::Str);
                match var {
                    Some(var) => {
                        Node::new("number", "1", &format!("{}[((uint64)§ + cpu * 0) & 7]", var.name), vec![index])
                    }
                    None => index,
                }
            }
            20 if !self.structs.is_empty() => {
                leaf(&format!("sizeof(struct s{})", self.random.below(self.structs.len())))
            }
            20 => {
                // Null pointers read as zero.
                leaf("(*(uint32 *)0)")
            }
            _ => self.field(false),
        }
    }

    pub(super) fn words(&mut self) -> String {
        let pieces = [
            "a",
            "bb",
            "key",
            "needle",
            " ",
            "x",
            "longer piece of text",
            "0",
            "\\n",
            "\\t",
            "\\x41",
            "\\\"",
            "%d",
            "ü",
        ];
        let mut text = String::new();
        for _ in 0..self.random.below(4) {
            text.push_str(self.pick(&pieces).unwrap_or("a"));
        }
        text
    }

    /// A string.
    pub(super) fn text(&mut self, depth: u32) -> Node {
        let make = |text: &str, nodes| Node::new("string", "\"a\"", text, nodes);
        match self.random.below(if depth >= DEPTH { 7 } else { 10 }) {
            0 | 1 => {
                let words = self.words();
                make(&format!("\"{words}\""), Vec::new())
            }
            2 => make(&format!("str({})", PAGE + 2048 + self.random.below(2040) as u64), Vec::new()),
            3 => make(
                &format!("str(uptr({}), {})", PAGE + self.random.below(4000) as u64, self.random.below(20)),
                Vec::new(),
            ),
            4 => self.field(true),
            5 | 6 => match self.variable(|ty| *ty == Ty::Str) {
                Some(var) => make(&var.name, Vec::new()),
                None => match self.member(|ty| *ty == Ty::Str) {
                    Some(text) => make(&text, Vec::new()),
                    None => make("\"word\"", Vec::new()),
                },
            },
            7 => match self.map_read(|ty| *ty == Ty::Str) {
                Some((node, _)) => node,
                None => make("\"other\"", Vec::new()),
            },
            8 => {
                let length = self.number(DEPTH);
                make(&format!("str({}, § & 15)", PAGE + 2048 + self.random.below(1000) as u64), vec![length])
            }
            _ => {
                let nodes = vec![self.condition(depth + 1), self.text(depth + 1), self.text(depth + 1)];
                make("(§ ? § : §)", nodes)
            }
        }
    }

    /// Something that is true or false.
    pub(super) fn condition(&mut self, depth: u32) -> Node {
        let make = |text: &str, nodes| Node::new("bool", "true", text, nodes);
        let next = depth + 1;
        if depth >= DEPTH {
            if let Some(var) = self.variable(|ty| *ty == Ty::Bool) {
                return make(&var.name, Vec::new());
            }
            let truth = self.pick(&TRUTHS).unwrap_or("pid > 0");
            return make(&format!("({truth})"), Vec::new());
        }
        match self.random.below(14) {
            0..=4 => {
                let op = self.pick(&["==", "!=", "<", "<=", ">", ">="]).unwrap_or("<");
                let sides = vec![self.number(next), self.number(next)];
                make(&format!("(§ {op} §)"), sides)
            }
            5 => {
                let op = self.pick(&["==", "!="]).unwrap_or("==");
                let sides = vec![self.text(next), self.text(next)];
                make(&format!("(§ {op} §)"), sides)
            }
            6 | 7 => {
                let op = self.pick(&["&&", "||"]).unwrap_or("&&");
                let sides = vec![self.condition(next), self.condition(next)];
                make(&format!("(§ {op} §)"), sides)
            }
            8 => {
                let cond = self.condition(next);
                make("!§", vec![cond])
            }
            9 => {
                let keyed: Vec<Map> = self.known().filter(|m| m.key.is_some()).cloned().collect();
                match self.pick(&keyed) {
                    Some(map) => self.has_key(&map, "has_key"),
                    None => make("true", Vec::new()),
                }
            }
            10 => {
                let needle = self.words();
                let haystack = self.text(next);
                make(&format!("strcontains(§, \"{needle}\")"), vec![haystack])
            }
            11 => {
                let tuple = Ty::Tuple(vec![self.ty(0), self.int()]);
                let sides = vec![self.value(&tuple, next), self.value(&tuple, next)];
                make("(§ == §)", sides)
            }
            12 => match self.map_read(|ty| *ty == Ty::Bool) {
                Some((node, _)) => node,
                None => make("(1 < 2)", Vec::new()),
            },
            _ => {
                let truth = self.pick(&TRUTHS).unwrap_or("pid > 0");
                make(&format!("({truth})"), Vec::new())
            }
        }
    }

    /// `has_key(@m, key)` or `delete(@m, key)`.
    pub(super) fn has_key(&mut self, map: &Map, function: &str) -> Node {
        let ty = map.key.clone().unwrap_or(I64);
        let key = self.key(map, &ty);
        let (open, close) = if matches!(ty, Ty::Tuple(_)) { ("(", ")") } else { ("", "") };
        Node::new("bool", "true", &format!("{function}({}, {open}§{close})", map.name), vec![key])
    }

    pub(super) fn aggregate_read(&mut self) -> Node {
        let readable = |m: &&Map| matches!(&m.content, Content::Aggregate(a) if a.is_readable());
        let found: Vec<Map> = self.known().filter(readable).cloned().collect();
        match self.pick(&found) {
            Some(map) => {
                let element = self.element(&map, &format!("of {}", map.name), "");
                Node::new("number", "1", "((int64)§)", vec![element])
            }
            None => Node::new("number", "1", "5", Vec::new()),
        }
    }
}

/// Without the parentheses around it.
fn strip(text: &str) -> String {
    if text.starts_with("((") || (text.starts_with('(') && text.contains(", ")) {
        return text.strip_prefix('(').and_then(|t| t.strip_suffix(')')).unwrap_or(text).to_owned();
    }
    text.to_owned()
}
