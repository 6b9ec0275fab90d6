//! `realsyn affected ID`: which releases hold an image, a sentence or anything of a document.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

use anyhow::bail;
use realsyn_plan::graph::{find, ids};
use realsyn_plan::layout::ShardSpec;
use realsyn_plan::{Digest, Id, StepId};

use crate::explain::load_seals;
use crate::run::{Job, Run};
use crate::session::{Locations, Session, SettingsError};
use crate::stages::publish::{MANIFEST, ReleaseManifest};
use crate::stages::rows::{Pair, Selected, SentenceOccurrence};

/// Pairs of a release that hold an id, by what it is to them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Pairs of that image.
    pub images: u64,
    /// Pairs with that sentence, or a sentence of that document, among their texts.
    pub texts: u64,
    /// Pairs whose image occurs in that document.
    pub documents: u64,
    /// Pairs in each shard of the release.
    pub shards: BTreeMap<u32, u64>,
}

/// One line for each release of the files.
///
/// # Errors
/// Files without a release, and records that cannot be read.
pub fn affected(at: &Locations, id: Id) -> anyhow::Result<String> {
    let session = Session::open(at)?;
    if session.manifests.releases.is_empty() {
        let message = "the files hold no release: give the releases that are to be asked with -f, too";
        return Err(SettingsError(message.into()).into());
    }
    let (inventory, _) = session.inventory(false)?;
    let mut text = String::new();
    for release in &session.manifests.releases {
        let mut run = session.run(inventory.clone(), Some(release))?;
        load_seals(&mut run)?;
        let name = &release.metadata.name;
        let Some(manifest) = published(&run)? else {
            _ = writeln!(text, "{name}: not published yet, so it holds nothing");
            continue;
        };
        if !run.seals.contains_key(&ids::PUBLISH) {
            bail!(
                "{name}: it is published (digest {}, {}), but a step that it was made from is not sealed now, so it cannot be \
                 told what it holds: run the build to its end first, or look into its Parquet files",
                manifest.digest.short(),
                manifest.uri
            );
        }
        let words = words(&search(&run, id)?);
        _ = writeln!(text, "{name}: {words} (digest {}, {})", manifest.digest.short(), manifest.uri);
    }
    Ok(text)
}

/// The manifest of a release, if there is one.
fn published(run: &Run) -> anyhow::Result<Option<ReleaseManifest>> {
    match run.release.as_ref().map(|r| r.destination.size(MANIFEST)).transpose()?.flatten() {
        Some(_) => Ok(Some(ReleaseManifest::read(run)?)),
        None => Ok(None),
    }
}

fn words(found: &Found) -> String {
    let kinds = [(found.images, "the image"), (found.texts, "a text"), (found.documents, "from the document")];
    let kinds: Vec<String> = kinds
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{what} of {n} pair{}", if n == 1 { "" } else { "s" }))
        .collect();
    if kinds.is_empty() {
        return "does not hold it".to_owned();
    }
    let shards: Vec<String> = found.shards.keys().take(8).map(|n| format!("{n:05}")).collect();
    let more = if found.shards.len() > shards.len() { " …" } else { "" };
    format!("HOLDS it as {}, in shards {}{more}", kinds.join(", "), shards.join(" "))
}

/// Looks through all released pairs of a run. An image is one pair, so this reads every shard only where it must.
///
/// # Errors
/// Records that cannot be read.
pub fn search(run: &Run, id: Id) -> anyhow::Result<Found> {
    let sentences = sentences_of(run, id)?;
    let texts = run.release.as_ref().map_or(0, |r| r.spec.texts as usize);
    let mut found = Found::default();
    for home in 0..run.seals[&ids::PAIRS].shards.len() as u32 {
        let placed = selected(run, home)?;
        for pair in job(run, ids::PAIRS, home).table_of::<Pair>(ids::PAIRS, home, "pairs")? {
            let Some(shard) = placed.get(&pair.image) else { continue };
            let is_image = pair.image == id;
            let has_text =
                pair.candidates.iter().take(texts).any(|c| c.sentence == id || sentences.contains(&c.sentence));
            let is_from = pair.occurrences.iter().any(|o| o.document == id);
            found.images += u64::from(is_image);
            found.texts += u64::from(has_text);
            found.documents += u64::from(is_from);
            if is_image || has_text || is_from {
                *found.shards.entry(*shard).or_default() += 1;
            }
        }
        run.forget_commits();
    }
    Ok(found)
}

/// The released images of a home shard, and the shard of the release that each is in.
fn selected(run: &Run, home: u32) -> anyhow::Result<BTreeMap<Id, u32>> {
    let rows = job(run, ids::GATHER, home).partition::<Selected>(ids::SELECT, "selection")?;
    Ok(rows.into_iter().map(|s| (s.image, s.shard)).collect())
}

/// The sentences that occur in a document of this id.
fn sentences_of(run: &Run, id: Id) -> anyhow::Result<HashSet<Id>> {
    let mut sentences = HashSet::new();
    for range in 0..run.seals[&ids::UNIQUE].shards.len() as u32 {
        let rows: Vec<SentenceOccurrence> = job(run, ids::UNIQUE, range).table_of(ids::UNIQUE, range, "occurrences")?;
        sentences.extend(rows.into_iter().filter(|o| o.document == id).map(|o| o.sentence));
    }
    Ok(sentences)
}

fn job(run: &Run, step: StepId, number: u32) -> Job<'_> {
    Job::new(run, find(step), ShardSpec { number, key: Digest([0; 32]), group: number..number + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_one_line() {
        assert_eq!(words(&Found::default()), "does not hold it");
        let found = Found { images: 1, texts: 12, documents: 0, shards: (0..12).map(|n| (n, 1)).collect() };
        let all = words(&found);
        assert_eq!(
            all,
            "HOLDS it as the image of 1 pair, a text of 12 pairs, in shards 00000 00001 00002 00003 00004 00005 00006 00007 …"
        );
    }
}
