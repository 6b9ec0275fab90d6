//! Tags from labels and from a vocabulary.

use std::sync::Arc;

use super::encoder::ConseEncoder;
use super::labels::{likeliest, plain};
use crate::{ModelError, RgbView, Tag, Tagger, TextEncoder};

/// Settings of [`LabelTagger`].
#[derive(Debug, Clone, PartialEq)]
pub struct LabelTaggerOptions {
    /// Labels from this probability on are tags.
    pub min_probability: f32,
    /// Vocabulary nouns from this cosine on are tags.
    pub min_cosine: f32,
    /// Vocabulary nouns per image at most.
    pub max_nouns: usize,
}

impl Default for LabelTaggerOptions {
    fn default() -> Self {
        Self { min_probability: 0.1, min_cosine: 0.4, max_nouns: 5 }
    }
}

/// An image's likely labels, scored by probability, and the vocabulary's nouns nearest to the image, scored by cosine.
/// Both scales end at 1 but are not comparable otherwise: a demonstration of a tagger.
pub struct LabelTagger {
    encoder: Arc<ConseEncoder>,
    nouns: Vec<String>,
    /// `[nouns, dim]`.
    vectors: Vec<f32>,
    options: LabelTaggerOptions,
}

impl LabelTagger {
    /// Embeds the vocabulary with `text`, the encoder that `encoder` was loaded with.
    pub fn new(
        encoder: Arc<ConseEncoder>,
        text: &dyn TextEncoder,
        vocabulary: &[&str],
        options: LabelTaggerOptions,
    ) -> Result<Self, ModelError> {
        let vectors = text.encode(vocabulary)?;
        Ok(Self { encoder, nouns: vocabulary.iter().map(|noun| (*noun).to_owned()).collect(), vectors, options })
    }

    fn nearest(&self, shared: &[f32]) -> Vec<Tag> {
        let cosine = |vector: &[f32]| vector.iter().zip(shared).map(|(a, b)| a * b).sum::<f32>();
        let nouns = self.nouns.iter().zip(self.vectors.chunks_exact(shared.len()));
        let tags = nouns.map(|(noun, vector)| Tag { name: noun.clone(), score: cosine(vector) });
        let mut tags: Vec<Tag> = tags.filter(|tag| tag.score >= self.options.min_cosine).collect();
        rank(&mut tags);
        tags.truncate(self.options.max_nouns);
        tags
    }
}

impl Tagger for LabelTagger {
    fn tag(&self, images: &[RgbView<'_>]) -> Result<Vec<Vec<Tag>>, ModelError> {
        let classified = self.encoder.network.classify(images)?;
        let tags = |image: &crate::Classified| {
            let labels = likeliest(&image.probabilities, image.probabilities.len()).into_iter();
            let labels = labels.take_while(|(_, p)| *p >= self.options.min_probability);
            let named = labels.map(|(label, score)| Tag { name: plain(&self.encoder.names[label]).to_owned(), score });
            merge(named.chain(self.nearest(&self.encoder.shared(image))))
        };
        Ok(classified.iter().map(tags).collect())
    }
}

/// Best first, ties by name.
fn rank(tags: &mut [Tag]) {
    tags.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.name.cmp(&b.name)));
}

/// Each name once, with its best score.
fn merge(tags: impl Iterator<Item = Tag>) -> Vec<Tag> {
    let mut all: Vec<Tag> = tags.collect();
    rank(&mut all);
    let mut merged: Vec<Tag> = Vec::with_capacity(all.len());
    for tag in all {
        if !merged.iter().any(|kept| kept.name == tag.name) {
            merged.push(tag);
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(name: &str, score: f32) -> Tag {
        Tag { name: name.into(), score }
    }

    #[test]
    fn a_name_is_kept_once_with_its_best_score() {
        let merged = merge([tag("dog", 0.4), tag("cat", 0.5), tag("dog", 0.9), tag("ant", 0.5)].into_iter());
        assert_eq!(merged, [tag("dog", 0.9), tag("ant", 0.5), tag("cat", 0.5)]);
    }
}
