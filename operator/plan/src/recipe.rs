//! Recipe digests and stage digests.
//!
//! A recipe is what a stage does: its name, its integer revision, its output settings, the selections that it reads,
//! and its models. A stage digest adds what it does it to. No URI, endpoint, key, parallelism or size enters either.

use std::collections::BTreeMap;

use realsyn_crds::{BuildSpec, Class, Stage, models_read, stage_settings};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::graph::{RELEASE, stages_read};
use crate::layout::Seals;
use crate::{Digest, StepId};

/// What a stage does. Raised by hand whenever a stage's bytes change under equal settings. The worker's test `reference` fails when
/// that is forgotten of a stage that writes the same bytes anywhere; of what an engine computes no bytes can be kept.
pub fn revision(stage: Stage) -> u32 {
    match stage {
        Stage::Inventory
        | Stage::Fetch
        | Stage::Sentences
        | Stage::SentenceScore
        | Stage::SentenceEmbed
        | Stage::SentenceCluster
        | Stage::Caption
        | Stage::Tag
        | Stage::Generate
        | Stage::PairScore => 1,
        Stage::Documents
        | Stage::ImageDedupPerceptual
        | Stage::SentenceDedupExact
        | Stage::WordStats
        | Stage::SentenceDedupNear
        | Stage::ImageCluster
        | Stage::ImageDecode
        | Stage::ImagePolicy
        | Stage::Retrieve
        | Stage::TagVocab => 2,
        Stage::ImageEmbed
        | Stage::SentenceCells
        | Stage::SentenceDedupSemantic
        | Stage::ImageCells
        | Stage::Release => 3,
        Stage::ImageDedupSemantic => 4,
    }
}

/// The selections inside a build that a stage reads from another stage's settings.
fn selections_read(stage: Stage) -> &'static [Stage] {
    match stage {
        Stage::SentenceDedupNear => &[Stage::SentenceScore],
        _ => &[],
    }
}

/// The output settings of the stage after it that a stage reads: cells copy rows that duplicates may lie beyond a border of, as
/// far as the distance, and with what pairs are verified by.
fn settings_read(stage: Stage) -> Option<(Stage, &'static [&'static str])> {
    const READ: &[&str] = &["enabled", "maxDistance", "verify"];
    match stage {
        Stage::SentenceCells => Some((Stage::SentenceDedupSemantic, READ)),
        Stage::ImageCells => Some((Stage::ImageDedupSemantic, READ)),
        _ => None,
    }
}

/// A stage's recipe, with everything that was hashed, so that two can be compared field by field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// What was hashed: flat, by field path.
    pub fields: BTreeMap<String, Value>,
    /// The recipe digest.
    pub digest: Digest,
}

impl Recipe {
    fn new(stage: Stage, fields: BTreeMap<String, Value>) -> Self {
        let mut b = Digest::builder("recipe").part(stage.name()).number(revision(stage).into());
        for (path, value) in &fields {
            b = b.part(path).part(value.to_string());
        }
        Self { fields, digest: b.finish() }
    }

    /// The recipe of one stage of a build. `spec` is effective: profile defaults are filled in.
    pub fn of_stage(spec: &BuildSpec, stage: Stage) -> Self {
        let mut fields = BTreeMap::new();
        let prefix = format!("stages.{}", stage.field());
        flatten(&prefix, stage_settings(spec, stage, Class::Output), &mut fields);
        for from in selections_read(stage) {
            let prefix = format!("stages.{}", from.field());
            flatten(&prefix, stage_settings(spec, *from, Class::Selection), &mut fields);
        }
        if let Some((from, names)) = settings_read(stage) {
            let settings = stage_settings(spec, from, Class::Output);
            for name in names {
                fields.insert(format!("stages.{}.{name}", from.field()), settings[name].clone());
            }
        }
        for role in models_read(stage) {
            let model = serde_json::to_value(&spec.models).unwrap_or_default()[*role].clone();
            fields.insert(format!("models.{role}.sha256"), model["sha256"].clone());
            fields.insert(format!("models.{role}.dtype"), model["dtype"].clone());
        }
        match stage {
            Stage::Documents => {
                fields.insert("source.format".into(), json!(spec.source.format));
            }
            Stage::Fetch => {
                let mut prefixes: Vec<&str> = spec.source.image_mirrors.iter().map(|m| m.prefix.as_str()).collect();
                prefixes.sort_unstable();
                fields.insert("source.imageMirrors.prefix".into(), json!(prefixes));
                fields.insert("source.fetch.revision".into(), json!(spec.source.fetch.revision));
            }
            _ => {}
        }
        Self::new(stage, fields)
    }

