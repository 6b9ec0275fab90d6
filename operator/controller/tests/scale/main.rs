//! How the controller bears size: `make bench-operator`. A real API server, the binary as its own process where its memory
//! and its start are measured, pods played by the test. `REALSYN_SCALE_PODS` says how many pods are created.

mod crowd;
mod inventory;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource};
use realsyn_cluster::ControlPlane;
use realsyn_controller::context::Options;
use realsyn_controller::kinds::{Kind, KindExt};
use realsyn_controller::names;
use realsyn_crds::{RealSynBuild, Stage};
use realsyn_plan::graph::{BUILD, Sharding, Step};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use support::fault::Faults;
use support::site::{Server, Site, on_a_control_plane, options};
use support::{Fate, World, examples, is, until};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// Requests of the test at once while it fills the API server.
const AT_ONCE: usize = 16;
/// Builds of a storm.
const STORM: usize = 100;
/// Objects that the controller reconciles at once, by default.
const CONCURRENCY: u16 = 8;
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
    bench("thousands_of_objects", async |plane, api, table| crowd::crowd(plane, api, table).await);
}

#[test]
#[ignore = "a benchmark: make bench-operator"]
fn thousands_of_nodes() {
    bench("thousands_of_nodes", async |plane, api, table| inventory::inventory(plane, api, table).await);
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
        // Four bytes a character, and one reason more than a status names of a stage.
        store.rejected = |step| reasons(step, 5, 58, 33_333 / 5);
        store.dropped = |step| reasons(step, 4, 38, u64::MAX / 4);
        *site.world.script.lock().unwrap() = Box::new(|labels| match labels[names::STAGE] == names::ADVANCE {
            true => Fate::Works,
            false => Fate::Waits("ImagePullBackOff", LONG),
        });
    }
    let builds = site.world.api(Kind::Build);
    let resume = Patch::Merge(json!({ "spec": { "suspend": false } }));
    builds.patch(&name, &PatchParams::default(), &resume).await?;
    let others = BUILD.iter().map(|step| step.id.stage).collect::<BTreeSet<_>>().len() - 1;
    let (mut most, mut sealed) = (0, 0);
    until(PATIENCE, "the others to be sealed, and the last to wait", async || {
        let status = builds.get(&name).await?.data["status"].clone();
        most = most.max(status.to_string().len());
        let stages = status["stages"].as_array().into_iter().flatten();
        let (done, left): (Vec<_>, Vec<_>) = stages.partition(|stage| stage["state"] == "Sealed");
        sealed = done.len();
        Ok(sealed == others && left.iter().any(|stage| stage["waitsFor"].is_string()))
    })
    .await?;
    let what = format!("bytes of a status: 100,000 shards, a third rejected; {sealed} stages sealed, 1 running");
    table.row(&what, "≤ 65,536", most.to_string(), most <= STATUS);
    // No matter of speed: an object that is too long is refused, and the build stands still.
    ensure!(most <= STATUS, "a status of {most} bytes");
    Ok(())
}

/// Reasons of the first step of a stage that has more than one shard.
fn reasons(step: &Step, most: usize, length: usize, each: u64) -> BTreeMap<String, u64> {
    let of_many = |s: &&Step| s.id.stage == step.id.stage && s.sharding != Sharding::One;
    let is_first = BUILD.iter().find(of_many).is_some_and(|first| first.id == step.id);
    let all = (0..most).filter(|_| is_first);
    all.map(|n| (format!("{n:02}{}", "\u{1d535}".repeat(length)), each)).collect()
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
