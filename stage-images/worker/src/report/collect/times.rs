//! Time and volume by stage, from the seals.

use realsyn_crds::Stage;
use realsyn_plan::StepId;
use realsyn_plan::graph::ids;

use super::Reader;
use crate::report::data::StageTime;

/// What a stage's throughput is measured in: the count of a step that says how many rows came in, and what they are.
const ROWS: &[(StepId, &str, &str)] = &[
    (ids::DOCUMENTS, "in", "documents"),
    (ids::FETCH, "in", "references"),
    (ids::DECODE, "in", "images"),
    (ids::IMAGES_BY_ID, "copies", "images"),
    (ids::POLICY, "in", "images"),
    (ids::SENTENCES, "in", "sentences"),
    (ids::UNIQUE, "in", "sentences"),
    (ids::WORDS_SUM, "words", "words"),
    (ids::SCORE, "in", "sentences"),
    (ids::ROWS, "in", "sentences"),
    (ids::SENTENCE_EMBED, "in", "sentences"),
    (ids::SENTENCE_TRAIN, "rows", "sentences"),
    (ids::SENTENCE_CLUSTER, "in", "sentences"),
    (ids::IMAGE_EMBED, "in", "images"),
    (ids::IMAGE_TRAIN, "rows", "images"),
    (ids::IMAGE_CLUSTER, "in", "images"),
    (ids::CANDIDATES, "in", "images"),
    (ids::NOUNS_SUM, "words", "nouns"),
    (ids::CAPTION, "in", "images"),
    (ids::TAG, "in", "images"),
    (ids::GENERATE, "in", "images"),
    (ids::PAIR_SCORE, "in", "images"),
    (ids::PAIRS, "in", "images"),
];

pub fn times(from: &Reader) -> Vec<StageTime> {
    let mut stages: Vec<StageTime> = Vec::new();
    for step in from.run.steps() {
        let name = step.id.stage.name();
        // A stage's steps stand together in the graph.
        if stages.last().is_none_or(|s| s.stage != name) {
            stages.push(StageTime { stage: name, rows: rows(from, step.id.stage), ..StageTime::default() });
        }
        let stage = stages.last_mut().expect("one was pushed just now");
        stage.steps += 1;
        let Some(seal) = from.seal(step.id) else { continue };
        stage.sealed += 1;
        stage.shards += seal.shards.len() as u64;
        stage.millis += seal.effort.millis;
        stage.read += seal.effort.bytes_read;
        stage.written += seal.effort.bytes_written;
        if let Some(tokens) = seal.counts.get("tokens") {
            *stage.tokens.get_or_insert(0) += tokens;
        }
        for (reason, n) in &seal.rejected {
            match stage.rejected.iter_mut().find(|(known, _)| known == reason) {
                Some((_, sum)) => *sum += n,
                None => stage.rejected.push((reason.clone(), *n)),
            }
        }
    }
    stages
}

fn rows(from: &Reader, stage: Stage) -> Option<(u64, &'static str)> {
    // Duplicates are looked for among the rows that the cells were trained for.
    let source = match stage {
        Stage::SentenceDedupSemantic => Stage::SentenceCells,
        Stage::ImageDedupSemantic => Stage::ImageCells,
        other => other,
    };
    let (step, count, unit) = ROWS.iter().find(|(step, ..)| step.stage == source)?;
    Some((from.count(*step, count)?, unit))
}
