//! From what is known of a node to what the planner takes it for.

use realsyn_crds::{Gpu, Quantity};
use realsyn_plan::placement::{Demand, NodeGpus, Source};

use crate::cluster::{agent, offering, place, quarantined, seen};

fn any(min_memory: Option<&str>) -> Demand {
    let gpu = Gpu { min_memory: min_memory.map(Quantity::new), ..Gpu::default() };
    Demand { tasks: 100, ..Demand::new(&gpu, None) }
}

#[test]
fn the_agent_is_trusted_before_labels_and_labels_before_numbers() {
    let labels = [("gpu.product", "NVIDIA-L4"), ("gpu.memory", "23034"), ("gpu.count", "8")];
    let facts = offering("gpu-1", &[("gpu", 8)], &labels);
    let node = NodeGpus::of(&facts, Some(&agent("gpu-1", "A100-SXM4-80GB", 81_920, &[8])));
    assert_eq!((node.source(), node.name()), (Source::GpuNode, "gpu-1"));
    assert_eq!(&*place([node], &any(Some("70Gi"))).nodes[0].unit, "A100-SXM4-80GB");

    let node = NodeGpus::of(&facts, None);
    assert_eq!(node.source(), Source::Labels);
    assert_eq!(place([node], &any(Some("70Gi"))).unfit[0].to_string(), "gpu-1: L4-24GB has 22.5 GiB, 70 needed");

    let node = NodeGpus::of(&offering("gpu-1", &[("gpu", 8)], &[]), None);
    assert_eq!(node.source(), Source::Allocatable);
    let placement = place([node.clone()], &any(None));
    assert_eq!((placement.at_once, placement.now, &*placement.nodes[0].unit), (8, None, "GPU"));
    assert_eq!(
        place([node], &any(Some("1Gi"))).unfit[0].why,
        "8 GPUs of unknown product; the GPU agent or GPU Feature Discovery would tell"
    );
    assert_eq!(NodeGpus::of(&offering("cpu-1", &[], &[]), None).source(), Source::Nothing);
}

#[test]
fn an_agent_that_is_silent_is_not_believed_and_quarantine_still_is() {
    let since = "2025-11-22T10:12:33Z";
    let seen = agent("gpu-3", "A100-SXM4-80GB", 81_920, &[8]);
    let labels = [("gpu.product", "NVIDIA-L4"), ("gpu.memory", "23034"), ("gpu.count", "8")];
    let labelled = offering("gpu-3", &[("gpu", 8)], &labels);
    let node = NodeGpus::of_silent(&labelled, &seen, since);
    assert_eq!(node.source(), Source::Labels);
    assert!(!node.fits_like(&NodeGpus::of(&labelled, Some(&seen))), "builds that wait must hear of it");
    assert_eq!(
        place([node.clone()], &any(Some("70Gi"))).unfit[0].to_string(),
        "gpu-3: L4-24GB has 22.5 GiB, 70 needed \
         (its agent has been silent since 10:12 on 2025-11-22; labels are believed instead)"
    );
    let fits = place([node], &any(None));
    assert_eq!((fits.at_once, fits.now), (8, None), "nobody tells which devices are held");
    assert_eq!(
        fits.sentence,
        "1 of 1 node fits: 8 GPUs, 8 pods at once; \
         gpu-3: its agent has been silent since 10:12 on 2025-11-22; labels are believed instead"
    );

    let counted = NodeGpus::of_silent(&offering("gpu-3", &[("gpu", 8)], &[]), &seen, since);
    assert_eq!(counted.source(), Source::Allocatable);
    assert!(place([counted], &any(None)).sentence.ends_with("what the device plugin offers is believed instead"));
    // What it said last of a driver is no more believed than its devices.
    let mut empty = agent("gpu-3", "", 0, &[]);
    empty.status.message = Some("no driver answers".into());
    assert_eq!(place([NodeGpus::of_silent(&labelled, &empty, since)], &any(None)).at_once, 8);
    let nothing = NodeGpus::of_silent(&offering("gpu-3", &[], &[]), &seen, since);
    assert_eq!(
        place([nothing], &any(None)).unfit[0].why,
        "its agent has been silent since 10:12 on 2025-11-22; nothing else tells of its GPUs"
    );
    let ill = quarantined(seen);
    let why = place([NodeGpus::of_silent(&labelled, &ill, since)], &any(None)).unfit[0].why.clone();
    assert!(why.starts_with("quarantined, XID 79 at 10:12"), "{why}");
}

#[test]
fn a_gpu_node_alone_will_do() {
    let mut seen = agent("gpu-1", "A100-SXM4-80GB", 81_920, &[4]);
    seen.status.devices[0].healthy = false;
    let placement = place([NodeGpus::of_gpu_node(&seen)], &any(Some("80Gi")));
    assert_eq!((placement.at_once, placement.now), (3, Some(3)));
}

#[test]
fn an_agent_without_a_driver_is_believed() {
    let mut seen = agent("gpu-1", "", 0, &[]);
    seen.status.message = Some("no driver answers: libnvidia-ml.so.1 is not there".into());
    let labels = [("gpu.product", "NVIDIA-L4"), ("gpu.count", "1")];
    let node = NodeGpus::of(&offering("gpu-1", &[("gpu", 1)], &labels), Some(&seen));
    assert_eq!(place([node], &any(None)).unfit[0].why, "no driver answers: libnvidia-ml.so.1 is not there");

    let mut empty = agent("gpu-2", "A100-SXM4-80GB", 81_920, &[1]);
    empty.status.devices[0].mig = true;
    let node = NodeGpus::of(&offering("gpu-2", &[], &[]), Some(&empty));
    assert_eq!(place([node], &any(None)).unfit[0].why, "MIG is on, and there is no instance");
}

#[test]
fn nothing_is_placed_where_no_device_plugin_runs() {
    let node = NodeGpus::of(&offering("gpu-1", &[], &[]), Some(&agent("gpu-1", "L4", 23_034, &[1])));
    assert_eq!(place([node], &any(None)).unfit[0].why, "its device plugin offers no nvidia.com/gpu");
}

#[test]
fn strange_values_are_read_over() {
    let labels = [
        ("gpu.product", "\u{1b}[31m"),
        ("gpu.memory", "18446744073709551615"),
        ("gpu.count", "many"),
        ("gpu.replicas", "18446744073709551615"),
    ];
    let facts = offering("gpu-1", &[("gpu", 2), ("mig-", 4_000_000_000)], &labels);
    let huge = offering("gpu-2", &[("gpu", u32::MAX), ("gpu.shared", u32::MAX)], &[("gpu.product", "X9-MIG-1g.5gb")]);
    let placement = place([NodeGpus::of(&facts, None), NodeGpus::of(&huge, None)], &any(Some("1Gi")));
    assert!(placement.nodes.is_empty());
    assert!(!placement.sentence.contains('\u{1b}'), "{:?}", placement.sentence);
}

#[test]
fn who_holds_a_device_is_no_change_of_what_fits() {
    let idle = agent("gpu-1", "A100-SXM4-80GB", 81_920, &[8]);
    let mut busy = idle.clone();
    busy.status.devices[3].allocated = true;
    let (before, after) = (seen(&idle), seen(&busy));
    assert!(before != after && before.fits_like(&after));
    assert!(!before.fits_like(&seen(&quarantined(idle))));
}
