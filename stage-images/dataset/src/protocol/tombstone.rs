//! Tombstones: what clean-up wants to remove, and how it is decided.
//!
//! `_gc/<number>.tombstone.json` lists what is to go. Whoever comes to need some of it before `_gc/<number>.verdict.json`
//! is there writes the verdict `keep`; a collector that has read every reference after the tombstone was written, and
//! found none that needs any of it, writes `delete`. Of the two the first counts. `delete` means that everything listed
//! is void: one void record each is written, then `closed`; whoever finds `delete` without `closed` writes them itself
//! before it looks at any commit. Only then is anything removed, and `done` written.
//!
//! A tombstone is written only once the one before it is closed or done, so looking at the last one is enough.

use std::collections::{BTreeMap, BTreeSet};

use realsyn_plan::graph::{BUILD, RELEASE};
use realsyn_plan::recipe::Recipes;
use realsyn_plan::records::{
    self, TOMBSTONES, TombstonePart, half, parse_tombstone_name, removed_name, seal_name, tombstone_name,
};
use realsyn_plan::{Digest, StepId};
use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerError, parse};
use crate::store::{Settled, StoreExt, at_once};

/// Below this many names threads are not worth it.
const FEW: usize = 64;

/// What is to go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Seconds since 1970 by the writer's clock. It decides when the verdict may be given, never what it may be.
    pub written: u64,
    /// Bytes of all objects and records listed.
    pub bytes: u64,
    /// By `stage/step`: stage digests whose seals go, each with the generation that becomes void (all lower ones are).
    pub seals: BTreeMap<String, BTreeMap<Digest, u32>>,
    /// By folder of a recipe, `stage/step/RECIPE`.
    pub folders: BTreeMap<String, ListedFolder>,
    /// By `stage/step`: task lists.
    pub tasks: BTreeMap<String, Vec<String>>,
    /// By stage digest: ends of logs.
    pub logs: BTreeMap<Digest, Vec<String>>,
}

/// What goes from a recipe's folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListedFolder {
    /// Halves of keys that no seal holds which counts, each with the generation that becomes void.
    pub keys: BTreeMap<String, u32>,
    /// Commit records of these keys, of every generation; file names.
    pub commits: Vec<String>,
    /// Objects of these keys, and objects of attempts that lost at keys that stay; file names.
    pub objects: Vec<String>,
}

impl Tombstone {
    /// How many seals, commits and objects it lists, in this order.
    pub fn counts(&self) -> [usize; 3] {
        let seals = self.seals.values().map(BTreeMap::len).sum();
        let folders = || self.folders.values();
        [seals, folders().map(|f| f.commits.len()).sum(), folders().map(|f| f.objects.len()).sum()]
    }

    /// True if it lists nothing.
    pub fn is_empty(&self) -> bool {
        self.names() == 0
    }

    /// How many names it lists.
    pub fn names(&self) -> usize {
        let plain = |lists: usize, one: &Vec<String>| lists + one.len();
        self.counts().iter().sum::<usize>() + self.tasks.values().fold(0, plain) + self.logs.values().fold(0, plain)
    }

    /// The void records that make all of it void: of commits first, then of seals.
    fn voids(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (folder, listed) in &self.folders {
            names.extend(listed.keys.iter().map(|(key, generation)| removed_name(folder, key, *generation)));
        }
        for step in BUILD.iter().chain(RELEASE) {
            for (digest, generation) in self.seals.get(&step.id.to_string()).into_iter().flatten() {
                names.push(records::seal_void_name(step.id, digest, *generation));
            }
        }
        names
    }

    /// What is removed, in this order: readers that came too late miss a seal, then commits, and objects last.
    fn removals(&self) -> [Vec<String>; 4] {
        let mut seals = Vec::new();
        for step in BUILD.iter().chain(RELEASE) {
            for (digest, generation) in self.seals.get(&step.id.to_string()).into_iter().flatten() {
                seals.extend((0..=*generation).map(|generation| seal_name(step.id, digest, generation)));
            }
        }
        let files = |of: fn(&ListedFolder) -> &Vec<String>| -> Vec<String> {
            let all = self.folders.iter();
            all.flat_map(|(folder, listed)| of(listed).iter().map(move |f| format!("{folder}/{f}"))).collect()
        };
        let plain = self.tasks.values().chain(self.logs.values()).flatten().cloned().collect();
        [seals, files(|f| &f.commits), files(|f| &f.objects), plain]
    }
}

/// Whether what a tombstone lists goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Decision {
    /// All of it stays; the next tombstone will list what is still not needed.
    Keep,
    /// All of it is void and goes.
    Delete,
}

/// The verdict on a tombstone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Whether it goes.
    pub decision: Decision,
    /// Who needs it, for people.
    pub why: String,
}

impl Ledger {
    /// Which parts of each tombstone are there.
    pub(super) fn tombstones(&self) -> Result<BTreeMap<u32, BTreeSet<TombstonePart>>, LedgerError> {
        let mut found: BTreeMap<u32, BTreeSet<TombstonePart>> = BTreeMap::new();
        for name in self.store().list_names(TOMBSTONES)? {
            if let Some((number, part)) = parse_tombstone_name(&name) {
                found.entry(number).or_default().insert(part);
            }
        }
        Ok(found)
    }

