//! Near-duplicate sentences: shingles, MinHash signatures, LSH bands, and the exact check.
//!
//! **Shingles.** A sentence is the set of the 5-grams of its [`words`], with four blanks before
//! the first and after the last word. So case and punctuation do not count, a sentence of any length has shingles, and
//! each word, at the edges too, stands in exactly five. One replaced word in a sentence of n leaves a Jaccard similarity of
//! at most (n − 1) / (n + 9): below 0.8 up to 40 words.
//!
//! **What the difference says.** In longer sentences a single number or colour would drown. Therefore two sentences are
//! near duplicates only if one's words are among the other's (with multiplicity: something was added, moved or cut off,
//! nothing was replaced), and what was added holds no digit and no negation.
//!
//! All hashes are keyed BLAKE3, cut to 64 bits.

use crate::normalise::{canonical, words};

/// Words per shingle.
const WORDS: usize = 5;

/// The default similarity from which two sentences are near duplicates.
pub const DEFAULT_THRESHOLD: f64 = 0.8;

const NEGATIONS: &[&str] = &[
    "not", "no", "never", "without", "nor", "neither", "none", "cannot", "cant", "dont", "doesnt", "didnt", "isnt",
    "arent", "wasnt", "werent", "wont", "wouldnt", "couldnt", "shouldnt", "hasnt", "havent", "hadnt",
];

/// A sentence as a set of shingles, and its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shingles {
    /// Sorted, each once.
    set: Vec<u64>,
    /// The hashes of the words, sorted, with multiplicity; `true` for words that change what a sentence says.
    words: Vec<(u64, bool)>,
}

impl Shingles {
    /// The shingles of a sentence. A text without any words has one shingle, itself.
    pub fn new(sentence: &str) -> Self {
        let mut words: Vec<_> = words(sentence).map(|w| (hash(b"word", w.as_bytes()), changes_meaning(&w))).collect();
        if words.is_empty() {
            return Self { set: vec![hash(b"text", canonical(sentence).as_bytes())], words };
        }
        const BLANK: [u64; WORDS - 1] = [0; WORDS - 1];
        let padded: Vec<u64> = BLANK.into_iter().chain(words.iter().map(|w| w.0)).chain(BLANK).collect();
        let mut set: Vec<u64> = padded.windows(WORDS).map(|gram| hash_words(b"gram", gram)).collect();
        set.sort_unstable();
        set.dedup();
        words.sort_unstable();
        Self { set, words }
    }

    /// |A ∩ B| / |A ∪ B|, exact.
    pub fn jaccard(&self, other: &Self) -> f64 {
        let common = common(&self.set, &other.set);
        common as f64 / (self.set.len() + other.set.len() - common) as f64
    }

    /// The Jaccard similarity if the two are near duplicates, see the [module](self): at least `threshold`, and what
    /// differs does not matter.
    pub fn similarity(&self, other: &Self, threshold: f64) -> Option<f64> {
        let jaccard = self.jaccard(other);
        (jaccard >= threshold && self.same_content(other)).then_some(jaccard)
    }

    fn same_content(&self, other: &Self) -> bool {
        let (long, short) = if self.words.len() < other.words.len() {
            (&other.words, &self.words)
        } else {
            (&self.words, &other.words)
        };
        let mut short = short.iter().peekable();
        let nothing_added_matters = long.iter().all(|word| short.next_if_eq(&word).is_some() || !word.1);
        nothing_added_matters && short.next().is_none()
    }
}

fn changes_meaning(word: &str) -> bool {
    word.contains(char::is_numeric) || NEGATIONS.contains(&word)
}

/// How many values two sorted lists share.
fn common(a: &[u64], b: &[u64]) -> usize {
    let (mut i, mut j, mut common) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        let (x, y) = (a[i], b[j]);
        common += usize::from(x == y);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    common
}

/// A sentence's MinHash signature: one minimum per permutation.
pub type Signature = Vec<u64>;

/// MinHash with `bands × rows` permutations. Two sentences of Jaccard similarity s share a band with probability
/// 1 − (1 − s^rows)^bands.
#[derive(Clone, Debug)]
pub struct MinHasher {
    rows: usize,
    /// Multiplier and addend of each permutation x → (a·x + b) mod 2⁶¹ − 1.
    permutations: Vec<(u64, u64)>,
}

impl Default for MinHasher {
    /// 21 bands of 6 rows: 99.8 % of pairs at similarity 0.8 share a band, 28 % at 0.5, 2 % at 0.3.
    fn default() -> Self {
        Self::new(21, 6)
    }
}

const PRIME: u64 = (1 << 61) - 1;

impl MinHasher {
    /// A hasher of `bands` bands of `rows` rows; the same numbers give the same permutations.
    ///
    /// # Panics
    /// If either is zero.
    pub fn new(bands: usize, rows: usize) -> Self {
        assert!(bands > 0 && rows > 0, "MinHash needs at least one band and one row, not {bands} × {rows}");
        let permutation = |i: u64| {
            let (a, b) = (hash_words(b"slope", &[i]), hash_words(b"shift", &[i]));
            (1 + a % (PRIME - 1), b % PRIME)
        };
        Self { rows, permutations: (0..(bands * rows) as u64).map(permutation).collect() }
    }

    /// The signature of a sentence's shingles.
    pub fn signature(&self, shingles: &Shingles) -> Signature {
        let minimum = |&(a, b): &(u64, u64)| {
            shingles.set.iter().map(|&x| permute(a, b, x % PRIME)).min().expect("a sentence has at least one shingle")
        };
        self.permutations.iter().map(minimum).collect()
    }

    /// The key of each band, in order. Two sentences with a key in common are a candidate pair; the number of the band is
    /// part of the key, so keys of different bands do not meet.
    pub fn bands(&self, signature: &Signature) -> Vec<u64> {
        let key = |(band, rows): (usize, &[u64])| {
            let mut values = vec![band as u64];
            values.extend(rows);
            hash_words(b"band", &values)
        };
        signature.chunks(self.rows).enumerate().map(key).collect()
    }
}

fn permute(a: u64, b: u64, x: u64) -> u64 {
    let y = u128::from(a) * u128::from(x) + u128::from(b);
    // Modulo a Mersenne prime by adding the high bits to the low ones.
    let y = (y & u128::from(PRIME)) as u64 + (y >> 61) as u64;
    if y >= PRIME { y - PRIME } else { y }
}

fn hash_words(purpose: &[u8], values: &[u64]) -> u64 {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    hash(purpose, &bytes)
}

/// BLAKE3, keyed by the purpose, cut to 64 bits.
fn hash(purpose: &[u8], bytes: &[u8]) -> u64 {
    let mut key = *b"realsyn near duplicates v1      ";
    key[27..27 + purpose.len()].copy_from_slice(purpose);
    let digest = blake3::keyed_hash(&key, bytes);
    u64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("eight bytes"))
}

#[cfg(test)]
#[path = "near_tests.rs"]
mod tests;
