//! One file for each thing that a user types.

mod affected;
mod change;
mod explain;
mod forecast;
mod gc;
mod gpus;
mod last_lines;
mod logs;
mod placement;
mod plan;
mod prices;
mod shards;
mod spending;

use anyhow::Result;

use crate::args::{Command, Flags};
use crate::cluster::Cluster;
use crate::status::status;
use crate::style::print;

pub use spending::{Spending, ToCome, spending};

/// Carries out a command; returns the exit code.
///
/// # Errors
/// A sentence that says which object, what is wrong, and what can be done.
pub async fn run(flags: Flags) -> Result<u8> {
    if let Command::Version = flags.command {
        let text = format!("kubectl-realsyn {} ({})\n", env!("CARGO_PKG_VERSION"), realsyn_crds::API_VERSION);
        print(text.as_bytes())?;
        return Ok(0);
    }
    // What is misspelt is told without asking a cluster.
    match &flags.command {
        Command::Reject { shard, .. } | Command::Forget { shard, .. } => shards::check(shard)?,
        Command::Logs(args) => logs::check(args)?,
        _ => {}
    }
    let cluster = Cluster::connect(&flags.cluster).await?;
    match &flags.command {
        Command::Status(args) => status(&cluster, args).await,
        Command::Plan(args) => plan::plan(&cluster, args).await,
        Command::Explain { id, build, pod } => explain::explain(&cluster, *id, &build.build, pod).await,
        Command::Affected { id, pod } => affected::affected(&cluster, *id, pod).await,
        Command::Logs(args) => logs::logs(&cluster, args).await,
        Command::Reject { shard, reason, build, pod } => {
            shards::reject(&cluster, shard, reason, &build.build, pod).await
        }
        Command::Forget { shard, build, pod } => shards::forget(&cluster, shard, &build.build, pod).await,
        Command::Gc { build, dry_run, pod } => gc::gc(&cluster, &build.build, *dry_run, pod).await,
        Command::Retry(named) => change::retry(&cluster, named).await,
        Command::Suspend { name } => change::suspend(&cluster, name, true).await,
        Command::Resume { name } => change::suspend(&cluster, name, false).await,
        Command::Version => Ok(0),
    }
}
