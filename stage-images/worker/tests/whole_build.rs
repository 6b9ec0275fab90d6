//! Whole builds on a part of the OpenStax sample, with the real models: whatever happens on the way, the release that
//! comes out has one digest.
//!
//! Needs the models (`REALSYN_MODELS`, or `.cache/models` as `make models` fills it) and the sample (`REALSYN_OPENSTAX`,
//! or `../shared/data/openstax` beside the workspace); skipped loudly where one is missing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use realsyn_dataset::formats::parquet::Limits;
use realsyn_dataset::formats::table::{read_table, write_table};
use realsyn_dataset::table_row;
use realsyn_e2e::{Obelics, sample, write_corpus};
use realsyn_models::ClipTokenizer;
use realsyn_plan::graph::{BUILD, RELEASE, find, ids};
use realsyn_plan::layout::ShardSpec;
use realsyn_plan::placement::Ahead;
use realsyn_plan::report::Report;
use realsyn_worker::affected::affected;
use realsyn_worker::borrowed::Sentences;
use realsyn_worker::build::{BuildArgs, Outcome, build};
use realsyn_worker::explain::{explain, load_seals};
use realsyn_worker::plan_command::{MEASURED, PlanArgs, plan};
use realsyn_worker::progress::Quiet;
use realsyn_worker::run::{Execution, Gpus, Job, Order};
use realsyn_worker::session::{Locations, Session};
use realsyn_worker::stage_command::{AdvanceArgs, advance};
use realsyn_worker::stages::publish::ReleaseManifest;
use realsyn_worker::stages::rows::{Gathered, Pair};
use realsyn_worker::withdraw::{WithdrawArgs, withdraw};
use serde::{Deserialize, Serialize};

/// Documents in the sample that the tests build, and files they are written to.
const DOCUMENTS: usize = 9;
const FILES: usize = 4;
/// Words of text kept of each document: enough for sentences of every kind, few enough to score in seconds.
const WORDS: usize = 160;
/// CLIP's merges, as open_clip ships them.
const MERGES: &str = "bpe_simple_vocab_16e6.txt.gz";

struct Fixture {
    folder: PathBuf,
    /// The models, CLIP's merges beside the weights as in the folder of a real CLIP.
    models: PathBuf,
    images: PathBuf,
    /// The digest that an undisturbed build on one thread ends with.
    digest: String,
}

