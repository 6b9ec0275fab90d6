//! A corpus written for a test: pages whose pictures, places and sentences are all known, and a build of it with the real models
//! whose rules take every sentence.

use std::path::{Path, PathBuf};

use realsyn_plan::StepId;
use realsyn_plan::graph::find;
use realsyn_plan::layout::ShardSpec;
use realsyn_plan::{Digest, Id};
use realsyn_vision::{DecodeLimits, ShapeRules, decode_if};
use realsyn_worker::build::{BuildArgs, Outcome, build};
use realsyn_worker::explain::load_seals;
use realsyn_worker::progress::Quiet;
use realsyn_worker::run::{Execution, Job, Order, Run};
use realsyn_worker::session::{Locations, Session};

/// Where the pages' pictures stand; each host is a mirror of the folder `pictures`.
pub const HOSTS: [&str; 3] = ["https://one.example/", "https://Two.Example:8443/", "https://[2001:db8::1]:8080/"];
/// Every sentence is taken.
pub const TOLERANT: &str = "    sentences: {minWords: 1, minComplexity: 0, requireAction: false, languages: [], personalData: keep}\n    \
                            sentenceScore: {minEntropy: 0, perplexity: {min: 0, max: 1.0e+300}}\n    generate: {maxNewTokens: 24}\n";

/// The folder of a build.
pub struct Handmade {
    pub folder: tempfile::TempDir,
    pub models: PathBuf,
    photographs: Vec<PathBuf>,
}

/// A web page: its licence, its pictures' URLs and its sentences.
pub fn page(licence: Option<&str>, pictures: &[&str], sentences: &[&str]) -> String {
    let licence = licence.map(|url| format!("<a rel=license href=\"{url}\">licence</a>"));
    let pictures = pictures.iter().map(|url| format!("<p><img src=\"{url}\"></p>"));
    let sentences = sentences.iter().map(|sentence| format!("<p>{sentence}</p>"));
    licence.into_iter().chain(pictures).chain(sentences).collect()
}

impl Handmade {
    /// These pages as `0.html` and so on, which stand on the first of the hosts. `None`, loudly, where models or photographs are missing.
    pub fn new(pages: &[String]) -> Option<Self> {
        let at = |name: &str, path: &str| {
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            std::env::var_os(name).map_or_else(|| workspace.join(path), PathBuf::from)
        };
        let (models, openstax) =
            (at("REALSYN_MODELS", ".cache/models"), at("REALSYN_OPENSTAX", "../shared/data/openstax"));
        for needed in [models.join("demo-clip"), openstax.join("images")] {
            if !needed.exists() {
                realsyn_skip::skipped("handmade", format!("{} is not there", needed.display()));
                return None;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        for name in ["pictures", "corpus"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        for (n, page) in pages.iter().enumerate() {
            std::fs::write(folder.path().join(format!("corpus/{n}.html")), page).unwrap();
        }
        let entries = std::fs::read_dir(openstax.join("images/astronomy")).unwrap();
        let mut photographs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        photographs.sort();
        Some(Self { folder, models, photographs })
    }

    /// Puts one of the sample's photographs that pass the rules on size and shape at `pictures/NAME`. Returns its id.
    pub fn photograph(&self, name: &str, which: usize) -> Id {
        let rules = ShapeRules { min_side: 100, max_aspect: 3.0 };
        let passes = |bytes: &Vec<u8>| {
            decode_if(bytes, &DecodeLimits::default(), |header| rules.check(header.width, header.height)).is_ok()
        };
        let mut read = self.photographs[which * 37..].iter().map(|path| std::fs::read(path).unwrap());
        self.picture(name, &read.find(passes).unwrap())
    }

    /// Puts these bytes at `pictures/NAME`. Returns their id.
    pub fn picture(&self, name: &str, bytes: &[u8]) -> Id {
        std::fs::write(self.folder.path().join("pictures").join(name), bytes).unwrap();
        Id::of_image(bytes)
    }

    /// Writes a list, and returns how a setting points to it.
    pub fn list(&self, name: &str, lines: &str) -> String {
        std::fs::write(self.folder.path().join(name), lines).unwrap();
        let sha256 = realsyn_models::file_sha256(&self.folder.path().join(name)).unwrap();
        format!("{{uri: {name}, sha256: \"{sha256}\"}}")
    }

    /// Writes the build's file: `stages` below `spec.stages`, `spec` beside it, and releases with their fields.
    pub fn manifest(&self, stages: &str, spec: &str, releases: &[(&str, &str)]) {
        let model = |name: &str| realsyn_models::folder_sha256(&self.models.join(name)).unwrap();
        let (clip, language) = (model("demo-clip"), model("smollm2-135m-instruct"));
        let mirrors = HOSTS.map(|prefix| format!("{{prefix: \"{prefix}\", uri: pictures}}")).join(", ");
        let mut text = format!(
            "apiVersion: realsyn.dev/v1alpha1\nkind: RealSynBuild\nmetadata: {{name: handmade}}\nspec:\n  \
             source: {{format: html, uri: corpus, revision: first, imageMirrors: [{mirrors}]}}\n  storage: {{uri: out}}\n  models:\n    \
             clip: {{sha256: \"{clip}\"}}\n    perplexity: {{sha256: \"{language}\"}}\n    llm: {{sha256: \"{language}\"}}\n{spec}  stages:\n{stages}"
        );
        for (name, fields) in releases {
            text += &format!(
                "---\napiVersion: realsyn.dev/v1alpha1\nkind: RealSynRelease\nmetadata: {{name: {name}}}\nspec:\n  buildRef: {{name: handmade}}\n{fields}"
            );
        }
        std::fs::write(self.folder.path().join("build.yaml"), text).unwrap();
    }

    /// Where it all is.
    pub fn at(&self) -> Locations {
        let (file, models) = (self.folder.path().join("build.yaml"), self.models.clone());
        Locations { files: vec![file], models: Some(models), ..Locations::default() }
    }

    /// `realsyn build` of that file.
    pub fn build(&self) -> anyhow::Result<Outcome> {
        let how = Execution { jobs: 2, order: Order::Forward, runs: 1, gpus: None };
        build(&BuildArgs { at: self.at(), jobs: None, list: false, no_report: true }, &Quiet, &how)
    }

    /// What is sealed of it, and of the release of that name.
    pub fn sealed(&self, release: Option<&str>) -> Run {
        let session = Session::open(&self.at()).unwrap();
        let of = session.manifests.releases.iter().find(|r| Some(r.metadata.name.as_str()) == release);
        let mut run = session.run(session.inventory(false).unwrap().0, of).unwrap();
        load_seals(&mut run).unwrap();
        run
    }

    /// Whether any stage has begun.
    pub fn has_run(&self) -> bool {
        self.folder.path().join("out/documents").exists()
    }
}

/// The rows of every shard of a step.
pub fn rows<T: realsyn_dataset::formats::Row>(run: &Run, step: StepId, role: &'static str) -> Vec<T> {
    let shard = |number| ShardSpec { number, key: Digest([0; 32]), group: number..number + 1 };
    let numbers = 0..run.seals[&step].shards.len() as u32;
    // A step reads itself by nobody's plan, so its rows are asked for one shard at a time.
    numbers.flat_map(|n| Job::new(run, find(step), shard(n)).table_of::<T>(step, n, role).unwrap()).collect()
}
