//! Everything that is read: the object's Jobs, their pods and events, and for a release its build. Nothing else does.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, ContainerStateTerminated, ContainerStatus, Pod};
use kube::api::{DynamicObject, ListParams};
use kube::{Api, ResourceExt};
use realsyn_objects::manifest::Manifests;
use realsyn_objects::server;
use serde_json::Value;

use super::Error;
use crate::context::Context;
use crate::kinds::{Kind, KindExt};
use crate::machine::{Ended, JobPhase, Neighbour, SeenJob, SeenPod, Trouble};
use crate::names;
use crate::text::sentence;

/// How a worker ends whose server does not answer.
const SERVER_DIED: i32 = 67;
/// So much of what a server said last fits into a status, in characters.
const LAST_WORDS: usize = 140;

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
    /// The build of a release, if there is one.
    pub build: Option<Arc<DynamicObject>>,
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
    let mut jobs: Vec<Arc<Job>> = context.jobs.state_filter(|job| owned_by(&job.metadata, &uid));

    // What the status names, or what we just changed, and the cache does not show yet: asked for by name, because
    // "not there yet" and "gone" call for opposite actions.
    let api: Api<Job> = Api::namespaced(context.client.clone(), &namespace);
    let mut uncertain: BTreeSet<String> = context.touched(&uid, &jobs);
    uncertain.extend(named_by_status(object).filter(|name| jobs.iter().all(|j| j.name_any() != *name)));
    for name in uncertain {
        jobs.retain(|job| job.name_any() != name);
        match api.get_opt(&name).await.map_err(Error::Read)? {
            Some(job) if owned_by(&job.metadata, &uid) => jobs.push(Arc::new(job)),
            Some(_) => {}
            None => context.settled(&uid, &name),
        }
    }

    let mut seen = Vec::new();
    for job in &jobs {
        let mut pods: Vec<SeenPod> = context
            .pods
            .state_filter(|pod| owned_by(&pod.metadata, &job.uid().unwrap_or_default()))
            .iter()
            .map(|pod| pod_of(pod))
            .collect();
        let mut job = job_of(job);
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
            let api: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
            let live = api.list(&list).await.map_err(Error::Read)?;
            pods = live.items.iter().filter(|p| owned_by(&p.metadata, &job.uid)).map(pod_of).collect();
        }
        if pods.is_empty() && job.is_active() {
            job.trouble = job.trouble.or_else(|| context.event_of(&job.uid));
        }
        job.pods = pods;
        seen.push(job);
    }
    seen.sort_by(|a, b| a.name.cmp(&b.name));

    let (build, pinned) = match kind {
        Kind::Build => (None, None),
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
) -> Result<(Option<Arc<DynamicObject>>, Option<Manifests>), Error> {
    let text = |path: &str| object.data.pointer(path).and_then(Value::as_str);
    let name = text("/spec/buildRef/name").unwrap_or_default();
    let build = context.builds.get(&Kind::Build.reference(namespace, name));
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), namespace);
    let manifests = async |name: &str| {
        let map = api.get_opt(name).await.map_err(Error::Read)?;
        Ok::<_, Error>(map.and_then(|m| m.data))
    };
    if let Some(own) = text("/status/manifest")
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
pub(super) fn neighbours(object: &DynamicObject, builds: &[Arc<DynamicObject>]) -> Vec<Neighbour> {
    fn age(build: &DynamicObject) -> (Option<Timestamp>, &str) {
        let created = build.metadata.creation_timestamp.as_ref().map(|t| t.0);
        (created, build.metadata.uid.as_deref().unwrap_or_default())
    }
    let halted = |build: &DynamicObject| {
        let conditions = build.data["status"]["conditions"].as_array();
        let is = |c: &Value, name: &str| c["type"] == name && c["status"] == "True";
        conditions.into_iter().flatten().any(|c| is(c, "Stalled") || is(c, "Suspended"))
    };
    let root = root_of(object);
    let older = builds.iter().filter(|build| {
        build.metadata.deletion_timestamp.is_none()
            && build.data["spec"]["suspend"] != true
            && age(build) < age(object)
            && root_of(build) == root
            && !halted(build)
    });
    let at_work = older.flat_map(|build| {
        let name = format!("build {}/{}", build.metadata.namespace.as_deref().unwrap_or_default(), build.name_any());
        build.data["status"]["stages"].as_array().into_iter().flatten().filter_map(move |entry| {
            let running = entry["state"] == "Running";
            let (stage, digest) = (entry["name"].as_str()?.parse().ok()?, entry["digest"].as_str()?.to_owned());
            running.then(|| Neighbour { name: name.clone(), stage, digest })
        })
    });
    at_work.collect()
}

