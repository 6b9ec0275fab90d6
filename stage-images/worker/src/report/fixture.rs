//! A report with something in every part of it.

use realsyn_plan::records::Histogram;

use super::data::*;

/// Text that tries to leave its place: a tag, an entity, quotes, a direction override and control characters.
pub const HOSTILE: &str = "</bdi><script>alert(1)</script> \"x\" onload='y' &amp; \u{202e}gnp.exe \u{0}\u{1b}[31m";

/// A build with a release.
pub fn full() -> Report {
    Report {
        head: Head {
            build: Some("openstax".into()),
            release: Some(ReleaseHead {
                name: "openstax-small".into(),
                published: Some(PublishedHead {
                    digest: "4f1c".repeat(16),
                    pairs: 8412,
                    bytes: 123_456_789,
                    files: 4,
                    uri: "out/releases/openstax-small-4f1c4f1c".into(),
                }),
            }),
            pool: Some(10_210),
            format: "obelics".into(),
            source: "data/openstax".into(),
            store: "out".into(),
            files: 3,
            file_bytes: 9_876_543,
            documents: Some(1234),
            images: (Some(15_210), Some(10_430)),
            sentences: (Some(91_210), Some(24_021)),
        },
        strip: Vec::new(),
        funnels: vec![images(), sentences()],
        scores: scores(),
        balance: Some(balance()),
        sheet: Sheet { pairs: (0..24).map(pair).collect(), of: 8412, released: true },
        image_groups: vec![GroupSet {
            title: "Images that look the same",
            stage: "image-dedup-perceptual",
            rule: "The copy with the most pixels stays.",
            groups: 41,
            members: 103,
            shown: (0..3)
                .map(|g| Group {
                    size: 9 - g,
                    members: (0..5).map(|m| Member { id: format!("{:032x}", g * 10 + m), picture: None }).collect(),
                })
                .collect(),
        }],
        sentence_groups: vec![GroupSet {
            title: "Sentences in nearly the same words",
            stage: "sentence-dedup-near",
            rule: "The text that occurs most stays.",
            groups: 2,
            members: 5,
            shown: vec![
                Group { size: 3, members: vec![text(1, None), text(2, None)] },
                Group { size: 2, members: vec![text(3, None), text(4, None)] },
            ],
        }],
        hubs: Some(Hubs {
            images: 10_430,
            distinct: Some(6021),
            covered: 2110,
            top: (0..8).map(|n| (text(n, None), 900 / (n as u64 + 1))).collect(),
        }),
        recall: Some(recall()),
        timing: timing(),
    }
}

fn step(title: &'static str, id: &str, units: (Unit, Unit), counts: (u64, u64), dropped: &[(&str, u64)]) -> FunnelStep {
    let dropped = dropped.iter().map(|(why, n)| ((*why).to_owned(), *n)).collect();
    FunnelStep {
        title,
        step: id.into(),
        before: units.0,
        after: units.1,
        counts: Some(StepCounts { came: counts.0, kept: counts.1, dropped }),
    }
}

fn images() -> Funnel {
    use Unit::{Ids, Occurrences};
    let (occurrences, turn, distinct) = ((Occurrences, Occurrences), (Occurrences, Ids), (Ids, Ids));
    Funnel {
        title: "Images",
        steps: vec![
            step(
                "References with bytes",
                "fetch/fetch",
                occurrences,
                (15_210, 14_900),
                &[("not-fetched", 300), ("missing", 10)],
            ),
            step(
                "Decoded, large and not too narrow",
                "image-decode/decode",
                occurrences,
                (14_900, 13_000),
                &[("too-small", 1500), ("too-long", 300), ("truncated", 60), ("unknown-format", 30), ("bomb", 10)],
            ),
            step(
                "Distinct files",
                "image-dedup-perceptual/exact",
                turn,
                (13_000, 11_000),
                &[("exact-duplicate", 2000)],
            ),
            step(
                "Different to the eye, and allowed",
                "image-policy/filter",
                distinct,
                (11_000, 10_900),
                &[("perceptual-duplicate", 100)],
            ),
            step(
                "Different in meaning",
                "image-cluster/home",
                distinct,
                (10_900, 10_430),
                &[("semantic-duplicate", 470)],
            ),
            FunnelStep { counts: None, ..step("With a synthetic text", "generate/generate", distinct, (0, 0), &[]) },
        ],
    }
}

fn sentences() -> Funnel {
    use Unit::{Ids, Occurrences};
    Funnel {
        title: "Sentences",
        steps: vec![
            step(
                "Sentences that pass the rules",
                "sentences/split",
                (Occurrences, Occurrences),
                (91_210, 40_000),
                &[("no-action", 31_210), ("too-few-words", 12_000), ("language", 8000)],
            ),
            step(
                "Distinct texts",
                "sentence-dedup-exact/unique",
                (Occurrences, Ids),
                (40_000, 38_000),
                &[("exact-duplicate", 2000)],
            ),
            step(
                "Entropy, perplexity, and not nearly the same",
                "sentence-dedup-near/rows",
                (Ids, Ids),
                (38_000, 25_000),
                &[("high-perplexity", 9000), ("low-perplexity", 3500), ("near-duplicate", 480), ("low-entropy", 20)],
            ),
            step(
                "Different in meaning",
                "sentence-cluster/cluster",
                (Ids, Ids),
                (25_000, 24_021),
                &[("semantic-duplicate", 979)],
            ),
        ],
    }
}

/// A bell of `total` counts in the bins between two places.
pub fn bell(low: f64, high: f64, bins: usize, centre: f64, width: f64, total: f64) -> Histogram {
    let mut h = Histogram::new(low, high, bins);
    let step = (high - low) / bins as f64;
    for (at, bin) in h.bins.iter_mut().enumerate() {
        let z = (low + step * (at as f64 + 0.5) - centre) / width;
        *bin = (total * step / width * 0.399 * (-z * z / 2.0).exp()).round() as u64;
    }
    h
}

