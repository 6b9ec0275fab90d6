//! Histograms, cluster sizes and recall.

use realsyn_plan::graph::ids;

use super::{Reader, Top};
use crate::report::data::{Balance, Distribution, Recall, RecallAt};
use crate::stages::release::{BandRow, ClusterBalance};
use crate::stages::rows::{ClusterSize, RecallPoint};

/// Clusters that are listed.
const TOP_CLUSTERS: usize = 8;
/// Points of a curve over ranks.
const CURVE_POINTS: usize = 160;

pub fn distributions(from: &Reader) -> anyhow::Result<Vec<Distribution>> {
    let mut all = Vec::new();
    let limits = &from.run.build.stages.sentence_score;
    let dropped = |name: &str| from.count(ids::ROWS, &format!("dropped.{name}")).unwrap_or(0);
    let scored = from.count(ids::ROWS, "in");
    if let Some(histogram) = from.seal(ids::SCORE).and_then(|s| s.histograms.get("entropy")) {
        let below = dropped("low-entropy");
        all.push(Distribution {
            title: "Entropy of sentences",
            axis: "entropy (Eq. 1)",
            of: "sentences",
            log10: false,
            histogram: histogram.clone(),
            band: Some((limits.min_entropy, f64::INFINITY)),
            decided: scored.map(|n| (below, n.saturating_sub(below), 0)),
        });
    }
    if let Some(histogram) = from.seal(ids::SCORE).and_then(|s| s.histograms.get("log10-perplexity")) {
        let (below, above) = (dropped("low-perplexity"), dropped("high-perplexity"));
        // Sentences that entropy had dropped already were not judged by their perplexity.
        let judged = scored.map(|n| n.saturating_sub(dropped("low-entropy") + dropped("no-perplexity")));
        all.push(Distribution {
            title: "Perplexity of sentences",
            axis: "perplexity (Eq. 2, logarithmic)",
            of: "sentences",
            log10: true,
            histogram: histogram.clone(),
            band: Some((limits.perplexity.min, limits.perplexity.max)),
            decided: judged.map(|n| (below, n.saturating_sub(below + above), above)),
        });
    }
    if let Some(histogram) = from.seal(ids::CANDIDATES).and_then(|s| s.histograms.get("rank-1-cosine")) {
        all.push(Distribution {
            title: "Image and its best sentence",
            axis: "cosine",
            of: "images",
            log10: false,
            histogram: histogram.clone(),
            band: None,
            decided: None,
        });
    }
    all.extend(similarity(from)?);
    Ok(all)
}

/// Similarity of image and synthetic text: what the release's band was laid over, or the pool's.
fn similarity(from: &Reader) -> anyhow::Result<Option<Distribution>> {
    let step = if from.sealed(ids::SELECT) { ids::SELECT } else { ids::PAIR_SCORE };
    let Some(histogram) = from.seal(step).and_then(|s| s.histograms.get("similarity")) else { return Ok(None) };
    let (mut band, mut decided) = (None, None);
    if let Some(seal) = from.seal(ids::SELECT) {
        let rows: Vec<BandRow> = from.job(ids::SELECT, 0).table_of(ids::SELECT, 0, "band")?;
        band = rows.first().map(|b| (b.low, b.high));
        let (below, above) = (seal.count("dropped.below-band"), seal.count("dropped.above-band"));
        decided = Some((below, seal.count("in").saturating_sub(below + above), above));
    }
    Ok(Some(Distribution {
        title: "Image and synthetic text",
        axis: "cosine",
        of: "pairs",
        log10: false,
        histogram: histogram.clone(),
        band,
        decided,
    }))
}

