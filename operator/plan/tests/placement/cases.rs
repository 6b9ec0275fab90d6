//! What a person reads, and what the Job gets, in the situations that people are in.

use std::collections::BTreeMap;

use realsyn_crds::{BuildSpec, Engine, Gpu, Quantity, Sharing, Stage};
use realsyn_plan::graph::ids;
use realsyn_plan::memory;
use realsyn_plan::placement::{
    Demand, Inventory, NodeFacts, NodeGpus, Placeable, Placement, QUARANTINE_TAINT, Rates, Taint, Toleration,
};
use realsyn_plan::records::Spent;
use serde_json::json;

use crate::cluster::{agent, cpu, offering, place, quarantined, seen};
use crate::support;

fn gpu(products: &[&str], min_memory: &str) -> Gpu {
    Gpu {
        products: products.iter().map(|p| (*p).to_owned()).collect(),
        min_memory: (!min_memory.is_empty()).then(|| Quantity::new(min_memory)),
        ..Gpu::default()
    }
}

fn demand(gpu: &Gpu, tasks: u32) -> Demand {
    Demand { tasks, ..Demand::new(gpu, None) }
}

const A100_80: (&str, u64) = ("A100-SXM4-80GB", 81_920);
const A100_40: (&str, u64) = ("A100-SXM4-40GB", 40_536);

fn dgx(name: &str, (product, mib): (&str, u64)) -> NodeGpus {
    seen(&agent(name, product, mib, &[8]))
}

#[test]
fn each_node_that_does_not_fit_says_why_the_nearest_first() {
    let lost = quarantined(agent("gpu-9", A100_80.0, A100_80.1, &[8]));
    let cpus = ["cpu-1", "cpu-2", "cpu-3"].map(|name| NodeGpus::of(&cpu(name), None));
    let nodes = [dgx("gpu-7", A100_40), seen(&lost)].into_iter().chain(cpus);
    let placement = place(nodes, &demand(&gpu(&[], "70Gi"), 10));
    let sentences: Vec<String> = placement.unfit.iter().map(ToString::to_string).collect();
    assert_eq!(
        sentences,
        [
            "gpu-9: quarantined, XID 79 at 10:12 on 2025-11-22",
            "gpu-7: A100-SXM4-40GB has 39.6 GiB, 70 needed",
            "cpu-1, cpu-2 and cpu-3: no GPUs",
        ]
    );
    assert_eq!(placement.placeable, Placeable::False);
    assert_eq!(
        placement.sentence,
        "no node fits: gpu-9: quarantined, XID 79 at 10:12 on 2025-11-22; gpu-7: A100-SXM4-40GB has 39.6 GiB, 70 needed; \
         cpu-1, cpu-2 and cpu-3: no GPUs; an autoscaler may bring nodes that fit"
    );
    assert!(placement.may_start);
}

#[test]
fn kernels_that_need_newer_gpus_get_them() {
    let mut spec: BuildSpec = support::effective(&support::full_spec());
    spec.stages.retrieve.device.engine = Engine::Cuda;
    spec.stages.retrieve.device.gpu = None;
    let wanted = Demand::of_stage(&spec, Stage::Retrieve, 10).unwrap();
    assert_eq!(wanted.to_string(), "1 GPU of compute capability 8.0");
    let mut old = agent("agent", "T4-16GB", 15_360, &[1, 1]);
    old.status.devices.iter_mut().for_each(|device| device.compute = "7.5".into());
    let labels = |product, major, minor| {
        [("gpu.product", product), ("gpu.count", "8"), ("gpu.compute.major", major), ("gpu.compute.minor", minor)]
    };
    let labelled = |name: &str, labels: &[(&str, &str)]| NodeGpus::of(&offering(name, &[("gpu", 8)], labels), None);
    let nodes = [
        seen(&old),
        labelled("volta", &labels("Tesla-V100-SXM3-32GB", "7", "0")),
        labelled("custom", &labels("NVIDIA-TITAN-RTX", "7", "5")),
        labelled("ada", &labels("NVIDIA-L4", "8", "9")),
        labelled("unknown", &[]),
    ];
    let placement = place(nodes, &wanted);
    let fit: Vec<&str> = placement.nodes.iter().map(|n| &*n.node).collect();
    assert_eq!(fit, ["ada", "unknown"]);
    let sentences: Vec<String> = placement.unfit.iter().map(ToString::to_string).collect();
    assert_eq!(
        sentences,
        [
            "agent: T4-16GB has compute capability 7.5, 8.0 needed",
            "custom: TITAN-RTX has compute capability 7.5, 8.0 needed",
            "volta: V100-SXM3-32GB has compute capability 7.0, 8.0 needed",
        ]
    );
    // Old ones are not chosen by their labels, seen or not; the node without labels is not by its name.
    let term = &placement.affinity.terms[0];
    let not = &term.labels[0].values;
    assert!(["NVIDIA-TITAN-RTX", "Tesla-P100-PCIE-16GB", "Tesla-T4"].iter().all(|old| not.iter().any(|n| n == old)));
    assert!(!not.iter().any(|label| label.starts_with("NVIDIA-A") || label == "NVIDIA-L4"), "{not:?}");
    assert_eq!(term.not_nodes.iter().map(|name| &**name).collect::<Vec<_>>(), ["agent"]);
    // A stage whose model a server runs asks for nothing of the kind.
    assert_eq!(demand(&gpu(&[], ""), 1).compute, None);
}

