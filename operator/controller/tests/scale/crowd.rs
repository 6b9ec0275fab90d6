//! Thousands of builds and Jobs, and pods beside them.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::Api;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use realsyn_cluster::{ControlPlane, Process};
use realsyn_controller::kinds::{Kind, KindExt};
use realsyn_controller::names;
use realsyn_crds::Stage;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::support::binary::Binary;
use super::support::fault::Faults;
use super::support::site::{Server, Site};
use super::support::{Fate, Script, examples, until};
use super::{AT_ONCE, PATIENCE, Table, fill, fresh, typed};

const BUILDS: usize = 1000;
const JOBS_OF_EACH: usize = 9;

/// Memory, start, and rest, with thousands of objects.
pub async fn crowd(plane: &ControlPlane, api: &Server, table: &mut Table) -> Result<()> {
    let client = &api.client;
    let (ready, job, pod) = models(api).await?;
    let namespaces: Vec<String> = (0..10).map(|n| format!("crowd-{n}")).collect();
    for namespace in &namespaces {
        plane.kubectl(&["create", "namespace", namespace])?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
        until(PATIENCE, "the account", async || Ok(accounts.get_opt("default").await?.is_some())).await?;
    }
    // What is created from here on stays as it is: no Job controller, no garbage collector.
    plane.kill(Process::ControllerManager)?;
    let empty = Binary::start(plane.kubeconfig()).await?;
    table.note("memory with next to nothing, resident", empty.memory()?.to_string());
    empty.end().await?;

    let began = Instant::now();
    for namespace in &namespaces {
        let builds: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &Kind::Build.resource());
        let names: Vec<String> = (0..BUILDS / namespaces.len()).map(|n| format!("build-{n}")).collect();
        fill(&builds, names.len(), |n| fresh(&ready, namespace, &names[n])).await?;
        stream::iter(&names)
            .map(async |name| {
                let mut build = builds.get(name).await?;
                build.data["status"] = ready.data["status"].clone();
                builds.replace_status(name, &PostParams::default(), &build).await
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
        fill(&jobs, names.len() * JOBS_OF_EACH, |n| fresh(&job, namespace, &format!("job-{n}")).and_then(typed))
            .await?;
    }
    println!("{BUILDS} builds and {} Jobs in {:.0} s", BUILDS * JOBS_OF_EACH, began.elapsed().as_secs_f64());

    let mut binary = Binary::start(plane.kubeconfig()).await?;
    binary.settle(BUILDS as u64).await?;
    let memory = binary.memory()?;
    table.row(
        "memory with 1,000 builds and 9,000 Jobs, resident",
        "≤ 64 MiB",
        memory.to_string(),
        memory.resident <= 64.0,
    );

    let before = versions(api).await?;
    let mut starts = Vec::new();
    for _ in 0..3 {
        binary.end().await?;
        binary = Binary::start(plane.kubeconfig()).await?;
        starts.push(binary.started_in.as_secs_f64());
        binary.settle(BUILDS as u64).await?;
    }
    let written = changes(&before, &versions(api).await?);
    table.row("objects written over three starts beside them", "0", written.to_string(), written == 0);
    starts.sort_by(f64::total_cmp);
    let measured = format!("{:.2} s ({:.2} to {:.2})", starts[1], starts[0], starts[2]);
    table.row("from start to synced, 10,000 objects", "≤ 2 s", measured, starts[1] <= 2.0);

    // An hour has six.
    binary.end().await?;
    binary = Binary::start_with(plane.kubeconfig(), &["--resync", "5"]).await?;
    let looks = async |binary: &Binary| binary.metric("realsyn_controller_reconciles_total").await;
    until(PATIENCE, "six resyncs", async || Ok(looks(&binary).await? >= 7 * BUILDS as u64)).await?;
    let written = changes(&before, &versions(api).await?);
    let requests = binary.metric("realsyn_controller_status_writes_total").await?;
    let measured = format!("{written}, by {requests} requests");
    table.row("objects written over six resyncs of each", "0", measured, written == 0 && requests == 0);
    binary.end().await?;
    binary = Binary::start(plane.kubeconfig()).await?;
    binary.settle(BUILDS as u64).await?;

    let pods: usize = std::env::var("REALSYN_SCALE_PODS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let mut seen = vec![(0.0, binary.memory()?.resident)];
    for half in 0..2 {
        let began = Instant::now();
        for (n, namespace) in namespaces.iter().enumerate() {
            let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
            let each = pods / 2 / namespaces.len();
            let name = |i: usize| format!("pod-{half}-{n}-{i}");
            fill(&api, each, |i| fresh(&pod, namespace, &name(i)).and_then(typed)).await?;
            stream::iter(0..each)
                .map(async |i| {
                    let patch = Patch::Merge(json!({ "status": running() }));
                    api.patch_status(&name(i), &PatchParams::default(), &patch).await
                })
                .buffer_unordered(AT_ONCE)
                .try_collect::<Vec<_>>()
                .await?;
        }
        println!("{} pods in {:.0} s", pods / 2, began.elapsed().as_secs_f64());
        let now = pods / 2 * (half + 1);
        // Grown into it, and started anew beside it.
        let grown = binary.memory()?;
        binary.end().await?;
        binary = Binary::start(plane.kubeconfig()).await?;
        let start = binary.started_in.as_secs_f64();
        binary.settle(BUILDS as u64).await?;
        let measured = format!("{}; grown into it {grown}; synced in {start:.1} s", binary.memory()?);
        table.note(&format!("memory with {now} pods beside them, resident"), measured);
        seen.push((now as f64, binary.memory()?.resident));
    }
    let slope = (seen[2].1 - seen[1].1) / (seen[2].0 - seen[1].0);
    let at = seen[2].1 + slope * (100_000.0 - seen[2].0);
    let measured = format!("{at:.0} MiB, {:.2} KiB a pod", slope * 1024.0);
    table.row("memory with 100,000 pods beside them, resident, by that slope", "≤ 128 MiB", measured, at <= 128.0);
    binary.end().await
}

/// A build that is ready, a Job of a step, and its pod, as the controllers made them.
async fn models(api: &Server) -> Result<(DynamicObject, Job, Pod)> {
    let site = Site::open(api, examples("models"), &[Stage::SentenceScore], Faults::new(None, None)).await?;
    let pends: Script = Box::new(|labels| match labels[names::STAGE] == names::ADVANCE {
        true => Fate::Works,
        false => Fate::Pends,
    });
    *site.world.script.lock().unwrap() = pends;
    let step = ListParams::default().labels(&format!("{}={}", names::STAGE, Stage::SentenceScore.name()));
    let jobs: Api<Job> = Api::namespaced(api.client.clone(), "models");
    let pods: Api<Pod> = Api::namespaced(api.client.clone(), "models");
    until(PATIENCE, "a pod of a step", async || Ok(!pods.list(&step).await?.items.is_empty())).await?;
    let job = jobs.list(&step).await?.items.pop().context("a Job")?;
    let pod = pods.list(&step).await?.items.pop().context("a pod")?;
    *site.world.script.lock().unwrap() = Box::new(|_| Fate::Works);
    site.end().await?;
    let build = site.world.api(Kind::Build).list(&ListParams::default()).await?.items.pop().context("a build")?;
    Ok((build, job, pod))
}

/// The status of a pod that runs, as a kubelet writes it.
fn running() -> Value {
    let now = jiff::Timestamp::now().to_string();
    let kinds = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    let conditions: Vec<Value> =
        kinds.iter().map(|t| json!({ "type": t, "status": "True", "lastTransitionTime": now })).collect();
    json!({
        "phase": "Running", "startTime": now, "qosClass": "Burstable", "conditions": conditions,
        "hostIP": "10.0.0.1", "hostIPs": [{ "ip": "10.0.0.1" }], "podIP": "10.244.0.7", "podIPs": [{ "ip": "10.244.0.7" }],
        "containerStatuses": [{
            "name": "worker", "image": "registry.example.org/realsyn/worker:1", "ready": true, "started": true,
            "imageID": format!("registry.example.org/realsyn/worker@sha256:{}", "a".repeat(64)),
            "containerID": format!("containerd://{}", "b".repeat(64)),
            "restartCount": 0, "state": { "running": { "startedAt": now } },
        }],
    })
}

/// Objects that were written, made or deleted between two looks at all of them.
fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> usize {
    let written = after.iter().filter(|(uid, version)| before.get(*uid) != Some(version)).count();
    written + before.keys().filter(|uid| !after.contains_key(*uid)).count()
}

/// The resource versions of what the controller may write, by UID.
async fn versions(api: &Server) -> Result<BTreeMap<String, String>> {
    async fn of<K>(api: Api<K>, found: &mut BTreeMap<String, String>) -> Result<()>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let all = api.list_metadata(&ListParams::default()).await?;
        found.extend(all.items.into_iter().filter_map(|o| Some((o.metadata.uid?, o.metadata.resource_version?))));
        Ok(())
    }
    let mut found = BTreeMap::new();
    for kind in Kind::ALL {
        of(Api::<DynamicObject>::all_with(api.client.clone(), &kind.resource()), &mut found).await?;
    }
    of(Api::<Job>::all(api.client.clone()), &mut found).await?;
    of(Api::<ConfigMap>::all(api.client.clone()), &mut found).await?;
    of(Api::<k8s_openapi::api::events::v1::Event>::all(api.client.clone()), &mut found).await?;
    Ok(found)
}
