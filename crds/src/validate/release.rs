//! A release's settings, judged.

use serde_json::json;

use super::Judge;
use crate::{Kind, Problem, RealSynBuild, RealSynRelease, Similarity, SimilarityMetric};

/// Everything that is wrong with a release, each with the field, its value and what would be right; empty if nothing is.
/// With its build at hand, the two are held against each other.
pub fn validate_release(release: &RealSynRelease, build: Option<&RealSynBuild>) -> Vec<Problem> {
    let mut judge = Judge::new(Kind::Release, &release.metadata, &release.spec);
    let spec = &release.spec;
    judge.dns_label("spec.buildRef.name", &spec.build_ref.name);
    if let Some(digest) = spec.build_ref.pool_digest.as_deref().filter(|_| spec.build_ref.min_generation.is_some()) {
        let message = "says exactly which pool, so that `minGeneration` has nothing left to say; give one of the two";
        judge.wrong("spec.buildRef.poolDigest", digest, message);
    }
    if let Some(band) = &spec.similarity {
        similarity(&mut judge, band);
    }
    let to = &spec.destination;
    if let Some(uri) = &to.uri {
        judge.uri("spec.destination.uri", uri, &["s3", "file", "pvc"]);
    }
    judge.http("spec.destination.endpoint", to.endpoint.as_deref());
    judge.credentials("spec.destination.credentials", to.credentials.as_ref());
    judge.list("spec.takedowns", spec.takedowns.as_ref());
    if let Some(build) = build {
        together(&mut judge, release, build);
    }
    judge.finish(Kind::Release, &release.metadata)
}

/// What is allowed, but most likely not meant.
pub fn release_warnings(release: &RealSynRelease, build: Option<&RealSynBuild>) -> Vec<Problem> {
    let mut judge = Judge { problems: Vec::new() };
    if let Some(build) = build {
        let (size, stored) = (release.spec.image.size, build.spec.stages.image_decode.short_side);
        if stored != 0 && size > stored {
            let message = format!("images are stored with a shorter side of {stored} pixels and are not enlarged");
            judge.wrong("spec.image.size", size, message);
        }
    }
    judge.finish(Kind::Release, &release.metadata)
}

fn similarity(judge: &mut Judge, band: &Similarity) {
    let path = "spec.similarity";
    let values = band.low.is_some() || band.high.is_some();
    let quantiles = band.drop_below_quantile.is_some() || band.drop_above_quantile.is_some();
    if values == quantiles {
        let message = "give a band by values (`low`, `high`) or by quantiles (`dropBelowQuantile`, `dropAboveQuantile`), not \
                       both; or leave `similarity` out for the profile's";
        judge.wrong(path, json!(band), message);
    }
    if let (Some(low), Some(high)) = (band.low, band.high) {
        let message = format!("is above `high` ({high}), so that no pair would be kept; swap them");
        judge.require(low <= high, "spec.similarity.low", low, &message);
    }
    let dropped = band.drop_below_quantile.unwrap_or(0.0) + band.drop_above_quantile.unwrap_or(0.0);
    let message = "the two quantiles together drop every pair; lower them to a sum below 1";
    judge.require(dropped < 1.0, path, json!(band), message);
    if band.metric == SimilarityMetric::HalfShifted {
        for (name, end) in [("low", band.low), ("high", band.high)] {
            let message =
                "`halfShifted` is half of one plus the cosine: 0 to 1; write such a value, or `metric: cosine`";
            judge.require(end.is_none_or(|v| v >= 0.0), &format!("{path}.{name}"), end, message);
        }
    }
}

fn together(judge: &mut Judge, release: &RealSynRelease, build: &RealSynBuild) {
    let (spec, name) = (&release.spec, &build.metadata.name);
    let message = format!("the build at hand is `{name}`; name that, or give the other build");
    judge.require(spec.build_ref.name == *name, "spec.buildRef.name", spec.build_ref.name.as_str(), &message);
    let candidates = build.spec.stages.retrieve.candidates;
    let message = format!(
        "is above the {candidates} sentences that the build keeps for each image; lower it, or raise \
         `spec.stages.retrieve.candidates` of the build"
    );
    judge.require(spec.texts <= candidates, "spec.texts", spec.texts, &message);
}
