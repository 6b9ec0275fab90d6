//! Waiting for something that another process does.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks. Short, because most waits end within a second.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until `ready` says true; fails at once with its error, or with `what` when `patience` has run out.
pub fn until(patience: Duration, what: &str, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !ready()? {
        if began.elapsed() > patience {
            bail!("waited {} s in vain for {what}", patience.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
