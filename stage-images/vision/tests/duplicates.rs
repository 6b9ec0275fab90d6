//! Recall on planted copies, precision on hard negatives: generated pictures, and the photographs of the sample.
//!
//! Candidates are sought through the bands, as a build does it, so the bands are tested too.

mod common;

use std::collections::{HashMap, HashSet};

use common::{copy, diagram, drawing, openstax, parallel, screenshot, shapes, texture};
use realsyn_vision::{DecodeLimits, Fingerprint, Rgb, Thresholds, decode};

type Generator = fn(usize) -> Rgb;

/// Pairs (i < j) that share a band and are the same.
fn merged(prints: &[Option<Fingerprint>]) -> Vec<(usize, usize)> {
    let mut buckets: HashMap<u32, Vec<usize>> = HashMap::new();
    for (i, print) in prints.iter().enumerate() {
        for key in print.iter().flat_map(Fingerprint::bands) {
            buckets.entry(key).or_default().push(i);
        }
    }
    let mut candidates = HashSet::new();
    for bucket in buckets.values() {
        for (n, &i) in bucket.iter().enumerate() {
            candidates.extend(bucket[n + 1..].iter().map(|&j| (i, j)));
        }
    }
    let limits = Thresholds::default();
    let same = |i: usize, j: usize| matches!((&prints[i], &prints[j]), (Some(a), Some(b)) if a.same(b, &limits));
    let mut out: Vec<_> = candidates.into_iter().filter(|&(i, j)| same(i, j)).collect();
    out.sort_unstable();
    out
}

#[test]
fn planted_copies_are_found_and_hard_negatives_are_not() {
    const EACH: usize = 270;
    let kinds: [(&str, Generator); 5] = [
        ("texture", texture),
        ("shapes", shapes),
        ("screenshot", screenshot),
        ("drawing", drawing),
        ("diagram", diagram),
    ];
    // Originals at even places, each one's copy behind it.
    let prints: Vec<_> = parallel(kinds.len() * EACH, |i| {
        let rgb = kinds[i / EACH].1(i % EACH);
        [Fingerprint::of(&rgb), Fingerprint::of(&copy(&rgb, i))]
    })
    .into_iter()
    .flatten()
    .collect();
    let originals: Vec<_> = prints.iter().step_by(2).cloned().collect();
    let negatives = originals.len() * (originals.len() - 1) / 2;
    assert!(negatives > 900_000 && kinds.len() * EACH * (EACH - 1) / 2 > 180_000);

    let wrong = merged(&originals);
    let found: HashSet<_> = merged(&prints).into_iter().collect();
    let mut right = 0;
    for (k, (name, _)) in kinds.iter().enumerate() {
        let hits = (k * EACH..(k + 1) * EACH).filter(|i| found.contains(&(2 * i, 2 * i + 1))).count();
        let wrongs = wrong.iter().filter(|(i, _)| i / EACH == k).count();
        eprintln!("{name}: {hits} of {EACH} copies found, {wrongs} wrong pairs");
        right += hits;
    }
    let planted = kinds.len() * EACH;
    assert!(planted >= 1000);
    assert!(right as f64 >= 0.99 * planted as f64, "{right} of {planted}");
    assert!(right as f64 >= 0.999 * (right + wrong.len()) as f64, "{} wrong: {wrong:?}", wrong.len());
}

#[test]
fn photographs_are_found_again_and_not_merged() {
    let Some(paths) = openstax() else {
        let why = "no OpenStax sample; set REALSYN_OPENSTAX to its folder";
        realsyn_skip::skipped("photographs_are_found_again_and_not_merged", why);
        return;
    };
    let load = |i: usize| decode(&std::fs::read(&paths[i]).unwrap(), &DecodeLimits::default()).unwrap().rgb;
    let step = (paths.len() / 200).max(1);
    let copies = parallel(paths.len() / step, |i| {
        let rgb = load(i * step);
        Some((Fingerprint::of(&rgb)?, Fingerprint::of(&copy(&rgb, i))?))
    });
    let pairs: Vec<_> = copies.into_iter().flatten().collect();
    let found = pairs.iter().filter(|(a, b)| a.same(b, &Thresholds::default())).count();
    eprintln!("{found} of {} copies found", pairs.len());
    assert!(pairs.len() >= 190 && found as f64 >= 0.99 * pairs.len() as f64);

    let prints = parallel(paths.len(), |i| Fingerprint::of(&load(i)));
    let same = merged(&prints);
    eprintln!(
        "{} photographs, {} flat, {} pairs merged",
        paths.len(),
        prints.iter().filter(|p| p.is_none()).count(),
        same.len()
    );
    for &(i, j) in &same {
        eprintln!("{} {}", paths[i].display(), paths[j].display());
    }
    // The books repeat a few pictures; a careless rule merges hundreds.
    assert!(same.len() <= 20, "{same:?}");
}
