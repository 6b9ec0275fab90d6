//! Sentences, from text blocks to scores and near-duplicates.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Device, Execution};

/// `sentences`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Sentences {
    /// The NLTK version of the Punkt rules; 3.10 treats curly quotes otherwise.
    pub punkt_compat: PunktCompat,
    /// The fewest words of a sentence (paper §3.1: 3).
    #[schemars(range(max = 10_000))]
    pub min_words: u32,
    /// The most words of a sentence (paper §3.1: 81).
    #[schemars(range(min = 1, max = 10_000))]
    pub max_words: u32,
    /// The least caption complexity: attributes and relations of an object (CAT; paper §3.1: C1).
    #[schemars(range(max = 100))]
    pub min_complexity: u32,
    /// Whether a sentence must contain an action (CAT).
    pub require_action: bool,
    /// Languages to keep, as two-letter codes; none keeps all.
    #[schemars(length(max = 64))]
    pub languages: Vec<String>,
    /// What becomes of sentences with e-mail addresses, telephone numbers and the like.
    pub personal_data: PersonalData,
    /// How it runs.
    #[serde(flatten)]
    pub execution: Execution,
}

impl Default for Sentences {
    fn default() -> Self {
        Self {
            punkt_compat: PunktCompat::V3_9,
            min_words: 3,
            max_words: 81,
            min_complexity: 1,
            require_action: true,
            languages: vec!["en".to_owned()],
            personal_data: PersonalData::Drop,
            execution: Execution::default(),
        }
    }
}

/// The NLTK version whose Punkt rules split text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PunktCompat {
    /// As NLTK 3.9 and before.
    #[default]
    #[serde(rename = "3.9")]
    V3_9,
    /// As NLTK 3.10.
    #[serde(rename = "3.10")]
    V3_10,
}

/// What becomes of sentences with personal data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PersonalData {
    /// They stay.
    Keep,
    /// They go.
    #[default]
    Drop,
}

/// `sentence-dedup-exact`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SentenceDedupExact {
    /// How it runs.
    #[serde(flatten)]
    pub execution: Execution,
}

/// `word-stats`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct WordStats {
    /// The words of the frozen table, the most frequent first; the rest is summed up as its tail.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_words: u32,
    /// How it runs.
    #[serde(flatten)]
    pub execution: Execution,
}

impl Default for WordStats {
    fn default() -> Self {
        Self { max_words: 1_000_000, execution: Execution::default() }
    }
}

/// `sentence-score`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SentenceScore {
    /// The base of the logarithm in the entropy (paper §3.1, Eq. 1, leaves it open).
    pub log_base: LogBase,
    /// Whether the end-of-text token goes before a sentence, so that its first token is scored (Eq. 2).
    pub prepend_eos: bool,
    /// The least entropy that is kept (paper §3.1: 0.3).
    #[schemars(range(min = 0.0, max = 100.0))]
    pub min_entropy: f64,
    /// The perplexity that is kept (paper §3.1: 30 to 200).
    pub perplexity: Limits,
    /// How it runs.
    #[serde(flatten)]
    pub execution: Execution,
    /// What it computes on.
    #[serde(flatten)]
    pub device: Device,
}

impl Default for SentenceScore {
    fn default() -> Self {
        Self {
            log_base: LogBase::Two,
            prepend_eos: false,
            min_entropy: 0.3,
            perplexity: Limits::default(),
            execution: Execution::default(),
            device: Device::default(),
        }
    }
}

/// The base of a logarithm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LogBase {
    /// Bits.
    #[default]
    #[serde(rename = "2")]
    Two,
    /// Nats.
    #[serde(rename = "e")]
    E,
}

/// A band of perplexity; both ends are kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("x-kubernetes-validations" = [{"rule": "self.min <= self.max", "message": "min is above max, so that no sentence would be kept; swap them"}]))]
pub struct Limits {
    /// The least that is kept.
    #[schemars(range(min = 0.0))]
    pub min: f64,
    /// The most that is kept.
    #[schemars(range(min = 0.0))]
    pub max: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { min: 30.0, max: 200.0 }
    }
}

/// `sentence-dedup-near`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SentenceDedupNear {
    /// The least Jaccard similarity of the shingles of two texts that are the same.
    #[schemars(range(min = 0.5, max = 1.0))]
    pub threshold: f64,
    /// How it runs.
    #[serde(flatten)]
    pub execution: Execution,
}

impl Default for SentenceDedupNear {
    fn default() -> Self {
        Self { threshold: 0.8, execution: Execution::default() }
    }
}
