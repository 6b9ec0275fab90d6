//! A store as `advance` and workers see it, without any data: which tasks are committed, which steps are sealed.

use std::collections::{BTreeMap, BTreeSet};

use realsyn_crds::Stage;
use realsyn_plan::Digest;
use realsyn_plan::graph::{BUILD, RELEASE, Sharding, Step};
use realsyn_plan::report::{Complete, Listed, MAX_TASKS, ReadyStep, Report, SealedStep};

/// What lies in the store for one stage digest after another.
pub struct Store {
    /// Shards of a step that has more than one.
    pub shards: u32,
    /// Why a shard of a sealed step was rejected, and how many were.
    pub rejected: fn(&Step) -> BTreeMap<String, u64>,
    /// Why its records were dropped, and how many were.
    pub dropped: fn(&Step) -> BTreeMap<String, u64>,
    /// Committed shards, by step and the digest of its stage.
    commits: BTreeMap<(String, Digest), BTreeSet<u32>>,
    sealed: BTreeSet<(String, Digest)>,
    /// Task lists by their hash: the shards of all rows, and how many rows there are.
    lists: BTreeMap<Digest, (String, Digest, Vec<u32>, usize)>,
    /// Work done on a step after it was sealed; must stay empty.
    pub wasted: Vec<String>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            shards: 3,
            rejected: |_| BTreeMap::new(),
            dropped: |_| BTreeMap::new(),
            commits: BTreeMap::new(),
            sealed: BTreeSet::new(),
            lists: BTreeMap::new(),
            wasted: Vec::new(),
        }
    }
}

/// The digests that a look works with: those of the spec in the manifests.
pub type Digests<'a> = &'a dyn Fn(Stage) -> Digest;

/// The root of everything's inventory.
pub fn root() -> Digest {
    Digest([7; 32])
}

fn graph(is_release: bool, last: Option<Stage>) -> impl Iterator<Item = &'static Step> {
    let release = if is_release { RELEASE } else { &[] };
    BUILD.iter().chain(release).filter(move |s| last.is_none_or(|last| s.id.stage <= last))
}

impl Store {
    fn shards(&self, step: &Step) -> u32 {
        if step.sharding == Sharding::One { 1 } else { self.shards }
    }

    /// A step is sealed, by another build of the same settings.
    pub fn share(&mut self, step: &Step, digests: Digests) {
        self.sealed.insert((step.id.to_string(), digests(step.id.stage)));
    }

    /// What an `advance` pod does and reports.
    pub fn advance(&mut self, digests: Digests, known: &[String], is_release: bool, last: Option<Stage>) -> Report {
        let listed = Listed { root: root(), files: 5, shards: self.shards.into(), bytes: 1 << 20, sentences: None };
        let mut report = Report { inventory: Some(listed), ..Report::default() };
        let mut all_sealed = true;
        for step in graph(is_release, last) {
            let at = (step.id.to_string(), digests(step.id.stage));
            let committed = self.commits.entry(at.clone()).or_default().clone();
            let inputs = step.reads.iter().filter_map(|r| r.step());
            let can_run = inputs.map(|id| (id.to_string(), digests(id.stage))).all(|at| self.sealed.contains(&at));
            if can_run && committed.len() as u32 == self.shards(step) {
                self.sealed.insert(at.clone());
            }
            if self.sealed.contains(&at) {
                if !known.contains(&at.0) {
                    let n = u64::from(self.shards(step));
                    let counts = (1000, 900);
                    report.sealed.push(SealedStep {
                        step: at.0,
                        shards: n,
                        records_in: counts.0,
                        records_out: counts.1,
                        rejected: (self.rejected)(step),
                        dropped: (self.dropped)(step),
                        gpu_seconds: 0,
                    });
                }
                continue;
            }
            all_sealed = false;
            if can_run {
                let missing: Vec<u32> = (0..self.shards(step)).filter(|n| !committed.contains(n)).collect();
                let list = Digest::of_bytes(format!("{at:?} {missing:?}").as_bytes());
                let tasks = missing.len().min(MAX_TASKS as usize);
                report.ready.push(ReadyStep {
                    step: at.0.clone(),
                    shards: self.shards(step).into(),
                    missing: missing.len() as u64,
                    tasks: tasks as u32,
                    list,
                });
                self.lists.insert(list, (at.0, at.1, missing, tasks));
            }
        }
        if all_sealed && last.is_none_or(|last| last >= Stage::PairScore) {
            let what = if is_release { "release" } else { "pool" };
            let digest = Digest::of_bytes(format!("{what} {}", digests(Stage::PairScore)).as_bytes());
            let uri = is_release.then(|| "s3://datasets/somewhere".to_owned());
            report.complete = Some(Complete { digest, pairs: 1234, bytes: 5678, uri });
        }
        // As it crosses the termination message.
        Report::parse(&report.encode()).expect("a report of its own")
    }

    /// What a worker of this row of a list does.
    pub fn work(&mut self, list: &Digest, index: u32) {
        let (step, digest, shards, rows) = self.lists[list].clone();
        let at = (step, digest);
        if self.sealed.contains(&at) {
            self.wasted.push(at.0.clone());
        }
        self.commits.entry(at).or_default().extend(shards.iter().skip(index as usize).step_by(rows));
    }
}
