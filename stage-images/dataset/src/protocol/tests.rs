//! The ledger over a folder.

use std::sync::Arc;

use realsyn_plan::graph::{find, ids};
use realsyn_plan::layout::{Seals, SourceFile, SourceShard};
use realsyn_plan::recipe::Recipes;
use realsyn_plan::records::{Data, Effort, Object, Outcome, object_name};
use realsyn_plan::shuffle::{Extent, index};
use tempfile::TempDir;

use super::*;
use crate::store::DirectoryStore;

/// A ledger over an empty folder, and a plan over two source shards.
struct Bench {
    /// Removed when the bench is dropped.
    _folder: TempDir,
    ledger: Ledger,
    inventory: Inventory,
    recipes: Recipes,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(Arc::new(DirectoryStore::create(folder.path()).unwrap()));
        let stage = |digit: &str| serde_json::json!([{ "fields": {}, "digest": digit.repeat(64) }, digit.repeat(64)]);
        let stages = serde_json::json!({ "stages": { "documents": stage("1"), "sentences": stage("2"), "sentence-dedup-exact": stage("3") } });
        let recipes: Recipes = serde_json::from_value(stages).unwrap();
        Self { _folder: folder, ledger, inventory: inventory(&["a", "b"]), recipes }
    }

    fn state<'a>(&'a self, step: StepId, seals: &'a Seals) -> StepState<'a> {
        let digests = self.recipes.digests(step);
        StepState { step: find(step), digests, inventory: &self.inventory, seals, max_rejected_share: 0.0 }
    }

    fn advance(&self, step: StepId, seals: &Seals) -> Verdict {
        self.ledger.advance(&self.state(step, seals)).unwrap().expect("what it reads is sealed")
    }

    /// Runs all that is missing of a step, with this content, and returns its seal.
    fn run(&self, step: StepId, seals: &Seals, content: &str) -> Seal {
        let Verdict::Run(missing) = self.advance(step, seals) else { panic!("{step} has nothing to run") };
        for shard in missing {
            let attempt = format!("{content}-{}", shard.generation);
            let commit = self.shard(step, shard.spec.key, shard.spec.number, shard.generation, &attempt, content);
            assert!(matches!(self.ledger.commit(step, &commit).unwrap(), Committed::Won));
        }
        self.sealed(step, seals)
    }

    fn sealed(&self, step: StepId, seals: &Seals) -> Seal {
        match self.advance(step, seals) {
            Verdict::Sealed(seal) => *seal,
            other => panic!("{step} is not sealed: {other:?}"),
        }
    }

    /// Writes an attempt's object, and gives the commit that would publish it.
    fn shard(
        &self,
        step: StepId,
        key: Digest,
        number: u32,
        generation: u32,
        attempt: &str,
        content: impl AsRef<[u8]>,
    ) -> Commit {
        let (_, recipe) = self.recipes.digests(step);
        let name = object_name(step, &recipe, &key, attempt, "rows", "txt");
        let content = content.as_ref();
        self.ledger.store().put(&name, content).unwrap();
        let (bytes, hash) = (content.len() as u64, Digest::of_bytes(content));
        let object = Object { role: "rows".into(), name, bytes, hash, rows: 1, partitions: None };
        let outcome = Outcome::Data(Data { objects: vec![object], ..Data::default() });
        let (step, attempt) = (step.to_string(), attempt.to_owned());
        Commit { step, recipe, key, number, generation, attempt, outcome, effort: Effort::default() }
    }

    fn names(&self, ending: &str) -> Vec<String> {
        let names = self.ledger.store().list_names("").unwrap();
        names.into_iter().filter(|n| n.ends_with(ending)).collect()
    }
}

fn inventory(versions: &[&str]) -> Inventory {
    let file = |v: &&str| SourceFile { name: format!("{v}.html"), bytes: 10, version: v.to_string() };
    Inventory::new(versions.iter().map(|v| SourceShard::whole(vec![file(v)])).collect())
}

