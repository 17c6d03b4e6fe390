//! Fields that the kernel's headers define as macros over nested fields, which BTF cannot know, and fields that newer kernels
//! renamed. Sources: `include/net/sock.h`, `include/net/inet_sock.h`, `include/net/inet_timewait_sock.h`,
//! `include/net/flow.h`, `include/uapi/asm-generic/siginfo.h` of Linux.

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

const fn flow4(name: &'static str, field: &'static [&'static str]) -> Alias {
    Alias { owner: "struct flowi4", name, path: field }
}

const fn flow6(name: &'static str, field: &'static [&'static str]) -> Alias {
    Alias { owner: "struct flowi6", name, path: field }
}

const fn siginfo(name: &'static str, field: &'static [&'static str]) -> Alias {
    Alias { owner: "struct kernel_siginfo", name, path: field }
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
    sock("sk_rmem_alloc", &["sk_backlog", "rmem_alloc"]),
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
    request("ireq_net", &["req", "__req_common", "skc_net"]),
    request("ireq_state", &["req", "__req_common", "skc_state"]),
    request("ireq_family", &["req", "__req_common", "skc_family"]),
    request("ir_iif", &["req", "__req_common", "skc_bound_dev_if"]),
    flow4("flowi4_oif", &["__fl_common", "flowic_oif"]),
    flow4("flowi4_iif", &["__fl_common", "flowic_iif"]),
    flow4("flowi4_mark", &["__fl_common", "flowic_mark"]),
    flow4("flowi4_tos", &["__fl_common", "flowic_tos"]),
    flow4("flowi4_scope", &["__fl_common", "flowic_scope"]),
    flow4("flowi4_proto", &["__fl_common", "flowic_proto"]),
    flow4("flowi4_flags", &["__fl_common", "flowic_flags"]),
    flow4("flowi4_uid", &["__fl_common", "flowic_uid"]),
    flow4("fl4_sport", &["uli", "ports", "sport"]),
    flow4("fl4_dport", &["uli", "ports", "dport"]),
    flow4("fl4_icmp_type", &["uli", "icmpt", "type"]),
    flow4("fl4_icmp_code", &["uli", "icmpt", "code"]),
    flow6("flowi6_oif", &["__fl_common", "flowic_oif"]),
    flow6("flowi6_iif", &["__fl_common", "flowic_iif"]),
    flow6("flowi6_mark", &["__fl_common", "flowic_mark"]),
    flow6("flowi6_scope", &["__fl_common", "flowic_scope"]),
    flow6("flowi6_proto", &["__fl_common", "flowic_proto"]),
    flow6("flowi6_flags", &["__fl_common", "flowic_flags"]),
    flow6("flowi6_uid", &["__fl_common", "flowic_uid"]),
    flow6("fl6_sport", &["uli", "ports", "sport"]),
    flow6("fl6_dport", &["uli", "ports", "dport"]),
    siginfo("si_pid", &["_sifields", "_kill", "_pid"]),
    siginfo("si_uid", &["_sifields", "_kill", "_uid"]),
    siginfo("si_status", &["_sifields", "_sigchld", "_status"]),
    siginfo("si_addr", &["_sifields", "_sigfault", "_addr"]),
    siginfo("si_value", &["_sifields", "_rt", "_sigval"]),
    siginfo("si_syscall", &["_sifields", "_sigsys", "_syscall"]),
    Alias { owner: "struct in6_addr", name: "s6_addr", path: &["in6_u", "u6_addr8"] },
    Alias { owner: "struct in6_addr", name: "s6_addr16", path: &["in6_u", "u6_addr16"] },
    Alias { owner: "struct in6_addr", name: "s6_addr32", path: &["in6_u", "u6_addr32"] },
    Alias { owner: "struct file", name: "f_dentry", path: &["f_path", "dentry"] },
    Alias { owner: "struct file", name: "f_vfsmnt", path: &["f_path", "mnt"] },
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

/// Names of all aliases of a struct, for "did you mean".
pub fn alias_names(owner: &str) -> impl Iterator<Item = &'static str> {
    ALIASES.iter().filter(move |alias| alias.owner == owner).map(|alias| alias.name)
}

/// The nested field behind a macro.
pub fn alias(owner: &str, name: &str) -> Option<&'static Alias> {
    ALIASES.iter().find(|alias| alias.name == name && alias.owner == owner)
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
        for (i, alias) in ALIASES.iter().enumerate() {
            let same = ALIASES.iter().filter(|a| a.owner == alias.owner && a.name == alias.name).count();
            assert_eq!(same, 1, "row {i}: {}.{}", alias.owner, alias.name);
        }
        assert_eq!(alias("struct inet_sock", "inet_daddr").map(|a| a.path.len()), Some(3));
        assert_eq!(renamed("struct task_struct", "state").next(), Some(&["__state"][..]));
    }
}
