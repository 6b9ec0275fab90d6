//! Whether the namespace goes. Kubernetes then deletes its pods, and everything else only after them; but of a Job with
//! retries by index the last failed pod of each index stays until another one replaces it, and none can be made any more.
//! So somebody has to delete the Job, or the namespace stays for ever.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DynamicObject, PostParams};
use kube::core::ObjectMeta;
use kube::{Api, ResourceExt};

use super::Error;
use crate::context::Context;
use crate::machine::SeenJob;

/// The cause of a refusal.
const TERMINATING: &str = "NamespaceTerminating";

/// Asked only where a pod of a running Job is being deleted, by the dry run of a creation: reading namespaces would take a
/// right of its own.
///
/// # Errors
/// The question failed.
pub async fn ends(jobs: &[SeenJob], object: &DynamicObject, context: &Context) -> Result<bool, Error> {
    let loses_pods = |job: &SeenJob| job.is_active() && !job.deleting && job.pods.iter().any(|pod| pod.deleting);
    if !jobs.iter().any(loses_pods) {
        return Ok(false);
    }
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let map = ConfigMap {
        metadata: ObjectMeta { generate_name: Some("realsyn-".to_owned()), ..ObjectMeta::default() },
        ..ConfigMap::default()
    };
    match maps.create(&PostParams { dry_run: true, ..PostParams::default() }, &map).await {
        Err(kube::Error::Api(refusal)) => {
            let mut causes = refusal.details.iter().flat_map(|details| &details.causes);
            Ok(causes.any(|cause| cause.reason == TERMINATING))
        }
        Err(error) => Err(Error::Read(error)),
        Ok(_) => Ok(false),
    }
}