/// The fixture, one test at a time: a build uses all cores and more than a gigabyte.
fn fixture() -> Option<(&'static Fixture, MutexGuard<'static, ()>)> {
    static ONE: Mutex<()> = Mutex::new(());
    static FIXTURE: OnceLock<Option<Fixture>> = OnceLock::new();
    let guard = ONE.lock().unwrap_or_else(|e| e.into_inner());
    FIXTURE.get_or_init(prepare).as_ref().map(|f| (f, guard))
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn prepare() -> Option<Fixture> {
    let or = |name: &str, path: &str| std::env::var_os(name).map_or_else(|| workspace().join(path), PathBuf::from);
    let (models, openstax) = (or("REALSYN_MODELS", ".cache/models"), or("REALSYN_OPENSTAX", "../shared/data/openstax"));
    for needed in [models.join("demo-clip"), openstax.join("astronomy.parquet")] {
        if !needed.exists() {
            realsyn_skip::skipped("whole_build", format!("{} is not there", needed.display()));
            return None;
        }
    }
    // Cargo's folder for tests: a static is never dropped, so a temporary folder would stay.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("whole-build");
    _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let rows = sample(&openstax, DOCUMENTS, WORDS).unwrap();
    write_corpus(&folder.join("corpus"), &rows, FILES).unwrap();
    let models = with_merges(&models, folder.join("models"));
    let mut fixture = Fixture { folder, models, images: openstax.join("images"), digest: String::new() };
    fixture.digest = fixture.digest_of("reference", &Execution { jobs: 1, order: Order::Forward, runs: 1, gpus: None });
    Some(fixture)
}

/// The models under links, the demonstration's CLIP with a link to CLIP's merges, if they are there.
fn with_merges(models: &Path, folder: PathBuf) -> PathBuf {
    let link = |from: &str, to: &str| std::os::unix::fs::symlink(models.join(from), folder.join(to)).unwrap();
    std::fs::create_dir_all(folder.join("demo-clip")).unwrap();
    for name in ["smollm2-135m-instruct", "demo-clip/text", "demo-clip/image"] {
        link(name, name);
    }
    if models.join("clip-merges").join(MERGES).exists() {
        link(&format!("clip-merges/{MERGES}"), &format!("demo-clip/{MERGES}"));
    }
    folder
}

/// What differs from the plain build file.
#[derive(Default)]
struct Change {
    /// Where the documents are; the fixture's own without it.
    corpus: Option<PathBuf>,
    spec: &'static str,
    stages: &'static str,
    release: &'static str,
}

impl Fixture {
    fn manifest(&self, name: &str, change: &Change) -> PathBuf {
        let (clip, language) = (
            realsyn_models::folder_sha256(&self.models.join("demo-clip")).unwrap(),
            realsyn_models::folder_sha256(&self.models.join("smollm2-135m-instruct")).unwrap(),
        );
        let text = format!(
            "apiVersion: realsyn.dev/v1alpha1\nkind: RealSynBuild\nmetadata: {{name: part}}\nspec:\n  \
             source:\n    format: obelics\n    uri: {corpus}\n    imageMirrors:\n      - prefix: https://openstax.example/\n        uri: {images}\n  \
             storage: {{uri: unused}}\n  models:\n    clip: {{sha256: \"{clip}\"}}\n    perplexity: {{sha256: \"{language}\"}}\n    llm: {{sha256: \"{language}\"}}\n  \
             stages:\n    sentenceCluster: {{rowsPerCluster: 20}}\n    imageCluster: {{rowsPerCluster: 8}}\n    generate: {{maxNewTokens: 24}}\n{stages}{spec}\
             ---\napiVersion: realsyn.dev/v1alpha1\nkind: RealSynRelease\nmetadata: {{name: part-v1}}\nspec:\n  buildRef: {{name: part}}\n  samplesPerShard: 10\n{release}",
            corpus = change.corpus.clone().unwrap_or_else(|| self.folder.join("corpus")).display(),
            images = self.images.display(),
            spec = change.spec,
            stages = change.stages,
            release = change.release,
        );
        let file = self.folder.join(format!("{name}.yaml"));
        std::fs::write(&file, text).unwrap();
        file
    }

    fn out(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn run(&self, out: &str, change: &Change, list: bool, how: &Execution) -> anyhow::Result<Outcome> {
        let file = self.manifest(&format!("{out}-manifest"), change);
        let at = Locations {
            files: vec![file],
            out: Some(self.out(out)),
            models: Some(self.models.clone()),
            ..Locations::default()
        };
        build(&BuildArgs { at, jobs: None, list, no_report: false }, &Quiet, how)
    }

    /// A copy of what the undisturbed build left, to go on from.
    fn copy_of_the_reference(&self, out: &str) {
        let copied = Command::new("cp").arg("-r").args([self.out("reference"), self.out(out)]).status().unwrap();
        assert!(copied.success());
    }

    fn digest_of(&self, out: &str, how: &Execution) -> String {
        self.run(out, &Change::default(), false, how).unwrap().releases[0].1.digest.to_string()
    }
}

const TWO: Execution = Execution { jobs: 2, order: Order::Forward, runs: 1, gpus: None };

#[test]
fn two_threads_in_reverse_order_with_every_shard_raced_give_the_same_digest() {
    let Some((f, _one)) = fixture() else { return };
    // As if two GPUs were held: what that cost is told beside what is published, and changes nothing of it.
    let gpus = Some(Arc::new(Gpus::new(2, "L4")));
    let began = std::time::Instant::now();
    assert_eq!(f.digest_of("raced", &Execution { jobs: 2, order: Order::Reverse, runs: 2, gpus }), f.digest);
    let held = 2 * began.elapsed().as_millis() as u64;

    // Another corpus with the same settings is planned by what was measured.
    let change = Change {
        spec: "  preview: {shards: 1}\n",
        stages: "    sentenceEmbed: {gpu: {count: 2}}\n",
        ..Change::default()
    };
    let at = Locations {
        files: vec![f.manifest("raced-plan", &change)],
        out: Some(f.out("raced")),
        models: Some(f.models.clone()),
        ..Locations::default()
    };
    let plan = PlanArgs { at, against: None, list: false, measured: true };
    let plan = realsyn_worker::plan_command::plan(&plan).unwrap();
    let line = plan.lines().find_map(|line| line.strip_prefix(MEASURED)).unwrap();
    let ahead: Vec<Ahead> = serde_json::from_str(line).unwrap();
    assert_eq!(ahead.iter().map(|step| step.step.as_str()).collect::<Vec<_>>(), ["sentence-embed/embed"], "{plan}");
    let spent = ahead[0].gpus["L4"];
    assert!(spent.shards > 0 && spent.records > 0 && spent.gpu_millis > 0 && spent.gpu_millis < held, "{spent:?}");
}

#[test]
fn killed_again_and_again_it_ends_with_the_same_digest() {
    let Some((f, _one)) = fixture() else { return };
    let kills: u64 = std::env::var("REALSYN_KILLS").map_or(10, |n| n.parse().unwrap());
    let file = f.manifest("killed", &Change::default());
    let start = |stdout| {
        Command::new(env!("CARGO_BIN_EXE_realsyn"))
            .args(["build", "-f"])
            .arg(&file)
            .args(["--out", &f.out("killed"), "--models"])
            .arg(&f.models)
            .stdout(stdout)
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    for kill in 0..kills {
        // Seeded: 0 to 4 seconds, which reaches from the first listing into scoring and generation.
        let hash = blake3::hash(&kill.to_le_bytes());
        let millis = u64::from(u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]])) % 4000;
        let mut child = start(Stdio::null());
        std::thread::sleep(Duration::from_millis(millis));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let ended = start(Stdio::piped()).wait_with_output().unwrap();
    let printed = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.success(), "{printed}");
    assert!(printed.contains(&f.digest), "after {kills} kills: {printed}");
}

