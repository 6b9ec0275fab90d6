//! `RealSynRelease`: a selection from a build's pool, packed and published.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Credentials, ListRef, Metadata, ReleaseStatus, Retain};

/// A release, as a Kubernetes object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RealSynRelease {
    /// `realsyn.dev/v1alpha1`.
    pub api_version: String,
    /// `RealSynRelease`.
    pub kind: String,
    /// Its name.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: ReleaseSpec,
    /// What was observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ReleaseStatus>,
}

/// Which pairs, how packed, and where to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseSpec {
    /// The build whose pool is released.
    pub build_ref: BuildRef,
    /// Which similarities of image and synthetic text are kept; by default as the build's profile says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similarity: Option<Similarity>,
    /// How many pairs of each image cluster are kept.
    #[serde(default)]
    pub balance: Balance,
    /// Realistic texts of each image, the best first (paper §3.2: 3).
    #[serde(default = "defaults::texts")]
    #[schemars(range(min = 1, max = 10))]
    pub texts: u32,
    /// How texts are written: as they are, or as CLIP's tokenizer gives them back, by the merges in the folder of `models.clip`.
    #[serde(default)]
    pub text_surface: TextSurface,
    /// How the dataset is packed. `webdataset` has the Parquet beside it.
    #[serde(default)]
    pub format: ReleaseFormat,
    /// How images are written.
    #[serde(default)]
    pub image: ReleaseImage,
    /// Pairs in each file.
    #[serde(default = "defaults::samples_per_shard")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub samples_per_shard: u32,
    /// Where the dataset is published.
    #[serde(default)]
    pub destination: Destination,
    /// What becomes of the published files when the object is deleted.
    #[serde(default)]
    pub retain: Retain,
    /// Requests to leave out an id, URL, URL prefix, host or document, one a line, beside the build's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takedowns: Option<ListRef>,
}

mod defaults {
    pub(super) fn texts() -> u32 {
        3
    }

    pub(super) fn samples_per_shard() -> u32 {
        10_000
    }
}

/// A build of the same namespace, and which of its pools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{"rule": "!has(self.minGeneration) || !has(self.poolDigest)", "message": "poolDigest says exactly which pool; give one of the two"}]))]
pub struct BuildRef {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The first generation of the build whose pool will do; by default the newest that is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub min_generation: Option<i64>,
    /// Exactly this pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub pool_digest: Option<String>,
}

/// A band of similarities, by values or by quantiles, never both. Both ends are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{"rule": "(has(self.low) || has(self.high)) != (has(self.dropBelowQuantile) || has(self.dropAboveQuantile))", "message": "give a band by low and high, or by quantiles, not both"}, {"rule": "!has(self.low) || !has(self.high) || self.low <= self.high", "message": "low is above high, so that no pair would be kept; swap them"}]))]
pub struct Similarity {
    /// How `low` and `high` are measured.
    pub metric: SimilarityMetric,
    /// The least that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1.0, max = 1.0))]
    pub low: Option<f64>,
    /// The most that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1.0, max = 1.0))]
    pub high: Option<f64>,
    /// The share of the pairs to drop at the low end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub drop_below_quantile: Option<f64>,
    /// The share of the pairs to drop at the high end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub drop_above_quantile: Option<f64>,
}

/// How similarity is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SimilarityMetric {
    /// The cosine, -1 to 1.
    #[default]
    Cosine,
    /// Half of one plus the cosine, 0 to 1.
    HalfShifted,
}

/// How many pairs of each image cluster are kept. With neither field, all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Balance {
    /// The first so many pairs of each cluster (paper §3.4: 20, 35 or 180).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_per_cluster: Option<u32>,
    /// So many pairs in all, taken evenly from the clusters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub target_samples: Option<u64>,
}

/// How texts are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TextSurface {
    /// As in the document.
    #[default]
    Raw,
    /// Encoded and decoded by CLIP's tokenizer, as the published realistic texts are: lower case, spaced punctuation, at most
    /// 77 tokens. `models.clip` has the merges.
    ClipRoundtrip,
}

/// How a dataset is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReleaseFormat {
    /// WebDataset tars, with the Parquet beside them.
    #[default]
    Webdataset,
    /// Parquet alone, with the images in its last column.
    Parquet,
}

/// How images are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ReleaseImage {
    /// The shorter side, in pixels, if the stored image is larger; 0 leaves it as stored.
    #[schemars(range(max = 65_535))]
    pub size: u32,
    /// The JPEG quality.
    #[schemars(range(min = 1, max = 100))]
    pub quality: u8,
}

impl Default for ReleaseImage {
    fn default() -> Self {
        Self { size: 224, quality: 90 }
    }
}

/// Where a dataset is published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Destination {
    /// The folder or prefix; by default one below `releases` in the build's storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub uri: Option<String>,
    /// The S3 server's address, where it is not the storage's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub endpoint: Option<String>,
    /// The S3 region, where it is not the storage's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub region: Option<String>,
    /// Who asks the store, where it is not who asks the storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}
