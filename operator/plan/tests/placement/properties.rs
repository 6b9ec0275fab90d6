//! What holds for any cluster, over seeded random ones.

use std::collections::{BTreeMap, BTreeSet};

use realsyn_crds::{Gpu, GpuNode, Quantity, Sharing};
use realsyn_plan::placement::{Demand, Inventory, NodeGpus, Placeable, Placement, Toleration, thin_links};
use serde_json::Value;

use crate::search::Counted::{All, Free, Near};
use crate::search::Wanted;
use crate::support::Rng;
use crate::world::{Node, PROFILES, node, taint, world};

const WORLDS: u64 = 8_000;

fn wanted(rng: &mut Rng) -> Wanted {
    const PRODUCTS: [(&[&str], &[usize]); 7] = [
        (&[], &[0, 1, 2, 3, 4, 5]),
        (&[], &[0, 1, 2, 3, 4, 5]),
        (&["A100"], &[0, 1, 2]),
        (&["NVIDIA A100 80GB"], &[0, 2]),
        (&["A100-SXM4-80GB"], &[0]),
        (&["H100", "L4"], &[3, 4]),
        (&["Z9"], &[]),
    ];
    let (products, accepts) = PRODUCTS[rng.below(PRODUCTS.len())];
    let mig = rng.chance(250).then(|| rng.below(PROFILES.len()));
    let shared = mig.is_none() && rng.chance(250);
    let count = if mig.is_some() || shared { 1 } else { 1 + rng.below(4) };
    let gib = [0, 0, 9, 20, 40, 41, 42, 70, 84, 85][rng.below(10)];
    let nvlink = count > 1 && rng.chance(600);
    let compute = [None, None, None, None, Some((8, 0)), Some((9, 0))][rng.below(6)];
    Wanted { products, accepts, compute, gib, count, nvlink, mig, shared, tolerates: rng.chance(300) }
}

fn demand(wanted: &Wanted) -> Demand {
    let gpu = Gpu {
        products: wanted.products.iter().map(|p| (*p).to_owned()).collect(),
        min_memory: (wanted.gib > 0).then(|| Quantity::new(format!("{}Gi", wanted.gib))),
        count: wanted.count as u32,
        nvlink: wanted.nvlink,
        mig: wanted.mig.map(|p| PROFILES[p].0.to_owned()),
        sharing: if wanted.shared { Sharing::Shared } else { Sharing::Exclusive },
        allow_scale_up: true,
    };
    let toleration = Toleration { key: taint().key, value: None, effect: String::new() };
    let tolerations = if wanted.tolerates { vec![toleration] } else { Vec::new() };
    Demand { tasks: 10_000, tolerations, compute: wanted.compute, ..Demand::new(&gpu, None) }
}

fn place(nodes: &[Node], demand: &Demand) -> Placement {
    nodes.iter().map(|n| NodeGpus::of(&n.facts, n.gpu_node.as_ref())).collect::<Inventory>().place(demand)
}

/// What is said of each node: its fit, or why not.
fn said(placement: &Placement) -> BTreeMap<String, String> {
    let fits = placement.nodes.iter().map(|n| (n.node.to_string(), format!("{n:?}")));
    let unfit = placement.unfit.iter().flat_map(|u| u.nodes.iter().map(|n| (n.to_string(), u.why.clone())));
    fits.chain(unfit).collect()
}

fn each(mut check: impl FnMut(&mut Rng, Vec<Node>, Wanted)) {
    for seed in 0..WORLDS {
        let mut rng = Rng(seed);
        let (nodes, wanted) = (world(&mut rng), wanted(&mut rng));
        let _shown = Shown(seed, wanted);
        check(&mut rng, nodes, wanted);
    }
}

/// Says which world it was when a check panics.
struct Shown(u64, Wanted);

impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}: {:?}", self.0, self.1);
        }
    }
}