const KEY: Digest = Digest([7; 32]);

#[test]
fn who_loses_removes_its_own_objects_and_no_other() {
    let bench = Bench::new();
    let first = bench.shard(ids::DOCUMENTS, KEY, 0, 0, "first", "one");
    let second = bench.shard(ids::DOCUMENTS, KEY, 0, 0, "second", "two");
    assert!(matches!(bench.ledger.commit(ids::DOCUMENTS, &first).unwrap(), Committed::Won));
    let Committed::Lost(winner) = bench.ledger.commit(ids::DOCUMENTS, &second).unwrap() else { panic!("it was late") };
    assert_eq!(*winner, first);
    let left = bench.names(".txt");
    assert_eq!(left, [first.data().unwrap().objects[0].name.clone()]);
    // Who does not know that it won asks again, and still has won.
    assert!(matches!(bench.ledger.commit(ids::DOCUMENTS, &first).unwrap(), Committed::Won));
    assert_eq!(bench.names(".txt"), left);
    // A rejection that is late has nothing to remove.
    let reason = Outcome::Rejected { reason: "broken".into(), detail: "cut off".into() };
    let rejected = Commit { attempt: "third".into(), outcome: reason, ..second };
    assert!(matches!(bench.ledger.commit(ids::DOCUMENTS, &rejected).unwrap(), Committed::Lost(_)));
    assert_eq!(bench.names(".txt"), left);
}

#[test]
fn of_sixteen_racing_attempts_one_wins() {
    let bench = Bench::new();
    let barrier = std::sync::Barrier::new(16);
    let winners: Vec<String> = std::thread::scope(|scope| {
        let attempt = |i: u32| {
            let (bench, barrier) = (&bench, &barrier);
            scope.spawn(move || {
                let name = format!("attempt-{i}");
                let commit = bench.shard(ids::DOCUMENTS, KEY, 0, 0, &name, &name);
                barrier.wait();
                match bench.ledger.commit(ids::DOCUMENTS, &commit).unwrap() {
                    Committed::Won => Ok(name),
                    Committed::Lost(winner) => Err(winner.attempt),
                }
            })
        };
        let threads: Vec<_> = (0..16).map(attempt).collect();
        let ends: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        assert_eq!(ends.iter().filter(|e| e.is_ok()).count(), 1);
        ends.into_iter().map(|e| e.unwrap_or_else(|winner| winner)).collect()
    });
    assert!(winners.iter().all(|w| *w == winners[0]), "all know the same winner: {winners:?}");
    let left = bench.names(".txt");
    assert_eq!(left.len(), 1);
    assert!(left[0].contains(&winners[0]));
}

#[test]
fn a_step_runs_is_sealed_and_is_not_run_again() {
    let bench = Bench::new();
    let mut seals = Seals::new();
    let waiting = bench.ledger.advance(&bench.state(ids::SENTENCES, &seals)).unwrap();
    assert!(waiting.is_none(), "documents are not sealed");
    let seal = bench.run(ids::DOCUMENTS, &seals, "rows");
    assert_eq!((seal.generation, seal.shards.len()), (0, 2));
    let names = bench.names("");
    assert_eq!(bench.sealed(ids::DOCUMENTS, &seals), seal);
    assert_eq!(bench.names(""), names, "asking again writes nothing");
    seals.insert(ids::DOCUMENTS, seal);
    assert!(matches!(bench.advance(ids::SENTENCES, &seals), Verdict::Run(m) if m.len() == 2));
    // To look writes nothing, even where a seal is due.
    bench.run(ids::SENTENCES, &seals, "rows");
    let looked = bench.ledger.look(&bench.state(ids::SENTENCES, &seals)).unwrap();
    assert!(matches!(looked, Some(Verdict::Sealed(_))));
}

