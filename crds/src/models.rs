//! The models of a build.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BuildSpec, Stage};

/// The models, by role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Models {
    /// Encodes images and sentences into one space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<ModelRef>,
    /// The causal language model that measures perplexity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<ModelRef>,
    /// Describes an image in a sentence; without it captions are put together from tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captioner: Option<ModelRef>,
    /// Names what is in an image; without it `clip` does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tagger: Option<ModelRef>,
    /// Writes the synthetic text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llm: Option<ModelRef>,
}

impl Models {
    /// The models that are given, with the field that names each.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &ModelRef)> {
        self.roles().into_iter().filter_map(|(role, model)| Some((role, model?)))
    }

    /// Every role, with its model if one is given.
    pub(crate) fn roles(&self) -> [(&'static str, Option<&ModelRef>); 5] {
        [
            ("clip", self.clip.as_ref()),
            ("perplexity", self.perplexity.as_ref()),
            ("captioner", self.captioner.as_ref()),
            ("tagger", self.tagger.as_ref()),
            ("llm", self.llm.as_ref()),
        ]
    }
}

/// The models that a stage uses, by their field under [`Models`].
pub fn models_read(stage: Stage) -> &'static [&'static str] {
    match stage {
        Stage::SentenceEmbed | Stage::ImageEmbed | Stage::PairScore => &["clip"],
        Stage::SentenceScore => &["perplexity"],
        // Without a captioner or a tagger of their own, both are made of `clip`.
        Stage::Caption => &["clip", "captioner"],
        Stage::TagVocab | Stage::Tag => &["clip", "tagger"],
        Stage::Generate => &["llm"],
        _ => &[],
    }
}

impl BuildSpec {
    /// Whether a stage is this build's own, and not that of the build whose sentences it takes.
    pub fn runs(&self, stage: Stage) -> bool {
        self.sentences_from.is_none() || !stage.makes_sentences()
    }

    /// Whether a stage that runs uses the model of this role.
    pub fn uses_model(&self, role: &str) -> bool {
        let runs = |stage: Stage| self.runs(stage) && self.stop_after.is_none_or(|last| stage <= last);
        Stage::ALL.iter().any(|stage| runs(*stage) && models_read(*stage).contains(&role))
    }
}

/// A model: what it is, by hash, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelRef {
    /// `oci://IMAGE:TAG/FOLDER`, `pvc://CLAIM/FOLDER`, `s3://BUCKET/FOLDER` (below 1 GiB), locally a path,
    /// or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub uri: Option<String>,
    /// SHA-256: of the file, or of a folder's sorted lines `sha256  path`.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: String,
    /// What the weights are computed in.
    #[serde(default)]
    pub dtype: Dtype,
}

/// The number format that weights are computed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32-bit floats.
    #[default]
    F32,
    /// IEEE half precision.
    F16,
    /// Brain floats.
    Bf16,
}