#[test]
fn what_trying_everything_can_place_is_placed_and_nothing_else() {
    let (mut placed, mut across) = ([0; 3], 0);
    each(|_, nodes, wanted| {
        let placement = place(&nodes, &demand(&wanted));
        let resource = placement.allocation.resource.to_string();
        for node in &nodes {
            let fit = placement.nodes.iter().find(|n| *n.node == *node.facts.name);
            assert_eq!(fit.map_or(0, |f| f.empty), wanted.pods(node, &resource, All), "{node:#?}");
            if let Some(fit) = fit {
                assert!(fit.empty > 0 && fit.gpus >= fit.empty * wanted.count as u32);
                if let Some(now) = fit.now {
                    assert_eq!(now, wanted.pods(node, &resource, Free), "{node:#?}");
                }
                let healthy = || node.items.iter().filter(|i| i.resource == resource && i.healthy);
                assert_eq!(fit.one_numa.is_some(), healthy().all(|item| item.numa.is_some()), "{node:#?}");
                if let Some(one_numa) = fit.one_numa {
                    assert_eq!(one_numa, wanted.pods(node, &resource, Near), "{node:#?}");
                    across += u32::from(one_numa < fit.empty);
                }
                placed[if wanted.nvlink { 2 } else { usize::from(wanted.count > 1) }] += 1;
            }
        }
        // Nothing is left out because another resource was asked for.
        let others = ["nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-3g.40gb", "nvidia.com/mig-1g.10gb"];
        if placement.nodes.is_empty() {
            let missed = others.iter().any(|r| nodes.iter().any(|n| wanted.pods(n, r, All) > 0));
            assert!(!missed, "{nodes:#?}");
        }
    });
    assert!(placed.iter().all(|n| *n > 150) && across > 150, "the worlds try too little: {placed:?}, {across}");
}

#[test]
fn exactly_the_nodes_that_do_not_fit_have_a_sentence() {
    each(|_, nodes, wanted| {
        let placement = place(&nodes, &demand(&wanted));
        let fit: BTreeSet<&str> = placement.nodes.iter().map(|n| &*n.node).collect();
        let unfit: Vec<&str> = placement.unfit.iter().flat_map(|u| u.nodes.iter().map(|n| &**n)).collect();
        let all: BTreeSet<&str> = nodes.iter().map(|n| n.facts.name.as_str()).collect();
        assert_eq!(fit.len() + unfit.len(), all.len(), "{placement:#?}");
        assert_eq!(fit.into_iter().chain(unfit).collect::<BTreeSet<_>>(), all);
        let whys: BTreeSet<&str> = placement.unfit.iter().map(|u| u.why.as_str()).collect();
        assert_eq!(whys.len(), placement.unfit.len(), "two groups say the same: {whys:?}");
        assert!(whys.iter().all(|why| !why.is_empty() && !why.ends_with('.')));
        assert_eq!(placement.placeable == Placeable::True, !placement.nodes.is_empty());
        assert!(placement.may_start && !placement.sentence.is_empty());
    });
}

#[test]
fn the_order_of_nodes_and_devices_does_not_matter() {
    fn shuffle<T>(rng: &mut Rng, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            list.swap(i, rng.below(i + 1));
        }
    }
    each(|rng, mut nodes, wanted| {
        let demand = demand(&wanted);
        let before = place(&nodes, &demand);
        shuffle(rng, &mut nodes);
        for gpu_node in nodes.iter_mut().filter_map(|n| n.gpu_node.as_mut()) {
            shuffle(rng, &mut gpu_node.status.devices);
            gpu_node.status.devices.iter_mut().for_each(|d| shuffle(rng, &mut d.nvlink));
            gpu_node.status.devices.iter_mut().for_each(|d| shuffle(rng, &mut d.instances));
        }
        assert_eq!(place(&nodes, &demand), before);
    });
}

