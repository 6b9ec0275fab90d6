//! The records of the storage protocol: commit, seal, void; their names and their hashes.
//!
//! A name, once used, never stands for another content. Names of commits and seals end in a generation; a record that
//! must no longer count is voided by a record beside it, and the first generation that is not void counts. What
//! clean-up removes is voided first, so what comes late under an old name is never read.

use std::collections::BTreeMap;

use realsyn_crds::Stage;
use serde::{Deserialize, Serialize};

use crate::shuffle::PartitionTotals;
use crate::{Digest, StepId};

/// Counts by name: `in`, `out`, `dropped.<reason>`, and what else a step has to say.
pub type Counts = BTreeMap<String, u64>;

/// Publishes one shard of a step's output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// The step, as `stage/step`.
    pub step: String,
    /// The stage's recipe.
    pub recipe: Digest,
    /// The shard's key; see [`crate::layout::ShardSpec`].
    pub key: Digest,
    /// Shard or partition number.
    pub number: u32,
    /// Generation, as in the record's name.
    pub generation: u32,
    /// Who wrote it; also part of its objects' names.
    pub attempt: String,
    /// What was published.
    pub outcome: Outcome,
    /// What it took. Never hashed into content.
    #[serde(default)]
    pub effort: Effort,
}

/// Data, or a reason why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The shard's output.
    Data(Data),
    /// The shard cannot be processed because of its data.
    Rejected {
        /// A short, stable reason.
        reason: String,
        /// The sentence for people.
        detail: String,
    },
}

/// The output of one shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Data {
    /// Objects, sorted by role.
    pub objects: Vec<Object>,
    /// Counts by name.
    #[serde(default)]
    pub counts: Counts,
    /// Histograms by name.
    #[serde(default)]
    pub histograms: BTreeMap<String, Histogram>,
}

/// One file of a shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// What the object is to its step: `sentences`, `vectors`, `media` …
    pub role: String,
    /// Its name below the root.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3 of its bytes.
    pub hash: Digest,
    /// Rows, members or vectors in it.
    pub rows: u64,
    /// For a shuffled object: how many entries its index has, with which it ends; see [`crate::shuffle`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
}

/// Counts in equal bins over `[low, high]`; what lies outside goes to the first and last bin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Lower edge of the first bin.
    pub low: f64,
    /// Upper edge of the last bin.
    pub high: f64,
    /// Counts.
    pub bins: Vec<u64>,
}

impl Histogram {
    /// An empty histogram.
    pub fn new(low: f64, high: f64, bins: usize) -> Self {
        Self { low, high, bins: vec![0; bins] }
    }

    /// Counts one value; NaN is not counted.
    pub fn add(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        let n = self.bins.len();
        let place = (value - self.low) / (self.high - self.low) * n as f64;
        self.bins[(place.max(0.0) as usize).min(n - 1)] += 1;
    }

    /// Adds another histogram's counts. Histograms of one name have the same bins by construction; others are ignored.
    pub fn merge(&mut self, other: &Self) {
        if self.bins.len() == other.bins.len() {
            self.bins.iter_mut().zip(&other.bins).for_each(|(a, b)| *a += b);
        }
    }
}

/// Time and volume spent; for reports and for the next plan's estimates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Effort {
    /// Wall-clock milliseconds.
    pub millis: u64,
    /// Bytes read from the store.
    pub bytes_read: u64,
    /// Bytes written to it.
    pub bytes_written: u64,
    /// What was held of GPUs, by product; of a shard at most one. Empty where none was held, and in old records.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gpus: BTreeMap<String, Spent>,
}

/// The time of GPUs that shards took, from the commit before, or the start of the worker, to their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Milliseconds, times GPUs.
    pub gpu_millis: u64,
    /// Shards.
    pub shards: u64,
    /// Records that they read.
    pub records: u64,
}

impl Spent {
    /// Adds another's figures.
    pub fn add(&mut self, other: &Self) {
        self.gpu_millis = self.gpu_millis.saturating_add(other.gpu_millis);
        self.shards = self.shards.saturating_add(other.shards);
        self.records = self.records.saturating_add(other.records);
    }
}

