//! Names of what the controller makes. Each follows from what it is for, so that making it twice makes one.

use realsyn_crds::Stage;
use realsyn_plan::Digest;

use crate::text::dns_prefix;

/// Label: the build or release that a Job, pod or ConfigMap belongs to.
pub const BUILD: &str = "realsyn.dev/build";
/// Label: the kind of that object.
pub const KIND: &str = "realsyn.dev/kind";
/// Label: the stage; `advance` for a look at the store.
pub const STAGE: &str = "realsyn.dev/stage";
/// Label: the step within the stage.
pub const STEP: &str = "realsyn.dev/step";
/// Annotation: the attempt.
pub const ATTEMPT: &str = "realsyn.dev/attempt";
/// Annotation: the stage digest.
pub const DIGEST: &str = "realsyn.dev/stage-digest";
/// Annotation: the hash of what a pod is made of.
pub const TEMPLATE: &str = "realsyn.dev/template";
/// Annotation: the parallelism that was asked for.
pub const PARALLELISM: &str = "realsyn.dev/parallelism";
/// Annotation on pods: the trace to which their work belongs.
pub const TRACEPARENT: &str = "realsyn.dev/traceparent";
/// Annotation on a build or release: any new value tries again at once.
pub const RETRY: &str = "realsyn.dev/retry";
/// Annotation on a namespace: what an hour of its teams' GPUs costs, `A100-80GB=2.5,H100=4`.
pub const GPU_PRICES: &str = "realsyn.dev/gpu-prices";
/// Label: on pods that hold GPUs.
pub const GPU: &str = "realsyn.dev/gpu";
/// Label: the queue of Kueue that admits a Job.
pub const QUEUE: &str = "kueue.x-k8s.io/queue-name";
/// Taint of nodes with a device in quarantine.
pub const QUARANTINE: &str = realsyn_plan::placement::QUARANTINE_TAINT;
/// Label of every object that the controller makes, and what it watches by.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Its value.
pub const CONTROLLER: &str = "realsyn-controller";
/// The stage label of what cleans up after a deleted build, and its container's name.
pub const CLEAN_UP: &str = "clean-up";
/// Annotation: the UID of the build that something outlives.
pub const OF_UID: &str = "realsyn.dev/of-uid";
/// Annotation: its name.
pub const OF_NAME: &str = "realsyn.dev/of-name";
/// The stage label of a look at the store, and its container's name.
pub const ADVANCE: &str = "advance";
/// The DaemonSet of the GPU agents.
pub const AGENTS: &str = "realsyn-gpu-agent";
/// The name of the Lease of a GPU agent, before that of its node.
pub const AGENT_LEASE: &str = "realsyn-gpu-";

/// The Job of an attempt at a step. With the longest index behind it, it is still a host name.
pub fn job_name(object: &str, uid: &str, stage: Stage, step: &str, digest: &str, attempt: u32) -> String {
    hashed(object, stage.name(), &[uid, digest, stage.name(), step], attempt)
}

/// The Job of a look at the store.
pub fn advance_name(object: &str, uid: &str, attempt: u32) -> String {
    hashed(object, ADVANCE, &[uid, ADVANCE], attempt)
}

fn hashed(object: &str, what: &str, parts: &[&str], attempt: u32) -> String {
    let hash = parts.iter().fold(Digest::builder("job"), |hash, part| hash.part(part)).number(attempt.into()).finish();
    format!("{}-{what}-{}", dns_prefix(object, 20), &hash.to_string()[..12])
}

/// The ConfigMap with these manifests. The UID keeps an object apart from a deleted one of its name, whose ConfigMap may
/// still be going.
pub fn config_map_name(object: &str, uid: &str, kind: &str, manifests: &[(&str, &str)]) -> String {
    let mut hash = Digest::builder("manifests").part(kind).part(uid);
    for (name, text) in manifests {
        hash = hash.part(name).part(text);
    }
    format!("{object}-{}", &hash.finish().to_string()[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_of_the_longest_job_name_is_a_host() {
        for stage in Stage::ALL {
            let name = job_name(&"b".repeat(63), "uid", *stage, "step", "digest", u32::MAX);
            assert!(name.len() + "-9999".len() <= 63, "{name}");
        }
        let names = [
            job_name("a", "u", Stage::Fetch, "fetch", "d", 1),
            job_name("a", "u", Stage::Fetch, "fetch", "d", 2),
            job_name("a", "u", Stage::Fetch, "fetch", "e", 1),
            job_name("a", "v", Stage::Fetch, "fetch", "d", 1),
            advance_name("a", "u", 1),
            advance_name("a", "u", 2),
        ];
        assert_eq!(std::collections::BTreeSet::from(names).len(), 6);
    }
}
