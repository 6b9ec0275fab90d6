//! A report of an `advance` pod, folded into the state.

use std::collections::{BTreeMap, BTreeSet};

use realsyn_crds::{PinnedInventory, Stage, StageState, StageStatus};
use realsyn_plan::report::{ReadyStep, Report, SealedStep, step_named};
use realsyn_plan::{StepId, recipe::Recipes};

use super::{State, View, again, budget::account_for, jobs::failed_look, place::place, sharing};
use crate::text::sentence;

/// Bytes of a stage's status for the reasons why its shards were rejected; what does not fit is counted together.
const REJECTED: usize = 1024;
/// The same for its records that were dropped.
const DROPPED: usize = 512;

/// Folds a report in. One that contradicts itself or the state is a failed look, and changes nothing else.
pub(super) fn fold(view: &View, state: &mut State, report: Report) {
    let Some(listed) = &report.inventory else {
        let why = report.stalled.as_deref().unwrap_or("it names no inventory");
        return failed_look(view, state, why, report.stalled.is_some());
    };
    if listed.sentences.is_some() != view.plan.sentences.is_some() {
        return failed_look(view, state, "it does not tell whose sentences these are", false);
    }
    let before = state.clone();
    state.inventory = Some(PinnedInventory {
        root: listed.root.to_string(),
        files: listed.files,
        shards: listed.shards,
        bytes: listed.bytes,
        sentences: listed.sentences.map(|root| root.to_string()),
    });
    state.advance.stored_bytes = report.stored;
    let recipes = view.plan.recipes(&listed.root, listed.sentences.as_ref());
    forget_outdated(view, state, &recipes);
    let learned = seal(view, state, &recipes, &report.sealed);
    for ready in &report.ready {
        begin(view, state, &recipes, ready);
    }
    if let Err(why) = conclude(view, state, &report, learned) {
        // What it says cannot be trusted in part.
        *state = before;
        failed_look(view, state, why, false);
    }
}

/// What follows from the report as a whole.
fn conclude(view: &View, state: &mut State, report: &Report, learned: bool) -> Result<(), &'static str> {
    let all_sealed = view.plan.required().all(|stage| state.is_sealed(stage));
    let runs = state.stages.iter().any(|s| s.step.is_some() || s.retry_at.is_some() || sharing::is_held(s));
    if report.more && !learned {
        return Err("it says that there is more, but told nothing new");
    }
    if report.complete.is_some() && !(all_sealed && report.ready.is_empty()) && !view.plan.stops_early() {
        return Err("it says that everything is complete, but not every stage is sealed");
    }
    let goes_on = runs || report.more || state.advance.due;
    if report.complete.is_none() && report.stalled.is_none() && !all_sealed && !goes_on {
        return Err("nothing is complete, and nothing can run");
    }
    let look = &mut state.advance;
    (look.running, look.job, look.waits_for, look.stalled) = (false, None, None, None);
    look.failures = 0;
    look.due |= report.more;
    if let Some(why) = &report.stalled {
        look.stalled = Some(sentence(why, 400));
        look.failures = 1;
        look.due = true;
        look.retry_at = again(view.now, u32::MAX);
        return Ok(());
    }
    if all_sealed && !report.more && report.ready.is_empty() && !runs {
        if view.plan.stops_early() {
            state.finished = true;
        } else if let Some(complete) = &report.complete {
            state.finished = true;
            state.complete = Some(complete.clone());
        } else {
            return Err("every stage is sealed, but it says nothing of what came of it");
        }
        state.advance.due = false;
    }
    Ok(())
}

/// Stages whose digest is another now, or that are no longer asked for, begin anew. Their number of attempts goes on:
/// a Job's name is never used twice, even if the old digest comes back.
fn forget_outdated(view: &View, state: &mut State, recipes: &Recipes) {
    let gone = |stage: &StageStatus| {
        let digest = recipes.stage_digest(stage.name).map(|d| d.to_string());
        let outdated = stage.digest.is_some() && stage.digest != digest;
        outdated || (!view.plan.allows(stage.name) && stage.state != StageState::Sealed)
    };
    account_for(view, state, gone);
    for stage in state.stages.iter_mut().filter(|stage| gone(stage)) {
        let StageStatus { attempt, gpu_seconds, .. } = *stage;
        *stage = StageStatus { attempt, gpu_seconds, ..StageStatus::waiting(stage.name) };
    }
}

