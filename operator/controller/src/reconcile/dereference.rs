//! Everything that is read: the object's Jobs, their pods and events, and for a release its build. Nothing else does.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DynamicObject, ListParams};
use kube::core::ObjectMeta;
use kube::{Api, ResourceExt};
use realsyn_objects::manifest::Manifests;
use serde_json::Value;

use super::Error;
use crate::cache::Kept;
use crate::cache::jobs::{HeldJob, ReadJob};
use crate::cache::objects::{Object, Root, root};
use crate::cache::pods::{HeldPod, ReadPod};
use crate::context::Context;
use crate::kinds::{Kind, KindExt};
use crate::machine::{JobPhase, Neighbour, SeenJob, SeenPod, Trouble};
use crate::names;

/// What was read for one object.
pub struct Seen {
    /// Its Jobs.
    pub jobs: Vec<SeenJob>,
    /// Pods that its namespace has room for, beside those of other objects.
    pub room: u32,
    /// What older builds below the same root are at work on.
    pub neighbours: Vec<Neighbour>,
    /// What the last try to change something failed with.
    pub trouble: Option<Trouble>,
    /// The build of a release, or the one whose sentences a build takes, if there is one.
    pub build: Option<DynamicObject>,
    /// The manifests that a release pinned, by key; or those of its pool.
    pub pinned: Option<Manifests>,
}

/// Reads what belongs to an object.
///
/// # Errors
/// Requests that failed. What is absent is no error.
pub async fn dereference(kind: Kind, object: &DynamicObject, context: &Context) -> Result<Seen, Error> {
    let uid = object.uid().unwrap_or_default();
    let namespace = object.namespace().unwrap_or_default();
    let mut jobs: Vec<Arc<HeldJob>> = context.jobs.of(&uid);

    // What the status names, or what we just changed, and the cache does not show yet: asked for by name, because
    // "not there yet" and "gone" call for opposite actions.
    let api: Api<ReadJob> = Api::namespaced(context.client.clone(), &namespace);
    let mut uncertain: BTreeSet<String> = context.touched(&uid, &jobs);
    uncertain.extend(named_by_status(object).filter(|name| jobs.iter().all(|j| j.seen.name != *name)));
    for name in uncertain {
        jobs.retain(|job| job.seen.name != name);
        let found = api.get_opt(&name).await.map_err(Error::Read)?.map(|job| HeldJob::from(&job));
        match found {
            Some(job) if **job.owner() == *uid => jobs.push(Arc::new(job)),
            Some(_) => {}
            None => context.settled(&uid, &name),
        }
    }

    let mut seen = Vec::new();
    for job in &jobs {
        let mut job = job.seen.clone();
        let mut pods: Vec<SeenPod> = context.pods.of(&job.uid).iter().map(|pod| pod.seen.clone()).collect();
        // An ended Job is judged by what its pods said: the cache may not show that yet.
        let told = pods.iter().filter_map(|p| p.ended.as_ref()).any(|ended| match job.phase {
            JobPhase::Failed(_) => ended.code != 0,
            _ => true,
        });
        let is_judged = match job.phase {
            JobPhase::Active => false,
            JobPhase::Complete => job.stage.is_none(),
            JobPhase::Failed(_) => true,
        };
        if is_judged && !told && !job.deleting {
            let list = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={}", job.name));
            let api: Api<ReadPod> = Api::namespaced(context.client.clone(), &namespace);
            let live = api.list(&list).await.map_err(Error::Read)?;
            let live = live.items.iter().map(HeldPod::from);
            pods = live.filter(|pod| **pod.owner() == *job.uid).map(|pod| pod.seen).collect();
        }
        // What a Job itself says is that it is suspended; Kueue knows why.
        if let Some(trouble) = &mut job.trouble
            && let Some(says) = context.workloads.of(&job.uid).iter().find_map(|workload| workload.says.clone())
        {
            *trouble = says;
        }
        if pods.is_empty() && job.is_active() {
            job.trouble = job.trouble.or_else(|| context.event_of(&job.uid));
        }
        job.pods = pods;
        seen.push(job);
    }
    seen.sort_by(|a, b| a.name.cmp(&b.name));

    let (build, pinned) = match kind {
        Kind::Build => (build_at(object, "/spec/sentencesFrom/build", &namespace, context), None),
        Kind::Release => of_release(object, &namespace, context).await?,
    };
    Ok(Seen {
        jobs: seen,
        room: room(&uid, &namespace, context),
        neighbours: if kind == Kind::Build { neighbours(object, &context.builds.state()) } else { Vec::new() },
        trouble: context.trouble(&uid),
        build,
        pinned,
    })
}

