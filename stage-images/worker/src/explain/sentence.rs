//! The account of a sentence.

use std::fmt::Write;

use realsyn_plan::Id;
use realsyn_plan::graph::ids;

use super::{Account, Found, SHOWN};
use crate::run::StageError;
use crate::stages::rows::{
    Block, ClusteredSentence, Dropped, Duplicate, KeptSentence, Retrieved, Score, Sentence, SentenceOccurrence,
};
use crate::stages::sentences::{of_block, segmenter};

/// A place where a sentence stands that no table keeps, because a rule dropped it.
struct Place {
    text: String,
    page: String,
    block: u32,
    index: u32,
}

impl Account<'_> {
    /// Everything that the build knows of the sentence of this id, if it is one.
    pub(super) fn sentence(&mut self) -> Result<Found, StageError> {
        let id = self.id;
        let ranges = self.shards(ids::UNIQUE);
        if ranges == 0 {
            return self.dropped_by_rule();
        }
        let range = id.range_of(ranges);
        let Some(s) = self.row::<Sentence>(ids::UNIQUE, range, "sentences", |s| s.sentence == id)? else {
            return self.dropped_by_rule();
        };
        _ = writeln!(self.text, "sentence {id}\n  \u{201c}{}\u{201d}", s.text);
        self.line("sentence-dedup-exact", format_args!("range {range}, occurs {} times", s.occurrences));
        let job = self.job(ids::UNIQUE, range);
        let places: Vec<SentenceOccurrence> = job.table_of(ids::UNIQUE, range, "occurrences")?;
        for o in places.iter().filter(|o| o.sentence == id) {
            let page = o.url.clone().unwrap_or_else(|| o.document.to_string());
            self.occurs_at(&page, o.block, o.index);
        }
        if let Some(score) = self.row::<Score>(ids::SCORE, range, "scores", |r| r.sentence == id)? {
            let perplexity = score.perplexity.map_or_else(|| "not computed".into(), |p| format!("{p:.2}"));
            self.line(
                "sentence-score",
                format_args!("entropy {:.4}, perplexity {perplexity} over {} tokens", score.entropy, score.tokens),
            );
        }
        if self.dropped(ids::ROWS, range)? {
            return Ok(Found::Dropped);
        }
        if self.row::<KeptSentence>(ids::ROWS, range, "sentences", |r| r.sentence == id)?.is_some() {
            self.line("sentence-dedup-near", "kept");
            if self.cell()? {
                return Ok(Found::Dropped);
            }
            self.retrieved()?;
        }
        Ok(Found::Sentence { range })
    }

    fn occurs_at(&mut self, page: &str, block: u32, index: u32) {
        self.line("  occurs", format_args!("{page} block {block} sentence {index}"));
    }

    /// A sentence that stands in no table but that of what the rules left out.
    fn dropped_by_rule(&mut self) -> Result<Found, StageError> {
        let (mut dropped, mut places) = (None::<Dropped>, Vec::new());
        for number in 0..self.shards(ids::SENTENCES) {
            if let Some(row) = self.dropped_row(ids::SENTENCES, number)? {
                dropped.get_or_insert(row);
                places.extend(self.places(number)?);
            }
            self.run.forget_commits();
        }
        let Some(row) = dropped else { return Ok(Found::Nothing) };
        _ = writeln!(self.text, "sentence {}", self.id);
        match places.first() {
            Some(place) => _ = writeln!(self.text, "  \u{201c}{}\u{201d}", place.text),
            None => {
                self.line("", "its text stands in the documents of the build that made it: ask with its file alone")
            }
        }
        for place in &places {
            self.occurs_at(&place.page, place.block, place.index);
        }
        self.drop_line(ids::SENTENCES, &row);
        Ok(Found::Dropped)
    }

    /// Where the sentence stands in the documents of a shard. Its text is not stored a second time: the blocks are cut
    /// again. None where the documents are another build's.
    fn places(&self, number: u32) -> Result<Vec<Place>, StageError> {
        if self.run.sentences.is_some() {
            return Ok(Vec::new());
        }
        let punkt = segmenter(&self.run.build.stages.sentences);
        let mut places = Vec::new();
        for block in self.job(ids::DOCUMENTS, number).table_of::<Block>(ids::DOCUMENTS, number, "blocks")? {
            let found = of_block(&block.text, &punkt).filter(|(_, text)| Id::of_sentence(text) == self.id);
            places.extend(found.map(|(index, text)| {
                let page = block.url.clone().unwrap_or_else(|| block.document.to_string());
                Place { text, page, block: block.position, index }
            }));
        }
        Ok(places)
    }

    /// Writes where the cells put it; `true` if it is a semantic duplicate.
    fn cell(&mut self) -> Result<bool, StageError> {
        let id = self.id;
        for cell in 0..self.shards(ids::SENTENCE_CLUSTER) {
            let dropped = self.row::<Duplicate>(ids::SENTENCE_CLUSTER, cell, "dropped", |d| d.id == id)?;
            if let Some(d) = dropped {
                let (reason, value) = ("semantic-duplicate".to_owned(), d.distance.map(f64::from));
                let row = Dropped { what: id.to_string(), reason, of: Some(d.of), value };
                self.drop_line(ids::SENTENCE_MERGE, &row);
                return Ok(true);
            }
            let row = self.row::<ClusteredSentence>(ids::SENTENCE_CLUSTER, cell, "sentences", |r| r.sentence == id)?;
            if let Some(r) = row {
                self.line("sentence-cluster", format_args!("cell {cell} cluster {}", r.cluster));
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Writes for which images it was retrieved, the nearest first.
    fn retrieved(&mut self) -> Result<(), StageError> {
        let id = self.id;
        let mut images = Vec::new();
        for home in 0..self.shards(ids::CANDIDATES) {
            let job = self.job(ids::CANDIDATES, home);
            for row in job.table_of::<Retrieved>(ids::CANDIDATES, home, "candidates")? {
                let place = row.candidates.iter().position(|c| c.sentence == id);
                images.extend(place.map(|rank| (row.candidates[rank].cosine, row.image, rank + 1)));
            }
            self.run.forget_commits();
        }
        if !self.sealed(ids::CANDIDATES) {
            return Ok(());
        }
        images.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        self.line("retrieve", format_args!("for {} images", images.len()));
        for (cosine, image, rank) in images.into_iter().take(SHOWN) {
            self.line("", format_args!("{rank:>2}. of {image}, cosine {cosine:.4}"));
        }
        Ok(())
    }
}
