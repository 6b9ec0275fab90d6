//! `sentence-dedup-near`: near-duplicate texts by MinHash bands, and the rows that the build goes on with.
//!
//! Here the entropy and perplexity limits are applied: they are a selection over the scores, so changing one scores
//! nothing again.

use std::collections::{BTreeMap, HashMap};

use realsyn_crds::SentenceScore as Limits;
use realsyn_duplicates::UnionFind;
use realsyn_plan::Id;
use realsyn_plan::graph::ids;
use realsyn_text::near::{MinHasher, Shingles};

use super::image_dedup::BAND_WINDOW;
use super::rows::{Dropped, Duplicate, Group, KeptSentence, Score, Sentence, SentenceBand, SentenceEdge};
use crate::run::{Job, Output, StageError};

/// Why a score keeps a sentence out, and the value that does; `None` if it passes.
pub fn score_drop(limits: &Limits, score: &Score) -> Option<(&'static str, f64)> {
    if score.entropy < limits.min_entropy {
        return Some(("low-entropy", score.entropy));
    }
    match score.perplexity {
        None => Some(("no-perplexity", f64::NAN)),
        Some(p) if p < limits.perplexity.min => Some(("low-perplexity", p)),
        Some(p) if p > limits.perplexity.max => Some(("high-perplexity", p)),
        Some(_) => None,
    }
}

/// `bands`: every sentence that passes the limits, under each of its bands.
pub fn bands(job: &Job) -> Result<Output, StageError> {
    let limits = &job.run.build.stages.sentence_score;
    let hasher = MinHasher::default();
    let ranges = u64::from(job.run.inventory.ranges());
    let mut rows = Vec::new();
    for shard in job.group() {
        let sentences: Vec<Sentence> = job.table_of(ids::UNIQUE, shard, "sentences")?;
        let scores: Vec<Score> = job.table_of(ids::SCORE, shard, "scores")?;
        for (s, score) in sentences.into_iter().zip(&scores) {
            if score_drop(limits, score).is_some() {
                continue;
            }
            for band in hasher.bands(&hasher.signature(&Shingles::new(&s.text))) {
                let (sentence, occurrences, text) = (s.sentence, s.occurrences, s.text.clone());
                rows.push(((band % ranges) as u32, SentenceBand { band, sentence, occurrences, text }));
            }
        }
    }
    let mut out = Output::default();
    out.shuffled("bands", rows)?;
    Ok(out)
}

/// `verify`: pairs under one band whose shingles are alike, as a spanning forest.
pub fn verify(job: &Job) -> Result<Output, StageError> {
    let threshold = job.run.build.stages.sentence_dedup_near.threshold;
    let mut rows: Vec<SentenceBand> = job.partition(ids::NEAR_BANDS, "bands")?;
    rows.sort_by_key(|r| (r.band, r.sentence));
    let mut names: Vec<Id> = rows.iter().map(|r| r.sentence).collect();
    names.sort_unstable();
    names.dedup();
    let place = |id: &Id| names.binary_search(id).expect("every row's id is in the list") as u32;
    let mut joined = UnionFind::new(names.len());
    let mut out = Output::default();
    let mut edges = Vec::new();
    for band in rows.chunk_by(|a, b| a.band == b.band).filter(|b| b.len() > 1) {
        let shingles: Vec<Shingles> = band.iter().map(|r| Shingles::new(&r.text)).collect();
        for (j, b) in band.iter().enumerate() {
            for (i, a) in band.iter().enumerate().take(j).skip(j.saturating_sub(BAND_WINDOW)) {
                out.count("compared", 1);
                if shingles[i].similarity(&shingles[j], threshold).is_some()
                    && joined.union(place(&a.sentence), place(&b.sentence))
                {
                    edges.push(SentenceEdge {
                        a: a.sentence,
                        a_occurrences: a.occurrences,
                        b: b.sentence,
                        b_occurrences: b.occurrences,
                    });
                }
            }
        }
    }
    out.table("edges", &edges)?;
    Ok(out)
}

/// `groups`: of every group the text that occurs most stays, the lowest id where they tie.
pub fn groups(job: &Job) -> Result<Output, StageError> {
    let ranges = job.run.inventory.ranges();
    let mut edges = Vec::new();
    for number in job.numbers(ids::NEAR_VERIFY) {
        edges.extend(job.table_of::<SentenceEdge>(ids::NEAR_VERIFY, number, "edges")?);
    }
    let mut nodes: BTreeMap<Id, u64> = BTreeMap::new();
    for e in &edges {
        nodes.insert(e.a, e.a_occurrences);
        nodes.insert(e.b, e.b_occurrences);
    }
    let mut out = Output::default();
    let (mut dropped, mut groups) = (Vec::new(), Vec::new());
    for mut members in components(nodes.keys().copied(), edges.iter().map(|e| (e.a, e.b))) {
        members.sort_by_key(|id| (std::cmp::Reverse(nodes[id]), *id));
        let of = members[0];
        dropped.extend(members[1..].iter().map(|&id| (id.range_of(ranges), Duplicate { id, of, distance: None })));
        groups.push(Group { members });
    }
    out.count("groups", groups.len() as u64);
    out.table("groups", &groups)?;
    out.shuffled("dropped", dropped)?;
    Ok(out)
}

/// The connected components of a graph over ids, each sorted, in order of their lowest id.
pub fn components(nodes: impl Iterator<Item = Id>, edges: impl Iterator<Item = (Id, Id)>) -> Vec<Vec<Id>> {
    let names: Vec<Id> = nodes.collect();
    let place: HashMap<Id, u32> = (0..).zip(&names).map(|(i, id)| (*id, i)).collect();
    let mut joined = UnionFind::new(names.len());
    for (a, b) in edges {
        joined.union(place[&a], place[&b]);
    }
    let mut components: BTreeMap<u32, Vec<Id>> = BTreeMap::new();
    for (i, id) in (0..).zip(&names) {
        components.entry(joined.find(i)).or_default().push(*id);
    }
    let mut components: Vec<Vec<Id>> = components.into_values().collect();
    components.iter_mut().for_each(|c| c.sort_unstable());
    components.sort_unstable();
    components
}

/// `rows`: the sentences that the build goes on with, in row order.
pub fn rows(job: &Job) -> Result<Output, StageError> {
    let limits = &job.run.build.stages.sentence_score;
    let duplicates: HashMap<Id, Id> =
        job.partition::<Duplicate>(ids::NEAR_GROUPS, "dropped")?.into_iter().map(|d| (d.id, d.of)).collect();
    let sentences: Vec<Sentence> = job.shard(ids::UNIQUE, "sentences")?;
    let scores: Vec<Score> = job.shard(ids::SCORE, "scores")?;
    let mut out = Output::default();
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    for (s, score) in sentences.into_iter().zip(&scores) {
        out.count("in", 1);
        let of = duplicates.get(&s.sentence).copied();
        let drop = score_drop(limits, score).or_else(|| of.map(|_| ("near-duplicate", f64::NAN)));
        match drop {
            None => kept.push(KeptSentence { sentence: s.sentence, text: s.text }),
            Some((reason, value)) => {
                out.count(format!("dropped.{reason}"), 1);
                dropped.push(Dropped {
                    what: s.sentence.to_string(),
                    reason: reason.into(),
                    of,
                    value: (!value.is_nan()).then_some(value),
                });
            }
        }
    }
    out.count("out", kept.len() as u64);
    out.table("sentences", &kept)?;
    out.table("dropped", &dropped)?;
    Ok(out)
}
