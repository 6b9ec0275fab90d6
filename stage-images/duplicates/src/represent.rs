//! Which member of a group is kept.

use std::cmp::Reverse;

/// A representative with the members that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Represented {
    /// The row that is kept.
    pub representative: u32,
    /// All members, the representative included, in the order in which they were given.
    pub members: Vec<u32>,
}

/// The member with the smallest key; equal keys go to the lower row. `None` for no members.
///
/// For hash groups the key is the caller's order, for example `(Reverse(pixels), id)`: the largest image, then the lowest id.
pub fn first_by_key<K: Ord>(members: &[u32], key: impl Fn(u32) -> K) -> Option<u32> {
    members.iter().copied().min_by_key(|&member| (key(member), member))
}

/// The member with the largest score, such as its cosine to the group's centroid (paper §3.1); equal scores go to the smaller
/// `tie` (an id, so that the choice survives a renumbering of rows), then to the lower row. A score that is NaN loses to all
/// others. `None` for no members.
pub fn nearest_to_centroid<T: Ord>(members: &[u32], score: impl Fn(u32) -> f64, tie: impl Fn(u32) -> T) -> Option<u32> {
    first_by_key(members, |member| (Reverse(Score::new(score(member))), tie(member)))
}

/// Cuts a group into parts whose members are all within `max_radius` of their representative, and returns them in the order in
/// which they were made.
///
/// `choose` names the representative of a set of members (it is given at least one, and must return one of them);
/// `distance(representative, member)` is in the unit of `max_radius`, usually cosine distance, not squared. Members farther
/// than `max_radius` (or with a NaN for a distance) leave and form a set of their own, for which the same is done, until none is
/// left. Each round settles its representative, so it ends after at most as many rounds as there are members.
pub fn split_by_radius(
    members: &[u32],
    max_radius: f64,
    choose: impl Fn(&[u32]) -> u32,
    distance: impl Fn(u32, u32) -> f64,
) -> Vec<Represented> {
    let mut parts = Vec::new();
    let mut rest = members.to_vec();
    while !rest.is_empty() {
        let representative = choose(&rest);
        assert!(
            rest.contains(&representative),
            "row {representative} was chosen to represent a group that it is not in"
        );
        let near = |&member: &u32| member == representative || distance(representative, member) <= max_radius;
        let (members, far) = rest.into_iter().partition(near);
        parts.push(Represented { representative, members });
        rest = far;
    }
    parts
}

/// A score in a total order in which NaN is the smallest and both zeros are one.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Score(i64);

impl Score {
    fn new(score: f64) -> Self {
        if score.is_nan() {
            return Self(i64::MIN);
        }
        // Adding 0 turns -0 into 0. Without NaN the bits of a float order like its value once the negative ones are turned round.
        let bits = (score + 0.0).to_bits() as i64;
        Self(if bits < 0 { i64::MIN - bits } else { bits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::tests::Random;

    #[test]
    fn scores_order_like_their_values() {
        let ascending =
            [f64::NAN, f64::NEG_INFINITY, -2.0, -1.0, -1e-300, 0.0, 1e-300, 0.5, 0.5 + f64::EPSILON, f64::INFINITY];
        for pair in ascending.windows(2) {
            assert!(Score::new(pair[0]) < Score::new(pair[1]), "{pair:?}");
        }
        assert!(Score::new(-0.0) == Score::new(0.0));
        assert!(Score::new(-f64::NAN) == Score::new(f64::NAN));
    }

    #[test]
    fn best_score_then_tie_then_row() {
        let scores = [0.5, 0.9, 0.9, f64::NAN, 0.9];
        let ids = ["e", "d", "b", "a", "b"];
        let choose = |members: &[u32]| nearest_to_centroid(members, |m| scores[m as usize], |m| ids[m as usize]);
        assert_eq!(choose(&[0, 1, 2, 3, 4]), Some(2));
        assert_eq!(choose(&[4, 2, 1]), Some(2));
        assert_eq!(choose(&[1, 0, 3]), Some(1));
        assert_eq!(choose(&[3]), Some(3));
        assert_eq!(choose(&[]), None);
    }

    #[test]
    fn hash_groups_follow_the_callers_order() {
        let pixels = [100, 400, 400, 50];
        let key = |m: u32| (Reverse(pixels[m as usize]), Reverse(m));
        assert_eq!(first_by_key(&[0, 1, 2, 3], key), Some(2));
        assert_eq!(first_by_key(&[3, 0], key), Some(0));
        assert_eq!(first_by_key(&[], key), None);
        assert_eq!(first_by_key(&[2, 1], |_| ()), Some(1));
    }

    /// Points on a line; the representative is the one nearest their mean, ties to the lower row.
    fn split_line(points: &[f64], max_radius: f64) -> Vec<Represented> {
        let members: Vec<u32> = (0..points.len() as u32).collect();
        let choose = |members: &[u32]| {
            let mean = members.iter().map(|&m| points[m as usize]).sum::<f64>() / members.len() as f64;
            nearest_to_centroid(members, |m| -(points[m as usize] - mean).abs(), |m| m).unwrap()
        };
        split_by_radius(&members, max_radius, choose, |a, b| (points[a as usize] - points[b as usize]).abs())
    }

    #[test]
    fn a_chain_falls_apart_and_a_ball_does_not() {
        let chain: Vec<f64> = (0..7).map(f64::from).collect();
        let parts = split_line(&chain, 1.0);
        let expected = [(3, vec![2, 3, 4]), (1, vec![0, 1]), (5, vec![5, 6])];
        let expected = expected.map(|(representative, members)| Represented { representative, members });
        assert_eq!(parts, expected);
        assert_eq!(split_line(&[0.0, 0.1, 0.2], 1.0).len(), 1);
        assert!(split_line(&[], 1.0).is_empty());
    }

    #[test]
    fn every_member_is_kept_once_and_within_the_radius() {
        for seed in 0..100 {
            let mut random = Random(seed);
            let points: Vec<f64> = (0..random.below(60)).map(|_| random.below(1000) as f64 / 100.0).collect();
            let radius = random.below(300) as f64 / 100.0;
            let parts = split_line(&points, radius);
            let mut all: Vec<u32> = parts.iter().flat_map(|part| part.members.clone()).collect();
            all.sort_unstable();
            assert_eq!(all, (0..points.len() as u32).collect::<Vec<_>>());
            for part in &parts {
                let centre = points[part.representative as usize];
                assert!(part.members.contains(&part.representative));
                assert!(part.members.iter().all(|&m| (points[m as usize] - centre).abs() <= radius), "seed {seed}");
            }
        }
    }

    #[test]
    fn without_a_usable_distance_each_member_stands_alone() {
        let parts = split_by_radius(&[4, 7], 0.1, |members| members[0], |_, _| f64::NAN);
        assert_eq!(parts.iter().map(|part| part.representative).collect::<Vec<_>>(), [4, 7]);
    }

    #[test]
    #[should_panic(expected = "row 9 was chosen")]
    fn a_representative_from_elsewhere_is_refused() {
        split_by_radius(&[4, 7], 0.1, |_| 9, |_, _| 0.0);
    }
}
