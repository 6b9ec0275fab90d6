//! `RealSynBuild`: corpus, models and settings, which make a pool of image-text pairs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BuildStatus, ListRef, Models, Quantity, Scheduling, Source, Stage, Stages, Storage};

/// A build, as a Kubernetes object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RealSynBuild {
    /// `realsyn.dev/v1alpha1`.
    pub api_version: String,
    /// `RealSynBuild`.
    pub kind: String,
    /// Its name.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: BuildSpec,
    /// What was observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<BuildStatus>,
}

/// The part of an object's metadata that matters outside a cluster; the rest is read over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// A DNS label.
    pub name: String,
    /// The namespace; none outside a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// What tells this object from another of its name; none outside a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// A corpus, models and settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{"rule": "self.source.format != 'images' || has(self.sentencesFrom)", "message": "images have no text; name the build whose sentences they get with sentencesFrom"}]))]
pub struct BuildSpec {
    /// Where documents and images come from.
    pub source: Source,
    /// Another build, whose sentences are used where the source has no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentences_from: Option<SentencesFrom>,
    /// Where the work is kept.
    pub storage: Storage,
    /// The models, by role.
    #[serde(default)]
    pub models: Models,
    /// Which defaults apply: the paper's ratios, or its numbers.
    #[serde(default)]
    pub profile: Profile,
    /// The settings of every stage.
    #[serde(default)]
    pub stages: Stages,
    /// Whether nothing new is started.
    #[serde(default)]
    pub suspend: bool,
    /// The last stage that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_after: Option<Stage>,
    /// A part of the corpus to begin with; a finished preview is reused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
    /// What the build may spend; it suspends itself when that is spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// The Kueue queue that its Jobs wait in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub queue_name: Option<String>,
    /// What its pods tell the scheduler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<Scheduling>,
    /// Requests to leave out an id, URL, URL prefix, host or document, one a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takedowns: Option<ListRef>,
}

/// Which defaults apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The paper's ratios: clusters in proportion to the rows, probes calibrated, bands by quantiles.
    #[default]
    Scaled,
    /// The paper's numbers, which fit a corpus of its size.
    Paper,
}

/// Another build of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SentencesFrom {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub build: String,
}

/// A keyed sample of the shards: one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("x-kubernetes-validations" = [{"rule": "has(self.share) != has(self.shards)", "message": "give share or shards, one of the two"}]))]
pub struct Preview {
    /// The share of the shards.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub share: Option<f64>,
    /// How many shards.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub shards: Option<u32>,
}

/// What a build may spend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Budget {
    /// Hours of GPUs as pods hold them; at its end nothing more runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub gpu_hours: Option<f64>,
    /// Bytes of its sealed steps, `2Ti`; at its end nothing more runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Quantity>,
}
