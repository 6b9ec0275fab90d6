//! An object's status, with what follows from it: stages that have not begun, shares, what each waits for.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::api::DynamicObject;
use realsyn_crds::{
    BuildSpec, BuildStatus, Condition, PinnedInventory, Pool, ReleaseStatus, Stage, StageState, StageStatus, WorkStatus,
};
use realsyn_objects::kinds::Kind;
use realsyn_objects::plan::Plan;
use realsyn_objects::text::sentence;
use realsyn_plan::graph::{BUILD, RELEASE, stages_read};
use serde::Serialize;
use serde_json::Value;

use crate::commands::Spending;

/// Stages that keep or drop each record they read, so that the difference is what was dropped.
const FILTERS: &[Stage] = &[
    Stage::Documents,
    Stage::Fetch,
    Stage::ImageDecode,
    Stage::ImageDedupPerceptual,
    Stage::ImagePolicy,
    Stage::Sentences,
    Stage::SentenceDedupExact,
    Stage::SentenceDedupNear,
    Stage::SentenceDedupSemantic,
    Stage::SentenceCluster,
    Stage::ImageDedupSemantic,
    Stage::ImageCluster,
    Stage::Generate,
];

/// How an object stands, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Complete at this generation.
    Ready,
    /// Something runs, or will by itself.
    Running,
    /// A person must act.
    Stalled,
    /// `spec.suspend` is true.
    Suspended,
    /// No controller has looked at this generation.
    Unseen,
}

impl State {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Stalled => "stalled",
            Self::Suspended => "suspended",
            Self::Unseen => "not seen yet",
        }
    }
}

/// Everything that is shown of a build or release.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// `RealSynBuild` or `RealSynRelease`.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The generation of its spec.
    pub generation: i64,
    /// In one word.
    pub state: State,
    /// The controller's line of progress.
    pub progress: Option<String>,
    /// Why it is not ready, in a sentence.
    pub why: Option<String>,
    /// What was listed.
    pub inventory: Option<PinnedInventory>,
    /// The build whose sentences it takes, if it takes some.
    pub sentences_from: Option<String>,
    /// The worker image of this generation.
    pub worker_image: Option<String>,
    /// The image of its language model's server, if it has one.
    pub server_image: Option<String>,
    /// GPU-hours so far.
    pub gpu_hours: f64,
    /// GPU-hours that it may spend.
    pub budget_gpu_hours: Option<f64>,
    /// Bytes that sealed steps hold in the store.
    pub stored: u64,
    /// What the budget allows of them.
    pub budget_bytes: Option<String>,
    /// What its GPUs have cost and will, where prices are known or a forecast was asked for.
    pub spending: Option<Spending>,
    /// What it wants to run, in order.
    pub stages: Vec<StageLine>,
    /// The conditions.
    pub conditions: Vec<Condition>,
    /// Finished pools, the newest last.
    pub pools: Vec<Pool>,
    /// Of a release.
    pub release: Option<Published>,
}

/// What a release is made from, and what came of it.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// The build.
    pub build: String,
    /// The generation of the pool, once it is pinned.
    pub pool_generation: Option<i64>,
    /// The pool.
    pub pool: Option<String>,
    /// The digest of the dataset.
    pub digest: Option<String>,
    /// Its pairs.
    pub pairs: Option<u64>,
    /// Its bytes.
    pub bytes: Option<u64>,
    /// Where it lies.
    pub uri: Option<String>,
}

