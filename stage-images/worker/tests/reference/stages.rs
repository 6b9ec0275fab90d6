//! What each stage writes for one small corpus, held against `stages.json`: bytes that change under an unchanged revision would be
//! mixed with those of finished builds.
//!
//! Only stages that write the same bytes anywhere have a root there. What engines compute (decoding, scores, vectors, captions, tags,
//! texts) differs between processors; it is recorded here instead, as values that follow from ids, and the stages behind read that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use half::f16;
use realsyn_crds::Stage;
use realsyn_dataset::formats::Blob;
use realsyn_dataset::formats::tar::TarWriter;
use realsyn_plan::graph::{BUILD, RELEASE, find, ids, stages_read};
use realsyn_plan::judge::Verdict;
use realsyn_plan::layout::{Inventory, SourceShard, layout};
use realsyn_plan::recipe::revision;
use realsyn_plan::records::{Commit, Effort, Outcome};
use realsyn_plan::{Digest, Id, StepId};
use realsyn_vision::{Fingerprint, Rgb, Thumbnail};
use realsyn_worker::progress::Quiet;
use realsyn_worker::run::{Execution, Job, Order, Output, Run, run_step};
use realsyn_worker::session::{Locations, Session};
use realsyn_worker::stages::rows::{
    Captioned, ClusteredImage, Decoded, Dropped, EmbeddedImage, Fetched, Gathered, Generated, Image, KeptSentence,
    Occurrence, Pair, PairScore, Score, Selected, Sentence, TagScore, Tagged, WordCount,
};
use serde::{Deserialize, Serialize};

/// A step, and what stands for its output.
type Recorded = (StepId, fn(&Job) -> Output);

/// The steps whose output is recorded.
const RECORDED: &[Recorded] = &[
    (ids::DECODE, decode),
    (ids::SCORE, score),
    (ids::SENTENCE_EMBED, embed_sentences),
    (ids::IMAGE_EMBED, embed_images),
    // Without the tagger's own labels, which its model has.
    (ids::NOUNS_FREEZE, |_| {
        let rows = ["bridge", "garden"].map(|word| WordCount { word: word.into(), count: 2 });
        of(|out| out.table("words", &rows))
    }),
    (ids::CAPTION, |job| {
        let rows = at_home(job).map(|image| Captioned { image, caption: format!("a picture of {image}") });
        of(|out| out.table("captions", &rows.collect::<Vec<_>>()))
    }),
    (ids::TAG, |job| {
        let tag = |image: Id| TagScore { tag: "bridge".into(), score: f32::from(image.0[4]) / 256.0 };
        let rows = at_home(job).map(|image| Tagged { image, tags: vec![tag(image)] });
        of(|out| out.table("tags", &rows.collect::<Vec<_>>()))
    }),
    (ids::GENERATE, |job| {
        let text = |image: Id| (!image.0[5].is_multiple_of(8)).then(|| format!("Somebody draws {image}."));
        let outcome = |text: &Option<String>| if text.is_some() { "ok" } else { "echo" }.to_owned();
        let rows = at_home(job).map(|image| (image, text(image)));
        let rows = rows.map(|(image, text)| Generated { image, outcome: outcome(&text), text });
        of(|out| out.table("texts", &rows.collect::<Vec<_>>()))
    }),
    (ids::PAIR_SCORE, |job| {
        let cosine = |image: Id| (!image.0[5].is_multiple_of(8)).then(|| f32::from(image.0[6]) / 512.0);
        let rows = at_home(job).map(|image| PairScore { image, cosine: cosine(image) });
        of(|out| out.table("scores", &rows.collect::<Vec<_>>()))
    }),
    // It decodes and encodes pictures.
    (ids::GATHER, gather),
];

fn of(write: impl FnOnce(&mut Output) -> Result<(), realsyn_worker::run::StageError>) -> Output {
    let mut out = Output::default();
    write(&mut out).unwrap();
    out
}

fn at_home(job: &Job) -> impl Iterator<Item = Id> {
    job.shard::<ClusteredImage>(ids::HOME, "images").unwrap().into_iter().map(|row| row.image)
}

