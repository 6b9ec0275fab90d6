use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn jaccard(a: &str, b: &str) -> f64 {
    Shingles::new(a).jaccard(&Shingles::new(b))
}

fn near(a: &str, b: &str) -> bool {
    Shingles::new(a).similarity(&Shingles::new(b), DEFAULT_THRESHOLD).is_some()
}

/// A stream of numbers that depends on the seed alone.
struct Stream(u64, u64);

impl Stream {
    fn below(&mut self, n: usize) -> usize {
        self.1 += 1;
        (hash_words(b"test", &[self.0, self.1]) % n as u64) as usize
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

#[test]
fn case_and_punctuation_do_not_count() {
    for (a, b) in [
        ("The cat's away.", "the cats AWAY"),
        ("“Well-known,” he said…", "well known -- he said"),
        ("Go!", "go?"),
        ("A café, in Paris", "A CAFE\u{301} in paris!"),
        ("U.S. exports: 6,500", "us exports 6500"),
    ] {
        assert_eq!(jaccard(a, b), 1.0, "{a:?} {b:?}");
        assert!(near(a, b));
    }
    assert_eq!(jaccard("!!!", "!!!"), 1.0);
    assert_eq!(jaccard("!!!", "???"), 0.0);
}

#[test]
fn jaccard_is_that_of_the_shingle_sets() {
    // Four words have eight padded 5-grams; the last word stands in five of them.
    assert_eq!(jaccard("a b c d", "a b c e"), 3.0 / 13.0);
    assert_eq!(jaccard("a", "b"), 0.0);
    assert_eq!(jaccard("", "a"), 0.0);
    // The order of words counts.
    assert!(jaccard("dog bites man", "man bites dog") < 0.5);
}

/// The module's formula: one word replaced leaves (n − 1) / (n + 9).
#[test]
fn one_replaced_word_stays_below_the_threshold_up_to_forty_words() {
    for n in 1..=81usize {
        let words: Vec<String> =
            (0..n).map(|i| format!("w{}x", char::from(b'a' + (i % 26) as u8).to_string().repeat(1 + i / 26))).collect();
        for at in [0, n / 2, n - 1] {
            let mut other = words.clone();
            other[at] = "other".into();
            let similarity = jaccard(&words.join(" "), &other.join(" "));
            assert!((similarity - (n as f64 - 1.0) / (n as f64 + 9.0)).abs() < 1e-12, "{n} {at} {similarity}");
            assert_eq!(similarity < DEFAULT_THRESHOLD, n <= 40, "{n}");
            assert!(!near(&words.join(" "), &other.join(" ")), "{n} {at}");
        }
    }
}

#[test]
fn in_long_sentences_only_harmless_words_may_be_added() {
    let long = "when the river rose in spring the farmers of the valley moved their cattle to the hills and waited there for \
                weeks until the water had gone down and the meadows were dry enough to walk on again with all the animals";
    assert!(near(long, &format!("{long} indeed")));
    assert!(near(&format!("Photo: {long}"), long));
    assert!(!near(long, &format!("{long} 1995")));
    assert!(!near(long, &long.replace("waited", "never waited")));
    assert!(!near(long, &long.replace("spring", "autumn")));
}

#[test]
fn signatures_estimate_the_similarity() {
    let hasher = MinHasher::new(64, 8);
    let words: Vec<String> = (0..60).map(|i| format!("word{i}")).collect();
    for kept in [0, 15, 30, 45, 60] {
        let (a, b) = (Shingles::new(&words.join(" ")), Shingles::new(&words[..kept].join(" ")));
        let (sa, sb) = (hasher.signature(&a), hasher.signature(&b));
        let equal = sa.iter().zip(&sb).filter(|(x, y)| x == y).count() as f64 / sa.len() as f64;
        // 512 independent trials: a standard deviation of at most 0.022; five of them.
        assert!((equal - a.jaccard(&b)).abs() < 0.11, "{kept}: {equal} {}", a.jaccard(&b));
    }
}

#[test]
fn hashes_are_frozen() {
    let hasher = MinHasher::default();
    let signature = hasher.signature(&Shingles::new("Two dogs run on the beach."));
    assert_eq!((signature.len(), hasher.bands(&signature).len()), (126, 21));
    // A change of these values changes what is committed: it must come with a new version of the stage.
    assert_eq!(signature[..2], FROZEN_SIGNATURE);
    assert_eq!(hasher.bands(&signature)[0], FROZEN_BAND);
}

const FROZEN_SIGNATURE: [u64; 2] = [175_321_535_662_038_389, 284_928_738_661_684_916];
const FROZEN_BAND: u64 = 12_863_816_124_639_570_129;

#[test]
#[should_panic(expected = "at least one band")]
fn no_bands_are_refused() {
    MinHasher::new(0, 4);
}

const COUNTS: &[&str] = &["two", "three", "four", "five", "six", "seven", "eight", "9", "10", "12", "15", "20"];
const COLOURS: &[&str] =
    &["red", "blue", "green", "white", "black", "yellow", "brown", "grey", "golden", "dark", "pale", "pink"];
const THINGS: &[&str] =
    &["dogs", "cats", "boats", "cars", "birds", "houses", "horses", "tents", "trucks", "kites", "chairs", "books"];
const DEEDS: &[&str] = &["stand", "wait", "rest", "gather", "appear", "sit", "lie", "gleam", "vanish", "remain"];
const PLACES: &[&str] =
    &["beach", "harbour", "market", "station", "river", "church", "museum", "forest", "bridge", "school"];
const DAYS: &[&str] = &["Monday", "Tuesday", "Friday", "Sunday", "May 3", "May 8", "June 21", "1995", "1996", "2010"];
const TAILS: &[&str] = &[
    "",
    " while it rains",
    " as the photographer of the town's newspaper looks on from a window of the hotel",
    " and the crowd that has come from all the villages around to see the old ships leave for the last time before winter, \
     among them the mayor, his wife and the band of the fire brigade, applauds for minutes on end",
];

/// A caption: a line through the words lists. Captions that differ in one choice are near-equal and mean different things.
fn caption(choice: &[usize; 7]) -> String {
    let [count, colour, thing, deed, place, day, tail] = *choice;
    format!(
        "{} {} {} {} near the {} on {}{}.",
        COUNTS[count], COLOURS[colour], THINGS[thing], DEEDS[deed], PLACES[place], DAYS[day], TAILS[tail]
    )
}

/// The same caption in another case and with other punctuation.
fn variant(text: &str, stream: &mut Stream) -> String {
    let text = match stream.below(4) {
        0 => text.to_uppercase(),
        1 => text.to_lowercase(),
        2 => text.chars().enumerate().map(|(i, c)| if i % 2 == 0 { c.to_ascii_uppercase() } else { c }).collect(),
        _ => text.to_owned(),
    };
    let text = text.trim_end_matches('.').replace(" on ", stream.of(&[" on ", ", on ", " – on ", " (on) ", "  on "]));
    let text = text.replace('\'', stream.of(&["'", "’", ""]));
    format!("{}{text}{}", stream.of(&["", "\"", "- ", "*"]), stream.of(&["", ".", "!", "…", "?!", ".\""]))
}

/// All pairs that share a band and pass the exact check.
fn merged(texts: &[String]) -> BTreeSet<(usize, usize)> {
    let hasher = MinHasher::default();
    let shingles: Vec<Shingles> = texts.iter().map(|t| Shingles::new(t)).collect();
    let mut buckets = BTreeMap::<u64, Vec<usize>>::new();
    for (i, shingles) in shingles.iter().enumerate() {
        for key in hasher.bands(&hasher.signature(shingles)) {
            buckets.entry(key).or_default().push(i);
        }
    }
    let mut pairs = BTreeSet::new();
    for bucket in buckets.values() {
        for (n, &a) in bucket.iter().enumerate() {
            pairs.extend(bucket[n + 1..].iter().map(|&b| (a, b)));
        }
    }
    pairs.retain(|&(a, b)| shingles[a].similarity(&shingles[b], DEFAULT_THRESHOLD).is_some());
    pairs
}

/// A caption at random, and the captions that differ from it in one choice.
fn family(stream: &mut Stream, size: usize) -> Vec<String> {
    let sizes = [COUNTS.len(), COLOURS.len(), THINGS.len(), DEEDS.len(), PLACES.len(), DAYS.len()];
    let base: [usize; 7] = std::array::from_fn(|i| stream.below(*sizes.get(i).unwrap_or(&TAILS.len())));
    let mut family = vec![caption(&base)];
    for n in 1..size {
        let mut other = base;
        let slot = n % sizes.len();
        other[slot] = (base[slot] + n / sizes.len() + 1) % sizes[slot];
        family.push(caption(&other));
    }
    family
}

/// 100,000 pairs of captions that differ in one number, colour, thing, deed, place or date, each compared exactly, whatever
/// its bands say; a quarter of them longer than forty words.
#[test]
fn a_hundred_thousand_near_equal_captions_are_told_apart() {
    let mut stream = Stream(1, 0);
    let (mut pairs, mut false_merges) = (0, 0);
    while pairs < 100_000 {
        let family = family(&mut stream, 50);
        let shingles: Vec<Shingles> = family.iter().map(|t| Shingles::new(t)).collect();
        for (text, other) in family.iter().zip(&shingles).skip(1) {
            assert_ne!(text, &family[0]);
            pairs += 1;
            false_merges += usize::from(shingles[0].similarity(other, DEFAULT_THRESHOLD).is_some());
        }
    }
    // One false merge beside 1,000 true ones would be a precision of 99.9 %.
    assert_eq!(false_merges, 0, "of {pairs}");
}

/// 1,000 planted variants among 8,000 near-equal captions, found through the bands: recall ≥ 99 %, precision ≥ 99.9 %.
#[test]
fn planted_variants_are_found_among_near_equal_captions() {
    let mut stream = Stream(2, 0);
    let mut texts = BTreeSet::new();
    while texts.len() < 8_000 {
        texts.extend(family(&mut stream, 20));
    }
    let mut texts: Vec<String> = texts.into_iter().collect();
    let originals = texts.len();
    let mut planted = BTreeSet::new();
    for n in 0..1_000 {
        let original = n * (originals / 1_000);
        planted.insert((original, texts.len()));
        let variant = variant(&texts[original], &mut stream);
        texts.push(variant);
    }

    let merged = merged(&texts);
    let found = merged.intersection(&planted).count() as f64;
    assert!(found / planted.len() as f64 >= 0.99, "recall: {found} of {}", planted.len());
    assert!(found / merged.len() as f64 >= 0.999, "precision: {found} of {}", merged.len());
}
