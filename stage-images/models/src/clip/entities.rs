//! Character references of HTML (`&eacute;`, `&#233;`), read as Python's `html.unescape` and as ftfy read them: both stand
//! before CLIP's tokenizer.

use html5ever::data::{C1_REPLACEMENTS, NAMED_ENTITIES};

/// The longest name has 31 letters.
const LONGEST: usize = 32;
/// ftfy looks at no longer ones.
const LONGEST_WHOLE: usize = 24;

/// Every reference replaced by what it stands for. As in a browser, the old names need no semicolon: `&ampere` is `&ere`.
pub(super) fn unescape(text: &str) -> String {
    replace(text, |after| match after.strip_prefix('#') {
        Some(number) => numbered(number).map(|(meaning, length)| (meaning, length + 1)),
        None => named(after),
    })
}

/// The references that end in a semicolon, names written in capitals among them: `&EACUTE;` is `É`.
pub(super) fn unescape_whole(text: &str) -> String {
    replace(text, |after| {
        let number = after.starts_with('#');
        let letters = alphanumeric(&after[usize::from(number)..], LONGEST_WHOLE);
        let length = usize::from(number) + letters + 1;
        if letters == 0 || after.as_bytes().get(length - 1) != Some(&b';') {
            return None;
        }
        let reference = &after[..length];
        let meaning = if number {
            // The whole of it must be a number; and so `&#59;`, the semicolon, stays, as it does in ftfy.
            Some(unescape(&format!("&{reference}"))).filter(|meaning| !meaning.contains(';'))
        } else {
            entity(reference).or_else(|| capitals(reference))
        };
        Some((meaning?, length))
    })
}

/// Puts for each `&` what `read` makes of the text after it: a meaning, and the bytes that it was written in.
fn replace(text: &str, read: impl Fn(&str) -> Option<(String, usize)>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match read(rest) {
            Some((meaning, length)) => {
                out.push_str(&meaning);
                rest = &rest[length..];
            }
            None => out.push('&'),
        }
    }
    out.push_str(rest);
    out
}

/// How many ASCII letters and digits the text begins with, up to `most`.
fn alphanumeric(text: &str, most: usize) -> usize {
    text.bytes().take(most).take_while(u8::is_ascii_alphanumeric).count()
}

/// The longest name that the text begins with.
fn named(text: &str) -> Option<(String, usize)> {
    let letters = alphanumeric(text, LONGEST);
    let whole = letters + usize::from(text.as_bytes().get(letters) == Some(&b';'));
    (2..=whole).rev().find_map(|length| Some((entity(&text[..length])?, length)))
}

/// What a name stands for; with its semicolon, if it needs one.
fn entity(name: &str) -> Option<String> {
    // The table holds the beginnings of names, too, with nothing beside them.
    let &(first, second) = NAMED_ENTITIES.get(name).filter(|(first, _)| *first != 0)?;
    Some([first, second].into_iter().filter(|c| *c != 0).filter_map(char::from_u32).collect())
}

/// A name in lower case, written in capitals, that means nothing else that way.
fn capitals(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let meaning = entity(&lower).filter(|_| lower.to_ascii_uppercase() == name)?;
    named(name).is_none().then(|| meaning.to_uppercase())
}

/// The number that the text begins with, as a character or nothing, and its bytes.
fn numbered(text: &str) -> Option<(String, usize)> {
    let (radix, mark) = if text.starts_with(['x', 'X']) { (16, 1) } else { (10, 0) };
    let digits = text[mark..].bytes().take_while(|b| char::from(*b).is_digit(radix)).count();
    let end = mark + digits;
    let length = end + usize::from(text.as_bytes().get(end) == Some(&b';'));
    // What does not fit into 32 bits is no character either.
    let number = (digits > 0).then(|| u32::from_str_radix(&text[mark..end], radix).unwrap_or(u32::MAX))?;
    Some((character(number).map(String::from).unwrap_or_default(), length))
}

/// What HTML makes of a number: nothing of control characters and non-characters, U+FFFD of what cannot be.
fn character(number: u32) -> Option<char> {
    match number {
        0x80..=0x9f => windows_1252(char::from_u32(number)?).into(),
        0x01..=0x08 | 0x0b | 0x0e..=0x1f | 0x7f | 0xfdd0..=0xfdef => None,
        0 | 0x11_0000.. => Some(char::REPLACEMENT_CHARACTER),
        _ if number & 0xfffe == 0xfffe => None,
        _ => Some(char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER)),
    }
}

/// A C1 control character as what the same byte is in Windows-1252; any other as itself.
pub(super) fn windows_1252(c: char) -> char {
    let replaced = (c as usize).checked_sub(0x80).and_then(|at| *C1_REPLACEMENTS.get(at)?);
    replaced.unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_python_reads_them() {
        // What CPython 3.11's html.unescape answers.
        for (written, read) in [
            ("caf&eacute; &amp;amp; &lt;b&gt;", "café &amp; <b>"),
            ("AT&T &ampere &notit; &notin; &not", "AT&T &ere ¬it; ∉ ¬"),
            ("&#233;&#xE9;&#XE9 &#150; &#x110000; &#xD800; &#0;", "éé\u{e9} – \u{fffd} \u{fffd} \u{fffd}"),
            ("&#1;&#x7f;&#xfdd0;&#xffff;&#13;&#99999999999999999999;", "\r\u{fffd}"),
            ("& &; &# &#; &#x; &#xg; &a; &\u{e9};", "& &; &# &#; &#x; &#xg; &a; &\u{e9};"),
            ("&CounterClockwiseContourIntegral; &bne; &EACUTE;", "∳ =\u{20e5} &EACUTE;"),
        ] {
            assert_eq!(unescape(written), read, "{written}");
        }
    }

    #[test]
    fn whole_references_alone_are_read_as_ftfy_reads_them() {
        // What ftfy 6.3.1's fixes.unescape_html answers.
        for (written, read) in [
            ("this&not that &hellip; P&EACUTE;REZ", "this&not that … PÉREZ"),
            ("&#59; &#xe9; &#233 &SZLIG; &nTILDE; &LTDOT;", "&#59; é &#233 SS &nTILDE; &LTDOT;"),
            ("&CounterClockwiseContourIntegral; &&amp;", "&CounterClockwiseContourIntegral; &&"),
        ] {
            assert_eq!(unescape_whole(written), read, "{written}");
        }
    }
}
