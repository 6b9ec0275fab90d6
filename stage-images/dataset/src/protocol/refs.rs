//! References: which recipes and digests each build and release uses.
//!
//! `_refs/<uid>/<generation>.json` is written before anything is used; the highest generation counts. Clean-up removes
//! only what no reference names. Of a build's lower generations the newest complete pools count too, as many as its
//! `history` says, down to the last time that the reference was given up.

use std::collections::{BTreeMap, BTreeSet};

use realsyn_plan::graph::RELEASE;
use realsyn_plan::recipe::Recipes;
use realsyn_plan::{Digest, StepId};
use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerError, parse};
use crate::store::{Settled, StoreExt};

/// What one build or release uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// `RealSynBuild` or `RealSynRelease`.
    pub kind: String,
    /// Namespace and name, for people.
    pub owner: String,
    /// The inventory's root.
    pub inventory_root: Digest,
    /// Recipes with their fields, and stage digests.
    pub recipes: Recipes,
    /// How many complete pools are kept, the newest among them.
    #[serde(default = "two")]
    pub history: u32,
    /// The owner was deleted, or gave its work up: this names nothing, and neither does what came before it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

fn two() -> u32 {
    2
}

/// Something that a reference names, and that clean-up leaves alone.
#[derive(Clone, Debug)]
pub struct Use {
    /// The folder of the reference.
    pub uid: String,
    /// `RealSynBuild` or `RealSynRelease`.
    pub kind: String,
    /// Namespace and name.
    pub owner: String,
    /// What is used.
    pub recipes: Recipes,
    /// A pool of an earlier generation, kept for `history`.
    pub earlier: bool,
}

/// The id of an owner: a hash of kind, namespace and name, and in a cluster of the object's UID, so that neither another
/// cluster's object of this name nor a later one is taken for it.
pub fn owner_uid(kind: &str, namespace: &str, name: &str, uid: Option<&str>) -> String {
    let named = Digest::builder("owner").part(kind).part(namespace).part(name);
    uid.into_iter().fold(named, |named, uid| named.part(uid)).finish().to_string()[..32].to_owned()
}

impl Ledger {
    /// The reference that counts for an owner, with its generation.
    pub fn reference(&self, uid: &str) -> Result<Option<(u32, Reference)>, LedgerError> {
        match self.reference_names(&format!("_refs/{uid}/"))?.remove(uid).and_then(|g| g.last().copied()) {
            Some(generation) => Ok(Some((generation, self.read_reference(uid, generation)?))),
            None => Ok(None),
        }
    }

    /// Makes `reference` the one that counts for an owner. Returns the one that counted before, if it differs.
    ///
    /// When this returns, no collector will remove what the reference names: where a tombstone lists some of it and is
    /// not decided, it is kept; where it was decided before, what it lists is void, so that the owner makes it anew.
    pub fn refer(&self, uid: &str, reference: &Reference) -> Result<Option<Reference>, LedgerError> {
        let before = self.write_reference(uid, |_| Some(reference.clone()))?;
        // Also when nothing was written: whoever wrote it may have died before it looked.
        self.heed(|tombstone| self.needs(&reference.recipes, tombstone))?;
        Ok(before.filter(|before| before != reference))
    }

    /// Makes an owner's reference name nothing. Returns the one that counted; `None` if there is none to give up.
    pub fn give_up(&self, uid: &str) -> Result<Option<Reference>, LedgerError> {
        let before = self.write_reference(uid, |current| {
            current.filter(|current| !current.gone).map(|current| Reference { gone: true, ..current.clone() })
        })?;
        Ok(before.filter(|before| !before.gone))
    }

    /// Writes what `next` makes of the reference that counts, as a new generation if it differs; returns the old one.
    fn write_reference(
        &self,
        uid: &str,
        next: impl Fn(Option<&Reference>) -> Option<Reference>,
    ) -> Result<Option<Reference>, LedgerError> {
        loop {
            let current = self.reference(uid)?;
            let generation = current.as_ref().map_or(0, |(generation, _)| generation + 1);
            let current = current.map(|(_, reference)| reference);
            let Some(next) = next(current.as_ref()).filter(|next| Some(next) != current.as_ref()) else {
                return Ok(current);
            };
            let bytes = serde_json::to_vec(&next).expect("a reference is plain data");
            // Another run of the same build may have taken this generation: look again.
            if let Settled::Ours = self.store().put_new_settled(&format!("_refs/{uid}/{generation}.json"), &bytes)? {
                return Ok(current);
            }
        }
    }

    /// Everything that references name.
    pub fn uses(&self) -> Result<Vec<Use>, LedgerError> {
        let mut uses = Vec::new();
        for (uid, generations) in self.reference_names("_refs/")? {
            // The reference that counts says how many pools are kept; an earlier one counts only as a pool.
            let mut history = None;
            let mut pools: Vec<Recipes> = Vec::new();
            for generation in generations.into_iter().rev() {
                let Reference { kind, owner, recipes, history: own, gone, .. } =
                    self.read_reference(&uid, generation)?;
                if gone || history.is_some_and(|history| pools.len() >= history as usize) {
                    break;
                }
                let earlier = history.is_some();
                history = history.or(Some(own));
                let is_pool = !pools.contains(&recipes) && self.is_complete(&recipes)?;
                if is_pool {
                    pools.push(recipes.clone());
                }
                if is_pool || !earlier {
                    uses.push(Use { uid: uid.clone(), kind, owner, recipes, earlier });
                }
            }
        }
        Ok(uses)
    }

    /// What references named at any time, given up or not.
    pub(super) fn ever_named(&self) -> Result<Vec<Recipes>, LedgerError> {
        let mut named = Vec::new();
        for (uid, generations) in self.reference_names("_refs/")? {
            for generation in generations {
                named.push(self.read_reference(&uid, generation)?.recipes);
            }
        }
        Ok(named)
    }

    /// Generations of references by owner, in order.
    fn reference_names(&self, prefix: &str) -> Result<BTreeMap<String, BTreeSet<u32>>, LedgerError> {
        let mut found: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        for name in self.store().list_names(prefix)? {
            let parsed = name.strip_prefix("_refs/").and_then(|n| n.strip_suffix(".json")?.split_once('/'));
            if let Some((uid, generation)) = parsed
                && let Ok(generation) = generation.parse()
            {
                found.entry(uid.to_owned()).or_default().insert(generation);
            }
        }
        Ok(found)
    }

    fn read_reference(&self, uid: &str, generation: u32) -> Result<Reference, LedgerError> {
        let name = format!("_refs/{uid}/{generation}.json");
        parse(&name, &self.store().get_required(&name)?)
    }

    /// Whether everything that a release would read is sealed.
    fn is_complete(&self, recipes: &Recipes) -> Result<bool, LedgerError> {
        let read: BTreeSet<StepId> = RELEASE.iter().flat_map(|s| s.reads).filter_map(|r| r.step()).collect();
        for step in read.into_iter().filter(|step| RELEASE.iter().all(|own| own.id != *step)) {
            let Some(digest) = recipes.stage_digest(step.stage) else { return Ok(false) };
            if self.seal_names(step, &digest)?.current().is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
