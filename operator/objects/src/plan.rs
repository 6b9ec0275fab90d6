//! What a spec asks for, without anything that was observed: digests, stages, parallelism, and what its pods are made of.

use realsyn_crds::{BuildSpec, Destination, ReleaseSpec, Retain, Stage, Storage, device, execution, release_settings};
use realsyn_plan::Digest;
use realsyn_plan::placement::Demand;
use realsyn_plan::recipe::Recipes;
use serde_json::json;

use crate::scheduling::tolerations;

/// The pools that are kept by default.
const HISTORY: u32 = 2;

/// What a build's or a release's spec asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The build's settings, profile filled in.
    pub build: BuildSpec,
    /// Those of the build whose sentences it takes, if it takes some.
    pub sentences: Option<BuildSpec>,
    /// The release's settings, if this is about one.
    pub release: Option<ReleaseSpec>,
}

impl Plan {
    /// The plan of a build.
    pub fn of_build(spec: &BuildSpec) -> Self {
        Self { build: spec.effective(), sentences: None, release: None }
    }

    /// With the sentences of a build with these settings.
    pub fn with_sentences_of(self, other: Option<&BuildSpec>) -> Self {
        Self { sentences: other.map(BuildSpec::effective), ..self }
    }

    /// The plan of a release of a build with these settings.
    pub fn of_release(build: &BuildSpec, release: &ReleaseSpec) -> Self {
        Self { build: build.effective(), sentences: None, release: Some(release.effective(build.profile)) }
    }

    /// The digests over an inventory, and over that of the sentences where they are another build's.
    pub fn recipes(&self, inventory_root: &Digest, sentences_root: Option<&Digest>) -> Recipes {
        let settings = self.release.as_ref().map(|release| release_settings(&self.build, release));
        let others = self.sentences.as_ref().zip(sentences_root).map(|(spec, root)| Recipes::new(spec, None, root));
        Recipes::with_sentences(&self.build, settings, inventory_root, others.as_ref())
    }

    /// Whether a stage may run for this object. A release runs stages of its build again that the store has lost.
    pub fn allows(&self, stage: Stage) -> bool {
        match (&self.release, self.build.stop_after) {
            _ if stage == Stage::Inventory => false,
            (Some(_), _) => true,
            (None, stop) => stage != Stage::Release && stop.is_none_or(|last| stage <= last),
        }
    }

    /// The stages without which it is not finished.
    pub fn required(&self) -> impl Iterator<Item = Stage> + '_ {
        let is_release = self.release.is_some();
        Stage::ALL.iter().copied().filter(move |s| self.allows(*s) && (!is_release || *s == Stage::Release))
    }

    /// Whether it ends before there is a pool.
    pub fn stops_early(&self) -> bool {
        self.release.is_none() && self.build.stop_after.is_some_and(|last| last < Stage::PairScore)
    }

    /// How many pods of a stage may run at once, of so many tasks.
    pub fn parallelism(&self, stage: Stage, tasks: u32) -> u32 {
        execution(&self.build, stage).parallelism.unwrap_or(tasks).min(tasks).max(1)
    }

    /// Where a release goes, if this is one.
    pub fn destination(&self) -> Option<&Destination> {
        self.release.as_ref().map(|r| &r.destination)
    }

    /// Whether the stage's pods ask for a GPU. A release and the inventory compute nothing.
    pub fn wants_gpu(&self, stage: Stage) -> Option<realsyn_crds::Gpu> {
        let device =
            device(&self.build, stage).filter(|d| d.engine == realsyn_crds::Engine::Cuda || d.gpu.is_some())?;
        Some(device.gpu.clone().unwrap_or_default())
    }

    /// What the stage's pods need of GPUs, for so many tasks.
    pub fn demand(&self, stage: Stage, tasks: u32) -> Option<Demand> {
        let mut demand = Demand::of_stage(&self.build, stage, tasks)?;
        demand.tolerations = tolerations(self, true);
        Some(demand)
    }

    /// The hash of everything that a stage's pods are made of. A Job whose hash is another is replaced; what the pods
    /// read from the manifest is not in it, because its digest says when that matters.
    pub fn template(&self, stage: Stage, image: &str) -> String {
        let run = execution(&self.build, stage);
        // What becomes of the work later is nothing to a pod.
        let storage = Storage { retain: Retain::default(), history: HISTORY, ..self.build.storage.clone() };
        let mut parts = vec![json!([
            image,
            run.resources,
            run.retry,
            device(&self.build, stage),
            storage,
            self.destination(),
            self.build.source.uri,
            self.build.models,
            self.build.queue_name,
        ])];
        // Without it nothing is added, so that no Job of a build that says nothing of this is replaced.
        parts.extend(self.build.scheduling.as_ref().map(|scheduling| json!(scheduling)));
        let parts = parts.iter().fold(Digest::builder("template"), |digest, part| digest.part(part.to_string()));
        parts.finish().to_string()[..16].to_owned()
    }
}
