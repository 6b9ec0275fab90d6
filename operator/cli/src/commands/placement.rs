//! Where the stages of a build that hold GPUs would run: which nodes fit, and why the others do not.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use realsyn_crds::Stage;
use realsyn_objects::nodes::{DEAD_AFTER, GpuNode, heartbeat, planners_view};
use realsyn_objects::plan::Plan;
use realsyn_plan::placement::{Inventory, Placement};

use super::forecast::{Forecast, Sum};
use crate::cluster::Cluster;
use crate::format::wrap;

/// More tasks than any stage has at once: what fits is what counts.
const MANY: u32 = 10_000;
/// Where the chart puts the agents, and their Leases.
const AGENTS: &str = "realsyn-gpu";
/// Reasons that are shown of a stage.
const REASONS: usize = 6;

/// The table for a plan, or nothing if no stage holds GPUs.
pub async fn placement(cluster: &Cluster, plan: &Plan, forecast: &Forecast, width: usize) -> String {
    match plan.required().any(|stage| plan.wants_gpu(stage).is_some()) {
        true => table(plan, &inventory(cluster).await, forecast, width),
        false => String::new(),
    }
}

/// The GPUs of the cluster, as far as the user may see them.
async fn inventory(cluster: &Cluster) -> Inventory {
    let (nodes, gpu_nodes): (Api<Node>, Api<GpuNode>) =
        (Api::all(cluster.client.clone()), Api::all(cluster.client.clone()));
    let Ok(nodes) = nodes.list(&ListParams::default()).await else { return Inventory::unknown() };
    // Without agents there are none, and labels have to do.
    let gpu_nodes = gpu_nodes.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
    let gpu_nodes: BTreeMap<String, GpuNode> = gpu_nodes.into_iter().map(|n| (n.name_any(), n)).collect();
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), AGENTS);
    // Who may not read them is told what the agents said last.
    let leases = leases.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
    let silent: BTreeMap<String, String> = leases.iter().filter_map(|lease| silent(lease, Timestamp::now())).collect();
    let view = |node: &Node| {
        let name = node.name_any();
        planners_view(node, gpu_nodes.get(&name), silent.get(&name).map(String::as_str))
    };
    nodes.items.iter().map(view).collect()
}

/// The node of a silent agent, and since when it is silent.
fn silent(lease: &Lease, now: Timestamp) -> Option<(String, String)> {
    // At one look the controller sees no more.
    let (node, renewed) = heartbeat(lease)?;
    let renewed = renewed?;
    (now.duration_since(renewed) > DEAD_AFTER).then(|| (node.to_owned(), renewed.to_string()))
}

fn table(plan: &Plan, inventory: &Inventory, forecast: &Forecast, width: usize) -> String {
    let mut text = format!(
        "\n{:<26} {:>9} {:>5} {:>8} {:>5} {:>7} {:>7} {:>9}  needs\n",
        "GPUs for", "nodes", "GPUs", "at once", "now", "hours", "GPU-h", "cost"
    );
    let mut sum = Sum::default();
    for stage in plan.required() {
        let Some(demand) = plan.demand(stage, MANY) else { continue };
        let placement = inventory.place(&demand);
        let expected = forecast.of(stage, &placement);
        sum.add(&expected);
        _ = writeln!(text, "{} {}  {demand}", row(stage, &placement, inventory), expected.columns());
        forecast.rates(stage).iter().for_each(|rate| lines(&mut text, rate, width));
        if placement.nodes.is_empty() {
            lines(&mut text, &placement.sentence, width);
        } else {
            for unfit in placement.unfit.iter().take(REASONS) {
                lines(&mut text, &unfit.to_string(), width);
            }
            let more: usize = placement.unfit.iter().skip(REASONS).map(|group| group.nodes.len()).sum();
            if more > 0 {
                lines(&mut text, &format!("{more} more nodes for other reasons"), width);
            }
        }
    }
    lines_at(&mut text, &sum.sentence(), 0, width);
    text
}

fn row(stage: Stage, placement: &Placement, inventory: &Inventory) -> String {
    let unfit: usize = placement.unfit.iter().map(|group| group.nodes.len()).sum();
    let nodes = match inventory.is_known() {
        true => format!("{} of {}", placement.nodes.len(), placement.nodes.len() + unfit),
        false => "?".to_owned(),
    };
    let now = placement.now.filter(|_| inventory.is_known()).map_or("?".to_owned(), |now| now.to_string());
    format!("{:<26} {nodes:>9} {:>5} {:>8} {now:>5}", stage.name(), placement.gpus, placement.at_once)
}

