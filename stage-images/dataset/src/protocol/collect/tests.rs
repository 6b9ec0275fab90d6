//! Clean-up of a folder, case by case.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use realsyn_plan::graph::{BUILD, RELEASE, ids};
use realsyn_plan::recipe::Recipes;
use realsyn_plan::records::{Commit, Data, Effort, Object, Outcome, Seal, object_name, seal_name, task_list_name};
use realsyn_plan::shuffle::PartitionTotals;
use realsyn_plan::{Digest, StepId};
use tempfile::TempDir;

use super::*;
use crate::protocol::Reference;
use crate::store::DirectoryStore;

const DAY: u64 = 86_400;

fn ledger() -> (TempDir, Ledger) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::new(Arc::new(DirectoryStore::create(folder.path()).unwrap()));
    (folder, ledger)
}

fn names(ledger: &Ledger) -> Vec<String> {
    ledger.store().list_names("").unwrap()
}

/// A plan of every stage of a build; `content` sets it apart from others.
fn recipes(content: u8) -> Recipes {
    let digest = Digest([content; 32]);
    let stages: BTreeMap<&str, _> = BUILD
        .iter()
        .map(|s| (s.id.stage.name(), serde_json::json!([{ "fields": {}, "digest": digest }, digest])))
        .collect();
    serde_json::from_value(serde_json::json!({ "stages": stages })).unwrap()
}

fn reference(recipes: Recipes, history: u32) -> Reference {
    let (kind, owner, inventory_root) = ("RealSynBuild".into(), "default/demo".into(), Digest([0; 32]));
    Reference { kind, owner, inventory_root, recipes, history, gone: false }
}

/// Commits one shard of a step, and seals it with that.
fn sealed(ledger: &Ledger, step: StepId, recipes: &Recipes) -> Commit {
    let digests = recipes.digests(step);
    let commit = committed(ledger, step, digests.1, "winner");
    let seal = Seal::new(
        step,
        digests,
        0,
        BTreeMap::new(),
        &[(commit.clone(), commit.encode().1)],
        PartitionTotals::default(),
    );
    ledger.store().put_new(&seal_name(step, &digests.0, 0), &seal.encode().0).unwrap();
    commit
}

fn committed(ledger: &Ledger, step: StepId, recipe: Digest, attempt: &str) -> Commit {
    let key = Digest([9; 32]);
    let name = object_name(step, &recipe, &key, attempt, "rows", "txt");
    ledger.store().put(&name, b"rows").unwrap();
    let object =
        Object { role: "rows".into(), name, bytes: 4, hash: Digest::of_bytes(b"rows"), rows: 1, partitions: None };
    let outcome = Outcome::Data(Data { objects: vec![object], ..Data::default() });
    let (number, generation, effort) = (0, 0, Effort::default());
    let attempt = attempt.to_owned();
    let commit = Commit { step: step.to_string(), recipe, key, number, generation, attempt, outcome, effort };
    ledger.commit(step, &commit).unwrap();
    commit
}

fn clean(ledger: &Ledger, now: u64) -> Cleaned {
    ledger.clean(&Cleaning { dry_run: false, age: DAY, now }).unwrap()
}

