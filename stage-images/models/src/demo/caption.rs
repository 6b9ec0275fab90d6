//! Captions from labels.

use std::path::Path;
use std::sync::Arc;

use super::labels::{likeliest, names, plain};
use crate::{Captioner, EfficientNet, ModelError, RgbView};

/// Says what the network takes an image for, and how sure it is: a demonstration of a captioner, with one noun and no
/// scene.
pub struct LabelCaptioner {
    network: Arc<EfficientNet>,
    names: Vec<String>,
}

impl LabelCaptioner {
    /// Reads the label names of a model folder. `network` is the one that was loaded from the same folder.
    pub fn load(folder: &Path, network: Arc<EfficientNet>) -> Result<Self, ModelError> {
        Ok(Self { network, names: names(folder)? })
    }
}

impl Captioner for LabelCaptioner {
    fn caption(&self, images: &[RgbView<'_>]) -> Result<Vec<String>, ModelError> {
        let classified = self.network.classify(images)?;
        let named = |image: &crate::Classified| -> Vec<(&str, f32)> {
            likeliest(&image.probabilities, 3).into_iter().map(|(label, p)| (plain(&self.names[label]), p)).collect()
        };
        Ok(classified.iter().map(|image| sentence(&named(image))).collect())
    }
}

/// The caption for the likeliest names, best first.
fn sentence(names: &[(&str, f32)]) -> String {
    let mut distinct: Vec<String> = Vec::new();
    for (name, _) in names {
        let name = with_article(name);
        if !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    let sure: f32 = names.first().map_or(0.0, |(_, p)| *p);
    match (distinct.as_slice(), sure) {
        ([first, ..], p) if p >= 0.5 => format!("a photo of {first}"),
        ([first, second, ..], p) if p >= 0.2 => format!("a photo of what looks like {first} or {second}"),
        ([], _) => "an image".to_owned(),
        (all, _) => format!("an image that resembles {}", all.join(" or ")),
    }
}

fn with_article(name: &str) -> String {
    // By letter, with the names that sound otherwise: "unicycle", "hourglass".
    let lower = name.to_lowercase();
    let vowel =
        lower.starts_with(['a', 'e', 'i', 'o', 'u']) && !lower.starts_with("uni") || lower.starts_with("hourglass");
    format!("{} {name}", if vowel { "an" } else { "a" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wording_follows_the_probability() {
        assert_eq!(sentence(&[("tench", 0.9), ("goldfish", 0.05)]), "a photo of a tench");
        assert_eq!(sentence(&[("axolotl", 0.3), ("crane", 0.2)]), "a photo of what looks like an axolotl or a crane");
        assert_eq!(
            sentence(&[("crane", 0.1), ("crane", 0.1), ("hourglass", 0.0)]),
            "an image that resembles a crane or an hourglass"
        );
        assert_eq!(sentence(&[]), "an image");
    }

    #[test]
    fn articles_follow_the_sound() {
        assert_eq!(with_article("American robin"), "an American robin");
        assert_eq!(with_article("unicycle"), "a unicycle");
    }
}