#[test]
fn a_node_whose_links_are_thinned_is_the_same_to_the_planner() {
    let mut thinned = 0;
    each(|_, nodes, _| {
        for node in nodes {
            let Some(seen) = node.gpu_node else { continue };
            let mut thin = seen.clone();
            thin_links(&mut thin.status.devices);
            assert_eq!(NodeGpus::of(&node.facts, Some(&thin)), NodeGpus::of(&node.facts, Some(&seen)));
            let links = |node: &GpuNode| node.status.devices.iter().map(|device| device.nvlink.len()).sum::<usize>();
            assert!(links(&thin) < thin.status.devices.len().max(1));
            thinned += usize::from(links(&thin) > 0 && links(&thin) < links(&seen));
        }
    });
    assert!(thinned > 1_000, "{thinned} nodes tried it");
}

#[test]
fn a_changed_node_moves_nothing_but_itself() {
    each(|rng, mut nodes, wanted| {
        if nodes.is_empty() {
            return;
        }
        let demand = demand(&wanted);
        let before = place(&nodes, &demand);
        let i = rng.below(nodes.len());
        nodes[i] = node(rng, i);
        let after = place(&nodes, &demand);
        let name = nodes[i].facts.name.as_str();
        if before.allocation != after.allocation {
            // Only where the node that changed was, or is, the only one that fits the first choice.
            let alone = |p: &Placement| p.nodes.iter().all(|n| &*n.node == name);
            assert!(alone(&before) || alone(&after), "{before:#?} {after:#?}");
            return;
        }
        let (mut before, mut after) = (said(&before), said(&after));
        before.remove(name);
        after.remove(name);
        assert_eq!(before, after);
    });
}

#[test]
fn the_scheduler_is_told_the_same_as_the_person() {
    let mut told = [0; 2];
    each(|_, nodes, wanted| {
        let placement = place(&nodes, &demand(&wanted));
        assert_eq!(placement.affinity.left_in, 0);
        let affinity = placement.affinity.node_affinity();
        let resource = placement.allocation.resource.to_string();
        for node in &nodes {
            let admitted = affinity.as_ref().is_none_or(|a| admits(a, node));
            let fits = placement.nodes.iter().any(|n| *n.node == *node.facts.name);
            if fits {
                assert!(admitted, "fits, and is kept out by {affinity:#?}: {node:#?}");
            }
            let enough = node.offered.get(&resource).is_some_and(|n| *n as usize >= wanted.count);
            if !fits && enough && node.scheduler_may() {
                assert!(!admitted, "does not fit, and is let in by {affinity:#?}: {node:#?}");
                told[1] += 1;
            }
            told[0] += u32::from(fits);
        }
    });
    assert!(told.iter().all(|n| *n > 500), "the worlds try too little: {told:?}");
}

/// As the scheduler reads an affinity: one of the terms, and of a term everything.
fn admits(affinity: &Value, node: &Node) -> bool {
    let terms = &affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    terms.as_array().unwrap().iter().any(|term| {
        let list = |name: &str| term.get(name).map_or(Vec::new(), |l| l.as_array().unwrap().clone());
        let (labels, fields) = (list("matchExpressions"), list("matchFields"));
        assert!(!labels.is_empty() || !fields.is_empty(), "a term without conditions admits no node");
        let holds = |e: &Value| {
            let value = node.facts.labels.get(e["key"].as_str().unwrap());
            let values = || e["values"].as_array().unwrap().iter().map(|v| v.as_str().unwrap());
            match e["operator"].as_str().unwrap() {
                "In" => value.is_some_and(|v| values().any(|w| w == v)),
                "NotIn" => value.is_none_or(|v| values().all(|w| w != v)),
                "DoesNotExist" => value.is_none(),
                "Gt" => value.is_some_and(|v| v.parse::<i64>().unwrap() > values().next().unwrap().parse().unwrap()),
                other => panic!("{other}"),
            }
        };
        let other_name = |f: &Value| {
            assert_eq!((f["key"].as_str(), f["operator"].as_str()), (Some("metadata.name"), Some("NotIn")));
            let values = f["values"].as_array().unwrap();
            assert_eq!(values.len(), 1, "the API server takes one value for a field");
            values[0] != node.facts.name.as_str()
        };
        labels.iter().all(holds) && fields.iter().all(other_name)
    })
}
