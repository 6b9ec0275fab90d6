//! Word statistics and the information entropy of a sentence (paper §3.2, Eq. 1).

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::normalise::words;

/// The base of the logarithm in Eq. 1. The paper does not say; its examples fit two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogBase {
    /// Bits.
    #[default]
    Two,
    /// Nats.
    E,
}

/// How often each word occurs in the corpus: the most frequent words by name, the rest as a sum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Record", into = "Record")]
pub struct WordTable {
    record: Record,
    counts: HashMap<String, u64>,
}

/// A table as it is written down: `words` by falling count, equal counts by word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Record {
    total: u64,
    tail: Tail,
    words: Vec<(String, u64)>,
}

/// The words that the table does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tail {
    /// How many different words.
    pub words: u64,
    /// How often they occur, all together.
    pub count: u64,
}

/// Why a word table could not be built or read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WordTableError {
    /// The counts do not fit a `u64`.
    #[error("the word counts add up to more than 2^64; weigh the words by less")]
    Overflow,
    /// The total is not the sum of its parts.
    #[error("the word table's total is {total}, but its words and tail add up to {sum}; build the table again")]
    Total {
        /// What the table says.
        total: u64,
        /// What it holds.
        sum: u64,
    },
    /// Words out of order, twice, or with a count of zero.
    #[error("the word table is not in order at {word:?}; build the table again")]
    Order {
        /// The first word out of order.
        word: String,
    },
}

impl WordTable {
    /// Builds a table from words and their counts, in any order; the counts of a word given twice are added, words with
    /// a count of zero left out. Names the `most` most frequent words, among equals the first by byte order.
    ///
    /// # Errors
    /// [`WordTableError::Overflow`].
    pub fn build(counts: impl IntoIterator<Item = (String, u64)>, most: usize) -> Result<Self, WordTableError> {
        let mut sums = BTreeMap::<String, u64>::new();
        let mut total = 0u64;
        for (word, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            total = total.checked_add(count).ok_or(WordTableError::Overflow)?;
            *sums.entry(word).or_default() += count;
        }
        let mut words: Vec<_> = sums.into_iter().collect();
        words.sort_by(order);
        let rest = words.split_off(most.min(words.len()));
        let tail = Tail { words: rest.len() as u64, count: rest.iter().map(|(_, count)| count).sum() };
        Record { total, tail, words }.try_into()
    }

    /// A table of words that were counted and cut elsewhere: the most frequent ones by falling count, equal counts by
    /// word, and what the others amount to.
    ///
    /// # Errors
    /// [`WordTableError::Overflow`], and [`WordTableError::Order`] for words in another order.
    pub fn frozen(words: Vec<(String, u64)>, tail: Tail) -> Result<Self, WordTableError> {
        let total = words.iter().try_fold(tail.count, |sum, (_, count)| sum.checked_add(*count));
        Record { total: total.ok_or(WordTableError::Overflow)?, tail, words }.try_into()
    }

    /// How many words the corpus has, counted by occurrence.
    pub fn total(&self) -> u64 {
        self.record.total
    }

    /// The words that the table does not name.
    pub fn tail(&self) -> Tail {
        self.record.tail
    }

    /// The words that it names, by falling count, equal counts by word.
    pub fn words(&self) -> &[(String, u64)] {
        &self.record.words
    }

    /// The share of the corpus that `word` (as [`words`] gives it) is. A word without a name is taken for the tail's
    /// mean; where there is no tail, it does not occur and has share 0.
    pub fn probability(&self, word: &str) -> f64 {
        let Record { total, tail, .. } = &self.record;
        let count = match self.counts.get(word) {
            Some(&count) => count as f64,
            None if tail.words > 0 => tail.count as f64 / tail.words as f64,
            None => return 0.0,
        };
        count / *total as f64
    }

    /// Eq. 1: −Σ p(w) log p(w) over the *positions* of the sentence, so that a word that stands twice counts twice.
    /// Summed in word order; a word that does not occur adds nothing. A sentence without words has entropy 0.
    pub fn entropy(&self, sentence: &str, base: LogBase) -> f64 {
        let log = match base {
            LogBase::Two => f64::log2,
            LogBase::E => f64::ln,
        };
        words(sentence).map(|w| self.probability(&w)).filter(|&p| p > 0.0).fold(0.0, |sum, p| sum - p * log(p))
    }
}

fn order(a: &(String, u64), b: &(String, u64)) -> std::cmp::Ordering {
    b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0))
}

impl TryFrom<Record> for WordTable {
    type Error = WordTableError;

    fn try_from(record: Record) -> Result<Self, WordTableError> {
        let sum = record.words.iter().try_fold(record.tail.count, |sum, (_, count)| sum.checked_add(*count));
        let sum = sum.ok_or(WordTableError::Overflow)?;
        if sum != record.total {
            return Err(WordTableError::Total { total: record.total, sum });
        }
        let disorder = record.words.windows(2).find(|pair| order(&pair[0], &pair[1]).is_ge()).map(|pair| &pair[1]);
        if let Some((word, _)) = disorder.or_else(|| record.words.last().filter(|(_, count)| *count == 0)) {
            return Err(WordTableError::Order { word: word.clone() });
        }
        let counts = record.words.iter().cloned().collect();
        Ok(Self { record, counts })
    }
}

impl From<WordTable> for Record {
    fn from(table: WordTable) -> Self {
        table.record
    }
}

#[cfg(test)]
#[path = "entropy_tests.rs"]
mod tests;
