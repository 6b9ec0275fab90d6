//! What tests of builds over real documents share: a few of the OpenStax sample, the models, and where a build puts its work.

use std::path::{Path, PathBuf};
use std::process::Command;

use realsyn_e2e::{sample, write_corpus};
use realsyn_worker::explain::load_seals;
use realsyn_worker::run::Run;
use realsyn_worker::session::{Locations, Session};

/// The language model that scores and writes.
pub const LANGUAGE: &str = "smollm2-135m-instruct";

/// A corpus in a folder of its own.
pub struct Fixture {
    pub folder: tempfile::TempDir,
    pub models: PathBuf,
    images: PathBuf,
}

impl Fixture {
    /// So many documents of so many words each, in three files. `None`, loudly, where models or sample are missing.
    pub fn new(documents: usize, words: usize) -> Option<Self> {
        let at = |name: &str, path: &str| {
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            std::env::var_os(name).map_or_else(|| workspace.join(path), PathBuf::from)
        };
        let (models, openstax) =
            (at("REALSYN_MODELS", ".cache/models"), at("REALSYN_OPENSTAX", "../shared/data/openstax"));
        for needed in [models.join("demo-clip"), openstax.join("astronomy.parquet")] {
            if !needed.exists() {
                realsyn_skip::skipped(env!("CARGO_CRATE_NAME"), format!("{} is not there", needed.display()));
                return None;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        write_corpus(&folder.path().join("corpus"), &sample(&openstax, documents, words).unwrap(), 3).unwrap();
        Some(Self { folder, models, images: openstax.join("images") })
    }

    /// Writes the build's file: up to the stage `last`, with `stages` below `spec.stages`.
    pub fn manifest(&self, last: &str, stages: &str) -> PathBuf {
        let model = |name: &str| realsyn_models::folder_sha256(&self.models.join(name)).unwrap();
        let (clip, language) = (model("demo-clip"), model(LANGUAGE));
        let text = format!(
            "apiVersion: realsyn.dev/v1alpha1\nkind: RealSynBuild\nmetadata: {{name: part}}\nspec:\n  source:\n    format: obelics\n    \
             uri: corpus\n    imageMirrors: [{{prefix: \"https://openstax.example/\", uri: {images}}}]\n  storage: {{uri: unused}}\n  \
             models:\n    clip: {{sha256: \"{clip}\"}}\n    perplexity: {{sha256: \"{language}\"}}\n    llm: {{sha256: \"{language}\"}}\n  \
             stopAfter: {last}\n  stages:\n{stages}",
            images = self.images.display(),
        );
        let file = self.folder.path().join("build.yaml");
        std::fs::write(&file, text).unwrap();
        file
    }

    /// `realsyn build` of that file.
    pub fn command(&self, file: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_realsyn"));
        command.args(["build", "--no-report", "-f"]).arg(file);
        command.arg("--models").arg(&self.models).arg("--out").arg(self.folder.path().join("out"));
        command
    }

    /// What it has sealed.
    pub fn sealed(&self, file: PathBuf) -> Run {
        let at = Locations {
            files: vec![file],
            out: Some(self.folder.path().join("out").display().to_string()),
            models: Some(self.models.clone()),
            ..Locations::default()
        };
        let session = Session::open(&at).unwrap();
        let mut run = session.run(session.inventory(false).unwrap().0, None).unwrap();
        load_seals(&mut run).unwrap();
        run
    }
}
