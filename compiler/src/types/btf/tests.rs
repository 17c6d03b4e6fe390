//! A small BTF written by hand: every kind once, then the same bytes damaged.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;

/// Writes BTF records; ids count from `first`.
struct Writer {
    types: Vec<u8>,
    strings: Vec<u8>,
    first_string: u32,
    next: u32,
}

impl Writer {
    fn new() -> Self {
        Self { types: Vec::new(), strings: vec![0], first_string: 0, next: 1 }
    }
    fn after(base: &Btf) -> Self {
        Self { types: Vec::new(), strings: Vec::new(), first_string: base.end_string(), next: base.end() }
    }
    fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = self.first_string + self.strings.len() as u32;
        self.strings.extend(text.as_bytes());
        self.strings.push(0);
        at
    }
    fn record(&mut self, name: &str, kind: Kind, flag: bool, vlen: u32, size: u32, rest: &[u32]) -> u32 {
        let name = self.string(name);
        let info = (kind as u32) << 24 | u32::from(flag) << 31 | vlen;
        for word in [name, info, size].iter().chain(rest) {
            self.types.extend(word.to_ne_bytes());
        }
        self.next += 1;
        self.next - 1
    }
    fn finish(self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(0xeb9f_u16.to_ne_bytes());
        out.extend([1, 0]);
        for word in [24, 0, self.types.len() as u32, self.types.len() as u32, self.strings.len() as u32] {
            out.extend(word.to_ne_bytes());
        }
        out.extend(self.types);
        out.extend(self.strings);
        out
    }
}

fn sample() -> Vec<u8> {
    let mut w = Writer::new();
    let int = w.record("int", Kind::Int, false, 0, 4, &[1 << 24 | 32]); // 1
    let char_ = w.record("char", Kind::Int, false, 0, 1, &[8]); // 2
    let const_char = w.record("", Kind::Const, false, 0, char_, &[]); // 3
    let ptr = w.record("", Kind::Ptr, false, 0, const_char, &[]); // 4
    let array = w.record("", Kind::Array, false, 0, 0, &[char_, int, 16]); // 5
    let pid_t = w.record("pid_t", Kind::Typedef, false, 0, int, &[]); // 6
    let names: Vec<u32> = ["comm", "flag", "pid", "name"].iter().map(|n| w.string(n)).collect();
    let members = [names[0], array, 0, names[1], int, 3 << 24 | 128, names[2], pid_t, 160, names[3], ptr, 192];
    w.record("task_struct", Kind::Struct, true, 4, 32, &members); // 7
    let (a, b) = (w.string("RED"), w.string("BLUE"));
    w.record("colour", Kind::Enum, true, 2, 4, &[a, 7, b, (-2i32) as u32]); // 8
    let big = w.string("HUGE");
    w.record("wide", Kind::Enum64, false, 1, 8, &[big, 5, 1]); // 9
    let p = w.string("path");
    let proto = w.record("", Kind::FuncProto, false, 2, int, &[p, ptr, 0, 0]); // 10
    w.record("do_open", Kind::Func, false, 1, proto, &[]); // 11
    w.record("u", Kind::Union, false, 0, 8, &[]); // 12
    w.record("later", Kind::Fwd, true, 0, 0, &[]); // 13
    let user = w.record("user", Kind::TypeTag, false, 0, char_, &[]); // 14
    w.record("", Kind::Ptr, false, 0, user, &[]); // 15
    let var = w.record("jiffies", Kind::Var, false, 0, int, &[1]); // 16
    w.record(".data", Kind::Datasec, false, 1, 4, &[var, 8, 4]); // 17
    w.record("double", Kind::Float, false, 0, 8, &[]); // 18
    w.record("tag", Kind::DeclTag, false, 0, 7, &[u32::MAX]); // 19
    w.record("loop_a", Kind::Typedef, false, 0, 21, &[]); // 20
    w.record("loop_b", Kind::Typedef, false, 0, 20, &[]); // 21
    // The old form of a bitfield: an integer of 5 bits at bit 3 of its storage.
    let narrow = w.record("int", Kind::Int, false, 0, 4, &[1 << 24 | 3 << 16 | 5]); // 22
    let field = w.string("bits");
    w.record("old", Kind::Struct, false, 1, 4, &[field, narrow, 8]); // 23
    w.finish()
}

