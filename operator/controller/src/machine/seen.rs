//! What is seen of a Job and its pods.

use jiff::Timestamp;
use realsyn_crds::StageStatus;

use super::View;
use crate::names::job_name;

/// A Job of ours, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenJob {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The stage that it works for; none for a look at the store.
    pub stage: Option<String>,
    /// The stage digest that it works for.
    pub digest: String,
    /// The hash of everything in its template that a change of makes another attempt.
    pub template: String,
    /// The parallelism that was asked for it when it was last written.
    pub parallelism: u32,
    /// The pods that it may have at once as it is.
    pub granted: u32,
    /// Whether it is suspended.
    pub suspended: bool,
    /// Whether a queue says when it runs, and with how many pods.
    pub queued: bool,
    /// The ConfigMap with its manifests.
    pub manifests: String,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it has ended.
    pub phase: JobPhase,
    /// When it ended, if it has.
    pub ended_at: Option<Timestamp>,
    /// Its completed indexes.
    pub done: u32,
    /// Why it cannot make pods, in words.
    pub trouble: Option<String>,
    /// Its pods.
    pub pods: Vec<SeenPod>,
}

/// Whether a Job has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum JobPhase {
    /// It has not.
    #[default]
    Active,
    /// All its indexes are complete.
    Complete,
    /// It failed, and says why.
    Failed(String),
}

/// A pod of a Job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenPod {
    /// Its index.
    pub index: Option<u32>,
    /// Its node, once it has one.
    pub node: Option<String>,
    /// Since when its container has run.
    pub started_at: Option<Timestamp>,
    /// When that ended.
    pub ended_at: Option<Timestamp>,
    /// What keeps it from running, in words.
    pub waits_for: Option<String>,
    /// Since when its node tries in vain to start it.
    pub held_up_since: Option<Timestamp>,
    /// How its container ended.
    pub ended: Option<Ended>,
    /// Whether it is being deleted.
    pub deleting: bool,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// Its termination message: untrusted.
    pub message: String,
    /// `Completed`, `Error`, `OOMKilled`.
    pub reason: String,
}

impl<'v> View<'v> {
    /// The name of the Job of a stage's step, if one is at work.
    pub(super) fn job_name(&self, entry: &StageStatus) -> Option<String> {
        let (step, digest) = (entry.step.as_deref()?, entry.digest.as_deref()?);
        Some(job_name(self.name, self.uid, entry.name, step, digest, entry.attempt))
    }

    /// That Job, if it is there.
    pub(super) fn job_of(&self, entry: &StageStatus) -> Option<&'v SeenJob> {
        let name = self.job_name(entry)?;
        self.jobs.iter().find(|job| job.name == name)
    }
}

impl SeenJob {
    /// Seconds that its pods have run by now, summed.
    pub fn seconds(&self, now: Timestamp) -> u64 {
        let of_pod = |pod: &SeenPod| {
            let span = pod.ended_at.unwrap_or(now).duration_since(pod.started_at?);
            u64::try_from(span.as_secs()).ok()
        };
        self.pods.iter().filter_map(of_pod).sum()
    }

    /// Whether its pods may still run.
    pub fn is_active(&self) -> bool {
        self.phase == JobPhase::Active
    }

    /// What keeps it, in words: itself, or the first of its pods that cannot run.
    pub fn waits_for(&self) -> Option<String> {
        let pod = || {
            let mut waiting: Vec<&SeenPod> = self.pods.iter().filter(|p| p.waits_for.is_some()).collect();
            waiting.sort_by_key(|p| p.index);
            let (first, others) = waiting.split_first()?;
            let why = first.waits_for.as_deref().unwrap_or_default();
            Some(if others.is_empty() { why.to_owned() } else { format!("{why} (and {} more pods)", others.len()) })
        };
        if self.is_active() { self.trouble.clone().or_else(pod) } else { None }
    }

    /// The failed pod that says most: settings first, then inputs, devices, servers, everything else.
    pub fn worst(&self) -> Option<(&SeenPod, &Ended)> {
        let rank = |code: i32| if (64..=67).contains(&code) { code } else { 1000 };
        let failed = self.pods.iter().filter_map(|p| Some((p, p.ended.as_ref().filter(|e| e.code != 0)?)));
        failed.min_by_key(|(pod, ended)| (rank(ended.code), pod.index))
    }
}
