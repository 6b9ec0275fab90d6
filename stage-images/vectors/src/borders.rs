//! Cells with what lies within reach of their borders, so that no close pair falls between two cells.

use std::ops::Range;

use rayon::prelude::*;

use crate::cuda::{Thresholds, above, best, tensor_error};
use crate::exact::{dot, dot_wide};
use crate::kernel::{Kernel, screening_error};
use crate::panels::{Block, Panels, query_blocks};
use crate::rows::{Error, NORM_SQUARED_TOLERANCE, Rows};

/// Settings of [`assign_with_borders`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BorderOptions {
    /// Cosine distance (1 - dot product, not squared) below which pairs must meet in a cell; above 0, at most 1.
    pub max_distance: f32,
    /// Most further cells that a row is copied to; the ones whose border is nearest are kept. 0 gives plain cells,
    /// `usize::MAX` loses nothing.
    ///
    /// What a cap costs: a pair is lost only if its rows have different primary cells, and each of them that is near enough to
    /// the border between the two was cut there. So only pairs with a row in [`Borders::capped_rows`] are concerned. The cut
    /// falls on the farthest borders. Of 7,647 close pairs across 14 cells in 8 dimensions (this crate's test), a cap of 0 keeps
    /// none, 1 keeps 95.3 %, 2 all. More cells and more dimensions want more: watch `capped_rows`.
    pub max_replicas: usize,
}

/// Where each row goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Borders {
    /// The nearest centroid of each row, ties by the lower centroid; the same as [`crate::assign`].
    pub primary: Vec<u32>,
    /// The other cells that each row is copied to, nearest border first, ties by the lower cell.
    pub others: Vec<Vec<u32>>,
    /// Rows that would have been copied to more cells without `max_replicas`.
    pub capped_rows: u64,
}

/// Assigns rows (`[n, d]`) to the cells of `centroids` (`[k, d]`), and copies those near a border to the cells beyond it, such
/// that any two rows with a cosine distance of at most `max_distance` meet in the primary cell of one of them (unless a cap
/// cut the copy).
///
/// Why this suffices. Let `theta` be the largest angle of such a pair, `cos theta = 1 - max_distance` (corrected for the
/// rounding of the norms). A row `x` with primary `i` and a row `y` with primary `j` lie on different sides of the plane
/// `{z : z (c_i - c_j) = 0}` through the origin. The arc from `x` to `y` crosses it, so that their angles to the plane add up to
/// at most `theta`, and one of them, say `x`'s, is at most `theta / 2`. The sine of `x`'s angle to the plane is
/// `x (c_i - c_j) / (|x| |c_i - c_j|)`. So a row is copied to every cell `j` where that is at most `sin(theta / 2)`; then `x` is
/// copied to `j`, where `y` is at home. (Asking each row alone for the whole `theta` would find each pair twice, for many more
/// copies.)
///
/// Takes `8 k^2` bytes for the distances between centroids.
pub fn assign_with_borders(
    kernel: Kernel,
    rows: Rows<'_>,
    centroids: Rows<'_>,
    options: BorderOptions,
) -> Result<Borders, Error> {
    rows.same_space(centroids)?;
    if centroids.is_empty() {
        return Err(Error::Empty { what: "centroids", fix: "train them on at least one row" });
    }
    let max_distance = options.max_distance;
    if !(max_distance > 0.0 && max_distance <= 1.0) {
        let allowed = "above 0 and at most 1 (a cosine distance)";
        return Err(Error::Setting { name: "maxDistance", value: f64::from(max_distance), allowed });
    }
    // |x| |y| is at most 1 + NORM_SQUARED_TOLERANCE. Only IEEE basic operations here: sin and acos differ between systems.
    let cos_theta = (1.0 - f64::from(max_distance)) / (1.0 + NORM_SQUARED_TOLERANCE);
    let sin_half = ((1.0 - cos_theta) / 2.0).sqrt();
    let reach = Reach { gaps: gaps(centroids), cells: centroids.len(), sin_half };
    let placed = match kernel {
        Kernel::Cuda => reach.on_gpus(rows, centroids, options.max_replicas)?,
        _ => reach.on_processor(kernel, rows, centroids, options.max_replicas),
    };
    let capped_rows = placed.iter().filter(|row| row.capped).count() as u64;
    let primary = placed.iter().map(|row| row.primary).collect();
    Ok(Borders { primary, others: placed.into_iter().map(|row| row.others).collect(), capped_rows })
}

