//! A small corpus, and the build of it that nothing disturbed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};

use realsyn_e2e::{sample, write_corpus};
use realsyn_worker::build::{BuildArgs, Outcome, build};
use realsyn_worker::progress::Quiet;
use realsyn_worker::run::{Execution, Order};
use realsyn_worker::session::Locations;

/// Documents of the sample that the tests build, and files they are written to.
pub const DOCUMENTS: usize = 9;
pub const FILES: usize = 4;
/// Words of text kept of each document: enough for sentences of every kind, few enough to score in seconds.
const WORDS: usize = 160;
/// Pages of the manual that the tests build, and bytes that each of them has less than.
const PAGES: usize = 12;
const LONGEST: u64 = 8_000;
/// CLIP's merges, as open_clip ships them.
pub const MERGES: &str = "bpe_simple_vocab_16e6.txt.gz";

pub struct Fixture {
    pub folder: PathBuf,
    /// The models, CLIP's merges beside the weights as in the folder of a real CLIP.
    pub models: PathBuf,
    /// Where the pictures lie.
    pub images: PathBuf,
    format: &'static str,
    /// What the pictures' URLs begin with.
    prefix: &'static str,
    /// The digest that an undisturbed build ends with, one shard after the other.
    pub digest: String,
}

/// One test at a time: a build uses all cores and more than a gigabyte.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|e| e.into_inner())
}

/// The part of the OpenStax sample.
pub fn fixture() -> Option<(&'static Fixture, MutexGuard<'static, ()>)> {
    static FIXTURE: OnceLock<Option<Fixture>> = OnceLock::new();
    let guard = alone();
    FIXTURE.get_or_init(openstax).as_ref().map(|f| (f, guard))
}

/// The pages of the manual.
pub fn manual() -> Option<(&'static Fixture, MutexGuard<'static, ()>)> {
    static FIXTURE: OnceLock<Option<Fixture>> = OnceLock::new();
    let guard = alone();
    FIXTURE.get_or_init(pages).as_ref().map(|f| (f, guard))
}

/// A place that a variable names, or one beside the workspace; `None`, loudly, where `needed` is not in it.
fn place(variable: &str, path: &str, needed: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let place = std::env::var_os(variable).map_or_else(|| workspace.join(path), PathBuf::from);
    if !place.join(needed).exists() {
        realsyn_skip::skipped("whole_build", format!("{} is not there", place.join(needed).display()));
        return None;
    }
    Some(place)
}

fn openstax() -> Option<Fixture> {
    let openstax = place("REALSYN_OPENSTAX", "../shared/data/openstax", "astronomy.parquet")?;
    let fixture = Fixture::new("whole-build", "obelics", ("https://openstax.example/", openstax.join("images")))?;
    let rows = sample(&openstax, DOCUMENTS, WORDS).unwrap();
    write_corpus(&fixture.folder.join("corpus"), &rows, FILES).unwrap();
    Some(fixture.built())
}

