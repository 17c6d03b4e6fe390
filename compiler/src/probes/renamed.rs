//! Functions and tracepoints that later kernels know under other names. Scripts outlive them: most of those in books and on the web were
//! written for kernels that had the old ones.

use tapline_grammar::span::Spanned;

use super::has_wildcard;
use crate::target::{ProbeSource, Target};

/// Functions whose successor takes the same arguments, as far as the old one had them (a `struct folio` begins with its first page), and
/// returns the same: the old name, and the names after it, the latest last.
const FUNCTIONS: &[(&str, &[&str])] = &[
    // Linux 4.20.
    ("tcp_transmit_skb", &["__tcp_transmit_skb"]),
    // Linux 5.0: the only block layer left is the one of many queues.
    ("blk_start_request", &["blk_mq_start_request"]),
    // Linux 5.8.
    ("__vfs_read", &["vfs_read"]),
    ("__vfs_write", &["vfs_write"]),
    // Linux 5.9.
    ("generic_make_request", &["submit_bio_noacct"]),
    // Linux 5.10.
    ("_do_fork", &["kernel_clone"]),
    // Linux 5.13.
    ("try_charge", &["try_charge_memcg"]),
    // Linux 5.16 and later: pages became folios.
    ("__lock_page", &["__folio_lock"]),
    ("__page_cache_alloc", &["filemap_alloc_folio", "filemap_alloc_folio_noprof"]),
    ("__set_page_dirty", &["__folio_mark_dirty"]),
    ("account_page_dirtied", &["folio_account_dirtied"]),
    ("activate_page", &["folio_activate"]),
    ("clear_page_dirty_for_io", &["folio_clear_dirty_for_io"]),
    ("delete_from_page_cache", &["filemap_remove_folio"]),
    ("end_page_writeback", &["folio_end_writeback"]),
    ("isolate_lru_page", &["folio_isolate_lru"]),
    ("lru_cache_add", &["folio_add_lru"]),
    ("mark_page_accessed", &["folio_mark_accessed"]),
    ("page_referenced", &["folio_referenced"]),
    ("set_page_dirty", &["folio_mark_dirty"]),
    ("swap_readpage", &["swap_read_folio"]),
    ("test_clear_page_writeback", &["__folio_end_writeback"]),
    ("try_to_release_page", &["filemap_release_folio"]),
    ("unlock_page", &["folio_unlock"]),
    ("wait_on_page_bit", &["folio_wait_bit"]),
    ("wait_on_page_writeback", &["folio_wait_writeback"]),
    // Linux 5.16, and back in 6.12.
    ("blk_account_io_done", &["__blk_account_io_done"]),
    ("blk_account_io_start", &["__blk_account_io_start"]),
    ("__blk_account_io_done", &["blk_account_io_done"]),
    ("__blk_account_io_start", &["blk_account_io_start"]),
    // Linux 5.17. (Linux 6.11 put an argument before the others.)
    ("kfree_skb", &["kfree_skb_reason"]),
    // Linux 5.18.
    ("netif_rx_ni", &["netif_rx"]),
    ("tcp_drop", &["tcp_drop_reason"]),
    // Linux 5.19.
    ("__send_signal", &["__send_signal_locked"]),
    ("dev_queue_xmit", &["__dev_queue_xmit"]),
    ("send_signal", &["send_signal_locked"]),
    // Linux 6.2, 6.15.
    ("del_timer", &["timer_delete"]),
    ("del_timer_sync", &["timer_delete_sync"]),
    // Linux 6.8.
    ("check_preempt_curr", &["wakeup_preempt"]),
    // Linux 6.10: the scheduler.
    ("load_balance", &["sched_balance_rq"]),
    ("newidle_balance", &["sched_balance_newidle"]),
    ("rebalance_domains", &["sched_balance_domains"]),
    ("run_rebalance_domains", &["sched_balance_softirq"]),
    ("scheduler_tick", &["sched_tick"]),
    ("trigger_load_balance", &["sched_balance_trigger"]),
    // Linux 6.10: memory that is accounted to its caller.
    ("__alloc_pages", &["__alloc_pages_noprof"]),
    ("__alloc_pages_nodemask", &["__alloc_pages", "__alloc_pages_noprof"]),
    ("__kmalloc", &["__kmalloc_noprof"]),
    ("__vmalloc", &["__vmalloc_noprof"]),
    ("kmalloc_trace", &["__kmalloc_cache_noprof"]),
    ("kmem_cache_alloc", &["kmem_cache_alloc_noprof"]),
    ("kmem_cache_alloc_node", &["kmem_cache_alloc_node_noprof"]),
    ("kmem_cache_alloc_trace", &["kmalloc_trace", "__kmalloc_cache_noprof"]),
    ("krealloc", &["krealloc_noprof"]),
    ("vmalloc", &["vmalloc_noprof"]),
];

/// Tracepoints whose successor has the fields of the old one.
const TRACEPOINTS: &[(&str, &[&str])] = &[
    // Linux 4.16.
    ("tcp:tcp_set_state", &["sock:inet_sock_set_state"]),
    // Linux 5.16, 5.18: pages became folios.
    ("writeback:wait_on_page_writeback", &["writeback:folio_wait_writeback"]),
    ("writeback:writeback_dirty_page", &["writeback:writeback_dirty_folio"]),
    // Linux 6.1.
    ("kmem:kmalloc_node", &["kmem:kmalloc"]),
    ("kmem:kmem_cache_alloc_node", &["kmem:kmem_cache_alloc"]),
];