/// What a cluster does, without the cluster: `advance`, then one process per task of every step that is ready, on S3.
#[test]
fn as_pods_on_s3_the_digest_is_the_same() {
    let Some((f, _one)) = fixture() else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = realsyn_e2e::S3Server::start(folder.path()).unwrap();
    let file = f.manifest("s3", &Change::default());
    let report_file = folder.path().join("termination-log");
    let pod = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_realsyn"))
            .args(args)
            .arg("-f")
            .arg(&file)
            .args(["--out", &format!("s3://{}/builds", realsyn_e2e::S3Server::BUCKET)])
            .args(["--endpoint", &server.endpoint(), "--models"])
            .arg(&f.models)
            .arg("--report")
            .arg(&report_file)
            .env("AWS_ACCESS_KEY_ID", realsyn_e2e::S3Server::ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", realsyn_e2e::S3Server::SECRET_KEY)
            .env("AWS_REGION", "us-east-1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let mut known: Vec<String> = Vec::new();
    let mut ran = Vec::new();
    let complete = loop {
        pod(&["advance", "--known", &known.join(",")]);
        let report = Report::parse(&std::fs::read(&report_file).unwrap()).unwrap();
        assert_eq!(report.stalled, None);
        known.extend(report.sealed.into_iter().map(|s| s.step));
        if let Some(complete) = report.complete {
            break complete;
        }
        assert!(report.more || !report.ready.is_empty(), "it neither goes on nor ends: {known:?}");
        for ready in report.ready {
            assert!(!known.contains(&ready.step) && !ran.contains(&ready.step), "{} runs twice", ready.step);
            let list = ready.list.to_string();
            for index in 0..ready.tasks {
                pod(&["stage", &ready.step, "--tasks", &list, "--index", &index.to_string(), "--jobs", "2"]);
            }
            ran.push(ready.step);
        }
    };
    assert_eq!(complete.digest.to_string(), f.digest);
    assert_eq!(ran.len(), BUILD.len() + RELEASE.len());
}

/// A preview, the whole, more documents and bad ones among them: each runs what is new, and in the end everything is as
/// if the good documents had been there from the beginning.
#[test]
fn a_growing_corpus_runs_only_what_is_new_and_bad_input_costs_itself() {
    let Some((f, _one)) = fixture() else { return };
    let corpus = f.folder.join("growing-corpus");
    std::fs::create_dir(&corpus).unwrap();
    let copy = |name: &str| std::fs::copy(f.folder.join("corpus").join(name), corpus.join(name)).unwrap();
    for n in 0..FILES - 1 {
        copy(&format!("part-{n}.parquet"));
    }
    let early = ["documents", "fetch", "image-decode", "sentences"];
    let change = |spec| Change { corpus: Some(corpus.clone()), spec, ..Change::default() };
    let new_commits = |out: &str, before: &BTreeSet<String>| -> Vec<usize> {
        let after = commits(out);
        early.map(|stage| after.difference(before).filter(|name| name.starts_with(&format!("{stage}/"))).count()).into()
    };

    // A disk without room: a sentence, and what was done before counts.
    let file = f.manifest("growing-full", &change("  stopAfter: sentences\n"));
    let full = Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "-", env!("CARGO_BIN_EXE_realsyn"), "build", "-f"])
        .arg(&file)
        .args(["--out", &f.out("growing"), "--models"])
        .arg(&f.models)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&full.stderr);
    assert!(!full.status.success() && said.contains("File too large"), "{said}");
    assert!(said.contains("put ") && !said.contains("panicked"), "{said}");
    std::fs::remove_dir_all(f.out("growing")).unwrap();

    let run = |change: &Change, list| f.run("growing", change, list, &TWO).unwrap();
    run(&change("  preview: {shards: 1}\n  stopAfter: sentences\n"), false);
    let preview = commits(&f.out("growing"));
    assert_eq!(new_commits(&f.out("growing"), &Default::default()), [1; 4]);
    run(&change("  stopAfter: sentences\n"), false);
    assert_eq!(new_commits(&f.out("growing"), &preview), [FILES - 2; 4], "the preview is taken over");

    copy(&format!("part-{}.parquet", FILES - 1));
    let good = std::fs::read(corpus.join("part-0.parquet")).unwrap();
    std::fs::write(corpus.join("zz-cut.parquet"), &good[..good.len() / 2]).unwrap();
    let bad = |image: Option<&str>, text: Option<&str>| Obelics {
        images: vec![image.map(str::to_owned)],
        texts: vec![text.map(str::to_owned)],
        metadata: "[null]".into(),
        general_metadata: "not JSON".into(),
    };
    let rows = [
        bad(None, None),
        bad(Some("https://openstax.example/not-there.jpg"), None),
        bad(Some("https://elsewhere.example/a.jpg"), None),
        bad(Some("http://[not a url"), Some("\u{0}\u{fffd}\u{202e}")),
        Obelics { images: vec![], texts: vec![], metadata: String::new(), general_metadata: String::new() },
    ];
    std::fs::write(corpus.join("zz-strange.parquet"), write_table(&rows).unwrap()).unwrap();
    let before = commits(&f.out("growing"));
    let listed = PlanArgs {
        at: Locations {
            files: vec![f.manifest("growing-plan", &change(""))],
            out: Some(f.out("growing")),
            models: Some(f.models.clone()),
            ..Locations::default()
        },
        against: None,
        list: true,
        measured: false,
    };
    let plan = realsyn_worker::plan_command::plan(&listed).unwrap();
    let line = |stage: &str| plan.lines().find(|l| l.starts_with(&format!("{stage} "))).unwrap().to_owned();
    assert!(line("documents").contains(&format!("{}/{}", FILES - 1, FILES + 2)), "{plan}");
    assert!(plan.contains("~ estimates"), "{plan}");

    let outcome = run(&change(""), true);
    assert_eq!(new_commits(&f.out("growing"), &before), [3; 4], "only the new shards");
    assert_eq!(outcome.releases[0].1.digest.to_string(), f.digest, "as if it had been there from the beginning");
    let rejected = commits(&f.out("growing"))
        .iter()
        .filter(|name| name.starts_with("documents/"))
        .filter(|name| std::fs::read_to_string(Path::new(&f.out("growing")).join(name)).unwrap().contains("rejected"))
        .count();
    assert_eq!(rejected, 1, "the truncated file is rejected, the strange one is read");
}

