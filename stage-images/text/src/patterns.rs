//! Emoji, URLs and personal data.

use std::sync::LazyLock;

use regex::Regex;

fn pattern(source: &str) -> Regex {
    Regex::new(source).expect("a valid pattern")
}

/// A character that is shown as an emoji, by default or by a variation selector, and the hearts and faces that older
/// fonts draw as text. Signs such as © and ™ are none.
pub(crate) fn has_emoji(text: &str) -> bool {
    static EMOJI: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r"\p{Emoji_Presentation}|\p{Emoji}\x{FE0F}|\x{20E3}|[\x{2639}-\x{263B}\x{2665}\x{2764}]")
    });
    !text.is_ascii() && EMOJI.is_match(text)
}

/// A scheme with `//`, a name that begins with `www.`, or a bare domain name under a common top-level domain. The domain
/// of an e-mail address is none.
pub(crate) fn has_url(text: &str) -> bool {
    static URL: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?xi)
            \b(?:https?|ftps?|file)://
            | \bwww\d?\.[a-z0-9]
            | (?:^|[^@\w.-])[a-z0-9](?:[a-z0-9-]*\.)+(?-i:com|org|net|edu|gov|mil|info|biz|io|uk|eu|de|fr|ca|au|jp|ru|cn)
              (?:[^\w@.-]|\.?$|\.[^\w@])",
        )
    });
    URL.is_match(text)
}

/// An e-mail address, a telephone number, an IPv4 address, a US social security number or a payment card number.
pub(crate) fn has_personal_data(text: &str) -> bool {
    static EMAIL: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(?i)[a-z0-9._%+-]+@[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}"));
    static PHONE: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?x)
            (?:^|[^\w.,-])(?:
              \+\d{1,3}(?:[\s.\-]?\(?\d{1,4}\)?){2,5}     # +49 (30) 1234-5678
              | (?:1[\s.-])?\(?\d{3}\)?[\s.-]\d{3}[.-]\d{4} # (555) 010-0199
            )(?:\W|$)",
        )
    });
    static SOCIAL: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b\d{3}-\d{2}-\d{4}\b"));
    static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
        let byte = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)";
        pattern(&format!(r"(?:^|[^\w.]){byte}(?:\.{byte}){{3}}(?:[^\w.]|\.?$|\.\s)"))
    });
    static CARD: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b\d(?:[ -]?\d){12,18}\b"));

    if text.contains('@') && EMAIL.is_match(text) {
        return true;
    }
    // All others need at least four digits; most sentences have none.
    digits(text).count() >= 4
        && (PHONE.find_iter(text).any(|m| digits(m.as_str()).count() >= 8)
            || SOCIAL.is_match(text)
            || ADDRESS.is_match(text)
            || CARD.find_iter(text).any(|m| has_luhn_check_digit(m.as_str())))
}

fn digits(text: &str) -> impl DoubleEndedIterator<Item = u8> {
    text.bytes().filter(u8::is_ascii_digit).map(|b| b - b'0')
}

/// The check digit that payment card numbers carry.
fn has_luhn_check_digit(number: &str) -> bool {
    let sum: u32 = digits(number)
        .rev()
        .map(u32::from)
        .enumerate()
        .map(|(i, d)| if i % 2 == 0 { d } else { 2 * d / 10 + 2 * d % 10 })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emoji() {
        for text in ["Nice 🎉 day", "I ❤ it", "ok ☺", "1\u{fe0f}\u{20e3} first", "flag 🇫🇷", "👩‍🔬 at work", "☀\u{fe0f}"]
        {
            assert!(has_emoji(text), "{text}");
        }
        for text in ["plain", "© 2020 Acme™", "25 °C → 30 °C", "naïve café", "#1 of 10*", "数学の本"] {
            assert!(!has_emoji(text), "{text}");
        }
    }

    #[test]
    fn urls() {
        for text in [
            "See https://a.b/c now",
            "go to www.example.test/x",
            "buy at Example.com today",
            "from shop.example.co.uk.",
            "(example.org)",
            "ftp://host",
        ] {
            assert!(has_url(text), "{text}");
        }
        for text in [
            "He left.It rained",
            "the U.S. Navy",
            "version 3.5 is out",
            "write to a@example.com now",
            "dot com boom",
            "i.e. this",
        ] {
            assert!(!has_url(text), "{text}");
        }
    }

    #[test]
    fn personal_data() {
        for text in [
            "mail jo.doe+x@mail.example.org please",
            "call (555) 010-0199 now",
            "call 555-010-0199.",
            "ring +49 30 1234 5678 today",
            "host 192.168.10.4 answered",
            "number 078-05-1120",
            "card 4111 1111 1111 1111 expired",
        ] {
            assert!(has_personal_data(text), "{text}");
        }
        for text in [
            "from 1914-1918 and 1939-1945",
            "about 4,500,000 people in 2010",
            "section 1.2.3.4.5 of the text",
            "card 4111 1111 1111 1112 is none",
            "at 300.400.500.600 exactly",
            "an @ sign",
            "from −0.4 to +2.0 for stars, and +0.65 for the Sun in 2000",
            "an area of 149,597,870.700 km",
        ] {
            assert!(!has_personal_data(text), "{text}");
        }
    }
}
