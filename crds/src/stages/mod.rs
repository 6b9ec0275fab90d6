//! The settings of every stage, one struct each.
//!
//! What follows from the profile is an `Option` here, and present after [`BuildSpec::effective`](crate::BuildSpec::effective).

mod images;
mod pairs;
mod sentences;
mod vectors;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use images::{Documents, FetchStage, ImageDecode, ImageDedupPerceptual, ImagePolicy};
pub use pairs::{Caption, Generate, PairScore, Retrieve, Tag, TagVocab};
pub use sentences::{
    Limits, LogBase, PersonalData, PunktCompat, SentenceDedupExact, SentenceDedupNear, SentenceScore, Sentences,
    WordStats,
};
pub use vectors::{Cells, Cluster, Embed, SemanticDedup};

use crate::{BuildSpec, Device, Execution, Stage};

/// The settings of every stage, by its name in camel case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Stages {
    /// Any format to one table of documents, image references and text blocks.
    pub documents: Documents,
    /// Image URLs to bytes, from mirrors or the network.
    pub fetch: FetchStage,
    /// Bounded decoding, size and shape rules, stored small and without EXIF.
    pub image_decode: ImageDecode,
    /// Exact and perceptual duplicates of images.
    pub image_dedup_perceptual: ImageDedupPerceptual,
    /// Block lists and evaluation sets.
    pub image_policy: ImagePolicy,
    /// Text blocks to sentences, and the rules that drop some.
    pub sentences: Sentences,
    /// One row per normalised text.
    pub sentence_dedup_exact: SentenceDedupExact,
    /// How often each word occurs in the corpus.
    pub word_stats: WordStats,
    /// Entropy and perplexity of every sentence, and the limits that the next stage applies.
    pub sentence_score: SentenceScore,
    /// Near-duplicate texts.
    pub sentence_dedup_near: SentenceDedupNear,
    /// Embeddings of sentences.
    pub sentence_embed: Embed,
    /// Coarse cells of sentence embeddings.
    pub sentence_cells: Cells,
    /// Semantic duplicates of sentences.
    pub sentence_dedup_semantic: SemanticDedup,
    /// Fine clusters of sentences.
    pub sentence_cluster: Cluster,
    /// Embeddings of images.
    pub image_embed: Embed,
    /// Coarse cells of image embeddings.
    pub image_cells: Cells,
    /// Semantic duplicates of images.
    pub image_dedup_semantic: SemanticDedup,
    /// Fine clusters of images, for balancing.
    pub image_cluster: Cluster,
    /// The best sentences of every image.
    pub retrieve: Retrieve,
    /// Nouns that the tagger is extended by.
    pub tag_vocab: TagVocab,
    /// Captions of images.
    pub caption: Caption,
    /// Tags of images.
    pub tag: Tag,
    /// The synthetic text of every image.
    pub generate: Generate,
    /// The cosine of every image and its synthetic text.
    pub pair_score: PairScore,
}

/// How a stage runs. `inventory` and `release`, which have no settings of their own, run as `documents` does.
pub fn execution(spec: &BuildSpec, stage: Stage) -> &Execution {
    let s = &spec.stages;
    match stage {
        Stage::Inventory | Stage::Documents | Stage::Release => &s.documents.execution,
        Stage::Fetch => &s.fetch.execution,
        Stage::ImageDecode => &s.image_decode.execution,
        Stage::ImageDedupPerceptual => &s.image_dedup_perceptual.execution,
        Stage::ImagePolicy => &s.image_policy.execution,
        Stage::Sentences => &s.sentences.execution,
        Stage::SentenceDedupExact => &s.sentence_dedup_exact.execution,
        Stage::WordStats => &s.word_stats.execution,
        Stage::SentenceScore => &s.sentence_score.execution,
        Stage::SentenceDedupNear => &s.sentence_dedup_near.execution,
        Stage::SentenceEmbed => &s.sentence_embed.execution,
        Stage::SentenceCells => &s.sentence_cells.execution,
        Stage::SentenceDedupSemantic => &s.sentence_dedup_semantic.execution,
        Stage::SentenceCluster => &s.sentence_cluster.execution,
        Stage::ImageEmbed => &s.image_embed.execution,
        Stage::ImageCells => &s.image_cells.execution,
        Stage::ImageDedupSemantic => &s.image_dedup_semantic.execution,
        Stage::ImageCluster => &s.image_cluster.execution,
        Stage::Retrieve => &s.retrieve.execution,
        Stage::TagVocab => &s.tag_vocab.execution,
        Stage::Caption => &s.caption.execution,
        Stage::Tag => &s.tag.execution,
        Stage::Generate => &s.generate.execution,
        Stage::PairScore => &s.pair_score.execution,
    }
}

/// What a stage computes on; `None` for stages that have no engine to choose.
pub fn device(spec: &BuildSpec, stage: Stage) -> Option<&Device> {
    let s = &spec.stages;
    Some(match stage {
        Stage::SentenceScore => &s.sentence_score.device,
        Stage::SentenceEmbed => &s.sentence_embed.device,
        Stage::SentenceCells => &s.sentence_cells.device,
        Stage::SentenceDedupSemantic => &s.sentence_dedup_semantic.device,
        Stage::SentenceCluster => &s.sentence_cluster.device,
        Stage::ImageEmbed => &s.image_embed.device,
        Stage::ImageCells => &s.image_cells.device,
        Stage::ImageDedupSemantic => &s.image_dedup_semantic.device,
        Stage::ImageCluster => &s.image_cluster.device,
        Stage::Retrieve => &s.retrieve.device,
        Stage::Caption => &s.caption.device,
        Stage::Tag => &s.tag.device,
        Stage::Generate => &s.generate.device,
        Stage::PairScore => &s.pair_score.device,
        _ => return None,
    })
}
