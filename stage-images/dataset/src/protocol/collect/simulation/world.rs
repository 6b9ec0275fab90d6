//! A store in memory that actors share one request at a time, and what must hold at each request.
//!
//! An actor is a thread that runs the real ledger. Before each request it waits for its turn, so a seed decides every
//! interleaving; a crash is a request that fails, and all after it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard};

use realsyn_plan::records::{Commit, Seal, commit_folder, commit_name, half, removed_name, seal_name, seal_void_name};
use realsyn_plan::{Digest, StepId};

use crate::store::{Entry, Failure, PutNew, Store, StoreError};

/// SplitMix64.
#[derive(Debug)]
pub struct Rng(pub u64);

impl Rng {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    /// True in `parts` of 1,000 cases.
    pub fn chance(&mut self, parts: usize) -> bool {
        self.below(1000) < parts
    }
}

/// What a reference that counts keeps: a seal and all that it names.
#[derive(Debug)]
struct InUse {
    seal_void: String,
    names: BTreeSet<String>,
}

/// How often something happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Events {
    pub crashes: u64,
    pub lost_objects: u64,
    pub lost_responses: u64,
    pub removed_commits: u64,
    pub kept: u64,
    pub deleted: u64,
    pub given_up: u64,
    pub shared: u64,
}

#[derive(Debug, Default)]
pub struct State {
    pub objects: BTreeMap<String, Vec<u8>>,
    /// By owner.
    in_use: BTreeMap<String, Vec<InUse>>,
    /// How often each owner's reference was given up.
    epochs: BTreeMap<String, u64>,
    /// The root under each stage digest, since it was last removed.
    roots: BTreeMap<Digest, Digest>,
    pub events: Events,
}

/// The store and its books.
#[derive(Debug, Default)]
pub struct World(Mutex<State>);

impl World {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    /// The epoch of an owner whose reference counts now; `None` if it was given up.
    pub fn epoch(&self, uid: &str) -> Option<u64> {
        let prefix = format!("_refs/{uid}/");
        let generation = |name: &String| name[prefix.len()..].trim_end_matches(".json").parse::<u32>().unwrap();
        let refs = self.objects.iter().filter(|(name, _)| name.starts_with(&prefix));
        let (_, last) = refs.max_by_key(|(name, _)| generation(name))?;
        (!is_gone(last)).then(|| self.epochs.get(uid).copied().unwrap_or(0))
    }

    /// An owner relies on a seal. Under one digest there is one content, unless objects were lost.
    pub fn relies(&mut self, uid: &str, epoch: Option<u64>, step: StepId, seal: &Seal) {
        if epoch.is_none() || self.epoch(uid) != epoch {
            return;
        }
        if self.events.lost_objects == 0 {
            let root = *self.roots.entry(seal.stage_digest).or_insert(seal.root);
            assert_eq!(root, seal.root, "two contents under {step} {}", seal.stage_digest);
        }
        let mut names = BTreeSet::from([seal_name(step, &seal.stage_digest, seal.generation)]);
        for shard in &seal.shards {
            let commit = commit_name(step, &seal.recipe, &shard.key, shard.generation);
            // Where it is not there it was removed while it was named: the reader will say so.
            if let Some(bytes) = self.objects.get(&commit) {
                let commit: Commit = serde_json::from_slice(bytes).unwrap();
                names.extend(commit.data().unwrap().objects.iter().map(|o| o.name.clone()));
            }
            names.insert(removed_name(&commit_folder(step, &seal.recipe), &half(&shard.key), shard.generation));
            names.insert(commit);
        }
        let seal_void = seal_void_name(step, &seal.stage_digest, seal.generation);
        let others = self.in_use.iter().filter(|(other, _)| *other != uid);
        self.events.shared += u64::from(others.flat_map(|(_, u)| u).any(|u| u.names.iter().any(|n| names.contains(n))));
        let list = self.in_use.entry(uid.to_owned()).or_default();
        list.retain(|u| u.seal_void != seal_void);
        list.push(InUse { seal_void, names });
    }

    /// What must hold when a name is removed, or written as a void.
    fn check(&mut self, name: &str, body: Option<&[u8]>) {
        let cleaning = body.is_some_and(|b| String::from_utf8_lossy(b).contains("clean-up"));
        for (uid, seals) in &self.in_use {
            for used in seals.iter().filter(|u| !self.objects.contains_key(&u.seal_void)) {
                let hit = used.names.contains(name) || cleaning && used.seal_void == name;
                assert!(!hit, "{name} is removed, and the reference of {uid} names it");
            }
        }
        if cleaning
            && let Some((_, file)) = name.rsplit_once('/')
            && let Some((digest, _)) = file.split_once(".g")
            && let Ok(digest) = digest.parse()
        {
            self.roots.remove(&digest);
        }
    }

