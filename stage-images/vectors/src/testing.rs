//! Seeded data for the tests.

use half::f16;

use crate::rows::{Matrix, to_f16};

/// SplitMix64: enough for test data, and the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// About normal, mean 0: a sum of twelve uniform values.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| (self.next() >> 11) as f64 / (1u64 << 53) as f64).sum::<f64>() - 6.0
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

fn unit(values: &[f64]) -> Vec<f16> {
    let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
    values.iter().map(|x| to_f16(x / norm)).collect()
}

/// Random directions, `[n, dim]`.
pub(crate) fn unit_rows(n: usize, dim: usize, seed: u64) -> Matrix {
    let mut random = Random::new(seed);
    let data = (0..n).flat_map(|_| unit(&(0..dim).map(|_| random.normal()).collect::<Vec<_>>())).collect();
    Matrix::new(data, dim).unwrap()
}

/// Directions around `centres` random ones, some of them exact copies of an earlier row: near ties and real ties.
pub(crate) fn clustered_rows(n: usize, dim: usize, centres: usize, spread: f64, seed: u64) -> Matrix {
    let mut random = Random::new(seed);
    let middle: Vec<Vec<f64>> = (0..centres).map(|_| (0..dim).map(|_| random.normal()).collect()).collect();
    let mut data: Vec<f16> = Vec::with_capacity(n * dim);
    for row in 0..n {
        if row > 0 && random.below(8) == 0 {
            let from = random.below(row) * dim;
            data.extend_from_within(from..from + dim);
            continue;
        }
        let centre = &middle[random.below(centres)];
        data.extend(unit(&centre.iter().map(|x| x + spread * random.normal()).collect::<Vec<_>>()));
    }
    Matrix::new(data, dim).unwrap()
}

/// Runs `work` on a pool of `threads`.
pub(crate) fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

/// What the processor can run.
pub(crate) fn processor_kernels() -> impl Iterator<Item = crate::Kernel> {
    crate::Kernel::ALL.into_iter().filter(|kernel| *kernel != crate::Kernel::Cuda && kernel.is_available())
}
