//! `realsyn explain ID`: every score of an image or a sentence, where it occurs, and the first rule that dropped it.
//!
//! The ledger is a view: each step's tables hold what that step knows. An image is looked for at every home shard until
//! it is found; from then on one shard per step is opened. A release is asked only what it decides by itself.

mod image;
mod release;
mod sentence;

use std::fmt::{Display, Write};

use anyhow::bail;
use realsyn_crds::Stage;
use realsyn_dataset::formats::Row;
use realsyn_plan::graph::{find, ids};
use realsyn_plan::judge::Verdict;
use realsyn_plan::layout::ShardSpec;
use realsyn_plan::{Digest, Id, StepId};

use crate::run::{Job, Run, StageError};
use crate::session::{Locations, Session};
use crate::stages::rows::Dropped;

/// Lines of one kind that are shown at most: a sentence may be retrieved for a million images.
const SHOWN: usize = 8;

/// The account of one id: of the build, then of each release in the files.
///
/// # Errors
/// An id that is neither an image nor a sentence of the build, and records that cannot be read.
pub fn explain(at: &Locations, id: Id) -> anyhow::Result<String> {
    let session = Session::open(at)?;
    let (inventory, _) = session.inventory(false)?;
    let mut run = session.run(inventory.clone(), None)?;
    load_seals(&mut run)?;
    let mut account = Account { run: &run, id, text: String::new() };
    let found = match account.image()? {
        Found::Nothing => account.sentence()?,
        found => found,
    };
    let mut text = account.text;
    if found == Found::Nothing {
        bail!("{id} is neither an image nor a sentence of this build (a document's parts are named by their own ids)");
    }
    for release in &session.manifests.releases {
        let mut run = session.run(inventory.clone(), Some(release))?;
        load_seals(&mut run)?;
        let mut account = Account { run: &run, id, text };
        match found {
            Found::Image { home } => account.image_in_release(home)?,
            Found::Sentence { range } => account.sentence_in_release(range)?,
            Found::Nothing | Found::Dropped => {}
        }
        text = account.text;
    }
    Ok(text)
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

/// What an id turned out to be, and where releases find it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Neither an image nor a sentence.
    Nothing,
    /// Something that the build left out: no release has a say in it.
    Dropped,
    /// An image, at its home shard.
    Image { home: u32 },
    /// A sentence, in the range of its id.
    Sentence { range: u32 },
}

struct Account<'a> {
    run: &'a Run,
    id: Id,
    text: String,
}

impl Account<'_> {
    fn job(&self, step: StepId, number: u32) -> Job<'_> {
        Job::new(self.run, find(step), ShardSpec { number, key: Digest([0; 32]), group: number..number + 1 })
    }

    fn sealed(&self, step: StepId) -> bool {
        self.run.seals.contains_key(&step)
    }

    /// Shards of a step; none while it is not sealed.
    fn shards(&self, step: StepId) -> u32 {
        self.run.seals.get(&step).map_or(0, |seal| seal.shards.len() as u32)
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

    fn line(&mut self, stage: impl Display, what: impl Display) {
        // A release's name may be longer than the column.
        _ = writeln!(self.text, "  {:<26} {what}", stage.to_string());
    }

    /// Why a step left the id out, if it did.
    fn dropped_row(&self, step: StepId, number: u32) -> Result<Option<Dropped>, StageError> {
        let id = self.id.to_string();
        self.row::<Dropped>(step, number, "dropped", |d| d.what == id)
    }

    /// Writes why a step of the build dropped the id; `true` if it did.
    fn dropped(&mut self, step: StepId, number: u32) -> Result<bool, StageError> {
        let Some(row) = self.dropped_row(step, number)? else { return Ok(false) };
        self.drop_line(step, &row);
        Ok(true)
    }

    fn drop_line(&mut self, step: StepId, row: &Dropped) {
        self.line(decided_by(&row.reason, step), format_args!("DROPPED: {}", why(row)));
        self.line("", "later stages: not computed");
    }
}

/// The stage whose settings a reason is of: some apply a rule where they have everything at hand, for another.
fn decided_by(reason: &str, step: StepId) -> Stage {
    match reason {
        "perceptual-duplicate" => Stage::ImageDedupPerceptual,
        "semantic-duplicate" if step == ids::HOME => Stage::ImageDedupSemantic,
        "low-entropy" | "no-perplexity" | "low-perplexity" | "high-perplexity" => Stage::SentenceScore,
        _ => step.stage,
    }
}

/// A reason with what is duplicated and the value that decided.
fn why(row: &Dropped) -> String {
    let measure = match row.reason.as_str() {
        "semantic-duplicate" => "cosine distance",
        "low-entropy" => "entropy",
        "low-perplexity" | "high-perplexity" => "perplexity",
        _ => "cosine",
    };
    let of = row.of.map_or_else(String::new, |of| format!(" of {of}"));
    let value = row.value.map_or_else(String::new, |v| format!(" ({measure} {v:.4})"));
    format!("{}{of}{value}", row.reason)
}