/// Where a build keeps its work: two with the same share it. A claim is one of its namespace.
fn root_of(build: &DynamicObject) -> (&str, &str, &str) {
    let storage = &build.data["spec"]["storage"];
    let text = |name: &str| storage[name].as_str().unwrap_or_default().trim_end_matches('/');
    let namespace = build.metadata.namespace.as_deref().unwrap_or_default();
    (text("uri"), text("endpoint"), if text("uri").starts_with("pvc://") { namespace } else { "" })
}

fn room(uid: &str, namespace: &str, context: &Context) -> u32 {
    let others = context.jobs.state_filter(|job| {
        job.namespace().as_deref() == Some(namespace) && !owned_by(&job.metadata, uid) && phase(job) == JobPhase::Active
    });
    let taken: i64 = others.iter().filter_map(|j| j.spec.as_ref()?.parallelism).map(i64::from).sum();
    u32::try_from((i64::from(context.options.max_pods) - taken).max(1)).unwrap_or(1)
}

fn owned_by(metadata: &kube::core::ObjectMeta, uid: &str) -> bool {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

fn phase(job: &Job) -> JobPhase {
    let conditions = job.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    // `SuccessCriteriaMet` and `FailureTarget` come before the end: pods may still run then.
    let ended = |type_: &str| conditions.iter().find(|c| c.type_ == type_ && c.status == "True");
    if ended("Complete").is_some() {
        return JobPhase::Complete;
    }
    match ended("Failed") {
        Some(c) => {
            let (reason, message) = (c.reason.as_deref().unwrap_or("Failed"), c.message.as_deref().unwrap_or_default());
            JobPhase::Failed(sentence(&format!("{reason}: {message}"), 300))
        }
        None => JobPhase::Active,
    }
}

fn ended_at(job: &Job) -> Option<Timestamp> {
    let conditions = job.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let ended = conditions.iter().find(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True")?;
    ended.last_transition_time.as_ref().map(|t| t.0)
}

fn job_of(job: &Job) -> SeenJob {
    let annotation = |name: &str| job.annotations().get(name).cloned().unwrap_or_default();
    let stage = job.labels().get(names::STAGE).filter(|s| *s != names::ADVANCE).cloned();
    let status = job.status.clone().unwrap_or_default();
    let queued = job.spec.as_ref().is_some_and(|s| s.suspend == Some(true));
    SeenJob {
        name: job.name_any(),
        uid: job.uid().unwrap_or_default(),
        stage,
        digest: annotation(names::DIGEST),
        template: annotation(names::TEMPLATE),
        parallelism: annotation(names::PARALLELISM).parse().unwrap_or_default(),
        deleting: job.metadata.deletion_timestamp.is_some(),
        phase: phase(job),
        ended_at: ended_at(job),
        done: status.succeeded.unwrap_or_default().unsigned_abs(),
        trouble: queued.then(|| "its queue has not admitted it yet".to_owned()),
        pods: Vec::new(),
    }
}

/// What a server that ended said last: the end of its log, which is a stranger's.
fn last_words(server: &ContainerStatus) -> Option<String> {
    // Of a server between two starts kubelet only knows, when its pod ends, that it is not there.
    let is_told = |end: &&ContainerStateTerminated| end.reason.as_deref() != Some("ContainerStatusUnknown");
    let ends = [server.state.as_ref(), server.last_state.as_ref()];
    let ended = ends.into_iter().find_map(|state| state?.terminated.as_ref().filter(is_told))?;
    let log = sentence(ended.message.as_deref().unwrap_or_default(), usize::MAX);
    let from = log.char_indices().rev().nth(LAST_WORDS - 1).map_or(0, |(at, _)| at);
    (!log.is_empty()).then(|| format!("the server's last words: {}", &log[from..]))
}

fn pod_of(pod: &Pod) -> SeenPod {
    let status = pod.status.clone().unwrap_or_default();
    let index = pod.annotations().get("batch.kubernetes.io/job-completion-index").and_then(|i| i.parse().ok());
    let ours = |name: &str| name == "worker" || name == names::ADVANCE;
    let states = status.container_statuses.unwrap_or_default();
    let state = states.into_iter().find(|c| ours(&c.name)).and_then(|c| c.state).unwrap_or_default();
    let began = state.running.as_ref().and_then(|r| r.started_at.clone());
    let began = began.or(state.terminated.as_ref().and_then(|t| t.started_at.clone()));
    let ended_at = state.terminated.as_ref().and_then(|t| t.finished_at.as_ref()).map(|t| t.0);
    let servers = status.init_container_statuses.as_deref().unwrap_or_default();
    let server = servers.iter().find(|c| c.name == server::CONTAINER);
    let ended = state.terminated.map(|t| Ended {
        code: t.exit_code,
        message: match server.and_then(last_words).filter(|_| t.exit_code == SERVER_DIED) {
            Some(words) => format!("{}; {words}", sentence(&t.message.unwrap_or_default(), 190)),
            None => t.message.unwrap_or_default(),
        },
        reason: t.reason.unwrap_or_default(),
    });
    let words = |reason: Option<String>, message: Option<String>| {
        let (reason, message) = (reason.unwrap_or_default(), message.unwrap_or_default());
        sentence(&if message.is_empty() { reason } else { format!("{reason}: {message}") }, 300)
    };
    let usual = |reason: &Option<String>| {
        reason.as_deref().is_none_or(|reason| ["ContainerCreating", "PodInitializing"].contains(&reason))
    };
    let container = state.waiting.filter(|w| !usual(&w.reason)).map(|w| words(w.reason, w.message));
    // A server that is started again and again keeps a worker that runs from getting anywhere.
    let of_server = || {
        let waiting = server?.state.clone()?.waiting.filter(|w| !usual(&w.reason))?;
        let said = server.and_then(last_words).map(|words| format!("; {words}")).unwrap_or_default();
        Some(format!("its server: {}{said}", sentence(&words(waiting.reason, waiting.message), 200)))
    };
    let container = container.or_else(of_server);
    let scheduled = || {
        let conditions = status.conditions.unwrap_or_default();
        let unplaced = conditions.into_iter().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
        Some(words(unplaced.reason, unplaced.message))
    };
    let waits_for = if ended.is_some() { None } else { container.or_else(scheduled) };
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    SeenPod { index, node, started_at: began.map(|t| t.0), ended_at, waits_for, ended }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn seen(worker: Value, server: Value) -> SeenPod {
        let pod = json!({
            "metadata": { "name": "p" },
            "status": {
                "containerStatuses": [{ "name": "worker", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": worker }],
                "initContainerStatuses": [
                    { "name": "server", "image": "", "imageID": "", "ready": false, "restartCount": 3,
                      "state": server["state"], "lastState": server["last"] },
                ],
            },
        });
        let mut pod = serde_json::from_value(pod).unwrap();
        // As the cache holds it.
        crate::watches::strip_pod(&mut pod);
        pod_of(&pod)
    }

    #[test]
    fn the_last_words_of_a_server_stand_behind_those_of_its_worker() {
        let ended = |code: i32| json!({ "terminated": { "exitCode": code, "message": "no answer for 40 s", "reason": "Error" } });
        let log = format!("{}\n\u{1b}[31mRuntimeError: out of memory\n", "INFO loading\n".repeat(200));
        let crashed = json!({ "terminated": { "exitCode": 1, "message": log } });
        let looping = json!({ "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 20s" } }, "last": crashed });
        let said = seen(ended(67), looping.clone()).ended.unwrap().message;
        assert!(said.starts_with("no answer for 40 s; the server's last words: "), "{said}");
        assert!(
            said.ends_with("RuntimeError: out of memory") && !said.contains('\u{1b}') && said.len() < 400,
            "{said}"
        );
        let gone = seen(ended(67), json!({ "state": crashed, "last": {} })).ended.unwrap().message;
        assert_eq!(gone, said);
        let lost =
            json!({ "terminated": { "exitCode": 137, "reason": "ContainerStatusUnknown", "message": "not located" } });
        assert_eq!(seen(ended(67), json!({ "state": lost, "last": crashed })).ended.unwrap().message, said);
        assert_eq!(seen(ended(64), looping.clone()).ended.unwrap().message, "no answer for 40 s");
        let silent = json!({ "state": { "terminated": { "exitCode": 0 } }, "last": {} });
        assert_eq!(seen(ended(67), silent).ended.unwrap().message, "no answer for 40 s");

        let waits = |worker: Value, server: Value| seen(worker, server).waits_for;
        let why = waits(json!({ "running": {} }), looping).unwrap();
        assert!(why.starts_with("its server: CrashLoopBackOff: back-off 20s; the server's last words: "), "{why}");
        let pulling =
            json!({ "state": { "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } }, "last": {} });
        let why = waits(json!({ "waiting": { "reason": "PodInitializing" } }), pulling).unwrap();
        assert_eq!(why, "its server: ImagePullBackOff: no such image");
        let starting = json!({ "state": { "waiting": { "reason": "PodInitializing" } }, "last": {} });
        assert_eq!(waits(json!({ "running": {} }), starting), None);
    }
}
