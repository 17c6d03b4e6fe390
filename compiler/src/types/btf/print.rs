//! C text of types: names for argument lists, whole definitions for listings. Layout that C would not give by itself is
//! written out (padding as unnamed bitfields, `__attribute__((packed))`), so that a definition compiles to the same bytes.

use std::fmt::Write as _;

use super::{Btf, BtfType, Composite, Enum, TypeId};

/// Nesting of types in one text; deeper ones are cut with `…`.
const DEPTH: u32 = 24;

/// Bytes of one text; the rest of a longer one is left out.
const LONGEST: usize = 1 << 20;

/// The type as in an argument list without the argument's name: `struct file *`, `int (*)(void *)`.
pub fn type_name(btf: &Btf, id: TypeId) -> String {
    declare(btf, id, String::new(), 0, DEPTH)
}

/// The type as its words follow each other, each `*` right behind what it points to: `const char*`, `void(int)*`. The form in which arguments
/// of user functions are listed.
pub fn plain_name(btf: &Btf, id: TypeId) -> String {
    plain(btf, id, DEPTH)
}

fn plain(btf: &Btf, id: TypeId, depth: u32) -> String {
    let Some(depth) = depth.checked_sub(1) else { return "…".to_owned() };
    let qualified = |word: &str, target| match btf.get(target) {
        BtfType::Ptr(_) => format!("{} {word}", plain(btf, target, depth)),
        _ => format!("{word} {}", plain(btf, target, depth)),
    };
    match btf.get(id) {
        BtfType::Ptr(target) => plain(btf, target, depth) + "*",
        BtfType::Const(target) => qualified("const", target),
        BtfType::Volatile(target) => qualified("volatile", target),
        BtfType::Restrict(target) | BtfType::TypeTag { target, .. } => plain(btf, target, depth),
        BtfType::Array(array) => format!("{}[{}]", plain(btf, array.elem, depth), array.len),
        BtfType::FuncProto(proto) => {
            let params: Vec<String> = proto.params().map(|param| plain(btf, param.ty, depth)).collect();
            format!("{}({})", plain(btf, proto.ret, depth), params.join(", "))
        }
        BtfType::Enum(it) if it.name.is_empty() => "enum".to_owned(),
        BtfType::Struct(it) if it.name.is_empty() => "struct".to_owned(),
        BtfType::Union(it) if it.name.is_empty() => "union".to_owned(),
        _ => type_name(btf, id),
    }
}

/// The definition of a struct, union or enum, without a final newline; `None` for other types.
///
/// ```text
/// struct path {
///         struct vfsmount *mnt;
///         struct dentry *dentry;
/// };
/// ```
pub fn definition(btf: &Btf, id: TypeId) -> Option<String> {
    let text = match btf.get(id) {
        BtfType::Struct(it) => composite(btf, id, "struct", it, 0, DEPTH),
        BtfType::Union(it) => composite(btf, id, "union", it, 0, DEPTH),
        BtfType::Enum(it) => enumeration(it, 0),
        _ => return None,
    };
    Some(text + ";")
}

