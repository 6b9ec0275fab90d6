//! Planted duplicates through a real build: what must be merged is, what must not is not; and what retrieval records as
//! its recall is what a brute-force search over the published vectors finds.
//!
//! Needs the models and the OpenStax sample, as `whole_build.rs` does; skipped loudly where one is missing.

#[path = "../../vision/tests/common/mod.rs"]
mod pictures;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use realsyn_crds::Stage;
use realsyn_dataset::formats::Row;
use realsyn_dataset::formats::parquet::Limits;
use realsyn_dataset::formats::table::{TableReader, write_table};
use realsyn_duplicates::UnionFind;
use realsyn_e2e::Obelics;
use realsyn_plan::graph::{find, ids};
use realsyn_plan::layout::ShardSpec;
use realsyn_plan::{Digest, Id, StepId};
use realsyn_vision::{DecodeLimits, Rgb, decode, encode_jpeg};
use realsyn_worker::build::{BuildArgs, build};
use realsyn_worker::explain::load_seals;
use realsyn_worker::progress::Quiet;
use realsyn_worker::run::{Execution, Job, Order, Run};
use realsyn_worker::session::{Locations, Session};
use realsyn_worker::stages::rows::{ClusteredImage, ClusteredSentence, Group, KeptSentence, Retrieved};

/// Photographs, each with one copy (re-encoded, some resized, some recoloured) and one crop.
const PHOTOGRAPHS: usize = 310;
/// Screenshots that share layouts, line drawings in one frame, and diagrams on one grid: of each.
const DRAWN: usize = 150;
/// Sentences with a variant in case and punctuation.
const SENTENCES: usize = 420;
/// Sentences with a near-equal one that says something else.
const NEGATIVES: usize = 140;
const FILES: usize = 8;
/// Figures of the sample that show one picture: found by the build, and then looked at.
const REPEATED: [[&str; 2]; 2] = [
    ["OSC_Astro_01_04_Nebula.jpg", "OSC_Astro_20_02_Nebula.jpg"],
    ["OSC_Astro_25_02_MWAnno.jpg", "OSC_Astro_26_02_Milky.jpg"],
];
const PREFIX: &str = "https://planted.example/";

/// Pairs that a build must merge, and which of all pairs are right.
#[derive(Default)]
struct Planted {
    /// Name of the kind → (original, copy).
    pairs: BTreeMap<&'static str, Vec<(Id, Id)>>,
    /// What each thing is a copy of: a pair is right if both are copies of one.
    origin: HashMap<Id, usize>,
    /// Generated pictures of few layouts.
    drawn: HashSet<Id>,
}

impl Planted {
    fn thing(&mut self, id: Id) -> usize {
        let next = self.origin.len();
        *self.origin.entry(id).or_insert(next)
    }

    fn copy(&mut self, kind: &'static str, original: Id, copy: Id) {
        let origin = self.thing(original);
        self.origin.insert(copy, origin);
        self.pairs.entry(kind).or_default().push((original, copy));
    }
}

struct Fixture {
    run: Run,
    images: Planted,
    sentences: Planted,
}

fn fixture() -> Option<&'static Fixture> {
    static FIXTURE: OnceLock<Option<Fixture>> = OnceLock::new();
    FIXTURE.get_or_init(prepare).as_ref()
}