    /// What a tombstone lists.
    pub(super) fn tombstone(&self, number: u32) -> Result<Tombstone, LedgerError> {
        let name = tombstone_name(number, TombstonePart::Listed);
        parse(&name, &self.store().get_required(&name)?)
    }

    /// The verdict on a tombstone, if it was given.
    pub(super) fn verdict(&self, number: u32) -> Result<Option<Judged>, LedgerError> {
        let name = tombstone_name(number, TombstonePart::Verdict);
        self.store().get(&name)?.map(|bytes| parse(&name, &bytes)).transpose()
    }

    /// Gives a verdict; returns the one that counts.
    pub(super) fn decide(&self, number: u32, decision: Decision, why: String) -> Result<Judged, LedgerError> {
        let judged = Judged { decision, why };
        let name = tombstone_name(number, TombstonePart::Verdict);
        match self.store().put_new_settled(&name, &serde_json::to_vec(&judged).expect("plain data"))? {
            Settled::Ours => Ok(judged),
            Settled::Theirs(bytes) => parse(&name, &bytes),
        }
    }

    /// Looks at the last tombstone, after something came to be needed that no collector could know of. One listing,
    /// unless a tombstone is open.
    pub(super) fn heed(
        &self,
        needs: impl Fn(&Tombstone) -> Result<Option<String>, LedgerError>,
    ) -> Result<(), LedgerError> {
        let Some((number, parts)) = self.tombstones()?.pop_last() else { return Ok(()) };
        if parts.contains(&TombstonePart::Closed) || parts.contains(&TombstonePart::Done) {
            return Ok(());
        }
        let tombstone = self.tombstone(number)?;
        let judged = match self.verdict(number)? {
            Some(judged) => judged,
            None => match needs(&tombstone)? {
                Some(why) => self.decide(number, Decision::Keep, why)?,
                None => return Ok(()),
            },
        };
        match judged.decision {
            Decision::Keep => self.mark(number, TombstonePart::Done),
            Decision::Delete => self.close(number, &tombstone),
        }
    }

    /// Why a plan needs something that a tombstone lists; `None` if it does not.
    pub(super) fn needs(&self, recipes: &Recipes, tombstone: &Tombstone) -> Result<Option<String>, LedgerError> {
        for step in BUILD.iter().chain(RELEASE) {
            let stage = step.id.stage;
            if let (Some(digest), Some(recipe)) = (recipes.stage_digest(stage), recipes.recipe(stage))
                && let Some(why) = self.step_needs(step.id, (digest, recipe.digest), tombstone)?
            {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    /// As [`Ledger::needs`], for one step with its stage digest and recipe digest: the digest's seal must not go; while
    /// it is not sealed, no commit of its recipe; and afterwards no key that its seal holds.
    pub(super) fn step_needs(
        &self,
        step: StepId,
        (digest, recipe): (Digest, Digest),
        tombstone: &Tombstone,
    ) -> Result<Option<String>, LedgerError> {
        let name = step.to_string();
        let is_listed = tombstone.seals.get(&name).is_some_and(|seals| seals.contains_key(&digest));
        if is_listed || tombstone.logs.contains_key(&digest) {
            return Ok(Some(format!("{step} {} is named", digest.short())));
        }
        let keys = tombstone.folders.get(&records::commit_folder(step, &recipe)).map(|folder| &folder.keys);
        let keys = keys.filter(|keys| !keys.is_empty());
        if keys.is_none() && !tombstone.tasks.contains_key(&name) {
            return Ok(None);
        }
        let seals = self.seals(step, &digest)?;
        Ok(match (seals.current(), keys) {
            (None, _) => Some(format!("{step} {} is named and not sealed", digest.short())),
            (Some(seal), Some(keys)) if seal.shards.iter().any(|s| keys.contains_key(&half(&s.key))) => {
                Some(format!("the seal of {step} {} holds a key", digest.short()))
            }
            _ => None,
        })
    }

    /// Makes everything void that a tombstone with the verdict `delete` lists.
    pub(super) fn close(&self, number: u32, tombstone: &Tombstone) -> Result<(), LedgerError> {
        let why = format!("removed by clean-up {number}");
        for_each(&tombstone.voids(), |name| self.void(name, &why))?;
        self.mark(number, TombstonePart::Closed)
    }

    /// Removes what a closed tombstone lists. Its names are dead, so this may be done twice, and late.
    pub(super) fn bury(&self, number: u32, tombstone: &Tombstone) -> Result<(), LedgerError> {
        for names in tombstone.removals() {
            for_each(&names, |name| Ok(self.store().delete(name)?))?;
        }
        self.mark(number, TombstonePart::Done)
    }

    /// Writes that a tombstone has come to this point.
    pub(super) fn mark(&self, number: u32, part: TombstonePart) -> Result<(), LedgerError> {
        self.store().put_new_settled(&tombstone_name(number, part), b"{}")?;
        Ok(())
    }
}

/// Does something to every name; where there are few, one after the other.
fn for_each(names: &[String], each: impl Fn(&str) -> Result<(), LedgerError> + Sync) -> Result<(), LedgerError> {
    match names.len() {
        ..FEW => names.iter().try_for_each(|name| each(name)),
        many => at_once(many, |n| each(&names[n])).map(drop),
    }
}
