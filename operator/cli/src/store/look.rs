//! A pod's status, as somebody who waits for it sees it. Pure.

use k8s_openapi::api::core::v1::{ContainerState, Pod};
use realsyn_objects::text::sentence;

/// What a pod of one container is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// It has not started, and what it waits for, if that is known.
    Waits(Option<String>),
    /// It will not start, however long one waits.
    Stuck(String),
    /// It runs.
    Runs,
    /// It has ended.
    Ended(End),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The exit code.
    pub code: u8,
    /// What it left as its last words: untrusted.
    pub message: String,
}

/// Reasons of a waiting container that waiting does not mend.
const STUCK: &[&str] = &["ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerError"];
/// Reasons that are no trouble.
const USUAL: &[&str] = &["ContainerCreating", "PodInitializing"];

/// Looks at a pod.
pub fn look(pod: &Pod) -> Look {
    let status = pod.status.clone().unwrap_or_default();
    let container = status.container_statuses.unwrap_or_default().into_iter().next();
    let state = container.and_then(|c| c.state).unwrap_or_default();
    if let ContainerState { terminated: Some(t), .. } = state {
        let message = t.message.filter(|m| !m.trim().is_empty()).or(t.reason).unwrap_or_default();
        return Look::Ended(End { code: u8::try_from(t.exit_code).unwrap_or(1), message: sentence(&message, 2000) });
    }
    if let Some("Succeeded" | "Failed") = status.phase.as_deref() {
        // Evicted, or past its deadline: the container tells nothing.
        let code = u8::from(status.phase.as_deref() == Some("Failed"));
        return Look::Ended(End { code, message: words(status.reason, status.message) });
    }
    if state.running.is_some() {
        return Look::Runs;
    }
    if let Some(waiting) = state.waiting {
        let reason = waiting.reason.clone().unwrap_or_default();
        if USUAL.contains(&reason.as_str()) {
            return Look::Waits(None);
        }
        let words = words(waiting.reason, waiting.message);
        return if STUCK.contains(&reason.as_str()) { Look::Stuck(words) } else { Look::Waits(Some(words)) };
    }
    let conditions = status.conditions.unwrap_or_default();
    let unplaced = conditions.into_iter().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    Look::Waits(unplaced.map(|c| words(c.reason, c.message)))
}

fn words(reason: Option<String>, message: Option<String>) -> String {
    let (reason, message) = (reason.unwrap_or_default(), message.unwrap_or_default());
    sentence(&if message.is_empty() { reason } else { format!("{reason}: {message}") }, 600)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn seen(status: Value) -> Look {
        look(&serde_json::from_value(json!({ "status": status })).unwrap())
    }

    fn container(state: Value) -> Value {
        json!({ "phase": "Pending", "containerStatuses": [{
            "name": "explain", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state,
        }] })
    }

    #[test]
    fn a_pod_waits_is_stuck_runs_or_has_ended() {
        assert_eq!(seen(json!({})), Look::Waits(None));
        let unplaced = json!({ "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes\nare available" },
        ] });
        assert_eq!(seen(unplaced), Look::Waits(Some("Unschedulable: 0/3 nodes are available".to_owned())));
        assert_eq!(seen(container(json!({ "waiting": { "reason": "ContainerCreating" } }))), Look::Waits(None));
        let no_secret =
            container(json!({ "waiting": { "reason": "CreateContainerConfigError", "message": "no secret s3" } }));
        assert_eq!(seen(no_secret), Look::Waits(Some("CreateContainerConfigError: no secret s3".to_owned())));
        let pull = container(json!({ "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } }));
        assert_eq!(seen(pull), Look::Stuck("ImagePullBackOff: no such image".to_owned()));
        assert_eq!(seen(container(json!({ "running": {} }))), Look::Runs);
        let ended =
            container(json!({ "terminated": { "exitCode": 64, "message": "no\u{1b}such", "reason": "Error" } }));
        assert_eq!(seen(ended), Look::Ended(End { code: 64, message: "no such".to_owned() }));
        let killed = container(json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } }));
        assert_eq!(seen(killed), Look::Ended(End { code: 137, message: "OOMKilled".to_owned() }));
        let evicted = json!({ "phase": "Failed", "reason": "Evicted", "message": "the node was low on memory" });
        let end = End { code: 1, message: "Evicted: the node was low on memory".to_owned() };
        assert_eq!(seen(evicted), Look::Ended(end));
    }
}