/// One stage.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StageLine {
    /// Which.
    pub name: Stage,
    /// How it stands; `Waiting` if it has not begun.
    pub state: StageState,
    /// How much of it is done, from 0 to 1.
    pub share: f64,
    /// The step that runs: its name, its place, and how many there are.
    pub step: Option<(String, usize, usize)>,
    /// Shards of that step, of the last one if it is sealed; none before the stage has begun.
    pub shards: Option<u64>,
    /// Those that are committed.
    pub shards_done: u64,
    /// Tasks of the Job.
    pub tasks: u32,
    /// Tasks that are done.
    pub tasks_done: u32,
    /// Attempts so far.
    pub attempt: u32,
    /// Failures in a row.
    pub failures: u32,
    /// When it is tried again.
    pub retry_at: Option<String>,
    /// Records read, where the stage counts them.
    pub records_in: Option<u64>,
    /// Records written.
    pub records_out: Option<u64>,
    /// Records left out, where the stage keeps or drops what it reads.
    pub dropped: Option<u64>,
    /// Records that its steps counted as dropped, by reason.
    pub dropped_by: BTreeMap<String, u64>,
    /// Rejected shards by reason.
    pub rejected: BTreeMap<String, u64>,
    /// What it waits for.
    pub waits_for: Option<String>,
    /// Where it runs.
    pub placement: Option<String>,
    /// When it began.
    pub started_at: Option<String>,
    /// When it was sealed.
    pub sealed_at: Option<String>,
    /// Tasks that take much longer than others.
    pub stragglers: Vec<String>,
    /// Seconds of GPUs.
    pub gpu_seconds: u64,
    /// Those that went into what is sealed.
    pub useful_gpu_seconds: Option<u64>,
}

impl StageLine {
    /// The share of the GPUs' time that went into what is sealed: the rest went into starts, and into attempts that were
    /// lost. None where others paid for what is sealed.
    pub fn useful_share(&self) -> Option<f64> {
        let useful = self.useful_gpu_seconds.filter(|useful| *useful <= self.gpu_seconds && self.gpu_seconds > 0)?;
        Some(useful as f64 / self.gpu_seconds as f64)
    }
}

