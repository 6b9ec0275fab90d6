//! The heart: from what was wanted, what was known and what is seen, to what is known now and what is to be done.
//!
//! Pure. [`step`] folds what is seen into the state; the state is written to the object's status; only then does
//! [`actions`] say what to do, from nothing but the written state and what is seen. So a crash between any two writes
//! loses nothing: whoever comes next reads the same state and derives the same actions.

mod actions;
mod budget;
mod conditions;
mod fold;
mod jobs;
mod place;
mod room;
mod seen;
mod sharing;
#[cfg(test)]
mod simulation;
mod start;
mod stragglers;
mod summary;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use realsyn_crds::{
    AdvanceStatus, Condition, PinnedInventory, Stage, StageState, StageStatus, WorkStatus, WorkSummary,
};
use realsyn_objects::server;
use realsyn_plan::placement::Inventory;
use realsyn_plan::report::Complete;

pub use actions::{Action, Order, Work, actions};
pub use conditions::set_condition;
pub use seen::{Ended, JobPhase, SeenJob, SeenPod};
pub use sharing::Neighbour;

use crate::plan::Plan;
use crate::text::sentence;

/// Between two looks at whom a stage waits for.
const NEIGHBOURS: SignedDuration = SignedDuration::from_secs(10);
/// The longest wait between two tries.
const LONGEST: i64 = 600;
/// Failures in a row after which a person is called.
const STALLED_AFTER: u32 = 2;

/// What is wanted and what is seen.
pub struct View<'a> {
    /// The object's UID: part of the name of each of its Jobs.
    pub uid: &'a str,
    /// The object's name.
    pub name: &'a str,
    /// The generation of its spec.
    pub generation: i64,
    /// What its spec asks for.
    pub plan: &'a Plan,
    /// Whether nothing may run.
    pub suspend: bool,
    /// The token of the retry annotation.
    pub retry: Option<&'a str>,
    /// The worker image that a new generation takes.
    pub worker_image: &'a str,
    /// The language model's server: its image, for a new generation, and how long it may take to start.
    pub server: &'a server::Settings,
    /// The hash of the build whose sentences it takes, as that is now.
    pub sentences: Option<&'a str>,
    /// Pods that the namespace has room for.
    pub room: u32,
    /// Its Jobs.
    pub jobs: &'a [SeenJob],
    /// What older objects below the same root are at work on.
    pub neighbours: &'a [Neighbour],
    /// What the last try to change something failed with.
    pub trouble: Option<&'a Trouble>,
    /// The GPUs of the cluster.
    pub inventory: &'a Inventory,
    /// Looked at for waits between tries, and for the times of transitions.
    pub now: Timestamp,
}

/// A change that the API server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// In words.
    pub message: String,
    /// Whether it will be refused again until a person acts.
    pub permanent: bool,
}

/// What is known of an object: the part of its status that both kinds share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The generation that this is about.
    pub generation: Option<i64>,
    /// The conditions.
    pub conditions: Vec<Condition>,
    /// How far it is, in one line.
    pub progress: Option<String>,
    /// The same in columns.
    pub summary: Option<WorkSummary>,
    /// What was listed.
    pub inventory: Option<PinnedInventory>,
    /// The worker image of this generation.
    pub worker_image: Option<String>,
    /// The image of the language model's server in this generation, if it has one.
    pub server_image: Option<String>,
    /// The hash of the build whose sentences are used.
    pub sentences: Option<String>,
    /// Stages that have begun, in graph order.
    pub stages: Vec<StageStatus>,
    /// The looks at the store.
    pub advance: AdvanceStatus,
    /// The retry token that was acted on.
    pub retried: Option<String>,
    /// Whether this generation has reached what was asked for.
    pub finished: bool,
    /// What came of it, in the very step that learned of it.
    pub complete: Option<Complete>,
}

