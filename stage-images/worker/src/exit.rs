//! How a worker ends: exit codes that a Job's failure rules tell apart, the reason where Kubernetes looks for it, and a
//! way to stop that loses nothing.

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use realsyn_dataset::store::StoreError;
use tokio::signal::unix::{SignalKind, signal};

use crate::run::{ENDING, ModelError, StageError};
use crate::session::SettingsError;
use crate::stage_command::{Ended, InputGone};

/// The settings are wrong: trying again helps nobody.
pub const SETTINGS: u8 = 64;
/// An input is gone: `advance` first, then again.
pub const INPUT_GONE: u8 = 65;
/// A GPU is lost.
pub const GPU_LOST: u8 = 66;
/// The language model's server does not answer.
pub const SERVER: u8 = 67;
/// Ended by SIGTERM with work left.
pub const TERMINATED: u8 = 143;

/// A pod has a minute between SIGTERM and SIGKILL; a shard that is not finished by then is left to another pod.
const GRACE: Duration = Duration::from_secs(50);
/// Kubernetes keeps this much of a reason.
const REASON_BYTES: usize = 2048;

/// The exit code for an error.
pub fn code(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(number(error))
}

fn number(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if cause.is::<Ended>() {
            return TERMINATED;
        }
        if cause.is::<InputGone>() {
            return INPUT_GONE;
        }
        match cause.downcast_ref() {
            Some(StageError::Server(_)) => return SERVER,
            Some(StageError::Gpu(_)) => return GPU_LOST,
            _ => {}
        }
        let settings = cause.is::<SettingsError>()
            || cause.downcast_ref::<ModelError>().is_some_and(|e| !matches!(e, ModelError::NotFetched { .. }))
            || matches!(cause.downcast_ref(), Some(StageError::Settings(_)))
            || matches!(cause.downcast_ref(), Some(StoreError::Misconfigured(_)));
        if settings {
            return SETTINGS;
        }
    }
    1
}

/// Passes a result on; the reason of a failure is also written to `file`.
pub fn explained<T>(file: Option<&Path>, result: anyhow::Result<T>) -> anyhow::Result<T> {
    if let (Some(file), Err(error)) = (file, &result) {
        let mut reason = format!("{error:#}");
        reason.truncate(reason.floor_char_boundary(REASON_BYTES));
        if let Err(unwritten) = std::fs::write(file, reason) {
            tracing::warn!(file = %file.display(), error = %unwritten, "the reason of the failure cannot be written");
        }
    }
    result
}

/// From now on SIGTERM finishes what is under way and begins nothing else. The first process of a container gets no
/// default for it, so without this a pod would sit out its whole grace period.
pub fn on_sigterm() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut asked = {
        let _inside = runtime.enter();
        signal(SignalKind::terminate())?
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            asked.recv().await;
            ENDING.store(true, Ordering::Relaxed);
            tokio::time::sleep(GRACE).await;
            std::process::exit(TERMINATED.into());
        });
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn errors_have_the_codes_that_the_failure_rules_know() {
        let settings = SettingsError("spec.source.uri".into());
        assert_eq!(number(&anyhow::Error::new(settings).context("outer")), SETTINGS);
        let settings: Result<(), _> = Err(StageError::Settings("a list".into()));
        assert_eq!(number(&settings.context("retrieve/route").unwrap_err()), SETTINGS);
        let server: Result<(), _> = Err(StageError::Server("it is away".into()));
        assert_eq!(number(&server.context("generate/generate").unwrap_err()), SERVER);
        let lost: Result<(), _> = Err(StageError::Gpu("GPU-0: CUDA_ERROR_ECC_UNCORRECTABLE".into()));
        assert_eq!(number(&lost.context("retrieve/search").unwrap_err()), GPU_LOST);
        assert_eq!(number(&Ended.into()), TERMINATED);
        assert_eq!(number(&anyhow::anyhow!("the network is down")), 1);
    }

    #[test]
    fn a_reason_is_written_whole_characters_only() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let result: anyhow::Result<()> = Err(anyhow::anyhow!("{}", "\u{00e9}".repeat(5000)));
        explained(Some(file.path()), result).unwrap_err();
        let written = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(written, "\u{00e9}".repeat(REASON_BYTES / 2));
    }
}
