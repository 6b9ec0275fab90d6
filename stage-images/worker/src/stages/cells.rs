//! `sentence-embed`, `*-cells` and `*-cluster`: coarse cells, and the clusters inside them.

use std::collections::{HashMap, HashSet};

use half::f16;
use realsyn_crds::SemanticDedup;
use realsyn_dataset::formats::Blob;
use realsyn_plan::graph::ids;
use realsyn_plan::ids::OrderKey;
use realsyn_plan::{Id, StepId};
use realsyn_vectors::{BorderOptions, Borders, Error, Fault, KMeans, KMeansOptions, Rows, assign_with_borders};

use super::rows::{CellRow, ClusterSize, ClusteredSentence, Duplicate, EmbeddedImage, KeptSentence, PlacedImage};
use crate::run::{Job, Output, StageError};

/// Copies of one row in other cells. A row near more borders than this has its farthest ones left out, and counted.
const MAX_REPLICAS: usize = 8;

/// What differs between cells of sentences and cells of images.
pub struct Space {
    embed: StepId,
    train: StepId,
    vectors: &'static str,
    ids: (StepId, &'static str),
    images: bool,
}

/// Cells of sentence embeddings.
pub const SENTENCES: Space = Space {
    embed: ids::SENTENCE_EMBED,
    train: ids::SENTENCE_TRAIN,
    vectors: "vectors",
    ids: (ids::ROWS, "sentences"),
    images: false,
};

/// Cells of images' `visual` vectors.
pub const IMAGES: Space = Space {
    embed: ids::IMAGE_EMBED,
    train: ids::IMAGE_TRAIN,
    vectors: "visual",
    ids: (ids::IMAGE_EMBED, "images"),
    images: true,
};

/// `sentence-embed/embed`: row i of `vectors` is row i of `sentence-dedup-near/rows`.
pub fn embed_sentences(job: &Job) -> Result<Output, StageError> {
    let rows: Vec<KeptSentence> = job.shard(ids::ROWS, "sentences")?;
    let encoder = job.run.models.text_encoder()?;
    let texts: Vec<&str> = rows.iter().map(|r| r.text.as_str()).collect();
    let vectors = encoder.encode(&texts).map_err(anyhow::Error::from)?;
    let vectors: Vec<f16> = vectors.into_iter().map(f16::from_f32).collect();
    let mut out = Output::default();
    out.count("in", rows.len() as u64);
    out.count("out", rows.len() as u64);
    out.vectors("vectors", encoder.dim(), &vectors)?;
    Ok(out)
}

/// How many rows make a cluster, how many clusters and cells that gives, and how the cells are trained.
struct Layout {
    clusters: u64,
    cells: u64,
    iterations: u32,
    sample: u64,
}

fn cell_layout(job: &Job, space: &Space, rows: u64) -> Layout {
    let stages = &job.run.build.stages;
    let (cells, (per_cluster, clusters)) = if space.images {
        (&stages.image_cells, (stages.image_cluster.rows_per_cluster, stages.image_cluster.clusters))
    } else {
        (&stages.sentence_cells, (stages.sentence_cluster.rows_per_cluster, stages.sentence_cluster.clusters))
    };
    // At most one cluster per two rows: more would be clusters of one.
    let wanted = clusters.unwrap_or_else(|| rows.div_ceil(per_cluster.unwrap_or(420).max(1)));
    let clusters = wanted.min(rows / 2).max(1);
    let auto = (clusters as f64).sqrt().ceil() as u64;
    let cells_wanted = cells.cells.map_or(auto, u64::from).min(rows).max(1);
    Layout {
        clusters,
        cells: cells_wanted,
        iterations: cells.iterations,
        sample: cells_wanted * u64::from(cells.sample_per_cell),
    }
}

/// `train`: centroids of the cells from a keyed sample: the first rows of every shard, in proportion to its size.
pub fn train(job: &Job, space: &Space) -> Result<Output, StageError> {
    let seal = &job.run.seals[&space.embed];
    let rows: u64 = seal.count("out");
    let layout = cell_layout(job, space, rows);
    let mut sample: Vec<f16> = Vec::new();
    let mut dim = 1;
    for number in job.numbers(space.embed) {
        let (vectors, d) = job.vectors_of(space.embed, number, space.vectors)?;
        if d == 0 {
            continue;
        }
        dim = d;
        let n = (vectors.len() / d) as u64;
        let take = (layout.sample * n).div_ceil(rows.max(1)).min(n) as usize;
        sample.extend_from_slice(&vectors[..take * d]);
    }
    let centroids = centroids(job, &sample, dim, layout.cells as usize, layout.iterations)?;
    let mut out = Output::default();
    out.count("rows", rows);
    out.count("sample", (sample.len() / dim) as u64);
    out.count("clusters", layout.clusters);
    // An empty corpus still has one cell, so that every later step has something to seal.
    out.count("cells", ((centroids.len() / dim) as u64).max(1));
    out.vectors("centroids", dim, &centroids)?;
    Ok(out)
}

/// Spherical k-means of `rows: [n, dim]` into at most `k` centroids, row-major; none of no rows.
fn centroids(job: &Job, rows: &[f16], dim: usize, k: usize, iterations: u32) -> Result<Vec<f16>, StageError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let options = KMeansOptions { kernel: job.kernel(rows.len() * k), max_steps: iterations.max(1) as usize };
    let mut kmeans = KMeans::new(space(rows, dim)?, k, options).map_err(trouble)?;
    while !kmeans.step().map_err(trouble)?.done {}
    Ok(kmeans.finish().into_data())
}