impl Effort {
    /// Adds another's figures.
    pub fn add(&mut self, other: &Self) {
        self.millis += other.millis;
        self.bytes_read += other.bytes_read;
        self.bytes_written += other.bytes_written;
        for (product, spent) in &other.gpus {
            self.gpus.entry(product.clone()).or_default().add(spent);
        }
    }

    /// Seconds of GPUs, over all products.
    pub fn gpu_seconds(&self) -> u64 {
        self.gpus.values().fold(0, |sum: u64, spent| sum.saturating_add(spent.gpu_millis)) / 1000
    }
}

impl Commit {
    /// The hash of what was published: roles, bytes and counts; not names, attempts or times.
    pub fn content(&self) -> Digest {
        match &self.outcome {
            Outcome::Rejected { reason, .. } => Digest::builder("rejected").part(reason).finish(),
            Outcome::Data(data) => {
                let mut b = Digest::builder("content");
                for o in &data.objects {
                    b = b.part(&o.role).digest(&o.hash).number(o.bytes).number(o.rows);
                }
                for (name, n) in &data.counts {
                    b = b.part(name).number(*n);
                }
                b.finish()
            }
        }
    }

    /// The record's bytes, and the hash by which a seal names it.
    pub fn encode(&self) -> (Vec<u8>, Digest) {
        encode(self)
    }

    /// The data, or `None` when the shard was rejected.
    pub fn data(&self) -> Option<&Data> {
        match &self.outcome {
            Outcome::Data(data) => Some(data),
            Outcome::Rejected { .. } => None,
        }
    }

    /// Bytes of all objects.
    pub fn bytes(&self) -> u64 {
        self.data().map_or(0, |d| d.objects.iter().map(|o| o.bytes).sum())
    }
}

/// Publishes a step's whole output. Readers open only what a seal names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seal {
    /// The step, as `stage/step`.
    pub step: String,
    /// The stage's digest.
    pub stage_digest: Digest,
    /// The stage's recipe, under which the commits lie.
    pub recipe: Digest,
    /// Generation, as in the record's name.
    pub generation: u32,
    /// The root of every seal that this one was made from.
    pub made_from: BTreeMap<String, Digest>,
    /// The shards, by number.
    pub shards: Vec<SealedShard>,
    /// For each shuffled role: one entry per partition.
    #[serde(default)]
    pub partitions: BTreeMap<String, Vec<PartitionTotal>>,
    /// Sums of the commits' counts.
    pub counts: Counts,
    /// Sums of the commits' histograms.
    #[serde(default)]
    pub histograms: BTreeMap<String, Histogram>,
    /// Rejected shards by reason.
    #[serde(default)]
    pub rejected: Counts,
    /// What all attempts that counted took.
    #[serde(default)]
    pub effort: Effort,
    /// The hash of shard numbers and content hashes.
    pub root: Digest,
}

/// One line of a seal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SealedShard {
    /// Shard or partition number.
    pub number: u32,
    /// The commit's key.
    pub key: Digest,
    /// The commit's generation.
    pub generation: u32,
    /// Hash of the commit record's bytes.
    pub commit: Digest,
    /// Hash of what it publishes.
    pub content: Digest,
    /// Bytes of its objects.
    pub bytes: u64,
    /// Rows of its first object.
    pub rows: u64,
}

/// A partition of a shuffled role, over all shards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionTotal {
    /// Hash over those of its files, in the order of the shards that wrote them.
    pub hash: Digest,
    /// Bytes of these files.
    pub bytes: u64,
    /// Rows of these files.
    pub rows: u64,
}