fn prepare() -> Option<Fixture> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let or = |name: &str, path: &str| std::env::var_os(name).map_or_else(|| workspace.join(path), PathBuf::from);
    let (models, openstax) = (or("REALSYN_MODELS", ".cache/models"), or("REALSYN_OPENSTAX", "../shared/data/openstax"));
    for needed in [models.join("demo-clip"), openstax.join("astronomy.parquet")] {
        if !needed.exists() {
            realsyn_skip::skipped("planted", format!("{} is not there", needed.display()));
            return None;
        }
    }
    // Cargo's folder for tests: a static is never dropped, so a temporary folder would stay.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("planted");
    _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let (mut images, mut sentences) = (Planted::default(), Planted::default());
    let names = plant_images(&folder.join("images"), &mut images);
    let texts = plant_sentences(&openstax, &mut sentences);
    write_corpus(&folder.join("corpus"), &names, &texts);
    let at = Locations {
        files: vec![manifest(&folder, &models)],
        out: Some(folder.join("out").display().to_string()),
        models: Some(models),
        ..Locations::default()
    };
    let how = Execution { jobs: 2, order: Order::Forward, runs: 1, gpus: None };
    let args = BuildArgs { at, jobs: None, list: false, no_report: true };
    build(&args, &Quiet, &how).unwrap();
    let session = Session::open(&args.at).unwrap();
    let mut run = session.run(session.inventory(false).unwrap().0, None).unwrap();
    load_seals(&mut run).unwrap();
    Some(Fixture { run, images, sentences })
}

/// Every sentence is taken, whatever its perplexity: what is measured is duplicates.
fn manifest(folder: &Path, models: &Path) -> PathBuf {
    let sha = |name: &str| realsyn_models::folder_sha256(&models.join(name)).unwrap();
    let text = format!(
        "apiVersion: realsyn.dev/v1alpha1\nkind: RealSynBuild\nmetadata: {{name: planted}}\nspec:\n  \
         source:\n    format: obelics\n    uri: corpus\n    imageMirrors: [{{prefix: \"{PREFIX}\", uri: images}}]\n  \
         storage: {{uri: unused}}\n  stopAfter: {stop}\n  \
         models: {{clip: {{sha256: \"{clip}\"}}, perplexity: {{sha256: \"{language}\"}}, llm: {{sha256: \"{language}\"}}}}\n  \
         stages:\n    sentences: {{minComplexity: 0, requireAction: false, languages: [], personalData: keep}}\n    \
         sentenceScore: {{minEntropy: 0, perplexity: {{min: 0, max: 1.0e+300}}}}\n    \
         sentenceCluster: {{rowsPerCluster: 16}}\n    imageCluster: {{rowsPerCluster: 8}}\n    \
         retrieve: {{sampleSize: 2000}}\n",
        stop = Stage::Retrieve,
        clip = sha("demo-clip"),
        language = sha("smollm2-135m-instruct"),
    );
    let file = folder.join("build.yaml");
    std::fs::write(&file, text).unwrap();
    file
}

/// Writes all pictures and returns their file names: each original far from its copies.
fn plant_images(folder: &Path, planted: &mut Planted) -> Vec<String> {
    std::fs::create_dir_all(folder).unwrap();
    let mut paths = pictures::openstax().unwrap();
    paths.sort_by_cached_key(|p| *blake3::hash(p.file_name().unwrap().as_encoded_bytes()).as_bytes());
    let opened = pictures::parallel(2 * PHOTOGRAPHS, |i| {
        let bytes = std::fs::read(&paths[i]).unwrap();
        let rgb = decode(&bytes, &DecodeLimits::default()).unwrap().rgb;
        let (short, long) = (rgb.width().min(rgb.height()), rgb.width().max(rgb.height()));
        // So that half its size still passes the rules on size and shape.
        if short < 200 || f64::from(long) / f64::from(short) > 2.9 {
            return None;
        }
        let copy = encode_jpeg(&pictures::copy(&rgb, i), 85);
        let name = paths[i].file_name().unwrap().to_str().unwrap();
        Some((name, [bytes, copy, encode_jpeg(&crop(&rgb, i), 90)]))
    });
    let photographs: Vec<_> = opened.into_iter().flatten().take(PHOTOGRAPHS).collect();
    assert_eq!(photographs.len(), PHOTOGRAPHS);
    let (mut first, mut second, mut third) = (Vec::new(), Vec::new(), Vec::new());
    let mut known: HashMap<&str, usize> = HashMap::new();
    for (i, (name, [original, copy, crop])) in photographs.iter().enumerate() {
        let shown = REPEATED.iter().find(|pair| pair.contains(name)).map_or(*name, |pair| pair[0]);
        let origin = planted.thing(Id::of_image(original));
        planted.origin.insert(Id::of_image(original), *known.entry(shown).or_insert(origin));
        planted.copy("re-encoded, resized, recoloured", Id::of_image(original), Id::of_image(copy));
        planted.copy("5 % crops", Id::of_image(original), Id::of_image(crop));
        for (to, kind, bytes) in [(&mut first, "o", original), (&mut second, "c", copy), (&mut third, "p", crop)] {
            to.push((format!("{kind}{i}.jpg"), bytes.clone()));
        }
    }
    type Generator = fn(usize) -> Rgb;
    let generators: [(&str, Generator); 3] =
        [("s", pictures::screenshot), ("d", pictures::drawing), ("g", pictures::diagram)];
    for (kind, generate) in generators {
        for (i, rgb) in pictures::parallel(DRAWN, generate).iter().enumerate() {
            let bytes = encode_jpeg(rgb, 90);
            planted.thing(Id::of_image(&bytes));
            planted.drawn.insert(Id::of_image(&bytes));
            first.push((format!("{kind}{i}.jpg"), bytes));
        }
    }
    let all = first.into_iter().chain(second).chain(third);
    all.map(|(name, bytes)| {
        std::fs::write(folder.join(&name), bytes).unwrap();
        name
    })
    .collect()
}