/// Rows as the vector crate takes them: whole, and of unit length.
pub fn space(rows: &[f16], dim: usize) -> Result<Rows<'_>, StageError> {
    Rows::new(rows, dim).map_err(trouble)
}

/// Vectors are checked where they are made, so a complaint about them is a fault of this program; or of a GPU.
pub fn trouble(error: Error) -> StageError {
    match error {
        Error::Device { fault: Fault::Lost, .. } => StageError::Gpu(format!(
            "{error}; run it again on another GPU, and look for this one's XID in its node's kernel log (dmesg)"
        )),
        // The device is not named: that would make it suspect, and most likely nothing is wrong with it.
        Error::Device { fault: Fault::Context, what, .. } => StageError::Gpu(format!(
            "{what}: a kernel failed and broke what this process had on its GPU, which another process has not; run it again, and \
             if it fails anywhere, report it"
        )),
        _ => StageError::Trouble(error.into()),
    }
}

/// The maximum distance at which two rows count as duplicates; `None` when semantic dedup is off.
fn max_distance(dedup: &SemanticDedup) -> Option<f32> {
    dedup.enabled.then_some(dedup.distance() as f32)
}

/// `assign`: every row to its cell, and copies of it to the cells where a duplicate of it may live.
pub fn assign(job: &Job, space: &Space) -> Result<Output, StageError> {
    let stages = &job.run.build.stages;
    let dedup = if space.images { &stages.image_dedup_semantic } else { &stages.sentence_dedup_semantic };
    let verify = dedup.enabled && dedup.verifies();
    let (centroids, dim) = job.vectors_of(space.train, 0, "centroids")?;
    let mut rows = Vec::new();
    let mut out = Output::default();
    for shard in job.group() {
        let (vectors, _) = job.vectors_of(space.embed, shard, space.vectors)?;
        let things: Vec<(Id, String, Option<Blob>)> = if space.images {
            let images: Vec<EmbeddedImage> = job.table_of(space.ids.0, shard, space.ids.1)?;
            images.into_iter().map(|i| (i.image, String::new(), verify.then_some(i.thumbnail))).collect()
        } else {
            let sentences: Vec<KeptSentence> = job.table_of(space.ids.0, shard, space.ids.1)?;
            sentences.into_iter().map(|s| (s.sentence, s.text, None)).collect()
        };
        if things.is_empty() {
            continue;
        }
        let (vectors_in, cells_in) = (self::space(&vectors, dim)?, self::space(&centroids, dim)?);
        let kernel = job.kernel(vectors_in.data().len() * cells_in.len());
        let assigned = match max_distance(dedup) {
            Some(max_distance) => {
                let options = BorderOptions { max_distance, max_replicas: MAX_REPLICAS };
                assign_with_borders(kernel, vectors_in, cells_in, options).map_err(trouble)?
            }
            None => {
                let primary = realsyn_vectors::assign(kernel, vectors_in, cells_in).map_err(trouble)?;
                Borders { others: vec![Vec::new(); primary.len()], primary, capped_rows: 0 }
            }
        };
        out.count("capped-rows", assigned.capped_rows);
        for (at, (id, text, thumbnail)) in things.into_iter().enumerate() {
            let cell = assigned.primary[at];
            let borders = &assigned.others[at];
            let row = CellRow {
                id,
                cell,
                replicated: !borders.is_empty(),
                home: if space.images { shard } else { 0 },
                text: if verify { text.clone() } else { String::new() },
                thumbnail,
                vector: Blob(vector_bytes(&vectors[at * dim..(at + 1) * dim])),
            };
            out.count("replicas", borders.len() as u64);
            rows.extend(borders.iter().map(|&border| (border, row.clone())));
            rows.push((cell, CellRow { text, ..row }));
        }
    }
    out.count("rows", rows.len() as u64);
    out.shuffled("rows", rows)?;
    Ok(out)
}

