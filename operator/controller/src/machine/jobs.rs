//! What became of the Jobs that the state says are running.

use realsyn_crds::{Stage, StageState, StageStatus};
use realsyn_plan::report::Report;

use super::{JobPhase, STALLED_AFTER, SeenJob, SeenPod, State, View, again, budget::account, fold, give_up, start};
use crate::names::advance_name;
use crate::text::sentence;

const MOST: usize = 400;

/// The Jobs of steps: how far they are, and which have ended.
pub(super) fn look_at_workers(view: &View, state: &mut State) {
    let running: Vec<Stage> = state.stages.iter().filter(|s| s.step.is_some()).map(|s| s.name).collect();
    for stage in running {
        let entry = state.entry(stage);
        let Some(name) = view.job_name(entry) else { continue };
        let Some(job) = view.jobs.iter().find(|j| j.name == name) else {
            if entry.job.is_some() {
                // It was there and is gone: somebody deleted it. Its commits are where they were.
                give_up(entry);
                entry.waits_for = Some(format!("the Job {name} was deleted by somebody; looking at what it left"));
                state.advance.due = true;
            }
            continue;
        };
        entry.job = Some(name);
        let another_template =
            job.is_active() && job.template != view.plan.template(stage, &state.images(view.plan, stage));
        if another_template || (job.deleting && job.is_active()) || !job.is_active() {
            account(view, state, stage, job);
        }
        let entry = state.entry(stage);
        if another_template || (job.deleting && job.is_active()) {
            give_up(entry);
            entry.waits_for = Some("the settings of its pods have changed; the Job is replaced".to_owned());
            state.advance.due = true;
            continue;
        }
        entry.tasks_done = job.done.min(entry.tasks);
        match &job.phase {
            JobPhase::Active => match start::overdue(view, entry, job) {
                Some((pod, held)) => never_started(view, state, stage, job, pod, &held),
                None => entry.waits_for = job.waits_for().map(|why| sentence(&why, MOST)),
            },
            JobPhase::Complete => {
                (entry.step, entry.waits_for) = (None, None);
                entry.tasks_done = entry.tasks;
                state.advance.due = true;
            }
            JobPhase::Failed(reason) => {
                failed(view, state, stage, job, reason);
                state.advance.due = true;
            }
        }
    }
}

fn failed(view: &View, state: &mut State, stage: Stage, job: &SeenJob, reason: &str) {
    let entry = state.entry(stage);
    let step = entry.step.take().unwrap_or_default();
    let worst = job.worst();
    let code = worst.map(|(_, ended)| ended.code);
    let why = match worst {
        Some((pod, ended)) => {
            let task = pod.index.map(|i| format!("task {i} ")).unwrap_or_default();
            let said = if ended.message.trim().is_empty() { &ended.reason } else { &ended.message };
            format!("{step}: {task}ended with {}: {said}", ended.code)
        }
        None => format!("{step}: {reason}"),
    };
    // An input that is gone is made again by the look that follows; only when that doesn't help is there a wait.
    let at_once = code == Some(65) && entry.failures == 0;
    let settings = code == Some(64);
    has_failed(view, entry, &why, settings);
    if at_once {
        entry.retry_at = None;
    }
}

/// Counts a failure, and says when to try again; `settings`: not before a person has changed something, or so it says.
fn has_failed(view: &View, entry: &mut StageStatus, why: &str, settings: bool) {
    entry.failures += 1;
    entry.waits_for = Some(sentence(why, MOST));
    entry.retry_at = again(view.now, if settings { u32::MAX } else { entry.failures });
    entry.state = if settings || entry.failures >= STALLED_AFTER { StageState::Stalled } else { StageState::Running };
}

/// A pod that held GPUs and never started fails its step, as a Job that failed does; no longer named as running, the Job
/// is deleted, and with it the hold on GPUs.
fn never_started(view: &View, state: &mut State, stage: Stage, job: &SeenJob, pod: &SeenPod, held: &str) {
    account(view, state, stage, job);
    let entry = state.entry(stage);
    let step = entry.step.take().unwrap_or_default();
    let task = pod.index.map_or_else(|| "a task".to_owned(), |index| format!("task {index}"));
    let node = pod.node.as_deref().map_or_else(String::new, |node| format!(" on {node}"));
    let why = pod.waits_for.as_deref().unwrap_or("it did not start");
    let why = format!("{step}: {task} held GPUs{node} for {held} without starting: {why}");
    // The second time, if none of its pods ever ran, trying again soon would only hold the GPUs again.
    let settings = entry.failures > 0 && job.pods.iter().all(|pod| pod.started_at.is_none());
    has_failed(view, entry, &why, settings);
    entry.job = None;
    state.advance.due = true;
}

/// The Job that looks at the store, and its report.
pub(super) fn look_at_advance(view: &View, state: &mut State) {
    if !state.advance.running {
        return;
    }
    let name = advance_name(view.name, view.uid, state.advance.attempt);
    let Some(job) = view.jobs.iter().find(|j| j.name == name) else {
        if state.advance.job.is_some() {
            failed_look(view, state, "its Job was deleted by somebody", false);
        }
        return;
    };
    state.advance.job = Some(name);
    match &job.phase {
        JobPhase::Active if job.deleting => failed_look(view, state, "its Job was deleted by somebody", false),
        JobPhase::Active => state.advance.waits_for = job.waits_for().map(|why| sentence(&why, MOST)),
        JobPhase::Complete => {
            let message = job.pods.iter().filter_map(|p| p.ended.as_ref()).find(|e| e.code == 0).map(|e| &e.message);
            let Some(message) = message else {
                return failed_look(view, state, "its pod was deleted before it was read", false);
            };
            match Report::parse(message.as_bytes()) {
                Ok(report) => fold::fold(view, state, report),
                Err(error) => failed_look(view, state, &error.to_string(), false),
            }
        }
        JobPhase::Failed(reason) => match job.worst() {
            Some((_, ended)) if ended.code == 64 => failed_look(view, state, &ended.message, true),
            Some((_, ended)) => {
                let said = if ended.message.trim().is_empty() { &ended.reason } else { &ended.message };
                failed_look(view, state, &format!("it ended with {}: {said}", ended.code), false);
            }
            None => failed_look(view, state, reason, false),
        },
    }
}

/// A look that told nothing is repeated, ever later; `settings`: not before a person has changed something, or so it says.
pub(super) fn failed_look(view: &View, state: &mut State, why: &str, settings: bool) {
    let look = &mut state.advance;
    (look.running, look.job, look.due) = (false, None, true);
    look.failures += 1;
    look.retry_at = again(view.now, if settings { u32::MAX } else { look.failures });
    let why = sentence(why, MOST);
    look.stalled = (settings || look.failures > STALLED_AFTER).then(|| why.clone());
    look.waits_for = Some(if settings { why } else { sentence(&format!("the look at the store failed: {why}"), MOST) });
}
