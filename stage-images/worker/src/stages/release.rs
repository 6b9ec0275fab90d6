//! A release's first half: takedowns, the pairs that could be released, and the selection.

use std::collections::{BTreeMap, HashMap, HashSet};

use realsyn_crds::{Similarity, SimilarityMetric, TextSurface};
use realsyn_dataset::table_row;
use realsyn_models::is_blank_to_clip;
use realsyn_plan::Id;
use realsyn_plan::graph::ids;
use realsyn_plan::ids::OrderKey;
use realsyn_plan::records::Histogram;
use serde::{Deserialize, Serialize};

use super::publish::{release, surface};
use super::rows::{
    Captioned, ClusteredImage, Dropped, Generated, HomeImage, Image, Pair, PairScore, Retrieved, Selected,
    SentenceOccurrence, TagScore, Tagged, TakenDown,
};
use super::selection::{Band, Candidate, Choice, select as choose};
use super::takedowns::Takedowns;
use crate::run::{Job, Output, StageError};

/// `takedown`: the sentences of a range of which no occurrence is left.
pub fn takedown(job: &Job) -> Result<Output, StageError> {
    let takedowns = Takedowns::of(job)?;
    let mut rows = Vec::new();
    if !takedowns.is_empty() {
        let occurrences: Vec<SentenceOccurrence> = job.shard(ids::UNIQUE, "occurrences")?;
        for same in occurrences.chunk_by(|a, b| a.sentence == b.sentence) {
            let sentence = same[0].sentence;
            if takedowns.names(sentence)
                || same.iter().all(|o| takedowns.matches_document(o.document, o.url.as_deref()))
            {
                rows.push(TakenDown { sentence });
            }
        }
    }
    let mut out = Output::default();
    out.count("taken-down", rows.len() as u64);
    out.table("sentences", &rows)?;
    Ok(out)
}

/// `pairs`: every image of a home shard with all that a release may say of it, or the reason why it cannot be released.
pub fn pairs(job: &Job) -> Result<Output, StageError> {
    let takedowns = Takedowns::of(job)?;
    let of_clip = release(job.run)?.spec.text_surface == TextSurface::ClipRoundtrip;
    // Nothing would be left of such a text: the next takes its place.
    let is_blank = |text: &str| of_clip && is_blank_to_clip(text);
    let mut gone: HashSet<Id> = HashSet::new();
    for number in job.numbers(ids::TAKEDOWN) {
        gone.extend(job.table_of::<TakenDown>(ids::TAKEDOWN, number, "sentences")?.into_iter().map(|t| t.sentence));
    }
    let mut occurrences: HashMap<Id, _> =
        job.partition::<HomeImage>(ids::IMAGES_EXACT, "home")?.into_iter().map(|h| (h.image, h.occurrences)).collect();
    let sizes: HashMap<Id, (u32, u32)> =
        job.shard::<Image>(ids::POLICY, "images")?.into_iter().map(|i| (i.image, (i.width, i.height))).collect();
    let mut retrieved: HashMap<Id, _> =
        job.shard::<Retrieved>(ids::CANDIDATES, "candidates")?.into_iter().map(|r| (r.image, r.candidates)).collect();
    let mut captions: HashMap<Id, String> =
        job.shard::<Captioned>(ids::CAPTION, "captions")?.into_iter().map(|c| (c.image, c.caption)).collect();
    let mut tags: HashMap<Id, Vec<TagScore>> =
        job.shard::<Tagged>(ids::TAG, "tags")?.into_iter().map(|t| (t.image, t.tags)).collect();
    let mut texts: HashMap<Id, Generated> =
        job.shard::<Generated>(ids::GENERATE, "texts")?.into_iter().map(|g| (g.image, g)).collect();
    let cosines: HashMap<Id, Option<f32>> =
        job.shard::<PairScore>(ids::PAIR_SCORE, "scores")?.into_iter().map(|s| (s.image, s.cosine)).collect();
    let mut out = Output::default();
    let (mut rows, mut dropped) = (Vec::new(), Vec::new());
    for row in job.shard::<ClusteredImage>(ids::HOME, "images")? {
        let image = row.image;
        out.count("in", 1);
        let occurrences = occurrences.remove(&image).unwrap_or_default();
        let mut candidates = retrieved.remove(&image).unwrap_or_default();
        let generated = texts.remove(&image);
        // The synthetic text was written from the first sentence: without it, it has no ground to stand on.
        let first_gone = candidates.first().is_some_and(|c| gone.contains(&c.sentence));
        candidates.retain(|c| !gone.contains(&c.sentence));
        let left = candidates.len();
        candidates.retain(|c| !is_blank(&c.text));
        let none_left = left > 0 && candidates.is_empty();
        let cosine = cosines.get(&image).copied().flatten();
        let synthetic = generated.as_ref().and_then(|g| g.text.clone());
        let reason = if takedowns.names(image) || occurrences.iter().any(|o| takedowns.matches_occurrence(o)) {
            Some("taken-down".to_owned())
        } else if first_gone {
            Some("sentence-taken-down".to_owned())
        } else if synthetic.is_none() || cosine.is_none() {
            Some(generated.map_or_else(|| "no-synthetic-text".into(), |g| format!("generate-{}", g.outcome)))
        } else if none_left || synthetic.as_deref().is_some_and(is_blank) {
            Some("blank-text".to_owned())
        } else {
            None
        };
        match (reason, synthetic, cosine) {
            (None, Some(synthetic), Some(cosine)) => {
                out.count("out", 1);
                let (width, height) = sizes.get(&image).copied().unwrap_or_default();
                rows.push(Pair {
                    image,
                    home: job.spec.number,
                    cluster: row.cluster,
                    cosine,
                    synthetic,
                    caption: captions.remove(&image).unwrap_or_default(),
                    tags: tags.remove(&image).unwrap_or_default(),
                    candidates,
                    occurrences,
                    width,
                    height,
                });
            }
            (reason, ..) => {
                let reason = reason.unwrap_or_else(|| "no-synthetic-text".into());
                out.count(format!("dropped.{reason}"), 1);
                dropped.push(Dropped { what: image.to_string(), reason, of: None, value: None });
            }
        }
    }
    out.table("pairs", &rows)?;
    out.table("dropped", &dropped)?;
    Ok(out)
}

