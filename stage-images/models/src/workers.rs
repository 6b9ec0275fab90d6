//! Runs batches on a fixed set of threads.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A set of worker threads, each a rayon pool of one.
///
/// The tensor library splits each matrix product over the rayon pool it is called from. Inside a pool of one it stays
/// on its thread, so whole batches run side by side without waiting for each other, and the element-wise work between
/// the products, which the library does on one thread, is spread too.
pub(crate) struct Workers {
    pools: Vec<rayon::ThreadPool>,
}

impl Workers {
    /// As many workers as `RAYON_NUM_THREADS` says if it is a positive number, else as the system offers this process.
    pub(crate) fn start() -> std::io::Result<Self> {
        let wanted = std::env::var("RAYON_NUM_THREADS").ok().and_then(|value| value.parse().ok());
        let threads = wanted.filter(|&n| n > 0);
        Self::new(threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)))
    }

    /// `threads` workers, at least one.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let pool = |_| rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(std::io::Error::other);
        Ok(Self { pools: (0..threads.max(1)).map(pool).collect::<Result<_, _>>()? })
    }

    /// `f(0), …, f(n − 1)` in that order. Which thread runs which call changes nothing but the time. The first error in
    /// order is returned; calls that had not started by then are skipped.
    pub(crate) fn map<T: Send, E: Send>(
        &self,
        n: usize,
        f: impl Fn(usize) -> Result<T, E> + Sync,
    ) -> Result<Vec<T>, E> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= n {
                    return done;
                }
                let result = f(index);
                if result.is_err() {
                    next.fetch_max(n, Ordering::Relaxed);
                }
                done.push((index, result));
            }
        };
        let mut results: Vec<(usize, Result<T, E>)> = std::thread::scope(|scope| {
            let pools = &self.pools[..self.pools.len().min(n)];
            let handles: Vec<_> = pools.iter().map(|pool| scope.spawn(|| pool.install(work))).collect();
            let join = |handle: std::thread::ScopedJoinHandle<'_, Vec<_>>| match handle.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            handles.into_iter().flat_map(join).collect()
        });
        results.sort_unstable_by_key(|(index, _)| *index);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order() {
        let workers = Workers::new(3).unwrap();
        let squares = workers.map(100, |i| Ok::<_, ()>(i * i)).unwrap();
        assert_eq!(squares, (0..100).map(|i| i * i).collect::<Vec<_>>());
        assert_eq!(workers.map(0, |_| Ok::<_, ()>(0)), Ok(vec![]));
    }

    #[test]
    fn an_error_is_returned() {
        let workers = Workers::new(2).unwrap();
        assert_eq!(workers.map(10, |i| if i == 4 { Err(i) } else { Ok(i) }), Err(4));
    }
}