const BLOCK_DONE: &str = "it is inlined here; `tracepoint:block:block_io_done` (since Linux 6.5) or `block_rq_complete` fires where it would";
const BLOCK_START: &str =
    "it is inlined here; `tracepoint:block:block_io_start` (since Linux 6.5) or `block_rq_insert` fires where it would";

/// Functions whose successor takes other arguments: what to write instead.
const ADVICE: &[(&str, &str)] = &[
    (
        "__do_page_cache_readahead",
        "since Linux 5.10 it is `page_cache_ra_unbounded(ractl, nr_to_read, lookahead_size)`: `kprobe:page_cache_ra_unbounded`",
    ),
    (
        "add_to_page_cache_lru",
        "since Linux 5.16 it is `filemap_add_folio(mapping, folio, index, gfp)`: `kprobe:filemap_add_folio`",
    ),
    (
        "blk_account_io_completion",
        "it is inlined by now; `tracepoint:block:block_rq_complete` fires when a request, or a part of it, is done",
    ),
    ("__blk_account_io_done", BLOCK_DONE),
    ("__blk_account_io_start", BLOCK_START),
    ("blk_account_io_done", BLOCK_DONE),
    ("blk_account_io_start", BLOCK_START),
    ("do_fork", "it is `kernel_clone(args)` by now: `kprobe:kernel_clone`, or `tracepoint:sched:sched_process_fork`"),
    (
        "do_page_fault",
        "`tracepoint:exceptions:page_fault_user` and `page_fault_kernel` fire for each page fault, with `args.address`",
    ),
    (
        "kfree_skb",
        "since Linux 6.11 it is `sk_skb_reason_drop(sk, skb, reason)`, with the packet in `arg1`: `kprobe:sk_skb_reason_drop`, or `tracepoint:skb:kfree_skb`",
    ),
    (
        "kfree_skb_reason",
        "since Linux 6.11 it is `sk_skb_reason_drop(sk, skb, reason)`, with the packet in `arg1`: `kprobe:sk_skb_reason_drop`, or `tracepoint:skb:kfree_skb`",
    ),
    (
        "tcp_drop",
        "it is inlined here; `tracepoint:skb:kfree_skb` fires for each packet that is dropped, with `args.reason`",
    ),
];

/// The beginnings of what functions of system calls were called before Linux 4.17.
const SYSTEM_CALLS: &[&str] = &["sys_", "SyS_"];

/// What an attach point that does not exist here, or cannot be traced, is called by now: its last parts replaced.
pub fn successor(parts: &[Spanned<String>], target: &dyn Target) -> Option<Vec<Spanned<String>>> {
    let (provider, rest) = parts.split_first()?;
    let provider = super::provider(&provider.node)?.name;
    let old = rest.iter().map(|part| part.node.as_str()).collect::<Vec<_>>().join(":");
    let (table, source) = match provider {
        "kprobe" | "kretprobe" | "fentry" | "fexit" => (FUNCTIONS, ProbeSource::KernelFunctions),
        "tracepoint" => (TRACEPOINTS, ProbeSource::Tracepoints),
        _ => return None,
    };
    let (_, names) = table.iter().find(|(name, _)| *name == old)?;
    if traceable(&old, source, target) {
        return None;
    }
    let new = names.iter().rev().find(|name| traceable(name, source, target))?;
    let at = rest.last()?.span;
    let new = new.split(':').map(|part| Spanned { node: part.to_owned(), span: at });
    Some(parts.iter().take(1).cloned().chain(new).collect())
}

/// Copies of inline functions are among the kernel's symbols, by which plain names are looked up; patterns are looked up in the list
/// of what can be traced.
fn traceable(name: &str, source: ProbeSource, target: &dyn Target) -> bool {
    let plain = || target.probe_names(source, name).is_ok_and(|found| !found.is_empty());
    match source {
        ProbeSource::KernelFunctions => match target.probe_names(source, &format!("{name}*")) {
            Ok(found) => found.iter().any(|it| it == name),
            Err(_) => plain(),
        },
        _ => plain(),
    }
}

/// Of a function that was replaced only a copy is left, as the kernel marks inline functions: it cannot be traced.
pub(super) fn inlined(function: &str, target: &dyn Target) -> bool {
    ADVICE.iter().any(|(name, _)| *name == function) && !traceable(function, ProbeSource::KernelFunctions, target)
}

/// What became of a kernel function that does not exist here, if its name alone cannot be replaced.
pub(super) fn advice(function: &str, target: &dyn Target) -> Option<String> {
    if has_wildcard(function) {
        return None;
    }
    if let Some((_, text)) = ADVICE.iter().find(|(name, _)| *name == function) {
        return Some((*text).to_owned());
    }
    let call = SYSTEM_CALLS.iter().find_map(|beginning| function.strip_prefix(beginning))?;
    let event = format!("syscalls:sys_enter_{call}");
    let known = target.probe_names(ProbeSource::Tracepoints, &event).is_ok_and(|found| !found.is_empty());
    known.then(|| format!("`tracepoint:{event}` fires for the system call, and has its arguments by name in `args`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_one_row() {
        for table in [FUNCTIONS, TRACEPOINTS] {
            for (name, later) in table {
                assert_eq!(table.iter().filter(|(other, _)| other == name).count(), 1, "{name}");
                assert!(!later.is_empty() && !later.contains(name), "{name}");
            }
        }
        for (name, _) in ADVICE {
            assert_eq!(ADVICE.iter().filter(|(other, _)| other == name).count(), 1, "{name}");
        }
    }
}
