//! Where the built binaries are.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Names the folder with the binaries, when it is not the repository's own cache.
const FOLDER: &str = "REALSYN_KUBERNETES";

const CONTROL_PLANE: &[&str] = &["etcd", "kube-apiserver", "kube-controller-manager", "kubectl"];
const NODE: &[&str] = &["kube-scheduler", "kubelet", "kube-proxy", "containerd", "containerd-shim-runc-v2", "ctr"];

/// The folder that `build-binaries.sh` filled.
#[derive(Clone, Debug)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// `$REALSYN_KUBERNETES/bin`, or `.cache/kubernetes/bin` in the repository. Says nothing about what is in there.
    pub fn default_folder() -> Self {
        let cache = match std::env::var_os(FOLDER) {
            Some(folder) => PathBuf::from(folder),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/kubernetes"),
        };
        let folder = cache.join("bin");
        Self { folder: folder.canonicalize().unwrap_or(folder) }
    }

    /// The path of one binary, which need not exist.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where kwok's stages lie; kwok needs some of them by `--config`.
    pub fn kwok_stages(&self) -> PathBuf {
        self.folder.with_file_name("kwok-stages")
    }

    /// Fails with a sentence unless everything for a control plane is there.
    pub fn require_control_plane(&self) -> Result<()> {
        self.require(CONTROL_PLANE, "control-plane")
    }

    /// Fails with a sentence unless everything for a node is there.
    pub fn require_node(&self) -> Result<()> {
        self.require_control_plane()?;
        self.require(NODE, "control-plane node")
    }

    /// Fails with a sentence unless the tool (`helm`, `kwok`, `kubeconform`) is there.
    pub fn require_tool(&self, name: &str) -> Result<PathBuf> {
        self.require(&[name], name)?;
        Ok(self.path(name))
    }

    fn require(&self, names: &[&str], group: &str) -> Result<()> {
        let missing: Vec<&str> = names.iter().copied().filter(|name| !self.path(name).is_file()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        bail!(
            "{} lacks {}; build them with `e2e/cluster/build-binaries.sh {} {group}`, or point {FOLDER} at the folder of an earlier build",
            self.folder.display(),
            missing.join(", "),
            self.folder.parent().unwrap_or(&self.folder).display(),
        )
    }
}