impl Seal {
    /// Makes the seal from the step's commits, one per shard in the order of their numbers.
    ///
    /// `totals` sums the indices of their shuffled objects.
    pub fn new(
        step: StepId,
        digests: (Digest, Digest),
        generation: u32,
        made_from: BTreeMap<String, Digest>,
        commits: &[(Commit, Digest)],
        totals: PartitionTotals,
    ) -> Self {
        let (stage_digest, recipe) = digests;
        let mut seal = Self {
            step: step.to_string(),
            stage_digest,
            recipe,
            generation,
            made_from,
            shards: Vec::with_capacity(commits.len()),
            partitions: totals.0,
            counts: Counts::new(),
            histograms: BTreeMap::new(),
            rejected: Counts::new(),
            effort: Effort::default(),
            root: Digest([0; 32]),
        };
        let mut root = Digest::builder("root");
        for (commit, record) in commits {
            let content = commit.content();
            root = root.number(u64::from(commit.number)).digest(&content);
            seal.effort.add(&commit.effort);
            let mut rows = 0;
            match &commit.outcome {
                Outcome::Rejected { reason, .. } => *seal.rejected.entry(reason.clone()).or_default() += 1,
                Outcome::Data(data) => {
                    rows = data.objects.first().map_or(0, |o| o.rows);
                    for (name, n) in &data.counts {
                        *seal.counts.entry(name.clone()).or_default() += n;
                    }
                    for (name, h) in &data.histograms {
                        match seal.histograms.get_mut(name) {
                            Some(sum) => sum.merge(h),
                            None => _ = seal.histograms.insert(name.clone(), h.clone()),
                        }
                    }
                }
            }
            seal.shards.push(SealedShard {
                number: commit.number,
                key: commit.key,
                generation: commit.generation,
                commit: *record,
                content,
                bytes: commit.bytes(),
                rows,
            });
        }
        seal.root = root.finish();
        seal
    }

    /// The record's bytes and their hash.
    pub fn encode(&self) -> (Vec<u8>, Digest) {
        encode(self)
    }

    /// A sum of counts, zero when no commit has it.
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Bytes of all objects.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|s| s.bytes).sum()
    }
}

fn encode<T: Serialize>(record: &T) -> (Vec<u8>, Digest) {
    let bytes = serde_json::to_vec(record).expect("records have string keys and finite numbers");
    let hash = Digest::of_bytes(&bytes);
    (bytes, hash)
}

/// Where a commit lies.
pub fn commit_name(step: StepId, recipe: &Digest, key: &Digest, generation: u32) -> String {
    format!("{}/{key}.g{generation}.commit.json", commit_folder(step, recipe))
}

/// Where the void record of that commit lies.
pub fn commit_void_name(step: StepId, recipe: &Digest, key: &Digest, generation: u32) -> String {
    format!("{}/{key}.g{generation}.void", commit_folder(step, recipe))
}

/// The first 128 bits of a digest: names stay short enough for every store, and still never meet.
pub fn half(digest: &Digest) -> String {
    digest.to_string()[..32].to_owned()
}

/// The folder of a recipe's commits and objects.
pub fn commit_folder(step: StepId, recipe: &Digest) -> String {
    format!("{step}/{}", half(recipe))
}

/// An object's name: unique to the attempt that writes it.
pub fn object_name(step: StepId, recipe: &Digest, key: &Digest, attempt: &str, role: &str, suffix: &str) -> String {
    format!("{}/{}.{attempt}.{role}.{suffix}", commit_folder(step, recipe), half(key))
}

/// Where the list of a step's tasks lies, named by its own hash: a JSON array of arrays of shard numbers.
pub fn task_list_name(step: StepId, list: &Digest) -> String {
    format!("{step}/_tasks/{list}.json")
}

/// The folder of what failed tasks of a stage logged last.
pub fn log_folder(stage: Stage, stage_digest: &Digest) -> String {
    format!("{}/{stage_digest}/_logs/", stage.name())
}

/// Where the end of a failed task's log lies. `attempt` is a name that no other attempt has.
pub fn log_name(stage: Stage, stage_digest: &Digest, index: usize, attempt: &str) -> String {
    format!("{}{index}-{attempt}.log", log_folder(stage, stage_digest))
}