#[test]
fn only_what_a_change_touches_runs_again() {
    let Some((f, _one)) = fixture() else { return };
    f.copy_of_the_reference("changes");
    let again = f.run("changes", &Change::default(), false, &TWO).unwrap();
    assert_eq!(again.shards, 0, "a second run has nothing to do");
    assert_eq!(again.releases[0].1.digest.to_string(), f.digest);
    assert!(again.report.is_some());

    let execution = Change { stages: "    sentenceScore: {parallelism: 7, retry: 9}\n", ..Change::default() };
    assert_eq!(f.run("changes", &execution, false, &TWO).unwrap().shards, 0, "execution fields change nothing");

    let ran = |change: &Change, list| {
        let before = commits(&f.out("changes"));
        let outcome = f.run("changes", change, list, &TWO).unwrap();
        let mut after = commits(&f.out("changes"));
        after.retain(|name| !before.contains(name));
        let mut stages: Vec<String> = after.iter().map(|n| n.split('/').next().unwrap().to_owned()).collect();
        stages.sort();
        stages.dedup();
        (outcome, stages)
    };
    let band = Change { release: "  similarity: {low: 0.0, high: 0.9}\n", ..Change::default() };
    let (outcome, stages) = ran(&band, false);
    assert_eq!(stages, ["release"], "a band re-runs the release alone");
    assert_ne!(outcome.releases[0].1.digest.to_string(), f.digest);

    let limit = Change { stages: "    sentenceScore: {perplexity: {min: 30, max: 150}}\n", ..Change::default() };
    let (_, stages) = ran(&limit, false);
    assert!(!stages.contains(&"sentence-score".to_owned()), "a limit scores nothing again: {stages:?}");
    assert!(stages.contains(&"sentence-dedup-near".to_owned()));
    assert!(!stages.iter().any(|s| s.starts_with("image-")), "images do not depend on it: {stages:?}");

    let probes = Change { stages: "    retrieve: {probeCells: 1, probeClusters: 1}\n", ..Change::default() };
    let (_, stages) = ran(&probes, false);
    let allowed = ["retrieve", "generate", "pair-score", "release"];
    assert!(stages.iter().all(|s| allowed.contains(&s.as_str())), "retrieval and what follows: {stages:?}");
    assert!(stages.contains(&"retrieve".to_owned()));
}