pub fn balance(from: &Reader) -> anyhow::Result<Option<Balance>> {
    let mut sizes: Vec<(u64, u64)> = Vec::new();
    let mut top = Top::new(TOP_CLUSTERS);
    let limit = from.run.release.as_ref().and_then(|r| r.spec.balance.max_per_cluster).map(u64::from);
    let released = from.sealed(ids::SELECT);
    if released {
        for row in from.job(ids::SELECT, 0).table_of::<ClusterBalance>(ids::SELECT, 0, "clusters")? {
            sizes.push((row.before, row.after));
            top.add(row.before, (row.cluster, Some(row.after)));
        }
    } else if from.sealed(ids::IMAGE_CLUSTER) {
        for number in from.shards(ids::IMAGE_CLUSTER) {
            let job = from.job(ids::IMAGE_CLUSTER, number);
            for row in job.table_of::<ClusterSize>(ids::IMAGE_CLUSTER, number, "clusters")? {
                sizes.push((row.rows, 0));
                top.add(row.rows, (row.cluster, None));
            }
        }
    } else {
        return Ok(None);
    }
    sizes.retain(|(before, _)| *before > 0);
    let sum = |of: fn(&(u64, u64)) -> u64| sizes.iter().map(of).sum::<u64>();
    let curve = |of: fn(&(u64, u64)) -> u64| falling(sizes.iter().map(of).filter(|n| *n > 0).collect());
    Ok(Some(Balance {
        clusters: sizes.len() as u64,
        before: sum(|s| s.0),
        after: released.then(|| sum(|s| s.1)),
        limit,
        before_curve: curve(|s| s.0),
        after_curve: if released { curve(|s| s.1) } else { Vec::new() },
        top: top.into_items().filter(|(n, _)| *n > 0).map(|(n, (cluster, after))| (cluster, n, after)).collect(),
    }))
}

/// Sizes by falling rank, at every rank while they are few, then at ranks that grow by a constant factor.
fn falling(mut sizes: Vec<u64>) -> Vec<(u64, u64)> {
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let n = sizes.len();
    let factor = (n as f64).powf(1.0 / CURVE_POINTS as f64);
    let mut points = Vec::new();
    let mut next = 0.0f64;
    for (at, size) in sizes.into_iter().enumerate() {
        if n <= CURVE_POINTS || at as f64 >= next || at + 1 == n {
            points.push((at as u64 + 1, size));
            next = (at as f64 + 1.0) * factor;
        }
    }
    points
}

pub fn recall(from: &Reader) -> anyhow::Result<Option<Recall>> {
    let Some(seal) = from.seal(ids::CALIBRATE) else { return Ok(None) };
    let curve: Vec<RecallPoint> = from.job(ids::CALIBRATE, 0).table_of(ids::CALIBRATE, 0, "curve")?;
    Ok(Some(Recall {
        sample: seal.count("sample"),
        probe_cells: seal.count("probe-cells"),
        cells: from.count(ids::SENTENCE_TRAIN, "cells").unwrap_or(0),
        probe_clusters: seal.count("probe-clusters"),
        recall: seal.count("recall-ppm") as f64 / 1e6,
        target: from.run.build.stages.retrieve.target_recall,
        points: curve
            .into_iter()
            .map(|p| RecallAt {
                probe_cells: p.probe_cells.into(),
                probe_clusters: p.probe_clusters.into(),
                recall: p.recall,
                work: p.work,
            })
            .collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_curve_is_thinned_and_keeps_both_ends() {
        let sizes: Vec<u64> = (1..=100_000).collect();
        let curve = falling(sizes);
        assert_eq!(curve.first(), Some(&(1, 100_000)));
        assert_eq!(curve.last(), Some(&(100_000, 1)));
        assert!(curve.len() <= 2 * CURVE_POINTS, "{} points", curve.len());
        assert!(curve.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 > w[1].1));
    }

    #[test]
    fn a_short_curve_keeps_every_rank() {
        assert_eq!(falling(vec![3, 9, 1]), [(1, 9), (2, 3), (3, 1)]);
        assert!(falling(Vec::new()).is_empty());
    }
}
