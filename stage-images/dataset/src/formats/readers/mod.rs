//! Readers: from a corpus as it is published to one form of document.
//!
//! A reader goes through one input file and hands over one document at a time. A document that is not sound costs
//! itself and is reported with a reason from a closed list; a file that is not sound is an error.

mod html;
mod html_tags;
mod images;
mod obelics;
mod url;

use serde::{Deserialize, Serialize};

pub use html::read_html;
pub use images::{escape, image_documents, is_image};
pub use obelics::{OBELICS_COLUMNS, read_obelics};
pub use url::resolve_url;

/// One interleaved document. Blocks and images share one numbering, in the order of the page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Where the document comes from, if that is known.
    pub url: Option<String>,
    /// Its row in the input file, from 0.
    pub source_row: u64,
    /// Its text, in ascending positions. No block is blank.
    pub blocks: Vec<Block>,
    /// Its images, in ascending positions.
    pub images: Vec<ImageRef>,
    /// The licence that the document states, as a URL or a name.
    pub licence: Option<String>,
    /// Images that name no place to read from: `data:` URLs and URLs that cannot be resolved.
    pub ignored_images: u32,
}

/// A run of text: a paragraph, a heading, or several paragraphs with blank lines between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its place in the document.
    pub position: u32,
    /// The text.
    pub text: String,
}

/// An image that a document shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRef {
    /// Its place in the document.
    pub position: u32,
    /// Where the image can be read.
    pub url: String,
    /// Its alternative text, never blank.
    pub alt: Option<String>,
}

/// A document that is left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {row} is left out: {}", reason.as_str())]
pub struct DocumentReject {
    /// Its row in the input file, from 0.
    pub row: u64,
    /// Why.
    pub reason: RejectReason,
}

/// Why a document is left out. The names are stored and counted; they never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RejectReason {
    /// A column that must have a value is null.
    NullColumn,
    /// Text is neither UTF-8 nor in an encoding that the document declares and this reader knows.
    InvalidUtf8,
    /// The metadata is not JSON, or not of the form that the format prescribes.
    MalformedMetadata,
    /// Lists that must run in parallel differ in length.
    LengthMismatch,
    /// One position holds both an image and a text.
    ImageAndText,
    /// The document, or a part of it, is above a limit of the reader.
    TooLarge,
}

impl RejectReason {
    /// The name under which the reason is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NullColumn => "null-column",
            Self::InvalidUtf8 => "invalid-utf8",
            Self::MalformedMetadata => "malformed-metadata",
            Self::LengthMismatch => "length-mismatch",
            Self::ImageAndText => "image-and-text",
            Self::TooLarge => "too-large",
        }
    }
}

/// What one document may hold.
#[derive(Clone, Debug)]
pub struct DocumentLimits {
    /// Bytes of the document as it is stored.
    pub bytes: u64,
    /// Positions: images, texts and empty places together.
    pub positions: u32,
}

impl Default for DocumentLimits {
    fn default() -> Self {
        Self { bytes: 16 << 20, positions: 100_000 }
    }
}

/// `text` without white space at its ends, or nothing if it is blank.
fn non_blank(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
