//! Floating-point operations of the exhaustive algorithms, so that benchmarks can say what share of a machine's peak they
//! reach. A multiplication and an addition count as two; comparisons and exact rescoring are not counted.

/// [`crate::nearest`], [`crate::top_k`], [`crate::assign`]: every query against every row.
pub fn search(queries: u64, rows: u64, dim: u64) -> u64 {
    2 * queries * rows * dim
}

/// One [`crate::KMeans::step`]: the assignment; the update's `n * d` additions are included.
pub fn kmeans_step(sample: u64, centroids: u64, dim: u64) -> u64 {
    2 * sample * centroids * dim + sample * dim
}

/// [`crate::spanning_forest`]: every pair once.
pub fn spanning_forest(rows: u64, dim: u64) -> u64 {
    rows * rows.saturating_sub(1) * dim
}

/// [`crate::assign_with_borders`]: the assignment, and the distances between centroids.
pub fn assign_with_borders(rows: u64, centroids: u64, dim: u64) -> u64 {
    search(rows, centroids, dim) + spanning_forest(centroids, dim)
}

#[cfg(test)]
mod tests {
    #[test]
    fn counts_match_the_loops() {
        assert_eq!(super::search(3, 5, 7), 210);
        assert_eq!(super::kmeans_step(3, 5, 7), 231);
        assert_eq!(super::spanning_forest(4, 10), 120);
        assert_eq!(super::spanning_forest(0, 10), 0);
        assert_eq!(super::assign_with_borders(3, 4, 10), 360);
    }
}
