//! The best rows of each query.
#![allow(unsafe_code)]

use std::sync::{Mutex, PoisonError};

use cudarc::driver::sys::CUfunction_attribute;
use cudarc::driver::{LaunchConfig, PushKernelArg};
use rayon::prelude::*;

use super::device::{Device, Session, Sizes, deal, padded};
use super::{THREADS, TILE, tensor_error};
use crate::exact::dot;
use crate::kernel::Kernel;
use crate::rows::{Error, Rows};
use crate::search::{Best, Finish, Hit};

/// Longest list that a kernel keeps: 72 KiB of shared memory beside the 20 of the tiles, of the 99 that every device offers.
const MAX_LIST: usize = 72;
/// Shared memory of the tiles: 2 sides of 128 rows of 20 words.
const STAGE_BYTES: usize = 2 * TILE * 20 * 4;
/// Where a kernel's list has fewer rows than entries.
const NOBODY: u32 = u32::MAX;

/// Entries of a list: what is asked for, and what may tie with it. `None` where shared memory is too small.
fn list_for(k: usize) -> Option<usize> {
    Some(k + k / 2 + 3).filter(|list| *list <= MAX_LIST)
}

/// As `search` on the processor, bit for bit. More than 46 hits of a query are the processor's work alone.
pub(crate) fn search(queries: Rows<'_>, rows: Rows<'_>, k: usize, finish: Finish) -> Result<Vec<Vec<Hit>>, Error> {
    let Some(list) = list_for(k) else {
        super::opened()?;
        return crate::search::search(Kernel::best(), queries, rows, k, finish);
    };
    let kept = best(queries, rows, k, list)?;
    let answered: Vec<Option<Vec<Hit>>> = kept
        .into_par_iter()
        .enumerate()
        .map(|(query, kept)| kept.finish(finish, |row| dot(queries.row(query), rows.row(row as usize))))
        .collect();
    // More rows tie than a list holds: these are searched by the processor, which has no such limit.
    let open: Vec<u32> = (0..).zip(&answered).filter(|(_, hits)| hits.is_none()).map(|(query, _)| query).collect();
    let selected = queries.select(&open);
    let mut closed = crate::search::search(Kernel::best(), selected.rows(), rows, k, finish)?.into_iter();
    Ok(answered.into_iter().map(|hits| hits.or_else(|| closed.next()).unwrap_or_default()).collect())
}

/// The rows of each query that may be among its best `k`, with a screening's scores.
pub(crate) fn best(queries: Rows<'_>, rows: Rows<'_>, k: usize, list: usize) -> Result<Vec<Kept>, Error> {
    let (dim, error) = (padded(rows.dim()), tensor_error(rows.dim()));
    let sizes = |device: &Device, free: u64| {
        let (row, entry) = (2 * dim as u64, 8 * list as u64);
        // A query has one list for each slice; few queries have many slices, about as many blocks as fill the device.
        Sizes::fit(free, (blocks(device) * TILE) as u64 * entry, row + entry, row)
    };
    let kept: Vec<Mutex<Kept>> = (0..queries.len()).map(|_| Mutex::new(Kept::new(k, error))).collect();
    deal(
        queries.len(),
        rows.len(),
        sizes,
        |_| true,
        |session, piece| {
            let found = launch(session, piece, queries, rows, list)?;
            let per_slice = piece.queries.len() * list;
            for (query, kept) in kept[piece.queries.clone()].iter().enumerate() {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                for slice in 0..found.rows.len() / per_slice {
                    let at = slice * per_slice + query * list;
                    kept.take(&found.scores[at..at + list], &found.rows[at..at + list], piece.rows.start as u32);
                }
                kept.best.prune();
            }
            Ok(())
        },
    )?;
    Ok(kept.into_iter().map(|kept| kept.into_inner().unwrap_or_else(PoisonError::into_inner)).collect())
}

/// Blocks that keep a device busy to the end.
fn blocks(device: &Device) -> usize {
    8 * device.multiprocessors
}

/// `[slices, queries, list]`.
struct Found {
    scores: Vec<f32>,
    rows: Vec<u32>,
}

