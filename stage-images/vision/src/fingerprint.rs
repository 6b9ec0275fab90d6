//! The perceptual fingerprint: a hash that finds candidates, and a thumbnail that decides.
//!
//! A 64-bit hash alone calls screenshots of one window, or drawings in one frame, the same. So a pair whose hashes are near is
//! compared by 24 × 24 grey thumbnails, in two ways that don't change with brightness and contrast: their fine structure must
//! correlate, and no part of one may differ much from the same part of the other.

use crate::phash::{self, BAND_MAX_DISTANCE, hamming};
use crate::thumbnail::{FLAT_DEVIATION, deviation, grey};
use crate::{Rgb, bands};

/// The side of the thumbnail that decides, in cells.
pub const DETAIL_SIDE: usize = 24;

const CELLS: usize = DETAIL_SIDE * DETAIL_SIDE;

/// The side of the parts that are compared one by one, in cells.
const TILE: usize = 3;

/// What is kept of a picture to tell whether another is the same one, re-encoded, resized or recoloured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// The picture's [`phash`](crate::phash()).
    pub phash: u64,
    /// The picture's width in pixels.
    pub width: u32,
    /// The picture's height in pixels.
    pub height: u32,
    /// Grey averages over equal cells, `[24, 24]`, rows from the top.
    pub detail: [u8; CELLS],
}

/// How alike two fingerprints are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likeness {
    /// Bits in which the hashes differ, 0 to 64.
    pub distance: u32,
    /// The longer aspect ratio over the shorter one, at least 1.
    pub aspect: f64,
    /// Correlation of the thumbnails' fine structure (each cell less the mean of the 3 × 3 cells around it), -1 to 1.
    pub structure: f64,
    /// The greatest root mean square difference over a tile of 3 × 3 cells, after both thumbnails were brought to mean 0 and
    /// standard deviation 1.
    pub worst_tile: f64,
}

/// What [`Fingerprint::same`] asks for; the limits themselves pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// The most bits in which hashes may differ. Above [`BAND_MAX_DISTANCE`] the bands no longer find every pair.
    pub max_distance: u32,
    /// The greatest quotient of the aspect ratios: resizing rounds sides to whole pixels.
    pub max_aspect: f64,
    /// The least correlation of fine structure.
    pub min_structure: f64,
    /// The greatest difference of any tile.
    pub max_worst_tile: f64,
}

impl Default for Thresholds {
    /// Set between the measured copies and hard negatives of `tests/duplicates.rs`.
    fn default() -> Self {
        Self { max_distance: BAND_MAX_DISTANCE, max_aspect: 1.03, min_structure: 0.975, max_worst_tile: 0.4 }
    }
}

impl Fingerprint {
    /// Bytes of a stored fingerprint.
    pub const BYTES: usize = 16 + CELLS;

    /// A picture's fingerprint; `None` for flat pictures, as for [`phash`](crate::phash()): they match nothing.
    pub fn of(rgb: &Rgb) -> Option<Self> {
        let thumbnail = grey(rgb, phash::SIDE);
        if deviation(&thumbnail) < FLAT_DEVIATION {
            return None;
        }
        let fine = grey(rgb, DETAIL_SIDE);
        Some(Self {
            phash: phash::of_thumbnail(&thumbnail),
            width: rgb.width(),
            height: rgb.height(),
            // At most (255 * 256 + 128) / 256 = 255.
            detail: std::array::from_fn(|i| ((u32::from(fine[i]) + 128) / 256) as u8),
        })
    }

    /// The [`bands`] of its hash: the keys under which candidates are sought.
    pub fn bands(&self) -> [u32; crate::BAND_COUNT] {
        bands(self.phash)
    }

    /// Compares two fingerprints; the same either way round.
    pub fn likeness(&self, other: &Self) -> Likeness {
        let (worst_tile, structure) = (worst_tile(&self.detail, &other.detail), structure(&self.detail, &other.detail));
        Likeness {
            distance: hamming(self.phash, other.phash),
            aspect: self.aspect_quotient(other),
            structure,
            worst_tile,
        }
    }

