//! Macro constants of kernel and libc headers that BTF cannot know, for Linux on `x86_64` and aarch64. Sources: the uapi headers
//! named at each group.

use super::uapi;

/// `include/uapi/asm-generic/signal.h`, `arch/x86/include/uapi/asm/signal.h`.
pub const SIGNALS: &[(&str, i64)] = &[
    ("SIGHUP", 1),
    ("SIGINT", 2),
    ("SIGQUIT", 3),
    ("SIGILL", 4),
    ("SIGTRAP", 5),
    ("SIGABRT", 6),
    ("SIGIOT", 6),
    ("SIGBUS", 7),
    ("SIGFPE", 8),
    ("SIGKILL", 9),
    ("SIGUSR1", 10),
    ("SIGSEGV", 11),
    ("SIGUSR2", 12),
    ("SIGPIPE", 13),
    ("SIGALRM", 14),
    ("SIGTERM", 15),
    ("SIGSTKFLT", 16),
    ("SIGCHLD", 17),
    ("SIGCONT", 18),
    ("SIGSTOP", 19),
    ("SIGTSTP", 20),
    ("SIGTTIN", 21),
    ("SIGTTOU", 22),
    ("SIGURG", 23),
    ("SIGXCPU", 24),
    ("SIGXFSZ", 25),
    ("SIGVTALRM", 26),
    ("SIGPROF", 27),
    ("SIGWINCH", 28),
    ("SIGIO", 29),
    ("SIGPOLL", 29),
    ("SIGPWR", 30),
    ("SIGSYS", 31),
];

/// `include/uapi/asm-generic/errno-base.h` and errno.h.
const ERRORS: &[(&str, i64)] = &[
    ("EPERM", 1),
    ("ENOENT", 2),
    ("ESRCH", 3),
    ("EINTR", 4),
    ("EIO", 5),
    ("ENXIO", 6),
    ("E2BIG", 7),
    ("ENOEXEC", 8),
    ("EBADF", 9),
    ("ECHILD", 10),
    ("EAGAIN", 11),
    ("EWOULDBLOCK", 11),
    ("ENOMEM", 12),
    ("EACCES", 13),
    ("EFAULT", 14),
    ("ENOTBLK", 15),
    ("EBUSY", 16),
    ("EEXIST", 17),
    ("EXDEV", 18),
    ("ENODEV", 19),
    ("ENOTDIR", 20),
    ("EISDIR", 21),
    ("EINVAL", 22),
    ("ENFILE", 23),
    ("EMFILE", 24),
    ("ENOTTY", 25),
    ("ETXTBSY", 26),
    ("EFBIG", 27),
    ("ENOSPC", 28),
    ("ESPIPE", 29),
    ("EROFS", 30),
    ("EMLINK", 31),
    ("EPIPE", 32),
    ("EDOM", 33),
    ("ERANGE", 34),
    ("EDEADLK", 35),
    ("ENAMETOOLONG", 36),
    ("ENOLCK", 37),
    ("ENOSYS", 38),
    ("ENOTEMPTY", 39),
    ("ELOOP", 40),
    ("ENODATA", 61),
    ("ETIME", 62),
    ("EPROTO", 71),
    ("EBADMSG", 74),
    ("EOVERFLOW", 75),
    ("EILSEQ", 84),
    ("ENOTSOCK", 88),
    ("EDESTADDRREQ", 89),
    ("EMSGSIZE", 90),
    ("EPROTOTYPE", 91),
    ("ENOPROTOOPT", 92),
    ("EPROTONOSUPPORT", 93),
    ("EOPNOTSUPP", 95),
    ("EAFNOSUPPORT", 97),
    ("EADDRINUSE", 98),
    ("EADDRNOTAVAIL", 99),
    ("ENETDOWN", 100),
    ("ENETUNREACH", 101),
    ("ECONNABORTED", 103),
    ("ECONNRESET", 104),
    ("ENOBUFS", 105),
    ("EISCONN", 106),
    ("ENOTCONN", 107),
    ("ETIMEDOUT", 110),
    ("ECONNREFUSED", 111),
    ("EHOSTDOWN", 112),
    ("EHOSTUNREACH", 113),
    ("EALREADY", 114),
    ("EINPROGRESS", 115),
    ("ESTALE", 116),
    ("EDQUOT", 122),
    ("ECANCELED", 125),
    ("ERESTARTSYS", 512),
];

