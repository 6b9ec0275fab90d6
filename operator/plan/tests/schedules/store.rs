//! A store that actors share, one operation at a time.
//!
//! Actors are futures; each operation first gives the turn back, so the scheduler decides who goes next, and dropping a
//! future is a crash between two operations.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use realsyn_plan::judge::Missing;
use realsyn_plan::layout::Seals;
use realsyn_plan::records::{Commit, Seal};
use realsyn_plan::{Digest, Step, StepId};

use crate::support::Rng;

/// A shard to run, with the view under which it was found missing.
pub struct Task {
    pub step: &'static Step,
    pub missing: Missing,
    pub view: Rc<Seals>,
    pub asleep: bool,
}

/// Names and bytes, and what the invariants are checked by.
pub struct World {
    pub objects: BTreeMap<String, Rc<[u8]>>,
    pub rng: Rng,
    pub faults: bool,
    /// Counts writes, so that who waits knows when to look again.
    pub writes: u64,
    /// Shards that a worker is believed to work on.
    pub running: BTreeMap<(StepId, Digest, u32), u32>,
    pub spawned: Vec<Task>,
    pub attempts: u64,
    pub launched: BTreeMap<(StepId, u32), u32>,
    pub events: Events,
    /// What was read under the name of a record; it may never differ.
    seen: HashMap<String, Rc<[u8]>>,
    /// Records by name, parsed once: names are never re-used.
    commits: HashMap<String, Rc<(Commit, Digest)>>,
    seals: HashMap<String, Rc<Seal>>,
}

/// How often each fault really happened, over all schedules.
#[derive(Clone, Copy, Debug, Default)]
pub struct Events {
    pub crashes: u64,
    pub lost_responses: u64,
    pub lost_requests: u64,
    pub lost_races: u64,
    pub heals: u64,
    pub forgets: u64,
    pub voided_seals: u64,
    pub late_workers: u64,
    pub duplicates: u64,
}

impl Events {
    pub fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.lost_responses += other.lost_responses;
        self.lost_requests += other.lost_requests;
        self.lost_races += other.lost_races;
        self.heals += other.heals;
        self.forgets += other.forgets;
        self.voided_seals += other.voided_seals;
        self.late_workers += other.late_workers;
        self.duplicates += other.duplicates;
    }
}

pub enum Settled {
    Ours,
    Theirs,
}

/// The actors' handle.
#[derive(Clone)]
pub struct Sim(pub Rc<RefCell<World>>);

impl Sim {
    pub fn new(seed: u64, objects: BTreeMap<String, Rc<[u8]>>) -> Self {
        Self(Rc::new(RefCell::new(World {
            objects,
            rng: Rng(seed),
            faults: false,
            writes: 0,
            running: BTreeMap::new(),
            spawned: Vec::new(),
            attempts: 0,
            launched: BTreeMap::new(),
            events: Events::default(),
            seen: HashMap::new(),
            commits: HashMap::new(),
            seals: HashMap::new(),
        })))
    }

    /// Gives the turn back once.
    pub async fn turn(&self) {
        let mut given = false;
        poll_fn(|_| if std::mem::replace(&mut given, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    pub async fn list(&self, prefix: &str) -> Vec<String> {
        self.turn().await;
        let world = self.0.borrow();
        let from_here = world.objects.range(prefix.to_owned()..).map(|(name, _)| name);
        from_here.take_while(|name| name.starts_with(prefix)).cloned().collect()
    }

    pub async fn get(&self, name: &str) -> Option<Rc<[u8]>> {
        self.turn().await;
        let mut world = self.0.borrow_mut();
        let bytes = world.objects.get(name).cloned()?;
        if name.ends_with(".json") {
            let before = world.seen.entry(name.to_owned()).or_insert_with(|| bytes.clone());
            assert!(Rc::ptr_eq(before, &bytes) || **before == *bytes, "two contents were read under {name}");
        }
        Some(bytes)
    }

    /// A commit record and its hash.
    pub async fn get_commit(&self, name: &str) -> Option<Rc<(Commit, Digest)>> {
        let bytes = self.get(name).await?;
        let mut world = self.0.borrow_mut();
        let parse = || Rc::new((serde_json::from_slice(&bytes).expect("a commit"), Digest::of_bytes(&bytes)));
        Some(world.commits.entry(name.to_owned()).or_insert_with(parse).clone())
    }

    pub async fn get_seal(&self, name: &str) -> Option<Rc<Seal>> {
        let bytes = self.get(name).await?;
        let mut world = self.0.borrow_mut();
        let parse = || Rc::new(serde_json::from_slice(&bytes).expect("a seal"));
        Some(world.seals.entry(name.to_owned()).or_insert_with(parse).clone())
    }

    /// Writes an object of an attempt; its name must be new.
    pub async fn put(&self, name: &str, bytes: &[u8]) {
        self.turn().await;
        let mut world = self.0.borrow_mut();
        let before = world.objects.insert(name.to_owned(), bytes.into());
        assert!(before.is_none(), "{name} was written twice");
        world.writes += 1;
    }

    /// Removes an object of an attempt. Records stay for good.
    pub async fn delete(&self, name: &str, attempt: &str) {
        self.turn().await;
        assert!(name.contains(&format!(".{attempt}.")), "{attempt} removes {name}, which is not its own");
        self.0.borrow_mut().objects.remove(name);
    }

    /// A conditional put that reads back what it cannot know. Requests and responses may be lost.
    pub async fn put_new_settled(&self, name: &str, bytes: &[u8]) -> Settled {
        loop {
            self.turn().await;
            let known = {
                let mut world = self.0.borrow_mut();
                if world.faults && world.rng.chance(40) {
                    world.events.lost_requests += 1;
                    false
                } else {
                    let free = !world.objects.contains_key(name);
                    if free {
                        world.objects.insert(name.to_owned(), bytes.into());
                        world.writes += 1;
                    }
                    let lost = world.faults && world.rng.chance(40);
                    world.events.lost_responses += u64::from(lost);
                    free && !lost
                }
            };
            if known {
                return Settled::Ours;
            }
            match self.get(name).await {
                Some(found) if *found == *bytes => return Settled::Ours,
                Some(_) => return Settled::Theirs,
                None => {}
            }
        }
    }
}
