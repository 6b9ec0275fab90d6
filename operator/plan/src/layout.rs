//! The shards of a step and their keys, once everything it reads is sealed.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use realsyn_crds::Preview;

use crate::graph::{self, Cut, Read, Sharding, Step};
use crate::ids::OrderKey;
use crate::records::Seal;
use crate::{Digest, Id, StepId};

/// Bytes of source documents per range of ids.
const RANGE_BYTES: u64 = 4 << 20;
/// Input bytes per group of a shuffle.
const GROUP_BYTES: u64 = 256 << 20;
/// Input bytes per run of partitions, whose rows are in memory together.
const RUN_BYTES: u64 = 64 << 20;
/// Most buckets of words: some megabytes each in the largest corpora.
const BUCKETS: u32 = 256;

/// What the source held when it was listed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// Shards in order.
    pub shards: Vec<SourceShard>,
    /// For a sample: the number of each shard in the whole.
    #[serde(skip)]
    sampled: Option<Vec<u32>>,
}

/// One inventory shard: a file, a part of a large one, or a run of files in name order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceShard {
    /// Its files.
    pub files: Vec<SourceFile>,
    /// Which part of them it is; of several files always the whole.
    #[serde(default, skip_serializing_if = "Part::is_whole")]
    pub part: Part,
}

/// One of several parts of about the same size, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its number, from 0.
    pub number: u32,
    /// How many there are.
    pub of: u32,
}

impl Part {
    /// All there is.
    pub const WHOLE: Self = Self { number: 0, of: 1 };

    /// Whether it is all there is.
    pub fn is_whole(&self) -> bool {
        *self == Self::WHOLE
    }

    /// Of so many rows or bytes, those of this part: `number * total / of .. (number + 1) * total / of`.
    pub fn of_rows(&self, total: u64) -> Range<u64> {
        let end = |parts: u32| (u128::from(total) * u128::from(parts) / u128::from(self.of.max(1))) as u64;
        end(self.number)..end(self.number.saturating_add(1))
    }
}

/// As it stands behind a file's name: nothing for the whole, else ` (part 3 of 12)`.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_whole() { Ok(()) } else { write!(f, " (part {} of {})", self.number + 1, self.of) }
    }
}

impl Default for Part {
    fn default() -> Self {
        Self::WHOLE
    }
}

/// One source file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Name below the source's URI.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// ETag, or a hash of the content on a directory.
    pub version: String,
}

impl Inventory {
    /// An inventory of these shards.
    pub fn new(shards: Vec<SourceShard>) -> Self {
        Self { shards, sampled: None }
    }

    /// The keyed sample that `preview` asks for, in order, and at least one shard. Growing the sample keeps what was in
    /// it.
    pub fn sample(&self, preview: &Preview) -> Self {
        let name = |shard: &SourceShard| match shard.part {
            Part::WHOLE => shard.files[0].name.clone(),
            part => format!("{}#{}", shard.files[0].name, part.number),
        };
        let order = |n: usize| Id::of_document(Some(&name(&self.shards[n])), "", 0).order(OrderKey::Preview);
        let mut numbers: Vec<usize> = (0..self.shards.len()).collect();
        numbers.sort_by_key(|n| (order(*n), *n));
        let share = preview.share.unwrap_or(1.0).clamp(0.0, 1.0);
        let limit = (share * u64::MAX as f64) as u64;
        let wanted = match preview.shards {
            Some(shards) => shards as usize,
            None => numbers.iter().filter(|n| order(**n) <= limit).count(),
        };
        numbers.truncate(wanted.max(1));
        numbers.sort_unstable();
        Self {
            shards: numbers.iter().map(|n| self.shards[*n].clone()).collect(),
            sampled: Some(numbers.into_iter().map(|n| n as u32).collect()),
        }
    }

    /// A shard's number in the whole inventory.
    fn number(&self, shard: u32) -> u32 {
        self.sampled.as_ref().map_or(shard, |numbers| numbers[shard as usize])
    }

