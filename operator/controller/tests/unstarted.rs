//! A language model's server whose image no node can pull, on a real API server: its pods let go of their GPUs, the build
//! says why, and a person who has corrected the image goes on.

mod support;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use realsyn_controller::context::Options;
use realsyn_controller::kinds::Kind;
use realsyn_controller::names;
use realsyn_crds::{Engine, RealSynBuild, Stage};
use realsyn_objects::server::Settings;
use serde_json::{Value, json};
use support::fault::Faults;
use support::site::{Server, on_a_control_plane, options};
use support::{Fate, World, examples, is, until, why};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
const TEAM: &str = "team";
const BUILD: &str = "obelics";

#[test]
fn a_server_that_cannot_be_pulled_holds_no_gpu() {
    on_a_control_plane("a_server_that_cannot_be_pulled_holds_no_gpu", async |_, api| story(api).await);
}

/// A controller whose servers have this image and two seconds to start.
fn with_server(image: &str) -> Options {
    Options { server: Settings { image: image.to_owned(), patience: Some(2) }, ..options(Some(TEAM)) }
}

/// The example, with a server of the pod's own.
fn with_gpus(mut build: RealSynBuild) -> Result<RealSynBuild> {
    build.spec.stages.generate.device.engine = Engine::Cuda;
    let llm = json!({ "uri": "pvc://models/m", "sha256": "ab".repeat(32) });
    build.spec.models.llm = Some(serde_json::from_value(llm)?);
    Ok(build)
}

async fn story(api: &Server) -> Result<()> {
    let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": TEAM } }))?;
    Api::<Namespace>::all(api.client.clone()).create(&PostParams::default(), &namespace).await?;
    let (build, release) = examples(TEAM);
    let build = with_gpus(build)?;
    let world = World::new(api.client.clone(), TEAM, &build, &release, &[Stage::Generate]);
    *world.script.lock().unwrap() = Box::new(|labels| match labels[names::STAGE] == names::ADVANCE {
        true => Fate::Works,
        false => Fate::Unpulled("no such image"),
    });
    let playing = world.clone();
    let kubelet = tokio::spawn(async move { playing.play().await });
    let first = api.controller(with_server("vllm:1"), &Faults::new(None, None)).await?;
    let object: DynamicObject = serde_json::from_value(json!(build))?;
    world.api(Kind::Build).create(&PostParams::default(), &object).await?;

    let told = fails(&world).await;
    first.abort();
    told?;
    // The operator is upgraded; the generation goes on with what it has begun with, until a person says otherwise.
    let second = api.controller(with_server("vllm:2"), &Faults::new(None, None)).await?;
    let done = recovers(&world).await;
    second.abort();
    kubelet.abort();
    done
}

async fn jobs(world: &World) -> Result<Vec<Job>> {
    let jobs: Api<Job> = Api::namespaced(world.client.clone(), TEAM);
    let of_stage = ListParams::default().labels(&format!("{}={}", names::STAGE, Stage::Generate.name()));
    Ok(jobs.list(&of_stage).await?.items)
}

/// What runs beside the worker in a Job's pods.
fn server_of(job: &Job) -> Option<&str> {
    let pod = job.spec.as_ref()?.template.spec.as_ref()?;
    pod.init_containers.as_ref()?.first()?.image.as_deref()
}

fn generate(status: &Value) -> Value {
    let stages = status["stages"].as_array().cloned().unwrap_or_default();
    stages.into_iter().find(|stage| stage["name"] == "generate").unwrap_or_default()
}

async fn fails(world: &Arc<World>) -> Result<()> {
    until(PATIENCE, "the Job", async || Ok(!jobs(world).await?.is_empty())).await?;
    let job = jobs(world).await?.remove(0);
    ensure!(server_of(&job) == Some("vllm:1"), "{job:?}");
    let failed = |status: &Value| generate(status)["failures"] == 1;
    let seen = world.until(Kind::Build, BUILD, "the first failure", failed).await?;
    let said = generate(&seen.data["status"])["waitsFor"].to_string();
    let words = "without starting: its server: ImagePullBackOff: no such image (image vllm:1)";
    ensure!(said.contains(words), "{said}");
    until(PATIENCE, "the end of its Job", async || Ok(jobs(world).await?.iter().all(|j| j.uid() != job.uid()))).await?;
    let stalled = |status: &Value| is(status, "Stalled");
    let seen = world.until(Kind::Build, BUILD, "the second failure", stalled).await?;
    let status = &seen.data["status"];
    ensure!(why(status, "Stalled").contains(words) && status["serverImage"] == "vllm:1", "{status:#}");
    until(PATIENCE, "the end of all Jobs", async || Ok(jobs(world).await?.is_empty())).await
}

async fn recovers(world: &Arc<World>) -> Result<()> {
    let patch = async |patch: Value| {
        world.api(Kind::Build).patch(BUILD, &PatchParams::default(), &Patch::Merge(patch)).await.context("a patch")
    };
    *world.script.lock().unwrap() = Box::new(|labels| match labels[names::STAGE] == names::ADVANCE {
        true => Fate::Works,
        false => Fate::Pends,
    });
    let before = world.api(Kind::Build).get(BUILD).await?;
    ensure!(before.data["status"]["serverImage"] == "vllm:1", "{:#}", before.data["status"]);
    patch(json!({ "metadata": { "annotations": { names::RETRY: "1" } } })).await?;
    until(PATIENCE, "a Job with the new image", async || {
        Ok(jobs(world).await?.iter().any(|job| server_of(job) == Some("vllm:2")))
    })
    .await?;
    *world.script.lock().unwrap() = Box::new(|_| Fate::Works);
    let seen =
        world.until(Kind::Build, BUILD, "the build to be ready", |s| is(s, "Ready") && !is(s, "Stalled")).await?;
    ensure!(seen.data["status"]["serverImage"] == "vllm:2", "{:#}", seen.data["status"]);
    Ok(())
}
