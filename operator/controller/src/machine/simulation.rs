//! The machine in a cluster where everything goes wrong: lost responses, crashes between two writes, stale caches, failing
//! Jobs, garbage for reports, changed specs, Jobs changed by hand. Whatever the order, it must end at Ready, make no Job twice, and run no step
//! that is sealed.

#[path = "../../tests/support/store.rs"]
mod store;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use realsyn_crds::{Manifest, Stage, parse_manifests};
use realsyn_plan::recipe::Recipes;
use store::Store;

use super::*;
use crate::names::{advance_name, job_name};

/// A generator of its own, so that a seed means the same for ever (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// True in so many of a hundred cases.
    fn one_in(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

#[derive(Clone)]
struct LiveJob {
    seen: SeenJob,
    work: Work,
    /// The spec that its manifests hold.
    plan: usize,
}

/// What the API server holds.
struct Cluster {
    plans: Vec<Plan>,
    recipes: Vec<Recipes>,
    plan: usize,
    generation: i64,
    suspend: bool,
    version: u64,
    state: State,
    jobs: BTreeMap<String, LiveJob>,
    /// Every name that was ever taken.
    made: BTreeSet<String>,
    store: Store,
    now: Timestamp,
}

/// What the controller remembers and has cached.
#[derive(Clone, Default)]
struct Cache {
    version: u64,
    generation: i64,
    plan: usize,
    suspend: bool,
    state: State,
    jobs: Vec<SeenJob>,
}

impl Cluster {
    fn new() -> Self {
        let text = include_str!("../../../../manifests/examples/build.yaml");
        let Manifest::Build(build) = parse_manifests(text, "example").unwrap().remove(0) else {
            panic!("build.yaml holds a build")
        };
        let variant = |change: &dyn Fn(&mut realsyn_crds::BuildSpec)| {
            let mut spec = build.spec.clone();
            change(&mut spec);
            Plan::of_build(&spec)
        };
        // What another build left: documents are there.
        let mut store = Store::default();
        let plans = vec![
            variant(&|_| {}),
            variant(&|s| s.stages.sentences.max_words = 40),
            variant(&|s| s.stages.sentence_embed.execution.retry = 9),
            variant(&|s| s.stages.image_decode.short_side = 300),
        ];
        let recipes: Vec<Recipes> = plans.iter().map(|plan| plan.recipes(&store::root(), None)).collect();
        store.share(&realsyn_plan::graph::BUILD[0], &|stage| recipes[0].stage_digest(stage).unwrap());
        Self {
            recipes,
            plans,
            plan: 0,
            generation: 1,
            suspend: false,
            version: 1,
            state: State::default(),
            jobs: BTreeMap::new(),
            made: BTreeSet::new(),
            store,
            now: Timestamp::from_second(1_800_000_000).unwrap(),
        }
    }

    fn snapshot(&self) -> Cache {
        Cache {
            version: self.version,
            generation: self.generation,
            plan: self.plan,
            suspend: self.suspend,
            state: self.state.clone(),
            jobs: self.jobs.values().map(|j| j.seen.clone()).collect(),
        }
    }

    /// One reconcile from a cache that may be old. `dies_before`: so many actions are carried out before the process dies.
    fn reconcile(&mut self, cache: &Cache, touched: &mut BTreeSet<String>, dies_before: usize, dice: &mut Dice) {
        let plan = self.plans[cache.plan].clone();
        // Like `dereference`: what the status names or was just touched is asked for by name.
        let mut jobs = cache.jobs.clone();
        let mut uncertain: BTreeSet<String> = named(&cache.state);
        uncertain.retain(|name| jobs.iter().all(|j| j.name != *name));
        uncertain.extend(touched.iter().cloned());
        for name in uncertain {
            jobs.retain(|j| j.name != name);
            match self.jobs.get(&name) {
                Some(job) => jobs.push(job.seen.clone()),
                None => _ = touched.remove(&name),
            }
        }
        let view = View {
            uid: "uid",
            name: "obelics",
            generation: cache.generation,
            plan: &plan,
            suspend: cache.suspend,
            retry: None,
            worker_image: "worker:1",
            server: &tests::server(),
            sentences: None,
            room: 50,
            jobs: &jobs,
            neighbours: &[],
            trouble: None,
            inventory: &Inventory::unknown(),
            now: self.now,
        };
        let mut next = step(&view, cache.state.clone());
        if next != cache.state {
            if cache.version != self.version {
                return; // the fence: 409
            }
            next.complete = None;
            self.state = next.clone();
            self.version += 1;
        }
        let actions = actions(&view, &next);
        if next == cache.state && !actions.is_empty() && cache.version != self.version {
            return; // not fenced by a write, so asked for
        }
        for (n, action) in actions.into_iter().enumerate() {
            if n >= dies_before {
                touched.clear();
                return;
            }
            match action {
                Action::Create(order) => {
                    touched.insert(order.name.clone());
                    self.create(order, cache.plan, &plan);
                    if dice.one_in(10) {
                        return; // the response was lost
                    }
                }
                Action::Delete { name, uid } => {
                    touched.insert(name.clone());
                    if let Some(job) = self.jobs.get_mut(&name).filter(|j| j.seen.uid == uid) {
                        job.seen.deleting = true;
                    }
                }
                Action::Run { name, asked, granted, .. } => {
                    if let Some(job) = self.jobs.get_mut(&name) {
                        (job.seen.parallelism, job.seen.granted, job.seen.suspended) = (asked, granted, false);
                    }
                }
            }
        }
    }

    fn create(&mut self, order: Order, plan_at: usize, plan: &Plan) {
        if self.jobs.contains_key(&order.name) {
            return; // AlreadyExists, and ours
        }
        assert!(self.made.insert(order.name.clone()), "the Job {} was made twice", order.name);
        let (stage, digest, asked, granted) = match &order.work {
            Work::Advance { .. } => (None, String::new(), 0, 1),
            Work::Step { step, digest, asked, granted, .. } => {
                let twin = self.jobs.values().find(|j| {
                    j.seen.is_active()
                        && matches!(&j.work, Work::Step { step: s, digest: d, .. } if s == step && d == digest)
                });
                assert!(twin.is_none(), "{step} runs twice at once");
                (Some(step.stage), digest.clone(), *asked, *granted)
            }
        };
        let seen = SeenJob {
            uid: format!("uid of {}", order.name),
            stage: stage.map(|s| s.name().to_owned()),
            digest,
            template: stage.map(|s| plan.template(s, "worker:1")).unwrap_or_default(),
            parallelism: asked,
            granted,
            name: order.name.clone(),
            ..SeenJob::default()
        };
        self.jobs.insert(order.name, LiveJob { seen, work: order.work, plan: plan_at });
    }

    /// Something happens to a Job: it goes, ends well, or (`harm`) ends badly.
    fn happens(&mut self, harm: bool, dice: &mut Dice) {
        let names: Vec<String> = self.jobs.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let name = &names[dice.below(names.len())];
        let mut job = self.jobs[name].clone();
        if job.seen.deleting && dice.one_in(50) {
            self.jobs.remove(name);
            return;
        }
        if !job.seen.is_active() {
            return;
        }
        if harm && dice.one_in(5) {
            // Somebody's hand.
            (job.seen.granted, job.seen.suspended) = (dice.below(3) as u32, dice.one_in(50));
            self.jobs.insert(name.clone(), job);
            return;
        }
        if job.seen.suspended || job.seen.granted == 0 {
            return;
        }
        let bad = harm && dice.one_in(30);
        let recipes = &self.recipes[job.plan];
        let digests = |stage: Stage| recipes.stage_digest(stage).unwrap();
        let (code, message) = match &job.work {
            Work::Advance { known } => match (bad, dice.below(3)) {
                (true, 0) => (0, "garbage".to_owned()),
                (true, 1) => (64, "the settings are wrong".to_owned()),
                (true, _) => (137, String::new()),
                (false, _) => {
                    let report = self.store.advance(&digests, known, false, None);
                    (0, String::from_utf8(report.encode()).unwrap())
                }
            },
            Work::Step { list, tasks, .. } => {
                let list = list.parse().unwrap();
                let done = if bad { dice.below(*tasks as usize) as u32 } else { *tasks };
                (0..done).for_each(|index| self.store.work(&list, index));
                job.seen.done = done;
                (if bad { [1, 64, 65, 66, 67, 137][dice.below(6)] } else { 0 }, String::new())
            }
        };
        job.seen.phase = if code == 0 { JobPhase::Complete } else { JobPhase::Failed("Failed: it".to_owned()) };
        let ended = Ended { code, message, reason: "Error".to_owned() };
        job.seen.pods = vec![SeenPod { index: Some(0), ended: Some(ended), ..SeenPod::default() }];
        self.jobs.insert(name.clone(), job);
    }
}

/// Names of Jobs that a state says are running.
fn named(state: &State) -> BTreeSet<String> {
    let look = state.advance.running.then(|| advance_name("obelics", "uid", state.advance.attempt));
    let steps = state.stages.iter().filter_map(|s| {
        let (step, digest) = (s.step.as_ref()?, s.digest.as_ref()?);
        Some(job_name("obelics", "uid", s.name, step, digest, s.attempt))
    });
    look.into_iter().chain(steps).collect()
}

fn simulate(seed: u64) -> usize {
    let mut dice = Dice(seed);
    let mut cluster = Cluster::new();
    let mut cache = cluster.snapshot();
    let mut touched = BTreeSet::new();
    let chaos = 150 + dice.below(300);
    for turn in 0..20_000 {
        let harm = turn < chaos;
        match dice.below(10) {
            0..4 => cluster.happens(harm, &mut dice),
            4 if harm && dice.one_in(8) => {
                // Once, or twice before anybody has seen the first.
                for _ in 0..1 + dice.below(2) {
                    cluster.plan = dice.below(cluster.plans.len());
                    (cluster.generation, cluster.version) = (cluster.generation + 1, cluster.version + 1);
                }
            }
            5 if harm && dice.one_in(8) => {
                cluster.suspend = !cluster.suspend;
                (cluster.generation, cluster.version) = (cluster.generation + 1, cluster.version + 1);
            }
            6 => {
                let wait = if dice.one_in(20) { 600 } else { 5 };
                cluster.now = cluster.now.checked_add(SignedDuration::from_secs(wait)).unwrap();
            }
            _ => {}
        }
        if turn == chaos && cluster.suspend {
            cluster.suspend = false;
            (cluster.generation, cluster.version) = (cluster.generation + 1, cluster.version + 1);
        }
        // A cache lags behind; what it shows of the object and of the Jobs need not be of one moment.
        if !harm || dice.one_in(60) {
            let now = cluster.snapshot();
            cache = if harm && dice.one_in(30) { Cache { jobs: cache.jobs, ..now } } else { now };
        }
        let dies_before = if harm && dice.one_in(15) { dice.below(3) } else { usize::MAX };
        cluster.reconcile(&cache, &mut touched, dies_before, &mut dice);
        assert_eq!(cluster.store.wasted, Vec::<String>::new(), "seed {seed}, turn {turn}: sealed steps ran");
        let waits = cluster.state.stages.iter().filter_map(|s| s.waits_for.as_deref());
        let blamed: Vec<&str> = waits.filter(|why| why.contains("the store holds nothing of it")).collect();
        assert!(blamed.is_empty(), "seed {seed}, turn {turn}: {blamed:?}, but no task ended well without its work");
        if !harm && cluster.state.finished && cluster.jobs.is_empty() {
            let before = cluster.version;
            cluster.reconcile(&cluster.snapshot(), &mut touched, usize::MAX, &mut dice);
            assert_eq!(cluster.version, before, "seed {seed}: a write at the fixpoint");
            assert_eq!(cluster.state.generation, Some(cluster.generation));
            return turn;
        }
    }
    panic!("seed {seed}: it never gets ready; {:#?}", (cluster.state, cluster.jobs.keys()));
}

#[test]
fn whatever_goes_wrong_it_ends_at_ready() {
    let seeds = std::env::var("REALSYN_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    for seed in 0..seeds {
        simulate(seed);
    }
}
