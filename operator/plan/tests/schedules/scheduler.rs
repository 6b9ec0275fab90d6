//! One seeded schedule: who goes next, who crashes, what is lost; then everything is driven to its end and judged.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use realsyn_plan::graph::{BUILD, Read};
use realsyn_plan::layout::{Seals, made_from};
use realsyn_plan::{Digest, StepId};

use crate::actors::{advancer, forgetter, reader, worker};
use crate::protocol::Plan;
use crate::store::{Events, Sim};
use crate::support::Rng;

/// The store's content.
pub type Objects = BTreeMap<String, Rc<[u8]>>;

type Running = Option<(StepId, Digest, u32)>;

struct Actor {
    future: Pin<Box<dyn Future<Output = ()>>>,
    /// A worker that is believed to live, and at what.
    running: Running,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Advance,
    Worker,
    Person,
}

/// How likely things go wrong, in parts of 1,000 per turn.
#[derive(Clone, Copy)]
struct Weather {
    crash: u64,
    forget: u64,
    lose: u64,
    turns: usize,
}

/// A finished schedule.
pub struct Outcome {
    pub seals: Seals,
    pub events: Events,
    pub objects: Objects,
    pub launched: BTreeMap<(StepId, u32), u32>,
}

struct Schedule {
    seed: u64,
    sim: Sim,
    plan: Rc<Plan>,
    actors: Vec<Actor>,
    /// Workers that everyone takes for dead: they wake up late.
    asleep: Vec<Actor>,
}

/// A run without any fault, by one `advance`.
pub fn calm(plan: &Rc<Plan>, objects: Objects) -> Outcome {
    // A seed that no stormy run has: names of attempts begin with it, and a store may hold several runs.
    let mut schedule = Schedule::new(plan, 1 << 32 | objects.len() as u64, objects);
    schedule.drive();
    schedule.finish()
}

/// A run with the faults that this seed brings.
pub fn stormy(plan: &Rc<Plan>, objects: Objects, seed: u64) -> Outcome {
    let mut rng = Rng(seed ^ 0x7374_6f72_6d79);
    let weather = Weather {
        crash: [0, 5, 20, 60][rng.below(4)],
        forget: [0, 2, 6][rng.below(3)],
        lose: [0, 2, 6][rng.below(3)],
        turns: [60, 250, 600][rng.below(3)],
    };
    let mut schedule = Schedule::new(plan, seed, objects);
    schedule.storm(weather);
    schedule.drive();
    schedule.finish()
}

impl Schedule {
    fn new(plan: &Rc<Plan>, seed: u64, objects: Objects) -> Self {
        Self { seed, sim: Sim::new(seed, objects), plan: plan.clone(), actors: Vec::new(), asleep: Vec::new() }
    }

    fn start(&mut self, kind: Kind, future: impl Future<Output = ()> + 'static, running: Running) {
        self.actors.push(Actor { future: Box::pin(future), running, kind });
    }

    fn start_advance(&mut self) {
        self.start(Kind::Advance, advancer(self.sim.clone(), self.plan.clone()), None);
    }

    /// Two `advance`s, workers and people, under this weather.
    fn storm(&mut self, weather: Weather) {
        self.sim.0.borrow_mut().faults = true;
        for _ in 0..weather.turns {
            while self.actors.iter().filter(|a| a.kind == Kind::Advance).count() < 2 {
                self.start_advance();
            }
            let (crash, forget, lose, wake, pick) = {
                let rng = &mut self.sim.0.borrow_mut().rng;
                let n = self.actors.len();
                (
                    rng.chance(weather.crash),
                    rng.chance(weather.forget),
                    rng.chance(weather.lose),
                    rng.chance(5),
                    rng.below(n),
                )
            };
            if crash {
                self.sim.0.borrow_mut().events.crashes += 1;
                let dead = self.actors.swap_remove(pick);
                self.end(dead.running);
                continue;
            }
            if forget {
                self.start(Kind::Person, forgetter(self.sim.clone(), self.plan.clone()), None);
            }
            if lose {
                self.lose_an_object();
            }
            if wake {
                self.wake();
            }
            self.poll(pick);
        }
        self.sim.0.borrow_mut().faults = false;
    }

    /// Lets everyone finish, until the last steps can be read whole.
    fn drive(&mut self) {
        for _ in 0..20 {
            self.start_advance();
            self.run_out();
            if self.last_steps_can_be_read() {
                // Late workers wake up after all is sealed: they change nothing, unless one of them is the first to
                // miss a lost object.
                let (seals, heals) = (self.sealed(), self.sim.0.borrow().events.heals);
                self.wake();
                self.run_out();
                if self.sim.0.borrow().events.heals == heals {
                    assert_eq!(self.sealed(), seals, "a late worker changed what is sealed");
                    return;
                }
            }
        }
        panic!("no end: lost objects are not healed");
    }

    fn run_out(&mut self) {
        for _ in 0..200_000 {
            if self.actors.is_empty() {
                return;
            }
            let pick = self.sim.0.borrow_mut().rng.below(self.actors.len());
            self.poll(pick);
        }
        panic!("no end: {} actors still run", self.actors.len());
    }

    fn wake(&mut self) {
        self.sim.0.borrow_mut().events.late_workers += self.asleep.len() as u64;
        self.actors.append(&mut self.asleep);
    }