/// Every third picture shows what the one before it shows, larger.
fn decode(job: &Job) -> Output {
    let mut places: BTreeMap<Id, Vec<Occurrence>> = BTreeMap::new();
    for Fetched { document, document_url, position, url, alt, licence, image, .. } in
        job.shard(ids::FETCH, "results").unwrap()
    {
        let Some(image) = image else { continue };
        places.entry(image).or_default().push(Occurrence { document, document_url, position, url, alt, licence });
    }
    let (mut rows, mut media) = (Vec::new(), TarWriter::new(Vec::new()));
    for (image, occurrences) in places {
        let number: u32 = occurrences[0].url.rsplit_once('-').unwrap().1.strip_suffix(".png").unwrap().parse().unwrap();
        let shows = blake3::hash(&(number - u32::from(number % 3 == 2)).to_le_bytes());
        let (width, height) = (300 + number, 200);
        let detail = std::array::from_fn(|at| shows.as_bytes()[at % 32]);
        let phash = u64::from_le_bytes(shows.as_bytes()[..8].try_into().unwrap());
        let fingerprint = Fingerprint { phash, width: 300, height: 200, detail };
        media.append(&format!("{image}.jpg"), b"stored").unwrap();
        rows.push(Decoded {
            image,
            format: "png".into(),
            bytes: 7,
            sha256: "ab".repeat(32),
            width,
            height,
            stored_width: width,
            stored_height: height,
            fingerprint: Some(Blob(fingerprint.to_bytes().to_vec())),
            occurrences,
        });
    }
    of(|out| {
        out.object("media", "tar", rows.len() as u64, media.finish().unwrap());
        out.table::<Dropped>("dropped", &[])?;
        out.table("images", &rows)
    })
}

/// Most pass the limits of entropy (0.3) and perplexity (30 to 200).
fn score(job: &Job) -> Output {
    let score = |s: Sentence| {
        let [entropy, perplexity] = [s.sentence.0[2], s.sentence.0[3]].map(f64::from);
        Score { sentence: s.sentence, entropy: entropy / 32.0, perplexity: Some(20.0 + perplexity / 2.0), tokens: 12 }
    };
    let rows: Vec<Sentence> = job.shard(ids::UNIQUE, "sentences").unwrap();
    of(|out| out.table("scores", &rows.into_iter().map(score).collect::<Vec<_>>()))
}

const DIM: usize = 16;

/// A vector of unit length near one of `kinds` directions: some of one direction are duplicates.
fn vector(id: Id, kinds: u8) -> Vec<f16> {
    let bytes = |of: &[u8]| *blake3::hash(of).as_bytes();
    let (direction, own) = (bytes(&[id.0[0] % kinds]), bytes(&id.0));
    let value = |at: usize| f64::from(direction[at]) - 127.5 + (f64::from(own[at]) - 127.5) / 6.0;
    let length = (0..DIM).map(|at| value(at) * value(at)).sum::<f64>().sqrt();
    (0..DIM).map(|at| f16::from_f64(value(at) / length)).collect()
}

fn embed_sentences(job: &Job) -> Output {
    let rows: Vec<KeptSentence> = job.shard(ids::ROWS, "sentences").unwrap();
    let mut out = of(|out| {
        out.vectors("vectors", DIM, &rows.iter().flat_map(|row| vector(row.sentence, 40)).collect::<Vec<_>>())
    });
    out.count("out", rows.len() as u64);
    out
}

fn embed_images(job: &Job) -> Output {
    let rows: Vec<Image> = job.shard(ids::POLICY, "images").unwrap();
    let vectors: Vec<f16> = rows.iter().flat_map(|row| vector(row.image, 40)).collect();
    let mut out = of(|out| {
        out.table("images", &rows.iter().map(|row| embedded(row.image)).collect::<Vec<_>>())?;
        out.vectors("shared", DIM, &vectors)?;
        out.vectors("visual", DIM, &vectors)
    });
    out.count("out", rows.len() as u64);
    out
}

/// Images of one direction show one picture.
fn embedded(image: Id) -> EmbeddedImage {
    let mut pixels = vec![0; 64 * 64 * 3];
    blake3::Hasher::new().update(&[image.0[0] % 40]).finalize_xof().fill(&mut pixels);
    let thumbnail = Thumbnail::of(&Rgb::new(64, 64, pixels).unwrap());
    EmbeddedImage { image, thumbnail: Blob(thumbnail.to_bytes()) }
}

