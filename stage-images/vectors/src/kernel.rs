//! All dot products of a small tile, in `f32`: one ordered list of implementations, fastest last. What runs on GPUs is
//! in `cuda`.

/// Query rows in a tile.
pub(crate) const TILE_ROWS: usize = 12;
/// Columns of a tile: rows of the other side, interleaved in a panel.
pub(crate) const TILE_COLUMNS: usize = 16;
/// Scores of a tile, row after row.
pub(crate) type Tile = [f32; TILE_ROWS * TILE_COLUMNS];

/// How the `f32` screening is computed. The results of this crate do not depend on it, only the time does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// The obvious one: exact sums, rounded to `f32` at the end.
    Reference,
    /// Plain Rust that any compiler turns into the vector instructions of its target.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512F.
    Avx512,
    /// The GPUs that this process sees, through NVIDIA's driver.
    Cuda,
}

impl Kernel {
    /// Every kernel, slowest first.
    pub const ALL: [Kernel; 5] = [Kernel::Reference, Kernel::Portable, Kernel::Avx2, Kernel::Avx512, Kernel::Cuda];

    /// Whether this machine can run it. For [`Kernel::Cuda`] that opens the GPUs.
    pub fn is_available(self) -> bool {
        match self {
            Kernel::Reference | Kernel::Portable => true,
            Kernel::Cuda => crate::cuda::opened().is_ok(),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Avx2 | Kernel::Avx512 => false,
        }
    }

    /// The fastest that the processor can run. A GPU is never chosen, but asked for.
    pub fn best() -> Kernel {
        let mut processor = Self::ALL.into_iter().rev().skip_while(|kernel| *kernel == Kernel::Cuda);
        let available = processor.find(|kernel| kernel.is_available());
        available.unwrap_or(Kernel::Reference)
    }

    /// The function behind a kernel of the processor's; panics when the processor can't run it.
    pub(crate) fn tile_function(self) -> TileFunction {
        assert!(
            self.is_available(),
            "kernel {self:?} needs instructions that this processor lacks: use Kernel::best()"
        );
        match self {
            Kernel::Reference => reference,
            Kernel::Portable => portable,
            Kernel::Cuda => unreachable!("GPUs are asked for whole searches"),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => x86::avx2,
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => x86::avx512,
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Avx2 | Kernel::Avx512 => reference,
        }
    }
}

/// `queries: [TILE_ROWS, dim]` row after row; `panel: [dim, TILE_COLUMNS]`; `dim` follows from the lengths.
pub(crate) type TileFunction = fn(queries: &[f32], panel: &[f32], out: &mut Tile);

/// By how much a kernel's score can differ from the exact dot product of two accepted rows of width `dim`.
///
/// Products of `f16` values are exact in `f32` (22 bits of 24; none is subnormal), so only `dim - 1` additions round, each by
/// at most `u = 2^-24` of its result. In any order, with or without fused multiply-add, the error is at most
/// `gamma * sum |a_i b_i| <= gamma |a| |b|` with `gamma = (dim - 1) u / (1 - (dim - 1) u)`, and `|a| |b|` is at most
/// `1 + NORM_SQUARED_TOLERANCE`. One more `u` covers kernels that round once at the end.
pub fn screening_error(dim: usize) -> f64 {
    let rounding = dim as f64 / 16_777_216.0;
    rounding / (1.0 - rounding) * (1.0 + crate::NORM_SQUARED_TOLERANCE)
}

fn reference(queries: &[f32], panel: &[f32], out: &mut Tile) {
    let dim = queries.len() / TILE_ROWS;
    for row in 0..TILE_ROWS {
        for column in 0..TILE_COLUMNS {
            let products =
                (0..dim).map(|k| f64::from(queries[row * dim + k]) * f64::from(panel[k * TILE_COLUMNS + column]));
            out[row * TILE_COLUMNS + column] = products.sum::<f64>() as f32;
        }
    }
}