/// `include/linux/socket.h`; `PF_*` have the same values.
const FAMILIES: &[(&str, i64)] = &[
    ("AF_UNSPEC", 0),
    ("AF_UNIX", 1),
    ("AF_LOCAL", 1),
    ("AF_INET", 2),
    ("AF_BRIDGE", 7),
    ("AF_INET6", 10),
    ("AF_NETLINK", 16),
    ("AF_PACKET", 17),
    ("AF_TIPC", 30),
    ("AF_ALG", 38),
    ("AF_VSOCK", 40),
    ("AF_XDP", 44),
    ("PF_UNIX", 1),
    ("PF_INET", 2),
    ("PF_INET6", 10),
    ("PF_NETLINK", 16),
    ("PF_PACKET", 17),
];

/// `include/uapi/asm-generic/fcntl.h`, `include/uapi/linux/stat.h`, `include/uapi/linux/fcntl.h`, `include/linux/fs.h`. The values
/// that aarch64 has elsewhere (`O_DIRECTORY` and its like) are those of `x86_64`.
const FILES: &[(&str, i64)] = &[
    ("O_RDONLY", 0),
    ("O_WRONLY", 1),
    ("O_RDWR", 2),
    ("O_ACCMODE", 3),
    ("O_CREAT", 0o100),
    ("O_EXCL", 0o200),
    ("O_NOCTTY", 0o400),
    ("O_TRUNC", 0o1000),
    ("O_APPEND", 0o2000),
    ("O_NONBLOCK", 0o4000),
    ("O_DSYNC", 0o10000),
    ("O_DIRECT", 0o40000),
    ("O_LARGEFILE", 0o100_000),
    ("O_DIRECTORY", 0o200_000),
    ("O_NOFOLLOW", 0o400_000),
    ("O_NOATIME", 0o1_000_000),
    ("O_CLOEXEC", 0o2_000_000),
    ("O_SYNC", 0o4_010_000),
    ("O_PATH", 0o10_000_000),
    ("S_IFMT", 0o170_000),
    ("S_IFSOCK", 0o140_000),
    ("S_IFLNK", 0o120_000),
    ("S_IFREG", 0o100_000),
    ("S_IFBLK", 0o60000),
    ("S_IFDIR", 0o40000),
    ("S_IFCHR", 0o20000),
    ("S_IFIFO", 0o10000),
    ("S_ISUID", 0o4000),
    ("S_ISGID", 0o2000),
    ("S_ISVTX", 0o1000),
    ("S_IRWXU", 0o700),
    ("S_IRUSR", 0o400),
    ("S_IWUSR", 0o200),
    ("S_IXUSR", 0o100),
    ("AT_FDCWD", -100),
    ("FMODE_READ", 1),
    ("FMODE_WRITE", 2),
    ("PROT_NONE", 0),
    ("PROT_READ", 1),
    ("PROT_WRITE", 2),
    ("PROT_EXEC", 4),
    ("MAP_SHARED", 1),
    ("MAP_PRIVATE", 2),
    ("MAP_FIXED", 0x10),
    ("MAP_ANONYMOUS", 0x20),
    ("PATH_MAX", 4096),
    ("NAME_MAX", 255),
];

/// `include/linux/sched.h`.
const TASKS: &[(&str, i64)] = &[
    ("TASK_RUNNING", 0),
    ("TASK_INTERRUPTIBLE", 1),
    ("TASK_UNINTERRUPTIBLE", 2),
    ("__TASK_STOPPED", 4),
    ("__TASK_TRACED", 8),
    ("EXIT_DEAD", 0x10),
    ("EXIT_ZOMBIE", 0x20),
    ("TASK_PARKED", 0x40),
    ("TASK_DEAD", 0x80),
    ("TASK_WAKEKILL", 0x100),
    ("TASK_WAKING", 0x200),
    ("TASK_NOLOAD", 0x400),
    ("TASK_NEW", 0x800),
    ("TASK_KILLABLE", 0x102),
    ("TASK_IDLE", 0x402),
    ("TASK_COMM_LEN", 16),
    ("PF_EXITING", 4),
    ("PF_KTHREAD", 0x0020_0000),
    ("CLONE_VM", 0x100),
    ("CLONE_FS", 0x200),
    ("CLONE_FILES", 0x400),
    ("CLONE_THREAD", 0x10000),
    ("CLONE_NEWNS", 0x20000),
    ("CLONE_NEWPID", 0x2000_0000),
    ("CLONE_NEWUSER", 0x1000_0000),
    ("CLONE_NEWNET", 0x4000_0000),
    ("WNOHANG", 1),
];

/// `include/uapi/linux/if_ether.h`, `include/net/tcp.h`, `include/uapi/linux/tcp.h`.
const NETWORK: &[(&str, i64)] = &[
    ("ETH_P_IP", 0x0800),
    ("ETH_P_ARP", 0x0806),
    ("ETH_P_IPV6", 0x86dd),
    ("ETH_ALEN", 6),
    ("IFNAMSIZ", 16),
    ("TCPHDR_FIN", 1),
    ("TCPHDR_SYN", 2),
    ("TCPHDR_RST", 4),
    ("TCPHDR_PSH", 8),
    ("TCPHDR_ACK", 16),
    ("TCPHDR_URG", 32),
    ("MSG_PEEK", 2),
    ("MSG_DONTWAIT", 0x40),
    ("SOL_SOCKET", 1),
    ("SHUT_RD", 0),
    ("SHUT_WR", 1),
    ("SHUT_RDWR", 2),
];

