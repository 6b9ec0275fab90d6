//! Does a context (the word before a mark, the mark, what follows) hold the end of a sentence?

use std::borrow::Cow;

use super::PunktCompat;
use super::chars::{ends_word, is_digit, is_letter, is_space, is_stripped, starts_no_word};
use super::parameters::{Parameters, seen};

const NUMBER: &str = "##number##";

/// A word or punctuation mark with what its own form says about it.
struct Token<'a> {
    text: &'a str,
    kind: Cow<'a, str>,
    ends_sentence: bool,
    abbreviation: bool,
    ellipsis: bool,
}

/// True if a token before the last one ends a sentence.
pub(super) fn contains_break(parameters: &Parameters, compat: PunktCompat, context: &str) -> bool {
    let lines = context.split('\n').filter(|line| !line.chars().all(is_stripped));
    let mut tokens = lines.flat_map(|line| Tokens { rest: line, compat }).map(|t| Token::new(parameters, t));
    let Some(mut current) = tokens.next() else {
        return false;
    };
    for next in tokens {
        if ends_sentence(parameters, compat, &current, &next) {
            return true;
        }
        current = next;
    }
    false
}

impl<'a> Token<'a> {
    /// First pass: judges by the token alone.
    fn new(parameters: &Parameters, text: &'a str) -> Self {
        let lower = lower(text);
        let mut token =
            Self { text, kind: Cow::Borrowed(NUMBER), ends_sentence: false, abbreviation: false, ellipsis: false };
        if matches!(text, "." | "?" | "!") {
            token.ends_sentence = true;
        } else if text.len() > 1 && text.bytes().all(|b| b == b'.') {
            token.ellipsis = true;
        } else if let Some(stem) = lower.strip_suffix('.')
            && !stem.ends_with('.')
        {
            let after_hyphen = stem.rsplit('-').next().unwrap_or(stem);
            token.abbreviation = parameters.is_abbreviation(stem) || parameters.is_abbreviation(after_hyphen);
            token.ends_sentence = !token.abbreviation;
        }
        if !is_number(&lower) {
            token.kind = lower;
        }
        token
    }

    fn kind_without_stop(&self) -> &str {
        match self.kind.strip_suffix('.') {
            Some("") | None => &self.kind,
            Some(stem) => stem,
        }
    }

    /// The type without the full stop that ends a sentence; an abbreviation's own stop stays.
    fn kind_in_sentence(&self) -> &str {
        if self.ends_sentence { self.kind_without_stop() } else { &self.kind }
    }

    fn is_initial(&self, compat: PunktCompat) -> bool {
        let mut chars = self.text.chars();
        chars.next().is_some_and(|c| is_letter(c, compat)) && chars.as_str() == "."
    }

    fn starts_with(&self, class: impl Fn(char) -> bool) -> bool {
        self.text.chars().next().is_some_and(class)
    }
}

/// Second pass: judges `token` by the one after it.
fn ends_sentence(parameters: &Parameters, compat: PunktCompat, token: &Token, next: &Token) -> bool {
    if !token.text.ends_with('.') {
        return token.ends_sentence;
    }
    let (kind, next_kind) = (token.kind_without_stop(), next.kind_in_sentence());
    if parameters.is_collocation(kind, next_kind) {
        return false;
    }

    let initial = token.is_initial(compat);
    let capital = next.starts_with(char::is_uppercase);
    let orthography = parameters.orthography(next_kind);
    let starts = starts_sentence(next, capital, orthography);
    if (token.abbreviation || token.ellipsis)
        && !initial
        && (starts == Some(true) || (capital && parameters.is_starter(next_kind)))
    {
        return true;
    }
    // "J. Bach", "3. place": initials and ordinals look like ends of sentences and mostly are not.
    if initial || kind == NUMBER {
        match starts {
            Some(false) => return false,
            None if initial && capital && orthography & seen::LOWER == 0 => return false,
            _ => {}
        }
    }
    token.ends_sentence
}

/// Does the word's case, here and in training, say that it starts a sentence? `None`: it does not tell.
fn starts_sentence(word: &Token, capital: bool, orthography: u8) -> Option<bool> {
    if matches!(word.text, ";" | ":" | "," | "." | "!" | "?") {
        return Some(false);
    }
    if capital && orthography & seen::LOWER != 0 && orthography & seen::MIDDLE_UPPER == 0 {
        return Some(true);
    }
    let lower = word.starts_with(char::is_lowercase);
    if lower && (orthography & seen::UPPER != 0 || orthography & seen::START_LOWER == 0) {
        return Some(false);
    }
    None
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.to_lowercase())
    }
}

/// A sign, a point or comma, a digit, then digits, points, commas and hyphens.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let text = text.strip_prefix(['.', ',']).unwrap_or(text);
    text.starts_with(is_digit) && text.chars().all(|c| is_digit(c) || matches!(c, ',' | '.' | '-'))
}

/// Splits a line into words and punctuation. A word keeps its full stops, and loses a comma at its end.
struct Tokens<'a> {
    rest: &'a str,
    compat: PunktCompat,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start_matches(|c| is_space(c, self.compat));
        let first = self.rest.chars().next()?;
        let length = match self.multi_char_mark() {
            Some(length) => length,
            None if starts_no_word(first) => first.len_utf8(),
            None => self.word_length(),
        };
        let (token, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(token)
    }
}

impl Tokens<'_> {
    fn word_length(&self) -> usize {
        let mut indices = self.rest.char_indices();
        indices.next();
        indices.map(|(i, _)| i).find(|&i| self.word_ends(i)).unwrap_or(self.rest.len())
    }

    fn word_ends(&self, at: usize) -> bool {
        let rest = &self.rest[at..];
        self.boundary(rest) || rest.strip_prefix(',').is_some_and(|r| self.boundary(r))
    }

    fn boundary(&self, rest: &str) -> bool {
        let Some(first) = rest.chars().next() else {
            return true;
        };
        is_space(first, self.compat) || ends_word(first, self.compat) || self.starts_multi_char_mark(rest)
    }

    fn starts_multi_char_mark(&self, text: &str) -> bool {
        match text.as_bytes().first() {
            Some(b'-') => text.starts_with("--"),
            Some(b'.') => text.starts_with("..") || self.spaced_ellipsis(text).is_some(),
            _ => false,
        }
    }

    /// The length of a run of hyphens, of full stops, or of full stops with one white space between, at the start.
    fn multi_char_mark(&self) -> Option<usize> {
        let text = self.rest;
        if !self.starts_multi_char_mark(text) {
            return None;
        }
        let first = char::from(text.as_bytes()[0]);
        let run = text.len() - text.trim_start_matches(first).len();
        if run > 1 {
            return Some(run);
        }
        // The shortest spaced ellipsis is ". . ."; it goes on as long as a space and a full stop follow.
        let mut length = self.spaced_ellipsis(text)?;
        while let Some(more) = self.space_and_stop(&text[length..]) {
            length += more;
        }
        Some(length)
    }

    fn spaced_ellipsis(&self, text: &str) -> Option<usize> {
        let rest = text.strip_prefix('.')?;
        let second = self.space_and_stop(rest)?;
        Some(1 + second + self.space_and_stop(&rest[second..])?)
    }

    fn space_and_stop(&self, text: &str) -> Option<usize> {
        let mut chars = text.chars();
        let space = chars.next().filter(|&c| is_space(c, self.compat))?;
        chars.as_str().starts_with('.').then(|| space.len_utf8() + 1)
    }
}
