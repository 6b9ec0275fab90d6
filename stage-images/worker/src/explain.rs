//! `realsyn explain ID`: every score of an image or a sentence, where it occurs, and the first rule that dropped it.
//!
//! The ledger is a view: each step's tables hold what that step knows. An image is looked for at every home shard until
//! it is found; from then on one shard per step is opened.

use std::fmt::Write;

use realsyn_dataset::formats::Row;
use realsyn_plan::graph::ids;
use realsyn_plan::{Id, Step, StepId};

use crate::run::{Job, Run, StageError};
use crate::stages::rows::{
    Captioned, ClusteredImage, ClusteredSentence, Decoded, Dropped, Duplicate, Generated, KeptSentence, Pair,
    PairScore, Retrieved, Score, Sentence, SentenceOccurrence, Tagged,
};
use realsyn_plan::judge::Verdict;
use realsyn_plan::layout::ShardSpec;

/// The account of one id.
pub fn explain(run: &mut Run, id: Id) -> anyhow::Result<String> {
    load_seals(run)?;
    let mut account = Account { run, id, text: String::new() };
    if account.image()? || account.sentence()? {
        return Ok(account.text);
    }
    anyhow::bail!(
        "{id} is neither an image nor a sentence of this build (a document's parts are named by their own ids)"
    )
}

/// Takes in every seal that is there already; runs nothing.
pub fn load_seals(run: &mut Run) -> anyhow::Result<()> {
    run.take_sentences()?;
    for step in run.steps() {
        if let Some(Verdict::Sealed(seal)) = run.ledger.look(&run.state(step))? {
            run.sealed(step.id, *seal);
        }
    }
    Ok(())
}

struct Account<'a> {
    run: &'a Run,
    id: Id,
    text: String,
}

