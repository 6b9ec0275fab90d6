//! From edges to groups.

use crate::{Error, UnionFind};

/// Rows that duplicate each other, directly or through others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// At least two rows, in increasing order.
    pub members: Vec<u32>,
}

/// Joins edges over the rows `0..n` into groups of two and more, in order of their lowest row. Rows that no edge touches are in
/// no group; an edge from a row to itself joins nothing. The order of the edges does not matter.
///
/// Errors: [`Error::NoSuchRow`].
pub fn groups(n: usize, edges: impl IntoIterator<Item = (u32, u32)>) -> Result<Vec<Group>, Error> {
    let mut sets = UnionFind::new(n);
    for (a, b) in edges {
        if a as usize >= n || b as usize >= n {
            return Err(Error::NoSuchRow { a, b, rows: n });
        }
        sets.union(a, b);
    }
    // Rows are met in increasing order, so both the groups and their members come out sorted.
    let mut place = vec![u32::MAX; n];
    let mut groups: Vec<Group> = Vec::new();
    for row in 0..n as u32 {
        if sets.size_of(row) < 2 {
            continue;
        }
        let place = &mut place[sets.find(row) as usize];
        if *place == u32::MAX {
            *place = groups.len() as u32;
            groups.push(Group { members: Vec::new() });
        }
        groups[*place as usize].members.push(row);
    }
    Ok(groups)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// SplitMix64.
    pub(crate) struct Random(pub(crate) u64);

    impl Random {
        pub(crate) fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) % n as u64) as usize
        }
    }

    /// Groups by following edges from each row.
    fn walked(n: usize, edges: &[(u32, u32)]) -> Vec<Group> {
        let mut seen = vec![false; n];
        let mut groups = Vec::new();
        for start in 0..n {
            let mut members = Vec::new();
            let mut open = vec![start as u32];
            while let Some(row) = open.pop() {
                if std::mem::replace(&mut seen[row as usize], true) {
                    continue;
                }
                members.push(row);
                open.extend(edges.iter().filter(|edge| edge.0 == row).map(|edge| edge.1));
                open.extend(edges.iter().filter(|edge| edge.1 == row).map(|edge| edge.0));
            }
            members.sort_unstable();
            if members.len() > 1 {
                groups.push(Group { members });
            }
        }
        groups
    }

    #[test]
    fn agrees_with_a_walk_in_any_order_of_edges() {
        for seed in 0..200 {
            let mut random = Random(seed);
            let n = 1 + random.below(60);
            let edges: Vec<(u32, u32)> =
                (0..random.below(60)).map(|_| (random.below(n) as u32, random.below(n) as u32)).collect();
            let expected = walked(n, &edges);
            assert_eq!(groups(n, edges.iter().copied()).unwrap(), expected, "seed {seed}");
            assert_eq!(groups(n, edges.iter().rev().map(|&(a, b)| (b, a))).unwrap(), expected, "seed {seed}");
        }
    }

    #[test]
    fn an_edge_to_nowhere_is_named() {
        assert_eq!(groups(3, [(0, 1), (1, 3)]).unwrap_err(), Error::NoSuchRow { a: 1, b: 3, rows: 3 });
        assert_eq!(groups(0, [(0, 0)]).unwrap_err(), Error::NoSuchRow { a: 0, b: 0, rows: 0 });
        assert_eq!(groups(0, []).unwrap(), []);
    }
}