impl State {
    /// What an object's status says of it.
    pub fn of(work: &WorkStatus, finished: bool) -> Self {
        let WorkStatus {
            observed_generation: generation,
            conditions,
            progress,
            summary,
            inventory,
            worker_image,
            server_image,
            sentences,
            stages,
            advance,
            retried,
        } = work.clone();
        let advance = advance.unwrap_or_default();
        Self {
            generation,
            conditions,
            progress,
            summary,
            inventory,
            worker_image,
            server_image,
            sentences,
            stages,
            advance,
            retried,
            finished,
            complete: None,
        }
    }

    /// What is written of it into an object's status.
    pub fn status(&self) -> WorkStatus {
        WorkStatus {
            observed_generation: self.generation,
            conditions: self.conditions.clone(),
            progress: self.progress.clone(),
            summary: self.summary.clone(),
            inventory: self.inventory.clone(),
            worker_image: self.worker_image.clone(),
            server_image: self.server_image.clone(),
            sentences: self.sentences.clone(),
            stages: self.stages.clone(),
            advance: Some(self.advance.clone()),
            retried: self.retried.clone(),
        }
    }

    /// The images of a stage's pods in this generation.
    pub fn images(&self, plan: &Plan, stage: Stage) -> String {
        let server = self.server_image.iter().filter(|_| server::is_wanted(plan, stage));
        let all: Vec<&str> = self.worker_image.iter().chain(server).map(String::as_str).collect();
        all.join(" ")
    }

    /// The entry of a stage.
    pub fn stage(&self, stage: Stage) -> Option<&StageStatus> {
        self.stages.iter().find(|s| s.name == stage)
    }

    /// The entry of a stage, made if there is none.
    fn entry(&mut self, stage: Stage) -> &mut StageStatus {
        let at = match self.stages.binary_search_by_key(&stage, |s| s.name) {
            Ok(at) => at,
            Err(at) => {
                self.stages.insert(at, StageStatus::waiting(stage));
                at
            }
        };
        &mut self.stages[at]
    }

    fn is_sealed(&self, stage: Stage) -> bool {
        self.stage(stage).is_some_and(|s| s.state == StageState::Sealed)
    }

    /// When something is to be looked at again without having been told: a wait is over, a budget may be spent, a
    /// neighbour done, a task becomes slow, a pod holds GPUs for too long without starting, or there is room for more.
    pub fn wake_at(&self, view: &View) -> Option<Timestamp> {
        let spends = view.plan.build.budget.is_some()
            && self.stages.iter().any(|s| s.step.is_some() && view.plan.wants_gpu(s.name).is_some());
        let minute = spends.then(|| view.now + SignedDuration::from_mins(1));
        let held = self.stages.iter().any(sharing::is_held).then(|| view.now + NEIGHBOURS);
        let slow = stragglers::next(view, self);
        let starts = start::next(view, self);
        let room = room::next(view, self);
        self.wait_ends().into_iter().chain(minute).chain(held).chain(slow).chain(starts).chain(room).min()
    }

    fn wait_ends(&self) -> Option<Timestamp> {
        let waits = self.stages.iter().filter_map(|s| s.retry_at.as_deref()).chain(self.advance.retry_at.as_deref());
        waits.filter_map(|at| at.parse().ok()).min()
    }
}

