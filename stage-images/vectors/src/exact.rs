//! Dot products without rounding.

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use crate::rows::Rows;

/// 2^24: every `f16` is a whole multiple of its inverse.
const UNITS: f32 = 16_777_216.0;

/// The exact dot product of two rows of the same width, for unit rows (see the crate's page for why it is exact).
pub fn dot(a: &[f16], b: &[f16]) -> f64 {
    const CHUNK: usize = 256;
    let (mut wide_a, mut wide_b) = ([0f32; CHUNK], [0f32; CHUNK]);
    let chunks = a.chunks(CHUNK).zip(b.chunks(CHUNK));
    chunks
        .map(|(a, b)| {
            let n = a.len().min(b.len());
            a[..n].convert_to_f32_slice(&mut wide_a[..n]);
            b[..n].convert_to_f32_slice(&mut wide_b[..n]);
            dot_wide(&wide_a[..n], &wide_b[..n])
        })
        .sum()
}

/// [`dot`] of rows that are widened already.
pub(crate) fn dot_wide(a: &[f32], b: &[f32]) -> f64 {
    // Eight sums, because the order does not matter and the processor can then add several at once.
    const LANES: usize = 8;
    let mut sums = [0f64; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 =
        a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += f64::from(a[lane]) * f64::from(b[lane]);
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// The sum of some rows, `[d]`, in units of 2^-24: integers, so the order of the rows does not matter.
pub(crate) fn fixed_sum(rows: Rows<'_>, members: &[u32]) -> Vec<i64> {
    let mut sum = vec![0i64; rows.dim()];
    let mut wide = vec![0f32; rows.dim()];
    for &member in members {
        rows.widen(member as usize, &mut wide);
        for (total, &value) in sum.iter_mut().zip(&wide) {
            // A unit row's values are below 2, so this is an integer below 2^25.
            *total += i64::from((value * UNITS) as i32);
        }
    }
    sum
}

/// Cosine between each member and the mean direction of all members; paper §3.1: a group of duplicates keeps the one that
/// is nearest its centroid.
///
/// Sums are integers, so the values depend on the set of members alone: neither on their order nor on the machine. If the
/// members cancel out, there is no direction, and every value is 0. Panics when there is no such row.
pub fn cosines_to_mean(rows: Rows<'_>, members: &[u32]) -> Vec<f64> {
    let sum = fixed_sum(rows, members);
    let norm = norm(&sum);
    if norm == 0.0 {
        return vec![0.0; members.len()];
    }
    members
        .par_iter()
        .map(|&member| {
            let along: i128 = rows
                .row(member as usize)
                .iter()
                .zip(&sum)
                .map(|(&value, &total)| i128::from((value.to_f32() * UNITS) as i32) * i128::from(total))
                .sum();
            along as f64 / norm / f64::from(UNITS)
        })
        .collect()
}

/// Length of an integer vector; the squares are added exactly, and rounded once.
pub(crate) fn norm(values: &[i64]) -> f64 {
    (values.iter().map(|&value| i128::from(value) * i128::from(value)).sum::<i128>() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, unit_rows};

    /// The dot product in integers, in units of 2^-48.
    fn integer_dot(a: &[f16], b: &[f16]) -> i128 {
        let fixed = |x: &f16| (f64::from(x.to_f32()) * f64::from(UNITS)) as i128;
        a.iter().zip(b).map(|(x, y)| fixed(x) * fixed(y)).sum()
    }

    #[test]
    fn dot_is_the_integer_sum_in_any_order() {
        let mut random = Random::new(7);
        for dim in [1, 7, 8, 64, 300, 384, 1024] {
            let matrix = unit_rows(12, dim, 3 + dim as u64);
            let rows = matrix.rows();
            for i in 0..12 {
                let (a, b) = (rows.row(i), rows.row((i * 5 + 1) % 12));
                let exact = integer_dot(a, b) as f64 / (1u64 << 48) as f64;
                assert_eq!(dot(a, b).to_bits(), (exact + 0.0).to_bits(), "dim {dim}");
                let mut order: Vec<usize> = (0..dim).collect();
                random.shuffle(&mut order);
                let shuffled = |row: &[f16]| order.iter().map(|&k| row[k]).collect::<Vec<_>>();
                assert_eq!(dot(&shuffled(a), &shuffled(b)), exact);
            }
        }
    }

    #[test]
    fn subnormal_values_count() {
        let tiny = f16::from_bits(1);
        assert_eq!(dot(&[tiny, f16::ONE], &[tiny, f16::ZERO]), 2f64.powi(-48));
    }

    #[test]
    fn mean_cosines_follow_the_members_not_their_order() {
        let matrix = unit_rows(40, 16, 5);
        let rows = matrix.rows();
        let members: Vec<u32> = (0..40).step_by(3).collect();
        let cosines = cosines_to_mean(rows, &members);
        let mut mean = [0f64; 16];
        for &m in &members {
            for (total, value) in mean.iter_mut().zip(rows.row(m as usize)) {
                *total += f64::from(value.to_f32());
            }
        }
        let norm = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
        for (&m, &cosine) in members.iter().zip(&cosines) {
            let along: f64 = rows.row(m as usize).iter().zip(&mean).map(|(x, y)| f64::from(x.to_f32()) * y).sum();
            // 16 products and two roundings: far below 1e-14.
            assert!((cosine - along / norm).abs() < 1e-14);
        }
        let mut backwards = members.clone();
        backwards.reverse();
        let mut again = cosines_to_mean(rows, &backwards);
        again.reverse();
        assert_eq!(cosines, again);
        assert!(cosines_to_mean(rows, &[]).is_empty());
    }

    #[test]
    fn members_that_cancel_out_have_no_direction() {
        let data = [f16::ONE, f16::NEG_ONE];
        let rows = Rows::new(&data, 1).unwrap();
        assert_eq!(cosines_to_mean(rows, &[0, 1]), [0.0, 0.0]);
    }
}
