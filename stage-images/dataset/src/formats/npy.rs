//! Embeddings as `.npy`: version 1.0, `[n, d]`, 16-bit floats, little endian, row after row.
//!
//! The layout is numpy's own: magic, version, length of the header, a Python dictionary in ASCII padded with blanks to a
//! multiple of 64 bytes, then the values.

use half::f16;

use super::error::FormatError;

const MAGIC: &[u8; 8] = b"\x93NUMPY\x01\x00";
const WHAT: &str = "the .npy file";
const HEADER: &str = "the header of the .npy file";
/// numpy writes 118 bytes for two dimensions; more than this is not an array of embeddings.
const MAX_HEADER: usize = 1_024;

/// `[n, d]` half-precision values, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Values of one row, at least 1.
    pub dim: usize,
    /// All rows, one after the other: `n * dim` values.
    pub values: Vec<f16>,
}

impl Matrix {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Row `index`, which is below [`rows`](Self::rows).
    pub fn row(&self, index: usize) -> &[f16] {
        &self.values[index * self.dim..][..self.dim]
    }
}

/// The file for `values: [n, dim]`. Fails if `dim` is 0 or does not divide the number of values.
pub fn write_npy(dim: usize, values: &[f16]) -> Result<Vec<u8>, FormatError> {
    if dim == 0 || !values.len().is_multiple_of(dim) {
        let detail = format!("{} values are not whole rows of {dim}", values.len());
        return Err(FormatError::unwritable(WHAT, detail));
    }
    let rows = values.len() / dim;
    let dictionary = format!("{{'descr': '<f2', 'fortran_order': False, 'shape': ({rows}, {dim}), }}");
    let preamble = MAGIC.len() + 2;
    // The header ends in a line feed at a multiple of 64 bytes.
    let total = (preamble + dictionary.len() + 1).next_multiple_of(64);
    let mut out = Vec::with_capacity(total + 2 * values.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&((total - preamble) as u16).to_le_bytes());
    out.extend_from_slice(dictionary.as_bytes());
    out.resize(total - 1, b' ');
    out.push(b'\n');
    out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    Ok(out)
}

/// Reads what [`write_npy`] or numpy writes for a two-dimensional `float16` array in C order; anything else is an error.
pub fn read_npy(bytes: &[u8]) -> Result<Matrix, FormatError> {
    let need = |needed: usize| match bytes.len() < needed {
        true => Err(FormatError::Truncated { what: HEADER, needed: needed as u64, found: bytes.len() as u64 }),
        false => Ok(()),
    };
    need(10)?;
    if &bytes[..8] != MAGIC {
        return Err(FormatError::corrupt(WHAT, "it does not start with the mark of .npy version 1.0"));
    }
    let header_len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    FormatError::check(HEADER, header_len as u64, MAX_HEADER as u64)?;
    need(10 + header_len)?;
    let (header, data) = bytes[10..].split_at(header_len);
    let (rows, dim) = parse_header(header)?;
    let found = data.len() as u64;
    let needed = (rows.checked_mul(dim).and_then(|n| n.checked_mul(2))).ok_or(FormatError::TooLarge {
        what: WHAT,
        found: u64::MAX,
        limit: found,
    })?;
    if needed > found {
        return Err(FormatError::Truncated { what: WHAT, needed, found });
    }
    if needed < found {
        return Err(FormatError::corrupt(WHAT, format!("{} bytes follow the last row", found - needed)));
    }
    let values = data.chunks_exact(2).map(|v| f16::from_le_bytes([v[0], v[1]])).collect();
    Ok(Matrix { dim: dim as usize, values })
}

/// The shape that a header states, for the one kind of array that is read here.
fn parse_header(header: &[u8]) -> Result<(u64, u64), FormatError> {
    let text = std::str::from_utf8(header).map_err(|_| FormatError::corrupt(HEADER, "it is not ASCII"))?;
    // Python ignores blanks between tokens, and none of the values has one inside.
    let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let unexpected = || FormatError::Unsupported { what: WHAT, detail: format!("the header `{}`", text.trim_end()) };
    let mut rest = packed.strip_prefix('{').and_then(|p| p.strip_suffix('}')).ok_or_else(unexpected)?;
    let (mut descr, mut order, mut shape) = (false, false, None);
    while !rest.is_empty() {
        let tail = if let Some(tail) = rest.strip_prefix("'descr':'<f2'") {
            if std::mem::replace(&mut descr, true) {
                return Err(unexpected());
            }
            tail
        } else if let Some(tail) = rest.strip_prefix("'fortran_order':False") {
            if std::mem::replace(&mut order, true) {
                return Err(unexpected());
            }
            tail
        } else {
            let tail = rest.strip_prefix("'shape':(").ok_or_else(unexpected)?;
            let (dims, tail) = tail.split_once(')').ok_or_else(unexpected)?;
            let (rows, dim) = dims.split_once(',').ok_or_else(unexpected)?;
            if shape.replace((number(rows).ok_or_else(unexpected)?, number(dim).ok_or_else(unexpected)?)).is_some() {
                return Err(unexpected());
            }
            tail
        };
        rest = match tail.strip_prefix(',') {
            Some(tail) => tail,
            None if tail.is_empty() => tail,
            None => return Err(unexpected()),
        };
    }
    match shape {
        Some((rows, dim)) if descr && order && dim > 0 => Ok((rows, dim)),
        _ => Err(unexpected()),
    }
}

fn number(digits: &str) -> Option<u64> {
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}
