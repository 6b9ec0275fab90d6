//! What is kept of a pod.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Pod, PodStatus,
};
use kube::ResourceExt;
use realsyn_objects::server;
use serde::Deserialize;

use super::excerpt::Excerpt;
use super::{Kept, controller};
use crate::machine::{Ended, SeenPod};
use crate::names;
use crate::text::sentence;

/// How a worker ends whose server does not answer.
pub const SERVER_DIED: i32 = 67;
/// So much of what a server said last fits into a status, in characters.
const LAST_WORDS: usize = 140;

/// Why a container is not there although its pod has a node: kubelet tries again and again, and nobody else does anything.
const IN_VAIN: [&str; 5] =
    ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"];

/// A pod without its containers' specs.
pub type ReadPod = Excerpt<Pod, PodSpec, PodStatus>;

/// What is read of its spec.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    node_name: Option<String>,
}

/// A pod.
pub struct HeldPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether it asked for GPUs.
    pub holds_gpus: bool,
    /// Whether it has ended, or is about to.
    pub is_over: bool,
    /// What the machine is shown.
    pub seen: SeenPod,
    owner: Arc<str>,
}

impl Kept for HeldPod {
    fn owner(&self) -> &Arc<str> {
        &self.owner
    }
}

impl From<&ReadPod> for HeldPod {
    fn from(pod: &ReadPod) -> Self {
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
        Self {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            holds_gpus: pod.labels().contains_key(names::GPU),
            is_over: pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed")),
            seen: seen(pod),
            owner: controller(&pod.metadata).into(),
        }
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

/// Since when nothing but its containers was in the way of a pod: it had a node, its volumes, and what runs before the rest.
fn could_start(status: &PodStatus) -> Option<Timestamp> {
    let steps = ["PodScheduled", "PodReadyToStartContainers", "Initialized"];
    let conditions = status.conditions.iter().flatten();
    let done = conditions.filter(|c| c.status == "True" && steps.contains(&c.type_.as_str()));
    done.filter_map(|c| c.last_transition_time.as_ref()).map(|at| at.0).max()
}

/// Reason and message of a container that waits, or of a condition.
fn words(reason: Option<&str>, message: Option<&str>) -> String {
    let (reason, message) = (reason.unwrap_or_default(), message.unwrap_or_default());
    sentence(&if message.is_empty() { reason.to_owned() } else { format!("{reason}: {message}") }, 300)
}

/// What a container waits for, unless that is how every container begins.
fn waiting(state: &ContainerState) -> Option<&ContainerStateWaiting> {
    let usual = |reason: &str| ["ContainerCreating", "PodInitializing"].contains(&reason);
    state.waiting.as_ref().filter(|waiting| waiting.reason.as_deref().is_some_and(|reason| !usual(reason)))
}

fn seen(pod: &ReadPod) -> SeenPod {
    let (no_status, no_state) = (PodStatus::default(), ContainerState::default());
    let status = pod.status.as_ref().unwrap_or(&no_status);
    let index = pod.annotations().get("batch.kubernetes.io/job-completion-index").and_then(|i| i.parse().ok());
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());

    let ours = |name: &str| ["worker", names::ADVANCE, names::CLEAN_UP].contains(&name);
    let worker = status.container_statuses.iter().flatten().find(|c| ours(&c.name));
    let state = worker.and_then(|c| c.state.as_ref()).unwrap_or(&no_state);
    let server = status.init_container_statuses.iter().flatten().find(|c| c.name == server::CONTAINER);
    let (running, terminated) = (state.running.as_ref(), state.terminated.as_ref());
    let began = running.and_then(|r| r.started_at.as_ref());
    let began = began.or(terminated.and_then(|t| t.started_at.as_ref()));
    let ended_at = terminated.and_then(|t| t.finished_at.as_ref()).map(|t| t.0);
    let ended = terminated.map(|t| {
        let said = t.message.as_deref().unwrap_or_default();
        let message = match server.and_then(last_words).filter(|_| t.exit_code == SERVER_DIED) {
            Some(words) => format!("{}; {words}", sentence(said, 190)),
            None => said.to_owned(),
        };
        Ended { code: t.exit_code, message, reason: t.reason.clone().unwrap_or_default() }
    });

    let mut states = [Some(state), server.and_then(|c| c.state.as_ref())].into_iter().flatten();
    let in_vain = |state: &ContainerState| {
        let reason = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
        reason.is_some_and(|reason| IN_VAIN.contains(&reason))
    };
    let deleting = pod.metadata.deletion_timestamp.is_some();
    let may_start = running.is_none() && terminated.is_none() && !deleting;
    let held_up_since = if may_start && states.any(in_vain) { could_start(status) } else { None };
    let named = |words: String, image: &str| match held_up_since {
        Some(_) if !words.contains(image) => format!("{words} (image {image})"),
        _ => words,
    };
    let of_worker = || {
        let waiting = waiting(state)?;
        let image = worker.map(|c| c.image.as_str()).unwrap_or_default();
        Some(named(words(waiting.reason.as_deref(), waiting.message.as_deref()), image))
    };
    // A server that is started again and again keeps a worker that runs from getting anywhere.
    let of_server = || {
        let server = server?;
        let waiting = waiting(server.state.as_ref()?)?;
        let said = last_words(server).map(|words| format!("; {words}")).unwrap_or_default();
        let why = sentence(&words(waiting.reason.as_deref(), waiting.message.as_deref()), 200);
        Some(format!("its server: {}{said}", named(why, &server.image)))
    };
    let of_scheduler = || {
        let mut conditions = status.conditions.iter().flatten();
        let unplaced = conditions.find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
        Some(words(unplaced.reason.as_deref(), unplaced.message.as_deref()))
    };
    let waits_for = if ended.is_some() { None } else { of_worker().or_else(of_server).or_else(of_scheduler) };
    SeenPod { index, node, started_at: began.map(|t| t.0), ended_at, waits_for, held_up_since, ended, deleting }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

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
        HeldPod::from(&serde_json::from_value(pod).unwrap()).seen
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

    #[test]
    fn a_pod_that_its_node_cannot_start_tells_since_when_and_what_image() {
        let image = "registry.example.org/vllm:2";
        let pod = |worker: Value, server: Value, ready: &str| {
            let at = |type_: &str, status: &str, minute: u32| {
                let at = format!("2027-01-15T08:{minute:02}:00Z");
                json!({ "type": type_, "status": status, "lastTransitionTime": at })
            };
            let container = |name: &str, state: Value| json!({ "name": name, "image": image, "imageID": "", "ready": false, "restartCount": 0, "state": state });
            let pod = json!({
                "metadata": { "name": "p" },
                "status": {
                    "conditions": [
                        at("PodScheduled", "True", 1),
                        at("PodReadyToStartContainers", ready, 20),
                        at("Initialized", "False", 30),
                    ],
                    "containerStatuses": [container("worker", worker)],
                    "initContainerStatuses": [container("server", server)],
                },
            });
            HeldPod::from(&serde_json::from_value(pod).unwrap()).seen
        };
        let waits = |reason: &str| json!({ "waiting": { "reason": reason, "message": "denied" } });
        let minute = |minute: u32| Some(format!("2027-01-15T08:{minute:02}:00Z").parse::<Timestamp>().unwrap());
        for reason in IN_VAIN {
            let seen = pod(waits("PodInitializing"), waits(reason), "True");
            assert_eq!(seen.held_up_since, minute(20), "its volumes came first");
            assert_eq!(seen.waits_for, Some(format!("its server: {reason}: denied (image {image})")));
            assert_eq!(pod(waits(reason), json!({ "running": {} }), "False").held_up_since, minute(1));
        }
        assert_eq!(pod(waits("PodInitializing"), waits("PodInitializing"), "True").held_up_since, None);
        assert_eq!(pod(waits("PodInitializing"), waits("CrashLoopBackOff"), "True").held_up_since, None);
        // A worker that runs has a patience of its own.
        assert_eq!(pod(json!({ "running": {} }), waits("ErrImagePull"), "True").held_up_since, None);
        let named = json!({ "waiting": { "reason": "ErrImagePull", "message": format!("pulling {image}: denied") } });
        let said = pod(waits("PodInitializing"), named, "True").waits_for.unwrap();
        assert_eq!(said, format!("its server: ErrImagePull: pulling {image}: denied"));
    }
}
