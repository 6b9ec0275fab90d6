//! `generate` against a small real model behind OpenAI's protocol: the texts are those of the CPU engine, whose model,
//! template and greedy choice are the same.
//!
//! Needs the models and the OpenStax sample, as `whole_build` does; skipped loudly where one is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use realsyn_chat::ChatServer;
use realsyn_e2e::{sample, write_corpus};
use realsyn_plan::graph::{find, ids};
use realsyn_plan::layout::ShardSpec;
use realsyn_worker::explain::load_seals;
use realsyn_worker::run::Job;
use realsyn_worker::session::{Locations, Session};
use realsyn_worker::stages::rows::Generated;

const LANGUAGE: &str = "smollm2-135m-instruct";

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
        write_corpus(&folder.path().join("corpus"), &sample(&openstax, 6, 160).unwrap(), 3).unwrap();
        Some(Self { folder, models, images: openstax.join("images") })
    }

    /// A build up to its texts, with these settings of `generate`.
    fn manifest(&self, generate: &str) -> PathBuf {
        let model = |name: &str| realsyn_models::folder_sha256(&self.models.join(name)).unwrap();
        let (clip, language) = (model("demo-clip"), model(LANGUAGE));
        let text = format!(
            "apiVersion: realsyn.dev/v1alpha1\nkind: RealSynBuild\nmetadata: {{name: part}}\nspec:\n  source:\n    format: obelics\n    \
             uri: corpus\n    imageMirrors: [{{prefix: \"https://openstax.example/\", uri: {images}}}]\n  storage: {{uri: unused}}\n  \
             models:\n    clip: {{sha256: \"{clip}\"}}\n    perplexity: {{sha256: \"{language}\"}}\n    llm: {{sha256: \"{language}\"}}\n  \
             stages:\n    sentenceCluster: {{rowsPerCluster: 20}}\n    imageCluster: {{rowsPerCluster: 8}}\n    \
             generate: {generate}\n  stopAfter: generate\n",
            images = self.images.display(),
        );
        let file = self.folder.path().join("build.yaml");
        std::fs::write(&file, text).unwrap();
        file
    }

    fn run(&self, generate: &str, more: &[&str]) -> std::process::Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_realsyn"));
        command.args(["build", "--no-report", "-f"]).arg(self.manifest(generate));
        command.arg("--models").arg(&self.models).arg("--out").arg(self.folder.path().join("out"));
        command.args(more).output().unwrap()
    }

    fn texts(&self, generate: &str, more: &[&str]) -> Vec<Generated> {
        let done = self.run(generate, more);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let at = Locations {
            files: vec![self.manifest(generate)],
            out: Some(self.folder.path().join("out").display().to_string()),
            models: Some(self.models.clone()),
            ..Locations::default()
        };
        let session = Session::open(&at).unwrap();
        let (inventory, _) = session.inventory(false).unwrap();
        let mut run = session.run(inventory, None).unwrap();
        load_seals(&mut run).unwrap();
        let key = realsyn_plan::Digest([0; 32]);
        let shards = run.seals[&ids::GENERATE].shards.len() as u32;
        let rows = |number| {
            let job = Job::new(&run, find(ids::GENERATE), ShardSpec { number, key, group: number..number + 1 });
            job.shard::<Generated>(ids::GENERATE, "texts").unwrap()
        };
        (0..shards).flat_map(rows).collect()
    }
}

#[test]
fn a_server_with_the_same_model_writes_the_same_texts() {
    let Some(f) = Fixture::new() else { return };
    let local = f.texts("{maxNewTokens: 24}", &[]);
    let server = ChatServer::start("127.0.0.1:0".parse().unwrap(), &f.models.join(LANGUAGE), "llm").unwrap();
    let endpoint = format!("http://{}/v1", server.address());
    let asked = format!("{{maxNewTokens: 24, engine: openai, endpoint: \"{endpoint}\", model: llm}}");
    let served = f.texts(&asked, &[]);
    same(&local, &served);
    let answered = server.answered();
    assert!(answered >= served.iter().filter(|row| row.outcome != "no-sentence").count() as u64);
    // The endpoint is in no digest; the model's name is.
    let elsewhere = asked.replace("127.0.0.1", "localhost");
    assert_eq!(f.texts(&elsewhere, &[]), served);
    assert_eq!(server.answered(), answered, "nothing is asked again for another endpoint");
    let refused = f.run(&asked.replace("model: llm", "model: another"), &[]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(64), "{said}");
    assert!(said.contains("no model `another`") && said.contains(&endpoint), "{said}");
    // A server of one's own, as a pod on GPUs has it.
    same(&local, &f.texts("{maxNewTokens: 24, engine: cuda}", &["--server", &endpoint]));
    let absent = f.run("{maxNewTokens: 23, engine: cuda}", &["--server", "http://127.0.0.1:1/v1", "--patience", "1"]);
    let said = String::from_utf8_lossy(&absent.stderr);
    assert_eq!(absent.status.code(), Some(67), "{said}");
    assert!(said.contains("http://127.0.0.1:1/v1") && said.contains("refused"), "{said}");
}

/// Greedy choice over logits that a batch's shape changes in the last bits: near ties may fall otherwise, rarely.
fn same(local: &[Generated], served: &[Generated]) {
    assert!(local.iter().filter(|row| row.text.is_some()).count() >= 3, "{local:?}");
    assert_eq!(
        local.iter().map(|row| row.image).collect::<Vec<_>>(),
        served.iter().map(|row| row.image).collect::<Vec<_>>()
    );
    let equal = local.iter().zip(served).filter(|(a, b)| a == b).count();
    eprintln!("{equal} of {} texts are equal", local.len());
    assert!(equal * 10 >= local.len() * 9, "{equal} of {}: {local:#?}\n{served:#?}", local.len());
}
