//! The command line of `realsyn`. docs/realsyn.md lists it.

use clap::{Parser, Subcommand};
use realsyn_plan::Id;

use crate::build::BuildArgs;
use crate::failed_task::LogsArgs;
use crate::gc::GcArgs;
use crate::plan_command::PlanArgs;
use crate::session::Locations;
use crate::shard_command::{RejectArgs, ShardArgs};
use crate::stage_command::{AdvanceArgs, StageArgs};
use crate::withdraw::WithdrawArgs;

/// Image-text datasets out of interleaved documents.
#[derive(Parser)]
#[command(name = "realsyn", version, about, arg_required_else_help = true)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What the worker can do.
#[derive(Subcommand)]
pub enum Command {
    /// Run a build and its releases on this machine; goes on where it stopped
    Build(BuildArgs),
    /// Show what would run, and why; runs nothing
    Plan(PlanArgs),
    /// Tell everything about one image or sentence
    Explain {
        /// Where things are
        #[command(flatten)]
        at: Locations,
        /// Its id: 32 hexadecimal digits
        id: Id,
    },
    /// Say which releases hold an image, a sentence or anything of a document
    Affected {
        /// Where things are
        #[command(flatten)]
        at: Locations,
        /// Its id: 32 hexadecimal digits
        id: Id,
    },
    /// Leave out a shard that does not go through, so that its step can be sealed without it
    Reject(RejectArgs),
    /// Run a shard again: its commit no longer counts
    Forget(ShardArgs),
    /// Run the missing shards of one step, as a pod does
    Stage(StageArgs),
    /// Seal what is complete and say, as JSON, which steps are ready to run
    Advance(AdvanceArgs),
    /// Show what failed tasks of a stage logged last; pods keep it here before they go
    Logs(LogsArgs),
    /// Remove what no build and no release names any more
    Gc(GcArgs),
    /// Take releases back: with `retain: Delete` what they published goes, too
    Withdraw(WithdrawArgs),
}
