//! Disjoint sets.

/// Disjoint sets over `0..n`, joined by size, found with path halving: `m` operations take nearly `O(m)`.
///
/// Which member is a set's root depends on the order of the joins; use [`crate::groups`] for results that do not.
#[derive(Debug, Clone)]
pub struct UnionFind {
    parent: Vec<u32>,
    size: Vec<u32>,
    sets: usize,
}

impl UnionFind {
    /// `n` sets of one member; panics above 2^32 members.
    pub fn new(n: usize) -> Self {
        assert!(n <= u32::MAX as usize + 1, "{n} rows are more than 32 bits can number");
        Self { parent: (0..n).map(|row| row as u32).collect(), size: vec![1; n], sets: n }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.parent.len()
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.parent.is_empty()
    }

    /// Number of sets.
    pub fn sets(&self) -> usize {
        self.sets
    }

    /// The root of the member's set; panics when there is no such member.
    pub fn find(&mut self, mut member: u32) -> u32 {
        while self.parent[member as usize] != member {
            let above = self.parent[self.parent[member as usize] as usize];
            self.parent[member as usize] = above;
            member = above;
        }
        member
    }

    /// Joins two sets, and says whether they were two. Equal sizes: the lower root stays.
    pub fn union(&mut self, a: u32, b: u32) -> bool {
        let (a, b) = (self.find(a), self.find(b));
        if a == b {
            return false;
        }
        let (size_a, size_b) = (self.size[a as usize], self.size[b as usize]);
        let (root, child) = if (size_b, a) > (size_a, b) { (b, a) } else { (a, b) };
        self.parent[child as usize] = root;
        self.size[root as usize] = size_a + size_b;
        self.sets -= 1;
        true
    }

    /// Whether two members are in one set.
    pub fn same(&mut self, a: u32, b: u32) -> bool {
        self.find(a) == self.find(b)
    }

    /// Size of the member's set.
    pub fn size_of(&mut self, member: u32) -> usize {
        let root = self.find(member);
        self.size[root as usize] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::tests::Random;

    #[test]
    fn agrees_with_labels_that_are_rewritten() {
        for seed in 0..50 {
            let mut random = Random(seed);
            let n = 1 + random.below(40);
            let mut sets = UnionFind::new(n);
            let mut labels: Vec<usize> = (0..n).collect();
            for _ in 0..random.below(80) {
                let (a, b) = (random.below(n), random.below(n));
                let (from, to) = (labels[a], labels[b]);
                assert_eq!(sets.union(a as u32, b as u32), from != to);
                labels.iter_mut().filter(|label| **label == from).for_each(|label| *label = to);
            }
            let mut distinct = labels.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(sets.sets(), distinct.len());
            for a in 0..n {
                assert_eq!(sets.size_of(a as u32), labels.iter().filter(|&&label| label == labels[a]).count());
                for b in 0..n {
                    assert_eq!(sets.same(a as u32, b as u32), labels[a] == labels[b]);
                }
            }
        }
    }

    #[test]
    fn a_long_chain_is_quick_and_shallow() {
        let n = 200_000u32;
        let mut sets = UnionFind::new(n as usize);
        for row in (1..n).rev() {
            assert!(sets.union(row - 1, row));
        }
        assert_eq!((sets.sets(), sets.size_of(7), sets.len()), (1, n as usize, n as usize));
    }
}
