//! `realsyn gc` below a root that two builds share: what one gives up goes, what the other names stays.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use realsyn_dataset::store::{Credentials, Store, StoreExt, StoreOptions, open};
use realsyn_e2e::S3Server;
use realsyn_plan::Digest;
use realsyn_plan::graph::{find, ids};
use realsyn_plan::layout::{Seals, layout};
use realsyn_plan::records::{Commit, Data, Effort, Object, Outcome, Seal, object_name, seal_name};
use realsyn_plan::shuffle::PartitionTotals;
use realsyn_worker::session::{Locations, Session};

const BUCKET: &str = "s3://bucket/builds";
const SHA: &str = "abababababababababababababababababababababababababababababababab";

/// Writes a build's file; builds of another language differ from `sentences` on, and share `documents`.
fn write_build(folder: &Path, name: &str, language: &str) -> Locations {
    let text = format!(
        "apiVersion: realsyn.dev/v1alpha1\nkind: RealSynBuild\nmetadata: {{name: {name}}}\nspec:\n  source: {{format: html, uri: pages}}\n  \
         storage: {{uri: out}}\n  models:\n    clip: {{sha256: \"{SHA}\"}}\n    perplexity: {{sha256: \"{SHA}\"}}\n    llm: {{sha256: \"{SHA}\"}}\n  \
         stages: {{sentences: {{maxWords: {language}}}}}\n"
    );
    let file = folder.join(format!("{name}.yaml"));
    std::fs::write(&file, text).unwrap();
    Locations { files: vec![file], ..Locations::default() }
}

/// The first two steps of a build, with a few bytes in place of what they would compute.
fn begin(at: &Locations) {
    let session = Session::open(at).unwrap();
    let (inventory, _) = session.inventory(false).unwrap();
    let run = session.run(inventory, None).unwrap();
    session.refer(&run).unwrap();
    let mut seals = Seals::new();
    for step in [ids::DOCUMENTS, ids::SENTENCES] {
        let digests = run.recipes.digests(step);
        if let Some(seal) = session.ledger.seals(step, &digests.0).unwrap().current() {
            seals.insert(step, seal.clone());
            continue;
        }
        let specs = layout(find(step), &run.inventory, &seals).unwrap();
        let mut commits = Vec::new();
        for spec in specs {
            let name = object_name(step, &digests.1, &spec.key, "0a", "rows", "txt");
            run.store().put(&name, b"rows").unwrap();
            let (role, hash) = ("rows".into(), Digest::of_bytes(b"rows"));
            let objects = vec![Object { role, name, bytes: 4, hash, rows: 1, partitions: None }];
            let commit = Commit {
                step: step.to_string(),
                recipe: digests.1,
                key: spec.key,
                number: spec.number,
                generation: 0,
                attempt: "0a".into(),
                outcome: Outcome::Data(Data { objects, ..Data::default() }),
                effort: Effort::default(),
            };
            session.ledger.commit(step, &commit).unwrap();
            let record = commit.encode().1;
            commits.push((commit, record));
        }
        let seal = Seal::new(step, digests, 0, BTreeMap::new(), &commits, PartitionTotals::default());
        run.store().put_new(&seal_name(step, &digests.0, 0), &seal.encode().0).unwrap();
        seals.insert(step, seal);
    }
}

/// A root in the folder `out`, or in a bucket.
struct Root<'a> {
    folder: &'a Path,
    server: Option<&'a S3Server>,
}

impl Root<'_> {
    fn store(&self) -> Arc<dyn Store> {
        let (access_key, secret_key) = (S3Server::ACCESS_KEY.to_owned(), S3Server::SECRET_KEY.to_owned());
        let (uri, options) = match self.server {
            None => (self.folder.join("out").display().to_string(), StoreOptions::default()),
            Some(server) => {
                let credentials = Credentials::Static { access_key, secret_key, session_token: None };
                let (endpoint, region) = (Some(server.endpoint()), Some("us-east-1".to_owned()));
                (BUCKET.to_owned(), StoreOptions { endpoint, region, credentials, ..StoreOptions::default() })
            }
        };
        open(&uri, &options).unwrap()
    }

    fn gc(&self, build: &str, flags: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_realsyn"));
        command.args(["gc", "-f", &format!("{build}.yaml")]).args(flags).current_dir(self.folder);
        if let Some(server) = self.server {
            command.args(["--out", BUCKET, "--endpoint", &server.endpoint()]).env("AWS_REGION", "us-east-1");
            command.env("AWS_ACCESS_KEY_ID", S3Server::ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", S3Server::SECRET_KEY);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}{errors}");
        said
    }

    /// Names below the root that count, by the folder of their stage.
    fn stored(&self, stage: &str) -> Vec<String> {
        let names = self.store().list_names(stage).unwrap();
        names.into_iter().filter(|n| !n.ends_with("void") && !n.ends_with(".removed")).collect()
    }
}

