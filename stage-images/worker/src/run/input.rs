//! What one shard of a step reads. Every read goes through the seals of the steps before it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use half::f16;
use realsyn_dataset::formats::parquet::Limits;
use realsyn_dataset::formats::{Row, npy, table};
use realsyn_dataset::protocol::LedgerError;
use realsyn_plan::graph::{Read, Step};
use realsyn_plan::layout::ShardSpec;
use realsyn_plan::records::{Commit, Object};
use realsyn_plan::{Digest, StepId};

use super::{Run, StageError};

/// A shard being processed.
pub struct Job<'a> {
    /// The run it belongs to.
    pub run: &'a Run,
    /// Its step.
    pub step: &'static Step,
    /// Its number, key and group.
    pub spec: ShardSpec,
    ahead: HashMap<(String, u64), Bytes>,
    read: AtomicU64,
}

impl<'a> Job<'a> {
    /// A shard before anything is read.
    pub fn new(run: &'a Run, step: &'static Step, spec: ShardSpec) -> Self {
        Self { run, step, spec, ahead: HashMap::new(), read: AtomicU64::new(0) }
    }

    /// Reads what the shard is declared to read by number or partition, so that computing need not wait for it.
    /// Groups and whole steps are streamed instead: they may be larger than memory.
    pub fn read_ahead(&mut self) -> Result<(), StageError> {
        let mut ahead = HashMap::new();
        for read in self.step.reads {
            match *read {
                Read::Shard(from) => {
                    let commit = self.run.commit(from, self.spec.number)?;
                    for object in commit.data().iter().flat_map(|d| &d.objects) {
                        ahead.insert((object.name.clone(), 0), self.fetch(from, self.spec.number, object)?);
                    }
                }
                Read::Partition(from, role) => {
                    for part in self.parts(from, role)? {
                        let bytes = self.fetch_part(&part)?;
                        ahead.insert((part.name, part.offset), bytes);
                    }
                }
                Read::Source | Read::Group(_) | Read::Whole(_) => {}
            }
        }
        self.ahead = ahead;
        Ok(())
    }

    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Rows of a table of the same-numbered shard; none if that shard was rejected.
    pub fn shard<T: Row>(&self, from: StepId, role: &str) -> Result<Vec<T>, StageError> {
        self.table_of(from, self.spec.number, role)
    }

    /// An object of the same-numbered shard; `None` if that shard was rejected.
    pub fn shard_object(&self, from: StepId, role: &str) -> Result<Option<Bytes>, StageError> {
        self.object_of(from, self.spec.number, role)
    }

    /// Vectors of the same-numbered shard: `[n, d]`, row-major; empty if that shard was rejected.
    pub fn shard_vectors(&self, from: StepId, role: &str) -> Result<(Vec<f16>, usize), StageError> {
        self.vectors_of(from, self.spec.number, role)
    }

    /// Rows of any shard of a step that is read whole, or of a group's.
    pub fn table_of<T: Row>(&self, from: StepId, number: u32, role: &str) -> Result<Vec<T>, StageError> {
        let Some(bytes) = self.object_of(from, number, role)? else { return Ok(Vec::new()) };
        table::read_table(bytes, &Limits::default()).map_err(|e| unreadable(from, number, role, &e))
    }

    /// Vectors of any shard.
    pub fn vectors_of(&self, from: StepId, number: u32, role: &str) -> Result<(Vec<f16>, usize), StageError> {
        let Some(bytes) = self.object_of(from, number, role)? else { return Ok((Vec::new(), 0)) };
        let array = npy::read_npy(&bytes).map_err(|e| unreadable(from, number, role, &e))?;
        Ok((array.values, array.dim))
    }

    /// An object of any shard.
    pub fn object_of(&self, from: StepId, number: u32, role: &str) -> Result<Option<Bytes>, StageError> {
        let commit = self.run.commit(from, number)?;
        let Some(object) = object_named(&commit, role) else { return Ok(None) };
        if let Some(bytes) = self.ahead.get(&(object.name.clone(), 0)) {
            return Ok(Some(bytes.clone()));
        }
        Ok(Some(self.fetch(from, number, object)?))
    }

