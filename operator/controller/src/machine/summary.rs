//! How far it is and how long still: one line of progress, and the columns of `kubectl get`. Pure, and told by what has
//! ended: while nothing ends it stays as it is, so that nothing is written.

use jiff::Timestamp;
use realsyn_crds::{StageState, StageStatus, WorkSummary};

use super::{SeenJob, SeenPod, State, View, fold::steps_of, sharing::is_held, stragglers::at_work};

/// `sentence-score 12/64 · 31 %`
pub(super) fn progress(view: &View, state: &State) -> String {
    let now = match running(view, state) {
        Some((first, 0)) => format!("{} {}/{}", first.name, first.tasks_done, first.tasks),
        Some((first, more)) => format!("{} {}/{} +{more}", first.name, first.tasks_done, first.tasks),
        None => idle(view, state).to_owned(),
    };
    format!("{now} · {} %", percent(view, state))
}

/// The same in columns, with shards in place of tasks.
pub(super) fn columns(view: &View, state: &State) -> WorkSummary {
    let running_now = running(view, state);
    let stage = match running_now {
        Some((first, 0)) => first.name.to_string(),
        Some((first, more)) => format!("{} +{more}", first.name),
        None => idle(view, state).to_owned(),
    };
    let at_work = state.stages.iter().filter(|s| running_now.is_some() && s.step.is_some());
    WorkSummary {
        stage,
        shards: running_now.map(|(first, _)| format!("{}/{}", shards_done(first), first.shards)),
        done: format!("{}%", percent(view, state)),
        left: at_work.filter_map(|entry| left(view, entry)).max().map(roughly),
    }
}

/// The first stage that runs, and how many do beside it.
fn running<'s>(view: &View, state: &'s State) -> Option<(&'s StageStatus, usize)> {
    let mut all = state.stages.iter().filter(|s| s.step.is_some() && !state.finished && !view.suspend);
    let first = all.next()?;
    Some((first, all.count()))
}

/// What it does while no stage runs.
fn idle(view: &View, state: &State) -> &'static str {
    match () {
        () if state.finished => "complete",
        () if view.suspend => "suspended",
        () if state.inventory.is_none() => "listing the source",
        () if state.stages.iter().any(|s| s.state == StageState::Stalled) => "stalled",
        () if state.stages.iter().any(is_held) => "waiting for another build",
        () => "looking at the store",
    }
}

/// Of all steps that are asked for, how many hundredths are done.
fn percent(view: &View, state: &State) -> u32 {
    if state.finished {
        return 100;
    }
    let (mut done, mut all) = (0.0, 0.0);
    for stage in view.plan.required() {
        let steps = steps_of(stage).collect::<Vec<_>>();
        all += steps.len() as f64;
        let Some(entry) = state.stage(stage) else { continue };
        if entry.state == StageState::Sealed {
            done += steps.len() as f64;
        } else if let Some(at) = steps.iter().position(|id| entry.step.as_deref() == Some(id.step)) {
            done += at as f64 + f64::from(entry.tasks_done) / f64::from(entry.tasks.max(1));
        }
    }
    (100.0 * done / f64::max(all, 1.0)).floor() as u32
}

/// Shards of the step that are committed: those that were when its Job was made, and of the others as many as of its tasks.
fn shards_done(entry: &StageStatus) -> u64 {
    let given = u128::from(entry.shards.saturating_sub(entry.shards_done));
    let fresh = given * u128::from(entry.tasks_done) / u128::from(entry.tasks.max(1));
    entry.shards_done + fresh as u64
}

/// Seconds until the Job of a stage ends, from when its last task did: the work that is left by the mean of the tasks that
/// are done, with as many side by side as there were until then. None before one is done.
fn left(view: &View, entry: &StageStatus) -> Option<u64> {
    let job = at_work(view, entry)?;
    let remaining = entry.tasks.checked_sub(job.done).filter(|n| *n > 0)?;
    let done = ended_well(job);
    let (first, last) = (done.iter().map(|(began, _)| *began).min()?, done.last()?.1);
    let seconds = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs_f64().max(0.0);
    let mean = done.iter().map(|(began, ended)| seconds(*began, *ended)).sum::<f64>() / done.len() as f64;
    // What starts later would change what is told without anything being done.
    let is_running = |pod: &&SeenPod| pod.ended.as_ref().is_none_or(|ended| ended.code == 0);
    let others = job.pods.iter().filter(is_running).filter_map(|pod| Some((pod.started_at?, pod.ended_at)));
    let unfinished = others.filter(|(began, ended)| *began < last && ended.is_none_or(|ended| ended > last));
    let begun: Vec<f64> = unfinished.map(|(began, _)| seconds(began, last)).collect();
    let busy = mean * done.len() as f64 + begun.iter().sum::<f64>();
    let at_once = (busy / seconds(first, last).max(1.0)).clamp(1.0, f64::from(remaining).max(1.0));
    let worked = begun.iter().map(|seconds| seconds.min(mean)).sum::<f64>();
    Some(((mean * f64::from(remaining) - worked).max(0.0) / at_once).ceil() as u64)
}

/// When the tasks of a Job began and ended that are done, the first to end first: as many as the Job has counted, so that
/// both are told by one write.
fn ended_well(job: &SeenJob) -> Vec<(Timestamp, Timestamp)> {
    let good = job.pods.iter().filter(|pod| pod.ended.as_ref().is_some_and(|ended| ended.code == 0));
    let mut times: Vec<_> = good.filter_map(|pod| Some((pod.started_at?, pod.ended_at?))).collect();
    times.sort_unstable_by_key(|(began, ended)| (*ended, *began));
    times.truncate(job.done as usize);
    times
}

/// A time that is not known better: `<1m`, `7m`, `35m`, `2h15m`, `27h`, `3d`, rounded up.
fn roughly(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let unit = match seconds {
        _ if seconds < MINUTE => return "<1m".to_owned(),
        _ if seconds <= 10 * MINUTE => MINUTE,
        _ if seconds <= HOUR => 5 * MINUTE,
        _ if seconds <= 10 * HOUR => 15 * MINUTE,
        _ if seconds <= 2 * DAY => HOUR,
        _ => DAY,
    };
    let seconds = seconds.div_ceil(unit) * unit;
    match (seconds / HOUR, seconds % HOUR / MINUTE) {
        (hours, _) if unit == DAY => format!("{}d", hours / 24),
        (0, minutes) => format!("{minutes}m"),
        (hours, 0) => format!("{hours}h"),
        (hours, minutes) => format!("{hours}h{minutes}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::roughly;

    #[test]
    fn times_are_as_rough_as_they_are_long() {
        let shown = [0, 59, 60, 61, 599, 601, 3600, 3601, 8000, 36_000, 36_001, 172_801, 1 << 40].map(roughly);
        let expected =
            ["<1m", "<1m", "1m", "2m", "10m", "15m", "1h", "1h15m", "2h15m", "10h", "11h", "3d", "12725830d"];
        assert_eq!(shown, expected);
    }
}
