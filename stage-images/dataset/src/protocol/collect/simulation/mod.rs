//! Seeded schedules of builds, collectors, deletions, crashes, late writers and losses over the real ledger: nothing
//! that a reference names is removed, a digest has one content, nobody is stuck, and in the end nothing is left over.

mod actors;
mod world;

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use realsyn_plan::records::TOMBSTONES;

use super::Cleaning;
use crate::protocol::{Ledger, LedgerError};
use actors::{Plan, build, plans};
use world::{Events, Gate, Rng, Said, Turn, World};

/// Turns between a tombstone and its verdict.
const AGE: u64 = 60;

struct Actor {
    turns: Sender<Turn>,
    said: Receiver<Said>,
    thread: JoinHandle<Result<(), LedgerError>>,
    is_collector: bool,
    /// Believed dead: it goes on only late.
    asleep: bool,
}

struct Schedule {
    seed: u64,
    world: Arc<World>,
    rng: Rng,
    plans: [Arc<Plan>; 4],
    actors: Vec<Actor>,
    turns: u64,
    started: u64,
}

/// Says that a thread ended, however it did.
struct Ending(Sender<Said>);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.send(Said::Ended);
    }
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let rng = Rng(seed);
        Self { seed, world: Arc::default(), rng, plans: plans(), actors: Vec::new(), turns: 0, started: 0 }
    }

    fn start(
        &mut self,
        is_collector: bool,
        act: impl FnOnce(&Ledger, &World) -> Result<(), LedgerError> + Send + 'static,
    ) {
        let (turns, turn) = channel();
        let (say, said) = channel();
        let gate = Gate {
            world: self.world.clone(),
            gate: Some((say.clone(), Mutex::new(turn))),
            dead: AtomicBool::new(false),
        };
        let world = self.world.clone();
        let thread = std::thread::spawn(move || {
            let _ending = Ending(say);
            act(&Ledger::new(Arc::new(gate)), &world)
        });
        self.started += 1;
        let actor = Actor { turns, said, thread, is_collector, asleep: false };
        self.wait(actor);
    }

    /// Waits until an actor asks for its next turn, or has ended.
    fn wait(&mut self, actor: Actor) {
        if actor.said.recv() == Ok(Said::Waits) {
            return self.actors.push(actor);
        }
        match actor.thread.join() {
            Ok(Ok(()) | Err(LedgerError::Store(crate::store::StoreError::Unavailable(_)))) => {}
            Ok(Err(error)) => panic!("seed {}: {error}", self.seed),
            Err(panic) => {
                eprintln!("seed {}, turn {}", self.seed, self.turns);
                std::panic::resume_unwind(panic)
            }
        }
    }

    fn turn(&mut self, at: usize, turn: Turn) {
        self.turns += 1;
        let actor = self.actors.swap_remove(at);
        actor.turns.send(turn).expect("it waits for its turn");
        self.wait(actor);
    }

    fn start_build(&mut self, plan: usize) {
        let (plan, run) = (self.plans[plan].clone(), format!("{:x}x{:x}", self.seed, self.started));
        self.start(false, move |ledger, world| build(ledger, world, &plan, &run));
    }

    fn start_collector(&mut self) {
        let how = Cleaning { dry_run: false, age: AGE, now: self.turns };
        self.start(true, move |ledger, _| ledger.clean(&how).map(drop));
    }

    fn storm(&mut self) {
        let crash = [0, 5, 20][self.rng.below(3)];
        let lose = [0, 0, 4, 12][self.rng.below(4)];
        let give_up = [3, 10, 25][self.rng.below(3)];
        let turns = [400, 900, 1500][self.rng.below(3)];
        for _ in 0..turns {
            while self.actors.iter().filter(|a| a.is_collector).count() < 2 {
                self.start_collector();
            }
            if self.rng.chance(20) && self.actors.len() < 12 {
                let plan = self.rng.below(4);
                self.start_build(plan);
            }
            if self.rng.chance(give_up) {
                let uid = self.plans[self.rng.below(4)].uid.clone();
                self.start(false, move |ledger, _| ledger.give_up(&uid).map(drop));
            }
            if self.rng.chance(lose) {
                self.lose_an_object();
            }
            let at = self.rng.below(self.actors.len());
            if self.rng.chance(4) {
                self.actors[at].asleep = !self.actors[at].asleep;
            }
            let carried_out = self.rng.chance(500);
            if self.rng.chance(crash) {
                self.turn(at, Turn::Die(carried_out));
            } else if !self.actors[at].asleep {
                let turn = if self.rng.chance(30) { Turn::LoseAnswer(carried_out) } else { Turn::Run };
                self.turn(at, turn);
            }
        }
    }

    fn lose_an_object(&mut self) {
        let state = &mut *self.world.state();
        let names: Vec<&String> = state.objects.keys().filter(|name| name.ends_with(".txt")).collect();
        if !names.is_empty() {
            let name = names[self.rng.below(names.len())].clone();
            state.objects.remove(&name);
            state.events.lost_objects += 1;
        }
    }

    fn run_out(&mut self) {
        for _ in 0..100_000 {
            if self.actors.is_empty() {
                return;
            }
            let at = self.rng.below(self.actors.len());
            self.turn(at, Turn::Run);
        }
        panic!("seed {}: stuck, {} actors still run", self.seed, self.actors.len());
    }

    fn finish(mut self) -> Events {
        // The late ones wake up; then every owner that counts can be brought to its end by one more run.
        self.run_out();
        for plan in 0..4 {
            let counts = self.world.state().epoch(&self.plans[plan].uid).is_some();
            if counts {
                self.start_build(plan);
                self.run_out();
            }
        }
        let gate = Gate { world: self.world.clone(), gate: None, dead: AtomicBool::new(false) };
        let ledger = Ledger::new(Arc::new(gate));
        for plan in &self.plans {
            ledger.give_up(&plan.uid).unwrap();
        }
        let cleaned = ledger.clean(&Cleaning { dry_run: false, age: 0, now: self.turns + AGE }).unwrap();
        assert_eq!(cleaned.open, None, "seed {}", self.seed);
        let state = self.world.state();
        let is_left = |name: &&String| {
            let lasts = name.starts_with("_refs/") || name.starts_with(TOMBSTONES);
            !(lasts || name.ends_with("void") || name.ends_with(".removed"))
        };
        let left: Vec<&String> = state.objects.keys().filter(is_left).collect();
        assert!(left.is_empty(), "seed {}: nobody names {left:#?}", self.seed);
        state.events
    }
}

#[test]
fn what_a_reference_names_stays_and_all_else_goes() {
    let mut all = Events::default();
    for seed in 0..120 {
        let mut schedule = Schedule::new(seed);
        schedule.storm();
        let Events { crashes, lost_objects, lost_responses, removed_commits, kept, deleted, given_up, shared } =
            schedule.finish();
        all.crashes += crashes;
        all.lost_objects += lost_objects;
        all.lost_responses += lost_responses;
        all.removed_commits += removed_commits;
        all.kept += kept;
        all.deleted += deleted;
        all.given_up += given_up;
        all.shared += shared;
    }
    for (what, n) in [
        ("crashes", all.crashes),
        ("lost objects", all.lost_objects),
        ("lost responses", all.lost_responses),
        ("removed commits", all.removed_commits),
        ("kept tombstones", all.kept),
        ("deleted tombstones", all.deleted),
        ("references given up", all.given_up),
        ("shared seals", all.shared),
    ] {
        assert!(n > 20, "{what} happened only {n} times: the schedules prove little");
    }
}
