//! The whole controller against a real API server and a real Job controller; the test plays kubelet and workers.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use realsyn_cluster::{ControlPlane, Options as Cluster, missing_for_control_plane, skip};
use realsyn_controller::context::Options;
use realsyn_controller::kinds::Kind;
use realsyn_controller::names;
use realsyn_controller::run::{Process, run};
use realsyn_crds::{RealSynBuild, RealSynRelease, Retain, Stage};
use serde_json::{Value, json};
use support::{Fate, World, examples, is, until, why};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How long anything may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// The label that the API server gives to the pod of an index.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// Stages that are not in the shared store, so that they run: a short way through the graph.
const TO_RUN: &[Stage] = &[Stage::SentenceScore, Stage::PairScore];

/// A namespace with a controller of its own.
struct Site {
    world: Arc<World>,
    build: RealSynBuild,
    release: RealSynRelease,
    metrics: String,
    stop: watch::Sender<bool>,
    controller: tokio::task::JoinHandle<Result<()>>,
    kubelet: tokio::task::JoinHandle<()>,
}

impl Site {
    async fn open(plane: &ControlPlane, namespace: &str) -> Result<Self> {
        plane.kubectl(&["create", "namespace", namespace])?;
        let restricted = "pod-security.kubernetes.io/enforce=restricted";
        plane.kubectl(&["label", "namespace", namespace, restricted])?;
        let config = Kubeconfig::read_from(plane.kubeconfig())?;
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        let (build, release) = examples(namespace);
        let world = World::new(client.clone(), namespace, &build, &release, TO_RUN);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let metrics = format!("http://{}/metrics", listener.local_addr()?);
        let options = Options {
            worker_image: "registry.example.org/realsyn/worker:1".to_owned(),
            namespace: Some(namespace.to_owned()),
            max_pods: 100,
            concurrency: 4,
            // So often that everything here happens between resyncs.
            resync: std::time::Duration::from_secs(2),
            gpus: false,
            taint_nodes: false,
            kueue: false,
            agents_namespace: None,
            worker_otlp_endpoint: None,
            server: realsyn_objects::server::Settings {
                image: "registry.example.org/vllm:1".to_owned(),
                patience: None,
            },
        };
        let (stop, told) = watch::channel(false);
        let process = Process { listener, lease: Some((namespace.to_owned(), "test".to_owned())) };
        let controller = tokio::spawn(run(client, options, process, told));
        let playing = world.clone();
        let kubelet = tokio::spawn(async move { playing.play().await });
        Ok(Self { world, build, release, metrics, stop, controller, kubelet })
    }

    async fn apply_build(&self) -> Result<()> {
        self.create(Kind::Build, json!(self.build)).await
    }

    async fn create(&self, kind: Kind, object: Value) -> Result<()> {
        let object: DynamicObject = serde_json::from_value(object)?;
        self.world.api(kind).create(&PostParams::default(), &object).await.context("the example")?;
        Ok(())
    }

    async fn patch(&self, kind: Kind, name: &str, patch: Value) -> Result<DynamicObject> {
        Ok(self.world.api(kind).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?)
    }

    async fn jobs(&self) -> Result<Vec<Job>> {
        let api: Api<Job> = Api::namespaced(self.world.client.clone(), &self.world.namespace);
        Ok(api.list(&ListParams::default()).await?.items)
    }

    /// The pod of the first task of a stage, once it is there.
    async fn first_pod(&self, stage: Stage) -> Result<Pod> {
        let api: Api<Pod> = Api::namespaced(self.world.client.clone(), &self.world.namespace);
        let of_stage = ListParams::default().labels(&format!("{}={},{INDEX}=0", names::STAGE, stage.name()));
        let mut found = None;
        until(PATIENCE, "a pod", async || {
            let pods = api.list(&of_stage).await?.items;
            found = pods.into_iter().find(|pod| pod.metadata.deletion_timestamp.is_none());
            Ok(found.is_some())
        })
        .await?;
        found.context("a pod")
    }

