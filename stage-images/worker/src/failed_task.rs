//! The end of a failed task's log, kept in the store: pods go, and what they said with them. Nothing that counts is ever
//! read from it.

use std::io::Write;
use std::ops::ControlFlow;

use anyhow::{Context, bail};
use realsyn_crds::Stage;
use realsyn_plan::records::{log_folder, log_name};
use realsyn_plan::text::sentence;
use realsyn_telemetry::Tail;

use crate::run::{Run, attempt_name};
use crate::session::{Locations, Session};
use crate::stage_command::{Ended, StageArgs};

/// Prints what failed tasks of a stage said last.
#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    /// Where things are
    #[command(flatten)]
    pub at: Locations,
    /// The stage, for example `sentence-score`
    pub stage: Stage,
    /// Only of this task
    #[arg(long, value_name = "N")]
    pub index: Option<usize>,
}

/// Puts what a task logged last, and why it failed, beside its stage. Not being able to is only logged: there is an error
/// to report already.
pub fn keep_log(args: &StageArgs, tail: &Tail, error: &anyhow::Error) {
    let Some(index) = args.index.filter(|_| !error.is::<Ended>()) else { return };
    let mut kept = tail.clone();
    // Writing to memory cannot fail.
    _ = writeln!(kept, "{}: task {index} failed: {error:?}", args.step);
    if let Err(error) = put(args, index, &tail.lines()) {
        tracing::warn!(error = format!("{error:#}"), "the end of the log cannot be kept in the store");
    }
}

fn put(args: &StageArgs, index: usize, lines: &[u8]) -> anyhow::Result<()> {
    let (stage, _) = args.step.split_once('/').with_context(|| format!("`{}` is not stage/step", args.step))?;
    let (run, digest) = open(&args.at, stage.parse()?)?;
    Ok(run.store().put(&log_name(stage.parse()?, &digest, index, &attempt_name()), lines)?)
}

fn open(at: &Locations, stage: Stage) -> anyhow::Result<(Run, realsyn_plan::Digest)> {
    let session = Session::open(at)?;
    let (inventory, _) = session.inventory(false)?;
    let run = session.run(inventory, session.manifests.releases.first())?;
    let Some(digest) = run.recipes.stage_digest(stage) else {
        bail!("the stage {} is no part of what the files say: add the release to them", stage.name());
    };
    Ok((run, digest))
}

/// What failed tasks of a stage said last, task by task.
///
/// # Errors
/// No task of the stage, as it is set now, has failed; and what stores do.
pub fn logs(args: &LogsArgs) -> anyhow::Result<String> {
    let (run, digest) = open(&args.at, args.stage)?;
    let folder = log_folder(args.stage, &digest);
    let mut names = Vec::new();
    run.store().list(&folder, &mut |entry| {
        let index = entry.name[folder.len()..].split('-').next().and_then(|index| index.parse::<usize>().ok());
        if let Some(index) = index.filter(|index| args.index.is_none_or(|asked| asked == *index)) {
            names.push((index, entry.name));
        }
        ControlFlow::Continue(())
    })?;
    names.sort();
    if names.is_empty() {
        let (stage, whose) =
            (args.stage.name(), args.index.map_or_else(String::new, |index| format!("task {index} of ")));
        bail!("{whose}{stage} has left no log under its present settings: what failed is kept, what went well is not");
    }
    let mut text = String::new();
    for (index, name) in names {
        text.push_str(&format!("── task {index}, {name}\n"));
        let log = run.store().get(&name)?.unwrap_or_default();
        // Lines may quote strangers' documents: nothing in them may steer a terminal.
        for line in String::from_utf8_lossy(&log).lines() {
            text.push_str(&sentence(line, usize::MAX));
            text.push('\n');
        }
    }
    Ok(text)
}
