//! What a change of each field reaches: the one table of classes, and the settings of a stage by class.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use crate::{BuildSpec, ReleaseSpec, Stage, TextSurface};

/// What a change of a field reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// It changes what is computed, and so a digest.
    Output,
    /// It changes which of the computed rows count: only what reads the selection runs again.
    Selection,
    /// It changes how, where or when work is done, and no digest.
    Execution,
}

impl Class {
    /// The word in the schema's descriptions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Output => "output",
            Self::Selection => "selection",
            Self::Execution => "execution",
        }
    }
}

use Class::{Execution, Output, Selection};

/// The class of every leaf field. A path begins with `build` or `release` for the spec it lies in; `*` stands for one
/// name, `[]` for the entries of a list. Exactly one row fits each leaf; a test holds the table against the schema.
pub const CLASSES: &[(&str, Class)] = &[
    ("build.source.format", Output),
    ("build.source.uri", Output),
    ("build.source.revision", Output),
    ("build.source.imageMirrors[].prefix", Output),
    ("build.source.imageMirrors[].uri", Execution),
    ("build.source.fetch.policy", Execution),
    ("build.source.fetch.revision", Output),
    ("build.sentencesFrom.build", Output),
    ("build.storage.uri", Execution),
    ("build.storage.endpoint", Execution),
    ("build.storage.region", Execution),
    ("build.storage.credentials.*", Execution),
    ("build.storage.retain", Execution),
    ("build.storage.history", Execution),
    ("build.models.*.uri", Execution),
    ("build.models.*.sha256", Output),
    ("build.models.*.dtype", Output),
    ("build.profile", Output),
    ("build.suspend", Execution),
    ("build.stopAfter", Execution),
    ("build.preview.*", Output),
    ("build.budget.*", Execution),
    ("build.queueName", Execution),
    ("build.scheduling.priorityClassName", Execution),
    ("build.scheduling.runtimeClassName", Execution),
    ("build.scheduling.schedulerName", Execution),
    ("build.scheduling.tolerations[].*", Execution),
    ("build.takedowns.uri", Execution),
    ("build.takedowns.sha256", Selection),
    ("build.stages.*.parallelism", Execution),
    ("build.stages.*.resources", Execution),
    ("build.stages.*.retry", Execution),
    ("build.stages.*.maxRejectedShare", Execution),
    ("build.stages.*.engine", Output),
    ("build.stages.*.gpu.*", Execution),
    ("build.stages.documents.maxBlockBytes", Output),
    ("build.stages.imageDecode.minSide", Output),
    ("build.stages.imageDecode.maxAspect", Output),
    ("build.stages.imageDecode.shortSide", Output),
    ("build.stages.imageDecode.maxPixels", Output),
    ("build.stages.imageDecode.maxBytes", Output),
    ("build.stages.imageDecode.quality", Output),
    ("build.stages.imageDedupPerceptual.maxDistance", Output),
    ("build.stages.imagePolicy.blockedImages.uri", Execution),
    ("build.stages.imagePolicy.blockedImages.sha256", Output),
    ("build.stages.imagePolicy.blockedHosts.uri", Execution),
    ("build.stages.imagePolicy.blockedHosts.sha256", Output),
    ("build.stages.imagePolicy.evaluationSets[].uri", Execution),
    ("build.stages.imagePolicy.evaluationSets[].sha256", Output),
    ("build.stages.sentences.punktCompat", Output),
    ("build.stages.sentences.minWords", Output),
    ("build.stages.sentences.maxWords", Output),
    ("build.stages.sentences.minComplexity", Output),
    ("build.stages.sentences.requireAction", Output),
    ("build.stages.sentences.languages", Output),
    ("build.stages.sentences.personalData", Output),
    ("build.stages.wordStats.maxWords", Output),
    ("build.stages.sentenceScore.logBase", Output),
    ("build.stages.sentenceScore.prependEos", Output),
    ("build.stages.sentenceScore.minEntropy", Selection),
    ("build.stages.sentenceScore.perplexity.*", Selection),
    ("build.stages.sentenceDedupNear.threshold", Output),
    ("build.stages.sentenceCells.cells", Output),
    ("build.stages.sentenceCells.iterations", Output),
    ("build.stages.sentenceCells.samplePerCell", Output),
    ("build.stages.sentenceDedupSemantic.enabled", Output),
    ("build.stages.sentenceDedupSemantic.maxDistance", Output),
    ("build.stages.sentenceDedupSemantic.maxRadius", Output),
    ("build.stages.sentenceDedupSemantic.verify", Output),
    // It can stop the stage, but never changes what a stage that ends has written.
    ("build.stages.sentenceDedupSemantic.maxGroup", Execution),
    ("build.stages.sentenceCluster.rowsPerCluster", Output),
    ("build.stages.sentenceCluster.clusters", Output),
    ("build.stages.sentenceCluster.iterations", Output),
    ("build.stages.imageCells.cells", Output),
    ("build.stages.imageCells.iterations", Output),
    ("build.stages.imageCells.samplePerCell", Output),
    ("build.stages.imageDedupSemantic.enabled", Output),
    ("build.stages.imageDedupSemantic.maxDistance", Output),
    ("build.stages.imageDedupSemantic.maxRadius", Output),
    ("build.stages.imageDedupSemantic.verify", Output),
    ("build.stages.imageDedupSemantic.maxGroup", Execution),
    ("build.stages.imageCluster.rowsPerCluster", Output),
    ("build.stages.imageCluster.clusters", Output),
    ("build.stages.imageCluster.iterations", Output),
    ("build.stages.retrieve.candidates", Output),
    ("build.stages.retrieve.targetRecall", Output),
    ("build.stages.retrieve.probeCells", Output),
    ("build.stages.retrieve.probeClusters", Output),
    ("build.stages.retrieve.sampleSize", Output),
    ("build.stages.tagVocab.size", Output),
    ("build.stages.tagVocab.vocabulary.uri", Execution),
    ("build.stages.tagVocab.vocabulary.sha256", Output),
    ("build.stages.tag.maxTags", Output),
    ("build.stages.tag.threshold", Output),
    ("build.stages.generate.maxNewTokens", Output),
    ("build.stages.generate.model", Output),
    ("build.stages.generate.endpoint", Execution),
    // A release's digest is over its content: which build the pool came from is no part of it.
    ("release.buildRef.*", Execution),
    ("release.similarity.*", Selection),
    ("release.balance.*", Selection),
    ("release.texts", Selection),
    ("release.textSurface", Output),
    ("release.format", Output),
    ("release.image.*", Output),
    ("release.samplesPerShard", Output),
    ("release.destination.uri", Execution),
    ("release.destination.endpoint", Execution),
    ("release.destination.region", Execution),
    ("release.destination.credentials.*", Execution),
    ("release.retain", Execution),
    ("release.takedowns.uri", Execution),
    ("release.takedowns.sha256", Selection),
];

