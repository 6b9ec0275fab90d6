//! How a listing of many small files is cut into shards.

use std::ops::Range;

/// No run holds more than this many times the target.
const MAX_FACTOR: u64 = 4;
/// A file counts as this much at least: opening it costs something, however small it is.
const MIN_WEIGHT: u64 = 4_096;

/// Cuts files, sorted by name, into runs of about `target` bytes.
///
/// A run ends after a file if a keyed hash of the file's name falls below the file's share of `target`, or if the next
/// file would bring the run above four times `target`. So a file that is added or removed changes the run that it falls
/// into, and at most the forced cuts up to the next cut by hash. The ranges cover all files in order.
///
/// # Panics
/// If `target` is 0, or names are not in strictly ascending order.
pub fn cut_runs(names_sizes: &[(String, u64)], target: u64) -> Vec<Range<usize>> {
    assert!(target > 0, "a run needs a size");
    assert!(names_sizes.is_sorted_by(|a, b| a.0 < b.0), "files are cut in the order of their names");
    let mut runs = Vec::new();
    let (mut start, mut filled) = (0, 0u64);
    for (i, (name, size)) in names_sizes.iter().enumerate() {
        let weight = (*size).max(MIN_WEIGHT);
        if i > start && filled.saturating_add(weight) > target.saturating_mul(MAX_FACTOR) {
            runs.push(start..i);
            (start, filled) = (i, 0);
        }
        filled = filled.saturating_add(weight);
        if u128::from(cut_hash(name)) * u128::from(target) < u128::from(weight) << 64 {
            runs.push(start..i + 1);
            (start, filled) = (i + 1, 0);
        }
    }
    if start < names_sizes.len() {
        runs.push(start..names_sizes.len());
    }
    runs
}

fn cut_hash(name: &str) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("realsyn.dev/v1 inventory cut");
    hasher.update(name.as_bytes());
    let mut out = [0; 8];
    hasher.finalize_xof().fill(&mut out);
    u64::from_be_bytes(out)
}