    /// A byte range of an object of any shard, unverified: for members of tar files.
    pub fn range_of(
        &self,
        from: StepId,
        number: u32,
        role: &str,
        range: std::ops::Range<u64>,
    ) -> Result<Option<Vec<u8>>, StageError> {
        let commit = self.run.commit(from, number)?;
        let Some(object) = object_named(&commit, role) else { return Ok(None) };
        self.read.fetch_add(range.end - range.start, Ordering::Relaxed);
        Ok(Some(self.run.store().get_range(&object.name, range)?))
    }

    /// Numbers of the shards in this group.
    pub fn group(&self) -> std::ops::Range<u32> {
        self.spec.group.clone()
    }

    /// Numbers of all shards of a step.
    pub fn numbers(&self, from: StepId) -> std::ops::Range<u32> {
        0..self.run.seals[&from].shards.len() as u32
    }

    /// Rows of this shard's partition of a shuffled role, in order of the shards that wrote them.
    pub fn partition<T: Row>(&self, from: StepId, role: &str) -> Result<Vec<T>, StageError> {
        let mut rows = Vec::new();
        for part in self.parts(from, role)? {
            let bytes = match self.ahead.get(&(part.name.clone(), part.offset)) {
                Some(bytes) => bytes.clone(),
                None => self.fetch_part(&part)?,
            };
            rows.extend(
                table::read_table::<T>(bytes, &Limits::default())
                    .map_err(|e| unreadable(from, part.number, role, &e))?,
            );
        }
        Ok(rows)
    }

    fn parts(&self, from: StepId, role: &str) -> Result<Vec<PartAt>, StageError> {
        let mut parts = Vec::new();
        for number in self.numbers(from) {
            let commit = self.run.commit(from, number)?;
            let Some(object) = object_named(&commit, role) else { continue };
            let index = object.parts.as_deref().unwrap_or_default();
            if let Ok(at) = index.binary_search_by_key(&self.spec.number, |p| p.partition) {
                let part = &index[at];
                parts.push(PartAt {
                    step: from,
                    number,
                    name: object.name.clone(),
                    offset: part.offset,
                    bytes: part.bytes,
                    hash: part.hash,
                });
            }
        }
        Ok(parts)
    }

    fn fetch(&self, step: StepId, number: u32, object: &Object) -> Result<Bytes, StageError> {
        let gone = |how| LedgerError::Gone { step, number, what: object.role.clone(), how };
        let bytes = self.run.store().get(&object.name)?.ok_or_else(|| gone("missing"))?;
        self.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if Digest::of_bytes(&bytes) != object.hash {
            return Err(gone("not what was committed").into());
        }
        Ok(bytes.into())
    }

    fn fetch_part(&self, part: &PartAt) -> Result<Bytes, StageError> {
        let bytes = self.run.store().get_range(&part.name, part.offset..part.offset + part.bytes)?;
        self.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if Digest::of_bytes(&bytes) != part.hash {
            let how = "not what was committed";
            return Err(
                LedgerError::Gone { step: part.step, number: part.number, what: "a partition".into(), how }.into()
            );
        }
        Ok(bytes.into())
    }
}

struct PartAt {
    step: StepId,
    number: u32,
    name: String,
    offset: u64,
    bytes: u64,
    hash: Digest,
}

fn object_named<'c>(commit: &'c Commit, role: &str) -> Option<&'c Object> {
    commit.data()?.objects.iter().find(|o| o.role == role)
}

/// Bytes that passed their hash and still cannot be read were written by another version of this program.
fn unreadable(step: StepId, number: u32, role: &str, error: &dyn std::fmt::Display) -> StageError {
    StageError::Settings(format!(
        "{role} of {step} shard {number} cannot be read ({error}): it was written by another version of this program; \
         use that version, or `forget` the shard"
    ))
}