#[test]
fn what_fits_is_counted_empty_and_now() {
    let mut busy = agent("gpu-2", A100_80.0, A100_80.1, &[8]);
    busy.status.devices[..6].iter_mut().for_each(|d| d.allocated = true);
    let nodes = || [dgx("gpu-1", A100_80), seen(&busy), dgx("gpu-3", A100_40)];
    let placement = place(nodes(), &demand(&gpu(&["A100-80GB"], ""), 100));
    assert_eq!(placement.sentence, "2 of 3 nodes fit: 16 GPUs, 16 pods at once, 10 of them now");
    assert_eq!((placement.parallelism, placement.at_once, placement.now), (100, 16, Some(10)));
    assert_eq!(placement.allocation.resource.to_string(), "nvidia.com/gpu");

    let fixed = Gpu { allow_scale_up: false, ..gpu(&["A100-80GB"], "") };
    let placement = place(nodes(), &demand(&fixed, 100));
    assert_eq!((placement.parallelism, placement.may_start), (16, true));
    let placement = place(nodes(), &Demand { parallelism: Some(4), ..demand(&fixed, 100) });
    assert_eq!((placement.parallelism, placement.at_once), (4, 4));
    let placement = place(nodes(), &demand(&Gpu { products: vec!["H100".into()], ..fixed }, 100));
    assert!(!placement.may_start);
    assert!(placement.sentence.ends_with("`allowScaleUp: false` does not wait for others"), "{}", placement.sentence);
}

#[test]
fn nothing_there_and_nothing_known_are_two_things() {
    let wanted = demand(&gpu(&["A100-SXM4-80GB"], "40Gi"), 5);
    let none = place([], &wanted);
    assert_eq!(none.placeable, Placeable::False);
    assert_eq!(none.sentence, "no node fits: no node is there; an autoscaler may bring nodes that fit");
    let fixed = Demand { allow_scale_up: false, ..wanted.clone() };
    assert!(!place([], &fixed).may_start);

    let unknown = Inventory::unknown().place(&fixed);
    assert_eq!((unknown.placeable, unknown.may_start, unknown.parallelism), (Placeable::Unknown, true, 5));
    assert!(unknown.sentence.contains("may not read nodes"));
    // The affinity is the same: it is what a new node would have to meet.
    assert_eq!(unknown.affinity, none.affinity);
    let expected = json!({ "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
        { "matchExpressions": [
            { "key": "nvidia.com/gpu.product", "operator": "In",
              "values": ["A100-SXM-80GB", "A100-SXM4-80GB", "NVIDIA-A100-SXM4-80GB"] },
            { "key": "nvidia.com/gpu.sharing-strategy", "operator": "NotIn", "values": ["mps", "time-slicing"] },
            // 95 hundredths of 40 GiB are 38,912 MiB.
            { "key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["38911"] },
        ] },
    ] } });
    assert_eq!(none.affinity.node_affinity(), Some(expected));
}

