//! The sentences of another build: what its stages that make them have sealed, taken as it is.

use realsyn_crds::{BuildSpec, RealSynBuild, execution};
use realsyn_dataset::protocol::{Ledger, StepState};
use realsyn_plan::graph::{BUILD, ids};
use realsyn_plan::judge::Verdict;
use realsyn_plan::layout::{Inventory, Seals};
use realsyn_plan::recipe::{Recipes, inventory_digest};
use realsyn_plan::{Digest, Step};

use crate::session::SettingsError;

/// The build whose sentences another one below the same root takes.
pub struct Sentences {
    build: String,
    spec: BuildSpec,
    inventory: Inventory,
    /// Its digests.
    pub recipes: Recipes,
}

impl Sentences {
    /// Finds what `build` has listed; lists nothing.
    ///
    /// # Errors
    /// A [`SettingsError`] where it has listed nothing yet; and what stores do.
    pub fn find(ledger: &Ledger, build: &RealSynBuild) -> anyhow::Result<Self> {
        let spec = build.spec.effective();
        let inventories = ledger.inventories(&inventory_digest(&spec))?;
        let Some(inventory) = inventories.current() else {
            return Err(not_made(&build.metadata.name, "its source is not listed"));
        };
        let inventory = spec.preview.as_ref().map_or_else(|| inventory.clone(), |preview| inventory.sample(preview));
        let recipes = Recipes::new(&spec, None, &inventory.root());
        Ok(Self { build: build.metadata.name.clone(), spec, inventory, recipes })
    }

    /// The root of the inventory that the sentences are made from.
    pub fn inventory_root(&self) -> Digest {
        self.inventory.root()
    }

    /// The seals of every step that makes sentences, as they are now: whoever uses them has written down before that it
    /// does.
    ///
    /// # Errors
    /// A [`SettingsError`] that names the first step that is not sealed; and what stores do.
    pub fn seals(&self, ledger: &Ledger) -> anyhow::Result<Seals> {
        let steps: Vec<&Step> = BUILD.iter().filter(|step| makes_sentences(step)).collect();
        let digests = |step: &Step| self.recipes.digests(step.id);
        ledger.read_ahead(&steps.iter().map(|s| (s.id, digests(s).0)).collect::<Vec<_>>())?;
        let mut seals = Seals::new();
        for step in steps {
            let state = StepState {
                step,
                digests: digests(step),
                inventory: &self.inventory,
                seals: &seals,
                max_rejected_share: execution(&self.spec, step.id.stage).max_rejected_share,
            };
            let seal = match ledger.look(&state)? {
                Some(Verdict::Sealed(seal)) => Some(*seal),
                // The documents may be gone by now, with the build that they are of: the sentences stand without them.
                None => ledger.seals(step.id, &digests(step).0)?.current().cloned(),
                Some(_) => None,
            };
            match seal {
                Some(seal) => _ = seals.insert(step.id, seal),
                None if step.id == ids::DOCUMENTS => {}
                None => return Err(not_made(&self.build, &format!("{} is not sealed", step.id))),
            }
        }
        // The documents of a build are its own.
        seals.remove(&ids::DOCUMENTS);
        Ok(seals)
    }
}

/// Whether a step is one of those that lead to sentences.
pub fn makes_sentences(step: &Step) -> bool {
    step.id == ids::DOCUMENTS || step.id.stage.makes_sentences()
}

fn not_made(build: &str, what: &str) -> anyhow::Error {
    let message = format!(
        "the sentences of build {build} are not all there below this root: {what}. Run that build; on a cluster, where it \
         counts as done, `kubectl realsyn retry {build}` makes it look again"
    );
    SettingsError(message).into()
}
