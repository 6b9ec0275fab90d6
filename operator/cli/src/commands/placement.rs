//! Where the stages of a build that hold GPUs would run: which nodes fit, and why the others do not; and what is expected of
//! them there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use realsyn_crds::Stage;
use realsyn_objects::plan::Plan;
use realsyn_plan::memory::{MOST_SEQUENCES, batch_for, of_stage};
use realsyn_plan::placement::{Demand, Inventory, Placement, bytes_of};

use super::forecast::{Expected, Forecast, Sum};
use super::gpus::inventory;
use crate::cluster::Cluster;
use crate::format::wrap;

/// More tasks than any stage has at once: what fits is what counts.
const MANY: u32 = 10_000;
/// Reasons that are shown of a stage, unless all are asked for.
const REASONS: usize = 6;

/// Where the stages fit that hold GPUs, in their order.
#[derive(Debug, Default)]
pub struct Places {
    all: Vec<Place>,
    /// Whether nodes may be read.
    is_known: bool,
}

#[derive(Debug)]
struct Place {
    stage: Stage,
    demand: Demand,
    placement: Placement,
    /// The largest batch by what a pod is given, where the model's figures are known.
    batches: BTreeMap<String, u32>,
}

impl Places {
    /// On the nodes of the cluster, which are read only if a stage holds GPUs.
    pub async fn of(cluster: &Cluster, plan: &Plan, agents: Option<&str>) -> Self {
        match plan.required().any(|stage| plan.wants_gpu(stage).is_some()) {
            true => Self::on(plan, &inventory(cluster, agents).await),
            false => Self::default(),
        }
    }

    /// On these nodes.
    pub fn on(plan: &Plan, inventory: &Inventory) -> Self {
        let place = |stage| {
            let demand = plan.demand(stage, MANY)?;
            let placement = inventory.place(&demand);
            let batches = batches(plan, stage, &demand, &placement);
            Some(Place { stage, demand, placement, batches })
        };
        Self { all: plan.required().filter_map(place).collect(), is_known: inventory.is_known() }
    }

    /// Where a stage fits, if it holds GPUs.
    pub fn placement(&self, stage: Stage) -> Option<&Placement> {
        self.all.iter().find(|place| place.stage == stage).map(|place| &place.placement)
    }

    /// A line for each stage, and below it why other nodes do not fit: the first few reasons, or all of them with every
    /// node's name. Empty if no stage holds GPUs.
    pub fn table(&self, every: bool, width: usize) -> String {
        if self.all.is_empty() {
            return String::new();
        }
        let mut text = format!(
            "{:<26} {:>9} {:>5} {:>8} {:>5} {:>9}  needs\n",
            "GPUs for", "nodes", "GPUs", "at once", "now", "batch"
        );
        for place in &self.all {
            _ = writeln!(text, "{}", self.row(place));
            let unfit = &place.placement.unfit;
            if place.batches.len() > 1 {
                let each: Vec<String> = place.batches.iter().map(|(unit, n)| format!("{n} on {unit}")).collect();
                lines(&mut text, &format!("batch {}", each.join(", ")), 4, width);
            }
            if let Some(near) = place.near() {
                lines(&mut text, &near, 4, width);
            }
            if place.placement.nodes.is_empty() {
                lines(&mut text, &place.placement.sentence, 4, width);
                if !every {
                    continue;
                }
            }
            let shown = if every { unfit.len() } else { REASONS };
            for group in unfit.iter().take(shown) {
                lines(&mut text, &if every { group.in_full() } else { group.to_string() }, 4, width);
            }
            let more: usize = unfit.iter().skip(shown).map(|group| group.nodes.len()).sum();
            if more > 0 {
                lines(&mut text, &format!("{more} more nodes for other reasons; --all names them"), 4, width);
            }
        }
        text
    }

    fn row(&self, Place { stage, demand, placement, batches }: &Place) -> String {
        let unfit: usize = placement.unfit.iter().map(|group| group.nodes.len()).sum();
        let nodes = match self.is_known {
            true => format!("{} of {}", placement.nodes.len(), placement.nodes.len() + unfit),
            false => "?".to_owned(),
        };
        let now = placement.now.filter(|_| self.is_known).map_or("?".to_owned(), |now| now.to_string());
        let batch = match (batches.values().min(), batches.values().max()) {
            (Some(least), Some(most)) if least == most => most.to_string(),
            (Some(least), Some(most)) => format!("{least}–{most}"),
            _ => "–".to_owned(),
        };
        let (gpus, at_once) = (placement.gpus, placement.at_once);
        format!("{:<26} {nodes:>9} {gpus:>5} {at_once:>8} {now:>5} {batch:>9}  {demand}", stage.name())
    }