#[test]
fn a_tombstone_waits_a_day_and_then_all_that_nobody_names_is_gone() {
    let (_folder, ledger) = ledger();
    let (named, other) = (recipes(1), recipes(2));
    ledger.refer("uid", &reference(named.clone(), 1)).unwrap();
    for plan in [&named, &other] {
        sealed(&ledger, ids::DOCUMENTS, plan);
    }
    let (digest, recipe) = other.digests(ids::DOCUMENTS);
    // What an attempt left behind that never committed, a list of tasks of a sealed step, and the end of a log.
    let lost = object_name(ids::DOCUMENTS, &recipe, &Digest([8; 32]), "dead", "rows", "txt");
    let log = format!("documents/{digest}/_logs/0.txt");
    for name in [&lost, &log, &task_list_name(ids::DOCUMENTS, &digest)] {
        ledger.store().put(name, b"[]").unwrap();
    }
    let before = names(&ledger);

    let dry = ledger.clean(&Cleaning { dry_run: true, age: 0, now: DAY }).unwrap();
    assert_eq!(names(&ledger), before, "a dry run changed something");
    let Totals { seals, commits, objects, bytes } = dry.stages[0].going;
    assert_eq!((seals, commits, objects, bytes > 0), (1, 1, 2, true), "{:?}", dry.stages[0]);
    assert_eq!(dry.stages[0].staying.commits, 1);
    assert_eq!(dry.stages[0].named_by, BTreeSet::from(["RealSynBuild default/demo".to_owned()]));

    let first = clean(&ledger, 5 * DAY).open.unwrap();
    assert_eq!((first.number, first.wait, first.counts), (0, DAY, [1, 1, 2]));
    assert_eq!(names(&ledger).len(), before.len() + 1, "only the tombstone is new");
    let early = clean(&ledger, 6 * DAY - 1);
    assert_eq!((early.open.unwrap().wait, early.settled.len()), (1, 0));
    // A clock that is behind makes it wait longer.
    assert_eq!(clean(&ledger, 2 * DAY).open.unwrap().wait, DAY);

    let done = clean(&ledger, 6 * DAY);
    assert_eq!((done.open, done.settled.len()), (None, 1));
    let recipe = records_half(&recipe);
    let left: Vec<String> = names(&ledger)
        .into_iter()
        .filter(|n| n.contains(&recipe) || n.contains(&digest.to_string()) || n.contains("_tasks"))
        .collect();
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(left.iter().all(|n| n.ends_with(".removed") || n.ends_with(".seal.void")), "{left:?}");
    assert!(ledger.seals(ids::DOCUMENTS, &named.digests(ids::DOCUMENTS).0).unwrap().current().is_some());
    assert_eq!(ledger.seals(ids::DOCUMENTS, &digest).unwrap().generation(), 1);
    // Who needs it again finds it missing, in the next generation.
    let key = Digest([9; 32]);
    let commits = ledger.commits(ids::DOCUMENTS, &other.digests(ids::DOCUMENTS).1, &BTreeSet::from([key])).unwrap();
    assert_eq!((commits[&key].generation(), commits[&key].current()), (1, None));
    assert!(clean(&ledger, 9 * DAY).open.is_none(), "nothing is left to list");
}

fn records_half(recipe: &Digest) -> String {
    recipe.to_string()[..32].to_owned()
}

#[test]
fn who_comes_to_need_it_keeps_it_and_an_unsealed_digest_keeps_its_recipe() {
    let (_folder, ledger) = ledger();
    let plan = recipes(1);
    sealed(&ledger, ids::DOCUMENTS, &plan);
    // Committed and not sealed: the reference's own digest will want it.
    committed(&ledger, ids::SENTENCES, plan.digests(ids::SENTENCES).1, "winner");
    assert_eq!(clean(&ledger, DAY).open.unwrap().counts, [1, 2, 2]);
    ledger.refer("uid", &reference(plan, 1)).unwrap();
    let verdict = ledger.verdict(0).unwrap().unwrap();
    assert_eq!(verdict.decision, Decision::Keep);
    assert!(verdict.why.contains("documents/extract"), "{}", verdict.why);
    let before = names(&ledger);
    let after = clean(&ledger, 3 * DAY);
    assert_eq!((after.open, after.settled), (None, Vec::new()));
    assert_eq!(names(&ledger), before);
}