fn gather(job: &Job) -> Output {
    let selected: BTreeMap<Id, Selected> =
        job.partition::<Selected>(ids::SELECT, "selection").unwrap().into_iter().map(|row| (row.image, row)).collect();
    let pairs = job.shard::<Pair>(ids::PAIRS, "pairs").unwrap().into_iter();
    let rows = pairs.filter_map(|pair| Some((selected.get(&pair.image)?, pair))).map(|(at, pair)| {
        let jpeg = Blob(b"picture".to_vec());
        (at.shard, Gathered { place: at.place, pair, jpeg, jpeg_width: 30, jpeg_height: 20 })
    });
    of(|out| out.shuffled("rows", rows.collect()))
}

/// Six pages: sentences that every rule meets, many more than once, and eight pictures each.
fn write_source(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let pick = |words: &[&'static str], n: usize| words[n % words.len()];
    for page in 0..6 {
        let mut html = format!("<html><head><title>Page {page}</title></head><body>");
        for n in 0..24 {
            let at = page * 13 + n * 7;
            let who = pick(&["The old fisherman", "A young teacher", "The tall gardener", "An angry driver"], at);
            let does = pick(&["paints", "repairs", "carries", "photographs", "follows"], at / 3);
            let what = pick(&["a wooden bridge", "the small boat", "two heavy baskets", "a white horse"], at / 2);
            let place =
                pick(&["near the river", "behind the church", "in the quiet garden", "on a steep hill"], at / 5);
            let end = pick(&[".", " today.", " with great care.", " while it rains."], at / 11);
            html += &format!("<p>{who} {does} {what} {place}{end} See www.pages.example for more. Yes.</p>");
            if n % 3 == 0 {
                let picture = page * 8 + n / 3;
                html += &format!("<img src=\"picture-{picture}.png\" alt=\"Picture {picture}\"><img src=\"gone.png\">");
                std::fs::write(folder.join(format!("picture-{picture}.png")), format!("picture {picture}")).unwrap();
            }
        }
        // The same but for a sign: near duplicates.
        let sign = if page % 2 == 0 { "." } else { "!" };
        for (does, what) in [("mends", "a torn sail"), ("cleans", "the brass lamp"), ("opens", "an iron gate")] {
            html += &format!("<p>The careful sailor {does} {what} beside the old harbour wall every morning{sign}</p>");
        }
        html += "<img src=\"picture-0.png\"></body></html>";
        std::fs::write(folder.join(format!("page-{page}.html")), html).unwrap();
    }
}

/// A build and a release of it over that source, where each page is a shard.
fn run(folder: &Path) -> Run {
    write_source(&folder.join("source"));
    let file = folder.join("build.yaml");
    // It stops before the first model is asked for; the steps behind are run one by one.
    let text = "apiVersion: realsyn.dev/v1alpha1\nkind: RealSynBuild\nmetadata: {name: golden}\nspec:\n  \
                source: {format: html, uri: source}\n  storage: {uri: out}\n  stopAfter: fetch\n  stages:\n    \
                sentenceCluster: {rowsPerCluster: 6}\n    imageCluster: {rowsPerCluster: 3}\n---\n\
                apiVersion: realsyn.dev/v1alpha1\nkind: RealSynRelease\nmetadata: {name: golden}\nspec:\n  \
                buildRef: {name: golden}\n  similarity: {dropBelowQuantile: 0.2}\n  balance: {maxPerCluster: 2}\n";
    std::fs::write(&file, text).unwrap();
    let session = Session::open(&Locations { files: vec![file], ..Locations::default() }).unwrap();
    let files = session.list().unwrap().shards.into_iter().flat_map(|shard| shard.files);
    let inventory = Inventory::new(files.map(|file| SourceShard::whole(vec![file])).collect());
    session.run(inventory, session.manifests.releases.first()).unwrap()
}

/// Commits what is recorded of a step, and seals it.
fn record(run: &mut Run, id: StepId, output: fn(&Job) -> Output) {
    let step = find(id);
    let (_, recipe) = run.recipes.digests(id);
    for spec in layout(step, &run.inventory, &run.seals).unwrap() {
        let data = output(&Job::new(run, step, spec.clone())).write(run, id, &spec.key, "recorded").unwrap();
        let commit = Commit {
            step: id.to_string(),
            recipe,
            key: spec.key,
            number: spec.number,
            generation: 0,
            attempt: "recorded".into(),
            outcome: Outcome::Data(data),
            effort: Effort::default(),
        };
        run.ledger.commit(id, &commit).unwrap();
    }
    let Some(Verdict::Sealed(seal)) = run.ledger.advance(&run.state(step)).unwrap() else { panic!("{id} has no seal") };
    run.sealed(id, *seal);
    run.forget_commits();
}

/// A stage as the golden file has it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Golden {
    revision: u32,
    /// Over the roots of its steps that are not recorded.
    root: Digest,
}

