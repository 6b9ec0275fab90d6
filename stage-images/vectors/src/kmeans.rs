//! Spherical k-means, as a loop that the caller drives.

use std::collections::HashSet;

use half::f16;
use rayon::prelude::*;

use crate::exact::{dot, fixed_sum, norm};
use crate::kernel::Kernel;
use crate::rows::{Error, Matrix, Rows, to_f16};
use crate::search::assign;

/// Settings of [`KMeans`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KMeansOptions {
    /// How the screening is computed; changes the time only.
    pub kernel: Kernel,
    /// Steps after which the loop is done even if rows still move; at least 1.
    pub max_steps: usize,
}

impl Default for KMeansOptions {
    fn default() -> Self {
        Self { kernel: Kernel::best(), max_steps: 20 }
    }
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Steps done so far, this one included.
    pub step: usize,
    /// Rows whose centroid is another one than in the step before (all rows in the first).
    pub moved: usize,
    /// Centroids that had no row left and were put on a row far from its own centroid.
    pub reseeded: usize,
    /// Mean exact dot product of the rows with the centroids that this step assigned them to; larger is better.
    pub objective: f64,
    /// Nothing moved, or the last step is done: further steps change nothing.
    pub done: bool,
}

/// Spherical k-means (largest dot product; the update is the normalised sum).
///
/// ```
/// # use realsyn_vectors::{KMeans, KMeansOptions, Matrix};
/// # let sample = Matrix::normalised(&[1.0, 0.0, 0.9, 0.1, 0.0, 1.0, 0.1, 0.9], 2)?;
/// let mut kmeans = KMeans::new(sample.rows(), 2, KMeansOptions::default())?;
/// while !kmeans.step()?.done {}
/// let centroids = kmeans.finish();
/// # assert_eq!(centroids.rows().len(), 2);
/// # Ok::<(), realsyn_vectors::Error>(())
/// ```
///
/// There is no seed: the sample comes in keyed-hash order, and the first distinct rows are the first centroids. Another key
/// of that order is another start. Sums are integers, so a step's result depends neither on threads nor on the order of rows
/// within a cluster.
pub struct KMeans<'a> {
    sample: Rows<'a>,
    options: KMeansOptions,
    centroids: Matrix,
    assigned: Vec<u32>,
    last: Option<StepReport>,
}

impl<'a> KMeans<'a> {
    /// Starts from the first `k` distinct rows of `sample` (`[n, d]`). With fewer distinct rows than `k`, there are only that many
    /// centroids. An empty sample, `k = 0` and `max_steps = 0` are errors.
    pub fn new(sample: Rows<'a>, k: usize, options: KMeansOptions) -> Result<Self, Error> {
        if sample.is_empty() {
            return Err(Error::Empty { what: "rows to train on", fix: "enlarge the sample" });
        }
        for (name, value) in [("k", k), ("maxSteps", options.max_steps)] {
            if value == 0 {
                return Err(Error::Setting { name, value: 0.0, allowed: "at least 1" });
            }
        }
        let mut seen = HashSet::new();
        let first: Vec<u32> =
            (0..sample.len() as u32).filter(|&row| seen.insert(bits(sample.row(row as usize)))).take(k).collect();
        Ok(Self { sample, options, centroids: sample.select(&first), assigned: Vec::new(), last: None })
    }

    /// The centroids as they stand, `[k, d]`.
    pub fn centroids(&self) -> Rows<'_> {
        self.centroids.rows()
    }

    /// Assigns every row and moves every centroid to the direction of its rows' sum. Once done, it only repeats its last report.
    ///
    /// # Errors
    /// Only a GPU can fail.
    pub fn step(&mut self) -> Result<StepReport, Error> {
        if let Some(last) = self.last.filter(|last| last.done) {
            return Ok(last);
        }
        let centroids = self.centroids.rows();
        let assigned = assign(self.options.kernel, self.sample, centroids)?;
        let dots: Vec<f64> = assigned
            .par_iter()
            .enumerate()
            .map(|(row, &cell)| dot(self.sample.row(row), centroids.row(cell as usize)))
            .collect();
        let moved = match self.assigned.len() {
            0 => assigned.len(),
            _ => assigned.iter().zip(&self.assigned).filter(|(new, old)| new != old).count(),
        };
        // In units of 2^-48 each dot product is an integer, and so is their sum.
        let units = (1u64 << 48) as f64;
        let total: i128 = dots.iter().map(|&dot| (dot * units) as i128).sum();
        let objective = total as f64 / units / assigned.len() as f64;
        let mut members = members(&assigned, centroids.len());
        self.assigned = assigned;
        let reseeded = if moved == 0 { 0 } else { self.reseed(&mut members, &dots) };
        if moved > 0 {
            self.update(&members);
        }
        let step = self.last.map_or(1, |last| last.step + 1);
        let done = moved == 0 || step >= self.options.max_steps;
        let report = StepReport { step, moved, reseeded, objective, done };
        self.last = Some(report);
        Ok(report)
    }

    /// The centroids, `[k, d]`, unit length.
    pub fn finish(self) -> Matrix {
        self.centroids
    }

    /// Gives each empty centroid the row that is farthest from its own, among rows that do not stand alone; ties by the lower
    /// row, equal rows once. One pass over the rows, so it ends whatever the data; what finds no row stays as it is.
    fn reseed(&mut self, members: &mut [Vec<u32>], dots: &[f64]) -> usize {
        let empty: Vec<usize> = (0..members.len()).filter(|&cell| members[cell].is_empty()).collect();
        if empty.is_empty() {
            return 0;
        }
        let mut farthest: Vec<u32> = (0..dots.len() as u32).collect();
        farthest.sort_unstable_by(|&a, &b| dots[a as usize].total_cmp(&dots[b as usize]).then(a.cmp(&b)));
        let mut taken: HashSet<Vec<u16>> = HashSet::new();
        let mut empty = empty.into_iter().peekable();
        let mut reseeded = 0;
        for row in farthest {
            let Some(&cell) = empty.peek() else { break };
            let old = self.assigned[row as usize] as usize;
            if members[old].len() < 2 || !taken.insert(bits(self.sample.row(row as usize))) {
                continue;
            }
            members[old].retain(|&member| member != row);
            members[cell].push(row);
            self.assigned[row as usize] = cell as u32;
            reseeded += 1;
            empty.next();
        }
        reseeded
    }

    fn update(&mut self, members: &[Vec<u32>]) {
        let (sample, dim, old) = (self.sample, self.sample.dim(), self.centroids.rows());
        let data: Vec<f16> = members
            .par_iter()
            .enumerate()
            .flat_map_iter(|(cell, members)| {
                let sum = fixed_sum(sample, members);
                let norm = norm(&sum);
                // No rows, or rows that cancel out, give no direction: the centroid stays.
                let moved = norm > 0.0;
                (0..dim).map(move |k| if moved { to_f16(sum[k] as f64 / norm) } else { old.row(cell)[k] })
            })
            .collect();
        self.centroids = Matrix::trusted(data, dim);
    }
}

/// Rows of each centroid, in increasing order.
fn members(assigned: &[u32], cells: usize) -> Vec<Vec<u32>> {
    let mut members = vec![Vec::new(); cells];
    for (row, &cell) in assigned.iter().enumerate() {
        members[cell as usize].push(row as u32);
    }
    members
}

/// A row's values for comparison; both zeros are one.
fn bits(row: &[f16]) -> Vec<u16> {
    row.iter().map(|value| if *value == f16::ZERO { 0 } else { value.to_bits() }).collect()
}

#[cfg(test)]
#[path = "kmeans_tests.rs"]
mod tests;
