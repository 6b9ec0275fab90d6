//! What is somebody else's stays as it is: a Job that has the name of one of ours, and objects that carry our labels.

mod support;

use std::collections::BTreeMap;

use anyhow::ensure;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use realsyn_controller::kinds::Kind;
use realsyn_controller::names;
use realsyn_crds::Stage;
use serde_json::{Value, json};
use support::fault::Faults;
use support::site::{Site, on_a_control_plane};
use support::{examples, is, why};

const BUILD: &str = "obelics";
/// A stage that runs, the others are sealed.
const TO_RUN: &[Stage] = &[Stage::SentenceScore];

#[test]
fn what_is_not_ours_is_left_alone() {
    on_a_control_plane("what_is_not_ours_is_left_alone", async |_, api| {
        let (mut build, release) = examples("foreign");
        build.spec.suspend = true;
        let site = Site::open(api, (build, release), TO_RUN, Faults::new(None, None)).await?;
        let world = &site.world;
        let jobs: Api<Job> = Api::namespaced(api.client.clone(), "foreign");
        let maps: Api<ConfigMap> = Api::namespaced(api.client.clone(), "foreign");
        let rests = |status: &Value| is(status, "Suspended");
        let seen = world.until(Kind::Build, BUILD, "the build to rest", rests).await?;

        // One that looks like ours in all but its owner, and one that has the very name of the first look at the store.
        let attempt = seen.data["status"]["advance"]["attempt"].as_u64().unwrap_or_default() as u32 + 1;
        let uid = seen.uid().unwrap_or_default();
        let named = names::advance_name(BUILD, &uid, attempt);
        let ours = json!({
            names::MANAGED_BY: names::CONTROLLER, names::KIND: "build", names::BUILD: BUILD, names::STAGE: "sentence-score",
        });
        let none = PostParams::default();
        let alike = jobs.create(&none, &serde_json::from_value(sleeper("alike", &ours))?).await?;
        let first = jobs.create(&none, &serde_json::from_value(sleeper(&named, &json!({})))?).await?;
        let map = json!({ "metadata": { "name": "alike", "labels": ours } });
        let map = maps.create(&none, &serde_json::from_value(map)?).await?;

        let resume = Patch::Merge(json!({ "spec": { "suspend": false } }));
        world.api(Kind::Build).patch(BUILD, &PatchParams::default(), &resume).await?;
        let told = |status: &Value| is(status, "Stalled") && why(status, "Stalled").contains(&named);
        let seen = world.until(Kind::Build, BUILD, "the name to be taken", told).await?;
        let message = why(&seen.data["status"], "Stalled");
        ensure!(message.contains("already exists"), "{message}");
        ensure!(same(&jobs.get(&named).await?, &first), "the Job {named} was changed");

        jobs.delete(&named, &DeleteParams::background()).await?;
        site.until(|| async { Ok(jobs.get_opt(&named).await?.is_none_or(|job| job.uid() != first.uid())) }).await?;
        let retry = Patch::Merge(json!({ "metadata": { "annotations": { names::RETRY: "1" } } }));
        world.api(Kind::Build).patch(BUILD, &PatchParams::default(), &retry).await?;
        let ready = |status: &Value| is(status, "Ready");
        world.until(Kind::Build, BUILD, "the build to be ready", ready).await?;
        ensure!(same(&jobs.get("alike").await?, &alike), "a Job of another owner was changed");
        ensure!(maps.get("alike").await?.resource_version() == map.resource_version(), "a ConfigMap was changed");
        Ok(())
    });
}

#[test]
fn manifests_that_nothing_reads_go_while_the_build_is_there() {
    on_a_control_plane("manifests_that_nothing_reads_go_while_the_build_is_there", async |_, api| {
        let site = Site::open(api, examples("sweeps"), TO_RUN, Faults::new(None, None)).await?;
        let builds = site.world.api(Kind::Build);
        let ready = |status: &Value| is(status, "Ready");
        site.world.until(Kind::Build, BUILD, "the build to be ready", ready).await?;
        let maps: Api<ConfigMap> = Api::namespaced(api.client.clone(), "sweeps");
        let of_build = format!("{}={BUILD},{}=build", names::BUILD, names::KIND);
        for parallelism in 2..6 {
            let patch = json!({ "spec": { "stages": { "caption": { "parallelism": parallelism } } } });
            let now = builds.patch(BUILD, &PatchParams::default(), &Patch::Merge(patch)).await?.metadata.generation;
            let done = |status: &Value| is(status, "Ready") && status["observedGeneration"].as_i64() == now;
            let seen = site.world.until(Kind::Build, BUILD, "the change to be done", done).await?;
            // The same pool, under the newest settings: one ConfigMap is of use.
            let used = seen.data["status"]["pools"][0]["manifest"].clone();
            site.until(|| async {
                let all = maps.list(&ListParams::default().labels(&of_build)).await?.items;
                Ok(all.iter().map(ResourceExt::name_any).collect::<Vec<_>>() == [used.as_str().unwrap_or_default()])
            })
            .await?;
        }
        // The release that was made from the first of them has its own.
        site.end().await?;
        Ok(())
    });
}

/// A Job whose pod nobody runs.
fn sleeper(name: &str, labels: &Value) -> Value {
    json!({
        "metadata": { "name": name, "labels": labels },
        "spec": {
            "suspend": true,
            "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": "none" }] } },
        },
    })
}

/// Whether it is the same Job with the same spec; the Job controller writes its status.
fn same(now: &Job, before: &Job) -> bool {
    let labels = |job: &Job| -> BTreeMap<String, String> { job.labels().clone() };
    now.uid() == before.uid()
        && now.metadata.generation == before.metadata.generation
        && now.metadata.deletion_timestamp.is_none()
        && labels(now) == labels(before)
}
