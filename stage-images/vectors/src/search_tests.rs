use half::f16;

use super::*;
use crate::rows::Matrix;
use crate::testing::{clustered_rows, on_threads, unit_rows};

fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.is_available())
}

/// Every row ranked by the exact dot product.
fn ranked(queries: Rows<'_>, rows: Rows<'_>, k: usize) -> Vec<Vec<Hit>> {
    let of = |query: usize| {
        let mut all: Vec<(f64, u32)> =
            (0..rows.len()).map(|row| (crate::dot(queries.row(query), rows.row(row)), row as u32)).collect();
        all.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap().then(a.1.cmp(&b.1)));
        all.into_iter().take(k).map(|(dot, row)| Hit { row, cosine: dot as f32 }).collect()
    };
    (0..queries.len()).map(of).collect()
}

fn cases() -> Vec<(Matrix, Matrix)> {
    let copies = unit_rows(1, 24, 9).rows().select(&[0; 700]);
    vec![
        (unit_rows(1, 1, 1), unit_rows(1, 1, 2)),
        (unit_rows(30, 7, 1), unit_rows(50, 7, 2)),
        (unit_rows(13, 64, 3), unit_rows(333, 64, 4)),
        // Rows that differ by less than the screening can see, and exact copies.
        (clustered_rows(100, 384, 3, 1e-4, 5), clustered_rows(400, 384, 3, 1e-4, 5)),
        (clustered_rows(100, 40, 5, 0.1, 6), clustered_rows(500, 40, 5, 0.1, 6)),
        (unit_rows(20, 24, 8), copies),
        // More rows than are packed at a time.
        (clustered_rows(9, 8, 4, 0.2, 10), clustered_rows(PACKED_ROWS + 100, 8, 4, 0.2, 10)),
    ]
}

#[test]
fn every_kernel_returns_the_bits_of_the_reference_ranking() {
    for (case, (queries, rows)) in cases().iter().enumerate() {
        let (queries, rows) = (queries.rows(), rows.rows());
        for k in [1, 3, 10, 120, 10_000] {
            let expected = ranked(queries, rows, k);
            for kernel in kernels() {
                for threads in [1, 3] {
                    let (found, near) = on_threads(threads, || {
                        (top_k(kernel, queries, rows, k).unwrap(), nearest(kernel, queries, rows, k).unwrap())
                    });
                    assert_eq!(found, expected, "case {case}, k {k}, {kernel:?}, {threads} threads");
                    assert_eq!(near.per_query(), k.min(rows.len()));
                    assert_eq!(near.hits(), expected.concat());
                    assert_eq!(near.of(queries.len() - 1), expected[queries.len() - 1]);
                }
            }
        }
        let first: Vec<u32> = ranked(queries, rows, 1).iter().map(|hits| hits[0].row).collect();
        for kernel in kernels() {
            assert_eq!(assign(kernel, queries, rows).unwrap(), first, "case {case}, {kernel:?}");
        }
    }
}

#[test]
fn nothing_to_search_is_an_answer_but_no_centroid_is_an_error() {
    let some = unit_rows(3, 4, 1);
    let none = some.rows().prefix(0);
    let kernel = Kernel::best();
    assert_eq!(top_k(kernel, some.rows(), none, 5).unwrap(), vec![Vec::new(); 3]);
    assert!(top_k(kernel, none, some.rows(), 5).unwrap().is_empty());
    assert_eq!(top_k(kernel, some.rows(), some.rows(), 0).unwrap(), vec![Vec::new(); 3]);
    assert!(matches!(nearest(kernel, some.rows(), none, 1), Err(Error::Empty { what: "centroids", .. })));
    assert!(matches!(assign(kernel, some.rows(), none), Err(Error::Empty { what: "centroids", .. })));
}

#[test]
fn different_spaces_are_refused() {
    let (left, right) = (unit_rows(2, 4, 1), unit_rows(2, 5, 1));
    let expected = Error::Dimensions { left: 4, right: 5 };
    let kernel = Kernel::best();
    assert_eq!(top_k(kernel, left.rows(), right.rows(), 1).unwrap_err(), expected);
    assert_eq!(nearest(kernel, left.rows(), right.rows(), 1).unwrap_err(), expected);
    assert_eq!(assign(kernel, left.rows(), right.rows()).unwrap_err(), expected);
}

#[test]
fn ties_beyond_the_screening_go_to_the_exact_order() {
    // The second column decides, by one unit in the last place of a subnormal value: invisible to a sum in f32.
    let query = [f16::ONE, f16::from_bits(1)];
    let rows: Vec<f16> = [3u16, 7, 7, 5].iter().flat_map(|&bits| [f16::ONE, f16::from_bits(bits)]).collect();
    let (queries, rows) = (Rows::new(&query, 2).unwrap(), Rows::new(&rows, 2).unwrap());
    for kernel in kernels() {
        let hits = top_k(kernel, queries, rows, 4).unwrap();
        assert_eq!(hits[0].iter().map(|hit| hit.row).collect::<Vec<_>>(), [1, 2, 3, 0], "{kernel:?}");
    }
}
