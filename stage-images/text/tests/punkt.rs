//! Segmentation against NLTK itself, and against hostile input.

use std::time::Instant;

use realsyn_text::punkt::{Punkt, PunktCompat};

/// `golden/README.md` says how the file was made.
const GOLDEN: &str = include_str!("golden/punkt.jsonl");

#[derive(serde::Deserialize)]
struct Golden {
    text: String,
    v3_9: Vec<String>,
    /// Absent where both versions agree.
    v3_10: Option<Vec<String>>,
}

fn agree(lines: &str) -> usize {
    let (old, new) = (Punkt::english(PunktCompat::V3_9), Punkt::english(PunktCompat::V3_10));
    let mut count = 0;
    for line in lines.lines() {
        let golden: Golden = serde_json::from_str(line).expect("a golden row");
        assert_eq!(old.sentences(&golden.text), golden.v3_9, "3.9: {:?}", golden.text);
        assert_eq!(new.sentences(&golden.text), golden.v3_10.unwrap_or(golden.v3_9), "3.10: {:?}", golden.text);
        count += 1;
    }
    count
}

#[test]
fn agrees_with_nltk() {
    assert_eq!(agree(GOLDEN), 428);
}

/// The same for a larger file, `REALSYN_PUNKT_GOLDEN`, made by `golden/punkt.py` from as many random texts as wanted.
#[test]
fn agrees_with_nltk_on_many_texts() {
    let Ok(path) = std::env::var("REALSYN_PUNKT_GOLDEN") else {
        eprintln!("REALSYN_PUNKT_GOLDEN is not set: skipped");
        return;
    };
    let count = agree(&std::fs::read_to_string(&path).expect("the golden file"));
    eprintln!("{count} texts agree");
}

#[test]
fn sentences_are_slices_in_order_that_lose_only_white_space() {
    let punkt = Punkt::english(PunktCompat::V3_10);
    for line in GOLDEN.lines() {
        let golden: Golden = serde_json::from_str(line).expect("a golden row");
        let text = golden.text.as_str();
        let mut end = 0;
        for sentence in punkt.sentences(text) {
            let start = sentence.as_ptr().addr() - text.as_ptr().addr();
            assert!(is_space(&text[end..start]), "{text:?}");
            end = start + sentence.len();
        }
        assert!(is_space(&text[end..]), "{text:?}");
    }
}

fn is_space(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || matches!(c, '\x1c'..='\x1f'))
}

/// Hostile text takes time in proportion to its length: eight times the text never takes thirty-two times as long.
#[test]
fn hostile_text_takes_linear_time() {
    let punkt = Punkt::english(PunktCompat::V3_9);
    let patterns = [
        ".",
        "!",
        "?\u{a0}",
        ". ",
        ".\n",
        "a.",
        "a. ",
        "A. ",
        "\"",
        ".\"",
        ".) ",
        ".\u{a0}",
        "- ",
        "--",
        ",",
        "a,",
        "1,",
        ". . ",
        "\n",
        " ",
        "é",
        "x-",
        "mr.-",
        "\u{1f600}.",
        "\u{301}.",
    ];
    let measure = |text: &str| {
        let started = Instant::now();
        let sentences = punkt.sentences(text);
        assert!(sentences.iter().map(|s| s.len()).sum::<usize>() <= text.len());
        started.elapsed().as_secs_f64()
    };
    for pattern in patterns {
        let text = |bytes: usize| pattern.repeat(bytes / pattern.len());
        let short = (0..3).map(|_| measure(&text(1 << 17))).fold(f64::INFINITY, f64::min);
        let long = measure(&text(1 << 20));
        // 20 ms allow for a busy machine; a quadratic scanner needs minutes for a megabyte.
        assert!(long < 32.0 * short + 0.02, "{pattern:?}: {short} s, then {long} s");
    }
}
