//! What a pod of the worker image is made of: volumes, credentials, rights, resources. One place for the Jobs of the
//! controller and for the pods that people start themselves.

use std::collections::{BTreeMap, BTreeSet};

use realsyn_crds::{Stage, TextSurface, execution, models_read};
use realsyn_plan::mounts::{Mount, Volume, mount};
use realsyn_plan::placement::Placement;

use serde_json::{Value, json};

use crate::plan::Plan;
use crate::scheduling;

/// Where the manifests are mounted.
const MANIFESTS: &str = "/etc/realsyn";
/// The user that pods run as: nobody in particular.
const USER: i64 = 65532;
/// What a worker asks for of whatever its stage says nothing.
pub(crate) const WORKER: [(&str, &str); 3] = [("cpu", "1"), ("memory", "2Gi"), ("ephemeral-storage", "2Gi")];
/// What a pod asks for that only looks at the store.
const LOOK: [(&str, &str); 3] = [("cpu", "250m"), ("memory", "1Gi"), ("ephemeral-storage", "2Gi")];
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
    for (i, (claim, (root, writable))) in claims(plan).into_iter().enumerate() {
        let (name, read_only) = (format!("claim-{i}"), !writable);
        volumes.push(json!({
            "name": name,
            "persistentVolumeClaim": { "claimName": claim, "readOnly": read_only },
        }));
        mounts.push(json!({ "name": name, "mountPath": root, "readOnly": read_only }));
    }
    for (i, (reference, root)) in stage.map(|stage| images(plan, stage)).unwrap_or_default().into_iter().enumerate() {
        let name = format!("image-{i}");
        volumes.push(json!({ "name": name, "image": { "reference": reference, "pullPolicy": "IfNotPresent" } }));
        mounts.push(json!({ "name": name, "mountPath": root, "readOnly": true }));
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
            "env": env(trace, gpus),
            "envFrom": env_from,
            "volumeMounts": mounts,
            "resources": match stage {
                None => resources(&LOOK, None),
                Some(stage) => resources(&WORKER, Some((plan, stage))),
            },
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
        give_gpus(&mut pod, "/containers/0", gpus);
    }
    scheduling::write(&mut pod, plan, gpus.is_some());
    if let Some(affinity) = gpus.and_then(|gpus| gpus.affinity.node_affinity()) {
        pod["affinity"] = json!({ "nodeAffinity": affinity });
    }
    pod
}

/// Products that a worker is told.
const PRODUCTS: usize = 8;

/// What the worker reads of the environment: its trace as every program with traces does, and what it holds of GPUs. The latter
/// is no argument, because a build goes on with an older worker after an upgrade.
fn env(trace: Option<&Trace>, gpus: Option<&Placement>) -> Vec<Value> {
    let held = gpus.map(|placement| {
        let products: BTreeSet<&str> = placement.nodes.iter().map(|node| &*node.unit).collect();
        let products: Vec<&str> = products.into_iter().take(PRODUCTS).collect();
        let (count, products) = (placement.allocation.amount.to_string(), products.join(","));
        [
            json!({ "name": "REALSYN_GPUS", "value": count }),
            json!({ "name": "REALSYN_GPU_PRODUCTS", "value": products }),
        ]
    });
    let endpoint = trace.and_then(|trace| trace.endpoint).map(|endpoint| ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint));
    let parent = trace.map(|trace| ("TRACEPARENT", trace.parent));
    let traced = parent.into_iter().chain(endpoint).map(|(name, value)| json!({ "name": name, "value": value }));
    traced.chain(held.into_iter().flatten()).collect()
}

