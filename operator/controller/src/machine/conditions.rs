//! What people and tools read: conditions, what each stage waits for, and one line of progress.

use realsyn_crds::{Condition, StageState};

use super::{State, View, budget, place, summary};
use crate::text::sentence;

const MOST: usize = 600;

/// Brings the words of a state up to date. Times change on transitions alone.
pub(super) fn describe(view: &View, state: &mut State) {
    state.progress = Some(summary::progress(view, state));
    state.summary = Some(summary::columns(view, state));
    let stalled = stalled(view, state);
    let (ready, reconciling, halt) = if view.suspend && !state.finished {
        let why = ("Suspended", "nothing runs until spec.suspend is false".to_owned());
        ((false, why.clone()), (false, why.clone()), (false, why))
    } else if state.finished {
        let (reason, message) = match (&view.plan.release, view.plan.build.stop_after) {
            (Some(_), _) => ("Published", "the dataset is published".to_owned()),
            (None, Some(last)) if view.plan.stops_early() => {
                ("StoppedAfter", format!("everything up to {last} is sealed, as spec.stopAfter asks"))
            }
            _ => ("Complete", "the pool is complete".to_owned()),
        };
        let done = (reason, message);
        ((true, done.clone()), (false, done.clone()), (false, done))
    } else if let Some(why) = budget::exceeded(view, state) {
        let why = ("BudgetExceeded", why);
        ((false, why.clone()), (false, why.clone()), (true, why))
    } else if let Some(why) = stalled {
        let why = ("Stalled", why);
        ((false, why.clone()), (false, why.clone()), (true, why))
    } else {
        let why = ("Progressing", waiting(view, state).unwrap_or_else(|| "steps are running".to_owned()));
        ((false, why.clone()), (true, why), (false, ("Progressing", "nothing needs a person".to_owned())))
    };
    set(view, &mut state.conditions, "Ready", ready);
    set(view, &mut state.conditions, "Reconciling", reconciling);
    set(view, &mut state.conditions, "Stalled", halt);
    let suspended = if view.suspend {
        (true, ("Suspended", "spec.suspend is true".to_owned()))
    } else {
        (false, ("NotSuspended", "spec.suspend is false".to_owned()))
    };
    set(view, &mut state.conditions, "Suspended", suspended);
    match place::placeable(view, state) {
        Some((status, reason, message)) => {
            let (generation, now) = (view.generation, view.now.to_string());
            set_status(&mut state.conditions, "Placeable", status, (reason, message), generation, &now);
        }
        None => state.conditions.retain(|c| c.type_ != "Placeable"),
    }
}

/// Why a person must act, if one must.
fn stalled(view: &View, state: &State) -> Option<String> {
    if let Some(why) = &state.advance.stalled {
        return Some(why.clone());
    }
    if let Some(trouble) = view.trouble.filter(|t| t.permanent) {
        return Some(trouble.message.clone());
    }
    let stage = state.stages.iter().find(|s| s.state == StageState::Stalled)?;
    Some(format!("{}: {}", stage.name, stage.waits_for.as_deref().unwrap_or("it failed again and again")))
}

/// What the whole waits for, if there is one thing to name.
fn waiting(view: &View, state: &State) -> Option<String> {
    if let Some(trouble) = view.trouble {
        return Some(trouble.message.clone());
    }
    let stage = state.stages.iter().find_map(|s| Some(format!("{}: {}", s.name, s.waits_for.as_deref()?)));
    state.advance.waits_for.clone().or(stage)
}

/// Sets a condition. Its time stays unless its status changes.
fn set(view: &View, conditions: &mut Vec<Condition>, type_: &str, what: (bool, (&str, String))) {
    set_condition(conditions, type_, what, view.generation, &view.now.to_string());
}

/// Sets a condition about a generation. Its time stays unless its status changes.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    type_: &str,
    (status, why): (bool, (&str, String)),
    generation: i64,
    now: &str,
) {
    set_status(conditions, type_, if status { "True" } else { "False" }, why, generation, now);
}

fn set_status(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: &str,
    (reason, message): (&str, String),
    generation: i64,
    now: &str,
) {
    let at = conditions.iter().position(|c| c.type_ == type_);
    let since = at.map(|at| &conditions[at]).filter(|c| c.status == status).map(|c| c.last_transition_time.clone());
    let condition = Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: sentence(&message, MOST),
        last_transition_time: since.unwrap_or_else(|| now.to_owned()),
        observed_generation: Some(generation),
    };
    match at {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}
