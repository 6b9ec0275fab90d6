//! Selection: which pairs a release takes. Pure, and nested: for one pool and band a smaller limit or target takes a
//! subset of what a larger one takes.

use std::collections::HashMap;

use realsyn_plan::Id;
use realsyn_plan::ids::OrderKey;

/// A pair that could be released.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The image.
    pub image: Id,
    /// Its home shard.
    pub home: u32,
    /// Its cluster.
    pub cluster: u64,
    /// Cosine of image and synthetic text.
    pub cosine: f32,
}

/// Cosines that are kept: `low <= cosine <= high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    /// Lowest cosine kept.
    pub low: f64,
    /// Highest cosine kept.
    pub high: f64,
}

impl Band {
    /// Everything.
    pub const ALL: Self = Self { low: -1.0, high: 1.0 };

    /// The band that leaves out the given shares at either end. Both ends are values that occur, so the band does not
    /// depend on how quantiles are interpolated.
    pub fn of_quantiles(cosines: impl Iterator<Item = f32>, below: f64, above: f64) -> Self {
        let mut sorted: Vec<f32> = cosines.collect();
        if sorted.is_empty() {
            return Self::ALL;
        }
        sorted.sort_by(f32::total_cmp);
        let n = sorted.len();
        let low = ((below * n as f64).floor() as usize).min(n - 1);
        let high = (n - ((above * n as f64).floor() as usize).min(n - 1)) - 1;
        Self { low: sorted[low].into(), high: sorted[high.max(low)].into() }
    }
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It is released.
    Kept,
    /// Its cosine is below the band.
    BelowBand,
    /// Its cosine is above the band.
    AboveBand,
    /// Its cluster gives no more.
    ClusterFull,
    /// The target is reached.
    OverTarget,
}

impl Choice {
    /// The reason's name.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::BelowBand => "below-band",
            Self::AboveBand => "above-band",
            Self::ClusterFull => "cluster-full",
            Self::OverTarget => "over-target",
        }
    }
}

/// Chooses: the band; then the first `max_per_cluster` of each cluster by H(balance, id); then the first `target` by
/// (rank in cluster, H(level, id)). One choice per candidate, in their order.
pub fn select(pairs: &[Candidate], band: Band, max_per_cluster: Option<u64>, target: Option<u64>) -> Vec<Choice> {
    let mut choices: Vec<Choice> = pairs
        .iter()
        .map(|p| match f64::from(p.cosine) {
            c if c < band.low => Choice::BelowBand,
            c if c > band.high => Choice::AboveBand,
            _ => Choice::Kept,
        })
        .collect();
    let mut clusters: HashMap<u64, Vec<usize>> = HashMap::new();
    for (at, pair) in pairs.iter().enumerate().filter(|(at, _)| choices[*at] == Choice::Kept) {
        clusters.entry(pair.cluster).or_default().push(at);
    }
    let mut ranked = Vec::new();
    for members in clusters.values_mut() {
        members.sort_by_cached_key(|&at| (pairs[at].image.order(OrderKey::Balance), pairs[at].image));
        for (rank, &at) in (0u64..).zip(members.iter()) {
            if max_per_cluster.is_some_and(|t| rank >= t) {
                choices[at] = Choice::ClusterFull;
            } else {
                ranked.push((rank, pairs[at].image.order(OrderKey::Level), pairs[at].image, at));
            }
        }
    }
    ranked.sort_unstable();
    for &(.., at) in ranked.iter().skip(target.map_or(usize::MAX, |n| n as usize)) {
        choices[at] = Choice::OverTarget;
    }
    choices
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(n: u64) -> Vec<Candidate> {
        (0..n)
            .map(|i| Candidate {
                image: Id::of_image(&i.to_le_bytes()),
                home: 0,
                cluster: (i as f64).sqrt() as u64,
                cosine: (i * 7919 % 1000) as f32 / 1000.0,
            })
            .collect()
    }

    fn kept(pairs: &[Candidate], band: Band, t: Option<u64>, n: Option<u64>) -> std::collections::BTreeSet<Id> {
        let choices = select(pairs, band, t, n);
        pairs.iter().zip(choices).filter(|(_, c)| *c == Choice::Kept).map(|(p, _)| p.image).collect()
    }

    #[test]
    fn smaller_limits_and_targets_are_nested_and_exact() {
        let pairs = candidates(2000);
        let mut last = kept(&pairs, Band::ALL, None, None);
        assert_eq!(last.len(), 2000);
        for target in [1500, 700, 90, 3, 0] {
            let smaller = kept(&pairs, Band::ALL, None, Some(target));
            assert_eq!(smaller.len() as u64, target);
            assert!(smaller.is_subset(&last));
            last = smaller;
        }
        let mut last = kept(&pairs, Band::ALL, Some(50), None);
        for t in [20, 7, 1] {
            let smaller = kept(&pairs, Band::ALL, Some(t), None);
            assert!(smaller.is_subset(&last));
            let sum: u64 = (0..45u64).map(|c| t.min((2 * c + 1).min(2000 - c * c))).sum();
            assert_eq!(smaller.len() as u64, sum, "the sum over clusters of min(n, t)");
            last = smaller;
        }
    }

    #[test]
    fn order_of_the_candidates_changes_nothing() {
        let pairs = candidates(500);
        let mut reversed = pairs.clone();
        reversed.reverse();
        let band = Band { low: 0.2, high: 0.8 };
        assert_eq!(kept(&pairs, band, Some(9), Some(100)), kept(&reversed, band, Some(9), Some(100)));
    }

    #[test]
    fn quantiles_leave_out_their_share() {
        let cosines: Vec<f32> = (0..1000).map(|i| i as f32 / 1000.0).collect();
        let band = Band::of_quantiles(cosines.iter().copied(), 0.075, 0.075);
        let inside = cosines.iter().filter(|c| (band.low..=band.high).contains(&f64::from(**c))).count();
        assert_eq!(inside, 850);
        assert_eq!(Band::of_quantiles(std::iter::empty(), 0.1, 0.1), Band::ALL);
        let one = Band::of_quantiles([0.5f32].into_iter(), 0.4, 0.4);
        assert_eq!((one.low, one.high), (0.5, 0.5));
    }
}
