//! The machine, one situation at a time.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use realsyn_crds::{BuildSpec, Manifest, Stage, StageState, parse_manifests};
use realsyn_plan::Digest;
use realsyn_plan::graph::BUILD;
use realsyn_plan::report::{Complete, Listed, ReadyStep, Report, SealedStep};

use super::*;
use crate::names::{advance_name, job_name};

mod changes;
mod placement;
mod room;
mod servers;
mod sharing;
mod stragglers;
mod summary;

const UID: &str = "0b1c";

/// A server as the controller's flags have it.
pub(super) fn server() -> server::Settings {
    server::Settings { image: "vllm:1".to_owned(), patience: None }
}

/// The example, with GPUs for the stage that most tests run.
fn spec() -> BuildSpec {
    let text = include_str!("../../../../manifests/examples/build.yaml");
    let Manifest::Build(mut build) = parse_manifests(text, "example").unwrap().remove(0) else {
        panic!("build.yaml holds a build")
    };
    build.spec.stages.sentence_score.device.gpu = Some(realsyn_crds::Gpu::default());
    build.spec
}

/// Everything around the machine, to be changed by a test between two steps.
struct Bench {
    plan: Plan,
    generation: i64,
    suspend: bool,
    retry: Option<&'static str>,
    jobs: Vec<SeenJob>,
    neighbours: Vec<Neighbour>,
    trouble: Option<Trouble>,
    inventory: Inventory,
    server: server::Settings,
    now: Timestamp,
    room: u32,
    state: State,
}

impl Bench {
    fn new() -> Self {
        Self {
            plan: Plan::of_build(&spec()),
            generation: 1,
            suspend: false,
            retry: None,
            jobs: Vec::new(),
            neighbours: Vec::new(),
            trouble: None,
            inventory: Inventory::unknown(),
            server: server(),
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            room: 100,
            state: State::default(),
        }
    }