#[test]
fn an_island_must_exist_on_one_node() {
    let joined = demand(&Gpu { count: 4, nvlink: true, ..gpu(&[], "") }, 10);
    let nodes = [
        seen(&agent("pairs", "A100-PCIE-80GB", 81_920, &[2, 2, 2, 2])),
        seen(&agent("cards", "L4", 23_034, &[1, 1, 1, 1])),
        seen(&agent("halves", "V100-SXM2-32GB", 32_768, &[4, 4])),
        seen(&agent("three", A100_80.0, A100_80.1, &[3])),
        NodeGpus::of(&offering("labels", &[("gpu", 8)], &[("gpu.product", "NVIDIA-L40S"), ("gpu.count", "8")]), None),
        NodeGpus::of(
            &offering("board", &[("gpu", 8)], &[("gpu.product", "NVIDIA-H100-80GB-HBM3"), ("gpu.count", "8")]),
            None,
        ),
    ];
    let placement = place(nodes, &joined);
    let fits: Vec<(&str, u32)> = placement.nodes.iter().map(|n| (&*n.node, n.empty)).collect();
    assert_eq!(fits, [("board", 2), ("halves", 2)]);
    let sentences: Vec<String> = placement.unfit.iter().map(ToString::to_string).collect();
    assert_eq!(
        sentences,
        [
            "three: 3 GPUs for a pod that needs 4",
            "cards: NVLink joins none of its GPUs, 4 joined needed",
            "pairs: NVLink joins at most 2 GPUs, 4 needed",
            "labels: nothing says which of its GPUs NVLink joins; the GPU agent would",
        ]
    );
    // A pod holds one GPU of each half of one node: the other seven are free, and one island of four is left.
    let mut busy = agent("halves", "V100-SXM2-32GB", 32_768, &[4, 4]);
    busy.status.devices[0].allocated = true;
    let placement = place([seen(&busy)], &joined);
    assert_eq!((placement.nodes[0].empty, placement.nodes[0].now), (2, Some(1)));
    busy.status.devices[7].allocated = true;
    assert_eq!(place([seen(&busy)], &joined).nodes[0].now, Some(0));
}

#[test]
fn a_sick_gpu_counts_where_the_device_plugin_has_not_noticed() {
    let mut node = agent("gpu-1", A100_80.0, A100_80.1, &[8]);
    let device = &mut node.status.devices[3];
    (device.healthy, device.reason, device.since) = (false, Some("Xid48".into()), Some("2025-11-22T03:04:05Z".into()));
    let wanted = demand(&gpu(&["A100"], ""), 10);
    assert_eq!(
        place([seen(&node)], &wanted).unfit[0].to_string(),
        "gpu-1: unhealthy GPU 0000:03:00.0, XID 48 at 03:04 on 2025-11-22, and the device plugin still offers it"
    );
    let noticed = NodeGpus::of(&offering("gpu-1", &[("gpu", 7)], &[]), Some(&node));
    assert_eq!(place([noticed.clone()], &wanted).nodes[0].empty, 7);
    let eight = demand(&Gpu { count: 8, ..Gpu::default() }, 1);
    assert_eq!(place([noticed], &eight).unfit[0].why, "7 GPUs for a pod that needs 8; 1 more unhealthy");
}

#[test]
fn mixed_nodes_fit_only_if_any_device_will_do() {
    let mut node = agent("gpu-1", A100_80.0, A100_80.1, &[2]);
    (node.status.devices[1].product, node.status.devices[1].memory) = ("L4".into(), 23_034 << 20);
    let why = |gpu: &Gpu| place([seen(&node)], &demand(gpu, 1)).unfit.first().map(|u| u.why.clone());
    assert_eq!(
        why(&gpu(&["A100"], "")).as_deref(),
        Some("has L4-24GB beside A100-SXM4-80GB, and a pod may be given either")
    );
    assert_eq!(why(&gpu(&["A100", "L4"], "20Gi")), None);
    assert_eq!(why(&gpu(&["80GB"], "")).as_deref(), Some("has A100-SXM4-80GB, 80GB wanted"));
    assert_eq!(why(&gpu(&["H100"], "")).as_deref(), Some("has A100-SXM4-80GB, H100 wanted"));
}