struct Placed {
    primary: u32,
    others: Vec<u32>,
    capped: bool,
}

struct Reach {
    /// `[k, k]`: length of the difference of two centroids.
    gaps: Vec<f64>,
    cells: usize,
    sin_half: f64,
}

impl Reach {
    /// The sine of the angle to a border, at most: with a row's norm, and room for the few roundings below, each of 2^-53.
    fn reach(&self) -> f64 {
        self.sin_half * (1.0 + NORM_SQUARED_TOLERANCE) * (1.0 + 1e-12)
    }

    fn on_processor(&self, kernel: Kernel, rows: Rows<'_>, centroids: Rows<'_>, max_replicas: usize) -> Vec<Placed> {
        let panels = Panels::pack(centroids, 0..self.cells);
        let tile_function = kernel.tile_function();
        let of_block = |range: &Range<usize>| {
            let block = Block::widen(rows, range.clone());
            let mut scores = vec![0f32; range.len() * self.cells];
            let mut wide = vec![0f32; rows.dim()];
            block.score(
                tile_function,
                &panels,
                |_| true,
                |row, first, part| {
                    let start = (row - range.start) * self.cells + first;
                    scores[start..start + part.len()].copy_from_slice(part);
                },
            );
            let placed = range.clone().zip(scores.chunks_exact(self.cells)).map(|(row, scores)| {
                let scored = (0..).zip(scores.iter().copied());
                self.place(scored, screening_error(rows.dim()), max_replicas, |cell| {
                    centroids.widen(cell, &mut wide);
                    dot_wide(block.query(row), &wide)
                })
            });
            placed.collect::<Vec<Placed>>()
        };
        query_blocks(rows.len()).par_iter().flat_map_iter(of_block).collect()
    }

    /// The GPUs name the cells that may be within reach of each row. Where more than one cell may be its nearest, the
    /// processor looks at all of them.
    fn on_gpus(&self, rows: Rows<'_>, centroids: Rows<'_>, max_replicas: usize) -> Result<Vec<Placed>, Error> {
        let error = tensor_error(rows.dim());
        let nearest = best(rows, centroids, 1, 4)?;
        let certain = |row: usize| nearest[row].only();
        // What `place` keeps has value - score - error <= gap * reach, and value <= largest + error. Sums of a few f32 below 8.
        let slack = 8.0 * f64::from(f32::EPSILON);
        let wanted: Vec<f32> = (0..rows.len())
            .map(|row| certain(row).map_or(f32::INFINITY, |(score, _)| (f64::from(score) - 2.0 * error - slack) as f32))
            .collect();
        let groups: Vec<u32> = (0..rows.len()).map(|row| certain(row).map_or(0, |(_, cell)| cell)).collect();
        let margins: Vec<f32> = self.gaps.iter().map(|gap| (gap * self.reach()) as f32).collect();
        let mut near: Vec<Vec<(usize, f32)>> = vec![Vec::new(); rows.len()];
        let thresholds = Thresholds::Margins { of: &wanted, groups: &groups, margins: &margins };
        above(rows, centroids, &thresholds, |found| {
            found.iter().for_each(|pair| near[pair.query as usize].push((pair.row as usize, pair.score)));
        })?;
        let place = |(row, near): (usize, &mut Vec<(usize, f32)>)| {
            near.sort_unstable_by_key(|(cell, _)| *cell);
            let exact = |cell: usize| dot(rows.row(row), centroids.row(cell));
            match certain(row) {
                Some(_) => self.place(near.iter().copied(), error, max_replicas, exact),
                None => {
                    let all = (0..self.cells).map(|cell| (cell, exact(cell) as f32));
                    self.place(all, screening_error(rows.dim()), max_replicas, exact)
                }
            }
        };
        Ok(near.par_iter_mut().enumerate().map(place).collect())
    }

