//! How the controller bears size: `make bench-operator`. A real API server, the binary as its own process where its memory
//! and its start are measured, pods played by the test. `REALSYN_SCALE_PODS` says how many pods are created.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, ServiceAccount};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource};
use realsyn_cluster::{ControlPlane, Process};
use realsyn_controller::context::Options;
use realsyn_controller::kinds::{Kind, KindExt};
use realsyn_controller::names;
use realsyn_crds::{GROUP, GpuDevice, GpuNodeStatus, GpuSummary, RealSynBuild, Stage, VERSION};
use realsyn_plan::graph::{BUILD, Sharding, Step};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use support::binary::{Binary, Memory};
use support::fault::Faults;
use support::site::{Server, Site, on_a_control_plane, options};
use support::{Fate, Script, World, examples, is, until};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(180);

const BUILDS: usize = 1000;
const JOBS_OF_EACH: usize = 9;
/// Requests of the test at once while it fills the API server.
const AT_ONCE: usize = 16;
/// Builds of a storm.
const STORM: usize = 100;
/// Objects that the controller reconciles at once, by default.
const CONCURRENCY: u16 = 8;
/// Nodes of eight GPUs.
const NODES: usize = 5000;
/// The most bytes of a status.
const STATUS: usize = 64 * 1024;

#[test]
#[ignore = "a benchmark: make bench-operator"]
fn status_stays_small() {
    bench("status_stays_small", async |_, api, table| status(api, table).await);
}

#[test]
#[ignore = "a benchmark: make bench-operator"]
fn a_storm_of_builds() {
    bench("a_storm_of_builds", async |plane, api, table| storm(plane, api, table).await);
}

#[test]
#[ignore = "a benchmark: make bench-operator"]
fn thousands_of_objects() {
    bench("thousands_of_objects", async |plane, api, table| crowd(plane, api, table).await);
}

#[test]
#[ignore = "a benchmark: make bench-operator"]
fn thousands_of_nodes() {
    bench("thousands_of_nodes", async |plane, api, table| inventory(plane, api, table).await);
}

fn bench(name: &str, bench: impl AsyncFnOnce(&ControlPlane, &Server, &mut Table) -> Result<()>) {
    on_a_control_plane(name, async |plane, api| {
        let mut table = Table::default();
        bench(plane, api, &mut table).await?;
        println!("| what | goal | measured | |\n|---|---|---|---|\n{}", table.0.join("\n"));
        Ok(())
    });
}

#[derive(Default)]
struct Table(Vec<String>);

impl Table {
    fn row(&mut self, what: &str, goal: &str, measured: String, met: bool) {
        let row = format!("| {what} | {goal} | {measured} | {} |", if met { "met" } else { "**missed**" });
        println!("{row}");
        self.0.push(row);
    }

    fn note(&mut self, what: &str, measured: String) {
        let row = format!("| {what} | | {measured} | |");
        println!("{row}");
        self.0.push(row);
    }
}

