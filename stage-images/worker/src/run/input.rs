//! What one shard of a step reads. Every read goes through the seals of the steps before it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use half::f16;
use realsyn_crds::{Engine, device};
use realsyn_dataset::formats::parquet::Limits;
use realsyn_dataset::formats::{Row, npy, table};
use realsyn_dataset::store::{AT_ONCE, at_once};
use realsyn_plan::StepId;
use realsyn_plan::graph::{Read, Step};
use realsyn_plan::layout::ShardSpec;
use realsyn_plan::records::{Commit, Object};
use realsyn_vectors::Kernel;

use super::{Run, StageError};

/// A shard being processed.
pub struct Job<'a> {
    /// The run it belongs to.
    pub run: &'a Run,
    /// Its step.
    pub step: &'static Step,
    /// Its number, key and group.
    pub spec: ShardSpec,
    /// What was read ahead: objects by name, and partitions by step and role.
    ahead: HashMap<String, Bytes>,
    files_ahead: HashMap<(StepId, &'static str), Vec<PartitionFile>>,
    /// What was read ahead of steps that are streamed: by step and role, the objects by shard number.
    windows: Mutex<HashMap<(StepId, String), Window>>,
    read: AtomicU64,
}

/// Objects by shard number; `None` for a shard that has none.
type Window = BTreeMap<u32, Option<Bytes>>;

/// Bytes that are read ahead of one streamed step and role; one object may be larger.
const WINDOW: u64 = 32 << 20;

/// Products that a core computes in less time than it takes to send vectors to a GPU and to hear of it again: about 50 microseconds.
const WORTH_A_GPU: usize = 1 << 20;

impl<'a> Job<'a> {
    /// A shard before anything is read.
    pub fn new(run: &'a Run, step: &'static Step, spec: ShardSpec) -> Self {
        Self {
            run,
            step,
            spec,
            ahead: HashMap::new(),
            files_ahead: HashMap::new(),
            windows: Mutex::default(),
            read: AtomicU64::new(0),
        }
    }

    /// What computes so many products of vectors' values: GPUs, where the stage's settings say so and there is enough for them
    /// to do. The results are the same.
    pub fn kernel(&self, products: usize) -> Kernel {
        let cuda = device(&self.run.build, self.step.id.stage).is_some_and(|device| device.engine == Engine::Cuda);
        if cuda && products >= WORTH_A_GPU { Kernel::Cuda } else { Kernel::best() }
    }

    /// Reads what the shard is declared to read by number or partition, so that computing need not wait for it.
    /// Groups and whole steps are streamed instead: they may be larger than memory.
    pub fn read_ahead(&mut self) -> Result<(), StageError> {
        let (mut ahead, mut files_ahead) = (HashMap::new(), HashMap::new());
        for read in self.step.reads {
            match *read {
                Read::Shard(from) => {
                    let commit = self.run.commit(from, self.spec.number)?;
                    let objects: Vec<&Object> = commit.data().iter().flat_map(|d| &d.objects).collect();
                    let read = at_once(objects.len(), |n| self.fetch(from, self.spec.number, objects[n]))?;
                    ahead.extend(objects.iter().map(|o| o.name.clone()).zip(read));
                }
                Read::Partition(from, role) => _ = files_ahead.insert((from, role), self.partition_files(from, role)?),
                Read::Source | Read::Group(_) | Read::Whole(_) => {}
            }
        }
        (self.ahead, self.files_ahead) = (ahead, files_ahead);
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
        if let Some(end) = self.stream_end(from) {
            return self.streamed(from, number..end, role);
        }
        let commit = self.run.commit(from, number)?;
        let Some(object) = object_named(&commit, role) else { return Ok(None) };
        if let Some(bytes) = self.ahead.get(&object.name) {
            return Ok(Some(bytes.clone()));
        }
        Ok(Some(self.fetch(from, number, object)?))
    }

    /// Where the shards of a step end that this one reads in order, from first to last; `None` for other steps.
    fn stream_end(&self, from: StepId) -> Option<u32> {
        self.step.reads.iter().find_map(|read| match *read {
            Read::Group(step) if step == from => Some(self.spec.group.end),
            Read::Whole(step) if step == from => Some(self.numbers(from).end),
            _ => None,
        })
    }

