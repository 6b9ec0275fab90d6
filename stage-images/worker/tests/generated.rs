//! `generate` against a small real model behind OpenAI's protocol: the texts are those of the CPU engine, whose model,
//! template and greedy choice are the same.
//!
//! Needs the models and the OpenStax sample, as `whole_build` does; skipped loudly where one is missing.

#[path = "support/openstax.rs"]
mod openstax;

use std::path::PathBuf;
use std::process::Output;

use openstax::{Fixture, LANGUAGE};
use realsyn_chat::ChatServer;
use realsyn_plan::graph::{find, ids};
use realsyn_plan::layout::ShardSpec;
use realsyn_worker::run::Job;
use realsyn_worker::stages::rows::Generated;

/// A build up to its texts, with these settings of `generate`.
fn manifest(f: &Fixture, generate: &str) -> PathBuf {
    let stages = format!(
        "    sentenceCluster: {{rowsPerCluster: 20}}\n    imageCluster: {{rowsPerCluster: 8}}\n    generate: {generate}\n"
    );
    f.manifest("generate", &stages)
}

fn run(f: &Fixture, generate: &str, more: &[&str]) -> Output {
    f.command(&manifest(f, generate)).args(more).output().unwrap()
}

fn texts(f: &Fixture, generate: &str, more: &[&str]) -> Vec<Generated> {
    let done = run(f, generate, more);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let run = f.sealed(manifest(f, generate));
    let key = realsyn_plan::Digest([0; 32]);
    let shards = run.seals[&ids::GENERATE].shards.len() as u32;
    let rows = |number| {
        let job = Job::new(&run, find(ids::GENERATE), ShardSpec { number, key, group: number..number + 1 });
        job.shard::<Generated>(ids::GENERATE, "texts").unwrap()
    };
    (0..shards).flat_map(rows).collect()
}

#[test]
fn a_server_with_the_same_model_writes_the_same_texts() {
    let Some(f) = Fixture::new(6, 160) else { return };
    let local = texts(&f, "{maxNewTokens: 24}", &[]);
    let server = ChatServer::start("127.0.0.1:0".parse().unwrap(), &f.models.join(LANGUAGE), "llm").unwrap();
    let endpoint = format!("http://{}/v1", server.address());
    let asked = format!("{{maxNewTokens: 24, engine: openai, endpoint: \"{endpoint}\", model: llm}}");
    let served = texts(&f, &asked, &[]);
    same(&local, &served);
    let answered = server.answered();
    assert!(answered >= served.iter().filter(|row| row.outcome != "no-sentence").count() as u64);
    // The endpoint is in no digest; the model's name is.
    let elsewhere = asked.replace("127.0.0.1", "localhost");
    assert_eq!(texts(&f, &elsewhere, &[]), served);
    assert_eq!(server.answered(), answered, "nothing is asked again for another endpoint");
    let refused = run(&f, &asked.replace("model: llm", "model: another"), &[]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(64), "{said}");
    assert!(said.contains("no model `another`") && said.contains(&endpoint), "{said}");
    // A server of one's own, as a pod on GPUs has it.
    same(&local, &texts(&f, "{maxNewTokens: 24, engine: cuda}", &["--server", &endpoint]));
    let absent = run(&f, "{maxNewTokens: 23, engine: cuda}", &["--server", "http://127.0.0.1:1/v1", "--patience", "1"]);
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
