//! Clean-up: removes what no reference names, through one tombstone at a time.
//!
//! Any number of collectors may run at once, and each may be killed anywhere: what one has begun another finishes. When
//! a tombstone may be judged depends on clocks; what its verdict may be depends on references and seals alone.

#[cfg(test)]
mod simulation;
mod survey;
#[cfg(test)]
mod tests;

use realsyn_plan::graph::{BUILD, RELEASE};
use realsyn_plan::records::{TombstonePart, tombstone_name};

pub use survey::{StageTotals, Totals};

use super::tombstone::{Decision, Tombstone};
use super::{Ledger, LedgerError, Use};
use crate::store::StoreExt;

/// How to clean up.
#[derive(Clone, Copy, Debug)]
pub struct Cleaning {
    /// Only tell what would be done.
    pub dry_run: bool,
    /// Seconds between a tombstone and its verdict.
    pub age: u64,
    /// Seconds since 1970, now.
    pub now: u64,
}

/// A tombstone that waits for its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Its number.
    pub number: u32,
    /// Seconds until it may be judged; 0 when the next clean-up will.
    pub wait: u64,
    /// How many seals, commits and objects it lists.
    pub counts: [usize; 3],
    /// And how many bytes.
    pub bytes: u64,
}

/// A tombstone that was settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Its number.
    pub number: u32,
    /// Who needs what it lists, if it was kept.
    pub kept: Option<String>,
    /// How many seals, commits and objects it lists.
    pub counts: [usize; 3],
    /// And how many bytes.
    pub bytes: u64,
}

/// What was done, and what there is.
#[derive(Clone, Debug, Default)]
pub struct Cleaned {
    /// Tombstones that this clean-up settled: judged, or finished where another had judged.
    pub settled: Vec<Settlement>,
    /// The tombstone that waits, if there is one.
    pub open: Option<Open>,
    /// Everything that references name.
    pub uses: Vec<Use>,
    /// What goes and what stays, by stage in graph order.
    pub stages: Vec<StageTotals>,
}

impl Ledger {
    /// Finishes what was decided, judges the open tombstone if it is old enough, and lists in a new one what no
    /// reference names. With an age of zero it goes on until nothing is left.
    pub fn clean(&self, how: &Cleaning) -> Result<Cleaned, LedgerError> {
        let mut done = Cleaned::default();
        let mut opened = None;
        loop {
            done.open = self.settle(how, &mut done.settled)?;
            // The number is taken before anything is looked at: if another tombstone comes to an end meanwhile, what was
            // seen is old, and so is the number.
            let number = self.next_tombstone()?;
            done.uses = self.uses()?;
            let (tombstone, stages) = self.survey(&done.uses, how.now)?;
            done.stages = stages;
            // Somebody came to need what this run had listed: it is not for it to race against that.
            let was_kept = done.settled.iter().any(|s| Some(s.number) == opened && s.kept.is_some());
            if done.open.is_some() || tombstone.is_empty() || how.dry_run || was_kept {
                return Ok(done);
            }
            let Some(number) = number else { continue };
            done.open = self.write_tombstone(how, number, &tombstone)?;
            if how.age > 0 {
                return Ok(done);
            }
            opened = done.open.as_ref().map(|open| open.number);
        }
    }

    /// Brings every tombstone as far as it can be brought; returns the one that still waits.
    fn settle(&self, how: &Cleaning, settled: &mut Vec<Settlement>) -> Result<Option<Open>, LedgerError> {
        let mut open = None;
        for (number, parts) in self.tombstones()? {
            if parts.contains(&TombstonePart::Done) {
                continue;
            }
            let tombstone = self.tombstone(number)?;
            let (counts, bytes) = (tombstone.counts(), tombstone.bytes);
            let judged = match self.verdict(number)? {
                Some(judged) => judged,
                None => {
                    // A clock that is behind the writer's makes it wait, never the reverse.
                    let wait = how.age.saturating_sub(how.now.saturating_sub(tombstone.written));
                    if wait > 0 || how.dry_run {
                        open = Some(Open { number, wait, counts, bytes });
                        continue;
                    }
                    match self.needed(&tombstone)? {
                        Some(why) => self.decide(number, Decision::Keep, why)?,
                        None => self.decide(number, Decision::Delete, "nothing needs it".into())?,
                    }
                }
            };
            if how.dry_run {
                open = Some(Open { number, wait: 0, counts, bytes });
                continue;
            }
            let kept = match judged.decision {
                Decision::Keep => {
                    self.mark(number, TombstonePart::Done)?;
                    Some(judged.why)
                }
                Decision::Delete => {
                    if !parts.contains(&TombstonePart::Closed) {
                        self.close(number, &tombstone)?;
                    }
                    self.bury(number, &tombstone)?;
                    None
                }
            };
            settled.push(Settlement { number, kept, counts, bytes });
        }
        Ok(open)
    }

    /// Who needs something that a tombstone lists. References are read before seals: what changes later is seen by
    /// whoever changes it, who looks at the tombstone afterwards.
    fn needed(&self, tombstone: &Tombstone) -> Result<Option<String>, LedgerError> {
        for used in self.uses()? {
            if let Some(why) = self.needs(&used.recipes, tombstone)? {
                return Ok(Some(format!("{} {}: {why}", used.kind, used.owner)));
            }
        }
        // A pod of a deleted build may have voided such a seal after it was listed, and be about to write the next one
        // over commits that go. If it comes to that only after this look, it finds the tombstone itself.
        for step in BUILD.iter().chain(RELEASE) {
            for (digest, generation) in tombstone.seals.get(&step.id.to_string()).into_iter().flatten() {
                if self.seal_names(step.id, digest)?.generation() > *generation {
                    return Ok(Some(format!("the seal of {} {} moved on", step.id, digest.short())));
                }
            }
        }
        Ok(None)
    }

    /// The number of the next tombstone; `None` while the last one is not closed.
    fn next_tombstone(&self) -> Result<Option<u32>, LedgerError> {
        Ok(match self.tombstones()?.last_key_value() {
            Some((number, parts)) => parts.iter().any(|part| *part >= TombstonePart::Closed).then_some(number + 1),
            None => Some(0),
        })
    }

    /// Writes a tombstone, or finds the one that another collector wrote first.
    fn write_tombstone(&self, how: &Cleaning, number: u32, tombstone: &Tombstone) -> Result<Option<Open>, LedgerError> {
        let name = tombstone_name(number, TombstonePart::Listed);
        self.store().put_new_settled(&name, &serde_json::to_vec(tombstone).expect("plain data"))?;
        let written = self.tombstone(number)?;
        let wait = how.age.saturating_sub(how.now.saturating_sub(written.written));
        Ok(Some(Open { number, wait, counts: written.counts(), bytes: written.bytes }))
    }
}