/// `include/linux/capability.h`, `include/uapi/linux/capability.h`, `include/linux/kdev_t.h`, limits of C.
const OTHERS: &[(&str, i64)] = &[
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_NET_BIND_SERVICE", 10),
    ("CAP_NET_ADMIN", 12),
    ("CAP_NET_RAW", 13),
    ("CAP_SYS_MODULE", 16),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_SYS_BOOT", 22),
    ("CAP_SYS_NICE", 23),
    ("CAP_SYS_RESOURCE", 24),
    ("CAP_SYS_TIME", 25),
    ("CAP_PERFMON", 38),
    ("CAP_BPF", 39),
    ("MINORBITS", 20),
    ("MINORMASK", 0xf_ffff),
    ("NSEC_PER_USEC", 1000),
    ("NSEC_PER_MSEC", 1_000_000),
    ("NSEC_PER_SEC", 1_000_000_000),
    ("USEC_PER_SEC", 1_000_000),
    ("MSEC_PER_SEC", 1000),
    ("PAGE_SHIFT", 12),
    ("PAGE_SIZE", 4096),
    ("NULL", 0),
    ("INT_MAX", i32::MAX as i64),
    ("INT_MIN", i32::MIN as i64),
    ("UINT_MAX", u32::MAX as i64),
    ("LONG_MAX", i64::MAX),
    ("MAX_ERRNO", 4095),
];

/// Enumerators that BTF has as well, and then with their enum: `include/uapi/linux/in.h`, `include/net/tcp_states.h`,
/// `include/linux/net.h`, `include/linux/blk_types.h`.
const ENUMERATORS: &[(&str, i64)] = &[
    ("IPPROTO_IP", 0),
    ("IPPROTO_ICMP", 1),
    ("IPPROTO_TCP", 6),
    ("IPPROTO_UDP", 17),
    ("IPPROTO_IPV6", 41),
    ("IPPROTO_ICMPV6", 58),
    ("IPPROTO_SCTP", 132),
    ("IPPROTO_RAW", 255),
    ("SOCK_STREAM", 1),
    ("SOCK_DGRAM", 2),
    ("SOCK_RAW", 3),
    ("TCP_ESTABLISHED", 1),
    ("TCP_SYN_SENT", 2),
    ("TCP_SYN_RECV", 3),
    ("TCP_FIN_WAIT1", 4),
    ("TCP_FIN_WAIT2", 5),
    ("TCP_TIME_WAIT", 6),
    ("TCP_CLOSE", 7),
    ("TCP_CLOSE_WAIT", 8),
    ("TCP_LAST_ACK", 9),
    ("TCP_LISTEN", 10),
    ("TCP_CLOSING", 11),
    ("TCP_NEW_SYN_RECV", 12),
    ("REQ_OP_READ", 0),
    ("REQ_OP_WRITE", 1),
    ("REQ_OP_FLUSH", 2),
    ("REQ_OP_DISCARD", 3),
];

const MACROS: &[&[(&str, i64)]] = &[SIGNALS, ERRORS, FAMILIES, FILES, TASKS, NETWORK, OTHERS];

fn search(table: &[(&str, i64)], name: &str) -> Option<i64> {
    table.iter().find(|(own, _)| *own == name).map(|(_, value)| *value)
}

/// A macro of the headers.
pub fn lookup(name: &str) -> Option<i64> {
    MACROS.iter().chain(uapi::GROUPS).find_map(|table| search(table, name))
}

/// An enumerator of the headers, for a kernel whose BTF does not have it.
pub fn fallback(name: &str) -> Option<i64> {
    search(ENUMERATORS, name)
}

/// All names, for suggestions.
pub fn names() -> impl Iterator<Item = &'static str> {
    MACROS.iter().chain(uapi::GROUPS).chain([&ENUMERATORS]).flat_map(|table| table.iter().map(|(name, _)| *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut all: Vec<&str> = names().collect();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(count > 800, "{count}");
    }

    #[test]
    fn values() {
        assert_eq!(lookup("AF_INET6"), Some(10));
        assert_eq!(lookup("S_IFDIR"), Some(0x4000));
        assert_eq!(lookup("TCP_ESTABLISHED"), None);
        assert_eq!(fallback("TCP_ESTABLISHED"), Some(1));
    }
}
