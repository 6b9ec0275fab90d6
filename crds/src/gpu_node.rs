//! `GpuNode`: what the GPUs of one node are and how they are. One object per node, of the node's name, owned by it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Metadata;

/// Annotation of a `GpuNode`: the reasons of its quarantine in one line, which a column cannot put together from a list.
pub const QUARANTINED: &str = "realsyn.dev/quarantine";

/// A node with GPUs, or one that should have some.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuNode {
    /// The node's name.
    pub metadata: Metadata,
    /// What people and the controller decide about it.
    #[serde(default)]
    pub spec: GpuNodeSpec,
    /// What its agent sees.
    #[serde(default)]
    pub status: GpuNodeStatus,
}

/// What people and the controller decide about a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct GpuNodeSpec {
    /// Devices that get no work.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub quarantine: Vec<Quarantine>,
}

/// Why a device, or the whole node, gets no work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quarantine {
    /// The device's UUID; the whole node without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Why, in one word: `Lost`, `ResetRequired`, `Xid79`, `DriverHung`, `RowRemapFailed`, `EccUncorrected`, `RowRemapPending`, `Thermal`,
    /// `Unreadable`, `RepeatedFailures`, or a person's own.
    #[schemars(length(min = 1, max = 64))]
    pub reason: String,
    /// Why, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub message: String,
    /// Since when, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Who wrote it: `controller`, which takes it back by itself, or anyone else, who takes it back by hand.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub by: String,
}

/// What the agent of a node sees. Inventory and health, written on change only; counters and power are metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct GpuNodeStatus {
    /// The driver's version; none where no driver answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// When the agent first saw this load of the driver, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_since: Option<String>,
    /// The newest CUDA that the driver supports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuda: Option<String>,
    /// Why there is nothing to see, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The devices in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<GpuSummary>,
    /// The devices, by PCI address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub devices: Vec<GpuDevice>,
    /// Whether kubelet does not say which devices containers hold; then nothing counts as held.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allocation_unknown: bool,
    /// When anything here last changed, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<String>,
}

/// The columns of `kubectl get gpunodes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GpuSummary {
    /// The products, as `A100-SXM4-80GB`, several with commas.
    pub product: String,
    /// How many devices.
    pub gpus: u32,
    /// Memory of the smallest device, as `79.3Gi`.
    pub memory: String,
    /// MIG profiles and how many of each, as `1g.10gb x7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig: Option<String>,
    /// NVLink islands by size, as `8` or `4+4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nvlink: Option<String>,
    /// Healthy devices of all, as `7/8`.
    pub healthy: String,
    /// Healthy devices, or MIG instances, that no container holds.
    pub free: u32,
}

/// One GPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct GpuDevice {
    /// The driver's UUID, `GPU-…`.
    pub uuid: String,
    /// The PCI address, `0000:3b:00.0`.
    pub pci: String,
    /// The product as one writes it in `gpu.products`: `A100-SXM4-80GB`.
    pub product: String,
    /// Bytes of memory.
    pub memory: u64,
    /// Compute capability, `8.0`.
    pub compute: String,
    /// The NUMA node that it hangs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numa: Option<u32>,
    /// PCI addresses of the devices that NVLink joins it to, directly or through a switch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub nvlink: Vec<String>,
    /// Whether MIG is on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mig: bool,
    /// Its MIG instances.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub instances: Vec<MigInstance>,
    /// Whether work can be trusted to it.
    pub healthy: bool,
    /// Why not, in one word, as a quarantine's reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why not, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Since when it is not healthy, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Whether a container holds it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allocated: bool,
}

/// A MIG instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct MigInstance {
    /// The driver's UUID, `MIG-…`.
    pub uuid: String,
    /// The profile, `3g.40gb`.
    pub profile: String,
    /// Bytes of memory.
    pub memory: u64,
    /// Whether a container holds it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allocated: bool,
}