/// A picture without 5 % of its width and of its height, cut off on keyed sides.
fn crop(rgb: &Rgb, key: usize) -> Rgb {
    let mut key = pictures::Keyed::new("crop", key);
    let (width, height) = (rgb.width() * 95 / 100, rgb.height() * 95 / 100);
    let (x, y) = (key.below(rgb.width() - width + 1) as usize, key.below(rgb.height() - height + 1) as usize);
    let row = |r: &[u8]| r[3 * x..3 * (x + width as usize)].to_vec();
    let data = rgb.rows().skip(y).take(height as usize).flat_map(row).collect();
    Rgb::new(width, height, data).unwrap()
}

/// Returns all texts, one a block: originals, then variants and what only looks like one.
fn plant_sentences(openstax: &Path, planted: &mut Planted) -> Vec<String> {
    let base = plain_sentences(openstax);
    assert!(base.len() >= SENTENCES + 4 * NEGATIVES, "{} sentences", base.len());
    let (mut texts, mut others) = (Vec::new(), Vec::new());
    for (i, text) in base[..SENTENCES].iter().enumerate() {
        let variant = variant(text, i);
        planted.copy(
            if i % 7 == 6 { "white space" } else { "case and punctuation" },
            sentence(text),
            sentence(&variant),
        );
        texts.push(text.clone());
        others.push(variant);
    }
    for (i, part) in base[SENTENCES..].chunks_exact(4).take(NEGATIVES).enumerate() {
        for text in unlike(part, i) {
            planted.thing(sentence(&text));
            if texts.len() <= others.len() { texts.push(text) } else { others.push(text) }
        }
    }
    texts.extend(others);
    texts
}

fn sentence(text: &str) -> Id {
    Id::of_sentence(&realsyn_text::normalise::canonical(text))
}

/// Sentences of 6 to 12 plain words, distinct without regard to case, in keyed order.
fn plain_sentences(openstax: &Path) -> Vec<String> {
    let mut found = BTreeMap::new();
    for book in ["astronomy", "introduction-sociology", "us-history"] {
        let bytes = std::fs::read(openstax.join(format!("{book}.parquet"))).unwrap();
        let reader = TableReader::<Obelics>::open(bytes.into(), &Limits::default()).unwrap();
        for row in reader.groups().flat_map(Result::unwrap) {
            for text in row.texts.iter().flatten().flat_map(|t| t.split(". ")) {
                let words: Vec<&str> = text.split_whitespace().collect();
                let plain = text.chars().all(|c| c.is_ascii_alphabetic() || c == ' ' || c == ',');
                if (6..=12).contains(&words.len()) && plain && text.starts_with(|c: char| c.is_ascii_uppercase()) {
                    found.insert(words.join(" ").to_lowercase(), format!("{}.", words.join(" ")));
                }
            }
        }
    }
    let mut all: Vec<String> = found.into_values().collect();
    all.sort_by_cached_key(|t| *blake3::hash(t.as_bytes()).as_bytes());
    all
}

