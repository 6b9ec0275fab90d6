//! A release's second half: pictures and texts to their shards, tars and Parquet, and the publication.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use realsyn_crds::{ReleaseFormat, TextSurface};
use realsyn_dataset::formats::Blob;
use realsyn_dataset::formats::release::{
    ReleaseRow, ReleaseText, append_sample, sample_json, sample_key, write_release_parquet,
};
use realsyn_dataset::formats::tar::TarWriter;
use realsyn_dataset::store::{Settled, StoreExt};
use realsyn_models::ClipTokenizer;
use realsyn_plan::graph::ids;
use realsyn_plan::{Digest, Id};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::card::{self, Origins};
use super::images::pictures;
use super::images::trouble;
use super::release::BandRow;
use super::rows::{Gathered, Pair, Published, Selected};
use crate::run::{Job, Output, ReleaseRun, Run, StageError};

/// The file that completes a release.
pub const MANIFEST: &str = "manifest.json";
/// The dataset card beside it.
pub const CARD: &str = "README.md";

/// What a release holds. Written last; a folder without it is not a release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseManifest {
    /// Digest over logical rows and media hashes: the release's identity.
    pub digest: Digest,
    /// Pairs.
    pub pairs: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Realistic texts per pair, at most.
    pub texts: u32,
    /// Files, in name order.
    pub files: Vec<ReleaseFile>,
    /// Where it lies; not part of the file.
    #[serde(skip)]
    pub uri: String,
}

/// One file of a release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleaseFile {
    /// Name.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// BLAKE3 of its bytes.
    pub blake3: Digest,
}

impl ReleaseManifest {
    /// The manifest at a run's destination.
    pub fn read(run: &Run) -> anyhow::Result<Self> {
        let release = release(run)?;
        let bytes = release.destination.get_required(MANIFEST)?;
        let mut manifest: Self = serde_json::from_slice(&bytes)?;
        manifest.uri = release.destination.describe();
        Ok(manifest)
    }
}

/// The release that a run makes.
pub fn release(run: &Run) -> Result<&ReleaseRun, StageError> {
    run.release.as_ref().ok_or_else(|| StageError::Trouble(anyhow::anyhow!("a release step needs a release")))
}

/// What writes a release's texts, where they are not written as they are.
///
/// # Errors
/// The model `clip` is not there, or its folder has no merges.
pub fn surface(run: &Run) -> Result<Option<Arc<ClipTokenizer>>, StageError> {
    match release(run)?.spec.text_surface {
        TextSurface::Raw => Ok(None),
        TextSurface::ClipRoundtrip => Ok(Some(run.models.clip_tokenizer()?)),
    }
}

/// `gather`: the selected pairs of a home shard with their pictures as released, to the shards of the release.
pub fn gather(job: &Job) -> Result<Output, StageError> {
    let image = &release(job.run)?.spec.image;
    let selected: HashMap<Id, Selected> =
        job.partition::<Selected>(ids::SELECT, "selection")?.into_iter().map(|s| (s.image, s)).collect();
    let mut pictures = pictures(job, &selected.keys().copied().collect::<BTreeSet<_>>())?;
    let mut rows = Vec::new();
    for pair in job.shard::<Pair>(ids::PAIRS, "pairs")? {
        let Some(at) = selected.get(&pair.image) else { continue };
        let picture = pictures
            .remove(&pair.image)
            .ok_or_else(|| anyhow::anyhow!("image {} is not at its home shard", pair.image))?;
        let shown = realsyn_vision::shrink(&picture, image.size);
        rows.push((
            at.shard,
            Gathered {
                place: at.place,
                pair,
                jpeg: Blob(realsyn_vision::encode_jpeg(&shown, image.quality)),
                jpeg_width: shown.width(),
                jpeg_height: shown.height(),
            },
        ));
    }
    let mut out = Output::default();
    out.count("out", rows.len() as u64);
    out.shuffled("rows", rows)?;
    Ok(out)
}

/// `pack`: one shard of the release as files.
pub fn pack(job: &Job) -> Result<Output, StageError> {
    let spec = &release(job.run)?.spec;
    let texts = spec.texts as usize;
    let surface = surface(job.run)?;
    let mut gathered: Vec<Gathered> = job.partition(ids::GATHER, "rows")?;
    gathered.sort_by_key(|g| g.place);
    let shard = u64::from(job.spec.number);
    let mut content = Digest::builder("release shard");
    let mut rows = Vec::with_capacity(gathered.len());
    let mut pictures = Vec::with_capacity(gathered.len());
    for mut g in gathered {
        if let Some(tokenizer) = &surface {
            let written = g.pair.candidates.iter_mut().take(texts).map(|c| &mut c.text);
            written.chain([&mut g.pair.synthetic]).for_each(|text| *text = tokenizer.roundtrip(text));
        }
        let key = sample_key(shard, g.place.into(), spec.samples_per_shard.into());
        let row = release_row(key, g.pair, &g.jpeg.0, (g.jpeg_width, g.jpeg_height), texts);
        // The key says where a pair lies, not what it is; the row names the picture by its hash.
        content = content.part(sample_json(&ReleaseRow { key: String::new(), ..row.clone() }, texts));
        rows.push(row);
        pictures.push(g.jpeg.0);
    }
    let mut out = Output::default();
    let n = rows.len() as u64;
    match spec.format {
        ReleaseFormat::Webdataset => {
            let mut tar = TarWriter::new(Vec::new());
            for (row, picture) in rows.iter().zip(&pictures) {
                append_sample(&mut tar, row, texts, picture).map_err(trouble)?;
            }
            out.object("tar", "tar", n, tar.finish().map_err(trouble)?);
            out.object("parquet", "parquet", n, write_release_parquet(&rows, texts, None).map_err(trouble)?);
        }
        ReleaseFormat::Parquet => {
            let bytes = write_release_parquet(&rows, texts, Some(&pictures)).map_err(trouble)?;
            out.object("parquet", "parquet", n, bytes);
        }
    }
    out.count("out", n);
    out.object("content", "txt", 1, content.finish().to_string().into_bytes());
    Ok(out)
}

