//! Which keys a change of the corpus or of an input moves: what is not moved is not run again.

mod support;

use std::collections::BTreeMap;

use realsyn_plan::graph::{Cut, find, ids};
use realsyn_plan::judge::{Generations, Question, Verdict, complete, judge_complete, judge_seal};
use realsyn_plan::layout::{Inventory, Seals, ShardSpec, layout, made_from, partitions};
use realsyn_plan::records::{
    Commit, Data, Effort, Named, Object, Outcome, Seal, Spent, commit_name, commit_void_name, parse_commit_name,
};
use realsyn_plan::shuffle::{Extent, PartitionTotals, index};
use realsyn_plan::{Digest, StepId};

const NO_DIGESTS: (Digest, Digest) = (Digest([1; 32]), Digest([2; 32]));

/// Seals a step whose shard `n` publishes `content(n)`, or is rejected where that is `None`. Shuffled roles have the
/// content as the part of every partition that `holds` it.
fn seal(
    step: StepId,
    inventory: &Inventory,
    seals: &mut Seals,
    content: impl Fn(u32) -> Option<String>,
    holds: impl Fn(u32) -> bool,
) {
    let step = find(step);
    let specs = layout(step, inventory, seals).expect("what it reads is sealed");
    let pieces = partitions(step, inventory, seals).expect("what it reads is sealed");
    let mut totals = PartitionTotals::new(&pieces);
    let commits: Vec<(Commit, Digest)> = specs
        .iter()
        .map(|spec| {
            let content = content(spec.number);
            for (role, n) in &pieces {
                let Some(content) = &content else { continue };
                let extent = Extent { offset: 0, bytes: 1, rows: 1, hash: Digest::of_bytes(content.as_bytes()) };
                let extents = (0..*n).filter(|p| holds(*p)).map(|p| (p, extent)).collect();
                totals.add(role, &index(&extents)).expect("an index of its partitions");
            }
            committed(step.id, spec, content)
        })
        .collect();
    let made = made_from(step, seals).expect("what it reads is sealed");
    seals.insert(step.id, Seal::new(step.id, NO_DIGESTS, 0, made, &commits, totals));
}

/// The commit of a shard that publishes one object of this content, or is rejected; and the hash of its record.
fn committed(step: StepId, spec: &ShardSpec, content: Option<String>) -> (Commit, Digest) {
    let outcome = match content {
        None => Outcome::Rejected { reason: "broken".into(), detail: "told at length".into() },
        Some(content) => {
            let (role, hash) = ("all".into(), Digest::of_bytes(content.as_bytes()));
            let object = Object { role, name: "n".into(), bytes: 100 << 20, hash, rows: 1, partitions: None };
            Outcome::Data(Data { objects: vec![object], ..Data::default() })
        }
    };
    let commit = Commit {
        step: step.to_string(),
        recipe: NO_DIGESTS.1,
        key: spec.key,
        number: spec.number,
        generation: 0,
        attempt: "a".into(),
        outcome,
        effort: Effort::default(),
    };
    let hash = commit.encode().1;
    (commit, hash)
}

fn same(n: u32) -> Option<String> {
    Some(format!("content {n}"))
}

fn keys(step: StepId, inventory: &Inventory, seals: &Seals) -> Vec<Digest> {
    layout(find(step), inventory, seals).expect("what it reads is sealed").into_iter().map(|s| s.key).collect()
}

#[test]
fn a_grown_corpus_keeps_the_keys_of_its_old_shards() {
    let old = support::inventory(&["a", "b", "c"], 100);
    let new = support::inventory(&["a", "b", "c", "d"], 100);
    assert_ne!(old.root(), new.root());
    let (mut before, mut after) = (Seals::new(), Seals::new());
    for step in [ids::DOCUMENTS, ids::FETCH, ids::DECODE, ids::SENTENCES] {
        let (old_keys, new_keys) = (keys(step, &old, &before), keys(step, &new, &after));
        assert_eq!((old_keys.len(), new_keys.len()), (3, 4), "{step}");
        assert_eq!(old_keys, new_keys[..3], "{step}");
        seal(step, &old, &mut before, same, |_| true);
        seal(step, &new, &mut after, same, |_| true);
        assert_ne!(before[&step].root, after[&step].root, "{step}");
    }
    // 100 MiB a shard: the first group was full, so it stays; the new shard makes a group of its own.
    let (old_keys, new_keys) = (keys(ids::SENTENCES_BY_ID, &old, &before), keys(ids::SENTENCES_BY_ID, &new, &after));
    assert_eq!((old_keys.len(), new_keys.len()), (1, 2));
    assert_eq!(old_keys, new_keys[..1]);
}