/// A distribution of cosines with a band.
pub fn similarity(histogram: Histogram, band: Option<(f64, f64)>) -> Distribution {
    Distribution {
        title: "Image and synthetic text",
        axis: "cosine",
        of: "pairs",
        log10: false,
        histogram,
        band,
        decided: band.map(|_| (700, 8700, 800)),
    }
}

fn scores() -> Vec<Distribution> {
    vec![
        Distribution {
            title: "Entropy of sentences",
            axis: "entropy (Eq. 1)",
            of: "sentences",
            log10: false,
            histogram: bell(0.0, 8.0, 80, 3.4, 0.8, 38_000.0),
            band: Some((0.3, f64::INFINITY)),
            decided: Some((20, 37_980, 0)),
        },
        Distribution {
            title: "Perplexity of sentences",
            axis: "perplexity (Eq. 2, logarithmic)",
            of: "sentences",
            log10: true,
            histogram: bell(0.0, 5.0, 100, 1.9, 0.38, 38_000.0),
            band: Some((30.0, 200.0)),
            decided: Some((3500, 25_480, 9000)),
        },
        Distribution {
            title: "Image and its best sentence",
            of: "images",
            ..similarity(bell(-0.2, 1.0, 120, 0.52, 0.09, 10_430.0), None)
        },
        similarity(bell(-0.2, 1.0, 120, 0.41, 0.1, 10_200.0), Some((0.273, 0.553))),
    ]
}

fn balance() -> Balance {
    let sizes: Vec<u64> = (1..=52u64).map(|rank| 900 / (rank + 2)).collect();
    let curve = |of: &dyn Fn(u64) -> u64| (1..).zip(sizes.iter().map(|s| of(*s))).collect();
    Balance {
        clusters: 52,
        before: sizes.iter().sum(),
        after: Some(sizes.iter().map(|s| (*s).min(90)).sum()),
        limit: Some(90),
        before_curve: curve(&|s| s),
        after_curve: curve(&|s| s.min(90)),
        top: sizes.iter().take(8).zip(0..).map(|(s, c)| (c << 32 | 3, *s, Some((*s).min(90)))).collect(),
    }
}

fn text(n: usize, cosine: Option<f32>) -> Text {
    let texts = [
        "The Hubble Space Telescope orbits above the atmosphere and sends back pictures of faint galaxies.",
        "A spiral galaxy seen from above shows bright arms of young blue stars wound about its yellow core.",
        "Farm workers load baskets of cotton onto a wagon while an overseer watches from his horse.",
        "Voters wait in a long line outside the courthouse.",
        HOSTILE,
    ];
    Text { id: format!("{n:032x}"), text: texts[n % texts.len()].into(), cosine, occurrences: Some(n as u64) }
}

/// A pair; every fifth has hostile texts.
pub fn pair(n: usize) -> PairCard {
    PairCard {
        image: format!("{:032x}", n * 7919),
        picture: None,
        texts: (0..3).map(|k| text(n + k, Some(0.61 - 0.04 * k as f32))).collect(),
        synthetic: Some(text(n, None).text),
        cosine: Some(0.443),
        caption: Some("a photo of a spiral galaxy and stars".into()),
        tags: [("galaxy", 0.91), ("telescope", 0.44), ("night sky", 0.32), ("astronomy", 0.12)]
            .map(|(t, s)| (t.into(), s))
            .into(),
        cluster: Some(3 << 32 | 14),
        alt: Some("A photograph of a galaxy with two bright arms.".into()),
        page: Some(if n % 5 == 4 {
            "javascript:alert(1)".into()
        } else {
            "https://books.example/astronomy/pages/26-1".into()
        }),
        occurrences: 1 + n as u64 % 3,
    }
}

fn recall() -> Recall {
    let ladder = [1u64, 2, 3, 4, 6, 8];
    let point = |cells: u64, clusters: u64| {
        let (work, whole) = (cells as f64 / 8.0 * clusters as f64 / 8.0, if clusters == 8 { 0 } else { clusters });
        let recall = 1.0 - 0.62 * (-6.0 * work.powf(0.6)).exp() - 0.05 * (1.0 - cells as f64 / 8.0);
        RecallAt { probe_cells: cells, probe_clusters: whole, recall: recall.min(1.0), work }
    };
    Recall {
        sample: 512,
        probe_cells: 4,
        cells: 8,
        probe_clusters: 6,
        recall: 0.958,
        target: Some(0.95),
        points: ladder.iter().flat_map(|c| ladder.iter().map(move |k| point(*c, *k))).collect(),
    }
}

fn timing() -> Vec<StageTime> {
    let stage = |stage, rows, unit, millis| StageTime {
        stage,
        sealed: 2,
        steps: 2,
        shards: 4,
        rows: Some((rows, unit)),
        tokens: None,
        millis,
        read: 3_200_000,
        written: 1_900_000,
        rejected: Vec::new(),
    };
    vec![
        StageTime { rejected: vec![("truncated-parquet".into(), 1)], ..stage("documents", 1234, "documents", 1900) },
        stage("image-decode", 14_900, "images", 61_000),
        stage("sentences", 91_210, "sentences", 5400),
        StageTime { tokens: Some(1_310_000), ..stage("sentence-score", 38_000, "sentences", 4_100_000) },
        StageTime { sealed: 1, ..stage("retrieve", 10_430, "images", 2100) },
        StageTime { stage: "generate", steps: 1, ..StageTime::default() },
    ]
}