#[test]
fn a_forgotten_shard_runs_as_the_next_generation() {
    let bench = Bench::new();
    let seals = Seals::new();
    let first = bench.run(ids::DOCUMENTS, &seals, "first");
    for round in 1..=3 {
        let seal = bench.sealed(ids::DOCUMENTS, &seals);
        bench.ledger.forget(ids::DOCUMENTS, &seal, 1, "test").unwrap();
        // Forgetting the same twice is forgetting once.
        bench.ledger.forget(ids::DOCUMENTS, &seal, 1, "test").unwrap();
        let Verdict::Run(missing) = bench.advance(ids::DOCUMENTS, &seals) else { panic!("a shard is missing") };
        assert_eq!(missing.len(), 1);
        assert_eq!((missing[0].spec.number, missing[0].generation), (1, round));
        let again = bench.run(ids::DOCUMENTS, &seals, "first");
        assert_eq!((again.generation, again.shards[1].generation), (round, round));
        assert_eq!(again.shards[0], first.shards[0]);
        assert_eq!(again.root, first.root, "equal content has an equal root");
    }
    // The commit that was sealed first is still there for who reads by it.
    let (_, recipe) = bench.recipes.digests(ids::DOCUMENTS);
    bench.ledger.sealed_commit(ids::DOCUMENTS, &recipe, &first.shards[1]).unwrap();
}

#[test]
fn a_shard_rejected_by_hand_is_passed_over_until_it_is_forgotten() {
    let bench = Bench::new();
    let seals = Seals::new();
    let state = bench.state(ids::DOCUMENTS, &seals);
    let Verdict::Run(missing) = bench.advance(ids::DOCUMENTS, &seals) else { panic!("nothing is there yet") };
    bench.ledger.reject(&state, 1, "bad scan", "hand").unwrap();
    let Verdict::Run(left) = bench.advance(ids::DOCUMENTS, &seals) else { panic!("a shard is missing") };
    assert_eq!(left, missing[..1], "the rejected one does not run");
    let seal = bench.run(ids::DOCUMENTS, &seals, "rows");
    assert_eq!(seal.rejected, BTreeMap::from([("bad scan".to_owned(), 1)]));

    // Data and rejections alike keep their place until they are forgotten.
    let refused = |number| bench.ledger.reject(&state, number, "again", "hand").unwrap_err().to_string();
    assert!(refused(0).contains("shard 0 is committed with its data; `forget` it first"), "{}", refused(0));
    assert!(refused(1).contains("shard 1 is rejected already (bad scan)"), "{}", refused(1));
    let forgotten = bench.ledger.forget_commit(&state, 1, "test").unwrap();
    assert_eq!((forgotten.number, forgotten.generation), (1, 0));
    let Verdict::Run(left) = bench.advance(ids::DOCUMENTS, &seals) else { panic!("a shard is missing") };
    assert_eq!((left.len(), left[0].spec.number, left[0].generation), (1, 1, 1));
    let whole = bench.run(ids::DOCUMENTS, &seals, "rows");
    assert!(whole.rejected.is_empty() && whole.generation == 1, "{whole:?}");
}

#[test]
fn forgetting_before_the_seal_keeps_a_late_advance_from_sealing_what_was_forgotten() {
    let bench = Bench::new();
    let seals = Seals::new();
    let state = bench.state(ids::DOCUMENTS, &seals);
    let Verdict::Run(missing) = bench.advance(ids::DOCUMENTS, &seals) else { panic!("nothing is there yet") };
    for m in &missing {
        let commit = bench.shard(ids::DOCUMENTS, m.spec.key, m.spec.number, 0, &format!("a{}", m.spec.number), "x");
        assert!(matches!(bench.ledger.commit(ids::DOCUMENTS, &commit).unwrap(), Committed::Won));
    }
    // An advance that has read everything, and is slow to write.
    let Some(Verdict::Seal(late)) = bench.ledger.look(&state).unwrap() else { panic!("a seal is due") };
    bench.ledger.forget_commit(&state, 0, "test").unwrap();
    let name = records::seal_name(ids::DOCUMENTS, &late.stage_digest, late.generation);
    bench.ledger.store().put(&name, &late.encode().0).unwrap();
    let Verdict::Run(left) = bench.advance(ids::DOCUMENTS, &seals) else { panic!("the late seal counts") };
    assert_eq!(left.iter().map(|m| (m.spec.number, m.generation)).collect::<Vec<_>>(), [(0, 1)]);
}

