//! Nodes and their `GpuNode`s, as the API server has them and as the planner takes them.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::Resource;
use kube::core::{ClusterResourceScope, ObjectMeta};
use realsyn_crds::{GROUP, GpuNodeSpec, GpuNodeStatus, Metadata, VERSION};
use realsyn_plan::placement::{NodeFacts, NodeGpus, Taint};
use serde::Deserialize;

use crate::names;

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

/// The Lease of an agent that is older than this is a dead one's, however wrong somebody's clock is.
pub const DEAD_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// The node whose agent holds a Lease, and when it was renewed; `None` for another Lease.
pub fn heartbeat(lease: &Lease) -> Option<(&str, Option<Timestamp>)> {
    let node = lease.metadata.name.as_deref()?.strip_prefix(names::AGENT_LEASE)?;
    Some((node, lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0)))
}

/// The planner's view of a node; `silent` says since when its agent has been silent, if it is.
pub fn planners_view(node: &Node, gpu_node: Option<&GpuNode>, silent: Option<&str>) -> NodeGpus {
    let facts = facts(node);
    match (gpu_node.map(GpuNode::plain), silent) {
        (Some(gpu_node), Some(since)) => NodeGpus::of_silent(&facts, &gpu_node, since),
        (gpu_node, _) => NodeGpus::of(&facts, gpu_node.as_ref()),
    }
}

impl GpuNode {
    /// As the planner takes it.
    fn plain(&self) -> realsyn_crds::GpuNode {
        realsyn_crds::GpuNode {
            metadata: Metadata { name: self.metadata.name.clone().unwrap_or_default(), ..Metadata::default() },
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
