//! Embeddings: k-means, cells, nearest centroids, top-k, pairs within a distance.
//!
//! # Why the answers are the same bits everywhere
//!
//! Every vector is a row of `f16` values of unit length. An `f16` is a multiple of 2^-24, so a product of two is a
//! multiple of 2^-48. For unit rows every partial sum of such products, in whatever order, is below 2 in size
//! (Cauchy-Schwarz), hence an integer below 2^49 in units of 2^-48, and fits the 53 bits of an `f64`. A dot product that is
//! accumulated in `f64` is therefore **exact in any order**: no rounding happens at all. Rankings by it, ties going to the
//! lower row, depend neither on the processor, nor on the number of threads, nor on how the work was cut.
//!
//! # How it is fast all the same
//!
//! A [`Kernel`] computes all dot products of a block in `f32`. The products of two `f16` are exact in `f32`, so only the
//! additions round, and any order of them differs from the exact sum by at most `(d - 1) u / (1 - (d - 1) u) * |a| |b|`
//! with `u = 2^-24` ([`screening_error`]). What that bound cannot rule out is computed again exactly. Thus each kernel
//! returns the bits of the reference.
//!
//! Work is spread with rayon over output rows, on the pool that the caller is in (`ThreadPool::install` chooses another). Each GPU
//! has a thread of its own for as long as a search lasts.
//!
//! | module | gives |
//! |---|---|
//! | `rows` | [`Rows`], [`Matrix`]: checked, unit length |
//! | `exact` | [`dot`], [`cosines_to_mean`] |
//! | `kernel` | [`Kernel`]: reference, portable, AVX2, AVX-512, CUDA |
//! | `cuda` | [`gpus`]; screening on them |
//! | `search` | [`nearest`], [`top_k`], [`assign`] |
//! | `borders` | [`assign_with_borders`]: cells with what lies within reach of their borders |
//! | `kmeans` | [`KMeans`], a loop that the caller drives |
//! | `forest` | [`spanning_forest`] of the pairs within a distance, [`accepted_forest`] of those that are taken |
//! | `flops` | operation counts, for benchmarks |

mod borders;
mod cuda;
mod exact;
pub mod flops;
mod forest;
mod kernel;
mod kmeans;
mod panels;
mod rows;
mod search;
#[cfg(test)]
mod testing;

pub use borders::{BorderOptions, Borders, assign_with_borders};
pub use cuda::{CAPABILITY, Gpu, gpus};
pub use exact::{cosines_to_mean, dot};
pub use forest::{Accept, Edge, accepted_forest, spanning_forest};
pub use kernel::{Kernel, screening_error};
pub use kmeans::{KMeans, KMeansOptions, StepReport};
pub use rows::{Error, Fault, Matrix, NORM_SQUARED_TOLERANCE, Rows};
pub use search::{Hit, Nearest, assign, nearest, top_k};
