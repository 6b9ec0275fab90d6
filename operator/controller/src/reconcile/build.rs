//! Actions as Kubernetes objects. Pure, and cannot fail.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;
use kube::api::DynamicObject;
use realsyn_crds::{API_VERSION, execution};
use realsyn_objects::pod::{self, Pod, Trace};
use realsyn_objects::server;
use realsyn_plan::trace::traceparent;
use serde_json::{Value, json};

use super::validate::{Checked, Status};
use crate::context::Options;
use crate::kinds::{Kind, KindExt};
use crate::machine::{Action, Order, SeenJob, State, Work};
use crate::names;
use crate::text::label_value;

/// Tries of a task beyond `retry` where GPUs get lost.
const LOST_GPUS: u32 = 3;

/// What is to be changed.
pub enum Change {
    /// Create a Job, and before it the ConfigMap that it reads.
    Create(Box<Job>, Box<ConfigMap>),
    /// Delete a Job of this name and UID.
    Delete(String, String),
    /// Let the Job of this name and UID run with so many pods.
    Patch(String, String, Value),
}

/// The changes that actions come down to.
pub fn build(
    kind: Kind,
    object: &DynamicObject,
    checked: &Checked,
    state: &State,
    actions: Vec<Action>,
    options: &Options,
) -> Vec<Change> {
    let change = |action| match action {
        Action::Create(order) => Change::Create(
            Box::new(job(kind, object, checked, state, &order, options)),
            Box::new(config_map(kind, object, checked)),
        ),
        Action::Delete { name, uid } => Change::Delete(name, uid),
        Action::Run { name, uid, asked, granted } => {
            let patch = json!({
                "metadata": { "uid": uid, "annotations": { names::PARALLELISM: asked.to_string() } },
                "spec": { "parallelism": granted, "suspend": false },
            });
            Change::Patch(name, uid, patch)
        }
    };
    actions.into_iter().map(change).collect()
}

/// What stops an object that cannot be worked on and is to rest: what is wrong with a spec is no reason to go on.
pub fn halt(object: &DynamicObject, jobs: &[SeenJob]) -> Vec<Change> {
    if object.data["spec"]["suspend"] != true {
        return Vec::new();
    }
    stop(jobs)
}

/// What ends all Jobs that may still run.
pub fn stop(jobs: &[SeenJob]) -> Vec<Change> {
    let running = jobs.iter().filter(|job| job.is_active() && !job.deleting);
    running.map(|job| Change::Delete(job.name.clone(), job.uid.clone())).collect()
}

fn config_map(kind: Kind, object: &DynamicObject, checked: &Checked) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(checked.config_map.clone()),
            namespace: object.namespace(),
            labels: Some(labels(kind, object)),
            owner_references: Some(vec![owner(kind, object)]),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        data: Some(checked.manifests.clone()),
        ..ConfigMap::default()
    }
}

