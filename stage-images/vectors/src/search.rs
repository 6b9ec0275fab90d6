//! The rows with the largest dot products: fast screening, exact ranking.

use rayon::prelude::*;

use crate::exact::dot_wide;
use crate::kernel::{Kernel, screening_error};
use crate::panels::{Block, PACKED_ROWS, Panels, pieces, query_blocks};
use crate::rows::{Error, Rows};

/// A found row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Its number.
    pub row: u32,
    /// The exact dot product of the stored vectors, rounded to `f32` once. Rows are unit vectors up to `f16` rounding, so
    /// that it may pass 1 by less than 2^-9.
    pub cosine: f32,
}

/// `[q, n]` hits, query after query, best first.
#[derive(Debug, Clone, PartialEq)]
pub struct Nearest {
    hits: Vec<Hit>,
    per_query: usize,
}

impl Nearest {
    /// Hits per query: what was asked for, or the number of rows if that is less.
    pub fn per_query(&self) -> usize {
        self.per_query
    }

    /// The hits of one query, best first; panics when there is no such query.
    pub fn of(&self, query: usize) -> &[Hit] {
        &self.hits[query * self.per_query..(query + 1) * self.per_query]
    }

    /// All hits, query after query.
    pub fn hits(&self) -> &[Hit] {
        &self.hits
    }
}

/// The `n` nearest centroids of each query (`queries: [q, d]`, `centroids: [k, d]`), by exact dot product, ties by the lower
/// centroid. Fewer than `n` centroids: all of them, ranked. No centroid at all is an error.
pub fn nearest(kernel: Kernel, queries: Rows<'_>, centroids: Rows<'_>, n: usize) -> Result<Nearest, Error> {
    if centroids.is_empty() {
        return Err(Error::Empty { what: "centroids", fix: "train them on at least one row" });
    }
    let per_query = n.min(centroids.len());
    let hits = search(kernel, queries, centroids, per_query, Finish::Ranked)?;
    Ok(Nearest { hits: hits.into_iter().flatten().collect(), per_query })
}

/// The `k` rows with the largest dot product for each query (`queries: [q, d]`, `rows: [n, d]`), best first, ties by the lower
/// row; all rows if there are fewer.
pub fn top_k(kernel: Kernel, queries: Rows<'_>, rows: Rows<'_>, k: usize) -> Result<Vec<Vec<Hit>>, Error> {
    search(kernel, queries, rows, k.min(rows.len()), Finish::Ranked)
}

/// The nearest centroid of each row, ties by the lower centroid.
pub fn assign(kernel: Kernel, rows: Rows<'_>, centroids: Rows<'_>) -> Result<Vec<u32>, Error> {
    if centroids.is_empty() {
        return Err(Error::Empty { what: "centroids", fix: "train them on at least one row" });
    }
    let hits = search(kernel, rows, centroids, 1, Finish::FirstRow)?;
    Ok(hits.into_iter().map(|hits| hits[0].row).collect())
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Finish {
    /// All hits with their cosines.
    Ranked,
    /// Only the row is needed: where one candidate is left, no dot product is computed again.
    FirstRow,
}

pub(crate) fn search(
    kernel: Kernel,
    queries: Rows<'_>,
    rows: Rows<'_>,
    k: usize,
    finish: Finish,
) -> Result<Vec<Vec<Hit>>, Error> {
    queries.same_space(rows)?;
    if k == 0 {
        return Ok(vec![Vec::new(); queries.len()]);
    }
    if kernel == Kernel::Cuda {
        return crate::cuda::search(queries, rows, k, finish);
    }
    let (tile_function, error) = (kernel.tile_function(), screening_error(rows.dim()));
    let blocks = query_blocks(queries.len());
    let mut found: Vec<Vec<Best>> =
        blocks.iter().map(|block| block.clone().map(|_| Best::new(k, error)).collect()).collect();
    for packed in pieces(rows.len(), PACKED_ROWS) {
        let panels = Panels::pack(rows, packed);
        blocks.par_iter().zip(&mut found).for_each(|(range, found)| {
            let block = Block::widen(queries, range.clone());
            block.score(
                tile_function,
                &panels,
                |_| true,
                |query, first, scores| {
                    found[query - range.start]
                        .offer(first, scores, |row| Exact { query: block.query(query), rows }.dot(row));
                },
            );
        });
    }
    let finished = blocks.par_iter().zip(found).flat_map_iter(|(range, found)| {
        let block = Block::widen(queries, range.clone());
        let hits: Vec<Vec<Hit>> = range
            .clone()
            .zip(found)
            .map(|(query, best)| best.finish(finish, |row| Exact { query: block.query(query), rows }.dot(row)))
            .collect();
        hits
    });
    Ok(finished.collect())
}

/// Exact dot products of one query.
struct Exact<'a> {
    query: &'a [f32],
    rows: Rows<'a>,
}