fn portable(queries: &[f32], panel: &[f32], out: &mut Tile) {
    let dim = queries.len() / TILE_ROWS;
    // Four rows at a time: their sums fit the registers of any processor with vector instructions.
    for (rows, out) in queries.chunks_exact(4 * dim).zip(out.chunks_exact_mut(4 * TILE_COLUMNS)) {
        let mut sums = [[0f32; TILE_COLUMNS]; 4];
        for (k, columns) in panel.chunks_exact(TILE_COLUMNS).enumerate() {
            for (row, sums) in sums.iter_mut().enumerate() {
                let query = rows[row * dim + k];
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum += query * column;
                }
            }
        }
        for (out, sums) in out.chunks_exact_mut(TILE_COLUMNS).zip(&sums) {
            out.copy_from_slice(sums);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use core::arch::x86_64::*;

    use super::{TILE_COLUMNS, TILE_ROWS, Tile};

    fn check(queries: &[f32], panel: &[f32]) -> usize {
        let dim = queries.len() / TILE_ROWS;
        assert_eq!(queries.len(), dim * TILE_ROWS);
        assert_eq!(panel.len(), dim * TILE_COLUMNS);
        dim
    }

    pub(super) fn avx2(queries: &[f32], panel: &[f32], out: &mut Tile) {
        let dim = check(queries, panel);
        // SAFETY: `tile_function` hands this function out only where AVX2 and FMA were detected; the lengths were checked
        // just above, and `out` holds TILE_ROWS * TILE_COLUMNS values by its type.
        unsafe { avx2_tile(dim, queries.as_ptr(), panel.as_ptr(), out.as_mut_ptr()) }
    }

    /// Two halves of six rows: 12 sums of 8 lanes, 2 loads and a broadcast fill the 16 registers.
    ///
    /// # Safety
    /// The processor has AVX2 and FMA; `queries` is valid for `TILE_ROWS * dim` reads, `panel` for `TILE_COLUMNS * dim` reads,
    /// and `out` for `TILE_ROWS * TILE_COLUMNS` writes.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2_tile(dim: usize, queries: *const f32, panel: *const f32, out: *mut f32) {
        const HALF: usize = TILE_ROWS / 2;
        for first in [0, HALF] {
            let mut sums = [[_mm256_setzero_ps(); 2]; HALF];
            for k in 0..dim {
                // SAFETY: k < dim, so both loads end within the panel, and first + row < TILE_ROWS keeps the broadcast
                // within the queries.
                unsafe {
                    let left = _mm256_loadu_ps(panel.add(k * TILE_COLUMNS));
                    let right = _mm256_loadu_ps(panel.add(k * TILE_COLUMNS + 8));
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let query = _mm256_broadcast_ss(&*queries.add((first + row) * dim + k));
                        sums[0] = _mm256_fmadd_ps(query, left, sums[0]);
                        sums[1] = _mm256_fmadd_ps(query, right, sums[1]);
                    }
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                // SAFETY: first + row < TILE_ROWS, so both stores end within the tile.
                unsafe {
                    _mm256_storeu_ps(out.add((first + row) * TILE_COLUMNS), sums[0]);
                    _mm256_storeu_ps(out.add((first + row) * TILE_COLUMNS + 8), sums[1]);
                }
            }
        }
    }

    pub(super) fn avx512(queries: &[f32], panel: &[f32], out: &mut Tile) {
        let dim = check(queries, panel);
        // SAFETY: `tile_function` hands this function out only where AVX-512F was detected; the lengths were checked just
        // above, and `out` holds TILE_ROWS * TILE_COLUMNS values by its type.
        unsafe { avx512_tile(dim, queries.as_ptr(), panel.as_ptr(), out.as_mut_ptr()) }
    }

    /// Twelve sums of 16 lanes hide the latency of the fused multiply-add.
    ///
    /// # Safety
    /// The processor has AVX-512F; `queries` is valid for `TILE_ROWS * dim` reads, `panel` for `TILE_COLUMNS * dim` reads, and
    /// `out` for `TILE_ROWS * TILE_COLUMNS` writes.
    #[target_feature(enable = "avx512f")]
    unsafe fn avx512_tile(dim: usize, queries: *const f32, panel: *const f32, out: *mut f32) {
        let mut sums = [_mm512_setzero_ps(); TILE_ROWS];
        for k in 0..dim {
            // SAFETY: k < dim, so the load ends within the panel and each broadcast lies within the queries.
            unsafe {
                let columns = _mm512_loadu_ps(panel.add(k * TILE_COLUMNS));
                for (row, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm512_fmadd_ps(_mm512_set1_ps(*queries.add(row * dim + k)), columns, *sum);
                }
            }
        }
        for (row, sum) in sums.iter().enumerate() {
            // SAFETY: row < TILE_ROWS, so the store ends within the tile.
            unsafe { _mm512_storeu_ps(out.add(row * TILE_COLUMNS), *sum) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panels::{Block, Panels};
    use crate::testing::{clustered_rows, unit_rows};

    #[test]
    fn every_kernel_stays_within_the_bound() {
        for dim in [1, 5, 64, 384, 1024] {
            for matrix in [unit_rows(32, dim, 11), clustered_rows(32, dim, 2, 0.01, 12)] {
                let rows = matrix.rows();
                let panels = Panels::pack(rows, 0..32);
                for kernel in crate::testing::processor_kernels() {
                    let block = Block::widen(rows, 0..32);
                    let mut seen = 0;
                    block.score(
                        kernel.tile_function(),
                        &panels,
                        |_| true,
                        |query, first, scores| {
                            for (offset, &score) in scores.iter().enumerate() {
                                let exact = crate::dot(rows.row(query), rows.row(first + offset));
                                let error = (f64::from(score) - exact).abs();
                                assert!(error <= screening_error(dim), "{kernel:?} dim {dim}: {error}");
                                seen += 1;
                            }
                        },
                    );
                    assert_eq!(seen, 32 * 32);
                }
            }
        }
    }

    #[test]
    fn the_best_kernel_can_run() {
        assert!(Kernel::best().is_available());
        assert!(Kernel::Reference.is_available() && Kernel::Portable.is_available());
    }
}
