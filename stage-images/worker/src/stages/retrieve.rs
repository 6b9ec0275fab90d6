//! `retrieve`: image to cells, to clusters, to the best sentences (paper §3.2), with the probes calibrated against exact
//! search on a keyed sample.

use std::collections::{BTreeMap, HashMap};

use half::f16;
use realsyn_dataset::formats::Blob;
use realsyn_plan::Id;
use realsyn_plan::graph::ids;
use realsyn_plan::records::Histogram;
use realsyn_vectors::{Nearest, Rows, nearest, top_k};

use super::cells::{floats, space, trouble, vector_bytes};
use super::rows::{Candidate, ClusteredImage, ClusteredSentence, Hit, Query, RecallPoint, Retrieved, SampleHit};
use crate::run::{Job, Output, StageError};

/// Recall is measured on the best three sentences: the ones that a release shows.
const RECALL_AT: usize = 3;

/// A cell's clustered sentences.
struct Shelf {
    rows: Vec<ClusteredSentence>,
    vectors: Vec<f16>,
    centroids: Vec<f16>,
    dim: usize,
    /// First row of each cluster, and the number of rows at the end.
    starts: Vec<usize>,
}

impl Shelf {
    fn open(job: &Job) -> Result<Self, StageError> {
        let rows: Vec<ClusteredSentence> = job.shard(ids::SENTENCE_CLUSTER, "sentences")?;
        let (vectors, dim) = job.shard_vectors(ids::SENTENCE_CLUSTER, "vectors")?;
        let (centroids, _) = job.shard_vectors(ids::SENTENCE_CLUSTER, "centroids")?;
        let clusters = centroids.len().checked_div(dim).unwrap_or(0);
        let starts = (0..=clusters).map(|c| rows.partition_point(|r| (r.cluster as usize) < c)).collect();
        Ok(Self { rows, vectors, centroids, dim, starts })
    }

    fn clusters(&self) -> usize {
        self.starts.len() - 1
    }
}

/// The images whose exact neighbours are looked for: the first of every home shard, in proportion to its size.
fn sample(job: &Job) -> Result<(Vec<Id>, Vec<f16>, usize), StageError> {
    let total = job.run.seals[&ids::HOME].count("out").max(1);
    let wanted = u64::from(job.run.build.stages.retrieve.sample_size);
    let (mut images, mut vectors, mut dim) = (Vec::new(), Vec::new(), 1);
    for number in job.numbers(ids::HOME) {
        let rows: Vec<ClusteredImage> = job.table_of(ids::HOME, number, "images")?;
        let (v, d) = job.vectors_of(ids::HOME, number, "vectors")?;
        let n = rows.len() as u64;
        let take = (wanted * n).div_ceil(total).min(n) as usize;
        if take > 0 {
            dim = d;
            images.extend(rows[..take].iter().map(|r| r.image));
            vectors.extend_from_slice(&v[..take * d]);
        }
    }
    Ok((images, vectors, dim))
}

/// The `n` nearest centroids of each query, nearest first.
fn probe(job: &Job, queries: Rows, centroids: &[f16], n: usize) -> Result<Nearest, StageError> {
    let kernel = job.kernel(queries.len() * centroids.len());
    nearest(kernel, queries, space(centroids, queries.dim())?, n).map_err(trouble)
}

/// `exact-sample`: the best sentences of one cell for every sampled image, and where a probe would meet them.
pub fn exact_sample(job: &Job) -> Result<Output, StageError> {
    let (images, queries, dim) = sample(job)?;
    let shelf = Shelf::open(job)?;
    let mut out = Output::default();
    let mut hits = Vec::new();
    if !images.is_empty() && !shelf.rows.is_empty() {
        let (cells, _) = job.vectors_of(ids::SENTENCE_TRAIN, 0, "centroids")?;
        let queries = space(&queries, dim)?;
        let cell_order = probe(job, queries, &cells, cells.len() / dim)?;
        let cluster_order = probe(job, queries, &shelf.centroids, shelf.clusters())?;
        let kernel = job.kernel(queries.len() * shelf.vectors.len());
        let best = top_k(kernel, queries, space(&shelf.vectors, dim)?, RECALL_AT).map_err(trouble)?;
        for (at, image) in images.iter().enumerate() {
            let rank_in =
                |order: &Nearest, of: u32| order.of(at).iter().position(|hit| hit.row == of).unwrap_or(0) as u32;
            let cell_rank = rank_in(&cell_order, job.spec.number);
            hits.extend(best[at].iter().map(|hit| {
                let row = &shelf.rows[hit.row as usize];
                SampleHit {
                    image: *image,
                    sentence: row.sentence,
                    cosine: hit.cosine,
                    cell_rank,
                    cluster_rank: rank_in(&cluster_order, row.cluster),
                    clusters: shelf.clusters() as u32,
                }
            }));
        }
    }
    out.count("compared", images.len() as u64 * shelf.rows.len() as u64);
    out.table("hits", &hits)?;
    Ok(out)
}

