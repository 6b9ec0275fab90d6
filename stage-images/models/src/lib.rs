//! Models behind small traits: encoders, scorer, captioner, tagger, generator. No storage, no network, no async;
//! weights come from folders on disk, each pinned by [`folder_sha256`].
//!
//! | trait | on the CPU |
//! |---|---|
//! | [`TextEncoder`] | [`MiniLm`]: all-MiniLM-L6-v2, 384 dimensions, safetensors |
//! | [`ImageEncoder`] | [`ConseEncoder`]: EfficientNet-Lite0 joined to MiniLM by label names |
//! | [`Scorer`], [`Generator`] | [`SmolLm`]: SmolLM2-135M-Instruct, GGUF |
//! | [`Captioner`], [`Tagger`] | [`LabelCaptioner`], [`LabelTagger`]: wording and ranking of EfficientNet's labels |
//!
//! What is behind [`ImageEncoder`], [`Captioner`] and [`Tagger`] here is a demonstration that runs anywhere, not a
//! replacement for the paper's CLIP, OFA and RAM++: it knows 1,000 labels, and neither people, places, scenes, maps,
//! diagrams nor writing. The cosines of its `shared` space rank images of what ImageNet has and say little about the
//! rest; thresholds made for CLIP do not carry over.
//!
//! # Same input, same bits
//!
//! What goes through a model together is a pure function of the input list, each batch runs on one thread, and threads
//! only share batches out; so results do not depend on the number of threads (a test compares processes with one and
//! three). They may differ in the last bits between kinds of processor, because the matrix product picks its kernels
//! and block sizes by instruction set and cache. How far a result can move when the *rest* of the list changes is
//! stated at each model.
//!
//! # Hostile files
//!
//! Weights are never executed. PyTorch's old pickle format, in which EfficientNet-Lite0 is published, is read by a
//! reader for the few instructions that a state dictionary needs, and only where the file's SHA-256 is the expected
//! one; the tensors are kept as safetensors, and later loads read those. Every tensor's name and shape is checked while a
//! model loads.
#![forbid(unsafe_code)]

mod batches;
mod clip;
mod demo;
mod efficientnet;
mod error;
mod folder;
mod minilm;
mod numeric;
mod smollm;
#[cfg(test)]
mod tests;
mod torch;
mod traits;
mod weights;
mod workers;

pub use clip::{ClipTokenizer, is_blank_to_clip};
pub use demo::{ConseEncoder, LabelCaptioner, LabelTagger, LabelTaggerOptions};
pub use efficientnet::{Classified, EfficientNet, View};
pub use error::ModelError;
pub use folder::{file_sha256, folder_sha256};
pub use minilm::MiniLm;
pub use smollm::{SmolLm, SmolLmOptions};
pub use traits::{
    Captioner, FinishReason, Generated, Generator, ImageEmbedding, ImageEncoder, Prompt, RgbView, Scorer, Tag, Tagger,
    TextEncoder, TextScore,
};