/// A declaration of `inner`, which is a name, or what has been declared of it so far.
fn declare(btf: &Btf, id: TypeId, inner: String, level: usize, depth: u32) -> String {
    let mut id = id;
    let mut inner = inner;
    let mut qualifiers = String::new();
    // Each step takes one layer off; the bound ends loops in damaged BTF.
    for _ in 0..DEPTH {
        let base = match btf.get(id) {
            BtfType::Ptr(target) => {
                // `char *name`, but `char * (*name)(void)`.
                let space = if inner.starts_with('(') { " " } else { "" };
                inner = format!("*{space}{inner}");
                if matches!(btf.get(btf.skip_modifiers(target)), BtfType::Array(_) | BtfType::FuncProto(_)) {
                    inner = format!("({inner})");
                }
                id = target;
                continue;
            }
            BtfType::Array(array) => {
                let _ = write!(inner, "[{}]", array.len);
                id = array.elem;
                continue;
            }
            BtfType::FuncProto(proto) => {
                let params: Vec<String> = if depth == 0 {
                    vec!["…".into()]
                } else {
                    proto.params().map(|p| parameter(btf, p.ty, depth - 1)).collect()
                };
                let params = if params.is_empty() { "void".to_owned() } else { params.join(", ") };
                let _ = write!(inner, "({params})");
                id = proto.ret;
                continue;
            }
            BtfType::Const(target) => {
                id = target;
                qualify(btf, target, "const", &mut inner, &mut qualifiers);
                continue;
            }
            BtfType::Volatile(target) => {
                id = target;
                qualify(btf, target, "volatile", &mut inner, &mut qualifiers);
                continue;
            }
            BtfType::Restrict(target) | BtfType::TypeTag { target, .. } => {
                id = target;
                continue;
            }
            BtfType::Void => "void".to_owned(),
            BtfType::Int(it) => it.name.to_owned(),
            BtfType::Float { name, .. } | BtfType::Typedef { name, .. } => name.to_owned(),
            BtfType::Struct(it) => aggregate(btf, id, "struct", it, level, depth),
            BtfType::Union(it) => aggregate(btf, id, "union", it, level, depth),
            BtfType::Enum(it) if it.name.is_empty() => enumeration(it, level),
            BtfType::Enum(it) => format!("enum {}", it.name),
            BtfType::Fwd { name, union } => format!("{} {name}", if union { "union" } else { "struct" }),
            BtfType::DeclTag { .. } | BtfType::Func { .. } | BtfType::Var { .. } | BtfType::Datasec(_) => {
                "…".to_owned()
            }
        };
        let space = if inner.is_empty() { "" } else { " " };
        return format!("{qualifiers}{base}{space}{inner}");
    }
    format!("… {inner}")
}

/// A type in a list of parameters; nothing but dots stands for a variable number of them.
fn parameter(btf: &Btf, ty: TypeId, depth: u32) -> String {
    if ty == TypeId::VOID { "...".to_owned() } else { declare(btf, ty, String::new(), 0, depth) }
}

/// A qualifier of a pointer stands behind its `*`, any other before the type.
fn qualify(btf: &Btf, target: TypeId, word: &str, inner: &mut String, qualifiers: &mut String) {
    if matches!(btf.get(btf.skip_modifiers(target)), BtfType::Ptr(_)) {
        *inner = if inner.is_empty() { format!(" {word}") } else { format!(" {word} {inner}") };
    } else if !qualifiers.contains(word) {
        let _ = write!(qualifiers, "{word} ");
    }
}

/// A struct or union by its name, or with its members when it has none.
fn aggregate(btf: &Btf, id: TypeId, word: &str, it: Composite<'_>, level: usize, depth: u32) -> String {
    match (it.name.is_empty(), depth) {
        (false, _) => format!("{word} {}", it.name),
        (true, 0) => format!("{word} {{ … }}"),
        (true, _) => composite(btf, id, word, it, level, depth - 1),
    }
}

