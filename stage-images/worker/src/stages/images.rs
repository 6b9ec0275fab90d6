//! Images at their shards: `image-decode`, `image-policy`, `image-embed`, and the way home from the clusters.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use half::f16;
use realsyn_crds::ImagePolicy;
use realsyn_dataset::formats::tar::{TarReader, TarWriter};
use realsyn_dataset::formats::{Blob, FormatError};
use realsyn_models::RgbView;
use realsyn_plan::Id;
use realsyn_plan::graph::ids;
use realsyn_plan::ids::OrderKey;
use realsyn_vision::{DecodeLimits, Fingerprint, Rgb, ShapeRules, Thresholds, Thumbnail};
use sha2::{Digest as _, Sha256};

use super::fetch::MAX_FETCHED;
use super::hosts::host;
use super::rows::{
    ClusteredImage, Decoded, Dropped, Duplicate, EmbeddedImage, Fetched, HomeImage, Image, Occurrence, PlacedImage,
};
use crate::run::{Job, Lists, Output, StageError};

/// `image-decode/decode`: the distinct images of a shard, checked, turned upright, stripped and stored small.
pub fn decode(job: &Job) -> Result<Output, StageError> {
    let settings = &job.run.build.stages.image_decode;
    let limits = DecodeLimits { max_bytes: settings.max_bytes as usize, max_pixels: settings.max_pixels };
    let rules = ShapeRules { min_side: settings.min_side, max_aspect: settings.max_aspect };
    let mut occurrences: BTreeMap<Id, Vec<Occurrence>> = BTreeMap::new();
    for f in job.shard::<Fetched>(ids::FETCH, "results")? {
        let Some(image) = f.image else { continue };
        occurrences.entry(image).or_default().push(f.into());
    }
    let mut out = Output::default();
    let (mut images, mut dropped) = (Vec::new(), Vec::new());
    let mut media = TarWriter::new(Vec::new());
    if let Some(fetched) = job.shard_object(ids::FETCH, "media")? {
        for member in TarReader::new(&fetched[..], MAX_FETCHED) {
            let (name, bytes) = member.map_err(trouble)?;
            let image: Id = name.parse().map_err(anyhow::Error::from)?;
            let occurrences = occurrences.remove(&image).unwrap_or_default();
            let n = occurrences.len() as u64;
            out.count("in", n);
            // Upright or not, the shorter side is the shorter one.
            match realsyn_vision::decode_if(&bytes, &limits, |header| rules.check(header.width, header.height)) {
                Err(reject) => {
                    out.count(format!("dropped.{}", reject.as_str()), n);
                    dropped.push(Dropped { what: name, reason: reject.as_str().into(), of: None, value: None });
                }
                Ok(decoded) => {
                    out.count("out", n);
                    let small = realsyn_vision::shrink(&decoded.rgb, settings.short_side);
                    media
                        .append(&format!("{image}.jpg"), &realsyn_vision::encode_jpeg(&small, settings.quality))
                        .map_err(trouble)?;
                    images.push(Decoded {
                        image,
                        format: decoded.format.as_str().into(),
                        bytes: bytes.len() as u64,
                        sha256: Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect(),
                        width: decoded.rgb.width(),
                        height: decoded.rgb.height(),
                        stored_width: small.width(),
                        stored_height: small.height(),
                        fingerprint: Fingerprint::of(&decoded.rgb).map(|f| Blob(f.to_bytes().to_vec())),
                        occurrences,
                    });
                }
            }
        }
    }
    out.table("images", &images)?;
    out.table("dropped", &dropped)?;
    let stored = images.len() as u64;
    out.object("media", "tar", stored, media.finish().map_err(trouble)?);
    Ok(out)
}

/// What the lists of `image-policy` leave out.
pub struct LeftOut {
    images: BTreeSet<Id>,
    hosts: BTreeSet<String>,
    evaluations: BTreeSet<Id>,
}

