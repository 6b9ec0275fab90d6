use super::*;
use crate::rows::Matrix;
use crate::testing::{clustered_rows, on_threads, unit_rows};
use crate::{KMeans, KMeansOptions, assign};

fn options(max_distance: f32, max_replicas: usize) -> BorderOptions {
    BorderOptions { max_distance, max_replicas }
}

fn trained(rows: Rows<'_>, k: usize) -> Matrix {
    let mut kmeans = KMeans::new(rows, k, KMeansOptions::default()).unwrap();
    while !kmeans.step().unwrap().done {}
    kmeans.finish()
}

/// Close pairs with different primary cells: (all of them, those that meet in the primary cell of one row).
fn crossing(rows: Rows<'_>, borders: &Borders, max_distance: f32) -> (usize, usize) {
    let (mut all, mut met) = (0, 0);
    for a in 0..rows.len() {
        for b in 0..a {
            let (cell_a, cell_b) = (borders.primary[a], borders.primary[b]);
            let close = 1.0 - dot(rows.row(a), rows.row(b)) <= f64::from(max_distance);
            if close && cell_a != cell_b {
                all += 1;
                met += usize::from(borders.others[a].contains(&cell_b) || borders.others[b].contains(&cell_a));
            }
        }
    }
    (all, met)
}

#[test]
fn every_close_pair_meets_and_far_cells_get_no_copy() {
    for (dim, spread, max_distance) in [(3, 0.4, 0.1), (3, 0.4, 0.02), (8, 0.3, 0.1), (32, 0.3, 0.1), (64, 0.35, 0.15)]
    {
        let rows = clustered_rows(900, dim, 10, spread, dim as u64);
        let rows = rows.rows();
        let centroids = trained(rows, 14);
        let borders =
            assign_with_borders(Kernel::best(), rows, centroids.rows(), options(max_distance, usize::MAX)).unwrap();
        assert_eq!(borders.primary, assign(Kernel::best(), rows, centroids.rows()).unwrap());
        let (all, met) = crossing(rows, &borders, max_distance);
        assert!(all > 50, "dim {dim}: only {all} pairs cross a border, so the test shows nothing");
        assert_eq!(met, all, "dim {dim}, distance {max_distance}");
        assert_eq!(borders.capped_rows, 0);
        let copies: usize = borders.others.iter().map(Vec::len).sum();
        assert!(copies < 900 * 13 / 2, "dim {dim}: {copies} copies");
    }
}

#[test]
fn the_bound_is_tight() {
    // On the circle, with the border between two centroids in the middle: rows at the border plus or minus an angle.
    let at = |degrees: f64| [degrees.to_radians().cos() as f32, degrees.to_radians().sin() as f32];
    let centroids = Matrix::normalised(&[at(0.0), at(90.0)].concat(), 2).unwrap();
    let angles = [45.0 - 13.5, 45.0 - 12.5, 45.0 + 12.5, 45.0 + 13.5];
    let rows = Matrix::normalised(&angles.map(at).concat(), 2).unwrap();
    // cos theta = 0.9: theta is 25.84 degrees, its half 12.92, and 13.1 with the allowance for norms.
    let borders = assign_with_borders(Kernel::best(), rows.rows(), centroids.rows(), options(0.1, 9)).unwrap();
    assert_eq!(borders.primary, [0, 0, 1, 1]);
    assert_eq!(borders.others, [vec![], vec![1], vec![0], vec![]]);
}

#[test]
fn a_cap_keeps_the_nearest_borders_and_counts_what_it_cuts() {
    let rows = clustered_rows(900, 8, 10, 0.3, 8);
    let rows = rows.rows();
    let centroids = trained(rows, 14);
    let run = |cap| assign_with_borders(Kernel::best(), rows, centroids.rows(), options(0.1, cap)).unwrap();
    let full = run(usize::MAX);
    // The figures that the option's documentation gives.
    for (cap, expected) in [(0, 0), (1, 7288), (2, 7647), (13, 7647)] {
        let capped = run(cap);
        assert_eq!(capped.primary, full.primary);
        for (some, all) in capped.others.iter().zip(&full.others) {
            assert_eq!(some[..], all[..cap.min(all.len())]);
        }
        let cut = full.others.iter().filter(|all| all.len() > cap).count() as u64;
        assert_eq!(capped.capped_rows, cut);
        assert_eq!(crossing(rows, &capped, 0.1), (7647, expected), "cap {cap}");
    }
}

#[test]
fn same_bits_for_every_kernel_and_thread_count() {
    let rows = clustered_rows(300, 24, 6, 0.2, 2);
    let centroids = rows.rows().select(&[0, 1, 2, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]);
    let run = |kernel| assign_with_borders(kernel, rows.rows(), centroids.rows(), options(0.1, 3)).unwrap();
    let expected = run(Kernel::Reference);
    for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
        for threads in [1, 3] {
            assert_eq!(on_threads(threads, || run(kernel)), expected, "{kernel:?}, {threads} threads");
        }
    }
}

#[test]
fn bad_settings_are_named() {
    let (rows, other) = (unit_rows(2, 4, 1), unit_rows(2, 5, 1));
    let kernel = Kernel::best();
    for bad in [0.0, -0.1, 1.1, f32::NAN] {
        let error = assign_with_borders(kernel, rows.rows(), rows.rows(), options(bad, 1)).unwrap_err();
        assert!(matches!(error, Error::Setting { name: "maxDistance", .. }), "{bad}");
    }
    let none = assign_with_borders(kernel, rows.rows(), rows.rows().prefix(0), options(0.1, 1));
    assert!(matches!(none, Err(Error::Empty { .. })));
    let spaces = assign_with_borders(kernel, rows.rows(), other.rows(), options(0.1, 1));
    assert_eq!(spaces.unwrap_err(), Error::Dimensions { left: 4, right: 5 });
}
