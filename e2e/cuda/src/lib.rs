//! A stand-in for `libcuda.so.1`: the CUDA kernels' own source, compiled for the processor, behind the driver's functions.
//!
//! A process that finds it through `LD_LIBRARY_PATH` has GPUs that compute what the kernels say, a hundred thousand times slower
//! than real ones. It shows wrong results, missing barriers (the threads of a block run in an order that can be chosen) and wrong
//! sizes (memory that is not allocated is not there). It does not show what is slow, nor races between warps without a barrier.

use std::path::Path;

/// The folder that holds the library: for `LD_LIBRARY_PATH`.
pub fn folder() -> &'static Path {
    Path::new(env!("OUT_DIR"))
}

/// What [`Script::variables`] sets.
#[derive(Clone, Debug)]
pub struct Script {
    /// Devices that are there.
    pub devices: u32,
    /// Bytes of memory of each.
    pub memory: u64,
    /// Major number of their compute capability; the minor one is 0.
    pub capability: u32,
    /// The function that fails, at which of its calls, counted from 1, and with which `CUresult`. From then on the device
    /// is lost: everything on it fails with the same.
    pub failure: Option<(&'static str, u32, u32)>,
    /// The order of a block's threads between barriers: 0 forward, 1 backward, others a shuffle of their own.
    pub order: u32,
}

impl Default for Script {
    /// One device of a gigabyte, as new as an A100, that never fails.
    fn default() -> Self {
        Self { devices: 1, memory: 1 << 30, capability: 8, failure: None, order: 0 }
    }
}

impl Script {
    /// The environment of a process that is to see this.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let failure = self.failure.map_or_else(String::new, |(name, call, code)| format!("{name} {call} {code}"));
        vec![
            ("LD_LIBRARY_PATH", folder().display().to_string()),
            ("REALSYN_CUDA_DEVICES", self.devices.to_string()),
            ("REALSYN_CUDA_MEMORY", self.memory.to_string()),
            ("REALSYN_CUDA_CAPABILITY", self.capability.to_string()),
            ("REALSYN_CUDA_FAILURE", failure),
            ("REALSYN_CUDA_ORDER", self.order.to_string()),
        ]
    }
}