    /// A metric's value.
    async fn metric(&self, name: &str) -> Result<u64> {
        let url = self.metrics.clone();
        let text = tokio::task::spawn_blocking(move || {
            std::process::Command::new("curl").args(["-s", "--noproxy", "*", &url]).output()
        });
        let text = String::from_utf8(text.await??.stdout)?;
        let line = text.lines().find(|l| l.starts_with(name)).with_context(|| format!("{name} in {text}"))?;
        Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
    }

    async fn close(self) -> Result<()> {
        self.stop.send(true)?;
        self.controller.await??;
        self.kubelet.abort();
        let jobs = self.world.jobs.lock().unwrap();
        for (name, uids) in jobs.iter() {
            ensure!(uids.len() == 1, "the Job {name} was made {} times", uids.len());
        }
        let store = self.world.store.lock().unwrap();
        ensure!(store.wasted.is_empty(), "sealed steps ran again: {:?}", store.wasted);
        Ok(())
    }
}

/// The cells of a table as kubectl prints it, a list for each of its lines; the heads tell where each column begins.
fn cells(plane: &ControlPlane, args: &[&str]) -> Result<Vec<Vec<String>>> {
    let table = plane.kubectl(args)?;
    let heads: Vec<char> = table.lines().next().context("heads")?.chars().collect();
    let starts = |at: &usize| heads[*at] != ' ' && (*at == 0 || heads[at - 1] == ' ');
    let begins: Vec<usize> = (0..heads.len()).filter(starts).collect();
    let ends = begins.iter().skip(1).copied().chain([usize::MAX]);
    let columns: Vec<(usize, usize)> = begins.iter().copied().zip(ends).collect();
    let cell = |line: &str, (from, to): (usize, usize)| {
        line.chars().skip(from).take(to.saturating_sub(from)).collect::<String>().trim().to_owned()
    };
    Ok(table.lines().map(|line| columns.iter().map(|column| cell(line, *column)).collect()).collect())
}

