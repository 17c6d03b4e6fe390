//! The same work on many functions, on all processors.

use std::num::NonZero;
use std::thread;

/// Fewer items than this are done before threads have started.
const WORTH_IT: usize = 24;

/// Threads at most.
const MOST_THREADS: usize = 8;

/// What `work` makes of each item, in the items' order.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(usize, &T) -> R + Sync) -> Vec<R> {
    let threads = threads_for(items.len());
    if threads == 1 {
        return items.iter().enumerate().map(|(at, item)| work(at, item)).collect();
    }
    // Neighbours are alike; whoever takes every n-th gets a fair share.
    let share = |first: usize| {
        items.iter().enumerate().skip(first).step_by(threads).map(|(at, item)| work(at, item)).collect::<Vec<R>>()
    };
    let shares: Vec<Vec<R>> = thread::scope(|scope| {
        let share = &share;
        let others: Vec<_> = (1..threads).map(|first| scope.spawn(move || share(first))).collect();
        let own = share(0);
        let joined = others.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        std::iter::once(own).chain(joined).collect()
    });
    let mut shares: Vec<_> = shares.into_iter().map(Vec::into_iter).collect();
    (0..items.len()).filter_map(|at| shares.get_mut(at % threads)?.next()).collect()
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
            assert_eq!(map(&items, |at, n| n * 2 + at), expected);
        }
    }
}