    /// Hours, GPU-hours and cost of each stage that is left, and their sum.
    pub fn expected(&self, forecast: &Forecast, width: usize) -> String {
        if self.all.is_empty() {
            return String::new();
        }
        let mut text = format!("\n{:<26} {:>7} {:>7} {:>9}\n", "time of GPUs for", "hours", "GPU-h", "cost");
        for Place { stage, placement, .. } in &self.all {
            let expected = forecast.of(*stage, placement);
            if matches!(expected, Expected::Nothing) {
                continue;
            }
            _ = writeln!(text, "{:<26} {}", stage.name(), expected.columns());
            forecast.rates(*stage).iter().for_each(|rate| lines(&mut text, rate, 4, width));
        }
        lines(&mut text, &self.sum(forecast).sentence(), 0, width);
        text
    }

    /// What is expected of all stages that are left.
    pub fn sum(&self, forecast: &Forecast) -> Sum {
        let mut sum = Sum::default();
        self.all.iter().for_each(|place| sum.add(&forecast.of(place.stage, &place.placement)));
        sum
    }
}

impl Place {
    /// Of pods with several GPUs, how many can have them on one NUMA node, where every agent tells.
    fn near(&self) -> Option<String> {
        let nodes = &self.placement.nodes;
        let near = nodes.iter().map(|node| node.one_numa).sum::<Option<u32>>().filter(|_| !nodes.is_empty())?;
        let room: u32 = nodes.iter().map(|node| node.empty).sum();
        (self.demand.count > 1).then(|| format!("{near} of {room} pods can have their GPUs on one NUMA node"))
    }
}

/// The largest batch of a stage's model on each of the products that it fits on.
fn batches(plan: &Plan, stage: Stage, demand: &Demand, placement: &Placement) -> BTreeMap<String, u32> {
    let Some((model, dtype)) = of_stage(&plan.build, stage) else { return BTreeMap::new() };
    let units: BTreeSet<&str> = placement.nodes.iter().map(|node| &*node.unit).collect();
    let batch = |unit: &str| {
        let batch = batch_for(model, dtype, demand.count, bytes_of(unit)?)?;
        // A language model's server works on no more side by side.
        Some(if stage == Stage::Generate { batch.min(MOST_SEQUENCES) } else { batch })
    };
    units.into_iter().filter_map(|unit| Some((unit.to_owned(), batch(unit)?))).collect()
}

fn lines(text: &mut String, sentence: &str, indent: usize, width: usize) {
    for line in wrap(sentence, width.saturating_sub(indent)) {
        _ = writeln!(text, "{:indent$}{line}", "");
    }
}

#[cfg(test)]
mod tests {
    use realsyn_crds::{Gpu, GpuDevice, GpuNode, GpuNodeSpec, GpuNodeStatus, Metadata, Quantity, parse_manifests};
    use realsyn_plan::placement::{Ahead, NodeFacts, NodeGpus};
    use realsyn_plan::records::Spent;

    use super::*;

    fn plan() -> Plan {
        let text = include_str!("../../../../manifests/examples/build.yaml");
        let realsyn_crds::Manifest::Build(mut build) = parse_manifests(text, "example").unwrap().remove(0) else {
            panic!("build.yaml holds a build")
        };
        build.spec.stop_after = Some(Stage::SentenceScore);
        build.spec.models.perplexity.as_mut().unwrap().uri = Some("pvc://models/gpt2-large".to_owned());
        build.spec.stages.sentence_score.device.gpu =
            Some(Gpu { min_memory: Some(Quantity::new("60Gi")), ..Gpu::default() });
        Plan::of_build(&build.spec)
    }

    fn node(name: &str, gpu: Option<(&str, u64)>) -> NodeGpus {
        let mut facts = NodeFacts { name: name.to_owned(), ready: true, ..NodeFacts::default() };
        if let Some((product, gib)) = gpu {
            let labels =
                [("product", product.to_owned()), ("memory", (gib * 1024).to_string()), ("count", "8".to_owned())];
            facts.labels = labels.into_iter().map(|(k, v)| (format!("nvidia.com/gpu.{k}"), v)).collect();
            facts.allocatable.insert("nvidia.com/gpu".to_owned(), "8".to_owned());
        }
        NodeGpus::of(&facts, None)
    }

