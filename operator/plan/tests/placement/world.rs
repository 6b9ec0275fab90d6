//! Small random clusters: the objects that the planner reads, and beside them the plain truth that they describe.

use std::collections::BTreeMap;

use realsyn_crds::{GpuDevice, GpuNode, GpuNodeSpec, GpuNodeStatus, Metadata, MigInstance, Quarantine};
use realsyn_plan::placement::{Capability, NodeFacts, Taint};

use crate::support::Rng;

/// What exists: the driver's name, the label's value, what the agent writes, MiB, compute capability.
pub const PRODUCTS: [(&str, &str, &str, u64, Capability); 6] = [
    ("NVIDIA A100-SXM4-80GB", "NVIDIA-A100-SXM4-80GB", "A100-SXM4-80GB", 81_920, (8, 0)),
    ("NVIDIA A100-SXM4-40GB", "NVIDIA-A100-SXM4-40GB", "A100-SXM4-40GB", 40_536, (8, 0)),
    ("NVIDIA A100 80GB PCIe", "NVIDIA-A100-80GB-PCIe", "A100-PCIE-80GB", 81_920, (8, 0)),
    ("NVIDIA H100 80GB HBM3", "NVIDIA-H100-80GB-HBM3", "H100-SXM5-80GB", 81_559, (9, 0)),
    ("NVIDIA L4", "NVIDIA-L4", "L4-24GB", 23_034, (8, 9)),
    ("Tesla T4", "Tesla-T4", "T4-16GB", 15_360, (7, 5)),
];

/// Profiles and MiB of an instance.
pub const PROFILES: [(&str, u64); 2] = [("3g.40gb", 40_192), ("1g.10gb", 9_728)];

/// What a resource hands out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub resource: String,
    pub cut: Cut,
    pub product: Option<usize>,
    pub mib: Option<u64>,
    pub healthy: bool,
    pub free: Option<bool>,
    /// Items that NVLink joins it to; none where nobody knows.
    pub peers: Option<Vec<usize>>,
    pub numa: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Whole,
    Slice,
    /// An index into [`PROFILES`].
    Mig(usize),
}

/// A node: what is seen of it, and what it is.
#[derive(Clone, Debug)]
pub struct Node {
    pub facts: NodeFacts,
    pub gpu_node: Option<GpuNode>,
    pub items: Vec<Item>,
    pub offered: BTreeMap<String, u32>,
    pub quarantined: bool,
}

impl Node {
    pub fn tainted(&self) -> bool {
        !self.facts.taints.is_empty()
    }

    pub fn scheduler_may(&self) -> bool {
        self.facts.ready && !self.facts.unschedulable && !self.tainted()
    }
}

pub fn world(rng: &mut Rng) -> Vec<Node> {
    (0..rng.below(8)).map(|i| node(rng, i)).collect()
}

pub fn node(rng: &mut Rng, i: usize) -> Node {
    let facts = NodeFacts {
        name: format!("gpu-{i}"),
        ready: !rng.chance(50),
        unschedulable: rng.chance(50),
        taints: if rng.chance(50) { vec![taint()] } else { Vec::new() },
        ..NodeFacts::default()
    };
    let mut node = Node { facts, gpu_node: None, items: Vec::new(), offered: BTreeMap::new(), quarantined: false };
    match rng.below(10) {
        0 => {}
        1..5 => whole(rng, &mut node, 1, "nvidia.com/gpu"),
        5 => whole(rng, &mut node, 2, "nvidia.com/gpu"),
        6 => whole(rng, &mut node, 3, "nvidia.com/gpu.shared"),
        7 => cut(rng, &mut node, false),
        8 => cut(rng, &mut node, true),
        _ => undescribed(rng, &mut node),
    }
    for (resource, n) in &node.offered {
        node.facts.allocatable.insert(resource.clone(), n.to_string());
    }
    node.facts.allocatable.insert("cpu".into(), "64".into());
    if let Some(gpu_node) = &mut node.gpu_node
        && rng.chance(100)
    {
        node.quarantined = true;
        let since = Some("2025-11-22T10:12:33Z".into());
        gpu_node.spec.quarantine = vec![Quarantine { reason: "Xid79".into(), since, ..Quarantine::default() }];
    }
    node
}

pub fn taint() -> Taint {
    Taint { key: "dedicated".into(), value: "search".into(), effect: "NoSchedule".into() }
}

fn compute(product: usize) -> String {
    let (major, minor) = PRODUCTS[product].4;
    format!("{major}.{minor}")
}

fn pci(i: usize) -> String {
    format!("0000:{i:02x}:00.0")
}

/// Devices of mostly one product, in islands that are chains.
fn devices(rng: &mut Rng) -> (Vec<usize>, Vec<GpuDevice>) {
    let n = 1 + rng.below(6);
    let most = rng.below(PRODUCTS.len());
    let products: Vec<usize> = (0..n).map(|_| if rng.chance(60) { rng.below(PRODUCTS.len()) } else { most }).collect();
    let mut devices: Vec<GpuDevice> = products
        .iter()
        .enumerate()
        .map(|(i, p)| GpuDevice {
            uuid: format!("GPU-{i}"),
            pci: pci(i),
            product: PRODUCTS[*p].2.into(),
            memory: PRODUCTS[*p].3 << 20,
            compute: compute(*p),
            healthy: !rng.chance(80),
            allocated: rng.chance(300),
            numa: (!rng.chance(30)).then(|| rng.below(2) as u32),
            ..GpuDevice::default()
        })
        .collect();
    for i in 1..n {
        if rng.chance(700) {
            devices[i].nvlink.push(pci(i - 1));
            devices[i - 1].nvlink.push(pci(i));
        }
    }
    (products, devices)
}

