//! What `kubectl describe` tells of an object: the turns that its status took, as Events. Pure, but for the telling.

use kube::Resource;
use kube::api::DynamicObject;
use kube::runtime::events::{Event, EventType};
use serde_json::Value;

use crate::context::Context;
use crate::kinds::{Kind, KindExt};
use crate::text::sentence;

/// As long as the API server takes.
const MOST: usize = 900;

/// Tells of what a written status says for the first time. An Event that is lost is no harm: the status says the same.
pub async fn announce(kind: Kind, object: &DynamicObject, status: &Value, context: &Context) {
    let none = Value::Null;
    let before = object.data.get("status").unwrap_or(&none);
    for event in turns(before, status) {
        if let Err(error) = context.recorder.publish(&event, &object.object_ref(&kind.resource())).await {
            tracing::debug!(%error, reason = event.reason, "an Event was not taken");
        }
    }
}

/// The turns from one status to the next.
fn turns(before: &Value, after: &Value) -> Vec<Event> {
    let mut events = Vec::new();
    for stage in list(after, "stages").filter(|s| s["state"] == "Sealed") {
        let name = stage["name"].as_str().unwrap_or_default();
        let old = list(before, "stages").find(|s| s["name"] == name);
        if old.is_some_and(|s| s["state"] == "Sealed" && s["digest"] == stage["digest"]) {
            continue;
        }
        let number = |field: &str| stage[field].as_u64().unwrap_or_default();
        let rejected: u64 = stage["rejected"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
        let rejected = match rejected {
            0 => String::new(),
            1 => ", 1 shard rejected".to_owned(),
            n => format!(", {n} shards rejected"),
        };
        let note = format!("{name}: {} records in, {} out{rejected}", number("recordsIn"), number("recordsOut"));
        // Events of one reason and one action are counted as one; each stage is an action of its own.
        events.push(event(EventType::Normal, "StageSealed", &format!("Seal/{name}"), &note));
    }
    for stage in list(after, "stages") {
        let name = stage["name"].as_str().unwrap_or_default();
        let old = list(before, "stages").find(|s| s["name"] == name);
        let was = |task: &Value| old.and_then(|s| s["stragglers"].as_array()).is_some_and(|all| all.contains(task));
        for task in stage["stragglers"].as_array().into_iter().flatten().filter(|task| !was(task)) {
            let task = task.as_str().unwrap_or_default();
            let note = format!("{name}: {task} takes more than three times as long as the others");
            events.push(event(EventType::Warning, "SlowTask", &format!("Slow/{name}/{task}"), &note));
        }
    }
    for (name, type_) in
        [("Suspended", EventType::Normal), ("Ready", EventType::Normal), ("Stalled", EventType::Warning)]
    {
        let Some(now) = condition(after, name).filter(|c| c["status"] == "True") else { continue };
        let news = |was: &Value| ["status", "reason", "message"].iter().any(|field| was[field] != now[field]);
        if condition(before, name).is_none_or(news) {
            let text = |field: &str| now[field].as_str().unwrap_or_default();
            events.push(event(type_, text("reason"), name, text("message")));
        }
    }
    events
}

fn event(type_: EventType, reason: &str, action: &str, note: &str) -> Event {
    Event {
        type_,
        reason: reason.to_owned(),
        action: action.to_owned(),
        note: Some(sentence(note, MOST)),
        secondary: None,
    }
}

fn list<'v>(status: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> {
    status[field].as_array().into_iter().flatten()
}

fn condition<'v>(status: &'v Value, name: &str) -> Option<&'v Value> {
    list(status, "conditions").find(|c| c["type"] == name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(before: &Value, after: &Value) -> Vec<(EventType, String, String)> {
        turns(before, after).into_iter().map(|e| (e.type_, e.reason, e.note.unwrap_or_default())).collect()
    }

    #[test]
    fn every_turn_is_told_once() {
        let conditions = |ready: &str, stalled: &str, why: &str| {
            json!([
                { "type": "Ready", "status": ready, "reason": "Complete", "message": "the pool is complete" },
                { "type": "Stalled", "status": stalled, "reason": "Stalled", "message": why },
            ])
        };
        let stage = |state: &str, digest: &str| {
            json!([{ "name": "tag", "state": state, "digest": digest, "recordsIn": 5, "recordsOut": 4,
                     "rejected": { "truncated": 1 } }])
        };
        let runs = json!({ "conditions": conditions("False", "False", "-"), "stages": stage("Running", "a") });
        let halts = json!({ "conditions": conditions("False", "True", "no bucket"), "stages": stage("Running", "a") });
        let done = json!({ "conditions": conditions("True", "False", "-"), "stages": stage("Sealed", "a") });
        let again = json!({ "conditions": conditions("True", "False", "-"), "stages": stage("Sealed", "b") });
        let sealed =
            || (EventType::Normal, "StageSealed".to_owned(), "tag: 5 records in, 4 out, 1 shard rejected".into());

        assert_eq!(told(&Value::Null, &runs), []);
        assert_eq!(told(&runs, &halts), [(EventType::Warning, "Stalled".into(), "no bucket".into())]);
        assert_eq!(told(&halts, &halts), []);
        let ready = (EventType::Normal, "Complete".to_owned(), "the pool is complete".to_owned());
        assert_eq!(told(&halts, &done), [sealed(), ready]);
        assert_eq!(told(&done, &again), [sealed()]);
    }
}
