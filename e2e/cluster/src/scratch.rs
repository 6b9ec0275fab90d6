//! The folder of one run: certificates, etcd's data, logs. It goes when the run ends, or with the next run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Holds the folders of all runs of this machine and user.
fn root() -> Result<PathBuf> {
    let root = std::env::temp_dir().join(format!("realsyn-cluster-{}", rustix::process::getuid().as_raw()));
    fs::create_dir_all(&root).with_context(|| format!("creating {}", root.display()))?;
    Ok(root)
}

/// A new folder whose name starts with this process' id, after the folders of processes that are gone were removed.
pub(crate) fn create() -> Result<TempDir> {
    let root = root()?;
    sweep(&root);
    let prefix = format!("{}-", std::process::id());
    tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(&root)
        .with_context(|| format!("creating a folder in {}", root.display()))
}

/// A killed test cannot clean up. Whatever cannot be removed now is left to the next run.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.split_once('-')).and_then(|(pid, _)| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
