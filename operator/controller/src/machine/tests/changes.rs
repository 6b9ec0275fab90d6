//! What changes while a build runs: its spec, its Jobs behind our back, the room it has, the time.

use super::*;

#[test]
fn suspending_takes_the_jobs_away_and_going_on_looks_first() {
    let mut bench = Bench::scoring();
    bench.suspend = true;
    let made = bench.settle();
    assert!(made.iter().all(|a| matches!(a, Action::Delete { .. })) && bench.jobs.is_empty(), "{made:?}");
    assert_eq!(bench.condition("Suspended").0, "True");
    assert_eq!(bench.condition("Stalled").0, "False");
    bench.suspend = false;
    let made = bench.settle();
    assert!(matches!(creates(&made)[..], [Order { work: Work::Advance { .. }, .. }]), "{made:?}");
    bench.report(report(&[], &[ready("sentence-score/score", 4, 1)]));
    bench.settle();
    assert_eq!(bench.state.stage(Stage::SentenceScore).unwrap().attempt, 2);
}

#[test]
fn a_changed_spec_ends_what_is_outdated_before_anything_new_begins() {
    let mut bench = Bench::scoring();
    let old = bench.score_job();
    let mut changed = spec();
    changed.stages.sentences.max_words = 40;
    (bench.plan, bench.generation) = (Plan::of_build(&changed), 2);
    bench.settle();
    assert!(bench.jobs.iter().any(|j| j.name == old), "its digest is not known to be another yet");
    bench.report(report(&["documents/extract"], &[ready("sentences/split", 4, 5)]));
    let actions = bench.step();
    assert_eq!(creates(&actions).len(), 0, "the old pods may still write: {actions:?}");
    assert!(actions.iter().any(|a| matches!(a, Action::Delete { name, .. } if *name == old)), "{actions:?}");
    bench.jobs.iter_mut().for_each(|j| j.deleting |= j.name == old);
    assert_eq!(creates(&bench.step()).len(), 0, "they are still going");
    bench.jobs.retain(|j| j.name != old);
    let made = bench.settle();
    assert_eq!(creates(&made).len(), 1);
    // The number goes on, so that going back to the first spec meets no old name.
    assert_eq!(bench.state.stage(Stage::SentenceScore).unwrap().attempt, 1);
}

#[test]
fn two_changes_of_the_spec_within_one_reconcile_are_one() {
    let mut bench = Bench::new();
    bench.settle();
    // The look that runs reads the first spec; the second was never seen by anybody.
    let mut changed = spec();
    changed.stages.sentences.max_words = 40;
    (bench.plan, bench.generation) = (Plan::of_build(&changed), 3);
    let first = advance_name("obelics", UID, bench.state.advance.attempt);
    bench.report(report(&["documents/extract"], &[ready("fetch/fetch", 4, 1)]));
    let made = bench.settle();
    assert_eq!(bench.state.generation, Some(3));
    assert!(bench.state.stages.is_empty(), "what the old look said counts for nothing: {:?}", bench.state.stages);
    assert!(bench.jobs.iter().all(|job| job.name != first) && creates(&made).len() == 1, "{made:?}");
    assert_eq!(bench.condition("Reconciling").0, "True");
    assert!(bench.state.conditions.iter().all(|c| c.observed_generation == Some(3)), "{:?}", bench.state.conditions);
}

#[test]
fn execution_settings_change_no_digest_and_only_the_template_replaces_a_job() {
    let mut bench = Bench::scoring();
    let old = bench.score_job();
    let mut changed = spec();
    changed.stages.sentence_score.execution.parallelism = Some(2);
    (bench.plan, bench.generation) = (Plan::of_build(&changed), 2);
    let made = bench.settle();
    assert!(made.iter().any(|a| matches!(a, Action::Run { asked: 2, granted: 2, .. })), "{made:?}");
    assert_eq!(bench.score_job(), old);
    changed.stages.sentence_score.execution.retry = 7;
    (bench.plan, bench.generation) = (Plan::of_build(&changed), 3);
    let made = bench.settle();
    assert!(made.iter().any(|a| matches!(a, Action::Delete { name, .. } if *name == old)), "{made:?}");
}

