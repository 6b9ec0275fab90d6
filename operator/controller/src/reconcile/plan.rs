//! From what was read to the next status: the machine's state in the words of each kind. Pure.

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DynamicObject;
use realsyn_crds::{BuildStatus, Condition, Pool, ReleaseStatus};
use realsyn_plan::placement::Inventory;
use realsyn_plan::recipe::revision;
use serde_json::{Value, json};

use super::dereference::Seen;
use super::validate::{Checked, Refusal, Status};
use crate::context::Context;
use crate::machine::{State, View, set_condition};
use crate::names;

/// What the machine looks at.
pub fn view<'a>(
    object: &'a DynamicObject,
    checked: &'a Checked,
    seen: &'a Seen,
    context: &'a Context,
    inventory: &'a Inventory,
    now: Timestamp,
) -> View<'a> {
    let giver = checked.giver.as_ref();
    View {
        uid: object.metadata.uid.as_deref().unwrap_or_default(),
        name: object.metadata.name.as_deref().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        plan: &checked.plan,
        suspend: checked.suspend,
        retry: object.annotations().get(names::RETRY).map(String::as_str),
        worker_image: giver.and_then(|g| g.worker_image.as_deref()).unwrap_or(&context.options.worker_image),
        server: &context.options.server,
        sentences: giver.map(|g| g.hash.as_str()),
        room: seen.room,
        jobs: &seen.jobs,
        neighbours: &seen.neighbours,
        trouble: seen.trouble.as_ref(),
        inventory,
        now,
    }
}

/// The status that follows from a state.
pub fn status(object: &DynamicObject, checked: &Checked, state: &mut State, now: Timestamp) -> Value {
    let complete = state.complete.take();
    match &checked.status {
        Status::Build(old) => {
            let mut pools = old.pools.clone();
            if let Some(complete) = complete {
                let pool = Pool {
                    generation: object.metadata.generation.unwrap_or_default(),
                    digest: complete.digest.to_string(),
                    pairs: complete.pairs,
                    manifest: Some(checked.config_map.clone()),
                    completed_at: Some(now.to_string()),
                };
                // The same pool under other settings is one pool: it is kept as the newest.
                pools.retain(|p| p.digest != pool.digest);
                pools.push(pool);
                let kept = checked.plan.build.storage.history.max(1) as usize;
                pools.drain(..pools.len().saturating_sub(kept));
            }
            let mut revisions = old.revisions.clone();
            if old.work.observed_generation != state.generation {
                revisions = checked.plan.required().map(|s| (s.name().to_owned(), revision(s))).collect();
            }
            json!(BuildStatus { work: state.status(), revisions, pools })
        }
        Status::Release(old, pool) => json!(ReleaseStatus {
            work: state.status(),
            pool: Some(pool.clone()),
            manifest: Some(checked.config_map.clone()),
            digest: complete.as_ref().map(|c| c.digest.to_string()).or(old.digest.clone()),
            pairs: complete.as_ref().map(|c| c.pairs).or(old.pairs),
            bytes: complete.as_ref().map(|c| c.bytes).or(old.bytes),
            uri: complete.and_then(|c| c.uri).map(|uri| crate::text::sentence(&uri, 2048)).or(old.uri.clone()),
        }),
    }
}

/// The status of an object that cannot be worked on: what it had, and why not.
pub fn refused(object: &DynamicObject, refusal: &Refusal, now: Timestamp) -> Value {
    let mut status = object.data.get("status").filter(|s| s.is_object()).cloned().unwrap_or_else(|| json!({}));
    let mut conditions: Vec<Condition> = serde_json::from_value(status["conditions"].clone()).unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or_default();
    let why = || (refusal.reason, refusal.message.clone());
    let now = now.to_string();
    set_condition(&mut conditions, "Ready", (false, why()), generation, &now);
    set_condition(&mut conditions, "Reconciling", (!refusal.stalled, why()), generation, &now);
    set_condition(&mut conditions, "Stalled", (refusal.stalled, why()), generation, &now);
    let suspended = match object.data["spec"]["suspend"] == true {
        true => (true, ("Suspended", "spec.suspend is true".to_owned())),
        false => (false, ("NotSuspended", "spec.suspend is false".to_owned())),
    };
    set_condition(&mut conditions, "Suspended", suspended, generation, &now);
    status["conditions"] = json!(conditions);
    let word = if refusal.stalled { "stalled" } else { "waiting" };
    status["progress"] = json!(word);
    status["summary"] = json!({ "stage": word });
    let is_new = status["observedGeneration"].as_i64() != Some(generation);
    status["observedGeneration"] = json!(generation);
    if is_new || refusal.reason == "InvalidSpec" {
        // Without it the machine begins the generation, once there is nothing in its way.
        _ = status.as_object_mut().map(|s| s.remove("workerImage"));
    }
    status
}
