//! References: which recipes and digests each build and release uses.
//!
//! `_refs/<uid>/<generation>.json` is written before anything is used; the highest generation counts. Clean-up removes
//! only what no reference names.

use realsyn_plan::Digest;
use realsyn_plan::recipe::Recipes;
use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerError, parse};
use crate::store::StoreExt;

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
}

/// The id of an owner outside a cluster: a hash of kind, namespace and name.
pub fn owner_uid(kind: &str, namespace: &str, name: &str) -> String {
    Digest::builder("owner").part(kind).part(namespace).part(name).finish().to_string()[..32].to_owned()
}

impl Ledger {
    /// The reference that counts for an owner, with its generation.
    pub fn reference(&self, uid: &str) -> Result<Option<(u32, Reference)>, LedgerError> {
        let folder = format!("_refs/{uid}/");
        let mut highest: Option<(u32, String)> = None;
        for name in self.store().list_names(&folder)? {
            let generation =
                name.strip_prefix(&folder).and_then(|n| n.strip_suffix(".json")).and_then(|g| g.parse().ok());
            if let Some(generation) = generation
                && highest.as_ref().is_none_or(|(g, _)| *g < generation)
            {
                highest = Some((generation, name));
            }
        }
        let Some((generation, name)) = highest else { return Ok(None) };
        let bytes = self.store().get_required(&name)?;
        Ok(Some((generation, parse(&name, &bytes)?)))
    }

    /// Makes `reference` the one that counts for an owner. Returns the one that counted before, if it differs.
    pub fn refer(&self, uid: &str, reference: &Reference) -> Result<Option<Reference>, LedgerError> {
        loop {
            let current = self.reference(uid)?;
            let next = match &current {
                Some((_, same)) if same == reference => return Ok(None),
                Some((generation, _)) => generation + 1,
                None => 0,
            };
            let bytes = serde_json::to_vec(reference).expect("a reference is plain data");
            // Another run of the same build may have taken this generation: look again.
            if let crate::store::Settled::Ours =
                self.store().put_new_settled(&format!("_refs/{uid}/{next}.json"), &bytes)?
            {
                return Ok(current.map(|(_, r)| r));
            }
        }
    }
}
