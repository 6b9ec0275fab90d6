//! What is known of the nodes: Kubernetes' own view of each, and its `GpuNode`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::reflector::{ObjectRef, Store};
use realsyn_crds::{GpuNodeStatus, QUARANTINED};
pub use realsyn_objects::nodes::GpuNode;
use realsyn_objects::nodes::planners_view;
use realsyn_plan::placement::{Inventory, NodeGpus, thin_links};

/// The caches, and what the planner makes of them.
pub struct Nodes {
    /// Nodes, without what [`strip_node`] takes out.
    pub nodes: Store<Node>,
    /// Their `GpuNode`s.
    pub gpu_nodes: Store<GpuNode>,
    view: Mutex<PlannersView>,
}

/// A cluster has tens of thousands of devices: what is made of each node is kept, and made anew when the node changes.
#[derive(Default)]
struct PlannersView {
    nodes: BTreeMap<String, NodeGpus>,
    silent: BTreeMap<String, Timestamp>,
    inventory: Option<Arc<Inventory>>,
}

impl Nodes {
    /// Over these caches. Without nodes to read (`watched` is false) nothing is known.
    pub fn new(nodes: Store<Node>, gpu_nodes: Store<GpuNode>, watched: bool) -> Self {
        let inventory = (!watched).then(|| Arc::new(Inventory::unknown()));
        Self { nodes, gpu_nodes, view: Mutex::new(PlannersView { inventory, ..PlannersView::default() }) }
    }

    /// The names of all nodes that are known, or were until now.
    pub fn names(&self) -> BTreeSet<String> {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names: BTreeSet<String> = view.nodes.keys().cloned().collect();
        drop(view);
        names.extend(self.nodes.state().iter().filter_map(|n| n.metadata.name.clone()));
        names.extend(self.gpu_nodes.state().iter().filter_map(|n| n.metadata.name.clone()));
        names
    }

    /// A node or its `GpuNode` has changed, come, or gone. Tells whether other stages fit it now.
    pub fn changed(&self, name: &str) -> bool {
        let gpu_node = self.gpu_nodes.get(&ObjectRef::new(name));
        let node = self.nodes.get(&ObjectRef::new(name));
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = view.silent.get(name).map(Timestamp::to_string);
        let now = node.map(|node| planners_view(&node, gpu_node.as_deref(), silent.as_deref()));
        let before = match &now {
            Some(now) => view.nodes.insert(name.to_owned(), now.clone()),
            None => view.nodes.remove(name),
        };
        if before == now {
            return false;
        }
        view.inventory = None;
        !matches!((before, now), (Some(before), Some(now)) if before.fits_like(&now))
    }

    /// The nodes whose agent is silent, and since when. Each node of which that has changed has [`changed`](Self::changed).
    pub fn silence(&self, silent: BTreeMap<String, Timestamp>) {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).silent = silent;
    }

    /// Whether any `GpuNode` is known: before they are listed, or where they may not be read, their absence says nothing.
    pub fn are_there(&self) -> bool {
        !self.gpu_nodes.is_empty()
    }

    /// The GPUs of the cluster.
    pub fn inventory(&self) -> Arc<Inventory> {
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &view.inventory {
            return made.clone();
        }
        let made: Arc<Inventory> = Arc::new(view.nodes.values().cloned().collect());
        view.inventory = Some(made.clone());
        made
    }
}

/// A node without its images, addresses and foreign annotations: names, labels, taints, what it offers and whether it is
/// ready are all that is looked at.
pub fn strip_node(node: &mut Node) {
    node.metadata.annotations = None;
    if let Some(status) = &mut node.status {
        let conditions = status.conditions.take().map(|all| all.into_iter().filter(|c| c.type_ == "Ready").collect());
        let allocatable = status.allocatable.take().map(|all| {
            let of_gpus = all.into_iter().filter(|(name, _)| name.starts_with("nvidia.com/"));
            of_gpus.collect::<BTreeMap<_, _>>()
        });
        *status = k8s_openapi::api::core::v1::NodeStatus { conditions, allocatable, ..Default::default() };
    }
}

/// A `GpuNode` without what only people look at, and with as few words about NVLink as say the same.
pub fn strip_gpu_node(node: &mut GpuNode) {
    if let Some(annotations) = &mut node.metadata.annotations {
        annotations.retain(|name, _| name == QUARANTINED);
    }
    let GpuNodeStatus { driver_since, cuda, summary, changed_at, devices, .. } = &mut node.status;
    (*driver_since, *cuda, *summary, *changed_at) = (None, None, None, None);
    thin_links(devices);
}
