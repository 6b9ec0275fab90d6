//! Character classes. NLTK 3.9 asks Python's `re`, 3.10 asks the package `regex`, and the two differ at the margins.

use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::char::is_combining_mark;

use super::PunktCompat;

/// `\s`: Unicode white space; in 3.9 the four ASCII separators too.
pub(super) fn is_space(c: char, compat: PunktCompat) -> bool {
    c.is_whitespace() || (compat == PunktCompat::V3_9 && is_separator(c))
}

/// What `str.strip` strips, in both versions.
pub(super) fn is_stripped(c: char) -> bool {
    c.is_whitespace() || is_separator(c)
}

fn is_separator(c: char) -> bool {
    matches!(c, '\x1c'..='\x1f')
}

/// `string.whitespace`.
pub(super) fn is_ascii_space(b: u8) -> bool {
    matches!(b, b'\t'..=b'\r' | b' ')
}

fn is_curly_quote(c: char) -> bool {
    matches!(c, '\u{2018}' | '\u{2019}' | '\u{201c}' | '\u{201d}' | '«' | '»')
}

/// Punctuation that can't stand inside a word.
pub(super) fn ends_word(c: char, compat: PunktCompat) -> bool {
    matches!(c, ')' | '"' | ';' | '}' | ']' | '*' | ':' | '@' | '\'' | '(' | '{' | '[' | '?' | '!')
        || (compat == PunktCompat::V3_10 && is_curly_quote(c))
}

/// Punctuation that can't start a word.
pub(super) fn starts_no_word(c: char) -> bool {
    matches!(c, '(' | '"' | '`' | '{' | '[' | ':' | ';' | '&' | '#' | '*' | '@' | ')' | '}' | ']' | '-' | ',')
}

/// Punctuation that closes a sentence after its mark.
pub(super) fn closes(c: char, compat: PunktCompat) -> bool {
    matches!(c, '"' | '\'' | ')' | ']' | '}') || (compat == PunktCompat::V3_10 && is_curly_quote(c))
}

/// `\d`: decimal digits of any script.
pub(super) fn is_digit(c: char) -> bool {
    static DIGIT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\d$").expect("a valid pattern"));
    if c.is_ascii() { c.is_ascii_digit() } else { c.is_numeric() && DIGIT.is_match(c.encode_utf8(&mut [0; 4])) }
}

/// `[^\W\d]`. In 3.9: letters, numbers that are no digits, and the underscore. In 3.10: whatever is alphabetic by Unicode
/// (circled letters are), marks, and joining punctuation.
pub(super) fn is_letter(c: char, compat: PunktCompat) -> bool {
    static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\w$").expect("a valid pattern"));
    if c.is_ascii() {
        return c.is_ascii_alphabetic() || c == '_';
    }
    if is_digit(c) {
        return false;
    }
    match compat {
        PunktCompat::V3_9 => {
            let circled = matches!(c, '\u{24b6}'..='\u{24e9}' | '\u{1f130}'..='\u{1f189}');
            c.is_alphanumeric() && !is_combining_mark(c) && !circled
        }
        PunktCompat::V3_10 => WORD.is_match(c.encode_utf8(&mut [0; 4])),
    }
}
