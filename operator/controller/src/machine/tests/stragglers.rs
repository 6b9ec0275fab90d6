//! Tasks that are slower than others.

use realsyn_plan::placement::{NodeFacts, NodeGpus};

use super::*;

const SCORE: &str = "sentence-score/score";

fn node(name: &str, product: &str) -> NodeGpus {
    let labels = BTreeMap::from([
        ("nvidia.com/gpu.product".to_owned(), product.to_owned()),
        ("nvidia.com/gpu.memory".to_owned(), "81920".to_owned()),
    ]);
    let allocatable = BTreeMap::from([("nvidia.com/gpu".to_owned(), "8".to_owned())]);
    let facts = NodeFacts { name: name.to_owned(), labels, allocatable, ready: true, ..NodeFacts::default() };
    NodeGpus::of(&facts, None)
}

/// A Job of twelve tasks on nodes of two products, none of which has started.
fn bench() -> Bench {
    let mut bench = Bench::new();
    let mut spec = spec();
    spec.stages.sentence_score.device.gpu = Some(realsyn_crds::Gpu::default());
    bench.plan = Plan::of_build(&spec);
    bench.inventory =
        [node("fast-1", "NVIDIA-H100-80GB-HBM3"), node("slow-1", "NVIDIA-A100-SXM4-80GB")].into_iter().collect();
    bench.settle();
    bench.report(report(&[], &[ReadyStep { shards: 12, missing: 12, ..ready(SCORE, 12, 1) }]));
    bench.settle();
    bench
}

fn pods(bench: &mut Bench) -> &mut Vec<SeenPod> {
    &mut bench.jobs.iter_mut().find(|job| job.stage.is_some()).unwrap().pods
}

fn pod(index: u32, node: &str, began: Timestamp, took: Option<i64>) -> SeenPod {
    SeenPod {
        index: Some(index),
        node: Some(node.to_owned()),
        started_at: Some(began),
        ended_at: took.map(|seconds| began + SignedDuration::from_secs(seconds)),
        ended: took.map(|_| Ended::default()),
        ..SeenPod::default()
    }
}

fn named(bench: &Bench) -> &[String] {
    &bench.state.stage(Stage::SentenceScore).unwrap().stragglers
}

#[test]
fn a_task_is_slow_beside_its_equals_alone_and_named_once() {
    let mut bench = bench();
    let began = bench.now;
    // Medians of 100 s on one product; of the other there are too few to tell.
    *pods(&mut bench) = (0..5).map(|i| pod(i, "fast-1", began, Some(80 + 10 * i64::from(i)))).collect();
    pods(&mut bench).extend((5..9).map(|i| pod(i, "slow-1", began, Some(100))));
    pods(&mut bench).extend([pod(9, "fast-1", began, None), pod(10, "slow-1", began, None)]);
    bench.passes(299);
    bench.settle();
    assert!(named(&bench).is_empty());
    let at = began + SignedDuration::from_secs(300);
    assert_eq!(bench.wakes(), Some(at), "nobody else would look then");
    bench.passes(1);
    bench.settle();
    assert_eq!(named(&bench), ["task 9 on fast-1 (H100-SXM5-80GB)"]);
    // Time alone writes nothing more.
    let before = bench.state.clone();
    bench.passes(5000);
    bench.settle();
    assert_eq!(bench.state, before);
    // A fifth equal makes the other slow, too.
    pods(&mut bench).push(pod(11, "slow-1", began, Some(100)));
    bench.settle();
    assert_eq!(named(&bench).len(), 2);
    // It ends, and so does being named.
    pods(&mut bench)[9] = pod(9, "fast-1", began, Some(5300));
    bench.settle();
    assert_eq!(named(&bench), ["task 10 on slow-1 (A100-SXM4-80GB)"]);
    let job = bench.score_job();
    bench.ends(&job, 0, "");
    bench.settle();
    assert!(named(&bench).is_empty());
}

#[test]
fn seconds_and_failures_tell_nothing() {
    let mut bench = bench();
    let began = bench.now;
    *pods(&mut bench) = (0..5).map(|i| pod(i, "fast-1", began, Some(2))).collect();
    pods(&mut bench).push(pod(9, "fast-1", began, None));
    bench.passes(61);
    bench.settle();
    assert!(named(&bench).is_empty(), "a minute beyond two seconds is nothing");
    bench.passes(1);
    bench.settle();
    assert_eq!(named(&bench).len(), 1);
    for failed in &mut pods(&mut bench)[..1] {
        failed.ended = Some(Ended { code: 66, ..Ended::default() });
    }
    bench.settle();
    assert!(named(&bench).is_empty(), "four are too few, and one that failed is none of them");
}

#[test]
fn what_a_look_tells_of_the_gpus_time_is_kept_beside_what_was_held() {
    let mut bench = bench();
    let job = bench.score_job();
    bench.ends(&job, 0, "");
    bench.settle();
    let mut told = report(&[SCORE], &[]);
    told.sealed[0].gpu_seconds = 7200;
    told.ready = vec![ready("documents/extract", 4, 1)];
    bench.report(told);
    bench.settle();
    let entry = bench.state.stage(Stage::SentenceScore).unwrap();
    assert_eq!((entry.state, entry.useful_gpu_seconds), (StageState::Sealed, Some(7200)));
}
