//! Reading and writing the records that decide which objects count.
//!
//! [`Ledger`] is the only code that writes commits, seals and voids. It never re-uses a name. What it removes is its
//! own attempt's objects after it lost, and, in [`collect`], what no reference names: void first, then gone.

mod by_hand;
pub mod collect;
mod refs;
#[cfg(test)]
mod tests;
mod tombstone;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use realsyn_plan::judge::{Generations, Question, Verdict, complete, judge_complete, judge_seal};
use realsyn_plan::layout::{Inventory, layout, made_from, partitions};
use realsyn_plan::records::{self, Commit, Named, Object, Seal, SealPart, SealedShard};
use realsyn_plan::shuffle::{ENTRY, Extent, PartitionTotals};
use realsyn_plan::{Digest, Step, StepId};

pub use by_hand::ByHandError;
pub use refs::{Reference, Use, owner_uid};
pub use tombstone::Tombstone;

use crate::store::{AT_ONCE, Settled, Store, StoreError, StoreExt, at_once};

/// What can go wrong with records.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record cannot be read.
    #[error(
        "the record {name} cannot be read ({why}); it was written by another version or damaged: `forget` it, or restore it"
    )]
    Unreadable {
        /// The record.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Something that a seal names is not there, or is not what the seal says.
    #[error("{what} of {step} shard {number} is {how}: the shard has to run again")]
    Gone {
        /// The step.
        step: StepId,
        /// The shard.
        number: u32,
        /// Commit or object.
        what: String,
        /// Missing, or other bytes.
        how: &'static str,
    },
}

/// How often a listing is taken before a record that it shows and that cannot be read is an error.
const LISTINGS: usize = 8;

/// How a commit ended.
#[derive(Debug)]
pub enum Committed {
    /// This attempt's record counts.
    Won,
    /// Another attempt was first; this one's objects were removed.
    Lost(Box<Commit>),
}

/// What [`Ledger::partitions`] read.
#[derive(Clone, Debug)]
pub struct PartitionFiles {
    /// In partition order.
    pub files: Vec<Bytes>,
    /// Of the files and of the index.
    pub bytes_read: u64,
}

/// The records below one root.
#[derive(Clone, Debug)]
pub struct Ledger {
    store: Arc<dyn Store>,
    /// Seals that were read before they were asked for. Each serves one look: what is asked again is read again.
    ahead: Arc<Mutex<SealsAhead>>,
}

type SealsAhead = HashMap<(StepId, Digest), Generations<Seal>>;

/// Everything about a step that its verdict depends on.
pub struct StepState<'a> {
    /// The step.
    pub step: &'static Step,
    /// Stage digest and recipe digest.
    pub digests: (Digest, Digest),
    /// The inventory.
    pub inventory: &'a Inventory,
    /// The seals of the steps before it.
    pub seals: &'a realsyn_plan::layout::Seals,
    /// The share of shards that may be rejected.
    pub max_rejected_share: f64,
}

