//! What is known of the nodes: Kubernetes' own view of each, and its `GpuNode`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use kube::Resource;
use kube::core::{ClusterResourceScope, ObjectMeta};
use kube::runtime::reflector::Store;
use realsyn_crds::{GROUP, GpuNodeSpec, GpuNodeStatus, VERSION};
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

/// The caches.
pub struct Nodes {
    /// Nodes, without what [`strip_node`] takes out.
    pub nodes: Store<Node>,
    /// Their `GpuNode`s.
    pub gpu_nodes: Store<GpuNode>,
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
