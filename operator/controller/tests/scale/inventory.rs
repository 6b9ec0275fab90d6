//! Thousands of nodes with GPUs.

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use realsyn_cluster::{ControlPlane, Process};
use realsyn_crds::{GROUP, GpuDevice, GpuNodeStatus, GpuSummary, VERSION};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::support::binary::{Binary, Memory};
use super::support::site::Server;
use super::{AT_ONCE, Table, fill};

/// Nodes of eight GPUs.
const NODES: usize = 5000;

/// What the GPUs of thousands of nodes cost.
pub async fn inventory(plane: &ControlPlane, api: &Server, table: &mut Table) -> Result<()> {
    // It would take nodes without a kubelet for dead.
    plane.kill(Process::ControllerManager)?;
    let name = |n: usize| format!("gpu-{n}");
    let nodes: Api<Node> = Api::all(api.client.clone());
    fill(&nodes, NODES, |n| Ok(serde_json::from_value(json!({ "metadata": { "name": name(n) } }))?)).await?;
    let offered =
        json!({ "status": { "allocatable": { "nvidia.com/gpu": "8" }, "capacity": { "nvidia.com/gpu": "8" } } });
    say(&nodes, |n| (name(n), offered.clone())).await?;
    let before = settled(plane).await?;

    let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, "GpuNode"), "gpunodes");
    let gpu_nodes: Api<DynamicObject> = Api::all_with(api.client.clone(), &kind);
    fill(&gpu_nodes, NODES, |n| Ok(DynamicObject::new(&name(n), &kind).data(json!({ "spec": {} })))).await?;
    say(&gpu_nodes, |n| (name(n), json!({ "status": eight_gpus(n) }))).await?;
    let after = settled(plane).await?;
    table.note(&format!("memory with {NODES} nodes, resident"), before.to_string());
    table.note("memory with their GpuNodes, resident", after.to_string());
    let cost = after.resident - before.resident;
    table.row("what 5,000 GpuNodes of eight devices cost", "≤ 30 MiB", format!("{cost:.0} MiB"), cost <= 30.0);
    Ok(())
}

/// Patches the status of each of the nodes.
async fn say<K>(api: &Api<K>, status: impl Fn(usize) -> (String, Value)) -> Result<()>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let each = stream::iter((0..NODES).map(status)).map(async |(name, status)| {
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.map(drop)
    });
    Ok(each.buffer_unordered(AT_ONCE).try_collect().await?)
}

/// The memory of a controller that has just started and seen every node.
async fn settled(plane: &ControlPlane) -> Result<Memory> {
    let binary = Binary::start_with(plane.kubeconfig(), &["--gpus", "--no-taints"]).await?;
    binary.settle(0).await?;
    let memory = binary.memory()?;
    binary.end().await?;
    Ok(memory)
}

/// The status of a DGX A100, whose devices a switch joins.
fn eight_gpus(node: usize) -> GpuNodeStatus {
    let pci = |n: usize| format!("0000:{:02x}:00.0", 7 + 8 * n);
    let device = |n: usize| GpuDevice {
        uuid: format!("GPU-{node:08x}-0000-4000-8000-{n:012x}"),
        pci: pci(n),
        product: "A100-SXM4-80GB".into(),
        memory: 80 << 30,
        compute: "8.0".into(),
        numa: Some(n as u32 / 2),
        nvlink: (0..8).filter(|other| *other != n).map(pci).collect(),
        healthy: true,
        ..GpuDevice::default()
    };
    GpuNodeStatus {
        driver: Some("580.95.05".into()),
        driver_since: Some("2026-01-01T00:00:00Z".into()),
        cuda: Some("13.0".into()),
        summary: Some(GpuSummary {
            product: "A100-SXM4-80GB".into(),
            gpus: 8,
            memory: "80Gi".into(),
            nvlink: Some("8".into()),
            healthy: "8/8".into(),
            free: 8,
            ..GpuSummary::default()
        }),
        devices: (0..8).map(device).collect(),
        changed_at: Some("2026-01-01T00:00:00Z".into()),
        ..GpuNodeStatus::default()
    }
}
