//! What the machine makes of GPUs.

use realsyn_plan::placement::{NodeFacts, NodeGpus};

use super::*;

/// Nodes as GPU Feature Discovery describes them, of eight GPUs with so much memory.
fn cluster(nodes: &[(&str, &str, u64)]) -> Inventory {
    let node = |(name, product, gib): &(&str, &str, u64)| {
        let labels = [
            ("nvidia.com/gpu.product", (*product).to_owned()),
            ("nvidia.com/gpu.memory", (gib * 1024).to_string()),
            ("nvidia.com/gpu.count", "8".to_owned()),
        ];
        let facts = NodeFacts {
            name: (*name).to_owned(),
            labels: labels.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            allocatable: BTreeMap::from([("nvidia.com/gpu".to_owned(), "8".to_owned())]),
            ready: true,
            ..NodeFacts::default()
        };
        NodeGpus::of(&facts, None)
    };
    nodes.iter().map(node).collect()
}

fn with_gpu(bench: &mut Bench, gpu: realsyn_crds::Gpu) {
    let mut spec = spec();
    spec.stages.sentence_score.device.gpu = Some(gpu);
    bench.plan = Plan::of_build(&spec);
}

fn needs(gib: &str) -> realsyn_crds::Gpu {
    realsyn_crds::Gpu { min_memory: Some(realsyn_crds::Quantity::new(gib)), ..realsyn_crds::Gpu::default() }
}

const SCORE: &str = "sentence-score/score";

#[test]
fn what_fits_no_node_is_told_and_made_all_the_same() {
    let mut bench = Bench::new();
    with_gpu(&mut bench, needs("90Gi"));
    bench.inventory = cluster(&[("gpu-1", "NVIDIA-A100-SXM4-80GB", 80)]);
    bench.settle();
    bench.report(report(&[], &[ready(SCORE, 4, 1)]));
    let made = bench.settle();
    assert_eq!(creates(&made).len(), 1, "an autoscaler must see the Job");
    let (status, reason, message) = bench.condition("Placeable");
    assert_eq!((status, reason), ("False", "NoNodeFits"));
    assert!(message.starts_with("sentence-score: ") && message.contains("gpu-1: A100-SXM4-80GB has 80"), "{message}");

    // A node that fits comes, by whoever's hand.
    bench.inventory = cluster(&[("gpu-1", "NVIDIA-A100-SXM4-80GB", 80), ("gpu-2", "NVIDIA-H200", 140)]);
    bench.settle();
    assert_eq!(bench.condition("Placeable").0, "True");
}

#[test]
fn a_stage_that_may_not_wait_for_nodes_stalls_until_there_is_one() {
    let mut bench = Bench::new();
    with_gpu(&mut bench, realsyn_crds::Gpu { allow_scale_up: false, ..needs("90Gi") });
    bench.inventory = cluster(&[("gpu-1", "NVIDIA-A100-SXM4-80GB", 80)]);
    bench.settle();
    bench.report(report(&[], &[ready(SCORE, 4, 1)]));
    assert_eq!(creates(&bench.settle()).len(), 0);
    assert_eq!(bench.condition("Stalled").0, "True");
    assert!(bench.condition("Stalled").2.contains("sentence-score: no node fits"), "{:?}", bench.condition("Stalled"));

    bench.inventory = cluster(&[("gpu-2", "NVIDIA-H200", 140)]);
    bench.retry = Some("now");
    bench.settle();
    bench.report(report(&[], &[ReadyStep { shards: 40, missing: 40, ..ready(SCORE, 40, 1) }]));
    let made = bench.settle();
    assert_eq!(creates(&made).len(), 1, "{:#?}", bench.state);
    let Work::Step { asked, .. } = creates(&made)[0].work else { panic!("{made:?}") };
    assert_eq!(asked, 8, "as many pods as fit, of 40 tasks");
    assert_eq!(bench.condition("Stalled").0, "False");
}

