//! Documents, and images up to policy.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Execution, ListRef};

/// `documents`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Documents {
    /// The longest text block, in bytes; longer ones are dropped.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub max_block_bytes: u64,
    /// How it runs.
    #[serde(flatten)]
    pub execution: Execution,
}

impl Default for Documents {
    fn default() -> Self {
        Self { max_block_bytes: 1 << 20, execution: Execution::default() }
    }
}

/// `fetch`; what it fetches, and from where, is `spec.source`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct FetchStage {
    /// How it runs.
    #[serde(flatten)]
    pub execution: Execution,
}

/// `image-decode`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ImageDecode {
    /// The least shorter side, in pixels (paper §3.1: 100).
    #[schemars(range(max = 65_535))]
    pub min_side: u32,
    /// The greatest longer side as a multiple of the shorter one (paper §3.1: 3).
    #[schemars(range(min = 1.0, max = 65_535.0))]
    pub max_aspect: f64,
    /// The shorter side of stored images, in pixels, if they are larger; 0 leaves them as they are.
    #[schemars(range(max = 65_535))]
    pub short_side: u32,
    /// The most pixels of an image, width times height.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max_pixels: u64,
    /// The longest image file, in bytes.
    #[schemars(range(min = 1, max = 1_073_741_824))]
    pub max_bytes: u64,
    /// The JPEG quality that images are stored with.
    #[schemars(range(min = 1, max = 100))]
    pub quality: u8,
    /// How it runs.
    #[serde(flatten)]
    pub execution: Execution,
}

impl Default for ImageDecode {
    fn default() -> Self {
        Self {
            min_side: 100,
            max_aspect: 3.0,
            short_side: 336,
            max_pixels: 64_000_000,
            max_bytes: 20_000_000,
            quality: 90,
            execution: Execution::default(),
        }
    }
}

/// `image-dedup-perceptual`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ImageDedupPerceptual {
    /// The greatest Hamming distance, of 64 bits, of two perceptual hashes of one image.
    #[schemars(range(max = 32))]
    pub max_distance: u32,
    /// How it runs.
    #[serde(flatten)]
    pub execution: Execution,
}

impl Default for ImageDedupPerceptual {
    fn default() -> Self {
        Self { max_distance: 6, execution: Execution::default() }
    }
}

/// `image-policy`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ImagePolicy {
    /// Ids of images to leave out, one a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked_images: Option<ListRef>,
    /// Hosts whose images to leave out, one a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked_hosts: Option<ListRef>,
    /// Ids of images of evaluations, one a line: left out, so that no model is trained on its test.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub evaluation_sets: Vec<ListRef>,
    /// How it runs.
    #[serde(flatten)]
    pub execution: Execution,
}
