//! The GPUs of the cluster, as far as the user may see them: nodes, what their agents say of them, and which agents are silent.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use realsyn_objects::names::AGENTS;
use realsyn_objects::nodes::{DEAD_AFTER, GpuNode, heartbeat, planners_view};
use realsyn_plan::placement::Inventory;

use crate::cluster::Cluster;

/// Where the chart puts the agents, and their Leases, unless it is told otherwise.
const USUAL: &str = "realsyn-gpu";

/// What is known of the nodes; `agents` is the namespace of the agents, if somebody says which.
pub async fn inventory(cluster: &Cluster, agents: Option<&str>) -> Inventory {
    let (nodes, gpu_nodes): (Api<Node>, Api<GpuNode>) =
        (Api::all(cluster.client.clone()), Api::all(cluster.client.clone()));
    let Ok(nodes) = nodes.list(&ListParams::default()).await else { return Inventory::unknown() };
    // Without agents there are none, and labels have to do.
    let gpu_nodes = gpu_nodes.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
    let gpu_nodes: BTreeMap<String, GpuNode> = gpu_nodes.into_iter().map(|n| (n.name_any(), n)).collect();
    let silent = if gpu_nodes.is_empty() { BTreeMap::new() } else { silent(cluster, agents).await };
    let view = |node: &Node| {
        let name = node.name_any();
        planners_view(node, gpu_nodes.get(&name), silent.get(&name).map(String::as_str))
    };
    nodes.items.iter().map(view).collect()
}

/// The nodes whose agent is silent, and since when. Who may not read the Leases is told what the agents said last.
async fn silent(cluster: &Cluster, agents: Option<&str>) -> BTreeMap<String, String> {
    let namespace = match agents {
        Some(namespace) => namespace.to_owned(),
        None => namespace_of_agents(cluster).await.unwrap_or_else(|| USUAL.to_owned()),
    };
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), &namespace);
    let leases = leases.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
    leases.iter().filter_map(|lease| silence(lease, Timestamp::now())).collect()
}

async fn namespace_of_agents(cluster: &Cluster) -> Option<String> {
    let sets: Api<DaemonSet> = Api::all(cluster.client.clone());
    let named = ListParams::default().fields(&format!("metadata.name={AGENTS}"));
    sets.list_metadata(&named).await.ok()?.items.first()?.namespace()
}

/// The node of a silent agent, and since when it is silent.
fn silence(lease: &Lease, now: Timestamp) -> Option<(String, String)> {
    // At one look the controller sees no more.
    let (node, renewed) = heartbeat(lease)?;
    let renewed = renewed?;
    (now.duration_since(renewed) > DEAD_AFTER).then(|| (node.to_owned(), renewed.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_silent_whose_lease_is_old() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let look = |name: &str, renewed: &str| {
            let lease = serde_json::json!({ "metadata": { "name": name }, "spec": { "renewTime": renewed } });
            silence(&serde_json::from_value(lease).unwrap(), now)
        };
        let since = Some(("node-a".to_owned(), "2026-01-01T11:49:00Z".to_owned()));
        assert_eq!(look("realsyn-gpu-node-a", "2026-01-01T11:49:00.000000Z"), since);
        assert_eq!(look("realsyn-gpu-node-a", "2026-01-01T11:51:00.000000Z"), None);
        assert_eq!(look("realsyn-controller", "2026-01-01T11:00:00.000000Z"), None);
    }
}
