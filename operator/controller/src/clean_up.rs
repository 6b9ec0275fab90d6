//! What becomes of the work of a deleted build with `retain: Delete`, and of what a deleted release holds.
//!
//! The wish outlives the object in a ConfigMap of its own, with the manifests: deletion waits for nobody, and nothing is
//! lost if the controller is away. Once the object is gone a Job beside the store gives up its reference. With `retain:
//! Delete` the Job also removes what a release published, and what no other reference names, in runs a day apart as the
//! store's protocol asks; then the ConfigMap goes, and with it the Jobs.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, DynamicObject, PostParams, Preconditions};
use kube::core::ObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, ResourceExt};
use realsyn_crds::{RealSynBuild, RealSynRelease, Retain, Storage};
use realsyn_objects::manifest::file;
use realsyn_objects::pod::{self, Pod as PodParts};
use realsyn_plan::report::CleanUpReport;
use serde_json::json;

use crate::context::Context;
use crate::kinds::{Kind, KindExt};
use crate::machine::{JobPhase, SeenPod};
use crate::names;
use crate::plan::Plan;
use crate::reconcile::validate::Checked;

/// How often wishes are looked at. Those of builds that are there cost nothing.
const AGAIN: Duration = Duration::from_secs(5);
/// Between two tries of a run that failed.
const AFTER_FAILURE: SignedDuration = SignedDuration::from_mins(10);
/// Runs after which a wish is given up: a week of failures, because its credentials or its bucket are gone.
const MOST_RUNS: u32 = 1000;
/// The longest that a run may take, in seconds.
const LONGEST: i64 = 6 * 3600;

/// Records the wish of a build, or that it has none any more; every release wishes that its reference ends with it.
///
/// # Errors
/// A request that failed.
pub async fn wish(kind: Kind, object: &DynamicObject, checked: &Checked, context: &Context) -> Result<(), kube::Error> {
    let uid = object.uid().unwrap_or_default();
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &namespace);
    let storage = &checked.plan.build.storage;
    if kind == Kind::Build && storage.retain != Retain::Delete {
        return take_back(object, context).await;
    }
    if kind == Kind::Release && object.data["status"]["pool"].is_null() {
        // It has used nothing, and its spec may still change.
        return Ok(());
    }
    // Those of other places stay: work may lie there, too.
    let name = wish_name(&object.name_any(), &uid, storage);
    if context.wishes.get(&ObjectRef::new(&name).within(&namespace)).is_some() {
        return Ok(());
    }
    let labels = [
        (names::MANAGED_BY, names::CONTROLLER.to_owned()),
        (names::STAGE, names::CLEAN_UP.to_owned()),
        (names::BUILD, crate::text::label_value(&object.name_any())),
    ];
    let annotations = [(names::OF_UID, uid), (names::OF_NAME, object.name_any())];
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace),
            labels: Some(labels.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
            annotations: Some(annotations.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        data: Some(checked.manifests.clone()),
        ..ConfigMap::default()
    };
    accept(api.create(&PostParams::default(), &map).await.map(drop), 409)
}

/// Carries out wishes, for ever.
pub async fn run(context: Arc<Context>) {
    loop {
        tokio::time::sleep(AGAIN).await;
        if context.leads() {
            round(&context, Timestamp::now()).await;
        }
    }
}

async fn round(context: &Context, now: Timestamp) {
    for map in context.wishes.state() {
        let (namespace, name) = (map.namespace().unwrap_or_default(), map.name_any());
        if let Err(error) = carry_out(&map, context, now).await {
            tracing::warn!(%namespace, %name, %error, "the clean-up after a deleted object cannot go on yet");
        }
    }
}

/// What is to be done about a wish whose object is gone.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Nothing yet.
    Wait,
    /// This run, after the Job before it is deleted.
    Run(u32),
    /// All is removed, or it never will be.
    Done,
}

