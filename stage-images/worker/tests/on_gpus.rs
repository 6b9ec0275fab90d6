//! A build whose vectors are compared on GPUs: every step has the bytes that the processor gives it.
//!
//! The GPUs are stand-ins that run the kernels' own source on the processor (`e2e/cuda`). Needs the models and the OpenStax
//! sample, as `whole_build` does; skipped loudly where one is missing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use realsyn_crds::Stage;
use realsyn_cuda::Script;
use realsyn_e2e::{sample, write_corpus};
use realsyn_plan::graph::ids;
use realsyn_plan::{Digest, StepId};
use realsyn_worker::explain::load_seals;
use realsyn_worker::session::{Locations, Session};

struct Fixture {
    folder: tempfile::TempDir,
    models: PathBuf,
    images: PathBuf,
}

impl Fixture {
    fn new() -> Option<Self> {
        let at = |name: &str, path: &str| {
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            std::env::var_os(name).map_or_else(|| workspace.join(path), PathBuf::from)
        };
        let (models, openstax) =
            (at("REALSYN_MODELS", ".cache/models"), at("REALSYN_OPENSTAX", "../shared/data/openstax"));
        for needed in [models.join("demo-clip"), openstax.join("astronomy.parquet")] {
            if !needed.exists() {
                eprintln!("SKIPPED: {} is not there", needed.display());
                return None;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        write_corpus(&folder.path().join("corpus"), &sample(&openstax, 16, 200).unwrap(), 3).unwrap();
        Some(Self { folder, models, images: openstax.join("images") })
    }

    /// A build up to retrieval, with this engine wherever vectors are compared.
    fn manifest(&self, engine: &str) -> PathBuf {
        let model = |name: &str| realsyn_models::folder_sha256(&self.models.join(name)).unwrap();
        let (clip, language) = (model("demo-clip"), model("smollm2-135m-instruct"));
        let stages = Stage::ALL.iter().filter(|stage| stage.compares_vectors()).map(|stage| {
            let more = match stage {
                // One cell of all rows, so that there is enough in it for a GPU to do.
                Stage::SentenceCells | Stage::ImageCells => ", cells: 1",
                Stage::SentenceCluster => ", rowsPerCluster: 4",
                Stage::ImageCluster => ", rowsPerCluster: 2",
                _ => "",
            };
            format!("    {}: {{engine: {engine}{more}}}\n", stage.field())
        });
        let text = format!(
            "apiVersion: realsyn.dev/v1alpha1\nkind: RealSynBuild\nmetadata: {{name: gpus}}\nspec:\n  source:\n    format: obelics\n    \
             uri: corpus\n    imageMirrors: [{{prefix: \"https://openstax.example/\", uri: {images}}}]\n  storage: {{uri: unused}}\n  \
             models:\n    clip: {{sha256: \"{clip}\"}}\n    perplexity: {{sha256: \"{language}\"}}\n    llm: {{sha256: \"{language}\"}}\n  \
             stopAfter: retrieve\n  stages:\n{stages}    sentences: {{minComplexity: 0, requireAction: false}}\n    \
             sentenceScore: {{minEntropy: 0, perplexity: {{min: 0, max: 1.0e+300}}}}\n",
            images = self.images.display(),
            stages = stages.collect::<String>(),
        );
        let file = self.folder.path().join("build.yaml");
        std::fs::write(&file, text).unwrap();
        file
    }

    fn build(&self, engine: &str, script: Option<&Script>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_realsyn"));
        command.args(["build", "--no-report", "-f"]).arg(self.manifest(engine));
        command.arg("--models").arg(&self.models).arg("--out").arg(self.folder.path().join("out"));
        if let Some(script) = script {
            command.envs(script.variables());
            command.envs([("REALSYN_GPUS", "1"), ("REALSYN_GPU_PRODUCTS", "A100-SXM4-80GB")]);
        }
        command.output().unwrap()
    }

    /// Each step's root: a hash over everything that it published.
    fn roots(&self, engine: &str) -> BTreeMap<StepId, Digest> {
        let at = Locations {
            files: vec![self.manifest(engine)],
            out: Some(self.folder.path().join("out").display().to_string()),
            models: Some(self.models.clone()),
            ..Locations::default()
        };
        let session = Session::open(&at).unwrap();
        let mut run = session.run(session.inventory(false).unwrap().0, None).unwrap();
        load_seals(&mut run).unwrap();
        run.seals.iter().map(|(step, seal)| (*step, seal.root)).collect()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn gpus_give_every_step_the_bytes_of_the_processor() {
    let Some(f) = Fixture::new() else { return };
    let done = f.build("cpu", None);
    assert!(done.status.success(), "{}", said(&done));
    let expected = f.roots("cpu");
    assert!(expected.contains_key(&ids::CANDIDATES), "{expected:?}");

    // Without a GPU nothing runs on the processor instead.
    let none = f.build("cuda", None);
    assert_eq!(none.status.code(), Some(64), "{}", said(&none));
    assert!(said(&none).contains("spec.stages.sentenceCells.engine: no GPU can be used"), "{}", said(&none));
    // In a pod that holds one it is the GPU's fault, not the settings'.
    let gone = f.build("cuda", Some(&Script { devices: 0, ..Script::default() }));
    assert_eq!(gone.status.code(), Some(66), "{}", said(&gone));

    let old = f.build("cuda", Some(&Script { capability: 7, ..Script::default() }));
    assert_eq!(old.status.code(), Some(64), "{}", said(&old));
    assert!(said(&old).contains("name newer ones in spec.stages.sentenceCells.gpu.products"), "{}", said(&old));

    // A memory error in mid-step: the device is named, and another one goes on.
    let script = Script { failure: Some(("cuLaunchKernel", 3, 214)), ..Script::default() };
    let lost = f.build("cuda", Some(&script));
    assert_eq!(lost.status.code(), Some(66), "{}", said(&lost));
    let why = "GPU-abababab-abab-abab-abab-ababababab00: CUDA_ERROR_ECC_UNCORRECTABLE";
    assert!(said(&lost).contains(why), "{}", said(&lost));

    let done = f.build("cuda", Some(&Script { devices: 2, ..Script::default() }));
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(f.roots("cuda"), expected);
    // What lies before them is not made again for another engine of theirs, nor what has the same bytes after them.
    assert!(!said(&done).contains("sentence-score"), "{}", said(&done));
}