#[test]
fn what_cannot_be_rejected_or_forgotten_is_told() {
    let bench = Bench::new();
    let seals = Seals::new();
    let state = bench.state(ids::DOCUMENTS, &seals);
    let names = bench.names("");
    let said = |result: Result<(), ByHandError>| result.unwrap_err().to_string();
    assert!(
        said(bench.ledger.reject(&state, 2, "r", "hand")).contains("has the shards 0 to 1, so there is no shard 2")
    );
    assert!(said(bench.ledger.forget_commit(&state, 0, "w").map(drop)).contains("has no commit that counts"));
    let waiting = bench.state(ids::SENTENCES, &seals);
    assert!(said(bench.ledger.reject(&waiting, 0, "r", "hand")).contains("sentences/split has no shards yet"));
    let alone = Bench { inventory: inventory(&["a"]), ..Bench::new() };
    let only = alone.ledger.reject(&alone.state(ids::DOCUMENTS, &seals), 0, "r", "hand");
    assert!(said(only).contains("is the only one of documents/extract"));
    assert_eq!(bench.names(""), names, "nothing was written");
}

#[test]
fn a_seal_whose_ground_changed_is_voided_and_made_again() {
    let bench = Bench::new();
    let mut seals = Seals::new();
    seals.insert(ids::DOCUMENTS, bench.run(ids::DOCUMENTS, &seals, "first"));
    let before = bench.run(ids::SENTENCES, &seals, "sentences");
    bench.ledger.forget(ids::DOCUMENTS, &seals[&ids::DOCUMENTS], 0, "test").unwrap();
    let documents = bench.run(ids::DOCUMENTS, &Seals::new(), "other");
    assert_ne!(documents.root, seals[&ids::DOCUMENTS].root);
    seals.insert(ids::DOCUMENTS, documents.clone());
    // Only the shard that reads the changed one runs; its sibling's commit is sealed again.
    let Verdict::Run(missing) = bench.advance(ids::SENTENCES, &seals) else { panic!("a shard is missing") };
    assert_eq!(missing.iter().map(|m| (m.spec.number, m.generation)).collect::<Vec<_>>(), [(0, 0)]);
    let after = bench.run(ids::SENTENCES, &seals, "sentences");
    assert_eq!((before.generation, after.generation), (0, 1));
    assert_eq!(after.made_from["documents/extract"], documents.root);
    assert_eq!(after.shards[1], before.shards[1]);
    let voids = bench.names(".seal.void");
    assert!(voids.iter().any(|n| n.starts_with("sentences/split/")), "{voids:?}");
}

#[test]
fn what_a_seal_names_must_be_there_unchanged() {
    let bench = Bench::new();
    let seal = bench.run(ids::DOCUMENTS, &Seals::new(), "rows");
    let (_, recipe) = bench.recipes.digests(ids::DOCUMENTS);
    let read = || bench.ledger.sealed_commit(ids::DOCUMENTS, &recipe, &seal.shards[1]);
    assert_eq!(read().unwrap().number, 1);

    let name = records::commit_name(ids::DOCUMENTS, &recipe, &seal.shards[1].key, 0);
    bench.ledger.store().put(&name, b"{}").unwrap();
    let error = read().unwrap_err();
    assert!(matches!(error, LedgerError::Gone { number: 1, .. }));
    assert_eq!(
        error.to_string(),
        "the commit of documents/extract shard 1 is not the one that was sealed: the shard has to run again"
    );
    bench.ledger.store().delete(&name).unwrap();
    assert!(matches!(read().unwrap_err(), LedgerError::Gone { how: "missing", .. }));
}