/// Little-endian bytes of f16 values.
pub fn vector_bytes(values: &[f16]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// f16 values of little-endian bytes.
pub fn floats(bytes: &[u8]) -> impl Iterator<Item = f16> + '_ {
    bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]))
}

/// A cell's own rows that no dedup dropped, in row order, with what the others duplicate.
struct Cell {
    rows: Vec<CellRow>,
    dropped: Vec<(CellRow, Duplicate)>,
    vectors: Vec<f16>,
    dim: usize,
}

fn cell(job: &Job, assign: StepId, pairs: StepId, merge: StepId) -> Result<Cell, StageError> {
    let mut duplicates: HashMap<Id, Duplicate> = HashMap::new();
    let local: Vec<Duplicate> = job.shard(pairs, "dropped")?;
    let merged: Vec<Duplicate> = job.partition(merge, "dropped")?;
    duplicates.extend(local.into_iter().chain(merged).map(|d| (d.id, d)));
    let number = job.spec.number;
    let mut rows: Vec<CellRow> =
        job.partition::<CellRow>(assign, "rows")?.into_iter().filter(|r| r.cell == number).collect();
    rows.sort_by_cached_key(|r| (r.id.order(OrderKey::Rows), r.id));
    let dim = rows.first().map_or(1, |r| r.vector.0.len() / 2);
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    for row in rows {
        match duplicates.remove(&row.id) {
            Some(duplicate) => dropped.push((row, duplicate)),
            None => kept.push(row),
        }
    }
    let vectors = kept.iter().flat_map(|r| floats(&r.vector.0)).collect();
    Ok(Cell { rows: kept, dropped, vectors, dim })
}

/// Clusters of a cell: its share of all clusters by its share of the rows. Returns the cluster of each row, and the
/// clusters' centroids.
fn cluster(
    job: &Job,
    cell: &Cell,
    train: &realsyn_plan::records::Seal,
    iterations: u32,
) -> Result<(Vec<u32>, Vec<f16>), StageError> {
    let n = cell.rows.len();
    if n == 0 {
        return Ok((Vec::new(), Vec::new()));
    }
    let share = train.count("clusters") as f64 * n as f64 / train.count("rows").max(1) as f64;
    let k = (share.round() as usize).clamp(1, (n / 2).max(1));
    let centroids = centroids(job, &cell.vectors, cell.dim, k, iterations)?;
    let kernel = job.kernel(cell.vectors.len() * k);
    let clusters = realsyn_vectors::assign(kernel, space(&cell.vectors, cell.dim)?, space(&centroids, cell.dim)?)
        .map_err(trouble)?;
    Ok((clusters, centroids))
}

