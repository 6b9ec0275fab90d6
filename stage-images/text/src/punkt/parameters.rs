//! The trained parameters, read from `data/punkt-english.txt` (its format: `data/README.md`).

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// Where a word type was seen in training, as flags.
pub(super) mod seen {
    /// With a capital, within a sentence.
    pub const MIDDLE_UPPER: u8 = 1 << 2;
    /// Without a capital, at the start of a sentence.
    pub const START_LOWER: u8 = 1 << 4;
    /// With a capital, anywhere.
    pub const UPPER: u8 = 1 << 1 | 1 << 2 | 1 << 3;
    /// Without a capital, anywhere.
    pub const LOWER: u8 = 1 << 4 | 1 << 5 | 1 << 6;
}

/// What the model knows about word types (lower-case; numbers are all `##number##`).
#[derive(Debug, Default)]
pub(super) struct Parameters {
    abbreviations: HashSet<&'static str>,
    collocations: HashSet<(&'static str, &'static str)>,
    starters: HashSet<&'static str>,
    orthography: HashMap<&'static str, u8>,
}

impl Parameters {
    /// The English model.
    pub fn english() -> &'static Self {
        static ENGLISH: LazyLock<Parameters> =
            LazyLock::new(|| Parameters::parse(include_str!("../../data/punkt-english.txt")));
        &ENGLISH
    }

    fn parse(text: &'static str) -> Self {
        let mut parameters = Self::default();
        for line in text.lines().filter(|l| !l.starts_with("# ")) {
            let (kind, value) = line.split_once('\t').expect("each line has a tab");
            match kind {
                "abbreviation" => {
                    parameters.abbreviations.insert(value);
                }
                "collocation" => {
                    parameters.collocations.insert(value.split_once('\t').expect("a collocation has two words"));
                }
                "starter" => {
                    parameters.starters.insert(value);
                }
                flags => {
                    parameters.orthography.insert(value, flags.parse().expect("flags are a number"));
                }
            }
        }
        parameters
    }

    /// Is `word` (lower-case, without its full stop) an abbreviation?
    pub fn is_abbreviation(&self, word: &str) -> bool {
        self.abbreviations.contains(word)
    }

    /// Do these two types stand together, the first with a full stop, within a sentence?
    pub fn is_collocation(&self, first: &str, second: &str) -> bool {
        self.collocations.contains(&(first, second))
    }

    /// Does this type often start a sentence?
    pub fn is_starter(&self, word: &str) -> bool {
        self.starters.contains(word)
    }

    /// The [`seen`] flags of a type.
    pub fn orthography(&self, word: &str) -> u8 {
        self.orthography.get(word).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_model_is_read() {
        let english = Parameters::english();
        assert_eq!(english.abbreviations.len(), 156);
        assert_eq!(english.collocations.len(), 37);
        assert_eq!(english.starters.len(), 39);
        assert!(english.orthography.len() > 20_000, "{}", english.orthography.len());
        assert!(english.is_abbreviation("ph.d") && english.is_abbreviation(". . "));
    }
}