#[test]
fn a_source_shard_is_known_by_name_version_and_size() {
    let inventory = support::inventory(&["a", "b"], 100);
    let before = keys(ids::DOCUMENTS, &inventory, &Seals::new());
    for change in 0..3 {
        let mut other = inventory.clone();
        let file = &mut other.shards[1].files[0];
        match change {
            0 => file.version = "z".into(),
            1 => file.name = "elsewhere".into(),
            _ => file.bytes += 1,
        }
        let after = keys(ids::DOCUMENTS, &other, &Seals::new());
        assert_eq!(before[0], after[0]);
        assert_ne!(before[1], after[1]);
        assert_ne!(inventory.root(), other.root());
    }
}

#[test]
fn a_changed_input_with_the_same_content_stops_the_ripple() {
    let (old, new) = (support::inventory(&["a", "b"], 100), support::inventory(&["a", "z"], 100));
    let (mut before, mut after) = (Seals::new(), Seals::new());
    assert_ne!(keys(ids::DOCUMENTS, &old, &before)[1], keys(ids::DOCUMENTS, &new, &after)[1]);
    seal(ids::DOCUMENTS, &old, &mut before, same, |_| true);
    seal(ids::DOCUMENTS, &new, &mut after, same, |_| true);
    assert_eq!(before[&ids::DOCUMENTS].root, after[&ids::DOCUMENTS].root, "roots hold no keys");
    assert_eq!(keys(ids::SENTENCES, &old, &before), keys(ids::SENTENCES, &new, &after));
    assert_eq!(made_from(find(ids::SENTENCES), &before), made_from(find(ids::SENTENCES), &after));

    // Other content of one shard reaches that shard's readers alone.
    let other = |n: u32| if n == 1 { Some("other".into()) } else { same(n) };
    seal(ids::DOCUMENTS, &new, &mut after, other, |_| true);
    let (old_keys, new_keys) = (keys(ids::SENTENCES, &old, &before), keys(ids::SENTENCES, &new, &after));
    assert_eq!(old_keys[0], new_keys[0]);
    assert_ne!(old_keys[1], new_keys[1]);
}

#[test]
fn a_partition_is_known_by_its_own_content() {
    let inventory = support::inventory(&["a", "b"], 100);
    let mut seals = Seals::new();
    seal(ids::DOCUMENTS, &inventory, &mut seals, same, |_| true);
    seal(ids::SENTENCES, &inventory, &mut seals, same, |_| true);
    seal(ids::SENTENCES_BY_ID, &inventory, &mut seals, same, |p| p != 3);
    let before = keys(ids::UNIQUE, &inventory, &seals);
    assert_eq!(before.len(), 4);
    // The group's content is another, but partition 3 stays empty.
    seal(ids::SENTENCES_BY_ID, &inventory, &mut seals, |_| Some("other".into()), |p| p != 3);
    let after = keys(ids::UNIQUE, &inventory, &seals);
    assert!((0..3).all(|p| before[p] != after[p]));
    assert_eq!(before[3], after[3]);
    // Two empty partitions are still two shards.
    seal(ids::SENTENCES_BY_ID, &inventory, &mut seals, same, |_| false);
    let empty = keys(ids::UNIQUE, &inventory, &seals);
    assert_ne!(empty[0], empty[1]);
}

