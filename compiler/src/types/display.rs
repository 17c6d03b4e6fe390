//! Types as messages and `-d types` write them: `uint64`, `string[16]`, `struct sock *`, `(int8,string[3])`.

use super::{Aggregates, Type};
use crate::program::{Aggregate, StackMode};

/// The name of a type.
pub fn display(ty: &Type, aggregates: &Aggregates) -> String {
    match ty {
        Type::Void => "void".into(),
        Type::Bool => "bool".into(),
        Type::Int(int) => format!("{}int{}", if int.signed { "" } else { "u" }, u32::from(int.size) * 8),
        Type::Enum { id, int } => match aggregates.enums.get(*id) {
            Some(def) if !def.name.is_empty() => def.name.clone(),
            _ => display(&Type::Int(*int), aggregates),
        },
        Type::Ptr(target, _) => {
            let name = display(target, aggregates);
            if name.ends_with('*') { format!("{name}*") } else { format!("{name} *") }
        }
        Type::Struct(id) => match aggregates.structs.get(*id) {
            Some(def) if !def.name.is_empty() => def.name.clone(),
            _ => "struct (anonymous)".into(),
        },
        Type::Array(elem, len) => format!("{}[{len}]", display(elem, aggregates)),
        Type::Str(capacity) => format!("string[{capacity}]"),
        Type::Buf(capacity) => format!("buffer[{capacity}]"),
        Type::Strings => "string array".into(),
        Type::Tuple(members) => {
            let names: Vec<String> = members.iter().map(|ty| display(ty, aggregates)).collect();
            format!("({})", names.join(","))
        }
        Type::Record(members) => {
            let names: Vec<String> =
                members.iter().map(|(name, ty)| format!(".{name} = {}", display(ty, aggregates))).collect();
            format!("record {{ {} }}", names.join(", "))
        }
        Type::Stack { user, mode, limit } => {
            let mode = match mode {
                StackMode::Bpftrace => "bpftrace",
                StackMode::Perf => "perf",
                StackMode::Raw => "raw",
                StackMode::BuildId => "build_id",
            };
            format!("{}stack_{mode}_{limit}", if *user { 'u' } else { 'k' })
        }
        Type::KernelSymbol => "ksym_t".into(),
        Type::UserSymbol => "usym_t".into(),
        Type::Inet => "inet[24]".into(),
        Type::Mac => "mac_address".into(),
        Type::Timestamp => "timestamp".into(),
        Type::Fixed { .. } => "fixed_t".into(),
        Type::Username => "username_t".into(),
        // Whatever the name, its place in a string is this long.
        Type::ErrorText | Type::SignalName | Type::SyscallName => "string[64]".into(),
        Type::CgroupPath => "cgroup_path_t".into(),
        Type::ProbeName => "probe_t".into(),
        Type::Aggregate(aggregate) => aggregate_name(*aggregate).into(),
    }
}

fn aggregate_name(aggregate: Aggregate) -> &'static str {
    match aggregate {
        Aggregate::Count => "count_t",
        Aggregate::Sum { signed: true } => "sum_t",
        Aggregate::Sum { signed: false } => "usum_t",
        Aggregate::Min { signed: true } => "min_t",
        Aggregate::Min { signed: false } => "umin_t",
        Aggregate::Max { signed: true } => "max_t",
        Aggregate::Max { signed: false } => "umax_t",
        Aggregate::Avg { signed: true } => "avg_t",
        Aggregate::Avg { signed: false } => "uavg_t",
        Aggregate::Stats { signed: true } => "stats_t",
        Aggregate::Stats { signed: false } => "ustats_t",
        Aggregate::Hist { .. } => "hist_t",
        Aggregate::LinearHist { .. } => "lhist_t",
        Aggregate::Series { .. } => "tseries_t",
    }
}