/// The bytes of a status, when the store says the longest that it can.
async fn status(api: &Server, table: &mut Table) -> Result<()> {
    let (mut build, release) = examples("status");
    // As long as it may be.
    build.metadata.name = "b".repeat(63);
    // Until the store is as it should be.
    build.spec.suspend = true;
    let name = build.metadata.name.clone();
    let site = Site::open(api, (build, release), &[Stage::SentenceScore], Faults::new(None, None)).await?;
    {
        let mut store = site.world.store.lock().unwrap();
        store.shards = 100_000;
        // Four bytes a character, and as many reasons as a termination message holds.
        store.rejected = |step| {
            let of_many = |s: &&Step| s.id.stage == step.id.stage && s.sharding != Sharding::One;
            match BUILD.iter().find(of_many) {
                Some(first) if first.id == step.id => {
                    (0..13).map(|n| (format!("{n:02}{}", "\u{1d535}".repeat(58)), 33_333 / 13)).collect()
                }
                _ => BTreeMap::new(),
            }
        };
        // As many as are told of a step; what a step tells beside its reasons for shards is cut with them.
        store.dropped = |_| (0..9).map(|n| (format!("{n}{}", "\u{1d535}".repeat(39)), u64::MAX / 9)).collect();
        *site.world.script.lock().unwrap() = Box::new(|labels| match labels[names::STAGE] == names::ADVANCE {
            true => Fate::Works,
            false => Fate::Waits("ImagePullBackOff", LONG),
        });
    }
    let builds = site.world.api(Kind::Build);
    let resume = Patch::Merge(json!({ "spec": { "suspend": false } }));
    builds.patch(&name, &PatchParams::default(), &resume).await?;
    let (mut most, mut last, mut since) = (0, Value::Null, Instant::now());
    while since.elapsed() < Duration::from_secs(8) {
        let status = builds.get(&name).await?.data["status"].clone();
        if status != last {
            (most, last, since) = (most.max(status.to_string().len()), status, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let count = |state: &str| last["stages"].as_array().into_iter().flatten().filter(|s| s["state"] == state).count();
    let (sealed, running) = (count("Sealed"), count("Running"));
    let what =
        format!("bytes of a status: 100,000 shards, a third rejected; {sealed} stages sealed, {running} running");
    table.row(&what, "≤ 65,536", most.to_string(), most <= STATUS && running > 0);
    ensure!(running > 0, "no stage runs, so that the status may still grow: {last}");
    // No matter of speed: an object that is too long is refused, and the build stands still.
    ensure!(most <= STATUS, "a status of {most} bytes");
    Ok(())
}

const LONG: &str = "Back-off pulling image \"registry.example.org/realsyn/worker:1\": ErrImagePull: rpc error: code = \
    NotFound desc = failed to pull and unpack image: failed to resolve reference: registry.example.org/realsyn/worker:1: \
    not found, and then some more words of a runtime that never comes to an end of what it has to say about an image";

/// Writes a second while a hundred builds are applied at once, beside those of a plain client.
async fn storm(plane: &ControlPlane, api: &Server, table: &mut Table) -> Result<()> {
    let (mut ours, mut plain) = ((0, 0.0), (0, 0.0));
    for round in 0..3 {
        let (writes, seconds, templates) = wave(plane, api, &format!("storm-{round}"), table, round == 2).await?;
        (ours.0, ours.1) = (ours.0 + writes, ours.1 + seconds);
        let namespace = format!("plain-{round}");
        let seconds = bare(plane, api, &namespace, &templates).await?;
        (plain.0, plain.1) = (plain.0 + STORM * templates.of_each(), plain.1 + seconds);
    }
    let (ours, plain) = (ours.0 as f64 / ours.1, plain.0 as f64 / plain.1);
    let measured = format!("{:.2} ({ours:.0} of {plain:.0})", ours / plain);
    table.row(
        "writes a second in a storm of 100 builds, to those of a plain client",
        "≥ 0.9",
        measured,
        ours >= 0.9 * plain,
    );
    Ok(())
}

/// What the controller wrote for one build.
struct Templates {
    build: DynamicObject,
    job: Job,
    map: ConfigMap,
    statuses: usize,
    events: usize,
}

impl Templates {
    fn of_each(&self) -> usize {
        2 + self.statuses + self.events
    }
}

async fn wave(
    plane: &ControlPlane,
    api: &Server,
    namespace: &str,
    table: &mut Table,
    to_the_end: bool,
) -> Result<(usize, f64, Templates)> {
    plane.kubectl(&["create", "namespace", namespace])?;
    let (build, release) = examples(namespace);
    let world = World::new(api.client.clone(), namespace, &build, &release, &[Stage::SentenceScore]);
    *world.script.lock().unwrap() = Box::new(|_| Fate::Pends);
    let faults = Faults::new(None, None);
    let options = Options { concurrency: CONCURRENCY, max_pods: 3000, ..options(Some(namespace)) };
    let controller = api.controller(options, &faults).await?;
    let playing = world.clone();
    let kubelet = tokio::spawn(async move { playing.play().await });
    let builds = world.api(Kind::Build);
    // One build before the clock runs, so that the controller is known to be at work.
    fill(&builds, 1, |n| numbered(&build, "first", n)).await?;
    let count = |method: &str, part: &str| {
        faults.log.lock().unwrap().iter().filter(|w| w.starts_with(method) && w.ends_with(part)).count()
    };
    until(PATIENCE, "the first Job", async || Ok(count("POST", "/jobs") == 1)).await?;
    until(PATIENCE, "its pod", async || Ok(!world.jobs.lock().unwrap().is_empty())).await?;
    faults.log.lock().unwrap().clear();

    let applied = fill(&builds, STORM, |n| numbered(&build, "build", n));
    let began = watch_writes(&faults, count);
    let (_, (writes, seconds, kinds)) = tokio::try_join!(applied, began)?;
    let job = only(&Api::<Job>::namespaced(api.client.clone(), namespace)).await?;
    let map = only(&Api::<ConfigMap>::namespaced(api.client.clone(), namespace)).await?;
    let build = builds.list(&ListParams::default()).await?.items.pop().context("a build")?;
    let templates = Templates { build, job, map, statuses: kinds.0.div_ceil(STORM), events: kinds.1.div_ceil(STORM) };
    if to_the_end {
        let began = Instant::now();
        let before = faults.log.lock().unwrap().len();
        *world.script.lock().unwrap() = Box::new(|_| Fate::Works);
        until(PATIENCE, "all to be ready", async || {
            Ok(builds.list(&ListParams::default()).await?.items.iter().all(|b| is(&b.data["status"], "Ready")))
        })
        .await?;
        let (writes, seconds) = (faults.log.lock().unwrap().len() - before, began.elapsed().as_secs_f64());
        let measured = format!("{seconds:.0} s, {writes} writes, {:.0} a second", writes as f64 / seconds);
        table.note("the same 100 builds, from there to Ready", measured);
    }
    controller.abort();
    kubelet.abort();
    Ok((writes, seconds, templates))
}

/// Counts the writes from the first to the last of what each build needs at first, and how many are of a status, and of
/// an Event.
async fn watch_writes(
    faults: &Arc<Faults>,
    count: impl Fn(&str, &str) -> usize,
) -> Result<(usize, f64, (usize, usize))> {
    let patience = Instant::now();
    let mut began = None;
    loop {
        let writes = faults.log.lock().unwrap().len();
        if writes > 0 {
            began.get_or_insert_with(Instant::now);
        }
        if count("POST", "/jobs") >= STORM {
            let seconds = began.context("a write")?.elapsed().as_secs_f64();
            return Ok((writes, seconds, (count("PUT", "/status"), count("POST", "/events"))));
        }
        ensure!(patience.elapsed() < Duration::from_secs(120), "{writes} writes, and no end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The same writes by a client that does nothing else.
async fn bare(plane: &ControlPlane, api: &Server, namespace: &str, templates: &Templates) -> Result<f64> {
    plane.kubectl(&["create", "namespace", namespace])?;
    let builds: Api<DynamicObject> = Api::namespaced_with(api.client.clone(), namespace, &Kind::Build.resource());
    let maps: Api<ConfigMap> = Api::namespaced(api.client.clone(), namespace);
    let jobs: Api<Job> = Api::namespaced(api.client.clone(), namespace);
    let events: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(api.client.clone(), namespace);
    fill(&builds, STORM, |n| fresh(&templates.build, namespace, &format!("build-{n}"))).await?;
    let began = Instant::now();
    let each = stream::iter(0..STORM).map(async |n| {
        let name = format!("build-{n}");
        let mut build = builds.get(&name).await?;
        build.data["status"] = templates.build.data["status"].clone();
        for time in 0..templates.statuses {
            build.data["status"]["progress"] = json!(format!("{time}"));
            build = builds.replace_status(&name, &PostParams::default(), &build).await?;
        }
        for time in 0..templates.events {
            let now = jiff::Timestamp::now().to_string();
            let event = json!({
                "metadata": { "name": format!("{name}-{time}"), "namespace": namespace }, "eventTime": now,
                "action": "Ready", "reason": "Progressing", "type": "Normal", "note": "the stage is sealed",
                "reportingController": "plain", "reportingInstance": "plain",
                "regarding": { "kind": "RealSynBuild", "name": name, "namespace": namespace },
            });
            events.create(&PostParams::default(), &serde_json::from_value(event)?).await?;
        }
        maps.create(&PostParams::default(), &typed(fresh(&templates.map, namespace, &name)?)?).await?;
        jobs.create(&PostParams::default(), &typed(fresh(&templates.job, namespace, &name)?)?).await?;
        Ok::<_, anyhow::Error>(())
    });
    each.buffer_unordered(CONCURRENCY.into()).try_collect::<Vec<()>>().await?;
    Ok(began.elapsed().as_secs_f64())
}

/// Memory, start, and rest, with thousands of objects.
async fn crowd(plane: &ControlPlane, api: &Server, table: &mut Table) -> Result<()> {
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

/// What the GPUs of thousands of nodes cost.
async fn inventory(plane: &ControlPlane, api: &Server, table: &mut Table) -> Result<()> {
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

fn numbered(build: &RealSynBuild, prefix: &str, n: usize) -> Result<DynamicObject> {
    let mut build = build.clone();
    build.metadata.name = format!("{prefix}-{n}");
    // A root of its own: nobody waits for another.
    build.spec.storage.uri = format!("s3://realsyn/{prefix}-{n}");
    Ok(serde_json::from_value(json!(build))?)
}

/// A copy of an object under another name, without what belongs to the first alone. Its owner is another one.
fn fresh<K: Serialize>(object: &K, namespace: &str, name: &str) -> Result<DynamicObject> {
    let mut copy = json!(object);
    let metadata = copy["metadata"].as_object_mut().context("metadata")?;
    for own in
        ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "generateName", "finalizers"]
    {
        metadata.remove(own);
    }
    (metadata["name"], metadata["namespace"]) = (json!(name), json!(namespace));
    for owner in metadata.get_mut("ownerReferences").and_then(Value::as_array_mut).into_iter().flatten() {
        owner["uid"] = json!(format!("of-{namespace}-{name}"));
    }
    if let Some(spec) = copy["spec"].as_object_mut().filter(|s| s.contains_key("template")) {
        spec.remove("selector");
        if let Some(labels) = spec["template"]["metadata"]["labels"].as_object_mut() {
            labels.retain(|name, _| !name.ends_with("controller-uid") && !name.ends_with("job-name"));
        }
        if let Some(labels) = copy["metadata"]["labels"].as_object_mut() {
            labels.retain(|name, _| !name.ends_with("controller-uid") && !name.ends_with("job-name"));
        }
    }
    if let Some(storage) = copy["spec"]["storage"].as_object_mut() {
        storage["uri"] = json!(format!("s3://realsyn/{namespace}/{name}"));
    }
    copy.as_object_mut().context("an object")?.remove("status");
    let types: (&str, &str) = match &copy {
        copy if copy["spec"]["template"].is_object() => ("batch/v1", "Job"),
        copy if copy["spec"]["containers"].is_array() => ("v1", "Pod"),
        copy if copy["spec"]["storage"].is_object() => (realsyn_crds::API_VERSION, "RealSynBuild"),
        _ => ("v1", "ConfigMap"),
    };
    (copy["apiVersion"], copy["kind"]) = (json!(types.0), json!(types.1));
    Ok(serde_json::from_value(copy)?)
}

fn typed<K: DeserializeOwned>(object: DynamicObject) -> Result<K> {
    Ok(serde_json::from_value(json!(object))?)
}

async fn fill<K>(api: &Api<K>, n: usize, make: impl Fn(usize) -> Result<K>) -> Result<()>
where
    K: Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    let each = stream::iter(0..n).map(async |n| {
        api.create(&PostParams::default(), &make(n)?).await.with_context(|| format!("object {n}"))?;
        Ok::<_, anyhow::Error>(())
    });
    each.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    Ok(())
}

/// An object that the controller made.
async fn only<K>(api: &Api<K>) -> Result<K>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let ours = ListParams::default().labels(&format!("{}={}", names::MANAGED_BY, names::CONTROLLER));
    api.list(&ours).await?.items.pop().context("nothing of the controller's")
}