/// All files below a folder, in order.
fn files(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let list = if entry.file_type().unwrap().is_dir() { &mut open } else { &mut found };
            list.push(entry.path());
        }
    }
    found.sort();
    found
}

/// The commit records below a root, as `stage/step/...`.
fn commits(root: &str) -> BTreeSet<String> {
    let names = files(Path::new(root)).into_iter().map(|f| f.strip_prefix(root).unwrap().display().to_string());
    names.filter(|name| name.ends_with(".commit.json")).collect()
}

#[test]
fn an_object_that_vanished_or_was_damaged_is_made_again() {
    let Some((f, _one)) = fixture() else { return };
    f.copy_of_the_reference("healed");
    let scores = files(&PathBuf::from(f.out("healed")).join("pair-score"));
    let mut removed = 0;
    for table in scores.iter().filter(|f| f.extension().is_some_and(|e| e == "parquet")) {
        std::fs::remove_file(table).unwrap();
        removed += 1;
    }
    assert!(removed > 0);
    for shuffled in files(&PathBuf::from(f.out("healed")).join("image-dedup-perceptual/exact")) {
        if shuffled.to_str().unwrap().ends_with(".home.parts") {
            let mut bytes = std::fs::read(&shuffled).unwrap();
            bytes[9] ^= 1;
            std::fs::write(&shuffled, bytes).unwrap();
            removed += 1;
        }
    }
    assert!(removed > 1);
    // Another band makes the release read the scores, and where the images are at home, again.
    let band = Change { release: "  similarity: {low: -1.0, high: 1.0}\n", ..Change::default() };
    let outcome = f.run("healed", &band, false, &TWO).unwrap();
    assert!(outcome.releases[0].1.pairs > 0);
}

table_row! {
    /// What a release says of a pair in words.
    #[derive(Debug, Serialize, Deserialize)]
    struct Texts {
        key: String,
        image_id: String,
        text1_id: Option<String>,
        text1: Option<String>,
        text2: Option<String>,
        text3: Option<String>,
        syn_text: String,
    }
}