    fn view(&self) -> View<'_> {
        View {
            uid: UID,
            name: "obelics",
            generation: self.generation,
            plan: &self.plan,
            suspend: self.suspend,
            retry: self.retry,
            worker_image: "worker:1",
            server: &self.server,
            sentences: None,
            room: self.room,
            jobs: &self.jobs,
            neighbours: &self.neighbours,
            trouble: self.trouble.as_ref(),
            inventory: &self.inventory,
            now: self.now,
        }
    }

    /// One reconcile: the state moves on, and what is to be done about it.
    fn step(&mut self) -> Vec<Action> {
        self.state = step(&self.view(), self.state.clone());
        let view = self.view();
        let again = step(&view, self.state.clone());
        assert_eq!(again, self.state, "a second look at the same changes nothing");
        actions(&view, &self.state)
    }

    /// When it would look again if nothing happened.
    fn wakes(&self) -> Option<Timestamp> {
        self.state.wake_at(&self.view())
    }

    fn passes(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    fn digest(&self, stage: Stage) -> Digest {
        self.plan.recipes(&root(), None).stage_digest(stage).unwrap()
    }

    /// The Job that an order makes, as it is seen.
    fn create(&mut self, order: &Order) {
        let (stage, digest, asked, granted) = match &order.work {
            Work::Advance { .. } => (None, String::new(), 0, 1),
            Work::Step { step, digest, asked, granted, .. } => (Some(step.stage), digest.clone(), *asked, *granted),
        };
        self.jobs.push(SeenJob {
            name: order.name.clone(),
            uid: format!("uid of {}", order.name),
            stage: stage.map(|s| s.name().to_owned()),
            digest,
            template: stage.map(|s| self.plan.template(s, &self.state.images(&self.plan, s))).unwrap_or_default(),
            parallelism: asked,
            granted,
            ..SeenJob::default()
        });
    }

    /// Ends the look that runs with this exit code and message.
    fn look_ends(&mut self, code: i32, message: &str) {
        let name = advance_name("obelics", UID, self.state.advance.attempt);
        self.ends(&name, code, message);
    }

    fn report(&mut self, report: Report) {
        let message = String::from_utf8(report.encode()).unwrap();
        self.look_ends(0, &message);
    }

    fn ends(&mut self, name: &str, code: i32, message: &str) {
        let job = self.jobs.iter_mut().find(|j| j.name == name).unwrap_or_else(|| panic!("no Job {name}"));
        job.phase = if code == 0 { JobPhase::Complete } else { JobPhase::Failed("FailedIndexes: some".to_owned()) };
        let ended = Ended { code, message: message.to_owned(), reason: "Error".to_owned() };
        job.pods = vec![SeenPod { index: Some(2), ended: Some(ended), ..SeenPod::default() }];
    }

    /// Steps, and plays the API server: creates and deletes at once.
    fn settle(&mut self) -> Vec<Action> {
        let mut all = Vec::new();
        for _ in 0..20 {
            let actions = self.step();
            if actions.is_empty() {
                return all;
            }
            for action in &actions {
                match action {
                    Action::Create(order) => self.create(order),
                    Action::Delete { name, .. } => self.jobs.retain(|j| j.name != *name),
                    Action::Run { name, asked, granted, .. } => {
                        let job = self.jobs.iter_mut().find(|j| j.name == *name).expect("a Job that is there");
                        (job.parallelism, job.granted, job.suspended) = (*asked, *granted, false);
                    }
                }
            }
            all.extend(actions);
        }
        panic!("it does not settle: {all:?}");
    }

    fn condition(&self, name: &str) -> (&str, &str, &str) {
        let c = self.state.conditions.iter().find(|c| c.type_ == name).unwrap();
        (&c.status, &c.reason, &c.message)
    }

    /// A build whose first look told that `sentence-score/score` can run, all before being sealed; its Job is there.
    fn scoring() -> Self {
        let mut bench = Self::new();
        bench.settle();
        let before: Vec<&str> = vec!["documents/extract"];
        bench.report(report(&before, &[ready("sentence-score/score", 4, 1)]));
        bench.settle();
        bench
    }

    fn score_job(&self) -> String {
        let entry = self.state.stage(Stage::SentenceScore).unwrap();
        let digest = self.digest(Stage::SentenceScore).to_string();
        job_name("obelics", UID, Stage::SentenceScore, "score", &digest, entry.attempt)
    }
}

fn root() -> Digest {
    Digest([7; 32])
}

fn report(sealed: &[&str], ready: &[ReadyStep]) -> Report {
    let sealed = sealed.iter().map(|step| SealedStep {
        step: (*step).to_owned(),
        shards: 4,
        records_in: 10,
        records_out: 9,
        rejected: BTreeMap::new(),
        dropped: BTreeMap::new(),
        gpu_seconds: 0,
    });
    Report {
        inventory: Some(Listed { root: root(), files: 4, shards: 4, bytes: 1000, sentences: None }),
        sealed: sealed.collect(),
        ready: ready.to_vec(),
        ..Report::default()
    }
}

fn ready(step: &str, tasks: u32, list: u8) -> ReadyStep {
    ReadyStep { step: step.to_owned(), shards: 8, missing: 8, tasks, list: Digest([list; 32]) }
}

fn creates(actions: &[Action]) -> Vec<&Order> {
    actions.iter().filter_map(|a| if let Action::Create(order) = a { Some(order) } else { None }).collect()
}

#[test]
fn the_first_thing_is_one_look_at_the_store() {
    let mut bench = Bench::new();
    let actions = bench.step();
    assert_eq!(creates(&actions).len(), 1);
    assert_eq!(creates(&actions)[0].work, Work::Advance { known: vec![] });
    assert_eq!(bench.condition("Ready").0, "False");
    assert_eq!(bench.condition("Reconciling").0, "True");
    assert_eq!(bench.state.progress.as_deref(), Some("listing the source · 0 %"));
    // The response was lost, or the process died: the same name again, and no other.
    let again = bench.step();
    assert_eq!(actions, again);
    bench.create(creates(&again)[0]);
    assert_eq!(bench.step(), []);
}

