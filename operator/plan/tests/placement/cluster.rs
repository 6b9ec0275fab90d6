//! Nodes by hand.

use realsyn_crds::{GpuDevice, GpuNode, GpuNodeSpec, GpuNodeStatus, Metadata, Quarantine};
use realsyn_plan::placement::{Demand, Inventory, NodeFacts, NodeGpus, Placement};

/// A node that is ready and offers nothing.
pub fn cpu(name: &str) -> NodeFacts {
    NodeFacts { name: name.into(), ready: true, ..NodeFacts::default() }
}

/// A node that offers so many GPUs, with labels below `nvidia.com/`.
pub fn offering(name: &str, offered: &[(&str, u32)], labels: &[(&str, &str)]) -> NodeFacts {
    let mut node = cpu(name);
    node.allocatable = offered.iter().map(|(r, n)| (format!("nvidia.com/{r}"), n.to_string())).collect();
    node.labels = labels.iter().map(|(l, v)| (format!("nvidia.com/{l}"), (*v).to_owned())).collect();
    node
}

/// What an agent sees on a node of equal devices that NVLink joins in islands of these sizes.
pub fn agent(name: &str, product: &str, mib: u64, islands: &[usize]) -> GpuNode {
    let mut devices: Vec<GpuDevice> = Vec::new();
    for size in islands {
        let of = devices.len()..devices.len() + size;
        let pci = |i: usize| format!("0000:{i:02x}:00.0");
        devices.extend(of.clone().map(|i| GpuDevice {
            uuid: format!("GPU-{i}"),
            pci: pci(i),
            product: product.into(),
            memory: mib << 20,
            nvlink: of.clone().filter(|j| *j != i).map(pci).collect(),
            healthy: true,
            ..GpuDevice::default()
        }));
    }
    GpuNode {
        metadata: Metadata { name: name.into(), ..Metadata::default() },
        spec: GpuNodeSpec::default(),
        status: GpuNodeStatus { devices, ..GpuNodeStatus::default() },
    }
}

pub fn quarantined(mut node: GpuNode) -> GpuNode {
    let since = Some("2025-11-22T10:12:33Z".into());
    node.spec.quarantine.push(Quarantine { reason: "Xid79".into(), since, ..Quarantine::default() });
    node
}

/// A node whose device plugin offers what its agent sees.
pub fn seen(node: &GpuNode) -> NodeGpus {
    let facts = offering(&node.metadata.name, &[("gpu", node.status.devices.len() as u32)], &[]);
    NodeGpus::of(&facts, Some(node))
}

pub fn place(nodes: impl IntoIterator<Item = NodeGpus>, demand: &Demand) -> Placement {
    nodes.into_iter().collect::<Inventory>().place(demand)
}