#[test]
fn slices_and_instances_have_resources_of_their_own() {
    let label =
        |product| [("gpu.product", product), ("gpu.memory", "81920"), ("gpu.count", "2"), ("gpu.replicas", "4")];
    let sliced = NodeGpus::of(&offering("sliced", &[("gpu", 8)], &label("NVIDIA-A100-SXM4-80GB-SHARED")), None);
    let renamed = NodeGpus::of(&offering("renamed", &[("gpu.shared", 8)], &label("NVIDIA-A100-SXM4-80GB")), None);
    let alone = demand(&gpu(&["A100"], ""), 10);
    let shared = demand(&Gpu { sharing: Sharing::Shared, ..gpu(&["A100"], "") }, 10);
    let placement = place([sliced.clone(), renamed.clone()], &alone);
    assert_eq!(placement.unfit[0].nodes.len(), 2, "{:?}", placement.unfit);
    assert!(placement.unfit[0].why.starts_with("its GPUs are time-sliced"));

    let placement = place([sliced.clone(), renamed], &shared);
    assert_eq!(placement.allocation.resource.to_string(), "nvidia.com/gpu.shared");
    assert_eq!((&*placement.nodes[0].node, placement.nodes[0].empty), ("renamed", 8));
    let placement = place([sliced, dgx("whole", A100_80)], &shared);
    assert_eq!(placement.allocation.resource.to_string(), "nvidia.com/gpu");
    assert_eq!((placement.at_once, &*placement.nodes[0].unit), (10, "A100-SXM4-80GB-SHARED"));

    let single = [("gpu.product", "NVIDIA-A100-SXM4-80GB-MIG-3g.40gb"), ("gpu.memory", "40192")];
    let single = NodeGpus::of(&offering("single", &[("gpu", 16)], &single), None);
    let mixed = offering(
        "mixed",
        &[("gpu", 6), ("mig-3g.40gb", 2), ("mig-1g.10gb", 1)],
        &[("gpu.product", "NVIDIA-A100-SXM4-80GB"), ("gpu.count", "6"), ("mig-3g.40gb.memory", "40192")],
    );
    let mixed = NodeGpus::of(&mixed, None);
    let mig = |profile: &str| demand(&Gpu { mig: Some(profile.into()), ..gpu(&["A100-80GB"], "38Gi") }, 99);
    let placement = place([single.clone(), mixed.clone()], &mig("3g.40gb"));
    assert_eq!(placement.allocation.resource.to_string(), "nvidia.com/mig-3g.40gb");
    assert_eq!((&*placement.nodes[0].node, placement.at_once), ("mixed", 2));
    assert_eq!(placement.unfit[0].to_string(), "single: its device plugin offers no nvidia.com/mig-3g.40gb");
    let placement = place([single.clone()], &mig("3g.40gb"));
    assert_eq!((placement.allocation.resource.to_string().as_str(), placement.at_once), ("nvidia.com/gpu", 16));
    let placement = place([single.clone(), mixed.clone()], &mig("7g.80gb"));
    assert_eq!(placement.unfit[0].why, "its GPUs are cut into MIG 1g.10gb, 3g.40gb, 7g.80gb needed");
    let placement = place([single, mixed], &demand(&gpu(&["A100"], ""), 99));
    assert_eq!((&*placement.nodes[0].node, placement.at_once), ("mixed", 6));
    assert_eq!(placement.unfit[0].to_string(), "single: its GPUs are cut into MIG 3g.40gb, and whole ones are needed");
}

#[test]
fn taints_count_unless_they_are_tolerated() {
    let taint = |effect: &str| Taint { key: "team".into(), value: "search".into(), effect: effect.into() };
    let node = |effect: &str| NodeFacts { taints: vec![taint(effect)], ..offering("gpu-1", &[("gpu", 8)], &[]) };
    let wanted = demand(&gpu(&[], ""), 1);
    let fits = |effect: &str, tolerations: &[(&str, Option<&str>)]| {
        let tolerations = tolerations.iter().map(|(key, value)| Toleration {
            key: (*key).into(),
            value: value.map(str::to_owned),
            effect: String::new(),
        });
        let wanted = Demand { tolerations: tolerations.collect(), ..wanted.clone() };
        place([NodeGpus::of(&node(effect), None)], &wanted).unfit.first().map(|u| u.why.clone())
    };
    let why = "tainted team=search:NoSchedule, which the pods do not tolerate";
    assert_eq!(fits("NoSchedule", &[]).as_deref(), Some(why));
    assert_eq!(fits("NoSchedule", &[("team", Some("other"))]).as_deref(), Some(why));
    assert_eq!(fits("NoSchedule", &[("team", None)]), None);
    assert_eq!(fits("NoExecute", &[("", None)]), None);
    assert_eq!(fits("PreferNoSchedule", &[]), None);
}

