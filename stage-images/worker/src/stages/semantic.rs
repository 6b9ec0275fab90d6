//! `*-dedup-semantic`: rows whose embeddings lie within a distance, grouped by Union-Find; of each group the member
//! nearest its centroid is kept (after CLIP-CID).
//!
//! An encoder calls near what only looks or sounds alike. So a near pair is verified, unless the settings say not to: images by
//! laying their thumbnails onto each other, sentences by their numbers and negations.
//!
//! A cell settles the groups that lie wholly inside it. Groups that touch a replicated row may reach into other cells:
//! their edges and vectors go to one merge.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use half::f16;
use realsyn_crds::SemanticDedup;
use realsyn_duplicates::{default_max_group, nearest_to_centroid, split_by_radius};
use realsyn_plan::graph::ids;
use realsyn_plan::{Id, StepId};
use realsyn_text::claims::same_claim;
use realsyn_vectors::{Accept, Edge, accepted_forest, cosines_to_mean, dot, spanning_forest};
use realsyn_vision::{RegistrationThresholds, Thumbnail};

use super::cells::{floats, space, trouble, vector_bytes};
use super::near::components;
use super::rows::{CellRow, Duplicate, Group, NearEdge, NearMember};
use crate::run::{Job, Output, StageError};
use realsyn_dataset::formats::Blob;

fn settings<'a>(job: &Job<'a>) -> (&'a SemanticDedup, u64) {
    let stages = &job.run.build.stages;
    let (dedup, embed) = match job.step.id {
        ids::IMAGE_PAIRS | ids::IMAGE_MERGE => (&stages.image_dedup_semantic, ids::IMAGE_EMBED),
        _ => (&stages.sentence_dedup_semantic, ids::SENTENCE_EMBED),
    };
    let rows = job.run.seals[&embed].count("out");
    (dedup, dedup.max_group.unwrap_or_else(|| default_max_group(rows as usize) as u64))
}

/// A member of a group: its vector and where it is at home.
struct Member {
    cell: u32,
    vector: Vec<f16>,
}

/// Settles one group: `(member, representative, distance)` for each member that goes.
fn settle(
    job: &Job,
    group: &[Id],
    members: &HashMap<Id, Member>,
    groups: &mut Vec<Group>,
) -> Result<Vec<Duplicate>, StageError> {
    let (dedup, max_group) = settings(job);
    if group.len() as u64 > max_group {
        return Err(StageError::Settings(format!(
            "a group of {} rows within distance {} of each other is above `maxGroup` ({max_group}): lower `maxDistance`, \
             or raise `maxGroup` if the corpus really repeats itself that often",
            group.len(),
            dedup.distance()
        )));
    }
    let dim = members[&group[0]].vector.len();
    let vectors: Vec<f16> = group.iter().flat_map(|id| &members[id].vector).copied().collect();
    let vectors = space(&vectors, dim)?;
    let all: Vec<u32> = (0..group.len() as u32).collect();
    let distance = |a: u32, b: u32| 1.0 - dot(vectors.row(a as usize), vectors.row(b as usize));
    let choose = |of: &[u32]| {
        let cosines = cosines_to_mean(vectors, of);
        let score = |row: u32| of.binary_search(&row).map_or(f64::NAN, |at| cosines[at]);
        nearest_to_centroid(of, score, |row| group[row as usize]).unwrap_or(of[0])
    };
    let mut dropped = Vec::new();
    for part in split_by_radius(&all, dedup.radius(), choose, distance) {
        let of = group[part.representative as usize];
        let mut ids = vec![of];
        for &member in part.members.iter().filter(|m| **m != part.representative) {
            let distance = Some(distance(part.representative, member) as f32);
            dropped.push(Duplicate { id: group[member as usize], of, distance });
            ids.push(group[member as usize]);
        }
        if ids.len() > 1 {
            groups.push(Group { members: ids });
        }
    }
    Ok(dropped)
}

/// Whether two rows of a cell are the same thing. Rows are in the order of their ids, so a pair is asked about the same way
/// round in every cell that it meets in.
fn verifier(rows: &[CellRow], assign: StepId) -> Box<Accept<'_>> {
    if assign == ids::SENTENCE_ASSIGN {
        return Box::new(|a, b| same_claim(&rows[a as usize].text, &rows[b as usize].text));
    }
    let thumbnail = |row: &CellRow| row.thumbnail.as_ref().and_then(|blob| Thumbnail::from_bytes(&blob.0));
    let thumbnails: Vec<Option<Thumbnail>> = rows.iter().map(thumbnail).collect();
    let limits = RegistrationThresholds::default();
    Box::new(move |a, b| match (&thumbnails[a as usize], &thumbnails[b as usize]) {
        (Some(a), Some(b)) => a.shows_same(b, &limits),
        _ => false,
    })
}

