//! Rows laid out for the kernels: blocks of queries row after row, the other side in interleaved panels.

use std::ops::Range;

use rayon::prelude::*;

use crate::kernel::{TILE_COLUMNS, TILE_ROWS, TileFunction};
use crate::rows::Rows;

/// Rows packed at a time: 4,096 of width 1,024 take 16 MiB.
pub(crate) const PACKED_ROWS: usize = 4096;
/// Most queries in a block: with a width of 1,024 they take 384 KiB, and stay in a core's second cache.
const BLOCK_ROWS: usize = 8 * TILE_ROWS;

/// A range of rows as `f32`, in panels of `[dim, TILE_COLUMNS]`; the last one is filled up with zeros.
pub(crate) struct Panels {
    data: Vec<f32>,
    range: Range<usize>,
}

impl Panels {
    pub(crate) fn pack(rows: Rows<'_>, range: Range<usize>) -> Self {
        let dim = rows.dim();
        let mut data = vec![0f32; range.len().div_ceil(TILE_COLUMNS) * TILE_COLUMNS * dim];
        data.par_chunks_mut(TILE_COLUMNS * dim).enumerate().for_each_init(
            || vec![0f32; dim],
            |wide, (panel, data)| {
                let first = range.start + panel * TILE_COLUMNS;
                for (column, row) in (first..range.end.min(first + TILE_COLUMNS)).enumerate() {
                    rows.widen(row, wide);
                    for (slot, &value) in data[column..].iter_mut().step_by(TILE_COLUMNS).zip(&*wide) {
                        *slot = value;
                    }
                }
            },
        );
        Self { data, range }
    }
}

/// A range of queries as `f32`, row after row, filled up with zeros to whole tiles.
pub(crate) struct Block {
    data: Vec<f32>,
    range: Range<usize>,
    dim: usize,
}

impl Block {
    pub(crate) fn widen(rows: Rows<'_>, range: Range<usize>) -> Self {
        let dim = rows.dim();
        let mut data = vec![0f32; range.len().next_multiple_of(TILE_ROWS) * dim];
        for (row, wide) in range.clone().zip(data.chunks_exact_mut(dim)) {
            rows.widen(row, wide);
        }
        Self { data, range, dim }
    }

    pub(crate) fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// One query of the block, by its row number.
    pub(crate) fn query(&self, row: usize) -> &[f32] {
        let offset = row - self.range.start;
        &self.data[offset * self.dim..(offset + 1) * self.dim]
    }

    /// Calls `visit(query, first, scores)`: the scores of rows `first..first + scores.len()` with that query. For one query,
    /// rows come in increasing order. `wanted` is asked for each panel's rows and may leave the panel out.
    pub(crate) fn score(
        &self,
        tile_function: TileFunction,
        panels: &Panels,
        wanted: impl Fn(Range<usize>) -> bool,
        mut visit: impl FnMut(usize, usize, &[f32]),
    ) {
        let mut tile = [0f32; TILE_ROWS * TILE_COLUMNS];
        for (index, panel) in panels.data.chunks_exact(TILE_COLUMNS * self.dim).enumerate() {
            let first = panels.range.start + index * TILE_COLUMNS;
            let end = panels.range.end.min(first + TILE_COLUMNS);
            if !wanted(first..end) {
                continue;
            }
            for (queries, start) in
                self.data.chunks_exact(TILE_ROWS * self.dim).zip(self.range.clone().step_by(TILE_ROWS))
            {
                tile_function(queries, panel, &mut tile);
                for (query, scores) in (start..self.range.end).zip(tile.chunks_exact(TILE_COLUMNS)) {
                    visit(query, first, &scores[..end - first]);
                }
            }
        }
    }
}

/// `0..n` in pieces of at most `size`.
pub(crate) fn pieces(n: usize, size: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    (0..n).step_by(size).map(move |first| first..n.min(first + size))
}

/// Queries cut into blocks: whole tiles, small enough for a core's cache, and enough of them for all threads. How the
/// queries are cut never changes a result.
pub(crate) fn query_blocks(n: usize) -> Vec<Range<usize>> {
    let share = n.div_ceil(rayon::current_num_threads()).next_multiple_of(TILE_ROWS);
    pieces(n, share.clamp(TILE_ROWS, BLOCK_ROWS)).collect()
}
