//! The columns: they move when a task ends, and at no other time.

use super::*;

const SCORE: &str = "sentence-score/score";

/// A Job of twelve tasks for 20 shards, of which the store had eight.
fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.settle();
    assert_eq!(columns(&bench), ["listing the source", "–", "0%", "–"]);
    bench.report(report(&[], &[ReadyStep { shards: 20, missing: 12, ..ready(SCORE, 12, 1) }]));
    bench.settle();
    bench
}

fn columns(bench: &Bench) -> [String; 4] {
    let WorkSummary { stage, shards, done, left } = bench.state.summary.clone().unwrap();
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    [stage, or_none(shards), done, or_none(left)]
}

fn job(bench: &mut Bench) -> &mut SeenJob {
    bench.jobs.iter_mut().find(|job| job.stage.is_some()).unwrap()
}

fn pod(index: u32, began: Timestamp, took: Option<i64>) -> SeenPod {
    SeenPod {
        index: Some(index),
        started_at: Some(began),
        ended_at: took.map(|seconds| began + SignedDuration::from_secs(seconds)),
        ended: took.map(|_| Ended::default()),
        ..SeenPod::default()
    }
}

#[test]
fn what_is_left_follows_from_the_tasks_that_are_done() {
    let mut bench = bench();
    let began = bench.now;
    assert_eq!(columns(&bench), ["sentence-score", "8/20", "0%", "–"]);
    // Four side by side, an hour each: of twelve tasks eight are left, two more rounds.
    job(&mut bench).pods = (0..4).map(|i| pod(i, began, Some(3600))).collect();
    bench.passes(3600);
    bench.settle();
    assert_eq!(columns(&bench)[1..], ["8/20", "0%", "–"], "the Job has not counted them");
    job(&mut bench).done = 4;
    bench.settle();
    assert_eq!(columns(&bench)[1..], ["12/20", "0%", "2h"]);

    // Neither time nor a task that begins changes anything.
    let before = bench.state.clone();
    let next = bench.now;
    job(&mut bench).pods.extend((4..8).map(|i| pod(i, next, None)));
    bench.passes(1800);
    bench.settle();
    assert_eq!(bench.state, before);

    // One took half of the time, so that the mean is 54 minutes; three others are half an hour in.
    job(&mut bench).pods[4] = pod(4, next, Some(1800));
    job(&mut bench).done = 5;
    bench.settle();
    assert_eq!(columns(&bench)[1..], ["13/20", "0%", "1h15m"]);

    // Failed tasks say nothing of how long one takes.
    let mut failed = pod(5, next, Some(10));
    failed.ended = Some(Ended { code: 1, ..Ended::default() });
    job(&mut bench).pods.push(failed);
    let before = columns(&bench);
    bench.settle();
    assert_eq!(columns(&bench), before);
}

#[test]
fn of_several_stages_the_first_is_named_and_the_longest_told() {
    let mut bench = Bench::new();
    bench.settle();
    bench.report(report(&["documents/extract"], &[ready("fetch/fetch", 4, 1), ready("sentences/split", 2, 2)]));
    bench.settle();
    assert_eq!(columns(&bench)[..2], ["fetch +1", "0/8"]);
    let (began, mut took) = (bench.now, 60);
    for job in bench.jobs.iter_mut().filter(|job| job.stage.is_some()) {
        (job.done, job.pods) = (1, vec![pod(0, began, Some(took))]);
        took *= 30;
    }
    bench.passes(1800);
    bench.settle();
    assert_eq!(columns(&bench)[3], "30m");
    bench.suspend = true;
    bench.settle();
    assert_eq!(columns(&bench)[..2], ["suspended", "–"]);
}

#[test]
fn records_that_a_stage_dropped_are_told_by_reason_within_bounds() {
    let mut bench = Bench::scoring();
    let score = bench.score_job();
    bench.ends(&score, 0, "");
    bench.settle();
    let mut told = report(&[SCORE], &[ready("sentence-dedup-near/bands", 1, 2)]);
    told.sealed[0].dropped = BTreeMap::from([("too-short".to_owned(), 3), ("too-long\u{7}".to_owned(), 4)]);
    bench.report(told);
    bench.settle();
    let dropped = |bench: &Bench| bench.state.stage(Stage::SentenceScore).unwrap().dropped.clone();
    assert_eq!(dropped(&bench), BTreeMap::from([("too-long".to_owned(), 4), ("too-short".to_owned(), 3)]));

    let mut bench = Bench::scoring();
    let score = bench.score_job();
    bench.ends(&score, 0, "");
    bench.settle();
    let mut told = report(&[SCORE], &[ready("sentence-dedup-near/bands", 1, 2)]);
    told.sealed[0].dropped = (0..50).map(|n| (format!("{n:02}{}", "\u{1d535}".repeat(70)), u64::MAX)).collect();
    bench.report(told);
    bench.settle();
    let bytes = serde_json::to_string(&dropped(&bench)).unwrap().len();
    assert!(bytes <= 512 + 64 && dropped(&bench).contains_key("other"), "{bytes}: {:?}", dropped(&bench));
}
