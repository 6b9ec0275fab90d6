//! What is to be done about a state that is written: nothing but what brings the Jobs that are there to those that it
//! names.

use jiff::SignedDuration;
use realsyn_crds::{Stage, StageState};
use realsyn_plan::StepId;
use realsyn_plan::placement::Placement;

use super::{JobPhase, SeenJob, State, View, fold::steps_of, place::place, room};
use crate::names::advance_name;

/// A change to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Create this Job.
    Create(Order),
    /// Delete this Job and its pods.
    Delete {
        /// Its name.
        name: String,
        /// Its UID: no other Job of that name is meant.
        uid: String,
    },
    /// Let this Job run, with so many pods at once.
    Run {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
        /// What the spec asks for.
        asked: u32,
        /// What there is room for.
        granted: u32,
    },
}

/// A Job to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its name.
    pub name: String,
    /// Which attempt this is.
    pub attempt: u32,
    /// What it does.
    pub work: Work,
}

/// What a Job does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// It looks at the store.
    Advance {
        /// Steps that need not be reported.
        known: Vec<String>,
    },
    /// It runs a step.
    Step {
        /// Which.
        step: StepId,
        /// The stage digest.
        digest: String,
        /// The hash of its task list.
        list: String,
        /// Rows of that list.
        tasks: u32,
        /// What the spec asks for.
        asked: u32,
        /// What there is room for.
        granted: u32,
        /// The GPUs of its pods, if they hold any and the Job is yet to be made.
        placement: Option<Box<Placement>>,
    },
}

/// The actions that a written state calls for.
pub fn actions(view: &View, state: &State) -> Vec<Action> {
    let (orders, keep) = (orders(view, state), kept_failures(view, state));
    let mut actions = Vec::new();
    let mut blocked = false;
    for job in view.jobs {
        let order = orders.iter().find(|o| o.name == job.name);
        if order.is_some() && !job.deleting {
            actions.extend(order.filter(|_| !room::is_queued(view, job)).and_then(|order| run(order, job)));
        } else if order.is_some() || !keep.contains(&job.name.as_str()) {
            // Its pods may still run and write; what replaces it waits until they are gone.
            blocked |= job.is_active();
            if !job.deleting {
                actions.push(Action::Delete { name: job.name.clone(), uid: job.uid.clone() });
            }
        }
    }
    if !blocked && !view.suspend {
        let missing = orders.into_iter().filter(|o| view.jobs.iter().all(|job| job.name != o.name));
        // A Job that was seen and is gone is not made again: the next step gives it up.
        actions.extend(missing.filter(|o| !was_seen(state, &o.name)).map(Action::Create));
    }
    actions
}

fn was_seen(state: &State, name: &str) -> bool {
    state.advance.job.as_deref() == Some(name) || state.stages.iter().any(|s| s.job.as_deref() == Some(name))
}

/// The Jobs that the state names as running.
fn orders(view: &View, state: &State) -> Vec<Order> {
    let mut orders = Vec::new();
    if state.advance.running {
        let attempt = state.advance.attempt;
        let name = advance_name(view.name, view.uid, attempt);
        // Digests take a while to compute, and only a Job that is yet to be made needs them.
        let is_there = view.jobs.iter().any(|job| job.name == name);
        let known = if is_there { Vec::new() } else { known(view, state) };
        orders.push(Order { name, attempt, work: Work::Advance { known } });
    }
    let mut free = room::free(view, state);
    for entry in &state.stages {
        let (Some(step), Some(digest), Some(list)) = (&entry.step, &entry.digest, &entry.list) else { continue };
        let Some(id) = steps_of(entry.name).find(|id| id.step == step) else { continue };
        let Some(name) = view.job_name(entry) else { continue };
        let waits_for_nodes = view.plan.wants_gpu(entry.name).is_none_or(|gpu| gpu.allow_scale_up);
        let job = view.jobs.iter().find(|job| job.name == name);
        let is_there = job.is_some();
        let placement = if is_there && waits_for_nodes { None } else { place(view, entry.name, entry.tasks) };
        let asked = view.plan.parallelism(entry.name, entry.tasks);
        let asked = placement.as_ref().map_or(asked, |p| asked.min(p.parallelism).max(1));
        let granted = room::grant(asked, job.map_or(0, |job| job.granted), &mut free);
        orders.push(Order {
            name,
            attempt: entry.attempt,
            work: Work::Step {
                step: id,
                digest: digest.clone(),
                list: list.clone(),
                tasks: entry.tasks,
                asked,
                granted,
                placement: placement.map(Box::new),
            },
        });
    }
    orders
}

/// The steps that a look need not report: those of stages that are sealed under the digest that counts now.
fn known(view: &View, state: &State) -> Vec<String> {
    let Some(inventory) = &state.inventory else { return Vec::new() };
    let Ok(root) = inventory.root.parse() else { return Vec::new() };
    let sentences = inventory.sentences.as_ref().and_then(|root| root.parse().ok());
    let recipes = view.plan.recipes(&root, sentences.as_ref());
    let counts = |stage: Stage| recipes.stage_digest(stage).map(|d| d.to_string());
    let sealed = state.stages.iter().filter(|s| s.state == StageState::Sealed && s.digest == counts(s.name));
    sealed.flat_map(|s| steps_of(s.name)).map(|id| id.to_string()).collect()
}

/// What brings a Job to what it should be, if somebody has changed it, or more or less may run now.
fn run(order: &Order, job: &SeenJob) -> Option<Action> {
    let (asked, granted) = match order.work {
        Work::Step { asked, granted, .. } => (asked, granted),
        Work::Advance { .. } => (job.parallelism, 1),
    };
    let is_right = job.parallelism == asked && job.granted == granted && !job.suspended;
    (job.is_active() && !is_right).then(|| Action::Run { name: job.name.clone(), uid: job.uid.clone(), asked, granted })
}

/// Failed Jobs stay for people to look at, but not for longer than this.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);

/// Failed Jobs that people may still want to look at: of each stage that is not sealed the last one, and the last look.
fn kept_failures<'j>(view: &'j View, state: &State) -> Vec<&'j str> {
    let look = advance_name(view.name, view.uid, state.advance.attempt);
    let is_old = |job: &SeenJob| job.ended_at.is_some_and(|at| view.now.duration_since(at) > KEPT_FOR);
    let failed = view.jobs.iter().filter(|j| matches!(j.phase, JobPhase::Failed(_)) && !j.deleting && !is_old(j));
    let wanted = |job: &&SeenJob| match &job.stage {
        None => !state.advance.running && job.name == look && state.advance.failures > 0,
        Some(stage) => state.stages.iter().any(|s| {
            s.name.name() == stage
                && s.state != StageState::Sealed
                && s.digest.as_deref() == Some(&job.digest)
                && s.job.as_deref() == Some(&job.name)
        }),
    };
    failed.filter(wanted).map(|j| j.name.as_str()).collect()
}