impl Ledger {
    /// Records below the root of `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, ahead: Arc::default() }
    }

    /// Reads the seals of these steps and stage digests, many at once, for looks that follow one after the other.
    ///
    /// # Errors
    /// What stores do, and records that cannot be read.
    pub fn read_ahead(&self, of: &[(StepId, Digest)]) -> Result<(), LedgerError> {
        let seals = at_once(of.len(), |n| self.seals(of[n].0, &of[n].1))?;
        self.ahead.lock().expect("no holder panics").extend(of.iter().copied().zip(seals));
        Ok(())
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Judges a step; `None` while a step that it reads is not sealed. Writes seals and voids as the verdict asks, so
    /// that what is returned is [`Verdict::Sealed`], [`Verdict::Run`] or [`Verdict::TooManyRejected`].
    pub fn advance(&self, state: &StepState) -> Result<Option<Verdict>, LedgerError> {
        loop {
            match self.judge(state, true)? {
                Some(Verdict::VoidSeal(generation)) => {
                    self.void(
                        &records::seal_void_name(state.step.id, &state.digests.0, generation),
                        "made from a seal that no longer counts",
                    )?;
                }
                Some(Verdict::Seal(seal)) => {
                    // Another `advance` may have been first: whoever wrote it, ask again and read what counts.
                    let (bytes, _) = seal.encode();
                    let name = records::seal_name(state.step.id, &state.digests.0, seal.generation);
                    self.store.put_new_settled(&name, &bytes)?;
                }
                verdict => return Ok(verdict),
            }
        }
    }

    /// Judges a step without writing anything.
    pub fn look(&self, state: &StepState) -> Result<Option<Verdict>, LedgerError> {
        self.judge(state, false)
    }

    fn judge(&self, state: &StepState, write: bool) -> Result<Option<Verdict>, LedgerError> {
        let (step, digests) = (state.step, state.digests);
        let Some(made_from) = made_from(step, state.seals) else { return Ok(None) };
        let specs = layout(step, state.inventory, state.seals);
        let partitions = partitions(step, state.inventory, state.seals);
        let Some((specs, partitions)) = specs.zip(partitions) else { return Ok(None) };
        let question = Question {
            step: step.id,
            digests,
            specs: &specs,
            made_from: &made_from,
            max_rejected_share: state.max_rejected_share,
        };
        // What was not sealed a moment ago may be by now; what was sealed is.
        let ahead = self.ahead.lock().expect("no holder panics").remove(&(step.id, digests.0));
        if let Some(sealed @ Verdict::Sealed(_)) = ahead.and_then(|seals| judge_seal(&question, &seals)) {
            return Ok(Some(sealed));
        }
        let seals = self.seals(step.id, &digests.0)?;
        if let Some(verdict) = judge_seal(&question, &seals) {
            return Ok(Some(verdict));
        }
        if write && seals.generation() > 0 {
            // The digest was sealed once, and a collector may have judged by that seal. What it needs now may be other
            // commits, where a step before it did not yield the same bytes again.
            self.heed(|tombstone| self.step_needs(step.id, digests, tombstone))?;
        }
        let wanted: BTreeSet<Digest> = specs.iter().map(|s| s.key).collect();
        let mut commits = self.commits(step.id, &digests.1, &wanted)?;
        loop {
            let found = match complete(&question, |key| commits.get(key)) {
                Ok(found) => found,
                Err(missing) => return Ok(Some(Verdict::Run(missing))),
            };
            let totals = match self.totals(step.id, &found, &partitions) {
                Err(LedgerError::Gone { number, what, how, .. }) => {
                    let commit = &found[number as usize].0;
                    if write {
                        let name = records::commit_void_name(step.id, &digests.1, &commit.key, commit.generation);
                        self.void(&name, &format!("{what} is {how}"))?;
                    }
                    commits.entry(commit.key).or_default().void.insert(commit.generation);
                    continue;
                }
                totals => totals?,
            };
            return Ok(Some(judge_complete(&question, seals.generation(), &found, totals)));
        }
    }

    /// Sums the indices of the shuffled objects that these commits publish, many read at once.
    fn totals(
        &self,
        step: StepId,
        commits: &[(Commit, Digest)],
        partitions: &BTreeMap<String, u32>,
    ) -> Result<PartitionTotals, LedgerError> {
        let mut totals = PartitionTotals::new(partitions);
        let objects = commits.iter().flat_map(|(commit, _)| {
            let objects = commit.data().into_iter().flat_map(|data| &data.objects);
            objects.filter(|object| partitions.contains_key(&object.role)).map(|object| (commit.number, object))
        });
        let objects: Vec<(u32, &Object)> = objects.collect();
        for some in objects.chunks(AT_ONCE) {
            let indices = at_once(some.len(), |n| self.index(step, some[n].0, some[n].1, 0..u32::MAX))?;
            for ((number, object), index) in some.iter().zip(indices) {
                totals.add(&object.role, &index).map_err(|_| damaged(step, *number, object))?;
            }
        }
        Ok(totals)
    }

    /// An object that a commit publishes.
    ///
    /// # Errors
    /// [`LedgerError::Gone`] where it is not there, or holds other bytes than the commit says.
    pub fn object(&self, step: StepId, number: u32, object: &Object) -> Result<Bytes, LedgerError> {
        let bytes = self.store.get(&object.name)?.ok_or_else(|| gone(step, number, object, "missing"))?;
        if Digest::of_bytes(&bytes) != object.hash { Err(damaged(step, number, object)) } else { Ok(bytes.into()) }
    }

    /// The files of neighbouring partitions in a shuffled object: their entries in its index, then what they name, which lies
    /// together. Partitions without rows have none.
    ///
    /// # Errors
    /// [`LedgerError::Gone`] where the object is not there, or holds other bytes than its writer's.
    pub fn partitions(
        &self,
        step: StepId,
        number: u32,
        object: &Object,
        partitions: Range<u32>,
    ) -> Result<PartitionFiles, LedgerError> {
        let damaged = || damaged(step, number, object);
        let index = self.index(step, number, object, partitions.clone())?;
        let mut read = PartitionFiles { files: Vec::new(), bytes_read: index.len() as u64 };
        let mut extents = Vec::new();
        for (partition, entry) in partitions.zip(index.chunks(ENTRY)) {
            extents.extend(Extent::decode(partition, entry).map_err(|_| damaged())?);
        }
        let (Some(first), Some(last)) = (extents.first(), extents.last()) else { return Ok(read) };
        let start = first.offset;
        let bytes = Bytes::from(self.range(step, number, object, start..last.offset + last.bytes)?);
        read.bytes_read += bytes.len() as u64;
        for extent in &extents {
            let at = (extent.offset - start) as usize;
            let file = bytes.slice(at..at + extent.bytes as usize);
            if Digest::of_bytes(&file) != extent.hash {
                return Err(damaged());
            }
            read.files.push(file);
        }
        Ok(read)
    }

    /// The entries of some partitions in a shuffled object's index; of partitions behind the last that has rows there are none.
    fn index(
        &self,
        step: StepId,
        number: u32,
        object: &Object,
        partitions: Range<u32>,
    ) -> Result<Vec<u8>, LedgerError> {
        let entries = object.entries(partitions).map_err(|_| damaged(step, number, object))?;
        self.range(step, number, object, entries)
    }

    fn range(&self, step: StepId, number: u32, object: &Object, range: Range<u64>) -> Result<Vec<u8>, LedgerError> {
        self.store.get_range(&object.name, range).map_err(|error| match error {
            StoreError::Missing(_) => gone(step, number, object, "missing"),
            error => error.into(),
        })
    }

    /// All generations of a step's seal.
    pub fn seals(&self, step: StepId, stage_digest: &Digest) -> Result<Generations<Seal>, LedgerError> {
        self.generations(&format!("{step}/{stage_digest}"), ".seal.json", ".seal.void")
    }

    /// All generations of a step's seal, by the names of its records alone.
    fn seal_names(&self, step: StepId, stage_digest: &Digest) -> Result<Generations<()>, LedgerError> {
        let mut found = Generations::default();
        for name in self.store.list_names(&format!("{step}/{stage_digest}.g"))? {
            match name.strip_prefix(&format!("{step}/")).and_then(records::parse_seal_name) {
                Some((_, generation, SealPart::Seal)) => _ = found.records.insert(generation, ()),
                Some((_, generation, SealPart::Void)) => _ = found.void.insert(generation),
                None => {}
            }
        }
        Ok(found)
    }

    /// All generations of an inventory, by [`realsyn_plan::recipe::inventory_digest`].
    pub fn inventories(&self, name: &Digest) -> Result<Generations<Inventory>, LedgerError> {
        self.generations(&format!("inventory/{name}"), ".json", ".void")
    }

    /// Writes an inventory as the next generation, voiding the one that counts; returns what counts afterwards.
    pub fn write_inventory(&self, name: &Digest, inventory: &Inventory) -> Result<Inventory, LedgerError> {
        let known = self.inventories(name)?;
        let mut generation = known.generation();
        if let Some(current) = known.current() {
            if current == inventory {
                return Ok(current.clone());
            }
            self.void(&format!("inventory/{name}.g{generation}.void"), "listed again")?;
            generation += 1;
        }
        let bytes = serde_json::to_vec(inventory).expect("an inventory is plain data");
        let record = format!("inventory/{name}.g{generation}.json");
        match self.store.put_new_settled(&record, &bytes)? {
            Settled::Ours => Ok(inventory.clone()),
            Settled::Theirs(bytes) => parse(&record, &bytes),
        }
    }

    fn generations<T: serde::de::DeserializeOwned>(
        &self,
        stem: &str,
        record: &str,
        void: &str,
    ) -> Result<Generations<T>, LedgerError> {
        self.listed_again(|| {
            let mut found = Generations::default();
            for name in self.store.list_names(&format!("{stem}.g"))? {
                let Some(rest) = name.strip_prefix(stem).and_then(|r| r.strip_prefix(".g")) else { continue };
                if let Some(generation) = rest.strip_suffix(void).and_then(|g| g.parse().ok()) {
                    found.void.insert(generation);
                } else if let Some(generation) = rest.strip_suffix(record).and_then(|g| g.parse().ok()) {
                    found.records.insert(generation, parse(&name, &self.store.get_required(&name)?)?);
                }
            }
            Ok(found)
        })
    }

    /// Reads records that were listed. Clean-up may remove a void one in between: then the listing is taken again.
    fn listed_again<T>(&self, mut read: impl FnMut() -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        for _ in 1..LISTINGS {
            match read() {
                Err(LedgerError::Store(StoreError::Missing(_))) => {}
                done => return done,
            }
        }
        read()
    }

    /// The commits of the wanted keys in a recipe's folder, which also holds other corpora's.
    pub fn commits(
        &self,
        step: StepId,
        recipe: &Digest,
        wanted: &BTreeSet<Digest>,
    ) -> Result<HashMap<Digest, Generations<(Commit, Digest)>>, LedgerError> {
        self.listed_again(|| self.commits_listed(step, recipe, wanted))
    }

    fn commits_listed(
        &self,
        step: StepId,
        recipe: &Digest,
        wanted: &BTreeSet<Digest>,
    ) -> Result<HashMap<Digest, Generations<(Commit, Digest)>>, LedgerError> {
        let folder = records::commit_folder(step, recipe) + "/";
        let halves: HashMap<String, Digest> = wanted.iter().map(|key| (records::half(key), *key)).collect();
        let (mut found, mut commits) = (Vec::new(), HashMap::<Digest, Generations<(Commit, Digest)>>::new());
        self.store.list(&folder, &mut |entry| {
            let Some(file) = entry.name.strip_prefix(&folder) else { return ControlFlow::Continue(()) };
            if let Some((half, generation)) = records::parse_removed_name(file) {
                if let Some(key) = halves.get(half) {
                    commits.entry(*key).or_default().void.insert(generation);
                }
            } else {
                match records::parse_commit_name(file) {
                    Some(Named::Void(key, generation)) if wanted.contains(&key) => {
                        commits.entry(key).or_default().void.insert(generation);
                    }
                    Some(Named::Commit(key, generation)) if wanted.contains(&key) => found.push((key, generation)),
                    _ => {}
                }
            }
            ControlFlow::Continue(())
        })?;
        let read = at_once(found.len(), |n| {
            let (key, generation) = found[n];
            let name = records::commit_name(step, recipe, &key, generation);
            let bytes = self.store.get_required(&name)?;
            Ok::<_, LedgerError>((parse(&name, &bytes)?, Digest::of_bytes(&bytes)))
        })?;
        for ((key, generation), commit) in found.into_iter().zip(read) {
            commits.entry(key).or_default().records.insert(generation, commit);
        }
        Ok(commits)
    }

    /// Publishes a shard whose objects are written. If another attempt was first, this one's objects are removed.
    pub fn commit(&self, step: StepId, commit: &Commit) -> Result<Committed, LedgerError> {
        let (bytes, _) = commit.encode();
        let name = records::commit_name(step, &commit.recipe, &commit.key, commit.generation);
        match self.store.put_new_settled(&name, &bytes)? {
            Settled::Ours => Ok(Committed::Won),
            Settled::Theirs(bytes) => {
                let winner: Commit = parse(&name, &bytes)?;
                for object in commit.data().iter().flat_map(|d| &d.objects) {
                    self.store.delete(&object.name)?;
                }
                Ok(Committed::Lost(Box::new(winner)))
            }
        }
    }

    /// Reads a commit that a seal names, and checks that it is the one the seal saw.
    pub fn sealed_commit(&self, step: StepId, recipe: &Digest, shard: &SealedShard) -> Result<Commit, LedgerError> {
        let gone = |how| LedgerError::Gone { step, number: shard.number, what: "the commit".into(), how };
        let name = records::commit_name(step, recipe, &shard.key, shard.generation);
        let bytes = self.store.get(&name)?.ok_or_else(|| gone("missing"))?;
        if Digest::of_bytes(&bytes) != shard.commit {
            return Err(gone("not the one that was sealed"));
        }
        parse(&name, &bytes)
    }

    /// Voids a shard's commit, then its step's seal, written yet or not, so that the shard runs again.
    pub fn forget(&self, step: StepId, seal: &Seal, number: u32, why: &str) -> Result<(), LedgerError> {
        if let Some(shard) = seal.shards.iter().find(|s| s.number == number) {
            self.void(&records::commit_void_name(step, &seal.recipe, &shard.key, shard.generation), why)?;
        }
        self.void(&records::seal_void_name(step, &seal.stage_digest, seal.generation), why)
    }

    fn void(&self, name: &str, why: &str) -> Result<(), LedgerError> {
        let record = BTreeMap::from([("why", why)]);
        self.store.put_new_settled(name, &serde_json::to_vec(&record).expect("plain data"))?;
        Ok(())
    }
}

fn gone(step: StepId, number: u32, object: &Object, how: &'static str) -> LedgerError {
    LedgerError::Gone { step, number, what: object.role.clone(), how }
}

fn damaged(step: StepId, number: u32, object: &Object) -> LedgerError {
    gone(step, number, object, "not what was committed")
}

fn parse<T: serde::de::DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, LedgerError> {
    serde_json::from_slice(bytes).map_err(|e| LedgerError::Unreadable { name: name.to_owned(), why: e.to_string() })
}
