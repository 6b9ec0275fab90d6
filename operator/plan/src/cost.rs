//! What a step will move and take: an estimate from the inventory and from what is sealed, for people to read.

use crate::graph::{Read, Step};
use crate::layout::{Inventory, Seals};

/// Bytes that a step is expected to read, and to write into shuffles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Bytes read from the store.
    pub read: u64,
    /// Bytes written that another step fetches by partition.
    pub moved: u64,
}

/// The volume of a step: measured where its inputs are sealed, `None` where they are not known yet.
pub fn volume(step: &Step, inventory: &Inventory, seals: &Seals) -> Option<Volume> {
    let mut volume = Volume::default();
    for read in step.reads {
        volume.read += match *read {
            Read::Source => inventory.bytes(),
            Read::Partition(from, role) => seals.get(&from)?.partitions.get(role)?.iter().map(|p| p.bytes).sum(),
            Read::Shard(from) | Read::Group(from) | Read::Whole(from) => seals.get(&from)?.bytes(),
        };
    }
    if let Some(seal) = seals.get(&step.id) {
        volume.moved = seal.partitions.values().flatten().map(|p| p.bytes).sum();
    }
    Some(volume)
}

/// Cuts missing shards into tasks of equal number: at most `tasks_wanted`, each at least `shards_at_least`.
///
/// A task is one index of a Job: it should last ten times what it takes to start, so cheap shards travel together.
pub fn tasks(missing: usize, shards_at_least: usize, tasks_wanted: usize) -> usize {
    missing.div_ceil(shards_at_least.max(1)).min(tasks_wanted).max(usize::from(missing > 0))
}