fn texts(release: &ReleaseManifest) -> Vec<Texts> {
    let files = release.files.iter().filter(|f| f.name.ends_with(".parquet"));
    let bytes = files.map(|f| std::fs::read(Path::new(&release.uri).join(&f.name)).unwrap());
    bytes.flat_map(|bytes| read_table::<Texts>(bytes.into(), &Limits::default()).unwrap()).collect()
}

/// `textSurface: clipRoundtrip` writes every text as CLIP's tokenizer gives it back, and changes nothing else. What the
/// tokenizer makes of a text is held to open_clip in `realsyn-models`.
#[test]
fn texts_are_written_as_clip_sees_them() {
    let Some((f, _one)) = fixture() else { return };
    let merges = f.models.join("demo-clip").join(MERGES);
    if !merges.exists() {
        let why = "clip-merges is not among the models; run scripts/fetch-models.py";
        realsyn_skip::skipped("texts_are_written_as_clip_sees_them", why);
        return;
    }
    f.copy_of_the_reference("surface");
    let raw = f.run("surface", &Change::default(), false, &TWO).unwrap();
    let change = Change { release: "  textSurface: clipRoundtrip\n", ..Change::default() };
    let outcome = f.run("surface", &change, false, &TWO).unwrap();
    let (raw, written) = (&raw.releases[0].1, &outcome.releases[0].1);
    assert_eq!(raw.digest.to_string(), f.digest);
    assert_ne!(written.digest, raw.digest);
    assert_eq!(written.pairs, raw.pairs);

    let tokenizer = ClipTokenizer::load(&merges).unwrap();
    let (before, after) = (texts(raw), texts(written));
    assert_eq!(before.len() as u64, raw.pairs);
    let mut changed = 0;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((&before.key, &before.image_id, &before.text1_id), (&after.key, &after.image_id, &after.text1_id));
        let synthetic = (Some(before.syn_text.as_str()), Some(after.syn_text.as_str()));
        let found = [(&before.text1, &after.text1), (&before.text2, &after.text2), (&before.text3, &after.text3)];
        for (before, after) in found.map(|(b, a)| (b.as_deref(), a.as_deref())).into_iter().chain([synthetic]) {
            assert_eq!(before.map(|text| tokenizer.roundtrip(text)).as_deref(), after);
            assert!(after.is_none_or(|text| !text.is_empty()));
            changed += usize::from(before != after);
        }
    }
    assert!(changed > after.len(), "{changed} texts changed");
    let card = std::fs::read_to_string(Path::new(&written.uri).join("README.md")).unwrap();
    assert!(card.contains("textSurface: clipRoundtrip"), "{card}");
    let tar = written.files.iter().find(|file| file.name.ends_with(".tar")).unwrap();
    let tar = std::fs::read(Path::new(&written.uri).join(&tar.name)).unwrap();
    let said = after[0].text1.as_deref().unwrap().as_bytes();
    assert!(tar.windows(said.len()).filter(|part| *part == said).count() >= 2, "in KEY.txt and as the caption");
}

/// With `retain: Delete` what a release published goes with it, and what it held of the store is free; the build stays.
#[test]
fn a_release_is_taken_back() {
    let Some((f, _one)) = fixture() else { return };
    f.copy_of_the_reference("taken-back");
    let change = Change { release: "  retain: Delete\n", ..Change::default() };
    let place = PathBuf::from(&f.run("taken-back", &change, false, &TWO).unwrap().releases[0].1.uri);
    let left = || std::fs::read_dir(&place).unwrap().count();
    let published = left();
    assert!(published > 3, "shards, a manifest and a card");
    let at = Locations {
        files: vec![f.manifest("taken-back", &change)],
        out: Some(f.out("taken-back")),
        ..Locations::default()
    };
    let take_back = || withdraw(&WithdrawArgs { at: at.clone(), age: 0, report: None }).unwrap();
    // Somebody else's files beside it, and a release that took its place.
    std::fs::write(place.join("notes.txt"), "mine").unwrap();
    let manifest = std::fs::read_to_string(place.join("manifest.json")).unwrap();
    std::fs::write(place.join("manifest.json"), manifest.replace(&f.digest, &"0".repeat(64))).unwrap();
    let said = take_back();
    assert!(said.contains("left alone") && left() == published + 1, "{said}");
    std::fs::write(place.join("manifest.json"), &manifest).unwrap();

    let again = f.run("taken-back", &change, false, &TWO).unwrap();
    assert_eq!(again.releases[0].1.digest.to_string(), f.digest);
    // Killed right after the first removals.
    for name in ["README.md", "manifest.json"] {
        std::fs::remove_file(place.join(name)).unwrap();
    }
    let said = take_back();
    assert!(said.contains(&format!("removed {n} of {n} files", n = published - 2)), "{said}");
    assert!(said.contains("gave up its reference"), "{said}");
    assert_eq!(left(), 1, "what is not the release's stays");
    assert!(take_back().contains("has published nothing"), "its records are gone");
    let built = f.run("taken-back", &change, false, &TWO).unwrap();
    assert_eq!(
        built.releases[0].1.digest.to_string(),
        f.digest,
        "the build is whole, and the release can be made again"
    );
}