    /// How many files there are.
    pub fn files(&self) -> usize {
        let mut names: Vec<&str> = self.shards.iter().flat_map(|s| &s.files).map(|f| f.name.as_str()).collect();
        // Parts of a file are neighbours.
        names.dedup();
        names.len()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(SourceShard::bytes).sum()
    }

    /// How many ranges of ids the sentences are cut into: a power of two that follows from the bytes alone.
    pub fn ranges(&self) -> u32 {
        self.bytes().div_ceil(RANGE_BYTES).next_power_of_two().clamp(4, 1 << 16) as u32
    }

    /// How many buckets words are cut into.
    pub fn buckets(&self) -> u32 {
        self.ranges().min(BUCKETS)
    }

    /// The hash of all shards' contents.
    pub fn root(&self) -> Digest {
        self.shards.iter().fold(Digest::builder("inventory"), |b, s| b.digest(&s.content())).finish()
    }
}

impl SourceShard {
    /// A shard of these files as they are.
    pub fn whole(files: Vec<SourceFile>) -> Self {
        Self { files, part: Part::WHOLE }
    }

    /// The hash of names, versions, and which part it is.
    pub fn content(&self) -> Digest {
        let files =
            self.files.iter().fold(Digest::builder("source"), |b, f| b.part(&f.name).part(&f.version).number(f.bytes));
        match self.part {
            Part::WHOLE => files.finish(),
            Part { number, of } => files.number(number.into()).number(of.into()).finish(),
        }
    }

    /// Bytes of its files, or of its share of them.
    pub fn bytes(&self) -> u64 {
        let share = self.part.of_rows(self.files.iter().map(|f| f.bytes).sum());
        share.end - share.start
    }
}

/// The seals that count, by step.
pub type Seals = BTreeMap<StepId, Seal>;

/// One shard of a step: what names it, and what it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardSpec {
    /// Shard or partition number.
    pub number: u32,
    /// hash(number, content of every shard and partition that it reads, root of every seal that it reads whole; for a
    /// group its first shard; for shuffled roles the number of partitions, where that decides which row goes where).
    pub key: Digest,
    /// For a group: the input shards that belong to it; for a run: the partitions.
    pub group: Range<u32>,
}

/// How many pieces a cut has; `None` while the step that counts them is not sealed.
pub fn pieces(cut: Cut, inventory: &Inventory, seals: &Seals) -> Option<u32> {
    match cut {
        Cut::Home => Some(inventory.shards.len() as u32),
        Cut::Ranges => Some(inventory.ranges()),
        Cut::Buckets => Some(inventory.buckets()),
        Cut::Like(step) => Some(seals.get(&step)?.shards.len() as u32),
        Cut::Counted(step, name) => Some(seals.get(&step)?.count(name) as u32),
    }
}

/// For each shuffled role of a step, its number of partitions; `None` while that is not known.
pub fn partitions(step: &Step, inventory: &Inventory, seals: &Seals) -> Option<BTreeMap<String, u32>> {
    step.shuffles.iter().map(|(role, cut)| Some((role.to_string(), pieces(*cut, inventory, seals)?))).collect()
}

