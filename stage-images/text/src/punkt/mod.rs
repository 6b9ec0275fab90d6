//! Sentence segmentation as NLTK's `sent_tokenize` does it for English (Kiss & Strunk 2006, "Unsupervised Multilingual
//! Sentence Boundary Detection"), by a hand-written scanner in linear time.
//!
//! A full stop, question or exclamation mark is a *candidate* when closing punctuation or white space and another word
//! follow. The words on either side of a candidate, its *context*, decide whether it ends a sentence. Last, quotes and
//! brackets that close a sentence are moved back to it.

mod chars;
mod context;
mod parameters;

use chars::{is_ascii_space, is_space, is_stripped};
use parameters::Parameters;

/// Which version of NLTK to agree with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PunktCompat {
    /// NLTK 3.8.1 to 3.9: only the ASCII quotes count as quotes. This is what the paper's authors had.
    V3_9,
    /// NLTK 3.10: curly quotes and guillemets end and close a sentence too.
    V3_10,
}

/// A sentence segmenter. Cheap to make and to copy: the parameters are shared.
#[derive(Clone, Copy, Debug)]
pub struct Punkt {
    parameters: &'static Parameters,
    compat: PunktCompat,
}

/// A mark that may end a sentence.
#[derive(Clone, Copy)]
struct Candidate {
    /// Where the word before begins, and the mark itself.
    word: usize,
    mark: usize,
    /// Where the context ends: after the punctuation, or the word, that follows.
    context_end: usize,
    /// Where the next sentence begins, if this is a break.
    next: usize,
}

impl Punkt {
    /// The English model that NLTK ships as `punkt_tab/english`.
    pub fn english(compat: PunktCompat) -> Self {
        Self { parameters: Parameters::english(), compat }
    }

    /// Cuts `text` into sentences, in order. Each is a slice of `text`; white space between sentences belongs to none,
    /// white space before the first belongs to it. Text of nothing but white space has no sentences.
    ///
    /// Takes time linear in the length of `text`, whatever it holds.
    pub fn sentences<'a>(&self, text: &'a str) -> Vec<&'a str> {
        self.realign(text, &self.slices(text))
    }

    /// The sentences as byte ranges, before closing punctuation is put back.
    fn slices(&self, text: &str) -> Vec<(usize, usize)> {
        let mut slices = Vec::new();
        let mut start = 0;
        let mut decide = |c: &Candidate| {
            if context::contains_break(self.parameters, self.compat, &text[c.word..c.context_end]) {
                slices.push((start, c.mark + 1));
                start = c.next;
            }
        };

        // Of several candidates within one word ("acting!!!") only the last is judged, with the whole word as context.
        let mut previous: Option<Candidate> = None;
        let (mut word_start, mut word_end) = (0, 0);
        for (mark, _) in text.bytes().enumerate().filter(|(_, b)| matches!(b, b'.' | b'?' | b'!')) {
            let Some((context_end, next)) = self.follows(text, mark + 1) else {
                continue;
            };
            let between = &text.as_bytes()[word_end..mark];
            let word = match between.iter().rposition(|&b| is_ascii_space(b)) {
                // White space at the very start counts as none: NLTK takes index 0 for "not found".
                None | Some(0) => word_start,
                Some(i) => word_end + i + 1,
            };
            if let Some(p) = previous
                && word_end <= word
            {
                decide(&p);
            }
            previous = Some(Candidate { word, mark, context_end, next });
            (word_start, word_end) = (word, mark);
        }
        if let Some(p) = previous {
            decide(&p);
        }
        slices.push((start, text.trim_end_matches(is_stripped).len().max(start)));
        slices
    }

    /// What comes after a mark: the end of the context and the start of the next sentence, or `None` where no sentence
    /// can end.
    fn follows(&self, text: &str, after: usize) -> Option<(usize, usize)> {
        let rest = &text[after..];
        let first = rest.chars().next()?;
        if chars::ends_word(first, self.compat) {
            return Some((after + first.len_utf8(), after));
        }
        let space = |c| is_space(c, self.compat);
        if !space(first) {
            return None;
        }
        let next = rest.find(|c| !space(c))?;
        let length = rest[next..].find(space).unwrap_or(rest.len() - next);
        Some((after + next + length, after + next))
    }

    /// Moves the punctuation that closes a sentence, `"(One.) Two."`, from the start of the next one to its own.
    fn realign<'a>(&self, text: &'a str, slices: &[(usize, usize)]) -> Vec<&'a str> {
        let mut sentences = Vec::with_capacity(slices.len());
        let space = |c| is_space(c, self.compat);
        let mut moved = 0;
        for (i, &(start, end)) in slices.iter().enumerate() {
            let start = start + moved;
            moved = 0;
            let mut sentence = &text[start..end];
            if let Some(&(next_start, next_end)) = slices.get(i + 1) {
                let next = &text[next_start..next_end];
                let rest = next.trim_start_matches(|c| chars::closes(c, self.compat));
                let closing = next.len() - rest.len();
                if closing > 0 && (rest.is_empty() || rest.starts_with(space) || rest.starts_with("--")) {
                    sentence = &text[start..next_start + closing];
                    moved = closing + rest.len() - rest.trim_start_matches(space).len();
                }
            }
            if !sentence.is_empty() {
                sentences.push(sentence);
            }
        }
        sentences
    }
}