async fn carry_out(map: &ConfigMap, context: &Context, now: Timestamp) -> Result<(), kube::Error> {
    let namespace = map.namespace().unwrap_or_default();
    let annotation = |name: &str| map.annotations().get(name).cloned().unwrap_or_default();
    let (of_name, of_uid) = (annotation(names::OF_NAME), annotation(names::OF_UID));
    let kind = if map.data.iter().flatten().any(|(name, _)| name == file(Kind::Release)) {
        Kind::Release
    } else {
        Kind::Build
    };
    let cached = context.objects(kind).get(&kind.reference(&namespace, &of_name));
    if cached.is_some_and(|object| object.uid().as_deref() == Some(&of_uid)) {
        return Ok(());
    }
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &namespace);
    let done = async || accept(maps.delete(&map.name_any(), &DeleteParams::background()).await.map(drop), 404);
    let Some(plan) = wished(kind, map, &of_name, &of_uid) else {
        tracing::warn!(
            namespace,
            name = map.name_any(),
            "this ConfigMap says that work is to be cleaned up, but not as the controller would; delete it, or clean up with realsyn gc"
        );
        return Ok(());
    };
    // Its own pods may still write down what they use.
    if !context.jobs.of(&of_uid).is_empty() {
        return Ok(());
    }
    let uid = map.uid().unwrap_or_default();
    let jobs = context.jobs.of(&uid);
    let next = match jobs.iter().max_by_key(|job| job.attempt) {
        None => Next::Run(1),
        Some(job) => {
            let said = context.pods.of(&job.seen.uid).iter().find_map(|pod| report(&pod.seen));
            next(job.attempt, job.seen.ended_at.map(|at| (at, job.seen.phase == JobPhase::Complete)), said, now)
        }
    };
    if next == Next::Wait {
        return Ok(());
    }
    // Asked for, not only looked up: a cache that lags behind would throw work away.
    let objects: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &namespace, &kind.resource());
    if objects.get_metadata_opt(&of_name).await?.is_some_and(|object| object.uid().as_deref() == Some(&of_uid)) {
        return Ok(());
    }
    let Next::Run(attempt) = next else { return done().await };
    let jobs_api: Api<Job> = Api::namespaced(context.client.clone(), &namespace);
    for job in &jobs {
        let only = Preconditions { uid: Some(job.seen.uid.clone()), ..Preconditions::default() };
        let done = jobs_api.delete(&job.seen.name, &DeleteParams::background().preconditions(only)).await;
        // Gone, or another Job of that name.
        accept(accept(done.map(drop), 404), 409)?;
    }
    let job = job_of(kind, map, &of_name, &plan, attempt, context);
    tracing::info!(namespace, job = %job.name_any(), attempt, kind = kind.name(), "cleaning up after a deleted object");
    accept(jobs_api.create(&PostParams::default(), &job).await.map(drop), 409)
}

/// What the object of a wish asked for; `None` for what the controller would not have written. Whoever may write ConfigMaps
/// could otherwise have a pod run with any Secret of the namespace; that nobody else writes one, an admission policy sees to.
fn wished(kind: Kind, map: &ConfigMap, of_name: &str, of_uid: &str) -> Option<Plan> {
    let text = |kind| map.data.as_ref()?.get(file(kind)).map(String::as_str);
    let build: RealSynBuild = serde_json::from_str(text(Kind::Build)?).ok()?;
    let (plan, metadata) = match kind {
        Kind::Build => (Plan::of_build(&build.spec), build.metadata),
        Kind::Release => {
            let release: RealSynRelease = serde_json::from_str(text(kind)?).ok()?;
            (Plan::of_release(&build.spec, &release.spec), release.metadata)
        }
    };
    let is_its_own = metadata.name == of_name
        && metadata.uid.as_deref() == Some(of_uid)
        && metadata.namespace == map.namespace()
        && map.name_any() == wish_name(of_name, of_uid, &plan.build.storage);
    is_its_own.then_some(plan)
}

/// One for each place where a build keeps its work. Of a release the place never changes.
fn wish_name(name: &str, uid: &str, storage: &Storage) -> String {
    let place = json!([storage.uri, storage.endpoint, storage.region, storage.credentials]).to_string();
    names::config_map_name(name, uid, names::CLEAN_UP, &[("storage", &place)])
}

/// Takes back the wishes of a build that does not ask for it any more, whatever else its spec says.
///
/// # Errors
/// A request that failed.
pub async fn take_back(build: &DynamicObject, context: &Context) -> Result<(), kube::Error> {
    if build.data["spec"]["storage"]["retain"] == "Delete" {
        return Ok(());
    }
    let uid = build.uid().unwrap_or_default();
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &build.namespace().unwrap_or_default());
    for map in context.wishes.state_filter(|map| map.annotations().get(names::OF_UID) == Some(&uid)) {
        accept(api.delete(&map.name_any(), &DeleteParams::background()).await.map(drop), 404)?;
    }
    Ok(())
}

