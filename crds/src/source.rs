//! Where documents and images come from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the source's documents are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Parquet files in the schema of OBELICS.
    #[default]
    Obelics,
    /// JSON lines in the schema of MMC4.
    Mmc4,
    /// Parquet files in the schema of OmniCorpus.
    Omnicorpus,
    /// HTML pages.
    Html,
    /// Image files without text, loose or in tars; `sentencesFrom` names where the sentences come from.
    Images,
}

impl Format {
    /// The format's name in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Obelics => "obelics",
            Self::Mmc4 => "mmc4",
            Self::Omnicorpus => "omnicorpus",
            Self::Html => "html",
            Self::Images => "images",
        }
    }
}

/// The corpus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// How the documents are written. `obelics`, `html` and `images` can be read.
    pub format: Format,
    /// Where the documents are: `s3://bucket/prefix`, `file:///path` or a relative path.
    ///
    /// It is hashed for the name of the inventory and nowhere else.
    #[schemars(length(min = 1, max = 2048))]
    pub uri: String,
    /// Change it to list the source again.
    #[serde(default = "zero")]
    #[schemars(length(min = 1, max = 63))]
    pub revision: String,
    /// Where images lie that need no fetching: the longest prefix of a URL wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub image_mirrors: Vec<ImageMirror>,
    /// How images are fetched.
    #[serde(default)]
    pub fetch: Fetch,
}

/// A URL prefix and the store that holds what lies below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageMirror {
    /// The beginning of the image URLs that this mirror holds.
    #[schemars(length(min = 1, max = 2048))]
    pub prefix: String,
    /// The folder under which the rest of the URL names a file.
    #[schemars(length(min = 1, max = 2048))]
    pub uri: String,
}

/// How images are fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Fetch {
    /// Where an image without a mirror comes from. What is recorded stays; a new revision fetches again.
    pub policy: FetchPolicy,
    /// Change it to fetch every image again.
    #[schemars(length(min = 1, max = 63))]
    pub revision: String,
}

impl Default for Fetch {
    fn default() -> Self {
        Self { policy: FetchPolicy::default(), revision: zero() }
    }
}

/// Where an image without a mirror comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FetchPolicy {
    /// From nowhere: it is recorded as `not-fetched`.
    #[default]
    MirrorsOnly,
    /// From the network.
    Network,
}

/// A list that lies in a store, and its content's hash. Only the hash counts: a list may be moved freely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListRef {
    /// The file, one entry a line.
    #[schemars(length(min = 1, max = 2048))]
    pub uri: String,
    /// SHA-256 of the file, in hex.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: String,
}

fn zero() -> String {
    "0".to_owned()
}
