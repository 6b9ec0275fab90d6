//! A build whose Jobs wait in a queue of Kueue's says why, in Kueue's words. The test plays Kueue on a real API server.

mod support;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt};
use realsyn_controller::context::Options;
use realsyn_controller::kinds::Kind;
use realsyn_crds::{Retain, Stage};
use realsyn_objects::names::QUEUE;
use serde_json::{Value, json};
use support::fault::Faults;
use support::site::{Server, on_a_control_plane, options, workloads};
use support::{World, examples, is, until, why};

const TEAM: &str = "team";
const BUILD: &str = "obelics";
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn a_build_says_why_its_queue_keeps_it_waiting() {
    on_a_control_plane("a_build_says_why_its_queue_keeps_it_waiting", async |plane, api| {
        plane.define(&[workloads()])?;
        plane.kubectl(&["create", "namespace", TEAM])?;
        let options = Options { kueue: true, ..options(Some(TEAM)) };
        let controller = api.controller(options, &Faults::new(None, None)).await?;
        let done = story(api).await;
        controller.abort();
        done
    });
}

/// Kueue, as far as a Job sees it.
struct Queue {
    jobs: Api<Job>,
    workloads: Api<DynamicObject>,
}

impl Queue {
    /// Takes a Job in: a Workload with these conditions, which its Job owns.
    async fn keeps(&self, job: &Job, conditions: &[[&str; 4]]) -> Result<()> {
        let name = format!("job-{}", job.name_any());
        let workload = json!({
            "apiVersion": "kueue.x-k8s.io/v1beta1",
            "kind": "Workload",
            "metadata": { "name": name, "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "Job", "name": job.name_any(), "uid": job.uid(),
                "controller": true, "blockOwnerDeletion": true,
            }] },
            "spec": { "queueName": job.labels()[QUEUE] },
        });
        self.workloads.patch(&name, &PatchParams::apply("kueue"), &Patch::Apply(workload)).await?;
        let at = jiff::Timestamp::now().to_string();
        let condition = |[type_, status, reason, message]: &[&str; 4]| json!({ "type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": at });
        let conditions: Vec<Value> = conditions.iter().map(condition).collect();
        let status = Patch::Merge(json!({ "status": { "conditions": conditions } }));
        self.workloads.patch_status(&name, &PatchParams::default(), &status).await?;
        Ok(())
    }

    async fn lets(&self, job: &Job, run: bool) -> Result<()> {
        let patch = Patch::Merge(json!({ "spec": { "suspend": !run } }));
        self.jobs.patch(&job.name_any(), &PatchParams::default(), &patch).await?;
        Ok(())
    }
}

async fn story(api: &Server) -> Result<()> {
    let (mut build, release) = examples(TEAM);
    build.spec.queue_name = Some("gpus".to_owned());
    build.spec.storage.retain = Retain::Delete;
    let world = World::new(api.client.clone(), TEAM, &build, &release, &[Stage::PairScore]);
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("kueue.x-k8s.io", "v1beta1", "Workload"));
    let jobs: Api<Job> = Api::namespaced(api.client.clone(), TEAM);
    let queue = Queue { jobs: jobs.clone(), workloads: Api::namespaced_with(api.client.clone(), TEAM, &resource) };
    let object: DynamicObject = serde_json::from_value(json!(build))?;
    world.api(Kind::Build).create(&PostParams::default(), &object).await?;

    let mine = async || Ok::<_, anyhow::Error>(jobs.list(&ListParams::default()).await?.items);
    until(PATIENCE, "a Job", async || Ok(!mine().await?.is_empty())).await?;
    let job = mine().await?.remove(0);
    ensure!(job.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true)), "a Job of a queue begins to wait");
    let waits = async |what: &str| {
        let said = |status: &Value| why(status, "Reconciling").contains(what);
        world.until(Kind::Build, BUILD, what, said).await
    };
    // Before Kueue has looked at it.
    waits("its queue").await?;

    let short =
        ["QuotaReserved", "False", "Pending", "insufficient unused quota for cpu in flavor spot, 3 more needed"];
    queue.keeps(&job, &[short]).await?;
    waits("its queue has not admitted it: Pending: insufficient unused quota for cpu in flavor spot").await?;

    // Admitted, and preempted before its pod has run.
    let admitted =
        [["QuotaReserved", "True", "QuotaReserved", "reserved"], ["Admitted", "True", "Admitted", "admitted"]];
    queue.keeps(&job, &admitted).await?;
    queue.lets(&job, true).await?;
    let nothing = |status: &Value| !why(status, "Reconciling").contains("its queue");
    world.until(Kind::Build, BUILD, "no reason any more", nothing).await?;
    queue.lets(&job, false).await?;
    let evicted = ["Evicted", "True", "Preempted", "a workload of a higher priority"];
    queue.keeps(&job, &[["QuotaReserved", "False", "Pending", evicted[3]], evicted]).await?;
    waits("its queue has not admitted it: evicted, Preempted: a workload of a higher priority").await?;
    let status = world.api(Kind::Build).get(BUILD).await?.data["status"].clone();
    ensure!(!is(&status, "Stalled"), "a preemption is no failure: {status:#}");
    ensure!(mine().await?.iter().any(|j| j.uid() == job.uid()), "it is still the same Job");

    // From here on everything is admitted, and the build comes to its end.
    queue.keeps(&job, &admitted).await?;
    let playing: Arc<World> = world.clone();
    let kubelet = tokio::spawn(async move { playing.play().await });
    let ended = world.until(Kind::Build, BUILD, "the end", |status| is(status, "Ready")).await;
    ended.context("after its Jobs were admitted")?;

    // What cleans up waits in no queue.
    world.api(Kind::Build).delete(BUILD, &Default::default()).await?;
    let of_clean_up = |job: &Job| {
        job.labels().get(realsyn_controller::names::STAGE).is_some_and(|s| s == realsyn_controller::names::CLEAN_UP)
    };
    let begins = async || {
        let job = mine().await?.into_iter().find(|job| of_clean_up(job));
        if let Some(job) = &job {
            ensure!(!job.labels().contains_key(QUEUE), "{:?}", job.labels());
            ensure!(job.spec.as_ref().is_some_and(|spec| spec.suspend != Some(true)), "{:?}", job.spec);
        }
        Ok(job.is_some())
    };
    until(PATIENCE, "the clean-up", begins).await?;
    kubelet.abort();
    Ok(())
}
