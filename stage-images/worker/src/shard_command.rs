//! `realsyn reject` and `realsyn forget`: a person's word about one shard.

use std::fmt::Write;

use anyhow::{Context, bail};
use realsyn_dataset::protocol::Ledger;
use realsyn_plan::judge::Verdict;
use realsyn_plan::records::Outcome;
use realsyn_plan::text::sentence;

use crate::run::{Run, attempt_name};
use crate::session::{Locations, Session, SettingsError};
use crate::stage_command::begin;

/// A reason is a label in reports and statuses, not a story.
const LONGEST_REASON: usize = 60;

/// Which shard.
#[derive(Debug, clap::Args)]
pub struct ShardArgs {
    /// Where things are
    #[command(flatten)]
    pub at: Locations,
    /// The step, as `stage/step`, for example `documents/extract`
    pub step: String,
    /// The number of the shard, as errors and statuses name it
    pub shard: u32,
    /// Say what was done, and not what to do next
    #[arg(long)]
    pub brief: bool,
}

/// Leaves a shard out.
#[derive(Debug, clap::Args)]
pub struct RejectArgs {
    /// Which shard
    #[command(flatten)]
    pub shard: ShardArgs,
    /// Why, in a few words: it stands in the report and in the status
    pub reason: String,
}

/// Commits a shard that does not go through as rejected, so that its step can be sealed without it.
///
/// # Errors
/// A shard that has a commit keeps it; see [`realsyn_dataset::protocol::ByHandError`].
pub fn reject(args: &RejectArgs) -> anyhow::Result<String> {
    let reason = sentence(&args.reason, usize::MAX);
    if reason.is_empty() || reason.chars().count() > LONGEST_REASON {
        let message = format!("the reason stands in statuses: give 1 to {LONGEST_REASON} characters");
        return Err(SettingsError(message).into());
    }
    let ShardArgs { step, shard, .. } = &args.shard;
    let mut text = String::new();
    at_step(&args.shard, |run, number| {
        let state = run.state(number);
        run.ledger.reject(&state, *shard, &reason, &attempt_name())?;
        _ = writeln!(text, "{step} shard {shard} is rejected: {reason}");
        match run.ledger.look(&state)? {
            Some(Verdict::Run(left)) => _ = writeln!(text, "{} shards of the step are still to run", left.len()),
            Some(Verdict::TooManyRejected { allowed, .. }) => {
                let setting = format!("maxRejectedShare of the stage {}", number.id.stage.name());
                _ = writeln!(text, "the step cannot be sealed yet: it may lose {allowed} shards; raise {setting}");
            }
            _ => text.push_str("the step can be sealed now\n"),
        }
        Ok(())
    })?;
    Ok(text + next(&args.shard))
}

/// Voids a shard's commit, so that it runs again.
///
/// # Errors
/// A shard without a commit; see [`realsyn_dataset::protocol::ByHandError`].
pub fn forget(args: &ShardArgs) -> anyhow::Result<String> {
    let ShardArgs { step, shard, .. } = args;
    let mut text = String::new();
    at_step(args, |run, number| {
        let commit = run.ledger.forget_commit(&run.state(number), *shard, "forgotten by hand")?;
        let was = match commit.outcome {
            Outcome::Data(data) => format!("it had {} objects", data.objects.len()),
            Outcome::Rejected { reason, .. } => format!("it was rejected: {reason}"),
        };
        _ = writeln!(text, "{step} shard {shard} is forgotten ({was}) and runs again");
        Ok(())
    })?;
    Ok(text + next(args))
}

fn next(args: &ShardArgs) -> &'static str {
    match args.brief {
        true => "",
        false => "next: `realsyn build` goes on from here; on a cluster `kubectl realsyn retry NAME` does so at once\n",
    }
}

/// Takes in the seals before a step, and does something about it.
fn at_step(
    args: &ShardArgs,
    act: impl FnOnce(&Run, &'static realsyn_plan::Step) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut run = begin(&Session::open(&args.at)?)?;
    let all = run.steps();
    let Some(step) = all.iter().copied().find(|s| s.id.to_string() == args.step) else {
        let of_stage = all.iter().filter(|s| s.id.stage.name() == args.step.split('/').next().unwrap_or_default());
        let near: Vec<String> = of_stage.map(|s| s.id.to_string()).collect();
        match near.is_empty() {
            true => bail!("there is no step `{}`: write stage/step, for example documents/extract", args.step),
            false => bail!("there is no step `{}`; that stage has {}", args.step, near.join(", ")),
        }
    };
    for earlier in all.iter().take_while(|s| s.id != step.id) {
        if let Some(Verdict::Sealed(seal)) = Ledger::look(&run.ledger, &run.state(earlier))? {
            run.sealed(earlier.id, *seal);
        }
    }
    act(&run, step).with_context(|| format!("nothing was changed in {}", run.store().describe()))
}