#[test]
fn a_group_that_is_cut_otherwise_or_starts_elsewhere_has_another_key() {
    let sealed = |inventory: &Inventory| {
        let mut seals = Seals::new();
        seal(ids::DOCUMENTS, inventory, &mut seals, |_| Some("equal".into()), |_| true);
        seal(ids::SENTENCES, inventory, &mut seals, |_| Some("equal".into()), |_| true);
        seals
    };
    // More bytes of source make more ranges; the shards' content is the same.
    let (small, large) = (support::inventory(&["a"], 1), support::inventory(&["a"], 40 << 20));
    assert_eq!((small.ranges(), large.ranges()), (4, 16));
    let group = |inventory| keys(ids::SENTENCES_BY_ID, inventory, &sealed(inventory));
    assert_ne!(group(&small), group(&large), "rows cut into 4 ranges would be read as if cut into 16");

    // Two groups of equal content, number 1 in both layouts, that begin at another home shard.
    let inventory = support::inventory(&["a", "b", "c", "d", "e", "f"], 1);
    let mut seals = sealed(&inventory);
    let spec = |seals: &Seals| layout(find(ids::SENTENCES_BY_ID), &inventory, seals).unwrap()[1].clone();
    let before = spec(&seals);
    assert_eq!(before.group, 3..6);
    let shards = &mut seals.get_mut(&ids::SENTENCES).unwrap().shards;
    shards[2].bytes = 1;
    shards.push(shards[5].clone());
    let after = spec(&seals);
    assert_eq!(after.group, 4..7);
    assert_ne!(before.key, after.key, "rows would tell the home shards of another layout");
}

#[test]
fn cells_are_counted_by_the_seal_of_their_training() {
    let inventory = support::inventory(&["a"], 1);
    let cut = Cut::Counted(ids::SENTENCE_TRAIN, "cells");
    assert_eq!(realsyn_plan::layout::pieces(cut, &inventory, &Seals::new()), None);
    assert_eq!(layout(find(ids::SENTENCE_PAIRS), &inventory, &Seals::new()), None);
    assert_eq!(layout(find(ids::SENTENCES), &inventory, &Seals::new()), None);
    assert_eq!(made_from(find(ids::SENTENCES), &Seals::new()), None);
}

/// What a judge sees of `n` source shards, of which these are committed.
struct Bench {
    specs: Vec<ShardSpec>,
    commits: BTreeMap<Digest, Generations<(Commit, Digest)>>,
    made_from: BTreeMap<String, Digest>,
}

impl Bench {
    fn new(n: usize, rejected: usize) -> Self {
        let inventory = support::inventory(&vec!["v"; n], 1);
        let specs = layout(find(ids::DOCUMENTS), &inventory, &Seals::new()).unwrap();
        let mut commits: BTreeMap<Digest, Generations<(Commit, Digest)>> = BTreeMap::new();
        for spec in &specs {
            let content = (spec.number as usize >= rejected).then(|| "c".to_owned());
            let commit = committed(ids::DOCUMENTS, spec, content);
            commits.entry(spec.key).or_default().records.insert(0, commit);
        }
        Self { specs, commits, made_from: BTreeMap::new() }
    }

    fn judge(&self, share: f64) -> Verdict {
        let question = self.question(share);
        match complete(&question, |key| self.commits.get(key)) {
            Ok(commits) => judge_complete(&question, 0, &commits, PartitionTotals::default()),
            Err(missing) => Verdict::Run(missing),
        }
    }

    fn question(&self, share: f64) -> Question<'_> {
        Question {
            step: ids::DOCUMENTS,
            digests: NO_DIGESTS,
            specs: &self.specs,
            made_from: &self.made_from,
            max_rejected_share: share,
        }
    }
}

#[test]
fn one_shard_may_always_be_rejected_and_more_by_their_share() {
    assert!(matches!(Bench::new(10, 1).judge(0.001), Verdict::Seal(_)));
    let Verdict::TooManyRejected { rejected, allowed } = Bench::new(10, 2).judge(0.001) else {
        panic!("two of ten are too many")
    };
    assert_eq!((rejected["broken"], allowed), (2, 1));
    let Verdict::Seal(seal) = Bench::new(10, 2).judge(0.2) else { panic!("two of ten are allowed") };
    assert_eq!(seal.rejected["broken"], 2);
    assert_eq!(seal.shards.len(), 10);
    // A step that lost its only shard has no result to go on with.
    let Verdict::TooManyRejected { allowed, .. } = Bench::new(1, 1).judge(1.0) else { panic!("nothing is left") };
    assert_eq!(allowed, 0);
}