table_row! {
    /// The columns of a pair that selection reads.
    #[derive(Debug, Serialize, Deserialize)]
    struct PairKey {
        image: Id,
        home: u32,
        cluster: u64,
        cosine: f32,
    }
}

table_row! {
    /// `release/select:clusters`: a cluster's pairs before and after balancing.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    pub struct ClusterBalance {
        /// The cluster.
        pub cluster: u64,
        /// Pairs inside the band.
        pub before: u64,
        /// Pairs released.
        pub after: u64,
    }
}

table_row! {
    /// `release/select:band`: the band as cosines.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    pub struct BandRow {
        /// Lowest cosine kept.
        pub low: f64,
        /// Highest cosine kept.
        pub high: f64,
    }
}

/// `select`: band, balance and order, over everything.
pub fn select(job: &Job) -> Result<Output, StageError> {
    let release = release(job.run)?;
    // Better known here than after the pictures were moved.
    surface(job.run)?;
    let mut pairs = Vec::new();
    for number in job.numbers(ids::PAIRS) {
        pairs.extend(job.table_of::<PairKey>(ids::PAIRS, number, "pairs")?.into_iter().map(|p| Candidate {
            image: p.image,
            home: p.home,
            cluster: p.cluster,
            cosine: p.cosine,
        }));
    }
    let band = band(release.spec.similarity.as_ref(), &pairs);
    let balance = &release.spec.balance;
    let choices = choose(&pairs, band, balance.max_per_cluster.map(u64::from), balance.target_samples);
    let mut out = Output::default();
    let mut clusters: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let (mut chosen, mut dropped) = (Vec::new(), Vec::new());
    for (pair, choice) in pairs.iter().zip(&choices) {
        out.count("in", 1);
        out.observe("similarity", || Histogram::new(-0.2, 1.0, 120), pair.cosine.into());
        let reason = match choice {
            Choice::Kept => None,
            other => Some(other.reason()),
        };
        let sizes = clusters.entry(pair.cluster).or_default();
        sizes.0 += u64::from(!matches!(choice, Choice::BelowBand | Choice::AboveBand));
        match reason {
            None => {
                out.count("out", 1);
                sizes.1 += 1;
                chosen.push(pair);
            }
            Some(reason) => {
                out.count(format!("dropped.{reason}"), 1);
                let value = Some(f64::from(pair.cosine));
                dropped.push(Dropped { what: pair.image.to_string(), reason: reason.into(), of: None, value });
            }
        }
    }
    chosen.sort_by_cached_key(|p| (p.image.order(OrderKey::Pack), p.image));
    let per_shard = release.spec.samples_per_shard as usize;
    let selection = chosen.iter().enumerate().map(|(at, pair)| {
        let (shard, place) = ((at / per_shard) as u32, (at % per_shard) as u32);
        (pair.home, Selected { image: pair.image, shard, place })
    });
    out.count("shards", chosen.len().div_ceil(per_shard) as u64);
    let clusters: Vec<ClusterBalance> =
        clusters.into_iter().map(|(cluster, (before, after))| ClusterBalance { cluster, before, after }).collect();
    out.table("clusters", &clusters)?;
    out.table("band", &[BandRow { low: band.low, high: band.high }])?;
    out.table("dropped", &dropped)?;
    out.shuffled("selection", selection.collect())?;
    Ok(out)
}

