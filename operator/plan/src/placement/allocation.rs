//! What a pod asks the cluster for, to be given GPUs.

use std::fmt;

use realsyn_crds::{Gpu, Sharing};

/// An extended resource of NVIDIA's device plugin.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// `nvidia.com/gpu`: whole GPUs; slices of their time, or MIG instances, where the plugin was told so.
    Gpu,
    /// `nvidia.com/gpu.shared`: slices of a GPU's time under a name of their own.
    Shared,
    /// `nvidia.com/mig-<profile>`: MIG instances of a profile, written as the plugin does: `3g.40gb`, `1g.10gb.me`.
    Mig(String),
}

impl Resource {
    /// Reads a resource's name; `None` for those that are no GPUs.
    pub fn parse(name: &str) -> Option<Self> {
        match name.strip_prefix("nvidia.com/")? {
            "gpu" => Some(Self::Gpu),
            "gpu.shared" => Some(Self::Shared),
            other => other.strip_prefix("mig-").map(|profile| Self::Mig(profile.to_owned())),
        }
    }

    /// The resources that can give what is wanted, the most fitting first. Where no node is known, it is the first.
    pub(super) fn candidates(mig: Option<&str>, shared: bool) -> Vec<Self> {
        match mig {
            Some(profile) => vec![Self::Mig(profile.to_owned()), Self::Gpu],
            None if shared => vec![Self::Shared, Self::Gpu],
            None => vec![Self::Gpu],
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gpu => f.write_str("nvidia.com/gpu"),
            Self::Shared => f.write_str("nvidia.com/gpu.shared"),
            Self::Mig(profile) => write!(f, "nvidia.com/mig-{profile}"),
        }
    }
}

/// What a pod's container asks for, as request and limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// The resource.
    pub resource: Resource,
    /// How many.
    pub amount: u32,
}

impl Allocation {
    /// How the pods of a stage get their GPUs: an extended resource. Claims of dynamic resource allocation will stand beside
    /// it.
    pub(super) fn new(resource: Resource, count: u32) -> Self {
        Self { resource, amount: count }
    }

    /// What the settings alone ask for, where nothing is known of the cluster.
    pub fn of(gpu: &Gpu) -> Self {
        let mig = gpu.mig.as_deref().map(profile);
        let resource = Resource::candidates(mig.as_deref(), gpu.sharing == Sharing::Shared).swap_remove(0);
        Self::new(resource, gpu.count)
    }
}

/// A MIG profile as resources and labels spell it: `1g.10gb+me` is `1g.10gb.me`.
pub(super) fn profile(text: &str) -> String {
    text.to_ascii_lowercase().replace('+', ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in ["nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-3g.40gb", "nvidia.com/mig-1g.10gb.me"] {
            assert_eq!(Resource::parse(name).unwrap().to_string(), name);
        }
        for other in ["cpu", "amd.com/gpu", "nvidia.com/gpumem", "nvidia.com/"] {
            assert_eq!(Resource::parse(other), None, "{other}");
        }
        assert_eq!(profile("1g.10gb+ME"), "1g.10gb.me");
    }
}
