//! The kernels for GPUs give the bits of the reference.
//!
//! By default they run on the processor, behind a stand-in for the driver; each test is a process of its own, because a
//! process opens its devices once. With `REALSYN_TEST_GPU=1` they run on the machine's own GPUs instead, on larger inputs,
//! without what only the stand-in can do.

use std::process::Command;

use half::f16;
use rayon::prelude::*;
use realsyn_cuda::Script;
use realsyn_vectors::{
    BorderOptions, Error, Fault, KMeans, KMeansOptions, Kernel, Matrix, Rows, assign, assign_with_borders, gpus,
    nearest, spanning_forest, top_k,
};

const INSIDE: &str = "REALSYN_INSIDE";

fn real() -> bool {
    std::env::var_os("REALSYN_TEST_GPU").is_some()
}

/// Runs `test` in a process that sees the scripted devices: this program again, for this one test.
fn with(script: &Script, name: &str, test: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([name, "--exact", "--nocapture"]).env(INSIDE, "1");
    if !real() {
        child.envs(script.variables());
    }
    let ended = child.output().unwrap();
    let said = [ended.stdout, ended.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(ended.status.success(), "{script:?}: {}{}", said[0], said[1]);
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn real(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// `[n, dim]` around `centres` directions, every eighth row a copy of an earlier one: near ties, and real ones.
fn rows(n: usize, dim: usize, centres: usize, spread: f32, seed: u64) -> Matrix {
    let mut random = Random(seed);
    let middle: Vec<f32> = (0..centres * dim).map(|_| random.real()).collect();
    let mut values: Vec<f32> = Vec::with_capacity(n * dim);
    for row in 0..n {
        if row > 0 && random.next().is_multiple_of(8) {
            let from = (random.next() as usize % row) * dim;
            values.extend_from_within(from..from + dim);
        } else {
            let from = (random.next() as usize % centres) * dim;
            let near: Vec<f32> = (0..dim).map(|k| middle[from + k] + spread * random.real()).collect();
            values.extend(near);
        }
    }
    Matrix::normalised(&values, dim).unwrap()
}

/// Everything that this crate does, by one kernel: a line each.
fn everything(kernel: Kernel, queries: Rows<'_>, data: Rows<'_>) -> Vec<String> {
    let cells = data.prefix(data.len().div_ceil(9));
    let mut said = Vec::new();
    for k in [1, 3, 10, 46, 60] {
        said.push(format!("top {k}: {:?}", top_k(kernel, queries, data, k).unwrap()));
    }
    said.push(format!("nearest: {:?}", nearest(kernel, queries, cells, 5).unwrap()));
    said.push(format!("assigned: {:?}", assign(kernel, data, cells).unwrap()));
    for max_replicas in [0, 2, usize::MAX] {
        let options = BorderOptions { max_distance: 0.1, max_replicas };
        said.push(format!("borders {max_replicas}: {:?}", assign_with_borders(kernel, data, cells, options).unwrap()));
    }
    for max_distance in [0.001, 0.1, 1.0] {
        said.push(format!("forest {max_distance}: {:?}", spanning_forest(kernel, data, max_distance).unwrap()));
    }
    let mut kmeans = KMeans::new(data, 7, KMeansOptions { kernel, max_steps: 4 }).unwrap();
    while !kmeans.step().unwrap().done {}
    said.push(format!("k-means: {:?}", kmeans.finish().rows().data()));
    said
}

fn same_as_the_reference(queries: Rows<'_>, data: Rows<'_>) {
    let found = everything(Kernel::Cuda, queries, data);
    for (found, expected) in found.iter().zip(everything(Kernel::Reference, queries, data)) {
        let at = found.bytes().zip(expected.bytes()).position(|(a, b)| a != b).unwrap_or(0);
        let near = at.saturating_sub(200)..at + 100;
        let part = |text: &str| text.get(near.start..near.end.min(text.len())).unwrap_or_default().to_owned();
        assert!(
            *found == expected,
            "{} rows of {}, {:.9} at {at}:\n{}\n{}",
            data.len(),
            data.dim(),
            found,
            part(found),
            part(&expected)
        );
    }
}

#[test]
fn every_search_has_the_bits_of_the_reference() {
    with(&Script::default(), "every_search_has_the_bits_of_the_reference", || {
        // Around the sizes of tiles and of staged columns.
        for (queries, n, dim) in [(1, 1, 1), (3, 40, 5), (130, 127, 31), (127, 300, 32), (128, 128, 33), (20, 270, 384)]
        {
            let (scale, seed) = (if real() { 20 } else { 1 }, 7 + dim as u64);
            let data = rows(n * scale, dim, 5, 0.3, seed);
            same_as_the_reference(rows(queries * scale, dim, 5, 0.3, seed).rows(), data.rows());
        }
    });
}

#[test]
fn any_number_of_devices_and_any_memory_will_do() {
    // A few tiles at a time, and room for too few pairs for all queries at once.
    let script = Script { devices: 3, memory: 800_000, ..Script::default() };
    with(&script, "any_number_of_devices_and_any_memory_will_do", || {
        let data = rows(600, 40, 6, 0.2, 1);
        same_as_the_reference(data.rows().prefix(300), data.rows());
    });
}

/// Between two barriers, a block's threads may run in any order: where a barrier is missing, some order shows it.
#[test]
fn the_order_of_threads_does_not_matter() {
    for order in if real() { 0..1 } else { 1..4 } {
        with(&Script { order, ..Script::default() }, "the_order_of_threads_does_not_matter", || {
            let data = rows(300, 70, 4, 0.2, 2);
            same_as_the_reference(data.rows().prefix(140), data.rows());
        });
    }
}

/// Searches that wait for each other in all threads of the pool must not wait for that pool.
#[test]
fn every_thread_of_a_pool_may_search() {
    with(&Script::default(), "every_thread_of_a_pool_may_search", || {
        let data = rows(300, 40, 4, 0.2, 2);
        let assigned = assign(Kernel::Reference, data.rows(), data.rows().prefix(40)).unwrap();
        let forest = spanning_forest(Kernel::Reference, data.rows(), 0.1).unwrap();
        // More than the pool has threads.
        (0..4 * rayon::current_num_threads()).into_par_iter().for_each(|_| {
            assert_eq!(assign(Kernel::Cuda, data.rows(), data.rows().prefix(40)).unwrap(), assigned);
            assert_eq!(spanning_forest(Kernel::Cuda, data.rows(), 0.1).unwrap(), forest);
        });
    });
}

/// All rows equal, and rows that differ by less than a tensor core can see: more candidates than any list holds.
#[test]
fn ties_beyond_a_list_are_the_processors_work() {
    with(&Script::default(), "ties_beyond_a_list_are_the_processors_work", || {
        let one = rows(1, 64, 1, 0.5, 3);
        let copies = one.rows().select(&[0; 400]);
        same_as_the_reference(copies.rows().prefix(5), copies.rows());
        let close = rows(400, 64, 1, 1e-4, 4);
        same_as_the_reference(close.rows().prefix(130), close.rows());
        // The second column decides, by the last place of a subnormal value.
        let fine: Vec<f16> = (0..200u16).flat_map(|at| [f16::ONE, f16::from_bits(at * 7 % 200)]).collect();
        let fine = Rows::new(&fine, 2).unwrap();
        same_as_the_reference(fine.prefix(9), fine);
    });
}

fn failing(function: &'static str, call: u32, code: u32, name: &str, test: fn()) {
    if !real() {
        with(&Script { failure: Some((function, call, code)), ..Script::default() }, name, test);
    }
}

/// An uncorrectable memory error at the second launch.
#[test]
fn a_lost_device_is_named() {
    failing("cuLaunchKernel", 2, 214, "a_lost_device_is_named", || {
        let data = rows(40, 8, 2, 0.3, 5);
        assert!(assign(Kernel::Cuda, data.rows(), data.rows()).is_ok());
        let device = "GPU-abababab-abab-abab-abab-ababababab00".to_owned();
        let lost = Error::Device { device, fault: Fault::Lost, what: "CUDA_ERROR_ECC_UNCORRECTABLE".into() };
        for _ in 0..2 {
            assert_eq!(assign(Kernel::Cuda, data.rows(), data.rows()).unwrap_err(), lost);
        }
        assert_eq!(spanning_forest(Kernel::Cuda, data.rows(), 0.1).unwrap_err(), lost);
        let options = BorderOptions { max_distance: 0.1, max_replicas: 2 };
        assert_eq!(assign_with_borders(Kernel::Cuda, data.rows(), data.rows(), options).unwrap_err(), lost);
        let mut kmeans = KMeans::new(data.rows(), 3, KMeansOptions { kernel: Kernel::Cuda, max_steps: 3 }).unwrap();
        assert_eq!(kmeans.step().unwrap_err(), lost);
    });
}

/// An illegal address at the second launch: the driver refuses everything that comes after it, in this process.
#[test]
fn a_kernels_fault_breaks_its_context_and_not_the_device() {
    failing("cuLaunchKernel", 2, 700, "a_kernels_fault_breaks_its_context_and_not_the_device", || {
        let data = rows(40, 8, 2, 0.3, 5);
        assert!(assign(Kernel::Cuda, data.rows(), data.rows()).is_ok());
        for _ in 0..2 {
            let error = assign(Kernel::Cuda, data.rows(), data.rows()).unwrap_err();
            assert!(
                matches!(&error, Error::Device { fault: Fault::Context, what, .. } if what == "CUDA_ERROR_ILLEGAL_ADDRESS"),
                "{error}"
            );
        }
    });
}

#[test]
fn memory_that_runs_out_is_no_lost_device() {
    failing("cuMemAlloc", 3, 2, "memory_that_runs_out_is_no_lost_device", || {
        let data = rows(40, 8, 2, 0.3, 5);
        let error = assign(Kernel::Cuda, data.rows(), data.rows()).unwrap_err();
        assert!(
            matches!(&error, Error::Device { fault: Fault::Passing, what, .. } if what == "CUDA_ERROR_OUT_OF_MEMORY")
        );
        assert!(assign(Kernel::Cuda, data.rows(), data.rows()).is_ok(), "the next search starts anew");
    });
}

#[test]
fn a_device_that_others_fill_says_so() {
    if !real() {
        with(&Script { memory: 20_000, ..Script::default() }, "a_device_that_others_fill_says_so", || {
            let data = rows(40, 8, 2, 0.3, 5);
            let error = assign(Kernel::Cuda, data.rows(), data.rows()).unwrap_err().to_string();
            assert!(error.contains("20000 bytes of memory are free, and not a tile of rows fits"), "{error}");
        });
    }
}

#[test]
fn devices_are_listed() {
    with(&Script { devices: 2, ..Script::default() }, "devices_are_listed", || {
        let listed = gpus().unwrap();
        assert!(Kernel::Cuda.is_available() && Kernel::best() != Kernel::Cuda);
        assert!(listed.iter().all(|gpu| gpu.uuid.starts_with("GPU-") && gpu.memory > 0), "{listed:?}");
        assert!(real() || listed.len() == 2);
    });
}

#[test]
fn a_device_that_is_too_old_says_so() {
    if !real() {
        with(&Script { capability: 7, ..Script::default() }, "a_device_that_is_too_old_says_so", || {
            let said = gpus().unwrap_err().to_string();
            assert_eq!(said, "Stand-in has compute capability 7.0, and 8.0 or later is needed");
        });
    }
}

#[test]
fn without_a_device_it_says_so() {
    if !real() {
        with(&Script { devices: 0, ..Script::default() }, "without_a_device_it_says_so", || {
            let data = rows(2, 2, 1, 1.0, 1);
            let error = assign(Kernel::Cuda, data.rows(), data.rows()).unwrap_err();
            assert!(matches!(&error, Error::NoDevice { why } if why.contains("CUDA_ERROR_NO_DEVICE")), "{error}");
            assert!(!Kernel::Cuda.is_available());
        });
    }
}