    #[test]
    fn each_stage_has_a_row_and_each_other_node_a_reason() {
        let plan = plan();
        let small = node("gpu-2", Some(("NVIDIA-A100-SXM4-40GB", 40)));
        let nodes = [node("gpu-1", Some(("NVIDIA-A100-SXM4-80GB", 80))), small.clone()];
        let cpus = (0..9).map(|n| node(&format!("cpu-{n}"), None));
        let places = Places::on(&plan, &nodes.into_iter().chain(cpus).collect());
        let (model, dtype) = of_stage(&plan.build, Stage::SentenceScore).unwrap();
        let batch = batch_for(model, dtype, 1, 80_000_000_000).unwrap();
        let text = places.table(false, 100);
        let shown: Vec<&str> = text.lines().collect();
        let heads = "GPUs for                       nodes  GPUs  at once   now     batch  needs";
        assert_eq!(shown[0], heads);
        let row = format!("sentence-score               1 of 11     8        8     ? {batch:>9}  1 GPU with 60 GiB");
        assert_eq!(shown[1], row);
        assert_eq!(shown[2], "    gpu-2: A100-SXM4-40GB has 40 GiB, 60 needed");
        assert_eq!(shown[3], "    cpu-0, cpu-1 and 7 more: no GPUs");
        assert!(places.table(true, 200).contains("cpu-7, cpu-8: no GPUs"), "{}", places.table(true, 200));

        let both = [node("gpu-1", Some(("NVIDIA-A100-SXM4-80GB", 80))), node("gpu-3", Some(("NVIDIA-H200", 141)))];
        let text = Places::on(&plan, &both.into_iter().collect()).table(false, 100);
        assert!(text.contains(&format!("batch {batch} on A100-SXM4-80GB, ")), "{text}");
        let none = Places::on(&plan, &[small].into_iter().collect());
        assert!(none.table(false, 100).contains("    no node fits: gpu-2: "), "{}", none.table(false, 100));
        let text = Places::on(&plan, &Inventory::unknown()).table(false, 100);
        assert!(text.contains("may not read nodes"), "{text}");
    }

    #[test]
    fn pods_of_several_gpus_are_told_where_numa_nodes_part_them() {
        let mut plan = plan();
        let mut shown = |count: u32, numa: fn(u32) -> Option<u32>| {
            let gpu = plan.build.stages.sentence_score.device.gpu.as_mut().unwrap();
            gpu.count = count;
            let device = |n: u32| GpuDevice {
                uuid: format!("GPU-{n}"),
                product: "A100-SXM4-80GB".to_owned(),
                memory: 80 << 30,
                numa: numa(n),
                healthy: true,
                ..GpuDevice::default()
            };
            let status = GpuNodeStatus { devices: (0..8).map(device).collect(), ..GpuNodeStatus::default() };
            let metadata = Metadata { name: "gpu-1".to_owned(), ..Metadata::default() };
            let agent = GpuNode { metadata, spec: GpuNodeSpec::default(), status };
            let mut facts = NodeFacts { name: "gpu-1".to_owned(), ready: true, ..NodeFacts::default() };
            facts.allocatable.insert("nvidia.com/gpu".to_owned(), "8".to_owned());
            Places::on(&plan, &[NodeGpus::of(&facts, Some(&agent))].into_iter().collect()).table(false, 100)
        };
        let halves: fn(u32) -> Option<u32> = |n| Some(n / 4);
        assert!(shown(3, halves).ends_with("\n    2 of 2 pods can have their GPUs on one NUMA node\n"));
        let uneven = shown(2, |n| Some(u32::from(n < 3)));
        assert!(uneven.ends_with("\n    3 of 4 pods can have their GPUs on one NUMA node\n"), "{uneven}");
        for silent in [shown(1, halves), shown(2, |_| None)] {
            assert!(!silent.contains("NUMA"), "{silent}");
        }
    }

    #[test]
    fn hours_and_cost_follow_from_what_was_measured() {
        let nodes = [node("gpu-1", Some(("NVIDIA-A100-SXM4-80GB", 80)))].into_iter().collect();
        let places = Places::on(&plan(), &nodes);
        let nothing = BTreeMap::new();
        let text = places.expected(&Forecast::new(None, &nothing), 100);
        assert!(
            text.ends_with("Hours and cost are told only of what was measured with the same settings.\n"),
            "{text}"
        );
        // 5,400 shards, each two seconds of a GPU: three hours of one, and so three eighths of an hour of eight.
        let spent = Spent { gpu_millis: 2_000_000, shards: 1000, records: 7_000_000 };
        let gpus = BTreeMap::from([("A100-SXM4-80GB".to_owned(), spent)]);
        let ahead = Ahead { step: "sentence-score/score".to_owned(), shards: Some(5400), gpus };
        let prices = BTreeMap::from([("A100-80GB".to_owned(), 2.5)]);
        let forecast = Forecast::new(Some(&[ahead]), &prices);
        let text = places.expected(&forecast, 100);
        let shown: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(shown[0], "time of GPUs for             hours   GPU-h      cost");
        assert_eq!(shown[1], "sentence-score                 0.4     3.0      7.50");
        assert_eq!(shown[2], "    3,500 records a second were measured on each A100-SXM4-80GB");
        assert_eq!(shown[3], "Together 3.0 GPU-hours, which cost 7.50.");
        assert_eq!((places.sum(&forecast).gpu_hours(), places.sum(&forecast).cost()), (Some(3.0), Some(7.5)));
        let text = places.expected(&Forecast::new(Some(&[]), &nothing), 100);
        assert!(text.ends_with("Nothing of it is left to run.\n"), "{text}");
    }
}
