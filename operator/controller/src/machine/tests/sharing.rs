//! A stage that an older build below the same root is at work on.

use super::*;

fn neighbour(bench: &Bench, stage: Stage) -> Neighbour {
    Neighbour { name: "build datasets/older".to_owned(), stage, digest: bench.digest(stage).to_string() }
}

#[test]
fn the_younger_waits_says_for_whom_and_goes_on_with_what_is_there() {
    let mut bench = Bench::new();
    bench.neighbours = vec![neighbour(&bench, Stage::SentenceScore)];
    bench.settle();
    let told = report(&["documents/extract"], &[ready("sentence-score/score", 4, 1), ready("fetch/fetch", 2, 2)]);
    bench.report(told.clone());
    let made = bench.settle();
    let [order] = creates(&made)[..] else { panic!("{made:?}") };
    assert!(matches!(&order.work, Work::Step { step, .. } if step.stage == Stage::Fetch), "{order:?}");
    assert_eq!(
        bench.condition("Ready").2,
        "sentence-score: build datasets/older runs it, and both use what comes of it"
    );
    assert_eq!(bench.condition("Stalled").0, "False");
    assert_eq!(bench.state.stage(Stage::SentenceScore).unwrap().attempt, 0);

    // A look for another reason changes nothing about it.
    let fetch = order.name.clone();
    bench.ends(&fetch, 0, "done");
    bench.settle();
    bench.report(report(&["fetch/fetch"], &[ready("sentence-score/score", 4, 1)]));
    assert_eq!(creates(&bench.settle()).len(), 0);
    assert_eq!(bench.state.progress.as_deref().map(|p| p.starts_with("waiting for another build")), Some(true));

    // The older has sealed it: a look finds it done.
    bench.neighbours.clear();
    let made = bench.settle();
    assert!(matches!(creates(&made)[..], [Order { work: Work::Advance { .. }, .. }]), "{made:?}");
    let steps: Vec<String> =
        BUILD.iter().filter(|s| s.id.stage == Stage::SentenceScore).map(|s| s.id.to_string()).collect();
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    bench.report(report(&steps, &[ready("sentence-dedup-near/bands", 1, 3)]));
    let made = bench.settle();
    assert!(creates(&made).iter().all(|o| !o.name.contains("sentence-score")), "{made:?}");
    assert!(bench.state.stage(Stage::SentenceScore).unwrap().state == StageState::Sealed);
}

#[test]
fn what_the_older_gives_up_the_younger_runs_itself() {
    let mut bench = Bench::new();
    bench.neighbours = vec![neighbour(&bench, Stage::SentenceScore)];
    bench.settle();
    bench.report(report(&["documents/extract"], &[ready("sentence-score/score", 4, 1)]));
    assert_eq!(creates(&bench.settle()).len(), 0);
    bench.neighbours.clear();
    bench.settle();
    bench.report(report(&[], &[ready("sentence-score/score", 4, 1)]));
    let made = bench.settle();
    assert!(matches!(creates(&made)[..], [Order { attempt: 1, work: Work::Step { .. }, .. }]), "{made:?}");
    assert_eq!(bench.state.stage(Stage::SentenceScore).unwrap().waits_for, None);
}

#[test]
fn other_settings_of_a_stage_are_another_stage() {
    let mut bench = Bench::new();
    bench.neighbours = vec![Neighbour { digest: "0".repeat(64), ..neighbour(&bench, Stage::SentenceScore) }];
    bench.settle();
    bench.report(report(&["documents/extract"], &[ready("sentence-score/score", 4, 1)]));
    assert_eq!(creates(&bench.settle()).len(), 1);
    // It comes up while the stage runs here: what has begun goes on.
    bench.neighbours = vec![neighbour(&bench, Stage::SentenceScore)];
    assert_eq!(bench.settle(), []);
}
