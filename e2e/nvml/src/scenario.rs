//! What the scripted driver shows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A node, as its driver describes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    /// The driver.
    pub driver: Driver,
    /// The devices, by index.
    pub devices: Vec<Device>,
    /// XIDs so far. Append one and it is delivered, once, to every event set that was registered before.
    pub xids: Vec<Xid>,
    /// Calls that fail: `nvmlDeviceGetName`, or `nvmlDeviceGetName@2` for device 2 alone, and the code.
    pub errors: BTreeMap<String, i32>,
    /// Calls that don't return as long as they are named here.
    pub hangs: Vec<String>,
}

/// The kernel's side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Driver {
    /// Its version.
    pub version: String,
    /// The newest CUDA, as NVML writes it: 12.4 is 12040.
    pub cuda: i32,
    /// Counts loads. Who was initialised under another one gets `NVML_ERROR_UNINITIALIZED` until it does so again.
    pub load: u64,
    /// Whether it is not loaded at all.
    pub absent: bool,
}

impl Default for Driver {
    fn default() -> Self {
        Self { version: "550.90.07".to_owned(), cuda: 12_040, load: 1, absent: false }
    }
}

/// A GPU. What is `None` is not supported by it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Device {
    /// `GPU-…`.
    pub uuid: String,
    /// The PCI address as NVML writes it: `00000000:07:00.0`.
    pub pci: String,
    /// `NVIDIA A100-SXM4-80GB`.
    pub name: String,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes in use.
    pub used: u64,
    /// Compute capability.
    pub compute: (i32, i32),
    /// The NUMA node, for the tree that stands in for `/sys`.
    pub numa: Option<i32>,
    /// Whether MIG is on.
    pub mig: Option<bool>,
    /// MIG instances.
    pub instances: Vec<Instance>,
    /// NVLinks that are up.
    pub links: Vec<Link>,
    /// Uncorrected ECC errors since the driver was loaded.
    pub ecc_uncorrected: Option<u64>,
    /// Corrected ones, where uncorrected ones are counted.
    pub ecc_corrected: u64,
    /// Rows remapped for corrected errors, where rows are remapped.
    pub remapped_corrected: u32,
    /// Rows remapped for uncorrectable errors, whether one waits for a reset, and whether one could not be remapped.
    pub remapped_rows: Option<(u32, bool, bool)>,
    /// What the driver asks for: 0 nothing, 1 a reset, 2 a reboot, 3 drain peers, 4 drain and reset.
    pub recovery_action: Option<u32>,
    /// Pages retired for single-bit and for double-bit errors; before Ampere.
    pub retired_pages: Option<(u32, u32)>,
    /// Whether pages wait for retirement; before Ampere.
    pub pages_pending: Option<bool>,
    /// Why the clocks are down, as NVML's bits.
    pub throttle: u64,
    /// Milliwatts.
    pub power: Option<u32>,
    /// Degrees Celsius.
    pub temperature: Option<u32>,
    /// Percent.
    pub utilization: Option<u32>,
    /// Whether it has fallen off the bus.
    pub lost: bool,
}

/// A MIG instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Instance {
    /// `MIG-…`.
    pub uuid: String,
    /// `3g.40gb`.
    pub profile: String,
    /// Bytes of memory.
    pub memory: u64,
    /// Slices of compute.
    pub slices: u32,
}

/// The far end of an NVLink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Link {
    /// Its PCI address.
    pub remote: String,
    /// Its PCI vendor.
    pub vendor: u16,
}

/// An XID of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Xid {
    /// The device's index.
    pub device: usize,
    /// The code.
    pub code: u64,
}
