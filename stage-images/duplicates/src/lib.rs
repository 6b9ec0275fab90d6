//! Groups of duplicates: Union-Find and deterministic representatives.
//!
//! Rows are numbered `0..n`; what a row is (an image, a sentence), and what an edge means (equal hash, near hash, close
//! vectors) is the caller's affair. Each result depends on the *set* of edges and on the caller's keys alone, never on the
//! order in which edges arrive.
//!
//! The usual way: [`groups`] joins edges, [`check_sizes`] stops a chain that swallowed the corpus, then either
//! [`first_by_key`] (hash groups: by the caller's order, such as the most pixels) or [`split_by_radius`] with
//! [`nearest_to_centroid`] (semantic groups, paper §3.1).
#![forbid(unsafe_code)]

mod groups;
mod represent;
mod sizes;
mod union_find;

pub use groups::{Group, groups};
pub use represent::{Represented, first_by_key, nearest_to_centroid, split_by_radius};
pub use sizes::{SizeBin, check_sizes, default_max_group, size_histogram};
pub use union_find::UnionFind;

/// What can be wrong with edges or groups.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An edge names a row that is not there.
    #[error("an edge joins {a} and {b}, but there are only {rows} rows: the edges belong to another set of rows")]
    NoSuchRow {
        /// One end.
        a: u32,
        /// The other end.
        b: u32,
        /// Number of rows.
        rows: usize,
    },
    /// A group is so large that it is more likely a chain than duplicates.
    #[error(
        "the group of duplicates around row {first} has {size} members, more than the limit of {limit}: lower maxDistance so that \
         fewer rows are joined, or raise maxGroup if they really are duplicates"
    )]
    GroupTooLarge {
        /// Its lowest row.
        first: u32,
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
}
