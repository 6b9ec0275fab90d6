//! The chart's rights are those that the controller needs, no more and no less: under them it does everything that it
//! ever does on a real API server, whose audit log then names each verb that was used, and each that was refused.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use realsyn_cluster::{Binaries, ControlPlane, Options as Cluster, Process, Request, missing_for_control_plane, skip};
use realsyn_controller::context::Options;
use realsyn_controller::gpu::nodes::GpuNode;
use realsyn_controller::kinds::{Kind, KindExt};
use realsyn_controller::names;
use realsyn_controller::run::{self, run};
use realsyn_crds::{API_VERSION, Retain, Stage};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use support::grants::{ACCOUNT, AGENTS, Grant, HOME, granted, install};
use support::site::{Server, control_plane_with, options};
use support::{Fate, Script, World, examples, is, until};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

const TEAM: &str = "team";
const BUILD: &str = "obelics";
const RELEASE: &str = "obelics-balanced";
/// Stages that run, the others are sealed.
const TO_RUN: &[Stage] = &[Stage::SentenceScore, Stage::PairScore];

#[test]
fn every_right_is_used_and_none_is_missing() {
    rights("every_right_is_used_and_none_is_missing", None, &["gpu.enabled=true,kueue.enabled=true"], 30);
}

#[test]
fn every_right_in_one_namespace_is_used_and_none_is_missing() {
    let values = format!("watch.namespaces={{{TEAM}}},kueue.enabled=true");
    rights("every_right_in_one_namespace_is_used_and_none_is_missing", Some(TEAM), &[&values], 20);
}

/// The chart with these values, which lets the controller look at all namespaces or at this one, grants more than so many
/// rights; and of all of them none is idle, and none is missing.
fn rights(test: &str, namespace: Option<&str>, values: &[&str], some: usize) {
    let missing = || {
        missing_for_control_plane().or_else(|| Some(Binaries::default_folder().require_tool("helm").err()?.to_string()))
    };
    if skip(test, missing()) {
        return;
    }
    let mut cluster = Cluster { audit: true, ..Cluster::default() };
    // Off by default, and on in distributions that ask who may hold up a deletion.
    let plugin = "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement";
    cluster.flags.insert(Process::ApiServer, vec![plugin.to_owned()]);
    let plane = control_plane_with(&cluster);
    plane.define(&[support::site::workloads()]).unwrap();
    plane.kubectl(&["create", "namespace", TEAM]).unwrap();
    install(&plane, values).unwrap();
    let grants = granted(&plane).unwrap();
    assert!(grants.len() > some, "{} rights: {grants:?}", grants.len());
    let is_bound = |grant: &Grant| grant.namespace.as_deref().is_some_and(|n| [TEAM, HOME].contains(&n));
    assert!(namespace.is_none() || grants.iter().all(is_bound), "rights beyond the namespace: {grants:?}");

    let told = tokio::runtime::Runtime::new().unwrap().block_on(everything(&plane, namespace));
    let requests = requests(&plane).unwrap();
    let refused: BTreeSet<&Request> = requests.iter().filter(|r| matches!(r.code, 401 | 403)).collect();
    assert!(refused.is_empty(), "the controller was refused {refused:#?}; what came of it: {told:?}");
    told.unwrap();
    let beside: BTreeSet<&Request> = requests.iter().filter(|r| !grants.iter().any(|g| g.covers(r))).collect();
    assert!(beside.is_empty(), "it did what the chart does not grant, by some other right: {beside:#?}");
    let asks_admission = |grant: &Grant| grant.resource.ends_with("/finalizers");
    let idle: Vec<String> = grants
        .iter()
        .filter(|grant| !asks_admission(grant) && !requests.iter().any(|r| grant.covers(r)))
        .map(Grant::to_string)
        .collect();
    assert!(idle.is_empty(), "nothing uses these rights: {idle:?}");
    let owners: Vec<&Grant> = grants.iter().filter(|grant| asks_admission(grant)).collect();
    for grant in &owners {
        needed_to_own(&plane, grant).unwrap();
    }
    println!(
        "{} rights: {} used by {} requests, {} needed by admission; nothing was refused",
        grants.len(),
        grants.len() - owners.len(),
        requests.len(),
        owners.len()
    );
}

/// What the controller asked for, but for the names of the API's groups, which every account may read.
fn requests(plane: &ControlPlane) -> Result<Vec<Request>> {
    let user = user();
    Ok(plane.audit()?.into_iter().filter(|r| r.user == user && !r.resource.is_empty()).collect())
}

fn user() -> String {
    format!("system:serviceaccount:{HOME}:{ACCOUNT}")
}