fn owner(kind: Kind, object: &DynamicObject) -> OwnerReference {
    OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: kind.name().to_owned(),
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

fn labels(kind: Kind, object: &DynamicObject) -> BTreeMap<String, String> {
    let pairs = [
        (names::MANAGED_BY, names::CONTROLLER.to_owned()),
        (names::KIND, kind.label().to_owned()),
        (names::BUILD, label_value(&object.name_any())),
    ];
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

/// The trace of an object as it is now.
pub fn trace_of(object: &DynamicObject) -> String {
    traceparent(object.metadata.uid.as_deref().unwrap_or_default(), object.metadata.generation.unwrap_or_default())
}

fn job(kind: Kind, object: &DynamicObject, checked: &Checked, state: &State, order: &Order, options: &Options) -> Job {
    let plan = &checked.plan;
    let image = state.worker_image.as_deref().unwrap_or_default();
    let pinned = state.server_image.as_ref().unwrap_or(&options.server.image);
    let server = &server::Settings { image: pinned.clone(), ..options.server.clone() };
    let manifests = pod::files(checked.manifests.keys());
    let mut labels = labels(kind, object);
    let mut annotations = BTreeMap::from([(names::ATTEMPT.to_owned(), order.attempt.to_string())]);
    let (mut args, stage, container, mut spec);
    let (mut gpus, mut serves) = (None, false);
    match &order.work {
        Work::Advance { known } => {
            args = vec![names::ADVANCE.to_owned()];
            args.extend(manifests);
            if !known.is_empty() {
                args.extend(["--known".to_owned(), known.join(",")]);
            }
            if let Status::Release(_, pool) = &checked.status {
                args.extend(["--pool".to_owned(), pool.digest.clone()]);
            }
            (stage, container) = (None, names::ADVANCE);
            labels.insert(names::STAGE.to_owned(), names::ADVANCE.to_owned());
            spec = json!({
                "backoffLimit": 0,
                "podFailurePolicy": { "rules": [disruption()] },
            });
        }
        Work::Step { step, digest, list, tasks, asked, granted, placement } => {
            args = vec!["stage".to_owned(), step.to_string()];
            args.extend(manifests);
            args.extend(["--tasks".to_owned(), list.clone()]);
            args.extend(["--index".to_owned(), "$(JOB_COMPLETION_INDEX)".to_owned()]);
            (stage, container) = (Some(step.stage), "worker");
            labels.insert(names::STAGE.to_owned(), step.stage.name().to_owned());
            labels.insert(names::STEP.to_owned(), step.step.to_owned());
            annotations.insert(names::DIGEST.to_owned(), digest.clone());
            annotations.insert(names::TEMPLATE.to_owned(), plan.template(step.stage, &state.images(plan, step.stage)));
            annotations.insert(names::PARALLELISM.to_owned(), asked.to_string());
            gpus = placement.as_deref();
            serves = server::is_wanted(plan, step.stage);
            if serves {
                args.extend(server::args(plan, server));
            }
            let lost = if gpus.is_some() { LOST_GPUS } else { 0 };
            spec = json!({
                "completionMode": "Indexed",
                "completions": tasks,
                "parallelism": granted,
                "backoffLimitPerIndex": execution(&plan.build, step.stage).retry + lost,
                // A step whose every task fails is not tried to its end.
                "maxFailedIndexes": tasks.div_ceil(10).max(3).min(*tasks),
                "podFailurePolicy": { "rules": [
                    disruption(),
                    exits("FailJob", 64),
                    exits("FailJob", 65),
                    exits("Count", 66),
                    exits("Count", 67),
                ] },
            });
        }
    }
    args.extend(["--report".to_owned(), "/dev/termination-log".to_owned()]);
    spec["podReplacementPolicy"] = json!("Failed");
    if let Some(queue) = &plan.build.queue_name {
        labels.insert(names::QUEUE.to_owned(), queue.clone());
        spec["suspend"] = json!(true);
    }
    if gpus.is_some() {
        labels.insert(names::GPU.to_owned(), "true".to_owned());
    }
    let (parent, config_map) = (trace_of(object), checked.config_map.as_str());
    let trace = Some(&Trace { parent: &parent, endpoint: options.worker_otlp_endpoint.as_deref() });
    let mut pod = pod::spec(&Pod { plan, config_map, stage, container, image, args: &args, gpus, trace });
    if serves {
        server::beside(&mut pod, plan, server, gpus);
    }
    spec["template"] = json!({
        "metadata": { "labels": labels, "annotations": { names::TRACEPARENT: parent } },
        "spec": pod,
    });
    let job = json!({
        "metadata": {
            "name": order.name,
            "namespace": object.namespace(),
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner(kind, object)],
        },
        "spec": spec,
    });
    serde_json::from_value(job).expect("the fields of a Job")
}

/// A pod that the cluster took away says nothing about its task.
fn disruption() -> Value {
    json!({ "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }] })
}

fn exits(action: &str, code: i32) -> Value {
    json!({
        "action": action,
        "onExitCodes": { "containerName": "worker", "operator": "In", "values": [code] },
    })
}
