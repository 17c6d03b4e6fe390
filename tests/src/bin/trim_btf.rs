//! Cuts a kernel's BTF down to what tests use: `trim_btf <BTF> <ROOTS> <OUT>`. ROOTS has one line each: `struct NAME`, `union NAME`,
//! `enum NAME`, `typedef NAME`, `func NAME` (globs allowed), `enumerator NAME` (the enum that has it). Roots keep all their
//! members; structs behind a pointer that are not roots become forward declarations.

use std::collections::{HashMap, HashSet, VecDeque};
use std::process::ExitCode;

use tapline_compiler::target::Glob;
use tapline_compiler::types::btf::{Btf, BtfType, Kind, KindSet, TypeId};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [input, roots, output] = args.as_slice() else {
        eprintln!("usage: trim_btf <BTF> <ROOTS> <OUT>");
        return ExitCode::FAILURE;
    };
    match run(input, roots, output) {
        Ok(report) => {
            eprintln!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("trim_btf: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(input: &str, roots: &str, output: &str) -> Result<String, String> {
    let read = |path: &str| std::fs::read(path).map_err(|error| format!("{path}: {error}"));
    let btf = Btf::new(Box::new(read(input)?)).map_err(|error| format!("{input}: {error}"))?;
    let roots = String::from_utf8(read(roots)?).map_err(|error| format!("{roots}: {error}"))?;
    let (roots, missing) = find_roots(&btf, &roots)?;
    let mut whole = Whole { btf: &btf, roots: roots.iter().copied().collect(), seen: HashSet::new() };
    for &root in &roots {
        whole.visit(root);
    }
    let mut trimmed = Trimmed::new(&btf, whole.seen.into_iter().map(|(id, _)| id).collect());
    for &root in &roots {
        trimmed.id(root);
    }
    let bytes = trimmed.finish();
    std::fs::write(output, &bytes).map_err(|error| format!("{output}: {error}"))?;
    Ok(format!("{} bytes; not in this kernel: {}", bytes.len(), missing.join(", ")))
}

/// Ids of the roots, and the lines that this kernel has nothing for.
fn find_roots(btf: &Btf, text: &str) -> Result<(Vec<TypeId>, Vec<String>), String> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (kind, pattern) = line.split_once(' ').ok_or_else(|| format!("not a root: {line}"))?;
        let kinds = match kind {
            "struct" => KindSet::STRUCT,
            "union" => KindSet::UNION,
            "enum" => KindSet::ENUM,
            "typedef" => KindSet::PLAIN,
            "func" => KindSet::FUNC,
            "enumerator" => {
                match btf.enumerator(pattern) {
                    Some((id, _)) => found.push(id),
                    None => missing.push(line.to_owned()),
                }
                continue;
            }
            _ => return Err(format!("not a kind: {kind}")),
        };
        let glob = Glob::new(pattern);
        let before = found.len();
        let mut names = HashSet::new();
        found
            .extend(btf.own_ids().filter(|&id| {
                kinds.contains(btf.kind(id)) && glob.matches(btf.name(id)) && names.insert(btf.name(id))
            }));
        if found.len() == before {
            missing.push(line.to_owned());
        }
    }
    Ok((found, missing))
}

/// The types that are needed with all their members.
struct Whole<'a> {
    btf: &'a Btf,
    roots: HashSet<TypeId>,
    seen: HashSet<(TypeId, bool)>,
}

impl Whole<'_> {
    fn visit(&mut self, root: TypeId) {
        let mut todo = vec![(root, false)];
        while let Some((id, behind_pointer)) = todo.pop() {
            let ty = self.btf.get(id);
            if let BtfType::Struct(it) | BtfType::Union(it) = ty
                && behind_pointer
                && !it.name.is_empty()
                && !self.roots.contains(&id)
            {
                continue;
            }
            if !self.seen.insert((id, behind_pointer)) {
                continue;
            }
            match ty {
                BtfType::Struct(it) | BtfType::Union(it) => todo.extend(it.members().map(|m| (m.ty, false))),
                BtfType::Array(it) => todo.extend([(it.elem, behind_pointer), (it.index, false)]),
                BtfType::Ptr(target) => todo.push((target, true)),
                BtfType::FuncProto(it) => {
                    todo.push((it.ret, true));
                    todo.extend(it.params().map(|p| (p.ty, true)));
                }
                BtfType::Func { proto, .. } => todo.push((proto, true)),
                BtfType::Typedef { target, .. }
                | BtfType::Const(target)
                | BtfType::Volatile(target)
                | BtfType::Restrict(target)
                | BtfType::TypeTag { target, .. } => todo.push((target, behind_pointer)),
                _ => {}
            }
        }
    }
}