async fn everything(plane: &ControlPlane, namespace: Option<&str>) -> Result<()> {
    plane.kubectl(&["create", "namespace", "nodes"])?;
    let admin = Server::new(plane).await?;
    let (mut build, release) = examples(TEAM);
    build.spec.storage.retain = Retain::Delete;
    let world = World::new(admin.client.clone(), TEAM, &build, &release, TO_RUN);
    let playing = world.clone();
    let kubelet = tokio::spawn(async move { playing.play().await });

    let own = Server::by(&plane.kubeconfig_for_service_account(HOME, ACCOUNT)?).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let lease = Some((HOME.to_owned(), "test".to_owned()));
    let (stop, told) = watch::channel(false);
    let gpus = namespace.is_none();
    let agents_namespace = gpus.then(|| AGENTS.to_owned());
    let options = Options { gpus, taint_nodes: gpus, kueue: true, agents_namespace, ..options(namespace) };
    let controller = tokio::spawn(run(own.client, options, run::Process { listener, lease }, told));
    let objects = [(Kind::Build, json!(build)), (Kind::Release, json!(release))];
    let story = tokio::select! {
        done = async { tokio::try_join!(life(&world, objects), quarantine(&admin, gpus)) } => done.map(drop),
        // Who may not do something tries again for ever.
        () = refusal(plane) => Err(anyhow::anyhow!("it was refused something")),
    };
    let said = match world.api(Kind::Build).get_opt(BUILD).await? {
        Some(build) => format!("{:#}", build.data["status"]),
        None => "gone".to_owned(),
    };
    _ = stop.send(true);
    let ended = controller.await?;
    kubelet.abort();
    story.with_context(|| format!("the build's status: {said}"))?;
    ended
}

async fn refusal(plane: &ControlPlane) {
    while !requests(plane).is_ok_and(|all| all.iter().any(|r| r.code == 403)) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A build and a release from apply to the end of what they left.
async fn life(world: &Arc<World>, objects: [(Kind, Value); 2]) -> Result<()> {
    let jobs: Api<Job> = Api::namespaced(world.client.clone(), TEAM);
    let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), TEAM);
    let says = |script: Script| *world.script.lock().unwrap() = script;
    let patch = async |patch: Value| {
        world.api(Kind::Build).patch(BUILD, &PatchParams::default(), &Patch::Merge(patch)).await.context("a patch")
    };
    let of_step = async || {
        let step = ListParams::default().labels(&format!("{}={}", names::STAGE, Stage::SentenceScore.name()));
        Ok::<_, anyhow::Error>(jobs.list(&step).await?.items)
    };
    let workers = |fate: fn() -> Fate| -> Script {
        Box::new(
            move |labels: &BTreeMap<String, String>| {
                if labels[names::STAGE] == names::ADVANCE { Fate::Works } else { fate() }
            },
        )
    };

    // Before there is a build: the first request for a kind may take longer than a build whose workers work.
    says(workers(|| Fate::Pends));
    for (kind, object) in objects {
        world.api(kind).create(&PostParams::default(), &read::<DynamicObject>(object)?).await?;
    }
    until(PATIENCE, "a Job of a step", async || Ok(!of_step().await?.is_empty())).await?;
    patch(json!({ "spec": { "stages": { "sentenceScore": { "parallelism": 2 } } } })).await?;
    let two = |job: &Job| job.spec.as_ref().is_some_and(|s| s.parallelism == Some(2));
    until(PATIENCE, "less parallelism", async || Ok(of_step().await?.iter().any(two))).await?;
    // Somebody takes away what the status names: gone, or not in the cache yet?
    let first = of_step().await?.first().context("a Job")?.clone();
    jobs.delete(&first.name_any(), &DeleteParams::background()).await?;
    until(PATIENCE, "another Job", async || Ok(of_step().await?.iter().any(|j| j.uid() != first.uid()))).await?;

    for suspend in [true, false, true, false] {
        patch(json!({ "spec": { "suspend": suspend } })).await?;
        world.until(Kind::Build, BUILD, "suspend", |s| is(s, "Suspended") == suspend).await?;
    }
    says(workers(|| Fate::Ends(64, "no such model".to_owned())));
    let halted = |s: &Value| {
        let stages = s["stages"].as_array().cloned().unwrap_or_default();
        stages.iter().filter(|s| s["state"] == "Stalled").count() == TO_RUN.len() && is(s, "Stalled")
    };
    world.until(Kind::Build, BUILD, "both steps to fail", halted).await?;
    says(Box::new(|_| Fate::Works));
    patch(json!({ "metadata": { "annotations": { names::RETRY: "1" } } })).await?;
    for (kind, name) in [(Kind::Build, BUILD), (Kind::Release, RELEASE)] {
        world.until(kind, name, "the end", |s| is(s, "Ready")).await?;
    }

    let wishes = ListParams::default().labels(&format!("{}={}", names::STAGE, names::CLEAN_UP));
    for (kind, name, left) in [(Kind::Release, RELEASE, 1), (Kind::Build, BUILD, 0)] {
        world.api(kind).delete(name, &DeleteParams::default()).await?;
        until(PATIENCE, "the clean-up", async || Ok(maps.list(&wishes).await?.items.len() == left)).await?;
    }
    Ok(())
}

