//! Fields that the kernel's headers define as macros over nested fields, which BTF cannot know, and fields that newer kernels
//! renamed. Sources: `include/net/sock.h`, `include/net/inet_sock.h`, `include/net/inet_timewait_sock.h`,
//! `include/net/flow.h`, `include/uapi/asm-generic/siginfo.h` of Linux.

/// A macro, and the nested field that it stands for, step by step.
type Macro = (&'static str, &'static [&'static str]);

/// Macros over nested fields, by the struct that has them.
const ALIASES: &[(&str, &[Macro])] = &[
    (
        "struct sock",
        &[
            ("sk_node", &["__sk_common", "skc_node"]),
            ("sk_nulls_node", &["__sk_common", "skc_nulls_node"]),
            ("sk_refcnt", &["__sk_common", "skc_refcnt"]),
            ("sk_tx_queue_mapping", &["__sk_common", "skc_tx_queue_mapping"]),
            ("sk_rx_queue_mapping", &["__sk_common", "skc_rx_queue_mapping"]),
            ("sk_hash", &["__sk_common", "skc_hash"]),
            ("sk_portpair", &["__sk_common", "skc_portpair"]),
            ("sk_num", &["__sk_common", "skc_num"]),
            ("sk_dport", &["__sk_common", "skc_dport"]),
            ("sk_addrpair", &["__sk_common", "skc_addrpair"]),
            ("sk_daddr", &["__sk_common", "skc_daddr"]),
            ("sk_rcv_saddr", &["__sk_common", "skc_rcv_saddr"]),
            ("sk_family", &["__sk_common", "skc_family"]),
            ("sk_state", &["__sk_common", "skc_state"]),
            ("sk_reuse", &["__sk_common", "skc_reuse"]),
            ("sk_reuseport", &["__sk_common", "skc_reuseport"]),
            ("sk_ipv6only", &["__sk_common", "skc_ipv6only"]),
            ("sk_net_refcnt", &["__sk_common", "skc_net_refcnt"]),
            ("sk_bound_dev_if", &["__sk_common", "skc_bound_dev_if"]),
            ("sk_bind_node", &["__sk_common", "skc_bind_node"]),
            ("sk_prot", &["__sk_common", "skc_prot"]),
            ("sk_net", &["__sk_common", "skc_net"]),
            ("sk_v6_daddr", &["__sk_common", "skc_v6_daddr"]),
            ("sk_v6_rcv_saddr", &["__sk_common", "skc_v6_rcv_saddr"]),
            ("sk_cookie", &["__sk_common", "skc_cookie"]),
            ("sk_incoming_cpu", &["__sk_common", "skc_incoming_cpu"]),
            ("sk_flags", &["__sk_common", "skc_flags"]),
            ("sk_rxhash", &["__sk_common", "skc_rxhash"]),
            ("sk_rmem_alloc", &["sk_backlog", "rmem_alloc"]),
        ],
    ),
    (
        "struct inet_sock",
        &[
            ("inet_daddr", &["sk", "__sk_common", "skc_daddr"]),
            ("inet_rcv_saddr", &["sk", "__sk_common", "skc_rcv_saddr"]),
            ("inet_dport", &["sk", "__sk_common", "skc_dport"]),
            ("inet_num", &["sk", "__sk_common", "skc_num"]),
        ],
    ),
    (
        "struct inet_timewait_sock",
        &[
            ("tw_family", &["__tw_common", "skc_family"]),
            ("tw_state", &["__tw_common", "skc_state"]),
            ("tw_num", &["__tw_common", "skc_num"]),
            ("tw_dport", &["__tw_common", "skc_dport"]),
            ("tw_daddr", &["__tw_common", "skc_daddr"]),
            ("tw_rcv_saddr", &["__tw_common", "skc_rcv_saddr"]),
            ("tw_v6_daddr", &["__tw_common", "skc_v6_daddr"]),
            ("tw_v6_rcv_saddr", &["__tw_common", "skc_v6_rcv_saddr"]),
        ],
    ),
    (
        "struct inet_request_sock",
        &[
            ("ir_loc_addr", &["req", "__req_common", "skc_rcv_saddr"]),
            ("ir_rmt_addr", &["req", "__req_common", "skc_daddr"]),
            ("ir_num", &["req", "__req_common", "skc_num"]),
            ("ir_rmt_port", &["req", "__req_common", "skc_dport"]),
            ("ir_v6_rmt_addr", &["req", "__req_common", "skc_v6_daddr"]),
            ("ir_v6_loc_addr", &["req", "__req_common", "skc_v6_rcv_saddr"]),
            ("ireq_net", &["req", "__req_common", "skc_net"]),
            ("ireq_state", &["req", "__req_common", "skc_state"]),
            ("ireq_family", &["req", "__req_common", "skc_family"]),
            ("ir_iif", &["req", "__req_common", "skc_bound_dev_if"]),
        ],
    ),
    (
        "struct flowi4",
        &[
            ("flowi4_oif", &["__fl_common", "flowic_oif"]),
            ("flowi4_iif", &["__fl_common", "flowic_iif"]),
            ("flowi4_mark", &["__fl_common", "flowic_mark"]),
            ("flowi4_tos", &["__fl_common", "flowic_tos"]),
            ("flowi4_scope", &["__fl_common", "flowic_scope"]),
            ("flowi4_proto", &["__fl_common", "flowic_proto"]),
            ("flowi4_flags", &["__fl_common", "flowic_flags"]),
            ("flowi4_uid", &["__fl_common", "flowic_uid"]),
            ("fl4_sport", &["uli", "ports", "sport"]),
            ("fl4_dport", &["uli", "ports", "dport"]),
            ("fl4_icmp_type", &["uli", "icmpt", "type"]),
            ("fl4_icmp_code", &["uli", "icmpt", "code"]),
        ],
    ),
    (
        "struct flowi6",
        &[
            ("flowi6_oif", &["__fl_common", "flowic_oif"]),
            ("flowi6_iif", &["__fl_common", "flowic_iif"]),
            ("flowi6_mark", &["__fl_common", "flowic_mark"]),
            ("flowi6_scope", &["__fl_common", "flowic_scope"]),
            ("flowi6_proto", &["__fl_common", "flowic_proto"]),
            ("flowi6_flags", &["__fl_common", "flowic_flags"]),
            ("flowi6_uid", &["__fl_common", "flowic_uid"]),
            ("fl6_sport", &["uli", "ports", "sport"]),
            ("fl6_dport", &["uli", "ports", "dport"]),
        ],
    ),
    (
        "struct kernel_siginfo",
        &[
            ("si_pid", &["_sifields", "_kill", "_pid"]),
            ("si_uid", &["_sifields", "_kill", "_uid"]),
            ("si_status", &["_sifields", "_sigchld", "_status"]),
            ("si_addr", &["_sifields", "_sigfault", "_addr"]),
            ("si_value", &["_sifields", "_rt", "_sigval"]),
            ("si_syscall", &["_sifields", "_sigsys", "_syscall"]),
        ],
    ),
    (
        "struct in6_addr",
        &[
            ("s6_addr", &["in6_u", "u6_addr8"]),
            ("s6_addr16", &["in6_u", "u6_addr16"]),
            ("s6_addr32", &["in6_u", "u6_addr32"]),
        ],
    ),
    ("struct file", &[("f_dentry", &["f_path", "dentry"]), ("f_vfsmnt", &["f_path", "mnt"])]),
];

/// Fields that other kernels know under other names or in other places, both ways: (struct, name in the script, path to try). The name has
/// two steps where a whole member has gone. Of several rows for a name the first that leads to something counts.
const RENAMED: &[(&str, &str, &[&str])] = &[
    // Linux 5.14.
    ("struct task_struct", "state", &["__state"]),
    ("struct task_struct", "__state", &["state"]),
    // Linux 5.16: the CPU of a task.
    ("struct task_struct", "cpu", &["thread_info", "cpu"]),
    // Linux 5.3.
    ("struct task_struct", "cpus_allowed", &["cpus_mask"]),
    // Linux 6.6: times of inodes became private. Linux 6.11: they are plain numbers.
    ("struct inode", "i_ctime", &["__i_ctime"]),
    ("struct inode", "i_atime", &["__i_atime"]),
    ("struct inode", "i_mtime", &["__i_mtime"]),
    ("struct inode", "__i_ctime", &["i_ctime"]),
    ("struct inode", "__i_atime", &["i_atime"]),
    ("struct inode", "__i_mtime", &["i_mtime"]),
    ("struct inode", "i_ctime.tv_sec", &["i_ctime_sec"]),
    ("struct inode", "i_atime.tv_sec", &["i_atime_sec"]),
    ("struct inode", "i_mtime.tv_sec", &["i_mtime_sec"]),
    ("struct inode", "i_ctime.tv_nsec", &["i_ctime_nsec"]),
    ("struct inode", "i_atime.tv_nsec", &["i_atime_nsec"]),
    ("struct inode", "i_mtime.tv_nsec", &["i_mtime_nsec"]),
    ("struct inode", "__i_ctime.tv_sec", &["i_ctime_sec"]),
    ("struct inode", "__i_atime.tv_sec", &["i_atime_sec"]),
    ("struct inode", "__i_mtime.tv_sec", &["i_mtime_sec"]),
    ("struct inode", "__i_ctime.tv_nsec", &["i_ctime_nsec"]),
    ("struct inode", "__i_atime.tv_nsec", &["i_atime_nsec"]),
    ("struct inode", "__i_mtime.tv_nsec", &["i_mtime_nsec"]),
    // Linux 3.14, 4.8, 4.13.
    ("struct bio", "bi_sector", &["bi_iter", "bi_sector"]),
    ("struct bio", "bi_size", &["bi_iter", "bi_size"]),
    ("struct bio", "bi_rw", &["bi_opf"]),
    ("struct bio", "bi_error", &["bi_status"]),
    // Linux 5.12: a bio knows its block device, no longer its disk.
    ("struct bio", "bi_disk", &["bi_bdev", "bd_disk"]),
    // Linux 5.17: the disk of a request lies behind its queue.
    ("struct request", "rq_disk", &["q", "disk"]),
    // Linux 5.14: the backing device belongs to the disk.
    ("struct request_queue", "backing_dev_info", &["disk", "bdi"]),
    // Linux 6.10.
    ("struct block_device", "bd_inode", &["bd_mapping", "host"]),
    // Linux 6.2: counters of memory are counted by processor.
    ("struct mm_struct", "rss_stat.count", &["rss_stat"]),
    ("struct percpu_counter", "counter", &["count"]),
    // Linux 5.14.
    ("struct rq", "lock", &["__lock"]),
    // Linux 4.6, 6.16.
    ("struct page", "_count", &["_refcount"]),
    ("struct page", "index", &["__folio_index"]),
    // Linux 6.18: flags have a type of their own.
    ("struct page", "flags", &["flags", "f"]),
    ("struct page", "flags.f", &["flags"]),
    ("struct folio", "flags", &["flags", "f"]),
    ("struct folio", "flags.f", &["flags"]),
    // Linux 4.17.
    ("struct address_space", "page_tree", &["i_pages"]),
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
    // Linux 3.19.
    ("struct msghdr", "msg_iov", &["msg_iter", "__iov"]),
    ("struct msghdr", "msg_iov", &["msg_iter", "iov"]),
    ("struct net", "proc_inum", &["ns", "inum"]),
    // Linux 6.17.
    ("struct flowi4", "flowi4_tos", &["flowi4_dscp"]),
    // Linux 5.2.
    ("struct rtable", "rt_gateway", &["rt_gw4"]),
    // Linux 5.5: the numbers of nodes are no union any more.
    ("struct kernfs_node", "id.id", &["id"]),
    ("struct kernfs_node", "id.ino", &["id"]),
    // Linux 6.8.
    ("struct dentry", "d_child", &["d_sib"]),
    ("struct dentry", "d_subdirs", &["d_children"]),
    // Linux 6.14.
    ("struct kernfs_node", "parent", &["__parent"]),
    ("struct dentry", "d_iname", &["d_shortname", "string"]),
];

/// The macros of a struct.
fn macros(owner: &str) -> &'static [Macro] {
    ALIASES.iter().find(|(o, _)| *o == owner).map_or(&[], |(_, macros)| macros)
}

/// Names of all aliases of a struct, for "did you mean".
pub fn alias_names(owner: &str) -> impl Iterator<Item = &'static str> {
    macros(owner).iter().map(|(name, _)| *name)
}

