//! What a step will move, store and take: measured where it is sealed, estimated where it is not, for people to read and
//! for cutting work into tasks. Nothing that is published depends on it.

use std::collections::HashMap;

use crate::StepId;
use crate::graph::{Read, Step, find, ids};
use crate::layout::{Inventory, Seals};
use crate::records::Seal;

/// Bytes and work of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Bytes read from the store.
    pub read: u64,
    /// Bytes that it keeps in the store.
    pub stored: u64,
    /// Those of them that other steps fetch by partition.
    pub moved: u64,
    /// Seconds of one core for the whole step, with the demonstration's models on the CPU.
    pub core_seconds: f64,
    /// Whether bytes were measured, because the step is sealed.
    pub measured: bool,
}

/// Bytes written for each byte read, and core milliseconds for each megabyte read.
///
/// Measured on the demo corpus (155 pages of HTML, 350 pictures, models of 23 to 135 million parameters). The shares hold
/// for any corpus within a small factor; the times hold for those models on one core of a server of 2023.
#[rustfmt::skip]
const TYPICAL: &[(StepId, f64, f64)] = &[
    (ids::DOCUMENTS, 0.11, 43.0),
    (ids::FETCH, 44.0, 130.0),
    (ids::DECODE, 0.95, 120.0),
    (ids::IMAGES_BY_ID, 0.019, 1.4),
    (ids::IMAGES_EXACT, 3.6, 160.0),
    (ids::IMAGES_VERIFY, 0.013, 130.0),
    (ids::IMAGES_GROUPS, 0.68, 310.0),
    (ids::POLICY, 0.0021, 2.6),
    (ids::SENTENCES, 1.4, 2_500.0),
    (ids::SENTENCES_BY_ID, 0.72, 31.0),
    (ids::UNIQUE, 1.3, 43.0),
    (ids::WORDS_COUNT, 0.22, 74.0),
    (ids::WORDS_SUM, 0.45, 57.0),
    (ids::WORDS_FREEZE, 1.9, 85.0),
    (ids::SCORE, 0.38, 830_000.0),
    (ids::NEAR_BANDS, 2.0, 220.0),
    (ids::NEAR_VERIFY, 0.0042, 30.0),
    (ids::NEAR_GROUPS, 0.32, 350.0),
    (ids::ROWS, 0.39, 20.0),
    (ids::SENTENCE_EMBED, 8.2, 120_000.0),
    (ids::SENTENCE_TRAIN, 0.0035, 10.0),
    (ids::SENTENCE_ASSIGN, 2.6, 18.0),
    (ids::SENTENCE_PAIRS, 0.04, 12.0),
    (ids::SENTENCE_MERGE, 0.038, 30.0),
    (ids::SENTENCE_CLUSTER, 0.36, 18.0),
    (ids::IMAGE_EMBED, 0.12, 730.0),
    (ids::IMAGE_TRAIN, 0.013, 11.0),
    (ids::IMAGE_ASSIGN, 0.9, 13.0),
    (ids::IMAGE_PAIRS, 0.17, 21.0),
    (ids::IMAGE_MERGE, 0.027, 26.0),
    (ids::IMAGE_CLUSTER, 0.026, 16.0),
    (ids::HOME, 0.19, 4.9),
    (ids::EXACT_SAMPLE, 0.04, 18.0),
    (ids::CALIBRATE, 0.017, 70.0),
    (ids::ROUTE, 3.4, 31.0),
    (ids::SEARCH, 0.13, 33.0),
    (ids::CANDIDATES, 0.16, 30.0),
    (ids::NOUNS_COUNT, 0.14, 230.0),
    (ids::NOUNS_SUM, 0.42, 52.0),
    (ids::NOUNS_FREEZE, 0.77, 120.0),
    (ids::CAPTION, 0.0012, 530.0),
    (ids::TAG, 0.0015, 1_700.0),
    (ids::GENERATE, 0.15, 1_700_000.0),
    (ids::PAIR_SCORE, 0.04, 13_000.0),
    (ids::TAKEDOWN, 0.0013, 0.0),
    (ids::PAIRS, 0.29, 65.0),
    (ids::SELECT, 0.089, 18.0),
    (ids::GATHER, 0.3, 49.0),
    (ids::PACK, 1.4, 8.8),
    (ids::PUBLISH, 0.00031, 1.5),
];

