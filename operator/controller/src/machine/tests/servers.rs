//! Pods that hold GPUs and never start, and the image of the language model's server.

use realsyn_crds::Engine;

use super::*;

/// What a server may take to start where the model's size is not known, in seconds.
const BUDGET: i64 = 1800;

/// A build whose `generate` is at work beside a server, in two pods that have just got their node.
fn serving() -> Bench {
    let mut bench = Bench::new();
    let mut spec = spec();
    // Of which the machine looks at the clock every minute.
    spec.budget = None;
    spec.stages.generate.device.engine = Engine::Cuda;
    spec.models.llm = Some(
        serde_json::from_value(serde_json::json!({ "uri": "pvc://models/m", "sha256": "ab".repeat(32) })).unwrap(),
    );
    bench.plan = Plan::of_build(&spec);
    bench.settle();
    begins(&mut bench);
    bench
}

/// A look finds `generate` ready, and its Job is made; both of its pods find no image.
fn begins(bench: &mut Bench) {
    bench.report(report(&["documents/extract"], &[ready("generate/generate", 2, 1)]));
    bench.settle();
    let now = bench.now;
    job(bench).pods = vec![held_up(0, now), held_up(1, now)];
    bench.settle();
}

fn held_up(index: u32, since: Timestamp) -> SeenPod {
    SeenPod {
        index: Some(index),
        node: Some("gpu-1".to_owned()),
        waits_for: Some("its server: ImagePullBackOff: no such image (image vllm:1)".to_owned()),
        held_up_since: Some(since),
        ..SeenPod::default()
    }
}

fn job(bench: &mut Bench) -> &mut SeenJob {
    bench.jobs.iter_mut().find(|job| job.stage.as_deref() == Some("generate")).expect("a Job of generate")
}

fn entry(bench: &Bench) -> &StageStatus {
    bench.state.stage(Stage::Generate).unwrap()
}

fn is_running(bench: &Bench) -> bool {
    bench.jobs.iter().any(|job| job.stage.as_deref() == Some("generate"))
}

#[test]
fn a_server_whose_image_is_missing_lets_go_of_its_gpus() {
    let mut bench = serving();
    let began = bench.now;
    assert_eq!(bench.wakes(), Some(began + SignedDuration::from_secs(BUDGET)), "nobody else would look then");
    bench.passes(BUDGET - 1);
    bench.settle();
    assert!(is_running(&bench) && entry(&bench).failures == 0);
    let told = "its server: ImagePullBackOff: no such image (image vllm:1)";
    assert_eq!(entry(&bench).waits_for.as_deref(), Some(&*format!("{told} (and 1 more pods)")));

    bench.passes(1);
    let done = bench.settle();
    assert!(matches!(&done[0], Action::Delete { name, .. } if name.contains("generate")), "{done:?}");
    let why = format!("generate: task 0 held GPUs on gpu-1 for 30 min without starting: {told}");
    assert_eq!(entry(&bench).waits_for.as_deref(), Some(&*why));
    assert_eq!((entry(&bench).failures, entry(&bench).state), (1, StageState::Running));
    assert_eq!(bench.condition("Stalled").0, "False");

    // Once more, for half of that; then a person is called.
    bench.passes(10);
    bench.settle();
    begins(&mut bench);
    let began = bench.now;
    assert_eq!(bench.wakes(), Some(began + SignedDuration::from_secs(BUDGET / 2)));
    bench.passes(BUDGET / 2);
    bench.settle();
    assert!(!is_running(&bench));
    assert_eq!(bench.condition("Stalled").0, "True");
    assert!(bench.condition("Stalled").2.contains("for 15 min without starting: its server"), "{:?}", entry(&bench));

    // It goes on, ever shorter, with pauses: kubelet gets a minute of each eleven in the end.
    for held in [450, 225, 112, 60, 60] {
        bench.passes(LONGEST - 1);
        bench.report(report(&["documents/extract"], &[ready("generate/generate", 2, 1)]));
        bench.settle();
        assert!(!is_running(&bench), "not before its time");
        bench.passes(1);
        bench.settle();
        begins(&mut bench);
        assert!(is_running(&bench) && bench.condition("Stalled").0 == "True");
        bench.passes(held - 1);
        bench.settle();
        assert!(is_running(&bench), "after {held} s");
        bench.passes(1);
        bench.settle();
        assert!(!is_running(&bench), "after {held} s");
    }
    // Somebody has filled the registry.
    bench.passes(LONGEST);
    bench.settle();
    bench.report(report(&["documents/extract"], &[ready("generate/generate", 2, 1)]));
    bench.settle();
    let name = job(&mut bench).name.clone();
    bench.ends(&name, 0, "done");
    bench.settle();
    bench.report(report(&["generate/generate"], &[ready("sentence-score/score", 4, 2)]));
    bench.settle();
    assert_eq!((entry(&bench).state, bench.condition("Stalled").0), (StageState::Sealed, "False"));
}