/// The nested field behind a macro, step by step.
pub fn alias(owner: &str, name: &str) -> Option<&'static [&'static str]> {
    macros(owner).iter().find(|(own, _)| *own == name).map(|(_, path)| *path)
}

/// Where else a field, or a field of a field (`first.second`), may be.
pub fn renamed(owner: &str, name: &str) -> impl Iterator<Item = &'static [&'static str]> {
    RENAMED.iter().filter(move |(o, n, _)| *o == owner && *n == name).map(|(_, _, path)| *path)
}

/// There are rows for a field of a field, whatever the struct.
pub fn renamed_pair(first: &str, second: &str) -> bool {
    RENAMED.iter().any(|(_, name, _)| name.split_once('.') == Some((first, second)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_unique() {
        for (owner, macros) in ALIASES {
            assert_eq!(ALIASES.iter().filter(|(other, _)| other == owner).count(), 1, "{owner}");
            for (name, _) in *macros {
                assert_eq!(macros.iter().filter(|(other, _)| other == name).count(), 1, "{owner}.{name}");
            }
        }
        assert_eq!(alias("struct inet_sock", "inet_daddr").map(<[_]>::len), Some(3));
        assert_eq!(renamed("struct task_struct", "state").next(), Some(&["__state"][..]));
    }
}