impl Overview {
    /// What an object says of itself. A part that cannot be read is left out.
    pub fn new(kind: Kind, object: &DynamicObject) -> Self {
        let mut status = object.data.get("status").cloned().unwrap_or_default();
        clean(&mut status);
        let spec: Option<BuildSpec> = match kind {
            Kind::Build => serde_json::from_value(object.data["spec"].clone()).ok(),
            Kind::Release => None,
        };
        let (work, pools, release) = match kind {
            Kind::Build => {
                let status: BuildStatus = serde_json::from_value(status).unwrap_or_default();
                (status.work, status.pools, None)
            }
            Kind::Release => {
                let status: ReleaseStatus = serde_json::from_value(status).unwrap_or_default();
                let published = Published {
                    build: object.data["spec"]["buildRef"]["name"].as_str().unwrap_or_default().to_owned(),
                    pool_generation: status.pool.as_ref().map(|p| p.generation),
                    pool: status.pool.map(|p| p.digest),
                    digest: status.digest,
                    pairs: status.pairs,
                    bytes: status.bytes,
                    uri: status.uri,
                };
                (status.work, Vec::new(), Some(published))
            }
        };
        let generation = object.metadata.generation.unwrap_or_default();
        let state = state(&work, generation, spec.as_ref().is_some_and(|s| s.suspend));
        let ready = work.conditions.iter().find(|c| c.type_ == "Ready" && c.status != "True");
        let budget = spec.as_ref().and_then(|s| s.budget.clone());
        Self {
            kind: kind.name(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            generation,
            why: match state {
                State::Ready => None,
                State::Unseen if work.observed_generation.is_none() => Some(NOBODY.to_owned()),
                State::Unseen => Some(format!("the controller has not looked at generation {generation} yet")),
                _ => ready.map(|c| c.message.clone()).filter(|why| !why.is_empty()),
            },
            state,
            stages: stages(&work, spec.as_ref()),
            gpu_hours: work.stages.iter().map(|s| s.gpu_seconds).sum::<u64>() as f64 / 3600.0,
            budget_gpu_hours: budget.as_ref().and_then(|b| b.gpu_hours),
            stored: work.advance.as_ref().map_or(0, |look| look.stored_bytes),
            budget_bytes: budget.and_then(|b| b.bytes).map(|b| b.as_str().to_owned()),
            spending: None,
            progress: work.progress,
            inventory: work.inventory,
            sentences_from: spec.and_then(|s| s.sentences_from).map(|from| from.build),
            worker_image: work.worker_image,
            server_image: work.server_image,
            conditions: work.conditions,
            pools,
            release,
        }
    }
}

/// One line of every text: much of a status comes from strangers, and what it holds for a terminal does not belong there.
fn clean(value: &mut Value) {
    match value {
        Value::String(text) => *text = sentence(text, 2048),
        Value::Array(entries) => entries.iter_mut().for_each(clean),
        Value::Object(fields) => {
            for (name, mut value) in std::mem::take(fields) {
                clean(&mut value);
                fields.insert(sentence(&name, 63), value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

const NOBODY: &str = "no controller has looked at it: is realsyn-operator installed, and does it watch this namespace?";

fn state(work: &WorkStatus, generation: i64, suspend: bool) -> State {
    let is = |type_: &str| work.conditions.iter().any(|c| c.type_ == type_ && c.status == "True");
    match () {
        () if work.observed_generation != Some(generation) => State::Unseen,
        () if is("Ready") => State::Ready,
        () if is("Stalled") => State::Stalled,
        () if suspend || is("Suspended") => State::Suspended,
        () => State::Running,
    }
}

/// Every stage that is asked for or has begun, in graph order.
fn stages(work: &WorkStatus, spec: Option<&BuildSpec>) -> Vec<StageLine> {
    let plan = spec.map(Plan::of_build);
    let mut names: Vec<Stage> = work.stages.iter().map(|s| s.name).collect();
    names.extend(plan.iter().flat_map(Plan::required));
    names.sort();
    names.dedup();
    let known = |stage: Stage| work.stages.iter().find(|s| s.name == stage);
    let unsealed = |stage: &Stage| known(*stage).is_none_or(|s| s.state != StageState::Sealed);
    names
        .iter()
        .map(|name| {
            let entry = known(*name).cloned().unwrap_or_else(|| StageStatus::waiting(*name));
            let mut line = line(entry);
            if line.state == StageState::Waiting && line.waits_for.is_none() {
                let before: Vec<&str> = stages_read(*name).into_iter().filter(unsealed).map(Stage::name).collect();
                line.waits_for = (!before.is_empty()).then(|| before.join(", "));
            }
            line
        })
        .collect()
}

fn line(s: StageStatus) -> StageLine {
    let has_begun = s.state != StageState::Waiting || s.shards > 0;
    let is_sealed = s.state == StageState::Sealed;
    let dropped = (is_sealed && FILTERS.contains(&s.name) && s.records_in >= s.records_out && s.records_in > 0)
        .then(|| s.records_in - s.records_out);
    let steps: Vec<&str> = BUILD.iter().chain(RELEASE).filter(|t| t.id.stage == s.name).map(|t| t.id.step).collect();
    let at = s.step.as_ref().and_then(|step| steps.iter().position(|name| name == step));
    // Of the shards that the Job was given, as many are done as of its tasks.
    let fresh = s.shards.saturating_sub(s.shards_done) as f64 * f64::from(s.tasks_done) / f64::from(s.tasks.max(1));
    let of_step = (s.shards_done as f64 + fresh) / s.shards.max(1) as f64;
    StageLine {
        name: s.name,
        state: s.state,
        share: match at {
            _ if is_sealed => 1.0,
            Some(at) => ((at as f64 + of_step) / steps.len().max(1) as f64).min(1.0),
            None => 0.0,
        },
        step: at.map(|at| (steps[at].to_owned(), at + 1, steps.len())),
        shards: has_begun.then_some(s.shards),
        shards_done: s.shards_done,
        tasks: s.tasks,
        tasks_done: s.tasks_done,
        attempt: s.attempt,
        failures: s.failures,
        retry_at: s.retry_at,
        records_in: (s.records_in > 0).then_some(s.records_in),
        records_out: (s.records_out > 0).then_some(s.records_out),
        dropped,
        dropped_by: s.dropped,
        rejected: s.rejected,
        waits_for: s.waits_for,
        placement: s.placement,
        started_at: s.started_at,
        sealed_at: s.sealed_at,
        stragglers: s.stragglers,
        gpu_seconds: s.gpu_seconds,
        useful_gpu_seconds: s.useful_gpu_seconds,
    }
}
