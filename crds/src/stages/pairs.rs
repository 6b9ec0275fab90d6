//! Retrieval, tags, captions, and the synthetic text.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Device, Execution, ListRef};

/// `retrieve`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Retrieve {
    /// How many sentences are kept for each image.
    #[schemars(range(min = 1, max = 100))]
    pub candidates: u32,
    /// The share of the exact best three to find; what is not given below is calibrated to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub target_recall: Option<f64>,
    /// Cells searched per image.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_536))]
    pub probe_cells: Option<u32>,
    /// Clusters searched per cell (paper §3.2: one).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub probe_clusters: Option<u32>,
    /// Images whose exact best are found, to calibrate and to measure recall.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub sample_size: u32,
    /// How it runs.
    #[serde(flatten)]
    pub execution: Execution,
    /// What it computes on.
    #[serde(flatten)]
    pub device: Device,
}

impl Default for Retrieve {
    fn default() -> Self {
        Self {
            candidates: 10,
            target_recall: None,
            probe_cells: None,
            probe_clusters: None,
            sample_size: 512,
            execution: Execution::default(),
            device: Device::default(),
        }
    }
}

/// `tag-vocab`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct TagVocab {
    /// How many nouns of the corpus the tagger gets beside its own (paper §3.3: 4,000).
    #[schemars(range(max = 1_000_000))]
    pub size: u32,
    /// The nouns to take instead, one a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<ListRef>,
    /// How it runs.
    #[serde(flatten)]
    pub execution: Execution,
}

impl Default for TagVocab {
    fn default() -> Self {
        Self { size: 4000, vocabulary: None, execution: Execution::default() }
    }
}

/// `caption`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Caption {
    /// How it runs.
    #[serde(flatten)]
    pub execution: Execution,
    /// What it computes on.
    #[serde(flatten)]
    pub device: Device,
}

/// `tag`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Tag {
    /// The most tags of an image.
    #[schemars(range(min = 1, max = 1000))]
    pub max_tags: u32,
    /// The least score of a tag; by default the tagger's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: Option<f64>,
    /// How it runs.
    #[serde(flatten)]
    pub execution: Execution,
    /// What it computes on.
    #[serde(flatten)]
    pub device: Device,
}

impl Default for Tag {
    fn default() -> Self {
        Self { max_tags: 8, threshold: None, execution: Execution::default(), device: Device::default() }
    }
}

/// `generate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Generate {
    /// Most tokens of a synthetic text.
    #[schemars(range(min = 1, max = 4096))]
    pub max_new_tokens: u32,
    /// The model to ask the endpoint for, where the engine is `openai`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub model: Option<String>,
    /// The endpoint, where the engine is `openai`: `https://host/v1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub endpoint: Option<String>,
    /// How it runs.
    #[serde(flatten)]
    pub execution: Execution,
    /// What it computes on.
    #[serde(flatten)]
    pub device: Device,
}

impl Default for Generate {
    fn default() -> Self {
        Self {
            max_new_tokens: 48,
            model: None,
            endpoint: None,
            execution: Execution::default(),
            device: Device::default(),
        }
    }
}

/// `pair-score`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PairScore {
    /// How it runs.
    #[serde(flatten)]
    pub execution: Execution,
    /// What it computes on.
    #[serde(flatten)]
    pub device: Device,
}
