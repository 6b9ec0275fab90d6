//! What a person may say of one shard: leave it out, or forget what was said of it.

use std::collections::BTreeSet;

use realsyn_plan::judge::Generations;
use realsyn_plan::layout::{ShardSpec, layout};
use realsyn_plan::records::{self, Commit, Effort, Outcome};
use realsyn_plan::{Digest, StepId};

use super::{Committed, Ledger, LedgerError, StepState};

/// Why nothing was done about a shard.
#[derive(Debug, thiserror::Error)]
pub enum ByHandError {
    /// The records could not be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Its shards follow from what is not sealed yet.
    #[error("{0} has no shards yet, because a step that it reads is not sealed; `realsyn plan` shows which")]
    NotReady(StepId),
    /// The number is not one of the step's.
    #[error("{step} has the shards 0 to {last}, so there is no shard {number}")]
    NoSuchShard {
        /// The step.
        step: StepId,
        /// The number asked for.
        number: u32,
        /// The highest number there is.
        last: u32,
    },
    /// To reject it would leave the step without any output.
    #[error(
        "shard {number} is the only one of {step}; without it there is nothing to go on with, so it cannot be rejected"
    )]
    OnlyShard {
        /// The step.
        step: StepId,
        /// Its shard.
        number: u32,
    },
    /// The first commit counts, and there is one.
    #[error("{step} shard {number} {}; `forget` it first, then reject it", told(.commit))]
    Committed {
        /// The step.
        step: StepId,
        /// The shard.
        number: u32,
        /// Its commit.
        commit: Box<Commit>,
    },
    /// There is nothing to forget.
    #[error(
        "{step} shard {number} has no commit that counts, so there is nothing to forget; it runs the next time anyway"
    )]
    NotCommitted {
        /// The step.
        step: StepId,
        /// The shard.
        number: u32,
    },
}

fn told(commit: &Commit) -> String {
    match &commit.outcome {
        Outcome::Data(_) => "is committed with its data".to_owned(),
        Outcome::Rejected { reason, .. } => format!("is rejected already ({reason})"),
    }
}

impl Ledger {
    /// Commits a shard that has no commit as rejected. `attempt` says who did it, and must be unique.
    ///
    /// # Errors
    /// As [`ByHandError`] says; above all, a shard that has a commit keeps it.
    pub fn reject(&self, state: &StepState, number: u32, reason: &str, attempt: &str) -> Result<(), ByHandError> {
        let step = state.step.id;
        let (spec, shards) = shard(state, number)?;
        if shards == 1 {
            return Err(ByHandError::OnlyShard { step, number });
        }
        let known = self.generations_of(step, &state.digests.1, &spec)?;
        let committed = |commit| ByHandError::Committed { step, number, commit };
        if let Some((commit, _)) = known.current() {
            return Err(committed(Box::new(commit.clone())));
        }
        let commit = Commit {
            step: step.to_string(),
            recipe: state.digests.1,
            key: spec.key,
            number,
            generation: known.generation(),
            attempt: attempt.to_owned(),
            outcome: Outcome::Rejected { reason: reason.to_owned(), detail: "rejected by hand".to_owned() },
            effort: Effort::default(),
        };
        match self.commit(step, &commit)? {
            Committed::Won => Ok(()),
            Committed::Lost(winner) => Err(committed(winner)),
        }
    }

    /// Voids the commit of a shard, sealed or not, so that it runs again. Returns what it was.
    ///
    /// # Errors
    /// As [`ByHandError`] says.
    pub fn forget_commit(&self, state: &StepState, number: u32, why: &str) -> Result<Commit, ByHandError> {
        let (step, digests) = (state.step.id, state.digests);
        let (spec, _) = shard(state, number)?;
        let known = self.generations_of(step, &digests.1, &spec)?;
        let Some((commit, _)) = known.current() else { return Err(ByHandError::NotCommitted { step, number }) };
        self.void(&records::commit_void_name(step, &digests.1, &spec.key, commit.generation), why)?;
        // Read after the commit is void: whoever listed commits before that writes this generation or an earlier one.
        let seal = self.seals(step, &digests.0)?.generation();
        self.void(&records::seal_void_name(step, &digests.0, seal), why)?;
        Ok(commit.clone())
    }

    fn generations_of(
        &self,
        step: StepId,
        recipe: &Digest,
        spec: &ShardSpec,
    ) -> Result<Generations<(Commit, Digest)>, LedgerError> {
        let wanted = BTreeSet::from([spec.key]);
        Ok(self.commits(step, recipe, &wanted)?.remove(&spec.key).unwrap_or_default())
    }
}

/// The shard of this number, and how many there are.
fn shard(state: &StepState, number: u32) -> Result<(ShardSpec, usize), ByHandError> {
    let step = state.step.id;
    let specs = layout(state.step, state.inventory, state.seals).ok_or(ByHandError::NotReady(step))?;
    let shards = specs.len();
    let last = (shards as u32).saturating_sub(1);
    let spec = specs.into_iter().nth(number as usize).ok_or(ByHandError::NoSuchShard { step, number, last })?;
    Ok((spec, shards))
}
