//! `word-stats` and `tag-vocab`: words and nouns of the corpus, counted by a shuffle and frozen into one table.

use std::collections::BTreeMap;

use bytes::Bytes;
use realsyn_plan::StepId;
use realsyn_plan::graph::ids;
use realsyn_text::complexity::nouns;
use realsyn_text::entropy::{Tail, WordTable};
use realsyn_text::normalise::words;

use super::rows::{KeptSentence, Sentence, WordCount};
use crate::run::{Job, Output, StageError};

/// `word-stats/count`: words of a range, weighted by the occurrences of their sentences.
pub fn count(job: &Job) -> Result<Output, StageError> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for s in job.shard::<Sentence>(ids::UNIQUE, "sentences")? {
        for word in words(&s.text) {
            *counts.entry(word).or_default() += s.occurrences;
        }
    }
    shuffle_counts(job, counts)
}

/// `tag-vocab/count`: nouns of the kept sentences of a range.
pub fn count_nouns(job: &Job) -> Result<Output, StageError> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for s in job.shard::<KeptSentence>(ids::ROWS, "sentences")? {
        for noun in nouns(&s.text) {
            *counts.entry(noun).or_default() += 1;
        }
    }
    shuffle_counts(job, counts)
}

fn shuffle_counts(job: &Job, counts: BTreeMap<String, u64>) -> Result<Output, StageError> {
    let ranges = job.run.inventory.ranges();
    let rows = counts.into_iter().map(|(word, count)| {
        let hash = blake3::hash(word.as_bytes());
        let partition = u32::from_le_bytes(hash.as_bytes()[..4].try_into().expect("four bytes")) % ranges;
        (partition, WordCount { word, count })
    });
    let mut out = Output::default();
    out.shuffled("words", rows.collect())?;
    Ok(out)
}

/// `sum`: the words of one partition, over the whole corpus.
pub fn sum(job: &Job, from: StepId) -> Result<Output, StageError> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for row in job.partition::<WordCount>(from, "words")? {
        *counts.entry(row.word).or_default() += row.count;
    }
    let rows: Vec<WordCount> = counts.into_iter().map(|(word, count)| WordCount { word, count }).collect();
    let mut out = Output::default();
    out.count("words", rows.len() as u64);
    out.count("total", rows.iter().map(|r| r.count).sum());
    out.table("words", &rows)?;
    Ok(out)
}

/// The `keep` most frequent words of a summed step, ties by word, and what the rest amounts to: `(words, total)`.
/// Holds `keep` words and one partition at a time.
fn most_frequent(job: &Job, from: StepId, keep: usize) -> Result<(Vec<WordCount>, (u64, u64)), StageError> {
    let mut best: Vec<WordCount> = Vec::new();
    let mut tail = (0, 0);
    for number in job.numbers(from) {
        best.extend(job.table_of::<WordCount>(from, number, "words")?);
        best.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.word.cmp(&b.word)));
        for cut in best.drain(best.len().min(keep)..) {
            tail = (tail.0 + 1, tail.1 + cut.count);
        }
    }
    Ok((best, tail))
}

/// `word-stats/freeze`: the table that entropy reads.
pub fn freeze(job: &Job) -> Result<Output, StageError> {
    let keep = job.run.build.stages.word_stats.max_words as usize;
    let (best, (tail_words, tail_total)) = most_frequent(job, ids::WORDS_SUM, keep)?;
    let words = best.iter().map(|w| (w.word.clone(), w.count)).collect();
    let table = WordTable::frozen(words, Tail { words: tail_words, count: tail_total })
        .map_err(|e| StageError::Trouble(e.into()))?;
    let mut out = Output::default();
    out.count("words", best.len() as u64);
    out.count("tail-words", tail_words);
    out.count("tail-total", tail_total);
    let bytes = serde_json::to_vec(&table).map_err(|e| StageError::Trouble(e.into()))?;
    out.object("table", "json", best.len() as u64, bytes);
    Ok(out)
}

/// The frozen table of a step.
pub fn word_table(job: &Job, from: StepId) -> Result<WordTable, StageError> {
    let bytes: Bytes = job.object_of(from, 0, "table")?.unwrap_or_default();
    serde_json::from_slice(&bytes).map_err(|e| StageError::Trouble(e.into()))
}

/// `tag-vocab/freeze`: the nouns that the tagger is extended by, without its own, or the pinned list.
pub fn freeze_nouns(job: &Job) -> Result<Output, StageError> {
    let settings = &job.run.build.stages.tag_vocab;
    let own = job.run.models.tagger_labels()?;
    let pinned = job.run.lists().lines_in_order(settings.vocabulary.as_ref())?;
    let rows: Vec<WordCount> = if settings.vocabulary.is_some() {
        pinned.into_iter().map(|word| WordCount { word, count: 0 }).collect()
    } else {
        let (best, _) = most_frequent(job, ids::NOUNS_SUM, settings.size as usize + own.len())?;
        best.into_iter().filter(|w| !own.contains(&w.word)).take(settings.size as usize).collect()
    };
    let mut out = Output::default();
    out.count("words", rows.len() as u64);
    out.table("words", &rows)?;
    Ok(out)
}