/// The same words in other case, punctuation or spacing.
fn variant(text: &str, kind: usize) -> String {
    let bare = text.trim_end_matches('.');
    let words: Vec<&str> = bare.split(' ').collect();
    match kind % 7 {
        0 => text.to_lowercase(),
        1 => text.to_uppercase(),
        2 => format!("{}!", bare.replace(',', "")),
        3 => format!("\u{201c}{text}\u{201d}"),
        4 => format!("{}, {}\u{2026}", words[..3].join(" "), words[3..].join(" ")),
        5 => format!("{} \u{2014} {}.", words[..4].join(" "), words[4..].join(" ")),
        _ => format!(" {}\u{a0} {}. ", words[..2].join(" \t"), words[2..].join(" ")),
    }
}

/// Two sentences that differ in little and say different things, made from four others.
fn unlike(from: &[String], kind: usize) -> [String; 2] {
    let bare: Vec<&str> = from.iter().map(|t| t.trim_end_matches('.')).collect();
    let words: Vec<&str> = bare[0].split(' ').collect();
    let long = bare.join(" and then ");
    let replaced = |at: usize, by: &str| [&words[..at], &[by], &words[at + 1..]].concat().join(" ");
    match kind % 10 {
        8 => [format!("Of 6,5{kind:02} people, {long}."), format!("Of 65{kind:02}0 people, {long}.")],
        9 => [format!("{long}."), format!("{}.", long.replacen(bare[2], &bare[2].replacen(' ', " never ", 1), 1))],
        // The opposite of a word, the one nearest the middle that has one.
        0..=2 => {
            let middle = words.len() / 2;
            let long = |at: &usize| words[*at].len() > 3 && words[*at].chars().all(|c| c.is_ascii_lowercase());
            let at = (0..words.len()).filter(long).min_by_key(|at| at.abs_diff(middle)).unwrap_or(middle);
            [from[0].clone(), format!("{}.", replaced(at, &format!("un{}", words[at])))]
        }
        3..=5 => [format!("In {}, {}", 1700 + kind, from[0]), format!("In {}, {}", 1701 + kind, from[0])],
        _ => [from[0].clone(), format!("{} not {}.", words[..2].join(" "), words[2..].join(" "))],
    }
}

/// Documents of a few pictures and sentences each, in order, so that what was planted late lies in other documents.
fn write_corpus(folder: &Path, images: &[String], texts: &[String]) {
    std::fs::create_dir_all(folder).unwrap();
    const DOCUMENTS: usize = 160;
    let part = |n: usize, i: usize| i * n / DOCUMENTS..(i + 1) * n / DOCUMENTS;
    let rows: Vec<Obelics> = (0..DOCUMENTS)
        .map(|i| {
            let shown = images[part(images.len(), i)].iter().map(|name| (Some(format!("{PREFIX}{name}")), None));
            let said = texts[part(texts.len(), i)].iter().map(|text| (None, Some(text.clone())));
            let (images, texts): (Vec<_>, Vec<_>) = shown.chain(said).unzip();
            let general_metadata = format!("{{\"url\": \"{PREFIX}{i}.html\"}}");
            Obelics { images, texts, metadata: "[]".into(), general_metadata }
        })
        .collect();
    for (i, part) in rows.chunks(DOCUMENTS / FILES).enumerate() {
        std::fs::write(folder.join(format!("part-{i}.parquet")), write_table(part).unwrap()).unwrap();
    }
}

