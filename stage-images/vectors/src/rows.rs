//! Checked `[n, d]` blocks of unit vectors.

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use crate::exact;

/// How far the squared norm of a row may be from 1.
///
/// Rounding a unit vector to `f16` changes each value by at most 2^-11 of itself (below 2^-14: by 2^-25), hence the norm by
/// about 2^-11 and its square by 2^-10. Twice that leaves room for an encoder's own `f32` rounding, and is still far too
/// tight for a row that was never normalised.
pub const NORM_SQUARED_TOLERANCE: f64 = 1.0 / 512.0;

/// What is left of a GPU that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: nobody computes on it before somebody has looked after it.
    Lost,
    /// Of the device all, of this process's hold on it nothing: another process can begin anew on it.
    Context,
    /// All of it: trying again may help.
    Passing,
}

/// What can be wrong with vectors.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A block without columns.
    #[error("vectors have dimension 0: give the encoder's output width")]
    NoColumns,
    /// The data is not a whole number of rows.
    #[error("{values} values are not a whole number of rows of dimension {dim}: check the width of the embedding file")]
    Ragged {
        /// Number of values given.
        values: usize,
        /// Width of a row.
        dim: usize,
    },
    /// Rows are numbered by `u32`.
    #[error("{rows} rows are more than one block can number (2^32 - 1): cut the block")]
    TooManyRows {
        /// Number of rows given.
        rows: usize,
    },
    /// A row is not of unit length, or holds a NaN or an infinity.
    #[error(
        "row {row} has a squared length of {norm_squared}, not 1: normalise the vectors before they are stored as f16"
    )]
    NotUnit {
        /// The first such row.
        row: usize,
        /// Its squared length.
        norm_squared: f64,
    },
    /// Two blocks that must be of one space are not.
    #[error(
        "vectors of dimension {left} cannot be compared with vectors of dimension {right}: they come from different encoders"
    )]
    Dimensions {
        /// Width of the first block.
        left: usize,
        /// Width of the second block.
        right: usize,
    },
    /// There is nothing to choose from.
    #[error("there are no {what}: {fix}")]
    Empty {
        /// What is missing.
        what: &'static str,
        /// What the caller can do.
        fix: &'static str,
    },
    /// There is no GPU that the `cuda` kernel could run on.
    #[error("no GPU can be used: {why}")]
    NoDevice {
        /// What was looked for.
        why: String,
    },
    /// A GPU is too old for the `cuda` kernel.
    #[error("{name} has compute capability {}.{}, and {}.{} or later is needed", has.0, has.1, needed.0, needed.1)]
    TooOld {
        /// The driver's name for its product.
        name: String,
        /// Its compute capability.
        has: (i32, i32),
        /// The earliest that will do.
        needed: (i32, i32),
    },
    /// A GPU failed.
    #[error("{device}: {what}")]
    Device {
        /// Its UUID, as `nvidia-smi -L` prints it.
        device: String,
        /// What is left of it.
        fault: Fault,
        /// What the driver said.
        what: String,
    },
    /// A setting is out of its range.
    #[error("{name} is {value}, and must be {allowed}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What would be right.
        allowed: &'static str,
    },
}

/// A borrowed `[n, d]` block of unit vectors, row after row.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    data: &'a [f16],
    dim: usize,
}

impl<'a> Rows<'a> {
    /// Checks the shape, and that each row is finite and of unit length (within [`NORM_SQUARED_TOLERANCE`]).
    pub fn new(data: &'a [f16], dim: usize) -> Result<Self, Error> {
        if dim == 0 {
            return Err(Error::NoColumns);
        }
        if !data.len().is_multiple_of(dim) {
            return Err(Error::Ragged { values: data.len(), dim });
        }
        if data.len() / dim >= u32::MAX as usize {
            return Err(Error::TooManyRows { rows: data.len() / dim });
        }
        let bad = data.par_chunks_exact(dim).enumerate().find_map_first(|(row, values)| {
            let norm_squared = exact::dot(values, values);
            // Written so that a NaN is refused too.
            let unit = (norm_squared - 1.0).abs() <= NORM_SQUARED_TOLERANCE;
            (!unit).then_some(Error::NotUnit { row, norm_squared })
        });
        bad.map_or(Ok(Self { data, dim }), Err)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.data.len() / self.dim
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Width of a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// All values, row after row.
    pub fn data(&self) -> &'a [f16] {
        self.data
    }

