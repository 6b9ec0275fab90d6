//! All pairs within a distance, as a spanning forest.

use rayon::prelude::*;

use crate::cuda::{Found, Thresholds, above, tensor_error};
use crate::exact::{dot, dot_wide};
use crate::kernel::{Kernel, TileFunction, screening_error};
use crate::panels::{Block, PACKED_ROWS, Panels, pieces, query_blocks};
use crate::rows::{Error, Rows};

/// Blocks that run before their edges are reduced to a forest.
const WAVE: usize = 32;
/// Fewest edges that are worth a reduction.
const FEW_EDGES: usize = 1 << 16;
/// Pairs that are asked about at once: those that an earlier one makes needless are asked in vain.
const ASKED: usize = 1 << 10;

/// Says of two rows, `a < b`, whether they may be joined. Its answer must depend on nothing but the two.
pub type Accept<'a> = dyn Fn(u32, u32) -> bool + Sync + 'a;

/// Two rows within the distance, `a < b`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edge {
    /// The lower row.
    pub a: u32,
    /// The higher row.
    pub b: u32,
    /// Cosine distance: 1 - the exact dot product, rounded to `f32` once, and 0 where rounding of the norms made it negative.
    pub distance: f32,
}

/// The minimal spanning forest of all pairs of `rows` (`[n, d]`) whose cosine distance is below `max_distance` (above 0, at most
/// 2; not squared), sorted by (distance, a, b).
///
/// Pairs are ordered by (exact distance, a, b), so that no two are equal and the forest is the only one: at most `n - 1` edges,
/// the same connected groups as all pairs, and any cut at a smaller distance is right as well.
///
/// Never holds all pairs: edges are reduced to their forest whenever they are a few times the number of rows (an edge that is
/// the largest of a cycle of some edges is in no minimal forest of more). Takes `O(n + 4096 d)` memory, `n^2 / 2` dot products.
pub fn spanning_forest(kernel: Kernel, rows: Rows<'_>, max_distance: f32) -> Result<Vec<Edge>, Error> {
    forest_of(kernel, rows, max_distance, None)
}

/// The minimal spanning forest of those pairs within the distance that `accept` takes; else as [`spanning_forest`].
///
/// A pair is asked about at most once, and not at all where nearer ones have joined its rows; the order of questions, and the
/// thread that asks, are not fixed.
pub fn accepted_forest(
    kernel: Kernel,
    rows: Rows<'_>,
    max_distance: f32,
    accept: &Accept<'_>,
) -> Result<Vec<Edge>, Error> {
    forest_of(kernel, rows, max_distance, Some(accept))
}

fn forest_of(
    kernel: Kernel,
    rows: Rows<'_>,
    max_distance: f32,
    accept: Option<&Accept<'_>>,
) -> Result<Vec<Edge>, Error> {
    if !(max_distance > 0.0 && max_distance <= 2.0) {
        let allowed = "above 0 and at most 2 (a cosine distance)";
        return Err(Error::Setting { name: "maxDistance", value: f64::from(max_distance), allowed });
    }
    if kernel == Kernel::Cuda {
        return on_gpus(rows, f64::from(max_distance), accept);
    }
    let pairs = Pairs { rows, tile_function: kernel.tile_function(), max_distance: f64::from(max_distance), accept };
    let mut forest: Vec<Pair> = Vec::new();
    for packed in pieces(rows.len(), PACKED_ROWS) {
        let panels = Panels::pack(rows, packed.clone());
        // Each pair once: the block's row is the lower one.
        for wave in query_blocks(packed.end).chunks(WAVE) {
            let found: Vec<Vec<Pair>> =
                wave.par_iter().map(|range| pairs.of(&Block::widen(rows, range.clone()), &panels)).collect();
            forest.extend(found.into_iter().flatten());
            if forest.len() > FEW_EDGES.max(2 * rows.len()) {
                reduce(&mut forest, accept);
            }
        }
    }
    Ok(edges(forest, accept))
}

