//! What a release made of an image or a sentence.

use std::collections::BTreeMap;

use realsyn_dataset::formats::release::sample_key;
use realsyn_plan::Id;
use realsyn_plan::graph::ids;

use super::{Account, SHOWN, why};
use crate::run::{ReleaseRun, StageError};
use crate::stages::release::BandRow;
use crate::stages::rows::{Pair, Selected, TakenDown};

impl Account<'_> {
    fn release(&self) -> &ReleaseRun {
        self.run.release.as_ref().expect("a release is asked only of a run that has one")
    }

    fn in_release(&mut self, what: impl std::fmt::Display) {
        let stage = format!("release {}", self.release().name);
        self.line(stage, what);
    }

    /// The line of an image that the build kept.
    pub(super) fn image_in_release(&mut self, home: u32) -> Result<(), StageError> {
        if let Some(row) = self.dropped_row(ids::PAIRS, home)? {
            self.in_release(format_args!("DROPPED: {}", why(&row)));
            return Ok(());
        }
        if !self.sealed(ids::SELECT) {
            self.in_release("not selected yet");
            return Ok(());
        }
        if let Some(row) = self.dropped_row(ids::SELECT, 0)? {
            let band = self.row::<BandRow>(ids::SELECT, 0, "band", |_| true)?;
            let band = band.map_or_else(String::new, |b| format!(", the band is {:.4} to {:.4}", b.low, b.high));
            self.in_release(format_args!("DROPPED: {}{band}", why(&row)));
            return Ok(());
        }
        match self.keys(home)?.remove(&self.id) {
            Some(key) if self.sealed(ids::PUBLISH) => self.in_release(format_args!("released as {key}")),
            Some(key) => self.in_release(format_args!("to be released as {key}: not published yet")),
            None => self.in_release("not among its pairs: its home shard was rejected"),
        }
        Ok(())
    }

    /// The lines of a sentence that the build kept.
    pub(super) fn sentence_in_release(&mut self, range: u32) -> Result<(), StageError> {
        let id = self.id;
        if self.row::<TakenDown>(ids::TAKEDOWN, range, "sentences", |t| t.sentence == id)?.is_some() {
            self.in_release("DROPPED: taken-down");
            return Ok(());
        }
        if !self.sealed(ids::SELECT) {
            self.in_release("not selected yet");
            return Ok(());
        }
        let texts = self.release().spec.texts as usize;
        let mut lines = Vec::new();
        for home in 0..self.shards(ids::PAIRS) {
            let keys = self.keys(home)?;
            for pair in self.job(ids::PAIRS, home).table_of::<Pair>(ids::PAIRS, home, "pairs")? {
                let text = pair.candidates.iter().take(texts).position(|c| c.sentence == id);
                lines.extend(text.zip(keys.get(&pair.image)).map(|(n, key)| {
                    let cosine = pair.candidates[n].cosine;
                    format!("text{} of {}, cosine {cosine:.4}, released as {key}", n + 1, pair.image)
                }));
            }
            self.run.forget_commits();
        }
        self.in_release(format_args!("a text of {} pairs", lines.len()));
        for line in lines.into_iter().take(SHOWN) {
            self.line("", line);
        }
        Ok(())
    }

    /// The keys under which the selected images of a home shard are released.
    fn keys(&self, home: u32) -> Result<BTreeMap<Id, String>, StageError> {
        let per_shard = u64::from(self.release().spec.samples_per_shard);
        let rows = self.job(ids::GATHER, home).partition::<Selected>(ids::SELECT, "selection")?;
        let key = |s: &Selected| sample_key(s.shard.into(), s.place.into(), per_shard);
        Ok(rows.iter().map(|s| (s.image, key(s))).collect())
    }
}
