//! Programs of the distribution that are run as they are.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

/// Looks a program up as a shell would, and where system programs lie for root; its error names the package.
pub(crate) fn require(program: &str, package: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let found = folders.map(|folder| folder.join(program)).find(|candidate| candidate.is_file());
    found.ok_or_else(|| {
        anyhow!("there is no program {program}; install the package {package} (e2e/cluster/install-packages.sh does)")
    })
}