/// What follows a run: `ended` says when and whether it went well, `report` what it said.
fn next(attempt: u32, ended: Option<(Timestamp, bool)>, report: Option<CleanUpReport>, now: Timestamp) -> Next {
    let Some((at, well)) = ended else { return Next::Wait };
    if attempt >= MOST_RUNS {
        tracing::warn!(attempt, "the clean-up after a deleted object is given up; its work stays");
        return Next::Done;
    }
    let wait = match (well, report) {
        (true, Some(CleanUpReport { again_in: None })) => return Next::Done,
        (true, Some(CleanUpReport { again_in: Some(seconds) })) => {
            // A store that is not ours may say anything.
            SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX).min(7 * 86_400))
        }
        // Failed, or its pod was gone before it was read: what it did is done, and the next run sees it.
        _ => AFTER_FAILURE,
    };
    if now.duration_since(at) >= wait { Next::Run(attempt + 1) } else { Next::Wait }
}

fn job_of(kind: Kind, map: &ConfigMap, of_name: &str, plan: &Plan, attempt: u32, context: &Context) -> Job {
    let command: &[&str] = match kind {
        Kind::Build => &["gc", "--release-ref"],
        Kind::Release => &["withdraw"],
    };
    let mut args: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
    args.extend(pod::files(map.data.iter().flatten().map(|(name, _)| name)));
    args.extend(["--report", "/dev/termination-log"].map(str::to_owned));
    let name = map.name_any();
    let spec = pod::spec(&PodParts {
        plan,
        config_map: &name,
        stage: None,
        container: names::CLEAN_UP,
        image: &context.options.worker_image,
        args: &args,
        gpus: None,
        trace: None,
    });
    let labels = json!({
        names::MANAGED_BY: names::CONTROLLER,
        names::STAGE: names::CLEAN_UP,
        names::BUILD: crate::text::label_value(of_name),
    });
    let hash = realsyn_plan::Digest::builder("clean-up").part(&name).number(attempt.into()).finish();
    let job = json!({
        "metadata": {
            "name": format!("{}-{}-{}", crate::text::dns_prefix(of_name, 20), names::CLEAN_UP, &hash.to_string()[..12]),
            "namespace": map.namespace(),
            "labels": labels,
            "annotations": { names::ATTEMPT: attempt.to_string() },
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": map.uid(), "controller": true,
            }],
        },
        "spec": {
            "backoffLimit": 2,
            "activeDeadlineSeconds": LONGEST,
            "template": { "metadata": { "labels": labels }, "spec": spec },
        },
    });
    serde_json::from_value(job).expect("the fields of a Job")
}

fn report(pod: &SeenPod) -> Option<CleanUpReport> {
    let ended = pod.ended.as_ref().filter(|ended| ended.code == 0)?;
    serde_json::from_str(&ended.message).ok()
}

/// An answer that says that it is so already is as good as one that says that it is done.
fn accept(done: Result<(), kube::Error>, code: u16) -> Result<(), kube::Error> {
    match done {
        Err(kube::Error::Api(refusal)) if refusal.code == code => Ok(()),
        done => done,
    }
}

/// The cache of wishes.
pub type Wishes = Store<ConfigMap>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_follow_each_other_as_the_store_asks() {
        let at = |hours: i64| Timestamp::from_second(hours * 3600).unwrap();
        let says = |again_in| Some(CleanUpReport { again_in });
        let (well, badly) = (Some((at(0), true)), Some((at(0), false)));
        assert_eq!(next(1, None, None, at(99)), Next::Wait);
        assert_eq!(next(1, well, says(Some(86_400)), at(23)), Next::Wait);
        assert_eq!(next(1, well, says(Some(86_400)), at(24)), Next::Run(2));
        assert_eq!(next(2, well, says(Some(0)), at(0)), Next::Run(3));
        assert_eq!(next(3, well, says(None), at(0)), Next::Done);
        assert_eq!(next(3, badly, None, at(0)), Next::Wait);
        assert_eq!(next(3, badly, None, at(1)), Next::Run(4));
        assert_eq!(next(3, well, None, at(1)), Next::Run(4));
        assert_eq!(next(1, well, says(Some(u64::MAX)), at(24 * 8)), Next::Run(2));
        assert_eq!(next(MOST_RUNS, badly, None, at(1)), Next::Done);
    }
}
