//! `word-stats` and `tag-vocab`: words and nouns of the corpus, counted by a shuffle and frozen into one table.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use rayon::prelude::*;
use realsyn_dataset::formats::Row;
use realsyn_plan::StepId;
use realsyn_plan::graph::ids;
use realsyn_text::complexity::nouns;
use realsyn_text::entropy::{Tail, WordTable};
use realsyn_text::normalise::words;

use super::rows::{KeptSentence, Sentence, WordCount};
use crate::run::{Job, Output, StageError};

/// `word-stats/count`: words of a group of ranges, weighted by the occurrences of their sentences.
pub fn count(job: &Job) -> Result<Output, StageError> {
    count_group(job, ids::UNIQUE, |s: &Sentence| (words(&s.text).collect(), s.occurrences))
}

/// `tag-vocab/count`: nouns of the kept sentences of a group of ranges.
pub fn count_nouns(job: &Job) -> Result<Output, StageError> {
    count_group(job, ids::ROWS, |s: &KeptSentence| (nouns(&s.text), 1))
}

/// Counts the words of a group's sentences, each as often as `words_of` says, and sends them to the buckets of their hash.
fn count_group<T: Row + Sync>(
    job: &Job,
    from: StepId,
    words_of: impl Fn(&T) -> (Vec<String>, u64) + Sync,
) -> Result<Output, StageError> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for range in job.group() {
        let sentences = job.table_of::<T>(from, range, "sentences")?;
        let counted = sentences.par_iter().fold(HashMap::<String, u64>::new, |mut counts, sentence| {
            let (words, times) = words_of(sentence);
            words.into_iter().for_each(|word| *counts.entry(word).or_default() += times);
            counts
        });
        for (word, count) in counted.collect::<Vec<_>>().into_iter().flatten() {
            *counts.entry(word).or_default() += count;
        }
    }
    let buckets = job.run.inventory.buckets();
    let rows = counts.into_iter().map(|(word, count)| {
        let hash = blake3::hash(word.as_bytes());
        let bucket = u32::from_le_bytes(hash.as_bytes()[..4].try_into().expect("four bytes")) % buckets;
        (bucket, WordCount { word, count })
    });
    let mut out = Output::default();
    out.shuffled("words", rows.collect())?;
    Ok(out)
}

/// `sum`: the words of one bucket, over the whole corpus.
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
