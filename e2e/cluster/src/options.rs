//! What a test may choose.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::binaries::Binaries;
use crate::process::Process;

/// How a cluster is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the binaries are.
    pub binaries: Binaries,
    /// More flags for a process; they come last, so they win over the flags that it gets anyway.
    pub flags: BTreeMap<Process, Vec<String>>,
    /// Whether the API server records who asked for what; [`crate::ControlPlane::audit`] reads it.
    pub audit: bool,
    /// How long one process may take until it is ready.
    pub patience: Duration,
    /// How long a node waits for another one on the same machine to end: there is room for one only.
    pub turn: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            binaries: Binaries::default_folder(),
            flags: BTreeMap::new(),
            audit: false,
            patience: Duration::from_secs(120),
            turn: Duration::from_secs(600),
        }
    }
}
