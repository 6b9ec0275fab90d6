//! Embeddings, cells, semantic duplicates and clusters: the same settings for sentences and for images.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Device, Execution};

/// `sentence-embed` and `image-embed`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Embed {
    /// How it runs.
    #[serde(flatten)]
    pub execution: Execution,
    /// What it computes on.
    #[serde(flatten)]
    pub device: Device,
}

/// `sentence-cells` and `image-cells`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Cells {
    /// How many cells; by default the square root of the clusters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_536))]
    pub cells: Option<u32>,
    /// The most rounds of k-means.
    #[schemars(range(min = 1, max = 1000))]
    pub iterations: u32,
    /// Rows of the training sample per cell.
    #[schemars(range(min = 1, max = 65_536))]
    pub sample_per_cell: u32,
    /// How it runs.
    #[serde(flatten)]
    pub execution: Execution,
    /// What it computes on.
    #[serde(flatten)]
    pub device: Device,
}

impl Default for Cells {
    fn default() -> Self {
        Self {
            cells: None,
            iterations: 10,
            sample_per_cell: 256,
            execution: Execution::default(),
            device: Device::default(),
        }
    }
}

/// `sentence-dedup-semantic` and `image-dedup-semantic`. Distances are cosine distances, one minus the cosine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SemanticDedup {
    /// Whether semantic duplicates are dropped.
    pub enabled: bool,
    /// The cosine distance below which two rows count as duplicates; by default 0.2 for verified images, else 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 2.0))]
    pub max_distance: Option<f64>,
    /// The cosine distance from its representative beyond which a member leaves a group; by default twice `maxDistance`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 2.0))]
    pub max_radius: Option<f64>,
    /// Whether near pairs are verified: the same picture, or the same numbers and negations. By default in profile `scaled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
    /// The most rows of a group that is believed; by default 1,000 or, if more, 0.1 % of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2))]
    pub max_group: Option<u64>,
    /// How it runs.
    #[serde(flatten)]
    pub execution: Execution,
    /// What it computes on.
    #[serde(flatten)]
    pub device: Device,
}

impl Default for SemanticDedup {
    fn default() -> Self {
        Self {
            enabled: true,
            max_distance: None,
            max_radius: None,
            verify: None,
            max_group: None,
            execution: Execution::default(),
            device: Device::default(),
        }
    }
}

/// What is here is what was given or, after [`BuildSpec::effective`](crate::BuildSpec::effective), filled in.
impl SemanticDedup {
    /// Whether near pairs are verified.
    pub fn verifies(&self) -> bool {
        self.verify.unwrap_or(false)
    }

    /// `maxDistance`.
    pub fn distance(&self) -> f64 {
        self.max_distance.unwrap_or(0.1)
    }

    /// `maxRadius`.
    pub fn radius(&self) -> f64 {
        self.max_radius.unwrap_or((2.0 * self.distance()).min(2.0))
    }
}

/// `sentence-cluster` and `image-cluster`: `rowsPerCluster` or `clusters`, at most one cluster per two rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{"rule": "!has(self.rowsPerCluster) || !has(self.clusters)", "message": "give rowsPerCluster or clusters, one of the two"}]))]
pub struct Cluster {
    /// Rows per cluster; in the `scaled` profile by default 420 sentences, 198 images.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2))]
    pub rows_per_cluster: Option<u64>,
    /// How many clusters; in the `paper` profile by default 2,000,000 of sentences, 1,000,000 of images.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub clusters: Option<u64>,
    /// The most rounds of k-means.
    #[schemars(range(min = 1, max = 1000))]
    pub iterations: u32,
    /// How it runs.
    #[serde(flatten)]
    pub execution: Execution,
    /// What it computes on.
    #[serde(flatten)]
    pub device: Device,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            rows_per_cluster: None,
            clusters: None,
            iterations: 20,
            execution: Execution::default(),
            device: Device::default(),
        }
    }
}