#[test]
fn names_are_excluded_as_far_as_they_are_few() {
    let lost = |i: u32| seen(&quarantined(agent(&format!("bad-{i:03}"), A100_80.0, A100_80.1, &[8])));
    let placement = place((0..100).map(lost).chain([dgx("good", A100_80)]), &demand(&gpu(&[], ""), 1));
    assert_eq!((placement.affinity.terms[0].not_nodes.len(), placement.affinity.left_in), (64, 36));
    let unfit = &placement.unfit[0];
    assert_eq!(unfit.to_string(), "bad-000, bad-001 and 98 more: quarantined, XID 79 at 10:12 on 2025-11-22");
    let full = unfit.in_full();
    assert!(full.contains("bad-098, bad-099: quarantined") && full.matches("bad-").count() == 100, "{full}");
}

#[test]
fn a_job_made_during_the_quarantine_of_a_node_gets_it_afterwards() {
    let during = |islands: &[usize], wanted: &Demand| {
        let mut node = quarantined(agent("gpu-1", A100_80.0, A100_80.1, islands));
        node.status.devices[0].healthy = false;
        let taint = Taint { key: QUARANTINE_TAINT.into(), value: String::new(), effect: "NoSchedule".into() };
        let facts = NodeFacts { taints: vec![taint], ..offering("gpu-1", &[("gpu", 8)], &[]) };
        place([NodeGpus::of(&facts, Some(&node))], wanted)
    };
    for wanted in [demand(&gpu(&["A100-80GB"], "70Gi"), 1), demand(&gpu(&[], ""), 1)] {
        let placement = during(&[8], &wanted);
        assert_eq!(placement.placeable, Placeable::False);
        assert_eq!(placement.affinity, place([dgx("gpu-1", A100_80)], &wanted).affinity);
    }
    // One that will not fit afterwards either is excluded for good.
    let joined = Gpu { count: 8, nvlink: true, ..gpu(&[], "") };
    let placement = during(&[4, 4], &demand(&joined, 1));
    assert_eq!(placement.affinity.terms[0].not_nodes.iter().map(|n| &**n).collect::<Vec<_>>(), ["gpu-1"]);
}

#[test]
fn labels_choose_what_no_catalogue_knows_and_exclude_what_is_many() {
    let labelled = |name: &str, product: &str| {
        NodeGpus::of(&offering(name, &[("gpu", 8)], &[("gpu.product", product), ("gpu.count", "8")]), None)
    };
    let placement = place([labelled("new", "NVIDIA-X77-Turbo")], &demand(&gpu(&["X77-Turbo"], ""), 1));
    let values = |placement: &Placement| placement.affinity.terms[0].labels[0].values.clone();
    assert_eq!(values(&placement), ["NVIDIA-X77-TURBO", "NVIDIA-X77-Turbo", "X77-TURBO"]);

    let sliced = |i: u32| {
        let labels = [("gpu.product", "NVIDIA-L4-SHARED"), ("gpu.count", "8"), ("gpu.replicas", "2")];
        NodeGpus::of(&offering(&format!("sliced-{i}"), &[("gpu", 16)], &labels), None)
    };
    let nodes = (0..100).map(sliced).chain([labelled("whole", "NVIDIA-L4")]);
    let placement = place(nodes, &demand(&gpu(&[], ""), 1));
    assert_eq!((values(&placement), placement.affinity.left_in), (vec!["NVIDIA-L4-SHARED".to_owned()], 0));
    assert!(placement.affinity.terms[0].not_nodes.is_empty());
}