    /// The recipe of a release: what it selects and how it packs it.
    pub fn of_release(settings: Value) -> Self {
        let mut fields = BTreeMap::new();
        flatten("release", settings, &mut fields);
        Self::new(Stage::Release, fields)
    }
}

/// Recipes and digests of every stage: all known as soon as the inventory is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipes {
    /// By stage name.
    stages: BTreeMap<String, (Recipe, Digest)>,
}

impl Recipes {
    /// Digests of a build over an inventory, and of a release of it if its settings are given.
    pub fn new(spec: &BuildSpec, release: Option<Value>, inventory_root: &Digest) -> Self {
        Self::with_sentences(spec, release, inventory_root, None)
    }

    /// The same, where the stages that make sentences are those of another build, with these digests.
    pub fn with_sentences(
        spec: &BuildSpec,
        release: Option<Value>,
        inventory_root: &Digest,
        sentences: Option<&Self>,
    ) -> Self {
        let mut stages: BTreeMap<String, (Recipe, Digest)> = BTreeMap::new();
        for stage in Stage::ALL.iter().copied().filter(|s| *s != Stage::Inventory) {
            if let Some(others) = sentences.filter(|_| stage.makes_sentences()) {
                stages.insert(stage.name().to_owned(), others.stages[stage.name()].clone());
                continue;
            }
            let recipe = match (stage, &release) {
                (Stage::Release, Some(settings)) => Recipe::of_release(settings.clone()),
                (Stage::Release, None) => continue,
                _ => Recipe::of_stage(spec, stage),
            };
            let mut b = Digest::builder("stage").digest(&recipe.digest).digest(inventory_root);
            for read in stages_read(stage) {
                b = b.digest(&stages[read.name()].1);
            }
            let digest = b.finish();
            stages.insert(stage.name().to_owned(), (recipe, digest));
        }
        Self { stages }
    }

    /// Stage digest and recipe digest of the stage that a step belongs to.
    pub fn digests(&self, step: StepId) -> (Digest, Digest) {
        let (recipe, digest) = &self.stages[step.stage.name()];
        (*digest, recipe.digest)
    }

    /// A stage's recipe, if it is part of this plan.
    pub fn recipe(&self, stage: Stage) -> Option<&Recipe> {
        self.stages.get(stage.name()).map(|(recipe, _)| recipe)
    }

    /// A stage's digest, if it is part of this plan.
    pub fn stage_digest(&self, stage: Stage) -> Option<Digest> {
        self.stages.get(stage.name()).map(|(_, digest)| *digest)
    }
}

/// The name under which an inventory lies: the only place where a URI is hashed.
pub fn inventory_digest(spec: &BuildSpec) -> Digest {
    Digest::builder("inventory name")
        .part(json!(spec.source.format).to_string())
        .part(&spec.source.uri)
        .part(&spec.source.revision)
        .finish()
}

/// The digest of a build's pool: over the roots of all that a release reads. `None` until all of it is sealed.
pub fn pool_digest(seals: &Seals) -> Option<Digest> {
    let mut read: Vec<StepId> = RELEASE.iter().flat_map(|s| s.reads).filter_map(|r| r.step()).collect();
    read.retain(|step| step.stage != Stage::Release);
    read.sort();
    read.dedup();
    read.iter().try_fold(Digest::builder("pool"), |b, step| Some(b.digest(&seals.get(step)?.root))).map(|b| b.finish())
}

/// Writes an object's leaves under dotted paths; arrays are leaves, nulls are left out.
fn flatten(prefix: &str, value: Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => map.into_iter().for_each(|(k, v)| flatten(&format!("{prefix}.{k}"), v, into)),
        Value::Null => {}
        leaf => _ = into.insert(prefix.to_owned(), leaf),
    }
}