/// `calibrate`: the least work that finds the target share of the sample's exact best three.
pub fn calibrate(job: &Job) -> Result<Output, StageError> {
    let settings = &job.run.build.stages.retrieve;
    let mut by_image: BTreeMap<Id, Vec<SampleHit>> = BTreeMap::new();
    for number in job.numbers(ids::EXACT_SAMPLE) {
        for hit in job.table_of::<SampleHit>(ids::EXACT_SAMPLE, number, "hits")? {
            // Every cell has its best for every image: only the best of all cells so far are kept.
            let best = by_image.entry(hit.image).or_default();
            best.push(hit);
            best.sort_by(|a, b| b.cosine.total_cmp(&a.cosine).then(a.sentence.cmp(&b.sentence)));
            best.truncate(RECALL_AT);
        }
    }
    let sampled = by_image.len() as u64;
    let exact: Vec<SampleHit> = by_image.into_values().flatten().collect();
    let cells = job.run.seals[&ids::SENTENCE_TRAIN].count("cells") as u32;
    let most_clusters = exact.iter().map(|h| h.clusters).max().unwrap_or(1);
    let ladder = |top: u32| {
        let mut steps: Vec<u32> =
            std::iter::successors(Some(1u32), |n| Some(n * 5 / 4 + 1)).take_while(|n| *n < top).collect();
        steps.push(top.max(1));
        steps
    };
    let cell_steps = settings.probe_cells.map_or_else(|| ladder(cells), |fixed| vec![fixed.min(cells)]);
    // 0 stands for the whole cell.
    let cluster_steps = settings.probe_clusters.map_or_else(
        || ladder(most_clusters).into_iter().map(|n| if n >= most_clusters { 0 } else { n }).collect(),
        |fixed| vec![if fixed >= most_clusters { 0 } else { fixed }],
    );
    let mut curve = Vec::new();
    for &probe_cells in &cell_steps {
        for &probe_clusters in &cluster_steps {
            let found =
                |h: &&SampleHit| h.cell_rank < probe_cells && (probe_clusters == 0 || h.cluster_rank < probe_clusters);
            let recall = exact.iter().filter(found).count() as f64 / exact.len().max(1) as f64;
            let of_cell = if probe_clusters == 0 { 1.0 } else { f64::from(probe_clusters) / f64::from(most_clusters) };
            let work = f64::from(probe_cells) / f64::from(cells) * of_cell;
            curve.push(RecallPoint { probe_cells, probe_clusters, recall, work });
        }
    }
    let target = settings.target_recall.unwrap_or(0.0);
    let by_work =
        |a: &&RecallPoint, b: &&RecallPoint| a.work.total_cmp(&b.work).then(a.probe_cells.cmp(&b.probe_cells));
    let reached = curve.iter().filter(|p| p.recall >= target).min_by(by_work);
    let chosen = reached
        .or_else(|| curve.iter().max_by(|a, b| a.recall.total_cmp(&b.recall).then(by_work(b, a))))
        .ok_or_else(|| anyhow::anyhow!("no setting of the probes was tried"))?;
    let mut out = Output::default();
    out.count("sample", sampled);
    out.count("probe-cells", chosen.probe_cells.into());
    out.count("probe-clusters", chosen.probe_clusters.into());
    out.count("recall-ppm", (chosen.recall * 1e6).round() as u64);
    out.table("curve", &curve)?;
    Ok(out)
}

/// `route`: every image to the cells it is compared with.
pub fn route(job: &Job) -> Result<Output, StageError> {
    let probes = job.run.seals[&ids::CALIBRATE].count("probe-cells") as usize;
    let (cells, _) = job.vectors_of(ids::SENTENCE_TRAIN, 0, "centroids")?;
    let mut rows = Vec::new();
    for home in job.group() {
        let images: Vec<ClusteredImage> = job.table_of(ids::HOME, home, "images")?;
        let (vectors, dim) = job.vectors_of(ids::HOME, home, "vectors")?;
        // Without a sentence there is a cell, which has no centroid.
        if images.is_empty() || cells.is_empty() {
            continue;
        }
        let order = probe(job, space(&vectors, dim)?, &cells, probes)?;
        for (at, row) in images.iter().enumerate() {
            let vector = Blob(vector_bytes(&vectors[at * dim..(at + 1) * dim]));
            rows.extend(
                order.of(at).iter().map(|hit| (hit.row, Query { image: row.image, home, vector: vector.clone() })),
            );
        }
    }
    let mut out = Output::default();
    out.count("queries", rows.len() as u64);
    out.shuffled("queries", rows)?;
    Ok(out)
}

