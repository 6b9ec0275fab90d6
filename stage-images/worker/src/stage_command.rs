//! `realsyn stage` and `realsyn advance`: the two things that pods of a cluster do. Between them they do exactly what
//! `realsyn build` does.

use anyhow::{Context, bail};
use realsyn_plan::Step;
use realsyn_plan::graph::{BUILD, RELEASE};
use realsyn_plan::judge::Verdict;
use serde::Serialize;

use crate::build::{default_jobs, state};
use crate::progress::Quiet;
use crate::run::{Execution, Order, Run, run_shards};
use crate::session::{Locations, Session};

/// Runs one step's missing shards.
#[derive(Debug, clap::Args)]
pub struct StageArgs {
    /// Where things are
    #[command(flatten)]
    pub at: Locations,
    /// The step, as `stage/step`, for example `sentence-score/score`
    pub step: String,
    /// Only these shard numbers
    #[arg(long, value_delimiter = ',', value_name = "N,N")]
    pub shards: Vec<u32>,
    /// Shards computed at once [default: one per core]
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
}

/// One step that is ready, as `advance` reports it.
#[derive(Debug, Serialize)]
pub struct Ready {
    /// The step.
    pub step: String,
    /// The stage's digest.
    pub digest: String,
    /// Numbers of the shards that have no commit.
    pub missing: Vec<u32>,
}

fn steps(run: &Run) -> impl Iterator<Item = &'static Step> {
    let release: &'static [Step] = if run.release.is_some() { RELEASE } else { &[] };
    BUILD.iter().chain(release)
}

fn open(at: &Locations) -> anyhow::Result<(Session, Run)> {
    let session = Session::open(at)?;
    let (inventory, _) = session.inventory(false)?;
    let run = session.run(inventory, session.manifests.releases.first())?;
    session.refer(&run)?;
    Ok((session, run))
}

/// Seals what is complete; the ready steps as JSON.
pub fn advance(at: &Locations) -> anyhow::Result<String> {
    let (_session, mut run) = open(at)?;
    let mut ready = Vec::new();
    for step in steps(&run).collect::<Vec<_>>() {
        match run.ledger.advance(&state(&run, step))? {
            Some(Verdict::Sealed(seal)) => run.sealed(step.id, *seal),
            Some(Verdict::Run(missing)) => ready.push(Ready {
                step: step.id.to_string(),
                digest: run.recipes.digests(step.id).0.to_string(),
                missing: missing.iter().map(|m| m.spec.number).collect(),
            }),
            Some(Verdict::TooManyRejected { rejected, allowed }) => {
                bail!("{}: {rejected:?} shards were rejected, {allowed} are allowed", step.id)
            }
            _ => {}
        }
    }
    Ok(serde_json::to_string(&ready)?)
}

/// Runs the missing shards of one step, or those of them that are named.
pub fn stage(args: &StageArgs) -> anyhow::Result<()> {
    let (_session, mut run) = open(&args.at)?;
    for step in steps(&run).collect::<Vec<_>>() {
        let verdict = run.ledger.look(&state(&run, step))?;
        if step.id.to_string() == args.step {
            let mut missing = match verdict {
                Some(Verdict::Run(missing)) => missing,
                Some(Verdict::Sealed(_) | Verdict::Seal(_)) => return Ok(()),
                _ => bail!("{}: a step that it reads is not sealed; run `advance` to see which are ready", step.id),
            };
            if !args.shards.is_empty() {
                missing.retain(|m| args.shards.contains(&m.spec.number));
            }
            let how = Execution { jobs: args.jobs.unwrap_or_else(default_jobs), order: Order::Forward, runs: 1 };
            return run_shards(&run, step, missing, &how, &Quiet).with_context(|| args.step.clone());
        }
        if let Some(Verdict::Sealed(seal)) = verdict {
            run.sealed(step.id, *seal);
        }
    }
    bail!("there is no step `{}`: steps are written stage/step, as in the file names below the output", args.step)
}