/// The band as raw cosines, whatever the metric in which it was given.
fn band(similarity: Option<&Similarity>, pairs: &[Candidate]) -> Band {
    let Some(similarity) = similarity else { return Band::ALL };
    let to_cosine = |v: f64| match similarity.metric {
        SimilarityMetric::Cosine => v,
        SimilarityMetric::HalfShifted => 2.0 * v - 1.0,
    };
    let mut band = Band::of_quantiles(
        pairs.iter().map(|p| p.cosine),
        similarity.drop_below_quantile.unwrap_or(0.0),
        similarity.drop_above_quantile.unwrap_or(0.0),
    );
    band.low = similarity.low.map_or(band.low, to_cosine);
    band.high = similarity.high.map_or(band.high, to_cosine);
    band
}

#[cfg(test)]
mod tests {
    use realsyn_crds::{Profile, ReleaseSpec};

    use super::*;

    /// So many pairs, with cosines 0, 0.01, 0.02 …
    fn pairs(n: usize) -> Vec<Candidate> {
        let pair =
            |i: usize| Candidate { image: Id::of_image(&[i as u8]), home: 0, cluster: 0, cosine: i as f32 / 100.0 };
        (0..n).map(pair).collect()
    }

    fn of_profile(profile: Profile) -> Option<Similarity> {
        let spec: ReleaseSpec = serde_json::from_str(r#"{"buildRef": {"name": "b"}}"#).unwrap();
        spec.effective(profile).similarity
    }

    #[test]
    fn a_band_is_one_of_cosines_however_it_is_given() {
        let pairs = pairs(100);
        let given = |metric, low, high| Similarity { metric, low, high, ..Similarity::default() };
        let of = |similarity: Option<&Similarity>| band(similarity, &pairs);
        assert_eq!(of(None), Band::ALL);
        let cosine = of(Some(&given(SimilarityMetric::Cosine, Some(0.25), Some(0.5))));
        assert_eq!(cosine, Band { low: 0.25, high: 0.5 });
        // (1 + 0.25) / 2 and (1 + 0.5) / 2.
        assert_eq!(of(Some(&given(SimilarityMetric::HalfShifted, Some(0.625), Some(0.75)))), cosine);
        // An end that is not given is where the pairs end.
        let open = of(Some(&given(SimilarityMetric::HalfShifted, Some(0.625), None)));
        assert_eq!(open, Band { low: 0.25, high: f64::from(0.99f32) });
        let paper = of(of_profile(Profile::Paper).as_ref());
        assert!((paper.low - 0.02).abs() < 1e-12 && (paper.high - 0.22).abs() < 1e-12, "{paper:?}");
    }

    #[test]
    fn without_a_word_seven_and_a_half_percent_go_at_either_end() {
        let pairs = pairs(200);
        let band = band(of_profile(Profile::Scaled).as_ref(), &pairs);
        assert_eq!(band, Band { low: 0.15f32.into(), high: 1.84f32.into() });
        let kept = choose(&pairs, band, None, None).iter().filter(|choice| **choice == Choice::Kept).count();
        assert_eq!(kept, 170);
    }
}
