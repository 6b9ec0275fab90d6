//! Hubs: sentences that stand among the first three of many images.
//!
//! The sentences of a large corpus are too many to count each. A first walk keeps a bounded number of counters
//! (Misra and Gries): with m counters, every sentence that more than 1/m of all places name is among them. A second walk
//! counts those exactly.

use std::collections::HashMap;

use realsyn_plan::Id;
use realsyn_plan::graph::ids;

use super::{Reader, Top};
use crate::report::data::{Hubs, Text};
use crate::stages::rows::Retrieved;

/// Sentences of an image that count: those that a release shows.
const FIRST: usize = 3;
/// Counters of the first walk.
const COUNTERS: usize = 1 << 17;
/// Hubs that are listed.
const SHOWN: usize = 12;

pub fn hubs(from: &Reader) -> anyhow::Result<Option<Hubs>> {
    if !from.sealed(ids::CANDIDATES) {
        return Ok(None);
    }
    let mut frequent = Frequent::new(COUNTERS);
    each(from, |row| row.candidates.iter().take(FIRST).for_each(|c| frequent.add(c.sentence)))?;
    let distinct = frequent.exact.then_some(frequent.counters.len() as u64);
    let mut exact: HashMap<Id, u64> = frequent.counters.keys().map(|id| (*id, 0)).collect();
    if frequent.exact {
        exact = frequent.counters;
    } else {
        each(from, |row| {
            for c in row.candidates.iter().take(FIRST) {
                exact.entry(c.sentence).and_modify(|n| *n += 1);
            }
        })?;
    }
    let mut top = Top::new(SHOWN);
    exact.into_iter().for_each(|(id, n)| top.add(n, id));
    let top: Vec<(u64, Id)> = top.into_items().collect();
    let mut hubs = Hubs { distinct, ..Hubs::default() };
    let mut texts: HashMap<Id, String> = HashMap::new();
    each(from, |row| {
        hubs.images += u64::from(!row.candidates.is_empty());
        let mut covered = false;
        for c in row.candidates.iter().take(FIRST).filter(|c| top.iter().any(|(_, id)| *id == c.sentence)) {
            covered = true;
            texts.entry(c.sentence).or_insert_with(|| c.text.clone());
        }
        hubs.covered += u64::from(covered);
    })?;
    hubs.top = top
        .into_iter()
        .map(|(n, id)| {
            let text = texts.remove(&id).unwrap_or_default();
            (Text { id: id.to_string(), text, cosine: None, occurrences: None }, n)
        })
        .collect();
    Ok(Some(hubs))
}

fn each(from: &Reader, mut visit: impl FnMut(&Retrieved)) -> anyhow::Result<()> {
    for home in from.shards(ids::CANDIDATES) {
        let rows: Vec<Retrieved> = from.job(ids::CANDIDATES, home).table_of(ids::CANDIDATES, home, "candidates")?;
        rows.iter().for_each(&mut visit);
    }
    Ok(())
}

/// Counters for the most frequent ids.
struct Frequent {
    most: usize,
    counters: HashMap<Id, u64>,
    /// Whether every id still has its counter, so that the counts are the true ones.
    exact: bool,
}

impl Frequent {
    fn new(most: usize) -> Self {
        Self { most, counters: HashMap::new(), exact: true }
    }

    fn add(&mut self, id: Id) {
        if self.counters.len() < self.most || self.counters.contains_key(&id) {
            *self.counters.entry(id).or_default() += 1;
            return;
        }
        self.exact = false;
        self.counters.retain(|_, n| {
            *n -= 1;
            *n > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> Id {
        Id::of_sentence(&n.to_string())
    }

    #[test]
    fn few_ids_are_counted_exactly() {
        let mut frequent = Frequent::new(8);
        (0..60).for_each(|n| frequent.add(id(n % 6)));
        assert!(frequent.exact);
        assert!(frequent.counters.len() == 6 && frequent.counters.values().all(|n| *n == 10));
    }

    #[test]
    fn a_frequent_id_survives_any_number_of_rare_ones() {
        let mut frequent = Frequent::new(10);
        // One in five is the same id; all others occur once. More than 1/10 of all, so it must be kept.
        (0..10_000).for_each(|n| frequent.add(if n % 5 == 0 { id(0) } else { id(n + 1) }));
        assert!(!frequent.exact && frequent.counters.len() <= 10);
        assert!(frequent.counters.contains_key(&id(0)));
    }
}