/// The claims that a spec names, where each is mounted, and whether it is written to.
fn claims(plan: &Plan) -> BTreeMap<String, (String, bool)> {
    // Only what the API calls a URI: that is what the admission policy asks the requester's rights for.
    fn collect(value: &Value, claims: &mut BTreeMap<String, String>) {
        match value {
            Value::Array(entries) => entries.iter().for_each(|e| collect(e, claims)),
            Value::Object(fields) => {
                claims.extend(fields.get("uri").and_then(Value::as_str).and_then(claim_of));
                fields.values().for_each(|f| collect(f, claims));
            }
            _ => {}
        }
    }
    let mut named = BTreeMap::new();
    collect(&json!([plan.build, plan.release]), &mut named);
    let written = [Some(plan.build.storage.uri.as_str()), plan.destination().and_then(|d| d.uri.as_deref())];
    let written: BTreeSet<String> = written.into_iter().flatten().filter_map(claim_of).map(|(name, _)| name).collect();
    let with_access = |(claim, root): (String, String)| {
        let writable = written.contains(&claim);
        (claim, (root, writable))
    };
    named.into_iter().map(with_access).collect()
}

fn claim_of(uri: &str) -> Option<(String, String)> {
    match mount(uri)? {
        Mount { volume: Volume::Claim(name), root, .. } => Some((name, root)),
        _ => None,
    }
}

/// The images that a stage's models lie in, and where each is mounted. No other stage's: a node pulls all of an image.
fn images(plan: &Plan, stage: Stage) -> BTreeMap<String, String> {
    let surface = stage == Stage::Release
        && plan.release.as_ref().is_some_and(|release| release.text_surface == TextSurface::ClipRoundtrip);
    let reads = |role: &str| models_read(stage).contains(&role) || surface && role == "clip";
    let read = plan.build.models.named().filter(|(role, _)| reads(role));
    let mounts = read.filter_map(|(_, model)| mount(model.uri.as_deref()?));
    let image = |found: Mount| match found.volume {
        Volume::Image(reference) => Some((reference, found.root)),
        Volume::Claim(_) => None,
    };
    mounts.filter_map(image).collect()
}

/// What a container asks for: what its stage says, over modest defaults. Memory is the limit, too, since a worker measures
/// its queues by it; the processor has none.
pub(crate) fn resources<T: ToString>(defaults: &[(&str, T)], stage: Option<(&Plan, Stage)>) -> Value {
    let mut requests: BTreeMap<String, String> =
        defaults.iter().map(|(name, amount)| ((*name).to_owned(), amount.to_string())).collect();
    if let Some((plan, stage)) = stage {
        let asked = &execution(&plan.build, stage).resources;
        requests.extend(asked.iter().map(|(name, q)| (name.clone(), q.as_str().to_owned())));
    }
    let mut limits: BTreeMap<String, String> = requests.clone();
    limits.remove("cpu");
    json!({ "requests": requests, "limits": limits })
}

/// Gives the container at this pointer of a pod's spec its GPUs: the one place where a pod asks for some. An extended
/// resource stands in the container alone; a claim would stand in the pod, too.
pub(crate) fn give_gpus(pod: &mut Value, container: &str, gpus: &Placement) {
    let (name, amount) = (gpus.allocation.resource.to_string(), gpus.allocation.amount.to_string());
    for kind in ["requests", "limits"] {
        if let Some(resources) = pod.pointer_mut(&format!("{container}/resources/{kind}")) {
            resources[&name] = json!(amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use realsyn_crds::{Manifest, parse_manifests};

    use super::*;

    /// The example's build and release, with these settings of the release.
    fn plan(surface: &str) -> Plan {
        let build = include_str!("../../../manifests/examples/build.yaml");
        let Manifest::Build(build) = parse_manifests(build, "example").unwrap().remove(0) else {
            panic!("it holds a build")
        };
        let release = json!({ "buildRef": { "name": build.metadata.name }, "textSurface": surface });
        Plan::of_release(&build.spec, &serde_json::from_value(release).unwrap())
    }

    #[test]
    fn a_stage_mounts_the_models_that_it_reads_and_no_other() {
        let mounted = |surface: &str, stage| images(&plan(surface), stage).into_keys().collect::<Vec<_>>();
        let clip = "registry.example.org/models/eva02-clip-e-14-plus:1";
        assert_eq!(mounted("raw", Stage::SentenceEmbed), [clip]);
        assert_eq!(mounted("raw", Stage::Release), [""; 0]);
        assert_eq!(mounted("clipRoundtrip", Stage::Release), [clip], "for its merges");
        assert_eq!(mounted("clipRoundtrip", Stage::Sentences), [""; 0]);
    }
}
