//! What the controller observed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Stage;

/// What the status of a build and that of a release have in common: the work that is done for them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct WorkStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `Reconciling`, `Stalled`, `Suspended`, `Placeable`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// How far it is, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// How far it is, in the columns of `kubectl get`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<WorkSummary>,
    /// What this generation, or the pool, is made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inventory: Option<PinnedInventory>,
    /// The worker image that this generation works with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_image: Option<String>,
    /// The image of its language model's server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_image: Option<String>,
    /// A hash of the build that its sentences are from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentences: Option<String>,
    /// Every stage that has begun or waits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub stages: Vec<StageStatus>,
    /// Looks at the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advance: Option<AdvanceStatus>,
    /// The `realsyn.dev/retry` that was last acted on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retried: Option<String>,
}

/// The columns of `kubectl get`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct WorkSummary {
    /// The stage that runs, or a word.
    ///
    /// Of several the first, and how many more: `fetch +1`.
    pub stage: String,
    /// Its shards, done of all: `400/1024`.
    ///
    /// Of the step that runs; a finished task counts with the shards it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<String>,
    /// Of all steps, what is done: `31%`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub done: String,
    /// Until its step ends, roughly: `2h`.
    ///
    /// By the tasks of its Job that are done, of the longest of several stages; none before one of its tasks is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
}

/// The state of a build.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct BuildStatus {
    /// The work.
    #[serde(flatten)]
    pub work: WorkStatus,
    /// The revision of every stage that this generation works with.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub revisions: BTreeMap<String, u32>,
    /// The pools that are kept, the newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<Pool>,
}

/// A condition, as Kubernetes has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word in camel case.
    pub reason: String,
    /// A sentence for people.
    #[serde(default)]
    pub message: String,
    /// When the status last changed, RFC 3339.
    pub last_transition_time: String,
    /// The generation of the spec that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// A listed source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PinnedInventory {
    /// The hash of its files and versions.
    pub root: String,
    /// How many files.
    pub files: u64,
    /// How many shards.
    pub shards: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The other build's, where the sentences are from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentences: Option<String>,
}

/// How far a stage is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StageState {
    /// Something it reads is not there yet.
    #[default]
    Waiting,
    /// Its tasks run.
    Running,
    /// It is done.
    Sealed,
    /// A person must act.
    Stalled,
}

/// One stage of a build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageStatus {
    /// Which stage.
    #[schemars(with = "String")]
    pub name: Stage,
    /// How far it is.
    #[serde(default)]
    pub state: StageState,
    /// Its stage digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What it waits for, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// The step that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The Job of that step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Which attempt that Job is.
    #[serde(default)]
    pub attempt: u32,
    /// The hash of the task list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// Failures in a row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
    /// When the next may begin, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<String>,
    /// Tasks of that Job.
    #[serde(default)]
    pub tasks: u32,
    /// Tasks of that Job that are done.
    #[serde(default)]
    pub tasks_done: u32,
    /// Shards of the step.
    #[serde(default)]
    pub shards: u64,
    /// Shards that are committed.
    #[serde(default)]
    pub shards_done: u64,
    /// Rejected shards, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected: BTreeMap<String, u64>,
    /// Dropped records, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped: BTreeMap<String, u64>,
    /// Where it runs, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<String>,
    /// Records read.
    #[serde(default)]
    pub records_in: u64,
    /// Records written.
    #[serde(default)]
    pub records_out: u64,
    /// When it began, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it was sealed, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_at: Option<String>,
    /// Tasks that take three times as long as others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stragglers: Vec<String>,
    /// Seconds of GPUs, summed over devices.
    #[serde(default)]
    pub gpu_seconds: u64,
    /// Those that went into what is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub useful_gpu_seconds: Option<u64>,
}

impl StageStatus {
    /// A stage that waits for what it reads.
    pub fn waiting(name: Stage) -> Self {
        Self {
            name,
            state: StageState::Waiting,
            digest: None,
            waits_for: None,
            step: None,
            job: None,
            attempt: 0,
            list: None,
            failures: 0,
            retry_at: None,
            tasks: 0,
            tasks_done: 0,
            shards: 0,
            shards_done: 0,
            rejected: BTreeMap::new(),
            dropped: BTreeMap::new(),
            placement: None,
            records_in: 0,
            records_out: 0,
            started_at: None,
            sealed_at: None,
            stragglers: Vec::new(),
            gpu_seconds: 0,
            useful_gpu_seconds: None,
        }
    }
}

/// The pods that look at the store: they seal what is complete and say what can run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct AdvanceStatus {
    /// Looks that were begun.
    pub attempt: u32,
    /// Whether one is going on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub running: bool,
    /// Its Job, once that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Another is to follow.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub due: bool,
    /// Failures in a row.
    #[serde(skip_serializing_if = "is_zero")]
    pub failures: u32,
    /// When the next may begin, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<String>,
    /// What keeps it, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Why a person must act, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stalled: Option<String>,
    /// Bytes of what the last one found sealed.
    #[serde(skip_serializing_if = "is_zero")]
    pub stored_bytes: u64,
}

fn is_zero<N: Default + PartialEq>(n: &N) -> bool {
    *n == N::default()
}

/// A finished pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// The generation of the spec that made it.
    pub generation: i64,
    /// The digest over what a release reads.
    pub digest: String,
    /// How many image-text pairs.
    #[serde(default)]
    pub pairs: u64,
    /// The ConfigMap with its manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// When it was complete, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
}

/// The state of a release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// The work: its own stage, and stages of the build that had to run again.
    #[serde(flatten)]
    pub work: WorkStatus,
    /// The pool that it is made from; once this is set, the spec cannot change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolRef>,
    /// The ConfigMap with the manifests that its pods read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// The digest of the published dataset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Pairs published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<u64>,
    /// Bytes published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Where the dataset lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}

/// The pool that a release is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolRef {
    /// The generation of the build's spec that made it.
    pub generation: i64,
    /// Its digest.
    pub digest: String,
}