    fn put_new(&mut self, name: &str, bytes: &[u8]) -> bool {
        if self.objects.contains_key(name) {
            return false;
        }
        if name.ends_with("void") || name.ends_with(".removed") {
            self.check(name, Some(bytes));
        }
        if let Some((uid, _)) = name.strip_prefix("_refs/").and_then(|n| n.split_once('/'))
            && is_gone(bytes)
        {
            self.in_use.remove(uid);
            *self.epochs.entry(uid.to_owned()).or_default() += 1;
            self.events.given_up += 1;
        }
        if name.ends_with(".verdict.json") {
            let is_keep = String::from_utf8_lossy(bytes).contains("\"keep\"");
            *(if is_keep { &mut self.events.kept } else { &mut self.events.deleted }) += 1;
        }
        self.objects.insert(name.to_owned(), bytes.to_vec());
        true
    }
}

fn is_gone(reference: &[u8]) -> bool {
    String::from_utf8_lossy(reference).contains("\"gone\":true")
}

/// What the scheduler lets an actor's request do.
#[derive(Clone, Copy, Debug)]
pub enum Turn {
    Run,
    /// A conditional put is carried out or not, and its answer is lost.
    LoseAnswer(bool),
    /// The actor dies, with its request carried out or not.
    Die(bool),
}

/// What an actor tells the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Waits,
    Ended,
}

/// One actor's way to the store; without a gate nobody makes it wait.
#[derive(Debug)]
pub struct Gate {
    pub world: Arc<World>,
    pub gate: Option<(Sender<Said>, Mutex<Receiver<Turn>>)>,
    pub dead: AtomicBool,
}

impl Gate {
    fn request<T>(&self, answer: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        self.request_or(answer, None::<fn() -> T>)
    }

    fn request_or<T>(
        &self,
        answer: impl FnOnce(&mut State) -> T,
        lost: Option<impl FnOnce() -> T>,
    ) -> Result<T, StoreError> {
        let died = || StoreError::Unavailable(Failure::new("any", "the store", "this actor is dead"));
        if self.dead.load(Ordering::Relaxed) {
            return Err(died());
        }
        let turn = match &self.gate {
            None => Turn::Run,
            Some((said, turns)) => {
                said.send(Said::Waits).expect("the scheduler lives as long as its actors");
                turns.lock().unwrap().recv().unwrap_or(Turn::Die(false))
            }
        };
        let state = &mut *self.world.state();
        match (turn, lost) {
            (Turn::Die(carried_out), _) => {
                self.dead.store(true, Ordering::Relaxed);
                state.events.crashes += 1;
                if carried_out {
                    answer(state);
                }
                Err(died())
            }
            (Turn::LoseAnswer(carried_out), Some(lost)) => {
                state.events.lost_responses += 1;
                if carried_out {
                    answer(state);
                }
                Ok(lost())
            }
            _ => Ok(answer(state)),
        }
    }
}

impl Store for Gate {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.request(|state| _ = state.objects.insert(name.to_owned(), bytes.to_vec()))
    }

    fn put_file(&self, _: &str, _: &Path) -> Result<u64, StoreError> {
        unimplemented!("the ledger puts no files")
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<PutNew, StoreError> {
        let put = |state: &mut State| if state.put_new(name, bytes) { PutNew::Created } else { PutNew::Exists };
        self.request_or(put, Some(|| PutNew::Unknown))
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.request(|state| state.objects.get(name).cloned())
    }

    fn get_range(&self, _: &str, _: Range<u64>) -> Result<Vec<u8>, StoreError> {
        unimplemented!("the ledger reads no ranges")
    }

    fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.request(|state| state.objects.get(name).map(|bytes| bytes.len() as u64))
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<(), StoreError> {
        let listed = |state: &mut State| -> Vec<Entry> {
            let found = state.objects.iter().filter(|(name, _)| name.starts_with(prefix));
            found.map(|(name, b)| Entry { name: name.clone(), size: b.len() as u64, version: None }).collect()
        };
        // Most steps of the graph have nothing here: looking there needs no turn.
        let busy = ["_", "documents/", "sentences/"].iter().any(|busy| prefix.starts_with(busy));
        let found = if busy { self.request(listed)? } else { listed(&mut self.world.state()) };
        let _ = found.into_iter().try_for_each(visit);
        Ok(())
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.request(|state| {
            state.check(name, None);
            if state.objects.remove(name).is_some() {
                state.events.removed_commits += u64::from(name.ends_with(".commit.json"));
            }
        })
    }

    fn copy(&self, _: &str, _: &str) -> Result<(), StoreError> {
        unimplemented!("the ledger copies nothing")
    }

    fn describe(&self) -> String {
        "memory".into()
    }
}