fn launch(
    session: &mut Session<'_>,
    piece: &super::device::Piece,
    queries: Rows<'_>,
    rows: Rows<'_>,
    list: usize,
) -> Result<Found, Error> {
    let (device, stream) = (session.device, session.device.stream());
    let failed = |e| device.failed(e);
    let (query_tiles, row_tiles) = (piece.queries.len().div_ceil(TILE), piece.rows.len().div_ceil(TILE));
    let slices = (blocks(device) / query_tiles).clamp(1, row_tiles);
    let slice = row_tiles.div_ceil(slices) * TILE;
    let slices = piece.rows.len().div_ceil(slice);
    let entries = slices * piece.queries.len() * list;
    let (sent, loaded) = session.load(piece, queries, rows)?;
    // SAFETY: the kernel writes every entry before it is read.
    let mut scores = unsafe { stream.alloc::<f32>(entries) }.map_err(failed)?;
    // SAFETY: as above.
    let mut found = unsafe { stream.alloc::<u32>(entries) }.map_err(failed)?;
    let shared = STAGE_BYTES + list * TILE * 8;
    let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    device.best.set_attribute(attribute, shared as i32).map_err(failed)?;
    let counts = [piece.queries.len(), piece.rows.len(), padded(rows.dim()), slice, list].map(|n| n as i32);
    let config = LaunchConfig {
        grid_dim: (query_tiles as u32, slices as u32, 1),
        block_dim: (THREADS, 1, 1),
        shared_mem_bytes: shared as u32,
    };
    let mut call = stream.launch_builder(&device.best);
    call.arg(&sent).arg(loaded);
    counts.iter().for_each(|count| {
        call.arg(count);
    });
    call.arg(&mut scores).arg(&mut found);
    // SAFETY: the arguments are those of `best` in screen.cu, in order and type. Both sides hold as many rows of the padded
    // width as the counts say, and the results an entry for each list entry of each query of each slice.
    unsafe { call.launch(config) }.map_err(failed)?;
    let found =
        Found { scores: stream.clone_dtoh(&scores).map_err(failed)?, rows: stream.clone_dtoh(&found).map_err(failed)? };
    stream.synchronize().map_err(failed)?;
    Ok(found)
}

/// What is left of a query's rows.
pub(crate) struct Kept {
    best: Best,
    /// No row that is not among them has a higher score.
    hidden: f64,
}

impl Kept {
    fn new(k: usize, error: f64) -> Self {
        Self { best: Best::new(k, error), hidden: f64::NEG_INFINITY }
    }

    /// A list of a kernel's, whose rows count from `base`.
    fn take(&mut self, scores: &[f32], rows: &[u32], base: u32) {
        let listed = scores.iter().zip(rows).take_while(|(_, row)| **row != NOBODY);
        self.best.candidates.extend(listed.map(|(&score, &row)| (score, base + row)));
        if let (Some(&score), Some(&row)) = (scores.last(), rows.last())
            && row != NOBODY
        {
            self.hidden = self.hidden.max(f64::from(score));
        }
    }

    /// Score and row, where one row alone can be the best.
    pub(crate) fn only(&self) -> Option<(f32, u32)> {
        match self.best.candidates.as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }

    /// As [`Best::finish`]; `None` where a row that no list held may be one of the hits.
    fn finish(mut self, finish: Finish, exact: impl Fn(u32) -> f64) -> Option<Vec<Hit>> {
        self.best.prune();
        let complete = self.hidden == f64::NEG_INFINITY || self.hidden < self.best.threshold;
        complete.then(|| self.best.finish(finish, exact))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_leave_room_for_ties_and_have_an_end() {
        assert_eq!([1, 3, 10, 46, 47].map(list_for), [Some(4), Some(7), Some(18), Some(72), None]);
    }

    #[test]
    fn a_row_that_no_list_held_is_not_forgotten() {
        let mut kept = Kept::new(2, 0.01);
        kept.take(&[0.9, 0.5], &[3, 1], 100);
        assert_eq!(kept.best.candidates, [(0.9, 103), (0.5, 101)]);
        // Rows that nobody listed may score 0.5, which is within twice the error of the second best.
        assert_eq!(kept.finish(Finish::Ranked, |_| unreachable!()), None);

        let mut kept = Kept::new(2, 0.01);
        kept.take(&[0.9, 0.5], &[3, 1], 100);
        kept.take(&[0.8, -3.0], &[7, NOBODY], 200);
        kept.best.prune();
        let hits = kept.finish(Finish::Ranked, f64::from).unwrap();
        assert_eq!(hits.iter().map(|hit| hit.row).collect::<Vec<_>>(), [207, 103]);
    }
}
