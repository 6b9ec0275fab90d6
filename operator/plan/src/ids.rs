//! Ids of images, sentences and documents, and the keyed orders that replace random numbers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The first 128 bits of a BLAKE3 hash, written as 32 hexadecimal digits.
///
/// An image's id is over its source bytes, a sentence's over its canonical text, a document's over its URL, or over
/// file name and row where it has none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 16]);

/// Text that is not an id.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an id: 32 hexadecimal digits are expected")]
pub struct ParseIdError(String);

impl Id {
    /// The id of an image from its source bytes.
    pub fn of_image(bytes: &[u8]) -> Self {
        Self::of(bytes)
    }

    /// The id of a sentence from its canonical text: NFC, white space folded to single spaces, trimmed.
    pub fn of_sentence(canonical: &str) -> Self {
        Self::of(canonical.as_bytes())
    }

    /// The id of a document from its URL, or from the file's name and the row where it has none.
    pub fn of_document(url: Option<&str>, file: &str, row: u64) -> Self {
        match url {
            Some(url) => Self::of(url.as_bytes()),
            None => Self::of(format!("{file}#{row}").as_bytes()),
        }
    }

    fn of(bytes: &[u8]) -> Self {
        let hash = blake3::hash(bytes);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        Self(id)
    }

    /// H(key, id): the place of this id in the order named `key`. Orders under different keys are independent.
    pub fn order(&self, key: OrderKey) -> u64 {
        let mut hasher = blake3::Hasher::new_derive_key(key.domain());
        hasher.update(&self.0);
        let mut out = [0; 8];
        hasher.finalize_xof().fill(&mut out);
        u64::from_be_bytes(out)
    }

    /// The partition of this id when ids are cut into `n` equal ranges. `n` is a power of two up to 2^32.
    pub fn range_of(&self, n: u32) -> u32 {
        let high = u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]]);
        ((u64::from(high) * u64::from(n)) >> 32) as u32
    }
}

/// The keyed orders of the data contract. Each has a key of its own, so no choice correlates with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderKey {
    /// Rows inside a shard: samples for k-means and recall are prefixes of this order.
    Rows,
    /// Rank inside a cluster.
    Balance,
    /// Which clusters give one more when a target size falls between two levels.
    Level,
    /// Order of pairs in a release.
    Pack,
    /// Which shards a preview takes.
    Preview,
}

impl OrderKey {
    fn domain(self) -> &'static str {
        match self {
            Self::Rows => "realsyn.dev/v1 order rows",
            Self::Balance => "realsyn.dev/v1 order balance",
            Self::Level => "realsyn.dev/v1 order level",
            Self::Pack => "realsyn.dev/v1 order pack",
            Self::Preview => "realsyn.dev/v1 order preview",
        }
    }
}

/// Parses exactly `2 * N` hexadecimal digits.
pub(crate) fn parse_hex<const N: usize>(s: &str) -> Option<[u8; N]> {
    let s = s.as_bytes();
    if s.len() != 2 * N {
        return None;
    }
    let digit = |c: u8| (c as char).to_digit(16).map(|d| d as u8);
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(s.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

/// Writes bytes as hexadecimal digits, in one piece: names and records hold thousands of them.
pub(crate) fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut digits = [0; 64];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    f.pad(std::str::from_utf8(&digits[..2 * bytes.len()]).expect("digits are ASCII"))
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Id {
    type Err = ParseIdError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        parse_hex(s).map(Self).ok_or_else(|| ParseIdError(s.to_owned()))
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Id;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("32 hexadecimal digits")
            }
            fn visit_str<E: serde::de::Error>(self, s: &str) -> Result<Id, E> {
                s.parse().map_err(E::custom)
            }
        }
        d.deserialize_str(Visitor)
    }
}
