//! The sentences of another build: what its stages that make them have sealed, taken as it is.

use realsyn_crds::{RealSynBuild, execution};
use realsyn_dataset::protocol::{Ledger, StepState};
use realsyn_plan::graph::{BUILD, ids};
use realsyn_plan::judge::Verdict;
use realsyn_plan::layout::Seals;
use realsyn_plan::recipe::{Recipes, inventory_digest};
use realsyn_plan::{Digest, Step};

use crate::session::SettingsError;

/// The sentences that a build takes from another one below the same root.
pub struct Sentences {
    /// The root of the inventory that they are made from.
    pub inventory_root: Digest,
    /// The other build's digests.
    pub recipes: Recipes,
    /// The seals of every step that makes sentences.
    pub seals: Seals,
}

impl Sentences {
    /// Reads the records of `build`; runs nothing, and lists nothing.
    ///
    /// # Errors
    /// A [`SettingsError`] that names the first step that is not sealed; and what stores do.
    pub fn find(ledger: &Ledger, build: &RealSynBuild) -> anyhow::Result<Self> {
        let spec = build.spec.effective();
        let not_yet = |what: &str| {
            let name = &build.metadata.name;
            SettingsError(format!("the sentences of build {name} are not made below this root: {what}; run it first"))
        };
        let inventories = ledger.inventories(&inventory_digest(&spec))?;
        let inventory = inventories.current().ok_or_else(|| not_yet("its source is not listed"))?;
        let inventory = spec.preview.as_ref().map_or_else(|| inventory.clone(), |preview| inventory.sample(preview));
        let inventory_root = inventory.root();
        let recipes = Recipes::new(&spec, None, &inventory_root);
        let mut seals = Seals::new();
        let steps: Vec<&Step> =
            BUILD.iter().filter(|s| s.id == ids::DOCUMENTS || s.id.stage.makes_sentences()).collect();
        ledger.read_ahead(&steps.iter().map(|s| (s.id, recipes.digests(s.id).0)).collect::<Vec<_>>())?;
        for step in steps {
            let state = StepState {
                step,
                digests: recipes.digests(step.id),
                inventory: &inventory,
                seals: &seals,
                max_rejected_share: execution(&spec, step.id.stage).max_rejected_share,
            };
            let Some(Verdict::Sealed(seal)) = ledger.look(&state)? else {
                return Err(not_yet(&format!("{} is not sealed", step.id)).into());
            };
            seals.insert(step.id, *seal);
        }
        // The documents of a build are its own.
        seals.remove(&ids::DOCUMENTS);
        Ok(Self { inventory_root, recipes, seals })
    }
}
