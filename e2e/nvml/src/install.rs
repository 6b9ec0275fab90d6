//! The stand-in as a test sees it: a folder with the library, its scenario and a tree for `/sys`.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result};

use crate::scenario::Scenario;

/// A stand-in of its own, in a folder that the caller removes.
pub struct StandIn {
    folder: PathBuf,
}

impl StandIn {
    /// Puts the library and its scenario into a folder.
    pub fn install(folder: &Path, scenario: &Scenario) -> Result<Self> {
        let built = built()?;
        let stand_in = Self { folder: folder.to_owned() };
        stand_in.play(scenario)?;
        // A copy, not a link: the loader takes two names of one file for one library.
        fs::copy(&built, stand_in.library()).with_context(|| format!("copying {}", built.display()))?;
        Ok(stand_in)
    }

    /// What the agent is given as `--nvml`.
    pub fn library(&self) -> PathBuf {
        self.folder.join("libnvidia-ml.so.1")
    }

    /// What the agent is given as `--sysfs`.
    pub fn sysfs(&self) -> PathBuf {
        self.folder.join("sys")
    }

    /// From now on the driver shows this.
    pub fn play(&self, scenario: &Scenario) -> Result<()> {
        for device in &scenario.devices {
            let Some(numa) = device.numa else { continue };
            let pci = device.pci.to_lowercase();
            let folder = self.sysfs().join("bus/pci/devices").join(pci.strip_prefix("0000").unwrap_or(&pci));
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("numa_node"), format!("{numa}\n"))?;
        }
        let (new, path) = (self.folder.join("scenario.new"), self.folder.join("scenario.json"));
        fs::write(&new, serde_json::to_vec_pretty(scenario)?)?;
        fs::rename(&new, &path).with_context(|| format!("writing {}", path.display()))
    }
}

/// The library, as Cargo built it beside the test or the program that asks.
fn built() -> Result<PathBuf> {
    let program = env::current_exe().context("finding out where this program lies")?;
    let file = "librealsyn_nvml.so";
    let folders = program.ancestors().skip(1).take(2);
    let mut places = folders.flat_map(|folder| [folder.join(file), folder.join("deps").join(file)]);
    places.find(|path| path.exists()).with_context(|| format!("{file} is not beside {}", program.display()))
}