fn composite(btf: &Btf, id: TypeId, word: &str, it: Composite<'_>, level: usize, depth: u32) -> String {
    let mut out = word.to_owned();
    if !it.name.is_empty() {
        let _ = write!(out, " {}", it.name);
    }
    if it.is_empty() {
        return out + " {}";
    }
    out.push_str(" {\n");
    let align = btf.align_of(id);
    let indent = "\t".repeat(level + 1);
    let is_struct = word == "struct";
    let mut end = 0u32;
    let mut largest = 1;
    let mut between_bits = false;
    for member in it.members() {
        if out.len() > LONGEST {
            let _ = writeln!(out, "{indent}…");
            break;
        }
        let own_align = if align == 1 { 1 } else { btf.align_of(member.ty) };
        largest = largest.max(own_align);
        let size = btf.size_of(member.ty).unwrap_or(0).saturating_mul(8).min(u64::from(u32::MAX)) as u32;
        if is_struct {
            // Where C would put the member by itself.
            let natural = match member.bit_size {
                // A bitfield goes on in its unit while it fits.
                Some(bits) if size > 0 && end / size == (end + u32::from(bits) - 1) / size => end,
                Some(_) => end.next_multiple_of(size.max(1)),
                None => end.next_multiple_of(own_align.saturating_mul(8).max(1)),
            };
            // Between bit fields every gap is written out.
            let within = between_bits && member.bit_size.is_some();
            if member.bit_offset > if within { end } else { natural } {
                padding(&mut out, &indent, end, member.bit_offset, own_align, within);
            }
            between_bits = member.bit_size.is_some();
        }
        let declaration = declare(btf, member.ty, member.name.to_owned(), level + 1, depth);
        if let Some(bits) = member.bit_size {
            let _ = writeln!(out, "{indent}{declaration}: {bits};");
            end = member.bit_offset.saturating_add(u32::from(bits));
        } else {
            let _ = writeln!(out, "{indent}{declaration};");
            end = member.bit_offset.saturating_add(size);
        }
    }
    let total = it.size.saturating_mul(8);
    if is_struct && align > 1 && end.next_multiple_of(largest.saturating_mul(8)) < total {
        padding(&mut out, &indent, end, total, largest, false);
    }
    let _ = write!(out, "{}}}", "\t".repeat(level));
    if align == 1 && is_packed(btf, it) {
        out.push_str(" __attribute__((packed))");
    }
    out
}

/// Whether some member would want more than the alignment of one byte that the struct has.
fn is_packed(btf: &Btf, it: Composite<'_>) -> bool {
    it.members().any(|member| member.bit_size.is_none() && btf.align_of(member.ty) > 1)
}

/// Unnamed bitfields that fill the bits from one offset to another, the widest that lie naturally.
fn padding(out: &mut String, indent: &str, from: u32, to: u32, align: u32, between_bits: bool) {
    const UNITS: [(&str, u32); 4] = [("long", 64), ("int", 32), ("short", 16), ("char", 8)];
    /// Lines of one gap; a wider one is a sign of damage.
    const LINES: u32 = 1024;
    let mut at = from;
    let Some(&(name, bits)) = UNITS.iter().find(|(_, bits)| at.next_multiple_of(*bits) <= to) else { return };
    let start = at.next_multiple_of(bits);
    if start > at {
        let implied = if start == to {
            at.next_multiple_of(align.saturating_mul(8).max(1)) == to
        } else {
            to - start > start - at
        };
        if between_bits {
            let _ = writeln!(out, "{indent}{name}: {};", start - at);
        } else if !implied {
            let _ = writeln!(out, "{indent}{name}: 0;");
        }
        at = start;
    }
    for _ in 0..LINES {
        let rest = to - at;
        if rest == 0 {
            return;
        }
        if rest >= bits {
            let _ = writeln!(out, "{indent}{name}: {bits};");
            at += bits;
        } else {
            let name = UNITS.iter().rev().find(|(_, bits)| *bits >= rest).map_or(name, |(name, _)| name);
            let _ = writeln!(out, "{indent}{name}: {rest};");
            return;
        }
    }
}