impl Exact<'_> {
    fn dot(&self, row: u32) -> f64 {
        let mut wide = vec![0f32; self.query.len()];
        self.rows.widen(row as usize, &mut wide);
        dot_wide(self.query, &wide)
    }
}

/// The rows that may still be among a query's best `k`.
///
/// Let `e` bound the error of the scores, and `t` be the `k`-th largest score seen. Then `k` rows have an exact value of at least
/// `t - e`, so that a row among the best `k` (ties included) has a score of at least `t - 2 e`: whatever is below may go.
pub(crate) struct Best {
    k: usize,
    error: f64,
    /// Scores below are out.
    pub(crate) threshold: f64,
    /// Scores and rows.
    pub(crate) candidates: Vec<(f32, u32)>,
    capacity: usize,
}

impl Best {
    pub(crate) fn new(k: usize, error: f64) -> Self {
        Self { k, error, threshold: f64::NEG_INFINITY, candidates: Vec::new(), capacity: 2 * k + 14 }
    }

    /// Rows `first..` in increasing order, after all rows offered before.
    fn offer(&mut self, first: usize, scores: &[f32], exact: impl Fn(u32) -> f64) {
        // One comparison sorts out most panels.
        let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if f64::from(largest) < self.threshold {
            return;
        }
        for (offset, &score) in scores.iter().enumerate() {
            if f64::from(score) >= self.threshold {
                self.candidates.push((score, (first + offset) as u32));
                if self.k == 1 {
                    self.threshold = self.threshold.max(f64::from(score) - 2.0 * self.error);
                }
                if self.candidates.len() >= self.capacity {
                    self.prune();
                    if self.candidates.len() > self.capacity / 2 + self.k / 2 {
                        self.settle(&exact);
                    }
                }
            }
        }
    }

    /// Drops what the scores alone rule out.
    pub(crate) fn prune(&mut self) {
        if self.candidates.len() >= self.k {
            let (_, kth, _) = self.candidates.select_nth_unstable_by(self.k - 1, |a, b| b.0.total_cmp(&a.0));
            self.threshold = self.threshold.max(f64::from(kth.0) - 2.0 * self.error);
        }
        let threshold = self.threshold;
        self.candidates.retain(|&(score, _)| f64::from(score) >= threshold);
    }

    /// Where many rows lie within the error of each other, ranks them exactly and keeps `k`, so that memory stays bounded.
    /// Later rows have higher numbers and lose ties, hence must really be better than the last one kept.
    fn settle(&mut self, exact: impl Fn(u32) -> f64) {
        let mut ranked = rank(&self.candidates, exact);
        ranked.truncate(self.k);
        if let Some(&(last, _)) = ranked.last() {
            self.threshold = self.threshold.max(last - self.error);
        }
        // Rounding to f32 moves a value by at most 2^-24 of it, which the screening error covers.
        self.candidates = ranked.into_iter().map(|(value, row)| (value as f32, row)).collect();
    }

    pub(crate) fn finish(mut self, finish: Finish, exact: impl Fn(u32) -> f64) -> Vec<Hit> {
        self.prune();
        if finish == Finish::FirstRow && self.candidates.len() == 1 {
            return self.candidates.iter().map(|&(cosine, row)| Hit { row, cosine }).collect();
        }
        let ranked = rank(&self.candidates, exact);
        ranked.into_iter().take(self.k).map(|(value, row)| Hit { row, cosine: value as f32 }).collect()
    }
}

/// Exact values, largest first, ties by the lower row.
fn rank(candidates: &[(f32, u32)], exact: impl Fn(u32) -> f64) -> Vec<(f64, u32)> {
    let mut ranked: Vec<(f64, u32)> = candidates.iter().map(|&(_, row)| (exact(row), row)).collect();
    ranked.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    ranked
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
