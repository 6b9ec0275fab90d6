use super::*;
use crate::testing::{Random, clustered_rows, on_threads, unit_rows};

fn run(sample: Rows<'_>, k: usize, kernel: Kernel) -> (Vec<StepReport>, Matrix) {
    let mut kmeans = KMeans::new(sample, k, KMeansOptions { kernel, max_steps: 50 }).unwrap();
    let mut reports = Vec::new();
    loop {
        reports.push(kmeans.step().unwrap());
        if reports[reports.len() - 1].done {
            return (reports, kmeans.finish());
        }
    }
}

#[test]
fn same_bits_for_every_kernel_and_thread_count() {
    let sample = clustered_rows(700, 32, 12, 0.3, 1);
    let expected = run(sample.rows(), 15, Kernel::Reference);
    for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
        for threads in [1, 2, 5] {
            assert_eq!(
                on_threads(threads, || run(sample.rows(), 15, kernel)),
                expected,
                "{kernel:?}, {threads} threads"
            );
        }
    }
}

#[test]
fn a_step_agrees_with_plain_arithmetic() {
    let sample = unit_rows(60, 5, 2);
    let rows = sample.rows();
    let mut kmeans = KMeans::new(rows, 4, KMeansOptions::default()).unwrap();
    let before = rows.prefix(4);
    let report = kmeans.step().unwrap();
    let mut sums = [[0f64; 5]; 4];
    let mut objective = 0.0;
    for row in 0..60 {
        let dots: Vec<f64> = (0..4).map(|cell| dot(rows.row(row), before.row(cell))).collect();
        let best = (0..4).rev().max_by(|&a, &b| dots[a].total_cmp(&dots[b])).unwrap();
        objective += dots[best];
        for (sum, value) in sums[best].iter_mut().zip(rows.row(row)) {
            *sum += f64::from(value.to_f32());
        }
    }
    // Sixty exact values of at most 1 are added: no rounding in f64; the division rounds both once.
    assert_eq!(report.objective, objective / 60.0);
    assert_eq!((report.step, report.moved, report.reseeded), (1, 60, 0));
    for (cell, sum) in sums.iter().enumerate() {
        let norm = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        for (value, expected) in kmeans.centroids().row(cell).iter().zip(sum) {
            // Half a unit in the last place of an f16 below 1, and the slack of two f64 roundings.
            assert!((f64::from(value.to_f32()) - expected / norm).abs() <= 2f64.powi(-12) + 1e-12);
        }
    }
}

#[test]
fn the_objective_rises_and_planted_clusters_are_found() {
    let mut random = Random::new(3);
    let middles = unit_rows(4, 16, 4);
    let mut labels: Vec<u32> = (0..200).map(|row| row % 4).collect();
    random.shuffle(&mut labels);
    let values: Vec<f32> = labels
        .iter()
        .flat_map(|&label| middles.rows().row(label as usize).iter().map(|x| x.to_f32()).collect::<Vec<_>>())
        .map(|x| x + 0.02 * random.normal() as f32)
        .collect();
    let sample = Matrix::normalised(&values, 16).unwrap();
    let (reports, centroids) = run(sample.rows(), 12, Kernel::best());
    for pair in reports.windows(2).filter(|pair| pair[0].reseeded == 0) {
        // Each update is optimal up to the rounding of the centroid to f16, which moves a dot product by at most 2^-11.
        assert!(pair[1].objective >= pair[0].objective - 2f64.powi(-11), "{reports:?}");
    }
    // Twelve centroids, the four clusters all hit by the first twelve rows: no centroid mixes two labels.
    let cells = assign(Kernel::best(), sample.rows(), centroids.rows()).unwrap();
    for (row, cell) in cells.iter().enumerate() {
        let mixed = cells.iter().zip(&labels).any(|(other, label)| other == cell && *label != labels[row]);
        assert!(!mixed, "row {row}");
    }
}

#[test]
fn equal_rows_start_one_centroid_and_k_above_n_is_n() {
    let one = unit_rows(3, 8, 5);
    let sample = one.rows().select(&[0, 0, 1, 0, 2, 1, 1]);
    let (reports, centroids) = run(sample.rows(), 100, Kernel::best());
    assert_eq!(centroids.rows().len(), 3);
    let last = reports[reports.len() - 1];
    assert!(last.moved == 0 && last.step == 2, "{last:?}");
    // Both zeros are one value.
    let zeros = Matrix::new(vec![f16::ONE, f16::ZERO, f16::ONE, f16::NEG_ZERO], 2).unwrap();
    assert_eq!(KMeans::new(zeros.rows(), 2, KMeansOptions::default()).unwrap().centroids().len(), 1);
}

#[test]
fn empty_centroids_go_to_the_farthest_rows_that_are_not_alone() {
    let values = [[1.0f32, 0.0], [0.0, 1.0], [0.9, 0.1], [0.5, 0.5], [0.5, 0.5], [0.6, 0.4]].concat();
    let sample = Matrix::normalised(&values, 2).unwrap();
    let mut kmeans = KMeans::new(sample.rows(), 4, KMeansOptions::default()).unwrap();
    kmeans.assigned = vec![0, 1, 0, 0, 0, 0];
    let dots = [1.0, 0.1, 0.9, 0.5, 0.5, 0.6];
    let mut members = members(&kmeans.assigned, 4);
    assert_eq!(kmeans.reseed(&mut members, &dots), 2);
    // Row 1 is the farthest, but alone; row 4 equals row 3, so row 5 is next.
    assert_eq!(members, [vec![0, 2, 4], vec![1], vec![3], vec![5]]);
    assert_eq!(kmeans.assigned, [0, 1, 0, 2, 0, 3]);
    // No row left that could move: the centroid stays empty, and the pass ends.
    let mut alone = vec![vec![0], vec![1], vec![2], vec![], vec![3], vec![4], vec![5]];
    kmeans.assigned = vec![0, 1, 2, 4, 5, 6];
    assert_eq!(kmeans.reseed(&mut alone, &dots), 0);
}

#[test]
fn rows_that_cancel_out_leave_their_centroid_where_it_is() {
    let sample = Matrix::new(vec![f16::ONE, f16::NEG_ONE], 1).unwrap();
    let mut kmeans = KMeans::new(sample.rows(), 1, KMeansOptions::default()).unwrap();
    assert_eq!(kmeans.step().unwrap().objective, 0.0);
    assert_eq!(kmeans.finish().rows().row(0), [f16::ONE]);
}

#[test]
fn the_loop_is_bounded_and_repeats_its_last_report() {
    let sample = unit_rows(300, 8, 6);
    let mut kmeans = KMeans::new(sample.rows(), 20, KMeansOptions { max_steps: 2, ..Default::default() }).unwrap();
    assert!(!kmeans.step().unwrap().done);
    let last = kmeans.step().unwrap();
    assert!(last.done && last.moved > 0 && last.step == 2);
    let centroids = kmeans.centroids().data().to_vec();
    assert_eq!(kmeans.step().unwrap(), last);
    assert_eq!(kmeans.centroids().data(), centroids);
}

#[test]
fn bad_settings_are_named() {
    let sample = unit_rows(2, 4, 1);
    let options = KMeansOptions::default();
    assert!(matches!(KMeans::new(sample.rows().prefix(0), 1, options), Err(Error::Empty { .. })));
    assert!(matches!(KMeans::new(sample.rows(), 0, options), Err(Error::Setting { name: "k", .. })));
    let options = KMeansOptions { max_steps: 0, ..options };
    assert!(matches!(KMeans::new(sample.rows(), 1, options), Err(Error::Setting { name: "maxSteps", .. })));
}