fn enumeration(it: Enum<'_>, level: usize) -> String {
    let indent = "\t".repeat(level + 1);
    let mut out = if it.name.is_empty() { "enum {\n".to_owned() } else { format!("enum {} {{\n", it.name) };
    for (name, value) in it.values() {
        // The value of an unsigned 64-bit enum arrives wrapped.
        if it.signed {
            let _ = writeln!(out, "{indent}{name} = {value},");
        } else {
            let _ = writeln!(out, "{indent}{name} = {},", value as u64);
        }
    }
    let _ = write!(out, "{}}}", "\t".repeat(level));
    // Enums are of the size of int unless they say otherwise.
    out.push_str(match it.size {
        1 => " __attribute__((mode(byte)))",
        2 => " __attribute__((mode(HI)))",
        8 => " __attribute__((mode(word)))",
        _ => "",
    });
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::target::{Target, fixture::Fixture};
    use crate::types::btf::KindSet;

    fn text(kinds: KindSet, name: &str) -> String {
        let fixture = Fixture::new().unwrap();
        let btf = fixture.btf().unwrap();
        definition(btf, btf.find(kinds, name).unwrap()).unwrap()
    }

    #[test]
    fn structs_print_as_c() {
        assert_eq!(
            text(KindSet::STRUCT, "qstr"),
            "struct qstr {\n\tunion {\n\t\tstruct {\n\t\t\tu32 hash;\n\t\t\tu32 len;\n\t\t};\n\t\tu64 hash_len;\n\t};\n\tconst unsigned char *name;\n};"
        );
        assert_eq!(
            text(KindSet::STRUCT, "path"),
            "struct path {\n\tstruct vfsmount *mnt;\n\tstruct dentry *dentry;\n};"
        );
    }

    #[test]
    fn bitfields_arrays_and_anonymous_members_print() {
        let ip = text(KindSet::STRUCT, "iphdr");
        assert!(ip.starts_with("struct iphdr {\n\t__u8 ihl: 4;\n\t__u8 version: 4;\n\t__u8 tos;\n"), "{ip}");
        assert!(ip.ends_with("\t\tstruct {\n\t\t\t__be32 saddr;\n\t\t\t__be32 daddr;\n\t\t} addrs;\n\t};\n};"), "{ip}");
        let eth = text(KindSet::STRUCT, "ethhdr");
        assert_eq!(
            eth,
            "struct ethhdr {\n\tunsigned char h_dest[6];\n\tunsigned char h_source[6];\n\t__be16 h_proto;\n};"
        );
    }

    #[test]
    fn gaps_between_bit_fields_print() {
        let task = text(KindSet::STRUCT, "task_struct");
        let (_, behind) = task.split_once("\tunsigned int sched_task_hot: 1;\n").unwrap();
        assert_eq!(behind.split('\n').next(), Some("\tlong: 28;"), "{task}");
    }

    #[test]
    fn function_pointers_print() {
        let sock = text(KindSet::STRUCT, "sock");
        assert!(sock.contains("\tint (*sk_backlog_rcv)(struct sock *, struct sk_buff *);\n"), "{sock}");
        assert!(sock.contains("\tu8 sk_txtime_unused: 6;\n"), "{sock}");
    }

    #[test]
    fn enums_print() {
        assert_eq!(
            text(KindSet::ENUM, "pid_type"),
            "enum pid_type {\n\tPIDTYPE_PID = 0,\n\tPIDTYPE_TGID = 1,\n\tPIDTYPE_PGID = 2,\n\tPIDTYPE_SID = 3,\n\tPIDTYPE_MAX = 4,\n};"
        );
    }

    #[test]
    fn argument_types_have_no_name() {
        let fixture = Fixture::new().unwrap();
        let btf = fixture.btf().unwrap();
        let types =
            |function| btf.function(function).unwrap().params().map(|p| type_name(btf, p.ty)).collect::<Vec<_>>();
        assert_eq!(types("vfs_read"), ["struct file *", "char *", "size_t", "loff_t *"]);
        assert_eq!(types("kfree"), ["const void *"]);
        assert_eq!(types("tcp_v4_connect"), ["struct sock *", "struct sockaddr *", "int"]);
    }

    #[test]
    fn every_type_of_the_pinned_kernel_prints() {
        let fixture = Fixture::new().unwrap();
        let btf = fixture.btf().unwrap();
        let mut definitions = 0;
        for id in btf.own_ids() {
            assert!(!type_name(btf, id).is_empty());
            definitions += usize::from(definition(btf, id).is_some());
        }
        assert!(definitions > 500, "{definitions}");
    }
}
