//! Actions as Kubernetes objects. Pure, and cannot fail.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;
use kube::api::DynamicObject;
use realsyn_crds::{API_VERSION, Stage, execution};
use realsyn_plan::placement::{GPU_TAINT, Placement};
use serde_json::{Value, json};

use super::validate::{Checked, Status};
use crate::kinds::{Kind, KindExt};
use crate::machine::{Action, Order, State, Work};
use crate::names;
use crate::text::label_value;

/// Where the manifests are mounted.
const MANIFESTS: &str = "/etc/realsyn";
/// The user that pods run as: nobody in particular.
const USER: i64 = 65532;
/// Seconds that a worker has after SIGTERM.
const GRACE: i64 = 60;
/// Tries of a task beyond `retry` where GPUs get lost.
const LOST_GPUS: u32 = 3;

/// What is to be changed.
pub enum Change {
    /// Create a Job, and before it the ConfigMap that it reads.
    Create(Box<Job>, Box<ConfigMap>),
    /// Delete a Job of this name and UID.
    Delete(String, String),
    /// Set the parallelism of the Job of this name and UID.
    Patch(String, String, Value),
}

/// The changes that actions come down to.
pub fn build(
    kind: Kind,
    object: &DynamicObject,
    checked: &Checked,
    state: &State,
    actions: Vec<Action>,
) -> Vec<Change> {
    let change = |action| match action {
        Action::Create(order) => Change::Create(
            Box::new(job(kind, object, checked, state, &order)),
            Box::new(config_map(kind, object, checked)),
        ),
        Action::Delete { name, uid } => Change::Delete(name, uid),
        Action::Parallelism { name, uid, asked, granted } => {
            let patch = json!({
                "metadata": { "uid": uid, "annotations": { names::PARALLELISM: asked.to_string() } },
                "spec": { "parallelism": granted },
            });
            Change::Patch(name, uid, patch)
        }
    };
    actions.into_iter().map(change).collect()
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

fn job(kind: Kind, object: &DynamicObject, checked: &Checked, state: &State, order: &Order) -> Job {
    let plan = &checked.plan;
    let image = state.worker_image.as_deref().unwrap_or_default();
    let manifests: Vec<String> =
        checked.manifests.keys().flat_map(|key| ["-f".to_owned(), format!("{MANIFESTS}/{key}")]).collect();
    let mut labels = labels(kind, object);
    let mut annotations = BTreeMap::from([(names::ATTEMPT.to_owned(), order.attempt.to_string())]);
    let (mut args, stage, container, mut spec);
    let mut gpus = None;
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
            (stage, container) = (Stage::Inventory, names::ADVANCE);
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
            (stage, container) = (step.stage, "worker");
            labels.insert(names::STAGE.to_owned(), step.stage.name().to_owned());
            labels.insert(names::STEP.to_owned(), step.step.to_owned());
            annotations.insert(names::DIGEST.to_owned(), digest.clone());
            annotations.insert(names::TEMPLATE.to_owned(), plan.template(step.stage, image));
            annotations.insert(names::PARALLELISM.to_owned(), asked.to_string());
            gpus = placement.as_deref();
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
        labels.insert("kueue.x-k8s.io/queue-name".to_owned(), queue.clone());
        spec["suspend"] = json!(true);
    }
    if gpus.is_some() {
        labels.insert(names::GPU.to_owned(), "true".to_owned());
    }
    spec["template"] = json!({
        "metadata": { "labels": labels },
        "spec": pod(checked, stage, container, image, &args, gpus),
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

fn pod(
    checked: &Checked,
    stage: Stage,
    container: &str,
    image: &str,
    args: &[String],
    gpus: Option<&Placement>,
) -> Value {
    let plan = &checked.plan;
    let (mut volumes, mut mounts) = (
        vec![
            json!({ "name": "manifests", "configMap": { "name": checked.config_map } }),
            json!({ "name": "tmp", "emptyDir": { "sizeLimit": "2Gi" } }),
        ],
        vec![
            json!({ "name": "manifests", "mountPath": MANIFESTS, "readOnly": true }),
            json!({ "name": "tmp", "mountPath": "/tmp" }),
        ],
    );
    for (i, (claim, writable)) in claims(plan).into_iter().enumerate() {
        let (name, read_only) = (format!("claim-{i}"), !writable);
        volumes.push(json!({
            "name": name,
            "persistentVolumeClaim": { "claimName": claim, "readOnly": read_only },
        }));
        mounts.push(json!({ "name": name, "mountPath": format!("/claims/{claim}"), "readOnly": read_only }));
    }
    let credentials = plan.build.storage.credentials.clone().unwrap_or_default();
    let mut env_from = Vec::new();
    if let Some(secret) = &credentials.secret_name {
        env_from.push(json!({ "secretRef": { "name": secret } }));
    }
    let destination = plan.destination().and_then(|d| d.credentials.clone()).unwrap_or_default();
    if let Some(secret) = &destination.secret_name {
        env_from.push(json!({ "prefix": "DESTINATION_", "secretRef": { "name": secret } }));
    }
    let mut pod = json!({
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": GRACE,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "volumes": volumes,
        "containers": [{
            "name": container,
            "image": image,
            "args": args,
            "envFrom": env_from,
            "volumeMounts": mounts,
            "resources": resources(checked, stage, container, gpus),
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            },
        }],
    });
    if let Some(account) = credentials.service_account_name {
        pod["serviceAccountName"] = json!(account);
    }
    if let Some(gpus) = gpus {
        // Where nodes with GPUs are kept free of other work, this is how.
        pod["tolerations"] = json!([{ "key": GPU_TAINT, "operator": "Exists" }]);
        if let Some(affinity) = gpus.affinity.node_affinity() {
            pod["affinity"] = json!({ "nodeAffinity": affinity });
        }
    }
    pod
}

/// The claims that a spec names, and whether they are written to.
fn claims(plan: &crate::plan::Plan) -> BTreeMap<String, bool> {
    // Only what the API calls a URI: that is what the admission policy asks the requester's rights for.
    fn collect(value: &Value, claims: &mut BTreeSet<String>) {
        match value {
            Value::Array(entries) => entries.iter().for_each(|e| collect(e, claims)),
            Value::Object(fields) => {
                let uri = fields.get("uri").and_then(Value::as_str).and_then(claim_of);
                claims.extend(uri.map(str::to_owned));
                fields.values().for_each(|f| collect(f, claims));
            }
            _ => {}
        }
    }
    let mut named = BTreeSet::new();
    collect(&json!([plan.build, plan.release]), &mut named);
    let written = [Some(plan.build.storage.uri.as_str()), plan.destination().and_then(|d| d.uri.as_deref())];
    let written: BTreeSet<&str> = written.into_iter().flatten().filter_map(claim_of).collect();
    named.iter().map(|claim| (claim.clone(), written.contains(claim.as_str()))).collect()
}

fn claim_of(uri: &str) -> Option<&str> {
    uri.strip_prefix("pvc://")?.split('/').next().filter(|claim| !claim.is_empty())
}

/// What a pod asks for: what the stage says, over modest defaults. Memory is the limit, too, since a worker measures its
/// queues by it; the processor has none.
fn resources(checked: &Checked, stage: Stage, container: &str, gpus: Option<&Placement>) -> Value {
    let is_look = container == names::ADVANCE;
    let (cpu, memory) = if is_look { ("250m", "1Gi") } else { ("1", "2Gi") };
    let mut requests = BTreeMap::from(
        [("cpu", cpu), ("memory", memory), ("ephemeral-storage", "2Gi")].map(|(k, v)| (k.to_owned(), v.to_owned())),
    );
    if !is_look {
        let asked = &execution(&checked.plan.build, stage).resources;
        requests.extend(asked.iter().map(|(name, q)| (name.clone(), q.as_str().to_owned())));
    }
    let mut limits: BTreeMap<String, String> = requests.clone();
    limits.remove("cpu");
    if let Some(Placement { allocation, .. }) = gpus {
        limits.insert(allocation.resource.to_string(), allocation.amount.to_string());
        requests.insert(allocation.resource.to_string(), allocation.amount.to_string());
    }
    json!({ "requests": requests, "limits": limits })
}
