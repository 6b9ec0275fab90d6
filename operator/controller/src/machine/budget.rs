//! GPU time: what pods held of it, and what a build may spend.

use realsyn_crds::{Stage, StageStatus};

use super::{SeenJob, State, View};
use crate::names::job_name;

/// Adds what the pods of a Job held to its stage, once: when the Job has ended or is given up.
pub(super) fn account(view: &View, state: &mut State, stage: Stage, job: &SeenJob) {
    let gpus = u64::from(view.plan.wants_gpu(stage).map_or(0, |gpu| gpu.count));
    state.entry(stage).gpu_seconds += gpus * job.seconds(view.now);
}

/// Why the build may spend no more, if so.
pub(super) fn exceeded(view: &View, state: &State) -> Option<String> {
    let hours = view.plan.build.budget.as_ref().filter(|_| view.plan.release.is_none())?.gpu_hours?;
    let running = state.stages.iter().filter_map(|entry| {
        let name =
            job_name(view.name, view.uid, entry.name, entry.step.as_deref()?, entry.digest.as_deref()?, entry.attempt);
        let job = view.jobs.iter().find(|job| job.name == name)?;
        Some(u64::from(view.plan.wants_gpu(entry.name)?.count) * job.seconds(view.now))
    });
    let spent = state.stages.iter().map(|s| s.gpu_seconds).sum::<u64>() + running.sum::<u64>();
    let spent = spent as f64 / 3600.0;
    (spent >= hours).then(|| format!("{spent:.1} of {hours} GPU-hours are spent; raise spec.budget.gpuHours to go on"))
}

/// Accounts for what runs of these stages; it is about to be stopped.
pub(super) fn account_for(view: &View, state: &mut State, stopped: impl Fn(&StageStatus) -> bool) {
    let running: Vec<(Stage, String)> = state
        .stages
        .iter()
        .filter(|s| stopped(s))
        .filter_map(|s| {
            let name = job_name(view.name, view.uid, s.name, s.step.as_deref()?, s.digest.as_deref()?, s.attempt);
            Some((s.name, name))
        })
        .collect();
    for (stage, name) in running {
        if let Some(job) = view.jobs.iter().find(|job| job.name == name) {
            account(view, state, stage, job);
        }
    }
}
