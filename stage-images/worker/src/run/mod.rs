//! Carrying out a plan: what every stage sees of a run, and the machinery that turns a shard into a commit.

mod archive;
mod execute;
mod fetched;
mod gpus;
mod input;
mod lists;
mod models;
mod output;
mod source;
mod stored_file;
mod writer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use realsyn_crds::{BuildSpec, ReleaseSpec, execution};
use realsyn_dataset::protocol::{Ledger, LedgerError, StepState};
use realsyn_dataset::store::Store;
use realsyn_plan::graph::{BUILD, RELEASE};
use realsyn_plan::layout::{Inventory, Seals};
use realsyn_plan::recipe::Recipes;
use realsyn_plan::records::Commit;
use realsyn_plan::{Digest, Step, StepId};

use crate::borrowed::Sentences;
pub use archive::{Archives, Place, files_of, is_archive};

pub use execute::{ENDING, Execution, Order, Progress, StepEnd, advance_step, attempt_name, run_shards, run_step};
pub use gpus::Gpus;
pub use input::Job;
pub use lists::{Lists, resolve};
pub use models::{ModelError, ModelRef, Models};
pub use output::Output;
pub use source::{Mirrors, ROWS_BYTES, SOURCE_PREFIX, Source};
pub use stored_file::{FileError, StoredFile};
pub use writer::{Server, Writer};

/// One build, and perhaps one release of it, over one inventory.
pub struct Run {
    /// The records and objects below the root.
    pub ledger: Ledger,
    /// Where the documents come from.
    pub source: Source,
    /// Where image URLs lead.
    pub mirrors: Mirrors,
    /// The build's settings, profile defaults filled in.
    pub build: BuildSpec,
    /// The release to make, its profile defaults filled in.
    pub release: Option<ReleaseRun>,
    /// The pinned inventory.
    pub inventory: Inventory,
    /// Recipes and digests.
    pub recipes: Recipes,
    /// The models, loaded when first used.
    pub models: Models,
    /// Reads the lists that settings point to.
    pub lists: Lists,
    /// The build whose sentences are taken, if they are another build's.
    pub sentences: Option<Sentences>,
    /// The seals that count, filled in as steps are sealed.
    pub seals: Seals,
    /// Commits read so far in this step.
    pub commits: CommitCache,
}

/// Commits by step and shard number.
pub type CommitCache = Mutex<HashMap<(StepId, u32), Arc<Commit>>>;

/// A release in the making.
pub struct ReleaseRun {
    /// Its name.
    pub name: String,
    /// Its settings.
    pub spec: ReleaseSpec,
    /// Where it is published.
    pub destination: Arc<dyn Store>,
}

/// Why a shard was not processed.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The shard's data cannot be processed: it is committed as rejected, and the task goes on.
    #[error("{detail}")]
    Data {
        /// A short, stable reason.
        reason: &'static str,
        /// The sentence for people.
        detail: String,
    },
    /// Something that a seal names is gone: commit and seal are voided, and the shard runs again.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The settings are wrong: nothing else will help.
    #[error("{0}")]
    Settings(String),
    /// The language model's server has not answered for too long: the task fails and is tried again.
    #[error("{0}")]
    Server(String),
    /// A GPU is lost: the task fails, and another pod tries it on another one.
    #[error("{0}")]
    Gpu(String),
    /// Memory, time, I/O or device trouble: the task fails and is tried again.
    #[error("{0:#}")]
    Trouble(anyhow::Error),
}

impl From<anyhow::Error> for StageError {
    fn from(e: anyhow::Error) -> Self {
        Self::Trouble(e)
    }
}

impl From<realsyn_dataset::store::StoreError> for StageError {
    fn from(e: realsyn_dataset::store::StoreError) -> Self {
        Self::Ledger(e.into())
    }
}

impl From<ModelError> for StageError {
    fn from(e: ModelError) -> Self {
        match e {
            ModelError::NotFetched { .. } => Self::Trouble(e.into()),
            wrong => Self::Settings(wrong.to_string()),
        }
    }
}

impl Run {
    /// Reads the lists that settings point to.
    pub fn lists(&self) -> &Lists {
        &self.lists
    }

    /// The store below the root.
    pub fn store(&self) -> &Arc<dyn Store> {
        self.ledger.store()
    }

    /// The commit that the counting seal of `step` names for `number`.
    ///
    /// # Errors
    /// [`LedgerError::Gone`] when the store no longer holds what the seal saw.
    pub fn commit(&self, step: StepId, number: u32) -> Result<Arc<Commit>, LedgerError> {
        if let Some(commit) = self.commits.lock().expect("no holder panics").get(&(step, number)) {
            return Ok(commit.clone());
        }
        let seal = &self.seals[&step];
        let recipe: Digest = seal.recipe;
        let shard = seal.shards.get(number as usize).ok_or_else(|| LedgerError::Gone {
            step,
            number,
            what: "the shard".into(),
            how: "not among the sealed ones",
        })?;
        let commit = Arc::new(self.ledger.sealed_commit(step, &recipe, shard)?);
        self.commits.lock().expect("no holder panics").insert((step, number), commit.clone());
        Ok(commit)
    }

    /// The steps that it runs, in graph order: those of the release too, if there is one, and none of the sentences that
    /// are another build's.
    pub fn steps(&self) -> Vec<&'static Step> {
        let release: &'static [Step] = if self.release.is_some() { RELEASE } else { &[] };
        BUILD.iter().chain(release).filter(|step| self.build.runs(step.id.stage)).collect()
    }

    /// Everything that a step's verdict depends on.
    pub fn state(&self, step: &'static Step) -> StepState<'_> {
        StepState {
            step,
            digests: self.recipes.digests(step.id),
            inventory: &self.inventory,
            seals: &self.seals,
            max_rejected_share: execution(&self.build, step.id.stage).max_rejected_share,
        }
    }

    /// Takes in the seals of sentences that are another build's. Comes after the run is referred to: what is sealed before
    /// that may be about to go.
    ///
    /// # Errors
    /// As [`Sentences::seals`].
    pub fn take_sentences(&mut self) -> anyhow::Result<()> {
        if let Some(sentences) = &self.sentences {
            self.seals.extend(sentences.seals(&self.ledger)?);
        }
        Ok(())
    }

    /// Takes a step's seal into the run.
    pub fn sealed(&mut self, step: StepId, seal: realsyn_plan::records::Seal) {
        self.seals.insert(step, seal);
    }

    /// Drops remembered commits, so that memory does not grow with the number of shards.
    pub fn forget_commits(&self) {
        self.commits.lock().expect("no holder panics").clear();
    }
}