#[test]
fn builds_and_releases_on_a_real_api_server() {
    if skip("builds_and_releases_on_a_real_api_server", missing_for_control_plane()) {
        return;
    }
    let plane = ControlPlane::start(&Cluster::default()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime
        .block_on(async {
            // The controller of the first namespace is there before its CRDs are.
            let early = Site::open(&plane, "journey").await?;
            plane.define(&["realsynbuilds", "realsynreleases"].map(support::site::definition))?;
            let (stalling, halting) = (Site::open(&plane, "stalls").await?, Site::open(&plane, "halts").await?);
            let (leaving, sharing) = (Site::open(&plane, "leaves").await?, Site::open(&plane, "shares").await?);
            let (taking, following) = (Site::open(&plane, "takes").await?, Site::open(&plane, "follows").await?);
            tokio::try_join!(
                async { journey(&plane, early).await.context("journey") },
                async { stalls(stalling).await.context("stalls") },
                async { halts(&plane, halting).await.context("halts") },
                async { leaves(leaving).await.context("leaves") },
                async { shares(sharing).await.context("shares") },
                async { takes(taking).await.context("takes") },
                async { follows(following).await.context("follows") },
                async { process(&plane).await.context("process") },
            )
        })
        .unwrap();
}

/// From apply to Ready, to a published release, and then nothing more is written.
async fn journey(plane: &ControlPlane, site: Site) -> Result<()> {
    site.apply_build().await?;
    site.create(Kind::Release, json!(site.release)).await?;
    let (build, release) = ("obelics", "obelics-balanced");
    site.world
        .until(Kind::Release, release, "the release to wait", |s| {
            why(s, "Ready").contains("no pool yet") && s.get("pool").is_none()
        })
        .await?;
    let done = site.world.until(Kind::Build, build, "the build to be ready", |s| is(s, "Ready")).await?;
    let status = &done.data["status"];
    ensure!(status["pools"][0]["pairs"] == 1234 && status["pools"][0]["generation"] == 1, "{status:#}");
    ensure!(status["stages"].as_array().is_some_and(|s| s.iter().all(|s| s["state"] == "Sealed")), "{status:#}");
    ensure!(status["progress"] == "complete · 100 %", "{status:#}");
    ensure!(status.to_string().len() < 64 * 1024, "a status of {} bytes", status.to_string().len());

    let shown = cells(plane, &["get", "rsb", build, "-n", "journey"])?;
    ensure!(shown[0] == ["NAME", "STAGE", "SHARDS", "DONE", "LEFT", "READY", "WHY", "AGE"], "{shown:?}");
    ensure!(shown[1][..7] == [build, "complete", "", "100%", "", "True", "Complete"], "{shown:?}");
    let done = site.world.until(Kind::Release, release, "the release to be ready", |s| is(s, "Ready")).await?;
    let shown = cells(plane, &["get", "rsr", release, "-n", "journey"])?;
    let heads = ["NAME", "BUILD", "STAGE", "SHARDS", "DONE", "LEFT", "PAIRS", "READY", "WHY", "AGE"];
    ensure!(shown[0] == heads, "{shown:?}");
    ensure!(shown[1][..9] == [release, build, "complete", "", "100%", "", "1234", "True", "Published"], "{shown:?}");
    let status = &done.data["status"];
    ensure!(status["pool"]["digest"].is_string() && status["uri"] == "s3://datasets/somewhere", "{status:#}");
    ensure!(status["pairs"] == 1234 && status["bytes"] == 5678, "{status:#}");
    let refused = site.patch(Kind::Release, release, json!({ "spec": { "texts": 5 } })).await;
    ensure!(refused.is_err_and(|e| e.to_string().contains("cannot change")), "the spec of a begun release changed");

    // All Jobs go once their stage is sealed.
    for _ in 0..600 {
        if site.jobs().await?.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    ensure!(
        site.jobs().await?.is_empty(),
        "Jobs are left: {:?}",
        site.jobs().await?.iter().map(|j| j.name_any()).collect::<Vec<_>>()
    );

    // A poke makes it look, and it finds nothing to write.
    let count = "realsyn_controller_reconciles_total{kind=\"build\"}";
    let (looks, writes) = (site.metric(count).await?, site.metric("realsyn_controller_status_writes_total").await?);
    let poked = site.patch(Kind::Build, build, json!({ "metadata": { "annotations": { "poke": "1" } } })).await?;
    for _ in 0..200 {
        if site.metric(count).await? > looks {
            break;
        }
    }
    ensure!(site.metric(count).await? > looks, "the poke was not seen");
    ensure!(site.metric("realsyn_controller_status_writes_total").await? == writes, "a status was written for nothing");
    // Nor does an hour's worth of resyncs.
    let looks = site.metric(count).await?;
    until(PATIENCE, "six resyncs", async || Ok(site.metric(count).await? >= looks + 6)).await?;
    ensure!(site.metric("realsyn_controller_status_writes_total").await? == writes, "a resync wrote a status");
    let now = site.world.api(Kind::Build).get(build).await?;
    ensure!(now.resource_version() == poked.resource_version(), "somebody wrote");

    // A setting that changes no bytes: a new generation is complete without running anything.
    let ran = site.world.jobs.lock().unwrap().keys().filter(|n| !n.contains("advance")).count();
    site.patch(Kind::Build, build, json!({ "spec": { "stages": { "caption": { "parallelism": 2 } } } })).await?;
    let done = site.world.until(Kind::Build, build, "generation 2", |s| is(s, "Ready") && s["observedGeneration"] == 2);
    let pools = done.await?.data["status"]["pools"].clone();
    ensure!(pools.as_array().map(Vec::len) == Some(1) && pools[0]["generation"] == 2, "{pools:#}");
    ensure!(
        site.world.jobs.lock().unwrap().keys().filter(|n| !n.contains("advance")).count() == ran,
        "a sealed step ran"
    );

    // A release that goes gives up what it holds.
    let maps: Api<ConfigMap> = Api::namespaced(site.world.client.clone(), &site.world.namespace);
    let wishes = ListParams::default().labels(&format!("{}={}", names::STAGE, names::CLEAN_UP));
    let wish = async || Ok::<_, anyhow::Error>(maps.list(&wishes).await?.items);
    ensure!(wish().await?.len() == 1 && site.world.withdrawn.load(Ordering::SeqCst) == 0, "{:?}", wish().await?);
    site.world.api(Kind::Release).delete(release, &DeleteParams::default()).await?;
    until(PATIENCE, "the end of the wish", async || Ok(wish().await?.is_empty())).await?;
    ensure!(site.world.withdrawn.load(Ordering::SeqCst) == 1 && site.world.cleaned.load(Ordering::SeqCst) == 0);
    until(PATIENCE, "the end of the Jobs", async || Ok(site.jobs().await?.is_empty())).await?;
    site.close().await
}

/// Garbage, wrong settings, a failing task: a sentence each, and the retry annotation goes on at once.
async fn stalls(site: Site) -> Result<()> {
    let is_look = |labels: &BTreeMap<String, String>| labels[names::STAGE] == names::ADVANCE;
    *site.world.script.lock().unwrap() = Box::new(|_| Fate::Ends(0, "{\"ready\": \"everything\"}".to_owned()));
    site.apply_build().await?;
    let build = "obelics";
    let garbage = |s: &Value| why(s, "Ready").contains("cannot be used") && is(s, "Reconciling");
    site.world.until(Kind::Build, build, "garbage to be told", garbage).await?;

    *site.world.script.lock().unwrap() =
        Box::new(|_| Fate::Ends(64, "the bucket `nowhere`\u{1b} does not exist".to_owned()));
    let retry = |token: &str| json!({ "metadata": { "annotations": { names::RETRY: token } } });
    site.patch(Kind::Build, build, retry("1")).await?;
    let settings = |s: &Value| is(s, "Stalled") && why(s, "Stalled") == "the bucket `nowhere` does not exist";
    site.world.until(Kind::Build, build, "wrong settings to be told", settings).await?;

    *site.world.script.lock().unwrap() = Box::new(move |labels| match is_look(labels) {
        true => Fate::Works,
        false => Fate::Ends(64, "no such model".to_owned()),
    });
    site.patch(Kind::Build, build, retry("2")).await?;
    // Both steps that can run must have failed: one that fails after the retry below waits its ten minutes.
    let failed = |s: &Value| {
        let stages = s["stages"].as_array().cloned().unwrap_or_default();
        let halted = stages.iter().filter(|s| s["state"] == "Stalled").count() == TO_RUN.len();
        halted && is(s, "Stalled") && why(s, "Stalled").contains("sentence-score: score: task")
    };
    let stalled = site.world.until(Kind::Build, build, "a failed task to be told", failed).await?;
    ensure!(why(&stalled.data["status"], "Stalled").contains("no such model"), "{:#}", stalled.data["status"]);
    ensure!(site.jobs().await?.iter().any(|j| j.labels()[names::STAGE] == "sentence-score"), "the failed Job is gone");

    *site.world.script.lock().unwrap() = Box::new(|_| Fate::Works);
    site.patch(Kind::Build, build, retry("3")).await?;
    site.world.until(Kind::Build, build, "the build to be ready", |s| is(s, "Ready") && !is(s, "Stalled")).await?;

    // One that is deleted as it stalls is counted no more.
    let counted = async || site.metric("realsyn_controller_objects{kind=\"build\",state=\"stalled\"}").await;
    *site.world.script.lock().unwrap() = Box::new(|_| Fate::Ends(64, "no such bucket".to_owned()));
    let mut doomed = json!(site.build);
    doomed["metadata"]["name"] = json!("doomed");
    site.create(Kind::Build, doomed).await?;
    site.world.until(Kind::Build, "doomed", "the second to stall", |s| is(s, "Stalled")).await?;
    until(PATIENCE, "it to be counted", async || Ok(counted().await? == 1)).await?;
    site.world.api(Kind::Build).delete("doomed", &DeleteParams::default()).await?;
    until(PATIENCE, "it to be counted no more", async || Ok(counted().await? == 0)).await?;
    site.close().await
}

/// A build changes, and a release asks for what comes of it: the pool that is there is not it.
async fn follows(site: Site) -> Result<()> {
    site.apply_build().await?;
    let build = "obelics";
    let done = site.world.until(Kind::Build, build, "the build to be ready", |s| is(s, "Ready")).await?;
    let old = done.data["status"]["pools"][0]["digest"].clone();
    *site.world.script.lock().unwrap() =
        Box::new(|labels| if labels[names::STAGE] == names::ADVANCE { Fate::Works } else { Fate::Pends });
    let mut changed = site.build.clone();
    changed.spec.stages.tag.max_tags += 1;
    site.world.has(&changed.spec, TO_RUN);
    site.world.holds_release(&changed.spec, &site.release.spec);
    let mut release = json!(site.release);
    release["spec"]["buildRef"]["minGeneration"] = json!(2);
    // As one `kubectl apply` of both, whichever comes first.
    site.create(Kind::Release, release).await?;
    let waits = |s: &Value| why(s, "Ready").contains("no pool yet that this release asks for");
    let release = "obelics-balanced";
    site.world.until(Kind::Release, release, "the release to wait", waits).await?;
    let tag = json!({ "stages": { "tag": changed.spec.stages.tag } });
    site.patch(Kind::Build, build, json!({ "spec": tag })).await?;
    let runs = |s: &Value| s["progress"].as_str().is_some_and(|p| p.starts_with("pair-score 0/3"));
    site.world.until(Kind::Build, build, "the new generation to run", runs).await?;
    let seen = site.world.api(Kind::Release).get(release).await?;
    ensure!(waits(&seen.data["status"]) && seen.data["status"].get("pool").is_none(), "{:#}", seen.data["status"]);

    *site.world.script.lock().unwrap() = Box::new(|_| Fate::Works);
    let done = site.world.until(Kind::Release, release, "the release to be ready", |s| is(s, "Ready")).await?;
    // It is pinned once and for ever, so that this is the only one that it ever had.
    let pool = &done.data["status"]["pool"];
    ensure!(pool["generation"] == 2 && pool["digest"] != old, "{pool:#}, and the old one is {old}");
    site.close().await
}

/// Pods that cannot start say why; suspending takes the Jobs away; a changed spec replaces them.
async fn halts(plane: &ControlPlane, site: Site) -> Result<()> {
    let workers = |fate: fn() -> Fate| -> support::Script {
        Box::new(move |labels| if labels[names::STAGE] == names::ADVANCE { Fate::Works } else { fate() })
    };
    *site.world.script.lock().unwrap() = workers(|| Fate::Waits("ImagePullBackOff", "no such image"));
    site.apply_build().await?;
    let build = "obelics";
    let pulls = |s: &Value| why(s, "Ready").contains("sentence-score: ImagePullBackOff: no such image");
    site.world.until(Kind::Build, build, "the image to be missed", pulls).await?;

    site.patch(Kind::Build, build, json!({ "spec": { "suspend": true } })).await?;
    site.world.until(Kind::Build, build, "the build to be suspended", |s| is(s, "Suspended")).await?;
    for _ in 0..400 {
        if site.jobs().await?.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    ensure!(site.jobs().await?.is_empty(), "suspended, but there are Jobs");

    *site.world.script.lock().unwrap() = workers(|| Fate::Pends);
    site.patch(Kind::Build, build, json!({ "spec": { "suspend": false } })).await?;
    let runs = |s: &Value| s["progress"].as_str().is_some_and(|p| p.starts_with("sentence-score 0/3"));
    site.world.until(Kind::Build, build, "the step to run again", runs).await?;
    let shown = cells(plane, &["get", "rsb", build, "-n", "halts", "-o", "wide"])?;
    ensure!(shown[0][8] == "MESSAGE" && shown[1][8] == "steps are running", "{shown:?}");
    ensure!(shown[1][1..3] == ["sentence-score +1", "0/3"], "{shown:?}");
    ensure!(shown[1][4..7] == ["", "False", "Progressing"], "{shown:?}");

    // One of its three tasks takes a quarter of an hour: the columns move, and tell how long the others will take.
    let pod = site.first_pod(Stage::SentenceScore).await?;
    site.world.ends_after(&pod, 900).await?;
    let moved = |s: &Value| s["summary"]["shards"] == "1/3" && s["summary"]["left"].is_string();
    site.world.until(Kind::Build, build, "the columns to move", moved).await?;
    let shown = cells(plane, &["get", "rsb", build, "-n", "halts"])?;
    ensure!(shown[1][1..5] == ["sentence-score +1", "1/3", shown[1][3].as_str(), "30m"], "{shown:?}");

    // What a hand changes of its Job is brought back.
    let jobs: Api<Job> = Api::namespaced(site.world.client.clone(), &site.world.namespace);
    let of_score = async || {
        let of_step = |j: &Job| j.labels()[names::STAGE] == "sentence-score" && j.metadata.deletion_timestamp.is_none();
        site.jobs().await?.into_iter().find(of_step).context("the Job of the step")
    };
    until(PATIENCE, "the Job of the step", async || Ok(of_score().await.is_ok())).await?;
    for drift in [json!({ "parallelism": 0 }), json!({ "suspend": true }), json!({ "parallelism": 9 })] {
        let before = of_score().await?;
        let hand = Patch::Merge(json!({ "spec": drift }));
        let changed = jobs.patch(&before.name_any(), &PatchParams::default(), &hand).await?;
        until(PATIENCE, "the Job to be as it was", async || {
            let (now, spec) = (of_score().await?, before.spec.clone().unwrap_or_default());
            let is = now.spec.clone().unwrap_or_default();
            let as_it_was = is.parallelism == spec.parallelism && is.suspend == spec.suspend;
            Ok(as_it_was && now.metadata.generation > changed.metadata.generation && now.uid() == before.uid())
        })
        .await
        .with_context(|| format!("after {drift}"))?;
    }

    // More memory: the same step under another template is another Job, and a sealed one is left alone.
    let more = json!({ "spec": { "stages": { "sentenceScore": { "resources": { "memory": "3Gi" } } } } });
    site.patch(Kind::Build, build, more).await?;
    let second = |s: &Value| {
        let stages = s["stages"].as_array().cloned().unwrap_or_default();
        stages.iter().any(|s| s["name"] == "sentence-score" && s["job"].is_string() && s["attempt"] == 3)
    };
    site.world.until(Kind::Build, build, "a Job with more memory", second).await?;
    let jobs = site.jobs().await?;
    let of_step = |j: &&Job| j.labels()[names::STAGE] == "sentence-score";
    let memory = |j: &Job| {
        let template = &j.spec.as_ref().unwrap().template;
        template.spec.as_ref().unwrap().containers[0].resources.clone().unwrap().limits.unwrap()["memory"].0.clone()
    };
    let found: Vec<String> = jobs.iter().filter(of_step).map(memory).collect();
    ensure!(found == ["3Gi"], "{found:?}");

    *site.world.script.lock().unwrap() = workers(|| Fate::Works);
    site.world.until(Kind::Build, build, "the build to be ready", |s| is(s, "Ready")).await?;
    site.close().await
}

/// Images get the sentences of another build: they wait until those are made, and follow when they are made anew.
async fn takes(site: Site) -> Result<()> {
    let (giver, taker) = ("obelics", "pictures");
    let mut pictures = json!(site.build);
    pictures["metadata"]["name"] = json!(taker);
    pictures["spec"]["source"] = json!({ "format": "images", "uri": "s3://datasets/pictures" });
    pictures["spec"]["sentencesFrom"] = json!({ "build": giver });
    let stages = pictures["spec"]["stages"].as_object_mut().context("stages")?;
    stages.retain(|field, _| !Stage::ALL.iter().any(|stage| stage.field() == field && stage.makes_sentences()));
    let typed: RealSynBuild = serde_json::from_value(pictures.clone())?;
    site.world.has_with_sentences_of(&typed.spec, &site.build.spec);
    site.create(Kind::Build, pictures).await?;
    let waits = async |sentence: &'static str| {
        let waits = |s: &Value| why(s, "Ready").contains(sentence) && is(s, "Reconciling") && !is(s, "Stalled");
        site.world.until(Kind::Build, taker, sentence, waits).await
    };
    waits("there is no build obelics in this namespace").await?;
    *site.world.script.lock().unwrap() = Box::new(|labels| match labels[names::STAGE] == names::ADVANCE {
        true => Fate::Works,
        false => Fate::Pends,
    });
    site.apply_build().await?;
    waits("the build obelics is not done yet").await?;
    *site.world.script.lock().unwrap() = Box::new(|_| Fate::Works);
    let done = site.world.until(Kind::Build, taker, "the pictures to be ready", |s| is(s, "Ready")).await?;
    let status = &done.data["status"];
    ensure!(status["inventory"]["sentences"] == status["inventory"]["root"], "{status:#}");
    let map = status["pools"][0]["manifest"].as_str().context("a manifest")?;
    let maps: Api<ConfigMap> = Api::namespaced(site.world.client.clone(), &site.world.namespace);
    let files: Vec<String> = maps.get(map).await?.data.unwrap_or_default().into_keys().collect();
    ensure!(files == ["build.yaml", "sentences.yaml"], "{files:?}");

    // Who waits can be told to rest.
    let suspend = |is: bool| json!({ "spec": { "suspend": is } });
    site.patch(Kind::Build, giver, suspend(true)).await?;
    waits("the build obelics is not done yet").await?;
    // Its settings may change meanwhile, too.
    site.patch(Kind::Build, taker, json!({ "spec": { "stages": { "caption": { "parallelism": 2 } } } })).await?;
    site.patch(Kind::Build, giver, suspend(false)).await?;
    let second = |s: &Value| is(s, "Ready") && s["pools"][0]["generation"] == 2;
    site.world.until(Kind::Build, taker, "the pictures' second generation", second).await?;
    site.patch(Kind::Build, giver, suspend(true)).await?;
    waits("the build obelics is not done yet").await?;
    site.patch(Kind::Build, taker, suspend(true)).await?;
    site.world.until(Kind::Build, taker, "the pictures to rest", |s| is(s, "Suspended")).await?;
    for name in [taker, giver] {
        site.patch(Kind::Build, name, suspend(false)).await?;
    }
    let again = |s: &Value| is(s, "Ready") && !is(s, "Suspended");
    site.world.until(Kind::Build, taker, "the pictures to be ready again", again).await?;

    // Other sentences: the pictures' generation stays, and what reads them is made again.
    let digest = |status: &Value| {
        let stages = status["stages"].as_array().cloned().unwrap_or_default();
        stages.iter().find(|s| s["name"] == "retrieve").map(|s| s["digest"].clone())
    };
    let before = digest(status);
    let changed = json!({ "spec": { "stages": { "sentences": { "minWords": 4 } } } });
    let patched = site.patch(Kind::Build, giver, changed).await?;
    let spec: RealSynBuild = serde_json::from_value(json!({
        "apiVersion": realsyn_crds::API_VERSION, "kind": "RealSynBuild",
        "metadata": { "name": giver }, "spec": patched.data["spec"],
    }))?;
    site.world.has(&spec.spec, &[]);
    site.world.has_with_sentences_of(&typed.spec, &spec.spec);
    let anew = |s: &Value| is(s, "Ready") && digest(s) != before;
    site.world.until(Kind::Build, taker, "the pictures to have the new sentences", anew).await?;
    site.close().await
}

/// A build with `retain: Delete` goes at once, and its work after it, in as many runs as the store asks for.
async fn leaves(mut site: Site) -> Result<()> {
    site.build.spec.storage.retain = Retain::Delete;
    site.apply_build().await?;
    let build = "obelics";
    site.world.until(Kind::Build, build, "the build to be ready", |s| is(s, "Ready")).await?;
    let maps: Api<ConfigMap> = Api::namespaced(site.world.client.clone(), &site.world.namespace);
    let wishes = ListParams::default().labels(&format!("{}={}", names::STAGE, names::CLEAN_UP));
    ensure!(maps.list(&wishes).await?.items.len() == 1, "the wish is not recorded");
    ensure!(site.world.cleaned.load(Ordering::SeqCst) == 0, "cleaned up under a build that is there");

    // A change of mind, and back.
    let retain = |how: &str| json!({ "spec": { "storage": { "retain": how } } });
    site.patch(Kind::Build, build, retain("Keep")).await?;
    until(PATIENCE, "no wish any more", async || Ok(maps.list(&wishes).await?.items.is_empty())).await?;
    site.patch(Kind::Build, build, retain("Delete")).await?;
    until(PATIENCE, "the wish again", async || Ok(maps.list(&wishes).await?.items.len() == 1)).await?;

    site.world.api(Kind::Build).delete(build, &DeleteParams::default()).await?;
    until(PATIENCE, "the end", async || Ok(site.world.api(Kind::Build).get_opt(build).await?.is_none())).await?;
    until(PATIENCE, "the clean-up", async || Ok(maps.list(&wishes).await?.items.is_empty())).await?;
    let runs = site.world.cleaned.load(Ordering::SeqCst);
    ensure!(runs == 2, "{runs} runs");
    until(PATIENCE, "the end of the Jobs", async || Ok(site.jobs().await?.is_empty())).await?;
    site.close().await
}

/// Of two builds below one root the younger waits for what the older is at work on, and uses what comes of it.
async fn shares(site: Site) -> Result<()> {
    *site.world.script.lock().unwrap() =
        Box::new(|labels| if labels[names::STAGE] == names::ADVANCE { Fate::Works } else { Fate::Pends });
    site.apply_build().await?;
    let at_work = |s: &Value| s["progress"].as_str().is_some_and(|p| p.starts_with("sentence-score 0/3"));
    let older = site.world.until(Kind::Build, "obelics", "the step to run", at_work).await?;
    // Which of two is older is told by the second.
    let second = older.metadata.creation_timestamp.context("a time")?.0.as_second();
    until(PATIENCE, "another second", async || Ok(jiff::Timestamp::now().as_second() > second)).await?;
    let mut younger = json!(site.build);
    younger["metadata"]["name"] = json!("younger");
    site.create(Kind::Build, younger).await?;
    let waits = |s: &Value| why(s, "Ready").starts_with("sentence-score: build shares/obelics runs it");
    site.world.until(Kind::Build, "younger", "the younger to wait", waits).await?;
    *site.world.script.lock().unwrap() = Box::new(|_| Fate::Works);
    for name in ["obelics", "younger"] {
        site.world.until(Kind::Build, name, "both to be ready", |s| is(s, "Ready")).await?;
    }
    let ran =
        |name: &str| site.world.jobs.lock().unwrap().keys().any(|job| job.starts_with(name) && job.contains("-score-"));
    ensure!(ran("obelics") && !ran("younger"), "{:?}", site.world.jobs.lock().unwrap().keys());
    site.close().await
}

/// The binary itself: it becomes ready, leads, and on SIGTERM ends well and hands the Lease back, to another of its name.
async fn process(plane: &ControlPlane) -> Result<()> {
    plane.kubectl(&["create", "namespace", "process"])?;
    let start = |port: u16| {
        tokio::process::Command::new(env!("CARGO_BIN_EXE_realsyn-controller"))
            .args(["--worker-image", "worker:1", "--namespace", "process", "--lease-namespace", "process"])
            .args(["--port", &port.to_string(), "--identity", "pod", "--log-format", "text"])
            .env("KUBECONFIG", plane.kubeconfig())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
    };
    let end = async |mut child: tokio::process::Child| {
        let id = child.id().context("it runs")?.to_string();
        ensure!(std::process::Command::new("kill").arg(id).status()?.success(), "SIGTERM was not sent");
        let ended =
            tokio::time::timeout(std::time::Duration::from_secs(20), child.wait()).await.context("its end")??;
        ensure!(ended.success(), "it ended with {ended}");
        Ok(())
    };
    let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    let first = start(port)?;
    let holder = || {
        plane.kubectl(&["get", "lease", names::CONTROLLER, "-n", "process", "-o", "jsonpath={.spec.holderIdentity}"])
    };
    let answer = async |path: &str| {
        let url = format!("http://127.0.0.1:{port}{path}");
        let curl = tokio::process::Command::new("curl").args(["-s", "-f", "--noproxy", "*", &url]).output().await?;
        Ok::<_, anyhow::Error>(curl.status.success().then(|| String::from_utf8_lossy(&curl.stdout).into_owned()))
    };
    until(PATIENCE, "it to be ready, and to lead", async || {
        Ok(answer("/readyz").await?.is_some() && holder().is_ok_and(|h| h.starts_with("pod_")))
    })
    .await?;
    ensure!(answer("/livez").await?.is_some(), "it does not live");
    let led = holder()?;
    let second = start(TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port())?;
    end(first).await?;
    until(PATIENCE, "the other to lead", async || Ok(holder()?.starts_with("pod_") && holder()? != led)).await?;
    end(second).await?;
    ensure!(holder()?.is_empty(), "the Lease was not handed back");
    Ok(())
}
