use super::*;

/// The frequencies, per ten million words, of running English.
fn english() -> WordTable {
    let counts = [
        ("the", 550_000),
        ("of", 300_000),
        ("and", 270_000),
        ("to", 265_000),
        ("a", 215_000),
        ("on", 70_000),
        ("good", 6_500),
        ("fast", 900),
        ("dog", 700),
        ("runs", 450),
        ("cat", 250),
        ("sat", 300),
        ("mat", 40),
    ];
    let named: u64 = counts.iter().map(|(_, n)| n).sum();
    let rest = (0..1000).map(|i| (format!("rest{i}"), (10_000_000 - named) / 1000));
    WordTable::build(counts.map(|(w, n)| (w.to_owned(), n)).into_iter().chain(rest), 1013).expect("a table")
}

fn table(counts: &[(&str, u64)], most: usize) -> WordTable {
    WordTable::build(counts.iter().map(|(w, n)| ((*w).to_owned(), *n)), most).expect("a table")
}

/// The contributions of single words are known to two decimals, in bits, for English; our frequencies are rounded too.
#[test]
fn function_words_make_the_score() {
    let english = english();
    for (sentence, bits) in [("the", 0.23), ("of", 0.15), ("and", 0.14), ("to", 0.14), ("a", 0.12)] {
        let score = english.entropy(sentence, LogBase::Two);
        assert!((score - bits).abs() < 0.006, "{sentence}: {score}");
    }
    let content = english.entropy("good dog runs fast", LogBase::Two);
    assert!((content - 0.010).abs() < 0.002, "{content}");
    let plain = english.entropy("The cat sat on the mat.", LogBase::Two);
    assert!((plain - 0.52).abs() < 0.01, "{plain}");
    let nats = english.entropy("The cat sat on the mat.", LogBase::E);
    assert!((nats - 0.36).abs() < 0.01, "{nats}");
}

#[test]
fn positions_count_not_types() {
    let table = table(&[("a", 1), ("b", 3)], 10);
    assert_eq!(table.entropy("a", LogBase::Two), 0.5);
    assert_eq!(table.entropy("a A, a!", LogBase::Two), 1.5);
    assert_eq!(table.entropy("", LogBase::Two), 0.0);
    assert_eq!(table.entropy("unknown", LogBase::Two), 0.0);
}

#[test]
fn the_most_frequent_words_are_named_and_ties_go_by_word() {
    let table = table(&[("c", 2), ("d", 1), ("b", 2), ("a", 2), ("d", 1), ("e", 9), ("z", 0)], 3);
    let named: Vec<_> = table.words().iter().map(|(w, n)| (w.as_str(), *n)).collect();
    assert_eq!(named, [("e", 9), ("a", 2), ("b", 2)]);
    assert_eq!(table.tail(), Tail { words: 2, count: 4 });
    assert_eq!(table.total(), 17);
    // Both words of the tail, and words never seen, stand for its mean.
    assert_eq!(table.probability("c"), 2.0 / 17.0);
    assert_eq!(table.probability("never"), 2.0 / 17.0);
}

#[test]
fn the_order_of_the_counts_does_not_matter() {
    let counts: Vec<(String, u64)> = (0..500).map(|i| (format!("w{}", i % 90), i * 7 % 13)).collect();
    let forward = WordTable::build(counts.clone(), 40).expect("a table");
    let backward = WordTable::build(counts.into_iter().rev(), 40).expect("a table");
    assert_eq!(forward, backward);
    let sentence = "w1 w2 w88, never W7";
    assert_eq!(forward.entropy(sentence, LogBase::Two).to_bits(), backward.entropy(sentence, LogBase::Two).to_bits());
}

#[test]
fn a_table_survives_serialisation() {
    let table = table(&[("a", 3), ("b", 2), ("c", 1)], 2);
    let json = serde_json::to_string(&table).expect("JSON");
    assert_eq!(json, r#"{"total":6,"tail":{"words":1,"count":1},"words":[["a",3],["b",2]]}"#);
    assert_eq!(serde_json::from_str::<WordTable>(&json).expect("a table"), table);
}

#[test]
fn broken_tables_are_refused() {
    for (json, message) in [
        (r#"{"total":7,"tail":{"words":1,"count":1},"words":[["a",3],["b",2]]}"#, "total is 7"),
        (r#"{"total":5,"tail":{"words":0,"count":0},"words":[["b",2],["a",3]]}"#, "order at \"a\""),
        (r#"{"total":4,"tail":{"words":0,"count":0},"words":[["a",2],["a",2]]}"#, "order at \"a\""),
        (r#"{"total":2,"tail":{"words":0,"count":0},"words":[["a",2],["b",0]]}"#, "order at \"b\""),
        (r#"{"total":2,"tail":{"words":1,"count":18446744073709551615},"words":[["a",3]]}"#, "2^64"),
        (r#"{"total":2,"tail":{"words":0,"count":0},"words":[["a",2]],"more":1}"#, "unknown field"),
    ] {
        let error = serde_json::from_str::<WordTable>(json).expect_err(json).to_string();
        assert!(error.contains(message), "{json}: {error}");
    }
    let overflow = WordTable::build([("a".to_owned(), u64::MAX), ("b".to_owned(), 1)], 9);
    assert_eq!(overflow, Err(WordTableError::Overflow));
}

#[test]
fn an_empty_corpus_has_an_empty_table() {
    let empty = table(&[], 10);
    assert_eq!((empty.total(), empty.tail()), (0, Tail::default()));
    assert_eq!(empty.entropy("any words", LogBase::Two), 0.0);
}
