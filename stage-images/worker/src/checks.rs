//! What is looked at before the first stage: a list, a model or a destination that cannot work is better known then than after
//! hours.

use anyhow::Context;
use realsyn_crds::{Dtype, Engine, Stage, device, models_read};
use realsyn_dataset::store::check_conditional;

use crate::run::StageError;
use crate::session::{Session, SettingsError};
use crate::stages::images::LeftOut;
use crate::stages::publish::MANIFEST;
use crate::stages::takedowns::Takedowns;

/// Roles that models other than `clip` could play, and what this worker does without them.
const PLAYED_BY_CLIP: [(&str, &str); 2] = [("captioner", "captions"), ("tagger", "tags")];

impl Session {
    /// Stops with a sentence if the build names a model that this worker would not use, or a number format that it would not
    /// compute in.
    ///
    /// # Errors
    /// [`SettingsError`], with a line for each.
    pub fn check_models(&self) -> Result<(), SettingsError> {
        let build = &self.manifests.build.metadata.name;
        let used = self.spec.models.named().filter(|(role, _)| self.spec.uses_model(role));
        let problems = used.filter_map(|(role, model)| {
            if let Some((_, what)) = PLAYED_BY_CLIP.iter().find(|(other, _)| *other == role) {
                return Some(format!(
                    "build {build}: spec.models.{role}: this worker makes {what} of models.clip and would not use another \
                     model; leave it out"
                ));
            }
            let in_process = self.opened().contains(&role) && model.dtype != Dtype::F32;
            let dtype = serde_json::to_value(model.dtype).unwrap_or_default();
            in_process.then(|| {
                format!("build {build}: spec.models.{role}.dtype: this worker computes it in f32, not in {dtype}; write f32")
            })
        });
        settled(problems.collect())
    }

    /// The roles whose models this worker loads itself. What a server loads is the server's.
    pub(crate) fn opened(&self) -> Vec<&'static str> {
        let in_process = |stage: &Stage| device(&self.spec, *stage).is_none_or(|device| device.engine == Engine::Cpu);
        let reads =
            |role: &str| Stage::ALL.iter().any(|stage| in_process(stage) && models_read(*stage).contains(&role));
        ["clip", "perplexity", "llm"].into_iter().filter(|role| reads(role) && self.spec.uses_model(role)).collect()
    }

    /// Stops with a sentence if a list that a setting points to cannot be read, is not the one that the setting means, or has a
    /// line that is not understood.
    ///
    /// # Errors
    /// [`SettingsError`], with a line for each.
    pub fn check_lists(&self) -> Result<(), SettingsError> {
        let (lists, stages) = (self.lists(), &self.spec.stages);
        let releases = self.manifests.releases.iter().map(|release| {
            let list = release.spec.takedowns.as_ref();
            (format!("release {}: spec.takedowns", release.metadata.name), list)
        });
        let takedowns = std::iter::once(("spec.takedowns".to_owned(), self.spec.takedowns.as_ref())).chain(releases);
        let takedowns = takedowns.map(|(at, list)| (at, Takedowns::read(&lists, list.into_iter()).map(drop)));
        let vocabulary = lists.lines_in_order(stages.tag_vocab.vocabulary.as_ref()).map(drop);
        let others = [
            ("spec.stages.imagePolicy".to_owned(), LeftOut::read(&lists, &stages.image_policy).map(drop)),
            ("spec.stages.tagVocab.vocabulary".to_owned(), vocabulary),
        ];
        let problems =
            others.into_iter().chain(takedowns).filter_map(|(at, read): (String, Result<(), StageError>)| {
                read.err().map(|error| format!("{at}: {error}"))
            });
        settled(problems.collect())
    }

    /// Stops with a sentence if a place that a release names cannot be written, or does not refuse a second conditional put. One
    /// that holds a release already is left as it is; one below the build's storage is checked with it.
    ///
    /// # Errors
    /// What the store says, with the release's name.
    pub fn check_destinations(&self) -> anyhow::Result<()> {
        for release in self.manifests.releases.iter().filter(|release| release.spec.destination.uri.is_some()) {
            let named = || format!("release {}: spec.destination", release.metadata.name);
            let store = self.named_destination(release)?;
            if store.size(MANIFEST).with_context(named)?.is_none() {
                check_conditional(store.as_ref()).with_context(named)?;
            }
        }
        Ok(())
    }
}

fn settled(problems: Vec<String>) -> Result<(), SettingsError> {
    if problems.is_empty() { Ok(()) } else { Err(SettingsError(problems.join("\n"))) }
}