/// The build of a release, and the manifests that it works with: its own once it has pinned them, else its pool's.
async fn of_release(
    object: &DynamicObject,
    namespace: &str,
    context: &Context,
) -> Result<(Option<DynamicObject>, Option<Manifests>), Error> {
    let build = build_at(object, "/spec/buildRef/name", namespace, context);
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), namespace);
    let manifests = async |name: &str| {
        let map = api.get_opt(name).await.map_err(Error::Read)?;
        Ok::<_, Error>(map.and_then(|m| m.data))
    };
    if let Some(own) = object.data.pointer("/status/manifest").and_then(Value::as_str)
        && let Some(found) = manifests(own).await?
    {
        return Ok((build, Some(found)));
    }
    // Not pinned yet, or pinned and not written yet: the pool that fits, by its own manifest.
    let pool = build.as_ref().and_then(|build| super::validate::pool_for(object, build));
    match pool.and_then(|pool| pool.manifest) {
        Some(name) => Ok((build, manifests(&name).await?)),
        None => Ok((build, None)),
    }
}

/// The build whose name stands at this place of an object.
fn build_at(object: &DynamicObject, path: &str, namespace: &str, context: &Context) -> Option<DynamicObject> {
    let name = object.data.pointer(path).and_then(Value::as_str)?;
    context.builds.get(&Kind::Build.reference(namespace, name)).map(|build| build.read(Kind::Build))
}

/// Names of Jobs that the status says are running, made or not.
fn named_by_status(object: &DynamicObject) -> impl Iterator<Item = String> {
    let (name, uid) = (object.name_any(), object.uid().unwrap_or_default());
    let look = &object.data["status"]["advance"];
    let advance = (look["running"] == true)
        .then(|| names::advance_name(&name, &uid, look["attempt"].as_u64().unwrap_or_default() as u32));
    let stages = object.data["status"]["stages"].as_array().cloned().unwrap_or_default();
    let steps = stages.into_iter().filter_map(move |entry| {
        let stage = entry["name"].as_str()?.parse().ok()?;
        let (step, digest) = (entry["step"].as_str()?, entry["digest"].as_str()?);
        Some(names::job_name(&name, &uid, stage, step, digest, entry["attempt"].as_u64()? as u32))
    });
    advance.into_iter().chain(steps)
}

/// What older builds below the root of this one are at work on. One that a person has to help, or has stopped, holds up
/// nobody.
pub(super) fn neighbours(object: &DynamicObject, builds: &[Arc<Object>]) -> Vec<Neighbour> {
    let age = |metadata: &ObjectMeta| {
        let created = metadata.creation_timestamp.as_ref().map(|t| t.0);
        (created, metadata.uid.clone().unwrap_or_default())
    };
    let (own_age, own_root) = (age(&object.metadata), root_of(object));
    let older = builds.iter().filter(|build| {
        build.metadata.deletion_timestamp.is_none()
            && build.root().as_ref() == Some(&own_root)
            && age(&build.metadata) < own_age
            && build.spec.as_ref().is_some_and(|spec| !spec.suspend)
    });
    let at_work = older.filter_map(|build| Some((build, build.status.as_ref().filter(|status| !status.halted)?)));
    let stages = at_work.flat_map(|(build, status)| {
        let name = format!("build {}/{}", build.metadata.namespace.as_deref().unwrap_or_default(), build.name_any());
        let running = status.running.iter().cloned();
        running.map(move |(stage, digest)| Neighbour { name: name.clone(), stage, digest })
    });
    stages.collect()
}

fn root_of(build: &DynamicObject) -> Root<'_> {
    let storage = &build.data["spec"]["storage"];
    let text = |name: &str| storage[name].as_str().unwrap_or_default();
    root(text("uri"), text("endpoint"), build.metadata.namespace.as_deref().unwrap_or_default())
}

fn room(uid: &str, namespace: &str, context: &Context) -> u32 {
    let others = context
        .jobs
        .filter(|job| job.namespace == namespace && **job.owner() != *uid && job.seen.phase == JobPhase::Active);
    let taken: i64 = others.iter().map(|job| i64::from(job.seen.granted)).sum();
    u32::try_from((i64::from(context.options.max_pods) - taken).max(1)).unwrap_or(1)
}
