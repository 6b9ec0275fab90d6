//! Seeded schedules of crash, duplicate, reorder and loss over the protocol: whatever happens, no shard is lost or
//! counted twice, a sealed step is not run again, readers never see two contents under one name, and the end is the same.

mod actors;
mod protocol;
mod scheduler;
mod store;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use realsyn_plan::StepId;
use realsyn_plan::graph::ids;
use realsyn_plan::layout::Seals;
use realsyn_plan::recipe::Recipes;

use protocol::Plan;
use scheduler::{Objects, Outcome, calm, steps, stormy};
use store::Events;

struct Case {
    plan: Rc<Plan>,
    /// What lies in the store before: nothing, or a finished build of a smaller corpus.
    before: Objects,
    calm: Outcome,
}

fn case(shards: usize, all: bool, rejected: &[(StepId, u32)], recorded: &[StepId], before: Objects) -> Case {
    let versions: Vec<String> = (0..shards).map(|i| format!("v{i}")).collect();
    let inventory = support::inventory(&versions, 100);
    let recipes = Recipes::new(&support::effective(&support::full_spec()), None, &inventory.root());
    let (rejected, recorded) = (rejected.iter().copied().collect(), recorded.iter().copied().collect());
    let plan = Rc::new(Plan { steps: steps(all), inventory, recipes, rejected, recorded });
    let calm = calm(&plan, before.clone());
    Case { plan, before, calm }
}

fn roots(seals: &Seals) -> Vec<(StepId, realsyn_plan::Digest)> {
    seals.iter().map(|(step, seal)| (*step, seal.root)).collect()
}

/// Runs the seeds over the cases in turn; returns how often each fault happened.
fn run(cases: &[Case], seeds: std::ops::Range<u64>) -> Events {
    let mut events = Events::default();
    for seed in seeds {
        let case = &cases[(seed % cases.len() as u64) as usize];
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let outcome = stormy(&case.plan, case.before.clone(), seed);
            if case.plan.recorded.is_empty() {
                assert_eq!(roots(&outcome.seals), roots(&case.calm.seals), "another end than without faults");
            }
            outcome
        }));
        match outcome {
            Ok(outcome) => events.add(&outcome.events),
            Err(panic) => {
                eprintln!("schedule {seed} failed");
                resume_unwind(panic);
            }
        }
    }
    events
}

#[test]
fn a_calm_run_runs_every_shard_once() {
    let case = case(5, true, &[], &[], Objects::new());
    let shards: usize = case.calm.seals.values().map(|s| s.shards.len()).sum();
    assert!(shards > 100, "{shards} shards");
    assert_eq!(case.calm.launched.len(), shards);
    assert!(case.calm.launched.values().all(|n| *n == 1));
    // 90 MiB a shard: the shuffle's groups hold three home shards each.
    assert_eq!(case.calm.seals[&ids::SENTENCES_BY_ID].shards.len(), 2);
}

#[test]
fn exact_content_ends_the_same_whatever_happens() {
    let smaller = case(3, false, &[], &[], Objects::new()).calm.objects;
    let cases = [
        case(2, false, &[], &[], Objects::new()),
        case(4, false, &[], &[], Objects::new()),
        case(3, false, &[(ids::DOCUMENTS, 1)], &[], Objects::new()),
        case(3, false, &[(ids::SENTENCES, 2)], &[], Objects::new()),
        case(4, false, &[], &[], smaller),
    ];
    let grown = &cases[4].calm.launched;
    let old: BTreeSet<&(StepId, u32)> = grown.keys().filter(|(_, number)| *number < 3).collect();
    assert!(
        !old.contains(&(ids::DOCUMENTS, 0)) && !old.contains(&(ids::SENTENCES, 2)),
        "old shards ran again: {old:?}"
    );
    assert!(grown.contains_key(&(ids::DOCUMENTS, 3)));

    let events = run(&cases, 0..6000);
    let Events {
        crashes,
        lost_responses,
        lost_requests,
        lost_races,
        heals,
        forgets,
        voided_seals,
        late_workers,
        duplicates,
    } = events;
    // Exact content that is made again has the same root, so no seal is ever left without its ground.
    assert_eq!(voided_seals, 0);
    for (what, n) in [
        ("crashes", crashes),
        ("lost responses", lost_responses),
        ("lost requests", lost_requests),
        ("lost races", lost_races),
        ("heals", heals),
        ("forgotten shards", forgets),
        ("late workers", late_workers),
        ("duplicates", duplicates),
    ] {
        assert!(n > 500, "{what} happened only {n} times: the schedules prove little");
    }
}

#[test]
fn recorded_content_may_change_and_its_readers_follow() {
    let cases = [
        case(2, false, &[], &[ids::DOCUMENTS], Objects::new()),
        case(3, false, &[], &[ids::SENTENCES, ids::UNIQUE], Objects::new()),
        case(3, false, &[(ids::DOCUMENTS, 0)], &[ids::SENTENCES_BY_ID, ids::WORDS_FREEZE], Objects::new()),
    ];
    let events = run(&cases, 6000..10_000);
    assert!(events.voided_seals > 200, "seals lost their ground only {} times", events.voided_seals);
    assert!(events.heals > 200, "healed only {} times", events.heals);
}

#[test]
fn the_whole_graph_survives_as_well() {
    let cases =
        [case(2, true, &[], &[], Objects::new()), case(3, true, &[], &[ids::FETCH, ids::GENERATE], Objects::new())];
    let events = run(&cases, 10_000..10_100);
    assert!(events.crashes > 100 && events.lost_races > 100, "{events:?}");
}