    fn poll(&mut self, pick: usize) {
        if self.actors[pick].future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            let done = self.actors.swap_remove(pick);
            self.end(done.running);
        }
        let spawned = std::mem::take(&mut self.sim.0.borrow_mut().spawned);
        for task in spawned {
            let attempt = {
                let world = &mut *self.sim.0.borrow_mut();
                world.attempts += 1;
                format!("{}-{}", self.seed, world.attempts)
            };
            let id = (task.step.id, task.missing.spec.key, task.missing.generation);
            let asleep = task.asleep;
            let future = Box::pin(worker(self.sim.clone(), self.plan.clone(), task, attempt));
            if asleep {
                self.asleep.push(Actor { future, running: None, kind: Kind::Worker });
            } else {
                *self.sim.0.borrow_mut().running.entry(id).or_default() += 1;
                self.actors.push(Actor { future, running: Some(id), kind: Kind::Worker });
            }
        }
    }

    /// A worker is gone, whether it ended or crashed.
    fn end(&mut self, running: Running) {
        let Some(id) = running else { return };
        let world = &mut *self.sim.0.borrow_mut();
        let left = world.running.get_mut(&id).expect("it was counted");
        *left -= 1;
        if *left == 0 {
            world.running.remove(&id);
        }
    }

    /// Some object is lost, of a commit that counts or of one that does not.
    fn lose_an_object(&mut self) {
        let world = &mut *self.sim.0.borrow_mut();
        let names: Vec<&String> = world.objects.keys().filter(|n| n.ends_with(".bin")).collect();
        if !names.is_empty() {
            let name = names[world.rng.below(names.len())].clone();
            world.objects.remove(&name);
        }
    }

    fn last_steps_can_be_read(&mut self) -> bool {
        // Whoever missed an object after the last `advance` has voided a seal.
        let Some(seals) = self.sealed() else { return false };
        let read: BTreeSet<StepId> = self.plan.steps.iter().flat_map(|s| s.reads).filter_map(Read::step).collect();
        let last: Vec<StepId> = self.plan.steps.iter().map(|s| s.id).filter(|s| !read.contains(s)).collect();
        let rejected = |home: u32| self.plan.rejected.iter().any(|(_, number)| *number == home);
        let wanted: Vec<u32> = (0..)
            .zip(&self.plan.inventory.shards)
            .filter(|(home, _)| !rejected(*home))
            .flat_map(|(home, shard)| crate::actors::source_rows(home, &shard.files[0].version))
            .collect();
        for step in last {
            match self.sim.block_on(reader(self.sim.clone(), step, seals[&step].clone())) {
                None => return false,
                Some(rows) => assert_eq!(rows, wanted, "{step} lost shards or counted some twice"),
            }
        }
        true
    }

    /// The seals that count now, each made from those before it; `None` where a step has none.
    fn sealed(&self) -> Option<Seals> {
        let mut seals = Seals::new();
        for step in &self.plan.steps {
            let found = self.sim.block_on(self.sim.seals(step.id, &self.plan.recipes.digests(step.id).0));
            let seal = found.current()?;
            assert_eq!(Some(&seal.made_from), made_from(step, &seals).as_ref(), "{} stands on other seals", step.id);
            seals.insert(step.id, seal.clone());
        }
        Some(seals)
    }

    fn finish(mut self) -> Outcome {
        let seals = self.sealed().expect("the drive ended with every step sealed");
        self.check_seals(&seals);
        // Whoever asks again has nothing to run and nothing to write.
        let (writes, attempts) = (self.sim.0.borrow().writes, self.sim.0.borrow().attempts);
        self.start_advance();
        self.run_out();
        let world = &*self.sim.0.borrow();
        assert_eq!((world.writes, world.attempts), (writes, attempts), "a sealed build was worked on again");
        Outcome { seals, events: world.events, objects: world.objects.clone(), launched: world.launched.clone() }
    }

    /// A seal names each of its shards once, and of each the one attempt that won.
    fn check_seals(&self, seals: &Seals) {
        let world = self.sim.0.borrow();
        for (step, seal) in seals {
            let numbers: Vec<u32> = seal.shards.iter().map(|s| s.number).collect();
            assert_eq!(numbers, (0..numbers.len() as u32).collect::<Vec<_>>(), "{step}");
            assert_eq!(seal.effort.millis, numbers.len() as u64, "{step} counts attempts that lost");
            for shard in &seal.shards {
                let name = realsyn_plan::records::commit_name(*step, &seal.recipe, &shard.key, shard.generation);
                assert_eq!(Digest::of_bytes(&world.objects[&name]), shard.commit, "{step} names another commit");
            }
        }
    }
}

impl Sim {
    /// Runs a future that nobody disturbs.
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = Box::pin(future);
        loop {
            let done = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if let std::task::Poll::Ready(value) = done {
                return value;
            }
        }
    }
}

/// The first steps of the real graph that have every kind of sharding and reading but `Counted`, or all steps.
pub fn steps(all: bool) -> Vec<&'static realsyn_plan::Step> {
    use realsyn_plan::graph::{find, ids::*};
    if all {
        return BUILD.iter().collect();
    }
    [DOCUMENTS, SENTENCES, SENTENCES_BY_ID, UNIQUE, WORDS_COUNT, WORDS_SUM, WORDS_FREEZE, SCORE].map(find).to_vec()
}
