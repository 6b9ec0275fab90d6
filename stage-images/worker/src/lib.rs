//! The worker: every stage of the pipeline, and the local executor of the plan.
//!
//! - `session`: from files and flags to a [`run::Run`]
//! - `run`: reading, computing and committing shards
//! - `stages`: what each step does
//! - `build`, `plan_command`, `explain`, `report`: what a person asks for

#![forbid(unsafe_code)]

pub mod build;
pub mod explain;
pub mod plan_command;
pub mod progress;
pub mod report;
pub mod run;
pub mod session;
pub mod stage_command;
pub mod stages;

use realsyn_plan::Step;
use realsyn_plan::layout::layout;

/// How many shards a step has; `None` while a step that it reads is not sealed.
pub fn shards_of(run: &run::Run, step: &Step) -> Option<u64> {
    layout(step, &run.inventory, &run.seals).map(|specs| specs.len() as u64)
}