    /// The object of the first of these shards. What follows it is read with it, many requests at once, as far as a window
    /// holds it.
    fn streamed(&self, from: StepId, numbers: Range<u32>, role: &str) -> Result<Option<Bytes>, StageError> {
        let (first, window) = (numbers.start, (from, role.to_owned()));
        let ahead = |windows: &mut HashMap<_, Window>| windows.get_mut(&window)?.remove(&first);
        if let Some(bytes) = ahead(&mut self.windows.lock().expect("no holder panics")) {
            return Ok(bytes);
        }
        let numbers: Vec<u32> = numbers.take(AT_ONCE).collect();
        let commits = at_once(numbers.len(), |n| Ok::<_, StageError>(self.run.commit(from, numbers[n]).ok()))?;
        let named = |n: usize| object_named(commits[n].as_ref()?, role);
        let mut room = WINDOW;
        let fits = |n: &usize| {
            let bytes = named(*n).map_or(0, |object| object.bytes);
            let fits = *n == 0 || bytes <= room;
            room = room.saturating_sub(bytes);
            fits
        };
        let count = (0..numbers.len()).take_while(fits).count();
        // What cannot be read is told when it is its turn.
        let read = at_once(count, |n| {
            let read =
                |commit| object_named(commit, role).map(|object| self.fetch(from, numbers[n], object)).transpose();
            Ok::<_, StageError>(commits[n].as_ref().and_then(|commit| read(commit).ok()))
        })?;
        let mut read: Window = numbers.iter().zip(read).filter_map(|(number, bytes)| Some((*number, bytes?))).collect();
        let own = read.remove(&first);
        self.windows.lock().expect("no holder panics").insert(window, read);
        if let Some(own) = own {
            return Ok(own);
        }
        let commit = self.run.commit(from, first)?;
        object_named(&commit, role).map(|object| self.fetch(from, first, object)).transpose()
    }

    /// A byte range of an object of any shard, unverified: for members of tar files.
    pub fn range_of(
        &self,
        from: StepId,
        number: u32,
        role: &str,
        range: Range<u64>,
    ) -> Result<Option<Vec<u8>>, StageError> {
        let commit = self.run.commit(from, number)?;
        let Some(object) = object_named(&commit, role) else { return Ok(None) };
        self.read.fetch_add(range.end - range.start, Ordering::Relaxed);
        Ok(Some(self.run.store().get_range(&object.name, range)?))
    }

    /// Numbers of the shards in this group.
    pub fn group(&self) -> Range<u32> {
        self.spec.group.clone()
    }

    /// Numbers of all shards of a step.
    pub fn numbers(&self, from: StepId) -> Range<u32> {
        0..self.run.seals[&from].shards.len() as u32
    }

    /// Rows of this shard's partition of a shuffled role, or of its run of partitions, in order of the shards that wrote
    /// them.
    pub fn partition<T: Row>(&self, from: StepId, role: &'static str) -> Result<Vec<T>, StageError> {
        let files = match self.files_ahead.get(&(from, role)) {
            Some(files) => files.clone(),
            None => self.partition_files(from, role)?,
        };
        let mut rows = Vec::new();
        for PartitionFile { number, bytes } in files {
            let read = table::read_table::<T>(bytes, &Limits::default());
            rows.extend(read.map_err(|e| unreadable(from, number, role, &e))?);
        }
        Ok(rows)
    }

    /// The files of this shard's partitions, of each writer.
    fn partition_files(&self, from: StepId, role: &str) -> Result<Vec<PartitionFile>, StageError> {
        let numbers = self.numbers(from);
        let read = at_once(numbers.len(), |n| {
            let number = n as u32;
            let commit = self.run.commit(from, number)?;
            let Some(object) = object_named(&commit, role) else { return Ok(Vec::new()) };
            let read = self.run.ledger.partitions(from, number, object, self.spec.group.clone())?;
            self.read.fetch_add(read.bytes_read, Ordering::Relaxed);
            Ok::<_, StageError>(read.files.into_iter().map(|bytes| PartitionFile { number, bytes }).collect())
        })?;
        Ok(read.into_iter().flatten().collect())
    }

    fn fetch(&self, step: StepId, number: u32, object: &Object) -> Result<Bytes, StageError> {
        let bytes = self.run.ledger.object(step, number, object)?;
        self.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// A partition's file, by the shard that wrote it.
#[derive(Clone)]
struct PartitionFile {
    number: u32,
    bytes: Bytes,
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
