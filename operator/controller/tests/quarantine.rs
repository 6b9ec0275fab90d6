//! Quarantine on a real API server: what an agent reports, and what tasks fail on, keeps nodes free of work until it is
//! over; what a person wrote stays.

mod support;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use realsyn_cluster::ControlPlane;
use realsyn_controller::context::Options;
use realsyn_controller::gpu::nodes::GpuNode;
use realsyn_controller::names;
use realsyn_crds::API_VERSION;
use serde_json::{Value, json};
use support::fault::Faults;
use support::site::on_a_control_plane;
use support::until;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the agents' Leases are.
const AGENTS: &str = "agents";
const A: &str = "GPU-aaaaaaaa-0000-1111-2222-333333333333";
const B: &str = "GPU-bbbbbbbb-0000-1111-2222-333333333333";

#[test]
fn a_node_with_a_sick_gpu_gets_no_work_until_it_is_well() {
    on_a_control_plane("a_node_with_a_sick_gpu_gets_no_work_until_it_is_well", async |plane, api| {
        let agents_namespace = Some(AGENTS.to_owned());
        let options = Options {
            namespace: None,
            gpus: true,
            taint_nodes: true,
            agents_namespace,
            ..support::site::options(None)
        };
        before(&api.client).await?;
        let controller = api.controller(options, &Faults::new(None, None)).await?;
        let done = story(plane, &api.client).await;
        controller.abort();
        done
    });
}

/// A node that is ill when the controller starts.
async fn before(client: &Client) -> Result<()> {
    let (nodes, gpu_nodes): (Api<Node>, Api<GpuNode>) = (Api::all(client.clone()), Api::all(client.clone()));
    nodes.create(&PostParams::default(), &read(json!({ "metadata": { "name": "gpu-0" } }))?).await?;
    let object = json!({ "apiVersion": API_VERSION, "kind": "GpuNode", "metadata": { "name": "gpu-0" } });
    gpu_nodes.patch("gpu-0", &PatchParams::apply("test"), &Patch::Apply(object)).await?;
    let status = Patch::Merge(json!({ "status": { "devices": [device(A, Some("Xid48"))] } }));
    gpu_nodes.patch_status("gpu-0", &PatchParams::default(), &status).await?;
    // Its agent died an hour ago; what it said against a device counts all the same.
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &read(json!({ "metadata": { "name": AGENTS } }))?).await?;
    let leases: Api<Lease> = Api::namespaced(client.clone(), AGENTS);
    let renewed = MicroTime(jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1));
    let lease = json!({ "metadata": { "name": "realsyn-gpu-gpu-0" }, "spec": { "renewTime": renewed } });
    leases.create(&PostParams::default(), &read(lease)?).await?;
    Ok(())
}

