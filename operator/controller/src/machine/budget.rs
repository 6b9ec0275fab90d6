//! What a build may spend: GPU time, as pods held it, and bytes in the store.

use realsyn_crds::{Quantity, Stage, StageStatus};

use super::{SeenJob, State, View};

/// Adds what the pods of a Job held to its stage, once: when the Job has ended or is given up.
pub(super) fn account(view: &View, state: &mut State, stage: Stage, job: &SeenJob) {
    let gpus = u64::from(view.plan.wants_gpu(stage).map_or(0, |gpu| gpu.count));
    state.entry(stage).gpu_seconds += gpus * job.seconds(view.now);
}

/// Why the build may spend no more, if so.
pub(super) fn exceeded(view: &View, state: &State) -> Option<String> {
    let budget = view.plan.build.budget.as_ref().filter(|_| view.plan.release.is_none())?;
    let hours = budget.gpu_hours.and_then(|hours| hours_spent(view, state, hours));
    hours.or_else(|| bytes_stored(state, budget.bytes.as_ref()?))
}

fn hours_spent(view: &View, state: &State, hours: f64) -> Option<String> {
    let running = state.stages.iter().filter_map(|entry| {
        let job = view.job_of(entry)?;
        Some(u64::from(view.plan.wants_gpu(entry.name)?.count) * job.seconds(view.now))
    });
    let spent = state.stages.iter().map(|s| s.gpu_seconds).sum::<u64>() + running.sum::<u64>();
    let spent = spent as f64 / 3600.0;
    (spent >= hours).then(|| format!("{spent:.1} of {hours} GPU-hours are spent; raise spec.budget.gpuHours to go on"))
}

fn bytes_stored(state: &State, budget: &Quantity) -> Option<String> {
    let stored = state.advance.stored_bytes as f64;
    let gigabytes = stored / f64::from(1 << 30);
    let budget = (budget.value()?, budget.as_str());
    (stored >= budget.0 && stored > 0.0)
        .then(|| format!("{gigabytes:.1} GiB of {} are stored; raise spec.budget.bytes to go on", budget.1))
}

/// Accounts for what runs of these stages; it is about to be stopped.
pub(super) fn account_for(view: &View, state: &mut State, stopped: impl Fn(&StageStatus) -> bool) {
    let stopped = state.stages.iter().filter(|entry| stopped(entry));
    let running: Vec<(Stage, &SeenJob)> = stopped.filter_map(|entry| Some((entry.name, view.job_of(entry)?))).collect();
    for (stage, job) in running {
        account(view, state, stage, job);
    }
}
