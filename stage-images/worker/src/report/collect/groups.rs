//! Merged duplicates: the largest groups of each stage.

use std::collections::{BTreeMap, HashMap, HashSet};

use realsyn_dataset::table_row;
use realsyn_plan::graph::ids;
use realsyn_plan::{Id, StepId};
use serde::{Deserialize, Serialize};

use super::pictures::Wanted;
use super::{Reader, Top};
use crate::report::data::{Group, GroupSet, Member, Picture, Text};
use crate::stages::rows;

/// Groups of one stage that are shown.
const GROUPS: usize = 6;
/// Members of a group that are shown.
const MEMBERS: usize = 6;
/// Short side of a member's picture.
const SIDE: u32 = 110;

/// One stage's groups: its titles and rule, and the steps whose `groups` tables hold them.
struct Merged {
    title: &'static str,
    stage: &'static str,
    rule: &'static str,
    steps: &'static [StepId],
}

const PERCEPTUAL: Merged = Merged {
    title: "Images that look the same",
    stage: "image-dedup-perceptual",
    rule: "By perceptual hash and a check of detail and colour; the copy with the most pixels stays.",
    steps: &[ids::IMAGES_GROUPS],
};
const IMAGES: Merged = Merged {
    title: "Images that show the same",
    stage: "image-dedup-semantic",
    rule: "By the distance of their embeddings; the one nearest the group\u{2019}s centroid stays.",
    steps: &[ids::IMAGE_PAIRS, ids::IMAGE_MERGE],
};
const NEAR: Merged = Merged {
    title: "Sentences in nearly the same words",
    stage: "sentence-dedup-near",
    rule: "By shared word sequences; the text that occurs most stays.",
    steps: &[ids::NEAR_GROUPS],
};
const SENTENCES: Merged = Merged {
    title: "Sentences that mean the same",
    stage: "sentence-dedup-semantic",
    rule: "By the distance of their embeddings; the one nearest the group\u{2019}s centroid stays.",
    steps: &[ids::SENTENCE_PAIRS, ids::SENTENCE_MERGE],
};

/// The largest groups of a stage: number of groups, number of members, and of each group its size and first members.
/// Largest first; of equal ones the one whose first member has the lower id. `None` while the stage is not sealed.
fn largest(from: &Reader, merged: &Merged) -> anyhow::Result<Option<GroupSet<Id>>> {
    if !merged.steps.iter().all(|s| from.sealed(*s)) {
        return Ok(None);
    }
    let (mut groups, mut members) = (0, 0);
    let mut top = Top::new(GROUPS);
    for step in merged.steps {
        for number in from.shards(*step) {
            for group in from.job(*step, number).table_of::<rows::Group>(*step, number, "groups")? {
                groups += 1;
                members += group.members.len() as u64;
                let first: Vec<Id> = group.members.iter().take(MEMBERS).copied().collect();
                top.add(group.members.len() as u64, first);
            }
        }
    }
    let shown = top.into_items().map(|(size, members)| Group { size, members }).collect();
    Ok(Some(set(merged, groups, members, shown)))
}

fn set<M>(merged: &Merged, groups: u64, members: u64, shown: Vec<Group<M>>) -> GroupSet<M> {
    let Merged { title, stage, rule, .. } = *merged;
    GroupSet { title, stage, rule, groups, members, shown }
}

fn fill<M>(merged: &Merged, found: GroupSet<Id>, member: impl Fn(Id) -> M) -> GroupSet<M> {
    let shown = found.shown.into_iter();
    let shown = shown.map(|g| Group { size: g.size, members: g.members.into_iter().map(&member).collect() });
    set(merged, found.groups, found.members, shown.collect())
}

/// Groups of images without their pictures, which are added to `wanted`.
pub fn images(from: &Reader, wanted: &mut Wanted) -> anyhow::Result<Vec<GroupSet<Member>>> {
    let mut sets = Vec::new();
    for merged in [&PERCEPTUAL, &IMAGES] {
        let Some(found) = largest(from, merged)? else { continue };
        found.shown.iter().flat_map(|g| &g.members).for_each(|id| wanted.add(*id, SIDE));
        sets.push(fill(merged, found, |id| Member { id: id.to_string(), picture: None }));
    }
    Ok(sets)
}

/// Fills in the pictures that were found.
pub fn add_pictures(sets: &mut [GroupSet<Member>], pictures: &HashMap<Id, Picture>) {
    for member in sets.iter_mut().flat_map(|s| &mut s.shown).flat_map(|g| &mut g.members) {
        member.picture = member.id.parse().ok().and_then(|id: Id| pictures.get(&id).cloned());
    }
}

table_row! {
    /// A text and how often it occurs.
    #[derive(Debug, Serialize, Deserialize)]
    struct Said {
        sentence: Id,
        text: String,
        occurrences: u64,
    }
}

/// Groups of sentences with their texts.
pub fn sentences(from: &Reader) -> anyhow::Result<Vec<GroupSet<Text>>> {
    let mut found = Vec::new();
    let mut wanted: BTreeMap<u32, HashSet<Id>> = BTreeMap::new();
    for merged in [&NEAR, &SENTENCES] {
        let Some(set) = largest(from, merged)? else { continue };
        for id in set.shown.iter().flat_map(|g| &g.members) {
            wanted.entry(id.range_of(from.run.seals[&ids::UNIQUE].shards.len() as u32)).or_default().insert(*id);
        }
        found.push((merged, set));
    }
    let mut texts: HashMap<Id, Text> = HashMap::new();
    for (range, wanted) in wanted {
        for row in from.job(ids::UNIQUE, range).table_of::<Said>(ids::UNIQUE, range, "sentences")? {
            if wanted.contains(&row.sentence) {
                let id = row.sentence.to_string();
                texts.insert(
                    row.sentence,
                    Text { id, text: row.text, cosine: None, occurrences: Some(row.occurrences) },
                );
            }
        }
    }
    let text = |id: Id| texts.get(&id).cloned().unwrap_or_else(|| Text { id: id.to_string(), ..Text::default() });
    Ok(found.into_iter().map(|(merged, set)| fill(merged, set, text)).collect())
}