/// The same, with GPUs to find the pairs.
fn on_gpus(rows: Rows<'_>, max_distance: f64, accept: Option<&Accept<'_>>) -> Result<Vec<Edge>, Error> {
    // Rounded to f32, which is far finer than the error.
    let floor = (1.0 - max_distance - tensor_error(rows.dim())) as f32 - f32::EPSILON;
    let exact = |pair: &Found| {
        let distance = 1.0 - dot(rows.row(pair.query as usize), rows.row(pair.row as usize));
        (distance < max_distance).then_some(Pair { a: pair.query, b: pair.row, distance, accepted: false })
    };
    let threads = rayon::current_num_threads();
    let mut forest: Vec<Pair> = Vec::new();
    above(rows, rows, &Thresholds::Ordered(floor), |found| {
        std::thread::scope(|scope| {
            let parts = found.chunks(found.len().div_ceil(threads).max(FEW_EDGES));
            let running: Vec<_> =
                parts.map(|part| scope.spawn(move || part.iter().filter_map(exact).collect::<Vec<Pair>>())).collect();
            for part in running {
                forest.extend(part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
        });
        if forest.len() > FEW_EDGES.max(2 * rows.len()) {
            reduce(&mut forest, accept);
        }
    })?;
    Ok(edges(forest, accept))
}

fn edges(mut forest: Vec<Pair>, accept: Option<&Accept<'_>>) -> Vec<Edge> {
    reduce(&mut forest, accept);
    let edge = |pair: Pair| Edge { a: pair.a, b: pair.b, distance: pair.distance.max(0.0) as f32 };
    forest.into_iter().map(edge).collect()
}

/// An edge with its exact distance: `1 - dot` is a multiple of 2^-48 below 4, so nothing is rounded.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pair {
    a: u32,
    b: u32,
    distance: f64,
    /// Whether it was asked about already.
    accepted: bool,
}

struct Pairs<'a> {
    rows: Rows<'a>,
    tile_function: TileFunction,
    max_distance: f64,
    accept: Option<&'a Accept<'a>>,
}

impl Pairs<'_> {
    /// Pairs of a block's rows with higher rows of the panels, reduced where they are many.
    fn of(&self, block: &Block, panels: &Panels) -> Vec<Pair> {
        let floor = 1.0 - self.max_distance - screening_error(self.rows.dim());
        let lowest = block.range().start;
        let mut found = Vec::new();
        let mut wide = vec![0f32; self.rows.dim()];
        block.score(
            self.tile_function,
            panels,
            |columns| columns.end > lowest + 1,
            |a, first, scores| {
                for (offset, &score) in scores.iter().enumerate() {
                    let b = first + offset;
                    if f64::from(score) < floor || b <= a {
                        continue;
                    }
                    self.rows.widen(b, &mut wide);
                    let distance = 1.0 - dot_wide(block.query(a), &wide);
                    if distance < self.max_distance {
                        found.push(Pair { a: a as u32, b: b as u32, distance, accepted: false });
                    }
                }
                if found.len() > FEW_EDGES {
                    reduce(&mut found, self.accept);
                }
            },
        );
        found
    }
}

/// Kruskal's algorithm: keeps the minimal forest of the edges that are accepted, in order.
fn reduce(edges: &mut Vec<Pair>, accept: Option<&Accept<'_>>) {
    edges.sort_unstable_by(|x, y| x.distance.total_cmp(&y.distance).then((x.a, x.b).cmp(&(y.a, y.b))));
    // Only rows that have an edge count, so that a small set of edges stays cheap in a large block.
    let mut names: Vec<u32> = edges.iter().flat_map(|edge| [edge.a, edge.b]).collect();
    names.sort_unstable();
    names.dedup();
    let place = |name: u32| names.partition_point(|&other| other < name) as u32;
    let mut parent: Vec<u32> = (0..names.len() as u32).collect();
    let mut kept = 0;
    for start in (0..edges.len()).step_by(ASKED) {
        let end = (start + ASKED).min(edges.len());
        let part = &mut edges[start..end];
        match accept {
            None => part.iter_mut().for_each(|edge| edge.accepted = true),
            Some(accept) => {
                let mut joined = |edge: &Pair| root(&mut parent, place(edge.a)) == root(&mut parent, place(edge.b));
                ask(part.iter_mut().filter(|edge| !edge.accepted && !joined(edge)).collect(), accept);
            }
        }
        for at in start..end {
            let edge = edges[at];
            let (a, b) = (root(&mut parent, place(edge.a)), root(&mut parent, place(edge.b)));
            if edge.accepted && a != b {
                parent[a.max(b) as usize] = a.min(b);
                edges[kept] = edge;
                kept += 1;
            }
        }
    }
    edges.truncate(kept);
}

/// Asks about pairs on threads of its own: a search that holds the GPUs must not wait for a pool.
fn ask(mut pairs: Vec<&mut Pair>, accept: &Accept<'_>) {
    let threads = rayon::current_num_threads();
    let each = pairs.len().div_ceil(threads).max(16);
    std::thread::scope(|scope| {
        for part in pairs.chunks_mut(each) {
            scope.spawn(move || part.iter_mut().for_each(|pair| pair.accepted = accept(pair.a, pair.b)));
        }
    });
}

fn root(parent: &mut [u32], mut node: u32) -> u32 {
    while parent[node as usize] != node {
        let above = parent[parent[node as usize] as usize];
        parent[node as usize] = above;
        node = above;
    }
    node
}

#[cfg(test)]
#[path = "forest_tests.rs"]
mod tests;