/// The new BTF while it is written.
struct Trimmed<'a> {
    btf: &'a Btf,
    whole: HashSet<TypeId>,
    ids: HashMap<TypeId, u32>,
    todo: VecDeque<TypeId>,
    strings: Vec<u8>,
    known_strings: HashMap<String, u32>,
}

impl<'a> Trimmed<'a> {
    fn new(btf: &'a Btf, whole: HashSet<TypeId>) -> Self {
        Self { btf, whole, ids: HashMap::new(), todo: VecDeque::new(), strings: vec![0], known_strings: HashMap::new() }
    }

    /// The new id of a type, which is written when its turn comes.
    fn id(&mut self, old: TypeId) -> u32 {
        if old == TypeId::VOID {
            return 0;
        }
        let next = self.ids.len() as u32 + 1;
        *self.ids.entry(old).or_insert_with(|| {
            self.todo.push_back(old);
            next
        })
    }

    fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        if let Some(&at) = self.known_strings.get(text) {
            return at;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(text.as_bytes());
        self.strings.push(0);
        self.known_strings.insert(text.to_owned(), at);
        at
    }

    fn finish(mut self) -> Vec<u8> {
        let mut types = Vec::new();
        while let Some(old) = self.todo.pop_front() {
            for word in self.record(old) {
                types.extend(word.to_ne_bytes());
            }
        }
        let mut out = Vec::new();
        out.extend(0xeb9f_u16.to_ne_bytes());
        out.extend([1, 0]);
        for word in [24, 0, types.len() as u32, types.len() as u32, self.strings.len() as u32] {
            out.extend(word.to_ne_bytes());
        }
        out.extend(types);
        out.extend(self.strings);
        out
    }

    fn record(&mut self, old: TypeId) -> Vec<u32> {
        let name = self.string(self.btf.name(old));
        let head = |kind: Kind, flag: bool, vlen: u32, size: u32| {
            vec![name, (kind as u32) << 24 | u32::from(flag) << 31 | vlen, size]
        };
        let kind = self.btf.kind(old);
        match self.btf.get(old) {
            BtfType::Struct(it) | BtfType::Union(it) => {
                if !self.whole.contains(&old) {
                    return head(Kind::Fwd, kind == Kind::Union, 0, 0);
                }
                let bitfields = it.members().any(|m| m.bit_size.is_some());
                let mut words = head(kind, bitfields, it.len() as u32, it.size);
                for member in it.members() {
                    let bits = u32::from(member.bit_size.unwrap_or(0)) << 24;
                    words.extend([self.string(member.name), self.id(member.ty), member.bit_offset | bits]);
                }
                words
            }
            BtfType::Int(it) => {
                let encoding = u32::from(it.signed) | u32::from(it.char) << 1 | u32::from(it.bool) << 2;
                let mut words = head(kind, false, 0, it.size);
                words.push(encoding << 24 | u32::from(it.bit_offset) << 16 | u32::from(it.bits));
                words
            }
            BtfType::Array(it) => {
                let mut words = head(kind, false, 0, 0);
                words.extend([self.id(it.elem), self.id(it.index), it.len]);
                words
            }
            BtfType::Enum(it) => {
                let mut words = head(kind, it.signed, it.len() as u32, it.size);
                for (name, value) in it.values() {
                    words.extend([self.string(name), value as u32]);
                    if kind == Kind::Enum64 {
                        words.push((value >> 32) as u32);
                    }
                }
                words
            }
            BtfType::FuncProto(it) => {
                let ret = self.id(it.ret);
                let mut words = head(kind, false, it.params().len() as u32, ret);
                for param in it.params() {
                    words.extend([self.string(param.name), self.id(param.ty)]);
                }
                words
            }
            BtfType::Fwd { union, .. } => head(kind, union, 0, 0),
            BtfType::Func { proto, linkage, .. } => {
                let proto = self.id(proto);
                head(kind, false, linkage, proto)
            }
            BtfType::Ptr(target)
            | BtfType::Typedef { target, .. }
            | BtfType::Const(target)
            | BtfType::Volatile(target)
            | BtfType::Restrict(target)
            | BtfType::TypeTag { target, .. } => {
                let target = self.id(target);
                head(kind, false, 0, target)
            }
            BtfType::Float { size, .. } => head(kind, false, 0, size),
            // Nothing that is kept refers to variables, sections and tags of declarations.
            BtfType::Void | BtfType::Var { .. } | BtfType::Datasec(_) | BtfType::DeclTag { .. } => {
                head(Kind::Fwd, false, 0, 0)
            }
        }
    }
}