#[test]
fn a_finish_is_expected_only_where_it_was_measured() {
    let nodes = [dgx("gpu-1", A100_80), dgx("gpu-2", A100_40)];
    let any = demand(&gpu(&["A100"], ""), 100);
    let placement = place(nodes.clone(), &any);
    let mut rates = Rates::default();
    let measured = |rates: &Rates| rates.finish(&placement, &[(ids::CAPTION, 57_600)]);
    assert_eq!(measured(&rates), None);
    let spent = |shards| Spent { gpu_millis: 10_000, shards, records: 0 };
    rates.spent.insert((ids::CAPTION, A100_80.0.into()), spent(15));
    assert_eq!(measured(&rates), None, "half of the GPUs were never measured");
    rates.spent.insert((ids::CAPTION, A100_40.0.into()), spent(5));
    // 8 × 1.5 + 8 × 0.5 = 16 shards a second: an hour of 16 GPUs.
    let finish = measured(&rates).unwrap();
    assert_eq!((finish.hours, finish.gpu_hours, finish.cost), (1.0, 16.0, None));
    rates.prices = BTreeMap::from([(A100_80.0.into(), 2.0), (A100_40.0.into(), 1.0)]);
    assert_eq!(measured(&rates).unwrap().cost, Some(24.0));
    assert_eq!(rates.price_where(&placement), Some(1.5), "as many pods on one as on the other");
    assert_eq!(rates.price_where(&place([], &any)), None);
    assert_eq!(rates.finish(&placement, &[(ids::CAPTION, 57_600), (ids::TAG, 1)]), None, "tags were never measured");
    let twice = rates.finish(&placement, &[(ids::CAPTION, 57_600), (ids::CAPTION, 28_800)]).unwrap();
    assert_eq!((twice.hours, twice.cost), (1.5, Some(36.0)));
    // Eight shards are work for eight of the sixteen: each a second of half a GPU of either kind.
    let few = rates.finish(&placement, &[(ids::CAPTION, 8)]).unwrap();
    assert!((few.hours - 1.0 / 3600.0).abs() < 1e-12 && (few.gpu_hours - 8.0 / 3600.0).abs() < 1e-12, "{few:?}");
    // Four pods at once are a quarter of the GPUs.
    let four = place(nodes, &Demand { parallelism: Some(4), ..any });
    assert_eq!(rates.finish(&four, &[(ids::CAPTION, 57_600)]).unwrap().hours, 4.0);
}

#[test]
fn a_price_is_that_of_the_name_that_says_most() {
    let prices = [("A100", 1.0), ("A100-80GB", 2.0), ("A100-SXM4-80GB", 3.0), ("A100-SXM4-80GB-MIG-3g.40gb", 0.5)];
    let rates = Rates { prices: prices.map(|(name, price)| (name.to_owned(), price)).into(), ..Rates::default() };
    for (unit, price) in [
        ("A100-SXM4-80GB", Some(3.0)),
        ("A100-PCIE-80GB", Some(2.0)),
        ("A100-PCIE-40GB", Some(1.0)),
        ("A100-SXM4-80GB-MIG-3g.40gb", Some(0.5)),
        ("A100-SXM4-80GB-MIG-1g.10gb", None),
        ("A100-SXM4-80GB-SHARED", None),
        ("L4-24GB", None),
    ] {
        assert_eq!(rates.price(unit), price, "{unit}");
    }
}

#[test]
fn a_stage_without_settings_asks_for_what_its_model_needs() {
    let mut spec: BuildSpec = support::effective(&support::full_spec());
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let llm = spec.models.llm.as_mut().unwrap();
    (llm.uri, llm.dtype) = (Some("oci://models/Meta-Llama-3-8B-Instruct".into()), realsyn_crds::Dtype::Bf16);
    spec.stages.generate.device = serde_json::from_value(json!({ "engine": "cuda" })).unwrap();
    let asked = Demand::of_stage(&spec, Stage::Generate, 7).unwrap();
    assert_eq!(asked.memory, memory::least(&memory::LLAMA3_8B, realsyn_crds::Dtype::Bf16, 1));
    assert!((19.0..20.0).contains(&gib(asked.memory)), "{asked}");
    spec.stages.generate.device.gpu = Some(gpu(&["A100"], "30Gi"));
    let asked = Demand::of_stage(&spec, Stage::Generate, 7).unwrap();
    assert_eq!((asked.memory, asked.tasks, asked.to_string()), (30 << 30, 7, "1 A100 with 30 GiB".to_owned()));
    spec.models.llm.as_mut().unwrap().uri = Some("oci://models/other".into());
    spec.stages.generate.device.gpu = None;
    assert_eq!(Demand::of_stage(&spec, Stage::Generate, 7).unwrap().memory, 0, "of another model nothing is known");
    spec.stages.generate.device.engine = realsyn_crds::Engine::Cpu;
    assert_eq!(Demand::of_stage(&spec, Stage::Generate, 7), None);
    assert_eq!(Demand::of_stage(&spec, Stage::Documents, 7), None);
}