/// `search`: the best sentences of one cell for the images that were sent to it.
pub fn search(job: &Job) -> Result<Output, StageError> {
    let keep = job.run.build.stages.retrieve.candidates as usize;
    let probes = job.run.seals[&ids::CALIBRATE].count("probe-clusters") as usize;
    let queries: Vec<Query> = job.partition(ids::ROUTE, "queries")?;
    let shelf = Shelf::open(job)?;
    let vectors: Vec<f16> = queries.iter().flat_map(|q| floats(&q.vector.0)).collect();
    let mut out = Output::default();
    let mut hits = Vec::new();
    if !queries.is_empty() && !shelf.rows.is_empty() {
        let dim = shelf.dim;
        // Images that read the same clusters are searched together, cluster by cluster.
        let mut by_cluster: Vec<Vec<usize>> = vec![Vec::new(); shelf.clusters()];
        let probes = if probes == 0 { shelf.clusters() } else { probes };
        let order = probe(job, space(&vectors, dim)?, &shelf.centroids, probes)?;
        for query in 0..queries.len() {
            order.of(query).iter().for_each(|hit| by_cluster[hit.row as usize].push(query));
        }
        let mut found: Vec<Vec<(f32, usize)>> = vec![Vec::new(); queries.len()];
        for (cluster, members) in by_cluster.iter().enumerate().filter(|(_, m)| !m.is_empty()) {
            let (start, end) = (shelf.starts[cluster], shelf.starts[cluster + 1]);
            let block: Vec<f16> = members.iter().flat_map(|&q| &vectors[q * dim..(q + 1) * dim]).copied().collect();
            let shelved = space(&shelf.vectors[start * dim..end * dim], dim)?;
            let kernel = job.kernel(block.len() * (end - start));
            let best = top_k(kernel, space(&block, dim)?, shelved, keep).map_err(trouble)?;
            out.count("compared", (members.len() * (end - start)) as u64);
            for (&query, best) in members.iter().zip(best) {
                found[query].extend(best.into_iter().map(|hit| (hit.cosine, start + hit.row as usize)));
            }
        }
        for (query, mut best) in queries.iter().zip(found) {
            best.sort_by(|a, b| b.0.total_cmp(&a.0).then(shelf.rows[a.1].sentence.cmp(&shelf.rows[b.1].sentence)));
            hits.extend(best.into_iter().take(keep).map(|(cosine, at)| {
                let row = &shelf.rows[at];
                (query.home, Hit { image: query.image, sentence: row.sentence, text: row.text.clone(), cosine })
            }));
        }
    }
    out.shuffled("home", hits)?;
    Ok(out)
}

/// `merge`: the best candidates of each image over all cells, back at its home shard.
pub fn merge(job: &Job) -> Result<Output, StageError> {
    let keep = job.run.build.stages.retrieve.candidates as usize;
    let images: Vec<ClusteredImage> = job.shard(ids::HOME, "images")?;
    let mut by_image: HashMap<Id, Vec<Candidate>> = HashMap::new();
    for hit in job.partition::<Hit>(ids::SEARCH, "home")? {
        by_image.entry(hit.image).or_default().push(Candidate {
            sentence: hit.sentence,
            text: hit.text,
            cosine: hit.cosine,
        });
    }
    let mut out = Output::default();
    let mut rows = Vec::with_capacity(images.len());
    for row in images {
        let mut candidates = by_image.remove(&row.image).unwrap_or_default();
        candidates.sort_by(|a, b| b.cosine.total_cmp(&a.cosine).then(a.sentence.cmp(&b.sentence)));
        candidates.truncate(keep);
        out.count("in", 1);
        out.count(if candidates.is_empty() { "dropped.no-sentence" } else { "out" }, 1);
        if let Some(best) = candidates.first() {
            out.observe("rank-1-cosine", || Histogram::new(-0.2, 1.0, 120), best.cosine.into());
        }
        rows.push(Retrieved { image: row.image, candidates });
    }
    out.table("candidates", &rows)?;
    Ok(out)
}