#[test]
fn a_record_that_cannot_be_read_is_named() {
    let bench = Bench::new();
    let Verdict::Run(missing) = bench.advance(ids::DOCUMENTS, &Seals::new()) else { panic!("nothing is there yet") };
    let (stage_digest, recipe) = bench.recipes.digests(ids::DOCUMENTS);
    let commit = records::commit_name(ids::DOCUMENTS, &recipe, &missing[0].spec.key, 0);
    let seal = records::seal_name(ids::DOCUMENTS, &stage_digest, 0);
    for name in [commit, seal] {
        for bad in [&b"{ \"step\": "[..], b"", b"{}", b"\xff\xfe"] {
            bench.ledger.store().put(&name, bad).unwrap();
            let error = bench.ledger.advance(&bench.state(ids::DOCUMENTS, &Seals::new())).unwrap_err();
            assert!(matches!(&error, LedgerError::Unreadable { name: n, .. } if *n == name), "{error}");
            assert!(error.to_string().ends_with("`forget` it, or restore it"), "{error}");
        }
    }
}

#[test]
fn foreign_names_in_the_folders_are_passed_over() {
    let bench = Bench::new();
    let (stage_digest, recipe) = bench.recipes.digests(ids::DOCUMENTS);
    let folder = records::commit_folder(ids::DOCUMENTS, &recipe);
    let foreign = [
        format!("{folder}/notes.txt"),
        format!("{folder}/{KEY}.g0.commit.json"),
        format!("documents/extract/{stage_digest}.gx.seal.json"),
        format!("documents/extract/{stage_digest}.g0.seal.json.bak"),
    ];
    for name in foreign {
        bench.ledger.store().put(&name, b"not a record").unwrap();
    }
    assert_eq!(bench.run(ids::DOCUMENTS, &Seals::new(), "rows").generation, 0);
}

#[test]
fn a_source_that_is_listed_again_has_a_new_generation_only_where_it_changed() {
    let bench = Bench::new();
    let name = Digest([5; 32]);
    assert!(bench.ledger.inventories(&name).unwrap().current().is_none());
    let (small, grown) = (inventory(&["a"]), inventory(&["a", "b"]));
    assert_eq!(bench.ledger.write_inventory(&name, &small).unwrap(), small);
    assert_eq!(bench.ledger.write_inventory(&name, &small).unwrap(), small);
    assert_eq!(bench.ledger.inventories(&name).unwrap().generation(), 0);
    assert_eq!(bench.ledger.write_inventory(&name, &grown).unwrap(), grown);
    let known = bench.ledger.inventories(&name).unwrap();
    assert_eq!((known.generation(), known.current()), (1, Some(&grown)));
    assert_eq!(known.records[&0], small);
    // What was listed before may be listed again.
    assert_eq!(bench.ledger.write_inventory(&name, &small).unwrap(), small);
    assert_eq!(bench.ledger.inventories(&name).unwrap().generation(), 2);
    assert!(bench.ledger.inventories(&Digest([6; 32])).unwrap().records.is_empty());
}

