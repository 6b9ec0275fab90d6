//! The spans of the controller itself, as a collector gets them.

mod support;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::{DynamicObject, ListParams, PostParams};
use realsyn_cluster::ControlPlane;
use realsyn_controller::kinds::{Kind, KindExt};
use realsyn_controller::names;
use realsyn_e2e::Collector;
use serde_json::json;
use support::binary::Binary;
use support::site::{Server, on_a_control_plane};
use support::{examples, until};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn reconciles_belong_to_the_trace_that_pods_are_given() {
    on_a_control_plane("reconciles_belong_to_the_trace_that_pods_are_given", one_trace);
}

async fn one_trace(plane: &ControlPlane, api: &Server) -> Result<()> {
    plane.kubectl(&["create", "namespace", "traces"])?;
    let builds: Api<DynamicObject> = Api::namespaced_with(api.client.clone(), "traces", &Kind::Build.resource());
    let build: DynamicObject = serde_json::from_value(json!(examples("traces").0))?;
    builds.create(&PostParams::default(), &build).await?;
    let collector = Collector::start();
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()), ("OTEL_BSP_SCHEDULE_DELAY", "100")];
    let flags = ["--worker-otlp-endpoint", "http://collector:4318"];
    let controller = Binary::start_in(plane.kubeconfig(), &flags, &env).await?;

    let jobs: Api<Job> = Api::namespaced(api.client.clone(), "traces");
    let mut made = None;
    until(PATIENCE, "a Job", async || {
        made = jobs.list(&ListParams::default()).await?.items.pop();
        Ok(made.is_some())
    })
    .await?;
    let template = made.and_then(|job| job.spec).context("a Job")?.template;
    let annotations = template.metadata.and_then(|m| m.annotations).unwrap_or_default();
    let pod = template.spec.context("a pod")?;
    let env = pod.containers.iter().flat_map(|c| c.env.iter().flatten());
    let parent = env.filter(|e| e.name == "TRACEPARENT").find_map(|e| e.value.clone()).context("TRACEPARENT")?;
    ensure!(annotations.get(names::TRACEPARENT) == Some(&parent), "{annotations:?} beside {parent}");

    let mut spans = Vec::new();
    until(PATIENCE, "the span of a reconcile", async || {
        spans.extend(collector.spans());
        Ok(spans.iter().any(|span| span.name == "reconcile"))
    })
    .await?;
    for span in spans.iter().filter(|span| span.name == "reconcile") {
        ensure!((&*span.trace, &*span.parent) == (&parent[3..35], &parent[36..52]), "{span:?} is not of {parent}");
        let about = ["kind", "namespace", "name"].map(|key| span.attributes[key].as_str());
        ensure!(about == ["RealSynBuild", "traces", &build.metadata.name.clone().unwrap_or_default()], "{about:?}");
    }
    controller.end().await
}