impl Fixture {
    fn job(&self, step: StepId) -> Job<'_> {
        Job::new(&self.run, find(step), ShardSpec { number: 0, key: Digest([0; 32]), group: 0..1 })
    }

    /// All rows of a step's table.
    fn rows<T: Row>(&self, step: StepId, role: &str) -> Vec<T> {
        let job = self.job(step);
        job.numbers(step).flat_map(|n| job.table_of::<T>(step, n, role).unwrap()).collect()
    }

    /// All vectors of a step, row by row.
    fn vectors(&self, step: StepId) -> Vec<Vec<f64>> {
        let job = self.job(step);
        let all = job.numbers(step).map(|n| job.vectors_of(step, n, "vectors").unwrap());
        all.flat_map(|(values, dim)| {
            let row = |r: &[half::f16]| r.iter().map(|v| v.to_f64()).collect::<Vec<_>>();
            values.chunks_exact(dim.max(1)).map(row).collect::<Vec<_>>()
        })
        .collect()
    }

    /// The groups that the tables of these steps join, and how they compare with what was planted.
    fn merged(&self, planted: &Planted, steps: &[StepId]) -> Merged {
        let mut names: Vec<Id> = planted.origin.keys().copied().collect();
        names.sort_unstable();
        let place: HashMap<Id, u32> = (0..).zip(&names).map(|(at, id)| (*id, at)).collect();
        let mut joined = UnionFind::new(names.len());
        for group in steps.iter().flat_map(|step| self.rows::<Group>(*step, "groups")) {
            for pair in group.members.windows(2) {
                joined.union(place[&pair[0]], place[&pair[1]]);
            }
        }
        let root: HashMap<Id, u32> = names.iter().map(|id| (*id, joined.find(place[id]))).collect();
        let mut groups: BTreeMap<u32, Vec<Id>> = BTreeMap::new();
        root.iter().for_each(|(id, root)| groups.entry(*root).or_default().push(*id));
        let (mut right, mut wrong) = (0, Vec::new());
        for group in groups.values() {
            for (i, a) in group.iter().enumerate() {
                for b in &group[i + 1..] {
                    if planted.origin[a] == planted.origin[b] { right += 1 } else { wrong.push((*a, *b)) }
                }
            }
        }
        let found = |pairs: &Vec<(Id, Id)>| pairs.iter().filter(|(a, b)| root[a] == root[b]).count();
        Merged { found: planted.pairs.iter().map(|(k, p)| (*k, (found(p), p.len()))).collect(), right, wrong }
    }
}

#[derive(Debug)]
struct Merged {
    /// Kind → how many of its pairs are in one group, and how many there are.
    found: BTreeMap<&'static str, (usize, usize)>,
    /// Pairs in one group that belong together.
    right: usize,
    /// Pairs in one group that do not.
    wrong: Vec<(Id, Id)>,
}

impl Merged {
    fn recall(&self, kind: &str) -> f64 {
        self.found[kind].0 as f64 / self.found[kind].1 as f64
    }

    fn precision(&self) -> f64 {
        self.right as f64 / (self.right + self.wrong.len()) as f64
    }
}

const PERCEPTUAL: &[StepId] = &[ids::IMAGES_GROUPS];
const WITH_SEMANTIC: &[StepId] = &[ids::IMAGES_GROUPS, ids::IMAGE_PAIRS, ids::IMAGE_MERGE];

#[test]
fn reworked_images_are_found_and_others_are_not() {
    let Some(f) = fixture() else { return };
    let merged = f.merged(&f.images, PERCEPTUAL);
    eprintln!("perceptual: {:?}, {} right, {} wrong", merged.found, merged.right, merged.wrong.len());
    assert!(merged.recall("re-encoded, resized, recoloured") >= 0.99, "{:?}", merged.found);
    assert!(merged.precision() >= 0.999, "{:?}", merged.wrong);
}

/// The demonstration's image vectors cannot tell apart two screenshots of one layout, which lie nearer to each other than a
/// photograph to its crop. That near pairs are verified does.
#[test]
fn crops_are_found_and_other_photographs_are_not() {
    let Some(f) = fixture() else { return };
    let merged = f.merged(&f.images, WITH_SEMANTIC);
    eprintln!("with semantic: {:?}, {} right, {} wrong", merged.found, merged.right, merged.wrong.len());
    assert!(merged.recall("5 % crops") >= 0.95, "{:?}", merged.found);
    assert!(merged.precision() >= 0.999, "{:?}", merged.wrong);
}