/// A node falls ill and gets well, where nodes are looked at.
async fn quarantine(admin: &Server, gpus: bool) -> Result<()> {
    if !gpus {
        return Ok(());
    }
    let (nodes, gpu_nodes): (Api<Node>, Api<GpuNode>) =
        (Api::all(admin.client.clone()), Api::all(admin.client.clone()));
    let pods: Api<Pod> = Api::namespaced(admin.client.clone(), "nodes");
    let new = PostParams::default();
    nodes.create(&new, &read(json!({ "metadata": { "name": "ill" } }))?).await?;
    let object = json!({ "apiVersion": API_VERSION, "kind": "GpuNode", "metadata": { "name": "ill" } });
    gpu_nodes.patch("ill", &PatchParams::apply("test"), &Patch::Apply(object)).await?;
    let worker = json!({
        "metadata": { "name": "worker", "labels": { names::MANAGED_BY: names::CONTROLLER, names::GPU: "true" } },
        "spec": {
            "nodeName": "ill",
            "automountServiceAccountToken": false,
            "containers": [{ "name": "worker", "image": "worker:1" }],
        },
    });
    pods.create(&new, &read(worker)?).await?;
    let tainted = async || {
        let taints = nodes.get("ill").await?.spec.and_then(|s| s.taints).unwrap_or_default();
        Ok::<_, anyhow::Error>(taints.iter().any(|t| t.key == names::QUARANTINE))
    };
    for healthy in [false, true] {
        let device = json!({ "uuid": "GPU-1", "pci": "0000:01:00.0", "product": "A100", "memory": 1, "compute": "8.0",
                             "healthy": healthy, "reason": (!healthy).then_some("Xid79") });
        let status = Patch::Merge(json!({ "status": { "devices": [device] } }));
        gpu_nodes.patch_status("ill", &PatchParams::default(), &status).await.context("the agent's report")?;
        until(PATIENCE, "the taint", async || Ok(tainted().await? != healthy)).await?;
    }
    until(PATIENCE, "the eviction", async || Ok(pods.get("worker").await?.metadata.deletion_timestamp.is_some())).await
}

/// Without this right a Job whose owner waits for it is refused, and with it not.
fn needed_to_own(plane: &ControlPlane, grant: &Grant) -> Result<()> {
    let kind = Kind::ALL.into_iter().find(|kind| grant.resource == format!("{}/finalizers", kind.resource().plural));
    let kind = kind.with_context(|| format!("the controller owns nothing by the right to {grant}"))?;
    let labels = json!({ names::MANAGED_BY: names::CONTROLLER });
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "name": "owned", "namespace": TEAM, "ownerReferences": [{
            "apiVersion": API_VERSION, "kind": kind.name(), "name": "owner", "uid": "1",
            "controller": true, "blockOwnerDeletion": true,
        }] },
        "spec": { "template": { "metadata": { "labels": labels }, "spec": {
            "restartPolicy": "Never", "containers": [{ "name": "worker", "image": "worker:1" }],
        } } },
    });
    let create =
        || plane.kubectl_with_input(&["create", "--dry-run=server", "--as", &user(), "-f", "-"], &job.to_string());
    create().with_context(|| format!("with the right to {grant}"))?;
    let role = match &grant.namespace {
        Some(namespace) => ["role", ACCOUNT, "--namespace", namespace],
        None => ["clusterrole", ACCOUNT, "--namespace", "default"],
    };
    let rules: Value = serde_json::from_str(&plane.kubectl(&[&["get", "-o", "json"], &role[..]].concat())?)?;
    let rules = &rules["rules"];
    let mut without = rules.clone();
    for resources in without.as_array_mut().into_iter().flatten().filter_map(|rule| rule["resources"].as_array_mut()) {
        if resources.len() > 1 {
            resources.retain(|resource| *resource != grant.resource.as_str());
        }
    }
    let replace = |rules: &Value| {
        let patch = json!([{ "op": "replace", "path": "/rules", "value": rules }]).to_string();
        plane.kubectl(&[&["patch", "--type", "json", "-p", &patch], &role[..]].concat())
    };
    replace(&without)?;
    let began = Instant::now();
    // Rights are read from a cache of the API server.
    let refused = loop {
        match create() {
            Err(error) => break error.to_string(),
            Ok(_) if began.elapsed() < Duration::from_secs(20) => {}
            Ok(_) => bail!("nothing needs the right to {grant}"),
        }
    };
    replace(rules)?;
    ensure!(refused.contains("blockOwnerDeletion"), "{grant}: {refused}");
    Ok(())
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T> {
    Ok(serde_json::from_value(value)?)
}
