//! The changes to Jobs and ConfigMaps, carried out. Each may be sent twice and happens once.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Error;
use super::build::Change;
use crate::context::Context;
use crate::machine::Trouble;
use crate::text::sentence;

/// Carries out the changes. What is refused is kept for the next reconcile, which says so in the status.
/// Tells whether there is something to say: that an earlier refusal is over.
///
/// # Errors
/// The first change that was refused; the others were tried.
pub async fn apply(object: &DynamicObject, changes: Vec<Change>, context: &Context) -> Result<bool, Error> {
    let uid = object.uid().unwrap_or_default();
    let namespace = object.namespace().unwrap_or_default();
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), &namespace);
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &namespace);
    let mut refused = None;
    for change in changes {
        let (what, done) = match change {
            Change::Create(job, map) => {
                let name = job.name_any();
                context.touch(&uid, &name, true);
                let done = match create(&maps, &map, &uid).await {
                    Ok(_) => create(&jobs, &job, &uid).await,
                    error => error,
                };
                if matches!(done, Ok(true)) {
                    context.metrics.jobs_created.inc();
                    tracing::info!(%namespace, job = %name, "created");
                }
                (format!("the Job {name} cannot be created"), done.map(drop))
            }
            Change::Delete(name, job_uid) => {
                context.touch(&uid, &name, false);
                let only = Preconditions { uid: Some(job_uid), ..Preconditions::default() };
                let with = DeleteParams {
                    // A plain delete of a Job leaves its pods behind.
                    propagation_policy: Some(PropagationPolicy::Foreground),
                    ..DeleteParams::default()
                };
                let done = match jobs.delete(&name, &with.preconditions(only)).await {
                    Ok(_) => {
                        tracing::info!(%namespace, job = %name, "deleted");
                        Ok(())
                    }
                    // Gone, or another Job of that name.
                    Err(kube::Error::Api(e)) if e.code == 404 || e.code == 409 => Ok(()),
                    Err(error) => Err(error),
                };
                (format!("the Job {name} cannot be deleted"), done)
            }
            Change::Patch(name, _, patch) => {
                let done = jobs.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
                let done = match done {
                    Err(kube::Error::Api(e)) if e.code == 404 || e.code == 409 => Ok(()),
                    done => done.map(drop),
                };
                (format!("the parallelism of the Job {name} cannot be changed"), done)
            }
        };
        if let Err(error) = done {
            refused.get_or_insert_with(|| trouble(&what, &error));
        }
    }
    let is_news = context.set_trouble(&uid, refused.clone());
    refused.map_or(Ok(is_news), |trouble| Err(Error::Apply(trouble.message)))
}

/// Creates an object of ours. `false` if it is there already, because an earlier try went through or its answer was lost.
async fn create<K>(api: &Api<K>, object: &K, owner: &str) -> Result<bool, kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Serialize
        + std::fmt::Debug,
{
    match api.create(&PostParams::default(), object).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(refusal)) if refusal.reason == "AlreadyExists" => {
            let there = api.get_opt(&object.name_any()).await?;
            let ours = there.is_none_or(|t| t.owner_references().iter().any(|o| o.uid == owner));
            if ours { Ok(false) } else { Err(kube::Error::Api(refusal)) }
        }
        Err(error) => Err(error),
    }
}

fn trouble(what: &str, error: &kube::Error) -> Trouble {
    match error {
        kube::Error::Api(refusal) => {
            let message = sentence(&format!("{what}: {}", refusal.message), 500);
            // Refused for what it says, not for the moment at which it was said. A full quota empties again.
            let permanent =
                matches!(refusal.code, 400 | 403 | 409 | 422) && !refusal.message.contains("exceeded quota");
            Trouble { message, permanent }
        }
        other => Trouble { message: sentence(&format!("{what}: {other}"), 500), permanent: false },
    }
}
