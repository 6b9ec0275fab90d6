//! Tasks that take much longer than their equals. Pure, and told once: what is written of one does not change while it runs.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use realsyn_crds::{Stage, StageStatus};

use super::{SeenJob, SeenPod, State, View};
use crate::text::sentence;

/// A task is slow beyond so many times the median of those that are done.
const TIMES: i32 = 3;
/// Of so many that are done at least, on the same product.
const ENOUGH: usize = 5;
/// And at least so much beyond the median: seconds vary for many reasons.
const BEYOND: SignedDuration = SignedDuration::from_mins(1);
/// Tasks that are named.
const NAMED: usize = 8;

/// Brings the names of slow tasks up to date.
pub(super) fn name(view: &View, state: &mut State) {
    for entry in &mut state.stages {
        entry.stragglers = at_work(view, entry).map_or_else(Vec::new, |job| slow(view, entry.name, job));
    }
}

/// When the next task becomes slow, if none ends.
pub(super) fn next(view: &View, state: &State) -> Option<Timestamp> {
    let jobs = state.stages.iter().filter_map(|entry| Some((entry.name, at_work(view, entry)?)));
    jobs.flat_map(|(stage, job)| limits(view, stage, job)).map(|(at, _, _)| at).filter(|at| *at > view.now).min()
}

/// The Job of a stage that runs.
pub(super) fn at_work<'v>(view: &View<'v>, entry: &StageStatus) -> Option<&'v SeenJob> {
    view.job_of(entry).filter(|job| job.is_active() && !job.deleting)
}

fn slow(view: &View, stage: Stage, job: &SeenJob) -> Vec<String> {
    let mut slow: Vec<(Option<u32>, String)> = limits(view, stage, job)
        .into_iter()
        .filter(|(at, ..)| *at <= view.now)
        .map(|(_, pod, product)| {
            let task = pod.index.map_or_else(|| "a task".to_owned(), |index| format!("task {index}"));
            let node = pod.node.as_deref().map_or_else(String::new, |node| format!(" on {node}"));
            let product = if product.is_empty() { String::new() } else { format!(" ({product})") };
            (pod.index, sentence(&format!("{task}{node}{product}"), 160))
        })
        .collect();
    slow.sort();
    slow.dedup();
    let more = slow.len().saturating_sub(NAMED);
    let mut names: Vec<String> = slow.into_iter().take(NAMED).map(|(_, name)| name).collect();
    if more > 0 {
        names.push("and more".to_owned());
    }
    names
}

/// Of each task that runs and has enough equals: when it becomes slow, its pod, and what it runs on.
fn limits<'j>(view: &View, stage: Stage, job: &'j SeenJob) -> Vec<(Timestamp, &'j SeenPod, String)> {
    if job.pods.len() <= ENOUGH {
        return Vec::new();
    }
    let on_gpus = view.plan.wants_gpu(stage).is_some();
    let product = |pod: &SeenPod| match (&pod.node, on_gpus) {
        (Some(node), true) => view.inventory.product(node).unwrap_or_default(),
        _ => String::new(),
    };
    let mut done: BTreeMap<String, Vec<SignedDuration>> = BTreeMap::new();
    for pod in job.pods.iter().filter(|pod| pod.ended.as_ref().is_some_and(|ended| ended.code == 0)) {
        if let (Some(began), Some(ended)) = (pod.started_at, pod.ended_at) {
            done.entry(product(pod)).or_default().push(ended.duration_since(began));
        }
    }
    let limits: BTreeMap<String, SignedDuration> = done
        .into_iter()
        .filter(|(_, times)| times.len() >= ENOUGH)
        .map(|(product, mut times)| {
            times.sort_unstable();
            let median = times[times.len() / 2];
            (product, median.saturating_mul(TIMES).max(median.saturating_add(BEYOND)))
        })
        .collect();
    let running = job.pods.iter().filter(|pod| pod.ended.is_none());
    let limit = |pod: &'j SeenPod| {
        let product = product(pod);
        let at = pod.started_at?.checked_add(*limits.get(&product)?).ok()?;
        Some((at, pod, product))
    };
    running.filter_map(limit).collect()
}
