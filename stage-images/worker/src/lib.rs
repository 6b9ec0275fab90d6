//! The worker: every stage of the pipeline, and the local executor of the plan.
//!
//! - `args`: the command line
//! - `session`: from files and flags to a [`run::Run`]
//! - `checks`: what is looked at before the first stage
//! - `run`: reading, computing and committing shards
//! - `stages`: what each step does
//! - `chat`: a language model behind a server
//! - `build`, `plan_command`, `explain`, `affected`, `shard_command`, `failed_task`, `gc`, `withdraw`, `report`: what a person asks for

#![forbid(unsafe_code)]

pub mod affected;
pub mod args;
pub mod borrowed;
pub mod build;
pub mod chat;
mod checks;
pub mod exit;
pub mod explain;
pub mod failed_task;
pub mod gc;
pub mod measured;
pub mod plan_command;
pub mod progress;
pub mod report;
pub mod run;
pub mod session;
pub mod shard_command;
pub mod stage_command;
pub mod stages;
pub mod withdraw;

use realsyn_plan::Step;
use realsyn_plan::graph::Sharding;
use realsyn_plan::layout::{layout, pieces};

/// How many shards a step has; `None` while the step that this follows from is not sealed.
pub fn shards_of(run: &run::Run, step: &Step) -> Option<u64> {
    match step.sharding {
        Sharding::One => Some(1),
        Sharding::Each(cut) => pieces(cut, &run.inventory, &run.seals).map(u64::from),
        Sharding::Groups(_) | Sharding::Runs(..) => {
            layout(step, &run.inventory, &run.seals).map(|specs| specs.len() as u64)
        }
    }
}
