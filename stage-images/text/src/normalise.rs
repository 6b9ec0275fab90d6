//! The forms of a text that ids, counts and shingles are taken from. A change here changes all of them.

use unicode_normalization::UnicodeNormalization;

/// The text in NFC, each run of white space one space, none at the ends. A sentence's id is a hash of this.
pub fn canonical(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !folded.is_empty() {
            folded.push(' ');
        }
        folded.extend(word.nfc());
    }
    folded
}

/// The lower-case words of a text in NFKC, without punctuation.
///
/// A word is a run of letters, marks and digits. Apostrophes, commas and full stops within a word join ("don't" is
/// `dont`, "U.S." is `us`, "6,500" is `6500`), save the decimal point between two digits, which stays. All else
/// separates: "blue-green" is `blue`, `green`.
pub fn words(text: &str) -> impl Iterator<Item = String> {
    let mut chars = text.nfkc().flat_map(char::to_lowercase).nfc().peekable();
    std::iter::from_fn(move || {
        let mut word = String::new();
        while let Some(c) = chars.next() {
            let decimal_point = c == '.' && ends_in_digit(&word) && chars.peek().is_some_and(|n| n.is_numeric());
            if is_word_char(c) || decimal_point {
                word.push(c);
            } else if !joins(c) && !word.is_empty() {
                return Some(word);
            }
        }
        (!word.is_empty()).then_some(word)
    })
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || unicode_normalization::char::is_combining_mark(c)
}

fn ends_in_digit(word: &str) -> bool {
    word.chars().next_back().is_some_and(char::is_numeric)
}

/// Punctuation within a word, and the invisible characters that layout programs leave there (soft hyphen, zero width).
fn joins(c: char) -> bool {
    matches!(c, '\'' | '’' | '‘' | '`' | ',' | '.' | '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        words(text).collect()
    }

    #[test]
    fn canonical_composes_and_folds_but_keeps_case_and_punctuation() {
        assert_eq!(canonical("  A\u{a0}cafe\u{301},\n\tBIG\u{3000}one! "), "A café, BIG one!");
        assert_eq!(canonical(" \n"), "");
    }

    #[test]
    fn words_lose_case_and_punctuation() {
        assert_eq!(split("\"Don’t,\" said the U.S. envoy -- twice!"), ["dont", "said", "the", "us", "envoy", "twice"]);
        assert_eq!(split("Blue-green eﬃcient ＡＢＣ"), ["blue", "green", "efficient", "abc"]);
        assert_eq!(split("It cost 6,500 or 3.5. 7th."), ["it", "cost", "6500", "or", "3.5", "7th"]);
        assert_eq!(split("… !?"), Vec::<String>::new());
    }

    #[test]
    fn a_decimal_point_is_not_lost() {
        assert_ne!(split("3.5 m"), split("35 m"));
    }
}
