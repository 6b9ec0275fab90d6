//! What a shuffle costs those who seal it and those who read it, by its number of partitions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use realsyn_dataset::protocol::{Ledger, StepState};
use realsyn_dataset::store::{DirectoryStore, Store};
use realsyn_plan::graph::{find, ids};
use realsyn_plan::judge::Verdict;
use realsyn_plan::layout::{Inventory, Seals, SourceFile, SourceShard, partitions};
use realsyn_plan::recipe::Recipes;
use realsyn_plan::records::{Commit, Data, Effort, Object, Outcome, PartitionTotal, Seal, commit_name, object_name};
use realsyn_plan::shuffle::{ENTRY, Extent, PartitionTotals, index};
use realsyn_plan::{Digest, Id};

/// Bytes that each writer has for each partition.
const FILE: usize = 100;

struct Cost {
    /// From the last commit to the seal.
    sealed_in: Duration,
    seal_bytes: u64,
    /// All records of the step.
    record_bytes: u64,
    /// What a reader of one partition asks for: requests and bytes beside its rows, and how long that and the rows take.
    requests: usize,
    overhead: u64,
    read_in: Duration,
}

/// Images on their way home, from so many writers to so many home shards. Each writer has something for every shard.
fn cost(writers: u32, home_shards: u32) -> Cost {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(DirectoryStore::create(folder.path()).unwrap());
    let ledger = Ledger::new(store.clone());
    let source = |n| SourceFile { name: format!("part-{n}"), bytes: 4 << 20, version: "1".into() };
    let inventory = Inventory::new((0..home_shards).map(|n| SourceShard::whole(vec![source(n)])).collect());
    let recipe = serde_json::json!([{ "fields": {}, "digest": "1".repeat(64) }, "2".repeat(64)]);
    let recipes: Recipes =
        serde_json::from_value(serde_json::json!({ "stages": { "image-dedup-perceptual": recipe } })).unwrap();

    // The partitions before it fill as many runs as there are to be writers.
    let step = find(ids::IMAGES_EXACT);
    let digests = recipes.digests(step.id);
    let range = |n: u32| {
        let last_of_a_writer = (n + 1).is_multiple_of(inventory.ranges() / writers);
        PartitionTotal { hash: Digest([7; 32]), bytes: if last_of_a_writer { 64 << 20 } else { 0 }, rows: 1 }
    };
    let ranges = PartitionTotals(BTreeMap::from([("images".into(), (0..inventory.ranges()).map(range).collect())]));
    let before = Seal::new(ids::IMAGES_BY_ID, digests, 0, BTreeMap::new(), &[], ranges);
    let seals = Seals::from([(ids::IMAGES_BY_ID, before)]);
    let state = StepState { step, digests, inventory: &inventory, seals: &seals, max_rejected_share: 0.0 };
    let Some(Verdict::Run(missing)) = ledger.advance(&state).unwrap() else { panic!("nothing to run") };
    assert_eq!(missing.len() as u32, writers);

    let mut record_bytes = 0;
    for missing in &missing {
        let (key, number) = (missing.spec.key, missing.spec.number);
        let of_role = |role: &str, partitions: u32| {
            let seed = Id::of_document(Some(&format!("{role} {number}")), "", 0).to_string();
            let file: Vec<u8> = seed.bytes().cycle().take(FILE).collect();
            let hash = Digest::of_bytes(&file);
            let extent = |n: u32| Extent { offset: u64::from(n) * FILE as u64, bytes: FILE as u64, rows: 1, hash };
            let extents: BTreeMap<u32, Extent> = (0..partitions).map(|n| (n, extent(n))).collect();
            let bytes = [file.repeat(partitions as usize), index(&extents)].concat();
            let name = object_name(step.id, &digests.1, &key, "a", role, "parts");
            store.put(&name, &bytes).unwrap();
            let (role, size, hash) = (role.into(), bytes.len() as u64, Digest::of_bytes(&bytes));
            Object { role, name, bytes: size, hash, rows: partitions.into(), partitions: Some(partitions) }
        };
        let cut = partitions(step, &inventory, &seals).unwrap();
        let objects = cut.iter().map(|(role, n)| of_role(role, *n)).collect();
        let commit = Commit {
            step: step.id.to_string(),
            recipe: digests.1,
            key,
            number,
            generation: 0,
            attempt: "a".into(),
            outcome: Outcome::Data(Data { objects, ..Data::default() }),
            effort: Effort::default(),
        };
        ledger.commit(step.id, &commit).unwrap();
        record_bytes += store.size(&commit_name(step.id, &digests.1, &key, 0)).unwrap().unwrap();
    }
    let start = Instant::now();
    let Some(Verdict::Sealed(seal)) = ledger.advance(&state).unwrap() else { panic!("everything is committed") };
    let sealed_in = start.elapsed();

    let (mut overhead, mut requests, mut rows) = (0, 0, 0);
    let (start, own) = (Instant::now(), home_shards / 2);
    for shard in &seal.shards {
        let commit = ledger.sealed_commit(step.id, &digests.1, shard).unwrap();
        let object = commit.data().unwrap().objects.iter().find(|o| o.role == "home").unwrap();
        let read = ledger.partitions(step.id, shard.number, object, own..own + 1).unwrap();
        let bytes = read.files.iter().map(|file| file.len() as u64).sum::<u64>();
        assert_eq!(bytes, FILE as u64);
        (overhead, requests, rows) = (overhead + read.bytes_read - bytes, requests + 3, rows + 1);
    }
    let read_in = start.elapsed();
    let total = &seal.partitions["home"][own as usize];
    assert_eq!((total.rows, total.bytes), (rows, rows * FILE as u64));
    let seal_bytes = seal.encode().0.len() as u64;
    Cost { sealed_in, seal_bytes, record_bytes, requests, overhead: overhead + record_bytes, read_in }
}

#[test]
fn what_a_reader_asks_for_does_not_grow_with_the_partitions() {
    let (few, many) = (cost(2, 40), cost(2, 4_000));
    assert_eq!((few.requests, many.requests), (6, 6));
    assert_eq!(many.overhead - many.record_bytes, 2 * ENTRY as u64);
    // Records differ by the digits of their numbers: bytes, rows and partitions of two objects each.
    assert!(
        many.record_bytes.abs_diff(few.record_bytes) <= 2 * 2 * 3 * 3,
        "{} {}",
        few.record_bytes,
        many.record_bytes
    );
}

#[test]
#[ignore = "a bench: `make bench-shuffle`"]
fn cost_by_partitions() {
    println!(
        "writers, home shards | sealed in | seal | records | a task's requests | a task reads beside its rows | in"
    );
    for (writers, home_shards) in [(4, 1_000), (16, 10_000), (64, 77_000)] {
        let c = cost(writers, home_shards);
        println!(
            "{writers}, {home_shards} | {:.2} s | {:.1} MB | {:.1} kB | {} | {:.1} kB | {:.1} ms",
            c.sealed_in.as_secs_f64(),
            c.seal_bytes as f64 / 1e6,
            c.record_bytes as f64 / 1e3,
            c.requests,
            c.overhead as f64 / 1e3,
            c.read_in.as_secs_f64() * 1e3
        );
    }
}