    /// `scores` of all cells, or at least of the nearest and of all within reach, in their order.
    fn place(
        &self,
        scores: impl Iterator<Item = (usize, f32)> + Clone,
        error: f64,
        max_replicas: usize,
        mut exact: impl FnMut(usize) -> f64,
    ) -> Placed {
        let reach = self.reach();
        let largest = f64::from(scores.clone().map(|(_, score)| score).fold(f32::NEG_INFINITY, f32::max));
        // No two unit vectors are further apart than 2 (and a rounding): cells that even then are out of reach go first.
        let floor = largest - 2.0 * error - 2.01 * reach;
        let mut near: Vec<(f64, usize)> = Vec::new();
        let mut best = (f64::NEG_INFINITY, 0);
        for (cell, score) in scores.filter(|&(_, score)| f64::from(score) >= floor) {
            if f64::from(score) >= largest - 2.0 * error {
                let value = exact(cell);
                if value > best.0 {
                    best = (value, cell);
                }
            }
            near.push((f64::from(score), cell));
        }
        let (value, primary) = best;
        let gaps = &self.gaps[primary * self.cells..(primary + 1) * self.cells];
        near.retain(|&(score, cell)| cell != primary && value - score - error <= gaps[cell] * reach);
        // Where more cells than the cap are within reach whatever the screening's error, the nearest ones (one more than the
        // cap) bound what need be computed exactly. Twice the error leaves room for the rounding of the quotients.
        let sine = |score: f64, cell: usize, slack: f64| (value - score + slack) / gaps[cell];
        let mut sure: Vec<f64> = near
            .iter()
            .filter(|&&(score, cell)| gaps[cell] > 0.0 && value - score + 2.0 * error <= gaps[cell] * reach)
            .map(|&(score, cell)| sine(score, cell, 2.0 * error))
            .collect();
        let surely_capped = sure.len() > max_replicas;
        if surely_capped {
            let (_, &mut farthest, _) = sure.select_nth_unstable_by(max_replicas, f64::total_cmp);
            near.retain(|&(score, cell)| gaps[cell] == 0.0 || sine(score, cell, -2.0 * error) <= farthest);
        }
        let mut others: Vec<(f64, usize)> = Vec::new();
        for (_, cell) in near {
            let margin = value - exact(cell);
            if margin <= gaps[cell] * reach {
                // The sine of the angle to the border, up to the row's norm; equal centroids have no border between them.
                others.push((if gaps[cell] > 0.0 { margin / gaps[cell] } else { 0.0 }, cell));
            }
        }
        let capped = surely_capped || others.len() > max_replicas;
        others.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let others = others.into_iter().take(max_replicas).map(|(_, cell)| cell as u32).collect();
        Placed { primary: primary as u32, others, capped }
    }
}

fn gaps(centroids: Rows<'_>) -> Vec<f64> {
    let k = centroids.len();
    let norms: Vec<f64> = (0..k).map(|i| dot(centroids.row(i), centroids.row(i))).collect();
    let gap = |i: usize, j: usize| {
        let squared = norms[i] + norms[j] - 2.0 * dot(centroids.row(i), centroids.row(j));
        squared.max(0.0).sqrt()
    };
    (0..k).into_par_iter().flat_map_iter(|i| (0..k).map(move |j| gap(i, j))).collect()
}

#[cfg(test)]
#[path = "borders_tests.rs"]
mod tests;
