//! All pairs above a threshold.
#![allow(unsafe_code)]

use std::sync::{Mutex, PoisonError};

use cudarc::driver::{CudaSlice, LaunchConfig, PushKernelArg};

use super::device::{Device, Piece, Session, Sizes, deal, padded};
use super::{THREADS, TILE};
use crate::rows::{Error, Rows};

/// Bytes of a pair on the device: query, row, score.
const PAIR_BYTES: u64 = 12;
/// Most pairs of a launch.
const MAX_PAIRS: u64 = 1 << 24;

/// From which score on a pair is wanted.
pub(crate) enum Thresholds<'a> {
    /// The same for all, and only rows above the query: `queries` and `rows` are one block.
    Ordered(f32),
    /// `score + margins[group[query], row] >= of[query]`.
    Margins {
        /// `[q]`.
        of: &'a [f32],
        /// `[q]`.
        groups: &'a [u32],
        /// `[groups, n]`.
        margins: &'a [f32],
    },
}

impl Thresholds<'_> {
    /// What a kernel is handed as margins: at least one value, for an address.
    fn margins(&self) -> &[f32] {
        match self {
            Self::Ordered(_) => &[0.0],
            Self::Margins { margins, .. } => margins,
        }
    }
}

/// A pair and its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Found {
    pub(crate) query: u32,
    pub(crate) row: u32,
    pub(crate) score: f32,
}

/// Hands all wanted pairs to `visit`, some at a time, in no order. It must not wait for a thread pool ([`deal`]).
pub(crate) fn above(
    queries: Rows<'_>,
    rows: Rows<'_>,
    wanted: &Thresholds<'_>,
    visit: impl FnMut(&[Found]) + Send,
) -> Result<(), Error> {
    let width = 2 * padded(rows.dim()) as u64;
    let fixed = 4 * wanted.margins().len() as u64 + 4096;
    let sizes = |_: &Device, free: u64| {
        let fitting = Sizes::fit(free, fixed + capacity(free) * PAIR_BYTES, width + 8, width)?;
        // A query alone must never find more than is kept; with margins, all rows are there at once.
        let rows_at_once = fitting.rows.min(capacity(free) as usize / TILE * TILE);
        match wanted {
            Thresholds::Margins { .. } if rows_at_once < rows.len() => None,
            _ => Some(Sizes { rows: rows_at_once, ..fitting }),
        }
    };
    // Each pair once: the query is the lower row.
    let needed = |piece: &Piece| match wanted {
        Thresholds::Ordered(_) => piece.queries.start + 1 < piece.rows.end,
        Thresholds::Margins { .. } => true,
    };
    let visit = Mutex::new(visit);
    deal(queries.len(), rows.len(), sizes, needed, |session, piece| {
        let mut open = vec![piece.queries.clone()];
        while let Some(range) = open.pop() {
            let part = Piece { rows: piece.rows.clone(), queries: range.clone() };
            match launch(session, &part, queries, rows, wanted)? {
                Some(found) => visit.lock().unwrap_or_else(PoisonError::into_inner)(&found),
                // More than there was room for: each half by itself.
                None => {
                    let middle = range.start + range.len() / 2;
                    open.extend([range.start..middle, middle..range.end]);
                }
            }
        }
        Ok(())
    })
}

/// Pairs that there is room for: an eighth of the free memory.
fn capacity(free: u64) -> u64 {
    (free / 8 / PAIR_BYTES).clamp(TILE as u64, MAX_PAIRS)
}

/// The pairs of a piece; `None` if they are more than the device had room for.
fn launch(
    session: &mut Session<'_>,
    piece: &Piece,
    queries: Rows<'_>,
    rows: Rows<'_>,
    wanted: &Thresholds<'_>,
) -> Result<Option<Vec<Found>>, Error> {
    let (device, stream) = (session.device, session.device.stream());
    let failed = |e| device.failed(e);
    let margins = session.margins(wanted.margins())?;
    let (sent, loaded) = session.load(piece, queries, rows)?;
    let here = piece.queries.clone();
    let (thresholds, groups, ordered) = match wanted {
        Thresholds::Ordered(of) => (vec![*of; here.len()], &[0u32][..], true),
        Thresholds::Margins { of, groups, .. } => (of[here.clone()].to_vec(), &groups[here], false),
    };
    let thresholds = stream.clone_htod(&thresholds).map_err(failed)?;
    let groups = stream.clone_htod(groups).map_err(failed)?;
    let (free, _) = stream.context().mem_get_info().map_err(failed)?;
    // At least what one query can find, so that halving the queries ends.
    let most = piece.queries.len() as u64 * piece.rows.len() as u64;
    let room = capacity(free as u64).clamp(piece.rows.len() as u64, most);
    // SAFETY: of the pairs only as many are read as the kernel has counted, and written.
    let mut pairs: CudaSlice<u32> = unsafe { stream.alloc(3 * room as usize) }.map_err(failed)?;
    let mut found = stream.clone_htod(&[0u64]).map_err(failed)?;
    let counts = [piece.queries.len(), piece.rows.len(), padded(rows.dim())].map(|n| n as i32);
    let ordered = i32::from(ordered);
    let bases = [piece.queries.start, piece.rows.start].map(|n| n as i64);
    let config = LaunchConfig {
        grid_dim: (piece.rows.len().div_ceil(TILE) as u32, piece.queries.len().div_ceil(TILE) as u32, 1),
        block_dim: (THREADS, 1, 1),
        shared_mem_bytes: 0,
    };
    let mut call = stream.launch_builder(&device.above);
    call.arg(&sent).arg(loaded).arg(&counts[0]).arg(&counts[1]).arg(&counts[2]);
    call.arg(&thresholds).arg(&groups).arg(&*margins).arg(&ordered).arg(&bases[0]).arg(&bases[1]);
    call.arg(&room).arg(&mut pairs).arg(&mut found);
    // SAFETY: the arguments are those of `above` in screen.cu, in order and type. Both sides hold as many rows of the padded
    // width as the counts say; thresholds and groups are one for each query; margins have a row for each group, or are not
    // read; `pairs` has room for `room` of them.
    unsafe { call.launch(config) }.map_err(failed)?;
    let count = stream.clone_dtoh(&found).map_err(failed)?[0];
    stream.synchronize().map_err(failed)?;
    if count > room {
        return Ok(None);
    }
    if count == 0 {
        return Ok(Some(Vec::new()));
    }
    let words = stream.clone_dtoh(&pairs.slice(..3 * count as usize)).map_err(failed)?;
    stream.synchronize().map_err(failed)?;
    let (query, row) = (piece.queries.start as u32, piece.rows.start as u32);
    let pair = |w: &[u32]| Found { query: query + w[0], row: row + w[1], score: f32::from_bits(w[2]) };
    Ok(Some(words.chunks_exact(3).map(pair).collect()))
}
