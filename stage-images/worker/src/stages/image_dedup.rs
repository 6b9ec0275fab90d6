//! `image-dedup-perceptual`: exact copies by id, near copies by perceptual hash; names the home shards.

use std::collections::BTreeMap;

use realsyn_duplicates::UnionFind;
use realsyn_plan::Id;
use realsyn_plan::graph::ids;
use realsyn_vision::Fingerprint;

use super::images::thresholds;
use super::rows::{Decoded, Duplicate, Group, HomeImage, ImageBand, ImageCopy, ImageEdge};
use crate::run::{Job, Output, StageError};

/// Rows of one band that are compared with each other: beyond it, a row is compared with the ones before it in id
/// order. A band this full holds near-flat images, of which any two prove little.
pub const BAND_WINDOW: usize = 4096;

/// `by-id`: every decoded image to the partition of its id.
pub fn by_id(job: &Job) -> Result<Output, StageError> {
    let ranges = job.run.inventory.ranges();
    let mut rows = Vec::new();
    for shard in job.group() {
        for d in job.table_of::<Decoded>(ids::DECODE, shard, "images")? {
            rows.push((
                d.image.range_of(ranges),
                ImageCopy {
                    image: d.image,
                    shard,
                    pixels: u64::from(d.width) * u64::from(d.height),
                    fingerprint: d.fingerprint,
                    occurrences: d.occurrences,
                },
            ));
        }
    }
    let mut out = Output::default();
    out.count("copies", rows.len() as u64);
    out.shuffled("images", rows)?;
    Ok(out)
}

/// `exact`: one row per id at its home, the first shard that decoded it; and its hash bands.
pub fn exact(job: &Job) -> Result<Output, StageError> {
    let ranges = u64::from(job.run.inventory.ranges());
    let mut by_id: BTreeMap<Id, ImageCopy> = BTreeMap::new();
    let mut out = Output::default();
    let mut bands = Vec::new();
    // Copies come in order of their shards, so the first is at home.
    for copy in job.partition::<ImageCopy>(ids::IMAGES_BY_ID, "images")? {
        out.count("in", copy.occurrences.len() as u64);
        match by_id.get_mut(&copy.image) {
            Some(first) => first.occurrences.extend(copy.occurrences),
            None => _ = by_id.insert(copy.image, copy),
        }
    }
    let mut home = Vec::with_capacity(by_id.len());
    for (image, copy) in by_id {
        out.count("out", 1);
        out.count("dropped.exact-duplicate", copy.occurrences.len() as u64 - 1);
        let fingerprint = copy.fingerprint.and_then(|f| Some((Fingerprint::from_bytes(&f.0)?, f)));
        for (parsed, blob) in fingerprint.iter() {
            bands.extend(parsed.bands().into_iter().map(|band| {
                let band = u64::from(band);
                let row = ImageBand { band, image, home: copy.shard, pixels: copy.pixels, fingerprint: blob.clone() };
                ((band % ranges) as u32, row)
            }));
        }
        home.push((copy.shard, HomeImage { image, occurrences: copy.occurrences }));
    }
    out.shuffled("home", home)?;
    out.shuffled("bands", bands)?;
    Ok(out)
}

/// `verify`: pairs that share a band and look the same, as a spanning forest.
pub fn verify(job: &Job) -> Result<Output, StageError> {
    let thresholds = thresholds(job);
    let mut rows = job.partition::<ImageBand>(ids::IMAGES_EXACT, "bands")?;
    rows.sort_by_key(|r| (r.band, r.image));
    let mut edges = Vec::new();
    let mut names: Vec<Id> = rows.iter().map(|r| r.image).collect();
    names.sort_unstable();
    names.dedup();
    let place = |id: &Id| names.binary_search(id).expect("every row's id is in the list") as u32;
    let mut joined = UnionFind::new(names.len());
    let mut out = Output::default();
    for band in rows.chunk_by(|a, b| a.band == b.band) {
        let prints: Vec<Option<Fingerprint>> = band.iter().map(|r| Fingerprint::from_bytes(&r.fingerprint.0)).collect();
        for (j, b) in band.iter().enumerate() {
            for (i, a) in band.iter().enumerate().take(j).skip(j.saturating_sub(BAND_WINDOW)) {
                out.count("compared", 1);
                let same = prints[i].as_ref().zip(prints[j].as_ref()).is_some_and(|(x, y)| x.same(y, &thresholds));
                if same && joined.union(place(&a.image), place(&b.image)) {
                    edges.push(ImageEdge {
                        a: a.image,
                        a_home: a.home,
                        a_pixels: a.pixels,
                        b: b.image,
                        b_home: b.home,
                        b_pixels: b.pixels,
                    });
                }
            }
        }
    }
    out.table("edges", &edges)?;
    Ok(out)
}

/// `groups`: of every group of near copies the one with the most pixels stays, the lowest id where they tie.
pub fn groups(job: &Job) -> Result<Output, StageError> {
    let mut edges = Vec::new();
    for number in job.numbers(ids::IMAGES_VERIFY) {
        edges.extend(job.table_of::<ImageEdge>(ids::IMAGES_VERIFY, number, "edges")?);
    }
    let mut nodes: BTreeMap<Id, (u64, u32)> = BTreeMap::new();
    for e in &edges {
        nodes.insert(e.a, (e.a_pixels, e.a_home));
        nodes.insert(e.b, (e.b_pixels, e.b_home));
    }
    let mut out = Output::default();
    let (mut dropped, mut groups) = (Vec::new(), Vec::new());
    for mut members in super::near::components(nodes.keys().copied(), edges.iter().map(|e| (e.a, e.b))) {
        members.sort_by_key(|id| (std::cmp::Reverse(nodes[id].0), *id));
        let of = members[0];
        dropped.extend(members[1..].iter().map(|&id| (nodes[&id].1, Duplicate { id, of, distance: None })));
        groups.push(Group { members });
    }
    out.count("groups", groups.len() as u64);
    out.count("dropped.perceptual-duplicate", dropped.len() as u64);
    out.table("groups", &groups)?;
    out.shuffled("dropped", dropped)?;
    Ok(out)
}
