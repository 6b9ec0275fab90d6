//! One reconcile, in named steps, a file each. `dereference` reads, `validate` and `plan` and `build` are pure, `status`
//! writes the status once, and only then `apply` changes Jobs: what a Job is for is always written before it is made.

pub mod announce;
pub mod apply;
pub mod build;
pub mod dereference;
pub mod ending;
pub mod plan;
pub mod status;
pub mod sweep;
#[cfg(test)]
mod tests;
pub mod validate;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::runtime::controller::Action;
use realsyn_crds::{Condition, StageStatus};
use realsyn_plan::Digest;

use crate::clean_up;
use crate::context::Context;
use crate::kinds::Kind;
use crate::machine;

/// Why a reconcile came to nothing. Each variant has a category that metrics count by.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading failed.
    #[error("reading what belongs to the object: {0}")]
    Read(#[source] kube::Error),
    /// Somebody else wrote the object first; the newer one comes in by the watch.
    #[error("the object was changed in the meantime")]
    Conflict,
    /// The status could not be written.
    #[error("writing the status: {0}")]
    Status(#[source] kube::Error),
    /// A change was refused; the next reconcile says so in the status.
    #[error("{0}")]
    Apply(String),
}

impl Error {
    /// What metrics count it as.
    pub const fn category(&self) -> &'static str {
        match self {
            Self::Read(_) => "read",
            Self::Conflict => "conflict",
            Self::Status(_) => "status",
            Self::Apply(_) => "apply",
        }
    }
}

/// Brings one object a step further.
///
/// # Errors
/// See [`Error`]; all of them are worth trying again.
pub async fn reconcile(kind: Kind, object: &DynamicObject, context: Arc<Context>) -> Result<Action, Error> {
    if !context.leads() {
        return Ok(Action::await_change());
    }
    if object.metadata.deletion_timestamp.is_some() {
        // Its Jobs are owned by it and go with it; nothing outside the cluster waits for us.
        context.forget(&object.uid().unwrap_or_default());
        return Ok(Action::await_change());
    }
    let uid = object.uid().unwrap_or_default();
    let rest = Action::requeue(resync(&uid, context.options.resync));
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    let seen = dereference::dereference(kind, object, &context).await?;
    if ending::ends(&seen.jobs, object, &context).await? {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        tracing::info!(%namespace, kind = kind.name(), %name, "its namespace is being deleted, and waits for its Jobs: they go first");
        apply::apply(object, build::stop(&seen.jobs), &context).await?;
        return Ok(Action::await_change());
    }
    let checked = match validate::validate(kind, object, &seen) {
        Ok(checked) => checked,
        Err(refusal) => {
            if kind == Kind::Build {
                let done = clean_up::take_back(object, &context).await;
                done.map_err(|e| Error::Apply(format!("taking back that the work goes with the build: {e}")))?;
            }
            let next = plan::refused(object, &refusal, now);
            let conditions: Vec<Condition> = serde_json::from_value(next["conditions"].clone()).unwrap_or_default();
            let stages: Vec<StageStatus> = serde_json::from_value(next["stages"].clone()).unwrap_or_default();
            context.metrics.progress(kind, &uid, &conditions, &stages);
            let written = status::write(kind, object, &next, &context).await?;
            if written {
                announce::announce(kind, object, &next, &context).await;
            }
            let halted = build::halt(object, &seen.jobs);
            if !halted.is_empty() && !written {
                status::is_current(kind, object, &context).await?;
            }
            apply::apply(object, halted, &context).await?;
            return Ok(rest);
        }
    };
    let recorded = clean_up::wish(kind, object, &checked, &context).await;
    recorded.map_err(|e| Error::Apply(format!("recording what is to become of its work: {e}")))?;
    let inventory = context.nodes.inventory();
    let view = plan::view(object, &checked, &seen, &context, &inventory, now);
    let mut state = machine::step(&view, checked.state.clone());
    let next = plan::status(object, &checked, &mut state, now);
    let written = status::write(kind, object, &next, &context).await?;
    if written {
        announce::announce(kind, object, &next, &context).await;
    }
    if written {
        context.metrics.spent(&checked.state.stages, &state.stages);
    }
    context.metrics.progress(kind, &uid, &state.conditions, &state.stages);
    let actions = machine::actions(&view, &state);
    if !actions.is_empty() && !written {
        // No write has proved that the cache is current, and from an old one a Job would be made again that has run.
        status::is_current(kind, object, &context).await?;
    }
    let is_still = actions.is_empty() && !written;
    let wanted = build::build(kind, object, &checked, &state, actions, &context.options);
    if apply::apply(object, wanted, &context).await? {
        return Ok(Action::requeue(Duration::from_millis(100)));
    }
    if is_still && kind == Kind::Build {
        let used = sweep::used(&checked.config_map, &next, &seen.jobs);
        sweep::sweep(object, used, state.finished, &context).await?;
    }
    Ok(match state.wake_at(&view) {
        Some(at) => {
            let wake = Duration::from_secs((at.as_second() - now.as_second()).max(1).unsigned_abs());
            Action::requeue(wake.min(resync(&uid, context.options.resync)))
        }
        None => rest,
    })
}

/// When an object is looked at again though nothing is told of it: a watch may have missed something. Each has a time of
/// its own, a fifth more or less than `about`, so that they do not come all at once.
fn resync(uid: &str, about: Duration) -> Duration {
    let Digest([first, second, ..]) = Digest::builder("resync").part(uid).finish();
    let share = f64::from(u16::from_be_bytes([first, second])) / f64::from(u16::MAX);
    about.mul_f64(0.8 + 0.4 * share)
}
