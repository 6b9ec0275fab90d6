//! Builds that share a root share work. Where two need the same stage and the older is at it, the younger waits: both would
//! come to the same commits, and pay for them twice.

use realsyn_crds::{Stage, StageState, StageStatus};

use super::{State, View};
use crate::text::sentence;

/// A stage that another object, older and below the same root, is at work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Who, in words.
    pub name: String,
    /// Which stage.
    pub stage: Stage,
    /// Its digest.
    pub digest: String,
}

/// Who is at work on a stage of this digest.
fn at_work<'v>(view: &'v View, stage: Stage, digest: Option<&str>) -> Option<&'v Neighbour> {
    view.neighbours.iter().find(|n| n.stage == stage && Some(n.digest.as_str()) == digest)
}

/// Lets a stage that could begin wait, if a neighbour is at it. Tells whether it does.
pub(super) fn hold(view: &View, entry: &mut StageStatus, list: Option<&String>) -> bool {
    let Some(neighbour) = at_work(view, entry.name, entry.digest.as_deref()) else { return false };
    entry.waits_for = Some(sentence(&format!("{} runs it, and both use what comes of it", neighbour.name), 400));
    entry.state = StageState::Waiting;
    entry.list = list.cloned();
    true
}

/// Whether a stage could run, but waits for a neighbour: of those that wait it alone has a task list.
pub(super) fn is_held(entry: &StageStatus) -> bool {
    entry.state == StageState::Waiting && entry.list.is_some()
}

/// Looks at the store again once a neighbour has ended what is waited for, or has given it up.
pub(super) fn look_at_neighbours(view: &View, state: &mut State) {
    for entry in state.stages.iter_mut().filter(|entry| is_held(entry)) {
        if at_work(view, entry.name, entry.digest.as_deref()).is_none() {
            (entry.list, entry.waits_for) = (None, None);
            state.advance.due = true;
        }
    }
}
