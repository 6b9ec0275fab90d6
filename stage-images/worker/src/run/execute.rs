//! Running a step: from the shards that are missing to its seal.
//!
//! A step is a pipeline: one thread reads ahead, some compute, one writes and commits behind them. The queues between
//! them are bounded, so what is in memory is a few shards, however large the corpus.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use realsyn_crds::{Stage, TextSurface, execution};
use realsyn_dataset::protocol::{Committed, LedgerError};
use realsyn_plan::graph::ids;
use realsyn_plan::judge::{Missing, Verdict};
use realsyn_plan::records::{Commit, Effort, Outcome};
use realsyn_plan::{Digest, Step};
use tracing::Span;

use super::{Gpus, Job, Output, Run, StageError};
use crate::stages;
use crate::stages::publish::MANIFEST;

/// In which order shards are handed out. The result does not depend on it; tests prove that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By number.
    #[default]
    Forward,
    /// From the last.
    Reverse,
}

/// Set when the process is asked to end: shards under way are finished, no other begins.
pub static ENDING: AtomicBool = AtomicBool::new(false);

/// How to run; nothing here changes what is published.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Shards computed at once.
    pub jobs: usize,
    /// Order of the shards.
    pub order: Order,
    /// Runs of every shard, raced against each other: 1, or more to prove that it does not matter.
    pub runs: usize,
    /// The GPUs that are held meanwhile.
    pub gpus: Option<Arc<Gpus>>,
}

/// What is shown of a running step.
pub trait Progress: Sync {
    /// `step` starts: `total` shards, of which `done` are committed already.
    fn start(&self, step: &Step, done: u64, total: u64);
    /// One shard of it is committed.
    fn shard(&self, step: &Step, effort: &Effort);
    /// A warning, for people.
    fn warn(&self, message: &str);
}

/// How a step ended.
pub enum StepEnd {
    /// Its seal counts; this many shards ran.
    Sealed(u64),
    /// Something that an earlier seal names was gone. It was voided: start again from the first step.
    Healed,
}

/// Judges a step as the ledger does. A publication whose destination holds no manifest is none: what was sealed is the same
/// content at another place, or was taken away since. It runs again.
pub fn advance_step(run: &Run, step: &'static Step) -> anyhow::Result<Option<Verdict>> {
    let verdict = run.ledger.advance(&run.state(step))?;
    let Some(release) = run.release.as_ref().filter(|_| step.id == ids::PUBLISH) else { return Ok(verdict) };
    match &verdict {
        Some(Verdict::Sealed(seal)) if release.destination.size(MANIFEST)?.is_none() => {
            run.ledger.forget(step.id, seal, 0, "its destination holds no manifest")?;
            Ok(run.ledger.advance(&run.state(step))?)
        }
        _ => Ok(verdict),
    }
}

