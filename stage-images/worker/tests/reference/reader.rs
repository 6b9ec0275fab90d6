//! `contract.py` was written from docs/data-contract.md and docs/tables.md alone. It is given a real build, and makes every digest, key
//! and root of it anew, checks each table, and chooses the release's pairs itself.
//!
//! Needs the models, the OpenStax sample and Python with pyarrow and numpy; skipped loudly where one is missing.

use std::path::Path;
use std::process::Command;

use realsyn_plan::graph::{BUILD, RELEASE};

use crate::openstax::Fixture;

const STAGES: &str = "    sentenceCluster: {rowsPerCluster: 20}\n    imageCluster: {rowsPerCluster: 8}\n    \
                      generate: {maxNewTokens: 24}\n";
const OF_RELEASE: &str = "---\napiVersion: realsyn.dev/v1alpha1\nkind: RealSynRelease\nmetadata: {name: part}\nspec:\n  \
                       buildRef: {name: part}\n  similarity: {dropBelowQuantile: 0.1, dropAboveQuantile: 0.1}\n  \
                       balance: {maxPerCluster: 5, targetSamples: 9}\n  samplesPerShard: 4\n";

#[test]
fn a_reader_that_knows_only_the_pages_makes_every_digest_anew() {
    let Some(python) = std::env::var_os("REALSYN_PYTHON") else {
        realsyn_skip::skipped("reference", "REALSYN_PYTHON names no interpreter");
        return;
    };
    let Some(f) = Fixture::new(8, 120) else { return };
    let file = f.manifest("pair-score", STAGES);
    let build = std::fs::read_to_string(&file).unwrap().replace("  stopAfter: pair-score\n", "");
    std::fs::write(&file, build + OF_RELEASE).unwrap();
    let done = f.command(&file).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));

    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = Command::new(python)
        .arg(crate_folder.join("tests/contract.py"))
        .args([crate_folder.join("../../docs"), f.folder.path().join("out")])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&read.stdout);
    assert!(read.status.success(), "{printed}{}", String::from_utf8_lossy(&read.stderr));
    eprint!("{printed}");
    assert!(printed.contains(&format!("all {} steps", BUILD.len() + RELEASE.len())), "{printed}");
}
