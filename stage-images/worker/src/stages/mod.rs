//! Every stage's steps: what one shard does with its input. A step reads through [`Job`] and returns an [`Output`];
//! it knows nothing of attempts, commits or threads.

mod answer;
mod captions;
mod card;
mod cells;
mod documents;
mod fetch;
pub mod hosts;
mod image_dedup;
pub mod images;
mod near;
pub mod publish;
pub mod release;
mod retrieve;
pub mod rows;
mod selection;
mod semantic;
pub(crate) mod sentences;
pub mod takedowns;
mod words;

use realsyn_plan::graph::ids;

use crate::run::{Job, Output, StageError};

/// Processes one shard.
pub fn process(job: &Job) -> Result<Output, StageError> {
    match job.step.id {
        ids::DOCUMENTS => documents::extract(job),
        ids::FETCH => fetch::fetch(job),
        ids::DECODE => images::decode(job),
        ids::IMAGES_BY_ID => image_dedup::by_id(job),
        ids::IMAGES_EXACT => image_dedup::exact(job),
        ids::IMAGES_VERIFY => image_dedup::verify(job),
        ids::IMAGES_GROUPS => image_dedup::groups(job),
        ids::POLICY => images::policy(job),
        ids::SENTENCES => sentences::split(job),
        ids::SENTENCES_BY_ID => sentences::by_id(job),
        ids::UNIQUE => sentences::unique(job),
        ids::WORDS_COUNT => words::count(job),
        ids::WORDS_SUM => words::sum(job, ids::WORDS_COUNT),
        ids::WORDS_FREEZE => words::freeze(job),
        ids::SCORE => sentences::score(job),
        ids::NEAR_BANDS => near::bands(job),
        ids::NEAR_VERIFY => near::verify(job),
        ids::NEAR_GROUPS => near::groups(job),
        ids::ROWS => near::rows(job),
        ids::SENTENCE_EMBED => cells::embed_sentences(job),
        ids::SENTENCE_TRAIN => cells::train(job, &cells::SENTENCES),
        ids::SENTENCE_ASSIGN => cells::assign(job, &cells::SENTENCES),
        ids::SENTENCE_PAIRS => semantic::pairs(job, ids::SENTENCE_ASSIGN),
        ids::SENTENCE_MERGE => semantic::merge(job, ids::SENTENCE_PAIRS),
        ids::SENTENCE_CLUSTER => cells::cluster_sentences(job),
        ids::IMAGE_EMBED => images::embed(job),
        ids::IMAGE_TRAIN => cells::train(job, &cells::IMAGES),
        ids::IMAGE_ASSIGN => cells::assign(job, &cells::IMAGES),
        ids::IMAGE_PAIRS => semantic::pairs(job, ids::IMAGE_ASSIGN),
        ids::IMAGE_MERGE => semantic::merge(job, ids::IMAGE_PAIRS),
        ids::IMAGE_CLUSTER => cells::cluster_images(job),
        ids::HOME => images::home(job),
        ids::EXACT_SAMPLE => retrieve::exact_sample(job),
        ids::CALIBRATE => retrieve::calibrate(job),
        ids::ROUTE => retrieve::route(job),
        ids::SEARCH => retrieve::search(job),
        ids::CANDIDATES => retrieve::merge(job),
        ids::NOUNS_COUNT => words::count_nouns(job),
        ids::NOUNS_SUM => words::sum(job, ids::NOUNS_COUNT),
        ids::NOUNS_FREEZE => words::freeze_nouns(job),
        ids::CAPTION => captions::caption(job),
        ids::TAG => captions::tag(job),
        ids::GENERATE => captions::generate(job),
        ids::PAIR_SCORE => captions::pair_score(job),
        ids::TAKEDOWN => release::takedown(job),
        ids::PAIRS => release::pairs(job),
        ids::SELECT => release::select(job),
        ids::GATHER => publish::gather(job),
        ids::PACK => publish::pack(job),
        ids::PUBLISH => publish::publish(job),
        other => unreachable!("{other} stands in no table of the graph"),
    }
}