    /// One row; panics when there is no such row.
    pub fn row(&self, row: usize) -> &'a [f16] {
        &self.data[row * self.dim..(row + 1) * self.dim]
    }

    /// The first `n` rows (all, if there are fewer): rows come in keyed-hash order, so this is the sample of size `n`.
    pub fn prefix(&self, n: usize) -> Rows<'a> {
        Rows { data: &self.data[..n.min(self.len()) * self.dim], dim: self.dim }
    }

    /// Copies the named rows, in the order given; panics when there is no such row.
    pub fn select(&self, rows: &[u32]) -> Matrix {
        let data = rows.iter().flat_map(|&row| self.row(row as usize)).copied().collect();
        Matrix { data, dim: self.dim }
    }

    /// The row's values as `f32`, which holds every `f16` exactly.
    pub(crate) fn widen(&self, row: usize, into: &mut [f32]) {
        self.row(row).convert_to_f32_slice(into);
    }

    pub(crate) fn same_space(&self, other: Rows<'_>) -> Result<(), Error> {
        if self.dim == other.dim { Ok(()) } else { Err(Error::Dimensions { left: self.dim, right: other.dim }) }
    }
}

/// An owned `[n, d]` block of unit vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    data: Vec<f16>,
    dim: usize,
}

impl Matrix {
    /// Takes rows that are unit vectors already; the same checks as [`Rows::new`].
    pub fn new(data: Vec<f16>, dim: usize) -> Result<Self, Error> {
        Rows::new(&data, dim)?;
        Ok(Self { data, dim })
    }

    /// Normalises an encoder's output, `[n, d]`, and rounds it to `f16`.
    ///
    /// The norm is a sum in `f64`, in column order, so the same input gives the same bits. A row that has no direction
    /// (zero, NaN, infinite) is [`Error::NotUnit`].
    pub fn normalised(values: &[f32], dim: usize) -> Result<Self, Error> {
        if dim == 0 {
            return Err(Error::NoColumns);
        }
        if !values.len().is_multiple_of(dim) {
            return Err(Error::Ragged { values: values.len(), dim });
        }
        let mut data = Vec::with_capacity(values.len());
        for (row, row_values) in values.chunks_exact(dim).enumerate() {
            let norm_squared: f64 = row_values.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            if !(norm_squared > 0.0 && norm_squared.is_finite()) {
                return Err(Error::NotUnit { row, norm_squared });
            }
            let norm = norm_squared.sqrt();
            data.extend(row_values.iter().map(|&x| to_f16(f64::from(x) / norm)));
        }
        Self::new(data, dim)
    }

    /// For rows that this crate made, and that are unit by construction.
    pub(crate) fn trusted(data: Vec<f16>, dim: usize) -> Self {
        Self { data, dim }
    }

    /// The rows.
    pub fn rows(&self) -> Rows<'_> {
        Rows { data: &self.data, dim: self.dim }
    }

    /// All values, row after row.
    pub fn into_data(self) -> Vec<f16> {
        self.data
    }
}

/// Rounds by way of `f32`: a direct conversion from `f64` may or may not round twice, depending on the processor.
pub(crate) fn to_f16(x: f64) -> f16 {
    f16::from_f32(x as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::unit_rows;

    #[test]
    fn bad_blocks_are_refused_by_name() {
        let one = f16::ONE;
        assert_eq!(Rows::new(&[], 0).unwrap_err(), Error::NoColumns);
        assert_eq!(Rows::new(&[one; 3], 2).unwrap_err(), Error::Ragged { values: 3, dim: 2 });
        let long = [one, f16::ZERO, one, one];
        assert_eq!(Rows::new(&long, 2).unwrap_err(), Error::NotUnit { row: 1, norm_squared: 2.0 });
        for bad in [f16::NAN, f16::INFINITY, f16::ZERO] {
            let data = [one, bad];
            assert!(matches!(Rows::new(&data, 1).unwrap_err(), Error::NotUnit { row: 1, .. }), "{bad}");
        }
        for bad in [0.0, f32::NAN, f32::INFINITY] {
            let error = Matrix::normalised(&[1.0, bad], 1).unwrap_err();
            assert!(matches!(error, Error::NotUnit { row: 1, .. }), "{bad}");
        }
        assert_eq!(Matrix::normalised(&[1.0; 3], 2).unwrap_err(), Error::Ragged { values: 3, dim: 2 });
        assert_eq!(Matrix::normalised(&[], 0).unwrap_err(), Error::NoColumns);
    }

    #[test]
    fn rounding_to_f16_stays_within_the_tolerance() {
        for dim in [1, 2, 3, 64, 384, 1024, 4096] {
            let matrix = unit_rows(20, dim, dim as u64);
            for row in 0..20 {
                let row = matrix.rows().row(row);
                // The part of the tolerance that rounding alone may use.
                assert!((exact::dot(row, row) - 1.0).abs() <= NORM_SQUARED_TOLERANCE / 2.0 + 1e-5);
            }
        }
    }

    #[test]
    fn prefix_and_select_keep_order() {
        let matrix = unit_rows(5, 4, 1);
        let rows = matrix.rows();
        assert_eq!(rows.prefix(2).data(), &rows.data()[..8]);
        assert_eq!(rows.prefix(9).len(), 5);
        let picked = rows.select(&[3, 0]);
        assert_eq!(picked.rows().row(0), rows.row(3));
        assert_eq!(picked.rows().row(1), rows.row(0));
    }
}
