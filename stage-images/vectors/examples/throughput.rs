//! Operations per second of each kernel that this machine can run, by the count of the exhaustive algorithm, and how many times the
//! kernel before it: `throughput [ROWS] [DIM]`.

use std::collections::HashMap;
use std::time::Instant;

use realsyn_vectors::{BorderOptions, Kernel, Matrix, assign, assign_with_borders, flops, spanning_forest, top_k};

fn rows(n: usize, dim: usize, mut state: u64) -> Result<Matrix, realsyn_vectors::Error> {
    let uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let values: Vec<f32> = std::iter::repeat_with(uniform).take(n * dim).collect();
    Matrix::normalised(&values, dim)
}

/// Seconds of each search on the last kernel before.
type Before = HashMap<&'static str, f64>;

fn timed<T>(kernel: Kernel, before: &mut Before, what: &'static str, operations: u64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    let seconds = start.elapsed().as_secs_f64();
    let times = before.insert(what, seconds).map(|was| format!(", {:.1} times the one above", was / seconds));
    let rate = operations as f64 / seconds / 1e9;
    println!("{kernel:?} {what}: {seconds:.3} s, {rate:.1} GFLOP/s{}", times.unwrap_or_default());
    result
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let n = arguments.next().transpose()?.unwrap_or(20_000);
    let dim = arguments.next().transpose()?.unwrap_or(384);
    let cells = (n as f64).sqrt() as usize;
    let (data, queries) = (rows(n, dim, 1)?, rows(n / 10, dim, 2)?);
    let (data, queries) = (data.rows(), queries.rows());
    let (count, width) = (n as u64, dim as u64);
    let mut before = Before::new();
    for kernel in Kernel::ALL.into_iter().skip(1).filter(|kernel| kernel.is_available()) {
        let search = flops::search(count / 10, count, width);
        timed(kernel, &mut before, "top_k 10", search, || top_k(kernel, queries, data, 10))?;
        let assignment = flops::search(count, cells as u64, width);
        timed(kernel, &mut before, "assign", assignment, || assign(kernel, data, data.prefix(cells)))?;
        let options = BorderOptions { max_distance: 0.1, max_replicas: 4 };
        let borders = flops::assign_with_borders(count, cells as u64, width);
        timed(kernel, &mut before, "assign_with_borders", borders, || {
            assign_with_borders(kernel, data, data.prefix(cells), options)
        })?;
        let forest = flops::spanning_forest(count, width);
        timed(kernel, &mut before, "spanning_forest", forest, || spanning_forest(kernel, data, 0.1))?;
    }
    Ok(())
}