fn pages() -> Option<Fixture> {
    let manual = place("REALSYN_CORPUS", ".cache/corpus", "pages")?;
    let mirror = ("https://docs.gimp.org/2.10/en/", manual.join("images"));
    let fixture = Fixture::new("whole-build-manual", "html", mirror)?;
    // By a hash of their names, so that what a page holds has no say but by its length.
    let mut pages = files(&manual.join("pages"));
    pages.retain(|page| std::fs::metadata(page).unwrap().len() < LONGEST);
    pages.sort_by_cached_key(|page| *blake3::hash(page.file_name().unwrap().as_encoded_bytes()).as_bytes());
    std::fs::create_dir_all(fixture.folder.join("corpus")).unwrap();
    for page in &pages[..PAGES] {
        std::fs::copy(page, fixture.folder.join("corpus").join(page.file_name().unwrap())).unwrap();
    }
    Some(fixture.built())
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
pub struct Change {
    /// Where the documents are; the fixture's own without it.
    pub corpus: Option<PathBuf>,
    /// Where the pictures are; the fixture's own without it.
    pub images: Option<PathBuf>,
    pub spec: &'static str,
    pub stages: &'static str,
    pub release: &'static str,
}

pub const ONE: Execution = Execution { jobs: 1, order: Order::Forward, runs: 1, gpus: None };
pub const TWO: Execution = Execution { jobs: 2, order: Order::Forward, runs: 1, gpus: None };

impl Fixture {
    fn new(name: &str, format: &'static str, (prefix, images): (&'static str, PathBuf)) -> Option<Self> {
        let models = place("REALSYN_MODELS", ".cache/models", "demo-clip")?;
        // Cargo's folder for tests: a static is never dropped, so a temporary folder would stay.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let models = with_merges(&models, folder.join("models"));
        Some(Self { folder, models, images, format, prefix, digest: String::new() })
    }

    /// The same with the digest of its undisturbed build.
    fn built(mut self) -> Self {
        let release = self.run("reference", &Change::default(), false, &ONE).unwrap().releases.remove(0).1;
        assert!(release.pairs > 0, "nothing is released");
        self.digest = release.digest.to_string();
        self
    }

    pub fn manifest(&self, name: &str, change: &Change) -> PathBuf {
        let (clip, language) = (
            realsyn_models::folder_sha256(&self.models.join("demo-clip")).unwrap(),
            realsyn_models::folder_sha256(&self.models.join("smollm2-135m-instruct")).unwrap(),
        );
        let text = format!(
            "apiVersion: realsyn.dev/v1alpha1\nkind: RealSynBuild\nmetadata: {{name: part}}\nspec:\n  \
             source:\n    format: {format}\n    uri: {corpus}\n    imageMirrors:\n      - prefix: {prefix}\n        uri: {images}\n  \
             storage: {{uri: unused}}\n  models:\n    clip: {{sha256: \"{clip}\"}}\n    perplexity: {{sha256: \"{language}\"}}\n    llm: {{sha256: \"{language}\"}}\n  \
             stages:\n    sentenceCluster: {{rowsPerCluster: 20}}\n    imageCluster: {{rowsPerCluster: 8}}\n    generate: {{maxNewTokens: 24}}\n{stages}{spec}\
             ---\napiVersion: realsyn.dev/v1alpha1\nkind: RealSynRelease\nmetadata: {{name: part-v1}}\nspec:\n  buildRef: {{name: part}}\n  samplesPerShard: 10\n{release}",
            format = self.format,
            prefix = self.prefix,
            corpus = change.corpus.clone().unwrap_or_else(|| self.folder.join("corpus")).display(),
            images = change.images.as_ref().unwrap_or(&self.images).display(),
            spec = change.spec,
            stages = change.stages,
            release = change.release,
        );
        let file = self.folder.join(format!("{name}.yaml"));
        std::fs::write(&file, text).unwrap();
        file
    }

    pub fn out(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// The files and flags of a build: `change` written as `manifest`, below the output `out`.
    pub fn at(&self, manifest: &str, out: &str, change: &Change) -> Locations {
        Locations {
            files: vec![self.manifest(manifest, change)],
            out: Some(self.out(out)),
            models: Some(self.models.clone()),
            ..Locations::default()
        }
    }

    pub fn run(&self, out: &str, change: &Change, list: bool, how: &Execution) -> anyhow::Result<Outcome> {
        let at = self.at(&format!("{out}-manifest"), out, change);
        build(&BuildArgs { at, jobs: None, list, no_report: false }, &Quiet, how)
    }

    /// The plain build in a process of its own.
    pub fn process(&self, out: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_realsyn"));
        command.args(["build", "-f"]).arg(self.manifest(&format!("{out}-manifest"), &Change::default()));
        command.args(["--out", &self.out(out), "--models"]).arg(&self.models).stderr(Stdio::null());
        command
    }

    /// A copy of what the undisturbed build left, to go on from.
    pub fn copy_of_the_reference(&self, out: &str) {
        let copied = Command::new("cp").arg("-r").args([self.out("reference"), self.out(out)]).status().unwrap();
        assert!(copied.success());
    }

    pub fn digest_of(&self, out: &str, how: &Execution) -> String {
        self.run(out, &Change::default(), false, how).unwrap().releases[0].1.digest.to_string()
    }
}

/// All files below a folder, in order.
pub fn files(root: &Path) -> Vec<PathBuf> {
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
pub fn commits(root: &str) -> BTreeSet<String> {
    records(root, ".commit.json")
}

/// The records below a root with this ending.
pub fn records(root: &str, ending: &str) -> BTreeSet<String> {
    let names = files(Path::new(root)).into_iter().map(|f| f.strip_prefix(root).unwrap().display().to_string());
    names.filter(|name| name.ends_with(ending)).collect()
}

/// The stages whose records these are.
pub fn stages_of(records: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    records.into_iter().map(|name| name.split('/').next().unwrap().to_owned()).collect()
}
