//! The shards of a step and their keys, once everything it reads is sealed.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::graph::{Cut, Read, Sharding, Step};
use crate::records::Seal;
use crate::{Digest, StepId};

/// Bytes of source documents per range of ids.
const RANGE_BYTES: u64 = 4 << 20;
/// Input bytes per group of a shuffle.
const GROUP_BYTES: u64 = 256 << 20;

/// What the source held when it was listed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// Shards in order.
    pub shards: Vec<SourceShard>,
}

/// One inventory shard: one file, or a run of files in name order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceShard {
    /// Its files.
    pub files: Vec<SourceFile>,
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
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().flat_map(|s| &s.files).map(|f| f.bytes).sum()
    }

    /// How many ranges of ids the sentences are cut into: a power of two that follows from the bytes alone.
    pub fn ranges(&self) -> u32 {
        self.bytes().div_ceil(RANGE_BYTES).next_power_of_two().clamp(4, 1 << 16) as u32
    }

    /// The hash of all shards' contents.
    pub fn root(&self) -> Digest {
        self.shards.iter().fold(Digest::builder("inventory"), |b, s| b.digest(&s.content())).finish()
    }
}

impl SourceShard {
    /// The hash of names and versions.
    pub fn content(&self) -> Digest {
        self.files
            .iter()
            .fold(Digest::builder("source"), |b, f| b.part(&f.name).part(&f.version).number(f.bytes))
            .finish()
    }

    /// Bytes of its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.bytes).sum()
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
    /// For a group: the input shards that belong to it.
    pub group: Range<u32>,
}

/// How many pieces a cut has; `None` while the step that counts them is not sealed.
pub fn pieces(cut: Cut, inventory: &Inventory, seals: &Seals) -> Option<u32> {
    match cut {
        Cut::Home => Some(inventory.shards.len() as u32),
        Cut::Ranges => Some(inventory.ranges()),
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
        Sharding::Groups(by) => cut_groups(seals.get(&by)?.shards.iter().map(|s| s.bytes)),
    };
    // Equal rows cut into more ranges lie elsewhere. Home shards are only ever appended, so their number moves no row.
    let mut cuts = Vec::new();
    for (_, cut) in step.shuffles.iter().filter(|(_, cut)| *cut != Cut::Home) {
        cuts.push(pieces(*cut, inventory, seals)?);
    }
    let mut specs = Vec::with_capacity(groups.len());
    for (number, group) in (0..).zip(groups) {
        let mut key = cuts.iter().fold(Digest::builder("key").number(number.into()), |key, n| key.number((*n).into()));
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
                    key.digest(&seals.get(&from)?.partitions.get(role)?.get(number as usize)?.hash)
                }
                Read::Whole(from) => key.digest(&seals.get(&from)?.root),
            };
        }
        specs.push(ShardSpec { number, key: key.finish(), group });
    }
    Some(specs)
}

/// The roots of all seals that a step is made from; `None` while one is missing.
pub fn made_from(step: &Step, seals: &Seals) -> Option<BTreeMap<String, Digest>> {
    step.reads.iter().filter_map(Read::step).map(|from| Some((from.to_string(), seals.get(&from)?.root))).collect()
}

/// Cuts a list of sizes into runs of at least [`GROUP_BYTES`] (the last may be smaller), from the front: appending
/// shards changes no run but the last.
fn cut_groups(sizes: impl Iterator<Item = u64>) -> Vec<Range<u32>> {
    let mut runs = Vec::new();
    let (mut start, mut end, mut bytes) = (0, 0, 0);
    for size in sizes {
        end += 1;
        bytes += size;
        if bytes >= GROUP_BYTES {
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

    #[test]
    fn groups_are_stable_under_appending() {
        let mut sizes: Vec<u64> = (0..40).map(|i| (i * 7919 % 100) << 20).collect();
        let before = cut_groups(sizes.iter().copied());
        sizes.extend([1 << 30, 5, 6]);
        let after = cut_groups(sizes.into_iter());
        assert_eq!(before[..before.len() - 1], after[..before.len() - 1]);
        assert_eq!(after.last().unwrap().end, 43);
        assert!(after.windows(2).all(|w| w[0].end == w[1].start));
    }
}