#[test]
fn several_steps_run_at_once_and_each_end_is_looked_at() {
    let mut bench = Bench::new();
    bench.settle();
    bench.report(report(&["documents/extract"], &[ready("fetch/fetch", 4, 1), ready("sentences/split", 2, 2)]));
    let made = bench.settle();
    assert_eq!(creates(&made).len(), 2, "{made:?}");
    assert_eq!(bench.state.progress.as_deref(), Some("fetch 0/4 +1 · 2 %"));
    let fetch = creates(&made)[0].name.clone();
    bench.ends(&fetch, 0, "done");
    let made = bench.settle();
    let looks: Vec<_> = creates(&made);
    assert_eq!(looks[0].work, Work::Advance { known: vec!["documents/extract".to_owned()] });
    // It ended, but is not sealed: it goes only when that is known.
    assert!(bench.state.stage(Stage::Fetch).unwrap().state == StageState::Running);
}

#[test]
fn an_ended_job_is_looked_at_even_if_a_look_runs_already() {
    let mut bench = Bench::new();
    bench.settle();
    bench.report(report(&["documents/extract"], &[ready("fetch/fetch", 4, 1), ready("sentences/split", 2, 2)]));
    let made = bench.settle();
    let names: Vec<String> = creates(&made).iter().map(|o| o.name.clone()).collect();
    bench.ends(&names[0], 0, "");
    bench.settle();
    assert_eq!(bench.state.advance.attempt, 2);
    bench.ends(&names[1], 0, "");
    bench.settle();
    assert!(bench.state.advance.due && bench.state.advance.running);
    // The look that ran saw nothing of the second end, so another follows.
    bench.report(report(&["fetch/fetch"], &[ready("image-decode/decode", 4, 3)]));
    bench.settle();
    assert_eq!(bench.state.advance.attempt, 3);
}

#[test]
fn what_is_wrong_with_the_settings_is_told_and_tried_again_by_hand() {
    let mut bench = Bench::new();
    bench.settle();
    bench.look_ends(64, "spec.source.uri: no such\u{7} bucket");
    bench.settle();
    assert_eq!(bench.condition("Stalled"), ("True", "Stalled", "spec.source.uri: no such bucket"));
    assert_eq!(bench.condition("Reconciling").0, "False");
    assert_eq!(bench.state.advance.attempt, 1);
    bench.passes(LONGEST - 1);
    assert_eq!(creates(&bench.settle()).len(), 0);
    bench.retry = Some("now");
    assert_eq!(creates(&bench.settle()).len(), 1);
    assert_eq!(bench.condition("Stalled").0, "False");
    // The same token does nothing twice.
    bench.look_ends(64, "no");
    bench.settle();
    assert_eq!(bench.state.advance.attempt, 2);
    bench.passes(LONGEST);
    bench.settle();
    assert_eq!(bench.state.advance.attempt, 3, "it is tried again by itself, too");
}

#[test]
fn garbage_is_waited_out_and_then_a_person_is_called() {
    let mut bench = Bench::new();
    for (n, garbage) in ["", "{}", "{\"ready\":[{}]}", "\u{0}"].into_iter().enumerate() {
        bench.settle();
        bench.look_ends(0, garbage);
        bench.settle();
        assert_eq!(bench.state.advance.failures, n as u32 + 1);
        assert_eq!(bench.condition("Stalled").0 == "True", n as u32 + 1 > STALLED_AFTER, "after {}", n + 1);
        let before = bench.state.advance.attempt;
        bench.passes((10 << n) - 1);
        bench.settle();
        assert_eq!(bench.state.advance.attempt, before, "not before its time");
        bench.passes(1);
    }
    bench.settle();
    bench.report(report(&["documents/extract"], &[ready("fetch/fetch", 4, 1)]));
    bench.settle();
    assert_eq!((bench.state.advance.failures, bench.condition("Stalled").0), (0, "False"));
}

