//! Who works below one root: builds that share it, and collectors.

use std::sync::Arc;

use realsyn_plan::graph::{find, ids};
use realsyn_plan::judge::{Missing, Verdict};
use realsyn_plan::layout::{Inventory, Seals, SourceFile, SourceShard};
use realsyn_plan::recipe::Recipes;
use realsyn_plan::records::{Commit, Data, Effort, Object, Outcome, object_name, task_list_name};
use realsyn_plan::{Digest, StepId};

use super::world::World;
use crate::protocol::{Ledger, LedgerError, Reference, StepState};

/// A build: its reference, and the source that it reads.
pub struct Plan {
    pub uid: String,
    pub reference: Reference,
    pub inventory: Inventory,
}

impl Plan {
    /// A build over these source files; `sentences` is the recipe of its second stage.
    pub fn new(uid: &str, files: &[&str], sentences: u8) -> Self {
        let file = |v: &&str| SourceFile { name: v.to_string(), bytes: 10, version: "1".into() };
        let inventory = Inventory::new(files.iter().map(|v| SourceShard::whole(vec![file(v)])).collect());
        let stage = |recipe: u8| {
            let digest = Digest::builder("stage").number(recipe.into()).digest(&inventory.root()).finish();
            serde_json::json!([{ "fields": {}, "digest": Digest([recipe; 32]) }, digest])
        };
        let stages = serde_json::json!({ "stages": { "documents": stage(1), "sentences": stage(sentences) } });
        let recipes: Recipes = serde_json::from_value(stages).unwrap();
        let (kind, owner, inventory_root) = ("RealSynBuild".to_owned(), uid.to_owned(), inventory.root());
        let reference = Reference { kind, owner, inventory_root, recipes, history: 2, gone: false };
        Self { uid: uid.to_owned(), reference, inventory }
    }
}

/// Writes its reference, then brings both steps to their seals and reads them whole, as a worker and an `advance` do.
pub fn build(ledger: &Ledger, world: &World, plan: &Plan, run: &str) -> Result<(), LedgerError> {
    ledger.refer(&plan.uid, &plan.reference)?;
    let epoch = world.state().epoch(&plan.uid);
    for walk in 0..40 {
        if walked(ledger, world, plan, epoch, &format!("{run}x{walk}"))? {
            return Ok(());
        }
    }
    panic!("stuck: {} finds something gone again and again", plan.uid)
}

/// False if something was gone, and has to be made again.
fn walked(ledger: &Ledger, world: &World, plan: &Plan, epoch: Option<u64>, attempt: &str) -> Result<bool, LedgerError> {
    let mut seals = Seals::new();
    for step in [ids::DOCUMENTS, ids::SENTENCES] {
        let seal = loop {
            let digests = plan.reference.recipes.digests(step);
            let state = StepState {
                step: find(step),
                digests,
                inventory: &plan.inventory,
                seals: &seals,
                max_rejected_share: 0.0,
            };
            match ledger.advance(&state)?.expect("what it reads is sealed") {
                Verdict::Sealed(seal) => break seal,
                Verdict::Run(missing) => {
                    let list =
                        serde_json::to_vec(&missing.iter().map(|m| [m.spec.number]).collect::<Vec<_>>()).unwrap();
                    ledger.store().put(&task_list_name(step, &Digest::of_bytes(&list)), &list)?;
                    for missing in missing {
                        shard(ledger, step, digests.1, &missing, attempt)?;
                    }
                }
                other => panic!("{other:?}"),
            }
        };
        world.state().relies(&plan.uid, epoch, step, &seal);
        seals.insert(step, *seal);
    }
    for (step, seal) in &seals {
        for shard in &seal.shards {
            let read = ledger.sealed_commit(*step, &seal.recipe, shard).map(Some).or_else(|error| match error {
                LedgerError::Gone { .. } => Ok(None),
                other => Err(other),
            })?;
            let mut whole = read.is_some();
            for object in read.iter().flat_map(Commit::data).flat_map(|d| &d.objects) {
                match ledger.store().get(&object.name)? {
                    Some(bytes) => assert_eq!(Digest::of_bytes(&bytes), object.hash, "{} changed", object.name),
                    None => whole = false,
                }
            }
            if !whole {
                {
                    let state = world.state();
                    let named = epoch.is_some() && state.epoch(&plan.uid) == epoch;
                    assert!(!named || state.events.lost_objects > 0, "{step} {}: a named object is gone", shard.number);
                }
                ledger.forget(*step, seal, shard.number, "gone")?;
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn shard(ledger: &Ledger, step: StepId, recipe: Digest, missing: &Missing, attempt: &str) -> Result<(), LedgerError> {
    let key = missing.spec.key;
    let attempt = &format!("{attempt}x{}", missing.generation);
    // The first step is recorded: another attempt, another content, but of two kinds only, so that what was made
    // before may come again. The second follows from its input.
    let content = match step {
        ids::DOCUMENTS => format!("{key} {}", Digest::of_bytes(attempt.as_bytes()).0[0] % 2),
        _ => key.to_string(),
    };
    let name = object_name(step, &recipe, &key, attempt, "rows", "txt");
    ledger.store().put(&name, content.as_bytes())?;
    let (bytes, hash) = (content.len() as u64, Digest::of_bytes(content.as_bytes()));
    let object = Object { role: "rows".into(), name, bytes, hash, rows: 1, partitions: None };
    let commit = Commit {
        step: step.to_string(),
        recipe,
        key,
        number: missing.spec.number,
        generation: missing.generation,
        attempt: attempt.to_owned(),
        outcome: Outcome::Data(Data { objects: vec![object], ..Data::default() }),
        effort: Effort::default(),
    };
    ledger.commit(step, &commit).map(drop)
}

/// The builds of the schedules: two share a recipe and some shards, two a whole stage; one shares nothing.
pub fn plans() -> [Arc<Plan>; 4] {
    [
        Arc::new(Plan::new("one", &["a", "b"], 2)),
        Arc::new(Plan::new("two", &["a", "b", "c"], 2)),
        Arc::new(Plan::new("three", &["a", "b"], 3)),
        Arc::new(Plan::new("four", &["z"], 4)),
    ]
}