/// Marks the stages all of whose steps are sealed. Tells whether there was one that was not marked before.
fn seal(view: &View, state: &mut State, recipes: &Recipes, sealed: &[SealedStep]) -> bool {
    let mut learned = false;
    let stages: BTreeSet<Stage> = sealed.iter().filter_map(|s| step_named(&s.step)).map(|s| s.id.stage).collect();
    for stage in stages {
        if !view.plan.allows(stage) || state.is_sealed(stage) {
            continue;
        }
        let steps: Vec<&SealedStep> =
            steps_of(stage).filter_map(|id| sealed.iter().find(|s| s.step == id.to_string())).collect();
        let entry = state.entry(stage);
        let Some(last) = steps.last().filter(|_| steps.len() == steps_of(stage).count()) else { continue };
        learned = true;
        entry.digest = recipes.stage_digest(stage).map(|d| d.to_string());
        entry.state = StageState::Sealed;
        (entry.step, entry.job, entry.list, entry.waits_for, entry.retry_at) = (None, None, None, None, None);
        (entry.failures, entry.tasks, entry.tasks_done) = (0, 0, 0);
        (entry.shards, entry.shards_done) = (last.shards, last.shards);
        (entry.records_in, entry.records_out) = (steps[0].records_in, last.records_out);
        let useful = steps.iter().fold(0, |sum: u64, step| sum.saturating_add(step.gpu_seconds));
        entry.useful_gpu_seconds = (useful > 0).then_some(useful);
        entry.rejected = by_reason(steps.iter().flat_map(|s| &s.rejected), REJECTED);
        entry.dropped = by_reason(steps.iter().flat_map(|s| &s.dropped), DROPPED);
        entry.sealed_at = Some(view.now.to_string());
    }
    learned
}

/// The counts of several steps, summed. Few reasons exist; a store that says otherwise must not make the status grow.
fn by_reason<'s>(counts: impl Iterator<Item = (&'s String, &'s u64)>, mut room: usize) -> BTreeMap<String, u64> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for (reason, n) in counts {
        let mut reason = sentence(reason, 60);
        if !sums.contains_key(&reason) {
            // With its number.
            match room.checked_sub(reason.len() + 24) {
                Some(left) => room = left,
                None => reason = "other".to_owned(),
            }
        }
        let sum = sums.entry(reason).or_default();
        *sum = sum.saturating_add(*n);
    }
    sums
}

/// Begins a step that can run, unless its stage is at work, waits after a failure, or just ended without effect.
fn begin(view: &View, state: &mut State, recipes: &Recipes, ready: &ReadyStep) {
    let Some(step) = step_named(&ready.step).map(|s| s.id).filter(|id| view.plan.allows(id.stage)) else { return };
    let another_due = state.advance.due;
    let entry = state.entry(step.stage);
    if entry.step.is_some() || entry.retry_at.is_some() {
        return;
    }
    if another_due && entry.attempt > 0 {
        // Something ended after this look began. If it was this, the store holds more than the look saw, perhaps all.
        return;
    }
    if entry.state == StageState::Sealed {
        // The store lost what a seal names, so that the stage runs again.
        (entry.sealed_at, entry.started_at) = (None, None);
    }
    let list = Some(ready.list.to_string());
    let same = entry.list == list;
    entry.digest = recipes.stage_digest(step.stage).map(|d| d.to_string());
    if same && entry.tasks > 0 && entry.tasks_done == entry.tasks {
        entry.failures += 1;
        entry.tasks_done = 0;
        entry.retry_at = again(view.now, entry.failures);
        entry.waits_for = Some(format!("{step}: every task ended well, but the store holds nothing of it"));
        entry.state = if entry.failures >= super::STALLED_AFTER { StageState::Stalled } else { StageState::Running };
        return;
    }
    if !same {
        entry.failures = 0;
    }
    if sharing::hold(view, entry, list.as_ref()) {
        return;
    }
    // A stalled stage stays so until it gets further.
    if !(same && entry.state == StageState::Stalled) {
        entry.state = StageState::Running;
        entry.waits_for = None;
    }
    let placement = place(view, step.stage, ready.tasks);
    if let Some(placement) = placement.as_ref().filter(|p| !p.may_start) {
        entry.waits_for = Some(sentence(&placement.sentence, 400));
        entry.state = StageState::Stalled;
        entry.retry_at = again(view.now, u32::MAX);
        return;
    }
    entry.placement = placement.map(|p| sentence(&p.sentence, 200));
    entry.step = Some(step.step.to_owned());
    (entry.job, entry.list) = (None, list);
    entry.attempt += 1;
    (entry.tasks, entry.tasks_done) = (ready.tasks, 0);
    (entry.shards, entry.shards_done) = (ready.shards, ready.shards - ready.missing);
    entry.started_at.get_or_insert_with(|| view.now.to_string());
}

/// The steps of a stage, in order.
pub(crate) fn steps_of(stage: Stage) -> impl Iterator<Item = StepId> {
    let all = realsyn_plan::graph::BUILD.iter().chain(realsyn_plan::graph::RELEASE);
    all.map(|s| s.id).filter(move |id| id.stage == stage)
}
