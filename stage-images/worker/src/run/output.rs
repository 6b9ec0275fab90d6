//! What one shard of a step writes: tables, vectors, media, shuffled tables, counts and histograms.

use std::collections::BTreeMap;

use half::f16;
use realsyn_dataset::formats::{Row, npy, table};
use realsyn_dataset::store::StoreError;
use realsyn_plan::records::{Counts, Data, Histogram, Object, object_name};
use realsyn_plan::shuffle::{ENTRY, Extent, index};
use realsyn_plan::{Digest, StepId};

use super::{Run, StageError};

/// Collects a shard's output in memory; nothing is visible before the commit.
#[derive(Default)]
pub struct Output {
    objects: Vec<Pending>,
    counts: Counts,
    histograms: BTreeMap<String, Histogram>,
}

struct Pending {
    role: &'static str,
    suffix: &'static str,
    bytes: Vec<u8>,
    rows: u64,
    partitions: Option<u32>,
}

impl Output {
    /// A table: Parquet, rows in the order given.
    pub fn table<T: Row>(&mut self, role: &'static str, rows: &[T]) -> Result<(), StageError> {
        let bytes = encode(rows)?;
        self.object(role, "parquet", rows.len() as u64, bytes);
        Ok(())
    }

    /// Embeddings: `.npy`, `[n, d]` f16; `data` is row-major.
    pub fn vectors(&mut self, role: &'static str, dim: usize, data: &[f16]) -> Result<(), StageError> {
        let bytes = npy::write_npy(dim, data).map_err(|e| StageError::Trouble(e.into()))?;
        self.object(role, "npy", (data.len() / dim) as u64, bytes);
        Ok(())
    }

    /// Any other object, with the number of records in it.
    pub fn object(&mut self, role: &'static str, suffix: &'static str, rows: u64, bytes: Vec<u8>) {
        self.objects.push(Pending { role, suffix, bytes, rows, partitions: None });
    }

    /// A shuffled table: rows with their partitions. Inside a partition the order given is kept. Each partition
    /// becomes a complete Parquet file; the files lie behind each other, and their index behind them.
    pub fn shuffled<T: Row>(&mut self, role: &'static str, rows: Vec<(u32, T)>) -> Result<(), StageError> {
        let mut by_partition: BTreeMap<u32, Vec<T>> = BTreeMap::new();
        let total = rows.len() as u64;
        for (partition, row) in rows {
            by_partition.entry(partition).or_default().push(row);
        }
        let (mut all, mut extents) = (Vec::new(), BTreeMap::new());
        for (partition, rows) in by_partition {
            let bytes = encode(&rows)?;
            let extent = Extent {
                offset: all.len() as u64,
                bytes: bytes.len() as u64,
                rows: rows.len() as u64,
                hash: Digest::of_bytes(&bytes),
            };
            extents.insert(partition, extent);
            all.extend_from_slice(&bytes);
        }
        let index = index(&extents);
        all.extend_from_slice(&index);
        let partitions = Some((index.len() / ENTRY) as u32);
        self.objects.push(Pending { role, suffix: "parts", bytes: all, rows: total, partitions });
        Ok(())
    }

    /// Adds to a count. Names: `in`, `out`, `dropped.<reason>`, or what the step has to say.
    pub fn count(&mut self, name: impl Into<String>, n: u64) {
        *self.counts.entry(name.into()).or_default() += n;
    }

    /// Adds one value to a histogram; the bins are those of `like` for every shard.
    pub fn observe(&mut self, name: &str, like: fn() -> Histogram, value: f64) {
        self.histograms.entry(name.to_owned()).or_insert_with(like).add(value);
    }

    /// Writes the objects under this attempt's names and returns what the commit says of them.
    pub fn write(mut self, run: &Run, step: StepId, key: &Digest, attempt: &str) -> Result<Data, StoreError> {
        self.objects.sort_by_key(|o| o.role);
        let (_, recipe) = run.recipes.digests(step);
        let mut objects = Vec::with_capacity(self.objects.len());
        for pending in self.objects {
            let name = object_name(step, &recipe, key, attempt, pending.role, pending.suffix);
            run.store().put(&name, &pending.bytes)?;
            objects.push(Object {
                role: pending.role.to_owned(),
                name,
                bytes: pending.bytes.len() as u64,
                hash: Digest::of_bytes(&pending.bytes),
                rows: pending.rows,
                partitions: pending.partitions,
            });
        }
        Ok(Data { objects, counts: self.counts, histograms: self.histograms })
    }

    /// Bytes of all objects so far.
    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|o| o.bytes.len() as u64).sum()
    }
}

fn encode<T: Row>(rows: &[T]) -> Result<Vec<u8>, StageError> {
    table::write_table(rows).map_err(|e| StageError::Trouble(anyhow::Error::new(e)))
}