/// `sentence-cluster/cluster`: the kept sentences of a cell, sorted by cluster.
pub fn cluster_sentences(job: &Job) -> Result<Output, StageError> {
    let cell = cell(job, ids::SENTENCE_ASSIGN, ids::SENTENCE_PAIRS, ids::SENTENCE_MERGE)?;
    let iterations = job.run.build.stages.sentence_cluster.iterations;
    let (clusters, centroids) = cluster(job, &cell, &job.run.seals[&ids::SENTENCE_TRAIN], iterations)?;
    let mut order: Vec<usize> = (0..cell.rows.len()).collect();
    order.sort_by_key(|&at| (clusters[at], at));
    let rows: Vec<ClusteredSentence> = order
        .iter()
        .map(|&at| ClusteredSentence {
            sentence: cell.rows[at].id,
            text: cell.rows[at].text.clone(),
            cluster: clusters[at],
        })
        .collect();
    let vectors: Vec<f16> =
        order.iter().flat_map(|&at| &cell.vectors[at * cell.dim..(at + 1) * cell.dim]).copied().collect();
    let mut out = Output::default();
    count_kept(&mut out, &cell);
    out.count("clusters", (centroids.len() / cell.dim) as u64);
    out.table("sentences", &rows)?;
    out.vectors("vectors", cell.dim, &vectors)?;
    out.vectors("centroids", cell.dim, &centroids)?;
    let dropped: Vec<Duplicate> = cell.dropped.into_iter().map(|(_, d)| d).collect();
    out.table("dropped", &dropped)?;
    Ok(out)
}

/// `image-cluster/cluster`: what became of a cell's images, on their way home.
pub fn cluster_images(job: &Job) -> Result<Output, StageError> {
    let cell = cell(job, ids::IMAGE_ASSIGN, ids::IMAGE_PAIRS, ids::IMAGE_MERGE)?;
    let iterations = job.run.build.stages.image_cluster.iterations;
    let (clusters, centroids) = cluster(job, &cell, &job.run.seals[&ids::IMAGE_TRAIN], iterations)?;
    let global = |cluster: u32| u64::from(job.spec.number) << 32 | u64::from(cluster);
    let mut out = Output::default();
    count_kept(&mut out, &cell);
    let mut sizes = vec![0u64; centroids.len() / cell.dim];
    let mut placed = Vec::new();
    for (row, cluster) in cell.rows.into_iter().zip(clusters) {
        sizes[cluster as usize] += 1;
        placed.push((row.home, PlacedImage { image: row.id, cluster: global(cluster), of: None, distance: None }));
    }
    placed.extend(
        cell.dropped.into_iter().map(|(row, d)| {
            (row.home, PlacedImage { image: row.id, cluster: 0, of: Some(d.of), distance: d.distance })
        }),
    );
    let sizes: Vec<ClusterSize> = (0..).zip(sizes).map(|(c, rows)| ClusterSize { cluster: global(c), rows }).collect();
    out.count("clusters", sizes.len() as u64);
    out.table("clusters", &sizes)?;
    out.shuffled("home", placed)?;
    Ok(out)
}

fn count_kept(out: &mut Output, cell: &Cell) {
    let distinct: HashSet<Id> = cell.dropped.iter().map(|(r, _)| r.id).collect();
    out.count("in", (cell.rows.len() + distinct.len()) as u64);
    out.count("out", cell.rows.len() as u64);
    out.count("dropped.semantic-duplicate", distinct.len() as u64);
}
