//! What a pod of the worker image is made of: volumes, credentials, rights, resources. One place for the Jobs of the
//! controller and for the pods that people start themselves.

use std::collections::{BTreeMap, BTreeSet};

use realsyn_crds::{Stage, execution};
use realsyn_plan::placement::{GPU_TAINT, Placement, QUARANTINE_TAINT};
use serde_json::{Value, json};

use crate::plan::Plan;

/// Where the manifests are mounted.
const MANIFESTS: &str = "/etc/realsyn";
/// The user that pods run as: nobody in particular.
const USER: i64 = 65532;
/// Seconds that a worker has after SIGTERM.
const GRACE: i64 = 60;

/// What a pod of the worker image is made of.
pub struct Pod<'a> {
    /// What its build or release asks for.
    pub plan: &'a Plan,
    /// The ConfigMap with its manifests.
    pub config_map: &'a str,
    /// The stage that it works for; without one it is a small pod that only looks at the store.
    pub stage: Option<Stage>,
    /// Its container's name.
    pub container: &'a str,
    /// The worker image.
    pub image: &'a str,
    /// What the worker is told.
    pub args: &'a [String],
    /// The GPUs that it holds, if any.
    pub gpus: Option<&'a Placement>,
    /// The trace to which its work belongs, if any.
    pub trace: Option<&'a Trace<'a>>,
}

/// The trace to which a pod's work belongs.
pub struct Trace<'a> {
    /// The `traceparent` of its spans.
    pub parent: &'a str,
    /// Where they are sent.
    pub endpoint: Option<&'a str>,
}

/// The arguments that name the mounted manifests.
pub fn files<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    names.flat_map(|name| ["-f".to_owned(), format!("{MANIFESTS}/{name}")]).collect()
}

/// The spec of a pod.
pub fn spec(pod: &Pod) -> Value {
    let Pod { plan, config_map, stage, container, image, args, gpus, trace } = *pod;
    let (mut volumes, mut mounts) = (
        vec![
            json!({ "name": "manifests", "configMap": { "name": config_map } }),
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
            "env": env(trace),
            "envFrom": env_from,
            "volumeMounts": mounts,
            "resources": resources(plan, stage, gpus),
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
    if gpus.is_none() {
        // What is wrong with a node's GPUs is nothing to a pod without any.
        pod["tolerations"] = json!([{ "key": QUARANTINE_TAINT, "operator": "Exists" }]);
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

/// What the worker reads of the environment as every program with traces does.
fn env(trace: Option<&Trace>) -> Vec<Value> {
    let endpoint = trace.and_then(|trace| trace.endpoint).map(|endpoint| ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint));
    let parent = trace.map(|trace| ("TRACEPARENT", trace.parent));
    parent.into_iter().chain(endpoint).map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

/// The claims that a spec names, and whether they are written to.
fn claims(plan: &Plan) -> BTreeMap<String, bool> {
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
fn resources(plan: &Plan, stage: Option<Stage>, gpus: Option<&Placement>) -> Value {
    let (cpu, memory) = if stage.is_none() { ("250m", "1Gi") } else { ("1", "2Gi") };
    let mut requests = BTreeMap::from(
        [("cpu", cpu), ("memory", memory), ("ephemeral-storage", "2Gi")].map(|(k, v)| (k.to_owned(), v.to_owned())),
    );
    if let Some(stage) = stage {
        let asked = &execution(&plan.build, stage).resources;
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
