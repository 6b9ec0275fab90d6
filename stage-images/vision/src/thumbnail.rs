//! Small grey averages of a picture, the ground of all its perceptual hashes.

use crate::Rgb;

/// Thumbnails keep this many fractional bits.
const FRACTION: u64 = 256;

/// Below this standard deviation of its 32 × 32 grey averages, in levels of 0 to 255, a picture counts as flat.
///
/// A flat picture's hash would be compression noise, and all flat pictures look alike: they have no hash and match nothing.
pub const FLAT_DEVIATION: f64 = 3.0;

/// Where one output cell lies along a side: whole source pixels, and the weights of the two partial ones, in units of 1 / cells.
struct Span {
    first: usize,
    last: usize,
    first_weight: u64,
    last_weight: u64,
}

/// Cells of equal width along a side of `length` pixels, exact to a fraction of a pixel.
fn spans(length: usize, cells: usize) -> Vec<Span> {
    (0..cells)
        .map(|i| {
            let (start, end) = (i * length, (i + 1) * length);
            let (first, last) = (start / cells, (end - 1) / cells);
            let first_end = ((first + 1) * cells).min(end);
            let first_weight = (first_end - start) as u64;
            let last_weight = if first == last { 0 } else { (end - last * cells) as u64 };
            Span { first, last, first_weight, last_weight }
        })
        .collect()
}

/// Grey averages over `side` × `side` cells of equal size: `[side, side]`, levels times 256, rounded.
///
/// Integers throughout, so the bits are the same everywhere. Grey is BT.601 luma.
pub(crate) fn grey(rgb: &Rgb, side: usize) -> Vec<u16> {
    let (w, h) = (rgb.width() as usize, rgb.height() as usize);
    let columns = spans(w, side);
    let rows = spans(h, side);
    let mut sums = vec![0_u64; side * side];
    let mut luma = vec![0_u8; w];
    let mut line = vec![0_u64; side];
    let mut cell = 0;
    for (y, row) in rgb.rows().enumerate() {
        for (l, p) in luma.iter_mut().zip(row.chunks_exact(3)) {
            // The weights sum to 256, so the quotient fits.
            *l = ((77 * u32::from(p[0]) + 150 * u32::from(p[1]) + 29 * u32::from(p[2]) + 128) >> 8) as u8;
        }
        for (sum, c) in line.iter_mut().zip(&columns) {
            let inner = luma.get(c.first + 1..c.last).unwrap_or_default();
            let inner: u64 = inner.iter().map(|&l| u64::from(l)).sum();
            *sum = u64::from(luma[c.first]) * c.first_weight
                + inner * side as u64
                + u64::from(luma[c.last]) * c.last_weight;
        }
        while cell < side && rows[cell].last < y {
            cell += 1;
        }
        for (r, span) in rows.iter().enumerate().skip(cell).take_while(|(_, s)| s.first <= y) {
            let weight = if y == span.first {
                span.first_weight
            } else if y == span.last {
                span.last_weight
            } else {
                side as u64
            };
            for (sum, l) in sums[r * side..][..side].iter_mut().zip(&line) {
                *sum += l * weight;
            }
        }
    }
    let area = (w * h) as u64;
    // At most 255 * 256 after division.
    sums.iter().map(|s| ((s * FRACTION + area / 2) / area) as u16).collect()
}

/// The standard deviation of grey averages, in levels of 0 to 255.
pub(crate) fn deviation(grey: &[u16]) -> f64 {
    let n = grey.len() as u64;
    let sum: u64 = grey.iter().map(|&v| u64::from(v)).sum();
    let squares: u64 = grey.iter().map(|&v| u64::from(v) * u64::from(v)).sum();
    // n² times the variance, exact in integers: at most 2^10 * 2^42.
    let scaled = (n * squares - sum * sum) as f64;
    scaled.sqrt() / (n * FRACTION) as f64
}

#[cfg(test)]
mod tests {
    use super::{deviation, grey};
    use crate::Rgb;

    /// The average over exact real-valued cells, slowly.
    fn naive(rgb: &Rgb, side: usize) -> Vec<f64> {
        let (w, h) = (rgb.width() as usize, rgb.height() as usize);
        let overlap = |i: usize, length: usize, p: usize| {
            let (start, end) = (i as f64 * length as f64 / side as f64, (i + 1) as f64 * length as f64 / side as f64);
            (end.min(p as f64 + 1.0) - start.max(p as f64)).max(0.0)
        };
        let mut out = Vec::new();
        for r in 0..side {
            for c in 0..side {
                let mut sum = 0.0;
                for y in 0..h {
                    for x in 0..w {
                        sum += f64::from(rgb.data()[(y * w + x) * 3]) * overlap(c, w, x) * overlap(r, h, y);
                    }
                }
                out.push(sum * (side * side) as f64 / (w * h) as f64);
            }
        }
        out
    }

    #[test]
    fn agrees_with_exact_cells_above_and_below_its_own_size() {
        for (w, h) in [(1, 1), (3, 7), (8, 8), (9, 31), (64, 16), (53, 40)] {
            let data = (0..w * h).flat_map(|i: u32| [(i * 97 % 251) as u8; 3]).collect();
            let rgb = Rgb::new(w, h, data).unwrap();
            for (got, want) in grey(&rgb, 8).iter().zip(naive(&rgb, 8)) {
                // Half a unit of rounding, and f64's own error in the reference.
                assert!((f64::from(*got) - want * 256.0).abs() < 0.5 + 1e-6, "{w}x{h}: {got} {want}");
            }
        }
    }

    #[test]
    fn deviation_is_in_levels() {
        assert_eq!(deviation(&[256 * 7; 64]), 0.0);
        let half: Vec<u16> = (0..64).map(|i| if i % 2 == 0 { 0 } else { 256 * 10 }).collect();
        assert!((deviation(&half) - 5.0).abs() < 1e-12);
    }
}
