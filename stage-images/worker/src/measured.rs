//! What earlier work tells of the GPU steps that a plan has ahead.

use std::collections::{BTreeMap, BTreeSet};

use realsyn_plan::Step;
use realsyn_plan::placement::Ahead;
use realsyn_plan::records::Spent;

use crate::run::Run;

/// For each of these steps that holds GPUs: the shards that are left of it, and what shards took that were made with the
/// same recipe, be it for another corpus, a preview, or another build below the same root.
///
/// # Errors
/// References or seals that cannot be read.
pub fn ahead(run: &Run, steps: &[(&'static Step, Option<u64>)]) -> anyhow::Result<Vec<Ahead>> {
    let plan_holds = |step: &Step| {
        realsyn_crds::device(&run.build, step.id.stage)
            .is_some_and(|d| d.engine == realsyn_crds::Engine::Cuda || d.gpu.is_some())
    };
    let steps: Vec<_> = steps.iter().filter(|(step, _)| plan_holds(step)).collect();
    if steps.is_empty() {
        return Ok(Vec::new());
    }
    let uses = run.ledger.uses()?;
    let mut all = Vec::new();
    for (step, shards) in steps {
        let recipe = run.recipes.digests(step.id).1;
        let same =
            uses.iter().filter(|used| used.recipes.recipe(step.id.stage).is_some_and(|used| used.digest == recipe));
        let digests: BTreeSet<_> = same.filter_map(|used| used.recipes.stage_digest(step.id.stage)).collect();
        let mut gpus: BTreeMap<String, Spent> = BTreeMap::new();
        for digest in digests {
            // Work that two of them share counts twice, which changes no rate but by its weight.
            for (product, spent) in
                run.ledger.seals(step.id, &digest)?.current().into_iter().flat_map(|s| &s.effort.gpus)
            {
                gpus.entry(product.clone()).or_default().add(spent);
            }
        }
        all.push(Ahead { step: step.id.to_string(), shards: *shards, gpus });
    }
    Ok(all)
}
