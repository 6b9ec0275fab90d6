//! From an image of any size to the network's input.

use crate::RgbView;

/// Side of the network's input.
pub(super) const SIDE: usize = 224;
/// Share of the shorter side that the central square keeps: 224 of 256.
const KEEP: f64 = 0.875;

/// What the network is shown of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The central square, as the network was trained.
    Centre,
    /// Everything, squeezed into a square.
    Whole,
}

/// A view, scaled to 224 × 224 (Catmull-Rom, widened when shrinking), as (x − 127) / 128: `[224, 224, 3]`.
///
/// A resizer of its own keeps its sums in f32 in a fixed order, so they are the same on every processor.
pub(super) fn pixels(image: &RgbView<'_>, view: View) -> Vec<f32> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let side = width.min(height) as f64 * KEEP;
    let (across, down) = match view {
        View::Centre => (side, side),
        View::Whole => (width as f64, height as f64),
    };
    let columns = taps(width, (width as f64 - across) / 2.0, across);
    let rows = taps(height, (height as f64 - down) / 2.0, down);
    let mut out = Vec::with_capacity(SIDE * SIDE * 3);
    // Each source row is narrowed once; those that an output row needs overlap those of the next.
    let mut narrowed: Vec<Vec<f32>> = vec![Vec::new(); height];
    for Taps { first, weights } in rows {
        let mut sums = vec![0f32; SIDE * 3];
        for (row, weight) in (first..).zip(weights) {
            if narrowed[row].is_empty() {
                narrowed[row] = narrow(&image.data()[row * width * 3..][..width * 3], &columns);
            }
            sums.iter_mut().zip(&narrowed[row]).for_each(|(sum, x)| *sum += weight * x);
        }
        // Catmull-Rom overshoots at edges.
        out.extend(sums.into_iter().map(|x| (x.clamp(0.0, 255.0) - 127.0) / 128.0));
    }
    out
}

/// The source points that make up one output point.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

/// Taps of the 224 output points over `from..from + length` of a line of `n` points. Beyond the ends there is nothing.
fn taps(n: usize, from: f64, length: f64) -> Vec<Taps> {
    let scale = length / SIDE as f64;
    let width = scale.max(1.0);
    let point = |i: usize| {
        let centre = from + (i as f64 + 0.5) * scale;
        let first = (centre - 2.0 * width).floor().max(0.0) as usize;
        let last = ((centre + 2.0 * width).ceil() as usize).min(n);
        let weights: Vec<f64> = (first..last).map(|x| catmull_rom((x as f64 + 0.5 - centre) / width)).collect();
        let total: f64 = weights.iter().sum();
        Taps { first, weights: weights.into_iter().map(|weight| (weight / total) as f32).collect() }
    };
    (0..SIDE).map(point).collect()
}

/// The cubic through four points (Catmull and Rom 1974), 0 from 2 on.
fn catmull_rom(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}

/// One row of pixels at the output's columns, `[224, 3]`.
fn narrow(row: &[u8], columns: &[Taps]) -> Vec<f32> {
    let point = |taps: &Taps| {
        let mut sum = [0f32; 3];
        for (pixel, weight) in row[taps.first * 3..].as_chunks::<3>().0.iter().zip(&taps.weights) {
            sum.iter_mut().zip(pixel).for_each(|(sum, &x)| *sum += weight * f32::from(x));
        }
        sum
    };
    columns.iter().flat_map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_image_stays_plain_and_is_scaled() {
        for (width, height) in [(1, 1), (3, 700), (640, 480)] {
            let data = [255, 127, 0].repeat(width * height);
            let pixels = pixels(&RgbView::new(width as u32, height as u32, &data).unwrap(), View::Centre);
            assert_eq!(pixels.len(), SIDE * SIDE * 3);
            for (x, expected) in pixels.iter().zip([1.0, 0.0, -127.0 / 128.0].iter().cycle()) {
                // Two passes of up to 13 weights that add up to 1 within a rounding each, times 255 / 128.
                assert!((x - expected).abs() < 26.0 * 2.0 * f32::EPSILON, "{x}");
            }
        }
    }

    #[test]
    fn the_centre_is_kept() {
        // Left third red, the rest green: the central square of a 3:1 image has no red.
        let row = || (0..300).flat_map(|x| if x < 100 { [255, 0, 0] } else { [0, 255, 0] });
        let data: Vec<u8> = (0..100).flat_map(|_| row()).collect();
        let pixels = pixels(&RgbView::new(300, 100, &data).unwrap(), View::Centre);
        assert!(pixels.as_chunks::<3>().0.iter().all(|pixel| pixel[0] < 0.0 && pixel[1] > 0.99));
        // The whole keeps it: a third of 224 columns, but for the few that both colours reach.
        let whole = super::pixels(&RgbView::new(300, 100, &data).unwrap(), View::Whole);
        let red = whole.as_chunks::<3>().0.iter().filter(|pixel| pixel[0] > 0.0).count() / SIDE;
        assert!((73..=77).contains(&red), "{red}");
    }

    #[test]
    fn a_ramp_stays_a_ramp() {
        // The cubic reproduces straight lines where all its taps lie inside: 256 columns, cropped to 224, are copied.
        let data: Vec<u8> = (0..256).flat_map(|_| (0..=255u8).flat_map(|x| [x; 3])).collect();
        let pixels = pixels(&RgbView::new(256, 256, &data).unwrap(), View::Centre);
        for (column, pixel) in pixels.as_chunks::<3>().0[..SIDE].iter().enumerate() {
            assert!((pixel[0] - (column as f32 + 16.0 - 127.0) / 128.0).abs() < 1e-5, "{column}: {pixel:?}");
        }
        let half: Vec<u8> = (0..512).flat_map(|_| (0..512).flat_map(|x| [(x / 2) as u8; 3])).collect();
        let pixels = super::pixels(&RgbView::new(512, 512, &half).unwrap(), View::Centre);
        for (column, pixel) in pixels.as_chunks::<3>().0[..SIDE].iter().enumerate() {
            assert!((pixel[0] - (column as f32 + 16.0 - 127.0) / 128.0).abs() < 1e-5, "{column}: {pixel:?}");
        }
    }
}