    /// Whether two pictures are the same one, re-encoded, resized or recoloured; the cheap tests come first.
    pub fn same(&self, other: &Self, thresholds: &Thresholds) -> bool {
        hamming(self.phash, other.phash) <= thresholds.max_distance
            && self.aspect_quotient(other) <= thresholds.max_aspect
            && worst_tile(&self.detail, &other.detail) <= thresholds.max_worst_tile
            && structure(&self.detail, &other.detail) >= thresholds.min_structure
    }

    fn aspect_quotient(&self, other: &Self) -> f64 {
        let a = u64::from(self.width) * u64::from(other.height);
        let b = u64::from(self.height) * u64::from(other.width);
        a.max(b) as f64 / a.min(b).max(1) as f64
    }

    /// The stored form: hash, width, height (little-endian), then the thumbnail.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..8].copy_from_slice(&self.phash.to_le_bytes());
        out[8..12].copy_from_slice(&self.width.to_le_bytes());
        out[12..16].copy_from_slice(&self.height.to_le_bytes());
        out[16..].copy_from_slice(&self.detail);
        out
    }

    /// Reads the stored form; `None` if it has another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        Some(Self {
            phash: u64::from_le_bytes(bytes[..8].try_into().ok()?),
            width: u32::from_le_bytes(bytes[8..12].try_into().ok()?),
            height: u32::from_le_bytes(bytes[12..16].try_into().ok()?),
            detail: bytes[16..].try_into().ok()?,
        })
    }
}

fn worst_tile(a: &[u8; CELLS], b: &[u8; CELLS]) -> f64 {
    let (a, b) = (standardised(&a.map(i32::from)), standardised(&b.map(i32::from)));
    let per_side = DETAIL_SIDE / TILE;
    let mut squares = vec![0.0; per_side * per_side];
    for (i, (x, y)) in a.iter().zip(&b).enumerate() {
        squares[i / DETAIL_SIDE / TILE * per_side + i % DETAIL_SIDE / TILE] += (x - y) * (x - y);
    }
    (squares.into_iter().fold(0.0, f64::max) / (TILE * TILE) as f64).sqrt()
}

fn structure(a: &[u8; CELLS], b: &[u8; CELLS]) -> f64 {
    let (a, b) = (standardised(&fine(a)), standardised(&fine(b)));
    a.iter().zip(&b).map(|(x, y)| x * y).sum::<f64>() / CELLS as f64
}

/// Nine times each cell less the sum of the 3 × 3 cells around it; over the edge, the nearest cell counts again.
fn fine(detail: &[u8; CELLS]) -> [i32; CELLS] {
    let last = DETAIL_SIDE - 1;
    let at = |y: usize, x: usize| {
        i32::from(detail[y.clamp(1, last + 1) * DETAIL_SIDE - DETAIL_SIDE + x.clamp(1, last + 1) - 1])
    };
    std::array::from_fn(|i| {
        // Positions are one ahead, so that the cell before the first one has a number.
        let (y, x) = (i / DETAIL_SIDE + 1, i % DETAIL_SIDE + 1);
        let around: i32 =
            (y - 1..=y + 1).flat_map(|y| (x - 1..=x + 1).map(move |x| (y, x))).map(|(y, x)| at(y, x)).sum();
        9 * i32::from(detail[i]) - around
    })
}

/// Values brought to mean 0 and standard deviation 1; all zero where they are all equal.
fn standardised(values: &[i32; CELLS]) -> [f64; CELLS] {
    let n = CELLS as f64;
    let mean = f64::from(values.iter().sum::<i32>()) / n;
    let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    let scale = if variance > 0.0 { 1.0 / variance.sqrt() } else { 0.0 };
    values.map(|v| (f64::from(v) - mean) * scale)
}

#[cfg(test)]
#[path = "fingerprint_tests.rs"]
mod tests;