/// An image, a text and a document of a released pair are found in the release, and nothing else is.
#[test]
fn a_release_knows_what_it_holds() {
    let Some((f, _one)) = fixture() else { return };
    let at = Locations {
        files: vec![f.manifest("affected", &Change::default())],
        out: Some(f.out("reference")),
        models: Some(f.models.clone()),
        ..Locations::default()
    };
    let session = Session::open(&at).unwrap();
    let (inventory, _) = session.inventory(false).unwrap();
    let mut run = session.run(inventory, session.manifests.releases.first()).unwrap();
    load_seals(&mut run).unwrap();
    let key = realsyn_plan::Digest([0; 32]);
    let (pack, home) = (find(ids::PACK), find(ids::GATHER));
    let shard = |step, number| Job::new(&run, step, ShardSpec { number, key, group: number..number + 1 });
    let released: Vec<Gathered> = shard(pack, 0).partition(ids::GATHER, "rows").unwrap();
    let pair = &released[0].pair;
    let of_home: Vec<Pair> = shard(home, pair.home).shard(ids::PAIRS, "pairs").unwrap();
    assert!(of_home.contains(pair));

    let said = |id| affected(&at, id).unwrap();
    let image = said(pair.image);
    assert!(image.starts_with("part-v1: HOLDS it as the image of 1 pair, in shards 00000 (digest "), "{image}");
    assert!(image.contains(&f.digest[..8]), "{image} is not of {}", f.digest);
    assert!(said(pair.candidates[0].sentence).contains("HOLDS it as a text of "));
    let document = said(pair.occurrences[0].document);
    assert!(document.contains("from the document of "), "{document}");
    assert!(said(realsyn_plan::Id::of_document(Some("https://nowhere.example/"), "", 0)).contains("does not hold it"));
}