fn open(bytes: Vec<u8>) -> Btf {
    Btf::new(Box::new(bytes)).unwrap()
}

#[test]
fn a_struct_has_members_with_offsets_and_bitfields() {
    let btf = open(sample());
    let id = btf.find(KindSet::STRUCT, "task_struct").unwrap();
    assert_eq!(id, TypeId(7));
    let BtfType::Struct(task) = btf.get(id) else { panic!("not a struct") };
    assert_eq!((task.name, task.size, task.len()), ("task_struct", 32, 4));
    let members: Vec<_> = task.members().map(|m| (m.name, m.ty.0, m.bit_offset, m.bit_size)).collect();
    assert_eq!(
        members,
        [("comm", 5, 0, None), ("flag", 1, 128, Some(3)), ("pid", 6, 160, None), ("name", 4, 192, None)]
    );
    assert_eq!((btf.size_of(TypeId(5)), btf.align_of(TypeId(5))), (Some(16), 1));
    assert_eq!((btf.size_of(id), btf.align_of(id)), (Some(32), 8));
    let BtfType::Struct(old) = btf.get(TypeId(23)) else { panic!("not a struct") };
    let bits: Vec<_> = old.members().map(|m| (m.bit_offset, m.bit_size)).collect();
    assert_eq!(bits, [(11, Some(5))]);
}

#[test]
fn enumerators_are_found_with_their_sign_and_width() {
    let btf = open(sample());
    assert_eq!(btf.enumerator("RED"), Some((TypeId(8), 7)));
    assert_eq!(btf.enumerator("BLUE"), Some((TypeId(8), -2)));
    assert_eq!(btf.enumerator("HUGE"), Some((TypeId(9), 1 << 32 | 5)));
    assert_eq!(btf.enumerator("GREEN"), None);
    let BtfType::Enum(colour) = btf.get(TypeId(8)) else { panic!("not an enum") };
    assert_eq!(colour.values().collect::<Vec<_>>(), [("RED", 7), ("BLUE", -2)]);
    assert_eq!((colour.len(), colour.size, colour.signed), (2, 4, true));
}

#[test]
fn functions_have_prototypes() {
    let btf = open(sample());
    let proto = btf.function("do_open").unwrap();
    assert_eq!(proto.ret, TypeId(1));
    assert_eq!(proto.params().map(|p| (p.name, p.ty.0)).collect::<Vec<_>>(), [("path", 4), ("", 0)]);
    assert!(btf.function("do_close").is_none());
}

#[test]
fn every_other_kind_reads_back() {
    let btf = open(sample());
    assert!(matches!(btf.get(TypeId(13)), BtfType::Fwd { name: "later", union: true }));
    assert!(matches!(btf.get(TypeId(16)), BtfType::Var { name: "jiffies", ty: TypeId(1), linkage: 1 }));
    assert!(matches!(btf.get(TypeId(18)), BtfType::Float { name: "double", size: 8 }));
    assert!(matches!(btf.get(TypeId(19)), BtfType::DeclTag { name: "tag", target: TypeId(7), component: -1 }));
    let BtfType::Datasec(data) = btf.get(TypeId(17)) else { panic!("not a section") };
    assert_eq!(data.vars().collect::<Vec<_>>(), [VarPlace { var: TypeId(16), offset: 8, size: 4 }]);
    let BtfType::Ptr(target) = btf.get(TypeId(15)) else { panic!("not a pointer") };
    assert!(btf.has_tag(target, "user") && !btf.has_tag(target, "rcu"));
    assert_eq!(btf.resolve(target), TypeId(2));
    assert!(matches!(btf.get(TypeId::VOID), BtfType::Void));
    assert!(matches!(btf.get(TypeId(99)), BtfType::Void));
}

