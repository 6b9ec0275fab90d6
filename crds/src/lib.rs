//! The RealSyn API, group `realsyn.dev`, version `v1alpha1`: `RealSynBuild`, `RealSynRelease` and `GpuNode` with their
//! defaults, profiles, validation and CRDs.
//!
//! The types are plain serde structs without any dependency on Kubernetes, so that the local run reads the very documents
//! that `kubectl apply` takes.

#![forbid(unsafe_code)]

mod build;
mod check;
pub mod crd;
mod execution;
pub mod fields;
mod gpu_node;
mod models;
mod parse;
mod problem;
mod profile;
mod reference;
mod release;
mod scheduling;
pub mod schema;
mod source;
mod stage;
mod stages;
mod status;
mod storage;
mod validate;
pub mod yaml;

pub use build::{Budget, BuildSpec, Metadata, Preview, Profile, RealSynBuild, SentencesFrom};
pub use execution::{Device, Engine, Execution, Gpu, Quantity, Sharing};
pub use fields::{Class, release_settings, stage_settings};
pub use gpu_node::{GpuDevice, GpuNode, GpuNodeSpec, GpuNodeStatus, GpuSummary, MigInstance, QUARANTINED, Quarantine};
pub use models::{Dtype, ModelRef, Models, models_read};
pub use parse::{Manifest, parse_manifests};
pub use problem::Problem;
pub use release::{
    Balance, BuildRef, Destination, RealSynRelease, ReleaseFormat, ReleaseImage, ReleaseSpec, Similarity,
    SimilarityMetric, TextSurface,
};
pub use scheduling::{Scheduling, TaintEffect, Toleration, TolerationOperator};
pub use schema::Kind;
pub use source::{Fetch, FetchPolicy, Format, ImageMirror, ListRef, Source};
pub use stage::{Stage, UnknownStage};
pub use stages::*;
pub use status::{
    AdvanceStatus, BuildStatus, Condition, PinnedInventory, Pool, PoolRef, ReleaseStatus, StageState, StageStatus,
    WorkStatus, WorkSummary,
};
pub use storage::{Credentials, Retain, Storage};
pub use validate::{release_warnings, take_giver, validate, validate_release, validate_sentences, warnings};

/// The API's group, and the prefix of its labels and annotations.
pub const GROUP: &str = "realsyn.dev";
/// The API's version.
pub const VERSION: &str = "v1alpha1";
/// Group and version of the API.
pub const API_VERSION: &str = "realsyn.dev/v1alpha1";
