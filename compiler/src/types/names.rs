//! Names of types that exist without BTF and without C definitions: the language's own, C's, and the kernel's and libc's
//! fixed typedefs. A script that defines a name again overrides this table.

use super::{IntType, Type};
use crate::program::Aggregate;

const fn int(size: u8, signed: bool) -> IntType {
    IntType { size, signed }
}

const I8: IntType = int(1, true);
const I16: IntType = int(2, true);
const U16: IntType = int(2, false);
const I32: IntType = IntType::I32;
const U8: IntType = IntType::U8;
const U32: IntType = IntType::U32;
const I64: IntType = IntType::I64;
const U64: IntType = IntType::U64;

/// Integer types by name; words of a C type are joined by one blank.
const INTEGERS: &[(&str, IntType)] = &[
    ("int8", I8),
    ("int16", I16),
    ("int32", I32),
    ("int64", I64),
    ("uint8", U8),
    ("uint16", U16),
    ("uint32", U32),
    ("uint64", U64),
    ("int8_t", I8),
    ("int16_t", I16),
    ("int32_t", I32),
    ("int64_t", I64),
    ("uint8_t", U8),
    ("uint16_t", U16),
    ("uint32_t", U32),
    ("uint64_t", U64),
    ("s8", I8),
    ("s16", I16),
    ("s32", I32),
    ("s64", I64),
    ("u8", U8),
    ("u16", U16),
    ("u32", U32),
    ("u64", U64),
    ("__s8", I8),
    ("__s16", I16),
    ("__s32", I32),
    ("__s64", I64),
    ("__u8", U8),
    ("__u16", U16),
    ("__u32", U32),
    ("__u64", U64),
    ("__be16", U16),
    ("__be32", U32),
    ("__be64", U64),
    ("__le16", U16),
    ("__le32", U32),
    ("__le64", U64),
    ("char", I8),
    ("short", I16),
    ("int", I32),
    ("long", I64),
    ("intptr_t", I64),
    ("uintptr_t", U64),
    ("size_t", U64),
    ("ssize_t", I64),
    ("__kernel_size_t", U64),
    ("__kernel_ssize_t", I64),
    ("ptrdiff_t", I64),
    ("off_t", I64),
    ("off64_t", I64),
    ("loff_t", I64),
    ("time_t", I64),
    ("time64_t", I64),
    ("clock_t", I64),
    ("ktime_t", I64),
    ("pid_t", I32),
    ("clockid_t", I32),
    ("key_serial_t", I32),
    ("uid_t", U32),
    ("gid_t", U32),
    ("dev_t", U32),
    ("mode_t", U32),
    ("umode_t", U16),
    ("fmode_t", U32),
    ("gfp_t", U32),
    ("blk_status_t", U8),
    ("blk_opf_t", U32),
    ("sector_t", U64),
    ("blkcnt_t", U64),
    ("ino_t", U64),
    ("pgoff_t", U64),
    ("phys_addr_t", U64),
    ("dma_addr_t", U64),
    ("resource_size_t", U64),
    ("cycles_t", U64),
    ("socklen_t", U32),
    ("sa_family_t", U16),
    ("in_addr_t", U32),
    ("in_port_t", U16),
    ("cputime_t", U64),
    ("nlink_t", U32),
    ("aio_context_t", U64),
    ("qid_t", I32),
    ("mqd_t", I32),
    ("timer_t", I32),
    ("old_time32_t", I32),
    ("rwf_t", I32),
    ("compat_ulong_t", U32),
    ("cap_user_header_t", U64),
];

/// The type of a name that is the same on every system; `None` for names that BTF or the script must know.
pub fn predefined(name: &str) -> Option<Type> {
    match name {
        "void" => return Some(Type::Void),
        "bool" | "_Bool" => return Some(Type::Bool),
        "ksym_t" | "ksym" => return Some(Type::KernelSymbol),
        "usym_t" | "usym" => return Some(Type::UserSymbol),
        "inet" | "inet_t" => return Some(Type::Inet),
        "macaddr_t" => return Some(Type::Mac),
        "timestamp" => return Some(Type::Timestamp),
        "cgroup_path_t" => return Some(Type::CgroupPath),
        "username_t" => return Some(Type::Username),
        _ => {}
    }
    if let Some((_, int)) = INTEGERS.iter().find(|(known, _)| *known == name) {
        return Some(Type::Int(*int));
    }
    c_words(name)
}

/// What maps hold of aggregations whose form does not depend on arguments: names that `sizeof` knows, and no value has.
const AGGREGATES: &[(&str, Aggregate)] = &[
    ("count_t", Aggregate::Count),
    ("sum_t", Aggregate::Sum { signed: true }),
    ("usum_t", Aggregate::Sum { signed: false }),
    ("min_t", Aggregate::Min { signed: true }),
    ("umin_t", Aggregate::Min { signed: false }),
    ("max_t", Aggregate::Max { signed: true }),
    ("umax_t", Aggregate::Max { signed: false }),
    ("avg_t", Aggregate::Avg { signed: true }),
    ("uavg_t", Aggregate::Avg { signed: false }),
    ("stats_t", Aggregate::Stats { signed: true }),
    ("ustats_t", Aggregate::Stats { signed: false }),
];

/// An aggregation by the name of its type.
pub fn aggregate(name: &str) -> Option<Type> {
    AGGREGATES.iter().find(|(known, _)| *known == name).map(|(_, aggregate)| Type::Aggregate(*aggregate))
}

/// All names of [`predefined`], for suggestions.
pub fn predefined_names() -> impl Iterator<Item = &'static str> {
    ["void", "bool", "string"].into_iter().chain(INTEGERS.iter().map(|(name, _)| *name))
}

/// `unsigned long long`, `short int` and their permutations.
fn c_words(name: &str) -> Option<Type> {
    let (mut size, mut signed, mut longs, mut char, mut known) = (4u8, true, 0u8, false, false);
    for word in name.split(' ') {
        match word {
            "unsigned" => signed = false,
            "signed" | "int" => {}
            "short" => size = 2,
            "long" => longs += 1,
            "char" => char = true,
            "const" | "volatile" => continue,
            _ => return None,
        }
        known = true;
    }
    if longs > 0 {
        size = 8;
    }
    if char {
        size = 1;
    }
    (known && longs <= 2).then_some(Type::Int(int(size, signed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_names_have_the_sizes_of_lp64() {
        assert_eq!(predefined("unsigned long"), Some(Type::U64));
        assert_eq!(predefined("unsigned int"), Some(Type::U32));
        assert_eq!(predefined("unsigned"), Some(Type::U32));
        assert_eq!(predefined("long long int"), Some(Type::I64));
        assert_eq!(predefined("signed char"), Some(Type::Int(I8)));
        assert_eq!(predefined("unsigned short"), Some(Type::Int(U16)));
        assert_eq!(predefined("u64"), Some(Type::U64));
        assert_eq!(predefined("struct_of_mine"), None);
    }
}
