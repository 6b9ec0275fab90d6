//! What to do about a step, given what lies in the store. The controller's `advance` pod and the local run both ask
//! here, and carry out the answer.

use std::collections::BTreeMap;

use crate::layout::ShardSpec;
use crate::records::{Commit, Seal};
use crate::shuffle::PartitionTotals;
use crate::{Digest, StepId};

/// The records of one name over its generations.
#[derive(Clone, Debug)]
pub struct Generations<T> {
    /// Records by generation.
    pub records: BTreeMap<u32, T>,
    /// Generations that are void, whether or not a record was ever written there.
    pub void: std::collections::BTreeSet<u32>,
}

impl<T> Default for Generations<T> {
    fn default() -> Self {
        Self { records: BTreeMap::new(), void: Default::default() }
    }
}

impl<T> Generations<T> {
    /// The generation that counts, or that the next writer takes: the first that is not void.
    pub fn generation(&self) -> u32 {
        (0..).find(|g| !self.void.contains(g)).expect("void generations are finite")
    }

    /// The record that counts.
    pub fn current(&self) -> Option<&T> {
        self.records.get(&self.generation())
    }
}

/// A shard that has to run, and the generation that its commit takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The shard.
    pub spec: ShardSpec,
    /// The generation of its commit.
    pub generation: u32,
}

/// What a step needs next.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Its seal counts.
    Sealed(Box<Seal>),
    /// A seal is there, but was made from seals that no longer count: void this generation and ask again.
    VoidSeal(u32),
    /// These shards have no commit that counts.
    Run(Vec<Missing>),
    /// Everything is committed: write this seal, conditionally.
    Seal(Box<Seal>),
    /// Too many shards were rejected.
    TooManyRejected {
        /// By reason.
        rejected: BTreeMap<String, u64>,
        /// How many are allowed.
        allowed: u64,
    },
}

/// What is asked about.
pub struct Question<'a> {
    /// The step.
    pub step: StepId,
    /// Stage digest and recipe digest.
    pub digests: (Digest, Digest),
    /// The shards, from [`crate::layout::layout`].
    pub specs: &'a [ShardSpec],
    /// The roots of the seals that it reads, from [`crate::layout::made_from`].
    pub made_from: &'a BTreeMap<String, Digest>,
    /// The share of shards that may be rejected. At least one may, but never all: an empty step is no result.
    pub max_rejected_share: f64,
}

/// Judges a step's seals alone: `Some` if that is enough to decide. Read them *before* the commits, so that a seal
/// voided in between cannot be written again from commits that were voided with it.
pub fn judge_seal(q: &Question, seals: &Generations<Seal>) -> Option<Verdict> {
    let seal = seals.current()?;
    Some(if seal.made_from == *q.made_from {
        Verdict::Sealed(Box::new(seal.clone()))
    } else {
        Verdict::VoidSeal(seals.generation())
    })
}

/// The commits that count, one for each shard in order, or the shards that have none. `commits` gives the generations of a
/// key.
///
/// # Errors
/// What has to run.
pub fn complete<'a>(
    q: &Question,
    commits: impl Fn(&Digest) -> Option<&'a Generations<(Commit, Digest)>>,
) -> Result<Vec<(Commit, Digest)>, Vec<Missing>> {
    let mut missing = Vec::new();
    let mut found = Vec::with_capacity(q.specs.len());
    for spec in q.specs {
        let generations = commits(&spec.key);
        match generations.and_then(Generations::current) {
            Some(commit) => found.push(commit.clone()),
            None => {
                missing.push(Missing { spec: spec.clone(), generation: generations.map_or(0, Generations::generation) })
            }
        }
    }
    if missing.is_empty() { Ok(found) } else { Err(missing) }
}

/// Judges a step that is [`complete`] and has no seal. `seal_generation` was read before the commits were listed; `totals` sums
/// the indices of their shuffled objects.
pub fn judge_complete(
    q: &Question,
    seal_generation: u32,
    commits: &[(Commit, Digest)],
    totals: PartitionTotals,
) -> Verdict {
    let seal = Seal::new(q.step, q.digests, seal_generation, q.made_from.clone(), commits, totals);
    let shards = q.specs.len() as u64;
    let allowed = ((shards as f64 * q.max_rejected_share) as u64).max(1).min(shards.saturating_sub(1));
    if seal.rejected.values().sum::<u64>() > allowed {
        return Verdict::TooManyRejected { rejected: seal.rejected, allowed };
    }
    Verdict::Seal(Box::new(seal))
}