/// `pairs`: near rows of one cell and of the copies at its borders.
pub fn pairs(job: &Job, assign: StepId) -> Result<Output, StageError> {
    let (dedup, _) = settings(job);
    let mut out = Output::default();
    let mut rows: Vec<CellRow> = if dedup.enabled { job.partition(assign, "rows")? } else { Vec::new() };
    rows.sort_by_key(|r| r.id);
    let dim = rows.first().map_or(1, |r| r.vector.0.len() / 2);
    let vectors: Vec<f16> = rows.iter().flat_map(|r| floats(&r.vector.0)).collect();
    let (kernel, near) = (job.kernel(vectors.len() * rows.len() / 2), dedup.distance() as f32);
    let forest = if dedup.verifies() {
        accepted_forest(kernel, space(&vectors, dim)?, near, &*verifier(&rows, assign))
    } else {
        spanning_forest(kernel, space(&vectors, dim)?, near)
    }
    .map_err(trouble)?;
    let mut members: HashMap<Id, Member> = HashMap::new();
    let mut open: BTreeSet<Id> = BTreeSet::new();
    for edge in &forest {
        for at in [edge.a as usize, edge.b as usize] {
            let row = &rows[at];
            members
                .entry(row.id)
                .or_insert_with(|| Member { cell: row.cell, vector: vectors[at * dim..(at + 1) * dim].to_vec() });
            if row.replicated {
                open.insert(row.id);
            }
        }
    }
    let ends = |e: &Edge| (rows[e.a as usize].id, rows[e.b as usize].id);
    let nodes: BTreeSet<Id> = members.keys().copied().collect();
    let (mut dropped, mut groups) = (Vec::new(), Vec::new());
    let mut outward: BTreeSet<Id> = BTreeSet::new();
    for group in components(nodes.into_iter(), forest.iter().map(ends)) {
        if group.iter().any(|id| open.contains(id)) {
            outward.extend(group);
        } else {
            dropped.extend(settle(job, &group, &members, &mut groups)?);
        }
    }
    let edges: Vec<NearEdge> = forest
        .iter()
        .map(|e| (ends(e), e.distance))
        .filter(|((a, _), _)| outward.contains(a))
        .map(|((a, b), distance)| NearEdge { a, b, distance })
        .collect();
    let members: Vec<NearMember> = outward
        .iter()
        .map(|id| {
            let member = &members[id];
            NearMember { id: *id, cell: member.cell, vector: Blob(vector_bytes(&member.vector)) }
        })
        .collect();
    out.count("compared", rows.len() as u64 * (rows.len() as u64).saturating_sub(1) / 2);
    out.count("groups", groups.len() as u64);
    out.table("dropped", &dropped)?;
    out.table("groups", &groups)?;
    out.table("edges", &edges)?;
    out.table("members", &members)?;
    Ok(out)
}

/// `merge`: the groups that reach over cells.
pub fn merge(job: &Job, pairs: StepId) -> Result<Output, StageError> {
    let mut members: HashMap<Id, Member> = HashMap::new();
    let mut edges = Vec::new();
    for number in job.numbers(pairs) {
        edges.extend(job.table_of::<NearEdge>(pairs, number, "edges")?.into_iter().map(|e| (e.a, e.b)));
        for m in job.table_of::<NearMember>(pairs, number, "members")? {
            members.insert(m.id, Member { cell: m.cell, vector: floats(&m.vector.0).collect() });
        }
    }
    let nodes: BTreeMap<Id, u32> = members.iter().map(|(id, m)| (*id, m.cell)).collect();
    let mut out = Output::default();
    let (mut dropped, mut groups) = (Vec::new(), Vec::new());
    for group in components(nodes.keys().copied(), edges.into_iter()) {
        dropped.extend(settle(job, &group, &members, &mut groups)?.into_iter().map(|d| (nodes[&d.id], d)));
    }
    out.count("groups", groups.len() as u64);
    out.table("groups", &groups)?;
    out.shuffled("dropped", dropped)?;
    Ok(out)
}