#[test]
fn a_report_that_contradicts_itself_changes_nothing() {
    let complete = Some(Complete { digest: Digest([1; 32]), pairs: 1, bytes: 0, uri: None });
    let all: Vec<String> = BUILD.iter().map(|s| s.id.to_string()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    for (what, bad) in [
        ("complete without its stages", Report { complete: complete.clone(), ..report(&["fetch/fetch"], &[]) }),
        ("nothing at all", report(&["fetch/fetch"], &[])),
        ("more of nothing", Report { more: true, ..report(&[], &[]) }),
        ("all sealed and no word of it", report(&all[..1], &[])),
        ("no inventory", Report { inventory: None, ..report(&["fetch/fetch"], &[ready("sentences/split", 1, 1)]) }),
        ("a step of a release", report(&[], &[ready("release/select", 1, 1)])),
    ] {
        let mut bench = Bench::new();
        bench.settle();
        bench.report(bad);
        bench.settle();
        assert_eq!(bench.state.advance.failures, 1, "{what}");
        assert!(bench.state.stages.iter().all(|s| s.state == StageState::Waiting), "{what}: {:?}", bench.state.stages);
        assert!(!bench.state.finished, "{what}");
    }
}

#[test]
fn a_cut_report_is_asked_for_the_rest_until_all_is_known() {
    let mut bench = Bench::new();
    bench.settle();
    let all: Vec<String> = BUILD.iter().map(|s| s.id.to_string()).collect();
    let mut looks = 0;
    while !bench.state.finished {
        looks += 1;
        assert!(looks < 10, "it never learns everything");
        let known = bench.jobs.iter().find(|j| j.name == advance_name("obelics", UID, bench.state.advance.attempt));
        assert!(known.is_some());
        let sealed: Vec<Stage> =
            bench.state.stages.iter().filter(|s| s.state == StageState::Sealed).map(|s| s.name).collect();
        let rest: Vec<&str> = BUILD
            .iter()
            .zip(&all)
            .filter(|(step, _)| !sealed.contains(&step.id.stage))
            .map(|(_, name)| name.as_str())
            .collect();
        let complete = Some(Complete { digest: Digest([1; 32]), pairs: 7, bytes: 0, uri: None });
        let mut all = Report { complete, ..report(&rest, &[]) };
        let reasons = |n| (format!("{n}-{}", "x".repeat(40)), 1);
        all.sealed.iter_mut().for_each(|s| s.rejected = (0..3).map(reasons).collect());
        bench.report(all);
        bench.settle();
    }
    assert!(looks > 1, "everything fitted at once, so this tests nothing");
    assert_eq!(bench.condition("Ready"), ("True", "Complete", "the pool is complete"));
    assert_eq!(bench.state.complete.as_ref().map(|c| c.pairs), Some(7));
    assert_eq!(bench.jobs, [], "nothing is left");
}

#[test]
fn a_failed_task_is_named_and_tried_again_ever_later() {
    let mut bench = Bench::scoring();
    let first = bench.score_job();
    bench.ends(&first, 137, "");
    bench.settle();
    let entry = bench.state.stage(Stage::SentenceScore).unwrap().clone();
    assert_eq!(entry.waits_for.as_deref(), Some("score: task 2 ended with 137: Error"));
    assert_eq!((entry.failures, entry.state), (1, StageState::Running));
    // What is complete is sealed at once; the step itself waits.
    bench.report(report(&[], &[ready("sentence-score/score", 4, 1)]));
    bench.settle();
    assert!(bench.jobs.iter().any(|j| j.name == first), "a failed Job stays to be looked at");
    bench.passes(10);
    bench.settle();
    bench.report(report(&[], &[ready("sentence-score/score", 4, 1)]));
    let made = bench.settle();
    assert_eq!(creates(&made).len(), 1);
    assert_ne!(bench.score_job(), first, "a fresh name");
    let second = bench.score_job();
    bench.ends(&second, 137, "");
    bench.settle();
    assert_eq!(bench.condition("Stalled").0, "True");
    assert!(
        bench.condition("Stalled").2.starts_with("sentence-score: score: task 2"),
        "{:?}",
        bench.condition("Stalled")
    );
}

#[test]
fn an_input_that_is_gone_is_looked_for_at_once() {
    let mut bench = Bench::scoring();
    let job = bench.score_job();
    bench.ends(&job, 65, "documents/extract 3");
    bench.settle();
    assert_eq!(bench.state.stage(Stage::SentenceScore).unwrap().retry_at, None);
    // The look found that a sealed stage has lost something: it runs again.
    bench.report(report(&[], &[ready("documents/extract", 1, 9)]));
    let made = bench.settle();
    assert_eq!(creates(&made).len(), 1);
    assert_eq!(bench.state.stage(Stage::Documents).unwrap().state, StageState::Running);
}

#[test]
fn a_job_that_ended_well_without_effect_is_not_run_for_ever() {
    let mut bench = Bench::scoring();
    for n in 1..4 {
        let job = bench.score_job();
        bench.ends(&job, 0, "");
        bench.settle();
        bench.report(report(&[], &[ready("sentence-score/score", 4, 1)]));
        bench.settle();
        assert_eq!(bench.state.stage(Stage::SentenceScore).unwrap().failures, n);
        bench.passes(LONGEST);
        bench.settle();
        bench.report(report(&[], &[ready("sentence-score/score", 4, 1)]));
        bench.settle();
    }
    assert_eq!(bench.condition("Stalled").0, "True");
}

/// A Job at work, and a look that began beside it.
fn looked_at_while_it_runs() -> (Bench, String) {
    let mut bench = Bench::scoring();
    bench.retry = Some("now");
    bench.settle();
    let job = bench.score_job();
    (bench, job)
}

#[test]
fn a_look_that_began_before_a_job_ended_does_not_say_that_it_was_without_effect() {
    let (mut bench, job) = looked_at_while_it_runs();
    bench.ends(&job, 0, "");
    bench.report(report(&[], &[ready("sentence-score/score", 4, 1)]));
    bench.settle();
    let failures = |bench: &Bench| bench.state.stage(Stage::SentenceScore).unwrap().failures;
    assert_eq!((failures(&bench), bench.state.advance.failures, bench.state.advance.attempt), (0, 0, 3));
    bench.report(report(&[], &[ready("sentence-score/score", 4, 1)]));
    bench.settle();
    assert_eq!(failures(&bench), 1, "the next one does");
}

#[test]
fn a_look_that_began_before_a_job_failed_begins_none_in_its_place() {
    let (mut bench, job) = looked_at_while_it_runs();
    // Tried again at once, and by then all may be there.
    bench.ends(&job, 65, "an input is gone");
    let begun = |bench: &mut Bench| {
        bench.report(report(&[], &[ready("sentence-score/score", 3, 2)]));
        let actions = bench.settle();
        creates(&actions).iter().filter(|order| matches!(order.work, Work::Step { .. })).count()
    };
    assert_eq!(begun(&mut bench), 0);
    assert_eq!(begun(&mut bench), 1);
}

#[test]
fn a_store_that_knows_a_thousand_reasons_does_not_make_the_status_grow() {
    let mut bench = Bench::new();
    bench.settle();
    // As many and as long as a termination message holds.
    let mut told = report(&["documents/extract"], &[ready("sentence-score/score", 4, 1)]);
    told.sealed[0].shards = 1300;
    told.sealed[0].rejected = (0..13).map(|n| (format!("{n:02}{}", "\u{1d535}".repeat(58)), 100)).collect();
    bench.report(told);
    bench.settle();
    let stage = bench.state.stages.iter().find(|stage| !stage.rejected.is_empty()).unwrap();
    let bytes: usize = stage.rejected.iter().map(|(reason, n)| reason.len() + n.to_string().len()).sum();
    assert!((512..=1024).contains(&bytes), "{bytes} bytes of {:?}", stage.rejected);
    assert_eq!(stage.rejected.values().sum::<u64>(), 1300, "none is lost");
    assert!(stage.rejected["other"] > 100);
}
