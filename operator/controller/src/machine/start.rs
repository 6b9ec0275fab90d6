//! Pods that hold GPUs and never start: their image cannot be pulled, or what they are made of is missing. Kubelet tries
//! for ever, and no worker runs whose patience would end. Pure: the time comes from the pod's own conditions.

use jiff::{SignedDuration, Timestamp};
use realsyn_crds::{Stage, StageStatus};
use realsyn_objects::server;

use super::{SeenJob, SeenPod, State, View, stragglers::at_work};

/// The least time for another try, in seconds.
const LEAST: u64 = 60;

/// The pod of a stage's Job that has held GPUs for too long without starting, and for how long, in words.
pub(super) fn overdue<'j>(view: &View, entry: &StageStatus, job: &'j SeenJob) -> Option<(&'j SeenPod, String)> {
    let late = limits(view, entry, job).filter(|(_, at)| *at <= view.now);
    let (pod, _) = late.min_by_key(|(pod, at)| (*at, pod.index))?;
    let held = view.now.duration_since(pod.held_up_since?);
    let words = if held < SignedDuration::from_mins(2) {
        format!("{} s", held.as_secs())
    } else {
        format!("{} min", held.as_mins())
    };
    Some((pod, words))
}

/// When the next pod is overdue, if none starts.
pub(super) fn next(view: &View, state: &State) -> Option<Timestamp> {
    let jobs = state.stages.iter().filter_map(|entry| Some((entry, at_work(view, entry)?)));
    jobs.flat_map(|(entry, job)| limits(view, entry, job)).map(|(_, at)| at).filter(|at| *at > view.now).min()
}

/// The pods that hold GPUs and do not start, and when each is overdue.
fn limits<'j>(view: &View, entry: &StageStatus, job: &'j SeenJob) -> impl Iterator<Item = (&'j SeenPod, Timestamp)> {
    let patience = view.plan.wants_gpu(entry.name).map(|_| patience(view, entry.name, entry.failures));
    let held_up = job.pods.iter().filter_map(|pod| Some((pod, pod.held_up_since?)));
    held_up.filter_map(move |(pod, since)| Some((pod, since.checked_add(patience?).ok()?)))
}

/// How long a pod may hold GPUs without starting: what its start may take, and after each failure half of that, so that a
/// step that cannot start holds them for a small part of the time.
fn patience(view: &View, stage: Stage, failures: u32) -> SignedDuration {
    let whole = server::start_budget(view.plan, stage, view.server);
    let seconds = (whole >> failures.min(10)).max(whole.min(LEAST));
    SignedDuration::from_secs(seconds.try_into().unwrap_or(i64::MAX))
}
