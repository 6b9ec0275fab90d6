//! The protocol over the simulated store: the same reads and writes in the same order as the ledger of the dataset crate.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use realsyn_plan::judge::{Generations, Question, Verdict, complete, judge_complete, judge_seal};
use realsyn_plan::layout::{Inventory, Seals, layout, made_from, partitions};
use realsyn_plan::recipe::Recipes;
use realsyn_plan::records::{self, Commit, Named, Seal, SealedShard};
use realsyn_plan::shuffle::{Damaged, ENTRY, PartitionTotals};
use realsyn_plan::{Digest, Step, StepId};

use crate::store::{Settled, Sim};

/// What every actor of a schedule knows.
pub struct Plan {
    pub steps: Vec<&'static Step>,
    pub inventory: Inventory,
    pub recipes: Recipes,
    /// Shards that are always rejected.
    pub rejected: BTreeSet<(StepId, u32)>,
    /// Steps whose content differs from attempt to attempt.
    pub recorded: BTreeSet<StepId>,
}

impl Sim {
    /// As `Ledger::advance`.
    pub async fn advance(&self, plan: &Plan, step: &'static Step, view: &Seals) -> Option<Verdict> {
        let (stage_digest, _) = plan.recipes.digests(step.id);
        loop {
            match self.look(plan, step, view).await {
                Some(Verdict::VoidSeal(generation)) => {
                    self.0.borrow_mut().events.voided_seals += 1;
                    self.void(&records::seal_void_name(step.id, &stage_digest, generation)).await;
                }
                Some(Verdict::Seal(seal)) => {
                    let (bytes, _) = seal.encode();
                    self.put_new_settled(&records::seal_name(step.id, &stage_digest, seal.generation), &bytes).await;
                }
                verdict => return verdict,
            }
        }
    }

    /// As `Ledger::look`.
    async fn look(&self, plan: &Plan, step: &'static Step, view: &Seals) -> Option<Verdict> {
        let digests = plan.recipes.digests(step.id);
        let made_from = made_from(step, view)?;
        let specs = layout(step, &plan.inventory, view)?;
        let partitions = partitions(step, &plan.inventory, view)?;
        let question =
            Question { step: step.id, digests, specs: &specs, made_from: &made_from, max_rejected_share: 0.001 };
        let seals = self.seals(step.id, &digests.0).await;
        if let Some(verdict) = judge_seal(&question, &seals) {
            return Some(verdict);
        }
        let wanted = specs.iter().map(|s| s.key).collect();
        let mut commits = self.commits(step.id, &digests.1, &wanted).await;
        loop {
            let found = match complete(&question, |key| commits.get(key)) {
                Ok(found) => found,
                Err(missing) => return Some(Verdict::Run(missing)),
            };
            match self.totals(&found, &partitions).await {
                Ok(totals) => return Some(judge_complete(&question, seals.generation(), &found, totals)),
                Err(commit) => {
                    self.0.borrow_mut().events.heals += 1;
                    self.void(&records::commit_void_name(step.id, &digests.1, &commit.key, commit.generation)).await;
                    commits.entry(commit.key).or_default().void.insert(commit.generation);
                }
            }
        }
    }

    /// As `Ledger::totals`: the sums of the indices, or a commit whose object is gone.
    async fn totals<'c>(
        &self,
        commits: &'c [(Commit, Digest)],
        partitions: &BTreeMap<String, u32>,
    ) -> Result<PartitionTotals, &'c Commit> {
        let mut totals = PartitionTotals::new(partitions);
        for (commit, _) in commits {
            for object in commit.data().into_iter().flat_map(|d| &d.objects) {
                let Some(entries) = object.partitions.filter(|_| partitions.contains_key(&object.role)) else {
                    continue;
                };
                let bytes = self.get(&object.name).await.ok_or(commit)?;
                let index = &bytes[bytes.len() - entries as usize * ENTRY..];
                totals.add(&object.role, index).unwrap_or_else(|Damaged| panic!("{} is damaged", object.name));
            }
        }
        Ok(totals)
    }

    pub async fn seals(&self, step: StepId, stage_digest: &Digest) -> Generations<Seal> {
        let stem = format!("{step}/{stage_digest}.g");
        let mut found = Generations::default();
        for name in self.list(&stem).await {
            let rest = &name[stem.len()..];
            if let Some(generation) = rest.strip_suffix(".seal.void") {
                found.void.insert(generation.parse().expect("a generation"));
            } else if let Some(generation) = rest.strip_suffix(".seal.json") {
                let seal = self.get_seal(&name).await.expect("records stay");
                found.records.insert(generation.parse().expect("a generation"), (*seal).clone());
            }
        }
        found
    }

    async fn commits(
        &self,
        step: StepId,
        recipe: &Digest,
        wanted: &BTreeSet<Digest>,
    ) -> HashMap<Digest, Generations<(Commit, Digest)>> {
        let folder = records::commit_folder(step, recipe) + "/";
        let mut commits: HashMap<Digest, Generations<(Commit, Digest)>> = HashMap::new();
        for name in self.list(&folder).await {
            match records::parse_commit_name(&name[folder.len()..]) {
                Some(Named::Void(key, generation)) if wanted.contains(&key) => {
                    commits.entry(key).or_default().void.insert(generation);
                }
                Some(Named::Commit(key, generation)) if wanted.contains(&key) => {
                    let commit = self.get_commit(&name).await.expect("records stay");
                    commits.entry(key).or_default().records.insert(generation, (*commit).clone());
                }
                _ => {}
            }
        }
        commits
    }

    /// As `Ledger::commit`: who loses removes its own objects.
    pub async fn commit(&self, step: StepId, commit: &Commit) {
        let (bytes, _) = commit.encode();
        let name = records::commit_name(step, &commit.recipe, &commit.key, commit.generation);
        if let Settled::Theirs = self.put_new_settled(&name, &bytes).await {
            self.0.borrow_mut().events.lost_races += 1;
            for object in commit.data().iter().flat_map(|d| &d.objects) {
                self.delete(&object.name, &commit.attempt).await;
            }
        }
    }

    /// As `Ledger::sealed_commit`; `None` is `Gone`.
    pub async fn sealed_commit(
        &self,
        step: StepId,
        recipe: &Digest,
        shard: &SealedShard,
    ) -> Option<Rc<(Commit, Digest)>> {
        let name = records::commit_name(step, recipe, &shard.key, shard.generation);
        self.get_commit(&name).await.filter(|c| c.1 == shard.commit)
    }

    /// As `Ledger::forget`: the commit first, then the seal.
    pub async fn forget(&self, step: StepId, seal: &Seal, number: u32) {
        if let Some(shard) = seal.shards.iter().find(|s| s.number == number) {
            self.void(&records::commit_void_name(step, &seal.recipe, &shard.key, shard.generation)).await;
        }
        self.void(&records::seal_void_name(step, &seal.stage_digest, seal.generation)).await;
    }

    async fn void(&self, name: &str) {
        let record = serde_json::to_vec(&BTreeMap::from([("why", "test")])).expect("plain data");
        self.put_new_settled(name, &record).await;
    }
}