#[test]
fn one_node_without_the_image_is_no_fault_of_the_settings() {
    let mut bench = serving();
    let now = bench.now;
    job(&mut bench).pods[1] = SeenPod { index: Some(1), started_at: Some(now), ..SeenPod::default() };
    for failures in 1..3 {
        bench.passes(BUDGET);
        bench.settle();
        assert_eq!(entry(&bench).failures, failures);
        let spent = bench.state.stages.iter().map(|s| s.gpu_seconds).sum::<u64>();
        assert!(spent >= 1800, "what the other pod held counts: {spent}");
        bench.passes(10 * i64::from(failures) - 1);
        assert_eq!(creates(&bench.settle()).len(), 0);
        bench.passes(1);
        bench.settle();
        begins(&mut bench);
        let now = bench.now;
        job(&mut bench).pods[1].held_up_since = None;
        job(&mut bench).pods[1].started_at = Some(now);
    }
    // By hand, and the chart says so.
    let mut bench = serving();
    bench.server.patience = Some(40);
    bench.passes(39);
    bench.settle();
    assert!(is_running(&bench));
    bench.passes(1);
    bench.settle();
    assert!(!is_running(&bench));
}

#[test]
fn a_worker_without_its_image_holds_gpus_for_ten_minutes_and_without_gpus_it_waits() {
    let plan = |engine| {
        let mut spec = spec();
        spec.budget = None;
        spec.stages.sentence_score.device = realsyn_crds::Device { engine, gpu: None };
        Plan::of_build(&spec)
    };
    for (engine, waits) in [(Engine::Cuda, false), (Engine::Cpu, true)] {
        let mut bench = Bench { plan: plan(engine), ..Bench::new() };
        bench.settle();
        bench.report(report(&["documents/extract"], &[ready("sentence-score/score", 4, 1)]));
        bench.settle();
        let (name, now) = (bench.score_job(), bench.now);
        bench.jobs.iter_mut().find(|job| job.name == name).unwrap().pods = vec![held_up(3, now)];
        bench.settle();
        assert_eq!(bench.wakes(), (!waits).then(|| now + SignedDuration::from_mins(10)));
        bench.passes(600);
        bench.settle();
        assert_eq!(bench.jobs.iter().any(|job| job.name == name), waits);
    }
}

#[test]
fn the_image_of_a_server_is_pinned_until_a_person_acts() {
    let mut bench = serving();
    assert_eq!(bench.state.server_image.as_deref(), Some("vllm:1"));
    bench.server.image = "vllm:2".to_owned();
    assert_eq!(bench.settle(), []);
    bench.retry = Some("one");
    bench.settle();
    assert_eq!(bench.state.server_image.as_deref(), Some("vllm:1"), "the Job that runs has it");
    bench.passes(BUDGET);
    bench.settle();
    assert_eq!(bench.state.server_image.as_deref(), Some("vllm:1"));
    bench.retry = Some("two");
    bench.settle();
    assert_eq!(bench.state.server_image.as_deref(), Some("vllm:2"));

    let mut bench = serving();
    (bench.server.image, bench.generation) = ("vllm:2".to_owned(), 2);
    bench.settle();
    assert_eq!(bench.state.server_image.as_deref(), Some("vllm:2"), "another spec is worked on with what is new");
    let mut without = spec();
    without.stages.generate.device.engine = Engine::Cpu;
    let mut without = Bench { plan: Plan::of_build(&without), ..Bench::new() };
    without.settle();
    assert_eq!(without.state.server_image, None, "no stage of it has a server");
}