#[test]
fn names_are_found_by_scan_and_by_index() {
    let btf = open(sample());
    for round in 0..2 * SCANS_BEFORE_INDEX {
        assert_eq!(btf.find(KindSet::PLAIN, "pid_t"), Some(TypeId(6)), "round {round}");
        assert_eq!(btf.find(KindSet::STRUCT, "pid_t"), None, "round {round}");
        assert_eq!(btf.find(KindSet::PLAIN, "pid_"), None, "round {round}");
        assert_eq!(btf.find(KindSet::PLAIN, "int"), Some(TypeId(1)), "the first of two in round {round}");
    }
    assert!(btf.index.get().is_some());
    assert_eq!(btf.find(KindSet::PLAIN, ""), None);
}

#[test]
fn loops_of_typedefs_end() {
    let btf = open(sample());
    assert_eq!(btf.resolve(TypeId(20)), TypeId::VOID);
    assert_eq!(btf.size_of(TypeId(20)), None);
    assert_eq!(btf.align_of(TypeId(20)), 1);
}

#[test]
fn a_split_btf_continues_its_base() {
    let base = Rc::new(open(sample()));
    let mut w = Writer::after(&base);
    let ptr = w.record("", Kind::Ptr, false, 0, 7, &[]);
    let member = w.string("task");
    w.record("mod_state", Kind::Struct, false, 1, 8, &[member, ptr, 0]);
    let module = Btf::split(Box::new(w.finish()), base.clone()).unwrap();
    assert_eq!(module.own_ids().collect::<Vec<_>>(), [TypeId(24), TypeId(25)]);
    for _ in 0..2 * SCANS_BEFORE_INDEX {
        assert_eq!(module.find(KindSet::STRUCT, "mod_state"), Some(TypeId(25)));
        assert_eq!(module.find(KindSet::STRUCT, "task_struct"), Some(TypeId(7)));
        assert_eq!(module.find_own(KindSet::STRUCT, "task_struct"), None);
    }
    let BtfType::Struct(state) = module.get(TypeId(25)) else { panic!("not a struct") };
    assert_eq!(state.members().next().unwrap().name, "task");
    let BtfType::Struct(task) = module.get(TypeId(7)) else { panic!("not a struct") };
    assert_eq!(task.members().next().unwrap().name, "comm");
    assert_eq!(module.enumerator("RED"), Some((TypeId(8), 7)));
}

#[test]
fn what_is_not_btf_is_refused() {
    let parse = |bytes: Vec<u8>| Btf::new(Box::new(bytes)).map(|_| ());
    assert_eq!(parse(Vec::new()), Err(BtfError::Truncated));
    assert_eq!(parse(b"ELF is not BTF".to_vec()), Err(BtfError::BadMagic));
    let mut swapped = sample();
    swapped.swap(0, 1);
    assert_eq!(parse(swapped), Err(BtfError::ForeignEndian));
    let whole = sample();
    for len in 2..whole.len() {
        assert_eq!(parse(whole[..len].to_vec()), Err(BtfError::Truncated), "cut at {len}");
    }
    let mut unknown = sample();
    unknown[24 + 7] = 31;
    assert_eq!(parse(unknown), Err(BtfError::UnknownKind(31)));
}

/// Reads everything there is to read.
fn walk(btf: &Btf) {
    for id in btf.own_ids() {
        let _ = (btf.size_of(id), btf.align_of(id), btf.resolve(id), btf.has_tag(id, "user"));
        match btf.get(id) {
            BtfType::Struct(it) | BtfType::Union(it) => {
                it.members().for_each(drop);
            }
            BtfType::Enum(it) => {
                it.values().for_each(drop);
            }
            BtfType::FuncProto(it) => {
                it.params().for_each(drop);
            }
            BtfType::Datasec(it) => {
                it.vars().for_each(drop);
            }
            _ => {}
        }
    }
    let _ = btf.enumerator("RED");
    for _ in 0..=SCANS_BEFORE_INDEX {
        let _ = (btf.find(KindSet::STRUCT, "task_struct"), btf.function("do_open").is_some());
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let whole = sample();
    // A linear congruential generator: the same damage in every run.
    let mut seed = 1u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let mut accepted = 0;
    for _ in 0..4_000 {
        let mut bytes = whole.clone();
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            bytes[at] = random(256) as u8;
        }
        if let Ok(btf) = Btf::new(Box::new(bytes)) {
            accepted += 1;
            walk(&btf);
        }
    }
    assert!(accepted > 400, "most damage leaves a readable table: {accepted}");
}
