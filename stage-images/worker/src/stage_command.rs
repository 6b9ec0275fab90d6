//! `realsyn stage` and `realsyn advance`: the two things that pods of a cluster do. Between them they do exactly what
//! `realsyn build` does.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use realsyn_dataset::protocol::LedgerError;
use realsyn_plan::graph::{BUILD, ids};
use realsyn_plan::judge::{Missing, Verdict};
use realsyn_plan::recipe::pool_digest;
use realsyn_plan::records::{Counts, Seal, task_list_name};
use realsyn_plan::report::{Complete, Listed, ReadyStep, Report, SealedStep};
use realsyn_plan::{Digest, Step, StepId, cost};

use crate::borrowed::Sentences;
use crate::build::default_jobs;
use crate::plan_command::tasks_of;
use crate::progress::Quiet;
use crate::run::{ENDING, Execution, Gpus, Order, Run, StageError, advance_step, run_shards};
use crate::session::{Locations, Session};
use crate::shards_of;
use crate::stages::publish::ReleaseManifest;

/// Runs one step's missing shards.
#[derive(Debug, clap::Args)]
pub struct StageArgs {
    /// Where things are
    #[command(flatten)]
    pub at: Locations,
    /// The step, as `stage/step`, for example `sentence-score/score`
    pub step: String,
    /// The hash of a task list that `advance` wrote; all missing shards without it
    #[arg(long, value_name = "HASH", requires = "index")]
    pub tasks: Option<Digest>,
    /// Which row of the task list
    #[arg(long, value_name = "N", requires = "tasks")]
    pub index: Option<usize>,
    /// Shards computed at once [default: one per core]
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    /// Where the reason of a failure is written, as Kubernetes reads it
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Seals what is complete.
#[derive(Debug, clap::Args)]
pub struct AdvanceArgs {
    /// Where things are
    #[command(flatten)]
    pub at: Locations,
    /// Sealed steps that need not be reported again
    #[arg(long, value_delimiter = ',', value_name = "STEP,STEP")]
    pub known: Vec<String>,
    /// The pool that the release is pinned to
    #[arg(long, value_name = "DIGEST")]
    pub pool: Option<Digest>,
    /// Where the report is written, as Kubernetes reads it; standard output without it
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// The worker was asked to end before all of its task was committed.
#[derive(Debug, thiserror::Error)]
#[error("asked to end before all of the task was committed; what was committed counts")]
pub struct Ended;

/// Something that the task reads is gone. `advance` has it made again; then the task can run.
#[derive(Debug, thiserror::Error)]
#[error("{0}; it will be made again")]
pub struct InputGone(String);

/// A run over the pinned inventory, which is referred to before anything of it is used.
///
/// # Errors
/// The source cannot be listed, or the store cannot be written.
pub fn begin(session: &Session) -> anyhow::Result<Run> {
    let (inventory, _) = session.inventory(false)?;
    let mut run = session.run(inventory, session.manifests.releases.first())?;
    session.refer(&run)?;
    run.take_sentences()?;
    Ok(run)
}

/// Reads the seals of these steps, many at once, for the looks that follow.
fn read_ahead(run: &Run, steps: &[&Step]) -> anyhow::Result<()> {
    let of: Vec<(StepId, Digest)> = steps.iter().map(|s| (s.id, run.recipes.digests(s.id).0)).collect();
    Ok(run.ledger.read_ahead(&of)?)
}

/// Seals what is complete, writes the task lists of what can run, and says how things stand.
pub fn advance(args: &AdvanceArgs) -> anyhow::Result<Report> {
    let session = Session::open(&args.at)?;
    session.check_engines(|_| false)?;
    session.check_models()?;
    // Once for all pods that will follow: a store that takes two commits for one would lose work in silence.
    session.check_store()?;
    if args.known.is_empty() {
        session.check_lists()?;
        session.check_destinations()?;
    }
    let mut run = begin(&session)?;
    let files = run.inventory.files() as u64;
    let (root, shards, bytes) = (run.inventory.root(), run.inventory.shards.len() as u64, run.inventory.bytes());
    let sentences = run.sentences.as_ref().map(Sentences::inventory_root);
    let mut report = Report { inventory: Some(Listed { root, files, shards, bytes, sentences }), ..Report::default() };
    let unknown = |step: &Step| !args.known.contains(&step.id.to_string());
    for step in BUILD.iter().filter(|step| !run.build.runs(step.id.stage) && unknown(step)) {
        report.sealed.push(sealed(step, &run.seals[&step.id]));
    }
    let steps = run.steps();
    read_ahead(&run, &steps)?;
    let last = steps.iter().rposition(|s| Some(s.id.stage) == run.build.stop_after);
    for &step in &steps[..last.map_or(steps.len(), |last| last + 1)] {
        match advance_step(&run, step)? {
            Some(Verdict::Sealed(seal)) => {
                if unknown(step) {
                    report.sealed.push(sealed(step, &seal));
                }
                run.sealed(step.id, *seal);
            }
            Some(Verdict::Run(missing)) => report.ready.push(ready(&run, &steps, step, &missing)?),
            Some(Verdict::TooManyRejected { rejected, allowed }) => {
                let reasons: Vec<String> = rejected.iter().map(|(reason, n)| format!("{n} as {reason}")).collect();
                report.stalled = Some(format!(
                    "{}: more shards were rejected than maxRejectedShare allows ({allowed}): {}. Look at the input, or raise the limit",
                    step.id,
                    reasons.join(", ")
                ));
            }
            _ => {}
        }
    }
    // Another build's bytes are its own.
    let own = run.seals.iter().filter(|(step, _)| run.build.runs(step.stage));
    report.stored = own.map(|(_, seal)| seal.bytes()).sum();
    let pool = pool_digest(&run.seals);
    if let (Some(pinned), Some(found)) = (args.pool, pool)
        && pinned != found
    {
        report.ready.clear();
        report.stalled = Some(format!(
            "the build's pool is {} now, but the release was begun from {}: create another release",
            found.short(),
            pinned.short()
        ));
    } else if steps.iter().all(|s| run.seals.contains_key(&s.id)) {
        report.complete = Some(complete(&run, pool.expect("every step is sealed"))?);
    }
    Ok(report)
}

fn sealed(step: &Step, seal: &Seal) -> SealedStep {
    SealedStep {
        step: step.id.to_string(),
        shards: seal.shards.len() as u64,
        records_in: seal.count("in"),
        records_out: seal.count("out"),
        rejected: seal.rejected.clone(),
        dropped: dropped(&seal.counts),
        gpu_seconds: seal.effort.gpu_seconds(),
    }
}

/// The counts of records that were dropped, by reason.
fn dropped(counts: &Counts) -> Counts {
    counts.iter().filter_map(|(name, n)| Some((name.strip_prefix("dropped.")?.to_owned(), *n))).collect()
}

fn ready(run: &Run, steps: &[&'static Step], step: &Step, missing: &[Missing]) -> anyhow::Result<ReadyStep> {
    let shards = shards_of(run, step).unwrap_or_default();
    let estimate = cost::estimates(steps.iter().copied(), &run.inventory, &run.seals)[&step.id];
    let tasks = tasks_of(run, step, missing, estimate.core_seconds / shards.max(1) as f64);
    let bytes = serde_json::to_vec(&tasks)?;
    let list = Digest::of_bytes(&bytes);
    run.store().put(&task_list_name(step.id, &list), &bytes)?;
    let (missing, tasks) = (missing.len() as u64, tasks.len() as u32);
    Ok(ReadyStep { step: step.id.to_string(), shards, missing, tasks, list })
}

fn complete(run: &Run, pool: Digest) -> anyhow::Result<Complete> {
    if run.release.is_some() {
        let manifest = ReleaseManifest::read(run)?;
        let (digest, pairs, bytes) = (manifest.digest, manifest.pairs, manifest.bytes);
        return Ok(Complete { digest, pairs, bytes, uri: Some(manifest.uri) });
    }
    let pairs = run.seals.get(&ids::PAIR_SCORE).map_or(0, |s| s.count("out"));
    Ok(Complete { digest: pool, pairs, bytes: 0, uri: None })
}

/// Runs the missing shards of one step, or those of them that a task names.
pub fn stage(args: &StageArgs) -> anyhow::Result<()> {
    // Before anything else: what the pod holds it holds from its start.
    let gpus = Gpus::of_environment().map(Arc::new);
    let session = Session::open(&args.at)?;
    session.check_engines(|stage| args.step.split('/').next() == Some(stage.name()))?;
    let mut run = begin(&session)?;
    let steps = run.steps();
    let own = steps.iter().position(|step| step.id.to_string() == args.step);
    read_ahead(&run, &steps[..own.map_or(0, |own| own + 1)])?;
    for step in steps {
        let verdict = run.ledger.look(&run.state(step))?;
        if step.id.to_string() == args.step {
            let mut missing = match verdict {
                Some(Verdict::Run(missing)) => missing,
                Some(Verdict::Sealed(_) | Verdict::Seal(_)) => return Ok(()),
                _ => bail!("{}: a step that it reads is not sealed; run `advance` to see which are ready", step.id),
            };
            if let (Some(list), Some(index)) = (&args.tasks, args.index) {
                let task = task(&run, step, list, index)?;
                missing.retain(|m| task.contains(&m.spec.number));
            }
            let jobs = args.jobs.unwrap_or_else(default_jobs);
            return work(&run, step, missing, &Execution { jobs, order: Order::Forward, runs: 1, gpus });
        }
        if let Some(Verdict::Sealed(seal)) = verdict {
            run.sealed(step.id, *seal);
        }
    }
    bail!("there is no step `{}`: steps are written stage/step, as in the file names below the output", args.step)
}

fn work(run: &Run, step: &'static Step, missing: Vec<Missing>, how: &Execution) -> anyhow::Result<()> {
    match run_shards(run, step, missing.clone(), how, &Quiet) {
        Err(StageError::Ledger(error @ LedgerError::Gone { step: gone, number, .. })) => {
            let seal = &run.seals[&gone];
            run.ledger.forget(gone, seal, number, "an object that the seal names is gone")?;
            return Err(InputGone(error.to_string()).into());
        }
        other => other.with_context(|| step.id.to_string())?,
    }
    if ENDING.load(std::sync::atomic::Ordering::Relaxed)
        && let Some(Verdict::Run(left)) = run.ledger.look(&run.state(step))?
        && left.iter().any(|l| missing.iter().any(|m| m.spec.number == l.spec.number))
    {
        return Err(Ended.into());
    }
    Ok(())
}

fn task(run: &Run, step: &Step, list: &Digest, index: usize) -> anyhow::Result<Vec<u32>> {
    let name = task_list_name(step.id, list);
    // Clean-up removes lists that nobody needs; `advance` writes this one again.
    let bytes = run.store().get(&name)?.ok_or_else(|| InputGone(format!("the task list {name} is gone")))?;
    if Digest::of_bytes(&bytes) != *list {
        bail!("the task list {name} holds other bytes than its name says; run `advance` to write it again");
    }
    let mut tasks: Vec<Vec<u32>> = serde_json::from_slice(&bytes).with_context(|| name.clone())?;
    if index >= tasks.len() {
        bail!("the task list {name} has {} rows, so there is no row {index}", tasks.len());
    }
    Ok(tasks.swap_remove(index))
}