/// The shards of a step, in order of their numbers; `None` while something that it reads is not sealed.
pub fn layout(step: &Step, inventory: &Inventory, seals: &Seals) -> Option<Vec<ShardSpec>> {
    let groups: Vec<Range<u32>> = match step.sharding {
        Sharding::One => std::iter::once(0..1).collect(),
        Sharding::Each(cut) => (0..pieces(cut, inventory, seals)?).map(|n| n..n + 1).collect(),
        Sharding::Groups(by) => cut_runs(seals.get(&by)?.shards.iter().map(|s| s.bytes), GROUP_BYTES),
        Sharding::Runs(by, role) => cut_runs(seals.get(&by)?.partitions.get(role)?.iter().map(|p| p.bytes), RUN_BYTES),
    };
    // Equal rows cut into more ranges lie elsewhere. Home shards are their source's, whose numbers are in the keys of what they
    // read already.
    let mut cuts = Vec::new();
    for (_, cut) in step.shuffles.iter().filter(|(_, cut)| *cut != Cut::Home) {
        cuts.push(pieces(*cut, inventory, seals)?);
    }
    let mut specs = Vec::with_capacity(groups.len());
    for (number, group) in (0..).zip(groups) {
        // What a preview made of a source file is taken over by the whole build, where the shard has another number.
        let named = if is_local(step) { inventory.number(number) } else { number };
        let mut key = cuts.iter().fold(Digest::builder("key").number(named.into()), |key, n| key.number((*n).into()));
        if let Sharding::Groups(_) = step.sharding {
            // The rows of a group tell their home shards by number.
            key = key.number(group.start.into());
        }
        for read in step.reads {
            key = match *read {
                Read::Source => key.digest(&inventory.shards.get(number as usize)?.content()),
                Read::Shard(from) => key.digest(&seals.get(&from)?.shards.get(number as usize)?.content),
                Read::Group(from) => {
                    let shards = seals.get(&from)?.shards.get(group.start as usize..group.end as usize)?;
                    shards.iter().fold(key.number(shards.len() as u64), |key, s| key.digest(&s.content))
                }
                Read::Partition(from, role) => {
                    let totals = seals.get(&from)?.partitions.get(role)?;
                    let totals = totals.get(group.start as usize..group.end as usize)?;
                    totals.iter().fold(key, |key, total| key.digest(&total.hash))
                }
                Read::Whole(from) => key.digest(&seals.get(&from)?.root),
            };
        }
        specs.push(ShardSpec { number, key: key.finish(), group });
    }
    Some(specs)
}

/// Whether a shard of the step follows from its source shard alone.
fn is_local(step: &Step) -> bool {
    step.sharding == Sharding::Each(Cut::Home)
        && step.reads.iter().all(|read| match read {
            Read::Source => true,
            Read::Shard(from) => is_local(graph::find(*from)),
            Read::Group(_) | Read::Partition(..) | Read::Whole(_) => false,
        })
}

/// The roots of all seals that a step is made from; `None` while one is missing.
pub fn made_from(step: &Step, seals: &Seals) -> Option<BTreeMap<String, Digest>> {
    step.reads.iter().filter_map(Read::step).map(|from| Some((from.to_string(), seals.get(&from)?.root))).collect()
}