/// Brings a step to its seal.
///
/// # Errors
/// Settings that cannot work, shards that failed more often than `retry` allows, and too many rejected ones: each as a
/// sentence that names the step.
pub fn run_step(
    run: &mut Run,
    step: &'static Step,
    how: &Execution,
    progress: &dyn Progress,
) -> anyhow::Result<StepEnd> {
    let limits = execution(&run.build, step.id.stage);
    let mut ran = 0;
    let mut failures = 0;
    loop {
        let missing = match advance_step(run, step)? {
            Some(Verdict::Sealed(seal)) => {
                run.sealed(step.id, *seal);
                return Ok(StepEnd::Sealed(ran));
            }
            Some(Verdict::TooManyRejected { rejected, allowed }) => {
                let reasons: Vec<String> = rejected.iter().map(|(reason, n)| format!("{n} as {reason}")).collect();
                anyhow::bail!(
                    "{}: more shards were rejected than `maxRejectedShare` allows ({allowed}): {}. Look at the input, or raise the limit",
                    step.id,
                    reasons.join(", ")
                );
            }
            Some(Verdict::Run(missing)) => {
                let surface = run.release.as_ref().is_some_and(|r| r.spec.text_surface == TextSurface::ClipRoundtrip);
                if step.id.stage != Stage::Release || surface {
                    // A missing model is better known before the first stage than after hours of decoding.
                    run.models.check()?;
                }
                missing
            }
            other => unreachable!("steps run in order, so their inputs are sealed: {other:?}"),
        };
        ran += missing.len() as u64;
        match run_shards(run, step, missing, how, progress) {
            Ok(()) => {}
            Err(StageError::Ledger(LedgerError::Gone { step: gone, number, what, how })) => {
                progress.warn(&format!("{what} of {gone} shard {number} is {how}: it runs again"));
                let seal = &run.seals[&gone];
                run.ledger.forget(gone, seal, number, "an object that the seal names is gone")?;
                anyhow::ensure!(
                    run.build.runs(gone.stage),
                    "{gone} is another build's: start again, and it makes the sentences anew"
                );
                return Ok(StepEnd::Healed);
            }
            // It was waited for long enough, or needs another pod.
            Err(error @ (StageError::Settings(_) | StageError::Server(_) | StageError::Gpu(_))) => {
                return Err(anyhow::Error::new(error).context(step.id.to_string()));
            }
            Err(error) => {
                failures += 1;
                if failures > limits.retry {
                    return Err(anyhow::Error::new(error).context(format!("{} failed {failures} times", step.id)));
                }
                progress.warn(&format!("{}: {error}; trying again", step.id));
            }
        }
    }
}

/// A shard on its way through the pipeline. Its span lasts until it is committed.
struct Work<'a> {
    missing: Missing,
    job: Job<'a>,
    span: Span,
}

struct Finished {
    span: Span,
    missing: Missing,
    output: Result<Output, (&'static str, String)>,
    millis: u64,
    bytes_read: u64,
}

/// Runs shards of a step whose inputs are sealed, and commits each.
///
/// # Errors
/// The first failure that is not the shard's own data; the other shards under way are finished or left.
pub fn run_shards(
    run: &Run,
    step: &'static Step,
    mut missing: Vec<Missing>,
    how: &Execution,
    progress: &dyn Progress,
) -> Result<(), StageError> {
    let total = crate::shards_of(run, step).unwrap_or_default();
    progress.start(step, total.saturating_sub(missing.len() as u64), total);
    if how.order == Order::Reverse {
        missing.reverse();
    }
    let missing: Vec<Missing> = missing.into_iter().flat_map(|m| std::iter::repeat_n(m, how.runs)).collect();
    let stop = AtomicBool::new(false);
    let failed = Mutex::new(None);
    let fail = |error: StageError| {
        stop.store(true, Ordering::Relaxed);
        failed.lock().expect("no holder panics").get_or_insert(error);
    };
    let (to_compute, queue) = sync_channel::<Work>(1);
    let queue = Mutex::new(queue);
    let (to_write, finished) = sync_channel::<Finished>(1);
    let parent = Span::current();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (to_compute, missing) = (to_compute, missing);
            for missing in missing {
                if stop.load(Ordering::Relaxed) || ENDING.load(Ordering::Relaxed) {
                    break;
                }
                let span = shard_span(&parent, step, missing.spec.number);
                let mut job = Job::new(run, step, missing.spec.clone());
                match span.in_scope(|| job.read_ahead()) {
                    Ok(()) => _ = to_compute.send(Work { missing, job, span }),
                    Err(error) => return fail(error),
                }
            }
        });
        for _ in 0..how.jobs.max(1) {
            let (queue, to_write, stop, fail) = (&queue, to_write.clone(), &stop, &fail);
            scope.spawn(move || compute(queue, &to_write, stop, fail));
        }
        drop(to_write);
        let (stop, fail) = (&stop, &fail);
        scope.spawn(move || write(run, step, finished, how.gpus.as_deref(), (stop, fail), progress));
    });
    run.forget_commits();
    failed.into_inner().expect("no holder panics").map_or(Ok(()), Err)
}

