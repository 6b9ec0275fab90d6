//! What the pods of a stage need.

use std::fmt;

use realsyn_crds::{BuildSpec, Engine, Gpu, Quantity, Sharing, Stage, device, execution};

use super::allocation::profile;
use super::{Capability, Product, Toleration};
use crate::memory;

/// What the kernels that compare vectors run on: Ampere and later.
pub const VECTORS: Capability = (8, 0);

/// What each pod of a stage needs, and how many there are to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Products that will do; any if empty.
    pub products: Vec<Product>,
    /// The lowest compute capability that will do, for those whose capability is known.
    pub compute: Option<Capability>,
    /// Bytes that each GPU must have.
    pub memory: u64,
    /// GPUs of a pod.
    pub count: u32,
    /// Whether NVLink must join them.
    pub nvlink: bool,
    /// A MIG profile, in place of whole GPUs.
    pub mig: Option<String>,
    /// Whether a slice of a GPU's time will do.
    pub shared: bool,
    /// Whether to wait for an autoscaler where nothing fits.
    pub allow_scale_up: bool,
    /// Tasks to do.
    pub tasks: u32,
    /// Most pods at once; as many as tasks without it.
    pub parallelism: Option<u32>,
    /// Taints that the pods tolerate.
    pub tolerations: Vec<Toleration>,
}

impl Demand {
    /// What `gpu` asks for, of one task. `model` is the memory that the stage's model needs, for settings that say nothing.
    pub fn new(gpu: &Gpu, model: Option<u64>) -> Self {
        let given = gpu.min_memory.as_ref().and_then(Quantity::value).map(|bytes| bytes as u64);
        Self {
            products: gpu.products.iter().map(|p| product(p)).collect(),
            compute: None,
            memory: given.or(model).unwrap_or(0),
            count: gpu.count.max(1),
            nvlink: gpu.nvlink && gpu.count > 1,
            mig: gpu.mig.as_deref().map(profile),
            shared: gpu.sharing == Sharing::Shared,
            allow_scale_up: gpu.allow_scale_up,
            tasks: 1,
            parallelism: None,
            tolerations: Vec::new(),
        }
    }

    /// What a stage of a build needs for so many tasks; `None` if it computes on no GPU.
    pub fn of_stage(spec: &BuildSpec, stage: Stage, tasks: u32) -> Option<Self> {
        let device = device(spec, stage).filter(|d| d.engine == Engine::Cuda || d.gpu.is_some())?;
        let gpu = device.gpu.clone().unwrap_or_default();
        let model = memory::of_stage(spec, stage).map(|(model, dtype)| memory::least(model, dtype, gpu.count.max(1)));
        let compute = (device.engine == Engine::Cuda && stage.compares_vectors()).then_some(VECTORS);
        let parallelism = execution(spec, stage).parallelism;
        Some(Self { tasks, parallelism, compute, ..Self::new(&gpu, model) })
    }

    /// Whether a GPU of so many bytes has enough. A twentieth less will do: 80 GB are written for what drivers call 79.3 GiB.
    pub(super) fn enough(&self, bytes: u64) -> bool {
        u128::from(bytes) * 20 >= u128::from(self.memory) * 19
    }
}

/// What a person means; of what names no family no GPU is one.
fn product(name: &str) -> Product {
    let nothing = || Product { family: name.trim().to_ascii_uppercase(), form_factor: None, memory_gb: None };
    Product::parse(name).unwrap_or_else(nothing)
}

/// In one line: `4 joined A100-80GB or H100 with 70 GiB`.
impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let products: Vec<String> = self.products.iter().map(Product::to_string).collect();
        let products = if products.is_empty() { "GPU".to_owned() } else { products.join(" or ") };
        write!(f, "{}{} {products}", self.count, if self.nvlink { " joined" } else { "" })?;
        if let Some(profile) = &self.mig {
            write!(f, " MIG {profile}")?;
        }
        if self.shared {
            f.write_str(", shared")?;
        }
        if let Some((major, minor)) = self.compute {
            write!(f, " of compute capability {major}.{minor}")?;
        }
        if self.memory > 0 {
            write!(f, " with {} GiB", super::why::gib(self.memory))?;
        }
        Ok(())
    }
}