#[test]
fn a_spent_budget_stops_everything_until_it_is_raised() {
    let mut bench = Bench::new();
    let mut spec = spec();
    spec.stages.sentence_score.device.gpu = Some(realsyn_crds::Gpu { count: 2, ..realsyn_crds::Gpu::default() });
    spec.budget = Some(realsyn_crds::Budget { gpu_hours: Some(1.0), bytes: None });
    bench.plan = Plan::of_build(&spec);
    bench.settle();
    bench.report(report(&[], &[ready(SCORE, 4, 1)]));
    bench.settle();
    let began = bench.now;
    let job = bench.jobs.iter_mut().find(|job| job.stage.is_some()).unwrap();
    job.pods = vec![SeenPod { started_at: Some(began), ..SeenPod::default() }];
    bench.now = began + SignedDuration::from_secs(1799);
    bench.settle();
    assert_eq!(bench.condition("Stalled").0, "False", "a second is left of two GPUs' half hour");
    bench.now = began + SignedDuration::from_secs(1800);
    let made = bench.settle();
    assert_eq!(bench.condition("Stalled").1, "BudgetExceeded");
    assert!(bench.condition("Ready").2.starts_with("1.0 of 1 GPU-hours are spent"), "{}", bench.condition("Ready").2);
    assert!(made.iter().any(|a| matches!(a, Action::Delete { .. })), "{made:?}");
    assert_eq!(bench.state.stage(Stage::SentenceScore).unwrap().gpu_seconds, 3600);
    bench.jobs.clear();
    assert_eq!(creates(&bench.settle()).len(), 0, "nothing more runs");
    spec.budget = Some(realsyn_crds::Budget { gpu_hours: Some(2.0), bytes: None });
    (bench.plan, bench.generation) = (Plan::of_build(&spec), 2);
    assert_eq!(creates(&bench.settle()).len(), 1, "a look at the store, and on");
}

#[test]
fn a_full_store_stops_everything_until_the_budget_is_raised_or_less_is_asked_for() {
    let mut bench = Bench::new();
    let mut spec = spec();
    let bytes =
        |text: &str| Some(realsyn_crds::Budget { gpu_hours: None, bytes: Some(realsyn_crds::Quantity::new(text)) });
    spec.budget = bytes("2Gi");
    bench.plan = Plan::of_build(&spec);
    bench.settle();
    bench.report(Report { stored: (2 << 30) - 1, ..report(&[], &[ready(SCORE, 4, 1)]) });
    assert_eq!(creates(&bench.settle()).len(), 1);
    let job = bench.score_job();
    bench.ends(&job, 0, "done");
    bench.settle();
    bench.report(Report { stored: 2 << 30, ..report(&[], &[ready(SCORE, 4, 2)]) });
    assert_eq!(creates(&bench.settle()).len(), 0);
    assert_eq!(bench.condition("Stalled").1, "BudgetExceeded");
    assert_eq!(bench.condition("Ready").2, "2.0 GiB of 2Gi are stored; raise spec.budget.bytes to go on");
    spec.stages.sentences.max_words = 40;
    (bench.plan, bench.generation) = (Plan::of_build(&spec), 2);
    assert_eq!(creates(&bench.settle()).len(), 1, "another spec is looked at anew");
    bench.report(Report { stored: 3 << 30, ..report(&[], &[ready(SCORE, 4, 3)]) });
    assert_eq!(creates(&bench.settle()).len(), 0);
    spec.budget = bytes("4Gi");
    (bench.plan, bench.generation) = (Plan::of_build(&spec), 3);
    assert_eq!(creates(&bench.settle()).len(), 1);
}

#[test]
fn pods_that_come_and_go_change_nothing() {
    let mut bench = Bench::new();
    bench.inventory = cluster(&[("gpu-1", "NVIDIA-A100-SXM4-80GB", 80)]);
    bench.settle();
    bench.report(report(&[], &[ready(SCORE, 4, 1)]));
    bench.settle();
    let before = bench.state.clone();
    bench.inventory = cluster(&[("gpu-1", "NVIDIA-A100-SXM4-80GB", 80), ("gpu-2", "NVIDIA-A100-SXM4-80GB", 80)]);
    bench.settle();
    assert_eq!(bench.state, before, "a node more is no news");
}
