//! The stages of a build, and the release.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! stages {
    ($($variant:ident $name:literal $field:literal,)*) => {
        /// A stage. Declared, compared and listed in graph order: a stage reads only stages before it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum Stage {
            $(#[doc = concat!("`", $name, "`")] #[serde(rename = $name)] $variant,)*
        }

        impl Stage {
            /// Every stage, in graph order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name that people and object keys use, in kebab case: `sentence-score`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The field below `spec.stages` that holds its settings, in camel case: `sentenceScore`. `inventory` and
            /// `release` have none there.
            pub const fn field(self) -> &'static str {
                match self { $(Self::$variant => $field,)* }
            }
        }
    };
}

stages! {
    Inventory "inventory" "inventory",
    Documents "documents" "documents",
    Fetch "fetch" "fetch",
    ImageDecode "image-decode" "imageDecode",
    ImageDedupPerceptual "image-dedup-perceptual" "imageDedupPerceptual",
    ImagePolicy "image-policy" "imagePolicy",
    Sentences "sentences" "sentences",
    SentenceDedupExact "sentence-dedup-exact" "sentenceDedupExact",
    WordStats "word-stats" "wordStats",
    SentenceScore "sentence-score" "sentenceScore",
    SentenceDedupNear "sentence-dedup-near" "sentenceDedupNear",
    SentenceEmbed "sentence-embed" "sentenceEmbed",
    SentenceCells "sentence-cells" "sentenceCells",
    SentenceDedupSemantic "sentence-dedup-semantic" "sentenceDedupSemantic",
    SentenceCluster "sentence-cluster" "sentenceCluster",
    ImageEmbed "image-embed" "imageEmbed",
    ImageCells "image-cells" "imageCells",
    ImageDedupSemantic "image-dedup-semantic" "imageDedupSemantic",
    ImageCluster "image-cluster" "imageCluster",
    Retrieve "retrieve" "retrieve",
    TagVocab "tag-vocab" "tagVocab",
    Caption "caption" "caption",
    Tag "tag" "tag",
    Generate "generate" "generate",
    PairScore "pair-score" "pairScore",
    Release "release" "release",
}

impl Stage {
    /// Whether what it computes is comparing vectors: the same on any engine, bit for bit.
    pub const fn compares_vectors(self) -> bool {
        matches!(
            self,
            Self::SentenceCells
                | Self::SentenceDedupSemantic
                | Self::SentenceCluster
                | Self::ImageCells
                | Self::ImageDedupSemantic
                | Self::ImageCluster
                | Self::Retrieve
        )
    }

    /// Whether something computes it on GPUs: kernels that compare vectors, or the server beside `generate`.
    pub const fn has_cuda(self) -> bool {
        self.compares_vectors() || matches!(self, Self::Generate)
    }

    /// Whether it makes the sentences: it reads documents and what became of them, and no image. With
    /// `spec.sentencesFrom` these stages are another build's.
    pub const fn makes_sentences(self) -> bool {
        matches!(
            self,
            Self::Sentences
                | Self::SentenceDedupExact
                | Self::WordStats
                | Self::SentenceScore
                | Self::SentenceDedupNear
                | Self::SentenceEmbed
                | Self::SentenceCells
                | Self::SentenceDedupSemantic
                | Self::SentenceCluster
                | Self::TagVocab
        )
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no stage has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a stage; the nearest is `{nearest}`")]
pub struct UnknownStage {
    /// What was given.
    pub name: String,
    /// The stage whose name is most like it.
    pub nearest: Stage,
}

impl FromStr for Stage {
    type Err = UnknownStage;

    fn from_str(name: &str) -> Result<Self, UnknownStage> {
        let alike = |s: &Self| strsim::normalized_damerau_levenshtein(name, s.name());
        Self::ALL.iter().copied().find(|s| s.name() == name).ok_or_else(|| UnknownStage {
            name: name.to_owned(),
            nearest: Self::ALL.iter().copied().max_by(|a, b| alike(a).total_cmp(&alike(b))).unwrap_or(Self::Inventory),
        })
    }
}
