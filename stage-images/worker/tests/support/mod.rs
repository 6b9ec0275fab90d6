//! What tests of the binary on a small corpus share.

use realsyn_e2e::{Obelics, write_corpus};

const SHA: &str = "abababababababababababababababababababababababababababababababab";

/// A build of four files, each a shard, in a folder of its own.
pub fn small_build() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let row = |n: usize| Obelics {
        images: vec![None],
        texts: vec![Some(format!("Page {n} tells of a dog that runs over the green field."))],
        metadata: "[null]".into(),
        general_metadata: format!("{{\"url\": \"https://pages.example/{n}\"}}"),
    };
    write_corpus(&folder.path().join("corpus"), &(0..4).map(row).collect::<Vec<_>>(), 4).unwrap();
    let models = ["clip", "perplexity", "llm"].map(|role| format!("    {role}: {{sha256: \"{SHA}\"}}\n")).concat();
    let text = format!(
        "apiVersion: realsyn.dev/v1alpha1\nkind: RealSynBuild\nmetadata: {{name: small}}\nspec:\n  \
         source: {{format: obelics, uri: corpus}}\n  storage: {{uri: out}}\n  models:\n{models}"
    );
    std::fs::write(folder.path().join("build.yaml"), text).unwrap();
    folder
}
