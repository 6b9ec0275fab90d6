//! Words with their part of speech.

use std::sync::LazyLock;

use harper_brill::{Tagger, UPOS, brill_tagger};

/// The parts of speech that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Adjective,
    Adverb,
    Auxiliary,
    /// A form of "be".
    Be,
    Conjunction,
    Determiner,
    Name,
    Noun,
    Number,
    Preposition,
    Pronoun,
    /// A mark that ends a clause.
    Stop,
    Verb,
    Other,
}

impl Tag {
    pub fn is_noun(self) -> bool {
        matches!(self, Self::Noun | Self::Name)
    }
}

pub(super) struct Word<'a> {
    pub text: &'a str,
    pub tag: Tag,
}

impl Word<'_> {
    pub fn is_participle(&self) -> bool {
        self.text.ends_with("ing") || self.text.ends_with("ed") || self.text.ends_with("en")
    }

    pub fn can_be_subject(&self) -> bool {
        self.tag.is_noun() || matches!(self.tag, Tag::Pronoun | Tag::Auxiliary | Tag::Be)
    }
}

/// Splits a sentence into words and punctuation marks, and tags them.
pub(super) fn tag(sentence: &str) -> Vec<Word<'_>> {
    static TAGGER: LazyLock<std::sync::Arc<harper_brill::BrillTagger<harper_brill::FreqDict>>> =
        LazyLock::new(brill_tagger);
    let tokens = tokens(sentence);
    let owned: Vec<String> = tokens.iter().map(|t| t.replace('’', "'")).collect();
    let tags = TAGGER.tag_sentence(&owned);
    let tagged = tokens.into_iter().zip(tags).enumerate();
    let mut words: Vec<_> = tagged.map(|(i, (text, known))| Word { text, tag: judge(text, known, i == 0) }).collect();
    if !words.iter().any(|w| w.tag == Tag::Verb || w.tag == Tag::Be) {
        find_verb(&mut words);
    }
    words
}

/// In a sentence without a verb, the tagger mostly took one for a noun: "the engineer *measures* the pressure". A noun
/// within a phrase is followed by no determiner, possessive or number; a plural, after a singular, by no noun or adjective.
fn find_verb(words: &mut [Word]) {
    let plural = |w: &Word| w.text.ends_with('s') && !w.text.ends_with("ss");
    let is_verb = |w: &[Word]| {
        let (subject, verb, object) = (&w[0], &w[1], &w[2]);
        let lower = verb.text.starts_with(char::is_lowercase);
        let phrase_starts = matches!(object.tag, Tag::Determiner | Tag::Number) || is_possessive(object.text);
        let phrase_goes_on = object.tag == Tag::Adjective || object.tag.is_noun();
        subject.tag.is_noun()
            && verb.tag.is_noun()
            && lower
            && (phrase_starts || (phrase_goes_on && plural(verb) && !plural(subject)))
    };
    if let Some(i) = words.windows(3).position(is_verb) {
        words[i + 1].tag = Tag::Verb;
    }
}

fn is_possessive(text: &str) -> bool {
    matches!(text, "my" | "your" | "his" | "her" | "its" | "our" | "their")
}

/// Words keep their apostrophes and hyphens; every other mark is a token of its own.
fn tokens(sentence: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    for chunk in sentence.split_whitespace() {
        let mut rest = chunk;
        while let Some(first) = rest.chars().next() {
            let length = if first.is_alphanumeric() { word_length(rest) } else { first.len_utf8() };
            let (token, after) = rest.split_at(length);
            tokens.push(token);
            rest = after;
        }
    }
    tokens
}

fn word_length(text: &str) -> usize {
    let mut chars = text.char_indices().peekable();
    while let Some((i, c)) = chars.next() {
        let inner = matches!(c, '\'' | '’' | '-' | '.' | ',') && chars.peek().is_some_and(|(_, n)| n.is_alphanumeric());
        if !c.is_alphanumeric() && !unicode_normalization::char::is_combining_mark(c) && !inner {
            return i;
        }
    }
    text.len()
}

const BE: &[&str] = &[
    "be", "am", "is", "are", "was", "were", "been", "being", "isn't", "aren't", "wasn't", "weren't", "it's", "that's",
    "there's", "he's", "she's", "i'm", "you're", "we're", "they're",
];

fn judge(text: &str, known: Option<UPOS>, first: bool) -> Tag {
    let lower = text.to_lowercase().replace('’', "'");
    if BE.contains(&lower.as_str()) {
        return Tag::Be;
    }
    let Some(known) = known else {
        return guess(text, &lower, first);
    };
    match known {
        UPOS::ADJ => Tag::Adjective,
        UPOS::ADP => Tag::Preposition,
        UPOS::ADV => Tag::Adverb,
        UPOS::AUX => Tag::Auxiliary,
        UPOS::CCONJ => Tag::Conjunction,
        UPOS::DET => Tag::Determiner,
        UPOS::NOUN => Tag::Noun,
        UPOS::NUM => Tag::Number,
        UPOS::PRON => Tag::Pronoun,
        UPOS::PROPN if text.starts_with(char::is_lowercase) => Tag::Noun,
        UPOS::PROPN => Tag::Name,
        UPOS::PUNCT if matches!(text, "." | ";" | ":" | "?" | "!") => Tag::Stop,
        UPOS::VERB => Tag::Verb,
        UPOS::PUNCT | UPOS::INTJ | UPOS::PART | UPOS::SCONJ | UPOS::SYM => Tag::Other,
    }
}

/// A word that the tagger does not know, by its form.
fn guess(text: &str, lower: &str, first: bool) -> Tag {
    let ends = |suffixes: &[&str]| suffixes.iter().any(|s| lower.len() > s.len() + 2 && lower.ends_with(s));
    if !text.starts_with(char::is_alphanumeric) {
        if matches!(text, "." | ";" | ":" | "?" | "!") { Tag::Stop } else { Tag::Other }
    } else if text.starts_with(char::is_numeric) {
        Tag::Number
    } else if !first && text.starts_with(char::is_uppercase) {
        Tag::Name
    } else if ends(&["ly"]) {
        Tag::Adverb
    } else if ends(&["ing", "ed", "ize", "ise", "ify"]) {
        Tag::Verb
    } else if ends(&["ous", "ful", "ive", "able", "ible", "ic", "less", "ish", "al", "ary"]) {
        Tag::Adjective
    } else {
        Tag::Noun
    }
}