#[test]
fn a_void_commit_runs_again_as_the_next_generation() {
    let mut bench = Bench::new(3, 0);
    let key = bench.specs[1].key;
    let generations = bench.commits.get_mut(&key).unwrap();
    generations.void.extend([0, 1]);
    let Verdict::Run(missing) = bench.judge(0.0) else { panic!("a shard is missing") };
    assert_eq!(missing.len(), 1);
    assert_eq!((missing[0].spec.number, missing[0].generation), (1, 2));
    // A late writer's record under a void generation counts for nothing.
    let late = bench.commits[&key].records[&0].clone();
    bench.commits.get_mut(&key).unwrap().records.insert(1, late);
    assert!(matches!(bench.judge(0.0), Verdict::Run(m) if m.len() == 1));
}

#[test]
fn a_seal_counts_while_what_it_was_made_from_does() {
    let mut bench = Bench::new(2, 0);
    let Verdict::Seal(seal) = bench.judge(0.0) else { panic!("all is committed") };
    let mut seals = Generations::default();
    assert!(judge_seal(&bench.question(0.0), &seals).is_none());
    seals.records.insert(0, *seal);
    assert!(matches!(judge_seal(&bench.question(0.0), &seals), Some(Verdict::Sealed(_))));
    bench.made_from.insert("upstream".into(), Digest([9; 32]));
    assert!(matches!(judge_seal(&bench.question(0.0), &seals), Some(Verdict::VoidSeal(0))));
    seals.void.insert(0);
    assert!(judge_seal(&bench.question(0.0), &seals).is_none());
    assert_eq!(seals.generation(), 1);
}

#[test]
fn names_of_commits_are_read_back_and_others_are_not() {
    let (step, recipe, key) = (ids::DOCUMENTS, Digest([3; 32]), Digest([4; 32]));
    let file = |name: String| name.rsplit_once('/').unwrap().1.to_owned();
    assert_eq!(parse_commit_name(&file(commit_name(step, &recipe, &key, 7))), Some(Named::Commit(key, 7)));
    assert_eq!(parse_commit_name(&file(commit_void_name(step, &recipe, &key, 0))), Some(Named::Void(key, 0)));
    for other in ["", "x.g0.void", "notes.txt"] {
        assert_eq!(parse_commit_name(other), None, "{other}");
    }
    for kind in ["gx.void", "g-1.void", "g0.commit", "attempt.rows.parquet", "g4294967296.void"] {
        assert_eq!(parse_commit_name(&format!("{key}.{kind}")), None, "{kind}");
    }
}

#[test]
fn what_gpus_cost_is_summed_beside_the_root_and_old_records_are_read() {
    let commit = |number: u32, gpus: &[(&str, u64)]| {
        let spent = |millis: u64| Spent { gpu_millis: millis, shards: 1, records: 10 };
        let commit = Commit {
            step: ids::CAPTION.to_string(),
            recipe: NO_DIGESTS.1,
            key: Digest([number as u8; 32]),
            number,
            generation: 0,
            attempt: "a".into(),
            outcome: Outcome::Data(Data::default()),
            effort: Effort {
                millis: 5,
                gpus: gpus.iter().map(|(product, millis)| ((*product).to_owned(), spent(*millis))).collect(),
                ..Effort::default()
            },
        };
        let hash = commit.encode().1;
        (commit, hash)
    };
    let seal = |commits: &[(Commit, Digest)]| {
        Seal::new(ids::CAPTION, NO_DIGESTS, 0, BTreeMap::new(), commits, PartitionTotals::default())
    };
    let without = seal(&[commit(0, &[]), commit(1, &[]), commit(2, &[])]);
    let with = seal(&[commit(0, &[("L4", 1500)]), commit(1, &[("L4", 700)]), commit(2, &[("A100-SXM4-80GB", 900)])]);
    assert_eq!(with.root, without.root, "what it cost is no part of what it is");
    assert_eq!((with.effort.gpu_seconds(), without.effort.gpu_seconds()), (3, 0));
    assert_eq!(with.effort.gpus["L4"], Spent { gpu_millis: 2200, shards: 2, records: 20 });
    // Without GPUs a record has the bytes that it always had, and so an old one is read.
    let (bytes, _) = without.encode();
    assert!(!String::from_utf8(bytes.clone()).unwrap().contains("gpu"));
    assert_eq!(serde_json::from_slice::<Seal>(&bytes).unwrap(), without);
    assert_eq!(serde_json::from_slice::<Seal>(&with.encode().0).unwrap(), with);
}
