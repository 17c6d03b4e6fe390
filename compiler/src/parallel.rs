//! The same work on many functions, on all processors.

use std::num::NonZero;
use std::thread;

/// Fewer items than this are done before threads have started.
const WORTH_IT: usize = 24;

/// Threads at most.
const MOST_THREADS: usize = 8;

/// What `work` makes of each item, in the items' order.
pub fn map<T: Send, R: Send>(items: impl ExactSizeIterator<Item = T>, work: impl Fn(usize, T) -> R + Sync) -> Vec<R> {
    let count = items.len();
    let threads = threads_for(count);
    let items = items.enumerate();
    if threads == 1 {
        return items.map(|(at, item)| work(at, item)).collect();
    }
    // Neighbours are alike; whoever takes every n-th gets a fair share.
    let mut shares: Vec<Vec<(usize, T)>> = (0..threads).map(|_| Vec::with_capacity(count.div_ceil(threads))).collect();
    for (at, item) in items {
        if let Some(share) = shares.get_mut(at % threads) {
            share.push((at, item));
        }
    }
    let do_share = |share: Vec<(usize, T)>| share.into_iter().map(|(at, item)| work(at, item)).collect::<Vec<R>>();
    let do_share = &do_share;
    let done: Vec<Vec<R>> = thread::scope(|scope| {
        let own = shares.pop().unwrap_or_default();
        let others: Vec<_> = shares.into_iter().map(|share| scope.spawn(move || do_share(share))).collect();
        let own = do_share(own);
        let joined = others.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.chain(std::iter::once(own)).collect()
    });
    let mut done: Vec<_> = done.into_iter().map(Vec::into_iter).collect();
    (0..count).filter_map(|at| done.get_mut(at % threads)?.next()).collect()
}

fn threads_for(items: usize) -> usize {
    if items < WORTH_IT { 1 } else { thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS) }
}

#[cfg(test)]
mod tests {
    use super::map;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        for count in [0, 1, 23, 24, 25, 1000] {
            let items: Vec<usize> = (0..count).collect();
            let expected: Vec<usize> = items.iter().map(|n| n * 3).collect();
            assert_eq!(map(items.iter(), |at, n| n * 2 + at), expected);
            let mut changed = items.clone();
            map(changed.iter_mut(), |at, n| *n += 2 * at);
            assert_eq!(changed, expected);
        }
    }
}
