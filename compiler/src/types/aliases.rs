//! Fields that the kernel's headers define as macros over nested fields, which BTF cannot know, and fields that newer kernels
//! renamed. Sources: `include/net/sock.h`, `include/net/inet_sock.h`, `include/net/inet_timewait_sock.h` of Linux.

/// A macro over nested fields.
#[derive(Debug)]
pub struct Alias {
    /// The struct that has the macro.
    pub owner: &'static str,
    /// The macro.
    pub name: &'static str,
    /// What it stands for, step by step.
    pub path: &'static [&'static str],
}

const fn sock(name: &'static str, field: &'static [&'static str]) -> Alias {
    Alias { owner: "struct sock", name, path: field }
}

const fn inet(name: &'static str, field: &'static [&'static str]) -> Alias {
    Alias { owner: "struct inet_sock", name, path: field }
}

const fn timewait(name: &'static str, field: &'static [&'static str]) -> Alias {
    Alias { owner: "struct inet_timewait_sock", name, path: field }
}

const fn request(name: &'static str, field: &'static [&'static str]) -> Alias {
    Alias { owner: "struct inet_request_sock", name, path: field }
}

/// All of them.
pub const ALIASES: &[Alias] = &[
    sock("sk_node", &["__sk_common", "skc_node"]),
    sock("sk_nulls_node", &["__sk_common", "skc_nulls_node"]),
    sock("sk_refcnt", &["__sk_common", "skc_refcnt"]),
    sock("sk_tx_queue_mapping", &["__sk_common", "skc_tx_queue_mapping"]),
    sock("sk_rx_queue_mapping", &["__sk_common", "skc_rx_queue_mapping"]),
    sock("sk_hash", &["__sk_common", "skc_hash"]),
    sock("sk_portpair", &["__sk_common", "skc_portpair"]),
    sock("sk_num", &["__sk_common", "skc_num"]),
    sock("sk_dport", &["__sk_common", "skc_dport"]),
    sock("sk_addrpair", &["__sk_common", "skc_addrpair"]),
    sock("sk_daddr", &["__sk_common", "skc_daddr"]),
    sock("sk_rcv_saddr", &["__sk_common", "skc_rcv_saddr"]),
    sock("sk_family", &["__sk_common", "skc_family"]),
    sock("sk_state", &["__sk_common", "skc_state"]),
    sock("sk_reuse", &["__sk_common", "skc_reuse"]),
    sock("sk_reuseport", &["__sk_common", "skc_reuseport"]),
    sock("sk_ipv6only", &["__sk_common", "skc_ipv6only"]),
    sock("sk_net_refcnt", &["__sk_common", "skc_net_refcnt"]),
    sock("sk_bound_dev_if", &["__sk_common", "skc_bound_dev_if"]),
    sock("sk_bind_node", &["__sk_common", "skc_bind_node"]),
    sock("sk_prot", &["__sk_common", "skc_prot"]),
    sock("sk_net", &["__sk_common", "skc_net"]),
    sock("sk_v6_daddr", &["__sk_common", "skc_v6_daddr"]),
    sock("sk_v6_rcv_saddr", &["__sk_common", "skc_v6_rcv_saddr"]),
    sock("sk_cookie", &["__sk_common", "skc_cookie"]),
    sock("sk_incoming_cpu", &["__sk_common", "skc_incoming_cpu"]),
    sock("sk_flags", &["__sk_common", "skc_flags"]),
    sock("sk_rxhash", &["__sk_common", "skc_rxhash"]),
    inet("inet_daddr", &["sk", "__sk_common", "skc_daddr"]),
    inet("inet_rcv_saddr", &["sk", "__sk_common", "skc_rcv_saddr"]),
    inet("inet_dport", &["sk", "__sk_common", "skc_dport"]),
    inet("inet_num", &["sk", "__sk_common", "skc_num"]),
    timewait("tw_family", &["__tw_common", "skc_family"]),
    timewait("tw_state", &["__tw_common", "skc_state"]),
    timewait("tw_num", &["__tw_common", "skc_num"]),
    timewait("tw_dport", &["__tw_common", "skc_dport"]),
    timewait("tw_daddr", &["__tw_common", "skc_daddr"]),
    timewait("tw_rcv_saddr", &["__tw_common", "skc_rcv_saddr"]),
    timewait("tw_v6_daddr", &["__tw_common", "skc_v6_daddr"]),
    timewait("tw_v6_rcv_saddr", &["__tw_common", "skc_v6_rcv_saddr"]),
    request("ir_loc_addr", &["req", "__req_common", "skc_rcv_saddr"]),
    request("ir_rmt_addr", &["req", "__req_common", "skc_daddr"]),
    request("ir_num", &["req", "__req_common", "skc_num"]),
    request("ir_rmt_port", &["req", "__req_common", "skc_dport"]),
    request("ir_v6_rmt_addr", &["req", "__req_common", "skc_v6_daddr"]),
    request("ir_v6_loc_addr", &["req", "__req_common", "skc_v6_rcv_saddr"]),
    Alias { owner: "struct in6_addr", name: "s6_addr", path: &["in6_u", "u6_addr8"] },
    Alias { owner: "struct in6_addr", name: "s6_addr16", path: &["in6_u", "u6_addr16"] },
    Alias { owner: "struct in6_addr", name: "s6_addr32", path: &["in6_u", "u6_addr32"] },
    Alias { owner: "struct file", name: "f_dentry", path: &["f_path", "dentry"] },
    Alias { owner: "struct file", name: "f_vfsmnt", path: &["f_path", "mnt"] },
];

/// Fields that other kernels know under other names or in other places, both ways: (struct, name in the script, path to try).
const RENAMED: &[(&str, &str, &[&str])] = &[
    // Linux 5.14.
    ("struct task_struct", "state", &["__state"]),
    ("struct task_struct", "__state", &["state"]),
    // Linux 5.16: the CPU of a task.
    ("struct task_struct", "cpu", &["thread_info", "cpu"]),
    // Linux 6.6: times of inodes became private.
    ("struct inode", "i_ctime", &["__i_ctime"]),
    ("struct inode", "i_atime", &["__i_atime"]),
    ("struct inode", "i_mtime", &["__i_mtime"]),
    // Linux 5.12: a bio knows its block device, no longer its disk.
    ("struct bio", "bi_disk", &["bi_bdev", "bd_disk"]),
    // Linux 5.17: the disk of a request lies behind its queue.
    ("struct request", "rq_disk", &["q", "disk"]),
    // Linux 5.8.
    ("struct mm_struct", "mmap_sem", &["mmap_lock"]),
    ("struct mm_struct", "mmap_lock", &["mmap_sem"]),
    // Linux 6.15: the number of runnable entities of a queue.
    ("struct cfs_rq", "nr_running", &["nr_queued"]),
    ("struct cfs_rq", "nr_queued", &["nr_running"]),
    ("struct cfs_rq", "h_nr_running", &["h_nr_queued"]),
    ("struct cfs_rq", "h_nr_queued", &["h_nr_running"]),
    // Linux 6.9: what locks and leases share.
    ("struct file_lock", "fl_type", &["c", "flc_type"]),
    ("struct file_lock", "fl_pid", &["c", "flc_pid"]),
    ("struct file_lock", "fl_flags", &["c", "flc_flags"]),
    ("struct file_lock", "fl_file", &["c", "flc_file"]),
    // Linux 5.5: the time at which a task started.
    ("struct task_struct", "real_start_time", &["start_boottime"]),
    // Linux 6.4.
    ("struct iov_iter", "iov", &["__iov"]),
    // Linux 6.14.
    ("struct kernfs_node", "parent", &["__parent"]),
    ("struct dentry", "d_iname", &["d_shortname", "string"]),
];

/// Names of all aliases of a struct, for "did you mean".
pub fn alias_names(owner: &str) -> impl Iterator<Item = &'static str> {
    ALIASES.iter().filter(move |alias| alias.owner == owner).map(|alias| alias.name)
}

/// The nested field behind a macro.
pub fn alias(owner: &str, name: &str) -> Option<&'static Alias> {
    ALIASES.iter().find(|alias| alias.name == name && alias.owner == owner)
}

/// Where else a field may be.
pub fn renamed(owner: &str, name: &str) -> Option<&'static [&'static str]> {
    RENAMED.iter().find(|(o, n, _)| *o == owner && *n == name).map(|(_, _, path)| *path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_unique() {
        for (i, alias) in ALIASES.iter().enumerate() {
            let same = ALIASES.iter().filter(|a| a.owner == alias.owner && a.name == alias.name).count();
            assert_eq!(same, 1, "row {i}: {}.{}", alias.owner, alias.name);
        }
        assert_eq!(alias("struct inet_sock", "inet_daddr").map(|a| a.path.len()), Some(3));
        assert_eq!(renamed("struct task_struct", "state"), Some(&["__state"][..]));
    }
}