fn shard_span(parent: &Span, step: &Step, number: u32) -> Span {
    use tracing::field::Empty;
    tracing::info_span!(parent: parent, "shard", step = %step.id, number, records = Empty, bytes = Empty)
}

fn compute(
    queue: &Mutex<Receiver<Work<'_>>>,
    to_write: &SyncSender<Finished>,
    stop: &AtomicBool,
    fail: &(dyn Fn(StageError) + Sync),
) {
    loop {
        // The lock is held while waiting: whoever holds it gets the next shard.
        let next = queue.lock().expect("no holder panics").recv();
        let Ok(Work { missing, job, span }) = next else { return };
        if stop.load(Ordering::Relaxed) {
            continue;
        }
        let started = Instant::now();
        let output = match catch_unwind(AssertUnwindSafe(|| span.in_scope(|| stages::process(&job)))) {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(StageError::Data { reason, detail })) => Err((reason, detail)),
            Ok(Err(error)) => {
                fail(error);
                continue;
            }
            Err(panic) => Err(("panic", panic_message(&*panic))),
        };
        let millis = started.elapsed().as_millis() as u64;
        let bytes_read = job.bytes_read();
        if to_write.send(Finished { span, missing, output, millis, bytes_read }).is_err() {
            return;
        }
    }
}

fn write(
    run: &Run,
    step: &'static Step,
    finished: Receiver<Finished>,
    gpus: Option<&Gpus>,
    (stop, fail): (&AtomicBool, &(dyn Fn(StageError) + Sync)),
    progress: &dyn Progress,
) {
    for shard in finished {
        if stop.load(Ordering::Relaxed) {
            continue;
        }
        let span = shard.span.clone();
        match span.in_scope(|| commit(run, step, shard, gpus)) {
            Ok(effort) => progress.shard(step, &effort),
            Err(error) => fail(error),
        }
    }
}

fn commit(run: &Run, step: &'static Step, shard: Finished, gpus: Option<&Gpus>) -> Result<Effort, StageError> {
    let attempt = attempt_name();
    let Missing { spec, generation } = shard.missing;
    let mut effort = Effort { millis: shard.millis, bytes_read: shard.bytes_read, ..Effort::default() };
    let outcome = match shard.output {
        Ok(output) => {
            effort.bytes_written = output.bytes();
            let data = output.write(run, step.id, &spec.key, &attempt)?;
            shard.span.record("records", data.counts.get("out")).record("bytes", effort.bytes_written);
            Outcome::Data(data)
        }
        Err((reason, detail)) => Outcome::Rejected { reason: reason.to_owned(), detail },
    };
    if let Some(gpus) = gpus {
        let records = match &outcome {
            Outcome::Data(data) => data.counts.get("in").copied().unwrap_or(0),
            Outcome::Rejected { .. } => 0,
        };
        effort.gpus.insert(gpus.product().to_owned(), gpus.charge(records));
    }
    let commit = Commit {
        step: step.id.to_string(),
        recipe: run.recipes.digests(step.id).1,
        key: spec.key,
        number: spec.number,
        generation,
        attempt,
        outcome,
        effort: effort.clone(),
    };
    match run.ledger.commit(step.id, &commit)? {
        Committed::Won => {}
        Committed::Lost(winner) => {
            tracing::debug!(step = %step.id, number = spec.number, winner = winner.attempt, "another attempt was first");
        }
    }
    Ok(effort)
}

/// A name that no other attempt has: it only has to be unique, and nothing that counts depends on it.
pub fn attempt_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Digest::builder("attempt")
        .number(now.as_nanos() as u64)
        .number(std::process::id().into())
        .number(NEXT.fetch_add(1, Ordering::Relaxed))
        .finish()
        .to_string()[..16]
        .to_owned()
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let message = panic.downcast_ref::<&str>().copied();
    message.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message").to_owned()
}
