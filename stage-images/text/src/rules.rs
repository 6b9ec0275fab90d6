//! Which sentences are kept (paper §3.2: no emoji, no URL, 3 to 81 words, caption complexity of at least one, an action),
//! and, beyond the paper, in which languages and whether with personal data.

use crate::complexity::analyse;
use crate::language::is_foreign;
use crate::patterns::{has_emoji, has_personal_data, has_url};

/// What to do with sentences that hold e-mail addresses, telephone numbers and the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PersonalData {
    /// Keep them.
    Keep,
    /// Drop the sentence.
    Drop,
}

/// The rules of the stage `sentences`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentenceRules {
    /// Fewest words; words are separated by white space.
    pub min_words: usize,
    /// Most words.
    pub max_words: usize,
    /// Least caption complexity, see [`crate::complexity::Analysis`]; 0 asks for none.
    pub min_complexity: usize,
    /// Does a sentence need an action (a verb that is not merely auxiliary)?
    pub require_action: bool,
    /// Languages to keep, by ISO 639-1; empty keeps all. A sentence whose language can't be told (too short, or too close
    /// to call) is kept.
    pub languages: Vec<String>,
    /// What to do with personal data.
    pub personal_data: PersonalData,
}

impl Default for SentenceRules {
    /// The paper's rules; any language; personal data dropped.
    fn default() -> Self {
        Self {
            min_words: 3,
            max_words: 81,
            min_complexity: 1,
            require_action: true,
            languages: Vec::new(),
            personal_data: PersonalData::Drop,
        }
    }
}

/// Why a sentence was dropped: the first rule, in this order, that it broke. Cheap rules come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SentenceDrop {
    /// It holds an emoji.
    Emoji,
    /// It holds a URL or a domain name.
    Url,
    /// Fewer words than [`SentenceRules::min_words`].
    TooFewWords,
    /// More words than [`SentenceRules::max_words`].
    TooManyWords,
    /// An e-mail address, telephone number, IPv4 address, social security or payment card number.
    PersonalData,
    /// Certainly in another language.
    Language,
    /// No object with as many attributes and relations as asked for.
    NoComplexity,
    /// No action.
    NoAction,
}

impl SentenceDrop {
    /// All reasons, in the order in which the rules are tried.
    pub const ALL: [Self; 8] = [
        Self::Emoji,
        Self::Url,
        Self::TooFewWords,
        Self::TooManyWords,
        Self::PersonalData,
        Self::Language,
        Self::NoComplexity,
        Self::NoAction,
    ];

    /// The reason's name in records and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Emoji => "emoji",
            Self::Url => "url",
            Self::TooFewWords => "too-few-words",
            Self::TooManyWords => "too-many-words",
            Self::PersonalData => "personal-data",
            Self::Language => "language",
            Self::NoComplexity => "no-complexity",
            Self::NoAction => "no-action",
        }
    }
}

impl SentenceRules {
    /// Checks a sentence.
    ///
    /// # Errors
    /// The first rule that it breaks, in the order of [`SentenceDrop::ALL`].
    pub fn check(&self, sentence: &str) -> Result<(), SentenceDrop> {
        let drop_if = |broken: bool, reason| if broken { Err(reason) } else { Ok(()) };

        drop_if(has_emoji(sentence), SentenceDrop::Emoji)?;
        drop_if(has_url(sentence), SentenceDrop::Url)?;
        // Counting stops just above the limit: a sentence may be a megabyte long.
        let words = sentence.split_whitespace().take(self.max_words.saturating_add(1)).count();
        drop_if(words < self.min_words, SentenceDrop::TooFewWords)?;
        drop_if(words > self.max_words, SentenceDrop::TooManyWords)?;
        drop_if(self.personal_data == PersonalData::Drop && has_personal_data(sentence), SentenceDrop::PersonalData)?;
        drop_if(!self.languages.is_empty() && is_foreign(sentence, &self.languages), SentenceDrop::Language)?;
        if self.min_complexity > 0 || self.require_action {
            let analysis = analyse(sentence);
            drop_if(analysis.complexity < self.min_complexity, SentenceDrop::NoComplexity)?;
            drop_if(self.require_action && analysis.actions == 0, SentenceDrop::NoAction)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