impl LeftOut {
    /// Reads the lists.
    ///
    /// # Errors
    /// A list that cannot be read, or has a line that is not understood.
    pub fn read(lists: &Lists, settings: &ImagePolicy) -> Result<Self, StageError> {
        let mut evaluations = BTreeSet::new();
        for set in &settings.evaluation_sets {
            evaluations.extend(lists.ids(Some(set))?);
        }
        Ok(Self {
            images: lists.ids(settings.blocked_images.as_ref())?,
            hosts: lists.hosts(settings.blocked_hosts.as_ref())?,
            evaluations,
        })
    }

    /// The first rule that leaves an image out: any of its places counts.
    fn reason(&self, image: &HomeImage) -> Option<&'static str> {
        let on_blocked_host = || {
            let mut hosts = image.occurrences.iter().filter_map(|o| host(&o.url));
            !self.hosts.is_empty() && hosts.any(|host| self.hosts.contains(&host))
        };
        if self.images.contains(&image.image) {
            Some("blocked-image")
        } else if on_blocked_host() {
            Some("blocked-host")
        } else if self.evaluations.contains(&image.image) {
            Some("evaluation-set")
        } else {
            None
        }
    }
}

/// `image-policy/filter`: the images at home here that no rule leaves out, in row order.
pub fn policy(job: &Job) -> Result<Output, StageError> {
    let left_out = LeftOut::read(job.run.lists(), &job.run.build.stages.image_policy)?;
    let duplicates: HashMap<Id, Id> =
        job.partition::<Duplicate>(ids::IMAGES_GROUPS, "dropped")?.into_iter().map(|d| (d.id, d.of)).collect();
    let decoded: HashMap<Id, Decoded> =
        job.shard::<Decoded>(ids::DECODE, "images")?.into_iter().map(|d| (d.image, d)).collect();
    let mut out = Output::default();
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    for home in job.partition::<HomeImage>(ids::IMAGES_EXACT, "home")? {
        out.count("in", 1);
        let of = duplicates.get(&home.image).copied();
        let reason = if of.is_some() { Some("perceptual-duplicate") } else { left_out.reason(&home) };
        match (reason, decoded.get(&home.image)) {
            (None, Some(d)) => kept.push(Image {
                image: home.image,
                width: d.width,
                height: d.height,
                occurrences: home.occurrences.len() as u32,
            }),
            (reason, _) => {
                let reason = reason.unwrap_or("not-decoded");
                out.count(format!("dropped.{reason}"), 1);
                dropped.push(Dropped { what: home.image.to_string(), reason: reason.into(), of, value: None });
            }
        }
    }
    kept.sort_by_key(|i| (i.image.order(OrderKey::Rows), i.image));
    out.count("out", kept.len() as u64);
    out.table("images", &kept)?;
    out.table("dropped", &dropped)?;
    Ok(out)
}

/// A file that cannot be written, or one of ours that cannot be read.
pub fn trouble(error: FormatError) -> StageError {
    StageError::Trouble(error.into())
}

/// Decoded pictures of a shard, by id, for the ids that are asked for.
pub fn pictures(job: &Job, wanted: &BTreeSet<Id>) -> Result<HashMap<Id, Rgb>, StageError> {
    let mut found = HashMap::new();
    let Some(media) = job.shard_object(ids::DECODE, "media")? else { return Ok(found) };
    let limits = DecodeLimits::default();
    for member in TarReader::new(&media[..], media.len() as u64) {
        let (name, bytes) = member.map_err(trouble)?;
        let Some(id) = name.strip_suffix(".jpg").and_then(|n| n.parse().ok()) else { continue };
        if wanted.contains(&id) {
            let decoded = realsyn_vision::decode(&bytes, &limits).map_err(|e| {
                StageError::Trouble(anyhow::anyhow!("stored image {id} cannot be decoded: {}", e.as_str()))
            })?;
            found.insert(id, decoded.rgb);
        }
    }
    Ok(found)
}

