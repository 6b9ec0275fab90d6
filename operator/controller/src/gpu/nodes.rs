//! What is known of the nodes: Kubernetes' own view of each, and its `GpuNode`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Node;
use kube::Resource;
use kube::core::{ClusterResourceScope, ObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store};
use realsyn_crds::{GROUP, GpuNodeSpec, GpuNodeStatus, Metadata, VERSION};
use realsyn_plan::placement::{Inventory, NodeFacts, NodeGpus, Taint};
use serde::Deserialize;

/// A `GpuNode` as the API server has it. Typed, because a cluster has thousands; read only, because it is patched.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct GpuNode {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What people and the controller decide.
    #[serde(default)]
    pub spec: GpuNodeSpec,
    /// What its agent sees.
    #[serde(default)]
    pub status: GpuNodeStatus,
}

impl Resource for GpuNode {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        "GpuNode".into()
    }

    fn group(_: &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version(_: &()) -> Cow<'_, str> {
        VERSION.into()
    }

    fn plural(_: &()) -> Cow<'_, str> {
        "gpunodes".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

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
    inventory: Option<Arc<Inventory>>,
}

impl Nodes {
    /// Over these caches. Without nodes to read (`watched` is false) nothing is known.
    pub fn new(nodes: Store<Node>, gpu_nodes: Store<GpuNode>, watched: bool) -> Self {
        let inventory = (!watched).then(|| Arc::new(Inventory::unknown()));
        Self { nodes, gpu_nodes, view: Mutex::new(PlannersView { nodes: BTreeMap::new(), inventory }) }
    }

    /// A node or its `GpuNode` has changed, come, or gone.
    pub fn changed(&self, name: &str) {
        let node = self.nodes.get(&ObjectRef::new(name)).map(|node| facts(&node));
        let gpu_node = self.gpu_nodes.get(&ObjectRef::new(name));
        let now = node.map(|node| NodeGpus::of(&node, gpu_node.map(|g| g.plain()).as_ref()));
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match &now {
            Some(now) => view.nodes.insert(name.to_owned(), now.clone()),
            None => view.nodes.remove(name),
        };
        if before != now {
            view.inventory = None;
        }
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

impl GpuNode {
    /// As the planner takes it.
    fn plain(&self) -> realsyn_crds::GpuNode {
        realsyn_crds::GpuNode {
            metadata: Metadata { name: self.metadata.name.clone().unwrap_or_default(), namespace: None },
            spec: self.spec.clone(),
            status: self.status.clone(),
        }
    }
}

fn facts(node: &Node) -> NodeFacts {
    let spec = node.spec.clone().unwrap_or_default();
    let status = node.status.clone().unwrap_or_default();
    let taint = |t: k8s_openapi::api::core::v1::Taint| Taint {
        key: t.key,
        value: t.value.unwrap_or_default(),
        effect: t.effect,
    };
    NodeFacts {
        name: node.metadata.name.clone().unwrap_or_default(),
        labels: node.metadata.labels.clone().unwrap_or_default(),
        allocatable: status.allocatable.unwrap_or_default().into_iter().map(|(name, q)| (name, q.0)).collect(),
        taints: spec.taints.unwrap_or_default().into_iter().map(taint).collect(),
        unschedulable: spec.unschedulable.unwrap_or_default(),
        ready: status.conditions.unwrap_or_default().iter().any(|c| c.type_ == "Ready" && c.status == "True"),
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