/// Cuts a list of sizes into runs of at least `least` bytes (the last may be smaller), from the front: appending sizes
/// changes no run but the last.
fn cut_runs(sizes: impl Iterator<Item = u64>, least: u64) -> Vec<Range<u32>> {
    let mut runs = Vec::new();
    let (mut start, mut end, mut bytes) = (0, 0, 0);
    for size in sizes {
        end += 1;
        bytes += size;
        if bytes >= least {
            runs.push(start..end);
            (start, bytes) = (end, 0);
        }
    }
    if start < end {
        runs.push(start..end);
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::PartitionTotal;

    #[test]
    fn parts_of_a_file_share_its_bytes_and_nothing_else() {
        let file = || SourceFile { name: "large".into(), bytes: 1_000_003, version: "1".into() };
        let parts = |of| (0..of).map(move |number| SourceShard { files: vec![file()], part: Part { number, of } });
        let small = SourceShard::whole(vec![SourceFile { name: "small".into(), ..file() }]);
        let inventory = Inventory::new(parts(7).chain([small]).collect());
        assert_eq!((inventory.files(), inventory.bytes()), (2, 2 * file().bytes));
        let preview = Preview { shards: Some(3), share: None };
        assert_eq!(inventory.sample(&preview).shards.len(), 3);
        let contents: std::collections::BTreeSet<Digest> =
            parts(1).chain(parts(7)).chain(parts(8)).map(|shard| shard.content()).collect();
        assert_eq!(contents.len(), 16, "parts of one number in two cuts are two things");
        // A file that is not cut is written, and named, as ever.
        let whole = SourceShard::whole(vec![file()]);
        assert_eq!(whole, parts(1).next().unwrap());
        assert!(!serde_json::to_string(&whole).unwrap().contains("part"));
        assert_eq!(format!("a{}, a{}", Part::WHOLE, Part { number: 2, of: 12 }), "a, a (part 3 of 12)");
        for total in [0, 1, 6, 7, 8, u64::MAX] {
            let ranges: Vec<Range<u64>> = (0..7).map(|number| Part { number, of: 7 }.of_rows(total)).collect();
            assert_eq!((ranges[0].start, ranges[6].end), (0, total));
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start), "{ranges:?}");
        }
    }

    #[test]
    fn a_preview_is_taken_over_by_the_whole_build() {
        let file = |n| SourceFile { name: format!("part-{n}"), bytes: 9, version: "1".into() };
        let shards = (0..40).map(|n| SourceShard::whole(vec![file(n)]));
        let whole = Inventory::new(shards.collect());
        let keys = |inventory: &Inventory| -> Vec<Digest> {
            let specs = layout(graph::find(graph::ids::DOCUMENTS), inventory, &Seals::new()).unwrap();
            specs.into_iter().map(|s| s.key).collect()
        };
        let all = keys(&whole);
        let mut before = Vec::new();
        for n in [1, 5, 17, 40] {
            let sample = keys(&whole.sample(&Preview { shards: Some(n), share: None }));
            assert_eq!(sample.len(), n as usize);
            assert!(before.iter().all(|key| sample.contains(key)), "a larger sample holds the smaller one");
            assert!(sample.iter().all(|key| all.contains(key)), "every commit of the preview counts in the whole");
            before = sample;
        }
        let some = whole.sample(&Preview { share: Some(0.5), shards: None }).shards.len();
        // 40 fair coins: outside of 6..=34 in fewer than one of 100,000 namings.
        assert!((6..=34).contains(&some), "{some}");
        assert_eq!(whole.sample(&Preview { share: Some(0.0), shards: None }).shards.len(), 1);
    }

    #[test]
    fn a_shuffle_has_as_many_writers_as_its_bytes_ask_for() {
        // Sixteen ranges of 20 MiB: what reads them and writes the next shuffle does so in runs of four.
        let seal = |bytes: u64| Seal {
            partitions: BTreeMap::from([(
                "images".into(),
                vec![PartitionTotal { hash: Digest([1; 32]), bytes, rows: 1 }; 16],
            )]),
            ..serde_json::from_value(serde_json::json!({
                "step": "", "stage_digest": Digest([0; 32]), "recipe": Digest([0; 32]), "generation": 0,
                "made_from": {}, "shards": [], "counts": {}, "root": Digest([0; 32]),
            }))
            .unwrap()
        };
        let file = SourceFile { name: "a".into(), bytes: 64 << 20, version: "1".into() };
        let inventory = Inventory::new(vec![SourceShard::whole(vec![file])]);
        let runs = |bytes| {
            let seals = Seals::from([(graph::ids::IMAGES_BY_ID, seal(bytes))]);
            layout(graph::find(graph::ids::IMAGES_EXACT), &inventory, &seals).unwrap()
        };
        assert_eq!(runs(20 << 20).into_iter().map(|s| s.group).collect::<Vec<_>>(), [0..4, 4..8, 8..12, 12..16]);
        assert_eq!((runs(0).len(), runs(1 << 20).len(), runs(64 << 20).len()), (1, 1, 16));
        // The same bytes in other runs are other shards.
        assert_ne!(runs(20 << 20)[0].key, runs(1 << 20)[0].key);
    }

    #[test]
    fn groups_are_stable_under_appending() {
        let mut sizes: Vec<u64> = (0..40).map(|i| (i * 7919 % 100) << 20).collect();
        let before = cut_runs(sizes.iter().copied(), GROUP_BYTES);
        sizes.extend([1 << 30, 5, 6]);
        let after = cut_runs(sizes.into_iter(), GROUP_BYTES);
        assert_eq!(before[..before.len() - 1], after[..before.len() - 1]);
        assert_eq!(after.last().unwrap().end, 43);
        assert!(after.windows(2).all(|w| w[0].end == w[1].start));
    }
}
