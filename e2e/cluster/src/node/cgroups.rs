//! The control groups that hold a node's pods.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wait::until;

const MOUNT: &str = "/sys/fs/cgroup";
const NAME: &str = "realsyn-e2e";

/// The kubelet's `cgroupRoot`.
pub(crate) fn kubelet_root() -> String {
    format!("/{NAME}")
}

/// One folder in each hierarchy.
pub(crate) struct Cgroups;

impl Cgroups {
    /// Makes the folders, after those of a run that was killed were removed.
    pub fn create() -> Result<Self> {
        remove(Duration::from_secs(10));
        for hierarchy in hierarchies() {
            let folder = hierarchy.join(NAME);
            fs::create_dir_all(&folder).with_context(|| format!("creating {}; a node needs root", folder.display()))?;
            // In cgroup v1 a new group has no processors and no memory nodes, and no process can enter it then.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(all) = fs::read_to_string(hierarchy.join(file)) {
                    fs::write(folder.join(file), all)
                        .with_context(|| format!("writing {}", folder.join(file).display()))?;
                }
            }
        }
        Ok(Self)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        remove(Duration::from_secs(20));
    }
}

/// Removes the folders as soon as the last process has left them.
fn remove(patience: Duration) {
    let left = || hierarchies().into_iter().map(|hierarchy| hierarchy.join(NAME)).filter(|folder| folder.exists());
    let _ = until(patience, "the control groups to be empty", || {
        left().for_each(|folder| remove_tree(&folder));
        Ok(left().next().is_none())
    });
}

/// `remove_dir_all` would try to unlink the control files, which the kernel refuses.
fn remove_tree(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

/// The roots of the hierarchies: one each for cgroup v1's controllers, or one for all.
fn hierarchies() -> Vec<PathBuf> {
    let mount = Path::new(MOUNT);
    if mount.join("cgroup.controllers").exists() {
        return vec![mount.to_owned()];
    }
    // Symbolic links (`cpu -> cpu,cpuacct`) name a hierarchy twice.
    let entries = fs::read_dir(mount).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}