#[test]
fn images_without_text_get_the_sentences_of_another_build() {
    let Some((f, _one)) = fixture() else { return };
    f.copy_of_the_reference("borrowed");
    let pictures = f.folder.join("pictures");
    std::fs::create_dir_all(&pictures).unwrap();
    let all = files(&f.images);
    for image in all.iter().step_by(all.len() / 10) {
        std::fs::copy(image, pictures.join(image.file_name().unwrap())).unwrap();
    }
    // Some of them in an archive, as img2dataset writes them.
    let more: Vec<&PathBuf> = all.iter().skip(all.len() / 20).step_by(all.len() / 4).collect();
    let archive = Command::new("tar").arg("-cf").arg(pictures.join("00000.tar")).args(more).output().unwrap();
    assert!(archive.status.success(), "{}", String::from_utf8_lossy(&archive.stderr));
    let text = f.manifest("borrowed-text", &Change::default());
    let own = std::fs::read_to_string(&text).unwrap();
    // The models are the same, by their hashes.
    let models = &own[own.find("  models:").unwrap()..own.find("    perplexity:").unwrap()];
    let llm = own.lines().find(|line| line.starts_with("    llm:")).unwrap();
    let manifest = format!(
        "apiVersion: realsyn.dev/v1alpha1\nkind: RealSynBuild\nmetadata: {{name: pictures}}\nspec:\n  \
         source: {{format: images, uri: {}}}\n  sentencesFrom: {{build: part}}\n  storage: {{uri: unused}}\n{models}{llm}\n  \
         stages:\n    imageCluster: {{rowsPerCluster: 8}}\n    generate: {{maxNewTokens: 24}}\n\
         ---\napiVersion: realsyn.dev/v1alpha1\nkind: RealSynRelease\nmetadata: {{name: pictures-v1}}\nspec:\n  buildRef: {{name: pictures}}\n",
        pictures.display()
    );
    let file = f.folder.join("pictures.yaml");
    std::fs::write(&file, manifest).unwrap();
    let at = |files: &[&PathBuf]| Locations {
        files: files.iter().map(|f| f.to_path_buf()).collect(),
        out: Some(f.out("borrowed")),
        models: Some(f.models.clone()),
        ..Locations::default()
    };
    let alone = Session::open(&at(&[&file])).map(drop).unwrap_err().to_string();
    assert!(alone.contains("the files hold no build `part`"), "{alone}");

    let sentences = |root: &str| -> BTreeSet<String> {
        let stage = |name: &String| name.split('/').find_map(|part| part.parse::<realsyn_crds::Stage>().ok());
        commits(root).into_iter().filter(|name| stage(name).is_some_and(|s| s.makes_sentences())).collect()
    };
    let at = at(&[&file, &text]);
    let planned =
        |at: &Locations| plan(&PlanArgs { at: at.clone(), list: false, against: None, measured: false }).unwrap();
    let nothing_yet = planned(&Locations { out: Some(f.out("borrowed-later")), ..at.clone() });
    assert!(nothing_yet.starts_with("build pictures takes the sentences of build part, which are made first"));
    assert!(nothing_yet.contains("sentence-score") && !nothing_yet.contains("image-embed"), "{nothing_yet}");
    let planned = planned(&at);
    assert!(planned.contains("sentences are those of build part") && !planned.contains("sentence-score"), "{planned}");
    let before = sentences(&f.out("borrowed"));
    let done = build(&BuildArgs { at: at.clone(), jobs: None, list: false, no_report: false }, &Quiet, &TWO).unwrap();
    assert!(!before.is_empty());
    assert_eq!(sentences(&f.out("borrowed")), before, "no sentence was made again");
    let manifest = &done.releases[0].1;
    assert!(manifest.pairs > 4, "{} pairs", manifest.pairs);

    // The texts of its pairs are sentences of the other build, and each can be accounted for.
    let session = Session::open(&at).unwrap();
    let mut run = session.run(session.inventory(false).unwrap().0, session.manifests.releases.first()).unwrap();
    load_seals(&mut run).unwrap();
    let key = realsyn_plan::Digest([0; 32]);
    let first = Job::new(&run, find(ids::PACK), ShardSpec { number: 0, key, group: 0..1 });
    let released: Vec<Gathered> = first.partition(ids::GATHER, "rows").unwrap();
    let sentence = released[0].pair.candidates[0].sentence;
    let account = explain(&mut run, sentence).unwrap();
    assert!(account.contains("https://openstax.example/"), "{account}");

    // As pods see it.
    let report = advance(&AdvanceArgs { at, known: Vec::new(), pool: None, report: None }).unwrap();
    assert!(report.complete.is_some());
    assert_eq!(report.sealed.len(), BUILD.len() + RELEASE.len(), "the sentences' steps are told as sealed, too");
    let taken = Sentences::find(&session.ledger, session.manifests.sentences.as_ref().unwrap()).unwrap();
    assert_eq!(report.inventory.unwrap().sentences, Some(taken.inventory_root()));
}

#[test]
fn foreign_tools_read_the_release() {
    let Some((f, _one)) = fixture() else { return };
    let Some(python) = std::env::var_os("REALSYN_PYTHON") else {
        realsyn_skip::skipped("foreign_tools_read_the_release", "REALSYN_PYTHON names no interpreter");
        return;
    };
    let outcome = f.run("reference", &Change::default(), false, &TWO).unwrap();
    let manifest = &outcome.releases[0].1;
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign.py"))
        .args([&manifest.uri, &f.out("reference"), &manifest.pairs.to_string()])
        .env("HF_HOME", f.folder.join("hf"))
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains(&format!("{} pairs agree", manifest.pairs)), "{printed}");
}
