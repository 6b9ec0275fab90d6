//! Many requests at once: a bucket takes tens of milliseconds to answer one, and no longer to answer many.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Requests of one caller that are under way at once.
pub const AT_ONCE: usize = 32;

/// The results of `ask` for `0..n`, in order, with up to [`AT_ONCE`] calls under way at once, each on a thread of its own.
///
/// # Errors
/// The error of the lowest number of those that failed; what was not begun by then is left.
pub fn at_once<T: Send, E: Send>(n: usize, ask: impl Fn(usize) -> Result<T, E> + Sync) -> Result<Vec<T>, E> {
    if n <= 1 {
        return (0..n).map(ask).collect();
    }
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let answers: Vec<Mutex<Option<Result<T, E>>>> = (0..n).map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..n.min(AT_ONCE) {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(answer) = answers.get(number) else { return };
                    let asked = ask(number);
                    failed.fetch_or(asked.is_err(), Ordering::Relaxed);
                    *answer.lock().expect("no holder panics") = Some(asked);
                }
            });
        }
    });
    // Numbers are begun in order, so that none before the first failure was left.
    answers.into_iter().map_while(|answer| answer.into_inner().expect("no holder panics")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Condvar;
    use std::time::Duration;

    use super::*;

    #[test]
    fn answers_stand_in_order_and_as_many_as_allowed_are_under_way() {
        let (under_way, changed) = (Mutex::new((0, 0)), Condvar::new());
        let answers = at_once(100, |n| {
            let mut now = under_way.lock().unwrap();
            now.0 += 1;
            now.1 = now.1.max(now.0);
            changed.notify_all();
            // The first ones wait for each other; where fewer threads than that ran, this would end by the clock.
            let (mut now, _) = changed.wait_timeout_while(now, Duration::from_secs(60), |now| now.1 < AT_ONCE).unwrap();
            now.0 -= 1;
            Ok::<_, ()>(n * 2)
        });
        assert_eq!(answers.unwrap(), (0..100).map(|n| n * 2).collect::<Vec<_>>());
        assert_eq!(under_way.into_inner().unwrap(), (0, AT_ONCE));
    }

    #[test]
    fn the_first_failure_is_told_and_nothing_is_begun_after_it() {
        let begun = AtomicUsize::new(0);
        let failed = at_once(10_000, |n| {
            begun.fetch_add(1, Ordering::Relaxed);
            if n >= 7 { Err(n) } else { Ok(n) }
        });
        assert_eq!(failed, Err(7));
        assert!(begun.into_inner() <= 7 + AT_ONCE);
        assert_eq!(at_once(0, Ok::<usize, ()>), Ok(Vec::new()));
    }
}
