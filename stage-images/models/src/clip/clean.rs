//! What CLIP's tokenizer does to a text before it splits it: ftfy without its repair of wrong encodings, HTML's character
//! references twice, white space folded, lower case.

use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::UnicodeNormalization;

use super::entities::{unescape, unescape_whole, windows_1252};

/// ftfy repeats itself until nothing changes; a reference within a reference is the only thing that takes more than a few
/// rounds, and each of them reads the whole text.
const ROUNDS: usize = 16;

/// Colours and movements of a terminal.
static TERMINAL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\x1b\[(?:\d|;)*[a-zA-Z]").expect("the pattern is well-formed"));

/// The text as CLIP's tokenizer splits it. Blank exactly where the tokenizer sees nothing.
pub(super) fn clean(text: &str) -> String {
    let text = unescape(&unescape(&fix(text)));
    // Python's white space: Unicode's, and the four separators of ASCII. And the one mark that CLIP's pattern passes over, as
    // it is no letter, but becomes one in capitals.
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}' | '\u{345}'));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ").to_lowercase()
}

/// From the first line with a `<` on, a text is taken for markup, whose references are not ftfy's business.
fn fix(text: &str) -> String {
    let mut markup = false;
    let fixed = text.split_inclusive('\n').map(|line| {
        markup |= line.contains('<');
        fix_line(line, markup)
    });
    fixed.collect()
}

fn fix_line(line: &str, markup: bool) -> String {
    let mut line = line.to_owned();
    for _ in 0..ROUNDS {
        let mut fixed = String::with_capacity(line.len());
        let read = if markup { line.clone() } else { unescape_whole(&line) };
        read.chars().for_each(|c| plain(windows_1252(c), &mut fixed));
        if fixed.contains('\u{1b}') {
            fixed = TERMINAL.replace_all(&fixed, "").into_owned();
        }
        let fixed = fixed.chars().filter(|c| !is_debris(*c)).nfc().collect();
        if line == fixed {
            break;
        }
        line = fixed;
    }
    line
}

/// Ligatures taken apart, full and half width made plain, quotation marks straight.
fn plain(c: char, out: &mut String) {
    match c {
        '\u{2bc}' | '\u{2018}'..='\u{201b}' => out.push('\''),
        '\u{201c}'..='\u{201f}' => out.push('"'),
        'ŉ' => out.push_str("'n"),
        'ﬅ' => out.push_str("ſt"),
        '\u{3000}' => out.push(' '),
        'Ĳ' | 'ĳ' | 'Ǆ'..='ǌ' | 'Ǳ'..='ǳ' | 'ﬀ'..='ﬄ' | 'ﬆ' | '\u{ff01}'..='\u{ffef}' => {
            out.extend(std::iter::once(c).nfkc());
        }
        _ => out.push(c),
    }
}

/// Control characters that are no white space, and marks that have no business within a text.
fn is_debris(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}')
}
