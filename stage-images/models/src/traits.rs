//! The traits behind which every engine sits. No tensors and no async: slices in, plain values out.
//!
//! All of them are `Send + Sync` and take `&self`; one loaded model serves a whole process. The result for an input
//! list depends on the list alone, never on the number of threads.

use crate::ModelError;

/// A borrowed 8-bit RGB image, rows from top to bottom, no padding between rows.
#[derive(Debug, Clone, Copy)]
pub struct RgbView<'a> {
    width: u32,
    height: u32,
    data: &'a [u8],
}

impl<'a> RgbView<'a> {
    /// Borrows `data: [height, width, 3]`. `None` when a side is 0 or `data` has another length.
    pub fn new(width: u32, height: u32, data: &'a [u8]) -> Option<Self> {
        let expected = (width as usize).checked_mul(height as usize)?.checked_mul(3)?;
        (expected > 0 && data.len() == expected).then_some(Self { width, height, data })
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The pixels, `[height, width, 3]`.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }
}

/// Texts to vectors of the space that images share.
pub trait TextEncoder: Send + Sync {
    /// Dimensions of a vector.
    fn dim(&self) -> usize;

    /// `[texts.len(), dim]`, row by row in input order, each row of unit Euclidean length.
    fn encode(&self, texts: &[&str]) -> Result<Vec<f32>, ModelError>;
}

/// What an image encoder knows of one image. Both vectors have unit Euclidean length.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageEmbedding {
    /// In the space of the [`TextEncoder`] that belongs to this encoder: for retrieval.
    pub shared: Vec<f32>,
    /// In the encoder's own space: for duplicates and clusters. Equal to `shared` for a dual encoder such as CLIP.
    pub visual: Vec<f32>,
}

/// Images to vectors.
pub trait ImageEncoder: Send + Sync {
    /// Dimensions of [`ImageEmbedding::shared`].
    fn shared_dim(&self) -> usize;

    /// Dimensions of [`ImageEmbedding::visual`].
    fn visual_dim(&self) -> usize;

    /// One embedding per image, in input order.
    fn encode(&self, images: &[RgbView<'_>]) -> Result<Vec<ImageEmbedding>, ModelError>;
}

/// The score of one text under a causal language model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextScore {
    /// Sum of −ln p(token | the tokens before it) over the scored tokens, in nats.
    pub nll_sum: f64,
    /// Number of scored tokens. 0 for a text too short to have a predicted token.
    pub tokens: u32,
}

impl TextScore {
    /// Perplexity: exp(nll_sum / tokens) (paper §3.1, Eq. 2). `None` when nothing was scored.
    pub fn perplexity(&self) -> Option<f64> {
        (self.tokens > 0).then(|| (self.nll_sum / f64::from(self.tokens)).exp())
    }
}

/// Texts to their likelihood under a causal language model.
pub trait Scorer: Send + Sync {
    /// One score per text, in input order.
    fn score(&self, texts: &[&str]) -> Result<Vec<TextScore>, ModelError>;
}

/// Images to one caption each.
pub trait Captioner: Send + Sync {
    /// One caption per image, in input order.
    fn caption(&self, images: &[RgbView<'_>]) -> Result<Vec<String>, ModelError>;
}

/// A tag with its score; the scale is the tagger's own, higher is surer.
#[derive(Debug, Clone, PartialEq)]
pub struct Tag {
    /// The tag, lower case unless it is a name.
    pub name: String,
    /// Higher is surer.
    pub score: f32,
}

/// Images to tags.
pub trait Tagger: Send + Sync {
    /// The tags of each image in input order, best first; ties by name.
    fn tag(&self, images: &[RgbView<'_>]) -> Result<Vec<Vec<Tag>>, ModelError>;
}

/// What to ask a chat model.
#[derive(Debug, Clone, Copy)]
pub struct Prompt<'a> {
    /// The system message. Prompts that share it share the work for it.
    pub system: &'a str,
    /// The user message.
    pub user: &'a str,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended its turn.
    Stop,
    /// The limit of new tokens or the context was reached; the text is cut.
    Length,
}

/// One generated text.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// The text, without the tokens that ended it, white space trimmed at both ends.
    pub text: String,
    /// Number of generated tokens, without the one that ended the turn.
    pub tokens: u32,
    /// Why it ended.
    pub finish: FinishReason,
}

/// Prompts to texts.
pub trait Generator: Send + Sync {
    /// One text per prompt, in input order.
    fn generate(&self, prompts: &[Prompt<'_>]) -> Result<Vec<Generated>, ModelError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_needs_exactly_its_bytes() {
        assert!(RgbView::new(2, 3, &[0; 18]).is_some());
        assert!(RgbView::new(2, 3, &[0; 17]).is_none());
        assert!(RgbView::new(0, 3, &[]).is_none());
        assert!(RgbView::new(u32::MAX, u32::MAX, &[0; 3]).is_none());
    }

    #[test]
    fn perplexity_is_the_exponential_of_the_mean() {
        let score = TextScore { nll_sum: 3.0 * 7f64.ln(), tokens: 3 };
        assert!((score.perplexity().unwrap() - 7.0).abs() < 1e-12);
        assert_eq!(TextScore { nll_sum: 0.0, tokens: 0 }.perplexity(), None);
    }
}
