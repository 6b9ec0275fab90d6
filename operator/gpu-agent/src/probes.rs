//! How the agent is.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The loop beats every second; when it has not for so long, something blocks it.
const SILENT_FOR: Duration = Duration::from_secs(60);

/// How the process is.
pub struct Health(Mutex<State>);

struct State {
    beat: Instant,
    looked: bool,
    wrote: Result<bool, String>,
}

impl Default for Health {
    fn default() -> Self {
        Self(Mutex::new(State { beat: Instant::now(), looked: false, wrote: Ok(false) }))
    }
}

impl Health {
    /// The loop runs.
    pub fn beat(&self) {
        self.state().beat = Instant::now();
    }

    /// The driver has been looked at, or there is none.
    pub fn looked(&self) {
        self.state().looked = true;
    }

    /// How the last write went.
    pub fn wrote(&self, outcome: Result<(), String>) {
        self.state().wrote = outcome.map(|()| true);
    }

    /// Why the process should be started anew, if it should.
    pub fn wedged(&self) -> Option<String> {
        let silent = self.state().beat.elapsed();
        (silent > SILENT_FOR).then(|| format!("the agent's loop has not run for {} s", silent.as_secs()))
    }

    /// Why what others see of the node may be wrong, if it may.
    pub fn unready(&self) -> Option<String> {
        let state = self.state();
        match &state.wrote {
            _ if !state.looked => Some("the driver has not been looked at yet".to_owned()),
            Ok(true) => None,
            Ok(false) => Some("nothing has been written to the API server yet".to_owned()),
            Err(error) => Some(error.clone()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Health;

    #[test]
    fn ready_means_looked_and_written() {
        let health = Health::default();
        assert!(health.unready().unwrap().contains("driver"));
        health.looked();
        assert!(health.unready().unwrap().contains("API server"));
        health.wrote(Err("refused".to_owned()));
        assert_eq!(health.unready().as_deref(), Some("refused"));
        health.wrote(Ok(()));
        assert_eq!((health.unready(), health.wedged()), (None, None));
    }
}