fn peers(devices: &[GpuDevice], i: usize) -> Vec<usize> {
    (0..devices.len()).filter(|j| devices[i].nvlink.contains(&devices[*j].pci)).collect()
}

/// Whole GPUs, or slices of them; seen by an agent, or by labels alone.
fn whole(rng: &mut Rng, node: &mut Node, replicas: usize, resource: &str) {
    let (products, mut devices) = devices(rng);
    let by_labels = rng.chance(200);
    if by_labels {
        devices.iter_mut().for_each(|device| device.healthy = true);
    }
    for (i, device) in devices.iter().enumerate() {
        let product = if by_labels { products[0] } else { products[i] };
        let board = matches!(product, 0 | 1 | 3);
        let peers = match (by_labels, board) {
            (false, _) => Some(peers(&devices, i)),
            (true, true) => Some((0..devices.len()).filter(|j| *j != i).collect()),
            (true, false) => None,
        };
        let item = Item {
            resource: resource.into(),
            cut: if replicas > 1 { Cut::Slice } else { Cut::Whole },
            product: Some(product),
            mib: Some(PRODUCTS[product].3),
            healthy: device.healthy,
            free: (!by_labels).then_some(!device.allocated),
            peers,
            numa: device.numa.filter(|_| !by_labels),
        };
        node.items.extend(std::iter::repeat_n(item, replicas));
    }
    let total = node.items.len() as u32;
    let healthy = node.items.iter().filter(|i| i.healthy).count() as u32;
    let offered = match rng.below(4) {
        0 => total,
        1 => healthy.saturating_sub(1 + rng.below(2) as u32),
        _ => healthy,
    };
    node.offered.insert(resource.into(), offered);
    if by_labels || replicas > 1 || rng.chance(700) {
        let (_, label, _, mib, (major, minor)) = PRODUCTS[products[0]];
        let suffix = if replicas > 1 && !resource.ends_with("shared") { "-SHARED" } else { "" };
        let strategy = if replicas > 1 { "time-slicing" } else { "none" };
        labels(
            node,
            &[
                ("gpu.product", format!("{label}{suffix}")),
                ("gpu.memory", mib.to_string()),
                ("gpu.compute.major", major.to_string()),
                ("gpu.compute.minor", minor.to_string()),
                ("gpu.count", devices.len().to_string()),
                ("gpu.replicas", replicas.to_string()),
                ("gpu.sharing-strategy", strategy.into()),
            ],
        );
    }
    if !by_labels {
        agent(node, devices);
    }
}

/// MIG instances, offered by profile, or as plain GPUs where all are of one.
fn cut(rng: &mut Rng, node: &mut Node, single: bool) {
    let product = [0, 3][rng.below(2)];
    let profile = rng.below(PROFILES.len());
    let mut devices = Vec::new();
    for i in 0..1 + rng.below(2) {
        let healthy = !rng.chance(80);
        let profiles = if single { vec![profile; 2] } else { vec![rng.below(2), rng.below(2)] };
        let mut device = GpuDevice {
            pci: pci(i),
            product: PRODUCTS[product].2.into(),
            memory: PRODUCTS[product].3 << 20,
            compute: compute(product),
            mig: true,
            healthy,
            ..GpuDevice::default()
        };
        for profile in profiles {
            let (name, mib) = PROFILES[profile];
            let allocated = rng.chance(300);
            let resource = if single { "nvidia.com/gpu".to_owned() } else { format!("nvidia.com/mig-{name}") };
            if healthy {
                *node.offered.entry(resource.clone()).or_default() += 1;
            }
            let (cut, free, peers) = (Cut::Mig(profile), Some(!allocated), Some(Vec::new()));
            let (product, numa) = (Some(product), None);
            node.items.push(Item { resource, cut, product, mib: Some(mib), healthy, free, peers, numa });
            device.instances.push(MigInstance {
                profile: name.into(),
                memory: mib << 20,
                allocated,
                ..Default::default()
            });
        }
        devices.push(device);
    }
    let (_, label, _, mib, _) = PRODUCTS[product];
    let (name, instance) = PROFILES[profile];
    if single {
        labels(
            node,
            &[
                ("gpu.product", format!("{label}-MIG-{name}")),
                ("gpu.memory", instance.to_string()),
                ("mig.strategy", "single".into()),
            ],
        );
    } else if rng.chance(700) {
        labels(
            node,
            &[("gpu.product", label.into()), ("gpu.memory", mib.to_string()), ("mig.strategy", "mixed".into())],
        );
    }
    agent(node, devices);
}

/// A number, and nothing else.
fn undescribed(rng: &mut Rng, node: &mut Node) {
    let n = 1 + rng.below(4);
    node.offered.insert("nvidia.com/gpu".into(), n as u32);
    let resource = "nvidia.com/gpu".to_owned();
    let (product, mib, free, peers, numa) = (None, None, None, None, None);
    let item = Item { resource, cut: Cut::Whole, product, mib, healthy: true, free, peers, numa };
    node.items = vec![item; n];
}

fn labels(node: &mut Node, labels: &[(&str, String)]) {
    node.facts.labels.extend(labels.iter().map(|(k, v)| (format!("nvidia.com/{k}"), v.clone())));
}

fn agent(node: &mut Node, devices: Vec<GpuDevice>) {
    node.gpu_node = Some(GpuNode {
        metadata: Metadata { name: node.facts.name.clone(), ..Metadata::default() },
        spec: GpuNodeSpec::default(),
        status: GpuNodeStatus { devices, ..GpuNodeStatus::default() },
    });
}