impl Account<'_> {
    fn job(&self, step: StepId, number: u32) -> Job<'_> {
        let step: &'static Step = realsyn_plan::graph::find(step);
        let key = realsyn_plan::Digest([0; 32]);
        Job::new(self.run, step, ShardSpec { number, key, group: number..number + 1 })
    }

    fn sealed(&self, step: StepId) -> bool {
        self.run.seals.contains_key(&step)
    }

    /// The row of a table that `wanted` accepts; `None` too while the step is not sealed.
    fn row<T: Row>(
        &self,
        step: StepId,
        number: u32,
        role: &str,
        wanted: impl Fn(&T) -> bool,
    ) -> Result<Option<T>, StageError> {
        if !self.sealed(step) {
            return Ok(None);
        }
        Ok(self.job(step, number).table_of::<T>(step, number, role)?.into_iter().find(|r| wanted(r)))
    }

    fn line(&mut self, stage: &str, what: std::fmt::Arguments) {
        _ = writeln!(self.text, "  {stage:<26} {what}");
    }

    /// Writes why a step dropped the id; `true` if it did.
    fn dropped(&mut self, step: StepId, number: u32) -> Result<bool, StageError> {
        let id = self.id.to_string();
        let Some(d) = self.row::<Dropped>(step, number, "dropped", |d| d.what == id)? else { return Ok(false) };
        let value = d.value.map_or_else(String::new, |v| format!(" ({v:.4})"));
        let of = d.of.map_or_else(String::new, |of| format!(" of {of}"));
        self.line(step.stage.name(), format_args!("DROPPED: {}{of}{value}", d.reason));
        self.line("", format_args!("later stages: not computed"));
        Ok(true)
    }

    fn image(&mut self) -> Result<bool, StageError> {
        let id = self.id;
        if !self.sealed(ids::DECODE) {
            return Ok(false);
        }
        let mut copies = Vec::new();
        for number in 0..self.run.inventory.shards.len() as u32 {
            if let Some(d) = self.row::<Decoded>(ids::DECODE, number, "images", |d| d.image == id)? {
                copies.push((number, d));
            } else if self.row::<Dropped>(ids::DECODE, number, "dropped", |d| d.what == id.to_string())?.is_some() {
                _ = writeln!(self.text, "image {id}\n  shard {number}");
                return self.dropped(ids::DECODE, number);
            }
        }
        let Some((home, decoded)) = copies.first().cloned() else { return Ok(false) };
        _ = writeln!(self.text, "image {id}");
        let shards: Vec<String> = copies.iter().map(|(n, _)| n.to_string()).collect();
        self.line(
            "image-decode",
            format_args!(
                "{} {}\u{d7}{}, {} bytes, stored {}\u{d7}{}; shards {}; home {home}",
                decoded.format,
                decoded.width,
                decoded.height,
                decoded.bytes,
                decoded.stored_width,
                decoded.stored_height,
                shards.join(", ")
            ),
        );
        for o in copies.iter().flat_map(|(_, d)| &d.occurrences) {
            let page = o.document_url.clone().unwrap_or_else(|| o.document.to_string());
            self.line("  occurs", format_args!("{page} at {}: {}", o.position, o.url));
        }
        if self.dropped(ids::POLICY, home)? || self.dropped(ids::HOME, home)? {
            return Ok(true);
        }
        if let Some(r) = self.row::<ClusteredImage>(ids::HOME, home, "images", |r| r.image == id)? {
            self.line("image-cluster", format_args!("cell {} cluster {}", r.cluster >> 32, r.cluster & 0xffff_ffff));
        }
        if let Some(r) = self.row::<Retrieved>(ids::CANDIDATES, home, "candidates", |r| r.image == id)? {
            for (rank, c) in r.candidates.iter().enumerate() {
                self.line("retrieve", format_args!("{:>2}. {:.4} {} {}", rank + 1, c.cosine, c.sentence, c.text));
            }
        }
        if let Some(r) = self.row::<Captioned>(ids::CAPTION, home, "captions", |r| r.image == id)? {
            self.line("caption", format_args!("{}", r.caption));
        }
        if let Some(r) = self.row::<Tagged>(ids::TAG, home, "tags", |r| r.image == id)? {
            let tags: Vec<String> = r.tags.iter().map(|t| format!("{} {:.3}", t.tag, t.score)).collect();
            self.line("tag", format_args!("{}", tags.join(", ")));
        }
        if let Some(r) = self.row::<Generated>(ids::GENERATE, home, "texts", |r| r.image == id)? {
            self.line("generate", format_args!("{}: {}", r.outcome, r.text.unwrap_or_default()));
        }
        if let Some(r) = self.row::<PairScore>(ids::PAIR_SCORE, home, "scores", |r| r.image == id)? {
            let cosine = r.cosine.map_or_else(|| "not computed".into(), |c| format!("cosine {c:.4}"));
            self.line("pair-score", format_args!("{cosine}"));
        }
        self.released(home)?;
        Ok(true)
    }

    fn released(&mut self, home: u32) -> Result<(), StageError> {
        let id = self.id;
        if !self.sealed(ids::SELECT) || self.dropped(ids::PAIRS, home)? || self.dropped(ids::SELECT, 0)? {
            return Ok(());
        }
        if self.row::<Pair>(ids::PAIRS, home, "pairs", |p| p.image == id)?.is_some() {
            self.line("release", format_args!("released"));
        }
        Ok(())
    }

    fn sentence(&mut self) -> Result<bool, StageError> {
        let id = self.id;
        if let Some(split) = self.run.seals.get(&ids::SENTENCES) {
            for number in 0..split.shards.len() as u32 {
                let named = id.to_string();
                if self.row::<Dropped>(ids::SENTENCES, number, "dropped", |d| d.what == named)?.is_some() {
                    _ = writeln!(self.text, "sentence {id}\n  shard {number}");
                    return self.dropped(ids::SENTENCES, number);
                }
            }
        }
        let Some(unique) = self.run.seals.get(&ids::UNIQUE) else { return Ok(false) };
        let range = id.range_of(unique.shards.len() as u32);
        let Some(s) = self.row::<Sentence>(ids::UNIQUE, range, "sentences", |s| s.sentence == id)? else {
            return Ok(false);
        };
        _ = writeln!(self.text, "sentence {id}\n  \u{201c}{}\u{201d}", s.text);
        self.line("sentence-dedup-exact", format_args!("range {range}, occurs {} times", s.occurrences));
        let job = self.job(ids::UNIQUE, range);
        let places: Vec<SentenceOccurrence> = job.table_of(ids::UNIQUE, range, "occurrences")?;
        for o in places.iter().filter(|o| o.sentence == id) {
            let page = o.url.clone().unwrap_or_else(|| o.document.to_string());
            self.line("  occurs", format_args!("{page} block {} sentence {}", o.block, o.index));
        }
        if let Some(score) = self.row::<Score>(ids::SCORE, range, "scores", |r| r.sentence == id)? {
            let perplexity = score.perplexity.map_or_else(|| "not computed".into(), |p| format!("{p:.2}"));
            self.line(
                "sentence-score",
                format_args!("entropy {:.4}, perplexity {perplexity} over {} tokens", score.entropy, score.tokens),
            );
        }
        if self.dropped(ids::ROWS, range)? {
            return Ok(true);
        }
        if self.row::<KeptSentence>(ids::ROWS, range, "sentences", |r| r.sentence == id)?.is_some() {
            self.line("sentence-dedup-near", format_args!("kept"));
            self.sentence_cell()?;
        }
        Ok(true)
    }

    fn sentence_cell(&mut self) -> Result<(), StageError> {
        let id = self.id;
        if !self.sealed(ids::SENTENCE_CLUSTER) {
            return Ok(());
        }
        for cell in 0..self.run.seals[&ids::SENTENCE_CLUSTER].shards.len() as u32 {
            let dropped = self.row::<Duplicate>(ids::SENTENCE_CLUSTER, cell, "dropped", |d| d.id == id)?;
            if let Some(d) = dropped {
                let distance = d.distance.map_or_else(String::new, |x| format!(" at distance {x:.4}"));
                self.line("sentence-dedup-semantic", format_args!("DROPPED: semantic-duplicate of {}{distance}", d.of));
                return Ok(());
            }
            let row = self.row::<ClusteredSentence>(ids::SENTENCE_CLUSTER, cell, "sentences", |r| r.sentence == id)?;
            if let Some(r) = row {
                self.line("sentence-cluster", format_args!("cell {cell} cluster {}", r.cluster));
                return Ok(());
            }
        }
        Ok(())
    }
}
