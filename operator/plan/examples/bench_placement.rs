//! How long it takes to plan every stage of a build over 5,000 nodes of eight GPUs, beside the obvious way of doing it.
//!
//! `make bench-placement`. The median and the least of 21 runs of each, in one process; both must find the same. The goal is one
//! for an idle machine.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use realsyn_crds::{BuildSpec, Engine, Gpu, GpuDevice, GpuNode, Metadata, Quantity, Quarantine, Stage, device};
use realsyn_plan::placement::{Capability, Demand, Inventory, NodeFacts, NodeGpus, Product};
use serde_json::json;

const NODES: usize = 5_000;
const RUNS: usize = 21;
/// Milliseconds from objects to placements.
const GOAL: f64 = 50.0;

fn main() {
    let nodes: Vec<(NodeFacts, GpuNode)> = (0..NODES).map(node).collect();
    let demands = demands();

    let view = || nodes.iter().map(|(facts, seen)| NodeGpus::of(facts, Some(seen))).collect::<Inventory>();
    let inventory = view();
    let plan = |inventory: &Inventory| -> Vec<Found> {
        let found = demands.iter().map(|demand| {
            let placement = inventory.place(demand);
            (
                placement.nodes.len(),
                placement.nodes.iter().map(|n| n.empty).sum(),
                placement.nodes.iter().map(|n| n.now).sum(),
            )
        });
        found.collect()
    };
    let obvious = || -> Vec<Found> { demands.iter().map(|demand| obvious(&nodes, demand)).collect() };
    assert_eq!(plan(&inventory), obvious(), "the two disagree");

    let (view, plan, obvious) = (time(view), time(|| plan(&inventory)), time(obvious));
    let both = [view[0] + plan[0], view[1] + plan[1]];
    let ratio = |of: [f64; 2], to: [f64; 2]| [of[0] / to[0], of[1] / to[1]];
    println!("{NODES} nodes of 8 GPUs, {} stages       median   least          goal", demands.len());
    for (what, [median, least], unit, goal) in [
        ("objects to inventory", view, "ms", None),
        ("plan all stages", plan, "ms", None),
        ("both", both, "ms", Some(GOAL)),
        ("the obvious way", obvious, "ms", None),
        ("ratio, with inventory", ratio(obvious, both), "  ", None),
        ("ratio, inventory kept", ratio(obvious, plan), "  ", None),
    ] {
        let verdict = |goal| format!("< {goal} ms, {}", if median < goal { "met" } else { "not met" });
        let goal = goal.map(verdict).unwrap_or_default();
        println!("  {what:<32} {median:7.1} {least:7.1} {unit}   {goal}");
    }
    println!("Of the same size: what {NODES} GpuNodes cost the controller, < 30 MiB (make bench-operator).");
    println!("What their agents send at rest, renewals of Leases alone: cargo test --workspace --test gpu_node.");
}

/// Nodes that fit, and pods at once, empty and now.
type Found = (usize, u32, Option<u32>);

/// Milliseconds, the median and the least.
fn time<T>(mut run: impl FnMut() -> T) -> [f64; 2] {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            black_box(run());
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_unstable_by(f64::total_cmp);
    [times[RUNS / 2], times[0]]
}

/// Every stage that has an engine, on GPUs: with the memory of its model, and text generation on four joined GPUs.
fn demands() -> Vec<Demand> {
    let hash = "0".repeat(64);
    let model = |uri: &str| json!({ "uri": uri, "sha256": hash, "dtype": "bf16" });
    let spec: BuildSpec = serde_json::from_value(json!({
        "source": { "format": "obelics", "uri": "s3://b/in" },
        "storage": { "uri": "s3://b/out" },
        "models": {
            "clip": model("oci://m/eva02-clip-e-14-plus"), "perplexity": model("oci://m/gpt2-large"),
            "captioner": model("oci://m/ofa-base"), "tagger": model("oci://m/ram-plus-swin-large"),
            "llm": model("oci://m/llama-3-8b"),
        },
    }))
    .expect("a build");
    let mut spec = spec.effective();
    let stages = &mut spec.stages;
    for device in [
        &mut stages.sentence_score.device,
        &mut stages.sentence_embed.device,
        &mut stages.sentence_cells.device,
        &mut stages.sentence_dedup_semantic.device,
        &mut stages.sentence_cluster.device,
        &mut stages.image_embed.device,
        &mut stages.image_cells.device,
        &mut stages.image_dedup_semantic.device,
        &mut stages.image_cluster.device,
        &mut stages.retrieve.device,
        &mut stages.caption.device,
        &mut stages.tag.device,
        &mut stages.generate.device,
        &mut stages.pair_score.device,
    ] {
        device.engine = Engine::Cuda;
        device.gpu = Some(Gpu { products: vec!["A100-80GB".into(), "H100".into()], ..Gpu::default() });
    }
    let embed = Gpu { products: Vec::new(), min_memory: Some(Quantity::new("70Gi")), ..Gpu::default() };
    stages.image_embed.device.gpu = Some(embed);
    stages.generate.device.gpu = Some(Gpu { count: 4, nvlink: true, ..Gpu::default() });
    let demands: Vec<Demand> = Stage::ALL.iter().filter_map(|stage| Demand::of_stage(&spec, *stage, 10_000)).collect();
    assert_eq!(demands.len(), Stage::ALL.iter().filter(|stage| device(&spec, **stage).is_some()).count());
    demands
}

