//! The headline's facts.

use realsyn_plan::graph::ids;

use super::Reader;
use crate::report::data::{Head, PublishedHead, ReleaseHead};
use crate::stages::publish::ReleaseManifest;

pub fn head(from: &Reader) -> anyhow::Result<Head> {
    let run = from.run;
    let release = match &run.release {
        None => None,
        Some(release) => Some(ReleaseHead { name: release.name.clone(), published: published(from)? }),
    };
    Ok(Head {
        build: run.release.as_ref().map(|r| r.spec.build_ref.name.clone()),
        release,
        pool: from.count(ids::PAIR_SCORE, "out"),
        format: format!("{:?}", run.source.format).to_lowercase(),
        source: run.source.store.describe(),
        store: run.store().describe(),
        files: run.inventory.files() as u64,
        file_bytes: run.inventory.bytes(),
        documents: from.count(ids::DOCUMENTS, "out"),
        images: (from.count(ids::DOCUMENTS, "images"), from.count(ids::HOME, "out")),
        sentences: (from.count(ids::SENTENCES, "in"), from.count(ids::SENTENCE_CLUSTER, "out")),
    })
}

fn published(from: &Reader) -> anyhow::Result<Option<PublishedHead>> {
    let (Some(release), true) = (&from.run.release, from.sealed(ids::PUBLISH)) else { return Ok(None) };
    let Some(bytes) = from.job(ids::PUBLISH, 0).object_of(ids::PUBLISH, 0, "manifest")? else { return Ok(None) };
    let manifest: ReleaseManifest = serde_json::from_slice(&bytes)?;
    Ok(Some(PublishedHead {
        digest: manifest.digest.to_string(),
        pairs: manifest.pairs,
        bytes: manifest.bytes,
        files: manifest.files.len() as u64,
        uri: release.destination.describe(),
    }))
}
