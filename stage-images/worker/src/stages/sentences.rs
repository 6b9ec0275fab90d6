//! Sentences: `sentences`, `sentence-dedup-exact`, `sentence-score`.

use realsyn_crds::Sentences as Settings;
use realsyn_plan::Id;
use realsyn_plan::graph::ids;
use realsyn_plan::ids::OrderKey;
use realsyn_plan::records::Histogram;
use realsyn_text::blocks;
use realsyn_text::normalise::canonical;
use realsyn_text::punkt::{Punkt, PunktCompat};
use realsyn_text::rules::{PersonalData, SentenceRules};

use super::rows::{Block, Dropped, Score, Sentence, SentenceAt, SentenceOccurrence};
use super::words::word_table;
use crate::run::{Job, Output, StageError};

/// `split`: text blocks to sentences, and the rules of paper §3.1.
pub fn split(job: &Job) -> Result<Output, StageError> {
    let settings = &job.run.build.stages.sentences;
    let punkt = segmenter(settings);
    let rules = SentenceRules {
        min_words: settings.min_words as usize,
        max_words: settings.max_words as usize,
        min_complexity: settings.min_complexity as usize,
        require_action: settings.require_action,
        languages: settings.languages.clone(),
        personal_data: match settings.personal_data {
            realsyn_crds::PersonalData::Keep => PersonalData::Keep,
            realsyn_crds::PersonalData::Drop => PersonalData::Drop,
        },
    };
    let mut out = Output::default();
    let (mut rows, mut dropped) = (Vec::new(), Vec::new());
    for block in job.shard::<Block>(ids::DOCUMENTS, "blocks")? {
        for (index, text) in of_block(&block.text, &punkt) {
            out.count("in", 1);
            let sentence = Id::of_sentence(&text);
            match rules.check(&text) {
                Ok(()) => rows.push(SentenceAt {
                    sentence,
                    text,
                    document: block.document,
                    url: block.url.clone(),
                    block: block.position,
                    index,
                }),
                Err(reason) => {
                    out.count(format!("dropped.{}", reason.as_str()), 1);
                    let (what, reason) = (sentence.to_string(), reason.as_str().to_owned());
                    dropped.push(Dropped { what, reason, of: None, value: None });
                }
            }
        }
    }
    out.count("out", rows.len() as u64);
    out.table("sentences", &rows)?;
    out.table("dropped", &dropped)?;
    Ok(out)
}

/// What cuts text blocks into sentences.
pub fn segmenter(settings: &Settings) -> Punkt {
    Punkt::english(match settings.punkt_compat {
        realsyn_crds::PunktCompat::V3_9 => PunktCompat::V3_9,
        realsyn_crds::PunktCompat::V3_10 => PunktCompat::V3_10,
    })
}

/// The canonical texts of a block's sentences, each with its place in the block.
pub fn of_block(block: &str, punkt: &Punkt) -> impl Iterator<Item = (u32, String)> {
    let texts = blocks::sentences(block, punkt).map(canonical);
    (0..).zip(texts).filter(|(_, text)| !text.is_empty())
}

/// `by-id`: every sentence to the range of its id.
pub fn by_id(job: &Job) -> Result<Output, StageError> {
    let ranges = job.run.inventory.ranges();
    let mut rows = Vec::new();
    for shard in job.group() {
        let sentences: Vec<SentenceAt> = job.table_of(ids::SENTENCES, shard, "sentences")?;
        rows.extend(sentences.into_iter().map(|s| (s.sentence.range_of(ranges), s)));
    }
    let mut out = Output::default();
    out.shuffled("sentences", rows)?;
    Ok(out)
}

/// `unique`: one row per text, with its occurrences.
pub fn unique(job: &Job) -> Result<Output, StageError> {
    let mut rows: Vec<SentenceAt> = job.partition(ids::SENTENCES_BY_ID, "sentences")?;
    let total = rows.len() as u64;
    // Stable: occurrences stay in the order of shards, blocks and sentences.
    rows.sort_by_cached_key(|r| (r.sentence.order(OrderKey::Rows), r.sentence));
    let mut sentences = Vec::new();
    for same in rows.chunk_by(|a, b| a.sentence == b.sentence) {
        let first = &same[0];
        sentences.push(Sentence { sentence: first.sentence, text: first.text.clone(), occurrences: same.len() as u64 });
    }
    let occurrences: Vec<SentenceOccurrence> = rows
        .into_iter()
        .map(|r| SentenceOccurrence {
            sentence: r.sentence,
            document: r.document,
            url: r.url,
            block: r.block,
            index: r.index,
        })
        .collect();
    let mut out = Output::default();
    out.count("in", total);
    out.count("out", sentences.len() as u64);
    out.count("dropped.exact-duplicate", total - sentences.len() as u64);
    out.table("sentences", &sentences)?;
    out.table("occurrences", &occurrences)?;
    Ok(out)
}

/// `score`: entropy (paper §3.1, Eq. 1) and perplexity (Eq. 2) of every row. Nothing is dropped here.
pub fn score(job: &Job) -> Result<Output, StageError> {
    let settings = &job.run.build.stages.sentence_score;
    let table = word_table(job, ids::WORDS_FREEZE)?;
    let base = match settings.log_base {
        realsyn_crds::LogBase::Two => realsyn_text::entropy::LogBase::Two,
        realsyn_crds::LogBase::E => realsyn_text::entropy::LogBase::E,
    };
    let sentences: Vec<Sentence> = job.shard(ids::UNIQUE, "sentences")?;
    let texts: Vec<&str> = sentences.iter().map(|s| s.text.as_str()).collect();
    let scorer = job.run.models.scorer(settings.prepend_eos)?;
    let scored = scorer.score(&texts).map_err(anyhow::Error::from)?;
    let mut out = Output::default();
    let mut rows = Vec::with_capacity(sentences.len());
    for (s, score) in sentences.iter().zip(scored) {
        let entropy = table.entropy(&s.text, base);
        let perplexity = score.perplexity();
        out.observe("entropy", || Histogram::new(0.0, 8.0, 80), entropy);
        // Perplexity is read on a logarithmic axis: the bins are of its common logarithm.
        out.observe("log10-perplexity", || Histogram::new(0.0, 5.0, 100), perplexity.unwrap_or(f64::NAN).log10());
        out.count("tokens", u64::from(score.tokens));
        rows.push(Score { sentence: s.sentence, entropy, perplexity, tokens: score.tokens });
    }
    out.count("in", rows.len() as u64);
    out.count("out", rows.len() as u64);
    out.table("scores", &rows)?;
    Ok(out)
}
