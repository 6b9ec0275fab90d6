//! Deleting a build never hangs, whatever is missing: its Secret, its bucket, or soon its namespace.

mod support;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use realsyn_controller::kinds::Kind;
use realsyn_controller::names;
use realsyn_crds::{Retain, Stage};
use serde_json::{Value, json};
use support::fault::Faults;
use support::site::{Server, Site, on_a_control_plane};
use support::{Fate, Script, examples, is, until, why};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
const BUILD: &str = "obelics";
const RELEASE: &str = "obelics-balanced";

#[test]
fn deleting_never_hangs() {
    on_a_control_plane("deleting_never_hangs", async |_, api| {
        tokio::try_join!(
            async { without_secret(api).await.context("without its Secret") },
            async { without_bucket(api).await.context("without its bucket") },
            async { with_its_namespace(api).await.context("with its namespace") },
        )?;
        Ok(())
    });
}

/// A build whose work is to go with it, and its release.
async fn site(api: &Server, namespace: &str, script: Script) -> Result<Site> {
    let (mut build, release) = examples(namespace);
    build.spec.storage.retain = Retain::Delete;
    // Until pods do as they should here.
    build.spec.suspend = true;
    let site = Site::open(api, (build, release), &[Stage::SentenceScore], Faults::new(None, None)).await?;
    *site.world.script.lock().unwrap() = script;
    let resume = Patch::Merge(json!({ "spec": { "suspend": false } }));
    site.world.api(Kind::Build).patch(BUILD, &PatchParams::default(), &resume).await?;
    Ok(site)
}

async fn deleted(site: &Site) -> Result<()> {
    for (kind, name) in [(Kind::Release, RELEASE), (Kind::Build, BUILD)] {
        site.world.api(kind).delete(name, &DeleteParams::default()).await?;
        until(PATIENCE, "the end of it", async || Ok(site.world.api(kind).get_opt(name).await?.is_none())).await?;
    }
    Ok(())
}

/// The ConfigMaps that say that work is to be cleaned up.
async fn wishes(site: &Site) -> Result<usize> {
    let maps: Api<ConfigMap> = Api::namespaced(site.world.client.clone(), &site.world.namespace);
    let wishes = ListParams::default().labels(&format!("{}={}", names::STAGE, names::CLEAN_UP));
    Ok(maps.list(&wishes).await?.items.len())
}

/// No container can be made, for the clean-up neither; when the Secret is back, it is done.
async fn without_secret(api: &Server) -> Result<()> {
    let missing = || Fate::Waits("CreateContainerConfigError", "secret \"realsyn-s3\" not found");
    let site = site(api, "no-secret", Box::new(move |_| missing())).await?;
    let told = |status: &Value| why(status, "Ready").contains("secret \"realsyn-s3\" not found");
    site.world.until(Kind::Build, BUILD, "the Secret to be missed", told).await?;
    deleted(&site).await?;
    let jobs: Api<Job> = Api::namespaced(api.client.clone(), "no-secret");
    let cleaning = ListParams::default().labels(&format!("{}={}", names::STAGE, names::CLEAN_UP));
    until(PATIENCE, "the clean-up", async || Ok(!jobs.list(&cleaning).await?.items.is_empty())).await?;
    ensure!(wishes(&site).await? == 1, "the wish is forgotten");
    *site.world.script.lock().unwrap() = Box::new(|_| Fate::Works);
    until(PATIENCE, "the end of the clean-up", async || Ok(wishes(&site).await? == 0)).await
}

/// What cleans up fails; it is tried again later, and the build is gone all the same.
async fn without_bucket(api: &Server) -> Result<()> {
    let site = site(api, "no-bucket", Box::new(|_| Fate::Ends(64, "the bucket does not exist".to_owned()))).await?;
    let told = |status: &Value| is(status, "Stalled") && why(status, "Stalled").contains("the bucket does not exist");
    site.world.until(Kind::Build, BUILD, "the bucket to be missed", told).await?;
    deleted(&site).await?;
    let jobs: Api<Job> = Api::namespaced(api.client.clone(), "no-bucket");
    let cleaning = ListParams::default().labels(&format!("{}={}", names::STAGE, names::CLEAN_UP));
    until(PATIENCE, "a clean-up that fails", async || {
        let jobs = jobs.list(&cleaning).await?.items;
        Ok(jobs.iter().any(|job| job.status.as_ref().is_some_and(|s| s.failed.unwrap_or_default() > 0)))
    })
    .await?;
    ensure!(wishes(&site).await? == 1, "the wish is forgotten");
    Ok(())
}

/// Nothing can be made any more in a namespace that goes, no pod in the place of one that went, and nothing is waited for.
async fn with_its_namespace(api: &Server) -> Result<()> {
    let works: Script = Box::new(|labels| match labels[names::STAGE] == names::ADVANCE {
        true => Fate::Works,
        false => Fate::Pends,
    });
    let site = site(api, "ending", works).await?;
    let runs = |status: &Value| status["progress"].as_str().is_some_and(|p| p.starts_with("sentence-score 0/3"));
    site.world.until(Kind::Build, BUILD, "the step to run", runs).await?;
    ensure!(wishes(&site).await? == 1, "the wish is not recorded");
    let pods: Api<Pod> = Api::namespaced(api.client.clone(), "ending");
    let of_step = ListParams::default().labels(&format!("{}={}", names::STAGE, Stage::SentenceScore.name()));
    until(PATIENCE, "its pods", async || Ok(pods.list(&of_step).await?.items.len() == 3)).await?;
    let namespaces: Api<Namespace> = Api::all(api.client.clone());
    namespaces.delete("ending", &DeleteParams::default()).await?;
    // Kubernetes looks at a namespace again after half of the time that its pods have to end.
    let done =
        until(5 * PATIENCE, "the end of the namespace", async || Ok(namespaces.get_opt("ending").await?.is_none()));
    match done.await {
        // What it still holds, and who holds it.
        Err(error) => Err(error.context(json!(namespaces.get_opt("ending").await?.map(|n| n.status)).to_string())),
        done => done,
    }
}