fn release_row(key: String, pair: Pair, jpeg: &[u8], (width, height): (u32, u32), texts: usize) -> ReleaseRow {
    let mut urls: Vec<&str> = pair.occurrences.iter().map(|o| o.url.as_str()).collect();
    urls.sort_unstable();
    let mut document_urls: Vec<String> = pair.occurrences.iter().filter_map(|o| o.document_url.clone()).collect();
    document_urls.sort_unstable();
    document_urls.dedup();
    ReleaseRow {
        key,
        image_id: pair.image,
        url: urls.first().copied().unwrap_or_default().to_owned(),
        width,
        height,
        original_width: pair.width,
        original_height: pair.height,
        sha256: Sha256::digest(jpeg).iter().map(|b| format!("{b:02x}")).collect(),
        licence: pair.occurrences.iter().find_map(|o| o.licence.clone()),
        texts: (pair.candidates.into_iter().take(texts))
            .map(|c| ReleaseText { id: c.sentence, text: c.text, cosine: c.cosine })
            .collect(),
        syn_text: pair.synthetic,
        syn_cosine: pair.cosine,
        cluster: pair.cluster,
        tags: pair.tags.into_iter().map(|t| (t.tag, t.score)).collect(),
        document_urls,
    }
}

/// `publish`: the files to the destination under their published names, the card, and last the manifest.
pub fn publish(job: &Job) -> Result<Output, StageError> {
    let release = release(job.run)?;
    let to = &release.destination;
    let mut digest = Digest::builder("release");
    let mut files: BTreeMap<String, (u32, &'static str)> = BTreeMap::new();
    let mut pairs = 0;
    for number in job.numbers(ids::PACK) {
        let content = job.object_of(ids::PACK, number, "content")?.unwrap_or_default();
        digest = digest.part(content);
        let commit = job.run.commit(ids::PACK, number)?;
        pairs += commit.data().map_or(0, |d| d.counts.get("out").copied().unwrap_or(0));
        for role in ["tar", "parquet"] {
            if commit.data().is_some_and(|d| d.objects.iter().any(|o| o.role == role)) {
                files.insert(format!("{number:05}.{role}"), (number, role));
            }
        }
    }
    let digest = digest.number(pairs).finish();
    if let Some(other) = to.read_json::<ReleaseManifest>(MANIFEST)? {
        refuse_other(to.describe(), &other, &digest)?;
    }
    let (mut published, mut origins) = (Vec::new(), Origins::default());
    for (name, (number, role)) in &files {
        let bytes = job.object_of(ids::PACK, *number, role)?.unwrap_or_default();
        to.put(name, &bytes)?;
        if *role == "parquet" {
            origins.add(bytes.clone())?;
        }
        published.push(ReleaseFile { name: name.clone(), bytes: bytes.len() as u64, blake3: Digest::of_bytes(&bytes) });
    }
    let mut manifest = ReleaseManifest {
        digest,
        pairs,
        bytes: published.iter().map(|f| f.bytes).sum(),
        texts: release.spec.texts,
        files: published,
        uri: String::new(),
    };
    let band = job.table_of::<BandRow>(ids::SELECT, 0, "band")?.into_iter().next();
    to.put(CARD, card::text(job.run, release, &manifest, &origins, band.as_ref()).as_bytes())?;
    let json = serde_json::to_vec_pretty(&manifest).map_err(|e| StageError::Trouble(e.into()))?;
    if let Settled::Theirs(bytes) = to.put_new_settled(MANIFEST, &json)? {
        let other: ReleaseManifest = serde_json::from_slice(&bytes).map_err(|e| StageError::Trouble(e.into()))?;
        refuse_other(to.describe(), &other, &digest)?;
    }
    manifest.uri = to.describe();
    let rows: Vec<Published> = manifest
        .files
        .iter()
        .map(|f| Published { name: f.name.clone(), bytes: f.bytes, hash: f.blake3.to_string() })
        .collect();
    let mut out = Output::default();
    out.count("pairs", pairs);
    out.count("bytes", manifest.bytes);
    out.table("files", &rows)?;
    out.object("manifest", "json", 1, json);
    Ok(out)
}

fn refuse_other(place: String, other: &ReleaseManifest, digest: &Digest) -> Result<(), StageError> {
    if other.digest == *digest {
        return Ok(());
    }
    Err(StageError::Settings(format!(
        "{place} already holds release {} ({} pairs), and this one is {digest}: releases never change, so give this one \
         another spec.destination or another name",
        other.digest, other.pairs
    )))
}
