//! Where stages that hold GPUs fit. It advises: the Job is made all the same, unless the stage forbids to wait for nodes
//! that are not there yet.

use realsyn_crds::{Stage, StageState};
use realsyn_plan::placement::{Placeable, Placement};

use super::{State, View};

/// Where a stage fits; `None` if its pods hold no GPU.
pub(super) fn place(view: &View, stage: Stage, tasks: u32) -> Option<Placement> {
    view.plan.demand(stage, tasks.max(1)).map(|demand| view.inventory.place(&demand))
}

/// The condition `Placeable`: status, reason and message; `None` if no stage holds GPUs. It says nothing that changes
/// while pods come and go.
pub(super) fn placeable(view: &View, state: &State) -> Option<(&'static str, &'static str, String)> {
    let sealed = |stage| state.stage(stage).is_some_and(|s| s.state == StageState::Sealed);
    let holding = || view.plan.required().filter(|stage| view.plan.wants_gpu(*stage).is_some());
    holding().next()?;
    let mut unknown = None;
    for stage in holding().filter(|stage| !sealed(*stage)) {
        let tasks = state.stage(stage).map_or(1, |s| s.tasks);
        let placement = place(view, stage, tasks)?;
        match placement.placeable {
            Placeable::False => return Some(("False", "NoNodeFits", format!("{stage}: {}", placement.sentence))),
            Placeable::Unknown => unknown = Some(placement.sentence),
            Placeable::True => {}
        }
    }
    Some(match unknown {
        Some(why) => ("Unknown", "NodesNotRead", why),
        None => ("True", "Fits", "every stage that is left fits some node".to_owned()),
    })
}