#[test]
fn a_build_that_finds_a_verdict_makes_void_what_the_collector_did_not() {
    let (_folder, ledger) = ledger();
    let plan = recipes(1);
    sealed(&ledger, ids::DOCUMENTS, &plan);
    clean(&ledger, DAY);
    // The collector dies right after its verdict.
    ledger.decide(0, Decision::Delete, "nothing needs it".into()).unwrap();
    ledger.refer("uid", &reference(plan.clone(), 1)).unwrap();
    assert_eq!(ledger.seals(ids::DOCUMENTS, &plan.digests(ids::DOCUMENTS).0).unwrap().generation(), 1);
    assert!(names(&ledger).iter().any(|n| n.ends_with(".commit.json")), "a build removes nothing");
    assert_eq!(clean(&ledger, DAY).settled.len(), 1, "whoever comes finishes");
    assert!(!names(&ledger).iter().any(|n| n.ends_with(".commit.json") || n.ends_with(".txt")));
}

#[test]
fn objects_of_attempts_that_lost_go_and_those_of_the_winner_stay() {
    let (_folder, ledger) = ledger();
    let plan = recipes(1);
    ledger.refer("uid", &reference(plan.clone(), 1)).unwrap();
    let winner = sealed(&ledger, ids::DOCUMENTS, &plan);
    let recipe = plan.digests(ids::DOCUMENTS).1;
    let stray = object_name(ids::DOCUMENTS, &recipe, &winner.key, "loser", "rows", "txt");
    // Not committed yet: its attempt may be at work.
    let early = object_name(ids::SENTENCES, &recipe, &winner.key, "early", "rows", "txt");
    for name in [&stray, &early] {
        ledger.store().put(name, b"late").unwrap();
    }
    assert_eq!(clean(&ledger, DAY).open.unwrap().counts, [0, 0, 1]);
    assert!(clean(&ledger, 2 * DAY).settled[0].kept.is_none());
    let left: Vec<String> = names(&ledger).into_iter().filter(|n| n.ends_with(".txt")).collect();
    assert_eq!(left, [winner.data().unwrap().objects[0].name.clone(), early]);
}

#[test]
fn a_build_keeps_its_last_complete_pools_until_it_gives_up_its_reference() {
    let (_folder, ledger) = ledger();
    let read: BTreeSet<StepId> = RELEASE.iter().flat_map(|s| s.reads).filter_map(|r| r.step()).collect();
    // Five generations; the third stopped half way, the last is under way.
    for content in 1..=5 {
        let plan = recipes(content);
        ledger.refer("uid", &reference(plan.clone(), 2)).unwrap();
        if content != 3 && content != 5 {
            let build = read.iter().filter(|step| RELEASE.iter().all(|own| own.id != **step));
            build.for_each(|step| _ = sealed(&ledger, *step, &plan));
        }
    }
    let kept = |ledger: &Ledger| -> Vec<(Recipes, bool)> {
        ledger.uses().unwrap().into_iter().map(|u| (u.recipes, u.earlier)).collect()
    };
    assert_eq!(kept(&ledger), [(recipes(5), false), (recipes(4), true), (recipes(2), true)]);
    assert!(ledger.give_up("uid").unwrap().is_some());
    assert!(ledger.give_up("uid").unwrap().is_none(), "there is nothing to give up twice");
    assert_eq!(kept(&ledger), []);
    // The build is made again: what came before counts no more.
    ledger.refer("uid", &reference(recipes(1), 2)).unwrap();
    assert_eq!(kept(&ledger), [(recipes(1), false)]);
}

#[test]
fn a_reference_that_cannot_be_read_stops_everything() {
    let (_folder, ledger) = ledger();
    sealed(&ledger, ids::DOCUMENTS, &recipes(1));
    ledger.store().put("_refs/uid/0.json", b"{\"kind\":\"later\"}").unwrap();
    let before = names(&ledger);
    let error = ledger.clean(&Cleaning { dry_run: false, age: 0, now: 0 }).unwrap_err();
    assert!(error.to_string().contains("_refs/uid/0.json"), "{error}");
    assert_eq!(names(&ledger), before);
}
