//! What is kept of a Job.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use kube::ResourceExt;
use realsyn_crds::Kind;
use serde::Deserialize;

use super::excerpt::Excerpt;
use super::{Kept, controller};
use crate::kinds::KindExt;
use crate::machine::{JobPhase, SeenJob};
use crate::names;
use crate::text::sentence;

/// A Job, and of its template the manifests alone.
pub type ReadJob = Excerpt<Job, JobSpec, JobStatus>;

/// What is read of its spec.
#[derive(Clone, Debug, Deserialize)]
pub struct JobSpec {
    parallelism: Option<u32>,
    suspend: Option<bool>,
    #[serde(default)]
    template: Template,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Template {
    spec: PodSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodSpec {
    volumes: Vec<Volume>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Volume {
    config_map: Option<ConfigMap>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ConfigMap {
    name: String,
}

/// A Job.
pub struct HeldJob {
    /// Its namespace.
    pub namespace: String,
    /// The build or the release that it works for; a clean-up has none.
    pub works_for: Option<(Kind, String)>,
    /// Which try it is.
    pub attempt: u32,
    /// What the machine is shown, without its pods.
    pub seen: SeenJob,
    owner: Arc<str>,
}

impl Kept for HeldJob {
    fn owner(&self) -> &Arc<str> {
        &self.owner
    }
}

/// The build or release that an object is labelled with.
pub fn works_for(object: &impl ResourceExt) -> Option<(Kind, String)> {
    let label = |name| object.labels().get(name).map(String::as_str).unwrap_or_default();
    let kind = Kind::ALL.into_iter().find(|kind| kind.label() == label(names::KIND))?;
    Some((kind, label(names::BUILD).to_owned()))
}

impl From<&ReadJob> for HeldJob {
    fn from(job: &ReadJob) -> Self {
        let annotation = |name: &str| job.annotations().get(name).cloned().unwrap_or_default();
        let stage = job.labels().get(names::STAGE).filter(|s| *s != names::ADVANCE).cloned();
        let (spec, queued) = (job.spec.as_ref(), job.labels().contains_key(names::QUEUE));
        let suspended = spec.is_some_and(|s| s.suspend == Some(true));
        let halted_by = if queued { "its queue has not admitted it yet" } else { "somebody has suspended its Job" };
        let volumes = spec.map(|s| &*s.template.spec.volumes).unwrap_or_default();
        let manifests = volumes.iter().find_map(|volume| Some(volume.config_map.as_ref()?.name.clone()));
        let status = job.status.as_ref();
        let (phase, ended_at) = status.map(end).unwrap_or_default();
        let seen = SeenJob {
            name: job.name_any(),
            uid: job.uid().unwrap_or_default(),
            stage,
            digest: annotation(names::DIGEST),
            template: annotation(names::TEMPLATE),
            parallelism: annotation(names::PARALLELISM).parse().unwrap_or_default(),
            granted: spec.and_then(|s| s.parallelism).unwrap_or_default(),
            suspended,
            queued,
            manifests: manifests.unwrap_or_default(),
            deleting: job.metadata.deletion_timestamp.is_some(),
            phase,
            ended_at,
            done: status.and_then(|s| s.succeeded).unwrap_or_default().unsigned_abs(),
            trouble: suspended.then(|| halted_by.to_owned()),
            pods: Vec::new(),
        };
        Self {
            namespace: job.namespace().unwrap_or_default(),
            works_for: works_for(job),
            attempt: annotation(names::ATTEMPT).parse().unwrap_or_default(),
            seen,
            owner: controller(&job.metadata).into(),
        }
    }
}

/// Whether it has ended, and when.
fn end(status: &JobStatus) -> (JobPhase, Option<Timestamp>) {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    // `SuccessCriteriaMet` and `FailureTarget` come before the end: pods may still run then.
    let ended = |type_: &str| conditions.iter().find(|c| c.type_ == type_ && c.status == "True");
    let (phase, condition) = match (ended("Complete"), ended("Failed")) {
        (Some(complete), _) => (JobPhase::Complete, complete),
        (None, Some(failed)) => {
            let (reason, message) = (failed.reason.as_deref(), failed.message.as_deref());
            let why = format!("{}: {}", reason.unwrap_or("Failed"), message.unwrap_or_default());
            (JobPhase::Failed(sentence(&why, 300)), failed)
        }
        (None, None) => return (JobPhase::Active, None),
    };
    (phase, condition.last_transition_time.as_ref().map(|t| t.0))
}