#[test]
fn planted_sentences_are_merged_and_others_are_not() {
    let Some(f) = fixture() else { return };
    let near = f.merged(&f.sentences, &[ids::NEAR_GROUPS]);
    let means = f.merged(&f.sentences, &[ids::NEAR_GROUPS, ids::SENTENCE_PAIRS, ids::SENTENCE_MERGE]);
    eprintln!("exact and near: {:?}, {} right, {} wrong", near.found, near.right, near.wrong.len());
    eprintln!("with semantic: {:?}, {} right, {} wrong", means.found, means.right, means.wrong.len());
    let planted = |p: &Planted| p.pairs.values().map(Vec::len).sum::<usize>();
    assert!(planted(&f.images) + planted(&f.sentences) >= 1000);
    let unique = &f.run.seals[&ids::UNIQUE];
    assert_eq!(unique.count("in"), (2 * SENTENCES + 2 * NEGATIVES) as u64, "a text was split or lost");
    assert!(near.recall("case and punctuation") >= 0.99, "{:?}", near.found);
    // These have one id: that they are one row is what `unique` counts.
    assert_eq!(unique.count("dropped.exact-duplicate"), near.found["white space"].1 as u64);
    assert!(near.precision() >= 0.999, "{:?}", near.wrong);
    let texts: HashMap<Id, String> =
        f.rows::<KeptSentence>(ids::ROWS, "sentences").into_iter().map(|s| (s.sentence, s.text)).collect();
    let wrong: Vec<_> = means.wrong.iter().map(|(a, b)| (texts.get(a), texts.get(b))).collect();
    assert!(means.precision() >= 0.999, "{wrong:#?}");
}

#[test]
fn recorded_recall_is_what_brute_force_finds() {
    let Some(f) = fixture() else { return };
    let seal = &f.run.seals[&ids::CALIBRATE];
    let recorded = seal.count("recall-ppm") as f64 / 1e6;
    let cells = f.run.seals[&ids::SENTENCE_TRAIN].count("cells");
    eprintln!(
        "recorded {recorded} with {} of {cells} cells, sample {}",
        seal.count("probe-cells"),
        seal.count("sample")
    );
    assert!(recorded >= 0.95, "{recorded}");
    assert!(cells > 3, "with {cells} cells there is nothing to miss");

    let images: Vec<ClusteredImage> = f.rows(ids::HOME, "images");
    assert_eq!(seal.count("sample"), images.len() as u64, "the corpus is no larger than the sample");
    let sentences: Vec<ClusteredSentence> = f.rows(ids::SENTENCE_CLUSTER, "sentences");
    let (queries, shelf) = (f.vectors(ids::HOME), f.vectors(ids::SENTENCE_CLUSTER));
    assert_eq!((queries.len(), shelf.len()), (images.len(), sentences.len()));
    let retrieved: HashMap<Id, Retrieved> =
        f.rows::<Retrieved>(ids::CANDIDATES, "candidates").into_iter().map(|r| (r.image, r)).collect();
    let (mut found, mut all) = (0, 0);
    for (image, query) in images.iter().zip(&queries) {
        let cosine = |row: &Vec<f64>| row.iter().zip(query).map(|(a, b)| a * b).sum::<f64>() as f32;
        let mut exact: Vec<(f32, Id)> = shelf.iter().map(cosine).zip(sentences.iter().map(|s| s.sentence)).collect();
        exact.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let got: HashSet<Id> = retrieved[&image.image].candidates.iter().take(3).map(|c| c.sentence).collect();
        found += exact[..3].iter().filter(|(_, id)| got.contains(id)).count();
        all += 3;
    }
    let measured = found as f64 / all as f64;
    eprintln!("measured {measured}: {found} of {all}");
    assert!(measured >= 0.95);
    // Parts per million are rounded.
    assert!((measured - recorded).abs() <= 1e-6, "measured {measured}, recorded {recorded}");
}