/// Where a seal lies.
pub fn seal_name(step: StepId, stage_digest: &Digest, generation: u32) -> String {
    format!("{step}/{stage_digest}.g{generation}.seal.json")
}

/// Where the void record of that seal lies.
pub fn seal_void_name(step: StepId, stage_digest: &Digest, generation: u32) -> String {
    format!("{step}/{stage_digest}.g{generation}.seal.void")
}

/// What a record about a seal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealPart {
    /// The seal.
    Seal,
    /// Its void.
    Void,
}

/// Reads the last part of a seal's or its void's name: stage digest and generation.
pub fn parse_seal_name(file: &str) -> Option<(Digest, u32, SealPart)> {
    let (digest, rest) = file.split_once(".g")?;
    let (generation, kind) = rest.split_once('.')?;
    let part = match kind {
        "seal.json" => SealPart::Seal,
        "seal.void" => SealPart::Void,
        _ => return None,
    };
    Some((digest.parse().ok()?, generation.parse().ok()?, part))
}

/// A name in a recipe's folder, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// A commit of this key and generation.
    Commit(Digest, u32),
    /// The void of a commit.
    Void(Digest, u32),
}

/// Reads the last part of a name in a recipe's folder; objects and foreign files are `None`.
pub fn parse_commit_name(file: &str) -> Option<Named> {
    let (key, rest) = file.split_once(".g")?;
    let key = key.parse().ok()?;
    let (generation, kind) = rest.split_once('.')?;
    let generation = generation.parse().ok()?;
    match kind {
        "commit.json" => Some(Named::Commit(key, generation)),
        "void" => Some(Named::Void(key, generation)),
        _ => None,
    }
}

/// Where the record lies that voids a key's generation because clean-up removed it. An object's name has only the
/// first half of its key, and an attempt that never committed leaves nothing else: so this has no more either.
pub fn removed_name(folder: &str, key: &str, generation: u32) -> String {
    format!("{folder}/{key}.g{generation}.removed")
}

/// Reads the last part of such a name: half a key, and the generation.
pub fn parse_removed_name(file: &str) -> Option<(&str, u32)> {
    let (key, generation) = file.strip_suffix(".removed")?.split_once(".g")?;
    is_half(key).then_some((key, generation.parse().ok()?))
}

/// Reads the last part of an object's name: half a key, and the attempt.
pub fn parse_object_name(file: &str) -> Option<(&str, &str)> {
    let mut parts = file.splitn(4, '.');
    let (key, attempt) = (parts.next()?, parts.next()?);
    // Both the role and the suffix have to be there.
    (is_half(key) && parts.count() == 2).then_some((key, attempt))
}

/// Whether this is the first half of a digest.
pub fn is_half(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The folder of tombstones.
pub const TOMBSTONES: &str = "_gc/";

/// The records of one tombstone, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TombstonePart {
    /// What is to go.
    Listed,
    /// Whether it goes.
    Verdict,
    /// Everything listed is void: only collectors still have to do with it.
    Closed,
    /// Nothing is left to do.
    Done,
}

impl TombstonePart {
    /// All parts.
    pub const ALL: [Self; 4] = [Self::Listed, Self::Verdict, Self::Closed, Self::Done];

    fn name(self) -> &'static str {
        match self {
            Self::Listed => "tombstone",
            Self::Verdict => "verdict",
            Self::Closed => "closed",
            Self::Done => "done",
        }
    }
}

/// Where a part of a tombstone lies.
pub fn tombstone_name(number: u32, part: TombstonePart) -> String {
    format!("{TOMBSTONES}{number}.{}.json", part.name())
}

/// Reads the name of a tombstone's part.
pub fn parse_tombstone_name(name: &str) -> Option<(u32, TombstonePart)> {
    let (number, part) = name.strip_prefix(TOMBSTONES)?.strip_suffix(".json")?.split_once('.')?;
    Some((number.parse().ok()?, TombstonePart::ALL.into_iter().find(|p| p.name() == part)?))
}
