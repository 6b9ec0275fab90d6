//! What is wrong with a build file or its surroundings stops the build before any stage, with one sentence that names
//! what is wrong and what to do.

use std::path::Path;
use std::process::Command;

use realsyn_dataset::store::StoreOptions;
use realsyn_worker::run::{ModelRef, Models, Server};

const SHA: &str = "abababababababababababababababababababababababababababababababab";

fn manifest(change: impl Fn(String) -> String) -> String {
    change(format!(
        "apiVersion: realsyn.dev/v1alpha1\nkind: RealSynBuild\nmetadata: {{name: bad}}\nspec:\n  source: {{format: html, uri: pages}}\n  \
         storage: {{uri: out}}\n  models:\n    clip: {{sha256: \"{SHA}\"}}\n    perplexity: {{sha256: \"{SHA}\"}}\n    llm: {{sha256: \"{SHA}\"}}\n"
    ))
}

/// Runs a build of `text` in a folder with one page and no models; returns what it said. It must fail.
fn refused(text: &str, prepare: impl Fn(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("pages")).unwrap();
    std::fs::write(folder.path().join("pages/one.html"), "<p>A dog runs over the green field.</p>").unwrap();
    std::fs::create_dir(folder.path().join("models")).unwrap();
    std::fs::write(folder.path().join("build.yaml"), text).unwrap();
    prepare(folder.path());
    let output = Command::new(env!("CARGO_BIN_EXE_realsyn"))
        .args(["build", "-f", "build.yaml", "--out", "out", "--models", "models"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "it was accepted: {said}");
    assert!(!folder.path().join("out/documents").exists(), "a stage ran: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[test]
fn an_unknown_field_is_named_with_the_nearest_one() {
    let said = refused(&manifest(|m| m.replace("uri: pages", "uri: pages, revison: a")), |_| ());
    assert!(said.contains("revison") && said.contains("revision"), "{said}");
}

#[test]
fn a_model_that_is_not_found_is_named_with_what_was_searched() {
    let folder = tempfile::tempdir().unwrap();
    let (models, claim) = (folder.path().join("models"), folder.path().join("claim"));
    let hash = |model: &Path| {
        std::fs::create_dir_all(model).unwrap();
        std::fs::write(model.join("weights"), model.to_str().unwrap()).unwrap();
        format!("{} has sha256 {}", model.display(), realsyn_models::folder_sha256(model).unwrap())
    };
    let (claimed, one, other) = (hash(&claim), hash(&models.join("one")), hash(&models.join("other")));
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let gone = folder.path().join("gone");
    for (models, uri, found) in [
        (Some(&models), None, format!("{one}, {other}")),
        (Some(&models), Some(&claim), format!("{claimed}, {one}, {other}")),
        (None, Some(&claim), claimed.clone()),
        (None, Some(&gone), format!("{} is no folder", gone.display())),
        (Some(&empty), None, format!("{} holds no folder", empty.display())),
        (None, None, "neither --models nor its `uri` says where to look".to_owned()),
    ] {
        let model = ModelRef { sha256: SHA.into(), uri: uri.map(|uri| uri.to_str().unwrap().to_owned()) };
        let named = [("clip".to_owned(), model)].into();
        let error = Models::new(models.cloned(), named, Server::default(), StoreOptions::default()).check();
        assert_eq!(
            error.unwrap_err().to_string(),
            format!("models.clip: no model with sha256 {SHA} was found ({found}); fetch it, or correct the hash")
        );
    }
}

#[test]
fn a_build_whose_model_is_not_found_is_refused() {
    let said = refused(&manifest(|m| m), |folder| std::fs::create_dir(folder.join("models/other")).unwrap());
    assert!(said.contains("models.clip") && said.contains(SHA) && said.contains("models/other"), "{said}");
}

#[test]
fn an_empty_corpus_is_not_taken_for_a_small_one() {
    let said = refused(&manifest(|m| m), |folder| std::fs::remove_file(folder.join("pages/one.html")).unwrap());
    assert!(said.contains("holds no file of format `html`") && said.contains("spec.source"), "{said}");
}

#[test]
fn a_source_that_is_not_there_is_named() {
    let said = refused(&manifest(|m| m.replace("uri: pages", "uri: pagse")), |_| ());
    assert!(said.contains("pagse"), "{said}");
}

#[test]
fn a_release_of_another_build_is_named() {
    let text = manifest(|m| {
        m + "---\napiVersion: realsyn.dev/v1alpha1\nkind: RealSynRelease\nmetadata: {name: r}\nspec:\n  buildRef: {name: another}\n"
    });
    let said = refused(&text, |_| ());
    assert!(said.contains("another") && said.contains("buildRef"), "{said}");
}

#[test]
fn a_text_surface_that_cannot_be_made_is_refused_before_the_build_runs() {
    let model = |folder: &Path, merges: Option<&str>| {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("weights"), "w").unwrap();
        merges.iter().for_each(|text| std::fs::write(folder.join("merges.txt"), text).unwrap());
    };
    let said = |merges| {
        let elsewhere = tempfile::tempdir().unwrap();
        model(elsewhere.path(), merges);
        let sha = realsyn_models::folder_sha256(elsewhere.path()).unwrap();
        let text = manifest(|m| {
            m.replace(SHA, &sha)
                + "---\napiVersion: realsyn.dev/v1alpha1\nkind: RealSynRelease\nmetadata: {name: r}\nspec: {buildRef: {name: bad}, textSurface: clipRoundtrip}\n"
        });
        refused(&text, |folder| model(&folder.join("models/clip"), merges))
    };
    let without = said(None);
    assert!(without.contains("spec.textSurface: clipRoundtrip") && without.contains("models/clip"), "{without}");
    assert!(without.contains("put the merges.txt") && without.contains("write textSurface: raw"), "{without}");
    let of_another = said(Some("#version: 0.2\n\u{120} t\n"));
    assert!(of_another.contains("models.clip") && of_another.contains("models/clip/merges.txt"), "{of_another}");
    assert!(of_another.contains("has 1 merges, and CLIP's vocabulary 48894"), "{of_another}");
}

#[test]
fn a_suspended_build_says_so_instead_of_doing_nothing() {
    let said = refused(&manifest(|m| m + "  suspend: true\n"), |_| ());
    assert!(said.contains("spec.suspend") && said.contains("set it to false"), "{said}");
}

#[test]
fn sentences_of_a_build_that_is_not_there_or_does_not_fit_are_refused() {
    let taker = |from: &str| manifest(|m| format!("{m}  sentencesFrom: {{build: {from}}}\n"));
    let said = refused(&taker("other"), |_| ());
    assert!(said.contains("spec.sentencesFrom.build") && said.contains("the files hold no build `other`"), "{said}");

    let giver = manifest(|m| {
        let other = m.replacen("name: bad", "name: other", 1).replace("storage: {uri: ", "storage: {uri: elsewhere-");
        other.replace("clip: {sha256: \"", "clip: {dtype: f16, sha256: \"") + "  sentencesFrom: {build: third}\n"
    });
    let said = refused(&format!("{}---\n{giver}", taker("other")), |_| ());
    for wrong in ["name that one", "the same spec.storage.uri", "spec.models.clip"] {
        assert!(said.contains(wrong), "{wrong}: {said}");
    }
    let stages = "  sentencesFrom: {build: other}\n  stages: {sentences: {minWords: 4}}\n";
    let said = refused(&manifest(|m| m + stages), |_| ());
    assert!(said.contains("spec.stages.sentences") && said.contains("leave it out"), "{said}");
}

#[test]
fn a_file_that_is_not_yaml_is_named_with_the_line() {
    let said = refused("apiVersion: [\n", |_| ());
    assert!(said.contains("build.yaml") && said.contains("YAML"), "{said}");
}

#[test]
fn an_engine_that_the_worker_lacks_is_not_passed_off_as_another() {
    let text = manifest(|m| m + "  stages: {imageEmbed: {engine: cuda}}\n");
    let said = refused(&text, |folder| {
        // Found before anything that comes later.
        std::fs::create_dir(folder.join("models/none")).unwrap();
    });
    assert!(said.contains("spec.stages.imageEmbed.engine") && said.contains("write `cpu`"), "{said}");
    let text = manifest(|m| m + "  stages: {generate: {engine: cuda}}\n");
    let said = refused(&text, |_| ());
    assert!(said.contains("spec.stages.generate.engine") && said.contains("--server"), "{said}");
}
