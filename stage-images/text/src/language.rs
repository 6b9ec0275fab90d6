//! Is a sentence in one of the wanted languages?

use whatlang::{Lang, detect};

/// Below this many letters a guess between languages of one script is worth little.
const MIN_LETTERS: usize = 40;

/// So many letters tell the script.
const MIN_LETTERS_OF_SCRIPT: usize = 10;

/// Below this the detector's first guess is not much better than its second. On textbook English, 0.2 % of the sentences of
/// 40 letters and more are taken for another language at this confidence.
const MIN_CONFIDENCE: f64 = 0.5;

/// True if the sentence is certainly in none of `languages` (ISO 639-1): it has ten letters or more, most of them of a
/// script that none of the languages uses, or 40 letters or more and is recognised as another language. A code that the
/// detector does not know is no language of any script.
pub(crate) fn is_foreign(sentence: &str, languages: &[String]) -> bool {
    let wanted = |lang: &Lang| languages.iter().any(|l| two_letters(lang.code()) == Some(l));
    let Some(guess) = detect(sentence).filter(|guess| !wanted(&guess.lang())) else {
        return false;
    };
    let letters = sentence.chars().filter(|c| c.is_alphabetic()).count();
    let same_script = guess.script().langs().iter().any(wanted);
    if same_script {
        letters >= MIN_LETTERS && guess.confidence() >= MIN_CONFIDENCE
    } else {
        letters >= MIN_LETTERS_OF_SCRIPT
    }
}

/// ISO 639-1 of an ISO 639-3 code, for the languages that the detector knows.
fn two_letters(three: &str) -> Option<&'static str> {
    CODES.iter().find(|(code, _)| *code == three).map(|(_, two)| *two)
}

#[rustfmt::skip]
const CODES: &[(&str, &str)] = &[
    ("afr", "af"), ("aka", "ak"), ("amh", "am"), ("ara", "ar"), ("aze", "az"), ("bel", "be"), ("ben", "bn"), ("bul", "bg"),
    ("cat", "ca"), ("ces", "cs"), ("cmn", "zh"), ("cym", "cy"), ("dan", "da"), ("deu", "de"), ("ell", "el"), ("eng", "en"),
    ("epo", "eo"), ("est", "et"), ("fin", "fi"), ("fra", "fr"), ("guj", "gu"), ("heb", "he"), ("hin", "hi"), ("hrv", "hr"),
    ("hun", "hu"), ("hye", "hy"), ("ind", "id"), ("ita", "it"), ("jav", "jv"), ("jpn", "ja"), ("kan", "kn"), ("kat", "ka"),
    ("khm", "km"), ("kor", "ko"), ("lat", "la"), ("lav", "lv"), ("lit", "lt"), ("mal", "ml"), ("mar", "mr"), ("mkd", "mk"),
    ("mya", "my"), ("nep", "ne"), ("nld", "nl"), ("nob", "nb"), ("ori", "or"), ("pan", "pa"), ("pes", "fa"), ("pol", "pl"),
    ("por", "pt"), ("ron", "ro"), ("rus", "ru"), ("sin", "si"), ("slk", "sk"), ("slv", "sl"), ("sna", "sn"), ("spa", "es"),
    ("srp", "sr"), ("swe", "sv"), ("tam", "ta"), ("tel", "te"), ("tgl", "tl"), ("tha", "th"), ("tuk", "tk"), ("tur", "tr"),
    ("ukr", "uk"), ("urd", "ur"), ("uzb", "uz"), ("vie", "vi"), ("yid", "yi"), ("zul", "zu"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_of_the_detector_has_a_code() {
        for lang in whatlang::Lang::all() {
            assert!(two_letters(lang.code()).is_some(), "{}", lang.code());
        }
    }

    fn foreign_to(languages: &[&str], sentence: &str) -> bool {
        is_foreign(sentence, &languages.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn long_sentences_are_judged_and_short_ones_are_not() {
        let german = "Das Museum zeigt Bilder aus dem neunzehnten Jahrhundert und ist sonntags geschlossen.";
        assert!(foreign_to(&["en"], german));
        assert!(!foreign_to(&["en", "de"], german));
        assert!(!foreign_to(&["en"], "The farmers harvested their wheat before the heavy rains of autumn came."));
        assert!(!foreign_to(&["en"], "Le chat dort ici"));
        assert!(!foreign_to(&["en"], "1234 5678"));
    }

    #[test]
    fn another_script_tells_sooner() {
        assert!(foreign_to(&["en"], "これは日本語で書かれた文です。"));
        assert!(foreign_to(&["en"], "Мальчик читает книгу в саду."));
        assert!(!foreign_to(&["ru"], "Мальчик читает книгу в саду."));
        assert!(!foreign_to(&["en"], "Все там."));
    }
}