/// The class of a leaf field, by its path as [`CLASSES`] writes it; `None` for a path that no leaf has.
pub fn class_of(path: &str) -> Option<Class> {
    CLASSES.iter().find(|(pattern, _)| fits(pattern, path)).map(|(_, class)| *class)
}

/// Whether a row of the table fits a path.
pub(crate) fn fits(pattern: &str, path: &str) -> bool {
    let (mut a, mut b) = (pattern.split('.'), path.split('.'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(p), Some(s)) if p == "*" || p == s => {}
            _ => return false,
        }
    }
}

/// The settings of one stage that have this class, as a canonical value: keys sorted, lists sorted and without
/// repetitions (no list's order means anything here), absent fields left out, a `{uri, sha256}` reference reduced to its
/// hash. `spec` is effective. The value is an object, empty for a stage without such settings.
pub fn stage_settings(spec: &BuildSpec, stage: Stage, class: Class) -> Value {
    let all = serde_json::to_value(&spec.stages).expect("settings have text keys and finite numbers");
    let own = all.get(stage.field()).cloned().unwrap_or_default();
    of_class(own, &format!("build.stages.{}", stage.field()), &[class]).unwrap_or_else(|| Value::Object(Map::new()))
}

/// What a release's digest may depend on: its output and selection fields, and under `buildTakedowns` those of the
/// build, and where its tokenizer writes the texts the model `clip`, in the form of [`stage_settings`]. `release` is
/// effective.
pub fn release_settings(build: &BuildSpec, release: &ReleaseSpec) -> Value {
    let own = serde_json::to_value(release).expect("settings have text keys and finite numbers");
    let mut settings = of_class(own, "release", &[Output, Selection]).unwrap_or_else(|| Value::Object(Map::new()));
    let Value::Object(fields) = &mut settings else { return settings };
    let mut insert = |name: &str, sha256: &str| fields.insert(name.to_owned(), serde_json::json!({ "sha256": sha256 }));
    if let Some(list) = &build.takedowns {
        insert("buildTakedowns", &list.sha256);
    }
    if let (TextSurface::ClipRoundtrip, Some(clip)) = (release.text_surface, &build.models.clip) {
        insert("clip", &clip.sha256);
    }
    fields.sort_keys();
    settings
}

/// The canonical subset of a value; `None` where nothing of it has one of the classes.
fn of_class(value: Value, path: &str, classes: &[Class]) -> Option<Value> {
    match value {
        Value::Object(fields) if class_of(path).is_none() => {
            let mut kept: Map<String, Value> = fields
                .into_iter()
                .filter_map(|(name, value)| Some((name.clone(), of_class(value, &format!("{path}.{name}"), classes)?)))
                .collect();
            kept.sort_keys();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(entries) if entries.iter().any(Value::is_object) => {
            let kept = entries.into_iter().filter_map(|e| of_class(e, &format!("{path}[]"), classes)).collect();
            as_set(kept)
        }
        _ if class_of(path).is_none_or(|c| !classes.contains(&c)) => None,
        Value::Array(entries) => as_set(entries),
        Value::Null => None,
        leaf => Some(leaf),
    }
}

fn as_set(mut entries: Vec<Value>) -> Option<Value> {
    entries.sort_by_cached_key(Value::to_string);
    entries.dedup();
    (!entries.is_empty()).then_some(Value::Array(entries))
}
