//! How large groups are, and how large they may be.

use crate::{Error, Group};

/// The limit when none is set: the larger of 1,000 and 0.1 % of all rows.
pub fn default_max_group(rows: usize) -> usize {
    (rows / 1000).max(1000)
}

/// Stops at the largest group above `limit` (ties: the first), because Union-Find turns a chain of near neighbours into one
/// group. Errors: [`Error::GroupTooLarge`].
pub fn check_sizes(groups: &[Group], limit: usize) -> Result<(), Error> {
    let largest = groups.iter().rev().max_by_key(|group| group.members.len());
    match largest {
        Some(Group { members }) if members.len() > limit => {
            Err(Error::GroupTooLarge { first: members[0], size: members.len(), limit })
        }
        _ => Ok(()),
    }
}

/// Groups of a range of sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeBin {
    /// Smallest size of the bin, a power of two.
    pub from: usize,
    /// Largest size of the bin.
    pub to: usize,
    /// Groups in it.
    pub groups: u64,
    /// Members of those groups together.
    pub members: u64,
}

/// Sizes in bins of 1, 2-3, 4-7, 8-15 … up to the largest; bins between without a group are there with zeros. Sizes of 0 are
/// left out.
pub fn size_histogram(sizes: impl IntoIterator<Item = usize>) -> Vec<SizeBin> {
    let mut bins: Vec<SizeBin> = Vec::new();
    for size in sizes.into_iter().filter(|&size| size > 0) {
        let bin = size.ilog2() as usize;
        while bins.len() <= bin {
            let from = 1 << bins.len();
            bins.push(SizeBin { from, to: 2 * from - 1, groups: 0, members: 0 });
        }
        bins[bin].groups += 1;
        bins[bin].members += size as u64;
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups;

    #[test]
    fn the_default_limit_grows_with_the_rows() {
        assert_eq!(default_max_group(0), 1000);
        assert_eq!(default_max_group(1_000_999), 1000);
        assert_eq!(default_max_group(1_001_000), 1001);
    }

    #[test]
    fn a_group_above_the_limit_stops_with_a_sentence() {
        let found = groups(10, [(0, 1), (2, 3), (3, 4), (5, 6), (6, 7)]).unwrap();
        assert_eq!(check_sizes(&found, 3), Ok(()));
        assert_eq!(check_sizes(&[], 0), Ok(()));
        let error = check_sizes(&found, 2).unwrap_err();
        assert_eq!(error, Error::GroupTooLarge { first: 2, size: 3, limit: 2 });
        assert_eq!(
            error.to_string(),
            "the group of duplicates around row 2 has 3 members, more than the limit of 2: lower maxDistance so that fewer rows \
             are joined, or raise maxGroup if they really are duplicates"
        );
    }

    #[test]
    fn sizes_fall_into_powers_of_two() {
        let bins = size_histogram([1, 1, 2, 3, 9, 0]);
        let rows: Vec<_> = bins.iter().map(|bin| (bin.from, bin.to, bin.groups, bin.members)).collect();
        assert_eq!(rows, [(1, 1, 2, 2), (2, 3, 2, 5), (4, 7, 0, 0), (8, 15, 1, 9)]);
        assert!(size_histogram([]).is_empty());
    }
}
