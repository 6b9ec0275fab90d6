use super::*;
use crate::dot;
use crate::rows::Matrix;
use crate::testing::{Random, clustered_rows, on_threads, unit_rows};

/// All pairs, then Kruskal.
fn expected(rows: Rows<'_>, max_distance: f32) -> Vec<Edge> {
    let mut pairs = Vec::new();
    for b in 0..rows.len() {
        for a in 0..b {
            let distance = 1.0 - dot(rows.row(a), rows.row(b));
            if distance < f64::from(max_distance) {
                pairs.push((distance, a, b));
            }
        }
    }
    kruskal(pairs, rows.len())
}

/// The minimal forest of pairs (distance, a, b), with labels that are rewritten.
fn kruskal(mut pairs: Vec<(f64, usize, usize)>, rows: usize) -> Vec<Edge> {
    pairs.sort_by(|x, y| x.partial_cmp(y).unwrap());
    let mut labels: Vec<usize> = (0..rows).collect();
    let mut edges = Vec::new();
    for (distance, a, b) in pairs {
        let (from, to) = (labels[b], labels[a]);
        if from != to {
            labels.iter_mut().filter(|label| **label == from).for_each(|label| *label = to);
            edges.push(Edge { a: a as u32, b: b as u32, distance: distance.max(0.0) as f32 });
        }
    }
    edges
}

#[test]
fn every_kernel_and_thread_count_gives_the_one_minimal_forest() {
    let cases = [
        (unit_rows(1, 8, 1), 0.5),
        (unit_rows(150, 3, 2), 0.1),
        (unit_rows(150, 3, 2), 2.0),
        (clustered_rows(500, 64, 20, 0.2, 3), 0.1),
        (clustered_rows(400, 384, 2, 1e-4, 4), 1e-4),
    ];
    for (case, (rows, max_distance)) in cases.iter().enumerate() {
        let expected = expected(rows.rows(), *max_distance);
        assert!(case == 0 || expected.len() > 20, "case {case} has only {} edges", expected.len());
        for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
            for threads in [1, 3] {
                let found = on_threads(threads, || spanning_forest(kernel, rows.rows(), *max_distance).unwrap());
                assert_eq!(found, expected, "case {case}, {kernel:?}, {threads} threads");
            }
        }
    }
}

#[test]
fn equal_rows_become_a_star_and_pairs_are_never_all_held() {
    // 5,000 copies make 12.5 million pairs, over two packed pieces: each reduction must leave the same star.
    let rows = unit_rows(1, 8, 5).rows().select(&[0; 5000]);
    let forest = spanning_forest(Kernel::best(), rows.rows(), 0.1).unwrap();
    let star: Vec<(u32, u32)> = (1..5000).map(|b| (0, b)).collect();
    assert_eq!(forest.iter().map(|edge| (edge.a, edge.b)).collect::<Vec<_>>(), star);
}

#[test]
fn reducing_early_changes_nothing() {
    for seed in 0..50 {
        let mut random = Random::new(seed);
        let pair = |random: &mut Random| {
            let (x, y) = (random.below(30) as u32, random.below(30) as u32);
            Pair { a: x.min(y), b: x.max(y), distance: random.below(8) as f64 / 8.0, accepted: false }
        };
        let edges: Vec<Pair> = (0..300).map(|_| pair(&mut random)).collect();
        let odd = |a: u32, b: u32| !(a + b).is_multiple_of(2) || (a * b).is_multiple_of(3);
        for accept in [None, Some(&odd as &Accept<'_>)] {
            let mut early = Vec::new();
            for part in edges.chunks(40) {
                early.extend_from_slice(part);
                reduce(&mut early, accept);
            }
            let mut late = edges.clone();
            reduce(&mut late, accept);
            assert_eq!(early, late);
        }
    }
}

#[test]
fn only_accepted_pairs_join_rows() {
    for (seed, (n, dim, max_distance)) in (10..).zip([(150, 3, 0.1f32), (300, 16, 0.6), (60, 2, 2.0)]) {
        let data = unit_rows(n, dim, seed);
        let accept = |a: u32, b: u32| a < b && (a * 7 + b * 11) % 5 < 2;
        let mut pairs = Vec::new();
        for b in 0..n {
            for a in 0..b {
                let distance = 1.0 - dot(data.rows().row(a), data.rows().row(b));
                if distance < f64::from(max_distance) && accept(a as u32, b as u32) {
                    pairs.push((distance, a, b));
                }
            }
        }
        let expected = kruskal(pairs, n);
        assert!(expected.len() > 10, "seed {seed} has only {} edges", expected.len());
        for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
            let found = on_threads(3, || accepted_forest(kernel, data.rows(), max_distance, &accept).unwrap());
            assert_eq!(found, expected, "seed {seed}, {kernel:?}");
        }
    }
}

/// 1,000 near copies among 20,000 random rows: in 64 dimensions no two random rows come near 0.1, so the planted pairs, and
/// nothing else, must be found.
#[test]
fn planted_near_duplicates_are_all_found_and_nothing_else() {
    let (n, dim, planted, max_distance) = (20_000, 64, 1000, 0.1f32);
    let base = unit_rows(n - planted, dim, 6);
    let mut random = Random::new(7);
    let mut place: Vec<u32> = (0..n as u32).collect();
    random.shuffle(&mut place);
    let mut values = vec![0f32; n * dim];
    let mut pairs = Vec::new();
    for row in 0..n {
        let source = if row < n - planted { row } else { row - (n - planted) };
        // Noise of a quarter of the row's length: a cosine around 1 / sqrt(1 + 1/16) = 0.97.
        let noise = if row < n - planted { 0.0 } else { 0.25 / (dim as f64).sqrt() };
        let to = &mut values[place[row] as usize * dim..][..dim];
        for (slot, value) in to.iter_mut().zip(base.rows().row(source)) {
            *slot = value.to_f32() + (noise * random.normal()) as f32;
        }
        if row != source {
            pairs.push((place[row].min(place[source]), place[row].max(place[source])));
        }
    }
    let rows = Matrix::normalised(&values, dim).unwrap();
    let forest = spanning_forest(Kernel::best(), rows.rows(), max_distance).unwrap();
    for edge in &forest {
        let distance = 1.0 - dot(rows.rows().row(edge.a as usize), rows.rows().row(edge.b as usize));
        assert!(distance < f64::from(max_distance) && edge.distance == distance as f32, "{edge:?}");
    }
    let mut found: Vec<(u32, u32)> = forest.iter().map(|edge| (edge.a, edge.b)).collect();
    found.sort_unstable();
    pairs.sort_unstable();
    assert_eq!(found, pairs);
}

#[test]
fn bad_settings_are_named_and_no_rows_have_no_pairs() {
    let rows = unit_rows(2, 4, 1);
    for bad in [0.0, -1.0, 2.1, f32::NAN] {
        let error = spanning_forest(Kernel::best(), rows.rows(), bad).unwrap_err();
        assert!(matches!(error, Error::Setting { name: "maxDistance", .. }), "{bad}");
    }
    assert!(spanning_forest(Kernel::best(), rows.rows().prefix(0), 0.1).unwrap().is_empty());
}
