//! Fills the report's structs from a run: records first, then tables, one shard at a time. What is held at once is one
//! shard and what will be shown.

mod funnels;
mod groups;
mod heads;
mod hubs;
mod pairs;
mod pictures;
mod scores;
mod times;

use realsyn_plan::graph::find;
use realsyn_plan::layout::ShardSpec;
use realsyn_plan::records::Seal;
use realsyn_plan::{Digest, StepId};

use super::data::Report;
use crate::run::{Job, Run};

/// Everything that a report of this run shows.
pub fn collect(run: &Run) -> anyhow::Result<Report> {
    let from = Reader { run };
    let mut wanted = pictures::Wanted::default();
    let mut sheet = pairs::sheet(&from, &mut wanted)?;
    let mut image_groups = groups::images(&from, &mut wanted)?;
    let pictures = pictures::load(&from, wanted)?;
    pairs::add_pictures(&mut sheet, &pictures);
    groups::add_pictures(&mut image_groups, &pictures);
    Ok(Report {
        head: heads::head(&from)?,
        strip: pictures::strip(&sheet),
        funnels: funnels::funnels(&from),
        scores: scores::distributions(&from)?,
        balance: scores::balance(&from)?,
        sheet,
        image_groups,
        sentence_groups: groups::sentences(&from)?,
        hubs: hubs::hubs(&from)?,
        recall: scores::recall(&from)?,
        timing: times::times(&from),
    })
}

/// Read access to whatever is sealed.
struct Reader<'a> {
    run: &'a Run,
}

impl Reader<'_> {
    /// A step's seal; `None` while it has not run.
    fn seal(&self, step: StepId) -> Option<&Seal> {
        self.run.seals.get(&step)
    }

    fn sealed(&self, step: StepId) -> bool {
        self.seal(step).is_some()
    }

    /// A count of a sealed step; a count that no shard made is zero.
    fn count(&self, step: StepId, name: &str) -> Option<u64> {
        Some(self.seal(step)?.count(name))
    }

    /// Numbers of a step's shards, to walk over; none while it has not run. Commits of the walk before are forgotten, so
    /// that records do not pile up.
    fn shards(&self, step: StepId) -> std::ops::Range<u32> {
        self.run.forget_commits();
        0..self.seal(step).map_or(0, |s| s.shards.len() as u32)
    }

    /// Reads as the shard `number` of `step` would.
    fn job(&self, step: StepId, number: u32) -> Job<'_> {
        let key = Digest([0; 32]);
        Job::new(self.run, find(step), ShardSpec { number, key, group: number..number + 1 })
    }
}

/// Keeps the `most` largest items that it is given, by a key; of equal keys the smaller item.
struct Top<K, T> {
    most: usize,
    items: std::collections::BTreeSet<(std::cmp::Reverse<K>, T)>,
}

impl<K: Ord, T: Ord> Top<K, T> {
    fn new(most: usize) -> Self {
        Self { most, items: Default::default() }
    }

    fn add(&mut self, key: K, item: T) {
        self.items.insert((std::cmp::Reverse(key), item));
        if self.items.len() > self.most {
            self.items.pop_last();
        }
    }

    fn into_items(self) -> impl Iterator<Item = (K, T)> {
        self.items.into_iter().map(|(key, item)| (key.0, item))
    }
}

#[cfg(test)]
mod tests {
    use super::Top;

    #[test]
    fn top_keeps_the_largest_and_of_equals_the_smaller() {
        let mut top = Top::new(3);
        for (key, item) in [(1, "a"), (5, "z"), (5, "b"), (2, "c"), (5, "y"), (9, "d")] {
            top.add(key, item);
        }
        let kept: Vec<_> = top.into_items().collect();
        assert_eq!(kept, [(9, "d"), (5, "b"), (5, "y")]);
    }
}