async fn story(plane: &ControlPlane, client: &Client) -> Result<()> {
    let (nodes, gpu_nodes): (Api<Node>, Api<GpuNode>) = (Api::all(client.clone()), Api::all(client.clone()));
    let new = PostParams::default();
    // It need not wait for the minute after which all nodes are looked at again.
    let began = std::time::Instant::now();
    until(PATIENCE, "an entry", async || Ok(!gpu_nodes.get("gpu-0").await?.spec.quarantine.is_empty())).await?;
    ensure!(began.elapsed() < Duration::from_secs(30), "it was seen only after {} s", began.elapsed().as_secs());
    let events: Api<Event> = Api::namespaced(client.clone(), "default");
    until(PATIENCE, "an Event about the silent agent", async || {
        let found = events.list(&ListParams::default()).await?.items;
        Ok(found.iter().any(|e| {
            let about = e.regarding.as_ref().and_then(|o| o.name.as_deref());
            e.reason.as_deref() == Some("AgentSilent") && about == Some("gpu-0")
        }))
    })
    .await?;
    nodes.create(&new, &read(json!({ "metadata": { "name": "gpu-1" } }))?).await?;
    let object = json!({ "apiVersion": API_VERSION, "kind": "GpuNode", "metadata": { "name": "gpu-1" } });
    gpu_nodes.patch("gpu-1", &PatchParams::apply("test"), &Patch::Apply(object)).await?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&new, &read(json!({ "metadata": { "name": "team" } }))?).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "team");
    until(PATIENCE, "the account", async || Ok(accounts.get_opt("default").await?.is_some())).await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "team");
    pods.create(&new, &worker("works", true)?).await?;
    pods.create(&new, &worker("counts", false)?).await?;

    // The agent speaks against a device.
    report(&gpu_nodes, &[(A, Some("Xid79")), (B, None)]).await?;
    until(PATIENCE, "an entry", async || Ok(entries(&gpu_nodes).await? == [(A.to_owned(), "Xid79".to_owned())]))
        .await?;
    until(PATIENCE, "a taint", async || Ok(is_tainted(&nodes).await?)).await?;
    until(PATIENCE, "the eviction", async || Ok(pods.get("works").await?.metadata.deletion_timestamp.is_some()))
        .await?;
    let without_gpu = pods.get("counts").await?;
    ensure!(without_gpu.metadata.deletion_timestamp.is_none(), "a pod without a GPU was evicted");
    let evicted = pods.get("works").await?.status.and_then(|s| s.conditions).unwrap_or_default();
    ensure!(evicted.iter().any(|c| c.type_ == "DisruptionTarget"), "it would spend a retry: {evicted:?}");
    until(PATIENCE, "an Event", async || {
        let found = events.list(&ListParams::default()).await?.items;
        Ok(found.iter().any(|e| {
            e.reason.as_deref() == Some("Quarantined") && e.note.as_deref().is_some_and(|n| n.contains("Xid79"))
        }))
    })
    .await?;

    // A person adds an entry; the device gets well; the person's entry keeps the taint, and its end ends it.
    let mut entries_now = json!(gpu_nodes.get("gpu-1").await?.spec.quarantine);
    entries_now.as_array_mut().context("a list")?.push(json!({ "reason": "Fan", "by": "ops" }));
    let by_hand = json!({ "spec": { "quarantine": entries_now } });
    gpu_nodes.patch("gpu-1", &PatchParams::default(), &Patch::Merge(by_hand)).await?;
    report(&gpu_nodes, &[(A, None), (B, None)]).await?;
    until(PATIENCE, "the end of the entry", async || {
        Ok(entries(&gpu_nodes).await? == [(String::new(), "Fan".to_owned())])
    })
    .await?;
    ensure!(is_tainted(&nodes).await?, "the person's entry keeps the taint");
    shows(plane, &gpu_nodes).await?;
    gpu_nodes.patch("gpu-1", &PatchParams::default(), &Patch::Merge(json!({ "spec": { "quarantine": [] } }))).await?;
    until(PATIENCE, "the end of the taint", async || Ok(!is_tainted(&nodes).await?)).await?;

    // Three tasks fail on a device of which the agent sees nothing.
    for n in 0..3 {
        ended(&pods, &format!("fails-{n}"), "gpu-1", 66, &format!("the device {B} was lost")).await?;
    }
    let of_the_device = (B.to_owned(), "RepeatedFailures".to_owned());
    until(PATIENCE, "a suspicion", async || {
        poke(&gpu_nodes).await?;
        Ok(entries(&gpu_nodes).await? == [of_the_device.clone()])
    })
    .await?;

    // The servers of four die on a node, without a word about a device. Where the tasks end well tells whether that speaks
    // against the node: two do elsewhere, one on the node itself, one nowhere yet.
    nodes.create(&new, &read(json!({ "metadata": { "name": "gpu-2" } }))?).await?;
    for n in 3..7 {
        ended(&pods, &format!("dies-{n}"), "gpu-1", 67, "the server did not answer for 120 s").await?;
    }
    for (n, node) in [(3, "gpu-2"), (4, "gpu-2"), (5, "gpu-1")] {
        ended(&pods, &format!("works-{n}"), node, 0, "").await?;
    }
    for n in 7..10 {
        ended(&pods, &format!("fails-{n}"), "gpu-1", 66, &format!("the device {A} was lost")).await?;
    }
    let of_both = [(A.to_owned(), "RepeatedFailures".to_owned()), of_the_device];
    until(PATIENCE, "a suspicion of the other device, and not of the node", async || {
        poke(&gpu_nodes).await?;
        Ok(entries(&gpu_nodes).await? == of_both)
    })
    .await?;
    ended(&pods, "works-6", "gpu-2", 0, "").await?;
    let of_the_node = (String::new(), "RepeatedFailures".to_owned());
    let of_all = [&of_both[..], &[of_the_node]].concat();
    until(PATIENCE, "a suspicion of the node", async || {
        poke(&gpu_nodes).await?;
        Ok(entries(&gpu_nodes).await? == of_all)
    })
    .await
}

/// A change of the node, so that the guard looks at it before its minute is over.
async fn poke(gpu_nodes: &Api<GpuNode>) -> Result<()> {
    let poke = json!({ "metadata": { "annotations": { "poke": jiff::Timestamp::now().to_string() } } });
    gpu_nodes.patch("gpu-1", &PatchParams::default(), &Patch::Merge(poke)).await?;
    Ok(())
}