/// Estimates for `steps`, which must stand in graph order: those that they read are among them or sealed.
pub fn estimates<'a>(
    steps: impl IntoIterator<Item = &'a Step>,
    inventory: &Inventory,
    seals: &Seals,
) -> HashMap<StepId, Estimate> {
    let mut known: HashMap<StepId, Estimate> = HashMap::new();
    for step in steps {
        let mut read = 0;
        for from in step.reads {
            read += match *from {
                Read::Source => inventory.bytes(),
                Read::Partition(from, role) => partition(from, role, seals, &known),
                Read::Shard(from) | Read::Group(from) | Read::Whole(from) => {
                    // What another build sealed is read, too.
                    known.get(&from).map_or_else(|| seals.get(&from).map_or(0, Seal::bytes), |e| e.stored)
                }
            };
        }
        let (_, share, millis) = TYPICAL.iter().find(|(id, ..)| *id == step.id).expect("every step has its figures");
        let mut estimate = Estimate {
            read,
            stored: (read as f64 * share) as u64,
            core_seconds: read as f64 / 1e6 * millis / 1e3,
            ..Estimate::default()
        };
        estimate.moved = if step.shuffles.is_empty() { 0 } else { estimate.stored };
        if let Some(seal) = seals.get(&step.id) {
            estimate.measured = true;
            estimate.stored = seal.bytes();
            estimate.moved = seal.partitions.values().flatten().map(|p| p.bytes).sum();
        }
        known.insert(step.id, estimate);
    }
    known
}

fn partition(from: StepId, role: &str, seals: &Seals, known: &HashMap<StepId, Estimate>) -> u64 {
    match seals.get(&from).and_then(|seal| seal.partitions.get(role)) {
        Some(parts) => parts.iter().map(|p| p.bytes).sum(),
        None => known.get(&from).map_or(0, |e| e.moved) / find(from).shuffles.len().max(1) as u64,
    }
}

/// A task should last this long, so that starting a pod and loading a model are a small part of it.
const TASK_SECONDS: f64 = 60.0;
/// Tasks for each pod that runs at once: with fewer, pods that end early leave their places empty.
const TASKS_PER_POD: usize = 4;

/// Cuts missing shards into tasks, each an index of a Job: runs of nearly equal length, at most `most`, long enough to be
/// worth a pod, but never fewer than `parallelism` could run at once.
pub fn tasks(missing: &[u32], seconds_per_shard: f64, parallelism: Option<u32>, most: usize) -> Vec<Vec<u32>> {
    if missing.is_empty() {
        return Vec::new();
    }
    let worth = (missing.len() as f64 * seconds_per_shard / TASK_SECONDS).ceil() as usize;
    let wanted = parallelism.map_or(missing.len(), |p| p as usize * TASKS_PER_POD);
    let tasks = worth.clamp(1, wanted.min(most).min(missing.len()).max(1));
    (0..tasks).map(|t| missing[missing.len() * t / tasks..missing.len() * (t + 1) / tasks].to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{BUILD, RELEASE};
    use crate::layout::{SourceFile, SourceShard};

    #[test]
    fn every_step_has_figures_and_they_grow_with_the_corpus() {
        let inventory = |n| {
            let file = |i| SourceFile { name: format!("{i}"), bytes: 1 << 20, version: "1".into() };
            Inventory::new((0..n).map(|i| SourceShard::whole(vec![file(i)])).collect())
        };
        let (one, ten) = (inventory(1), inventory(10));
        let steps = || BUILD.iter().chain(RELEASE);
        let (one, ten) = (estimates(steps(), &one, &Seals::new()), estimates(steps(), &ten, &Seals::new()));
        for step in steps() {
            let (one, ten) = (one[&step.id], ten[&step.id]);
            assert!(one.read > 0 && !one.measured, "{}", step.id);
            // Linear, but for bytes rounded down at each of at most 50 steps.
            assert!(ten.stored.abs_diff(10 * one.stored) <= 50 * 10 * 50, "{}: {one:?} {ten:?}", step.id);
            assert!(ten.core_seconds >= 9.9 * one.core_seconds - 1e-3, "{}", step.id);
        }
    }

    #[test]
    fn steps_that_are_another_builds_count_with_what_they_sealed() {
        let file = SourceFile { name: "a".into(), bytes: 1 << 20, version: "1".into() };
        let inventory = Inventory::new(vec![SourceShard::whole(vec![file])]);
        let own = || BUILD.iter().filter(|step| !step.id.stage.makes_sentences());
        let estimates = estimates(own(), &inventory, &Seals::new());
        assert_eq!(estimates.len(), own().count());
        assert!(estimates[&ids::GENERATE].read > 0);
    }

    #[test]
    fn tasks_hold_every_shard_once_and_are_worth_their_start() {
        let missing: Vec<u32> = (0..1000).map(|n| n * 3).collect();
        for (seconds, parallelism, most, expected) in [
            (0.001, None, 10_000, 1),
            (60.0, None, 10_000, 1000),
            (6.0, None, 10_000, 100),
            (60.0, Some(8), 10_000, 32),
            (60.0, None, 7, 7),
            (0.0, Some(8), 10_000, 1),
        ] {
            let cut = tasks(&missing, seconds, parallelism, most);
            assert_eq!(cut.len(), expected, "{seconds} s, {parallelism:?}, {most}");
            assert_eq!(cut.concat(), missing);
            let (least, greatest) = (cut.iter().map(Vec::len).min().unwrap(), cut.iter().map(Vec::len).max().unwrap());
            assert!(greatest - least <= 1);
        }
        assert!(tasks(&[], 1.0, None, 5).is_empty());
    }
}