/// Every stage that runs by itself, and how much its steps let through, which must not be nothing.
fn roots() -> BTreeMap<Stage, Golden> {
    let folder = tempfile::tempdir().unwrap();
    let mut run = run(folder.path());
    let how = Execution { jobs: 2, order: Order::Forward, runs: 1, gpus: None };
    let mut roots = BTreeMap::new();
    for step in BUILD.iter().chain(RELEASE) {
        if let Some((id, output)) = RECORDED.iter().find(|(id, _)| *id == step.id) {
            record(&mut run, *id, *output);
            continue;
        }
        run_step(&mut run, step, &how, &Quiet).unwrap_or_else(|error| panic!("{}: {error:#}", step.id));
        let digest = roots.entry(step.id.stage).or_insert_with(|| Digest::builder("golden"));
        digest.push(run.seals[&step.id].root.0);
    }
    for (step, count) in [
        (ids::IMAGES_GROUPS, "groups"),
        (ids::NEAR_GROUPS, "groups"),
        (ids::SENTENCE_CLUSTER, "dropped.semantic-duplicate"),
        (ids::HOME, "dropped.semantic-duplicate"),
        (ids::CANDIDATES, "out"),
        (ids::SELECT, "dropped.below-band"),
        (ids::SELECT, "dropped.cluster-full"),
        (ids::PUBLISH, "pairs"),
    ] {
        assert!(run.seals[&step].count(count) > 0, "{step} counts no `{count}`: {:?}", run.seals[&step].counts);
    }
    assert!(run.seals[&ids::SENTENCE_TRAIN].count("cells") > 1 && run.seals[&ids::IMAGE_TRAIN].count("cells") > 1);
    let golden = |(stage, root): (Stage, realsyn_plan::digest::Builder)| {
        (stage, Golden { revision: revision(stage), root: root.finish() })
    };
    roots.into_iter().map(golden).collect()
}

/// Everything that a stage reads, at once or by way of others.
fn upstream(stage: Stage) -> Vec<Stage> {
    stages_read(stage).into_iter().flat_map(|read| upstream(read).into_iter().chain([read])).collect()
}

#[test]
fn no_stage_writes_other_bytes_under_the_same_revision() {
    let now = roots();
    let golden: BTreeMap<Stage, Golden> = serde_json::from_str(include_str!("stages.json")).unwrap();
    let same = |stage: &Stage| now.get(stage) == golden.get(stage);
    // What differs because of another stage is not worth a word.
    let first = |stage: &&Stage| !same(stage) && upstream(**stage).iter().all(same);
    let complaint = |stage: &Stage| match (golden.get(stage), now.get(stage)) {
        (Some(before), Some(now)) if before.revision == now.revision => format!(
            "{stage} writes other bytes for the same input under revision {}: raise the revision in operator/plan/src/recipe.rs, or \
             restore the bytes",
            now.revision
        ),
        _ => format!("{stage} has another revision: put the text below into tests/reference/stages.json"),
    };
    let complaints: BTreeSet<String> = now.keys().chain(golden.keys()).filter(first).map(complaint).collect();
    assert!(
        now == golden,
        "{}\n{}",
        Vec::from_iter(complaints).join("\n"),
        serde_json::to_string_pretty(&now).unwrap()
    );
}