/// Borrowed views of pictures in the order of `ids`.
pub fn views<'a>(pictures: &'a HashMap<Id, Rgb>, ids: &[Id]) -> Result<Vec<RgbView<'a>>, StageError> {
    ids.iter()
        .map(|id| {
            let rgb = pictures.get(id).ok_or_else(|| anyhow::anyhow!("image {id} is not at its home shard"))?;
            RgbView::new(rgb.width(), rgb.height(), rgb.data())
                .ok_or_else(|| StageError::Trouble(anyhow::anyhow!("image {id} has no pixels")))
        })
        .collect()
}

/// `image-embed/embed`: both vectors of every kept image, and the thumbnail that near pairs are verified by.
pub fn embed(job: &Job) -> Result<Output, StageError> {
    let rows: Vec<Image> = job.shard(ids::POLICY, "images")?;
    let encoder = job.run.models.image_encoder()?;
    let order: Vec<Id> = rows.iter().map(|r| r.image).collect();
    let pictures = pictures(job, &order.iter().copied().collect())?;
    let embeddings = encoder.encode(&views(&pictures, &order)?).map_err(anyhow::Error::from)?;
    let half = |v: &[f32]| v.iter().map(|x| f16::from_f32(*x)).collect::<Vec<_>>();
    let shared: Vec<f16> = embeddings.iter().flat_map(|e| half(&e.shared)).collect();
    let visual: Vec<f16> = embeddings.iter().flat_map(|e| half(&e.visual)).collect();
    let mut out = Output::default();
    out.count("in", rows.len() as u64);
    out.count("out", rows.len() as u64);
    let row = |image: Id| EmbeddedImage { image, thumbnail: Blob(Thumbnail::of(&pictures[&image]).to_bytes()) };
    out.table("images", &order.into_iter().map(row).collect::<Vec<_>>())?;
    out.vectors("shared", encoder.shared_dim(), &shared)?;
    out.vectors("visual", encoder.visual_dim(), &visual)?;
    Ok(out)
}

/// `image-cluster/home`: what the clusters decided, back at the home shards; row order is kept.
pub fn home(job: &Job) -> Result<Output, StageError> {
    let rows: Vec<EmbeddedImage> = job.shard(ids::IMAGE_EMBED, "images")?;
    let (shared, dim) = job.shard_vectors(ids::IMAGE_EMBED, "shared")?;
    let mut placed: HashMap<Id, PlacedImage> =
        job.partition::<PlacedImage>(ids::IMAGE_CLUSTER, "home")?.into_iter().map(|p| (p.image, p)).collect();
    let mut out = Output::default();
    let (mut kept, mut vectors, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
    for (at, row) in rows.iter().enumerate() {
        out.count("in", 1);
        let place =
            placed.remove(&row.image).ok_or_else(|| anyhow::anyhow!("image {} came back from no cell", row.image))?;
        match place.of {
            Some(of) => dropped.push(Dropped {
                what: row.image.to_string(),
                reason: "semantic-duplicate".into(),
                of: Some(of),
                value: place.distance.map(f64::from),
            }),
            None => {
                kept.push(ClusteredImage { image: row.image, cluster: place.cluster });
                vectors.extend_from_slice(&shared[at * dim..(at + 1) * dim]);
            }
        }
    }
    out.count("out", kept.len() as u64);
    if !dropped.is_empty() {
        out.count("dropped.semantic-duplicate", dropped.len() as u64);
    }
    out.table("images", &kept)?;
    out.vectors("vectors", dim.max(1), &vectors)?;
    out.table("dropped", &dropped)?;
    Ok(out)
}

/// How alike two fingerprints must be.
pub fn thresholds(job: &Job) -> Thresholds {
    Thresholds { max_distance: job.run.build.stages.image_dedup_perceptual.max_distance, ..Thresholds::default() }
}