#[test]
fn the_highest_reference_counts() {
    let bench = Bench::new();
    let uid = owner_uid("RealSynBuild", "datasets", "demo", None);
    assert_eq!(uid.len(), 32);
    assert_ne!(uid, owner_uid("RealSynBuild", "dataset", "sdemo", None));
    assert_ne!(uid, owner_uid("RealSynRelease", "datasets", "demo", None));
    assert_ne!(uid, owner_uid("RealSynBuild", "datasets", "demo", Some("0b1c")));
    let reference = |root| Reference {
        kind: "RealSynBuild".into(),
        owner: "datasets/demo".into(),
        inventory_root: Digest([root; 32]),
        recipes: bench.recipes.clone(),
        history: 2,
        gone: false,
    };
    assert!(bench.ledger.reference(&uid).unwrap().is_none());
    assert_eq!(bench.ledger.refer(&uid, &reference(0)).unwrap(), None);
    assert_eq!(bench.ledger.refer(&uid, &reference(0)).unwrap(), None, "the same is not written twice");
    // Past nine: generations are numbers, not text.
    for i in 1..=11 {
        assert_eq!(bench.ledger.refer(&uid, &reference(i)).unwrap(), Some(reference(i - 1)));
        assert_eq!(bench.ledger.reference(&uid).unwrap(), Some((i.into(), reference(i))));
    }
    assert_eq!(bench.names("").len(), 12);
    assert!(bench.ledger.reference(&owner_uid("RealSynBuild", "", "demo", None)).unwrap().is_none());
}

#[test]
fn references_that_race_all_count_in_turn() {
    let bench = Bench::new();
    let reference = |root| Reference {
        kind: "RealSynBuild".into(),
        owner: "demo".into(),
        inventory_root: Digest([root; 32]),
        recipes: bench.recipes.clone(),
        history: 2,
        gone: false,
    };
    std::thread::scope(|scope| {
        for i in 0..8 {
            let (ledger, reference) = (&bench.ledger, reference(i));
            scope.spawn(move || ledger.refer("uid", &reference).unwrap());
        }
    });
    assert_eq!(bench.names("").len(), 8);
    assert_eq!(bench.ledger.reference("uid").unwrap().unwrap().0, 7);
}

#[test]
fn a_shuffled_object_whose_index_cannot_be_read_is_made_again_before_the_seal() {
    let (bench, mut seals, step) = (Bench::new(), Seals::new(), ids::SENTENCES_BY_ID);
    seals.insert(ids::DOCUMENTS, bench.run(ids::DOCUMENTS, &seals, "documents"));
    seals.insert(ids::SENTENCES, bench.run(ids::SENTENCES, &seals, "sentences"));
    let file = b"the file of partition 2";
    let extent = Extent { offset: 0, bytes: file.len() as u64, rows: 9, hash: Digest::of_bytes(file) };
    let whole = [&file[..], &index(&BTreeMap::from([(2, extent)]))].concat();
    let store = bench.ledger.store().clone();
    for generation in 0..3 {
        let Verdict::Run(missing) = bench.advance(step, &seals) else { panic!("generation {generation} is missing") };
        assert_eq!(missing.iter().map(|m| m.generation).collect::<Vec<_>>(), [generation]);
        let attempt = format!("attempt-{generation}");
        let mut commit = bench.shard(step, missing[0].spec.key, 0, generation, &attempt, &whole);
        let Outcome::Data(data) = &mut commit.outcome else { unreachable!() };
        let object = &mut data.objects[0];
        (object.role, object.partitions) = ("sentences".into(), Some(3));
        let name = object.name.clone();
        bench.ledger.commit(step, &commit).unwrap();
        match generation {
            0 => store.delete(&name).unwrap(),
            1 => {
                let mut damaged = whole.clone();
                *damaged.last_mut().unwrap() ^= 1;
                store.put(&name, &damaged).unwrap();
            }
            _ => {}
        }
        if generation < 2 {
            // Who only looks sees what is to be done, and writes nothing.
            let before = bench.names("");
            let looked = bench.ledger.look(&bench.state(step, &seals)).unwrap();
            assert!(matches!(looked, Some(Verdict::Run(missing)) if missing[0].generation == generation + 1));
            assert_eq!(bench.names(""), before);
        }
    }
    let seal = bench.sealed(step, &seals);
    let totals: Vec<(u64, u64)> = seal.partitions["sentences"].iter().map(|t| (t.bytes, t.rows)).collect();
    assert_eq!(totals, [(0, 0), (0, 0), (file.len() as u64, 9), (0, 0)]);
}
