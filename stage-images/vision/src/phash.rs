//! A 64-bit perceptual hash, and the band keys that bring near hashes together.

use crate::Rgb;
use crate::thumbnail::{FLAT_DEVIATION, deviation, grey};

/// The side of the grey thumbnail that is transformed.
pub(crate) const SIDE: usize = 32;

/// Low frequencies that are used, in each direction.
const LOW: usize = 8;

/// Two hashes within this Hamming distance share at least one of their [`bands`].
pub const BAND_MAX_DISTANCE: u32 = 6;

/// How many keys [`bands`] gives: the pairs of 8 blocks.
pub const BAND_COUNT: usize = 28;

/// The perceptual hash: signs of 64 low frequencies of the 32 × 32 grey thumbnail's cosine transform, against their median.
///
/// `None` for flat pictures: those whose 32 × 32 grey averages deviate by less than [`FLAT_DEVIATION`] levels.
/// Frequencies (u, v) with u, v < 8 without the mean, and (8, 0) in its place. Integers throughout: the same bits everywhere.
/// Bit i is set where frequency i (rows first) is above the lower median.
pub fn phash(rgb: &Rgb) -> Option<u64> {
    let thumbnail = grey(rgb, SIDE);
    (deviation(&thumbnail) >= FLAT_DEVIATION).then(|| of_thumbnail(&thumbnail))
}

/// The hash of a 32 × 32 thumbnail.
pub(crate) fn of_thumbnail(thumbnail: &[u16]) -> u64 {
    // Rounding to 14 bits hides the last bits in which platforms' cosines differ.
    let cosine: Vec<[i64; SIDE]> = (0..=LOW)
        .map(|u| {
            std::array::from_fn(|x| {
                let angle = ((2 * x + 1) * u) as f64 * std::f64::consts::PI / (2 * SIDE) as f64;
                (angle.cos() * f64::from(1 << 14)).round() as i64
            })
        })
        .collect();
    // Sums stay below 2^14 * 2^14 * 2^16 * 2^10 = 2^54.
    let mut rows = [[0_i64; SIDE]; LOW + 1];
    for (u, row) in rows.iter_mut().enumerate() {
        for (y, line) in thumbnail.chunks_exact(SIDE).enumerate() {
            row[y] = line.iter().zip(&cosine[u]).map(|(&v, c)| i64::from(v) * c).sum();
        }
    }
    let frequency = |u: usize, v: usize| -> i64 { rows[u].iter().zip(&cosine[v]).map(|(r, c)| r * c).sum() };
    let coefficients: [i64; 64] = std::array::from_fn(|i| match i {
        0 => frequency(LOW, 0),
        _ => frequency(i % LOW, i / LOW),
    });
    let mut sorted = coefficients;
    sorted.sort_unstable();
    let median = sorted[31];
    coefficients.iter().enumerate().fold(0, |hash, (i, &c)| hash | u64::from(c > median) << i)
}

/// The number of bits in which two hashes differ.
pub fn hamming(a: u64, b: u64) -> u32 {
    (a ^ b).count_ones()
}

/// Keys such that two hashes within [`BAND_MAX_DISTANCE`] bits of each other share at least one.
///
/// The hash is cut into 8 blocks of 8 bits. Six differing bits touch at most six blocks, so at least two blocks agree: one key for
/// every pair of blocks, made of the pair's number and both blocks' bits, finds every such pair. Random hashes share a given
/// key with probability 2^-16. Keys of different pairs of blocks are different.
pub fn bands(hash: u64) -> [u32; BAND_COUNT] {
    let blocks = hash.to_le_bytes();
    let mut keys = [0; BAND_COUNT];
    let mut n = 0;
    for i in 0..blocks.len() {
        for j in i + 1..blocks.len() {
            keys[n] = (n as u32) << 16 | u32::from(blocks[i]) << 8 | u32::from(blocks[j]);
            n += 1;
        }
    }
    keys
}
