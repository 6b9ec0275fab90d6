//! Screening on GPUs.
//!
//! A GPU computes the dot products of all queries with all rows on its tensor cores, and hands over what may matter: of each query
//! the best rows of a slice (`best`), or all pairs above a threshold (`above`). The processor computes those again, exactly. So
//! the answers have the bits that every [`crate::Kernel`] gives, whatever the device, the number of devices and their memory.
//!
//! # How far off a tensor core is
//!
//! It multiplies `f16` exactly and adds in `f32`, but not as IEEE 754 says: NVIDIA promises "at least single precision" and no
//! rounding. Measurements (Fasi, Higham, Mikaitis, Pranesh 2021, "Numerical behavior of NVIDIA tensor cores") show that a group of
//! `g >= 4` products and the sum so far are aligned to the largest of them, cut off after 24 bits or more, and added. Each of the
//! `g + 1` addends and the result then loses less than 2^-23 of the largest, which for unit rows is at most
//! `1 + NORM_SQUARED_TOLERANCE` (Cauchy-Schwarz). That is `(g + 2) / g <= 1.5` units a column; [`tensor_error`] allows 2, and so
//! holds for any grouping from two products on. At a width of 1,024 it is 0.00024 of cosine: enough to rule out nearly
//! everything.
//!
//! # Sizes
//!
//! Both sides go to the device in pieces that follow from the memory it has free ([`Sizes`]); nothing depends on them. The kernels
//! are checked in as PTX (`scripts/compile-kernels.py`), for compute capability 8.0 (A100) and later.

mod above;
mod best;
mod device;

pub(crate) use above::{Found, Thresholds, above};
pub(crate) use best::{best, search};
pub use device::{CAPABILITY, Gpu, gpus};
pub(crate) use device::{THREADS, TILE, opened};

/// The `cuda` kernel's [`crate::screening_error`]: see the module's page.
pub(crate) fn tensor_error(dim: usize) -> f64 {
    dim as f64 * (1.0 + crate::NORM_SQUARED_TOLERANCE) / 4_194_304.0
}
