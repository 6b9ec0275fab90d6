//! Manifests that nothing reads any more. Each change of a spec makes a ConfigMap; those that no Job and no pool of the
//! build names go while the build is there, not only with it.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, DynamicObject, ListParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::Value;

use super::{Error, status};
use crate::context::Context;
use crate::kinds::{Kind, KindExt};
use crate::machine::SeenJob;
use crate::names;
use crate::text::{label_value, sentence};

/// The manifests of a build that are of use: its own, those of its Jobs, and those of its pools.
pub fn used(own: &str, status: &Value, jobs: &[SeenJob]) -> BTreeSet<String> {
    let pools = status["pools"].as_array().into_iter().flatten().filter_map(|pool| pool["manifest"].as_str());
    let of_jobs = jobs.iter().map(|job| job.manifests.as_str());
    [own].into_iter().chain(of_jobs).chain(pools).map(str::to_owned).collect()
}

/// Removes the manifests of a build that are of no use, when other ones are of use than the last time. The first time a
/// build that is `finished` is left alone: a start asks nothing of those that rest.
///
/// # Errors
/// The build has changed meanwhile, or a request failed.
pub async fn sweep(
    build: &DynamicObject,
    used: BTreeSet<String>,
    finished: bool,
    context: &Context,
) -> Result<(), Error> {
    let uid = build.uid().unwrap_or_default();
    let is_done = context.swept(&uid).map_or(finished, |before| before == used);
    if !is_done {
        // Not done until it is.
        context.set_swept(&uid, BTreeSet::new());
        let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &build.namespace().unwrap_or_default());
        let (kind, name) = (Kind::Build.label(), label_value(&build.name_any()));
        let of_build =
            format!("{}={},{}={kind},{}={name}", names::MANAGED_BY, names::CONTROLLER, names::KIND, names::BUILD);
        let maps = api.list_metadata(&ListParams::default().labels(&of_build)).await.map_err(Error::Read)?;
        let is_ours = |map: &&kube::core::PartialObjectMeta<ConfigMap>| {
            map.owner_references().iter().any(|owner| owner.controller == Some(true) && owner.uid == uid)
        };
        let idle: Vec<_> = maps.items.iter().filter(is_ours).filter(|map| !used.contains(&map.name_any())).collect();
        if !idle.is_empty() {
            // From an old view one would go that a newer one has just made.
            status::is_current(Kind::Build, build, context).await?;
        }
        for map in idle {
            let only = Preconditions { uid: map.uid(), ..Preconditions::default() };
            match api.delete(&map.name_any(), &DeleteParams::background().preconditions(only)).await {
                Err(kube::Error::Api(refusal)) if matches!(refusal.code, 404 | 409) => {}
                done => {
                    let why = |e| Error::Apply(sentence(&format!("removing manifests that nothing reads: {e}"), 500));
                    _ = done.map_err(why)?;
                }
            }
        }
    }
    context.set_swept(&uid, used);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_job_or_a_pool_names_is_of_use() {
        let job = SeenJob { manifests: "of-a-job".to_owned(), ..SeenJob::default() };
        let status = json!({ "pools": [{ "manifest": "of-a-pool" }, { "generation": 1 }] });
        let used = used("own", &status, &[job]);
        assert_eq!(used.into_iter().collect::<Vec<_>>(), ["of-a-job", "of-a-pool", "own"]);
    }
}
