//! Whether two sentences of like meaning say the same thing: their numbers, negations and opposites agree.
//!
//! Sentence embeddings place "in 1914" beside "in 1915", and a sentence beside its negation; word by word they differ.

use std::collections::BTreeMap;

/// Words that turn a statement around; a trailing `n't` counts as one.
const NEGATIONS: &[&str] =
    &["not", "no", "never", "none", "nobody", "nothing", "nowhere", "neither", "nor", "without", "cannot", "hardly"];

/// Prefixes that turn a word into its opposite.
const OPPOSITES: &[&str] = &["un", "non", "dis", "in", "im", "il", "ir", "anti"];

/// Numbers that are written as words. `one` is not among them: it is a pronoun as often.
const NUMBERS: &[&str] = &[
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
    "hundred",
    "thousand",
    "million",
    "billion",
    "trillion",
    "half",
    "twice",
    "third",
    "fourth",
];

/// Whether `a` and `b` hold the same numbers, as often a negation, and no word of one is the opposite of a word of the other.
/// Order, case and punctuation do not count. It is the same either way round, and says nothing of what else they mean.
///
/// Numbers are compared as written, but for the commas of thousands; written as words, they are compared as words.
pub fn same_claim(a: &str, b: &str) -> bool {
    let (a, b) = (Claim::of(a), Claim::of(b));
    a.numbers == b.numbers && a.negations == b.negations && !a.opposes(&b)
}

struct Claim {
    numbers: BTreeMap<String, usize>,
    words: BTreeMap<String, usize>,
    negations: usize,
}

impl Claim {
    fn of(text: &str) -> Self {
        let mut claim = Self { numbers: BTreeMap::new(), words: BTreeMap::new(), negations: 0 };
        let lower = text.to_lowercase().replace('\u{2019}', "'");
        let inside = |c: char| c.is_alphanumeric() || matches!(c, '\'' | ',' | '.');
        for word in lower.split(|c| !inside(c)).map(|word| word.trim_matches(['\'', ',', '.'])) {
            if word.contains(|c: char| c.is_numeric()) {
                *claim.numbers.entry(word.replace(',', "")).or_default() += 1;
                continue;
            }
            for word in word.split([',', '.']).filter(|word| !word.is_empty()) {
                claim.word(word);
            }
        }
        claim
    }

    fn word(&mut self, word: &str) {
        if NEGATIONS.contains(&word) || word.ends_with("n't") {
            self.negations += 1;
        } else if NUMBERS.contains(&word) {
            *self.numbers.entry(word.to_owned()).or_default() += 1;
        } else {
            *self.words.entry(word.to_owned()).or_default() += 1;
        }
    }

    /// Words that occur here more often than there.
    fn beyond<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        let more = |(word, n): &(&String, &usize)| **n > other.words.get(*word).copied().unwrap_or(0);
        self.words.iter().filter(more).map(|(word, _)| word.as_str())
    }

    fn opposes(&self, other: &Self) -> bool {
        let negates = |long: &str, short: &str| {
            short.len() > 2 && OPPOSITES.iter().any(|prefix| long.strip_prefix(prefix) == Some(short))
        };
        self.beyond(other).any(|mine| other.beyond(self).any(|theirs| negates(mine, theirs) || negates(theirs, mine)))
    }
}

#[cfg(test)]
mod tests {
    use super::same_claim;

    #[test]
    fn numbers_negations_and_opposites_part_sentences() {
        for (a, b) in [
            ("In 1914, war broke out.", "In 1915, war broke out."),
            ("Of 6,502 people, most stayed.", "Of 65,020 people, most stayed."),
            ("It weighs 1.5 tons.", "It weighs 15 tons."),
            ("Two moons circle it.", "Three moons circle it."),
            ("The star is visible.", "The star is not visible."),
            ("They were happy there.", "They were unhappy there."),
            ("He could see it.", "He couldn\u{2019}t see it."),
            ("Life goes on with water.", "Life goes on without water."),
        ] {
            assert!(!same_claim(a, b), "{a} | {b}");
            assert!(!same_claim(b, a), "{b} | {a}");
        }
    }

    #[test]
    fn other_words_case_and_punctuation_do_not() {
        for (a, b) in [
            ("In 1914, war broke out.", "war broke out in 1914"),
            ("Of 6,502 people, most stayed.", "Most of the 6502 people stayed!"),
            ("A dog runs over the grass.", "A dog is running across a lawn."),
            ("It isn't far.", "It is not far."),
            ("Such islands...are rare.", "Such islands are rare"),
            ("", ""),
        ] {
            assert!(same_claim(a, b), "{a} | {b}");
        }
    }
}
