//! Whether the process is alive and ready, judged by its watches.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A watch that has brought nothing but errors for so long will not recover by itself.
const WEDGED_AFTER: Duration = Duration::from_secs(600);
/// An error that is older than this is over: a quiet watch brings no events.
const FRESH: Duration = Duration::from_secs(120);

/// What is known of each watch.
#[derive(Default)]
pub struct Health {
    watches: Mutex<BTreeMap<&'static str, Watch>>,
}

struct Watch {
    synced: bool,
    moved: Instant,
    failed: Option<Instant>,
    error: String,
}

impl Health {
    /// A watch begins.
    pub fn expect(&self, watch: &'static str) {
        let new = Watch { synced: false, moved: Instant::now(), failed: None, error: String::new() };
        self.watches().insert(watch, new);
    }

    /// A watch brought something; `synced`, everything that there is.
    pub fn moved(&self, watch: &'static str, synced: bool) {
        if let Some(watch) = self.watches().get_mut(watch) {
            watch.synced |= synced;
            (watch.moved, watch.failed) = (Instant::now(), None);
        }
    }

    /// A watch failed.
    pub fn failed(&self, watch: &'static str, error: String) {
        if let Some(watch) = self.watches().get_mut(watch) {
            (watch.failed, watch.error) = (Some(Instant::now()), error);
        }
    }

    /// Why the process should be started anew, if it should.
    pub fn wedged(&self) -> Option<String> {
        let watches = self.watches();
        let (name, watch) = watches
            .iter()
            .find(|(_, w)| w.moved.elapsed() > WEDGED_AFTER && w.failed.is_some_and(|at| at.elapsed() < FRESH))?;
        Some(format!("the watch of {name} has failed for {} s: {}", watch.moved.elapsed().as_secs(), watch.error))
    }

    /// Why the process cannot do its work yet, if it cannot.
    pub fn unready(&self) -> Option<String> {
        let watches = self.watches();
        if watches.is_empty() {
            return Some("waiting for the CustomResourceDefinitions".to_owned());
        }
        let (name, watch) = watches.iter().find(|(_, w)| !w.synced)?;
        Some(format!("the watch of {name} has not brought everything yet {}", watch.error))
    }

    /// When each watch last moved, a line each.
    pub fn report(&self) -> String {
        let line = |(name, w): (&&str, &Watch)| format!("{name}: moved {} s ago\n", w.moved.elapsed().as_secs());
        self.watches().iter().map(line).collect()
    }

    fn watches(&self) -> MutexGuard<'_, BTreeMap<&'static str, Watch>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A watch that last moved and last failed so many seconds ago.
    fn watch(moved: u64, failed: Option<u64>) -> Health {
        let health = Health::default();
        let ago =
            |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).expect("a machine that is up so long");
        let watch = Watch { synced: true, moved: ago(moved), failed: failed.map(ago), error: "403".to_owned() };
        health.watches().insert("jobs", watch);
        health
    }

    #[test]
    fn a_process_is_wedged_by_ten_minutes_of_fresh_errors_alone() {
        for (moved, failed, wedged) in [
            (601, Some(1), true),
            (590, Some(1), false),
            // The last error is over: nothing has happened since.
            (601, Some(121), false),
            (601, Some(110), true),
            (1200, None, false),
        ] {
            let health = watch(moved, failed);
            let told = health.wedged();
            assert_eq!(told.is_some(), wedged, "moved {moved} s ago, failed {failed:?} s ago: {told:?}");
            assert!(told.is_none_or(|why| why.starts_with("the watch of jobs has failed for 601 s: 403")));
            health.moved("jobs", false);
            assert_eq!(health.wedged(), None, "it has moved");
            health.failed("jobs", "410".to_owned());
            assert_eq!(health.wedged(), None, "it has moved lately");
        }
    }

    #[test]
    fn a_process_is_ready_when_every_watch_has_brought_everything() {
        let health = Health::default();
        assert!(health.unready().is_some_and(|why| why.contains("CustomResourceDefinitions")));
        health.expect("jobs");
        health.expect("pods");
        health.moved("jobs", true);
        health.failed("pods", "403".to_owned());
        assert_eq!(health.unready().as_deref(), Some("the watch of pods has not brought everything yet 403"));
        health.moved("pods", false);
        assert!(health.unready().is_some(), "the first of many");
        health.moved("pods", true);
        assert_eq!(health.unready(), None);
        // What was brought stays there.
        health.failed("pods", "500".to_owned());
        assert_eq!(health.unready(), None);
        assert_eq!(health.report().lines().count(), 2);
    }
}
