//! What a build's pods bring to the scheduler, judged.

use super::Judge;
use crate::{Scheduling, TolerationOperator};

/// The taint of nodes in quarantine.
const QUARANTINE: &str = "realsyn.dev/gpu-quarantine";

/// Names that no object can have, classes that are the cluster's own, tolerations that no taint has or none may have.
pub(super) fn validate(judge: &mut Judge, scheduling: &Scheduling) {
    let names = [
        ("priorityClassName", &scheduling.priority_class_name),
        ("runtimeClassName", &scheduling.runtime_class_name),
        ("schedulerName", &scheduling.scheduler_name),
    ];
    for (field, name) in names {
        let Some(name) = name else { continue };
        let path = format!("spec.scheduling.{field}");
        judge.require(
            is_name(name),
            &path,
            name.as_str(),
            "must be 1 to 253 lower-case letters, digits, hyphens and points, with a letter or digit at either end",
        );
        let own = field == "priorityClassName" && name.starts_with("system-");
        judge.require(!own, &path, name.as_str(), "is for the cluster's own pods; name a class of yours");
    }
    for (i, toleration) in scheduling.tolerations.iter().enumerate() {
        let path = format!("spec.scheduling.tolerations[{i}]");
        let key = format!("{path}.key");
        let right = toleration.key.rsplit('/').all(|part| !part.is_empty() && part.chars().all(is_in_key));
        let slashes = toleration.key.matches('/').count();
        judge.require(
            right && slashes <= 1,
            &key,
            toleration.key.as_str(),
            "is no taint's key; write `team` or `example.com/team`",
        );
        let message = "is a quarantine's, which is for pods with GPUs; leave it out, and lift the quarantine instead";
        judge.require(toleration.key != QUARANTINE, &key, toleration.key.as_str(), message);
        let idle = toleration.operator == TolerationOperator::Exists && toleration.value.is_some();
        let message = "has no effect with `operator: Exists`; write `Equal`, or leave it out";
        judge.require(!idle, &format!("{path}.value"), toleration.value.as_deref(), message);
    }
}

/// Whether an object of the cluster can be called so.
fn is_name(name: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inner = |c: char| edge(c) || matches!(c, '-' | '.');
    name.len() <= 253 && name.chars().all(inner) && name.starts_with(edge) && name.ends_with(edge)
}

fn is_in_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}