/// `kubectl get gpunodes` names every reason, and says what an agent says that sees no device.
async fn shows(plane: &ControlPlane, gpu_nodes: &Api<GpuNode>) -> Result<()> {
    let both = json!([{ "reason": "Fan", "by": "ops" }, { "reason": "Door", "by": "ops" }]);
    let patch = Patch::Merge(json!({ "spec": { "quarantine": both } }));
    gpu_nodes.patch("gpu-1", &PatchParams::default(), &patch).await?;
    let message = "no driver answers: libnvidia-ml.so.1 is not there";
    let silent = Patch::Merge(json!({ "status": { "message": message } }));
    gpu_nodes.patch_status("gpu-1", &PatchParams::default(), &silent).await?;
    until(PATIENCE, "the columns", async || {
        let table = plane.kubectl(&["get", "gpunodes", "gpu-1"])?;
        let (heads, row) = table.split_once('\n').context("a row")?;
        let are_there = heads.contains("QUARANTINE") && heads.trim_end().ends_with("MESSAGE");
        Ok(are_there && row.contains(" Fan, Door ") && row.trim_end().ends_with(message))
    })
    .await?;
    let told = Patch::Merge(json!({ "status": { "message": null } }));
    gpu_nodes.patch_status("gpu-1", &PatchParams::default(), &told).await?;
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    Ok(serde_json::from_value(value)?)
}

/// A pod of ours on the node; the end of its name is its index.
fn worker(name: &str, gpu: bool) -> Result<Pod> {
    let mut labels = json!({ names::MANAGED_BY: names::CONTROLLER });
    if gpu {
        labels[names::GPU] = json!("true");
    }
    read(json!({
        "metadata": {
            "name": name,
            "labels": labels,
            // Not of a Job: the garbage collector would take a pod whose owner is not there.
            "annotations": { "batch.kubernetes.io/job-completion-index": name.rsplit('-').next() },
        },
        "spec": {
            "nodeName": "gpu-1",
            "automountServiceAccountToken": false,
            "containers": [{ "name": "worker", "image": "worker:1" }],
        },
    }))
}

/// A pod of ours whose worker ended on a node with this code and these words.
async fn ended(pods: &Api<Pod>, name: &str, node: &str, code: i32, words: &str) -> Result<()> {
    // It is said to hold GPUs only at its end: until then it would be evicted from a node in quarantine.
    let mut pod = worker(name, false)?;
    pod.spec.get_or_insert_default().node_name = Some(node.to_owned());
    pods.create(&PostParams::default(), &pod).await?;
    let reason = if code == 0 { "Completed" } else { "Error" };
    let state = json!({ "terminated": {
        "exitCode": code, "reason": reason, "message": words, "finishedAt": jiff::Timestamp::now().to_string(),
    } });
    let status = json!({ "phase": if code == 0 { "Succeeded" } else { "Failed" }, "containerStatuses": [{
        "name": "worker", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state,
    }] });
    pods.patch_status(name, &PatchParams::default(), &Patch::Merge(json!({ "status": status }))).await?;
    let holds = json!({ "metadata": { "labels": { names::GPU: "true" } } });
    pods.patch(name, &PatchParams::default(), &Patch::Merge(holds)).await?;
    Ok(())
}

/// What the agent says of the devices.
async fn report(gpu_nodes: &Api<GpuNode>, devices: &[(&str, Option<&str>)]) -> Result<()> {
    let devices: Vec<Value> = devices.iter().map(|(uuid, reason)| device(uuid, *reason)).collect();
    let status = Patch::Merge(json!({ "status": { "devices": devices } }));
    gpu_nodes.patch_status("gpu-1", &PatchParams::default(), &status).await.context("the agent's report")?;
    Ok(())
}

fn device(uuid: &str, reason: Option<&str>) -> Value {
    let mut device = json!({ "uuid": uuid, "pci": "0000:01:00.0", "product": "A100-SXM4-80GB", "memory": 1,
                             "compute": "8.0", "healthy": reason.is_none() });
    if let Some(reason) = reason {
        device["reason"] = json!(reason);
        device["message"] = json!(format!("{reason} at 10:12"));
    }
    device
}

async fn entries(gpu_nodes: &Api<GpuNode>) -> Result<Vec<(String, String)>> {
    let entries = gpu_nodes.get("gpu-1").await?.spec.quarantine;
    Ok(entries.into_iter().map(|e| (e.device.unwrap_or_default(), e.reason)).collect())
}

async fn is_tainted(nodes: &Api<Node>) -> Result<bool> {
    let taints = nodes.get("gpu-1").await?.spec.and_then(|s| s.taints).unwrap_or_default();
    Ok(taints.iter().any(|t| t.key == names::QUARANTINE && t.effect == "NoSchedule"))
}