#[test]
fn a_job_that_somebody_deletes_is_replaced_by_another() {
    let mut bench = Bench::scoring();
    let old = bench.score_job();
    bench.jobs.retain(|j| j.name != old);
    bench.settle();
    assert!(bench.jobs.iter().all(|j| j.name != old), "its name is used up");
    bench.report(report(&[], &[ready("sentence-score/score", 2, 4)]));
    bench.settle();
    assert_ne!(bench.score_job(), old);
    assert!(bench.jobs.iter().any(|j| j.name == bench.score_job()));
}

#[test]
fn why_pods_do_not_start_is_copied_up() {
    let mut bench = Bench::scoring();
    let job = bench.jobs.iter_mut().find(|j| j.stage.is_some()).unwrap();
    let pod = |index, why: &str| SeenPod { index: Some(index), waits_for: Some(why.to_owned()), ..SeenPod::default() };
    job.pods = vec![pod(3, "Unschedulable: no GPU"), pod(1, "ImagePullBackOff: no such image")];
    bench.step();
    let why = "sentence-score: ImagePullBackOff: no such image (and 1 more pods)";
    assert_eq!(bench.condition("Ready"), ("False", "Progressing", why));
    bench.jobs.iter_mut().for_each(|j| j.trouble = Some("FailedCreate: exceeded quota".to_owned()));
    bench.step();
    assert_eq!(bench.condition("Ready").2, "sentence-score: FailedCreate: exceeded quota");
    bench.trouble = Some(Trouble { message: "the Job x cannot be created: denied".to_owned(), permanent: true });
    bench.step();
    assert_eq!(bench.condition("Stalled"), ("True", "Stalled", "the Job x cannot be created: denied"));
}

#[test]
fn room_is_shared_and_never_nothing() {
    let mut bench = Bench::new();
    bench.room = 3;
    bench.settle();
    bench.report(report(&[], &[ready("documents/extract", 4, 1), ready("sentences/split", 4, 2)]));
    let made = bench.settle();
    let granted = |o: &&Order| if let Work::Step { granted, .. } = o.work { granted } else { 0 };
    assert_eq!(creates(&made).iter().map(granted).collect::<Vec<_>>(), [3, 1]);
}

#[test]
fn stop_after_ends_there() {
    let mut bench = Bench::new();
    let mut stops = spec();
    stops.stop_after = Some(Stage::Fetch);
    bench.plan = Plan::of_build(&stops);
    bench.settle();
    bench.report(report(&["documents/extract"], &[ready("fetch/fetch", 1, 1), ready("sentences/split", 1, 2)]));
    let made = bench.settle();
    assert_eq!(creates(&made).len(), 1, "nothing beyond: {made:?}");
    let job = creates(&made)[0].name.clone();
    bench.ends(&job, 0, "");
    bench.settle();
    bench.report(report(&["fetch/fetch"], &[]));
    bench.settle();
    assert_eq!(bench.condition("Ready").1, "StoppedAfter");
    assert_eq!(bench.jobs, []);
}

#[test]
fn times_change_on_transitions_alone() {
    let mut bench = Bench::new();
    bench.settle();
    let before = bench.state.conditions.clone();
    bench.passes(100);
    bench.settle();
    assert_eq!(bench.state.conditions, before);
    bench.suspend = true;
    bench.settle();
    let since = |state: &State, name: &str| {
        state.conditions.iter().find(|c| c.type_ == name).unwrap().last_transition_time.clone()
    };
    assert_eq!(since(&bench.state, "Suspended"), bench.now.to_string());
    assert_ne!(since(&bench.state, "Ready"), bench.now.to_string());
}