/// A cluster of several generations, half of it at work; some GPUs are ill, some nodes in quarantine.
fn node(i: usize) -> (NodeFacts, GpuNode) {
    let kinds = [
        ("A100-SXM4-80GB", "NVIDIA-A100-SXM4-80GB", 81_920, "8.0", 8),
        ("A100-SXM4-40GB", "NVIDIA-A100-SXM4-40GB", 40_536, "8.0", 8),
        ("H100-SXM5-80GB", "NVIDIA-H100-80GB-HBM3", 81_559, "9.0", 8),
        ("A100-PCIE-80GB", "NVIDIA-A100-80GB-PCIe", 81_920, "8.0", 2),
        ("L4-24GB", "NVIDIA-L4", 23_034, "8.9", 1),
        ("T4-16GB", "Tesla-T4", 15_360, "7.5", 1),
    ];
    let random = |what: usize| (i * 8 + what).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let (product, label, mib, compute, island) = kinds[random(0) % kinds.len()];
    let pci = |d: usize| format!("0000:{d:02x}:00.0");
    let devices: Vec<GpuDevice> = (0..8)
        .map(|d| GpuDevice {
            uuid: format!("GPU-{i}-{d}"),
            pci: pci(d),
            product: product.into(),
            memory: mib << 20,
            compute: compute.into(),
            numa: Some(d as u32 / 4),
            nvlink: (0..8).filter(|o| *o != d && o / island == d / island).map(pci).collect(),
            healthy: random(d) % 500 != 0,
            allocated: random(d) % 2 == 0,
            ..GpuDevice::default()
        })
        .collect();
    let name = format!("gpu-{i}");
    let offered = devices.iter().filter(|d| d.healthy).count();
    let field = |name: &str, value: String| (format!("nvidia.com/gpu.{name}"), value);
    let facts = NodeFacts {
        name: name.clone(),
        labels: [field("product", label.to_owned()), field("memory", mib.to_string())].into(),
        allocatable: [("nvidia.com/gpu".to_owned(), offered.to_string())].into(),
        ready: true,
        ..NodeFacts::default()
    };
    let mut seen: GpuNode = serde_json::from_value(json!({ "metadata": { "name": name } })).expect("a GpuNode");
    seen.metadata = Metadata { name, ..Metadata::default() };
    seen.status.devices = devices;
    if random(1) % 200 == 0 {
        seen.spec.quarantine = vec![Quarantine { reason: "Xid79".into(), ..Quarantine::default() }];
    }
    (facts, seen)
}

/// Each stage by itself looks at each device of each node, as one writes it first.
fn obvious(nodes: &[(NodeFacts, GpuNode)], demand: &Demand) -> Found {
    let (mut fits, mut empty, mut now) = (0, 0, 0);
    let mut sentences: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (facts, node) in nodes {
        match obvious_node(facts, node, demand) {
            Ok((pods, free)) => {
                fits += 1;
                empty += pods;
                now += free;
            }
            Err(why) => sentences.entry(why).or_default().push(facts.name.clone()),
        }
    }
    black_box(sentences);
    (fits, empty, Some(now))
}

fn obvious_node(facts: &NodeFacts, node: &GpuNode, demand: &Demand) -> Result<(u32, u32), String> {
    if let Some(quarantine) = node.spec.quarantine.first() {
        return Err(format!("quarantined, {}", quarantine.reason));
    }
    let offered: u32 = facts.allocatable["nvidia.com/gpu"].parse().map_err(|_| "offers no GPUs".to_owned())?;
    let mut usable: Vec<&GpuDevice> = Vec::new();
    for device in node.status.devices.iter().filter(|d| d.healthy) {
        let product = Product::of_device(&device.product, device.memory).ok_or("unknown product")?;
        if !demand.products.is_empty() && !demand.products.iter().any(|wanted| product.is_a(wanted)) {
            return Err(format!("has {product}, {:?} wanted", demand.products));
        }
        if let (Some(has), Some(needed)) = (capability(&device.compute), demand.compute)
            && has < needed
        {
            return Err(format!("{product} has compute capability {has:?}, {needed:?} needed"));
        }
        if (device.memory as f64) < demand.memory as f64 * 0.95 {
            return Err(format!("{product} has {} bytes, {} needed", device.memory, demand.memory));
        }
        usable.push(device);
    }
    if offered < demand.count {
        return Err(format!("{offered} GPUs, {} needed", demand.count));
    }
    let pods = |devices: &[&GpuDevice]| -> u32 {
        if !demand.nvlink {
            return devices.len() as u32 / demand.count;
        }
        let mut seen: Vec<&str> = Vec::new();
        let mut pods = 0;
        for device in devices {
            if seen.contains(&device.pci.as_str()) {
                continue;
            }
            let island: Vec<&&GpuDevice> =
                devices.iter().filter(|d| d.pci == device.pci || device.nvlink.contains(&d.pci)).collect();
            seen.extend(island.iter().map(|d| d.pci.as_str()));
            pods += island.len() as u32 / demand.count;
        }
        pods
    };
    let free: Vec<&GpuDevice> = usable.iter().copied().filter(|d| !d.allocated).collect();
    match pods(&usable) {
        0 => Err("no NVLink island is large enough".into()),
        empty => Ok((empty, pods(&free))),
    }
}

fn capability(text: &str) -> Option<Capability> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
