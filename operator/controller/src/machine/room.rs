//! How many pods of each step may run at once. What a Job has it keeps, unless its spec asks for less: those pods are at
//! work. What is free goes to the steps in the order of the graph; each has one pod at least, so that a full namespace
//! slows a build and does not stop it.

use jiff::{SignedDuration, Timestamp};
use realsyn_crds::StageStatus;

use super::{SeenJob, State, View};

/// Between two looks whether there is room now.
const AGAIN: SignedDuration = SignedDuration::from_secs(15);

/// Pods that the namespace has room for, beside those that the steps at work have.
pub(super) fn free(view: &View, state: &State) -> u32 {
    let held = state.stages.iter().filter_map(|entry| view.job_of(entry)).filter(|job| job.is_active());
    view.room.saturating_sub(held.map(|job| job.granted).sum())
}

/// What a step gets that asks for so many pods and has so many; `free` is what is left for it, and then for the next.
pub(super) fn grant(asked: u32, has: u32, free: &mut u32) -> u32 {
    let kept = has.min(asked);
    let more = (asked - kept).min(*free);
    *free -= more;
    (kept + more).max(1)
}

/// Whether a queue says when a Job runs, and with how many pods: it counts on what it has admitted.
pub(super) fn is_queued(view: &View, job: &SeenJob) -> bool {
    job.queued || view.plan.build.queue_name.is_some()
}

/// Says of the steps that could use more pods why they have no more, unless there is something worse to say.
pub(super) fn say(view: &View, state: &mut State) {
    if free(view, state) > 0 {
        return;
    }
    for entry in &mut state.stages {
        let Some((job, wants)) = short(view, entry).filter(|_| entry.waits_for.is_none()) else { continue };
        let why = format!("{} of {wants} pods run: the namespace has no room for more (--max-pods)", job.granted);
        entry.waits_for = Some(why);
    }
}

/// When to look whether there is room for steps that could use more pods: nobody tells when others have ended.
pub(super) fn next(view: &View, state: &State) -> Option<Timestamp> {
    state.stages.iter().any(|entry| short(view, entry).is_some()).then(|| view.now + AGAIN)
}

/// The Job of a step that could use more pods than it may have, and how many it could use.
fn short<'v>(view: &View<'v>, entry: &StageStatus) -> Option<(&'v SeenJob, u32)> {
    let job = view.job_of(entry).filter(|job| job.is_active() && !job.deleting && !is_queued(view, job))?;
    let wants = job.parallelism.min(entry.tasks.saturating_sub(job.done));
    (job.granted < wants).then_some((job, wants))
}