/// Folds what is seen into the state. At a fixpoint it returns what it was given.
pub fn step(view: &View, mut state: State) -> State {
    state.stages.sort_by_key(|s| s.name);
    let others = state.sentences.as_deref() != view.sentences;
    if state.generation != Some(view.generation) || state.worker_image.is_none() || others {
        begin_generation(view, &mut state);
    }
    if view.retry.is_some_and(|token| state.retried.as_deref() != Some(token)) {
        state.retried = view.retry.map(|token| sentence(token, 63));
        // A person may have corrected an image that no node can pull.
        if state.stage(Stage::Generate).is_none_or(|entry| entry.step.is_none()) {
            state.server_image = None;
        }
        forget_failures(&mut state);
        // A person may know that the store has lost something; a release is what it is.
        state.finished &= view.plan.release.is_some();
        state.advance.due |= !state.finished;
    }
    if state.server_image.is_none() && server::is_wanted(view.plan, Stage::Generate) {
        state.server_image = Some(view.server.image.clone());
    }
    let spent = |state: &State| !state.finished && budget::exceeded(view, state).is_some();
    let halts = view.suspend || spent(&state);
    if !halts && !state.finished {
        jobs::look_at_workers(view, &mut state);
        jobs::look_at_advance(view, &mut state);
        end_waits(view, &mut state);
        sharing::look_at_neighbours(view, &mut state);
        room::say(view, &mut state);
    }
    // What was just learned may be that nothing is left to spend.
    if halts || spent(&state) {
        budget::account_for(view, &mut state, |_| true);
        suspend(&mut state);
    } else if !state.finished {
        let look = &mut state.advance;
        if look.due && !look.running && look.retry_at.is_none() {
            look.attempt += 1;
            look.running = true;
            look.job = None;
            look.due = false;
        }
    }
    stragglers::name(view, &mut state);
    conditions::describe(view, &mut state);
    state
}

/// Everything is looked at again; what is sealed and what runs is kept until its digest is known to be another.
fn begin_generation(view: &View, state: &mut State) {
    state.generation = Some(view.generation);
    state.worker_image = Some(view.worker_image.to_owned());
    state.server_image = None;
    state.sentences = view.sentences.map(str::to_owned);
    state.inventory = None;
    state.finished = false;
    forget_failures(state);
    // A look that was begun under the old spec tells of the old spec.
    state.advance.running = false;
    state.advance.job = None;
    state.advance.due = true;
    // The new spec may ask for less.
    state.advance.stored_bytes = 0;
}

fn forget_failures(state: &mut State) {
    for stage in &mut state.stages {
        if stage.failures > 0 || stage.retry_at.is_some() || stage.state == StageState::Stalled {
            stage.failures = 0;
            stage.retry_at = None;
            stage.waits_for = None;
            if stage.state == StageState::Stalled {
                stage.state = StageState::Running;
            }
        }
    }
    let look = &mut state.advance;
    (look.failures, look.retry_at, look.stalled, look.waits_for) = (0, None, None, None);
}

/// Every Job is given up: what was committed stays in the store, and the next look finds it.
fn suspend(state: &mut State) {
    for stage in state.stages.iter_mut().filter(|s| s.state != StageState::Sealed) {
        give_up(stage);
        stage.state = StageState::Waiting;
        stage.waits_for = None;
    }
    let look = &mut state.advance;
    (look.running, look.job, look.waits_for) = (false, None, None);
    look.due = !state.finished;
}

/// The attempt that runs, if one does, no longer counts, and says nothing of the next.
fn give_up(stage: &mut StageStatus) {
    (stage.step, stage.job, stage.list) = (None, None, None);
    (stage.tasks, stage.tasks_done) = (0, 0);
}

fn end_waits(view: &View, state: &mut State) {
    let over = |at: &Option<String>| at.as_ref().is_some_and(|at| at.parse().map_or(true, |at| view.now >= at));
    for stage in &mut state.stages {
        if over(&stage.retry_at) {
            stage.retry_at = None;
            // A look at work began after the failure, or another has been due since.
            state.advance.due |= !state.advance.running;
        }
    }
    if over(&state.advance.retry_at) {
        state.advance.retry_at = None;
    }
}

/// When to try again after so many failures in a row: ten seconds, doubling up to ten minutes.
fn again(now: Timestamp, failures: u32) -> Option<String> {
    let seconds = 10i64.checked_shl(failures.saturating_sub(1).min(10)).unwrap_or(LONGEST).min(LONGEST);
    now.checked_add(SignedDuration::from_secs(seconds)).ok().map(|at| at.to_string())
}
