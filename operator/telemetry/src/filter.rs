//! What is logged, and a file by which that changes while the process runs.

use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// How often the file is read. A ConfigMap is a folder of links that are swapped, so its content is compared.
const EVERY: Duration = Duration::from_secs(2);

/// What `RUST_LOG` says, if it can be understood, or else `default`.
pub fn usual(default: &str) -> String {
    let asked = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|text| !text.is_empty() && parse(text).is_ok());
    asked.unwrap_or_else(|| default.to_owned())
}

/// A filter as `RUST_LOG` is written.
pub fn parse(text: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(text)
}

/// A file that says what is logged.
pub struct FilterFile {
    path: PathBuf,
    /// What is logged without the file.
    usual: String,
    /// What was read last.
    last: Option<String>,
    handle: reload::Handle<EnvFilter, Registry>,
}

impl FilterFile {
    /// Not read yet.
    pub fn new(path: PathBuf, usual: String, handle: reload::Handle<EnvFilter, Registry>) -> Self {
        Self { path, usual, last: None, handle }
    }

    /// Reads it now, and again and again until the process ends.
    pub fn watch(mut self) {
        self.check();
        let looks = move || {
            loop {
                std::thread::sleep(EVERY);
                self.check();
            }
        };
        if let Err(error) = std::thread::Builder::new().name("log-filter".into()).spawn(looks) {
            tracing::warn!(%error, "changes of the log filter are not seen: no thread can be started");
        }
    }

    /// Reads it, and logs by it if it has changed. A file that is missing or empty says nothing.
    fn check(&mut self) {
        let read = std::fs::read_to_string(&self.path).unwrap_or_default();
        let text = read.trim();
        if self.last.as_deref().unwrap_or_default() == text {
            return;
        }
        self.last = Some(text.to_owned());
        let wanted = if text.is_empty() { &self.usual } else { text };
        let changed = parse(wanted).map_err(|error| error.to_string());
        match changed.and_then(|filter| self.handle.reload(filter).map_err(|error| error.to_string())) {
            Ok(()) => tracing::info!(filter = wanted, "the log filter has changed"),
            Err(error) => {
                tracing::warn!(file = %self.path.display(), filter = wanted, error, "this log filter is ignored");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tail;
    use tracing_subscriber::prelude::*;

    #[test]
    fn a_changed_file_changes_what_is_logged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("filter");
        let tail = Tail::default();
        let (filter, handle) = reload::Layer::new(parse("warn").unwrap());
        let mut file = FilterFile::new(path.clone(), "warn".into(), handle);
        let written = tail.clone();
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || written.clone());
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
        tracing::subscriber::with_default(subscriber, || {
            let mut logged = |content: Option<&str>| {
                match content {
                    Some(content) => std::fs::write(&path, content).unwrap(),
                    None => _ = std::fs::remove_file(&path),
                }
                file.check();
                let before = tail.lines().len();
                tracing::debug!("a debug line");
                tail.lines().len() > before
            };
            assert!(!logged(None));
            assert!(logged(Some("debug\n")));
            // What cannot be understood changes nothing, and is told of once.
            assert!(logged(Some("realsyn=loud=er")));
            assert!(logged(Some("realsyn=loud=er")));
            assert!(!logged(Some("info")));
            assert!(logged(Some("info,realsyn_telemetry=debug")));
            assert!(!logged(Some("")));
            assert!(!logged(None));
        });
        let text = String::from_utf8(tail.lines()).unwrap();
        assert_eq!(text.matches("this log filter is ignored").count(), 1, "{text}");
    }
}