fn lines(text: &mut String, sentence: &str, width: usize) {
    lines_at(text, sentence, 4, width);
}

fn lines_at(text: &mut String, sentence: &str, indent: usize, width: usize) {
    for line in wrap(sentence, width.saturating_sub(indent)) {
        _ = writeln!(text, "{:indent$}{line}", "");
    }
}

#[cfg(test)]
mod tests {
    use realsyn_crds::{Gpu, Quantity, parse_manifests};
    use realsyn_plan::placement::{Ahead, NodeFacts, NodeGpus};
    use realsyn_plan::records::Spent;

    use super::*;

    fn plan() -> Plan {
        let text = include_str!("../../../../manifests/examples/build.yaml");
        let realsyn_crds::Manifest::Build(mut build) = parse_manifests(text, "example").unwrap().remove(0) else {
            panic!("build.yaml holds a build")
        };
        build.spec.stop_after = Some(Stage::SentenceScore);
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
        let nodes = [
            node("gpu-1", Some(("NVIDIA-A100-SXM4-80GB", 80))),
            node("gpu-2", Some(("NVIDIA-A100-SXM4-40GB", 40))),
            node("cpu-1", None),
            node("cpu-2", None),
        ];
        let nodes: Inventory = nodes.into_iter().collect();
        let text = table(&plan(), &nodes, &Forecast::default(), 100);
        let lines: Vec<&str> = text.lines().collect();
        let heads = "GPUs for                       nodes  GPUs  at once   now   hours   GPU-h      cost  needs";
        assert_eq!(lines[1], heads);
        let row =
            "sentence-score                1 of 4     8        8     ?       –       –         –  1 GPU with 60 GiB";
        assert_eq!(lines[2], row);
        assert_eq!(lines[3], "    gpu-2: A100-SXM4-40GB has 40 GiB, 60 needed");
        assert_eq!(lines[4], "    2 nodes: no GPUs");
        assert!(
            text.ends_with("Hours and cost are told only of what was measured with the same settings.\n"),
            "{text}"
        );

        // 5,400 shards, each two seconds of a GPU: three hours of one, and so three eighths of an hour of eight.
        let spent = Spent { gpu_millis: 2_000_000, shards: 1000, records: 7_000_000 };
        let gpus = BTreeMap::from([("A100-SXM4-80GB".to_owned(), spent)]);
        let ahead = Ahead { step: "sentence-score/score".to_owned(), shards: Some(5400), gpus };
        let text = table(&plan(), &nodes, &Forecast::new(Some(&[ahead]), &[("A100-80GB".to_owned(), 2.5)]), 100);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[2].contains("     ?     0.4     3.0      7.50  1 GPU"), "{text}");
        assert_eq!(lines[3], "    3,500 records a second were measured on each A100-SXM4-80GB");
        assert!(text.ends_with("Together 3.0 GPU-hours, which cost 7.50.\n"), "{text}");
        let text = table(&plan(), &nodes, &Forecast::new(Some(&[]), &[]), 100);
        assert!(text.ends_with("Nothing of it is left to run.\n"), "{text}");
        let text = table(&plan(), &Inventory::unknown(), &Forecast::default(), 100);
        assert!(text.contains("may not read nodes"), "{text}");
    }

    #[test]
    fn an_agent_is_silent_whose_lease_is_old() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let look = |name: &str, renewed: &str| {
            let lease = serde_json::json!({ "metadata": { "name": name }, "spec": { "renewTime": renewed } });
            silent(&serde_json::from_value(lease).unwrap(), now)
        };
        let since = Some(("node-a".to_owned(), "2026-01-01T11:49:00Z".to_owned()));
        assert_eq!(look("realsyn-gpu-node-a", "2026-01-01T11:49:00.000000Z"), since);
        assert_eq!(look("realsyn-gpu-node-a", "2026-01-01T11:51:00.000000Z"), None);
        assert_eq!(look("realsyn-controller", "2026-01-01T11:00:00.000000Z"), None);
    }
}
