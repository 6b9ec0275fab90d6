//! A shard that does not go through is left out by hand, and forgotten again: the binary itself, over a folder.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use realsyn_plan::report::Report;
use support::small_build;

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: small_build() }
    }

    /// Runs a command; returns the exit code and everything that it said.
    fn realsyn(&self, args: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_realsyn"));
        let output = command.args(args).args(["-f", "build.yaml"]).current_dir(self.folder.path()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    }

    #[track_caller]
    fn succeeds(&self, args: &[&str]) -> String {
        let (code, said) = self.realsyn(args);
        assert_eq!(code, 0, "{said}");
        said
    }

    fn advance(&self) -> Report {
        Report::parse(self.succeeds(&["advance"]).trim().as_bytes()).unwrap()
    }

    fn missing(&self, step: &str) -> Option<u64> {
        self.advance().ready.iter().find(|r| r.step == step).map(|r| r.missing)
    }

    fn records(&self, ending: &str) -> usize {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, found) } else { found.push(path) }
            }
        }
        let mut found = Vec::new();
        walk(&self.folder.path().join("out"), &mut found);
        found.iter().filter(|p| p.to_string_lossy().ends_with(ending)).count()
    }
}

#[test]
fn a_shard_is_left_out_and_taken_back_and_advance_follows() {
    let bench = Bench::new();
    assert_eq!(bench.missing("documents/extract"), Some(4));
    let said = bench.succeeds(&["reject", "documents/extract", "1", "scanned upside down"]);
    assert!(said.starts_with("documents/extract shard 1 is rejected: scanned upside down\n3 shards"), "{said}");
    assert!(said.contains("next: `realsyn build`") && said.contains("kubectl realsyn retry"), "{said}");
    assert_eq!(bench.missing("documents/extract"), Some(3));
    bench.succeeds(&["stage", "documents/extract"]);

    let report = bench.advance();
    let sealed = report.sealed.iter().find(|s| s.step == "documents/extract").expect("sealed without the shard");
    assert_eq!(sealed.rejected.get("scanned upside down"), Some(&1));
    assert_eq!(sealed.records_out, 3);

    // A commit counts, whatever it says, until it is forgotten.
    let (code, said) = bench.realsyn(&["reject", "documents/extract", "2", "not this one either"]);
    assert!(code != 0 && said.contains("shard 2 is committed with its data; `forget` it first"), "{said}");
    let said = bench.succeeds(&["forget", "documents/extract", "1", "--brief"]);
    assert_eq!(said, "documents/extract shard 1 is forgotten (it was rejected: scanned upside down) and runs again\n");
    assert_eq!(bench.missing("documents/extract"), Some(1));
    bench.succeeds(&["stage", "documents/extract"]);
    let report = bench.advance();
    let sealed = report.sealed.iter().find(|s| s.step == "documents/extract").expect("sealed with the shard");
    assert_eq!((sealed.rejected.len(), sealed.records_out), (0, 4));
}

#[test]
fn what_makes_no_sense_changes_nothing_and_says_why() {
    let bench = Bench::new();
    bench.advance();
    let before = (bench.records(".void"), bench.records(".commit.json"));
    for (args, words) in [
        (&["reject", "documents", "1", "r"][..], "that stage has documents/extract"),
        (&["reject", "docs/extract", "1", "r"], "write stage/step"),
        (&["reject", "documents/extract", "4", "r"], "has the shards 0 to 3, so there is no shard 4"),
        (&["reject", "documents/extract", "1", " \n"], "give 1 to 60 characters"),
        (&["reject", "sentences/split", "0", "r"], "has no shards yet"),
        (&["forget", "documents/extract", "0"], "there is nothing to forget"),
        (&["affected", "00000000000000000000000000000000"], "the files hold no release"),
    ] {
        let (code, said) = bench.realsyn(args);
        assert!(code != 0 && said.contains(words), "{args:?}: {said}");
    }
    assert_eq!((bench.records(".void"), bench.records(".commit.json")), before);
}
