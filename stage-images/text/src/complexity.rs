//! Caption complexity and action, after CAT (Radenovic et al. 2023, "Filtering, Distillation, and Hard Negatives for
//! Vision-Language Pre-Training"): the objects of a sentence, their attributes and relations, and its actions.
//!
//! A part-of-speech tagger and shallow rules stand in for CAT's scene-graph parser. They are loose on purpose: the paper's
//! rules drop 14.6 % of the sentences of the web.

mod tags;

use tags::{Tag, Word, tag};

/// What a sentence shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Analysis {
    /// The most attributes and relations that any one object (noun) has; CAT's C1 is 1.
    ///
    /// An attribute is an adjective, number, participle or noun before the object, or an adjective after a form of "be".
    /// A relation is a preposition to another object or pronoun, or a verb of which it is subject or object.
    pub complexity: usize,
    /// How many verbs are more than auxiliaries; forms of "be" never are.
    pub actions: usize,
}

/// Analyses a sentence.
pub fn analyse(sentence: &str) -> Analysis {
    let words = tag(sentence);
    Analysis {
        complexity: heads(&words).map(|i| complexity(&words, i)).max().unwrap_or(0),
        actions: words.iter().filter(|w| w.tag == Tag::Verb).count(),
    }
}

/// The common nouns of a sentence, lower-case, in the singular where that is easy, in order, repeated as they repeat.
/// Names are left out.
pub fn nouns(sentence: &str) -> Vec<String> {
    tag(sentence).into_iter().filter(|w| w.tag == Tag::Noun).filter_map(|w| singular(w.text)).collect()
}

/// The objects: the last noun of each run of nouns.
fn heads(words: &[Word]) -> impl Iterator<Item = usize> {
    let is_noun = |i: usize| words.get(i).is_some_and(|w| w.tag.is_noun());
    (0..words.len()).filter(move |&i| is_noun(i) && !is_noun(i + 1))
}

/// Where the object's phrase begins, and how many adjectives, numbers, participles and nouns it has before the object.
fn phrase(words: &[Word], head: usize) -> (usize, usize) {
    let (mut start, mut count) = (head, 0);
    for i in (0..head).rev() {
        match words[i].tag {
            Tag::Adjective | Tag::Number | Tag::Noun | Tag::Name => count += 1,
            // "the running dog", "a painted wall", but not "dogs chased cats"
            Tag::Verb if words[i].is_participle() && (i == 0 || !words[i - 1].can_be_subject()) => count += 1,
            Tag::Adverb | Tag::Conjunction => {}
            _ => break,
        }
        start = i;
    }
    (start, count)
}

/// Is an adjective, noun or number said of the object: "the car is very red"?
fn has_predicate(words: &[Word], head: usize) -> bool {
    let mut after = words[head + 1..].iter().skip_while(|w| w.tag == Tag::Adverb);
    let linked = after.next().is_some_and(|w| w.tag == Tag::Be);
    let said = after.find(|w| !matches!(w.tag, Tag::Adverb | Tag::Determiner));
    linked && said.is_some_and(|w| matches!(w.tag, Tag::Adjective | Tag::Noun | Tag::Number))
}

/// The object's attributes and relations. A relation is a preposition or verb between it and the next object or clause, on
/// either side.
fn complexity(words: &[Word], head: usize) -> usize {
    let relates = |w: &Word| matches!(w.tag, Tag::Preposition | Tag::Verb);
    let ends = |w: &Word| w.tag.is_noun() || w.tag == Tag::Stop;
    let (start, attributes) = phrase(words, head);
    let before = words[..start].iter().rev().take_while(|w| !ends(w)).any(relates);
    let after = words[head + 1..].iter().take_while(|w| !ends(w)).any(relates);
    attributes + [has_predicate(words, head), before, after].into_iter().filter(|&counts| counts).count()
}

/// The singular by the regular rules; `None` for words that are no use as a label (fewer than three letters, or other
/// characters than letters).
fn singular(noun: &str) -> Option<String> {
    let noun = noun.to_lowercase();
    let noun = noun.strip_suffix("'s").or(noun.strip_suffix("’s")).unwrap_or(&noun);
    if noun.chars().count() < 3 || !noun.chars().all(|c| c.is_alphabetic() || c == '-') {
        return None;
    }
    const IRREGULAR: &[(&str, &str)] = &[
        ("children", "child"),
        ("buses", "bus"),
        ("feet", "foot"),
        ("gases", "gas"),
        ("geese", "goose"),
        ("leaves", "leaf"),
        ("lenses", "lens"),
        ("lives", "life"),
        ("men", "man"),
        ("mice", "mouse"),
        ("people", "person"),
        ("shelves", "shelf"),
        ("teeth", "tooth"),
        ("wolves", "wolf"),
        ("women", "woman"),
        ("knives", "knife"),
        ("halves", "half"),
        ("movies", "movie"),
        ("series", "series"),
        ("species", "species"),
        ("lens", "lens"),
    ];
    if let Some((_, singular)) = IRREGULAR.iter().find(|(plural, _)| *plural == noun) {
        return Some((*singular).to_owned());
    }
    let stem = |cut: usize| noun[..noun.len() - cut].to_owned();
    let ends = |suffixes: &[&str]| suffixes.iter().any(|s| noun.ends_with(s));
    Some(if ends(&["ies"]) && noun.len() > 4 {
        stem(3) + "y"
    } else if ends(&["sses", "shes", "ches", "xes", "zzes"]) {
        stem(2)
    } else if ends(&["s"]) && !ends(&["ss", "us", "is", "ics", "news"]) && noun.len() > 3 {
        stem(1)
    } else {
        noun.to_owned()
    })
}

#[cfg(test)]
#[path = "complexity_tests.rs"]
mod tests;
