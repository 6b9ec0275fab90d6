use super::*;

fn reason(rules: &SentenceRules, sentence: &str) -> Option<&'static str> {
    rules.check(sentence).err().map(SentenceDrop::as_str)
}

fn paper() -> SentenceRules {
    SentenceRules { languages: vec!["en".into()], ..SentenceRules::default() }
}

#[test]
fn ordinary_sentences_are_kept() {
    for sentence in [
        "Two dogs run along a sandy beach near the water.",
        "The old lighthouse was painted white by the villagers in 1921.",
        "She carries a basket of ripe tomatoes to the market.",
        "Engineers tested the new bridge before it opened to traffic.",
    ] {
        assert_eq!(reason(&paper(), sentence), None, "{sentence}");
    }
}

#[test]
fn each_rule_has_its_reason() {
    let long = format!("The boy reads {}.", "many old books ".repeat(30));
    for (sentence, expected) in [
        ("The happy dog runs fast 🐕 today.", "emoji"),
        ("The full story appears at www.example.org today.", "url"),
        ("Dogs run.", "too-few-words"),
        (long.as_str(), "too-many-words"),
        ("Write a letter to jane@example.org about the house.", "personal-data"),
        ("Das Museum zeigt Bilder aus dem neunzehnten Jahrhundert und ist sonntags geschlossen.", "language"),
        ("He did not, however.", "no-complexity"),
        ("A small red car in the yard", "no-action"),
    ] {
        assert_eq!(reason(&paper(), sentence), Some(expected), "{sentence}");
    }
}

#[test]
fn the_first_broken_rule_is_the_reason() {
    assert_eq!(reason(&paper(), "🎉 www.example.org"), Some("emoji"));
    assert_eq!(reason(&paper(), "www.example.org"), Some("url"));
    assert_eq!(reason(&paper(), "jane@example.org"), Some("too-few-words"));
}

#[test]
fn limits_are_inclusive_and_words_are_separated_by_white_space() {
    let rules = SentenceRules { min_complexity: 0, require_action: false, ..SentenceRules::default() };
    let words = |n: usize| vec!["word"; n].join(" ");
    assert_eq!(reason(&rules, &words(2)), Some("too-few-words"));
    assert_eq!(reason(&rules, &words(3)), None);
    assert_eq!(reason(&rules, &words(81)), None);
    assert_eq!(reason(&rules, &words(82)), Some("too-many-words"));
    assert_eq!(reason(&rules, "well-known\u{a0}one\ttwo"), None);
}

#[test]
fn rules_can_be_turned_off() {
    let rules = SentenceRules {
        min_words: 0,
        min_complexity: 0,
        require_action: false,
        personal_data: PersonalData::Keep,
        languages: Vec::new(),
        ..SentenceRules::default()
    };
    for sentence in ["", "No.", "jane@example.org", "Die Katze schläft auf dem warmen Dach des alten Hauses am Fluss."]
    {
        assert_eq!(reason(&rules, sentence), None, "{sentence}");
    }
    let complex = SentenceRules { min_complexity: 3, ..SentenceRules::default() };
    assert_eq!(reason(&complex, "The big dog sleeps."), Some("no-complexity"));
}

#[test]
fn reasons_have_distinct_names() {
    let names: std::collections::BTreeSet<_> = SentenceDrop::ALL.iter().map(|d| d.as_str()).collect();
    assert_eq!(names.len(), SentenceDrop::ALL.len());
}

#[test]
fn hostile_sentences_are_judged_quickly() {
    let started = std::time::Instant::now();
    for pattern in ["a.", "1-", "+1 ", "a@", "x@a.", "www", "é", "1 2 ", "\u{1f468}\u{200d}", "(5", "a-.", ".a@"] {
        let _ = paper().check(&pattern.repeat((1 << 18) / pattern.len()));
    }
    let words = vec!["x1.'-".repeat(1000); 81].join(" ");
    let _ = paper().check(&words);
    // A pattern that backtracks would need hours.
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}