#[test]
fn a_deleted_build_leaves_what_another_names() {
    let folder = tempfile::tempdir().unwrap();
    let root = Root { folder: folder.path(), server: None };
    two_builds(root.folder);
    one_goes_and_then_the_other(&root);
}

#[test]
fn so_it_does_in_a_bucket() {
    let (folder, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = S3Server::start(bucket.path()).unwrap();
    let (here, there) =
        (Root { folder: folder.path(), server: None }, Root { folder: folder.path(), server: Some(&server) });
    two_builds(here.folder);
    let (from, to) = (here.store(), there.store());
    for name in from.list_names("").unwrap() {
        to.put(&name, &from.get_required(&name).unwrap()).unwrap();
    }
    std::fs::remove_dir_all(folder.path().join("out")).unwrap();
    one_goes_and_then_the_other(&there);
}

/// `one` and `two`, whose source is gone: so may be that of a build that is deleted.
fn two_builds(folder: &Path) {
    std::fs::create_dir(folder.join("pages")).unwrap();
    std::fs::write(folder.join("pages/one.html"), "<p>A dog runs over the green field.</p>").unwrap();
    let (one, two) = (write_build(folder, "one", "50"), write_build(folder, "two", "60"));
    begin(&one);
    begin(&two);
    std::fs::remove_dir_all(folder.join("pages")).unwrap();
}

fn one_goes_and_then_the_other(root: &Root) {
    let all = root.stored("");
    assert_eq!((root.stored("documents/").len(), root.stored("sentences/").len()), (3, 6));

    let said = root.gc("one", &["--dry-run", "--age", "0s"]);
    assert!(said.contains("RealSynBuild default/one") && said.contains("RealSynBuild default/two"), "{said}");
    assert_eq!(root.stored(""), all, "a dry run changed something");

    let said = root.gc("one", &["--release-ref"]);
    assert!(said.contains("gave up the reference of RealSynBuild default/one"), "{said}");
    assert!(said.contains("open over 1 seals, 1 commits, 1 objects") && said.contains("judged in 24 h"), "{said}");
    assert_eq!(root.stored("sentences/").len(), 6, "nothing goes before its time");
    println!("{said}");

    // Run again, as a pod that was killed is.
    let said = root.gc("one", &["--release-ref", "--age", "0s"]);
    assert!(said.contains("no reference to give up") && said.contains("tombstone 0: removed 1 seals"), "{said}");
    println!("{said}");
    assert_eq!(root.stored("documents/").len(), 3, "both builds name these");
    assert_eq!(root.stored("sentences/").len(), 3);

    // The other one goes by its id; it is made again, and finds that it has to run again.
    let uid = said.lines().find_map(|l| l.strip_prefix("named by  ")?.split_once(' ')).unwrap().0.to_owned();
    root.gc("one", &["--forget-ref", &uid, "--age", "0s"]);
    assert_eq!(root.stored("documents/").len() + root.stored("sentences/").len(), 0);
    let said = root.gc("one", &["--age", "0s"]);
    assert!(said.contains("no build and no release names anything here"), "{said}");
}

#[test]
fn an_unknown_reference_or_age_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("out")).unwrap();
    write_build(folder.path(), "one", "50");
    for (flags, advice) in [(["--forget-ref", "nobody"], "--dry-run` lists"), (["--age", "1 day"], "such as 24h")] {
        let output = Command::new(env!("CARGO_BIN_EXE_realsyn"))
            .args(["gc", "-f", "one.yaml"])
            .args(flags)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(advice), "{said}");
    }
}
